use super::*;
use crate::cluster::objects::{EndpointsRow, Owner, TemplateContainer};
use crate::cluster::watch::Change;
use crate::model::{ConfigMount, Container, ContainerState, Exit, LogLine, ObjectRef, ProwJob, Writer};
use crate::observe::logs::Said;
use crate::observe::raw::Contact;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_548_259_200 + second).expect("a time")
}

fn names() -> Names {
    Names { alias: Alias::service(), context: "prod".to_owned(), server: "https://s".to_owned(), asked: Vec::new() }
}

fn mount(namespace: &str, name: &str) -> ConfigMount {
    ConfigMount {
        config_map: Key::new(namespace, name),
        path: format!("/etc/{name}"),
        sub_path: false,
        optional: false,
    }
}

fn deployment(namespace: &str, name: &str) -> Workload {
    Workload {
        object: ObjectRef::new(&Alias::service(), namespace, Kind::Deployment, name).with_uid(&format!("uid-{name}")),
        resource_version: "1".to_owned(),
        desired: 2,
        ready: 1,
        suspended: false,
        trouble: None,
        placement: Default::default(),
        paused: false,
        writers: Vec::new(),
        tracking: Vec::new(),
        containers: vec![
            TemplateContainer { name: "proxy".to_owned(), image: "envoy:v1".to_owned(), ..Default::default() },
            TemplateContainer {
                name: name.to_owned(),
                image: format!("gcr.io/k8s-prow/{name}:v20190118-b3f0d0d11"),
                args: vec![
                    "--config-path=/etc/config/config.yaml".to_owned(),
                    "--job-config-path=/etc/job-config".to_owned(),
                ],
                mounts: vec![mount(namespace, "config"), mount(namespace, "job-config")],
            },
        ],
    }
}

fn pod(namespace: &str, name: &str, owner: &str, owner_uid: &str, state: ContainerState) -> PodRow {
    let owner = Owner { kind: "ReplicaSet".to_owned(), name: owner.to_owned(), uid: owner_uid.to_owned() };
    PodRow {
        pod: ComponentPod {
            object: ObjectRef::new(&Alias::service(), namespace, Kind::Pod, name).with_uid(&format!("uid-{name}")),
            resource_version: "1".to_owned(),
            created: None,
            deleting: false,
            phase: "Running".to_owned(),
            ready: false,
            ready_changed: None,
            state: "Running".to_owned(),
            owner: Some(owner.name.clone()),
            finalizers: Vec::new(),
            containers: vec![Container {
                name: "hook".to_owned(),
                image: "gcr.io/k8s-prow/hook:v20190118-b3f0d0d11".to_owned(),
                ready: false,
                restarts: 3,
                state,
                last_exit: Some(Exit { code: 1, reason: "Error".to_owned(), started: None, finished: None }),
                last_fatal: None,
                reload_error: None,
            }],
        },
        owner: Some(owner),
    }
}

fn config_map(namespace: &str, name: &str, key: &str, value: &str) -> ConfigMapState {
    ConfigMapState {
        cluster: Alias::service(),
        key: Key::new(namespace, name),
        uid: format!("uid-{name}"),
        resource_version: "7".to_owned(),
        immutable: false,
        values: BTreeMap::from([(key.to_owned(), value.as_bytes().to_vec())]),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        writers: vec![Writer { manager: "hook".to_owned(), at: Some(at(100)) }],
    }
}

fn known<T>(rows: Vec<(Key, T)>) -> List<T> {
    List { rows: rows.into_iter().collect(), standing: Standing::Known }
}

fn denied<T>(verb: &str) -> List<T> {
    List { standing: Standing::Denied { verb: verb.to_owned() }, ..List::default() }
}

fn failure() -> Failure {
    Failure::new(FailureKind::Unreachable, "no answer")
}

const CONFIG: &str = "prowjob_namespace: prow-jobs\npod_namespace: test-pods\n";

fn waiting() -> ContainerState {
    ContainerState::Waiting { reason: "CrashLoopBackOff".to_owned(), message: String::new() }
}

/// hook in `prow`, with everything answered.
fn healthy() -> Raw {
    let key = |name: &str| Key::new("prow", name);
    let mut raw = Raw { contact: Contact::Answering { at: at(0) }, opening: false, ..Raw::default() };
    for kind in WorkloadKind::ALL {
        raw.workloads.insert((kind, Scope::Cluster), known(Vec::new()));
    }
    let hook = (key("hook"), deployment("prow", "hook"));
    raw.workloads.insert((WorkloadKind::Deployment, Scope::Cluster), known(vec![hook]));
    raw.pods.insert(
        "prow".to_owned(),
        known(vec![
            (key("hook-5d9-a"), pod("prow", "hook-5d9-a", "hook-5d9", "rs-1", waiting())),
            // Not hook's, whatever its labels say.
            (key("hook-extra-1"), pod("prow", "hook-extra-1", "hook-extra-77", "rs-9", waiting())),
        ]),
    );
    let owner = Owner { kind: "Deployment".to_owned(), name: "hook".to_owned(), uid: "uid-hook".to_owned() };
    let set = |uid: &str, owner: Owner, second: i64| ReplicaSetRow {
        name: format!("set-{uid}"),
        revision: u64::try_from(second).unwrap_or(0),
        containers: vec![("hook".to_owned(), format!("gcr.io/k8s-prow/hook:v2019010{second}-abc"))],
        desired: 1,
        uid: uid.to_owned(),
        owner: Some(owner),
        created: Some(at(second)),
    };
    let other = Owner { uid: "uid-other".to_owned(), ..owner.clone() };
    raw.replica_sets.insert(
        "prow".to_owned(),
        known(vec![
            (key("hook-5d9"), set("rs-1", owner.clone(), 5)),
            (key("hook-old"), set("rs-0", owner, 1)),
            (key("hook-extra-77"), set("rs-9", other, 9)),
        ]),
    );
    let maps =
        ["config", "job-config"].map(|name| (key(name), config_map("prow", name, &format!("{name}.yaml"), CONFIG)));
    raw.config_maps.insert("prow".to_owned(), known(maps.into()));
    raw.endpoints.insert("prow".to_owned(), known(Vec::new()));
    raw.prowjobs.insert("prow-jobs".to_owned(), known(Vec::new()));
    raw
}

fn view(raw: &Raw) -> ClusterView {
    assemble(&names(), raw, &BTreeMap::new()).view
}

#[test]
fn a_rollout_that_went_back_began_with_its_oldest_pod() {
    let mut raw = healthy();
    let sets = raw.replica_sets.get_mut("prow").expect("sets");
    for set in sets.rows.values_mut().filter(|set| set.uid == "rs-0") {
        // Taken up again after the one of second 5.
        (set.revision, set.name) = (9, "hook-old".to_owned());
    }
    for row in raw.pods.get_mut("prow").expect("pods").rows.values_mut() {
        (row.pod.owner, row.pod.created) = (Some("hook-old".to_owned()), Some(at(8)));
    }
    assert_eq!(view(&raw).components.known().expect("known")[0].rolled_out, Some(at(8)));
}

#[test]
fn a_component_is_joined_by_owners() {
    let assembled = assemble(&names(), &healthy(), &BTreeMap::new());
    let components = assembled.view.components.known().expect("known");
    let hook = &components[0];
    assert_eq!((hook.role.as_str(), hook.desired, hook.ready), ("hook", 2, 1));
    assert!(hook.when_down.contains("webhooks"));
    assert_eq!(hook.pods.iter().map(|pod| pod.object.name.as_str()).collect::<Vec<_>>(), ["hook-5d9-a"]);
    assert_eq!(hook.rolled_out, Some(at(5)));
    let config = hook.config.config_path.as_ref().expect("a config path");
    assert_eq!(
        (config.config_map.clone(), config.key.as_deref()),
        (Some(Key::new("prow", "config")), Some("config.yaml"))
    );
    assert_eq!(hook.config_maps(), [Key::new("prow", "config"), Key::new("prow", "job-config")]);
    let settings = assembled.prow.known().expect("settings");
    assert_eq!((settings.prowjob_namespace.as_str(), settings.pod_namespace.as_str()), ("prow-jobs", "test-pods"));
    assert_eq!(assembled.prowjobs.known(), Some(&Vec::<std::sync::Arc<ProwJob>>::new()));
}

#[test]
fn pods_are_found_without_the_right_to_list_replica_sets() {
    let mut raw = healthy();
    raw.replica_sets.insert("prow".to_owned(), denied("list replicasets in namespace prow"));
    let view = view(&raw);
    let hook = &view.components.known().expect("known")[0];
    assert_eq!(hook.pods.iter().map(|pod| pod.object.name.as_str()).collect::<Vec<_>>(), ["hook-5d9-a"]);
    assert_eq!(hook.rolled_out, None);
}

#[test]
fn a_namespace_that_is_denied_hides_no_other_and_is_not_empty() {
    let mut raw = healthy();
    raw.config_maps.insert("test-pods".to_owned(), denied("list configmaps in namespace test-pods"));
    let view = view(&raw);
    assert_eq!(view.config_maps.known().expect("known").len(), 2);
    assert!(view.sees_config_maps_of("prow"));
    assert!(!view.sees_config_maps_of("test-pods"), "denied");
    assert!(!view.sees_config_maps_of("elsewhere"), "never looked at");
    let part = view.parts.iter().find(|part| part.name == "configmaps in test-pods").expect("a part");
    assert_eq!(part.source, Source::Denied { verb: "list configmaps in namespace test-pods".to_owned() });
}

#[test]
fn components_are_denied_when_deployments_are() {
    let deployments = |scope| (WorkloadKind::Deployment, scope);
    let namespace = |name: &str| Scope::Namespace(name.to_owned());
    let mut raw = healthy();
    let found = raw.workloads.insert(deployments(Scope::Cluster), denied("list deployments in all namespaces"));
    raw.workloads.insert(deployments(namespace("default")), denied("list deployments in namespace default"));
    assert_eq!(view(&raw).components.state(), "denied");
    // Readable, and nothing there, while others are denied: Prow may well be in those.
    raw.workloads.insert(deployments(namespace("prow")), known(Vec::new()));
    assert_eq!(view(&raw).components.state(), "denied");
    raw.workloads.insert(deployments(namespace("prow")), found.expect("hook"));
    let view = view(&raw);
    assert_eq!(view.components.known().expect("known").len(), 1);
    assert!(view.parts.iter().any(|part| part.name == "deployments" && part.source.state() == "denied"));
    assert!(!view.parts.iter().any(|part| part.name == "deployments in default"), "nobody asked for it");
    assert_eq!(view.config_maps.known().expect("known").len(), 2);
}

#[test]
fn stale_pods_make_components_lost_but_remembered() {
    let mut raw = healthy();
    raw.pods.get_mut("prow").expect("pods").apply(Change::Lost(failure()), Some(at(0)));
    match view(&raw).components {
        Source::Lost { last: Some((components, seen)), .. } => {
            assert_eq!((components.len(), components[0].pods.len(), seen), (1, 1, at(0)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_silent_server_makes_everything_lost_with_its_age_and_comes_back() {
    let mut raw = healthy();
    raw.identity = Source::Loading;
    raw.contact.failed(failure());
    let silent = assemble(&names(), &raw, &BTreeMap::new());
    assert!(raw.is_settled(), "nobody will answer for what still loads");
    assert_eq!(silent.view.components.at(), Some(at(0)));
    for state in [
        silent.view.components.state(),
        silent.view.config_maps.state(),
        silent.view.endpoints.state(),
        silent.view.identity.state(),
        silent.prow.state(),
        silent.prowjobs.state(),
    ] {
        assert_eq!(state, "lost");
    }
    assert!(silent.view.parts.iter().all(|part| part.source.state() == "lost"));
    raw.contact.answered(at(30));
    assert_eq!(view(&raw).components.at(), Some(at(30)));
    assert!(view(&raw).components.known().is_some());
}

#[test]
fn nothing_is_known_before_it_was_answered_for() {
    let mut raw = healthy();
    raw.opening = true;
    raw.pods.insert("prow".to_owned(), List::default());
    assert_eq!(view(&raw).components, Source::Loading);
    assert_eq!(assemble(&names(), &raw, &BTreeMap::new()).prow, Source::Loading);
    assert!(!raw.is_settled());
    // Later, only the newcomer is left out.
    raw.opening = false;
    let ci = (Key::new("ci", "deck"), deployment("ci", "deck"));
    let deployments = raw.workloads.get_mut(&(WorkloadKind::Deployment, Scope::Cluster)).expect("deployments");
    deployments.rows.extend([ci]);
    raw.pods.insert("prow".to_owned(), known(Vec::new()));
    let view = view(&raw);
    let roles: Vec<_> = view.components.known().expect("known").iter().map(|c| c.role.as_str()).collect();
    assert_eq!(roles, ["hook"]);
}

#[test]
fn an_unreadable_configuration_leaves_the_settings_remembered() {
    let mut raw = healthy();
    raw.settings = assemble(&names(), &raw, &BTreeMap::new()).settings;
    let settings = raw.settings.clone().expect("settings").settings;
    let broken = config_map("prow", "config", "config.yaml", "prowjob_namespace: [");
    for (change, word) in [
        (Change::Applied(broken.key.clone(), broken), "does not parse"),
        (Change::Gone(Key::new("prow", "config")), "is not there"),
    ] {
        raw.config_maps.get_mut("prow").expect("maps").apply(change, None);
        let assembled = assemble(&names(), &raw, &BTreeMap::new());
        match &assembled.prow {
            Source::Lost { error, last } => {
                assert!(error.summary.contains(word), "{}", error.summary);
                assert_eq!(last.as_ref().map(|(settings, _)| settings), Some(&settings));
            }
            other => panic!("{other:?}"),
        }
        assert!(assembled.prowjobs.known().is_some(), "the flows are still there to be seen");
    }
    raw.settings = None;
    match assemble(&names(), &raw, &BTreeMap::new()).prowjobs {
        Source::Lost { error, .. } => assert_eq!(error.summary, "prowjob_namespace is not known"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_families_of_addresses_are_the_same_pods() {
    let mut raw = healthy();
    let slice = |ready: bool| EndpointsRow {
        service: Key::new("prow", "hook"),
        endpoints: vec![("hook-a".to_owned(), ready), ("hook-b".to_owned(), false)],
    };
    raw.endpoints.insert(
        "prow".to_owned(),
        known(vec![(Key::new("prow", "hook-4"), slice(true)), (Key::new("prow", "hook-6"), slice(true))]),
    );
    let view = view(&raw);
    let hook = &view.endpoints.known().expect("known").services[&Key::new("prow", "hook")];
    assert_eq!((hook.ready, hook.total, hook.pods.len()), (1, 2, 2));
}

fn line(second: i64) -> LogLine {
    LogLine {
        level: "error".to_owned(),
        msg: "Error loading config.".to_owned(),
        error: "duplicated preset".to_owned(),
        component: "hook".to_owned(),
        at: Some(at(second)),
    }
}

/// Reads all logs that are due, each saying this.
fn read_logs_of(raw: &mut Raw, now: Timestamp, said: &Result<Said, Failure>) -> usize {
    let view = view(raw);
    let (components, maps) = (view.components.seen().expect("seen"), view.config_maps.seen().expect("seen"));
    let due = raw.logs.due(components, maps, now);
    for want in &due {
        raw.logs.read(&want.id, said.clone(), now);
    }
    due.len()
}

#[test]
fn a_crash_is_read_once_and_quoted() {
    let mut raw = healthy();
    let said = Ok(Said { fatal: Some(line(3)), reload: None });
    assert_eq!(read_logs_of(&mut raw, at(0), &said), 1, "the previous life of the one pod of hook");
    assert_eq!(read_logs_of(&mut raw, at(500), &said), 0);
    assert_eq!(view(&raw).components.known().expect("known")[0].pods[0].containers[0].last_fatal, Some(line(3)));
    // The next crash is another life.
    crash_again(&mut raw, 4, None);
    assert_eq!(fatal(&raw), None, "how long it lasted is not known");
    assert_eq!(read_logs_of(&mut raw, at(501), &said), 1);
}

fn fatal(raw: &Raw) -> Option<LogLine> {
    view(raw).components.known().expect("known")[0].pods[0].containers[0].last_fatal.clone()
}

/// The one pod of hook, after a life of so many seconds.
fn crash_again(raw: &mut Raw, restarts: u32, lasted: Option<i64>) {
    let pods = raw.pods.get_mut("prow").expect("pods");
    let container = &mut pods.rows.get_mut(&Key::new("prow", "hook-5d9-a")).expect("pod").pod.containers[0];
    container.restarts = restarts;
    let exit = container.last_exit.as_mut().expect("an exit");
    (exit.started, exit.finished) = (lasted.map(|_| at(600)), lasted.map(|lasted| at(600 + lasted)));
}

fn set_state(raw: &mut Raw, state: ContainerState) {
    let pods = raw.pods.get_mut("prow").expect("pods");
    pods.rows.get_mut(&Key::new("prow", "hook-5d9-a")).expect("pod").pod.containers[0].state = state;
}

/// Asks for the logs that are due, and gets no answer yet.
fn ask(raw: &mut Raw, now: Timestamp) -> Vec<crate::observe::logs::Want> {
    let view = view(raw);
    let (components, maps) = (view.components.seen().expect("seen"), view.config_maps.seen().expect("seen"));
    raw.logs.due(components, maps, now)
}

#[test]
fn what_a_life_died_of_is_known_until_the_next_ones_log_is_read() {
    let mut raw = healthy();
    read_logs_of(&mut raw, at(0), &Ok(Said { fatal: Some(line(3)), reload: None }));
    assert!(raw.logs.reading().is_empty());
    // Before its log is asked for, while it is read, and when it crashes again meanwhile.
    for restarts in [4, 5] {
        crash_again(&mut raw, restarts, Some(1));
        assert_eq!(fatal(&raw), Some(line(3)), "restart {restarts}, not asked yet");
        assert_eq!(ask(&mut raw, at(601)).len(), 1);
        assert_eq!(fatal(&raw), Some(line(3)), "restart {restarts}, being read");
        assert_eq!(raw.logs.reading(), ["logs of prow/hook-5d9-a (hook)"]);
        assert!(!raw.logs.is_settled());
    }
    crash_again(&mut raw, 6, Some(1));
    let want = ask(&mut raw, at(602)).pop().expect("a log to read");
    raw.logs.read(&want.id, Ok(Said { fatal: Some(line(602)), reload: None }), at(603));
    assert_eq!(fatal(&raw), Some(line(602)), "its own words count");
    // A life that lasted had loaded what it found: it died of something else.
    crash_again(&mut raw, 7, Some(3600));
    assert_eq!(fatal(&raw), None);
    let want = ask(&mut raw, at(700)).pop().expect("a log to read");
    assert_eq!(fatal(&raw), None);
    // It was read while it ran, which does not tell what it died of: the same life, read again.
    raw.logs.read(&want.id, Ok(Said { fatal: Some(line(700)), reload: None }), at(701));
    set_state(&mut raw, ContainerState::Running { since: None });
    assert_eq!(read_logs_of(&mut raw, at(702), &Ok(Said::default())), 1);
    assert_eq!(fatal(&raw), Some(line(700)));
    let exit = Exit { code: 1, reason: "Error".to_owned(), started: Some(at(702)), finished: Some(at(703)) };
    set_state(&mut raw, ContainerState::Terminated(exit));
    assert_eq!(fatal(&raw), Some(line(700)), "not asked yet");
    assert_eq!(ask(&mut raw, at(703)).len(), 1);
    assert_eq!(fatal(&raw), Some(line(700)), "being read");
    set_state(&mut raw, waiting());
    // What cannot be read is not known.
    crash_again(&mut raw, 8, Some(1));
    read_logs_of(&mut raw, at(800), &Ok(Said { fatal: Some(line(799)), reload: None }));
    crash_again(&mut raw, 9, Some(1));
    read_logs_of(&mut raw, at(801), &Err(Failure::new(FailureKind::Unreachable, "no answer")));
    assert_eq!(fatal(&raw), None);
}

#[test]
fn a_refusal_older_than_the_last_write_says_nothing() {
    let mut raw = healthy();
    let pods = raw.pods.get_mut("prow").expect("pods");
    let running = &mut pods.rows.get_mut(&Key::new("prow", "hook-5d9-a")).expect("pod").pod.containers[0];
    running.state = ContainerState::Running { since: None };
    running.last_exit = None;
    let reload = |raw: &Raw| view(raw).components.known().expect("known")[0].pods[0].containers[0].reload_error.clone();
    // The maps were written at 100.
    assert_eq!(read_logs_of(&mut raw, at(200), &Ok(Said { fatal: None, reload: Some(line(150)) })), 1);
    assert_eq!(reload(&raw), Some(line(150)));
    let mut written = config_map("prow", "job-config", "jobs.yaml", "x");
    written.resource_version = "8".to_owned();
    written.writers[0].at = Some(at(300));
    raw.config_maps.get_mut("prow").expect("maps").apply(Change::Applied(written.key.clone(), written), None);
    assert_eq!(reload(&raw), None, "it refused what was there before");
    // The kubelet needs a while: read again some times, then no more.
    assert_eq!(read_logs_of(&mut raw, at(301), &Ok(Said::default())), 0);
    let mut reads = 0;
    for second in 302..700 {
        reads += read_logs_of(&mut raw, at(second), &Ok(Said { fatal: None, reload: Some(line(320)) }));
    }
    assert_eq!(reads, 4);
    assert_eq!(reload(&raw), Some(line(320)));
}

#[test]
fn denied_logs_are_one_part_a_namespace_and_hide_nothing_else() {
    let mut raw = healthy();
    let denied = Err(Failure::new(FailureKind::Forbidden, "not allowed to get pods/log in namespace prow"));
    read_logs_of(&mut raw, at(0), &denied);
    let view = view(&raw);
    assert!(view.components.known().is_some());
    let part = view.parts.iter().find(|part| part.name == "logs in prow").expect("a part");
    assert_eq!(part.source, Source::Denied { verb: "get pods/log in namespace prow".to_owned() });
    assert!(raw.logs.is_settled());
    assert_eq!(read_logs_of(&mut raw, at(10), &denied), 0, "not asked again at once");
    assert_eq!(read_logs_of(&mut raw, at(200), &denied), 1);
}
