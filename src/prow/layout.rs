//! A configuration as files: what Prow's components find below `/etc`, for a checkconfig to read, and for a digest that says
//! when two contents are the same to Prow.
//!
//! Values stay as stored: Prow gunzips config.yaml and job files itself, and so does its checkconfig. Partitions lie in
//! subfolders, as they are mounted.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::culprit::name_culprit;
use super::gzip;
use super::image::PresetRule;
use super::load::{ConfigFile, ConfigFiles, Judge, Value, is_job_file, job_files, select, single};
use crate::model::text::sanitize_line;
use crate::model::{Alias, Component, ConfigMapState, ConfigPath, DesiredConfigMap, Key, Objection, sha256_hex};

/// Folders as almost all deployments mount them: so that the words of a checkconfig are those of a component.
const CONFIG: &str = "config";
const JOB_CONFIG: &str = "job-config";
const PLUGINS: &str = "plugins";

/// Files by path below the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout<'a> {
    files: BTreeMap<String, LaidFile<'a>>,
    wanted: ConfigFiles,
    /// Paths below the root: what the flags of a component lead to.
    pub config_path: String,
    /// A folder, or one file.
    pub job_config_path: Option<String>,
    pub plugin_config: Option<String>,
}

/// A file, and the value of which ConfigMap it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaidFile<'a> {
    pub config_map: &'a Key,
    pub key: &'a str,
    /// As stored.
    pub bytes: &'a [u8],
    pub read_as: ReadAs,
}

/// How Prow reads a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadAs {
    /// Through gzip: config.yaml and job files.
    Inflated,
    /// plugins.yaml.
    Stored,
    /// Not at all: what lies beside job files, such as VERSION.
    Nothing,
}

impl<'a> Layout<'a> {
    /// Of the ConfigMaps that git asks for, as the service cluster gets them. `None` where there is no config.yaml among
    /// them.
    pub fn of_desired(config_maps: &'a [DesiredConfigMap], files: &ConfigFiles) -> Option<Self> {
        // Some Prows know their service cluster by another alias: then the first that has a configuration counts.
        let mut aliases: Vec<&Alias> = config_maps.iter().map(|map| &map.cluster).collect();
        aliases.sort_by_key(|alias| (**alias != Alias::service(), (*alias).clone()));
        aliases.dedup();
        aliases.into_iter().find_map(|alias| {
            let of_it = config_maps.iter().filter(|map| map.cluster == *alias);
            let values: Vec<Value<'_>> = of_it
                .flat_map(|map| map.entries.iter().map(|(key, entry)| (&map.key, key.as_str(), entry.bytes.as_slice())))
                .collect();
            Self::of_values(&values, files)
        })
    }

    /// Of live ConfigMaps, or of what would be live. `None` where there is no config.yaml among them.
    pub fn of_live(config_maps: &'a BTreeMap<Key, ConfigMapState>, files: &ConfigFiles) -> Option<Self> {
        let values: Vec<Value<'_>> = config_maps
            .values()
            .flat_map(|map| map.values.iter().map(|(key, bytes)| (&map.key, key.as_str(), bytes.as_slice())))
            .collect();
        Self::of_values(&values, files)
    }

    fn of_values(values: &[Value<'a>], wanted: &ConfigFiles) -> Option<Self> {
        let mut files: BTreeMap<String, LaidFile<'a>> = BTreeMap::new();
        let mut put = |folder: &str, value: &Value<'a>, read_as: ReadAs| {
            let file = LaidFile { config_map: value.0, key: value.1, bytes: value.2, read_as };
            let mut path = format!("{folder}/{}", file.key);
            if files.contains_key(&path) {
                // Which folder each is mounted at is not told; both are there all the same.
                path = format!("{folder}/{}/{}", file.config_map.name, file.key);
            }
            files.insert(path.clone(), file);
            path
        };
        let config = select(values, &wanted.config).first().copied()?;
        let config_path = put(CONFIG, &config, ReadAs::Inflated);
        let plugins = select(values, &wanted.plugins).first().copied();
        let plugin_config = plugins.map(|value| put(PLUGINS, &value, ReadAs::Stored));
        let mut job_config_path = None;
        for source in &wanted.job_config {
            let folder = folder_of(source);
            for value in select(values, source) {
                let is_read = is_job_file(value.1) || value.1 == ".prowignore";
                let path = put(&folder, &value, if is_read { ReadAs::Inflated } else { ReadAs::Nothing });
                job_config_path = Some(if source.key.is_some() { path } else { JOB_CONFIG.to_owned() });
            }
        }
        Some(Layout { files, wanted: wanted.clone(), config_path, job_config_path, plugin_config })
    }

    /// The files by path below the root.
    pub fn files(&self) -> &BTreeMap<String, LaidFile<'a>> {
        &self.files
    }

    /// All values with their ConfigMap and key, in the order in which Prow reads them.
    pub fn values(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        self.files.values().map(|file| (file.config_map, file.key, file.bytes))
    }

    /// What a Prow said of these files, with the place that it means as far as that can be told.
    pub fn objection(&self, words: &str) -> Objection {
        let values: Vec<Value<'a>> = self.values().collect();
        let rule = PresetRule::of_error(words).unwrap_or_default();
        // Our own rules know both places of what came twice.
        let known = Judge::new(self.wanted.clone(), rule)
            .judge(&values)
            .into_iter()
            .find(|objection| !objection.message.is_empty() && words.contains(&objection.message));
        let message = sanitize_line(words);
        match known {
            Some(known) => Objection { message, ..known },
            None => {
                let (config_map, config_key) = name_culprit(values.into_iter(), words).unzip();
                Objection { message, config_map, config_key, repeats: None }
            }
        }
    }

    /// sha256, hex, over what Prow reads, with paths: the same for contents that are the same to Prow, whatever packed
    /// them. What lies beside the job files does not count.
    pub fn digest(&self) -> String {
        self.digest_with(|file| sha256_hex(&file.content()))
    }

    /// The same, with sha256 (hex) of each file's [content](LaidFile::content) as the caller knows it.
    pub fn digest_with(&self, of_content: impl FnMut(&LaidFile<'a>) -> String) -> String {
        Self::digest_of(self.files.iter(), of_content)
    }

    /// The same, without the files of one ConfigMap: what Prow reads beside it.
    pub fn digest_beside(&self, config_map: &Key) -> String {
        let others = self.files.iter().filter(|(_, file)| file.config_map != config_map);
        Self::digest_of(others, |file| sha256_hex(&file.content()))
    }

    fn digest_of<'f>(
        files: impl Iterator<Item = (&'f String, &'f LaidFile<'a>)>,
        mut of_content: impl FnMut(&LaidFile<'a>) -> String,
    ) -> String
    where
        'a: 'f,
    {
        let mut text = String::new();
        for (path, file) in files.filter(|(_, file)| file.read_as != ReadAs::Nothing) {
            // An old Prow does not gunzip: packed and plain are not the same.
            let packed = if gzip::is_gzip(file.bytes) { "gzip" } else { "plain" };
            // No path has a newline: keys cannot.
            text.push_str(&format!("{path}\n{packed} {}\n", of_content(file)));
        }
        sha256_hex(text.as_bytes())
    }
}

impl<'a> LaidFile<'a> {
    /// What Prow reads. A value that does not inflate is its own content.
    pub fn content(&self) -> Cow<'a, [u8]> {
        match self.read_as {
            ReadAs::Inflated => gzip::inflate(self.bytes).unwrap_or(Cow::Borrowed(self.bytes)),
            ReadAs::Stored | ReadAs::Nothing => Cow::Borrowed(self.bytes),
        }
    }
}

/// What a component reads that no layout of these files holds, in words that follow its name; `None` where it reads these and
/// nothing else, as far as its flags tell.
pub fn reads_further(component: &Component, files: &ConfigFiles) -> Option<String> {
    let flags = &component.config;
    if !flags.further.is_empty() {
        return Some(format!("reads further configuration ({})", flags.further.join(" ")));
    }
    let elsewhere = |path: &ConfigPath| match (&path.config_map, &path.key) {
        (Some(map), Some(key)) => format!("reads key {key} of ConfigMap {map}"),
        (Some(map), None) => format!("reads {} from ConfigMap {map}", path.path),
        (None, _) => format!("reads {}, which is in no ConfigMap", path.path),
    };
    for (path, file) in [(&flags.config_path, &files.config), (&flags.plugin_config, &files.plugins)] {
        if let Some(path) = path
            && single(Some(path)).as_ref() != Some(file)
        {
            return Some(elsewhere(path));
        }
    }
    let path = flags.job_config_path.as_ref()?;
    let jobs = job_files(component);
    let is_laid = !jobs.is_empty() && jobs.iter().all(|file| files.job_config.contains(file));
    (!is_laid).then(|| elsewhere(path))
}

/// The first of what flags of components lead to and what is not there: its ConfigMap, or of a single file the key. What is taken by
/// name alone, and folders that all mount as optional, may be absent.
pub fn absent<'f>(
    files: &'f ConfigFiles,
    config_maps: &BTreeMap<Key, ConfigMapState>,
    components: &[Component],
) -> Option<&'f ConfigFile> {
    let is_told = |source: &&ConfigFile| !source.config_map.namespace.is_empty();
    let is_needed = |source: &ConfigFile| {
        let mounts = components.iter().flat_map(|component| &component.mounts);
        let mut of_it = mounts.filter(|mount| mount.config_map == source.config_map).peekable();
        source.key.is_some() || of_it.peek().is_none() || of_it.any(|mount| !mount.optional)
    };
    let is_absent = |source: &&ConfigFile| match (config_maps.get(&source.config_map), &source.key) {
        (None, _) => is_needed(source),
        (Some(state), Some(key)) => !state.values.contains_key(key),
        (Some(_), None) => false,
    };
    [&files.config, &files.plugins].into_iter().chain(&files.job_config).filter(is_told).find(is_absent)
}

fn folder_of(source: &ConfigFile) -> String {
    match source.folder.trim_matches('/') {
        "" => JOB_CONFIG.to_owned(),
        below => format!("{JOB_CONFIG}/{below}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DesiredEntry;

    fn map(name: &str, entries: &[(&str, &[u8])]) -> DesiredConfigMap {
        let entry = |(key, bytes): &(&str, &[u8])| {
            let entry = DesiredEntry { path: format!("x/{key}"), bytes: bytes.to_vec(), gzip: gzip::is_gzip(bytes) };
            ((*key).to_owned(), entry)
        };
        DesiredConfigMap {
            cluster: Alias::service(),
            key: Key::new("prow", name),
            entries: entries.iter().map(entry).collect(),
        }
    }

    fn maps(jobs: &[(&str, &[u8])]) -> Vec<DesiredConfigMap> {
        vec![
            map("config", &[("config.yaml", b"a: b\n")]),
            map("plugins", &[("plugins.yaml", b"plugins: {}\n")]),
            map("job-config", jobs),
            map("label-config", &[("labels.yaml", b"x")]),
        ]
    }

    fn lay(maps: &[DesiredConfigMap]) -> Layout<'_> {
        Layout::of_desired(maps, &ConfigFiles::by_name()).expect("there is a config.yaml")
    }

    #[test]
    fn files_lie_where_components_find_them() {
        let maps = maps(&[("a.yaml", b"x"), ("VERSION", b"1")]);
        let layout = lay(&maps);
        let paths: Vec<&str> = layout.files().keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            ["config/config.yaml", "job-config/VERSION", "job-config/a.yaml", "plugins/plugins.yaml"],
            "and nothing that Prow does not read"
        );
        assert_eq!(layout.job_config_path.as_deref(), Some("job-config"));
        assert_eq!(layout.plugin_config.as_deref(), Some("plugins/plugins.yaml"));
    }

    #[test]
    fn partitions_lie_in_subfolders_and_may_hold_the_same_key() {
        let part = |name: &str| ConfigFile { folder: name.to_owned(), ..ConfigFile::all_of(Key::new("prow", name)) };
        let files = ConfigFiles { job_config: vec![part("p-1"), part("p-2")], ..ConfigFiles::by_name() };
        let maps =
            [map("config", &[("config.yaml", b"")]), map("p-1", &[("a.yaml", b"1")]), map("p-2", &[("a.yaml", b"2")])];
        let layout = Layout::of_desired(&maps, &files).unwrap();
        let paths: Vec<&str> = layout.files().keys().map(String::as_str).collect();
        assert_eq!(paths, ["config/config.yaml", "job-config/p-1/a.yaml", "job-config/p-2/a.yaml"]);
        assert_eq!((layout.job_config_path.as_deref(), layout.plugin_config), (Some("job-config"), None));
    }

    #[test]
    fn the_digest_is_of_what_prow_reads() {
        let plain = lay(&maps(&[("a.yaml", b"x"), ("VERSION", b"1")])).digest();
        assert_eq!(plain, lay(&maps(&[("a.yaml", b"x"), ("VERSION", b"2")])).digest(), "VERSION is no configuration");
        assert_ne!(plain, lay(&maps(&[("a.yaml", b"y")])).digest());
        assert_ne!(plain, lay(&maps(&[("b.yaml", b"x")])).digest());
        let packed = gzip::deflate(b"x");
        let mut other = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        std::io::Write::write_all(&mut other, b"x").unwrap();
        let other = other.finish().unwrap();
        assert_ne!(packed, other);
        assert_eq!(lay(&maps(&[("a.yaml", &packed)])).digest(), lay(&maps(&[("a.yaml", &other)])).digest());
        assert_ne!(plain, lay(&maps(&[("a.yaml", &packed)])).digest(), "an old Prow does not gunzip");
    }

    #[test]
    fn what_lies_beside_a_config_map_has_a_digest_of_its_own() {
        let jobs = Key::new("prow", "job-config");
        let beside = |maps: &[DesiredConfigMap]| lay(maps).digest_beside(&jobs);
        let one = maps(&[("a.yaml", b"x")]);
        assert_eq!(beside(&one), beside(&maps(&[("b.yaml", b"y")])));
        let mut other = one.clone();
        other[0] = map("config", &[("config.yaml", b"a: c\n")]);
        assert_ne!(beside(&one), beside(&other));
        let mut foreign = one.clone();
        foreign[3] = map("label-config", &[("labels.yaml", b"y")]);
        assert_eq!(beside(&one), beside(&foreign), "Prow does not read it");
    }

    #[test]
    fn without_a_config_there_is_nothing_to_check() {
        assert_eq!(Layout::of_desired(&maps(&[])[1..], &ConfigFiles::by_name()), None);
    }
}
