//! 2019-01-23 through the program.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;
use prow_breakglass::diagnose::VerifyState;
use prow_breakglass::repair::{RepairId, Request};
use prow_breakglass::sim::{Happened, Simulation};

use crate::program::Program;
use crate::worlds::{january, pods_of};

/// 8:07 PST, when the first one looked.
const LOOKED_AT: &str = "2019-01-23T16:07:00Z";

/// Every picture: of whom crash-loops it tells what its log says, or that it is being read. Once known, it stays known.
#[tokio::test(flavor = "multi_thread")]
async fn no_picture_shows_a_crash_loop_without_its_log_or_that_it_is_read() {
    let program = Program::on(Simulation::start(january(LOOKED_AT.parse().unwrap())));
    let simulation = program.simulation.clone();
    let observer = program.observe(Ok(program.checkout().await), &[]).await;
    let mut snapshots = observer.snapshots();
    let (mut known, mut most, mut crashes) = (BTreeSet::new(), 0, 0);
    while crashes < 5 {
        let snapshot = snapshots.borrow_and_update().clone();
        let components = snapshot.service.components.seen().map_or(&[][..], Vec::as_slice);
        let hooks = components.iter().filter(|component| component.role == "hook");
        for pod in hooks.flat_map(|hook| &hook.pods) {
            let container = &pod.containers[0];
            let name = pod.object.name.clone();
            if container.last_fatal.is_some() {
                known.insert(name);
            } else if container.is_crash_looping() {
                assert!(!known.contains(&name), "what {name} said was known a moment ago: {:?}", snapshot.reading);
                assert!(snapshot.reading.iter().any(|part| part.contains(&name)), "{name}: {:?}", snapshot.reading);
            }
        }
        let restarts = components.iter().map(|component| component.restarts()).max().unwrap_or_default();
        if restarts > most && snapshot.reading.is_empty() {
            (most, crashes) = (restarts, crashes + 1);
            simulation.advance_by(SignedDuration::from_mins(6));
        }
        let next = tokio::time::timeout(Duration::from_secs(30), snapshots.changed()).await;
        next.expect("a newer picture").expect("somebody looks");
    }
    assert_eq!(known.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_put_right_and_hook_is_kicked() {
    let program = Program::on(Simulation::start(january(LOOKED_AT.parse().unwrap())));
    let simulation = program.simulation.clone();
    let seen = program.look_with(program.checkout().await).await;
    let kinds = seen.kinds();
    for kind in ["ConfigLoadFailure", "ConfigAtRiskOnRestart", "NoReadyEndpoints"] {
        assert!(kinds.iter().any(|found| found == kind), "no {kind} in {kinds:?}");
    }
    // Somebody merges the fix; hook does not hear of it.
    simulation.change(|world| world.merge("fix"));
    let seen = program.look_with(program.checkout().await).await;
    let sync = seen.plan(&Request::new(RepairId::SyncConfig)).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    let summary = program.run(&sync, &seen).await;
    assert_eq!(summary.done, sync.steps.len(), "{summary:?}");
    // A crash-looping hook would come up by itself, minutes later.
    simulation.advance_by(SignedDuration::from_secs(5));
    simulation.look(|world| assert!(pods_of(world, "prow", "hook").iter().all(|(_, ready, _, _)| !ready)));
    let seen = program.look_with(program.checkout().await).await;
    let kick = seen.plan(&Request::new(RepairId::Kick)).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    program.run(&kick, &seen).await;
    assert!(matches!(program.proof(&kick).await, VerifyState::NotYet { .. }));
    simulation.advance_by(SignedDuration::from_secs(40));
    assert_eq!(program.proof(&kick).await, VerifyState::Holds);
    simulation.look(|world| {
        let hooks = pods_of(world, "prow", "hook");
        assert!(hooks.len() == 2 && hooks.iter().all(|(_, ready, restarts, _)| *ready && *restarts == 0), "{hooks:?}");
    });
    // The others take it up without a restart.
    simulation.advance_by(SignedDuration::from_mins(2));
    let seen = program.look_with(program.checkout().await).await;
    assert!(!seen.kinds().iter().any(|kind| kind == "ConfigAtRiskOnRestart"), "{:?}", seen.kinds());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_without_the_fix_only_crashes_again() {
    let program = Program::on(Simulation::start(january(LOOKED_AT.parse().unwrap())));
    let simulation = program.simulation.clone();
    let seen = program.look().await;
    let refused = seen.plan(&Request::new(RepairId::Kick)).expect_err("nothing has changed");
    assert!(!refused.hint.is_empty(), "{refused:?}");
    // Who does it all the same: pods of the same ReplicaSet on the same files.
    simulation.change(|world| {
        let names: Vec<String> = pods_of(world, "prow", "hook").into_iter().map(|(name, ..)| name).collect();
        for name in names {
            let key =
                prow_breakglass::sim::object::ObjectKey::new(prow_breakglass::sim::object::Resource::Pod, "prow", name);
            let by = prow_breakglass::sim::store::write::By::new("kubectl", world.now());
            let cluster = world.clusters.get_mut(crate::worlds::SERVICE).unwrap();
            cluster.store.delete(&key, &Default::default(), &by).unwrap();
        }
    });
    simulation.advance_by(SignedDuration::from_secs(30));
    simulation.look(|world| {
        assert!(pods_of(world, "prow", "hook").iter().all(|(_, ready, _, _)| !ready));
        assert!(matches!(world.log().last().map(|note| &note.what), Some(Happened::Refused { fatal: true, .. })));
    });
}
