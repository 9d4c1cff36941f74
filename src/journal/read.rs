//! What the records of a run amount to.

use std::path::{Path, PathBuf};

use crate::model::{ClusterIdentity, ObjectRef, Outcome, Progress, Timestamp};
use crate::repair::{Override, RepairId};

use super::record::{BackupFile, Entry, Found, Guard, Lines, Mode, Record, Tail};

/// A run, as its journal tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    /// Such as `r-0007`.
    pub run: String,
    /// Folder that holds its journal, plan and backups.
    pub folder: PathBuf,
    pub state: RunState,
    /// `None` where the process died before its first record: nothing was sent then.
    pub begin: Option<Begin>,
    /// The steps that were begun, by number.
    pub steps: Vec<StepRecord>,
    /// Why it stopped before its end.
    pub stopped: Option<String>,
    /// Newest verification: whether the repair was seen to work.
    pub verified: Option<(bool, String)>,
    pub ended: Option<Timestamp>,
    /// True where the last line was torn: the process died while writing it.
    pub torn: bool,
    /// All records, in order.
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Begin {
    pub at: Timestamp,
    pub plan: String,
    pub title: String,
    pub repair: RepairId,
    pub steps: usize,
    pub who: String,
    pub mode: Mode,
    pub clusters: Vec<ClusterIdentity>,
    pub undoes: Option<String>,
    pub overrides: Vec<Override>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// A living process holds it.
    Running { pid: u32 },
    /// It came to its end, and no outcome is open.
    Ended,
    /// It did not end, or an outcome is open: the numbers of the steps whose outcome nobody knows.
    Interrupted { unknown: Vec<usize> },
    /// The journal is not as it was written; what is shown is what came before the fault.
    Damaged { why: String },
}

/// The newest try of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRecord {
    pub n: usize,
    pub object: ObjectRef,
    /// `None` where nothing was about to be sent: the guard spoke first.
    pub intent: Option<Intent>,
    pub outcome: Option<StepOutcome>,
    /// What reading back found after the newest intent.
    pub found: Option<(Found, String)>,
    /// True where nobody knew at some time what came of a request of this step. What was said of it later (`failed`, as it
    /// had not landed by then; `skipped`, as somebody had written the same) does not say that it was not done.
    pub in_doubt: bool,
    /// The first backup: the object as it was before the run touched it.
    pub backup: Option<BackupFile>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Intent {
    pub at: Timestamp,
    pub write: String,
    pub guard: Guard,
    pub body: String,
    pub audit_id: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct StepOutcome {
    pub at: Timestamp,
    pub outcome: Outcome,
    pub status: String,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

impl StepRecord {
    /// True where a request may have been sent, nobody knows what came of it, and nobody looked since.
    pub fn is_open(&self) -> bool {
        let told = match &self.outcome {
            Some(outcome) => outcome.outcome != Outcome::Unknown,
            None => self.intent.is_none(),
        };
        !told && self.found.is_none()
    }

    /// True where a request of it was done, or may have been: where there was an intent and no certain refusal.
    pub fn may_have_landed(&self) -> bool {
        match self.outcome.as_ref().map(|ended| ended.outcome) {
            Some(Outcome::Done) => true,
            Some(Outcome::Failed | Outcome::Skipped) => self.in_doubt,
            Some(Outcome::Unknown) | None => self.intent.is_some(),
        }
    }
}

impl RunRecord {
    /// Folds the records of a run. `holder` tells whether a process holds its lock.
    pub(super) fn fold(run: &str, folder: PathBuf, lines: Lines, held: bool) -> Self {
        let mut record = RunRecord {
            run: run.to_owned(),
            folder,
            state: RunState::Ended,
            begin: None,
            steps: Vec::new(),
            stopped: None,
            verified: None,
            ended: None,
            torn: matches!(lines.tail, Tail::Torn(_)),
            entries: lines.entries,
        };
        let mut pid = 0;
        for entry in record.entries.clone() {
            record.take(entry, &mut pid);
        }
        record.state = record.judge(&lines.tail, held, pid);
        record
    }

    /// A run of which nothing can be read.
    pub(super) fn unreadable(run: &str, folder: PathBuf, why: String) -> Self {
        let tail = Tail::Damaged(why);
        RunRecord::fold(run, folder, Lines { entries: Vec::new(), chain: String::new(), good: 0, tail }, false)
    }

    fn judge(&self, tail: &Tail, held: bool, pid: u32) -> RunState {
        if let Tail::Damaged(why) = tail {
            return RunState::Damaged { why: why.clone() };
        }
        let unknown: Vec<usize> = self.steps.iter().filter(|step| step.is_open()).map(|step| step.n).collect();
        if self.ended.is_some() && unknown.is_empty() && !self.may_have_left_something() {
            RunState::Ended
        } else if held {
            RunState::Running { pid }
        } else {
            RunState::Interrupted { unknown }
        }
    }

    /// What a check makes is taken away again: until that was seen, it is not over.
    fn may_have_left_something(&self) -> bool {
        self.begin.as_ref().is_some_and(|begin| begin.repair == RepairId::CheckInCluster)
            && self.steps.iter().any(StepRecord::may_have_landed)
            && !matches!(self.verified, Some((true, _)))
    }

    fn take(&mut self, entry: Entry, holder: &mut u32) {
        let at = entry.at;
        match entry.record {
            Record::Begin { run: _, plan, title, repair, steps, who, mode, pid, clusters, undoes, overrides } => {
                *holder = pid;
                self.begin = Some(Begin { at, plan, title, repair, steps, who, mode, clusters, undoes, overrides });
            }
            Record::Intent { n, object, write, guard, body, audit_id, backup } => {
                let step = self.step(n, object);
                step.intent = Some(Intent { at, write, guard, body, audit_id });
                (step.outcome, step.found) = (None, None);
                step.backup = step.backup.take().or(backup);
            }
            Record::Outcome { n, object, outcome, status, uid, resource_version } => {
                let step = self.step(n, object);
                step.in_doubt |= outcome == Outcome::Unknown;
                step.outcome = Some(StepOutcome { at, outcome, status, uid, resource_version });
            }
            Record::Found { n, object, landed, detail } => {
                let step = self.step(n, object);
                step.in_doubt = true;
                step.found = Some((landed, detail));
            }
            Record::Stopped { why } => self.stopped = Some(why),
            Record::Verified { ok, detail } => self.verified = Some((ok, detail)),
            Record::Resumed { who: _, pid, torn: _ } => {
                *holder = pid;
                (self.stopped, self.ended) = (None, None);
            }
            Record::Ended { .. } => self.ended = Some(at),
        }
    }

    fn step(&mut self, n: usize, object: ObjectRef) -> &mut StepRecord {
        let at = self.steps.iter().position(|step| step.n == n).unwrap_or_else(|| {
            let (intent, outcome, found, in_doubt, backup) = (None, None, None, false, None);
            self.steps.push(StepRecord { n, object, intent, outcome, found, in_doubt, backup });
            self.steps.len() - 1
        });
        &mut self.steps[at]
    }

    /// How many steps ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.steps.iter().filter(|step| step.outcome.as_ref().is_some_and(|ended| ended.outcome == outcome)).count()
    }

    /// How far it came; `None` where its first record is missing.
    pub fn progress(&self) -> Option<Progress> {
        let done = self.count(Outcome::Done) + self.count(Outcome::Skipped);
        self.begin.as_ref().map(|begin| Progress { done, of: begin.steps })
    }

    /// True where it ended before its last step, because of a failure, a signal or a person, and nobody went on since or
    /// said that it shall stay so.
    pub fn was_stopped(&self) -> bool {
        self.state == RunState::Ended
            && self.stopped.is_some()
            && self.progress().is_some_and(|progress| progress.done < progress.of)
    }

    /// True where it was begun and something of it was done.
    pub(super) fn has_written(&self) -> bool {
        self.count(Outcome::Done) > 0
    }

    /// True where both are about one cluster.
    pub(super) fn is_on_one_of(&self, other: &RunRecord) -> bool {
        let clusters = |run: &RunRecord| run.begin.as_ref().map_or(Vec::new(), |begin| begin.clusters.clone());
        let others = clusters(other);
        clusters(self).iter().any(|cluster| super::open::same_cluster(cluster, &others))
    }

    /// Steps that were not begun.
    pub fn left(&self) -> usize {
        self.begin.as_ref().map_or(0, |begin| begin.steps.saturating_sub(self.steps.len()))
    }
}

/// When something in a run's folder was last made or removed: all that is known of a run whose records are not.
pub(super) fn last_touched(folder: &Path) -> Timestamp {
    let modified = folder.symlink_metadata().and_then(|folder| folder.modified());
    modified.ok().and_then(|at| Timestamp::try_from(at).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}
