//! The verdict, the pulse and the tables of `status` and the Overview.

use crate::diagnose::{
    ChangeKind, Choice, Diagnosis, DriftState, Finding, FindingKind, Flow, Health, KeyChange, NextStep, UnderWay,
};
use crate::model::{Component, ContainerState, ObjectRef, Snapshot, Source, SourceStatus, Timestamp};
use crate::repair::RepairId;

use super::{age, basis, clock, clock_seconds, severity};

pub fn health(health: Health) -> &'static str {
    match health {
        Health::Healthy => "HEALTHY",
        Health::Degraded => "DEGRADED",
        Health::Broken => "BROKEN",
        Health::Unknown => "UNKNOWN",
    }
}

/// `BROKEN since 16:49Z  hook cannot start …. hook is down: …. Began just after …`.
pub fn verdict(diagnosis: &Diagnosis, now: Timestamp) -> String {
    let verdict = &diagnosis.verdict;
    let mut text = health(verdict.state).to_owned();
    if let Some(since) = verdict.since {
        text.push_str(&format!(" since {}", clock(since, now)));
    }
    text.push_str("  ");
    text.push_str(&verdict_summary(diagnosis));
    for loss in &verdict.loss {
        text.push_str(&format!(". {loss}"));
    }
    if let Some(change) = &verdict.began {
        let at = clock(change.at, now);
        text.push_str(&match &change.what {
            ChangeKind::ConfigMapWritten { config_map, manager } => {
                format!(". Before it: ConfigMap {config_map} written {at} by {manager}")
            }
            ChangeKind::RolledOut { component, image } => {
                format!(". Before it: {component} rolled out {at} ({})", short_image(image))
            }
            ChangeKind::Bumped { tag, components } => {
                let since = verdict.since.unwrap_or(change.at);
                let together = if *components > 1 { format!(" ({components} components)") } else { String::new() };
                format!(". Began {} the rollout to {tag}{together}", after(change.at, since))
            }
            ChangeKind::Committed { revision } => format!(". Before it: commit {} at {at}", revision.short()),
        });
    }
    text
}

/// `two minutes after`: how people tell it to each other.
fn after(change: Timestamp, since: Timestamp) -> String {
    const WORDS: [&str; 10] = ["", "a", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    let seconds = (since.as_second() - change.as_second()).max(0);
    let minutes = usize::try_from((seconds + 30) / 60).unwrap_or(usize::MAX);
    match minutes {
        0 => "just after".to_owned(),
        1 => "a minute after".to_owned(),
        2..10 => format!("{} minutes after", WORDS[minutes]),
        _ => format!("{} after", age(change, since)),
    }
}

/// The verdict without its time and state: one sentence.
pub fn verdict_summary(diagnosis: &Diagnosis) -> String {
    let verdict = &diagnosis.verdict;
    let cause = verdict.cause.as_deref().and_then(|id| diagnosis.finding(id));
    match (verdict.state, cause) {
        (Health::Unknown, _) => "Too little can be seen to say how Prow is; see what is DENIED or LOST".to_owned(),
        (Health::Healthy, _) => {
            let unread =
                diagnosis.choice.is_none() || diagnosis.drift.iter().any(|map| map.state == DriftState::Unknown);
            let configuration = if unread {
                "; their configuration could not be judged, see what is DENIED or LOST"
            } else {
                " and nothing speaks against their configuration"
            };
            let strays = &diagnosis.strays;
            let pods = if strays.is_judged() && strays.is_complete() {
                ""
            } else {
                "; where all pods of jobs are could not be seen"
            };
            format!("All components are ready{configuration}{pods}")
        }
        (Health::Degraded | Health::Broken, Some(cause)) => match &cause.kind {
            FindingKind::ConfigLoadFailure { component, config_map, .. } => match (config_map, &verdict.next) {
                // These come next only where what it refused is not what is there now.
                (_, NextStep::Repair { repair: RepairId::Kick, .. } | NextStep::Wait { .. }) => {
                    format!("{component} is not up yet: the configuration that it refused has been replaced since")
                }
                (Some(map), _) => format!("{component} cannot start: it refuses the configuration in ConfigMap {map}"),
                (None, _) => format!("{component} cannot start: it refuses its configuration"),
            },
            FindingKind::StrayPods { .. }
                if matches!(verdict.next, NextStep::Repair { repair: RepairId::DeleteStrays, .. }) =>
            {
                format!("Jobs start where they belong again; left over: {}", super::finding(cause))
            }
            FindingKind::StrayPods { .. } => {
                format!("Jobs' pods are in the wrong place: {}", super::finding(cause))
            }
            FindingKind::ConfigMapDrift { .. } | FindingKind::ConfigMapStaleKeys { .. } => {
                format!("Prow works, but not on what git asks for: {}", super::finding(cause))
            }
            _ => super::finding(cause),
        },
        (Health::Degraded | Health::Broken, None) => "see the findings".to_owned(),
    }
}

/// `NEXT  plan sync-config: …`: the one next step.
pub fn next(diagnosis: &Diagnosis) -> String {
    let first = first_stop(diagnosis);
    let text = match &diagnosis.verdict.next {
        NextStep::Nothing => "nothing to do".to_owned(),
        NextStep::Repair { repair, to: Some(revision) } => {
            format!("plan {repair} to {} \"{}\"", revision.short(), revision.subject)
        }
        NextStep::Repair { repair, to: None } => match repair {
            RepairId::Rollback => {
                format!("plan rollback{first}: all components that moved together; only then may the strays be deleted")
            }
            RepairId::DeleteStrays if only_running(diagnosis) > 0 => format!(
                "{} stray(s) still run{first}: wait for them, or 3 then i (plan delete-strays --include-running) deletes them \
                 too",
                only_running(diagnosis)
            ),
            RepairId::DeleteStrays => {
                format!("plan delete-strays{first}: the cause is gone, and good pods come again")
            }
            RepairId::Kick | RepairId::SyncConfig | RepairId::CheckInCluster | RepairId::Undo => {
                format!("plan {repair}: crash-looping pods out of their back-off, onto the repaired configuration")
            }
        },
        NextStep::Fetch { why } => format!("git fetch in the checkout first: {why}"),
        NextStep::Resume { run, progress } => {
            let far = progress.map_or(String::new(), |progress| format!(", {progress}"));
            format!("run resume {run}: it was interrupted{far}; or take it back: undo {run}")
        }
        NextStep::MendRevision { revision } => {
            let makes_none = |finding: &Finding| matches!(&finding.kind, FindingKind::RevisionMakesNone { revision: none, .. } if none.id == revision.id);
            let why = if diagnosis.findings.iter().any(makes_none) {
                "nothing of git's head reaches it"
            } else {
                "git's head would break it again"
            };
            format!("get a fix of {} \"{}\" merged: Prow works now, but {why}", revision.short(), revision.subject)
        }
        NextStep::Wait { what } => format!("wait{first}: {what}"),
        NextStep::Stop { actor, state, how } => format!("stop {actor} ({state}), or it may undo the repair: {how}"),
        NextStep::FinishRollback { to, from, behind } => format!(
            "finish the rollback{first}: {} still ask(s) for {from}, the others went back: plan rollback --to {to}",
            behind.join(", ")
        ),
        NextStep::Look { at } => format!("look at {at}: no repair of this tool answers it unasked"),
        NextStep::RegainSight { source } => format!("regain sight of {source}: see its error and hint below"),
    };
    format!("NEXT  {text}")
}

/// How many strays are left, where all that are left run: then a plan without them has no steps.
fn only_running(diagnosis: &Diagnosis) -> usize {
    let left = || diagnosis.strays.strays().filter(|judged| !judged.pod.deleting);
    if left().all(|judged| judged.pod.may_run()) { left().count() } else { 0 }
}

/// What must be stopped before a step of the chain, or it may undo it: short, for the command is in its finding.
fn first_stop(diagnosis: &Diagnosis) -> String {
    let reverting = diagnosis.about_to_revert().map(|actor| {
        let state = match actor.under_way {
            Some(UnderWay::Running) => "running",
            Some(UnderWay::Pending) | None => "pending",
        };
        format!("{} ({state})", actor.name)
    });
    let reverting: Vec<String> = reverting.collect();
    if reverting.is_empty() {
        return String::new();
    }
    format!(", but first abort {} in Deck or as its finding says, or it may undo this", reverting.join(", "))
}

/// `FLOW trigger 2m | start 40m | report 41m | merge 44m | periodic -`. A dash is no history, which is not a stall.
pub fn flow(flow: &Flow, now: Timestamp) -> String {
    let part = |name: &str, at: Option<Timestamp>| match at {
        Some(at) => format!("{name} {}", age(at, now)),
        None => format!("{name} -"),
    };
    format!(
        "FLOW  last {} | {} | {} | {} | {}",
        part("trigger", flow.trigger),
        part("start", flow.start),
        part("report", flow.report),
        part("merge", flow.merge),
        part("periodic", flow.periodic)
    )
}

/// A source that is not known: `DENIED list pods in namespace x`, `LOST …, last answer 41s ago`. `None` when all is well.
pub fn source_line(status: &SourceStatus, now: Timestamp) -> Option<String> {
    match &status.source {
        Source::Known { .. } => None,
        Source::Loading => Some(format!("{}: no answer yet", status.name)),
        Source::Denied { verb } => Some(format!("{}: DENIED {verb}", status.name)),
        Source::Lost { error, last } => Some(match last {
            Some((_, at)) => format!("{}: LOST {}, last answer {} ago", status.name, error.summary, age(*at, now)),
            None => format!("{}: LOST {}", status.name, error.summary),
        }),
    }
}

/// As kubectl words the worst of its pods; `Suspended` and `Scaled to 0` are intent.
pub fn component_state(component: &Component) -> String {
    if component.suspended {
        return "Suspended".to_owned();
    }
    if component.is_idle_by_intent() {
        return if component.object.kind == crate::model::Kind::CronJob { "-" } else { "Scaled to 0" }.to_owned();
    }
    let worst = component.pods.iter().find(|pod| !pod.ready && !pod.deleting);
    match worst {
        Some(pod) => pod.state.clone(),
        None if component.pods.is_empty() => "No pods".to_owned(),
        None => "Running".to_owned(),
    }
}

/// The last fatal line or what else is worth a remark.
pub fn component_note(component: &Component, now: Timestamp) -> String {
    for container in component.pods.iter().flat_map(|pod| &pod.containers) {
        if container.ready && matches!(container.state, ContainerState::Running { .. }) {
            continue;
        }
        if let Some(line) = &container.last_fatal {
            let at = line.at.map_or(String::new(), |at| format!(" ({} ago)", age(at, now)));
            // The message names what failed, the error why; where one must be cut, why is worth more.
            let words = if line.error.is_empty() { &line.msg } else { &line.error };
            return format!("{words}{at}");
        }
    }
    let reload = component.pods.iter().flat_map(|pod| &pod.containers).find_map(|c| c.reload_error.as_ref());
    reload.map_or(String::new(), |line| format!("refused to reload: {}", line.error))
}

/// The tag of an image, or what it has instead.
pub fn short_image(image: &str) -> &str {
    image.rsplit('/').next().and_then(|name| name.split_once(':')).map_or(image, |(_, tag)| tag)
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

/// `9a1b2c3 "Add job" (GUESS: the newest revision that nothing speaks against)`.
pub fn choice(choice: &Choice) -> String {
    format!(
        "{} \"{}\" ({}: {})",
        choice.revision.short(),
        choice.revision.subject,
        basis(choice.basis),
        choice.reason()
    )
}

/// A clock that is off by less is no news.
const CLOCK_SECONDS: i64 = 30;

/// `CLOCK 5m FAST!` and what it means, where this machine's clock and the server's disagree: ages are off by that.
pub fn clock_note(snapshot: &Snapshot) -> Option<(String, String)> {
    let ahead = snapshot.service.clock_ahead.filter(|ahead| ahead.abs() >= CLOCK_SECONDS)?;
    let by = age(snapshot.taken_at_server().min(snapshot.taken_at), snapshot.taken_at.max(snapshot.taken_at_server()));
    let word = if ahead > 0 { "fast" } else { "slow" };
    let short = format!("CLOCK {by} {}!", word.to_uppercase());
    Some((short, format!("this machine's clock is {by} {word} against the API server's: ages are wrong by that")))
}

/// The whole of `status` in words.
pub fn status_text(snapshot: &Snapshot, diagnosis: &Diagnosis) -> String {
    let now = snapshot.taken_at;
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    let user = snapshot.user.as_deref().unwrap_or("user unknown");
    line(format!(
        "context {} ({}) as {user}, taken {}",
        snapshot.service.context,
        snapshot.service.server,
        clock_seconds(now)
    ));
    if let Some((_, words)) = clock_note(snapshot) {
        line(format!("CLOCK {words}"));
    }
    line(verdict(diagnosis, now));
    line(next(diagnosis));
    line(flow(&diagnosis.flow, now));
    if let Some(choice_) = &diagnosis.choice {
        let fetched = snapshot
            .desired
            .seen()
            .and_then(|desired| desired.fetched)
            .map_or("never fetched".to_owned(), |at| format!("fetched {} ago", age(at, now)));
        line(format!("GIT   a repair would write {}; {fetched}", choice(choice_)));
    }
    line(String::new());
    line("FINDINGS  worst first; FACT = read from the API or git, GUESS = a rule's opinion".to_owned());
    if diagnosis.findings.is_empty() {
        line("  none".to_owned());
    }
    for finding in &diagnosis.findings {
        let since = finding.since.map_or(String::new(), |at| format!("  since {}", clock(at, now)));
        line(format!(
            "  {:<4}  {:<5}  {}{since}",
            severity(finding.severity),
            basis(finding.basis),
            super::finding(finding)
        ));
        for evidence in &finding.evidence {
            line(format!("               {evidence}"));
        }
    }
    line(String::new());
    components_table(snapshot, now, &mut line);
    line(String::new());
    line(format!("{:<34}  {:>5}  {:<9}  LAST WRITER", "CONFIGMAP", "+/-/~", "STATE"));
    for drift in &diagnosis.drift {
        let writer = last_writer(snapshot, &drift.object, now);
        let counts = match drift.state {
            DriftState::Unknown | DriftState::Unmanaged => "-".to_owned(),
            DriftState::Same | DriftState::Drift | DriftState::Missing => format!(
                "{}/{}/{}",
                drift.count(KeyChange::Added),
                drift.count(KeyChange::Removed),
                drift.count(KeyChange::Changed)
            ),
        };
        let name = format!("{}/{}", drift.object.namespace, drift.object.name);
        line(format!("{name:<34}  {counts:>5}  {:<9}  {writer}", drift_state(drift.state)));
    }
    let troubles: Vec<String> = snapshot.sources().iter().filter_map(|status| source_line(status, now)).collect();
    if !troubles.is_empty() {
        line(String::new());
        line("NOT SEEN".to_owned());
        for trouble in troubles {
            line(format!("  {trouble}"));
        }
    }
    out
}

fn components_table(snapshot: &Snapshot, now: Timestamp, line: &mut impl FnMut(String)) {
    let components = match &snapshot.service.components {
        Source::Known { value, .. } => value,
        Source::Lost { last: Some((value, at)), .. } => {
            line(format!("COMPONENTS as of {} ago", age(*at, now)));
            value
        }
        Source::Loading | Source::Denied { .. } | Source::Lost { last: None, .. } => {
            line("COMPONENTS  not seen".to_owned());
            return;
        }
    };
    if components.is_empty() {
        line("COMPONENTS  none found: no workload runs an image that this tool knows as Prow's".to_owned());
        return;
    }
    line(format!("{:<26}  READY  RESTARTS  {:<24}  {:<18}  STATE", "COMPONENT", "IMAGE", "NAMESPACE"));
    for component in components {
        let ready = if component.is_idle_by_intent() {
            "-".to_owned()
        } else {
            format!("{}/{}", component.ready, component.desired)
        };
        let image = component.spec_images.first().map_or("", |image| short_image(image));
        let note = component_note(component, now);
        let state = component_state(component);
        let state = if note.is_empty() { state } else { format!("{state}  {note}") };
        line(format!(
            "{:<26}  {ready:>5}  {:>8}  {image:<24}  {:<18}  {state}",
            component.object.name,
            component.restarts(),
            component.object.namespace
        ));
    }
}

pub(super) fn last_writer(snapshot: &Snapshot, object: &ObjectRef, now: Timestamp) -> String {
    let writer = snapshot.live_config_map(object).and_then(|state| state.last_writer());
    match writer {
        Some(writer) => match writer.at {
            Some(at) => format!("{} {} ago", writer.manager, age(at, now)),
            None => writer.manager.clone(),
        },
        None => "-".to_owned(),
    }
}
