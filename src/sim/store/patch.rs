//! Patches. Merge and JSON patches are a crate's; strategic ones are merged here by the keys that the types of Kubernetes
//! declare.
//!
//! To let another list be merged: a row in [`merge_key`].

use serde_json::Value;

use super::super::object::{ObjectKey, Resource};
use super::super::refusal::Refusal;

/// How a patch is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 7386.
    Merge,
    /// RFC 6902.
    Json,
    Strategic,
}

impl PatchKind {
    /// # Errors
    /// 415 for a type that this kind of object does not take.
    pub fn of(content_type: &str, resource: Resource) -> Result<PatchKind, Refusal> {
        let builtin = resource != Resource::ProwJob;
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/merge-patch+json" => Ok(PatchKind::Merge),
            "application/json-patch+json" => Ok(PatchKind::Json),
            "application/strategic-merge-patch+json" if builtin => Ok(PatchKind::Strategic),
            _ if builtin => Err(Refusal::unsupported_media()),
            _ => Err(Refusal::unknown_format(
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            )),
        }
    }
}

/// The object as patched.
///
/// # Errors
/// 400 for a patch that cannot be read, 422 for a JSON patch whose test fails.
pub fn apply(key: &ObjectKey, object: &Value, kind: PatchKind, patch: &Value) -> Result<Value, Refusal> {
    let mut patched = object.clone();
    match kind {
        PatchKind::Merge => json_patch::merge(&mut patched, patch),
        PatchKind::Strategic => merge(&mut patched, patch, ""),
        PatchKind::Json => {
            let patch: json_patch::Patch = serde_json::from_value(patch.clone())
                .map_err(|error| Refusal::bad_request(format!("error decoding patch: {error}")))?;
            json_patch::patch(&mut patched, &patch).map_err(|_| Refusal::test_failed())?;
        }
    }
    let asked = |field: &str| patched["metadata"].get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    if asked("name") != object["metadata"]["name"] {
        return Err(Refusal::other_name(&asked("name"), &key.name));
    }
    // An explicit null would be a write without a precondition; the server reads it so, too.
    if asked("resourceVersion") != object["metadata"]["resourceVersion"] && !asked("resourceVersion").is_empty() {
        return Err(Refusal::modified(key));
    }
    if asked("uid") != object["metadata"]["uid"] {
        let wrong = format!("Invalid value: \"{}\": field is immutable", asked("uid"));
        return Err(Refusal::invalid(key, "metadata.uid", "FieldValueInvalid", &wrong));
    }
    Ok(patched)
}

/// The field by which elements of a list are told apart; `None` for lists that are replaced whole.
fn merge_key(list: &str) -> Option<&'static str> {
    match list {
        "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "ports" => Some("containerPort"),
        "conditions" => Some("type"),
        "ownerReferences" => Some("uid"),
        _ => None,
    }
}

fn merge(target: &mut Value, patch: &Value, field: &str) {
    match patch {
        Value::Object(changes) => {
            if changes.get("$patch").is_some_and(|directive| directive == "replace") {
                let mut whole = changes.clone();
                whole.remove("$patch");
                *target = Value::Object(whole);
                return;
            }
            if !target.is_object() {
                *target = Value::Object(serde_json::Map::new());
            }
            let Some(into) = target.as_object_mut() else { return };
            for (name, change) in changes.iter().filter(|(name, _)| !name.starts_with('$')) {
                if change.is_null() {
                    into.remove(name);
                } else {
                    merge(into.entry(name.clone()).or_insert(Value::Null), change, name);
                }
            }
        }
        Value::Array(changes) => match (merge_key(field), target.as_array_mut()) {
            (Some(key), Some(elements)) => merge_elements(elements, changes, key),
            // Finalizers are a set.
            (None, Some(elements)) if field == "finalizers" => {
                for change in changes {
                    if !elements.contains(change) {
                        elements.push(change.clone());
                    }
                }
            }
            (Some(_), None) | (None, _) => *target = patch.clone(),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => *target = patch.clone(),
    }
}

fn merge_elements(elements: &mut Vec<Value>, changes: &[Value], key: &str) {
    for change in changes {
        let at = elements.iter().position(|element| element[key] == change[key]);
        let deletes = change["$patch"] == "delete";
        match at {
            Some(at) if deletes => drop(elements.remove(at)),
            Some(at) => merge(&mut elements[at], change, ""),
            None if deletes => {}
            None => elements.push(change.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key() -> ObjectKey {
        ObjectKey::new(Resource::Deployment, "prow", "hook")
    }

    fn deployment() -> Value {
        json!({"metadata": {"name": "hook", "uid": "u", "resourceVersion": "7", "labels": {"app": "hook", "tier": "x"}},
            "spec": {"template": {"spec": {"containers": [
                {"name": "hook", "image": "hook:v1", "args": ["--a", "--b"]}, {"name": "proxy", "image": "p:1"}]}}}})
    }

    #[test]
    fn strategic_patches_merge_containers_by_name_and_replace_plain_lists() {
        let patch = json!({"metadata": {"uid": "u", "resourceVersion": "7", "labels": {"tier": null}},
            "spec": {"template": {"spec": {"containers": [{"name": "hook", "image": "hook:v2", "args": ["--c"]}]}}}});
        let patched = apply(&key(), &deployment(), PatchKind::Strategic, &patch).unwrap();
        let containers = &patched["spec"]["template"]["spec"]["containers"];
        assert_eq!(containers[0], json!({"name": "hook", "image": "hook:v2", "args": ["--c"]}));
        assert_eq!(containers[1]["image"], "p:1", "what the patch does not name stays");
        assert_eq!(patched["metadata"]["labels"], json!({"app": "hook"}));
    }

    #[test]
    fn directives_take_elements_out() {
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "proxy", "$patch": "delete"}]}}}});
        let patched = apply(&key(), &deployment(), PatchKind::Strategic, &patch).unwrap();
        assert_eq!(patched["spec"]["template"]["spec"]["containers"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn a_merge_patch_replaces_lists() {
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "hook", "image": "hook:v2"}]}}}});
        let patched = apply(&key(), &deployment(), PatchKind::Merge, &patch).unwrap();
        assert_eq!(patched["spec"]["template"]["spec"]["containers"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn preconditions_of_patches() {
        let with = |metadata: Value| apply(&key(), &deployment(), PatchKind::Strategic, &json!({"metadata": metadata}));
        assert_eq!(with(json!({"resourceVersion": "6"})).unwrap_err().code, 409);
        assert_eq!(with(json!({"uid": "other"})).unwrap_err().code, 422);
        // As the real server: the version is looked at first.
        assert_eq!(with(json!({"uid": "other", "resourceVersion": "6"})).unwrap_err().code, 409);
        let test = json!([{"op": "test", "path": "/metadata/resourceVersion", "value": "6"}]);
        assert_eq!(apply(&key(), &deployment(), PatchKind::Json, &test).unwrap_err().code, 422);
        assert_eq!(PatchKind::of("application/strategic-merge-patch+json", Resource::ProwJob).unwrap_err().code, 415);
    }
}
