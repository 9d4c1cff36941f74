//! `config diff` beside Prow's own config-bootstrapper, as whole processes on one bed and one repository, in turn. A
//! measurement, not a test of a change: it wants a quiet machine and the optimised program.
//!
//! ```text
//! cargo build --release && cargo test --test cluster config_speed -- --ignored --nocapture
//! ```

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bed::Bed;
use crate::big_repository::{BigRepository, JOBS};
use crate::bootstrapper::{SEED, seed};
use crate::support::{Admin, block_on};

/// Pairs of runs; the first, which warms up, is not counted.
const RUNS: usize = 20;
/// Of config-bootstrapper's time and memory, `config diff` shall take at most so much.
const TIME: f64 = 0.15;
const MEMORY: f64 = 0.3;

/// What a whole process took, its children (git) included.
#[derive(Debug, Clone, Copy)]
struct Took {
    wall: f64,
    cpu: f64,
    /// MiB, of the largest process.
    memory: f64,
}

#[test]
#[ignore = "a measurement: it wants a quiet machine and a release build"]
fn config_diff_is_faster_and_smaller_than_config_bootstrapper() {
    let Some(mut bed) = Bed::start("healthy") else { return };
    let (folder, journal) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let seed = seed();
    let repository = BigRepository::generate(folder.path(), seed);
    // Else a dozen components read it again and again on the processors that are measured.
    bed.pause_controllers();
    let (diff, bootstrapper) = (Diff::new(&bed, &repository, journal.path()), Bootstrapper::new(&bed, &repository));
    measure(bootstrapper.command(Loads::Jobs), 0);

    let admin = Admin::of(&bed);
    // Which nobody mounts: a change of a large one would fill the pipes to everybody who stands still, and the server waits.
    let path = "/api/v1/namespaces/prow/configmaps/label-config";
    println!("{SEED}={seed}; medians (least to most) of {RUNS} runs each, in turn");
    let mut too_much = Vec::new();
    let kept = tempfile::tempdir().expect("a folder");
    for (what, code, more, start, loads, most) in [
        ("in sync", 0, &[][..], Start::Again, Loads::Jobs, [TIME, MEMORY]),
        ("a key edited by hand", 1, &[], Start::Again, Loads::Jobs, [TIME, MEMORY]),
        ("the same, --revision HEAD", 1, &["--revision", "HEAD"], Start::Again, Loads::Jobs, [TIME, MEMORY]),
        // All of these files are read for the first time: of its time, nothing is demanded.
        ("in sync, with nothing kept", 0, &[], Start::First, Loads::Jobs, [f64::INFINITY, MEMORY]),
        // For who calls it without --job-config-path: it loads no jobs then, and nothing is demanded.
        ("beside one that loads no jobs", 0, &[], Start::Again, Loads::NoJobs, [f64::INFINITY; 2]),
    ] {
        let mut pairs = Vec::new();
        for _ in 0..=RUNS {
            if code == 1 {
                block_on(admin.patch(path, &json!({ "data": { "labels.yaml": "default: {}\n" } })));
            }
            let fresh = tempfile::tempdir().expect("a folder");
            let cache = match start {
                Start::First => fresh.path(),
                Start::Again => kept.path(),
            };
            let ours = measure(diff.command(more, cache), code);
            pairs.push((ours, measure(bootstrapper.command(loads), 0)));
        }
        let pairs = &pairs[1..];
        println!("\n{what}");
        type Figure = (&'static str, fn(&Took) -> f64, f64, usize);
        let figures: [Figure; 3] = [
            ("wall, ms", |took| took.wall * 1000.0, most[0], 0),
            ("CPU, ms", |took| took.cpu * 1000.0, f64::INFINITY, 0),
            ("memory, MiB", |took| took.memory, most[1], 1),
        ];
        for (name, of, most, digits) in figures {
            let ours = spread(pairs.iter().map(|(ours, _)| of(ours)).collect());
            let theirs = spread(pairs.iter().map(|(_, theirs)| of(theirs)).collect());
            let ratio = spread(pairs.iter().map(|(ours, theirs)| of(ours) / of(theirs)).collect());
            let words = |spread: [f64; 3], digits| {
                format!("{:.digits$} ({:.digits$} to {:.digits$})", spread[1], spread[0], spread[2])
            };
            let (ours, theirs, times) = (words(ours, digits), words(theirs, digits), words(ratio, 3));
            println!("  {name:12} config diff {ours:24} config-bootstrapper {theirs:26} ratio {times}");
            if ratio[1] > most {
                too_much.push(format!("{what}: {name} is {:.3} of config-bootstrapper's, more than {most}", ratio[1]));
            }
        }
    }
    assert!(too_much.is_empty(), "{}", too_much.join("\n"));
}

/// Least, median, most.
fn spread(mut figures: Vec<f64>) -> [f64; 3] {
    figures.sort_by(f64::total_cmp);
    [figures[0], figures[figures.len() / 2], figures[figures.len() - 1]]
}

struct Diff {
    program: PathBuf,
    args: Vec<String>,
}

impl Diff {
    fn new(bed: &Bed, repository: &BigRepository, journal: &Path) -> Self {
        let args = [
            ("--kubeconfig", bed.kubeconfig().display().to_string()),
            ("--context", bed.fact("context").to_owned()),
            ("--repo", repository.dir.display().to_string()),
            ("--journal", journal.display().to_string()),
        ];
        let args = args.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        Diff { program: optimised(), args }
    }

    /// `cache`: where it keeps what it read of the repository.
    fn command(&self, more: &[&str], cache: &Path) -> Command {
        let mut command = timed();
        command.env("XDG_CACHE_HOME", cache);
        command.arg(&self.program).args(["config", "diff"]).args(&self.args).args(more);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }
}

/// The release build beside the test's own.
fn optimised() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let target = test.ancestors().nth(3).expect("tests lie in target/PROFILE/deps");
    let program = target.join("release").join("prow-breakglass");
    assert!(program.exists(), "no {}: cargo build --release", program.display());
    program
}

/// Whether it has read these files before.
#[derive(Clone, Copy)]
enum Start {
    First,
    Again,
}

/// What config-bootstrapper loads before it writes.
#[derive(Clone, Copy)]
enum Loads {
    /// `--job-config-path`, as kubevirt and openshift call it.
    Jobs,
    NoJobs,
}

/// The real program, writing as ever: without `--dry-run=false` it refuses to start.
struct Bootstrapper {
    program: PathBuf,
    args: Vec<String>,
    jobs: String,
}

impl Bootstrapper {
    fn new(bed: &Bed, repository: &BigRepository) -> Self {
        let dir = repository.dir.display();
        let kubeconfig = Path::new(bed.fact("dir")).join("accounts").join("config-bootstrapper.kubeconfig");
        let args = vec![
            format!("--source-path={dir}"),
            format!("--config-path={dir}/config/prow/config.yaml"),
            format!("--plugin-config={dir}/config/prow/plugins.yaml"),
            format!("--kubeconfig={}", kubeconfig.display()),
            "--dry-run=false".to_owned(),
        ];
        let program = bed.checkconfig().with_file_name("config-bootstrapper");
        Bootstrapper { program, args, jobs: format!("--job-config-path={dir}/{JOBS}") }
    }

    fn command(&self, loads: Loads) -> Command {
        let mut command = timed();
        command.arg(&self.program).args(&self.args);
        match loads {
            Loads::Jobs => command.arg(&self.jobs),
            Loads::NoJobs => &mut command,
        };
        command
    }
}

/// GNU time with an empty environment: what the kernel accounts a process and its children with, on the last line of stderr.
fn timed() -> Command {
    let mut command = Command::new("/usr/bin/time");
    command.args(["--quiet", "--format=%U %S %M"]).env_clear().stdin(Stdio::null());
    command
}

/// Runs it to its end, which must be this one.
fn measure(mut command: Command, code: i32) -> Took {
    let begun = Instant::now();
    let output = command.output().expect("start /usr/bin/time (GNU time)");
    let wall: Duration = begun.elapsed();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{words}\n{}", String::from_utf8_lossy(&output.stdout));
    let figures: Vec<f64> = words
        .lines()
        .last()
        .into_iter()
        .flat_map(|line| line.split(' '))
        .filter_map(|word| word.parse().ok())
        .collect();
    let [user, system, kib] = figures[..] else { panic!("GNU time says {words}") };
    Took { wall: wall.as_secs_f64(), cpu: user + system, memory: kib / 1024.0 }
}
