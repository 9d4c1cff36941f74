//! Snapshots for tests, built by hand: a Prow that is well, and the one of 2019-01-23.
//!
//! Another test target uses them with `#[path = "../support/mod.rs"] mod support;`. Times are fixed: the incident is seen
//! at [`NOW`].

pub mod strays;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prow_breakglass::model::{
    Alias, Candidate, ClusterIdentity, ClusterStanding, ClusterView, Component, ComponentPod, ConfigFlags,
    ConfigMapState, ConfigMount, ConfigPath, Container, ContainerState, Desired, DesiredConfigMap, DesiredEntry,
    EndpointCount, Endpoints, Exit, FIELD_MANAGER, Key, Kind, LogLine, Mapping, ObjectRef, Objection, PodCensus,
    ProwJob, ProwSettings, Revision, Snapshot, Source, SourceStatus, Timestamp, Values, Writer,
};
use prow_breakglass::prow::{ConfigFiles, Layout};

pub const NOW: &str = "2019-01-23T16:10:02Z";
pub const NAMESPACE: &str = "prow";
/// What the real hook said.
pub const FATAL: &str = "duplicated preset label : preset-aws-credential";

const TAG: &str = "v20190118-a1f5e0c";
const UPLOADED: &str = "2019-01-22T23:28:00Z";

pub fn at(time: &str) -> Timestamp {
    time.parse().expect("a time written in this file or a test")
}

pub fn known<T>(value: T) -> Source<T> {
    Source::Known { value, at: at("2019-01-23T16:10:01Z") }
}

fn key(name: &str) -> Key {
    Key::new(NAMESPACE, name)
}

fn path(path: &str, map: &str, file: Option<&str>) -> Option<ConfigPath> {
    Some(ConfigPath { path: path.to_owned(), config_map: Some(key(map)), key: file.map(str::to_owned) })
}

fn mount(map: &str) -> ConfigMount {
    ConfigMount { config_map: key(map), path: format!("/etc/{map}"), sub_path: false, optional: false }
}

fn image(role: &str) -> String {
    format!("gcr.io/k8s-prow/{role}:{TAG}")
}

/// A Deployment of Prow with all its pods Ready.
pub fn component(role: &str, desired: u32, when_down: &str) -> Component {
    let pods = (0..desired).map(|n| pod(role, n)).collect();
    Component {
        object: ObjectRef::new(&Alias::service(), NAMESPACE, Kind::Deployment, role).with_uid(&format!("{role}-uid")),
        role: role.to_owned(),
        when_down: when_down.to_owned(),
        resource_version: "88410001".to_owned(),
        desired,
        ready: desired,
        suspended: false,
        spec_images: vec![image(role)],
        container: role.to_owned(),
        config: ConfigFlags {
            config_path: path("/etc/config/config.yaml", "config", Some("config.yaml")),
            job_config_path: path("/etc/job-config", "job-config", None),
            plugin_config: if role == "hook" {
                path("/etc/plugins/plugins.yaml", "plugins", Some("plugins.yaml"))
            } else {
                None
            },
            further: Vec::new(),
        },
        mounts: ["config", "job-config", "plugins"].map(mount).to_vec(),
        pods,
        rolled_out: Some(at("2019-01-18T18:11:00Z")),
        writers: Vec::new(),
        tracking: Vec::new(),
        paused: false,
        trouble: None,
        placement: Default::default(),
    }
}

fn pod(role: &str, n: u32) -> ComponentPod {
    let name = format!("{role}-5c9d8f7b6-x{n}q2z");
    ComponentPod {
        object: ObjectRef::new(&Alias::service(), NAMESPACE, Kind::Pod, &name).with_uid(&format!("{name}-uid")),
        resource_version: format!("8841100{n}"),
        created: Some(at("2019-01-18T18:11:30Z")),
        deleting: false,
        phase: "Running".to_owned(),
        ready: true,
        ready_changed: Some(at("2019-01-18T18:12:00Z")),
        state: "Running".to_owned(),
        owner: Some(format!("{role}-5c9d8f7b6")),
        finalizers: Vec::new(),
        containers: vec![Container {
            name: role.to_owned(),
            image: image(role),
            ready: true,
            restarts: 0,
            state: ContainerState::Running { since: Some(at("2019-01-18T18:11:40Z")) },
            last_exit: None,
            last_fatal: None,
            reload_error: None,
        }],
    }
}

/// Lets a component crash-loop with the incident's message.
pub fn crash(component: &mut Component, restarts: u32) {
    component.ready = 0;
    for (pod, extra) in component.pods.iter_mut().zip(0..) {
        pod.ready = false;
        pod.ready_changed = Some(at("2019-01-23T12:41:00Z"));
        pod.state = "CrashLoopBackOff".to_owned();
        for container in &mut pod.containers {
            container.ready = false;
            container.restarts = restarts - extra;
            container.state = ContainerState::Waiting {
                reason: "CrashLoopBackOff".to_owned(),
                message: "back-off 5m0s restarting failed container=hook".to_owned(),
            };
            container.last_exit = Some(Exit {
                code: 1,
                reason: "Error".to_owned(),
                started: Some(at("2019-01-23T16:08:29Z")),
                finished: Some(at("2019-01-23T16:08:30Z")),
            });
            container.last_fatal = Some(LogLine {
                level: "fatal".to_owned(),
                msg: "Error starting config agent.".to_owned(),
                error: FATAL.to_owned(),
                component: component.role.clone(),
                at: Some(at("2019-01-23T16:08:30Z")),
            });
        }
    }
}

fn config_map(name: &str, version: &str, values: &Values, written: &str) -> ConfigMapState {
    ConfigMapState {
        cluster: Alias::service(),
        key: key(name),
        uid: format!("{name}-uid"),
        resource_version: version.to_owned(),
        immutable: false,
        values: values.clone(),
        labels: BTreeMap::from([("app".to_owned(), "prow".to_owned())]),
        annotations: BTreeMap::new(),
        writers: vec![Writer { manager: "hook".to_owned(), at: Some(at(written)) }],
    }
}

fn values(files: &[(&str, &str)]) -> Values {
    files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

fn desired_map(name: &str, values: &Values) -> DesiredConfigMap {
    let entries = values
        .iter()
        .map(|(file, bytes)| {
            let path = if name == "job-config" { format!("config/jobs/{file}") } else { format!("prow/{file}") };
            (file.clone(), DesiredEntry { path, bytes: bytes.clone(), gzip: false })
        })
        .collect();
    DesiredConfigMap { cluster: Alias::service(), key: key(name), entries }
}

fn revision(id: &str, subject: &str, committed: &str) -> Revision {
    Revision {
        id: format!("{id:0<40}"),
        subject: subject.to_owned(),
        author: "A Contributor".to_owned(),
        committed: at(committed),
    }
}

pub fn good_presets() -> &'static str {
    "presets:\n- labels:\n    preset-aws-credential: \"true\"\n  env:\n  - name: AWS_SHARED_CREDENTIALS_FILE\n    value: /workspace/.aws/credentials\n- labels:\n    preset-service-account: \"true\"\n  env:\n  - name: GOOGLE_APPLICATION_CREDENTIALS\n    value: /etc/service-account/service-account.json\n"
}

pub fn bad_presets() -> &'static str {
    "presets:\n- labels:\n    preset-aws-credential: kops\n  env:\n  - name: AWS_SHARED_CREDENTIALS_FILE\n    value: /workspace/.aws/credentials\n- labels:\n    preset-aws-credential: cni\n  env:\n  - name: AWS_SHARED_CREDENTIALS_FILE\n    value: /workspace/.aws/cni\n- labels:\n    preset-service-account: \"true\"\n  env:\n  - name: GOOGLE_APPLICATION_CREDENTIALS\n    value: /etc/service-account/service-account.json\n"
}

const CONFIG: &str = "prowjob_namespace: prow\npod_namespace: test-pods\nlog_level: info\n";
const PLUGINS: &str = "config_updater:\n  maps:\n    config/jobs/**/*.yaml:\n      name: job-config\n";
const PERIODICS: &str = "periodics:\n- name: ci-kubernetes-build\n  interval: 1h\n";

fn job_config(presets: &str, kops: &str) -> Values {
    values(&[("presets.yaml", presets), ("sig-aws.yaml", kops), ("sig-release.yaml", PERIODICS)])
}

fn candidate(revision: Revision, job_config: &Values, objections: Vec<Objection>) -> Candidate {
    let maps = vec![
        desired_map("config", &values(&[("config.yaml", CONFIG)])),
        desired_map("job-config", job_config),
        desired_map("plugins", &values(&[("plugins.yaml", PLUGINS)])),
    ];
    let content = Layout::of_desired(&maps, &ConfigFiles::by_name()).map(|layout| layout.digest());
    Candidate { revision, config_maps: Ok(Arc::new(maps)), objections, content }
}

fn good_job_config() -> Values {
    job_config(
        good_presets(),
        "presubmits:\n  kubernetes/kops:\n  - name: pull-kops-e2e\n    labels:\n      preset-aws-credential: \"true\"\n",
    )
}

fn bad_job_config() -> Values {
    job_config(
        bad_presets(),
        "presubmits:\n  kubernetes/kops:\n  - name: pull-kops-e2e\n    labels:\n      preset-aws-credential: kops\n",
    )
}

fn good() -> Candidate {
    candidate(
        revision("51e02aa", "Bump prow to v20190118-a1f5e0c", "2019-01-18T18:00:00Z"),
        &good_job_config(),
        Vec::new(),
    )
}

fn bad() -> Candidate {
    let objection = Objection {
        message: FATAL.to_owned(),
        config_map: Some(key("job-config")),
        config_key: Some("presets.yaml".to_owned()),
        repeats: None,
    };
    let revision = revision("6a70de1", "Merge pull request #10886: refactor AWS presets", "2019-01-22T23:27:00Z");
    candidate(revision, &bad_job_config(), vec![objection])
}

fn prowjob(name: &str, job_type: &str, created: &str, pending: Option<&str>, completed: Option<&str>) -> Arc<ProwJob> {
    Arc::new(ProwJob {
        name: name.to_owned(),
        job: "ci-kubernetes-build".to_owned(),
        job_type: job_type.to_owned(),
        state: if completed.is_some() { "success" } else { "pending" }.to_owned(),
        created: Some(at(created)),
        started: Some(at(created)),
        pending: pending.map(at),
        completed: completed.map(at),
        cluster: "default".to_owned(),
        agent: "kubernetes".to_owned(),
        ..ProwJob::default()
    })
}

fn components() -> Vec<Component> {
    let down = [
        ("crier", 1, "results are not reported to GitHub"),
        ("deck", 2, "the dashboard is down"),
        ("ghproxy", 1, "GitHub's API is used without a cache"),
        ("hook", 2, "Prow does not react to GitHub events: no commands, no new tests for pull requests"),
        ("horologium", 1, "periodic jobs do not start"),
        ("prow-controller-manager", 1, "jobs do not start"),
        ("sinker", 1, "finished pods and ProwJobs are not cleaned up"),
        ("tide", 1, "nothing merges"),
    ];
    down.map(|(role, desired, when_down)| component(role, desired, when_down)).to_vec()
}

fn endpoints(hook_ready: u32) -> Endpoints {
    let count = |ready, total| EndpointCount { ready, total, pods: Vec::new() };
    let mut hook = count(hook_ready, 2);
    hook.pods = vec!["hook-5c9d8f7b6-x0q2z".to_owned(), "hook-5c9d8f7b6-x1q2z".to_owned()];
    Endpoints { services: BTreeMap::from([(key("hook"), hook), (key("deck"), count(2, 2))]) }
}

fn snapshot(components: Vec<Component>, live: Values, written: &str, head: Candidate, hook_ready: u32) -> Snapshot {
    let (context, server) = ("prow-services".to_owned(), "https://35.1.2.3".to_owned());
    let maps = [
        config_map("config", "88300001", &values(&[("config.yaml", CONFIG)]), "2019-01-10T09:00:00Z"),
        config_map("job-config", "88412907", &live, written),
        config_map("plugins", "88300003", &values(&[("plugins.yaml", PLUGINS)]), "2019-01-10T09:00:00Z"),
    ];
    let loading = ClusterView::loading(Alias::service(), ClusterStanding::Service, &context, &server);
    let service = ClusterView {
        identity: known(ClusterIdentity {
            alias: Alias::service(),
            context,
            server,
            uid: "9d2c1f52-0b1e-11e9-8a55-42010a800002".to_owned(),
            ca: "4f".repeat(32),
        }),
        version: Some("v1.11.6".to_owned()),
        components: known(components),
        config_maps: known(maps.into_iter().map(|map| (map.key.clone(), map)).collect()),
        endpoints: known(endpoints(hook_ready)),
        job_pods: known(Vec::new()),
        census: known(PodCensus { namespace: "test-pods".to_owned(), ..PodCensus::default() }),
        pod_events: known(Vec::new()),
        secrets_in_use: known(BTreeSet::new()),
        rollouts: known(Vec::new()),
        cron_jobs: known(Vec::new()),
        ..loading
    };
    let mut candidates = vec![head.clone()];
    if head != good() {
        candidates.push(good());
    }
    Snapshot {
        taken_at: at(NOW),
        user: Some("oncall@example.org".to_owned()),
        service,
        clusters: BTreeMap::new(),
        aliases: BTreeMap::new(),
        gone_prowjobs: Vec::new(),
        prowjobs: known(Vec::new()),
        prow: known(ProwSettings {
            prowjob_namespace: NAMESPACE.to_owned(),
            pod_namespace: "test-pods".to_owned(),
            from: key("config"),
        }),
        desired: known(Desired {
            repository: "/home/oncall/test-infra".to_owned(),
            head,
            asked: None,
            candidates,
            upstream: "origin/master".to_owned(),
            fetched: Some(at("2019-01-23T16:08:00Z")),
            mapping: Mapping::default(),
            not_understood: Vec::new(),
        }),
        interrupted: Vec::new(),
        refused: Vec::new(),
        checked: Vec::new(),
        checkconfig: None,
        reading: Vec::new(),
    }
}

/// A Prow that is well, its configuration as git asks for it.
pub fn healthy() -> Snapshot {
    let mut snapshot = snapshot(components(), good_job_config(), "2019-01-18T18:05:00Z", good(), 2);
    snapshot.prowjobs = known(vec![
        prowjob("a1", "presubmit", "2019-01-23T16:09:30Z", Some("2019-01-23T16:09:33Z"), None),
        prowjob("a2", "postsubmit", "2019-01-23T15:58:00Z", Some("2019-01-23T15:58:03Z"), Some("2019-01-23T16:06:00Z")),
        prowjob("a3", "periodic", "2019-01-23T16:05:00Z", Some("2019-01-23T16:05:02Z"), None),
    ]);
    snapshot
}

/// The incident after `sync-config` at 16:12: the good configuration is live, hook sits in its back-off.
pub fn written() -> Snapshot {
    let mut snapshot = incident();
    snapshot.taken_at = at("2019-01-23T16:12:39Z");
    if let Source::Known { value, at: seen } = &mut snapshot.service.config_maps {
        *seen = at("2019-01-23T16:12:38Z");
        let mut map = config_map("job-config", "88412999", &good_job_config(), UPLOADED);
        let own = Writer { manager: FIELD_MANAGER.to_owned(), at: Some(at("2019-01-23T16:12:00Z")) };
        map.writers.insert(0, own);
        value.insert(map.key.clone(), map);
    }
    if let Source::Known { at: seen, .. } = &mut snapshot.service.components {
        *seen = at("2019-01-23T16:12:38Z");
    }
    if let Source::Known { at: seen, .. } = &mut snapshot.service.endpoints {
        *seen = at("2019-01-23T16:12:38Z");
    }
    snapshot
}

/// 2019-01-23 in its first minute: hook crash-loops on the merged configuration, which still is git's head; the others
/// run on what they loaded before; logs of ghproxy may not be read.
pub fn incident() -> Snapshot {
    let mut components = components();
    for component in components.iter_mut().filter(|component| component.role == "hook") {
        crash(component, 43);
    }
    let mut snapshot = snapshot(components, bad_job_config(), UPLOADED, bad(), 0);
    snapshot.prowjobs = known(vec![
        prowjob("a1", "presubmit", "2019-01-23T12:40:11Z", Some("2019-01-23T12:40:14Z"), Some("2019-01-23T13:20:00Z")),
        prowjob("a2", "postsubmit", "2019-01-23T12:31:00Z", Some("2019-01-23T12:31:03Z"), Some("2019-01-23T12:50:00Z")),
        prowjob("a3", "periodic", "2019-01-23T16:05:00Z", Some("2019-01-23T16:05:02Z"), None),
    ]);
    snapshot.service.parts = vec![SourceStatus {
        name: "logs of prow/ghproxy-5c9d8f7b6-x0q2z (ghproxy)".to_owned(),
        source: Source::Denied { verb: "get pods/log in namespace prow".to_owned() },
    }];
    snapshot
}
