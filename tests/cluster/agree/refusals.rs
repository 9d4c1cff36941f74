//! Whom and what a server refuses, and in which words.

use serde_json::{Value, json};

use super::server::{MERGE, STRATEGIC, at, config_map, name, path};
use super::subject::{PROW, Subject, TEST_PODS, Who};
use super::transcript::Transcript;

pub async fn not_found(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    for what in [
        at("configmaps", PROW, "agree-absent"),
        at("pods", TEST_PODS, "agree-absent"),
        at("deployments", PROW, "agree-absent"),
        at("prowjobs", PROW, "agree-absent"),
        "/api/v1/namespaces/agree-absent".to_owned(),
        "/apis/prow.k8s.io/v1/namespaces/prow/agreements".to_owned(),
        "/apis/agree.example.com/v1/agreements".to_owned(),
        at("configmaps", "agree-absent", "config"),
    ] {
        let answer = server.get(&what).await;
        t.told(&format!("GET {what}"), &answer);
        // Of what is no API at all there is a page, no Status.
        assert_eq!(answer.code, 404, "{}", answer.text);
    }
    t.told("a list of a namespace that is not there", &server.get(&path("configmaps", "agree-absent")).await);
    let nowhere = server.post(&path("configmaps", "agree-absent"), &config_map("agree", "1")).await;
    t.told("created in a namespace that is not there", &nowhere);
    nowhere.refused(404, "NotFound");
    let exists = server.post(&path("configmaps", PROW), &config_map("config", "1")).await;
    t.told("created where one is", &exists);
    exists.refused(409, "AlreadyExists");
    let odd = server.ask(http::Method::PUT, &path("configmaps", PROW), "application/json", Vec::new()).await;
    t.told("PUT of a whole list", &odd);
    odd.refused(405, "MethodNotAllowed");
    let odd = server.ask(http::Method::POST, &at("configmaps", PROW, "config"), "application/json", Vec::new()).await;
    t.told("POST of a name", &odd);
    odd.refused(405, "MethodNotAllowed");
}

pub async fn validation(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let maps = path("configmaps", PROW);
    let with = |data: Value| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "agree-bad" }, "data": data });
    let binary = |data: Value| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "agree-bad" }, "binaryData": data });
    for (what, object) in [
        ("a key with a slash", with(json!({ "jobs/a.yaml": "1" }))),
        ("a key of a dot", with(json!({ ".": "1" }))),
        ("a key of two dots", with(json!({ "..": "1" }))),
        ("a key that begins with two dots", with(json!({ "..data": "1" }))),
        ("a key that is too long", with(json!({ "k".repeat(254): "1" }))),
        // Of two in one part, the real one tells in any order.
        ("two bad keys", {
            let mut map = with(json!({ "a b": "1" }));
            map["binaryData"] = json!({ "c d": "MQ==" });
            map
        }),
        ("a byte too many", with(json!({ "k": "x".repeat(1024 * 1024 + 1) }))),
        ("a key in both parts", {
            let mut map = with(json!({ "k": "1" }));
            map["binaryData"] = json!({ "k": "MQ==" });
            map
        }),
        ("a name in capitals", config_map("Agree", "1")),
        ("no name", config_map("", "1")),
        ("a bad label", {
            let mut map = with(json!({}));
            map["metadata"]["labels"] = json!({ "a": "no value!" });
            map
        }),
    ] {
        let answer = server.post(&format!("{maps}?dryRun=All"), &object).await;
        t.told(what, &answer);
        answer.refused(422, "Invalid");
    }
    for (what, object) in [
        ("as many bytes as may be", with(json!({ "k": "x".repeat(1024 * 1024) }))),
        ("as many bytes as may be, binary", binary(json!({ "k": "A".repeat(1024 * 1024 / 3 * 4) }))),
        ("no data", json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "agree-bad" } })),
        ("no kind", json!({ "metadata": { "name": "agree-bad" }, "data": { "k": "1" } })),
    ] {
        let answer = server.post(&format!("{maps}?dryRun=All"), &object).await;
        t.told(what, &answer);
    }
    for (what, object) in [
        ("no base64", binary(json!({ "k": "!!" }))),
        ("a number for a value", with(json!({ "k": 1 }))),
        ("a list for data", with(json!(["k"]))),
    ] {
        let answer = server.post(&format!("{maps}?dryRun=All"), &object).await;
        // In which words depends on the decoder.
        t.note(what, (answer.code, &answer.body["reason"]));
        answer.refused(400, "BadRequest");
    }
    let huge = server.post(&maps, &with(json!({ "k": "x".repeat(3 * 1024 * 1024) }))).await;
    t.told("more than a request may have", &huge);
    huge.refused(413, "RequestEntityTooLarge");
    let garbage = server.ask(http::Method::POST, &maps, "application/json", b"{nonsense".to_vec()).await;
    t.note("no JSON", (garbage.code, &garbage.body["reason"]));
    let mut frozen = config_map("agree-frozen", "1");
    frozen["immutable"] = json!(true);
    server.post(&maps, &frozen).await.ok();
    frozen["data"]["k"] = json!("2");
    let answer = server.put(&at("configmaps", PROW, "agree-frozen"), &frozen).await;
    t.told("a change of an immutable one", &answer);
    answer.refused(422, "Invalid");
    frozen["data"]["k"] = json!("1");
    frozen["immutable"] = json!(false);
    t.told("an immutable one made mutable", &server.put(&at("configmaps", PROW, "agree-frozen"), &frozen).await);
}

pub async fn validation_of_workloads(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let one = format!("{}?dryRun=All", at("deployments", PROW, "tide"));
    let containers = |containers: Value| json!({ "spec": { "template": { "spec": { "containers": containers } } } });
    let empty = server.patch(&one, STRATEGIC, &containers(json!([{ "name": "tide", "image": "" }]))).await;
    t.told("no image", &empty);
    empty.refused(422, "Invalid");
    let added = server.patch(&one, STRATEGIC, &containers(json!([{ "name": "other" }]))).await;
    t.told("a container without an image", &added);
    added.refused(422, "Invalid");
    let selector = json!({ "spec": { "selector": { "matchLabels": { "app": "other" } } } });
    let moved = server.patch(&one, MERGE, &selector).await;
    // The server puts the whole selector into its words as Go prints it.
    t.note("another selector", (moved.code, &moved.body["reason"]));
    moved.refused(422, "Invalid");
    let negative = server.patch(&one, MERGE, &json!({ "spec": { "replicas": -1 } })).await;
    t.told("fewer replicas than none", &negative);
    negative.refused(422, "Invalid");

    let pods = path("pods", TEST_PODS);
    let pod =
        |spec: Value| json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "agree-pod" }, "spec": spec });
    for (what, spec) in [
        ("no containers", json!({ "containers": [] })),
        ("a bad name of a container", json!({ "containers": [{ "name": "Test_1", "image": "golang:1.11" }] })),
    ] {
        let answer = server.post(&format!("{pods}?dryRun=All"), &pod(spec)).await;
        t.told(what, &answer);
        answer.refused(422, "Invalid");
    }
    let good = pod(json!({ "schedulerName": "nobody", "containers": [{ "name": "test", "image": "golang:1.11" }] }));
    let made = server.post(&pods, &good).await.ok();
    t.hide(name(&made), "<pod>");
    let command = json!({ "spec": { "containers": [{ "name": "test", "command": ["true"] }] } });
    let answer = server.patch(&at("pods", TEST_PODS, "agree-pod"), STRATEGIC, &command).await;
    t.note("another command of a pod", (answer.code, &answer.body["reason"]));
    answer.refused(422, "Invalid");
    let image = json!({ "spec": { "containers": [{ "name": "test", "image": "golang:1.12" }] } });
    let answer = server.patch(&at("pods", TEST_PODS, "agree-pod"), STRATEGIC, &image).await;
    t.told_of("another image of a pod", &answer, &["/spec/containers/0/image"]);
    answer.ok();
}

pub async fn forbidden(subject: &Subject, t: &mut Transcript) {
    let server = subject.server(Who::NoRollback).await;
    let image = json!({ "spec": { "paused": true } });
    for dry in ["", "?dryRun=All"] {
        let answer = server.patch(&format!("{}{dry}", at("deployments", PROW, "hook")), STRATEGIC, &image).await;
        t.told(&format!("a rollback {dry}"), &answer);
        answer.refused(403, "Forbidden");
    }
    let absent = server.patch(&at("deployments", PROW, "agree-absent"), STRATEGIC, &image).await;
    t.told("of what is not there", &absent);
    absent.refused(403, "Forbidden");
    for (what, answer) in [
        ("a list", server.get(&path("secrets", PROW)).await),
        ("a list everywhere", server.get("/api/v1/secrets").await),
        ("a watch", server.get(&format!("{}?watch=true", path("secrets", PROW))).await),
        ("one", server.get(&at("secrets", PROW, "oauth-token")).await),
        ("one over the whole cluster", server.patch("/api/v1/namespaces/prow", MERGE, &json!({})).await),
        ("creation", server.post(&path("pods", TEST_PODS), &json!({ "metadata": { "name": "agree" } })).await),
        ("deletion", server.delete_with(&at("pods", "default", "agree"), &json!({ "dryRun": ["All"] })).await),
    ] {
        t.told(what, &answer);
        answer.refused(403, "Forbidden");
    }
    let allowed = server.get(&at("deployments", PROW, "hook")).await;
    t.told("what is allowed", &allowed);
    allowed.ok();

    let server = subject.server(Who::NoLogs).await;
    let hook = name(&server.items(&format!("{}?labelSelector=app=hook", path("pods", PROW))).await[0]).to_owned();
    t.hide(&hook, "<pod>");
    let answer = server.log(PROW, &hook, "tailLines=1").await;
    t.told("a log", &answer);
    answer.refused(403, "Forbidden");
}

pub async fn unauthorized(subject: &Subject, t: &mut Transcript) {
    let server = subject.server(Who::Expired).await;
    for (what, answer) in [
        ("a list", server.get(&path("pods", PROW)).await),
        ("a write", server.patch(&at("configmaps", PROW, "config"), MERGE, &json!({})).await),
        ("a path that is none", server.get("/apis/agree.example.com/v1/agreements").await),
    ] {
        t.told(what, &answer);
        answer.refused(401, "Unauthorized");
    }
}

/// "May I", as the program asks before it plans.
pub async fn access_reviews(subject: &Subject, t: &mut Transcript) {
    for who in [Who::NoRollback, Who::NoLogs] {
        let server = subject.server(who).await;
        for (verb, group, resource, subresource, namespace) in [
            ("patch", "apps", "deployments", "", PROW),
            ("get", "", "pods", "log", PROW),
            ("get", "", "pods", "log", ""),
            ("update", "", "configmaps", "", PROW),
            ("delete", "", "pods", "", TEST_PODS),
            ("delete", "", "pods", "", "default"),
            ("list", "", "secrets", "", ""),
            ("list", "prow.k8s.io", "prowjobs", "", ""),
        ] {
            let mut attributes = json!({ "verb": verb, "group": group, "resource": resource });
            for (field, value) in [("subresource", subresource), ("namespace", namespace)] {
                if !value.is_empty() {
                    attributes[field] = json!(value);
                }
            }
            let review = json!({
                "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                "spec": { "resourceAttributes": attributes },
            });
            for dry in ["", "?dryRun=All"] {
                let url = format!("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews{dry}");
                let answer = server.post(&url, &review).await;
                let what = format!("{who:?}: {verb} {resource}/{subresource} in {namespace:?}{dry}");
                t.told_of(&what, &answer, &["/status/allowed"]);
                answer.ok();
            }
        }
        let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
        let answer = server.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await;
        t.told_of("who am I", &answer, &["/status/userInfo/username"]);
    }
}
