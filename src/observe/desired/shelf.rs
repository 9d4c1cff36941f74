//! What was read of repositories, kept for the next start: files are read once, whatever starts how often.
//!
//! It is a file of our own, or it is nothing: a regular one that nobody else can write, of this build of the program, with the
//! digest that it was given. Of what is in it a content is taken for what git would give only where it has git's own hash. A
//! shelf that is not there, damaged or somebody else's is an empty one, and one that cannot be written is no reason to stop.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, Metadata, OpenOptions, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::store::Packed;
use crate::model::sha256_hex;
use crate::prow::ReadFiles;
use crate::prow::load::ReadFile;

const FILE: &str = "repository-files.json";
/// Where there is more, only what was needed now is kept, and nothing where that alone is more. A large configuration has a
/// quarter of it, history included.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// The whole file: contents in base64, and what was understood of them.
const MOST_STORED: u64 = 24 * 1024 * 1024;
/// A disk that does not answer is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is on the shelf.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    pub(super) contents: Packed,
    pub(super) read: ReadFiles,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    /// The program that read the files.
    build: String,
    /// Base64 of gzip, by git's id.
    contents: BTreeMap<String, String>,
    read: Vec<ReadFile>,
}

impl Shelf {
    pub(super) async fn load(folder: &Path) -> Shelf {
        let folder = folder.to_owned();
        let reading = tokio::task::spawn_blocking(move || Shelf::read(&folder));
        match tokio::time::timeout(PATIENCE, reading).await {
            Ok(Ok(Some(shelf))) => shelf,
            Ok(Ok(None) | Err(_)) | Err(_) => Shelf::default(),
        }
    }

    fn read(folder: &Path) -> Option<Shelf> {
        if !is_ours(&std::fs::metadata(folder).ok()?) {
            return None;
        }
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let flags = i32::try_from(flags).ok()?;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(folder.join(FILE)).ok()?;
        let about = file.metadata().ok()?;
        if !about.is_file() || !is_ours(&about) || about.len() > MOST_STORED {
            return None;
        }
        let mut text = String::new();
        file.take(MOST_STORED).read_to_string(&mut text).ok()?;
        let (digest, body) = text.split_once('\n')?;
        if sha256_hex(body.as_bytes()) != digest {
            return None;
        }
        let stored: Stored = serde_json::from_str(body).ok()?;
        let content =
            |(id, packed): (String, String)| Some((Arc::from(id.as_str()), BASE64_STANDARD.decode(packed).ok()?));
        // Another build packs otherwise, too.
        (build()? == stored.build).then(|| Shelf {
            contents: stored.contents.into_iter().filter_map(content).collect(),
            read: stored.read.into_iter().collect(),
        })
    }

    /// Puts it into the folder, which is made; as a whole or not at all.
    pub(super) async fn store(self, folder: PathBuf) {
        let writing = tokio::task::spawn_blocking(move || self.write(&folder));
        // That it was not written costs the next start its time.
        drop(tokio::time::timeout(PATIENCE, writing).await);
    }

    fn write(self, folder: &Path) -> std::io::Result<()> {
        let Some(build) = build() else { return Ok(()) };
        let contents = self.contents.iter().map(|(id, packed)| (id.to_string(), BASE64_STANDARD.encode(packed)));
        let stored = Stored { build, contents: contents.collect(), read: self.read.iter().collect() };
        let body = serde_json::to_string(&stored)?;
        let text = format!("{}\n{body}", sha256_hex(body.as_bytes()));
        if text.len() as u64 > MOST_STORED {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        if !is_ours(&std::fs::metadata(folder)?) {
            return Ok(());
        }
        let mut file = tempfile::Builder::new().permissions(Permissions::from_mode(0o600)).tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.persist(folder.join(FILE))?;
        Ok(())
    }
}

/// Whether nobody but this user can have written it.
fn is_ours(about: &Metadata) -> bool {
    about.uid() == rustix::process::geteuid().as_raw() && about.mode() & 0o022 == 0
}

/// Whether so much may lie there.
pub(super) fn has_room_for(contents: &Packed) -> bool {
    contents.values().map(Vec::len).sum::<usize>() <= MOST_BYTES
}

/// Tells this build of the program from others: what reads and packs files differs from one to the next.
fn build() -> Option<String> {
    let program = std::fs::metadata(std::env::current_exe().ok()?).ok()?;
    let changed = program.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{} {} {}", env!("CARGO_PKG_VERSION"), program.len(), changed.as_nanos()))
}
