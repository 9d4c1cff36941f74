//! `config render` against Prow's own config-bootstrapper: generated repositories, the same ConfigMaps, keys and values, the
//! same refusals; where the real one is random or wrong by accident, a finding of ours says so.
//!
//! `generate` makes the repositories: to add a rule of Prow's to the comparison, a line there. What is excused, and by
//! which finding, is in [`Comparison`].

mod generate;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kube::config::Kubeconfig;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub use self::generate::Random;
use self::generate::{Kind, Repo};
use crate::bed::Bed;
use crate::support::{Content, block_on, client, program};

/// Seed and number of repositories that were once compared wrongly.
const KNOWN: [(u64, u64); 1] = [
    // Two ConfigMaps of one name, one of them for a cluster that is none.
    (1_795_355_618, 3018),
];
/// How many repositories; the environment may ask for more.
const REPOSITORIES: u64 = 200;
const HOW_MANY: &str = "PROW_BREAKGLASS_REPOSITORIES";
/// Takes a seed from the environment: `.cargo/config.toml` has that of each run.
pub const SEED: &str = "PROW_BREAKGLASS_SEED";

/// The bootstrapper waits most of its time, for its own limit of requests a second.
const AT_ONCE: u64 = 6;

/// Namespace and name.
type Name = (String, String);
/// Key to section and sha256 of the value after gunzip.
type Keys = BTreeMap<String, (String, String)>;

#[test]
fn render_is_what_config_bootstrapper_writes() {
    let Some(mut bed) = Bed::start("healthy") else { return };
    // A bare API server is enough.
    bed.pause_controllers();
    let seed = seed();
    let count = from_environment(HOW_MANY).unwrap_or(REPOSITORIES);
    println!("{SEED}={seed} {HOW_MANY}={count}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let kubeconfig = two_contexts(&bed, folder.path());
    let real = Real {
        program: bed.checkconfig().with_file_name("config-bootstrapper"),
        kubeconfig,
        admin: bed.admin_kubeconfig(),
    };
    let repositories: Vec<(u64, u64)> =
        (0..count).map(|n| (seed, n)).chain(KNOWN.into_iter().filter(|(_, n)| *n >= count)).collect();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let totals: Vec<Totals> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    let mut totals = Totals::default();
                    loop {
                        let Some((seed, n)) = repositories.get(next.fetch_add(1, Ordering::Relaxed)) else {
                            return totals;
                        };
                        let failure = compare(&real, *seed, *n, &mut totals);
                        failures.lock().expect("nobody panicked").extend(failure);
                    }
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("a comparison without difference")).collect()
    });
    let failures = failures.into_inner().expect("nobody panicked");
    let some = failures.iter().take(5).cloned().collect::<Vec<_>>().join("\n=====\n");
    assert!(failures.is_empty(), "{} of {} repositories differ:\n{some}", failures.len(), repositories.len());
    let all = totals.into_iter().fold(Totals::default(), Totals::and);
    println!("{all:?}");
    assert!(all.config_maps > count as usize && all.keys > 2 * count as usize, "worth comparing: {all:?}");
    let common = [
        "overlap",
        "matches-nothing",
        "refused",
        "keys-collide",
        "bad-key",
        "unreadable",
        "bound-to-repositories",
        "groups-forget-full-path",
        "writes-nowhere",
        "linked-folder",
    ];
    // So rare that a seed may have none of them among two hundred.
    let rare = ["bad-name", "no-name", "too-large", "literal-braces", "too-short", "version-key", "environment"];
    let expected: Vec<&str> = match count {
        0..REPOSITORIES => Vec::new(),
        REPOSITORIES..2000 => common.to_vec(),
        2000.. => [common.as_slice(), rare.as_slice()].concat(),
    };
    let missing: Vec<&str> = expected.into_iter().filter(|code| !all.codes.contains_key(*code)).collect();
    assert!(missing.is_empty(), "nothing was generated that makes {missing:?}");
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// A new one, unless the environment asks for one again.
pub fn seed() -> u64 {
    from_environment(SEED).unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.expect("a clock after 1970").as_secs()
    })
}

/// The bootstrapper's kubeconfig with a second context for the same server: another alias.
fn two_contexts(bed: &Bed, folder: &Path) -> PathBuf {
    let own = Path::new(bed.fact("dir")).join("accounts/config-bootstrapper.kubeconfig");
    let mut kubeconfig = Kubeconfig::read_from(own).expect("the account's kubeconfig");
    let mut other = kubeconfig.contexts[0].clone();
    other.name = generate::OTHER_CLUSTER.to_owned();
    kubeconfig.contexts.push(other);
    let path = folder.join("kubeconfig");
    std::fs::write(&path, json!(kubeconfig).to_string()).expect("write a kubeconfig");
    path
}

#[derive(Debug, Default)]
struct Totals {
    config_maps: usize,
    keys: usize,
    /// ConfigMaps that the two differ in, and a finding says so.
    excused: usize,
    refused: usize,
    codes: BTreeMap<String, usize>,
}

impl Totals {
    fn and(mut self, other: Totals) -> Self {
        self.config_maps += other.config_maps;
        self.keys += other.keys;
        self.excused += other.excused;
        self.refused += other.refused;
        for (code, count) in other.codes {
            *self.codes.entry(code).or_default() += count;
        }
        self
    }
}

/// What is wrong with one repository.
fn compare(real: &Real, seed: u64, n: u64, totals: &mut Totals) -> Option<String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let repo = Repo::generate(&folder.path().join("files"), seed, n);
    let written = real.bootstrap(&repo);
    let at = match repo.kind {
        Kind::Folder => repo.dir.clone(),
        Kind::Checkout => {
            repo.commit(&repo.dir.join(".git"));
            repo.dir.clone()
        }
        Kind::Bare => {
            let bare = folder.path().join("bare.git");
            repo.commit(&bare);
            bare
        }
    };
    let rendered = Rendered::of(&at);
    let comparison = Comparison { repo: &repo, written: &written, rendered: &rendered };
    let differences = comparison.differences(totals);
    (!differences.is_empty()).then(|| {
        format!(
            "{SEED}={seed}, repository {n} ({:?}):\n{}\n\n{}\nfindings: {:#?}\nconfig-bootstrapper ended {:?}: {}",
            repo.kind,
            differences.join("\n"),
            repo.describe(),
            rendered.findings.iter().map(|finding| &finding.summary).collect::<Vec<_>>(),
            written.code,
            written.words,
        )
    })
}

/// Prow's own program.
struct Real {
    program: PathBuf,
    kubeconfig: PathBuf,
    admin: PathBuf,
}

/// What it did.
struct Written {
    code: Option<i32>,
    words: String,
    config_maps: BTreeMap<Name, (Keys, Content)>,
}

impl Real {
    /// What it writes into namespaces that are new.
    fn bootstrap(&self, repo: &Repo) -> Written {
        block_on(async {
            let client = client(&self.admin).await;
            for name in repo.namespaces() {
                let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
                let request = http::Request::post("/api/v1/namespaces").header("content-type", "application/json");
                let request = request.body(namespace.to_string().into_bytes()).expect("a request");
                client.request::<Value>(request).await.expect("a new namespace");
            }
            let dir = repo.dir.display();
            let output = Command::new(&self.program)
                .arg(format!("--source-path={dir}"))
                .arg(format!("--config-path={dir}/config/prow/config.yaml"))
                .arg(format!("--plugin-config={dir}/config/prow/plugins.yaml"))
                .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
                .arg("--dry-run=false")
                .env_clear()
                .output()
                .expect("start config-bootstrapper");
            let mut config_maps = BTreeMap::new();
            for namespace in repo.namespaces() {
                let path = format!("/api/v1/namespaces/{namespace}/configmaps");
                let request = http::Request::get(path).body(Vec::new()).expect("a request");
                let list: Value = client.request(request).await.expect("a list of ConfigMaps");
                for map in list["items"].as_array().expect("items") {
                    let content = Content::of(map);
                    let keys = content.values.iter().filter(|(key, _)| *key != "VERSION").map(|(key, value)| {
                        let section = if content.binary.contains(key) { "binaryData" } else { "data" };
                        (key.clone(), (section.to_owned(), sha256(&gunzip(value))))
                    });
                    let name = map["metadata"]["name"].as_str().expect("a name").to_owned();
                    config_maps.insert((namespace.clone(), name), (keys.collect(), content.clone()));
                }
            }
            let words = String::from_utf8_lossy(&output.stderr);
            let words: Vec<&str> = words
                .lines()
                .filter(|line| line.contains("\"level\":\"error\"") || line.contains("\"level\":\"fatal\""))
                .collect();
            Written { code: output.status.code(), words: words.join("\n"), config_maps }
        })
    }
}

/// What `config render` says.
struct Rendered {
    /// By cluster.
    config_maps: BTreeMap<(String, Name), Keys>,
    findings: Vec<Finding>,
    /// The words of a failure.
    failed: Option<String>,
}

struct Finding {
    code: String,
    summary: String,
    /// Cluster, namespace and name.
    subjects: Vec<(String, Name)>,
}

impl Rendered {
    fn of(repository: &Path) -> Self {
        let output = program()
            .args(["config", "render", "-o", "json", "--plugin-config", "config/prow/plugins.yaml"])
            .args(["--config-path", "config/prow/config.yaml", "--repo"])
            .arg(repository)
            .output()
            .expect("start the program");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() == Some(2) {
            return Rendered { config_maps: BTreeMap::new(), findings: Vec::new(), failed: Some(words) };
        }
        assert_eq!(output.status.code(), Some(0), "{words}");
        let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let list = |value: &Value| value.as_array().expect("a list").clone();
        let name = |value: &Value| (text(&value["cluster"]), (text(&value["namespace"]), text(&value["name"])));
        let config_maps = list(&document["configMaps"]).into_iter().map(|map| {
            let keys = list(&map["keys"]);
            let keys = keys.iter().map(|key| (text(&key["key"]), (text(&key["section"]), text(&key["sha256"]))));
            (name(&map), keys.collect())
        });
        let findings = list(&document["findings"]).into_iter().map(|finding| {
            let id = text(&finding["id"]);
            let (_, about) = id.split_once(':').expect("kind and subject");
            let code = about.split('/').next().unwrap_or_default().to_owned();
            let subjects = list(&finding["subjects"]).iter().map(name).collect();
            Finding { code, summary: text(&finding["summary"]), subjects }
        });
        Rendered { config_maps: config_maps.collect(), findings: findings.collect(), failed: None }
    }
}

/// The two side by side.
struct Comparison<'a> {
    repo: &'a Repo,
    written: &'a Written,
    rendered: &'a Rendered,
}

/// Our codes for what the API server or the bootstrapper refuses: such a ConfigMap is not written.
const REFUSED: [&str; 4] = ["bad-key", "bad-name", "too-large", "no-name"];
/// Our codes for what we do not render though Prow may write something, by chance or by accident.
const NOT_JUDGED: [&str; 3] = ["overlap", "unreadable", "bound-to-repositories"];

impl Comparison<'_> {
    fn differences(&self, totals: &mut Totals) -> Vec<String> {
        for finding in &self.rendered.findings {
            *totals.codes.entry(finding.code.clone()).or_default() += 1;
        }
        let refused = self.written.words.contains("Error starting plugin configuration agent");
        let said = match &self.rendered.failed {
            Some(words) => words.contains("hook would not start on"),
            None => self.with(&["refused"]).next().is_some(),
        };
        if refused || said {
            totals.refused += 1;
            return if refused == said { self.same_words() } else { vec![format!("refused: {refused}, said: {said}")] };
        }
        if let Some(words) = &self.rendered.failed {
            let why = format!("not rendered: {words}");
            return if self.written.config_maps.is_empty() || words.contains("not judged") {
                Vec::new()
            } else {
                vec![why]
            };
        }
        let mut differences = Vec::new();
        let (not_written, not_judged) = (self.names(&REFUSED), self.names(&NOT_JUDGED));
        for (name, (keys, content)) in &self.written.config_maps {
            let (cluster, ours) = self.ours(name);
            if not_judged.contains(name) {
                totals.excused += 1;
                differences.extend(self.accident(name, content));
            } else if not_written.contains(name) {
                differences.push(format!("{name:?} was written, and we say that it is refused"));
            } else if ours != Some(keys) {
                differences.push(format!("{name:?} in {cluster:?}:\n  written  {keys:?}\n  rendered {ours:?}"));
            } else {
                totals.config_maps += 1;
                totals.keys += keys.len();
            }
        }
        for (cluster, name) in self.rendered.config_maps.keys() {
            if cluster != generate::NO_CLUSTER && !self.written.config_maps.contains_key(name) {
                differences.push(format!("{name:?} was rendered and not written"));
            }
        }
        differences.extend(self.exit_code(&not_written, &not_judged));
        differences
    }

    /// The program tells one of the faults, or a list of some.
    fn same_words(&self) -> Vec<String> {
        let told: Vec<&str> = match &self.rendered.failed {
            Some(words) => words.lines().filter_map(|line| line.split_once("): ")).map(|(_, fault)| fault).collect(),
            None => self
                .with(&["refused"])
                .filter_map(|finding| finding.summary.split_once("): "))
                .map(|(_, f)| f)
                .collect(),
        };
        let words = self.written.words.replace("\\\"", "\"");
        let is_told = told.iter().any(|fault| words.contains(fault.split(" (and ").next().unwrap_or(fault)));
        let nothing = self.written.config_maps.is_empty();
        if is_told && nothing { Vec::new() } else { vec![format!("refused in other words: {told:?}")] }
    }

    fn ours(&self, name: &Name) -> (Option<&str>, Option<&Keys>) {
        let found = self
            .rendered
            .config_maps
            .iter()
            .find(|((cluster, known), _)| known == name && cluster.as_str() == self.repo.cluster_of(&name.0));
        found.map_or((None, None), |((cluster, _), keys)| (Some(cluster), Some(keys)))
    }

    /// An unreadable file spoils a ConfigMap; where the bootstrapper wrote it nevertheless, by accident, some value must be
    /// the accident's.
    fn accident(&self, name: &Name, content: &Content) -> Option<String> {
        let only_unreadable = self.names(&["unreadable"]).contains(name)
            && !self.names(&["overlap", "bound-to-repositories"]).contains(name);
        let accidents = [b"".as_slice(), generate::LFS_POINTER];
        let has_one = content.values.values().any(|value| accidents.contains(&gunzip(value).as_slice()));
        (only_unreadable && !has_one).then(|| format!("{name:?} was written well, and we call it unreadable"))
    }

    /// It ends with 1 where a ConfigMap could not be written, else with 0.
    fn exit_code(&self, not_written: &BTreeSet<Name>, not_judged: &BTreeSet<Name>) -> Option<String> {
        let somewhere = |name: &Name| self.repo.namespaces().contains(&name.0);
        let must_fail = not_written.iter().any(|name| !not_judged.contains(name) && somewhere(name))
            || self.rendered.config_maps.keys().any(|(cluster, _)| cluster == generate::NO_CLUSTER);
        let may_fail = self.with(&REFUSED).chain(self.with(&NOT_JUDGED)).next().is_some();
        match self.written.code {
            Some(0) if must_fail => Some("it succeeded, and we say that something is refused".to_owned()),
            Some(1) if !must_fail && !may_fail => Some("it failed, and we say nothing of it".to_owned()),
            Some(0 | 1) => None,
            other => Some(format!("it ended with {other:?}")),
        }
    }

    fn with<'s>(&'s self, codes: &'s [&str]) -> impl Iterator<Item = &'s Finding> {
        self.rendered.findings.iter().filter(|finding| codes.contains(&finding.code.as_str()))
    }

    /// The ConfigMaps that findings of these codes are about, of those that can be written: one of the same name for
    /// a cluster that is none is not the one that is compared.
    fn names(&self, codes: &[&str]) -> BTreeSet<Name> {
        self.with(codes)
            .flat_map(|finding| &finding.subjects)
            .filter(|(cluster, (namespace, _))| cluster == self.repo.cluster_of(namespace))
            .map(|(_, name)| name.clone())
            .collect()
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As Prow's readers do it: by the first two bytes. What does not inflate is as it is.
fn gunzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Read as _;
    let mut plain = Vec::new();
    let inflates =
        bytes.starts_with(&[0x1f, 0x8b]) && flate2::bufread::MultiGzDecoder::new(bytes).read_to_end(&mut plain).is_ok();
    if inflates { plain } else { bytes.to_vec() }
}
