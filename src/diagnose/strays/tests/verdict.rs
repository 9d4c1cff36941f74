//! What strays come to: verdict, gate, and what would undo the repair.

use super::*;

#[test]
fn the_verdict_says_since_when_what_began_and_what_comes_first() {
    let diagnosis = diagnose(&incident());
    assert_eq!((diagnosis.verdict.state, diagnosis.verdict.since), (Health::Broken, Some(at(49))));
    let began = diagnosis.verdict.began.as_ref().map(|change| (change.at, &change.what));
    assert_eq!(began, Some((at(47), &ChangeKind::Bumped { tag: NEW.to_owned(), components: 1 })));
    assert_eq!(diagnosis.verdict.next, NextStep::Repair { repair: RepairId::Rollback, to: None });
    let appearing = diagnosis.findings.iter().find(|finding| finding.kind.name() == "strays-still-appearing");
    assert_eq!(appearing.map(|finding| finding.severity), Some(Severity::Bad));
}

#[test]
fn strays_made_in_one_burst_do_not_look_repaired() {
    // All jobs of the burst get their pods seconds after the bumped version is ready, and nothing new is triggered.
    let mut snapshot = snapshot();
    let jobs: Vec<_> = (0..5).map(|n| job(n, "default", false)).collect();
    for job in &jobs {
        push(&mut snapshot, pod(&build(), "default", &job.name, Some(&job.name), 48));
    }
    set(&mut snapshot.prowjobs, jobs);
    let diagnosis = diagnose(&snapshot);
    assert_eq!(diagnosis.verdict.next, NextStep::Repair { repair: RepairId::Rollback, to: None });
    assert!(matches!(diagnosis.gate, GateState::Closed { .. }));
}

#[test]
fn the_gate_opens_when_good_pods_came_after_the_repair() {
    let mut snapshot = incident();
    roll_back(&mut snapshot, 89, 89);
    let diagnosis = diagnose(&snapshot);
    assert!(matches!(diagnosis.verdict.next, NextStep::Wait { .. }), "{:?}", diagnosis.verdict.next);
    assert_eq!(diagnosis.verdict.state, Health::Broken);

    // Pods of before prove nothing; neither do those of others.
    count(&mut snapshot, &build(), &[("id-0", Some(40)), ("id-1", Some(40)), ("id-2", None), ("9d5b", Some(90))]);
    assert_eq!(diagnose(&snapshot).gate.facts().good_pods, 0);
    count(&mut snapshot, &build(), &[("id-0", Some(90)), ("id-1", Some(90))]);
    assert!(!diagnose(&snapshot).gate.is_open(), "two are not enough");
    count(&mut snapshot, &build(), &[("id-0", Some(90)), ("id-1", Some(90)), ("id-2", Some(90))]);
    let diagnosis = diagnose(&snapshot);
    assert!(diagnosis.gate.is_open(), "{:?}", diagnosis.gate);
    assert_eq!(diagnosis.verdict.next, NextStep::Repair { repair: RepairId::DeleteStrays, to: None });
    assert_eq!(diagnosis.verdict.state, Health::Degraded);

    // One more stray, and it closes.
    push(&mut snapshot, pod(&build(), "elsewhere", "id-3", Some("id-3"), 95));
    assert!(!diagnose(&snapshot).gate.is_open());
}

#[test]
fn a_rollback_that_brings_no_good_pods_is_not_waited_for() {
    // 2019-02-08: the first target of the rollback carried the bug, too.
    let mut snapshot = incident();
    roll_back(&mut snapshot, 89, 89);
    snapshot.taken_at = at(95);
    assert_eq!(diagnose(&snapshot).verdict.next, NextStep::Repair { repair: RepairId::Rollback, to: None });
}

#[test]
fn a_laptop_whose_clock_is_fast_does_not_ask_for_another_rollback() {
    let mut snapshot = incident();
    roll_back(&mut snapshot, 89, 89);
    (snapshot.taken_at, snapshot.service.clock_ahead) = (at(95), Some(5 * 60));
    assert!(matches!(diagnose(&snapshot).verdict.next, NextStep::Wait { .. }));
    snapshot.service.clock_ahead = Some(0);
    assert_eq!(diagnose(&snapshot).verdict.next, NextStep::Repair { repair: RepairId::Rollback, to: None });
}

#[test]
fn the_handover_of_a_rollback_does_not_shut_the_gate_for_good() {
    let mut snapshot = incident();
    // The old leader made the newest stray at 17:28Z, half a minute after the repaired version was ready.
    roll_back(&mut snapshot, 87, 87);
    if let Source::Known { value, .. } = &mut snapshot.service.components {
        value[0].pods[0].ready_changed = Some(at(88) - jiff::SignedDuration::from_secs(30));
    }
    count(&mut snapshot, &build(), &[("id-0", Some(89)), ("id-1", Some(89)), ("id-2", Some(89))]);
    assert!(diagnose(&snapshot).gate.is_open());
}

#[test]
fn good_pods_that_cannot_be_seen_are_not_missing() {
    let mut snapshot = incident();
    roll_back(&mut snapshot, 89, 89);
    snapshot.taken_at = at(95);
    for cluster in [build(), Alias::service()] {
        view_mut(&mut snapshot, &cluster).census = Source::Denied { verb: "list pods".to_owned() };
    }
    let diagnosis = diagnose(&snapshot);
    let GateState::Closed { why, .. } = &diagnosis.gate else { panic!("{:?}", diagnosis.gate) };
    assert!(why.contains("cannot be seen in prow-services, prow-build"), "{why}");
    assert!(matches!(diagnosis.verdict.next, NextStep::Wait { .. }), "{:?}", diagnosis.verdict.next);
}

#[test]
fn what_began_just_before_is_neither_weeks_old_nor_the_day_its_replica_set_was_made() {
    let mut snapshot = incident();
    set(&mut snapshot.service.components, vec![maker(NEW, -9000, -9000)]);
    set(&mut snapshot.service.rollouts, vec![rollout(NEW, -9000, true)]);
    assert_eq!(diagnose(&snapshot).verdict.began, None);
    // Rolled to a version of last week that was still there.
    let again = Rollout { began: Some(at(47)), ..rollout("v-bad", -9000, true) };
    set(&mut snapshot.service.rollouts, vec![again, rollout("v-good", -60, false)]);
    let began = diagnose(&snapshot).verdict.began.map(|change| (change.at, change.what));
    assert_eq!(began, Some((at(47), ChangeKind::Bumped { tag: "v-bad".to_owned(), components: 1 })));
}

#[test]
fn a_pending_deploy_job_undoes_the_rollback_as_soon_as_jobs_start() {
    let mut snapshot = incident();
    let deploy =
        |finished| ProwJob { job: "post-test-infra-deploy-prow".to_owned(), ..(*job(50, "trusted", finished)).clone() };
    let said = |snapshot: &Snapshot| diagnose(snapshot).automation[0].when.clone();
    set(&mut snapshot.prowjobs, vec![Arc::new(deploy(true))]);
    assert!(!said(&snapshot).contains("at once"));
    set(&mut snapshot.prowjobs, vec![Arc::new(deploy(false))]);
    assert!(said(&snapshot).contains("at once when jobs start again"), "{}", said(&snapshot));
}

/// The deploy job as one of the jobs, with its pod where pods belong, and running.
fn deploy_job(snapshot: &mut Snapshot, runs: bool) {
    let job = ProwJob { job: "post-test-infra-deploy-prow".to_owned(), ..(*job(50, "trusted", false)).clone() };
    if let Source::Known { value, .. } = &mut snapshot.prowjobs {
        value.push(Arc::new(job));
    }
    if runs {
        count(snapshot, &Alias::service(), &[("id-50", Some(90))]);
    }
}

#[test]
fn nothing_is_not_the_next_step_while_a_job_is_about_to_undo_the_rollback() {
    let abort = "kubectl --context prow-services -n default patch prowjob id-50 --type merge -p \
                 '{\"status\":{\"state\":\"aborted\"}}'";
    // Before the rollback, which will let it start.
    let mut before = incident();
    deploy_job(&mut before, false);
    let diagnosis = diagnose(&before);
    assert_eq!(diagnosis.verdict.next, NextStep::Repair { repair: RepairId::Rollback, to: None });
    let about: Vec<_> = diagnosis.about_to_revert().map(|actor| (actor.under_way, actor.stop[0].as_str())).collect();
    assert!(matches!(about[..], [(Some(UnderWay::Pending), how)] if how.contains(abort)), "{about:?}");

    // Afterwards, all strays gone.
    let mut after = snapshot();
    roll_back(&mut after, 89, 89);
    let back = Rollout { began: Some(at(89)), ..rollout(OLD, -9000, true) };
    set(&mut after.service.rollouts, vec![back, rollout(NEW, 47, false)]);
    assert_eq!(diagnose(&after).verdict.next, NextStep::Nothing, "nothing is about to undo it");
    deploy_job(&mut after, true);
    let diagnosis = diagnose(&after);
    let NextStep::Stop { actor, state, how } = &diagnosis.verdict.next else { panic!("{:?}", diagnosis.verdict.next) };
    assert_eq!((actor.as_str(), state.as_str()), ("post-test-infra-deploy-prow", "running now"));
    assert!(how.contains(abort), "{how}");
    assert_eq!(diagnosis.verdict.state, Health::Degraded);
    let finding = diagnosis.findings.iter().find(|finding| finding.kind.name() == "automation-will-revert").unwrap();
    assert!(finding.evidence.iter().any(|words| words.contains(abort)), "{:?}", finding.evidence);
    assert!(finding.evidence.iter().any(|words| words.contains(NEW)), "what comes back: {:?}", finding.evidence);

    // Weeks after, the same job is Prow's daily life.
    after.taken_at = at(90 + 60 * 24 * 14);
    assert_eq!(diagnose(&after).verdict.next, NextStep::Nothing);
}

#[test]
fn a_bump_is_held_and_aborted_and_a_cron_job_suspended() {
    let mut snapshot = incident();
    let bump = ProwJob { job: "ci-test-infra-autobump-prow".to_owned(), ..(*job(50, "trusted", false)).clone() };
    set(&mut snapshot.prowjobs, vec![Arc::new(bump)]);
    let stop = diagnose(&snapshot).automation[0].stop.join("; ");
    assert!(stop.contains("patch prowjob id-50") && stop.contains("/hold") && !stop.contains("suspend"), "{stop}");
}

#[test]
fn the_version_that_it_began_with_asks_for_a_rollback_at_once() {
    // Rolled back at 17:29Z; at 17:40Z the deploy job, or an undo, took the ReplicaSet of the bump up again.
    let mut snapshot = incident();
    snapshot.taken_at = at(100);
    set(&mut snapshot.service.components, vec![maker(NEW, 95, 96)]);
    let again = Rollout { began: Some(at(95)), revision: 20_000, ..rollout(NEW, 47, true) };
    set(&mut snapshot.service.rollouts, vec![again, rollout(OLD, -9000, false)]);
    let diagnosis = diagnose(&snapshot);
    assert_eq!(diagnosis.gate.facts().began_with.as_deref(), Some(NEW));
    assert_eq!(diagnosis.verdict.next, NextStep::Repair { repair: RepairId::Rollback, to: None });
    let appearing = diagnosis.findings.iter().find(|finding| finding.kind.name() == "strays-still-appearing").unwrap();
    assert!(matches!(&appearing.kind, FindingKind::StraysStillAppearing { again: Some(tag), .. } if tag == NEW));

    // Even long after, with nothing that starts.
    snapshot.taken_at = at(900);
    assert_eq!(diagnose(&snapshot).verdict.next, NextStep::Repair { repair: RepairId::Rollback, to: None });
}

#[test]
fn a_gate_that_waits_for_new_jobs_says_so_and_how_to_set_it_aside() {
    let mut snapshot = incident();
    roll_back(&mut snapshot, 89, 89);
    let next = |snapshot: &Snapshot| match diagnose(snapshot).gate {
        GateState::Closed { next, .. } => next,
        GateState::Open(_) => panic!("two are not enough"),
    };
    assert!(next(&snapshot).contains("old leader's lease"), "pending jobs wait for pods: {}", next(&snapshot));
    let names: Vec<String> = (0..40).map(|n| format!("id-{n}")).collect();
    let placed: Vec<(&str, Option<i64>)> = names.iter().map(|name| (name.as_str(), Some(80))).collect();
    count(&mut snapshot, &build(), &placed[..36]);
    count(&mut snapshot, &Alias::service(), &placed[36..]);
    let words = next(&snapshot);
    assert!(words.contains("NEW jobs"), "{words}");
    assert!(words.contains("plan delete-strays --context prow-services --override gate --reason TEXT"), "{words}");
}

#[test]
fn a_rollback_that_reached_half_is_finished_first() {
    let mut snapshot = incident();
    roll_back(&mut snapshot, 89, 89);
    count(&mut snapshot, &build(), &[("id-0", Some(90)), ("id-1", Some(90)), ("id-2", Some(90))]);
    assert_eq!(diagnose(&snapshot).verdict.next, NextStep::Repair { repair: RepairId::DeleteStrays, to: None });
    let mut deck = maker(NEW, 47, 47);
    deck.object = ObjectRef::new(&Alias::service(), "default", Kind::Deployment, "deck").with_uid("deck");
    (deck.role, deck.spec_images) = ("deck".to_owned(), vec![format!("gcr.io/k8s-prow/deck:{NEW}")]);
    if let Source::Known { value, .. } = &mut snapshot.service.components {
        value.push(deck);
    }
    let next = diagnose(&snapshot).verdict.next;
    let behind = vec!["deck".to_owned()];
    assert_eq!(next, NextStep::FinishRollback { to: OLD.to_owned(), from: NEW.to_owned(), behind });
}

#[test]
fn what_an_earlier_outage_left_is_not_the_beginning_of_this_one() {
    let mut snapshot = incident();
    push(&mut snapshot, pod(&build(), "default", "id-99", Some("id-99"), -3000));
    snapshot.gone_prowjobs = vec![job(99, "default", true)];
    let diagnosis = diagnose(&snapshot);
    assert_eq!((diagnosis.verdict.since, diagnosis.strays.oldest()), (Some(at(49)), Some(at(-3000))));
    assert!(diagnosis.gate.facts().same_tag, "what runs now made the first strays of this outage");
}

#[test]
fn a_configuration_written_after_the_strays_may_have_made_them_strays() {
    let evidence = |written: i64| {
        let mut snapshot = incident();
        let key = Key::new("default", "config");
        let map = ConfigMapState {
            cluster: Alias::service(),
            key: key.clone(),
            uid: "u".to_owned(),
            resource_version: "1".to_owned(),
            immutable: false,
            values: BTreeMap::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            writers: vec![Writer { manager: "hook".to_owned(), at: Some(at(written)) }],
        };
        set(&mut snapshot.service.config_maps, BTreeMap::from([(key, map)]));
        let diagnosis = diagnose(&snapshot);
        let finding = diagnosis.findings.iter().find(|finding| finding.kind.name() == "stray-pods").unwrap();
        finding.evidence.iter().any(|words| words.starts_with("GUESS: ConfigMap default/config was written"))
    };
    assert!(evidence(89), "all of them are older");
    assert!(!evidence(60), "the newest were made under it");
}

#[test]
fn nobody_is_called_healthy_whose_jobs_cannot_be_seen_at_all() {
    let mut blind = snapshot();
    assert_eq!(diagnose(&blind).verdict.state, Health::Healthy);
    for cluster in [build(), Alias::service()] {
        let view = view_mut(&mut blind, &cluster);
        view.job_pods = Source::Denied { verb: "list pods".to_owned() };
        view.census = Source::Denied { verb: "list pods".to_owned() };
    }
    let verdict = diagnose(&blind).verdict;
    assert_eq!(verdict.state, Health::Unknown);
    assert!(matches!(verdict.next, NextStep::RegainSight { .. }), "{:?}", verdict.next);
}

#[test]
fn a_pod_that_went_astray_is_no_start() {
    let mut snapshot = incident();
    assert_eq!(diagnose(&snapshot).flow.start, None);
    count(&mut snapshot, &build(), &[("id-0", Some(41))]);
    assert_eq!(diagnose(&snapshot).flow.start, Some(at(40)));
}

#[test]
fn what_keeps_strays_from_starting_is_told_by_cause() {
    let mut snapshot = incident();
    let uids = |from: usize, to: usize| {
        (from..to).map(|n| format!("uid-prow-build-default-id-{n}")).collect::<BTreeSet<String>>()
    };
    let event = |message: &str, pods| EventGroup {
        namespace: "default".to_owned(),
        reason: "FailedMount".to_owned(),
        message: message.to_owned(),
        pods,
        count: 19,
        first: Some(at(50)),
        last: Some(at(89)),
    };
    let view = snapshot.clusters.get_mut(&build()).unwrap();
    set(
        &mut view.pod_events,
        vec![
            event("MountVolume.SetUp failed for volume \"ssh-a\" : secret \"gce-ssh\" not found", uids(0, 20)),
            event("MountVolume.SetUp failed for volume \"ssh-b\" : secret \"gce-ssh\" not found", uids(20, 30)),
            event("Unable to attach or mount volumes: timed out waiting for the condition", uids(0, 35)),
        ],
    );
    set(&mut view.secrets_in_use, BTreeSet::from(["gce-ssh".to_owned()]));
    let diagnosis = diagnose(&snapshot);
    let causes: Vec<_> = diagnosis
        .findings
        .iter()
        .filter_map(|finding| match &finding.kind {
            FindingKind::StraysCannotStart { count, secret, known_in, .. } => {
                Some((*count, secret.as_deref(), known_in.as_deref()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(causes, [(30, Some("gce-ssh"), Some("test-pods")), (5, None, None)]);
    assert_eq!(diagnosis.strays.groups[0].cannot_start, Some(35));
}

#[test]
fn a_stuck_deploy_job_says_not_to_wait() {
    let mut snapshot = incident();
    let deploy =
        Arc::new(ProwJob { job: "post-test-infra-deploy-prow".to_owned(), ..(*job(0, "default", false)).clone() });
    if let Source::Known { value, .. } = &mut snapshot.prowjobs {
        value[0] = deploy;
    }
    let event = EventGroup {
        namespace: "default".to_owned(),
        reason: "FailedMount".to_owned(),
        message: "secret \"x\" not found".to_owned(),
        pods: BTreeSet::from(["uid-prow-build-default-id-0".to_owned()]),
        count: 1,
        first: None,
        last: None,
    };
    set(&mut view_mut(&mut snapshot, &build()).pod_events, vec![event]);
    let diagnosis = diagnose(&snapshot);
    let finding = diagnosis.findings.iter().find(|finding| finding.kind.name() == "deploy-job-stuck").unwrap();
    assert_eq!(finding.basis, Basis::Fact, "its name is known");
    // Once it has a pod where it belongs it goes on, whatever is left of the old one.
    count(&mut snapshot, &build(), &[("id-0", Some(90))]);
    assert!(diagnose(&snapshot).findings.iter().all(|finding| finding.kind.name() != "deploy-job-stuck"));
}
