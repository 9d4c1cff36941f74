//! The pods of jobs in one cluster: what came in, and what it says. Pure, but for the rows' keeping.
//!
//! Outside the pod namespace every labelled pod is watched; the server leaves the others out. Of the pod namespace there is a
//! census (names and states), and a few of its pods are looked up: those whose ProwJob belongs to another cluster, and the
//! youngest, whose age proves that a repair worked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::cluster::job_pods::EventRow;
use crate::cluster::watch::Scope;
use crate::model::{
    Alias, AliasPlace, CensusRow, EventGroup, Failure, PodCensus, ProwJob, ProwPod, Source, SourceStatus, Timestamp,
};

use super::raw::{ByNamespace, List, Raw, Standing};

/// So many of the youngest pods are looked up: some more than a gate wants to see.
const YOUNGEST: usize = 8;
/// So many pods of the wrong cluster are looked up at a time.
const MOST_LOOKED_UP: usize = 2000;
/// Namespaces whose warnings are watched: those with most pods of ours.
const EVENT_NAMESPACES: usize = 6;

/// ProwJobs by name.
pub type JobIndex = HashMap<String, Arc<ProwJob>>;

/// What came in about the pods of jobs.
#[derive(Debug, Default)]
pub struct JobRaw {
    /// Outside the pod namespace; by namespace where the whole cluster may not be listed.
    pub pods: BTreeMap<Scope, List<Arc<ProwPod>>>,
    pub census: Option<Census>,
    pub looked: Looked,
    pub events: ByNamespace<EventRow>,
    pub secrets: Option<(Standing, BTreeSet<String>)>,
}

/// The labelled pods of the pod namespace, youngest first.
#[derive(Debug)]
pub struct Census {
    pub namespace: String,
    pub rows: Arc<Vec<CensusRow>>,
    /// Those without the label.
    pub unlabelled: Arc<Vec<CensusRow>>,
    pub standing: Standing,
}

/// Pods that were looked up.
#[derive(Debug, Default)]
pub struct Looked {
    /// What the last answer was about.
    pub ids: BTreeSet<String>,
    /// What is asked for now.
    pub asked: BTreeSet<String>,
    pub pods: Vec<Arc<ProwPod>>,
}

impl JobRaw {
    /// Everything that was asked for was answered.
    pub fn is_settled(&self) -> bool {
        self.pods.values().all(|list| !list.standing.is_loading())
            && self.census.as_ref().is_none_or(|census| !census.standing.is_loading())
            && self.events.values().all(|list| !list.standing.is_loading())
            && self.secrets.as_ref().is_none_or(|(standing, _)| !standing.is_loading())
            && self.looked.asked.is_subset(&self.looked.ids)
    }

    /// The labelled pods were counted, or could not be.
    pub fn is_counted(&self) -> bool {
        self.pods.values().all(|list| !list.standing.is_loading())
            && self.census.as_ref().is_some_and(|census| !census.standing.is_loading())
    }

    /// Takes an answer of the census in.
    pub fn count(
        &mut self,
        namespace: &str,
        answer: Result<(Vec<CensusRow>, Vec<CensusRow>), Failure>,
        denied: Option<String>,
        confirmed: Option<Timestamp>,
    ) {
        let Some(census) = self.census.as_mut().filter(|census| census.namespace == namespace) else { return };
        match (answer, denied) {
            (Ok((rows, unlabelled)), _) => {
                census.rows = Arc::new(rows);
                census.unlabelled = Arc::new(unlabelled);
                census.standing = Standing::Known;
            }
            (Err(_), Some(verb)) => {
                census.rows = Arc::default();
                census.unlabelled = Arc::default();
                census.standing = Standing::Denied { verb };
            }
            (Err(error), None) => {
                let last = match &census.standing {
                    Standing::Known => confirmed,
                    Standing::Lost { last, .. } => *last,
                    Standing::Loading | Standing::Denied { .. } => None,
                };
                census.standing = Standing::Lost { error, last };
            }
        }
    }

    /// Gives the rows their cluster's key, which may be learned after they came in.
    pub fn rekey(&mut self, key: &Alias) {
        let lists = self.pods.values_mut().flat_map(|list| list.rows.values_mut());
        for pod in lists.chain(&mut self.looked.pods) {
            if pod.object.cluster != *key {
                Arc::make_mut(pod).object.cluster = key.clone();
            }
        }
    }

    /// How many pods here have the name of a ProwJob, by its alias.
    pub fn evidence(&self, jobs: &JobIndex) -> BTreeMap<Alias, usize> {
        let mut names: BTreeSet<&str> = self.watched().map(|pod| pod.object.name.as_str()).collect();
        names.extend(self.census.iter().flat_map(|census| census.rows.iter()).map(|row| row.name.as_str()));
        let mut counts: BTreeMap<Alias, usize> = BTreeMap::new();
        for job in names.into_iter().filter_map(|name| jobs.get(name)) {
            *counts.entry(job.alias()).or_default() += 1;
        }
        counts
    }

    fn watched(&self) -> impl Iterator<Item = &Arc<ProwPod>> {
        self.pods.values().flat_map(|list| list.rows.values())
    }

    /// Ids of pods of the pod namespace to be looked up.
    pub fn to_look_up(&self, key: &Alias, jobs: &JobIndex, aliases: &BTreeMap<Alias, AliasPlace>) -> BTreeSet<String> {
        let Some(census) = &self.census else { return BTreeSet::new() };
        let ours = || census.rows.iter().filter_map(|row| jobs.get(&row.name));
        let elsewhere = ours().filter(|job| is_elsewhere(job, key, aliases)).take(MOST_LOOKED_UP);
        ours().take(YOUNGEST).chain(elsewhere).map(|job| job.name.clone()).collect()
    }

    /// Namespaces whose warnings are worth a watch.
    pub fn event_namespaces(&self, jobs: &JobIndex) -> Vec<String> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for pod in self.watched().filter(|pod| pod.is_waiting() && jobs.contains_key(&pod.object.name)) {
            *counts.entry(&pod.object.namespace).or_default() += 1;
        }
        let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts.into_iter().take(EVENT_NAMESPACES).map(|(namespace, _)| namespace.to_owned()).collect()
    }

    /// True where warnings name a secret that is missing.
    pub fn misses_secrets(&self) -> bool {
        self.events.values().flat_map(|list| list.rows.values()).any(|row| row.message.contains("secret \""))
    }
}

fn is_elsewhere(job: &ProwJob, key: &Alias, aliases: &BTreeMap<Alias, AliasPlace>) -> bool {
    matches!(aliases.get(&job.alias()), Some(AliasPlace::At { cluster, .. }) if cluster != key)
}

/// Labelled pods outside the pod namespace, and those within it that belong to another cluster.
pub fn job_pods(
    raw: &Raw,
    key: &Alias,
    jobs: &JobIndex,
    aliases: &BTreeMap<Alias, AliasPlace>,
) -> Source<Vec<Arc<ProwPod>>> {
    let lists = &raw.jobs.pods;
    let found = |standing: fn(&Standing) -> bool| lists.values().find(|list| standing(&list.standing));
    let standing = if lists.is_empty() || found(Standing::is_loading).is_some() {
        Standing::Loading
    } else if let Some(lost) = found(|standing| matches!(standing, Standing::Lost { .. })) {
        lost.standing.clone()
    } else if let Some(known) = found(|standing| matches!(standing, Standing::Known)) {
        known.standing.clone()
    } else {
        lists.values().next().map_or(Standing::Loading, |list| list.standing.clone())
    };
    let looked = raw.jobs.looked.pods.iter().filter(|pod| {
        let there = raw.jobs.census.as_ref().is_some_and(|census| census.namespace == pod.object.namespace);
        there && jobs.get(&pod.object.name).is_some_and(|job| is_elsewhere(job, key, aliases))
    });
    raw.source(&standing, raw.jobs.watched().chain(looked).cloned().collect())
}

/// The census, with the times of those that were looked up.
pub fn census(raw: &Raw) -> Source<PodCensus> {
    let Some(census) = &raw.jobs.census else { return raw.source(&Standing::Loading, PodCensus::default()) };
    let created: BTreeMap<&str, Timestamp> = raw
        .jobs
        .looked
        .pods
        .iter()
        .filter_map(|pod| Some((pod.object.name.as_str(), pod.created.filter(|_| !pod.deleting)?)))
        .collect();
    let pods = if created.is_empty() {
        census.rows.clone()
    } else {
        let mut rows = census.rows.to_vec();
        for row in &mut rows {
            row.created = created.get(row.name.as_str()).copied();
        }
        Arc::new(rows)
    };
    let unlabelled = census.unlabelled.clone();
    raw.source(&census.standing, PodCensus { namespace: census.namespace.clone(), pods, unlabelled })
}

/// Warnings, those with the same reason and message together; what was said most comes first.
pub fn pod_events(raw: &Raw) -> Source<Vec<EventGroup>> {
    let lists = &raw.jobs.events;
    let standing = lists
        .values()
        .map(|list| &list.standing)
        .find(|standing| !matches!(standing, Standing::Known))
        .cloned()
        .unwrap_or(Standing::Known);
    let mut groups: BTreeMap<(&str, &str, &str), EventGroup> = BTreeMap::new();
    for (namespace, list) in lists {
        for row in list.rows.values() {
            let group = groups.entry((namespace, &row.reason, &row.message)).or_insert_with(|| EventGroup {
                namespace: namespace.clone(),
                reason: row.reason.clone(),
                message: row.message.clone(),
                pods: BTreeSet::new(),
                count: 0,
                first: None,
                last: None,
            });
            group.pods.insert(row.pod.clone());
            group.count = group.count.saturating_add(row.count);
            group.first = [group.first, row.first].into_iter().flatten().min();
            group.last = group.last.max(row.last);
        }
    }
    let mut groups: Vec<EventGroup> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.pods.len()));
    raw.source(&standing, groups)
}

pub fn secrets_in_use(raw: &Raw) -> Source<BTreeSet<String>> {
    match &raw.jobs.secrets {
        Some((standing, secrets)) => raw.source(standing, secrets.clone()),
        None => Source::Loading,
    }
}

/// The lists by name, with their standing; `job_pods` and `census` say theirs themselves.
pub fn parts(raw: &Raw) -> Vec<SourceStatus> {
    raw.jobs
        .events
        .iter()
        .map(|(namespace, list)| SourceStatus {
            name: format!("events in {namespace}"),
            source: raw.source(&list.standing, ()),
        })
        .collect()
}
