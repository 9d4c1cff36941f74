//! `run list|show|resume`: what was written, what is in doubt, and finishing it.

use tokio::sync::mpsc;

use crate::cluster::gate::Landed;
use crate::journal::{Mode, RunRecord, RunState};
use crate::model::{Failure, FailureKind};
use crate::present;
use crate::repair::{RepairId, still_allowed};
use crate::run::{self, ResumeView, Standing};

use super::args::{Global, WriteArgs};
use super::{Exit, apply, in_cluster, output, session, signals};

pub fn list(global: &Global) -> Exit {
    let runs = session::journal(global).runs()?;
    output::document(
        global.output,
        || present::run_list(&runs),
        || {
            if runs.is_empty() {
                return "no runs yet".to_owned();
            }
            runs.iter().map(|run| present::run_line(run) + "\n").collect()
        },
    )?;
    Ok(0)
}

pub fn show(global: &Global, run: &str) -> Exit {
    let record = session::journal(global).run(run)?;
    output::document(global.output, || present::run_document(&record), || present::run_text(&record))?;
    Ok(0)
}

/// Reads back; with `--execute` finishes.
pub async fn resume(global: &Global, run: &str, args: &WriteArgs) -> Exit {
    let reading = session::journal(global);
    let record = reading.run(run)?;
    let plan = reading.plan(&record)?;
    if args.execute {
        apply::demand_context(global)?;
    }
    if plan.repair == RepairId::CheckInCluster {
        return in_cluster::resume(global, &record, &plan, args).await;
    }
    let clusters = apply::clusters_of(global, &plan).await?;
    let view = run::inspect(&reading, run, &clusters).await?;
    output::words(&describe(&view));
    if is_over(&record, &view) {
        output::words("it came to its end: nothing is left to resume");
        return Ok(0);
    }
    if !args.execute {
        output::words("nothing was written: --execute finishes it; `undo` makes the plan that takes back what landed");
        return Ok(1);
    }
    let to_do = view.to_do();
    let fits = match (args.expect, args.expect_at_most) {
        (Some(n), _) => n == to_do,
        (None, Some(n)) => to_do <= n,
        (None, None) => {
            return Err(Failure::new(FailureKind::Usage, "--execute needs --expect N")
                .hint(format!("{to_do} write(s) are left: --expect {to_do}")));
        }
    };
    if !fits {
        return Err(Failure::new(FailureKind::Refused, format!("{to_do} write(s) are left, another number was given"))
            .hint("read what is left above; if that is what you want, give that number"));
    }
    if to_do > 0 {
        let now = apply::picture_for(global, &plan).await?;
        still_allowed(&plan, now.as_ref())?;
    }
    let journal = session::journal_for_writing(global)?;
    let operator = apply::operator(&clusters, Mode::Flags).await;
    let stop = signals::stop_on_signals()?;
    let (tell, events) = mpsc::unbounded_channel();
    let printer = tokio::spawn(apply::print_events(global.output, events));
    let summary = if to_do == 0 {
        run::settle(&journal, run, &clusters, &operator, tell).await
    } else {
        run::resume(&journal, run, &clusters, &operator, stop.clone(), tell).await
    };
    let _ = printer.await;
    Ok(apply::conclude(global, &plan, &summary?, &clusters, &journal, stop, args.watch()).await)
}

fn is_over(record: &RunRecord, view: &ResumeView) -> bool {
    matches!(record.state, RunState::Ended) && view.to_do() == 0
}

fn describe(view: &ResumeView) -> String {
    let mut text = format!("run {}: {}\n", view.run.run, view.plan.title);
    for step in &view.steps {
        let standing = match &step.standing {
            Standing::Finished(outcome) => format!("{}: {}", present::outcome(outcome.outcome), outcome.status),
            Standing::Failed(outcome) => format!("failed: {}; would be tried again", outcome.status),
            Standing::ReadBack(landed) => {
                let then = match landed {
                    Landed::AsWritten | Landed::Gone => "",
                    Landed::AsBefore => "; would be sent again",
                    Landed::Otherwise { .. } => "; left alone",
                };
                format!("its outcome was unknown; {}{then}", read_back(landed))
            }
            Standing::Unknowable(detail) => format!("unknown for good: {detail}"),
            Standing::NotBegun => "not begun".to_owned(),
        };
        text.push_str(&format!("  {}  {}  {standing}\n", step.n, step.object));
    }
    text
}

/// What reading back says of a step.
pub fn read_back(landed: &Landed) -> String {
    match landed {
        Landed::AsWritten => "read back: it landed".to_owned(),
        Landed::AsBefore => "read back: as before, so far".to_owned(),
        Landed::Otherwise { detail, .. } => format!("read back: {detail}"),
        Landed::Gone => "read back: the object is gone".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing;
    use crate::cluster::fake::FakeServer;
    use crate::journal::Journal;
    use crate::journal::Record;
    use crate::model::Outcome;
    use crate::repair::{Override, OverrideId, Verify};

    #[test]
    fn a_run_that_was_stopped_is_listed_as_that() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path().join("state")).unwrap();
        let mut plan = testing::plan(&FakeServer::new(), Verify::Written);
        plan.steps.push(crate::repair::Step { n: 2, ..plan.steps[0].clone() });
        let object = plan.steps[0].write.object().clone();
        let mut writer = journal.begin(&plan.sealed(), "oncall", Mode::Flags).unwrap();
        let done = Outcome::Done;
        let step = Record::Outcome {
            n: 1,
            object,
            outcome: done,
            status: "written".to_owned(),
            uid: None,
            resource_version: None,
        };
        let end = Record::Ended { done: 1, failed: 0, skipped: 0, unknown: 0, left: 1 };
        for record in [step, Record::Stopped { why: "stopped by SIGINT".to_owned() }, end] {
            writer.append(record).unwrap();
        }
        drop(writer);
        let run = journal.run("r-0001").unwrap();
        assert!(present::run_line(&run).contains("  stopped, 1 of 2 done, 1 left  "), "{}", present::run_line(&run));
        assert_eq!(present::run_document(&run)["state"], "stopped");
        let failure = &journal.interrupted().unwrap()[0];
        assert_eq!((failure.run.as_str(), failure.running_pid), ("r-0001", None));
    }

    #[test]
    fn what_was_set_aside_is_told_with_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path().join("state")).unwrap();
        let mut plan = testing::plan(&FakeServer::new(), Verify::Written);
        plan.basis.overrides = vec![Override { id: OverrideId::WrongTarget, reason: "it was renamed".to_owned() }];
        drop(journal.begin(&plan.sealed(), "oncall", Mode::Flags).unwrap());
        let run = journal.run("r-0001").unwrap();
        assert!(present::run_text(&run).contains("override wrong-target, reason: it was renamed"));
        assert_eq!(present::run_document(&run)["overrides"][0]["id"], "wrong-target");
    }
}
