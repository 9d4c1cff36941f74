//! Prow's own checkconfig on this machine: lays a configuration out as components find it, runs the program on it, and reads
//! its verdict. The only room that runs it.
//!
//! It is given nothing but those files: no environment, no network of ours, no terminal; it has a time limit and dies with
//! us, whatever kills us. What is no verdict (it is missing, hangs, was killed, is another program) is a failure, never an answer.
//!
//! - `folder`: the private temporary folder; `place`: where it lies, and how it goes when we are killed
//! - `leash`: a program that does not outlive us
//! - `verdict`: what it printed, in Prow's words
//!
//! To extend: another way to ask a Prow gives a [`Checked`] with a [`Witness`](crate::model::Witness) of its own.

mod folder;
mod leash;
mod place;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use crate::model::text::sanitize_line;
use crate::model::{Checkconfig, Checked, Failure, FailureKind, Timestamp, Witness};
use crate::prow::image::Tag;
use crate::prow::layout::Layout;

use folder::Folder;
use leash::Leash;
pub use verdict::{Ended, Exit, read as read_verdict};

/// On the largest configuration that we know it takes about a second.
const LIMIT: Duration = Duration::from_secs(30);
/// To refuse two words takes none.
const PROOF_LIMIT: Duration = Duration::from_secs(10);
/// The last of what it prints: its verdict is the last line, and a warning may quote thousands of jobs.
const KEPT: usize = 256 * 1024;
/// Only one cheap, local warning: the others cost time, ask the network, or stumble over gzip; none of them is about loading.
const ONE_WARNING: &str = "--warnings=mismatched-tide";

/// A checkconfig that was seen to refuse what every Prow refuses.
#[derive(Debug)]
pub struct Checker {
    program: Checkconfig,
    path: PathBuf,
    limit: Duration,
    warnings: Warnings,
}

/// Whether this version knows the flag that names warnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Warnings {
    One,
    All,
}

/// Where a checkconfig of a tag lies in the cache.
pub fn cached(cache: &Path, tag: &str) -> Option<PathBuf> {
    // A tag is one name; whatever else the API server takes for one leads nowhere.
    let is_name = !tag.is_empty() && !tag.starts_with('.') && !tag.contains(['/', '\0']);
    let path = cache.join("checkconfig").join(tag).join("checkconfig");
    (is_name && path.is_file()).then_some(path)
}

impl Checker {
    /// Takes this program for a checkconfig, and makes sure that it is one: it must refuse what no Prow loads. Its version is
    /// the tag that is given, else the one that a folder above it is named after.
    ///
    /// # Errors
    /// There is no such program, it cannot be run here, or it is no checkconfig.
    pub async fn open(path: &Path, tag: Option<&str>) -> Result<Checker, Failure> {
        Self::open_within(path, tag, LIMIT).await
    }

    async fn open_within(path: &Path, tag: Option<&str>, limit: Duration) -> Result<Checker, Failure> {
        let shown = sanitize_line(&path.display().to_string());
        let meta = tokio::fs::metadata(path).await.map_err(|error| {
            Failure::new(FailureKind::Usage, format!("no checkconfig at {shown}"))
                .cause(error.to_string())
                .hint("--checkconfig PATH: the program of the tag that is deployed, built from Prow's cmd/checkconfig")
        })?;
        if !meta.is_file() {
            return Err(Failure::new(FailureKind::Usage, format!("{shown} is no program"))
                .hint("--checkconfig takes the path of the program itself"));
        }
        // Where it is run from is a folder of its own.
        let path = tokio::fs::canonicalize(path).await.unwrap_or_else(|_| path.to_owned());
        let modified = meta.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
        let program = Checkconfig {
            path: shown,
            file: format!("{} bytes of {}", meta.len(), modified.unwrap_or(Timestamp::UNIX_EPOCH)),
            version: tag.map(str::to_owned).or_else(|| version_of(&path)),
        };
        let mut checker = Checker { program, path, limit, warnings: Warnings::One };
        checker.prove().await?;
        Ok(checker)
    }

    /// What it is.
    pub fn program(&self) -> &Checkconfig {
        &self.program
    }

    /// Would it load this?
    ///
    /// # Errors
    /// There is no verdict: it could not be asked, or ended without one.
    pub async fn check(&self, layout: &Layout<'_>, at: Timestamp) -> Result<Checked, Failure> {
        let folder = Folder::of(layout).await?;
        let words = match self.run(&folder, self.warnings, self.limit).await? {
            Ended::Accepted => None,
            Ended::Refused(words) => Some(words),
            Ended::UnknownFlag(words) => return Err(self.no_verdict(&words)),
        };
        Ok(Checked {
            content: layout.digest(),
            refused: words.map(|words| layout.objection(&words)),
            by: Witness::Checkconfig(self.program.clone()),
            at,
        })
    }

    /// A program that accepts everything, or refuses in no words of Prow's, proves nothing.
    async fn prove(&mut self) -> Result<(), Failure> {
        let folder = Folder::of_broken().await?;
        let limit = self.limit.min(PROOF_LIMIT);
        let mut ended = self.run(&folder, Warnings::One, limit).await?;
        if let Ended::UnknownFlag(_) = ended {
            self.warnings = Warnings::All;
            ended = self.run(&folder, Warnings::All, limit).await?;
        }
        match ended {
            Ended::Refused(_) => Ok(()),
            Ended::Accepted => Err(Failure::new(
                FailureKind::Usage,
                format!("{} is no checkconfig", self.program.path),
            )
            .cause("it accepts what no Prow loads")
            .hint("--checkconfig PATH: the program of the tag that is deployed, built from Prow's cmd/checkconfig")),
            Ended::UnknownFlag(words) => Err(self.no_verdict(&words)),
        }
    }

    async fn run(&self, folder: &Folder, warnings: Warnings, limit: Duration) -> Result<Ended, Failure> {
        let mut command = Command::new(&self.path);
        command.args(folder.flags());
        match warnings {
            Warnings::One => drop(command.arg(ONE_WARNING)),
            Warnings::All => {}
        }
        command
            .env_clear()
            .current_dir(folder.root())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut running = Leash::start(&mut command).await.map_err(|error| self.not_started(&error))?;
        let stderr = running.stderr();
        let reading = async {
            let text = match stderr {
                Some(stderr) => last_of(stderr).await,
                None => Vec::new(),
            };
            (running.wait().await, text)
        };
        let Ok((status, text)) = timeout(limit, reading).await else {
            running.kill().await;
            return Err(Failure::new(
                FailureKind::Tool,
                format!("{} gave no answer within {} s", self.program.path, limit.as_secs()),
            )
            .cause("it was killed")
            .hint("is it really Prow's checkconfig? run it by hand on this configuration"));
        };
        let status = status.map_err(|error| self.not_started(&error))?;
        let text = String::from_utf8_lossy(&text);
        let exit = status.code().map_or_else(|| Exit::Killed(status.to_string()), Exit::Code);
        read_verdict(&exit, &folder.as_mounted(&text)).map_err(|words| self.no_verdict(&words))
    }

    fn no_verdict(&self, words: &str) -> Failure {
        Failure::new(FailureKind::Tool, format!("{} ended without a verdict", self.program.path)).cause(words).hint(
            "that says nothing of the configuration: give the checkconfig of the deployed tag with --checkconfig PATH",
        )
    }

    fn not_started(&self, error: &std::io::Error) -> Failure {
        let failure =
            Failure::new(FailureKind::Tool, format!("{} cannot be run", self.program.path)).cause(error.to_string());
        // ENOEXEC: text without an interpreter, or a program for another machine.
        if error.raw_os_error() == Some(8) {
            return failure.hint("it is no program of this machine: build checkconfig for it");
        }
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => failure.hint("chmod +x, on a file system that allows programs"),
            _ => failure.hint("give another with --checkconfig PATH"),
        }
    }
}

/// The last [`KEPT`] bytes.
async fn last_of(mut from: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut part = vec![0; 16 * 1024];
    // A pipe that breaks has said what it said.
    while let Ok(read @ 1..) = from.read(&mut part).await {
        kept.extend_from_slice(&part[..read]);
        if kept.len() > 2 * KEPT {
            kept.drain(..kept.len() - KEPT);
        }
    }
    kept
}

/// The tag that the nearest folder is named after.
fn version_of(path: &Path) -> Option<String> {
    let folders = path.ancestors().filter_map(Path::file_name).filter_map(std::ffi::OsStr::to_str);
    folders.into_iter().find(|name| Tag::parse(name).is_some()).map(str::to_owned)
}

#[cfg(test)]
mod tests;
