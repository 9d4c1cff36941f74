//! Label and field selectors, as the API server reads them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::object::{Resource, label, text};
use super::refusal::Refusal;

#[derive(Debug, Clone, PartialEq)]
enum Labelled {
    In(String, BTreeSet<String>),
    /// Also true without the label.
    NotIn(String, BTreeSet<String>),
    Exists(String),
    Absent(String),
}

#[derive(Debug, Clone, PartialEq)]
struct Field {
    pointer: String,
    equal: bool,
    value: String,
}

/// What a list or a watch is limited to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selector {
    namespace: Option<String>,
    labels: Vec<Labelled>,
    fields: Vec<Field>,
}

impl Selector {
    /// # Errors
    /// 400, as the server's, for what it cannot read or does not index.
    pub fn parse(resource: Resource, namespace: &str, labels: &str, fields: &str) -> Result<Selector, Refusal> {
        Ok(Selector {
            namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
            labels: parts(labels).into_iter().map(labelled).collect::<Result<_, _>>()?,
            fields: parts(fields).into_iter().map(|part| field(resource, part)).collect::<Result<_, _>>()?,
        })
    }

    pub fn matches(&self, object: &Value) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| text(object, "/metadata/namespace") == namespace)
            && self.labels.iter().all(|wanted| match wanted {
                Labelled::In(key, values) => label(object, key).is_some_and(|value| values.contains(value)),
                Labelled::NotIn(key, values) => label(object, key).is_none_or(|value| !values.contains(value)),
                Labelled::Exists(key) => label(object, key).is_some(),
                Labelled::Absent(key) => label(object, key).is_none(),
            })
            && self.fields.iter().all(|field| (text(object, &field.pointer) == field.value) == field.equal)
    }
}

/// At commas, but not inside parentheses.
fn parts(selector: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    selector
        .split(move |c| {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        })
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect()
}

fn labelled(part: &str) -> Result<Labelled, Refusal> {
    let one = |value: &str| BTreeSet::from([value.trim().to_owned()]);
    let set = |values: &str| -> Option<BTreeSet<String>> {
        let inner = values.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(inner.split(',').map(|value| value.trim().to_owned()).collect())
    };
    let bad = |found: &str| {
        let found = found.trim();
        Refusal::bad_request(format!("unable to parse requirement: found '{found}' expected: '('"))
    };
    if let Some((key, values)) = part.split_once(" notin ") {
        return Ok(Labelled::NotIn(key.trim().to_owned(), set(values).ok_or_else(|| bad(values))?));
    }
    if let Some((key, values)) = part.split_once(" in ") {
        return Ok(Labelled::In(key.trim().to_owned(), set(values).ok_or_else(|| bad(values))?));
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Labelled::NotIn(key.trim().to_owned(), one(value)));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Labelled::In(key.trim().to_owned(), one(value)));
    }
    if part.contains(char::is_whitespace) {
        return Err(bad(part));
    }
    Ok(match part.strip_prefix('!') {
        Some(key) => Labelled::Absent(key.to_owned()),
        None => Labelled::Exists(part.to_owned()),
    })
}

fn field(resource: Resource, part: &str) -> Result<Field, Refusal> {
    let split = part
        .split_once("!=")
        .map(|(key, value)| (key, value, false))
        .or_else(|| part.split_once("==").or_else(|| part.split_once('=')).map(|(key, value)| (key, value, true)));
    let Some((key, value, equal)) = split else {
        return Err(Refusal::bad_request(format!("invalid selector: '{part}'; can't understand '{part}'")));
    };
    if !is_indexed(resource, key) {
        return Err(Refusal::bad_request(format!("field label not supported: {key}")));
    }
    Ok(Field { pointer: format!("/{}", key.replace('.', "/")), equal, value: value.to_owned() })
}

fn is_indexed(resource: Resource, key: &str) -> bool {
    if matches!(key, "metadata.name" | "metadata.namespace") {
        return true;
    }
    match resource {
        Resource::Pod => matches!(
            key,
            "spec.nodeName"
                | "spec.restartPolicy"
                | "spec.schedulerName"
                | "spec.serviceAccountName"
                | "status.phase"
                | "status.podIP"
        ),
        Resource::Event => {
            let of_object = ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"];
            let involved = key.strip_prefix("involvedObject.").is_some_and(|rest| of_object.contains(&rest));
            involved || matches!(key, "reason" | "type" | "reportingComponent")
        }
        Resource::Secret => key == "type",
        Resource::Namespace => key == "status.phase",
        Resource::Node
        | Resource::ConfigMap
        | Resource::Service
        | Resource::ServiceAccount
        | Resource::Deployment
        | Resource::ReplicaSet
        | Resource::StatefulSet
        | Resource::DaemonSet
        | Resource::CronJob
        | Resource::Job
        | Resource::EndpointSlice
        | Resource::Lease
        | Resource::ProwJob => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(labels: &str, fields: &str) -> bool {
        let pod = json!({"metadata": {"namespace": "default", "labels": {"app": "hook", "created-by-prow": "true"}},
            "status": {"phase": "Running"}});
        Selector::parse(Resource::Pod, "", labels, fields).expect("a selector").matches(&pod)
    }

    #[test]
    fn labels_select_as_the_api_does() {
        for (selector, wanted) in [
            ("app=hook", true),
            ("app==hook,created-by-prow=true", true),
            ("app!=hook", false),
            ("tier!=front", true),
            ("app in (deck,hook), created-by-prow", true),
            ("app in (deck)", false),
            ("app notin (deck),tier notin (x)", true),
            ("!app", false),
            ("!tier", true),
            ("tier", false),
        ] {
            assert_eq!(matches(selector, ""), wanted, "{selector}");
        }
        assert_eq!(Selector::parse(Resource::Pod, "", "app in hook", "").unwrap_err().code, 400);
    }

    #[test]
    fn fields_add_up_and_unknown_ones_are_refused() {
        assert!(matches("", "metadata.namespace!=test-pods,metadata.namespace!=prow,status.phase=Running"));
        assert!(!matches("", "metadata.namespace!=test-pods,metadata.namespace!=default"));
        let refused = Selector::parse(Resource::Pod, "", "", "spec.hostname=x").unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (400, "field label not supported: spec.hostname"));
    }
}
