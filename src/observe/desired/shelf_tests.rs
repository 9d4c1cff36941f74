//! What an earlier process read, and how little it is believed.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::git::testing::TestRepository;

const PLUGINS: &str = "config_updater:\n  maps:\n    prow/config.yaml: {name: config}\n    prow/plugins.yaml: {name: \
                       plugins}\n    jobs/*.yaml: {name: job-config, gzip: true}\n";
const PRESET: &str = "presets:\n- labels: {preset-shared: 'true'}\n";

struct Kept {
    git: TestRepository,
    cache: TempDir,
}

impl Kept {
    /// A repository whose head repeats a preset, read once.
    async fn read_once() -> Self {
        let mut git = TestRepository::new();
        git.commit(
            "start",
            &[
                ("prow/plugins.yaml", Some(PLUGINS)),
                ("prow/config.yaml", Some("prowjob_namespace: prow\n")),
                ("jobs/a.yaml", Some(PRESET)),
            ],
        );
        git.commit("share a preset", &[("jobs/b.yaml", Some(PRESET))]);
        let kept = Kept { git, cache: TempDir::new().expect("a folder") };
        assert_eq!(kept.read().await, kept.fresh().await);
        assert_eq!(kept.fresh().await.head.objections.len(), 1);
        kept
    }

    async fn with(&self, cache: Option<PathBuf>) -> Result<Desired, Failure> {
        let repository = Repository::open(self.git.path()).await.expect("a repository");
        read(&repository, &DesiredOptions { cache, ..DesiredOptions::default() }).await
    }

    async fn read(&self) -> Desired {
        self.with(Some(self.cache.path().to_owned())).await.expect("it is read")
    }

    async fn fresh(&self) -> Desired {
        self.with(None).await.expect("it is read")
    }

    fn file(&self) -> PathBuf {
        self.cache.path().join("repository-files.json")
    }

    fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut stored = serde_json::from_slice(&fs::read(self.file()).expect("it was kept")).expect("JSON");
        change(&mut stored);
        fs::write(self.file(), stored.to_string()).expect("write it");
    }

    fn id(&self, path: &str) -> String {
        self.git.git(&["rev-parse", &format!("HEAD:{path}")])
    }
}

#[tokio::test]
async fn what_was_read_once_is_not_asked_for_again() {
    let kept = Kept::read_once().await;
    let before = kept.fresh().await;
    let id = kept.id("jobs/a.yaml");
    fs::remove_file(kept.git.path().join(".git/objects").join(&id[..2]).join(&id[2..])).expect("a loose object");
    assert!(kept.with(None).await.is_err(), "git does not have it any more");
    assert_eq!(kept.read().await, before);
}

#[tokio::test]
async fn a_new_file_joins_the_others() {
    let mut kept = Kept::read_once().await;
    kept.git.commit("one more", &[("jobs/c.yaml", Some("periodics: []\n"))]);
    assert_eq!(kept.read().await, kept.fresh().await);
    let (old, new) = (kept.id("jobs/a.yaml"), kept.id("jobs/c.yaml"));
    kept.change(|stored| assert!(stored["contents"][&old].is_string() && stored["contents"][&new].is_string()));
}

#[tokio::test]
async fn what_git_would_not_give_is_not_believed() {
    let kept = Kept::read_once().await;
    let (a, plugins) = (kept.id("jobs/a.yaml"), kept.id("prow/plugins.yaml"));
    kept.change(|stored| {
        stored["contents"][&a] = stored["contents"][&plugins].clone();
        stored["contents"][&plugins] = Value::from("no base64!");
    });
    assert_eq!(kept.read().await, kept.fresh().await);
}

#[tokio::test]
async fn another_build_understands_files_anew() {
    let kept = Kept::read_once().await;
    let forget = |stored: &mut Value| {
        for file in stored["read"].as_array_mut().expect("files") {
            file["understood"] = serde_json::json!({ "Ok": { "presets": [], "refusals": [] } });
        }
    };
    kept.change(forget);
    assert!(kept.read().await.head.objections.is_empty(), "of this build it is taken as it stands");
    kept.change(|stored| stored["build"] = Value::from("another"));
    assert_eq!(kept.read().await, kept.fresh().await);
}

#[tokio::test]
async fn without_a_shelf_everything_goes_on() {
    let kept = Kept::read_once().await;
    for text in ["", "{", "[]", "{\"build\":1}"] {
        fs::write(kept.file(), text).expect("write it");
        assert_eq!(kept.read().await, kept.fresh().await, "{text}");
    }
    let file = kept.cache.path().join("no-folder");
    fs::write(&file, "").expect("write it");
    assert_eq!(kept.with(Some(file.join("below"))).await.expect("it is read"), kept.fresh().await);
}

#[tokio::test]
async fn it_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let kept = Kept::read_once().await;
    let folder = kept.cache.path().join("new/folder");
    kept.with(Some(folder.clone())).await.expect("it is read");
    let mode = |path: &std::path::Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("repository-files.json"))), (0o700, 0o600));
}
