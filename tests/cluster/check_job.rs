//! A checkconfig as a Job: its answer, and that nothing is left of it however it ends.

use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::check::History;
use crate::support::{Admin, NAMESPACE, Ran, Tool, block_on, client, eventually, findings, written_since};

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

/// Jobs, ConfigMaps and pods that carry the program's label.
async fn left(admin: &Admin) -> Vec<String> {
    let mut left = Vec::new();
    for kind in
        ["/apis/batch/v1/namespaces/prow/jobs", "/api/v1/namespaces/prow/configmaps", "/api/v1/namespaces/prow/pods"]
    {
        let path = format!("{kind}?labelSelector=app.kubernetes.io/managed-by=prow-breakglass");
        left.extend(admin.list(&path).await.iter().map(|object| format!("{kind}/{}", object["metadata"]["name"])));
    }
    left
}

fn nothing_is_left(admin: &Admin) {
    block_on(eventually("nothing is left", async || left(admin).await.is_empty()));
}

#[test]
fn the_deployed_tag_is_asked_in_the_cluster() {
    let Some(bed) = Bed::start("healthy") else { return };
    let history = History::of(&bed);
    let job = "periodics:\n- name: ci-none\n  interval: never\n  agent: kubernetes\n  spec:\n    containers:\n    - image: alpine\n";
    let good = history.git(&["rev-parse", "HEAD"]);
    let bad = history.commit("Add a job (#11000)", &[("config/jobs/kubernetes/none.yaml", job)]);
    let context = bed.fact("context").to_owned();
    let admin = Admin::of(&bed);
    for (revision, code, says) in [(&good, 0, "it loads"), (&bad, 1, "ci-none")] {
        let file = history.dir.path().join(format!("{revision}.json")).display().to_string();
        let before = bed.audit_of_oncall().len();
        history.on(&bed, &["plan", "check-in-cluster", "--revision", revision, "-f", &file]).ended(0);
        assert_eq!(written_since(&bed, before), Vec::<String>::new(), "a preview asks nobody");
        let args = ["apply", &file, "--execute", "--context", &context, "--expect", "2"];
        history.on(&bed, &args).ended(code).says(&["your approval covers both", "FACT", says, "checkconfig:"]);
        let written = written_since(&bed, before);
        let verbs: Vec<&str> = written.iter().filter_map(|line| line.rsplit_once(' ')).map(|(verb, _)| verb).collect();
        // Once the Job is gone, the garbage collector may be faster with what it owned.
        let first = ["create jobs", "create configmaps", "delete jobs"];
        assert!(verbs.starts_with(&first) && verbs[3..].iter().all(|verb| *verb == "delete configmaps"), "{written:?}");
        nothing_is_left(&admin);
        // And it is remembered.
        let checked = history.on(&bed, &["config", "check", "--revision", revision, "-o", "json"]).ended(code).json();
        let check = &checked["checks"][0];
        let known = (check["source"] == "job" || check["source"] == "running", check["basis"] == "fact");
        assert_eq!(known, (true, true), "{check}");
    }
    history.on(&bed, &["plan", "sync-config", "--revision", &bad]).ended(3).says(&["ci-none", "in the cluster"]);
}

/// A candidate is asked byte for byte, up to the last byte that a ConfigMap takes; beyond that there is no candidate.
#[test]
fn a_large_candidate_is_spread_and_half_a_one_is_not_asked_about() {
    const MOST: usize = 1_048_576;
    let Some(bed) = Bed::start("healthy") else { return };
    let history = History::of(&bed);
    let (context, admin) = (bed.fact("context").to_owned(), Admin::of(&bed));
    let listed = history.git(&["ls-tree", "-r", "--long", "HEAD", "config/jobs"]);
    let sizes = listed.lines().filter(|line| line.ends_with(".yaml")).filter_map(|line| line.split_whitespace().nth(3));
    let there: usize = sizes.map(|size| size.parse::<usize>().expect("a size")).sum();
    let comment = |bytes: usize| format!("# {}\n", "x".repeat(bytes - 3));
    let path = "config/jobs/kubernetes/large.yaml";
    let full = history.commit("Fill it", &[(path, &comment(MOST - there))]);
    let beyond = history.commit("Add a byte", &[(path, &comment(MOST - there + 1))]);

    let file = history.dir.path().join("full.json").display().to_string();
    history.on(&bed, &["plan", "check-in-cluster", "--revision", &full, "-f", &file]).ended(0);
    let before = bed.audit_of_oncall().len();
    let args = ["apply", &file, "--execute", "--context", &context, "--expect", "3"];
    history.on(&bed, &args).ended(0).says(&["FACT", "it loads"]);
    let written = written_since(&bed, before);
    assert_eq!(written.iter().filter(|line| line.starts_with("create configmaps ")).count(), 2, "{written:?}");
    nothing_is_left(&admin);
    let checked = history.on(&bed, &["config", "check", "--revision", &full, "-o", "json"]).ended(0).json();
    assert_eq!(checked["checks"][0]["source"], "job", "{checked}");

    let plan = ["plan", "check-in-cluster", "--revision", &beyond];
    history.on(&bed, &plan).ended(3).says(&["no ConfigMap prow/job-config", "the rest alone"]);
}

/// A check whose pod finds no place, so that its answer has to be waited for.
struct Waiting<'a> {
    tool: &'a Tool,
    child: Child,
}

impl<'a> Waiting<'a> {
    /// Starts it, and comes back once all is made and its pod is there.
    fn start(tool: &'a Tool, admin: &Admin) -> Self {
        let file = tool.plan("check-in-cluster");
        let child = tool.command(&tool.apply_args(&file, "2")).spawn().expect("start the program");
        block_on(eventually("Job, ConfigMap and pod", async || left(admin).await.len() == 3));
        Self { tool, child }
    }

    fn send(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process");
        kill_process(pid, signal).expect("send a signal");
    }

    fn ended(self) -> Ran {
        Ran::of(&["apply"], self.child.wait_with_output().expect("wait for the program"))
    }

    /// Waits until another process reads this of a run.
    fn until(&self, run: &str, state: &str) {
        block_on(eventually(state, async || {
            let shown = self.tool.run(&["run", "show", run, "-o", "json"]);
            shown.code == Some(0) && shown.json()["state"] == state
        }));
    }
}

fn schedulable(admin: &Admin, is: bool) {
    block_on(async {
        for node in admin.list("/api/v1/nodes").await {
            let path = format!("/api/v1/nodes/{}", node["metadata"]["name"].as_str().expect("a name"));
            admin.patch(&path, &json!({ "spec": { "unschedulable": !is } })).await;
        }
    });
}

/// Whether the next start says that something of this run may be left.
fn is_open(tool: &Tool, run: &str) -> bool {
    let status = tool.run(&["status", "-o", "json"]).json();
    let named = format!("run resume {run}");
    findings(&status, "interrupted-run").iter().any(|finding| finding.to_string().contains(&named))
}

#[test]
fn whatever_ends_the_waiting_nothing_is_left() {
    let Some(mut bed) = Bed::start("healthy") else { return };
    let (tool, admin) = (Tool::on(&bed), Admin::of(&bed));
    schedulable(&admin, false);

    // Ctrl-C, or a terminal that goes.
    for (n, signal, name) in [(1, Signal::INT, "SIGINT"), (3, Signal::HUP, "SIGHUP")] {
        let waiting = Waiting::start(&tool, &admin);
        let run = format!("r-{n:04}");
        waiting.until(&run, "running");
        waiting.send(signal);
        waiting.ended().ended(130).says(&[&format!("stopped by {name}"), "was not awaited"]);
        nothing_is_left(&admin);
        assert_eq!((tool.run_document(&run)["state"].as_str(), is_open(&tool, &run)), (Some("ended"), false));
    }

    // kill -9: the next start says so, and resuming takes away what is there, and makes nothing.
    let mut waiting = Waiting::start(&tool, &admin);
    waiting.until("r-0005", "running");
    waiting.child.kill().expect("kill the program");
    assert_eq!(waiting.ended().signal, Some(SIGKILL));
    assert_eq!((block_on(left(&admin)).len(), is_open(&tool, "r-0005")), (3, true));
    let before = bed.audit_of_oncall().len();
    tool.run(&["run", "resume", "r-0005"]).ended(1).says(&["is left", "nothing is made anew"]);
    let resume = |count: &str| {
        let args = ["run", "resume", "r-0005", "--execute", "--context", &tool.context, "--expect", count];
        tool.run(&args)
    };
    resume("1").ended(3);
    assert_eq!(written_since(&bed, before), Vec::<String>::new(), "looking writes nothing");
    resume("2").ended(0).says(&["nothing of run r-0005 is left"]);
    nothing_is_left(&admin);
    let written = written_since(&bed, before);
    assert!(written.iter().all(|line| line.starts_with("delete ")), "{written:?}");
    assert!(!is_open(&tool, "r-0005"));
    resume("0").ended(0);

    // Nobody comes back to it: when the Job goes, as it does by itself after its end, everything goes with it.
    let mut waiting = Waiting::start(&tool, &admin);
    waiting.until("r-0007", "running");
    waiting.child.kill().expect("kill the program");
    waiting.ended();
    block_on(async {
        let jobs = format!("/apis/batch/v1/namespaces/{NAMESPACE}/jobs");
        let own = admin.list(&format!("{jobs}?labelSelector=app.kubernetes.io/managed-by=prow-breakglass")).await;
        let name = own[0]["metadata"]["name"].as_str().expect("a name");
        admin.delete(&format!("{jobs}/{name}?propagationPolicy=Background")).await;
    });
    nothing_is_left(&admin);
    let args = ["run", "resume", "r-0007", "--execute", "--context", &tool.context, "--expect", "0"];
    tool.run(&args).ended(0).says(&["nothing of what it made is there"]);
    assert!(!is_open(&tool, "r-0007"));

    // A second signal ends the taking away, too, and what is printed then does it.
    let waiting = Waiting::start(&tool, &admin);
    waiting.until("r-0008", "running");
    bed.freeze_api_server();
    waiting.send(Signal::INT);
    waiting.until("r-0008", "interrupted");
    waiting.send(Signal::INT);
    let ran = waiting
        .ended()
        .ended(130)
        .says(&["stopped by SIGINT, while it was taken away", "prow-breakglass undo r-0008 "]);
    bed.thaw_api_server();
    assert_eq!(block_on(left(&admin)).len(), 3);
    let printed = ran.err.split("To take it away: prow-breakglass ").nth(1).and_then(|rest| rest.lines().next());
    let words: Vec<&str> = printed.expect("a command").split(' ').collect();
    let mut command = crate::support::program();
    Ran::of(&words, command.args(&words).output().expect("start the program")).ended(0);
    nothing_is_left(&admin);
    schedulable(&admin, true);
}

/// Killed between any two requests: the Job's, then that of the ConfigMap that it owns.
#[cfg(debug_assertions)]
#[test]
fn killed_while_it_is_made_it_leaves_nothing() {
    let Some(bed) = Bed::start("healthy") else { return };
    let (tool, admin) = (Tool::on(&bed), Admin::of(&bed));
    let mut n = 1;
    for (fault, there) in [("after-intent:1", 0), ("after-send:1", 1), ("after-intent:2", 1), ("after-send:2", 2)] {
        let file = tool.plan("check-in-cluster");
        let before = bed.audit_of_oncall().len();
        let killed = tool.run_with_fault(&tool.apply_args(&file, "2"), fault);
        assert_eq!(killed.signal, Some(SIGABRT), "{killed:?}");
        let run = format!("r-{n:04}");
        assert_eq!((written_since(&bed, before).len(), is_open(&tool, &run)), (there, true), "{fault}");
        // What was never answered, and is not there, may come for a minute; then it goes with its Job or by itself.
        let code = if fault.starts_with("after-intent") { 4 } else { 0 };
        let count = there.to_string();
        let resume = ["run", "resume", &run, "--execute", "--context", &tool.context, "--expect-at-most", &count];
        let ran = tool.run(&resume).ended(code);
        assert_eq!(ran.err.contains("may still come"), code == 4, "{ran:?}");
        nothing_is_left(&admin);
        let written = written_since(&bed, before);
        assert!(written[there..].iter().all(|line| line.starts_with("delete ")), "{written:?}");
        // Once its Job was taken away, what comes late goes with that.
        assert_eq!(is_open(&tool, &run), there == 0, "{fault}");
        // Its own run, and one that took away, where something was there.
        n += 1 + usize::from(there > 0);
    }

    // Ctrl-C between the two: the request that is about to go out still does, and then all of it goes. The fault holds the second
    // request of that, too, until a second Ctrl-C: it also ends before the program does.
    let file = tool.plan("check-in-cluster");
    let before = bed.audit_of_oncall().len();
    let held = tool.start_with_fault(&tool.apply_args(&file, "2"), "hold-before-send:2");
    block_on(eventually("a Job alone", async || written_since(&bed, before).len() == 1));
    let run = format!("r-{n:04}");
    let waiting = Waiting { tool: &tool, child: held };
    block_on(eventually("the intent of its ConfigMap", async || {
        tool.run(&["run", "show", &run, "-o", "json"]).json()["steps"][1]["inDoubt"] == true
    }));
    waiting.send(Signal::INT);
    block_on(eventually("the Job's deletion", async || {
        written_since(&bed, before).iter().any(|line| line.starts_with("delete jobs "))
    }));
    nothing_is_left(&admin);
    waiting.send(Signal::INT);
    waiting.ended().ended(130).says(&["stopped by SIGINT", "already gone"]);
    let resume = ["run", "resume", &run, "--execute", "--context", &tool.context, "--expect", "0"];
    tool.run(&resume).ended(0);
    assert!(!is_open(&tool, &run));
}

/// Lets the API server take these objects of ours in dry runs, and only there; or no more.
fn only_in_dry_runs(admin: &Admin, group: &str, resource: &str, are: bool) {
    const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
    let (probe_path, probe) = match resource {
        "jobs" => (
            format!("/apis/batch/v1/namespaces/{NAMESPACE}/jobs"),
            json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "prow-breakglass-probe" }, "spec": {
                "suspend": true, "template": { "spec": {
                    "restartPolicy": "Never", "containers": [{ "name": "probe", "image": "probe" }],
                }},
            }}),
        ),
        _ => (
            format!("/api/v1/namespaces/{NAMESPACE}/configmaps"),
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "prow-breakglass-probe" } }),
        ),
    };
    block_on(async {
        if are {
            let policy = json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
                "metadata": { "name": resource },
                "spec": {
                    "failurePolicy": "Fail",
                    "matchConstraints": { "resourceRules": [{
                        "apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource],
                    }]},
                    "matchConditions": [{
                        "name": "ours", "expression": "object.metadata.name.startsWith('prow-breakglass-')",
                    }],
                    "validations": [{ "expression": "has(request.dryRun) && request.dryRun", "message": "not today" }],
                },
            });
            let binding = json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
                "metadata": { "name": resource }, "spec": { "policyName": resource, "validationActions": ["Deny"] },
            });
            post(admin, POLICIES, &policy).await.expect("a policy");
            post(admin, BINDINGS, &binding).await.expect("a binding");
        } else {
            admin.delete(&format!("{BINDINGS}/{resource}")).await;
            admin.delete(&format!("{POLICIES}/{resource}")).await;
        }
        eventually("the policy", async || {
            let made = post(admin, &probe_path, &probe).await.is_ok();
            if made {
                admin.delete(&format!("{probe_path}/prow-breakglass-probe?propagationPolicy=Background")).await;
            }
            made != are
        })
        .await;
    });
}

async fn post(admin: &Admin, path: &str, body: &Value) -> Result<Value, kube::Error> {
    let request = http::Request::post(path).header(http::header::CONTENT_TYPE, "application/json");
    let request = request.body(body.to_string().into_bytes()).expect("a request");
    client(admin.kubeconfig()).await.request(request).await
}

#[test]
fn what_cannot_be_made_is_told_at_once_and_leaves_nothing() {
    let Some(bed) = Bed::start("healthy") else { return };
    let (tool, admin) = (Tool::on(&bed), Admin::of(&bed));
    let mut before = bed.audit_of_oncall().len();

    // Without the role of its own nothing begins.
    let without: String = format!("{}/no-rollback.yaml", bed.fact("kubeconfigs"));
    let repo = bed.repository().display().to_string();
    let args =
        ["plan", "check-in-cluster", "--kubeconfig", &without, "--repo", &repo, "--journal", &tool.file("other")];
    let ran = Ran::of(&args, crate::support::program().args(args).output().expect("start the program"));
    ran.ended(5).says(&["create jobs", "delete jobs", "assets/rbac/check-in-cluster.yaml"]);

    // The preview was fine, and the server refuses the Job itself; then what it would own.
    for (group, resource, made) in [("batch", "jobs", vec![]), ("", "configmaps", vec!["create jobs", "delete jobs"])] {
        only_in_dry_runs(&admin, group, resource, true);
        let file = tool.plan("check-in-cluster");
        let ran = tool.run(&tool.apply_args(&file, "2")).says(&["not today", "nothing is waited for"]);
        assert!(matches!(ran.code, Some(3 | 5)) && !ran.err.contains("may be left"), "{ran:?}");
        nothing_is_left(&admin);
        let written = written_since(&bed, before);
        let done: Vec<&str> = written.iter().filter_map(|line| line.rsplit_once(' ')).map(|(what, _)| what).collect();
        let tried: Vec<&str> = done.into_iter().filter(|what| *what != format!("create {resource}")).collect();
        assert_eq!(tried, made, "{written:?}");
        let status = tool.run(&["status", "-o", "json"]).json();
        assert!(findings(&status, "interrupted-run").is_empty(), "{status}");
        only_in_dry_runs(&admin, group, resource, false);
        before = bed.audit_of_oncall().len();
    }

    // A quota speaks in the preview already.
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "no-jobs" },
        "spec": { "hard": { "count/jobs.batch": "0" } },
    });
    let path = format!("/api/v1/namespaces/{NAMESPACE}/resourcequotas");
    block_on(post(&admin, &path, &quota)).expect("a quota");
    block_on(eventually("the quota", async || {
        let quota = admin.get(&format!("{path}/no-jobs")).await;
        quota["status"]["hard"]["count/jobs.batch"] == "0"
    }));
    let file = tool.file("refused.json");
    tool.run(&["plan", "check-in-cluster", "-f", &file]).ended(5).says(&["no-jobs"]);
    tool.run(&tool.apply_args(&file, "2")).ended(5);
    assert_eq!(written_since(&bed, before), Vec::<String>::new());
    nothing_is_left(&admin);
}
