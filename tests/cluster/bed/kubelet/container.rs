//! One container: its process, its log, its restarts with back-off.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container as Spec;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::{Notify, watch};

use super::Shared;
use super::images::{Misreads, Play, Program};
use super::probe::Probe;
use crate::children::{free_port, port_is_free, send, tie_to_bed};

const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);
/// A container that ran this long starts its back-off anew.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

const CONFIG_PATH: &str = "--config-path=";

/// How a run ended.
#[derive(Clone)]
pub struct Exit {
    pub code: i32,
    pub started: Timestamp,
    pub finished: Timestamp,
    pub run: u32,
}

#[derive(Clone)]
pub enum State {
    Waiting { reason: &'static str, message: Option<String> },
    Running { since: Timestamp },
    Terminated(Exit),
}

/// What the pod's status says of a container.
#[derive(Clone)]
pub struct Record {
    pub state: State,
    pub last: Option<Exit>,
    /// The number of the newest run, which is the number of restarts.
    pub run: u32,
    pub ready: bool,
    pid: Option<u32>,
}

/// A container of a pod on this node.
pub struct Container {
    pub spec: Spec,
    pub play: Play,
    record: Mutex<Record>,
    ports: Mutex<Vec<Port>>,
    changed: Arc<Notify>,
    logs: PathBuf,
}

/// A flag of the program, the port that it stands for in the container, and the real one.
pub type Port = (&'static str, u16, u16);

/// What a container needs of its pod.
pub struct Surroundings {
    pub shared: Arc<Shared>,
    /// `NAME_NAMESPACE(UID)`, as the kubelet's messages have it.
    pub pod: String,
    pub account: String,
    pub restart_policy: String,
    pub dir: PathBuf,
    /// Mount paths and where they really are, the longest first.
    pub mounts: Vec<(String, PathBuf)>,
    pub grace: Duration,
    pub stop: watch::Receiver<bool>,
    pub events: super::events::Events,
}

impl Container {
    pub fn new(spec: Spec, play: Play, changed: Arc<Notify>, logs: PathBuf) -> Self {
        Self {
            spec,
            play,
            record: Mutex::new(Record {
                state: State::Waiting { reason: "ContainerCreating", message: None },
                last: None,
                run: 0,
                ready: false,
                pid: None,
            }),
            ports: Mutex::default(),
            changed,
            logs,
        }
    }

    pub fn record(&self) -> Record {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The file of a run's log: lines that begin with their time.
    pub fn log(&self, run: u32) -> PathBuf {
        self.logs.join(format!("{}-{run}.log", self.spec.name))
    }

    /// Kills the process, as the kernel does when memory runs out: the kubelet sees it end.
    pub fn kill(&self) -> bool {
        let pid = self.record().pid;
        pid.inspect(|pid| send(*pid, Signal::KILL)).is_some()
    }

    /// Sends a signal to the process, if there is one.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.record().pid {
            send(pid, signal);
        }
    }

    fn update(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    /// Runs until the pod stops, or until it ends for good by its restart policy.
    pub async fn run(self: Arc<Self>, mut around: Surroundings) {
        let mut back_off = None;
        let mut run = 0;
        loop {
            around.shared.unpaused().await;
            self.update(|record| record.run = run);
            let exit = match self.once(&mut around, run).await {
                Ok(exit) => exit,
                Err(error) => {
                    eprintln!("bed: kubelet: container {} of {}: {error:#}", self.spec.name, around.pod);
                    let now = Timestamp::now();
                    Exit { code: 128, started: now, finished: now, run }
                }
            };
            let lasted = exit.finished.duration_since(exit.started).unsigned_abs();
            let code = exit.code;
            self.update(|record| {
                record.pid = None;
                record.ready = false;
                record.state = State::Terminated(exit.clone());
            });
            let ends = match around.restart_policy.as_str() {
                "Never" => true,
                "OnFailure" => code == 0,
                _ => false,
            };
            if ends || *around.stop.borrow() {
                return;
            }
            if lasted > FORGIVEN_AFTER {
                back_off = None;
            }
            let wait = match back_off {
                // The first restart is immediate; what is left is the kubelet noticing.
                None => Duration::from_secs(1),
                Some(wait) => {
                    self.wait_in_crash_loop(&around, wait, exit);
                    wait
                }
            };
            if around.stopped_within(around.shared.shorten(wait)).await {
                return;
            }
            back_off = Some(back_off.map_or(FIRST_BACK_OFF, |wait| (wait * 2).min(LONGEST_BACK_OFF)));
            self.update(|record| {
                if let State::Terminated(exit) = &record.state {
                    record.last = Some(exit.clone());
                }
            });
            let _ = std::fs::remove_file(self.log(run.wrapping_sub(1)));
            run += 1;
        }
    }

    fn wait_in_crash_loop(&self, around: &Surroundings, wait: Duration, exit: Exit) {
        let name = &self.spec.name;
        let message = format!("back-off {} restarting failed container={name} pod={}", go_duration(wait), around.pod);
        self.update(|record| {
            record.last = Some(exit);
            record.state = State::Waiting { reason: "CrashLoopBackOff", message: Some(message) };
        });
        around.events.warning(
            "BackOff",
            &format!("Back-off restarting failed container {name} in pod {}", around.pod),
            Some(name),
        );
    }

    async fn once(&self, around: &mut Surroundings, run: u32) -> Result<Exit> {
        let images = Arc::clone(&around.shared.images);
        if !images.can_be_pulled(self.image()) {
            let message = format!("Back-off pulling image \"{}\"", self.image());
            around.events.warning("Failed", &message, Some(&self.spec.name));
            self.update(|record| {
                record.state = State::Waiting { reason: "ImagePullBackOff", message: Some(message) };
            });
            tokio::select! {
                () = images.pullable(self.image()) => {}
                () = around.stopped() => {
                    let now = Timestamp::now();
                    return Ok(Exit { code: 0, started: now, finished: now, run });
                }
            }
        }
        let started = Timestamp::now();
        let code = match self.play {
            Play::Run(program) => self.process(around, program, run, started).await?,
            Play::Stays => {
                std::fs::write(self.log(run), "")?;
                self.running(started, None, true);
                if around.restart_policy == "Never" {
                    let take = &around.shared.jobs_take;
                    let time = if around.mounts.is_empty() { take.without_mounts } else { take.usually };
                    around.stopped_within(time).await;
                } else {
                    around.stopped().await;
                }
                0
            }
            Play::Completes => {
                std::fs::write(self.log(run), "")?;
                self.running(started, None, true);
                around.stopped_within(Duration::from_secs(2)).await;
                0
            }
            Play::Missing => {
                around.stopped().await;
                0
            }
        };
        Ok(Exit { code, started, finished: Timestamp::now(), run })
    }

    fn image(&self) -> &str {
        self.spec.image.as_deref().unwrap_or_default()
    }

    fn running(&self, since: Timestamp, pid: Option<u32>, ready: bool) {
        self.update(|record| {
            record.state = State::Running { since };
            record.pid = pid;
            record.ready = ready;
        });
    }

    async fn process(&self, around: &mut Surroundings, program: &Program, run: u32, started: Timestamp) -> Result<i32> {
        let ports = self.ports(program)?;
        let mut probe = Probe::of(&self.spec, &ports);
        let mut args = self.arguments(around, program, &ports);
        let mut mounts = around.mounts.clone();
        mounts.extend(self.misread(around, program.misreads, &mut args)?);
        let mut command = Command::new(around.shared.binaries.program(program.binary));
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &around.dir)
            .env("TMPDIR", &around.dir)
            .current_dir(&around.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let log = Arc::new(Mutex::new(std::fs::File::create(self.log(run))?));
        let mut child = tie_to_bed(&mut command).spawn().with_context(|| format!("start {}", program.binary))?;
        let pid = child.id();
        let out = tokio::spawn(copy_lines(child.stdout.take(), mounts.clone(), Arc::clone(&log)));
        let err = tokio::spawn(copy_lines(child.stderr.take(), mounts, log));
        self.running(started, pid, probe.is_none());
        let grace = around.grace;
        let mut kill_at = None;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                () = around.stopped(), if kill_at.is_none() => {
                    kill_at = Some(tokio::time::Instant::now() + grace);
                    if let Some(pid) = pid {
                        send(pid, Signal::TERM);
                    }
                }
                () = until(kill_at) => {
                    kill_at = Some(tokio::time::Instant::now() + grace);
                    child.start_kill()?;
                }
                ready = Probe::next(&mut probe) => {
                    if self.record().ready != ready {
                        self.update(|record| record.ready = ready);
                    }
                }
            }
        };
        // The log is complete before anybody learns that the container has ended.
        let _ = tokio::join!(out, err);
        use std::os::unix::process::ExitStatusExt as _;
        Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    /// A port for each flag. A restart takes the same ones, so that a crash loop does not eat up the range.
    fn ports(&self, program: &Program) -> Result<Vec<Port>> {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        if ports.is_empty() || !ports.iter().all(|(_, _, real)| port_is_free(*real)) {
            ports.clear();
            for (flag, inside) in program.ports {
                ports.push((*flag, *inside, free_port()?));
            }
        }
        Ok(ports.clone())
    }

    /// The container's own arguments, its paths led to the materialised files and the bed's flags in place.
    fn arguments(&self, around: &Surroundings, program: &Program, ports: &[Port]) -> Vec<String> {
        let mut ours: Vec<String> = ports.iter().map(|(flag, _, port)| format!("{flag}={port}")).collect();
        let kubeconfig = around.shared.account_kubeconfig(&around.account);
        for flag in program.flags {
            ours.push(flag.replace("{github}", &around.shared.github).replace("{kubeconfig}", &kubeconfig));
        }
        let name = |flag: &str| flag.split('=').next().unwrap_or_default().to_owned();
        let replaced: Vec<String> = ours.iter().map(|flag| name(flag)).collect();
        let spec = self.spec.command.iter().flatten().skip(1);
        let mut args: Vec<String> = spec
            .chain(self.spec.args.iter().flatten())
            .filter(|arg| !replaced.contains(&name(arg)))
            .map(|arg| around.localise(arg))
            .collect();
        args.extend(ours);
        args
    }

    /// Leads the program to a config.yaml as its version misreads it; gives back the path that it has in the container
    /// and the real one.
    fn misread(&self, around: &Surroundings, how: Misreads, args: &mut [String]) -> Result<Option<(String, PathBuf)>> {
        match how {
            Misreads::Nothing => Ok(None),
            Misreads::PodNamespace => {
                let arg = args.iter_mut().find(|arg| arg.starts_with(CONFIG_PATH)).context("no --config-path")?;
                let copy = around.dir.join("misread.yaml");
                let mounted = std::fs::read_to_string(&arg[CONFIG_PATH.len()..])?;
                std::fs::write(&copy, misread_pod_namespace(&mounted))?;
                *arg = format!("{CONFIG_PATH}{}", copy.display());
                let inside = self.spec.args.iter().flatten().find_map(|arg| arg.strip_prefix(CONFIG_PATH));
                Ok(inside.map(|inside| (inside.to_owned(), copy)))
            }
        }
    }
}

impl Surroundings {
    fn localise(&self, arg: &str) -> String {
        for (mount, real) in &self.mounts {
            if let Some(at) = arg.find(mount.as_str()) {
                let after = &arg[at + mount.len()..];
                if after.is_empty() || after.starts_with('/') {
                    return format!("{}{}{after}", &arg[..at], real.display());
                }
            }
        }
        arg.to_owned()
    }

    /// Waits until the pod is to stop.
    async fn stopped(&mut self) {
        // The pod's task holds the sender while a container runs; if it is gone, so is the pod.
        let _ = self.stop.wait_for(|stop| *stop).await;
    }

    async fn stopped_within(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.stopped()).await.is_ok()
    }
}

/// Comes at this time; never without one.
async fn until(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Writes a program's lines into its log, with their time. Paths are named as they are in the container.
async fn copy_lines(
    from: Option<impl AsyncRead + Unpin>,
    mounts: Vec<(String, PathBuf)>,
    to: Arc<Mutex<std::fs::File>>,
) {
    use std::io::Write as _;
    let Some(from) = from else { return };
    let mut lines = BufReader::new(from).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let mut line = String::from_utf8_lossy(&line).into_owned();
        for (mount, real) in &mounts {
            line = line.replace(&*real.to_string_lossy(), mount);
        }
        let entry = format!("{:.9} {line}\n", Timestamp::now());
        let mut file = to.lock().unwrap_or_else(PoisonError::into_inner);
        if file.write_all(entry.as_bytes()).is_err() {
            return;
        }
    }
}

/// The configuration as a version sees it that takes `prowjob_namespace` for `pod_namespace`.
fn misread_pod_namespace(config: &str) -> String {
    let namespace = config.lines().find_map(|line| line.strip_prefix("prowjob_namespace:")).unwrap_or(" default");
    let mut text = String::new();
    for line in config.lines().filter(|line| !line.starts_with("pod_namespace:")) {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str(&format!("pod_namespace:{namespace}\n"));
    text
}

/// As Go prints durations: `10s`, `2m40s`.
fn go_duration(duration: Duration) -> String {
    let (minutes, seconds) = (duration.as_secs() / 60, duration.as_secs() % 60);
    if minutes == 0 { format!("{seconds}s") } else { format!("{minutes}m{seconds}s") }
}

/// The folder of a pod's logs.
pub fn logs_dir(pod: &Path) -> PathBuf {
    pod.join("logs")
}
