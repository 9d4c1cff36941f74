//! Which lists are wanted: what was found tells where to look next. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::assemble::component_namespaces;
use super::jobs::JobIndex;
use super::raw::{LastSettings, Raw, Standing, WorkloadKind};
use crate::cluster::watch::Scope;
use crate::model::{Alias, AliasPlace, Desired, Key, Source};

/// Namespaces that a Prow is usually found in, looked at where the whole cluster may not be listed.
const USUAL_NAMESPACES: [&str; 2] = ["default", "prow"];

/// A list that can be asked for; the strings are namespaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListId {
    Workloads(WorkloadKind, Scope),
    Pods(String),
    ReplicaSets(String),
    ConfigMaps(String),
    /// A single one.
    ConfigMap(Key),
    Endpoints(String),
    ProwJobs(String),
    CronJobs(String),
    /// Jobs of CronJobs.
    Jobs(String),
    /// Labelled pods outside the pod namespace.
    JobPods(Scope),
    /// Labelled pods of the pod namespace, by name.
    Census(String),
    /// Labelled pods of the pod namespace by the ids of their ProwJobs.
    LookUp(String, BTreeSet<String>),
    /// Warnings about pods.
    Warnings(String),
    /// Secrets that pods running in the pod namespace mount.
    Secrets(String),
}

impl ListId {
    /// Whether what it lists decides which revision would be written, or is compared with it.
    pub fn tells_configuration(&self) -> bool {
        match self {
            ListId::Workloads(..)
            | ListId::Pods(_)
            | ListId::ReplicaSets(_)
            | ListId::ConfigMaps(_)
            | ListId::ConfigMap(_) => true,
            ListId::Endpoints(_)
            | ListId::ProwJobs(_)
            | ListId::CronJobs(_)
            | ListId::Jobs(_)
            | ListId::JobPods(_)
            | ListId::Census(_)
            | ListId::LookUp(..)
            | ListId::Warnings(_)
            | ListId::Secrets(_) => false,
        }
    }
}

/// The ConfigMaps that any revision asks for, by the cluster that they go to as `config_updater` means it. Those whose alias
/// leads nowhere that is known are left out.
pub fn asked_of_clusters(
    desired: &Source<Desired>,
    service: &Alias,
    aliases: &BTreeMap<Alias, AliasPlace>,
) -> BTreeMap<Alias, BTreeSet<Key>> {
    let mut asked: BTreeMap<Alias, BTreeSet<Key>> = BTreeMap::new();
    let Some(desired) = desired.seen() else { return asked };
    let candidates = std::iter::once(&desired.head).chain(&desired.asked).chain(&desired.candidates);
    for map in candidates.filter_map(|candidate| candidate.config_maps.as_ref().ok()).flat_map(|maps| maps.iter()) {
        let cluster = match aliases.get(&map.cluster) {
            _ if map.cluster == *service => service,
            Some(AliasPlace::At { cluster, .. }) => cluster,
            Some(AliasPlace::Ambiguous { .. }) | None => continue,
        };
        if !map.key.namespace.is_empty() {
            let keys = asked.entry(cluster.clone()).or_default();
            if !keys.contains(&map.key) {
                keys.insert(map.key.clone());
            }
        }
    }
    asked
}

/// Whether any revision asks for a ConfigMap of another cluster than Prow's own.
pub fn asks_elsewhere(desired: &Source<Desired>, service: &Alias) -> bool {
    let Some(desired) = desired.seen() else { return false };
    let candidates = std::iter::once(&desired.head).chain(&desired.asked).chain(&desired.candidates);
    let mut maps = candidates.filter_map(|candidate| candidate.config_maps.as_ref().ok()).flat_map(|maps| maps.iter());
    maps.any(|map| map.cluster != *service)
}

/// The lists to be kept, given what they showed so far. `asked` are the ConfigMaps that the repository wants here, `known`
/// namespaces to fall back to.
pub fn wanted(raw: &Raw, asked: Option<&BTreeSet<Key>>, known: &[String]) -> BTreeSet<ListId> {
    let mut wanted = BTreeSet::new();
    for kind in WorkloadKind::ALL {
        wanted.insert(ListId::Workloads(kind, Scope::Cluster));
        let everywhere = raw.workloads.get(&(kind, Scope::Cluster)).map(|list| &list.standing);
        if matches!(everywhere, Some(Standing::Denied { .. })) {
            let usual = USUAL_NAMESPACES.iter().map(|name| (*name).to_owned());
            wanted.extend(
                known
                    .iter()
                    .cloned()
                    .chain(usual)
                    .map(|namespace| ListId::Workloads(kind, Scope::Namespace(namespace))),
            );
        }
    }
    for namespace in component_namespaces(raw) {
        wanted.insert(ListId::Pods(namespace.clone()));
        wanted.insert(ListId::ReplicaSets(namespace.clone()));
        wanted.insert(ListId::ConfigMaps(namespace.clone()));
        wanted.insert(ListId::CronJobs(namespace.clone()));
        wanted.insert(ListId::Jobs(namespace.clone()));
        wanted.insert(ListId::Endpoints(namespace));
    }
    if let Some(LastSettings { settings, .. }) = &raw.settings {
        wanted.insert(ListId::ConfigMaps(settings.prowjob_namespace.clone()));
        wanted.insert(ListId::ConfigMaps(settings.pod_namespace.clone()));
        wanted.insert(ListId::ProwJobs(settings.prowjob_namespace.clone()));
    }
    // Where the repository wants ConfigMaps that nothing mounts (yet).
    wanted.extend(asked.into_iter().flatten().map(|key| ListId::ConfigMaps(key.namespace.clone())));
    wanted
}

/// What the lists of job pods are asked for with.
pub struct JobsWanted<'a> {
    pub pod_namespace: &'a str,
    /// Key of the cluster.
    pub key: &'a Alias,
    pub jobs: &'a JobIndex,
    pub aliases: &'a BTreeMap<Alias, AliasPlace>,
    /// Namespaces to fall back to.
    pub known: &'a [String],
}

/// The lists about the pods of jobs, in any cluster.
pub fn wanted_of_jobs(raw: &Raw, with: &JobsWanted<'_>) -> BTreeSet<ListId> {
    let namespace = with.pod_namespace.to_owned();
    let everywhere = Scope::Without(namespace.clone());
    let mut wanted = BTreeSet::from([ListId::JobPods(everywhere.clone()), ListId::Census(namespace.clone())]);
    let denied = raw.jobs.pods.get(&everywhere).map(|list| &list.standing);
    if matches!(denied, Some(Standing::Denied { .. })) {
        let usual = USUAL_NAMESPACES.iter().map(|name| (*name).to_owned());
        let fallback = with.known.iter().cloned().chain(component_namespaces(raw)).chain(usual);
        wanted.extend(fallback.filter(|name| *name != namespace).map(|name| ListId::JobPods(Scope::Namespace(name))));
    }
    let ids = raw.jobs.to_look_up(with.key, with.jobs, with.aliases);
    if !ids.is_empty() {
        wanted.insert(ListId::LookUp(namespace.clone(), ids));
    }
    wanted.extend(raw.jobs.event_namespaces(with.jobs).into_iter().map(ListId::Warnings));
    if raw.jobs.misses_secrets() {
        wanted.insert(ListId::Secrets(namespace));
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_cluster_falls_back_to_known_namespaces_kind_by_kind() {
        let mut raw = Raw::default();
        let first = wanted(&raw, None, &["ci".to_owned()]);
        assert_eq!(first.len(), 4, "nothing but workloads over the whole cluster: {first:?}");
        let denied = raw.workloads.entry((WorkloadKind::Deployment, Scope::Cluster)).or_default();
        denied.standing = Standing::Denied { verb: "list deployments in all namespaces".to_owned() };
        let second = wanted(&raw, None, &["ci".to_owned()]);
        for namespace in ["ci", "default", "prow"] {
            let id = ListId::Workloads(WorkloadKind::Deployment, Scope::Namespace(namespace.to_owned()));
            assert!(second.contains(&id), "{namespace}");
        }
        assert_eq!(second.len(), 7, "the other kinds are not denied: {second:?}");
    }
}
