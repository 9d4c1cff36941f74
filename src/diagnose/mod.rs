//! Snapshot to findings, verdict and pulse. Pure: the same snapshot always gives the same diagnosis.
//!
//! To add a detector: one file with a `pub(super) fn find(&Context) -> Vec<Finding>`, a line in [`DETECTORS`], a variant
//! of [`FindingKind`] with its wording in `present`, and a scenario. Its place in [`DETECTORS`] is its rank: among findings of
//! one severity, causes come before symptoms.

mod access;
mod at_risk;
mod automation;
pub mod bisect;
mod choose;
mod compare;
mod deployed;
mod drift;
mod endpoints;
mod finding;
mod flow;
mod gate;
mod invalid;
mod load;
mod load_failure;
mod mapping;
mod outage;
mod pods;
mod revision;
mod started;
mod starting;
mod stray_pods;
mod strays;
mod stuck;
#[cfg(test)]
pub(crate) mod testing;
mod unfinished;
mod verdict;
mod verify;
mod versions;

pub use automation::{Actor, ActorKind, UnderWay, automation};
pub use choose::{Choice, ChoiceReason, choice_candidate, stale_checkout};
pub(crate) use compare::digests;
pub use compare::same_value;
pub use deployed::{checkconfig_images, deployed_tags};
pub use drift::{BlamedKey, ConfigMapDrift, DriftState, KeyChange, KeyDrift};
pub use finding::*;
pub use flow::Flow;
pub use gate::{GOOD_PODS, GateFacts, GateState, MAKER, delete_gate};
pub use load::{ToCheck, doubts_of_job, is_asked, live_content, live_verdict, revision_verdict, to_check};
pub(crate) use load::{by_checked, refused_is_live};
pub use load_failure::{CrashContent, LoadFailure, Refusing, load_failures, refused_contents};
pub use mapping::mapping_findings;
pub use outage::{HalfRollback, came_after, half_rollback, rolled_back_from};
pub use started::{loaded_now, started_now};
pub use stray_pods::finalizer_owner;
pub use strays::{
    Bystander, ForeignReason, JudgedPod, PodPlace, StrayGroup, StrayReason, Strays, UnknownPlace, git_pod_namespace,
    strays,
};
pub use verdict::{Change, ChangeKind, Health, NextStep, Verdict};
pub use verify::{SETTLED_AFTER_SECONDS, VerifyState, verify, verify_for};
pub use versions::{role_image, role_tag};

use crate::model::{Component, LoadVerdict, ObjectRef, RefusedContent, Snapshot};

/// What detectors look at: the snapshot, and what was concluded from it once.
pub(crate) struct Context<'a> {
    pub snapshot: &'a Snapshot,
    pub failures: Vec<LoadFailure<'a>>,
    /// Contents known to have been refused: by what runs now, and remembered.
    pub refused: Vec<RefusedContent>,
    pub rules: load::ByRules<'a>,
    /// Would what is live be loaded?
    pub live: Option<LoadVerdict>,
    pub choice: Option<Choice>,
    pub drift: Vec<ConfigMapDrift>,
    pub strays: Strays,
    pub gate: GateState,
    pub automation: Vec<Actor>,
}

impl Context<'_> {
    /// Components that can be seen now, also when only remembered.
    fn components(&self) -> &[Component] {
        self.snapshot.service.components.seen().map_or(&[], Vec::as_slice)
    }
}

type Detector = fn(&Context<'_>) -> Vec<Finding>;

/// Causes before symptoms.
const DETECTORS: [Detector; 29] = [
    load_failure::find,
    stray_pods::find,
    stray_pods::find_cannot_start,
    stray_pods::find_still_appearing,
    stray_pods::find_wrong_cluster,
    pods::find_image_pull,
    pods::find_oom,
    pods::find_crash_looping,
    drift::find_missing,
    endpoints::find,
    pods::find_not_ready,
    unfinished::find,
    stray_pods::find_disagreement,
    stuck::find,
    stuck::find_deploy_job,
    automation::find,
    stray_pods::find_held,
    versions::find_running,
    versions::find_skew,
    versions::find_cron_jobs,
    invalid::find,
    at_risk::find,
    revision::find,
    drift::find_drift,
    mapping::find_live_maps,
    mapping::find,
    mapping::find_near_limit,
    access::find,
    stray_pods::find_foreign,
];

/// What a diagnosis says of the configuration alone: all that it takes is known once components, their logs, ConfigMaps and
/// the repository were looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// The revision that a repair would write.
    pub choice: Option<Choice>,
    pub drift: Vec<ConfigMapDrift>,
    pub refused: Vec<RefusedContent>,
}

/// Judges the configuration in a snapshot, as [`diagnose`] does.
pub fn configuration(snapshot: &Snapshot) -> Configuration {
    judge_configuration(snapshot, &load_failures(snapshot))
}

fn judge_configuration(snapshot: &Snapshot, failures: &[LoadFailure<'_>]) -> Configuration {
    let refused = refused_contents(snapshot, failures);
    let choice = choose::choose(snapshot, failures, &refused);
    let drift = drift::compare(snapshot, failures, choice.as_ref());
    Configuration { choice, drift, refused }
}

/// Judges a snapshot.
pub fn diagnose(snapshot: &Snapshot) -> Diagnosis {
    let failures = load_failures(snapshot);
    let Configuration { choice, drift, refused } = judge_configuration(snapshot, &failures);
    let rules = load::ByRules::of(snapshot);
    let live = load::of_live(snapshot, &failures, &refused, &rules);
    let strays = strays::strays(snapshot);
    let gate = gate::delete_gate(snapshot, &strays);
    let automation = automation::automation(snapshot);
    let context = Context { snapshot, failures, refused, rules, live, choice, drift, strays, gate, automation };

    // The sort is stable, so that the detectors' order decides within a severity.
    let mut findings: Vec<Finding> = DETECTORS.iter().flat_map(|find| find(&context)).collect();
    findings.sort_by_key(|finding| finding.severity);

    let verdict = verdict::verdict(&context, &findings);
    let flow = flow::flow(snapshot, &context.strays);
    let Context { choice, drift, refused, live, strays, gate, automation, .. } = context;
    Diagnosis { verdict, flow, findings, choice, drift, refused, live, strays, gate, automation }
}

/// A stable id: kind and subject.
fn id(kind: &FindingKind, subject: &str) -> String {
    format!("{}:{subject}", kind.name())
}

/// `default/prow/deployment/hook`: what ids are made of.
fn subject(object: &ObjectRef) -> String {
    format!("{}/{object}", object.cluster)
}
