//! One pod from its binding to this node until it is gone.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt as _};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::container::{Container, Surroundings, logs_dir};
use super::events::Events;
use super::status::Reporter;
use super::volumes::Volumes;
use super::{Shared, pod_dir};

const FIRST_MOUNT_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_MOUNT_PAUSE: Duration = Duration::from_secs(122);

/// A pod on this node.
pub struct PodRecord {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub containers: Vec<Arc<Container>>,
}

/// Where the pod is, seen from its task: `None` once it is gone from the API server.
type Feed = watch::Receiver<Option<Arc<Pod>>>;

/// Plays the kubelet for this pod.
pub async fn run(shared: Arc<Shared>, pod: Arc<Pod>, mut feed: Feed) {
    let Some(spec) = pod.spec.clone() else { return };
    let uid = pod.uid().unwrap_or_default();
    let dir = pod_dir(&shared.dir, &uid);
    let logs = logs_dir(&dir);
    if let Err(error) = std::fs::create_dir_all(&logs) {
        eprintln!("bed: kubelet: {}: {error}", logs.display());
        return;
    }
    let changed = Arc::new(Notify::new());
    let containers = spec.containers.iter().map(|container| {
        let play = shared.images.play(container.image.as_deref().unwrap_or_default());
        Arc::new(Container::new(container.clone(), play, Arc::clone(&changed), logs.clone()))
    });
    let record = Arc::new(PodRecord {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        uid: uid.clone(),
        containers: containers.collect(),
    });
    let mut task = PodTask {
        events: Events::new(Arc::clone(&shared), reference(&record)),
        reporter: Reporter::new(&pod.metadata, &spec),
        volumes: Volumes::new(dir.join("volumes")),
        written: None,
        stop: watch::Sender::new(false),
        shared: Arc::clone(&shared),
        record: Arc::clone(&record),
        spec,
        dir: dir.clone(),
        changed,
    };
    insert(&shared, record);
    let outcome = task.live(&mut feed).await;
    if let Outcome::Deleted = outcome {
        task.remove(&mut feed).await;
    }
    shared.pods.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
    // The bed's own folder goes at the end anyway.
    let _ = std::fs::remove_dir_all(&dir);
}

fn insert(shared: &Shared, record: Arc<PodRecord>) {
    let mut pods = shared.pods.lock().unwrap_or_else(PoisonError::into_inner);
    pods.insert(record.uid.clone(), record);
}

fn reference(record: &PodRecord) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(record.namespace.clone()),
        name: Some(record.name.clone()),
        uid: Some(record.uid.clone()),
        ..ObjectReference::default()
    }
}

struct PodTask {
    shared: Arc<Shared>,
    record: Arc<PodRecord>,
    spec: PodSpec,
    dir: PathBuf,
    volumes: Volumes,
    reporter: Reporter,
    events: Events,
    changed: Arc<Notify>,
    /// The status that the API server has of us.
    written: Option<Value>,
    stop: watch::Sender<bool>,
}

enum Outcome {
    /// Somebody asked for its deletion.
    Deleted,
    /// The object is gone.
    Gone,
}

impl PodTask {
    async fn live(&mut self, feed: &mut Feed) -> Outcome {
        let mut store = self.shared.store.changes();
        let mut running: Option<JoinSet<()>> = None;
        let mut mounting = Mounting::default();
        let mut retry = false;
        let outcome = loop {
            store.borrow_and_update();
            match self.volumes.refresh(&self.shared.store, &self.record.namespace, &self.spec) {
                Ok(_) if running.is_some() => {}
                Ok(missing) if missing.is_empty() => {
                    mounting = Mounting::default();
                    running = Some(self.start_containers(feed));
                }
                Ok(missing) => mounting.complain(&self.events, &missing),
                Err(error) => eprintln!("bed: kubelet: volumes of {}: {error:#}", self.record.name),
            }
            if feed.borrow_and_update().is_none() {
                break Outcome::Gone;
            }
            if deleted(feed) {
                break Outcome::Deleted;
            }
            if !*self.shared.paused.borrow() {
                retry = !self.report().await;
            }
            let unpaused = self.unpaused();
            tokio::select! {
                () = self.changed.notified() => {}
                _ = feed.changed() => {}
                _ = store.changed() => {}
                () = unpaused => {}
                () = mounting.next() => {}
                () = tokio::time::sleep(Duration::from_millis(500)), if retry => {}
            }
        };
        self.stop.send_replace(true);
        if let Some(mut running) = running {
            while running.join_next().await.is_some() {}
        }
        outcome
    }

    /// Comes when a pause ends; never while there is none.
    fn unpaused(&self) -> impl Future<Output = ()> + 'static {
        let mut paused = self.shared.paused.subscribe();
        async move {
            if *paused.borrow_and_update() {
                let _ = paused.wait_for(|paused| !paused).await;
            } else {
                std::future::pending().await
            }
        }
    }

    fn start_containers(&self, feed: &Feed) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for container in &self.record.containers {
            let mut mounts: Vec<(String, PathBuf)> = container
                .spec
                .volume_mounts
                .iter()
                .flatten()
                .map(|mount| {
                    let path = mount.mount_path.trim_end_matches('/').to_owned();
                    (path, self.volumes.path(&mount.name))
                })
                .collect();
            mounts.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
            let pod = feed.borrow().clone();
            let grace = pod.and_then(|pod| pod.spec.as_ref()?.termination_grace_period_seconds);
            let around = Surroundings {
                shared: Arc::clone(&self.shared),
                pod: format!("{}_{}({})", self.record.name, self.record.namespace, self.record.uid),
                account: self.spec.service_account_name.clone().unwrap_or_default(),
                restart_policy: self.spec.restart_policy.clone().unwrap_or_default(),
                dir: self.dir.clone(),
                mounts,
                grace: Duration::from_secs(u64::try_from(grace.unwrap_or(30)).unwrap_or(0)),
                stop: self.stop.subscribe(),
                events: self.events.clone(),
            };
            tasks.spawn(Arc::clone(container).run(around));
        }
        tasks
    }

    /// Writes the status if it is another one now; `false` when that has to be tried again.
    async fn report(&mut self) -> bool {
        let records: Vec<_> = self.record.containers.iter().map(|c| (&c.spec, c.record())).collect();
        let status = self.reporter.status(&records);
        if self.written.as_ref() == Some(&status) {
            return true;
        }
        let api: Api<Pod> = Api::namespaced(self.shared.client.clone(), &self.record.namespace);
        let patch = serde_json::json!({ "metadata": { "uid": self.record.uid }, "status": status });
        let params = PatchParams::default();
        let patch = Patch::Strategic(patch);
        let write = api.patch_status(&self.record.name, &params, &patch);
        match self.shared.write(write).await {
            Ok(_) => {
                self.written = Some(status);
                true
            }
            // Gone, or another pod of this name: the feed will say so.
            Err(kube::Error::Api(error)) if matches!(error.code, 404 | 409 | 422) => true,
            Err(_) => false,
        }
    }

    /// Takes the stopped pod out of the API server.
    async fn remove(&mut self, feed: &mut Feed) {
        let api: Api<Pod> = Api::namespaced(self.shared.client.clone(), &self.record.namespace);
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: Some(self.record.uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        loop {
            match self.shared.write(api.delete(&self.record.name, &params)).await {
                // With a finalizer it lingers; the feed ends when it goes.
                Ok(_) => break,
                Err(kube::Error::Api(error)) if matches!(error.code, 404 | 409) => return,
                Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
        let _ = feed.wait_for(Option::is_none).await;
    }
}

/// The tries to mount what is not there: they go on with growing pauses, each with its events.
#[derive(Default)]
struct Mounting {
    tries: u32,
    next: Option<Instant>,
}

impl Mounting {
    fn complain(&mut self, events: &Events, missing: &[String]) {
        if self.next.is_some_and(|next| Instant::now() < next) {
            return;
        }
        for message in missing {
            events.warning("FailedMount", message, None);
        }
        // A real node begins with half a second; hundreds of such pods would keep two cores busy with that.
        let pause = FIRST_MOUNT_PAUSE.saturating_mul(1 << self.tries.min(8)).min(LONGEST_MOUNT_PAUSE);
        self.tries += 1;
        self.next = Some(Instant::now() + pause);
    }

    /// Comes with the time of the next try; never when there is nothing to try.
    async fn next(&self) {
        match self.next {
            Some(next) => tokio::time::sleep_until(next).await,
            None => std::future::pending().await,
        }
    }
}

fn deleted(feed: &Feed) -> bool {
    let asked = |meta: &ObjectMeta| meta.deletion_timestamp.is_some();
    feed.borrow().as_ref().is_some_and(|pod| asked(&pod.metadata))
}
