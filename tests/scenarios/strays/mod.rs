//! 2019-02-05: back to the common tag, then the exact list of strays, in that order and nothing else.

mod deletion;
mod rollback;

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
            Write::PutConfigMap { .. }
            | Write::CreateConfigMap { .. }
            | Write::DeleteConfigMap { .. }
            | Write::PatchImage { .. } => {
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
            Write::PutConfigMap { .. }
            | Write::CreateConfigMap { .. }
            | Write::DeleteConfigMap { .. }
            | Write::DeletePod { .. } => {
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
