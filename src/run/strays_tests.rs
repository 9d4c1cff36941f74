//! The deletes of strays, a few at once over two clusters, and rollbacks: over API servers in memory, through the real gate
//! and a journal on disk.

use std::collections::BTreeSet;

use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::cluster::fake::{FakeServer, Fault};
use crate::diagnose::{Diagnosis, diagnose, testing};
use crate::journal::{Journal, Record, RunState, StepRecord};
use crate::model::{
    ImageChange, Kind, ObjectRef, ObjectVersion, Outcome, RunSummary, SeenPod, Timestamp, Write, images_before,
};
use crate::repair::undo::{self};
use crate::repair::{
    Approval, Confirmation, GateWas, Override, OverrideId, Plan, PlanBasis, RepairId, Step, StrayProof, Undo, Verify,
    approve,
};

const BUILD: &str = "prow-build";
const OLD: &str = "gcr.io/k8s-prow/x:v1";
const NEW: &str = "gcr.io/k8s-prow/x:v2";

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn operator() -> Operator {
    Operator { who: "oncall".to_owned(), mode: Mode::Typed }
}

/// Two clusters, a plan over them, a journal.
struct Scene {
    service: FakeServer,
    build: FakeServer,
    journal: Journal,
    plan: Plan,
    _dir: TempDir,
}

fn pod_path(n: usize) -> String {
    format!("/api/v1/namespaces/default/pods/p-{n}")
}

fn deployment_path(name: &str) -> String {
    format!("/apis/apps/v1/namespaces/default/deployments/{name}")
}

fn plan_of(repair: RepairId, clusters: Vec<ClusterIdentity>, writes: Vec<Write>, undo: Undo) -> Plan {
    let step = |(at, write): (usize, Write)| Step {
        n: at + 1,
        write,
        why: "it is astray".to_owned(),
        undo,
        effect: String::new(),
    };
    Plan {
        id: String::new(),
        repair,
        title: "a repair".to_owned(),
        clusters,
        basis: PlanBasis { taken_at: now(), proof: Some(proof()), ..PlanBasis::default() },
        steps: writes.into_iter().enumerate().map(step).collect(),
        refusals: Vec::new(),
        warnings: Vec::new(),
        confirmation: Confirmation::Yes,
        verify: Verify::Written,
        afterwards: Vec::new(),
        digest: String::new(),
    }
    .sealed()
}

/// What the gate says of them is not the matter here.
fn proof() -> StrayProof {
    let pod_namespace = "test-pods".to_owned();
    StrayProof { gate: GateWas::Overridden, pod_namespace, maker_ready_at: None, newest_stray: None }
}

fn picture() -> Diagnosis {
    let mut diagnosis = diagnose(&testing::snapshot());
    diagnosis.strays.pod_namespace = Some(proof().pod_namespace);
    diagnosis
}

fn is_finished(step: &StepRecord) -> bool {
    step.outcome.as_ref().is_some_and(|ended| matches!(ended.outcome, Outcome::Done | Outcome::Skipped))
}

impl Scene {
    fn empty() -> Scene {
        let (service, build) = (FakeServer::new(), FakeServer::new());
        build.world().uid = "cluster-2".to_owned();
        let dir = TempDir::new().unwrap();
        let journal = Journal::open(dir.path().join("state")).unwrap().with_clock(crate::clock::Clock::stopped(now()));
        let plan = plan_of(RepairId::Kick, Vec::new(), Vec::new(), Undo::None);
        Scene { service, build, journal, plan, _dir: dir }
    }

    /// So many strays, every third one in the service cluster.
    fn strays(count: usize) -> Scene {
        let mut scene = Scene::empty();
        let writes = (1..=count)
            .map(|n| {
                let cluster = if n % 3 == 0 { Alias::service() } else { Alias(BUILD.to_owned()) };
                let uid = format!("u-{n}");
                let version = scene.server(&cluster).put_job_pod(&pod_path(n), &uid, "Pending");
                let object = ObjectRef::new(&cluster, "default", Kind::Pod, &format!("p-{n}")).with_uid(&uid);
                let seen = SeenPod { resource_version: version, running: false };
                Write::DeletePod { object, uid, seen: Some(seen) }
            })
            .collect();
        scene.plan = plan_of(RepairId::DeleteStrays, scene.identities(), writes, Undo::None);
        scene
    }

    /// A rollback of these components.
    fn rollback(names: &[&str]) -> Scene {
        let mut scene = Scene::empty();
        let writes = names
            .iter()
            .map(|name| {
                let uid = format!("u-{name}");
                let version = scene.service.put_deployment(&deployment_path(name), &uid, NEW);
                let change = ImageChange { container: (*name).to_owned(), from: NEW.to_owned(), to: OLD.to_owned() };
                let images = vec![change];
                let at = ObjectVersion { uid, resource_version: version, content: images_before(&images) };
                let object = ObjectRef::new(&Alias::service(), "default", Kind::Deployment, name);
                Write::PatchImage { object, at, images }
            })
            .collect();
        scene.plan = plan_of(RepairId::Rollback, vec![scene.identities().remove(0)], writes, Undo::FromBackup);
        scene
    }

    fn server(&self, cluster: &Alias) -> &FakeServer {
        if *cluster == Alias::service() { &self.service } else { &self.build }
    }

    fn identities(&self) -> Vec<ClusterIdentity> {
        let build = ClusterIdentity { alias: Alias(BUILD.to_owned()), ..self.build.identity() };
        vec![self.service.identity(), build]
    }

    fn clusters(&self) -> Clusters {
        let build = Alias(BUILD.to_owned());
        let of_build = self.build.cluster().known_as(&build);
        Clusters::from([(Alias::service(), self.service.cluster()), (build, of_build)])
    }

    async fn run(&self) -> RunSummary {
        let preview = preview(&self.plan, &self.clusters(), now()).await.unwrap();
        self.run_as_seen(&preview).await
    }

    async fn run_as_seen(&self, preview: &crate::repair::Preview) -> RunSummary {
        let approved = approve(&self.plan, preview, Some(&picture()), &Approval::Typed("yes".to_owned())).unwrap();
        let (events, _told) = mpsc::unbounded_channel();
        let run = start(approved, self.clusters(), self.journal.clone(), operator(), StopToken::new(), events);
        tokio::spawn(run).await.unwrap()
    }

    async fn resume(&self) -> Result<RunSummary, Failure> {
        let (events, _told) = mpsc::unbounded_channel();
        resume(&self.journal, "r-0001", &self.clusters(), &operator(), StopToken::new(), events).await
    }

    /// Lets something happen to the n-th request to the build cluster from now.
    fn fault(&self, n: usize, fault: Fault) {
        let mut world = self.build.world();
        let at = world.seen.len() + n;
        world.faults.insert(at, fault);
    }

    fn pods(&self) -> usize {
        let count = |server: &FakeServer| server.world().objects.keys().filter(|path| path.contains("/pods/")).count();
        count(&self.service) + count(&self.build)
    }

    fn images(&self) -> Vec<String> {
        let world = self.service.world();
        world
            .objects
            .values()
            .map(|object| object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Each step has come to one end, whatever was tried before it; and what was sent was announced first.
    fn accounts_for_all(&self) {
        let run = self.journal.run("r-0001").unwrap();
        assert_eq!(run.state, RunState::Ended);
        let ends: BTreeSet<usize> = run.steps.iter().filter(|step| is_finished(step)).map(|step| step.n).collect();
        assert_eq!(ends.len(), self.plan.steps.len());
        assert_eq!(run.steps.len(), self.plan.steps.len(), "every pod once");
        let intents: BTreeSet<String> = run
            .entries
            .iter()
            .filter_map(|entry| match &entry.record {
                Record::Intent { audit_id, .. } => Some(audit_id.clone()),
                Record::Begin { .. }
                | Record::Outcome { .. }
                | Record::Found { .. }
                | Record::Stopped { .. }
                | Record::Verified { .. }
                | Record::Resumed { .. }
                | Record::Ended { .. } => None,
            })
            .collect();
        for server in [&self.service, &self.build] {
            for seen in server.world().seen.iter().filter(|seen| seen.applied) {
                assert!(intents.contains(seen.audit_id.as_ref().unwrap()), "sent without an intent: {seen:?}");
            }
        }
    }
}

#[tokio::test]
async fn strays_go_a_few_at_once_each_by_its_uid() {
    let scene = Scene::strays(40);
    let preview = preview(&scene.plan, &scene.clusters(), now()).await.unwrap();
    assert!(preview.all_accepted());
    assert_eq!(scene.pods(), 40, "the preview deleted nothing");
    scene.build.world().most_in_flight = 0;
    let summary = scene.run_as_seen(&preview).await;
    assert_eq!((summary.done, summary.exit_code(), scene.pods()), (40, 0, 0));
    let most = scene.build.world().most_in_flight;
    assert!((2..=8).contains(&most), "{most} in flight");
    scene.accounts_for_all();
    for server in [&scene.service, &scene.build] {
        for seen in server.writes() {
            assert!(
                seen.body["preconditions"]["uid"].is_string()
                    && seen.body["preconditions"]["resourceVersion"].is_string()
            );
            assert!(seen.body.get("gracePeriodSeconds").is_none(), "nothing is forced");
        }
    }
}

#[tokio::test]
async fn pods_that_moved_are_judged_again_and_others_left_alone() {
    let scene = Scene::strays(6);
    let preview = preview(&scene.plan, &scene.clusters(), now()).await.unwrap();
    // 1 is another pod by now, 2 went by itself, 4 runs, 5 only moved.
    scene.build.put_job_pod(&pod_path(1), "another", "Pending");
    scene.build.world().objects.remove(&pod_path(2));
    scene.build.put_job_pod(&pod_path(4), "u-4", "Running");
    let version = scene.build.put_job_pod(&pod_path(5), "u-5", "Pending");
    let summary = scene.run_as_seen(&preview).await;
    assert_eq!((summary.done, summary.skipped, summary.exit_code()), (4, 2, 0));
    let left: BTreeSet<String> = scene.build.world().objects.keys().cloned().collect();
    assert_eq!(left, BTreeSet::from([pod_path(1), pod_path(4)]));
    let sent = scene.build.writes().into_iter().rfind(|seen| seen.uri.ends_with("p-5")).unwrap();
    assert_eq!(sent.body["preconditions"]["resourceVersion"], version.as_str());
    scene.accounts_for_all();
    let run = scene.journal.run("r-0001").unwrap();
    let status = |n: usize| run.steps.iter().find(|step| step.n == n).unwrap().outcome.clone().unwrap().status;
    assert!(status(1).contains("another pod") && status(4).contains("it runs by now"), "{} {}", status(1), status(4));
    assert!(status(2).contains("already gone"));
}

#[tokio::test]
async fn whatever_a_plan_says_only_pods_that_prow_made_for_a_job_are_deleted() {
    let label = |scene: &Scene, n: usize, labels: serde_json::Value, kept: Option<&str>| {
        let mut world = scene.build.world();
        let pod = json!({"metadata": {"uid": format!("u-{n}"), "labels": labels}, "status": {"phase": "Pending"}});
        let version = world.store(&pod_path(n), "Pod", pod, "somebody");
        // As the plan saw it, or changed since.
        let version = kept.map_or(version, str::to_owned);
        world.objects.get_mut(&pod_path(n)).unwrap()["metadata"]["resourceVersion"] = json!(version);
    };
    let mut scene = Scene::strays(8);
    let seen = |scene: &Scene, n: usize| match &scene.plan.steps[n - 1].write {
        Write::DeletePod { seen: Some(seen), .. } => seen.resource_version.clone(),
        other => panic!("{other:?}"),
    };
    label(&scene, 1, json!({}), Some(&seen(&scene, 1)));
    label(&scene, 2, json!({"created-by-prow": "true", "prow.k8s.io/id": "p-1"}), Some(&seen(&scene, 2)));
    label(&scene, 4, json!({"created-by-prow": "true"}), None);
    if let Write::DeletePod { seen, .. } = &mut scene.plan.steps[4].write {
        *seen = None;
    }
    scene.plan = scene.plan.clone().sealed();
    let preview = preview(&scene.plan, &scene.clusters(), now()).await.unwrap();
    let refused: Vec<usize> = preview
        .steps
        .iter()
        .filter(|step| matches!(step.answer, crate::repair::Answer::Refused { .. }))
        .map(|step| step.n)
        .collect();
    assert_eq!(refused, [1, 2, 5], "a component, a helper, a delete that nothing but the uid guards");
    assert_eq!(preview.steps[3].answer, crate::repair::Answer::Gone, "it lost its label since");
}

#[tokio::test]
async fn what_a_person_set_aside_stands_in_the_journal_with_the_reason() {
    let mut scene = Scene::strays(2);
    scene.plan.basis.overrides =
        vec![Override { id: OverrideId::Gate, reason: "plank is off, and nobody answers".to_owned() }];
    scene.plan = scene.plan.clone().sealed();
    scene.run().await;
    let run = scene.journal.run("r-0001").unwrap();
    assert_eq!(run.begin.as_ref().unwrap().overrides, scene.plan.basis.overrides);
}

#[tokio::test]
async fn a_stray_that_keeps_changing_is_judged_once_more_and_then_left() {
    let scene = Scene::strays(1);
    let preview = preview(&scene.plan, &scene.clusters(), now()).await.unwrap();
    // Identity, read, DELETE, read, DELETE.
    scene.fault(2, Fault::Status(409));
    scene.fault(4, Fault::Status(409));
    let summary = scene.run_as_seen(&preview).await;
    assert_eq!((summary.failed, scene.pods()), (1, 1));
}

#[tokio::test]
async fn failures_in_a_row_end_it_and_nothing_in_flight_is_forgotten() {
    let scene = Scene::strays(60);
    let preview = preview(&scene.plan, &scene.clusters(), now()).await.unwrap();
    for n in 1..400 {
        scene.fault(n, Fault::Status(403));
    }
    let summary = scene.run_as_seen(&preview).await;
    assert!(summary.failed >= 3 && summary.left > 0, "{summary:?}");
    let run = scene.journal.run("r-0001").unwrap();
    assert!(run.steps.iter().all(|step| step.outcome.is_some()), "what was in flight has its outcome");
    assert!(run.stopped.is_some_and(|why| why.contains("3 steps in a row")));
    scene.build.world().faults.clear();
    assert_eq!(scene.resume().await.unwrap().exit_code(), 0);
    assert_eq!(scene.pods(), 0);
    scene.accounts_for_all();
}

#[tokio::test]
async fn a_cluster_that_goes_silent_stops_the_run_which_resumes_later() {
    let scene = Scene::strays(30);
    let preview = preview(&scene.plan, &scene.clusters(), now()).await.unwrap();
    for n in 9..1000 {
        scene.fault(n, Fault::DropBefore);
    }
    let summary = scene.run_as_seen(&preview).await;
    assert!(summary.left > 0 && summary.done > 0 && summary.exit_code() == 4, "{summary:?}");
    assert_eq!(scene.resume().await.unwrap_err().kind, FailureKind::Unreachable, "not yet");
    scene.build.world().faults.clear();
    assert_eq!(scene.resume().await.unwrap().exit_code(), 0);
    assert_eq!(scene.pods(), 0);
    scene.accounts_for_all();
}

#[tokio::test]
async fn a_crash_at_any_request_is_resumed_and_every_pod_is_accounted_for_once() {
    for fault in [Fault::HangBefore, Fault::HangAfter] {
        for n in 0.. {
            let scene = Scene::strays(12);
            let preview = preview(&scene.plan, &scene.clusters(), now()).await.unwrap();
            let approved =
                approve(&scene.plan, &preview, Some(&picture()), &Approval::Typed("yes".to_owned())).unwrap();
            scene.fault(n, fault);
            let (events, _told) = mpsc::unbounded_channel();
            let run = start(approved, scene.clusters(), scene.journal.clone(), operator(), StopToken::new(), events);
            let crashed = tokio::select! {
                _ = run => false,
                () = scene.build.hung.notified() => true,
            };
            if !crashed {
                assert_eq!(n, 17, "the identity, and a read and a write for each of the build cluster's 8");
                break;
            }
            if n == 0 {
                assert!(scene.journal.runs().unwrap().is_empty(), "nothing had begun");
                continue;
            }
            assert!(matches!(scene.journal.run("r-0001").unwrap().state, RunState::Interrupted { .. }));
            let summary = scene.resume().await.unwrap();
            assert_eq!((summary.exit_code(), scene.pods()), (0, 0), "request {n}");
            scene.accounts_for_all();
        }
    }
}

#[tokio::test]
async fn another_build_cluster_is_refused_before_the_first_delete() {
    let scene = Scene::strays(6);
    let preview = preview(&scene.plan, &scene.clusters(), now()).await.unwrap();
    scene.build.world().uid = "cluster-3".to_owned();
    let summary = scene.run_as_seen(&preview).await;
    assert_eq!((summary.left, summary.exit_code(), scene.pods()), (6, 3, 6));
}

#[tokio::test]
async fn a_rollback_that_fails_at_any_component_is_resumed_or_undone() {
    let names = ["crier", "deck", "hook", "tide"];
    for failing in 0..names.len() {
        for undoing in [false, true] {
            let scene = Scene::rollback(&names);
            let preview = preview(&scene.plan, &scene.clusters(), now()).await.unwrap();
            assert!(scene.images().iter().all(|image| image == NEW), "the preview sets nothing");
            // Identity, then a read and a PATCH a component.
            let at = scene.service.world().seen.len() + 2 + 2 * failing;
            scene.service.world().faults.insert(at, Fault::Status(403));
            let summary = scene.run_as_seen(&preview).await;
            assert_eq!((summary.done, summary.failed, summary.left), (failing, 1, names.len() - failing - 1));
            let run = scene.journal.run("r-0001").unwrap();
            let why = run.stopped.clone().unwrap();
            assert!(why.contains(names[failing]) && why.contains("undo") && why.contains("resume"), "{why}");
            if !undoing {
                assert_eq!(scene.resume().await.unwrap().exit_code(), 0);
                assert!(scene.images().iter().all(|image| image == OLD));
                continue;
            }
            let source = scene.journal.undo_source(&run).unwrap();
            let live = read_for_undo(&source, &scene.plan.clusters, &scene.clusters()).await.unwrap();
            let Ok(mut back) = undo::plan(&source, &live, &scene.plan.clusters, now()) else {
                assert_eq!(failing, 0, "nothing was done");
                continue;
            };
            back.confirmation = Confirmation::Yes;
            let undoing = Scene { plan: back.sealed(), ..scene };
            assert_eq!(undoing.run().await.exit_code(), 0);
            assert!(undoing.images().iter().all(|image| image == NEW));
        }
    }
}

#[tokio::test]
async fn an_image_that_somebody_else_set_is_not_overwritten() {
    let scene = Scene::rollback(&["crier", "deck"]);
    let preview = preview(&scene.plan, &scene.clusters(), now()).await.unwrap();
    // Its status moved: that is nobody at work.
    scene.service.put_deployment(&deployment_path("crier"), "u-crier", NEW);
    scene.service.put_deployment(&deployment_path("deck"), "u-deck", "gcr.io/k8s-prow/x:v3");
    let summary = scene.run_as_seen(&preview).await;
    assert_eq!((summary.done, summary.failed), (1, 1));
    assert_eq!(scene.images(), [OLD, "gcr.io/k8s-prow/x:v3"]);
    assert_eq!(summary.first_failure.unwrap().kind, FailureKind::Conflict);
    let outcomes: Vec<Outcome> =
        scene.journal.run("r-0001").unwrap().steps.iter().map(|step| step.outcome.clone().unwrap().outcome).collect();
    assert_eq!(outcomes, [Outcome::Done, Outcome::Failed]);
}
