//! `--open`: the program itself on a bed that has just become ready.
//!
//! It runs as a process of its own, so that nothing the bed's children print reaches the screen: the example is
//! executed again with a hidden first argument.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::process::Command;

use crate::children::die_with_bed;

/// The hidden first argument.
pub const HIDDEN: &str = "program";

/// The program with these arguments.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let name = OsString::from("prow-breakglass");
    prow_breakglass::main_with_args(std::iter::once(name).chain(args).collect())
}

/// The arguments that lead the program to a bed.
pub fn arguments(bed: &Value) -> Vec<String> {
    let mut args = Vec::new();
    for (flag, key) in [("--kubeconfig", "kubeconfig"), ("--context", "context"), ("--repo", "repository")] {
        args.push(flag.to_owned());
        args.push(bed[key].as_str().unwrap_or_default().to_owned());
    }
    // What is done to a bed is no business of the user's own journal, and goes with the bed.
    args.extend(["--journal".to_owned(), format!("{}/journal", bed["dir"].as_str().unwrap_or_default())]);
    args
}

/// Runs the program in this terminal until it ends.
pub async fn open(bed: &Value, more: &[OsString]) -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(HIDDEN).args(arguments(bed)).args(more);
    // It has to stay in the terminal's foreground group, unlike the bed's other children.
    die_with_bed(&mut command).spawn().context("open the program")?.wait().await?;
    Ok(())
}
