//! 2019-02-05: back to the common tag, then the exact list of strays, in that order and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use prow_breakglass::diagnose::{NextStep, VerifyState, diagnose, verify};
use prow_breakglass::model::{
    Alias, AliasPlace, AliasProof, ClusterView, Component, Failure, FailureKind, ProwJob, ProwPod, Snapshot, Source,
    WorkloadState, Write,
};
use prow_breakglass::repair::undo::{LiveObjects, UndoSource, UndoStep};
use prow_breakglass::repair::{
    Answer, Approval, Confirmation, Override, OverrideId, Plan, Preview, Refusal, RepairId, Request, StepPreview,
    approve, plan, undo,
};

use crate::support::at;
use crate::support::strays::{BAD_TAG, BUILD, GOOD_TAG, pod, rolled_back, rollout, run, running, seen, strays};

/// crier's.
const FINALIZER: &str = "prow.x-k8s.io/gcsk8sreporter";

fn asked(repair: RepairId, change: impl FnOnce(&mut Request)) -> Request {
    let mut request = Request::new(repair);
    change(&mut request);
    request
}

fn tried(request: &Request, snapshot: &Snapshot) -> Result<Plan, Refusal> {
    plan(request, snapshot, &diagnose(snapshot))
}

fn rollback(snapshot: &Snapshot, change: impl FnOnce(&mut Request)) -> Result<Plan, Refusal> {
    tried(&asked(RepairId::Rollback, change), snapshot)
}

fn delete(snapshot: &Snapshot, change: impl FnOnce(&mut Request)) -> Result<Plan, Refusal> {
    tried(&asked(RepairId::DeleteStrays, change), snapshot)
}

fn overriding(request: &mut Request, id: OverrideId) {
    request.overrides.push(Override { id, reason: "the oncall knows better".to_owned() });
}

fn components(snapshot: &mut Snapshot) -> &mut Vec<Component> {
    let Source::Known { value, .. } = &mut snapshot.service.components else { panic!("known components") };
    value
}

fn named<'a>(snapshot: &'a mut Snapshot, name: &str) -> &'a mut Component {
    components(snapshot).iter_mut().find(|component| component.object.name == name).expect("the component")
}

fn build(snapshot: &mut Snapshot) -> &mut ClusterView {
    snapshot.clusters.get_mut(&Alias(BUILD.to_owned())).expect("the build cluster")
}

fn job_pods(view: &mut ClusterView) -> &mut Vec<Arc<ProwPod>> {
    let Source::Known { value, .. } = &mut view.job_pods else { panic!("known pods") };
    value
}

fn jobs(snapshot: &mut Snapshot) -> &mut Vec<Arc<ProwJob>> {
    let Source::Known { value, .. } = &mut snapshot.prowjobs else { panic!("known ProwJobs") };
    value
}

fn lost<T>() -> Source<T> {
    Source::Lost { error: Failure::new(FailureKind::Unreachable, "no answer"), last: None }
}

/// uids of the pods that a plan deletes.
fn deleted(plan: &Plan) -> BTreeSet<String> {
    plan.steps
        .iter()
        .map(|step| match &step.write {
            Write::DeletePod { uid, object, .. } => {
                assert_eq!(object.uid.as_ref(), Some(uid));
                uid.clone()
            }
            Write::PutConfigMap { .. } | Write::CreateConfigMap { .. } | Write::PatchImage { .. } => {
                panic!("not a delete: {step:?}")
            }
        })
        .collect()
}

/// Name, before and after of each image that a plan sets.
fn images(plan: &Plan) -> Vec<(String, String, String)> {
    plan.steps
        .iter()
        .flat_map(|step| match &step.write {
            Write::PatchImage { object, images, .. } => images
                .iter()
                .map(|change| (object.name.clone(), change.from.clone(), change.to.clone()))
                .collect::<Vec<_>>(),
            Write::PutConfigMap { .. } | Write::CreateConfigMap { .. } | Write::DeletePod { .. } => {
                panic!("not an image: {step:?}")
            }
        })
        .collect()
}

#[test]
fn one_chain_roll_back_then_prove_then_delete() {
    let broken = strays(30, 12);
    let next = |snapshot: &Snapshot| diagnose(snapshot).verdict.next;
    assert_eq!(next(&broken), NextStep::Repair { repair: RepairId::Rollback, to: None });
    let repaired = rolled_back(broken);
    assert_eq!(next(&repaired), NextStep::Repair { repair: RepairId::DeleteStrays, to: None });
}

#[test]
fn a_rollback_sets_the_common_tag_of_before_on_all_that_moved() {
    let snapshot = strays(30, 12);
    let plan = rollback(&snapshot, |_| {}).expect("a plan");
    let moved = images(&plan);
    assert_eq!(moved.len(), 8, "all components but the CronJob: {moved:?}");
    for (name, from, to) in &moved {
        assert!(
            from.ends_with(&format!("{name}:{BAD_TAG}")) && to.ends_with(&format!("{name}:{GOOD_TAG}")),
            "{from} {to}"
        );
    }
    assert_eq!(plan.confirmation, Confirmation::TagTail("1b2c".to_owned()));
    assert!(plan.warnings.iter().any(|line| line.contains("post-test-infra-deploy-prow")), "{:?}", plan.warnings);
    assert_eq!(plan, rollback(&snapshot, |_| {}).expect("the same plan"), "plans are deterministic");
}

#[test]
fn components_go_back_in_the_order_in_which_they_came() {
    let mut snapshot = strays(3, 3);
    let Source::Known { value: rollouts, .. } = &mut snapshot.service.rollouts else { panic!("known rollouts") };
    for rollout in rollouts.iter_mut().filter(|rollout| rollout.current) {
        let first = rollout.component.name == "tide";
        rollout.began = Some(at(if first { "2019-02-05T16:47:00Z" } else { "2019-02-05T16:47:30Z" }));
    }
    let names: Vec<String> =
        images(&rollback(&snapshot, |_| {}).expect("a plan")).into_iter().map(|(n, _, _)| n).collect();
    assert_eq!(names[..3], ["tide", "crier", "deck"]);
}

#[test]
fn where_history_does_not_tell_the_person_names_the_tag() {
    let mut silent = strays(3, 3);
    silent.service.rollouts = seen(Vec::new());
    let refusal = rollback(&silent, |_| {}).unwrap_err();
    assert!(refusal.hint.contains("--to"), "{refusal:?}");
    let plan = rollback(&silent, |request| request.to = Some("v20190129-1b2c".to_owned())).expect("a plan");
    assert_eq!(images(&plan).len(), 8);
    assert!(plan.warnings.iter().any(|line| line.contains("may not exist")), "{:?}", plan.warnings);

    let mut denied = strays(3, 3);
    denied.service.rollouts = Source::Denied { verb: "list replicasets".to_owned() };
    assert_eq!(rollback(&denied, |_| {}).unwrap_err().kind, FailureKind::Forbidden);

    let mut torn = strays(3, 3);
    let Source::Known { value: rollouts, .. } = &mut torn.service.rollouts else { panic!("known rollouts") };
    rollouts.retain(|rollout| rollout.current || rollout.component.name != "tide");
    let refusal = rollback(&torn, |_| {}).unwrap_err();
    assert!(refusal.reason.contains("tide") && refusal.hint.contains(GOOD_TAG), "{refusal:?}");

    let mut unequal = strays(3, 3);
    let Source::Known { value: rollouts, .. } = &mut unequal.service.rollouts else { panic!("known rollouts") };
    for rollout in rollouts.iter_mut().filter(|rollout| !rollout.current && rollout.component.name == "deck") {
        rollout.tag = "v20190125-2aca6".to_owned();
    }
    assert!(rollback(&unequal, |_| {}).unwrap_err().reason.contains("no common tag"));

    let refusal = rollback(&strays(3, 3), |request| request.to = Some("a tag".to_owned())).unwrap_err();
    assert_eq!(refusal.kind, FailureKind::Usage);
}

#[test]
fn half_a_rollback_is_finished_only_with_a_named_tag() {
    let mut half = strays(3, 3);
    for name in ["crier", "deck", "prow-controller-manager"] {
        run(named(&mut half, name), GOOD_TAG, "2019-02-05T17:26:00Z");
    }
    let roles: Vec<Component> = components(&mut half).clone();
    let Source::Known { value: rollouts, .. } = &mut half.service.rollouts else { panic!("known rollouts") };
    for component in roles.iter().filter(|c| ["crier", "deck", "prow-controller-manager"].contains(&c.role.as_str())) {
        rollouts.retain(|rollout| rollout.component != component.object);
        rollouts.push(rollout(component, GOOD_TAG, 9, "2019-01-29T17:02:00Z", true));
        rollouts.push(rollout(component, BAD_TAG, 8, "2019-02-05T16:47:30Z", false));
    }
    let refusal = rollback(&half, |_| {}).unwrap_err();
    assert!(
        refusal.hint.contains(&format!("--to {GOOD_TAG}")),
        "the other way round it would undo itself: {refusal:?}"
    );
    let rest = rollback(&half, |request| request.to = Some(GOOD_TAG.to_owned())).expect("a plan");
    let names: Vec<String> = images(&rest).into_iter().map(|(name, _, _)| name).collect();
    assert_eq!(names, ["ghproxy", "hook", "horologium", "sinker", "tide"]);
}

#[test]
fn a_second_rollback_does_not_lead_back_to_the_outage() {
    let rolled = rolled_back(strays(3, 3));
    let refusal = rollback(&rolled, |_| {}).unwrap_err();
    assert!(refusal.reason.contains(&format!("{BAD_TAG} came after it")), "{refusal:?}");
    assert!(refusal.hint.contains("--to TAG"), "{refusal:?}");

    // The old ReplicaSets were gone, so the rollback made new ones: then the day in the tags tells.
    let mut anew = rolled.clone();
    let Source::Known { value: rollouts, .. } = &mut anew.service.rollouts else { panic!("known rollouts") };
    for rollout in rollouts.iter_mut().filter(|rollout| rollout.current) {
        rollout.created = rollout.began;
    }
    assert!(rollback(&anew, |_| {}).unwrap_err().reason.contains("came after it"));

    // Something older is known: the way goes on back, past what is newer than what runs.
    let older = "v20190125-2aca6";
    let mut further = rolled;
    let all: Vec<Component> = components(&mut further).iter().filter(|c| c.desired > 0).cloned().collect();
    let Source::Known { value: rollouts, .. } = &mut further.service.rollouts else { panic!("known rollouts") };
    rollouts.extend(all.iter().map(|component| rollout(component, older, 6, "2019-01-25T17:00:00Z", false)));
    let plan = rollback(&further, |_| {}).expect("a plan");
    assert!(images(&plan).iter().all(|(_, from, to)| from.ends_with(GOOD_TAG) && to.ends_with(older)));
}

#[test]
fn what_a_rollback_leaves_at_the_bad_version_is_said() {
    let mut snapshot = strays(3, 3);
    named(&mut snapshot, "deck").spec_images.push(format!("gcr.io/k8s-prow/helper:{BAD_TAG}"));
    named(&mut snapshot, "tide").object.namespace = "prow-two".to_owned();
    let config = named(&mut snapshot, "hook").config.config_path.as_ref().and_then(|path| path.config_map.clone());
    let Source::Known { value: maps, .. } = &mut snapshot.service.config_maps else { panic!("known maps") };
    let state = maps.get_mut(&config.expect("hook reads one")).expect("the map");
    let value = state.values.values_mut().next().expect("a file");
    value.extend_from_slice(format!("# clonerefs: gcr.io/k8s-prow/clonerefs:{BAD_TAG}\n").as_bytes());
    let said = rollback(&snapshot, |_| {}).expect("a plan").warnings.join("\n");
    for what in ["deck has another container at that version", "utility images", "several namespaces"] {
        assert!(said.contains(what), "{what}: {said}");
    }
    let mut blind = strays(3, 3);
    blind.service.rollouts = lost();
    let plan = rollback(&blind, |request| request.to = Some(GOOD_TAG.to_owned())).expect("a plan");
    assert!(plan.warnings.iter().any(|line| line.contains("cannot be read")), "{:?}", plan.warnings);
    assert!(!plan.warnings.iter().any(|line| line.contains("ever had")), "unknown is not empty");
}

#[test]
fn versions_are_not_mixed_without_a_word() {
    let snapshot = strays(3, 3);
    let some = |request: &mut Request| request.components = vec!["deck".to_owned(), "tide".to_owned()];
    assert!(rollback(&snapshot, some).unwrap_err().hint.contains("mixed-tags"));
    let plan = rollback(&snapshot, |request| {
        some(request);
        overriding(request, OverrideId::MixedTags);
    })
    .expect("a plan");
    assert_eq!(images(&plan).len(), 2);
    assert!(plan.warnings.iter().any(|line| line.contains("override mixed-tags")));
    let refusal = rollback(&snapshot, |request| request.components = vec!["plonk".to_owned()]).unwrap_err();
    assert!(refusal.kind == FailureKind::Usage && refusal.hint.contains("prow-controller-manager"), "{refusal:?}");
}

#[test]
fn the_version_that_it_began_with_and_one_that_nobody_had_need_a_word() {
    let rolled = rolled_back(strays(3, 3));
    let to = |tag: &'static str| move |request: &mut Request| request.to = Some(tag.to_owned());
    let refusal = rollback(&rolled, to(BAD_TAG)).unwrap_err();
    assert!(refusal.reason.contains("the version that the strays began with"), "{refusal:?}");
    assert!(refusal.hint.contains("--override known-bad"), "{refusal:?}");
    let plan = rollback(&rolled, |request| {
        to(BAD_TAG)(request);
        overriding(request, OverrideId::KnownBad);
    })
    .expect("a plan");
    assert!(plan.title.contains(&format!("FORWARD to {BAD_TAG}")), "{}", plan.title);
    assert!(plan.warnings.iter().any(|line| line.contains("override known-bad") && line.contains("knows better")));

    let refusal = rollback(&rolled, to("v20190130-never")).unwrap_err();
    assert!(refusal.hint.contains("--override unknown-tag"), "{refusal:?}");
    let plan = rollback(&rolled, |request| {
        to("v20190130-never")(request);
        overriding(request, OverrideId::UnknownTag);
    });
    assert!(plan.expect("a plan").title.contains("back to v20190130-never"));
    let plan = rollback(&strays(3, 3), to(GOOD_TAG)).expect("no word is needed for the way back");
    assert!(plan.basis.reason.is_some_and(|reason| !reason.contains("--to")), "the screen's choice is no flag");
}

#[test]
fn an_undo_says_that_it_leads_back_into_the_outage_and_mixes_no_versions_without_a_word() {
    let broken = strays(3, 3);
    let all = rollback(&broken, |_| {}).expect("a plan");
    let rolled = rolled_back(broken);
    // Undoes the first so many steps, as if the run had been of those alone.
    let undone = |steps: usize, overrides: &[Override]| {
        let source = UndoSource {
            run: "r-0002".to_owned(),
            steps: all.steps[..steps]
                .iter()
                .map(|step| UndoStep { n: step.n, write: step.write.clone(), prior: None })
                .collect(),
        };
        let mut live = LiveObjects::default();
        for step in &source.steps {
            let Write::PatchImage { object, at, images } = &step.write else { panic!("{step:?}") };
            let state = WorkloadState {
                uid: at.uid.clone(),
                resource_version: "88430000".to_owned(),
                images: images.iter().map(|change| (change.container.clone(), change.to.clone())).collect(),
                paused: false,
                last_writer: None,
            };
            live.workloads.insert(object.clone(), Some(state));
        }
        let plan = undo::plan(&source, &live, &all.clusters, rolled.taken_at).expect("a plan");
        undo::judged(plan, &rolled, &diagnose(&rolled), overrides)
    };
    let back = undone(8, &[]).expect("all go together");
    assert!(back.warnings[0].contains(&format!("{BAD_TAG} is the version that the strays began with")), "{back:?}");
    assert_eq!(back.digest, back.compute_digest());
    let refusal = undone(3, &[]).unwrap_err();
    assert!(refusal.reason.contains("of different versions") && refusal.hint.contains("mixed-tags"), "{refusal:?}");
    let word = |reason: &str| [Override { id: OverrideId::MixedTags, reason: reason.to_owned() }];
    let back = undone(3, &word("only these are bad")).expect("with a word");
    assert!(back.warnings.iter().any(|line| line.contains("only these are bad")));
    assert_eq!(undone(3, &word(" ")).unwrap_err().kind, FailureKind::Usage);
}

#[test]
fn deleting_the_pod_of_a_job_that_undoes_the_rollback_does_not_stop_it() {
    let plan = delete(&rolled_back(strays(3, 3)), |_| {}).expect("a plan");
    let said = |line: &String| line.contains("post-test-infra-deploy-prow") && line.contains("abort it in Deck");
    assert!(plan.warnings.iter().any(said), "{:?}", plan.warnings);
}

#[test]
fn what_is_off_on_purpose_stays_off() {
    let mut snapshot = strays(3, 3);
    named(&mut snapshot, "ghproxy").desired = 0;
    run(named(&mut snapshot, "branchprotector"), BAD_TAG, "2019-02-05T16:47:30Z");
    let plan = rollback(&snapshot, |_| {}).expect("a plan");
    let names: BTreeSet<String> = images(&plan).into_iter().map(|(name, _, _)| name).collect();
    assert!(!names.contains("ghproxy") && !names.contains("branchprotector"), "{names:?}");
    for name in ["ghproxy", "branchprotector"] {
        let said = plan.warnings.iter().any(|line| line.contains(name) && line.contains("--component"));
        assert!(said, "{name}: {:?}", plan.warnings);
    }
    let all = |request: &mut Request| {
        request.components = components(&mut snapshot.clone()).iter().map(|c| c.object.name.clone()).collect();
    };
    let plan = rollback(&snapshot, all).expect("a plan");
    assert_eq!(images(&plan).len(), 9, "asked for by name, they move as well");
}

#[test]
fn a_paused_deployment_would_be_half_a_rollback() {
    let mut snapshot = strays(3, 3);
    named(&mut snapshot, "sinker").paused = true;
    let refusal = rollback(&snapshot, |_| {}).unwrap_err();
    assert!(refusal.reason.contains("sinker is paused") && refusal.hint.contains("rollout resume"), "{refusal:?}");
}

#[test]
fn a_tag_that_would_not_load_todays_configuration_needs_a_word() {
    // Until 2019-01-22 Prow refused two presets that share a key.
    let mut snapshot = strays(3, 3);
    snapshot.service.config_maps = crate::support::incident().service.config_maps;
    let old = |request: &mut Request| request.to = Some("v20190118-a1f5e0c".to_owned());
    let refusal = rollback(&snapshot, old).unwrap_err();
    assert!(refusal.reason.contains("would not load") && refusal.hint.contains("would-not-load"), "{refusal:?}");
    let plan = rollback(&snapshot, |request| {
        old(request);
        overriding(request, OverrideId::WouldNotLoad);
        overriding(request, OverrideId::UnknownTag);
    });
    assert!(plan.expect("a plan").warnings.iter().any(|line| line.contains("override would-not-load")));
    rollback(&snapshot, |_| {}).expect("the later tag loads it");
}

#[test]
fn a_rollback_is_proven_by_pods_and_says_what_hangs() {
    let broken = strays(3, 3);
    let plan = rollback(&broken, |_| {}).expect("a plan");
    let not_yet = |snapshot: &Snapshot| match verify(&plan, snapshot) {
        VerifyState::Holds => String::new(),
        VerifyState::NotYet { what } => what,
    };
    assert!(not_yet(&broken).contains("does not ask for"), "{}", not_yet(&broken));
    let mut done = rolled_back(broken);
    assert_eq!(verify(&plan, &done), VerifyState::Holds);
    let hook = named(&mut done, "hook");
    hook.pods[1].ready = false;
    hook.pods[1].containers[0].state = prow_breakglass::model::ContainerState::Waiting {
        reason: "ImagePullBackOff".to_owned(),
        message: "Back-off pulling image".to_owned(),
    };
    assert!(not_yet(&done).contains("hook HANGS with 1/2") && not_yet(&done).contains("ImagePullBackOff"));
    let container = &mut named(&mut done, "hook").pods[1].containers[0];
    container.state = prow_breakglass::model::ContainerState::Waiting {
        reason: "CrashLoopBackOff".to_owned(),
        message: "back-off 40s restarting failed container".to_owned(),
    };
    container.last_fatal = Some(prow_breakglass::model::LogLine {
        level: "fatal".to_owned(),
        msg: "Error starting config agent.".to_owned(),
        error: "duplicated preset label : preset-x".to_owned(),
        component: "hook".to_owned(),
        at: None,
    });
    assert!(
        not_yet(&done).contains("CrashLoopBackOff: Error starting config agent: duplicated preset label"),
        "{}",
        not_yet(&done)
    );
    let tide = named(&mut done, "tide");
    tide.pods.clear();
    tide.trouble = Some("pods \"tide-1\" is forbidden: exceeded quota".to_owned());
    assert!(not_yet(&done).contains("tide HANGS with 0/1") && not_yet(&done).contains("exceeded quota"));
}

#[test]
fn a_rollback_is_undone_by_the_same_road() {
    let done = rollback(&strays(3, 3), |_| {}).expect("a plan");
    let source = UndoSource {
        run: "r-0007".to_owned(),
        // It stopped after the third.
        steps: done.steps[..3].iter().map(|s| UndoStep { n: s.n, write: s.write.clone(), prior: None }).collect(),
    };
    let state = |step: &UndoStep, second: bool| {
        let Write::PatchImage { at, images, .. } = &step.write else { panic!("{step:?}") };
        let image = |change: &prow_breakglass::model::ImageChange| {
            let now = if second { "somebody/else:v3".to_owned() } else { change.to.clone() };
            (change.container.clone(), now)
        };
        WorkloadState {
            uid: at.uid.clone(),
            resource_version: "88430000".to_owned(),
            images: images.iter().map(image).collect(),
            paused: false,
            last_writer: Some("kubectl-set".to_owned()),
        }
    };
    let mut live = LiveObjects::default();
    for (n, step) in source.steps.iter().enumerate() {
        live.workloads.insert(step.write.object().clone(), Some(state(step, n == 2)));
    }
    let back = undo::plan(&source, &live, &done.clusters, at("2019-02-05T17:40:00Z")).expect("a plan");
    for (_, from, to) in images(&back) {
        assert!(from.ends_with(GOOD_TAG) && to.ends_with(BAD_TAG), "{from} {to}");
    }
    assert_eq!(back.steps.len(), 2);
    assert!(back.refusals[0].reason.contains("kubectl-set"), "another one's image is left alone: {:?}", back.refusals);
    assert_eq!(back.confirmation, Confirmation::TagTail("dda9".to_owned()));
    let Write::PatchImage { at, .. } = &back.steps[0].write else { panic!("{back:?}") };
    assert_eq!(at.resource_version, "88430000");
}

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
        VerifyState::NotYet { what } => what,
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
