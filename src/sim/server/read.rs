//! GET: one object, a list in pages, a log, or the begin of a watch.

use base64::Engine as _;
use serde_json::{Value, json};

use super::super::object::{ObjectKey, Resource, items, text, uid};
use super::super::refusal::Refusal;
use super::super::select::Selector;
use super::super::world::{Cluster, World};
use super::{Answer, Incoming, Place, table, watch};

pub fn read(
    world: &World,
    context: &str,
    verb: &str,
    place: &Place,
    incoming: &Incoming<'_>,
) -> Result<Answer, Refusal> {
    let Some(cluster) = world.clusters.get(context) else { return Err(Refusal::no_such_path()) };
    match (verb, place.subresource.as_str()) {
        ("get", "" | "status") => {
            let key = ObjectKey::new(place.resource, &place.namespace, &place.name);
            let object = cluster.store.get(&key).ok_or_else(|| Refusal::not_found(&key))?;
            Ok(Answer::Json(200, object.as_ref().clone()))
        }
        ("get", "log") if place.resource == Resource::Pod => log(cluster, place, incoming).map(Answer::Text),
        ("list", "") => list(world, cluster, place, incoming),
        ("watch", "") => {
            let selector = selector(place, incoming)?;
            Ok(Answer::Watch(Box::new(watch::Start::new(&cluster.store, place, selector, &incoming.route))))
        }
        _ => Err(Refusal::no_such_path()),
    }
}

fn selector(place: &Place, incoming: &Incoming<'_>) -> Result<Selector, Refusal> {
    let route = &incoming.route;
    Selector::parse(place.resource, &place.namespace, route.query("labelSelector"), route.query("fieldSelector"))
}

/// Where a list goes on: the version of its first page, and the last object given.
fn token(version: u64, key: &ObjectKey) -> String {
    let text = json!({ "rv": version, "namespace": key.namespace, "name": key.name }).to_string();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

fn parse_token(resource: Resource, token: &str) -> Result<(u64, ObjectKey), Refusal> {
    let odd = || Refusal::bad_request("invalid continue token: continue key is not valid");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).map_err(|_| odd())?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| odd())?;
    let version = value["rv"].as_u64().ok_or_else(odd)?;
    Ok((version, ObjectKey::new(resource, text(&value, "/namespace"), text(&value, "/name"))))
}

fn list(world: &World, cluster: &Cluster, place: &Place, incoming: &Incoming<'_>) -> Result<Answer, Refusal> {
    let selector = selector(place, incoming)?;
    let route = &incoming.route;
    let (version, after) = match route.query("continue") {
        "" => (cluster.store.version(), None),
        given => {
            let (version, key) = parse_token(place.resource, given)?;
            if cluster.store.since(version).is_none() {
                return Err(Refusal::expired(
                    "The provided continue parameter is too old to display a consistent list result. You can start a new \
                     list without the continue parameter.",
                ));
            }
            (version, Some(key))
        }
    };
    let mut matching = cluster
        .store
        .all(place.resource, &place.namespace)
        .skip_while(|(key, _)| after.as_ref().is_some_and(|after| *key <= after))
        .filter(|(_, object)| selector.matches(object));
    let limit = route.number("limit").filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let page: Vec<_> = matching.by_ref().take(limit).collect();
    let left = matching.count();
    let mut metadata = json!({ "resourceVersion": version.to_string() });
    if let (Some((last, _)), true) = (page.last(), left > 0) {
        metadata["continue"] = json!(token(version, last));
        metadata["remainingItemCount"] = json!(left);
    }
    if incoming.wants_table() && place.resource == Resource::Pod {
        let objects = page.iter().map(|(_, object)| object.as_ref());
        let with_object = route.query("includeObject") != "None";
        return Ok(Answer::Json(200, table::of_pods(objects, metadata, with_object, world.now())));
    }
    let facts = place.resource.facts();
    let head = json!({ "kind": format!("{}List", facts.kind), "apiVersion": place.resource.api_version(), "metadata": metadata });
    // Written piece by piece: the objects are not copied.
    let mut bytes = head.to_string().into_bytes();
    bytes.pop();
    bytes.extend_from_slice(b",\"items\":[");
    for (n, (_, object)) in page.iter().enumerate() {
        if n > 0 {
            bytes.push(b',');
        }
        // A Value is always JSON.
        drop(serde_json::to_writer(&mut bytes, object.as_ref()));
    }
    bytes.extend_from_slice(b"]}");
    Ok(Answer::Bytes(bytes))
}

fn log(cluster: &Cluster, place: &Place, incoming: &Incoming<'_>) -> Result<String, Refusal> {
    let key = ObjectKey::new(Resource::Pod, &place.namespace, &place.name);
    let pod = cluster.store.get(&key).ok_or_else(|| Refusal::not_found(&key))?;
    let route = &incoming.route;
    let names: Vec<&str> = items(pod, "/spec/containers").iter().map(|spec| text(spec, "/name")).collect();
    let container = match (route.query("container"), names.as_slice()) {
        ("", [only]) => *only,
        ("", _) => {
            let choose = format!("a container name must be specified for pod {}, choose one of: {names:?}", place.name);
            return Err(Refusal::bad_request(choose));
        }
        (named, _) if names.contains(&named) => named,
        (named, _) => {
            return Err(Refusal::bad_request(format!("container {named} is not valid for pod {}", place.name)));
        }
    };
    let previous = route.query("previous") == "true";
    let life = cluster.lives.get(uid(pod));
    let Some(lines) = life.and_then(|life| life.log(previous)) else {
        let why = if previous {
            format!("previous terminated container \"{container}\" in pod \"{}\" not found", place.name)
        } else {
            let statuses = items(pod, "/status/containerStatuses");
            let reason = statuses.first().map_or("", |status| text(status, "/state/waiting/reason"));
            let reason = if reason.is_empty() { "ContainerCreating" } else { reason };
            format!("container \"{container}\" in pod \"{}\" is waiting to start: {reason}", place.name)
        };
        return Err(Refusal::bad_request(why));
    };
    let tail = route.number("tailLines").unwrap_or(usize::MAX);
    let mut text: String =
        lines.iter().skip(lines.len().saturating_sub(tail)).map(|line| format!("{line}\n")).collect();
    // The newest bytes are the ones cut off.
    if let Some(limit) = route.number("limitBytes").filter(|limit| *limit < text.len()) {
        let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    Ok(text)
}
