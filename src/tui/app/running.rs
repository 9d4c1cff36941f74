//! State of the Run screen: the run, its verification, and the outage that it is about.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::diagnose::VerifyState;
use crate::model::{ObjectRef, Outcome, RunSummary, Timestamp, Write};
use crate::repair::{Plan, Undo};

/// A run, going on or ended.
#[derive(Debug, Clone)]
pub struct RunView {
    pub plan: Arc<Plan>,
    /// Empty until it began.
    pub run: String,
    pub journal: String,
    pub started: Option<Timestamp>,
    pub phase: Phase,
    /// Why it stopped before its last step, if it did.
    pub stopped: Option<String>,
    /// One for each step, in order.
    pub steps: Vec<StepView>,
    pub verification: Verification,
    pub scroll: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    Starting,
    Going,
    Stopping,
    Ended { at: Timestamp, summary: RunSummary },
}

#[derive(Debug, Clone, PartialEq)]
pub struct StepView {
    pub n: usize,
    pub object: ObjectRef,
    pub state: StepState,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StepState {
    Waiting,
    Going { since: Timestamp },
    Ended { outcome: Outcome, status: String, since: Option<Timestamp>, at: Timestamp },
}

/// What snapshots taken after the run say of what it promised.
#[derive(Debug, Clone, PartialEq)]
pub enum Verification {
    /// The run goes on, or no picture is newer than its end.
    NotBegun,
    Seen {
        state: VerifyState,
        at: Timestamp,
    },
}

impl RunView {
    pub fn is_going(&self) -> bool {
        match self.phase {
            Phase::Starting | Phase::Going | Phase::Stopping => true,
            Phase::Ended { .. } => false,
        }
    }

    /// Whether a plan can be made that takes it back.
    ///
    /// # Errors
    /// Why not, in a few words.
    pub fn undoable(&self) -> Result<(), &'static str> {
        let Phase::Ended { summary, .. } = &self.phase else { return Err("the run goes on") };
        let steps = &self.plan.steps;
        if steps.iter().all(|step| matches!(step.write, Write::DeletePod { .. })) {
            return Err("a deletion cannot be undone");
        }
        if summary.done + summary.unknown == 0 {
            return Err("nothing was written");
        }
        if steps.iter().any(|step| matches!(step.undo, Undo::FromBackup | Undo::Delete)) {
            Ok(())
        } else {
            Err("nothing to put back")
        }
    }
}

/// A time in which Prow was broken, as far as this session saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    pub since: Option<Timestamp>,
    /// When it was first seen not to be broken any more.
    pub until: Option<Timestamp>,
    /// What users lost, as the verdict said.
    pub loss: Vec<String>,
    /// Roles of the components that were not ready.
    pub down: BTreeSet<String>,
}
