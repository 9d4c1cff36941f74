//! From the files of a revision to the ConfigMaps that Prow would make of all of them, as its bootstrapper does.
//!
//! What is random or unknown in Prow is not chosen here: the ConfigMaps concerned are left out, and a sentence in
//! [`Rendered::not_understood`] says so.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::gzip::deflate;
use super::plugins::{Map, Updater};
use crate::model::text::sanitize_line;
use crate::model::{Alias, DesiredConfigMap, DesiredEntry, Key};

/// The key in which Prow writes the commit. It differs between ConfigMaps without drift, so git never asks for it.
pub const VERSION_KEY: &str = "VERSION";

/// What a revision asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rendered {
    /// Ordered by cluster, namespace, name.
    pub config_maps: Vec<DesiredConfigMap>,
    /// Sentences: what was left out and why, and what to be careful of.
    pub not_understood: Vec<String>,
}

/// Renders files held in memory. Maps that name no namespace go to `prowjob_namespace`.
pub fn render(updater: &Updater, files: &BTreeMap<String, Vec<u8>>, prowjob_namespace: &str) -> Rendered {
    render_with(updater, files.keys().map(String::as_str), prowjob_namespace, &mut |path, gzip| match files.get(path) {
        Some(bytes) if gzip => Ok(deflate(bytes)),
        Some(bytes) => Ok(bytes.clone()),
        None => Err(format!("{path} is not there")),
    })
}

/// Gives the bytes to store for a path, compressed where asked, or the reason why there are none.
pub type Content<'a> = dyn FnMut(&str, bool) -> Result<Vec<u8>, String> + 'a;

/// Renders files whose content is fetched on demand, so that a caller can keep compressed bytes over many revisions.
pub fn render_with<'a>(
    updater: &Updater,
    paths: impl Iterator<Item = &'a str>,
    prowjob_namespace: &str,
    content: &mut Content<'_>,
) -> Rendered {
    let mut rendering = Rendering { updater, prowjob_namespace, left_out: BTreeSet::new(), said: Vec::new() };
    let mut used = vec![false; updater.maps.len()];
    let mut placements = Vec::new();
    for path in paths {
        placements.extend(rendering.place(path, &mut used));
    }
    rendering.judge_maps(&used);
    // As the bootstrapper walks; what spells its namespace comes before what leaves it empty.
    placements.sort_by(|a, b| b.spelled.cmp(&a.spelled).then_with(|| a.path.split('/').cmp(b.path.split('/'))));
    let empty = rendering.partitions_beside(&placements);
    let mut chosen = rendering.choose(placements);
    for target in empty {
        chosen.entry(target).or_default();
    }
    let config_maps = rendering.fill(chosen, content);
    Rendered { config_maps, not_understood: rendering.said }
}

/// A ConfigMap of a cluster.
type Target = (Alias, Key);

/// A file on its way into a key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Placement {
    target: Target,
    /// The map spells the namespace, rather than leaving it to `prowjob_namespace`.
    spelled: bool,
    key: String,
    path: String,
    gzip: bool,
}

struct Rendering<'a> {
    updater: &'a Updater,
    prowjob_namespace: &'a str,
    left_out: BTreeSet<Target>,
    said: Vec<String>,
}

impl Rendering<'_> {
    /// Where a file goes. A file that several maps want goes where Go's map order sends it, that is, anywhere.
    fn place(&mut self, path: &str, used: &mut [bool]) -> Vec<Placement> {
        let mut wanted: Vec<(&Map, Vec<Placement>)> = Vec::new();
        for (n, map) in self.updater.maps.iter().enumerate() {
            if map.glob.matches(path) {
                used[n] = true;
                wanted.push((map, self.placements(map, path)));
            }
        }
        let Some((first, placements)) = wanted.first() else {
            return Vec::new();
        };
        if let Some((other, others)) = wanted.iter().find(|(_, others)| others != placements) {
            self.said.push(format!(
                "{} is wanted by two maps, `{}` and `{}`, and Prow takes either at random: {} not judged",
                sanitize_line(path),
                sanitize_line(first.glob.pattern()),
                sanitize_line(other.glob.pattern()),
                names(placements.iter().chain(others).map(|placement| &placement.target)),
            ));
            let targets = wanted.iter().flat_map(|(_, placements)| placements).map(|p| p.target.clone());
            self.left_out.extend(targets);
            return Vec::new();
        }
        wanted.swap_remove(0).1
    }

    fn placements(&self, map: &Map, path: &str) -> Vec<Placement> {
        let key = key_of(map, path);
        if key == VERSION_KEY {
            return Vec::new();
        }
        let name = name_of(map, &key);
        let gzip = map.gzip.unwrap_or(self.updater.gzip);
        self.updater
            .targets(map)
            .into_iter()
            .map(|(cluster, namespace)| {
                let spelled = !namespace.is_empty();
                let namespace = if spelled { namespace } else { self.prowjob_namespace.to_owned() };
                Placement {
                    target: (cluster, Key::new(namespace, name.clone())),
                    spelled,
                    key: key.clone(),
                    path: path.to_owned(),
                    gzip,
                }
            })
            .collect()
    }

    /// All partitions of the maps that have a file: the bootstrapper also writes those that none falls into.
    fn partitions_beside(&self, placements: &[Placement]) -> BTreeSet<Target> {
        let mut targets = BTreeSet::new();
        for map in self.updater.maps.iter().filter(|map| !map.partitioned_names.is_empty()) {
            for (cluster, key) in placements.iter().map(|placement| &placement.target) {
                if self.goes_to(map, cluster, &key.namespace) && map.partitioned_names.contains(&key.name) {
                    let names = map.partitioned_names.iter();
                    targets.extend(names.map(|name| (cluster.clone(), Key::new(&key.namespace, name))));
                }
            }
        }
        targets
    }

    fn goes_to(&self, map: &Map, cluster: &Alias, namespace: &str) -> bool {
        let spelled =
            |wanted: &str| if wanted.is_empty() { self.prowjob_namespace == namespace } else { wanted == namespace };
        self.updater.targets(map).iter().any(|(alias, wanted)| alias == cluster && spelled(wanted))
    }

    /// Maps that are not followed at all, and maps that are about nothing.
    fn judge_maps(&mut self, used: &[bool]) {
        for (map, used) in self.updater.maps.iter().zip(used) {
            let pattern = sanitize_line(map.glob.pattern());
            if !map.allowed_repos.is_empty() || !map.denied_repos.is_empty() {
                self.leave_out(
                    map,
                    format!("the map `{pattern}` is bound to repositories (allowed_repos, denied_repos)"),
                );
            } else if map.name.is_empty() && map.partitioned_names.is_empty() {
                self.leave_out(map, format!("the map `{pattern}` names no ConfigMap"));
            } else if !used {
                self.said.push(format!(
                    "no file matches the map `{pattern}`: its ConfigMap {} keeps what it has",
                    sanitize_line(&map_name(map))
                ));
            }
        }
    }

    fn leave_out(&mut self, map: &Map, why: String) {
        let mut targets = Vec::new();
        for (cluster, namespace) in self.updater.targets(map) {
            let namespace = if namespace.is_empty() { self.prowjob_namespace.to_owned() } else { namespace };
            for name in std::iter::once(&map.name).chain(&map.partitioned_names) {
                targets.push((cluster.clone(), Key::new(namespace.clone(), name.clone())));
            }
        }
        let named = targets.iter().filter(|(_, key)| !key.name.is_empty());
        self.said.push(format!("{why}: {} not judged", names(named)));
        self.left_out.extend(targets);
    }

    /// One file a key: the last one wins.
    fn choose(&mut self, placements: Vec<Placement>) -> BTreeMap<Target, BTreeMap<String, Placement>> {
        let mut chosen: BTreeMap<Target, BTreeMap<String, Placement>> = BTreeMap::new();
        for placement in placements {
            if let Some(why) = bad_key(&placement.key) {
                if self.left_out.insert(placement.target.clone()) {
                    self.said.push(format!(
                        "{} would be key {} of ConfigMap {}, which the API server refuses ({why}): the ConfigMap is \
                         not judged",
                        sanitize_line(&placement.path),
                        sanitize_line(&placement.key),
                        sanitize_line(&placement.target.1.name),
                    ));
                }
                continue;
            }
            let keys = chosen.entry(placement.target.clone()).or_default();
            let (key, path) = (placement.key.clone(), placement.path.clone());
            if let Some(before) = keys.insert(key.clone(), placement) {
                self.said.push(format!(
                    "{} and {} are both key {} of ConfigMap {}: the last in the bootstrapper's order is taken, {}",
                    sanitize_line(&before.path),
                    sanitize_line(&path),
                    sanitize_line(&key),
                    sanitize_line(&before.target.1.name),
                    sanitize_line(&path),
                ));
            }
        }
        chosen
    }

    fn fill(
        &mut self,
        chosen: BTreeMap<Target, BTreeMap<String, Placement>>,
        content: &mut Content<'_>,
    ) -> Vec<DesiredConfigMap> {
        let mut config_maps = Vec::new();
        for (target, keys) in chosen {
            if self.left_out.contains(&target) {
                continue;
            }
            let mut entries = BTreeMap::new();
            let mut broken = None;
            for (key, Placement { path, gzip, .. }) in keys {
                match content(&path, gzip) {
                    Ok(bytes) => {
                        entries.insert(key, DesiredEntry { path: sanitize_line(&path), bytes, gzip });
                    }
                    Err(why) => broken = Some(why),
                }
            }
            let (cluster, key) = target;
            match broken {
                Some(why) => self.said.push(format!("{why}: ConfigMap {} not judged", sanitize_line(&key.name))),
                None => config_maps.push(DesiredConfigMap { cluster, key, entries }),
            }
        }
        config_maps
    }
}

pub(super) fn key_of(map: &Map, path: &str) -> String {
    if !map.key.is_empty() {
        map.key.clone()
    } else if map.use_full_path_as_key && map.cluster_groups.is_empty() {
        // Prow forgets use_full_path_as_key when it resolves cluster groups.
        path.replace('/', "-")
    } else {
        path.rsplit('/').next().unwrap_or(path).to_owned()
    }
}

pub(super) fn name_of(map: &Map, key: &str) -> String {
    if map.partitioned_names.is_empty() {
        return map.name.clone();
    }
    let byte = Sha256::digest(key.as_bytes())[0];
    map.partitioned_names[usize::from(byte) % map.partitioned_names.len()].clone()
}

fn map_name(map: &Map) -> String {
    if map.partitioned_names.is_empty() { map.name.clone() } else { map.partitioned_names.join(", ") }
}

/// Why the API server refuses a key; it then refuses the whole ConfigMap.
fn bad_key(key: &str) -> Option<&'static str> {
    if key.is_empty() || key.len() > 253 {
        Some("1 to 253 characters")
    } else if !key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
        Some("only letters, digits, `-`, `_` and `.`")
    } else if key == "." || key.starts_with("..") {
        Some("dots alone, or two in front")
    } else {
        None
    }
}

fn names<'a>(targets: impl Iterator<Item = &'a Target>) -> String {
    let names: BTreeSet<String> = targets.map(|(_, key)| sanitize_line(&key.to_string())).collect();
    match names.len() {
        0 => "its ConfigMaps are".to_owned(),
        1 => format!("ConfigMap {} is", names.into_iter().collect::<String>()),
        _ => format!("ConfigMaps {} are", names.into_iter().collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
#[path = "updater_tests.rs"]
mod tests;
