//! Who started on what is live, and what is to be remembered of it.
//!
//! A container is credited with its own image, never with what its workload asks for: during a rollout these differ, and
//! what the old version loaded says nothing of the new one. While a reader refuses its configuration, or crash-loops and
//! nobody knows of what, nothing is loaded.

use std::collections::BTreeSet;

use crate::model::{
    Checked, Component, ComponentPod, ConfigMapState, Container, ContainerState, Key, Snapshot, Timestamp, Witness,
};
use crate::prow::log::is_config_failure;
use crate::prow::{ConfigFiles, Layout, image, layout};

use super::deployed::{Deployed, deployed_tags};
use super::load_failure::{KUBELET_DELAY_SECONDS, SETTLED_SECONDS, config_maps_of, load_failures};
use super::versions::role_image;

/// The containers that carry the component's role, with their pods: what stands beside them reads no configuration of Prow's.
pub(super) fn role_containers(component: &Component) -> impl Iterator<Item = (&ComponentPod, &Container)> {
    let containers = component.pods.iter().flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)));
    containers.filter(|(_, container)| container.name == component.container)
}

/// True when every version that reads this ConfigMap at start, and is meant to run, has started on it: a Ready container of that
/// version began after the last write had reached it.
pub(super) fn all_started_on(state: &ConfigMapState, components: &[Component], now: Timestamp) -> bool {
    let started: BTreeSet<&str> =
        starts(state, components, now).map(|(_, container)| version(&container.image)).collect();
    let readers = readers(&state.key, components).filter(|component| !component.is_idle_by_intent());
    let mut wanted = readers.filter_map(role_image).map(version).peekable();
    wanted.peek().is_some() && wanted.all(|version| started.contains(version))
}

/// The live ConfigMaps that are loaded now, each with the images that did: a Ready container that reads it at start began after
/// it was written, and nobody refuses it.
pub fn loaded_now(snapshot: &Snapshot) -> Vec<(&ConfigMapState, Vec<String>)> {
    let (Some(live), Some(components)) = (snapshot.service.config_maps.known(), snapshot.service.components.known())
    else {
        return Vec::new();
    };
    let refused = refused_maps(snapshot);
    live.values()
        .filter(|state| !refused.contains(&state.key))
        .map(|state| {
            // As their workloads ask for them.
            let own = |(component, container): (&Component, &Container)| {
                role_image(component).filter(|image| version(image) == version(&container.image)).map(str::to_owned)
            };
            let images: BTreeSet<String> = starts(state, components, snapshot.taken_at).filter_map(own).collect();
            (state, images.into_iter().collect::<Vec<_>>())
        })
        .filter(|(_, images)| !images.is_empty())
        .collect()
}

/// What Ready containers started on, tag by tag: to be remembered, for a later write makes it a thing of the past.
pub fn started_now(snapshot: &Snapshot) -> Vec<Checked> {
    let (Some(live), Some(components), Some(identity)) =
        (snapshot.service.config_maps.known(), snapshot.service.components.known(), snapshot.service.identity.known())
    else {
        return Vec::new();
    };
    let files = ConfigFiles::of_components(components.iter());
    // What is left of it is not what they started on.
    if layout::absent(&files, live, components).is_some() {
        return Vec::new();
    }
    let Some(layout) = Layout::of_live(live, &files) else { return Vec::new() };
    let maps: Vec<&ConfigMapState> = layout.values().filter_map(|value| live.get(value.0)).collect();
    let refused = refused_maps(snapshot);
    if maps.iter().any(|map| refused.contains(&map.key)) {
        return Vec::new();
    }
    let started = |tag: &str, map: &ConfigMapState| {
        starts(map, components, snapshot.taken_at).any(|(_, container)| image::tag(&container.image) == Some(tag))
    };
    let has_started = |tag: &String| maps.iter().all(|map| started(tag, map));
    let tags: Vec<String> = deployed_tags(components).into_iter().filter(has_started).collect();
    if tags.is_empty() {
        return Vec::new();
    }
    let content = layout.digest();
    let further = Deployed::of(snapshot).further;
    let seen = |tag: String| Checked {
        content: content.clone(),
        refused: None,
        by: Witness::Running {
            server: identity.server.clone(),
            uid: identity.uid.clone(),
            tag,
            further: further.clone(),
        },
        at: snapshot.taken_at,
    };
    tags.into_iter().map(seen).collect()
}

/// The ConfigMaps that a component refuses by its own log, be it their content of now or of a moment ago: it is not back.
fn refused_maps(snapshot: &Snapshot) -> BTreeSet<Key> {
    load_failures(snapshot).iter().flat_map(|failure| config_maps_of(failure.component)).collect()
}

fn readers<'a>(map: &Key, components: &'a [Component]) -> impl Iterator<Item = &'a Component> {
    components.iter().filter(move |component| config_maps_of(component).contains(map))
}

/// The Ready containers that read this ConfigMap at start and found its last content there.
fn starts<'a>(
    state: &ConfigMapState,
    components: &'a [Component],
    now: Timestamp,
) -> impl Iterator<Item = (&'a Component, &'a Container)> {
    let written = state.last_writer().and_then(|writer| writer.at);
    let is_mute =
        readers(&state.key, components).flat_map(role_containers).any(|(_, container)| is_mute(container, now));
    let found: Vec<_> = match written.filter(|_| !is_mute) {
        None => Vec::new(),
        Some(written) => readers(&state.key, components)
            .flat_map(|component| role_containers(component).map(move |(pod, container)| (component, pod, container)))
            .filter(|(_, pod, container)| has_read(pod, container, written))
            .map(|(component, _, container)| (component, container))
            .collect(),
    };
    found.into_iter()
}

/// It began after the write, and the write had reached its pod: the pod is younger, the kubelet has had its time, or the life
/// before this one was refused what was there then.
fn has_read(pod: &ComponentPod, container: &Container, written: Timestamp) -> bool {
    let since = match &container.state {
        ContainerState::Running { since: Some(since) } if container.ready && *since > written => since,
        ContainerState::Running { .. }
        | ContainerState::Waiting { .. }
        | ContainerState::Terminated(_)
        | ContainerState::Unknown => return false,
    };
    pod.created.is_some_and(|created| created > written)
        || since.as_second() - written.as_second() >= KUBELET_DELAY_SECONDS
        || container.last_fatal.as_ref().is_some_and(is_config_failure)
}

/// It crashes, and no log tells of what.
fn is_mute(container: &Container, now: Timestamp) -> bool {
    let crashed = match &container.state {
        ContainerState::Waiting { .. } => container.is_crash_looping(),
        ContainerState::Terminated(exit) => exit.code != 0,
        // Between two crashes it runs for a moment; one that runs for longer is not ready for another reason.
        ContainerState::Running { since } => {
            since.is_none_or(|since| now.as_second() - since.as_second() <= SETTLED_SECONDS)
                && container.last_exit.as_ref().is_some_and(|exit| exit.code != 0)
        }
        ContainerState::Unknown => false,
    };
    crashed && !container.ready && container.last_fatal.is_none()
}

/// The tag, or the whole of an image without one.
fn version(image: &str) -> &str {
    image::tag(image).unwrap_or(image)
}

#[cfg(test)]
#[path = "started_tests.rs"]
mod tests;
