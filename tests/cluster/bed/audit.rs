//! The API server's audit log, parsed: who sent what. It is the tests' oracle for "nothing was written".

use std::path::Path;

use serde_json::Value;

/// One request, as the API server answered it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The client's own id of the request, if it sent one.
    pub id: String,
    pub user: String,
    pub user_agent: String,
    pub verb: String,
    pub uri: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub code: u64,
    /// The body, of mutating requests.
    pub request: Option<Value>,
    /// When it arrived, RFC 3339 with microseconds.
    pub received: String,
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let text = |pointer: &str| {
            let text = value.pointer(pointer).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        Some(Self {
            id: text("/auditID"),
            user: text("/user/username"),
            user_agent: text("/userAgent"),
            verb: text("/verb"),
            uri: text("/requestURI"),
            resource: text("/objectRef/resource"),
            subresource: text("/objectRef/subresource"),
            namespace: text("/objectRef/namespace"),
            name: text("/objectRef/name"),
            code: value.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or(0),
            request: value.get("requestObject").cloned(),
            received: text("/requestReceivedTimestamp"),
        })
    }

    /// Whether the request asks the server to change something.
    pub fn mutating(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }

    /// Whether the server was told only to pretend: in the URL or in DeleteOptions. Where there are DeleteOptions, the
    /// server does not look at the URL.
    pub fn dry_run(&self) -> bool {
        let query = self.uri.split_once('?').map_or("", |(_, query)| query);
        let in_url = query.split('&').any(|pair| pair == "dryRun=All");
        match self.request.as_ref().filter(|body| body["kind"] == "DeleteOptions") {
            Some(options) => options["dryRun"] == serde_json::json!(["All"]),
            None => in_url,
        }
    }

    /// Whether the object was meant to be different afterwards.
    pub fn writes(&self) -> bool {
        self.mutating() && !self.dry_run()
    }
}

/// As [`read`], of one user; the lines of others, which are many, are not parsed.
pub fn read_of(log: &Path, user: &str) -> Vec<Entry> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let named = format!("\"{user}\"");
    let entries = text.lines().filter(|line| line.contains(&named)).filter_map(Entry::parse);
    entries.filter(|entry| entry.user == user).collect()
}

/// Everything so far, in the order of the answers. A line that is just being written is left out.
pub fn read(log: &Path) -> Vec<Entry> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().filter_map(Entry::parse).collect()
}
