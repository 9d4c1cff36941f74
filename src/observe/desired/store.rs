//! Contents of files, read once by their hash and kept in the form in which they are stored: what is only ever
//! compressed is not kept otherwise, so that a large configuration costs what its ConfigMaps do.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::shelf::has_room_for;
use crate::git::{Blob, Repository, is_blob, is_blob_id};
use crate::model::{CONFIG_MAP_LIMIT, Failure, Trouble, sha256_hex};
use crate::prow::gzip::{deflate, inflate, is_gzip, unpacked};
use crate::prow::plugins::Stored;
use crate::prow::updater::Bytes;

/// What may be kept beside what the ConfigMaps of all maps can hold.
const SLACK: usize = 64 * 1024 * 1024;

/// A pointer of Git LFS is shorter, and begins so.
const LFS_BYTES: usize = 1024;
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

#[derive(Debug)]
enum Held {
    Content {
        plain: Option<Vec<u8>>,
        packed: Option<Vec<u8>>,
        /// Bytes before compression.
        raw: usize,
        /// sha256 (hex), of what is not compressed in git: it is what Prow reads, however it is stored.
        sha256: Option<String>,
        is_pointer: bool,
    },
    Nothing(Trouble),
}

/// By id.
#[derive(Debug, Default)]
pub(super) struct Store {
    held: HashMap<Arc<str>, Held>,
    bytes: usize,
    /// What an earlier process read.
    earlier: Packed,
    /// How many contents that could be kept git was asked for.
    asked: usize,
}

/// Contents by id, compressed.
pub(super) type Packed = HashMap<Arc<str>, Vec<u8>>;

/// What a content is needed for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Need {
    /// To be read here, whatever is stored of it.
    pub(super) read: bool,
    pub(super) stored: Stored,
}

impl Need {
    pub(super) fn to_read() -> Self {
        Need { read: true, stored: Stored::default() }
    }

    pub(super) fn add(&mut self, other: Need) {
        self.read |= other.read;
        self.stored.plain |= other.stored.plain;
        self.stored.gzip |= other.stored.gzip;
    }
}

impl Store {
    pub(super) fn with(earlier: Packed) -> Self {
        Store { earlier, ..Store::default() }
    }

    /// How many contents that could be kept git was asked for.
    pub(super) fn asked(&self) -> usize {
        self.asked
    }

    /// What is held, and with it what an earlier process read, where there is room; of what git knows by its hash.
    pub(super) fn packed(&self) -> Packed {
        let packed = |held: &Held| match held {
            Held::Content { plain, packed, .. } => packed.clone().or_else(|| plain.as_deref().map(deflate)),
            Held::Nothing(_) => None,
        };
        let held = self.held.iter().filter(|(id, _)| is_blob_id(id));
        let held: Packed = held.filter_map(|(id, held)| Some((id.clone(), packed(held)?))).collect();
        if !has_room_for(&held) {
            return Packed::new();
        }
        let mut both = self.earlier.clone();
        both.extend(held.iter().map(|(id, packed)| (id.clone(), packed.clone())));
        if has_room_for(&both) { both } else { held }
    }

    pub(super) fn has(&self, id: &Arc<str>) -> bool {
        self.held.contains_key(id)
    }

    /// Reads what is not held yet. `config_maps` is how many ConfigMaps the contents are for.
    pub(super) async fn load(
        &mut self,
        repository: &Repository,
        wanted: BTreeMap<Arc<str>, Need>,
        config_maps: usize,
    ) -> Result<(), Failure> {
        let most = SLACK + config_maps * 2 * CONFIG_MAP_LIMIT;
        let mut unread: Vec<(Arc<str>, Need)> = Vec::new();
        for (id, need) in wanted.into_iter().filter(|(id, _)| !self.has(id)).collect::<Vec<_>>() {
            match self.read_earlier(&id) {
                Some((content, packed)) => {
                    let held = self.hold(content, Some(packed), need, most);
                    self.held.insert(id, held);
                }
                None => unread.push((id, need)),
            }
        }
        if unread.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = unread.iter().map(|(id, _)| id.to_string()).collect();
        self.asked += ids.iter().filter(|id| is_blob_id(id)).count();
        repository
            .each_blob(&ids, &mut |n, blob| {
                let (id, need) = &unread[n];
                let held = match blob {
                    Blob::TooLarge(bytes) => Held::Nothing(Trouble::TooLarge { bytes }),
                    Blob::Whole(content) => self.hold(content, None, *need, most),
                };
                self.held.insert(id.clone(), held);
            })
            .await
    }

    /// What an earlier process read, if it is what the id says, and packed as we pack.
    fn read_earlier(&self, id: &str) -> Option<(Vec<u8>, Vec<u8>)> {
        let packed = self.earlier.get(id).filter(|packed| packed.len() <= CONFIG_MAP_LIMIT)?;
        let content = unpacked(packed)?;
        is_blob(id, &content).then(|| (content, packed.clone()))
    }

    fn hold(&mut self, content: Vec<u8>, packed: Option<Vec<u8>>, need: Need, most: usize) -> Held {
        let raw = content.len();
        let sha256 = (!is_gzip(&content)).then(|| sha256_hex(&content));
        let is_pointer = raw < LFS_BYTES && content.starts_with(LFS);
        let packed = need.stored.gzip.then(|| packed.unwrap_or_else(|| deflate(&content)));
        let packed = packed.filter(|packed| packed.len() <= CONFIG_MAP_LIMIT);
        let fits = need.stored.plain && raw <= CONFIG_MAP_LIMIT;
        let plain = (need.read || fits).then_some(content);
        let bytes = [&plain, &packed].into_iter().flatten().map(Vec::len).sum::<usize>();
        if (plain.is_none() && packed.is_none()) || (!need.read && self.bytes + bytes > most) {
            return Held::Nothing(Trouble::TooLarge { bytes: raw as u64 });
        }
        self.bytes += bytes;
        Held::Content { plain, packed, raw, sha256, is_pointer }
    }

    /// As it is in git.
    pub(super) fn plain(&self, id: &Arc<str>) -> Option<&[u8]> {
        match self.held.get(id)? {
            Held::Content { plain, .. } => plain.as_deref(),
            Held::Nothing(_) => None,
        }
    }

    /// sha256 (hex) of what Prow reads of it, if it reads through gzip. `None` where that is not known.
    pub(super) fn sha256(&self, id: &Arc<str>) -> Option<&str> {
        match self.held.get(id)? {
            Held::Content { sha256, .. } => sha256.as_deref(),
            Held::Nothing(_) => None,
        }
    }

    /// As it is to be stored.
    pub(super) fn bytes(&self, id: &Arc<str>, gzip: bool) -> Result<Bytes, Trouble> {
        match self.held.get(id) {
            None => Err(Trouble::Unread),
            Some(Held::Nothing(trouble)) => Err(trouble.clone()),
            Some(Held::Content { is_pointer: true, .. }) => Err(Trouble::LfsPointer),
            Some(Held::Content { plain, packed, raw, is_pointer: false, .. }) => {
                let stored = if gzip {
                    // Held for another revision, whose maps store it otherwise.
                    packed.clone().or_else(|| plain.as_deref().map(deflate))
                } else {
                    let unpacked = || packed.as_deref().and_then(|packed| inflate(packed).map(Cow::into_owned).ok());
                    plain.clone().or_else(unpacked)
                };
                let too_large = || Trouble::TooLarge { bytes: *raw as u64 };
                stored.map(|stored| Bytes { stored, raw: *raw }).ok_or_else(too_large)
            }
        }
    }
}
