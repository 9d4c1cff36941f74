//! What would undo a manual repair, as far as CronJobs, ProwJobs and managedFields tell.

use crate::model::{ObjectRef, Snapshot, Timestamp};

use super::Basis;

/// Something that acts by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Actor {
    pub kind: ActorKind,
    /// Its name: of the job, the CronJob, the controller.
    pub name: String,
    /// The object, where it is one of a cluster.
    pub object: Option<ObjectRef>,
    pub basis: Basis,
    /// What it does to a manual repair.
    pub effect: String,
    /// When: `on every merge`, a schedule.
    pub when: String,
    pub last_ran: Option<Timestamp>,
    /// It does nothing now: suspended, or stuck itself.
    pub idle: Option<String>,
    pub evidence: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActorKind {
    /// hook's config-updater plugin.
    ConfigUpdater,
    /// A ProwJob that deploys Prow.
    DeployJob,
    /// A ProwJob that bumps Prow's images.
    Autobump,
    /// A ProwJob that runs config-bootstrapper.
    Bootstrapper,
    /// A CronJob.
    CronJob,
    /// Argo CD, Flux, Helm.
    GitOps,
}

impl ActorKind {
    /// As in the JSON contract.
    pub fn name(self) -> &'static str {
        match self {
            ActorKind::ConfigUpdater => "config-updater",
            ActorKind::DeployJob => "deploy-job",
            ActorKind::Autobump => "autobump",
            ActorKind::Bootstrapper => "config-bootstrapper",
            ActorKind::CronJob => "cron-job",
            ActorKind::GitOps => "gitops",
        }
    }
}

/// What acts by itself, most dangerous first.
pub fn automation(_snapshot: &Snapshot) -> Vec<Actor> {
    Vec::new()
}
