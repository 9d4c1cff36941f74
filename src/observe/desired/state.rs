//! The files of one revision.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::store::{Need, Store};
use crate::git::{Commit, EntryKind, Repository, TreeEntry};
use crate::model::text::sanitize_line;
use crate::model::{Failure, FailureKind, Revision};
use crate::prow::plugins::has_config_updater;

/// Where plugins.yaml usually is, likeliest first.
const USUAL: [&str; 3] = ["config/prow/plugins.yaml", "prow/plugins.yaml", "plugins.yaml"];

/// Files by path. Cheap to copy; of an older revision it knows only what lies below the folders that were listed.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// Path of plugins.yaml.
    pub(super) plugins: String,
    pub(super) files: BTreeMap<Arc<str>, File>,
    /// The bytes of paths that are not UTF-8, by what stands for them.
    pub(super) names: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) kind: EntryKind,
    /// What the repository knows the content by.
    pub(super) id: Arc<str>,
}

impl State {
    /// All files of a revision; finds plugins.yaml, unless its path is given.
    pub(super) async fn find(
        repository: &Repository,
        revision: &Revision,
        plugins: Option<&str>,
        store: &mut Store,
    ) -> Result<Self, Failure> {
        let place = format!("{} at {}", repository.shown(), revision.short());
        let mut state = Self::at(repository, revision, plugins.unwrap_or_default()).await?;
        if let Some(path) = plugins {
            if state.files.contains_key(path) {
                return Ok(state);
            }
            return Err(no_such_file(path, &place));
        }
        let named: Vec<(&str, &File)> = state.named_plugins();
        // Whether it has a `config_updater` decides only between several.
        if let [(only, _)] = named.as_slice() {
            state.plugins = (*only).to_owned();
            return Ok(state);
        }
        let needs = named.iter().map(|(_, file)| (file.id.clone(), Need::to_read())).collect();
        store.load(repository, needs, 0).await?;
        let is_it = |file: &File| store.plain(&file.id).is_some_and(has_config_updater);
        let found: Vec<(&str, bool)> = named.iter().map(|(path, file)| (*path, is_it(file))).collect();
        state.plugins = choose_plugins(&found, &place)?;
        Ok(state)
    }

    /// All files of a revision, for a plugins.yaml that may not be there.
    pub(super) async fn at(repository: &Repository, revision: &Revision, plugins: &str) -> Result<Self, Failure> {
        let tree = repository.tree(revision).await?;
        let file = |entry: &TreeEntry| File { kind: entry.kind, id: Arc::from(entry.id.as_str()) };
        let mut files: BTreeMap<Arc<str>, File> =
            tree.entries.iter().map(|entry| (Arc::from(entry.path.as_str()), file(entry))).collect();
        let mut names = BTreeMap::new();
        for (raw, entry) in tree.hostile {
            if let Entry::Vacant(place) = files.entry(Arc::from(entry.path.as_str())) {
                place.insert(file(&entry));
                names.insert(entry.path, raw);
            }
        }
        Ok(State { plugins: plugins.to_owned(), files, names })
    }

    fn named_plugins(&self) -> Vec<(&str, &File)> {
        let is_named = |path: &str| path.rsplit('/').next().is_some_and(|name| name == "plugins.yaml");
        let plain = |file: &File| file.kind == EntryKind::File;
        self.files
            .iter()
            .map(|(path, file)| (&**path, file))
            .filter(|(path, file)| is_named(path) && plain(file))
            .collect()
    }

    /// The content of plugins.yaml, by id.
    pub(super) fn plugins_id(&self) -> Option<&Arc<str>> {
        self.files.get(self.plugins.as_str()).map(|file| &file.id)
    }

    /// Forgets all that lies outside of these folders and files; nothing where there are none.
    pub(super) fn keep_below(&mut self, roots: &[String]) {
        if !roots.is_empty() {
            self.files.retain(|path, _| roots.iter().any(|root| is_below(path, root)));
        }
    }

    /// Goes back before a commit.
    pub(super) fn undo(&mut self, commit: &Commit) {
        for change in &commit.changes {
            match &change.before {
                Some((kind, id)) => {
                    let file = File { kind: *kind, id: Arc::from(id.as_str()) };
                    self.files.insert(Arc::from(change.path.as_str()), file);
                }
                None => {
                    self.files.remove(change.path.as_str());
                }
            }
        }
    }

    /// True where something lies below that path.
    pub(super) fn has_folder(&self, path: &str) -> bool {
        let below = format!("{path}/");
        let from = (std::ops::Bound::Included(below.as_str()), std::ops::Bound::Unbounded);
        self.files.range::<str, _>(from).next().is_some_and(|(path, _)| path.starts_with(&below))
    }
}

/// True where a path is that folder (or file), or lies in it. The empty folder holds everything.
pub(super) fn is_below(path: &str, folder: &str) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The plugins.yaml of this Prow among files of that name; the flag says whether it has a `config_updater`.
fn choose_plugins(found: &[(&str, bool)], place: &str) -> Result<String, Failure> {
    let with: Vec<&str> = found.iter().filter(|(_, updater)| *updater).map(|(path, _)| *path).collect();
    let all: Vec<&str> = found.iter().map(|(path, _)| *path).collect();
    for paths in [&with, &all] {
        if let [only] = paths.as_slice() {
            return Ok((*only).to_owned());
        }
        if let Some(usual) = USUAL.iter().find(|usual| paths.contains(usual)) {
            return Ok((*usual).to_owned());
        }
        if !paths.is_empty() {
            let shown = paths.iter().take(5).map(|path| sanitize_line(path)).collect::<Vec<_>>().join(", ");
            return Err(Failure::new(FailureKind::Usage, format!("{} files could be plugins.yaml", paths.len()))
                .cause(format!("{place}: {shown}"))
                .hint("say which one with --plugin-config PATH"));
        }
    }
    Err(Failure::new(FailureKind::Usage, format!("no plugins.yaml in {place}"))
        .cause("without it nothing tells which files make which ConfigMaps")
        .hint("is that the repository of Prow's configuration? Give it with --repo PATH, or the file with --plugin-config PATH"))
}

fn no_such_file(path: &str, place: &str) -> Failure {
    Failure::new(FailureKind::Usage, format!("no {} in {place}", sanitize_line(path)))
        .hint("the path is meant from the repository's root: --plugin-config config/prow/plugins.yaml")
}
