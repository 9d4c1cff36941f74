//! States to ConfigMaps and objections. Remembers files, parsed plugins.yamls and renderings between revisions.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::links::{Content, Followed, follow};
use super::shelf::Shelf;
use super::state::{State, is_below};
use super::store::{Need, Store};
use super::{DesiredOptions, Reading};
use crate::git::{Commit, EntryKind, Repository};
use crate::model::text::sanitize_line;
use crate::model::{
    Candidate, DesiredConfigMap, Failure, MapFact, MapNote, Mapping, Objection, Quirk, Revision, Trouble, Unrendered,
    sha256_hex,
};
use crate::prow::config::{parse_config, prowjob_namespace_of_broken};
use crate::prow::layout::{LaidFile, ReadAs};
use crate::prow::load::ConfigFile;
use crate::prow::plugins::{Map, Updater, parse_plugins};
use crate::prow::updater::{Circumstances, render_with};
use crate::prow::{ConfigFiles, Judge, Layout, ReadFiles, RepoAcl};

/// A symlink is read only when what leads to it is: so many may hang on each other.
const ROUNDS: usize = 41;

pub(super) struct Renderer<'a> {
    repository: &'a Repository,
    options: &'a DesiredOptions,
    /// `org/repo` of the repository; asked for when a map is bound to some.
    origin: Option<Option<String>>,
    store: Store,
    updaters: HashMap<Arc<str>, Arc<Result<Updater, String>>>,
    /// `prowjob_namespace` of each config.yaml, by id.
    namespaces: HashMap<Arc<str>, String>,
    read: ReadFiles,
    judge: Option<Judge>,
    rendered: Vec<(Signature, Rendered)>,
    /// Of those, by index.
    judged: HashMap<usize, Judged>,
}

/// What a reading can take over from the one before it: contents, and what was understood of them.
#[derive(Default)]
pub(super) struct Kept {
    origin: Option<Option<String>>,
    store: Store,
    updaters: HashMap<Arc<str>, Arc<Result<Updater, String>>>,
    namespaces: HashMap<Arc<str>, String>,
    read: ReadFiles,
    rendered: Vec<(Signature, Rendered)>,
}

impl Kept {
    /// What an earlier process left.
    pub(super) async fn from_shelf(folder: &Path) -> Self {
        let Shelf { contents, read } = Shelf::load(folder).await;
        Kept { store: Store::with(contents), read, ..Kept::default() }
    }

    /// Leaves it for a later one.
    pub(super) async fn put_on_shelf(&self, folder: &Path) {
        let shelf = Shelf { contents: self.store.packed(), read: self.read.clone() };
        shelf.store(folder.to_owned()).await;
    }
}

/// What a rendering depends on.
#[derive(Debug, PartialEq, Eq)]
struct Signature {
    plugins: Option<Arc<str>>,
    namespace: String,
    /// Paths, and what lies at their end.
    files: Vec<(Arc<str>, Content)>,
    /// What is no file and yet in a map's way.
    folders: Vec<(Arc<str>, Quirk)>,
    /// Where maps are bound to repositories: whether Prow heeds that.
    acl: Option<RepoAcl>,
}

impl Signature {
    fn contents(&self) -> BTreeMap<&str, &Content> {
        self.files.iter().map(|(path, content)| (&**path, content)).collect()
    }
}

/// What a state asks for, or why that cannot be told.
#[derive(Debug)]
struct Rendered {
    config_maps: Result<Arc<Vec<DesiredConfigMap>>, Unrendered>,
    notes: Vec<MapNote>,
}

/// What is to be said of that, for what is deployed.
#[derive(Debug, Clone)]
struct Judged {
    objections: Vec<Objection>,
    content: Option<String>,
}

impl<'a> Renderer<'a> {
    /// With what an earlier process left.
    pub(super) async fn open(repository: &'a Repository, options: &'a DesiredOptions) -> Self {
        let kept = match &options.cache {
            Some(folder) => Kept::from_shelf(folder).await,
            None => Kept::default(),
        };
        Self::with(kept, repository, options)
    }

    /// With what an earlier reading left.
    pub(super) fn with(kept: Kept, repository: &'a Repository, options: &'a DesiredOptions) -> Self {
        let Kept { origin, store, updaters, namespaces, read, rendered } = kept;
        let (judge, judged) = (None, HashMap::new());
        Renderer { repository, options, origin, store, updaters, namespaces, read, judge, rendered, judged }
    }

    /// How much was read so far; who has read more than that has something to leave.
    pub(super) fn amount(&self) -> (usize, usize) {
        let read = self.judge.as_ref().map_or(&self.read, Judge::read_files);
        (self.store.asked(), read.len())
    }

    pub(super) fn keep(self) -> Kept {
        let read = self.judge.map_or(self.read, |judge| judge.read_files().clone());
        let Renderer { origin, store, updaters, namespaces, rendered, .. } = self;
        Kept { origin, store, updaters, namespaces, read, rendered }
    }

    /// All files of a revision; finds plugins.yaml among them.
    pub(super) async fn find(&mut self, revision: &Revision) -> Result<State, Failure> {
        State::find(self.repository, revision, self.options.plugin_config.as_deref(), &mut self.store).await
    }

    /// Reads the plugins.yaml of a state, and all that commits made of it.
    pub(super) async fn load_plugins(&mut self, state: &State, commits: &[Commit]) -> Result<(), Failure> {
        let sides = commits.iter().flat_map(|commit| &commit.changes).filter(|change| change.path == state.plugins);
        let changed = sides.filter_map(|change| change.before.as_ref()).map(|(_, id)| Arc::from(id.as_str()));
        let ids: BTreeSet<Arc<str>> = changed.chain(state.plugins_id().cloned()).collect();
        let needs = ids.iter().map(|id| (id.clone(), Need::to_read())).collect();
        self.store.load(self.repository, needs, 0).await?;
        for id in ids {
            if let (Some(bytes), Entry::Vacant(place)) = (self.store.plain(&id), self.updaters.entry(id.clone())) {
                let parsed = parse_plugins(bytes)
                    .map_err(|error| format!("error unmarshalling {}: {error}", sanitize_line(&state.plugins)));
                place.insert(Arc::new(parsed));
            }
        }
        let mut known = self.updaters.values().filter_map(|updater| updater.as_ref().as_ref().ok());
        if self.origin.is_none() && known.any(|updater| updater.maps.iter().any(Map::is_bound)) {
            self.origin = Some(self.repository.origin().await);
        }
        Ok(())
    }

    /// Reads all files that the maps of these states want, with one call for most.
    pub(super) async fn load_files(&mut self, states: &[&State]) -> Result<(), Failure> {
        for _ in 0..ROUNDS {
            let mut missing: BTreeMap<Arc<str>, Need> = BTreeMap::new();
            let mut config_maps = BTreeSet::new();
            for state in states {
                let Some(updater) = self.updater(state.plugins_id()) else { continue };
                let mut miss = |path: &str, need: Need| match self.follow(state, path).content {
                    Content::Blob(id) if !self.store.has(&id) => missing.entry(id).or_default().add(need),
                    Content::Unread(id) => missing.entry(id).or_default().add(Need::to_read()),
                    Content::Blob(_) | Content::Nothing(_) => {}
                };
                if let Some(path) = self.config_path(state) {
                    miss(&path, Need::to_read());
                }
                let Ok(updater) = updater.as_ref() else { continue };
                for path in wanted(updater, state).filter(|path| updater.wants(path)) {
                    miss(path, Need { read: false, stored: updater.stores(path) });
                }
                for (link, _) in in_the_way(updater, state, EntryKind::Symlink) {
                    miss(link, Need::to_read());
                }
                config_maps.extend(updater.maps.iter().flat_map(|map| map.names().cloned()));
            }
            if missing.is_empty() {
                break;
            }
            self.store.load(self.repository, missing, config_maps.len()).await?;
        }
        Ok(())
    }

    fn updater(&self, plugins: Option<&Arc<str>>) -> Option<Arc<Result<Updater, String>>> {
        self.updaters.get(plugins?).cloned()
    }

    /// The file that tells `prowjob_namespace`: as given, else the one that becomes config.yaml's key, else the
    /// neighbour of plugins.yaml.
    fn config_path(&self, state: &State) -> Option<String> {
        if let Some(path) = &self.options.config_path {
            return Some(path.clone());
        }
        let config = &self.options.files.config;
        let key = config.key.as_deref().unwrap_or("config.yaml");
        if let Some(updater) = self.updater(state.plugins_id())
            && let Ok(updater) = &*updater
            && let Some(path) = state.files.keys().find(|path| updater.feeds(path, &config.config_map.name, key))
        {
            return Some(path.to_string());
        }
        let folder = state.plugins.rfind('/').map_or("", |slash| &state.plugins[..=slash]);
        Some(format!("{folder}config.yaml")).filter(|path| state.files.contains_key(path.as_str()))
    }

    fn follow(&self, state: &State, path: &str) -> Followed {
        follow(state, path, |id| self.store.plain(id))
    }

    /// Paths of the state that are links which a map wants, with all that they lead over.
    fn links(&self, state: &State) -> BTreeSet<String> {
        let Some(updater) = self.updater(state.plugins_id()) else { return BTreeSet::new() };
        let Ok(updater) = updater.as_ref() else { return BTreeSet::new() };
        let links = state.files.iter().filter(|(path, file)| file.kind == EntryKind::Symlink && updater.wants(path));
        links.flat_map(|(path, _)| self.follow(state, path).way).collect()
    }

    /// The folders and files outside of which nothing matters to this state's maps; none for everything.
    pub(super) fn roots(&self, state: &State) -> Vec<String> {
        let Some(roots) = self.map_roots(state.plugins_id()) else {
            return Vec::new();
        };
        let settings = std::iter::once(state.plugins.clone()).chain(self.config_path(state));
        let all: BTreeSet<String> = roots.into_iter().chain(self.links(state)).chain(settings).collect();
        if all.contains("") {
            return Vec::new();
        }
        let inner = |root: &String| all.iter().any(|other| other != root && is_below(root, other));
        all.iter().filter(|root| !inner(root)).cloned().collect()
    }

    /// Roots of the globs; `None` where there are no maps to be read.
    fn map_roots(&self, plugins: Option<&Arc<str>>) -> Option<Vec<String>> {
        let updater = self.updater(plugins)?;
        let updater = updater.as_ref().as_ref().ok()?;
        // Nothing in a repository has such a path, and git refuses it.
        let outside = |root: &str| root.starts_with('/') || root.split('/').any(|part| part == "..");
        let roots = updater.maps.iter().map(|map| map.glob.literal_root().to_owned());
        Some(roots.filter(|root| !outside(root)).collect())
    }

    /// True where the maps of this plugins.yaml look nowhere outside of what was listed.
    pub(super) fn covered(&self, plugins: Option<&Arc<str>>, roots: &[String]) -> bool {
        let all = self.map_roots(plugins).unwrap_or_default();
        roots.is_empty() || all.iter().all(|root| roots.iter().any(|known| is_below(root, known)))
    }

    /// True where a commit changed what the maps before or after it are about. `state` is the one after it.
    pub(super) fn concerns(&self, commit: &Commit, state: &State) -> bool {
        let plugins = commit.changes.iter().find(|change| change.path == state.plugins);
        if plugins.is_some() {
            return true;
        }
        let config = self.config_path(state);
        let updater = self.updater(state.plugins_id());
        let wants =
            |path: &str| updater.as_ref().is_some_and(|updater| updater.as_ref().as_ref().is_ok_and(|u| u.wants(path)));
        let links = self.links(state);
        let concerned = |path: &str| config.as_deref() == Some(path) || wants(path) || links.contains(path);
        commit.changes.iter().any(|change| concerned(&change.path))
    }

    /// Renders and judges a state whose files are loaded.
    pub(super) fn render(&mut self, revision: &Revision, state: &State) -> Reading {
        let (namespace, note) = self.namespace(state);
        let updater = self.updater(state.plugins_id());
        let signature = self.signature(state, updater.as_deref(), namespace);
        let known = self.rendered.iter().position(|(known, _)| *known == signature);
        let at = known.unwrap_or_else(|| {
            let rendered = self.rendered(state, updater.as_deref(), &signature);
            self.rendered.push((signature, rendered));
            self.rendered.len() - 1
        });
        let Judged { objections, content } = self.judged(at);
        let rendered = &self.rendered[at].1;
        let candidate =
            Candidate { revision: revision.clone(), config_maps: rendered.config_maps.clone(), objections, content };
        let content = state.plugins_id().and_then(|id| self.store.plain(id)).unwrap_or_default().to_vec();
        let (plugins, notes) = (sanitize_line(&state.plugins), rendered.notes.clone());
        let mapping = Mapping { plugins, content: Arc::new(content), notes };
        let not_understood = note.into_iter().chain(self.no_jobs(&rendered.config_maps)).collect();
        Reading { candidate, mapping, not_understood }
    }

    /// That `--job-config-path` leads to nothing that Prow reads.
    fn no_jobs(&self, config_maps: &Result<Arc<Vec<DesiredConfigMap>>, Unrendered>) -> Option<String> {
        let (folder, config_maps) = (self.options.job_config_path.as_ref()?, config_maps.as_ref().ok()?);
        let mut entries = config_maps.iter().flat_map(|map| map.entries.values());
        (!entries.any(|entry| is_job_file(&entry.path, folder))).then(|| {
            format!("no file below {} becomes a ConfigMap key: --job-config-path is not heeded", sanitize_line(folder))
        })
    }

    fn signature(&self, state: &State, updater: Option<&Result<Updater, String>>, namespace: String) -> Signature {
        let mut signature = Signature {
            plugins: state.plugins_id().cloned(),
            namespace,
            files: Vec::new(),
            folders: Vec::new(),
            acl: None,
        };
        let Some(Ok(updater)) = updater else { return signature };
        signature.acl = updater.maps.iter().any(Map::is_bound).then_some(self.options.acl);
        signature.files =
            wanted(updater, state).map(|path| (Arc::from(path), self.follow(state, path).content)).collect();
        let links = in_the_way(updater, state, EntryKind::Symlink)
            .filter(|(link, _)| self.follow(state, link).content == Content::Nothing(Trouble::Folder))
            .map(|(link, path)| (link.clone(), Quirk::LinkedFolder { path }));
        let modules = in_the_way(updater, state, EntryKind::Submodule)
            .map(|(module, path)| (module.clone(), Quirk::Submodule { path }));
        signature.folders = links.chain(modules).collect();
        signature
    }

    fn rendered(&self, state: &State, updater: Option<&Result<Updater, String>>, signature: &Signature) -> Rendered {
        let refused = |why: String| Rendered { config_maps: Err(Unrendered::NoPlugins(why)), notes: Vec::new() };
        let updater = match updater {
            Some(Ok(updater)) => updater,
            Some(Err(why)) => return refused(why.clone()),
            None => return refused(format!("there is no {}", sanitize_line(&state.plugins))),
        };
        let contents = signature.contents();
        let mut content = |path: &str, gzip: bool| match contents.get(path) {
            Some(Content::Blob(id)) => self.store.bytes(id, gzip),
            Some(Content::Nothing(trouble)) => Err(trouble.clone()),
            Some(Content::Unread(_)) | None => Err(Trouble::Unread),
        };
        let circumstances = Circumstances {
            prowjob_namespace: &signature.namespace,
            acl: self.options.acl,
            repository: self.origin.as_ref().and_then(Option::as_deref),
            plugins: &state.plugins,
            names: Some(&state.names),
        };
        let rendered = render_with(updater, contents.keys().copied(), circumstances, &mut content);
        let mut notes = rendered.notes;
        for (path, quirk) in &signature.folders {
            notes.extend(updater.notes_on_folder(path, quirk));
        }
        if rendered.config_maps.is_empty() {
            let is_left_out = notes.iter().any(|note| matches!(note.fact, MapFact::NotRendered(_)));
            let why = match is_left_out {
                true => {
                    Unrendered::NotJudged("none of its ConfigMaps can be told; `config render` says why".to_owned())
                }
                false => Unrendered::MakesNone(why_none(updater, &state.plugins)),
            };
            return Rendered { config_maps: Err(why), notes };
        }
        if let Some(look_alike) = updater.look_alike.clone() {
            let fact = Quirk::NoMaps { look_alike }.into();
            notes.insert(0, MapNote { maps: Vec::new(), config_maps: Vec::new(), fact });
        }
        Rendered { config_maps: Ok(Arc::new(rendered.config_maps)), notes }
    }

    fn judged(&mut self, at: usize) -> Judged {
        if let Some(judged) = self.judged.get(&at) {
            return judged.clone();
        }
        let (signature, rendered) = &self.rendered[at];
        let config_maps = match &rendered.config_maps {
            Ok(config_maps) => config_maps,
            Err(why) => return self.refused(why),
        };
        let judge = self.judge.get_or_insert_with(|| {
            let judge = Judge::new(files_of(self.options, config_maps), self.options.rule);
            judge.with(std::mem::take(&mut self.read))
        });
        let contents = signature.contents();
        let mut content_of = |file: &LaidFile<'_>| {
            let map = config_maps.iter().find(|map| map.key == *file.config_map);
            let path = map.and_then(|map| map.entries.get(file.key)).map(|entry| entry.path.as_str());
            let known = match (file.read_as, path.and_then(|path| contents.get(path))) {
                (ReadAs::Inflated, Some(Content::Blob(id))) => self.store.sha256(id),
                (ReadAs::Inflated | ReadAs::Stored | ReadAs::Nothing, _) => None,
            };
            known.map_or_else(|| sha256_hex(&file.content()), str::to_owned)
        };
        let layout = Layout::of_desired(config_maps, judge.files());
        let content = layout.map(|layout| layout.digest_with(&mut content_of));
        let judged = Judged { content, objections: judge.desired(config_maps) };
        self.judged.insert(at, judged.clone());
        judged
    }

    /// Of what cannot be told.
    fn refused(&self, why: &Unrendered) -> Judged {
        let plugins = &self.options.files.plugins;
        let objection = Objection {
            message: why.to_string(),
            // Only a name that the components told has a namespace.
            config_map: Some(plugins.config_map.clone()).filter(|key| !key.namespace.is_empty()),
            config_key: plugins.key.clone(),
            repeats: None,
        };
        Judged { objections: vec![objection], content: None }
    }

    /// `prowjob_namespace` of a state, with a sentence where it is not sure.
    fn namespace(&mut self, state: &State) -> (String, Option<String>) {
        let default = || "default".to_owned();
        let Some(path) = self.config_path(state) else {
            let note = "config.yaml was not found: prowjob_namespace is taken to be `default`; say which file it is \
                        with --config-path PATH";
            return (default(), Some(note.to_owned()));
        };
        let known = match self.follow(state, &path).content {
            Content::Blob(id) => self.store.plain(&id).map(|bytes| (id.clone(), bytes)),
            Content::Unread(_) | Content::Nothing(_) => None,
        };
        let Some((id, bytes)) = known else {
            let note = format!("{} is not there: prowjob_namespace is taken to be `default`", sanitize_line(&path));
            return (default(), Some(note));
        };
        let namespace = self.namespaces.entry(id).or_insert_with(|| match parse_config(bytes) {
            Ok(config) => config.prowjob_namespace,
            // The file's own trouble is an objection.
            Err(_) => prowjob_namespace_of_broken(bytes).unwrap_or_else(default),
        });
        (namespace.clone(), None)
    }
}

/// Which ConfigMaps are Prow's configuration: where flags name files of the repository, the ConfigMaps made of them.
pub(super) fn files_of(options: &DesiredOptions, config_maps: &[DesiredConfigMap]) -> ConfigFiles {
    let mut files = options.files.clone();
    let made_of = |is: &dyn Fn(&str) -> bool| -> Vec<(ConfigFile, String)> {
        let entries = config_maps.iter().flat_map(|map| map.entries.iter().map(move |(key, entry)| (map, key, entry)));
        entries
            .filter(|(_, _, entry)| is(&entry.path))
            .map(|(map, key, _)| (ConfigFile::all_of(map.key.clone()), key.clone()))
            .collect()
    };
    let single = |path: &Option<String>| {
        let path = path.as_deref()?;
        let (file, key) = made_of(&|entry| entry == path).into_iter().next()?;
        Some(ConfigFile { key: Some(key), ..file })
    };
    files.config = single(&options.config_path).unwrap_or(files.config);
    files.plugins = single(&options.plugin_config).unwrap_or(files.plugins);
    if let Some(folder) = &options.job_config_path {
        let mut made: Vec<ConfigFile> = Vec::new();
        for (file, _) in made_of(&|entry| is_job_file(entry, folder)) {
            if !made.contains(&file) {
                made.push(file);
            }
        }
        if !made.is_empty() {
            files.job_config = made;
        }
    }
    files
}

/// Whether a path is in the folder of `--job-config-path`.
fn is_job_file(path: &str, folder: &str) -> bool {
    is_below(path, folder.trim_end_matches('/'))
}

/// Why no file makes a ConfigMap.
fn why_none(updater: &Updater, plugins: &str) -> String {
    if !updater.has_no_maps_of_its_own() {
        return "no file makes a ConfigMap".to_owned();
    }
    let meant = updater.look_alike.as_ref().map_or(String::new(), |field| {
        format!(" (is its field `{}`, line {}, meant to be `config_updater`?)", field.name, field.line)
    });
    format!(
        "no maps are configured in {}{meant}, and no file matches those that Prow has of its own",
        sanitize_line(plugins)
    )
}

/// The paths of a state that maps want.
fn wanted<'s>(updater: &'s Updater, state: &'s State) -> impl Iterator<Item = &'s str> {
    let files = state.files.iter().filter(|(_, file)| file.kind != EntryKind::Submodule).map(|(path, _)| &**path);
    files.filter(|path| updater.nearly_wants(path))
}

/// What is of this kind and lies where a map looks for files behind it; the path, also made readable.
fn in_the_way<'s>(
    updater: &'s Updater,
    state: &'s State,
    kind: EntryKind,
) -> impl Iterator<Item = (&'s Arc<str>, String)> {
    let all = state.files.iter().filter(move |(_, file)| file.kind == kind).map(|(path, _)| path);
    all.filter(|path| updater.looks_into(path)).map(|path| (path, sanitize_line(path)))
}
