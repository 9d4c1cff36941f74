//! What an API server says when it will not: `Status` objects in the words of Kubernetes 1.34.

use serde_json::{Value, json};

use super::object::{ObjectKey, Resource};

const PAGE: &str = "404 page not found\n";

/// A request that was refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    /// `null` where the real server gives none.
    pub details: Value,
}

impl Refusal {
    /// As it is sent.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }

    pub fn bad_request(message: impl Into<String>) -> Refusal {
        Refusal { code: 400, reason: "BadRequest", message: message.into(), details: Value::Null }
    }

    pub fn other_name(body: &str, url: &str) -> Refusal {
        Refusal::bad_request(format!("the name of the object ({body}) does not match the name on the URL ({url})"))
    }

    pub fn unauthorized() -> Refusal {
        Refusal { code: 401, reason: "Unauthorized", message: "Unauthorized".to_owned(), details: Value::Null }
    }

    pub fn forbidden(resource: &str, group: &str, name: &str, why: &str) -> Refusal {
        let qualified = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let about = if name.is_empty() { qualified } else { format!("{qualified} \"{name}\"") };
        let message = format!("{about} is forbidden: {why}");
        Refusal { code: 403, reason: "Forbidden", message, details: details(name, group, resource) }
    }

    pub fn not_found(key: &ObjectKey) -> Refusal {
        let facts = key.resource.facts();
        let message = format!("{} \"{}\" not found", key.resource.qualified(), key.name);
        Refusal { code: 404, reason: "NotFound", message, details: details(&key.name, facts.group, facts.plural) }
    }

    pub fn no_such_path() -> Refusal {
        let message = "the server could not find the requested resource".to_owned();
        Refusal { code: 404, reason: "NotFound", message, details: json!({}) }
    }

    /// Of a group that nobody serves: not a Status, but a page.
    pub fn no_such_page() -> Refusal {
        Refusal { code: 404, reason: "", message: PAGE.to_owned(), details: Value::Null }
    }

    /// The page to be sent in place of a Status.
    pub fn page(&self) -> Option<&'static str> {
        (self.message == PAGE).then_some(PAGE)
    }

    pub fn method_not_allowed() -> Refusal {
        let message = "the server does not allow this method on the requested resource".to_owned();
        Refusal { code: 405, reason: "MethodNotAllowed", message, details: json!({}) }
    }

    pub fn already_exists(key: &ObjectKey) -> Refusal {
        let facts = key.resource.facts();
        let message = format!("{} \"{}\" already exists", key.resource.qualified(), key.name);
        Refusal { code: 409, reason: "AlreadyExists", message, details: details(&key.name, facts.group, facts.plural) }
    }

    pub fn conflict(key: &ObjectKey, why: &str) -> Refusal {
        let facts = key.resource.facts();
        let message = format!("Operation cannot be fulfilled on {} \"{}\": {why}", key.resource.qualified(), key.name);
        Refusal { code: 409, reason: "Conflict", message, details: details(&key.name, facts.group, facts.plural) }
    }

    /// Of a deletion: here the server names the kind.
    pub fn precondition(key: &ObjectKey, why: &str) -> Refusal {
        let facts = key.resource.facts();
        let kind = qualified_kind(key.resource);
        let message = format!("Operation cannot be fulfilled on {kind} \"{}\": {why}", key.name);
        Refusal { code: 409, reason: "Conflict", message, details: details(&key.name, facts.group, facts.kind) }
    }

    pub fn modified(key: &ObjectKey) -> Refusal {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Refusal::conflict(key, why)
    }

    pub fn expired(message: impl Into<String>) -> Refusal {
        Refusal { code: 410, reason: "Expired", message: message.into(), details: Value::Null }
    }

    pub fn too_large(limit: usize) -> Refusal {
        let message = format!("Request entity too large: limit is {limit}");
        Refusal { code: 413, reason: "RequestEntityTooLarge", message, details: Value::Null }
    }

    /// A patch of a type that built-in kinds do not take.
    pub fn unsupported_media() -> Refusal {
        let message = "415: Unsupported Media Type".to_owned();
        Refusal { code: 415, reason: "UnsupportedMediaType", message, details: json!({}) }
    }

    /// The same of a custom resource.
    pub fn unknown_format(accepted: &str) -> Refusal {
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
        Refusal { code: 415, reason: "UnsupportedMediaType", message, details: Value::Null }
    }

    /// The client decides no version of what it creates.
    pub fn version_on_create() -> Refusal {
        let message = "resourceVersion should not be set on objects to be created".to_owned();
        Refusal { code: 500, reason: "", message, details: Value::Null }
    }

    /// `field`, the cause's `reason`, and what is wrong with it.
    pub fn invalid(key: &ObjectKey, field: &str, reason: &str, wrong: &str) -> Refusal {
        let facts = key.resource.facts();
        let kind = qualified_kind(key.resource);
        let message = format!("{kind} \"{}\" is invalid: {field}: {wrong}", key.name);
        let mut details = details(&key.name, facts.group, facts.kind);
        details["causes"] = json!([{ "reason": reason, "message": wrong, "field": field }]);
        Refusal { code: 422, reason: "Invalid", message, details }
    }

    /// A JSON patch whose test failed.
    pub fn test_failed() -> Refusal {
        let message = "the server rejected our request due to an error in our request".to_owned();
        Refusal { code: 422, reason: "Invalid", message, details: json!({}) }
    }
}

fn qualified_kind(resource: Resource) -> String {
    let facts = resource.facts();
    if facts.group.is_empty() { facts.kind.to_owned() } else { format!("{}.{}", facts.kind, facts.group) }
}

fn details(name: &str, group: &str, kind: &str) -> Value {
    let mut details = json!({ "kind": kind });
    if !name.is_empty() {
        details["name"] = json!(name);
    }
    if !group.is_empty() {
        details["group"] = json!(group);
    }
    details
}

/// The answer to a deletion of what was gone at once.
pub fn success(resource: Resource, name: &str, uid: &str) -> Value {
    let facts = resource.facts();
    let mut details = details(name, facts.group, facts.plural);
    details["uid"] = json!(uid);
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}
