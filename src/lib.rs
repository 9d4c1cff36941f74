//! `prow-breakglass`: what the oncall of a Prow deployment opens when Prow itself is broken.
//!
//! The rooms of the house tell an incident: observe, diagnose, repair, run, record. Data flows one way:
//!
//! ```text
//! cluster watches + git tree
//!   -> Snapshot                                observe  (uses cluster, git, prow)
//!   -> diagnose(&Snapshot) -> Diagnosis        pure
//!   -> plan(&Request, &Snapshot) -> Plan       pure, or a Refusal
//!   -> preview(&Plan) -> Preview               the server's dry run
//!   -> approve(plan, &Preview, typed words)    pure; the only maker of an ApprovedPlan
//!   -> run(ApprovedPlan) -> RunEvent...        guarded, journalled
//!   -> the next Snapshot proves the finding gone
//! ```
//!
//! | Room | Purpose |
//! |---|---|
//! | [`model`] | plain data that all rooms share |
//! | [`prow`] | Prow's own rules, pure |
//! | [`diagnose`] | Snapshot to findings, verdict and pulse; one file a detector |
//! | [`repair`] | Snapshot and request to Plan or Refusal; one file a repair |
//! | [`clock`] | the time that the program goes by |
//! | [`cluster`] | the API server: connect, watch, read, classify errors, the one write gate |
//! | [`git`] | revisions and files of the configuration repository |
//! | [`check`] | Prow's own checkconfig on this machine |
//! | [`observe`] | assembles Snapshots: sources, ages, heartbeats |
//! | [`run`] | previews and runs any Plan |
//! | [`journal`] | write-ahead records, backups |
//! | [`present`] | the only wording, and the JSON shapes |
//! | [`drill`] | drills: files to worlds, their colleagues, judges and scores |
//! | [`sim`] | a simulated Prow beneath the client, for drills and tests |
//! | [`cli`], [`tui`] | the two front ends |
//!
//! `tests/rooms.rs` holds which room may import which.

pub mod check;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod diagnose;
pub mod drill;
pub mod git;
pub mod journal;
pub mod model;
pub mod observe;
pub mod present;
pub mod prow;
pub mod repair;
pub mod run;
pub mod sim;
pub mod tui;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program with the given arguments (the first is the program's name) and returns its exit code.
///
/// The binary is this function and nothing else; the test bed calls it too, so that one command can start a bed and
/// open the program on it.
pub fn main_with_args(args: Vec<OsString>) -> ExitCode {
    cli::main(args)
}
