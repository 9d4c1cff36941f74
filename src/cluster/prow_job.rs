//! ProwJobs as they are read: what plank, sinker and a person's questions need of them, and nothing of their pods.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Deserialize;

use super::objects::{at, key};
use crate::model;
use crate::model::text::sanitize_line;

/// What Prow takes an empty `spec.cluster` for.
const DEFAULT_CLUSTER: &str = "default";

/// A ProwJob as it is read: its pod spec is dropped while parsing.
#[derive(Debug, Clone, Deserialize)]
pub struct ProwJob {
    pub metadata: ObjectMeta,
    #[serde(default)]
    spec: ProwJobSpec,
    #[serde(default)]
    status: ProwJobStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct ProwJobSpec {
    #[serde(default)]
    job: String,
    #[serde(default, rename = "type")]
    job_type: String,
    #[serde(default)]
    cluster: String,
    #[serde(default)]
    agent: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProwJobStatus {
    #[serde(default)]
    state: String,
    #[serde(default)]
    description: String,
    // Prow's names are not of one style.
    #[serde(default, rename = "pod_name")]
    pod_name: String,
    start_time: Option<Time>,
    pending_time: Option<Time>,
    completion_time: Option<Time>,
}

impl kube::Resource for ProwJob {
    type DynamicType = ();
    type Scope = k8s_openapi::NamespaceResourceScope;

    fn kind(&(): &()) -> std::borrow::Cow<'_, str> {
        "ProwJob".into()
    }

    fn group(&(): &()) -> std::borrow::Cow<'_, str> {
        "prow.k8s.io".into()
    }

    fn version(&(): &()) -> std::borrow::Cow<'_, str> {
        "v1".into()
    }

    fn plural(&(): &()) -> std::borrow::Cow<'_, str> {
        "prowjobs".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

pub fn prow_job(object: &ProwJob) -> Option<model::ProwJob> {
    let cluster = sanitize_line(&object.spec.cluster);
    Some(model::ProwJob {
        name: key(&object.metadata)?.name,
        uid: sanitize_line(object.metadata.uid.as_deref().unwrap_or_default()),
        cluster: if cluster.is_empty() { DEFAULT_CLUSTER.to_owned() } else { cluster },
        agent: sanitize_line(&object.spec.agent),
        description: sanitize_line(&object.status.description),
        pod_name: sanitize_line(&object.status.pod_name),
        job: sanitize_line(&object.spec.job),
        job_type: sanitize_line(&object.spec.job_type),
        state: sanitize_line(&object.status.state),
        created: at(object.metadata.creation_timestamp.as_ref()),
        started: at(object.status.start_time.as_ref()),
        pending: at(object.status.pending_time.as_ref()),
        completed: at(object.status.completion_time.as_ref()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: serde_json::Value) -> ProwJob {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn a_prowjob_is_its_times() {
        let row = prow_job(&parse(json!({
            "metadata": {"name": "id", "namespace": "prow", "creationTimestamp": "2019-01-23T15:00:00Z"},
            "spec": {"job": "pull-x", "type": "presubmit", "pod_spec": {"containers": [{"name": "test"}]}},
            "status": {"state": "success", "startTime": "2019-01-23T15:00:01Z",
                "pendingTime": "2019-01-23T15:00:02Z", "completionTime": "2019-01-23T15:00:03Z"}
        })))
        .expect("a row");
        assert_eq!((row.job.as_str(), row.job_type.as_str(), row.state.as_str()), ("pull-x", "presubmit", "success"));
        assert!(row.created < row.started && row.started < row.pending && row.pending < row.completed);
        // Jobs that were only just made have no status at all.
        let fresh = prow_job(&parse(json!({"metadata": {"name": "id"}, "spec": {"job": "x"}}))).expect("a row");
        assert_eq!((fresh.state.as_str(), fresh.completed), ("", None));
    }
}
