//! Files as they lie in a folder: a work tree, or a directory that is no git repository. It has one revision, which is
//! what is there, and no history. Symlinks are not followed: their content is where they lead, as in git.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::Blob;
use super::parse::{EntryKind, Tree, TreeEntry};
use crate::model::text::sanitize_line;
use crate::model::{Failure, FailureKind, Revision, Timestamp};

/// More files than any configuration repository has: somebody gave the wrong folder.
const MOST_FILES: usize = 200_000;

/// What ids begin with; the path follows.
const ID: &str = "file:";
/// The same, where the path is not UTF-8 and follows as hexadecimal digits.
const HEX_ID: &str = "bytes:";

#[derive(Debug, Clone)]
pub(super) struct Folder {
    root: PathBuf,
    /// As a person may see it.
    shown: String,
    /// The id and subject of its revision.
    id: String,
    subject: String,
    /// `None` for all files that there are.
    listed: Option<Vec<PathBuf>>,
}

impl Folder {
    /// All files of a directory.
    pub(super) fn of(path: &Path) -> Self {
        let shown = sanitize_line(&path.display().to_string());
        let subject = format!("the files of {shown}, which is no git repository");
        Folder { root: path.to_owned(), shown, id: "folder".to_owned(), subject, listed: None }
    }

    /// Some files of a work tree, on top of a commit.
    pub(super) fn worktree(root: &Path, shown: String, head: &Revision, listed: Vec<PathBuf>) -> Self {
        let subject = format!("the work tree, on top of {} {}", head.short(), head.subject);
        Folder { root: root.to_owned(), shown, id: "worktree".to_owned(), subject, listed: Some(listed) }
    }

    /// As it is now: dated by what was written last.
    pub(super) async fn revision(&self) -> Result<Revision, Failure> {
        let newest = self.walk().await?.newest;
        Ok(Revision {
            id: self.id.clone(),
            subject: self.subject.clone(),
            author: String::new(),
            committed: newest.unwrap_or(Timestamp::UNIX_EPOCH),
        })
    }

    pub(super) fn is_name(&self, revision: &str) -> bool {
        revision == "HEAD" || revision == self.id
    }

    pub(super) async fn tree(&self) -> Result<Tree, Failure> {
        self.walk().await.map(|walked| walked.tree)
    }

    async fn walk(&self) -> Result<Walked, Failure> {
        let folder = self.clone();
        let walked = tokio::task::spawn_blocking(move || folder.walk_now()).await;
        walked.unwrap_or_else(|error| Err(self.unreadable(&self.root, &error.to_string())))
    }

    fn walk_now(&self) -> Result<Walked, Failure> {
        let mut walked = Walked::default();
        if let Some(listed) = &self.listed {
            for path in listed {
                walked.add(&self.root, path);
            }
            return Ok(walked);
        }
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let whole = self.root.join(&folder);
            let entries = std::fs::read_dir(&whole).map_err(|error| self.unreadable(&whole, &error.to_string()))?;
            for entry in entries {
                let entry = entry.map_err(|error| self.unreadable(&whole, &error.to_string()))?;
                let path = folder.join(entry.file_name());
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    if entry.file_name() != ".git" {
                        folders.push(path);
                    }
                } else {
                    walked.add(&self.root, &path);
                }
            }
            if walked.tree.entries.len() > MOST_FILES {
                return Err(Failure::new(
                    FailureKind::Usage,
                    format!("{} has more than {MOST_FILES} files", self.shown),
                )
                .hint("is that the repository of Prow's configuration? Give it with --repo PATH"));
            }
        }
        Ok(walked)
    }

    /// Contents by id, one after the other.
    pub(super) async fn blobs(
        &self,
        ids: &[String],
        largest: u64,
        take: &mut (dyn FnMut(usize, Blob) + Send),
    ) -> Result<(), Failure> {
        for (n, id) in ids.iter().enumerate() {
            let path = self.root.join(path_of(id));
            let reading = tokio::task::spawn_blocking(move || (read(&path, largest), path)).await;
            match reading {
                Ok((Ok(blob), _)) => take(n, blob),
                Ok((Err(error), path)) => return Err(self.unreadable(&path, &error.to_string())),
                Err(error) => return Err(self.unreadable(&self.root, &error.to_string())),
            }
        }
        Ok(())
    }

    pub(super) fn shown(&self) -> String {
        self.shown.clone()
    }

    fn unreadable(&self, path: &Path, why: &str) -> Failure {
        let path = sanitize_line(&path.display().to_string());
        Failure::new(FailureKind::Tool, format!("{path} cannot be read")).cause(why.to_owned())
    }
}

#[derive(Default)]
struct Walked {
    tree: Tree,
    newest: Option<Timestamp>,
}

impl Walked {
    fn add(&mut self, root: &Path, path: &Path) {
        // What was deleted since it was listed is not there.
        let Ok(meta) = root.join(path).symlink_metadata() else { return };
        let written = meta.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
        self.newest = self.newest.max(written);
        let kind = if meta.is_symlink() {
            EntryKind::Symlink
        } else if meta.is_dir() {
            // git lists only files and submodules.
            EntryKind::Submodule
        } else if meta.is_file() {
            EntryKind::File
        } else {
            return;
        };
        let bytes = path.as_os_str().as_bytes();
        let id = match path.to_str() {
            Some(path) => format!("{ID}{path}"),
            None => bytes.iter().fold(HEX_ID.to_owned(), |id, byte| format!("{id}{byte:02x}")),
        };
        self.tree.add(bytes, |path| TreeEntry { path, kind, id });
    }
}

/// The path that an id stands for.
fn path_of(id: &str) -> PathBuf {
    let Some(digits) = id.strip_prefix(HEX_ID) else {
        return PathBuf::from(id.strip_prefix(ID).unwrap_or(id));
    };
    let pairs = (0..digits.len()).step_by(2).filter_map(|at| digits.get(at..at + 2));
    let bytes: Vec<u8> = pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect();
    PathBuf::from(OsString::from_vec(bytes))
}

/// The bytes of a file, or where a symlink leads.
fn read(path: &Path, largest: u64) -> std::io::Result<Blob> {
    let meta = path.symlink_metadata()?;
    if meta.is_symlink() {
        let target = std::fs::read_link(path)?;
        return Ok(Blob::Whole(target.into_os_string().into_encoded_bytes()));
    }
    if meta.len() > largest {
        return Ok(Blob::TooLarge(meta.len()));
    }
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(largest + 1).read_to_end(&mut content)?;
    // It may have grown since.
    let bytes = content.len() as u64;
    Ok(if bytes > largest { Blob::TooLarge(bytes) } else { Blob::Whole(content) })
}
