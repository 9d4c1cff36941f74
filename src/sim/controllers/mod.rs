//! Kubernetes' own controllers and nodes, deterministic: each looks at an object that changed or whose time has come, and writes
//! what it would. No clock but the world's, no threads.
//!
//! - [`deployment`], `replica_set`: rollouts; `kubelet` and [`life`]: pods on nodes; `mounts`: the files of pods
//! - `pod_status`: what the node says of a pod; `events`: warnings; `endpoints`, `quota`, `cron`: as far as the program shows them
//!
//! To add a controller: its module, and its place in [`changed`], [`due`], or both.

mod cron;
mod deployment;
mod endpoints;
mod events;
mod kubelet;
pub mod life;
mod mounts;
mod pod_status;
mod quota;
mod replica_set;

use serde_json::Value;

use super::agenda::Item;
use super::object::{ObjectKey, Resource, owner, text, uid};
use super::prow;
use super::store::write::{By, DeleteOptions};
use super::world::World;

/// Who writes in the name of the control plane.
const MANAGER: &str = "kube-controller-manager";

/// An object changed, or is gone; `last` is what it is or was.
pub fn changed(world: &mut World, cluster: &str, key: &ObjectKey, last: &Value) {
    match key.resource {
        Resource::Pod => {
            kubelet::sync(world, cluster, key, last);
            of_owner(world, cluster, key, last);
            endpoints::of_pod(world, cluster, last);
            quota::sync(world, cluster, &key.namespace);
            prow::pod_changed(world, cluster, key, last);
        }
        Resource::ReplicaSet => {
            replica_set::sync(world, cluster, key, last);
            of_owner(world, cluster, key, last);
        }
        Resource::ResourceQuota => quota::sync(world, cluster, &key.namespace),
        Resource::Deployment => deployment::sync(world, cluster, key, last),
        Resource::Service => endpoints::sync(world, cluster, key),
        Resource::CronJob => cron::sync_cron_job(world, cluster, key, last),
        Resource::Job => cron::sync_job(world, cluster, key, last),
        Resource::ConfigMap => mounts::map_changed(world, cluster, key),
        Resource::ProwJob => prow::job_changed(world, cluster, key),
        Resource::Namespace
        | Resource::Node
        | Resource::Secret
        | Resource::ServiceAccount
        | Resource::Event
        | Resource::StatefulSet
        | Resource::DaemonSet
        | Resource::EndpointSlice
        | Resource::Lease => {}
    }
}

/// Something's time has come.
pub fn due(world: &mut World, item: Item) {
    match item {
        Item::Object(cluster, key) => {
            if let Some(object) = world.get(&cluster, &key).cloned() {
                changed(world, &cluster, &key, &object);
            }
        }
        // What comes of it is told by the pod, if it changes.
        Item::Pod(cluster, key) => {
            if let Some(pod) = world.get(&cluster, &key).cloned() {
                kubelet::sync(world, &cluster, &key, &pod);
            }
        }
        Item::Refresh(cluster, pod, map) => mounts::refresh(world, &cluster, &pod, &map),
        Item::Leader => prow::leader::sync(world),
        Item::Sinker => prow::sinker::sweep(world),
        Item::Horologium => prow::horologium::tick(world),
        // Merged by hand before: then nothing is left to do.
        Item::Merge(commit) => drop(prow::hook::merge(world, &commit)),
    }
}

/// The containers of a component's running pods end and are started again. How many.
pub fn restart(world: &mut World, role: &str) -> usize {
    kubelet::restart(world, role)
}

/// Lets the controller of an object look at what it owns.
fn of_owner(world: &mut World, cluster: &str, key: &ObjectKey, last: &Value) {
    let Some(owner) = owner(last) else { return };
    let Some(resource) = Resource::of_kind(text(owner, "/kind")) else { return };
    let owner = ObjectKey::new(resource, &key.namespace, text(owner, "/name"));
    let Some(object) = world.get(cluster, &owner).cloned() else { return };
    match resource {
        Resource::ReplicaSet => replica_set::sync(world, cluster, &owner, &object),
        Resource::Deployment => deployment::sync(world, cluster, &owner, &object),
        Resource::Job => cron::sync_job(world, cluster, &owner, &object),
        Resource::Namespace
        | Resource::Node
        | Resource::Pod
        | Resource::ConfigMap
        | Resource::Secret
        | Resource::Service
        | Resource::ServiceAccount
        | Resource::Event
        | Resource::ResourceQuota
        | Resource::StatefulSet
        | Resource::DaemonSet
        | Resource::CronJob
        | Resource::EndpointSlice
        | Resource::Lease
        | Resource::ProwJob => {}
    }
}

/// Deletes what a controller owned that is gone itself.
fn collect(world: &mut World, cluster: &str, resource: Resource, owner: &ObjectKey, last: &Value) {
    let by = By::new(MANAGER, world.now());
    let Some(found) = world.clusters.get_mut(cluster) else { return };
    let left: Vec<ObjectKey> =
        found.store.owned_by(resource, &owner.namespace, uid(last)).map(|(key, _)| key.clone()).collect();
    for key in left {
        drop(found.store.delete(&key, &DeleteOptions::default(), &by));
    }
}
