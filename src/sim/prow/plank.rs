//! What prow-controller-manager does with a ProwJob, by the rules of its reconciler.
//!
//! | what it finds | what it does |
//! |---|---|
//! | triggered, no pod | creates it; the job is pending |
//! | a pod goes while it looks | the job ends in error: `Pod got deleted unexpectedly` |
//! | pending, no pod where it looks | creates it again, with another build id; the job stays pending |
//! | its creation is refused (4xx) | the job ends in error |
//! | a pod that is deleted and lingers | the job ends in error: `Pod got deleted unexpectedly` |
//! | a pod that ended | the job ends with it |
//! | a job that somebody aborted | its pod is deleted, if there is one where it looks; then the job is complete |
//! | a pod pending or running for too long | the job ends; the pod is deleted |

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::agenda::Item;
use super::super::note::Happened;
use super::super::object::{ObjectKey, Resource, created, is_deleting, stamp, text, time, uid};
use super::super::store::write::{By, DeleteOptions};
use super::super::world::World;
use super::leader::{self, Leader, ROLE};
use super::{deploy, job};
use crate::prow::jobs::{JobTask, task_of};

/// A pod is gone. The server tells of its deletion before it tells of its end, and plank is quick: it nearly always looks in
/// between. Only what goes while nobody leads is found missing, and made again.
pub fn pod_gone(world: &mut World, key: &ObjectKey, namespace: &str, pod: &Value) {
    let looks = |leader: &Leader| leader.prowjob_namespace == key.namespace && leader.pod_namespace == namespace;
    if !is_deleting(pod) || !world.prow.leader.as_ref().is_some_and(looks) {
        return;
    }
    let Some(object) = world.get(&world.prow.service, key).cloned() else { return };
    if text(&object, "/status/completionTime").is_empty() && text(&object, "/spec/agent") == "kubernetes" {
        end(world, key, &object, "error", "Pod got deleted unexpectedly");
    }
}

/// Looks at a ProwJob, if anybody leads and it is one of theirs.
pub fn sync(world: &mut World, key: &ObjectKey) {
    let Some(leader) = world.prow.leader.clone().filter(|leader| leader.prowjob_namespace == key.namespace) else {
        return;
    };
    let Some(object) = world.get(&world.prow.service, key).cloned() else { return };
    let over = !text(&object, "/status/completionTime").is_empty();
    if over || text(&object, "/spec/agent") != "kubernetes" {
        return;
    }
    let alias = text(&object, "/spec/cluster");
    let Some(cluster) = world.prow.context_of(alias).filter(|name| world.clusters.contains_key(*name)) else {
        let why = format!("Terminal error: nonretryable error: no build client found for cluster \"{alias}\".");
        end(world, key, &object, "error", &why);
        return;
    };
    let cluster = cluster.to_owned();
    let pod_key = ObjectKey::new(Resource::Pod, &leader.pod_namespace, &key.name);
    if text(&object, "/status/state") == "aborted" {
        delete(world, &cluster, &pod_key);
        let description = text(&object, "/status/description");
        end(world, key, &object, "aborted", description);
        return;
    }
    match world.get(&cluster, &pod_key).cloned() {
        None => create(world, key, &object, &cluster, &leader),
        Some(pod) => judge(world, key, &object, &leader, (&cluster, &pod_key), &pod),
    }
}

fn create(world: &mut World, key: &ObjectKey, object: &Value, cluster: &str, leader: &Leader) {
    let now = world.now();
    world.prow.builds += 1;
    let build = format!("10923{:014}", world.prow.builds * 512);
    let pod = job::pod(object, &build, &leader.tag, world.prow.reports_to_storage);
    let by = By::new(ROLE, now);
    let Some(found) = world.clusters.get_mut(cluster) else { return };
    match found.store.create(Resource::Pod, &leader.pod_namespace, pod, &by) {
        Ok(pod) => {
            let again = text(object, "/status/state") == "pending";
            if let Some(service) = world.service() {
                service.store.edit(key, &by, |job| {
                    let status = &mut job["status"];
                    if !again {
                        status["pendingTime"] = json!(stamp(now));
                    }
                    status["state"] = json!("pending");
                    status["description"] = json!("Job triggered.");
                    status["pod_name"] = json!(key.name);
                    status["build_id"] = json!(build);
                });
            }
            world.note(Happened::PodCreated {
                cluster: cluster.to_owned(),
                namespace: leader.pod_namespace.clone(),
                name: key.name.clone(),
                uid: uid(&pod).to_owned(),
                again,
            });
        }
        Err(refusal) => {
            let place = format!("{}/{}", leader.pod_namespace, key.name);
            let alias = match text(object, "/spec/cluster") {
                "" => "default",
                alias => alias,
            };
            let why = format!("create pod {place} in cluster {alias}: {}", refusal.message);
            end(world, key, object, "error", &format!("Pod can not be created: {why}"));
        }
    }
}

/// There is a pod of its name where it should be.
fn judge(
    world: &mut World,
    key: &ObjectKey,
    object: &Value,
    leader: &Leader,
    (cluster, pod_key): (&str, &ObjectKey),
    pod: &Value,
) {
    let now = world.now();
    if is_deleting(pod) {
        end(world, key, object, "error", "Pod got deleted unexpectedly");
        return;
    }
    if text(object, "/status/state") != "pending" {
        // Made by somebody who had no time to note it.
        if let Some(service) = world.service() {
            service.store.edit(key, &By::new(ROLE, now), |job| {
                job["status"]["state"] = json!("pending");
                job["status"]["pendingTime"] = json!(stamp(now));
                job["status"]["pod_name"] = json!(key.name);
                job["status"]["build_id"] = pod["metadata"]["labels"]["prow.k8s.io/build-id"].clone();
            });
        }
        return;
    }
    let Some(config) = leader::config(world, leader) else { return };
    match text(pod, "/status/phase") {
        "Succeeded" => end(world, key, object, "success", "Job succeeded."),
        "Failed" => end(world, key, object, "failure", "Job failed."),
        "Running" => {
            let since = time(pod, "/status/startTime").or(created(pod)).unwrap_or(now);
            if let Overdue::Now = due(world, key, since, config.running_timeout) {
                end(world, key, object, "aborted", "Pod running timeout.");
                delete(world, cluster, pod_key);
            }
        }
        _ => {
            let since = created(pod).unwrap_or(now);
            if let Overdue::Now = due(world, key, since, config.pending_timeout) {
                end(world, key, object, "error", "Pod pending timeout.");
                delete(world, cluster, pod_key);
            }
        }
    }
}

enum Overdue {
    Now,
    /// Looked at again when it is.
    Later,
}

fn due(world: &mut World, key: &ObjectKey, since: Timestamp, limit: SignedDuration) -> Overdue {
    let at = since + limit;
    if at <= world.now() {
        return Overdue::Now;
    }
    let service = world.prow.service.clone();
    world.agenda.at(at, Item::Object(service, key.clone()));
    Overdue::Later
}

fn delete(world: &mut World, cluster: &str, pod: &ObjectKey) {
    let by = By::new(ROLE, world.now());
    if let Some(found) = world.clusters.get_mut(cluster) {
        drop(found.store.delete(pod, &DeleteOptions::default(), &by));
    }
}

fn end(world: &mut World, key: &ObjectKey, object: &Value, state: &str, description: &str) {
    let by = By::new(ROLE, world.now());
    if let Some(service) = world.service() {
        service.store.edit(key, &by, |job| {
            job["status"]["state"] = json!(state);
            job["status"]["description"] = json!(description);
            job["status"]["completionTime"] = json!(stamp(by.now));
        });
    }
    let job = text(object, "/spec/job").to_owned();
    let deploys = state == "success" && task_of(&job).is_some_and(|task| task.task == JobTask::Deploy);
    world.note(Happened::ProwJobEnded {
        name: key.name.clone(),
        job,
        state: state.to_owned(),
        description: description.to_owned(),
    });
    if deploys {
        deploy::apply(world);
    }
}
