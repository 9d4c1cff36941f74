//! Mistakes on the command line: exit code 2, and what to type instead.

use crate::place::Place;

#[test]
fn typing_mistakes_are_answered_with_what_there_is() {
    insta::assert_snapshot!(Place::new().run_all(&[
        &["stauts"],
        &["plan"],
        &["plan", "reboot"],
        &["plan", "sync-config", "--override", "everything", "--reason", "hurry"],
        &["plan", "sync-config", "--override", "would-not-load"],
        &["status", "-o", "xml"],
        &["status", "--request-timeout", "soon"],
        &["status", "--request-timeout", "0"],
        &["apply", "plan.json", "--execute", "--expect", "1", "--expect-at-most", "2"],
        &["apply", "plan.json", "--execute", "--expect", "one"],
    ]));
}

#[test]
fn a_kubectl_plugin_calls_itself_as_it_was_called() {
    let place = Place::new();
    let plugin = place.home().join("kubectl-prow_breakglass");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_prow-breakglass"), &plugin).expect("link it");
    let output = std::process::Command::new(&plugin).env_clear().arg("--help").output().expect("run it");
    let help = String::from_utf8_lossy(&output.stdout);
    assert!(help.contains("Usage: kubectl prow-breakglass [OPTIONS] [COMMAND]"), "{help}");
}
