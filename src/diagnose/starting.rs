//! Pods that start after a repair of ours: nothing is known to be wrong with them yet, and what we wrote did not begin what it ends.

use crate::model::{Component, ComponentPod, Container, ContainerState, FIELD_MANAGER, Timestamp};

use super::load_failure::config_maps_of;
use super::{Context, Finding, FindingKind, Severity};

/// What we wrote longer ago than this, in seconds, is no repair that goes on.
const REPAIR_SECONDS: i64 = 3600;
/// A pod that is not Ready after this many seconds hangs: as long as a kick waits for its proof.
const STARTS_WITHIN_SECONDS: i64 = 120;

/// The components whose new pods are all that is wrong with Prow, by name; `None` where something else is wrong, too.
pub(super) fn all_that_is_wrong(context: &Context<'_>, felt: &[&Finding]) -> Option<Vec<String>> {
    let worst = felt.iter().map(|finding| finding.severity).min().filter(|worst| *worst < Severity::Info)?;
    let mut names = Vec::new();
    for finding in felt.iter().filter(|finding| finding.severity == worst) {
        let is_of = |component: &&Component| finding.subjects.contains(&component.object);
        let starting = context.components().iter().filter(is_of).find(|component| is_starting(context, component));
        let name = starting.filter(|_| is_want_of_pods(&finding.kind))?.object.name.clone();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Some(names)
}

/// True for what says no more than that pods are not Ready.
pub(super) fn is_want_of_pods(kind: &FindingKind) -> bool {
    matches!(kind, FindingKind::NotReady { .. } | FindingKind::NoReadyEndpoints { .. })
}

/// True where we wrote what a component reads, and all its pods that are not Ready came after it, and just now.
pub(super) fn is_starting(context: &Context<'_>, component: &Component) -> bool {
    let now = context.snapshot.taken_at_server().as_second();
    let Some(live) = context.snapshot.service.config_maps.seen() else { return false };
    let writers = config_maps_of(component).into_iter().filter_map(|key| live.get(&key)?.last_writer());
    let ours = writers.filter(|writer| writer.manager == FIELD_MANAGER).filter_map(|writer| writer.at).max();
    let Some(written) = ours.filter(|written| now - written.as_second() < REPAIR_SECONDS) else { return false };
    let mut lacking = component.pods.iter().filter(|pod| !pod.ready && !pod.deleting).peekable();
    lacking.peek().is_some() && lacking.all(|pod| starts(pod, written, now))
}

fn starts(pod: &ComponentPod, written: Timestamp, now: i64) -> bool {
    pod.created.is_some_and(|created| created >= written && now - created.as_second() < STARTS_WITHIN_SECONDS)
        && pod.containers.iter().all(is_in_first_life)
}

/// True where nothing was heard of it but that it is about to run, or does; for an init container, that it is through.
fn is_in_first_life(container: &Container) -> bool {
    let is_on_its_way = match &container.state {
        ContainerState::Waiting { reason, .. } => {
            matches!(reason.as_str(), "" | "ContainerCreating" | "PodInitializing")
        }
        ContainerState::Terminated(exit) => exit.code == 0,
        ContainerState::Running { .. } | ContainerState::Unknown => true,
    };
    is_on_its_way && container.restarts == 0 && container.last_exit.is_none()
}
