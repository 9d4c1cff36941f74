//! The Job that asks a checkconfig, and how its pod fares.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::ListParams;
use serde::Deserialize;

use super::Cluster;
use super::live::{odd, parse};
use crate::model::text::sanitize_line;
use crate::model::{CHECK_CONTAINER, Failure, Key, Kind, OWN_LABEL, ObjectRef};

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

/// How the pod of a Job fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobPod {
    /// There is none yet, or it waits; why, where that is told.
    Waiting(Option<String>),
    Running,
    /// Exit code of the container.
    Ended {
        pod: Key,
        code: i32,
    },
}

#[derive(Deserialize)]
struct Object {
    metadata: ObjectMeta,
}

impl Cluster {
    /// A consistent read of a Job; `None` where there is none.
    pub async fn live_job(&self, object: &ObjectRef) -> Result<Option<LiveJob>, Failure> {
        let Some(json) = self.live_json(object, Kind::Job).await? else { return Ok(None) };
        let Object { metadata } = parse(&json, "Job")?;
        let labels = metadata.labels.unwrap_or_default();
        Ok(Some(LiveJob {
            uid: metadata.uid.filter(|uid| !uid.is_empty()).ok_or_else(|| odd("Job"))?,
            deleting: metadata.deletion_timestamp.is_some(),
            is_own: labels.get(OWN_LABEL.0).is_some_and(|value| value == OWN_LABEL.1),
            json,
        }))
    }

    /// The pod of a Job with one try.
    ///
    /// # Errors
    /// Pods cannot be listed.
    pub async fn job_pod(&self, job: &ObjectRef) -> Result<JobPod, Failure> {
        let pods: Api<Pod> = Api::namespaced(self.client(), &job.namespace);
        let params = ListParams::default().labels(&format!("job-name={}", job.name));
        let doing = format!("list pods in namespace {}", job.namespace);
        let found = self.call(&doing, pods.list(&params)).await?;
        let Some(pod) = found.items.into_iter().next() else { return Ok(JobPod::Waiting(None)) };
        let name = sanitize_line(pod.metadata.name.as_deref().unwrap_or_default());
        let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        let state = statuses.into_iter().find(|status| status.name == CHECK_CONTAINER).and_then(|status| status.state);
        let Some(state) = state else { return Ok(JobPod::Waiting(None)) };
        if let Some(ended) = state.terminated {
            return Ok(JobPod::Ended { pod: Key::new(&job.namespace, name), code: ended.exit_code });
        }
        if state.running.is_some() {
            return Ok(JobPod::Running);
        }
        let why = state.waiting.and_then(|waiting| {
            let reason = waiting.reason?;
            Some(sanitize_line(&format!("{reason} {}", waiting.message.unwrap_or_default())))
        });
        Ok(JobPod::Waiting(why))
    }
}
