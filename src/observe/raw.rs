//! What came in from a cluster, list by list, before it is joined: the input of [`assemble`](super::assemble).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::cluster::JobRow;
use crate::cluster::objects::{EndpointsRow, PodRow, ReplicaSetRow, Workload};
use crate::cluster::watch::{Change, Scope};
use crate::model::{
    ClusterIdentity, ConfigMapState, CronJobState, Failure, Key, ProwJob, ProwSettings, Source, SourceStatus, Timestamp,
};

use super::jobs::{self, JobRaw};
use super::logs::Logs;

/// ProwJobs that went and are remembered.
const GONE_PROWJOBS: usize = 5000;

/// How a list stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    Loading,
    Known,
    Denied {
        verb: String,
    },
    /// The rows are what was known at `last`, if ever.
    Lost {
        error: Failure,
        last: Option<Timestamp>,
    },
}

impl Standing {
    pub fn is_loading(&self) -> bool {
        matches!(self, Standing::Loading)
    }
}

/// A list with its rows.
#[derive(Debug, Clone)]
pub struct List<T> {
    pub rows: BTreeMap<Key, T>,
    pub standing: Standing,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        List { rows: BTreeMap::new(), standing: Standing::Loading }
    }
}

impl<T> List<T> {
    /// Takes a change in; `confirmed` is when the server last answered before it.
    pub fn apply(&mut self, change: Change<T>, confirmed: Option<Timestamp>) {
        match change {
            Change::Swapped(rows) => *self = List { rows, standing: Standing::Known },
            Change::Applied(key, row) => {
                self.rows.insert(key, row);
            }
            Change::Gone(key) => {
                self.rows.remove(&key);
            }
            Change::Denied { verb } => *self = List { rows: BTreeMap::new(), standing: Standing::Denied { verb } },
            Change::Lost(error) => {
                let last = match &self.standing {
                    Standing::Known => confirmed,
                    Standing::Lost { last, .. } => *last,
                    Standing::Loading | Standing::Denied { .. } => None,
                };
                self.standing = Standing::Lost { error, last };
            }
        }
    }
}

/// Does the server answer?
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Contact {
    /// Not asked, or no answer yet.
    #[default]
    Waiting,
    Answering {
        at: Timestamp,
    },
    Silent {
        error: Failure,
        last: Option<Timestamp>,
    },
}

impl Contact {
    /// When the server last answered.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Contact::Waiting => None,
            Contact::Answering { at } => Some(*at),
            Contact::Silent { last, .. } => *last,
        }
    }

    pub fn answered(&mut self, at: Timestamp) {
        *self = Contact::Answering { at };
    }

    pub fn failed(&mut self, error: Failure) {
        *self = Contact::Silent { error, last: self.at() };
    }
}

/// The kinds of workload that a component can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    Deployment,
    StatefulSet,
    DaemonSet,
    CronJob,
}

impl WorkloadKind {
    pub const ALL: [WorkloadKind; 4] =
        [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::DaemonSet, WorkloadKind::CronJob];

    /// Plural, as in RBAC.
    pub fn resource(self) -> &'static str {
        match self {
            WorkloadKind::Deployment => "deployments",
            WorkloadKind::StatefulSet => "statefulsets",
            WorkloadKind::DaemonSet => "daemonsets",
            WorkloadKind::CronJob => "cronjobs",
        }
    }
}

/// Lists by namespace.
pub type ByNamespace<T> = BTreeMap<String, List<T>>;

/// All lists of one cluster.
#[derive(Debug)]
pub struct Raw {
    pub contact: Contact,
    pub identity: Source<ClusterIdentity>,
    pub version: Option<String>,
    /// Seconds that this machine's clock is ahead of the server's.
    pub clock_ahead: Option<i64>,
    /// Deployments, StatefulSets, DaemonSets and CronJobs: over the cluster, and in namespaces where that is denied.
    pub workloads: BTreeMap<(WorkloadKind, Scope), List<Workload>>,
    pub pods: ByNamespace<PodRow>,
    pub replica_sets: ByNamespace<ReplicaSetRow>,
    pub config_maps: ByNamespace<ConfigMapState>,
    /// Single ones, by name: of build clusters.
    pub single_maps: BTreeMap<Key, List<ConfigMapState>>,
    pub endpoints: ByNamespace<EndpointsRow>,
    pub prowjobs: ByNamespace<Arc<ProwJob>>,
    /// All CronJobs of the namespaces of components.
    pub cron_jobs: ByNamespace<CronJobState>,
    pub jobs_of_cron: ByNamespace<JobRow>,
    /// The pods of jobs.
    pub jobs: JobRaw,
    /// ProwJobs that went, oldest first.
    pub gone_prowjobs: VecDeque<Arc<ProwJob>>,
    pub logs: Logs,
    pub settings: Option<LastSettings>,
    /// Until everything was answered once. What appears later is left out until it has answered.
    pub opening: bool,
}

/// The last settings that could be read: they are needed while the live ones cannot be, and not read again from the same
/// value.
#[derive(Debug, Clone)]
pub struct LastSettings {
    pub settings: ProwSettings,
    pub at: Timestamp,
    /// The value that they were read from.
    pub value: Arc<[u8]>,
}

impl Default for Raw {
    fn default() -> Self {
        Raw {
            contact: Contact::default(),
            identity: Source::Loading,
            version: None,
            clock_ahead: None,
            workloads: BTreeMap::new(),
            pods: BTreeMap::new(),
            replica_sets: BTreeMap::new(),
            config_maps: BTreeMap::new(),
            single_maps: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            prowjobs: BTreeMap::new(),
            cron_jobs: BTreeMap::new(),
            jobs_of_cron: BTreeMap::new(),
            jobs: JobRaw::default(),
            gone_prowjobs: VecDeque::new(),
            logs: Logs::default(),
            settings: None,
            opening: true,
        }
    }
}

impl Raw {
    /// True once every list, every log and the identity were answered in some way, or nobody answers at all.
    pub fn is_settled(&self) -> bool {
        fn lists<K, T>(lists: &BTreeMap<K, List<T>>) -> bool {
            lists.values().all(|list| !list.standing.is_loading())
        }
        if matches!(self.contact, Contact::Silent { .. }) {
            return true;
        }
        self.identity.is_settled()
            && lists(&self.workloads)
            && lists(&self.pods)
            && lists(&self.replica_sets)
            && lists(&self.config_maps)
            && lists(&self.single_maps)
            && lists(&self.endpoints)
            && lists(&self.prowjobs)
            && lists(&self.cron_jobs)
            && lists(&self.jobs_of_cron)
            && self.jobs.is_settled()
            && self.logs.is_settled()
    }

    /// Keeps what is known of ProwJobs that go: it proves whose their pods are.
    pub fn remember_gone(&mut self, change: &Change<Arc<ProwJob>>) {
        let rows = || self.prowjobs.values().flat_map(|list| &list.rows);
        let gone: Vec<Arc<ProwJob>> = match change {
            Change::Gone(key) => rows().filter(|(held, _)| *held == key).map(|(_, job)| job.clone()).collect(),
            Change::Swapped(new) => {
                rows().filter(|(held, _)| !new.contains_key(held)).map(|(_, job)| job.clone()).collect()
            }
            Change::Applied(..) | Change::Denied { .. } | Change::Lost(_) => return,
        };
        self.gone_prowjobs.extend(gone);
        let surplus = self.gone_prowjobs.len().saturating_sub(GONE_PROWJOBS);
        self.gone_prowjobs.drain(..surplus);
    }

    /// The identity, as old as the contact: a server that is silent now may be another one when it comes back.
    pub fn identity(&self) -> Source<ClusterIdentity> {
        match &self.identity {
            Source::Known { value, .. } => self.source(&Standing::Known, value.clone()),
            Source::Loading => match &self.contact {
                Contact::Silent { error, .. } => Source::Lost { error: error.clone(), last: None },
                Contact::Waiting | Contact::Answering { .. } => Source::Loading,
            },
            other @ (Source::Denied { .. } | Source::Lost { .. }) => other.clone(),
        }
    }

    /// The lists by name, with their standing. That a namespace is denied where we only tried our luck is no news once
    /// another one was read; `asked` are those that a person named.
    pub fn parts(&self, asked: &[String]) -> Vec<SourceStatus> {
        let mut parts = Vec::new();
        for ((kind, scope), list) in &self.workloads {
            let guessed = matches!(scope, Scope::Namespace(namespace) if !asked.contains(namespace));
            let denied = matches!(list.standing, Standing::Denied { .. });
            let found = || self.workloads.iter().any(|((k, _), list)| k == kind && list.standing == Standing::Known);
            if guessed && denied && found() {
                continue;
            }
            let name = match scope {
                Scope::Cluster | Scope::Without(_) => kind.resource().to_owned(),
                Scope::Namespace(namespace) => format!("{} in {namespace}", kind.resource()),
                Scope::One(key) => format!("{} {key}", kind.resource()),
            };
            parts.push(self.part(name, &list.standing));
        }
        let mut add = |what: &str, standings: Vec<(&String, &Standing)>| {
            parts.extend(
                standings
                    .into_iter()
                    .map(|(namespace, standing)| self.part(format!("{what} in {namespace}"), standing)),
            );
        };
        add("pods", standings(&self.pods));
        add("replicasets", standings(&self.replica_sets));
        add("configmaps", standings(&self.config_maps));
        add("endpointslices", standings(&self.endpoints));
        add("cronjobs", standings(&self.cron_jobs));
        add("jobs", standings(&self.jobs_of_cron));
        parts.extend(jobs::parts(self));
        parts.extend(self.logs.parts());
        parts
    }

    /// The ConfigMaps that were asked for one by one, and what came of each. That one is not among them says nothing where its
    /// part does not.
    pub fn single_maps(&self) -> (Source<BTreeMap<Key, ConfigMapState>>, Vec<SourceStatus>) {
        let rows = self.single_maps.values().flat_map(|list| &list.rows);
        let all = self.source(&Standing::Known, rows.map(|(key, map)| (key.clone(), map.clone())).collect());
        let part = |(key, list): (&Key, &List<_>)| self.part(format!("configmap {key}"), &list.standing);
        (all, self.single_maps.iter().map(part).collect())
    }

    fn part(&self, name: String, standing: &Standing) -> SourceStatus {
        SourceStatus { name, source: self.source(standing, ()) }
    }

    /// A value under the standing of its list, and under the silence of the whole server.
    pub fn source<T>(&self, standing: &Standing, value: T) -> Source<T> {
        match (standing, &self.contact) {
            (Standing::Denied { verb }, _) => Source::Denied { verb: verb.clone() },
            (Standing::Loading, Contact::Silent { error, .. }) => Source::Lost { error: error.clone(), last: None },
            (Standing::Loading, Contact::Waiting | Contact::Answering { .. }) => Source::Loading,
            // Of a silent server all lists say the same: the one cause.
            (Standing::Lost { last, .. }, Contact::Silent { error, .. })
            | (Standing::Lost { error, last }, Contact::Waiting | Contact::Answering { .. }) => {
                Source::Lost { error: error.clone(), last: last.map(|last| (value, last)) }
            }
            (Standing::Known, Contact::Answering { at }) => Source::Known { value, at: *at },
            (Standing::Known, Contact::Silent { error, last }) => {
                Source::Lost { error: error.clone(), last: last.map(|last| (value, last)) }
            }
            // A list came in, so the server answered: the contact says so a moment later.
            (Standing::Known, Contact::Waiting) => Source::Loading,
        }
    }
}

fn standings<T>(lists: &ByNamespace<T>) -> Vec<(&String, &Standing)> {
    lists.iter().map(|(namespace, list)| (namespace, &list.standing)).collect()
}
