//! The folder of a bed, and the removal of folders whose bed was killed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

const PREFIX: &str = "prow-breakglass-bed-";
const LOCK: &str = "lock";

/// A temporary folder that is held as long as this lives.
pub struct Workspace {
    dir: Option<TempDir>,
    _lock: File,
}

impl Workspace {
    pub fn create() -> Result<Self> {
        sweep(&std::env::temp_dir());
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir()?;
        let lock = File::create(dir.path().join(LOCK))?;
        lock.lock().context("lock the bed's folder")?;
        Ok(Self { dir: Some(dir), _lock: lock })
    }

    pub fn path(&self) -> PathBuf {
        self.dir.as_ref().map_or_else(PathBuf::new, |dir| dir.path().to_owned())
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let Some(dir) = self.dir.take() else { return };
        let path = dir.keep();
        // A killed program may still create files while it is torn down.
        for _ in 0..50 {
            if fs::remove_dir_all(&path).is_ok() || !path.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("bed: could not remove {}", path.display());
    }
}

/// Removes what beds left that were killed: nobody holds their lock any more.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // A bed that is just being born has its folder before its lock.
        let Ok(lock) = File::open(entry.path().join(LOCK)) else {
            continue;
        };
        let age = lock.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > Duration::from_secs(60)) && lock.try_lock().is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
