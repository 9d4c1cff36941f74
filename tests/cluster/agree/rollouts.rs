//! Deployments: what their controller says and does while an image moves.

use serde_json::{Value, json};

use super::server::{MERGE, STRATEGIC, Server, at, name, path, text};
use super::subject::{PROW, Subject};
use super::transcript::Transcript;

const REVISION: &str = "deployment.kubernetes.io/revision";
/// Long enough for a busy machine.
const SOON: u32 = 60;

/// A Deployment of an image that nodes only play.
fn deployment(app: &str, replicas: u32, spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": app, "labels": { "app": app } },
        "spec": {
            "replicas": replicas,
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 1 } },
            "selector": { "matchLabels": { "app": app } },
            "template": {
                "metadata": { "labels": { "app": app } },
                "spec": {
                    "terminationGracePeriodSeconds": 5,
                    // Where the bed's own kubelet is the node.
                    "nodeSelector": { "bed/pool": "prow" },
                    "tolerations": [{ "key": "bed/pool", "operator": "Equal", "value": "prow", "effect": "NoSchedule" }],
                    "containers": [{ "name": "main", "image": "gcr.io/agree/web:v1" }],
                },
            },
        },
    });
    for (field, value) in spec.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    object
}

async fn set_image(server: &Server, app: &str, image: &str) -> Value {
    let patch = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": image }] } } } });
    server.patch(&at("deployments", PROW, app), STRATEGIC, &patch).await.ok()
}

async fn get(server: &Server, app: &str) -> Value {
    server.get(&at("deployments", PROW, app)).await.ok()
}

/// True once everything is as wanted and the controller has seen the newest wish.
fn is_done(deployment: &Value) -> bool {
    let (spec, status) = (&deployment["spec"], &deployment["status"]);
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    has_seen(deployment)
        && [count("replicas"), count("updatedReplicas"), count("availableReplicas")].iter().all(|n| *n == wanted)
        && condition(deployment, "Progressing")["reason"] == "NewReplicaSetAvailable"
        && condition(deployment, "ReplicaFailure").is_null()
}

fn has_seen(deployment: &Value) -> bool {
    deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
}

fn condition(object: &Value, kind: &str) -> Value {
    let all = object["status"]["conditions"].as_array();
    all.into_iter().flatten().find(|condition| condition["type"] == kind).cloned().unwrap_or_default()
}

/// What matters of a Deployment, its ReplicaSets and their pods.
async fn tell(server: &Server, t: &mut Transcript, what: &str, app: &str) {
    let deployment = get(server, app).await;
    let sets = sets(server, app).await;
    for set in &sets {
        let hidden = if set == sets.last().expect("there is one") { "<newest set>" } else { "<older set>" };
        t.hide(name(set), hidden);
    }
    t.show(
        what,
        &deployment,
        &[
            "/metadata/generation",
            "/metadata/annotations/deployment.kubernetes.io~1revision",
            "/status/observedGeneration",
            "/status/replicas",
            "/status/updatedReplicas",
            "/status/readyReplicas",
            "/status/availableReplicas",
            "/status/unavailableReplicas",
        ],
    );
    let mut conditions = deployment["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.sort_by_key(|condition| condition["type"].to_string());
    for condition in &conditions {
        t.show("  condition", condition, &["/type", "/status", "/reason", "/message"]);
    }
    for set in &sets {
        t.show(
            "  set",
            set,
            &[
                "/metadata/annotations/deployment.kubernetes.io~1revision",
                "/metadata/annotations/deployment.kubernetes.io~1desired-replicas",
                "/spec/template/spec/containers/0/image",
                "/spec/replicas",
                "/status/replicas",
                "/status/readyReplicas",
                "/status/availableReplicas",
            ],
        );
    }
}

/// The ReplicaSets by revision.
async fn sets(server: &Server, app: &str) -> Vec<Value> {
    let mut sets = server.items(&format!("{}?labelSelector=app%3D{app}", path("replicasets", PROW))).await;
    sets.sort_by_key(|set| set["metadata"]["annotations"][REVISION].as_str().and_then(|n| n.parse::<i64>().ok()));
    sets
}

async fn pods(server: &Server, app: &str) -> Vec<Value> {
    server.items(&format!("{}?labelSelector=app%3D{app}", path("pods", PROW))).await
}

async fn until_done(subject: &Subject, server: &Server, app: &str) {
    let done = async || {
        let settled = pods(server, app).await.iter().all(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        (is_done(&get(server, app).await) && settled).then_some(())
    };
    subject.until(&format!("{app} is rolled out"), SOON, done).await;
}

async fn remove(subject: &Subject, server: &Server, app: &str) {
    server.delete(&at("deployments", PROW, app)).await.ok();
    let gone = async || pods(server, app).await.is_empty().then_some(());
    subject.until(&format!("the pods of {app} are gone"), SOON, gone).await;
}

pub async fn rolls_out(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let app = "agree-web";
    let made = server.post(&path("deployments", PROW), &deployment(app, 3, &json!({}))).await;
    t.told_of("created", &made, &["/metadata/generation", "/spec/replicas"]);
    made.ok();
    until_done(subject, &server, app).await;
    tell(&server, t, "up", app).await;
    let pod = &pods(&server, app).await[0];
    let owner = &pod["metadata"]["ownerReferences"][0];
    t.show("owner of its pods", owner, &["/apiVersion", "/kind", "/name", "/controller", "/blockOwnerDeletion"]);
    let set = &sets(&server, app).await[0];
    t.show(
        "owner of its set",
        &set["metadata"]["ownerReferences"][0],
        &["/apiVersion", "/kind", "/name", "/controller"],
    );
    let hash = &pod["metadata"]["labels"]["pod-template-hash"];
    assert_eq!(hash, &set["metadata"]["labels"]["pod-template-hash"]);
    assert_eq!(
        name(set),
        format!("{app}-{}", hash.as_str().unwrap_or_default()),
        "the set is named after its template"
    );
    assert!(name(pod).starts_with(&format!("{}-", name(set))), "and the pod after its set");

    set_image(&server, app, "gcr.io/agree/web:v2").await;
    until_done(subject, &server, app).await;
    tell(&server, t, "another image", app).await;

    set_image(&server, app, "gcr.io/agree/web:v1").await;
    until_done(subject, &server, app).await;
    tell(&server, t, "back to the first: its set gets a new revision", app).await;

    let same = set_image(&server, app, "gcr.io/agree/web:v1").await;
    t.show("the same image again changes nothing", &same, &["/metadata/generation"]);

    let restart = json!({ "spec": { "template": { "metadata": { "annotations": {
        "kubectl.kubernetes.io/restartedAt": "2019-01-23T09:00:00Z",
    } } } } });
    server.patch(&at("deployments", PROW, app), STRATEGIC, &restart).await.ok();
    until_done(subject, &server, app).await;
    tell(&server, t, "restarted", app).await;

    server.patch(&at("deployments", PROW, app), MERGE, &json!({ "spec": { "replicas": 1 } })).await.ok();
    until_done(subject, &server, app).await;
    tell(&server, t, "fewer", app).await;
    server.patch(&at("deployments", PROW, app), MERGE, &json!({ "spec": { "replicas": 0 } })).await.ok();
    until_done(subject, &server, app).await;
    tell(&server, t, "none", app).await;
    remove(subject, &server, app).await;
    let left = sets(&server, app).await.len();
    t.note("sets that stay when the Deployment goes", left);
}

/// An image that no node can pull: the rollout stands still, the old pods go on.
pub async fn image_that_is_not_there(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let app = "agree-pull";
    let made = deployment(app, 2, &json!({ "progressDeadlineSeconds": 15 }));
    server.post(&path("deployments", PROW), &made).await.ok();
    until_done(subject, &server, app).await;
    let missing = "gcr.io/k8s-prow/deck:v20190101-never";
    set_image(&server, app, missing).await;
    let stuck = async || {
        let deployment = get(&server, app).await;
        let of_new = pods(&server, app).await;
        let of_new: Vec<&Value> =
            of_new.iter().filter(|pod| pod["spec"]["containers"][0]["image"] == missing).collect();
        let waits = |pod: &&Value| text(pod, "/status/containerStatuses/0/state/waiting/reason") == "ImagePullBackOff";
        let counted = deployment["status"]["updatedReplicas"] == 2 && deployment["status"]["replicas"] == 3;
        (has_seen(&deployment) && counted && of_new.len() == 2 && of_new.iter().all(waits)).then(|| of_new[0].clone())
    };
    let pod = subject.until("both new pods cannot pull", SOON, stuck).await;
    t.show(
        "the pod",
        &pod,
        &[
            "/status/phase",
            "/status/containerStatuses/0/state/waiting/reason",
            "/status/containerStatuses/0/state/waiting/message",
            "/status/containerStatuses/0/ready",
            "/status/containerStatuses/0/restartCount",
            "/status/containerStatuses/0/lastState",
        ],
    );
    t.show("ready", &condition(&pod, "Ready"), &["/status", "/reason", "/message"]);
    tell(&server, t, "stuck", app).await;
    let events =
        format!("/api/v1/namespaces/{PROW}/events?fieldSelector=type%3DWarning,involvedObject.name%3D{}", name(&pod));
    let warned = async || {
        let events = server.items(&events).await;
        let failed = events.iter().find(|event| text(event, "/message").starts_with("Back-off pulling"))?;
        Some(failed.clone())
    };
    let event = subject.until("a warning", SOON, warned).await;
    t.show("a warning", &event, &["/type", "/message", "/involvedObject/kind"]);
    let log = server.log(PROW, name(&pod), "tailLines=1").await;
    // The words are the node's.
    t.note("its log", (log.code, &log.body["reason"]));
    log.refused(400, "BadRequest");

    let overdue = async || {
        let deployment = get(&server, app).await;
        (condition(&deployment, "Progressing")["reason"] == "ProgressDeadlineExceeded").then_some(())
    };
    subject.until("the deadline of progress is over", SOON, overdue).await;
    tell(&server, t, "overdue", app).await;
    set_image(&server, app, "gcr.io/agree/web:v1").await;
    until_done(subject, &server, app).await;
    tell(&server, t, "rolled back", app).await;
    remove(subject, &server, app).await;
}

/// An image that was withdrawn and comes back.
pub async fn image_that_comes_back(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let app = "agree-back";
    subject.withdraw("web:v3");
    let mut made = deployment(app, 1, &json!({}));
    made["spec"]["template"]["spec"]["containers"][0]["image"] = json!("gcr.io/agree/web:v3");
    server.post(&path("deployments", PROW), &made).await.ok();
    let stuck = async || {
        let pods = pods(&server, app).await;
        let waits = |pod: &Value| text(pod, "/status/containerStatuses/0/state/waiting/reason") == "ImagePullBackOff";
        let counted = get(&server, app).await["status"]["updatedReplicas"] == 1;
        (pods.len() == 1 && waits(&pods[0]) && counted).then_some(())
    };
    subject.until("the pod cannot pull", SOON, stuck).await;
    tell(&server, t, "withdrawn", app).await;
    subject.publish("web:v3");
    // The longest pause between two tries.
    let within = 300;
    let up = async || is_done(&get(&server, app).await).then_some(());
    subject.until("the pod is up", within, up).await;
    tell(&server, t, "published", app).await;
    remove(subject, &server, app).await;
}

pub async fn paused(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let app = "agree-pause";
    let one = at("deployments", PROW, app);
    server.post(&path("deployments", PROW), &deployment(app, 2, &json!({}))).await.ok();
    until_done(subject, &server, app).await;
    let seen = async |what: &str| {
        let seen = async || has_seen(&get(&server, app).await).then_some(());
        subject.until(&format!("the controller has seen: {what}"), SOON, seen).await;
    };
    server.patch(&one, MERGE, &json!({ "spec": { "paused": true } })).await.ok();
    seen("paused").await;
    tell(&server, t, "paused", app).await;
    set_image(&server, app, "gcr.io/agree/web:v2").await;
    seen("another image").await;
    tell(&server, t, "another image while paused", app).await;
    server.patch(&one, MERGE, &json!({ "spec": { "replicas": 3 } })).await.ok();
    let scaled = async || (get(&server, app).await["status"]["readyReplicas"] == 3).then_some(());
    subject.until("it is scaled while paused", SOON, scaled).await;
    tell(&server, t, "scaled while paused", app).await;
    server.patch(&one, MERGE, &json!({ "spec": { "paused": null } })).await.ok();
    until_done(subject, &server, app).await;
    tell(&server, t, "resumed", app).await;
    remove(subject, &server, app).await;
}

/// A quota leaves no room for the new pods.
pub async fn quota(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let app = "agree-quota";
    let no_surge =
        json!({ "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } } });
    server.post(&path("deployments", PROW), &deployment(app, 1, &no_surge)).await.ok();
    until_done(subject, &server, app).await;
    let used = pods_in(&server).await;
    let quota = give_quota(subject, &server, PROW, used).await;
    set_image(&server, app, "gcr.io/agree/web:v2").await;
    let refused = async || {
        let deployment = get(&server, app).await;
        (condition(&deployment, "ReplicaFailure")["status"] == "True").then_some(deployment)
    };
    let deployment = subject.until("the new pod is refused", SOON, refused).await;
    t.hide(&format!("used: pods={used}, limited: pods={used}"), "used: all");
    let failure = condition(&deployment, "ReplicaFailure");
    let message = text(&failure, "/message");
    let pod = message.split('"').nth(1).unwrap_or_default();
    assert!(pod.starts_with(app), "{message}");
    t.hide(pod, "<pod>");
    tell(&server, t, "refused", app).await;
    server.delete(&quota).await.ok();
    set_image(&server, app, "gcr.io/agree/web:v1").await;
    until_done(subject, &server, app).await;
    tell(&server, t, "rolled back", app).await;
    remove(subject, &server, app).await;
}

async fn pods_in(server: &Server) -> usize {
    let pods = server.items(&path("pods", PROW)).await;
    pods.iter().filter(|pod| !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")).count()
}

/// From now on no more than so many pods may be there. Gives back where the quota is.
pub async fn give_quota(subject: &Subject, server: &Server, namespace: &str, pods: usize) -> String {
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "agree-quota" },
        "spec": { "hard": { "pods": pods.to_string() } },
    });
    server.post(&path("resourcequotas", namespace), &quota).await.ok();
    let one = at("resourcequotas", namespace, "agree-quota");
    let counted = async || server.get(&one).await.ok()["status"]["used"]["pods"].is_string().then_some(());
    subject.until("the quota is counted", SOON, counted).await;
    one
}
