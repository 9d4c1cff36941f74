//! horologium's tick: a periodic job starts when its interval is over and its last run has ended.

use jiff::SignedDuration;

use super::super::agenda::Item;
use super::super::object::{Resource, text, time};
use super::super::world::World;
use super::config::{JobSpec, Trigger};
use super::{job, loaded};

const ROLE: &str = "horologium";
const EVERY: SignedDuration = SignedDuration::from_secs(60);

pub fn tick(world: &mut World) {
    let now = world.now();
    if world.prow.tick_at != Some(now) {
        return;
    }
    let Some(config) = loaded(world, ROLE) else { return };
    world.prow.tick_at = Some(now + EVERY);
    world.agenda_in(EVERY, Item::Horologium);
    let service = world.prow.service.clone();
    let jobs = world.list(&service, Resource::ProwJob, &config.watched.prowjobs);
    let is_due = |spec: &&JobSpec| {
        let Trigger::Periodic { every } = spec.trigger else { return false };
        let runs = || jobs.iter().filter(|job| text(job, "/spec/job") == spec.name);
        let ended = runs().all(|job| !text(job, "/status/completionTime").is_empty());
        let last = runs().filter_map(|job| time(job, "/status/startTime")).max();
        ended && last.is_none_or(|last| now.duration_since(last) >= every)
    };
    let due: Vec<JobSpec> = config.jobs.iter().filter(is_due).cloned().collect();
    for spec in due {
        job::triggered(world, &spec, ROLE, &config.watched.prowjobs);
    }
}
