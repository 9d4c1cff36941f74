//! What the API server itself writes into an object's metadata.

use serde_json::{Map, Value, json};

use super::super::object::{Resource, stamp};
use super::write::{By, Part};

/// Fields of metadata that no client decides.
const OWN: [&str; 7] = [
    "uid",
    "creationTimestamp",
    "generation",
    "managedFields",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
];

/// Takes over what the server owns, whatever the client sent.
pub fn keep_own(before: &Value, after: &mut Value) {
    for field in OWN {
        take_over(&before["metadata"], &mut after["metadata"], field);
    }
    for field in ["name", "namespace"] {
        if before["metadata"].get(field).is_some() {
            take_over(&before["metadata"], &mut after["metadata"], field);
        }
    }
    take_over(before, after, "kind");
    take_over(before, after, "apiVersion");
}

/// A field becomes what it was; most often it is already, and nothing is copied.
pub fn take_over(before: &Value, after: &mut Value, field: &str) {
    match before.get(field) {
        Some(value) if after.get(field) == Some(value) => {}
        Some(value) => after[field] = value.clone(),
        None => {
            if let Some(after) = after.as_object_mut() {
                after.remove(field);
            }
        }
    }
}

/// Lists of metadata that hold nothing are not kept.
pub fn drop_empty(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["finalizers", "ownerReferences"] {
            if metadata.get(field).is_some_and(|list| list.as_array().is_none_or(Vec::is_empty)) {
                metadata.remove(field);
            }
        }
    }
}

/// True where a write changes nothing that counts: the server keeps the version then.
pub fn is_same(before: &Value, after: &Value) -> bool {
    same_fields(before, after, &["metadata"])
        && same_fields(&before["metadata"], &after["metadata"], &["resourceVersion", "managedFields"])
}

/// Compares objects but for some fields; an empty map is none.
fn same_fields(before: &Value, after: &Value, but: &[&str]) -> bool {
    let counts = |(name, value): &(&String, &Value)| {
        !but.contains(&name.as_str()) && !value.as_object().is_some_and(Map::is_empty)
    };
    let before = before.as_object().into_iter().flatten().filter(counts);
    before.eq(after.as_object().into_iter().flatten().filter(counts))
}

/// The next generation, where what was asked for has changed.
pub fn generation(resource: Resource, before: &Value, after: &Value) -> Option<i64> {
    let counts = match resource {
        Resource::Deployment
        | Resource::ReplicaSet
        | Resource::StatefulSet
        | Resource::DaemonSet
        | Resource::CronJob
        | Resource::Job
        | Resource::Pod => before["spec"] != after["spec"],
        // A custom resource without a status subresource: anything but metadata.
        Resource::ProwJob => before["spec"] != after["spec"] || before["status"] != after["status"],
        Resource::Namespace
        | Resource::Node
        | Resource::ConfigMap
        | Resource::Secret
        | Resource::Service
        | Resource::ServiceAccount
        | Resource::Event
        | Resource::ResourceQuota
        | Resource::EndpointSlice
        | Resource::Lease => false,
    };
    counts.then(|| before["metadata"]["generation"].as_i64().unwrap_or(1) + 1)
}

/// Kinds of which nobody asks who wrote them, and of which there are hundreds: a good part of their size would be that.
fn is_anonymous(resource: Resource) -> bool {
    match resource {
        Resource::Pod | Resource::Event | Resource::ProwJob => true,
        Resource::Namespace
        | Resource::Node
        | Resource::ConfigMap
        | Resource::Secret
        | Resource::Service
        | Resource::ServiceAccount
        | Resource::ResourceQuota
        | Resource::Deployment
        | Resource::ReplicaSet
        | Resource::StatefulSet
        | Resource::DaemonSet
        | Resource::CronJob
        | Resource::Job
        | Resource::EndpointSlice
        | Resource::Lease => false,
    }
}

/// Notes who wrote, and when.
pub fn note_manager(resource: Resource, object: &mut Value, by: &By<'_>) {
    if is_anonymous(resource) {
        return;
    }
    let subresource = match by.part {
        Part::Main => "",
        Part::Status => "status",
    };
    let managed = &mut object["metadata"]["managedFields"];
    if !managed.is_array() {
        *managed = json!([]);
    }
    let Some(entries) = managed.as_array_mut() else { return };
    let is_it =
        |held: &Value| held["manager"] == by.manager && held["subresource"].as_str().unwrap_or_default() == subresource;
    match entries.iter_mut().find(|held| is_it(held)) {
        Some(held) => held["time"] = json!(stamp(by.now)),
        None => {
            let mut entry = json!({
                "manager": by.manager, "operation": "Update", "apiVersion": resource.api_version(),
                "time": stamp(by.now), "fieldsType": "FieldsV1", "fieldsV1": {},
            });
            if !subresource.is_empty() {
                entry["subresource"] = json!(subresource);
            }
            entries.push(entry);
        }
    }
}
