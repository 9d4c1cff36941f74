//! Snapshot to findings, verdict and pulse. Pure.

mod finding;

pub use finding::*;
