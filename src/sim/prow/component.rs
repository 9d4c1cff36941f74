//! What a container runs, and what a component of Prow makes of its configuration: a bad one ends it at start; later it logs a
//! line and goes on with the old one.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::agenda::Item;
use super::super::controllers::life::Life;
use super::super::note::Happened;
use super::super::object::{annotation, base_and_tag, items, stamp, text};
use super::super::world::World;
use super::config::{LoadError, Loaded, Which};
use crate::prow::Catalogue;
use crate::prow::image::Tag;

/// What the branchprotector and its like take.
const RUN: SignedDuration = SignedDuration::from_secs(60);
const FIRST_SWEEP: SignedDuration = SignedDuration::from_secs(5);
const FIRST_TICK: SignedDuration = SignedDuration::from_secs(60);

/// What happens in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Play {
    /// A component of Prow that stays.
    Component { role: String, tag: String },
    /// Something that comes up and stays.
    Stays,
    /// Something that ends.
    Ends { after: SignedDuration, code: i64 },
}

/// A component that runs.
#[derive(Debug, Clone)]
pub struct Program {
    pub role: String,
    pub tag: String,
    /// `None` for one that mounts no configuration.
    pub loaded: Option<Arc<Loaded>>,
}

pub fn play(world: &World, cluster: &str, pod: &Value) -> Play {
    let image = items(pod, "/spec/containers").first().map_or("", |spec| text(spec, "/image"));
    let role = Catalogue::embedded().role_of(image).filter(|_| cluster == world.prow.service);
    match (text(pod, "/spec/restartPolicy"), role) {
        ("Always" | "", Some(entry)) => {
            Play::Component { role: entry.role.clone(), tag: base_and_tag(image).1.to_owned() }
        }
        ("Always" | "", None) => Play::Stays,
        (_, Some(_)) => Play::Ends { after: RUN, code: 0 },
        (_, None) => {
            let job = annotation(pod, "prow.k8s.io/job").unwrap_or_default();
            let takes = &world.prow.takes;
            Play::Ends { after: takes.by_name.get(job).copied().unwrap_or(takes.usually), code: 0 }
        }
    }
}

/// Loads what it mounts.
///
/// # Errors
/// The fatal line with which it ends.
pub fn start(world: &mut World, life: &Life, role: &str, tag: &str) -> Result<Program, String> {
    let now = world.now();
    let loaded = match world.prow.readings.load(&life.maps, &life.key.namespace, tag) {
        Ok(loaded) => loaded,
        Err(error) => {
            world.note(Happened::Refused { component: role.to_owned(), error: error.error.clone(), fatal: true });
            return Err(line(role, tag, &error, "fatal", start_message(role, error.which), now));
        }
    };
    match role {
        "sinker" => {
            world.prow.sweep_at = Some(now + FIRST_SWEEP);
            world.agenda_in(FIRST_SWEEP, Item::Sinker);
        }
        "horologium" => {
            world.prow.tick_at = Some(now + FIRST_TICK);
            world.agenda_in(FIRST_TICK, Item::Horologium);
        }
        _ => {}
    }
    Ok(Program { role: role.to_owned(), tag: tag.to_owned(), loaded })
}

/// The files of a running component changed.
pub fn reload(world: &mut World, cluster: &str, pod: &str, _map: &str) {
    let now = world.now();
    let Some(found) = world.clusters.get_mut(cluster) else { return };
    let Some(life) = found.lives.get_mut(pod) else { return };
    let Some(program) = life.program.clone() else { return };
    let Some(held) = &program.loaded else { return };
    match world.prow.readings.load(&life.maps, &life.key.namespace, &program.tag) {
        Ok(None) => {}
        Ok(Some(new)) => {
            // The namespaces of its caches are fixed until it starts again.
            let new = Loaded { watched: held.watched.clone(), ..new.as_ref().clone() };
            life.program = Some(Program { loaded: Some(Arc::new(new)), ..program });
        }
        Err(error) => {
            let message = match error.which {
                Which::Config => "Error loading config.",
                Which::Plugins => "Error loading plugin config.",
            };
            life.say(line(&program.role, &program.tag, &error, "error", message, now));
            let refused = Happened::Refused { component: program.role, error: error.error, fatal: false };
            world.note(refused);
        }
    }
}

fn start_message(role: &str, which: Which) -> &'static str {
    match (which, role) {
        (Which::Config, _) => "Error starting config agent.",
        (Which::Plugins, "deck") => "Error loading Prow plugin config.",
        (Which::Plugins, "status-reconciler") => "Error starting plugin configuration agent.",
        (Which::Plugins, "needs-rebase") => "Error loading plugin config",
        (Which::Plugins, _) => "Error starting plugins.",
    }
}

/// A line of a component's log; those of old versions do not say where in the code they were.
fn line(role: &str, tag: &str, error: &LoadError, level: &str, message: &str, now: Timestamp) -> String {
    let mut line = json!({
        "component": role, "error": error.error, "level": level, "msg": message, "time": stamp(now),
    });
    if Tag::parse(tag).is_none_or(|tag| tag.date.year() >= 2020) {
        let at = if message == "Error starting plugins." { 147 } else { 117 };
        line["file"] = json!(format!("sigs.k8s.io/prow/cmd/{role}/main.go:{at}"));
        if message == "Error starting plugins." {
            line["error"] = json!(format!("failed to start plugins agent: {}", error.error));
        }
        line["func"] = json!("main.main");
        line["severity"] = json!(level);
    }
    line.to_string()
}
