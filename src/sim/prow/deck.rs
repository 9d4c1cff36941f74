//! What Deck does for a person who aborts a job there: it marks the ProwJob, if that is triggered or pending. The pod it leaves
//! to prow-controller-manager.

use serde_json::json;

use super::super::note::Happened;
use super::super::object::{ObjectKey, Resource, name, text};
use super::super::store::write::By;
use super::super::world::World;
use super::loaded;

const ROLE: &str = "deck";

/// Why nothing was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAborted {
    /// No pod of Deck runs: nobody sees its page.
    NoDeck,
    /// No ProwJob of that name, or of a job of that name, is triggered or pending.
    NothingGoesOn,
}

/// Aborts the ProwJob of this name, or all that go on of a job of this name: a click each. Gives their names.
///
/// # Errors
/// There was nothing to click on.
pub fn abort(world: &mut World, asked: &str) -> Result<Vec<String>, NotAborted> {
    let namespace = loaded(world, ROLE).ok_or(NotAborted::NoDeck)?.watched.prowjobs.clone();
    let (service, by) = (world.prow.service.clone(), By::new(ROLE, world.now()));
    let mut aborted = Vec::new();
    for object in world.list(&service, Resource::ProwJob, &namespace) {
        let (id, job) = (name(&object), text(&object, "/spec/job"));
        if !(id == asked || job == asked) || !matches!(text(&object, "/status/state"), "triggered" | "pending") {
            continue;
        }
        let key = ObjectKey::new(Resource::ProwJob, &namespace, id);
        if let Some(service) = world.service() {
            service.store.edit(&key, &by, |job| {
                job["status"]["state"] = json!("aborted");
                job["status"]["description"] = json!(format!("Successfully aborted {id}."));
            });
        }
        world.note(Happened::Aborted { name: id.to_owned(), job: job.to_owned() });
        aborted.push(id.to_owned());
    }
    if aborted.is_empty() { Err(NotAborted::NothingGoesOn) } else { Ok(aborted) }
}
