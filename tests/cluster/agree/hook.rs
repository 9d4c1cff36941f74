//! What a ConfigMap does to hook: nothing while it runs, everything when it starts.

use serde_json::{Value, json};

use super::reads::pod_of;
use super::server::{Server, at, name, path, text, version};
use super::subject::{PROW, Subject};
use super::transcript::Transcript;

const SOON: u32 = 90;
const STATUS: &str = "/status/containerStatuses/0";

async fn hooks(server: &Server) -> Vec<Value> {
    let pods = server.items(&format!("{}?labelSelector=app%3Dhook", path("pods", PROW))).await;
    pods.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect()
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["ready"] == true
}

async fn all_ready(subject: &Subject, server: &Server) {
    let ready = async || {
        let hooks = hooks(server).await;
        (hooks.len() == 2 && hooks.iter().all(is_ready)).then_some(())
    };
    subject.until("hook is ready", SOON, ready).await;
}

/// Takes all of its pods away; others come.
async fn kick(server: &Server) {
    for pod in hooks(server).await {
        let options = json!({ "preconditions": { "uid": pod["metadata"]["uid"] } });
        server.delete_with(&at("pods", PROW, name(&pod)), &options).await.ok();
    }
}

/// Writes a ConfigMap back as the program does, with one value changed.
async fn put(server: &Server, map: &str, part: &str, key: &str, value: Value) -> Value {
    let one = at("configmaps", PROW, map);
    let mut object = server.get(&one).await.ok();
    assert!(!version(&object).is_empty());
    for other in ["data", "binaryData"] {
        if let Some(values) = object[other].as_object_mut() {
            values.remove(key);
        }
    }
    object[part][key] = value;
    server.put(&one, &object).await.ok()
}

async fn value(server: &Server, map: &str, key: &str) -> String {
    server.get(&at("configmaps", PROW, map)).await.ok()["data"][key].as_str().expect("a text").to_owned()
}

/// A pod of hook in a crash loop, once it has crashed more than once.
async fn crash_loop(subject: &Subject, server: &Server) -> Value {
    let crashed = async || {
        hooks(server).await.into_iter().find(|pod| {
            let status = &pod["status"]["containerStatuses"][0];
            status["state"]["waiting"]["reason"] == "CrashLoopBackOff" && status["restartCount"].as_i64() >= Some(1)
        })
    };
    subject.until("hook crash-loops", SOON, crashed).await
}

fn tell_crash(t: &mut Transcript, pod: &Value) {
    t.hide(name(pod), "<pod>");
    t.hide(text(pod, "/metadata/uid"), "<uid>");
    let of = |field: &str| pod.pointer(&format!("{STATUS}/{field}")).cloned().unwrap_or_default();
    t.note("phase", &pod["status"]["phase"]);
    t.note("waits because", of("state/waiting/reason"));
    let message = of("state/waiting/message");
    // How long it waits depends on how often it has crashed.
    let message = message.as_str().unwrap_or_default();
    t.note("in the words", message.split_once(" restarting").map(|(_, rest)| rest));
    for field in ["ready", "started", "lastState/terminated/exitCode", "lastState/terminated/reason"] {
        t.note(field, of(field));
    }
    let ready =
        pod["status"]["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == "Ready");
    t.show("Ready", ready.expect("a condition"), &["/status", "/reason", "/message"]);
}

/// The line with which it ended, without its time.
async fn tell_line(server: &Server, t: &mut Transcript, pod: &str) {
    for query in ["previous=true&tailLines=1", "previous=true&tailLines=1&container=hook"] {
        let log = server.log(PROW, pod, query).await;
        assert_eq!(log.code, 200, "{}", log.text);
        let mut line = log.body.clone();
        assert!(line["time"].is_string(), "{}", log.text);
        line["time"] = Value::Null;
        // Where it was built differs.
        let file = line["file"].as_str().unwrap_or_default();
        line["file"] = json!(file.split_once("/cmd/").map(|(_, file)| file));
        t.note("the last line", line);
    }
    let cut = server.log(PROW, pod, "previous=true&tailLines=1&limitBytes=20").await;
    assert_eq!(cut.text.len(), 20, "{}", cut.text);
    t.note("cut", cut.text);
    let all = server.log(PROW, pod, "previous=true").await;
    t.note("the log ends with that line", all.text.lines().last().is_some_and(|line| line.contains("\"fatal\"")));
    t.told("of a container that is not there", &server.log(PROW, pod, "container=agree").await);
}

pub async fn duplicated_presets(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    all_ready(subject, &server).await;
    let hook = pod_of(&server, PROW, "hook").await.expect("a hook");
    t.hide(name(&hook), "<hook>");
    t.told("no life before this one", &server.log(PROW, name(&hook), "previous=true").await);
    t.told("the log of no pod", &server.log(PROW, "agree-absent", "previous=true").await);

    let good = value(&server, "job-config", "aws-presets.yaml").await;
    let bad = include_str!("../bed/config/aws-presets-refactored.yaml");
    let written = put(&server, "job-config", "data", "aws-presets.yaml", json!(bad)).await;
    t.show("written", &written, &["/kind"]);
    // Nobody restarts for it: what runs goes on.
    assert!(
        hooks(&server)
            .await
            .iter()
            .all(|pod| is_ready(pod) && pod["status"]["containerStatuses"][0]["restartCount"] == 0)
    );
    kick(&server).await;
    let pod = crash_loop(subject, &server).await;
    tell_crash(t, &pod);
    tell_line(&server, t, name(&pod)).await;
    let deployment = async || {
        let hook = server.get(&at("deployments", PROW, "hook")).await.ok();
        let available = hook["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == "Available")?.clone();
        (available["status"] == "False").then_some(available)
    };
    let available = subject.until("hook is not available", SOON, deployment).await;
    t.show("Available", &available, &["/status", "/reason", "/message"]);

    put(&server, "job-config", "data", "aws-presets.yaml", json!(good)).await;
    kick(&server).await;
    all_ready(subject, &server).await;
    t.note("healed by the old content and a kick", hooks(&server).await.len());
}

/// The plugins are not inflated by Prow.
pub async fn gzipped_plugins(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    all_ready(subject, &server).await;
    let good = value(&server, "plugins", "plugins.yaml").await;
    // An empty file, as gzip writes it.
    put(&server, "plugins", "binaryData", "plugins.yaml", json!("H4sIAAAAAAAA/wMAAAAAAAAAAAA=")).await;
    kick(&server).await;
    let pod = crash_loop(subject, &server).await;
    tell_crash(t, &pod);
    tell_line(&server, t, name(&pod)).await;
    put(&server, "plugins", "data", "plugins.yaml", json!(good)).await;
    kick(&server).await;
    all_ready(subject, &server).await;
    t.note("healed", hooks(&server).await.len());
}
