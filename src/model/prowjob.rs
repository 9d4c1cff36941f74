//! What the pulse needs of ProwJobs: no specs, no refs.

use super::Timestamp;

/// A ProwJob, reduced to its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProwJobTimes {
    pub name: String,
    pub job: String,
    /// `presubmit`, `postsubmit`, `periodic`, `batch`.
    pub job_type: String,
    /// `scheduling`, `triggered`, `pending`, `success`, `failure`, `aborted`, `error`.
    pub state: String,
    pub created: Option<Timestamp>,
    /// `status.startTime`.
    pub started: Option<Timestamp>,
    /// `status.pendingTime`: its pod was created.
    pub pending: Option<Timestamp>,
    /// `status.completionTime`: finished, whatever the result.
    pub completed: Option<Timestamp>,
}
