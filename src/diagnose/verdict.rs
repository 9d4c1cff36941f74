//! The verdict: what state Prow is in, since when, what its users lose, what began just before, the one next step.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{
    FIELD_MANAGER, InterruptedRun, Key, Leaves, ObjectRef, Progress, Revision, Snapshot, Source, Timestamp,
};
use crate::repair::RepairId;

use super::automation::about_to_revert;
use super::choose::{Choice, choice_candidate, stale_checkout};
use super::drift::{DriftState, KeyChange};
use super::gate::MAKER;
use super::load_failure::{CrashContent, config_maps_of};
use super::outage::half_rollback;
use super::starting::{all_that_is_wrong, is_starting, is_want_of_pods};
use super::{Context, Finding, FindingKind, GateState, Severity};

/// A change this many seconds after the first sign of trouble may still be its cause: clocks and status updates lag.
const LAG_SECONDS: i64 = 5;
/// What changed longer before the first stray is not what began it: jobs start every few minutes.
const JUST_BEFORE_SECONDS: i64 = 6 * 3600;
/// Components rolled out within this time moved together.
const TOGETHER_SECONDS: i64 = 3600;

/// The first line of every Overview.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub state: Health,
    pub since: Option<Timestamp>,
    /// Id of the finding that explains it, if any.
    pub cause: Option<String>,
    /// What a Prow user loses, in their words; from the catalogue.
    pub loss: Vec<String>,
    /// What changed just before `since`.
    pub began: Option<Change>,
    pub next: NextStep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Healthy,
    Degraded,
    Broken,
    /// Too little could be seen to say.
    Unknown,
}

/// Something that changed at a time: a ConfigMap written, a workload rolled out, a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub at: Timestamp,
    pub what: ChangeKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    ConfigMapWritten {
        config_map: Key,
        manager: String,
    },
    RolledOut {
        component: String,
        image: String,
    },
    /// All components that got this tag together with prow-controller-manager.
    Bumped {
        tag: String,
        components: usize,
    },
    Committed {
        revision: Revision,
    },
}

/// The one next step.
#[derive(Debug, Clone, PartialEq)]
pub enum NextStep {
    Nothing,
    /// Make a plan with this repair, for this finding.
    Repair {
        repair: crate::repair::RepairId,
        to: Option<Revision>,
    },
    /// The checkout may be behind what was merged: fetch before anything is written from it.
    Fetch {
        why: String,
    },
    /// Finish or undo what a run left.
    Resume {
        run: String,
        progress: Option<Progress>,
    },
    /// Prow works; git's head would break it at the next upload: get a fix merged.
    MendRevision {
        revision: Revision,
    },
    /// Wait: pods are already coming back.
    Wait {
        what: String,
    },
    /// Something that acts by itself is about to undo the repair: stop it.
    Stop {
        /// Its name.
        actor: String,
        /// Pending or running.
        state: String,
        /// How.
        how: String,
    },
    /// A rollback reached only some of the components that moved together.
    FinishRollback {
        to: String,
        from: String,
        /// Those that still ask for the tag that the others came from.
        behind: Vec<String>,
    },
    /// Look closer by hand.
    Look {
        at: ObjectRef,
    },
    /// Sign in, get the right, or reach the server.
    RegainSight {
        source: String,
    },
}

impl NextStep {
    /// The repair that is proposed, if the step is one.
    pub fn repair(&self) -> Option<crate::repair::RepairId> {
        match self {
            NextStep::Repair { repair, .. } => Some(*repair),
            NextStep::Nothing
            | NextStep::Fetch { .. }
            | NextStep::Resume { .. }
            | NextStep::MendRevision { .. }
            | NextStep::Wait { .. }
            | NextStep::Stop { .. }
            | NextStep::FinishRollback { .. }
            | NextStep::Look { .. }
            | NextStep::RegainSight { .. } => None,
        }
    }
}

pub(super) fn verdict(context: &Context<'_>, findings: &[Finding]) -> Verdict {
    let state = state(context, findings);
    let cause = findings.iter().find(|finding| is_felt(&finding.kind) && finding.severity < Severity::Info);
    let since = cause.and_then(|finding| finding.since);
    let began = since.and_then(|since| match cause.map(|finding| &finding.kind) {
        Some(
            FindingKind::StrayPods { .. }
            | FindingKind::StraysCannotStart { .. }
            | FindingKind::StraysStillAppearing { .. }
            | FindingKind::WrongClusterPods { .. },
        ) => {
            let within = |seconds: i64| move |change: &Change| since.as_second() - change.at.as_second() < seconds;
            let (bump, other) = (bump(context, since), began(context, cause, since));
            // ConfigMaps of jobs are written all the time; but a bump of weeks ago is not what began it either.
            bump.clone().filter(within(TOGETHER_SECONDS)).or_else(|| {
                [bump, other].into_iter().flatten().filter(within(JUST_BEFORE_SECONDS)).max_by_key(|change| change.at)
            })
        }
        _ => began(context, cause, since),
    });
    let mut loss: Vec<String> = context
        .components()
        .iter()
        .filter(|component| !component.is_idle_by_intent() && component.ready == 0 && !component.when_down.is_empty())
        .map(|component| format!("{} is down: {}", component.object.name, component.when_down))
        .collect();
    loss.dedup();
    Verdict { state, since, cause: cause.map(|finding| finding.id.clone()), loss, began, next: next(context, findings) }
}

fn state(context: &Context<'_>, findings: &[Finding]) -> Health {
    match &context.snapshot.service.components {
        Source::Known { value, .. } if value.is_empty() => return Health::Unknown,
        Source::Known { .. } => {}
        Source::Loading | Source::Denied { .. } | Source::Lost { .. } => return Health::Unknown,
    }
    let worst = findings.iter().filter(|finding| is_felt(&finding.kind)).map(|finding| finding.severity).min();
    match worst {
        Some(Severity::Bad) => Health::Broken,
        Some(Severity::Warn) => Health::Degraded,
        // Components that are up start no job by that.
        Some(Severity::Info) | None if sees_no_job(context.snapshot) => Health::Unknown,
        Some(Severity::Info) | None => Health::Healthy,
    }
}

/// True where no pod of a job can be seen anywhere: denied or lost, and not merely awaited.
fn sees_no_job(snapshot: &Snapshot) -> bool {
    let dark = |source: &Source<_>| match source {
        Source::Known { .. } | Source::Loading => false,
        Source::Denied { .. } | Source::Lost { .. } => true,
    };
    snapshot
        .views()
        .filter(|view| view.is_plannable())
        .all(|view| dark(&view.job_pods) && view.census.known().is_none())
}

/// True for what Prow's users feel now; the rest is a trap for later or a limit of our sight, and Prow works.
fn is_felt(kind: &FindingKind) -> bool {
    match kind {
        FindingKind::ConfigLoadFailure { .. }
        | FindingKind::CrashLooping { .. }
        | FindingKind::NotReady { .. }
        | FindingKind::ImagePullFailure { .. }
        | FindingKind::OomKilled { .. }
        | FindingKind::NoReadyEndpoints { .. }
        | FindingKind::ConfigAtRiskOnRestart { .. }
        | FindingKind::ConfigInvalid { .. }
        | FindingKind::ConfigMapMissing { .. }
        | FindingKind::ConfigMapDrift { .. }
        | FindingKind::ConfigMapStaleKeys { .. }
        | FindingKind::StrayPods { .. }
        | FindingKind::StraysCannotStart { .. }
        | FindingKind::StraysStillAppearing { .. }
        | FindingKind::WrongClusterPods { .. }
        | FindingKind::ProwJobsStuck { .. }
        | FindingKind::PodNamespaceDisagrees { .. } => true,
        // It works, for as long as that lasts.
        FindingKind::AutomationWillRevert { under_way, .. } => !under_way.is_empty(),
        FindingKind::RevisionWouldNotLoad { .. }
        | FindingKind::RevisionMakesNone { .. }
        | FindingKind::AccessDenied { .. }
        | FindingKind::SourceLost { .. }
        | FindingKind::NotUnderstood { .. }
        | FindingKind::InterruptedRun { .. }
        | FindingKind::ForeignPods { .. }
        | FindingKind::PodsHeldByFinalizer { .. }
        | FindingKind::DeployJobStuck { .. }
        | FindingKind::VersionSkew { .. }
        | FindingKind::RunningDiffersFromSpec { .. }
        | FindingKind::Mapping { .. }
        | FindingKind::ConfigMapNearLimit { .. }
        | FindingKind::LiveMapsDiffer { .. }
        | FindingKind::CronjobOutdated { .. } => false,
    }
}

/// The rollout of what makes pods, just before the first stray, and what moved with it.
fn bump(context: &Context<'_>, since: Timestamp) -> Option<Change> {
    let rollouts = context.snapshot.service.rollouts.seen()?;
    let is_before = |at: Timestamp| at.as_second() <= since.as_second() + LAG_SECONDS;
    let (rollout, at) = rollouts
        .iter()
        .filter(|rollout| rollout.role == MAKER)
        .filter_map(|rollout| Some((rollout, rollout.began?)))
        .filter(|(_, at)| is_before(*at))
        .max_by_key(|(_, at)| *at)?;
    let together: BTreeSet<&ObjectRef> = rollouts
        .iter()
        .filter(|other| other.tag == rollout.tag)
        .filter(|other| other.began.is_some_and(|other| (other.as_second() - at.as_second()).abs() < TOGETHER_SECONDS))
        .map(|other| &other.component)
        .collect();
    Some(Change { at, what: ChangeKind::Bumped { tag: rollout.tag.clone(), components: together.len() } })
}

/// The newest change before the trouble, among what the cause touches.
fn began(context: &Context<'_>, cause: Option<&Finding>, since: Timestamp) -> Option<Change> {
    let subjects = &cause?.subjects;
    let is_before = |at: Timestamp| at.as_second() <= since.as_second() + LAG_SECONDS;
    let involved: Vec<_> =
        context.components().iter().filter(|component| subjects.contains(&component.object)).collect();
    let mut maps: Vec<Key> = involved.iter().flat_map(|component| config_maps_of(component)).collect();
    maps.extend(subjects.iter().map(|object| Key::new(&object.namespace, &object.name)));
    // What we wrote is a repair while the pods that come after it merely start: they are late, not hurt.
    let is_repaired = is_want_of_pods(&cause?.kind)
        && !involved.is_empty()
        && involved.iter().all(|component| is_starting(context, component));
    let mut changes: Vec<Change> = Vec::new();
    if let Some(live) = context.snapshot.service.config_maps.seen() {
        for state in live.values().filter(|state| maps.contains(&state.key)) {
            changes.extend(state.writers.iter().filter_map(|writer| {
                Some(Change {
                    at: writer.at?,
                    what: ChangeKind::ConfigMapWritten {
                        config_map: state.key.clone(),
                        manager: writer.manager.clone(),
                    },
                })
            }));
        }
    }
    for component in involved {
        if let Some(at) = component.rolled_out {
            changes.push(Change {
                at,
                what: ChangeKind::RolledOut {
                    component: component.object.name.clone(),
                    image: component.spec_images.first().cloned().unwrap_or_default(),
                },
            });
        }
    }
    let newest = changes.into_iter().filter(|change| is_before(change.at)).max_by_key(|change| change.at)?;
    let is_ours = matches!(&newest.what, ChangeKind::ConfigMapWritten { manager, .. } if manager == FIELD_MANAGER);
    // Nor is what came before it to blame for that.
    (!(is_repaired && is_ours)).then_some(newest)
}

/// The one next step, most urgent first.
fn next(context: &Context<'_>, findings: &[Finding]) -> NextStep {
    let snapshot = context.snapshot;
    if !matches!(snapshot.service.components, Source::Known { .. }) {
        return NextStep::RegainSight { source: "service/components".to_owned() };
    }
    let sync = context.choice.as_ref().filter(|choice| would_change(context, choice));
    let repair_sync =
        |choice: &Choice| NextStep::Repair { repair: RepairId::SyncConfig, to: Some(choice.revision.clone()) };
    let live_failure = context.failures.iter().any(|failure| failure.content == CrashContent::Live);
    let replaced_failure = context.failures.iter().find(|failure| failure.content == CrashContent::Replaced);
    if live_failure {
        return match sync {
            Some(choice) => repair_sync(choice),
            // The repair is there, only not what it would write.
            None if snapshot.desired.seen().is_none() => NextStep::RegainSight { source: "git".to_owned() },
            None => look_at_worst(findings),
        };
    }
    if let Some(failure) = replaced_failure {
        if failure.container.is_crash_looping() {
            return NextStep::Repair { repair: RepairId::Kick, to: None };
        }
        return NextStep::Wait { what: format!("{} starts on the new content", failure.component.object.name) };
    }
    let resume = |run: &InterruptedRun| NextStep::Resume { run: run.run.clone(), progress: run.progress };
    let interrupted = || snapshot.own_interrupted().filter(|run| run.damaged.is_none());
    // Half a rollback is worse than either end of it; of other runs, only what is in doubt comes before everything.
    let of_prow = || interrupted().filter(|run| run.leaves != Leaves::OwnMaking);
    if let Some(run) = of_prow().find(|run| !run.unknown.is_empty() || run.leaves == Leaves::Images) {
        return resume(run);
    }
    if let Some(run) = of_prow().next()
        && !context.gate.asks_for_rollback(snapshot.taken_at_server())
    {
        return resume(run);
    }
    if let Some(step) = next_of_strays(context) {
        return step;
    }
    // While strays are there, the words of the step above say it.
    if let Some((actor, state)) = about_to_revert(context).max_by_key(|(_, state)| *state) {
        return NextStep::Stop {
            actor: actor.name.clone(),
            state: state.words().to_owned(),
            how: actor.stop.join("; "),
        };
    }
    if let Some(why) = stale_checkout(snapshot, &context.drift) {
        return NextStep::Fetch { why };
    }
    if findings.iter().any(|finding| finding.severity == Severity::Bad && !finding.repairs.is_empty())
        && let Some(choice) = sync
    {
        return repair_sync(choice);
    }
    if findings.iter().any(|finding| finding.severity == Severity::Bad) {
        return wait_or_look(context, findings);
    }
    if let Some(choice) = sync {
        return repair_sync(choice);
    }
    // It stands in nobody's way.
    if let Some(run) = interrupted().find(|run| run.leaves == Leaves::OwnMaking) {
        return resume(run);
    }
    let head = findings.iter().find_map(|finding| match &finding.kind {
        FindingKind::RevisionWouldNotLoad { revision, is_head: true, .. }
        | FindingKind::RevisionMakesNone { revision, is_head: true, .. } => Some(revision.clone()),
        _ => None,
    });
    match head {
        Some(revision) => NextStep::MendRevision { revision },
        None if findings.iter().any(|finding| is_felt(&finding.kind) && finding.severity < Severity::Info) => {
            wait_or_look(context, findings)
        }
        None if sees_no_job(snapshot) => NextStep::RegainSight { source: "pods of jobs".to_owned() },
        None => NextStep::Nothing,
    }
}

/// Roll back, wait for the proof, delete: in that order.
fn next_of_strays(context: &Context<'_>) -> Option<NextStep> {
    if context.strays.total() == 0 {
        return None;
    }
    // While a run of ours is at it, half is what is to be expected.
    let at_work = context.snapshot.own_runs().any(|run| run.running_pid.is_some());
    if let Some(half) = half_rollback(context.snapshot).filter(|_| !at_work) {
        return Some(NextStep::FinishRollback { to: half.to, from: half.from, behind: half.behind });
    }
    Some(match &context.gate {
        GateState::Open(_) if context.strays.strays().all(|judged| judged.pod.deleting) => {
            let held = context.strays.strays().filter(|judged| !judged.pod.finalizers.is_empty()).count();
            let held = if held > 0 { format!(", {held} of them held by finalizers") } else { String::new() };
            NextStep::Wait { what: format!("{} pod(s) are being deleted{held}", context.strays.total()) }
        }
        GateState::Open(_) => NextStep::Repair { repair: RepairId::DeleteStrays, to: None },
        GateState::Closed { facts, .. } if facts.is_overdue(context.snapshot.taken_at_server()) => {
            NextStep::Repair { repair: RepairId::Rollback, to: None }
        }
        GateState::Closed { facts, why, .. } if facts.is_cause_gone() => NextStep::Wait { what: why.clone() },
        // A rollout is under way; one that hangs is a finding of its own.
        GateState::Closed { facts, why, .. } if facts.ready_at.is_none() => {
            let hangs = context
                .components()
                .iter()
                .filter(|component| component.role == MAKER)
                .flat_map(|component| &component.pods)
                .flat_map(|pod| &pod.containers)
                .any(|container| container.restarts > 0 && !container.ready);
            if hangs {
                return None;
            }
            NextStep::Wait { what: why.clone() }
        }
        GateState::Closed { .. } => NextStep::Repair { repair: RepairId::Rollback, to: None },
    })
}

/// True when the chosen revision would change a live ConfigMap.
fn would_change(context: &Context<'_>, choice: &Choice) -> bool {
    let renders = context
        .snapshot
        .desired
        .known()
        .and_then(|desired| choice_candidate(desired, choice))
        .is_some_and(|candidate| candidate.config_maps.is_ok());
    renders
        && context.drift.iter().any(|drift| match drift.state {
            DriftState::Missing => true,
            // Keys that git does not know are kept, unless they are to blame.
            DriftState::Drift => {
                drift.count(KeyChange::Added) + drift.count(KeyChange::Changed) + drift.blamed.len() > 0
            }
            DriftState::Same | DriftState::Unmanaged | DriftState::Unknown => false,
        })
}

/// Waits where new pods on what we wrote are all that is missing.
fn wait_or_look(context: &Context<'_>, findings: &[Finding]) -> NextStep {
    let felt: Vec<&Finding> = findings.iter().filter(|finding| is_felt(&finding.kind)).collect();
    match all_that_is_wrong(context, &felt) {
        Some(starting) => {
            NextStep::Wait { what: format!("new pods of {} start on the new content", starting.join(", ")) }
        }
        None => look_at_worst(findings),
    }
}

fn look_at_worst(findings: &[Finding]) -> NextStep {
    findings
        .iter()
        .find_map(|finding| finding.subjects.first())
        .map_or(NextStep::Nothing, |object| NextStep::Look { at: object.clone() })
}
