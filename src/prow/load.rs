//! Would a Prow load these ConfigMaps? Rules of our own: whatever they say is a GUESS, because only the Prow that is
//! deployed knows.
//!
//! One road for live ConfigMaps and for those that git asks for: both become values with the name of their ConfigMap
//! and key. To add a rule, add it to [`Judge::judge`], in Prow's words and in the order in which Prow reads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::at_once::at_once;
use super::config::{Preset, parse_config, parse_job_config};
use super::image::PresetRule;
use super::plugins::parse_plugins;
use super::yaml::YamlError;
use crate::model::text::sanitize_line;
use crate::model::{Alias, Component, ConfigMapState, ConfigPath, DesiredConfigMap, Key, Objection, sha256_hex};

/// A value of a ConfigMap: its ConfigMap, its key, its bytes as stored.
pub type Value<'a> = (&'a Key, &'a str, &'a [u8]);

/// Where a component reads a file (or a folder of files) from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// The namespace is empty where it is not known: then any will do.
    pub config_map: Key,
    /// `None` for all keys.
    pub key: Option<String>,
    /// Of job files: the folder below `--job-config-path` that the ConfigMap is mounted at; empty for that one itself.
    pub folder: String,
}

impl ConfigFile {
    /// All keys of a ConfigMap, at the top.
    pub fn all_of(config_map: Key) -> Self {
        ConfigFile { config_map, key: None, folder: String::new() }
    }

    /// One key.
    pub fn one_of(config_map: Key, key: &str) -> Self {
        ConfigFile { key: Some(key.to_owned()), ..Self::all_of(config_map) }
    }
}

/// Which ConfigMaps and keys are Prow's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFiles {
    pub config: ConfigFile,
    pub plugins: ConfigFile,
    /// In the order in which Prow walks them; empty where no component takes `--job-config-path`.
    pub job_config: Vec<ConfigFile>,
}

impl Default for ConfigFiles {
    fn default() -> Self {
        Self::by_name()
    }
}

impl ConfigFiles {
    /// The names that almost all deployments use: `config`, `plugins`, `job-config`.
    pub fn by_name() -> Self {
        let map = |name: &str| Key::new("", name);
        ConfigFiles {
            config: ConfigFile::one_of(map("config"), "config.yaml"),
            plugins: ConfigFile::one_of(map("plugins"), "plugins.yaml"),
            job_config: vec![ConfigFile::all_of(map("job-config"))],
        }
    }

    /// From flags and mounts of the components that run: what most of them read. What none of them tells is taken by
    /// name.
    pub fn of_components<'a>(components: impl Iterator<Item = &'a Component> + Clone) -> Self {
        let by_name = Self::by_name();
        let config = most_common(components.clone().filter_map(|c| single(c.config.config_path.as_ref())));
        let plugins = most_common(components.clone().filter_map(|c| single(c.config.plugin_config.as_ref())));
        let job_config = most_common(components.map(job_files).filter(|files| !files.is_empty()));
        let job_config = match (job_config, &config) {
            (Some(files), _) => files,
            // Components are seen, and none of them reads job files.
            (None, Some(_)) => Vec::new(),
            (None, None) => by_name.job_config,
        };
        ConfigFiles {
            config: config.unwrap_or(by_name.config),
            plugins: plugins.unwrap_or(by_name.plugins),
            job_config,
        }
    }
}

pub(super) fn single(path: Option<&ConfigPath>) -> Option<ConfigFile> {
    let path = path?;
    Some(ConfigFile::one_of(path.config_map.clone()?, path.key.as_deref()?))
}

/// The ConfigMaps at and below a component's `--job-config-path`: partitions are mounted as subfolders.
pub(super) fn job_files(component: &Component) -> Vec<ConfigFile> {
    let Some(path) = &component.config.job_config_path else {
        return Vec::new();
    };
    if let (Some(config_map), Some(key)) = (&path.config_map, &path.key) {
        // A single file, or a partition whose folder was named: both read one name.
        return vec![ConfigFile::one_of(config_map.clone(), key)];
    }
    let root = path.path.trim_end_matches('/');
    let below = |mounted: &str| mounted.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let mut mounts: Vec<_> = component.mounts.iter().filter(|mount| below(mount.path.trim_end_matches('/'))).collect();
    mounts.sort_by(|a, b| a.path.split('/').cmp(b.path.split('/')));
    let folder = |mounted: &str| mounted.strip_prefix(root).unwrap_or_default().trim_matches('/').to_owned();
    mounts
        .iter()
        .map(|mount| ConfigFile { folder: folder(&mount.path), ..ConfigFile::all_of(mount.config_map.clone()) })
        .collect()
}

fn most_common<T: PartialEq>(items: impl Iterator<Item = T>) -> Option<T> {
    let mut counted: Vec<(T, usize)> = Vec::new();
    for item in items {
        match counted.iter_mut().find(|(known, _)| *known == item) {
            Some((_, count)) => *count += 1,
            None => counted.push((item, 1)),
        }
    }
    // The first of the most common ones.
    let most = counted.iter().map(|(_, count)| *count).max()?;
    counted.into_iter().find(|(_, count)| *count == most).map(|(item, _)| item)
}

/// What speaks against ConfigMaps that git asks for.
pub fn objections(config_maps: &[DesiredConfigMap], files: &ConfigFiles, rule: PresetRule) -> Vec<Objection> {
    Judge::new(files.clone(), rule).desired(config_maps)
}

/// What speaks against live ConfigMaps.
pub fn objections_live(
    config_maps: &BTreeMap<Key, ConfigMapState>,
    files: &ConfigFiles,
    rule: PresetRule,
) -> Vec<Objection> {
    Judge::new(files.clone(), rule).live(config_maps)
}

/// What our rules need of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Gist {
    presets: Vec<Preset>,
    /// Why Prow refuses a plugins.yaml that is fine YAML.
    refusals: Vec<String>,
}

/// Or why there is none.
type Understood = Result<Gist, YamlError>;

/// As what Prow reads a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum As {
    Config,
    Jobs,
    Plugins,
}

/// Judges one configuration after the other, and reads a file that did not change only once.
#[derive(Debug)]
pub struct Judge {
    files: ConfigFiles,
    rule: PresetRule,
    read: ReadFiles,
}

/// Files that were read, by their stored bytes.
#[derive(Debug, Clone, Default)]
pub struct ReadFiles(HashMap<Print, Arc<Understood>>);

/// With sha256 (hex) of the stored bytes.
type Print = (As, String);

/// What one file was read as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadFile {
    read_as: As,
    /// sha256 (hex) of the stored bytes.
    stored: String,
    understood: Understood,
}

impl ReadFiles {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = ReadFile> + '_ {
        self.0.iter().map(|((read_as, stored), understood)| ReadFile {
            read_as: *read_as,
            stored: stored.clone(),
            understood: (**understood).clone(),
        })
    }
}

impl FromIterator<ReadFile> for ReadFiles {
    fn from_iter<T: IntoIterator<Item = ReadFile>>(files: T) -> Self {
        ReadFiles(files.into_iter().map(|file| ((file.read_as, file.stored), Arc::new(file.understood))).collect())
    }
}

impl Judge {
    pub fn new(files: ConfigFiles, rule: PresetRule) -> Self {
        Judge { files, rule, read: ReadFiles::default() }
    }

    /// One that need not read again what another one did.
    #[must_use]
    pub fn with(self, read: ReadFiles) -> Self {
        Judge { read, ..self }
    }

    /// What it read, for another one.
    pub fn read_files(&self) -> &ReadFiles {
        &self.read
    }

    /// What is taken for Prow's configuration.
    pub fn files(&self) -> &ConfigFiles {
        &self.files
    }

    /// Judges what the service cluster would get. Some Prows know their service cluster by another alias than
    /// `default`; then the first alias that has a configuration counts.
    pub fn desired(&mut self, config_maps: &[DesiredConfigMap]) -> Vec<Objection> {
        let mut aliases: Vec<&Alias> = config_maps.iter().map(|map| &map.cluster).collect();
        aliases.sort_by_key(|alias| (**alias != Alias::service(), (*alias).clone()));
        aliases.dedup();
        for alias in aliases {
            let values: Vec<Value<'_>> = config_maps
                .iter()
                .filter(|map| map.cluster == *alias)
                .flat_map(|map| map.entries.iter().map(|(key, entry)| (&map.key, key.as_str(), entry.bytes.as_slice())))
                .collect();
            if self.has_configuration(&values) {
                return self.judge(&values);
            }
        }
        Vec::new()
    }

    pub fn live(&mut self, config_maps: &BTreeMap<Key, ConfigMapState>) -> Vec<Objection> {
        let values: Vec<Value<'_>> = config_maps
            .values()
            .flat_map(|map| map.values.iter().map(|(key, bytes)| (&map.key, key.as_str(), bytes.as_slice())))
            .collect();
        self.judge(&values)
    }

    fn has_configuration(&self, values: &[Value<'_>]) -> bool {
        std::iter::once(&self.files.config)
            .chain([&self.files.plugins])
            .chain(&self.files.job_config)
            .any(|file| !select(values, file).is_empty())
    }

    pub(super) fn judge(&mut self, values: &[Value<'_>]) -> Vec<Objection> {
        let mut objections = Vec::new();
        let mut config_presets = None;
        if let Some(value) = select(values, &self.files.config).first() {
            match &*self.understood(value.2, As::Config) {
                Ok(gist) => config_presets = Some((*value, gist.presets.clone())),
                Err(error) => objections.push(unreadable(value, error)),
            }
        }
        objections.extend(self.judge_jobs(values, config_presets));
        if let Some(value) = select(values, &self.files.plugins).first() {
            match &*self.understood(value.2, As::Plugins) {
                Ok(gist) => objections.extend(gist.refusals.iter().map(|refusal| objection(value, refusal.clone()))),
                Err(error) => objections.push(unreadable(value, error)),
            }
        }
        objections
    }

    /// Job files in reading order, then their presets together with those of config.yaml.
    fn judge_jobs(&mut self, values: &[Value<'_>], config: Option<(Value<'_>, Vec<Preset>)>) -> Vec<Objection> {
        let mut objections = Vec::new();
        if self.files.job_config.is_empty() {
            // Without --job-config-path Prow does not compare presets.
            return objections;
        }
        let mut names = BTreeSet::new();
        let mut seen = BTreeMap::new();
        let mut read = Vec::new();
        let values: Vec<Value<'_>> = self
            .files
            .job_config
            .iter()
            .flat_map(|file| select(values, file))
            .filter(|value| is_job_file(value.1))
            .collect();
        self.read_at_once(&values);
        for value in values {
            if !names.insert(value.1) {
                objections.push(objection(&value, format!("duplicated basename is not allowed: {}", value.1)));
                continue;
            }
            match &*self.understood(value.2, As::Jobs) {
                Ok(gist) => {
                    if let Some(repetition) = self.repeated(&value, &gist.presets, &mut seen) {
                        objections.push(repetition);
                        // Prow goes on with the next file as if it were the first.
                        seen.clear();
                    }
                    read.push((value, gist.presets.clone()));
                }
                Err(error) => objections.push(unreadable(&value, error)),
            }
        }
        if objections.is_empty() {
            let mut seen = BTreeMap::new();
            let mut all = config.into_iter().chain(read);
            objections.extend(all.find_map(|(value, presets)| self.repeated(&value, &presets, &mut seen)));
        }
        objections
    }

    /// The first label of these presets that the rule takes for a repetition of what was seen before, in Prow's words.
    fn repeated<'a>(
        &self,
        value: &Value<'a>,
        presets: &[Preset],
        seen: &mut BTreeMap<String, Value<'a>>,
    ) -> Option<Objection> {
        for (label, set_to) in presets.iter().flat_map(|preset| &preset.labels) {
            let (what, message) = match self.rule {
                PresetRule::RepeatedKey => (label.clone(), format!("duplicated preset label : {label}")),
                // A repeated pair is a repeated key too: this is what both rules refuse.
                PresetRule::RepeatedPair | PresetRule::Unknown => {
                    let pair = format!("{label}:{set_to}");
                    let message = format!("duplicated preset 'label:value' pair : {pair}");
                    (pair, message)
                }
            };
            if let Some(first) = seen.insert(what, *value) {
                let repeats = Some((first.0.clone(), first.1.to_owned()));
                return Some(Objection { repeats, ..objection(value, message) });
            }
        }
        None
    }

    /// Reads job files that were not read yet.
    fn read_at_once(&mut self, values: &[Value<'_>]) {
        let mut unread: Vec<(Print, &[u8])> = values.iter().map(|value| (print(value.2, As::Jobs), value.2)).collect();
        unread.retain(|(print, _)| !self.read.0.contains_key(print));
        let bytes = unread.iter().map(|(_, bytes)| bytes.len()).sum();
        let read = at_once(&unread, bytes, |(_, bytes)| Arc::new(understand(bytes, As::Jobs)));
        self.read.0.extend(unread.into_iter().map(|(print, _)| print).zip(read));
    }

    fn understood(&mut self, bytes: &[u8], read_as: As) -> Arc<Understood> {
        self.read.0.entry(print(bytes, read_as)).or_insert_with(|| Arc::new(understand(bytes, read_as))).clone()
    }
}

fn print(bytes: &[u8], read_as: As) -> Print {
    (read_as, sha256_hex(bytes))
}

fn understand(bytes: &[u8], read_as: As) -> Understood {
    Ok(match read_as {
        As::Config => Gist { presets: parse_config(bytes)?.presets, ..Gist::default() },
        As::Jobs => Gist { presets: parse_job_config(bytes)?.presets, ..Gist::default() },
        As::Plugins => Gist { refusals: parse_plugins(bytes)?.refusals(), ..Gist::default() },
    })
}

/// The values of a file or folder: in the ConfigMap of exactly that name and namespace, else in the first of that name.
pub(super) fn select<'a>(values: &[Value<'a>], file: &ConfigFile) -> Vec<Value<'a>> {
    let key = |value: &&Value<'a>| file.key.as_deref().is_none_or(|key| key == value.1);
    let exact: Vec<_> = values.iter().filter(|value| *value.0 == file.config_map).filter(key).copied().collect();
    if !exact.is_empty() {
        return exact;
    }
    let Some(first) = values.iter().find(|value| value.0.name == file.config_map.name) else {
        return Vec::new();
    };
    values.iter().filter(|value| value.0 == first.0).filter(key).copied().collect()
}

/// What of a folder Prow reads as job configuration.
pub(super) fn is_job_file(key: &str) -> bool {
    !key.starts_with("..") && [".yaml", ".yml"].iter().any(|suffix| key.ends_with(suffix))
}

fn unreadable(value: &Value<'_>, error: &YamlError) -> Objection {
    objection(value, format!("error unmarshalling {}: {error}", value.1))
}

fn objection(value: &Value<'_>, message: String) -> Objection {
    Objection {
        message: sanitize_line(&message),
        config_map: Some(value.0.clone()),
        config_key: Some(value.1.to_owned()),
        repeats: None,
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
