//! `maps-overlap`, `map-matches-nothing`, `map-refused`, `keys-collide`, `configmap-not-rendered`, `map-quirk`: what there
//! is to know of how files become ConfigMaps. `configmap-near-limit` of git and of what is live. `live-maps-differ`: hook
//! goes by the live plugins.yaml.

use std::collections::BTreeMap;

use crate::model::{
    Alias, CONFIG_MAP_LIMIT, Key, LeftOut, MapAt, MapFact, MapNote, Mapping, ObjectRef, Quirk, config_map_ref,
};
use crate::prow::ConfigFiles;
use crate::prow::gzip::inflated_len;
use crate::prow::plugins::{Map, Updater, parse_plugins};
use crate::prow::updater::NEAR_PERCENT;
use crate::repair::RepairId;

use super::{Basis, Context, Finding, FindingKind, Severity, id, subject};

/// Examples in the evidence of one finding.
const EXAMPLES: usize = 10;

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    context.snapshot.desired.seen().map_or_else(Vec::new, |desired| mapping_findings(&desired.mapping))
}

/// The notes on a mapping as findings; what is alike on the same maps is one.
pub fn mapping_findings(mapping: &Mapping) -> Vec<Finding> {
    let mut groups: Vec<(&MapNote, Vec<&MapNote>)> = Vec::new();
    for note in &mapping.notes {
        let alike = |first: &MapNote| (first.fact.code(), &first.maps) == (note.fact.code(), &note.maps);
        match groups.iter_mut().find(|(first, _)| alike(first)) {
            Some((_, more)) => more.push(note),
            None => groups.push((note, Vec::new())),
        }
    }
    let mut findings: Vec<Finding> =
        groups.into_iter().map(|(first, more)| mapping_finding(&mapping.plugins, first, &more)).collect();
    findings.sort_by_key(|finding| finding.severity);
    findings
}

fn mapping_finding(plugins: &str, note: &MapNote, more: &[&MapNote]) -> Finding {
    let mut subjects: Vec<ObjectRef> = Vec::new();
    for (cluster, key) in std::iter::once(note).chain(more.iter().copied()).flat_map(|note| &note.config_maps) {
        let object = config_map_ref(cluster, key);
        if !key.name.is_empty() && !subjects.contains(&object) {
            subjects.push(object);
        }
    }
    let mut evidence: Vec<String> = note.maps.iter().map(|map| place(plugins, map)).collect();
    let examples = std::iter::once(note).chain(more.iter().copied()).filter_map(|note| example(&note.fact));
    evidence.extend(examples.take(EXAMPLES));
    if more.len() >= EXAMPLES {
        evidence.push(format!("and {} more", more.len() + 1 - EXAMPLES));
    }
    let globs: Vec<&str> = note.maps.iter().map(|map| map.glob.as_str()).collect();
    let (severity, basis) = weight(&note.fact);
    let about = format!("{}/{}", note.fact.code(), globs.join(","));
    let kind = FindingKind::Mapping { plugins: plugins.to_owned(), note: note.clone(), more: more.len() };
    Finding { id: id(&kind, &about), severity, basis, kind, subjects, since: None, evidence, repairs: Vec::new() }
}

/// `config/prow/plugins.yaml:12: jobs/*.yaml`.
fn place(plugins: &str, map: &MapAt) -> String {
    match map.line {
        Some(line) => format!("{plugins}:{line}: {}", map.glob),
        None => format!("Prow's default map: {}", map.glob),
    }
}

/// What the note is about, where it is one file or key of several.
fn example(fact: &MapFact) -> Option<String> {
    match fact {
        MapFact::Overlap { files: _, example } => Some(format!("file {example}")),
        MapFact::KeysCollide { key, dropped, taken } => Some(format!("key {key}: {dropped} and {taken}")),
        MapFact::NotRendered(LeftOut::BadKey { key, path }) => Some(format!("file {path}: key {key}")),
        MapFact::NotRendered(LeftOut::Unreadable { path, .. }) => Some(format!("file {path}")),
        MapFact::Quirk(
            Quirk::TooShort { example: path, .. }
            | Quirk::VersionKey { path }
            | Quirk::Submodule { path }
            | Quirk::LinkedFolder { path },
        ) => Some(path.clone()),
        MapFact::NotRendered(
            LeftOut::NoName
            | LeftOut::BadName
            | LeftOut::TooLarge { .. }
            | LeftOut::OtherRepository { .. }
            | LeftOut::BoundToRepositories { .. },
        )
        | MapFact::Quirk(
            Quirk::NoMaps { .. }
            | Quirk::LiteralBraces
            | Quirk::GroupsForgetFullPath
            | Quirk::GroupsForgetRepositories
            | Quirk::GzipOnPlugins
            | Quirk::Environment { .. }
            | Quirk::WritesNowhere
            | Quirk::RepositoriesIgnored
            | Quirk::BootstrapperSkips,
        )
        | MapFact::MatchesNothing { .. }
        | MapFact::Refused { .. }
        | MapFact::NearLimit { .. } => None,
    }
}

/// What is random, lost or refused is above info; what a Prow can live with for years is not.
fn weight(fact: &MapFact) -> (Severity, Basis) {
    match fact {
        MapFact::Refused { .. } => (Severity::Warn, Basis::Guess),
        MapFact::MatchesNothing { fed: true } => (Severity::Info, Basis::Fact),
        MapFact::NotRendered(LeftOut::OtherRepository { .. } | LeftOut::BoundToRepositories { .. }) => {
            (Severity::Info, Basis::Fact)
        }
        MapFact::Quirk(Quirk::NoMaps { .. } | Quirk::TooShort { .. } | Quirk::GzipOnPlugins | Quirk::WritesNowhere)
        | MapFact::Overlap { .. }
        | MapFact::MatchesNothing { fed: false }
        | MapFact::KeysCollide { .. }
        | MapFact::NearLimit { .. }
        | MapFact::NotRendered(
            LeftOut::NoName
            | LeftOut::BadName
            | LeftOut::BadKey { .. }
            | LeftOut::Unreadable { .. }
            | LeftOut::TooLarge { .. },
        ) => (Severity::Warn, Basis::Fact),
        MapFact::Quirk(
            Quirk::LiteralBraces
            | Quirk::GroupsForgetFullPath
            | Quirk::GroupsForgetRepositories
            | Quirk::Environment { .. }
            | Quirk::VersionKey { .. }
            | Quirk::RepositoriesIgnored
            | Quirk::BootstrapperSkips
            | Quirk::Submodule { .. }
            | Quirk::LinkedFolder { .. },
        ) => (Severity::Info, Basis::Fact),
    }
}

/// Live ConfigMaps near the limit, unless git's content of them is said to be.
pub(super) fn find_near_limit(context: &Context<'_>) -> Vec<Finding> {
    let desired = context.snapshot.desired.seen();
    let said = |cluster: &Alias, key: &Key| {
        let notes = desired.map_or(&[][..], |desired| desired.mapping.notes.as_slice());
        notes.iter().any(|note| {
            note.fact.kind() == "configmap-near-limit"
                && note.config_maps.iter().any(|(alias, map)| alias == cluster && map == key)
        })
    };
    let near = context.drift.iter().filter(|drift| drift.bytes >= CONFIG_MAP_LIMIT / 100 * NEAR_PERCENT);
    near.filter_map(|drift| {
        let key = Key::new(&drift.object.namespace, &drift.object.name);
        if said(&drift.object.cluster, &key) {
            return None;
        }
        let live = context.snapshot.service.config_maps.seen()?.get(&key)?;
        let raw = live.values.values().map(|value| inflated_len(value).unwrap_or(value.len())).sum();
        let kind = FindingKind::ConfigMapNearLimit { config_map: key, stored: drift.bytes, raw };
        let object = ObjectRef { uid: None, ..drift.object.clone() };
        Some(Finding {
            id: id(&kind, &subject(&object)),
            severity: Severity::Warn,
            basis: Basis::Fact,
            kind,
            subjects: vec![drift.object.clone()],
            since: None,
            evidence: Vec::new(),
            repairs: Vec::new(),
        })
    })
    .collect()
}

/// What a map makes of files, however it is written down.
#[derive(PartialEq)]
struct Effect<'a> {
    name: &'a str,
    partitions: &'a [String],
    key: &'a str,
    full_path: bool,
    gzip: bool,
    targets: Vec<(Alias, String)>,
    repositories: Option<(&'a [String], &'a [String])>,
}

fn effects(updater: &Updater) -> BTreeMap<&str, (&Map, Effect<'_>)> {
    let effect = |map: &'_ Map| {
        let mut targets = updater.targets(map);
        targets.sort();
        (map.use_full_path_as_key && map.cluster_groups.is_empty(), updater.gzips(map), targets)
    };
    updater
        .maps
        .iter()
        .map(|map| {
            let (full_path, gzip, targets) = effect(map);
            let effect = Effect {
                name: &map.name,
                partitions: &map.partitioned_names,
                key: &map.key,
                full_path,
                gzip,
                targets,
                repositories: map.is_bound().then_some((map.allowed_repos.as_slice(), map.denied_repos.as_slice())),
            };
            (map.glob.pattern(), (map, effect))
        })
        .collect()
}

pub(super) fn find_live_maps(context: &Context<'_>) -> Vec<Finding> {
    let snapshot = context.snapshot;
    let (Some(desired), Some(live)) = (snapshot.desired.seen(), snapshot.service.config_maps.seen()) else {
        return Vec::new();
    };
    let mapping = &desired.mapping;
    let file = ConfigFiles::of_components(context.components().iter()).plugins;
    let value = live
        .get(&file.config_map)
        .and_then(|map| map.values.get(file.key.as_deref().unwrap_or("plugins.yaml")))
        .filter(|_| !mapping.content.is_empty());
    // One that cannot be read is another finding's matter.
    let (Some(Ok(live)), Ok(git)) = (value.map(|bytes| parse_plugins(bytes)), parse_plugins(&mapping.content)) else {
        return Vec::new();
    };
    let (live, git) = (effects(&live), effects(&git));
    let mut only_git = Vec::new();
    let mut differing = Vec::new();
    let mut evidence = Vec::new();
    for (glob, (map, effect)) in &git {
        let at = map.at();
        match live.get(glob) {
            None => {
                evidence.push(format!("only in git: {}", place(&mapping.plugins, &at)));
                only_git.push(at.glob);
            }
            Some((_, other)) if other != effect => {
                evidence.push(format!("maps otherwise live: {}", place(&mapping.plugins, &at)));
                differing.push(at.glob);
            }
            Some(_) => {}
        }
    }
    let only_live: Vec<String> =
        live.iter().filter(|(glob, _)| !git.contains_key(*glob)).map(|(_, (map, _))| map.at().glob).collect();
    evidence.extend(only_live.iter().map(|glob| format!("only live, ConfigMap {}: {glob}", file.config_map)));
    if evidence.is_empty() {
        return Vec::new();
    }
    evidence.truncate(EXAMPLES);
    let object = config_map_ref(&snapshot.service.alias, &file.config_map);
    let kind = FindingKind::LiveMapsDiffer { config_map: file.config_map, only_git, only_live, differing };
    vec![Finding {
        id: id(&kind, &subject(&object)),
        severity: Severity::Warn,
        basis: Basis::Fact,
        kind,
        subjects: vec![object],
        since: None,
        evidence,
        repairs: vec![RepairId::SyncConfig],
    }]
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
