//! EndpointSlices: which pods stand behind a Service, and whether they are ready.

use serde_json::{Value, json};

use super::super::object::{ObjectKey, Resource, is_deleting, is_ready, label, name, namespace, text, uid};
use super::super::store::write::By;
use super::super::world::World;

const MANAGER: &str = "kube-controller-manager";

/// The Services that a pod belongs to.
pub fn of_pod(world: &mut World, cluster: &str, pod: &Value) {
    let services: Vec<ObjectKey> = world
        .clusters
        .get(cluster)
        .into_iter()
        .flat_map(|found| found.store.all(Resource::Service, namespace(pod)))
        .filter(|(_, service)| selects(service, pod))
        .map(|(key, _)| key.clone())
        .collect();
    for service in services {
        sync(world, cluster, &service);
    }
}

fn selects(service: &Value, pod: &Value) -> bool {
    let selector = service["spec"]["selector"].as_object();
    selector.is_some_and(|selector| {
        !selector.is_empty() && selector.iter().all(|(key, value)| label(pod, key) == value.as_str())
    })
}

pub fn sync(world: &mut World, cluster: &str, key: &ObjectKey) {
    let by = By::new(MANAGER, world.now());
    let Some(service) = world.get(cluster, key).cloned() else { return };
    let Some(found) = world.clusters.get_mut(cluster) else { return };
    let endpoints: Vec<Value> = found
        .store
        .all(Resource::Pod, &key.namespace)
        .filter(|(_, pod)| selects(&service, pod) && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed"))
        .filter(|(_, pod)| !text(pod, "/status/podIP").is_empty())
        .map(|(_, pod)| {
            let ready = is_ready(pod) && !is_deleting(pod);
            json!({
                "addresses": [pod["status"]["podIP"]],
                "conditions": { "ready": ready, "serving": is_ready(pod), "terminating": is_deleting(pod) },
                "targetRef": { "kind": "Pod", "namespace": key.namespace, "name": name(pod), "uid": uid(pod) },
            })
        })
        .collect();
    let slice = ObjectKey::new(Resource::EndpointSlice, &key.namespace, format!("{}-sim", key.name));
    if found.store.get(&slice).is_none() {
        let object = json!({
            "metadata": {
                "name": slice.name, "labels": { "kubernetes.io/service-name": key.name },
                "ownerReferences": [{
                    "apiVersion": "v1", "kind": "Service", "name": key.name, "uid": uid(&service), "controller": true,
                }],
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": service["spec"]["ports"],
        });
        drop(found.store.create(Resource::EndpointSlice, &key.namespace, object, &by));
    } else {
        found.store.edit(&slice, &by, |object| object["endpoints"] = Value::Array(endpoints));
    }
}
