//! What a merge sets off, if hook is there to be told: config-updater writes the ConfigMaps of the files that changed, and
//! postsubmits start. A webhook that nobody takes is lost, and nothing makes up for it.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::note::Happened;
use super::super::object::{ObjectKey, Resource};
use super::super::store::write::By;
use super::super::world::World;
use super::config::{JobSpec, Trigger};
use super::{job, loaded, running};
use crate::model::DesiredConfigMap;
use crate::prow::plugins::parse_plugins;
use crate::prow::updater::{VERSION_KEY, render};

const ROLE: &str = "hook";
/// The repository that Prow is configured from.
const REPOSITORY: &str = "kubernetes/test-infra";

/// Somebody merges everything up to this commit. False where it is unknown or merged already.
pub fn merge(world: &mut World, commit: &str) -> bool {
    let Some(before) = world.repository.merge(commit) else { return false };
    let heard = running(world, ROLE).next().is_some();
    world.note(Happened::Merged { commit: commit.to_owned(), heard });
    if heard {
        let changed = world.repository.changed_since(before);
        update_config(world, commit, &changed);
        start_postsubmits(world, &changed);
    }
    true
}

/// The ConfigMaps that the files of the repository make, as the plugins that hook has loaded say.
fn desired(world: &World) -> Vec<DesiredConfigMap> {
    let Some(config) = loaded(world, ROLE) else { return Vec::new() };
    let plugins = running(world, ROLE).find_map(|(_, life)| life.maps.get("plugins")?.get("plugins.yaml").cloned());
    let Some(Ok(updater)) = plugins.map(|bytes| parse_plugins(&bytes)) else { return Vec::new() };
    render(&updater, &world.repository.head(), &config.watched.prowjobs).config_maps
}

fn update_config(world: &mut World, commit: &str, changed: &BTreeSet<String>) {
    for map in desired(world) {
        let touched: BTreeMap<String, Vec<u8>> = map
            .entries
            .iter()
            .filter(|(_, entry)| changed.contains(&entry.path))
            .map(|(key, entry)| (key.clone(), entry.bytes.clone()))
            .collect();
        if !touched.is_empty() {
            upload(world, &map, touched, commit);
        }
    }
}

fn upload(world: &mut World, map: &DesiredConfigMap, mut values: BTreeMap<String, Vec<u8>>, commit: &str) {
    let sha: String = Sha256::digest(commit.as_bytes()).iter().take(20).map(|byte| format!("{byte:02x}")).collect();
    values.insert(VERSION_KEY.to_owned(), sha.into_bytes());
    // For ConfigMaps, `default` is the service cluster whatever else is called so.
    let context = match map.cluster.0.as_str() {
        "default" => Some(world.prow.service.clone()),
        alias => world.prow.aliases.get(alias).cloned(),
    };
    let by = By::new(ROLE, world.now());
    let Some(found) = context.and_then(|context| world.clusters.get_mut(&context)) else { return };
    let key = ObjectKey::new(Resource::ConfigMap, &map.key.namespace, &map.key.name);
    if found.store.get(&key).is_none() {
        let labels = json!({
            "app.kubernetes.io/name": "prow", "app.kubernetes.io/component": "updateconfig-plugin",
        });
        let object = json!({ "metadata": { "name": key.name, "labels": labels } });
        drop(found.store.create(Resource::ConfigMap, &key.namespace, object, &by));
    }
    found.store.edit(&key, &by, |object| put(object, values));
    world.note(Happened::Uploaded { config_map: format!("{}/{}", key.namespace, key.name) });
}

/// Sets values: text to `data`, other bytes to `binaryData`.
pub fn put(map: &mut Value, values: BTreeMap<String, Vec<u8>>) {
    for (key, bytes) in values {
        let (part, other, value) = match String::from_utf8(bytes) {
            Ok(text) => ("data", "binaryData", text),
            Err(error) => {
                let encoded = base64::engine::general_purpose::STANDARD.encode(error.as_bytes());
                ("binaryData", "data", encoded)
            }
        };
        map[part][&key] = json!(value);
        if let Some(entries) = map[other].as_object_mut() {
            entries.remove(&key);
        }
    }
}

fn start_postsubmits(world: &mut World, changed: &BTreeSet<String>) {
    let Some(config) = loaded(world, ROLE) else { return };
    let starts = |spec: &&JobSpec| match &spec.trigger {
        Trigger::Periodic { .. } => false,
        Trigger::Postsubmit { repo, run_if_changed } => {
            repo == REPOSITORY && changed.iter().any(|path| touches(run_if_changed, path))
        }
    };
    let due: Vec<JobSpec> = config.jobs.iter().filter(starts).cloned().collect();
    for spec in due {
        job::triggered(world, &spec, ROLE, &config.watched.prowjobs);
    }
}

/// `run_if_changed` is a regular expression in Prow; here an anchored or a free piece of a path, which is all that is needed.
fn touches(run_if_changed: &str, path: &str) -> bool {
    match run_if_changed.strip_prefix('^') {
        Some(start) => path.starts_with(start),
        None => path.contains(run_if_changed),
    }
}
