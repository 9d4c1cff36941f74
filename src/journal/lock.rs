//! The lock on a run's journal: the kernel's, which goes with the process.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use super::{Journal, RunState, files};
use crate::model::{Failure, FailureKind};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);
/// Who wants to write can wait for it; who merely looks, for no more than a child takes to start.
const TRIES_TO_WRITE: u32 = 40;
const TRIES_TO_LOOK: u32 = 5;

impl Journal {
    /// Takes the lock of a run, for writing.
    pub(super) fn take_lock(&self, run: &str, path: &Path, file: &File) -> Result<(), Failure> {
        if is_got(TRIES_TO_WRITE, || file.try_lock()).map_err(|error| files::unwritable(path, &error))? {
            return Ok(());
        }
        let who = match self.run(run)?.state {
            RunState::Running { pid } => format!("process {pid}"),
            RunState::Ended | RunState::Interrupted { .. } | RunState::Damaged { .. } => "another process".to_owned(),
        };
        Err(held(run, &who))
    }
}

/// Whether a living process holds the lock.
pub(super) fn is_held(file: &File) -> std::io::Result<bool> {
    Ok(!is_got(TRIES_TO_LOOK, || file.try_lock_shared())?)
}

pub(super) fn held(run: &str, who: &str) -> Failure {
    Failure::new(FailureKind::Refused, format!("{who} is at work on run {run}"))
        .hint("let it end, or end that process; then look at the run again")
}

/// Somebody who merely looks at the run holds the lock for the time of a read, and a child that any thread is just starting
/// shares it until it has become its program: a few tries tell them from who is at work.
fn is_got(tries: u32, mut lock: impl FnMut() -> Result<(), TryLockError>) -> std::io::Result<bool> {
    for _ in 0..tries {
        match lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}
