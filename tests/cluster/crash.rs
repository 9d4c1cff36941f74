//! kill -9 between the intent and the outcome of a write: the next start says so, reads back, and completes or undoes.

use serde_json::json;

use crate::support::{
    Admin, JOB_CONFIG, NAMESPACE, Ran, Tool, block_on, eventually, findings, outage_in_long_back_off, written_since,
};

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

#[test]
fn a_killed_run_is_read_back_and_completed_or_undone() {
    let Some(bed) = outage_in_long_back_off() else { return };
    let (tool, admin) = (Tool::on(&bed), Admin::of(&bed));
    let map = format!("update configmaps {JOB_CONFIG}");
    let one_write = std::slice::from_ref(&map);
    // What git knows nothing of has to survive, and to come back byte for byte.
    let unknown_to_git = json!({
        "metadata": { "labels": { "owner": "oncall" }, "annotations": { "note": "line\n\"quoted\" \u{1f980}" } },
        "data": { "empty": "" }, "binaryData": { "logo.bin": "AP+A/w==" },
    });
    block_on(admin.patch(&format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{JOB_CONFIG}"), &unknown_to_git));
    let broken = admin.config_map(JOB_CONFIG);

    // Killed before it was sent.
    let mut before = bed.audit_of_oncall().len();
    let sync = tool.plan("sync-config");
    let killed = tool.run_with_fault(&tool.apply_args(&sync, "1"), "after-intent:1");
    assert_eq!(killed.signal, Some(SIGABRT), "{killed:?}");
    assert_eq!(written_since(&bed, before), Vec::<String>::new());
    says_interrupted(&tool, "r-0001");
    tool.run(&["run", "resume", "r-0001"]).ended(1).says(&["read back: as before", "would be sent again"]);
    resume(&tool, "r-0001", "0").ended(3);
    assert_eq!(written_since(&bed, before), Vec::<String>::new(), "looking writes nothing");
    resume(&tool, "r-0001", "1").ended(0);
    assert_eq!(written_since(&bed, before), one_write);
    says_nothing_of(&tool, "r-0001");
    let repaired = admin.config_map(JOB_CONFIG);
    assert_ne!(repaired.values, broken.values);
    assert_eq!((&repaired.labels, &repaired.annotations), (&broken.labels, &broken.annotations));
    assert_eq!(repaired.values["logo.bin"], [0, 255, 128, 255]);

    // Killed after it landed, while putting back; the answer was never read.
    before = bed.audit_of_oncall().len();
    let undo = tool.undo("r-0001");
    let killed = tool.run_with_fault(&tool.apply_args(&undo, "1"), "after-send:1");
    assert_eq!(killed.signal, Some(SIGABRT), "{killed:?}");
    assert_eq!(written_since(&bed, before), one_write);
    assert_eq!(admin.config_map(JOB_CONFIG), broken);
    says_interrupted(&tool, "r-0002");
    tool.run(&["run", "resume", "r-0002"]).ended(1).says(&["read back: it landed"]);
    resume(&tool, "r-0002", "1").ended(3);
    resume(&tool, "r-0002", "0").ended(0);
    assert_eq!(written_since(&bed, before), one_write, "what landed is not sent again");
    says_nothing_of(&tool, "r-0002");
    assert_eq!(tool.run_document("r-0002")["steps"][0]["outcome"], "done");

    // Killed after it landed, and taken back without settling it first.
    let sync = tool.plan("sync-config");
    let killed = tool.run_with_fault(&tool.apply_args(&sync, "1"), "after-send:1");
    assert_eq!(killed.signal, Some(SIGABRT), "{killed:?}");
    assert_eq!(admin.config_map(JOB_CONFIG), repaired);
    says_interrupted(&tool, "r-0003");
    let undo = tool.undo("r-0003");
    tool.apply(&undo, "1").ended(0);
    assert_eq!(admin.config_map(JOB_CONFIG), broken, "byte for byte");
    says_nothing_of(&tool, "r-0003");

    // A real kill -9, with the request about to go out.
    before = bed.audit_of_oncall().len();
    let sync = tool.plan("sync-config");
    let mut held = tool.start_with_fault(&tool.apply_args(&sync, "1"), "hold-before-send:1");
    block_on(eventually("the intent of r-0005", async || in_doubt(&tool, "r-0005")));
    let refused = tool.run(&["run", "resume", "r-0005"]).ended(3);
    assert!(refused.err.contains(&held.id().to_string()), "whose it is: {refused:?}");
    held.kill().expect("kill the program");
    let killed = Ran::of(&["apply"], held.wait_with_output().expect("wait for the program"));
    assert_eq!(killed.signal, Some(SIGKILL), "{killed:?}");
    says_interrupted(&tool, "r-0005");
    tool.run(&["run", "resume", "r-0005"]).ended(1).says(&["read back: as before"]);
    resume(&tool, "r-0005", "1").ended(0);
    assert_eq!(written_since(&bed, before), one_write);
    assert_eq!(admin.config_map(JOB_CONFIG), repaired);
    says_nothing_of(&tool, "r-0005");

    // Killed between two pods: the first is gone, and resuming deletes the other one alone.
    before = bed.audit_of_oncall().len();
    let kick = tool.plan("kick");
    let killed = tool.run_with_fault(&tool.apply_args(&kick, "2"), "after-send:1");
    assert_eq!(killed.signal, Some(SIGABRT), "{killed:?}");
    let first = written_since(&bed, before);
    assert_eq!(first.len(), 1, "{first:?}");
    says_interrupted(&tool, "r-0006");
    tool.run(&["run", "resume", "r-0006"]).ended(1).says(&["read back: it landed"]);
    resume(&tool, "r-0006", "1").ended(0).says(&["verified"]);
    let both = written_since(&bed, before);
    assert!(both.len() == 2 && both[0] == first[0] && both[1] != first[0], "{both:?}");
    // What git does not know is drift, and all that is left.
    assert_eq!(tool.status(1)["verdict"]["state"], "degraded");
    assert!(findings(&tool.status(1), "config-load-failure").is_empty());
}

fn resume(tool: &Tool, run: &str, count: &str) -> Ran {
    tool.run(&[
        "run",
        "resume",
        run,
        "--execute",
        "--context",
        &tool.context,
        "--expect",
        count,
        "--wait",
        "20s",
        "--settle",
        "1s",
    ])
}

/// The next start says so, in words and as a finding.
#[track_caller]
fn says_interrupted(tool: &Tool, run: &str) {
    let ran = tool.run(&["status", "-o", "json"]).ended(1).says(&[run, "was interrupted", "run resume"]);
    let status = ran.json();
    let interrupted = findings(&status, "interrupted-run");
    assert_eq!(interrupted.len(), 1, "{status}");
    let evidence = interrupted[0]["evidence"].to_string();
    assert!(evidence.contains(&format!("run resume {run}")), "{evidence}");
    assert!(evidence.contains(NAMESPACE), "which object: {evidence}");
}

#[track_caller]
fn says_nothing_of(tool: &Tool, run: &str) {
    let ran = tool.run(&["status", "-o", "json"]).ended(1);
    assert!(!ran.err.contains(run), "{}", ran.err);
    assert!(findings(&ran.json(), "interrupted-run").is_empty(), "{}", ran.out);
}

fn in_doubt(tool: &Tool, run: &str) -> bool {
    let shown = tool.run(&["run", "show", run, "-o", "json"]);
    shown.code == Some(0) && shown.json()["steps"][0]["inDoubt"] == true
}
