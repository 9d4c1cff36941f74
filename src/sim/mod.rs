//! A simulated Prow beneath `kube::Client`: the drill's, and the fast half of the suite that also runs on the real bed.
//!
//! ```text
//! World                  pure: clusters, a Prow, a repository, a virtual clock
//!   store                objects and the rules of writes          (what etcd and the API server's storage are)
//!   controllers, prow    what reacts to changes and to time       (no async, no wall clock)
//! Simulation             a World that is shared, and its clock
//!   server               tower services: HTTP in, HTTP out        (async; watches)
//! ```
//!
//! A drill builds a [`World`] ([`build`]), lets its past happen with [`World::advance_to`] and [`World::merge`], and gives it to
//! [`Simulation::start`]. The program gets its clients from [`Simulation::contexts`]. What a person (or a script) does
//! meanwhile goes through [`Simulation::change`]; what happened is in [`World::log`].
//!
//! **Time.** Objects bear virtual times, and the program compares some of them with its own clock (ages, "overdue"): give it the
//! same one. A simulation that is stepped goes with `Clock::stopped(simulation.now())` a look; one that runs is moved by
//! `drill::play` with a `StoryClock`, and the program is given that. The world's past must be over when the clock begins.
//!
//! **The same world twice** is the same down to uids, names and resourceVersions: nothing is drawn at random.
//!
//! **As the real one.** `tests/cluster/agree` tries one suite of behaviours on this simulation and on the bed's real servers with
//! the real Prow, and fails where they tell different things. What is left out on purpose:
//!
//! | Real | Here |
//! |---|---|
//! | RBAC: rules of roles and their bindings | one user a cluster, who may do all but what is denied ([`Access`]) |
//! | managedFields tell which fields are whose | who wrote last, and when; no fields, no conflicts of server-side apply; none of pods, events and ProwJobs |
//! | defaults are filled in for all kinds | those of pods that anybody here reads |
//! | validation of everything | metadata, ConfigMaps, containers' names and images, replicas, selectors, what is immutable |
//! | reasons of undecodable JSON and tokens in the decoder's words | code and reason only |
//! | quotas of many resources | of pods: `spec.hard.pods` |
//! | a paused Deployment with several ReplicaSets is scaled in proportion | the newest of them takes the change |
//! | nodes, taints, selectors, affinity | every pod gets a node, unless it names another scheduler |
//! | a pod that goes at once is deleted and gone in two events, which plank may see as one: then it makes another pod | plank is always in time to see it deleted, as the real one nearly always is, and ends the job |
//! | leases are renewed every few seconds | written when the lead changes hands |
//! | `status.url` by the template of `job_url_prefix_config` | none |
//! | events of a pod's normal life | warnings only |
//! | deletecollection, exec, port-forward, server-side apply | 404, 405 or 415 |
//!
//! To extend: another kind of object is a variant of [`object::Resource`]; another mistake of a version a field of
//! [`images::Version`]; another behaviour of Prow a module in [`prow`] and its line in its table.

mod access;
mod agenda;
pub mod build;
mod controllers;
pub mod images;
mod note;
pub mod object;
pub mod prow;
mod refusal;
mod repository;
mod select;
mod server;
pub mod store;
mod world;

use jiff::{SignedDuration, Timestamp};
use kube::Client;

pub use access::{Access, Denial};
pub use images::{Images, Version};
pub use note::{Happened, Note, Written};
pub use prow::{JobTimes, Prow};
pub use repository::{Commit, Repository, Tree};
pub use world::{Cluster, Reach, World};

use server::Shared;

/// A context of the simulated kubeconfig.
#[derive(Clone)]
pub struct Context {
    pub name: String,
    pub server: String,
    pub client: Client,
}

/// A world that clients talk to. Cheap to clone.
#[derive(Clone)]
pub struct Simulation {
    shared: Shared,
}

impl Simulation {
    /// Opens the world to clients. Time stands still but for [`Simulation::advance_to`].
    pub fn start(world: World) -> Simulation {
        let shared = Shared::new(world);
        shared.change(World::settle);
        Simulation { shared }
    }

    /// A client of one cluster. Of a context that is none it is refused every connection.
    pub fn client(&self, context: &str) -> Client {
        self.shared.client(context)
    }

    /// All contexts, the service cluster's first.
    pub fn contexts(&self) -> Vec<Context> {
        let world = self.shared.lock();
        let mut contexts: Vec<Context> = world
            .clusters
            .values()
            .map(|cluster| Context {
                name: cluster.context.clone(),
                server: cluster.server.clone(),
                client: self.shared.client(&cluster.context),
            })
            .collect();
        contexts.sort_by_key(|context| context.name != world.prow.service);
        contexts
    }

    /// The virtual time.
    pub fn now(&self) -> Timestamp {
        self.shared.lock().now()
    }

    pub fn advance_to(&self, time: Timestamp) {
        self.shared.change(|world| world.advance_to(time));
    }

    pub fn advance_by(&self, by: SignedDuration) {
        self.shared.change(|world| world.advance_by(by));
    }

    /// Looks at the world.
    pub fn look<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.shared.lock())
    }

    /// Changes the world from outside: somebody merges, withdraws an image, cuts a connection. Controllers react, and
    /// watches are told.
    pub fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        self.shared.change(|world| {
            let value = change(world);
            world.settle();
            value
        })
    }

    /// Tells of each change.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared.changes()
    }

    /// What happened so far.
    pub fn log(&self) -> Vec<Note> {
        self.shared.lock().log().to_vec()
    }
}
