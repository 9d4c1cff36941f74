//! What an earlier process left: looked at, settled, or finished. An intent without an outcome is read back, never guessed.

use tokio::sync::mpsc::UnboundedSender;

use crate::cluster::gate::{Gate, Landed, prove};
use crate::journal::{Found, Guard, Journal, Record, RunRecord, RunState, StepOutcome, StepRecord};
use crate::model::{Failure, FailureKind, ObjectRef, Outcome, RunEvent, RunSummary, Write};
use crate::repair::{Plan, RepairId, Step};

use super::execute::{Run, live_gates};
use super::{Clusters, Operator, StopToken, cluster_of};

/// A run that did not end well, and what the clusters say of it now.
#[derive(Debug, Clone, PartialEq)]
pub struct ResumeView {
    pub run: RunRecord,
    pub plan: Plan,
    pub steps: Vec<ResumeStep>,
}

impl ResumeView {
    /// How many steps a resume would try.
    pub fn to_do(&self) -> usize {
        // What such a run makes is taken away, never made again: its undo is its end.
        if self.plan.repair == RepairId::CheckInCluster {
            return 0;
        }
        if self.steps.iter().any(|step| step.standing.is_in_the_way()) {
            return 0;
        }
        self.steps.iter().filter(|step| step.standing.is_to_do()).count()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct ResumeStep {
    pub n: usize,
    pub object: ObjectRef,
    pub standing: Standing,
}

/// Where a step stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// Done, or rightly left out.
    Finished(StepOutcome),
    /// It was tried and failed; a resume tries again, if its guard holds.
    Failed(StepOutcome),
    /// Its outcome was open; this is what reading back says.
    ReadBack(Landed),
    /// Read back earlier, and nobody can tell; it stays as it is.
    Unknowable(String),
    NotBegun,
}

impl Standing {
    /// True where a resume would send something.
    pub fn is_to_do(&self) -> bool {
        match self {
            Standing::NotBegun | Standing::Failed(_) | Standing::ReadBack(Landed::AsBefore) => true,
            Standing::Finished(_) | Standing::Unknowable(_) => false,
            Standing::ReadBack(Landed::AsWritten | Landed::Otherwise { .. } | Landed::Gone) => false,
        }
    }
}

impl Standing {
    /// True where nobody can tell what became of a step: those after it may build on it, so none is tried.
    fn is_in_the_way(&self) -> bool {
        match self {
            Standing::Unknowable(_) | Standing::ReadBack(Landed::Otherwise { .. } | Landed::Gone) => true,
            Standing::Finished(_) | Standing::Failed(_) | Standing::NotBegun => false,
            Standing::ReadBack(Landed::AsWritten | Landed::AsBefore) => false,
        }
    }
}

/// Looks at a run and at what became of its open steps. Reads only.
///
/// # Errors
/// A living process is at work on it, its journal is damaged, or a cluster cannot be read or is another one.
pub async fn inspect(journal: &Journal, run: &str, clusters: &Clusters) -> Result<ResumeView, Failure> {
    let record = journal.run(run)?;
    match &record.state {
        RunState::Ended | RunState::Interrupted { .. } => {}
        RunState::Running { pid } => {
            return Err(Failure::new(FailureKind::Refused, format!("process {pid} is at work on run {run}"))
                .hint(format!("look on with prow-breakglass run show {run}")));
        }
        RunState::Damaged { why } => {
            return Err(Failure::new(FailureKind::Tool, format!("the journal of run {run} is damaged"))
                .cause(why.clone())
                .hint("compare the cluster with the backups in the run's folder by hand"));
        }
    }
    let plan = journal.plan(&record)?;
    for identity in &plan.clusters {
        prove(cluster_of(clusters, &identity.alias)?, identity).await?;
    }
    let mut steps = Vec::new();
    for step in &plan.steps {
        let gate = Gate::dry_run(cluster_of(clusters, step.write.cluster())?);
        let standing = standing(record_of(&record, step), &gate, step).await?;
        steps.push(ResumeStep { n: step.n, object: step.write.object().clone(), standing });
    }
    Ok(ResumeView { run: record, plan, steps })
}

fn record_of<'a>(record: &'a RunRecord, step: &Step) -> Option<&'a StepRecord> {
    record.steps.iter().find(|begun| begun.n == step.n)
}

async fn standing(begun: Option<&StepRecord>, gate: &Gate, step: &Step) -> Result<Standing, Failure> {
    let Some(begun) = begun else { return Ok(Standing::NotBegun) };
    if begun.is_open() {
        return gate.read_back(&as_sent(step, begun)).await.map(Standing::ReadBack);
    }
    Ok(match (&begun.outcome, &begun.found) {
        (Some(ended), _) => match ended.outcome {
            Outcome::Done | Outcome::Skipped => Standing::Finished(ended.clone()),
            Outcome::Failed => Standing::Failed(ended.clone()),
            Outcome::Unknown => Standing::Unknowable(ended.status.clone()),
        },
        // The process died between what it found and its outcome.
        (None, Some((Found::AsWritten, _))) => Standing::ReadBack(Landed::AsWritten),
        (None, Some((Found::AsBefore, _))) => Standing::ReadBack(Landed::AsBefore),
        (None, Some((Found::Otherwise, detail))) => Standing::Unknowable(detail.clone()),
        (None, None) => Standing::NotBegun,
    })
}

/// The write as it went out: the plan's, on the version that its intent names.
fn as_sent(step: &Step, begun: &StepRecord) -> Write {
    match (&step.write, begun.intent.as_ref().map(|intent| &intent.guard)) {
        (Write::PutConfigMap { object, body, .. }, Some(Guard::Version(at))) => {
            Write::PutConfigMap { object: object.clone(), at: at.clone(), body: body.clone() }
        }
        // What these are read back by does not hang on the version that they went out on.
        (
            Write::PutConfigMap { .. }
            | Write::CreateConfigMap { .. }
            | Write::DeleteConfigMap { .. }
            | Write::DeletePod { .. }
            | Write::PatchImage { .. }
            | Write::CreateJob { .. }
            | Write::DeleteJob { .. },
            _,
        ) => step.write.clone(),
    }
}

/// Finishes a run: records what became of its open steps, then does what is left and still holds.
///
/// # Errors
/// As [`inspect`]; nothing is left to do; or the journal cannot be written. Nothing was sent then.
pub async fn resume(
    journal: &Journal,
    run: &str,
    clusters: &Clusters,
    operator: &Operator,
    stop: StopToken,
    events: UnboundedSender<RunEvent>,
) -> Result<RunSummary, Failure> {
    take_over(journal, run, clusters, operator, stop, events, After::GoOn).await
}

/// Records what became of a run's open steps and ends it, without sending anything: for a person who would rather undo it
/// or leave it.
///
/// # Errors
/// As [`resume`].
pub async fn settle(
    journal: &Journal,
    run: &str,
    clusters: &Clusters,
    operator: &Operator,
    events: UnboundedSender<RunEvent>,
) -> Result<RunSummary, Failure> {
    take_over(journal, run, clusters, operator, StopToken::new(), events, After::End).await
}

/// What follows once the open steps are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    GoOn,
    End,
}

async fn take_over(
    journal: &Journal,
    run: &str,
    clusters: &Clusters,
    operator: &Operator,
    stop: StopToken,
    events: UnboundedSender<RunEvent>,
    after: After,
) -> Result<RunSummary, Failure> {
    // The lock first, so that what is looked at cannot change hands.
    let (record, writer, torn) = journal.reopen(run)?;
    let plan = journal.plan(&record)?;
    if plan.repair == RepairId::CheckInCluster && after == After::GoOn {
        return Err(Failure::new(FailureKind::Refused, format!("run {run} asked a checkconfig: nothing is made anew"))
            .hint(format!("prow-breakglass run resume {run} takes away what is left of it")));
    }
    journal.nobody_in_the_way(&plan, Some(run))?;
    let gates = live_gates(&plan, clusters).await?;
    let mut standings = Vec::new();
    for step in &plan.steps {
        let Some(gate) = gates.get(step.write.cluster()) else { continue };
        standings.push((step, standing(record_of(&record, step), gate, step).await?));
    }
    let in_the_way = standings.iter().find(|(_, standing)| standing.is_in_the_way()).map(|(step, _)| step.n);
    let open = matches!(record.state, RunState::Interrupted { .. });
    let to_do = in_the_way.is_none() && standings.iter().any(|(_, standing)| standing.is_to_do());
    if !open && !to_do {
        return Err(Failure::new(FailureKind::Refused, format!("run {run} has nothing left that can be done")).hint(
            format!("prow-breakglass run show {run} tells how it ended; for what is still wrong, make a new plan"),
        ));
    }
    let mut run = Run::new(&plan, gates, writer, journal.clone(), stop, events);
    run.append(Record::Resumed { who: operator.who.clone(), pid: std::process::id(), torn })?;
    run.announce();
    let mut left = Vec::new();
    for (step, standing) in standings {
        let to_do = standing.is_to_do();
        match standing {
            Standing::Finished(ended) | Standing::Failed(ended) => {
                run.tally.outcomes.insert(step.n, ended.outcome);
            }
            Standing::ReadBack(landed) => run.found(step, &landed)?,
            Standing::Unknowable(_) => {
                run.tally.outcomes.insert(step.n, Outcome::Unknown);
            }
            Standing::NotBegun => {}
        }
        if to_do {
            left.push(step);
        }
    }
    match (after, in_the_way) {
        (After::GoOn, None) => run.steps(left).await,
        (After::GoOn, Some(n)) => run.stopped(&format!("nobody can tell what became of step {n}; make a new plan")),
        (After::End, _) => {}
    }
    Ok(run.end())
}
