//! From the typed words to the picture that proves the repair, and what is offered then.

use prow_breakglass::model::{Failure, FailureKind, RunEvent, RunSummary, Source};
use prow_breakglass::repair::{Origin, RepairId};
use prow_breakglass::tui::app::{Phase, Planning, Screen, Verification};
use prow_breakglass::tui::{Effect, Msg};

use crate::hands::{Hands, WIDE};
use crate::support::{self, at};

fn running() -> Hands {
    let mut hands = Hands::on_incident(WIDE);
    hands.arm().keys("p").confirm();
    hands.run_begins();
    hands
}

#[test]
fn the_run_is_shown_while_it_goes() {
    let hands = running();
    let text = hands.text();
    for words in ["r-0001", "RUNNING", "sent, waiting for the answer", "journal.ndjson", "0 of 1"] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn only_a_newer_picture_verifies() {
    let mut hands = running();
    hands.run_ends();
    assert!(matches!(hands.last_effect(), Some(Effect::Refresh)), "it looks at once");
    hands.see(support::incident());
    let run = hands.app.run.as_ref().expect("a run");
    assert_eq!(run.verification, Verification::NotBegun, "a picture older than the run's end proves nothing");
    hands.see(support::written());
    assert!(hands.text().contains("waiting for hook 0/2"), "{}", hands.text());
    let mut well = support::healthy();
    well.taken_at = at("2019-01-23T16:13:30Z");
    hands.see(well.clone());
    assert!(hands.text().contains("watching the logs of"), "Prow does not announce a reload: {}", hands.text());
    well.taken_at = at("2019-01-23T16:14:30Z");
    hands.see(well);
    assert!(hands.text().contains("verified 16:14Z: "), "{}", hands.text());
    assert!(hands.text().contains("Webhooks of that time were lost"), "green does not hide it");
    assert!(matches!(hands.last_effect(), Some(Effect::Verified { run, .. }) if run == "r-0001"));
}

#[test]
fn an_outage_whose_loss_nobody_told_has_no_empty_place_for_it() {
    let mut hands = Hands::on_incident(WIDE);
    let snapshot = support::incident();
    let mut diagnosis = prow_breakglass::diagnose::diagnose(&snapshot);
    diagnosis.verdict.loss.clear();
    hands.app.outage = None;
    hands.tell(Msg::Observed(snapshot.into(), diagnosis.into()));
    let mut well = support::healthy();
    well.taken_at = at("2019-01-23T16:13:30Z");
    hands.tick("2019-01-23T16:13:31Z");
    hands.see(well);
    assert!(hands.text().contains("WAS BROKEN 12:41Z to 16:13Z. Webhooks of that time were lost"), "{}", hands.text());
}

#[test]
fn an_outage_forgets_nothing_that_was_lost() {
    let mut hands = Hands::on_incident(WIDE);
    hands.app.outage = None;
    let see = |hands: &mut Hands, loss: &str, taken: &str| {
        let mut snapshot = if loss.is_empty() { support::healthy() } else { support::incident() };
        snapshot.taken_at = at(taken);
        let mut diagnosis = prow_breakglass::diagnose::diagnose(&snapshot);
        diagnosis.verdict.loss = Vec::from_iter((!loss.is_empty()).then(|| loss.to_owned()));
        hands.tell(Msg::Observed(snapshot.into(), diagnosis.into()));
        let outage = hands.app.outage.as_ref().expect("an outage");
        (outage.loss.join(", "), outage.until.is_some())
    };
    assert_eq!(see(&mut hands, "hook is down", "2019-01-23T16:10:00Z"), ("hook is down".to_owned(), false));
    assert_eq!(
        see(&mut hands, "plank is down", "2019-01-23T16:11:00Z"),
        ("hook is down, plank is down".to_owned(), false)
    );
    assert_eq!(see(&mut hands, "", "2019-01-23T16:12:00Z"), ("hook is down, plank is down".to_owned(), true));
    assert_eq!(
        see(&mut hands, "plank is down", "2019-01-23T16:13:00Z"),
        ("hook is down, plank is down".to_owned(), false)
    );
    assert_eq!(see(&mut hands, "", "2019-01-23T16:14:00Z"), ("hook is down, plank is down".to_owned(), true));
    see(&mut hands, "tide is down", "2019-01-23T16:15:00Z");
    see(&mut hands, "", "2019-01-23T16:16:00Z");
    assert!(hands.text().contains("12:41Z to 16:16Z. Down for a time: hook. Webhooks"), "{}", hands.text());
    let later = see(&mut hands, "tide is down", "2019-01-23T18:00:00Z");
    assert_eq!(later, ("tide is down".to_owned(), false), "that is another one");
}

#[test]
fn afterwards_the_next_repair_is_one_key_away() {
    let mut hands = running();
    hands.run_ends();
    hands.see(support::written());
    hands.keys("p");
    assert_eq!(hands.app.screen, Screen::Plan);
    let Planning::Ready(sheet) = &hands.app.planning else { panic!("no plan: {}", hands.text()) };
    assert_eq!(sheet.plan.repair, RepairId::Kick, "nobody waits out the back-off");
}

#[test]
fn what_is_refused_has_two_ways_back() {
    let mut hands = running();
    hands.keys("s");
    assert_eq!(hands.app.screen, Screen::Run, "not while it goes on");
    hands.run_ends();
    // Hook started again on what was written, long after every kubelet had it.
    let mut refused = support::written();
    refused.taken_at = at("2019-01-23T16:14:39Z");
    let Source::Known { value, .. } = &mut refused.service.components else { panic!("known components") };
    for container in value.iter_mut().flat_map(|component| &mut component.pods).flat_map(|pod| &mut pod.containers) {
        if let Some(line) = &mut container.last_fatal {
            line.at = Some(at("2019-01-23T16:14:30Z"));
        }
    }
    hands.see(refused);
    let text = hands.text();
    assert!(text.contains("REFUSED: hook crashes on what was written"), "{text}");
    assert!(text.contains("u plans to take it back"), "{text}");
    hands.keys("s");
    assert_eq!(hands.app.screen, Screen::Plan);
    let asked = |effect: &Effect| match effect {
        Effect::Plan { request, .. } => request.origin != Origin::Git,
        _ => false,
    };
    assert!(hands.last_effect().is_some_and(asked), "{:?}", hands.last_effect());
    assert_eq!(hands.writes(), 1, "only the first run wrote");
}

#[test]
fn pruning_is_planned_anew_and_writes_nothing() {
    let mut hands = Hands::on_incident(WIDE);
    hands.keys("p").keys("x");
    let pruned = |hands: &Hands| match hands.effects.iter().rev().find(|effect| matches!(effect, Effect::Plan { .. })) {
        Some(Effect::Plan { request, .. }) => request.prune,
        _ => panic!("no plan was asked for"),
    };
    assert!(pruned(&hands), "{}", hands.text());
    hands.keys("x");
    assert!(!pruned(&hands), "and back");
    assert_eq!(hands.writes(), 0);
}

#[test]
fn undo_is_a_plan() {
    let mut hands = running();
    hands.keys("u");
    assert_eq!(hands.app.screen, Screen::Run, "not while it goes on");
    hands.run_ends();
    let text = hands.text();
    assert!(text.contains("UNDO u plans to take back r-0001 (that was: write job-config as of"), "{text}");
    hands.keys("u");
    assert!(matches!(hands.last_effect(), Some(Effect::PlanUndo { run, .. }) if run == "r-0001"));
    assert_eq!(hands.writes(), 1, "only the first run wrote");
}

#[test]
fn a_run_that_could_not_begin_says_so() {
    let mut hands = Hands::on_incident(WIDE);
    hands.arm().keys("p").confirm();
    let failure = Failure::new(FailureKind::Tool, "the journal cannot be written")
        .cause("No space left on device")
        .hint("--journal DIR elsewhere");
    let summary = RunSummary { left: 1, first_failure: Some(failure), ..RunSummary::default() };
    hands.tell(Msg::Run(RunEvent::Ended { at: at("2019-01-23T16:12:00Z"), summary }));
    assert!(matches!(hands.app.run.as_ref().map(|run| &run.phase), Some(Phase::Ended { .. })));
    let text = hands.text();
    for words in ["DID NOT START", "the journal cannot be written", "No space left", "--journal DIR"] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}
