//! Snapshot to findings, verdict and pulse. Pure.

mod finding;

pub use finding::*;

use crate::model::Snapshot;

/// Whether what a plan promised holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyState {
    Holds,
    NotYet { what: String },
}

pub fn verify(_plan: &crate::repair::Plan, _snapshot: &Snapshot) -> VerifyState {
    VerifyState::NotYet { what: "hook 0/2".into() }
}

pub fn diagnose(_: &Snapshot) -> Diagnosis {
    unimplemented!()
}
