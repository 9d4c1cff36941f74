//! The raw lists of a cluster to its [`ClusterView`]: pure.
//!
//! # What makes a joined source denied or lost
//! Rights are given, and servers fail, list by list. A joined source says the worst that would mislead:
//!
//! | Source | `Loading` | `Lost` | `Denied` | `Known` |
//! |---|---|---|---|---|
//! | `components` | first answers of workloads, or of the pods beside them, are missing | a workload list is lost, or the pods of a namespace with components are | Deployments are denied in all namespaces that were asked; or nothing was found where some were denied | else |
//! | `config_maps`, `endpoints` | `components` is, or a first answer is missing | one namespace is lost | all namespaces are denied | else; *a namespace that is denied is missing*, see below |
//! | `prowjobs` | the settings are, or its list is | its list is lost, or its namespace is not known | its list is denied | else |
//!
//! What is denied beside readable lists is said in `parts` (`pods in prow`), and a ConfigMap of such a namespace is not
//! missing but unseen: [`ClusterView::sees_config_maps_of`] tells them apart. StatefulSets, DaemonSets and CronJobs
//! denied leave `components` known. Where pods are denied, a component is there with the counts of its workload and
//! without pods. A namespace found later is left out until its lists have answered, and its part says `Loading`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cluster::objects::{PodRow, ReplicaSetRow, Workload};
use crate::cluster::watch::Scope;
use crate::model::{
    Alias, AliasPlace, ClusterStanding, ClusterView, Component, ComponentPod, ConfigMapState, EndpointCount, Endpoints,
    Failure, FailureKind, Key, Kind, ProwJob, ProwSettings, Source, Timestamp,
};
use crate::prow::Catalogue;
use crate::prow::config::parse_config;
use crate::prow::flags::config_flags;

use super::jobs::{self, JobIndex};
use super::raw::{ByNamespace, LastSettings, List, Raw, Standing, WorkloadKind};
use super::rollouts;

/// What is known of a cluster without asking it.
#[derive(Debug, Clone)]
pub struct Names {
    pub alias: Alias,
    pub context: String,
    pub server: String,
    /// Namespaces that a person named.
    pub asked: Vec<String>,
}

/// What one cluster shows.
#[derive(Debug, Clone)]
pub struct Assembled {
    pub view: ClusterView,
    pub prow: Source<ProwSettings>,
    /// What to remember of the settings; `None` where they cannot be read.
    pub settings: Option<LastSettings>,
    pub prowjobs: Source<Vec<Arc<ProwJob>>>,
    /// The same by name, also where they are only remembered.
    pub jobs: JobIndex,
}

/// Joins what came in. `aliases` is what is known of them so far.
pub fn assemble(names: &Names, raw: &Raw, aliases: &BTreeMap<Alias, AliasPlace>) -> Assembled {
    let components = components(raw);
    let config_maps = spread(raw, &components, &raw.config_maps, |lists| {
        lists.flat_map(|list| list.rows.iter().map(|(key, map)| (key.clone(), map.clone()))).collect()
    });
    let endpoints = spread(raw, &components, &raw.endpoints, |lists| {
        let mut endpoints = Endpoints::default();
        for list in lists {
            join_endpoints(&mut endpoints, list);
        }
        endpoints
    });
    let (prow, settings) = match settings(raw, &components, &config_maps) {
        Ok((settings, value)) => {
            let prow = config_maps.map(|_| settings.clone());
            let at = prow.known().and_then(|_| prow.at());
            (prow, at.map(|at| LastSettings { settings, at, value }))
        }
        Err(unseen) => (unseen, None),
    };
    let prowjobs = prowjobs(raw, &prow);
    let index: JobIndex = prowjobs.seen().into_iter().flatten().map(|job| (job.name.clone(), job.clone())).collect();
    let rollouts = rollouts::rollouts(raw, &components);
    let loading = ClusterView::loading(names.alias.clone(), ClusterStanding::Service, &names.context, &names.server);
    let mut view = ClusterView {
        identity: raw.identity(),
        version: raw.version.clone(),
        clock_ahead: raw.clock_ahead,
        components,
        config_maps,
        endpoints,
        job_pods: jobs::job_pods(raw, &names.alias, &index, aliases),
        census: jobs::census(raw),
        pod_events: jobs::pod_events(raw),
        secrets_in_use: jobs::secrets_in_use(raw),
        rollouts,
        cron_jobs: rollouts::cron_jobs(raw),
        parts: raw.parts(&names.asked),
        ..loading
    };
    read_logs(raw, &mut view);
    Assembled { view, prow, settings, prowjobs, jobs: index }
}

/// True for workloads of Prow.
pub fn is_component(workload: &Workload) -> bool {
    role_container(workload).is_some()
}

/// Namespaces of the components that are seen now, whether their pods are or not.
pub fn component_namespaces(raw: &Raw) -> BTreeSet<String> {
    raw.workloads.values().flat_map(|list| list.rows.keys().map(|key| key.namespace.clone())).collect()
}

fn role_container(workload: &Workload) -> Option<(usize, &'static crate::prow::catalogue::Entry)> {
    let catalogue = Catalogue::embedded();
    workload
        .containers
        .iter()
        .enumerate()
        .find_map(|(n, container)| catalogue.role_of(&container.image).map(|entry| (n, entry)))
}

fn components(raw: &Raw) -> Source<Vec<Component>> {
    let mut joined = Vec::new();
    for list in raw.workloads.values() {
        joined.extend(list.rows.values().filter_map(|workload| component(raw, workload)));
    }
    // A list over the cluster that is denied and its fallback may overlap when rights come back.
    joined.sort_by(|a, b| a.object.cmp(&b.object));
    joined.dedup_by(|a, b| a.object == b.object);
    raw.source(&standing_of_components(raw, joined.is_empty()), joined)
}

fn standing_of_components(raw: &Raw, none_found: bool) -> Standing {
    let opening = raw.opening;
    let workloads: Vec<(&(WorkloadKind, Scope), &Standing)> =
        raw.workloads.iter().map(|(id, list)| (id, &list.standing)).collect();
    if workloads.is_empty() || opening && workloads.iter().any(|(_, standing)| standing.is_loading()) {
        return Standing::Loading;
    }
    let namespaces = component_namespaces(raw);
    let pods = || namespaces.iter().map(|namespace| raw.pods.get(namespace).map(|list| &list.standing));
    let replica_sets = || namespaces.iter().map(|namespace| raw.replica_sets.get(namespace).map(|list| &list.standing));
    let lost = workloads
        .iter()
        .map(|(_, standing)| Some(*standing))
        .chain(pods())
        .flatten()
        .find(|standing| matches!(standing, Standing::Lost { .. }));
    if let Some(lost) = lost {
        return lost.clone();
    }
    let denied = |wanted: &dyn Fn(&(WorkloadKind, Scope)) -> bool| {
        workloads.iter().filter(|(id, _)| wanted(id)).find(|(_, standing)| matches!(standing, Standing::Denied { .. }))
    };
    let deployments_seen = workloads
        .iter()
        .any(|((kind, _), standing)| *kind == WorkloadKind::Deployment && matches!(standing, Standing::Known));
    if let Some((_, denied)) = denied(&|(kind, _)| *kind == WorkloadKind::Deployment)
        && (none_found || !deployments_seen)
    {
        return (*denied).clone();
    }
    if opening && pods().chain(replica_sets()).any(|standing| standing.is_none_or(Standing::is_loading)) {
        return Standing::Loading;
    }
    Standing::Known
}

/// A workload with its pods; `None` while the pods beside it have not been answered for.
fn component(raw: &Raw, workload: &Workload) -> Option<Component> {
    let namespace = &workload.object.namespace;
    let pods = raw.pods.get(namespace).filter(|list| !list.standing.is_loading())?;
    let replica_sets = raw.replica_sets.get(namespace);
    let (n, entry) = role_container(workload)?;
    let mut mounts: Vec<_> =
        workload.containers.iter().flat_map(|container| container.mounts.iter().cloned()).collect();
    mounts.sort_by(|a, b| (&a.path, &a.config_map).cmp(&(&b.path, &b.config_map)));
    mounts.dedup();
    let role = workload.containers.get(n)?;
    let pods = pods_of(workload, pods, replica_sets);
    Some(Component {
        object: workload.object.clone(),
        role: entry.role.clone(),
        when_down: entry.when_down.clone(),
        resource_version: workload.resource_version.clone(),
        desired: workload.desired,
        ready: workload.ready,
        suspended: workload.suspended,
        spec_images: workload.containers.iter().map(|container| container.image.clone()).collect(),
        container: role.name.clone(),
        config: config_flags(&role.args, &role.mounts),
        mounts,
        rolled_out: rolled_out(owned_sets(workload, replica_sets), &pods),
        pods,
        writers: workload.writers.clone(),
        tracking: workload.tracking.clone(),
        paused: workload.paused,
        trouble: workload.trouble.clone(),
        placement: workload.placement.clone(),
    })
}

/// When the newest rollout began. One that went back took up an old ReplicaSet again: it began with the oldest of its pods,
/// as far as these tell.
fn rolled_out<'a>(sets: impl Iterator<Item = &'a ReplicaSetRow>, pods: &[ComponentPod]) -> Option<Timestamp> {
    let sets: Vec<&ReplicaSetRow> = sets.collect();
    let newest = sets.iter().filter_map(|set| set.created).max();
    let current = sets.iter().max_by_key(|set| (set.revision, set.created))?;
    if current.created == newest {
        return newest;
    }
    let of_it = pods.iter().filter(|pod| pod.owner.as_deref() == Some(&current.name));
    of_it.filter_map(|pod| pod.created).min().max(newest)
}

fn owned_sets<'a>(
    workload: &'a Workload,
    sets: Option<&'a List<ReplicaSetRow>>,
) -> impl Iterator<Item = &'a ReplicaSetRow> {
    let uid = workload.object.uid.as_deref();
    sets.into_iter()
        .flat_map(|list| list.rows.values())
        .filter(move |set| set.owner.as_ref().is_some_and(|owner| Some(owner.uid.as_str()) == uid))
}

/// Pods by owner, never by label.
fn pods_of(workload: &Workload, pods: &List<PodRow>, sets: Option<&List<ReplicaSetRow>>) -> Vec<ComponentPod> {
    let own: BTreeSet<&str> = workload
        .object
        .uid
        .as_deref()
        .into_iter()
        .chain(owned_sets(workload, sets).map(|set| set.uid.as_str()))
        .collect();
    let known: BTreeSet<&str> =
        sets.into_iter().flat_map(|list| list.rows.values()).map(|set| set.uid.as_str()).collect();
    pods.rows
        .values()
        .filter(|row| {
            row.owner.as_ref().is_some_and(|owner| {
                own.contains(owner.uid.as_str())
                    // A ReplicaSet that cannot be seen (yet) still is named after its Deployment.
                    || workload.object.kind == Kind::Deployment
                        && owner.kind == "ReplicaSet"
                        && !known.contains(owner.uid.as_str())
                        && owner.name.rsplit_once('-').is_some_and(|(name, _)| name == workload.object.name)
            })
        })
        .map(|row| row.pod.clone())
        .collect()
}

/// A source that is spread over namespaces.
fn spread<T, V>(
    raw: &Raw,
    components: &Source<Vec<Component>>,
    lists: &ByNamespace<T>,
    join: impl FnOnce(&mut dyn Iterator<Item = &List<T>>) -> V,
) -> Source<V> {
    let standing = {
        let mut standings = lists.values().map(|list| &list.standing);
        let loading = standings.clone().any(Standing::is_loading);
        let lost = standings.clone().find(|standing| matches!(standing, Standing::Lost { .. }));
        let denied = standings.clone().find(|standing| matches!(standing, Standing::Denied { .. }));
        let known = standings.any(|standing| matches!(standing, Standing::Known));
        match (lost, denied) {
            (Some(lost), _) => lost.clone(),
            (None, _) if loading && (raw.opening || !known) => Standing::Loading,
            (None, _) if known => Standing::Known,
            (None, Some(denied)) => denied.clone(),
            // No namespace to look into: as unknown as the components that would name one.
            (None, None) => match components {
                Source::Loading => Standing::Loading,
                Source::Known { .. } => Standing::Known,
                Source::Denied { verb } => Standing::Denied { verb: verb.clone() },
                Source::Lost { error, .. } => Standing::Lost { error: error.clone(), last: None },
            },
        }
    };
    raw.source(&standing, join(&mut lists.values()))
}

/// Slices of a Service (one for each family of addresses) speak of the same pods.
fn join_endpoints(endpoints: &mut Endpoints, list: &List<crate::cluster::objects::EndpointsRow>) {
    let mut by_service: BTreeMap<&Key, BTreeMap<&str, bool>> = BTreeMap::new();
    for row in list.rows.values() {
        let pods = by_service.entry(&row.service).or_default();
        for (name, ready) in &row.endpoints {
            *pods.entry(name).or_default() |= ready;
        }
    }
    for (service, pods) in by_service {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        endpoints.services.insert(
            service.clone(),
            EndpointCount {
                ready: count(pods.values().filter(|ready| **ready).count()),
                total: count(pods.len()),
                pods: pods.keys().map(|name| (*name).to_owned()).collect(),
            },
        );
    }
}

/// `prowjob_namespace` and `pod_namespace`, from the ConfigMap behind `--config-path`, with the value that they were read
/// from; else what is known of them.
fn settings(
    raw: &Raw,
    components: &Source<Vec<Component>>,
    config_maps: &Source<BTreeMap<Key, ConfigMapState>>,
) -> Result<(ProwSettings, Arc<[u8]>), Source<ProwSettings>> {
    let last = raw.settings.as_ref();
    let lost = |error: Failure| Source::Lost { error, last: last.map(|last| (last.settings.clone(), last.at)) };
    let (Some(seen), Some(maps)) = (components.seen(), config_maps.seen()) else {
        return Err(match unseen(components).or_else(|| unseen(config_maps)) {
            None | Some(Unseen::Loading) => Source::Loading,
            Some(Unseen::Denied(verb)) => Source::Denied { verb },
            Some(Unseen::Lost(error)) => lost(error),
        });
    };
    let Some((path, key, config_map)) = config_of(seen) else {
        return Err(lost(
            Failure::new(FailureKind::NotFound, "no component reads its configuration from a ConfigMap")
                .hint("with git-sync or a volume, prowjob_namespace cannot be read from the cluster"),
        ));
    };
    let Some(map) = maps.get(config_map) else {
        let missing = format!("{config_map} holds the configuration ({path}) and is not there");
        return Err(match raw.config_maps.get(&config_map.namespace).map(|list| &list.standing) {
            Some(Standing::Denied { verb }) => Source::Denied { verb: verb.clone() },
            Some(Standing::Loading) | None => Source::Loading,
            Some(Standing::Known | Standing::Lost { .. }) => lost(Failure::new(FailureKind::NotFound, missing)),
        });
    };
    let Some(value) = map.values.get(key) else {
        return Err(lost(Failure::new(FailureKind::NotFound, format!("{config_map} has no key {key}"))));
    };
    if let Some(last) = last.filter(|last| last.settings.from == *config_map && *last.value == **value) {
        return Ok((last.settings.clone(), last.value.clone()));
    }
    let config = parse_config(value).map_err(|error| {
        lost(
            Failure::new(FailureKind::Tool, format!("{key} of {config_map} does not parse"))
                .cause(crate::model::text::sanitize_line(&error.message)),
        )
    })?;
    let settings = ProwSettings {
        prowjob_namespace: crate::model::text::sanitize_line(&config.prowjob_namespace),
        pod_namespace: crate::model::text::sanitize_line(&config.pod_namespace),
        from: config_map.clone(),
    };
    Ok((settings, Arc::from(value.as_slice())))
}

/// Why a value cannot be seen.
enum Unseen {
    Loading,
    Denied(String),
    Lost(Failure),
}

fn unseen<T>(source: &Source<T>) -> Option<Unseen> {
    match source {
        Source::Known { .. } | Source::Lost { last: Some(_), .. } => None,
        Source::Loading => Some(Unseen::Loading),
        Source::Denied { verb } => Some(Unseen::Denied(verb.clone())),
        Source::Lost { error, last: None } => Some(Unseen::Lost(error.clone())),
    }
}

/// Path, key and ConfigMap of the configuration. hook's loss is noticed first, so it is asked first.
fn config_of(components: &[Component]) -> Option<(&str, &str, &Key)> {
    components
        .iter()
        .filter_map(|component| {
            let path = component.config.config_path.as_ref()?;
            Some((component, (path.path.as_str(), path.key.as_deref()?, path.config_map.as_ref()?)))
        })
        .min_by_key(|(component, _)| (component.role != "hook", &component.object))
        .map(|(_, found)| found)
}

fn prowjobs(raw: &Raw, prow: &Source<ProwSettings>) -> Source<Vec<Arc<ProwJob>>> {
    let Some(settings) = prow.seen() else {
        return match unseen(prow) {
            None | Some(Unseen::Loading) => Source::Loading,
            Some(Unseen::Denied(verb)) => Source::Denied { verb },
            Some(Unseen::Lost(error)) => Source::Lost {
                error: Failure {
                    summary: "prowjob_namespace is not known".to_owned(),
                    causes: std::iter::once(error.summary).chain(error.causes).collect(),
                    ..error
                },
                last: None,
            },
        };
    };
    match raw.prowjobs.get(&settings.prowjob_namespace) {
        Some(list) => raw.source(&list.standing, list.rows.values().cloned().collect()),
        None => raw.source(&Standing::Loading, Vec::new()),
    }
}

/// Puts what the logs say to the containers.
fn read_logs(raw: &Raw, view: &mut ClusterView) {
    let written: BTreeMap<Key, Timestamp> = view
        .config_maps
        .seen()
        .into_iter()
        .flatten()
        .filter_map(|(key, map)| Some((key.clone(), map.last_writer()?.at?)))
        .collect();
    let components = match &mut view.components {
        Source::Known { value, .. } | Source::Lost { last: Some((value, _)), .. } => value,
        Source::Loading | Source::Denied { .. } | Source::Lost { last: None, .. } => return,
    };
    for component in components {
        let changed = component.config_maps().iter().filter_map(|key| written.get(key)).max().copied();
        for pod in &mut component.pods {
            let mut said = Vec::new();
            for container in &pod.containers {
                said.push(raw.logs.said_of(pod, container));
            }
            for (container, said) in pod.containers.iter_mut().zip(said) {
                container.last_fatal = said.fatal;
                // A refusal of what was there before the last write says nothing of what is there now.
                container.reload_error = said.reload.filter(|line| match (line.at, changed) {
                    (Some(at), Some(changed)) => at >= changed,
                    (None, _) | (_, None) => true,
                });
            }
        }
    }
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
