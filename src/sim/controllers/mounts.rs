//! The files of pods: what must be there before a container starts, and ConfigMaps that reach running pods with a delay.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use jiff::SignedDuration;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::super::agenda::Item;
use super::super::object::{ObjectKey, Resource, items, text};
use super::super::prow;
use super::super::store::Store;
use super::super::world::World;
use super::life::Files;

/// A kubelet looks at a pod's volumes about once a minute.
const SOONEST: i64 = 30;
const SPREAD: i64 = 60;

/// Something that a pod mounts.
struct Source {
    volume: String,
    resource: Resource,
    name: String,
    optional: bool,
}

fn sources(spec: &Value) -> Vec<Source> {
    let mut found = Vec::new();
    for volume in items(spec, "/volumes") {
        let name = text(volume, "/name");
        let mut add = |holder: &Value, field: &str, key: &str, resource: Resource| {
            let source = &holder[field];
            if let Some(named) = source[key].as_str() {
                let optional = source["optional"] == true;
                found.push(Source { volume: name.to_owned(), resource, name: named.to_owned(), optional });
            }
        };
        add(volume, "configMap", "name", Resource::ConfigMap);
        add(volume, "secret", "secretName", Resource::Secret);
        for source in items(volume, "/projected/sources") {
            add(source, "configMap", "name", Resource::ConfigMap);
            add(source, "secret", "name", Resource::Secret);
        }
    }
    found
}

/// What keeps the pod from starting, in the kubelet's words.
pub fn missing(store: &Store, namespace: &str, spec: &Value) -> Vec<String> {
    let is_missing =
        |source: &Source| !source.optional && store.find(source.resource, namespace, &source.name).is_none();
    sources(spec)
        .into_iter()
        .filter(is_missing)
        .map(|source| {
            let kind = source.resource.facts().kind.to_lowercase();
            format!("MountVolume.SetUp failed for volume \"{}\" : {kind} \"{}\" not found", source.volume, source.name)
        })
        .collect()
}

/// The ConfigMaps of a pod as they are now.
pub fn maps(store: &Store, namespace: &str, spec: &Value) -> BTreeMap<String, Files> {
    let wanted = sources(spec).into_iter().filter(|source| source.resource == Resource::ConfigMap);
    wanted
        .filter_map(|source| {
            let map = store.find(Resource::ConfigMap, namespace, &source.name)?;
            Some((source.name, files(map)))
        })
        .collect()
}

/// The values of a ConfigMap.
pub fn files(map: &Value) -> Files {
    let entries = |part: &str| map[part].as_object().into_iter().flatten();
    let plain =
        entries("data").map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().as_bytes().to_vec()));
    let binary = entries("binaryData").filter_map(|(key, value)| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(value.as_str()?).ok()?;
        Some((key.clone(), bytes))
    });
    Arc::new(plain.chain(binary).collect())
}

/// Pods that mount it will see it, each in its time.
pub fn map_changed(world: &mut World, cluster: &str, key: &ObjectKey) {
    let now = world.now();
    let Some(found) = world.clusters.get(cluster) else { return };
    let readers: Vec<String> = found
        .lives
        .iter()
        .filter(|(_, life)| life.key.namespace == key.namespace && life.maps.contains_key(&key.name))
        .map(|(uid, _)| uid.clone())
        .collect();
    for uid in readers {
        let spread = i64::from(Sha256::digest(uid.as_bytes())[0]) % SPREAD;
        let at = now + SignedDuration::from_secs(SOONEST + spread);
        world.agenda.at(at, Item::Refresh(cluster.to_owned(), uid, key.name.clone()));
    }
}

/// A pod's files are those of the ConfigMap from now on.
pub fn refresh(world: &mut World, cluster: &str, pod: &str, map: &str) {
    let Some(found) = world.clusters.get_mut(cluster) else { return };
    let Some(life) = found.lives.get_mut(pod) else { return };
    let Some(held) = life.maps.get_mut(map) else { return };
    // Of a map that is gone a running pod keeps the files.
    let Some(now) = found.store.find(Resource::ConfigMap, &life.key.namespace, map) else { return };
    let files = files(now);
    if *held == files {
        return;
    }
    *held = files;
    if life.is_running() {
        prow::component::reload(world, cluster, pod, map);
    }
}
