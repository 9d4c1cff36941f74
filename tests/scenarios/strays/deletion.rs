//! The exact list of strays: not too early, nobody else's, and proven.

use super::*;

#[test]
fn strays_are_not_deleted_before_the_cause_is_gone() {
    let broken = strays(30, 12);
    let refusal = delete(&broken, |_| {}).unwrap_err();
    assert_eq!(refusal.kind, FailureKind::Refused);
    assert!(refusal.reason.contains("the cause is not gone"), "{refusal:?}");
    assert!(refusal.hint.contains("plan rollback") && refusal.hint.contains("--override gate"), "{refusal:?}");
    let plan = delete(&broken, |request| overriding(request, OverrideId::Gate)).expect("a plan");
    assert_eq!(plan.steps.len(), 30 - 3 + 12);
    let said = plan.warnings.join("\n");
    assert!(said.contains("override gate") && said.contains("reason: the oncall knows better"), "{said}");
    assert!(said.contains("PREDICTION: 39 are on a node") && said.contains(BAD_TAG), "{said}");
    assert!(said.contains("Pod got deleted unexpectedly") && !said.contains("wait for a node"), "{said}");

    // Whatever waits for a node is gone at once, and the same prow-controller-manager only misses it.
    let mut waiting = broken;
    let pods = job_pods(&mut waiting.service);
    pods.iter_mut().for_each(|pod| Arc::make_mut(pod).node = None);
    let plan = delete(&waiting, |request| overriding(request, OverrideId::Gate)).expect("a plan");
    let said = plan.warnings.join("\n");
    assert!(said.contains("PREDICTION: 12 wait for a node") && said.contains("in the same wrong place"), "{said}");
    assert!(said.contains("PREDICTION: 27 are on a node"), "{said}");

    // A restart alone changes nothing; another version may.
    let predicted = |snapshot: &Snapshot| {
        delete(snapshot, |request| overriding(request, OverrideId::Gate)).expect("a plan").warnings.join("\n")
    };
    let mut restarted = waiting;
    let ready = at("2019-02-05T17:31:00Z");
    for pod in &mut named(&mut restarted, "prow-controller-manager").pods {
        (pod.created, pod.ready_changed) = (Some(ready), Some(ready));
    }
    let said = predicted(&restarted);
    assert!(said.contains("in the same wrong place, unless the restart mended it"), "{said}");
}

#[test]
fn deleting_the_pod_of_a_job_that_undoes_the_rollback_does_not_stop_it() {
    let plan = delete(&rolled_back(strays(3, 3)), |_| {}).expect("a plan");
    let said = |line: &String| line.contains("post-test-infra-deploy-prow") && line.contains("abort it in Deck");
    assert!(plan.warnings.iter().any(said), "{:?}", plan.warnings);
}

#[test]
fn what_only_pods_say_of_a_cluster_deletes_nothing_there() {
    let mut snapshot = rolled_back(strays(4, 4));
    let job = jobs(&mut snapshot).iter().find(|job| job.cluster == "test-infra-trusted").expect("a job").name.clone();
    let mut elsewhere = pod(BUILD, "test-pods", &job, "ci-test-infra-bazel", at("2019-02-05T17:00:00Z"));
    elsewhere.object.uid = Some("elsewhere".to_owned());
    job_pods(build(&mut snapshot)).push(Arc::new(elsewhere));
    assert!(
        deleted(&delete(&snapshot, |_| {}).expect("a plan")).contains("elsewhere"),
        "a person said where it belongs"
    );
    let proof = AliasProof::Pods { count: 4 };
    let place = AliasPlace::At { cluster: Alias::service(), proof };
    snapshot.aliases.insert(Alias("test-infra-trusted".to_owned()), place);
    let plan = delete(&snapshot, |_| {}).expect("a plan");
    assert!(!deleted(&plan).contains("elsewhere") && plan.steps.len() == 8, "those in the wrong namespace are");
    let said = |refusal: &Refusal| refusal.hint.contains("--build-context test-infra-trusted=CONTEXT");
    assert!(plan.refusals.iter().any(said), "{:?}", plan.refusals);
}

/// Whether a plan of before may still be run, with all servers willing.
fn approved(plan: &Plan, now: Option<&Snapshot>) -> Result<(), Refusal> {
    let steps = plan.steps.iter().map(|step| StepPreview { n: step.n, answer: Answer::Accepted }).collect();
    let preview = Preview { digest: plan.digest.clone(), at: plan.basis.taken_at, steps };
    let now = now.map(diagnose);
    approve(plan, &preview, now.as_ref(), &Approval::Typed(plan.confirmation.word())).map(|_| ())
}

#[test]
fn a_saved_plan_is_held_against_the_gate_of_the_day() {
    let repaired = rolled_back(strays(30, 12));
    let plan = delete(&repaired, |request| request.include_running = true).expect("a plan");
    approved(&plan, Some(&repaired)).expect("nothing happened meanwhile");
    assert!(approved(&plan, None).unwrap_err().reason.contains("was not looked at"));

    let mut bumped = repaired.clone();
    bumped.taken_at = at("2019-02-05T17:52:00Z");
    run(named(&mut bumped, "prow-controller-manager"), BAD_TAG, "2019-02-05T17:51:00Z");
    let refusal = approved(&plan, Some(&bumped)).unwrap_err();
    assert!(refusal.reason.contains("closed now"), "somebody rolled forward again: {refusal:?}");

    let mut again = repaired.clone();
    again.taken_at = at("2019-02-05T17:52:00Z");
    let mut stray = pod(BUILD, "default", "00000003-29b5-11e9-8a55-0a580a6c0001", "x", at("2019-02-05T17:51:00Z"));
    stray.object.uid = Some("another".to_owned());
    job_pods(build(&mut again)).push(Arc::new(stray));
    assert!(approved(&plan, Some(&again)).unwrap_err().reason.contains("the cause is not gone"));

    let mut moved = repaired.clone();
    let Source::Known { value: settings, .. } = &mut moved.prow else { panic!("known settings") };
    settings.pod_namespace = "default".to_owned();
    assert!(approved(&plan, Some(&moved)).is_err(), "they may be where they belong now");
    let mut dark = repaired.clone();
    dark.prow = lost();
    assert!(approved(&plan, Some(&dark)).unwrap_err().reason.contains("not known now"));

    // Part is done, and the good pods have ended and are collected: the proof was given, and nothing speaks against it.
    let mut half = repaired;
    job_pods(&mut half.service).clear();
    half.service.census = seen(crate::support::strays::census(&[]));
    build(&mut half).census = seen(crate::support::strays::census(&[]));
    half.taken_at = at("2019-02-05T17:58:00Z");
    assert!(!diagnose(&half).gate.is_open());
    approved(&plan, Some(&half)).expect("the rest may be deleted");

    // What a person set aside stays set aside, and is written down with the reason.
    let broken = strays(30, 12);
    let plan = delete(&broken, |request| overriding(request, OverrideId::Gate)).expect("a plan");
    approved(&plan, Some(&broken)).expect("overridden");
    assert_eq!(plan.basis.overrides[0].reason, "the oncall knows better");
    let blank = |request: &mut Request| {
        request.overrides.push(Override { id: OverrideId::Gate, reason: "  ".to_owned() });
    };
    assert_eq!(delete(&broken, blank).unwrap_err().kind, FailureKind::Usage);
}

#[test]
fn the_plan_is_exactly_the_strays_of_both_clusters() {
    let snapshot = rolled_back(strays(30, 12));
    let plan = delete(&snapshot, |request| request.include_running = true).expect("a plan");
    let expected: BTreeSet<String> =
        diagnose(&snapshot).strays.strays().map(|judged| judged.pod.uid().to_owned()).collect();
    assert_eq!((deleted(&plan).len(), plan.steps.len()), (42, 42));
    assert_eq!(deleted(&plan), expected);
    assert!(
        plan.title.contains("prow-build/default 30") && plan.title.contains("prow-services/default 12"),
        "{}",
        plan.title
    );
    assert_eq!(plan.clusters.iter().map(|c| c.context.as_str()).collect::<Vec<_>>(), ["prow-services", BUILD]);
    assert!(!plan.steps.iter().any(|step| step.write.object().namespace == "test-pods"));
    assert!(plan.refusals.iter().any(|refusal| refusal.reason.contains("not this Prow's")), "{:?}", plan.refusals);

    let quiet = delete(&snapshot, |_| {}).expect("a plan");
    assert_eq!(quiet.steps.len(), 39, "those that run are left");
    assert!(quiet.refusals.iter().any(|refusal| refusal.reason.contains("3 stray(s) in prow-build/default run")));
    for (name, count) in [(BUILD, 30), ("default", 30), ("prow-services", 12), ("test-infra-trusted", 12)] {
        let one = delete(&snapshot, |request| {
            request.include_running = true;
            request.clusters = vec![name.to_owned()];
        });
        assert_eq!(one.expect("a plan").steps.len(), count, "{name}");
    }
    let refusal = delete(&snapshot, |request| request.clusters = vec!["elsewhere".to_owned()]).unwrap_err();
    assert_eq!(refusal.kind, FailureKind::Usage);
}

#[test]
fn what_cannot_be_seen_is_left_out_and_said() {
    let mut dark = rolled_back(strays(30, 12));
    build(&mut dark).job_pods = lost();
    let plan = delete(&dark, |_| {}).expect("a plan of the rest");
    assert_eq!(plan.steps.len(), 12);
    assert!(plan.steps.iter().all(|step| *step.write.cluster() == Alias::service()));
    assert!(plan.refusals.iter().any(|refusal| refusal.reason.contains("strays of prow-build are left out")));

    let mut nobodys = rolled_back(strays(3, 3));
    nobodys.prowjobs = Source::Denied { verb: "list prowjobs".to_owned() };
    assert_eq!(delete(&nobodys, |_| {}).unwrap_err().kind, FailureKind::Forbidden);
    let mut nowhere = rolled_back(strays(3, 3));
    nowhere.prow = lost();
    assert!(delete(&nowhere, |_| {}).unwrap_err().reason.contains("where pods belong is not known"));
}

#[test]
fn finalizers_are_named_with_their_owner() {
    let mut snapshot = rolled_back(strays(10, 5));
    let pods = job_pods(build(&mut snapshot));
    for pod in pods.iter_mut().take(3) {
        Arc::make_mut(pod).finalizers = vec![FINALIZER.to_owned()];
    }
    let going = Arc::make_mut(&mut pods[0]);
    going.deleting = true;
    let uid = going.uid().to_owned();
    let plan = delete(&snapshot, |_| {}).expect("a plan");
    assert!(!deleted(&plan).contains(&uid), "it is being deleted already");
    assert!(
        plan.refusals.iter().any(|r| r.reason.contains(FINALIZER) && r.reason.contains("crier")),
        "{:?}",
        plan.refusals
    );
    assert!(plan.warnings.iter().any(|w| w.starts_with("2 of them") && w.contains("crier")), "{:?}", plan.warnings);
}

#[test]
fn many_deletes_ask_for_the_cluster_as_well() {
    let few = rolled_back(strays(30, 12));
    let word = |snapshot: &Snapshot| {
        delete(snapshot, |request| request.include_running = true).expect("a plan").confirmation.word()
    };
    assert_eq!(word(&few), "42", "not more than half of all labelled pods");
    assert_eq!(word(&rolled_back(strays(900, 150))), "1050 default", "above a thousand");
    let mut half = few;
    build(&mut half).census = seen(crate::support::strays::census(&[
        ("00000000-29b5-11e9-8a55-0a580a6c0001", "2019-02-05T17:30:40Z"),
        ("00000001-29b5-11e9-8a55-0a580a6c0001", "2019-02-05T17:30:40Z"),
        ("00000002-29b5-11e9-8a55-0a580a6c0001", "2019-02-05T17:30:40Z"),
    ]));
    assert_eq!(word(&half), "42 default", "above half of all");
}

/// The server took every delete.
fn without(plan: &Plan, mut snapshot: Snapshot) -> Snapshot {
    let gone = deleted(plan);
    job_pods(&mut snapshot.service).retain(|pod| !gone.contains(pod.uid()));
    job_pods(build(&mut snapshot)).retain(|pod| !gone.contains(pod.uid()));
    snapshot.taken_at = at("2019-02-05T17:33:00Z");
    snapshot
}

#[test]
fn deleting_clears_the_findings_and_is_proven() {
    let snapshot = rolled_back(strays(30, 12));
    let plan = delete(&snapshot, |request| request.include_running = true).expect("a plan");
    assert!(matches!(verify(&plan, &snapshot), VerifyState::NotYet { what } if what.contains("42 stray(s)")));
    let mut clean = without(&plan, snapshot);
    assert_eq!(verify(&plan, &clean), VerifyState::Holds);
    // Without a pod anywhere, nobody knows yet where the next one comes.
    let mut bare = clean.clone();
    build(&mut bare).census = seen(crate::support::strays::census(&[]));
    assert!(matches!(verify(&plan, &bare), VerifyState::NotYet { what } if what.contains("30 ProwJob(s)")));
    let kinds: Vec<&str> = diagnose(&clean).findings.iter().map(|finding| finding.kind.name()).collect();
    assert!(!kinds.iter().any(|kind| kind.contains("stray") || kind.contains("stuck")), "{kinds:?}");
    assert_eq!(delete(&clean, |_| {}).unwrap_err().kind, FailureKind::Refused, "nothing is left");

    // Under a deleted one's name, by a clock that is late; and one of a job that had no stray.
    let mut again = pod(BUILD, "default", "00000003-29b5-11e9-8a55-0a580a6c0001", "x", at("2019-02-05T17:20:00Z"));
    again.object.uid = Some("another".to_owned());
    job_pods(build(&mut clean)).push(Arc::new(again));
    Arc::make_mut(&mut jobs(&mut clean)[0]).state = "error".to_owned();
    let VerifyState::NotYet { what } = verify(&plan, &clean) else { panic!("worse off") };
    assert!(
        what.contains("1 ProwJob(s) of these pods ended in error") && what.contains("1 stray(s) were made again"),
        "{what}"
    );
}

/// On a real cluster they take their grace period, and a plan would have nothing to do.
#[test]
fn while_they_go_nothing_is_proposed() {
    let mut snapshot = rolled_back(strays(30, 12));
    let next = |snapshot: &Snapshot| prow_breakglass::present::next(&diagnose(snapshot));
    assert!(next(&snapshot).contains("plan delete-strays"), "{}", next(&snapshot));
    job_pods(&mut snapshot.service).iter_mut().for_each(|pod| Arc::make_mut(pod).deleting = true);
    assert!(next(&snapshot).contains("plan delete-strays"), "30 are left: {}", next(&snapshot));
    job_pods(build(&mut snapshot)).iter_mut().for_each(|pod| Arc::make_mut(pod).deleting = true);
    let waits = next(&snapshot);
    assert!(waits.starts_with("NEXT  wait, ") && waits.ends_with(": 42 pod(s) are being deleted"), "{waits}");
    assert_eq!(delete(&snapshot, |_| {}).unwrap_err().kind, FailureKind::Refused);
}

#[test]
fn the_proof_needs_sight_and_the_servers_clock() {
    let mut snapshot = rolled_back(strays(30, 12));
    let pods = job_pods(build(&mut snapshot));
    let lone = Arc::make_mut(&mut pods[0]);
    lone.phase = "Unknown".to_owned();
    let lost_node = lone.uid().to_owned();
    Arc::make_mut(&mut pods[1]).finalizers = vec![FINALIZER.to_owned()];
    let held = pods[1].clone();
    // The laptop's clock is half an hour fast.
    snapshot.taken_at = at("2019-02-05T18:01:50Z");
    let quiet = delete(&snapshot, |_| {}).expect("a plan");
    assert!(!deleted(&quiet).contains(&lost_node), "nobody knows whether it runs");
    let plan = delete(&snapshot, |request| request.include_running = true).expect("a plan");
    let what = |snapshot: &Snapshot| match verify(&plan, snapshot) {
        VerifyState::Holds => String::new(),
        VerifyState::NotYet { what } | VerifyState::Refused { what } => what,
        VerifyState::Settling { running } => running.join(", "),
    };
    let clean = without(&plan, snapshot);
    assert_eq!(what(&clean), "");

    let mut again = clean.clone();
    let mut stray = pod(BUILD, "default", "00000003-29b5-11e9-8a55-0a580a6c0001", "x", at("2019-02-05T17:32:50Z"));
    stray.object.uid = Some("another".to_owned());
    job_pods(build(&mut again)).push(Arc::new(stray));
    assert!(what(&again).contains("1 stray(s) were made again"), "{}", what(&again));

    // Nothing is a stray while nobody knows where pods belong; that proves nothing.
    let mut unjudged = again;
    unjudged.prow = lost();
    assert!(what(&unjudged).contains("not known now"), "{}", what(&unjudged));

    let mut hanging = clean;
    let mut held = (*held).clone();
    held.deleting = true;
    job_pods(build(&mut hanging)).push(Arc::new(held));
    assert!(what(&hanging).contains(FINALIZER) && what(&hanging).contains("crier"), "{}", what(&hanging));
}

/// Where a pod of the random mix is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sort {
    Stray,
    Running,
    Going,
    Elsewhere,
    Foreign,
    Copy,
    NoId,
    Unproven,
}

fn sorts() -> impl Strategy<Value = Vec<Sort>> {
    use Sort::{Copy, Elsewhere, Foreign, Going, NoId, Running, Stray, Unproven};
    let one = prop::sample::select(vec![Stray, Running, Going, Elsewhere, Foreign, Copy, NoId, Unproven]);
    prop::collection::vec(one, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_but_strays_is_ever_planned(sorts in sorts(), include_running: bool) {
        let mut snapshot = rolled_back(strays(4, 4));
        let mut expected: BTreeSet<String> = ["default"]
            .iter()
            .flat_map(|_| diagnose(&snapshot).strays.strays().map(|judged| judged.pod.uid().to_owned()).collect::<Vec<_>>())
            .collect();
        let template = (*jobs(&mut snapshot)[0]).clone();
        let mut unproven = build(&mut snapshot).clone();
        unproven.alias = Alias("nobodys".to_owned());
        unproven.context = "nobodys".to_owned();
        unproven.standing = prow_breakglass::model::ClusterStanding::Unproven;
        job_pods(&mut unproven).clear();
        let created = at("2019-02-05T17:00:00Z");
        for (n, sort) in sorts.iter().enumerate() {
            let name = format!("aaaa{n:04}-29b5-11e9-8a55-0a580a6c0009");
            let mut new = pod(BUILD, "default", &name, "mixed", created);
            let mut job = template.clone();
            job.name.clone_from(&name);
            match sort {
                Sort::Stray | Sort::Unproven => {}
                Sort::Running => new = running(new),
                Sort::Going => new.deleting = true,
                // Its ProwJob is for the service cluster, and the pod is in the pod namespace of the other.
                Sort::Elsewhere => {
                    "test-infra-trusted".clone_into(&mut job.cluster);
                    "test-pods".clone_into(&mut new.object.namespace);
                }
                Sort::Foreign => job.name.push('x'),
                Sort::Copy => new.object.name.push_str("-debug"),
                Sort::NoId => new.prowjob_id = None,
            }
            let is_planned = match sort {
                Sort::Stray | Sort::Elsewhere => true,
                Sort::Running => include_running,
                Sort::Going | Sort::Foreign | Sort::Copy | Sort::NoId | Sort::Unproven => false,
            };
            if is_planned {
                expected.insert(new.uid().to_owned());
            }
            jobs(&mut snapshot).push(Arc::new(job));
            if *sort == Sort::Unproven {
                new.object.cluster = unproven.alias.clone();
                job_pods(&mut unproven).push(Arc::new(new));
            } else {
                job_pods(build(&mut snapshot)).push(Arc::new(new));
            }
        }
        snapshot.clusters.insert(unproven.alias.clone(), unproven);
        let plan = delete(&snapshot, |request| request.include_running = include_running).expect("a plan");
        prop_assert_eq!(deleted(&plan), expected);
    }
}
