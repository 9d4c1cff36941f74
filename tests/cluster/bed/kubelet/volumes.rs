//! ConfigMaps and Secrets as files, the way a kubelet lays them out: a folder of links through `..data`, which is
//! swapped in one rename, so that a reader sees the old content or the new one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec, ProjectedVolumeSource, Secret, Volume};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;

type Files = BTreeMap<String, Vec<u8>>;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    ConfigMap,
    Secret,
}

type Key = (Kind, String, String);

/// The live ConfigMaps and Secrets of some namespaces.
pub struct Store {
    objects: Mutex<HashMap<Key, Arc<Files>>>,
    changed: watch::Sender<u64>,
}

impl Store {
    pub fn new() -> Self {
        Self { objects: Mutex::new(HashMap::new()), changed: watch::Sender::new(0) }
    }

    /// Counts changes of any object.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Follows the namespace's objects for ever.
    pub async fn follow(&self, client: Client, namespace: &str) {
        let config = watcher::Config::default;
        let maps = watcher(Api::<ConfigMap>::namespaced(client.clone(), namespace), config())
            .default_backoff()
            .for_each(|event| {
                self.observe(Kind::ConfigMap, event, map_files);
                std::future::ready(())
            });
        let secrets =
            watcher(Api::<Secret>::namespaced(client, namespace), config()).default_backoff().for_each(|event| {
                self.observe(Kind::Secret, event, secret_files);
                std::future::ready(())
            });
        tokio::join!(maps, secrets);
    }

    fn observe<K: kube::Resource>(&self, kind: Kind, event: watcher::Result<watcher::Event<K>>, files: fn(K) -> Files) {
        // The API server is away; the watcher tries again.
        let Ok(event) = event else { return };
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let key = |object: &K| {
            let namespace = object.namespace().unwrap_or_default();
            (kind, namespace, object.name_any())
        };
        match event {
            watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                objects.insert(key(&object), Arc::new(files(object)));
            }
            watcher::Event::Delete(object) => {
                objects.remove(&key(&object));
            }
            watcher::Event::Init | watcher::Event::InitDone => {}
        }
        self.changed.send_modify(|count| *count += 1);
    }

    fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<Files>> {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.get(&(kind, namespace.to_owned(), name.to_owned())).cloned()
    }
}

fn map_files(map: ConfigMap) -> Files {
    let text = map.data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.into_bytes()));
    let binary = map.binary_data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0));
    text.chain(binary).collect()
}

fn secret_files(secret: Secret) -> Files {
    secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()
}

/// The volumes of one pod below a folder of its own.
pub struct Volumes {
    dir: PathBuf,
    written: HashMap<String, Arc<Files>>,
    generation: u32,
}

impl Volumes {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, written: HashMap::new(), generation: 0 }
    }

    /// Where a volume's files are.
    pub fn path(&self, volume: &str) -> PathBuf {
        self.dir.join(volume)
    }

    /// Brings all files up to date. `Ok` holds a message for each object that is missing and that the pod cannot
    /// start without; a running pod keeps its old files in that case, as on a real node.
    pub fn refresh(&mut self, store: &Store, namespace: &str, spec: &PodSpec) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        for volume in spec.volumes.iter().flatten() {
            if let Some(projected) = &volume.projected {
                match projected_files(store, namespace, projected) {
                    Ok(files) => self.write(&volume.name, Arc::new(files))?,
                    // A running pod keeps its old files.
                    Err(_) if self.written.contains_key(&volume.name) => {}
                    Err(name) => missing.push(format!(
                        "MountVolume.SetUp failed for volume \"{}\" : configmap \"{name}\" not found",
                        volume.name
                    )),
                }
                continue;
            }
            let Some((kind, name, optional)) = source(volume) else {
                std::fs::create_dir_all(self.path(&volume.name))?;
                continue;
            };
            match store.get(kind, namespace, &name) {
                Some(files) => self.write(&volume.name, files)?,
                None if optional || self.written.contains_key(&volume.name) => {
                    std::fs::create_dir_all(self.path(&volume.name))?;
                }
                None => {
                    let what = match kind {
                        Kind::ConfigMap => "configmap",
                        Kind::Secret => "secret",
                    };
                    missing.push(format!(
                        "MountVolume.SetUp failed for volume \"{}\" : {what} \"{name}\" not found",
                        volume.name
                    ));
                }
            }
        }
        Ok(missing)
    }

    fn write(&mut self, volume: &str, files: Arc<Files>) -> Result<()> {
        if self.written.get(volume).is_some_and(|written| *written == files) {
            return Ok(());
        }
        let dir = self.path(volume);
        self.generation += 1;
        let fresh = format!("..{}", self.generation);
        std::fs::create_dir_all(dir.join(&fresh))?;
        for (key, value) in files.iter() {
            let file = dir.join(&fresh).join(key);
            if let Some(parent) = file.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(file, value).with_context(|| format!("write {key}"))?;
        }
        let data = dir.join("..data");
        let previous = std::fs::read_link(&data).ok();
        let next = dir.join("..data_tmp");
        std::os::unix::fs::symlink(&fresh, &next)?;
        std::fs::rename(&next, &data)?;
        // A path of several parts is linked by its first.
        let top = |key: &String| key.split('/').next().unwrap_or_default().to_owned();
        for key in files.keys().map(top) {
            let link = dir.join(&key);
            if link.symlink_metadata().is_err() {
                std::os::unix::fs::symlink(Path::new("..data").join(&key), &link)?;
            }
        }
        if let Some(written) = self.written.insert(volume.to_owned(), Arc::clone(&files)) {
            let kept: BTreeSet<String> = files.keys().map(top).collect();
            let before: BTreeSet<String> = written.keys().map(top).collect();
            for gone in before.difference(&kept) {
                std::fs::remove_file(dir.join(gone))?;
            }
        }
        if let Some(previous) = previous {
            std::fs::remove_dir_all(dir.join(previous))?;
        }
        Ok(())
    }
}

/// The keys that a projected volume takes of its ConfigMaps; `Err` names one that is not there.
fn projected_files(store: &Store, namespace: &str, volume: &ProjectedVolumeSource) -> Result<Files, String> {
    let mut files = Files::new();
    for map in volume.sources.iter().flatten().filter_map(|source| source.config_map.as_ref()) {
        let found = store.get(Kind::ConfigMap, namespace, &map.name).ok_or_else(|| map.name.clone())?;
        match &map.items {
            None => files.extend(found.iter().map(|(key, value)| (key.clone(), value.clone()))),
            Some(items) => {
                for item in items {
                    let value = found.get(&item.key).ok_or_else(|| map.name.clone())?;
                    files.insert(item.path.clone(), value.clone());
                }
            }
        }
    }
    Ok(files)
}

fn source(volume: &Volume) -> Option<(Kind, String, bool)> {
    if let Some(map) = &volume.config_map {
        return Some((Kind::ConfigMap, map.name.clone(), map.optional.unwrap_or(false)));
    }
    let secret = volume.secret.as_ref()?;
    let name = secret.secret_name.clone().unwrap_or_default();
    Some((Kind::Secret, name, secret.optional.unwrap_or(false)))
}
