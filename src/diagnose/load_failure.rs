//! `config-load-failure`: a component cannot start on the configuration that it finds.

use crate::model::{
    Component, ComponentPod, ConfigMapState, Container, ContainerState, Key, LogLine, ObjectRef, Objection,
    RefusedContent, Snapshot, Timestamp, config_map_ref,
};
use crate::prow::{self, image};
use crate::repair::RepairId;

use super::compare::digests;
use super::versions::role_image;
use super::{Basis, Context, Finding, FindingKind, KeyChange, Severity, id, subject};

/// The kubelet brings a changed ConfigMap into a pod within its sync period and cache: a crash this soon after a write,
/// in seconds, may still be of the older content.
pub(super) const KUBELET_DELAY_SECONDS: i64 = 120;
/// A life that has lasted this long, in seconds, has loaded its configuration: how the one before it ended is history.
pub(super) const SETTLED_SECONDS: i64 = 30;
/// Field managers of Prow's own uploads.
pub(crate) const UPLOADERS: [&str; 2] = ["hook", "config-bootstrapper"];

/// A container that refuses the configuration that it finds.
pub struct LoadFailure<'a> {
    pub component: &'a Component,
    pub pod: &'a ComponentPod,
    pub container: &'a Container,
    pub line: &'a LogLine,
    pub how: Refusing,
    pub at: Option<Timestamp>,
    /// Where the live content holds what the message is about; the likeliest first. For what came twice, both places.
    pub culprits: Vec<(Key, String)>,
    /// Whether it speaks of the content that is live now, or of one that was replaced since.
    pub content: CrashContent,
}

impl LoadFailure<'_> {
    /// The image that refuses: as its workload asks for it, unless the container is still another version.
    pub fn image(&self) -> String {
        let own = &self.container.image;
        let is_it = |spec: &&str| *spec == own || image::tag(spec).is_some() && image::tag(spec) == image::tag(own);
        role_image(self.component).filter(is_it).unwrap_or(own).to_owned()
    }
}

/// How a container showed that it refuses its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusing {
    /// It cannot start on it, and is not back.
    Crashed,
    /// It runs on what it loaded before, and refused to load what is there now.
    KeptOld,
}

/// Which content a refusal speaks of.
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

/// The containers that refuse their configuration: those that died of it and are not back, those that run on an older one.
pub fn load_failures(snapshot: &Snapshot) -> Vec<LoadFailure<'_>> {
    let components = snapshot.service.components.seen().map_or(&[][..], Vec::as_slice);
    let mut found = Vec::new();
    let mut faults = Faults::new(snapshot, components);
    for component in components {
        for pod in component.pods.iter().filter(|pod| !pod.deleting) {
            for container in &pod.containers {
                let Some((line, how)) = refusing(container, snapshot.taken_at) else { continue };
                let at = line.at.or_else(|| container.last_exit.as_ref().and_then(|exit| exit.finished));
                let live = live_maps(snapshot, component);
                let fault = faults.told_by(&line.error);
                let content = crash_content(!fault.is_empty(), at, &live);
                // What was refused is replaced: nothing speaks against a component that runs any more.
                if how == Refusing::KeptOld && content == CrashContent::Replaced {
                    continue;
                }
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
                found.push(LoadFailure { component, pod, container, line, how, at, culprits, content });
            }
        }
    }
    found
}

fn refusing(container: &Container, now: Timestamp) -> Option<(&LogLine, Refusing)> {
    let settled = match &container.state {
        ContainerState::Running { since } => {
            container.ready || since.is_some_and(|since| now.as_second() - since.as_second() > SETTLED_SECONDS)
        }
        ContainerState::Waiting { .. } | ContainerState::Terminated(_) | ContainerState::Unknown => false,
    };
    if settled {
        return container.reload_error.as_ref().map(|line| (line, Refusing::KeptOld));
    }
    let fatal = container.last_fatal.as_ref().filter(|line| prow::log::is_config_failure(line));
    fatal.map(|line| (line, Refusing::Crashed))
}

fn live_maps<'a>(snapshot: &'a Snapshot, component: &Component) -> Vec<&'a ConfigMapState> {
    let Some(maps) = snapshot.service.config_maps.seen() else { return Vec::new() };
    config_maps_of(component).iter().filter_map(|key| maps.get(key)).collect()
}

/// What our rules find in the live content. Read once for each rule, however many containers complain.
struct Faults<'a> {
    snapshot: &'a Snapshot,
    components: &'a [Component],
    found: Vec<(prow::PresetRule, Vec<Objection>)>,
}

impl<'a> Faults<'a> {
    fn new(snapshot: &'a Snapshot, components: &'a [Component]) -> Self {
        Faults { snapshot, components, found: Vec::new() }
    }

    /// Where the live content still holds the very fault that a component complained of, as far as our rules can tell.
    fn told_by(&mut self, error: &str) -> Vec<(Key, String)> {
        let told = |objection: &&Objection| !objection.message.is_empty() && error.contains(&objection.message);
        let Some(fault) = self.of(prow::PresetRule::of_error(error).unwrap_or_default()).iter().find(told) else {
            return Vec::new();
        };
        let place = fault.config_map.clone().zip(fault.config_key.clone());
        let first = fault.repeats.clone().filter(|first| place.as_ref() != Some(first));
        place.into_iter().chain(first).collect()
    }

    fn of(&mut self, rule: prow::PresetRule) -> &[Objection] {
        let at = self.found.iter().position(|(known, _)| *known == rule).unwrap_or_else(|| {
            let files = prow::ConfigFiles::of_components(self.components.iter());
            let live = self.snapshot.service.config_maps.seen();
            self.found.push((rule, live.map_or(Vec::new(), |live| prow::objections_live(live, &files, rule))));
            self.found.len() - 1
        });
        &self.found[at].1
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
    // Soon after an upload by Prow the new content is the likelier culprit; soon after a person's write (or ours), which
    // was meant to mend something, the older one that the kubelet had not replaced yet.
    let upload = UPLOADERS.contains(&writer.manager.as_str());
    if seconds < 0 || (!upload && seconds < KUBELET_DELAY_SECONDS) {
        CrashContent::Replaced
    } else {
        CrashContent::Live
    }
}

/// The live ConfigMap that a refusal is about: the one named, else the one of the component's that was written last.
pub(crate) fn suspect<'a>(snapshot: &'a Snapshot, failure: &LoadFailure<'_>) -> Option<&'a ConfigMapState> {
    let live = live_maps(snapshot, failure.component);
    match failure.culprits.first() {
        Some((key, _)) => live.into_iter().find(|map| map.key == *key),
        None => live.into_iter().max_by_key(|map| map.last_writer().and_then(|writer| writer.at)),
    }
}

/// The contents that are known to be refused: those that a component refuses now, and those that the journal remembers
/// of images that still run.
pub fn refused_contents(snapshot: &Snapshot, failures: &[LoadFailure<'_>]) -> Vec<RefusedContent> {
    let components = snapshot.service.components.seen().map_or(&[][..], Vec::as_slice);
    // What stands beside a component, a proxy say, outlives many versions of it.
    let runs = |image: &String| components.iter().any(|component| role_image(component) == Some(image));
    let mut all: Vec<RefusedContent> =
        snapshot.remembered_refusals().filter(|content| content.images.iter().any(runs)).cloned().collect();
    let cluster = snapshot
        .service
        .identity
        .seen()
        .map_or((String::new(), String::new()), |identity| (identity.server.clone(), identity.uid.clone()));
    let files = prow::ConfigFiles::of_components(components.iter());
    let layout = snapshot.service.config_maps.seen().and_then(|live| prow::Layout::of_live(live, &files));
    for failure in failures.iter().filter(|failure| failure.content == CrashContent::Live) {
        let Some(map) = suspect(snapshot, failure) else { continue };
        let culprits = failure.culprits.iter().filter(|(key, _)| *key == map.key).map(|(_, key)| key.clone());
        let refused = RefusedContent {
            cluster_server: cluster.0.clone(),
            cluster_uid: cluster.1.clone(),
            config_map: map.key.clone(),
            keys: digests(&map.values),
            beside: layout.as_ref().map(|layout| layout.digest_beside(&map.key)),
            culprits: culprits.collect(),
            images: vec![failure.image()],
            error: failure.line.error.clone(),
            at: failure.at.unwrap_or(snapshot.taken_at),
        };
        let what =
            |content: &RefusedContent| (content.config_map.clone(), content.keys.clone(), content.beside.clone());
        if !all.iter().any(|known| what(known) == what(&refused)) {
            all.push(refused);
        }
    }
    all
}

/// One finding a component, however many of its pods crash.
pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for failure in context.failures.iter().filter(|failure| failure.how == Refusing::Crashed) {
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
            since: failure.pod.ready_changed.or(failure.at),
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
    let service = &context.snapshot.service.alias;
    let is_it =
        |object: &ObjectRef| object.cluster == *service && object.name == map.name && object.namespace == map.namespace;
    let drift = context.drift.iter().find(|drift| is_it(&drift.object))?;
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
