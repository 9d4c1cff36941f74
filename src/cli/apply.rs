//! `apply FILE`: previews a saved plan again, and with `--execute` runs it and watches for the proof.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::diagnose::{Diagnosis, NextStep, VerifyState, diagnose, verify_for};
use crate::journal::{Journal, Mode};
use crate::model::{Alias, Failure, FailureKind, RunEvent, RunSummary};
use crate::present;
use crate::repair::{Approval, ApprovedPlan, Plan, RepairId, Undo, Verify, approve, still_allowed};
use crate::run::{self, Clusters, Operator, StopToken};

use super::args::{ApplyArgs, Format, Global, Watch, WriteArgs, quoted};
use super::checking::Scope;
use super::memory::Memory;
use super::{Exit, in_cluster, output, plan_file, session, signals};

pub async fn run(global: &Global, args: &ApplyArgs) -> Exit {
    let plan = plan_file::load(&args.file)?;
    if args.write.execute {
        demand_context(global)?;
    }
    let clusters = clusters_of(global, &plan).await?;
    if plan.repair == RepairId::CheckInCluster {
        in_cluster::may(&plan, &clusters).await?;
    }
    let preview = run::preview(&plan, &clusters, session::clock(global).now()).await?;
    output::words(&present::plan_text(&plan, Some(&preview)));
    if !args.write.execute {
        if global.output != Format::Text {
            output::document(global.output, || present::plan_document(&plan, Some(&preview)), String::new)?;
        }
        output::words("previewed only: --execute writes");
        if let Some(failure) = present::first_refusal(&preview) {
            return Err(failure);
        }
        still_allowed(&plan, picture_for(global, &plan).await?.as_ref())?;
        return Ok(0);
    }
    let (approval, mode) = approval(global, &args.write, &plan)?;
    let now = picture_for(global, &plan).await?;
    let approved = approve(&plan, &preview, now.as_ref(), &approval)?;
    let journal = session::journal_for_writing(global)?;
    if plan.repair == RepairId::CheckInCluster {
        return in_cluster::run(global, &plan, approved, &clusters, &journal, mode).await;
    }
    let stop = signals::stop_on_signals()?;
    let summary = execute(global, approved, &clusters, &journal, mode, stop.clone()).await;
    Ok(conclude(global, &plan, &summary, &clusters, &journal, stop, args.write.watch()).await)
}

/// The newest picture, for plans that are held against it once more before anything is sent.
pub async fn picture_for(global: &Global, plan: &Plan) -> Result<Option<Diagnosis>, Failure> {
    match plan.repair {
        // Of no checkconfig: while it was asked the picture would grow old.
        RepairId::DeleteStrays => {
            let seen = session::look_and_ask(global, Scope::Remembered).await?;
            Ok(Some(Arc::unwrap_or_clone(seen.diagnosis)))
        }
        RepairId::SyncConfig | RepairId::Kick | RepairId::Rollback | RepairId::CheckInCluster | RepairId::Undo => {
            Ok(None)
        }
    }
}

/// Writes never follow the current context.
pub fn demand_context(global: &Global) -> Result<(), Failure> {
    if global.context.is_some() {
        return Ok(());
    }
    Err(Failure::new(FailureKind::Usage, "--execute needs --context NAME")
        .hint("name the cluster that you mean: writes never follow the current context"))
}

/// Connections to the clusters of a plan; the preview proves that they are the plan's.
pub async fn clusters_of(global: &Global, plan: &Plan) -> Result<Clusters, Failure> {
    let named = |alias: &Alias| plan.clusters.iter().find(|cluster| cluster.alias == *alias);
    let service = named(&Alias::service());
    let context = global.context.as_deref().or(service.map(|cluster| cluster.context.as_str()));
    let mut clusters = Clusters::from([(Alias::service(), session::connect_to(global, context).await?)]);
    for identity in plan.clusters.iter().filter(|cluster| cluster.alias != Alias::service()) {
        // The plan names the context; on another machine it may have another name.
        let given = global.build_context.iter().find(|(alias, _)| *alias == identity.alias);
        let context = given.map_or(identity.context.as_str(), |(_, context)| context.as_str());
        let cluster = session::connect_to(global, Some(context)).await?;
        clusters.insert(identity.alias.clone(), cluster.known_as(&identity.alias));
    }
    Ok(clusters)
}

/// `--expect N`, or, with a person at a terminal, the plan's words.
fn approval(global: &Global, args: &WriteArgs, plan: &Plan) -> Result<(Approval, Mode), Failure> {
    if let Some(expect) = args.expects() {
        let context = global.context.clone().unwrap_or_default();
        return Ok((Approval::Flags { context, expect }, Mode::Flags));
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(FailureKind::Usage, "--execute without a terminal needs --expect N").hint(format!(
            "the plan changes {} object(s): --expect {}",
            plan.objects(),
            plan.objects()
        )));
    }
    let mut err = std::io::stderr();
    let _ = write!(err, "{} (anything else leaves): ", present::confirmation(&plan.confirmation));
    let _ = err.flush();
    let mut words = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut words)
        .map_err(|error| Failure::new(FailureKind::Usage, "cannot read the answer").cause(error.to_string()))?;
    Ok((Approval::Typed(words), Mode::Typed))
}

/// Runs an approved plan, telling each step as it ends. The journal is told what the proof showed by [`conclude`].
pub async fn execute(
    global: &Global,
    approved: ApprovedPlan,
    clusters: &Clusters,
    journal: &Journal,
    mode: Mode,
    stop: StopToken,
) -> RunSummary {
    let operator = operator(clusters, mode).await;
    let (tell, events) = mpsc::unbounded_channel();
    let printer = tokio::spawn(print_events(global.output, events));
    let summary = run::start(approved, clusters.clone(), journal.clone(), operator, stop, tell).await;
    // The run has dropped its end of the channel, so the printer ends.
    let _ = printer.await;
    summary
}

pub async fn operator(clusters: &Clusters, mode: Mode) -> Operator {
    let user = match clusters.get(&Alias::service()) {
        Some(cluster) => cluster.user().await.ok().flatten(),
        None => None,
    };
    Operator { who: user.unwrap_or_else(|| "unknown".to_owned()), mode }
}

/// NDJSON on stdout, or words on stderr.
pub async fn print_events(format: Format, mut events: mpsc::UnboundedReceiver<RunEvent>) {
    let mut id = String::new();
    while let Some(event) = events.recv().await {
        match &event {
            RunEvent::Started { run, journal, .. } => {
                id.clone_from(run);
                output::words(&format!("run {run}, journal {journal}"));
            }
            RunEvent::StepEnded { n, object, outcome, status, .. } => {
                output::words(&format!("  {n}  {object}  {}: {status}", present::outcome(*outcome)));
            }
            RunEvent::Stopped { why, .. } => output::words(&format!("stopped: {why}")),
            RunEvent::StepStarted { .. } | RunEvent::Ended { .. } => {}
        }
        if format != Format::Text
            && let Some(document) = present::run_event(&id, &event)
        {
            output::data(&document.to_string());
        }
    }
}

/// How the watching for the proof ended.
enum Proof {
    /// Those that run on from before kept quiet for so many seconds.
    Holds {
        quiet: Option<(Vec<String>, u64)>,
    },
    /// What was written is refused.
    Refused {
        what: String,
    },
    /// Not yet, and nothing more will happen soon without a further step.
    Needs {
        what: String,
    },
    NotInTime {
        what: String,
    },
    /// Somebody ended the watching.
    Interrupted {
        what: String,
    },
}

/// After the last write: the summary, the proof, the next step; gives the exit code. What is written is written: that
/// something cannot be looked at or noted down afterwards is said, and is no failure of the run.
pub async fn conclude(
    global: &Global,
    plan: &Plan,
    summary: &RunSummary,
    clusters: &Clusters,
    journal: &Journal,
    stop: StopToken,
    watch: Watch,
) -> u8 {
    say(summary);
    if let Some(failure) = &summary.first_failure {
        output::words(&present::failure(failure).join("\n"));
    }
    if summary.interrupted && summary.left > 0 {
        let context = plan.clusters.first().map_or("NAME", |cluster| cluster.context.as_str());
        output::words(&format!(
            "interrupted: {} of {} done, {} left\nto go on:        prow-breakglass run resume {} --context {context}{} \
             --execute --expect {}",
            summary.done + summary.skipped,
            plan.steps.len(),
            summary.left,
            summary.run,
            global.again(),
            summary.left + summary.failed
        ));
    }
    if let Some(words) = how_to_take_back(plan, summary, &global.again()) {
        output::words(&words);
    }
    // Where every step was found done, or was rightly left out, the proof is owed all the same: 0 means that it works.
    if summary.exit_code() != 0 {
        return summary.exit_code();
    }
    let Some(within_seconds) = plan.verify.within_seconds() else { return 0 };
    let within = watch.wait.unwrap_or(Duration::from_secs(within_seconds.into()));
    let proof = watch_for_proof(global, plan, clusters, journal, stop, within, watch.settle).await;
    let (ok, detail, code) = match proof {
        Proof::Holds { quiet: None } => (true, format!("verified: {}", present::promise(&plan.verify)), 0),
        Proof::Holds { quiet: Some((running, seconds)) } => {
            let promise = present::promise(&plan.verify);
            (true, format!("verified: {promise}; {}", present::quiet(&running, seconds)), 0)
        }
        Proof::Refused { what } => {
            for line in how_to_restore(plan, summary, journal, &global.again()) {
                output::words(&line);
            }
            (false, format!("written, and REFUSED: {what}"), 4)
        }
        Proof::Needs { what } => (false, format!("written; not seen to work yet: {what}"), 0),
        Proof::NotInTime { what } => {
            (false, format!("written, but not seen to work within {} s: {what}", within.as_secs()), 4)
        }
        Proof::Interrupted { what } => {
            let code = FailureKind::Interrupted.exit_code();
            (false, format!("written; the watching was interrupted before it was seen to work: {what}"), code)
        }
    };
    output::words(&detail);
    if ok {
        for lost in &plan.afterwards {
            output::words(&format!("not brought back: {lost}"));
        }
    }
    if global.output != Format::Text {
        output::data(&serde_json::json!({ "run": summary.run, "verified": ok, "detail": detail }).to_string());
    }
    if let Err(failure) = journal.verified(&summary.run, ok, &detail) {
        session::note(&failure);
    }
    code
}

/// How the steps of a run ended, in numbers.
pub fn say(summary: &RunSummary) {
    if !summary.run.is_empty() {
        output::words(&format!(
            "run {}: {} done, {} failed, {} skipped, {} unknown, {} left; journal {}",
            summary.run, summary.done, summary.failed, summary.skipped, summary.unknown, summary.left, summary.journal
        ));
    }
}

/// The two commands that take back what was written: `undo` only makes the plan. `None` where nothing can be.
fn how_to_take_back(plan: &Plan, summary: &RunSummary, again: &str) -> Option<String> {
    let replaced = plan.steps.iter().filter(|step| matches!(step.undo, Undo::FromBackup | Undo::Delete)).count();
    if summary.done == 0 || replaced == 0 {
        return None;
    }
    // Known only where all of it was done: how many of the steps done were such.
    let count = if summary.done == plan.steps.len() { replaced.to_string() } else { "N".to_owned() };
    let context = plan.clusters.first().map_or("NAME".to_owned(), |cluster| quoted(&cluster.context));
    Some(format!(
        "to take it back: prow-breakglass undo {} --context {context}{again} -f undo.json\n           \
         then: prow-breakglass apply undo.json --execute --context {context}{again} --expect {count}",
        summary.run
    ))
}

/// The exact commands that bring back what works: what was there before this run, and what was last seen loaded.
fn how_to_restore(plan: &Plan, summary: &RunSummary, journal: &Journal, again: &str) -> Vec<String> {
    let mut lines: Vec<String> = how_to_take_back(plan, summary, again).into_iter().collect();
    let Some(cluster) = plan.clusters.first() else { return lines };
    // A journal that cannot be read has nothing to offer; that it cannot be was said.
    if journal.last_loaded(cluster).is_ok_and(|contents| !contents.is_empty()) {
        lines.push(format!(
            "or what was last seen loaded: prow-breakglass plan sync-config --last-loaded --context {context}{again} -f \
             restore.json\n           then: prow-breakglass apply restore.json --execute --context {context}{again} \
             --expect N",
            context = quoted(&cluster.context)
        ));
    }
    lines
}

async fn watch_for_proof(
    global: &Global,
    plan: &Plan,
    clusters: &Clusters,
    journal: &Journal,
    stop: StopToken,
    within: Duration,
    settle: Duration,
) -> Proof {
    let clock = session::clock(global);
    let written = clock.now();
    let settle = u32::try_from(settle.as_secs()).unwrap_or(u32::MAX);
    let Some(cluster) = clusters.get(&Alias::service()) else {
        return Proof::NotInTime { what: "the service cluster is not connected".to_owned() };
    };
    let memory = Memory::new(journal.clone(), clusters.clone());
    let mut observer = session::observe_all(global, cluster.clone());
    memory.recall(&observer).iter().for_each(session::note);
    let mut snapshots = observer.snapshots();
    let deadline = tokio::time::Instant::now() + within;
    tokio::select! {
        _ = observer.settled(within.min(first_look(plan))) => {}
        () = stop.stopped() => {}
    }
    let mut quiet: Option<Vec<String>> = None;
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let state = verify_for(plan, &snapshot, written, settle);
        let missing = match &state {
            VerifyState::Holds => return Proof::Holds { quiet: quiet.map(|running| (running, settle.into())) },
            VerifyState::Settling { running } => {
                if quiet.is_none() {
                    output::words(&present::settling(running, settle));
                }
                quiet = Some(running.clone());
                String::new()
            }
            VerifyState::Refused { what } | VerifyState::NotYet { what } => what.clone(),
        };
        let diagnosis = diagnose(&snapshot);
        // What was written may be refused, too.
        if let Err(failure) = memory.keep(&observer, &snapshot, &diagnosis.refused) {
            session::note(&failure);
        }
        if let VerifyState::Refused { what } = state {
            return Proof::Refused { what };
        }
        // Who waits out a back-off of up to five minutes should know that there is a way round it.
        if plan.repair == RepairId::SyncConfig
            && let NextStep::Repair { repair: RepairId::Kick, .. } = diagnosis.verdict.next
        {
            return Proof::Needs {
                what: format!("{missing}; to end the back-off now: prow-breakglass plan kick -f FILE"),
            };
        }
        tokio::select! {
            biased;
            () = stop.stopped() => return Proof::Interrupted { what: unproven(missing, quiet.as_deref()) },
            () = tokio::time::sleep_until(deadline) => {
                let waited = clock.now().as_second() - written.as_second();
                return match quiet {
                    Some(running) if missing.is_empty() => {
                        Proof::Holds { quiet: Some((running, waited.unsigned_abs())) }
                    }
                    Some(_) | None => Proof::NotInTime { what: missing },
                };
            }
            changed = snapshots.changed() => {
                if changed.is_err() {
                    return Proof::NotInTime { what: missing };
                }
            }
        }
    }
}

/// How long the first picture may take to be whole. Where components come up, what matters is seen soon, and a log that hangs
/// should not hold the good news back; where pods of jobs are counted, half a picture proves nothing.
fn first_look(plan: &Plan) -> Duration {
    Duration::from_secs(match plan.verify {
        Verify::ComponentsReady { .. } | Verify::Written => 3,
        Verify::RolloutDone { .. } | Verify::NoStrays { .. } => 15,
    })
}

/// What is missing; where nothing is but time, whom it is for.
fn unproven(missing: String, quiet: Option<&[String]>) -> String {
    match quiet {
        Some(running) if missing.is_empty() => format!("{} may yet refuse it", running.join(", ")),
        Some(_) | None => missing,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::Args;
    use crate::cli::testing;
    use crate::cluster::fake::FakeServer;
    use crate::model::{Kind, ObjectRef};

    /// Concludes a run that wrote everything and promised that hook becomes Ready, which it never does.
    async fn concluded(journal: impl FnOnce(&Plan) -> Journal, stop: StopToken) -> (u8, Journal) {
        let server = FakeServer::new();
        let hook = ObjectRef::new(&Alias::service(), "prow", Kind::Deployment, "hook");
        let promise = Verify::ComponentsReady { components: vec![hook], within_seconds: 330 };
        let plan = testing::plan(&server, promise);
        let journal = journal(&plan);
        let args = Args::try_parse_from(["prow-breakglass", "status"]).unwrap();
        let clusters = Clusters::from([(Alias::service(), server.cluster())]);
        let summary = RunSummary { run: "r-0001".to_owned(), done: 1, ..RunSummary::default() };
        let wait = Watch { wait: Some(Duration::from_millis(20)), settle: Duration::from_secs(1) };
        (conclude(&args.global, &plan, &summary, &clusters, &journal, stop, wait).await, journal)
    }

    #[tokio::test]
    async fn watching_that_is_interrupted_is_no_failure_of_the_repair() {
        let dir = tempfile::tempdir().unwrap();
        let begun = |plan: &Plan| {
            let journal = Journal::for_reading(dir.path().join("state"));
            drop(journal.begin(plan, "oncall", Mode::Flags).unwrap());
            journal
        };
        let stop = StopToken::new();
        stop.stop("SIGINT");
        let (code, journal) = concluded(begun, stop).await;
        assert_eq!(code, 130);
        let (ok, detail) = journal.run("r-0001").unwrap().verified.unwrap();
        assert!(!ok && detail.contains("interrupted") && !detail.contains("within"), "{detail}");
    }

    #[tokio::test]
    async fn a_journal_that_fails_after_the_write_does_not_make_it_a_failure() {
        let nowhere = |_: &Plan| Journal::nowhere(Failure::new(FailureKind::Tool, "the disk is full"));
        assert_eq!(concluded(nowhere, StopToken::new()).await.0, 4, "written, and not seen to work");
    }

    #[test]
    fn taking_back_is_two_commands_and_both_are_said() {
        let plan = testing::plan(&FakeServer::new(), Verify::Written);
        let done = |done| RunSummary { run: "r-0007".to_owned(), done, ..RunSummary::default() };
        assert_eq!(how_to_take_back(&plan, &done(0), ""), None);
        let words = how_to_take_back(&plan, &done(1), "").unwrap();
        assert!(words.contains("prow-breakglass undo r-0007 --context test -f undo.json\n"), "{words}");
        let apply = "prow-breakglass apply undo.json --execute --context test --expect 1";
        assert!(words.ends_with(apply), "{words}");
        let words = how_to_take_back(&plan, &done(1), " --kubeconfig k --journal j").unwrap();
        assert_eq!(words.matches("--context test --kubeconfig k --journal j").count(), 2, "{words}");
    }
}
