//! What the API server refuses to store, as far as this program and Prow run into it.

use base64::Engine as _;
use serde_json::Value;

use super::super::object::{ObjectKey, Resource, is_deleting, items, number, text};
use super::super::refusal::{Cause, Refusal};

/// Bytes of all values of a ConfigMap or Secret; keys do not count.
const MOST_BYTES: usize = 1024 * 1024;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
    must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const DNS_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
    end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start \
    and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
    '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
    'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// # Errors
/// 422, as the server's.
pub fn object(key: &ObjectKey, after: &Value) -> Result<(), Refusal> {
    let mut causes = metadata(key, after);
    match key.resource {
        Resource::ConfigMap => causes.extend(config_map(after)?),
        Resource::Pod => causes.extend(containers("spec.containers", items(after, "/spec/containers"))),
        Resource::Deployment => {
            if let Some(replicas) = number(after, "/spec/replicas").filter(|replicas| *replicas < 0) {
                let wrong = format!("Invalid value: {replicas}: must be greater than or equal to 0");
                causes.push(Cause::new("spec.replicas", "FieldValueInvalid", wrong));
            }
            let pointer = "/spec/template/spec/containers";
            causes.extend(containers("spec.template.spec.containers", items(after, pointer)));
        }
        Resource::Namespace
        | Resource::Node
        | Resource::Secret
        | Resource::Service
        | Resource::ServiceAccount
        | Resource::Event
        | Resource::ResourceQuota
        | Resource::ReplicaSet
        | Resource::StatefulSet
        | Resource::DaemonSet
        | Resource::CronJob
        | Resource::Job
        | Resource::EndpointSlice
        | Resource::Lease
        | Resource::ProwJob => {}
    }
    if causes.is_empty() { Ok(()) } else { Err(Refusal::all_invalid(key, &causes)) }
}

fn invalid(field: impl Into<String>, value: &str, wrong: &str) -> Cause {
    Cause::new(field, "FieldValueInvalid", format!("Invalid value: \"{value}\": {wrong}"))
}

/// Begins and ends with a letter or a digit, and has only those and `also` between.
fn is_word(text: &str, fits: fn(char) -> bool, also: &str) -> bool {
    let mut ends = [text.chars().next(), text.chars().next_back()].into_iter().flatten();
    ends.all(fits) && text.chars().all(|c| fits(c) || also.contains(c))
}

fn metadata(key: &ObjectKey, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !is_word(&key.name, small, "-.") {
        causes.push(invalid("metadata.name", &key.name, SUBDOMAIN));
    }
    for value in object["metadata"]["labels"].as_object().into_iter().flatten().map(|(_, value)| value) {
        let value = value.as_str().unwrap_or_default();
        if !is_word(value, |c| c.is_ascii_alphanumeric(), "-_.") || value.len() > 63 {
            causes.push(invalid("metadata.labels", value, LABEL));
        }
    }
    causes
}

fn containers(field: &str, containers: &[Value]) -> Vec<Cause> {
    let required = |field: String| Cause::new(field, "FieldValueRequired", "Required value");
    if containers.is_empty() {
        return vec![required(field.to_owned())];
    }
    let mut causes = Vec::new();
    let small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    for (n, container) in containers.iter().enumerate() {
        let name = text(container, "/name");
        if name.is_empty() {
            causes.push(required(format!("{field}[{n}].name")));
        } else if !is_word(name, small, "-") {
            causes.push(invalid(format!("{field}[{n}].name"), name, DNS_LABEL));
        }
        if text(container, "/image").is_empty() {
            causes.push(required(format!("{field}[{n}].image")));
        }
    }
    causes
}

/// What is wrong with the keys and values of a ConfigMap.
fn config_map(map: &Value) -> Result<Vec<Cause>, Refusal> {
    let mut causes = Vec::new();
    let mut bytes = 0;
    for (part, is_binary) in [("data", false), ("binaryData", true)] {
        let entries = match &map[part] {
            Value::Object(entries) => Some(entries),
            Value::Null => None,
            _ => return Err(undecodable(&format!("{part} is no object"))),
        };
        for (name, value) in entries.into_iter().flatten() {
            let Some(value) = value.as_str() else { return Err(undecodable("a value is no text")) };
            let field = format!("{part}[{name}]");
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.len() > 253 {
                causes.push(invalid(&field, name, "must be no more than 253 characters"));
            }
            if name.is_empty() || !name.chars().all(fits) {
                causes.push(invalid(&field, name, CONFIG_KEY));
            } else if name == "." || name == ".." {
                causes.push(invalid(&field, name, &format!("must not be '{name}'")));
            } else if name.starts_with("..") {
                causes.push(invalid(&field, name, "must not start with '..'"));
            }
            if !is_binary && map["binaryData"].get(name).is_some() {
                causes.push(invalid(&field, name, "duplicate of key present in binaryData"));
            }
            bytes += if is_binary {
                let decoded = base64::engine::general_purpose::STANDARD.decode(value);
                decoded.map_err(|error| undecodable(&error.to_string()))?.len()
            } else {
                value.len()
            };
        }
    }
    if bytes > MOST_BYTES {
        let wrong = format!("Too long: may not be more than {MOST_BYTES} bytes");
        causes.push(Cause::new("[]", "FieldValueTooLong", wrong));
    }
    Ok(causes)
}

fn undecodable(why: &str) -> Refusal {
    Refusal::bad_request(format!("ConfigMap in version \"v1\" cannot be handled as a ConfigMap: {why}"))
}

/// # Errors
/// 422 where something changes that must not.
pub fn change(key: &ObjectKey, before: &Value, after: &Value) -> Result<(), Refusal> {
    let held = items(before, "/metadata/finalizers");
    let new = items(after, "/metadata/finalizers").iter().filter(|finalizer| !held.contains(finalizer));
    let new: Vec<String> = new.map(Value::to_string).collect();
    if is_deleting(before) && !new.is_empty() {
        let wrong = format!(
            "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            new.join(", ")
        );
        // The server looks twice.
        let cause = Cause::new("metadata.finalizers", "FieldValueForbidden", wrong);
        return Err(Refusal::all_invalid(key, &[cause.clone(), cause]));
    }
    match key.resource {
        Resource::ConfigMap if before["immutable"] == true => {
            if after["immutable"] != true {
                let wrong = "Forbidden: field is immutable when `immutable` is set";
                return Err(Refusal::invalid(key, "immutable", "FieldValueForbidden", wrong));
            }
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
        | Resource::ResourceQuota
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
    if before["spec"] != after["spec"] && masked(before) != masked(after) {
        let wrong = "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
                     `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
                     existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                     previously negative)";
        return Err(Refusal::invalid(key, "spec", "FieldValueForbidden", wrong));
    }
    Ok(())
}
