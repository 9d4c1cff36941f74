//! `plugins.yaml`: the part that `config_updater` is.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::Spanned;

use super::glob::{Glob, Match};
use super::updater::{key_of, name_of};
use super::yaml::{self, Text, YamlError, nullable};
use crate::model::text::sanitize_line;
use crate::model::{Alias, FieldAt, MapAt};

/// `config_updater` with Prow's defaults applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Updater {
    /// Ordered by glob.
    pub maps: Vec<Map>,
    /// What a map that does not say `gzip` does.
    pub gzip: bool,
    /// Where there is no `config_updater`, the field that may have been meant to be it. Prow ignores fields that it does not know.
    pub look_alike: Option<FieldAt>,
    cluster_groups: BTreeMap<String, ClusterGroup>,
}

/// One entry of `maps`.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    pub glob: Glob,
    /// Line of the glob, from 1; `None` for Prow's own defaults.
    pub line: Option<u64>,
    /// Empty where `partitioned_names` are used.
    pub name: String,
    pub partitioned_names: Vec<String>,
    /// All files go to this key; empty for none.
    pub key: String,
    pub use_full_path_as_key: bool,
    /// `None` where the global setting holds.
    pub gzip: Option<bool>,
    /// By cluster alias, the namespaces; an empty namespace means `prowjob_namespace`.
    pub clusters: BTreeMap<Alias, Vec<String>>,
    pub cluster_groups: Vec<String>,
    pub allowed_repos: Vec<String>,
    pub denied_repos: Vec<String>,
}

impl Map {
    /// What it is called when it is talked about.
    pub fn at(&self) -> MapAt {
        MapAt { line: self.line, glob: sanitize_line(self.glob.pattern()) }
    }

    /// The ConfigMaps' names.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.name).filter(|name| !name.is_empty()).chain(&self.partitioned_names)
    }

    /// True where it is only for some repositories. Prow forgets that when it resolves cluster groups.
    pub fn is_bound(&self) -> bool {
        self.cluster_groups.is_empty() && !(self.allowed_repos.is_empty() && self.denied_repos.is_empty())
    }

    /// True where a Prow that heeds the lists writes it from this repository (`org/repo`).
    pub fn admits(&self, repository: &str) -> bool {
        let org = repository.split('/').next().unwrap_or(repository);
        let names = |list: &[String]| list.iter().any(|name| name == repository || name == org);
        !names(&self.denied_repos) && (self.allowed_repos.is_empty() || names(&self.allowed_repos))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ClusterGroup {
    clusters: Vec<String>,
    namespaces: Vec<String>,
}

/// Why hook does not start on a `config_updater`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// In its words.
    pub message: String,
    /// The maps at fault.
    pub maps: Vec<MapAt>,
}

impl Updater {
    /// True where plugins.yaml configures no maps: these are Prow's own.
    pub fn has_no_maps_of_its_own(&self) -> bool {
        self.maps.iter().all(|map| map.line.is_none())
    }

    /// True where some map is about this path: a change of it changes a ConfigMap.
    pub fn wants(&self, path: &str) -> bool {
        self.maps.iter().any(|map| map.glob.matches(path))
    }

    /// The same, or some map would be if the path were longer.
    pub fn nearly_wants(&self, path: &str) -> bool {
        self.maps.iter().any(|map| map.glob.judge(path) != Match::No)
    }

    /// True where some map is about something in this folder, if there is such.
    pub fn looks_into(&self, folder: &str) -> bool {
        self.maps.iter().any(|map| map.glob.reaches_below(folder))
    }

    /// In which forms maps store a file of this path.
    pub fn stores(&self, path: &str) -> Stored {
        let mut stored = Stored::default();
        for map in self.maps.iter().filter(|map| map.glob.matches(path)) {
            let gzip = self.gzips(map);
            stored.gzip |= gzip;
            stored.plain |= !gzip;
        }
        stored
    }

    /// True where a map's values are compressed.
    pub fn gzips(&self, map: &Map) -> bool {
        map.gzip.unwrap_or(self.gzip)
    }

    /// Where a map's ConfigMaps go, cluster groups resolved.
    pub fn targets(&self, map: &Map) -> Vec<(Alias, String)> {
        let spelled = map
            .clusters
            .iter()
            .flat_map(|(cluster, namespaces)| namespaces.iter().map(|namespace| (cluster.clone(), namespace.clone())));
        let groups = map.cluster_groups.iter().filter_map(|group| self.cluster_groups.get(group));
        let grouped = groups.flat_map(|group| {
            group.clusters.iter().flat_map(|cluster| {
                group.namespaces.iter().map(|namespace| (Alias(cluster.clone()), namespace.clone()))
            })
        });
        let mut targets: Vec<(Alias, String)> = Vec::new();
        for target in spelled.chain(grouped) {
            // Named by two groups, it is written once.
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        targets
    }

    /// True where a file of this path becomes that key of a ConfigMap of that name.
    pub fn feeds(&self, path: &str, name: &str, key: &str) -> bool {
        self.maps.iter().any(|map| map.glob.matches(path) && key_of(map, path) == key && name_of(map, key) == name)
    }

    /// What hook refuses this `config_updater` for when it starts, in its words.
    pub fn refusals(&self) -> Vec<String> {
        self.faults().into_iter().map(|fault| fault.message).collect()
    }

    /// The same, with the maps at fault. hook tells one of them, at random.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |message: String, maps: Vec<MapAt>| faults.push(Fault { message, maps });
        let mut seen: BTreeMap<(String, &Alias, &str, String), &Map> = BTreeMap::new();
        for map in &self.maps {
            if !map.name.is_empty() && !map.partitioned_names.is_empty() {
                let message =
                    "'name' and 'partitioned_names' are mutually exclusive in the config_updater plugin configuration";
                fault(message.to_owned(), vec![map.at()]);
                continue;
            }
            if map.partitioned_names.len() > MAX_PARTITIONS {
                let message = format!(
                    "the PartitionedNames field in config_updater plugin config currently supports a maximum of \
                     {MAX_PARTITIONS} partitions, but you have {} defined",
                    map.partitioned_names.len()
                );
                fault(message, vec![map.at()]);
            }
            if let Some((message, other)) = repeated_key(map, &mut seen) {
                let mut maps = vec![other.at(), map.at()];
                maps.sort();
                maps.dedup();
                fault(message, maps);
            }
        }
        for map in &self.maps {
            let pattern = map.glob.pattern();
            if !map.clusters.is_empty() && !map.cluster_groups.is_empty() {
                fault(format!("item maps.{pattern} contains both clusters and cluster_groups"), vec![map.at()]);
                continue;
            }
            for (n, group) in map.cluster_groups.iter().enumerate() {
                if !self.cluster_groups.contains_key(group) {
                    let message = format!(
                        "item maps.{pattern}.cluster_groups.{n} references inexistent cluster group named {group}"
                    );
                    fault(message, vec![map.at()]);
                }
            }
        }
        faults
    }
}

/// In which forms a file is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    pub plain: bool,
    pub gzip: bool,
}

/// Prow picks the partition by one byte.
const MAX_PARTITIONS: usize = 256;

/// Two maps that write the same key of the same ConfigMap, where "key" is the basename of the *glob*; or one that does so
/// twice.
fn repeated_key<'a>(
    map: &'a Map,
    seen: &mut BTreeMap<(String, &'a Alias, &'a str, String), &'a Map>,
) -> Option<(String, &'a Map)> {
    let name = if map.name.is_empty() { map.partitioned_names.join(",") } else { map.name.clone() };
    let key = if map.key.is_empty() { base_of_glob(map.glob.pattern()) } else { map.key.clone() };
    for (cluster, namespaces) in &map.clusters {
        for namespace in namespaces {
            if let Some(other) = seen.insert((name.clone(), cluster, namespace, key.clone()), map) {
                return Some((format!("key {key} in configmap {name} updated with more than one file"), other));
            }
        }
    }
    None
}

/// Go's `path.Base`.
fn base_of_glob(pattern: &str) -> String {
    let trimmed = pattern.trim_end_matches('/');
    match (pattern.is_empty(), trimmed.is_empty()) {
        (true, _) => ".".to_owned(),
        (false, true) => "/".to_owned(),
        (false, false) => trimmed.rsplit('/').next().unwrap_or(trimmed).to_owned(),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawPlugins {
    config_updater: Option<RawUpdater>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawUpdater {
    maps: Option<RawMaps>,
    #[serde(deserialize_with = "nullable")]
    gzip: bool,
    cluster_groups: Option<BTreeMap<String, Option<RawGroup>>>,
}

/// Globs with their lines.
#[derive(Debug, Default)]
struct RawMaps(BTreeMap<String, (u64, Option<RawMap>)>);

impl<'de> Deserialize<'de> for RawMaps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapsVisitor;
        impl<'de> Visitor<'de> for MapsVisitor {
            type Value = RawMaps;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("maps of a glob each")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawMaps, A::Error> {
                let mut maps = BTreeMap::new();
                while let Some(glob) = access.next_key::<Spanned<String>>()? {
                    let line = glob.referenced.line();
                    maps.insert(glob.value, (line, access.next_value()?));
                }
                Ok(RawMaps(maps))
            }
        }
        deserializer.deserialize_map(MapsVisitor)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawMap {
    #[serde(deserialize_with = "nullable")]
    name: Text,
    partitioned_names: Option<Vec<Text>>,
    #[serde(deserialize_with = "nullable")]
    key: Text,
    #[serde(deserialize_with = "nullable")]
    use_full_path_as_key: bool,
    gzip: Option<bool>,
    clusters: Option<BTreeMap<String, Option<Vec<Text>>>>,
    cluster_groups: Option<Vec<Text>>,
    allowed_repos: Option<Vec<Text>>,
    denied_repos: Option<Vec<Text>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawGroup {
    clusters: Option<Vec<Text>>,
    namespaces: Option<Vec<Text>>,
}

/// Reads `plugins.yaml`. It is not gunzipped, because Prow does not either.
///
/// # Errors
/// Broken YAML, or a field of `config_updater` of the wrong shape.
pub fn parse_plugins(bytes: &[u8]) -> Result<Updater, YamlError> {
    if super::gzip::is_gzip(bytes) {
        return Err(YamlError::without_place(
            "control characters are not allowed: the value is gzip, and plugins.yaml is not gunzipped by Prow",
        ));
    }
    let raw: RawPlugins = yaml::parse(bytes)?;
    let look_alike = if raw.config_updater.is_none() { look_alike(bytes) } else { None };
    Ok(Updater { look_alike, ..updater(raw.config_updater.unwrap_or_default()) })
}

/// The field at the top that is nearest to `config_updater`, where one is near.
fn look_alike(bytes: &[u8]) -> Option<FieldAt> {
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(name, FIELD);
    let RawFields(fields) = yaml::parse(bytes).ok()?;
    let alike = fields.into_iter().filter(|(_, name)| name != FIELD && likeness(name) > ALIKE);
    let (line, name) = alike.max_by(|(_, one), (_, other)| likeness(one).total_cmp(&likeness(other)))?;
    Some(FieldAt { line, name: sanitize_line(&name) })
}

const FIELD: &str = "config_updater";
/// Up to three letters of it may be wrong.
const ALIKE: f64 = 0.75;

/// The fields at the top, with their lines.
#[derive(Debug, Default)]
struct RawFields(Vec<(u64, String)>);

impl<'de> Deserialize<'de> for RawFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = RawFields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("fields")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawFields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = access.next_key::<Spanned<String>>()? {
                    fields.push((field.referenced.line(), field.value));
                    access.next_value::<IgnoredAny>()?;
                }
                Ok(RawFields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// True where a file has a `config_updater` of its own: how plugins.yaml is told from other files of that name. A file
/// that does not parse has one if the word is in it.
pub fn has_config_updater(bytes: &[u8]) -> bool {
    match yaml::parse::<RawPlugins>(bytes) {
        Ok(raw) => raw.config_updater.is_some(),
        Err(_) => bytes.windows(WORD.len()).any(|window| window == WORD),
    }
}

const WORD: &[u8] = b"config_updater:";

fn updater(raw: RawUpdater) -> Updater {
    let mut maps: Vec<Map> = raw
        .maps
        .unwrap_or_default()
        .0
        .into_iter()
        .map(|(pattern, (line, spec))| map(&pattern, Some(line), spec.unwrap_or_default()))
        .collect();
    if maps.is_empty() {
        for (pattern, name) in [("config/prow/config.yaml", "config"), ("config/prow/plugins.yaml", "plugins")] {
            maps.push(map(pattern, None, RawMap { name: Text(name.to_owned()), ..RawMap::default() }));
        }
    }
    let cluster_groups = raw.cluster_groups.unwrap_or_default().into_iter().map(|(name, group)| {
        let group = group.unwrap_or_default();
        (name, ClusterGroup { clusters: texts(group.clusters), namespaces: texts(group.namespaces) })
    });
    Updater { maps, gzip: raw.gzip, look_alike: None, cluster_groups: cluster_groups.collect() }
}

fn map(pattern: &str, line: Option<u64>, raw: RawMap) -> Map {
    let cluster_groups = texts(raw.cluster_groups);
    let mut clusters: BTreeMap<Alias, Vec<String>> = raw
        .clusters
        .unwrap_or_default()
        .into_iter()
        .map(|(cluster, namespaces)| (Alias(cluster), texts(namespaces)))
        .collect();
    if clusters.is_empty() && cluster_groups.is_empty() {
        clusters.insert(Alias::service(), vec![String::new()]);
    }
    Map {
        glob: Glob::new(pattern),
        line,
        name: raw.name.0,
        partitioned_names: texts(raw.partitioned_names),
        key: raw.key.0,
        use_full_path_as_key: raw.use_full_path_as_key,
        gzip: raw.gzip,
        clusters,
        cluster_groups,
        allowed_repos: texts(raw.allowed_repos),
        denied_repos: texts(raw.denied_repos),
    }
}

fn texts(raw: Option<Vec<Text>>) -> Vec<String> {
    raw.unwrap_or_default().into_iter().map(|text| text.0).collect()
}

#[cfg(test)]
#[path = "plugins_tests.rs"]
mod tests;
