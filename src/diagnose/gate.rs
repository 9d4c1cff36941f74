//! When strays may be deleted: not before the cause is gone, or the real prow-controller-manager makes them again or ends their
//! jobs.

use crate::model::{Snapshot, Timestamp};

use super::Strays;

/// So many good pods since the repaired prow-controller-manager is ready make the proof.
pub const GOOD_PODS: usize = 3;

/// Whether strays may be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateState {
    Open(GateFacts),
    Closed {
        facts: GateFacts,
        /// A lower-case fragment: `pods still go astray: the newest one is 12 s old`.
        why: String,
        /// What to do next.
        next: String,
    },
}

impl GateState {
    pub fn facts(&self) -> &GateFacts {
        match self {
            GateState::Open(facts) | GateState::Closed { facts, .. } => facts,
        }
    }

    pub fn is_open(&self) -> bool {
        match self {
            GateState::Open(_) => true,
            GateState::Closed { .. } => false,
        }
    }
}

/// What the gate looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GateFacts {
    /// Since when prow-controller-manager, as it is now, is ready.
    pub ready_at: Option<Timestamp>,
    /// Its tag.
    pub tag: Option<String>,
    pub newest_stray: Option<Timestamp>,
    /// Pods of this Prow's jobs that came to the right place since.
    pub good_pods: usize,
    /// How many are wanted: [`GOOD_PODS`].
    pub wanted: usize,
}

/// Judges whether strays may be deleted. Pure; for `plan delete-strays` and for a chain that waits.
pub fn delete_gate(_snapshot: &Snapshot, _strays: &Strays) -> GateState {
    GateState::Closed {
        facts: GateFacts { wanted: GOOD_PODS, ..GateFacts::default() },
        why: "nothing is known yet".to_owned(),
        next: "wait for the first answer".to_owned(),
    }
}
