//! The deploy job's work: the manifests of the repository's head are applied, so that what a person changed by hand is as it was.

use serde_json::Value;

use super::super::note::Happened;
use super::super::object::{ObjectKey, Resource, name, namespace, text};
use super::super::store::patch::PatchKind;
use super::super::store::write::By;
use super::super::world::World;

/// Where manifests are.
pub const MANIFESTS: &str = "prow/cluster/";
const MANAGER: &str = "kubectl-client-side-apply";

pub fn apply(world: &mut World) {
    let by = By::new(MANAGER, world.now());
    let head = world.repository.head();
    let mut changed = Vec::new();
    for (_, bytes) in head.iter().filter(|(path, _)| path.starts_with(MANIFESTS)) {
        let Ok(manifest) = serde_saphyr::from_slice::<Value>(bytes) else { continue };
        let Some(resource) = Resource::of_kind(text(&manifest, "/kind")) else { continue };
        let key = ObjectKey::new(resource, namespace(&manifest), name(&manifest));
        let Some(service) = world.service() else { return };
        let before = service.store.get(&key).cloned();
        let after = match &before {
            None => service.store.create(resource, &key.namespace, manifest, &by),
            Some(_) => service.store.patch(&key, PatchKind::Strategic, &manifest, &by),
        };
        let is_new = |after: &std::sync::Arc<Value>| before.as_ref() != Some(after);
        if after.is_ok_and(|after| is_new(&after)) {
            changed.push(format!("{} {}", resource.facts().kind.to_lowercase(), key.name));
        }
    }
    world.note(Happened::Deployed { changed });
}
