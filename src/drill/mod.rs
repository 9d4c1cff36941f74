//! Drills: a simulated Prow in the middle of an outage, for rehearsal, demonstration and tests.
//!
//! A drill is a file in `assets/drills/` and needs no Rust; `assets/drills/README.md` tells the format.
//!
//! - [`catalogue`]: which drills there are; [`file`]: their format
//! - `world`: a file to a [`World`](crate::sim::World) at the moment when the oncall comes; `manifests` and `jobs`: its objects;
//!   `variation`: how a draw of `surprise` differs
//! - [`Play`]: a drill that goes on: its clock, its colleagues, its end
//! - `judge`: is it healthy, judged from the world; `mistakes`: the world's log, read; [`score`]: what comes of it
//!
//! To extend: what a file can say is a field of [`file`] and its use in `world` or [`Play`]; a mistake is a place in `mistakes`.

pub mod catalogue;
pub mod file;
mod jobs;
mod judge;
mod manifests;
mod mistakes;
mod play;
pub mod score;
mod variation;
mod world;

pub use play::Play;
pub use score::{Scorecard, State};
