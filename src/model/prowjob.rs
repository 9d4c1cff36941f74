//! ProwJobs, reduced to what the pulse and the rule of stray pods need: no pod specs, no refs.

use super::{Alias, Timestamp};

/// A ProwJob of this Prow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProwJob {
    /// A UUID; its pod has the same name.
    pub name: String,
    pub uid: String,
    pub job: String,
    /// `presubmit`, `postsubmit`, `periodic`, `batch`.
    pub job_type: String,
    /// `spec.cluster`, `default` where it is empty: Prow's name of the cluster that its pod belongs to. Which cluster that
    /// is, tells [`Snapshot::aliases`](super::Snapshot::aliases).
    pub cluster: String,
    /// `kubernetes` for jobs that have pods; Jenkins' have none.
    pub agent: String,
    /// `scheduling`, `triggered`, `pending`, `success`, `failure`, `aborted`, `error`.
    pub state: String,
    /// `status.description`: in the words of the controller, why an `error` is one.
    pub description: String,
    /// `status.pod_name`; empty until its pod was created.
    pub pod_name: String,
    pub created: Option<Timestamp>,
    /// `status.startTime`.
    pub started: Option<Timestamp>,
    /// `status.pendingTime`: its pod was created.
    pub pending: Option<Timestamp>,
    /// `status.completionTime`: finished, whatever the result.
    pub completed: Option<Timestamp>,
}

impl ProwJob {
    pub fn is_finished(&self) -> bool {
        self.completed.is_some()
    }

    /// Prow's name of its cluster.
    pub fn alias(&self) -> Alias {
        Alias(self.cluster.clone())
    }
}
