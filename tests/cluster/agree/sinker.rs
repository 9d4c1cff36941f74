//! What sinker sweeps, and what it leaves alone.

use jiff::Timestamp;
use serde_json::json;

use super::jobs::{LEASE_AND_MORE, SOON, create, ended, find_pod, pod, triggered, until_gone};
use super::reads::pod_of;
use super::server::{at, name, path, text};
use super::subject::{PROW, Subject, TEST_PODS};
use super::transcript::Transcript;

/// Its first sweep comes with its start.
pub async fn sweeps(subject: &Subject, t: &mut Transcript) {
    let server = subject.admin().await;
    // (name, hours since its ProwJob ended)
    let jobs = [("agree-swept-ancient", 80), ("agree-swept-old", 30), ("agree-swept-fresh", 1)];
    for (id, hours) in jobs {
        create(&server, &ended(subject, id, hours)).await;
        server.post(&path("pods", TEST_PODS), &pod(id)).await.ok();
    }
    create(&server, &triggered(subject, "agree-swept-running")).await;
    for namespace in [TEST_PODS, PROW, "default"] {
        server.post(&path("pods", namespace), &pod("agree-swept-orphan")).await.ok();
    }
    let mut unlabelled = pod("agree-swept-unlabelled");
    unlabelled["metadata"]["labels"] = json!({ "prow.k8s.io/id": "agree-swept-unlabelled" });
    server.post(&path("pods", TEST_PODS), &unlabelled).await.ok();

    // Younger pods may have a ProwJob that is not known yet.
    let old_enough = async || {
        let orphan = find_pod(&server, TEST_PODS, "agree-swept-orphan").await.expect("nobody has swept");
        let created: Timestamp = text(&orphan, "/metadata/creationTimestamp").parse().expect("a time");
        (subject.now().duration_since(created).as_secs() > 32).then_some(())
    };
    subject.until("the orphans are old enough", SOON, old_enough).await;
    let sinker = pod_of(&server, PROW, "sinker").await.expect("sinker runs");
    server.delete_with(&at("pods", PROW, name(&sinker)), &json!({})).await.ok();
    let swept = async || find_pod(&server, TEST_PODS, "agree-swept-orphan").await.is_none().then_some(());
    subject.until("sinker has swept", LEASE_AND_MORE, swept).await;
    let ancient = async || (server.get(&at("prowjobs", PROW, "agree-swept-ancient")).await.code == 404).then_some(());
    subject.until("sinker has swept ProwJobs", SOON, ancient).await;
    // Which pod it takes first is its own affair.
    for job in ["agree-swept-ancient", "agree-swept-old"] {
        until_gone(subject, &server, TEST_PODS, job).await;
    }

    for namespace in [TEST_PODS, PROW, "default"] {
        let left = find_pod(&server, namespace, "agree-swept-orphan").await.is_some();
        t.note(&format!("an orphan in {namespace} is left"), left);
        assert_eq!(left, namespace != TEST_PODS, "sinker leaves other namespaces alone: {namespace}");
    }
    t.note(
        "a pod without Prow's label is left",
        find_pod(&server, TEST_PODS, "agree-swept-unlabelled").await.is_some(),
    );
    for (id, _) in jobs {
        let job = server.get(&at("prowjobs", PROW, id)).await.code;
        t.note(id, (job, find_pod(&server, TEST_PODS, id).await.is_some()));
    }
    let running = find_pod(&server, TEST_PODS, "agree-swept-running").await.is_some();
    assert!(running, "the pod of a job that goes on is left alone");
}
