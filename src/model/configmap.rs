//! ConfigMaps, live and as git asks for them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Alias, Key, Mapping, Timestamp};

/// Values of a ConfigMap by key: the bytes, whichever of `data` and `binaryData` they lie in.
pub type Values = BTreeMap<String, Vec<u8>>;

/// What the API server takes at most: bytes of all values, in `data` and decoded `binaryData`; keys do not count.
pub const CONFIG_MAP_LIMIT: usize = 1_048_576;

/// A live ConfigMap.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigMapState {
    pub cluster: Alias,
    pub key: Key,
    pub uid: String,
    pub resource_version: String,
    pub immutable: bool,
    /// As stored: gzip values are still compressed.
    pub values: Values,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Who wrote, newest first, from managedFields.
    pub writers: Vec<Writer>,
}

impl ConfigMapState {
    /// One that holds nothing and was never written.
    pub fn named(cluster: &Alias, key: &Key) -> Self {
        ConfigMapState {
            cluster: cluster.clone(),
            key: key.clone(),
            uid: String::new(),
            resource_version: String::new(),
            immutable: false,
            values: Values::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            writers: Vec::new(),
        }
    }

    /// What the API server counts against its limit of 1,048,576 bytes: values, not keys.
    pub fn bytes(&self) -> usize {
        self.values.values().map(Vec::len).sum()
    }

    pub fn last_writer(&self) -> Option<&Writer> {
        self.writers.first()
    }
}

/// A field manager of managedFields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    pub manager: String,
    pub at: Option<Timestamp>,
}

impl std::fmt::Display for Writer {
    /// `config-updater at 2019-01-23T16:12:40Z`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let manager = if self.manager.is_empty() { "somebody who gave no name" } else { &self.manager };
        match self.at {
            Some(at) => write!(f, "{manager} at {at}"),
            None => f.write_str(manager),
        }
    }
}

/// A ConfigMap as a revision of the configuration repository asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredConfigMap {
    pub cluster: Alias,
    pub key: Key,
    pub entries: BTreeMap<String, DesiredEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredEntry {
    /// Path of the file in the repository.
    pub path: String,
    /// The bytes to be stored: gzip where the map says so.
    pub bytes: Vec<u8>,
    pub gzip: bool,
}

/// The configuration repository, as seen through one revision that a repair would write, and the history before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// Path of the checkout.
    pub repository: String,
    /// The upstream's head (else HEAD).
    pub head: Candidate,
    /// What was asked for with `--revision`.
    pub asked: Option<Candidate>,
    /// Revisions that changed mapped files, newest first, `head` included; enough of them to find a good one.
    pub candidates: Vec<Candidate>,
    /// Name of the upstream, such as `origin/master`.
    pub upstream: String,
    /// When the checkout last fetched, from FETCH_HEAD; `None` where it never did.
    pub fetched: Option<Timestamp>,
    /// What there is to know of the mapping: of what was asked for, else of the head.
    pub mapping: Mapping,
    /// What of the repository the program does not understand and so did not judge. Said, never guessed.
    pub not_understood: Vec<String>,
}

impl Desired {
    /// With older revisions, found by whoever looked further back than `candidates` go. Those that are there already, or are
    /// newer than the oldest of them (the repository was read again since), are left out.
    #[must_use]
    pub fn with_further(&self, further: &[Candidate]) -> Desired {
        let mut desired = self.clone();
        let oldest = self.candidates.last().map(|candidate| candidate.revision.committed);
        let is_older = |candidate: &&Candidate| oldest.is_none_or(|oldest| candidate.revision.committed <= oldest);
        for candidate in further.iter().filter(is_older) {
            if !desired.candidates.iter().any(|known| known.revision.id == candidate.revision.id) {
                desired.candidates.push(candidate.clone());
            }
        }
        desired
    }
}

/// A commit of the configuration repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Full hash.
    pub id: String,
    pub subject: String,
    pub author: String,
    pub committed: Timestamp,
}

impl Revision {
    /// Seven digits of the hash; `worktree` has no hash and keeps its name.
    pub fn short(&self) -> &str {
        match self.id.get(..7) {
            Some(digits) if self.id.bytes().all(|byte| byte.is_ascii_hexdigit()) => digits,
            Some(_) | None => &self.id,
        }
    }
}

/// A revision with the ConfigMaps that it asks for and what our own rules say of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub revision: Revision,
    pub config_maps: Result<std::sync::Arc<Vec<DesiredConfigMap>>, Unrendered>,
    /// What Prow's rules, as we know them, say against it. A GUESS: only Prow knows.
    pub objections: Vec<Objection>,
    /// Digest of what Prow reads of it; `None` where there is no config.yaml among it, so that no Prow can be asked.
    pub content: Option<String>,
}

/// Why a revision asks for no ConfigMaps, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unrendered {
    /// plugins.yaml is not there or does not parse: no Prow starts on that.
    #[error("{0}")]
    NoPlugins(String),
    /// No map makes one. Prow would not mind, and keep what it has.
    #[error("{0}")]
    MakesNone(String),
    /// What maps would make cannot be told.
    #[error("{0}")]
    NotJudged(String),
}

/// A reason to think that a Prow would refuse a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Objection {
    /// In Prow's words where it has some: `duplicated preset 'label:value' pair : a:b`.
    pub message: String,
    /// The ConfigMap and key it is about, where that can be told.
    #[serde(alias = "config_map")]
    pub config_map: Option<Key>,
    #[serde(alias = "config_key")]
    pub config_key: Option<String>,
    /// ConfigMap and key of what came first, where the objection is that something came twice. Either of the two may be
    /// the one that was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<(Key, String)>,
}

impl Objection {
    /// One that names no place.
    pub fn of(message: impl Into<String>) -> Self {
        Objection { message: message.into(), config_map: None, config_key: None, repeats: None }
    }

    /// ` (ConfigMap prow/job-config, key a.yaml)`; empty where the place is not known.
    pub fn place(&self) -> String {
        match (&self.config_map, &self.config_key) {
            (Some(map), Some(key)) => format!(" (ConfigMap {map}, key {key})"),
            (Some(map), None) => format!(" (ConfigMap {map})"),
            (None, _) => String::new(),
        }
    }
}
