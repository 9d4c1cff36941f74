use std::sync::Arc;

use super::*;
use crate::git::testing::TestRepository;
use crate::model::{DesiredConfigMap, Key};

const PLUGINS: &str = "config_updater:\n  maps:\n    prow/config.yaml: {name: config}\n    prow/plugins.yaml: {name: \
                       plugins}\n    jobs/**/*.yaml: {name: job-config, gzip: true}\n";
const CONFIG: &str = "prowjob_namespace: prow\npod_namespace: test-pods\n";
const AWS: &str = "presets:\n- labels: {preset-aws-credential: 'true'}\n";

/// Three maps, one job file.
fn healthy() -> TestRepository {
    let mut repository = TestRepository::new();
    repository.commit(
        "start",
        &[
            ("prow/plugins.yaml", Some(PLUGINS)),
            ("prow/config.yaml", Some(CONFIG)),
            ("jobs/a.yaml", Some(AWS)),
            ("README.md", Some("hello")),
        ],
    );
    repository
}

async fn read_all(repository: &TestRepository, options: &DesiredOptions) -> Desired {
    let repository = Repository::open(repository.path()).await.unwrap();
    read(&repository, options).await.unwrap()
}

fn subjects(desired: &Desired) -> Vec<&str> {
    desired.candidates.iter().map(|candidate| candidate.revision.subject.as_str()).collect()
}

fn maps(candidate: &Candidate) -> &[DesiredConfigMap] {
    candidate.config_maps.as_ref().unwrap()
}

fn keys(candidate: &Candidate) -> Vec<String> {
    maps(candidate)
        .iter()
        .map(|map| format!("{}: {}", map.key, map.entries.keys().cloned().collect::<Vec<_>>().join(" ")))
        .collect()
}

#[tokio::test]
async fn revisions_are_offered_and_judged_newest_first() {
    let mut repository = healthy();
    repository.commit("unrelated", &[("README.md", Some("hello again"))]);
    repository.commit("refactor presets", &[("jobs/sub/b.yaml", Some(AWS))]);
    repository
        .commit("rename what was not it", &[("jobs/a.yaml", Some("periodics: []\n")), ("jobs/c.yaml", Some(AWS))]);
    let fix = repository.commit("one preset is enough", &[("jobs/sub/b.yaml", None)]);
    repository.commit("docs only", &[("jobs/OWNERS", Some("x"))]);
    let desired = read_all(&repository, &DesiredOptions::default()).await;
    assert_eq!(
        subjects(&desired),
        ["docs only", "one preset is enough", "rename what was not it", "refactor presets", "start"]
    );
    assert_eq!(desired.head, desired.candidates[0]);
    assert_eq!(desired.candidates[1].revision.id, fix);
    let (head, fixed) = (&desired.candidates[0], &desired.candidates[1]);
    assert!(Arc::ptr_eq(head.config_maps.as_ref().unwrap(), fixed.config_maps.as_ref().unwrap()), "shared");
    assert_eq!(
        keys(head),
        ["prow/config: config.yaml", "prow/job-config: a.yaml c.yaml", "prow/plugins: plugins.yaml"]
    );
    assert_eq!(keys(&desired.candidates[3])[1], "prow/job-config: a.yaml b.yaml");
    assert_eq!(keys(&desired.candidates[4])[1], "prow/job-config: a.yaml");
    let counts: Vec<usize> = desired.candidates.iter().map(|candidate| candidate.objections.len()).collect();
    assert_eq!(counts, [0, 0, 1, 1, 0]);
    let objection = &desired.candidates[3].objections[0];
    assert_eq!(objection.message, "duplicated preset 'label:value' pair : preset-aws-credential:true");
    assert_eq!(objection.config_map, Some(Key::new("prow", "job-config")));
    assert_eq!(objection.config_key.as_deref(), Some("b.yaml"));
    assert_eq!(maps(head)[1].entries["c.yaml"].path, "jobs/c.yaml");
    assert!(maps(head)[1].entries["c.yaml"].bytes.starts_with(&[0x1f, 0x8b]));
    assert_eq!((desired.upstream.as_str(), desired.fetched), ("HEAD", None));
    assert_eq!(desired.not_understood, Vec::<String>::new());
    let two = read_all(&repository, &DesiredOptions { history: 2, ..DesiredOptions::default() }).await;
    assert_eq!(subjects(&two), ["docs only", "one preset is enough"]);
}

#[tokio::test]
async fn the_older_rule_of_presets_is_applied_where_it_is_deployed() {
    let mut repository = healthy();
    repository.commit("another value", &[("jobs/b.yaml", Some("presets:\n- labels: {preset-aws-credential: x}\n"))]);
    let options = DesiredOptions { rule: PresetRule::RepeatedKey, ..DesiredOptions::default() };
    let desired = read_all(&repository, &options).await;
    assert_eq!(desired.head.objections[0].message, "duplicated preset label : preset-aws-credential");
    assert_eq!(desired.candidates[1].objections, []);
}

#[tokio::test]
async fn what_was_asked_for_is_apart() {
    let mut repository = healthy();
    let start = repository.git(&["rev-parse", "HEAD"]);
    repository.commit("more", &[("jobs/b.yaml", Some("periodics: []\n"))]);
    let asked = |revision: &str| DesiredOptions {
        revision: Some(revision.to_owned()),
        history: 1,
        ..DesiredOptions::default()
    };
    let desired = read_all(&repository, &asked(&start)).await;
    assert_eq!(subjects(&desired), ["more"]);
    assert_eq!(keys(desired.asked.as_ref().unwrap())[1], "prow/job-config: a.yaml");
    let desired = read_all(&repository, &asked("main")).await;
    assert_eq!(desired.asked, Some(desired.head));
    let git = Repository::open(repository.path()).await.unwrap();
    assert_eq!(read(&git, &asked("no-such")).await.unwrap_err().kind, FailureKind::Usage);
}

#[tokio::test]
async fn a_broken_plugins_yaml_is_said_and_the_others_go_on() {
    let mut repository = healthy();
    repository.commit("break it", &[("prow/plugins.yaml", Some("config_updater:\n  maps: [\n"))]);
    let desired = read_all(&repository, &DesiredOptions::default()).await;
    assert_eq!(subjects(&desired), ["break it", "start"]);
    let why = desired.head.config_maps.unwrap_err();
    assert!(why.starts_with("error unmarshalling prow/plugins.yaml: line "), "{why}");
    assert_eq!(desired.head.objections.len(), 1);
    assert_eq!(maps(&desired.candidates[1]).len(), 3);
    let git = Repository::open(repository.path()).await.unwrap();
    let failure = candidate(&git, None, &DesiredOptions::default()).await.unwrap_err();
    assert!(failure.summary.contains("asks for no ConfigMaps") && failure.causes[0].contains("line "), "{failure:?}");
    let reading = candidate(&git, Some("HEAD~1"), &DesiredOptions::default()).await.unwrap();
    assert_eq!(maps(&reading.candidate).len(), 3);
}

#[tokio::test]
async fn maps_that_once_looked_elsewhere_are_followed() {
    let mut repository = TestRepository::new();
    let old = PLUGINS.replace("jobs/", "old/");
    repository.commit(
        "start",
        &[("prow/plugins.yaml", Some(&old)), ("prow/config.yaml", Some(CONFIG)), ("old/a.yaml", Some(AWS))],
    );
    repository.commit("grow", &[("old/b.yaml", Some("periodics: []\n"))]);
    repository.commit(
        "move",
        &[("prow/plugins.yaml", Some(PLUGINS)), ("jobs/a.yaml", Some(AWS)), ("old/a.yaml", None), ("old/b.yaml", None)],
    );
    repository.commit("grow again", &[("jobs/c.yaml", Some("periodics: []\n"))]);
    let desired = read_all(&repository, &DesiredOptions::default()).await;
    assert_eq!(subjects(&desired), ["grow again", "move", "grow", "start"]);
    let jobs: Vec<String> = desired.candidates.iter().map(|candidate| keys(candidate)[1].clone()).collect();
    assert_eq!(
        jobs,
        [
            "prow/job-config: a.yaml c.yaml",
            "prow/job-config: a.yaml",
            "prow/job-config: a.yaml b.yaml",
            "prow/job-config: a.yaml"
        ]
    );
}

#[tokio::test]
async fn the_namespace_is_that_of_the_revision() {
    let mut repository = healthy();
    repository.commit("move ProwJobs", &[("prow/config.yaml", Some("prowjob_namespace: jobs\n"))]);
    repository.commit("break config.yaml", &[("prow/config.yaml", Some("prowjob_namespace: jobs\nplank: [\n"))]);
    let desired = read_all(&repository, &DesiredOptions::default()).await;
    let namespaces: Vec<&str> =
        desired.candidates.iter().map(|candidate| maps(candidate)[0].key.namespace.as_str()).collect();
    assert_eq!(namespaces, ["jobs", "jobs", "prow"]);
    assert!(desired.head.objections[0].message.starts_with("error unmarshalling config.yaml: line "));
}

#[tokio::test]
async fn symlinks_are_followed_inside_of_the_repository() {
    let repository = healthy();
    let mut repository = repository;
    let link = |name: &str, target: &str| std::os::unix::fs::symlink(target, repository.path().join(name)).unwrap();
    link("jobs/linked.yaml", "../shared/jobs.yaml");
    repository.commit("link", &[("shared/jobs.yaml", Some("periodics: []\n"))]);
    let desired = read_all(&repository, &DesiredOptions::default()).await;
    let linked = &maps(&desired.head)[1].entries["linked.yaml"];
    assert_eq!(&*crate::prow::gzip::inflate(&linked.bytes).unwrap(), b"periodics: []\n");
    std::os::unix::fs::symlink("/etc/passwd", repository.path().join("jobs/out.yaml")).unwrap();
    repository.commit("link out", &[]);
    let desired = read_all(&repository, &DesiredOptions::default()).await;
    assert_eq!(keys(&desired.head), ["prow/config: config.yaml", "prow/plugins: plugins.yaml"]);
    assert!(desired.not_understood[0].contains("jobs/out.yaml is a symlink that leads nowhere"), "{desired:?}");
}

#[tokio::test]
async fn plugins_yaml_is_found_or_asked_for() {
    let mut repository = TestRepository::new();
    repository.commit("no prow here", &[("README.md", Some("x"))]);
    let git = Repository::open(repository.path()).await.unwrap();
    let failure = read(&git, &DesiredOptions::default()).await.unwrap_err();
    assert!(failure.summary.contains("no plugins.yaml in"), "{failure:?}");
    assert!(failure.hint.unwrap().contains("--plugin-config"));
    // One that has a config_updater counts before one that has none, wherever they lie.
    repository.commit("one", &[("deep/er/plugins.yaml", Some(PLUGINS)), ("plugins.yaml", Some("plugins: {}\n"))]);
    assert!(read(&git, &DesiredOptions::default()).await.is_ok());
    repository.commit("two", &[("other/plugins.yaml", Some(PLUGINS))]);
    let failure = read(&git, &DesiredOptions::default()).await.unwrap_err();
    assert_eq!((failure.kind, failure.summary.as_str()), (FailureKind::Usage, "2 files could be plugins.yaml"));
    assert!(failure.causes[0].contains("deep/er/plugins.yaml, other/plugins.yaml"), "{failure:?}");
    let named = |path: &str| DesiredOptions { plugin_config: Some(path.to_owned()), ..DesiredOptions::default() };
    assert_eq!(read(&git, &named("other/plugins.yaml")).await.unwrap().candidates.len(), 1);
    let failure = read(&git, &named("none.yaml")).await.unwrap_err();
    assert!(failure.summary.starts_with("no none.yaml in "), "{failure:?}");
    repository.commit("the usual place", &[("config/prow/plugins.yaml", Some(PLUGINS))]);
    assert!(read(&git, &DesiredOptions::default()).await.is_ok());
}

#[tokio::test]
async fn config_yaml_can_be_named_and_its_absence_is_said() {
    let mut repository = TestRepository::new();
    let plugins = "config_updater:\n  maps:\n    jobs/*.yaml: {name: jobs}\n";
    repository
        .commit("start", &[("x/plugins.yaml", Some(plugins)), ("jobs/a.yaml", Some(AWS)), ("y/c.yaml", Some(CONFIG))]);
    let desired = read_all(&repository, &DesiredOptions::default()).await;
    assert_eq!(keys(&desired.head), ["default/jobs: a.yaml"]);
    assert!(desired.not_understood[0].contains("--config-path"), "{:?}", desired.not_understood);
    let options = DesiredOptions {
        config_path: Some("y/c.yaml".to_owned()),
        job_config_path: Some("jobs/".to_owned()),
        ..DesiredOptions::default()
    };
    repository.commit("twice", &[("jobs/b.yaml", Some(AWS))]);
    let desired = read_all(&repository, &options).await;
    assert_eq!(keys(&desired.head), ["prow/jobs: a.yaml b.yaml"]);
    assert_eq!(desired.head.objections.len(), 1, "the folder of job files makes the ConfigMap `jobs`");
}

#[tokio::test]
async fn the_work_tree_is_what_was_asked_for() {
    let mut repository = healthy();
    repository.commit("more", &[("jobs/gone.yaml", Some("periodics: []\n"))]);
    std::fs::remove_file(repository.path().join("jobs/gone.yaml")).unwrap();
    std::fs::write(repository.path().join("jobs/new.yaml"), AWS).unwrap();
    let options = DesiredOptions { worktree: true, ..DesiredOptions::default() };
    let desired = read_all(&repository, &options).await;
    assert_eq!(desired.head.revision.subject, "more");
    let asked = desired.asked.unwrap();
    assert_eq!(asked.revision.id, "worktree");
    assert_eq!(keys(&asked)[1], "prow/job-config: a.yaml new.yaml");
    assert_eq!(asked.objections.len(), 1);
    let git = Repository::open(repository.path()).await.unwrap();
    let reading = candidate(&git, None, &options).await.unwrap();
    assert_eq!(reading.candidate, asked);
}

#[tokio::test]
async fn a_long_history_costs_a_handful_of_calls() {
    let mut repository = healthy();
    let many: Vec<(String, String)> = (0..200)
        .map(|n| (format!("jobs/{n}/job-{n}.yaml"), format!("periodics:\n- name: ci-{n}\n  interval: 1h\n")))
        .collect();
    let files: Vec<(&str, Option<&str>)> =
        many.iter().map(|(path, text)| (path.as_str(), Some(text.as_str()))).collect();
    repository.commit("many", &files);
    for n in 0..50 {
        let text = format!("periodics:\n- name: ci-x-{n}\n");
        repository.commit(&format!("change {n}"), &[("jobs/0/job-0.yaml", Some(&text))]);
    }
    let started = std::time::Instant::now();
    let desired = read_all(&repository, &DesiredOptions::default()).await;
    let took = started.elapsed();
    assert_eq!(desired.candidates.len(), 50);
    assert_eq!(maps(&desired.head)[1].entries.len(), 201);
    // Far below a second when optimised; this is the bound for a debug build on a busy machine.
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");
}
