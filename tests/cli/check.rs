//! `config check` and `config blame` without a cluster, and checkconfigs that are none.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use crate::place::Place;

const PLUGINS: &str = "config_updater:
  maps:
    config/config.yaml: {name: config}
    config/plugins.yaml: {name: plugins}
    config/jobs/**/*.yaml: {name: job-config, clusters: {default: [prow]}}
";
const PRESETS: &str = "presets:\n- labels: {preset-a: 'true'}\n";
const COLLIDING: &str = "presets:\n- labels: {preset-a: 'true'}\n- labels: {preset-a: 'true'}\n";

/// A good revision, a bad one, and one more.
fn place() -> Place {
    let place = Place::new();
    place.repository(&[
        ("config/config.yaml", "prowjob_namespace: prow\n"),
        ("config/plugins.yaml", PLUGINS),
        ("config/jobs/presets.yaml", PRESETS),
    ]);
    place.commit("Refactor the presets (#10868)", &[("config/jobs/presets.yaml", COLLIDING)]);
    place.commit("Document it", &[("config/jobs/other.yaml", "periodics: []\n"), ("README.md", "x\n")]);
    place
}

/// A script that refuses what no Prow loads, and then does this.
fn checkconfig(place: &Place, then: &str) {
    let canary = "if read -r line < \"${1#--config-path=}\" && [ \"$line\" = 'presets: [' ]; then\n\
                  echo '{\"error\":\"yaml\",\"level\":\"fatal\",\"msg\":\"Validation failed\"}' >&2; exit 1; fi";
    let path = place.write("v20240619-cfb8754e0/checkconfig", format!("#!/bin/sh\n{canary}\n{then}\n"));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).expect("make it a program");
}

#[test]
fn without_a_checkconfig_our_rules_judge_and_say_so() {
    let place = place();
    insta::assert_snapshot!(place.run_all(&[
        &["config", "check", "--no-cluster", "--repo", "repo"],
        &["config", "check", "--no-cluster", "--repo", "repo", "--revision", "HEAD~2"],
        &["config", "check", "--no-cluster", "--repo", "repo", "--revision", "HEAD~2", "-o", "json"],
        &["config", "blame", "--no-cluster", "--repo", "repo"],
        &["config", "blame", "--no-cluster", "--repo", "repo", "--revision", "HEAD~2"],
    ]));
}

#[test]
fn a_checkconfig_is_quoted_with_its_version() {
    let place = place();
    let refuse = "jobs=${2#--job-config-path=}; if grep -q -z 'true.*true' $jobs/presets.yaml; then\n\
                  echo \"{\\\"error\\\":\\\"error unmarshalling $jobs/presets.yaml: twice\\\",\\\"level\\\":\\\"fatal\\\",\\\"msg\\\":\\\"Validation failed\\\"}\" >&2; exit 1; fi";
    checkconfig(&place, &format!("PATH=/usr/bin:/bin\n{refuse}"));
    let given = ["--no-cluster", "--repo", "repo", "--checkconfig", "v20240619-cfb8754e0/checkconfig"];
    let run = |args: &[&str]| place.run(&[args, &given].concat());
    insta::assert_snapshot!(
        [
            run(&["config", "check"]),
            run(&["config", "check", "--revision", "HEAD~2"]),
            run(&["config", "blame", "--good", "HEAD~2"]),
            run(&["config", "blame", "--good", "HEAD~1"]),
            run(&["config", "blame", "--good", "HEAD"]),
            run(&["config", "blame", "--revision", "HEAD~2"]),
        ]
        .join("\n")
    );
}

#[test]
fn what_is_no_checkconfig_is_no_verdict() {
    let place = place();
    let check = |path: &str| place.run(&["config", "check", "--no-cluster", "--repo", "repo", "--checkconfig", path]);
    let mut said = vec![check("none"), check("repo")];
    place.write("text", "no program\n");
    said.push(check("text"));
    let path = place.write("true", "#!/bin/sh\nexit 0\n");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).expect("make it a program");
    said.push(check("true"));
    checkconfig(&place, "kill -9 $$");
    said.push(check("v20240619-cfb8754e0/checkconfig"));
    insta::assert_snapshot!(said.join("\n"));
}

/// Refuses job files that say so, and gives no verdict on others that say that.
const MARKED: &str = "PATH=/usr/bin:/bin\njobs=${2#--job-config-path=}\nif grep -q NONE $jobs/*.yaml; then exit 3; fi\n\
    if grep -q BAD $jobs/*.yaml; then\n\
    echo '{\"error\":\"bad\",\"level\":\"fatal\",\"msg\":\"Validation failed\"}' >&2; exit 1; fi\nexit 0";

/// As `git bisect skip` has it.
#[test]
fn commits_that_nobody_can_judge_are_skipped_and_named() {
    let place = Place::new();
    let jobs = "config/jobs/a.yaml";
    place.repository(&[
        ("config/config.yaml", "prowjob_namespace: prow\n"),
        ("config/plugins.yaml", PLUGINS),
        (jobs, "periodics: []\n"),
    ]);
    for (subject, mark) in [("One (#1)", "NONE 1"), ("Two (#2)", "NONE 2"), ("Three (#3)", "BAD 3"), ("Four", "BAD 4")]
    {
        place.commit(subject, &[(jobs, &format!("periodics: [] # {mark}\n"))]);
    }
    checkconfig(&place, MARKED);
    let given = ["--no-cluster", "--repo", "repo", "--checkconfig", "v20240619-cfb8754e0/checkconfig"];
    let run = |args: &[&str]| place.run(&[args, &given].concat());
    let words = run(&["config", "blame"]);
    let document = run(&["config", "blame", "-o", "json"]);
    assert!(document.contains("\"inDoubt\": [\n    {"), "{document}");
    // Nothing known at the newest: nobody to blame. What was named and cannot say is an error.
    let none = run(&["config", "blame", "--revision", "HEAD~2"]);
    // Without a checkconfig what was answered before is not forgotten, but of the rest nobody knows.
    let unknown = place.run(&["config", "blame", "--no-cluster", "--repo", "repo", "--revision", "HEAD~1"]);
    insta::assert_snapshot!([words, none, unknown].join("\n"));
}

/// Without a checkconfig there is nothing to learn from one commit after the other.
#[test]
fn a_search_in_which_nobody_knows_anything_is_given_up() {
    let place = Place::new();
    let jobs = "config/jobs/a.yaml";
    place.repository(&[("config/config.yaml", "prowjob_namespace: prow\n"), ("config/plugins.yaml", PLUGINS)]);
    for n in 0..70 {
        place.commit(&format!("Number {n}"), &[(jobs, &format!("periodics: [] # {n}\n"))]);
    }
    place.commit("Break it (#7)", &[(jobs, "periodics: [] # BAD\n")]);
    checkconfig(&place, MARKED);
    let (check, repo) = (["config", "check"], ["--no-cluster", "--repo", "repo"]);
    place.run(&[&check[..], &repo, &["--checkconfig", "v20240619-cfb8754e0/checkconfig"]].concat());
    let said = place.run(&[&["config", "blame"], &repo[..]].concat());
    for words in [
        "Break it (#7)",
        "no older one was found that does",
        "60 commit(s) were skipped",
        "the search was given up",
        "exit code 1",
    ] {
        assert!(said.contains(words), "no {words:?} in\n{said}");
    }
    assert!(!said.contains("GOOD"), "{said}");
}

#[test]
fn where_a_shallow_clone_ends_is_said() {
    let place = place();
    place.git(&[
        "clone",
        "--quiet",
        "--depth=2",
        &format!("file://{}", place.home().join("repo").display()),
        "../shallow",
    ]);
    insta::assert_snapshot!(place.run(&["config", "blame", "--no-cluster", "--repo", "shallow"]));
}

/// The upstream's head is read, whatever was committed and not pushed.
#[test]
fn which_head_is_read_is_said_where_the_checkout_is_ahead() {
    let place = place();
    place.git(&["init", "--quiet", "--bare", "../origin"]);
    place.git(&["remote", "add", "origin", "../origin"]);
    place.git(&["push", "--quiet", "--set-upstream", "origin", "master"]);
    let commands: [&[&str]; 3] =
        [&["config", "check", "--no-cluster"], &["config", "blame", "--no-cluster"], &["config", "render"]];
    let said = |more: &[&str]| commands.map(|command| place.run(&[command, &["--repo", "repo"], more].concat()));
    let note = "note: read is origin/master, ";
    assert!(said(&[]).iter().all(|said| !said.contains("note: read is")), "they are the same");
    place.commit("Mend it here", &[("config/jobs/presets.yaml", PRESETS)]);
    for said in said(&[]) {
        let line = said.lines().find(|line| line.starts_with(note)).unwrap_or_else(|| panic!("no note in\n{said}"));
        assert!(line.contains("\"Mend it here\", which --revision HEAD reads"), "{line}");
    }
    assert!(said(&["--revision", "HEAD"]).iter().all(|said| !said.contains("note: read is")), "it was asked for");
}

/// What is merely all that there is to see is not what broke it.
#[test]
fn the_only_revision_that_is_seen_is_not_blamed() {
    let place = place();
    let from = format!("file://{}", place.home().join("repo").display());
    place.git(&["clone", "--quiet", "--depth=1", &from, "../shallow"]);
    place.write("folder/config/config.yaml", "prowjob_namespace: prow\n");
    place.write("folder/config/plugins.yaml", PLUGINS);
    place.write("folder/config/jobs/presets.yaml", COLLIDING);
    let blame = |repo: &str| place.run(&["config", "blame", "--no-cluster", "--repo", repo]);
    insta::assert_snapshot!([blame("shallow"), blame("folder")].join("\n"));
    // Of a whole repository the first commit is one like any other.
    place.git(&["init", "--quiet", "--initial-branch=master", "../folder"]);
    place.git(&["-C", "../folder", "add", "--all"]);
    place.git(&["-C", "../folder", "commit", "--quiet", "--message", "Begin badly (#1)"]);
    let said = blame("folder");
    assert!(said.contains("\"Begin badly (#1)\"") && said.contains("exit code 1"), "{said}");
}

#[test]
fn what_a_command_would_not_heed_is_refused() {
    let place = place();
    insta::assert_snapshot!(place.run_all(&[
        &["config", "blame", "--no-cluster", "--repo", "repo", "--worktree"],
        &["config", "check", "--no-cluster", "--repo", "repo", "--worktree", "--revision", "HEAD~1"],
        &["--revision", "HEAD~1", "config", "render", "--repo", "repo", "--worktree"],
    ]));
}

/// One that has been asked before the journal was lost is asked again: that is all it costs.
#[test]
fn a_journal_that_cannot_be_used_stops_nobody() {
    let place = place();
    checkconfig(&place, "exit 0");
    place.write("file", "no folder\n");
    let check = |args: &[&str]| {
        let given = ["config", "check", "--no-cluster", "--repo", "repo", "--journal", "file/journal"];
        place.run(&[&given[..], args].concat())
    };
    let said = [check(&[]), check(&["--checkconfig", "v20240619-cfb8754e0/checkconfig"])].join("\n");
    insta::assert_snapshot!(said);
}

fn below(folder: &Path) -> Vec<String> {
    let root = std::fs::read_dir(folder).expect("a folder").next().expect("our own").expect("an entry").path();
    let entries = std::fs::read_dir(root).expect("our folder");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect()
}

#[test]
fn kill_9_leaves_no_checkconfig_and_its_folder_goes_with_the_next_one() {
    let place = place();
    let (fifo, temporary) = (place.home().join("held"), place.home().join("tmp"));
    std::fs::create_dir(&temporary).expect("make a folder");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("run mkfifo").success());
    // It has started something itself.
    checkconfig(&place, &format!("(echo; exec /bin/sleep 600) > {} 2>/dev/null &\nwait", fifo.display()));
    let (sender, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut pipe = std::fs::File::open(fifo).expect("open the pipe");
        pipe.read_exact(&mut [0]).expect("a byte");
        sender.send("held").expect("a listener");
        // Ends when nobody is alive who holds it.
        pipe.read_to_end(&mut Vec::new()).expect("its end");
        sender.send("free").expect("a listener");
    });
    let checker = "v20240619-cfb8754e0/checkconfig";
    let args = ["config", "check", "--no-cluster", "--repo", "repo", "--checkconfig", checker];
    let start = || {
        let mut command = place.command(&args);
        command.env("TMPDIR", &temporary);
        command
    };
    let mut program = start().spawn().expect("start the program");
    let soon = Duration::from_secs(30);
    assert_eq!(told.recv_timeout(soon), Ok("held"));
    program.kill().expect("kill -9");
    program.wait().expect("its end");
    assert_eq!(told.recv_timeout(soon), Ok("free"), "it lives on");
    assert_eq!(below(&temporary).len(), 2, "its folder, and the file that was locked");
    checkconfig(&place, "exit 0");
    assert!(start().output().expect("run the program").status.success());
    assert_eq!(below(&temporary), [""; 0]);
}

/// A presubmit that gives a checkconfig must not be green where it was not asked, nor take what it said before for news.
#[test]
fn what_was_not_asked_now_is_said() {
    let place = place();
    checkconfig(&place, "exit 0");
    let program = ["--checkconfig", "v20240619-cfb8754e0/checkconfig"];
    let check = |more: &[&str]| place.run(&[&["config", "check", "--no-cluster", "--repo", "repo"], more].concat());
    let mut said = vec![check(&program), check(&[])];
    place.git(&["rm", "--quiet", "config/config.yaml"]);
    place.commit("Tidy up", &[]);
    said.extend([check(&program), check(&[])]);
    insta::assert_snapshot!(said.join("\n"));
}

/// Who repairs what one commit broke would be surprised.
#[test]
fn another_fault_of_the_newest_revision_is_told() {
    let place = place();
    let blame = || place.run(&["config", "blame", "--no-cluster", "--repo", "repo"]);
    assert!(!blame().contains("another fault"), "they are one and the same");
    place.commit("Tune plank (#2)", &[("config/config.yaml", "prowjob_namespace: prow\nplank: [\n")]);
    let said = blame();
    assert!(said.contains("Refactor the presets (#10868)"), "the first one is to blame: {said}");
    let note = said.lines().find(|line| line.contains("has another fault: ")).unwrap_or_else(|| panic!("{said}"));
    assert!(note.contains("GUESS: the newest one, ") && note.contains("config.yaml: line 2"), "{note}");
    // A line further down it is still the same one.
    let moved = format!("# Presets\n{COLLIDING}");
    place.commit(
        "Mend plank (#3)",
        &[("config/config.yaml", "prowjob_namespace: prow\n"), ("config/jobs/presets.yaml", &moved)],
    );
    assert!(!blame().contains("another fault"), "{}", blame());
}

#[test]
fn what_a_map_drops_is_told_by_a_check_too() {
    let place = place();
    place.commit(
        "Add jobs",
        &[("config/jobs/a/x.yaml", "periodics: []\n"), ("config/jobs/b/x.yaml", "periodics: []\n")],
    );
    let said = place.run(&["config", "check", "--no-cluster", "--repo", "repo"]);
    let note = "note: config/jobs/a/x.yaml and config/jobs/b/x.yaml are both key x.yaml of ConfigMap prow/job-config";
    assert!(said.contains(note), "{said}");
}

#[test]
fn who_has_no_cluster_is_told_how_to_ask_without() {
    let place = place();
    for command in ["check", "blame"] {
        let said = place.run(&["config", command, "--repo", "repo"]);
        assert!(
            said.contains("cannot use the kubeconfig") && said.contains("; without a cluster: --no-cluster"),
            "{said}"
        );
    }
}

/// What is judged otherwise than somebody meant, for a path that is mistyped.
#[test]
fn a_path_that_leads_nowhere_is_told() {
    let place = place();
    for (flag, note) in [
        ("--config-path", "note: nowhere is not there: prowjob_namespace is taken to be `default`"),
        ("--job-config-path", "note: no file below nowhere becomes a ConfigMap key: --job-config-path is not heeded"),
    ] {
        for command in [&["config", "check", "--no-cluster"][..], &["config", "render"]] {
            let said = place.run(&[command, &["--repo", "repo", "--revision", "HEAD~2", flag, "nowhere"]].concat());
            assert!(said.contains(note), "{command:?} {flag}: {said}");
        }
    }
}
