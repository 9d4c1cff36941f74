//! `prowjobs-stuck` and `deploy-job-stuck`: what does not get on, and the job that should have brought the cure.

use std::collections::BTreeMap;

use crate::model::{Kind, ObjectRef, ProwJob, Snapshot};
use crate::prow::jobs::{JobTask, task_of};
use crate::repair::RepairId;

use super::gate::placed;
use super::{Basis, Context, Finding, FindingKind, JudgedPod, Severity, id};

/// A job that is triggered this long without a pod is stuck: prow-controller-manager needs seconds.
const TRIGGERED_SECONDS: i64 = 300;
/// Jobs that evidence quotes.
const EXAMPLES: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stuck {
    /// No pod was made.
    Triggered,
    /// Its pod is a stray that waits.
    Pending,
}

fn stuck<'a>(snapshot: &'a Snapshot, strays: impl Iterator<Item = &'a JudgedPod>) -> Vec<(&'a ProwJob, Stuck)> {
    let waiting: BTreeMap<&str, &JudgedPod> = strays
        .filter(|judged| judged.pod.is_waiting() && judged.trouble.is_some())
        .map(|judged| (judged.pod.object.name.as_str(), judged))
        .collect();
    // Whoever has a pod where it belongs is not stuck, whatever is left of it elsewhere.
    let placed = placed(snapshot);
    let now = snapshot.taken_at_server().as_second();
    snapshot
        .prowjobs
        .known()
        .into_iter()
        .flatten()
        .filter(|job| !job.is_finished() && (job.agent.is_empty() || job.agent == "kubernetes"))
        .filter_map(|job| {
            let old = || job.created.is_some_and(|at| now - at.as_second() > TRIGGERED_SECONDS);
            if waiting.contains_key(job.name.as_str()) && !placed.contains(job.name.as_str()) {
                Some((&**job, Stuck::Pending))
            } else if job.state == "triggered" && old() {
                Some((&**job, Stuck::Triggered))
            } else {
                None
            }
        })
        .collect()
}

fn object(snapshot: &Snapshot, job: &ProwJob) -> ObjectRef {
    let namespace = snapshot.prow.seen().map_or("", |settings| settings.prowjob_namespace.as_str());
    let object = ObjectRef::new(&snapshot.service.alias, namespace, Kind::ProwJob, &job.name);
    if job.uid.is_empty() { object } else { object.with_uid(&job.uid) }
}

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let snapshot = context.snapshot;
    let stuck = stuck(snapshot, context.strays.strays());
    if stuck.is_empty() {
        return Vec::new();
    }
    let count = |kind| stuck.iter().filter(|(_, stuck)| *stuck == kind).count();
    let kind = FindingKind::ProwJobsStuck { triggered: count(Stuck::Triggered), pending: count(Stuck::Pending) };
    let waiting = context.strays.strays().filter(|judged| judged.pod.is_waiting() && judged.trouble.is_some()).count();
    let others = waiting.saturating_sub(count(Stuck::Pending));
    let mut evidence: Vec<String> = stuck
        .iter()
        .take(EXAMPLES)
        .map(|(job, _)| {
            let said = if job.description.is_empty() { String::new() } else { format!(": {}", job.description) };
            format!("{} ({}) is {}{said}", job.job, job.name, job.state)
        })
        .collect();
    if others > 0 {
        evidence.push(format!(
            "{others} more stray(s) cannot start, and do not count here: their ProwJobs are finished, or have a pod where it belongs"
        ));
    }
    vec![Finding {
        id: id(&kind, "all"),
        severity: Severity::Warn,
        basis: Basis::Fact,
        subjects: stuck.iter().take(EXAMPLES).map(|(job, _)| object(snapshot, job)).collect(),
        since: stuck.iter().filter_map(|(job, _)| job.created).min(),
        evidence,
        repairs: Vec::new(),
        kind,
    }]
}

pub(super) fn find_deploy_job(context: &Context<'_>) -> Vec<Finding> {
    let snapshot = context.snapshot;
    stuck(snapshot, context.strays.strays())
        .into_iter()
        .filter_map(|(job, how)| {
            let task = task_of(&job.job)?;
            if task.task != JobTask::Deploy {
                return None;
            }
            let state = match how {
                Stuck::Triggered => format!("{}, no pod was made for it", job.state),
                Stuck::Pending => format!("{}, its pod is a stray that cannot start", job.state),
            };
            let kind = FindingKind::DeployJobStuck { job: job.job.clone(), state, prowjob: job.name.clone() };
            Some(Finding {
                id: id(&kind, &job.name),
                severity: Severity::Warn,
                basis: if task.known { Basis::Fact } else { Basis::Guess },
                subjects: vec![object(snapshot, job)],
                since: job.created,
                evidence: vec![
                    format!(
                        "ProwJob {} of {} was made {}",
                        job.name,
                        job.job,
                        job.created.map_or("at an unknown time".to_owned(), |at| at.to_string())
                    ),
                    "a merged revert is deployed by the same job: it would be stuck as well".to_owned(),
                ],
                repairs: vec![RepairId::Rollback],
                kind,
            })
        })
        .collect()
}
