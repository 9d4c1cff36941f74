//! Runs, as the journal tells them.

use serde_json::{Value, json};

use crate::journal::{RunRecord, RunState};
use crate::model::{Failure, FailureKind};
use crate::repair::{Answer, Preview};

use super::{API_VERSION, clock_seconds, outcome};

/// `ended`, `stopped, 2 of 9 done, 7 left`, `running`, `interrupted`, `damaged`.
fn state(run: &RunRecord) -> String {
    match &run.state {
        RunState::Running { pid } => format!("running in process {pid}"),
        RunState::Ended => match run.progress().filter(|_| run.was_stopped()) {
            Some(progress) => format!("stopped, {progress}"),
            None => "ended".to_owned(),
        },
        RunState::Interrupted { unknown } if unknown.is_empty() => "interrupted".to_owned(),
        RunState::Interrupted { unknown } => {
            format!("interrupted, the outcome of {} write(s) is unknown", unknown.len())
        }
        RunState::Damaged { why } => format!("journal damaged: {why}"),
    }
}

fn word(run: &RunRecord) -> &'static str {
    match run.state {
        RunState::Running { .. } => "running",
        RunState::Ended if run.was_stopped() => "stopped",
        RunState::Ended => "ended",
        RunState::Interrupted { .. } => "interrupted",
        RunState::Damaged { .. } => "damaged",
    }
}

/// One line of `run list`.
pub fn run_line(run: &RunRecord) -> String {
    let (title, at) = match &run.begin {
        Some(begin) => (begin.title.as_str(), begin.at.strftime("%F %H:%M:%SZ").to_string()),
        None => ("died before its first record; nothing was sent", "-".to_owned()),
    };
    let context = run.begin.as_ref().and_then(|begin| begin.clusters.first());
    let on = context.map_or(String::new(), |cluster| format!("  on {} ({})", cluster.context, cluster.server));
    format!("{}  {at}  {}  {title}{on}", run.run, state(run))
}

/// `run show`.
pub fn run_text(run: &RunRecord) -> String {
    let mut text = run_line(run) + "\n";
    if let Some(begin) = &run.begin {
        text.push_str(&format!("by {}, plan {}\n", begin.who, begin.plan.get(..12).unwrap_or(&begin.plan)));
        for cluster in begin.clusters.iter().skip(1) {
            text.push_str(&format!("and on {} ({})\n", cluster.context, cluster.server));
        }
        for over in &begin.overrides {
            text.push_str(&format!("override {}, reason: {}\n", over.id.name(), over.reason));
        }
    }
    for step in &run.steps {
        let ended = match (&step.outcome, &step.found) {
            (Some(ended), _) => {
                format!("{} {}: {}", clock_seconds(ended.at), outcome(ended.outcome), ended.status)
            }
            (None, Some((_, detail))) => format!("read back: {detail}"),
            (None, None) => "nobody knows whether it landed".to_owned(),
        };
        text.push_str(&format!("  {}  {}  {ended}\n", step.n, step.object));
        if let Some(intent) = &step.intent {
            text.push_str(&format!(
                "     {} sent {}, Audit-ID {}\n",
                intent.write,
                clock_seconds(intent.at),
                intent.audit_id
            ));
        }
    }
    if let Some(why) = &run.stopped {
        text.push_str(&format!("stopped: {why}\n"));
    }
    if let Some((ok, detail)) = &run.verified {
        text.push_str(&format!("proof: {}{detail}\n", if *ok { "" } else { "not yet. " }));
    }
    text.push_str(&format!("journal {}\n", run.folder.display()));
    text
}

/// `kind: Run`.
pub fn run_document(run: &RunRecord) -> Value {
    let steps: Vec<Value> = run
        .steps
        .iter()
        .map(|step| {
            json!({
                "n": step.n, "object": step.object,
                "outcome": step.outcome.as_ref().map(|ended| ended.outcome),
                "status": step.outcome.as_ref().map(|ended| &ended.status),
                "at": step.outcome.as_ref().map(|ended| ended.at),
                "auditID": step.intent.as_ref().map(|intent| &intent.audit_id),
                "inDoubt": step.is_open(),
            })
        })
        .collect();
    json!({
        "apiVersion": API_VERSION, "kind": "Run", "run": run.run, "state": word(run), "detail": state(run),
        "title": run.begin.as_ref().map(|begin| &begin.title), "at": run.begin.as_ref().map(|begin| begin.at),
        "repair": run.begin.as_ref().map(|begin| begin.repair), "who": run.begin.as_ref().map(|begin| &begin.who),
        "clusters": run.begin.as_ref().map(|begin| &begin.clusters), "undoes": run.begin.as_ref().map(|begin| &begin.undoes),
        "overrides": run.begin.as_ref().map(|begin| &begin.overrides),
        "steps": steps, "stopped": run.stopped, "ended": run.ended,
        "verified": run.verified.as_ref().map(|(ok, _)| ok), "folder": run.folder,
    })
}

/// `kind: RunList`.
pub fn run_list(runs: &[RunRecord]) -> Value {
    json!({ "apiVersion": API_VERSION, "kind": "RunList", "runs": runs.iter().map(run_document).collect::<Vec<_>>() })
}

/// What a preview with a refused step ends with: the first refusal.
pub fn first_refusal(preview: &Preview) -> Option<Failure> {
    preview.steps.iter().find_map(|step| match &step.answer {
        Answer::Accepted | Answer::Gone => None,
        Answer::Moved { detail } => Some(
            Failure::new(FailureKind::Refused, format!("step {} does not hold: {detail}", step.n))
                .hint("somebody else is at work on it: talk to them, then make the plan anew"),
        ),
        Answer::Refused { failure } => Some(failure.clone()),
    })
}
