//! The configuration repository of an incident: a small git repository, made anew for every bed.
//!
//! `origin.git` is what GitHub has; the checkout beside it is the oncall's, its `master` tracking
//! `origin/master`. The history is a story of `stories.rs`: the bed starts at one of its commits and merges the rest
//! later.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::children::tie_to_bed;
use crate::prow_objects;
use crate::stories::{Commit, Story};

/// The two repositories.
pub struct Repository {
    origin: PathBuf,
    work: PathBuf,
    pub checkout: PathBuf,
    merged: usize,
    story: &'static Story,
}

impl Repository {
    /// Makes them with the history up to and including the commit on which the story starts.
    pub async fn create(dir: &Path, story: &'static Story) -> Result<Self> {
        let mut repository = Self {
            origin: dir.join("origin.git"),
            // Where commits are made; the oncall's checkout only ever fetches.
            work: dir.join("author"),
            checkout: dir.join("test-infra"),
            merged: 0,
            story,
        };
        std::fs::create_dir_all(dir)?;
        git(dir, &["init", "--quiet", "--bare", "--initial-branch=master", "origin.git"], None).await?;
        git(dir, &["init", "--quiet", "--initial-branch=master", "author"], None).await?;
        let origin = repository.origin.display().to_string();
        git(&repository.work, &["remote", "add", "origin", &origin], None).await?;
        while repository.merged == 0 || story.commits[repository.merged - 1].name != story.start {
            repository.commit_next().await?;
        }
        git(&repository.work, &["push", "--quiet", "origin", "master"], None).await?;
        git(dir, &["clone", "--quiet", &origin, "test-infra"], None).await?;
        // FETCH_HEAD tells the age of what one knows of the origin; a clone leaves none.
        git(&repository.checkout, &["fetch", "--quiet"], None).await?;
        Ok(repository)
    }

    /// The revision of a commit, if it is merged.
    pub async fn revision(&self, name: &str) -> Result<Option<String>> {
        let Some(index) = self.story.commits.iter().position(|commit| commit.name == name) else {
            bail!("there is no commit {name}");
        };
        if index >= self.merged {
            return Ok(None);
        }
        let back = format!("master~{}", self.merged - 1 - index);
        let revision = git(&self.work, &["rev-parse", &back], None).await?;
        Ok(Some(revision.trim().to_owned()))
    }

    /// Merges everything up to this commit, and the oncall pulls. Gives back its revision.
    pub async fn merge(&mut self, name: &str) -> Result<String> {
        let Some(index) = self.story.commits.iter().position(|commit| commit.name == name) else {
            bail!("there is no commit {name}");
        };
        if index < self.merged {
            bail!("{name} is merged already");
        }
        while self.merged <= index {
            self.commit_next().await?;
        }
        git(&self.work, &["push", "--quiet", "origin", "master"], None).await?;
        git(&self.checkout, &["pull", "--quiet", "--ff-only"], None).await?;
        self.revision(name).await?.context("just merged")
    }

    /// The files of a commit below a folder, as they are after it.
    pub fn files_of(&self, name: &str, below: &str) -> Vec<(&'static str, &'static str)> {
        let commits = self.story.commits.iter().filter(|commit| commit.name == name);
        let files = commits.flat_map(|commit| commit.files.iter().copied());
        files.filter(|(path, _)| path.starts_with(below)).collect()
    }

    async fn commit_next(&mut self) -> Result<()> {
        let commit = self.story.commits.get(self.merged).context("the story is at its end")?;
        let files = commit.files.iter().map(|(path, content)| (Cow::Borrowed(*path), Cow::Borrowed(*content)));
        let manifests = commit.manifests.iter().flat_map(|tag| prow_objects::manifests(tag));
        let manifests = manifests.map(|(path, content)| (Cow::Owned(path), Cow::Owned(content)));
        for (path, content) in files.chain(manifests) {
            let path = self.work.join(&*path);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(path, &*content)?;
        }
        git(&self.work, &["add", "--all"], None).await?;
        git(&self.work, &["commit", "--quiet", "--message", commit.message], Some(commit)).await?;
        self.merged += 1;
        Ok(())
    }
}

async fn git(dir: &Path, args: &[&str], commit: Option<&Commit>) -> Result<String> {
    let mut command = Command::new("git");
    command
        .args(args)
        .current_dir(dir)
        // The person's own settings (hooks, signing) are not for this repository.
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    // A git hook that starts the tests leaves these set.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    if let Some(commit) = commit {
        let seconds = jiff::Timestamp::now().as_second() - commit.minutes_ago * 60;
        let date = format!("{seconds} +0000");
        command
            .env("GIT_AUTHOR_NAME", commit.author)
            .env("GIT_AUTHOR_EMAIL", "author@example.com")
            .env("GIT_AUTHOR_DATE", &date)
            .env("GIT_COMMITTER_NAME", "Kubernetes Prow Robot")
            .env("GIT_COMMITTER_EMAIL", "k8s-ci-robot@example.com")
            .env("GIT_COMMITTER_DATE", &date);
    }
    let output = tie_to_bed(&mut command).spawn().context("start git")?.wait_with_output().await?;
    if !output.status.success() {
        bail!("git {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
