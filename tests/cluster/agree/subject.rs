//! What a behaviour is tried on: the simulation in virtual time, or the real bed in real time.
//!
//! Both are a Prow of January 2019's layout without an outage: one cluster, components and ProwJobs in `prow`, pods of jobs in
//! `test-pods`, the same configuration. To let a behaviour steer something else: a method of [`Subject`] with both ways.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prow_breakglass::sim::{Access, Commit, Prow, Simulation, Version, World};

use super::server::Server;
use crate::bed::Bed;
use crate::support;

/// The version that both run.
pub const TAG: &str = "v20240619-cfb8754e0";
/// The version that puts pods where ProwJobs are.
pub const BAD_TAG: &str = "v20190205-8c1cd80";
/// Namespace of the components and ProwJobs.
pub const PROW: &str = "prow";
/// Namespace of the pods of jobs.
pub const TEST_PODS: &str = "test-pods";

const CONTEXT: &str = "prow-services";
/// How far virtual time goes between two looks.
const STEP: SignedDuration = SignedDuration::from_millis(500);
/// So many looks in vain while virtual time stands still are enough.
const MOST_IDLE: u32 = 10_000;
/// How long real time goes between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Whose requests they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// May do everything.
    Admin,
    /// The oncall but for changing workloads.
    NoRollback,
    /// The oncall but for reading logs.
    NoLogs,
    /// With a token that has run out.
    Expired,
}

/// A Prow to try behaviours on.
pub enum Subject {
    Simulated { simulation: Box<Simulation>, held: Cell<bool> },
    Real { bed: Box<RefCell<Bed>>, admin: Server },
}

impl Subject {
    pub fn simulated() -> Self {
        let simulation = Box::new(Simulation::start(world()));
        Subject::Simulated { simulation, held: Cell::new(false) }
    }

    pub async fn real(bed: Bed) -> Self {
        let admin = Server::new(support::client(&bed.admin_kubeconfig()).await);
        Subject::Real { bed: Box::new(RefCell::new(bed)), admin }
    }

    /// The server, as somebody who may do everything.
    pub async fn admin(&self) -> Server {
        self.server(Who::Admin).await
    }

    /// The server as somebody sees it. The simulation has one user at a time: what was given before is this user's then.
    pub async fn server(&self, who: Who) -> Server {
        match (self, who) {
            (Subject::Simulated { simulation, .. }, who) => {
                simulation.change(|world| {
                    if let Some(cluster) = world.clusters.get_mut(CONTEXT) {
                        cluster.access = access(who);
                    }
                });
                Server::new(simulation.client(CONTEXT))
            }
            (Subject::Real { admin, .. }, Who::Admin) => admin.clone(),
            (Subject::Real { bed, .. }, Who::NoRollback | Who::NoLogs | Who::Expired) => {
                let kubeconfig = bed.borrow().kubeconfig_of(variant(who));
                Server::new(support::client(&kubeconfig).await)
            }
        }
    }

    /// The time that goes by for Prow.
    pub fn now(&self) -> Timestamp {
        match self {
            Subject::Simulated { simulation, .. } => simulation.now(),
            Subject::Real { .. } => Timestamp::now(),
        }
    }

    /// Waits until something can be seen.
    ///
    /// # Panics
    /// When it takes longer than it may.
    pub async fn until<T>(&self, what: &str, within: u32, mut seen: impl AsyncFnMut() -> Option<T>) -> T {
        let end = self.now() + SignedDuration::from_secs(within.into());
        let mut idle = 0;
        loop {
            if let Some(found) = seen().await {
                return found;
            }
            assert!(self.now() < end, "{what}: not within {within} s");
            match self {
                Subject::Simulated { held, .. } if held.get() => {
                    idle += 1;
                    assert!(idle < MOST_IDLE, "{what}: not while nodes are held");
                    tokio::task::yield_now().await;
                }
                Subject::Simulated { simulation, .. } => simulation.advance_by(STEP),
                Subject::Real { .. } => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Nodes and controllers do nothing until [`Subject::let_go`]; prow-controller-manager does.
    pub fn hold(&self) {
        match self {
            // Nothing happens while no time passes, also none of other behaviours.
            Subject::Simulated { held, .. } => held.set(true),
            Subject::Real { bed, .. } => bed.borrow_mut().pause_controllers(),
        }
    }

    pub fn let_go(&self) {
        match self {
            Subject::Simulated { held, .. } => held.set(false),
            Subject::Real { bed, .. } => bed.borrow_mut().resume_controllers(),
        }
    }

    /// From now on no node can pull `BASE:TAG`.
    pub fn withdraw(&self, image: &str) {
        match self {
            Subject::Simulated { simulation, .. } => simulation.change(|world| {
                world.images.withdrawn.insert(image.to_owned());
            }),
            Subject::Real { bed, .. } => bed.borrow_mut().make_unpullable(image),
        }
    }

    /// They can again.
    pub fn publish(&self, image: &str) {
        match self {
            Subject::Simulated { simulation, .. } => simulation.change(|world| {
                world.images.withdrawn.remove(image);
            }),
            Subject::Real { bed, .. } => bed.borrow_mut().make_pullable(image),
        }
    }
}

/// The bed's kubeconfig, and the user's name.
fn variant(who: Who) -> &'static str {
    match who {
        Who::Admin => "admin",
        Who::NoRollback => "no-rollback",
        Who::NoLogs => "no-logs",
        Who::Expired => "expired-token",
    }
}

/// What `tests/cluster/bed/users.rs` gives, as far as behaviours ask.
fn access(who: Who) -> Access {
    let mut access = Access { user: variant(who).to_owned(), ..Access::default() };
    match who {
        Who::Admin => {}
        Who::Expired => access.signed_in = false,
        Who::NoRollback | Who::NoLogs => {
            for verb in ["get", "list", "watch", "create"] {
                access.deny(verb, "secrets", None);
            }
            access.deny("delete", "pods", Some("default"));
            access.deny("create", "pods", None);
            access.deny("patch", "namespaces", None);
            match who {
                Who::NoLogs => access.deny("get", "pods/log", None),
                Who::NoRollback | Who::Admin | Who::Expired => access.deny("patch", "deployments", None),
            }
        }
    }
    access
}

macro_rules! config {
    ($path:literal, $file:literal) => {
        ($path.to_owned(), Some(include_bytes!(concat!("../bed/config/", $file)).to_vec()))
    };
}

/// A healthy Prow, as the bed's `healthy` is.
fn world() -> World {
    let now: Timestamp = "2019-01-23T09:00:00Z".parse().expect("a time");
    let mut prow = Prow::new(CONTEXT, PROW);
    prow.aliases = BTreeMap::from([("default".to_owned(), CONTEXT.to_owned())]);
    // On the bed they run until something else happens to them.
    prow.takes.usually = SignedDuration::from_hours(10);
    let mut world = World::new(now, prow);
    world.images.versions = BTreeMap::from([
        (TAG.to_owned(), Version::default()),
        (BAD_TAG.to_owned(), Version { misreads_pod_namespace: true }),
    ]);
    world.repository.commits = vec![Commit {
        name: "first".to_owned(),
        message: "Configure Prow for kubernetes".to_owned(),
        author: "Cole Wagner".to_owned(),
        files: BTreeMap::from([
            config!("config/prow/config.yaml", "config.yaml"),
            config!("config/prow/plugins.yaml", "plugins.yaml"),
            config!("config/jobs/kubernetes/sig-testing/sig-testing.yaml", "sig-testing-jobs.yaml"),
            config!("config/jobs/kubernetes/presets.yaml", "presets.yaml"),
            config!("config/jobs/kubernetes-sigs/aws/aws-presets.yaml", "aws-presets.yaml"),
            config!("config/jobs/kubernetes-sigs/aws/aws-ebs-csi-driver.yaml", "aws-jobs.yaml"),
            config!("config/jobs/kubernetes/kubernetes-presubmits.yaml", "kubernetes-presubmits.yaml"),
            config!("config/jobs/kubernetes/sig-node/e2e-node.yaml", "e2e-node.yaml"),
        ]),
    }];
    world.repository.merged = 1;
    world.install(TAG);
    world.advance_by(SignedDuration::from_mins(3));
    world
}
