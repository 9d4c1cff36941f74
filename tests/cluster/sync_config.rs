//! `sync-config` over several ConfigMaps: killed at every step, what it writes over a good configuration by an override, and
//! what it makes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::support::{Admin, Content, JOB_CONFIG, NAMESPACE, Poller, Ran, Tool, block_on, eventually, written_since};

const SIGABRT: i32 = 6;
const MAPS: [&str; 3] = ["config", JOB_CONFIG, "plugins"];
const KEYS: [&str; 3] = ["config.yaml", "presets.yaml", "plugins.yaml"];

#[test]
fn every_content_is_the_old_or_the_new_and_what_is_refused_is_taken_back() {
    let Some(mut bed) = Bed::start("healthy") else { return };
    let (tool, admin) = (Tool::on(&bed), Admin::of(&bed));
    tool.status(0);
    let good = MAPS.map(|name| admin.config_map(name));
    killed_at_every_step(&bed, &tool, &admin, &good);
    what_is_refused_is_taken_back(&mut bed, &tool, &admin, &good);
    what_is_made_is_taken_away(&tool, &admin);
}

/// Somebody edits all three by hand.
fn edit(admin: &Admin, good: &[Content; 3]) -> [Content; 3] {
    for ((name, key), content) in MAPS.iter().zip(KEYS).zip(good) {
        let text = String::from_utf8(content.values[key].clone()).expect("YAML");
        let patch = json!({ "data": { key: format!("{text}# by hand\n") } });
        block_on(admin.patch(&format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{name}"), &patch));
    }
    MAPS.map(|name| admin.config_map(name))
}

fn killed_at_every_step(bed: &Bed, tool: &Tool, admin: &Admin, good: &[Content; 3]) {
    let pollers = MAPS.map(|name| Poller::start(bed, name));
    let mut edited = None;
    for (step, fault) in (1..=3).flat_map(|step| ["after-intent", "after-send"].map(|fault| (step, fault))) {
        let edits = edited.insert(edit(admin, good)).clone();
        let before = bed.audit_of_oncall().len();
        let plan = tool.plan("sync-config");
        let killed = tool.run_with_fault(&tool.apply_args(&plan, "3"), &format!("{fault}:{step}"));
        assert_eq!(killed.signal, Some(SIGABRT), "{killed:?}");
        let landed = if fault == "after-send" { step } else { step - 1 };
        let now = MAPS.map(|name| admin.config_map(name));
        let written = written_since(bed, before);
        assert_eq!(written.len(), landed, "{fault}:{step}: {written:?}");
        for (n, name) in MAPS.iter().enumerate() {
            let is_written = written.contains(&format!("update configmaps {name}"));
            assert_eq!(now[n], if is_written { good[n].clone() } else { edits[n].clone() }, "{fault}:{step}: {name}");
        }
        let runs = tool.run(&["run", "list", "-o", "json"]).ended(0).json();
        let run = runs["runs"][0]["run"].as_str().expect("a run").to_owned();
        let left = (3 - landed).to_string();
        let context = tool.context.as_str();
        let resume = ["run", "resume", &run, "--execute", "--context", context, "--expect", &left, "--settle", "1s"];
        let began = Instant::now();
        tool.run(&resume).ended(0).says(&["verified"]);
        eprintln!("{fault}:{step}: resumed and verified within {:.1} s", began.elapsed().as_secs_f32());
        assert_eq!(&MAPS.map(|name| admin.config_map(name)), good, "{fault}:{step}");
        assert_eq!(written_since(bed, before).len(), 3, "each once");
    }
    let edited = edited.expect("six rounds");
    for ((poller, good), edited) in pollers.into_iter().zip(good).zip(&edited) {
        let polled = poller.stop();
        assert_eq!(polled.errors, Vec::<String>::new(), "never missing");
        assert!(polled.contents.iter().all(|content| content == good || content == edited), "never half-written");
        assert!(polled.contents.len() >= 13 && polled.looks > 200, "{} of {}", polled.contents.len(), polled.looks);
    }
}

fn what_is_refused_is_taken_back(bed: &mut Bed, tool: &Tool, admin: &Admin, good: &[Content; 3]) {
    let head = bed.merge("refactor");
    let file = tool.file("bad.json");
    let plan = ["plan", "sync-config", "--revision", &head, "-f", &file];
    let before = bed.audit_of_oncall().len();
    tool.run(&plan).ended(3).says(&["would not load", "--override would-not-load"]);
    assert_eq!(written_since(bed, before), Vec::<String>::new(), "refused before any write");
    tool.run(&[&plan[..], &["--override", "would-not-load", "--reason", "a drill"]].concat()).ended(0);

    // Hook restarts while the tool watches what it wrote: a crash loop, or the error of one that runs, is told at once.
    let mut watching = tool.command(&tool.apply_args(&file, "1")).spawn().expect("start the program");
    block_on(eventually("the bad configuration to be live", async || {
        admin.get(&format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{JOB_CONFIG}")).await["data"]
            != json!(texts(&good[1]))
    }));
    let mut crash = async || {
        let pods = admin.list(&format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app=hook")).await;
        let waits =
            |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff";
        let all = pods.iter().all(waits);
        if !all {
            bed.command("kill-containers hook-");
        }
        all
    };
    block_on(eventually("hook in a crash loop", &mut crash));
    let within = Instant::now() + Duration::from_secs(60);
    while watching.try_wait().expect("the program").is_none() {
        assert!(Instant::now() < within, "the refusal is not seen");
        std::thread::yield_now();
    }
    let watched = Ran::of(&["apply"], watching.wait_with_output().expect("its words"));
    let run =
        tool.run(&["run", "list", "-o", "json"]).ended(0).json()["runs"][0]["run"].as_str().expect("a run").to_owned();
    let undo = format!("prow-breakglass undo {run} --context {}", tool.context);
    let watched = watched.ended(4).says(&["REFUSED", "duplicated preset", &undo, "plan sync-config --last-loaded"]);
    assert_eq!(watched.lines().last().expect("lines")["verified"], false);
    let document = tool.run_document(&run);
    assert_eq!(document["overrides"][0]["reason"], "a drill", "{document}");
    let status = tool.status(1);
    assert_eq!(status["verdict"]["state"], "broken", "{status}");

    // Both roads lead to the same bytes; one of them is gone.
    let restore = tool.file("restore.json");
    let planned = tool.run(&["plan", "sync-config", "--last-loaded", "-f", &restore]).ended(0);
    // Not all that reads it was seen to load it: a CronJob's program has not run.
    assert!(planned.out.contains("GUESS it loads") && planned.out.contains("branchprotector"), "{}", planned.out);
    let undo = tool.undo(&run);
    tool.apply(&undo, "1").ended(0);
    assert_eq!(admin.config_map(JOB_CONFIG), good[1], "byte for byte");
    tool.run(&tool.apply_args(&restore, "1")).ended(3).says(&["holds what the plan would write"]);
    block_on(eventually("hook Ready again", async || {
        let hook = admin.get(&format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/hook")).await;
        hook["status"]["readyReplicas"] == 2
    }));
}

fn texts(content: &Content) -> std::collections::BTreeMap<String, String> {
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).expect("YAML");
    content.values.iter().map(|(key, bytes)| (key.clone(), text(bytes))).collect()
}

fn what_is_made_is_taken_away(tool: &Tool, admin: &Admin) {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/plugins");
    block_on(admin.delete(&path));
    let file = tool.file("made.json");
    let planned = tool.run(&["plan", "sync-config", "--map", "plugins", "-f", &file]).ended(0);
    assert!(planned.out.contains("undo: delete it"), "{}", planned.out);
    tool.apply(&file, "1").ended(0);
    let made = admin.config_map("plugins");
    assert_eq!(made.labels["app.kubernetes.io/component"], "updateconfig-plugin");
    let newest =
        || tool.run(&["run", "list", "-o", "json"]).ended(0).json()["runs"][0]["run"].as_str().map(str::to_owned);
    let undo = tool.undo(&newest().expect("a run"));
    tool.apply(&undo, "1").ended(0);
    let names = block_on(admin.list(&format!("/api/v1/namespaces/{NAMESPACE}/configmaps")));
    assert!(!names.iter().any(|map| map["metadata"]["name"] == "plugins"), "taken away");
    let again = tool.undo(&newest().expect("a run"));
    tool.apply(&again, "1").ended(0);
    assert_eq!(admin.config_map("plugins"), made, "and taken back");
}
