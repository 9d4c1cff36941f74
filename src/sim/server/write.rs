//! POST, PUT, PATCH and DELETE, each noted with what was answered.

use http::header::CONTENT_TYPE;
use serde_json::Value;

use super::super::note::{Happened, Written};
use super::super::object::{ObjectKey, name, namespace, text, uid};
use super::super::refusal::Refusal;
use super::super::store::Store;
use super::super::store::patch::PatchKind;
use super::super::store::write::{By, DeleteOptions, Effect, Part};
use super::super::world::World;
use super::{Answer, Incoming, Place};

pub fn write(
    world: &mut World,
    context: &str,
    verb: &'static str,
    place: &Place,
    incoming: &Incoming<'_>,
    allowed: Result<(), Refusal>,
) -> Result<Answer, Refusal> {
    let now = world.now();
    let manager = incoming.manager();
    let options = if verb == "delete" { delete_options(incoming) } else { Ok(Deletion::default()) };
    let dry_run = match &options {
        Ok(options) if verb == "delete" => options.dry_run,
        Ok(_) | Err(_) => incoming.is_dry_run(),
    };
    let effect = if dry_run { Effect::DryRun } else { Effect::Real };
    let part = if place.subresource == "status" { Part::Status } else { Part::Main };
    let by = By { manager: &manager, now, effect, part };
    let key = ObjectKey::new(place.resource, &place.namespace, &place.name);
    let Some(cluster) = world.clusters.get_mut(context) else { return Err(Refusal::no_such_path()) };
    let mut about = cluster.store.get(&key).map_or_else(String::new, |object| uid(object).to_owned());
    let mut named = place.name.clone();
    let outcome = allowed.and_then(|()| match verb {
        "create" => {
            let object = incoming.json()?;
            name(&object).clone_into(&mut named);
            check_body(place, &object)?;
            let made = cluster.store.create(place.resource, &place.namespace, object, &by)?;
            name(&made).clone_into(&mut named);
            uid(&made).clone_into(&mut about);
            Ok((201, made.as_ref().clone()))
        }
        _ if !matches!(place.subresource.as_str(), "" | "status") => Err(Refusal::no_such_path()),
        "update" => {
            let object = incoming.json()?;
            check_body(place, &object)?;
            Ok((200, cluster.store.replace(&key, object, &by)?.as_ref().clone()))
        }
        "patch" => {
            let kind = PatchKind::of(incoming.header(CONTENT_TYPE), place.resource)?;
            Ok((200, cluster.store.patch(&key, kind, &incoming.json()?, &by)?.as_ref().clone()))
        }
        _ => delete(&mut cluster.store, &key, &options?.options, &by),
    });
    let code = outcome.as_ref().map_or_else(|refusal| refusal.code, |(code, _)| *code);
    world.note(Happened::Write(Written {
        cluster: context.to_owned(),
        verb,
        resource: place.resource.qualified(),
        namespace: place.namespace.clone(),
        name: named,
        uid: about,
        dry_run,
        manager: manager.clone(),
        audit_id: incoming.audit_id(),
        code,
    }));
    outcome.map(|(code, object)| Answer::Json(code, object))
}

fn delete(store: &mut Store, key: &ObjectKey, options: &DeleteOptions, by: &By<'_>) -> Result<(u16, Value), Refusal> {
    Ok((200, store.delete(key, options, by)?.answer(key)))
}

/// The body must be what the URL says.
fn check_body(place: &Place, object: &Value) -> Result<(), Refusal> {
    let facts = place.resource.facts();
    let (kind, version) = (text(object, "/kind"), text(object, "/apiVersion"));
    let expected = place.resource.api_version();
    if !kind.is_empty() && (kind != facts.kind || version != expected) {
        return Err(Refusal::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {}: no kind \"{kind}\" is registered for \"{expected}\"",
            facts.kind
        )));
    }
    if !namespace(object).is_empty() && namespace(object) != place.namespace {
        return Err(Refusal::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

#[derive(Default)]
struct Deletion {
    options: DeleteOptions,
    dry_run: bool,
}

/// From the body, if there is one: then the URL's parameters are not looked at, `dryRun` neither.
fn delete_options(incoming: &Incoming<'_>) -> Result<Deletion, Refusal> {
    if incoming.body.is_empty() {
        let grace_seconds = incoming.route.query("gracePeriodSeconds").parse().ok();
        let options = DeleteOptions { grace_seconds, ..DeleteOptions::default() };
        return Ok(Deletion { options, dry_run: incoming.is_dry_run() });
    }
    let body = incoming.json()?;
    let asked = |pointer: &str| Some(text(&body, pointer).to_owned()).filter(|asked| !asked.is_empty());
    let options = DeleteOptions {
        uid: asked("/preconditions/uid"),
        resource_version: asked("/preconditions/resourceVersion"),
        grace_seconds: body["gracePeriodSeconds"].as_i64(),
    };
    let dry_run = body["dryRun"].as_array().is_some_and(|all| all.iter().any(|value| value == "All"));
    Ok(Deletion { options, dry_run })
}
