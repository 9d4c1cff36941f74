//! The second incident on real servers with the real prow-controller-manager: told, refused while it is too early, rolled
//! back, cleaned.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::preview::{Versions, assert_same, previewed_writes};
use crate::strays_support::{
    ALIASES, DEFAULT, NAMESPACE, TEST_PODS, TRUSTED, Truth, accounts_for_all, at_tag, deletes, everybody, marks,
    no_job_is_worse_off, number, only_these_went, plan, planned, pods, prowjobs, roll_back, strays, text_of,
    told_strays, until, written,
};
use crate::support::{Admin, Ran, Tool, block_on, findings};

#[test]
fn all_strays_are_told_rolled_back_and_deleted_and_nothing_else() {
    // A number of one's own while working on the test: the incident had 415.
    let jobs = std::env::var("BED_STRAYS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(415);
    let Some(bed) = Bed::start_with_strays(jobs, 3600) else { return };
    let tool = Tool::on(&bed);
    let truth = Truth::of(&bed);
    assert_eq!(truth.strays.len(), jobs);
    is_told(&bed, &tool, &truth);
    is_too_early(&bed, &tool);

    // The rollback: each component is one guarded patch of its image, and the pods of all jobs come where they belong.
    let (before, jobs_before, fallen) = (marks(&bed), prowjobs(&bed), everybody(&bed));
    roll_back(&bed, &tool);
    truth.spares_neighbours(&text_of(&tool.file("rollback.json")));
    let patches = written(&bed, TRUSTED, before[TRUSTED]);
    assert_eq!((patches.len(), at_tag(&bed, TRUSTED, bed.fact("oldTag"))), (9, 9), "{patches:?}");
    for patch in &patches {
        let body = patch.request.as_ref().expect("the body of a patch");
        assert_eq!((patch.verb.as_str(), patch.resource.as_str()), ("patch", "deployments"));
        assert!(body["metadata"]["resourceVersion"].is_string() && body["metadata"]["uid"].is_string(), "{body}");
        assert_eq!(body["spec"]["template"]["spec"].as_object().map(|spec| spec.len()), Some(1), "only images: {body}");
    }
    assert!(written(&bed, DEFAULT, before[DEFAULT]).is_empty());
    let unfinished = |alias: &str| -> BTreeSet<String> {
        let of_it = jobs_before.iter().filter(|(_, job)| !job.finished && job.cluster == alias);
        of_it.map(|(name, _)| name.clone()).collect()
    };
    for alias in ALIASES {
        let wanted = unfinished(alias);
        assert!(wanted.len() >= truth.count_in(alias));
        until("the pods of all jobs where they belong", || {
            let there: BTreeSet<String> = pods(&bed, alias, TEST_PODS).into_values().collect();
            wanted.is_subset(&there)
        });
    }
    no_job_is_worse_off(&jobs_before, &prowjobs(&bed));
    let told = strays(&tool);
    assert_eq!(told_strays(&told), truth.uids(), "the rollback leaves the strays");

    // The deletion: the exact list, each by its uid, and nothing else.
    let (before, jobs_before, crowd) = (marks(&bed), prowjobs(&bed), everybody(&bed));
    let (file, made) = plan(&tool, "delete.json", &["delete-strays", "--include-running"]);
    made.ended(0).says(&["saved in"]);
    assert_eq!(planned(&file), truth.uids());
    truth.spares_neighbours(&text_of(&file));
    assert_eq!(deletes(&bed, &before), BTreeMap::new(), "a preview writes nothing");
    let count = truth.strays.len();
    tool.apply(&file, &count.to_string()).ended(0).says(&["verified: the strays are gone"]);

    let answers = deletes(&bed, &before);
    assert_eq!(answers.keys().cloned().collect::<BTreeSet<_>>(), truth.uids());
    assert!(answers.values().all(|codes| *codes == [200]), "each was asked for once: {answers:?}");
    let after = everybody(&bed);
    only_these_went(&crowd, &after, &truth.uids());
    // Whoever was there before the rollback and is no stray is where he was, but for the components that it replaced.
    let in_test_pods = fallen.iter().filter(|(_, pod)| pod.contains(TEST_PODS));
    assert!(in_test_pods.clone().count() > 0);
    let lost: Vec<_> = in_test_pods.filter(|(uid, _)| !after.contains_key(*uid)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    no_job_is_worse_off(&jobs_before, &prowjobs(&bed));
    assert_eq!(number(&strays(&tool), "/total"), 0);
    assert_eq!(list_strays(&bed, &truth), 0);
    let clean = tool.run(&["status", "-o", "json"]).json();
    // The jobs that deploy and bump Prow go on again, and would undo the rollback: what is left is to stop them.
    assert_eq!(clean["verdict"]["state"], "degraded", "{clean}");
    let next = clean["verdict"]["next"].as_str().unwrap_or_default();
    assert!(next.starts_with("stop ") && next.contains("patch prowjob"), "{clean}");
    // The journal accounts for every pod once, and both runs sent what their previews had sent.
    accounts_for_all(&tool, "r-0002", &truth.uids());
    assert!(
        tool.run_document("r-0002")["steps"].as_array().is_some_and(|all| all.iter().all(|s| s["outcome"] == "done"))
    );
    let sent: usize = ALIASES.iter().map(|alias| previewed_writes(&bed.audit_of_oncall_in(alias), 2)).sum();
    assert_eq!(sent, count + 9);
}

/// How many pods of the strays' names are where the strays were.
fn list_strays(bed: &Bed, truth: &Truth) -> usize {
    let names: BTreeSet<&str> = truth.strays.values().map(|(_, name)| name.as_str()).collect();
    let there = ALIASES.iter().flat_map(|alias| pods(bed, alias, NAMESPACE).into_values());
    there.filter(|name| names.contains(name.as_str())).count()
}

/// Counted exactly, and why, and since when; what is not ours is listed apart.
fn is_told(bed: &Bed, tool: &Tool, truth: &Truth) {
    let count = truth.strays.len();
    let status = tool.status(1);
    assert_eq!(number(&status, "/strays/total"), count, "{status}");
    assert_eq!(status["strays"]["complete"], true, "{status}");
    let groups: BTreeMap<(&str, &str, &str), usize> = status["strays"]["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .map(|group| {
            let text = |name: &str| group[name].as_str().unwrap_or_default();
            ((text("cluster"), text("context"), text("namespace")), number(group, "/count"))
        })
        .collect();
    let wanted = ALIASES.map(|alias| ((alias, bed.fact_of(alias, "context"), NAMESPACE), truth.count_in(alias)));
    assert_eq!(groups, wanted.into());
    let told = strays(tool);
    assert_eq!(told_strays(&told), truth.uids(), "each of them, and no other");

    // Why they cannot start: the secret by name, with the pods that wait for it.
    let stuck = findings(&status, "strays-cannot-start");
    assert_eq!(stuck.len(), truth.secrets.len(), "{stuck:?}");
    assert!(truth.secrets.contains_key("service-account"), "{:?}", truth.secrets);
    for (secret, pods) in &truth.secrets {
        let said = format!("{pods} of them cannot start: FailedMount: secret \"{secret}\" not found");
        let finding = stuck.iter().find(|one| one["summary"].as_str().is_some_and(|words| words.starts_with(&said)));
        let finding = finding.unwrap_or_else(|| panic!("no {said:?} in {stuck:?}"));
        let evidence = finding["evidence"].to_string();
        assert!(evidence.contains(&format!("secret \\\"{secret}\\\" not found")), "quoted: {evidence}");
        assert!(evidence.contains(&format!("{TEST_PODS} mount a secret {secret}")), "it exists there: {evidence}");
    }

    // Since when, what began, what next.
    assert_eq!(status["verdict"]["state"], "broken");
    let since: jiff::Timestamp = status["verdict"]["since"].as_str().and_then(|at| at.parse().ok()).expect("since");
    assert_eq!(since.as_second(), truth.first, "when the first stray was made");
    assert!(status["verdict"]["next"].as_str().is_some_and(|next| next.starts_with("plan rollback")), "{status}");
    let text = tool.run(&["status"]).ended(1).out;
    let after = match (truth.first - truth.bumped + 30) / 60 {
        0 => "just after",
        1 => "a minute after",
        2 => "two minutes after",
        minutes => panic!("{minutes} minutes from the bump to the first stray"),
    };
    let place = |alias: &str| format!("{}/{NAMESPACE} {}", bed.fact_of(alias, "context"), truth.count_in(alias));
    for said in [
        format!("BROKEN since {}Z", &since.to_string()[11..16]),
        format!("{count} pods of jobs outside {TEST_PODS}: {}, {}", place(DEFAULT), place(TRUSTED)),
        format!("Began {after} the rollout to {} (9 components)", bed.fact("newTag")),
        "NEXT  plan rollback".to_owned(),
    ] {
        assert!(text.contains(&said), "no {said:?} in {text}");
    }

    // The job that would deploy the revert is among them.
    let deploy = findings(&status, "deploy-job-stuck");
    assert_eq!(deploy.len(), 1, "{status}");
    assert_eq!(deploy[0]["subjects"][0]["name"], bed.fact("deployJob"));
    assert!(deploy[0]["summary"].as_str().is_some_and(|words| words.contains("do not wait for the merge")));

    // What only looks like strays is listed apart, by name.
    let words = tool.run(&["strays"]).ended(1);
    assert!(
        words.out.starts_with(&format!("TOTAL  {count} strays; pods of jobs belong in {TEST_PODS}\n")),
        "{}",
        words.out
    );
    let apart = |list: &Value, so: fn(&Value) -> bool| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let found = list.as_array().expect("a list").iter().filter(|pod| so(pod));
        found.map(|pod| (text(&pod["namespace"]), text(&pod["name"]))).collect()
    };
    let mut listed = apart(&told["pods"], |pod| pod["place"] != "stray" && pod["place"] != "expected");
    listed.extend(apart(&told["bystanders"], |_| true));
    assert_eq!(listed.len(), truth.neighbours.len(), "each once: {listed:?}");
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), truth.neighbours.keys().cloned().collect());
    let (_, beside) = words.out.split_once("\nFOREIGN, in no plan").expect("foreign pods apart");
    for (namespace, name) in truth.neighbours.keys() {
        assert!(beside.contains(&format!("{namespace}/{name} ")), "{name} in {}", words.out);
    }
}

/// While the cause is at work, nothing is planned: exit 3, why, and what to do first.
fn is_too_early(bed: &Bed, tool: &Tool) {
    let before = marks(bed);
    let (file, refused) = plan(tool, "too-early.json", &["delete-strays", "--include-running"]);
    let maker = format!("prow-controller-manager {} became ready", bed.fact("newTag"));
    refused.ended(3).says(&[
        "the cause is not gone",
        "the newest stray was made",
        &maker,
        "prow-breakglass plan rollback",
    ]);
    assert!(!std::path::Path::new(&file).exists(), "there is no plan");
    assert!(ALIASES.iter().all(|alias| written(bed, alias, before[alias]).is_empty()));
}

#[test]
fn who_deletes_too_early_gets_what_the_plan_predicted() {
    let Some(mut bed) = Bed::start_with_strays(40, 3600) else { return };
    let tool = Tool::on(&bed);
    previews_write_nothing(&mut bed, &tool);

    // prow-controller-manager sees them go, and ends their jobs.
    let fallen = drill(&bed, &tool, TRUSTED, "r-0001", |_| {});
    assert!(!fallen.ended.is_empty(), "{fallen:?}");
    // It is away while they go, and misses them when it is back.
    let killed = bed.command("kill-containers prow-controller-manager");
    assert_eq!(killed["killed"], 1, "{killed}");
    let fallen = drill(&bed, &tool, DEFAULT, "r-0002", hand_over);
    assert!(!fallen.again.is_empty(), "{fallen:?}");

    // Whatever it cost, the right order still works.
    roll_back(&bed, &tool);
    let (before, jobs) = (everybody(&bed), prowjobs(&bed));
    let (file, made) = plan(&tool, "late.json", &["delete-strays", "--include-running"]);
    made.ended(0);
    let doomed = planned(&file);
    tool.apply(&file, &doomed.len().to_string()).ended(0).says(&["verified: the strays are gone"]);
    only_these_went(&before, &everybody(&bed), &doomed);
    no_job_is_worse_off(&jobs, &prowjobs(&bed));
}

/// Too early, and in one cluster alone.
fn early(alias: &str) -> [&str; 8] {
    ["delete-strays", "--include-running", "--cluster", alias, "--override", "gate", "--reason", "a drill"]
}

/// What became of the ProwJobs whose strays were deleted too early.
#[derive(Debug)]
struct Fallen {
    /// They have another pod under the same name, in the same wrong place.
    again: BTreeSet<String>,
    /// They ended in error.
    ended: BTreeSet<String>,
}

/// Deletes the strays of one cluster too early; what the plan predicted happens to each, and the tool tells it in the figures
/// of the API server. `once_gone` is called when the old pods are gone.
fn drill(bed: &Bed, tool: &Tool, alias: &str, run: &str, once_gone: fn(&Bed)) -> Fallen {
    let (file, made) = plan(tool, &format!("early-{alias}.json"), &early(alias));
    let (made, doomed) = (made.ended(0), planned(&file));
    let count = doomed.len();
    assert_eq!(count, bed.number(&format!("/strays/{alias}")));
    let maker = format!("prow-controller-manager {}", bed.fact("newTag"));
    for said in [
        "override gate (".to_owned(),
        format!("PREDICTION: {count} are on a node"),
        format!("{maker} ends their ProwJobs as error (\"Pod got deleted unexpectedly\")"),
        "it makes new ones, in the same wrong place".to_owned(),
    ] {
        assert!(made.out.contains(&said), "no {said:?} in {}", made.out);
    }
    let (before, jobs_before) = (marks(bed), prowjobs(bed));
    let there = pods(bed, alias, NAMESPACE);
    let names: BTreeSet<&str> =
        there.iter().filter(|(uid, _)| doomed.contains(*uid)).map(|(_, name)| name.as_str()).collect();
    let number_of = count.to_string();
    let mut args = tool.apply_args(&file, &number_of);
    args.extend(["--wait", "30s"]);
    let child = tool.command(&args).spawn().expect("start the program");
    until("the end of the strays", || pods(bed, alias, NAMESPACE).keys().all(|uid| !doomed.contains(uid)));
    once_gone(bed);
    let ran = Ran::of(&args, child.wait_with_output().expect("wait for the program")).ended(4);
    let answers = deletes(bed, &before);
    assert_eq!(answers.keys().cloned().collect::<BTreeSet<_>>(), doomed);

    // What became of each, from the API servers.
    let (there, jobs) = (pods(bed, alias, NAMESPACE), prowjobs(bed));
    let again: BTreeMap<&str, &str> = there
        .iter()
        .filter(|(uid, name)| names.contains(name.as_str()) && !doomed.contains(*uid))
        .map(|(uid, name)| (name.as_str(), uid.as_str()))
        .collect();
    let is_ended = |name: &&&str| jobs[**name].state == "error" && jobs_before[**name].state != "error";
    let ended: BTreeSet<&str> = names.iter().filter(is_ended).copied().collect();
    for name in &ended {
        assert!(jobs[*name].description.contains("Pod got deleted unexpectedly"), "{name}: {:?}", jobs[*name]);
    }
    for name in &names {
        assert!(again.contains_key(name) != ended.contains(name), "{name} was predicted to come again or to end");
    }
    // And the tool says so: in words, in JSON, in the journal, and in what it calls a stray now.
    let figures = [
        (again.len(), "stray(s) were made again since: the cause is at work"),
        (ended.len(), "ProwJob(s) of these pods ended in error meanwhile"),
    ];
    let detail = ran.lines().last().expect("lines")["detail"].as_str().unwrap_or_default().to_owned();
    let journalled = tool.run(&["run", "show", run]).ended(0).out;
    for text in [&ran.err, &detail, &journalled] {
        for (figure, words) in figures {
            let said = format!("{figure} {words}");
            assert_eq!(text.contains(&said), figure > 0, "{said:?} in {text}");
            assert_eq!(text.contains(words), figure > 0, "{words:?} in {text}");
        }
    }
    let told = strays(tool);
    let told = told["pods"].as_array().expect("pods").iter();
    let told = told.filter(|pod| pod["place"] == "stray" && pod["cluster"] == alias).map(|pod| pod["uid"].as_str());
    assert_eq!(told.flatten().collect::<BTreeSet<_>>(), again.values().copied().collect());
    // The override lies in the journal, with its reason.
    let folder = std::path::PathBuf::from(tool.file("journal")).join("runs").join(run);
    let files = std::fs::read_dir(folder).expect("the run's folder");
    let journal: String =
        files.filter_map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).ok()).collect();
    assert!(journal.contains("override gate") && journal.contains("reason: a drill"));
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    Fallen { again: owned(again.into_keys().collect()), ended: owned(ended.into_iter().collect()) }
}

/// Ends the lease of the prow-controller-manager that is gone, so that the next one need not wait for its end.
fn hand_over(bed: &Bed) {
    let lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases/prow-controller-manager-leader-lock";
    let patch = json!({ "spec": { "holderIdentity": "" } });
    block_on(Admin::in_cluster(bed, TRUSTED).patch(lease, &patch));
}

/// Everything that can be looked at and previewed in this incident leaves both clusters as they were.
fn previews_write_nothing(bed: &mut Bed, tool: &Tool) {
    bed.pause_controllers();
    let versions =
        |bed: &Bed| -> Vec<Versions> { ALIASES.iter().map(|alias| Admin::in_cluster(bed, alias).versions()).collect() };
    // prow-controller-manager is not stopped, and notes what it has seen of the last pods.
    until("both clusters to be at rest", || versions(bed) == versions(bed));
    let untouched = versions(bed);
    assert!(untouched.iter().all(|all| all.len() > 60), "{:?} objects", untouched.iter().map(Versions::len));
    for looked in [&["status"][..], &["status", "-o", "json"], &["strays"], &["strays", "-o", "json"]] {
        tool.run(looked).ended(1);
    }
    tool.run(&["history"]).ended(0);
    tool.run(&["automation"]);
    tool.run(&["plan", "delete-strays"]).ended(3);
    for (name, args) in [("roll", &["rollback"][..]), ("drill", &early(TRUSTED)[..])] {
        tool.run(&[&["plan"], args].concat()).ended(0);
        let (file, made) = plan(tool, name, args);
        made.ended(0);
        tool.run(&["apply", &file]).ended(0).says(&["previewed only"]);
        // Refused before anything is sent: another count.
        tool.apply(&file, "7").ended(3);
    }
    for (alias, (before, after)) in ALIASES.iter().zip(untouched.iter().zip(&versions(bed))) {
        assert_same(before, after, &[]);
        let entries = bed.audit_of_oncall_in(alias);
        assert!(entries.iter().all(|entry| !entry.writes()), "{alias}");
        assert!(*alias == DEFAULT || entries.iter().any(|entry| entry.verb == "delete"), "it did ask under dry run");
    }
    bed.resume_controllers();
}
