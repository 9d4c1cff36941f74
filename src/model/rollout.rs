//! What ran when, and what runs by itself: rollouts, CronJobs, and who else writes.

use serde::{Deserialize, Serialize};

use super::{ObjectRef, Timestamp};

/// A version of a component's pod template that ran or runs: a ReplicaSet of its Deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// The Deployment, with uid.
    pub component: ObjectRef,
    /// The catalogue's name.
    pub role: String,
    /// Name of the container that carries the role.
    pub container: String,
    /// Its image.
    pub image: String,
    /// The image's tag; the whole reference where it has none.
    pub tag: String,
    pub replica_set: String,
    /// `deployment.kubernetes.io/revision`: grows with each rollout, also with one that goes back.
    pub revision: u64,
    /// When the ReplicaSet was made. A rollback to a template that is still there takes the old one up again.
    pub created: Option<Timestamp>,
    /// When it began to be rolled out, as far as can be told: for the current one not before its oldest pod, else `created`.
    pub began: Option<Timestamp>,
    /// Since when all pods asked for are Ready; only of the current one, and only while they are.
    pub ready_at: Option<Timestamp>,
    /// Asked for now: the Deployment's template.
    pub current: bool,
    /// Pods of it that are there.
    pub pods: u32,
}

/// A CronJob beside Prow's components, whatever its image.
#[derive(Debug, Clone, PartialEq)]
pub struct CronJobState {
    /// With uid.
    pub object: ObjectRef,
    pub resource_version: String,
    pub schedule: String,
    pub suspended: bool,
    /// Images of its template.
    pub images: Vec<String>,
    /// The catalogue's name, where its image is Prow's: `branchprotector`.
    pub role: Option<String>,
    /// First words of the command, for telling what it does.
    pub command: String,
    pub last_scheduled: Option<Timestamp>,
    /// Its Jobs, newest first.
    pub runs: Vec<JobRun>,
}

/// A Job of a CronJob.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRun {
    pub name: String,
    pub images: Vec<String>,
    pub started: Option<Timestamp>,
    pub completed: Option<Timestamp>,
    pub failed: bool,
}

/// A label or annotation that says whose hand an object is in: `argocd.argoproj.io/tracking-id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracking {
    pub key: String,
    pub value: String,
}
