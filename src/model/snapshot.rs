//! Everything seen at one time: what diagnoses judge and plans are made from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Alias, ClusterIdentity, Component, ConfigMapState, Desired, Endpoints, Key, ProwJobTimes, Source, Timestamp,
};

/// The state of a Prow, as far as it could be seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub taken_at: Timestamp,
    /// Who the server says we are; `None` where it does not tell.
    pub user: Option<String>,
    /// The service cluster: where Prow's components run.
    pub service: ClusterView,
    /// Build clusters by alias; a cluster missing here was not looked for, one that is lost says so itself.
    pub clusters: BTreeMap<Alias, ClusterView>,
    pub prowjobs: Source<Vec<ProwJobTimes>>,
    /// `prowjob_namespace` and `pod_namespace` of the live configuration.
    pub prow: Source<ProwSettings>,
    pub desired: Source<Desired>,
    /// Runs of this program that did not end, from the journal; on any cluster.
    pub interrupted: Vec<InterruptedRun>,
    /// Contents that a component is known to have refused, remembered by the journal; of any cluster that it knows.
    pub refused: Vec<RefusedContent>,
}

impl Snapshot {
    /// What the journal remembers of refusals in this very cluster; nothing while its identity is not known.
    pub fn remembered_refusals(&self) -> impl Iterator<Item = &RefusedContent> {
        let identity = self.service.identity.seen();
        self.refused.iter().filter(move |content| {
            identity.is_some_and(|own| own.server == content.cluster_server && own.uid == content.cluster_uid)
        })
    }

    /// Runs on this very cluster that did not come to their end and that nobody works on. Those of another cluster (a
    /// staging, a drill) are no business of this one.
    pub fn own_interrupted(&self) -> impl Iterator<Item = &InterruptedRun> {
        let identity = self.service.identity.seen();
        self.interrupted.iter().filter(move |run| {
            let here = |cluster: &ClusterIdentity| {
                identity.is_some_and(|own| own.server == cluster.server && own.uid == cluster.uid)
            };
            run.running_pid.is_none() && (run.clusters.is_empty() || run.clusters.iter().any(here))
        })
    }

    /// The sources by name, with their standing: `service/pods`, `git`.
    pub fn sources(&self) -> Vec<SourceStatus> {
        let mut all = self.service.sources("service");
        for (alias, view) in &self.clusters {
            all.extend(view.sources(&alias.0));
        }
        all.push(SourceStatus::of("service/prowjobs", &self.prowjobs));
        all.push(SourceStatus::of("git", &self.desired));
        all
    }
}

/// One cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterView {
    pub alias: Alias,
    /// Context and server are always there; the uids come with the first answer.
    pub context: String,
    pub server: String,
    /// Known once the server answered; plans need it.
    pub identity: Source<ClusterIdentity>,
    /// Server version, such as `v1.34.4`.
    pub version: Option<String>,
    /// Workloads joined with their pods. Denied or lost parts of it are said in `parts`.
    pub components: Source<Vec<Component>>,
    pub config_maps: Source<BTreeMap<Key, ConfigMapState>>,
    pub endpoints: Source<Endpoints>,
    /// The lists behind the above, a name each (`pods in prow`, `logs of prow/hook-1 (hook)`): what was asked, what
    /// came of it.
    pub parts: Vec<SourceStatus>,
}

impl ClusterView {
    fn sources(&self, name: &str) -> Vec<SourceStatus> {
        let mut all = vec![
            SourceStatus::of(&format!("{name}/components"), &self.components),
            SourceStatus::of(&format!("{name}/configmaps"), &self.config_maps),
            SourceStatus::of(&format!("{name}/endpoints"), &self.endpoints),
        ];
        all.extend(
            self.parts.iter().map(|part| SourceStatus { name: format!("{name}/{}", part.name), ..part.clone() }),
        );
        all
    }

    /// True where a ConfigMap of this namespace that is not in `config_maps` does not exist; else it is only unseen: its
    /// namespace is denied, not answered for yet, or was not looked into.
    pub fn sees_config_maps_of(&self, namespace: &str) -> bool {
        let list = format!("configmaps in {namespace}");
        self.config_maps.known().is_some()
            && self.parts.iter().any(|part| part.name == list && part.source.known().is_some())
    }

    /// A component by role, first in name order.
    pub fn component(&self, role: &str) -> Option<&Component> {
        self.components.seen()?.iter().find(|component| component.role == role)
    }
}

/// The standing of a source, without its value.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceStatus {
    pub name: String,
    pub source: Source<()>,
}

impl SourceStatus {
    pub fn of<T>(name: &str, source: &Source<T>) -> Self {
        SourceStatus { name: name.to_owned(), source: source.map(|_| ()) }
    }
}

/// What the live Prow configuration says of namespaces, and where it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProwSettings {
    pub prowjob_namespace: String,
    pub pod_namespace: String,
    /// The ConfigMap that `--config-path` leads to.
    pub from: Key,
}

/// A run that has an intent without an outcome, or never ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterruptedRun {
    pub run: String,
    pub title: String,
    pub at: Timestamp,
    /// The clusters of its plan; empty where that cannot be read any more.
    pub clusters: Vec<ClusterIdentity>,
    /// Why its journal cannot be relied on, where it is not as it was written: such a run can never be resumed.
    pub damaged: Option<String>,
    /// The steps whose outcome nobody knows, as words.
    pub unknown: Vec<String>,
    /// Process that holds it, if it still lives: then it is not interrupted but going on elsewhere.
    pub running_pid: Option<u32>,
}

/// A ConfigMap content that a running Prow refused: a FACT that outlives the pod whose log told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedContent {
    /// URL of the API server it was seen on; empty until it is remembered.
    #[serde(default)]
    pub cluster_server: String,
    /// uid of that cluster's namespace `kube-system`.
    #[serde(default)]
    pub cluster_uid: String,
    pub config_map: Key,
    /// Key to sha256 of the value after gunzip.
    pub keys: BTreeMap<String, String>,
    /// The keys that the refusal was about, where that could be told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub culprits: Vec<String>,
    /// Images of the component that refused it.
    pub images: Vec<String>,
    /// The component's own words.
    pub error: String,
    pub at: Timestamp,
}
