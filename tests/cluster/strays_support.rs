//! What the tests of stray pods share: a look at both clusters behind the program's back, plans, and deletes by uid.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;

use crate::bed::Bed;
use crate::bed::audit::Entry;
use crate::support::{Ran, Tool, block_on};

pub const TRUSTED: &str = "test-infra-trusted";
pub const DEFAULT: &str = "default";
pub const ALIASES: [&str; 2] = [TRUSTED, DEFAULT];
/// Of Prow and of its strays.
pub const NAMESPACE: &str = "default";
pub const TEST_PODS: &str = "test-pods";
/// Hundreds of pods on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// As everybody sees it who may do everything.
pub async fn client_in(bed: &Bed, alias: &str) -> Client {
    let kubeconfig = Kubeconfig::read_from(bed.fact_of(alias, "adminKubeconfig")).expect("the bed's kubeconfig");
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("it is complete");
    config.proxy_url = None;
    Client::try_from(config).expect("a client")
}

/// Asks until it is so.
pub fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "{what} did not happen within {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// All pods of a cluster, or of one namespace of it.
pub fn list_pods(bed: &Bed, alias: &str, namespace: Option<&str>) -> Vec<Pod> {
    block_on(async {
        let client = client_in(bed, alias).await;
        let pods: Api<Pod> =
            namespace.map_or_else(|| Api::all(client.clone()), |namespace| Api::namespaced(client.clone(), namespace));
        pods.list(&ListParams::default()).await.expect("pods").items
    })
}

/// uid to name of all pods of a namespace, in this cluster.
pub fn pods(bed: &Bed, alias: &str, namespace: &str) -> BTreeMap<String, String> {
    list_pods(bed, alias, Some(namespace)).iter().filter_map(|pod| Some((pod.uid()?, pod.name_any()))).collect()
}

/// uid to whereabouts of every pod of both clusters: components, jobs, neighbours.
pub fn everybody(bed: &Bed) -> BTreeMap<String, String> {
    let all = ALIASES.iter().flat_map(|alias| list_pods(bed, alias, None).into_iter().map(move |pod| (alias, pod)));
    all.filter_map(|(alias, pod)| {
        Some((pod.uid()?, format!("{alias} {}/{}", pod.namespace().unwrap_or_default(), pod.name_any())))
    })
    .collect()
}

/// Of those who were there, exactly these are gone.
#[track_caller]
pub fn only_these_went(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>, doomed: &BTreeSet<String>) {
    for (uid, pod) in before {
        assert_eq!(after.contains_key(uid), !doomed.contains(uid), "{pod} ({uid})");
    }
}

/// A ProwJob, as the API server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub state: String,
    pub description: String,
    /// The alias of its cluster.
    pub cluster: String,
    pub finished: bool,
}

/// All ProwJobs by name.
pub fn prowjobs(bed: &Bed) -> BTreeMap<String, Job> {
    block_on(async {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("prow.k8s.io", "v1", "ProwJob"));
        let jobs: Api<DynamicObject> = Api::namespaced_with(client_in(bed, TRUSTED).await, NAMESPACE, &kind);
        let list = jobs.list(&ListParams::default()).await.expect("ProwJobs");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let job = |job: &DynamicObject| Job {
            state: text(&job.data["status"]["state"]),
            description: text(&job.data["status"]["description"]),
            cluster: text(&job.data["spec"]["cluster"]),
            finished: !job.data["status"]["completionTime"].is_null(),
        };
        list.iter().map(|item| (item.name_any(), job(item))).collect()
    })
}

/// None is lost, and none ended in error or was aborted that was not so before.
#[track_caller]
pub fn no_job_is_worse_off(before: &BTreeMap<String, Job>, after: &BTreeMap<String, Job>) {
    for (name, job) in before {
        let now = after.get(name).unwrap_or_else(|| panic!("ProwJob {name} is lost"));
        let bad = matches!(now.state.as_str(), "error" | "aborted" | "failure");
        assert!(!bad || now.state == job.state, "{name} was {job:?} and is {now:?}");
    }
}

/// The incident as the API servers tell it, for holding the program against.
pub struct Truth {
    /// By uid: where and which.
    pub strays: BTreeMap<String, (&'static str, String)>,
    /// Namespace and name of what only looks like them, all in the build cluster.
    pub neighbours: BTreeMap<(String, String), String>,
    /// When the first stray was made, in seconds.
    pub first: i64,
    /// When the bumped prow-controller-manager's ReplicaSet was.
    pub bumped: i64,
    /// Strays by the secret that they wait for.
    pub secrets: BTreeMap<String, usize>,
}

impl Truth {
    pub fn of(bed: &Bed) -> Self {
        let jobs = prowjobs(bed);
        let (mut strays, mut neighbours, mut first) = (BTreeMap::new(), BTreeMap::new(), i64::MAX);
        let mut secrets = BTreeMap::new();
        for alias in ALIASES {
            for pod in list_pods(bed, alias, None) {
                let (uid, name) = (pod.uid().expect("a uid"), pod.name_any());
                let namespace = pod.namespace().expect("a namespace");
                let by_prow = pod.labels().get("created-by-prow").is_some_and(|value| value == "true");
                let ours = by_prow && jobs.contains_key(&name);
                let solver = pod.labels().contains_key("acme.cert-manager.io/http01-solver");
                if ours && namespace == NAMESPACE {
                    let made = pod.metadata.creation_timestamp.expect("it was made").0.as_second();
                    first = first.min(made);
                    strays.insert(uid, (alias, name));
                } else if solver || (by_prow && !ours) {
                    assert_eq!(alias, DEFAULT);
                    neighbours.insert((namespace, name), uid);
                }
            }
            for secret in missing_secrets(bed, alias, &strays) {
                *secrets.entry(secret).or_default() += 1;
            }
        }
        let count = |what: &str| bed.number(what);
        assert_eq!(strays.len(), total(bed, "strays"));
        let others = count("/foreign/default") + count("/foreign/test-pods");
        assert_eq!(neighbours.len(), others + count("/acmeSolvers") + count("/debugCopies"));
        assert_eq!(secrets.values().sum::<usize>(), total(bed, "stuck"));
        Truth { strays, neighbours, first, bumped: bumped(bed), secrets }
    }

    pub fn uids(&self) -> BTreeSet<String> {
        self.strays.keys().cloned().collect()
    }

    pub fn count_in(&self, alias: &str) -> usize {
        self.strays.values().filter(|(at, _)| *at == alias).count()
    }

    /// Nothing of these neighbours is in a plan, in whatever role.
    #[track_caller]
    pub fn spares_neighbours(&self, plan: &str) {
        for ((_, name), uid) in &self.neighbours {
            assert!(!plan.contains(&format!("\"{name}\"")) && !plan.contains(uid), "{name} is in {plan}");
        }
    }
}

/// For each stray that cannot start, the secret that its event names.
fn missing_secrets(bed: &Bed, alias: &str, strays: &BTreeMap<String, (&'static str, String)>) -> Vec<String> {
    let events = block_on(async {
        let events: Api<Event> = Api::namespaced(client_in(bed, alias).await, NAMESPACE);
        events.list(&ListParams::default().fields("reason=FailedMount")).await.expect("events").items
    });
    let mut by_pod: BTreeMap<String, String> = BTreeMap::new();
    for event in events {
        let uid = event.involved_object.uid.unwrap_or_default();
        let message = event.message.unwrap_or_default();
        let secret = message.split("secret \"").nth(1).and_then(|rest| rest.split('"').next());
        if strays.contains_key(&uid) {
            // Who waits for several counts for the first by name.
            let secret = secret.expect("a secret in the message").to_owned();
            let first = by_pod.entry(uid).or_insert_with(|| secret.clone());
            if secret < *first {
                *first = secret;
            }
        }
    }
    by_pod.into_values().collect()
}

fn bumped(bed: &Bed) -> i64 {
    let sets = block_on(async {
        let sets: Api<ReplicaSet> = Api::namespaced(client_in(bed, TRUSTED).await, NAMESPACE);
        sets.list(&ListParams::default().labels("app=prow-controller-manager")).await.expect("ReplicaSets").items
    });
    let tag = format!(":{}", bed.fact("newTag"));
    let of_tag = sets.iter().filter(|set| {
        let pod = set.spec.as_ref().and_then(|spec| spec.template.as_ref()?.spec.as_ref());
        pod.is_some_and(|pod| pod.containers.iter().any(|one| one.image.as_ref().is_some_and(|i| i.ends_with(&tag))))
    });
    let made = of_tag.filter_map(|set| set.metadata.creation_timestamp.as_ref()).map(|at| at.0.as_second());
    made.max().expect("the bumped ReplicaSet")
}

/// Of each Deployment, its container's image.
pub fn images(bed: &Bed, alias: &str) -> BTreeMap<String, String> {
    block_on(async {
        let deployments: Api<Deployment> = Api::namespaced(client_in(bed, alias).await, NAMESPACE);
        let all = deployments.list(&ListParams::default()).await.expect("Deployments");
        all.iter()
            .map(|one| {
                let json = serde_json::to_value(one).expect("JSON");
                let image = json["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
                (one.name_any(), image.to_owned())
            })
            .collect()
    })
}

/// How many Deployments ask for this tag.
pub fn at_tag(bed: &Bed, alias: &str, tag: &str) -> usize {
    images(bed, alias).values().filter(|image| image.ends_with(&format!(":{tag}"))).count()
}

/// How long the audit logs are.
pub type Marks = BTreeMap<&'static str, usize>;

pub fn marks(bed: &Bed) -> Marks {
    ALIASES.iter().map(|alias| (*alias, bed.audit_of_oncall_in(alias).len())).collect()
}

/// What the tool's user really asked to be changed in a cluster since.
pub fn written(bed: &Bed, alias: &str, before: usize) -> Vec<Entry> {
    bed.audit_of_oncall_in(alias).split_off(before).into_iter().filter(Entry::writes).collect()
}

/// The same in both clusters; nothing but deletes of pods in Prow's namespace, each by its uid and none forced: the
/// server's answers by that uid.
#[track_caller]
pub fn deletes(bed: &Bed, before: &Marks) -> BTreeMap<String, Vec<u64>> {
    let mut answers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for alias in ALIASES {
        for entry in written(bed, alias, before[alias]) {
            let what = (entry.verb.as_str(), entry.resource.as_str(), entry.namespace.as_str());
            assert_eq!(what, ("delete", "pods", NAMESPACE), "{entry:?}");
            let body = entry.request.as_ref().expect("the body of a delete");
            assert!(body["gracePeriodSeconds"].is_null(), "forced: {entry:?}");
            let uid = body["preconditions"]["uid"].as_str().unwrap_or_else(|| panic!("no uid: {entry:?}"));
            answers.entry(uid.to_owned()).or_default().push(entry.code);
        }
    }
    answers
}

pub fn number(value: &Value, pointer: &str) -> usize {
    let number = value.pointer(pointer).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
    number.unwrap_or_else(|| panic!("no number at {pointer} in {value}"))
}

/// What the bed says of both clusters together.
pub fn total(bed: &Bed, what: &str) -> usize {
    ALIASES.iter().map(|alias| bed.number(&format!("/{what}/{alias}"))).sum()
}

/// Makes a plan of a repair with more arguments, saved in a file of this name.
pub fn plan(tool: &Tool, name: &str, args: &[&str]) -> (String, Ran) {
    let file = tool.file(name);
    let mut all = vec!["plan"];
    all.extend(args);
    all.extend(["-f", &file]);
    let ran = tool.run(&all);
    (file, ran)
}

pub fn text_of(file: &str) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The uids of a plan's objects.
#[track_caller]
pub fn planned(file: &str) -> BTreeSet<String> {
    let plan: Value = serde_json::from_str(&text_of(file)).expect("JSON");
    let steps = plan["steps"].as_array().expect("steps");
    let uids: BTreeSet<String> =
        steps.iter().filter_map(|step| step["object"]["uid"].as_str().map(str::to_owned)).collect();
    assert_eq!(uids.len(), steps.len(), "each once, and by its uid");
    uids
}

pub fn strays(tool: &Tool) -> Value {
    tool.run(&["strays", "-o", "json"]).json()
}

/// The uids that `strays` calls strays.
pub fn told_strays(told: &Value) -> BTreeSet<String> {
    let pods = told["pods"].as_array().expect("pods").iter().filter(|pod| pod["place"] == "stray");
    pods.filter_map(|pod| pod["uid"].as_str().map(str::to_owned)).collect()
}

/// Rolls back and waits until the gate opens by itself.
pub fn roll_back(bed: &Bed, tool: &Tool) {
    let (file, made) = plan(tool, "rollback.json", &["rollback"]);
    made.ended(0).says(&["saved in"]);
    let verified = format!("verified: 9 component(s) Ready on {}", bed.fact("oldTag"));
    tool.apply(&file, "9").ended(0).says(&[&verified, "to take it back"]);
    until("the gate's opening", || strays(tool)["gate"]["open"] == true);
}

/// Every step of a run has come to one good end, and the pods are these.
#[track_caller]
pub fn accounts_for_all(tool: &Tool, run: &str, uids: &BTreeSet<String>) {
    let document = tool.run_document(run);
    let steps = document["steps"].as_array().expect("steps");
    let accounted: BTreeSet<String> =
        steps.iter().filter_map(|step| step["object"]["uid"].as_str().map(str::to_owned)).collect();
    assert_eq!(steps.len(), uids.len(), "every pod once");
    assert_eq!(accounted, *uids);
    assert!(steps.iter().all(|step| step["outcome"] == "done" || step["outcome"] == "skipped"), "{document}");
}
