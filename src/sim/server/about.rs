//! What a server says of itself and of its user.

use serde_json::{Value, json};

use super::super::access::Asked;
use super::super::object::{Resource, text};
use super::super::refusal::Refusal;
use super::super::world::World;
use super::{Answer, Incoming};

pub fn version() -> Value {
    json!({
        "major": "1", "minor": "34", "gitVersion": "v1.34.4", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none: simulated", "compiler": "none", "platform": "none",
    })
}

pub fn core_versions() -> Value {
    json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] })
}

pub fn groups() -> Value {
    let mut names: Vec<&str> = Resource::ALL.iter().map(|resource| resource.facts().group).collect();
    names.extend(["authorization.k8s.io", "authentication.k8s.io"]);
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    let groups: Vec<Value> = names
        .into_iter()
        .map(|name| {
            let version = json!({ "groupVersion": format!("{name}/v1"), "version": "v1" });
            json!({ "name": name, "versions": [version], "preferredVersion": version })
        })
        .collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// # Errors
/// 404 for a group that is not served.
pub fn resources(group: &str) -> Result<Value, Refusal> {
    let own = Resource::ALL.into_iter().map(Resource::facts).filter(|facts| facts.group == group);
    let resources: Vec<Value> = own
        .map(|facts| {
            json!({
                "name": facts.plural, "singularName": facts.kind.to_lowercase(), "namespaced": facts.namespaced,
                "kind": facts.kind, "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
            })
        })
        .collect();
    if resources.is_empty() {
        return Err(Refusal::no_such_path());
    }
    let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    Ok(json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources }))
}

pub fn access_review(world: &World, context: &str, incoming: &Incoming<'_>) -> Result<Answer, Refusal> {
    let mut review = incoming.json()?;
    let of = |field: &str| text(&review, &format!("/spec/resourceAttributes/{field}")).to_owned();
    let resource = match of("subresource").as_str() {
        "" => of("resource"),
        subresource => format!("{}/{subresource}", of("resource")),
    };
    let (verb, group, namespace) = (of("verb"), of("group"), of("namespace"));
    let asked = Asked { verb: &verb, group: &group, resource: &resource, namespace: &namespace, name: "" };
    let allowed = world.clusters.get(context).is_some_and(|cluster| cluster.access.allows(&asked));
    review["status"] = json!({ "allowed": allowed });
    Ok(Answer::Json(201, review))
}

pub fn self_review(world: &World, context: &str, incoming: &Incoming<'_>) -> Result<Answer, Refusal> {
    let mut review = incoming.json()?;
    let user = world.clusters.get(context).map_or("", |cluster| cluster.access.user.as_str());
    review["status"] = json!({ "userInfo": { "username": user, "groups": ["system:authenticated"] } });
    Ok(Answer::Json(201, review))
}
