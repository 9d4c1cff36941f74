//! State of the Plan screen.

use std::sync::Arc;

use crate::model::{CHECKCONFIG, Failure, Snapshot};
use crate::present::DiffLine;
use crate::repair::{Plan, Preview, RepairId, Request};

#[derive(Debug, Clone)]
pub enum Planning {
    Empty,
    /// `again`: the request, for another try; undo plans have none.
    Making {
        title: String,
        again: Option<Request>,
        stage: Stage,
    },
    Refused {
        title: String,
        failure: Failure,
        again: Option<Request>,
    },
    Ready(Box<PlanSheet>),
}

/// How far the making of a plan came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// What is being read for the first time may change the plan: it is waited for, so many seconds more.
    Waiting {
        seconds: u8,
    },
    Asked,
}

/// What is being read that a plan waits for: all but the word of a checkconfig, which is about `sync-config` alone.
pub fn awaited(request: &Request, snapshot: &Snapshot) -> Vec<String> {
    let matters = |name: &&String| request.repair == RepairId::SyncConfig || *name != CHECKCONFIG;
    snapshot.reading.iter().filter(matters).cloned().collect()
}

/// A plan on the Plan screen.
#[derive(Debug, Clone)]
pub struct PlanSheet {
    pub plan: Arc<Plan>,
    pub again: Option<Request>,
    pub dry_run: DryRun,
    pub pane: PlanPane,
    pub scroll: usize,
    /// What it would change, of all ConfigMaps and images in it. Empty where it only deletes: then there is no such pane.
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

impl PlanSheet {
    /// In the order of Tab.
    pub fn panes(&self) -> &'static [PlanPane] {
        if self.diff.is_empty() {
            &[PlanPane::Summary, PlanPane::ByHand]
        } else {
            &[PlanPane::Summary, PlanPane::Diff, PlanPane::ByHand]
        }
    }
}
