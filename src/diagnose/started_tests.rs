use std::collections::BTreeMap;

use super::*;
use crate::diagnose::testing::{at, known, reader, snapshot};
use crate::diagnose::{live_content, live_verdict, revision_verdict};
use crate::model::{
    Alias, Candidate, ClusterIdentity, ConfigPath, DesiredConfigMap, DesiredEntry, Exit, Failure, FailureKind,
    LoadAnswer, LogLine, Revision, Source, SourceStatus, Writer,
};

const TAG: &str = "v20240619-cfb8754e0";
const NEW: &str = "v20250101-0a1b2c3d4";

/// These components, and `default/config` written at 17:00Z, twenty minutes before their containers began.
fn world(components: Vec<Component>) -> Snapshot {
    let mut snapshot = snapshot();
    snapshot.service.components = known(components);
    snapshot.service.identity = known(ClusterIdentity {
        alias: Alias::service(),
        context: "prow".to_owned(),
        server: "https://s".to_owned(),
        uid: "u".to_owned(),
        ca: String::new(),
    });
    let key = Key::new("default", "config");
    let map = ConfigMapState {
        values: [("config.yaml".to_owned(), b"a: b\n".to_vec())].into(),
        writers: vec![Writer { manager: "hook".to_owned(), at: Some(at(60)) }],
        ..ConfigMapState::named(&Alias::service(), &key)
    };
    snapshot.service.config_maps = known(BTreeMap::from([(key, map)]));
    snapshot
}

fn of<'a>(snapshot: &'a mut Snapshot, name: &str) -> &'a mut Component {
    let Source::Known { value, .. } = &mut snapshot.service.components else { panic!("known components") };
    value.iter_mut().find(|component| component.role == name).expect("it is there")
}

fn container<'a>(snapshot: &'a mut Snapshot, name: &str) -> &'a mut Container {
    &mut of(snapshot, name).pods[0].containers[0]
}

/// Its container crash-loops, and its log is not known.
fn crash(snapshot: &mut Snapshot, name: &str) {
    let container = container(snapshot, name);
    container.ready = false;
    container.restarts = 3;
    container.state = ContainerState::Waiting { reason: "CrashLoopBackOff".to_owned(), message: String::new() };
    container.last_exit =
        Some(Exit { code: 1, reason: "Error".to_owned(), started: Some(at(84)), finished: Some(at(85)) });
}

fn refusal() -> LogLine {
    LogLine {
        level: "fatal".to_owned(),
        msg: "Error starting config agent.".to_owned(),
        error: "duplicated preset label : a".to_owned(),
        component: "hook".to_owned(),
        at: Some(at(85)),
    }
}

/// Tags that are remembered to have started, and images that are.
fn remembered(snapshot: &Snapshot) -> (Vec<String>, Vec<String>) {
    let tags = started_now(snapshot).into_iter().filter_map(|checked| match checked.by {
        Witness::Running { tag, .. } => Some(tag),
        Witness::Job { .. } | Witness::Checkconfig(_) => None,
    });
    (tags.collect(), loaded_now(snapshot).into_iter().flat_map(|(_, images)| images).collect())
}

fn nothing() -> (Vec<String>, Vec<String>) {
    (Vec::new(), Vec::new())
}

fn is_live_loaded(snapshot: &Snapshot) -> bool {
    live_verdict(snapshot).is_some_and(|verdict| verdict.answer == LoadAnswer::Loads)
}

#[test]
fn a_ready_container_that_began_after_the_write_has_loaded_it() {
    let mut snapshot = world(vec![reader("hook", TAG)]);
    assert_eq!(remembered(&snapshot), (vec![TAG.to_owned()], vec![format!("gcr.io/k8s-prow/hook:{TAG}")]));
    assert!(is_live_loaded(&snapshot));
    container(&mut snapshot, "hook").state = ContainerState::Running { since: Some(at(59)) };
    assert_eq!(remembered(&snapshot), nothing());
    assert!(!is_live_loaded(&snapshot));
}

/// A container that restarts in an old pod soon after a write finds what the kubelet has not replaced yet.
#[test]
fn a_restart_before_the_kubelet_had_its_time_proves_nothing() {
    let mut snapshot = world(vec![reader("hook", TAG)]);
    let began = |minute| ContainerState::Running { since: Some(at(minute)) };
    container(&mut snapshot, "hook").state = began(61);
    assert_eq!(remembered(&snapshot), nothing());
    assert!(!is_live_loaded(&snapshot));
    container(&mut snapshot, "hook").state = began(62);
    assert!(is_live_loaded(&snapshot));
    // What it found before, it refused: this is another content.
    container(&mut snapshot, "hook").state = began(61);
    container(&mut snapshot, "hook").last_fatal = Some(refusal());
    assert!(is_live_loaded(&snapshot));
    container(&mut snapshot, "hook").last_fatal = None;
    // A pod that was made since was given what was there then.
    of(&mut snapshot, "hook").pods[0].created = Some(at(61));
    assert_eq!(remembered(&snapshot).0, [TAG]);
}

/// In the middle of a rollout the workload asks for the new version already, and the old one's container is what is Ready.
#[test]
fn a_container_is_credited_with_its_own_image() {
    let mut snapshot = world(vec![reader("hook", NEW)]);
    container(&mut snapshot, "hook").image = format!("gcr.io/k8s-prow/hook:{TAG}");
    assert_eq!(remembered(&snapshot), nothing(), "neither the new one, which has not run, nor the old one, which goes");
    assert!(!is_live_loaded(&snapshot));
    // Another workload asks for the old one, and has not started on it: it is the version that counts.
    let mut old = reader("horologium", TAG);
    old.pods[0].containers[0].state = ContainerState::Running { since: Some(at(10)) };
    let mut snapshot = world(vec![reader("hook", NEW), old]);
    container(&mut snapshot, "hook").image = format!("gcr.io/k8s-prow/hook:{TAG}");
    assert_eq!(remembered(&snapshot).0, [TAG]);
    // By digest alone nobody can tell which it is.
    container(&mut snapshot, "hook").image = "sha256:0123456789abcdef".to_owned();
    assert_eq!(remembered(&snapshot), nothing());
}

#[test]
fn what_stands_beside_a_component_loads_nothing() {
    let mut snapshot = world(vec![reader("hook", TAG)]);
    let proxy = Container {
        name: "proxy".to_owned(),
        image: format!("quay.io/oauth2-proxy/oauth2-proxy:{TAG}"),
        ..container(&mut snapshot, "hook").clone()
    };
    let hook = of(&mut snapshot, "hook");
    hook.spec_images.push(proxy.image.clone());
    hook.pods[0].containers[0].state = ContainerState::Running { since: Some(at(10)) };
    hook.pods[0].containers.push(proxy);
    assert_eq!(remembered(&snapshot), nothing());
    assert!(!is_live_loaded(&snapshot));
}

#[test]
fn that_it_runs_is_no_fact_of_a_lost_picture() {
    fn lost<T: Clone>(source: &Source<T>) -> Source<T> {
        let error = Failure::new(FailureKind::Unreachable, "no answer");
        Source::Lost { error, last: source.known().cloned().map(|value| (value, at(85))) }
    }
    let seen = world(vec![reader("hook", TAG)]);
    assert!(is_live_loaded(&seen));
    let mut components = seen.clone();
    components.service.components = lost(&seen.service.components);
    let mut maps = seen.clone();
    maps.service.config_maps = lost(&seen.service.config_maps);
    for snapshot in [components, maps] {
        assert_eq!(live_verdict(&snapshot).expect("it was seen").answer, LoadAnswer::Unknown);
    }
}

#[test]
fn what_runs_is_no_word_on_what_is_left_of_it() {
    let mut snapshot = world(vec![reader("hook", TAG)]);
    let plugins = Key::new("default", "plugins");
    of(&mut snapshot, "hook").config.plugin_config = Some(ConfigPath {
        path: "/etc/plugins/plugins.yaml".to_owned(),
        config_map: Some(plugins.clone()),
        key: Some("plugins.yaml".to_owned()),
    });
    let verdict = live_verdict(&snapshot).expect("there is a config.yaml");
    assert_eq!((verdict.answer, verdict.from.is_fact()), (LoadAnswer::Unknown, false), "that list is not seen");
    assert_eq!((started_now(&snapshot), live_content(&snapshot)), (Vec::new(), None));
    let part = SourceStatus { name: "configmaps in default".to_owned(), source: known(()) };
    snapshot.service.parts.push(part);
    let verdict = live_verdict(&snapshot).expect("there is a config.yaml");
    assert_eq!(verdict.refused().and_then(|objection| objection.config_map.clone()), Some(plugins.clone()));
    // It is there, and without the key.
    let map = ConfigMapState {
        writers: vec![Writer { manager: "hook".to_owned(), at: Some(at(60)) }],
        ..ConfigMapState::named(&Alias::service(), &plugins)
    };
    let Source::Known { value, .. } = &mut snapshot.service.config_maps else { panic!("known ConfigMaps") };
    value.insert(plugins.clone(), map);
    assert!(!is_live_loaded(&snapshot));
    let Source::Known { value, .. } = &mut snapshot.service.config_maps else { panic!("known ConfigMaps") };
    value.get_mut(&plugins).unwrap().values.insert("plugins.yaml".to_owned(), b"plugins: {}\n".to_vec());
    assert!(is_live_loaded(&snapshot), "whole again");
    assert_eq!(remembered(&snapshot).0, [TAG]);
}

#[test]
fn of_two_versions_both_must_have_started() {
    let mut snapshot = world(vec![reader("hook", TAG), reader("horologium", NEW)]);
    assert!(is_live_loaded(&snapshot));
    assert_eq!(remembered(&snapshot).0, [TAG, NEW]);
    container(&mut snapshot, "hook").state = ContainerState::Running { since: Some(at(10)) };
    assert!(!is_live_loaded(&snapshot), "hook runs on what was there before");
    assert_eq!(remembered(&snapshot).0, [NEW]);
}

#[test]
fn while_a_reader_crashes_and_nobody_knows_of_what_nothing_is_loaded() {
    let mut snapshot = world(vec![reader("hook", TAG), reader("horologium", TAG)]);
    crash(&mut snapshot, "hook");
    assert_eq!(remembered(&snapshot), nothing());
    assert!(!is_live_loaded(&snapshot));
    // Between two crashes it runs for a moment.
    container(&mut snapshot, "hook").state = ContainerState::Running { since: Some(at(90)) };
    assert_eq!(remembered(&snapshot), nothing());
    container(&mut snapshot, "hook").state = ContainerState::Running { since: Some(at(89)) };
    assert_eq!(remembered(&snapshot).0, [TAG], "it runs for a minute: it has loaded what it found");
    container(&mut snapshot, "hook").state =
        ContainerState::Terminated(Exit { code: 1, reason: "Error".to_owned(), started: None, finished: None });
    assert_eq!(remembered(&snapshot), nothing());
    // Its log tells that it is about something else.
    container(&mut snapshot, "hook").last_fatal =
        Some(LogLine { msg: "Could not listen.".to_owned(), error: "address in use".to_owned(), ..refusal() });
    assert_eq!(remembered(&snapshot).0, [TAG]);
}

#[test]
fn while_a_readers_log_says_that_it_refused_nothing_is_loaded() {
    let mut snapshot = world(vec![reader("hook", TAG), reader("horologium", TAG)]);
    crash(&mut snapshot, "hook");
    container(&mut snapshot, "hook").last_fatal = Some(refusal());
    assert_eq!(remembered(&snapshot), nothing());
    assert_eq!(live_verdict(&snapshot).expect("seen").from.name(), "log");
    // So soon after a person's write the refusal may be of what was there before, or not.
    let Source::Known { value, .. } = &mut snapshot.service.config_maps else { unreachable!() };
    let map = value.values_mut().next().expect("one");
    map.writers = vec![Writer { manager: "kubectl-replace".to_owned(), at: Some(at(79)) }];
    container(&mut snapshot, "hook").last_fatal = Some(LogLine { at: Some(at(80)), ..refusal() });
    assert_eq!(remembered(&snapshot), nothing(), "it is not back yet");
    // One that runs on, and refused to load it again.
    let mut snapshot = world(vec![reader("hook", TAG), reader("horologium", TAG)]);
    container(&mut snapshot, "hook").reload_error = Some(refusal());
    assert_eq!(remembered(&snapshot), nothing());
}

/// That it runs is a fact about what is live, whatever else it reads; what is remembered of it says what that was.
#[test]
fn what_was_read_beside_it_is_remembered_too() {
    let mut snapshot = world(vec![reader("hook", TAG)]);
    of(&mut snapshot, "hook").config.further = vec!["--supplemental-prow-config-dir=/etc/more".to_owned()];
    let verdict = live_verdict(&snapshot).expect("seen");
    assert_eq!((verdict.from.name(), verdict.loads_as_fact()), ("running", true));
    let by = started_now(&snapshot).remove(0).by;
    assert!(matches!(&by, Witness::Running { further: Some(what), .. } if what.contains("/etc/more")), "{by:?}");
}

/// A revision that is live is known to load only where every version that reads it has started on it.
#[test]
fn a_revision_that_is_live_takes_the_same_road() {
    let mut snapshot = world(vec![reader("hook", TAG), reader("horologium", NEW)]);
    let entry = DesiredEntry { path: "config.yaml".to_owned(), bytes: b"a: b\n".to_vec(), gzip: false };
    let map = DesiredConfigMap {
        cluster: Alias::service(),
        key: Key::new("default", "config"),
        entries: [("config.yaml".to_owned(), entry)].into(),
    };
    let candidate = Candidate {
        revision: Revision { id: "0".repeat(40), subject: String::new(), author: String::new(), committed: at(0) },
        config_maps: Ok(std::sync::Arc::new(vec![map])),
        objections: Vec::new(),
        content: Some("c".to_owned()),
    };
    assert!(revision_verdict(&snapshot, &candidate).loads_as_fact());
    container(&mut snapshot, "horologium").image = format!("gcr.io/k8s-prow/horologium:{TAG}");
    assert!(!revision_verdict(&snapshot, &candidate).loads_as_fact(), "the new horologium has not come up yet");
}
