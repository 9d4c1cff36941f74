//! When strays may be deleted: not before the cause is gone, or the real prow-controller-manager makes them again or ends their
//! jobs.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Alias, AliasPlace, Component, ProwJob, Snapshot, Source, Timestamp};

use super::Strays;
use super::outage::began_with;

/// So many good pods since the repaired prow-controller-manager is ready make the proof.
pub const GOOD_PODS: usize = 3;
/// Role of the component that makes pods.
pub const MAKER: &str = "prow-controller-manager";
/// While a rollout hands over, the old pod holds the leader's lease and may make pods a little longer.
const HANDOVER_SECONDS: i64 = 60;
/// The old leader's lease runs out in 15 s, and the new one looks at all jobs at once.
const TAKES_OVER_SECONDS: i64 = 120;

/// Whether strays may be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateState {
    Open(GateFacts),
    Closed {
        facts: GateFacts,
        /// A lower-case fragment: `pods still go astray: the newest one is 12 s old`.
        why: String,
        /// What to do next.
        next: String,
    },
}

impl GateState {
    pub fn facts(&self) -> &GateFacts {
        match self {
            GateState::Open(facts) | GateState::Closed { facts, .. } => facts,
        }
    }

    pub fn is_open(&self) -> bool {
        match self {
            GateState::Open(_) => true,
            GateState::Closed { .. } => false,
        }
    }
}

impl GateState {
    /// Rolling back comes first: strays are still made, or what runs now makes no good pods.
    pub fn asks_for_rollback(&self, now: Timestamp) -> bool {
        match self {
            GateState::Open(_) => false,
            GateState::Closed { facts, .. } => {
                facts.is_overdue(now) || facts.ready_at.is_some() && !facts.is_cause_gone()
            }
        }
    }
}

/// What the gate looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GateFacts {
    /// Since when prow-controller-manager, as it is now, is ready.
    pub ready_at: Option<Timestamp>,
    /// Its tag.
    pub tag: Option<String>,
    pub newest_stray: Option<Timestamp>,
    /// The first one of this outage.
    pub first_stray: Option<Timestamp>,
    /// When the oldest pod of prow-controller-manager, as it is now, was made: something was changed or restarted then.
    pub begun: Option<Timestamp>,
    /// It has the tag that made the first strays.
    pub same_tag: bool,
    /// The tag that this outage began with, where that can be told.
    pub began_with: Option<String>,
    /// Unfinished ProwJobs have pods only among the strays, so that good ones must come.
    pub owes_pods: bool,
    /// Pods of this Prow's jobs that came to the right place since both of these.
    pub good_pods: usize,
    /// How many are wanted: [`GOOD_PODS`].
    pub wanted: usize,
}

impl GateFacts {
    /// True when the newest stray is older than the readiness of what makes pods now. A stray of the handover, when the
    /// old leader's lease has not run out, counts as older: but only where what makes pods was changed since the first.
    ///
    /// With the version that the strays began with, only good pods prove that: when nothing new starts, none goes astray.
    pub fn is_cause_gone(&self) -> bool {
        if self.runs_again() {
            return false;
        }
        let (Some(ready), Some(newest)) = (self.ready_at, self.newest_stray) else {
            return self.ready_at.is_some() && self.newest_stray.is_none();
        };
        let changed = !self.same_tag && self.begun > self.first_stray;
        let handover = if changed { HANDOVER_SECONDS } else { 0 };
        newest.as_second() <= ready.as_second() + handover
    }

    /// True when what runs is the version that the strays began with, and not enough good pods speak for it: somebody rolled
    /// forward again, or it only restarted.
    pub fn runs_again(&self) -> bool {
        self.began_with.is_some() && self.began_with == self.tag && self.good_pods < self.wanted
    }

    /// True when good pods should have come by now, and none has: what runs now is no better.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        let ready_for = self.ready_at.map_or(0, |at| now.as_second() - at.as_second());
        self.owes_pods && self.good_pods == 0 && ready_for > TAKES_OVER_SECONDS
    }
}

/// Judges whether strays may be deleted. Pure; for `plan delete-strays` and for a chain that waits.
pub fn delete_gate(snapshot: &Snapshot, strays: &Strays) -> GateState {
    let mut facts = GateFacts {
        newest_stray: strays.newest(),
        first_stray: strays.since(),
        owes_pods: owes_pods(snapshot, strays),
        wanted: GOOD_PODS,
        ..GateFacts::default()
    };
    let closed = |facts: GateFacts, why: String, next: &str| GateState::Closed { facts, why, next: next.to_owned() };
    let Some(components) = snapshot.service.components.known() else {
        return closed(facts, "the components cannot be seen".to_owned(), "regain sight of the service cluster first");
    };
    let makers: Vec<&Component> = components.iter().filter(|component| component.role == MAKER).collect();
    if makers.is_empty() {
        return closed(
            facts,
            format!("no {MAKER} is seen"),
            "name its namespace with --namespace, or look at `prow-breakglass status`",
        );
    }
    let rollouts = || snapshot.service.rollouts.seen().into_iter().flatten().filter(|rollout| rollout.role == MAKER);
    facts.tag = rollouts().find(|rollout| rollout.current).map(|rollout| rollout.tag.clone());
    let then = rollouts()
        .filter(|rollout| rollout.began.is_some_and(|at| facts.first_stray.is_some_and(|first| at <= first)))
        .max_by_key(|rollout| rollout.began);
    facts.began_with = began_with(snapshot, strays);
    let then = facts.began_with.clone().or_else(|| then.map(|rollout| rollout.tag.clone()));
    facts.same_tag = then.is_some() && then == facts.tag;
    facts.begun = makers.iter().flat_map(|maker| &maker.pods).filter_map(|pod| pod.created).min();
    // All of them, where there are several: one that is not ready may be the one that makes strays.
    facts.ready_at =
        makers.iter().map(|maker| ready_at(maker)).collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max());
    let Some(ready) = facts.ready_at else {
        return closed(
            facts,
            format!("{MAKER} is not ready, or its rollout is not over"),
            "wait until it is; `prow-breakglass status` says what hangs",
        );
    };
    let (Source::Known { .. }, Some(_)) = (&snapshot.prowjobs, &strays.pod_namespace) else {
        return closed(
            facts,
            "ProwJobs or the pod namespace are not known now".to_owned(),
            "regain sight of them first: without them nobody knows which pods are strays",
        );
    };
    let turned = match facts.newest_stray {
        Some(newest) if facts.is_cause_gone() => ready.max(newest),
        Some(_) | None => ready,
    };
    facts.good_pods = good_pods(snapshot, turned);
    let now = snapshot.taken_at_server();
    if !facts.is_cause_gone() || facts.is_overdue(now) {
        let newest = facts.newest_stray.unwrap_or(ready);
        let age = ago(now.as_second() - newest.as_second());
        let tag = facts.tag.as_ref().map_or(String::new(), |tag| format!(" {tag}"));
        let came_again = facts.newest_stray.is_none_or(|newest| newest <= ready);
        let why = if facts.runs_again() && came_again {
            format!("{MAKER}{tag} runs, with which pods began to go astray, and no good pod speaks for it")
        } else if facts.is_cause_gone() {
            format!("{MAKER}{tag} is ready since {ready} and has made no good pod for the jobs that wait for one")
        } else {
            format!("the cause is not gone: the newest stray was made {age} ago, after {MAKER}{tag} became ready")
        };
        return closed(
            facts,
            why,
            "roll back first: prow-breakglass plan rollback; what is deleted now is made again, or its job is ended",
        );
    }
    let blind = unseen_places(snapshot);
    if facts.good_pods < facts.wanted && !blind.is_empty() {
        let why = format!(
            "{} of {} good pods were seen since {MAKER} is ready ({ready}), and the pod namespace cannot be seen in {}",
            facts.good_pods,
            facts.wanted,
            blind.join(", ")
        );
        return closed(facts, why, "regain sight of it: `prow-breakglass status` says what is DENIED or LOST");
    }
    if facts.good_pods < facts.wanted {
        let why = format!(
            "{} of {} pods came to the right place since {MAKER} is ready ({ready})",
            facts.good_pods, facts.wanted
        );
        let next = if facts.owes_pods {
            "wait: pods of pending jobs are made when the old leader's lease has run out (about 20 s), others with new jobs"
                .to_owned()
        } else {
            format!(
                "no pending job needs a new pod, so this waits for NEW jobs: a /retest, a periodic; if you know better: \
                 prow-breakglass plan delete-strays --context {} --override gate --reason TEXT -f FILE",
                snapshot.service.context
            )
        };
        return closed(facts, why, &next);
    }
    GateState::Open(facts)
}

/// True where an unfinished ProwJob has its pod only among the strays, as far as it is seen where that pod belongs.
fn owes_pods(snapshot: &Snapshot, strays: &Strays) -> bool {
    let placed = placed(snapshot);
    let is_seen = |job: &ProwJob| snapshot.place_of(&job.alias()).is_some_and(|view| view.census.known().is_some());
    strays.strays().any(|judged| {
        judged.has_unfinished_job()
            && !placed.contains(judged.pod.object.name.as_str())
            && judged.job.as_ref().is_some_and(|job| is_seen(job))
    })
}

/// Names of the labelled pods that are where pods of jobs belong.
pub(super) fn placed(snapshot: &Snapshot) -> BTreeSet<&str> {
    snapshot
        .views()
        .filter_map(|view| view.census.seen())
        .flat_map(|census| census.pods.iter().map(|row| row.name.as_str()))
        .collect()
}

/// Where good pods would not be seen: the clusters whose pod namespace is not known now.
fn unseen_places(snapshot: &Snapshot) -> Vec<&str> {
    snapshot
        .views()
        .filter(|view| view.is_plannable() && view.census.known().is_none())
        .map(|view| view.context.as_str())
        .collect()
}

/// `12 s`, `8 min`, `3 h`: how people say it.
fn ago(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// Since when all its pods are ready; `None` while they are not, or while older ones are still there.
fn ready_at(component: &Component) -> Option<Timestamp> {
    let live: Vec<_> =
        component.pods.iter().filter(|pod| !matches!(pod.phase.as_str(), "Succeeded" | "Failed")).collect();
    let enough = component.desired > 0 && live.len() == usize::try_from(component.desired).unwrap_or(usize::MAX);
    let all_ready = live.iter().all(|pod| pod.ready && !pod.deleting);
    if !enough || !all_ready {
        return None;
    }
    live.iter().map(|pod| pod.ready_changed.or(pod.created)).collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// Pods in the pod namespace of their own job's cluster, made after `since`.
fn good_pods(snapshot: &Snapshot, since: Timestamp) -> usize {
    let Some(jobs) = snapshot.prowjobs.known() else { return 0 };
    let jobs: BTreeMap<&str, &ProwJob> = jobs.iter().map(|job| (job.name.as_str(), &**job)).collect();
    let belongs = |alias: &Alias, name: &str| {
        jobs.get(name).is_some_and(|job| {
            matches!(snapshot.aliases.get(&job.alias()), Some(AliasPlace::At { cluster, .. }) if cluster == alias)
        })
    };
    snapshot
        .views()
        .filter_map(|view| Some((&view.alias, view.census.known()?)))
        .flat_map(|(alias, census)| census.pods.iter().map(move |row| (alias, row)))
        .filter(|(alias, row)| row.created.is_some_and(|at| at > since) && belongs(alias, &row.name))
        .count()
}
