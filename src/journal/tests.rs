//! The journal on a real disk: ids, rights, locks, what a dead process leaves, what is damaged.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;
use crate::model::{Alias, ClusterIdentity, Kind, Leaves, ObjectRef};
use crate::repair::{Confirmation, PlanBasis, RepairId, Step, Undo, Verify};

fn epoch() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn pod(name: &str) -> ObjectRef {
    ObjectRef::new(&Alias::service(), "prow", Kind::Pod, name)
}

fn plan(undoes: Option<&str>) -> Plan {
    let step = |n: usize| Step {
        n,
        write: Write::DeletePod { object: pod(&format!("hook-{n}")), uid: format!("u-{n}"), seen: None },
        why: "it crash-loops".to_owned(),
        undo: Undo::RecreatedByOwner,
        effect: "deleted".to_owned(),
    };
    Plan {
        id: String::new(),
        repair: RepairId::Kick,
        title: "kick hook".to_owned(),
        clusters: Vec::new(),
        basis: PlanBasis { taken_at: epoch(), undoes: undoes.map(str::to_owned), ..PlanBasis::default() },
        steps: vec![step(1), step(2)],
        refusals: Vec::new(),
        warnings: Vec::new(),
        confirmation: Confirmation::Count(2),
        verify: Verify::Written,
        afterwards: Vec::new(),
        digest: String::new(),
    }
    .sealed()
}

fn intent(n: usize, backup: Option<BackupFile>) -> Record {
    Record::Intent {
        n,
        object: pod(&format!("hook-{n}")),
        write: "delete".to_owned(),
        guard: Guard::Uid { uid: format!("u-{n}") },
        body: "b".to_owned(),
        audit_id: "a".to_owned(),
        backup,
    }
}

fn outcome(n: usize, outcome: Outcome) -> Record {
    let object = pod(&format!("hook-{n}"));
    Record::Outcome { n, object, outcome, status: "said".to_owned(), uid: None, resource_version: None }
}

fn ended() -> Record {
    Record::Ended { done: 2, failed: 0, skipped: 0, unknown: 0, left: 0 }
}

fn journal() -> (TempDir, Journal) {
    let dir = TempDir::new().unwrap();
    let journal = Journal::open(dir.path().join("state")).unwrap().with_clock(Clock::stopped(epoch()));
    (dir, journal)
}

fn begin(journal: &Journal) -> RunWriter {
    journal.begin(&plan(None), "oncall", Mode::Typed).unwrap()
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_run_lies_where_it_should_and_is_private() {
    let (_dir, journal) = journal();
    let writer = begin(&journal);
    let backup = writer.backup(1, &pod("hook-1"), b"{}").unwrap();
    let folder = journal.dir().unwrap().join("runs/r-0001");
    assert_eq!(writer.folder(), folder);
    for path in [journal.dir().unwrap(), &journal.dir().unwrap().join("runs"), &folder, &folder.join("backup")] {
        assert_eq!(mode_of(path), 0o700, "{}", path.display());
    }
    for file in ["journal.ndjson", "plan.json", "backup/001-pod-prow-hook-1.json"] {
        assert_eq!(mode_of(&folder.join(file)), 0o600, "{file}");
    }
    assert_eq!(backup.file, "001-pod-prow-hook-1.json");
}

#[test]
fn a_run_reads_as_it_went() {
    let (_dir, journal) = journal();
    let mut writer = begin(&journal);
    let backup = writer.backup(1, &pod("hook-1"), b"{\"kind\":\"Pod\"}").unwrap();
    for record in [intent(1, Some(backup)), outcome(1, Outcome::Done), outcome(2, Outcome::Skipped), ended()] {
        writer.append(record).unwrap();
    }
    drop(writer);
    journal.verified("r-0001", true, "hook is Ready").unwrap();

    let run = journal.run("r-0001").unwrap();
    assert_eq!(run.state, RunState::Ended);
    assert_eq!((run.count(Outcome::Done), run.count(Outcome::Skipped), run.left()), (1, 1, 0));
    assert_eq!(run.verified, Some((true, "hook is Ready".to_owned())));
    assert_eq!(run.begin.as_ref().unwrap().who, "oncall");
    assert_eq!(journal.plan(&run).unwrap(), plan(None));
    assert_eq!(journal.backup(&run, 1).unwrap().unwrap(), b"{\"kind\":\"Pod\"}");
    assert_eq!(journal.backup(&run, 2).unwrap(), None);
    assert!(journal.interrupted().unwrap().is_empty());
}

#[test]
fn an_intent_without_an_outcome_is_told_by_its_step() {
    let (_dir, journal) = journal();
    let mut writer = begin(&journal);
    writer.append(intent(1, None)).unwrap();

    // While it lives, it is at work; when it is gone, nobody knows.
    let alive = journal.run("r-0001").unwrap();
    assert_eq!(alive.state, RunState::Running { pid: std::process::id() });
    assert_eq!(journal.interrupted().unwrap()[0].running_pid, Some(std::process::id()));
    assert!(journal.undo_source(&alive).is_err());
    drop(writer);
    assert_eq!(journal.run("r-0001").unwrap().state, RunState::Interrupted { unknown: vec![1] });
    let interrupted = journal.interrupted().unwrap();
    assert_eq!(interrupted[0].unknown, ["step 1: delete prow/pod/hook-1"]);
    assert_eq!(interrupted[0].running_pid, None);
}

#[test]
fn an_unknown_outcome_stays_open_until_it_was_read_back() {
    let (_dir, journal) = journal();
    let mut writer = begin(&journal);
    for record in [intent(1, None), outcome(1, Outcome::Unknown), ended()] {
        writer.append(record).unwrap();
    }
    drop(writer);
    assert_eq!(journal.run("r-0001").unwrap().state, RunState::Interrupted { unknown: vec![1] });
    let (_, mut writer, torn) = journal.reopen("r-0001").unwrap();
    assert_eq!(torn, 0);
    writer.append(Record::Resumed { who: "oncall".to_owned(), pid: 1, torn }).unwrap();
    let (object, detail) = (pod("hook-1"), "somebody wrote it".to_owned());
    writer.append(Record::Found { n: 1, object, landed: Found::Otherwise, detail }).unwrap();
    writer.append(outcome(1, Outcome::Unknown)).unwrap();
    writer.append(ended()).unwrap();
    drop(writer);
    assert_eq!(journal.run("r-0001").unwrap().state, RunState::Ended);
}

#[test]
fn a_run_that_was_undone_is_settled() {
    let (_dir, journal) = journal();
    begin(&journal).append(intent(1, None)).unwrap();
    assert_eq!(journal.interrupted().unwrap().len(), 1);
    let mut undo = journal.begin(&plan(Some("r-0001")), "oncall", Mode::Flags).unwrap();
    for record in [outcome(1, Outcome::Done), outcome(2, Outcome::Done), ended()] {
        undo.append(record).unwrap();
    }
    drop(undo);
    assert!(journal.interrupted().unwrap().is_empty());
}

#[test]
fn a_torn_line_counts_as_never_written_and_is_cut_off_on_reopening() {
    let (_dir, journal) = journal();
    begin(&journal).append(intent(1, None)).unwrap();
    let path = journal.dir().unwrap().join("runs/r-0001/journal.ndjson");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [whole.as_slice(), b"{\"at\":\"1970"].concat()).unwrap();

    let run = journal.run("r-0001").unwrap();
    assert!(run.torn);
    assert_eq!(run.state, RunState::Interrupted { unknown: vec![1] });
    let (_, mut writer, torn) = journal.reopen("r-0001").unwrap();
    assert_eq!(torn, 11);
    writer.append(outcome(1, Outcome::Done)).unwrap();
    writer.append(ended()).unwrap();
    drop(writer);
    assert_eq!(journal.run("r-0001").unwrap().state, RunState::Ended);
}

#[test]
fn damage_is_told_and_nothing_is_built_on_it() {
    let (_dir, journal) = journal();
    let mut writer = begin(&journal);
    let backup = writer.backup(1, &pod("hook-1"), b"{}").unwrap();
    writer.append(intent(1, Some(backup))).unwrap();
    drop(writer);
    let run = journal.run("r-0001").unwrap();

    fs::write(run.folder.join("backup/001-pod-prow-hook-1.json"), b"[]").unwrap();
    assert!(journal.backup(&run, 1).unwrap_err().summary.contains("damaged"));

    let other = plan(Some("r-0009"));
    fs::write(run.folder.join("plan.json"), serde_json::to_vec(&other).unwrap()).unwrap();
    assert!(journal.plan(&run).unwrap_err().summary.contains("damaged"));

    let path = run.folder.join("journal.ndjson");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() - 100;
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let run = journal.run("r-0001").unwrap();
    assert!(matches!(&run.state, RunState::Damaged { why } if why.starts_with("line 2")), "{:?}", run.state);
    assert!(journal.reopen("r-0001").is_err());
    let damaged = &journal.interrupted().unwrap()[0];
    assert!(damaged.damaged.as_ref().is_some_and(|why| why.starts_with("line 2")), "{damaged:?}");
    assert!(damaged.unknown.is_empty(), "nothing that could be read back");
}

#[test]
fn a_backup_is_never_overwritten() {
    let (_dir, journal) = journal();
    let mut writer = begin(&journal);
    let first = writer.backup(1, &pod("hook-1"), b"first").unwrap();
    let second = writer.backup(1, &pod("hook-1"), b"second").unwrap();
    writer.append(intent(1, Some(first))).unwrap();
    writer.append(intent(1, Some(second))).unwrap();
    drop(writer);
    let run = journal.run("r-0001").unwrap();
    assert_eq!(journal.backup(&run, 1).unwrap().unwrap(), b"first");
}

#[test]
fn runs_begun_at_once_get_ids_of_their_own() {
    let (_dir, journal) = journal();
    let ids: BTreeSet<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..5).map(|_| begin(&journal).run().to_owned()).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 40);
    let newest: Vec<String> = journal.runs().unwrap().into_iter().map(|run| run.run).collect();
    assert_eq!(newest, ids.into_iter().rev().collect::<Vec<_>>());
}

#[test]
fn a_run_has_one_writer() {
    let (_dir, journal) = journal();
    let writer = begin(&journal);
    let failure = journal.reopen("r-0001").unwrap_err();
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(failure.summary.contains(&std::process::id().to_string()), "{failure}");
    drop(writer);
    assert!(journal.reopen("r-0001").is_ok());
}

#[test]
fn reading_needs_no_journal_and_makes_none() {
    let dir = TempDir::new().unwrap();
    let journal = Journal::for_reading(dir.path().join("none"));
    assert!(journal.runs().unwrap().is_empty());
    assert!(journal.interrupted().unwrap().is_empty());
    assert_eq!(journal.run("r-0001").unwrap_err().kind, FailureKind::Usage);
    assert!(!journal.dir().unwrap().exists());
}

#[test]
fn no_id_leads_out_of_the_journal() {
    let (_dir, journal) = journal();
    drop(begin(&journal));
    for id in ["", "..", "r-1", "r-0001/../r-0001", "r-+001", "r-00001", "../runs/r-0001"] {
        assert!(journal.run(id).is_err(), "{id}");
    }
}

#[test]
fn a_place_that_cannot_be_written_is_said_with_the_way_out() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let failure = Journal::open(file.join("state")).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Tool);
    assert!(failure.hint.unwrap().contains("--journal DIR"));
    assert!(Journal::for_reading(file.join("state")).begin(&plan(None), "oncall", Mode::Typed).is_err());
}

#[test]
fn a_process_that_died_before_its_first_record_sent_nothing() {
    let (_dir, journal) = journal();
    fs::create_dir(journal.dir().unwrap().join("runs/r-0001")).unwrap();
    assert!(journal.run("r-0001").unwrap().begin.is_none());
    assert!(journal.interrupted().unwrap().is_empty());
    assert_eq!(begin(&journal).run(), "r-0002");
}

#[test]
fn a_run_that_cannot_be_read_hides_no_other() {
    let (_dir, journal) = journal();
    begin(&journal).append(intent(1, None)).unwrap();
    let path = begin(&journal).folder().join("journal.ndjson");
    fs::remove_file(&path).unwrap();
    // A folder in its place cannot be read, whoever we are.
    fs::create_dir(&path).unwrap();
    let runs = journal.runs().unwrap();
    assert!(matches!(&runs[0].state, RunState::Damaged { why } if why.contains("cannot read")), "{:?}", runs[0].state);
    assert_eq!(runs[1].state, RunState::Interrupted { unknown: vec![1] });
    let interrupted = journal.interrupted().unwrap();
    assert_eq!(interrupted.iter().map(|run| run.damaged.is_some()).collect::<Vec<_>>(), [true, false]);
    assert!(interrupted[0].at > epoch() && interrupted[0].clusters.is_empty());
    assert_eq!(interrupted[1].clusters, plan(None).clusters);
    drop(begin(&journal));
}

#[test]
fn a_journal_without_a_place_says_why_and_takes_no_run() {
    let journal = Journal::nowhere(Failure::new(FailureKind::Tool, "no home directory"));
    for failure in [
        journal.runs().unwrap_err(),
        journal.refused().unwrap_err(),
        journal.make_sure_of_writing().unwrap_err(),
        journal.begin(&plan(None), "oncall", Mode::Typed).unwrap_err(),
    ] {
        assert_eq!(failure.summary, "no home directory");
    }
}

fn cluster() -> ClusterIdentity {
    ClusterIdentity {
        alias: Alias::service(),
        context: "prow".to_owned(),
        server: "https://prow".to_owned(),
        uid: "c-1".to_owned(),
        ca: String::new(),
    }
}

fn here(undoes: Option<&str>) -> Plan {
    Plan { clusters: vec![cluster()], ..plan(undoes) }.sealed()
}

#[test]
fn two_runs_at_once_on_one_cluster_are_refused() {
    let (_dir, journal) = journal();
    let going = journal.begin(&here(None), "oncall", Mode::Typed).unwrap();
    let refused = journal.begin(&here(None), "another", Mode::Flags).unwrap_err();
    assert_eq!(refused.kind, FailureKind::Refused);
    for said in ["r-0001", "kick hook", "oncall", &format!("process {}", std::process::id())] {
        assert!(refused.summary.contains(said), "{said}: {refused:?}");
    }
    assert!(refused.hint.is_some_and(|hint| hint.contains("wait for its end")));
    assert_eq!(journal.runs().unwrap().len(), 1, "nothing is left of the one that was refused");
    journal.nobody_in_the_way(&here(None), Some("r-0001")).unwrap();
    let elsewhere = ClusterIdentity { uid: "c-2".to_owned(), ..cluster() };
    let other = Plan { clusters: vec![elsewhere], ..plan(None) }.sealed();
    drop(journal.begin(&other, "oncall", Mode::Typed).unwrap());
    drop(going);
    // A dead process holds nobody up.
    journal.begin(&here(None), "another", Mode::Flags).unwrap();
}

/// A run that did its first step and was stopped before the second.
fn stopped(journal: &Journal, done: bool) {
    let mut writer = journal.begin(&here(None), "oncall", Mode::Typed).unwrap();
    let how = if done { Outcome::Done } else { Outcome::Failed };
    let (done, failed) = (usize::from(done), usize::from(!done));
    let end = Record::Ended { done, failed, skipped: 0, unknown: 0, left: 1 };
    for record in [intent(1, None), outcome(1, how), Record::Stopped { why: "stopped by SIGINT".to_owned() }, end] {
        writer.append(record).unwrap();
    }
}

#[test]
fn a_run_that_was_stopped_half_way_is_not_over() {
    let (_dir, journal) = journal();
    stopped(&journal, true);
    let open = journal.interrupted().unwrap();
    assert_eq!(open[0].progress.map(|progress| progress.to_string()).as_deref(), Some("1 of 2 done, 1 left"));
    let run = journal.run("r-0001").unwrap();
    assert!(run.was_stopped());

    // Whoever wrote to the same cluster later planned what was left anew.
    let mut later = journal.begin(&here(None), "oncall", Mode::Typed).unwrap();
    for record in [intent(1, None), outcome(1, Outcome::Done), outcome(2, Outcome::Skipped), ended()] {
        later.append(record).unwrap();
    }
    drop(later);
    assert!(journal.interrupted().unwrap().is_empty());
    // What wrote nothing left nothing half done.
    stopped(&journal, false);
    assert!(journal.interrupted().unwrap().is_empty());
}

#[test]
fn half_a_run_is_told_by_what_it_means_for_prow() {
    let half = |repair: RepairId, kind: Kind| {
        let (_dir, journal) = journal();
        let began = |repair, undoes, kind| {
            let plan = Plan { repair, ..here(undoes) }.sealed();
            let mut writer = journal.begin(&plan, "oncall", Mode::Typed).unwrap();
            let mut record = intent(1, None);
            if let Record::Intent { object, .. } = &mut record {
                object.kind = kind;
            }
            writer.append(record).unwrap();
            writer
        };
        // The undo of a check may begin while the check, or anybody else, is at it.
        let first = began(RepairId::CheckInCluster, None, Kind::Job);
        let undoes = (kind == Kind::Job).then_some("r-0001");
        let second = began(repair, undoes, kind);
        drop((first, second));
        journal.interrupted().unwrap().into_iter().map(|run| (run.run, run.leaves)).collect::<BTreeMap<_, _>>()
    };
    for (repair, kind, leaves) in [
        (RepairId::Undo, Kind::Job, Leaves::OwnMaking),
        (RepairId::Undo, Kind::ConfigMap, Leaves::Objects),
        (RepairId::Undo, Kind::Deployment, Leaves::Images),
        (RepairId::Rollback, Kind::Deployment, Leaves::Images),
        (RepairId::SyncConfig, Kind::ConfigMap, Leaves::Objects),
    ] {
        let open = half(repair, kind);
        assert_eq!((open["r-0001"], open["r-0002"]), (Leaves::OwnMaking, leaves), "{repair} {kind}");
    }
}
