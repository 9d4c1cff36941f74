//! Small repositories for tests: fixed names and dates, so that hashes are the same everywhere.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A repository in a temporary folder, gone when dropped.
pub(crate) struct TestRepository {
    folder: TempDir,
    commits: i64,
}

impl TestRepository {
    /// An empty repository on branch `main`.
    pub(crate) fn new() -> Self {
        let repository = TestRepository { folder: tempfile::tempdir().unwrap(), commits: 0 };
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes files (`None` removes) and commits all; a minute later each time.
    pub(crate) fn commit(&mut self, subject: &str, files: &[(&str, Option<&str>)]) -> String {
        for (path, text) in files {
            let path = self.path().join(path);
            match text {
                Some(text) => {
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(path, text).unwrap();
                }
                None => std::fs::remove_file(path).unwrap(),
            }
        }
        self.git(&["add", "-A"]);
        self.commit_index(subject)
    }

    /// Commits what is staged.
    pub(crate) fn commit_index(&mut self, subject: &str) -> String {
        self.commits += 1;
        self.git(&["commit", "-q", "--allow-empty", "-m", subject]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs git there, isolated from the user's configuration.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        let date = format!("{} +0000", 1_548_000_000 + self.commits * 60);
        let out = Command::new("git")
            .args(["-c", "core.autocrlf=false", "-c", "commit.gpgsign=false"])
            .args(args)
            .current_dir(self.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_AUTHOR_NAME", "A. Uthor")
            .env("GIT_AUTHOR_EMAIL", "a@example.com")
            .env("GIT_COMMITTER_NAME", "C. Ommitter")
            .env("GIT_COMMITTER_EMAIL", "c@example.com")
            .env("GIT_AUTHOR_DATE", &date)
            .env("GIT_COMMITTER_DATE", &date)
            .env_remove("GIT_DIR")
            .env_remove("GIT_INDEX_FILE")
            .env_remove("GIT_WORK_TREE")
            .output()
            .unwrap();
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim_end().to_owned()
    }
}
