//! `config-invalid`: Prow's own checkconfig refuses what is live, although nothing has crashed on it yet.

use crate::model::{Key, KnownFrom, ObjectRef, config_map_ref};

use super::at_risk::running_on_older;
use super::{Basis, Context, Finding, FindingKind, Severity, id, subject};

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let Some(verdict) = &context.live else { return Vec::new() };
    let Some(objection) = verdict.refused() else { return Vec::new() };
    match verdict.from {
        KnownFrom::Checkconfig { .. } | KnownFrom::Job { .. } => {}
        // Other findings tell of these.
        KnownFrom::Log { .. }
        | KnownFrom::Running
        | KnownFrom::Memory { .. }
        | KnownFrom::Resembles { .. }
        | KnownFrom::Rules => return Vec::new(),
    }
    let service = &context.snapshot.service;
    let live = service.config_maps.seen();
    let read: Vec<Key> = match &objection.config_map {
        Some(map) => vec![map.clone()],
        // Which file is not told: any of them.
        None => live.into_iter().flat_map(|maps| maps.keys().cloned()).collect(),
    };
    let written = |map: &Key| live.and_then(|maps| maps.get(map)?.last_writer()?.at);
    let mut evidence = vec![format!("{}: {}{}", verdict.from, objection.message, objection.place())];
    let mut at_risk: Vec<String> = Vec::new();
    let mut subjects: Vec<ObjectRef> = Vec::new();
    for (component, how) in read.iter().flat_map(|map| running_on_older(context, map, written(map))) {
        if !at_risk.contains(&component.object.name) {
            at_risk.push(component.object.name.clone());
            subjects.push(component.object.clone());
            evidence.push(how);
        }
    }
    subjects.extend(objection.config_map.iter().map(|map| config_map_ref(&service.alias, map)));
    let about = match &objection.config_map {
        Some(map) => subject(&config_map_ref(&service.alias, map)),
        None => service.alias.to_string(),
    };
    let kind = FindingKind::ConfigInvalid { objection: objection.clone(), by: verdict.from.to_string(), at_risk };
    vec![Finding {
        id: id(&kind, &about),
        severity: Severity::Warn,
        basis: if verdict.from.is_fact() { Basis::Fact } else { Basis::Guess },
        kind,
        subjects,
        since: objection.config_map.as_ref().and_then(written),
        evidence,
        repairs: vec![crate::repair::RepairId::SyncConfig],
    }]
}
