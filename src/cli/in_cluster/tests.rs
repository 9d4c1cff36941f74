//! What is left after every way in which a check can end, over an API server in memory. That its controllers do their part is
//! shown on the bed.

use std::collections::BTreeMap;

use clap::Parser as _;
use http::Method;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::cli::args::Args;
use crate::cli::testing;
use crate::clock::Clock;
use crate::cluster::fake::{FakeServer, Fault};
use crate::model::{Alias, CanaryFile, ConfigMapBody, Kind, OWN_LABEL, Placement, Values};
use crate::repair::{Approval, RepairId, Step, Undo, Verify};
use crate::run::{Operator, start};

const JOB: &str = "/apis/batch/v1/namespaces/prow/jobs/check";
const MAPS: [&str; 2] = ["check-1", "check-2"];

struct Scene {
    server: FakeServer,
    dir: TempDir,
    plan: Plan,
}

impl Scene {
    fn new() -> Scene {
        let server = FakeServer::new();
        let object = |kind: Kind, name: &str| ObjectRef::new(&Alias::service(), "prow", kind, name);
        let job = object(Kind::Job, "check");
        let body = CheckJob {
            image: "gcr.io/k8s-prow/checkconfig:v1".to_owned(),
            args: Vec::new(),
            folders: Vec::new(),
            canary: CanaryFile { config_map: MAPS[0].to_owned(), key: "canary".to_owned() },
            placement: Placement::default(),
        };
        let mut writes = vec![Write::CreateJob { object: job.clone(), body: Box::new(body) }];
        writes.extend(MAPS.map(|name| Write::CreateConfigMap {
            object: object(Kind::ConfigMap, name),
            body: ConfigMapBody {
                values: Values::from([("file".to_owned(), b"a".to_vec())]),
                labels: BTreeMap::from([(OWN_LABEL.0.to_owned(), OWN_LABEL.1.to_owned())]),
                annotations: BTreeMap::new(),
                owner: Some(Box::new(job.clone())),
            },
        }));
        let steps = writes.into_iter().enumerate().map(|(n, write)| Step {
            n: n + 1,
            write,
            why: "asks".to_owned(),
            undo: Undo::None,
            effect: "made".to_owned(),
        });
        let base = testing::plan(&server, Verify::Written);
        let plan = Plan { repair: RepairId::CheckInCluster, steps: steps.collect(), ..base }.sealed();
        Scene { server, dir: tempfile::tempdir().unwrap(), plan }
    }

    /// The journal as it is read so many seconds after the epoch.
    fn journal(&self, seconds: i64) -> Journal {
        let now = Timestamp::from_second(seconds).unwrap();
        Journal::open(self.dir.path().join("state")).unwrap().with_clock(Clock::stopped(now))
    }

    fn clusters(&self) -> Clusters {
        Clusters::from([(Alias::service(), self.server.cluster())])
    }

    async fn approved(&self) -> ApprovedPlan {
        let preview = preview(&self.plan, &self.clusters(), Timestamp::UNIX_EPOCH).await.unwrap();
        approve(&self.plan, &preview, None, &Approval::Typed("yes".to_owned())).unwrap()
    }

    fn fault(&self, n: usize, fault: Fault) {
        let mut world = self.server.world();
        let at = world.seen.len() + n;
        world.faults.insert(at, fault);
    }

    /// Makes what the plan says; `None` where it was killed at a request that hangs.
    async fn make(&self, approved: ApprovedPlan) -> Option<RunSummary> {
        let (events, _told) = mpsc::unbounded_channel();
        let operator = Operator { who: "oncall".to_owned(), mode: Mode::Flags };
        let run = start(approved, self.clusters(), self.journal(0), operator, StopToken::new(), events);
        tokio::select! {
            summary = run => Some(summary),
            () = self.server.hung.notified() => None,
        }
    }

    async fn clear(&self, mandate: &Mandate<'_>, seconds: i64) -> Result<(), Failure> {
        let args = Args::try_parse_from(["prow-breakglass", "status"]).unwrap();
        take_away(&args.global, "r-0001", &self.clusters(), &self.journal(seconds), mandate, &StopToken::new()).await
    }

    /// What is there of the check's names.
    fn left(&self) -> Vec<String> {
        let world = self.server.world();
        world.objects.keys().filter(|path| path.contains("/check")).cloned().collect()
    }

    fn made_since(&self, before: usize) -> usize {
        let world = self.server.world();
        world.seen[before..].iter().filter(|seen| seen.method == Method::POST && seen.applied).count()
    }

    fn seen(&self) -> usize {
        self.server.world().seen.len()
    }

    fn state(&self) -> RunState {
        self.journal(0).run("r-0001").unwrap().state
    }
}

fn resumed() -> Mandate<'static> {
    Mandate::Resume(Approval::Flags { context: "test".to_owned(), expect: Expect::AtMost(3) })
}

#[tokio::test]
async fn killed_at_any_request_it_leaves_nothing_once_it_is_resumed() {
    for fault in [Fault::HangBefore, Fault::HangAfter] {
        for n in 0.. {
            let scene = Scene::new();
            let approved = scene.approved().await;
            scene.fault(n, fault);
            let ended = scene.make(approved).await;
            scene.server.world().faults.clear();
            if n == 0 {
                assert!(scene.journal(0).runs().unwrap().is_empty(), "nothing was begun");
                continue;
            }
            let (before, there) = (scene.seen(), scene.left());
            // Also killed right after the last step, or while it waits: the next start says so.
            assert_eq!(scene.journal(0).interrupted().unwrap().len(), 1, "{fault:?} at request {n}");
            let cleared = scene.clear(&resumed(), 0).await;
            assert_eq!(scene.left(), Vec::<String>::new(), "{fault:?} at request {n}");
            assert_eq!(scene.made_since(before), 0, "nothing is made anew");
            if let Err(failure) = cleared {
                // A create without an answer, of what is not there: it may come yet, and a minute later it cannot.
                assert!(fault == Fault::HangBefore && failure.summary.contains("may still come"));
                assert_eq!(scene.state(), RunState::Interrupted { unknown: vec![there.len() + 1] });
                scene.clear(&resumed(), 61).await.unwrap();
            }
            assert_eq!(scene.state(), RunState::Ended, "{fault:?} at request {n}");
            assert!(scene.journal(0).interrupted().unwrap().is_empty());
            if ended.is_some() {
                assert_eq!((n, there.len()), (9, 3), "identity; a read and a write; twice two reads and a write");
                break;
            }
        }
    }
}

#[tokio::test]
async fn what_landed_without_an_answer_goes_too() {
    // The creates, each after its reads.
    for n in [2, 5, 8] {
        for fault in [Fault::DropBefore, Fault::DropAfter] {
            let scene = Scene::new();
            let approved = scene.approved().await;
            let removal = approved.removal().unwrap();
            scene.fault(n, fault);
            let summary = scene.make(approved).await.unwrap();
            assert_eq!(summary.unknown, usize::from(fault == Fault::DropBefore), "request {n}");
            let cleared = scene.clear(&Mandate::Check(&removal, Mode::Typed), 0).await;
            assert_eq!((cleared.is_ok(), scene.left().len()), (fault == Fault::DropAfter, 0), "request {n}");
        }
    }
    // The very first create, and nothing else was done; it comes when the first look is over.
    let scene = Scene::new();
    let approved = scene.approved().await;
    let removal = approved.removal().unwrap();
    scene.fault(2, Fault::DropBefore);
    let summary = scene.make(approved).await.unwrap();
    assert_eq!((summary.done, summary.unknown, summary.left), (0, 1, 2));
    assert!(scene.clear(&Mandate::Check(&removal, Mode::Typed), 0).await.is_err());
    let late = json!({"metadata": {"uid": "u-late", "labels": {OWN_LABEL.0: OWN_LABEL.1}}});
    scene.server.world().store(JOB, "Job", late, "prow-breakglass");
    scene.clear(&resumed(), 61).await.unwrap();
    assert_eq!((scene.left(), scene.state()), (Vec::new(), RunState::Ended));
}

#[tokio::test]
async fn what_is_not_of_its_making_stays() {
    let scene = Scene::new();
    let approved = scene.approved().await;
    let removal = approved.removal().unwrap();
    scene.fault(2, Fault::DropBefore);
    scene.make(approved).await.unwrap();
    scene.server.world().store(JOB, "Job", json!({"metadata": {"uid": "u-theirs"}}), "kubectl");
    let refused = scene.clear(&Mandate::Check(&removal, Mode::Typed), 61).await.unwrap_err();
    assert!(refused.summary.contains("not labelled as made by this program"), "{refused:?}");
    assert_eq!(scene.left(), [JOB]);
    // Nor does the approval cover anything else.
    let other = testing::plan(&scene.server, Verify::Written);
    let asked = preview(&other, &scene.clusters(), Timestamp::UNIX_EPOCH).await.unwrap();
    assert!(removal.approve(&other, &asked).unwrap_err().reason.contains("would touch"));
    let approved = approve(&other, &asked, None, &Approval::Typed("yes".to_owned())).unwrap();
    assert!(approved.removal().is_none());
}

#[tokio::test]
async fn it_is_never_gone_on_with_and_is_in_nobodys_way() {
    let scene = Scene::new();
    let approved = scene.approved().await;
    assert_eq!(scene.make(approved).await.unwrap().done, 3);
    let view = run::inspect(&scene.journal(0), "r-0001", &scene.clusters()).await.unwrap();
    assert_eq!(view.to_do(), 0);
    let (events, _told) = mpsc::unbounded_channel();
    let operator = Operator { who: "oncall".to_owned(), mode: Mode::Flags };
    let (journal, clusters) = (scene.journal(0), scene.clusters());
    let went_on = run::resume(&journal, "r-0001", &clusters, &operator, StopToken::new(), events).await;
    assert_eq!(went_on.unwrap_err().kind, FailureKind::Refused);

    // While it waits, a repair begins; and while that goes on, what the check made goes.
    let waiting = journal.reopen("r-0001").unwrap();
    assert!(matches!(scene.state(), RunState::Running { .. }));
    assert_eq!(
        scene.clear(&resumed(), 0).await.unwrap_err().kind,
        FailureKind::Refused,
        "its process is at work on it"
    );
    let repair = testing::plan(&scene.server, Verify::Written);
    let repairing = journal.begin(&repair, "oncall", Mode::Flags).unwrap();
    drop(waiting);
    assert!(journal.begin(&repair, "another", Mode::Flags).is_err(), "two repairs at once");
    scene.clear(&resumed(), 0).await.unwrap();
    drop(repairing);
    assert_eq!(scene.left(), Vec::<String>::new());
}

#[tokio::test]
async fn a_job_that_cannot_be_made_is_not_waited_for() {
    for (n, made) in [(2, 0), (5, 1)] {
        let scene = Scene::new();
        let approved = scene.approved().await;
        let removal = approved.removal().unwrap();
        scene.fault(n, Fault::Status(403));
        let summary = scene.make(approved).await.unwrap();
        assert_eq!((summary.done, summary.failed), (made, 1));
        let before = scene.seen();
        let journal = scene.journal(0);
        let failure = answer(&scene.plan, &summary, &scene.clusters(), &journal, &StopToken::new()).await.unwrap_err();
        assert_eq!((failure.kind, scene.seen()), (FailureKind::Forbidden, before), "why, without a look at anything");
        scene.clear(&Mandate::Check(&removal, Mode::Typed), 0).await.unwrap();
        assert_eq!((scene.left(), scene.state()), (Vec::new(), RunState::Ended));
    }
}

#[test]
fn the_command_that_takes_away_is_exact() {
    let args = ["prow-breakglass", "--journal", "/j", "status"];
    let global = Args::try_parse_from(args).unwrap().global;
    let words = how_to_take_away(&global, &Scene::new().plan, "r-0007");
    let command = "prow-breakglass run resume r-0007 --context test --journal /j --execute --expect-at-most 3\n";
    assert!(words.contains(command), "{words}");
    assert!(words.contains("prow-breakglass undo r-0007 "), "{words}");
}

#[test]
fn an_image_that_accepts_what_no_prow_loads_has_no_say() {
    let fatal = r#"{"error":"yaml: line 1: no","level":"fatal","msg":"Validation failed"}"#;
    let said = |check, canary| words_of("i:v1", check, canary);
    assert_eq!(said((0, ""), (1, fatal)), Ok(None));
    assert_eq!(said((1, fatal), (1, fatal)), Ok(Some("yaml: line 1: no".to_owned())));
    let yes = said((0, ""), (0, "")).unwrap_err();
    assert!(yes.summary.contains("is no checkconfig"), "{yes:?}");
    assert!(said((1, fatal), (0, "")).is_err(), "nor what it refuses");
    assert!(said((0, ""), (1, "")).unwrap_err().summary.contains("without a verdict"), "in no words of Prow's");
    assert!(said((0, ""), (137, fatal)).is_err() && said((137, fatal), (1, fatal)).is_err(), "killed");
}
