//! Everything that needs a real API server and a real Prow: see `bed/main.rs` for what that is.
//!
//! A test starts a bed of its own through [`bed::Bed`]; several may run at once.

/// The test bed from a test's side.
#[allow(dead_code, reason = "each test takes what it needs of the handle")]
mod bed {
    #[path = "../bed/audit.rs"]
    pub mod audit;
    #[path = "../bed/handle.rs"]
    pub mod handle;

    pub use handle::Bed;
}

mod agree;
mod big_repository;
mod bootstrapper;
mod check;
mod check_job;
mod config_speed;
// Faults are of debug builds.
#[cfg(debug_assertions)]
mod crash;
mod failures;
mod limits;
#[path = "../support/memory.rs"]
mod memory;
mod outage;
mod preview;
#[cfg(debug_assertions)]
mod race;
#[cfg(debug_assertions)]
mod rollback_faults;
mod screens;
mod smoke;
mod smoke_strays;
mod strays;
#[cfg(debug_assertions)]
mod strays_faults;
mod strays_screens;
mod strays_support;
mod support;
mod surprise;
#[cfg(debug_assertions)]
mod sync_config;
mod terminal;
mod zglob;
