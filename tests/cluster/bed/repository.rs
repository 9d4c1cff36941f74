//! The configuration repository of an incident: a small git repository, made anew for every bed.
//!
//! `origin.git` is what GitHub has; the checkout beside it is the oncall's, its `master` tracking
//! `origin/master`. The history is a list of commits ([`Commit`]); the ones of the outage are named, so that an
//! incident can say "up to here" and merge the rest later. A new incident adds its commits to [`COMMITS`] or brings
//! a list of its own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::children::tie_to_bed;

/// A commit of the story.
pub struct Commit {
    /// What the bed calls it.
    pub name: &'static str,
    message: &'static str,
    author: &'static str,
    /// How long before the bed's start it was made, in minutes.
    minutes_ago: i64,
    files: &'static [(&'static str, &'static str)],
}

const CONFIG: &str = include_str!("config/config.yaml");
const PLUGINS: &str = include_str!("config/plugins.yaml");
const SIG_TESTING: &str = include_str!("config/sig-testing-jobs.yaml");
const PRESETS: &str = include_str!("config/presets.yaml");
const AWS_PRESETS: &str = include_str!("config/aws-presets.yaml");
const AWS_JOBS: &str = include_str!("config/aws-jobs.yaml");
const KUBERNETES: &str = include_str!("config/kubernetes-presubmits.yaml");
const E2E_NODE: &str = include_str!("config/e2e-node.yaml");

/// The path of the job file with the presets of the outage.
pub const AWS_PRESETS_PATH: &str = "config/jobs/kubernetes-sigs/aws/aws-presets.yaml";
/// The path of the jobs that use them.
pub const AWS_JOBS_PATH: &str = "config/jobs/kubernetes-sigs/aws/aws-ebs-csi-driver.yaml";

// The refactoring gives both credentials one label, which Prow counts twice: label and value are the same.
const AWS_PRESETS_REFACTORED: &str = include_str!("config/aws-presets-refactored.yaml");
const AWS_JOBS_REFACTORED: &str = include_str!("config/aws-jobs-refactored.yaml");
const AWS_PRESETS_FIXED: &str = include_str!("config/aws-presets-fixed.yaml");
const AWS_JOBS_FIXED: &str = include_str!("config/aws-jobs-fixed.yaml");

/// What happened in January 2019, in order; `behaviour` is the last revision that all of Prow had loaded.
pub const COMMITS: &[Commit] = &[
    Commit {
        name: "first",
        message: "Configure Prow for kubernetes",
        author: "Cole Wagner",
        minutes_ago: 30 * 24 * 60,
        files: &[
            ("README.md", "# test-infra\n\nProw's configuration and the jobs that it runs.\n"),
            ("config/prow/config.yaml", CONFIG),
            ("config/prow/plugins.yaml", PLUGINS),
            ("config/jobs/kubernetes/sig-testing/sig-testing.yaml", SIG_TESTING),
            ("config/jobs/kubernetes/presets.yaml", PRESETS),
            (AWS_PRESETS_PATH, AWS_PRESETS),
            (AWS_JOBS_PATH, AWS_JOBS),
            ("config/jobs/kubernetes/kubernetes-presubmits.yaml", KUBERNETES),
            ("prow/config/config.go", "package config\n\n// Presets with one label key are refused.\n"),
        ],
    },
    Commit {
        name: "node",
        message: "Add the periodic node e2e job",
        author: "Sen Lu",
        minutes_ago: 26 * 60,
        files: &[("config/jobs/kubernetes/sig-node/e2e-node.yaml", E2E_NODE)],
    },
    Commit {
        name: "behaviour",
        message: "Allow presets to share a label key\n\nOnly the pair of key and value has to be unique.",
        author: "Cole Wagner",
        minutes_ago: 17 * 60 + 34,
        files: &[("prow/config/config.go", "package config\n\n// Presets with one label key and value are refused.\n")],
    },
    Commit {
        name: "refactor",
        message: "Refactor the AWS credential presets to a common label",
        author: "Justin Santa Barbara",
        minutes_ago: 0,
        files: &[(AWS_PRESETS_PATH, AWS_PRESETS_REFACTORED), (AWS_JOBS_PATH, AWS_JOBS_REFACTORED)],
    },
    Commit {
        name: "revert",
        // Undone are the jobs alone; the presets still collide.
        message: "Revert the AWS jobs to their old preset label",
        author: "Benjamin Elder",
        minutes_ago: 0,
        files: &[(AWS_JOBS_PATH, AWS_JOBS)],
    },
    Commit {
        name: "fix",
        message: "Use distinct labels for the AWS credential presets",
        author: "Benjamin Elder",
        minutes_ago: 0,
        files: &[(AWS_PRESETS_PATH, AWS_PRESETS_FIXED), (AWS_JOBS_PATH, AWS_JOBS_FIXED)],
    },
];

/// The two repositories.
pub struct Repository {
    origin: PathBuf,
    work: PathBuf,
    pub checkout: PathBuf,
    merged: usize,
}

impl Repository {
    /// Makes them with the history up to and including the commit of this name.
    pub async fn create(dir: &Path, up_to: &str) -> Result<Self> {
        let mut repository = Self {
            origin: dir.join("origin.git"),
            // Where commits are made; the oncall's checkout only ever fetches.
            work: dir.join("author"),
            checkout: dir.join("test-infra"),
            merged: 0,
        };
        std::fs::create_dir_all(dir)?;
        git(dir, &["init", "--quiet", "--bare", "--initial-branch=master", "origin.git"], None).await?;
        git(dir, &["init", "--quiet", "--initial-branch=master", "author"], None).await?;
        let origin = repository.origin.display().to_string();
        git(&repository.work, &["remote", "add", "origin", &origin], None).await?;
        while repository.merged == 0 || COMMITS[repository.merged - 1].name != up_to {
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
        let Some(index) = COMMITS.iter().position(|commit| commit.name == name) else {
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
        let Some(index) = COMMITS.iter().position(|commit| commit.name == name) else {
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
    pub fn files_of(name: &str, below: &str) -> Vec<(&'static str, &'static str)> {
        let commits = COMMITS.iter().filter(|commit| commit.name == name);
        let files = commits.flat_map(|commit| commit.files.iter().copied());
        files.filter(|(path, _)| path.starts_with(below)).collect()
    }

    async fn commit_next(&mut self) -> Result<()> {
        let commit = COMMITS.get(self.merged).context("the story is at its end")?;
        for (path, content) in commit.files {
            let path = self.work.join(path);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(path, content)?;
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
