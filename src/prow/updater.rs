//! From the files of a revision to the ConfigMaps that Prow would make of all of them, as its bootstrapper does.
//!
//! What is random or unknown in Prow is not chosen here: the ConfigMaps concerned are left out, and a note in
//! [`Rendered::notes`] says so. `maps` holds what is to be said of the maps themselves.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::RepoAcl;
use super::glob::Match;
use super::gzip::deflate;
use super::plugins::{Map, Updater};
use crate::model::text::sanitize_line;
use crate::model::{
    Alias, CONFIG_MAP_LIMIT, DesiredConfigMap, DesiredEntry, Key, LeftOut, MapFact, MapNote, Quirk, Trouble,
};

mod maps;

/// The key in which Prow writes the commit. It differs between ConfigMaps without drift, so git never asks for it.
pub const VERSION_KEY: &str = "VERSION";

/// From this percentage of the limit on, a ConfigMap is near it.
pub const NEAR_PERCENT: usize = 90;

/// What a revision asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rendered {
    /// Ordered by cluster, namespace, name.
    pub config_maps: Vec<DesiredConfigMap>,
    /// What was left out and why, and what to be careful of.
    pub notes: Vec<MapNote>,
}

/// What decides beside the files.
#[derive(Debug, Clone, Copy, Default)]
pub struct Circumstances<'a> {
    /// Maps that name no namespace go there.
    pub prowjob_namespace: &'a str,
    /// What the deployed Prow makes of `allowed_repos` and `denied_repos`.
    pub acl: RepoAcl,
    /// `org/repo` of these files, where that is known.
    pub repository: Option<&'a str>,
    /// Path of plugins.yaml.
    pub plugins: &'a str,
    /// The bytes of names that are not UTF-8, by what stands for them among the paths.
    pub names: Option<&'a BTreeMap<String, Vec<u8>>>,
}

/// The bytes to store for a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes {
    pub stored: Vec<u8>,
    /// How many they are before gzip.
    pub raw: usize,
}

/// Gives what to store for a path, compressed where asked, or the reason why there is nothing.
pub type Content<'a> = dyn FnMut(&str, bool) -> Result<Bytes, Trouble> + 'a;

/// Renders files held in memory. Maps that name no namespace go to `prowjob_namespace`.
pub fn render(updater: &Updater, files: &BTreeMap<String, Vec<u8>>, prowjob_namespace: &str) -> Rendered {
    let circumstances = Circumstances { prowjob_namespace, ..Circumstances::default() };
    render_with(updater, files.keys().map(String::as_str), circumstances, &mut |path, gzip| match files.get(path) {
        Some(bytes) if gzip => Ok(Bytes { stored: deflate(bytes), raw: bytes.len() }),
        Some(bytes) => Ok(Bytes { stored: bytes.clone(), raw: bytes.len() }),
        None => Err(Trouble::Unread),
    })
}

/// Renders files whose content is fetched on demand, so that a caller can keep compressed bytes over many revisions.
pub fn render_with<'a>(
    updater: &Updater,
    paths: impl Iterator<Item = &'a str>,
    circumstances: Circumstances<'_>,
    content: &mut Content<'_>,
) -> Rendered {
    let mut rendering = Rendering {
        updater,
        circumstances,
        seen: updater.maps.iter().map(|_| Seen::default()).collect(),
        overlaps: BTreeMap::new(),
        partitions: BTreeSet::new(),
        left_out: BTreeSet::new(),
        dropped: Vec::new(),
        notes: Vec::new(),
    };
    let mut placements = Vec::new();
    for path in paths {
        placements.extend(rendering.place(path));
    }
    rendering.judge_maps();
    // As the bootstrapper walks, by bytes; what spells its namespace comes before what leaves it empty.
    let raw = |placement: &Placement| circumstances.names.and_then(|names| names.get(&placement.path)).cloned();
    placements.sort_by_cached_key(|placement| {
        let path = raw(placement).unwrap_or_else(|| placement.path.clone().into_bytes());
        let parts: Vec<Vec<u8>> = path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
        (!placement.spelled, parts)
    });
    let mut chosen = rendering.choose(placements);
    for target in std::mem::take(&mut rendering.partitions) {
        chosen.entry(target).or_default();
    }
    let config_maps = rendering.fill(chosen, content);
    Rendered { config_maps, notes: rendering.notes }
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
    /// Number of the map.
    map: usize,
}

impl Placement {
    /// The same value in the same place, whichever map it came by.
    fn is_like(&self, other: &Placement) -> bool {
        (&self.target, self.spelled, &self.key, self.gzip) == (&other.target, other.spelled, &other.key, other.gzip)
    }
}

/// What the files were to a map.
#[derive(Debug, Default)]
struct Seen {
    used: bool,
    too_short: usize,
    example: Option<String>,
}

/// What two maps want both.
#[derive(Debug, Default)]
struct Overlap {
    files: usize,
    example: String,
    targets: BTreeSet<Target>,
    /// Of the maps that are partitioned: written, even if empty, where one of these files comes to them.
    partitions: BTreeSet<Target>,
}

/// Whether a map is for this repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    Written,
    /// Its files are taken, and nothing is written.
    Swallowed,
    Unknown,
}

struct Rendering<'a> {
    updater: &'a Updater,
    circumstances: Circumstances<'a>,
    /// By map.
    seen: Vec<Seen>,
    /// By the numbers of two maps.
    overlaps: BTreeMap<(usize, usize), Overlap>,
    /// All partitions of the maps that have a file: the bootstrapper also writes those that none falls into.
    partitions: BTreeSet<Target>,
    left_out: BTreeSet<Target>,
    /// Files whose key another one takes. They are read all the same.
    dropped: Vec<Placement>,
    notes: Vec<MapNote>,
}

impl Rendering<'_> {
    /// Where a file goes. A file that several maps want goes where Go's map order sends it, that is, anywhere.
    fn place(&mut self, path: &str) -> Vec<Placement> {
        let mut wanted: Vec<(usize, Vec<Placement>)> = Vec::new();
        for (n, map) in self.updater.maps.iter().enumerate() {
            let seen = &mut self.seen[n];
            match map.glob.judge(path) {
                Match::Yes => {
                    seen.used = true;
                    wanted.push((n, self.placements(n, path)));
                }
                Match::TooShort => {
                    seen.too_short += 1;
                    seen.example.get_or_insert_with(|| sanitize_line(path));
                }
                Match::No => {}
            }
        }
        let alike = |one: &[Placement], other: &[Placement]| {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a.is_like(b))
        };
        let Some((first, placements)) = wanted.first() else {
            return Vec::new();
        };
        if let Some((other, _)) = wanted.iter().find(|(_, others)| !alike(others, placements)) {
            let overlap = self
                .overlaps
                .entry((*first, *other))
                .or_insert_with(|| Overlap { example: sanitize_line(path), ..Overlap::default() });
            overlap.files += 1;
            for (map, placements) in &wanted {
                overlap.targets.extend(placements.iter().map(|placement| placement.target.clone()));
                overlap.partitions.extend(partitions_beside(&self.updater.maps[*map], placements));
            }
            self.left_out.extend(overlap.targets.iter().cloned());
            return Vec::new();
        }
        let (map, placements) = wanted.swap_remove(0);
        self.partitions.extend(partitions_beside(&self.updater.maps[map], &placements));
        placements
    }

    fn placements(&self, map: usize, path: &str) -> Vec<Placement> {
        let (number, map) = (map, &self.updater.maps[map]);
        if self.admission(map) == Admission::Swallowed {
            return Vec::new();
        }
        let key = key_of(map, path);
        let raw = self.circumstances.names.and_then(|names| names.get(path)).filter(|_| map.key.is_empty());
        let name = match raw {
            Some(raw) => partition(map, &key_bytes(map, raw)),
            None => name_of(map, &key),
        };
        let gzip = self.updater.gzips(map);
        self.updater
            .targets(map)
            .into_iter()
            .map(|(cluster, namespace)| Placement {
                spelled: !namespace.is_empty(),
                target: (cluster, Key::new(self.namespace(namespace), name.clone())),
                key: key.clone(),
                path: path.to_owned(),
                gzip,
                map: number,
            })
            .collect()
    }

    fn namespace(&self, spelled: String) -> String {
        if spelled.is_empty() { self.circumstances.prowjob_namespace.to_owned() } else { spelled }
    }

    fn admission(&self, map: &Map) -> Admission {
        if !map.is_bound() {
            return Admission::Written;
        }
        let admitted = self.circumstances.repository.map(|repository| map.admits(repository));
        match (self.circumstances.acl, admitted) {
            (RepoAcl::Ignored, _) | (RepoAcl::Heeded | RepoAcl::Unknown, Some(true)) => Admission::Written,
            (RepoAcl::Heeded, Some(false)) => Admission::Swallowed,
            (RepoAcl::Heeded | RepoAcl::Unknown, None) | (RepoAcl::Unknown, Some(false)) => Admission::Unknown,
        }
    }

    /// One file a key: the last one wins.
    fn choose(&mut self, placements: Vec<Placement>) -> BTreeMap<Target, BTreeMap<String, Placement>> {
        let mut chosen: BTreeMap<Target, BTreeMap<String, Placement>> = BTreeMap::new();
        let mut versions = BTreeSet::new();
        // By map, key and the two paths: said once for all namespaces.
        let mut collisions: BTreeMap<(usize, String, String, String), Vec<Target>> = BTreeMap::new();
        for placement in placements {
            let keys = chosen.entry(placement.target.clone()).or_default();
            if placement.key == VERSION_KEY {
                if versions.insert(placement.path.clone()) {
                    let path = sanitize_line(&placement.path);
                    let target = placement.target.clone();
                    let note = self.note(&[placement.map], vec![target], Quirk::VersionKey { path });
                    self.notes.push(note);
                }
                self.dropped.push(placement);
                continue;
            }
            if bad_key(&placement.key) {
                if self.left_out.insert(placement.target.clone()) {
                    let (key, path) = (sanitize_line(&placement.key), sanitize_line(&placement.path));
                    let note = self.note(&[placement.map], vec![placement.target], LeftOut::BadKey { key, path });
                    self.notes.push(note);
                }
                continue;
            }
            let (key, path, map, target) =
                (placement.key.clone(), placement.path.clone(), placement.map, placement.target.clone());
            if let Some(before) = keys.insert(key.clone(), placement).filter(|before| before.path != path) {
                collisions.entry((map, key, before.path.clone(), path)).or_default().push(target);
                self.dropped.push(before);
            }
        }
        for ((map, key, dropped, taken), targets) in collisions {
            let [key, dropped, taken] = [key, dropped, taken].map(|text| sanitize_line(&text));
            let note = self.note(&[map], targets, MapFact::KeysCollide { key, dropped, taken });
            self.notes.push(note);
        }
        chosen
    }

    fn fill(
        &mut self,
        chosen: BTreeMap<Target, BTreeMap<String, Placement>>,
        content: &mut Content<'_>,
    ) -> Vec<DesiredConfigMap> {
        let mut config_maps = Vec::new();
        self.read_dropped(content);
        for (target, keys) in chosen {
            if self.left_out.contains(&target) {
                continue;
            }
            let maps: BTreeSet<usize> = keys.values().map(|placement| placement.map).collect();
            let maps: Vec<usize> = maps.into_iter().collect();
            if !is_config_map_name(&target.1.name) {
                let note = self.note(&maps, vec![target], LeftOut::BadName);
                self.notes.push(note);
                continue;
            }
            let mut entries = BTreeMap::new();
            let (mut stored, mut raw) = (0, 0);
            let mut broken = None;
            for (key, Placement { path, gzip, map, .. }) in keys {
                match content(&path, gzip) {
                    Ok(bytes) => {
                        stored += bytes.stored.len();
                        raw += bytes.raw;
                        entries.insert(key, DesiredEntry { path: sanitize_line(&path), bytes: bytes.stored, gzip });
                    }
                    Err(trouble) => {
                        broken = Some((map, LeftOut::Unreadable { path: sanitize_line(&path), trouble }));
                        break;
                    }
                }
            }
            let fits = stored <= CONFIG_MAP_LIMIT;
            let near = stored >= CONFIG_MAP_LIMIT / 100 * NEAR_PERCENT;
            let note = match broken {
                Some((map, why)) => Some(self.note(&[map], vec![target.clone()], why)),
                None if !fits => Some(self.note(&maps, vec![target.clone()], LeftOut::TooLarge { stored, raw })),
                None => {
                    let (cluster, key) = target.clone();
                    config_maps.push(DesiredConfigMap { cluster, key, entries });
                    near.then(|| self.note(&maps, vec![target], MapFact::NearLimit { stored, raw }))
                }
            };
            self.notes.extend(note);
        }
        config_maps
    }

    /// What Prow cannot read spoils the ConfigMap, also where another file would take its key.
    fn read_dropped(&mut self, content: &mut Content<'_>) {
        for Placement { target, path, gzip, map, .. } in std::mem::take(&mut self.dropped) {
            if let Err(trouble @ (Trouble::Folder | Trouble::NoWay)) = content(&path, gzip)
                && self.left_out.insert(target.clone())
            {
                let why = LeftOut::Unreadable { path: sanitize_line(&path), trouble };
                let note = self.note(&[map], vec![target], why);
                self.notes.push(note);
            }
        }
    }

    fn note(&self, maps: &[usize], targets: Vec<Target>, fact: impl Into<MapFact>) -> MapNote {
        let mut maps: Vec<_> = maps.iter().map(|n| self.updater.maps[*n].at()).collect();
        maps.sort();
        MapNote { maps, config_maps: targets, fact: fact.into() }
    }
}

/// All partitions of a map, wherever files of it go.
fn partitions_beside(map: &Map, placements: &[Placement]) -> Vec<Target> {
    let places = placements.iter().map(|placement| (&placement.target.0, &placement.target.1.namespace));
    let partitions = |(cluster, namespace): (&Alias, &String)| {
        let names = map.partitioned_names.iter();
        names.map(|name| (cluster.clone(), Key::new(namespace, name))).collect::<Vec<_>>()
    };
    places.flat_map(partitions).collect()
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
    partition(map, key.as_bytes())
}

/// As [`key_of`] of a name that is not UTF-8.
fn key_bytes(map: &Map, path: &[u8]) -> Vec<u8> {
    if map.use_full_path_as_key && map.cluster_groups.is_empty() {
        path.iter().map(|byte| if *byte == b'/' { b'-' } else { *byte }).collect()
    } else {
        path.rsplit(|byte| *byte == b'/').next().unwrap_or(path).to_vec()
    }
}

fn partition(map: &Map, key: &[u8]) -> String {
    if map.partitioned_names.is_empty() {
        return map.name.clone();
    }
    let byte = Sha256::digest(key)[0];
    map.partitioned_names[usize::from(byte) % map.partitioned_names.len()].clone()
}

/// True where the API server refuses a key; it then refuses the whole ConfigMap.
fn bad_key(key: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !(1..=253).contains(&key.len()) || !key.chars().all(allowed) || key == "." || key.starts_with("..")
}

/// A DNS subdomain.
fn is_config_map_name(name: &str) -> bool {
    let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| {
        let bytes = part.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        ends.iter().all(|end| end.is_some_and(|c| edge(*c))) && bytes.iter().all(|c| edge(*c) || *c == b'-')
    };
    name.len() <= 253 && name.split('.').all(part)
}

#[cfg(test)]
#[path = "updater_tests.rs"]
mod tests;
