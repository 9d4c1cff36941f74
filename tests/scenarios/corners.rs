//! States in which a careless tool would propose what is known to crash Prow, call a sick Prow healthy, or touch what works.

use prow_breakglass::diagnose::{Basis, Diagnosis, DriftState, Health, NextStep, Severity, diagnose};
use prow_breakglass::model::{
    Component, ConfigMapState, ContainerState, DesiredEntry, EndpointCount, InterruptedRun, Key, Leaves, LogLine,
    RefusedContent, Snapshot, Source, Write, Writer,
};
use prow_breakglass::repair::{Override, OverrideId, Plan, Refusal, RepairId, Request, plan};

use crate::kinds;
use crate::support::{self, at, healthy, incident};

/// A refusal that none of our own rules knows.
const UNKNOWN: &str = "invalid presubmit job pull-kops-e2e: unknown cluster alias \"kops\"";

fn components(snapshot: &mut Snapshot) -> &mut Vec<Component> {
    let Source::Known { value, .. } = &mut snapshot.service.components else { panic!("known components") };
    value
}

fn job_config(snapshot: &mut Snapshot) -> &mut ConfigMapState {
    let Source::Known { value, .. } = &mut snapshot.service.config_maps else { panic!("known ConfigMaps") };
    value.get_mut(&Key::new(support::NAMESPACE, "job-config")).expect("job-config")
}

/// The incident with a refusal that our rules know nothing of: only what was seen speaks against the head.
fn unknown_fault() -> Snapshot {
    let mut snapshot = incident();
    for component in components(&mut snapshot) {
        for container in component.pods.iter_mut().flat_map(|pod| &mut pod.containers) {
            if let Some(line) = &mut container.last_fatal {
                line.error = UNKNOWN.to_owned();
            }
        }
    }
    let Source::Known { value: git, .. } = &mut snapshot.desired else { panic!("git is known") };
    git.head.objections.clear();
    for candidate in &mut git.candidates {
        candidate.objections.clear();
    }
    snapshot
}

fn head(snapshot: &Snapshot) -> String {
    snapshot.desired.known().expect("git").head.revision.id.clone()
}

fn choice(diagnosis: &Diagnosis) -> String {
    diagnosis.choice.as_ref().expect("a proposal").revision.id.clone()
}

fn sync(snapshot: &Snapshot) -> Result<Plan, Refusal> {
    plan(&Request::new(RepairId::SyncConfig), snapshot, &diagnose(snapshot))
}

#[test]
fn a_fault_that_no_rule_knows_is_believed_because_hook_said_so() {
    let snapshot = unknown_fault();
    let diagnosis = diagnose(&snapshot);
    assert_ne!(choice(&diagnosis), head(&snapshot));
    assert!(
        kinds(&diagnosis).contains(&("revision-would-not-load", Severity::Bad, Basis::Fact)),
        "{:?}",
        kinds(&diagnosis)
    );
}

/// The outage came with a new file: putting back what the older revision asks for is not enough, the file must go.
#[test]
fn a_new_file_that_is_refused_is_removed_by_the_repair() {
    let mut snapshot = unknown_fault();
    // Live is the good content and one file more; git's head asks for the same.
    let good = snapshot.desired.known().expect("git").candidates.last().expect("a good revision").clone();
    let maps = good.config_maps.expect("it renders");
    let wanted = maps.iter().find(|map| map.key.name == "job-config").expect("job-config");
    let mut values: std::collections::BTreeMap<String, Vec<u8>> =
        wanted.entries.iter().map(|(key, entry)| (key.clone(), entry.bytes.clone())).collect();
    values.insert("new.yaml".to_owned(), b"presubmits:\n  kubernetes/kops:\n  - name: pull-kops-e2e\n".to_vec());
    job_config(&mut snapshot).values.clone_from(&values);
    let Source::Known { value: git, .. } = &mut snapshot.desired else { panic!("git is known") };
    let mut broken = (**git.head.config_maps.as_ref().expect("it renders")).clone();
    for map in broken.iter_mut().filter(|map| map.key.name == "job-config") {
        map.entries = values
            .iter()
            .map(|(key, bytes)| {
                (key.clone(), DesiredEntry { path: format!("config/jobs/{key}"), bytes: bytes.clone(), gzip: false })
            })
            .collect();
    }
    git.head.config_maps = Ok(std::sync::Arc::new(broken));
    let same_head = git.head.clone();
    for candidate in git.candidates.iter_mut().filter(|candidate| candidate.revision == same_head.revision) {
        *candidate = same_head.clone();
    }

    let diagnosis = diagnose(&snapshot);
    assert_ne!(choice(&diagnosis), head(&snapshot));
    assert!(matches!(diagnosis.verdict.next, NextStep::Repair { repair: RepairId::SyncConfig, .. }));
    let plan = sync(&snapshot).expect("a plan that takes the file away");
    let Write::PutConfigMap { body, .. } = &plan.steps[0].write else { panic!("a PUT") };
    assert!(!body.values.contains_key("new.yaml"));
    let why =
        "REMOVES new.yaml, which git does not know, unasked: for hook refuses the ConfigMap, and nothing else of it";
    assert!(plan.warnings.iter().any(|line| line.contains(why) && line.contains("GUESS")), "{:?}", plan.warnings);
}

/// One unrelated commit on top of the broken one, or a stale live key, must not make the head look new.
#[test]
fn a_refused_head_is_recognised_in_other_clothes() {
    let mut snapshot = incident();
    let seen = diagnose(&snapshot).refused;
    assert_eq!(seen[0].culprits, ["presets.yaml"]);
    let Source::Known { value: git, .. } = &mut snapshot.desired else { panic!("git is known") };
    git.head.objections.clear();
    let mut maps = (**git.head.config_maps.as_ref().expect("it renders")).clone();
    for map in maps.iter_mut().filter(|map| map.key.name == "job-config") {
        let entry = map.entries.get_mut("sig-release.yaml").expect("a file that has nothing to do with it");
        entry.bytes = b"periodics: []\n".to_vec();
    }
    git.head.config_maps = Ok(std::sync::Arc::new(maps));
    git.head.revision.id = "c0ffee0".to_owned();
    git.candidates.insert(0, git.head.clone());
    let diagnosis = diagnose(&snapshot);
    assert_ne!(choice(&diagnosis), "c0ffee0", "it still holds the refused key");
    assert!(kinds(&diagnosis).iter().any(|kind| kind.0 == "revision-would-not-load" && kind.2 == Basis::Guess));

    let mut snapshot = unknown_fault();
    job_config(&mut snapshot).values.insert("old.yaml".to_owned(), b"periodics: []\n".to_vec());
    assert_ne!(choice(&diagnose(&snapshot)), head(&snapshot), "a stale key is kept, so the content would be the same");
}

/// Two files of two ConfigMaps may have collided: with another config.yaml the same job files may load.
#[test]
fn the_same_content_beside_another_is_only_suspected() {
    let would_not_load = |snapshot: &Snapshot| -> Vec<Basis> {
        let found = diagnose(snapshot).findings;
        found.iter().filter(|found| found.kind.name() == "revision-would-not-load").map(|found| found.basis).collect()
    };
    let mend = |snapshot: &mut Snapshot| {
        let Source::Known { value: git, .. } = &mut snapshot.desired else { panic!("git is known") };
        let mut maps = (**git.head.config_maps.as_ref().expect("it renders")).clone();
        let config = maps.iter_mut().find(|map| map.key.name == "config").expect("config");
        config.entries.get_mut("config.yaml").expect("its key").bytes = b"prowjob_namespace: prow\n".to_vec();
        git.head.config_maps = Ok(std::sync::Arc::new(maps));
    };
    // While hook refuses it, and later, when the good revision is live and the journal remembers.
    let now = unknown_fault();
    let later = Snapshot { refused: diagnose(&now).refused, desired: now.desired.clone(), ..healthy() };
    for mut snapshot in [now, later] {
        assert_eq!(would_not_load(&snapshot), [Basis::Fact]);
        mend(&mut snapshot);
        assert_eq!(would_not_load(&snapshot), [Basis::Guess]);
    }
}

#[test]
fn what_runs_beats_an_old_refusal() {
    let mut snapshot = healthy();
    let map = snapshot.desired.known().expect("git").head.config_maps.clone().expect("it renders");
    let wanted = map.iter().find(|map| map.key.name == "job-config").expect("job-config");
    let identity = snapshot.service.identity.known().expect("known").clone();
    snapshot.refused = vec![RefusedContent {
        cluster_server: identity.server,
        cluster_uid: identity.uid,
        config_map: wanted.key.clone(),
        keys: wanted
            .entries
            .iter()
            .map(|(key, entry)| (key.clone(), prow_breakglass::model::sha256_hex(&entry.bytes)))
            .collect(),
        beside: None,
        culprits: Vec::new(),
        images: components(&mut healthy())[0].spec_images.clone(),
        error: UNKNOWN.to_owned(),
        at: at("2019-01-01T00:00:00Z"),
    }];
    let diagnosis = diagnose(&snapshot);
    assert_eq!(kinds(&diagnosis), [], "Ready containers started on it since");
    assert_eq!((diagnosis.verdict.state, diagnosis.verdict.next), (Health::Healthy, NextStep::Nothing));
}

/// Nobody has restarted yet: all is Ready, and the next restart is the outage.
#[test]
fn a_refused_reload_is_not_healthy() {
    let mut snapshot = incident();
    snapshot.service.endpoints = healthy().service.endpoints;
    for component in components(&mut snapshot) {
        let well = healthy();
        let same = well.service.components.known().expect("known").iter().find(|same| same.role == component.role);
        *component = same.expect("the same component").clone();
        for container in component.pods.iter_mut().flat_map(|pod| &mut pod.containers) {
            container.reload_error = Some(LogLine {
                level: "error".to_owned(),
                msg: "Error loading config.".to_owned(),
                error: UNKNOWN.to_owned(),
                component: component.role.clone(),
                at: Some(at("2019-01-23T15:00:00Z")),
            });
        }
    }
    let Source::Known { value: git, .. } = &mut snapshot.desired else { panic!("git is known") };
    git.head.objections.clear();
    git.candidates[0].objections.clear();
    let diagnosis = diagnose(&snapshot);
    assert_eq!(diagnosis.verdict.state, Health::Degraded, "{:?}", kinds(&diagnosis));
    assert!(kinds(&diagnosis).iter().any(|kind| kind.0 == "config-at-risk-on-restart"));
    assert_ne!(choice(&diagnosis), head(&snapshot), "it is what they refuse");
    assert!(matches!(diagnosis.verdict.next, NextStep::Repair { repair: RepairId::SyncConfig, .. }));
}

/// git moved a file while hook was down: the key of the old name, kept, repeats what the new one says.
#[test]
fn kept_and_new_keys_are_judged_together() {
    let mut snapshot = healthy();
    let Source::Known { value: git, .. } = &mut snapshot.desired else { panic!("git is known") };
    let mut maps = (**git.head.config_maps.as_ref().expect("it renders")).clone();
    for map in maps.iter_mut().filter(|map| map.key.name == "job-config") {
        let moved = map.entries.remove("presets.yaml").expect("presets");
        map.entries.insert("base-presets.yaml".to_owned(), moved);
    }
    git.head.config_maps = Ok(std::sync::Arc::new(maps));
    git.candidates = vec![git.head.clone()];
    let refusal = sync(&snapshot).expect_err("both files would be live");
    assert!(refusal.reason.contains("duplicated preset"), "{}", refusal.reason);
    assert!(refusal.hint.contains("--prune"), "{}", refusal.hint);
    let pruning = Request {
        prune: true,
        overrides: vec![Override { id: OverrideId::PruneMany, reason: "moved".to_owned() }],
        ..Request::new(RepairId::SyncConfig)
    };
    plan(&pruning, &snapshot, &diagnose(&snapshot)).expect("without the old key it loads");
}

/// A laptop that fetched three weeks ago must not take production back three weeks.
#[test]
fn a_checkout_that_is_behind_is_fetched_not_written() {
    let mut snapshot = healthy();
    let state = job_config(&mut snapshot);
    state.values.insert("sig-release.yaml".to_owned(), b"periodics: []\n".to_vec());
    state.writers.insert(0, Writer { manager: "hook".to_owned(), at: Some(at("2019-01-23T15:00:00Z")) });
    let Source::Known { value: git, .. } = &mut snapshot.desired else { panic!("git is known") };
    git.fetched = Some(at("2019-01-20T09:00:00Z"));
    let diagnosis = diagnose(&snapshot);
    assert!(matches!(diagnosis.verdict.next, NextStep::Fetch { .. }), "{:?}", diagnosis.verdict.next);
    let refusal = sync(&snapshot).expect_err("git may be behind");
    assert!(refusal.hint.contains("git fetch"), "{}", refusal.hint);

    // Somebody's edit by hand is not an upload: git is what it should be put back to.
    job_config(&mut snapshot).writers[0].manager = "kubectl-edit".to_owned();
    assert!(matches!(diagnose(&snapshot).verdict.next, NextStep::Repair { .. }));
}

#[test]
fn an_unread_log_of_a_crash_loop_speaks_against_choosing() {
    let mut snapshot = unknown_fault();
    for component in components(&mut snapshot) {
        for container in component.pods.iter_mut().flat_map(|pod| &mut pod.containers) {
            container.last_fatal = None;
        }
    }
    let state = job_config(&mut snapshot);
    state.values.insert("sig-release.yaml".to_owned(), b"periodics: []\n".to_vec());
    state.writers.insert(0, Writer { manager: "kubectl-edit".to_owned(), at: Some(at("2019-01-23T15:00:00Z")) });
    let refusal = sync(&snapshot).expect_err("nobody knows what hook refuses");
    assert!(refusal.reason.contains("hook crash-loops and its log is not known"), "{}", refusal.reason);
}

/// A sidecar that crash-loops is no reason to take away a component that works on what it loaded before.
#[test]
fn kick_leaves_pods_alone_whose_component_works() {
    let mut snapshot = support::written();
    let tide = components(&mut snapshot).iter_mut().find(|component| component.role == "tide").expect("tide");
    let mut sidecar = tide.pods[0].containers[0].clone();
    sidecar.name = "proxy".to_owned();
    sidecar.ready = false;
    sidecar.state = ContainerState::Waiting { reason: "CrashLoopBackOff".to_owned(), message: String::new() };
    tide.pods[0].containers.push(sidecar);
    tide.pods[0].ready = false;
    tide.ready = 0;
    let plan = plan(&Request::new(RepairId::Kick), &snapshot, &diagnose(&snapshot)).expect("hook's pods");
    let touched: Vec<&str> = plan.steps.iter().map(|step| step.write.object().name.as_str()).collect();
    assert!(touched.iter().all(|name| name.starts_with("hook-")), "{touched:?}");
    assert!(plan.refusals.iter().any(|refusal| refusal.reason.contains("still works")), "{:?}", plan.refusals);
}

#[test]
fn a_component_that_is_gone_or_scaled_away_leaves_its_service_unserved() {
    for gone in [true, false] {
        let mut snapshot = healthy();
        if gone {
            components(&mut snapshot).retain(|component| component.role != "hook");
        } else {
            let hook = components(&mut snapshot).iter_mut().find(|component| component.role == "hook").expect("hook");
            (hook.desired, hook.ready, hook.pods) = (0, 0, Vec::new());
        }
        let Source::Known { value: endpoints, .. } = &mut snapshot.service.endpoints else { panic!("known") };
        endpoints.services.insert(Key::new(support::NAMESPACE, "hook"), EndpointCount::default());
        let diagnosis = diagnose(&snapshot);
        assert_eq!(diagnosis.verdict.state, Health::Degraded, "{:?}", kinds(&diagnosis));
        assert!(kinds(&diagnosis).iter().any(|kind| kind.0 == "no-ready-endpoints"));
    }
}

#[test]
fn stale_keys_that_nobody_refuses_are_said_and_not_pressed() {
    let mut snapshot = healthy();
    job_config(&mut snapshot).values.insert("old.yaml".to_owned(), b"periodics: []\n".to_vec());
    let diagnosis = diagnose(&snapshot);
    assert!(diagnosis.drift.iter().any(|drift| drift.state == DriftState::Drift && drift.blamed.is_empty()));
    assert!(!matches!(diagnosis.verdict.next, NextStep::Repair { .. }), "{:?}", diagnosis.verdict.next);
    let refusal = sync(&snapshot).expect_err("nothing that is asked for differs");
    assert!(refusal.reason.contains("are kept") && refusal.hint.contains("--prune"), "{refusal:?}");
}

/// Right at the start the log of one pod may be read and that of its twin not: both are kicked, or one waits for minutes.
#[test]
fn kick_takes_the_twin_whose_log_was_not_read_yet() {
    let mut snapshot = support::written();
    let hook = components(&mut snapshot).iter_mut().find(|component| component.role == "hook").expect("hook");
    hook.pods[1].containers[0].last_fatal = None;
    let plan = plan(&Request::new(RepairId::Kick), &snapshot, &diagnose(&snapshot)).expect("hook's pods");
    assert_eq!(plan.steps.len(), 2, "{:?}", plan.refusals);
}

#[test]
fn what_a_check_left_comes_after_the_repair() {
    let left = |snapshot: &Snapshot, leaves: Leaves| InterruptedRun {
        run: "r-0001".to_owned(),
        title: "ask".to_owned(),
        at: snapshot.taken_at,
        clusters: snapshot.service.identity.known().cloned().into_iter().collect(),
        damaged: None,
        unknown: vec!["step 1: create".to_owned()],
        progress: None,
        leaves,
        running_pid: None,
    };
    let next = |mut snapshot: Snapshot, leaves: Leaves| {
        snapshot.interrupted = vec![left(&snapshot, leaves)];
        diagnose(&snapshot).verdict.next
    };
    let mut behind = healthy();
    job_config(&mut behind).values.clear();
    assert!(matches!(diagnose(&behind).verdict.next, NextStep::Repair { .. }), "{:?}", diagnose(&behind).verdict.next);
    assert!(matches!(next(behind.clone(), Leaves::OwnMaking), NextStep::Repair { .. }));
    assert!(matches!(next(behind, Leaves::Objects), NextStep::Resume { .. }));
    assert!(matches!(next(healthy(), Leaves::OwnMaking), NextStep::Resume { .. }));
}
