//! The pulse: how long ago each flow last moved. "Everything Ready, nothing flows" is an outage too.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{ProwJob, Snapshot, Timestamp};

use super::Strays;
use super::gate::placed;

/// How long ago each flow last moved: newest timestamps. `None` means no history, which is unknown, not stalled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Newest ProwJob of a GitHub event.
    pub trigger: Option<Timestamp>,
    /// Newest pod started.
    pub start: Option<Timestamp>,
    /// Newest completion recorded.
    pub report: Option<Timestamp>,
    /// Newest batch or postsubmit: a merge happened.
    pub merge: Option<Timestamp>,
    pub periodic: Option<Timestamp>,
}

pub(super) fn flow(snapshot: &Snapshot, strays: &Strays) -> Flow {
    let placed = placed(snapshot);
    // A pod that went astray is no start, whatever its ProwJob says; nor is one that nobody can judge.
    let astray: BTreeSet<&str> = strays
        .strays()
        .chain(strays.unknown())
        .map(|judged| judged.pod.object.name.as_str())
        .filter(|name| !placed.contains(name))
        .collect();
    let Some(jobs) = snapshot.prowjobs.seen() else { return Flow::default() };
    let newest = |of: fn(&ProwJob) -> Option<Timestamp>, types: &[&str]| {
        jobs.iter()
            .filter(|job| types.is_empty() || types.contains(&job.job_type.as_str()))
            .filter_map(|job| of(job))
            .max()
    };
    Flow {
        trigger: newest(|job| job.created, &["presubmit", "postsubmit", "batch"]),
        start: jobs.iter().filter(|job| !astray.contains(job.name.as_str())).filter_map(|job| job.pending).max(),
        report: newest(|job| job.completed, &[]),
        // A postsubmit or a batch exists because something merged or was about to.
        merge: newest(|job| job.created, &["postsubmit", "batch"]),
        periodic: newest(|job| job.created, &["periodic"]),
    }
}
