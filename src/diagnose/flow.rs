//! The pulse: how long ago each flow last moved. "Everything Ready, nothing flows" is an outage too.

use crate::model::{ProwJob, Snapshot, Timestamp};

use super::Flow;

pub(super) fn flow(snapshot: &Snapshot) -> Flow {
    let Some(jobs) = snapshot.prowjobs.seen() else { return Flow::default() };
    let newest = |of: fn(&ProwJob) -> Option<Timestamp>, types: &[&str]| {
        jobs.iter()
            .filter(|job| types.is_empty() || types.contains(&job.job_type.as_str()))
            .filter_map(|job| of(job))
            .max()
    };
    Flow {
        trigger: newest(|job| job.created, &["presubmit", "postsubmit", "batch"]),
        start: newest(|job| job.pending, &[]),
        report: newest(|job| job.completed, &[]),
        // A postsubmit or a batch exists because something merged or was about to.
        merge: newest(|job| job.created, &["postsubmit", "batch"]),
        periodic: newest(|job| job.created, &["periodic"]),
    }
}
