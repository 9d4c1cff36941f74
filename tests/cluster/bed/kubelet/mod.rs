//! The Prow kubelet: one node of a cluster, played by the bed's own process, on which Prow's real programs run and jobs
//! are played.
//!
//! For each pod that the scheduler puts here it materialises ConfigMaps and Secrets (`volumes.rs`), runs what the
//! image stands for (`images.rs`, `container.rs`), asks its readiness (`probe.rs`), reports into the pod's status
//! (`status.rs`) and serves its log (`logs.rs`) to the API server. So a bad ConfigMap makes the real hook
//! crash-loop, and a good one heals it; a pod whose Secret is missing waits with FailedMount events. It knows nothing of Prow: what is special is a row of the image table.

mod container;
mod events;
pub mod images;
mod logs;
mod pod;
mod probe;
mod status;
mod volumes;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use rustix::process::Signal;
use serde_json::json;
use tokio::sync::watch;

use crate::binaries::Binaries;
use crate::certs::Leaf;
use container::Container;
pub use container::State;
use pod::PodRecord;

/// Prow's pods are drawn here by this label, others are kept away by a taint of the same name.
pub const POOL: (&str, &str) = ("bed/pool", "prow");

/// What all tasks of the kubelet share.
pub struct Shared {
    client: Client,
    /// The node's name.
    node: &'static str,
    dir: PathBuf,
    binaries: Binaries,
    images: Arc<images::Images>,
    jobs_take: JobsTake,
    /// The address of the GitHub stub.
    github: String,
    accounts: PathBuf,
    /// All waiting of back-off is multiplied by it.
    back_off_factor: Mutex<f64>,
    paused: watch::Sender<bool>,
    /// Writes under way.
    writing: watch::Sender<usize>,
    store: volumes::Store,
    pods: Mutex<HashMap<String, Arc<PodRecord>>>,
}

impl Shared {
    /// Waits while the kubelet is paused.
    async fn unpaused(&self) {
        // The sender is ours: it cannot be gone.
        let _ = self.paused.subscribe().wait_for(|paused| !paused).await;
    }

    /// Sends a write to the API server, when the kubelet is not paused.
    async fn write<T>(&self, write: impl Future<Output = T>) -> T {
        self.unpaused().await;
        self.writing.send_modify(|count| *count += 1);
        let outcome = write.await;
        self.writing.send_modify(|count| *count -= 1);
        outcome
    }

    fn shorten(&self, time: Duration) -> Duration {
        time.mul_f64(*self.back_off_factor.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn account_kubeconfig(&self, account: &str) -> String {
        self.accounts.join(format!("{account}.kubeconfig")).display().to_string()
    }

    fn records(&self) -> Vec<Arc<PodRecord>> {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        pods.values().cloned().collect()
    }
}

/// The handle of the bed's node.
pub struct Kubelet {
    shared: Arc<Shared>,
}

/// What the kubelet is given.
pub struct Settings {
    pub client: Client,
    /// The node's name.
    pub node: &'static str,
    pub admits: Admits,
    pub dir: PathBuf,
    pub binaries: Binaries,
    pub images: Arc<images::Images>,
    pub jobs_take: JobsTake,
    pub github: String,
    /// The folder of the service accounts' kubeconfigs, `NAME.kubeconfig`.
    pub accounts: PathBuf,
    pub back_off_factor: f64,
    /// Namespaces whose ConfigMaps and Secrets pods here may mount.
    pub namespaces: Vec<&'static str>,
}

/// How long played jobs run.
#[derive(Clone, Copy)]
pub struct JobsTake {
    pub usually: Duration,
    /// Those that mount nothing, and so start wherever they fall.
    pub without_mounts: Duration,
}

/// Which pods the scheduler may put on the node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Admits {
    /// Those that tolerate Prow's own pool.
    Prow,
    /// Prow's and all others: the node belongs to Prow's pool, but without the taint.
    All,
}

impl Kubelet {
    /// Registers the node and begins to work.
    pub async fn start(settings: Settings, serving: &Leaf) -> Result<Self> {
        std::fs::create_dir_all(&settings.dir)?;
        let shared = Arc::new(Shared {
            client: settings.client,
            node: settings.node,
            dir: settings.dir,
            binaries: settings.binaries,
            images: settings.images,
            jobs_take: settings.jobs_take,
            github: settings.github,
            accounts: settings.accounts,
            back_off_factor: Mutex::new(settings.back_off_factor),
            paused: watch::Sender::new(false),
            writing: watch::Sender::new(0),
            store: volumes::Store::new(),
            pods: Mutex::default(),
        });
        let port = logs::serve(Arc::clone(&shared), serving).await?;
        register(&shared.client, settings.node, settings.admits, port).await.context("register the node")?;
        for namespace in settings.namespaces {
            let following = Arc::clone(&shared);
            tokio::spawn(async move { following.store.follow(following.client.clone(), namespace).await });
        }
        tokio::spawn(follow_pods(Arc::clone(&shared)));
        Ok(Self { shared })
    }

    /// Kills the processes of a workload's containers, as a node does that runs out of memory. Says how many.
    pub fn kill_containers(&self, namespace: &str, name_prefix: &str) -> usize {
        let records = self.shared.records();
        let ours = records.iter().filter(|pod| pod.namespace == namespace && pod.name.starts_with(name_prefix));
        ours.flat_map(|pod| &pod.containers).filter(|c| c.kill()).count()
    }

    /// The first container's state of every pod in a namespace, by the pod's name.
    pub fn states(&self, namespace: &str) -> HashMap<String, State> {
        let records = self.shared.records();
        let ours = records.iter().filter(|pod| pod.namespace == namespace);
        let first = |pod: &Arc<PodRecord>| Some((pod.name.clone(), pod.containers.first()?.record().state));
        ours.filter_map(first).collect()
    }

    /// Whether every pod of a workload has this content in this file of a mounted volume.
    pub fn all_see(&self, namespace: &str, name_prefix: &str, volume: &str, key: &str, content: &[u8]) -> bool {
        let records = self.shared.records();
        let mut ours = records.iter().filter(|pod| pod.namespace == namespace && pod.name.starts_with(name_prefix));
        ours.all(|pod| {
            let file = pod_dir(&self.shared.dir, &pod.uid).join("volumes").join(volume).join(key);
            std::fs::read(file).is_ok_and(|found| found == content)
        })
    }

    /// Stops writing and restarting until resumed; of the programs only those that write unasked are frozen.
    /// Comes back when the last write is through.
    pub async fn pause(&self) {
        self.shared.paused.send_replace(true);
        self.signal_writers(Signal::STOP);
        // The sender is ours: it cannot be gone.
        let _ = self.shared.writing.subscribe().wait_for(|count| *count == 0).await;
    }

    pub fn resume(&self) {
        self.signal_writers(Signal::CONT);
        self.shared.paused.send_replace(false);
    }

    /// horologium creates ProwJobs by the clock, crier writes what it has just reported. The programs with leader election are left alone: frozen for
    /// longer than their lease they would end when they wake.
    fn signal_writers(&self, signal: Signal) {
        for pod in self.shared.records() {
            for container in &pod.containers {
                if let images::Play::Run(program) = container.play
                    && matches!(program.binary, "horologium" | "crier")
                {
                    container.signal(signal);
                }
            }
        }
    }

    /// From now on back-off takes this fraction of its real time.
    pub fn set_back_off_factor(&self, factor: f64) {
        *self.shared.back_off_factor.lock().unwrap_or_else(PoisonError::into_inner) = factor;
    }

    /// One line a container, for a person.
    pub fn describe(&self) -> Vec<serde_json::Value> {
        let records = self.shared.records();
        let containers = records.iter().flat_map(|pod| pod.containers.iter().map(move |c| (pod, c)));
        containers.map(|(pod, container)| describe(pod, container)).collect()
    }
}

fn describe(pod: &PodRecord, container: &Container) -> serde_json::Value {
    let record = container.record();
    let state = match record.state {
        State::Waiting { reason, .. } => reason,
        State::Running { .. } => "Running",
        State::Terminated(_) => "Terminated",
    };
    json!({
        "pod": pod.name, "container": container.spec.name, "state": state,
        "ready": record.ready, "restarts": record.run,
    })
}

async fn register(client: &Client, name: &str, admits: Admits, log_port: u16) -> Result<()> {
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": { POOL.0: POOL.1, "kubernetes.io/os": "linux" } },
    });
    if admits == Admits::Prow {
        node["spec"] = json!({ "taints": [{ "key": POOL.0, "value": POOL.1, "effect": "NoSchedule" }] });
    }
    crate::api::create(client, &node, "kubelet").await?;
    let now = format!("{:.0}", jiff::Timestamp::now());
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": reason,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    let room = json!({ "cpu": "64", "memory": "256Gi", "pods": "2000" });
    let status = json!({ "status": {
        "capacity": room, "allocatable": room,
        "conditions": [
            condition("Ready", "True", "KubeletReady"),
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID"),
        ],
        "addresses": [
            { "type": "InternalIP", "address": "127.0.0.1" },
            { "type": "Hostname", "address": name },
        ],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": log_port } },
        "nodeInfo": {
            "architecture": "amd64", "bootID": "", "containerRuntimeVersion": "bed://1", "kernelVersion": "bed",
            "kubeProxyVersion": "", "kubeletVersion": "v1.34.4", "machineID": "", "operatingSystem": "linux",
            "osImage": "bed", "systemUUID": "",
        },
    }});
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await?;
    Ok(())
}

/// Hands every pod of this node to a task of its own.
async fn follow_pods(shared: Arc<Shared>) {
    let config = watcher::Config::default().fields(&format!("spec.nodeName={}", shared.node));
    let mut tasks: HashMap<String, watch::Sender<Option<Arc<Pod>>>> = HashMap::new();
    let mut seen: Vec<String> = Vec::new();
    let watch = watcher(Api::<Pod>::all(shared.client.clone()), config).default_backoff();
    watch
        .for_each(|event| {
            match event {
                Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => {
                    let uid = pod.uid().unwrap_or_default();
                    seen.push(uid.clone());
                    let pod = Arc::new(pod);
                    if let Some(task) = tasks.get(&uid) {
                        task.send_replace(Some(pod));
                    } else {
                        let (sender, receiver) = watch::channel(Some(Arc::clone(&pod)));
                        tasks.insert(uid, sender);
                        tokio::spawn(pod::run(Arc::clone(&shared), pod, receiver));
                    }
                }
                Ok(watcher::Event::Delete(pod)) => {
                    if let Some(task) = tasks.remove(&pod.uid().unwrap_or_default()) {
                        task.send_replace(None);
                    }
                }
                Ok(watcher::Event::Init) => seen.clear(),
                Ok(watcher::Event::InitDone) => tasks.retain(|uid, task| {
                    let alive = seen.contains(uid);
                    if !alive {
                        task.send_replace(None);
                    }
                    alive
                }),
                // The API server is away; the watcher tries again.
                Err(_) => {}
            }
            std::future::ready(())
        })
        .await;
}

/// The folder of a pod.
fn pod_dir(dir: &Path, uid: &str) -> PathBuf {
    dir.join(uid)
}
