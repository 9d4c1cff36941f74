//! Warnings about pods; a repeated one counts up.

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::object::{ObjectKey, Resource, name, namespace, number, stamp, uid};
use super::super::store::Store;
use super::super::store::write::By;

const MANAGER: &str = "kubelet";

/// Says something of a pod, or says it once more.
pub fn warn(store: &mut Store, pod: &Value, reason: &str, message: &str, now: Timestamp) {
    let what = Sha256::new().chain_update(uid(pod)).chain_update(reason).chain_update(message).finalize();
    let what = what.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let key = ObjectKey::new(Resource::Event, namespace(pod), format!("{}.{what:016x}", name(pod)));
    let by = By::new(MANAGER, now);
    if store.get(&key).is_some() {
        store.edit_in_place(&key, &by, |event| {
            event["count"] = json!(number(event, "/count").unwrap_or(1) + 1);
            event["lastTimestamp"] = json!(stamp(now));
        });
        return;
    }
    let event = json!({
        "metadata": { "name": key.name },
        "involvedObject": {
            "apiVersion": "v1", "kind": "Pod", "namespace": key.namespace, "name": name(pod), "uid": uid(pod),
        },
        "type": "Warning", "reason": reason, "message": message, "count": 1,
        "firstTimestamp": stamp(now), "lastTimestamp": stamp(now),
        "source": { "component": MANAGER }, "reportingComponent": MANAGER,
    });
    // A lost event is lost.
    drop(store.create(Resource::Event, namespace(pod), event, &by));
}
