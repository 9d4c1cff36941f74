//! The built program in an empty environment.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_prow-breakglass");

/// What a drill came to.
pub struct Played {
    pub score: Value,
    pub words: String,
    pub code: i32,
}

impl Played {
    pub fn text<'a>(&'a self, field: &str) -> &'a str {
        self.score[field].as_str().unwrap_or_default()
    }

    pub fn count(&self, field: &str) -> usize {
        self.score[field].as_array().map_or(usize::MAX, Vec::len)
    }

    /// Kinds of the mistakes.
    pub fn mistakes(&self) -> Vec<&str> {
        let mistakes = self.score["mistakes"].as_array().expect("mistakes");
        mistakes.iter().filter_map(|mistake| mistake["kind"].as_str()).collect()
    }

    /// ProwJobs lost that need not have been.
    pub fn lost_needlessly(&self) -> usize {
        let lost = self.score["prowJobsLost"].as_array().expect("losses");
        lost.iter().filter(|lost| lost["unavoidable"].is_null()).count()
    }
}

/// A folder of its own, which is all that the program gets.
pub struct Stage {
    dir: TempDir,
}

impl Stage {
    pub fn new() -> Stage {
        Stage { dir: TempDir::new().expect("a folder") }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("write a file");
        path
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(args).current_dir(self.path()).env_clear().env("TMPDIR", self.path()).stdin(Stdio::null());
        command
    }

    /// Plays a script.
    pub fn play(&self, args: &[&str], script: &str) -> Played {
        self.write("script", script);
        let mut all = vec!["drill"];
        all.extend(args);
        all.extend(["--script", "script"]);
        let output = self.command(&all).output().expect("the program runs");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        let score = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}\n{}\n{words}", String::from_utf8_lossy(&output.stdout)));
        Played { score, words, code: output.status.code().unwrap_or(-1) }
    }

    /// What the program left in the folder, beside the script.
    pub fn left(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).expect("the folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        names.filter(|name| name != "script").collect()
    }
}
