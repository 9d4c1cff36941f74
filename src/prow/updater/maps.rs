//! What is to be said of the maps themselves, once all files are placed.

use std::collections::BTreeSet;

use super::{Admission, Overlap, Rendering, Target};
use crate::model::text::sanitize_line;
use crate::model::{Key, LeftOut, MapFact, MapNote, Quirk};
use crate::prow::RepoAcl;
use crate::prow::plugins::{Map, Updater};

impl Updater {
    /// The maps whose globs look into a folder, for what Prow does not see there: the files of a submodule, of a linked
    /// folder.
    pub fn notes_on_folder(&self, path: &str, quirk: &Quirk) -> Vec<MapNote> {
        let maps = self.maps.iter().filter(|map| map.glob.reaches_below(path));
        maps.map(|map| MapNote { maps: vec![map.at()], config_maps: Vec::new(), fact: MapFact::Quirk(quirk.clone()) })
            .collect()
    }
}

impl Rendering<'_> {
    /// Overlaps, maps that are not followed, maps that are about nothing, and what surprises.
    pub(super) fn judge_maps(&mut self) {
        for fault in self.updater.faults() {
            let fact = MapFact::Refused { message: sanitize_line(&fault.message) };
            self.notes.push(MapNote { maps: fault.maps, config_maps: Vec::new(), fact });
        }
        for ((first, other), Overlap { files, example, mut targets, partitions }) in std::mem::take(&mut self.overlaps)
        {
            // Whether these are written at all is left to chance, unless another file makes sure of it.
            targets.extend(partitions.into_iter().filter(|target| !self.partitions.contains(target)));
            self.left_out.extend(targets.iter().cloned());
            let targets = targets.into_iter().collect();
            let note = self.note(&[first, other], targets, MapFact::Overlap { files, example });
            self.notes.push(note);
        }
        for (n, map) in self.updater.maps.iter().enumerate() {
            self.judge_repositories(n, map);
            self.judge_files(n, map);
            for quirk in self.quirks(map) {
                let note = self.note(&[n], Vec::new(), quirk);
                self.notes.push(note);
            }
        }
    }

    /// `allowed_repos` and `denied_repos`.
    fn judge_repositories(&mut self, n: usize, map: &Map) {
        if !map.is_bound() {
            return;
        }
        let repository = self.circumstances.repository.map(sanitize_line);
        match self.admission(map) {
            Admission::Written if self.circumstances.acl == RepoAcl::Ignored => {
                let note = self.note(&[n], self.targets(map), Quirk::RepositoriesIgnored);
                self.notes.push(note);
            }
            Admission::Written => {}
            Admission::Swallowed => {
                let repository = repository.unwrap_or_default();
                let note = self.note(&[n], self.targets(map), LeftOut::OtherRepository { repository });
                self.notes.push(note);
            }
            Admission::Unknown => self.leave_out(n, map, LeftOut::BoundToRepositories { repository }),
        }
        if self.circumstances.acl != RepoAcl::Ignored && !map.allowed_repos.is_empty() {
            let note = self.note(&[n], self.targets(map), Quirk::BootstrapperSkips);
            self.notes.push(note);
        }
    }

    /// What matches, what nearly does, and where it would go.
    fn judge_files(&mut self, n: usize, map: &Map) {
        if map.names().next().is_none() {
            self.leave_out(n, map, LeftOut::NoName);
        } else if !self.seen[n].used {
            let names: BTreeSet<&String> = map.names().collect();
            let fed = self.updater.maps.iter().enumerate().any(|(other, feeder)| {
                other != n && self.seen[other].used && feeder.names().any(|name| names.contains(name))
            });
            let note = self.note(&[n], self.targets(map), MapFact::MatchesNothing { fed });
            self.notes.push(note);
        }
        let seen = &self.seen[n];
        if let Some(example) = seen.example.clone() {
            let quirk = Quirk::TooShort { files: seen.too_short, example, shortest: map.glob.shortest() };
            let note = self.note(&[n], Vec::new(), quirk);
            self.notes.push(note);
        }
    }

    fn quirks(&self, map: &Map) -> Vec<Quirk> {
        let grouped = !map.cluster_groups.is_empty() && map.clusters.is_empty();
        let lists = !map.allowed_repos.is_empty() || !map.denied_repos.is_empty();
        let gzips_plugins = self.updater.gzips(map) && map.glob.matches(self.circumstances.plugins);
        let all = [
            (map.glob.has_literal_braces(), Quirk::LiteralBraces),
            (grouped && map.use_full_path_as_key && map.key.is_empty(), Quirk::GroupsForgetFullPath),
            (grouped && lists, Quirk::GroupsForgetRepositories),
            (gzips_plugins, Quirk::GzipOnPlugins),
            (self.updater.targets(map).is_empty(), Quirk::WritesNowhere),
        ];
        let environment = map.glob.environment().map(|segment| Quirk::Environment { segment: sanitize_line(segment) });
        all.into_iter().filter_map(|(so, quirk)| so.then_some(quirk)).chain(environment).collect()
    }

    fn targets(&self, map: &Map) -> Vec<Target> {
        let mut targets = Vec::new();
        for (cluster, namespace) in self.updater.targets(map) {
            let namespace = self.namespace(namespace);
            targets.extend(map.names().map(|name| (cluster.clone(), Key::new(&namespace, name))));
        }
        targets
    }

    fn leave_out(&mut self, n: usize, map: &Map, why: LeftOut) {
        let targets = self.targets(map);
        self.left_out.extend(targets.iter().cloned());
        let unnamed = self.updater.targets(map).into_iter().map(|(cluster, namespace)| {
            let namespace = self.namespace(namespace);
            (cluster, Key::new(namespace, String::new()))
        });
        let unnamed: Vec<Target> = unnamed.collect();
        self.left_out.extend(unnamed);
        let note = self.note(&[n], targets, why);
        self.notes.push(note);
    }
}
