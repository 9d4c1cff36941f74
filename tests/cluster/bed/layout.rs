//! How the Prow of an incident is laid out: its namespaces, its version, its clusters.
//!
//! An incident names one of these (`incidents.rs`); everything that creates objects is told the layout.

use crate::binaries::PROW_TAG;
use crate::kubelet::images::{OLD_TAG, Programs};
use crate::stories::{BUMP, COMPRESSION, PRESETS, Story};

/// Where the pods of jobs live, in every Prow here.
pub const TEST_PODS: &str = "test-pods";

/// A Prow before anything happens to it.
pub struct Layout {
    /// Where its components and ProwJobs live.
    pub prow: &'static str,
    /// The version of all components.
    pub tag: &'static str,
    /// Its configuration repository.
    pub story: &'static Story,
    pub builds: Builds,
    pub programs: Programs,
}

/// Where jobs run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Builds {
    /// In Prow's own cluster, on nodes of KWOK: pods start whatever they mount.
    InServiceCluster,
    /// Trusted ones in Prow's cluster, the others in a second one; on nodes of the bed's kubelet, where a pod waits
    /// for the Secrets that it mounts.
    InBuildCluster,
    /// There are none.
    Nowhere,
}

/// The Prow of January 2019.
pub static JANUARY: Layout =
    Layout { prow: "prow", tag: PROW_TAG, story: &PRESETS, builds: Builds::InServiceCluster, programs: Programs::Real };

/// As January's, with another history.
pub static MARCH: Layout = Layout {
    prow: "prow",
    tag: PROW_TAG,
    story: &COMPRESSION,
    builds: Builds::InServiceCluster,
    programs: Programs::Real,
};

/// The Prow of February 2019: its components lived in `default`, as did its ProwJobs.
pub static FEBRUARY: Layout =
    Layout { prow: "default", tag: OLD_TAG, story: &BUMP, builds: Builds::InBuildCluster, programs: Programs::Real };

/// The Deployments of February's Prow without anything behind them: for failures of rollbacks, many times over.
pub static PLAYED: Layout =
    Layout { prow: "default", tag: OLD_TAG, story: &BUMP, builds: Builds::Nowhere, programs: Programs::Played };

/// The alias of the service cluster among the clusters for jobs.
pub const TRUSTED: &str = "test-infra-trusted";
/// The alias of the cluster for all jobs that name none.
pub const DEFAULT: &str = "default";
