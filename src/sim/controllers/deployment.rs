//! Deployments: a ReplicaSet for each template, replicas moved from the old ones to the new one as far as maxSurge and
//! maxUnavailable allow, and a status that tells how far it is.

use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::agenda::Item;
use super::super::object::{ObjectKey, Resource, annotation, condition, created, name, number, stamp, text, time, uid};
use super::super::store::write::{By, DeleteOptions};
use super::super::world::World;
use super::{MANAGER, collect};

const REVISION: &str = "deployment.kubernetes.io/revision";
const HASH: &str = "pod-template-hash";
const DEADLINE_SECONDS: i64 = 600;
const HISTORY: usize = 10;
const OVERDUE: &str = "ProgressDeadlineExceeded";

/// What a rollout may do.
struct Limits {
    replicas: i64,
    surge: i64,
    unavailable: i64,
    recreate: bool,
}

/// A ReplicaSet of the Deployment.
#[derive(Clone)]
struct Set {
    key: ObjectKey,
    object: Arc<Value>,
    /// Pods asked for, as this look leaves them.
    wanted: i64,
    revision: i64,
}

impl Set {
    fn status(&self, field: &str) -> i64 {
        number(&self.object, &format!("/status/{field}")).unwrap_or(0)
    }

    fn available(&self) -> i64 {
        self.status("availableReplicas").min(self.wanted)
    }
}

pub fn sync(world: &mut World, cluster: &str, key: &ObjectKey, last: &Value) {
    let now = world.now();
    let Some(deployment) = world.get(cluster, key).cloned() else {
        collect(world, cluster, Resource::ReplicaSet, key, last);
        return;
    };
    let limits = limits(&deployment);
    let paused = deployment["spec"]["paused"] == true;
    let hash = template_hash(&deployment["spec"]["template"]);
    let mut sets = sets(world, cluster, key, &deployment);
    let newest = sets.iter().map(|set| set.revision).max().unwrap_or(0);
    let is_new = |set: &Set| set.object["metadata"]["labels"][HASH] == json!(hash);
    let at = match sets.iter().position(is_new) {
        Some(at) => Some(at),
        None if paused => None,
        None => create_set(world, cluster, key, &deployment, &hash, newest + 1).map(|set| {
            sets.push(set);
            sets.len() - 1
        }),
    };
    let revision = match at {
        Some(at) if sets[at].revision < newest && !paused => newest + 1,
        Some(at) => sets[at].revision,
        None => newest,
    };
    if !paused {
        plan(&mut sets, at, &limits);
    } else if let Some(at) = at.filter(|_| sets.len() == 1) {
        sets[at].wanted = limits.replicas;
    }
    let by = By::new(MANAGER, now);
    if let Some(found) = world.clusters.get_mut(cluster) {
        for (n, set) in sets.iter().enumerate() {
            let set_revision = if Some(n) == at { revision } else { set.revision };
            found.store.edit(&set.key, &by, |object| {
                object["spec"]["replicas"] = json!(set.wanted);
                object["metadata"]["annotations"][REVISION] = json!(set_revision.to_string());
                object["metadata"]["annotations"]["deployment.kubernetes.io/desired-replicas"] =
                    json!(limits.replicas.to_string());
            });
        }
    }
    tell(world, cluster, key, &deployment, &Rollout { sets: &sets, new: at, limits: &limits, paused, revision });
    forget_old(world, cluster, &sets, at, &deployment);
}

/// Moves replicas, one look's worth.
fn plan(sets: &mut [Set], new: Option<usize>, limits: &Limits) {
    let Some(new) = new else { return };
    let olds: Vec<usize> = (0..sets.len()).filter(|n| *n != new).collect();
    if limits.recreate {
        for old in &olds {
            sets[*old].wanted = 0;
        }
        if olds.iter().all(|old| sets[*old].status("replicas") == 0) {
            sets[new].wanted = limits.replicas;
        }
        return;
    }
    let total = |sets: &[Set]| sets.iter().map(|set| set.wanted).sum::<i64>();
    if sets[new].wanted > limits.replicas {
        sets[new].wanted = limits.replicas;
    } else {
        let room = limits.replicas + limits.surge - total(sets);
        sets[new].wanted += room.clamp(0, limits.replicas - sets[new].wanted);
    }
    // Pods that do not work go first, then as many of the others as the new ones make up for.
    let least = limits.replicas - limits.unavailable;
    let new_unavailable = sets[new].wanted - sets[new].available();
    let mut may_go = total(sets) - least - new_unavailable;
    for old in &olds {
        let sick = (sets[*old].wanted - sets[*old].available()).clamp(0, may_go.max(0));
        sets[*old].wanted -= sick;
        may_go -= sick;
    }
    let available: i64 = sets.iter().map(Set::available).sum();
    let mut spare = available - least;
    for old in &olds {
        let gone = sets[*old].wanted.clamp(0, spare.max(0));
        sets[*old].wanted -= gone;
        spare -= gone;
    }
}

fn limits(deployment: &Value) -> Limits {
    let spec = &deployment["spec"];
    let replicas = spec["replicas"].as_i64().unwrap_or(1);
    let rolling = &spec["strategy"]["rollingUpdate"];
    let of = |value: &Value, up: bool| {
        let share = value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
        match (value.as_i64(), share) {
            (Some(count), _) => count,
            (None, share) => {
                let hundredths = replicas * share.unwrap_or(25);
                if up { (hundredths + 99) / 100 } else { hundredths / 100 }
            }
        }
    };
    let surge = of(&rolling["maxSurge"], true);
    let mut unavailable = of(&rolling["maxUnavailable"], false).min(replicas);
    if surge == 0 && unavailable == 0 {
        unavailable = 1;
    }
    Limits { replicas, surge, unavailable, recreate: text(deployment, "/spec/strategy/type") == "Recreate" }
}

fn sets(world: &World, cluster: &str, key: &ObjectKey, deployment: &Value) -> Vec<Set> {
    let Some(found) = world.clusters.get(cluster) else { return Vec::new() };
    let owned = found.store.owned_by(Resource::ReplicaSet, &key.namespace, uid(deployment));
    let mut sets: Vec<Set> = owned.map(|(key, object)| set(key, object)).collect();
    sets.sort_by_key(|set| (created(&set.object), set.revision));
    sets
}

fn set(key: &ObjectKey, object: &Arc<Value>) -> Set {
    Set {
        key: key.clone(),
        object: Arc::clone(object),
        wanted: number(object, "/spec/replicas").unwrap_or(0),
        revision: annotation(object, REVISION).and_then(|revision| revision.parse().ok()).unwrap_or(0),
    }
}

fn template_hash(template: &Value) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let digest = Sha256::digest(template.to_string().as_bytes());
    digest.iter().take(10).map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

fn create_set(
    world: &mut World,
    cluster: &str,
    key: &ObjectKey,
    deployment: &Value,
    hash: &str,
    revision: i64,
) -> Option<Set> {
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"][HASH] = json!(hash);
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"][HASH] = json!(hash);
    let object = json!({
        "metadata": {
            "name": format!("{}-{hash}", key.name),
            "labels": template["metadata"]["labels"],
            "annotations": { REVISION: revision.to_string() },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": key.name, "uid": uid(deployment),
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": { "replicas": 0, "selector": selector, "template": template },
    });
    let made = world.create(cluster, Resource::ReplicaSet, &key.namespace, object, MANAGER)?;
    let key = ObjectKey::new(Resource::ReplicaSet, &key.namespace, name(&made));
    Some(set(&key, &made))
}

struct Rollout<'a> {
    sets: &'a [Set],
    new: Option<usize>,
    limits: &'a Limits,
    paused: bool,
    revision: i64,
}

/// Writes the status.
fn tell(world: &mut World, cluster: &str, key: &ObjectKey, deployment: &Value, rollout: &Rollout<'_>) {
    let now = world.now();
    let sum = |field: &str| rollout.sets.iter().map(|set| set.status(field)).sum::<i64>();
    let (pods, ready, available) = (sum("replicas"), sum("readyReplicas"), sum("availableReplicas"));
    let new = rollout.new.map(|at| &rollout.sets[at]);
    let updated = new.map_or(0, |new| new.status("replicas"));
    let wanted = rollout.limits.replicas;
    let held = |field: &str| number(deployment, &format!("/status/{field}")).unwrap_or(0);
    let old_pods = |pods: i64, updated: i64| pods - updated;
    let generation = number(deployment, "/metadata/generation").unwrap_or(1);
    let moved = generation != held("observedGeneration")
        || updated > held("updatedReplicas")
        || ready > held("readyReplicas")
        || available > held("availableReplicas")
        || old_pods(pods, updated) < old_pods(held("replicas"), held("updatedReplicas"));
    let complete = updated == wanted && pods == wanted && available == wanted;
    let before = condition(deployment, "Progressing");
    let last = before.and_then(|condition| time(condition, "/lastUpdateTime"));
    let deadline = number(deployment, "/spec/progressDeadlineSeconds").unwrap_or(DEADLINE_SECONDS);
    let overdue_at = last.map(|last| last + SignedDuration::from_secs(deadline));
    // Once it is overdue, only progress ends that.
    let was_overdue = before.is_some_and(|condition| condition["reason"] == OVERDUE);
    let is_overdue = !moved && !complete && (was_overdue || overdue_at.is_some_and(|at| at <= now));
    let set_name = new.map_or("", |new| new.key.name.as_str());
    let (status, reason, message) = if rollout.paused {
        ("Unknown", "DeploymentPaused", "Deployment is paused".to_owned())
    } else if complete {
        ("True", "NewReplicaSetAvailable", format!("ReplicaSet \"{set_name}\" has successfully progressed."))
    } else if is_overdue {
        ("False", OVERDUE, format!("ReplicaSet \"{set_name}\" has timed out progressing."))
    } else {
        ("True", "ReplicaSetUpdated", format!("ReplicaSet \"{set_name}\" is progressing."))
    };
    let (up, up_reason, up_message) = if available >= wanted - rollout.limits.unavailable {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    let said = |kind: &str, status: &str, reason: &str, message: &str, updated: bool| {
        let old = condition(deployment, kind);
        let same = old.is_some_and(|old| old["status"] == status);
        let since = |field: &str| old.map_or(Value::Null, |old| old[field].clone());
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": if same { since("lastTransitionTime") } else { json!(stamp(now)) },
            "lastUpdateTime": if same && !updated { since("lastUpdateTime") } else { json!(stamp(now)) },
        })
    };
    let mut told = json!({
        "observedGeneration": generation, "replicas": pods, "updatedReplicas": updated,
        "readyReplicas": ready, "availableReplicas": available,
        "conditions": [
            said("Available", up, up_reason, up_message, false),
            said("Progressing", status, reason, &message, moved),
        ],
    });
    let missing = (rollout.sets.iter().map(|set| set.wanted).sum::<i64>()).max(wanted) - available;
    if missing > 0 {
        told["unavailableReplicas"] = json!(missing);
    }
    let by = By::new(MANAGER, now).status();
    if let Some(found) = world.clusters.get_mut(cluster) {
        found.store.edit(key, &by, |object| {
            object["metadata"]["annotations"][REVISION] = json!(rollout.revision.to_string());
            object["status"] = told;
        });
    }
    let next = if moved { Some(now + SignedDuration::from_secs(deadline)) } else { overdue_at };
    if let Some(next) = next.filter(|next| !complete && !rollout.paused && *next > now) {
        world.agenda.at(next, Item::Object(cluster.to_owned(), key.clone()));
    }
}

fn forget_old(world: &mut World, cluster: &str, sets: &[Set], new: Option<usize>, deployment: &Value) {
    let limit = number(deployment, "/spec/revisionHistoryLimit").and_then(|limit| usize::try_from(limit).ok());
    let mut empty: Vec<&Set> = (0..sets.len())
        .filter(|n| Some(*n) != new)
        .map(|n| &sets[n])
        .filter(|set| set.wanted == 0 && set.status("replicas") == 0)
        .collect();
    empty.sort_by_key(|set| set.revision);
    let surplus = empty.len().saturating_sub(limit.unwrap_or(HISTORY));
    let by = By::new(MANAGER, world.now());
    if let Some(found) = world.clusters.get_mut(cluster) {
        for set in empty.iter().take(surplus) {
            drop(found.store.delete(&set.key, &DeleteOptions::default(), &by));
        }
    }
}
