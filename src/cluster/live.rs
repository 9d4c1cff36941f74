//! Objects as they are right now, with the server's own JSON: what guards judge and backups keep.

use http::Request;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::gate::is_own_answer;
use super::job_pods::ID;
use super::{Cluster, errors, objects, request};
use crate::model::text::sanitize_line;
use crate::model::{Alias, ConfigMapState, Failure, FailureKind, Kind, ObjectRef, WorkloadState};

/// Prow's label on the pods of its jobs.
const CREATED_BY_PROW: &str = "created-by-prow";

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
    pub resource_version: String,
    pub deleting: bool,
    /// The `Ready` condition.
    pub ready: bool,
    /// `Running`, `Pending`.
    pub phase: String,
    /// It carries `created-by-prow=true`.
    pub made_by_prow: bool,
    /// Label `prow.k8s.io/id`: name of its ProwJob.
    pub prowjob_id: Option<String>,
    /// As the server gave it.
    pub json: Vec<u8>,
}

/// A Deployment, StatefulSet, DaemonSet or CronJob, as far as its images go.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveWorkload {
    pub state: WorkloadState,
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

    /// A consistent read of a workload; `None` where there is none.
    pub async fn live_workload(&self, object: &ObjectRef) -> Result<Option<LiveWorkload>, Failure> {
        match self.live_json(object, object.kind).await? {
            Some(json) => parse_workload(json).map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn live_json(&self, object: &ObjectRef, kind: Kind) -> Result<Option<Vec<u8>>, Failure> {
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
    let status = pod.status.unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let labels = pod.metadata.labels.unwrap_or_default();
    Ok(LivePod {
        uid: pod.metadata.uid.filter(|uid| !uid.is_empty()).ok_or_else(|| odd("Pod"))?,
        resource_version: pod.metadata.resource_version.unwrap_or_default(),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        phase: status.phase.unwrap_or_default(),
        prowjob_id: labels.get(ID).map(|id| sanitize_line(id)),
        made_by_prow: labels.get(CREATED_BY_PROW).is_some_and(|value| value == "true"),
        ready: conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        json,
    })
}

#[derive(Deserialize)]
struct Workload {
    metadata: ObjectMeta,
    spec: WorkloadSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WorkloadSpec {
    #[serde(default)]
    paused: bool,
    template: Option<PodTemplateSpec>,
    /// A CronJob's.
    job_template: Option<JobTemplate>,
}

#[derive(Deserialize)]
struct JobTemplate {
    spec: JobSpec,
}

#[derive(Deserialize)]
struct JobSpec {
    template: PodTemplateSpec,
}

fn parse_workload(json: Vec<u8>) -> Result<LiveWorkload, Failure> {
    let workload: Workload = parse(&json, "workload")?;
    let meta = workload.metadata;
    let template = workload.spec.template.or(workload.spec.job_template.map(|job| job.spec.template));
    let containers = template.and_then(|template| template.spec).map(|spec| spec.containers).unwrap_or_default();
    // Status is written all the time, and by nobody who would be at work on the same thing.
    let fields = meta.managed_fields.unwrap_or_default();
    let writers = fields.into_iter().filter(|entry| entry.subresource.as_deref().unwrap_or_default().is_empty());
    let last = writers.max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    let state = WorkloadState {
        uid: meta.uid.filter(|uid| !uid.is_empty()).ok_or_else(|| odd("workload"))?,
        resource_version: meta.resource_version.unwrap_or_default(),
        images: containers
            .into_iter()
            .map(|container| (sanitize_line(&container.name), sanitize_line(&container.image.unwrap_or_default())))
            .collect(),
        paused: workload.spec.paused,
        last_writer: last.and_then(|entry| entry.manager).map(|manager| sanitize_line(&manager)),
    };
    Ok(LiveWorkload { state, json })
}

pub(super) fn parse<T: DeserializeOwned>(json: &[u8], kind: &str) -> Result<T, Failure> {
    // The parser's message would quote what it parsed, and that may be secret.
    serde_json::from_slice(json).map_err(|_| odd(kind))
}

pub(super) fn odd(kind: &str) -> Failure {
    Failure::new(FailureKind::Server, format!("what was read is no {kind} as the Kubernetes API promises"))
        .hint("is there a proxy or another program between here and the API server?")
}
