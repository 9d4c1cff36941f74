//! The simulated Prow: its rollouts and its rules by themselves, and the two outages of 2019 told, planned, run and proven by
//! the program through the same client as on real servers.

mod february;
mod january;
mod program;
mod rollouts;
mod rules;
mod sync;
mod worlds;
