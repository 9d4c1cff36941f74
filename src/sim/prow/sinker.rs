//! sinker's sweep: pods and ProwJobs that are over. It looks into the pod namespace of the clusters that it knows, and nowhere
//! else: strays stay.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::super::agenda::Item;
use super::super::note::Happened;
use super::super::object::{ObjectKey, Resource, created, label, name, text, time};
use super::super::store::write::{By, DeleteOptions};
use super::super::world::World;
use super::{CREATED_BY_PROW, loaded};

const ROLE: &str = "sinker";
/// A pod without a ProwJob may be older than what is known of ProwJobs.
const ORPHAN: SignedDuration = SignedDuration::from_secs(30);

pub fn sweep(world: &mut World) {
    let now = world.now();
    if world.prow.sweep_at != Some(now) {
        return;
    }
    // Whoever starts again sweeps again.
    let Some(config) = loaded(world, ROLE) else { return };
    world.prow.sweep_at = Some(now + config.resync);
    world.agenda_in(config.resync, Item::Sinker);
    let service = world.prow.service.clone();
    let jobs = world.list(&service, Resource::ProwJob, &config.watched.prowjobs);
    let ended: BTreeMap<&str, Option<jiff::Timestamp>> =
        jobs.iter().map(|job| (name(job), time(job, "/status/completionTime"))).collect();
    let mut doomed: Vec<(String, ObjectKey)> = Vec::new();
    let aliases: Vec<(String, String)> =
        world.prow.aliases.iter().map(|(alias, context)| (alias.clone(), context.clone())).collect();
    for (alias, context) in aliases {
        if config.excluded_clusters.contains(&alias) {
            continue;
        }
        for pod in world.list(&context, Resource::Pod, &config.watched.pods) {
            if label(&pod, CREATED_BY_PROW) != Some("true") {
                continue;
            }
            let age = created(&pod).map_or(SignedDuration::ZERO, |at| now.duration_since(at));
            let goes = match ended.get(name(&pod)) {
                None => age > ORPHAN,
                Some(None) => false,
                Some(Some(at)) => age > config.max_pod_age || now.duration_since(*at) > config.max_pod_age,
            };
            if goes {
                doomed.push((context.clone(), ObjectKey::new(Resource::Pod, &config.watched.pods, name(&pod))));
            }
        }
    }
    for job in &jobs {
        let old = created(job).is_some_and(|at| now.duration_since(at) > config.max_prowjob_age);
        if old && !text(job, "/status/completionTime").is_empty() {
            let key = ObjectKey::new(Resource::ProwJob, &config.watched.prowjobs, name(job));
            doomed.push((service.clone(), key));
        }
    }
    let by = By::new(ROLE, now);
    for (context, key) in doomed {
        let Some(found) = world.clusters.get_mut(&context) else { continue };
        if found.store.delete(&key, &DeleteOptions::default(), &by).is_ok() {
            let kind = key.resource.facts().kind.to_lowercase();
            world.note(Happened::Swept { object: format!("{kind} {}/{}", key.namespace, key.name) });
        }
    }
}
