//! What was read of repositories, kept for the next start: files are read once, whatever starts how often.
//!
//! Nothing is believed of it. A content is taken for what git would give only where it has git's own hash; what was understood
//! of a file counts for the very bytes and for this build of the program. A shelf that is not there, damaged or somebody
//! else's is an empty one, and one that cannot be written is no reason to stop.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::store::Packed;
use crate::prow::ReadFiles;
use crate::prow::load::ReadFile;

const FILE: &str = "repository-files.json";
/// Where there is more, only what was needed now is kept. A large configuration has a quarter of it, history included.
const MOST_BYTES: usize = 8 * 1024 * 1024;
const MOST_FILES: usize = 10_000;

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
        let path = folder.join(FILE);
        tokio::task::spawn_blocking(move || Shelf::read(&path).unwrap_or_default()).await.unwrap_or_default()
    }

    fn read(path: &Path) -> Option<Shelf> {
        let stored: Stored = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let content =
            |(id, packed): (String, String)| Some((Arc::from(id.as_str()), BASE64_STANDARD.decode(packed).ok()?));
        let read = if build() == Some(stored.build) { stored.read } else { Vec::new() };
        Some(Shelf {
            contents: stored.contents.into_iter().filter_map(content).collect(),
            read: read.into_iter().collect(),
        })
    }

    /// Puts it into the folder, which is made; as a whole or not at all.
    pub(super) async fn store(self, folder: PathBuf) {
        // What else there is of it was not needed, or is read again.
        drop(tokio::task::spawn_blocking(move || self.write(&folder)).await);
    }

    fn write(self, folder: &Path) -> std::io::Result<()> {
        let Some(build) = build() else { return Ok(()) };
        let fits = self.read.len() <= MOST_FILES;
        let stored = Stored {
            build,
            contents: self
                .contents
                .iter()
                .map(|(id, packed)| (id.to_string(), BASE64_STANDARD.encode(packed)))
                .collect(),
            read: if fits { self.read.iter().collect() } else { Vec::new() },
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut file =
            tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o600)).tempfile_in(folder)?;
        file.write_all(&serde_json::to_vec(&stored)?)?;
        file.persist(folder.join(FILE))?;
        Ok(())
    }
}

/// Whether so much may lie there.
pub(super) fn has_room_for(contents: &Packed) -> bool {
    contents.values().map(Vec::len).sum::<usize>() <= MOST_BYTES
}

/// Tells this build of the program from others: what reads files differs from one to the next.
fn build() -> Option<String> {
    let program = std::fs::metadata(std::env::current_exe().ok()?).ok()?;
    let changed = program.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{} {} {}", env!("CARGO_PKG_VERSION"), program.len(), changed.as_nanos()))
}
