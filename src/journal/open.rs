//! Runs that are open: going on, stopped half way, or left behind by a process that died; and whom they are in the way of.

use std::collections::BTreeSet;

use super::{Begin, Journal, RunRecord, RunState, StepRecord, read};
use crate::model::{ClusterIdentity, Failure, FailureKind, InterruptedRun, Kind, Leaves, Outcome};
use crate::repair::{Plan, RepairId};

impl Journal {
    /// Runs that did not come to their end, newest first: those that may have written what nobody knows of, and those that
    /// were stopped before their last step. A run that another one has undone since is settled, and a stopped one too where
    /// somebody wrote to the same cluster with a later run: what was left was planned anew.
    ///
    /// # Errors
    /// As [`Journal::runs`].
    pub fn interrupted(&self) -> Result<Vec<InterruptedRun>, Failure> {
        let runs = self.runs()?;
        let undone: BTreeSet<String> = runs
            .iter()
            .filter(|run| run.state == RunState::Ended && run.left() + run.count(Outcome::Failed) == 0)
            .filter_map(|run| run.begin.as_ref()?.undoes.clone())
            .collect();
        let is_superseded = |at: usize, run: &RunRecord| {
            run.was_stopped() && runs[..at].iter().any(|later| later.has_written() && later.is_on_one_of(run))
        };
        Ok(runs
            .iter()
            .enumerate()
            .filter(|(at, run)| !undone.contains(&run.run) && !is_superseded(*at, run))
            .filter_map(|(_, run)| as_interrupted(run, self.leaves(run)))
            .collect())
    }

    /// Refuses while a living process is at work on one of the plan's clusters with another run than `own`: two at once
    /// would each take the other's writes for a stranger's.
    ///
    /// # Errors
    /// There is one, or the journal cannot be read.
    pub fn nobody_in_the_way(&self, plan: &Plan, own: Option<&str>) -> Result<(), Failure> {
        if self.is_apart(plan.repair, plan.basis.undoes.as_deref()) {
            return Ok(());
        }
        let clusters = &plan.clusters;
        for run in self.runs()?.into_iter().filter(|run| Some(run.run.as_str()) != own) {
            let RunState::Running { pid } = run.state else { continue };
            let here = |begin: &Begin| begin.clusters.iter().any(|cluster| same_cluster(cluster, clusters));
            let Some(begin) = run.begin.as_ref().filter(|begin| here(begin)) else { continue };
            if self.is_apart(begin.repair, begin.undoes.as_deref()) {
                continue;
            }
            return Err(Failure::new(
                FailureKind::Refused,
                format!("run {} ({}) of {} is going on in process {pid}, on the same cluster", run.run, begin.title, begin.who),
            )
            .hint(format!(
                "wait for its end (prow-breakglass run show {run} looks on), or end that process; then make the plan anew",
                run = run.run
            )));
        }
        Ok(())
    }

    /// True for a check and for its undo: what they touch is of their own making and nobody else's, so that neither is in
    /// anybody's way, nor anybody in theirs.
    fn is_apart(&self, repair: RepairId, undoes: Option<&str>) -> bool {
        match repair {
            RepairId::CheckInCluster => true,
            RepairId::Undo => undoes
                .and_then(|run| self.run(run).ok()?.begin)
                .is_some_and(|begin| begin.repair == RepairId::CheckInCluster),
            RepairId::SyncConfig | RepairId::Kick | RepairId::Rollback | RepairId::DeleteStrays => false,
        }
    }

    fn leaves(&self, run: &RunRecord) -> Leaves {
        let Some(begin) = &run.begin else { return Leaves::Objects };
        if self.is_apart(begin.repair, begin.undoes.as_deref()) {
            return Leaves::OwnMaking;
        }
        let sets_images = match begin.repair {
            RepairId::Rollback => true,
            RepairId::Undo => run.steps.iter().any(|step| match step.object.kind {
                Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet | Kind::CronJob => true,
                Kind::Job
                | Kind::ReplicaSet
                | Kind::Pod
                | Kind::ConfigMap
                | Kind::Service
                | Kind::ProwJob
                | Kind::Namespace
                | Kind::Cluster
                | Kind::Revision => false,
            }),
            RepairId::SyncConfig | RepairId::Kick | RepairId::DeleteStrays | RepairId::CheckInCluster => false,
        };
        if sets_images { Leaves::Images } else { Leaves::Objects }
    }
}

pub(super) fn same_cluster(cluster: &ClusterIdentity, of: &[ClusterIdentity]) -> bool {
    of.iter().any(|other| other.server == cluster.server && other.uid == cluster.uid)
}

fn as_interrupted(run: &RunRecord, leaves: Leaves) -> Option<InterruptedRun> {
    let (unknown, running_pid, damaged) = match &run.state {
        // What wrote nothing left nothing half done.
        RunState::Ended if run.was_stopped() && run.has_written() => (Vec::new(), None, None),
        RunState::Ended => return None,
        RunState::Running { pid } => (Vec::new(), Some(*pid), None),
        RunState::Interrupted { unknown } => {
            let steps = run.steps.iter().filter(|step| unknown.contains(&step.n));
            (steps.map(in_words).collect(), None, None)
        }
        RunState::Damaged { why } => (Vec::new(), None, Some(why.clone())),
    };
    let (title, at, clusters) = match &run.begin {
        Some(begin) => (begin.title.clone(), begin.at, begin.clusters.clone()),
        // Without a first record no request can have been made, unless it was there and cannot be read any more.
        None if damaged.is_none() => return None,
        None => ("nobody knows what it did".to_owned(), read::last_touched(&run.folder), Vec::new()),
    };
    let (run, progress) = (run.run.clone(), run.progress());
    Some(InterruptedRun { run, title, at, clusters, damaged, unknown, progress, leaves, running_pid })
}

fn in_words(step: &StepRecord) -> String {
    let write = step.intent.as_ref().map_or("write", |intent| intent.write.as_str());
    format!("step {}: {write} {}", step.n, step.object)
}
