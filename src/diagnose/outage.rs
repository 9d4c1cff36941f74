//! Versions of an outage: the one that it began with, the one that a rollback left, and a rollback that is only half done.

use std::collections::BTreeSet;

use crate::model::{Component, Rollout, Snapshot};
use crate::prow::image::Tag;

use super::gate::MAKER;
use super::{Strays, role_tag};

/// A version that came so long before the first stray may have made it: jobs start every few minutes.
const JUST_BEFORE_SECONDS: i64 = 6 * 3600;
/// A ReplicaSet that is new in this time before the first stray is of the version that made it.
const NEW_SECONDS: i64 = 3600;
/// Clocks and status updates lag.
const LAG_SECONDS: i64 = 5;

/// The tag of prow-controller-manager that pods began to go astray with, where that can be told: after a rollback and a
/// second roll-out of it, too. `None` where it is older than the outage: then something else began it.
pub(super) fn began_with(snapshot: &Snapshot, strays: &Strays) -> Option<String> {
    let first = strays.since()?;
    let makers = || of_maker(snapshot);
    let before = |at: Option<crate::model::Timestamp>, seconds: i64| {
        at.is_some_and(|at| (-LAG_SECONDS..seconds).contains(&(first.as_second() - at.as_second())))
    };
    let came =
        |rollout: &&Rollout| before(rollout.created, JUST_BEFORE_SECONDS) || before(rollout.began, JUST_BEFORE_SECONDS);
    // What made the first stray says so itself, where its label is of a version that is known here.
    let made_by = strays.strays().filter(|judged| judged.pod.created == Some(first)).find_map(|judged| {
        makers().filter(came).find(|rollout| rollout.tag == judged.pod.plank_version).map(|rollout| &rollout.tag)
    });
    let since_then = || {
        makers()
            .find(|rollout| rollout.current && before(rollout.began, JUST_BEFORE_SECONDS))
            .map(|rollout| &rollout.tag)
    };
    // A ReplicaSet that was left and taken up again began anew, but it was made when its version first came.
    let new_then = || {
        makers()
            .filter(|rollout| before(rollout.created, NEW_SECONDS))
            .max_by_key(|rollout| rollout.created)
            .map(|rollout| &rollout.tag)
    };
    made_by.or_else(since_then).or_else(new_then).cloned()
}

/// The tag that prow-controller-manager was rolled back from: of the newest of its rollouts that came after what runs.
pub fn rolled_back_from(snapshot: &Snapshot) -> Option<&str> {
    let now = of_maker(snapshot).find(|rollout| rollout.current)?;
    of_maker(snapshot)
        .filter(|rollout| rollout.component == now.component && !rollout.current && rollout.tag != now.tag)
        .filter(|rollout| came_after(rollout, &now.tag, Some(now)))
        .max_by_key(|rollout| (rollout.revision, rollout.created))
        .map(|rollout| rollout.tag.as_str())
}

/// True where a rollout that is not current is newer than what runs: then what runs is itself what a rollback led to, and
/// going "back" would bring the outage back. A rollback may take an old ReplicaSet up again or make a new one, so the day
/// in the tags of Prow's releases tells first, then when the ReplicaSets were made.
pub fn came_after(rollout: &Rollout, now: &str, current: Option<&Rollout>) -> bool {
    match (Tag::parse(&rollout.tag), Tag::parse(now)) {
        (Some(then), Some(now)) if then.date != now.date => then.date > now.date,
        (Some(_), Some(_)) | (None, _) | (_, None) => {
            let now = current.and_then(|current| current.created);
            rollout.created.zip(now).is_some_and(|(then, now)| then > now)
        }
    }
}

/// A rollback that reached some components and not the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HalfRollback {
    /// The tag that the others went back to.
    pub to: String,
    /// The tag that they came from.
    pub from: String,
    /// Those that still ask for it.
    pub behind: Vec<String>,
}

/// Components that moved together and are of two versions now: some went back from a tag that others still ask for.
pub fn half_rollback(snapshot: &Snapshot) -> Option<HalfRollback> {
    let components = snapshot.service.components.seen()?;
    let rollouts = snapshot.service.rollouts.seen()?;
    let running: Vec<(&Component, &str)> = components
        .iter()
        .filter(|component| !component.is_idle_by_intent())
        .filter_map(|component| Some((component, role_tag(component)?)))
        .collect();
    let asked: BTreeSet<&str> = running.iter().map(|(_, tag)| *tag).collect();
    running.iter().find_map(|(component, to)| {
        let of_it = || rollouts.iter().filter(|rollout| rollout.component.uid == component.object.uid);
        let current = of_it().find(|rollout| rollout.current);
        let left = of_it()
            .filter(|rollout| !rollout.current && rollout.tag != *to && asked.contains(rollout.tag.as_str()))
            .find(|rollout| came_after(rollout, to, current))?;
        let behind = running.iter().filter(|(_, tag)| *tag == left.tag).map(|(other, _)| other.object.name.clone());
        Some(HalfRollback { to: (*to).to_owned(), from: left.tag.clone(), behind: behind.collect() })
    })
}

fn of_maker(snapshot: &Snapshot) -> impl Iterator<Item = &Rollout> {
    snapshot.service.rollouts.seen().into_iter().flatten().filter(|rollout| rollout.role == MAKER)
}
