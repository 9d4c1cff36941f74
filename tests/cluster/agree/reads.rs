//! Lists: selectors, pages, tables.

use http::header::ACCEPT;
use serde_json::{Value, json};

use super::server::{Server, at, config_map, name, names, path, text, version};
use super::subject::{PROW, Subject, TEST_PODS};
use super::transcript::Transcript;

/// ConfigMaps in three namespaces, all labelled `agree`.
async fn maps(server: &Server) {
    for (namespace, map, tier) in [
        (PROW, "agree-list-b", Some("front")),
        (PROW, "agree-list-a", Some("back")),
        (TEST_PODS, "agree-list-d", None),
        (TEST_PODS, "agree-list-c", Some("front")),
        ("default", "agree-list-e", Some("middle")),
    ] {
        let mut object = config_map(map, "1");
        object["metadata"]["labels"] = json!({ "agree": "list" });
        if let Some(tier) = tier {
            object["metadata"]["labels"]["tier"] = json!(tier);
        }
        let made = server.post(&path("configmaps", namespace), &object).await;
        assert!(matches!(made.code, 201 | 409), "{}", made.text);
    }
}

const EVERYWHERE: &str = "/api/v1/configmaps?labelSelector=";

pub async fn selectors(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    maps(&server).await;
    for labels in [
        "agree=list",
        "agree==list",
        "agree=list,tier=front",
        "agree=list,tier!=front",
        "agree=list,tier in (front,back)",
        "agree=list,tier in (front, back)",
        "agree=list,tier notin (front)",
        "agree=list,tier",
        "agree=list,!tier",
        "agree in (list),tier in (none)",
        "tier=front,agree",
        "agree=list,tier=",
    ] {
        let answer = server.get(&format!("{EVERYWHERE}{}", encode(labels))).await;
        t.told(labels, &answer);
        t.note("  are", names(&items(&answer.ok())));
    }
    for fields in [
        "metadata.namespace!=prow",
        "metadata.namespace!=prow,metadata.namespace!=default",
        "metadata.namespace=prow",
        "metadata.name=agree-list-c",
        "metadata.name!=agree-list-c,metadata.namespace==test-pods",
    ] {
        let answer = server.get(&format!("{EVERYWHERE}agree%3Dlist&fieldSelector={}", encode(fields))).await;
        t.note(fields, names(&items(&answer.ok())));
    }
    for labels in ["agree in list", "agree==list==x", "a b", "agree=no value!", "=x", "agree in (", "agree>1"] {
        let answer = server.get(&format!("{EVERYWHERE}{}", encode(labels))).await;
        t.note(&format!("selector {labels}"), (answer.code, &answer.body["reason"]));
    }
    for fields in ["data.k=1", "metadata.labels=1", "metadata.name"] {
        let answer = server.get(&format!("{EVERYWHERE}&fieldSelector={}", encode(fields))).await;
        t.told(&format!("fields {fields}"), &answer);
        answer.refused(400, "BadRequest");
    }
    let of_pods = "/api/v1/pods?fieldSelector=";
    for fields in ["spec.hostname=x", "status.phase=Agreed", "spec.nodeName=nowhere", "status.podIP=10.0.0.255"] {
        t.told(&format!("pods {fields}"), &server.get(&format!("{of_pods}{}", encode(fields))).await);
    }
    let jobs = server.get("/apis/prow.k8s.io/v1/prowjobs?fieldSelector=spec.job%3Dx").await;
    t.told("fields of a custom resource", &jobs);
}

pub async fn pages(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    maps(&server).await;
    let all = format!("{EVERYWHERE}agree%3Dlist");
    let mut url = format!("{all}&limit=2");
    let mut first = Value::Null;
    for page in 1.. {
        let answer = server.get(&url).await;
        let list = answer.ok();
        let next = text(&list, "/metadata/continue").to_owned();
        t.note(&format!("page {page}"), (names(&items(&list)), next.is_empty()));
        if first.is_null() {
            first = list.clone();
            // Somebody writes meanwhile: the pages stay those of the beginning.
            let mut late = config_map("agree-list-z", "1");
            late["metadata"]["labels"] = json!({ "agree": "list" });
            server.post(&path("configmaps", TEST_PODS), &late).await.ok();
            server.delete(&at("configmaps", PROW, "agree-list-b")).await.ok();
        }
        assert_eq!(version(&list), version(&first), "all pages are of one moment");
        assert!(page < 5, "{url}");
        if next.is_empty() {
            break;
        }
        url = format!("{all}&limit=2&continue={}", encode(&next));
    }
    let bad = server.get(&format!("{all}&limit=2&continue=nonsense")).await;
    // Why is in the decoder's words.
    let message = bad.body["message"].as_str().unwrap_or_default();
    t.note("a token of somebody's making", message.starts_with("invalid continue token: continue key is not valid"));
    bad.refused(400, "BadRequest");
    // Without a selector the server says how many are left.
    let counted = server.get(&format!("{}?limit=1", path("configmaps", TEST_PODS))).await.ok();
    let whole = items(&server.get(&path("configmaps", TEST_PODS)).await.ok()).len();
    assert_eq!(counted["metadata"]["remainingItemCount"].as_u64().map(|left| left + 1), u64::try_from(whole).ok());
    let selected = server.get(&format!("{all}&limit=1")).await.ok();
    t.note("with a selector it does not", &selected["metadata"]["remainingItemCount"]);
    let none = server.get(&format!("{EVERYWHERE}agree%3Dnobody&limit=1")).await.ok();
    t.note("an empty page", (&none["items"], &none["kind"]));
    server.delete(&at("configmaps", TEST_PODS, "agree-list-z")).await.ok();
}

/// A list of pods as rows, as the program asks for it.
pub async fn tables(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "agree-row", "labels": { "agree": "row" } },
        "spec": { "schedulerName": "nobody", "containers": [
            { "name": "one", "image": "golang:1.11" }, { "name": "two", "image": "golang:1.11" },
        ] },
    });
    server.post(&path("pods", TEST_PODS), &pod).await.ok();
    for include in ["Metadata", "None"] {
        let url = format!("{}?labelSelector=agree%3Drow&includeObject={include}", path("pods", TEST_PODS));
        let table = server.table(&url).await;
        t.show("table", &table, &["/kind", "/apiVersion"]);
        let columns = table["columnDefinitions"].as_array().expect("columns");
        let columns: Vec<_> =
            columns.iter().filter(|c| c["priority"] == 0).map(|c| (&c["name"], &c["type"], &c["format"])).collect();
        t.note("columns", columns);
        let row = &table["rows"][0];
        t.note("row", row["cells"].as_array().expect("cells").iter().take(4).collect::<Vec<_>>());
        t.show("object", &row["object"], &["/kind", "/metadata/name", "/metadata/labels"]);
    }
    server.delete(&at("pods", TEST_PODS, "agree-row")).await.ok();
}

impl Server {
    async fn table(&self, path: &str) -> Value {
        let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let request = http::Request::get(path).header(ACCEPT, accept).body(Vec::new()).expect("a request");
        self.client().request(request).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().cloned().unwrap_or_default()
}

/// For a query.
pub fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The first pod that matches, as it is now.
pub async fn pod_of(server: &Server, namespace: &str, app: &str) -> Option<Value> {
    let pods = server.items(&format!("{}?labelSelector=app%3D{app}", path("pods", namespace))).await;
    let mut alive: Vec<Value> = pods.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect();
    alive.sort_by_key(|pod| name(pod).to_owned());
    alive.into_iter().next()
}
