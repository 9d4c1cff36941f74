//! Lost answers, crashes at every request, and what resuming and undoing make of them.

use super::*;

#[tokio::test]
async fn a_lost_answer_is_read_back_and_never_guessed() {
    for n in [2, 4, 6] {
        let scene = Scene::new(2);
        let approved = scene.approved().await;
        scene.fault(n, Fault::DropAfter);
        let (summary, _) = scene.run(approved).await;
        assert_eq!((summary.done, summary.failed + summary.unknown), (3, 0), "request {n}");
        assert_eq!(scene.server.applied(), 3);

        let scene = Scene::new(2);
        let approved = scene.approved().await;
        scene.fault(n, Fault::DropBefore);
        let (summary, events) = scene.run(approved).await;
        assert_eq!((summary.failed, summary.unknown), (0, 1), "request {n}: it may land yet");
        assert!(outcomes(&events).iter().any(|(_, _, status)| status.contains("as before so far")), "{events:?}");
        assert!(scene.server.applied() < 3, "nothing is sent twice by itself");
        assert_eq!(scene.journal.interrupted().unwrap().len(), 1);
        assert_eq!(scene.resume().await.unwrap().done, 3, "request {n}");
        assert_eq!(scene.server.applied(), 3);
    }
    // No answer, and no way to read back: it stays open, and the next start says so.
    let scene = Scene::new(1);
    let approved = scene.approved().await;
    scene.fault(2, Fault::DropAfter);
    scene.fault(3, Fault::DropBefore);
    let (summary, _) = scene.run(approved).await;
    assert_eq!((summary.unknown, summary.left, summary.exit_code()), (1, 1, 6));
    assert_eq!(scene.journal.interrupted().unwrap()[0].unknown, ["step 1: replace prow/configmap/job-config"]);
    let view = inspect(&scene.journal, "r-0001", &scene.clusters()).await.unwrap();
    assert_eq!(view.steps[0].standing, Standing::ReadBack(crate::cluster::gate::Landed::AsWritten));
    assert_eq!((view.to_do(), scene.resume().await.unwrap().done), (1, 2));
    assert_eq!(scene.server.applied(), 2);
}

/// Behind a slow admission webhook, a write lands after its answer was given up and the first look found nothing.
#[tokio::test]
async fn a_write_that_lands_late_is_found_and_can_be_undone() {
    let land = |scene: &Scene| {
        scene.server.put_config_map(MAP, "u-map", json!({"a.yaml": "good"}), json!({}), "prow-breakglass");
    };
    let lost = async || {
        let scene = Scene::new(0);
        let approved = scene.approved().await;
        scene.fault(2, Fault::DropBefore);
        let (summary, _) = scene.run(approved).await;
        assert_eq!((summary.unknown, summary.exit_code()), (1, 6));
        assert!(summary.first_failure.unwrap().hint.unwrap().contains("run resume"));
        scene
    };
    let undo = async |scene: &Scene| {
        let source = scene.journal.undo_source(&scene.journal.run("r-0001").unwrap()).unwrap();
        let live = read_for_undo(&source, &[scene.server.identity()], &scene.clusters()).await.unwrap();
        undo::plan(&source, &live, &[scene.server.identity()], now()).expect("something to put back").steps.len()
    };

    let scene = lost().await;
    land(&scene);
    let view = inspect(&scene.journal, "r-0001", &scene.clusters()).await.unwrap();
    assert_eq!(view.steps[0].standing, Standing::ReadBack(crate::cluster::gate::Landed::AsWritten));
    assert_eq!(undo(&scene).await, 1);

    // Settled too early: said to be failed, and landed after that. What it replaced is still put back.
    let scene = lost().await;
    let (events, _told) = mpsc::unbounded_channel();
    let settled = settle(&scene.journal, "r-0001", &scene.clusters(), &operator(), events).await.unwrap();
    assert_eq!((settled.failed, settled.unknown), (1, 0));
    land(&scene);
    assert_eq!(undo(&scene).await, 1);

    // Sent again by a resume and refused, because the first one had landed after all.
    let scene = lost().await;
    scene.fault(2, Fault::Hold);
    let resumed = async {
        scene.server.hung.notified().await;
        land(&scene);
        scene.server.release.notify_one();
    };
    let (summary, ()) = tokio::join!(scene.resume(), resumed);
    assert_eq!(summary.unwrap().skipped, 1);
    assert_eq!(undo(&scene).await, 1);
}

/// Runs until the n-th request hangs, then drops the run, as a kill would. `None` where it came to its end before.
async fn crash(scene: &Scene, n: usize, fault: Fault) -> Option<RunSummary> {
    let approved = scene.approved().await;
    scene.fault(n, fault);
    let (events, _told) = mpsc::unbounded_channel();
    let run = start(approved, scene.clusters(), scene.journal.clone(), operator(), StopToken::new(), events);
    tokio::select! {
        summary = run => Some(summary),
        () = scene.server.hung.notified() => None,
    }
}

#[tokio::test]
async fn a_crash_at_any_request_is_finished_by_resuming() {
    for fault in [Fault::HangBefore, Fault::HangAfter] {
        for n in 0.. {
            let scene = Scene::new(2);
            if crash(&scene, n, fault).await.is_some() {
                assert_eq!(n, 7, "identity, and a read and a write a step");
                break;
            }
            if n == 0 {
                // Nothing was begun, so nothing is said.
                assert!(scene.journal.runs().unwrap().is_empty());
                continue;
            }
            let open = scene.journal.interrupted().unwrap();
            assert_eq!(open.len(), 1, "request {n}");
            // Even requests are writes: after the intent, before the outcome.
            assert_eq!(open[0].unknown.len(), usize::from(n % 2 == 0), "request {n}");
            let summary = scene.resume().await.unwrap();
            assert_eq!((summary.done, summary.exit_code()), (3, 0), "{fault:?} at request {n}");
            assert_eq!((scene.content(), scene.pods()), (json!({"a.yaml": "good"}), 0));
            assert_eq!(scene.server.applied(), 3, "each write is done once");
            assert_eq!(scene.state(), RunState::Ended);
            assert!(scene.journal.interrupted().unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn a_crash_at_any_request_can_be_undone_instead() {
    for fault in [Fault::HangBefore, Fault::HangAfter] {
        for n in 1..7 {
            let scene = Scene::new(2);
            assert!(crash(&scene, n, fault).await.is_none());
            let (events, _told) = mpsc::unbounded_channel();
            settle(&scene.journal, "r-0001", &scene.clusters(), &operator(), events).await.unwrap();
            assert!(scene.journal.interrupted().unwrap().is_empty());
            let source = scene.journal.undo_source(&scene.journal.run("r-0001").unwrap()).unwrap();
            let live = read_for_undo(&source, &[scene.server.identity()], &scene.clusters()).await.unwrap();
            let planned = undo::plan(&source, &live, &[scene.server.identity()], now());
            if scene.content() == json!({"a.yaml": "bad"}) {
                assert!(planned.is_err(), "nothing was written, so nothing is undone");
                continue;
            }
            let plan = planned.unwrap();
            let preview = preview(&plan, &scene.clusters(), now()).await.unwrap();
            let approved = approve(&plan, &preview, None, &Approval::Typed("job-config".to_owned())).unwrap();
            assert_eq!(scene.run(approved).await.0.done, 1);
            assert_eq!(scene.content(), json!({"a.yaml": "bad"}), "{fault:?} at request {n}");
        }
    }
}

#[tokio::test]
async fn a_resume_overwrites_nobody() {
    let scene = Scene::new(1);
    assert!(crash(&scene, 2, Fault::HangBefore).await.is_none());
    scene.server.put_config_map(MAP, "u-map", json!({"a.yaml": "theirs"}), json!({}), "kubectl-edit");
    let summary = scene.resume().await.unwrap();
    assert_eq!((summary.unknown, scene.server.applied()), (1, 0));
    assert_eq!(scene.content(), json!({"a.yaml": "theirs"}));
    // Nor does it go on with what may build on the step.
    assert_eq!((summary.left, scene.pods()), (1, 1));
    // It was looked at and is said once; it does not come back at each start.
    assert!(scene.journal.interrupted().unwrap().is_empty());
    assert_eq!(scene.resume().await.unwrap_err().kind, FailureKind::Refused);
}

#[tokio::test]
async fn a_run_that_lives_is_not_taken_over() {
    let scene = Scene::new(0);
    let writer = scene.journal.begin(&scene.plan, "somebody", Mode::Typed).unwrap();
    assert_eq!(scene.resume().await.unwrap_err().kind, FailureKind::Refused);
    assert!(inspect(&scene.journal, "r-0001", &scene.clusters()).await.is_err());
    drop(writer);
    assert_eq!(scene.resume().await.unwrap().done, 1);
}

#[tokio::test]
async fn intent_and_backup_are_on_disk_before_the_request() {
    let scene = Scene::new(0);
    assert!(crash(&scene, 2, Fault::HangBefore).await.is_none());
    let run = scene.journal.run("r-0001").unwrap();
    assert!(matches!(run.entries.last().unwrap().record, Record::Intent { n: 1, .. }));
    let backup: Value = serde_json::from_slice(&scene.journal.backup(&run, 1).unwrap().unwrap()).unwrap();
    assert_eq!(backup, scene.server.world().objects[MAP]);
}
