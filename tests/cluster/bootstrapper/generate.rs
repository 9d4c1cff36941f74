//! Repositories for the comparison with config-bootstrapper: from a seed, with all features and quirks of config_updater.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An alias that the bootstrapper has a context for.
pub const OTHER_CLUSTER: &str = "build";
/// One that it has none for.
pub const NO_CLUSTER: &str = "nowhere";
pub const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 1\n";

/// As what the files are given to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Folder,
    Checkout,
    Bare,
}

/// A small generator, so that a seed tells everything.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

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

pub struct Repo {
    pub dir: PathBuf,
    pub kind: Kind,
    /// `prowjob_namespace`; the others begin with it.
    namespace: String,
    random: Random,
    plugins: String,
    /// With what they hold, made readable.
    files: Vec<String>,
}

impl Repo {
    pub fn generate(dir: &Path, seed: u64, n: u64) -> Self {
        let random = Random(seed.wrapping_mul(1000).wrapping_add(n));
        let kind = [Kind::Folder, Kind::Checkout, Kind::Bare][usize::try_from(n % 3).expect("small")];
        let namespace = format!("generated-{n}");
        let (plugins, files) = ("config_updater:\n".to_owned(), Vec::new());
        let mut repo = Self { dir: dir.to_owned(), kind, namespace, random, plugins, files };
        repo.write(b"config/prow/config.yaml", format!("prowjob_namespace: {}\n", repo.namespace).as_bytes());
        if repo.random.one_in(3) {
            repo.write(b"VERSION", b"0123abc\n");
        }
        // Prow's default maps.
        if !repo.random.one_in(30) {
            repo.updater();
        }
        repo.write(b"config/prow/plugins.yaml", repo.plugins.clone().as_bytes());
        repo
    }

    fn updater(&mut self) {
        if self.random.one_in(4) {
            self.plugins += "  gzip: true\n";
        }
        let groups = self.random.one_in(3);
        if groups {
            let namespace = &self.namespace;
            let _ = write!(
                self.plugins,
                "  cluster_groups:\n    all:\n      clusters: [default]\n      namespaces: [{namespace}-a, \
                 {namespace}-b]\n    more:\n      clusters: [{OTHER_CLUSTER}]\n      namespaces: \
                 [{namespace}-d, {namespace}-c]\n    none: {{}}\n"
            );
        }
        self.plugins += "  maps:\n    config/prow/config.yaml:\n      name: config\n";
        let maps = 1 + self.random.below(4);
        for map in 0..maps {
            self.map(map, groups);
            self.files(map);
        }
        if self.random.one_in(6) {
            // Takes files of another map.
            let (map, glob) = (self.random.below(maps), self.random.of(&["a.yaml", "*", "**/b*", "**/*.yaml", "a/*"]));
            let same = self.random.one_in(4);
            let name = if same { format!("map-{map}") } else { "overlapping".to_owned() };
            let _ = writeln!(self.plugins, "    ./config/m{map}/{glob}:\n      name: {name}\n      key: o.yaml");
        }
    }

    /// A map with a folder of its own. Maps 0 and 1 may share a ConfigMap.
    fn map(&mut self, n: u64, groups: bool) {
        let odd = self.random.one_in(6);
        let glob = if odd {
            self.random.of(&[
                "/{a,b}.yaml",
                "/{a,bin,with-a-long-name}/*.yaml",
                "/{a/b,x}/**/*",
                "//./**/*.yaml",
                "/**/*.yaml/",
                "/$UNSET1/*.yaml",
                "/[ab].yaml",
                "/*?*",
                "**/a.yaml",
                "/nothing/*.yaml",
                "/***",
                "/**/{}",
                "*/b.yaml",
            ])
        } else {
            self.random.of(&[
                "/**/*.yaml",
                "/**/*.yaml",
                "/**/*",
                "/*.yaml",
                "/*",
                "/**",
                "/a/**/b*.yaml",
                "/{a,b}/*.yaml",
                "/**/{a,bin}.yaml",
                "/a*/**/*.txt",
                "/b.yaml",
                "/x**/b.yaml",
            ])
        };
        let _ = writeln!(self.plugins, "    'config/m{n}{glob}':");
        // Two maps may feed one ConfigMap where their globs end differently.
        let shared = n < 2 && self.random.one_in(3);
        self.name(n, shared);
        if shared {
            // The load check goes by key or by the glob's last part: this makes them differ.
            let _ = writeln!(self.plugins, "      key: shared-{n}.yaml");
        } else if self.random.one_in(8) {
            let key = self.random.of(&["single.yaml", "single.yaml", "single.yaml", "bad key", "VERSION"]);
            let _ = writeln!(self.plugins, "      key: {key}");
        }
        if self.random.one_in(3) {
            self.plugins += "      use_full_path_as_key: true\n";
        }
        match self.random.below(4) {
            0 => self.plugins += "      gzip: true\n",
            1 => self.plugins += "      gzip: false\n",
            _ => {}
        }
        if self.random.one_in(12) {
            self.plugins += self.random.of(&[
                "      allowed_repos: [org]\n",
                "      allowed_repos: [other/repo]\n",
                "      denied_repos: [org/repo]\n",
            ]);
        }
        self.targets(groups);
    }

    fn name(&mut self, n: u64, shared: bool) {
        let named = |name: &str| format!("      name: {name}\n");
        self.plugins += &match self.random.below(64) {
            0 => format!("      name: map-{n}\n      partitioned_names: [x]\n"),
            1 => named("Not_A_Name"),
            2 => String::new(),
            3 => named("map-0"),
            4..20 if !shared => format!("      partitioned_names: [map-{n}-p0, map-{n}-p1, map-{n}-p2]\n"),
            _ if shared && n == 1 => named("map-0"),
            _ => named(&format!("map-{n}")),
        };
    }

    fn targets(&mut self, groups: bool) {
        let namespace = &self.namespace;
        let clusters = match self.random.below(24) {
            0..5 => format!("      clusters: {{default: [{namespace}-a, {namespace}-b]}}\n"),
            5..10 => format!("      clusters: {{default: [\"\", {namespace}-b]}}\n"),
            10 => format!("      clusters: {{default: [\"\", {namespace}]}}\n"),
            11 => format!("      clusters: {{{OTHER_CLUSTER}: [{namespace}-d], default: [{namespace}-a]}}\n"),
            12 => format!("      clusters: {{{NO_CLUSTER}: [{namespace}-a], default: [\"\"]}}\n"),
            13 => "      clusters: {default: []}\n".to_owned(),
            14 if groups => "      cluster_groups: [all]\n      clusters: {default: [\"\"]}\n".to_owned(),
            15 => "      cluster_groups: [unknown]\n".to_owned(),
            16 if groups => "      cluster_groups: [none]\n".to_owned(),
            16..18 if groups => "      cluster_groups: [all, all]\n".to_owned(),
            18..20 if groups => "      cluster_groups: [all, more]\n".to_owned(),
            20..22 if groups => format!("      cluster_groups: [all]\n      denied_repos: [{namespace}]\n"),
            _ => String::new(),
        };
        self.plugins += &clusters;
    }

    fn files(&mut self, map: u64) {
        let large = self.random.one_in(16);
        for n in 0..self.random.below(12) + 6 {
            let folder = self.random.of(&["", "", "a/", "b/", "a/b/", "a-b/", "ab/c/", "x/", "a/b/c/", ".hidden/"]);
            let names: &[&[u8]] = &[
                b"a.yaml",
                b"b.yaml",
                b"b-2.yaml",
                b"bin.yaml",
                b"c.yml",
                b"d.txt",
                b".e.yaml",
                b"UP_1.yaml",
                b"no-extension",
                b"a",
                b"c.yaml",
                b"d.yaml",
                b"e.yaml",
                b"f.yaml",
            ];
            // Rare: keys of which the API server will hear nothing, and names that are hard to carry.
            let long = [b'l'; 250];
            let hostile: &[&[u8]] = &[
                b"not a key.yaml",
                "ü.yaml".as_bytes(),
                b"new\nline.yaml",
                b"..two.yaml",
                b"quote'\".yaml",
                b"$(x).yaml",
                "\u{202e}bidi.yaml".as_bytes(),
                b"\xff.yaml",
                b"back\\slash.yaml",
                b"VERSION",
                &long,
                b"-dash.yaml",
                b"{a,b}.yaml",
                b"[ab].yaml",
            ];
            let choices = if self.random.one_in(80) { hostile } else { names };
            let name = choices[usize::try_from(self.random.below(choices.len() as u64)).expect("small")];
            let content = if large && n < 3 { self.bytes(600_000) } else { self.content() };
            self.write(&[format!("config/m{map}/{folder}").as_bytes(), name].concat(), &content);
        }
        if self.random.one_in(3) {
            let target = match self.random.below(12) {
                0..4 => "../prow/config.yaml",
                4..6 => "a",
                6..8 => "none.yaml",
                8 => "link.yaml",
                9 => "a/../../prow/config.yaml",
                10 => "b.yaml/",
                _ => "../m0/a.yaml",
            };
            self.link(&format!("config/m{map}/link.yaml"), target);
        }
        if self.random.one_in(12) {
            // A folder that is one only for people, and a file behind it.
            self.link(&format!("config/m{map}/linked"), "../prow");
            self.link(&format!("config/m{map}/through.yaml"), "linked/../prow/config.yaml");
        }
    }

    fn content(&mut self) -> Vec<u8> {
        match self.random.below(16) {
            0 | 1 => Vec::new(),
            2 | 3 => {
                let bytes = self.random.below(300);
                self.bytes(bytes)
            }
            4 | 5 => "periodics:\n- name: zażółć 🦀\n".as_bytes().to_vec(),
            // Compressed in git already, or looking so.
            6 => gzip(b"presets: []\n"),
            7 => b"\x1f\x8bno gzip".to_vec(),
            8 | 9 => "presubmits: {}\n".repeat(2000).into_bytes(),
            10 if self.random.one_in(8) => LFS_POINTER.to_vec(),
            11 => b"\xed\xa0\x80 a surrogate, \x00 and \xef\xbf\xbf".to_vec(),
            12 => b"nul \x00 and del \x7f and \xf4\x8f\xbf\xbf".to_vec(),
            _ => format!("periodics:\n- name: job-{}\n", self.random.below(1 << 40)).into_bytes(),
        }
    }

    fn bytes(&mut self, count: u64) -> Vec<u8> {
        (0..count).map(|_| self.random.below(256).to_le_bytes()[0]).collect()
    }

    fn write(&mut self, path: &[u8], content: &[u8]) {
        let file = self.dir.join(OsStr::from_bytes(path));
        // A file may stand where another wants its folder: the first one stays.
        if file.symlink_metadata().is_ok() || std::fs::create_dir_all(file.parent().expect("a folder")).is_err() {
            return;
        }
        std::fs::write(&file, content).expect("write a file");
        self.files.push(format!("{:?} ({} bytes)", String::from_utf8_lossy(path), content.len()));
    }

    fn link(&mut self, path: &str, target: &str) {
        let link = self.dir.join(path);
        if link.symlink_metadata().is_ok() {
            return;
        }
        std::os::unix::fs::symlink(target, link).expect("make a link");
        self.files.push(format!("{path} -> {target}"));
    }

    /// Commits all to a repository at this place.
    pub fn commit(&self, git_dir: &Path) {
        for args in [
            &["init", "--quiet", "--initial-branch=main"][..],
            &["config", "remote.origin.url", "git@github.com:org/repo.git"],
            &["add", "--all", "--force"],
            &["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message=generated"],
            &["config", "core.bare", if git_dir.starts_with(&self.dir) { "false" } else { "true" }],
        ] {
            let mut git = Command::new("git");
            git.args(args).current_dir(&self.dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
            git.env("GIT_DIR", git_dir).env("GIT_WORK_TREE", &self.dir).env_remove("GIT_INDEX_FILE");
            let output = git.output().expect("start git");
            assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }

    pub fn namespaces(&self) -> [String; 5] {
        ["", "-a", "-b", "-c", "-d"].map(|suffix| format!("{}{suffix}", self.namespace))
    }

    /// The alias under which a namespace is written to, as far as one namespace tells.
    pub fn cluster_of(&self, namespace: &str) -> &'static str {
        if namespace.ends_with("-c") || namespace.ends_with("-d") { OTHER_CLUSTER } else { "default" }
    }

    pub fn describe(&self) -> String {
        format!("{}\n{}", self.plugins, self.files.join("\n"))
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    let mut encoder = flate2::bufread::GzEncoder::new(bytes, flate2::Compression::default());
    encoder.read_to_end(&mut compressed).expect("gzip");
    compressed
}
