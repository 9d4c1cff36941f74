use std::sync::Arc;

use super::*;
use crate::diagnose::deployed::checkconfig_images;
use crate::diagnose::testing::{at, known, reader, snapshot};
use crate::diagnose::{Choice, ChoiceReason, FindingKind, diagnose};
use crate::model::{
    About, Alias, ClusterIdentity, Component, DesiredConfigMap, DesiredEntry, Doubt, Failure, FailureKind, Key,
    Revision, Source, SourceStatus, Timestamp,
};

const TAG: &str = "v20240619-cfb8754e0";
const OTHER: &str = "v20190118-b3f0d0d11";

/// hook runs with this tag, and so many revisions are there, newest first; nothing of git is live.
fn world(tag: &str, revisions: usize) -> Snapshot {
    let mut snapshot = snapshot();
    snapshot.service.components = known(vec![reader("hook", tag)]);
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
    Witness::Running { server: "https://s".to_owned(), uid: uid.to_owned(), tag: tag.to_owned(), further: None }
}

fn job(image: &str) -> Witness {
    Witness::Job { server: "https://s".to_owned(), uid: "u".to_owned(), image: image.to_owned() }
}

/// What runs: hook with the first tag, others with the rest.
fn deploy(snapshot: &mut Snapshot, tags: &[&str]) {
    let names = ["hook", "horologium", "sinker"];
    let component = |(name, tag): (&&str, &&str)| reader(name, tag);
    snapshot.service.components = known(names.iter().zip(tags).map(component).collect());
}

fn components(snapshot: &mut Snapshot) -> &mut Vec<Component> {
    let Source::Known { value, .. } = &mut snapshot.service.components else { panic!("known components") };
    value
}

/// A revision that a rule of ours objects to.
fn objected() -> Candidate {
    Candidate { objections: vec![Objection::of("duplicated preset label : a")], ..candidate(0) }
}

/// What a verdict says, in short.
fn in_short(verdict: &LoadVerdict) -> (&'static str, &'static str, bool) {
    let answer = match verdict.answer {
        LoadAnswer::Loads => "loads",
        LoadAnswer::Refused(_) => "refused",
        LoadAnswer::Unknown => "unknown",
    };
    (answer, verdict.from.name(), verdict.from.is_fact())
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
    // Its refusal counts as one.
    snapshot.checked = vec![by_program(0, Some("no"))];
    assert_eq!(in_short(&verdict_of_head(&snapshot)), ("refused", "checkconfig", false));
}

#[test]
fn a_checkconfig_is_a_fact_only_where_all_that_is_deployed_is_its_version() {
    let untagged = "";
    for (version, deployed, fact) in [
        (Some(TAG), &[TAG][..], true),
        (Some(TAG), &[TAG, TAG], true),
        (None, &[TAG], false),
        (Some(TAG), &[], false),
        (Some(TAG), &[OTHER], false),
        (Some(TAG), &[TAG, OTHER], false),
        (Some(OTHER), &[TAG, OTHER], false),
        (Some(TAG), &[TAG, untagged], false),
    ] {
        let mut snapshot = world(TAG, 1);
        deploy(&mut snapshot, deployed);
        let of = |refused| vec![checked(0, refused, Witness::Checkconfig(program(version)))];
        snapshot.checked = of(None);
        let verdict = verdict_of_head(&snapshot);
        assert_eq!(in_short(&verdict), ("loads", "checkconfig", fact), "{version:?} {deployed:?}");
        assert_eq!((verdict.loads_as_fact(), verdict.from.about()), (fact, About::Deployed));
        let beside_a_rule = if fact { ("loads", "checkconfig", true) } else { ("refused", "rules", false) };
        assert_eq!(in_short(&revision_verdict(&snapshot, &objected())), beside_a_rule, "{version:?} {deployed:?}");
        snapshot.checked = of(Some("no"));
        assert_eq!(in_short(&verdict_of_head(&snapshot)), ("refused", "checkconfig", fact), "{version:?} {deployed:?}");
    }
}

#[test]
fn what_is_not_seen_now_or_still_runs_is_deployed_too() {
    let mut snapshot = world(TAG, 1);
    snapshot.checked = vec![by_program(0, None)];
    // The old version still serves: the rollout is not done, or stuck.
    let mut rolling = snapshot.clone();
    let mut hook = reader("hook", TAG);
    hook.pods[0].containers[0].image = format!("gcr.io/k8s-prow/hook:{OTHER}");
    *components(&mut rolling) = vec![hook];
    let doubts = verdict_of_head(&rolling).from.doubts().to_vec();
    assert_eq!(doubts, [Doubt::OtherVersion { deployed: vec![TAG.to_owned(), OTHER.to_owned()] }]);
    components(&mut rolling)[0].pods[0].deleting = true;
    assert!(verdict_of_head(&rolling).loads_as_fact(), "it goes");

    let Source::Known { value, at } = snapshot.service.components.clone() else { unreachable!() };
    let error = Failure::new(FailureKind::Unreachable, "no answer");
    snapshot.service.components = Source::Lost { error, last: Some((value, at)) };
    assert_eq!(verdict_of_head(&snapshot).from.doubts(), [Doubt::DeployedNotKnown], "what was there is not what is");
}

/// A rollout may leave the old version running where nobody sees it.
#[test]
fn of_what_runs_unseen_no_word_is_a_fact() {
    let mut snapshot = world(TAG, 1);
    snapshot.checked = vec![by_program(0, None)];
    let pods = |source| SourceStatus { name: "pods in default".to_owned(), source };
    snapshot.service.parts = vec![pods(known(()))];
    assert!(verdict_of_head(&snapshot).loads_as_fact());
    let mut denied = snapshot.clone();
    denied.service.parts = vec![pods(Source::Denied { verb: "list pods in namespace default".to_owned() })];
    components(&mut denied)[0].pods.clear();
    assert_eq!(verdict_of_head(&denied).from.doubts(), [Doubt::DeployedNotKnown]);
    for image in ["sha256:0123456789abcdef", "gcr.io/k8s-prow/hook@sha256:0123456789abcdef"] {
        let mut by_digest = snapshot.clone();
        components(&mut by_digest)[0].pods[0].containers[0].image = image.to_owned();
        assert_eq!(verdict_of_head(&by_digest).from.doubts(), [Doubt::DeployedNotKnown], "{image}");
    }
}

/// A presubmit asks whether that program accepts it, and is told no more.
#[test]
fn without_a_cluster_a_checkconfig_speaks_for_itself() {
    for version in [Some(TAG), None] {
        let mut snapshot = Snapshot::of_no_cluster(at(0));
        snapshot.desired = world(TAG, 1).desired;
        let of = |refused| vec![checked(0, refused, Witness::Checkconfig(program(version)))];
        snapshot.checked = of(None);
        let verdict = revision_verdict(&snapshot, &objected());
        assert_eq!(in_short(&verdict), ("loads", "checkconfig", true), "its word is what was asked for");
        assert_eq!((verdict.from.about(), verdict.loads_as_fact()), (About::Checkconfig, false), "of no Prow");
        assert!(verdict.from.to_string().contains("no cluster was looked at"), "{}", verdict.from);
        assert_eq!(to_check(&snapshot, &program(version)), None);
        snapshot.checked = of(Some("no"));
        assert_eq!(in_short(&verdict_of_head(&snapshot)), ("refused", "checkconfig", true));
    }
}

#[test]
fn a_job_is_a_fact_only_where_its_tag_is_the_only_one() {
    let image = |tag: &str| format!("r/checkconfig:{tag}");
    let mut snapshot = world(TAG, 1);
    deploy(&mut snapshot, &[TAG, OTHER]);
    // One of two accepts it: of the other that says nothing.
    snapshot.checked = vec![checked(0, None, job(&image(TAG)))];
    assert_eq!(in_short(&verdict_of_head(&snapshot)), ("loads", "job", false));
    assert_eq!(in_short(&revision_verdict(&snapshot, &objected())), ("refused", "rules", false));
    // One of two refuses it: whoever asked the other first.
    for order in [[0, 1], [1, 0]] {
        let both = [checked(0, None, job(&image(TAG))), checked(0, Some("no"), job(&image(OTHER)))];
        snapshot.checked = order.iter().map(|n| both[*n].clone()).collect();
        assert_eq!(in_short(&verdict_of_head(&snapshot)), ("refused", "job", false));
    }
    let deployed = vec![TAG.to_owned(), OTHER.to_owned()];
    assert_eq!(doubts_of_job(&snapshot, &image(TAG)), [Doubt::OtherVersion { deployed }], "known before it is run");
    deploy(&mut snapshot, &[TAG, TAG]);
    assert_eq!(in_short(&verdict_of_head(&snapshot)), ("loads", "job", true), "the other is not deployed any more");
    assert_eq!(doubts_of_job(&snapshot, &image(TAG)), []);
}

#[test]
fn among_facts_a_refusal_wins_and_what_ran_beats_what_was_tried() {
    let job = |refused| checked(0, refused, job(&format!("r/checkconfig:{TAG}")));
    let mut snapshot = world(TAG, 1);
    for answers in [[by_program(0, None), job(Some("no"))], [job(None), by_program(0, Some("no"))]] {
        for order in [[0, 1], [1, 0]] {
            snapshot.checked = order.iter().map(|n| answers[*n].clone()).collect();
            let verdict = verdict_of_head(&snapshot);
            assert_eq!((verdict.refused().is_some(), verdict.from.is_fact()), (true, true), "{:?}", snapshot.checked);
        }
    }
    // An opinion that refuses does not beat a FACT that loads; nor does it hide behind an opinion that loads.
    let older = |refused| checked(0, refused, Witness::Checkconfig(program(Some(OTHER))));
    snapshot.checked = vec![older(Some("no")), by_program(0, None)];
    assert_eq!(in_short(&verdict_of_head(&snapshot)), ("loads", "checkconfig", true));
    deploy(&mut snapshot, &[OTHER, "v20250101-0a1b2c3d4"]);
    snapshot.checked = vec![by_program(0, None), older(Some("no"))];
    assert_eq!(in_short(&verdict_of_head(&snapshot)), ("refused", "checkconfig", false));
    // All that is deployed has run on it: a program that says otherwise is not what it is called, or reads it otherwise.
    deploy(&mut snapshot, &[TAG, OTHER]);
    let ran = |tag| checked(0, None, running(tag, "u"));
    snapshot.checked = vec![ran(TAG), ran(OTHER), by_program(0, Some("no"))];
    assert_eq!(in_short(&verdict_of_head(&snapshot)), ("loads", "memory", true));
    // Of one of them it says nothing of the other, which refuses it.
    snapshot.checked = vec![ran(TAG), older(Some("no"))];
    assert_eq!(in_short(&verdict_of_head(&snapshot)), ("refused", "checkconfig", false));
}

/// Nothing of it is in what was judged, and Prow merges it in.
#[test]
fn where_a_component_reads_further_configuration_every_word_is_a_guess() {
    let mut snapshot = world(TAG, 1);
    let refusal = RefusedContent {
        cluster_server: "https://s".to_owned(),
        cluster_uid: "u".to_owned(),
        config_map: Key::new("default", "config"),
        keys: [("config.yaml".to_owned(), prow::gzip::inflated_sha256(b"# 0\n"))].into(),
        beside: None,
        culprits: Vec::new(),
        images: vec![format!("gcr.io/k8s-prow/hook:{TAG}")],
        error: "no".to_owned(),
        at: at(0),
    };
    let answers = [
        (by_program(0, None), "checkconfig"),
        (checked(0, None, job(&format!("r/checkconfig:{TAG}"))), "job"),
        (checked(0, None, running(TAG, "u")), "memory"),
    ];
    let flag = "--supplemental-plugin-config-dir=/etc/plugins";
    for further in [Vec::new(), vec![flag.to_owned()]] {
        let fact = further.is_empty();
        components(&mut snapshot)[0].config.further = further;
        snapshot.refused = Vec::new();
        for (answer, name) in &answers {
            snapshot.checked = vec![answer.clone()];
            let verdict = verdict_of_head(&snapshot);
            assert_eq!(in_short(&verdict), ("loads", *name, fact));
            assert_eq!(verdict.from.to_string().contains(&format!("hook reads further configuration ({flag})")), !fact);
            let beside_a_rule = in_short(&revision_verdict(&snapshot, &objected()));
            assert_eq!(beside_a_rule.0, if fact { "loads" } else { "refused" });
        }
        snapshot.checked = Vec::new();
        snapshot.refused = vec![refusal.clone()];
        assert_eq!(in_short(&verdict_of_head(&snapshot)), ("refused", "memory", fact));
    }
    // It loaded it with that beside it, and has nothing beside it now.
    components(&mut snapshot)[0].config.further = Vec::new();
    snapshot.refused = Vec::new();
    let Witness::Running { server, uid, tag, .. } = running(TAG, "u") else { unreachable!() };
    let then = Witness::Running { server, uid, tag, further: Some(flag.to_owned()) };
    snapshot.checked = vec![checked(0, None, then)];
    assert_eq!(in_short(&verdict_of_head(&snapshot)), ("loads", "memory", false));
}

/// A proxy stands beside hook through many versions of it: that it is still there does not make the old hook run.
#[test]
fn what_another_version_refused_is_no_fact_because_the_same_proxy_stands_beside_it() {
    let proxy = "quay.io/oauth2-proxy/oauth2-proxy:v7".to_owned();
    let mut snapshot = world(TAG, 1);
    components(&mut snapshot)[0].spec_images.push(proxy.clone());
    let of = |tag: &str| RefusedContent {
        cluster_server: "https://s".to_owned(),
        cluster_uid: "u".to_owned(),
        config_map: Key::new("default", "config"),
        keys: [("config.yaml".to_owned(), prow::gzip::inflated_sha256(b"# 0\n"))].into(),
        beside: None,
        culprits: Vec::new(),
        images: vec![format!("gcr.io/k8s-prow/hook:{tag}"), proxy.clone()],
        error: "no".to_owned(),
        at: at(0),
    };
    snapshot.refused = vec![of(OTHER)];
    assert_eq!(verdict_of_head(&snapshot), LoadVerdict::unknown());
    snapshot.refused = vec![of(TAG)];
    assert_eq!(in_short(&verdict_of_head(&snapshot)), ("refused", "memory", true));
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

/// With two versions deployed no checkconfig knows for sure; what it found is still better than what nobody looked at.
#[test]
fn an_opinion_that_one_loads_is_preferred_to_what_lies_between_two_that_do_not() {
    let mut snapshot = world(TAG, 50);
    deploy(&mut snapshot, &[TAG, OTHER]);
    let asked = ask(&mut snapshot, |n| n >= 37);
    assert!(asked.len() <= 12, "{asked:?}");
    let choice = diagnose(&snapshot).choice.unwrap();
    assert_eq!(choice.revision.subject, "number 37");
    assert_eq!((choice.why, choice.basis), (ChoiceReason::NewestWithoutObjection, Basis::Guess));
    // An older opinion alone is no reason to go back so far.
    let mut snapshot = world(TAG, 50);
    deploy(&mut snapshot, &[TAG, OTHER]);
    snapshot.checked = vec![by_program(37, None)];
    let Source::Known { value, .. } = &mut snapshot.desired else { unreachable!() };
    value.head.objections = vec![Objection::of("duplicated preset label : a")];
    value.candidates[0] = value.head.clone();
    let choice: Choice = diagnose(&snapshot).choice.unwrap();
    assert_eq!(choice.revision.subject, "number 1");
}

/// A checkconfig of another version than what is deployed may refuse all there is: that leaves something to propose.
#[test]
fn an_opinion_against_all_of_them_leaves_the_newest() {
    let mut snapshot = world(OTHER, 3);
    assert_eq!(ask(&mut snapshot, |_| false).last().unwrap(), "Further");
    let choice = diagnose(&snapshot).choice.unwrap();
    assert_eq!((choice.revision.subject.as_str(), choice.basis), ("number 0", Basis::Guess));
    assert!(choice.reason().contains("an opinion alone speaks against"), "{}", choice.reason());
    // Not one that a rule objects to as well.
    let Source::Known { value, .. } = &mut snapshot.desired else { unreachable!() };
    (value.head, value.candidates[0]) = (objected(), objected());
    assert_eq!(diagnose(&snapshot).choice.unwrap().revision.subject, "number 1");
}

/// As on 2019-01-23: hook refused it, and a newer checkconfig accepts what still holds the same key.
#[test]
fn an_opinion_does_not_silence_what_was_refused_before() {
    let mut snapshot = world(TAG, 1);
    let sha = prow::gzip::inflated_sha256(b"# 0\n");
    snapshot.refused = vec![RefusedContent {
        cluster_server: "https://s".to_owned(),
        cluster_uid: "u".to_owned(),
        config_map: Key::new("default", "config"),
        keys: [("config.yaml".to_owned(), sha.clone()), ("more.yaml".to_owned(), sha)].into(),
        beside: None,
        culprits: vec!["config.yaml".to_owned()],
        images: vec![format!("gcr.io/k8s-prow/hook:{TAG}")],
        error: "duplicated preset label : a".to_owned(),
        at: at(0),
    }];
    let Source::Known { value, .. } = &mut snapshot.desired else { unreachable!() };
    let mut other = candidate(0);
    let mut maps = (**other.config_maps.as_ref().unwrap()).clone();
    let more = DesiredEntry { path: "more.yaml".to_owned(), bytes: b"# another\n".to_vec(), gzip: false };
    maps[0].entries.insert("more.yaml".to_owned(), more);
    other.config_maps = Ok(Arc::new(maps));
    value.head = other;
    assert_eq!(in_short(&verdict_of_head(&snapshot)), ("refused", "resembles", false));
    snapshot.checked = vec![checked(0, None, Witness::Checkconfig(program(Some(OTHER))))];
    assert_eq!(in_short(&verdict_of_head(&snapshot)), ("refused", "resembles", false));
    let found = diagnose(&snapshot).findings;
    assert!(found.iter().any(|finding| matches!(finding.kind, FindingKind::RevisionWouldNotLoad { .. })));
    snapshot.checked = vec![by_program(0, None)];
    assert!(verdict_of_head(&snapshot).loads_as_fact(), "the deployed version's own word does");
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
