//! `config-at-risk-on-restart`: healthy components that run on what they loaded before, and would not come back.

use std::collections::BTreeMap;

use crate::model::{Component, ConfigMapState, ContainerState, Key, KnownFrom, ObjectRef, Timestamp, config_map_ref};

use super::load::refused_is_live;
use super::load_failure::{CrashContent, config_maps_of, suspect};
use super::started::all_started_on;
use super::{Basis, Context, Finding, FindingKind, Severity, id, subject};

/// One finding a ConfigMap: the cause is one.
pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let service = &context.snapshot.service;
    let Some(live) = service.config_maps.seen() else { return Vec::new() };

    // Bad as a FACT where a component refused it and the place is found in it; as a GUESS where the place is only
    // suspected, or where nobody has tried yet and only our rules speak against it.
    let mut bad: BTreeMap<Key, (Basis, String)> = BTreeMap::new();
    for failure in context.failures.iter().filter(|failure| failure.content == CrashContent::Live) {
        let basis = if failure.culprits.is_empty() { Basis::Guess } else { Basis::Fact };
        if let Some(map) = suspect(context.snapshot, failure) {
            let why = format!("{} refuses it: {}", failure.component.object.name, failure.line.error);
            bad.entry(map.key.clone()).or_insert((basis, why));
        }
    }
    for content in &context.refused {
        if let Some(basis) = refused_is_live(context.snapshot, content) {
            let images = content.images.join(", ");
            bad.entry(content.config_map.clone()).or_insert_with(|| {
                (basis, format!("{images} refused this very content at {}: {}", content.at, content.error))
            });
        }
    }
    // Where a checkconfig has spoken, `config-invalid` says it, or nobody has to.
    let is_open = context.live.as_ref().is_none_or(|verdict| verdict.from == KnownFrom::Rules);
    // Of a picture that is lost nothing is told that may have been mended since.
    if context.failures.is_empty() && is_open && service.config_maps.known().is_some() {
        for objection in context.rules.objections() {
            let is_open = |key: &&Key| live.get(key).is_some_and(|map| !proven(context, map));
            let Some(map) = objection.config_map.as_ref().filter(is_open) else { continue };
            let why = format!("Prow's rules, as this tool knows them: {}", objection.message);
            bad.entry(map.clone()).or_insert((Basis::Guess, why));
        }
    }

    let mut findings = Vec::new();
    for (key, (basis, why)) in bad {
        let written = live.get(&key).and_then(|state| state.last_writer()).and_then(|writer| writer.at);
        let mut evidence = vec![why];
        let at_risk = running_on_older(context, &key, written);
        let names: Vec<String> = at_risk.iter().map(|(component, _)| component.object.name.clone()).collect();
        let mut subjects: Vec<ObjectRef> = at_risk.iter().map(|(component, _)| component.object.clone()).collect();
        evidence.extend(at_risk.into_iter().map(|(_, how)| how));
        if names.is_empty() {
            continue;
        }
        let object = config_map_ref(&service.alias, &key);
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

/// The components that run on what they loaded before the ConfigMap was written, each with how we know.
pub(super) fn running_on_older<'a>(
    context: &'a Context<'_>,
    key: &Key,
    written: Option<Timestamp>,
) -> Vec<(&'a Component, String)> {
    let readers = context.components().iter().filter(|component| config_maps_of(component).contains(key));
    let older = readers.filter_map(|component| {
        // Only those that run on: started before the write, so they hold the older content.
        let running =
            component.pods.iter().flat_map(|pod| &pod.containers).find_map(|container| match &container.state {
                ContainerState::Running { since } if container.ready => Some((since, &container.reload_error)),
                ContainerState::Running { .. }
                | ContainerState::Waiting { .. }
                | ContainerState::Terminated(_)
                | ContainerState::Unknown => None,
            });
        let (since, reload_error) = running?;
        if let (Some(since), Some(written)) = (since, written)
            && *since > written
        {
            return None;
        }
        let since = since.map_or("an unknown time".to_owned(), |since| since.to_string());
        let name = &component.object.name;
        let how = match reload_error {
            Some(line) => format!("{name} runs since {since}, and refused to reload: {}", line.error),
            None => format!("{name} runs since {since}, before the ConfigMap was written"),
        };
        Some((component, how))
    });
    older.collect()
}

fn proven(context: &Context<'_>, map: &ConfigMapState) -> bool {
    all_started_on(map, context.components(), context.snapshot.taken_at)
}
