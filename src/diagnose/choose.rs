//! Which revision a repair would write: the default of `--revision`.
//!
//! The head, where nothing speaks against it; else the newest known to load; else the newest that nothing speaks
//! against. In the first minute of 2019-01-23 the head *was* the broken commit: live equalled git.

use crate::model::{Candidate, Component, ConfigMapState, ContainerState, Desired, RefusedContent, Snapshot};

use super::compare::{is_refused_content, same_value};
use super::load_failure::config_maps_of;
use super::{Basis, Choice, ChoiceReason};

/// Chooses, or `None` where git cannot be seen or no revision is acceptable.
pub(super) fn choose(snapshot: &Snapshot, refused: &[RefusedContent]) -> Option<Choice> {
    let desired = snapshot.desired.seen()?;
    let choice = |candidate: &Candidate, basis, why| Choice { revision: candidate.revision.clone(), basis, why };
    if let Some(asked) = &desired.asked {
        let basis = if is_known_to_load(asked, snapshot) { Basis::Fact } else { Basis::Guess };
        return Some(choice(asked, basis, ChoiceReason::Asked));
    }
    if nothing_against(&desired.head, refused) {
        let basis = if is_known_to_load(&desired.head, snapshot) { Basis::Fact } else { Basis::Guess };
        return Some(choice(&desired.head, basis, ChoiceReason::Head));
    }
    let acceptable = || desired.candidates.iter().filter(|candidate| nothing_against(candidate, refused));
    if let Some(known) = acceptable().find(|candidate| is_known_to_load(candidate, snapshot)) {
        return Some(choice(known, Basis::Fact, ChoiceReason::NewestKnownToLoad));
    }
    acceptable().next().map(|candidate| choice(candidate, Basis::Guess, ChoiceReason::NewestWithoutObjection))
}

/// The candidate that a choice names.
pub fn choice_candidate<'a>(desired: &'a Desired, choice: &Choice) -> Option<&'a Candidate> {
    std::iter::once(&desired.head)
        .chain(&desired.asked)
        .chain(&desired.candidates)
        .find(|candidate| candidate.revision.id == choice.revision.id)
}

/// True when the revision can be rendered, our rules accept it and no component refused its content.
fn nothing_against(candidate: &Candidate, refused: &[RefusedContent]) -> bool {
    candidate.objections.is_empty() && candidate.config_maps.is_ok() && refusal(candidate, refused).is_none()
}

/// The refused content that a revision asks for again.
pub(super) fn refusal<'a>(candidate: &Candidate, refused: &'a [RefusedContent]) -> Option<&'a RefusedContent> {
    let maps = candidate.config_maps.as_ref().ok()?;
    refused.iter().find(|content| maps.iter().any(|map| is_refused_content(map, content)))
}

/// FACT: the live ConfigMaps hold this revision, and for each of them a Ready container started after it was written.
fn is_known_to_load(candidate: &Candidate, snapshot: &Snapshot) -> bool {
    let (Ok(desired), Some(live), Some(components)) =
        (candidate.config_maps.as_ref(), snapshot.service.config_maps.known(), snapshot.service.components.known())
    else {
        return false;
    };
    let mine: Vec<_> = desired.iter().filter(|map| map.cluster == snapshot.service.alias).collect();
    !mine.is_empty()
        && mine.iter().all(|map| {
            live.get(&map.key).is_some_and(|state| {
                map.entries
                    .iter()
                    .all(|(key, entry)| state.values.get(key).is_some_and(|value| same_value(value, &entry.bytes)))
                    && started_on(state, components)
            })
        })
}

/// True when a Ready container that reads this ConfigMap at start began after its last write.
pub(super) fn started_on(state: &ConfigMapState, components: &[Component]) -> bool {
    let Some(written) = state.last_writer().and_then(|writer| writer.at) else { return false };
    components
        .iter()
        .filter(|component| config_maps_of(component).contains(&state.key))
        .flat_map(|component| &component.pods)
        .flat_map(|pod| &pod.containers)
        .any(|container| {
            container.ready
                && matches!(container.state, ContainerState::Running { since: Some(since) } if since > written)
        })
}
