//! Watches: from where they begin, what they tell, how they end.

use serde_json::{Value, json};

use super::server::{MERGE, Server, Watching, at, config_map, path, version};
use super::subject::{PROW, Subject, TEST_PODS};
use super::transcript::Transcript;

const NAME: &[&str] = &["/metadata/name", "/metadata/labels", "/data/k"];

fn labelled(name: &str, tier: &str) -> Value {
    let mut map = config_map(name, "1");
    map["metadata"]["labels"] = json!({ "agree": "watch", "tier": tier });
    map
}

async fn list(server: &Server, url: &str) -> String {
    version(&server.get(url).await.ok()).to_owned()
}

async fn tell(t: &mut Transcript, watch: &mut Watching, count: usize) -> Vec<Value> {
    let events = watch.take(count).await;
    for event in &events {
        t.event(event, NAME);
    }
    events
}

pub async fn changes(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let maps = path("configmaps", PROW);
    let of_ours = format!("{maps}?labelSelector=agree%3Dwatch");
    let from = list(&server, &of_ours).await;
    let mut watch = server.watch(&format!("{of_ours}&resourceVersion={from}&timeoutSeconds=60")).await;
    t.note("watching", watch.code);
    let made = server.post(&maps, &labelled("agree-watch-1", "front")).await.ok();
    server.patch(&at("configmaps", PROW, "agree-watch-1"), MERGE, &json!({ "data": { "k": "2" } })).await.ok();
    server.post(&format!("{maps}?dryRun=All"), &labelled("agree-watch-dry", "front")).await.ok();
    server.post(&maps, &config_map("agree-watch-other", "1")).await.ok();
    server.post(&path("configmaps", TEST_PODS), &labelled("agree-watch-elsewhere", "front")).await.ok();
    server.delete(&at("configmaps", PROW, "agree-watch-1")).await.ok();
    let events = tell(t, &mut watch, 3).await;
    let numbers: Vec<u64> =
        events.iter().map(|event| version(&event["object"]).parse().expect("a version is a number here")).collect();
    assert!(numbers.is_sorted() && numbers[0] == version(&made).parse::<u64>().expect("a number"), "{numbers:?}");
    assert!(numbers[2] > numbers[1], "a deletion has a version of its own: {numbers:?}");

    // Who has seen the first event goes on behind it.
    let again = format!("{of_ours}&resourceVersion={}&timeoutSeconds=60", numbers[0]);
    let mut watch = server.watch(&again).await;
    t.note("resumed", watch.code);
    tell(t, &mut watch, 2).await;

    // Everywhere.
    let everywhere = "/api/v1/configmaps?labelSelector=agree%3Dwatch&fieldSelector=metadata.namespace!%3Dprow";
    let mut watch = server.watch(&format!("{everywhere}&resourceVersion={from}&timeoutSeconds=60")).await;
    tell(t, &mut watch, 1).await;
    server.delete(&at("configmaps", PROW, "agree-watch-other")).await.ok();
    server.delete(&at("configmaps", TEST_PODS, "agree-watch-elsewhere")).await.ok();
    tell(t, &mut watch, 1).await;
}

pub async fn leaving_a_selection(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let maps = path("configmaps", PROW);
    let one = at("configmaps", PROW, "agree-leave");
    let of_front = format!("{maps}?labelSelector=agree%3Dwatch,tier%3Dfront");
    let from = list(&server, &of_front).await;
    let mut watch = server.watch(&format!("{of_front}&resourceVersion={from}&timeoutSeconds=60")).await;
    server.post(&maps, &labelled("agree-leave", "back")).await.ok();
    let tier = |tier: &str| json!({ "metadata": { "labels": { "tier": tier } } });
    server.patch(&one, MERGE, &tier("front")).await.ok();
    let left = server.patch(&one, MERGE, &tier("back")).await.ok();
    server.patch(&one, MERGE, &json!({ "data": { "k": "unseen" } })).await.ok();
    server.patch(&one, MERGE, &tier("front")).await.ok();
    server.delete(&one).await.ok();
    let events = tell(t, &mut watch, 4).await;
    assert_eq!(events[1]["type"], "DELETED", "to leave the selection is to be deleted");
    assert_eq!(version(&events[1]["object"]), version(&left), "at the version at which it left");
}

pub async fn beginnings(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let maps = path("configmaps", PROW);
    for map in ["agree-begin-1", "agree-begin-2"] {
        let mut map = labelled(map, "front");
        map["metadata"]["labels"]["agree"] = json!("begin");
        server.post(&maps, &map).await.ok();
    }
    let ours = format!("{maps}?labelSelector=agree%3Dbegin&timeoutSeconds=60");
    // A version of 0 means any: the cache's, which may lag; what is there already comes first.
    for from in ["", "&resourceVersion=0"] {
        let mut watch = server.watch(&format!("{ours}{from}")).await;
        t.note("from", from);
        let mut events = watch.take(2).await;
        events.sort_by_key(|event| event["object"]["metadata"]["name"].to_string());
        events.iter().for_each(|event| t.event(event, NAME));
    }
    let initial = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = server.watch(&format!("{ours}{initial}")).await;
    t.note("with initial events", watch.code);
    let mut events = Vec::new();
    for _ in 0..3 {
        events.push(watch.next().await.expect("the watch goes on"));
    }
    events[..2].sort_by_key(|event| event["object"]["metadata"]["name"].to_string());
    for event in &events {
        t.event(event, &["/kind", "/metadata/name", "/metadata/annotations"]);
    }
    let one = format!("{maps}?fieldSelector=metadata.name%3Dagree-begin-2&timeoutSeconds=60&resourceVersion=0");
    let mut watch = server.watch(&one).await;
    tell(t, &mut watch, 1).await;
    let bad = server.get(&format!("{ours}&watch=1&resourceVersion=mine")).await;
    t.told("from a version that is no number", &bad);
    let bad = server.get(&format!("{maps}?watch=1&fieldSelector=data.k%3D1")).await;
    t.told("of fields that are not selected by", &bad);
}

/// A watch ends when its time is over, with a bookmark before that.
pub async fn bookmarks(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let maps = path("configmaps", PROW);
    let ours = format!("{maps}?labelSelector=agree%3Dnobody");
    let from = list(&server, &ours).await;
    let watch = format!("{ours}&resourceVersion={from}&timeoutSeconds=8");
    let mut quiet = server.watch(&watch).await;
    let mut marked = server.watch(&format!("{watch}&allowWatchBookmarks=true")).await;
    server.post(&maps, &config_map("agree-mark", "1")).await.ok();
    let (nothing, events) = futures::join!(quiet.rest(), marked.rest());
    t.note("without bookmarks nothing", nothing.len());
    // How many there are is the server's business.
    assert!(events.iter().all(|event| event["type"] == "BOOKMARK"), "{events:?}");
    let last = events.last().expect("a bookmark before the end");
    t.event(last, &["/kind", "/apiVersion", "/metadata/name"]);
    let number = |version: &str| version.parse::<u64>().expect("a number");
    assert!(number(version(&last["object"])) > number(&from), "it says how far the watch is: {last}");
    server.delete(&at("configmaps", PROW, "agree-mark")).await.ok();
}

/// From before everything that the server remembers.
pub async fn too_old(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let jobs = path("prowjobs", PROW);
    let newest = list(&server, &jobs).await;
    t.hide(&newest, "<version>");
    let mut watch = server.watch(&format!("{jobs}?resourceVersion=1&timeoutSeconds=60")).await;
    t.note("watching", watch.code);
    let events = watch.rest().await;
    t.note("events", events.len());
    let error = &events[0];
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(410)), "{error}");
    let message = error["object"]["message"].as_str().unwrap_or_default();
    t.note("in the words", message.split('(').next().unwrap_or_default());
    t.show("as", &error["object"], &["/kind", "/status", "/reason", "/code", "/details"]);
}
