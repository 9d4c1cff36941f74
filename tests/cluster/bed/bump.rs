//! February 5th, 2019: all components are bumped, and from then on the pods of jobs fall into the wrong namespace.
//!
//! It happens as it did. Jobs run where they belong; the bump is merged and deployed; the real prow-controller-manager
//! of the bumped version (`kubelet/images.rs`) takes over and creates the pods of every unfinished job beside Prow's own
//! components, where the Secrets are not. Jobs that ran before have two pods of one name then.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::api::{APPLIED_BY, create, eventually};
use crate::bed::Bed;
use crate::cluster::Cluster;
use crate::kubelet::State;
use crate::kubelet::images::{NEW_TAG, OLD_TAG};
use crate::layout::TEST_PODS;
use crate::neighbours::{self, ACME_SOLVERS, DEBUG_NAMESPACES, FOREIGN};
use crate::prow_jobs::create_prow_job;
use crate::prow_objects::{COMPONENTS, create_job_secrets, image};
use crate::stray_jobs::{DEPLOY, PAST, StrayJob, unfinished};

/// Longer than the pods of 1000 jobs take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(900);
/// Less than a test waits for an answer.
const DEPLOYED_WITHIN: Duration = Duration::from_secs(100);
/// What prow-controller-manager's replicas agree about.
const LEASE: &str = "prow-controller-manager-leader-lock";

/// ProwJobs that ended before the bed starts, and the Secrets that jobs need.
pub async fn create_past(bed: &Bed) -> Result<()> {
    for cluster in bed.clusters() {
        create_job_secrets(&cluster.client).await?;
    }
    for job in PAST {
        create_prow_job(&bed.service.client, job, bed.layout.prow).await?;
    }
    Ok(())
}

/// Makes it happen, to so many jobs.
pub async fn bring_about(bed: &mut Bed, count: usize) -> Result<()> {
    let (before, later) = unfinished(count);
    create_jobs(bed, &before).await?;
    wait_for_pods(bed, &before, TEST_PODS, |_| true).await?;
    bed.repository.merge("bump").await?;
    let bumped = jiff::Timestamp::now();
    deploy(bed, NEW_TAG).await?;
    hand_over(bed).await?;
    create_jobs(bed, &later).await?;
    run_branchprotector(bed).await?;
    if let Some(build) = &bed.build {
        let debugged = later.iter().rfind(|job| job.needs_secrets()).context("no job to debug")?;
        neighbours::create_all(&build.client, (&debugged.id, debugged.name())).await?;
    }
    let all: Vec<StrayJob> = before.into_iter().chain(later).collect();
    let prow = bed.layout.prow;
    wait_for_pods(bed, &all, prow, |job| !job.needs_secrets()).await?;
    wait_for_prow_jobs(bed).await?;
    for cluster in bed.clusters() {
        wait_for_events(cluster, prow, count_of(bed, &all, cluster, StrayJob::needs_secrets)).await?;
    }
    describe(bed, &all, bumped);
    Ok(())
}

/// The bump alone.
pub async fn roll_out_everything(bed: &mut Bed) -> Result<()> {
    bed.repository.merge("bump").await?;
    deploy(bed, NEW_TAG).await?;
    bed.facts.extend(tags());
    Ok(())
}

fn tags() -> [(String, Value); 2] {
    [("oldTag".to_owned(), json!(OLD_TAG)), ("newTag".to_owned(), json!(NEW_TAG))]
}

/// The numbers that a test holds the program against; clusters are named by their alias.
fn describe(bed: &mut Bed, jobs: &[StrayJob], bumped: jiff::Timestamp) {
    let each = |which: fn(&StrayJob) -> bool| -> BTreeMap<&'static str, usize> {
        let count = |cluster: &Cluster| (cluster.role.alias(bed.layout.builds), count_of(bed, jobs, cluster, which));
        bed.clusters().map(count).collect()
    };
    let deploy = jobs.iter().find(|job| job.name() == DEPLOY).map(|job| &job.id);
    let in_namespace = |namespace: &str| FOREIGN.iter().filter(|(found, _, _)| *found == namespace).count();
    let facts = [
        ("bumpedAt", json!(bumped.to_string())),
        ("jobs", json!(jobs.len())),
        ("strayNamespace", json!(bed.layout.prow)),
        ("strays", json!(each(|_| true))),
        ("stuck", json!(each(StrayJob::needs_secrets))),
        ("startedBefore", json!(each(StrayJob::started_before))),
        ("foreign", json!({ "default": in_namespace("default"), TEST_PODS: in_namespace(TEST_PODS) })),
        ("acmeSolvers", json!(ACME_SOLVERS.len())),
        ("debugCopies", json!(DEBUG_NAMESPACES.len())),
        ("deployJob", json!(deploy)),
    ];
    let facts: Vec<(String, Value)> = facts.into_iter().map(|(name, fact)| (name.to_owned(), fact)).collect();
    bed.facts.extend(facts);
    bed.facts.extend(tags());
}

fn count_of(bed: &Bed, jobs: &[StrayJob], cluster: &Cluster, which: fn(&StrayJob) -> bool) -> usize {
    let alias = cluster.role.alias(bed.layout.builds);
    jobs.iter().filter(|job| job.cluster == alias && which(job)).count()
}

async fn create_jobs(bed: &Bed, jobs: &[StrayJob]) -> Result<()> {
    let (client, prow) = (&bed.service.client, bed.layout.prow);
    let creations = futures::stream::iter(jobs).map(async |job| create_prow_job(client, &job.job(), prow).await);
    let mut creations = std::pin::pin!(creations.buffer_unordered(8));
    while let Some(created) = creations.next().await {
        created?;
    }
    Ok(())
}

/// Sets all images to this version, as the deploy job does that applies the manifests, and waits until nothing else is
/// left.
pub async fn deploy(bed: &Bed, tag: &str) -> Result<()> {
    let prow = bed.layout.prow;
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(bed.service.client.clone(), prow);
    let params = PatchParams { field_manager: Some(APPLIED_BY.to_owned()), ..PatchParams::default() };
    for component in COMPONENTS {
        let containers = json!([{ "name": component.name, "image": image(component.image, tag) }]);
        let patch = json!({ "spec": { "template": { "spec": { "containers": containers } } } });
        deployments.patch(component.name, &params, &Patch::Strategic(patch)).await?;
    }
    eventually(&format!("{tag} in all Deployments"), DEPLOYED_WITHIN, async || {
        for deployment in deployments.list(&ListParams::default()).await? {
            let (spec, status) = (deployment.spec.as_ref(), deployment.status.as_ref());
            let wanted = spec.and_then(|spec| spec.replicas);
            let generation = status.and_then(|status| status.observed_generation);
            let done = generation == deployment.metadata.generation
                && status.is_some_and(|status| {
                    status.updated_replicas == wanted
                        && status.replicas == wanted
                        && status.available_replicas == wanted
                });
            if !done {
                bail!("{} is not rolled out", deployment.name_any());
            }
        }
        Ok(true)
    })
    .await
}

/// The hourly run, of the version that the bump has left behind.
async fn run_branchprotector(bed: &Bed) -> Result<()> {
    let (client, prow) = (&bed.service.client, bed.layout.prow);
    let path = format!("/apis/batch/v1/namespaces/{prow}/cronjobs/branchprotector");
    let cron_job: Value = client.request(http::Request::get(path).body(Vec::new())?).await?;
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "namespace": prow, "name": "branchprotector-1549385640",
            "labels": cron_job["spec"]["jobTemplate"]["metadata"]["labels"],
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "CronJob", "name": "branchprotector", "controller": true,
                "uid": cron_job["metadata"]["uid"],
            }],
        },
        "spec": cron_job["spec"]["jobTemplate"]["spec"],
    });
    create(client, &job, "kube-controller-manager").await?;
    Ok(())
}

/// Ends the lease of the prow-controller-manager that is gone, which would run for another quarter of a minute.
async fn hand_over(bed: &Bed) -> Result<()> {
    let prow = bed.layout.prow;
    let pods: Api<Pod> = Api::namespaced(bed.service.client.clone(), prow);
    let leases: Api<Lease> = Api::namespaced(bed.service.client.clone(), prow);
    let holder =
        async || -> Result<Option<String>> { Ok(leases.get(LEASE).await?.spec.and_then(|spec| spec.holder_identity)) };
    let old = holder().await?;
    eventually("the end of the old prow-controller-manager", PATIENCE, async || {
        let managers = pods.list(&ListParams::default().labels("app=prow-controller-manager")).await?;
        Ok(managers.items.len() == 1)
    })
    .await?;
    if holder().await? == old {
        let patch = Patch::Merge(json!({ "spec": { "holderIdentity": "" } }));
        leases.patch(LEASE, &PatchParams::default(), &patch).await?;
    }
    eventually("the lead of the new prow-controller-manager", PATIENCE, async || {
        Ok(holder().await?.is_some_and(|holder| !holder.is_empty() && Some(&holder) != old.as_ref()))
    })
    .await
}

/// Waits until every job has a pod in this namespace of its cluster, and until those that `can_start` have.
async fn wait_for_pods(
    bed: &mut Bed,
    jobs: &[StrayJob],
    namespace: &str,
    can_start: fn(&StrayJob) -> bool,
) -> Result<()> {
    eventually(&format!("the pods of the jobs in {namespace}"), PATIENCE, async || {
        bed.check()?;
        for cluster in bed.clusters() {
            let alias = cluster.role.alias(bed.layout.builds);
            let states = cluster.kubelet.states(namespace);
            for job in jobs.iter().filter(|job| job.cluster == alias) {
                match states.get(&job.id) {
                    // A trivial job may have ended already.
                    Some(State::Running { .. } | State::Terminated(_)) if can_start(job) => {}
                    Some(State::Waiting { .. }) if !can_start(job) => {}
                    _ => bail!("{} is not there yet", job.id),
                }
            }
        }
        Ok(true)
    })
    .await
}

/// Waits until prow-controller-manager has noted all pods in its ProwJobs.
async fn wait_for_prow_jobs(bed: &Bed) -> Result<()> {
    let path = format!("/apis/prow.k8s.io/v1/namespaces/{}/prowjobs?resourceVersion=0", bed.layout.prow);
    eventually("all jobs being pending", PATIENCE, async || {
        let list: Value = bed.service.client.request(http::Request::get(&path).body(Vec::new())?).await?;
        let mut states = list["items"].as_array().into_iter().flatten().map(|job| &job["status"]["state"]);
        Ok(states.all(|state| *state != "triggered"))
    })
    .await
}

/// Waits until every stuck pod has said why.
async fn wait_for_events(cluster: &Cluster, namespace: &str, stuck: usize) -> Result<()> {
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), namespace);
    let mounts = ListParams::default().fields("reason=FailedMount");
    eventually("the events of all stuck pods", PATIENCE, async || {
        let list = events.list(&mounts).await?;
        let pods: std::collections::BTreeSet<_> = list.iter().filter_map(|e| e.involved_object.uid.as_ref()).collect();
        Ok(pods.len() >= stuck)
    })
    .await
}
