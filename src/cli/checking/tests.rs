use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;
use crate::diagnose::diagnose;
use crate::diagnose::testing::{at, known, maker, snapshot};
use crate::model::{
    Alias, ClusterIdentity, ConfigFlags, ConfigMount, ConfigPath, Desired, DesiredConfigMap, DesiredEntry, Revision,
};
use crate::prow::{PresetRule, RepoAcl};

const TAG: &str = "v20240619-cfb8754e0";

fn desired_map(name: &str, key: &str, text: &str) -> DesiredConfigMap {
    let entry = DesiredEntry { path: key.to_owned(), bytes: text.as_bytes().to_vec(), gzip: false };
    DesiredConfigMap {
        cluster: Alias::service(),
        key: Key::new("default", name),
        entries: [(key.to_owned(), entry)].into(),
    }
}

fn live_map(name: &str, values: &[(&str, &str)]) -> ConfigMapState {
    let mut map = ConfigMapState::named(&Alias::service(), &Key::new("default", name));
    (map.uid, map.resource_version) = (format!("uid-{name}"), "1".to_owned());
    map.values = values.iter().map(|(key, text)| ((*key).to_owned(), text.as_bytes().to_vec())).collect();
    map
}

/// hook runs with this tag. Git knows of no job in `stale.yaml`, and asks for one in `git.yaml`, which is not live.
fn world() -> Snapshot {
    let mut snapshot = snapshot();
    let mut hook = maker(TAG, 0, 0);
    hook.role = "hook".to_owned();
    hook.spec_images = vec![format!("gcr.io/k8s-prow/hook:{TAG}")];
    let path = |path: &str, map: &str, key: Option<&str>| {
        Some(ConfigPath {
            path: path.to_owned(),
            config_map: Some(Key::new("default", map)),
            key: key.map(str::to_owned),
        })
    };
    hook.config = ConfigFlags {
        config_path: path("/etc/config/config.yaml", "config", Some("config.yaml")),
        job_config_path: path("/etc/job-config", "job-config", None),
        ..ConfigFlags::default()
    };
    hook.mounts = ["config", "job-config"]
        .map(|name| ConfigMount {
            config_map: Key::new("default", name),
            path: format!("/etc/{name}"),
            sub_path: false,
            optional: false,
        })
        .into();
    snapshot.service.components = known(vec![hook]);
    snapshot.service.identity = known(ClusterIdentity {
        alias: Alias::service(),
        context: "prow".to_owned(),
        server: "https://s".to_owned(),
        uid: "u".to_owned(),
        ca: String::new(),
    });
    let config = "prowjob_namespace: default\npod_namespace: test-pods\n";
    let live = [
        live_map("config", &[("config.yaml", config)]),
        live_map("job-config", &[("kept.yaml", "periodics: []\n"), ("stale.yaml", "periodics: []\n")]),
    ];
    snapshot.service.config_maps = known(live.into_iter().map(|map| (map.key.clone(), map)).collect());
    let mut jobs = desired_map("job-config", "git.yaml", "periodics: []\n");
    jobs.entries.extend(desired_map("job-config", "kept.yaml", "periodics: []\n").entries);
    let maps = vec![desired_map("config", "config.yaml", config), jobs];
    let files = ConfigFiles::of_components(snapshot.service.components.seen().into_iter().flatten());
    let content = Layout::of_desired(&maps, &files).map(|layout| layout.digest());
    let head = Candidate {
        revision: Revision { id: "1".repeat(40), subject: "s".to_owned(), author: "A".to_owned(), committed: at(0) },
        config_maps: Ok(Arc::new(maps)),
        objections: Vec::new(),
        content,
    };
    snapshot.desired = known(Desired {
        repository: "repo".to_owned(),
        head: head.clone(),
        asked: None,
        candidates: vec![head],
        upstream: "HEAD".to_owned(),
        fetched: None,
        mapping: crate::model::Mapping::default(),
        not_understood: Vec::new(),
    });
    snapshot
}

/// A program in the cache that refuses what no Prow loads, where `honest`, and then does this.
fn cached_program(cache: &Path, honest: bool, then: &str) -> PathBuf {
    let path = cache.join("checkconfig").join(TAG).join("checkconfig");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let canary = "if read -r line < \"${1#--config-path=}\" && [ \"$line\" = 'presets: [' ]; then\n\
                  echo '{\"error\":\"yaml\",\"level\":\"fatal\",\"msg\":\"Validation failed\"}' >&2; exit 1; fi\n";
    std::fs::write(&path, format!("#!/bin/sh\n{}{then}\n", if honest { canary } else { "" })).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

fn checking(cache: &Path, journal: &Path) -> Checking {
    let options = DesiredOptions {
        revision: None,
        plugin_config: None,
        config_path: None,
        job_config_path: None,
        worktree: false,
        history: 1,
        rule: PresetRule::Unknown,
        acl: RepoAcl::Unknown,
        files: ConfigFiles::by_name(),
        cache: None,
    };
    Checking::new(None, Some(cache.to_owned()), Journal::for_reading(journal.to_owned()), Clock::Wall, options)
}

async fn planned(checking: &Checking, snapshot: &Snapshot) -> Result<Plan, Failure> {
    let request = Request::new(RepairId::SyncConfig);
    checking.plan(request, Arc::new(snapshot.clone()), Arc::new(diagnose(snapshot))).await
}

#[tokio::test]
async fn a_cached_one_that_cannot_be_used_is_told_and_stops_no_plan() {
    let dir = tempfile::tempdir().unwrap();
    // A journal that can neither be read nor written.
    std::fs::write(dir.path().join("file"), "").unwrap();
    let journal = dir.path().join("file/journal");
    for (honest, then, mode, why) in [
        (false, "exit 0", 0o700, "is no checkconfig"),
        (false, "exit 0", 0o600, "cannot be run"),
        (false, "kill -9 $$", 0o700, "without a verdict"),
        (true, "exit 3", 0o700, "without a verdict"),
    ] {
        let path = cached_program(dir.path(), honest, then);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let checking = checking(dir.path(), &journal);
        let mut snapshot = world();
        let outcome = checking.complete(None, &mut snapshot, Scope::NearestGood).await;
        assert!(outcome.unchecked.unwrap().summary.contains(why), "{then}");
        assert!(outcome.forgotten.is_some(), "the journal is no reason to stop either");
        let source = snapshot.sources().into_iter().find(|source| source.name == "checkconfig").unwrap();
        assert_eq!(source.source.state(), "lost");
        let plan = planned(&checking, &snapshot).await.unwrap();
        let warned = plan.warnings.iter().any(|words| words.contains("gave no answer") && words.contains(why));
        assert!(warned, "{:?}", plan.warnings);
        // Mended.
        cached_program(dir.path(), true, "exit 0");
        checking.forget_failure().await;
        let outcome = checking.complete(None, &mut snapshot, Scope::Named).await;
        assert_eq!((outcome.unchecked, snapshot.checkconfig.as_ref().map(Source::state)), (None, Some("known")));
        let warnings = planned(&checking, &snapshot).await.unwrap().warnings;
        assert!(!warnings.iter().any(|words| words.contains("gave no answer")), "{warnings:?}");
    }
}

#[tokio::test]
async fn what_a_plan_would_leave_is_asked_about_before_it_is_given_away() {
    let dir = tempfile::tempdir().unwrap();
    let both = "jobs=${2#--job-config-path=}; if [ -e $jobs/git.yaml ] && [ -e $jobs/stale.yaml ]; then";
    let refuse =
        "echo '{\"error\":\"they collide\",\"level\":\"fatal\",\"msg\":\"Validation failed\"}' >&2; exit 1; fi";
    cached_program(dir.path(), true, &format!("{both} {refuse}\nexit 0"));
    let checking = checking(dir.path(), &dir.path().join("journal"));
    let mut snapshot = world();
    let asked = checking.complete(None, &mut snapshot, Scope::NearestGood).await;
    assert_eq!((asked.unchecked, asked.forgotten), (None, None));
    let refused = planned(&checking, &snapshot).await.unwrap_err();
    assert!(
        refused.summary.contains("would be live afterwards") && refused.summary.contains("they collide"),
        "{refused:?}"
    );
    // Where it gives no answer to that, the plan is there and says so.
    cached_program(dir.path(), true, &format!("{both} exit 3; fi\nexit 0"));
    let checking = self::checking(dir.path(), &dir.path().join("other-journal"));
    let mut snapshot = world();
    assert_eq!(checking.complete(None, &mut snapshot, Scope::NearestGood).await.unchecked, None);
    let plan = planned(&checking, &snapshot).await.unwrap();
    assert!(plan.warnings.iter().any(|words| words.contains("gave no answer")), "{:?}", plan.warnings);
}

fn answer(content: &str, by: Witness) -> Checked {
    Checked { content: content.to_owned(), refused: None, by, at: at(0) }
}

fn program(path: &str, version: Option<&str>) -> Witness {
    Witness::Checkconfig(crate::model::Checkconfig {
        path: path.to_owned(),
        file: "1".to_owned(),
        version: version.map(str::to_owned),
    })
}

#[tokio::test]
async fn round_after_round_the_picture_carries_each_answer_once() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    // A journal that can neither be read nor written, and a program that gives no answer, change nothing of it.
    for (journal, then) in [("journal", "exit 0"), ("file/journal", "exit 0"), ("other", "exit 3")] {
        cached_program(dir.path(), true, then);
        let checking = checking(dir.path(), &dir.path().join(journal));
        let job = |server: &str| Witness::Job { server: server.to_owned(), uid: "u".to_owned(), image: "i".to_owned() };
        drop(checking.journal.remember_checked(&[answer("a", job("https://s")), answer("b", job("https://t"))]));
        let mut snapshot = world();
        snapshot.checked = vec![answer("a", job("https://s")), answer("c", job("https://s"))];
        checking.complete(None, &mut snapshot, Scope::NearestGood).await;
        let once = snapshot.checked.clone();
        assert!(once.iter().any(|checked| checked.content == "c"), "what the picture brought is kept: {once:?}");
        for round in 0..20 {
            // As the screens do: what came of a round is in the next picture.
            snapshot = Snapshot { checked: snapshot.checked, ..world() };
            checking.complete(None, &mut snapshot, Scope::NearestGood).await;
            assert_eq!(snapshot.checked.len(), once.len(), "{journal}, round {round}: {:?}", snapshot.checked);
        }
    }
}

#[test]
fn a_picture_carries_the_newest_answers_and_no_more_than_the_journal_gives() {
    let minute =
        |n: usize| Checked { at: at(i64::try_from(n).unwrap()), ..answer(&n.to_string(), program("/c", Some(TAG))) };
    let all = together((0..MOST_KNOWN).map(minute).collect(), vec![minute(MOST_KNOWN), minute(0)]);
    assert_eq!((all.len(), all[0].content.as_str()), (MOST_KNOWN, MOST_KNOWN.to_string().as_str()));
    assert!(!all.iter().any(|checked| checked.content == "0"), "the oldest goes");
}

#[test]
fn a_config_map_that_prow_does_not_read_is_nothing_to_ask_about() {
    let changed = |name: &str, version: &str| {
        let mut snapshot = world();
        let mut maps = snapshot.service.config_maps.seen().unwrap().clone();
        let key = Key::new("default", name);
        let map = maps.entry(key).or_insert_with(|| live_map(name, &[]));
        map.resource_version = version.to_owned();
        snapshot.service.config_maps = known(maps);
        follow::subject_of(&snapshot).unwrap()
    };
    let before = follow::subject_of(&world()).unwrap();
    assert_eq!(changed("prow-tide-leaderlock", "7"), before, "it changes every few seconds");
    for name in ["config", "job-config", "plugins"] {
        assert_ne!(changed(name, "7"), before, "{name}");
    }
}

#[tokio::test]
async fn the_guess_of_another_witness_about_what_a_plan_would_leave_does_not_silence_the_checkconfig() {
    let dir = tempfile::tempdir().unwrap();
    let asked = dir.path().join("asked");
    cached_program(dir.path(), true, &format!("echo >> '{}'\nexit 0", asked.display()));
    let checking = checking(dir.path(), &dir.path().join("journal"));
    let mut snapshot = world();
    assert_eq!(checking.complete(None, &mut snapshot, Scope::NearestGood).await.unchecked, None);
    let times = || std::fs::read_to_string(&asked).unwrap().lines().count();
    let before = times();
    let plan = planned(&checking, &snapshot).await.unwrap();
    assert_eq!(times(), before + 1);
    // As another checkconfig said of the very same.
    let after = repair::live_after(&plan, &snapshot).unwrap();
    let files = ConfigFiles::of_components(snapshot.service.components.seen().into_iter().flatten());
    let content = Layout::of_live(&after, &files).unwrap().digest();
    snapshot.checked.push(answer(&content, program("/other", Some("v20180101-000000000"))));
    planned(&checking, &snapshot).await.unwrap();
    assert_eq!(times(), before + 2, "that is a GUESS");
    // What it said itself is no question any more.
    let own = checking.checker(&tags_of(&snapshot)).await.unwrap().unwrap().program().clone();
    snapshot.checked.push(answer(&content, Witness::Checkconfig(own)));
    planned(&checking, &snapshot).await.unwrap();
    assert_eq!(times(), before + 2);
}

#[tokio::test]
async fn another_checkconfig_does_not_take_the_word_of_the_right_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = cached_program(dir.path(), true, "exit 0");
    let checking = checking(dir.path(), &dir.path().join("journal"));
    let mut snapshot = world();
    let refused = |by| Checked { refused: Some(crate::model::Objection::of("no")), ..answer("a", by) };
    let kept = [refused(program("/elsewhere/checkconfig", Some(TAG)))];
    // Nobody knows what these were.
    let dropped = [program("/elsewhere/checkconfig", None), program(path.to_str().unwrap(), Some(TAG))].map(refused);
    checking.journal.remember_checked(&kept).unwrap();
    checking.journal.remember_checked(&dropped).unwrap();
    checking.complete(None, &mut snapshot, Scope::Nothing).await;
    assert_eq!(snapshot.checked, kept);
}

#[tokio::test]
async fn what_needs_no_word_of_a_checkconfig_runs_none() {
    let dir = tempfile::tempdir().unwrap();
    cached_program(dir.path(), false, "exit 0");
    let checking = checking(dir.path(), &dir.path().join("journal"));
    let mut snapshot = world();
    let outcome = checking.complete(None, &mut snapshot, Scope::Remembered).await;
    assert_eq!((outcome.unchecked, snapshot.checkconfig), (None, None));
    let failure = checking.complete(None, &mut world(), Scope::Nothing).await.unchecked.unwrap();
    assert!(failure.summary.contains("is no checkconfig"), "{failure:?}");
}

#[tokio::test]
async fn all_questions_about_a_picture_have_one_time_together() {
    let dir = tempfile::tempdir().unwrap();
    // It answers about the live content, and not about what git asks for.
    let hang = "if [ -e ${2#--job-config-path=}/git.yaml ]; then exec sleep 600; fi";
    cached_program(dir.path(), true, &format!("{hang}\nexit 0"));
    let mut checking = checking(dir.path(), &dir.path().join("journal"));
    checking.patience = Duration::from_secs(2);
    let mut snapshot = world();
    let failure = checking.complete(None, &mut snapshot, Scope::NearestGood).await.unchecked.unwrap();
    assert!(failure.summary.contains("did not answer all that was asked within 2 s"), "{failure:?}");
    assert_eq!(snapshot.checkconfig.as_ref().map(Source::state), Some("lost"));
    assert_eq!((snapshot.checked.len(), checking.journal.checked().unwrap().len()), (1, 1), "the live content");
}

#[tokio::test]
async fn history_older_than_a_move_of_config_yaml_hides_no_revision_that_loads_and_nothing_is_asked_twice() {
    let dir = tempfile::tempdir().unwrap();
    let asked = dir.path().join("asked");
    let refuse = "{ echo '{\"error\":\"bad\",\"level\":\"fatal\",\"msg\":\"Validation failed\"}' >&2; exit 1; }";
    let program = format!("echo >> '{}'\ngrep -q bad \"${{1#--config-path=}}\" && {refuse}\nexit 0", asked.display());
    cached_program(dir.path(), true, &program);
    let checking = checking(dir.path(), &dir.path().join("journal"));
    let plugins = "config_updater:\n  maps:\n    prow/config.yaml: {name: config, namespace: default}\n    \
                   jobs/*.yaml: {name: job-config, namespace: default}\n";
    let config = |word: &str| format!("# {word}\nprowjob_namespace: default\npod_namespace: test-pods\n");
    let mut repository = crate::git::testing::TestRepository::new();
    repository.commit("before", &[("prow/plugins.yaml", Some(plugins)), ("jobs/a.yaml", Some("periodics: []\n"))]);
    let good = repository.commit("moved", &[("prow/config.yaml", Some(&config("good")))]);
    repository.commit("first", &[("prow/config.yaml", Some(&config("bad 1")))]);
    repository.commit("second", &[("prow/config.yaml", Some(&config("bad 2")))]);
    let git = Repository::open(repository.path()).await.unwrap();
    // What it says is an opinion: another version is deployed, too.
    let mut snapshot = world();
    let mut components = snapshot.service.components.seen().unwrap().clone();
    let tag = "v20200101-000000000";
    let tide = maker(tag, 0, 0);
    components.push(crate::model::Component {
        role: "tide".to_owned(),
        spec_images: vec![format!("gcr.io/k8s-prow/tide:{tag}")],
        config: components[0].config.clone(),
        mounts: components[0].mounts.clone(),
        ..tide
    });
    snapshot.service.components = known(components);
    let options = checking.options_for(&snapshot);
    let desired = crate::observe::desired::read(&git, &options).await.unwrap();
    let checker = checking.checker(&tags_of(&snapshot)).await.unwrap().unwrap();
    let mut times = Vec::new();
    for _ in 0..2 {
        let mut further = Vec::new();
        snapshot.desired = known(desired.clone());
        checking.look_further(&checker, &git, &mut snapshot, &mut further).await.unwrap();
        assert_eq!(further.iter().map(|found| &found.revision.id).collect::<Vec<_>>(), [&good]);
        times.push(std::fs::read_to_string(&asked).unwrap().lines().count());
    }
    let found = snapshot.desired.seen().unwrap().candidates.last().unwrap();
    assert!(!revision_verdict(&snapshot, found).from.is_fact());
    assert_eq!(times[0], times[1], "its word is remembered, whatever it is worth");
}
