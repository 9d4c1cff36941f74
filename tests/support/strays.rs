//! 2019-02-05: the pods of jobs in the wrong namespace of two clusters, before and after the rollback.

use std::collections::BTreeSet;
use std::sync::Arc;

use prow_breakglass::model::{
    Alias, AliasPlace, AliasProof, CensusRow, ClusterIdentity, ClusterStanding, ClusterView, Component, ContainerState,
    CronJobState, EventGroup, Kind, ObjectRef, PodCensus, ProwJob, ProwPod, Rollout, Snapshot, Source, Timestamp,
};

use super::{NAMESPACE, at, component, healthy};

/// When the incident is looked at.
pub const NOW: &str = "2019-02-05T17:27:41Z";
pub const BAD_TAG: &str = "v20190205-6dda9";
pub const GOOD_TAG: &str = "v20190129-1b2c";
/// Context of the build cluster, which also is its key; Prow calls it `default`.
pub const BUILD: &str = "prow-build";
const BUMPED: &str = "2019-02-05T16:47:30Z";
const DEPLOY_JOB: &str = "post-test-infra-deploy-prow";

pub fn seen<T>(value: T) -> Source<T> {
    Source::Known { value, at: at(NOW) }
}

fn image(role: &str, tag: &str) -> String {
    format!("gcr.io/k8s-prow/{role}:{tag}")
}

/// Lets a component run a tag since a time.
pub fn run(component: &mut Component, tag: &str, since: &str) {
    let (role, name) = (component.role.clone(), component.object.name.clone());
    component.spec_images = vec![image(&role, tag)];
    component.rolled_out = Some(at(since));
    component.ready = component.desired;
    for (n, pod) in component.pods.iter_mut().enumerate() {
        pod.object.name = format!("{name}-{}-{n}", &tag[1..9]);
        pod.object.uid = Some(format!("{}-uid", pod.object.name));
        pod.owner = Some(format!("{name}-{}", &tag[1..9]));
        pod.created = Some(at(since));
        pod.ready_changed = Some(at(since));
        for container in &mut pod.containers {
            container.image = image(&role, tag);
            container.state = ContainerState::Running { since: Some(at(since)) };
        }
    }
}

pub fn rollout(component: &Component, tag: &str, revision: u64, created: &str, current: bool) -> Rollout {
    Rollout {
        component: component.object.clone(),
        role: component.role.clone(),
        container: component.container.clone(),
        image: image(&component.role, tag),
        tag: tag.to_owned(),
        replica_set: format!("{}-{}", component.object.name, &tag[1..9]),
        revision,
        created: Some(at(created)),
        began: Some(at(created)),
        ready_at: current.then(|| at(created)),
        current,
        pods: if current { component.desired } else { 0 },
    }
}

/// Branchprotector, still at the older tag.
fn branchprotector() -> (Component, CronJobState) {
    let mut cron = component("branchprotector", 0, "branch protection is not updated");
    cron.object = ObjectRef::new(&Alias::service(), NAMESPACE, Kind::CronJob, "branchprotector").with_uid("bp-uid");
    cron.spec_images = vec![image("branchprotector", GOOD_TAG)];
    let state = CronJobState {
        object: cron.object.clone(),
        resource_version: "88412000".to_owned(),
        schedule: "54 * * * *".to_owned(),
        suspended: false,
        images: cron.spec_images.clone(),
        role: Some("branchprotector".to_owned()),
        command: "/branchprotector".to_owned(),
        last_scheduled: Some(at("2019-02-05T16:54:00Z")),
        runs: Vec::new(),
    };
    (cron, state)
}

fn job(name: &str, job: &str, kind: &str, cluster: &str, created: Timestamp) -> Arc<ProwJob> {
    Arc::new(ProwJob {
        name: name.to_owned(),
        uid: format!("{name}-pj"),
        job: job.to_owned(),
        job_type: kind.to_owned(),
        cluster: cluster.to_owned(),
        agent: "kubernetes".to_owned(),
        state: "pending".to_owned(),
        pod_name: name.to_owned(),
        created: Some(created),
        started: Some(created),
        pending: Some(created),
        ..ProwJob::default()
    })
}

pub fn pod(cluster: &str, namespace: &str, name: &str, job: &str, created: Timestamp) -> ProwPod {
    ProwPod {
        object: ObjectRef::new(&Alias(cluster.to_owned()), namespace, Kind::Pod, name)
            .with_uid(&format!("{name}-{namespace}-uid")),
        resource_version: "88420001".to_owned(),
        prowjob_id: Some(name.to_owned()),
        job: job.to_owned(),
        job_type: "presubmit".to_owned(),
        created: Some(created),
        phase: "Pending".to_owned(),
        state: "ContainerCreating".to_owned(),
        node: Some("node-1".to_owned()),
        deleting: false,
        finalizers: Vec::new(),
        build_id: "1".to_owned(),
        plank_version: BAD_TAG.to_owned(),
        waiting: Some("ContainerCreating".to_owned()),
        owner: None,
    }
}

pub fn running(mut pod: ProwPod) -> ProwPod {
    pod.phase = "Running".to_owned();
    pod.state = "Running".to_owned();
    pod.waiting = None;
    pod
}

fn later(seconds: usize) -> Timestamp {
    let seconds = i64::try_from(seconds % 2000).expect("a small number");
    at("2019-02-05T16:49:00Z") + jiff::SignedDuration::from_secs(seconds)
}

/// The incident with so many strays in the build cluster and in the service cluster. Of those in the build cluster the last
/// tenth runs.
pub fn strays(build: usize, service: usize) -> Snapshot {
    let mut snapshot = healthy();
    snapshot.taken_at = at(NOW);
    let Source::Known { value: mut components, .. } = snapshot.service.components else { panic!("known components") };
    let mut rollouts = Vec::new();
    for component in &mut components {
        run(component, BAD_TAG, BUMPED);
        rollouts.push(rollout(component, BAD_TAG, 8, BUMPED, true));
        rollouts.push(rollout(component, GOOD_TAG, 7, "2019-01-29T17:02:00Z", false));
    }
    let (cron, state) = branchprotector();
    components.push(cron);
    snapshot.service.components = seen(components);
    snapshot.service.rollouts = seen(rollouts);
    snapshot.service.cron_jobs = seen(vec![state]);

    let (mut jobs, mut here, mut there) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..build {
        let (name, created) = (format!("{n:08x}-29b5-11e9-8a55-0a580a6c0001"), later(5 * n));
        jobs.push(job(&name, "pull-kubernetes-e2e-gce", "presubmit", "default", created));
        let stray = pod(BUILD, "default", &name, "pull-kubernetes-e2e-gce", created);
        there.push(Arc::new(if n >= build - build / 10 { running(stray) } else { stray }));
    }
    for n in 0..service {
        let (name, created) = (format!("{n:08x}-29b6-11e9-8a55-0a580a6c0002"), later(7 * n));
        let (title, kind) = if n == 0 { (DEPLOY_JOB, "postsubmit") } else { ("ci-test-infra-bazel", "periodic") };
        jobs.push(job(&name, title, kind, "test-infra-trusted", created));
        here.push(Arc::new(pod("default", "default", &name, title, created)));
    }
    // Another Prow's, a copy for debugging, and a helper that carries no id.
    let other = later(0);
    there.push(Arc::new(running(pod(BUILD, "istio-jobs", "ffffffff-0000-11e9-8a55-0a580a6c0003", "istio-e2e", other))));
    let mut debug = running(pod(BUILD, "default", "00000000-29b5-11e9-8a55-0a580a6c0001-debug", "debug", other));
    debug.prowjob_id = Some("00000000-29b5-11e9-8a55-0a580a6c0001".to_owned());
    there.push(Arc::new(debug));
    let mut solver = running(pod(BUILD, "default", "cm-acme-http-solver-x7k2p", "", other));
    solver.prowjob_id = None;
    there.push(Arc::new(solver));

    let event = |cluster: &str, pods: &[Arc<ProwPod>]| EventGroup {
        namespace: "default".to_owned(),
        reason: "FailedMount".to_owned(),
        message: "MountVolume.SetUp failed for volume \"ssh\" : secret \"gce-ssh\" not found".to_owned(),
        pods: pods
            .iter()
            .filter(|pod| pod.phase == "Pending" && pod.object.cluster.0 == cluster)
            .filter_map(|pod| pod.object.uid.clone())
            .collect(),
        count: 19,
        first: Some(later(0)),
        last: Some(at("2019-02-05T17:26:00Z")),
    };
    snapshot.service.pod_events = seen(vec![event("default", &here)]);
    snapshot.service.job_pods = seen(here);
    snapshot.service.census = seen(census(&[]));
    let loading = ClusterView::loading(Alias(BUILD.to_owned()), ClusterStanding::Build, BUILD, "https://35.4.5.6");
    let build = ClusterView {
        identity: seen(ClusterIdentity {
            alias: Alias(BUILD.to_owned()),
            context: BUILD.to_owned(),
            server: "https://35.4.5.6".to_owned(),
            uid: "b11d2f52-0b1e-11e9-8a55-42010a800003".to_owned(),
            ca: "5a".repeat(32),
        }),
        pod_events: seen(vec![event(BUILD, &there)]),
        job_pods: seen(there),
        census: seen(census(&[])),
        secrets_in_use: seen(BTreeSet::from(["gce-ssh".to_owned()])),
        ..loading
    };
    snapshot.clusters.insert(build.alias.clone(), build);
    let place = |cluster: &str| AliasPlace::At { cluster: Alias(cluster.to_owned()), proof: AliasProof::Given };
    snapshot.aliases.insert(Alias::service(), place(BUILD));
    snapshot.aliases.insert(Alias("test-infra-trusted".to_owned()), place("default"));
    snapshot.prowjobs = seen(jobs);
    if let Source::Known { value: settings, .. } = &mut snapshot.prow {
        settings.prowjob_namespace = "default".to_owned();
    }
    confirm(&mut snapshot, NOW);
    snapshot
}

/// Everything was confirmed at this time.
fn confirm(snapshot: &mut Snapshot, time: &str) {
    fn set<T>(source: &mut Source<T>, time: &str) {
        if let Source::Known { at: confirmed, .. } = source {
            *confirmed = at(time);
        }
    }
    set(&mut snapshot.prowjobs, time);
    set(&mut snapshot.prow, time);
    if let Source::Known { value: desired, at: confirmed } = &mut snapshot.desired {
        (desired.fetched, *confirmed) = (Some(at("2019-02-05T17:25:00Z")), at(time));
    }
    for view in std::iter::once(&mut snapshot.service).chain(snapshot.clusters.values_mut()) {
        set(&mut view.components, time);
        set(&mut view.config_maps, time);
        set(&mut view.endpoints, time);
        set(&mut view.job_pods, time);
        set(&mut view.census, time);
        set(&mut view.pod_events, time);
        set(&mut view.rollouts, time);
    }
}

pub fn census(names: &[(&str, &str)]) -> PodCensus {
    let row = |(name, created): &(&str, &str)| CensusRow {
        name: (*name).to_owned(),
        state: "Running".to_owned(),
        created: Some(at(created)),
    };
    PodCensus {
        namespace: "test-pods".to_owned(),
        pods: Arc::new(names.iter().map(row).collect()),
        ..PodCensus::default()
    }
}

/// The same four minutes later: rolled back at 17:30, and every unfinished job has a good pod since 17:30:40.
pub fn rolled_back(mut snapshot: Snapshot) -> Snapshot {
    let since = "2019-02-05T17:30:00Z";
    snapshot.taken_at = at("2019-02-05T17:31:50Z");
    if let Source::Known { value: components, .. } = &mut snapshot.service.components {
        for component in components.iter_mut().filter(|component| component.object.kind == Kind::Deployment) {
            run(component, GOOD_TAG, since);
        }
    }
    if let Source::Known { value: rollouts, .. } = &mut snapshot.service.rollouts {
        for rollout in rollouts.iter_mut() {
            rollout.current = rollout.tag == GOOD_TAG;
            if rollout.current {
                rollout.revision = 9;
                rollout.began = Some(at(since));
                rollout.ready_at = Some(at(since));
            }
        }
    }
    let jobs = snapshot.prowjobs.known().cloned().unwrap_or_default();
    let names = |cluster: &str| -> Vec<(String, &str)> {
        let of_it = |job: &&Arc<ProwJob>| job.cluster == cluster && !job.is_finished();
        jobs.iter().filter(of_it).map(|job| (job.name.clone(), "2019-02-05T17:30:40Z")).collect()
    };
    let borrowed = |names: &[(String, &'static str)]| {
        census(&names.iter().map(|(name, created)| (name.as_str(), *created)).collect::<Vec<_>>())
    };
    snapshot.service.census = seen(borrowed(&names("test-infra-trusted")));
    if let Some(build) = snapshot.clusters.get_mut(&Alias(BUILD.to_owned())) {
        build.census = seen(borrowed(&names("default")));
    }
    confirm(&mut snapshot, "2019-02-05T17:31:49Z");
    snapshot
}
