//! Somebody else writes the ConfigMap: nothing of theirs is overwritten, and they are named.

use crate::support::{Admin, JOB_CONFIG, Ran, Tool, block_on, eventually, outage_in_long_back_off, written_since};

const KEY: &str = "aws-presets.yaml";
/// The bed's other writer.
const OTHER: &str = "kubectl-edit";

#[test]
fn somebody_elses_write_is_never_overwritten() {
    let Some(mut bed) = outage_in_long_back_off() else { return };
    let (tool, admin) = (Tool::on(&bed), Admin::of(&bed));

    // Between plan and run.
    let before = bed.audit_of_oncall().len();
    let sync = tool.plan("sync-config");
    bed.write_config_map(JOB_CONFIG, KEY);
    let theirs = admin.config_map(JOB_CONFIG);
    tool.apply(&sync, "1").ended(3).says(&[OTHER, JOB_CONFIG, "anew"]);
    tool.run(&["apply", &sync]).ended(3).says(&[OTHER]);
    assert_eq!(written_since(&bed, before), Vec::<String>::new());
    assert_eq!(admin.config_map(JOB_CONFIG), theirs);
    let runs = tool.run(&["run", "list", "-o", "json"]).ended(0).json();
    assert_eq!(runs["runs"], serde_json::json!([]), "refused before it began");

    // Within one apply, between its preview and its request: the server refuses, and so do we at the second look.
    let sync = tool.plan("sync-config");
    let held = tool.start_with_fault(&tool.apply_args(&sync, "1"), "hold-before-send:1");
    block_on(eventually("the intent of r-0001", async || in_doubt(&tool)));
    bed.write_config_map(JOB_CONFIG, KEY);
    let theirs = admin.config_map(JOB_CONFIG);
    let pid = rustix::process::Pid::from_raw(held.id().cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal the program");
    let ran = Ran::of(&["apply"], held.wait_with_output().expect("wait for the program"));
    let ran = ran.ended(3).says(&[OTHER, JOB_CONFIG]);
    assert!(ran.lines().iter().any(|line| line["outcome"] == "failed"), "{}", ran.out);
    assert_eq!(admin.config_map(JOB_CONFIG), theirs);
    let entries = bed.audit_of_oncall();
    let answers: Vec<u64> = entries[before..].iter().filter(|entry| entry.writes()).map(|entry| entry.code).collect();
    assert_eq!(answers, [409], "one request, refused by its precondition");

    // What they wrote is the new basis.
    tool.apply(&tool.plan("sync-config"), "1").ended(0);
    assert_ne!(admin.config_map(JOB_CONFIG), theirs);
}

fn in_doubt(tool: &Tool) -> bool {
    let shown = tool.run(&["run", "show", "r-0001", "-o", "json"]);
    shown.code == Some(0) && shown.json()["steps"][0]["inDoubt"] == true
}
