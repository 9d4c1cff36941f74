//! State of the Plan screen.

use std::sync::Arc;

use crate::model::Failure;
use crate::present::DiffLine;
use crate::repair::{Plan, Preview, Request};

#[derive(Debug, Clone)]
pub enum Planning {
    Empty,
    /// `again`: the request, for another try; undo plans have none.
    Making {
        title: String,
        again: Option<Request>,
    },
    Refused {
        title: String,
        failure: Failure,
        again: Option<Request>,
    },
    Ready(Box<PlanSheet>),
}

/// A plan on the Plan screen.
#[derive(Debug, Clone)]
pub struct PlanSheet {
    pub plan: Arc<Plan>,
    pub again: Option<Request>,
    pub dry_run: DryRun,
    pub pane: PlanPane,
    pub scroll: usize,
    /// What it would change, of all ConfigMaps in it.
    pub diff: Vec<DiffLine>,
    pub typed: String,
    /// Why the last try was refused.
    pub reply: Option<String>,
}

#[derive(Debug, Clone)]
pub enum DryRun {
    Asking,
    Answered(Arc<Preview>),
    Failed(Failure),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanPane {
    Summary,
    Diff,
    ByHand,
}
