//! One call of git: a quiet environment, a time limit, no way to the network.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::model::text::sanitize_line;

const LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum GitError {
    #[error("git is not installed")]
    NotInstalled,
    #[error("no answer within {} s", LIMIT.as_secs())]
    TimedOut,
    #[error("{stderr}")]
    Exit { stderr: String },
    #[error("{0}")]
    Broken(String),
}

impl GitError {
    pub(super) fn broken(error: std::io::Error) -> Self {
        GitError::Broken(error.to_string())
    }
}

/// git in a folder.
#[derive(Debug, Clone)]
pub(super) struct Git {
    folder: PathBuf,
}

impl Git {
    pub(super) fn at(folder: &Path) -> Self {
        Git { folder: folder.to_owned() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("--no-pager").arg("-C").arg(&self.folder);
        // What a repository's own configuration could make git run, reach or print otherwise.
        for setting in [
            "core.fsmonitor=false",
            "core.hooksPath=/dev/null",
            "protocol.allow=never",
            "log.showSignature=false",
            "log.showRoot=true",
            "log.follow=false",
            "i18n.logOutputEncoding=UTF-8",
        ] {
            command.arg("-c").arg(setting);
        }
        command.args(args);
        // Inside a hook these point at another repository.
        for name in [
            "GIT_DIR",
            "GIT_WORK_TREE",
            "GIT_INDEX_FILE",
            "GIT_OBJECT_DIRECTORY",
            "GIT_ALTERNATE_OBJECT_DIRECTORIES",
            "GIT_COMMON_DIR",
            "GIT_NAMESPACE",
            "GIT_PREFIX",
            "GIT_EXTERNAL_DIFF",
            "GIT_GLOB_PATHSPECS",
            "GIT_NOGLOB_PATHSPECS",
            "GIT_ICASE_PATHSPECS",
        ] {
            command.env_remove(name);
        }
        command
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// What it prints.
    pub(super) async fn bytes(&self, args: &[&str]) -> Result<Vec<u8>, GitError> {
        let out = self.limited(async { self.command(args).output().await.map_err(not_started) }).await?;
        if out.status.success() {
            return Ok(out.stdout);
        }
        let stderr = String::from_utf8_lossy(&out.stderr);
        let stderr = sanitize_line(stderr.trim());
        let stderr = if stderr.is_empty() { format!("git ended with {}", out.status) } else { stderr };
        Err(GitError::Exit { stderr })
    }

    /// What it prints, as text without the last newline.
    pub(super) async fn text(&self, args: &[&str]) -> Result<String, GitError> {
        let out = self.bytes(args).await?;
        let text = String::from_utf8(out).map_err(|_| GitError::Broken("git printed no UTF-8".to_owned()))?;
        Ok(text.trim_end_matches('\n').to_owned())
    }

    /// A git that is talked to. It is killed when dropped.
    pub(super) fn piped(&self, args: &[&str]) -> Result<Child, GitError> {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stderr(Stdio::null());
        command.spawn().map_err(not_started)
    }

    pub(super) async fn limited<T>(&self, work: impl Future<Output = Result<T, GitError>>) -> Result<T, GitError> {
        timeout(LIMIT, work).await.unwrap_or(Err(GitError::TimedOut))
    }
}

fn not_started(error: std::io::Error) -> GitError {
    if error.kind() == std::io::ErrorKind::NotFound { GitError::NotInstalled } else { GitError::broken(error) }
}
