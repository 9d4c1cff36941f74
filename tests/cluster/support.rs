//! What the acceptance tests share: the program run without a terminal, a look behind its back, a poller.
//!
//! To add a helper: only what two files need; what one test needs stays beside it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use jiff::Timestamp;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tempfile::TempDir;

use crate::bed::Bed;
use crate::bed::audit::Entry;
use crate::bed::handle::Options;

pub const NAMESPACE: &str = "prow";
pub const JOB_CONFIG: &str = "job-config";
/// What debug builds fail at: `src/run/fault.rs`.
const FAULT: &str = "PROW_BREAKGLASS_FAULT";

/// A client of a kubeconfig's only context.
pub async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("the bed's kubeconfig");
    let options = KubeConfigOptions::default();
    let mut config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("the bed's kubeconfig is complete");
    config.proxy_url = None;
    Client::try_from(config).expect("a client")
}

/// Runs a test's requests on a runtime of its own.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// Asks until it is so.
pub async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !so().await {
        assert!(Instant::now() < deadline, "{what} did not happen within a minute");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The outage of 2019-01-23, see [`in_long_back_off`].
pub fn outage_in_long_back_off() -> Option<Bed> {
    in_long_back_off("2019-01-23")
}

/// An incident with hook in a back-off that outlasts the test, so that it is the kick that ends it.
pub fn in_long_back_off(incident: &str) -> Option<Bed> {
    let bed = Bed::start_with(&Options { incident, back_off_factor: 100.0 })?;
    let admin = Admin::of(&bed);
    // The bed hurries the first back-offs; who has waited longer than those last is in the long one.
    block_on(eventually("hook in its long back-off", async || {
        let pods = admin.list(&format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app=hook")).await;
        pods.iter().all(|pod| {
            let container = &pod["status"]["containerStatuses"][0];
            let ended = container["lastState"]["terminated"]["finishedAt"].as_str().and_then(|at| at.parse().ok());
            container["state"]["waiting"]["reason"] == "CrashLoopBackOff"
                && ended.is_some_and(|ended: Timestamp| Timestamp::now().as_second() - ended.as_second() > 3)
        })
    }));
    Some(bed)
}

/// The program, as a script calls it: no terminal, no environment, a journal of its own.
pub struct Tool {
    kubeconfig: PathBuf,
    repository: PathBuf,
    pub context: String,
    home: TempDir,
}

impl Tool {
    pub fn on(bed: &Bed) -> Self {
        Self {
            kubeconfig: bed.kubeconfig(),
            repository: bed.repository(),
            context: bed.fact("context").to_owned(),
            home: TempDir::new().expect("a temporary folder"),
        }
    }

    /// With another configuration repository.
    pub fn with_repository(self, repository: &Path) -> Self {
        Self { repository: repository.to_owned(), ..self }
    }

    /// A file in the program's home.
    pub fn file(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    /// The program with these arguments, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.env("HOME", self.home.path()).args(args);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command.arg("--repo").arg(&self.repository);
        command.arg("--journal").arg(self.file("journal"));
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(args, self.command(args).output().expect("start the program"))
    }

    /// Runs it to the end that a fault brings.
    pub fn run_with_fault(&self, args: &[&str], fault: &str) -> Ran {
        let output = self.command(args).env(FAULT, fault).output();
        Ran::of(args, output.expect("start the program"))
    }

    /// Starts it with a fault that holds it at a point.
    pub fn start_with_fault(&self, args: &[&str], fault: &str) -> Child {
        let mut command = self.command(args);
        command.env(FAULT, fault);
        command.spawn().expect("start the program")
    }

    /// `status -o json`, which must end with this code.
    pub fn status(&self, code: i32) -> Value {
        self.run(&["status", "-o", "json"]).ended(code).json()
    }

    /// Makes a plan and saves it; gives back the file.
    pub fn plan(&self, repair: &str) -> String {
        let file = self.file(&format!("{repair}.json"));
        self.run(&["plan", repair, "-f", &file]).ended(0);
        file
    }

    /// Makes the plan that undoes a run and saves it; gives back the file.
    pub fn undo(&self, run: &str) -> String {
        let file = self.file(&format!("undo-{run}.json"));
        self.run(&["undo", run, "-f", &file]).ended(0);
        file
    }

    /// The arguments that really write `count` objects.
    pub fn apply_args<'a>(&'a self, file: &'a str, count: &'a str) -> Vec<&'a str> {
        vec!["apply", file, "--execute", "--context", &self.context, "--expect", count, "-o", "json"]
    }

    /// Really writes `count` objects, and does not wait for the silence of those that run on.
    pub fn apply(&self, file: &str, count: &str) -> Ran {
        self.run(&[&self.apply_args(file, count)[..], &["--settle", "1s"]].concat())
    }

    /// `run show RUN -o json`.
    pub fn run_document(&self, run: &str) -> Value {
        self.run(&["run", "show", run, "-o", "json"]).ended(0).json()
    }
}

/// The program with an empty environment; git must be found.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prow-breakglass"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// How a call of the program ended.
#[derive(Debug)]
pub struct Ran {
    args: String,
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of<S: AsRef<OsStr>>(args: &[S], output: Output) -> Self {
        let args: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
        Self {
            args: args.join(" "),
            code: output.status.code(),
            signal: output.status.signal(),
            out: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            err: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }

    #[track_caller]
    pub fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}\n{}", self.args, self.err, self.out);
        self
    }

    /// Its words hold all of these.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.err.contains(part), "{}: no {part:?} in\n{}\n{}", self.args, self.err, self.out);
        }
        self
    }

    /// The document on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{}: {error} in {}", self.args, self.out))
    }

    /// The lines of JSON on stdout.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        self.out.lines().map(parse).collect()
    }
}

/// The findings of a status of this kind.
pub fn findings<'a>(status: &'a Value, kind: &str) -> Vec<&'a Value> {
    let all = status["findings"].as_array().expect("a list of findings");
    all.iter().filter(|finding| finding["kind"] == kind).collect()
}

/// Kind and severity of all findings, worst first.
pub fn summary(status: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = status["findings"].as_array().expect("a list of findings");
    all.iter().map(|finding| (text(&finding["kind"]), text(&finding["severity"]))).collect()
}

/// What a ConfigMap holds, as the API server tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub values: BTreeMap<String, Vec<u8>>,
    /// Which values lie in `binaryData`.
    pub binary: Vec<String>,
    pub labels: Value,
    pub annotations: Value,
}

impl Content {
    pub fn of(map: &Value) -> Self {
        let decode = |value: &Value| {
            let text = value.as_str().expect("binaryData holds text");
            base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
        };
        let text = |value: &Value| value.as_str().expect("data holds text").as_bytes().to_vec();
        let entries = |field: &str| map[field].as_object().cloned().unwrap_or_default();
        let (data, binary) = (entries("data"), entries("binaryData"));
        Self {
            binary: binary.keys().cloned().collect(),
            values: data
                .iter()
                .map(|(key, value)| (key.clone(), text(value)))
                .chain(binary.iter().map(|(key, value)| (key.clone(), decode(value))))
                .collect(),
            labels: map["metadata"]["labels"].clone(),
            annotations: map["metadata"]["annotations"].clone(),
        }
    }
}

/// A look behind the program's back, with the bed's own rights.
pub struct Admin {
    kubeconfig: PathBuf,
}

impl Admin {
    pub fn of(bed: &Bed) -> Self {
        Self { kubeconfig: bed.admin_kubeconfig() }
    }

    /// In the cluster that Prow's jobs know by this alias.
    pub fn in_cluster(bed: &Bed, alias: &str) -> Self {
        Self { kubeconfig: bed.fact_of(alias, "adminKubeconfig").into() }
    }

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub async fn get(&self, path: &str) -> Value {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        client(&self.kubeconfig).await.request(request).await.unwrap_or_else(|error| panic!("get {path}: {error}"))
    }

    pub async fn list(&self, path: &str) -> Vec<Value> {
        self.get(path).await["items"].as_array().cloned().unwrap_or_default()
    }

    pub async fn delete(&self, path: &str) {
        let request = http::Request::delete(path).body(Vec::new()).expect("a request");
        let answer = client(&self.kubeconfig).await.request::<Value>(request).await;
        answer.unwrap_or_else(|error| panic!("delete {path}: {error}"));
    }

    pub async fn patch(&self, path: &str, patch: &Value) {
        let request = http::Request::patch(path).header(http::header::CONTENT_TYPE, "application/merge-patch+json");
        let request = request.body(patch.to_string().into_bytes()).expect("a request");
        let answer = client(&self.kubeconfig).await.request::<Value>(request).await;
        answer.unwrap_or_else(|error| panic!("patch {path}: {error}"));
    }

    /// A ConfigMap of Prow's namespace.
    pub fn config_map(&self, name: &str) -> Content {
        Content::of(&block_on(self.get(&format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{name}"))))
    }

    /// The resourceVersion of every object that there is, but Leases: those are renewed by who holds them.
    pub fn versions(&self) -> BTreeMap<String, String> {
        block_on(async {
            let client = client(&self.kubeconfig).await;
            let get = async |path: &str| -> Value {
                let request = http::Request::get(path).body(Vec::new()).expect("a request");
                client.request(request).await.unwrap_or_else(|error| panic!("get {path}: {error}"))
            };
            let mut versions = vec!["/api/v1".to_owned()];
            for group in get("/apis").await["groups"].as_array().expect("groups") {
                let version = group["preferredVersion"]["groupVersion"].as_str().expect("a version");
                versions.push(format!("/apis/{version}"));
            }
            let mut all = BTreeMap::new();
            for version in versions {
                let resources = get(&version).await;
                for resource in resources["resources"].as_array().expect("resources") {
                    let name = resource["name"].as_str().expect("a name");
                    let verbs = resource["verbs"].as_array().expect("verbs");
                    if name == "leases" || !verbs.iter().any(|verb| verb == "list") {
                        continue;
                    }
                    let path = format!("{version}/{name}");
                    for item in get(&path).await["items"].as_array().expect("items") {
                        let meta = &item["metadata"];
                        let id = format!("{path} {} {}", meta["namespace"], meta["name"]);
                        all.insert(id, meta["resourceVersion"].to_string());
                    }
                }
            }
            all
        })
    }
}

/// What the program's user wanted changed, after the first `before` entries of its audit: `update configmaps job-config`.
pub fn written_since(bed: &Bed, before: usize) -> Vec<String> {
    let entries = bed.audit_of_oncall();
    let written = entries[before..].iter().filter(|entry| entry.writes());
    written.map(|entry| format!("{} {} {}", entry.verb, entry.resource, entry.name)).collect()
}

/// A request apart from `dryRun`: verb, URL, body.
pub fn but_for_dry_run(entry: &Entry) -> (String, String, Value) {
    let (path, query) = entry.uri.split_once('?').unwrap_or((&entry.uri, ""));
    let query: Vec<&str> = query.split('&').filter(|pair| *pair != "dryRun=All").collect();
    let mut body = entry.request.clone().unwrap_or_default();
    if let Some(body) = body.as_object_mut() {
        body.remove("dryRun");
    }
    (entry.verb.clone(), format!("{path}?{}", query.join("&")), body)
}

/// Looks at a ConfigMap every 5 ms, as somebody else does.
pub struct Poller {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Polled>,
}

/// What a poller saw.
#[derive(Debug, Default)]
pub struct Polled {
    pub looks: usize,
    /// Each content once, in the order in which it came.
    pub contents: Vec<Content>,
    /// Answers that were no ConfigMap.
    pub errors: Vec<String>,
}

impl Poller {
    /// Starts; the first look is taken when this returns.
    pub fn start(bed: &Bed, name: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (looked, first_look) = channel();
        let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{name}");
        let (kubeconfig, stopped) = (bed.admin_kubeconfig(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            block_on(async {
                let client = client(&kubeconfig).await;
                let mut polled = Polled::default();
                let mut last = String::new();
                let mut ticks = tokio::time::interval(Duration::from_millis(5));
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                while !stopped.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    let request = http::Request::get(&path).body(Vec::new()).expect("a request");
                    polled.looks += 1;
                    match client.request_text(request).await {
                        Ok(text) if text == last => {}
                        Ok(text) => {
                            let content = Content::of(&serde_json::from_str(&text).expect("the API server's JSON"));
                            if polled.contents.last() != Some(&content) {
                                polled.contents.push(content);
                            }
                            last = text;
                        }
                        Err(error) => polled.errors.push(error.to_string()),
                    }
                    // Nobody waits for any but the first.
                    let _ = looked.send(());
                }
                polled
            })
        });
        first_look.recv_timeout(Duration::from_secs(20)).expect("a first look");
        Self { stop, thread }
    }

    pub fn stop(self) -> Polled {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the poller")
    }
}
