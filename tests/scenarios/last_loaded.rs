//! What was last seen loaded, brought back without git.

use std::sync::Arc;

use prow_breakglass::diagnose::loaded_now;
use prow_breakglass::model::{ConfigMapState, Key, LoadedContent, Snapshot, Source, SourceStatus, Write, Writer};
use prow_breakglass::repair::{Confirmation, Origin, Plan, Refusal, Request, Verify};

use crate::support::{self, NAMESPACE, at, healthy, incident, known};
use crate::sync::{live, request, sync};

fn kept(snapshot: &Snapshot, at: &str) -> Vec<LoadedContent> {
    let content = |(state, images): (&ConfigMapState, Vec<String>)| LoadedContent {
        config_map: state.key.clone(),
        values: state.values.clone(),
        images,
        at: support::at(at),
        file: String::new(),
    };
    loaded_now(snapshot).into_iter().map(content).collect()
}

fn restore(snapshot: &Snapshot, contents: &[LoadedContent]) -> Result<Plan, Refusal> {
    sync(snapshot, &Request { origin: Origin::LastLoaded(Arc::new(contents.to_vec())), ..request() })
}

/// The components of a healthy Prow, started after what is live was written.
fn loaded() -> Snapshot {
    let mut snapshot = healthy();
    for name in ["config", "job-config", "plugins"] {
        live(&mut snapshot, name).writers =
            vec![Writer { manager: "hook".to_owned(), at: Some(at("2019-01-10T09:00:00Z")) }];
    }
    snapshot
}

#[test]
fn what_was_last_loaded_is_brought_back_without_git() {
    let contents = kept(&loaded(), "2019-01-22T10:00:00Z");
    let names: Vec<&str> = contents.iter().map(|content| content.config_map.name.as_str()).collect();
    assert_eq!(names, ["config", "job-config", "plugins"]);
    let mut broken = incident();
    broken.desired = Source::Loading;
    let refused = kept(&broken, "2019-01-23T10:00:00Z");
    assert!(!refused.iter().any(|content| content.config_map.name == "job-config"), "hook refuses that one");
    // The crashing one is gone, too: what came since goes, what went comes back.
    live(&mut broken, "job-config").values.insert("new.yaml".to_owned(), b"x".to_vec());
    let plan = restore(&broken, &contents).expect("a plan without git");
    assert_eq!(plan.steps.len(), 1, "{plan:?}");
    let Write::PutConfigMap { body, .. } = &plan.steps[0].write else { panic!("a PUT") };
    let was = contents.iter().find(|content| content.config_map.name == "job-config").expect("it was kept");
    assert_eq!(body.values, was.values, "byte for byte");
    assert_eq!(body.labels["app"], "prow");
    let reason = plan.basis.reason.as_deref().unwrap_or_default();
    assert!(reason.starts_with("FACT it loads") && reason.contains("2019-01-22T10:00:00Z"), "{reason}");
    // One key of four goes with it.
    assert_eq!(plan.confirmation, Confirmation::PruneMany { first: Confirmation::Yes.word(), keys: 1 });
    assert!(matches!(plan.verify, Verify::ComponentsReady { .. }));

    // A missing map is made again; another version makes it a guess; nothing kept is said.
    let Source::Known { value, .. } = &mut broken.service.config_maps else { unreachable!() };
    value.remove(&Key::new(NAMESPACE, "plugins"));
    broken.service.parts.push(SourceStatus { name: "configmaps in prow".to_owned(), source: known(()) });
    let older: Vec<LoadedContent> = contents
        .iter()
        .cloned()
        .map(|content| LoadedContent { images: vec!["hook:v0".to_owned()], ..content })
        .collect();
    let plan = restore(&broken, &older).expect("a plan");
    assert!(plan.steps.iter().any(|step| step.write.is_create()), "{plan:?}");
    assert!(plan.basis.reason.as_deref().unwrap_or_default().starts_with("GUESS"));
    assert!(restore(&broken, &[]).expect_err("nothing").reason.contains("was seen loaded"));
    let same = restore(&loaded(), &contents).expect_err("it is live");
    assert!(same.reason.contains("nothing to write"), "{same:?}");
}

#[test]
fn what_was_refused_since_is_not_brought_back() {
    let mut contents = kept(&loaded(), "2019-01-20T10:00:00Z");
    let bad = LoadedContent {
        config_map: Key::new(NAMESPACE, "job-config"),
        values: live(&mut incident(), "job-config").values.clone(),
        images: contents[0].images.clone(),
        at: at("2019-01-23T10:00:00Z"),
        file: String::new(),
    };
    contents.insert(0, bad);
    let mut broken = incident();
    live(&mut broken, "config").values.insert("note".to_owned(), b"x".to_vec());
    let plan = restore(&broken, &contents).expect("a plan");
    let Write::PutConfigMap { body, .. } = &plan.steps.last().expect("a step").write else { panic!("a PUT") };
    assert_eq!(body.values["presets.yaml"], support::good_presets().as_bytes());
}
