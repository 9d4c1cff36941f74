//! Pods of jobs: a small struct of our own, for there may be tens of thousands of them, and the reads beside the watch: the
//! census of the pod namespace, pods looked up by the id of their ProwJob, and secrets that running pods mount.
//!
//! The census is a Table without objects: 174 bytes a pod instead of 12 KB. It tells names and states; who needs more of a few
//! pods looks them up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::header::ACCEPT;
use http::{HeaderValue, Request};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams};
use serde::Deserialize;

use super::objects::{at, owner, reference};
use super::request::is_label;
use super::{Cluster, pods};
use crate::model::text::sanitize_line;
use crate::model::{Alias, CensusRow, Failure, FailureKind, Kind, ProwPod, Timestamp};

/// The label that Prow puts on the pods (and ProwJobs) that it makes.
pub const CREATED_BY_PROW: &str = "created-by-prow=true";
const NOT_BY_PROW: &str = "created-by-prow!=true";
/// The label that names a pod's ProwJob.
pub(super) const ID: &str = "prow.k8s.io/id";
const JOB: &str = "prow.k8s.io/job";
const JOB_TYPE: &str = "prow.k8s.io/type";
const BUILD_ID: &str = "prow.k8s.io/build-id";
const PLANK_VERSION: &str = "prow.k8s.io/plank-version";
/// Rows of the Table a page.
const CENSUS_PAGE: u32 = 5000;
/// Ids in one label selector: a URL has its limits.
const IDS: usize = 100;
/// Running pods whose secrets are looked at.
const SAMPLE: u32 = 25;

/// A pod of a job as it is read: containers, volumes and environment are dropped while parsing.
#[derive(Debug, Clone, Deserialize)]
pub struct JobPod {
    pub metadata: ObjectMeta,
    #[serde(default)]
    spec: JobPodSpec,
    #[serde(default)]
    status: core::PodStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobPodSpec {
    node_name: Option<String>,
    #[serde(default)]
    init_containers: Vec<InitContainer>,
}

/// What the wording of `Init:1/3` needs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitContainer {
    name: String,
    restart_policy: Option<String>,
}

impl kube::Resource for JobPod {
    type DynamicType = ();
    type Scope = k8s_openapi::NamespaceResourceScope;

    fn kind(&(): &()) -> std::borrow::Cow<'_, str> {
        "Pod".into()
    }

    fn group(&(): &()) -> std::borrow::Cow<'_, str> {
        "".into()
    }

    fn version(&(): &()) -> std::borrow::Cow<'_, str> {
        "v1".into()
    }

    fn plural(&(): &()) -> std::borrow::Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

pub fn job_pod(alias: &Alias, pod: JobPod) -> Option<Arc<ProwPod>> {
    let node = pod.spec.node_name.as_deref().filter(|node| !node.is_empty()).map(sanitize_line);
    let init = pod.spec.init_containers.into_iter().map(|container| core::Container {
        name: container.name,
        restart_policy: container.restart_policy,
        ..core::Container::default()
    });
    let whole = core::Pod {
        spec: Some(core::PodSpec { init_containers: Some(init.collect()), ..core::PodSpec::default() }),
        metadata: pod.metadata,
        status: Some(pod.status),
    };
    let meta = &whole.metadata;
    let status = whole.status.as_ref();
    let label = |name: &str| meta.labels.as_ref().and_then(|labels| labels.get(name)).map(|value| sanitize_line(value));
    let annotated =
        meta.annotations.as_ref().and_then(|annotations| annotations.get(JOB)).map(|job| sanitize_line(job));
    let waiting = status.and_then(|status| {
        let all = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
        all.filter_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.as_deref())
            .find(|reason| *reason != "PodInitializing")
            .map(sanitize_line)
    });
    Some(Arc::new(ProwPod {
        object: reference(alias, Kind::Pod, meta)?,
        resource_version: meta.resource_version.clone()?,
        prowjob_id: label(ID).filter(|id| !id.is_empty()),
        job: annotated.or_else(|| label(JOB)).unwrap_or_default(),
        job_type: label(JOB_TYPE).unwrap_or_default(),
        created: at(meta.creation_timestamp.as_ref()),
        phase: status.and_then(|status| status.phase.as_deref()).map(sanitize_line).unwrap_or_default(),
        state: sanitize_line(&pods::wording(&whole)),
        node,
        deleting: meta.deletion_timestamp.is_some(),
        finalizers: meta.finalizers.iter().flatten().map(|name| sanitize_line(name)).collect(),
        build_id: label(BUILD_ID).unwrap_or_default(),
        plank_version: label(PLANK_VERSION).unwrap_or_default(),
        waiting,
        owner: owner(meta).map(|owner| format!("{}/{}", owner.kind, owner.name)),
    }))
}

/// A warning about a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// uid of the pod.
    pub pod: String,
    pub reason: String,
    pub message: String,
    pub count: u64,
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
}

pub fn event(event: core::Event) -> Option<EventRow> {
    let pod = event.involved_object.uid.filter(|uid| !uid.is_empty())?;
    let made = at(event.metadata.creation_timestamp.as_ref());
    let series = event.series.as_ref();
    let last = series
        .and_then(|series| series.last_observed_time.as_ref())
        .or(event.event_time.as_ref())
        .map(|time| time.0)
        .or_else(|| at(event.last_timestamp.as_ref()));
    let count = event.count.or_else(|| series.and_then(|series| series.count)).unwrap_or(1);
    Some(EventRow {
        pod: sanitize_line(&pod),
        reason: sanitize_line(event.reason.as_deref().unwrap_or_default()),
        message: sanitize_line(event.message.as_deref().unwrap_or_default()),
        count: u64::try_from(count).unwrap_or(1),
        first: at(event.first_timestamp.as_ref()).or(made),
        last: at(event.last_timestamp.as_ref()).max(last).or(made),
    })
}

/// A Table of the API server, as far as it is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    #[serde(default)]
    metadata: TableMeta,
    column_definitions: Vec<Column>,
    #[serde(default)]
    rows: Option<Vec<TableRow>>,
}

#[derive(Debug, Default, Deserialize)]
struct TableMeta {
    #[serde(default, rename = "continue")]
    more: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Column {
    name: String,
}

#[derive(Debug, Deserialize)]
struct TableRow {
    cells: Vec<serde_json::Value>,
}

impl Cluster {
    /// The labelled pods of a namespace, and the others, by name and state; the youngest first.
    ///
    /// # Errors
    /// As of any read; a server that gives no Table is of kind `Server`.
    pub async fn census(&self, namespace: &str) -> Result<(Vec<CensusRow>, Vec<CensusRow>), Failure> {
        let labelled = self.count_pods(namespace, CREATED_BY_PROW).await?;
        Ok((labelled, self.count_pods(namespace, NOT_BY_PROW).await?))
    }

    async fn count_pods(&self, namespace: &str, labels: &str) -> Result<Vec<CensusRow>, Failure> {
        let doing = format!("list pods in namespace {namespace}");
        let mut found: Vec<(u64, CensusRow)> = Vec::new();
        let mut more: Option<String> = None;
        loop {
            let params = ListParams {
                limit: Some(CENSUS_PAGE),
                continue_token: more.take(),
                ..ListParams::default().labels(labels)
            };
            let request = table_of_pods(namespace, &params)?;
            let table: Table = self.call(&doing, self.client().request(request)).await?;
            let column = |name: &str| table.column_definitions.iter().position(|column| column.name == name);
            let (Some(name), Some(state), Some(age)) = (column("Name"), column("Status"), column("Age")) else {
                return Err(Failure::new(
                    FailureKind::Server,
                    "the API server's table of pods lacks name, status or age",
                ));
            };
            for row in table.rows.into_iter().flatten() {
                let cell = |n: usize| row.cells.get(n).and_then(serde_json::Value::as_str).unwrap_or_default();
                found.push((
                    age_seconds(cell(age)),
                    CensusRow { name: sanitize_line(cell(name)), state: sanitize_line(cell(state)), created: None },
                ));
            }
            more = table.metadata.more.filter(|token| !token.is_empty());
            if more.is_none() {
                break;
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.name.cmp(&b.1.name)));
        Ok(found.into_iter().map(|(_, row)| row).collect())
    }

    /// Labelled pods of a namespace by the ids of their ProwJobs.
    pub async fn job_pods(&self, namespace: &str, ids: &BTreeSet<String>) -> Result<Vec<Arc<ProwPod>>, Failure> {
        let api: Api<JobPod> = Api::namespaced(self.client(), namespace);
        let doing = format!("list pods in namespace {namespace}");
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut found = Vec::new();
        for ids in ids.chunks(IDS) {
            let selector = format!("{CREATED_BY_PROW},{ID} in ({})", ids.join(","));
            let list = self.call(&doing, api.list(&ListParams::default().labels(&selector))).await?;
            found.extend(list.items.into_iter().filter_map(|pod| job_pod(self.alias(), pod)));
        }
        Ok(found)
    }

    /// Secrets that some running labelled pods of a namespace mount or take variables from.
    pub async fn secrets_in_use(&self, namespace: &str) -> Result<BTreeSet<String>, Failure> {
        let api: Api<core::Pod> = Api::namespaced(self.client(), namespace);
        let doing = format!("list pods in namespace {namespace}");
        let params = ListParams::default().labels(CREATED_BY_PROW).fields("status.phase=Running").limit(SAMPLE);
        let list = self.call(&doing, api.list(&params)).await?;
        Ok(list.items.iter().filter_map(|pod| pod.spec.as_ref()).flat_map(secrets_of).collect())
    }
}

fn table_of_pods(namespace: &str, params: &ListParams) -> Result<Request<Vec<u8>>, Failure> {
    let odd = |cause: String| Failure::new(FailureKind::Tool, "the list of pods could not be asked for").cause(cause);
    // It comes from a configuration, and goes into a URL.
    if !is_label(namespace) {
        return Err(odd(format!("`{}` is no name of a namespace", sanitize_line(namespace))));
    }
    let mut request = kube::core::Request::new(format!("/api/v1/namespaces/{namespace}/pods"))
        .list(params)
        .map_err(|error| odd(error.to_string()))?;
    let uri = format!("{}&includeObject=None", request.uri());
    *request.uri_mut() = uri.parse().map_err(|_| odd("no URL came of it".to_owned()))?;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json;as=Table;v=v1;g=meta.k8s.io"));
    Ok(request)
}

/// Secrets that a pod could not run without.
fn secrets_of(spec: &core::PodSpec) -> Vec<String> {
    let own = spec
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| volume.secret.as_ref())
        .filter(|secret| secret.optional != Some(true))
        .filter_map(|secret| secret.secret_name.clone());
    let projected = spec
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| volume.projected.as_ref()?.sources.as_ref())
        .flatten()
        .filter_map(|source| source.secret.as_ref())
        .filter(|secret| secret.optional != Some(true))
        .map(|secret| secret.name.clone());
    own.chain(projected).map(|name| sanitize_line(&name)).collect()
}

/// `38m`, `2m30s`, `5d3h`, `<invalid>`: for sorting only, as it is rounded down.
fn age_seconds(age: &str) -> u64 {
    let units: BTreeMap<char, u64> =
        BTreeMap::from([('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('y', 31_536_000)]);
    let mut total: u64 = 0;
    let mut number: u64 = 0;
    for c in age.chars() {
        match (c.to_digit(10), units.get(&c)) {
            (Some(digit), _) => number = number.saturating_mul(10).saturating_add(u64::from(digit)),
            (None, Some(unit)) => total = total.saturating_add(std::mem::take(&mut number).saturating_mul(*unit)),
            // Younger than the server's clock: the youngest.
            (None, None) => return 0,
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_pod_keeps_what_is_judged() {
        let pod: JobPod = serde_json::from_value(json!({
            "metadata": {"name": "3f1c", "namespace": "default", "uid": "u", "resourceVersion": "7",
                "labels": {"created-by-prow": "true", "prow.k8s.io/id": "3f1c", "prow.k8s.io/job": "pull-cut",
                    "prow.k8s.io/type": "presubmit", "prow.k8s.io/build-id": "11", "prow.k8s.io/plank-version": "v1"},
                "annotations": {"prow.k8s.io/job": "pull-whole"},
                "finalizers": ["prow.x-k8s.io/gcsk8sreporter"]},
            "spec": {"nodeName": "n1", "containers": [{"name": "test"}], "initContainers": [{"name": "clonerefs"}]},
            "status": {"phase": "Pending", "conditions": [{"type": "Initialized", "status": "False"}],
                "initContainerStatuses": [{"name": "clonerefs", "ready": false, "restartCount": 0, "image": "", "imageID": "",
                    "state": {"waiting": {"reason": "PodInitializing"}}}],
                "containerStatuses": [{"name": "test", "ready": false, "restartCount": 0, "image": "", "imageID": "",
                    "state": {"waiting": {"reason": "ContainerCreating"}}}]}
        }))
        .unwrap();
        let row = job_pod(&Alias("build".to_owned()), pod).unwrap();
        assert_eq!(
            (row.prowjob_id.as_deref(), row.job.as_str(), row.job_type.as_str()),
            (Some("3f1c"), "pull-whole", "presubmit")
        );
        assert_eq!((row.state.as_str(), row.waiting.as_deref()), ("Init:0/1", Some("ContainerCreating")));
        assert_eq!((row.node.as_deref(), row.plank_version.as_str()), (Some("n1"), "v1"));
        assert_eq!(row.object.cluster, Alias("build".to_owned()));
        assert_eq!(row.finalizers, ["prow.x-k8s.io/gcsk8sreporter"]);
    }

    #[test]
    fn ages_of_tables_sort() {
        let sorted = ["<invalid>", "0s", "59s", "2m30s", "38m", "3h5m", "26h", "5d", "2y35d"];
        let seconds: Vec<u64> = sorted.iter().map(|age| age_seconds(age)).collect();
        assert!(seconds.is_sorted(), "{seconds:?}");
        assert_eq!(age_seconds("2m30s"), 150);
    }

    #[test]
    fn only_secrets_that_a_pod_needs_are_told() {
        let spec: core::PodSpec = serde_json::from_value(json!({
            "containers": [],
            "volumes": [
                {"name": "a", "secret": {"secretName": "ssh-key"}},
                {"name": "b", "secret": {"secretName": "maybe", "optional": true}},
                {"name": "c", "projected": {"sources": [{"secret": {"name": "gcs"}}, {"configMap": {"name": "x"}}]}}]
        }))
        .unwrap();
        assert_eq!(secrets_of(&spec), ["ssh-key", "gcs"]);
    }
}
