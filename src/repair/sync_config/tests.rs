use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::diagnose::{diagnose, testing};
use crate::model::{
    Candidate, Checkconfig, Checked, ConfigMapState, Desired, DesiredEntry, LoadedContent, Mapping, Revision,
    Timestamp, Values, Witness,
};
use crate::prow::{ConfigFiles, Layout};

const TAG: &str = "v20240619-cfb8754e0";
const GIT: &[u8] = b"prowjob_namespace: default\npod_namespace: test-pods\n";

fn state(name: &str, key: &str, value: &[u8]) -> (Key, ConfigMapState) {
    let of = Key::new("default", name);
    let values = Values::from([(key.to_owned(), value.to_vec())]);
    let named = ConfigMapState::named(&Alias::service(), &of);
    (of, ConfigMapState { uid: format!("u-{name}"), resource_version: "1".to_owned(), values, ..named })
}

/// hook runs; the deployed version's own checkconfig accepts git's head, which is not live; and what else is live.
fn world(live: &[(Key, ConfigMapState)]) -> Snapshot {
    let mut snapshot = testing::snapshot();
    snapshot.service.components = testing::known(vec![testing::reader("hook", TAG)]);
    snapshot.service.identity = testing::known(ClusterIdentity {
        alias: Alias::service(),
        context: "prow".to_owned(),
        server: "https://s".to_owned(),
        uid: "u".to_owned(),
        ca: String::new(),
    });
    let mut maps = BTreeMap::from([state("config", "config.yaml", &[GIT, b"# old\n"].concat())]);
    maps.extend(live.iter().cloned());
    snapshot.service.config_maps = testing::known(maps);
    let entry = DesiredEntry { path: "config.yaml".to_owned(), bytes: GIT.to_vec(), gzip: false };
    let asked = vec![DesiredConfigMap {
        cluster: Alias::service(),
        key: Key::new("default", "config"),
        entries: [("config.yaml".to_owned(), entry)].into(),
    }];
    let content = Layout::of_desired(&asked, &files(&snapshot)).map(|layout| layout.digest());
    snapshot.checked = content.iter().map(|content| accepted(content)).collect();
    let head = Candidate {
        revision: Revision {
            id: format!("{:040}", 1),
            subject: "one".to_owned(),
            author: "A".to_owned(),
            committed: testing::at(0),
        },
        config_maps: Ok(Arc::new(asked)),
        objections: Vec::new(),
        content,
    };
    snapshot.desired = testing::known(Desired {
        repository: "repo".to_owned(),
        head: head.clone(),
        asked: None,
        candidates: vec![head],
        upstream: "HEAD".to_owned(),
        fetched: None,
        mapping: Mapping::default(),
        not_understood: Vec::new(),
    });
    snapshot
}

fn files(snapshot: &Snapshot) -> ConfigFiles {
    ConfigFiles::of_components(snapshot.service.components.known().into_iter().flatten())
}

fn accepted(content: &str) -> Checked {
    let program = Checkconfig { path: "/c".to_owned(), file: "1".to_owned(), version: Some(TAG.to_owned()) };
    let by = Witness::Checkconfig(program);
    Checked { content: content.to_owned(), refused: None, by, at: Timestamp::UNIX_EPOCH }
}

/// What must be typed, and the reason.
fn asked_for(snapshot: &Snapshot) -> (Confirmation, String) {
    let plan = plan(&Request::new(RepairId::SyncConfig), snapshot, &diagnose(snapshot)).expect("a plan");
    (plan.confirmation, plan.basis.reason.unwrap_or_default())
}

#[test]
fn a_fact_about_git_is_none_about_what_stays_live_beside_it() {
    let (word, reason) = asked_for(&world(&[]));
    assert_eq!(word, Confirmation::Yes);
    assert!(reason.starts_with("FACT it loads"), "{reason}");
    // Prow does not read it.
    assert_eq!(asked_for(&world(&[state("labels", "labels.yaml", b"x")])).0, Confirmation::Yes);

    let mut snapshot = world(&[state("plugins", "plugins.yaml", b"plugins: {}\n")]);
    let (word, reason) = asked_for(&snapshot);
    assert_eq!(word, Confirmation::MapName("config".to_owned()));
    assert!(reason.starts_with("GUESS it loads") && reason.contains("was not judged with it"), "{reason}");

    // Until somebody judges both together.
    let mut after = snapshot.service.config_maps.known().expect("known").clone();
    after.extend([state("config", "config.yaml", GIT)]);
    let together = Layout::of_live(&after, &files(&snapshot)).expect("a configuration").digest();
    snapshot.checked.push(accepted(&together));
    let (word, reason) = asked_for(&snapshot);
    assert_eq!(word, Confirmation::Yes);
    assert!(reason.starts_with("FACT it loads"), "{reason}");
}

#[test]
fn an_opinion_against_every_revision_is_said_and_leaves_a_plan() {
    let mut snapshot = world(&[]);
    snapshot.service.components = testing::known(vec![testing::reader("hook", "v20190118-b3f0d0d11")]);
    snapshot.checked[0].refused = Some(Objection::of("unknown field"));
    let plan = plan(&Request::new(RepairId::SyncConfig), &snapshot, &diagnose(&snapshot)).expect("a plan");
    assert!(plan.warnings.iter().any(|line| line.starts_with("it may not load: unknown field")), "{:?}", plan.warnings);
    assert_eq!(plan.confirmation, Confirmation::MapName("config".to_owned()));
    // What is deployed refuses it: nothing is proposed.
    snapshot.service.components = testing::known(vec![testing::reader("hook", TAG)]);
    assert!(super::plan(&Request::new(RepairId::SyncConfig), &snapshot, &diagnose(&snapshot)).is_err());
}

#[test]
fn who_may_not_write_what_would_not_load_is_told_each_way_out() {
    // Of plugins git knows nothing: it stays.
    let snapshot = world(&[state("plugins", "plugins.yaml", b"plugins: [\n")]);
    let request = Request::new(RepairId::SyncConfig);
    let hint = plan(&request, &snapshot, &diagnose(&snapshot)).expect_err("it does not parse").hint;
    assert!(hint.contains("--prune") && hint.contains("--override would-not-load --reason TEXT"), "{hint}");
    let (config_map, then) = state("config", "config.yaml", GIT);
    let content =
        LoadedContent { config_map, values: then.values, images: Vec::new(), at: testing::at(0), file: String::new() };
    let request = Request { origin: Origin::LastLoaded(Arc::new(vec![content])), ..request };
    let hint = plan(&request, &snapshot, &diagnose(&snapshot)).expect_err("nor beside what was").hint;
    assert!(!hint.contains("--prune") && hint.contains("--override would-not-load --reason TEXT"), "{hint}");
}
