//! Assembles Snapshots: sources, ages, heartbeats.
//!
//! - [`Observer`]: the handle on everything that looks
//! - `owner`: the task that owns what came in; `wanted`: which lists to keep; `heartbeat`: does the server still answer
//! - `raw`: what came in, list by list; [`assemble`]: the raw lists to a ClusterView, pure
//! - `logs`: which logs to read and what they said
//! - [`desired`]: the configuration repository; `repository`: when to read it again
//!
//! To extend: a list is an `impl Listed` in `cluster::watch`, a `wanted::ListId`, a field of `raw::Raw` and its place in
//! `assemble`.

pub mod assemble;
pub mod desired;
mod heartbeat;
mod logs;
mod observer;
mod owner;
mod raw;
mod repository;
mod wanted;

pub use desired::DesiredOptions;
pub use observer::{ObserveOptions, Observer};
