//! Each drill played from a file, in virtual time.

use crate::program::Stage;

const REPAIR: &str = "repair\nwait healthy\n";

#[test]
fn the_programs_own_repairs_bring_each_drill_back_and_lose_nothing() {
    for (drill, writes) in [("2019-01-23", 3), ("bad-plugins", 3), ("2019-02-05", 424)] {
        let stage = Stage::new();
        let played = stage.play(&[drill], REPAIR);
        assert_eq!((played.text("state"), played.code), ("healthy", 0), "{drill}\n{}", played.words);
        assert_eq!(played.mistakes(), Vec::<&str>::new(), "{drill}");
        assert_eq!(played.lost_needlessly(), 0, "{drill}: {}", played.score["prowJobsLost"]);
        assert_eq!(played.score["writes"], writes, "{drill}");
        let after = |what: &str| played.score[what]["afterSeconds"].as_i64().expect(what);
        assert!(after("diagnosed") < 5 && after("diagnosed") <= after("mitigated"), "{drill}");
        assert!(after("mitigated") <= after("cleaned") && after("cleaned") < 600, "{drill}");
        assert_eq!(stage.left(), Vec::<String>::new(), "{drill}: the journal goes with the drill");
    }
}

#[test]
fn a_script_is_the_same_each_time_and_its_stdout_is_one_document() {
    let stage = Stage::new();
    let [first, second] = [(); 2].map(|()| stage.play(&["2019-01-23"], REPAIR).score);
    assert_eq!(first, second);
    assert_eq!((first["kind"].as_str(), first["apiVersion"].as_str()), (Some("Scorecard"), Some("prow-breakglass/v1")));
}

#[test]
fn a_drill_that_is_left_early_says_what_is_open() {
    let stage = Stage::new();
    let played = stage.play(&["2019-02-05"], "strays\nconfig diff\nhistory\nautomation\nconfig render\nrun list\n");
    assert_eq!((played.text("state"), played.code), ("broken", 1), "{}", played.words);
    assert!(played.score["open"].to_string().contains("makes pods in default"), "{}", played.score);
    assert!(played.score["mitigated"]["at"].is_null() && !played.score["diagnosed"]["at"].is_null());
    assert_eq!(played.score["writes"], 0);
    // Each of the commands saw the drill.
    for seen in ["415 ", "v20190205-8c1cd80", "post-test-infra-deploy-prow", "config/prow/plugins.yaml", "no runs yet"]
    {
        assert!(played.words.contains(seen), "{seen}\n{}", played.words);
    }
}

/// It looks at less than `status` does, and comes to the same revision: here not the head, for that is what hook refuses.
#[test]
fn config_diff_compares_with_the_revision_that_status_would_write() {
    for drill in ["2019-01-23", "healthy"] {
        let played = Stage::new().play(&[drill], "status\nconfig diff\n");
        let after =
            |words: &str| played.words.split(words).nth(1).and_then(|rest| rest.lines().next()).map(str::to_owned);
        let (status, diff) = (after("a repair would write "), after("live (-) against git (+) "));
        let revision =
            |line: &Option<String>| line.as_deref().and_then(|line| line.split(';').next()).map(str::to_owned);
        assert!(revision(&diff).is_some(), "{}", played.words);
        assert_eq!(revision(&status), revision(&diff), "{}", played.words);
    }
}

#[test]
fn config_diff_shows_the_key_that_was_asked_for() {
    let stage = Stage::new();
    let keys = |words: &str| words.lines().filter(|line| line.starts_with("  ~ ") || line.starts_with("  + ")).count();
    let all = stage.play(&["2019-01-23"], "config diff\n").words;
    assert!(keys(&all) > 1, "{all}");
    let key = all.lines().find_map(|line| line.strip_prefix("  ~ ")).and_then(|line| line.split(' ').next());
    let script = format!("config diff job-config --key {} -U 0\n", key.expect("a key that differs"));
    let one = stage.play(&["2019-01-23"], &script).words;
    assert_eq!(keys(&one), 1, "{one}");
    let context = one.lines().filter(|line| line.starts_with("     ")).count();
    assert_eq!(context, 0, "no equal lines: {one}");
    let none = stage.play(&["2019-01-23"], "config diff --key no-such.yaml\n").words;
    assert!(none.contains("no key no-such.yaml, neither live nor in git"), "{none}");
}

#[test]
fn nothing_is_wrong_in_healthy_and_it_stays_so() {
    let played = Stage::new().play(&["healthy"], "wait 45m\nstatus\n");
    assert_eq!((played.text("state"), played.code), ("nothing-wrong", 0), "{}", played.words);
    assert!(played.words.contains("HEALTHY"), "{}", played.words);
    assert_eq!((played.count("prowJobsLost"), played.count("mistakes")), (0, 0), "{}", played.score);
}

/// A job for a cluster that is gone is lost whoever comes; its drill says so, and the scorecard does not blame anybody.
#[test]
fn what_nobody_could_have_kept_is_told_apart() {
    let stage = Stage::new();
    let script = "wait 2m\nrepair\nwait healthy\n";
    let played = stage.play(&["bad-plugins"], script);
    assert_eq!((played.text("state"), played.lost_needlessly()), ("healthy", 0), "{}", played.words);
    let lost = &played.score["prowJobsLost"][0];
    assert_eq!((played.count("prowJobsLost"), lost["job"].as_str()), (1, Some("ci-kubernetes-unit-arm")), "{lost}");
    assert!(lost["why"].as_str().is_some_and(|why| why.contains("no build client found")), "{lost}");
    assert!(lost["unavoidable"].as_str().is_some_and(|why| why.contains("build-arm")), "{lost}");
    // The same loss counts where the file does not name it.
    let file = include_str!("../../assets/drills/bad-plugins.toml");
    let without =
        file.replace("[[unavoidable]]\njob = \"ci-kubernetes-unit-arm\"", "[[unavoidable]]\njob = \"another\"");
    assert_ne!(file, without);
    stage.write("mine.toml", &without);
    assert_eq!(stage.play(&["./mine.toml"], script).lost_needlessly(), 1);
}

/// NEXT says what would undo the repair; Deck ends it, and plank its pod.
#[test]
fn what_would_undo_the_repair_is_aborted_in_the_drills_deck() {
    let script = "
        status
        abort post-test-infra-deploy-prow
        abort ci-test-infra-autobump-prow
        wait 5s
        status
        abort post-test-infra-deploy-prow      # it is over
    ";
    let played = Stage::new().play(&["2019-02-05"], script);
    let words: Vec<&str> = played.words.split("$ ").collect();
    let (before, after) = (words[1], words[5]);
    assert!(before.contains("but first abort post-test-infra-deploy-prow (pending)"), "{before}");
    assert!(before.contains("415 pods of jobs outside test-pods"), "{before}");
    // Their pods were astray as well, where plank looked.
    assert!(after.contains("NEXT  plan rollback: ") && after.contains("413 pods of jobs outside"), "{after}");
    assert!(words[6].contains("nothing goes on of post-test-infra-deploy-prow"), "{}", words[6]);
    assert_eq!((played.count("mistakes"), played.count("prowJobsLost")), (0, 0), "{}", played.score);
    let colleagues = played.score["colleagues"].to_string();
    assert!(colleagues.contains("aborted ci-test-infra-autobump-prow, as you asked"), "{colleagues}");
    // It is no write of the program's.
    assert_eq!(played.score["writes"], 0);
}

#[test]
fn time_passes_when_a_script_waits_and_stands_still_when_it_is_held() {
    let stage = Stage::new();
    let played = stage.play(&["2019-01-23"], "pause\nstatus\nstatus\n");
    assert_eq!(played.text("until"), played.text("opened"), "{}", played.score);
    // What colleagues merge while hook is down reaches nobody.
    let played = stage.play(&["2019-01-23"], "wait 10m\nstatus\n");
    let colleagues = played.score["colleagues"].to_string();
    assert!(colleagues.contains("hook was down and did not hear of it"), "{colleagues}");
    assert_eq!(played.text("state"), "broken");
    // And the program writes what they merged.
    let played = stage.play(&["2019-01-23"], "wait 10m\nrepair\nwait healthy\n");
    assert_eq!(played.text("state"), "healthy", "{}", played.words);
}

#[test]
fn a_drill_keeps_its_journal_where_a_person_says() {
    let stage = Stage::new();
    let played = stage.play(&["2019-01-23", "--journal", "kept"], "repair --steps 1\n");
    assert!(played.words.contains("run r-0001"), "{}", played.words);
    assert_eq!(stage.left(), ["kept"]);
    assert!(stage.path().join("kept/runs/r-0001").is_dir());
    // The journal of real incidents is not asked.
    stage.write("script", "repair --steps 1\n");
    let mut command = stage.command(&["drill", "2019-01-23", "--script", "script"]);
    command.env("PROW_BREAKGLASS_JOURNAL", stage.path().join("real")).env("PROW_BREAKGLASS_REPO", "/nowhere");
    let output = command.output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(stage.left(), ["kept"]);
}

#[test]
fn a_drill_of_ones_own_is_a_file() {
    let stage = Stage::new();
    let own = include_str!("../../assets/drills/2019-01-23.toml");
    stage.write("mine.toml", own);
    let played = stage.play(&["./mine.toml"], REPAIR);
    assert_eq!((played.text("drill"), played.text("state")), ("mine", "healthy"), "{}", played.words);
    stage.write("odd.toml", &own.replace("begins =", "begin ="));
    stage.write("idle.toml", &own.replace("merges = \"fix\"", "merges = \"nothing\""));
    let idle = ("./idle.toml", "somebody merges nothing, and there is no commit");
    for (name, why) in
        [("./odd.toml", "line 5: "), idle, ("./none.toml", "cannot read"), ("2019-02-30", "there is no drill")]
    {
        let output = stage.command(&["drill", name]).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(2), "{name}");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(words.contains(why) && words.contains("hint:"), "{name}: {words}");
    }
}

#[test]
fn the_list_names_them_all() {
    let output = Stage::new().command(&["drill", "list", "-o", "json"]).output().expect("the program runs");
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a document");
    let names: Vec<&str> =
        list["drills"].as_array().expect("drills").iter().filter_map(|d| d["name"].as_str()).collect();
    assert_eq!(names, ["2019-01-23", "2019-02-05", "bad-plugins", "healthy", "surprise"]);
}

#[test]
fn a_line_that_lacks_something_says_what() {
    let stage = Stage::new();
    stage.write("script", "wait\n");
    let output = stage.command(&["drill", "healthy", "--script", "script"]).output().expect("the program runs");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("line 1 of the script: wait") && words.contains("not provided: <UNTIL>"), "{words}");
}

#[test]
fn a_drill_has_no_checkconfig_that_a_job_could_run() {
    let played = Stage::new().play(&["healthy"], "plan check-in-cluster\nstatus\n");
    assert!(played.words.contains("there is no checkconfig in a drill that a Job could run"), "{}", played.words);
    assert!(played.words.contains("on a real cluster this plan asks the deployed tag"), "{}", played.words);
}

/// hook's own log is a FACT about the bad one; that the one before holds none of what hook refused is a GUESS, and the
/// revision that the repair goes to.
#[test]
fn blame_finds_the_commit_and_the_revision_that_the_repair_goes_to() {
    let words = Stage::new().play(&["2019-01-23"], "config blame\nstatus\n").words;
    let after = |what: &str| words.lines().find_map(|line| line.trim_start().strip_prefix(what)).map(str::trim);
    let good = after("GOOD").expect("a good one").split(' ').next().expect("its hash");
    assert!(words.contains(&format!("a repair would write {good}")), "{words}");
    let file = after("file ").expect("the file that the commit changed");
    assert!(file.contains("aws-presets.yaml"), "{words}");
    assert!(words.contains("what speaks against the bad one does not speak against it"), "{words}");
}

/// Between the kick and the readiness of what it brought about.
#[test]
fn after_a_kick_next_is_to_wait_until_the_new_pods_are_ready() {
    let script = "
        plan sync-config -f sync.json
        apply sync.json --execute --context prow --expect 1 --wait 1s
        plan kick -f kick.json
        apply kick.json --execute --context prow --expect 2 --wait 1s
        status
        wait 30s
        status
    ";
    let played = Stage::new().play(&["2019-01-23"], script);
    let words: Vec<&str> = played.words.split("$ ").collect();
    let (starting, ready) = (words[5], words[7]);
    assert!(starting.contains("NEXT  wait: new pods of hook start on the new content"), "{starting}");
    let verdict = starting.lines().find(|line| line.starts_with("BROKEN")).expect("a verdict");
    assert!(!verdict.contains("Before it"), "neither our write, nor the one that it mended: {verdict}");
    assert!(ready.contains("HEALTHY"), "{ready}");
    assert_eq!(played.mistakes(), Vec::<&str>::new());
}
