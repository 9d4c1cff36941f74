//! `config-load-failure`: a component cannot start on the configuration that it finds.

use crate::model::{
    Component, ComponentPod, ConfigMapState, Container, ContainerState, Key, LogLine, RefusedContent, Snapshot,
    Timestamp, config_map_ref,
};
use crate::prow;
use crate::repair::RepairId;

use super::compare::digests;
use super::{Basis, Context, Finding, FindingKind, KeyChange, Severity, id, subject};

/// The kubelet brings a changed ConfigMap into a pod within its sync period and cache: a crash this soon after a write,
/// in seconds, may still be of the older content.
const KUBELET_DELAY_SECONDS: i64 = 120;

/// A container that died of its configuration and is not back.
pub struct LoadFailure<'a> {
    pub component: &'a Component,
    pub pod: &'a ComponentPod,
    pub container: &'a Container,
    pub line: &'a LogLine,
    pub crashed: Option<Timestamp>,
    /// Where the live content holds what the message is about; the likeliest first. For what came twice, both places.
    pub culprits: Vec<(Key, String)>,
    /// Whether the crash is of the content that is live now, or of one that was replaced since.
    pub content: CrashContent,
}

/// Which content a crash speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashContent {
    /// What is live now: starting again would fail again.
    Live,
    /// An older one: the ConfigMap was written since, and the next start reads the new content.
    Replaced,
}

/// The ConfigMaps that a component's configuration flags lead to, in the order in which Prow reads them; all its mounts
/// where no flag tells.
pub(crate) fn config_maps_of(component: &Component) -> Vec<Key> {
    let flags = &component.config;
    let mut keys: Vec<Key> = [&flags.config_path, &flags.job_config_path, &flags.plugin_config]
        .into_iter()
        .flatten()
        .filter_map(|path| path.config_map.clone())
        .collect();
    if keys.is_empty() {
        return component.config_maps();
    }
    // One ConfigMap may hold several of the files.
    let mut seen = std::collections::BTreeSet::new();
    keys.retain(|key| seen.insert(key.clone()));
    keys
}

/// The containers that died of their configuration and are not back.
pub fn load_failures(snapshot: &Snapshot) -> Vec<LoadFailure<'_>> {
    let components = snapshot.service.components.seen().map_or(&[][..], Vec::as_slice);
    let mut found = Vec::new();
    for component in components {
        for pod in component.pods.iter().filter(|pod| !pod.deleting) {
            for container in &pod.containers {
                let Some(line) = container.last_fatal.as_ref().filter(|line| prow::log::is_config_failure(line)) else {
                    continue;
                };
                // Back, and staying: the crash is history.
                if container.ready && matches!(container.state, ContainerState::Running { .. }) {
                    continue;
                }
                let crashed = crash_time(container, line);
                let live = live_maps(snapshot, component);
                let fault = fault_in_live(snapshot, components, &line.error);
                let content = crash_content(!fault.is_empty(), crashed, &live);
                let culprits = match content {
                    CrashContent::Live if !fault.is_empty() => fault,
                    // By what the message names: only while it speaks of what is there.
                    CrashContent::Live => prow::name_culprit(
                        live.iter().flat_map(|map| {
                            map.values.iter().map(|(key, value)| (&map.key, key.as_str(), value.as_slice()))
                        }),
                        &line.error,
                    )
                    .into_iter()
                    .collect(),
                    CrashContent::Replaced => Vec::new(),
                };
                found.push(LoadFailure { component, pod, container, line, crashed, culprits, content });
            }
        }
    }
    found
}

fn crash_time(container: &Container, line: &LogLine) -> Option<Timestamp> {
    line.at.or_else(|| container.last_exit.as_ref().and_then(|exit| exit.finished))
}

fn live_maps<'a>(snapshot: &'a Snapshot, component: &Component) -> Vec<&'a ConfigMapState> {
    let Some(maps) = snapshot.service.config_maps.seen() else { return Vec::new() };
    config_maps_of(component).iter().filter_map(|key| maps.get(key)).collect()
}

/// Where the live content still holds the very fault that a component complained of, as far as our rules can tell.
fn fault_in_live(snapshot: &Snapshot, components: &[Component], error: &str) -> Vec<(Key, String)> {
    let Some(live) = snapshot.service.config_maps.seen() else { return Vec::new() };
    let files = prow::ConfigFiles::of_components(components.iter());
    let rule = prow::PresetRule::of_error(error).unwrap_or_default();
    let fault = prow::objections_live(live, &files, rule)
        .into_iter()
        .find(|objection| !objection.message.is_empty() && error.contains(&objection.message));
    match fault {
        Some(fault) => {
            let place = fault.config_map.zip(fault.config_key);
            let first = fault.repeats.filter(|first| place.as_ref() != Some(first));
            place.into_iter().chain(first).collect()
        }
        None => Vec::new(),
    }
}

fn crash_content(fault_is_live: bool, crashed: Option<Timestamp>, live: &[&ConfigMapState]) -> CrashContent {
    if fault_is_live {
        return CrashContent::Live;
    }
    let newest = live.iter().filter_map(|map| map.last_writer()).max_by_key(|writer| writer.at);
    let (Some(crashed), Some(writer)) = (crashed, newest) else { return CrashContent::Live };
    let Some(written) = writer.at else { return CrashContent::Live };
    let seconds = crashed.as_second() - written.as_second();
    // Soon after a write of our own the older content is the likelier one; after anybody else's the newer.
    let ours = writer.manager == crate::model::FIELD_MANAGER;
    if seconds < 0 || (ours && seconds < KUBELET_DELAY_SECONDS) { CrashContent::Replaced } else { CrashContent::Live }
}

/// The contents that are known to be refused: those that crash a component now, and those that the journal remembers.
pub fn refused_contents(snapshot: &Snapshot, failures: &[LoadFailure<'_>]) -> Vec<RefusedContent> {
    let mut all = snapshot.refused.clone();
    for failure in failures.iter().filter(|failure| failure.content == CrashContent::Live) {
        let live = live_maps(snapshot, failure.component);
        let map = match failure.culprits.first() {
            Some((key, _)) => live.iter().find(|map| map.key == *key),
            // The message names no file that we can find: the map that was written last is the suspect.
            None => live.iter().max_by_key(|map| map.last_writer().and_then(|writer| writer.at)),
        };
        let Some(map) = map else { continue };
        let refused = RefusedContent {
            cluster_server: String::new(),
            cluster_uid: String::new(),
            config_map: map.key.clone(),
            keys: digests(&map.values),
            images: failure.component.spec_images.clone(),
            error: failure.line.error.clone(),
            at: failure.crashed.unwrap_or(snapshot.taken_at),
        };
        if !all.iter().any(|known| known.config_map == refused.config_map && known.keys == refused.keys) {
            all.push(refused);
        }
    }
    all
}

/// One finding a component, however many of its pods crash.
pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for failure in &context.failures {
        let object = &failure.component.object;
        let (config_map, config_key) = match culprit(context, failure) {
            Some((map, key)) => (Some(map.clone()), Some(key.clone())),
            None => (None, None),
        };
        let kind = FindingKind::ConfigLoadFailure {
            component: object.name.clone(),
            line: failure.line.clone(),
            config_map: config_map.clone(),
            config_key,
        };
        let id = id(&kind, &subject(object));
        let evidence = evidence(context, failure);
        if let Some(known) = findings.iter_mut().find(|finding| finding.id == id) {
            known.subjects.push(failure.pod.object.clone());
            known.since = known.since.min(failure.pod.ready_changed).or(known.since);
            known.evidence.push(evidence[0].clone());
            continue;
        }
        let mut subjects = vec![object.clone(), failure.pod.object.clone()];
        subjects.extend(config_map.map(|key| config_map_ref(&object.cluster, &key)));
        findings.push(Finding {
            id,
            severity: Severity::Bad,
            basis: Basis::Fact,
            kind,
            subjects,
            since: failure.pod.ready_changed.or(failure.crashed),
            evidence,
            repairs: match failure.content {
                CrashContent::Live => vec![RepairId::SyncConfig],
                CrashContent::Replaced => vec![RepairId::Kick],
            },
        });
    }
    findings
}

/// Of the places that hold the fault, the one that would change; else the one where Prow stumbled.
fn culprit<'a>(context: &Context<'_>, failure: &'a LoadFailure<'_>) -> Option<&'a (Key, String)> {
    let changed = failure.culprits.iter().find(|(map, key)| differs(context, map, key) == Some(true));
    changed.or(failure.culprits.first())
}

/// Whether a live value differs from the revision that a repair would write; `None` where that cannot be told.
fn differs(context: &Context<'_>, map: &Key, key: &str) -> Option<bool> {
    let drift =
        context.drift.iter().find(|drift| drift.object.name == map.name && drift.object.namespace == map.namespace)?;
    drift.keys.iter().find(|drift| drift.key == key).map(|drift| drift.change != KeyChange::Same)
}

fn evidence(context: &Context<'_>, failure: &LoadFailure<'_>) -> Vec<String> {
    let container = failure.container;
    let mut lines = vec![format!(
        "pod {}: {}, {} restart(s), last exit code {}",
        failure.pod.object.name,
        failure.pod.state,
        container.restarts,
        container.last_exit.as_ref().map_or("unknown".to_owned(), |exit| exit.code.to_string()),
    )];
    lines.push(format!("log of its last life: {} {}", failure.line.msg, failure.line.error));
    for (map, key) in &failure.culprits {
        let changed = match differs(context, map, key) {
            Some(true) => "; it differs from the revision that a repair would write",
            Some(false) | None => "",
        };
        lines.push(format!("found in the live content of ConfigMap {map}, key {key}{changed}"));
    }
    for map in live_maps(context.snapshot, failure.component) {
        if let Some(writer) = map.last_writer()
            && let Some(at) = writer.at
        {
            lines.push(format!("ConfigMap {} last written {at} by {}", map.key, writer.manager));
        }
    }
    if failure.content == CrashContent::Replaced {
        lines.push("its configuration was written after this crash: the next start reads the new content".to_owned());
    }
    lines
}
