//! Contents that were seen loaded: what a repair can bring back without git.
//!
//! ```text
//! DIR/loaded/CLUSTER/NAMESPACE.NAME/0001764000000000-1f2e3d4c5b6a7988.json
//! ```
//!
//! CLUSTER is the uid of the cluster's namespace `kube-system`; the file's name is when it was seen, in milliseconds, and the
//! beginning of the content's digest. In it the ConfigMap as a manifest, so that it can be brought back by hand as well:
//! `jq .object FILE | kubectl replace -f -`. Private to their owner, and few: [`KEPT`] of a ConfigMap, [`MOST_BYTES`] in all.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::model::{
    ClusterIdentity, ConfigMapState, Failure, FailureKind, Key, LoadedContent, Timestamp, content_digest,
};

use super::{Journal, files};

const LOADED: &str = "loaded";
/// Contents of one ConfigMap: the newest may turn out to be refused by the next version.
const KEPT: usize = 3;
/// Of all files together; beyond that the oldest go.
const MOST_BYTES: u64 = 64 << 20;
/// Characters of the digest in a file's name.
const DIGEST: usize = 16;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    seen_loaded: Timestamp,
    images: Vec<String>,
    object: Manifest,
}

/// As much of a ConfigMap as `kubectl replace` needs.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    api_version: String,
    kind: String,
    metadata: Meta,
    #[serde(default)]
    data: BTreeMap<String, String>,
    #[serde(default)]
    binary_data: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Meta {
    namespace: String,
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Journal {
    /// Keeps a content that is loaded now, unless it is the newest of its ConfigMap already. On the disk when it returns.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn keep_loaded(
        &self,
        cluster: &ClusterIdentity,
        state: &ConfigMapState,
        images: Vec<String>,
    ) -> Result<(), Failure> {
        let (Some(place), Some(map)) = (plain(&cluster.uid), folder_of(&state.key)) else { return Ok(()) };
        let folder = self.dir()?.join(LOADED).join(place).join(map);
        let digest: String = content_digest(&state.values).chars().take(DIGEST).collect();
        let known = newest_first(&folder)?;
        if known.first().is_some_and(|file| file.digest == digest) {
            return Ok(());
        }
        files::make_folders(&folder)?;
        let seen_loaded = self.now();
        let name = format!("{:016}-{digest}.json", seen_loaded.as_millisecond());
        let text = serde_json::to_vec(&Stored { seen_loaded, images, object: manifest(state) })
            .map_err(|error| Failure::new(FailureKind::Tool, "cannot encode a ConfigMap").cause(error.to_string()))?;
        let path = folder.join(&name);
        // Whole under its name, or not at all: another command may look at the same time, or this one end here.
        let beside = folder.join(format!(".{name}.{}", std::process::id()));
        let unwritable = |error: std::io::Error| files::unwritable(&path, &error);
        match fs::remove_file(&beside) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(unwritable(error)),
        }
        files::write_new_file(&beside, &text)?;
        fs::rename(&beside, &path).map_err(unwritable)?;
        files::sync_folder(&folder)?;
        // The same content, seen earlier, is this one now.
        let (same, others): (Vec<Held>, Vec<Held>) = known.into_iter().partition(|file| file.digest == digest);
        for old in same.iter().chain(others.iter().skip(KEPT - 1)) {
            forget(&old.path)?;
        }
        self.within_bounds(&path)
    }

    /// What was seen loaded in this cluster, of each ConfigMap the newest first. A file that cannot be read hides no other.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    pub fn last_loaded(&self, cluster: &ClusterIdentity) -> Result<Vec<LoadedContent>, Failure> {
        let Some(place) = plain(&cluster.uid) else { return Ok(Vec::new()) };
        let mut contents = Vec::new();
        for folder in folders(&self.dir()?.join(LOADED).join(place))? {
            contents.extend(newest_first(&folder)?.into_iter().filter_map(|held| read(&held.path)));
        }
        Ok(contents)
    }

    /// Lets the oldest go, of whatever cluster, but never the one just written.
    fn within_bounds(&self, newest: &Path) -> Result<(), Failure> {
        let mut all: Vec<(Held, u64)> = Vec::new();
        for cluster in folders(&self.dir()?.join(LOADED))? {
            for map in folders(&cluster)? {
                let held = newest_first(&map)?.into_iter();
                all.extend(held.map(|held| {
                    let bytes = fs::metadata(&held.path).map_or(0, |meta| meta.len());
                    (held, bytes)
                }));
            }
        }
        all.sort_by_key(|(held, _)| std::cmp::Reverse(held.at));
        let mut bytes = 0;
        for (held, size) in all {
            bytes += size;
            if bytes > MOST_BYTES && held.path != newest {
                forget(&held.path)?;
            }
        }
        Ok(())
    }
}

/// A file, as its name tells.
struct Held {
    at: i64,
    digest: String,
    path: PathBuf,
}

fn newest_first(folder: &Path) -> Result<Vec<Held>, Failure> {
    let held = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(".json")?;
        let (at, digest) = name.split_once('-')?;
        let (at, digest) = (at.parse().ok()?, digest.to_owned());
        Some(Held { at, digest, path })
    };
    let mut all: Vec<Held> = entries(folder)?.into_iter().filter_map(held).collect();
    all.sort_by_key(|held| std::cmp::Reverse(held.at));
    Ok(all)
}

fn folders(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    Ok(entries(path)?.into_iter().filter(|path| path.is_dir()).collect())
}

fn entries(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let read = match fs::read_dir(path) {
        Ok(read) => read,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(files::unreadable(path, &error)),
    };
    let mut all = Vec::new();
    for entry in read {
        all.push(entry.map_err(|error| files::unreadable(path, &error))?.path());
    }
    all.sort();
    Ok(all)
}

fn forget(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        // Another command was first.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(files::unwritable(path, &error)),
    }
}

/// A name that is a file's name and nothing more.
fn plain(name: &str) -> Option<String> {
    let tame = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    (!name.is_empty() && name.len() <= 128 && name.chars().all(tame) && name.chars().any(|c| c != '.'))
        .then(|| name.to_owned())
}

fn folder_of(map: &Key) -> Option<String> {
    // No namespace has a dot, so no two share a folder.
    plain(&map.namespace).zip(plain(&map.name)).map(|(namespace, name)| format!("{namespace}.{name}"))
}

fn manifest(state: &ConfigMapState) -> Manifest {
    let (mut data, mut binary_data) = (BTreeMap::new(), BTreeMap::new());
    for (key, value) in &state.values {
        match std::str::from_utf8(value) {
            Ok(text) => data.insert(key.clone(), text.to_owned()),
            Err(_) => binary_data.insert(key.clone(), STANDARD.encode(value)),
        };
    }
    Manifest {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        metadata: Meta {
            namespace: state.key.namespace.clone(),
            name: state.key.name.clone(),
            labels: state.labels.clone(),
            annotations: state.annotations.clone(),
        },
        data,
        binary_data,
    }
}

/// `None` for what is not as it was written: the name tells what the content must be.
fn read(path: &Path) -> Option<LoadedContent> {
    let stored: Stored = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let mut values: BTreeMap<String, Vec<u8>> =
        stored.object.data.into_iter().map(|(key, text)| (key, text.into_bytes())).collect();
    for (key, text) in stored.object.binary_data {
        values.insert(key, STANDARD.decode(text).ok()?);
    }
    let digest: String = content_digest(&values).chars().take(DIGEST).collect();
    let is_it = path.file_name()?.to_str()?.contains(&digest);
    is_it.then(|| LoadedContent {
        config_map: Key::new(stored.object.metadata.namespace, stored.object.metadata.name),
        values,
        images: stored.images,
        at: stored.seen_loaded,
        file: path.display().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::clock::Clock;
    use crate::model::{Alias, Values};

    fn cluster(uid: &str) -> ClusterIdentity {
        let (alias, server) = (Alias::service(), "https://prow.example.com".to_owned());
        ClusterIdentity { alias, context: "prow".to_owned(), server, uid: uid.to_owned(), ca: String::new() }
    }

    fn state(value: &[u8]) -> ConfigMapState {
        let key = Key::new("prow", "job-config");
        let values = Values::from([("a.yaml".to_owned(), value.to_vec()), ("b.gz".to_owned(), vec![0x1f, 0x8b, 0xff])]);
        ConfigMapState { values, ..ConfigMapState::named(&Alias::service(), &key) }
    }

    fn keep(dir: &Path, second: i64, uid: &str, value: &[u8]) {
        let at = Timestamp::from_second(second).unwrap();
        let journal = Journal::for_reading(dir.to_owned()).with_clock(Clock::stopped(at));
        journal.keep_loaded(&cluster(uid), &state(value), vec!["hook:v1".to_owned()]).unwrap();
    }

    fn texts(dir: &Path, uid: &str) -> Vec<String> {
        let journal = Journal::for_reading(dir.to_owned());
        let contents = journal.last_loaded(&cluster(uid)).unwrap();
        contents.iter().map(|content| String::from_utf8(content.values["a.yaml"].clone()).unwrap()).collect()
    }

    #[test]
    fn the_newest_few_of_a_cluster_are_kept_private_and_whole() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("state");
        assert_eq!(texts(&dir, "u-1"), Vec::<String>::new());
        assert!(!dir.exists(), "looking makes no folders");
        for (second, value) in [(1, b"one"), (2, b"two"), (3, b"two"), (4, b"thr"), (5, b"fou")] {
            keep(&dir, second, "u-1", value);
        }
        assert_eq!(texts(&dir, "u-1"), ["fou", "thr", "two"], "the oldest went");
        // What comes back is the newest again, once.
        keep(&dir, 6, "u-1", b"two");
        assert_eq!(texts(&dir, "u-1"), ["two", "fou", "thr"]);
        assert_eq!(texts(&dir, "u-2"), Vec::<String>::new(), "another cluster's");

        let content = &Journal::for_reading(dir).last_loaded(&cluster("u-1")).unwrap()[0];
        assert_eq!(content.values, state(b"two").values, "byte for byte");
        assert_eq!(content.images, ["hook:v1"]);
        let meta = fs::metadata(&content.file).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_was_changed_hides_no_other() {
        let home = tempfile::tempdir().unwrap();
        for (second, value) in [(1, b"one"), (2, b"two")] {
            keep(home.path(), second, "u-1", value);
        }
        let journal = Journal::for_reading(home.path().to_owned());
        let file = journal.last_loaded(&cluster("u-1")).unwrap()[0].file.clone();
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("two", "bad")).unwrap();
        assert_eq!(texts(home.path(), "u-1"), ["one"]);
        fs::write(&file, &text[..20]).unwrap();
        assert_eq!(texts(home.path(), "u-1"), ["one"]);
    }
}
