//! Deleted pods: which are gone at once, and which linger.

use serde_json::{Value, json};

use super::server::{MERGE, Server, at, path, text, uid, version};
use super::subject::{PROW, Subject, TEST_PODS};
use super::transcript::Transcript;

const DELETION: &[&str] =
    &["/metadata/name", "/metadata/deletionGracePeriodSeconds", "/metadata/finalizers", "/status/phase"];

fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// A pod that no scheduler takes.
fn unscheduled(name: &str, finalizers: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "finalizers": finalizers },
        "spec": { "schedulerName": "nobody", "containers": [{ "name": "test", "image": "golang:1.11" }] },
    })
}

/// A pod that runs on the bed's own kubelet.
fn scheduled(name: &str, finalizers: &Value) -> Value {
    let mut pod = unscheduled(name, finalizers);
    pod["spec"]["schedulerName"] = json!("default-scheduler");
    pod["spec"]["nodeSelector"] = json!({ "bed/pool": "prow" });
    pod["spec"]["tolerations"] = json!([{ "key": "bed/pool", "value": "prow", "effect": "NoSchedule" }]);
    pod["spec"]["terminationGracePeriodSeconds"] = json!(7);
    pod["spec"]["restartPolicy"] = json!("Never");
    pod
}

async fn gone(subject: &Subject, server: &Server, one: &str) {
    let gone = async || (server.get(one).await.code == 404).then_some(());
    subject.until(&format!("{one} is gone"), 60, gone).await;
}

async fn running(subject: &Subject, server: &Server, one: &str) -> Value {
    let running = async || {
        let pod = server.get(one).await.ok();
        (text(&pod, "/status/phase") == "Running").then_some(pod)
    };
    subject.until(&format!("{one} runs"), 60, running).await
}

pub async fn that_nobody_scheduled(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let one = at("pods", TEST_PODS, "agree-unscheduled");
    let pod = server.post(&path("pods", TEST_PODS), &unscheduled("agree-unscheduled", &json!([]))).await;
    t.told_of("created", &pod, &["/status/phase", "/spec/nodeName", "/spec/restartPolicy", "/metadata/generation"]);
    let pod = pod.ok();
    let foreign = json!({ "preconditions": { "uid": "11111111-2222-4333-8444-555555555555" } });
    let refused = server.delete_with(&one, &foreign).await;
    t.told("of another uid", &refused);
    refused.refused(409, "Conflict");
    let dry = server.delete_with(&one, &json!({ "dryRun": ["All"] })).await;
    t.told_of("as a dry run", &dry, &DELETION[..1]);
    dry.ok();
    assert_eq!(version(&server.get(&one).await.ok()), version(&pod), "a dry run leaves it alone");
    let deleted = server.delete_with(&one, &json!({ "preconditions": { "uid": uid(&pod) } })).await;
    t.told_of("deleted", &deleted, DELETION);
    let deleted = deleted.ok();
    t.note("bears the time of its deletion", is_deleting(&deleted));
    server.get(&one).await.refused(404, "NotFound");
}

pub async fn with_a_finalizer(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let one = at("pods", TEST_PODS, "agree-finalizer");
    let holder = json!(["prow.x-k8s.io/gcsk8sreporter"]);
    let pod = server.post(&path("pods", TEST_PODS), &unscheduled("agree-finalizer", &holder)).await.ok();
    let deleted = server.delete_with(&one, &json!({ "preconditions": { "uid": uid(&pod) } })).await;
    t.told_of("deleted", &deleted, DELETION);
    assert!(is_deleting(&deleted.ok()));
    let lingers = server.get(&one).await;
    t.told_of("and still there", &lingers, DELETION);
    let before = lingers.ok();
    let again = server.delete_with(&one, &json!({ "preconditions": { "uid": uid(&pod) } })).await;
    t.told_of("deleted once more", &again, DELETION);
    let force = server.delete_with(&one, &json!({ "gracePeriodSeconds": 0 })).await;
    t.told_of("deleted with force", &force, DELETION);
    assert_eq!(version(&server.get(&one).await.ok()), version(&before), "which changes nothing");
    let more = json!({ "metadata": { "finalizers": ["a.example.com/b", "prow.x-k8s.io/gcsk8sreporter"] } });
    t.told("another finalizer now", &server.patch(&one, MERGE, &more).await);
    let exists = server.post(&path("pods", TEST_PODS), &unscheduled("agree-finalizer", &json!([]))).await;
    t.told("created while the old one lingers", &exists);
    exists.refused(409, "AlreadyExists");
    let free = server.patch(&one, MERGE, &json!({ "metadata": { "finalizers": null } })).await;
    t.told_of("without finalizers", &free, DELETION);
    free.ok();
    gone(subject, &server, &one).await;
}

pub async fn that_runs(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let one = at("pods", PROW, "agree-runs");
    server.post(&path("pods", PROW), &scheduled("agree-runs", &json!([]))).await.ok();
    let pod = running(subject, &server, &one).await;
    t.show(
        "it runs",
        &pod,
        &["/status/phase", "/status/containerStatuses/0/ready", "/status/containerStatuses/0/restartCount"],
    );
    subject.hold();
    let deleted = server.delete_with(&one, &json!({ "preconditions": { "uid": uid(&pod) } })).await;
    t.told_of("deleted", &deleted, DELETION);
    assert!(is_deleting(&deleted.ok()), "it lingers until its node has stopped it");
    let lingers = server.get(&one).await;
    t.told_of("and still there", &lingers, DELETION);
    let shorter = server.delete_with(&one, &json!({ "gracePeriodSeconds": 3 })).await;
    t.told_of("with less grace", &shorter, DELETION);
    let longer = server.delete_with(&one, &json!({ "gracePeriodSeconds": 60 })).await;
    t.told_of("with more grace", &longer, DELETION);
    subject.let_go();
    gone(subject, &server, &one).await;

    let forced = at("pods", PROW, "agree-forced");
    server.post(&path("pods", PROW), &scheduled("agree-forced", &json!([]))).await.ok();
    running(subject, &server, &forced).await;
    let deleted = server.delete_with(&forced, &json!({ "gracePeriodSeconds": 0 })).await;
    t.told_of("with force", &deleted, DELETION);
    deleted.ok();
    server.get(&forced).await.refused(404, "NotFound");
}

/// What a pod says in a watch while it goes.
pub async fn in_a_watch(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let pods = path("pods", TEST_PODS);
    let one = at("pods", TEST_PODS, "agree-watched");
    let ours = format!("{pods}?fieldSelector=metadata.name%3Dagree-watched");
    let from = version(&server.get(&ours).await.ok()).to_owned();
    let mut watch = server.watch(&format!("{ours}&resourceVersion={from}&timeoutSeconds=60")).await;
    server.post(&pods, &unscheduled("agree-watched", &json!(["agree.example.com/hold"]))).await.ok();
    server.delete(&one).await.ok();
    server.patch(&one, MERGE, &json!({ "metadata": { "finalizers": [] } })).await.ok();
    for event in watch.take(3).await {
        t.event(&event, &DELETION[..3]);
        t.note("  deleting", is_deleting(&event["object"]));
    }
    server.get(&one).await.refused(404, "NotFound");
}
