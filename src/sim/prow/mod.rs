//! Prow's own behaviour: what its components do with ProwJobs, pods, ConfigMaps and merges. The rules are those of the real
//! components (tests/cluster holds the same stories against their binaries).
//!
//! - [`component`]: what a container runs, and what it makes of its configuration at start and later
//! - [`config`]: that configuration; `job`: ProwJobs and their pods
//! - [`leader`]: which prow-controller-manager leads; [`plank`]: what it does with a ProwJob
//! - [`sinker`], [`horologium`], `crier`: sweeping, periodics, finalizers
//! - [`hook`]: what a merge sets off; `deploy`: manifests applied; [`deck`]: a job aborted there
//!
//! A component acts only while a pod of it runs, by what that pod has loaded.

pub mod component;
pub mod config;
mod crier;
pub mod deck;
pub mod deploy;
pub mod hook;
pub mod horologium;
mod job;
pub mod leader;
pub mod plank;
pub mod sinker;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::controllers::life::Life;
use super::object::{ObjectKey, Resource, label, name, text};
use super::world::World;
use config::{Loaded, Readings};
use leader::Leader;

/// Prow's label on what it makes.
pub const CREATED_BY_PROW: &str = "created-by-prow";
/// Its label with the name of the ProwJob.
pub const ID: &str = "prow.k8s.io/id";

/// How long jobs run, and how they end.
#[derive(Debug, Clone)]
pub struct JobTimes {
    /// Of a job without a time of its own.
    pub usually: SignedDuration,
    pub by_name: BTreeMap<String, SignedDuration>,
}

impl Default for JobTimes {
    fn default() -> Self {
        JobTimes { usually: SignedDuration::from_mins(60), by_name: BTreeMap::new() }
    }
}

/// A Prow: where it is, and what it is doing.
#[derive(Debug, Clone)]
pub struct Prow {
    /// Context of the service cluster.
    pub service: String,
    /// Namespace of its components.
    pub namespace: String,
    /// `spec.cluster` of jobs to contexts, as Prow's own kubeconfig has them.
    pub aliases: BTreeMap<String, String>,
    pub takes: JobTimes,
    /// crier reports to storage: pods of unfinished jobs carry its finalizer.
    pub reports_to_storage: bool,
    pub(crate) leader: Option<Leader>,
    /// When the lease of who led last runs out.
    pub(crate) lease_until: Option<Timestamp>,
    pub(crate) readings: Readings,
    pub(crate) builds: u64,
    pub(crate) sweep_at: Option<Timestamp>,
    pub(crate) tick_at: Option<Timestamp>,
}

impl Prow {
    pub fn new(service: &str, namespace: &str) -> Prow {
        Prow {
            service: service.to_owned(),
            namespace: namespace.to_owned(),
            aliases: BTreeMap::new(),
            takes: JobTimes::default(),
            reports_to_storage: false,
            leader: None,
            lease_until: None,
            readings: Readings::default(),
            builds: 0,
            sweep_at: None,
            tick_at: None,
        }
    }

    /// Where a job's pod goes. An empty alias is `default`, and that is the service cluster unless a context is called so.
    pub fn context_of(&self, alias: &str) -> Option<&str> {
        let alias = if alias.is_empty() { "default" } else { alias };
        match self.aliases.get(alias) {
            Some(context) => Some(context),
            None => (alias == "default").then_some(self.service.as_str()),
        }
    }
}

/// Pods of a component that run, the longest first: uid and life.
pub fn running<'a>(world: &'a World, role: &'a str) -> impl Iterator<Item = (&'a String, &'a Life)> {
    let mut found: Vec<(&String, &Life)> = world
        .clusters
        .get(&world.prow.service)
        .into_iter()
        .flat_map(|cluster| &cluster.lives)
        .filter(move |(_, life)| life.is_running() && life.program.as_ref().is_some_and(|program| program.role == role))
        .collect();
    found.sort_by_key(|(uid, life)| (life.running_since(), (*uid).clone()));
    found.into_iter()
}

/// What a component has loaded, where one runs.
pub fn loaded(world: &World, role: &str) -> Option<Arc<Loaded>> {
    running(world, role).find_map(|(_, life)| life.program.as_ref()?.loaded.clone())
}

/// A pod changed, or is gone.
pub fn pod_changed(world: &mut World, cluster: &str, key: &ObjectKey, last: &Value) {
    if cluster == world.prow.service && key.namespace == world.prow.namespace {
        leader::sync(world);
    }
    if label(last, CREATED_BY_PROW).is_none() {
        return;
    }
    let Some(id) = label(last, ID).map(str::to_owned) else { return };
    if let Some(leader) = &world.prow.leader {
        let job = ObjectKey::new(Resource::ProwJob, &leader.prowjob_namespace, id);
        let is_its = world.get(&world.prow.service, &job).is_some_and(|object| {
            world.prow.context_of(text(object, "/spec/cluster")) == Some(cluster) && name(object) == key.name
        });
        if is_its && world.get(cluster, key).is_none() {
            plank::pod_gone(world, &job, &key.namespace, last);
        }
        plank::sync(world, &job);
    }
}

/// A ProwJob changed, or is gone.
pub fn job_changed(world: &mut World, cluster: &str, key: &ObjectKey) {
    if cluster == world.prow.service {
        plank::sync(world, key);
        crier::sync(world, key);
    }
}
