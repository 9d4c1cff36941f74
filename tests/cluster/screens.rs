//! The screens on a real control plane: the whole repair with keys, and every way out of them.

use rustix::process::Signal;
use serde_json::json;

use crate::bed::Bed;
use crate::support::{Tool, outage_in_long_back_off, written_since};
use crate::terminal::{CTRL_C, DOWN, ENTER, ESC, Ended, F12, LARGE, SMALL, Start, TAB, TINY, Terminal, unwrapped};

/// What debug builds fail at: `src/run/fault.rs` and `src/tui/runtime/input.rs`.
const FAULT: &str = "PROW_BREAKGLASS_FAULT";
const PANIC: &str = "PROW_BREAKGLASS_TEST_PANIC";

/// `update configmaps job-config` to `update configmaps`: pods have made-up names.
fn kinds(written: &[String]) -> Vec<&str> {
    written.iter().filter_map(|entry| entry.rsplit_once(' ')).map(|(kind, _)| kind).collect()
}

/// Arms, types the plan's words, and waits until the screen says that the run is over.
fn run(terminal: &mut Terminal) -> String {
    terminal.confirm();
    terminal.see_all(&["DONE", "AFTERWARDS"])
}

#[test]
fn the_whole_repair_with_keys() {
    let Some(bed) = outage_in_long_back_off() else { return };
    let tool = Tool::on(&bed);
    let journal = tool.file("journal");
    let mut terminal = Start::on(&bed, LARGE, &journal).env("LANG", "C.UTF-8").open();

    // What is wrong is the first thing on the screen, and what to do about it.
    terminal.see_all(&[
        "[1 Overview]",
        "READ-ONLY",
        "ctx prow-services",
        "as oncall",
        "BROKEN since",
        "hook cannot start: it refuses the configuration in ConfigMap prow/job-config",
        "NEXT plan sync-config to",
        "> BAD FACT hook cannot start on its configuration: duplicated preset",
    ]);
    let plan = unwrapped(&terminal.plan());
    assert!(plan.contains("1 replace prow/configmap/job-config"), "{plan}");
    assert!(plan.contains("accepted from backup"), "{plan}");

    // Read-only, the words are keys like others, and `f` among them only holds the picture still.
    terminal.press("job-config").press(ENTER);
    terminal.see("A to arm first\n");
    terminal.press("f").press("yes").press(ENTER).see("A to arm first\n");
    assert_eq!(written_since(&bed, 0), [""; 0]);

    terminal.arm(bed.fact("context"));
    terminal.press("yse").press(ENTER).see("those are not the words");
    assert_eq!(written_since(&bed, 0), [""; 0]);
    run(&mut terminal);
    assert_eq!(written_since(&bed, 0), ["update configmaps job-config"]);

    // The next step is proposed where the run is shown.
    terminal.see_all(&[
        "done: written",
        "NEXT plan kick",
        "UNDO u plans to take back r-0001 (that was: write job-config",
    ]);
    terminal.press("u").see_all(&["[5 Plan]", "UNDOES run r-0001", "accepted", "To run it, type"]);
    terminal.press(ESC).see("[1 Overview]");
    terminal.press("6").see("NEXT plan kick");
    terminal.plan();
    assert_eq!(terminal.confirmation(), "2");
    run(&mut terminal);
    terminal.see("hook Ready");
    terminal.press("1");
    let healthy = terminal.see_all(&["[1 Overview]", "HEALTHY All components are ready"]);
    assert!(unwrapped(&healthy).contains("git's head would break it again"), "{healthy}");
    assert!(!healthy.contains("BAD "), "{healthy}");

    // Pods cannot be put back, and the run before is not meant.
    terminal.press("6").see_all(&["[6 Run]", "r-0002", "UNDO a deletion cannot be undone"]);
    terminal.press("u");
    let is_said = |screen: &str| screen.lines().any(|line| line.trim() == "a deletion cannot be undone");
    terminal.see_that("that it is no undo", is_said);
    terminal.press("q");
    let ended = terminal.end();
    ended.is_clean();
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert!(ended.text.contains("r-0002: 2 done, 0 failed"), "{}", ended.text);
    assert!(ended.text.contains(&journal), "{}", ended.text);

    let written = written_since(&bed, 0);
    assert_eq!(kinds(&written), ["update configmaps", "delete pods", "delete pods"], "{written:?}");
}

#[test]
fn a_healthy_prow_is_called_healthy_in_words() {
    let Some(bed) = Bed::start("healthy") else { return };
    let tool = Tool::on(&bed);
    let journal = tool.file("journal");
    let mut terminal = Start::on(&bed, LARGE, &journal).open();
    terminal.see_all(&["[1 Overview]", "HEALTHY All components are ready", "NEXT nothing to do"]);
    let screen = terminal.press(TAB).see("COMPONENTS");
    assert!(screen.is_ascii(), "without a UTF-8 locale: {screen}");

    // Another size, while it is used.
    terminal.resize(TINY);
    terminal.see_all(&["too small: 60x15, need 80x24", "prow-breakglass status"]);
    terminal.resize(SMALL);
    terminal.see_all(&["[1 Overview]", "HEALTHY"]);
    terminal.press("?").see("Help");
    terminal.resize(LARGE);
    // Not the help of the smaller screen: a frame as wide as the new one, drawn to its end.
    terminal.see_that("help in the larger frame", |screen| {
        screen.contains("Help") && screen.lines().any(|line| line.trim_end().chars().count() > 100)
    });
    // A key that comes at once after Esc would be Alt and that key.
    terminal.press(ESC).see_that("no help", |screen| !screen.contains("Help"));
    terminal.press("2").see_all(&["[2 Config]", "prow/job-config", "same"]);
    terminal.press(DOWN).press(ESC).see("[1 Overview]");
    terminal.press(CTRL_C);
    let ended = terminal.end();
    ended.is_clean();
    assert_eq!(ended.code, 130);
    assert_eq!(written_since(&bed, 0), [""; 0]);
}

#[test]
fn a_server_that_falls_silent_is_seen_to_be_lost_and_to_come_back() {
    let Some(mut bed) = Bed::start("healthy") else { return };
    let tool = Tool::on(&bed);
    let journal = tool.file("journal");
    let mut terminal = Start::on(&bed, SMALL, &journal).option("--request-timeout", "2s").open();
    terminal.see("HEALTHY");
    bed.freeze_api_server();
    let lost = unwrapped(&terminal.see_all(&["LOST!", "UNKNOWN"]));
    assert!(!lost.contains("HEALTHY"), "what is not seen is not healthy: {lost}");
    // What was seen last is still there, with its age.
    terminal.press(TAB).see_all(&["hook", "LOST!"]);
    bed.thaw_api_server();
    terminal.see_that("that it is back", |screen| screen.contains("HEALTHY") && !screen.contains("LOST"));
    terminal.press("q");
    let ended = terminal.end();
    ended.is_clean();
    assert_eq!(ended.code, 0, "{}", ended.text);
}

/// The program in the middle of a run, held before it sends the request of the first step.
fn held(bed: &Bed, tool: &Tool, env: &[(&str, &str)]) -> Terminal {
    let mut start = Start::on(bed, SMALL, &tool.file("journal")).env(FAULT, "hold-before-send:1");
    for (name, value) in env {
        start = start.env(name, value);
    }
    let mut terminal = start.open();
    terminal.see("NEXT plan");
    terminal.plan();
    terminal.arm(bed.fact("context"));
    terminal.confirm();
    terminal.see_all(&["ARMED, RUNNING", "sent, waiting for the answer"]);
    terminal
}

/// What each step of a run came to, as the journal tells.
fn outcomes(tool: &Tool, run: &str) -> Vec<serde_json::Value> {
    let document = tool.run_document(run);
    document["steps"].as_array().expect("steps").iter().map(|step| step["outcome"].clone()).collect()
}

#[track_caller]
fn says(ended: &Ended, texts: &[&str]) {
    ended.is_clean();
    let said = unwrapped(&ended.text);
    for text in texts {
        assert!(said.contains(text), "no {text:?} in\n{}", ended.text);
    }
}

#[test]
#[cfg(debug_assertions)]
fn a_signal_in_the_middle_of_a_run_lets_its_request_end_and_gives_the_terminal_back() {
    let Some(bed) = outage_in_long_back_off() else { return };
    let tool = Tool::on(&bed);
    let journal = tool.file("journal");

    let terminal = held(&bed, &tool, &[]);
    assert_eq!(written_since(&bed, 0), [""; 0]);
    terminal.signal(Signal::TERM);
    let ended = terminal.end();
    says(&ended, &["r-0001: 1 done, 0 failed, 0 skipped, 0 unknown, 0 not begun", &journal]);
    assert_eq!(ended.code, 143);
    assert_eq!(written_since(&bed, 0), ["update configmaps job-config"]);
    assert_eq!(outcomes(&tool, "r-0001"), [json!("done")]);

    // Two pods to delete: the second is left, and it is said how to go on.
    let terminal = held(&bed, &tool, &[]);
    terminal.signal(Signal::HUP);
    let ended = terminal.end();
    says(&ended, &["r-0002: 1 done", "1 not begun", &journal, "prow-breakglass run resume r-0002"]);
    assert_eq!(ended.code, 129);
    assert_eq!(outcomes(&tool, "r-0002"), [json!("done")]);
    let written = written_since(&bed, 0);
    assert_eq!(kinds(&written), ["update configmaps", "delete pods"], "{written:?}");

    let terminal = held(&bed, &tool, &[]);
    terminal.signal(Signal::INT);
    let ended = terminal.end();
    says(&ended, &["r-0003: 1 done", "0 not begun", &journal]);
    assert_eq!(ended.code, 130);
    let written = written_since(&bed, 0);
    assert_eq!(kinds(&written), ["update configmaps", "delete pods", "delete pods"], "{written:?}");
}

#[test]
#[cfg(debug_assertions)]
fn a_panic_gives_the_terminal_back_and_loses_no_request() {
    let Some(mut bed) = outage_in_long_back_off() else { return };
    let tool = Tool::on(&bed);

    // In the run's own task, before anything is sent.
    let mut terminal = Start::on(&bed, SMALL, &tool.file("journal")).env(FAULT, "panic-at-step:1").open();
    terminal.see("NEXT plan sync-config");
    terminal.plan();
    terminal.arm(bed.fact("context"));
    // It ends at once, perhaps before the screen of the run was drawn.
    terminal.send_confirmation();
    let ended = terminal.end();
    says(&ended, &["asked for a panic at step 1", "error: the program panicked", "prow-breakglass run list"]);
    assert_eq!(ended.code, 2);
    assert_eq!(written_since(&bed, 0), [""; 0]);
    assert_eq!(tool.run_document("r-0001")["state"], "interrupted");

    // On the screen's thread, with a request in flight: that one ends, and the journal has its outcome.
    let mut terminal = held(&bed, &tool, &[(PANIC, "ui")]);
    terminal.press(F12);
    let ended = terminal.end();
    says(&ended, &["a panic of the screen", "r-0002: 1 done", "error: the program panicked"]);
    assert_eq!(ended.code, 2);
    assert_eq!(outcomes(&tool, "r-0002"), [json!("done")]);
    assert_eq!(written_since(&bed, 0), ["update configmaps job-config"]);

    // In a task beside both.
    bed.write_config_map("job-config", "aws-presets.yaml");
    let mut terminal = held(&bed, &tool, &[(PANIC, "task")]);
    terminal.press(F12);
    let ended = terminal.end();
    says(&ended, &["a panic of a task", "r-0003: 1 done", "error: the program panicked"]);
    assert_eq!(ended.code, 2);
    assert_eq!(outcomes(&tool, "r-0003"), [json!("done")]);
}
