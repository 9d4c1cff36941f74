//! The run: guard, backup, intent, request, outcome. A step at a time, but for the deletes of strays: of those a few are in
//! flight together, each with its own intent on the disk before its request, and none begins once the run is to stop.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc::UnboundedSender;

use crate::cluster::gate::{Gate, Landed, SendError, Sent, audit_id};
use crate::journal::{BackupFile, Found, Guard, Journal, Record, RunWriter};
use crate::model::{Alias, Failure, FailureKind, ObjectRef, Outcome, RunEvent, RunSummary, Write};
use crate::repair::{ApprovedPlan, Plan, RepairId, Step};

use super::ended::{StepEnd, done_word, in_words, look_after};
#[cfg(debug_assertions)]
use super::fault::{self, Point};
use super::guard::{Judgement, Live, judge};
use super::{Clusters, Operator, StopToken, cluster_of, expected};

/// Deletes of strays in flight together.
const DELETES_AT_ONCE: usize = 8;
/// Deletes stop after so many failures in a row: something is wrong that a longer list will not mend.
const IN_A_ROW: usize = 3;

/// Runs an approved plan. Each step is guarded, backed up, journalled, then sent; events tell of it as it goes.
///
/// What goes wrong is in the summary: a run that could not begin (another cluster, a journal that cannot be written) has
/// done nothing, and every step is left.
pub async fn start(
    approved: ApprovedPlan,
    clusters: Clusters,
    journal: Journal,
    operator: Operator,
    stop: StopToken,
    events: UnboundedSender<RunEvent>,
) -> RunSummary {
    let plan = approved.plan();
    let begun = match live_gates(plan, &clusters).await {
        Ok(gates) => journal.begin(plan, &operator.who, operator.mode).map(|writer| (gates, writer)),
        Err(failure) => Err(failure),
    };
    let (gates, writer) = match begun {
        Ok(begun) => begun,
        Err(failure) => {
            let left = plan.steps.len();
            let summary = RunSummary { left, first_failure: Some(failure), ..RunSummary::default() };
            tell(&events, RunEvent::Ended { at: journal.now(), summary: summary.clone() });
            return summary;
        }
    };
    let mut run = Run::new(plan, gates, writer, journal, stop, events);
    run.announce();
    run.steps(&plan.steps).await;
    run.end()
}

/// A live gate for each cluster of a plan: its identity is proven again.
pub(super) async fn live_gates(plan: &Plan, clusters: &Clusters) -> Result<BTreeMap<Alias, Gate>, Failure> {
    let mut gates = BTreeMap::new();
    for identity in &plan.clusters {
        let gate = Gate::live(cluster_of(clusters, &identity.alias)?, identity).await?;
        gates.insert(identity.alias.clone(), gate);
    }
    for step in &plan.steps {
        expected(&plan.clusters, step.write.cluster())?;
    }
    Ok(gates)
}

/// The object of a write as it is now: what the guard judges and the backup keeps.
pub(super) async fn read(gate: &Gate, write: &Write) -> Result<Live, Failure> {
    Ok(match write {
        Write::PutConfigMap { object, .. }
        | Write::CreateConfigMap { object, .. }
        | Write::DeleteConfigMap { object, .. } => {
            gate.cluster().live_config_map(object).await?.map_or(Live::Absent, |map| Live::ConfigMap(Box::new(map)))
        }
        Write::DeletePod { object, .. } => gate.cluster().live_pod(object).await?.map_or(Live::Absent, Live::Pod),
        Write::PatchImage { object, .. } => {
            gate.cluster().live_workload(object).await?.map_or(Live::Absent, |live| Live::Workload(Box::new(live)))
        }
        Write::CreateJob { object, .. } | Write::DeleteJob { object, .. } => {
            gate.cluster().live_job(object).await?.map_or(Live::Absent, Live::Job)
        }
    })
}

fn tell(events: &UnboundedSender<RunEvent>, event: RunEvent) {
    // Nobody listening is no reason to stop: the journal has it.
    let _ = events.send(event);
}

/// A run on its way.
pub(super) struct Run<'a> {
    core: Core<'a>,
    pub(super) tally: Tally,
}

/// What steps need while they are in flight.
struct Core<'a> {
    plan: &'a Plan,
    gates: BTreeMap<Alias, Gate>,
    run: String,
    folder: String,
    /// Never held while something is waited for.
    writer: Mutex<RunWriter>,
    journal: Journal,
    stop: StopToken,
    events: UnboundedSender<RunEvent>,
    /// What other runs of ours did since the plan was made; read when a step turns out not to be needed.
    others: OnceLock<BTreeMap<ObjectRef, String>>,
}

/// What has come of it so far.
#[derive(Default)]
pub(super) struct Tally {
    /// How each step that was begun ended.
    pub(super) outcomes: BTreeMap<usize, Outcome>,
    first_failure: Option<Failure>,
    failed_in_a_row: usize,
    interrupted: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        gates: BTreeMap<Alias, Gate>,
        writer: RunWriter,
        journal: Journal,
        stop: StopToken,
        events: UnboundedSender<RunEvent>,
    ) -> Self {
        let (run, folder) = (writer.run().to_owned(), writer.folder().display().to_string());
        let writer = Mutex::new(writer);
        let others = OnceLock::new();
        Run { core: Core { plan, gates, run, folder, writer, journal, stop, events, others }, tally: Tally::default() }
    }

    /// Tells that the run begins.
    pub(super) fn announce(&self) {
        let core = &self.core;
        core.tell(RunEvent::Started {
            run: core.run.clone(),
            title: core.plan.title.clone(),
            steps: core.plan.steps.len(),
            at: core.journal.now(),
            journal: core.folder.clone(),
        });
    }

    /// Goes through the steps until the end, a stop, or a failure that ends the run.
    pub(super) async fn steps(&mut self, steps: impl IntoIterator<Item = &Step>) {
        let Run { core, tally } = self;
        let core: &Core<'_> = core;
        let mut waiting = steps.into_iter().peekable();
        let mut in_flight = FuturesUnordered::new();
        let mut stopping: Option<String> = None;
        loop {
            while stopping.is_none() && in_flight.len() < at_once(core.plan.repair) && waiting.peek().is_some() {
                if let Some(why) = core.stop.requested() {
                    tally.note(Failure::new(FailureKind::Interrupted, format!("stopped by {why}")));
                    tally.interrupted = true;
                    stopping = Some(format!("stopped by {why}"));
                } else if let Some(step) = waiting.next() {
                    in_flight.push(async move { (step, core.step(step).await) });
                }
            }
            // What is in flight ends, and is recorded, also when the run is to stop.
            let Some((step, ended)) = in_flight.next().await else { break };
            let unwritten = || Some("the journal cannot be written".to_owned());
            let stop = match ended {
                // The journal failed before anything was sent.
                Err(failure) => {
                    tally.close(core, step, StepEnd::failed(failure));
                    unwritten()
                }
                Ok(ended) => {
                    let outcome = ended.outcome;
                    let kind = ended.failure.as_ref().map(|failure| failure.kind);
                    if tally.close(core, step, ended) { tally.must_stop(step, outcome, kind) } else { unwritten() }
                }
            };
            stopping = stopping.or(stop);
        }
        drop(in_flight);
        if let Some(why) = stopping {
            self.stopped(&why);
        }
    }

    /// Records and tells what reading back found of a step of an earlier process.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn found(&mut self, step: &Step, landed: &Landed) -> Result<(), Failure> {
        let (found, detail) = in_words(landed);
        let object = step.write.object().clone();
        self.append(Record::Found { n: step.n, object, landed: found, detail: detail.clone() })?;
        let failure = |why: String| Failure::new(FailureKind::Conflict, why);
        let ended = match found {
            Found::AsWritten => StepEnd::done(&detail, Sent::default()),
            Found::AsBefore => StepEnd { failure: None, ..StepEnd::failed(failure(detail)) },
            Found::Otherwise => StepEnd::bad(Outcome::Unknown, failure(detail)),
        };
        if self.tally.close(&self.core, step, ended) {
            Ok(())
        } else {
            Err(failure("the journal cannot be written".to_owned()))
        }
    }

    /// Appends a record of the run as a whole.
    pub(super) fn append(&mut self, record: Record) -> Result<(), Failure> {
        self.core.writer().append(record)
    }

    /// Records and tells that no further step begins, and why.
    pub(super) fn stopped(&mut self, why: &str) {
        if let Err(failure) = self.append(Record::Stopped { why: why.to_owned() }) {
            self.tally.note(failure);
        }
        self.core.tell(RunEvent::Stopped { why: why.to_owned(), at: self.core.journal.now() });
    }

    /// Records and tells the end.
    pub(super) fn end(mut self) -> RunSummary {
        let count = |outcome: Outcome| self.tally.outcomes.values().filter(|ended| **ended == outcome).count();
        let (done, failed) = (count(Outcome::Done), count(Outcome::Failed));
        let (skipped, unknown) = (count(Outcome::Skipped), count(Outcome::Unknown));
        let left = self.core.plan.steps.len().saturating_sub(self.tally.outcomes.len());
        if let Err(failure) = self.append(Record::Ended { done, failed, skipped, unknown, left }) {
            self.tally.note(failure);
        }
        let Run { core, tally } = self;
        let summary = RunSummary {
            run: core.run.clone(),
            journal: core.folder.clone(),
            done,
            failed,
            skipped,
            unknown,
            left,
            first_failure: tally.first_failure,
            interrupted: tally.interrupted,
        };
        core.tell(RunEvent::Ended { at: core.journal.now(), summary: summary.clone() });
        summary
    }
}

/// How many steps may be in flight together. Strays do not hang on one another; whatever else there is goes one by one, so
/// that the first failure is the last step.
fn at_once(repair: RepairId) -> usize {
    match repair {
        RepairId::DeleteStrays => DELETES_AT_ONCE,
        RepairId::SyncConfig | RepairId::Kick | RepairId::Rollback | RepairId::CheckInCluster | RepairId::Undo => 1,
    }
}

impl Tally {
    fn must_stop(&mut self, step: &Step, outcome: Outcome, kind: Option<FailureKind>) -> Option<String> {
        match outcome {
            Outcome::Done | Outcome::Skipped => {
                self.failed_in_a_row = 0;
                return None;
            }
            Outcome::Failed | Outcome::Unknown => self.failed_in_a_row += 1,
        }
        let n = step.n;
        match &step.write {
            Write::PutConfigMap { .. }
            | Write::CreateConfigMap { .. }
            | Write::DeleteConfigMap { .. }
            | Write::CreateJob { .. } => {
                Some(format!("step {n} is {}: the steps after it may build on it", outcome.word()))
            }
            Write::PatchImage { object, .. } => Some(format!(
                "step {n}, {}, is {}: no further component is touched; `run resume` goes on once that is mended, `undo` \
                 takes back what was done",
                object.name,
                outcome.word()
            )),
            Write::DeletePod { .. } | Write::DeleteJob { .. } if kind == Some(FailureKind::Unauthenticated) => {
                Some(format!("step {n}: the server does not know us any more; sign in, then resume"))
            }
            Write::DeletePod { .. } | Write::DeleteJob { .. } if self.failed_in_a_row >= IN_A_ROW => {
                Some(format!("{IN_A_ROW} steps in a row went wrong"))
            }
            Write::DeletePod { .. } | Write::DeleteJob { .. } => None,
        }
    }

    /// Records and tells how a step ended. False where the journal could not take it.
    fn close(&mut self, core: &Core<'_>, step: &Step, mut ended: StepEnd) -> bool {
        let object = step.write.object().clone();
        let recorded = core.writer().append(Record::Outcome {
            n: step.n,
            object: object.clone(),
            outcome: ended.outcome,
            status: ended.status.clone(),
            uid: ended.sent.uid.take(),
            resource_version: ended.sent.resource_version.take(),
        });
        if let Some(failure) = ended.failure.take() {
            self.note(failure);
        }
        let (n, outcome, at) = (step.n, ended.outcome, core.journal.now());
        self.outcomes.insert(n, outcome);
        let mut status = ended.status;
        let ok = recorded.is_ok();
        if let Err(failure) = recorded {
            status = format!("{status} (not in the journal: {})", failure.summary);
            self.note(failure);
        }
        core.tell(RunEvent::StepEnded { n, object, outcome, status, at });
        ok
    }

    fn note(&mut self, failure: Failure) {
        self.first_failure.get_or_insert(failure);
    }
}

impl Core<'_> {
    fn tell(&self, event: RunEvent) {
        tell(&self.events, event);
    }

    fn writer(&self) -> MutexGuard<'_, RunWriter> {
        // Whoever panicked with it has left the record whole or the writer broken, and a broken one refuses.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One step. An error is the journal's, and nothing was sent then.
    async fn step(&self, step: &Step) -> Result<StepEnd, Failure> {
        #[cfg(debug_assertions)]
        fault::point(Point::BeforeStep, step.n, &self.stop).await;
        let Some(gate) = self.gates.get(step.write.cluster()).cloned() else {
            let why = format!("no gate to cluster {}", step.write.cluster());
            return Ok(StepEnd::failed(Failure::new(FailureKind::Refused, why)));
        };
        // A second look where somebody wrote between our look and our request.
        for last in [false, true] {
            let live = match read(&gate, &step.write).await {
                Ok(live) => live,
                Err(failure) => return Ok(StepEnd::failed(failure)),
            };
            let write = match judge(self.plan.repair, &step.write, &live) {
                Judgement::Holds(write) => write,
                Judgement::NotNeeded(why) if went_by_itself(&step.write, &live) => {
                    return Ok(StepEnd::done(&self.name_our_own(step, why), Sent::default()));
                }
                Judgement::NotNeeded(why) => return Ok(StepEnd::skipped(self.name_our_own(step, why))),
                Judgement::Moved(why) => {
                    let why = self.name_our_own(step, why);
                    let failure = Failure::new(FailureKind::Conflict, why)
                        .hint("nothing was overwritten; make a new plan and read it: somebody else is at work");
                    return Ok(StepEnd::failed(failure));
                }
                Judgement::Refused(failure) => return Ok(StepEnd::failed(failure)),
            };
            let write = match with_owner(&gate, write).await {
                Ok(write) => write,
                Err(failure) => return Ok(StepEnd::failed(failure)),
            };
            let prepared = match gate.prepare(&write, &audit_id(&self.run, step.n, self.journal.now())) {
                Ok(prepared) => prepared,
                Err(failure) => return Ok(StepEnd::failed(failure)),
            };
            let backup = self.back_up(step, &live)?;
            self.writer().append(Record::Intent {
                n: step.n,
                object: write.object().clone(),
                write: write.word().to_owned(),
                guard: guard_of(&write),
                body: prepared.body_sha256(),
                audit_id: prepared.audit_id().to_owned(),
                backup,
            })?;
            if !last {
                let at = self.journal.now();
                self.tell(RunEvent::StepStarted { n: step.n, object: write.object().clone(), at });
            }
            #[cfg(debug_assertions)]
            fault::point(Point::AfterIntent, step.n, &self.stop).await;
            let answer = gate.send(prepared).await;
            #[cfg(debug_assertions)]
            fault::point(Point::AfterSend, step.n, &self.stop).await;
            match (answer, &write) {
                (Ok(sent), _) => return Ok(StepEnd::done(done_word(&write), sent)),
                (
                    Err(SendError::NotDone(failure)),
                    Write::DeletePod { .. } | Write::DeleteConfigMap { .. } | Write::DeleteJob { .. },
                ) if failure.kind == FailureKind::NotFound => {
                    return Ok(StepEnd::done("already gone", Sent::default()));
                }
                (Err(SendError::NotDone(failure)), _) if failure.kind == FailureKind::Conflict && !last => {}
                (Err(SendError::NotDone(failure)), _) => return Ok(StepEnd::failed(failure)),
                (Err(SendError::NoAnswer(failure)), _) => return Ok(look_after(&gate, &write, failure).await),
            }
        }
        let why = format!("{} keeps changing", step.write.object());
        Ok(StepEnd::failed(Failure::new(FailureKind::Conflict, why)))
    }

    /// Why a step is not needed or does not hold, with the run of ours that did it, where the journal knows one.
    fn name_our_own(&self, step: &Step, why: String) -> String {
        let since = self.plan.basis.taken_at;
        let others = self.others.get_or_init(|| self.journal.done_by_others(&self.run, since).unwrap_or_default());
        match others.get(step.write.object()) {
            Some(run) => format!("{why} (run {run} of yours was at it since this plan was made)"),
            None => why,
        }
    }

    fn back_up(&self, step: &Step, live: &Live) -> Result<Option<BackupFile>, Failure> {
        let json = match live {
            Live::ConfigMap(map) => &map.json,
            Live::Pod(pod) => &pod.json,
            Live::Workload(workload) => &workload.json,
            Live::Job(own) => &own.json,
            Live::Absent => return Ok(None),
        };
        self.writer().backup(step.n, step.write.object(), json).map(Some)
    }
}

/// What goes with a Job that the same run made a step before gets that one's uid: the only thing that no plan can know.
async fn with_owner(gate: &Gate, write: Write) -> Result<Write, Failure> {
    let Write::CreateConfigMap { object, mut body } = write else { return Ok(write) };
    if let Some(owner) = body.owner.take() {
        match gate.cluster().live_job(&owner).await? {
            Some(own) if own.is_own && !own.deleting => body.owner = Some(Box::new(owner.with_uid(&own.uid))),
            Some(_) | None => {
                let why = format!("{owner}, with which {object} would go, is not there any more");
                return Err(Failure::new(FailureKind::Conflict, why));
            }
        }
    }
    Ok(Write::CreateConfigMap { object, body })
}

/// A stray that is not there any more is what was wanted.
fn went_by_itself(write: &Write, live: &Live) -> bool {
    let is_wanted_gone = matches!(write, Write::DeletePod { seen: Some(_), .. } | Write::DeleteJob { .. });
    is_wanted_gone && *live == Live::Absent
}

fn guard_of(write: &Write) -> Guard {
    match write {
        Write::PutConfigMap { at, .. } | Write::DeleteConfigMap { at, .. } | Write::PatchImage { at, .. } => {
            Guard::Version(at.clone())
        }
        Write::CreateConfigMap { .. } | Write::CreateJob { .. } => Guard::Absence,
        Write::DeletePod { uid, .. } | Write::DeleteJob { uid, .. } => Guard::Uid { uid: uid.clone() },
    }
}
