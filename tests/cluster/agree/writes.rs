//! How writes are guarded: preconditions, dry run, conflicts, deletions.

use serde_json::{Value, json};

use super::server::{JSON_PATCH, MERGE, STRATEGIC, at, config_map, path, text, uid, version};
use super::subject::{PROW, Subject, TEST_PODS};
use super::transcript::Transcript;

const FOREIGN: &str = "11111111-2222-4333-8444-555555555555";
const K: &[&str] = &["/data/k"];

pub async fn preconditions_of_put(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let (all, one) = (path("configmaps", PROW), at("configmaps", PROW, "agree-put"));
    let first = server.post(&all, &config_map("agree-put", "1")).await;
    t.told_of("created", &first, K);
    let first = first.ok();
    let with = |value: &str, metadata: Value| {
        let mut map = config_map("agree-put", value);
        for (field, value) in metadata.as_object().expect("metadata") {
            map["metadata"][field] = value.clone();
        }
        map
    };
    let put = server.put(&one, &with("2", json!({ "uid": uid(&first), "resourceVersion": version(&first) }))).await;
    t.told_of("uid and version are right", &put, K);
    let second = put.ok();
    assert_ne!(version(&first), version(&second), "a write moves the version");
    let stale = server.put(&one, &with("3", json!({ "resourceVersion": version(&first) }))).await;
    t.told("the version is stale", &stale);
    stale.refused(409, "Conflict");
    let foreign = server.put(&one, &with("3", json!({ "uid": FOREIGN }))).await;
    t.told("the uid is another one", &foreign);
    foreign.refused(409, "Conflict");
    let both = server.put(&one, &with("3", json!({ "uid": FOREIGN, "resourceVersion": version(&first) }))).await;
    t.told("both are wrong", &both);
    both.refused(409, "Conflict");
    let odd = server.put(&one, &with("3", json!({ "resourceVersion": "mine" }))).await;
    t.told("the version is no number", &odd);
    t.told_of("unchanged so far", &server.get(&one).await, K);
    assert_eq!(version(&server.get(&one).await.ok()), version(&second), "nothing was written");
    let same = server.put(&one, &with("2", json!({}))).await.ok();
    assert_eq!(version(&same), version(&second), "a write that changes nothing moves nothing");
    let blind = server.put(&one, &with("3", json!({}))).await;
    t.told_of("without any", &blind, K);
    blind.ok();
    let other = server.put(&one, &config_map("agree-other", "3")).await;
    t.told("another name than the URL's", &other);
    let away = with("3", json!({ "namespace": TEST_PODS }));
    t.told("another namespace than the URL's", &server.put(&one, &away).await);
    let kind = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "agree-put" } });
    t.told("another kind than the URL's", &server.put(&one, &kind).await);
    let absent = server.put(&at("configmaps", PROW, "agree-absent"), &config_map("agree-absent", "1")).await;
    t.told("of what is not there", &absent);
    absent.refused(404, "NotFound");
    let gone = with("1", json!({ "name": "agree-absent", "uid": FOREIGN, "resourceVersion": "7" }));
    t.told("of what is not there any more", &server.put(&at("configmaps", PROW, "agree-absent"), &gone).await);
}

pub async fn preconditions_of_patch(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let (all, one) = (path("configmaps", PROW), at("configmaps", PROW, "agree-patch"));
    let first = server.post(&all, &config_map("agree-patch", "1")).await.ok();
    for kind in [MERGE, STRATEGIC] {
        let now = server.get(&one).await.ok();
        let good = json!({ "metadata": { "uid": uid(&now), "resourceVersion": version(&now) }, "data": { "k": kind } });
        let patched = server.patch(&one, kind, &good).await;
        t.told_of(&format!("{kind}: uid and version are right"), &patched, K);
        patched.ok();
        let stale = json!({ "metadata": { "resourceVersion": version(&first) }, "data": { "k": "x" } });
        let stale = server.patch(&one, kind, &stale).await;
        t.told(&format!("{kind}: the version is stale"), &stale);
        stale.refused(409, "Conflict");
        let foreign = json!({ "metadata": { "uid": FOREIGN }, "data": { "k": "x" } });
        t.told(&format!("{kind}: the uid is another one"), &server.patch(&one, kind, &foreign).await);
        let both = json!({ "metadata": { "uid": FOREIGN, "resourceVersion": version(&first) }, "data": { "k": "x" } });
        t.told(&format!("{kind}: both are wrong"), &server.patch(&one, kind, &both).await);
        let absent =
            server.patch(&at("configmaps", PROW, "agree-absent"), kind, &json!({ "data": { "k": "x" } })).await;
        t.told(&format!("{kind}: of what is not there"), &absent);
        absent.refused(404, "NotFound");
        let nothing = server.patch(&one, kind, &json!({})).await.ok();
        assert_eq!(version(&nothing), version(&server.get(&one).await.ok()), "an empty patch moves nothing");
        let removed = server.patch(&one, kind, &json!({ "data": { "k": null, "l": "1" } })).await;
        t.told_of(&format!("{kind}: null takes a key away"), &removed, &["/data"]);
        t.told(&format!("{kind}: no object"), &server.patch(&one, kind, &json!([1])).await);
    }
    let tested = |version: &str| {
        json!([
            { "op": "test", "path": "/metadata/resourceVersion", "value": version },
            { "op": "add", "path": "/data/k", "value": "json" },
        ])
    };
    let now = server.get(&one).await.ok();
    let good = server.patch(&one, JSON_PATCH, &tested(version(&now))).await;
    t.told_of("JSON patch: its test holds", &good, &["/data"]);
    good.ok();
    let failed = server.patch(&one, JSON_PATCH, &tested(version(&now))).await;
    t.told("JSON patch: its test fails", &failed);
    failed.refused(422, "Invalid");
    let nowhere = json!([{ "op": "remove", "path": "/data/nowhere" }]);
    t.told("JSON patch: nothing there to remove", &server.patch(&one, JSON_PATCH, &nowhere).await);
    let unknown = server.patch(&one, "application/x-patch", &json!({})).await;
    t.told("a patch of no kind", &unknown);
    unknown.refused(415, "UnsupportedMediaType");
}

/// A component's image is moved by a strategic patch that is bound to a version.
pub async fn preconditions_of_deployments(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let one = at("deployments", PROW, "tide");
    let before = server.get(&one).await.ok();
    let patch = |version: &str| {
        let containers = json!([{ "name": "tide", "image": "gcr.io/k8s-prow/tide:v20190205-8c1cd80" }]);
        json!({
            "metadata": { "uid": uid(&before), "resourceVersion": version },
            "spec": { "template": { "spec": { "containers": containers } } },
        })
    };
    let parts: &[&str] =
        &["/spec/template/spec/containers/0/image", "/spec/template/spec/containers/0/args", "/metadata/generation"];
    let dry = server.patch(&format!("{one}?dryRun=All"), STRATEGIC, &patch(version(&before))).await;
    t.told_of("a dry run", &dry, &parts[..1]);
    let dry = dry.ok();
    let generation = |object: &Value| object["metadata"]["generation"].as_i64().expect("a generation");
    assert_eq!(generation(&dry), generation(&before) + 1, "the dry run tells the generation that there would be");
    let after = server.get(&one).await.ok();
    assert_eq!(generation(&after), generation(&before), "and there is none");
    assert_eq!(after["spec"], before["spec"]);
    let stale = server.patch(&one, STRATEGIC, &patch("1")).await;
    t.told("the version is stale", &stale);
    stale.refused(409, "Conflict");
    let stale = server.patch(&format!("{one}?dryRun=All"), STRATEGIC, &patch("1")).await;
    t.told("the version is stale, as a dry run", &stale);
    stale.refused(409, "Conflict");
}

pub async fn preconditions_of_delete(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let (all, one) = (path("configmaps", PROW), at("configmaps", PROW, "agree-delete"));
    let first = server.post(&all, &config_map("agree-delete", "1")).await.ok();
    let if_uid = |uid: &str| json!({ "preconditions": { "uid": uid } });
    let if_version = |version: &str| json!({ "preconditions": { "resourceVersion": version } });
    let second = server.put(&one, &config_map("agree-delete", "2")).await.ok();
    t.hide(uid(&first), "<uid>");
    t.hide(version(&first), "<version>");
    t.hide(version(&second), "<version>");
    for (what, options) in [
        ("the uid is another one", if_uid(FOREIGN)),
        ("the version is stale", if_version(version(&first))),
        ("both are wrong", json!({ "preconditions": { "uid": FOREIGN, "resourceVersion": version(&first) } })),
        (
            "the uid is right, the version stale",
            json!({ "preconditions": { "uid": uid(&first), "resourceVersion": version(&first) } }),
        ),
        ("the uid is another one, as a dry run", json!({ "preconditions": { "uid": FOREIGN }, "dryRun": ["All"] })),
    ] {
        let refused = server.delete_with(&one, &options).await;
        t.told(what, &refused);
        refused.refused(409, "Conflict");
    }
    let right = json!({ "preconditions": { "uid": uid(&second), "resourceVersion": version(&second) } });
    let deleted = server.delete_with(&one, &right).await;
    t.told("both are right", &deleted);
    deleted.ok();
    let gone = server.get(&one).await;
    t.told("and it is gone", &gone);
    gone.refused(404, "NotFound");
    let again = server.delete_with(&one, &right).await;
    t.told("once more", &again);
    again.refused(404, "NotFound");
}

pub async fn dry_run(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let (all, one) = (path("configmaps", PROW), at("configmaps", PROW, "agree-dry"));
    let made = server.post(&format!("{all}?dryRun=All"), &config_map("agree-dry", "1")).await;
    t.told_of("POST in the URL", &made, K);
    let made = made.ok();
    assert!(!uid(&made).is_empty(), "a dry run makes up a uid");
    assert_eq!(version(&made), "", "and no version: nothing is stored");
    server.get(&one).await.refused(404, "NotFound");

    let before = server.post(&all, &config_map("agree-dry", "1")).await.ok();
    let exists = server.post(&format!("{all}?dryRun=All"), &config_map("agree-dry", "1")).await;
    t.told("POST of what is there", &exists);
    exists.refused(409, "AlreadyExists");
    let put = server.put(&format!("{one}?dryRun=All"), &config_map("agree-dry", "2")).await;
    t.told_of("PUT in the URL", &put, K);
    assert_eq!(version(&put.ok()), version(&before), "the answer bears the version that there is");
    for kind in [MERGE, STRATEGIC] {
        let patched = server.patch(&format!("{one}?dryRun=All"), kind, &json!({ "data": { "k": "3" } })).await;
        t.told_of(&format!("{kind} in the URL"), &patched, K);
        patched.ok();
    }
    let stale = server.put(&format!("{one}?dryRun=All"), &with_version(&config_map("agree-dry", "2"), "1")).await;
    t.told("PUT with a stale version", &stale);
    stale.refused(409, "Conflict");
    let odd = server.put(&format!("{one}?dryRun=Some"), &config_map("agree-dry", "2")).await;
    t.told("PUT with another word than All", &odd);
    let body = server.delete_with(&one, &json!({ "dryRun": ["All"] })).await;
    t.told("DELETE in the body", &body);
    body.ok();
    let bare = server.delete(&format!("{one}?dryRun=All")).await;
    t.told("DELETE in the URL without a body", &bare);
    bare.ok();
    let after = server.get(&one).await.ok();
    assert_eq!((version(&after), text(&after, "/data/k")), (version(&before), "1"), "nothing was written");
    let really =
        server.delete_with(&format!("{one}?dryRun=All"), &json!({ "preconditions": { "uid": uid(&after) } })).await;
    t.told("DELETE in the URL beside a body", &really);
    really.ok();
    let gone = server.get(&one).await;
    t.told("which really deletes", &gone);
    gone.refused(404, "NotFound");
}

fn with_version(map: &Value, version: &str) -> Value {
    let mut map = map.clone();
    map["metadata"]["resourceVersion"] = json!(version);
    map
}

/// What the server itself writes, whatever a client sends.
pub async fn metadata(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let (all, one) = (path("configmaps", PROW), at("configmaps", PROW, "agree-meta"));
    let mut sent = config_map("agree-meta", "1");
    sent["metadata"]["uid"] = json!(FOREIGN);
    sent["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
    sent["metadata"]["labels"] = json!({ "a": "1", "b": "2" });
    let made = server.post(&format!("{all}?fieldManager=agree"), &sent).await;
    t.told_of("created with a uid and a time of the client's", &made, &["/metadata/labels", "/metadata/generation"]);
    let made = made.ok();
    assert_ne!(uid(&made), FOREIGN);
    assert!(!text(&made, "/metadata/creationTimestamp").starts_with("2001"));
    let mut again = sent.clone();
    again["metadata"]["uid"] = json!(uid(&made));
    again["metadata"]["labels"] = json!({ "a": "1", "c": "3" });
    let put = server.put(&format!("{one}?fieldManager=other"), &again).await.ok();
    assert_eq!(put["metadata"]["creationTimestamp"], made["metadata"]["creationTimestamp"], "the time is the server's");
    t.show("a PUT replaces labels", &put, &["/metadata/labels"]);
    let managers = put["metadata"]["managedFields"].as_array().expect("managedFields").iter();
    let managers: Vec<_> = managers.map(|entry| (entry["manager"].clone(), entry["operation"].clone())).collect();
    t.note("who wrote", managers);
    let with_version = server.post(&all, &with_version(&config_map("agree-meta-2", "1"), "7")).await;
    t.told("created with a version of the client's", &with_version);
    let mut generated = config_map("", "1");
    generated["metadata"] = json!({ "generateName": "agree-generated-" });
    let generated = server.post(&all, &generated).await.ok();
    let name = text(&generated, "/metadata/name");
    assert!(name.starts_with("agree-generated-") && name.len() == "agree-generated-".len() + 5, "{name}");
}
