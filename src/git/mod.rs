//! Revisions and files of the configuration repository. The only room that runs `git`.
//!
//! Nothing here fetches, writes to a repository on disk, asks for a password, takes a lock or runs what a repository
//! configures (hooks, pagers, filters, external diffs). Bare repositories, work trees and shallow clones are fine.
//!
//! - `checkout`: a repository on disk
//! - `history`: one in memory, for the drills: it needs neither git nor a file
//! - `command`: one call of git, its environment and time limit
//! - `parse`: what git prints
//!
//! To extend: add a method to [`Repository`] and to both kinds; git's output goes through `-z` formats, paths and revisions
//! after `--end-of-options` or `--`.

mod checkout;
mod command;
mod history;
mod parse;

use std::path::Path;

use crate::model::{Failure, FailureKind, Revision, Timestamp};
use checkout::Checkout;
pub use history::{History, NewCommit};
pub use parse::{Change, Commit, EntryKind, Tree, TreeEntry};

/// A repository that has commits. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Disk(Checkout),
    Memory(History),
}

impl From<History> for Repository {
    fn from(history: History) -> Self {
        Repository(Kind::Memory(history))
    }
}

impl Repository {
    /// Opens the repository that holds `path`.
    ///
    /// # Errors
    /// The path is missing or no git repository, it has no commits, or git is not installed.
    pub async fn open(path: &Path) -> Result<Self, Failure> {
        Checkout::open(path).await.map(|checkout| Repository(Kind::Disk(checkout)))
    }

    /// The upstream's name and head; `HEAD` where the branch has no upstream.
    ///
    /// # Errors
    /// git fails.
    pub async fn upstream(&self) -> Result<(String, Revision), Failure> {
        match &self.0 {
            Kind::Disk(checkout) => checkout.upstream().await,
            Kind::Memory(history) => history.upstream(),
        }
    }

    /// The commit that a person's words mean.
    ///
    /// # Errors
    /// There is no such commit, or git fails.
    pub async fn resolve(&self, revision: &str) -> Result<Revision, Failure> {
        match &self.0 {
            Kind::Disk(checkout) => checkout.resolve(revision).await,
            Kind::Memory(history) => history.resolve(revision),
        }
    }

    /// All files of a commit.
    ///
    /// # Errors
    /// git fails.
    pub async fn tree(&self, revision: &Revision) -> Result<Tree, Failure> {
        match &self.0 {
            Kind::Disk(checkout) => checkout.tree(revision).await,
            Kind::Memory(history) => history.tree(revision),
        }
    }

    /// Contents of blobs, in the order asked.
    ///
    /// # Errors
    /// A blob is missing (a partial clone) or too large, or git fails.
    pub async fn blobs(&self, ids: &[String]) -> Result<Vec<Vec<u8>>, Failure> {
        match &self.0 {
            Kind::Disk(checkout) => checkout.blobs(ids).await,
            Kind::Memory(history) => history.blobs(ids),
        }
    }

    /// Commits on the first-parent line from `from` on that changed one of `paths` (files or folders; all where empty),
    /// newest first, each with its changes below those paths.
    ///
    /// # Errors
    /// git fails.
    pub async fn log(&self, from: &Revision, paths: &[String], limit: usize) -> Result<Vec<Commit>, Failure> {
        match &self.0 {
            Kind::Disk(checkout) => checkout.log(from, paths, limit).await,
            Kind::Memory(history) => history.log(from, paths, limit),
        }
    }

    /// The first parent of a commit; `None` for a root, and where a shallow clone ends.
    ///
    /// # Errors
    /// git fails.
    pub async fn parent(&self, revision: &Revision) -> Result<Option<Revision>, Failure> {
        match &self.0 {
            Kind::Disk(checkout) => checkout.parent(revision).await,
            Kind::Memory(history) => history.parent(revision),
        }
    }

    /// When this checkout last fetched; `None` where it never did, as far as it shows.
    pub async fn fetched(&self) -> Option<Timestamp> {
        match &self.0 {
            Kind::Disk(checkout) => checkout.fetched().await,
            Kind::Memory(history) => history.fetched(),
        }
    }

    /// Files of the work tree, tracked or not, without ignored ones.
    ///
    /// # Errors
    /// The repository has no work tree, or git fails.
    pub async fn worktree_files(&self) -> Result<Vec<String>, Failure> {
        match &self.0 {
            Kind::Disk(checkout) => checkout.worktree_files().await,
            Kind::Memory(_) => Err(no_worktree(&self.shown())),
        }
    }

    /// A file of the work tree, symlinks followed as long as they stay inside. `None` where it is not there.
    ///
    /// # Errors
    /// There is no work tree; the file lies outside, is not a plain file, is too large or cannot be read.
    pub async fn worktree_file(&self, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        match &self.0 {
            Kind::Disk(checkout) => checkout.worktree_file(path).await,
            Kind::Memory(_) => Err(no_worktree(&self.shown())),
        }
    }

    /// The path, or another name, as a person may see it.
    pub fn shown(&self) -> String {
        match &self.0 {
            Kind::Disk(checkout) => checkout.shown(),
            Kind::Memory(history) => history.shown().to_owned(),
        }
    }
}

fn no_worktree(shown: &str) -> Failure {
    Failure::new(FailureKind::Usage, format!("{shown} is bare: it has no work tree"))
        .hint("leave --worktree out, or give a checkout with --repo PATH")
}

fn unknown_revision(revision: &str, shown: &str) -> Failure {
    Failure::new(FailureKind::Usage, format!("no revision `{revision}` in {shown}"))
        .hint("a branch, tag or hash of this checkout; nothing is fetched unasked, so `git fetch` first")
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
