//! ProwJobs as hook and horologium make them: those of before, and those that start while the story is told.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::file::{DrillFile, JobKind, PastJob};
use super::manifests::volumes;
use crate::sim::object::stamp;

/// A ProwJob of a batch that is to be made at a time. The object itself is not made before: hundreds of them wait.
#[derive(Debug, Clone, Copy)]
pub struct NewJob {
    pub at: Timestamp,
    batch: usize,
    /// Within the batch.
    n: usize,
    /// Among all.
    number: usize,
}

/// A ProwJob as it is created, and by whom.
#[derive(Debug, Clone)]
pub struct Made {
    pub object: Value,
    pub creator: &'static str,
}

struct Job<'a> {
    id: &'a str,
    job: &'a str,
    kind: JobKind,
    repo: Option<&'a str>,
    pull: u32,
    cluster: &'a str,
    secrets: &'a [String],
    started: Timestamp,
    ended: Option<Timestamp>,
}

/// A ProwJob of before.
pub fn past(file: &DrillFile, past: &PastJob) -> Made {
    let PastJob { id, job, kind, repo, secrets, pull, cluster, started, ended } = past;
    let job = Job {
        id,
        job,
        kind: *kind,
        repo: repo.as_deref(),
        pull: *pull,
        cluster,
        secrets,
        started: *started,
        ended: *ended,
    };
    made(file, &job)
}

/// The ProwJobs of all batches by their times; `share` of a thousand of them.
pub fn batches(file: &DrillFile, share: usize) -> Vec<NewJob> {
    let mut number = 0;
    let mut all = Vec::new();
    for (at_batch, batch) in file.jobs.iter().enumerate() {
        let count = (batch.count * share).div_ceil(1000);
        let span = batch.until.duration_since(batch.from).as_secs();
        let whole = |part: usize| i64::try_from(part).unwrap_or(i64::MAX);
        for n in 0..count {
            number += 1;
            let at = batch.from + SignedDuration::from_secs(span * whole(n) / whole(count.max(1)));
            all.push(NewJob { at, batch: at_batch, n, number });
        }
    }
    all.sort_by_key(|job| job.at);
    all
}

impl NewJob {
    /// The object; `file` is the one whose batches it is of.
    pub fn make(&self, file: &DrillFile) -> Made {
        let NewJob { at, n, number, .. } = *self;
        let batch = &file.jobs[self.batch];
        let part = &batch.jobs[n % batch.jobs.len()];
        // As the version 1 UUIDs of that time: the first part counts.
        let id = format!("{:08x}-2966-11e9-8d1c-0a580a6c{:04x}", 0x3a90_4c10_usize + number * 0x1f3, number % 0xffff);
        let pull = if part.kind == JobKind::Presubmit { 73_500 + u32::try_from(number).unwrap_or(0) } else { 0 };
        let job = Job {
            id: &id,
            job: &part.job,
            kind: part.kind,
            repo: part.repo.as_deref(),
            pull,
            cluster: &batch.cluster,
            secrets: &part.secrets,
            started: at,
            ended: None,
        };
        made(file, &job)
    }
}

fn made(file: &DrillFile, job: &Job<'_>) -> Made {
    let object = prow_job(&file.prow.pod_namespace, job);
    Made { object, creator: if job.kind == JobKind::Periodic { "horologium" } else { "hook" } }
}

fn prow_job(pod_namespace: &str, job: &Job<'_>) -> Value {
    let kind = job.kind.name();
    let mut labels = json!({
        "created-by-prow": "true", "prow.k8s.io/id": job.id, "prow.k8s.io/job": job.job, "prow.k8s.io/type": kind,
    });
    let (mounts, volumes) = volumes(&[], job.secrets);
    let mut spec = json!({
        "type": kind, "agent": "kubernetes", "cluster": job.cluster, "namespace": pod_namespace, "job": job.job,
        "pod_spec": {
            "containers": [{
                "name": "test", "image": "gcr.io/k8s-testimages/kubekins-e2e:v20190116-7e6e9bf5c-master",
                "command": ["hack/run"], "volumeMounts": mounts,
            }],
            "volumes": volumes,
        },
    });
    if let Some((org, repo)) = job.repo.and_then(|repo| repo.split_once('/')) {
        labels["prow.k8s.io/refs.org"] = json!(org);
        labels["prow.k8s.io/refs.repo"] = json!(repo);
        let mut refs = json!({
            "org": org, "repo": repo, "base_ref": "master", "base_sha": "7e6e9bf5c0c4b1a1f7f0b6ef3d5a8e2a4c1d9b30",
        });
        if job.pull != 0 {
            labels["prow.k8s.io/refs.pull"] = json!(job.pull.to_string());
            labels["prow.k8s.io/context"] = json!(job.job);
            refs["pulls"] = json!([{
                "number": job.pull, "author": "contributor", "sha": "c2ef4d8a0b1c2d3e4f5061728394a5b6c7d8e9f0",
            }]);
            spec["report"] = json!(true);
            spec["context"] = json!(job.job);
        }
        spec["refs"] = refs;
    }
    let mut status = json!({ "state": "triggered", "startTime": stamp(job.started) });
    if let Some(ended) = job.ended {
        let build = "1087391520000000000";
        status = json!({
            "state": "success", "startTime": stamp(job.started), "pendingTime": stamp(job.started),
            "completionTime": stamp(ended), "description": "Job succeeded.", "pod_name": job.id, "build_id": build,
            "url": format!("https://prow.k8s.io/view/gs/kubernetes-jenkins/logs/{}/{build}", job.job),
        });
        if job.kind == JobKind::Presubmit {
            status["prev_report_states"] = json!({ "github-reporter": "success" });
        }
    }
    let context = if job.pull == 0 { "" } else { job.job };
    json!({
        "metadata": {
            "name": job.id, "labels": labels,
            "annotations": { "prow.k8s.io/job": job.job, "prow.k8s.io/context": context },
        },
        "spec": spec, "status": status,
    })
}
