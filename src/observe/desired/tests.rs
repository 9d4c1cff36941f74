use std::sync::Arc;

use super::*;
use crate::git::testing::TestRepository;
use crate::model::{
    CONFIG_MAP_LIMIT, DesiredConfigMap, FailureKind, Key, LeftOut, MapFact, Quirk, Trouble, Unrendered,
};
use crate::prow::Layout;
use crate::prow::gzip::deflate;

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
    assert!(why.to_string().starts_with("error unmarshalling prow/plugins.yaml: line "), "{why}");
    assert_eq!(desired.head.objections.len(), 1);
    assert_eq!(maps(&desired.candidates[1]).len(), 3);
    let git = Repository::open(repository.path()).await.unwrap();
    let reading = candidate(&git, None, &DesiredOptions::default()).await.unwrap();
    assert!(reading.candidate.config_maps.unwrap_err().to_string().contains("line "));
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

/// The facts of a head's mapping.
fn facts(desired: &Desired) -> Vec<&MapFact> {
    desired.mapping.notes.iter().map(|note| &note.fact).collect()
}

fn unreadable(path: &str, trouble: Trouble) -> MapFact {
    LeftOut::Unreadable { path: path.to_owned(), trouble }.into()
}

#[tokio::test]
async fn symlinks_are_followed_inside_of_the_repository() {
    let mut repository = healthy();
    let at = repository.path().to_owned();
    let link = |name: &str, target: &str| {
        let _ = std::fs::remove_file(at.join(name));
        std::os::unix::fs::symlink(target, at.join(name)).unwrap();
    };
    link("jobs/linked.yaml", "../shared/sub/../jobs.yaml");
    link("jobs/folder", "../shared");
    link("via", "jobs/folder/sub");
    link("jobs/through.yaml", "../via/../jobs.yaml");
    repository.commit("link", &[("shared/jobs.yaml", Some("periodics: []\n")), ("shared/sub/x", Some(""))]);
    repository.commit("change where it leads", &[("shared/jobs.yaml", Some("presets: []\n"))]);
    repository.commit("elsewhere", &[("shared/sub/x", Some("x"))]);
    let desired = read_all(&repository, &DesiredOptions::default()).await;
    assert_eq!(subjects(&desired), ["elsewhere", "change where it leads", "link", "start"]);
    for (n, text) in ["presets: []\n", "presets: []\n", "periodics: []\n"].into_iter().enumerate() {
        for key in ["linked.yaml", "through.yaml"] {
            let linked = &maps(&desired.candidates[n])[1].entries[key];
            assert_eq!(&*crate::prow::gzip::inflate(&linked.bytes).unwrap(), text.as_bytes(), "{n} {key}");
        }
    }
    assert_eq!(facts(&desired), [&MapFact::Quirk(Quirk::LinkedFolder { path: "jobs/folder".to_owned() })]);
    let target = |target: &str| target.to_owned();
    for (to, trouble) in [
        ("/etc/passwd", Trouble::Outside { target: target("/etc/passwd") }),
        ("../../x", Trouble::Outside { target: target("../../x") }),
        ("none.yaml", Trouble::Dangling { target: target("none.yaml") }),
        ("../shared", Trouble::Folder),
        ("bad.yaml", Trouble::NoWay),
        ("a.yaml/", Trouble::NoWay),
        ("a.yaml/x", Trouble::NoWay),
    ] {
        link("jobs/bad.yaml", to);
        repository.commit("a link", &[]);
        let desired = read_all(&repository, &DesiredOptions { history: 1, ..DesiredOptions::default() }).await;
        assert_eq!(keys(&desired.head), ["prow/config: config.yaml", "prow/plugins: plugins.yaml"], "{to}");
        assert!(facts(&desired).contains(&&unreadable("jobs/bad.yaml", trouble)), "{to}: {:?}", facts(&desired));
    }
}

#[tokio::test]
async fn what_git_does_not_hold_is_said() {
    let mut repository = healthy();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12\n";
    let id = repository.git(&["rev-parse", "HEAD"]);
    repository.commit("pointer", &[("jobs/large.yaml", Some(pointer))]);
    let desired = read_all(&repository, &DesiredOptions::default()).await;
    assert_eq!(facts(&desired), [&unreadable("jobs/large.yaml", Trouble::LfsPointer)]);
    repository.commit("no pointer", &[("jobs/large.yaml", None)]);
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{id},jobs/module")]);
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{id},unrelated")]);
    repository.commit_index("module");
    let desired = read_all(&repository, &DesiredOptions { history: 1, ..DesiredOptions::default() }).await;
    assert_eq!(facts(&desired), [&MapFact::Quirk(Quirk::Submodule { path: "jobs/module".to_owned() })]);
    assert_eq!(keys(&desired.head)[1], "prow/job-config: a.yaml");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn names_that_are_not_utf8_spoil_only_what_wants_them() {
    use std::os::unix::ffi::OsStrExt as _;
    let mut repository = healthy();
    let at = repository.path().to_owned();
    let write = |name: &[u8]| std::fs::write(at.join(std::ffi::OsStr::from_bytes(name)), "x").unwrap();
    write(b"other\xff.yaml");
    write(b"jobs/\xff.yaml");
    repository.commit("names", &[]);
    for options in [DesiredOptions::default(), DesiredOptions { worktree: true, ..DesiredOptions::default() }] {
        let desired = read_all(&repository, &options).await;
        let candidate = desired.asked.as_ref().unwrap_or(&desired.head);
        assert_eq!(keys(candidate), ["prow/config: config.yaml", "prow/plugins: plugins.yaml"]);
        let (key, path) = ("\u{fffd}.yaml".to_owned(), "jobs/\u{fffd}.yaml".to_owned());
        assert_eq!(facts(&desired), [&LeftOut::BadKey { key, path }.into()]);
    }
    // Under a key of its own it is as good as any.
    repository.commit("a key", &[("prow/plugins.yaml", Some(&PLUGINS.replace("gzip: true", "key: one")))]);
    for options in [DesiredOptions::default(), DesiredOptions { worktree: true, ..DesiredOptions::default() }] {
        let desired = read_all(&repository, &options).await;
        let candidate = desired.asked.as_ref().unwrap_or(&desired.head);
        assert_eq!(maps(candidate)[1].entries["one"].bytes, b"x");
    }
}

#[tokio::test]
async fn a_folder_that_is_no_repository_is_rendered_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in [("prow/plugins.yaml", PLUGINS), ("prow/config.yaml", CONFIG), ("jobs/a.yaml", AWS)] {
        std::fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
        std::fs::write(folder.path().join(path), text).unwrap();
    }
    let git = Repository::open(folder.path()).await.unwrap();
    let desired = read(&git, &DesiredOptions::default()).await.unwrap();
    assert_eq!(desired.head.revision.id, "folder");
    assert_eq!(
        keys(&desired.head),
        ["prow/config: config.yaml", "prow/job-config: a.yaml", "prow/plugins: plugins.yaml"]
    );
    assert_eq!((desired.candidates.len(), desired.upstream.as_str()), (1, "folder"));
    let reading = candidate(&git, None, &DesiredOptions { worktree: true, ..DesiredOptions::default() }).await.unwrap();
    assert_eq!(reading.candidate, desired.head);
}

#[tokio::test]
async fn large_files_are_not_kept_and_what_they_spoil_is_left_out() {
    let mut repository = healthy();
    let large = "x".repeat(CONFIG_MAP_LIMIT + 1);
    let plugins = format!("{PLUGINS}    plain/*.txt: {{name: plain}}\n");
    repository.commit(
        "large",
        &[
            ("prow/plugins.yaml", Some(&plugins)),
            ("plain/a.txt", Some(&large)),
            ("jobs/b.yaml", Some(&large.replace('x', "y"))),
        ],
    );
    let desired = read_all(&repository, &DesiredOptions::default()).await;
    let bytes = large.len() as u64;
    assert_eq!(facts(&desired), [&unreadable("plain/a.txt", Trouble::TooLarge { bytes })]);
    assert_eq!(keys(&desired.head)[1], "prow/job-config: a.yaml b.yaml");
    assert!(maps(&desired.head)[1].entries["b.yaml"].bytes.len() < 3000);
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
async fn what_cannot_be_told_is_not_taken_for_nothing() {
    let mut repository = TestRepository::new();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n";
    let plugins = "config_updater: {maps: {'jobs/*.yaml': {name: job-config}}}\n";
    repository.commit("start", &[("plugins.yaml", Some(plugins)), ("jobs/a.yaml", Some(pointer))]);
    let head = read_all(&repository, &DesiredOptions::default()).await.head;
    assert!(matches!(head.config_maps, Err(Unrendered::NotJudged(_))), "{:?}", head.config_maps);
    repository.commit("nothing", &[("jobs/a.yaml", None)]);
    let head = read_all(&repository, &DesiredOptions::default()).await.head;
    assert!(matches!(head.config_maps, Err(Unrendered::MakesNone(_))), "{:?}", head.config_maps);
}

/// Whatever was compressed by whom.
#[tokio::test]
async fn the_content_of_a_revision_is_what_prow_reads() {
    let mut repository = healthy();
    std::fs::write(repository.path().join("jobs/packed.yaml"), deflate(b"periodics: []\n")).unwrap();
    for gzip in ["true", "false"] {
        let plugins = PLUGINS.replace("gzip: true", &format!("gzip: {gzip}"));
        repository.commit("once more", &[("prow/plugins.yaml", Some(&plugins))]);
        let head = read_all(&repository, &DesiredOptions::default()).await.head;
        let layout = Layout::of_desired(maps(&head), &ConfigFiles::by_name()).unwrap();
        assert_eq!(head.content, Some(layout.digest()), "gzip: {gzip}");
    }
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
