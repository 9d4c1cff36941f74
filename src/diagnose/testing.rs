//! Builders for tests of strays: a Prow of two clusters, and the one of 2019-02-05. Times are minutes after 16:00Z.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{
    Alias, AliasPlace, AliasProof, CensusRow, ClusterStanding, ClusterView, Component, ComponentPod, ConfigFlags,
    ConfigPath, Container, ContainerState, Failure, FailureKind, Key, Kind, ObjectRef, PodCensus, ProwJob, ProwPod,
    ProwSettings, Rollout, Snapshot, Source, Timestamp,
};

pub const NEW: &str = "v20190205-8c1cd80";
pub const OLD: &str = "v20190129-1b2c3f7";

/// Minutes after 16:00Z.
pub fn at(minute: i64) -> Timestamp {
    "2019-02-05T16:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_mins(minute)
}

pub fn known<T>(value: T) -> Source<T> {
    Source::Known { value, at: at(90) }
}

pub fn build() -> Alias {
    Alias("prow-build".to_owned())
}

pub fn job(n: usize, cluster: &str, finished: bool) -> Arc<ProwJob> {
    Arc::new(ProwJob {
        name: format!("id-{n}"),
        uid: format!("job-uid-{n}"),
        job: format!("pull-{n}"),
        job_type: "presubmit".to_owned(),
        cluster: cluster.to_owned(),
        agent: "kubernetes".to_owned(),
        state: if finished { "success" } else { "pending" }.to_owned(),
        pod_name: format!("id-{n}"),
        created: Some(at(40)),
        pending: Some(at(40)),
        completed: finished.then(|| at(60)),
        ..ProwJob::default()
    })
}

pub fn pod(cluster: &Alias, namespace: &str, name: &str, id: Option<&str>, made: i64) -> Arc<ProwPod> {
    Arc::new(ProwPod {
        object: ObjectRef::new(cluster, namespace, Kind::Pod, name)
            .with_uid(&format!("uid-{cluster}-{namespace}-{name}")),
        resource_version: "1".to_owned(),
        prowjob_id: id.map(str::to_owned),
        job: String::new(),
        job_type: String::new(),
        created: Some(at(made)),
        phase: "Pending".to_owned(),
        state: "ContainerCreating".to_owned(),
        node: Some("n".to_owned()),
        deleting: false,
        finalizers: Vec::new(),
        build_id: String::new(),
        plank_version: String::new(),
        waiting: Some("ContainerCreating".to_owned()),
        owner: None,
    })
}

/// prow-controller-manager, ready since.
pub fn maker(tag: &str, made: i64, ready: i64) -> Component {
    let object = ObjectRef::new(&Alias::service(), "default", Kind::Deployment, "prow-controller-manager");
    let pod = ComponentPod {
        object: ObjectRef::new(&Alias::service(), "default", Kind::Pod, "pcm-1").with_uid("pcm-1"),
        resource_version: "1".to_owned(),
        created: Some(at(made)),
        deleting: false,
        phase: "Running".to_owned(),
        ready: true,
        ready_changed: Some(at(ready)),
        state: "Running".to_owned(),
        owner: Some(format!("pcm-{tag}")),
        finalizers: Vec::new(),
        containers: Vec::new(),
    };
    Component {
        object: object.with_uid("pcm"),
        role: "prow-controller-manager".to_owned(),
        when_down: "no job starts".to_owned(),
        resource_version: "1".to_owned(),
        desired: 1,
        ready: 1,
        suspended: false,
        spec_images: vec![format!("gcr.io/k8s-prow/prow-controller-manager:{tag}")],
        config: ConfigFlags::default(),
        mounts: Vec::new(),
        pods: vec![pod],
        rolled_out: Some(at(made)),
        writers: Vec::new(),
        tracking: Vec::new(),
        paused: false,
        trouble: None,
        placement: Default::default(),
        container: String::new(),
    }
}

/// A component that reads config.yaml of ConfigMap `default/config`; its one container is Ready and began 10 minutes ago, after
/// 16:00Z. An empty tag is none.
pub fn reader(name: &str, tag: &str) -> Component {
    let image = match tag {
        "" => format!("gcr.io/k8s-prow/{name}"),
        tag => format!("gcr.io/k8s-prow/{name}:{tag}"),
    };
    let container = Container {
        name: name.to_owned(),
        image: image.clone(),
        ready: true,
        restarts: 0,
        state: ContainerState::Running { since: Some(at(80)) },
        last_exit: None,
        last_fatal: None,
        reload_error: None,
    };
    let mut component = maker(tag, 0, 0);
    component.object = ObjectRef::new(&Alias::service(), "default", Kind::Deployment, name).with_uid(name);
    component.pods[0].object = ObjectRef::new(&Alias::service(), "default", Kind::Pod, &format!("{name}-1"));
    component.pods[0].containers = vec![container];
    Component {
        role: name.to_owned(),
        container: name.to_owned(),
        spec_images: vec![image],
        config: ConfigFlags {
            config_path: Some(ConfigPath {
                path: "/etc/config/config.yaml".to_owned(),
                config_map: Some(Key::new("default", "config")),
                key: Some("config.yaml".to_owned()),
            }),
            ..ConfigFlags::default()
        },
        ..component
    }
}

pub fn rollout(tag: &str, made: i64, current: bool) -> Rollout {
    Rollout {
        component: maker(tag, made, made).object,
        role: "prow-controller-manager".to_owned(),
        container: "prow-controller-manager".to_owned(),
        image: format!("gcr.io/k8s-prow/prow-controller-manager:{tag}"),
        tag: tag.to_owned(),
        replica_set: format!("pcm-{tag}"),
        revision: u64::try_from(made + 10_000).unwrap(),
        created: Some(at(made)),
        began: Some(at(made)),
        ready_at: None,
        current,
        pods: u32::from(current),
    }
}

/// A Prow of two clusters, everything seen; the build cluster goes by `default`, as in 2019. Seen at 17:30Z.
pub fn snapshot() -> Snapshot {
    let census = || known(PodCensus { namespace: "test-pods".to_owned(), ..PodCensus::default() });
    let view = |alias: Alias, standing, context: &str| {
        let loading = ClusterView::loading(alias, standing, context, "https://s");
        ClusterView {
            components: known(Vec::new()),
            config_maps: known(BTreeMap::new()),
            endpoints: known(crate::model::Endpoints::default()),
            job_pods: known(Vec::new()),
            census: census(),
            pod_events: known(Vec::new()),
            secrets_in_use: known(BTreeSet::new()),
            rollouts: known(Vec::new()),
            cron_jobs: known(Vec::new()),
            ..loading
        }
    };
    let mut service = view(Alias::service(), ClusterStanding::Service, "prow-services");
    service.components = known(vec![maker(NEW, 47, 48)]);
    service.rollouts = known(vec![rollout(NEW, 47, true), rollout(OLD, -9000, false)]);
    let leads = |cluster: &Alias| AliasPlace::At { cluster: cluster.clone(), proof: AliasProof::Pods { count: 1 } };
    Snapshot {
        taken_at: at(90),
        user: None,
        service,
        clusters: BTreeMap::from([(build(), view(build(), ClusterStanding::Build, "prow-build"))]),
        aliases: BTreeMap::from([
            (Alias("default".to_owned()), leads(&build())),
            (Alias("trusted".to_owned()), leads(&Alias::service())),
        ]),
        prowjobs: known(Vec::new()),
        gone_prowjobs: Vec::new(),
        prow: known(ProwSettings {
            prowjob_namespace: "default".to_owned(),
            pod_namespace: "test-pods".to_owned(),
            from: Key::new("default", "config"),
        }),
        desired: Source::Lost { error: Failure::new(FailureKind::Usage, "no repository"), last: None },
        interrupted: Vec::new(),
        refused: Vec::new(),
        checked: Vec::new(),
        checkconfig: None,
        reading: Vec::new(),
    }
}

pub fn set<T>(source: &mut Source<T>, value: T) {
    *source = known(value);
}

pub fn view_mut<'a>(snapshot: &'a mut Snapshot, cluster: &Alias) -> &'a mut ClusterView {
    if *cluster == Alias::service() { &mut snapshot.service } else { snapshot.clusters.get_mut(cluster).unwrap() }
}

pub fn push(snapshot: &mut Snapshot, pod: Arc<ProwPod>) {
    match &mut view_mut(snapshot, &pod.object.cluster.clone()).job_pods {
        Source::Known { value, .. } => value.push(pod),
        other => panic!("not known: {other:?}"),
    }
}

/// Pods of the pod namespace, as the census tells them; `made` is known of those that were looked up.
pub fn count(snapshot: &mut Snapshot, cluster: &Alias, names: &[(&str, Option<i64>)]) {
    let rows = names
        .iter()
        .map(|(name, made)| CensusRow { name: (*name).to_owned(), state: "Running".to_owned(), created: made.map(at) })
        .collect();
    let census = PodCensus { namespace: "test-pods".to_owned(), pods: Arc::new(rows), ..PodCensus::default() };
    set(&mut view_mut(snapshot, cluster).census, census);
}

/// 36 strays in the build cluster and 4 in the service cluster, made at 16:49Z and later.
pub fn incident() -> Snapshot {
    let mut snapshot = snapshot();
    let jobs: Vec<_> = (0..40).map(|n| job(n, if n < 36 { "default" } else { "trusted" }, false)).collect();
    for (n, job) in jobs.iter().enumerate() {
        let cluster = if n < 36 { build() } else { Alias::service() };
        push(&mut snapshot, pod(&cluster, "default", &job.name, Some(&job.name), 49 + i64::try_from(n).unwrap()));
    }
    set(&mut snapshot.prowjobs, jobs);
    snapshot
}

pub fn roll_back(snapshot: &mut Snapshot, made: i64, ready: i64) {
    set(&mut snapshot.service.components, vec![maker(OLD, made, ready)]);
    set(&mut snapshot.service.rollouts, vec![rollout(NEW, 47, false), rollout(OLD, -9000, true)]);
}
