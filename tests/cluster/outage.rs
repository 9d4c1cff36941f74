//! The main job: a Prow that is well is called well, and the outage of 2019-01-23 is seen, repaired, and taken back.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use kube::Api;
use kube::api::{ListParams, LogParams};
use serde_json::Value;

use crate::bed::Bed;
use crate::support::{
    Admin, Content, JOB_CONFIG, NAMESPACE, Poller, Tool, block_on, client, eventually, findings,
    outage_in_long_back_off, summary, written_since,
};

/// Prow's components that read job-config and still run when hook does not.
const RUNNING: [&str; 7] =
    ["crier", "deck", "horologium", "prow-controller-manager", "sinker", "statusreconciler", "tide"];
const PRESETS: &str = "aws-presets.yaml";

#[test]
fn a_healthy_prow_is_called_healthy() {
    let Some(bed) = Bed::start("healthy") else { return };
    let tool = Tool::on(&bed);
    let status = tool.status(0);
    assert_eq!(status["verdict"]["state"], "healthy", "{status}");
    assert!(summary(&status).iter().all(|(_, severity)| severity == "info"), "{status}");
    let not_known: Vec<&Value> = array(&status["sources"]).iter().filter(|source| source["state"] != "known").collect();
    assert!(not_known.is_empty(), "everything can be seen: {not_known:?}");
    let text = tool.run(&["status"]).ended(0).out;
    assert!(text.contains("HEALTHY") && text.contains("NEXT  nothing to do"), "{text}");
    let diff = tool.run(&["config", "diff", "-o", "json"]).ended(0).json();
    assert!(array(&diff["configMaps"]).iter().all(|map| map["state"] == "same"), "{diff}");
}

#[test]
fn the_outage_is_seen_repaired_and_undone() {
    let Some(mut bed) = outage_in_long_back_off() else { return };
    let (tool, admin) = (Tool::on(&bed), Admin::of(&bed));
    let broken = admin.config_map(JOB_CONFIG);
    let (good_revision, head) = (good_revision(&bed), bed.fact("brokenRevision").to_owned());
    first_minute(&bed, &tool.status(1), &good_revision);

    // The repair, watched by somebody else every 5 ms.
    let before = bed.audit_of_oncall().len();
    let poller = Poller::start(&bed, JOB_CONFIG);
    let sync = tool.plan("sync-config");
    tool.apply(&sync, "1").ended(0).says(&["prow-breakglass plan kick"]);
    let kick = tool.plan("kick");
    let kicked = tool.apply(&kick, "2").ended(0);
    assert_eq!(kicked.lines().last().expect("lines")["verified"], true, "{}", kicked.out);

    let status = tool.status(1);
    assert_eq!(status["verdict"]["state"], "healthy", "{status}");
    let left: Vec<(String, String)> = summary(&status).into_iter().filter(|(_, severity)| severity != "info").collect();
    assert_eq!(left, [("revision-would-not-load".to_owned(), "warn".to_owned())], "{status}");
    assert_eq!(findings(&status, "revision-would-not-load")[0]["subjects"][0]["name"], *head);
    let hook = component(&status, "hook");
    assert_eq!((&hook["ready"], &hook["desired"]), (&2.into(), &2.into()));
    assert_eq!(status["revision"]["revision"]["id"], *good_revision);
    let repaired = admin.config_map(JOB_CONFIG);
    assert_eq!(as_in_git(&bed, &good_revision, &repaired), repaired.values, "what git asks for is live");
    assert_eq!((&repaired.labels, &repaired.annotations), (&broken.labels, &broken.annotations));

    // Back to what was there, byte for byte, and forth again: an undo is a run like any other.
    let undo = tool.undo("r-0001");
    tool.apply(&undo, "1").ended(0);
    assert_eq!(admin.config_map(JOB_CONFIG), broken, "byte for byte");
    assert_eq!(tool.run_document("r-0003")["undoes"], "r-0001");
    let status = tool.status(1);
    assert_eq!(status["verdict"]["next"], next_sync(&status), "{status}");
    assert_eq!(component(&status, "hook")["ready"], 2, "hook runs on what it loaded");
    let at_risk = findings(&status, "config-at-risk-on-restart");
    assert_eq!(at_risk.len(), 1, "{status}");
    assert_eq!(at_risk[0]["basis"], "fact", "the journal remembers: {status}");
    assert_eq!(at_risk[0]["subjects"].as_array().map(Vec::len), Some(RUNNING.len() + 2), "hook too, and the map");
    let again = tool.undo("r-0003");
    tool.apply(&again, "1").ended(0);
    assert_eq!(admin.config_map(JOB_CONFIG), repaired);

    let polled = poller.stop();
    assert_eq!(polled.errors, Vec::<String>::new(), "never missing");
    let seen = [broken.clone(), repaired.clone(), broken, repaired];
    assert!(polled.contents == seen, "never half-written: {} contents", polled.contents.len());
    assert!(polled.looks > 200, "{} looks", polled.looks);

    let map = format!("update configmaps {JOB_CONFIG}");
    let mut written = written_since(&bed, before);
    written.iter_mut().filter(|entry| entry.starts_with("delete pods hook-")).for_each(|entry| entry.truncate(16));
    let kicked = || "delete pods hook".to_owned();
    assert_eq!(written, [map.clone(), kicked(), kicked(), map.clone(), map.clone()]);
    journal_joins_audit(&bed, &tool, before);

    // The day after: the fix is merged.
    let fix = bed.merge("fix");
    let status = tool.status(1);
    assert!(findings(&status, "revision-would-not-load").is_empty(), "{status}");
    assert_eq!(findings(&status, "configmap-drift").len(), 1, "{status}");
    assert_eq!(status["revision"]["revision"]["id"], *fix);
    let sync = tool.plan("sync-config");
    tool.apply(&sync, "1").ended(0);
    let status = tool.status(0);
    assert_eq!(status["verdict"]["state"], "healthy", "{status}");
    assert!(summary(&status).iter().all(|(_, severity)| severity == "info"), "{status}");
    let live = admin.config_map(JOB_CONFIG);
    assert_eq!(as_in_git(&bed, &fix, &live), live.values);
}

#[test]
fn a_revert_is_not_enough_and_the_fix_heals_without_a_kick() {
    let Some(mut bed) = Bed::start("2019-01-23") else { return };
    let tool = Tool::on(&bed);
    let good_revision = good_revision(&bed);

    let revert = bed.merge("revert");
    let status = tool.status(1);
    assert_eq!(status["verdict"]["state"], "broken", "{status}");
    assert_eq!(status["revision"]["revision"]["id"], *good_revision, "{status}");
    let would_not_load = findings(&status, "revision-would-not-load");
    assert_eq!(would_not_load.len(), 1, "{status}");
    assert_eq!(would_not_load[0]["subjects"][0]["name"], *revert);

    let fix = bed.merge("fix");
    let status = tool.status(1);
    assert_eq!(status["verdict"]["state"], "broken", "{status}");
    assert_eq!(findings(&status, "configmap-drift").len(), 1, "{status}");
    assert_eq!(status["revision"]["revision"]["id"], *fix, "{status}");
    assert_eq!(status["verdict"]["next"], next_sync(&status));

    let sync = tool.plan("sync-config");
    tool.apply(&sync, "1").ended(0);
    // Its back-off is a tenth of the kubelet's here.
    block_on(eventually("hook being well by itself", async || tool.run(&["status", "-o", "json"]).code == Some(0)));
    assert_eq!(tool.status(0)["verdict"]["state"], "healthy");
}

/// Line 2 of the acceptance list: the first minute, when git's head still is the broken commit.
fn first_minute(bed: &Bed, status: &Value, good_revision: &str) {
    let error = fatal_error(bed);
    let verdict = &status["verdict"];
    assert_eq!(verdict["state"], "broken", "{status}");
    let words = verdict["summary"].as_str().expect("a summary");
    assert!(words.contains("hook") && words.contains(&format!("{NAMESPACE}/{JOB_CONFIG}")), "{words}");

    let first = &status["findings"][0];
    assert_eq!((&first["kind"], &first["basis"]), (&"config-load-failure".into(), &"fact".into()), "{status}");
    assert_eq!((&first["subjects"][0]["kind"], &first["subjects"][0]["name"]), (&"Deployment".into(), &"hook".into()));
    for part in [&*error, &format!("{NAMESPACE}/{JOB_CONFIG}"), PRESETS] {
        assert!(first["summary"].as_str().is_some_and(|words| words.contains(part)), "{part} in {first}");
    }
    assert_eq!(first["repairs"], serde_json::json!(["sync-config"]));
    assert_eq!(component(status, "hook")["lastFatal"]["error"], *error);

    let endpoints = findings(status, "no-ready-endpoints");
    assert_eq!(endpoints.len(), 1, "{status}");
    assert!(array(&endpoints[0]["subjects"]).iter().any(|subject| subject["name"] == "hook"), "{status}");

    let at_risk = findings(status, "config-at-risk-on-restart");
    assert_eq!(at_risk.len(), 1, "{status}");
    let deployments = array(&at_risk[0]["subjects"]).iter().filter(|subject| subject["kind"] == "Deployment");
    let named: BTreeSet<&str> = deployments.filter_map(|subject| subject["name"].as_str()).collect();
    assert_eq!(named, BTreeSet::from(RUNNING));
    let words = at_risk[0]["summary"].as_str().expect("a summary");
    assert!(RUNNING.iter().all(|name| words.contains(name)), "{words}");

    let would_not_load = findings(status, "revision-would-not-load");
    assert_eq!(would_not_load.len(), 1, "{status}");
    assert_eq!(would_not_load[0]["subjects"][0]["name"], *bed.fact("brokenRevision"));
    assert_eq!(status["revision"]["revision"]["id"], *good_revision, "{status}");
    assert_eq!((&verdict["next"], &verdict["repair"]), (&next_sync(status).into(), &"sync-config".into()));
}

/// The newest commit before the refactoring that touched what the maps want.
fn good_revision(bed: &Bed) -> String {
    let touched = ["log", "-1", "--format=%H", bed.fact("goodRevision"), "--", "config"];
    git(&bed.repository(), &touched).trim().to_owned()
}

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git").arg("-C").arg(dir).args(args).output().expect("start git");
    assert!(output.status.success(), "git {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("git's output is UTF-8")
}

/// job-config as a revision has it; `VERSION`, which is not in git, as it is.
fn as_in_git(bed: &Bed, revision: &str, live: &Content) -> std::collections::BTreeMap<String, Vec<u8>> {
    let repository = bed.repository();
    let paths = git(&repository, &["ls-tree", "-r", "--name-only", revision, "config/jobs"]);
    let mut values: std::collections::BTreeMap<String, Vec<u8>> = paths
        .lines()
        .map(|path| {
            let content = git(&repository, &["show", &format!("{revision}:{path}")]);
            (path.rsplit('/').next().unwrap_or(path).to_owned(), content.into_bytes())
        })
        .collect();
    values.extend(live.values.get("VERSION").map(|version| ("VERSION".to_owned(), version.clone())));
    values
}

/// What the real hook said when it died.
fn fatal_error(bed: &Bed) -> String {
    block_on(async {
        let pods: Api<k8s_openapi::api::core::v1::Pod> =
            Api::namespaced(client(&bed.admin_kubeconfig()).await, NAMESPACE);
        let hooks = pods.list(&ListParams::default().labels("app=hook")).await.expect("the pods");
        let name = hooks.items[0].metadata.name.clone().expect("a name");
        let previous = LogParams { previous: true, ..LogParams::default() };
        let log = pods.logs(&name, &previous).await.expect("the previous log");
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let fatal = lines.rfind(|line| line["level"] == "fatal").expect("a fatal line");
        fatal["error"].as_str().expect("an error").to_owned()
    })
}

/// The next step that writes the revision that a status proposes.
fn next_sync(status: &Value) -> String {
    let revision = &status["revision"]["revision"];
    let id = revision["id"].as_str().expect("a revision");
    format!("plan sync-config to {} \"{}\"", &id[..7], revision["subject"].as_str().unwrap_or_default())
}

fn component<'a>(status: &'a Value, name: &str) -> &'a Value {
    let mut all = array(&status["components"]).iter();
    all.find(|component| component["name"] == name).unwrap_or_else(|| panic!("no {name} in {status}"))
}

#[track_caller]
fn array(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

/// Each step that the journal says was sent is one request of the API server's audit log, and each write of the audit
/// log is a step.
fn journal_joins_audit(bed: &Bed, tool: &Tool, before: usize) {
    let runs = tool.run(&["run", "list", "-o", "json"]).ended(0).json();
    let steps: BTreeSet<(String, String)> = array(&runs["runs"])
        .iter()
        .flat_map(|run| array(&run["steps"]))
        .map(|step| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            assert_eq!(step["outcome"], "done", "{step}");
            (text(&step["auditID"]), text(&step["object"]["name"]))
        })
        .collect();
    let entries = bed.audit_of_oncall();
    let written = entries[before..].iter().filter(|entry| entry.writes());
    let written: BTreeSet<(String, String)> = written.map(|entry| (entry.id.clone(), entry.name.clone())).collect();
    assert_eq!(steps, written);
    assert_eq!(steps.len(), 5);
}
