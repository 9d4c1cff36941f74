//! A configuration of the size of kubevirt/project-infra's: 216 job files of 1.7 MB with 1,399 presubmits, 109 postsubmits
//! and 147 periodics, 22 presets, four maps of which one packs, and sixty commits of history. Prow loads it.
//!
//! The seed decides the words in it, and nothing else.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bootstrapper::Random;

const JOB_FILES: usize = 216;
const JOB_BYTES: usize = 1_715_628;
const PRESUBMITS: usize = 1399;
const POSTSUBMITS: usize = 109;
const PERIODICS: usize = 147;
const PRESETS: usize = 22;
const CONFIG_BYTES: usize = 28_508;
const PLUGINS_BYTES: usize = 20_047;
/// What a job has beside its variables, and what one of these takes.
const BARE_JOB: usize = 840;
const VARIABLE: usize = 72;
/// Commits after the first, each of one job file.
const COMMITS: usize = 60;

const CLUSTERS: [&str; 6] =
    ["default", "prow-workloads", "prow-arm64", "prow-s390x", "kubevirt-prow-control-plane", "ibm-prow-jobs"];

/// The folder that all job files lie below.
pub const JOBS: &str = "config/jobs";

pub struct BigRepository {
    pub dir: PathBuf,
    /// The paths of the job files.
    pub jobs: Vec<String>,
}

impl BigRepository {
    /// Makes it in an empty folder.
    pub fn generate(dir: &Path, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let jobs: Vec<String> = (0..JOB_FILES)
            .map(|n| {
                let org = random.of(&["kubevirt", "k8snetworkplumbingwg", "nmstate", "openshift"]);
                format!("{JOBS}/{org}/repo-{}/{org}-jobs-{n}.yaml", n % 40)
            })
            .collect();
        let repository = BigRepository { dir: dir.to_owned(), jobs };
        git(dir, &["init", "--quiet", "--initial-branch=main"]);
        repository.write("config/prow/config.yaml", &config());
        repository.write("config/prow/plugins.yaml", &plugins());
        repository.write("config/labels.yaml", "default:\n  labels:\n  - color: 0e8a16\n    name: lgtm\n");
        let mut bytes = 0;
        for (n, path) in repository.jobs.iter().enumerate() {
            // What one file is short of or over its share, the next one makes up for.
            let share = JOB_BYTES * (n + 1) / JOB_FILES;
            let content = job_file(n, share.saturating_sub(bytes), &mut random);
            bytes += content.len();
            repository.write(path, &content);
        }
        repository.commit("add everything");
        for n in 0..COMMITS {
            let path = &repository.jobs[n * 7 % JOB_FILES];
            let content = std::fs::read_to_string(dir.join(path)).expect("a job file");
            repository.write(path, &content.replacen("bootstrap:v2026", &format!("bootstrap:v{}", 3000 + n), 1));
            repository.commit(&format!("change {n}"));
        }
        // As a checkout lies on disk after a clone: one pack.
        git(dir, &["gc", "--quiet"]);
        repository
    }

    fn write(&self, path: &str, content: &str) {
        let file = self.dir.join(path);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("make a folder");
        std::fs::write(file, content).expect("write a file");
    }

    fn commit(&self, message: &str) {
        git(&self.dir, &["add", "--all"]);
        let name = ["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet"];
        git(&self.dir, &[&name[..], &["--message", message]].concat());
    }
}

fn config() -> String {
    let mut config = "prowjob_namespace: prow\npod_namespace: test-pods\nlog_level: info\nplank:\n  \
                      default_decoration_config_entries:\n  - config:\n      timeout: 3h0m0s\n      grace_period: 15s\n      \
                      gcs_credentials_secret: gcs\n      gcs_configuration:\n        bucket: kubevirt-prow\n        \
                      path_strategy: explicit\n      utility_images:\n        clonerefs: quay.io/prow/clonerefs:v1\n        \
                      initupload: quay.io/prow/initupload:v1\n        entrypoint: quay.io/prow/entrypoint:v1\n        \
                      sidecar: quay.io/prow/sidecar:v1\npresets:\n"
        .to_owned();
    for n in 0..PRESETS {
        // One of them is for every job.
        if n == 0 {
            config += "- env:\n";
        } else {
            let _ = write!(config, "- labels:\n    preset-{n}: \"true\"\n  env:\n");
        }
        let _ = write!(
            config,
            "  - name: PRESET_{n}\n    value: /etc/preset-{n}/credentials\n  volumes:\n  - name: preset-{n}\n    secret:\n      \
             secretName: preset-{n}\n  volumeMounts:\n  - name: preset-{n}\n    mountPath: /etc/preset-{n}\n    readOnly: true\n"
        );
    }
    config += "tide:\n  sync_period: 2m\n  queries:\n  - labels:\n    - lgtm\n    - approved\n    repos:\n";
    fill(&mut config, CONFIG_BYTES, |n| format!("    - kubevirt/repository-{n}\n"));
    config
}

fn plugins() -> String {
    let mut plugins = "config_updater:\n  maps:\n    config/prow/config.yaml:\n      name: config\n    \
                       config/prow/plugins.yaml:\n      name: plugins\n    config/labels.yaml:\n      name: label-config\n    \
                       config/jobs/**/*.yaml:\n      name: job-config\n      gzip: true\nplugins:\n"
        .to_owned();
    fill(&mut plugins, PLUGINS_BYTES, |n| {
        format!("  kubevirt/repository-{n}:\n    plugins:\n    - assign\n    - hold\n    - lgtm\n    - trigger\n")
    });
    plugins
}

/// Adds entries up to a size, and a comment for what is left.
fn fill(text: &mut String, bytes: usize, entry: impl Fn(usize) -> String) {
    for n in 0.. {
        let entry = entry(n);
        if text.len() + entry.len() + 2 > bytes {
            break;
        }
        text.push_str(&entry);
    }
    let left = bytes.saturating_sub(text.len() + 2);
    let _ = writeln!(text, "#{}", "-".repeat(left));
}

/// The jobs that are this file's share, in as many bytes as near as can be.
fn job_file(n: usize, bytes: usize, random: &mut Random) -> String {
    let share = |all: usize| all * n / JOB_FILES..all * (n + 1) / JOB_FILES;
    let (presubmits, postsubmits, periodics) = (share(PRESUBMITS), share(POSTSUBMITS), share(PERIODICS));
    let jobs = presubmits.len() + postsubmits.len() + periodics.len();
    let variables = (bytes / jobs.max(1)).saturating_sub(BARE_JOB) / VARIABLE;
    let mut text = String::new();
    let mut section = |text: &mut String, head: String, kind: &str, numbers: std::ops::Range<usize>| {
        if numbers.is_empty() {
            return;
        }
        text.push_str(&head);
        for number in numbers {
            job(text, kind, number, variables, random);
        }
    };
    let repository = n % 40;
    section(&mut text, format!("presubmits:\n  kubevirt/repository-{repository}:\n"), "pull", presubmits);
    section(&mut text, format!("postsubmits:\n  kubevirt/repository-{repository}:\n"), "post", postsubmits);
    section(&mut text, "periodics:\n".to_owned(), "periodic", periodics);
    let left = bytes.saturating_sub(text.len() + 2);
    let _ = writeln!(text, "#{}", "-".repeat(left.min(4096)));
    text
}

fn job(text: &mut String, kind: &str, number: usize, variables: usize, random: &mut Random) {
    let indent = if kind == "periodic" { "" } else { "  " };
    let mut line = |words: &str| {
        text.push_str(indent);
        text.push_str(words);
        text.push('\n');
    };
    let what = random.of(&["e2e-kind", "unit-test", "build", "sig-compute", "sig-network", "check-generate"]);
    line(&format!("- name: {kind}-{what}-{number}"));
    line("  annotations:");
    line("    fork-per-release: \"true\"");
    match kind {
        "pull" => {
            if random.one_in(3) {
                line(&format!("  run_if_changed: \"^(cmd/|pkg/{what}/).*\\\\.go$|^Makefile$\""));
            } else {
                line(&format!("  always_run: {}", random.one_in(2)));
            }
            line("  optional: true");
            line("  skip_branches:");
            line("  - release-\\d+.\\d+");
        }
        "post" => {
            line("  branches:");
            line("  - main");
        }
        // Once a year: a bed that reads this shall not start it.
        _ => line("  cron: \"0 0 1 1 *\""),
    }
    line(&format!("  cluster: {}", random.of(&CLUSTERS)));
    line("  decorate: true");
    line("  decoration_config:");
    line("    grace_period: 5m0s");
    line("    timeout: 7h0m0s");
    line("  max_concurrency: 11");
    line("  labels:");
    for fifth in 0..4 {
        line(&format!("    preset-{}: \"true\"", 1 + 5 * fifth + random.below(5)));
    }
    line("  spec:");
    line("    nodeSelector:");
    line("      type: bare-metal-external");
    line("    containers:");
    line("    - image: quay.io/kubevirtci/bootstrap:v20260801-f1e5d3a");
    line("      command:");
    line("      - /usr/local/bin/runner.sh");
    line("      - /bin/sh");
    line("      - -c");
    line(&format!("      - export TARGET={what} && automation/test.sh"));
    line("      env:");
    for n in 0..variables.max(1) {
        line(&format!("      - name: VARIABLE_{n}"));
        line(&format!("        value: \"{:x}\"", random.below(1 << 60)));
    }
    line("      securityContext:");
    line("        privileged: true");
    line("      resources:");
    line("        requests:");
    line("          memory: 29Gi");
}

fn git(dir: &Path, args: &[&str]) {
    let mut git = Command::new("git");
    git.args(args).current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(name);
    }
    let output = git.output().expect("start git");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn it_is_as_big_as_it_says_and_the_same_each_time() {
    let (one, two) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let repository = BigRepository::generate(one.path(), 1);
    let again = BigRepository::generate(two.path(), 1);
    let read = |repository: &BigRepository| -> Vec<String> {
        let paths = repository.jobs.iter();
        paths.map(|path| std::fs::read_to_string(repository.dir.join(path)).expect("a job file")).collect()
    };
    let texts = read(&repository);
    assert_eq!(texts, read(&again));
    let count = |what: &str| texts.iter().flat_map(|text| text.lines()).filter(|line| line.contains(what)).count();
    assert_eq!((count("- name: pull-"), count("- name: post-")), (PRESUBMITS, POSTSUBMITS));
    assert_eq!((count("- name: periodic-"), texts.len()), (PERIODICS, JOB_FILES));
    let bytes: usize = texts.iter().map(String::len).sum();
    assert!(bytes.abs_diff(JOB_BYTES) < JOB_BYTES / 100, "{bytes} bytes");
    let size = |path: &str| repository.dir.join(path).metadata().expect("a file").len();
    assert_eq!(size("config/prow/config.yaml"), CONFIG_BYTES as u64);
    assert_eq!(size("config/prow/plugins.yaml"), PLUGINS_BYTES as u64);
}
