//! Plain data that all rooms share: no I/O, no clock, no opinion.
//!
//! - [`source`]: `Source<T>`, the difference between "nothing there" and "could not see"
//! - [`object`]: names of things in clusters
//! - [`component`]: Prow's workloads and their pods
//! - [`configmap`]: ConfigMaps, live and as git asks for them
//! - [`mapping`]: what there is to know of how files become ConfigMaps
//! - [`prowjob`]: ProwJobs, without their specs
//! - [`prow_pod`]: the pods of jobs, and the warnings about them
//! - [`rollout`]: what ran when, and what runs by itself
//! - [`snapshot`]: everything seen at one time
//! - [`failure`]: what went wrong, why, and what to do
//! - [`write`]: the few writes the program can make, and their guards
//! - [`last_loaded`]: contents that a repair can bring back without git
//! - [`event`]: what a run tells while it goes on
//!
//! To extend: add the field here first, then fill it in `observe`, then judge it in `diagnose`.

pub mod component;
pub mod configmap;
pub mod event;
pub mod failure;
pub mod last_loaded;
pub mod mapping;
pub mod object;
pub mod prow_pod;
pub mod prowjob;
pub mod rollout;
pub mod snapshot;
pub mod source;
pub mod text;
pub mod write;

pub use component::*;
pub use configmap::*;
pub use event::*;
pub use failure::*;
pub use last_loaded::*;
pub use mapping::*;
pub use object::*;
pub use prow_pod::*;
pub use prowjob::*;
pub use rollout::*;
pub use snapshot::*;
pub use source::Source;
pub use write::*;

pub use jiff::Timestamp;
