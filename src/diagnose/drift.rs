//! `configmap-drift`, `configmap-missing`, `configmap-stale-keys`: live ConfigMaps against the chosen revision.

use serde::{Deserialize, Serialize};

use crate::model::{DesiredConfigMap, DesiredEntry, Key, ObjectRef, Snapshot, Source, Values, config_map_ref};
use crate::prow::at_once;
use crate::repair::RepairId;

use super::choose::{Choice, choice_candidate};
use super::compare::{VERSION_KEY, same_value};
use super::load_failure::{CrashContent, LoadFailure, config_maps_of, suspect};
use super::{Basis, Context, Finding, FindingKind, Severity, id, subject};

/// A ConfigMap, live against git at the chosen revision.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigMapDrift {
    pub object: ObjectRef,
    pub state: DriftState,
    /// Keys that differ or are equal, by name.
    pub keys: Vec<KeyDrift>,
    /// Keys that git does not know and that a component refuses: a repair removes these, and only these, unasked.
    pub blamed: Vec<BlamedKey>,
    /// Bytes stored live, as the API server counts them.
    pub bytes: usize,
}

/// A key that git does not know, and why it is what a component refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlamedKey {
    pub key: String,
    /// FACT: what the component says is found in it. GUESS: nothing else of the ConfigMap differs from git.
    pub basis: Basis,
    /// Who refuses it, and its words.
    pub component: String,
    pub error: String,
}

impl ConfigMapDrift {
    /// Why a repair removes this key unasked, where it does.
    pub fn blame(&self, key: &str) -> Option<&BlamedKey> {
        self.blamed.iter().find(|blamed| blamed.key == key)
    }

    pub fn count(&self, change: KeyChange) -> usize {
        self.keys.iter().filter(|key| key.change == change).count()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriftState {
    Same,
    Drift,
    Missing,
    /// Live, mounted by a component, and no map of git writes it.
    Unmanaged,
    /// Could not be read.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDrift {
    pub key: String,
    pub change: KeyChange,
    /// File of the repository, where there is one.
    pub path: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyChange {
    Same,
    /// In git, not live: a repair would add it.
    Added,
    /// Live, not in git: kept unless pruned.
    Removed,
    Changed,
}

/// Every ConfigMap that git asks for or a component's configuration lies in, against the live one.
pub(super) fn compare(
    snapshot: &Snapshot,
    failures: &[LoadFailure<'_>],
    choice: Option<&Choice>,
) -> Vec<ConfigMapDrift> {
    let desired: Vec<&DesiredConfigMap> = snapshot
        .desired
        .seen()
        .zip(choice)
        .and_then(|(desired, choice)| choice_candidate(desired, choice))
        .and_then(|candidate| candidate.config_maps.as_ref().ok())
        .map_or(Vec::new(), |maps| maps.iter().collect());
    let mut all: Vec<ConfigMapDrift> = desired.iter().map(|map| compare_one(snapshot, map)).collect();
    for drift in all.iter_mut().filter(|drift| drift.object.cluster == snapshot.service.alias) {
        drift.blamed = blamed(snapshot, failures, drift);
    }

    let components = snapshot.service.components.seen().map_or(&[][..], Vec::as_slice);
    let mut unmanaged: Vec<Key> = components
        .iter()
        .flat_map(config_maps_of)
        .filter(|key| !desired.iter().any(|map| map.key == *key && is_for_service(snapshot, map)))
        .collect();
    unmanaged.sort();
    unmanaged.dedup();
    for key in unmanaged {
        let state = snapshot.service.config_maps.seen().and_then(|maps| maps.get(&key));
        all.push(ConfigMapDrift {
            object: config_map_ref(&snapshot.service.alias, &key),
            // Without a revision nothing can be said of drift.
            state: match (choice, state) {
                (Some(_), Some(_)) => DriftState::Unmanaged,
                (None, _) | (_, None) => DriftState::Unknown,
            },
            // Keys that nothing was compared with are not equal keys.
            keys: state.filter(|_| choice.is_some()).map_or(Vec::new(), |state| {
                let keys = state.values.keys();
                keys.map(|key| KeyDrift { key: key.clone(), change: KeyChange::Same, path: None }).collect()
            }),
            blamed: Vec::new(),
            bytes: state.map_or(0, crate::model::ConfigMapState::bytes),
        });
    }
    all.sort_by(|a, b| a.object.cmp(&b.object));
    all
}

fn is_for_service(snapshot: &Snapshot, map: &DesiredConfigMap) -> bool {
    snapshot.config_map_cluster(&map.cluster).is_some_and(|view| view.alias == snapshot.service.alias)
}

fn compare_one(snapshot: &Snapshot, desired: &DesiredConfigMap) -> ConfigMapDrift {
    // What goes to a cluster that nobody knows keeps its alias.
    let view = snapshot.config_map_cluster(&desired.cluster);
    let object = config_map_ref(view.map_or(&desired.cluster, |view| &view.alias), &desired.key);
    let drift = |object, state, keys, bytes| ConfigMapDrift { object, state, keys, blamed: Vec::new(), bytes };
    let unknown = |object| drift(object, DriftState::Unknown, Vec::new(), 0);
    let Some(view) = view.filter(|view| view.is_plannable()) else { return unknown(object) };
    let maps = match &view.config_maps {
        Source::Known { value, .. } => value,
        Source::Loading | Source::Denied { .. } | Source::Lost { .. } => return unknown(object),
    };
    let Some(live) = maps.get(&desired.key) else {
        // A namespace that could not be listed is not one without ConfigMaps.
        if !view.sees_config_map(&desired.key) {
            return unknown(object);
        }
        let keys = desired.entries.iter().map(|(key, entry)| KeyDrift {
            key: key.clone(),
            change: KeyChange::Added,
            path: Some(entry.path.clone()),
        });
        return drift(object, DriftState::Missing, keys.collect(), 0);
    };
    let keys = compare_keys(&live.values, desired);
    let same = keys.iter().all(|key| key.change == KeyChange::Same);
    let state = if same { DriftState::Same } else { DriftState::Drift };
    drift(object.with_uid(&live.uid), state, keys, live.bytes())
}

/// Keys that git does not know, and that are what a component refuses: keeping them would keep the outage. Named by the
/// component's message; or all of them, where it names none of them and nothing else of the suspected ConfigMap differs.
fn blamed(snapshot: &Snapshot, failures: &[LoadFailure<'_>], drift: &ConfigMapDrift) -> Vec<BlamedKey> {
    let key = Key::new(&drift.object.namespace, &drift.object.name);
    let stale = || drift.keys.iter().filter(|key| key.change == KeyChange::Removed).map(|key| key.key.as_str());
    let live = || failures.iter().filter(|failure| failure.content == CrashContent::Live);
    let blamed = |stale: &str, failure: &LoadFailure<'_>, basis| BlamedKey {
        key: stale.to_owned(),
        basis,
        component: failure.component.object.name.clone(),
        error: failure.line.error.clone(),
    };
    let names = |failure: &LoadFailure<'_>, stale: &str| {
        failure.culprits.iter().any(|(map, name)| *map == key && name == stale)
    };
    let named: Vec<BlamedKey> = stale()
        .filter_map(|stale| {
            let failure = live().find(|failure| names(failure, stale))?;
            Some(blamed(stale, failure, Basis::Fact))
        })
        .collect();
    let only_stale = drift.count(KeyChange::Added) + drift.count(KeyChange::Changed) == 0;
    if !named.is_empty() || !only_stale {
        return named;
    }
    match live().find(|failure| suspect(snapshot, failure).is_some_and(|map| map.key == key)) {
        Some(failure) => stale().map(|stale| blamed(stale, failure, Basis::Guess)).collect(),
        None => Vec::new(),
    }
}

/// Key by key, after gunzip; VERSION is never drift.
fn compare_keys(live: &Values, desired: &DesiredConfigMap) -> Vec<KeyDrift> {
    let asked: Vec<(&String, &DesiredEntry)> = desired.entries.iter().collect();
    let bytes = live.values().map(Vec::len).sum();
    let changes = at_once(&asked, bytes, |(key, entry)| match live.get(*key) {
        None => KeyChange::Added,
        Some(value) if same_value(value, &entry.bytes) => KeyChange::Same,
        Some(_) => KeyChange::Changed,
    });
    let drift = |((key, entry), change): ((&String, &DesiredEntry), KeyChange)| KeyDrift {
        key: key.clone(),
        change,
        path: Some(entry.path.clone()),
    };
    let mut keys: Vec<KeyDrift> = asked.into_iter().zip(changes).map(drift).collect();
    keys.extend(
        live.keys().filter(|key| !desired.entries.contains_key(*key) && *key != VERSION_KEY).map(|key| KeyDrift {
            key: key.clone(),
            change: KeyChange::Removed,
            path: None,
        }),
    );
    keys.sort_by(|a, b| a.key.cmp(&b.key));
    keys
}

pub(super) fn find_drift(context: &Context<'_>) -> Vec<Finding> {
    let Some(choice) = &context.choice else { return Vec::new() };
    let mut findings = Vec::new();
    for drift in context.drift.iter().filter(|drift| drift.state == DriftState::Drift) {
        let config_map = Key::new(&drift.object.namespace, &drift.object.name);
        let (added, removed, changed) =
            (drift.count(KeyChange::Added), drift.count(KeyChange::Removed), drift.count(KeyChange::Changed));
        let stale: Vec<String> =
            drift.keys.iter().filter(|key| key.change == KeyChange::Removed).map(|key| key.key.clone()).collect();
        let mut evidence: Vec<String> = drift
            .keys
            .iter()
            .filter_map(|key| match key.change {
                KeyChange::Same => None,
                KeyChange::Added => Some(format!("key {}: in git, not live", key.key)),
                KeyChange::Removed if drift.blame(&key.key).is_some() => Some(format!(
                    "key {}: live, no file in git, and it is what is refused: a repair removes it",
                    key.key
                )),
                KeyChange::Removed => Some(format!("key {}: live, no file in git", key.key)),
                KeyChange::Changed => Some(format!("key {}: differs", key.key)),
            })
            .collect();
        if let Some(writer) = context.snapshot.live_config_map(&drift.object).and_then(|state| state.last_writer()) {
            let at = writer.at.map_or("at an unknown time".to_owned(), |at| at.to_string());
            evidence.insert(0, format!("last written {at} by {}", writer.manager));
        }
        let place = elsewhere(context, &drift.object);
        let kind = if added + changed > 0 {
            let revision = choice.revision.clone();
            FindingKind::ConfigMapDrift { config_map, place, revision, added, removed, changed }
        } else {
            FindingKind::ConfigMapStaleKeys { config_map, place, keys: stale }
        };
        findings.push(Finding {
            id: id(&kind, &subject(&ObjectRef { uid: None, ..drift.object.clone() })),
            severity: Severity::Warn,
            basis: Basis::Fact,
            kind,
            subjects: vec![drift.object.clone()],
            since: None,
            evidence,
            repairs: vec![RepairId::SyncConfig],
        });
    }
    findings
}

/// A ConfigMap that git asks for or that a component mounts is not there.
pub(super) fn find_missing(context: &Context<'_>) -> Vec<Finding> {
    let service = &context.snapshot.service;
    let Some(live) = service.config_maps.known() else { return Vec::new() };
    let absent = || context.drift.iter().filter(|drift| drift.state == DriftState::Missing).map(|drift| &drift.object);
    let (here, there): (Vec<&ObjectRef>, Vec<&ObjectRef>) =
        absent().partition(|object| object.cluster == service.alias);
    let asked: Vec<Key> = here.iter().map(|object| Key::new(&object.namespace, &object.name)).collect();
    let mut missing: Vec<(Key, Vec<String>)> = asked.iter().map(|key| (key.clone(), Vec::new())).collect();
    for component in context.components() {
        for mount in component.mounts.iter().filter(|mount| !mount.optional) {
            let key = &mount.config_map;
            if live.contains_key(key) || !service.sees_config_maps_of(&key.namespace) {
                continue;
            }
            match missing.iter_mut().find(|(known, _)| known == key) {
                Some((_, by)) => by.push(component.object.name.clone()),
                None => missing.push((key.clone(), vec![component.object.name.clone()])),
            }
        }
    }
    let mut findings: Vec<Finding> = missing
        .into_iter()
        .map(|(config_map, mut mounted_by)| {
            mounted_by.dedup();
            let object = config_map_ref(&service.alias, &config_map);
            let repairs = if asked.contains(&config_map) { vec![RepairId::SyncConfig] } else { Vec::new() };
            let evidence = match mounted_by.as_slice() {
                [] => vec!["asked for by git, mounted by no component".to_owned()],
                some => vec![format!("mounted by {}: new pods wait in ContainerCreating", some.join(", "))],
            };
            let severity = if mounted_by.is_empty() { Severity::Warn } else { Severity::Bad };
            let kind = FindingKind::ConfigMapMissing { config_map, place: None, mounted_by };
            missing_one(kind, object, severity, evidence, repairs)
        })
        .collect();
    findings.extend(there.into_iter().map(|object| {
        let config_map = Key::new(&object.namespace, &object.name);
        let kind =
            FindingKind::ConfigMapMissing { config_map, place: elsewhere(context, object), mounted_by: Vec::new() };
        let evidence = vec!["asked for by git, for jobs that run there".to_owned()];
        missing_one(kind, object.clone(), Severity::Warn, evidence, vec![RepairId::SyncConfig])
    }));
    findings
}

fn missing_one(
    kind: FindingKind,
    object: ObjectRef,
    severity: Severity,
    evidence: Vec<String>,
    repairs: Vec<RepairId>,
) -> Finding {
    let id = id(&kind, &subject(&object));
    Finding { id, severity, basis: Basis::Fact, kind, subjects: vec![object], since: None, evidence, repairs }
}

/// The context of a cluster other than the service cluster.
fn elsewhere(context: &Context<'_>, object: &ObjectRef) -> Option<String> {
    let snapshot = context.snapshot;
    (object.cluster != snapshot.service.alias).then(|| snapshot.context_of(&object.cluster).to_owned())
}
