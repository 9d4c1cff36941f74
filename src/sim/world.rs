//! The whole simulated world: clusters, a Prow, a repository, and the virtual clock. Pure: the same calls in the same order
//! make the same world, down to uids and resourceVersions.
//!
//! Time passes in [`World::advance_to`] only. Whoever changes something (a request through the server, a drill's script)
//! calls [`World::settle`] afterwards: it lets the controllers react to what has changed, at the present time.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::access::Access;
use super::agenda::{Agenda, Item};
use super::controllers;
use super::controllers::life::Life;
use super::images::Images;
use super::note::{Happened, Note};
use super::object::{ObjectKey, Resource};
use super::prow::Prow;
use super::repository::Repository;
use super::store::Store;
use super::store::write::By;

/// Reactions to one event at one instant; more of them chase each other.
const ROUNDS: usize = 500;

/// Whether a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    #[default]
    Answers,
    /// Connections are refused, and open ones are cut.
    Refuses,
    /// It takes requests and answers nothing; watches are silent.
    Frozen,
}

/// One API server and its nodes.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Name of the context in a person's kubeconfig.
    pub context: String,
    /// Its URL.
    pub server: String,
    pub store: Store,
    pub access: Access,
    pub reach: Reach,
    /// What the nodes know of pods, by uid.
    pub(crate) lives: BTreeMap<String, Life>,
}

/// Everything.
#[derive(Debug, Clone)]
pub struct World {
    now: Timestamp,
    /// By context.
    pub clusters: BTreeMap<String, Cluster>,
    pub prow: Prow,
    pub images: Images,
    pub repository: Repository,
    pub(crate) agenda: Agenda,
    log: Vec<Note>,
}

impl World {
    /// A world with one cluster, the service cluster, in which nothing is yet.
    pub fn new(now: Timestamp, prow: Prow) -> World {
        let service = prow.service.clone();
        let mut world = World {
            now,
            clusters: BTreeMap::new(),
            prow,
            images: Images::default(),
            repository: Repository::default(),
            agenda: Agenda::default(),
            log: Vec::new(),
        };
        world.add_cluster(&service);
        world
    }

    /// Another cluster, with the namespaces that every cluster has.
    pub fn add_cluster(&mut self, context: &str) {
        let cluster = Cluster {
            context: context.to_owned(),
            server: format!("https://{}.simulated", context.replace('_', "-")),
            store: Store::new(context),
            access: Access::default(),
            reach: Reach::Answers,
            lives: BTreeMap::new(),
        };
        self.clusters.insert(context.to_owned(), cluster);
        for name in ["default", "kube-system"] {
            self.create(context, Resource::Namespace, "", namespace(name), "kube-apiserver");
        }
    }

    /// The virtual time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The next time at which anything happens by itself.
    pub fn next_event(&self) -> Option<Timestamp> {
        self.agenda.next()
    }

    /// What happened so far.
    pub fn log(&self) -> &[Note] {
        &self.log
    }

    pub(crate) fn note(&mut self, what: Happened) {
        self.log.push(Note { at: self.now, what });
    }

    pub(crate) fn agenda_in(&mut self, delay: SignedDuration, item: Item) {
        self.agenda.at(self.now + delay, item);
    }

    /// An object of a cluster, by its context.
    pub fn get(&self, cluster: &str, key: &ObjectKey) -> Option<&Arc<Value>> {
        self.clusters.get(cluster)?.store.get(key)
    }

    /// All of a kind in a namespace (empty: everywhere) of a cluster.
    pub fn list(&self, cluster: &str, resource: Resource, namespace: &str) -> Vec<Arc<Value>> {
        let found = self.clusters.get(cluster);
        found
            .into_iter()
            .flat_map(|found| found.store.all(resource, namespace))
            .map(|(_, object)| object.clone())
            .collect()
    }

    pub(crate) fn service(&mut self) -> Option<&mut Cluster> {
        self.clusters.get_mut(&self.prow.service)
    }

    /// Creates an object as `manager` does. `None` where the server refuses it: a drill's objects are right, or its test fails.
    pub fn create(
        &mut self,
        cluster: &str,
        resource: Resource,
        namespace: &str,
        object: Value,
        manager: &str,
    ) -> Option<Arc<Value>> {
        let by = By::new(manager, self.now);
        self.clusters.get_mut(cluster)?.store.create(resource, namespace, object, &by).ok()
    }

    /// Lets the controllers react to everything that has changed, at the present time.
    pub fn settle(&mut self) {
        for _ in 0..ROUNDS {
            let due = self.agenda.take_due(self.now);
            let mut fresh = Vec::new();
            for (name, cluster) in &mut self.clusters {
                fresh.extend(cluster.store.take_fresh().into_iter().map(|(key, last)| (name.clone(), key, last)));
            }
            if due.is_empty() && fresh.is_empty() {
                return;
            }
            for (cluster, key, last) in fresh {
                controllers::changed(self, &cluster, &key, &last);
            }
            for item in due {
                controllers::due(self, item);
            }
        }
    }

    /// Lets time pass, event by event.
    pub fn advance_to(&mut self, until: Timestamp) {
        self.settle();
        while let Some(next) = self.agenda.next().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.settle();
        }
        self.now = self.now.max(until);
    }

    pub fn advance_by(&mut self, by: SignedDuration) {
        self.advance_to(self.now + by);
    }

    /// Lets time pass until something is so, or for `at_most`; whether it came about.
    pub fn advance_until(&mut self, at_most: SignedDuration, so: impl Fn(&World) -> bool) -> bool {
        let end = self.now + at_most;
        self.settle();
        while !so(self) {
            match self.agenda.next().filter(|next| *next <= end) {
                Some(next) => self.advance_to(next),
                None => {
                    self.now = self.now.max(end);
                    return so(self);
                }
            }
        }
        true
    }
}

/// A Namespace object.
pub fn namespace(name: &str) -> Value {
    json!({ "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } }, "status": { "phase": "Active" } })
}
