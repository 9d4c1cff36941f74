use super::*;
use crate::model::{Kind, Writer, config_map_ref};

fn values(pairs: &[(&str, &[u8])]) -> Values {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect()
}

fn marks(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn state(values: Values, version: &str) -> ConfigMapState {
    ConfigMapState {
        cluster: Alias::service(),
        key: Key::new("prow", "job-config"),
        uid: "u-1".to_owned(),
        resource_version: version.to_owned(),
        immutable: false,
        values,
        labels: marks(&[("app", "prow")]),
        annotations: BTreeMap::new(),
        writers: vec![Writer { manager: "config-updater".to_owned(), at: Some(Timestamp::UNIX_EPOCH) }],
    }
}

fn identity() -> ClusterIdentity {
    ClusterIdentity {
        alias: Alias::service(),
        context: "prow".to_owned(),
        server: "https://prow".to_owned(),
        uid: "c-1".to_owned(),
        ca: String::new(),
    }
}

fn before() -> ConfigMapState {
    state(values(&[("a.yaml", b"old"), ("b.gz", &[0x1f, 0x8b, 0xff])]), "10")
}

fn source() -> UndoSource {
    let written = state(values(&[("a.yaml", b"new"), ("c.yaml", b"c"), ("b.gz", &[0x1f, 0x8b, 0xff])]), "11");
    let at = ObjectVersion { uid: "u-1".to_owned(), resource_version: "10".to_owned(), content: String::new() };
    let object = config_map_ref(&Alias::service(), &before().key);
    let body = ConfigMapBody { values: written.values, labels: written.labels, annotations: written.annotations };
    let write = Write::PutConfigMap { object, at, body };
    UndoSource { run: "r-0003".to_owned(), steps: vec![UndoStep { n: 1, write, prior: Some(before()) }] }
}

fn written(version: &str) -> ConfigMapState {
    let Write::PutConfigMap { body, .. } = source().steps[0].write.clone() else { unreachable!() };
    state(body.values, version)
}

fn live(state: Option<ConfigMapState>) -> LiveObjects {
    let config_maps = BTreeMap::from([((Alias::service(), before().key), state)]);
    LiveObjects { config_maps, ..LiveObjects::default() }
}

fn undo(source: &UndoSource, live: &LiveObjects) -> Result<Plan, Refusal> {
    plan(source, live, &[identity()], Timestamp::UNIX_EPOCH)
}

#[test]
fn the_old_content_comes_back_byte_for_byte_guarded_by_what_is_there_now() {
    let plan = undo(&source(), &live(Some(written("12")))).unwrap();
    let Write::PutConfigMap { at, body, .. } = &plan.steps[0].write else { panic!("{plan:?}") };
    assert_eq!(body.values, before().values);
    assert_eq!((at.uid.as_str(), at.resource_version.as_str()), ("u-1", "12"));
    assert_eq!(at.content, content_digest(&written("12").values));
    assert_eq!(plan.steps[0].effect, "1 key(s) changed, 0 added, 1 removed");
    assert_eq!(plan.confirmation, Confirmation::MapName("job-config".to_owned()));
    assert_eq!(plan.basis.undoes.as_deref(), Some("r-0003"));
    assert_eq!(plan.clusters, [identity()]);
    assert_eq!(plan.digest, plan.compute_digest());
}

#[test]
fn what_somebody_else_wrote_since_is_left_alone_and_they_are_named() {
    let mut now = written("15");
    now.values.insert("a.yaml".to_owned(), b"newer".to_vec());
    let refusal = undo(&source(), &live(Some(now))).unwrap_err();
    assert!(refusal.reason.contains("config-updater at 1970-01-01"), "{}", refusal.reason);
}

#[test]
fn there_is_a_reason_for_everything_that_cannot_be_undone() {
    let mut recreated = written("3");
    recreated.uid = "u-2".to_owned();
    for (now, says) in [
        (live(Some(before())), "as it was before r-0003 already"),
        (live(Some(recreated)), "deleted and made anew by config-updater"),
        (live(None), "was deleted since"),
        (LiveObjects::default(), "could not be read"),
    ] {
        let refusal = undo(&source(), &now).unwrap_err();
        assert!(refusal.reason.contains(says), "{} / {says}", refusal.reason);
    }
    let mut lost = source();
    lost.steps[0].prior = None;
    assert!(undo(&lost, &live(Some(written("12")))).unwrap_err().reason.contains("no backup"));
}

#[test]
fn labels_of_today_stay_unless_the_run_changed_them() {
    let mut now = written("12");
    now.labels = marks(&[("app", "prow"), ("added", "since")]);
    let labels = |source: &UndoSource| match &undo(source, &live(Some(now.clone()))).unwrap().steps[0].write {
        Write::PutConfigMap { body, .. } => body.labels.clone(),
        Write::CreateConfigMap { .. }
        | Write::DeletePod { .. }
        | Write::PatchImage { .. }
        | Write::CreateJob { .. }
        | Write::DeleteOwn { .. } => panic!("an undo is a PUT"),
    };
    assert_eq!(labels(&source()), now.labels);
    let mut changed = source();
    let Write::PutConfigMap { body, .. } = &mut changed.steps[0].write else { unreachable!() };
    body.labels = marks(&[("app", "hook")]);
    assert_eq!(labels(&changed), before().labels);
}

#[test]
fn pods_and_new_config_maps_are_not_undone() {
    let pod = ObjectRef::new(&Alias::service(), "prow", crate::model::Kind::Pod, "hook-1");
    let mut kicked = source();
    kicked.steps[0] =
        UndoStep { n: 1, write: Write::DeletePod { object: pod, uid: "u".to_owned(), seen: None }, prior: None };
    assert!(undo(&kicked, &LiveObjects::default()).unwrap_err().reason.contains("owners of deleted pods"));

    let mut made = source();
    let Write::PutConfigMap { object, body, .. } = made.steps[0].write.clone() else { unreachable!() };
    made.steps[0] = UndoStep { n: 1, write: Write::CreateConfigMap { object, body }, prior: None };
    let refusal = undo(&made, &live(Some(written("12")))).unwrap_err();
    assert!(refusal.hint.contains("kubectl -n prow delete configmap job-config"), "{}", refusal.hint);

    // Partly: what can be put back is, what cannot is listed.
    made.steps.push(source().steps[0].clone());
    let plan = undo(&made, &live(Some(written("12")))).unwrap();
    assert_eq!((plan.steps.len(), plan.refusals.len()), (1, 1));
}

/// What a check made is taken away by its uid; a ConfigMap of anybody else's stays, as before.
#[test]
fn what_a_check_made_is_taken_away() {
    let object = |kind: Kind, name: &str| ObjectRef::new(&Alias::service(), "prow", kind, name);
    let body = |labels: BTreeMap<String, String>| ConfigMapBody {
        values: Values::new(),
        labels,
        annotations: BTreeMap::new(),
    };
    let (map, other) = (object(Kind::ConfigMap, "check-1"), object(Kind::ConfigMap, "job-config"));
    let made = |n: usize, write: Write| UndoStep { n, write, prior: None };
    let source = UndoSource {
        run: "r-0001".to_owned(),
        steps: vec![
            made(1, Write::CreateConfigMap { object: map.clone(), body: body(marks(&[OWN_LABEL])) }),
            made(2, Write::CreateConfigMap { object: other.clone(), body: body(BTreeMap::new()) }),
        ],
    };
    assert_eq!((source.own(), source.config_maps()), (vec![&map], vec![&other]));
    let mut now = live(None);
    now.config_maps.insert((Alias::service(), Key::new("prow", "job-config")), None);
    now.own.insert(map.clone(), Some("u-7".to_owned()));
    let plan = undo(&source, &now).unwrap();
    assert_eq!(plan.steps.len(), 1);
    let Write::DeleteOwn { object, uid } = &plan.steps[0].write else { panic!("{:?}", plan.steps) };
    assert_eq!((object.name.as_str(), uid.as_str(), plan.steps[0].undo), ("check-1", "u-7", Undo::None));
    now.own.insert(map, None);
    assert!(undo(&source, &now).is_err(), "it is gone already");
}
