//! Draws of `surprise`, played in the simulation and replayed on real servers with the real Prow: what the program proposes
//! there, in which order, what that writes, and what comes of it must be the same.
//!
//! A replay is the same incident with as many stray pods, and the built program taking its own proposals through the command
//! line, as a drill's `repair` takes them (`src/cli/drill/script.rs`), after somebody has aborted in Deck what it says to stop first. What a bed cannot have is the minute of the outage in
//! which the oncall comes: there they always come early.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use prow_breakglass::drill::catalogue;
use prow_breakglass::drill::file::{Colleague, DrillFile};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bed::Bed;
use crate::support::{Admin, Content, Ran, Tool, block_on, in_long_back_off, program};

/// Of 1 to 200; all three drills that can be drawn, that of the stray pods with few enough of them.
const SEEDS: [u64; 5] = [1, 3, 5, 7, 43];
/// Takes others from the environment: `1,2,3`.
const GIVEN: &str = "PROW_BREAKGLASS_SEEDS";
/// A draw with more of them is replayed with so many.
const MOST_STRAYS: usize = 60;
const PATIENCE: Duration = Duration::from_secs(180);
/// The finding that comes and goes with the minute.
const OF_THE_MINUTE: &str = "strays-still-appearing";

const LOOK: &str = "status -o json\n";
/// What comes after a look, and after Deck.
const REPAIR: &str = "repair\nwait healthy\nstatus -o json\nrun list -o json\n";

#[test]
fn draws_of_surprise_go_as_on_the_real_prow() {
    let given = std::env::var(GIVEN).ok();
    let seeds: Vec<u64> = match &given {
        Some(given) => given.split(',').map(|seed| seed.trim().parse().expect("seeds are numbers")).collect(),
        None => SEEDS.into(),
    };
    println!("{GIVEN}={}", seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(","));
    // The next one is played while this one is replayed.
    let (sender, played) = std::sync::mpsc::channel();
    let player = std::thread::spawn(move || {
        for seed in seeds {
            // Nobody takes it when a replay has failed.
            let _ = sender.send((seed, Played::of(seed)));
        }
    });
    let mut met = BTreeSet::new();
    for (seed, Played { drill, strays, course }) in played {
        let on_bed = strays.min(MOST_STRAYS);
        println!("seed {seed}: {drill}, {strays} stray pod(s), {on_bed} on the bed: {:?}", course.proposals());
        let began = Instant::now();
        let Some(replay) = replay(&drill, on_bed) else { return };
        println!("  done after {} s", began.elapsed().as_secs());
        let wanted = Course { jobs_pods: course.jobs_pods + on_bed - strays, ..course };
        assert_eq!(replay, wanted, "left: on the real Prow; right: seed {seed}, {drill}");
        assert_eq!((replay.lost, replay.is_well), (0, true), "{replay:?}");
        met.insert(drill);
    }
    player.join().expect("all seeds are played");
    assert!(given.is_some() || met.len() == 3, "{met:?}");
}

/// What can be compared of an incident's repair.
#[derive(Debug, PartialEq, Eq)]
struct Course {
    /// The verdict that the oncall met, and the worst findings.
    met: (String, BTreeSet<String>),
    /// Subject of the revision that was taken for the one to write.
    revision: String,
    steps: Vec<Step>,
    /// What was aborted in Deck, because the program said so.
    aborted: Vec<String>,
    /// Deletions of jobs' pods.
    jobs_pods: usize,
    /// Subjects of what colleagues merged meanwhile.
    merged: Vec<String>,
    /// The verdict at the end, and the beginning of the next step.
    left: (String, String),
    strays: u64,
    /// ProwJobs that need not have been.
    lost: usize,
    /// Judged without the program.
    is_well: bool,
}

/// A proposal that was taken. One that follows itself is one with it: which jobs still ran is a matter of the minute.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    repair: String,
    code: i32,
    verified: bool,
    writes: BTreeMap<Write, usize>,
}

/// `written`, `deleted` or `image set`, and what.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Write {
    what: String,
    /// `service` or `build`.
    cluster: &'static str,
    namespace: String,
    kind: String,
    /// Pods go by their component's.
    name: String,
}

const JOBS_POD: &str = "(a job's)";

impl Course {
    /// `taken`: repairs with their exit codes; `runs`: `run list`, which has the newest first.
    fn new(first: &Value, last: &Value, runs: &Value, taken: &[(String, i32)]) -> Course {
        let runs: Vec<&Value> = array(&runs["runs"]).iter().rev().collect();
        assert_eq!(runs.len(), taken.len(), "each step is a run: {taken:?}");
        let (mut steps, mut jobs_pods): (Vec<Step>, usize) = (Vec::new(), 0);
        for (run, (repair, code)) in runs.into_iter().zip(taken) {
            assert_eq!(run["repair"], **repair, "{run}");
            let mut writes: BTreeMap<Write, usize> = BTreeMap::new();
            for step in array(&run["steps"]) {
                assert_eq!(step["outcome"], "done", "{step}");
                let write = Write::of(first, run, step);
                if write.name == JOBS_POD {
                    jobs_pods += 1;
                    writes.insert(write, 0);
                } else {
                    *writes.entry(write).or_default() += 1;
                }
            }
            let step = Step { repair: repair.clone(), code: *code, verified: run["verified"] == true, writes };
            match steps.last_mut() {
                Some(before) if before.repair == step.repair => {
                    before.writes.extend(step.writes);
                    (before.code, before.verified) = (step.code, step.verified);
                }
                _ => steps.push(step),
            }
        }
        let bad = array(&first["findings"]).iter().filter(|finding| finding["severity"] == "bad");
        let kinds = bad.map(|finding| text(&finding["kind"])).filter(|kind| kind != OF_THE_MINUTE);
        Course {
            met: (text(&first["verdict"]["state"]), kinds.collect()),
            revision: text(&first["revision"]["revision"]["subject"]),
            steps,
            jobs_pods,
            aborted: Vec::new(),
            merged: Vec::new(),
            left: (text(&last["verdict"]["state"]), gist(&text(&last["verdict"]["next"]))),
            strays: last["strays"]["total"].as_u64().expect("a number of strays"),
            lost: 0,
            is_well: false,
        }
    }

    fn proposals(&self) -> Vec<&str> {
        self.steps.iter().map(|step| step.repair.as_str()).collect()
    }
}

impl Write {
    fn of(status: &Value, run: &Value, step: &Value) -> Write {
        let object = &step["object"];
        let cluster = array(&run["clusters"]).iter().find(|cluster| cluster["alias"] == object["cluster"]);
        let is_service = cluster.is_some_and(|cluster| cluster["context"] == status["context"]);
        let (kind, name) = (text(&object["kind"]), text(&object["name"]));
        let name = match kind.as_str() {
            // ProwJobs and their pods have UUIDs for names.
            "Pod" if name.len() == 36 && name.split('-').count() == 5 => JOBS_POD.to_owned(),
            "Pod" => name.rsplitn(3, '-').last().unwrap_or_default().to_owned(),
            _ => name,
        };
        Write {
            what: text(&step["status"]),
            cluster: if is_service { "service" } else { "build" },
            namespace: text(&object["namespace"]),
            kind,
            name,
        }
    }
}

/// The words of a next step up to what is another one each time.
fn gist(next: &str) -> String {
    next.split([':', '(']).next().unwrap_or_default().trim().to_owned()
}

#[track_caller]
fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A draw, played in the simulation.
struct Played {
    drill: String,
    /// When the oncall comes.
    strays: usize,
    course: Course,
}

impl Played {
    /// The same seed is the same drill each time.
    fn script(seed: u64, script: &str) -> Ran {
        let folder = TempDir::new().expect("a temporary folder");
        let path = folder.path().join("script");
        std::fs::write(&path, script).expect("write the script");
        let mut command = program();
        command.env("TMPDIR", folder.path()).args(["drill", "surprise", "--seed", &seed.to_string(), "--script"]);
        Ran::of(&["drill surprise"], command.arg(&path).output().expect("start the program"))
    }

    fn of(seed: u64) -> Played {
        let looked = Played::script(seed, LOOK);
        let [first] = documents(&looked.err).try_into().expect("one status");
        let aborts: String = to_stop(&first).iter().map(|job| format!("abort {job}\n")).collect();
        let played = Played::script(seed, &format!("{LOOK}{aborts}{REPAIR}")).ended(0);
        let score = played.json();
        let [first, last, runs] = documents(&played.err).try_into().expect("as many documents as the script asks for");
        let taken: Vec<(String, i32)> = played.err.lines().filter_map(step_taken).collect();
        let subjects = array(&score["colleagues"]).iter().filter_map(|done| done["what"].as_str()?.split('"').nth(1));
        let course = Course {
            merged: subjects.map(str::to_owned).collect(),
            aborted: to_stop(&first),
            lost: array(&score["prowJobsLost"]).iter().filter(|lost| lost["unavoidable"].is_null()).count(),
            is_well: score["state"] == "healthy",
            ..Course::new(&first, &last, &runs, &taken)
        };
        let strays = first["strays"]["total"].as_u64().and_then(|strays| usize::try_from(strays).ok());
        Played { drill: text(&score["drill"]), strays: strays.expect("a number of strays"), course }
    }
}

/// What is to be aborted before anything is repaired, as the program says.
fn to_stop(status: &Value) -> Vec<String> {
    array(&status["verdict"]["stopFirst"]).iter().map(text).collect()
}

/// The documents among a script's words.
fn documents(words: &str) -> Vec<Value> {
    let starts = words.match_indices("\n{\n").map(|(at, _)| at);
    let parse = |at: usize| serde_json::Deserializer::from_str(&words[at..]).into_iter().next();
    starts.filter_map(|at| parse(at)?.ok()).collect()
}

/// `took the proposed step, kick: exit code 0`.
fn step_taken(line: &str) -> Option<(String, i32)> {
    let (repair, code) = line.strip_prefix("took the proposed step, ")?.split_once(": exit code ")?;
    Some((repair.to_owned(), code.parse().ok()?))
}

/// The same incident on real servers, and the program's own proposals until nothing is proposed and all is well.
fn replay(drill: &str, strays: usize) -> Option<Course> {
    let file = catalogue::find(drill).expect("an embedded drill").file;
    let mut bed = if drill == "2019-02-05" { Bed::start_with_ended_trivia(strays)? } else { in_long_back_off(drill)? };
    println!("  on a bed since {}", jiff::Timestamp::now());
    // The first one broke it, and the bed has seen to that.
    for commit in file.before.iter().filter_map(|before| before.merges.as_ref()).skip(1) {
        bed.merge(commit);
    }
    let (tool, jobs) = (Tool::on(&bed), prow_jobs(&bed));
    let marks: BTreeMap<String, usize> =
        aliases(&bed).into_iter().map(|alias| (alias.clone(), bed.audit_of_oncall_in(&alias).len())).collect();
    let first = tool.run(&["status", "-o", "json"]).json();
    let shown = array(&first["findings"]).iter().any(|finding| file.diagnosis.contains(&text(&finding["kind"])));
    assert!(shown, "{:?} in {first}", file.diagnosis);
    let mut aborted = to_stop(&first);
    aborted.retain(|job| abort(&bed, job) > 0);
    let (taken, merged) = repair_all(&mut bed, &tool, &file);
    let (last, runs) = (tool.run(&["status", "-o", "json"]).json(), tool.run(&["run", "list", "-o", "json"]).json());
    journal_is_what_was_sent(&bed, &marks, &runs);
    let spared =
        |job: &str| aborted.iter().any(|name| name == job) || file.unavoidable.iter().any(|loss| loss.job == job);
    Some(Course {
        lost: lost(&jobs, &prow_jobs(&bed)).into_iter().filter(|job| !spared(job)).count(),
        aborted,
        merged,
        is_well: wrong(&bed).is_empty(),
        ..Course::new(&first, &last, &runs, &taken)
    })
}

/// Takes what the program proposes, as a drill's `repair` does. Where it proposes nothing, the colleagues who wait for a
/// component to be ready merge their fixes, one at a time: the program looks at what each leaves. Gives the repairs, each with its
/// exit code, and the subjects of what was merged.
fn repair_all(bed: &mut Bed, tool: &Tool, file: &DrillFile) -> (Vec<(String, i32)>, Vec<String>) {
    let mut colleagues: VecDeque<&Colleague> =
        file.colleagues.iter().filter(|colleague| colleague.once_ready.is_some()).collect();
    let (mut taken, mut merged) = (Vec::new(), Vec::new());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = tool.run(&["status", "-o", "json"]).json();
        assert!(Instant::now() < deadline, "still wrong: {:?}; {}", wrong(bed), status["verdict"]);
        if let Some(repair) = status["verdict"]["repair"].as_str() {
            let began = Instant::now();
            let code = take_step(tool, repair, taken.len());
            println!("  {repair}: exit code {code:?} after {} s", began.elapsed().as_secs());
            taken.extend(code.map(|code| (repair.to_owned(), code)));
        } else if let Some(colleague) = colleagues.front() {
            if colleague.once_ready.as_deref().is_some_and(|name| is_ready(&status, name)) {
                bed.merge(&colleague.merges);
                bed.command(&format!("upload {}", colleague.merges));
                let commit = file.repository.commits.iter().find(|commit| commit.name == colleague.merges);
                merged.extend(commit.map(|commit| commit.subject.clone()));
                colleagues.pop_front();
            }
        } else if wrong(bed).is_empty() {
            return (taken, merged);
        }
    }
}

/// Plans and applies; the exit code, or `None` where the program refuses it for now.
fn take_step(tool: &Tool, repair: &str, n: usize) -> Option<i32> {
    let file = tool.file(&format!("{n}-{repair}.json"));
    let planned = tool.run(&["plan", repair, "-f", &file]);
    if planned.code == Some(3) {
        return None;
    }
    planned.ended(0);
    let plan: Value = serde_json::from_slice(&std::fs::read(&file).expect("the plan's file")).expect("JSON");
    let applied = tool.apply(&file, &array(&plan["steps"]).len().to_string());
    applied.code.filter(|code| *code != 3)
}

/// As somebody does in Deck: what goes on of a job. Says how many.
fn abort(bed: &Bed, job: &str) -> usize {
    let goes_on = |found: &Value| matches!(found["status"]["state"].as_str(), Some("triggered" | "pending"));
    let mut jobs = prow_jobs(bed);
    jobs.retain(|_, found| found["spec"]["job"] == *job && goes_on(found));
    for name in jobs.keys() {
        let path = format!("/apis/prow.k8s.io/v1/namespaces/{}/prowjobs/{name}", bed.fact("prowNamespace"));
        block_on(Admin::of(bed).patch(&path, &json!({ "status": { "state": "aborted" } })));
    }
    jobs.len()
}

fn is_ready(status: &Value, name: &str) -> bool {
    let mut named = array(&status["components"]).iter().filter(|component| component["name"] == name);
    named.any(|component| component["ready"].as_u64() >= component["desired"].as_u64())
}

fn aliases(bed: &Bed) -> Vec<String> {
    bed.facts["clusters"].as_object().expect("clusters").keys().cloned().collect()
}

/// Every write that the API servers answered is a step of a run, of the kind that the run says, and there are no others.
fn journal_is_what_was_sent(bed: &Bed, marks: &BTreeMap<String, usize>, runs: &Value) {
    let sent: BTreeSet<(String, String, String)> = marks
        .iter()
        .flat_map(|(alias, mark)| bed.audit_of_oncall_in(alias).split_off(*mark))
        .filter(|entry| entry.writes())
        .map(|entry| (entry.id, entry.verb, entry.resource))
        .collect();
    let steps = array(&runs["runs"]).iter().flat_map(|run| array(&run["steps"]));
    let told: BTreeSet<(String, String, String)> = steps
        .map(|step| {
            let (verb, resource) = match step["status"].as_str() {
                Some("written") => ("update", "configmaps"),
                Some("deleted") => ("delete", "pods"),
                Some("image set") => ("patch", "deployments"),
                _ => panic!("what is that? {step}"),
            };
            (text(&step["auditID"]), verb.to_owned(), resource.to_owned())
        })
        .collect();
    assert_eq!(sent, told, "left: the audit logs; right: the journal");
}

/// All ProwJobs.
fn prow_jobs(bed: &Bed) -> BTreeMap<String, Value> {
    let path = format!("/apis/prow.k8s.io/v1/namespaces/{}/prowjobs", bed.fact("prowNamespace"));
    let jobs = block_on(Admin::of(bed).list(&path));
    jobs.into_iter().map(|job| (text(&job["metadata"]["name"]), job)).collect()
}

/// The jobs of those that are gone, or have ended without a result of their own, and had not before.
fn lost(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> Vec<String> {
    let state = |job: &Value| text(&job["status"]["state"]);
    let is_lost = |(name, job): &(&String, &Value)| match after.get(*name).map(state) {
        None => true,
        Some(now) => now != state(job) && matches!(now.as_str(), "error" | "aborted" | "failure"),
    };
    before.iter().filter(is_lost).map(|(_, job)| text(&job["spec"]["job"])).collect()
}

/// As a drill judges whether it is over (`src/drill/judge.rs`), of real servers.
fn wrong(bed: &Bed) -> Vec<String> {
    let (namespace, test_pods) = (bed.fact("prowNamespace"), bed.fact("podNamespace"));
    let mut wrong = Vec::new();
    let deployments = block_on(Admin::of(bed).list(&format!("/apis/apps/v1/namespaces/{namespace}/deployments")));
    for deployment in &deployments {
        let (status, meta) = (&deployment["status"], &deployment["metadata"]);
        let is_ready = status["readyReplicas"] == deployment["spec"]["replicas"];
        if !is_ready || status["observedGeneration"] != meta["generation"] {
            wrong.push(format!("{} is not ready", meta["name"]));
        }
    }
    let jobs = prow_jobs(bed);
    let mut homes: BTreeSet<String> = BTreeSet::new();
    for alias in aliases(bed) {
        let pods = "/api/v1/pods?labelSelector=created-by-prow%3Dtrue";
        for pod in block_on(Admin::in_cluster(bed, &alias).list(pods)) {
            let meta = &pod["metadata"];
            let name = text(&meta["name"]);
            let Some(job) = jobs.get(&name) else { continue };
            if meta["namespace"] != test_pods || job["spec"]["cluster"] != *alias {
                wrong.push(format!("{name} is a stray pod"));
            } else if meta["deletionTimestamp"].is_null() {
                homes.insert(name);
            }
        }
    }
    let waiting = jobs.iter().filter(|(name, job)| job["status"]["completionTime"].is_null() && !homes.contains(*name));
    wrong.extend(waiting.map(|(name, _)| format!("ProwJob {name} has no pod where it belongs")));
    let maps: BTreeMap<&str, Content> =
        ["config", "plugins", "job-config"].map(|name| (name, map(bed, name))).into_iter().collect();
    let head = bed.repository();
    for path in files(&head.join("config")) {
        let key = path.file_name().expect("a file").to_string_lossy().into_owned();
        let map = match key.as_str() {
            "config.yaml" => "config",
            "plugins.yaml" => "plugins",
            _ => "job-config",
        };
        if maps[map].values.get(&key) != Some(&std::fs::read(&path).expect("a file of the checkout")) {
            wrong.push(format!("{key} in ConfigMap {map} is not as in git"));
        }
    }
    wrong
}

fn map(bed: &Bed, name: &str) -> Content {
    let path = format!("/api/v1/namespaces/{}/configmaps/{name}", bed.fact("prowNamespace"));
    Content::of(&block_on(Admin::of(bed).get(&path)))
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of the checkout");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
