//! A repository on disk, through the `git` program.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::command::{Git, GitError};
use super::folder::Folder;
use super::parse::{self, Commit, Tree};
use super::{Blob, no_worktree, unknown_revision};
use crate::model::text::sanitize_line;
use crate::model::{Failure, FailureKind, Revision, Timestamp};

/// What git says where there is none; its words are not translated (`LC_ALL`).
const NO_REPOSITORY: &str = "not a git repository (or any";

/// A repository that has commits.
#[derive(Debug, Clone)]
pub(super) struct Checkout {
    /// As the person gave it.
    path: PathBuf,
    git: Git,
    /// `None` for a bare repository.
    worktree: Option<PathBuf>,
    /// Its own folder of git's, and the one that it shares with other work trees.
    folders: Vec<PathBuf>,
}

impl Checkout {
    /// Opens the repository that holds `path`; `None` where none does.
    pub(super) async fn open(path: &Path) -> Result<Option<Self>, Failure> {
        let shown = sanitize_line(&path.display().to_string());
        let folder = tokio::fs::metadata(path).await.map_err(|error| {
            Failure::new(FailureKind::Usage, format!("no configuration repository at {shown}"))
                .cause(error.to_string())
                .hint("give the path of a checkout with --repo PATH")
        })?;
        if !folder.is_dir() {
            return Err(Failure::new(FailureKind::Usage, format!("{shown} is not a folder"))
                .hint("give the path of a checkout with --repo PATH"));
        }
        let git = Git::at(path);
        // Most are checkouts, of which one call tells all.
        let all = ["rev-parse", "--show-toplevel", "--absolute-git-dir", "--git-common-dir", "HEAD^{commit}"];
        if let Ok(told) = git.text(&all).await
            && let [root, own, shared, _] = told.split('\n').collect::<Vec<_>>()[..]
            && !root.is_empty()
        {
            let root = PathBuf::from(root);
            let folders = vec![PathBuf::from(own), path.join(shared)];
            return Ok(Some(Checkout { path: path.to_owned(), git: Git::at(&root), worktree: Some(root), folders }));
        }
        let bare = match git.text(&["rev-parse", "--is-bare-repository"]).await {
            Ok(bare) => bare,
            Err(GitError::Exit { stderr }) if stderr.contains(NO_REPOSITORY) => return Ok(None),
            Err(error) => return Err(not_opened(&shown, &error)),
        };
        // git answers `false` inside of a `.git` folder too, which has no work tree either.
        let worktree = match git.text(&["rev-parse", "--show-toplevel"]).await {
            Ok(root) if bare == "false" && !root.is_empty() => Some(PathBuf::from(root)),
            Ok(_) | Err(_) => None,
        };
        let root = worktree.clone().unwrap_or_else(|| path.to_owned());
        let git = Git::at(&root);
        let folders = git.text(&["rev-parse", "--absolute-git-dir", "--git-common-dir"]).await.unwrap_or_default();
        let folders = folders.lines().map(|folder| root.join(folder)).collect();
        let repository = Checkout { path: path.to_owned(), git, worktree, folders };
        match repository.git.text(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).await {
            Ok(_) => Ok(Some(repository)),
            Err(GitError::Exit { .. }) => Err(Failure::new(FailureKind::Usage, format!("{shown} has no commits"))
                .cause("HEAD does not lead to a commit")
                .hint("is the clone complete? `git fetch` and check out a branch, or give another with --repo PATH")),
            Err(error) => Err(failed("read HEAD", &error)),
        }
    }

    /// The upstream's name and head; `HEAD` where the branch has no upstream.
    pub(super) async fn upstream(&self) -> Result<(String, Revision), Failure> {
        let name = self.git.text(&["rev-parse", "--abbrev-ref", "--symbolic-full-name", "@{upstream}"]).await;
        if let Ok(name) = name
            && let Ok(revision) = self.resolve(&name).await
        {
            return Ok((sanitize_line(&name), revision));
        }
        Ok(("HEAD".to_owned(), self.resolve("HEAD").await?))
    }

    /// The commit that a person's words mean.
    pub(super) async fn resolve(&self, revision: &str) -> Result<Revision, Failure> {
        let shown = sanitize_line(revision);
        let unknown = || unknown_revision(&shown, &self.shown());
        // Never an option, whatever git makes of `--end-of-options`.
        if revision.is_empty() || revision.starts_with('-') || revision.contains(char::is_control) {
            return Err(unknown());
        }
        let commit = format!("{revision}^{{commit}}");
        let read = ["--no-patch", "--max-count=1", "--end-of-options", &commit];
        let why = match self.read_log(&read, &[]).await {
            Ok(commits) => return commits.into_iter().next().map(|commit| commit.revision).ok_or_else(unknown),
            Err(why) => why,
        };
        // Is it not known, or can it not be read?
        match self.git.text(&["rev-parse", "--verify", "--quiet", "--end-of-options", &commit]).await {
            Ok(_) => Err(why),
            Err(GitError::Exit { .. }) => Err(unknown()),
            Err(error) => Err(failed("resolve a revision", &error)),
        }
    }

    /// All files of a commit.
    pub(super) async fn tree(&self, revision: &Revision) -> Result<Tree, Failure> {
        let out = self
            .git
            .bytes(&["ls-tree", "-r", "-z", "--full-tree", &revision.id])
            .await
            .map_err(|error| failed("list the files of a commit", &error))?;
        Ok(parse::tree(&out))
    }

    /// Contents of blobs, in the order asked, with one process.
    pub(super) async fn blobs(
        &self,
        ids: &[String],
        largest: u64,
        take: &mut (dyn FnMut(usize, Blob) + Send),
    ) -> Result<(), Failure> {
        if ids.is_empty() {
            return Ok(());
        }
        let reading = self.git.limited(self.read_blobs(ids, largest, take));
        reading.await.map_err(|error| failed("read files of a commit", &error))?
    }

    async fn read_blobs(
        &self,
        ids: &[String],
        largest: u64,
        take: &mut (dyn FnMut(usize, Blob) + Send),
    ) -> Result<Result<(), Failure>, GitError> {
        let mut child = self.git.piped(&["cat-file", "--batch"])?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(GitError::Broken("no pipe".to_owned()));
        };
        let asked: String = ids.iter().map(|id| format!("{id}\n")).collect();
        let ask = async move {
            // A child that ends early shows in what is read.
            let _ = stdin.write_all(asked.as_bytes()).await;
        };
        let answer = async {
            let mut out = BufReader::new(stdout);
            for (n, id) in ids.iter().enumerate() {
                let mut header = String::new();
                out.read_line(&mut header).await.map_err(GitError::broken)?;
                let Some(size) = parse::blob_size(&header) else {
                    return Ok(Err(missing_blob(id)));
                };
                let mut content = (&mut out).take(size);
                let blob = if size > largest {
                    tokio::io::copy(&mut content, &mut tokio::io::sink()).await.map_err(GitError::broken)?;
                    Blob::TooLarge(size)
                } else {
                    let mut whole = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
                    content.read_to_end(&mut whole).await.map_err(GitError::broken)?;
                    Blob::Whole(whole)
                };
                out.read_u8().await.map_err(GitError::broken)?;
                take(n, blob);
            }
            Ok(Ok(()))
        };
        let ((), answer) = tokio::join!(ask, answer);
        answer
    }

    /// Commits on the first-parent line from `from` on that changed one of `paths` (files or folders; all where empty),
    /// newest first, each with its changes below those paths.
    pub(super) async fn log(&self, from: &Revision, paths: &[String], limit: usize) -> Result<Vec<Commit>, Failure> {
        let limit = format!("--max-count={limit}");
        self.read_log(&["--raw", "--first-parent", "--diff-merges=first-parent", &limit, &from.id], paths).await
    }

    /// The first parent of a commit; `None` for a root, and where a shallow clone ends.
    pub(super) async fn parent(&self, revision: &Revision) -> Result<Option<Revision>, Failure> {
        let what = ["--no-patch", "--first-parent", "--skip=1", "--max-count=1", &revision.id];
        Ok(self.read_log(&what, &[]).await?.into_iter().next().map(|commit| commit.revision))
    }

    async fn read_log(&self, what: &[&str], paths: &[String]) -> Result<Vec<Commit>, Failure> {
        let mut args = vec!["log", "-z", parse::LOG_FORMAT];
        args.extend(["--no-renames", "--no-abbrev", "--no-color", "--no-decorate", "--no-notes"]);
        args.extend(["--no-ext-diff", "--no-textconv", "--ignore-submodules=none"]);
        args.extend(what);
        args.push("--");
        args.extend(paths.iter().map(String::as_str));
        let out = self.git.bytes(&args).await.map_err(|error| failed("read the history", &error))?;
        parse::log(&out).map_err(|why| failed("read the history", &GitError::Broken(why)))
    }

    /// True where the history is cut off somewhere.
    pub(super) async fn is_shallow(&self) -> bool {
        self.git.text(&["rev-parse", "--is-shallow-repository"]).await.is_ok_and(|text| text.trim() == "true")
    }

    /// When this checkout last fetched; `None` where it never did, as far as it shows.
    pub(super) async fn fetched(&self) -> Option<Timestamp> {
        let mut newest = None;
        for folder in &self.folders {
            let modified = tokio::fs::metadata(folder.join("FETCH_HEAD")).await.and_then(|meta| meta.modified());
            newest = newest.max(modified.ok().and_then(|time| Timestamp::try_from(time).ok()));
        }
        newest
    }

    /// The work tree: files tracked or not, without ignored ones.
    pub(super) async fn worktree(&self) -> Result<Folder, Failure> {
        let root = self.worktree_root()?;
        let out = self
            .git
            .bytes(&["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"])
            .await
            .map_err(|error| failed("list the work tree", &error))?;
        let names = out.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let listed = names.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect();
        let head = self.resolve("HEAD").await?;
        Ok(Folder::worktree(root, self.shown(), &head, listed))
    }

    /// `org/repo`, as the address of the remote `origin` ends.
    pub(super) async fn origin(&self) -> Option<String> {
        let address = self.git.text(&["config", "--get", "remote.origin.url"]).await.ok()?;
        parse::organisation_and_repository(&address).map(|name| sanitize_line(&name))
    }

    fn worktree_root(&self) -> Result<&Path, Failure> {
        self.worktree.as_deref().ok_or_else(|| no_worktree(&self.shown()))
    }

    /// The path as a person may see it.
    pub(super) fn shown(&self) -> String {
        sanitize_line(&self.path.display().to_string())
    }
}

fn not_opened(shown: &str, error: &GitError) -> Failure {
    match error {
        GitError::Exit { stderr } if stderr.contains("dubious ownership") => {
            Failure::new(FailureKind::Tool, format!("git does not trust {shown}: it belongs to another user"))
                .cause(stderr.clone())
                .hint(format!("if you trust it: git config --global --add safe.directory {shown}"))
        }
        GitError::Exit { stderr } => Failure::new(FailureKind::Usage, format!("{shown} is not a git repository"))
            .cause(stderr.clone())
            .hint("give the checkout of Prow's configuration with --repo PATH"),
        GitError::NotInstalled | GitError::TimedOut | GitError::Broken(_) => failed("open the repository", error),
    }
}

fn failed(what: &str, error: &GitError) -> Failure {
    let failure = Failure::new(FailureKind::Tool, format!("git could not {what}")).cause(error.to_string());
    match error {
        GitError::NotInstalled => failure.hint("install git, or put it into PATH"),
        GitError::TimedOut => {
            failure.hint("is the checkout on a slow or lost file system? Give another with --repo PATH")
        }
        GitError::Exit { .. } | GitError::Broken(_) => {
            failure.hint("run `git fsck` there, or give another checkout with --repo PATH")
        }
    }
}

fn missing_blob(id: &str) -> Failure {
    Failure::new(FailureKind::Tool, format!("file {id} is not in the repository"))
        .cause("a partial clone fetches files when they are read, and nothing is fetched here")
        .hint("use a full clone, or `git fetch --refetch --no-filter` in this one")
}
