//! Which revision a repair would write: the default of `--revision`.
//!
//! The head, where nothing speaks against it; else the newest known to load; else the newest that nothing speaks
//! against. In the first minute of 2019-01-23 the head *was* the broken commit: live equalled git.

use std::collections::BTreeSet;

use crate::model::{
    Candidate, Component, ConfigMapState, Container, ContainerState, Desired, DesiredConfigMap, Key, RefusedContent,
    Snapshot,
};

use crate::prow::image;

use super::compare::{is_refused_content, known_keys, same_value};
use super::load_failure::{CrashContent, LoadFailure, UPLOADERS, config_maps_of, load_failures};
use super::{Basis, Choice, ChoiceReason, ConfigMapDrift, DriftState};

/// Chooses, or `None` where git cannot be seen or no revision is acceptable.
pub(super) fn choose(snapshot: &Snapshot, failures: &[LoadFailure<'_>], refused: &[RefusedContent]) -> Option<Choice> {
    let desired = snapshot.desired.seen()?;
    let choice = |candidate: &Candidate, basis, why| Choice { revision: candidate.revision.clone(), basis, why };
    let known = |candidate: &Candidate| is_known_to_load(candidate, snapshot, failures);
    let basis = |candidate: &Candidate| if known(candidate) { Basis::Fact } else { Basis::Guess };
    if let Some(asked) = &desired.asked {
        return Some(choice(asked, basis(asked), ChoiceReason::Asked));
    }
    // That it runs beats any memory of a refusal and any rule of ours.
    let acceptable = |candidate: &&Candidate| nothing_against(candidate, desired, refused) || known(candidate);
    if acceptable(&&desired.head) {
        return Some(choice(&desired.head, basis(&desired.head), ChoiceReason::Head));
    }
    if let Some(loaded) = desired.candidates.iter().filter(acceptable).find(|candidate| known(candidate)) {
        return Some(choice(loaded, Basis::Fact, ChoiceReason::NewestKnownToLoad));
    }
    // Where a key that was only guessed to be at fault stands in every revision, that guess speaks against none of them.
    let at_least = |candidate: &&Candidate| {
        let refused_as_fact = matches!(refusal(candidate, desired, refused), Some((_, Basis::Fact)));
        candidate.objections.is_empty() && candidate.config_maps.is_ok() && !refused_as_fact
    };
    let newest = desired.candidates.iter().find(acceptable).or_else(|| desired.candidates.iter().find(at_least))?;
    Some(choice(newest, Basis::Guess, ChoiceReason::NewestWithoutObjection))
}

/// The candidate that a choice names.
pub fn choice_candidate<'a>(desired: &'a Desired, choice: &Choice) -> Option<&'a Candidate> {
    std::iter::once(&desired.head)
        .chain(&desired.asked)
        .chain(&desired.candidates)
        .find(|candidate| candidate.revision.id == choice.revision.id)
}

/// True when the revision can be rendered, our rules accept it and no component refused its content.
fn nothing_against(candidate: &Candidate, desired: &Desired, refused: &[RefusedContent]) -> bool {
    candidate.objections.is_empty() && candidate.config_maps.is_ok() && refusal(candidate, desired, refused).is_none()
}

/// The refused content that a revision asks for again.
pub(super) fn refusal<'a>(
    candidate: &Candidate,
    desired: &Desired,
    refused: &'a [RefusedContent],
) -> Option<(&'a RefusedContent, Basis)> {
    let maps = candidate.config_maps.as_ref().ok()?;
    let found = refused.iter().filter_map(|content| {
        let known = known_keys(desired, &content.config_map);
        let basis = maps.iter().filter_map(|map| is_refused_content(map, content, &known)).min()?;
        Some((content, basis))
    });
    found.min_by_key(|(_, basis)| *basis)
}

/// FACT: the live ConfigMaps hold this revision, for each of them a Ready container started after it was written, and
/// nobody refuses what is live.
pub(super) fn is_known_to_load(candidate: &Candidate, snapshot: &Snapshot, failures: &[LoadFailure<'_>]) -> bool {
    if failures.iter().any(|failure| failure.content == CrashContent::Live) {
        return false;
    }
    let (Ok(desired), Some(live), Some(components)) =
        (candidate.config_maps.as_ref(), snapshot.service.config_maps.known(), snapshot.service.components.known())
    else {
        return false;
    };
    let service = &snapshot.service.alias;
    let is_here =
        |map: &&DesiredConfigMap| snapshot.config_map_cluster(&map.cluster).is_some_and(|view| view.alias == *service);
    let mine: Vec<_> = desired.iter().filter(is_here).collect();
    !mine.is_empty()
        && mine
            .iter()
            .all(|map| live.get(&map.key).is_some_and(|state| holds(state, map) && started_on(state, components)))
}

/// True when a Ready container that reads this ConfigMap at start began after its last write.
pub(super) fn started_on(state: &ConfigMapState, components: &[Component]) -> bool {
    !images_started_on(state, components).is_empty()
}

/// The images of the Ready containers that read this ConfigMap at start and began after its last write. During a rollout what the
/// old version loaded says nothing of the new one; while a reader crash-loops and nobody knows of what, nothing does.
fn images_started_on<'a>(state: &ConfigMapState, components: &'a [Component]) -> BTreeSet<&'a String> {
    let Some(written) = state.last_writer().and_then(|writer| writer.at) else { return BTreeSet::new() };
    let readers = || components.iter().filter(|component| config_maps_of(component).contains(&state.key));
    let containers = |component: &'a Component| component.pods.iter().flat_map(|pod| &pod.containers);
    let is_mute = |container: &Container| container.is_crash_looping() && container.last_fatal.is_none();
    if readers().flat_map(containers).any(is_mute) {
        return BTreeSet::new();
    }
    let began = |container: &&Container| {
        container.ready && matches!(container.state, ContainerState::Running { since: Some(since) } if since > written)
    };
    let runs = |component: &'a Component| {
        let of_spec = |container: &'a Container| {
            let tag = image::tag(&container.image);
            component
                .spec_images
                .iter()
                .find(|spec| **spec == container.image || (tag.is_some() && image::tag(spec) == tag))
        };
        containers(component).filter(began).filter_map(of_spec)
    };
    readers().flat_map(runs).collect()
}

/// The live ConfigMaps that are loaded now, each with the images that did: a Ready container that reads it at start began after
/// it was written, and nobody refuses it.
pub fn loaded_now(snapshot: &Snapshot) -> Vec<(&ConfigMapState, Vec<String>)> {
    let (Some(live), Some(components)) = (snapshot.service.config_maps.known(), snapshot.service.components.known())
    else {
        return Vec::new();
    };
    let failures = load_failures(snapshot);
    let is_refused = |state: &ConfigMapState| {
        failures.iter().any(|failure| {
            failure.content == CrashContent::Live && config_maps_of(failure.component).contains(&state.key)
        })
    };
    live.values()
        .filter(|state| !is_refused(state))
        .map(|state| (state, images_started_on(state, components)))
        .filter(|(_, images)| !images.is_empty())
        .map(|(state, images)| (state, images.into_iter().cloned().collect()))
        .collect()
}

/// Why the checkout may be behind: Prow itself uploaded something that no revision here asks for, after the checkout was
/// last fetched. Then git's head is not what people merged last, and writing it would take production back.
pub fn stale_checkout(snapshot: &Snapshot, drift: &[ConfigMapDrift]) -> Option<String> {
    let desired = snapshot.desired.seen()?;
    let seen_until = desired.fetched.unwrap_or(desired.head.revision.committed).max(desired.head.revision.committed);
    drift.iter().filter(|drift| drift.state == DriftState::Drift).find_map(|drift| {
        let key = Key::new(&drift.object.namespace, &drift.object.name);
        let state = snapshot.live_config_map(&drift.object)?;
        let writer = state.last_writer().filter(|writer| UPLOADERS.contains(&writer.manager.as_str()))?;
        let written = writer.at.filter(|at| *at > seen_until)?;
        let is_here = |candidate: &Candidate| {
            let maps = candidate.config_maps.as_ref().map_or(&[][..], |maps| maps.as_slice());
            snapshot.asked_of(maps, &drift.object).is_some_and(|map| holds(state, map))
        };
        let known = is_here(&desired.head) || desired.candidates.iter().any(is_here);
        (!known).then(|| {
            format!(
                "ConfigMap {key} was uploaded {written} by {} with a content that no revision here asks for, and the checkout \
                 knows nothing newer than {seen_until}",
                writer.manager
            )
        })
    })
}

/// True when a live ConfigMap holds everything that a revision asks of it.
fn holds(state: &ConfigMapState, map: &DesiredConfigMap) -> bool {
    map.entries.iter().all(|(key, entry)| state.values.get(key).is_some_and(|value| same_value(value, &entry.bytes)))
}
