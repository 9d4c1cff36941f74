//! `apply FILE`: previews a saved plan again, and with `--execute` runs it and watches for the proof.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::diagnose::{NextStep, VerifyState, diagnose, verify};
use crate::journal::{Journal, Mode};
use crate::model::{Alias, Failure, FailureKind, RunEvent, RunSummary, Timestamp};
use crate::present;
use crate::repair::{Approval, ApprovedPlan, Expect, Plan, RepairId, Verify, approve};
use crate::run::{self, Clusters, Operator};

use super::args::{ApplyArgs, Format, Global, WriteArgs};
use super::memory::Memory;
use super::{Exit, output, plan, session, signals};

pub async fn run(global: &Global, args: &ApplyArgs) -> Exit {
    let plan = plan::load(&args.file)?;
    if args.write.execute {
        demand_context(global)?;
    }
    let clusters = clusters_of(global, &plan).await?;
    let preview = run::preview(&plan, &clusters, Timestamp::now()).await?;
    output::words(&present::plan_text(&plan, Some(&preview)));
    if !args.write.execute {
        if global.output != Format::Text {
            output::document(global.output, || present::plan_document(&plan, Some(&preview)), String::new)?;
        }
        output::words("previewed only: --execute writes");
        return match present::first_refusal(&preview) {
            Some(failure) => Err(failure),
            None => Ok(0),
        };
    }
    let (approval, mode) = approval(global, &args.write, &plan)?;
    let approved = approve(&plan, &preview, &approval)?;
    let journal = session::journal_for_writing(global)?;
    let summary = execute(global, approved, &clusters, &journal, mode).await?;
    conclude(global, &plan, &summary, &clusters, &journal, args.write.wait).await
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
    let service = plan.clusters.iter().find(|cluster| cluster.alias == Alias::service());
    let context = global.context.as_deref().or(service.map(|cluster| cluster.context.as_str()));
    Ok(Clusters::from([(Alias::service(), session::connect_to(global, context).await?)]))
}

/// `--expect N`, or, with a person at a terminal, the plan's words.
fn approval(global: &Global, args: &WriteArgs, plan: &Plan) -> Result<(Approval, Mode), Failure> {
    let expect = match (args.expect, args.expect_at_most) {
        (Some(n), _) => Some(Expect::Exactly(n)),
        (None, Some(n)) => Some(Expect::AtMost(n)),
        (None, None) => None,
    };
    if let Some(expect) = expect {
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
async fn execute(
    global: &Global,
    approved: ApprovedPlan,
    clusters: &Clusters,
    journal: &Journal,
    mode: Mode,
) -> Result<RunSummary, Failure> {
    let stop = signals::stop_on_signals()?;
    let operator = operator(clusters, mode).await;
    let (tell, events) = mpsc::unbounded_channel();
    let printer = tokio::spawn(print_events(global.output, events));
    let summary = run::start(approved, clusters.clone(), journal.clone(), operator, stop, tell).await;
    // The run has dropped its end of the channel, so the printer ends.
    let _ = printer.await;
    Ok(summary)
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
    Holds,
    /// Not yet, and nothing more will happen soon without a further step.
    Needs {
        what: String,
    },
    NotInTime {
        what: String,
    },
}

/// After the last write: the summary, the proof, the next step.
pub async fn conclude(
    global: &Global,
    plan: &Plan,
    summary: &RunSummary,
    clusters: &Clusters,
    journal: &Journal,
    wait: Option<Duration>,
) -> Exit {
    if !summary.run.is_empty() {
        output::words(&format!(
            "run {}: {} done, {} failed, {} skipped, {} unknown, {} left; journal {}",
            summary.run, summary.done, summary.failed, summary.skipped, summary.unknown, summary.left, summary.journal
        ));
    }
    if let Some(failure) = &summary.first_failure {
        output::words(&present::failure(failure).join("\n"));
    }
    if summary.exit_code() != 0 || summary.done == 0 {
        return Ok(summary.exit_code());
    }
    if plan.repair != RepairId::Kick {
        output::words(&format!("to take it back: prow-breakglass undo {}", summary.run));
    }
    let Verify::ComponentsReady { within_seconds, .. } = plan.verify else { return Ok(0) };
    let within = wait.unwrap_or(Duration::from_secs(within_seconds.into()));
    let proof = watch_for_proof(global, plan, clusters, journal, within).await?;
    let (ok, detail, code) = match proof {
        Proof::Holds => {
            (true, "verified: what was written is live, and the components that this is about are Ready".to_owned(), 0)
        }
        Proof::Needs { what } => (false, format!("written; not seen to work yet: {what}"), 0),
        Proof::NotInTime { what } => {
            (false, format!("written, but not seen to work within {} s: {what}", within.as_secs()), 4)
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
    journal.verified(&summary.run, ok, &detail)?;
    Ok(code)
}

async fn watch_for_proof(
    global: &Global,
    plan: &Plan,
    clusters: &Clusters,
    journal: &Journal,
    within: Duration,
) -> Result<Proof, Failure> {
    let Some(cluster) = clusters.get(&Alias::service()) else {
        return Ok(Proof::NotInTime { what: "the service cluster is not connected".to_owned() });
    };
    let memory = Memory::new(journal.clone());
    let mut observer = session::observe(global, cluster.clone(), &memory).await?;
    let stop = signals::stop_on_signals()?;
    let mut snapshots = observer.snapshots();
    let deadline = tokio::time::Instant::now() + within;
    observer.settled(within.min(Duration::from_secs(15))).await;
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let missing = match verify(plan, &snapshot) {
            VerifyState::Holds => return Ok(Proof::Holds),
            VerifyState::NotYet { what } => what,
        };
        let diagnosis = diagnose(&snapshot);
        // What was written may be refused, too.
        if let Err(failure) = memory.keep(&observer, &snapshot, &diagnosis) {
            session::note(&failure);
        }
        // Who waits out a back-off of up to five minutes should know that there is a way round it.
        if plan.repair == RepairId::SyncConfig
            && let NextStep::Repair { repair: RepairId::Kick, .. } = diagnosis.verdict.next
        {
            return Ok(Proof::Needs {
                what: format!("{missing}; to end the back-off now: prow-breakglass plan kick -f FILE"),
            });
        }
        tokio::select! {
            changed = snapshots.changed() => {
                if changed.is_err() {
                    return Ok(Proof::NotInTime { what: missing });
                }
            }
            () = tokio::time::sleep_until(deadline) => return Ok(Proof::NotInTime { what: missing }),
            () = stop.stopped() => return Ok(Proof::NotInTime { what: format!("{missing}; the watching was interrupted") }),
        }
    }
}
