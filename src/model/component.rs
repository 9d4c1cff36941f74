//! Prow's workloads and their pods, as the API shows them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Alias, Key, Kind, ObjectRef, Timestamp, Tracking, Writer};

/// A Prow workload: a Deployment, StatefulSet, DaemonSet or CronJob whose image is in the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// Deployment, StatefulSet, DaemonSet or CronJob, with its uid.
    pub object: ObjectRef,
    /// The catalogue's name: the image's base name, such as `hook` or `prow-controller-manager`.
    pub role: String,
    /// What a Prow user loses when it is down, from the catalogue.
    pub when_down: String,
    pub resource_version: String,
    pub desired: u32,
    pub ready: u32,
    pub suspended: bool,
    /// Images of the containers in the pod template, in order.
    pub spec_images: Vec<String>,
    /// Name of the container that carries the role.
    pub container: String,
    /// What the container that carries the role reads its configuration from.
    pub config: ConfigFlags,
    /// Its ConfigMap mounts, by mount path.
    pub mounts: Vec<ConfigMount>,
    pub pods: Vec<ComponentPod>,
    /// Newest change of the pod template: creation of the newest ReplicaSet, where it can be seen.
    pub rolled_out: Option<Timestamp>,
    /// Who wrote it, newest first, from managedFields.
    pub writers: Vec<Writer>,
    /// Labels and annotations of Argo CD, Flux and Helm: whose hand it is in.
    pub tracking: Vec<Tracking>,
    /// What hinders its controller, in its own words: a quota, a webhook, a deadline.
    pub trouble: Option<String>,
    /// A Deployment's `paused`: changes of its template are not rolled out.
    pub paused: bool,
    /// Where its pods may run.
    pub placement: Placement,
}

/// What of a pod template decides where its pods may run: what is to run beside them needs the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    pub node_selector: BTreeMap<String, String>,
    /// As the API has them.
    pub tolerations: Vec<serde_json::Value>,
    /// Names of the secrets that images are pulled with.
    pub image_pull_secrets: Vec<String>,
}

impl Component {
    pub fn alias(&self) -> &Alias {
        &self.object.cluster
    }

    /// True where the workload asks for no pods now: a CronJob, or `replicas: 0`, which is intent.
    pub fn is_idle_by_intent(&self) -> bool {
        self.object.kind == Kind::CronJob || self.desired == 0
    }

    /// Images that its pods run now, each once, sorted.
    pub fn running_images(&self) -> Vec<String> {
        let mut images: Vec<String> =
            self.pods.iter().flat_map(|pod| pod.containers.iter().map(|c| c.image.clone())).collect();
        images.sort();
        images.dedup();
        images
    }

    pub fn restarts(&self) -> u32 {
        self.pods.iter().flat_map(|pod| &pod.containers).map(|c| c.restarts).sum()
    }

    /// The ConfigMaps that it reads, each once.
    pub fn config_maps(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.mounts.iter().map(|mount| mount.config_map.clone()).collect();
        keys.sort();
        keys.dedup();
        keys
    }
}

/// Prow's configuration flags of a component, and the ConfigMap each path lies in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigFlags {
    /// `--config-path`, and where it leads.
    pub config_path: Option<ConfigPath>,
    /// `--job-config-path`.
    pub job_config_path: Option<ConfigPath>,
    /// `--plugin-config`.
    pub plugin_config: Option<ConfigPath>,
    /// Flags that bring in further configuration, with their values: `--supplemental-prow-config-dir=/etc/config`.
    pub further: Vec<String>,
}

/// A path on a component's command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigPath {
    pub path: String,
    /// The ConfigMap mounted there; `None` where it comes from elsewhere (git-sync, a volume).
    pub config_map: Option<Key>,
    /// The key, where the path names a file of the ConfigMap.
    pub key: Option<String>,
}

/// A ConfigMap mounted into a component's pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigMount {
    pub config_map: Key,
    pub path: String,
    /// Such a mount is never updated while the container runs.
    pub sub_path: bool,
    pub optional: bool,
}

/// A pod that belongs to a component, by owner.
#[derive(Debug, Clone, PartialEq)]
pub struct ComponentPod {
    /// With uid.
    pub object: ObjectRef,
    pub resource_version: String,
    pub created: Option<Timestamp>,
    pub deleting: bool,
    pub phase: String,
    /// The `Ready` condition.
    pub ready: bool,
    /// Since when `ready` is what it is: lastTransitionTime of the condition.
    pub ready_changed: Option<Timestamp>,
    /// As kubectl words it: `Running`, `CrashLoopBackOff`, `ContainerCreating`, `Terminating`.
    pub state: String,
    /// Name of the owning ReplicaSet (StatefulSet, DaemonSet, Job).
    pub owner: Option<String>,
    pub finalizers: Vec<String>,
    /// Containers, then init containers.
    pub containers: Vec<Container>,
}

/// A container and how its last lives ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    pub name: String,
    /// The image that runs, else the one asked for.
    pub image: String,
    pub ready: bool,
    pub restarts: u32,
    pub state: ContainerState,
    /// How the life before this one ended.
    pub last_exit: Option<Exit>,
    /// Of the life before this one, if it crashed: what its log says of why.
    pub last_fatal: Option<LogLine>,
    /// Of the running life: refusals of a changed configuration (`Error loading config.`), newest.
    pub reload_error: Option<LogLine>,
}

impl Container {
    pub fn is_crash_looping(&self) -> bool {
        matches!(&self.state, ContainerState::Waiting { reason, .. } if reason == "CrashLoopBackOff")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    Waiting { reason: String, message: String },
    Running { since: Option<Timestamp> },
    Terminated(Exit),
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    pub code: i32,
    pub reason: String,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
}

/// A line of a Prow component's log that says why it could not go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// `fatal`, `error`, `panic`.
    pub level: String,
    /// `Error starting config agent.`
    pub msg: String,
    /// `duplicated preset 'label:value' pair : …`; empty where the line has none.
    pub error: String,
    pub component: String,
    pub at: Option<Timestamp>,
}

/// Names of a workload's pods and how many of each role: `endpoints` of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Service name to (ready, all) addresses.
    pub services: BTreeMap<Key, EndpointCount>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointCount {
    pub ready: u32,
    pub total: u32,
    /// Names of the pods behind it, ready or not.
    pub pods: Vec<String>,
}
