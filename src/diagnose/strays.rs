//! Which created-by-prow pods are where they should not be: the rule, the groups, and what could not be judged.
//!
//! *Ours* is a pod with the label whose ProwJob, of the same name, this Prow has (or had, and we saw it). A *stray* is ours
//! and in the wrong place. Everything else with the label is foreign, and no repair touches it. What cannot be judged for want
//! of sight is unknown, never foreign.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Alias, AliasPlace, ClusterView, EventGroup, Key, ProwJob, ProwPod, Snapshot, Source, Timestamp};
use crate::prow::config::parse_config;

/// When no stray was made for so long, the next one is of another outage.
const BETWEEN_OUTAGES_SECONDS: i64 = 6 * 3600;

/// Where a pod is, against where it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodPlace {
    /// In the pod namespace of its job's cluster.
    Expected,
    /// Ours, and in the wrong place.
    Stray { reason: StrayReason },
    /// It carries the label, and nothing ties it to a ProwJob of this Prow.
    Foreign { why: ForeignReason },
    /// Ours, in the pod namespace, and its ProwJob is gone: sinker collects it.
    Orphaned,
    /// Not to be judged, and why.
    Unknown { why: UnknownPlace },
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum StrayReason {
    /// Not in the pod namespace.
    WrongNamespace,
    /// In the pod namespace of another cluster than its ProwJob's alias leads to; `expected` is that cluster's key.
    WrongCluster { expected: Alias },
}

impl StrayReason {
    /// As in the JSON contract.
    pub fn name(&self) -> &'static str {
        match self {
            StrayReason::WrongNamespace => "wrong-namespace",
            StrayReason::WrongCluster { .. } => "wrong-cluster",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ForeignReason {
    /// This Prow has no ProwJob of that id: another Prow's, or ci-operator's.
    NoSuchProwJob,
    /// Its name is not its ProwJob's: a copy for debugging, or a helper such as cert-manager's solver.
    OtherName,
    /// It has no `prow.k8s.io/id`.
    NoId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnknownPlace {
    /// ProwJobs cannot be seen now.
    ProwJobsNotSeen,
    /// The live configuration cannot be read, so nobody knows where pods belong.
    PodNamespaceNotKnown,
    /// Git and the live configuration name different pod namespaces: which one is meant, a person must say.
    PodNamespaceDisagrees,
    /// Its cluster does not answer now; it was there before.
    ClusterLost,
    /// The cluster is not tied to this Prow.
    ClusterUnproven,
    /// Nobody knows where its ProwJob's alias leads.
    AliasUnknown,
}

/// A labelled pod with what is concluded of it.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedPod {
    pub pod: Arc<ProwPod>,
    pub place: PodPlace,
    /// Its ProwJob, where this Prow has it or had it.
    pub job: Option<Arc<ProwJob>>,
    /// The ProwJob was seen earlier and is gone.
    pub job_gone: bool,
    /// What keeps it from starting, from its events: `FailedMount: MountVolume.SetUp failed …`.
    pub trouble: Option<String>,
}

impl JudgedPod {
    /// A stray whose ProwJob goes on: while the cause is there, deleting the pod brings another one or ends the job.
    pub fn has_unfinished_job(&self) -> bool {
        self.job.as_ref().is_some_and(|job| !job.is_finished()) && !self.job_gone
    }

    pub fn is_stray(&self) -> bool {
        matches!(self.place, PodPlace::Stray { .. })
    }
}

/// Strays of one cluster, namespace and reason.
#[derive(Debug, Clone, PartialEq)]
pub struct StrayGroup {
    pub cluster: Alias,
    pub namespace: String,
    pub reason: StrayReason,
    pub count: usize,
    /// Their ProwJobs are not finished.
    pub unfinished: usize,
    /// Pending.
    pub waiting: usize,
    /// Pending, with a warning that says why they cannot start; `None` while warnings cannot be seen there.
    pub cannot_start: Option<usize>,
    pub running: usize,
    pub oldest: Option<Timestamp>,
    pub newest: Option<Timestamp>,
    /// Finalizers that hold pods which are being deleted, each once.
    pub held_by: Vec<String>,
}

/// A pod of a pod namespace that is nobody's business here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bystander {
    pub cluster: Alias,
    pub namespace: String,
    pub name: String,
    /// As kubectl words it.
    pub state: String,
    /// It carries Prow's label.
    pub labelled: bool,
}

/// All labelled pods that are not simply where they belong.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Strays {
    /// Strays, foreign, orphaned and unknown pods, by cluster, namespace and name.
    pub pods: Vec<JudgedPod>,
    /// Most first.
    pub groups: Vec<StrayGroup>,
    /// Pods of the pod namespaces that are not this Prow's: with the label and no ProwJob of that name, or without it.
    pub bystanders: Vec<Bystander>,
    /// Where pods belong; `None` while that is not known or disagrees.
    pub pod_namespace: Option<String>,
    /// ProwJobs and the pod namespace are known: see [`Strays::is_judged`].
    is_judged: bool,
    /// What could not be judged, in words for people: `prow-build: no answer for 41 s`.
    pub not_seen: Vec<String>,
}

impl Strays {
    pub fn total(&self) -> usize {
        self.groups.iter().map(|group| group.count).sum()
    }

    /// False while nobody can say of any pod whether it is a stray: then 0 means nothing.
    pub fn is_judged(&self) -> bool {
        self.is_judged
    }

    pub fn strays(&self) -> impl Iterator<Item = &JudgedPod> {
        self.pods.iter().filter(|pod| pod.is_stray())
    }

    pub fn foreign(&self) -> impl Iterator<Item = &JudgedPod> {
        self.pods.iter().filter(|pod| matches!(pod.place, PodPlace::Foreign { .. }))
    }

    pub fn unknown(&self) -> impl Iterator<Item = &JudgedPod> {
        self.pods.iter().filter(|pod| matches!(pod.place, PodPlace::Unknown { .. }))
    }

    /// True where every cluster that holds pods of this Prow was seen: then 0 means 0.
    pub fn is_complete(&self) -> bool {
        self.not_seen.is_empty()
    }

    pub fn oldest(&self) -> Option<Timestamp> {
        self.groups.iter().filter_map(|group| group.oldest).min()
    }

    /// When pods began to go astray, this time: what an earlier outage left behind is not the beginning of this one.
    pub fn since(&self) -> Option<Timestamp> {
        let mut made: Vec<Timestamp> = self.strays().filter_map(|judged| judged.pod.created).collect();
        made.sort_unstable();
        let mut newest_first = made.into_iter().rev();
        let mut since = newest_first.next()?;
        for at in newest_first {
            if since.as_second() - at.as_second() > BETWEEN_OUTAGES_SECONDS {
                break;
            }
            since = at;
        }
        Some(since)
    }

    pub fn newest(&self) -> Option<Timestamp> {
        self.groups.iter().filter_map(|group| group.newest).max()
    }
}

/// What the rule needs beside the pod.
struct Rule<'a> {
    /// By name; `None` while ProwJobs cannot be seen.
    jobs: Option<BTreeMap<&'a str, &'a Arc<ProwJob>>>,
    gone: BTreeMap<&'a str, &'a Arc<ProwJob>>,
    pod_namespace: Result<&'a str, UnknownPlace>,
    aliases: &'a BTreeMap<Alias, AliasPlace>,
}

/// Judges all labelled pods of a snapshot.
pub fn strays(snapshot: &Snapshot) -> Strays {
    let rule = Rule {
        jobs: snapshot.prowjobs.known().map(|jobs| jobs.iter().map(|job| (job.name.as_str(), job)).collect()),
        gone: snapshot.gone_prowjobs.iter().map(|job| (job.name.as_str(), job)).collect(),
        pod_namespace: pod_namespace(snapshot),
        aliases: &snapshot.aliases,
    };
    let mut pods = Vec::new();
    // One cluster may be seen by two contexts.
    let mut uids: BTreeSet<&str> = BTreeSet::new();
    for view in snapshot.views() {
        let troubles = troubles(view.pod_events.seen().map_or(&[], Vec::as_slice));
        let lost = !matches!(view.job_pods, Source::Known { .. });
        for pod in view.job_pods.seen().into_iter().flatten() {
            if !pod.uid().is_empty() && !uids.insert(pod.uid()) {
                continue;
            }
            let mut judged = rule.judge(pod, view);
            if lost {
                judged.place = PodPlace::Unknown { why: UnknownPlace::ClusterLost };
            }
            if judged.place == PodPlace::Expected {
                continue;
            }
            if pod.is_waiting() {
                judged.trouble = troubles.get(pod.uid()).map(|group| format!("{}: {}", group.reason, group.message));
            }
            pods.push(judged);
        }
    }
    pods.sort_by(|a, b| a.pod.object.cmp(&b.pod.object));
    Strays {
        groups: groups(&pods, snapshot),
        is_judged: rule.jobs.is_some() && rule.pod_namespace.is_ok(),
        bystanders: rule.bystanders(snapshot),
        pods,
        pod_namespace: rule.pod_namespace.ok().map(str::to_owned),
        not_seen: not_seen(snapshot, &rule),
    }
}

impl Rule<'_> {
    fn judge(&self, pod: &Arc<ProwPod>, view: &ClusterView) -> JudgedPod {
        let judged = |place, job: Option<&Arc<ProwJob>>, job_gone| JudgedPod {
            pod: pod.clone(),
            place,
            job: job.cloned(),
            job_gone,
            trouble: None,
        };
        let unknown = |why| PodPlace::Unknown { why };
        let foreign = |why| PodPlace::Foreign { why };
        let Some(id) = pod.prowjob_id.as_deref().filter(|id| !id.is_empty()) else {
            return judged(foreign(ForeignReason::NoId), None, false);
        };
        let Some(jobs) = &self.jobs else {
            return judged(unknown(UnknownPlace::ProwJobsNotSeen), None, false);
        };
        let live = jobs.get(id).copied();
        let Some(job) = live.or_else(|| self.gone.get(id).copied()) else {
            return judged(foreign(ForeignReason::NoSuchProwJob), None, false);
        };
        let gone = live.is_none();
        if pod.object.name != id {
            return judged(foreign(ForeignReason::OtherName), Some(job), gone);
        }
        let place = match self.pod_namespace {
            Err(why) => unknown(why),
            Ok(_) if !view.is_plannable() => unknown(UnknownPlace::ClusterUnproven),
            Ok(namespace) if pod.object.namespace != namespace => {
                PodPlace::Stray { reason: StrayReason::WrongNamespace }
            }
            Ok(_) => match self.aliases.get(&job.alias()) {
                Some(AliasPlace::At { cluster, .. }) if *cluster != view.alias => {
                    PodPlace::Stray { reason: StrayReason::WrongCluster { expected: cluster.clone() } }
                }
                Some(AliasPlace::At { .. }) if gone => PodPlace::Orphaned,
                Some(AliasPlace::At { .. }) => PodPlace::Expected,
                Some(AliasPlace::Ambiguous { .. }) | None => unknown(UnknownPlace::AliasUnknown),
            },
        };
        judged(place, Some(job), gone)
    }
}

impl Rule<'_> {
    /// Only what is known to be none of this Prow's: while ProwJobs cannot be seen, nobody knows.
    fn bystanders(&self, snapshot: &Snapshot) -> Vec<Bystander> {
        let Some(jobs) = &self.jobs else { return Vec::new() };
        let mut all = Vec::new();
        for view in snapshot.views().filter(|view| view.is_plannable()) {
            let Some(census) = view.census.known() else { continue };
            let others = census
                .pods
                .iter()
                .filter(|row| !jobs.contains_key(row.name.as_str()) && !self.gone.contains_key(row.name.as_str()))
                .map(|row| (row, true))
                .chain(census.unlabelled.iter().map(|row| (row, false)));
            all.extend(others.map(|(row, labelled)| Bystander {
                cluster: view.alias.clone(),
                namespace: census.namespace.clone(),
                name: row.name.clone(),
                state: row.state.clone(),
                labelled,
            }));
        }
        all
    }
}

/// Where pods belong, if the live configuration tells and git does not speak against it.
fn pod_namespace(snapshot: &Snapshot) -> Result<&str, UnknownPlace> {
    let settings = snapshot.prow.known().ok_or(UnknownPlace::PodNamespaceNotKnown)?;
    match git_pod_namespace(snapshot) {
        Some(git) if git != settings.pod_namespace => Err(UnknownPlace::PodNamespaceDisagrees),
        Some(_) | None => Ok(&settings.pod_namespace),
    }
}

/// `pod_namespace` as git's head asks for it, where that can be read.
pub fn git_pod_namespace(snapshot: &Snapshot) -> Option<String> {
    let from: &Key = &snapshot.prow.seen()?.from;
    let key = snapshot
        .service
        .components
        .seen()?
        .iter()
        .filter_map(|component| component.config.config_path.as_ref())
        .find(|path| path.config_map.as_ref() == Some(from))
        .and_then(|path| path.key.as_deref())?;
    let maps = snapshot.desired.seen()?.head.config_maps.as_ref().ok()?;
    let map = snapshot.asked_of(maps, &crate::model::config_map_ref(&snapshot.service.alias, from))?;
    parse_config(&map.entries.get(key)?.bytes).ok().map(|config| config.pod_namespace)
}

/// What was said last of each pod; that something is missing says more than that something took too long.
pub(super) fn troubles(groups: &[EventGroup]) -> BTreeMap<&str, &EventGroup> {
    let mut troubles: BTreeMap<&str, &EventGroup> = BTreeMap::new();
    // Of several that are missing the first by name: the same at every look.
    let rank = |group: &EventGroup| {
        let secret = group.missing_secret().map(|secret| Reverse(secret.to_owned()));
        (secret.is_some(), secret, group.last.filter(|_| group.missing_secret().is_none()))
    };
    for group in groups {
        for uid in &group.pods {
            let held = troubles.entry(uid).or_insert(group);
            if rank(group) > rank(held) {
                *held = group;
            }
        }
    }
    troubles
}

fn groups(pods: &[JudgedPod], snapshot: &Snapshot) -> Vec<StrayGroup> {
    let mut groups: BTreeMap<(&Alias, &str, &StrayReason), StrayGroup> = BTreeMap::new();
    for judged in pods {
        let PodPlace::Stray { reason } = &judged.place else { continue };
        let pod = &judged.pod;
        let group = groups.entry((&pod.object.cluster, &pod.object.namespace, reason)).or_insert_with(|| StrayGroup {
            cluster: pod.object.cluster.clone(),
            namespace: pod.object.namespace.clone(),
            reason: reason.clone(),
            count: 0,
            unfinished: 0,
            waiting: 0,
            cannot_start: snapshot.view(&pod.object.cluster).and_then(|view| view.pod_events.known()).map(|_| 0),
            running: 0,
            oldest: None,
            newest: None,
            held_by: Vec::new(),
        });
        group.count += 1;
        group.unfinished += usize::from(judged.has_unfinished_job());
        group.waiting += usize::from(pod.is_waiting());
        if let Some(cannot_start) = &mut group.cannot_start {
            *cannot_start += usize::from(pod.is_waiting() && judged.trouble.is_some());
        }
        group.running += usize::from(pod.phase == "Running");
        group.oldest = [group.oldest, pod.created].into_iter().flatten().min();
        group.newest = group.newest.max(pod.created);
        if pod.deleting {
            let new: Vec<String> =
                pod.finalizers.iter().filter(|finalizer| !group.held_by.contains(finalizer)).cloned().collect();
            group.held_by.extend(new);
        }
    }
    let mut groups: Vec<StrayGroup> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups
}

/// Why the list of strays may be too short.
fn not_seen(snapshot: &Snapshot, rule: &Rule<'_>) -> Vec<String> {
    let mut words = Vec::new();
    let mut add = |what: &str, state: Option<String>| words.extend(state.map(|state| format!("{what}: {state}")));
    add("ProwJobs", unseen(&snapshot.prowjobs));
    match rule.pod_namespace {
        Ok(_) => {}
        Err(UnknownPlace::PodNamespaceDisagrees) => {
            add("pod_namespace", Some("git and the live configuration disagree".to_owned()));
        }
        Err(_) => add("pod_namespace", unseen(&snapshot.prow).or_else(|| Some("not known".to_owned()))),
    }
    for view in snapshot.views().filter(|view| view.is_plannable()) {
        add(&format!("pods of jobs in {}", view.context), unseen(&view.job_pods));
        add(&format!("pods of the pod namespace in {}", view.context), unseen(&view.census));
        for part in view.missing_job_pods() {
            add(&format!("{} in {}", part.name, view.context), unseen(&part.source));
        }
    }
    for (alias, place) in rule.aliases {
        match place {
            AliasPlace::At { .. } => {}
            AliasPlace::Ambiguous { .. } => add(
                &format!("cluster {alias}"),
                Some(format!("its pods are in several clusters; say which is right: --build-context {alias}=CONTEXT")),
            ),
        }
    }
    let unplaced = snapshot.unplaced_aliases();
    for alias in &unplaced {
        add(
            &format!("cluster {alias}"),
            Some(format!("no context is known for it; if you have one: --build-context {alias}=CONTEXT")),
        );
    }
    // Of finished jobs as well: what was left of them may lie in a cluster that does not answer.
    let all_placed = || snapshot.homes().all(|alias| rule.aliases.contains_key(&alias));
    let may_be_missing = !unplaced.is_empty() || !all_placed();
    for view in snapshot.views().filter(|view| !view.is_plannable() && may_be_missing) {
        add(&format!("context {}, which may be it", view.context), unseen(&view.job_pods));
    }
    words
}

fn unseen<T>(source: &Source<T>) -> Option<String> {
    match source {
        Source::Known { .. } => None,
        Source::Loading => Some("no answer yet".to_owned()),
        Source::Denied { verb } => Some(format!("DENIED {verb}")),
        Source::Lost { error, .. } => Some(format!("LOST {}", error.summary)),
    }
}

#[cfg(test)]
mod tests;
