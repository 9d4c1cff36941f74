//! What git prints, read from its `-z` formats. Of names that are not UTF-8 the bytes are told beside the text that stands for
//! them; in a history they are skipped.

use crate::model::text::sanitize_line;
use crate::model::{Revision, Timestamp};

/// Hash, author, commit time, subject. The first byte tells a commit from a change.
pub(super) const LOG_FORMAT: &str = "--format=%x01%H%x00%an%x00%ct%x00%s";

/// The files of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    pub entries: Vec<TreeEntry>,
    /// Entries whose paths are not UTF-8, with the bytes of these.
    pub hostile: Vec<(Vec<u8>, TreeEntry)>,
}

impl Tree {
    pub(super) fn add(&mut self, path: &[u8], entry: impl FnOnce(String) -> TreeEntry) {
        match std::str::from_utf8(path) {
            Ok(text) => self.entries.push(entry(text.to_owned())),
            Err(_) => self.hostile.push((path.to_vec(), entry(String::from_utf8_lossy(path).into_owned()))),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// From the repository's root, with slashes; with stand-ins for what is not UTF-8.
    pub path: String,
    pub kind: EntryKind,
    /// Full hash of the content.
    pub id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    File,
    /// Its content is the path it leads to.
    Symlink,
    /// A commit of another repository.
    Submodule,
}

impl EntryKind {
    fn of_mode(mode: &str) -> Self {
        match mode {
            "120000" => EntryKind::Symlink,
            "160000" => EntryKind::Submodule,
            _ => EntryKind::File,
        }
    }
}

/// A commit and what it changed against its first parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub revision: Revision,
    pub changes: Vec<Change>,
}

/// A path before and after; `None` where it was not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub path: String,
    pub before: Option<(EntryKind, String)>,
    pub after: Option<(EntryKind, String)>,
}

/// `MODE TYPE ID\tPATH` each.
pub(super) fn tree(out: &[u8]) -> Tree {
    let mut tree = Tree::default();
    for record in out.split(|byte| *byte == 0).filter(|record| !record.is_empty()) {
        let Some(tab) = record.iter().position(|byte| *byte == b'\t') else {
            continue;
        };
        let head = String::from_utf8_lossy(&record[..tab]);
        let mut words = head.split(' ');
        let (Some(mode), Some(_), Some(id)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let kind = EntryKind::of_mode(mode);
        tree.add(&record[tab + 1..], |path| TreeEntry { path, kind, id: id.to_owned() });
    }
    tree
}

/// Size in `ID blob SIZE`; `None` for `ID missing`.
pub(super) fn blob_size(header: &str) -> Option<u64> {
    let mut words = header.trim_end().split(' ');
    let (_, kind, size) = (words.next()?, words.next()?, words.next()?);
    if kind == "blob" { size.parse().ok() } else { None }
}

/// Commits in [`LOG_FORMAT`], each followed by `:MODE MODE ID ID STATUS` and a path for each change.
pub(super) fn log(out: &[u8]) -> Result<Vec<Commit>, String> {
    let mut commits: Vec<Commit> = Vec::new();
    let mut fields = out.split(|byte| *byte == 0);
    while let Some(field) = fields.next() {
        let field = field.strip_prefix(b"\n").unwrap_or(field);
        if let Some(id) = field.strip_prefix(b"\x01") {
            let (Some(author), Some(time), Some(subject)) = (fields.next(), fields.next(), fields.next()) else {
                return Err("the history ends within a commit".to_owned());
            };
            let committed = lossy(time).trim().parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
            commits.push(Commit {
                revision: Revision {
                    id: lossy(id),
                    author: lossy(author),
                    subject: lossy(subject),
                    committed: committed.ok_or("a commit has no time")?,
                },
                changes: Vec::new(),
            });
        } else if let Some(modes) = field.strip_prefix(b":") {
            let path = fields.next().ok_or("the history ends within a change")?;
            let (Some(commit), Ok(path)) = (commits.last_mut(), std::str::from_utf8(path)) else {
                continue;
            };
            commit.changes.push(change(&lossy(modes), path).ok_or("a change is not understood")?);
        }
    }
    Ok(commits)
}

fn change(modes: &str, path: &str) -> Option<Change> {
    let mut words = modes.split(' ');
    let (old_mode, new_mode, old, new) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let side = |mode: &str, id: &str| (mode != "000000").then(|| (EntryKind::of_mode(mode), id.to_owned()));
    Some(Change { path: path.to_owned(), before: side(old_mode, old), after: side(new_mode, new) })
}

/// The last two parts of a remote's address: `org/repo` of `git@github.com:org/repo.git`.
pub(super) fn organisation_and_repository(address: &str) -> Option<String> {
    let address = address.trim_end_matches('/');
    let address = address.strip_suffix(".git").unwrap_or(address);
    let (host, path) = match address.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?,
        None => address.split_once(':')?,
    };
    let mut parts = path.trim_matches('/').rsplit('/');
    let (repository, organisation) = (parts.next()?, parts.next()?);
    (!host.is_empty() && !repository.is_empty() && !organisation.is_empty())
        .then(|| format!("{organisation}/{repository}"))
}

fn lossy(bytes: &[u8]) -> String {
    sanitize_line(&String::from_utf8_lossy(bytes))
}
