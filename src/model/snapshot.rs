//! Everything seen at one time: what diagnoses judge and plans are made from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Alias, Checked, ClusterIdentity, Component, ConfigMapState, CronJobState, Desired, DesiredConfigMap, Endpoints,
    EventGroup, Key, ObjectRef, PodCensus, ProwJob, ProwPod, Rollout, Source, Timestamp,
};

/// Begins the name of a part (of [`ClusterView::parts`]) that pods of jobs are missing for: it may not be listed.
pub const PODS_OF_JOBS: &str = "pods of jobs";

/// The name of [`Snapshot::checkconfig`] among the sources.
pub const CHECKCONFIG: &str = "checkconfig";

/// The state of a Prow, as far as it could be seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub taken_at: Timestamp,
    /// Who the server says we are; `None` where it does not tell.
    pub user: Option<String>,
    /// The service cluster: where Prow's components run.
    pub service: ClusterView,
    /// Other clusters: build clusters and contexts that may be some. A cluster missing here was not looked for, one that
    /// is lost says so itself. The key is Prow's alias where it is given or proven, else the context's name; also for the
    /// alias `default`, which here is the service cluster whatever Prow calls so (see `aliases`).
    pub clusters: BTreeMap<Alias, ClusterView>,
    /// Where Prow's aliases (`spec.cluster` of ProwJobs) lead. One that is missing here is not known.
    pub aliases: BTreeMap<Alias, AliasPlace>,
    pub prowjobs: Source<Vec<Arc<ProwJob>>>,
    /// ProwJobs that this session saw and that are gone since: they prove that a pod was this Prow's.
    pub gone_prowjobs: Vec<Arc<ProwJob>>,
    /// `prowjob_namespace` and `pod_namespace` of the live configuration.
    pub prow: Source<ProwSettings>,
    pub desired: Source<Desired>,
    /// Runs of this program that did not end, from the journal; on any cluster.
    pub interrupted: Vec<InterruptedRun>,
    /// Contents that a component is known to have refused, remembered by the journal; of any cluster that it knows.
    pub refused: Vec<RefusedContent>,
    /// What is known of contents beyond that: what ran on them before, what a checkconfig said. Newest first.
    pub checked: Vec<Checked>,
    /// How the checkconfig on this machine answers; `None` where there is none to ask.
    pub checkconfig: Option<Source<()>>,
    /// What is being read now and was not answered for yet, by name: the next picture may show more of it.
    pub reading: Vec<String>,
}

impl Snapshot {
    /// One in which no cluster was looked at, for what is asked of a repository alone.
    pub fn of_no_cluster(taken_at: Timestamp) -> Self {
        Snapshot {
            taken_at,
            user: None,
            service: ClusterView::loading(Alias::service(), ClusterStanding::Service, "", ""),
            clusters: BTreeMap::new(),
            aliases: BTreeMap::new(),
            prowjobs: Source::Loading,
            gone_prowjobs: Vec::new(),
            prow: Source::Loading,
            desired: Source::Loading,
            interrupted: Vec::new(),
            refused: Vec::new(),
            checked: Vec::new(),
            checkconfig: None,
            reading: Vec::new(),
        }
    }

    /// False for one in which no cluster was looked at.
    pub fn is_of_a_cluster(&self) -> bool {
        !self.service.server.is_empty()
    }

    /// The service cluster, then the others.
    pub fn views(&self) -> impl Iterator<Item = &ClusterView> {
        std::iter::once(&self.service).chain(self.clusters.values())
    }

    /// When it was taken, by the service cluster's clock: what is compared with times of its objects.
    pub fn taken_at_server(&self) -> Timestamp {
        let ahead = jiff::SignedDuration::from_secs(self.service.clock_ahead.unwrap_or(0));
        self.taken_at.checked_sub(ahead).unwrap_or(self.taken_at)
    }

    /// A cluster by its key.
    pub fn view(&self, key: &Alias) -> Option<&ClusterView> {
        self.views().find(|view| view.alias == *key)
    }

    /// The kubeconfig context of a cluster: what people know it by.
    pub fn context_of<'a>(&'a self, key: &'a Alias) -> &'a str {
        self.view(key).map_or(key.0.as_str(), |view| view.context.as_str())
    }

    /// Aliases of jobs that go on and have pods, of which nobody knows where they lead.
    pub fn unplaced_aliases(&self) -> BTreeSet<Alias> {
        self.prowjobs
            .known()
            .into_iter()
            .flatten()
            .filter(|job| !job.is_finished() && !job.pod_name.is_empty())
            .map(|job| job.alias())
            .filter(|alias| !self.aliases.contains_key(alias))
            .collect()
    }

    /// The aliases of all ProwJobs that had a pod, finished ones as well; not each once.
    pub fn homes(&self) -> impl Iterator<Item = Alias> {
        self.prowjobs.known().into_iter().flatten().filter(|job| !job.pod_name.is_empty()).map(|job| job.alias())
    }

    /// Prow's name of a cluster, as ProwJobs spell it; where there are several, the one that is not `default`.
    pub fn prow_alias(&self, key: &Alias) -> Option<&Alias> {
        let of_it = |place: &AliasPlace| matches!(place, AliasPlace::At { cluster, .. } if cluster == key);
        let names = || self.aliases.iter().filter(|(_, place)| of_it(place)).map(|(alias, _)| alias);
        names().find(|alias| **alias != Alias::service()).or_else(|| names().next())
    }

    /// The key of a cluster that a person names: by Prow's alias, else by its context, else by its key.
    pub fn cluster_named(&self, name: &str) -> Option<&Alias> {
        let by_alias = self.place_of(&Alias(name.to_owned()));
        let by_context = || self.views().find(|view| view.context == name);
        let by_key = || self.views().find(|view| view.alias.0 == name);
        by_alias.or_else(by_context).or_else(by_key).map(|view| &view.alias)
    }

    /// The cluster that `config_updater` means by an alias: `default` is always the service cluster, whatever jobs call so; any
    /// other is a context of hook, which is where jobs of that alias go.
    pub fn config_map_cluster(&self, alias: &Alias) -> Option<&ClusterView> {
        if *alias == self.service.alias { Some(&self.service) } else { self.place_of(alias) }
    }

    /// What a revision asks of an object: its ConfigMaps name clusters as Prow does, objects by their keys here.
    pub fn asked_of<'a>(&self, maps: &'a [DesiredConfigMap], object: &ObjectRef) -> Option<&'a DesiredConfigMap> {
        maps.iter().filter(|map| map.key.namespace == object.namespace && map.key.name == object.name).find(|map| {
            self.config_map_cluster(&map.cluster).map_or(&map.cluster, |view| &view.alias) == &object.cluster
        })
    }

    /// A live ConfigMap of any cluster, also when it is only remembered.
    pub fn live_config_map(&self, object: &ObjectRef) -> Option<&ConfigMapState> {
        self.view(&object.cluster)?.config_maps.seen()?.get(&Key::new(&object.namespace, &object.name))
    }

    /// The cluster that pods of jobs with this alias belong to, where that is known.
    pub fn place_of(&self, alias: &Alias) -> Option<&ClusterView> {
        match self.aliases.get(alias)? {
            AliasPlace::At { cluster, .. } => self.view(cluster),
            AliasPlace::Ambiguous { .. } => None,
        }
    }

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
        self.own_runs().filter(|run| run.running_pid.is_none())
    }

    /// The same, and those that somebody works on.
    pub fn own_runs(&self) -> impl Iterator<Item = &InterruptedRun> {
        let identity = self.service.identity.seen();
        self.interrupted.iter().filter(move |run| {
            let here = |cluster: &ClusterIdentity| {
                identity.is_some_and(|own| own.server == cluster.server && own.uid == cluster.uid)
            };
            run.clusters.is_empty() || run.clusters.iter().any(here)
        })
    }

    /// The sources by name, with their standing: `service/pods`, `git`.
    pub fn sources(&self) -> Vec<SourceStatus> {
        let mut all = self.service.sources("service");
        // That a context which is nothing to Prow does not answer is no news; but it may be the one that is missing.
        let is_missing = !self.unplaced_aliases().is_empty();
        let told = |view: &ClusterView| view.is_plannable() || is_missing && view.job_pods.known().is_none();
        for (alias, view) in self.clusters.iter().filter(|(_, view)| told(view)) {
            all.extend(view.sources(&alias.0));
        }
        all.push(SourceStatus::of("service/prowjobs", &self.prowjobs));
        all.push(SourceStatus::of("git", &self.desired));
        all.extend(self.checkconfig.as_ref().map(|source| SourceStatus::of(CHECKCONFIG, source)));
        all
    }
}

/// Where one of Prow's aliases leads.
#[derive(Debug, Clone, PartialEq)]
pub enum AliasPlace {
    /// To this cluster (its key in the snapshot).
    At { cluster: Alias, proof: AliasProof },
    /// Its jobs' pods are in several clusters, and nobody said which is right: they may be in the wrong one.
    Ambiguous { found: Vec<(Alias, usize)> },
}

/// How we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AliasProof {
    /// `--build-context`.
    Given,
    /// This many pods there have the name of a live ProwJob of that alias.
    Pods { count: usize },
}

/// What a cluster is to Prow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClusterStanding {
    /// Prow's components run here.
    #[default]
    Service,
    /// A build cluster: given, or proven by pods.
    Build,
    /// A context that nothing ties to this Prow (yet): readable, never planned on.
    Unproven,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterView {
    /// Its key in the snapshot.
    pub alias: Alias,
    pub standing: ClusterStanding,
    /// Context and server are always there; the uids come with the first answer.
    pub context: String,
    pub server: String,
    /// Known once the server answered; plans need it.
    pub identity: Source<ClusterIdentity>,
    /// Server version, such as `v1.34.4`.
    pub version: Option<String>,
    /// Seconds that this machine's clock is ahead of the server's; `None` where the server does not tell.
    pub clock_ahead: Option<i64>,
    /// Workloads joined with their pods. Denied or lost parts of it are said in `parts`.
    pub components: Source<Vec<Component>>,
    pub config_maps: Source<BTreeMap<Key, ConfigMapState>>,
    pub endpoints: Source<Endpoints>,
    /// Pods with the label `created-by-prow=true`: all outside the pod namespace, and those within it whose ProwJob belongs to
    /// another cluster.
    pub job_pods: Source<Vec<Arc<ProwPod>>>,
    /// The labelled pods of the pod namespace, by name.
    pub census: Source<PodCensus>,
    /// Warnings about pods in the namespaces of `job_pods`, by cause.
    pub pod_events: Source<Vec<EventGroup>>,
    /// Secrets that pods running in the pod namespace mount, of a sample: that one is not here says nothing.
    pub secrets_in_use: Source<BTreeSet<String>>,
    /// What ran when; only of the service cluster. Newest first.
    pub rollouts: Source<Vec<Rollout>>,
    /// CronJobs in the namespaces of components; only of the service cluster.
    pub cron_jobs: Source<Vec<CronJobState>>,
    /// The lists behind the above, a name each (`pods in prow`, `logs of prow/hook-1 (hook)`): what was asked, what
    /// came of it.
    pub parts: Vec<SourceStatus>,
}

impl ClusterView {
    /// A cluster of which nothing was answered yet.
    pub fn loading(alias: Alias, standing: ClusterStanding, context: &str, server: &str) -> Self {
        ClusterView {
            alias,
            standing,
            context: context.to_owned(),
            server: server.to_owned(),
            identity: Source::Loading,
            version: None,
            clock_ahead: None,
            components: Source::Loading,
            config_maps: Source::Loading,
            endpoints: Source::Loading,
            job_pods: Source::Loading,
            census: Source::Loading,
            pod_events: Source::Loading,
            secrets_in_use: Source::Loading,
            rollouts: Source::Loading,
            cron_jobs: Source::Loading,
            parts: Vec::new(),
        }
    }

    /// True where repairs may be planned.
    pub fn is_plannable(&self) -> bool {
        match self.standing {
            ClusterStanding::Service | ClusterStanding::Build => true,
            ClusterStanding::Unproven => false,
        }
    }

    fn sources(&self, name: &str) -> Vec<SourceStatus> {
        let mut all = Vec::new();
        if self.standing == ClusterStanding::Service {
            all.push(SourceStatus::of(&format!("{name}/components"), &self.components));
            all.push(SourceStatus::of(&format!("{name}/configmaps"), &self.config_maps));
            all.push(SourceStatus::of(&format!("{name}/endpoints"), &self.endpoints));
        }
        all.push(SourceStatus::of(&format!("{name}/job pods"), &self.job_pods));
        all.push(SourceStatus::of(&format!("{name}/pod census"), &self.census));
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

    /// The same for a single ConfigMap: in build clusters these are all that is looked at.
    pub fn sees_config_map(&self, key: &Key) -> bool {
        let alone = format!("configmap {key}");
        self.sees_config_maps_of(&key.namespace)
            || self.config_maps.known().is_some()
                && self.parts.iter().any(|part| part.name == alone && part.source.known().is_some())
    }

    /// Lists of job pods that are missing here, so that `job_pods` is less than all.
    pub fn missing_job_pods(&self) -> impl Iterator<Item = &SourceStatus> {
        self.parts.iter().filter(|part| part.name.starts_with(PODS_OF_JOBS) && part.source.known().is_none())
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

/// A run that has an intent without an outcome, never ended, or was stopped before its last step.
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
    /// It came to no end: steps that are done, of how many. `None` where that is not known.
    pub progress: Option<Progress>,
    pub leaves: Leaves,
    /// Process that holds it, if it still lives: then it is not interrupted but going on elsewhere.
    pub running_pid: Option<u32>,
}

/// What half of a run means for Prow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    /// It sets images of components: until it is finished or taken back, they may be of two versions.
    Images,
    /// It changes other objects of Prow's.
    Objects,
    /// It touches only what this program has made for itself, which goes in time anyway.
    OwnMaking,
}

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Done, or rightly left out.
    pub done: usize,
    pub of: usize,
}

impl std::fmt::Display for Progress {
    /// `2 of 9 done, 7 left`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} done, {} left", self.done, self.of, self.of.saturating_sub(self.done))
    }
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
    /// Digest of what else Prow reads, as it was then: beside something else this content may load. `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
    /// The keys that the refusal was about, where that could be told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub culprits: Vec<String>,
    /// Images of the component that refused it.
    pub images: Vec<String>,
    /// The component's own words.
    pub error: String,
    pub at: Timestamp,
}
