//! What the program needs around it and does not find: kubeconfig, repository, journal, plan file, terminal.

use crate::place::Place;

const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
current-context: prow
clusters:
- {name: prow, cluster: {server: 'https://127.0.0.1:1'}}
users:
- {name: oncall, user: {token: canary-token}}
contexts:
- {name: prow, context: {cluster: prow, user: oncall}}
- {name: nobodys, context: {cluster: prow, user: nobody}}
- {name: nowhere, context: {cluster: gone, user: oncall}}
";

#[test]
fn without_a_kubeconfig_it_says_how_to_give_one() {
    let place = Place::new();
    insta::assert_snapshot!(place.run_all(&[&["status"], &["status", "--kubeconfig", "missing"]]));
}

#[test]
fn kubeconfigs_that_lead_nowhere_are_refused_before_anything_is_sent() {
    let place = Place::new();
    place.write("kubeconfig", KUBECONFIG);
    place.write("empty", "");
    place.write("broken", "users:\n- name: oncall\n  user: {token: canary-token\n");
    let said = place.run_all(&[
        &["status", "--kubeconfig", "kubeconfig", "--context", "prwo"],
        &["status", "--kubeconfig", "kubeconfig", "--context", "nobodys"],
        &["status", "--kubeconfig", "kubeconfig", "--context", "nowhere"],
        &["status", "--kubeconfig", "kubeconfig", "--as-group", "prow-oncall"],
        &["status", "--kubeconfig", "empty"],
        &["status", "--kubeconfig", "broken"],
    ]);
    assert!(!said.contains("canary"), "{said}");
    insta::assert_snapshot!(said);
}

#[test]
fn an_environment_that_redirects_requests_is_refused() {
    let place = Place::new().env("KUBE_RS_DEBUG_OVERRIDE_URL", "https://elsewhere.example.com");
    place.write("kubeconfig", KUBECONFIG);
    insta::assert_snapshot!(place.run(&["status", "--kubeconfig", "kubeconfig"]));
}

#[test]
fn without_a_terminal_the_screens_are_words() {
    let place = Place::new();
    insta::assert_snapshot!(place.run(&["--plain"]));
    assert_eq!(
        place.run(&["--plain"]).replace(" --plain", ""),
        place.run(&[]).replace("breakglass \n", "breakglass\n")
    );
}

#[test]
fn nothing_was_run_yet() {
    let place = Place::new();
    insta::assert_snapshot!(place.run_all(&[
        &["run", "list"],
        &["run", "list", "-o", "json"],
        &["run", "list", "-o", "yaml"],
        &["run", "show", "r-0001"],
        &["run", "resume", "r-0001"],
        &["undo", "r-0001"],
        &["undo", "../r-0001"],
    ]));
    assert!(!place.home().join(".local").exists(), "looking makes no folders");
}

#[test]
fn plan_files_that_are_none_are_refused() {
    let place = Place::new();
    place.write("garbage.json", "{\"kind\": \"Plan\", \"steps\": ");
    place.write("other.json", "{\"kind\": \"Deployment\"}");
    insta::assert_snapshot!(place.run_all(&[
        &["apply", "missing.json"],
        &["apply", "garbage.json"],
        &["apply", "other.json"],
        &["apply", "other.json", "--execute", "--expect", "1"],
    ]));
}

/// Unreadable, it is a note beside what can be seen (here: that nothing answers); only what it is about fails.
#[test]
fn a_journal_that_cannot_be_read_does_not_blind() {
    let place = Place::new();
    place.write("kubeconfig", KUBECONFIG);
    let look = ["--kubeconfig", "kubeconfig", "--request-timeout", "1s", "--journal", "kubeconfig/journal"];
    let said = place.run(&[&["status"], look.as_slice()].concat());
    assert!(said.contains("note: cannot read the journal at kubeconfig/journal/runs"), "{said}");
    assert!(said.contains("UNKNOWN") && said.ends_with("exit code 6\n"), "{said}");
    let said = place.run(&[&["config", "diff"], look.as_slice()].concat());
    assert!(said.contains("note: cannot read the journal") && said.ends_with("exit code 6\n"), "{said}");
    let said = place.run(&["run", "list", "--journal", "kubeconfig/journal"]);
    assert!(said.contains("error: cannot read the journal") && said.ends_with("exit code 2\n"), "{said}");
}

#[test]
fn a_refusal_is_a_document_where_documents_were_asked_for() {
    let said = Place::new().run(&["apply", "missing.json", "-o", "json"]);
    let (stdout, stderr) = said.split_once("--- stderr").expect("both are printed");
    assert!(stdout.contains("\"kind\": \"Refusal\"") && stdout.contains("\"exitCode\": 2"), "{said}");
    assert!(stdout.contains("prow-breakglass/v1") && stdout.contains("make a plan first"), "{said}");
    assert!(stderr.contains("error: cannot read missing.json"), "{said}");
}
