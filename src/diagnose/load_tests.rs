use std::sync::Arc;

use super::*;
use crate::diagnose::testing::{at, known, maker, snapshot};
use crate::diagnose::{ChoiceReason, diagnose};
use crate::model::{
    Alias, ClusterIdentity, ConfigFlags, ConfigPath, DesiredConfigMap, DesiredEntry, Key, Revision, Timestamp,
};

const TAG: &str = "v20240619-cfb8754e0";
const OTHER: &str = "v20190118-b3f0d0d11";

/// hook runs with this tag, and so many revisions are there, newest first; nothing of git is live.
fn world(tag: &str, revisions: usize) -> Snapshot {
    let mut snapshot = snapshot();
    let mut hook = maker(tag, 0, 0);
    hook.role = "hook".to_owned();
    hook.spec_images = vec![format!("gcr.io/k8s-prow/hook:{tag}")];
    hook.config = ConfigFlags {
        config_path: Some(ConfigPath {
            path: "/etc/config/config.yaml".to_owned(),
            config_map: Some(Key::new("default", "config")),
            key: Some("config.yaml".to_owned()),
        }),
        ..ConfigFlags::default()
    };
    snapshot.service.components = known(vec![hook]);
    snapshot.service.identity = known(ClusterIdentity {
        alias: Alias::service(),
        context: "prow".to_owned(),
        server: "https://s".to_owned(),
        uid: "u".to_owned(),
        ca: String::new(),
    });
    let candidates: Vec<Candidate> = (0..revisions).map(candidate).collect();
    snapshot.desired = known(Desired {
        repository: "repo".to_owned(),
        head: candidates[0].clone(),
        asked: None,
        candidates,
        upstream: "HEAD".to_owned(),
        fetched: None,
        mapping: crate::model::Mapping::default(),
        not_understood: Vec::new(),
    });
    snapshot
}

fn candidate(n: usize) -> Candidate {
    let entry = DesiredEntry { path: "config.yaml".to_owned(), bytes: format!("# {n}\n").into_bytes(), gzip: false };
    let map = DesiredConfigMap {
        cluster: Alias::service(),
        key: Key::new("default", "config"),
        entries: [("config.yaml".to_owned(), entry)].into(),
    };
    Candidate {
        revision: Revision {
            id: format!("{n:040}"),
            subject: format!("number {n}"),
            author: "A".to_owned(),
            committed: at(-i64::try_from(n).unwrap()),
        },
        config_maps: Ok(Arc::new(vec![map])),
        objections: Vec::new(),
        content: Some(format!("content {n}")),
    }
}

fn program(version: Option<&str>) -> Checkconfig {
    Checkconfig { path: "/c".to_owned(), file: "1".to_owned(), version: version.map(str::to_owned) }
}

fn checked(n: usize, refused: Option<&str>, by: Witness) -> Checked {
    Checked { content: format!("content {n}"), refused: refused.map(Objection::of), by, at: Timestamp::UNIX_EPOCH }
}

fn by_program(n: usize, refused: Option<&str>) -> Checked {
    checked(n, refused, Witness::Checkconfig(program(Some(TAG))))
}

fn running(tag: &str, uid: &str) -> Witness {
    Witness::Running { server: "https://s".to_owned(), uid: uid.to_owned(), tag: tag.to_owned() }
}

fn verdict_of_head(snapshot: &Snapshot) -> LoadVerdict {
    revision_verdict(snapshot, &snapshot.desired.seen().unwrap().head)
}

#[test]
fn memory_beats_checkconfig_beats_the_job_beats_rules() {
    let mut snapshot = world(TAG, 1);
    assert_eq!(verdict_of_head(&snapshot), LoadVerdict::unknown());
    let mut head = candidate(0);
    head.objections = vec![Objection::of("duplicated preset")];
    let by_rules = revision_verdict(&snapshot, &head);
    assert_eq!((by_rules.from.name(), by_rules.from.is_fact(), by_rules.refused().is_some()), ("rules", false, true));
    let job = |uid: &str, image: &str| Witness::Job {
        server: "https://s".to_owned(),
        uid: uid.to_owned(),
        image: image.to_owned(),
    };
    for (answer, from, fact) in [
        (checked(0, None, job("another", &format!("r/checkconfig:{TAG}"))), "rules", false),
        (checked(0, None, job("u", &format!("r/checkconfig:{OTHER}"))), "rules", false),
        (checked(0, None, job("u", &format!("r/checkconfig:{TAG}"))), "job", true),
        (by_program(0, None), "checkconfig", true),
        (checked(0, None, running(OTHER, "u")), "checkconfig", true),
        (checked(0, None, running(TAG, "another")), "checkconfig", true),
        (checked(0, None, running(TAG, "u")), "memory", true),
    ] {
        snapshot.checked.push(answer);
        let verdict = revision_verdict(&snapshot, &head);
        assert_eq!((verdict.from.name(), verdict.loads_as_fact()), (from, fact), "{:?}", snapshot.checked.last());
    }
}

/// The cause of 2019-01-23: what a newer checkconfig accepted, the deployed hook refused.
#[test]
fn a_checkconfig_of_another_version_is_an_opinion_and_silences_no_rule() {
    let mut snapshot = world(OTHER, 1);
    snapshot.checked = vec![by_program(0, None)];
    let verdict = verdict_of_head(&snapshot);
    assert_eq!((&verdict.answer, verdict.from.is_fact()), (&LoadAnswer::Loads, false));
    assert!(verdict.from.to_string().contains(OTHER), "{}", verdict.from);
    let mut head = candidate(0);
    head.objections = vec![Objection::of("duplicated preset label : a")];
    assert_eq!(revision_verdict(&snapshot, &head).from, KnownFrom::Rules);
    // Its refusal counts as one, and of an unknown version its word is taken.
    snapshot.checked = vec![by_program(0, Some("no"))];
    assert!(verdict_of_head(&snapshot).refused().is_some());
    snapshot.checked = vec![checked(0, Some("no"), Witness::Checkconfig(program(None)))];
    assert!(verdict_of_head(&snapshot).from.is_fact());
}

/// Asks as the front end does; gives the questions.
fn ask(snapshot: &mut Snapshot, loads: impl Fn(usize) -> bool) -> Vec<String> {
    let program = program(Some(TAG));
    let mut asked = Vec::new();
    while let Some(wanted) = to_check(snapshot, &program) {
        let ToCheck::Revision(id) = &wanted else {
            asked.push(format!("{wanted:?}"));
            break;
        };
        let n: usize = id.parse().unwrap();
        asked.push(n.to_string());
        snapshot.checked.insert(0, by_program(n, (!loads(n)).then_some("no")));
    }
    asked
}

#[test]
fn the_nearest_good_revision_is_found_with_few_questions_and_chosen() {
    let mut snapshot = world(TAG, 50);
    let asked = ask(&mut snapshot, |n| n >= 37);
    assert!(asked.len() <= 12, "{asked:?}");
    let choice = diagnose(&snapshot).choice.unwrap();
    assert_eq!(choice.revision.subject, "number 37");
    assert_eq!((choice.why, choice.basis), (ChoiceReason::NewestKnownToLoad, Basis::Fact));
    assert!(choice.reason().contains(TAG), "{}", choice.reason());

    let mut fine = world(TAG, 50);
    assert_eq!(ask(&mut fine, |_| true), ["0"], "a head that loads is all that is wanted");
    assert_eq!(diagnose(&fine).choice.unwrap().why, ChoiceReason::Head);
    let mut hopeless = world(TAG, 3);
    assert_eq!(ask(&mut hopeless, |_| false).last().unwrap(), "Further");
    assert_eq!(diagnose(&hopeless).choice, None);
}

#[test]
fn what_is_known_is_not_asked_again() {
    let mut snapshot = world(TAG, 2);
    snapshot.checked = vec![checked(0, None, running(TAG, "u"))];
    assert_eq!(to_check(&snapshot, &program(Some(TAG))), None);
    // Another program is another opinion.
    snapshot.checked = vec![by_program(0, None)];
    let other = Checkconfig { file: "2".to_owned(), ..program(None) };
    assert_eq!(to_check(&snapshot, &other), None, "but a FACT needs none");
    snapshot.checked = vec![checked(0, None, Witness::Checkconfig(program(Some(OTHER))))];
    assert!(to_check(&snapshot, &program(Some(TAG))).is_some());
}

#[test]
fn images_of_checkconfig_lie_beside_the_components() {
    let snapshot = world(TAG, 1);
    let images = checkconfig_images(snapshot.service.components.seen().unwrap());
    assert_eq!(images, [format!("gcr.io/k8s-prow/checkconfig:{TAG}")]);
}
