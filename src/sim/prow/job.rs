//! ProwJobs as hook and horologium make them, and their pods as prow-controller-manager makes those.

use serde_json::{Value, json};

use super::super::object::{name, stamp, text};
use super::super::world::World;
use super::config::{JobSpec, Trigger};
use super::{CREATED_BY_PROW, ID};

/// crier's.
pub const FINALIZER: &str = "prow.x-k8s.io/gcsk8sreporter";
const SHA: &str = "7e6e9bf5c0c4b1a1f7f0b6ef3d5a8e2a4c1d9b30";

/// The pod of a ProwJob. Its namespace is for its creator to choose.
pub fn pod(job: &Value, build: &str, plank_version: &str, reports_to_storage: bool) -> Value {
    let mut labels = job["metadata"]["labels"].clone();
    labels[CREATED_BY_PROW] = json!("true");
    labels[ID] = json!(name(job));
    labels["prow.k8s.io/build-id"] = json!(build);
    labels["prow.k8s.io/plank-version"] = json!(plank_version);
    let mut annotations = job["metadata"]["annotations"].clone();
    annotations["prow.k8s.io/job"] = json!(text(job, "/spec/job"));
    let mut spec = job["spec"]["pod_spec"].clone();
    spec["restartPolicy"] = json!("Never");
    let mut metadata = json!({ "name": name(job), "labels": labels, "annotations": annotations });
    if reports_to_storage {
        metadata["finalizers"] = json!([FINALIZER]);
    }
    json!({ "metadata": metadata, "spec": spec })
}

/// A ProwJob of a job that is triggered now, under a new name.
pub fn triggered(world: &mut World, spec: &JobSpec, creator: &str, namespace: &str) {
    let now = world.now();
    let Some(service) = world.service() else { return };
    let id = service.store.new_id();
    let (kind, refs) = match &spec.trigger {
        Trigger::Periodic { .. } => ("periodic", Value::Null),
        Trigger::Postsubmit { repo, .. } => {
            let (org, repo) = repo.split_once('/').unwrap_or((repo, ""));
            ("postsubmit", json!({ "org": org, "repo": repo, "base_ref": "master", "base_sha": SHA }))
        }
    };
    let mut labels = json!(spec.labels);
    labels[CREATED_BY_PROW] = json!("true");
    labels[ID] = json!(id);
    labels["prow.k8s.io/job"] = json!(spec.name);
    labels["prow.k8s.io/type"] = json!(kind);
    let mut object = json!({
        "metadata": { "name": id, "labels": labels, "annotations": { "prow.k8s.io/job": spec.name } },
        "spec": {
            "type": kind, "agent": "kubernetes", "job": spec.name, "cluster": cluster(&spec.cluster),
            "pod_spec": spec.pod_spec,
        },
        "status": { "state": "triggered", "startTime": stamp(now) },
    });
    if refs.is_object() {
        object["metadata"]["labels"]["prow.k8s.io/refs.org"] = refs["org"].clone();
        object["metadata"]["labels"]["prow.k8s.io/refs.repo"] = refs["repo"].clone();
        object["spec"]["refs"] = refs;
    }
    let service = world.prow.service.clone();
    world.create(&service, super::Resource::ProwJob, namespace, object, creator);
}

fn cluster(alias: &str) -> &str {
    if alias.is_empty() { "default" } else { alias }
}
