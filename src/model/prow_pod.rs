//! Pods that Prow made for jobs (label `created-by-prow=true`), and what is said of them.
//!
//! Only what is judged or shown is kept: ten thousand of them may be there.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{ObjectRef, Timestamp};

/// A pod with the label `created-by-prow=true`. Whether it is a stray is a conclusion: `diagnose::strays`.
#[derive(Debug, Clone, PartialEq)]
pub struct ProwPod {
    /// With uid; its cluster is the one that it was found in.
    pub object: ObjectRef,
    pub resource_version: String,
    /// Label `prow.k8s.io/id`: name of its ProwJob. Pods of other Prows and of ci-operator carry one too.
    pub prowjob_id: Option<String>,
    /// The full name of the job, from the annotation; else the label, which is cut to 63 characters.
    pub job: String,
    /// `presubmit`, `postsubmit`, `periodic`, `batch`; empty without the label.
    pub job_type: String,
    pub created: Option<Timestamp>,
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`.
    pub phase: String,
    /// As kubectl words it: `Running`, `ContainerCreating`, `Init:0/1`, `Terminating`.
    pub state: String,
    /// The node it was put on; `None` while it waits for one.
    pub node: Option<String>,
    pub deleting: bool,
    pub finalizers: Vec<String>,
    /// Label `prow.k8s.io/build-id`.
    pub build_id: String,
    /// Label `prow.k8s.io/plank-version`: version of what made it, as it calls itself.
    pub plank_version: String,
    /// Why its containers wait, of the first that tells: `ContainerCreating`, `ImagePullBackOff`.
    pub waiting: Option<String>,
    /// Who controls it; Prow's own pods of jobs have no owner.
    pub owner: Option<String>,
}

impl ProwPod {
    pub fn uid(&self) -> &str {
        self.object.uid.as_deref().unwrap_or_default()
    }

    /// Ended: its containers will not run again.
    pub fn is_over(&self) -> bool {
        matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Its containers run, or nobody knows that they do not.
    pub fn may_run(&self) -> bool {
        may_run(&self.phase)
    }

    /// Does not run yet.
    pub fn is_waiting(&self) -> bool {
        self.phase == "Pending"
    }
}

/// True of a phase in which containers may run: a node that is lost leaves its pods in `Unknown`.
pub fn may_run(phase: &str) -> bool {
    !matches!(phase, "Pending" | "Succeeded" | "Failed")
}

/// The pods of a cluster's pod namespace, by name: a cheap list without their specs, taken again every few seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodCensus {
    pub namespace: String,
    pub pods: Arc<Vec<CensusRow>>,
    /// Pods there without Prow's label: cert-manager's, for one.
    pub unlabelled: Arc<Vec<CensusRow>>,
}

/// One pod of the pod namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CensusRow {
    pub name: String,
    /// As kubectl words it.
    pub state: String,
    /// Only of the youngest of this Prow, which are looked up.
    pub created: Option<Timestamp>,
}

/// Warnings about pods, those with the same reason and message together.
#[derive(Debug, Clone, PartialEq)]
pub struct EventGroup {
    pub namespace: String,
    /// `FailedMount`, `FailedScheduling`.
    pub reason: String,
    pub message: String,
    /// uids of the pods that it was said of.
    pub pods: BTreeSet<String>,
    /// How often it was said, over all pods.
    pub count: u64,
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
}

impl EventGroup {
    /// The secret that the message says is missing: `secret "ssh-key" not found`.
    pub fn missing_secret(&self) -> Option<&str> {
        let (_, rest) = self.message.split_once("secret \"")?;
        let (name, after) = rest.split_once('"')?;
        let (_, name) = name.rsplit_once('/').unwrap_or(("", name));
        (after.trim_start().starts_with("not found") && !name.is_empty()).then_some(name)
    }
}
