//! 2019-02-05 through the program.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use prow_breakglass::diagnose::{VerifyState, verify};
use prow_breakglass::repair::{Override, OverrideId, RepairId, Request};
use prow_breakglass::sim::object::{Resource, text};
use prow_breakglass::sim::{Happened, Simulation, World, Written};

use crate::program::Program;
use crate::worlds::{BUILD, NEW_TAG, OLD_TAG, SERVICE, TEST_PODS, february, our_pods, unfinished};

/// 9:25 PST, when somebody began to suspect why.
const LOOKED_AT: &str = "2019-02-05T17:25:00Z";

fn start(jobs: u32) -> Program {
    Program::on(Simulation::start(february(LOOKED_AT.parse().unwrap(), jobs)))
}

fn strays(world: &World) -> BTreeSet<String> {
    [SERVICE, BUILD].iter().flat_map(|cluster| our_pods(world, cluster, "default").into_keys()).collect()
}

fn writes(program: &Program) -> Vec<Written> {
    let log = program.simulation.log();
    let written = log.into_iter().filter_map(|note| match note.what {
        Happened::Write(written) => Some(written),
        _ => None,
    });
    written.filter(|written| !written.dry_run).collect()
}

fn ended_badly(world: &World) -> Vec<String> {
    let log = world.log().iter();
    log.filter_map(|note| match &note.what {
        Happened::ProwJobEnded { name, state, .. } if state != "success" => Some(name.clone()),
        _ => None,
    })
    .collect()
}

async fn the_right_order(jobs: u32) {
    let program = start(jobs);
    let simulation = program.simulation.clone();
    let all = simulation.look(strays);
    assert_eq!(all.len(), usize::try_from(jobs).unwrap());
    let neighbours =
        simulation.look(|world| world.list(BUILD, Resource::Pod, "").len() - our_pods(world, BUILD, "").len());

    let seen = program.look().await;
    let kinds = seen.kinds();
    for kind in ["StrayPods", "StraysCannotStart", "DeployJobStuck"] {
        assert!(kinds.iter().any(|found| found == kind), "no {kind} in {kinds:?}");
    }
    let refused = seen.plan(&Request::new(RepairId::DeleteStrays)).expect_err("too early");
    assert!(refused.reason.contains("the cause is not gone"), "{refused:?}");

    let rollback = seen.plan(&Request::new(RepairId::Rollback)).expect("a rollback");
    assert!(rollback.title.contains(OLD_TAG), "{}", rollback.title);
    let before = simulation.look(unfinished);
    let summary = program.run(&rollback, &seen).await;
    assert_eq!(summary.done, 9, "{summary:?}");
    assert!(matches!(program.proof(&rollback).await, VerifyState::NotYet { .. }), "rollouts take time");
    simulation.advance_by(SignedDuration::from_secs(60));
    assert_eq!(program.proof(&rollback).await, VerifyState::Holds);

    // The repaired prow-controller-manager makes the pods where they belong; the strays stay.
    let seen = program.look().await;
    let delete = Request { include_running: true, ..Request::new(RepairId::DeleteStrays) };
    let delete = seen.plan(&delete).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert_eq!(delete.steps.len(), all.len());
    let summary = program.run(&delete, &seen).await;
    assert_eq!((summary.done, summary.left), (all.len(), 0), "{summary:?}");
    simulation.advance_by(SignedDuration::from_secs(60));
    assert_eq!(program.proof(&delete).await, VerifyState::Holds);

    let deletes: Vec<Written> = writes(&program).into_iter().filter(|written| written.verb == "delete").collect();
    assert_eq!(deletes.iter().map(|written| written.uid.clone()).collect::<BTreeSet<_>>(), all);
    simulation.look(|world| {
        assert!(strays(world).is_empty());
        assert_eq!(ended_badly(world), Vec::<String>::new(), "no ProwJob lost");
        let ended_well = |name: &String| world.log().iter().any(|note| {
            matches!(&note.what, Happened::ProwJobEnded { name: ended, state, .. } if ended == name && state == "success")
        });
        let now = unfinished(world);
        assert!(before.iter().all(|name| now.contains(name) || ended_well(name)), "{now:?}");
        let left = world.list(BUILD, Resource::Pod, "").len() - our_pods(world, BUILD, "").len();
        assert_eq!(left, neighbours, "what is not ours stays");
        let good: usize = [SERVICE, BUILD].iter().map(|cluster| our_pods(world, cluster, TEST_PODS).len()).sum();
        assert!(good >= before.len());
    });
    // The deploy job that was stuck runs now, and finds everything as the revert wants it.
    simulation.advance_by(SignedDuration::from_mins(3));
    let last = simulation.log().into_iter().rev().find_map(|note| match note.what {
        Happened::Deployed { changed } => Some(changed),
        _ => None,
    });
    let changed = last.expect("a deployment");
    assert!(changed.iter().all(|object| object.starts_with("cronjob")), "{changed:?}");
    simulation.look(|world| {
        let deployments = world.list(SERVICE, Resource::Deployment, "default");
        assert!(
            deployments.iter().all(|object| !text(object, "/spec/template/spec/containers/0/image").ends_with(NEW_TAG))
        );
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_strays_are_told_rolled_back_and_deleted_and_nothing_else() {
    the_right_order(40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_as_there_were() {
    the_right_order(415).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_deletes_too_early_loses_jobs_or_gets_the_strays_again() {
    let program = start(40);
    let simulation = program.simulation.clone();
    let doomed = simulation.look(strays);
    let seen = program.look().await;
    let gate = Override { id: OverrideId::Gate, reason: "a drill".to_owned() };
    let request = Request { include_running: true, overrides: vec![gate], ..Request::new(RepairId::DeleteStrays) };
    let early = seen.plan(&request).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    let summary = program.run(&early, &seen).await;
    assert_eq!(summary.done, doomed.len());
    simulation.advance_by(SignedDuration::from_secs(60));
    let lost = simulation.look(ended_badly);
    let again = simulation.look(strays).len();
    // Every pod was given to a node, so each lingers for a moment, and prow-controller-manager sees it.
    assert_eq!((lost.len(), again), (doomed.len(), 0));
    // No job is left there that would prove which cluster the context is.
    let named = program.look_at(&[("default", BUILD)]).await;
    let VerifyState::NotYet { what } = verify(&early, &named.snapshot) else { panic!("it says that all is well") };
    assert!(what.contains("error") || what.contains("ended"), "{what}");
    simulation.look(|world| {
        let described = world.log().iter().any(|note| {
            matches!(&note.what, Happened::ProwJobEnded { description, .. } if description == "Pod got deleted unexpectedly")
        });
        assert!(described);
    });
}
