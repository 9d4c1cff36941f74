//! The command line: arguments, exit codes, one file a subcommand. Data goes to stdout, words to stderr.
//!
//! To add a subcommand: a variant of [`args::Command`], a file here with a `run` function that returns an exit code, and a
//! line in [`dispatch`].

mod apply;
mod args;
mod blame;
mod check;
mod checking;
mod config;
mod config_diff;
mod drill;
mod in_cluster;
mod memory;
mod output;
mod plan;
mod plan_file;
mod runs;
mod session;
mod signals;
mod stage;
mod status;
mod strays;
#[cfg(test)]
mod testing;
mod tui;
mod undo;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory as _, FromArgMatches as _};

use crate::model::{Failure, FailureKind};

use args::{Args, Command, ConfigCommand, Global, RunCommand};

/// What a subcommand ends with: an exit code of the contract, or a failure that has one.
type Exit = Result<u8, Failure>;

/// Parses, runs, reports. The only place that turns failures into exit codes.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let mut args = match parse(args) {
        Ok(args) => args,
        Err(error) => {
            // clap words its own errors well; help and version are no errors.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let runtime = match runtime(&args) {
        Ok(runtime) => runtime,
        Err(error) => {
            return report(&Failure::new(FailureKind::Tool, "cannot start the runtime").cause(error.to_string()));
        }
    };
    let Args { global, command } = &mut args;
    let result = runtime.block_on(dispatch(global, command.as_ref()));
    // Watches may be in the middle of a request; nobody waits for them.
    runtime.shutdown_background();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            refusal_document(args.global.output, &failure);
            report(&failure)
        }
    }
}

/// A refusal as a document on stdout, for whoever asked for documents; the words go to stderr as always. Where the command
/// printed its document before it failed (a preview that the server refuses), that one tells more, and stays the only one.
fn refusal_document(format: args::Format, failure: &Failure) {
    if format != args::Format::Text && !output::has_written() {
        let document = || crate::present::refusal_document(failure);
        // What cannot be encoded is still said in words.
        let _ = output::document(format, document, String::new);
    }
}

/// A script's time is virtual: it passes when nobody has anything to do, on one thread, and so the same way each time. A drill
/// for a person has one thread beside the screen's: its servers are in this very process, and memory that one thread has freed
/// is not given to another.
fn runtime(args: &Args) -> std::io::Result<tokio::runtime::Runtime> {
    match &args.command {
        Some(Command::Drill(drill)) if drill.script.is_some() => {
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()
        }
        Some(Command::Drill(_)) => tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build(),
        Some(_) | None => tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build(),
    }
}

fn parse(args: Vec<OsString>) -> Result<Args, clap::Error> {
    let mut command = Args::command();
    // As a kubectl plugin the program is called by another name; its usage should say what the person typed.
    let called = args.first().map(|arg| arg.to_string_lossy().into_owned()).unwrap_or_default();
    if called.rsplit('/').next().is_some_and(|name| name.starts_with("kubectl-")) {
        command = command.bin_name("kubectl prow-breakglass");
    }
    let matches = command.clone().try_get_matches_from(args)?;
    let mut args = Args::from_arg_matches(&matches)?;
    // A drill's runs belong into a real journal only where somebody says so here and now.
    if let Some(drill) = matches.subcommand_matches("drill")
        && drill.value_source("journal") != Some(ValueSource::CommandLine)
    {
        args.global.journal = None;
    }
    match args::contradiction(&args.global.build_context) {
        None => Ok(args),
        Some(words) => Err(command.error(clap::error::ErrorKind::ArgumentConflict, words)),
    }
}

fn report(failure: &Failure) -> ExitCode {
    output::words(&crate::present::failure(failure).join("\n"));
    ExitCode::from(failure.kind.exit_code())
}

/// Refuses options that would change the answer, and that a command does not heed. Those that say where things are, such as a
/// cluster's, are taken everywhere: who has them in an alias should not have to take them out.
fn refuse_unheeded(global: &Global, command: Option<&Command>) -> Result<(), Failure> {
    let refuse = |why: &str, hint: &str| Err(Failure::new(FailureKind::Usage, why.to_owned()).hint(hint.to_owned()));
    match command {
        Some(Command::Config(ConfigCommand::Blame { .. })) if global.worktree => refuse(
            "config blame judges commits, and --worktree is none",
            "leave --worktree out; config check --worktree judges the work tree",
        ),
        Some(_) | None if global.worktree && global.revision.is_some() => refuse(
            "--worktree and --revision name two things to read",
            "give one of them: --revision reads a commit, --worktree what lies in the checkout",
        ),
        Some(_) | None => Ok(()),
    }
}

async fn dispatch(global: &mut Global, command: Option<&Command>) -> Exit {
    refuse_unheeded(global, command)?;
    match command {
        None => tui::run(global).await,
        Some(Command::Status) => status::run(global).await,
        Some(Command::Strays) => strays::strays(global).await,
        Some(Command::History) => strays::history(global).await,
        Some(Command::Automation) => strays::automation(global).await,
        Some(Command::Config(ConfigCommand::Diff(diff))) => config_diff::run(global, diff).await,
        Some(Command::Config(ConfigCommand::Render)) => config::render(global).await,
        Some(Command::Config(ConfigCommand::Check { no_cluster })) => check::check(global, *no_cluster).await,
        Some(Command::Config(ConfigCommand::Blame { good, no_cluster })) => {
            blame::blame(global, good.as_deref(), *no_cluster).await
        }
        Some(Command::Plan(plan)) => plan::run(global, plan).await,
        Some(Command::Apply(apply)) => apply::run(global, apply).await,
        Some(Command::Undo(undo)) => undo::run(global, undo).await,
        Some(Command::Run(RunCommand::List)) => runs::list(global),
        Some(Command::Run(RunCommand::Show { run })) => runs::show(global, run),
        Some(Command::Run(RunCommand::Resume { run, write })) => runs::resume(global, run, write).await,
        Some(Command::Drill(args)) => drill::run(global, args).await,
        Some(Command::Version) => {
            output::data(&format!("prow-breakglass {}", env!("CARGO_PKG_VERSION")));
            Ok(0)
        }
    }
}
