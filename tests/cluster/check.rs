//! Would it load: `config check`, `config blame` and `sync-config` with Prow's real checkconfig.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bed::Bed;
use crate::support::{Admin, NAMESPACE, Ran, Tool, block_on, eventually, findings, program, written_since};
use crate::terminal::{ESC, LARGE, Start, unwrapped};

/// Commits before and after the broken one.
const FILLERS: usize = 150;
const PRESETS: &str = "config/jobs/kubernetes-sigs/aws/aws-presets.yaml";
/// What the bed deploys.
const TAG: &str = "v20240619-cfb8754e0";
const REFACTORED: &str = include_str!("bed/config/aws-presets-refactored.yaml");

/// The oncall's checkout, copied, and what is committed there beyond the story.
pub struct History {
    pub dir: TempDir,
}

impl History {
    pub fn of(bed: &Bed) -> Self {
        let history = Self { dir: tempfile::tempdir().expect("a folder") };
        let from = bed.repository().display().to_string();
        git(history.dir.path(), &["clone", "--quiet", "--branch=master", &from, "repo"]);
        // Its upstream is what is committed here.
        git(&history.repo(), &["branch", "--unset-upstream"]);
        history
    }

    pub fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    pub fn commit(&self, subject: &str, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            let path = self.repo().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("make folders");
            std::fs::write(path, text).expect("write a file");
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", subject]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// What people do all day: two of three commits touch what Prow is configured with.
    fn fill(&self, from: usize) {
        for n in from..from + FILLERS {
            let job = format!(
                "periodics:\n- name: ci-filler-{n}\n  interval: 1h\n  agent: kubernetes\n  spec:\n    containers:\n    - image: \
                 alpine\n"
            );
            let text = format!("{n}\n");
            let file = match n % 3 {
                0 => ("README.md", text.as_str()),
                1 => ("config/jobs/fillers/one.yaml", job.as_str()),
                _ => ("config/jobs/fillers/two.yaml", job.as_str()),
            };
            let job =
                if file.0.ends_with("two.yaml") { job.replace("ci-filler", "ci-other") } else { file.1.to_owned() };
            self.commit(&format!("Change number {n} (#{})", 20_000 + n), &[(file.0, &job)]);
        }
    }

    pub fn git(&self, args: &[&str]) -> String {
        git(&self.repo(), args)
    }

    /// The deployed version's checkconfig, in a folder that tells which it is.
    fn checkconfig(&self, bed: &Bed) -> String {
        let path = self.dir.path().join(TAG).join("checkconfig");
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
        std::fs::copy(bed.checkconfig(), &path).expect("copy checkconfig");
        path.display().to_string()
    }

    /// The program on this checkout, without a cluster.
    fn run(&self, args: &[&str]) -> Ran {
        let mut command = program();
        command.env("HOME", self.dir.path()).args(args).arg("--repo").arg(self.repo());
        Ran::of(args, command.output().expect("start the program"))
    }

    /// The program on this checkout and the bed.
    pub fn on(&self, bed: &Bed, args: &[&str]) -> Ran {
        let mut command = program();
        command.env("HOME", self.dir.path()).args(args).arg("--repo").arg(self.repo());
        command.arg("--kubeconfig").arg(bed.kubeconfig());
        Ran::of(args, command.output().expect("start the program"))
    }
}

fn git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(args).current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for name in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{name}_NAME"), "Justin Santa Barbara");
        command.env(format!("GIT_{name}_EMAIL"), "author@example.com");
    }
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    let output = command.output().expect("run git");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

fn log2_up(n: u64) -> u64 {
    u64::from(n.next_power_of_two().trailing_zeros())
}

#[test]
fn the_commit_of_2019_01_23_is_found_among_three_hundred() {
    let Some(bed) = Bed::start("healthy") else { return };
    let history = History::of(&bed);
    let checkconfig = history.checkconfig(&bed);
    let good = history.git(&["rev-parse", "HEAD"]);
    history.fill(0);
    history.git(&["checkout", "--quiet", "-b", "refactor"]);
    history.commit("Refactor the AWS credential presets to a common label", &[(PRESETS, REFACTORED)]);
    history.git(&["checkout", "--quiet", "master"]);
    let merge = "Merge pull request #10903 from justinsb/aws-presets";
    history.git(&["merge", "--quiet", "--no-ff", "--message", merge, "refactor"]);
    let merged = history.git(&["rev-parse", "HEAD"]);
    history.fill(FILLERS);

    let begun = Instant::now();
    let blamed = history
        .run(&["config", "blame", "--no-cluster", "--good", &good, "--checkconfig", &checkconfig, "-o", "json"])
        .ended(1)
        .json();
    println!("config blame over {} commits: {:.1} s", blamed["commits"], begun.elapsed().as_secs_f64());
    let bad = &blamed["bad"];
    assert_eq!((bad["revision"]["id"].as_str(), &bad["pullRequest"]), (Some(merged.as_str()), &Value::from(10903)));
    assert_eq!(bad["revision"]["author"], "Justin Santa Barbara");
    assert_eq!((&bad["basis"], &bad["source"]), (&Value::from("fact"), &Value::from("checkconfig")));
    assert_eq!(bad["about"], "checkconfig", "of what is deployed nobody has said a word");
    assert_eq!(bad["objection"]["message"], "duplicated preset 'label:value' pair : preset-aws-credential:true");
    let places = bad["objection"]["places"].as_array().expect("places");
    let changed: Vec<_> = places.iter().filter(|place| place["changed"] == true).collect();
    assert_eq!((&changed[0]["path"], &changed[0]["key"]), (&Value::from(PRESETS), &Value::from("aws-presets.yaml")));
    let (commits, checks) = (blamed["commits"].as_u64().unwrap(), blamed["checks"].as_u64().unwrap());
    assert!(commits > 150, "{commits} commits change the configuration");
    assert!(checks <= log2_up(commits) + 2, "{checks} checks for {commits} commits");
    let subject = blamed["good"]["revision"]["subject"].as_str().expect("a subject");
    assert!(subject.starts_with("Change number 149"), "the nearest good one: {subject}");

    // In words; and what was answered once is not asked again.
    let words =
        history.run(&["config", "blame", "--no-cluster", "--good", &good, "--checkconfig", &checkconfig]).ended(1);
    for part in ["pull request #10903", PRESETS, "key aws-presets.yaml", "plan sync-config --revision", "0 check(s)"] {
        assert!(words.out.contains(part), "no {part:?} in\n{}", words.out);
    }

    // With the cluster, which runs on the good content: nobody has to name it.
    let known = history.on(&bed, &["config", "blame", "--checkconfig", &checkconfig, "-o", "json"]).ended(1).json();
    assert_eq!(known["bad"]["revision"]["id"], merged.as_str());

    // Which revision a repair would write: the nearest good one, although it is beyond what is read of the history.
    let status = history.on(&bed, &["status", "--checkconfig", &checkconfig, "-o", "json"]).ended(1).json();
    assert_eq!(status["revision"]["revision"]["id"], blamed["good"]["revision"]["id"], "{}", status["revision"]);
    assert_eq!(status["revision"]["basis"], "fact");
}

#[test]
fn a_refused_candidate_is_refused_before_any_write() {
    let Some(bed) = Bed::start("healthy") else { return };
    let history = History::of(&bed);
    let checkconfig = history.checkconfig(&bed);
    let before = bed.audit_of_oncall().len();
    // Nothing that a rule of ours knows.
    let job = "periodics:\n- name: ci-none\n  interval: never\n  agent: kubernetes\n  spec:\n    containers:\n    - image: alpine\n";
    let bad = history.commit("Add a job (#11000)", &[("config/jobs/kubernetes/none.yaml", job)]);
    let plan = |more: &[&str]| {
        let args = [&["plan", "sync-config", "--revision", &bad, "--checkconfig", &checkconfig], more].concat();
        history.on(&bed, &args)
    };
    plan(&[]).ended(3).says(&[
        "would not load",
        "ci-none",
        "file config/jobs/kubernetes/none.yaml",
        "checkconfig",
        "key none.yaml",
    ]);
    let knows = history.on(&bed, &["config", "check", "--revision", &bad, "--checkconfig", &checkconfig]).ended(1);
    assert!(knows.out.contains("FACT  it does not load: checkconfig v2024"), "{}", knows.out);
    // The very same program, of which nobody says which version it is: what it refuses is refused all the same.
    let nameless = bed.checkconfig().display().to_string();
    // A journal that remembers nothing of what the other one said, which would still count.
    let nothing = history.dir.path().join("nothing").display().to_string();
    let nameless = ["--revision", &bad, "--checkconfig", &nameless, "--journal", &nothing];
    let guesses = history.on(&bed, &[&["config", "check"][..], &nameless].concat()).ended(1);
    assert!(guesses.out.contains("GUESS  it does not load: checkconfig (version not known)"), "{}", guesses.out);
    history.on(&bed, &[&["plan", "sync-config"][..], &nameless].concat()).ended(3).says(&[
        "would not load",
        "ci-none",
        "version not known",
    ]);
    // Without being asked for it, it is not chosen: the head is refused, what runs is known to load.
    let status = history.on(&bed, &["status", "--checkconfig", &checkconfig, "-o", "json"]).ended(1).json();
    assert_ne!(status["revision"]["revision"]["id"], bad.as_str());
    assert_eq!(findings(&status, "revision-would-not-load")[0]["basis"], "fact");
    // Without a checkconfig nobody knows, and that is said. Its answer is remembered, though, so another journal is taken.
    let journal = history.dir.path().join("empty").display().to_string();
    let unknown = history.on(&bed, &["config", "check", "--revision", &bad, "--journal", &journal]).ended(0);
    assert!(unknown.out.contains("UNKNOWN") && unknown.out.contains("no checkconfig was asked"), "{}", unknown.out);
    assert_eq!(written_since(&bed, before), Vec::<String>::new());

    // Set aside with a reason, which the journal keeps.
    let file = history.dir.path().join("plan.json").display().to_string();
    plan(&["--override", "would-not-load", "--reason", "hook is patched", "-f", &file]).ended(0);
    let context = bed.fact("context").to_owned();
    let apply = ["apply", &file, "--execute", "--context", &context, "--expect", "1", "--wait", "1s", "-o", "json"];
    let ran = history.on(&bed, &apply);
    let run = ran.lines()[0]["run"].as_str().expect("a run").to_owned();
    let shown = history.on(&bed, &["run", "show", &run, "-o", "json"]).ended(0);
    assert!(shown.out.contains("would-not-load") && shown.out.contains("hook is patched"), "{}", shown.out);
    assert_eq!(written_since(&bed, before).len(), 1);

    // Nothing has crashed, and it is known what will.
    let status = history.on(&bed, &["status", "--checkconfig", &checkconfig, "-o", "json"]).ended(1).json();
    let invalid = findings(&status, "config-invalid");
    let (basis, words) = (&invalid[0]["basis"], invalid[0]["summary"].as_str().expect("words"));
    assert!(basis == "fact" && words.contains("ci-none") && words.contains("do not restart"), "{words}");
    let live = history.on(&bed, &["config", "check", "--checkconfig", &checkconfig]).ended(1);
    assert!(live.out.starts_with("live\n  FACT  it does not load"), "{}", live.out);
}

/// The rule of today, by Prow's own word: a label key may be shared, a pair may not. Before #10868 the key was enough.
#[test]
fn presets_may_share_a_label_key_today() {
    let Some(bed) = Bed::start("healthy") else { return };
    let history = History::of(&bed);
    let checkconfig = history.checkconfig(&bed);
    let presets =
        |value: &str| format!("presets:\n- labels: {{preset-shared: one}}\n- labels: {{preset-shared: {value}}}\n");
    let file = "config/jobs/kubernetes/shared.yaml";
    let pair = history.commit("Share a pair", &[(file, &presets("one"))]);
    let key = history.commit("Share a key", &[(file, &presets("two"))]);
    for (revision, code) in [(&key, 0), (&pair, 1)] {
        let args =
            ["config", "check", "--no-cluster", "--revision", revision, "--checkconfig", &checkconfig, "-o", "json"];
        let checked = history.run(&args).ended(code).json();
        assert_eq!(checked["checks"][0]["source"], "checkconfig");
    }
    // Our own rule for the deployed tag agrees, as an opinion.
    let journal = history.dir.path().join("empty").display().to_string();
    for (revision, code, answer) in [(&key, 0, "unknown"), (&pair, 1, "refused")] {
        let args = ["config", "check", "--revision", revision, "--journal", &journal, "-o", "json"];
        let checked = history.on(&bed, &args).ended(code).json();
        assert_eq!(
            (&checked["checks"][0]["answer"], &checked["checks"][0]["basis"]),
            (&Value::from(answer), &Value::from("guess"))
        );
    }
    // And the tool without an own checkout is none the wiser of the live content than by what runs on it.
    let live = Tool::on(&bed).run(&["config", "check", "-o", "json"]).ended(0).json();
    assert_eq!(
        (&live["checks"][0]["answer"], &live["checks"][0]["source"]),
        (&Value::from("loads"), &Value::from("running"))
    );
    // The real hook, started anew on each, has the same rule.
    let (tool, admin) = (Tool::on(&bed), Admin::of(&bed));
    let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let hooks = async || admin.list(&format!("{pods}?labelSelector=app=hook")).await;
    let start_on = |value: &str| {
        let live = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/job-config");
        block_on(admin.patch(&live, &json!({ "data": { "shared.yaml": presets(value) } })));
        let old = block_on(hooks());
        for hook in &old {
            block_on(admin.delete(&format!("{pods}/{}", hook["metadata"]["name"].as_str().expect("a name"))));
        }
        old.into_iter().map(|hook| hook["metadata"]["uid"].clone()).collect::<Vec<_>>()
    };
    let old = start_on("two");
    block_on(eventually("new hooks being Ready on a shared key", async || {
        let new = hooks().await;
        let is_ready = |hook: &Value| hook["status"]["containerStatuses"][0]["ready"] == true;
        !new.is_empty() && new.iter().all(|hook| is_ready(hook) && !old.contains(&hook["metadata"]["uid"]))
    }));
    start_on("one");
    block_on(eventually("a new hook refusing a pair that comes twice", async || {
        let refused = tool.run(&["config", "check"]).out;
        refused.contains("FACT  it does not load: the log of ")
            && refused.contains("duplicated preset 'label:value' pair : preset-shared:one")
    }));
}

/// A program that is no checkconfig, at this path.
fn broken(path: &Path) -> String {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("make folders");
    std::fs::write(path, "#!/bin/sh\nexit 0\n").expect("write a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).expect("make it a program");
    path.display().to_string()
}

#[test]
fn a_checkconfig_that_gives_no_answer_stops_nobody_and_is_told() {
    let Some(bed) = Bed::start("healthy") else { return };
    let history = History::of(&bed);
    let job = "periodics:\n- name: ci-more\n  interval: 1h\n  agent: kubernetes\n  spec:\n    containers:\n    - image: alpine\n";
    history.commit("Add a job (#11000)", &[("config/jobs/kubernetes/more.yaml", job)]);
    let deployed = history.on(&bed, &["config", "check", "-o", "json"]).ended(0).json()["deployed"][0].clone();
    let cache = history.dir.path().join(".cache/prow-breakglass/checkconfig");
    let cached = cache.join(deployed.as_str().expect("a tag"));
    let lost = |status: &Value| {
        let sources = status["sources"].as_array().expect("sources");
        sources.iter().any(|source| source["name"] == "checkconfig" && source["state"] == "lost")
    };
    assert!(!lost(&history.on(&bed, &["status", "-o", "json"]).ended(1).json()));

    // In the cache: it is told, and everything goes on with what else is known.
    let path = broken(&cached.join("checkconfig"));
    let no_answer = ["is no checkconfig", "it accepts what no Prow loads"];
    assert!(lost(&history.on(&bed, &["status", "-o", "json"]).ended(1).says(&no_answer).json()));
    let plan = history.on(&bed, &["plan", "sync-config"]).ended(0).says(&no_answer);
    assert!(plan.out.contains("checkconfig gave no answer"), "{}", plan.out);
    let check = history.on(&bed, &["config", "check", "--revision", "HEAD", "-o", "json"]).ended(0).says(&no_answer);
    let check = check.json();
    let check = (&check["checks"][0]["basis"], &check["checks"][0]["answer"], &check["checkconfig"]);
    assert_eq!(check, (&json!("guess"), &json!("unknown"), &Value::Null));
    // Named: who asks for its word alone gets an error, who repairs a warning.
    let named = |args: &[&str]| history.on(&bed, &[args, &["--checkconfig", &path]].concat());
    named(&["config", "check"]).ended(2).says(&no_answer);
    named(&["config", "blame"]).ended(2).says(&no_answer);
    assert!(named(&["plan", "sync-config"]).ended(0).says(&no_answer).out.contains("checkconfig gave no answer"));
    assert!(lost(&named(&["status", "-o", "json"]).ended(1).json()));
}

/// What is live stays beside what git asks for. A job of that name is on both sides, which only Prow's own program minds.
#[test]
fn the_screens_ask_about_what_a_plan_would_leave_and_say_when_there_is_no_answer() {
    let Some(bed) = Bed::start("healthy") else { return };
    let journal = tempfile::tempdir().expect("a folder");
    let job = "periodics:\n- name: ci-twice\n  interval: 1h\n  agent: kubernetes\n  spec:\n    containers:\n    - image: alpine\n";
    let admin = Admin::of(&bed);
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/job-config");
    block_on(admin.patch(&path, &json!({ "data": { "stale.yaml": job } })));
    let repo = bed.repository();
    std::fs::write(repo.join("config/jobs/kubernetes/twice.yaml"), job).expect("write a file");
    git(&repo, &["branch", "--unset-upstream"]);
    git(&repo, &["add", "--all"]);
    git(&repo, &["commit", "--quiet", "--message", "Add a job (#11000)"]);

    // One that gives no answer is seen, the plan is there and warns.
    let program = journal.path().join("bin/checkconfig");
    broken(&program);
    let place = journal.path().join("journal").display().to_string();
    let mut terminal = Start::on(&bed, LARGE, &place).option("--checkconfig", &program).open();
    terminal.see("checkconfig: LOST");
    terminal.press("2").see_all(&["[2 Config]", "prow/job-config", "drift"]);
    let plan = unwrapped(&terminal.plan());
    assert!(plan.contains("checkconfig gave no answer"), "{plan}");
    // Mended: it is asked again by itself, and its word counts before a plan is shown. The frame is drawn down to its keys.
    let mended = journal.path().join("bin/mended");
    std::os::unix::fs::symlink(bed.checkconfig(), &mended).expect("link the real one");
    std::fs::rename(&mended, &program).expect("put it there");
    let answers = |screen: &str| {
        let lost = screen.contains("checkconfig: LOST") || screen.contains("LOST checkconfig");
        screen.contains("[1 Overview]") && screen.contains("- COMPONENTS") && screen.contains("l logs") && !lost
    };
    terminal.press(ESC).see_that("that it answers", answers);
    terminal.press("2").see("[2 Config]");
    terminal.press("p");
    let refused = unwrapped(&terminal.see_all(&["NO PLAN", "would be live afterwards"]));
    assert!(refused.contains("ci-twice"), "{refused}");
    terminal.press("q");
    terminal.end().is_clean();
    assert_eq!(written_since(&bed, 0), [""; 0]);
}
