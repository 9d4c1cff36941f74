//! Files and folders of the journal: private to their owner, and on the disk before we go on.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::model::{Failure, FailureKind};

/// What a folder that should be new turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    New,
    WasThere,
}

/// Creates a folder (0700) and those above it.
pub fn make_folders(path: &Path) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| unwritable(path, &error))
}

/// Creates one folder (0700), telling whether it is new: two processes cannot both get a new one.
pub fn make_new_folder(path: &Path) -> Result<Made, Failure> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(Made::New),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Made::WasThere),
        Err(error) => Err(unwritable(path, &error)),
    }
}

/// Creates a new file (0600).
pub fn new_file(path: &Path) -> Result<File, Failure> {
    open_new(path).map_err(|error| unwritable(path, &error))
}

fn open_new(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)
}

/// Writes a new file (0600) and waits until it is on the disk. `Made::WasThere` leaves an existing one alone.
pub fn write_new_file(path: &Path, bytes: &[u8]) -> Result<Made, Failure> {
    let mut file = match open_new(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(Made::WasThere),
        Err(error) => return Err(unwritable(path, &error)),
    };
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| unwritable(path, &error))?;
    Ok(Made::New)
}

/// Waits until the names in a folder are on the disk.
pub fn sync_folder(path: &Path) -> Result<(), Failure> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| unwritable(path, &error))
}

pub fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(FailureKind::Tool, format!("cannot write the journal at {}", path.display()))
        .cause(error.to_string())
        .hint("nothing is written to a cluster without a journal: make room, or name another place with --journal DIR")
}

pub fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(FailureKind::Tool, format!("cannot read the journal at {}", path.display()))
        .cause(error.to_string())
        .hint("look at its rights, or name another place with --journal DIR")
}
