//! Objects as they are right now, with the server's own JSON: what guards judge and backups keep.

use http::Request;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use serde::de::DeserializeOwned;

use super::gate::is_own_answer;
use super::{Cluster, errors, objects, request};
use crate::model::text::sanitize_line;
use crate::model::{Alias, ConfigMapState, Failure, FailureKind, Kind, ObjectRef};

/// A ConfigMap, complete.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveConfigMap {
    pub state: ConfigMapState,
    /// What of its metadata a write of ours would drop: owners and finalizers, in words.
    pub bound_to: Vec<String>,
    /// As the server gave it.
    pub json: Vec<u8>,
}

/// A pod, complete.
#[derive(Debug, Clone, PartialEq)]
pub struct LivePod {
    pub uid: String,
    pub deleting: bool,
    /// The `Ready` condition.
    pub ready: bool,
    /// As the server gave it.
    pub json: Vec<u8>,
}

impl Cluster {
    /// A consistent read of a ConfigMap; `None` where there is none.
    pub async fn live_config_map(&self, object: &ObjectRef) -> Result<Option<LiveConfigMap>, Failure> {
        match self.live_json(object, Kind::ConfigMap).await? {
            Some(json) => parse_config_map(self.alias(), json).map(Some),
            None => Ok(None),
        }
    }

    /// A consistent read of a pod; `None` where there is none.
    pub async fn live_pod(&self, object: &ObjectRef) -> Result<Option<LivePod>, Failure> {
        match self.live_json(object, Kind::Pod).await? {
            Some(json) => parse_pod(json).map(Some),
            None => Ok(None),
        }
    }

    async fn live_json(&self, object: &ObjectRef, kind: Kind) -> Result<Option<Vec<u8>>, Failure> {
        let path = request::path_of(object, kind)?;
        let request = Request::get(path).body(Vec::new()).map_err(|error| {
            Failure::new(FailureKind::Tool, "the request could not be built").cause(error.to_string())
        })?;
        let doing = format!("get {object}");
        match tokio::time::timeout(self.timeout(), self.client().request_text(request)).await {
            Ok(Ok(text)) => Ok(Some(text.into_bytes())),
            // "Not there" is believed of the API server only, not of something before it.
            Ok(Err(kube::Error::Api(status))) if status.code == 404 && is_own_answer(&status) => Ok(None),
            Ok(Err(error)) => Err(self.at_server(errors::classify(&error, &doing))),
            Err(_) => Err(self.at_server(errors::timed_out(&doing, self.timeout()))),
        }
    }
}

/// Reads a ConfigMap from the server's JSON: an answer, or a backup of one.
///
/// # Errors
/// It is none, or has no uid.
pub fn parse_config_map(alias: &Alias, json: Vec<u8>) -> Result<LiveConfigMap, Failure> {
    let map: ConfigMap = parse(&json, "ConfigMap")?;
    let owners = map.metadata.owner_references.iter().flatten();
    let finalizers = map.metadata.finalizers.iter().flatten();
    let bound_to = owners
        .map(|owner| format!("owner {} {}", sanitize_line(&owner.kind), sanitize_line(&owner.name)))
        .chain(finalizers.map(|name| format!("finalizer {}", sanitize_line(name))))
        .collect();
    let state = objects::config_map(alias, map).ok_or_else(|| odd("ConfigMap"))?;
    Ok(LiveConfigMap { state, bound_to, json })
}

fn parse_pod(json: Vec<u8>) -> Result<LivePod, Failure> {
    let pod: Pod = parse(&json, "Pod")?;
    let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
    Ok(LivePod {
        uid: pod.metadata.uid.filter(|uid| !uid.is_empty()).ok_or_else(|| odd("Pod"))?,
        deleting: pod.metadata.deletion_timestamp.is_some(),
        ready: conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        json,
    })
}

fn parse<T: DeserializeOwned>(json: &[u8], kind: &str) -> Result<T, Failure> {
    // The parser's message would quote what it parsed, and that may be secret.
    serde_json::from_slice(json).map_err(|_| odd(kind))
}

fn odd(kind: &str) -> Failure {
    Failure::new(FailureKind::Server, format!("what was read is no {kind} as the Kubernetes API promises"))
        .hint("is there a proxy or another program between here and the API server?")
}
