//! ProwJobs as hook and horologium make them; some give Prow a past, so that each flow has a newest moment.

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use serde_json::{Value, json};

use crate::api::create;
use crate::layout::{DEFAULT, TEST_PODS};

/// A ProwJob. Times are minutes before now; without an end it goes on.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    pub id: &'a str,
    pub kind: &'a str,
    pub job: &'a str,
    /// Organisation, repository and pull request (0: none).
    pub refs: Option<(&'a str, &'a str, u32)>,
    pub started: i64,
    pub ended: Option<i64>,
    pub state: &'a str,
    /// The alias of the cluster where its pod runs.
    pub cluster: &'a str,
    /// Secrets that its pod mounts: volume and name.
    pub secrets: &'a [(&'a str, &'a str)],
}

impl Job<'static> {
    /// What most jobs are.
    pub const PLAIN: Self = Self {
        id: "",
        kind: "presubmit",
        job: "",
        refs: None,
        started: 0,
        ended: None,
        state: "triggered",
        cluster: DEFAULT,
        secrets: &[],
    };
}

const PAST: &[Job<'static>] = &[
    Job {
        id: "0f6a4bd4-1c56-11e9-8d1c-0a580a6c0b01",
        kind: "presubmit",
        job: "pull-kubernetes-verify",
        refs: Some(("kubernetes", "kubernetes", 73142)),
        started: 46,
        ended: Some(28),
        state: "success",
        ..Job::PLAIN
    },
    Job {
        id: "1a0c3c1e-1c56-11e9-8d1c-0a580a6c0b02",
        kind: "presubmit",
        job: "pull-test-infra-bazel",
        refs: Some(("kubernetes", "test-infra", 10886)),
        started: 33,
        ended: Some(24),
        state: "success",
        ..Job::PLAIN
    },
    Job {
        id: "2b64e7aa-1c56-11e9-8d1c-0a580a6c0b03",
        kind: "postsubmit",
        job: "post-test-infra-deploy-prow",
        refs: Some(("kubernetes", "test-infra", 0)),
        started: 22,
        ended: Some(9),
        state: "success",
        ..Job::PLAIN
    },
    Job {
        id: "3c27b1de-1c56-11e9-8d1c-0a580a6c0b04",
        kind: "periodic",
        job: "ci-test-infra-triage",
        refs: None,
        started: 12,
        ended: Some(6),
        state: "success",
        ..Job::PLAIN
    },
    Job {
        id: "4d7a99f0-1c56-11e9-8d1c-0a580a6c0b05",
        kind: "periodic",
        job: "ci-kubernetes-node-kubelet",
        refs: None,
        started: 10,
        ended: None,
        state: "pending",
        ..Job::PLAIN
    },
    Job {
        id: "5e00d3a2-1c56-11e9-8d1c-0a580a6c0b06",
        kind: "presubmit",
        job: "pull-kubernetes-e2e-kops-aws",
        refs: Some(("kubernetes", "kubernetes", 73150)),
        started: 4,
        ended: None,
        state: "pending",
        ..Job::PLAIN
    },
    Job {
        id: "6f1b8c44-1c56-11e9-8d1c-0a580a6c0b07",
        kind: "presubmit",
        job: "pull-aws-ebs-csi-driver-unit",
        refs: Some(("kubernetes-sigs", "aws-ebs-csi-driver", 188)),
        started: 1,
        ended: None,
        state: "triggered",
        ..Job::PLAIN
    },
];

/// Creates them all; the running prow-controller-manager carries the unfinished ones on.
pub async fn create_past(client: &Client, namespace: &str) -> Result<()> {
    for past in PAST {
        create_prow_job(client, past, namespace).await?;
    }
    Ok(())
}

/// Creates one, as the component does that is in charge of its kind.
pub async fn create_prow_job(client: &Client, job: &Job<'_>, namespace: &str) -> Result<()> {
    let creator = if job.kind == "periodic" { "horologium" } else { "hook" };
    create(client, &prow_job(job, namespace), creator).await?;
    Ok(())
}

fn ago(minutes: i64) -> String {
    let time = Timestamp::now() - SignedDuration::from_mins(minutes);
    let whole = Timestamp::from_second(time.as_second()).unwrap_or(time);
    whole.to_string()
}

fn prow_job(past: &Job<'_>, namespace: &str) -> Value {
    let mut labels = json!({
        "created-by-prow": "true",
        "prow.k8s.io/id": past.id,
        "prow.k8s.io/job": past.job,
        "prow.k8s.io/type": past.kind,
    });
    let mut spec = json!({
        "type": past.kind,
        "agent": "kubernetes",
        "cluster": past.cluster,
        "namespace": TEST_PODS,
        "job": past.job,
        "pod_spec": { "containers": [{
            "name": "test",
            "image": "gcr.io/k8s-testimages/kubekins-e2e:v20190116-7e6e9bf5c-master",
            "command": ["hack/verify-all"],
        }]},
    });
    if !past.secrets.is_empty() {
        let mount = |(volume, _): &(&str, &str)| json!({ "name": volume, "mountPath": format!("/etc/{volume}") });
        let volume = |(volume, secret): &(&str, &str)| json!({ "name": volume, "secret": { "secretName": secret } });
        let pod = &mut spec["pod_spec"];
        pod["containers"][0]["volumeMounts"] = past.secrets.iter().map(mount).collect();
        pod["volumes"] = past.secrets.iter().map(volume).collect();
    }
    if let Some((org, repo, pull)) = past.refs {
        labels["prow.k8s.io/refs.org"] = json!(org);
        labels["prow.k8s.io/refs.repo"] = json!(repo);
        let mut refs = json!({
            "org": org, "repo": repo, "base_ref": "master",
            "base_sha": "7e6e9bf5c0c4b1a1f7f0b6ef3d5a8e2a4c1d9b30",
        });
        if pull != 0 {
            labels["prow.k8s.io/refs.pull"] = json!(pull.to_string());
            refs["pulls"] =
                json!([{ "number": pull, "author": "contributor", "sha": "c2ef4d8a0b1c2d3e4f5061728394a5b6c7d8e9f0" }]);
            spec["report"] = json!(true);
            spec["context"] = json!(past.job);
            labels["prow.k8s.io/context"] = json!(past.job);
        }
        spec["refs"] = refs;
    }
    let mut status = json!({
        "state": past.state,
        "startTime": ago(past.started),
    });
    // A triggered job gets its pod and its build from prow-controller-manager.
    if past.state != "triggered" {
        status["pendingTime"] = json!(ago(past.started));
        status["pod_name"] = json!(past.id);
        status["build_id"] = json!("1087391520000000000");
        status["url"] =
            json!(format!("https://prow.k8s.io/view/gs/kubernetes-jenkins/logs/{}/1087391520000000000", past.job));
    }
    if let Some(ended) = past.ended {
        status["completionTime"] = json!(ago(ended));
        status["description"] = json!(format!("Job {}.", if past.state == "success" { "succeeded" } else { "failed" }));
        if past.kind == "presubmit" {
            status["prev_report_states"] = json!({ "github-reporter": past.state });
        }
    }
    json!({
        "apiVersion": "prow.k8s.io/v1", "kind": "ProwJob",
        "metadata": {
            "name": past.id, "namespace": namespace, "labels": labels,
            "annotations": { "prow.k8s.io/job": past.job, "prow.k8s.io/context": if past.refs.is_some() { past.job } else { "" } },
        },
        "spec": spec,
        "status": status,
    })
}
