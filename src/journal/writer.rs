//! Writing a run's records: appended, chained, and on the disk before the call returns.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::model::{Failure, FailureKind, ObjectRef, sha256_hex};

use super::BACKUP;
use super::files::{self, Made};
use super::record::{BackupFile, Entry, Record, seal};
use crate::clock::Clock;

/// A run's journal, open for writing. Holds the run's lock until dropped; the kernel drops it with the process, so a
/// lock that is held means a process that lives.
#[derive(Debug)]
pub struct RunWriter {
    run: String,
    folder: PathBuf,
    file: File,
    chain: String,
    clock: Clock,
    /// A line may be on the disk in part: nothing may follow it.
    broken: bool,
}

impl RunWriter {
    pub(super) fn new(run: String, folder: PathBuf, file: File, chain: String, clock: Clock) -> Self {
        RunWriter { run, folder, file, chain, clock, broken: false }
    }

    /// Id of the run, such as `r-0007`.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Folder of the run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Appends a record. When it returns, the record is on the disk.
    ///
    /// # Errors
    /// The disk is full or gone. The journal takes no more records then, and the run must stop.
    pub fn append(&mut self, record: Record) -> Result<(), Failure> {
        let path = self.folder.join(super::JOURNAL);
        if self.broken {
            return Err(files::unwritable(&path, &std::io::Error::other("an earlier record could not be written")));
        }
        let entry = Entry { at: self.clock.now(), record };
        let (line, chain) = seal(&self.chain, &entry)
            .map_err(|error| Failure::new(FailureKind::Tool, "cannot encode a record").cause(error.to_string()))?;
        self.broken = true;
        self.file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.sync_data())
            .map_err(|error| files::unwritable(&path, &error))?;
        self.broken = false;
        self.chain = chain;
        Ok(())
    }

    /// Puts the object of step `n`, as the server gave it, into the backup folder. On the disk when it returns.
    ///
    /// # Errors
    /// The disk is full or gone: the step must not be sent.
    pub fn backup(&self, n: usize, object: &ObjectRef, json: &[u8]) -> Result<BackupFile, Failure> {
        let folder = self.folder.join(BACKUP);
        let sha256 = sha256_hex(json);
        // A step that is tried again must not overwrite what was kept the first time.
        for attempt in 1.. {
            let file = backup_name(n, object, attempt);
            if files::write_new_file(&folder.join(&file), json)? == Made::New {
                files::sync_folder(&folder)?;
                return Ok(BackupFile { file, sha256 });
            }
        }
        Err(Failure::new(FailureKind::Tool, "no free name in the backup folder"))
    }
}

/// `001-configmap-prow-job-config.json`; nothing of an object's name can lead out of the folder.
fn backup_name(n: usize, object: &ObjectRef, attempt: u32) -> String {
    let kind = object.kind.to_string().to_lowercase();
    let name: String = format!("{kind}-{}-{}", object.namespace, object.name)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '_' })
        .take(160)
        .collect();
    match attempt {
        1 => format!("{n:03}-{name}.json"),
        _ => format!("{n:03}-{name}.{attempt}.json"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Alias, Kind};

    #[test]
    fn a_backup_stays_in_its_folder() {
        let hostile = ObjectRef::new(&Alias::service(), "..", Kind::ConfigMap, "../../etc/passwd");
        assert_eq!(backup_name(1, &hostile, 1), "001-configmap-..-.._.._etc_passwd.json");
        assert_eq!(backup_name(12, &hostile, 2), "012-configmap-..-.._.._etc_passwd.2.json");
    }
}
