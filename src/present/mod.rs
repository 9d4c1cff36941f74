//! The only wording (a stand-in until the room is built).
#![allow(missing_docs)]

use crate::diagnose::*;
use crate::model::*;
use crate::repair::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiffTag {
    Hunk,
    Same,
    Removed,
    Added,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffLine {
    pub tag: DiffTag,
    pub text: String,
}

pub struct StepWords {
    pub verb: String,
    pub object: String,
    pub guard: String,
    pub effect: String,
    pub undo: String,
}

pub fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = (now.as_second() - since.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
pub fn clock(at: Timestamp, _now: Timestamp) -> String {
    at.strftime("%H:%MZ").to_string()
}
pub fn clock_seconds(at: Timestamp) -> String {
    at.strftime("%H:%M:%SZ").to_string()
}
pub fn short_image(image: &str) -> &str {
    image.rsplit(':').next().unwrap_or(image)
}
pub fn confirmation(_: &Confirmation) -> String {
    "To run it, type yes and press Enter".into()
}
pub fn health(health: Health) -> &'static str {
    match health {
        Health::Healthy => "HEALTHY",
        Health::Degraded => "DEGRADED",
        Health::Broken => "BROKEN",
        Health::Unknown => "UNKNOWN",
    }
}
pub fn verdict(d: &Diagnosis, _now: Timestamp) -> String {
    let since = d.verdict.since.map(|at| format!(" since {}", clock(at, at))).unwrap_or_default();
    format!("{}{since}  {}", health(d.verdict.state), d.verdict.loss.join("; "))
}
pub fn next(d: &Diagnosis) -> String {
    match &d.verdict.next {
        NextStep::Nothing => "NEXT  nothing".into(),
        NextStep::Repair { repair, to } => {
            format!("NEXT  plan {repair}{} (p)", to.as_ref().map(|r| format!(" to {}", r.short())).unwrap_or_default())
        }
        NextStep::Resume { run } => format!("NEXT  resume {run}"),
        NextStep::MendRevision { .. } => "NEXT  mend".into(),
        NextStep::Wait { what } => format!("NEXT  wait: {what}"),
        NextStep::Look { at } => format!("NEXT  look at {at}"),
        NextStep::RegainSight { source } => format!("NEXT  regain {source}"),
    }
}
pub fn flow(flow: &Flow, now: Timestamp) -> String {
    let one = |name: &str, at: Option<Timestamp>| format!("{name} {}", at.map_or("?".into(), |at| age(at, now)));
    format!(
        "FLOW {} | {} | {} | {} | {}",
        one("trigger", flow.trigger),
        one("start", flow.start),
        one("report", flow.report),
        one("merge", flow.merge),
        one("periodic", flow.periodic)
    )
}
pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Bad => "BAD",
        Severity::Warn => "WARN",
        Severity::Info => "info",
    }
}
pub fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Fact => "FACT",
        Basis::Guess => "GUESS",
    }
}
pub fn finding(finding: &Finding) -> String {
    format!("{}: {}", finding.kind.name(), finding.evidence.first().cloned().unwrap_or_default())
}
pub fn source_line(status: &SourceStatus, now: Timestamp) -> Option<String> {
    match &status.source {
        Source::Known { .. } => None,
        Source::Loading => Some(format!("LOADING {}", status.name)),
        Source::Denied { verb } => Some(format!("DENIED {verb} ({})", status.name)),
        Source::Lost { error, last } => Some(format!(
            "LOST {}{}: {}",
            status.name,
            last.as_ref().map(|(_, at)| format!(" since {}", age(*at, now))).unwrap_or_default(),
            error.summary
        )),
    }
}
pub fn component_note(component: &Component, _now: Timestamp) -> String {
    component
        .pods
        .iter()
        .flat_map(|p| &p.containers)
        .find_map(|c| c.last_fatal.as_ref())
        .map(|line| line.error.clone())
        .unwrap_or_default()
}
pub fn component_state(component: &Component) -> String {
    component.pods.iter().find(|p| !p.ready).map_or_else(|| "Running".to_owned(), |p| p.state.clone())
}
pub fn drift_state(state: DriftState) -> &'static str {
    match state {
        DriftState::Same => "same",
        DriftState::Drift => "drift",
        DriftState::Missing => "missing",
        DriftState::Unmanaged => "unmanaged",
        DriftState::Unknown => "unknown",
    }
}
pub fn key_change(change: KeyChange) -> &'static str {
    match change {
        KeyChange::Same => "=",
        KeyChange::Added => "+",
        KeyChange::Removed => "-",
        KeyChange::Changed => "~",
    }
}
pub fn choice(choice: &Choice) -> String {
    format!("{} \"{}\" ({})", choice.revision.short(), choice.revision.subject, basis(choice.basis))
}
pub fn diff(live: Option<&[u8]>, git: Option<&[u8]>, context: usize) -> Vec<DiffLine> {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let (old, new) = (text(live), text(git));
    let diff = similar::TextDiff::from_lines(&old, &new);
    let mut lines = Vec::new();
    for group in diff.grouped_ops(context) {
        lines.push(DiffLine { tag: DiffTag::Hunk, text: "@@".into() });
        for op in group {
            for change in diff.iter_changes(&op) {
                let tag = match change.tag() {
                    similar::ChangeTag::Equal => DiffTag::Same,
                    similar::ChangeTag::Delete => DiffTag::Removed,
                    similar::ChangeTag::Insert => DiffTag::Added,
                };
                lines.push(DiffLine { tag, text: change.value().trim_end().to_owned() });
            }
        }
    }
    lines
}
pub fn step(step: &Step) -> StepWords {
    StepWords {
        verb: step.write.word().into(),
        object: step.write.object().to_string(),
        guard: match &step.write {
            Write::PutConfigMap { at, .. } => format!("resourceVersion {}", at.resource_version),
            Write::CreateConfigMap { .. } => "absent".into(),
            Write::DeletePod { uid, .. } => format!("uid {uid}"),
        },
        effect: step.effect.clone(),
        undo: "u: from backup".into(),
    }
}
pub fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Accepted => "accepted".into(),
        Answer::Moved { detail } => format!("MOVED {detail}"),
        Answer::Gone => "gone".into(),
        Answer::Refused { failure } => format!("REFUSED {}", failure.summary),
    }
}
pub fn plan_notes(plan: &Plan) -> Vec<String> {
    plan.warnings.iter().map(|w| format!("WARN {w}")).collect()
}
pub fn by_hand(_plan: &Plan) -> Vec<String> {
    vec!["kubectl --context prow-services -n prow replace -f job-config.yaml".into()]
}
pub fn failure(failure: &Failure) -> Vec<String> {
    let mut lines = vec![format!("error: {}", failure.summary)];
    lines.extend(failure.causes.iter().map(|c| format!("caused by: {c}")));
    lines.extend(failure.hint.iter().map(|h| format!("hint: {h}")));
    lines
}
pub fn outcome(outcome: Outcome) -> &'static str {
    outcome.word()
}
