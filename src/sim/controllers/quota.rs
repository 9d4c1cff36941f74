//! Quotas of pods: what is used. That nothing more is let in is the server's own business (`store::write`).

use serde_json::json;

use super::super::object::{ObjectKey, Resource};
use super::super::store::write::By;
use super::super::world::World;
use super::MANAGER;

/// The pods of a namespace have changed, or its quotas.
pub fn sync(world: &mut World, cluster: &str, namespace: &str) {
    let by = By::new(MANAGER, world.now()).status();
    let Some(found) = world.clusters.get_mut(cluster) else { return };
    let quotas: Vec<ObjectKey> =
        found.store.all(Resource::ResourceQuota, namespace).map(|(key, _)| key.clone()).collect();
    for key in quotas {
        let used = found.store.pods_that_count(namespace).to_string();
        found.store.edit(&key, &by, |quota| {
            quota["status"] = json!({ "hard": quota["spec"]["hard"], "used": { "pods": used } });
        });
    }
}
