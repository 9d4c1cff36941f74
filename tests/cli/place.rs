//! A folder of the test's own, and the program run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Home, journal and configuration repository of one test.
pub struct Place {
    dir: TempDir,
    env: Vec<(&'static str, String)>,
}

impl Place {
    pub fn new() -> Self {
        Place { dir: tempfile::tempdir().expect("a folder"), env: Vec::new() }
    }

    pub fn home(&self) -> &Path {
        self.dir.path()
    }

    pub fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.to_owned()));
        self
    }

    /// Writes a file, its folders too.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.home().join(path);
        std::fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("make folders");
        std::fs::write(&path, content).expect("write a file");
        path
    }

    /// A git repository at `repo`, with a commit of these files. Its hash is always the same.
    pub fn repository(&self, files: &[(&str, &str)]) -> PathBuf {
        let repo = self.home().join("repo");
        std::fs::create_dir_all(&repo).expect("make a folder");
        self.git(&["init", "--quiet", "--initial-branch=master"]);
        self.commit("Configure Prow", files);
        repo
    }

    pub fn commit(&self, subject: &str, files: &[(&str, &str)]) {
        for (path, content) in files {
            self.write(&format!("repo/{path}"), content);
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", subject]);
    }

    pub fn git(&self, args: &[&str]) {
        let mut command = Command::new("git");
        command.args(args).current_dir(self.home().join("repo")).stdin(Stdio::null());
        command.env_clear().env("PATH", path()).env("HOME", self.home());
        for (name, value) in [
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_AUTHOR_NAME", "Sen Lu"),
            ("GIT_AUTHOR_EMAIL", "author@example.com"),
            ("GIT_AUTHOR_DATE", "1548115200 +0000"),
            ("GIT_COMMITTER_NAME", "Kubernetes Prow Robot"),
            ("GIT_COMMITTER_EMAIL", "k8s-ci-robot@example.com"),
            ("GIT_COMMITTER_DATE", "1548115200 +0000"),
        ] {
            command.env(name, value);
        }
        let output = command.output().expect("run git");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The program with these arguments, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prow-breakglass"));
        command.args(args).current_dir(self.home()).stdin(Stdio::null());
        command.env_clear().env("PATH", path()).env("HOME", self.home());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the program, and gives back all that it said.
    pub fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("run the program");
        let code = output.status.code().map_or_else(|| "a signal".to_owned(), |code| code.to_string());
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let said = format!(
            "$ prow-breakglass {}\n--- stdout\n{stdout}--- stderr\n{stderr}--- exit code {code}\n",
            args.join(" ")
        );
        let said = said.replace(&self.home().display().to_string(), "[HOME]");
        said.replace(env!("CARGO_PKG_VERSION"), "[VERSION]")
    }

    /// Several, one after another.
    pub fn run_all(&self, all: &[&[&str]]) -> String {
        all.iter().map(|args| self.run(args)).collect::<Vec<_>>().join("\n")
    }
}

fn path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_default()
}
