//! What a run tells while it goes on: one stream, read by the screen, the CLI and the journal alike.

use serde::{Deserialize, Serialize};

use super::{Failure, FailureKind, ObjectRef, Timestamp};

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Done,
    Failed,
    /// Left alone, and why is in `status`: the object is another one now, or already as wanted.
    Skipped,
    /// Sent, and the answer was lost. Never guessed: `run resume` reads back.
    Unknown,
}

impl Outcome {
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Failed => "failed",
            Outcome::Skipped => "skipped",
            Outcome::Unknown => "unknown",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum RunEvent {
    Started {
        run: String,
        title: String,
        steps: usize,
        at: Timestamp,
        journal: String,
    },
    /// The intent is on disk; the request goes out now.
    StepStarted {
        n: usize,
        object: ObjectRef,
        at: Timestamp,
    },
    StepEnded {
        n: usize,
        object: ObjectRef,
        outcome: Outcome,
        status: String,
        at: Timestamp,
    },
    /// Stopped between steps; `why` is a person's, a signal's or a guard's.
    Stopped {
        why: String,
        at: Timestamp,
    },
    Ended {
        at: Timestamp,
        summary: RunSummary,
    },
}

/// Counts of a run, and the first thing that went wrong.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunSummary {
    pub run: String,
    pub journal: String,
    pub done: usize,
    pub failed: usize,
    pub skipped: usize,
    pub unknown: usize,
    /// Steps that were not begun.
    pub left: usize,
    pub first_failure: Option<Failure>,
    /// A person or a signal stopped it before its last step.
    pub interrupted: bool,
}

impl RunSummary {
    /// 0 all done, 130 where somebody stopped it before its end, 4 partly, else the kind of the first failure.
    pub fn exit_code(&self) -> u8 {
        if self.interrupted && self.left > 0 {
            return FailureKind::Interrupted.exit_code();
        }
        if self.failed + self.unknown + self.left == 0 {
            return 0;
        }
        if self.done > 0 {
            return 4;
        }
        self.first_failure.as_ref().map_or(4, |failure| failure.kind.exit_code())
    }
}
