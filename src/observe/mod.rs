//! Assembles Snapshots.

pub mod desired;
