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
//! **Time.** Objects bear virtual times. The program compares some of them with its own clock (ages, "overdue"), so a world
//! should be at the wall clock's time when the program looks: begin it as long ago as its past takes. With a clock that runs
//! faster than the wall's the two part.
//!
//! **The same world twice** is the same down to uids, names and resourceVersions: nothing is drawn at random.
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

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use tokio::sync::watch;

pub use access::{Access, Denial};
pub use images::{Images, Version};
pub use note::{Happened, Note, Written};
pub use prow::{JobTimes, Prow};
pub use repository::{Commit, Repository, Tree};
pub use world::{Cluster, Reach, World};

use server::Shared;

/// How often a clock that runs by itself moves the world.
const TICK: Duration = Duration::from_millis(100);

/// How the virtual clock moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Clock {
    /// By [`Simulation::advance_to`] only: for tests.
    Stepped,
    /// With the wall clock, so many times as fast; 0 stands still.
    Running { speed: f64 },
}

/// A context of the simulated kubeconfig.
#[derive(Clone)]
pub struct Context {
    pub name: String,
    pub server: String,
    pub client: Client,
}

/// A world that clients talk to. Cheap to clone; its clock stops when the last clone is gone.
#[derive(Clone)]
pub struct Simulation {
    shared: Shared,
    speed: Arc<watch::Sender<f64>>,
}

impl Simulation {
    /// Opens the world to clients. A clock that runs needs a tokio runtime to run in.
    pub fn start(world: World, clock: Clock) -> Simulation {
        let shared = Shared::new(world);
        shared.change(World::settle);
        let (speed, mut speeds) = watch::channel(0.0);
        let simulation = Simulation { shared: shared.clone(), speed: Arc::new(speed) };
        if let Clock::Running { speed } = clock {
            simulation.set_speed(speed);
            tokio::spawn(async move {
                let mut last = tokio::time::Instant::now();
                loop {
                    let factor = *speeds.borrow_and_update();
                    tokio::select! {
                        () = tokio::time::sleep(TICK) => {}
                        changed = speeds.changed() => if changed.is_err() { return },
                    }
                    let now = tokio::time::Instant::now();
                    let passed = (now - last).mul_f64(factor.max(0.0));
                    last = now;
                    if let Ok(passed) = SignedDuration::try_from(passed) {
                        shared.change(|world| world.advance_by(passed));
                    }
                }
            });
        }
        simulation
    }

    /// Of a running clock: how many times as fast as the wall's; 0 pauses.
    pub fn set_speed(&self, speed: f64) {
        self.speed.send_replace(speed);
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
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes()
    }

    /// What happened so far.
    pub fn log(&self) -> Vec<Note> {
        self.shared.lock().log().to_vec()
    }
}
