//! What has gone wrong when a bed is ready: an incident is a row of [`INCIDENTS`].
//!
//! Every incident starts from a healthy Prow and is brought about the way it happened, with real parts. A new one
//! is a row, its commits in `stories.rs`, and an async function that makes it happen and waits until it shows.

use std::time::Duration;

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

use crate::api::eventually;
use crate::bed::{Bed, Wishes};
use crate::bump;
use crate::layout::{FEBRUARY, JANUARY, Layout, MARCH, PLAYED};
use crate::prow_jobs::{Job, create_prow_job};
use crate::stories::{AWS_PRESETS_PATH, PLUGINS_PATH};
use crate::upload;

/// An incident by name.
pub struct Incident {
    pub name: &'static str,
    /// One sentence for a person.
    pub summary: &'static str,
    /// The Prow to which it happens.
    pub layout: &'static Layout,
}

pub const INCIDENTS: &[Incident] = &[
    Incident { name: "healthy", summary: "Nothing is wrong.", layout: &JANUARY },
    Incident {
        name: "2019-01-23",
        summary: "A merged preset refactoring does not load; hook has restarted and crash-loops.",
        layout: &JANUARY,
    },
    Incident {
        name: "2019-02-05",
        summary: "A bumped prow-controller-manager puts the pods of jobs into the namespace of ProwJobs; they cannot start.",
        layout: &FEBRUARY,
    },
    Incident {
        name: "bad-plugins",
        summary: "A compressed plugins.yaml, which Prow does not gunzip; hook has restarted and crash-loops.",
        layout: &MARCH,
    },
    Incident {
        name: "rollback-fast",
        summary: "Prow's Deployments after a bump, with nothing behind them.",
        layout: &PLAYED,
    },
];

/// Makes it happen on a healthy bed.
pub async fn bring_about(incident: &Incident, bed: &mut Bed, wishes: &Wishes) -> Result<()> {
    match incident.name {
        "healthy" => Ok(()),
        "2019-01-23" => duplicated_preset(bed, wishes.back_off_factor).await,
        "2019-02-05" => bump::bring_about(bed, wishes.jobs).await,
        "bad-plugins" => compressed_plugins(bed, wishes.back_off_factor).await,
        "rollback-fast" => bump::roll_out_everything(bed).await,
        other => bail!("nobody has written how {other} happens"),
    }
}

/// The configuration is merged and uploaded; the running components refuse it and go on; then hook restarts.
async fn duplicated_preset(bed: &mut Bed, back_off_factor: f64) -> Result<()> {
    merge_and_upload(bed, "refactor", "job-config", AWS_PRESETS_PATH).await?;
    crash_hook(bed, back_off_factor).await
}

/// Compression is turned on by an upload that is not compressed yet, since hook goes by what it has loaded; the next one is.
async fn compressed_plugins(bed: &mut Bed, back_off_factor: f64) -> Result<()> {
    merge_and_upload(bed, "compress", "plugins", PLUGINS_PATH).await?;
    merge_and_upload(bed, "enable", "plugins", PLUGINS_PATH).await?;
    // Its cluster is no more, and nobody told the job: it ends in error whatever one does.
    let lost = Job { id: "7f2c9d55-4625-11e9-8d1c-0a580a6c0b08", job: "ci-kubernetes-unit-arm", ..Job::PLAIN };
    let lost = Job { kind: "periodic", cluster: "build-arm", ..lost };
    create_prow_job(&bed.service.client, &lost, bed.layout.prow).await?;
    crash_hook(bed, back_off_factor).await
}

/// Merges a commit, uploads it as hook does, and waits until hook's pods have its file.
async fn merge_and_upload(bed: &mut Bed, commit: &str, map: &str, path: &str) -> Result<()> {
    // Kubernetes' times have whole seconds: the write must be seen to come after all starts.
    let started = jiff::Timestamp::now().as_second();
    eventually(
        "the next second",
        Duration::from_secs(5),
        async || Ok(jiff::Timestamp::now().as_second() > started + 1),
    )
    .await?;
    bed.repository.merge(commit).await?;
    upload::as_hook(bed, commit).await?;
    let key = path.rsplit('/').next().unwrap_or(path);
    let content = upload::live(bed, map, key).await?;
    let (kubelet, prow) = (&bed.service.kubelet, bed.layout.prow);
    eventually(&format!("the new {map} in all pods"), Duration::from_secs(180), async || {
        Ok(kubelet.all_see(prow, "hook-", map, key, &content))
    })
    .await
}

/// hook restarts, and comes into its crash loop.
async fn crash_hook(bed: &Bed, back_off_factor: f64) -> Result<()> {
    let (kubelet, prow) = (&bed.service.kubelet, bed.layout.prow);
    // The first back-off is hurried, so that the bed is ready in seconds.
    kubelet.set_back_off_factor(back_off_factor.min(0.05));
    if kubelet.kill_containers(prow, "hook-") != 2 {
        bail!("hook did not run in two pods");
    }
    let pods: Api<Pod> = Api::namespaced(bed.service.client.clone(), prow);
    let within = Duration::from_secs(180);
    eventually("two restarts of hook", within, async || {
        let hooks = pods.list(&ListParams::default().labels("app=hook")).await?;
        Ok(hooks.iter().all(|pod| restarts(pod) >= 2))
    })
    .await?;
    kubelet.set_back_off_factor(back_off_factor);
    eventually("hook in CrashLoopBackOff", within, async || {
        let hooks = pods.list(&ListParams::default().labels("app=hook")).await?;
        Ok(hooks.iter().all(|pod| restarts(pod) >= 2 && waits_in_crash_loop(pod)))
    })
    .await
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|status| status.restart_count).max().unwrap_or(0)
}

fn waits_in_crash_loop(pod: &Pod) -> bool {
    let mut statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.any(|status| {
        let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
        waiting.and_then(|waiting| waiting.reason.as_deref()) == Some("CrashLoopBackOff")
    })
}
