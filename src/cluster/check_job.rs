//! The Job that asks a checkconfig: how it looks, and how it fares.
//!
//! Its pod has two containers of one image: one reads the candidate, the other a configuration that no Prow loads. Only where
//! the second refuses is the first a checkconfig whose word counts.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::JobStatus;
use k8s_openapi::api::core::v1::{ContainerState, Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::ListParams;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Cluster;
use super::live::{odd, parse};
use crate::model::text::sanitize_line;
use crate::model::{
    CANARY_CONTAINER, CHECK_CONTAINER, CanaryFile, CheckFile, CheckJob, Failure, Key, Kind, OWN_LABEL, ObjectRef,
    is_own,
};

/// Seconds after which the cluster ends a Job, whatever it does: a place must be found and the image pulled before a
/// checkconfig begins, and all of that counts.
pub const DEADLINE_SECONDS: u64 = 600;
/// Seconds after its end in which a Job goes by itself, and all that it owns: nobody may be left to take it away.
pub const KEPT_SECONDS: u64 = 600;

/// Where the container of the canary finds it.
const CANARY_FOLDER: &str = "/etc/canary";
const CANARY_PATH: &str = "config.yaml";

/// A Job, as far as taking it away goes.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveJob {
    pub uid: String,
    pub deleting: bool,
    /// It carries [`OWN_LABEL`].
    pub is_own: bool,
    /// As the server gave it.
    pub json: Vec<u8>,
}

/// How a Job fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// No container runs yet; why, where that is told.
    Waiting(Option<String>),
    Running,
    /// Both containers have ended, with these exit codes.
    Ended {
        pod: Key,
        code: i32,
        canary: i32,
    },
    /// There will be no answer any more, and why.
    Over(String),
}

#[derive(Deserialize)]
struct Object {
    metadata: ObjectMeta,
    #[serde(default)]
    status: Option<JobStatus>,
}

impl Cluster {
    /// A consistent read of a Job; `None` where there is none.
    pub async fn live_job(&self, object: &ObjectRef) -> Result<Option<LiveJob>, Failure> {
        let Some(json) = self.live_json(object, Kind::Job).await? else { return Ok(None) };
        let Object { metadata, status: _ } = parse(&json, "Job")?;
        let labels: BTreeMap<String, String> = metadata.labels.unwrap_or_default();
        Ok(Some(LiveJob {
            uid: metadata.uid.filter(|uid| !uid.is_empty()).ok_or_else(|| odd("Job"))?,
            deleting: metadata.deletion_timestamp.is_some(),
            is_own: is_own(&labels),
            json,
        }))
    }

    /// How a Job with one try fares.
    ///
    /// # Errors
    /// The Job cannot be read, or pods cannot be listed.
    pub async fn job_state(&self, job: &ObjectRef) -> Result<JobState, Failure> {
        // The Job first: what its end says must not be newer than what its pod says.
        let Some(json) = self.live_json(job, Kind::Job).await? else {
            return Ok(JobState::Over(
                "it is not there any more: somebody deleted it, or it went by itself".to_owned(),
            ));
        };
        let Object { metadata, status } = parse(&json, "Job")?;
        let end = match metadata.deletion_timestamp {
            Some(_) => Some("somebody is deleting it".to_owned()),
            None => end_of(&status.unwrap_or_default()),
        };
        let pods: Api<Pod> = Api::namespaced(self.client(), &job.namespace);
        let params = ListParams::default().labels(&format!("job-name={}", job.name));
        let doing = format!("list pods in namespace {}", job.namespace);
        let found = self.call(&doing, pods.list(&params)).await?;
        Ok(fares(&job.namespace, end, found.items))
    }
}

/// Why a Job has ended without success, where it has: `DeadlineExceeded: …`.
fn end_of(status: &JobStatus) -> Option<String> {
    let failed = status.conditions.iter().flatten().find(|held| held.type_ == "Failed" && held.status == "True")?;
    Some(reason(failed.reason.as_deref(), failed.message.as_deref()))
}

fn fares(namespace: &str, end: Option<String>, pods: Vec<Pod>) -> JobState {
    let mut state = JobState::Waiting(pods.is_empty().then(|| "no pod was made for it".to_owned()));
    for pod in pods {
        let name = sanitize_line(pod.metadata.name.as_deref().unwrap_or_default());
        let status = pod.status.unwrap_or_default();
        let ended = |name| state_of(&status, name)?.terminated.as_ref().map(|ended| ended.exit_code);
        if let (Some(code), Some(canary)) = (ended(CHECK_CONTAINER), ended(CANARY_CONTAINER)) {
            return JobState::Ended { pod: Key::new(namespace, name), code, canary };
        }
        if status.phase.as_deref() == Some("Failed") {
            // Evicted, or its node is lost.
            return JobState::Over(reason(status.reason.as_deref(), status.message.as_deref()));
        }
        let begun =
            |name| state_of(&status, name).is_some_and(|state| state.running.is_some() || state.terminated.is_some());
        state = if begun(CHECK_CONTAINER) && begun(CANARY_CONTAINER) {
            JobState::Running
        } else {
            JobState::Waiting(waits_for(&status))
        };
    }
    match end {
        Some(why) => JobState::Over(why),
        None => state,
    }
}

fn state_of<'a>(status: &'a PodStatus, container: &str) -> Option<&'a ContainerState> {
    let statuses = status.container_statuses.as_deref().unwrap_or_default();
    statuses.iter().find(|status| status.name == container)?.state.as_ref()
}

/// Why the containers of a pod do not run yet: no place, or what the kubelet says.
fn waits_for(status: &PodStatus) -> Option<String> {
    let placed = status.conditions.iter().flatten().find(|held| held.type_ == "PodScheduled" && held.status == "False");
    if let Some(placed) = placed {
        return Some(reason(placed.reason.as_deref(), placed.message.as_deref()));
    }
    let waiting =
        [CHECK_CONTAINER, CANARY_CONTAINER].into_iter().filter_map(|name| state_of(status, name)?.waiting.as_ref());
    let told = waiting.filter(|waiting| waiting.reason.is_some());
    // What is being made for one container says less than what ails the other.
    let worst = told.max_by_key(|waiting| waiting.reason.as_deref() != Some("ContainerCreating"))?;
    Some(reason(worst.reason.as_deref(), worst.message.as_deref()))
}

fn reason(reason: Option<&str>, message: Option<&str>) -> String {
    let words: Vec<&str> = reason.into_iter().chain(message).filter(|words| !words.is_empty()).collect();
    sanitize_line(&words.join(": "))
}

/// The Job as it is sent. It may do nothing in the cluster, and tries once.
pub(super) fn object(object: &ObjectRef, body: &CheckJob) -> Value {
    let labels = json!({ OWN_LABEL.0: OWN_LABEL.1 });
    let folder = |n: usize| format!("folder-{n}");
    let mount = |name: &str, path: &str| json!({ "name": name, "mountPath": path, "readOnly": true });
    let container = |name: &str, args: &[String], mounts: Vec<Value>| {
        json!({
            "name": name,
            "image": body.image,
            "args": args,
            "volumeMounts": mounts,
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
        })
    };
    let folders = body.folders.iter().enumerate();
    let mounts = folders.clone().map(|(n, laid)| mount(&folder(n), &laid.path)).collect();
    let mut volumes: Vec<Value> = folders.map(|(n, laid)| volume(&folder(n), &laid.files)).collect();
    volumes.push(canary_volume(&body.canary));
    let canary_args = [format!("--config-path={CANARY_FOLDER}/{CANARY_PATH}")];
    let secrets: Vec<Value> = body.placement.image_pull_secrets.iter().map(|name| json!({ "name": name })).collect();
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "name": object.name, "namespace": object.namespace, "labels": labels },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "nodeSelector": body.placement.node_selector,
                    "tolerations": body.placement.tolerations,
                    "imagePullSecrets": secrets,
                    "containers": [
                        container(CHECK_CONTAINER, &body.args, mounts),
                        container(CANARY_CONTAINER, &canary_args, vec![mount(CANARY_CONTAINER, CANARY_FOLDER)]),
                    ],
                    "volumes": volumes,
                },
            },
        },
    })
}

/// A folder of keys of several ConfigMaps.
fn volume(name: &str, files: &[CheckFile]) -> Value {
    let mut sources: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for file in files {
        sources.entry(&file.config_map).or_default().push(json!({ "key": file.key, "path": file.path }));
    }
    let sources: Vec<Value> =
        sources.into_iter().map(|(name, items)| json!({ "configMap": { "name": name, "items": items } })).collect();
    json!({ "name": name, "projected": { "sources": sources } })
}

fn canary_volume(file: &CanaryFile) -> Value {
    let items = json!([{ "key": file.key, "path": CANARY_PATH }]);
    json!({ "name": CANARY_CONTAINER, "projected": { "sources": [{ "configMap": { "name": file.config_map, "items": items } }] } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(status: Value) -> Vec<Pod> {
        vec![serde_json::from_value(json!({ "metadata": { "name": "check-1" }, "status": status })).unwrap()]
    }

    fn containers(check: &Value, canary: &Value) -> Value {
        let status = |name: &str, state: &Value| json!({ "name": name, "state": state, "image": "", "imageID": "", "ready": false, "restartCount": 0 });
        json!([status(CHECK_CONTAINER, check), status(CANARY_CONTAINER, canary)])
    }

    fn of(phase: &str, check: &Value, canary: &Value, end: Option<&str>) -> JobState {
        let status = json!({ "phase": phase, "containerStatuses": containers(check, canary) });
        fares("prow", end.map(str::to_owned), pods(status))
    }

    #[test]
    fn an_answer_needs_the_end_of_both() {
        let ended = |code: i32| json!({ "terminated": { "exitCode": code } });
        let running = json!({ "running": {} });
        let both = JobState::Ended { pod: Key::new("prow", "check-1"), code: 0, canary: 1 };
        // That the canary's refusal makes the Job fail is what is wanted.
        assert_eq!(of("Failed", &ended(0), &ended(1), Some("BackoffLimitExceeded")), both);
        assert_eq!(of("Running", &ended(0), &running, None), JobState::Running);
        assert_eq!(of("Running", &running, &ended(1), None), JobState::Running);
        let over = of("Running", &running, &ended(1), Some("DeadlineExceeded: too long"));
        assert_eq!(over, JobState::Over("DeadlineExceeded: too long".to_owned()));
    }

    #[test]
    fn what_it_waits_for_is_told() {
        let waits = |reason: &str| json!({ "waiting": { "reason": reason, "message": "a\nb" } });
        let state = of("Pending", &waits("ContainerCreating"), &waits("ImagePullBackOff"), None);
        assert_eq!(state, JobState::Waiting(Some("ImagePullBackOff: a b".to_owned())));
        let nowhere = json!({ "phase": "Pending", "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes" },
        ]});
        let state = fares("prow", None, pods(nowhere));
        assert_eq!(state, JobState::Waiting(Some("Unschedulable: 0/3 nodes".to_owned())));
        assert_eq!(fares("prow", None, Vec::new()), JobState::Waiting(None));
    }

    #[test]
    fn an_evicted_pod_and_a_job_that_was_ended_give_no_answer() {
        let evicted = json!({ "phase": "Failed", "reason": "Evicted", "message": "low on memory" });
        assert_eq!(fares("prow", None, pods(evicted)), JobState::Over("Evicted: low on memory".to_owned()));
        let status: JobStatus = serde_json::from_value(json!({ "conditions": [
            { "type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "was active too long" },
        ]}))
        .unwrap();
        let over = fares("prow", end_of(&status), Vec::new());
        assert_eq!(over, JobState::Over("DeadlineExceeded: was active too long".to_owned()));
    }
}
