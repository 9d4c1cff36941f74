//! Where folders for a checkconfig lie: in one folder of this user's, below the system's for temporary files. Each has a file
//! beside it that is locked for as long as it is in use. The system takes a lock from a process that dies; so a folder whose
//! lock can be had was left behind by a dead one, and goes.

use std::fs::{DirBuilder, File};
use std::io::{Error, Result};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

const LOCK: &str = "lock";
/// Somebody who clears up may take a lock in the moment before it is ours.
const TRIES: usize = 10;

/// A folder that nobody else may look into, and that goes when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    dir: PathBuf,
    /// Unlinked after the folder is gone.
    _lock: NamedTempFile,
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed now is tried again by whoever comes next.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Place {
    /// Makes one below `temporary`, after clearing up what dead processes left there.
    ///
    /// # Errors
    /// There is no room, no right to write, or another user has our place.
    pub(super) fn below(temporary: &Path) -> Result<Place> {
        let root = root(temporary)?;
        clear(&root);
        for _ in 0..TRIES {
            let lock = tempfile::Builder::new().prefix("").suffix(&format!(".{LOCK}")).tempfile_in(&root)?;
            // Not all file systems have locks. Where they do not, nobody clears up either.
            if matches!(lock.as_file().try_lock(), Err(std::fs::TryLockError::WouldBlock))
                || lock.as_file().metadata()?.nlink() == 0
            {
                continue;
            }
            let dir = lock.path().with_extension("");
            let place = Place { dir, _lock: lock };
            DirBuilder::new().mode(0o700).create(&place.dir)?;
            return Ok(place);
        }
        Err(Error::other(format!("{} is cleared up all the time", root.display())))
    }

    pub(super) fn path(&self) -> &Path {
        &self.dir
    }
}

/// The folder of this user. Its name can be guessed, so it is not taken from others.
fn root(temporary: &Path) -> Result<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let root = temporary.join(format!("prow-breakglass-check-{user}"));
    match DirBuilder::new().mode(0o700).create(&root) {
        Ok(()) => return Ok(root),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let meta = std::fs::symlink_metadata(&root)?;
    if !meta.is_dir() || meta.uid() != user || meta.mode() & 0o077 != 0 {
        return Err(Error::other(format!("{} is not a folder that only this user can open", root.display())));
    }
    Ok(root)
}

/// Removes what nobody uses. What cannot be removed stays: it is in nobody's way.
fn clear(root: &Path) {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    for lock in entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == LOCK)) {
        let Ok(file) = File::open(&lock) else { continue };
        if file.try_lock().is_ok() {
            let gone = |outcome: Result<()>| {
                outcome.is_ok() || matches!(outcome, Err(error) if error.kind() == std::io::ErrorKind::NotFound)
            };
            if gone(std::fs::remove_dir_all(lock.with_extension(""))) {
                let _ = std::fs::remove_file(&lock);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(root: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(root).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_the_dead_left_goes_and_what_is_in_use_stays() {
        let temporary = tempfile::tempdir().unwrap();
        let mine = Place::below(temporary.path()).unwrap();
        let root = mine.path().parent().unwrap().to_owned();
        assert_eq!(std::fs::metadata(&root).unwrap().mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(mine.path()).unwrap().mode() & 0o777, 0o700);
        // As a process leaves it that is killed: both there, the lock free.
        std::fs::create_dir_all(root.join("dead/config")).unwrap();
        std::fs::write(root.join("dead/config/config.yaml"), "secret").unwrap();
        std::fs::write(root.join("dead.lock"), "").unwrap();
        // And one that was killed while it cleared up.
        std::fs::write(root.join("bare.lock"), "").unwrap();
        let other = Place::below(temporary.path()).unwrap();
        let left = names(&root);
        assert_eq!(left.len(), 4, "{left:?}");
        assert!(mine.path().is_dir() && other.path().is_dir());
        drop((mine, other));
        assert_eq!(names(&root), [""; 0]);
    }

    #[test]
    fn a_folder_that_others_can_open_is_not_used() {
        let temporary = tempfile::tempdir().unwrap();
        let root = root(temporary.path()).unwrap();
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Place::below(temporary.path()).unwrap_err().to_string().contains("only this user"));
        std::fs::remove_dir(&root).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), &root).unwrap();
        assert!(Place::below(temporary.path()).unwrap_err().to_string().contains("only this user"));
        assert_eq!(names(elsewhere.path()), [""; 0]);
    }
}
