//! What an earlier process read, and how little it is believed.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::git::testing::TestRepository;
use crate::model::sha256_hex;

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

    fn stored(&self) -> Value {
        let text = fs::read_to_string(self.file()).expect("it was kept");
        serde_json::from_str(text.split_once('\n').expect("a digest before it").1).expect("JSON")
    }

    /// With a digest that is right, as of somebody who means it.
    fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut stored = self.stored();
        change(&mut stored);
        let body = stored.to_string();
        fs::write(self.file(), format!("{}\n{body}", sha256_hex(body.as_bytes()))).expect("write it");
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
    let stored = kept.stored();
    assert!(stored["contents"][&old].is_string() && stored["contents"][&new].is_string());
}

#[tokio::test]
async fn what_git_would_not_give_is_not_believed() {
    let kept = Kept::read_once().await;
    let (a, plugins) = (kept.id("jobs/a.yaml"), kept.id("prow/plugins.yaml"));
    kept.change(|stored| {
        stored["contents"][&a] = stored["contents"][&plugins].clone();
        stored["contents"][&plugins] = Value::from("AAAA");
    });
    assert_eq!(kept.read().await, kept.fresh().await);
    // And it is mended.
    let healed = kept.stored();
    assert_eq!(kept.read().await, kept.fresh().await);
    assert_eq!(kept.stored(), healed);
    assert_ne!(healed["contents"][&plugins], Value::from("AAAA"));
}

/// The same content in another form: git's hash is right, and it would be written as it lies there.
#[tokio::test]
async fn what_is_not_packed_as_we_pack_is_not_taken() {
    let kept = Kept::read_once().await;
    let a = kept.id("jobs/a.yaml");
    let named = flate2::GzBuilder::new().filename("a".repeat(5000)).mtime(0).operating_system(255);
    let mut named = named.write(Vec::new(), flate2::Compression::default());
    named.write_all(PRESET.as_bytes()).expect("memory");
    for other in [PRESET.as_bytes().to_vec(), named.finish().expect("memory")] {
        kept.change(|stored| stored["contents"][&a] = Value::from(BASE64_STANDARD.encode(other)));
        assert_eq!(kept.read().await, kept.fresh().await);
    }
}

#[tokio::test]
async fn another_build_understands_files_anew() {
    let kept = Kept::read_once().await;
    kept.change(|stored| {
        for file in stored["read"].as_array_mut().expect("files") {
            file["understood"] = serde_json::json!({ "Ok": { "presets": [], "refusals": [] } });
        }
        stored["build"] = Value::from("another");
    });
    assert_eq!(kept.read().await, kept.fresh().await);
}

#[tokio::test]
async fn a_flipped_bit_is_seen() {
    let kept = Kept::read_once().await;
    let text = fs::read_to_string(kept.file()).expect("it was kept");
    fs::write(kept.file(), text.replacen("preset-shared", "preset-sharee", 1)).expect("write it");
    assert_eq!(kept.read().await, kept.fresh().await);
}

#[tokio::test]
async fn what_others_can_write_or_is_no_file_is_not_read() {
    let kept = Kept::read_once().await;
    // What would be believed of ours.
    let lie = |kept: &Kept| {
        kept.change(|stored| {
            for file in stored["read"].as_array_mut().expect("files") {
                file["understood"] = serde_json::json!({ "Ok": { "presets": [], "refusals": [] } });
            }
        });
    };
    lie(&kept);
    assert_ne!(kept.read().await, kept.fresh().await, "the lie works");
    for path in [kept.file(), kept.cache.path().to_owned()] {
        let before = fs::metadata(&path).expect("it is there").permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(before.mode() | 0o020)).expect("its owner may");
        assert_eq!(kept.read().await, kept.fresh().await, "{}", path.display());
        fs::set_permissions(&path, before).expect("its owner may");
        lie(&kept);
    }
    let elsewhere = kept.cache.path().join("elsewhere");
    fs::rename(kept.file(), &elsewhere).expect("move it");
    std::os::unix::fs::symlink(&elsewhere, kept.file()).expect("a link");
    assert_eq!(kept.read().await, kept.fresh().await, "a link");
    fs::remove_file(kept.file()).expect("it was replaced, or is the link");
    rustix::fs::mknodat(rustix::fs::CWD, kept.file(), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .expect("a FIFO");
    assert_eq!(kept.read().await, kept.fresh().await, "a FIFO, which nobody writes");
    let huge = fs::File::create(kept.cache.path().join("huge")).expect("a file");
    huge.set_len(1 << 30).expect("sparse");
    fs::rename(kept.cache.path().join("huge"), kept.file()).expect("move it");
    assert_eq!(kept.read().await, kept.fresh().await, "a file of a gigabyte");
}

#[tokio::test]
async fn a_folder_that_is_no_repository_is_not_kept() {
    let (plain, cache) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    fs::write(plain.path().join("plugins.yaml"), "config_updater: {maps: {config.yaml: {name: config}}}\n")
        .expect("write it");
    fs::write(plain.path().join("config.yaml"), "prowjob_namespace: prow\n").expect("write it");
    let repository = Repository::open(plain.path()).await.expect("a folder");
    let options = DesiredOptions { cache: Some(cache.path().to_owned()), ..DesiredOptions::default() };
    read(&repository, &options).await.expect("it is read");
    let text = fs::read_to_string(cache.path().join("repository-files.json")).unwrap_or_default();
    assert!(!text.contains("file:"), "{text}");
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
    let kept = Kept::read_once().await;
    let folder = kept.cache.path().join("new/folder");
    kept.with(Some(folder.clone())).await.expect("it is read");
    let mode = |path: &std::path::Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("repository-files.json"))), (0o700, 0o600));
}
