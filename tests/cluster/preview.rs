//! A preview writes nothing, and a run sends what its preview sent.

use std::collections::{BTreeMap, BTreeSet};

use crate::bed::Bed;
use crate::bed::audit::Entry;
use crate::support::{Admin, JOB_CONFIG, Tool, but_for_dry_run, outage_in_long_back_off, written_since};

/// Everything that can be looked at and previewed, with the exit codes of what differs before and after the repair.
fn preview_everything(tool: &Tool, plans: &[(&str, i32)], diff: i32) {
    tool.run(&["status", "-o", "json"]).ended(1);
    tool.run(&["status"]).ended(1);
    tool.run(&["config", "diff"]).ended(diff);
    tool.run(&["config", "render"]).ended(0);
    for (repair, code) in plans {
        let file = tool.file(&format!("preview-{repair}.json"));
        tool.run(&["plan", repair, "-f", &file]).ended(*code);
        if *code == 0 {
            tool.run(&["apply", &file]).ended(0).says(&["previewed only"]);
            tool.run(&["apply", &file, "--context", &tool.context, "--expect", "1"]).ended(0).says(&["previewed only"]);
        }
    }
    tool.run(&["run", "list"]).ended(0);
}

#[test]
fn previews_write_nothing_and_runs_equal_them() {
    let Some(mut bed) = outage_in_long_back_off() else { return };
    let (tool, admin) = (Tool::on(&bed), Admin::of(&bed));
    bed.pause_controllers();
    let untouched = admin.versions();
    assert!(untouched.len() > 100, "{} objects", untouched.len());

    preview_everything(&tool, &[("sync-config", 0), ("kick", 3)], 1);
    assert_eq!(written_since(&bed, 0), Vec::<String>::new());
    assert_same(&untouched, &admin.versions(), &[]);

    // One write, of one object.
    let sync = tool.plan("sync-config");
    tool.apply(&sync, "1").ended(0);
    let repaired = admin.versions();
    assert_same(&untouched, &repaired, &[&format!("/api/v1/configmaps \"prow\" \"{JOB_CONFIG}\"")]);

    let before = bed.audit_of_oncall().len();
    preview_everything(&tool, &[("sync-config", 3), ("kick", 0)], 0);
    tool.run(&["undo", "r-0001"]).ended(0);
    tool.run(&["undo", "r-0001", "-f", &tool.file("undo.json")]).ended(0);
    tool.run(&["apply", &tool.file("undo.json")]).ended(0);
    tool.run(&["run", "show", "r-0001"]).ended(0);
    tool.run(&["run", "resume", "r-0001"]).ended(0);
    // Refused before anything is sent: wrong count, wrong context, no count.
    tool.run(&["apply", &tool.file("undo.json"), "--execute", "--context", &tool.context, "--expect", "2"]).ended(3);
    tool.run(&["apply", &tool.file("undo.json"), "--execute", "--context", "other", "--expect", "1"]).ended(2);
    tool.run(&["apply", &tool.file("undo.json"), "--execute", "--context", &tool.context]).ended(2);
    tool.run(&["apply", &tool.file("undo.json"), "--execute", "--expect", "1"]).ended(2);
    assert_eq!(written_since(&bed, before), Vec::<String>::new());
    assert_same(&repaired, &admin.versions(), &[]);

    let undo = tool.undo("r-0001");
    tool.apply(&undo, "1").ended(0);
    let redo = tool.undo("r-0002");
    tool.apply(&redo, "1").ended(0);
    bed.resume_controllers();
    let kick = tool.plan("kick");
    tool.apply(&kick, "2").ended(0);
    runs_equal_previews(&bed);
}

/// Every real write has a dry run before it that is the same request but for `dryRun`.
fn runs_equal_previews(bed: &Bed) {
    let entries = bed.audit_of_oncall();
    assert!(entries.iter().filter(|entry| entry.writes()).all(|entry| entry.code < 300));
    assert_eq!(previewed_writes(&entries, 2), 5);
}

/// The writes that landed; each was asked before under dry run, at least so often, in the same words: `plan` and `apply` do
/// so once each.
#[track_caller]
pub fn previewed_writes(entries: &[Entry], at_least: usize) -> usize {
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    let mut written = 0;
    for entry in entries.iter().filter(|entry| entry.mutating() && entry.code < 300) {
        let (verb, uri, body) = but_for_dry_run(entry);
        let request = format!("{verb} {uri} {body}");
        if entry.dry_run() {
            *asked.entry(request).or_default() += 1;
        } else {
            let times = asked.get(&request).copied().unwrap_or(0);
            assert!(times >= at_least, "previewed {times} times: {request}");
            written += 1;
        }
    }
    written
}

pub type Versions = BTreeMap<String, String>;

/// Nothing came, went or changed, but for these.
#[track_caller]
pub fn assert_same(before: &Versions, after: &Versions, but: &[&str]) {
    let ids = before.keys().chain(after.keys());
    let changed: BTreeSet<&str> = ids.filter(|id| before.get(*id) != after.get(*id)).map(String::as_str).collect();
    assert_eq!(changed.into_iter().collect::<Vec<_>>(), but);
}
