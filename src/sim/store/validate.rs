//! What the API server refuses to store, as far as this program and Prow run into it.

use base64::Engine as _;
use serde_json::Value;

use super::super::object::{ObjectKey, Resource, items, text};
use super::super::refusal::Refusal;

/// Bytes of all values of a ConfigMap or Secret; keys do not count.
const MOST_BYTES: usize = 1024 * 1024;

/// # Errors
/// 422, as the server's.
pub fn object(key: &ObjectKey, after: &Value) -> Result<(), Refusal> {
    match key.resource {
        Resource::ConfigMap => config_map(key, after),
        Resource::Pod => {
            if items(after, "/spec/containers").is_empty() {
                return Err(Refusal::invalid(key, "spec.containers", "FieldValueRequired", "Required value"));
            }
            Ok(())
        }
        Resource::Deployment => {
            let containers = items(after, "/spec/template/spec/containers");
            match containers.iter().position(|container| text(container, "/image").is_empty()) {
                Some(n) => {
                    let field = format!("spec.template.spec.containers[{n}].image");
                    Err(Refusal::invalid(key, &field, "FieldValueRequired", "Required value"))
                }
                None => Ok(()),
            }
        }
        Resource::Namespace
        | Resource::Node
        | Resource::Secret
        | Resource::Service
        | Resource::ServiceAccount
        | Resource::Event
        | Resource::ReplicaSet
        | Resource::StatefulSet
        | Resource::DaemonSet
        | Resource::CronJob
        | Resource::Job
        | Resource::EndpointSlice
        | Resource::Lease
        | Resource::ProwJob => Ok(()),
    }
}

fn config_map(key: &ObjectKey, map: &Value) -> Result<(), Refusal> {
    let mut bytes = 0;
    for (part, is_binary) in [("data", false), ("binaryData", true)] {
        for (name, value) in map[part].as_object().into_iter().flatten() {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || name.len() > 253 || !name.chars().all(fits) || name == "." || name == ".." {
                let wrong = format!(
                    "Invalid value: \"{name}\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' \
                     (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                );
                return Err(Refusal::invalid(key, &format!("{part}[{name}]"), "FieldValueInvalid", &wrong));
            }
            let value = value.as_str().unwrap_or_default();
            bytes += if is_binary {
                match base64::engine::general_purpose::STANDARD.decode(value) {
                    Ok(decoded) => decoded.len(),
                    Err(error) => {
                        let what = format!("ConfigMap in version \"v1\" cannot be handled as a ConfigMap: {error}");
                        return Err(Refusal::bad_request(what));
                    }
                }
            } else {
                value.len()
            };
        }
    }
    if bytes > MOST_BYTES {
        let wrong = format!("Too long: may not be more than {MOST_BYTES} bytes");
        return Err(Refusal::invalid(key, "[]", "FieldValueTooLong", &wrong));
    }
    Ok(())
}

/// # Errors
/// 422 where something changes that must not.
pub fn change(key: &ObjectKey, before: &Value, after: &Value) -> Result<(), Refusal> {
    match key.resource {
        Resource::ConfigMap if before["immutable"] == true => {
            if let Some(part) = ["data", "binaryData"].into_iter().find(|part| before[*part] != after[*part]) {
                let wrong = "Forbidden: field is immutable when `immutable` is set";
                return Err(Refusal::invalid(key, part, "FieldValueForbidden", wrong));
            }
            Ok(())
        }
        Resource::Pod => pod_change(key, before, after),
        Resource::Deployment | Resource::ReplicaSet if before["spec"]["selector"] != after["spec"]["selector"] => {
            let wrong = format!("Invalid value: {}: field is immutable", after["spec"]["selector"]);
            Err(Refusal::invalid(key, "spec.selector", "FieldValueInvalid", &wrong))
        }
        Resource::ConfigMap
        | Resource::Deployment
        | Resource::ReplicaSet
        | Resource::Namespace
        | Resource::Node
        | Resource::Secret
        | Resource::Service
        | Resource::ServiceAccount
        | Resource::Event
        | Resource::StatefulSet
        | Resource::DaemonSet
        | Resource::CronJob
        | Resource::Job
        | Resource::EndpointSlice
        | Resource::Lease
        | Resource::ProwJob => Ok(()),
    }
}

/// Of a pod's spec only images (and a few more, which nobody here writes) may change.
fn pod_change(key: &ObjectKey, before: &Value, after: &Value) -> Result<(), Refusal> {
    let masked = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        for part in ["containers", "initContainers"] {
            for container in spec[part].as_array_mut().into_iter().flatten() {
                container["image"] = Value::Null;
            }
        }
        if let Some(spec) = spec.as_object_mut() {
            // Binding to a node goes another way in the real server; here the scheduler writes it.
            for field in ["nodeName", "tolerations", "activeDeadlineSeconds", "terminationGracePeriodSeconds"] {
                spec.remove(field);
            }
        }
        spec
    };
    if masked(before) != masked(after) {
        let wrong = "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
                     `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
                     existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                     previously negative)";
        return Err(Refusal::invalid(key, "spec", "FieldValueForbidden", wrong));
    }
    Ok(())
}
