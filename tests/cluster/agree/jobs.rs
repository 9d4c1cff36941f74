//! ProwJobs for behaviours of prow-controller-manager and sinker.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::server::{Server, at, path, text};
use super::subject::{PROW, Subject, TEST_PODS};

/// Longer than a lease takes to run out on a busy machine.
pub const LEASE_AND_MORE: u32 = 120;
pub const SOON: u32 = 60;

/// A ProwJob that was triggered just now.
pub fn triggered(subject: &Subject, name: &str) -> Value {
    json!({
        "apiVersion": "prow.k8s.io/v1", "kind": "ProwJob",
        "metadata": {
            "name": name,
            "labels": {
                "created-by-prow": "true", "prow.k8s.io/id": name, "prow.k8s.io/job": "agree-job",
                "prow.k8s.io/type": "periodic",
                // Else KWOK ends its pod after a while.
                "bed/keep-running": "true",
            },
            "annotations": { "prow.k8s.io/job": "agree-job" },
        },
        "spec": {
            "type": "periodic", "agent": "kubernetes", "cluster": "default", "namespace": TEST_PODS, "job": "agree-job",
            "pod_spec": { "containers": [{ "name": "test", "image": "golang:1.11", "command": ["true"] }] },
        },
        "status": { "state": "triggered", "startTime": stamp(subject.now()) },
    })
}

/// One that no scheduler takes the pod of.
pub fn unscheduled(subject: &Subject, name: &str) -> Value {
    let mut job = triggered(subject, name);
    job["spec"]["pod_spec"]["schedulerName"] = json!("nobody");
    job
}

/// One that ended so long ago, an hour after it was started.
pub fn ended(subject: &Subject, name: &str, hours: i64) -> Value {
    let end = subject.now() - SignedDuration::from_hours(hours);
    let mut job = triggered(subject, name);
    job["status"] = json!({
        "state": "success", "description": "Job succeeded.", "startTime": stamp(end - SignedDuration::from_hours(1)),
        "pendingTime": stamp(end - SignedDuration::from_hours(1)), "completionTime": stamp(end), "pod_name": name,
        "build_id": "1087391520000000000",
    });
    job
}

/// A pod with Prow's labels that Prow did not make.
pub fn pod(id: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": id,
            "labels": { "created-by-prow": "true", "prow.k8s.io/id": id, "prow.k8s.io/job": "agree-job", "bed/keep-running": "true" },
        },
        "spec": { "restartPolicy": "Never", "containers": [{ "name": "test", "image": "golang:1.11" }] },
    })
}

fn stamp(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

pub async fn create(server: &Server, job: &Value) {
    server.post(&path("prowjobs", PROW), job).await.ok();
}

pub async fn get(server: &Server, name: &str) -> Value {
    server.get(&at("prowjobs", PROW, name)).await.ok()
}

/// The pod of a job in a namespace, if it is there.
pub async fn find_pod(server: &Server, namespace: &str, name: &str) -> Option<Value> {
    let answer = server.get(&at("pods", namespace, name)).await;
    (answer.code != 404).then(|| answer.ok())
}

/// Waits for the pod of a job, which must be noted in the job.
pub async fn until_pod(subject: &Subject, server: &Server, namespace: &str, name: &str, within: u32) -> Value {
    until_other_pod(subject, server, namespace, name, "", within).await
}

/// Waits for a pod of a job that is another one than this.
pub async fn until_other_pod(
    subject: &Subject,
    server: &Server,
    namespace: &str,
    name: &str,
    old: &str,
    within: u32,
) -> Value {
    let there = async || {
        let pod = find_pod(server, namespace, name).await?;
        let job = get(server, name).await;
        let is_noted = job["status"]["state"] == "pending"
            && job["status"]["build_id"] == pod["metadata"]["labels"]["prow.k8s.io/build-id"];
        (text(&pod, "/metadata/uid") != old && is_noted).then_some(pod)
    };
    subject.until(&format!("a pod of {name} in {namespace}"), within, there).await
}

/// Waits until the pod runs.
pub async fn until_running(subject: &Subject, server: &Server, namespace: &str, name: &str) -> Value {
    let runs = async || {
        let pod = find_pod(server, namespace, name).await?;
        (text(&pod, "/status/phase") == "Running").then_some(pod)
    };
    subject.until(&format!("the pod of {name} runs"), SOON, runs).await
}

/// Waits until a job has ended.
pub async fn until_ended(subject: &Subject, server: &Server, name: &str) -> Value {
    let ended = async || {
        let job = get(server, name).await;
        job["status"]["completionTime"].is_string().then_some(job)
    };
    subject.until(&format!("{name} ends"), SOON, ended).await
}

pub async fn until_gone(subject: &Subject, server: &Server, namespace: &str, name: &str) {
    let gone = async || find_pod(server, namespace, name).await.is_none().then_some(());
    subject.until(&format!("the pod of {name} in {namespace} is gone"), SOON, gone).await;
}

/// Waits until prow-controller-manager has seen everything up to now: it has made a pod for a job that is created here.
pub async fn until_seen(subject: &Subject, server: &Server, name: &str, namespace: &str) {
    create(server, &triggered(subject, name)).await;
    until_pod(subject, server, namespace, name, SOON).await;
}
