//! What ran when: ReplicaSets of components to rollouts, CronJobs with their runs. Pure.

use std::collections::BTreeMap;

use crate::cluster::objects::ReplicaSetRow;
use crate::model::{Component, CronJobState, Key, Kind, Rollout, Source, Timestamp};
use crate::prow::{Catalogue, image};

use super::raw::{Raw, Standing};

/// The rollouts of all components, newest first.
pub fn rollouts(raw: &Raw, components: &Source<Vec<Component>>) -> Source<Vec<Rollout>> {
    let lists = &raw.replica_sets;
    if let Some(denied) =
        lists.values().map(|list| &list.standing).find(|standing| matches!(standing, Standing::Denied { .. }))
        && lists.values().all(|list| !matches!(list.standing, Standing::Known))
    {
        return raw.source(denied, Vec::new());
    }
    let joined = components.map(|components| {
        let mut all: Vec<Rollout> = components
            .iter()
            .filter(|component| component.object.kind == Kind::Deployment)
            .flat_map(|component| {
                let sets = lists.get(&component.object.namespace).into_iter().flat_map(|list| list.rows.values());
                let own: Vec<&ReplicaSetRow> = sets
                    .filter(|set| {
                        set.owner.as_ref().is_some_and(|owner| Some(&owner.uid) == component.object.uid.as_ref())
                    })
                    .collect();
                let current = own.iter().map(|set| set.revision).max();
                let newest = own.iter().filter_map(|set| set.created).max();
                own.into_iter()
                    .filter_map(|set| rollout(component, set, Some(set.revision) == current, newest))
                    .collect::<Vec<_>>()
            })
            .collect();
        all.sort_by(|a, b| {
            (b.began, b.revision).cmp(&(a.began, a.revision)).then_with(|| a.component.cmp(&b.component))
        });
        all
    });
    // History that is not read, or no longer, is not a history of nothing.
    let unread = lists.values().map(|list| &list.standing).find(|standing| match standing {
        Standing::Loading | Standing::Lost { .. } => true,
        Standing::Known | Standing::Denied { .. } => false,
    });
    match (joined, unread) {
        (Source::Known { value, .. }, Some(standing)) => raw.source(standing, value),
        (joined, _) => joined,
    }
}

/// `newest` is the creation of the youngest ReplicaSet of the component.
fn rollout(component: &Component, set: &ReplicaSetRow, current: bool, newest: Option<Timestamp>) -> Option<Rollout> {
    let catalogue = Catalogue::embedded();
    let (container, image) = set.containers.iter().find(|(_, image)| catalogue.role_of(image).is_some())?;
    let pods: Vec<_> = component.pods.iter().filter(|pod| pod.owner.as_deref() == Some(&set.name)).collect();
    // An old ReplicaSet that was taken up again began anew with its oldest pod.
    let oldest = pods.iter().filter_map(|pod| pod.created).min();
    let taken_up_again = current && set.created < newest;
    let began = if taken_up_again { set.created.max(oldest) } else { set.created };
    let live: Vec<_> = pods.iter().filter(|pod| !pod.deleting).collect();
    let others = component.pods.iter().any(|pod| pod.owner.as_deref() != Some(&set.name));
    let enough = component.desired > 0 && live.len() == usize::try_from(component.desired).unwrap_or(usize::MAX);
    let ready = current && enough && !others && live.iter().all(|pod| pod.ready);
    let ready_at: Option<Timestamp> =
        if ready { live.iter().filter_map(|pod| pod.ready_changed.or(pod.created)).max() } else { None };
    Some(Rollout {
        component: component.object.clone(),
        role: component.role.clone(),
        container: container.clone(),
        image: image.clone(),
        tag: image::tag(image).unwrap_or(image).to_owned(),
        replica_set: set.name.clone(),
        revision: set.revision,
        created: set.created,
        began,
        ready_at,
        current,
        pods: u32::try_from(pods.len()).unwrap_or(u32::MAX),
    })
}

/// CronJobs with their roles and runs.
pub fn cron_jobs(raw: &Raw) -> Source<Vec<CronJobState>> {
    let standing = raw
        .cron_jobs
        .values()
        .map(|list| &list.standing)
        .find(|standing| !matches!(standing, Standing::Known))
        .cloned()
        .unwrap_or(if raw.cron_jobs.is_empty() && raw.opening { Standing::Loading } else { Standing::Known });
    let catalogue = Catalogue::embedded();
    let mut runs: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for row in raw.jobs_of_cron.values().flat_map(|list| list.rows.values()) {
        if let Some(owner) = row.owner.as_ref().filter(|owner| owner.kind == "CronJob") {
            runs.entry(&owner.uid).or_default().push(row.run.clone());
        }
    }
    let rows = raw.cron_jobs.values().flat_map(|list| list.rows.iter());
    let all = rows
        .map(|(_, cron): (&Key, &CronJobState)| {
            let mut runs = runs.remove(cron.object.uid.as_deref().unwrap_or_default()).unwrap_or_default();
            runs.sort_by_key(|run| std::cmp::Reverse(run.started));
            let role = cron.images.iter().find_map(|image| catalogue.role_of(image)).map(|entry| entry.role.clone());
            CronJobState { role, runs, ..cron.clone() }
        })
        .collect();
    raw.source(&standing, all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Failure, FailureKind};
    use crate::observe::raw::{Contact, List};

    #[test]
    fn a_history_that_is_not_read_is_not_empty() {
        let known = Source::Known { value: Vec::new(), at: Timestamp::UNIX_EPOCH };
        let with = |standing: Standing| {
            let mut raw = Raw { contact: Contact::Answering { at: Timestamp::UNIX_EPOCH }, ..Raw::default() };
            raw.replica_sets.insert("default".to_owned(), List { rows: BTreeMap::new(), standing });
            rollouts(&raw, &known).state()
        };
        assert_eq!(with(Standing::Known), "known");
        assert_eq!(with(Standing::Loading), "loading");
        let error = Failure::new(FailureKind::Server, "500");
        assert_eq!(with(Standing::Lost { error, last: None }), "lost");
        assert_eq!(with(Standing::Denied { verb: "list replicasets".to_owned() }), "denied");
    }
}
