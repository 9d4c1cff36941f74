//! ReplicaSets: as many pods as asked for.

use serde_json::{Value, json};

use super::super::object::{ObjectKey, Resource, created, is_deleting, is_ready, name, number, text, uid};
use super::super::store::write::{By, DeleteOptions};
use super::super::world::World;
use super::{MANAGER, collect};

pub fn sync(world: &mut World, cluster: &str, key: &ObjectKey, last: &Value) {
    let by = By::new(MANAGER, world.now());
    let Some(set) = world.get(cluster, key).cloned() else {
        collect(world, cluster, Resource::Pod, key, last);
        return;
    };
    let Some(found) = world.clusters.get_mut(cluster) else { return };
    let wanted = usize::try_from(number(&set, "/spec/replicas").unwrap_or(1)).unwrap_or(0);
    let is_active = |pod: &Value| !is_deleting(pod) && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
    let owned = found.store.owned_by(Resource::Pod, &key.namespace, uid(&set));
    let mut pods: Vec<_> =
        owned.filter(|(_, pod)| is_active(pod)).map(|(key, pod)| (key.clone(), pod.clone())).collect();
    for _ in pods.len()..wanted {
        let template = &set["spec"]["template"];
        let mut pod = json!({
            "metadata": {
                "generateName": format!("{}-", key.name),
                "labels": template["metadata"]["labels"],
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": key.name, "uid": uid(&set),
                    "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "spec": template["spec"],
        });
        if template["metadata"]["annotations"].is_object() {
            pod["metadata"]["annotations"] = template["metadata"]["annotations"].clone();
        }
        // A refusal (no such namespace) shows as pods that are missing.
        if let Ok(pod) = found.store.create(Resource::Pod, &key.namespace, pod, &by) {
            pods.push((ObjectKey::new(Resource::Pod, &key.namespace, name(&pod)), pod));
        }
    }
    if pods.len() > wanted {
        // Who is not ready goes first, then the youngest.
        pods.sort_by_key(|(_, pod)| (is_ready(pod), std::cmp::Reverse(created(pod))));
        for (pod, _) in pods.drain(..pods.len() - wanted) {
            drop(found.store.delete(&pod, &DeleteOptions::default(), &by));
        }
    }
    let ready = pods.iter().filter(|(_, pod)| is_ready(pod)).count();
    let status = json!({
        "replicas": pods.len(), "fullyLabeledReplicas": pods.len(), "readyReplicas": ready, "availableReplicas": ready,
        "observedGeneration": number(&set, "/metadata/generation").unwrap_or(1),
    });
    found.store.edit(key, &by.status(), |object| object["status"] = status);
}
