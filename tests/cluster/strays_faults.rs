//! What goes wrong in the middle of the deletes: kill -9, pods made anew, a cluster that falls silent; and halfway through a
//! rollback.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::strays::{
    ALIASES, DEFAULT, NAMESPACE, client_in, client_of, number, plan, pods, roll_back, strays, written,
};
use crate::support::{Ran, Tool, block_on, eventually};

const SIGABRT: i32 = 6;

/// Strays as they were, to be made anew: of this cluster, by name.
struct Templates(BTreeMap<&'static str, Vec<Pod>>);

impl Templates {
    fn of(bed: &Bed, doomed: &BTreeSet<String>) -> Self {
        let all = ALIASES.map(|alias| {
            let found = block_on(async {
                let pods: Api<Pod> = Api::namespaced(client_in(bed, alias).await, NAMESPACE);
                pods.list(&ListParams::default()).await.expect("pods").items
            });
            let strays = found.into_iter().filter(|pod| pod.uid().is_some_and(|uid| doomed.contains(&uid)));
            (alias, strays.map(bare).collect())
        });
        Templates(all.into())
    }

    /// Makes those anew that are not there.
    fn restore(&self, bed: &Bed) -> usize {
        let mut made = 0;
        for (alias, pods) in &self.0 {
            made += block_on(async {
                let api: Api<Pod> = Api::namespaced(client_in(bed, alias).await, NAMESPACE);
                let mut made = 0;
                for pod in pods {
                    // Those of the last round may still be going.
                    eventually("room for the stray", async || match api.create(&PostParams::default(), pod).await {
                        Ok(_) => {
                            made += 1;
                            true
                        }
                        Err(kube::Error::Api(status)) if status.code == 409 => {
                            api.get(&pod.name_any()).await.is_ok_and(|pod| pod.metadata.deletion_timestamp.is_none())
                        }
                        Err(_) => false,
                    })
                    .await;
                }
                made
            });
        }
        made
    }

    fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}

/// Without what the server and the scheduler added; on no node, so that it goes at once.
fn bare(mut pod: Pod) -> Pod {
    pod.metadata = kube::core::ObjectMeta {
        name: pod.metadata.name,
        namespace: pod.metadata.namespace,
        labels: pod.metadata.labels,
        annotations: pod.metadata.annotations,
        ..kube::core::ObjectMeta::default()
    };
    pod.status = None;
    if let Some(spec) = &mut pod.spec {
        spec.node_name = None;
        spec.scheduler_name = Some("nobody".to_owned());
    }
    pod
}

fn doomed(told: &Value) -> BTreeSet<String> {
    let pods = told["pods"].as_array().expect("pods").iter().filter(|pod| pod["place"] == "stray");
    pods.filter_map(|pod| pod["uid"].as_str().map(str::to_owned)).collect()
}

/// Strays that were made after the rollback close the gate; these tests know better.
const ANYWAY: [&str; 5] = ["--include-running", "--override", "gate", "--reason", "made by the test"];

fn plan_all(tool: &Tool, name: &str) -> String {
    let mut args = vec!["delete-strays"];
    args.extend(ANYWAY);
    let (file, made) = plan(tool, name, &args);
    made.ended(0);
    file
}

/// The newest run; empty where there is none.
fn newest(tool: &Tool) -> String {
    let runs = tool.run(&["run", "list", "-o", "json"]).ended(0).json();
    runs["runs"][0]["run"].as_str().unwrap_or_default().to_owned()
}

fn resume(tool: &Tool, run: &str) -> Ran {
    let most = ["--expect-at-most", "1000", "--wait", "60s"];
    let mut args = vec!["run", "resume", run, "--execute", "--context", &tool.context];
    args.extend(most);
    tool.run(&args)
}

/// Every step of a run has come to one good end.
#[track_caller]
fn accounts_for_all(tool: &Tool, run: &str, count: usize) {
    let document = tool.run_document(run);
    let steps = document["steps"].as_array().expect("steps");
    let numbers: BTreeSet<u64> = steps.iter().filter_map(|step| step["n"].as_u64()).collect();
    assert_eq!((steps.len(), numbers.len()), (count, count), "every pod once");
    assert!(steps.iter().all(|step| step["outcome"] == "done" || step["outcome"] == "skipped"), "{document}");
}

#[test]
fn kills_and_races_in_the_middle_of_the_deletes() {
    let Some(mut bed) = Bed::start_with_strays(40, 3600) else { return };
    let tool = Tool::on(&bed);
    roll_back(&bed, &tool);
    let templates = Templates::of(&bed, &doomed(&strays(&tool)));
    let count = templates.count();
    let first = plan_all(&tool, "first.json");
    tool.apply(&first, &count.to_string()).ended(0);

    // kill -9 at 20 points over the list, before and after the request is sent.
    for point in 0..20 {
        templates.restore(&bed);
        let file = plan_all(&tool, &format!("kill-{point}.json"));
        let before: BTreeMap<_, _> = ALIASES.map(|alias| (alias, bed.audit_of_oncall_in(alias).len())).into();
        let n = 1 + point * (count - 1) / 19;
        let fault = format!("{}:{n}", if point % 2 == 0 { "after-intent" } else { "after-send" });
        let killed = tool.run_with_fault(&tool.apply_args(&file, &count.to_string()), &fault);
        assert_eq!(killed.signal, Some(SIGABRT), "{killed:?}");
        let run = newest(&tool);
        resume(&tool, &run).ended(0);
        accounts_for_all(&tool, &run, count);
        let left: usize = ALIASES.iter().map(|alias| ours(&templates, &pods(&bed, alias, NAMESPACE), alias)).sum();
        assert_eq!(left, 0, "point {point}");
        // No pod was asked for twice, but for the one that was killed between sending and knowing.
        let mut uids = BTreeSet::new();
        let mut twice = 0;
        for alias in ALIASES {
            for entry in written(&bed, alias, before[alias]) {
                let uid = entry.request.as_ref().and_then(|body| body["preconditions"]["uid"].as_str());
                twice += usize::from(!uids.insert(uid.expect("a uid").to_owned()));
            }
        }
        assert!(uids.len() <= count && twice <= 8, "{twice} sent twice, {} pods", uids.len());
    }

    // A hundred pods are made anew under the same name between the plan and their delete.
    let survived = AtomicUsize::new(0);
    for round in 0..3 {
        templates.restore(&bed);
        let file = plan_all(&tool, &format!("race-{round}.json"));
        let planned: Value = serde_json::from_str(&std::fs::read_to_string(&file).expect("the plan")).expect("JSON");
        let uids: BTreeSet<String> = planned["steps"]
            .as_array()
            .expect("steps")
            .iter()
            .filter_map(|step| step["object"]["uid"].as_str().map(str::to_owned))
            .collect();
        let before: BTreeMap<_, _> = ALIASES.map(|alias| (alias, bed.audit_of_oncall_in(alias).len())).into();
        let clusters: Vec<(String, Vec<Pod>)> = templates
            .0
            .iter()
            .map(|(alias, pods)| (bed.fact_of(alias, "adminKubeconfig").to_owned(), pods.clone()))
            .collect();
        std::thread::scope(|scope| {
            let racing = scope.spawn(|| recreate(&clusters));
            let ran = tool.run(&tool.apply_args(&file, &count.to_string()));
            assert!(matches!(ran.code, Some(0 | 4)), "{ran:?}");
            let made: BTreeSet<String> = racing.join().expect("the other one");
            let there: BTreeSet<String> =
                ALIASES.iter().flat_map(|alias| pods(&bed, alias, NAMESPACE).into_keys()).collect();
            assert!(made.is_subset(&there), "a pod that was made anew was deleted");
            survived.fetch_add(made.len(), Ordering::Relaxed);
        });
        for alias in ALIASES {
            for entry in written(&bed, alias, before[alias]) {
                let uid = entry.request.as_ref().and_then(|body| body["preconditions"]["uid"].as_str()).expect("a uid");
                assert!(uids.contains(uid), "only what was listed: {entry:?}");
            }
        }
    }
    assert!(survived.load(Ordering::Relaxed) >= 100, "{} races", survived.load(Ordering::Relaxed));
    silence(&mut bed, &tool, &templates);
}

/// The build cluster falls silent in the middle, dies, and comes back.
fn silence(bed: &mut Bed, tool: &Tool, templates: &Templates) {
    templates.restore(bed);
    let count = number(&strays(tool), "/total");
    let file = plan_all(tool, "silence.json");
    let before = bed.audit_of_oncall_in(DEFAULT).len();
    let count = count.to_string();
    let mut args = tool.apply_args(&file, &count);
    args.extend(["--request-timeout", "2s"]);
    let child: Child = tool.start_with_fault(&args, "slow:400");
    block_on(eventually("the first deletes", async || !written(bed, DEFAULT, before).is_empty()));
    bed.freeze_api_server_of("build");
    let ran = Ran::of(&["apply"], child.wait_with_output().expect("wait for the program"));
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.err.contains("stopped:") && ran.err.contains("left"), "{}", ran.err);
    bed.stop_api_server_of("build");
    let run = newest(tool);
    resume(tool, &run).ended(6);
    bed.start_api_server_of("build");
    resume(tool, &run).ended(0);
    let document = tool.run_document(&run);
    let steps = document["steps"].as_array().expect("steps");
    assert!(steps.iter().all(|step| step["outcome"] == "done" || step["outcome"] == "skipped"), "{document}");
}

fn ours(templates: &Templates, there: &BTreeMap<String, String>, alias: &str) -> usize {
    let names: BTreeSet<String> = templates.0[alias].iter().map(kube::ResourceExt::name_any).collect();
    there.values().filter(|name| names.contains(*name)).count()
}

/// Makes each stray anew, as a healthy replacement would be: gives back the new uids. By kubeconfig: a bed stays in its thread.
fn recreate(clusters: &[(String, Vec<Pod>)]) -> BTreeSet<String> {
    let mut made = BTreeSet::new();
    for (kubeconfig, pods) in clusters {
        made.extend(block_on(async {
            let api: Api<Pod> = Api::namespaced(client_of(kubeconfig).await, NAMESPACE);
            let mut uids = Vec::new();
            for pod in pods {
                let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
                drop(api.delete(&pod.name_any(), &at_once).await);
                if let Ok(new) = api.create(&PostParams::default(), pod).await {
                    uids.extend(new.uid());
                }
            }
            uids
        }));
    }
    made
}

/// Asks until it is so.
fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < deadline, "{what} did not happen within a minute");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn images(bed: &Bed) -> BTreeMap<String, String> {
    block_on(async {
        let deployments: Api<Deployment> = Api::namespaced(client_in(bed, DEFAULT).await, NAMESPACE);
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

fn patch(bed: &Bed, name: &str, change: &Value) {
    block_on(async {
        let deployments: Api<Deployment> = Api::namespaced(client_in(bed, DEFAULT).await, NAMESPACE);
        let change = Patch::Strategic(change);
        deployments.patch(name, &PatchParams::default(), &change).await.expect("patch");
    });
}

fn set_image(bed: &Bed, name: &str, image: &str) {
    let containers = json!([{ "name": name, "image": image }]);
    patch(bed, name, &json!({ "spec": { "template": { "spec": { "containers": containers } } } }));
}

fn at_tag(bed: &Bed, tag: &str) -> usize {
    images(bed).values().filter(|image| image.ends_with(&format!(":{tag}"))).count()
}

#[test]
fn a_rollback_that_fails_anywhere_is_said_and_finished_or_undone() {
    let Some(mut bed) = Bed::start("rollback-fast") else { return };
    let tool = Tool::on(&bed);
    let (old, new) = (bed.fact("oldTag").to_owned(), bed.fact("newTag").to_owned());
    let rollback = |tool: &Tool, name: &str| {
        let (file, made) = plan(tool, name, &["rollback", "--to", &old]);
        made.ended(0);
        file
    };
    // The first k are done when the next one fails.
    for k in 0..9 {
        let file = rollback(&tool, &format!("fail-{k}.json"));
        let plan: Value = serde_json::from_str(&std::fs::read_to_string(&file).expect("the plan")).expect("JSON");
        let steps = plan["steps"].as_array().expect("steps");
        assert_eq!(steps.len(), 9, "{plan}");
        let (at, name) = (k + 1, steps[k]["object"]["name"].as_str().expect("a name"));
        let was = images(&bed)[name].clone();
        // After the preview of `apply`, somebody else sets its image; before, the preview would refuse.
        let fault = format!("hold-before-send:{at}");
        let mut held = tool.start_with_fault(&tool.apply_args(&file, "9"), &fault);
        until("the steps before", || at_tag(&bed, &old) >= at - 1);
        until("the intent", || {
            let shown = tool.run(&["run", "show", &newest(&tool), "-o", "json"]);
            let steps = || shown.json()["steps"].as_array().cloned().unwrap_or_default();
            shown.code == Some(0) && steps().iter().any(|step| number(step, "/n") == at && step["inDoubt"] == true)
        });
        set_image(&bed, name, "gcr.io/k8s-prow/elsewhere:v3");
        // A stop lets the held step go on: into the conflict.
        rustix::process::kill_process(rustix::process::Pid::from_child(&held), rustix::process::Signal::TERM)
            .expect("it runs");
        let ended = held.wait().expect("the program");
        assert_eq!(ended.code(), Some(if at == 1 { 3 } else { 4 }), "component {at}");
        assert_eq!(at_tag(&bed, &old), at - 1, "no further component is touched");
        let run = newest(&tool);
        let document = tool.run_document(&run);
        assert_eq!(document["steps"].as_array().map(Vec::len), Some(at), "{document}");
        set_image(&bed, name, &was);
        if k % 2 == 0 {
            resume(&tool, &run).ended(0).says(&["verified"]);
            assert_eq!(at_tag(&bed, &old), 9);
        } else {
            let undo = tool.undo(&run);
            tool.apply(&undo, &(at - 1).to_string()).ended(0);
            assert_eq!(at_tag(&bed, &new), 9);
        }
        bed.deploy(&new);
    }

    // An image that nobody can pull.
    bed.make_unpullable(&format!("deck:{old}"));
    let file = rollback(&tool, "unpullable.json");
    let mut args = tool.apply_args(&file, "9");
    args.extend(["--wait", "30s"]);
    tool.run(&args).ended(4).says(&["deck HANGS", "ImagePullBackOff", "undo"]);
    bed.make_pullable(&format!("deck:{old}"));
    bed.deploy(&new);

    // A paused Deployment takes no image.
    patch(&bed, "tide", &json!({ "spec": { "paused": true } }));
    tool.run(&["plan", "rollback", "--to", &old]).ended(3).says(&["tide is paused", "rollout resume"]);
    patch(&bed, "tide", &json!({ "spec": { "paused": false } }));

    // A quota leaves no room for new pods.
    let quota: ResourceQuota = serde_json::from_value(json!({
        "metadata": { "name": "full" }, "spec": { "hard": { "pods": "1" } },
    }))
    .expect("a quota");
    block_on(async {
        let quotas: Api<ResourceQuota> = Api::namespaced(client_in(&bed, DEFAULT).await, NAMESPACE);
        quotas.create(&PostParams::default(), &quota).await.expect("a quota");
        // Until it was counted, it holds nobody up.
        eventually("the quota counts", async || {
            let full = quotas.get("full").await.expect("the quota");
            full.status.and_then(|status| status.used).is_some_and(|used| used.contains_key("pods"))
        })
        .await;
    });
    let file = rollback(&tool, "quota.json");
    let mut args = tool.apply_args(&file, "9");
    args.extend(["--wait", "20s"]);
    tool.run(&args).ended(4).says(&["HANGS", "exceeded quota"]);
    block_on(async {
        let quotas: Api<ResourceQuota> = Api::namespaced(client_in(&bed, DEFAULT).await, NAMESPACE);
        quotas.delete("full", &DeleteParams::default()).await.expect("no quota any more");
    });
    let run = newest(&tool);
    let undo = tool.undo(&run);
    tool.apply(&undo, "9").ended(0).says(&["verified"]);
}
