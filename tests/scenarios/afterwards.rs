//! After a configuration was written: who refuses it, and who says nothing.

use prow_breakglass::diagnose::{NextStep, VerifyState, diagnose, verify, verify_for};
use prow_breakglass::model::{ContainerState, LogLine, Snapshot, Source, Timestamp, Write, Writer};
use prow_breakglass::repair::{OverrideId, Plan};

use crate::support::{self, at, healthy, incident, written};
use crate::sync::{live, overridden, request, sync};

/// The moment after the good configuration was written over, by an override, with what does not load.
fn overridden_head() -> (Plan, Snapshot) {
    let mut snapshot = healthy();
    let git = incident().desired;
    snapshot.desired = git;
    let plan = sync(&snapshot, &overridden(OverrideId::WouldNotLoad));
    // Head is not chosen while something speaks against it: it has to be asked for.
    let asked = |snapshot: &mut Snapshot| {
        let Source::Known { value: git, .. } = &mut snapshot.desired else { unreachable!() };
        git.asked = Some(git.head.clone());
    };
    assert!(plan.is_err(), "the good revision is live: {plan:?}");
    asked(&mut snapshot);
    assert!(sync(&snapshot, &request()).expect_err("it would not load").hint.contains("--override would-not-load"));
    let plan = sync(&snapshot, &overridden(OverrideId::WouldNotLoad)).expect("a person insists");
    let Write::PutConfigMap { body, .. } = &plan.steps[0].write else { panic!("a PUT") };
    let map = live(&mut snapshot, "job-config");
    map.values.clone_from(&body.values);
    let own = Writer { manager: "prow-breakglass".to_owned(), at: Some(at("2019-01-23T16:10:03Z")) };
    map.writers.insert(0, own);
    snapshot.taken_at = at("2019-01-23T16:10:30Z");
    (plan, snapshot)
}

fn after(seconds: i64) -> Timestamp {
    at("2019-01-23T16:10:30Z") - jiff::SignedDuration::from_secs(seconds)
}

#[test]
fn what_was_written_and_is_refused_is_told_at_once() {
    let (plan, quiet) = overridden_head();
    let VerifyState::Settling { running } = verify_for(&plan, &quiet, after(27), 120) else {
        panic!("nobody said a word")
    };
    assert!(running.contains(&"hook".to_owned()) && !running.contains(&"ghproxy-x".to_owned()), "{running:?}");
    assert_eq!(verify_for(&plan, &quiet, after(121), 120), VerifyState::Holds, "a guess, and said as that");

    let mut reloading = quiet.clone();
    let Source::Known { value, .. } = &mut reloading.service.components else { unreachable!() };
    let deck = value.iter_mut().find(|component| component.role == "deck").expect("deck");
    deck.pods[0].containers[0].reload_error = Some(LogLine {
        level: "error".to_owned(),
        msg: "Error loading config.".to_owned(),
        error: support::FATAL.replace("label :", "'label:value' pair :"),
        component: "deck".to_owned(),
        at: Some(at("2019-01-23T16:10:20Z")),
    });
    // What one that runs says of another content is no refusal of this one.
    assert!(!matches!(verify(&plan, &reloading), VerifyState::Refused { .. }));
    let Source::Known { value, .. } = &mut reloading.service.components else { unreachable!() };
    let deck = value.iter_mut().find(|component| component.role == "deck").expect("deck");
    let line = deck.pods[0].containers[0].reload_error.as_mut().expect("just set");
    line.error = support::FATAL.to_owned();
    let VerifyState::Refused { what } = verify(&plan, &reloading) else { panic!("{:?}", verify(&plan, &reloading)) };
    assert!(what.starts_with("deck runs on what it loaded before, and refuses"), "{what}");

    // In words that no rule of ours knows it may be about either content: then nothing is proven, however long one waits.
    let Source::Known { value, .. } = &mut reloading.service.components else { unreachable!() };
    let deck = value.iter_mut().find(|component| component.role == "deck").expect("deck");
    let line = deck.pods[0].containers[0].reload_error.as_mut().expect("just set");
    line.error = "invalid job nightly: interval must be positive".to_owned();
    let VerifyState::NotYet { what } = verify_for(&plan, &reloading, at("2019-01-23T16:10:00Z"), 120) else {
        panic!("{:?}", verify_for(&plan, &reloading, at("2019-01-23T16:10:00Z"), 120))
    };
    assert!(what.contains("deck logged after the write") && what.contains("interval must be positive"), "{what}");

    let mut crashing = quiet;
    let Source::Known { value, .. } = &mut crashing.service.components else { unreachable!() };
    let hook = value.iter_mut().find(|component| component.role == "hook").expect("hook");
    support::crash(hook, 3);
    let VerifyState::Refused { what } = verify(&plan, &crashing) else { panic!("hook crash-loops on it") };
    assert!(what.starts_with("hook crashes on what was written"), "{what}");
}

/// The incident just after the kick, which came 30 s after the write: hook's new pods are this old.
fn kicked(seconds: i64) -> Snapshot {
    let mut snapshot = written();
    let made = at("2019-01-23T16:12:30Z");
    snapshot.taken_at = made + jiff::SignedDuration::from_secs(seconds);
    let Source::Known { value, .. } = &mut snapshot.service.components else { unreachable!() };
    let hook = value.iter_mut().find(|component| component.role == "hook").expect("hook");
    for pod in &mut hook.pods {
        (pod.created, pod.ready_changed) = (Some(made), Some(made));
        pod.state = "ContainerCreating".to_owned();
        for container in &mut pod.containers {
            (container.restarts, container.last_exit, container.last_fatal) = (0, None, None);
            container.state =
                ContainerState::Waiting { reason: "ContainerCreating".to_owned(), message: String::new() };
        }
    }
    snapshot
}

#[test]
fn pods_that_come_after_what_we_wrote_are_waited_for_and_we_are_not_blamed() {
    let verdict = diagnose(&kicked(9)).verdict;
    let NextStep::Wait { what } = &verdict.next else { panic!("{:?}", verdict.next) };
    assert_eq!(what, "new pods of hook start on the new content");
    let ours = |snapshot: &Snapshot| {
        let words = prow_breakglass::present::verdict(&diagnose(snapshot), snapshot.taken_at);
        words.contains("by prow-breakglass")
    };
    assert!(!ours(&kicked(9)));

    let looks = |snapshot: &Snapshot| matches!(diagnose(snapshot).verdict.next, NextStep::Look { .. });
    assert!(looks(&kicked(121)) && ours(&kicked(121)), "they hang, on what we wrote as likely as not");
    let mut ill = kicked(9);
    let Source::Known { value, .. } = &mut ill.service.components else { unreachable!() };
    let hook = value.iter_mut().find(|component| component.role == "hook").expect("hook");
    hook.pods[1].containers[0].state =
        ContainerState::Waiting { reason: "CreateContainerConfigError".to_owned(), message: "no such key".to_owned() };
    assert!(looks(&ill) && ours(&ill), "what we wrote may lack what it needs");
    let mut of_another = kicked(9);
    for map in ["config", "job-config", "plugins"] {
        live(&mut of_another, map).writers.retain(|writer| writer.manager != "prow-breakglass");
    }
    assert!(looks(&of_another), "nothing of ours is under way");
}
