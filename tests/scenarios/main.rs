//! One snapshot an incident: what is found, what is proposed, and that the proposal would clear it. Pure; the real control
//! plane is in `tests/cluster/`.

#[path = "../support/mod.rs"]
mod support;

mod afterwards;
mod corners;
mod last_loaded;
mod mapping;
mod strays;
mod sync;

use std::collections::BTreeMap;

use prow_breakglass::diagnose::{
    Basis, ChoiceReason, Diagnosis, FindingKind, Health, NextStep, Severity, VerifyState, diagnose, verify,
};
use prow_breakglass::journal::Journal;
use prow_breakglass::model::{
    FIELD_MANAGER, Failure, FailureKind, Key, LogLine, RefusedContent, Snapshot, Source, Write, Writer, content_digest,
};
use prow_breakglass::present;
use prow_breakglass::repair::{
    Answer, Approval, Confirmation, Expect, Override, OverrideId, Plan, Preview, RepairId, Request, StepPreview,
    approve, plan,
};

use support::{at, healthy, incident};

fn kinds(diagnosis: &Diagnosis) -> Vec<(&'static str, Severity, Basis)> {
    diagnosis.findings.iter().map(|finding| (finding.kind.name(), finding.severity, finding.basis)).collect()
}

fn planned(repair: RepairId, snapshot: &Snapshot) -> Plan {
    plan(&Request::new(repair), snapshot, &diagnose(snapshot)).expect("a plan")
}

/// The snapshot after the server took every write of a plan, and before anything reacts to it.
fn after(plan: &Plan, mut snapshot: Snapshot, now: &str) -> Snapshot {
    snapshot.taken_at = at(now);
    let Source::Known { value: maps, .. } = &mut snapshot.service.config_maps else { panic!("known ConfigMaps") };
    for step in &plan.steps {
        match &step.write {
            Write::PutConfigMap { object, body, .. } => {
                let state = maps.get_mut(&Key::new(&object.namespace, &object.name)).expect("it is live");
                state.values = body.values.clone();
                state.resource_version.push('1');
                state.writers.insert(0, Writer { manager: FIELD_MANAGER.to_owned(), at: Some(at(now)) });
            }
            Write::CreateConfigMap { .. } | Write::DeleteConfigMap { .. } => {
                panic!("nothing is missing in these incidents")
            }
            Write::DeletePod { object, .. } => {
                let Source::Known { value: components, .. } = &mut snapshot.service.components else { panic!("known") };
                for component in components {
                    component.pods.retain(|pod| pod.object.uid != object.uid);
                }
            }
            Write::PatchImage { .. } | Write::CreateJob { .. } | Write::DeleteJob { .. } => {
                panic!("nothing of the kind in these incidents")
            }
        }
    }
    snapshot
}

#[test]
fn a_healthy_prow_has_nothing_above_info_and_nothing_to_do() {
    let diagnosis = diagnose(&healthy());
    assert_eq!(kinds(&diagnosis).iter().filter(|(_, severity, _)| *severity < Severity::Info).count(), 0);
    assert_eq!((diagnosis.verdict.state, &diagnosis.verdict.next), (Health::Healthy, &NextStep::Nothing));
    assert_eq!(diagnosis.exit_code(), 0);
    assert!(present::verdict(&diagnosis, at(support::NOW)).starts_with("HEALTHY"));
}

#[test]
fn the_first_minute_of_2019_01_23() {
    let snapshot = incident();
    let diagnosis = diagnose(&snapshot);
    assert_eq!(
        kinds(&diagnosis),
        [
            ("config-load-failure", Severity::Bad, Basis::Fact),
            ("no-ready-endpoints", Severity::Bad, Basis::Fact),
            ("revision-would-not-load", Severity::Bad, Basis::Fact),
            ("config-at-risk-on-restart", Severity::Warn, Basis::Fact),
            ("configmap-drift", Severity::Warn, Basis::Fact),
            ("access-denied", Severity::Warn, Basis::Fact),
        ]
    );
    insta::assert_snapshot!(present::status_text(&snapshot, &diagnosis));
}

#[test]
fn the_proposal_is_the_newest_revision_that_nothing_speaks_against() {
    let snapshot = incident();
    let diagnosis = diagnose(&snapshot);
    let choice = diagnosis.choice.clone().expect("a proposal");
    let head = &snapshot.desired.known().expect("git").head.revision;
    assert_ne!(choice.revision.id, head.id, "the head is what broke it");
    assert_eq!((choice.basis, choice.why), (Basis::Guess, ChoiceReason::NewestWithoutObjection));
    let plan = planned(RepairId::SyncConfig, &snapshot);
    assert_eq!(plan.basis.revision.as_ref(), Some(&choice.revision));
    assert_eq!(plan.confirmation, Confirmation::MapName("job-config".to_owned()), "it is not known to load");
    assert!(plan.afterwards.iter().any(|line| line.contains("webhooks")), "{:?}", plan.afterwards);
    // The id follows from all that a plan holds.
    insta::assert_snapshot!(present::plan_text(&plan, None).replace(&plan.id, "p-ID"));
}

#[test]
fn the_repair_would_clear_its_finding_and_then_kick_is_next() {
    let snapshot = incident();
    let sync = planned(RepairId::SyncConfig, &snapshot);
    let mut written = after(&sync, snapshot, "2019-01-23T16:10:30Z");
    written.refused = diagnose(&incident()).refused;
    let diagnosis = diagnose(&written);
    assert!(!kinds(&diagnosis).iter().any(|(kind, ..)| *kind == "configmap-drift"), "{:?}", kinds(&diagnosis));
    assert_eq!(diagnosis.verdict.next, NextStep::Repair { repair: RepairId::Kick, to: None });
    let VerifyState::NotYet { what } = verify(&sync, &written) else { panic!("hook still waits") };
    assert!(what.contains("hook 0/2"), "{what}");

    let kick = planned(RepairId::Kick, &written);
    let pods: Vec<String> = kick.steps.iter().map(|step| step.write.object().name.clone()).collect();
    assert_eq!(pods.len(), 2);
    assert!(pods.iter().all(|pod| pod.starts_with("hook-")), "only what crash-loops: {pods:?}");
    assert_eq!(kick.confirmation, Confirmation::Count(2));
}

#[test]
fn a_kick_before_the_repair_is_refused_and_can_be_insisted_on() {
    let snapshot = incident();
    let diagnosis = diagnose(&snapshot);
    let refusal = plan(&Request::new(RepairId::Kick), &snapshot, &diagnosis).expect_err("it would crash again");
    assert!(refusal.reason.contains("would crash again"), "{}", refusal.reason);
    assert!(refusal.hint.contains("sync-config"), "{}", refusal.hint);
    let insisting = Request {
        overrides: vec![Override { id: OverrideId::UnchangedConfig, reason: "a node was lost".to_owned() }],
        ..Request::new(RepairId::Kick)
    };
    let plan = plan(&insisting, &snapshot, &diagnosis).expect("a person's word");
    assert!(plan.warnings.iter().any(|warning| warning.contains("a node was lost")), "{:?}", plan.warnings);
}

/// Between the repair and the next look at a log nothing says any more that the head was refused: the journal does.
#[test]
fn a_refused_head_is_not_proposed_again_once_its_crash_is_gone() {
    let refused = diagnose(&incident()).refused;
    assert_eq!(refused.len(), 1);
    let mut snapshot = healthy();
    let broken = incident().desired;
    // Our own rules know nothing of it: only memory speaks against the head.
    let Source::Known { value: mut git, at: seen } = broken else { panic!("git is known") };
    git.head.objections.clear();
    for candidate in &mut git.candidates {
        candidate.objections.clear();
    }
    snapshot.desired = Source::Known { value: git, at: seen };
    let without = diagnose(&snapshot);
    let head = snapshot.desired.known().expect("git").head.revision.clone();
    assert_eq!(without.choice.as_ref().map(|choice| &choice.revision), Some(&head), "the trap without memory");

    snapshot.refused = refused;
    let with = diagnose(&snapshot);
    assert_ne!(with.choice.as_ref().map(|choice| &choice.revision), Some(&head));
    assert_eq!(with.verdict.state, Health::Healthy);
    assert_eq!(with.verdict.next, NextStep::MendRevision { revision: head });
    assert_eq!(kinds(&with), [("revision-would-not-load", Severity::Warn, Basis::Fact)]);
    assert_eq!(with.exit_code(), 1);
}

/// The hours between the upload and the first restart, and the minutes after an undo.
#[test]
fn a_refused_content_puts_the_running_at_risk_before_anything_crashes() {
    let crashed = incident();
    let mut snapshot = Snapshot { desired: crashed.desired.clone(), ..healthy() };
    snapshot.service.config_maps = crashed.service.config_maps.clone();
    let at_risk = |snapshot: &Snapshot| -> Vec<(Basis, Vec<String>)> {
        let findings = diagnose(snapshot).findings.into_iter();
        findings
            .filter_map(|finding| match finding.kind {
                FindingKind::ConfigAtRiskOnRestart { components, .. } => Some((finding.basis, components)),
                _ => None,
            })
            .collect()
    };
    let bases = |snapshot: &Snapshot| at_risk(snapshot).iter().map(|(basis, _)| *basis).collect::<Vec<_>>();
    assert_eq!(bases(&snapshot), [Basis::Guess], "nobody has refused it yet, but our rules would");

    let remembered = Snapshot { refused: diagnose(&crashed).refused, ..snapshot.clone() };
    let found = at_risk(&remembered);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].0 == Basis::Fact && found[0].1.contains(&"hook".to_owned()), "{found:?}");

    let Source::Known { value: components, .. } = &mut snapshot.service.components else { panic!("known components") };
    let hook = components.iter_mut().find(|component| component.role == "hook").expect("hook");
    let refusal = |error: &str| {
        let line = crashed.service.components.known().and_then(|all| {
            all.iter().flat_map(|c| &c.pods).flat_map(|pod| &pod.containers).find_map(|c| c.last_fatal.clone())
        });
        line.map(|line| LogLine { error: error.to_owned(), level: "error".to_owned(), ..line })
    };
    hook.pods[0].containers[0].reload_error = refusal("some fault that no rule of ours knows");
    assert_eq!(bases(&snapshot), [Basis::Guess], "refused for certain; which file, is a guess");
    let Source::Known { value: components, .. } = &mut snapshot.service.components else { panic!("known components") };
    let hook = components.iter_mut().find(|component| component.role == "hook").expect("hook");
    hook.pods[0].containers[0].reload_error = refusal(support::FATAL);
    assert_eq!(at_risk(&snapshot), found);
}

#[test]
fn stale_keys_are_kept_unless_pruned_and_many_need_a_word() {
    let mut snapshot = healthy();
    let Source::Known { value: maps, .. } = &mut snapshot.service.config_maps else { panic!("known") };
    let state = maps.get_mut(&Key::new(support::NAMESPACE, "job-config")).expect("job-config");
    state.values.insert("old-kops.yaml".to_owned(), b"periodics: []\n".to_vec());
    state.values.insert("VERSION".to_owned(), b"abc".to_vec());
    let diagnosis = diagnose(&snapshot);
    assert_eq!(kinds(&diagnosis), [("configmap-stale-keys", Severity::Warn, Basis::Fact)]);

    let keep = plan(&Request::new(RepairId::SyncConfig), &snapshot, &diagnosis).expect_err("nothing to write");
    assert!(keep.reason.contains("nothing to write"), "{}", keep.reason);
    let prune = Request { prune: true, ..Request::new(RepairId::SyncConfig) };
    let made = plan(&prune, &snapshot, &diagnosis);
    let made = match made {
        Ok(made) => made,
        Err(refusal) => {
            assert!(refusal.reason.contains("pruning would remove"), "{}", refusal.reason);
            let word = Override { id: OverrideId::PruneMany, reason: "seen".to_owned() };
            plan(&Request { overrides: vec![word], ..prune }, &snapshot, &diagnosis).expect("a person's word")
        }
    };
    let Write::PutConfigMap { body, .. } = &made.steps[0].write else { panic!("a PUT") };
    assert!(!body.values.contains_key("old-kops.yaml"));
    assert!(body.values.contains_key("VERSION"), "Prow's own key is not ours to remove");
}

#[test]
fn what_is_not_known_now_is_not_planned_on_and_is_never_healthy() {
    let gone = || Failure::new(FailureKind::Unreachable, "no answer from the API server");
    for lose in [
        (|snapshot, error| snapshot.service.components = lost(&snapshot.service.components, error))
            as fn(&mut Snapshot, Failure),
        |snapshot, error| snapshot.service.config_maps = lost(&snapshot.service.config_maps, error),
        |snapshot, error| snapshot.desired = lost(&snapshot.desired, error),
        |snapshot, error| snapshot.service.identity = lost(&snapshot.service.identity, error),
    ] {
        let mut snapshot = incident();
        lose(&mut snapshot, gone());
        let refusal = plan(&Request::new(RepairId::SyncConfig), &snapshot, &diagnose(&snapshot)).expect_err("unknown");
        assert!(refusal.reason.contains("not known now"), "{}", refusal.reason);
    }
    let mut snapshot = healthy();
    snapshot.service.components = lost(&snapshot.service.components, gone());
    let diagnosis = diagnose(&snapshot);
    assert_eq!(diagnosis.verdict.state, Health::Unknown);
    assert_ne!(diagnosis.exit_code(), 0);
}

fn lost<T: Clone>(source: &Source<T>, error: Failure) -> Source<T> {
    Source::Lost { error, last: source.seen().cloned().zip(source.at()) }
}

#[test]
fn a_silent_server_is_one_finding_not_twenty() {
    let error =
        Failure::new(FailureKind::Unreachable, "no answer from https://35.1.2.3 for 41 s").hint("check the VPN");
    let mut snapshot = healthy();
    snapshot.service.components = lost(&snapshot.service.components, error.clone());
    snapshot.service.config_maps = lost(&snapshot.service.config_maps, error.clone());
    snapshot.service.endpoints = lost(&snapshot.service.endpoints, error.clone());
    snapshot.prowjobs = lost(&snapshot.prowjobs, error);
    let diagnosis = diagnose(&snapshot);
    let lost: Vec<_> = diagnosis.findings.iter().filter(|f| matches!(f.kind, FindingKind::SourceLost { .. })).collect();
    assert_eq!(lost.len(), 1, "{:?}", kinds(&diagnosis));
    assert!(lost[0].evidence.iter().any(|line| line == "hint: check the VPN"), "{:?}", lost[0].evidence);
}

#[test]
fn another_prows_checkout_is_refused() {
    let mut snapshot = incident();
    let Source::Known { value: maps, .. } = &mut snapshot.service.config_maps else { panic!("known") };
    let state = maps.get_mut(&Key::new(support::NAMESPACE, "job-config")).expect("job-config");
    state.values = (0..20).map(|n| (format!("other-{n}.yaml"), b"periodics: []\n".to_vec())).collect();
    let refusal =
        plan(&Request::new(RepairId::SyncConfig), &snapshot, &diagnose(&snapshot)).expect_err("the wrong target");
    assert!(refusal.reason.contains("another Prow's"), "{}", refusal.reason);
}

fn accepted(plan: &Plan) -> Preview {
    let steps = plan.steps.iter().map(|step| StepPreview { n: step.n, answer: Answer::Accepted }).collect();
    Preview { digest: plan.digest.clone(), at: at(support::NOW), steps }
}

#[test]
fn only_the_right_words_or_flags_approve_and_only_what_was_previewed() {
    let plan = planned(RepairId::SyncConfig, &incident());
    let preview = accepted(&plan);
    let typed = |words: &str| approve(&plan, &preview, None, &Approval::Typed(words.to_owned()));
    assert!(typed("job-config").is_ok());
    for wrong in ["", "yes", "y", "job-confi", "JOB-CONFIG"] {
        assert!(typed(wrong).is_err(), "{wrong:?}");
    }
    let flags = |context: &str, expect| {
        approve(&plan, &preview, None, &Approval::Flags { context: context.to_owned(), expect })
    };
    let context = &plan.clusters[0].context;
    assert!(flags(context, Expect::Exactly(1)).is_ok());
    assert!(flags(context, Expect::AtMost(5)).is_ok());
    assert!(flags(context, Expect::Exactly(2)).is_err());
    assert!(flags(context, Expect::AtMost(0)).is_err());
    assert!(flags("another", Expect::Exactly(1)).is_err());

    let refused = Answer::Moved { detail: "written by hook".to_owned() };
    let moved = Preview { steps: vec![StepPreview { n: 1, answer: refused }], ..preview.clone() };
    assert!(approve(&plan, &moved, None, &Approval::Typed("job-config".to_owned())).is_err());
    let other = Preview { digest: "another".to_owned(), ..preview.clone() };
    assert!(approve(&plan, &other, None, &Approval::Typed("job-config".to_owned())).is_err());
    let unasked = Preview { steps: Vec::new(), ..preview.clone() };
    assert!(
        approve(&plan, &unasked, None, &Approval::Typed("job-config".to_owned())).is_err(),
        "a step that nobody asked about"
    );
    let mut changed = plan.clone();
    changed.steps[0].why = "something else".to_owned();
    assert!(approve(&changed, &preview, None, &Approval::Typed("job-config".to_owned())).is_err(), "a changed file");
}

#[test]
fn plans_are_deterministic_and_survive_their_file() {
    let plan = planned(RepairId::SyncConfig, &incident());
    assert_eq!(plan, planned(RepairId::SyncConfig, &incident()));
    let file = serde_json::to_string(&present::plan_document(&plan, Some(&accepted(&plan)))).expect("JSON");
    let read: Plan = serde_json::from_str(&file).expect("the same plan");
    assert_eq!(read, plan);
    assert_eq!(read.compute_digest(), plan.digest);
}

#[test]
fn digests_tell_contents_apart() {
    let one = BTreeMap::from([("a".to_owned(), b"bc".to_vec())]);
    let other = BTreeMap::from([("ab".to_owned(), b"c".to_vec())]);
    assert_ne!(content_digest(&one), content_digest(&other));
}

/// What the journal remembers comes back as it was, with its cluster, and without any run: a repair may be done by hand.
#[test]
fn the_journal_brings_back_what_was_refused() {
    let snapshot = incident();
    let seen = diagnose(&snapshot).refused;
    let folder = tempfile::tempdir().expect("a folder");
    let journal = Journal::open(folder.path().to_owned()).expect("a journal");
    let identity = snapshot.service.identity.known().expect("it answered");
    journal.remember_refused(identity, &seen).expect("writable");
    let remembered = journal.refused().expect("readable");
    let stamped: Vec<RefusedContent> = seen
        .into_iter()
        .map(|content| RefusedContent {
            cluster_server: identity.server.clone(),
            cluster_uid: identity.uid.clone(),
            ..content
        })
        .collect();
    assert_eq!(remembered, stamped);
    // The next look brings it back, and finds nothing new in it.
    let again = Snapshot { refused: remembered, ..snapshot };
    assert_eq!(diagnose(&again).refused, again.refused);
}
