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
    Alias, AliasPlace, CensusRow, EventGroup, Failure, PODS_OF_JOBS, PodCensus, ProwJob, ProwPod, Source, SourceStatus,
    Timestamp,
};

use super::raw::{ByNamespace, List, Raw, Standing};

/// So many of the youngest pods are looked up: some more than a gate wants to see.
const YOUNGEST: usize = 8;
/// So many pods of the wrong cluster are looked up at a time.
const MOST_LOOKED_UP: usize = 2000;
/// Values of labels are no longer.
const LABEL: usize = 63;
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
    /// Why the last question was not answered.
    pub error: Option<Failure>,
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

    /// The labelled pods were counted everywhere in the cluster.
    pub fn is_seen(&self) -> bool {
        let known = |standing: &Standing| matches!(standing, Standing::Known);
        self.census.as_ref().is_some_and(|census| known(&census.standing))
            && self.pods.iter().any(|(scope, list)| matches!(scope, Scope::Without(_)) && known(&list.standing))
    }

    /// True where both hold the same pod: uids are unique.
    pub fn shares_pods(&self, other: &JobRaw) -> bool {
        let uids: BTreeSet<&str> = self.watched().map(|pod| pod.uid()).collect();
        other.watched().any(|pod| uids.contains(pod.uid()))
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
        // What is no value of a label would spoil the question about all others.
        let can_be_asked = |job: &&Arc<ProwJob>| job.name.len() <= LABEL;
        ours().take(YOUNGEST).chain(elsewhere).filter(can_be_asked).map(|job| job.name.clone()).collect()
    }

    /// Pods of another cluster's jobs are here, and what they are could not be read.
    fn misses_elsewhere(&self, key: &Alias, jobs: &JobIndex, aliases: &BTreeMap<Alias, AliasPlace>) -> bool {
        let told: BTreeSet<&str> = self.looked.pods.iter().map(|pod| pod.object.name.as_str()).collect();
        self.census
            .iter()
            .flat_map(|census| census.rows.iter())
            .filter_map(|row| jobs.get(&row.name))
            .any(|job| is_elsewhere(job, key, aliases) && !told.contains(job.name.as_str()))
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
    } else if let (Some(error), true) = (&raw.jobs.looked.error, raw.jobs.misses_elsewhere(key, jobs, aliases)) {
        // The census knows of them; where they are not told, they are not none.
        Standing::Lost { error: error.clone(), last: raw.contact.at() }
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

/// The lists by name, with their standing. `job_pods` and `census` say theirs themselves; but where the whole cluster may not
/// be listed, the namespaces that may be are not all of it.
pub fn parts(raw: &Raw) -> Vec<SourceStatus> {
    let outside = raw.jobs.pods.iter().filter_map(|(scope, list)| match scope {
        Scope::Without(namespace) if matches!(list.standing, Standing::Denied { .. }) => Some(SourceStatus {
            name: format!("{PODS_OF_JOBS} outside {namespace}"),
            source: raw.source(&list.standing, ()),
        }),
        Scope::Without(_) | Scope::Namespace(_) | Scope::One(_) | Scope::Cluster => None,
    });
    let events = raw.jobs.events.iter().map(|(namespace, list)| SourceStatus {
        name: format!("events in {namespace}"),
        source: raw.source(&list.standing, ()),
    });
    outside.chain(events).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AliasProof, Key, Kind, ObjectRef};
    use crate::observe::raw::Contact;

    fn alias(name: &str) -> Alias {
        Alias(name.to_owned())
    }

    fn pod(namespace: &str, name: &str, phase: &str) -> Arc<ProwPod> {
        let object = ObjectRef::new(&alias("somewhere"), namespace, Kind::Pod, name).with_uid(&format!("uid-{name}"));
        Arc::new(ProwPod {
            object,
            resource_version: "1".to_owned(),
            prowjob_id: Some(name.to_owned()),
            job: String::new(),
            job_type: String::new(),
            created: Some(Timestamp::UNIX_EPOCH),
            phase: phase.to_owned(),
            state: phase.to_owned(),
            node: None,
            deleting: false,
            finalizers: Vec::new(),
            build_id: String::new(),
            plank_version: String::new(),
            waiting: None,
            owner: None,
        })
    }

    /// Jobs `a…` are of alias `build`, jobs `b…` of `trusted`.
    fn jobs() -> JobIndex {
        ["a1", "a2", "b1", "b2"]
            .into_iter()
            .map(|name| {
                let cluster = if name.starts_with('a') { "build" } else { "trusted" };
                let job = ProwJob { name: name.to_owned(), cluster: cluster.to_owned(), ..ProwJob::default() };
                (name.to_owned(), Arc::new(job))
            })
            .collect()
    }

    fn aliases() -> BTreeMap<Alias, AliasPlace> {
        let at = |key: &str| AliasPlace::At { cluster: alias(key), proof: AliasProof::Given };
        BTreeMap::from([(alias("build"), at("build")), (alias("trusted"), at("default"))])
    }

    /// Two labelled pods outside, three in the pod namespace, of which one is of another cluster and one of another Prow.
    fn raw() -> Raw {
        let mut raw =
            Raw { contact: Contact::Answering { at: Timestamp::UNIX_EPOCH }, opening: false, ..Raw::default() };
        let rows = [pod("default", "a1", "Pending"), pod("other", "x9", "Running")];
        let rows = rows.into_iter().map(|pod| (Key::new(&pod.object.namespace, &pod.object.name), pod)).collect();
        raw.jobs.pods.insert(Scope::Without("test-pods".to_owned()), List { rows, standing: Standing::Known });
        let row = |name: &str| CensusRow { name: name.to_owned(), state: "Running".to_owned(), created: None };
        raw.jobs.census = Some(Census {
            namespace: "test-pods".to_owned(),
            rows: Arc::new(vec![row("a2"), row("b1"), row("x8")]),
            unlabelled: Arc::default(),
            standing: Standing::Known,
        });
        raw
    }

    #[test]
    fn evidence_is_pods_by_the_name_of_a_prowjob_wherever_they_are() {
        assert_eq!(raw().jobs.evidence(&jobs()), BTreeMap::from([(alias("build"), 2), (alias("trusted"), 1)]));
    }

    #[test]
    fn pods_of_another_cluster_are_looked_up_and_then_seen() {
        let mut raw = raw();
        let ids = raw.jobs.to_look_up(&alias("build"), &jobs(), &aliases());
        assert_eq!(ids, BTreeSet::from(["a2".to_owned(), "b1".to_owned()]), "none of another Prow's");
        raw.jobs.looked.pods = vec![pod("test-pods", "a2", "Running"), pod("test-pods", "b1", "Running")];
        let seen = job_pods(&raw, &alias("build"), &jobs(), &aliases());
        let names: Vec<_> = seen.known().unwrap().iter().map(|pod| pod.object.name.clone()).collect();
        assert_eq!(names, ["a1", "x9", "b1"], "a2 is where it belongs");
        let census = census(&raw);
        let times: Vec<_> = census.known().unwrap().pods.iter().map(|row| row.created.is_some()).collect();
        assert_eq!(times, [true, true, false]);
    }

    #[test]
    fn pods_of_another_cluster_that_could_not_be_looked_up_are_not_none() {
        let mut raw = raw();
        raw.jobs.looked.error = Some(Failure::new(crate::model::FailureKind::Server, "500"));
        assert_eq!(job_pods(&raw, &alias("build"), &jobs(), &aliases()).state(), "lost", "b1 is known to be here");
        raw.jobs.looked.pods = vec![pod("test-pods", "b1", "Running")];
        assert_eq!(job_pods(&raw, &alias("build"), &jobs(), &aliases()).state(), "known");
    }

    #[test]
    fn rows_get_the_key_that_is_learned_later() {
        let mut raw = raw();
        raw.jobs.rekey(&alias("build"));
        let seen = job_pods(&raw, &alias("build"), &jobs(), &aliases());
        assert!(seen.known().unwrap().iter().all(|pod| pod.object.cluster == alias("build")));
    }

    #[test]
    fn warnings_are_watched_where_pods_of_ours_wait_and_grouped_by_cause() {
        let mut raw = raw();
        assert_eq!(raw.jobs.event_namespaces(&jobs()), ["default"]);
        let row = |pod: &str, message: &str, count| EventRow {
            pod: pod.to_owned(),
            reason: "FailedMount".to_owned(),
            message: message.to_owned(),
            count,
            first: Some(Timestamp::UNIX_EPOCH),
            last: None,
        };
        let rows =
            [row("u1", "secret \"s\" not found", 3), row("u2", "secret \"s\" not found", 2), row("u3", "other", 9)];
        let rows = rows.into_iter().enumerate().map(|(n, row)| (Key::new("default", format!("e{n}")), row)).collect();
        raw.jobs.events.insert("default".to_owned(), List { rows, standing: Standing::Known });
        let groups = pod_events(&raw);
        let groups = groups.known().unwrap();
        assert_eq!((groups[0].pods.len(), groups[0].count, groups[0].missing_secret()), (2, 5, Some("s")));
        assert_eq!((groups[1].pods.len(), groups[1].count, groups[1].missing_secret()), (1, 9, None));
    }

    #[test]
    fn what_is_denied_is_not_empty() {
        let mut raw = raw();
        for list in raw.jobs.pods.values_mut() {
            *list = List { rows: BTreeMap::new(), standing: Standing::Denied { verb: "list pods".to_owned() } };
        }
        assert_eq!(job_pods(&raw, &alias("build"), &jobs(), &aliases()).state(), "denied");
    }

    #[test]
    fn namespaces_that_may_be_listed_are_not_the_whole_cluster() {
        let mut raw = raw();
        for list in raw.jobs.pods.values_mut() {
            *list = List { rows: BTreeMap::new(), standing: Standing::Denied { verb: "list pods".to_owned() } };
        }
        let rows = BTreeMap::from([(Key::new("default", "a1"), pod("default", "a1", "Pending"))]);
        let list = List { rows, standing: Standing::Known };
        raw.jobs.pods.insert(Scope::Namespace("default".to_owned()), list);
        assert_eq!(job_pods(&raw, &alias("build"), &jobs(), &aliases()).state(), "known", "what is seen is shown");
        let parts = parts(&raw);
        assert_eq!((parts[0].name.as_str(), parts[0].source.state()), ("pods of jobs outside test-pods", "denied"));
    }
}
