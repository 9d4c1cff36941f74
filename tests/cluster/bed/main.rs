//! The test bed: a real Kubernetes control plane with a real Prow in it, healthy or in the middle of an outage.
//!
//! By hand, `cargo run --example bed -- 2019-01-23` stays until Ctrl-C and says how to look at it;
//! `… -- 2019-01-23 --open` opens the program on it. Tests start the same example with `--stdin` (`handle.rs`) and
//! steer it by lines (`commands.rs`). What there is to extend:
//!
//! - an incident: `incidents.rs`, `layout.rs` and `stories.rs`;
//! - what an image tag stands for: `kubelet/images.rs`;
//! - a component of Prow: `prow_objects.rs`;
//! - a user with other rights: `users.rs`;
//! - a version of Kubernetes, etcd, KWOK or Prow: `go/` and `binaries.rs`.
//!
//! The bed knows nothing of the program's modules: it is the outside world.

mod api;
mod bed;
mod binaries;
mod bump;
mod certs;
mod children;
mod cluster;
mod commands;
mod control_plane;
mod github_stub;
mod incidents;
mod kubelet;
mod layout;
mod neighbours;
mod program;
mod prow_jobs;
mod prow_objects;
mod repository;
mod stories;
mod stray_jobs;
mod upload;
mod users;
mod workspace;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use bed::{Bed, Wishes};
use incidents::{INCIDENTS, Incident};
use kubelet::JobsTake;
use workspace::Workspace;

/// Starts a Prow of one's own, with an incident in it.
#[derive(Parser)]
#[command(name = "bed")]
struct Options {
    /// healthy, 2019-01-23, 2019-02-05, bad-plugins or rollback-fast
    #[arg(default_value = "healthy")]
    incident: String,
    /// Only build the programs that are missing
    #[arg(long)]
    build: bool,
    /// Only build this program, and print where it is
    #[arg(long)]
    program: Option<String>,
    /// Take commands from stdin, answer with lines of JSON, end with stdin
    #[arg(long)]
    stdin: bool,
    /// Multiply the kubelet's back-off by this
    #[arg(long, default_value_t = 1.0)]
    back_off_factor: f64,
    /// Unfinished jobs of 2019-02-05; there were 415
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u16).range(12..=1000))]
    jobs: u16,
    /// How long a job's pod of 2019-02-05 runs, once it runs
    #[arg(long, default_value_t = 3600)]
    job_seconds: u64,
    /// The same for jobs that need no Secret; as long as the others, unless given
    #[arg(long)]
    trivial_job_seconds: Option<u64>,
    /// Open the program on the bed, with these further arguments
    #[arg(long, num_args = 0.., allow_hyphen_values = true, value_name = "ARGS")]
    open: Option<Vec<OsString>>,
}

/// The exit code that says: the programs cannot be built here.
const CANNOT_BUILD: u8 = 3;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.next_if(|first| first == program::HIDDEN).is_some() {
        return program::main(args.collect());
    }
    let options = Options::parse();
    // One thread, the main one: children die with the thread that started them.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bed: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut workspace = None;
    let outcome = runtime.block_on(run(&options, &mut workspace));
    // Kills what still runs; only then its files may go.
    drop(runtime);
    drop(workspace);
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options, workspace: &mut Option<Workspace>) -> Result<ExitCode> {
    let mut input = options.stdin.then(read_lines);
    tokio::select! {
        outcome = work(options, workspace, &mut input) => outcome,
        outcome = interrupted(options.open.is_some()) => outcome.map(|()| ExitCode::from(130)),
    }
}

/// Comes with SIGTERM or SIGHUP, and with SIGINT unless the terminal is the program's.
async fn interrupted(opened: bool) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => if !opened { return Ok(()) },
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
        }
    }
}

type Lines = mpsc::UnboundedReceiver<String>;

/// Lines of stdin; the channel ends with it. A thread of its own, because it ends only with the process.
fn read_lines() -> Lines {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn work(options: &Options, workspace: &mut Option<Workspace>, input: &mut Option<Lines>) -> Result<ExitCode> {
    if let Some(program) = &options.program {
        return Ok(match binaries::Binaries::provide_one(program).await {
            Ok(path) => {
                println!("{}", path.display());
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("bed: {error:#}");
                ExitCode::from(CANNOT_BUILD)
            }
        });
    }
    if let Err(error) = unless_ended(input, binaries::Binaries::provide()).await {
        if options.stdin {
            say(&json!({ "ready": false, "cannotBuild": format!("{error:#}") }))?;
        }
        eprintln!("bed: {error:#}");
        return Ok(ExitCode::from(CANNOT_BUILD));
    }
    if options.build {
        return Ok(ExitCode::SUCCESS);
    }
    let incident = INCIDENTS.iter().find(|incident| incident.name == options.incident).with_context(|| {
        let names: Vec<&str> = INCIDENTS.iter().map(|incident| incident.name).collect();
        format!("no incident {:?}; there are {}", options.incident, names.join(", "))
    })?;
    let dir = workspace.insert(Workspace::create()?).path();
    let start = async {
        let wishes = Wishes {
            back_off_factor: options.back_off_factor,
            jobs: options.jobs.into(),
            jobs_take: JobsTake {
                usually: Duration::from_secs(options.job_seconds),
                without_mounts: Duration::from_secs(options.trivial_job_seconds.unwrap_or(options.job_seconds)),
            },
        };
        let mut bed = Bed::start(&dir, incident.layout, &wishes).await?;
        incidents::bring_about(incident, &mut bed, &wishes).await?;
        Ok(bed)
    };
    let mut bed = match unless_ended(input, start).await {
        Ok(bed) => bed,
        Err(error) => {
            if options.stdin {
                say(&json!({ "ready": false, "error": format!("{error:#}") }))?;
            }
            return Err(error);
        }
    };
    let description = bed.describe(incident.name).await?;
    if let Some(input) = input {
        say(&description)?;
        while let Some(line) = input.recv().await {
            let Some(answer) = commands::obey(&mut bed, &line).await else {
                break;
            };
            say(&answer)?;
        }
    } else if let Some(more) = &options.open {
        program::open(&description, more).await?;
    } else {
        println!("{}", greeting(incident, &description));
        // Until a signal ends the whole.
        std::future::pending::<()>().await;
    }
    bed.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// What comes first: the work, or the end of stdin, which means that nobody wants it any more.
async fn unless_ended<T>(input: &mut Option<Lines>, work: impl Future<Output = Result<T>>) -> Result<T> {
    let ended = async {
        match input {
            // Commands before readiness are a mistake of the caller and dropped.
            Some(lines) => while lines.recv().await.is_some() {},
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        outcome = work => outcome,
        () = ended => anyhow::bail!("stdin ended before the bed was ready"),
    }
}

fn say(line: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

fn greeting(incident: &Incident, bed: &Value) -> String {
    let arguments = program::arguments(bed).join(" ");
    let text = |key: &str| bed[key].as_str().unwrap_or_default().to_owned();
    format!(
        "{}: {}\n\n  prow-breakglass {arguments}\n  kubectl --kubeconfig {} -n {} get pods\n\n\
         Other users are in {}, the audit log is {}.\nCtrl-C ends it.",
        incident.name,
        incident.summary,
        text("kubeconfig"),
        text("prowNamespace"),
        text("kubeconfigs"),
        text("auditLog"),
    )
}
