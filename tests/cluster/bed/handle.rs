//! A bed as a test holds it: started as a process, steered by lines, stopped when dropped.
//!
//! ```ignore
//! let Some(mut bed) = Bed::start("2019-01-23") else { return }; // loudly skipped where Go is missing
//! let before = bed.audit();
//! bed.command("merge fix");
//! ```
//!
//! The process is the example `bed`, which `cargo test` builds along; it lies beside the test's own folder.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::audit;

/// Building everything from nothing takes about a quarter of an hour on two cores, and another builder may be first.
const READY_WITHIN: Duration = Duration::from_secs(45 * 60);
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Beds of one test binary at a time: each takes 400 MiB, and more of them make two cores miss their probes.
const AT_ONCE: usize = 2;
static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// The right to run a number of beds, until dropped.
struct Places(usize);

impl Places {
    /// Waits until there are so many. All at once: who waits for a second one while holding the first may wait forever.
    fn take(wanted: usize) -> Self {
        let running = ENDED.wait_while(running(), |running| *running + wanted > AT_ONCE);
        *running.unwrap_or_else(PoisonError::into_inner) += wanted;
        Places(wanted)
    }

    /// Half of two places.
    fn split(mut self) -> (Self, Self) {
        self.0 -= 1;
        (self, Places(1))
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        *running() -= self.0;
        ENDED.notify_all();
    }
}

fn running() -> MutexGuard<'static, usize> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a bed is started.
pub struct Options<'a> {
    pub incident: &'a str,
    /// The kubelet's back-off takes this fraction of its real time.
    pub back_off_factor: f64,
}

impl Options<'_> {
    fn arguments(&self) -> Vec<String> {
        vec![self.incident.to_owned(), format!("--back-off-factor={}", self.back_off_factor)]
    }
}

/// A running bed.
pub struct Bed {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// The line of readiness: see `Bed::describe` in `bed.rs`.
    pub facts: Value,
    /// Dropped after the process has ended.
    _places: Places,
}

impl Bed {
    /// A bed whose back-off is ten times faster than life. `None` where the programs cannot be built; in CI that is
    /// a failure.
    pub fn start(incident: &str) -> Option<Self> {
        Self::start_with(&Options { incident, back_off_factor: 0.1 })
    }

    /// Two beds, for tests that confuse them.
    pub fn start_pair(first: &str, second: &str) -> Option<(Self, Self)> {
        let (one, other) = Places::take(2).split();
        let options = |incident| Options { incident, back_off_factor: 0.1 }.arguments();
        Some((Self::start_in(one, options(first))?, Self::start_in(other, options(second))?))
    }

    /// The incident of 2019-02-05 with so many unfinished jobs, whose pods run for so long once they run. It counts as
    /// two beds.
    pub fn start_with_strays(jobs: usize, job_seconds: u64) -> Option<Self> {
        let mut arguments = Options { incident: "2019-02-05", back_off_factor: 0.1 }.arguments();
        arguments.extend([format!("--jobs={jobs}"), format!("--job-seconds={job_seconds}")]);
        Self::start_in(Places::take(2), arguments)
    }

    /// The incident of 2019-02-05 as its drill has it when the oncall comes: the jobs that start anywhere have ended.
    pub fn start_with_ended_trivia(jobs: usize) -> Option<Self> {
        let mut arguments = Options { incident: "2019-02-05", back_off_factor: 0.1 }.arguments();
        arguments.extend([format!("--jobs={jobs}"), "--trivial-job-seconds=1".to_owned()]);
        Self::start_in(Places::take(2), arguments)
    }

    /// As [`Bed::start`], with other options. Waits while two others run in this test binary.
    ///
    /// # Panics
    /// When the bed does not come up.
    pub fn start_with(options: &Options<'_>) -> Option<Self> {
        Self::start_in(Places::take(if options.incident == "2019-02-05" { 2 } else { 1 }), options.arguments())
    }

    fn start_in(places: Places, arguments: Vec<String>) -> Option<Self> {
        let program = example();
        let mut child = Command::new(&program)
            .args(arguments)
            .arg("--stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", program.display()));
        let input = child.stdin.take();
        let out = child.stdout.take().expect("stdout is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut bed = Self { child, input, lines, facts: Value::Null, _places: places };
        let facts = bed.line(READY_WITHIN);
        if let Some(reason) = facts["cannotBuild"].as_str() {
            assert!(std::env::var_os("CI").is_none(), "the bed's programs cannot be built: {reason}");
            eprintln!("\n*** SKIPPED: the bed's programs cannot be built here: {reason}\n");
            return None;
        }
        assert_eq!(facts["ready"], true, "the bed did not come up: {facts}");
        bed.facts = facts;
        Some(bed)
    }

    fn line(&mut self, within: Duration) -> Value {
        match self.lines.recv_timeout(within) {
            Ok(line) => serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in the bed's line {line}")),
            Err(RecvTimeoutError::Timeout) => panic!("the bed was silent for {} s", within.as_secs()),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("the bed has ended: {:?}", self.child.wait())
            }
        }
    }

    /// Sends a command (`commands.rs` has them all) and gives back its answer.
    ///
    /// # Panics
    /// When the bed refuses it.
    pub fn command(&mut self, command: &str) -> Value {
        let input = self.input.as_mut().expect("the bed's stdin is open until it is dropped");
        writeln!(input, "{command}").unwrap_or_else(|error| panic!("send {command:?} to the bed: {error}"));
        let answer = self.line(ANSWER_WITHIN);
        assert_eq!(answer["ok"], true, "the bed refused {command:?}: {answer}");
        answer
    }

    /// Merges what happened next (`revert`, `fix`) and pulls; gives back its revision.
    pub fn merge(&mut self, commit: &str) -> String {
        let answer = self.command(&format!("merge {commit}"));
        answer[format!("{commit}Revision")].as_str().unwrap_or_default().to_owned()
    }

    /// Stops everybody who writes unasked: the controllers, KWOK, the kubelet, horologium and crier. What goes on are the
    /// Leases that prow-controller-manager and sinker renew.
    pub fn pause_controllers(&mut self) {
        self.command("pause-controllers");
    }

    pub fn resume_controllers(&mut self) {
        self.command("resume-controllers");
    }

    /// The API server accepts connections and never answers.
    pub fn freeze_api_server(&mut self) {
        self.command("freeze-apiserver");
    }

    pub fn thaw_api_server(&mut self) {
        self.command("thaw-apiserver");
    }

    /// The API server refuses connections.
    pub fn stop_api_server(&mut self) {
        self.command("stop-apiserver");
    }

    /// It is back at the same address.
    pub fn start_api_server(&mut self) {
        self.command("start-apiserver");
    }

    /// As [`Bed::freeze_api_server`], for a cluster by name: `service` or `build`.
    pub fn freeze_api_server_of(&mut self, cluster: &str) {
        self.command(&format!("freeze-apiserver {cluster}"));
    }

    pub fn thaw_api_server_of(&mut self, cluster: &str) {
        self.command(&format!("thaw-apiserver {cluster}"));
    }

    /// As [`Bed::stop_api_server`], for a cluster by name.
    pub fn stop_api_server_of(&mut self, cluster: &str) {
        self.command(&format!("stop-apiserver {cluster}"));
    }

    pub fn start_api_server_of(&mut self, cluster: &str) {
        self.command(&format!("start-apiserver {cluster}"));
    }

    /// Brings all components to a tag, and waits until they are there: so one bed serves many rollbacks.
    pub fn deploy(&mut self, tag: &str) {
        self.command(&format!("deploy {tag}"));
    }

    /// From now on nodes cannot pull a tag, or one image given as `BASE:TAG`; what runs already goes on.
    pub fn make_unpullable(&mut self, what: &str) {
        self.command(&format!("make-unpullable {what}"));
    }

    /// They can again, also for pods that wait for it.
    pub fn make_pullable(&mut self, what: &str) {
        self.command(&format!("make-pullable {what}"));
    }

    /// Somebody edits a ConfigMap in Prow's namespace by hand.
    pub fn write_config_map(&mut self, name: &str, key: &str) {
        self.command(&format!("write-configmap {name} {key}"));
    }

    /// A text of the line of readiness.
    pub fn fact(&self, name: &str) -> &str {
        self.facts[name].as_str().unwrap_or_else(|| panic!("the bed said nothing of {name}: {}", self.facts))
    }

    /// A number of the line of readiness, at this JSON pointer: `/strays/default`.
    pub fn number(&self, pointer: &str) -> usize {
        let number =
            self.facts.pointer(pointer).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
        number.unwrap_or_else(|| panic!("the bed said nothing of {pointer}: {}", self.facts))
    }

    /// A text about the cluster that Prow's jobs know by this alias: `context`, `adminKubeconfig`, `auditLog`, `server`.
    pub fn fact_of(&self, alias: &str, name: &str) -> &str {
        let fact = self.facts["clusters"][alias][name].as_str();
        fact.unwrap_or_else(|| panic!("the bed said nothing of {name} of {alias}: {}", self.facts))
    }

    /// The requests that the server of this cluster has answered the tool's user.
    pub fn audit_of_oncall_in(&self, alias: &str) -> Vec<audit::Entry> {
        audit::read_of(Path::new(self.fact_of(alias, "auditLog")), self.fact("user"))
    }

    /// The oncall's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.fact("kubeconfig").into()
    }

    /// The kubeconfig of an oncall whom something ails: `no-logs`, `no-list-in-one-namespace`, `no-rollback`,
    /// `build-denied`, `expired-token`, `unreachable`, `build-unreachable`.
    pub fn kubeconfig_of(&self, variant: &str) -> PathBuf {
        Path::new(self.fact("kubeconfigs")).join(format!("{variant}.yaml"))
    }

    /// The bed's own kubeconfig, which may do everything: for looking behind the tool's back.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.fact("adminKubeconfig").into()
    }

    /// The deployed version's checkconfig.
    pub fn checkconfig(&self) -> PathBuf {
        self.fact("checkconfig").into()
    }

    /// The oncall's checkout.
    pub fn repository(&self) -> PathBuf {
        self.fact("repository").into()
    }

    /// All requests that the API server has answered so far.
    pub fn audit(&self) -> Vec<audit::Entry> {
        audit::read(Path::new(self.fact("auditLog")))
    }

    /// The requests of the tool's user.
    pub fn audit_of_oncall(&self) -> Vec<audit::Entry> {
        audit::read_of(Path::new(self.fact("auditLog")), self.fact("user"))
    }

    /// The bed's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9: what a crash of the test run does to it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap_or_else(|error| panic!("kill the bed: {error}"));
        self.child.wait().unwrap_or_else(|error| panic!("wait for the bed: {error}"));
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // The end of its stdin is what ends it.
        drop(self.input.take());
        let deadline = Instant::now() + STOP_WITHIN;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One of the bed's programs, without a bed. `None` where it cannot be built; in CI that is a failure.
pub fn program(name: &str) -> Option<PathBuf> {
    let output = Command::new(example()).args(["--program", name]).output().expect("start the bed");
    if output.status.success() {
        return Some(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()));
    }
    let reason = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(std::env::var_os("CI").is_none(), "{name} cannot be built: {reason}");
    eprintln!("\n*** SKIPPED: {name} cannot be built here: {reason}\n");
    None
}

/// The example's path; builds it where `cargo test --test cluster` has not.
fn example() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    // …/target/PROFILE/deps/cluster-HASH
    let profile = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
    let example = profile.join("examples").join("bed");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/bed");
    let built = example.metadata().and_then(|meta| meta.modified()).ok();
    if built.is_some_and(|built| newest(&sources).is_none_or(|newest| newest <= built)) {
        return example;
    }
    static BUILD: std::sync::Once = std::sync::Once::new();
    BUILD.call_once(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.args(["build", "--quiet", "--example", "bed", "--target-dir"]);
        cargo.arg(profile.parent().unwrap_or(profile));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        let status = cargo.status().expect("start cargo");
        assert!(status.success(), "cargo could not build the bed");
    });
    example
}

/// When a source of the bed was last changed.
fn newest(dir: &Path) -> Option<std::time::SystemTime> {
    let entries = std::fs::read_dir(dir).ok()?;
    let times = entries.flatten().filter_map(|entry| {
        let path = entry.path();
        if path.is_dir() { newest(&path) } else { path.metadata().and_then(|meta| meta.modified()).ok() }
    });
    times.max()
}
