//! Assembles Snapshots: sources, ages, heartbeats.
//!
//! - [`Observer`]: the handle on everything that looks
//! - `owner`: the task that owns what came in; `wanted`: which lists to keep; `heartbeat`: does the server still answer
//! - `raw`: what came in, list by list; [`assemble`]: the raw lists to a ClusterView, pure
//! - `watched`: one cluster and the tasks that keep its lists; `builds`: the other clusters, and what proves whose they are
//! - `jobs`: the pods of jobs; `rollouts`: what ran when
//! - `logs`: which logs to read and what they said
//! - [`desired`]: the configuration repository; `repository`: when to read it again
//!
//! To extend: a list is an `impl Listed` in `cluster::watch`, a `wanted::ListId`, a field of `raw::Raw` and its place in
//! `assemble`.

pub mod aliases;
mod assemble;
mod builds;
pub mod desired;
mod heartbeat;
mod jobs;
mod logs;
mod observer;
mod owner;
mod raw;
mod repository;
mod rollouts;
mod wanted;
mod watched;

pub use builds::BuildContexts;
pub use desired::DesiredOptions;
pub use observer::{Interest, ObserveOptions, Observer};
