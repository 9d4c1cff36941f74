//! Which of the live ConfigMaps matter to Prow. Others in its namespace, such as the locks of leaders, change every few seconds
//! and tell nothing.

use std::collections::BTreeMap;

use crate::model::{Component, ConfigMapState, Key};
use crate::prow::{ConfigFile, ConfigFiles};

/// The ConfigMaps that a component mounts, or that Prow's configuration is taken to lie in, each with its version.
pub fn versions_read(maps: &BTreeMap<Key, ConfigMapState>, components: &[Component]) -> Vec<String> {
    let files = ConfigFiles::of_components(components.iter());
    let is_file = |file: &ConfigFile, key: &Key| {
        let named = &file.config_map;
        named.name == key.name && (named.namespace.is_empty() || named.namespace == key.namespace)
    };
    let is_read = |key: &Key| {
        components.iter().any(|component| component.mounts.iter().any(|mount| mount.config_map == *key))
            || [&files.config, &files.plugins].into_iter().chain(&files.job_config).any(|file| is_file(file, key))
    };
    let read = maps.values().filter(|map| is_read(&map.key));
    read.map(|map| format!("{} {} {}", map.key, map.uid, map.resource_version)).collect()
}
