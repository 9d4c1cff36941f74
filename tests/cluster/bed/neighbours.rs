//! Pods in the build cluster that no repair of this Prow may touch: another Prow's, certificates', and debug copies.

use anyhow::Result;
use kube::Client;
use serde_json::{Value, json};

use crate::api::{APPLIED_BY, create};
use crate::layout::TEST_PODS;

/// Pods of another Prow that shares the cluster: namespace, id, job. Its ProwJobs lie elsewhere.
pub const FOREIGN: &[(&str, &str, &str)] = &[
    (TEST_PODS, "9a4d2e10-2960-11e9-b9a5-0a580a820b11", "istio-unit-tests"),
    (TEST_PODS, "9b177c4e-2960-11e9-b9a5-0a580a820b12", "istio-pilot-e2e"),
    (TEST_PODS, "9c3390f6-2960-11e9-b9a5-0a580a820b13", "istio-postsubmit"),
    ("default", "9d5be8a2-2960-11e9-b9a5-0a580a820b14", "istio-release-check"),
    ("default", "9e80c1d4-2960-11e9-b9a5-0a580a820b15", "istio-release-publish"),
];

/// cert-manager's, which bear no label of Prow.
pub const ACME_SOLVERS: &[&str] = &["cm-acme-http-solver-7x2kd", "cm-acme-http-solver-q9vwl"];

/// What `oc debug` makes of a pod: a copy under another name that keeps the labels.
pub const DEBUG_NAMESPACES: &[&str] = &["default", TEST_PODS];

fn pod(namespace: &str, name: &str, labels: &Value, restart_policy: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "namespace": namespace, "name": name, "labels": labels },
        "spec": {
            "restartPolicy": restart_policy,
            "terminationGracePeriodSeconds": 5,
            "containers": [{ "name": "main", "image": image }],
        },
    })
}

fn prow_labels(id: &str, job: &str, kind: &str) -> Value {
    json!({
        "created-by-prow": "true", "prow.k8s.io/id": id, "prow.k8s.io/job": job, "prow.k8s.io/type": kind,
        "prow.k8s.io/build-id": "1092",
    })
}

/// Creates them all; `debugged` is a ProwJob of ours and its job.
pub async fn create_all(client: &Client, debugged: (&str, &str)) -> Result<()> {
    for (namespace, id, job) in FOREIGN {
        let pod =
            pod(namespace, id, &prow_labels(id, job, "postsubmit"), "Never", "gcr.io/istio-testing/prowbazel:0.4.11");
        create(client, &pod, "plank").await?;
    }
    for name in ACME_SOLVERS {
        let labels = json!({ "acme.cert-manager.io/http01-solver": "true" });
        let solver = pod(TEST_PODS, name, &labels, "OnFailure", "quay.io/jetstack/cert-manager-acmesolver:v0.6.0");
        create(client, &solver, "cert-manager").await?;
    }
    let (id, job) = debugged;
    for namespace in DEBUG_NAMESPACES {
        let labels = prow_labels(id, job, "presubmit");
        let copy = pod(namespace, &format!("{id}-debug"), &labels, "Never", "gcr.io/k8s-testimages/kubekins-e2e:debug");
        create(client, &copy, APPLIED_BY).await?;
    }
    Ok(())
}
