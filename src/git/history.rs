//! A repository in memory: the configuration of a simulated Prow, to which its people merge while the drill goes on.
//!
//! One branch without merges, which is its own upstream: there is nothing to fetch. Hashes are of the content, so that a
//! drill's are the same everywhere, though not git's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::parse::{Change, Commit, EntryKind, Tree, TreeEntry};
use super::unknown_revision;
use crate::model::text::sanitize_line;
use crate::model::{Failure, FailureKind, Revision, Timestamp, sha256_hex};

/// Digits of a hash, as of git's.
const DIGITS: usize = 40;
/// The fewest digits that may stand for a hash.
const SHORTEST: usize = 4;

/// A history to which can be added. Clones share it.
#[derive(Debug, Clone)]
pub struct History {
    name: String,
    branch: String,
    stored: Arc<Mutex<Stored>>,
}

/// What is to be committed.
#[derive(Debug, Clone)]
pub struct NewCommit<'a> {
    pub author: &'a str,
    pub subject: &'a str,
    pub committed: Timestamp,
    /// Path and new content; `None` removes the file.
    pub files: Vec<(&'a str, Option<&'a [u8]>)>,
}

#[derive(Debug, Default)]
struct Stored {
    /// Oldest first; each one's parent is the one before it.
    commits: Vec<Snapshot>,
    blobs: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug)]
struct Snapshot {
    revision: Revision,
    /// Path to hash.
    files: BTreeMap<String, String>,
}

impl History {
    /// An empty history, which is shown as `name`; its branch is called `branch`.
    pub fn new(name: &str, branch: &str) -> Self {
        History { name: sanitize_line(name), branch: sanitize_line(branch), stored: Arc::default() }
    }

    /// Adds a commit to the branch.
    pub fn commit(&self, commit: &NewCommit<'_>) -> Revision {
        let mut stored = self.stored();
        let mut files = stored.commits.last().map(|last| last.files.clone()).unwrap_or_default();
        for (path, content) in &commit.files {
            match content {
                Some(content) => {
                    let id = hash(&[b"blob", content]);
                    stored.blobs.insert(id.clone(), content.to_vec());
                    files.insert((*path).to_owned(), id);
                }
                None => drop(files.remove(*path)),
            }
        }
        let parent = stored.commits.last().map_or("", |last| last.revision.id.as_str());
        let time = commit.committed.as_second().to_string();
        let listed: String = files.iter().map(|(path, id)| format!("{id} {path}\n")).collect();
        let parts = ["commit", parent, commit.author, commit.subject, &time, &listed].map(str::as_bytes);
        let revision = Revision {
            id: hash(&parts),
            subject: sanitize_line(commit.subject),
            author: sanitize_line(commit.author),
            committed: commit.committed,
        };
        stored.commits.push(Snapshot { revision: revision.clone(), files });
        revision
    }

    /// A file at the branch's head; `None` where it is not there.
    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        let stored = self.stored();
        let id = stored.commits.last()?.files.get(path)?;
        stored.blobs.get(id).cloned()
    }

    pub(super) fn shown(&self) -> &str {
        &self.name
    }

    pub(super) fn upstream(&self) -> Result<(String, Revision), Failure> {
        Ok((format!("origin/{}", self.branch), self.resolve("HEAD")?))
    }

    pub(super) fn resolve(&self, revision: &str) -> Result<Revision, Failure> {
        let unknown = || unknown_revision(&sanitize_line(revision), &self.name);
        let (base, back) = split_ancestor(revision).ok_or_else(unknown)?;
        let stored = self.stored();
        let named = base == "HEAD" || base == self.branch || base == format!("origin/{}", self.branch);
        let at = if named {
            stored.commits.len().checked_sub(1)
        } else if base.len() >= SHORTEST {
            let mut matching = (0..stored.commits.len()).filter(|n| stored.commits[*n].revision.id.starts_with(base));
            // Digits that two commits begin with name neither.
            matching.next().filter(|_| matching.next().is_none())
        } else {
            None
        };
        let at = at.and_then(|at| at.checked_sub(back)).ok_or_else(unknown)?;
        Ok(stored.commits[at].revision.clone())
    }

    pub(super) fn tree(&self, revision: &Revision) -> Result<Tree, Failure> {
        let stored = self.stored();
        let commit = &stored.commits[self.place(&stored, revision)?];
        let entry =
            |(path, id): (&String, &String)| TreeEntry { path: path.clone(), kind: EntryKind::File, id: id.clone() };
        Ok(Tree { entries: commit.files.iter().map(entry).collect(), hostile: Vec::new() })
    }

    pub(super) fn blobs(&self, ids: &[String]) -> Result<Vec<Vec<u8>>, Failure> {
        let stored = self.stored();
        let blob = |id: &String| {
            let missing = || Failure::new(FailureKind::Tool, format!("file {id} is not in {}", self.name));
            stored.blobs.get(id).cloned().ok_or_else(missing)
        };
        ids.iter().map(blob).collect()
    }

    pub(super) fn log(&self, from: &Revision, paths: &[String], limit: usize) -> Result<Vec<Commit>, Failure> {
        let stored = self.stored();
        let newest = self.place(&stored, from)?;
        let none = BTreeMap::new();
        let commits = (0..=newest).rev().filter_map(|n| {
            let before = n.checked_sub(1).map_or(&none, |parent| &stored.commits[parent].files);
            let commit = &stored.commits[n];
            let changes = changes(before, &commit.files, paths);
            let wanted = paths.is_empty() || !changes.is_empty();
            wanted.then(|| Commit { revision: commit.revision.clone(), changes })
        });
        Ok(commits.take(limit).collect())
    }

    pub(super) fn parent(&self, revision: &Revision) -> Result<Option<Revision>, Failure> {
        let stored = self.stored();
        let at = self.place(&stored, revision)?;
        Ok(at.checked_sub(1).map(|parent| stored.commits[parent].revision.clone()))
    }

    /// What is merged is here at once: as fresh as its newest commit.
    pub(super) fn fetched(&self) -> Option<Timestamp> {
        self.stored().commits.last().map(|last| last.revision.committed)
    }

    fn place(&self, stored: &Stored, revision: &Revision) -> Result<usize, Failure> {
        let at = stored.commits.iter().position(|commit| commit.revision.id == revision.id);
        at.ok_or_else(|| unknown_revision(revision.short(), &self.name))
    }

    fn stored(&self) -> MutexGuard<'_, Stored> {
        // Nothing panics while it holds the lock in between two changes that belong together.
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `HEAD~2`, `master^`, `1234abc`: the name, and how many parents back.
fn split_ancestor(revision: &str) -> Option<(&str, usize)> {
    if let Some((base, back)) = revision.split_once('~') {
        return if back.is_empty() { Some((base, 1)) } else { back.parse().ok().map(|back| (base, back)) };
    }
    let base = revision.trim_end_matches('^');
    Some((base, revision.len() - base.len()))
}

fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>, paths: &[String]) -> Vec<Change> {
    let side = |files: &BTreeMap<String, String>, path: &str| files.get(path).map(|id| (EntryKind::File, id.clone()));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path))
        .filter(|path| paths.is_empty() || paths.iter().any(|below| lies_below(path, below)))
        .map(|path| Change { path: path.clone(), before: side(before, path), after: side(after, path) })
        .collect()
}

fn lies_below(path: &str, folder: &str) -> bool {
    let folder = folder.trim_end_matches('/');
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Of the parts and where each ends.
fn hash(parts: &[&[u8]]) -> String {
    let mut all = Vec::new();
    for part in parts {
        all.extend(part.len().to_le_bytes());
        all.extend(*part);
    }
    let mut digits = sha256_hex(&all);
    digits.truncate(DIGITS);
    digits
}
