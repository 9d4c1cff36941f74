//! Preview, run, resume and undo over an API server in memory, through the real gate and a journal on disk. Quick to run
//! and good for every crash point; no evidence of what an API server does: that is in `tests/cluster`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::cluster::fake::{FakeServer, Fault, Seen};
use crate::journal::{Journal, Record, RunState};
use crate::model::{
    ConfigMapBody, Kind, ObjectRef, ObjectVersion, Outcome, RunEvent, RunSummary, Timestamp, Values, Write,
    config_map_ref, content_digest,
};
use crate::repair::{
    Answer, Approval, ApprovedPlan, Confirmation, Plan, PlanBasis, RepairId, Step, Undo, Verify, approve, undo,
};

mod lost;

const MAP: &str = "/api/v1/namespaces/prow/configmaps/job-config";

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn values(pairs: &[(&str, &str)]) -> Values {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
}

fn pod_path(n: usize) -> String {
    format!("/api/v1/namespaces/prow/pods/hook-{n}")
}

/// A broken Prow: one ConfigMap and pods that crash-loop; and a plan that writes the one and deletes the others.
struct Scene {
    server: FakeServer,
    journal: Journal,
    plan: Plan,
    _dir: TempDir,
}

impl Scene {
    fn new(pods: usize) -> Scene {
        let server = FakeServer::new();
        let version = server.put_config_map(MAP, "u-map", json!({"a.yaml": "bad"}), json!({}), "config-updater");
        let object = config_map_ref(&Alias::service(), &Key::new("prow", "job-config"));
        let at = ObjectVersion {
            uid: "u-map".to_owned(),
            resource_version: version,
            content: content_digest(&values(&[("a.yaml", "bad")])),
        };
        let body = ConfigMapBody {
            values: values(&[("a.yaml", "good")]),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            owner: None,
        };
        let mut writes = vec![Write::PutConfigMap { object, at, body }];
        for n in 1..=pods {
            let uid = format!("u-{n}");
            server.put_pod(&pod_path(n), &uid, false);
            let object = ObjectRef::new(&Alias::service(), "prow", Kind::Pod, &format!("hook-{n}"));
            writes.push(Write::DeletePod { object, uid, seen: None });
        }
        let plan = plan_of(RepairId::SyncConfig, &server, writes);
        let dir = TempDir::new().unwrap();
        let journal = Journal::open(dir.path().join("state")).unwrap().with_clock(crate::clock::Clock::stopped(now()));
        Scene { server, journal, plan, _dir: dir }
    }

    fn clusters(&self) -> Clusters {
        Clusters::from([(Alias::service(), self.server.cluster())])
    }

    async fn answers(&self) -> Vec<Answer> {
        preview(&self.plan, &self.clusters(), now()).await.unwrap().steps.into_iter().map(|step| step.answer).collect()
    }

    async fn approved(&self) -> ApprovedPlan {
        let preview = preview(&self.plan, &self.clusters(), now()).await.unwrap();
        approve(&self.plan, &preview, None, &Approval::Typed("yes".to_owned())).unwrap()
    }

    async fn run(&self, approved: ApprovedPlan) -> (RunSummary, Vec<RunEvent>) {
        let (events, told) = mpsc::unbounded_channel();
        let run = start(approved, self.clusters(), self.journal.clone(), operator(), StopToken::new(), events);
        // As the front ends do: in a task of its own.
        let summary = tokio::spawn(run).await.unwrap();
        (summary, drain(told))
    }

    async fn resume(&self) -> Result<RunSummary, Failure> {
        let (events, _told) = mpsc::unbounded_channel();
        resume(&self.journal, "r-0001", &self.clusters(), &operator(), StopToken::new(), events).await
    }

    /// Lets something happen to the n-th request from now.
    fn fault(&self, n: usize, fault: Fault) {
        let mut world = self.server.world();
        let at = world.seen.len() + n;
        world.faults.insert(at, fault);
    }

    fn content(&self) -> Value {
        self.server.world().objects[MAP]["data"].clone()
    }

    fn pods(&self) -> usize {
        self.server.world().objects.keys().filter(|path| path.contains("/pods/")).count()
    }

    fn state(&self) -> RunState {
        self.journal.run("r-0001").unwrap().state
    }
}

fn plan_of(repair: RepairId, server: &FakeServer, writes: Vec<Write>) -> Plan {
    let step = |(at, write): (usize, Write)| Step {
        n: at + 1,
        write,
        why: "it is broken".to_owned(),
        undo: Undo::FromBackup,
        effect: "changed".to_owned(),
    };
    Plan {
        id: String::new(),
        repair,
        title: "mend it".to_owned(),
        clusters: vec![server.identity()],
        basis: PlanBasis { taken_at: now(), ..PlanBasis::default() },
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

fn operator() -> Operator {
    Operator { who: "oncall".to_owned(), mode: Mode::Flags }
}

fn drain(mut told: mpsc::UnboundedReceiver<RunEvent>) -> Vec<RunEvent> {
    std::iter::from_fn(|| told.try_recv().ok()).collect()
}

fn outcomes(events: &[RunEvent]) -> Vec<(usize, Outcome, String)> {
    events
        .iter()
        .filter_map(|event| match event {
            RunEvent::StepEnded { n, outcome, status, .. } => Some((*n, *outcome, status.clone())),
            RunEvent::Started { .. }
            | RunEvent::StepStarted { .. }
            | RunEvent::Stopped { .. }
            | RunEvent::Ended { .. } => None,
        })
        .collect()
}

/// A request without what a dry run adds and without its Audit-ID.
fn bare(seen: &Seen) -> (String, String, Value) {
    let mut body = seen.body.clone();
    if let Some(fields) = body.as_object_mut() {
        fields.remove("dryRun");
    }
    (seen.method.to_string(), seen.uri.replace("&dryRun=All", ""), body)
}

#[tokio::test]
async fn what_is_previewed_changes_nothing_and_is_what_is_sent() {
    let scene = Scene::new(2);
    let before = scene.server.world().objects.clone();
    assert_eq!(scene.answers().await, [Answer::Accepted, Answer::Accepted, Answer::Accepted]);
    assert_eq!(scene.server.world().objects, before);
    assert_eq!(scene.server.applied(), 0);
    let mut previewed: Vec<_> = scene.server.writes().iter().map(bare).collect();
    previewed.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)).reverse());

    let approved = scene.approved().await;
    let count = scene.server.writes().len();
    let (summary, events) = scene.run(approved).await;
    assert_eq!((summary.done, summary.exit_code()), (3, 0));
    assert_eq!((scene.content(), scene.pods()), (json!({"a.yaml": "good"}), 0));
    let mut sent: Vec<_> = scene.server.writes()[count..].iter().map(bare).collect();
    sent.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)).reverse());
    assert_eq!(sent, previewed);

    assert!(matches!(&events[0], RunEvent::Started { run, steps: 3, .. } if run == "r-0001"));
    assert!(matches!(events.last(), Some(RunEvent::Ended { summary: told, .. }) if *told == summary));
    assert_eq!(scene.state(), RunState::Ended);
}

#[tokio::test]
async fn the_journal_joins_with_the_audit_log() {
    let scene = Scene::new(1);
    let approved = scene.approved().await;
    scene.run(approved).await;
    let run = scene.journal.run("r-0001").unwrap();
    let journalled: Vec<_> = run.steps.iter().map(|step| step.intent.clone().unwrap().audit_id).collect();
    let applied: Vec<_> = scene
        .server
        .world()
        .seen
        .iter()
        .filter(|seen| seen.applied)
        .map(|seen| seen.audit_id.clone().unwrap())
        .collect();
    assert_eq!(journalled, applied);
}

#[tokio::test]
async fn another_writer_between_preview_and_run_is_named_and_not_overwritten() {
    let scene = Scene::new(1);
    let approved = scene.approved().await;
    scene.server.put_config_map(MAP, "u-map", json!({"a.yaml": "theirs"}), json!({}), "kubectl-edit");
    let (summary, events) = scene.run(approved).await;
    assert_eq!((summary.failed, summary.left, summary.exit_code()), (1, 1, 3));
    assert_eq!((scene.content(), scene.pods()), (json!({"a.yaml": "theirs"}), 1));
    assert!(outcomes(&events)[0].2.contains("kubectl-edit at 2019-01-23T16:12:00Z"), "{events:?}");
    assert_eq!(scene.server.applied(), 0);
    assert!(matches!(&scene.answers().await[0], Answer::Moved { detail } if detail.contains("kubectl-edit")));
}

#[tokio::test]
async fn a_version_that_moved_without_the_content_is_judged_anew() {
    let scene = Scene::new(0);
    let version = scene.server.put_config_map(MAP, "u-map", json!({"a.yaml": "bad"}), json!({}), "kubectl");
    assert_eq!(scene.answers().await, [Answer::Accepted]);
    let approved = scene.approved().await;
    assert_eq!(scene.run(approved).await.0.done, 1);
    let put = scene.server.writes().pop().unwrap();
    assert_eq!(put.body["metadata"]["resourceVersion"], json!(version));
}

#[tokio::test]
async fn annotations_of_somebody_else_are_not_lost() {
    let scene = Scene::new(0);
    scene.server.put_config_map(MAP, "u-map", json!({"a.yaml": "bad"}), json!({"hold": "me"}), "kubectl");
    assert!(matches!(&scene.answers().await[0], Answer::Moved { detail } if detail.contains("annotations")));
}

#[tokio::test]
async fn a_config_map_with_an_owner_is_left_to_its_owner() {
    let scene = Scene::new(0);
    let owner = json!([{"apiVersion": "v1", "kind": "Prow", "name": "prod", "uid": "u"}]);
    scene.server.world().objects.get_mut(MAP).unwrap()["metadata"]["ownerReferences"] = owner;
    let answers = scene.answers().await;
    assert!(matches!(&answers[0], Answer::Refused { failure } if failure.summary.contains("owner Prow prod")));
}

#[tokio::test]
async fn a_race_lost_once_is_judged_once_more() {
    let scene = Scene::new(0);
    let approved = scene.approved().await;
    // Identity, read, PUT: the server says 409 although nothing that matters moved.
    scene.fault(2, Fault::Status(409));
    assert_eq!(scene.run(approved).await.0.done, 1);

    let scene = Scene::new(0);
    let approved = scene.approved().await;
    scene.fault(2, Fault::Status(409));
    scene.fault(4, Fault::Status(409));
    let (summary, _) = scene.run(approved).await;
    assert_eq!((summary.failed, summary.exit_code()), (1, 3));
    assert_eq!(scene.server.applied(), 0);
}

#[tokio::test]
async fn pods_that_are_not_the_planned_ones_are_left_alone() {
    let mut scene = Scene::new(3);
    scene.plan = plan_of(
        RepairId::Kick,
        &scene.server,
        scene.plan.steps.iter().skip(1).map(|step| step.write.clone()).collect(),
    );
    let approved = scene.approved().await;
    scene.server.put_pod(&pod_path(1), "another", false);
    scene.server.world().objects.remove(&pod_path(2));
    scene.server.put_pod(&pod_path(3), "u-3", true);
    assert_eq!(scene.answers().await, [Answer::Gone, Answer::Gone, Answer::Gone]);
    let (summary, events) = scene.run(approved).await;
    assert_eq!((summary.skipped, summary.exit_code()), (3, 0));
    let told = outcomes(&events);
    assert!(told[0].2.contains("another pod"), "{told:?}");
    assert!(told[1].2.contains("already gone"), "{told:?}");
    assert!(told[2].2.contains("Ready by now"), "{told:?}");
    assert_eq!(scene.server.applied(), 0);
}

#[tokio::test]
async fn what_another_run_of_ours_did_is_told_with_its_name() {
    let scene = Scene::new(1);
    let (first, second) = (scene.approved().await, scene.approved().await);
    assert_eq!(scene.run(first).await.0.done, 2);
    let (summary, events) = scene.run(second).await;
    assert_eq!((summary.skipped, summary.exit_code()), (2, 0));
    let told = outcomes(&events);
    assert!(told.iter().all(|(_, _, status)| status.contains("run r-0001 of yours")), "{told:?}");
}

#[tokio::test]
async fn a_missing_right_shows_in_the_preview() {
    let scene = Scene::new(0);
    scene.fault(2, Fault::Status(403));
    let answers = scene.answers().await;
    assert!(matches!(&answers[0], Answer::Refused { failure } if failure.kind == FailureKind::Forbidden));
}

#[tokio::test]
async fn another_cluster_is_refused_before_anything_is_journalled() {
    let scene = Scene::new(1);
    let approved = scene.approved().await;
    scene.server.world().uid = "cluster-2".to_owned();
    assert_eq!(preview(&scene.plan, &scene.clusters(), now()).await.unwrap_err().kind, FailureKind::Refused);
    let (summary, _) = scene.run(approved).await;
    assert_eq!((summary.left, summary.exit_code()), (2, 3));
    assert!(scene.journal.runs().unwrap().is_empty());
    assert_eq!(scene.server.applied(), 0);
}

#[tokio::test]
async fn nothing_is_written_without_a_journal() {
    let mut scene = Scene::new(1);
    let approved = scene.approved().await;
    let file = scene.journal.dir().unwrap().join("file");
    std::fs::write(&file, b"").unwrap();
    scene.journal = Journal::for_reading(file);
    let (summary, _) = scene.run(approved).await;
    assert_eq!((summary.left, summary.exit_code()), (2, 2));
    assert_eq!(scene.server.applied(), 0);
}

#[tokio::test]
async fn a_stop_is_honoured_between_steps() {
    let scene = Scene::new(2);
    let approved = scene.approved().await;
    let (events, told) = mpsc::unbounded_channel();
    let stop = StopToken::new();
    // While the PUT hangs, somebody asks to stop: the request is finished first.
    scene.fault(2, Fault::Hold);
    let (clusters, journal) = (scene.clusters(), scene.journal.clone());
    let run = tokio::spawn(start(approved, clusters, journal, operator(), stop.clone(), events));
    scene.server.hung.notified().await;
    stop.stop("SIGTERM");
    stop.stop("q");
    scene.server.release.notify_one();
    let summary = run.await.unwrap();
    assert_eq!((summary.done, summary.left, summary.exit_code()), (1, 2, 130));
    assert_eq!(summary.first_failure.unwrap().kind, FailureKind::Interrupted);
    let why = drain(told).into_iter().find_map(|event| match event {
        RunEvent::Stopped { why, .. } => Some(why),
        RunEvent::Started { .. }
        | RunEvent::StepStarted { .. }
        | RunEvent::StepEnded { .. }
        | RunEvent::Ended { .. } => None,
    });
    assert_eq!(why.as_deref(), Some("stopped by SIGTERM"));
    // What was left can be taken up again.
    assert_eq!(scene.resume().await.unwrap().done, 3);
    assert_eq!(scene.resume().await.unwrap_err().kind, FailureKind::Refused);
}

#[tokio::test]
async fn three_failures_in_a_row_end_a_list_of_deletes() {
    let mut scene = Scene::new(5);
    let deletes = scene.plan.steps.iter().skip(1).map(|step| step.write.clone()).collect();
    scene.plan = plan_of(RepairId::Kick, &scene.server, deletes);
    let approved = scene.approved().await;
    for read in [1, 2, 3] {
        scene.fault(read, Fault::Status(500));
    }
    let (summary, _) = scene.run(approved).await;
    assert_eq!((summary.failed, summary.left, scene.pods()), (3, 2, 5));
}
