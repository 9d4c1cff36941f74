//! What can happen, and what may come of it.

use std::sync::Arc;

use crate::diagnose::Diagnosis;
use crate::model::{Failure, RunEvent, Snapshot, Timestamp};
use crate::present::Comparison;
use crate::repair::{ApprovedPlan, Plan, Preview, Request};

use super::app::{DiffOf, Drill, Observation, Screen};

/// Everything that changes an [`App`](super::App).
#[derive(Debug, Clone)]
pub enum Msg {
    /// The time, once a second. The only clock that `update` knows.
    Tick(Timestamp),
    /// A newer picture of the clusters.
    Observed(Arc<Snapshot>, Arc<Diagnosis>),
    /// A key with a meaning of its own.
    Command(Command),
    /// A character for the field that has the focus.
    Type(char),
    /// Backspace in the field.
    Erase,
    /// Ctrl-U in the field.
    EraseAll,
    /// Enter in the field.
    Submit,
    Paste(String),
    /// The plan asked for with this ticket, or why there is none.
    Planned {
        ticket: u64,
        plan: Result<Box<Plan>, Failure>,
    },
    /// The server's dry run of the plan with this digest.
    Previewed {
        digest: String,
        preview: Result<Preview, Failure>,
    },
    /// Both sides of a key, compared.
    Compared {
        of: DiffOf,
        comparison: Arc<Comparison>,
    },
    Run(RunEvent),
    /// Something beside the matter failed; the person should know as long as the program runs.
    Note(Failure),
    Resized(u16, u16),
    /// The app as it is now was drawn.
    Drawn,
    Signal(Signal),
    /// How the drill stands now.
    Drill(Drill),
    /// What the drill's Deck answered.
    Deck(String),
}

/// What a key means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    Show(Screen),
    NextPane,
    PreviousPane,
    Up,
    Down,
    PageUp,
    PageDown,
    Top,
    Bottom,
    Open,
    Back,
    Filter,
    Help,
    Log,
    Diff,
    /// Both sides of a diff: below each other, or side by side.
    Turn,
    MoreContext,
    LessContext,
    NextChange,
    PreviousChange,
    Search,
    NextMatch,
    PreviousMatch,
    Left,
    Right,
    Plan,
    /// A plan that writes what was last seen loaded.
    LastLoaded,
    /// Whether a plan removes keys that git does not know as well.
    TogglePrune,
    Undo,
    /// Whether a plan deletes strays that run as well.
    ToggleRunning,
    /// What strays are grouped by.
    GroupBy,
    Arm,
    Freeze,
    /// The time of a drill: held, or let go on.
    Hold,
    /// What a person would abort in Deck; in a drill, Deck is this key.
    Abort,
    Refresh,
    Copy,
    Suspend,
    Interrupt,
    Quit,
    /// `y` to a question; never the key that asked it.
    Agree,
}

/// Signals that end the program in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Interrupt,
    Terminate,
    HangUp,
    /// SIGQUIT.
    Abort,
}

/// Why the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Quit,
    Interrupted,
    Terminated,
    HungUp,
    Aborted,
}

impl Exit {
    /// 0, or what a shell reports for the signal.
    pub fn code(self) -> u8 {
        match self {
            Exit::Quit => 0,
            Exit::HungUp => 129,
            Exit::Interrupted => 130,
            Exit::Aborted => 131,
            Exit::Terminated => 143,
        }
    }
}

impl From<Signal> for Exit {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Interrupt => Exit::Interrupted,
            Signal::Terminate => Exit::Terminated,
            Signal::HangUp => Exit::HungUp,
            Signal::Abort => Exit::Aborted,
        }
    }
}

/// What `update` asks of the runtime.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Make a plan from this picture.
    Plan {
        ticket: u64,
        request: Request,
        snapshot: Arc<Snapshot>,
        diagnosis: Arc<Diagnosis>,
    },
    /// Make the plan that undoes a run.
    PlanUndo {
        ticket: u64,
        run: String,
    },
    /// Ask the server for its dry run.
    Preview(Arc<Plan>),
    /// Compare both sides of a key, which takes longer than a frame may.
    Compare {
        of: DiffOf,
        seen: Observation,
    },
    /// Run it. The only effect that writes to a cluster.
    Start {
        plan: Box<ApprovedPlan>,
        who: String,
    },
    /// Stop after the object in flight.
    StopRun {
        why: String,
    },
    /// Note in the journal that a run's promise was seen to hold.
    Verified {
        run: String,
        detail: String,
    },
    /// Read everything again now.
    Refresh,
    /// Hold the time of the drill, or let it go on.
    Hold,
    /// Abort these jobs in the drill's Deck: an act of the person's, and none of the program's.
    Abort(Vec<String>),
    /// Put text on the terminal's clipboard (OSC 52).
    Copy(String),
    /// Give the terminal back to the shell until `fg`.
    Suspend,
    Quit(Exit),
}

impl Effect {
    /// True for what may change a cluster.
    pub fn writes(&self) -> bool {
        match self {
            Effect::Start { .. } => true,
            Effect::Plan { .. }
            | Effect::PlanUndo { .. }
            | Effect::Preview(_)
            | Effect::Compare { .. }
            | Effect::StopRun { .. }
            | Effect::Verified { .. }
            | Effect::Refresh
            | Effect::Hold
            | Effect::Abort(_)
            | Effect::Copy(_)
            | Effect::Suspend
            | Effect::Quit(_) => false,
        }
    }
}
