//! One API server as one user sees it: plain requests through `kube::Client`, answers as they are on the wire.

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// How long a watch may be silent before a test gives up.
const SILENCE: Duration = Duration::from_secs(20);

pub const MERGE: &str = "application/merge-patch+json";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub const JSON_PATCH: &str = "application/json-patch+json";
const JSON: &str = "application/json";

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub code: u16,
    pub text: String,
    /// Null where the text is no JSON.
    pub body: Value,
}

impl Answer {
    /// The object, where the server did what was asked.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.code), "{} {}", self.code, self.text);
        self.body
    }

    /// That it refused, and how.
    #[track_caller]
    pub fn refused(&self, code: u16, reason: &str) {
        assert_eq!((self.code, self.body["reason"].as_str().unwrap_or_default()), (code, reason), "{}", self.text);
    }
}

/// A user's connection to a server.
#[derive(Clone)]
pub struct Server {
    client: Client,
}

impl Server {
    pub fn new(client: Client) -> Self {
        Server { client }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub async fn ask(&self, method: Method, path: &str, kind: &str, body: Vec<u8>) -> Answer {
        let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, kind).header(ACCEPT, JSON);
        let request = request.body(Body::from(body)).expect("a request");
        let response = self.client.send(request).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap_or_else(|error| panic!("{path}: {error}")).to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { code, body: serde_json::from_str(&text).unwrap_or_default(), text }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, JSON, Vec::new()).await
    }

    pub async fn post(&self, path: &str, object: &Value) -> Answer {
        self.ask(Method::POST, path, JSON, object.to_string().into()).await
    }

    pub async fn put(&self, path: &str, object: &Value) -> Answer {
        self.ask(Method::PUT, path, JSON, object.to_string().into()).await
    }

    pub async fn patch(&self, path: &str, kind: &str, patch: &Value) -> Answer {
        self.ask(Method::PATCH, path, kind, patch.to_string().into()).await
    }

    /// With options in the body, as kube sends them.
    pub async fn delete_with(&self, path: &str, options: &Value) -> Answer {
        self.ask(Method::DELETE, path, JSON, options.to_string().into()).await
    }

    /// Without a body.
    pub async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, JSON, Vec::new()).await
    }

    pub async fn items(&self, path: &str) -> Vec<Value> {
        self.get(path).await.ok()["items"].as_array().cloned().unwrap_or_default()
    }

    /// A pod's log, or the refusal.
    pub async fn log(&self, namespace: &str, pod: &str, query: &str) -> Answer {
        self.get(&format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?{query}")).await
    }

    /// Begins to watch; `path` ends with a query.
    pub async fn watch(&self, path: &str) -> Watching {
        let request = Request::get(format!("{path}&watch=true")).header(ACCEPT, JSON);
        let request = request.body(Body::empty()).expect("a request");
        let response = self.client.send(request).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        let code = response.status().as_u16();
        let chunks = response.into_body().into_data_stream().map(|chunk| chunk.expect("the watch goes on").to_vec());
        Watching { code, chunks: chunks.boxed(), buffer: Vec::new(), events: VecDeque::new() }
    }
}

/// A watch under way.
pub struct Watching {
    pub code: u16,
    chunks: BoxStream<'static, Vec<u8>>,
    buffer: Vec<u8>,
    events: VecDeque<Value>,
}

impl Watching {
    /// The next event; `None` when the server has ended the watch.
    ///
    /// # Panics
    /// When the server says nothing for long.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let chunk = tokio::time::timeout(SILENCE, self.chunks.next()).await.expect("the watch says something")?;
            self.buffer.extend(chunk);
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                self.events.push_back(serde_json::from_slice(&line).expect("an event"));
            }
        }
    }

    /// So many events, bookmarks not counted.
    pub async fn take(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            let event = self.next().await.expect("the watch goes on");
            if event["type"] != "BOOKMARK" {
                events.push(event);
            }
        }
        events
    }

    /// Everything until the server ends it.
    pub async fn rest(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// Where the objects of a kind are: `path("configmaps", "prow")`.
pub fn path(plural: &str, namespace: &str) -> String {
    let group = match plural {
        "deployments" | "replicasets" => "/apis/apps/v1",
        "prowjobs" => "/apis/prow.k8s.io/v1",
        _ => "/api/v1",
    };
    format!("{group}/namespaces/{namespace}/{plural}")
}

pub fn at(plural: &str, namespace: &str, name: &str) -> String {
    format!("{}/{name}", path(plural, namespace))
}

/// Text at a JSON pointer; empty where there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

pub fn version(object: &Value) -> &str {
    text(object, "/metadata/resourceVersion")
}

pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub fn names(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(name).collect()
}

pub fn config_map(name: &str, value: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "k": value } })
}
