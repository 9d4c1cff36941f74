//! *One suite, two clusters*: behaviours that are tried on the simulation (`src/sim`) and, unchanged, on the real servers and the
//! real Prow of the bed. Each asserts what is expected of both, and what it is told by one must be what it is told by the other:
//! a divergence fails the suite, and the real one is right.
//!
//! - [`subject`]: the two, and how a behaviour steers them; [`server`]: requests; [`transcript`]: what was told
//! - [`writes`], [`refusals`], [`reads`], [`watches`]: the API server
//! - [`rollouts`], [`pods`]: Kubernetes' controllers and nodes
//! - [`hook`], [`plank`], [`sinker`]: Prow
//!
//! To add a behaviour: an async function that takes a subject and a transcript, and its row in [`BEHAVIOURS`]. It makes objects
//! of its own (named `agree-…`), waits with [`Subject::until`] only, and leaves nothing behind that others would see.
//!
//! `AGREE=plank::` in the environment tries only those whose names hold that; `cargo test --test cluster agree::the_simulation_b`
//! needs no bed.

mod hook;
mod jobs;
mod plank;
mod pods;
mod reads;
mod refusals;
mod rollouts;
mod server;
mod sinker;
mod subject;
mod transcript;
mod watches;
mod writes;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use futures::future::{LocalBoxFuture, join_all};

use crate::bed::Bed;
use subject::{Subject, Who};
use transcript::Transcript;

type Behaviour = for<'a> fn(&'a Subject, &'a mut Transcript) -> LocalBoxFuture<'a, ()>;

macro_rules! behaviours {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$((concat!(stringify!($module), "::", stringify!($name)), |subject, t| Box::pin($module::$name(subject, t)))),*]
    };
}

/// Group after group; those of a group at the same time.
const BEHAVIOURS: &[&[(&str, Behaviour)]] = &[
    behaviours![writes::preconditions_of_put],
    behaviours![writes::preconditions_of_patch],
    behaviours![writes::preconditions_of_deployments],
    behaviours![writes::preconditions_of_delete],
    behaviours![writes::dry_run],
    behaviours![writes::metadata],
    behaviours![refusals::not_found],
    behaviours![refusals::validation],
    behaviours![refusals::validation_of_workloads],
    behaviours![refusals::forbidden],
    behaviours![refusals::unauthorized],
    behaviours![refusals::access_reviews],
    behaviours![reads::selectors],
    behaviours![reads::pages],
    behaviours![reads::tables],
    behaviours![watches::changes],
    behaviours![watches::leaving_a_selection],
    behaviours![watches::beginnings],
    behaviours![watches::too_old],
    behaviours![pods::that_nobody_scheduled, pods::with_a_finalizer, pods::in_a_watch],
    behaviours![pods::that_runs],
    // Leave others no room for pods while they last.
    behaviours![rollouts::quota],
    behaviours![plank::refused_pods],
    behaviours![
        rollouts::rolls_out,
        rollouts::image_that_is_not_there,
        rollouts::image_that_comes_back,
        rollouts::paused,
        watches::bookmarks
    ],
    behaviours![plank::creates, plank::deleted_at_once, plank::finished],
    behaviours![plank::lingering],
    behaviours![plank::recreates, hook::duplicated_presets],
    behaviours![plank::wrong_namespace, sinker::sweeps, hook::gzipped_plugins],
];

/// What came of a behaviour.
struct Outcome {
    transcript: Transcript,
    /// What it said when it failed.
    failed: Option<String>,
}

async fn try_all(subject: &Subject) -> BTreeMap<&'static str, Outcome> {
    // For whoever mends one of them.
    let only = std::env::var("AGREE").unwrap_or_default();
    let mut outcomes = BTreeMap::new();
    for group in BEHAVIOURS {
        let chosen = group.iter().filter(|(name, _)| name.contains(&only));
        let tries = chosen.map(async |(name, behaviour)| {
            subject.server(Who::Admin).await;
            let mut transcript = Transcript::default();
            let tried = AssertUnwindSafe(behaviour(subject, &mut transcript)).catch_unwind().await;
            let failed = tried.err().map(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
            });
            (*name, Outcome { transcript, failed })
        });
        outcomes.extend(join_all(tries).await);
    }
    outcomes
}

/// On the simulation, where waiting takes no time.
fn simulated() -> BTreeMap<&'static str, Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async { try_all(&Subject::simulated()).await })
}

fn failures(what: &str, outcomes: &BTreeMap<&str, Outcome>) -> Vec<String> {
    let failed = outcomes.iter().filter_map(|(name, outcome)| Some((name, outcome.failed.as_ref()?)));
    failed.map(|(name, message)| format!("{name} on {what}: {message}")).collect()
}

#[test]
fn the_simulation_behaves() {
    let failures = failures("the simulation", &simulated());
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn the_simulation_and_the_real_prow_agree() {
    let simulated = simulated();
    let Some(bed) = Bed::start("healthy") else { return };
    let real = crate::support::block_on(async { try_all(&Subject::real(bed).await).await });
    let mut wrong = failures("the simulation", &simulated);
    wrong.extend(failures("the real one", &real));
    for (name, simulated) in &simulated {
        let differences = transcript::differences(&simulated.transcript, &real[name].transcript);
        if !differences.is_empty() {
            wrong.push(format!("{name}: the simulation diverges\n{}", differences.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
