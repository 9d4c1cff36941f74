//! When strays may be deleted: not before the cause is gone, or the real prow-controller-manager makes them again or ends their
//! jobs.

use std::collections::BTreeMap;

use crate::model::{Alias, AliasPlace, Component, ProwJob, Snapshot, Source, Timestamp};

use super::Strays;

/// So many good pods since the repaired prow-controller-manager is ready make the proof.
pub const GOOD_PODS: usize = 3;
/// Role of the component that makes pods.
pub(super) const MAKER: &str = "prow-controller-manager";
/// While a rollout hands over, the old pod holds the leader's lease and may make pods a little longer.
const HANDOVER_SECONDS: i64 = 60;

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

/// What the gate looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GateFacts {
    /// Since when prow-controller-manager, as it is now, is ready.
    pub ready_at: Option<Timestamp>,
    /// Its tag.
    pub tag: Option<String>,
    pub newest_stray: Option<Timestamp>,
    /// Pods of this Prow's jobs that came to the right place since both of these.
    pub good_pods: usize,
    /// How many are wanted: [`GOOD_PODS`].
    pub wanted: usize,
}

impl GateFacts {
    /// True when the newest stray is older than the readiness of what makes pods now (give or take the handover).
    pub fn is_cause_gone(&self) -> bool {
        match (self.ready_at, self.newest_stray) {
            (Some(ready), Some(newest)) => newest.as_second() <= ready.as_second() + HANDOVER_SECONDS,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

/// Judges whether strays may be deleted. Pure; for `plan delete-strays` and for a chain that waits.
pub fn delete_gate(snapshot: &Snapshot, strays: &Strays) -> GateState {
    let mut facts = GateFacts { newest_stray: strays.newest(), wanted: GOOD_PODS, ..GateFacts::default() };
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
    facts.tag = snapshot
        .service
        .rollouts
        .seen()
        .and_then(|all| all.iter().find(|rollout| rollout.current && rollout.role == MAKER))
        .map(|rollout| rollout.tag.clone());
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
    if !facts.is_cause_gone() {
        let newest = facts.newest_stray.unwrap_or(ready);
        let age = (snapshot.taken_at.as_second() - newest.as_second()).max(0);
        let tag = facts.tag.as_ref().map_or(String::new(), |tag| format!(" {tag}"));
        return closed(
            facts,
            format!("the cause is not gone: the newest stray was made {age} s ago, after {MAKER}{tag} became ready"),
            "roll back first: prow-breakglass plan rollback; what is deleted now is made again, or its job is ended",
        );
    }
    if facts.good_pods < facts.wanted {
        let why = format!(
            "{} of {} pods came to the right place since {MAKER} is ready ({ready})",
            facts.good_pods, facts.wanted
        );
        return closed(
            facts,
            why,
            "wait: pods of pending jobs are made when the old leader's lease has run out (about 20 s), others with new jobs",
        );
    }
    GateState::Open(facts)
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
