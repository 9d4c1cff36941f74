//! Previews and runs any [`Plan`](crate::repair::Plan). No choices are left while running: a plan says what, its guards say
//! whether, the journal says what came of it.
//!
//! - [`guard`]: does a step still hold? pure
//! - [`preview`]: the server's dry run of every step
//! - [`start`], [`resume`]: the guarded, journalled run
//! - [`StopToken`]: how a person or a signal ends a run between two steps
//! - `fault` (debug builds only): ends the process at an exact point, for tests
//!
//! To add an op: its guard in [`guard`]; the rest follows from the gate.

mod ended;
mod execute;
#[cfg(debug_assertions)]
mod fault;
mod guard;
mod preview;
mod resume;
mod stop;

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::journal::Mode;
use crate::model::{Alias, ClusterIdentity, Failure, FailureKind, Key};
use crate::repair::undo::{LiveObjects, UndoSource};

pub use execute::start;
pub use preview::preview;
pub use resume::{ResumeStep, ResumeView, Standing, inspect, resume, settle};
pub use stop::StopToken;

/// The clusters that plans may be run on.
pub type Clusters = BTreeMap<Alias, Cluster>;

/// Who runs a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The user's name, as the server tells it.
    pub who: String,
    /// How the approval was given.
    pub mode: Mode,
}

/// Reads what [`undo::plan`](crate::repair::undo::plan) needs: what a run wrote, as it is now.
///
/// # Errors
/// One of them could not be read, or a cluster is another one than the run's: what lies there under the same name is no
/// business of its undo.
pub async fn read_for_undo(
    source: &UndoSource,
    identities: &[ClusterIdentity],
    clusters: &Clusters,
) -> Result<LiveObjects, Failure> {
    for identity in identities {
        crate::cluster::gate::prove(cluster_of(clusters, &identity.alias)?, identity).await?;
    }
    let mut live = LiveObjects::default();
    for object in source.config_maps() {
        let key = Key::new(object.namespace.clone(), object.name.clone());
        let state = cluster_of(clusters, &object.cluster)?.config_map(&key).await?;
        live.config_maps.insert((object.cluster.clone(), key), state);
    }
    for object in source.workloads() {
        let found = cluster_of(clusters, &object.cluster)?.live_workload(object).await?;
        live.workloads.insert(object.clone(), found.map(|found| found.state));
    }
    for object in source.jobs() {
        let found = cluster_of(clusters, &object.cluster)?.live_job(object).await?;
        live.jobs.insert(object.clone(), found.map(|job| job.uid));
    }
    Ok(live)
}

fn cluster_of<'a>(clusters: &'a Clusters, alias: &Alias) -> Result<&'a Cluster, Failure> {
    clusters.get(alias).ok_or_else(|| {
        Failure::new(FailureKind::Refused, format!("the plan spans cluster {alias}, and no context is known for it"))
            .hint(format!("name it: --build-context {alias}=CONTEXT"))
    })
}

/// The identity that a plan gives for a cluster.
fn expected<'a>(identities: &'a [ClusterIdentity], alias: &Alias) -> Result<&'a ClusterIdentity, Failure> {
    identities.iter().find(|identity| identity.alias == *alias).ok_or_else(|| {
        Failure::new(FailureKind::Refused, format!("the plan writes to cluster {alias} without saying which that is"))
            .hint("make the plan anew with prow-breakglass plan")
    })
}

#[cfg(test)]
mod strays_tests;
#[cfg(test)]
mod tests;
