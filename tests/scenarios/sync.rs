//! `sync-config` beyond one map of one cluster: which maps and keys, which clusters, which order, and without git at all.

use std::sync::Arc;

use prow_breakglass::diagnose::{DriftState, diagnose};
use prow_breakglass::model::{
    Alias, AliasPlace, AliasProof, Checkconfig, Checked, ClusterIdentity, ClusterStanding, ClusterView, ConfigMapState,
    DesiredConfigMap, DesiredEntry, FailureKind, Key, Objection, Snapshot, Source, SourceStatus, Values, Witness,
    Write,
};
use prow_breakglass::prow::{ConfigFiles, Layout};
use prow_breakglass::repair::{
    Answer, Approval, Confirmation, Expect, Override, OverrideId, Plan, Preview, Refusal, RepairId, Request,
    StepPreview, Undo, Verify, approve, plan,
};

use crate::support::{self, NAMESPACE, at, healthy, incident, known};

const BUILD: &str = "build-a";

pub fn request() -> Request {
    Request::new(RepairId::SyncConfig)
}

pub fn sync(snapshot: &Snapshot, request: &Request) -> Result<Plan, Refusal> {
    plan(request, snapshot, &diagnose(snapshot))
}

pub fn overridden(id: OverrideId) -> Request {
    Request { overrides: vec![Override { id, reason: "a drill".to_owned() }], ..request() }
}

fn values(pairs: &[(&str, &str)]) -> Values {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
}

fn desired(cluster: &str, key: &Key, pairs: &[(&str, &str)]) -> DesiredConfigMap {
    let entry = |text: &str| DesiredEntry { path: "x".to_owned(), bytes: text.as_bytes().to_vec(), gzip: false };
    let entries = pairs.iter().map(|(key, text)| ((*key).to_owned(), entry(text))).collect();
    DesiredConfigMap { cluster: Alias(cluster.to_owned()), key: key.clone(), entries }
}

/// Git's head asks for something else.
fn head(snapshot: &mut Snapshot, change: impl FnOnce(&mut Vec<DesiredConfigMap>)) {
    let Source::Known { value: git, .. } = &mut snapshot.desired else { panic!("git is known") };
    let mut maps = (**git.head.config_maps.as_ref().expect("it renders")).clone();
    change(&mut maps);
    git.head.config_maps = Ok(Arc::new(maps));
    git.candidates = vec![git.head.clone()];
}

fn wanted<'a>(maps: &'a mut [DesiredConfigMap], name: &str) -> &'a mut DesiredConfigMap {
    maps.iter_mut().find(|map| map.key.name == name).expect("it is asked for")
}

fn set(map: &mut DesiredConfigMap, key: &str, text: &str) {
    let path = format!("config/{key}");
    map.entries.insert(key.to_owned(), DesiredEntry { path, bytes: text.as_bytes().to_vec(), gzip: false });
}

pub fn live<'a>(snapshot: &'a mut Snapshot, name: &str) -> &'a mut ConfigMapState {
    let Source::Known { value, .. } = &mut snapshot.service.config_maps else { panic!("known ConfigMaps") };
    value.get_mut(&Key::new(NAMESPACE, name)).expect("it is live")
}

/// A build cluster where git wants a ConfigMap; `live` is what is there.
fn with_build(live: Option<&[(&str, &str)]>) -> Snapshot {
    let mut snapshot = healthy();
    let alias = Alias(BUILD.to_owned());
    let key = Key::new("test-pods", "build-config");
    head(&mut snapshot, |maps| maps.push(desired(BUILD, &key, &[("a.yaml", "new")])));
    let loading = ClusterView::loading(alias.clone(), ClusterStanding::Build, "gke_build", "https://b");
    let state = live.map(|pairs| ConfigMapState {
        uid: "u-b".to_owned(),
        resource_version: "7".to_owned(),
        values: values(pairs),
        ..ConfigMapState::named(&alias, &key)
    });
    let view = ClusterView {
        identity: known(ClusterIdentity {
            alias: alias.clone(),
            context: "gke_build".to_owned(),
            server: "https://b".to_owned(),
            uid: "b-1".to_owned(),
            ca: String::new(),
        }),
        config_maps: known(state.into_iter().map(|state| (key.clone(), state)).collect()),
        job_pods: known(Vec::new()),
        census: known(prow_breakglass::model::PodCensus::default()),
        parts: vec![SourceStatus { name: format!("configmap {key}"), source: known(()) }],
        ..loading
    };
    snapshot.clusters.insert(alias.clone(), view);
    snapshot.aliases.insert(alias.clone(), AliasPlace::At { cluster: alias, proof: AliasProof::Given });
    snapshot
}

#[test]
fn config_maps_of_build_clusters_are_written_there() {
    let snapshot = with_build(Some(&[("a.yaml", "old")]));
    let plan = sync(&snapshot, &request()).expect("a plan");
    assert_eq!(plan.steps.len(), 1, "{plan:?}");
    let Write::PutConfigMap { object, at, .. } = &plan.steps[0].write else { panic!("a PUT") };
    assert_eq!((object.cluster.0.as_str(), at.resource_version.as_str()), (BUILD, "7"));
    let contexts: Vec<&str> = plan.clusters.iter().map(|cluster| cluster.context.as_str()).collect();
    assert_eq!(contexts, ["prow-services", "gke_build"], "the service cluster first, each with its identity");
    assert_eq!(plan.title.split(" as of").next(), Some("write build-config in gke_build"));
    assert_eq!(plan.verify, Verify::Written, "no component of Prow reads it");

    let created = sync(&with_build(None), &request()).expect("a plan");
    assert!(created.steps[0].write.is_create() && created.steps[0].undo == Undo::Delete, "{created:?}");
}

#[test]
fn what_cannot_be_seen_of_a_build_cluster_is_not_written() {
    let mut unread = with_build(None);
    let view = unread.clusters.get_mut(&Alias(BUILD.to_owned())).expect("the build cluster");
    view.parts[0].source = Source::Denied { verb: "list configmaps build-config in namespace test-pods".to_owned() };
    let refusal = sync(&unread, &request()).expect_err("unknown is not missing");
    assert!(refusal.reason.contains("could not be read"), "{refusal:?}");

    let mut nowhere = with_build(Some(&[("a.yaml", "old")]));
    nowhere.aliases.clear();
    let refusal = sync(&nowhere, &request()).expect_err("nobody knows where that is");
    assert!(refusal.hint.contains("--build-context build-a=CONTEXT"), "{refusal:?}");
    let drift = diagnose(&nowhere).drift;
    let of_build = drift.iter().find(|drift| drift.object.cluster.0 == BUILD).expect("it is listed");
    assert_eq!(of_build.state, DriftState::Unknown);

    let mut lost = with_build(Some(&[("a.yaml", "old")]));
    let view = lost.clusters.get_mut(&Alias(BUILD.to_owned())).expect("the build cluster");
    let error = prow_breakglass::model::Failure::new(FailureKind::Unreachable, "no answer");
    view.config_maps = Source::Lost { error, last: None };
    assert!(sync(&lost, &request()).is_err());
}

/// istio and oss call the *build* cluster `default` for jobs; for ConfigMaps it is the service cluster all the same, and the
/// service cluster has another name besides.
#[test]
fn default_is_the_service_cluster_whatever_jobs_call_so() {
    let mut snapshot = with_build(Some(&[("a.yaml", "new")]));
    let place = |cluster: &Alias| AliasPlace::At { cluster: cluster.clone(), proof: AliasProof::Pods { count: 9 } };
    snapshot.aliases.insert(Alias("default".to_owned()), place(&Alias(BUILD.to_owned())));
    snapshot.aliases.insert(Alias("test-infra-trusted".to_owned()), place(&Alias::service()));
    let plugins = Key::new(NAMESPACE, "plugins");
    head(&mut snapshot, |maps| {
        set(wanted(maps, "job-config"), "sig-release.yaml", "periodics: []\n");
        maps.retain(|map| map.key != plugins);
        maps.push(desired("test-infra-trusted", &plugins, &[("plugins.yaml", "plugins: {}\n")]));
    });
    let plan = sync(&snapshot, &request()).expect("a plan");
    let written: Vec<(&str, &str)> =
        plan.steps.iter().map(|step| (step.write.cluster().0.as_str(), step.write.object().name.as_str())).collect();
    assert_eq!(written, [("default", "job-config"), ("default", "plugins")]);

    // By both names at once is Prow's own confusion.
    head(&mut snapshot, |maps| maps.push(desired("default", &plugins, &[("plugins.yaml", "plugins: {a: []}\n")])));
    let plan = sync(&snapshot, &request()).expect("a plan");
    assert!(plan.refusals.iter().any(|refusal| refusal.reason.contains("asks for it twice")), "{:?}", plan.refusals);
}

#[test]
fn only_the_keys_that_are_asked_for_are_written() {
    let mut snapshot = healthy();
    head(&mut snapshot, |maps| {
        let jobs = wanted(maps, "job-config");
        set(jobs, "sig-aws.yaml", "presubmits: {}\n");
        set(jobs, "sig-release.yaml", "periodics: []\n");
        set(wanted(maps, "config"), "config.yaml", "prowjob_namespace: prow\npod_namespace: test-pods\n");
    });
    live(&mut snapshot, "job-config").values.insert("stale.yaml".to_owned(), b"periodics: []\n".to_vec());
    let of = |keys: &[&str], prune: bool| {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        sync(&snapshot, &Request { keys, prune, ..request() })
    };
    let plan = of(&["sig-aws.yaml"], false).expect("a plan");
    assert_eq!(plan.steps.len(), 1, "{plan:?}");
    assert!(plan.steps[0].effect.starts_with("1 key(s) changed, 0 added, 0 removed"), "{}", plan.steps[0].effect);
    assert!(plan.warnings.iter().any(|line| line.contains("2 other key(s) that differ")), "{:?}", plan.warnings);
    let plan = of(&["prow/job-config/sig-release.yaml", "config/config.yaml"], false).expect("a plan");
    assert_eq!(plan.steps.len(), 2);
    let plan = of(&["job-config/stale.yaml"], true).expect("a plan");
    assert!(plan.steps[0].effect.starts_with("0 key(s) changed, 0 added, 1 removed"), "{}", plan.steps[0].effect);
    assert!(of(&["stale.yaml"], false).is_err(), "it stays unless pruned");
    let mut missing = snapshot.clone();
    let Source::Known { value, .. } = &mut missing.service.config_maps else { unreachable!() };
    value.remove(&Key::new(NAMESPACE, "job-config"));
    missing.service.parts.push(SourceStatus { name: "configmaps in prow".to_owned(), source: known(()) });
    let only = Request { keys: vec!["sig-aws.yaml".to_owned()], ..request() };
    let refusal = sync(&missing, &only).expect_err("a fraction of the configuration is no configuration");
    assert!(refusal.reason.contains("would make it with 1 of its"), "{refusal:?}");
    for (wish, says) in [("nope.yaml", "no ConfigMap that is asked for has a key nope.yaml"), ("x/a", "no ConfigMap x")]
    {
        assert!(of(&[wish], false).expect_err("no such key").reason.contains(says));
    }
}

#[test]
fn a_prune_of_many_keys_needs_a_second_word() {
    let mut snapshot = healthy();
    for name in ["x.yaml", "y.yaml"] {
        live(&mut snapshot, "job-config").values.insert(name.to_owned(), b"periodics: []\n".to_vec());
    }
    let pruning = Request { prune: true, ..request() };
    let plan = sync(&snapshot, &pruning).expect("a plan, to be read");
    let first = Confirmation::MapName("job-config".to_owned()).word();
    let (yes, many) = (Confirmation::Yes.word(), &plan.confirmation);
    assert!(
        matches!(many, Confirmation::PruneMany { first: word, keys: 2 } if *word == first || *word == yes),
        "{many:?}"
    );
    assert!(plan.warnings.iter().any(|line| line.contains("REMOVES MANY KEYS (2 of 5")), "{:?}", plan.warnings);
    let preview = Preview {
        digest: plan.digest.clone(),
        at: at(support::NOW),
        steps: vec![StepPreview { n: 1, answer: Answer::Accepted }],
    };
    let typed = |words: &str| approve(&plan, &preview, None, &Approval::Typed(words.to_owned()));
    let Confirmation::PruneMany { first, .. } = many else { unreachable!() };
    assert!(typed(first).is_err(), "the first word alone");
    assert!(typed(&format!("{first} prune 2")).is_ok());
    let flags = Approval::Flags { context: "prow-services".to_owned(), expect: Expect::Exactly(1) };
    let refused = approve(&plan, &preview, None, &flags).expect_err("flags are no second word");
    assert!(refused.hint.contains("--override prune-many"), "{refused:?}");
    let plan = sync(&snapshot, &Request { prune: true, ..overridden(OverrideId::PruneMany) }).expect("a plan");
    assert!(!matches!(plan.confirmation, Confirmation::PruneMany { .. }));
    assert!(plan.warnings.iter().any(|line| line.contains("override prune-many") && line.contains("a drill")));
}

/// hook crash-loops on the good configuration and one file more, which git does not know; so many others lie there, too.
fn refused_beside_the_good_one(others: usize) -> Snapshot {
    let mut snapshot = incident();
    let good = snapshot.desired.known().expect("git").candidates.last().expect("a good one").clone();
    let maps = good.config_maps.expect("it renders");
    let wanted = maps.iter().find(|map| map.key.name == "job-config").expect("job-config");
    let jobs = live(&mut snapshot, "job-config");
    jobs.values = wanted.entries.iter().map(|(key, entry)| (key.clone(), entry.bytes.clone())).collect();
    let again = "presets:\n- labels:\n    preset-aws-credential: \"again\"\n";
    jobs.values.insert("again.yaml".to_owned(), again.as_bytes().to_vec());
    for n in 0..others {
        jobs.values.insert(format!("other-{n}.yaml"), b"periodics: []\n".to_vec());
    }
    snapshot
}

#[test]
fn what_is_refused_goes_unasked_with_its_reason_and_many_keys_need_a_second_word() {
    // One of four is more than a fifth; one of six is not, and nobody asked for the other two.
    for (others, many) in [(0, true), (2, false)] {
        let snapshot = refused_beside_the_good_one(others);
        let plan = sync(&snapshot, &request()).expect("a plan");
        let Write::PutConfigMap { body, .. } = &plan.steps[0].write else { panic!("a PUT") };
        assert!(!body.values.contains_key("again.yaml"));
        assert_eq!(body.values.len(), 3 + others, "the others stay");
        let why = format!(
            "REMOVES again.yaml, which git does not know, unasked: for hook refuses what it finds there: {}",
            support::FATAL
        );
        assert!(plan.warnings.iter().any(|line| line.contains(&why)), "{:?}", plan.warnings);
        let first = plan.confirmation.word();
        match (&plan.confirmation, many) {
            (Confirmation::PruneMany { keys: 1, .. }, true) => assert!(first.ends_with("prune 1")),
            (Confirmation::Yes | Confirmation::MapName(_), false) => {}
            (other, _) => panic!("{other:?} with {others} others"),
        }
        let said = plan.warnings.iter().any(|line| line.contains("REMOVES MANY KEYS (1 of 4 keys"));
        assert_eq!(said, many, "{:?}", plan.warnings);
    }
    let snapshot = refused_beside_the_good_one(0);
    let plan = sync(&snapshot, &overridden(OverrideId::PruneMany)).expect("a plan");
    assert!(!matches!(plan.confirmation, Confirmation::PruneMany { .. }), "a person said why");
    // Pruning as well: each goes for its own reason, and together they are many.
    let plan = sync(&refused_beside_the_good_one(2), &Request { prune: true, ..request() }).expect("a plan");
    assert!(matches!(plan.confirmation, Confirmation::PruneMany { keys: 3, .. }), "{:?}", plan.confirmation);
    assert!(
        plan.warnings
            .iter()
            .any(|line| line.contains("removes other-0.yaml, other-1.yaml") && line.contains("--prune")),
        "{:?}",
        plan.warnings
    );
}

#[test]
fn another_pod_namespace_than_the_one_that_runs_is_refused() {
    let mut snapshot = healthy();
    head(&mut snapshot, |maps| {
        set(wanted(maps, "config"), "config.yaml", "prowjob_namespace: prow\npod_namespace: elsewhere\n");
        set(wanted(maps, "job-config"), "sig-release.yaml", "periodics: []\n");
    });
    let refusal = sync(&snapshot, &request()).expect_err("all jobs would stall");
    assert!(refusal.reason.contains("pod_namespace from test-pods to elsewhere"), "{refusal:?}");
    assert!(refusal.hint.contains("--override pod-namespace"), "{refusal:?}");
    let others = Request { maps: vec!["job-config".to_owned()], ..request() };
    assert_eq!(sync(&snapshot, &others).expect("its own affair").steps.len(), 1);
    let plan = sync(&snapshot, &overridden(OverrideId::PodNamespace)).expect("a person knows better");
    assert!(plan.warnings.iter().any(|line| line.contains("override pod-namespace")), "{:?}", plan.warnings);
}

const PRESET: &str = "presets:\n- labels:\n    preset-moved: \"true\"\n";

/// A preset moves between config.yaml and a job file: both at once is a repeated preset.
fn moved_preset(to_jobs: bool) -> Snapshot {
    let mut snapshot = healthy();
    let bare = "prowjob_namespace: prow\npod_namespace: test-pods\n";
    let with = format!("{bare}{PRESET}");
    let (was, is) = if to_jobs { (with.as_str(), bare) } else { (bare, with.as_str()) };
    let (jobs_were, jobs_are) = if to_jobs { ("periodics: []\n", PRESET) } else { (PRESET, "periodics: []\n") };
    live(&mut snapshot, "config").values.insert("config.yaml".to_owned(), was.as_bytes().to_vec());
    live(&mut snapshot, "job-config").values.insert("sig-release.yaml".to_owned(), jobs_were.as_bytes().to_vec());
    head(&mut snapshot, |maps| {
        set(wanted(maps, "config"), "config.yaml", is);
        set(wanted(maps, "job-config"), "sig-release.yaml", jobs_are);
    });
    snapshot
}

#[test]
fn the_order_of_the_writes_avoids_bad_mixtures_and_what_is_left_is_named() {
    for (to_jobs, order) in [(true, ["config", "job-config"]), (false, ["job-config", "config"])] {
        let plan = sync(&moved_preset(to_jobs), &request()).expect("a plan");
        let written: Vec<&str> = plan.steps.iter().map(|step| step.write.object().name.as_str()).collect();
        assert_eq!(written, order);
        assert_eq!(plan.steps.iter().map(|step| step.n).collect::<Vec<_>>(), [1, 2]);
        let meanwhile: Vec<&String> = plan.warnings.iter().filter(|line| line.starts_with("MEANWHILE")).collect();
        assert_eq!(meanwhile.len(), 1, "{:?}", plan.warnings);
        let said = format!("new {} beside old {} would not load (GUESS: duplicated preset", order[1], order[0]);
        assert!(meanwhile[0].contains(&said) && meanwhile[0].contains("hook"), "{meanwhile:?}");
        assert!(meanwhile[0].contains("another order than they are written in"), "{meanwhile:?}");
        assert!(!meanwhile[0].contains("ghproxy-"), "{meanwhile:?}");
    }
    let mut calm = healthy();
    head(&mut calm, |maps| {
        set(wanted(maps, "config"), "config.yaml", "prowjob_namespace: prow\npod_namespace: test-pods\n");
        set(wanted(maps, "job-config"), "sig-release.yaml", "periodics: []\n");
    });
    let plan = sync(&calm, &request()).expect("a plan");
    assert!(!plan.warnings.iter().any(|line| line.starts_with("MEANWHILE")), "{:?}", plan.warnings);
}

/// The new job files beside the old config.yaml, by its digest, with what a checkconfig of this version said of it.
fn judged_mixture(snapshot: &Snapshot, version: &str, refused: Option<&str>) -> Checked {
    let Source::Known { value: git, .. } = &snapshot.desired else { panic!("git is known") };
    let maps = git.head.config_maps.as_ref().expect("it renders");
    let jobs = maps.iter().find(|map| map.key.name == "job-config").expect("job-config");
    let mut live = snapshot.service.config_maps.known().expect("known").clone();
    let state = live.get_mut(&jobs.key).expect("it is live");
    state.values = jobs.entries.iter().map(|(key, entry)| (key.clone(), entry.bytes.clone())).collect();
    let components = snapshot.service.components.known().expect("known");
    let files = ConfigFiles::of_components(components.iter());
    Checked {
        content: Layout::of_live(&live, &files).expect("a configuration").digest(),
        refused: refused.map(Objection::of),
        by: Witness::Checkconfig(Checkconfig {
            path: "/c".to_owned(),
            file: "1".to_owned(),
            version: Some(version.to_owned()),
        }),
        at: at(support::NOW),
    }
}

#[test]
fn what_checkconfig_said_of_a_mixture_counts_beside_our_rules() {
    const DEPLOYED: &str = "v20190118-a1f5e0c";
    let meanwhile = |snapshot: &Snapshot| -> Vec<String> {
        let plan = sync(snapshot, &request()).expect("a plan");
        plan.warnings.into_iter().filter(|line| line.starts_with("MEANWHILE")).collect()
    };
    let mut calm = healthy();
    head(&mut calm, |maps| {
        set(wanted(maps, "config"), "config.yaml", "prowjob_namespace: prow\npod_namespace: test-pods\n");
        set(wanted(maps, "job-config"), "sig-release.yaml", "periodics: []\n");
    });
    // No rule of ours knows it.
    calm.checked = vec![judged_mixture(&calm, DEPLOYED, Some("unknown cluster alias"))];
    let said = meanwhile(&calm);
    let fact = format!(
        "new job-config beside old config would not load (FACT, checkconfig {DEPLOYED}: unknown cluster alias)"
    );
    assert!(said.len() == 1 && said[0].contains(&fact), "{said:?}");
    calm.checked = vec![judged_mixture(&calm, "v20240619-cfb8754e0", Some("unknown cluster alias"))];
    let said = meanwhile(&calm);
    assert!(said.len() == 1 && said[0].contains("would not load (GUESS, checkconfig v20240619"), "{said:?}");

    // What a rule objects to, and the deployed version accepts, is no matter; another version's word is none.
    let mut moved = moved_preset(true);
    moved.checked = vec![judged_mixture(&moved, "v20240619-cfb8754e0", None)];
    assert_eq!(meanwhile(&moved).len(), 1);
    moved.checked = vec![judged_mixture(&moved, DEPLOYED, None)];
    assert_eq!(meanwhile(&moved), Vec::<String>::new());
}
