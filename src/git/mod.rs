//! Revisions and files of the configuration repository. The only room that runs `git`.
//!
//! Nothing here fetches, writes to a repository on disk, asks for a password, takes a lock or runs what a repository
//! configures (hooks, pagers, filters, external diffs). Bare repositories, work trees and shallow clones are fine.
//!
//! - `checkout`: a repository on disk
//! - `folder`: files as they lie there, of a work tree or of a directory that is no repository
//! - `history`: one in memory, for the drills: it needs neither git nor a file
//! - `command`: one call of git, its environment and time limit
//! - `parse`: what git prints
//!
//! To extend: add a method to [`Repository`] and to both kinds; git's output goes through `-z` formats, paths and revisions
//! after `--end-of-options` or `--`.

mod checkout;
mod command;
mod folder;
mod history;
mod parse;

use std::path::Path;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::model::text::sanitize_line;
use crate::model::{Failure, FailureKind, Revision, Timestamp};
use checkout::Checkout;
use folder::Folder;
pub use history::{History, NewCommit};
pub use parse::{Change, Commit, EntryKind, Tree, TreeEntry};

/// A blob larger than this is not configuration.
const LARGEST_BLOB: u64 = 32 * 1024 * 1024;

/// The content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blob {
    Whole(Vec<u8>),
    /// So many bytes, which nobody wants to read.
    TooLarge(u64),
}

/// A repository that has commits, or a folder that stands for one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Disk(Checkout),
    Files(Folder),
    Memory(History),
}

impl From<History> for Repository {
    fn from(history: History) -> Self {
        Repository(Kind::Memory(history))
    }
}

impl Repository {
    /// Opens the repository that holds `path`; a folder that is in no repository is read as it lies there.
    ///
    /// # Errors
    /// The path is missing or no folder, the repository has no commits, or git is not installed.
    pub async fn open(path: &Path) -> Result<Self, Failure> {
        let opened = Checkout::open(path).await?;
        Ok(Repository(opened.map_or_else(|| Kind::Files(Folder::of(path)), Kind::Disk)))
    }

    /// The work tree, as a repository of one revision: files tracked or not, without ignored ones. Of a folder: itself.
    ///
    /// # Errors
    /// There is none, or git fails.
    pub async fn worktree(&self) -> Result<Self, Failure> {
        match &self.0 {
            Kind::Disk(checkout) => checkout.worktree().await.map(|folder| Repository(Kind::Files(folder))),
            Kind::Files(_) => Ok(self.clone()),
            Kind::Memory(_) => Err(no_worktree(&self.shown())),
        }
    }

    /// `org/repo`, as the address of the remote `origin` ends; `None` where there is none.
    pub async fn origin(&self) -> Option<String> {
        match &self.0 {
            Kind::Disk(checkout) => checkout.origin().await,
            Kind::Files(_) | Kind::Memory(_) => None,
        }
    }

    /// The upstream's name and head; `HEAD` where the branch has no upstream.
    ///
    /// # Errors
    /// git fails.
    pub async fn upstream(&self) -> Result<(String, Revision), Failure> {
        match &self.0 {
            Kind::Disk(checkout) => checkout.upstream().await,
            Kind::Files(folder) => Ok(("folder".to_owned(), folder.revision().await?)),
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
            Kind::Files(folder) if folder.is_name(revision) => folder.revision().await,
            Kind::Files(_) => Err(Failure::new(
                FailureKind::Usage,
                format!("no revision `{}`: {} is no git repository", sanitize_line(revision), self.shown()),
            )
            .hint("leave --revision out, or give a repository with --repo PATH")),
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
            Kind::Files(folder) => folder.tree().await,
            Kind::Memory(history) => history.tree(revision),
        }
    }

    /// Contents of blobs, in the order asked.
    ///
    /// # Errors
    /// A blob is missing (a partial clone) or too large, or git fails.
    pub async fn blobs(&self, ids: &[String]) -> Result<Vec<Vec<u8>>, Failure> {
        let mut blobs = Vec::with_capacity(ids.len());
        let mut too_large = None;
        self.each_blob(ids, &mut |n, blob| match blob {
            Blob::Whole(content) => blobs.push(content),
            Blob::TooLarge(bytes) => too_large = Some((n, bytes)),
        })
        .await?;
        match too_large {
            None => Ok(blobs),
            Some((n, bytes)) => Err(Failure::new(
                FailureKind::Tool,
                format!("file {} of the repository has {bytes} bytes, which is no configuration", ids[n]),
            )),
        }
    }

    /// Gives the contents of blobs one after the other, in the order asked, so that they need not all be held.
    ///
    /// # Errors
    /// A blob is missing (a partial clone), or git fails.
    pub async fn each_blob(&self, ids: &[String], take: &mut (dyn FnMut(usize, Blob) + Send)) -> Result<(), Failure> {
        match &self.0 {
            Kind::Disk(checkout) => checkout.blobs(ids, LARGEST_BLOB, take).await,
            Kind::Files(folder) => folder.blobs(ids, LARGEST_BLOB, take).await,
            Kind::Memory(history) => {
                let blobs = history.blobs(ids)?;
                blobs.into_iter().enumerate().for_each(|(n, content)| take(n, Blob::Whole(content)));
                Ok(())
            }
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
            Kind::Files(_) => Ok(Vec::new()),
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
            Kind::Files(_) => Ok(None),
            Kind::Memory(history) => history.parent(revision),
        }
    }

    /// True where the history may go on beyond what is here: a shallow clone.
    pub async fn is_shallow(&self) -> bool {
        match &self.0 {
            Kind::Disk(checkout) => checkout.is_shallow().await,
            Kind::Files(_) | Kind::Memory(_) => false,
        }
    }

    /// True for files as they lie there: one revision, which nothing came before.
    pub fn is_folder(&self) -> bool {
        match &self.0 {
            Kind::Files(_) => true,
            Kind::Disk(_) | Kind::Memory(_) => false,
        }
    }

    /// When this checkout last fetched; `None` where it never did, as far as it shows.
    pub async fn fetched(&self) -> Option<Timestamp> {
        match &self.0 {
            Kind::Disk(checkout) => checkout.fetched().await,
            Kind::Files(_) => None,
            Kind::Memory(history) => history.fetched(),
        }
    }

    /// The path, or another name, as a person may see it.
    pub fn shown(&self) -> String {
        match &self.0 {
            Kind::Disk(checkout) => checkout.shown(),
            Kind::Files(folder) => folder.shown(),
            Kind::Memory(history) => history.shown().to_owned(),
        }
    }
}

/// Whether git knows a content by this, and by nothing but its hash.
pub fn is_blob_id(id: &str) -> bool {
    matches!(id.len(), 40 | 64) && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a content is the one that git knows by this id.
pub fn is_blob(id: &str, content: &[u8]) -> bool {
    let header = format!("blob {}\0", content.len());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match id.len() {
        40 => hex(&Sha1::new_with_prefix(header).chain_update(content).finalize()) == id,
        64 => hex(&Sha256::new_with_prefix(header).chain_update(content).finalize()) == id,
        _ => false,
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
