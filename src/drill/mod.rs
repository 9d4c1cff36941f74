//! Drills.
pub mod catalogue;
pub mod file;
mod jobs;
mod manifests;
