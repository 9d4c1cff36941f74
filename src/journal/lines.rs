//! What is remembered beside the runs: files of lines, one JSON value each, only ever appended to. A line that cannot be read
//! (torn by a crash, written by another version) tells nothing and stops nobody.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::files;
use crate::model::{Failure, FailureKind};

/// Appends those of the values that `is_known` does not find in the file's text, which it is asked with the file locked: two
/// commands may look at the same time, and the second one finds what the first one wrote. On the disk when it returns.
///
/// # Errors
/// The file cannot be written.
pub fn append<T: Serialize>(
    dir: &Path,
    name: &str,
    new: &[T],
    is_known: impl Fn(&T, &[u8]) -> bool,
) -> Result<(), Failure> {
    if new.is_empty() {
        return Ok(());
    }
    let path = dir.join(name);
    files::make_folders(dir)?;
    let unwritable = |error: std::io::Error| files::unwritable(&path, &error);
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path).map_err(unwritable)?;
    file.lock().map_err(unwritable)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(unwritable)?;
    let mut lines = Vec::new();
    // A torn line must not swallow the next one.
    if text.last().is_some_and(|byte| *byte != b'\n') {
        lines.push(b'\n');
    }
    for value in new.iter().filter(|value| !is_known(value, &text)) {
        let line = serde_json::to_vec(value).map_err(|error| {
            Failure::new(FailureKind::Tool, format!("cannot encode what belongs into {name}")).cause(error.to_string())
        })?;
        lines.extend(line);
        lines.push(b'\n');
    }
    file.write_all(&lines).and_then(|()| file.sync_all()).map_err(unwritable)?;
    files::sync_folder(dir)
}

/// The text of a file; empty where it is not there.
///
/// # Errors
/// It is there and cannot be read.
pub fn read(dir: &Path, name: &str) -> Result<Vec<u8>, Failure> {
    let path = dir.join(name);
    let mut text = Vec::new();
    match File::open(&path).and_then(|mut file| file.read_to_end(&mut text)) {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(files::unreadable(&path, &error)),
    }
}

/// The values of a text, newest first.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> Vec<T> {
    let lines = text.split(|byte| *byte == b'\n');
    let mut values: Vec<T> = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    values.reverse();
    values
}
