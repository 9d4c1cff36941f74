//! Requests that the gate would send, and answers it must not believe.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::cluster::fake::{FakeServer, Fault};
use crate::model::{
    Alias, CanaryFile, CheckFile, CheckFolder, CheckJob, ImageChange, Key, Kind, ObjectRef, ObjectVersion, Placement,
    SeenPod, Values,
};

fn body() -> ConfigMapBody {
    let values =
        Values::from([("a.yaml".to_owned(), b"a: \xc3\xbc\n".to_vec()), ("b.gz".to_owned(), vec![0x1f, 0x8b, 0xff])]);
    let labels = BTreeMap::from([("app".to_owned(), "prow".to_owned())]);
    ConfigMapBody { values, labels, annotations: BTreeMap::from([("note".to_owned(), "keep".to_owned())]), owner: None }
}

fn config_map(name: &str) -> ObjectRef {
    ObjectRef::new(&Alias::service(), "prow", Kind::ConfigMap, name)
}

fn pod(name: &str) -> ObjectRef {
    ObjectRef::new(&Alias::service(), "prow", Kind::Pod, name)
}

fn at(uid: &str, version: &str) -> ObjectVersion {
    ObjectVersion { uid: uid.to_owned(), resource_version: version.to_owned(), content: String::new() }
}

fn put(name: &str, uid: &str, version: &str) -> Write {
    Write::PutConfigMap { object: config_map(name), at: at(uid, version), body: body() }
}

fn delete_map(uid: &str, version: &str) -> Write {
    Write::DeleteConfigMap { object: config_map("made"), at: at(uid, version) }
}

fn writes() -> Vec<Write> {
    vec![
        put("job-config", "u-1", "17"),
        Write::CreateConfigMap { object: config_map("plugins"), body: body() },
        Write::DeletePod { object: pod("hook-1"), uid: "u-2".to_owned(), seen: None },
        delete_map("u-5", "20"),
        patch(Kind::Deployment, "u-3", "18"),
        patch(Kind::CronJob, "u-4", "19"),
        check_job(),
        Write::DeleteJob { object: own(Kind::Job), uid: "u-6".to_owned() },
    ]
}

fn patch(kind: Kind, uid: &str, version: &str) -> Write {
    let images = vec![ImageChange {
        container: "plank".to_owned(),
        from: "gcr.io/k8s-prow/plank:v2".to_owned(),
        to: "gcr.io/k8s-prow/plank:v1".to_owned(),
    }];
    Write::PatchImage { object: ObjectRef::new(&Alias::service(), "prow", kind, "plank"), at: at(uid, version), images }
}

fn parts(write: &Write, effect: Effect) -> (String, String, Value) {
    let request = request::build(write, effect, "id").unwrap();
    assert_eq!(request.headers()["audit-id"], "id");
    let body = serde_json::from_slice(request.body()).unwrap();
    (request.method().to_string(), request.uri().to_string(), body)
}

#[test]
fn a_put_carries_everything_and_its_preconditions() {
    let (method, uri, body) = parts(&put("job-config", "u-1", "17"), Effect::Real);
    assert_eq!(
        (method.as_str(), uri.as_str()),
        ("PUT", "/api/v1/namespaces/prow/configmaps/job-config?fieldManager=prow-breakglass")
    );
    assert_eq!(
        body,
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": "job-config", "namespace": "prow", "uid": "u-1", "resourceVersion": "17",
                "labels": {"app": "prow"}, "annotations": {"note": "keep"},
            },
            "data": {"a.yaml": "a: ü\n"}, "binaryData": {"b.gz": "H4v/"},
        })
    );
}

#[test]
fn a_delete_names_the_uid_and_forces_nothing() {
    let (method, uri, body) = parts(&writes()[2], Effect::Real);
    assert_eq!((method.as_str(), uri.as_str()), ("DELETE", "/api/v1/namespaces/prow/pods/hook-1"));
    assert_eq!(body, json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "u-2"}}));
}

#[test]
fn a_config_map_is_deleted_only_as_it_was_looked_at() {
    let (method, uri, body) = parts(&delete_map("u-5", "20"), Effect::Real);
    assert_eq!((method.as_str(), uri.as_str()), ("DELETE", "/api/v1/namespaces/prow/configmaps/made"));
    assert_eq!(body["preconditions"], json!({"uid": "u-5", "resourceVersion": "20"}));
}

#[test]
fn a_job_pod_is_deleted_only_as_it_was_looked_at() {
    let seen = SeenPod { resource_version: "21".to_owned(), running: false };
    let write = Write::DeletePod { object: pod("p-1"), uid: "u-2".to_owned(), seen: Some(seen) };
    let (_, _, body) = parts(&write, Effect::Real);
    assert_eq!(body["preconditions"], json!({"uid": "u-2", "resourceVersion": "21"}));
}

#[test]
fn an_image_patch_names_images_and_preconditions_and_nothing_else() {
    let request = request::build(&patch(Kind::Deployment, "u-3", "18"), Effect::Real, "id").unwrap();
    assert_eq!(request.headers()["content-type"], "application/strategic-merge-patch+json");
    let (method, uri, body) = parts(&patch(Kind::Deployment, "u-3", "18"), Effect::Real);
    assert_eq!(
        (method.as_str(), uri.as_str()),
        ("PATCH", "/apis/apps/v1/namespaces/prow/deployments/plank?fieldManager=prow-breakglass")
    );
    let containers = json!([{"name": "plank", "image": "gcr.io/k8s-prow/plank:v1"}]);
    let meta = json!({"uid": "u-3", "resourceVersion": "18"});
    assert_eq!(body, json!({"metadata": meta, "spec": {"template": {"spec": {"containers": containers}}}}));

    let (_, uri, body) = parts(&patch(Kind::CronJob, "u-4", "19"), Effect::Real);
    assert_eq!(uri, "/apis/batch/v1/namespaces/prow/cronjobs/plank?fieldManager=prow-breakglass");
    assert_eq!(body["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"], containers);
}

fn own(kind: Kind) -> ObjectRef {
    ObjectRef::new(&Alias::service(), "prow", kind, "prow-breakglass-check-1")
}

fn check_job() -> Write {
    let file = |path: &str, config_map: &str| CheckFile {
        path: path.to_owned(),
        config_map: config_map.to_owned(),
        key: format!("key-of-{path}"),
        stands_for: (Key::new("prow", "job-config"), path.to_owned()),
    };
    let folder = CheckFolder {
        path: "/etc/job-config".to_owned(),
        files: vec![file("a.yaml", "check-1"), file("b.yaml", "check-2")],
    };
    let placement = Placement {
        node_selector: BTreeMap::from([("pool".to_owned(), "prow".to_owned())]),
        tolerations: vec![json!({"key": "pool", "operator": "Exists"})],
        image_pull_secrets: vec!["registry".to_owned()],
    };
    let body = CheckJob {
        image: "gcr.io/k8s-prow/checkconfig:v1".to_owned(),
        args: vec!["--config-path=/etc/config/config.yaml".to_owned()],
        folders: vec![folder],
        canary: CanaryFile { config_map: "check-1".to_owned(), key: "canary".to_owned() },
        placement,
    };
    Write::CreateJob { object: own(Kind::Job), body: Box::new(body) }
}

#[test]
fn a_check_runs_once_may_nothing_and_is_marked_as_ours() {
    let (method, uri, body) = parts(&check_job(), Effect::Real);
    assert_eq!(
        (method.as_str(), uri.as_str()),
        ("POST", "/apis/batch/v1/namespaces/prow/jobs?fieldManager=prow-breakglass")
    );
    assert_eq!(body["metadata"]["labels"], json!({"app.kubernetes.io/managed-by": "prow-breakglass"}));
    let spec = &body["spec"];
    assert_eq!((&spec["backoffLimit"], &spec["ttlSecondsAfterFinished"]), (&json!(0), &json!(600)));
    assert_eq!(spec["activeDeadlineSeconds"], json!(600), "the time after its end counts from that end");
    let pod = &body["spec"]["template"]["spec"];
    assert_eq!((&pod["restartPolicy"], &pod["automountServiceAccountToken"]), (&json!("Never"), &json!(false)));
    assert_eq!(pod["nodeSelector"], json!({"pool": "prow"}));
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "registry"}]));
    let sources = pod["volumes"][0]["projected"]["sources"].as_array().unwrap();
    assert_eq!(sources.len(), 2, "one folder of two ConfigMaps");
    assert_eq!(sources[0]["configMap"]["items"], json!([{"key": "key-of-a.yaml", "path": "a.yaml"}]));
    let [check, canary] = [&pod["containers"][0], &pod["containers"][1]];
    assert_eq!((&check["name"], &canary["name"]), (&json!("checkconfig"), &json!("canary")));
    assert_eq!(check["image"], canary["image"], "what is proven of the one is proven of the other");
    assert_eq!(canary["args"], json!(["--config-path=/etc/canary/config.yaml"]));
    let mounted = |container: &Value| container["volumeMounts"].as_array().unwrap().len();
    assert_eq!((mounted(check), mounted(canary)), (1, 1), "neither sees the other's files");
    let source = &pod["volumes"][1]["projected"]["sources"][0]["configMap"];
    assert_eq!(source, &json!({"name": "check-1", "items": [{"key": "canary", "path": "config.yaml"}]}));
}

/// The server makes the uid: a dry run cannot have it, and nothing is made that nobody would take away.
#[test]
fn what_goes_with_a_job_names_it() {
    let made = |owner: ObjectRef| {
        let body = ConfigMapBody { owner: Some(Box::new(owner)), ..body() };
        Write::CreateConfigMap { object: config_map("check-1"), body }
    };
    let (_, _, real) = parts(&made(own(Kind::Job).with_uid("u-7")), Effect::Real);
    let name = "prow-breakglass-check-1";
    let owner = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": "u-7"}]);
    assert_eq!(real["metadata"]["ownerReferences"], owner);
    let (_, _, dry) = parts(&made(own(Kind::Job)), Effect::DryRun);
    assert_eq!(dry["metadata"]["ownerReferences"], json!([]));
    for owner in [own(Kind::Job), own(Kind::Job).with_uid(""), own(Kind::ConfigMap).with_uid("u-7")] {
        assert!(request::build(&made(owner), Effect::Real, "id").is_err());
    }
}

#[test]
fn what_is_ours_goes_by_its_uid() {
    let write = Write::DeleteJob { object: own(Kind::Job), uid: "u-9".to_owned() };
    let (method, uri, body) = parts(&write, Effect::Real);
    assert_eq!(
        (method.as_str(), uri.as_str()),
        ("DELETE", "/apis/batch/v1/namespaces/prow/jobs/prow-breakglass-check-1")
    );
    assert_eq!((&body["preconditions"], &body["propagationPolicy"]), (&json!({"uid": "u-9"}), &json!("Background")));
}

#[test]
fn a_dry_run_differs_in_dry_run_only() {
    for write in writes() {
        let (method, uri, body) = parts(&write, Effect::Real);
        let (dry_method, dry_uri, mut dry_body) = parts(&write, Effect::DryRun);
        assert_eq!(method, dry_method);
        match write {
            // The API server ignores a DELETE's URL options where it has a body.
            Write::DeleteConfigMap { .. } | Write::DeletePod { .. } | Write::DeleteJob { .. } => {
                assert_eq!(dry_uri, uri);
                assert_eq!(dry_body.as_object_mut().unwrap().remove("dryRun"), Some(json!(["All"])));
            }
            Write::PutConfigMap { .. }
            | Write::CreateConfigMap { .. }
            | Write::PatchImage { .. }
            | Write::CreateJob { .. } => assert_eq!(dry_uri, format!("{uri}&dryRun=All")),
        }
        assert_eq!(body, dry_body);
        assert!(!format!("{uri}{body}").contains("dryRun"));
    }
}

#[test]
fn nothing_goes_out_without_a_precondition() {
    for write in [
        put("job-config", "", "17"),
        put("job-config", "u-1", ""),
        patch(Kind::Deployment, "", "18"),
        patch(Kind::Deployment, "u-3", ""),
        patch(Kind::ReplicaSet, "u-3", "18"),
        delete_map("", "20"),
        delete_map("u-5", ""),
        Write::DeletePod { object: pod("hook-1"), uid: String::new(), seen: None },
        Write::DeleteJob { object: own(Kind::Job), uid: String::new() },
        // Nothing else is deleted by that name.
        Write::DeleteJob { object: pod("hook-1"), uid: "u-1".to_owned() },
        Write::DeleteJob { object: own(Kind::ConfigMap), uid: "u-1".to_owned() },
    ] {
        let failure = request::build(&write, Effect::Real, "id").unwrap_err();
        assert_eq!(failure.kind, FailureKind::Refused, "{failure}");
    }
}

#[test]
fn only_names_get_into_a_url() {
    let long = "a".repeat(254);
    for name in ["", "..", "a/b", "a?b", "A", "a b", "a%2fb", "-a", "a.", "ü", "../secrets/x", "a\n", long.as_str()] {
        assert!(request::build(&put(name, "u", "1"), Effect::Real, "id").is_err(), "{name:?}");
        let namespace = ObjectRef { namespace: name.to_owned(), ..pod("x") };
        let delete = Write::DeletePod { object: namespace, uid: "u".to_owned(), seen: None };
        assert!(request::build(&delete, Effect::Real, "id").is_err(), "namespace {name:?}");
    }
    for name in ["job-config", "a.b-c.1", "3f1c9d2e-29b5-11e9-8a55", &"a".repeat(253)] {
        assert!(request::build(&put(name, "u", "1"), Effect::Real, "id").is_ok(), "{name:?}");
    }
    // A delete of what is no pod is none.
    let wrong = Write::DeletePod { object: config_map("x"), uid: "u".to_owned(), seen: None };
    assert!(request::build(&wrong, Effect::Real, "id").is_err());
}

#[test]
fn audit_ids_are_uuids_and_never_come_twice() {
    let ids: std::collections::BTreeSet<String> =
        (0..1000).map(|_| audit_id("r-0001", 1, Timestamp::UNIX_EPOCH)).collect();
    assert_eq!(ids.len(), 1000);
    for id in ids {
        let lengths: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
    }
}

#[tokio::test]
async fn a_live_gate_opens_for_the_expected_cluster_only() {
    let server = FakeServer::new();
    let expected = server.identity();
    assert!(Gate::live(&server.cluster(), &expected).await.is_ok());
    server.world().uid = "cluster-2".to_owned();
    let failure = Gate::live(&server.cluster(), &expected).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Refused);
    let said = failure.causes.join("\n");
    assert!(said.contains("cluster-1") && said.contains("cluster-2"), "{said}");
}

/// Sends the PUT with this fault to its request.
async fn put_with(fault: Fault) -> (FakeServer, Result<Sent, SendError>) {
    let server = FakeServer::new();
    let path = "/api/v1/namespaces/prow/configmaps/job-config";
    let version = server.put_config_map(path, "u-1", json!({"a": "1"}), json!({}), "config-updater");
    server.world().faults.insert(0, fault);
    let gate = Gate { cluster: server.cluster(), effect: Effect::Real };
    let prepared = gate.prepare(&put("job-config", "u-1", &version), "id").unwrap();
    let answer = gate.send(prepared).await;
    (server, answer)
}

#[tokio::test]
async fn what_does_not_tell_is_no_answer() {
    // A 5xx may have been done, and a page is not from the API server, whatever its code.
    for fault in [
        Fault::DropBefore,
        Fault::DropAfter,
        Fault::Status(500),
        Fault::Status(504),
        Fault::Page(200),
        Fault::Page(302),
        Fault::Page(404),
        Fault::Page(502),
    ] {
        let (_, answer) = put_with(fault).await;
        assert!(matches!(answer, Err(SendError::NoAnswer(_))), "{fault:?}: {answer:?}");
    }
    for code in [400, 401, 403, 404, 409, 413, 422, 429] {
        let (server, answer) = put_with(Fault::Status(code)).await;
        assert!(matches!(answer, Err(SendError::NotDone(_))), "{code}: {answer:?}");
        assert_eq!(server.writes().len(), 1, "nothing is sent twice");
    }
}

#[tokio::test]
async fn reading_back_tells_what_can_be_told() {
    let server = FakeServer::new();
    let path = "/api/v1/namespaces/prow/configmaps/job-config";
    let version = server.put_config_map(path, "u-1", json!({"a": "1"}), json!({}), "kubectl");
    let gate = Gate { cluster: server.cluster(), effect: Effect::Real };
    let before = content_digest(&Values::from([("a".to_owned(), b"1".to_vec())]));
    let write = Write::PutConfigMap {
        object: config_map("job-config"),
        at: ObjectVersion { content: before, ..at("u-1", &version) },
        body: ConfigMapBody {
            values: Values::from([("a".to_owned(), b"2".to_vec())]),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            owner: None,
        },
    };
    assert_eq!(gate.read_back(&write).await, Ok(Landed::AsBefore));
    server.put_config_map(path, "u-1", json!({"a": "2"}), json!({"by": "a webhook"}), "prow-breakglass");
    assert_eq!(gate.read_back(&write).await, Ok(Landed::AsWritten));
    server.put_config_map(path, "u-1", json!({"a": "1"}), json!({}), "config-updater");
    assert_eq!(gate.read_back(&write).await, Ok(Landed::AsBefore));
    server.put_config_map(path, "u-1", json!({"a": "3"}), json!({}), "config-updater");
    let landed = gate.read_back(&write).await.unwrap();
    assert!(matches!(landed, Landed::Otherwise { who: Some(who), .. } if who == "config-updater"));
    server.put_config_map(path, "u-9", json!({"a": "2"}), json!({}), "config-updater");
    assert!(matches!(gate.read_back(&write).await, Ok(Landed::Otherwise { .. })));
    server.world().objects.clear();
    assert_eq!(gate.read_back(&write).await, Ok(Landed::Gone));
}
