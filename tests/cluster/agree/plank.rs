//! What prow-controller-manager makes of ProwJobs whose pods come, go, linger or fall into the wrong namespace.

use serde_json::{Value, json};

use super::jobs::{
    LEASE_AND_MORE, SOON, create, find_pod, get, triggered, unscheduled, until_ended, until_gone, until_other_pod,
    until_pod, until_running, until_seen,
};
use super::rollouts::give_quota;
use super::server::{MERGE, STRATEGIC, Server, at, name, path, text, uid, version};
use super::subject::{BAD_TAG, PROW, Subject, TAG, TEST_PODS};
use super::transcript::Transcript;

const MANAGER: &str = "prow-controller-manager";
const STATUS: &[&str] = &["/status/state", "/status/description", "/status/pod_name", "/status/pod_revival_count"];

fn build(object: &Value) -> &str {
    text(object, "/status/build_id")
}

async fn tell(server: &Server, t: &mut Transcript, what: &str, job: &str) -> Value {
    let job = get(server, job).await;
    t.show(what, &job, STATUS);
    t.note("  has ended", job["status"]["completionTime"].is_string());
    job
}

fn keys(object: &Value) -> Vec<&String> {
    object.as_object().into_iter().flatten().map(|(key, _)| key).collect()
}

async fn delete_pod(server: &Server, namespace: &str, pod: &Value) -> Value {
    let options = json!({ "preconditions": { "uid": uid(pod) } });
    server.delete_with(&at("pods", namespace, name(pod)), &options).await.ok()
}

/// At once, whatever its node says.
async fn force_away(server: &Server, namespace: &str, pod: &Value) {
    let options = json!({ "gracePeriodSeconds": 0, "preconditions": { "uid": uid(pod) } });
    server.delete_with(&at("pods", namespace, name(pod)), &options).await.ok();
}

pub async fn creates(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    create(&server, &triggered(subject, "agree-creates")).await;
    let pod = until_pod(subject, &server, TEST_PODS, "agree-creates", SOON).await;
    let job = tell(&server, t, "the job", "agree-creates").await;
    t.hide(build(&job), "<build>");
    t.note("  with", keys(&job["status"]));
    let mut labels = pod["metadata"]["labels"].clone();
    labels["prow.k8s.io/plank-version"] = Value::Null;
    t.note("labels of the pod", labels);
    t.note("annotations", &pod["metadata"]["annotations"]);
    t.show("the pod", &pod, &["/metadata/finalizers", "/metadata/ownerReferences", "/spec/restartPolicy"]);
    assert!(find_pod(&server, PROW, "agree-creates").await.is_none(), "one pod in one place");
}

/// A pod that goes while prow-controller-manager looks: the server tells of its deletion right before it tells of its end. plank
/// nearly always looks in between and ends the job; else it finds no pod and makes another one. There is nothing third.
pub async fn deleted_at_once(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    for (name, job) in
        [("agree-forced", triggered(subject, "agree-forced")), ("agree-unborn", unscheduled(subject, "agree-unborn"))]
    {
        create(&server, &job).await;
        let pod = until_pod(subject, &server, TEST_PODS, name, SOON).await;
        let before = get(&server, name).await;
        force_away(&server, TEST_PODS, &pod).await;
        let settled = async || {
            let job = get(&server, name).await;
            let pod_now = find_pod(&server, TEST_PODS, name).await;
            let ended = job["status"]["state"] == "error"
                && job["status"]["description"] == "Pod got deleted unexpectedly"
                && pod_now.is_none();
            let again = job["status"]["state"] == "pending"
                && build(&job) != build(&before)
                && pod_now.is_some_and(|other| uid(&other) != uid(&pod));
            (ended || again).then_some(())
        };
        subject.until(&format!("{name} ends or gets another pod"), SOON, settled).await;
    }
    t.note("ended, or with another pod", true);
}

/// What goes while nobody leads is found missing.
pub async fn recreates(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let jobs = ["agree-missing", "agree-present"];
    let mut pods = Vec::new();
    for job in jobs {
        create(&server, &triggered(subject, job)).await;
        pods.push(until_pod(subject, &server, TEST_PODS, job, SOON).await);
    }
    let before = get(&server, jobs[0]).await;
    let present = get(&server, jobs[1]).await;
    let scale = async |replicas: u32| {
        let patch = json!({ "spec": { "replicas": replicas } });
        server.patch(&at("deployments", PROW, MANAGER), MERGE, &patch).await.ok();
    };
    scale(0).await;
    let nobody = async || {
        let pods = server.items(&format!("{}?labelSelector=app%3D{MANAGER}", path("pods", PROW))).await;
        pods.is_empty().then_some(())
    };
    subject.until("nobody leads", SOON, nobody).await;
    force_away(&server, TEST_PODS, &pods[0]).await;
    scale(1).await;
    until_other_pod(subject, &server, TEST_PODS, jobs[0], uid(&pods[0]), LEASE_AND_MORE).await;
    let after = tell(&server, t, "its pod went while nobody led", jobs[0]).await;
    assert_ne!(build(&before), build(&after), "the new pod is another build");
    assert_eq!(before["status"]["pendingTime"], after["status"]["pendingTime"], "pending since the first one");
    let kept = find_pod(&server, TEST_PODS, jobs[1]).await.expect("its pod goes on");
    assert_eq!(uid(&kept), uid(&pods[1]));
    assert_eq!(version(&get(&server, jobs[1]).await), version(&present), "who has a pod is left alone");
}

pub async fn lingering(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    create(&server, &triggered(subject, "agree-lingers")).await;
    let pod = until_running(subject, &server, TEST_PODS, "agree-lingers").await;
    until_pod(subject, &server, TEST_PODS, "agree-lingers", SOON).await;
    subject.hold();
    delete_pod(&server, TEST_PODS, &pod).await;
    until_ended(subject, &server, "agree-lingers").await;
    tell(&server, t, "its pod lingers for its grace", "agree-lingers").await;
    subject.let_go();
    until_gone(subject, &server, TEST_PODS, "agree-lingers").await;

    create(&server, &unscheduled(subject, "agree-held")).await;
    let pod = until_pod(subject, &server, TEST_PODS, "agree-held", SOON).await;
    let one = at("pods", TEST_PODS, "agree-held");
    let finalizer = json!({ "metadata": { "finalizers": ["agree.example.com/hold"] } });
    server.patch(&one, MERGE, &finalizer).await.ok();
    delete_pod(&server, TEST_PODS, &pod).await;
    until_ended(subject, &server, "agree-held").await;
    tell(&server, t, "its pod lingers for a finalizer", "agree-held").await;
    server.patch(&one, MERGE, &json!({ "metadata": { "finalizers": null } })).await.ok();
    until_gone(subject, &server, TEST_PODS, "agree-held").await;

    until_seen(subject, &server, "agree-after-lingering", TEST_PODS).await;
    for job in ["agree-lingers", "agree-held"] {
        assert!(find_pod(&server, TEST_PODS, job).await.is_none(), "a job that has ended gets no pod: {job}");
    }
}

pub async fn refused_pods(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    let quota = give_quota(subject, &server, TEST_PODS, 0).await;
    create(&server, &triggered(subject, "agree-refused")).await;
    let refused = until_ended(subject, &server, "agree-refused").await;
    // Jobs of others come and go.
    let used = text(&refused, "/status/description").split(", ").find(|part| part.starts_with("used: pods="));
    t.hide(used.expect("how many there are"), "used: <some>");
    tell(&server, t, "a quota", "agree-refused").await;
    server.delete(&quota).await.ok();

    let mut bad = triggered(subject, "agree-bad-pod");
    bad["spec"]["pod_spec"]["containers"][0]["image"] = json!("");
    create(&server, &bad).await;
    until_ended(subject, &server, "agree-bad-pod").await;
    tell(&server, t, "an invalid pod", "agree-bad-pod").await;

    let mut nowhere = triggered(subject, "agree-nowhere");
    nowhere["spec"]["cluster"] = json!("agree-nowhere");
    create(&server, &nowhere).await;
    until_ended(subject, &server, "agree-nowhere").await;
    tell(&server, t, "a cluster that nobody knows", "agree-nowhere").await;
    for job in ["agree-refused", "agree-bad-pod", "agree-nowhere"] {
        assert!(find_pod(&server, TEST_PODS, job).await.is_none(), "{job}");
    }
}

/// Of a job that has ended, the pod may go.
pub async fn finished(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    create(&server, &triggered(subject, "agree-finished")).await;
    let pod = until_pod(subject, &server, TEST_PODS, "agree-finished", SOON).await;
    // Nothing more is news of its pod, for which the controller would look at the job as it was.
    until_running(subject, &server, TEST_PODS, "agree-finished").await;
    let end = json!({ "status": { "state": "success", "description": "Job succeeded.", "completionTime": "2019-01-23T09:00:00Z" } });
    let ended = server.patch(&at("prowjobs", PROW, "agree-finished"), MERGE, &end).await.ok();
    // Later news of ProwJobs has reached the controller, so this has: else it judges by what it knew before.
    until_seen(subject, &server, "agree-before-going", TEST_PODS).await;
    force_away(&server, TEST_PODS, &pod).await;
    until_seen(subject, &server, "agree-after-finished", TEST_PODS).await;
    assert!(find_pod(&server, TEST_PODS, "agree-finished").await.is_none());
    let job = tell(&server, t, "its pod was deleted", "agree-finished").await;
    assert_eq!(version(&job), version(&ended), "nobody touched it");
}

async fn roll_to(subject: &Subject, server: &Server, tag: &str) {
    let component = MANAGER;
    let image = format!("gcr.io/k8s-prow/{component}:{tag}");
    let patch =
        json!({ "spec": { "template": { "spec": { "containers": [{ "name": component, "image": image }] } } } });
    server.patch(&at("deployments", PROW, component), STRATEGIC, &patch).await.ok();
    let rolled = async || {
        let deployment = server.get(&at("deployments", PROW, component)).await.ok();
        let status = &deployment["status"];
        (status["observedGeneration"] == deployment["metadata"]["generation"]
            && status["updatedReplicas"] == 1
            && status["replicas"] == 1
            && status["availableReplicas"] == 1)
            .then_some(())
    };
    subject.until(&format!("{component} at {tag}"), SOON, rolled).await;
}

/// February 5th, 2019, in small: a version that puts pods where ProwJobs are, and the way back.
pub async fn wrong_namespace(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    // Runs where it belongs before it happens.
    create(&server, &triggered(subject, "agree-early")).await;
    until_pod(subject, &server, TEST_PODS, "agree-early", SOON).await;
    let early = until_running(subject, &server, TEST_PODS, "agree-early").await;
    let early_job = get(&server, "agree-early").await;

    roll_to(subject, &server, BAD_TAG).await;
    until_pod(subject, &server, PROW, "agree-early", LEASE_AND_MORE).await;
    let job = tell(&server, t, "a job that has a pod gets another one in the wrong namespace", "agree-early").await;
    assert_ne!(build(&job), build(&early_job), "and the stray's build is noted");
    let still = find_pod(&server, TEST_PODS, "agree-early").await.expect("its pod goes on");
    assert_eq!(uid(&still), uid(&early));

    create(&server, &triggered(subject, "agree-late")).await;
    let stray = until_pod(subject, &server, PROW, "agree-late", SOON).await;
    tell(&server, t, "a new job", "agree-late").await;
    assert!(find_pod(&server, TEST_PODS, "agree-late").await.is_none());

    // To delete strays now costs their jobs.
    create(&server, &triggered(subject, "agree-lost")).await;
    until_pod(subject, &server, PROW, "agree-lost", SOON).await;
    let lost = until_running(subject, &server, PROW, "agree-lost").await;
    subject.hold();
    delete_pod(&server, PROW, &lost).await;
    until_ended(subject, &server, "agree-lost").await;
    tell(&server, t, "its stray was deleted too early, and lingers", "agree-lost").await;
    subject.let_go();
    until_gone(subject, &server, PROW, "agree-lost").await;

    let before = subject.now();
    roll_to(subject, &server, TAG).await;
    let right = until_pod(subject, &server, TEST_PODS, "agree-late", LEASE_AND_MORE).await;
    let took = subject.now().duration_since(before).as_secs();
    assert!((5..90).contains(&took), "about a lease later: {took} s");
    tell(&server, t, "in the right namespace", "agree-late").await;
    assert_eq!(uid(&find_pod(&server, PROW, "agree-late").await.expect("strays stay")), uid(&stray));
    let kept = find_pod(&server, TEST_PODS, "agree-early").await.expect("its pod goes on");
    assert_eq!(uid(&kept), uid(&early), "who has a pod in the right place keeps it");

    until_seen(subject, &server, "agree-before-cleaning", TEST_PODS).await;
    let jobs = ["agree-early", "agree-late"];
    let mut versions = Vec::new();
    for job in jobs {
        versions.push(version(&get(&server, job).await).to_owned());
        let stray = find_pod(&server, PROW, job).await.expect("a stray");
        delete_pod(&server, PROW, &stray).await;
    }
    for job in jobs {
        until_gone(subject, &server, PROW, job).await;
    }
    until_seen(subject, &server, "agree-after-cleaning", TEST_PODS).await;
    for (job, before) in jobs.iter().zip(versions) {
        let after = tell(&server, t, "its stray was deleted afterwards", job).await;
        assert_eq!(version(&after), before, "no ProwJob is touched: {job}");
    }
    assert_eq!(uid(&find_pod(&server, TEST_PODS, "agree-late").await.expect("its pod")), uid(&right));
    assert!(find_pod(&server, PROW, "agree-late").await.is_none(), "and none comes back");
}
