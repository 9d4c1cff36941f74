//! The kubelet's events about one pod; a repeated one counts up, as on a real node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Event, ObjectReference};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::Shared;

/// Sends events in the background: a lost one is lost, as on a real node.
#[derive(Clone)]
pub struct Events {
    shared: Arc<Shared>,
    pod: ObjectReference,
    counts: Arc<Mutex<HashMap<String, i32>>>,
}

impl Events {
    pub fn new(shared: Arc<Shared>, pod: ObjectReference) -> Self {
        Self { shared, pod, counts: Arc::default() }
    }

    pub fn warning(&self, reason: &str, message: &str, container: Option<&str>) {
        let pod_name = self.pod.name.clone().unwrap_or_default();
        let uid = self.pod.uid.clone().unwrap_or_default();
        // One object for each thing to say of this pod.
        let what = super::status::digest(&format!("{uid}{reason}{message}"));
        let name = format!("{pod_name}.{}", &what[..16]);
        let count = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(name.clone()).or_default();
            *count += 1;
            *count
        };
        let now = jiff::Timestamp::now();
        let mut pod = self.pod.clone();
        pod.field_path = container.map(|name| format!("spec.containers{{{name}}}"));
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "name": name, "namespace": pod.namespace },
            "involvedObject": pod,
            "reason": reason,
            "message": message,
            "type": "Warning",
            "count": count,
            "firstTimestamp": format!("{now:.0}"),
            "lastTimestamp": format!("{now:.0}"),
            "source": { "component": "kubelet", "host": self.shared.node },
            "reportingComponent": "kubelet",
            "reportingInstance": self.shared.node,
        });
        let shared = Arc::clone(&self.shared);
        let namespace = self.pod.namespace.clone().unwrap_or_default();
        tokio::spawn(async move {
            let api: Api<Event> = Api::namespaced(shared.client.clone(), &namespace);
            if count == 1 {
                if let Ok(event) = serde_json::from_value(event) {
                    let _ = shared.write(api.create(&PostParams::default(), &event)).await;
                }
            } else {
                let patch = Patch::Merge(json!({
                    "count": count, "message": event["message"], "lastTimestamp": event["lastTimestamp"],
                }));
                let _ = shared.write(api.patch(&name, &PatchParams::default(), &patch)).await;
            }
        });
    }
}
