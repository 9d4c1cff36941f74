use super::*;
use crate::model::{Kind, OWN_LABEL, Writer, config_map_ref};

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
    let body =
        ConfigMapBody { values: written.values, labels: written.labels, annotations: written.annotations, owner: None };
    let write = Write::PutConfigMap { object, at, body };
    UndoSource { run: "r-0003".to_owned(), steps: vec![UndoStep { n: 1, write, prior: Some(before()), made: None }] }
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
        | Write::DeleteConfigMap { .. }
        | Write::DeletePod { .. }
        | Write::PatchImage { .. }
        | Write::CreateJob { .. }
        | Write::DeleteJob { .. } => panic!("an undo is a PUT"),
    };
    assert_eq!(labels(&source()), now.labels);
    let mut changed = source();
    let Write::PutConfigMap { body, .. } = &mut changed.steps[0].write else { unreachable!() };
    body.labels = marks(&[("app", "hook")]);
    assert_eq!(labels(&changed), before().labels);
}

#[test]
fn pods_are_not_undone() {
    let pod = ObjectRef::new(&Alias::service(), "prow", crate::model::Kind::Pod, "hook-1");
    let mut kicked = source();
    let write = Write::DeletePod { object: pod, uid: "u".to_owned(), seen: None };
    kicked.steps[0] = UndoStep { n: 1, write, prior: None, made: None };
    assert!(undo(&kicked, &LiveObjects::default()).unwrap_err().reason.contains("owners of deleted pods"));
}

/// A run that made job-config where there was none, with this uid.
fn made(uid: Option<&str>) -> UndoSource {
    let Write::PutConfigMap { object, body, .. } = source().steps[0].write.clone() else { unreachable!() };
    let write = Write::CreateConfigMap { object, body };
    let step = UndoStep { n: 1, write, prior: None, made: uid.map(str::to_owned) };
    UndoSource { run: "r-0003".to_owned(), steps: vec![step] }
}

#[test]
fn what_a_run_made_is_taken_away_while_it_holds_what_the_run_wrote() {
    let plan = undo(&made(Some("u-1")), &live(Some(written("12")))).unwrap();
    let Write::DeleteConfigMap { at, .. } = &plan.steps[0].write else { panic!("a DELETE: {plan:?}") };
    assert_eq!((at.uid.as_str(), at.resource_version.as_str()), ("u-1", "12"), "bound to what was looked at");
    assert_eq!(plan.title, "undo r-0003: take away job-config");
    assert!(plan.warnings.iter().any(|line| line.starts_with("DELETES ")), "{:?}", plan.warnings);
    let refused = |source: &UndoSource, now: ConfigMapState| undo(source, &live(Some(now))).unwrap_err();
    let other = refused(&made(Some("u-0")), written("12"));
    assert!(other.reason.contains("is not the one that r-0003 made"), "{other:?}");
    let unanswered = refused(&made(None), written("12"));
    assert!(unanswered.reason.contains("had no answer"), "the same content may be another's: {unanswered:?}");
    let mut edited = written("12");
    edited.values.insert("d.yaml".to_owned(), b"d".to_vec());
    let edited = refused(&made(Some("u-1")), edited);
    assert!(edited.reason.contains("written by config-updater"), "{edited:?}");
    assert!(edited.hint.contains("kubectl -n prow delete configmap job-config"), "{edited:?}");
    assert!(undo(&made(Some("u-1")), &live(None)).unwrap_err().reason.contains("nothing to put back"), "gone already");
}

#[test]
fn taking_away_can_be_taken_back() {
    let plan = undo(&made(Some("u-1")), &live(Some(written("12")))).unwrap();
    let step = UndoStep { n: 1, write: plan.steps[0].write.clone(), prior: Some(written("12")), made: None };
    let source = UndoSource { run: "r-0004".to_owned(), steps: vec![step] };
    let again = undo(&source, &live(None)).unwrap();
    let Write::CreateConfigMap { body, .. } = &again.steps[0].write else { panic!("a POST: {again:?}") };
    assert_eq!((&body.values, &body.labels), (&written("12").values, &written("12").labels));
    assert!(undo(&source, &live(Some(written("13")))).unwrap_err().reason.contains("is there"));
}

/// A run that asked a checkconfig: its Job, with this uid, and a ConfigMap that nobody knows the uid of.
fn check(uid: Option<&str>) -> (ObjectRef, UndoSource) {
    let job = ObjectRef::new(&Alias::service(), "prow", Kind::Job, "check");
    let placement = crate::model::Placement::default();
    let canary = crate::model::CanaryFile { config_map: "job-config".to_owned(), key: "canary".to_owned() };
    let (image, args, folders) = ("i:v1".to_owned(), Vec::new(), Vec::new());
    let body = crate::model::CheckJob { image, args, folders, canary, placement };
    let write = Write::CreateJob { object: job.clone(), body: Box::new(body) };
    let mut steps = vec![UndoStep { n: 1, write, prior: None, made: uid.map(str::to_owned) }];
    let mut made = made(None);
    if let Write::CreateConfigMap { body, .. } = &mut made.steps[0].write {
        body.labels = marks(&[OWN_LABEL]);
        body.owner = Some(Box::new(job.clone()));
    }
    made.steps[0].n = 2;
    steps.append(&mut made.steps);
    (job, UndoSource { run: "r-0001".to_owned(), steps })
}

/// What a check made is taken away by its uid, as long as it is there: the Job first, which takes the rest with it.
#[test]
fn what_a_check_made_is_taken_away_the_job_first() {
    let (job, source) = check(Some("u-7"));
    assert_eq!(source.jobs(), [&job]);
    let mut now = live(Some(ConfigMapState { labels: marks(&[OWN_LABEL]), ..written("12") }));
    assert!(undo(&source, &live(None)).unwrap_err().reason.contains("could not be read"));
    now.jobs.insert(job.clone(), Some("u-7".to_owned()));
    let plan = undo(&source, &now).unwrap();
    let Write::DeleteJob { object, uid } = &plan.steps[0].write else { panic!("{:?}", plan.steps) };
    assert_eq!((object.name.as_str(), uid.as_str(), plan.steps[0].undo), ("check", "u-7", Undo::None));
    assert!(matches!(&plan.steps[1].write, Write::DeleteConfigMap { at, .. } if at.uid == "u-1"), "{:?}", plan.steps);
    assert_eq!((plan.title.as_str(), plan.warnings.len()), ("undo r-0001: take away check, job-config", 0));
    assert!(now.has(&job) && now.has(plan.steps[1].write.object()) && !live(None).has(&job));
}

#[test]
fn what_only_has_the_name_of_what_a_check_made_stays() {
    let (job, source) = check(Some("u-7"));
    // Without the mark it is somebody's, whatever it holds.
    let mut now = live(Some(written("12")));
    now.jobs.insert(job.clone(), Some("u-8".to_owned()));
    assert!(undo(&source, &now).unwrap_err().reason.contains("had no answer"));
    now.jobs.insert(job, None);
    now.config_maps.values_mut().for_each(|state| *state = None);
    assert!(undo(&source, &now).is_err(), "it is gone already");
}
