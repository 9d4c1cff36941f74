//! crier's finalizer: taken off a pod when its job's end is reported. It looks where the configuration says that pods are, so on
//! a stray the finalizer stays.

use super::super::object::{ObjectKey, Resource, text};
use super::super::store::write::By;
use super::super::world::World;
use super::{job, loaded};

const ROLE: &str = "crier";

/// A ProwJob changed.
pub fn sync(world: &mut World, key: &ObjectKey) {
    if !world.prow.reports_to_storage {
        return;
    }
    let Some(config) = loaded(world, ROLE) else { return };
    let Some(object) = world.get(&world.prow.service, key).cloned() else { return };
    if text(&object, "/status/completionTime").is_empty() {
        return;
    }
    let Some(context) = world.prow.context_of(text(&object, "/spec/cluster")).map(str::to_owned) else { return };
    let by = By::new(ROLE, world.now());
    let pod = ObjectKey::new(Resource::Pod, &config.watched.pods, &key.name);
    if let Some(found) = world.clusters.get_mut(&context) {
        found.store.edit(&pod, &by, |pod| {
            if let Some(finalizers) = pod["metadata"]["finalizers"].as_array_mut() {
                finalizers.retain(|name| name != job::FINALIZER);
            }
        });
    }
}
