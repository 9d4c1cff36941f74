//! States to ConfigMaps and objections. Remembers files, parsed plugins.yamls and renderings between revisions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::state::{File, State, choose_plugins, is_below, no_such_file};
use super::{DesiredOptions, Reading};
use crate::git::{Commit, EntryKind, Repository};
use crate::model::text::sanitize_line;
use crate::model::{Candidate, DesiredConfigMap, Failure, Objection, Revision, sha256_hex};
use crate::prow::config::{parse_config, prowjob_namespace_of_broken};
use crate::prow::gzip::deflate;
use crate::prow::layout::{LaidFile, ReadAs};
use crate::prow::load::ConfigFile;
use crate::prow::plugins::{Updater, has_config_updater, parse_plugins};
use crate::prow::updater::render_with;
use crate::prow::{ConfigFiles, Judge, Layout};

/// Longer chains of symlinks lead nowhere.
const LINKS: usize = 8;

pub(super) struct Renderer<'a> {
    repository: &'a Repository,
    options: &'a DesiredOptions,
    blobs: HashMap<Arc<str>, Vec<u8>>,
    compressed: HashMap<Arc<str>, Vec<u8>>,
    /// sha256 of what Prow reads of a blob, through gzip or not.
    digests: HashMap<(Arc<str>, bool), String>,
    updaters: HashMap<Arc<str>, Arc<Result<Updater, String>>>,
    judge: Option<Judge>,
    rendered: Vec<(Signature, Rendering)>,
}

/// What a rendering depends on.
#[derive(Debug, PartialEq, Eq)]
struct Signature {
    plugins: Option<Arc<str>>,
    namespace: String,
    files: Vec<(Arc<str>, File)>,
}

#[derive(Debug, Clone)]
struct Rendering {
    config_maps: Result<Arc<Vec<DesiredConfigMap>>, String>,
    objections: Vec<Objection>,
    not_understood: Vec<String>,
    content: Option<String>,
}

/// Where a path of a state leads.
enum Content {
    Blob(Arc<str>),
    /// A symlink whose content is not read yet.
    Unread(Arc<str>),
    Nowhere(String),
}

impl<'a> Renderer<'a> {
    pub(super) fn new(repository: &'a Repository, options: &'a DesiredOptions) -> Self {
        Renderer {
            repository,
            options,
            blobs: HashMap::new(),
            compressed: HashMap::new(),
            digests: HashMap::new(),
            updaters: HashMap::new(),
            judge: None,
            rendered: Vec::new(),
        }
    }

    /// Reads the plugins.yaml of a state, and all that commits made of it.
    pub(super) async fn load_plugins(&mut self, state: &State, commits: &[Commit]) -> Result<(), Failure> {
        let sides = commits.iter().flat_map(|commit| &commit.changes).filter(|change| change.path == state.plugins);
        let changed = sides.filter_map(|change| change.before.as_ref()).map(|(_, id)| Arc::from(id.as_str()));
        let ids: BTreeSet<Arc<str>> = changed.chain(state.plugins_id().cloned()).collect();
        self.load(ids.clone()).await?;
        for id in ids {
            let parsed = self.blobs.get(&id).map(|bytes| parse_plugins(bytes));
            if let Some(parsed) = parsed {
                let parsed =
                    parsed.map_err(|error| format!("error unmarshalling {}: {error}", sanitize_line(&state.plugins)));
                self.updaters.entry(id).or_insert_with(|| Arc::new(parsed));
            }
        }
        Ok(())
    }

    /// Reads all files that the maps of these states want, with one call for most.
    pub(super) async fn load_files(&mut self, states: &[&State]) -> Result<(), Failure> {
        for _ in 0..=LINKS {
            let mut missing = BTreeSet::new();
            for state in states {
                let wanted = self.wanted(state);
                let config = self.config_path(state);
                for path in wanted.iter().map(|(path, _)| &**path).chain(config.as_deref()) {
                    match self.follow(state, path).1 {
                        Content::Blob(id) | Content::Unread(id) if !self.blobs.contains_key(&id) => {
                            missing.insert(id);
                        }
                        Content::Blob(_) | Content::Unread(_) | Content::Nowhere(_) => {}
                    }
                }
            }
            if missing.is_empty() {
                break;
            }
            self.load(missing).await?;
        }
        Ok(())
    }

    async fn load(&mut self, ids: BTreeSet<Arc<str>>) -> Result<(), Failure> {
        let ids: Vec<Arc<str>> = ids.into_iter().filter(|id| !self.blobs.contains_key(id)).collect();
        let asked: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let contents = self.repository.blobs(&asked).await?;
        self.blobs.extend(ids.into_iter().zip(contents));
        Ok(())
    }

    /// The work tree as a state, its wanted files read.
    pub(super) async fn worktree(&mut self) -> Result<State, Failure> {
        let place = format!("the work tree of {}", self.repository.shown());
        let mut state = State::of_paths(self.repository.worktree_files().await?);
        if let Some(path) = &self.options.plugin_config {
            state.plugins.clone_from(path);
        } else {
            let named: Vec<(Arc<str>, Arc<str>)> =
                state.named_plugins().into_iter().map(|(path, file)| (Arc::from(path), file.id.clone())).collect();
            self.load_worktree(&named).await?;
            let found: Vec<(&str, bool)> = named
                .iter()
                .filter_map(|(path, id)| Some((&**path, has_config_updater(self.blobs.get(id)?))))
                .collect();
            state.plugins = choose_plugins(&found, &place)?;
        }
        let plugins = state.plugins_id().cloned().ok_or_else(|| no_such_file(&state.plugins, &place))?;
        self.load_worktree(&[(Arc::from(state.plugins.as_str()), plugins)]).await?;
        self.load_plugins(&state, &[]).await?;
        let mut wanted: Vec<(Arc<str>, Arc<str>)> =
            self.wanted(&state).into_iter().map(|(path, file)| (path, file.id)).collect();
        if let Some(path) = self.config_path(&state)
            && let Some(file) = state.files.get(path.as_str())
        {
            wanted.push((Arc::from(path), file.id.clone()));
        }
        self.load_worktree(&wanted).await?;
        // What was deleted since is listed, and not there.
        state
            .files
            .retain(|path, file| self.blobs.contains_key(&file.id) || !wanted.iter().any(|(known, _)| known == path));
        Ok(state)
    }

    async fn load_worktree(&mut self, files: &[(Arc<str>, Arc<str>)]) -> Result<(), Failure> {
        for (path, id) in files {
            if !self.blobs.contains_key(id)
                && let Some(bytes) = self.repository.worktree_file(path).await?
            {
                self.blobs.insert(id.clone(), bytes);
            }
        }
        Ok(())
    }

    fn updater(&self, plugins: Option<&Arc<str>>) -> Option<Arc<Result<Updater, String>>> {
        self.updaters.get(plugins?).cloned()
    }

    /// The files that maps of the state want, by path.
    fn wanted(&self, state: &State) -> Vec<(Arc<str>, File)> {
        let Some(updater) = self.updater(state.plugins_id()) else {
            return Vec::new();
        };
        let Ok(updater) = &*updater else {
            return Vec::new();
        };
        let wanted = state.files.iter().filter(|(path, file)| file.kind != EntryKind::Submodule && updater.wants(path));
        wanted.map(|(path, file)| (path.clone(), file.clone())).collect()
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

    /// Follows symlinks from a path; the paths on the way come along.
    fn follow(&self, state: &State, path: &str) -> (Vec<String>, Content) {
        let mut way = vec![path.to_owned()];
        loop {
            let at = &way[way.len() - 1];
            let Some(file) = state.files.get(at.as_str()) else {
                let why = format!("{} leads to {}, which is no file there", sanitize_line(path), sanitize_line(at));
                return (way, Content::Nowhere(why));
            };
            match file.kind {
                EntryKind::File => return (way, Content::Blob(file.id.clone())),
                EntryKind::Submodule => {
                    let why = format!("{} leads into another repository", sanitize_line(path));
                    return (way, Content::Nowhere(why));
                }
                EntryKind::Symlink => {}
            }
            let Some(link) = self.blobs.get(&file.id) else {
                return (way, Content::Unread(file.id.clone()));
            };
            let target = String::from_utf8(link.clone()).ok().and_then(|link| beside(at, &link));
            let Some(target) = target.filter(|_| way.len() <= LINKS) else {
                let why = format!("{} is a symlink that leads nowhere in the repository", sanitize_line(path));
                return (way, Content::Nowhere(why));
            };
            way.push(target);
        }
    }

    /// The folders and files outside of which nothing matters to this state's maps; none for everything.
    pub(super) fn roots(&self, state: &State) -> Vec<String> {
        let Some(roots) = self.map_roots(state.plugins_id()) else {
            return Vec::new();
        };
        let links = self.wanted(state).into_iter().filter(|(_, file)| file.kind == EntryKind::Symlink);
        let links = links.flat_map(|(path, _)| self.follow(state, &path).0);
        let settings = std::iter::once(state.plugins.clone()).chain(self.config_path(state));
        let all: BTreeSet<String> = roots.into_iter().chain(links).chain(settings).collect();
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
        commit.changes.iter().any(|change| config.as_deref() == Some(&change.path) || wants(&change.path))
    }

    /// Renders and judges a state whose files are loaded.
    pub(super) fn render(&mut self, revision: &Revision, state: &State) -> Reading {
        let (namespace, note) = self.namespace(state);
        let signature = Signature { plugins: state.plugins_id().cloned(), namespace, files: self.wanted(state) };
        let known = self.rendered.iter().find(|(known, _)| *known == signature).map(|(_, rendering)| rendering.clone());
        let rendering = known.unwrap_or_else(|| {
            let rendering = self.rendering(state, &signature);
            self.rendered.push((signature, rendering.clone()));
            rendering
        });
        let candidate = Candidate {
            revision: revision.clone(),
            config_maps: rendering.config_maps,
            objections: rendering.objections,
            content: rendering.content,
        };
        let mut not_understood = rendering.not_understood;
        not_understood.extend(note);
        Reading { candidate, not_understood }
    }

    fn rendering(&mut self, state: &State, signature: &Signature) -> Rendering {
        let updater = self.updater(signature.plugins.as_ref());
        let updater = match updater.as_deref() {
            Some(Ok(updater)) => updater,
            Some(Err(why)) => return self.refused(why.clone()),
            None => return self.refused(format!("there is no {}", sanitize_line(&state.plugins))),
        };
        let contents: BTreeMap<&str, Content> =
            signature.files.iter().map(|(path, _)| (&**path, self.follow(state, path).1)).collect();
        let (blobs, compressed) = (&self.blobs, &mut self.compressed);
        let mut content = |path: &str, gzip: bool| {
            let id = match contents.get(path) {
                Some(Content::Blob(id)) => id,
                Some(Content::Nowhere(why)) => return Err(why.clone()),
                Some(Content::Unread(_)) | None => return Err(format!("{} was not read", sanitize_line(path))),
            };
            let bytes = blobs.get(id).ok_or_else(|| format!("{} was not read", sanitize_line(path)))?;
            Ok(if gzip {
                compressed.entry(id.clone()).or_insert_with(|| deflate(bytes)).clone()
            } else {
                bytes.clone()
            })
        };
        let rendered = render_with(updater, contents.keys().copied(), &signature.namespace, &mut content);
        if rendered.config_maps.is_empty() {
            let mut why = "no file makes a ConfigMap".to_owned();
            for note in &rendered.not_understood {
                why = format!("{why}; {note}");
            }
            return Rendering { not_understood: rendered.not_understood, ..self.refused(why) };
        }
        let judge = self
            .judge
            .get_or_insert_with(|| Judge::new(files_of(self.options, &rendered.config_maps), self.options.rule));
        let digests = &mut self.digests;
        let mut content_of = |file: &LaidFile<'_>| {
            let map = rendered.config_maps.iter().find(|map| map.key == *file.config_map);
            let path = map.and_then(|map| map.entries.get(file.key)).map(|entry| entry.path.as_str());
            let id = match path.and_then(|path| contents.get(path)) {
                Some(Content::Blob(id)) => (id.clone(), file.read_as == ReadAs::Inflated),
                Some(Content::Nowhere(_) | Content::Unread(_)) | None => return sha256_hex(&file.content()),
            };
            digests.entry(id).or_insert_with(|| sha256_hex(&file.content())).clone()
        };
        Rendering {
            content: Layout::of_desired(&rendered.config_maps, judge.files())
                .map(|layout| layout.digest_with(&mut content_of)),
            objections: judge.desired(&rendered.config_maps),
            config_maps: Ok(Arc::new(rendered.config_maps)),
            not_understood: rendered.not_understood,
        }
    }

    fn refused(&self, why: String) -> Rendering {
        let plugins = &self.options.files.plugins;
        let objection = Objection {
            message: why.clone(),
            // Only a name that the components told has a namespace.
            config_map: Some(plugins.config_map.clone()).filter(|key| !key.namespace.is_empty()),
            config_key: plugins.key.clone(),
            repeats: None,
        };
        Rendering { config_maps: Err(why), objections: vec![objection], not_understood: Vec::new(), content: None }
    }

    /// `prowjob_namespace` of a state, with a sentence where it is not sure.
    fn namespace(&self, state: &State) -> (String, Option<String>) {
        let default = || "default".to_owned();
        let Some(path) = self.config_path(state) else {
            let note = "config.yaml was not found: prowjob_namespace is taken to be `default`; say which file it is \
                        with --config-path PATH";
            return (default(), Some(note.to_owned()));
        };
        let bytes = match self.follow(state, &path).1 {
            Content::Blob(id) => self.blobs.get(&id),
            Content::Unread(_) | Content::Nowhere(_) => None,
        };
        let Some(bytes) = bytes else {
            let note = format!("{} is not there: prowjob_namespace is taken to be `default`", sanitize_line(&path));
            return (default(), Some(note));
        };
        match parse_config(bytes) {
            Ok(config) => (config.prowjob_namespace, None),
            // The file's own trouble is an objection.
            Err(_) => (prowjob_namespace_of_broken(bytes).unwrap_or_else(default), None),
        }
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
        for (file, _) in made_of(&|entry| is_below(entry, folder.trim_end_matches('/'))) {
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

/// What a symlink's text means, seen from the link's folder; `None` where it leaves the repository.
fn beside(link: &str, target: &str) -> Option<String> {
    if target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = link.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
