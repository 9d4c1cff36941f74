//! Deployments of the simulation by themselves: how they roll out, hang, and come back.

use jiff::SignedDuration;
use jiff::Timestamp;
use prow_breakglass::sim::World;
use prow_breakglass::sim::object::{ObjectKey, Resource, text};
use prow_breakglass::sim::store::patch::PatchKind;
use prow_breakglass::sim::store::write::By;
use serde_json::{Value, json};

use crate::worlds::{NEW_TAG, OLD_TAG, SERVICE, before_february, pods_of};

fn world() -> World {
    before_february("2019-02-05T17:00:00Z".parse().unwrap())
}

fn deployment(world: &World, name: &str) -> Value {
    world.get(SERVICE, &ObjectKey::new(Resource::Deployment, "default", name)).expect("a Deployment").as_ref().clone()
}

fn patch(world: &mut World, name: &str, patch: &Value) {
    let by = By::new("kubectl", world.now());
    let key = ObjectKey::new(Resource::Deployment, "default", name);
    world.clusters.get_mut(SERVICE).unwrap().store.patch(&key, PatchKind::Strategic, patch, &by).unwrap();
    world.settle();
}

fn set_tag(world: &mut World, name: &str, tag: &str) {
    let image = format!("gcr.io/k8s-prow/{name}:{tag}");
    patch(world, name, &json!({"spec": {"template": {"spec": {"containers": [{"name": name, "image": image}]}}}}));
}

fn progress(world: &World, name: &str) -> String {
    let conditions = deployment(world, name)["status"]["conditions"].clone();
    let progressing = conditions.as_array().unwrap().iter().find(|c| c["type"] == "Progressing").unwrap().clone();
    text(&progressing, "/reason").to_owned()
}

#[test]
fn a_healthy_prow_comes_up() {
    let world = world();
    for name in ["hook", "prow-controller-manager", "deck", "tide", "ghproxy", "statusreconciler"] {
        let object = deployment(&world, name);
        let (status, spec) = (&object["status"], &object["spec"]);
        assert_eq!(status["readyReplicas"], spec["replicas"], "{name}: {status}");
        assert_eq!(status["observedGeneration"], object["metadata"]["generation"], "{name}");
        assert_eq!(progress(&world, name), "NewReplicaSetAvailable");
        assert_eq!(object["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    }
    let slices = world.list(SERVICE, Resource::EndpointSlice, "default");
    let hook =
        slices.iter().find(|slice| text(slice, "/metadata/labels/kubernetes.io~1service-name") == "hook").unwrap();
    assert_eq!(hook["endpoints"].as_array().map(Vec::len), Some(2));
    assert_eq!(hook["endpoints"][0]["conditions"]["ready"], true);
}

#[test]
fn a_rollout_takes_its_time_and_keeps_its_bounds() {
    let mut world = world();
    set_tag(&mut world, "hook", NEW_TAG);
    let end = world.now() + SignedDuration::from_mins(2);
    let mut least = i64::MAX;
    let mut most = 0;
    while world.now() < end {
        let status = deployment(&world, "hook")["status"].clone();
        least = least.min(status["readyReplicas"].as_i64().unwrap_or(0));
        most = most.max(status["replicas"].as_i64().unwrap_or(0));
        world.advance_by(SignedDuration::from_secs(1));
    }
    assert!(least >= 1, "maxUnavailable 1 of 2");
    assert_eq!(most, 3, "maxSurge 1 beyond 2");
    assert_eq!(progress(&world, "hook"), "NewReplicaSetAvailable");
    let sets = world.list(SERVICE, Resource::ReplicaSet, "default");
    let of_hook: Vec<_> = sets.iter().filter(|set| text(set, "/metadata/labels/app") == "hook").collect();
    let mut revisions: Vec<(i64, &str)> = of_hook
        .iter()
        .map(|set| {
            let revision = &set["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
            (set["spec"]["replicas"].as_i64().unwrap(), revision.as_str().unwrap())
        })
        .collect();
    revisions.sort_unstable();
    assert_eq!(revisions, [(0, "1"), (2, "2")]);
    // Back: the old ReplicaSet is used again, under a new revision.
    set_tag(&mut world, "hook", OLD_TAG);
    world.advance_by(SignedDuration::from_mins(2));
    assert_eq!(deployment(&world, "hook")["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");
    let sets = world.list(SERVICE, Resource::ReplicaSet, "default");
    assert_eq!(sets.iter().filter(|set| text(set, "/metadata/labels/app") == "hook").count(), 2);
}

#[test]
fn an_image_that_was_never_published_hangs_and_says_so() {
    let mut world = world();
    set_tag(&mut world, "hook", "v20190206-nothere");
    world.advance_by(SignedDuration::from_mins(3));
    let waiting: Vec<String> = pods_of(&world, "default", "hook")
        .into_iter()
        .map(|(_, _, _, reason)| reason)
        .filter(|r| !r.is_empty())
        .collect();
    assert_eq!(waiting, ["ImagePullBackOff", "ImagePullBackOff"]);
    assert_eq!(progress(&world, "hook"), "ReplicaSetUpdated");
    world.advance_by(SignedDuration::from_mins(10));
    assert_eq!(progress(&world, "hook"), "ProgressDeadlineExceeded");
    assert_eq!(deployment(&world, "hook")["status"]["readyReplicas"], 1, "one old pod still serves");
    set_tag(&mut world, "hook", OLD_TAG);
    world.advance_by(SignedDuration::from_mins(2));
    assert_eq!(deployment(&world, "hook")["status"]["readyReplicas"], 2);
}

#[test]
fn a_paused_deployment_waits() {
    let mut world = world();
    patch(&mut world, "hook", &json!({"spec": {"paused": true}}));
    set_tag(&mut world, "hook", NEW_TAG);
    world.advance_by(SignedDuration::from_mins(5));
    assert_eq!(progress(&world, "hook"), "DeploymentPaused");
    let images: Vec<String> = world
        .list(SERVICE, Resource::Pod, "default")
        .iter()
        .filter(|pod| text(pod, "/metadata/labels/app") == "hook")
        .map(|pod| text(pod, "/spec/containers/0/image").to_owned())
        .collect();
    assert!(images.iter().all(|image| image.ends_with(OLD_TAG)), "{images:?}");
}

#[test]
fn the_same_calls_make_the_same_world() {
    let versions = |world: &World| -> Vec<(String, String)> {
        let pods = world.list(SERVICE, Resource::Pod, "");
        pods.iter()
            .map(|pod| (text(pod, "/metadata/uid").to_owned(), text(pod, "/metadata/resourceVersion").to_owned()))
            .collect()
    };
    let now: Timestamp = "2019-02-05T17:00:00Z".parse().unwrap();
    let worlds = [crate::worlds::february(now, 12), crate::worlds::february(now, 12)];
    assert_eq!(versions(&worlds[0]), versions(&worlds[1]));
    assert_eq!(worlds[0].log(), worlds[1].log());
}
