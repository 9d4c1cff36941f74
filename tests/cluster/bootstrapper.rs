//! `config render` against Prow's own config-bootstrapper: generated repositories, the same ConfigMaps.
//!
//! To add a rule of Prow's to the comparison: a line in [`Repo::map`] or [`Repo::files`]. What Prow decides at random
//! (a file that two maps want) is not generated; the unit tests hold that it is said.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::bed::Bed;
use crate::support::{Admin, Content, Ran, block_on, program};

const REPOSITORIES: u64 = 20;
/// Takes a seed from the environment, to see a failure again.
const SEED: &str = "PROW_BREAKGLASS_SEED";

/// Key to the sha256 of the value after gunzip.
type Keys = BTreeMap<String, String>;
/// By namespace and name.
type Maps = BTreeMap<(String, String), Keys>;

#[test]
fn render_is_what_config_bootstrapper_writes() {
    let Some(bed) = Bed::start("healthy") else { return };
    let admin = Admin::of(&bed);
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.expect("a clock after 1970").as_secs()
    });
    println!("{SEED}={seed}");
    let (mut config_maps, mut keys) = (0, 0);
    for n in 0..REPOSITORIES {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let repo = Repo::generate(folder.path(), seed, n);
        repo.commit();
        let written = repo.bootstrap(&bed, &admin);
        let rendered = repo.render();
        assert_eq!(rendered, written, "left: config render, right: config-bootstrapper, of\n{}", repo.describe());
        config_maps += written.len();
        keys += written.values().map(BTreeMap::len).sum::<usize>();
    }
    assert!(config_maps > 30 && keys > 60, "worth comparing: {config_maps} ConfigMaps, {keys} keys");
}

/// A small generator, so that a seed tells everything.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        let n = self.below(choices.len() as u64);
        choices[usize::try_from(n).expect("small")]
    }
}

struct Repo<'a> {
    dir: &'a Path,
    /// `prowjob_namespace`; two more begin with it.
    namespace: String,
    random: Random,
    plugins: String,
    files: Vec<PathBuf>,
    /// A file name that no ConfigMap key can be: the API server refuses that ConfigMap.
    has_bad_name: bool,
}

impl<'a> Repo<'a> {
    fn generate(dir: &'a Path, seed: u64, n: u64) -> Self {
        let random = Random(seed.wrapping_mul(1000).wrapping_add(n));
        let namespace = format!("generated-{n}");
        let mut repo = Self { dir, namespace, random, plugins: String::new(), files: Vec::new(), has_bad_name: false };
        repo.write("config/prow/config.yaml", format!("prowjob_namespace: {}\n", repo.namespace).as_bytes());
        repo.plugins = "config_updater:\n".to_owned();
        let gzip_all = repo.random.one_in(4);
        if gzip_all {
            repo.plugins += "  gzip: true\n";
        }
        let groups = repo.random.one_in(3);
        if groups {
            let namespace = &repo.namespace;
            let _ = write!(
                repo.plugins,
                "  cluster_groups:\n    all:\n      clusters: [default]\n      namespaces: [{namespace}-a, {namespace}-b]\n"
            );
        }
        repo.plugins += "  maps:\n    config/prow/config.yaml:\n      name: config\n";
        let maps = 1 + repo.random.below(4);
        for map in 0..maps {
            repo.map(map, groups);
            repo.files(map);
        }
        repo.write("config/prow/plugins.yaml", repo.plugins.clone().as_bytes());
        repo
    }

    /// A map with a folder of its own, so that no file is wanted twice. Maps 0 and 1 may share a ConfigMap.
    fn map(&mut self, n: u64, groups: bool) {
        let glob = self.random.of(&[
            "**/*.yaml",
            "**/*.yaml",
            "**/*",
            "*.yaml",
            "*",
            "**",
            "a/**/b*.yaml",
            "{a,b}/*.yaml",
            "**/{a,bin}.yaml",
            "a*/**/*.txt",
            "b.yaml",
            "x**/b.yaml",
        ]);
        let _ = writeln!(self.plugins, "    config/m{n}/{glob}:");
        // Two maps may feed one ConfigMap where their globs end differently.
        let shared = n < 2 && self.random.one_in(3);
        if !shared && self.random.one_in(4) {
            let _ = writeln!(self.plugins, "      partitioned_names: [map-{n}-p0, map-{n}-p1, map-{n}-p2]");
        } else {
            let name = if shared && n == 1 { "map-0".to_owned() } else { format!("map-{n}") };
            let _ = writeln!(self.plugins, "      name: {name}");
        }
        if shared {
            // The load check goes by key or by the glob's last part: this makes them differ.
            let _ = writeln!(self.plugins, "      key: shared-{n}.yaml");
        } else if self.random.one_in(8) {
            self.plugins += "      key: single.yaml\n";
        } else if self.random.one_in(3) {
            self.plugins += "      use_full_path_as_key: true\n";
        }
        match self.random.below(4) {
            0 => self.plugins += "      gzip: true\n",
            1 => self.plugins += "      gzip: false\n",
            _ => {}
        }
        let namespace = &self.namespace;
        let clusters = match self.random.below(4) {
            0 => format!("      clusters: {{default: [{namespace}-a, {namespace}-b]}}\n"),
            1 => format!("      clusters: {{default: [\"\", {namespace}-b]}}\n"),
            2 if groups => "      cluster_groups: [all]\n".to_owned(),
            _ => String::new(),
        };
        self.plugins += &clusters;
    }

    fn files(&mut self, map: u64) {
        for _ in 0..self.random.below(12) + 6 {
            let folder = self.random.of(&["", "", "a/", "b/", "a/b/", "a-b/", "ab/c/", "x/", "a/b/c/", ".hidden/"]);
            let name = self.random.of(&[
                "a.yaml",
                "b.yaml",
                "b-2.yaml",
                "bin.yaml",
                "c.yml",
                "d.txt",
                ".e.yaml",
                "UP_1.yaml",
                "no-extension",
                "a",
                "c.yaml",
                "d.yaml",
            ]);
            // Rare: a key of which the API server will hear nothing.
            let odd = self.random.one_in(60);
            let name = if odd { "not a key.yaml" } else { name };
            self.has_bad_name |= odd;
            let content: Vec<u8> = match self.random.below(8) {
                0 => Vec::new(),
                1 => (0..self.random.below(300)).map(|_| self.random.below(256).to_le_bytes()[0]).collect(),
                2 => "periodics:\n- name: zażółć 🦀\n".as_bytes().to_vec(),
                // Compressed in git already.
                3 => gzip(b"presets: []\n"),
                4 => "presubmits: {}\n".repeat(2000).into_bytes(),
                _ => format!("periodics:\n- name: job-{}\n", self.random.below(1 << 40)).into_bytes(),
            };
            self.write(&format!("config/m{map}/{folder}{name}"), &content);
        }
        if self.random.one_in(4) {
            self.link(&format!("config/m{map}/link.yaml"), "../prow/config.yaml");
        }
    }

    fn write(&mut self, path: &str, content: &[u8]) {
        let file = self.dir.join(path);
        // A file may stand where another wants its folder: the first one stays.
        if file.exists() || std::fs::create_dir_all(file.parent().expect("a folder")).is_err() {
            return;
        }
        std::fs::write(&file, content).expect("write a file");
        self.files.push(path.into());
    }

    fn link(&mut self, path: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.dir.join(path)).expect("make a link");
        self.files.push(path.into());
    }

    fn commit(&self) {
        for args in [
            &["init", "--quiet", "--initial-branch=main"][..],
            &["add", "--all", "--force"],
            &["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message=generated"],
        ] {
            let mut git = Command::new("git");
            git.args(args).current_dir(self.dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
            for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
                git.env_remove(name);
            }
            let output = git.output().expect("start git");
            assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }

    fn namespaces(&self) -> [String; 3] {
        ["", "-a", "-b"].map(|suffix| format!("{}{suffix}", self.namespace))
    }

    /// What the real program writes into namespaces that are new.
    fn bootstrap(&self, bed: &Bed, admin: &Admin) -> Maps {
        for name in self.namespaces() {
            let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
            block_on(admin.post("/api/v1/namespaces", &namespace));
        }
        let dir = self.dir.display();
        let accounts = Path::new(bed.fact("dir")).join("accounts");
        let output = Command::new(bed.checkconfig().with_file_name("config-bootstrapper"))
            .arg(format!("--source-path={dir}"))
            .arg(format!("--config-path={dir}/config/prow/config.yaml"))
            .arg(format!("--plugin-config={dir}/config/prow/plugins.yaml"))
            .arg(format!("--kubeconfig={}", accounts.join("config-bootstrapper.kubeconfig").display()))
            .arg("--dry-run=false")
            .env_clear()
            .output()
            .expect("start config-bootstrapper");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || self.has_bad_name, "config-bootstrapper: {words}\n{}", self.describe());
        let mut maps = Maps::new();
        for namespace in self.namespaces() {
            for map in block_on(admin.list(&format!("/api/v1/namespaces/{namespace}/configmaps"))) {
                let name = map["metadata"]["name"].as_str().expect("a name").to_owned();
                // The controller manager's own, in every namespace.
                if name == "kube-root-ca.crt" {
                    continue;
                }
                let values = Content::of(&map).values.into_iter().filter(|(key, _)| key != "VERSION");
                let keys = values.map(|(key, value)| (key, sha256(&gunzip(&value)))).collect();
                maps.insert((namespace.clone(), name), keys);
            }
        }
        maps
    }

    fn render(&self) -> Maps {
        let args = ["config", "render", "-o", "json", "--repo"];
        let output = program().args(args).arg(self.dir).output().expect("start the program");
        let document = Ran::of(&args, output).ended(0).json();
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let maps = document["configMaps"].as_array().expect("a list");
        maps.iter()
            .map(|map| {
                assert_eq!(map["cluster"], "default");
                let keys = map["keys"].as_array().expect("a list").iter();
                let keys = keys.map(|key| (text(&key["key"]), text(&key["sha256"]))).collect();
                ((text(&map["namespace"]), text(&map["name"])), keys)
            })
            .collect()
    }

    fn describe(&self) -> String {
        let files: Vec<String> = self.files.iter().map(|path| path.display().to_string()).collect();
        format!("{}\n{}", self.plugins, files.join("\n"))
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    let mut encoder = flate2::bufread::GzEncoder::new(bytes, flate2::Compression::default());
    encoder.read_to_end(&mut compressed).expect("gzip");
    compressed
}

/// As Prow's readers do it: by the first two bytes.
fn gunzip(bytes: &[u8]) -> Vec<u8> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes.to_vec();
    }
    let mut plain = Vec::new();
    flate2::bufread::MultiGzDecoder::new(bytes).read_to_end(&mut plain).expect("gunzip");
    plain
}
