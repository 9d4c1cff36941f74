//! What goes wrong in the middle of the deletes: kill -9, pods made anew, a cluster that falls silent.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::Child;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt as _};

use crate::bed::Bed;
use crate::strays_support::{
    ALIASES, DEFAULT, NAMESPACE, TRUSTED, accounts_for_all, client_in, deletes, everybody, list_pods, marks,
    no_job_is_worse_off, only_these_went, plan, planned, pods, prowjobs, roll_back, strays, told_strays, until,
    written,
};
use crate::support::{Ran, Tool, block_on};

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
/// Deletes that the program has in flight together.
const AT_ONCE: usize = 8;
const STRAYS: usize = 40;
const KILLS: u64 = 20;
const RACES: usize = 100;

/// Numbers that a seed decides (SplitMix64).
struct Random(u64);

impl Random {
    /// Of the clock, or of `BED_SEED` to see a failure again; printed.
    fn seeded() -> Self {
        let given = std::env::var("BED_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| jiff::Timestamp::now().as_microsecond().cast_unsigned());
        println!("BED_SEED={seed}");
        Random(seed)
    }

    /// At least 1, at most `most`.
    fn up_to(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let rest = (mixed ^ (mixed >> 31)) % u64::try_from(most).expect("small");
        1 + usize::try_from(rest).expect("small")
    }
}

/// Strays as they were, to be made anew: by cluster and name.
struct Templates(BTreeMap<&'static str, BTreeMap<String, Pod>>);

impl Templates {
    fn of(bed: &Bed, doomed: &BTreeSet<String>) -> Self {
        let all = ALIASES.map(|alias| {
            let found = list_pods(bed, alias, Some(NAMESPACE));
            let strays = found.into_iter().filter(|pod| pod.uid().is_some_and(|uid| doomed.contains(&uid)));
            (alias, strays.map(|pod| (pod.name_any(), bare(pod))).collect())
        });
        let templates = Templates(all.into());
        assert_eq!(templates.0.values().map(BTreeMap::len).sum::<usize>(), STRAYS);
        templates
    }

    /// Makes all of them anew, once the last ones are gone.
    fn restore(&self, bed: &Bed) {
        until("room for the strays", || self.left(bed) == 0);
        for (alias, pods) in &self.0 {
            block_on(async {
                let api: Api<Pod> = Api::namespaced(client_in(bed, alias).await, NAMESPACE);
                let params = PostParams::default();
                let creations = stream::iter(pods.values()).map(|pod| api.create(&params, pod));
                let made: Vec<_> = creations.buffer_unordered(8).collect().await;
                for pod in made {
                    pod.expect("a stray");
                }
            });
        }
    }

    /// How many pods of these names are there.
    fn left(&self, bed: &Bed) -> usize {
        let there = |alias: &str| pods(bed, alias, NAMESPACE).into_values().collect::<Vec<_>>();
        self.0.iter().map(|(alias, all)| there(alias).iter().filter(|name| all.contains_key(*name)).count()).sum()
    }

    /// Puts another pod in the place of this one, as a healthy replacement would be; gives back its uid.
    fn replace(&self, bed: &Bed, alias: &str, name: &str) -> String {
        block_on(async {
            let api: Api<Pod> = Api::namespaced(client_in(bed, alias).await, NAMESPACE);
            let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
            api.delete(name, &at_once).await.expect("the old one goes");
            let new = api.create(&PostParams::default(), &self.0[alias][name]).await;
            new.expect("the new one comes").uid().expect("a uid")
        })
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

/// Strays that were made after the rollback close the gate; these tests know better.
const ANYWAY: [&str; 6] = ["delete-strays", "--include-running", "--override", "gate", "--reason", "made by the test"];

fn plan_all(tool: &Tool, name: &str) -> String {
    let (file, made) = plan(tool, name, &ANYWAY);
    made.ended(0);
    assert_eq!(planned(&file).len(), STRAYS);
    file
}

/// The newest run; empty where there is none.
fn newest(tool: &Tool) -> String {
    let runs = tool.run(&["run", "list", "-o", "json"]).ended(0).json();
    runs["runs"][0]["run"].as_str().unwrap_or_default().to_owned()
}

fn resume_args<'a>(tool: &'a Tool, run: &'a str) -> Vec<&'a str> {
    let most = ["--execute", "--context", &tool.context, "--expect-at-most", "1000", "--wait", "60s"];
    [&["run", "resume", run][..], &most].concat()
}

/// Reads the program's lines until so many steps have ended.
fn read_until_ended(child: &mut Child, steps: usize) {
    let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let ended = lines.map_while(Result::ok).filter(|line| line.contains("\"outcome\"")).take(steps).count();
    assert_eq!(ended, steps, "the program ended too early");
}

#[test]
fn kills_races_and_silence_in_the_middle_of_the_deletes() {
    let Some(mut bed) = Bed::start_with_strays(STRAYS, 3600) else { return };
    let tool = Tool::on(&bed);
    roll_back(&bed, &tool);
    let templates = Templates::of(&bed, &told_strays(&strays(&tool)));
    let first = plan_all(&tool, "first.json");
    tool.apply(&first, &STRAYS.to_string()).ended(0);
    let (crowd, jobs) = (everybody(&bed), prowjobs(&bed));
    let mut random = Random::seeded();
    for point in 0..KILLS {
        kill_and_resume(&bed, &tool, &templates, &mut random, point);
    }
    templates.restore(&bed);
    let mut races = 0;
    while races < RACES {
        races += race(&bed, &tool, &templates, races);
    }
    silence(&mut bed, &tool, &templates);
    // Through all of this, nobody else was touched.
    only_these_went(&crowd, &everybody(&bed), &BTreeSet::new());
    no_job_is_worse_off(&jobs, &prowjobs(&bed));
}

/// Killed at a random point of the list: before a request, after its answer, or with whatever is in flight.
fn kill_and_resume(bed: &Bed, tool: &Tool, templates: &Templates, random: &mut Random, point: u64) {
    templates.restore(bed);
    let file = plan_all(tool, &format!("kill-{point}.json"));
    let (uids, before, count) = (planned(&file), marks(bed), STRAYS.to_string());
    let args = tool.apply_args(&file, &count);
    let n = random.up_to(STRAYS);
    let how = match point % 3 {
        0 | 1 => {
            let fault = format!("{}:{n}", if point.is_multiple_of(3) { "after-intent" } else { "after-send" });
            let killed = tool.run_with_fault(&args, &fault);
            assert_eq!(killed.signal, Some(SIGABRT), "{killed:?}");
            fault
        }
        _ => {
            // One step is held, so that it cannot end before it is killed.
            let ended = random.up_to(STRAYS - 1);
            let mut child = tool.start_with_fault(&args, &format!("hold-before-send:{n}"));
            read_until_ended(&mut child, ended);
            child.kill().expect("kill -9");
            let killed = Ran::of(&["apply"], child.wait_with_output().expect("wait for the program"));
            assert_eq!(killed.signal, Some(SIGKILL), "{killed:?}");
            format!("kill -9 after {ended} ended, with step {n} held")
        }
    };
    println!("point {point}: {how}");
    let run = newest(tool);
    tool.run(&resume_args(tool, &run)).ended(0).says(&["verified: the strays are gone"]);
    accounts_for_all(tool, &run, &uids);
    assert_eq!(templates.left(bed), 0, "{how}");
    // Each was asked for, and deleted once; only what was on its way when the program died may have been asked twice.
    let answers = deletes(bed, &before);
    assert_eq!(answers.keys().cloned().collect::<BTreeSet<_>>(), uids, "{how}");
    let twice: Vec<_> = answers.values().filter(|codes| codes.len() > 1).collect();
    assert!(twice.len() <= AT_ONCE && twice.iter().all(|codes| codes.len() == 2), "{how}: {twice:?}");
    // Of a request whose sender died the server may say that it failed, and have done it.
    let times = |codes: &[u64]| codes.iter().filter(|code| **code == 200).count();
    let is_once = |codes: &Vec<u64>| match times(codes) {
        0 => codes.iter().any(|code| *code >= 500),
        n => n == 1,
    };
    assert!(answers.values().all(is_once), "{how}: {answers:?}");
}

/// Between our look at a pod and our delete, another one comes under its name: it survives, every time. Gives back how often.
fn race(bed: &Bed, tool: &Tool, templates: &Templates, so_far: usize) -> usize {
    let file = plan_all(tool, &format!("race-{so_far}.json"));
    let (uids, before, count) = (planned(&file), marks(bed), STRAYS.to_string());
    let last = newest(tool);
    let mut survivors = BTreeSet::new();
    let mut run = String::new();
    while survivors.len() < STRAYS {
        let under_way = run.clone();
        let args = if under_way.is_empty() { tool.apply_args(&file, &count) } else { resume_args(tool, &under_way) };
        // All that are in flight have been looked at, and wait with their requests.
        let child = tool.start_with_fault(&args, "hold-before-send:0");
        if under_way.is_empty() {
            until("the run's beginning", || newest(tool) != last);
            run = newest(tool);
        }
        let wanted = AT_ONCE.min(STRAYS - survivors.len());
        until("the looks", || in_doubt(tool, &run).len() == wanted);
        for (alias, name) in in_doubt(tool, &run) {
            survivors.insert(templates.replace(bed, alias, &name));
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
            .expect("it runs");
        let ran = Ran::of(&args, child.wait_with_output().expect("wait for the program"));
        assert!(ran.code.is_some(), "{ran:?}");
        assert!(in_doubt(tool, &run).is_empty(), "{ran:?}");
    }
    let document = tool.run_document(&run);
    let steps = document["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), STRAYS);
    let left_alone = "another pod has the name now";
    assert!(
        steps.iter().all(|step| step["outcome"] == "skipped" && step.to_string().contains(left_alone)),
        "{document}"
    );
    let answers = deletes(bed, &before);
    assert_eq!(answers.keys().cloned().collect::<BTreeSet<_>>(), uids);
    assert!(answers.values().all(|codes| *codes == [409]), "each lost its race at the server: {answers:?}");
    let there: BTreeSet<String> = ALIASES.iter().flat_map(|alias| pods(bed, alias, NAMESPACE).into_keys()).collect();
    assert!(survivors.is_subset(&there), "a pod that was made anew was deleted");
    survivors.len()
}

/// Cluster and name of the pods whose request is on its way.
fn in_doubt(tool: &Tool, run: &str) -> Vec<(&'static str, String)> {
    let document = tool.run_document(run);
    let steps = document["steps"].as_array().into_iter().flatten().filter(|step| step["inDoubt"] == true);
    steps
        .map(|step| {
            // The program knows the service cluster as `default`, the other one by its context.
            let alias = if step["object"]["cluster"] == "default" { TRUSTED } else { DEFAULT };
            (alias, step["object"]["name"].as_str().expect("a name").to_owned())
        })
        .collect()
}

/// The build cluster falls silent in the middle, dies, and comes back.
fn silence(bed: &mut Bed, tool: &Tool, templates: &Templates) {
    let file = plan_all(tool, "silence.json");
    let (uids, count) = (planned(&file), STRAYS.to_string());
    let before = bed.audit_of_oncall_in(DEFAULT).len();
    let mut args = tool.apply_args(&file, &count);
    args.extend(["--request-timeout", "2s"]);
    let child = tool.start_with_fault(&args, "slow:400");
    until("the first deletes in the build cluster", || !written(bed, DEFAULT, before).is_empty());
    bed.freeze_api_server_of("build");
    let ran = Ran::of(&["apply"], child.wait_with_output().expect("wait for the program")).ended(4);
    // It stopped there, and says what is done and what is not.
    let run = newest(tool);
    let document = tool.run_document(&run);
    let outcomes = |outcome: &str| {
        let steps = document["steps"].as_array().expect("steps").iter();
        steps.filter(|step| step["outcome"] == outcome).count()
    };
    let (done, failed, unknown) = (outcomes("done"), outcomes("failed"), outcomes("unknown"));
    let left = STRAYS - done - failed - unknown;
    assert!(done > 0 && failed + unknown >= 3 && left > 0, "{document}");
    let said = format!("{done} done, {failed} failed, 0 skipped, {unknown} unknown, {left} left");
    let ran = ran.says(&["stopped: 3 steps in a row went wrong", &said, "no answer"]);
    assert_eq!(ran.lines().iter().filter(|line| line["outcome"] == "done").count(), done);
    bed.stop_api_server_of("build");
    tool.run(&resume_args(tool, &run)).ended(6).says(&["prow-build"]);
    assert_eq!(tool.run_document(&run)["steps"], document["steps"], "nothing is invented of a dead cluster");

    bed.start_api_server_of("build");
    tool.run(&resume_args(tool, &run)).ended(0).says(&["verified: the strays are gone"]);
    accounts_for_all(tool, &run, &uids);
    assert_eq!(templates.left(bed), 0);
}
