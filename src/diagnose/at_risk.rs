//! `config-at-risk-on-restart`: healthy components that run on what they loaded before, and would not come back.

use std::collections::BTreeMap;

use crate::model::{ContainerState, Key, ObjectRef, config_map_ref};

use super::compare::digests;
use super::load_failure::{CrashContent, config_maps_of, fault_in_live};
use super::{Basis, Context, Finding, FindingKind, Severity, id, subject};

/// One finding a ConfigMap: the cause is one.
pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let service = &context.snapshot.service;
    let Some(live) = service.config_maps.seen() else { return Vec::new() };

    // A map is bad as a FACT where a component refused the live content, when it started, when it reloaded, or in an
    // earlier incident; as a GUESS where nobody can tell which of its maps it refused.
    let mut bad: BTreeMap<&Key, (Basis, String)> = BTreeMap::new();
    for failure in context.failures.iter().filter(|failure| failure.content == CrashContent::Live) {
        let (basis, key) = match failure.culprits.first() {
            Some((key, _)) => (Basis::Fact, live.get_key_value(key).map(|(key, _)| key)),
            None => (
                Basis::Guess,
                config_maps_of(failure.component)
                    .iter()
                    .filter_map(|key| live.get_key_value(key))
                    .max_by_key(|(_, state)| state.last_writer().and_then(|writer| writer.at))
                    .map(|(key, _)| key),
            ),
        };
        if let Some(key) = key {
            bad.entry(key)
                .or_insert((basis, format!("{} refuses it: {}", failure.component.object.name, failure.line.error)));
        }
    }
    for (key, component, error) in refused_reloads(context) {
        if let Some((key, _)) = live.get_key_value(&key) {
            bad.entry(key).or_insert((Basis::Fact, format!("{component} refused to reload it: {error}")));
        }
    }
    for content in &context.refused {
        if let Some((key, state)) = live.get_key_value(&content.config_map)
            && content.keys == digests(&state.values)
        {
            let images = content.images.join(", ");
            bad.entry(key).or_insert_with(|| {
                (Basis::Fact, format!("{images} refused this very content at {}: {}", content.at, content.error))
            });
        }
    }

    let mut findings = Vec::new();
    for (key, (basis, why)) in bad {
        let written = live.get(key).and_then(|state| state.last_writer()).and_then(|writer| writer.at);
        let mut names = Vec::new();
        let mut subjects: Vec<ObjectRef> = Vec::new();
        let mut evidence = vec![why];
        for component in context.components() {
            if !config_maps_of(component).contains(key) {
                continue;
            }
            // Only those that run on: started before the write, so they hold the older content.
            let running =
                component.pods.iter().flat_map(|pod| &pod.containers).find_map(|container| match &container.state {
                    ContainerState::Running { since } if container.ready => Some((since, &container.reload_error)),
                    ContainerState::Running { .. }
                    | ContainerState::Waiting { .. }
                    | ContainerState::Terminated(_)
                    | ContainerState::Unknown => None,
                });
            let Some((since, reload_error)) = running else { continue };
            if let (Some(since), Some(written)) = (since, written)
                && *since > written
            {
                continue;
            }
            names.push(component.object.name.clone());
            subjects.push(component.object.clone());
            let since = since.map_or("an unknown time".to_owned(), |since| since.to_string());
            evidence.push(match reload_error {
                Some(line) => {
                    format!("{} runs since {since}, and refused to reload: {}", component.object.name, line.error)
                }
                None => format!("{} runs since {since}, before the ConfigMap was written", component.object.name),
            });
        }
        if names.is_empty() {
            continue;
        }
        let object = config_map_ref(&service.alias, key);
        subjects.push(object.clone());
        let kind = FindingKind::ConfigAtRiskOnRestart { components: names, config_map: key.clone() };
        findings.push(Finding {
            id: id(&kind, &subject(&object)),
            severity: Severity::Warn,
            basis,
            kind,
            subjects,
            since: written,
            evidence,
            repairs: vec![crate::repair::RepairId::SyncConfig],
        });
    }
    findings
}

/// Live ConfigMaps that hold the fault for which a running component refused to reload, with its name and the error. A
/// line whose fault is not found may be of an older content: the kubelet brings a new one in only after a while.
fn refused_reloads(context: &Context<'_>) -> Vec<(Key, String, String)> {
    let mut found = Vec::new();
    for component in context.components() {
        let containers = component.pods.iter().flat_map(|pod| &pod.containers);
        for line in containers.filter_map(|container| container.reload_error.as_ref()) {
            let faults = fault_in_live(context.snapshot, context.components(), &line.error);
            let places = faults.into_iter().map(|(key, _)| key);
            found.extend(places.map(|key| (key, component.object.name.clone(), line.error.clone())));
        }
    }
    found
}
