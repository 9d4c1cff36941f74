//! Which prow-controller-manager leads. The lease is not given back by who ends, so the next one waits until it runs out.

use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::json;

use super::super::agenda::Item;
use super::super::controllers::life::Life;
use super::super::note::Happened;
use super::super::object::{ObjectKey, Resource, stamp};
use super::super::store::write::By;
use super::super::world::World;
use super::config::Loaded;
use super::{plank, running};

pub const ROLE: &str = "prow-controller-manager";
const LEASE: &str = "prow-controller-manager-leader-lock";
/// What is left of a lease when its holder ends, and what the next one takes to see it: about 20 s on real servers.
const HANDOVER: SignedDuration = SignedDuration::from_secs(18);

/// The prow-controller-manager that leads, with what is fixed while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// uid of its pod.
    pub pod: String,
    pub tag: String,
    pub prowjob_namespace: String,
    /// Where it makes pods and looks for them; by a version's mistake not where the configuration says.
    pub pod_namespace: String,
}

fn life<'a>(world: &'a World, leader: &Leader) -> Option<&'a Life> {
    world.clusters.get(&world.prow.service)?.lives.get(&leader.pod)
}

/// What the leader has loaded by now.
pub fn config(world: &World, leader: &Leader) -> Option<Arc<Loaded>> {
    life(world, leader)?.program.as_ref()?.loaded.clone()
}

/// Somebody may have come or gone.
pub fn sync(world: &mut World) {
    let now = world.now();
    if let Some(leader) = &world.prow.leader {
        if life(world, leader).is_some_and(Life::is_running) {
            return;
        }
        world.prow.leader = None;
        world.prow.lease_until = Some(now + HANDOVER);
    }
    let alive: Vec<String> = running(world, ROLE).map(|(uid, _)| uid.clone()).collect();
    let Some(first) = alive.first().cloned() else { return };
    if let Some(until) = world.prow.lease_until.filter(|until| *until > now) {
        world.agenda.at(until, Item::Leader);
        return;
    }
    let Some((name, program)) = running(world, ROLE)
        .find(|(uid, _)| **uid == first)
        .and_then(|(_, life)| Some((life.key.name.clone(), life.program.clone()?)))
    else {
        return;
    };
    let Some(loaded) = &program.loaded else { return };
    let watched = &loaded.watched;
    let misreads = world.images.version(&program.tag).misreads_pod_namespace;
    let leader = Leader {
        pod: first,
        tag: program.tag.clone(),
        prowjob_namespace: watched.prowjobs.clone(),
        pod_namespace: if misreads { watched.prowjobs.clone() } else { watched.pods.clone() },
    };
    write_lease(world, &leader.prowjob_namespace, &name);
    let namespace = leader.prowjob_namespace.clone();
    world.prow.leader = Some(leader);
    world.note(Happened::Led { pod: name, tag: program.tag });
    let jobs: Vec<ObjectKey> = world
        .clusters
        .get(&world.prow.service)
        .into_iter()
        .flat_map(|service| service.store.all(Resource::ProwJob, &namespace))
        .map(|(key, _)| key.clone())
        .collect();
    for job in jobs {
        plank::sync(world, &job);
    }
}

fn write_lease(world: &mut World, namespace: &str, holder: &str) {
    let by = By::new(ROLE, world.now());
    let spec = json!({
        "holderIdentity": holder, "leaseDurationSeconds": 15,
        "acquireTime": stamp(by.now), "renewTime": stamp(by.now),
    });
    let Some(service) = world.service() else { return };
    let key = ObjectKey::new(Resource::Lease, namespace, LEASE);
    if service.store.get(&key).is_some() {
        service.store.edit(&key, &by, |lease| lease["spec"] = spec);
    } else {
        let lease = json!({ "metadata": { "name": LEASE }, "spec": spec });
        drop(service.store.create(Resource::Lease, namespace, lease, &by));
    }
}
