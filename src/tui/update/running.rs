//! The run: from the typed words to the picture that proves it.

use std::sync::Arc;

use crate::diagnose::{SETTLED_AFTER_SECONDS, VerifyState};
use crate::model::{RunEvent, Timestamp};
use crate::repair::Plan;

use super::super::app::{
    App, Leaving, Modal, Mode, Phase, Planning, RunView, Screen, StepState, StepView, Verification,
};
use super::super::msg::Effect;

/// The plan leaves the Plan screen and is shown on the Run screen.
pub fn begin(app: &mut App, plan: Plan) {
    let steps = plan
        .steps
        .iter()
        .map(|step| StepView { n: step.n, object: step.write.object().clone(), state: StepState::Waiting })
        .collect();
    app.run = Some(RunView {
        plan: Arc::new(plan),
        run: String::new(),
        journal: String::new(),
        started: None,
        phase: Phase::Starting,
        stopped: None,
        steps,
        verification: Verification::NotBegun,
        scroll: 0,
    });
    app.planning = Planning::Empty;
    app.screen = Screen::Run;
}

pub fn event(app: &mut App, event: RunEvent) -> Vec<Effect> {
    let Some(view) = &mut app.run else { return Vec::new() };
    match event {
        RunEvent::Started { run, at, journal, title: _, steps: _ } => {
            view.run = run;
            view.journal = journal;
            view.started = Some(at);
            if view.phase == Phase::Starting {
                view.phase = Phase::Going;
            }
            Vec::new()
        }
        RunEvent::StepStarted { n, object: _, at } => {
            if let Some(step) = view.steps.iter_mut().find(|step| step.n == n) {
                step.state = StepState::Going { since: at };
            }
            Vec::new()
        }
        RunEvent::StepEnded { n, object: _, outcome, status, at } => {
            if let Some(step) = view.steps.iter_mut().find(|step| step.n == n) {
                let since = match step.state {
                    StepState::Going { since } => Some(since),
                    StepState::Waiting | StepState::Ended { .. } => None,
                };
                step.state = StepState::Ended { outcome, status, since, at };
            }
            Vec::new()
        }
        RunEvent::Stopped { why, at: _ } => {
            view.stopped = Some(why);
            Vec::new()
        }
        RunEvent::Ended { at, summary } => {
            view.run.clone_from(&summary.run);
            view.journal.clone_from(&summary.journal);
            view.phase = Phase::Ended { at, summary };
            ended(app, at)
        }
    }
}

fn ended(app: &mut App, at: Timestamp) -> Vec<Effect> {
    // Its questions answered themselves.
    app.modals.retain(|modal| !matches!(modal, Modal::AskQuit | Modal::AskStop));
    if let Mode::Armed { idle_since } = &mut app.mode {
        *idle_since = (*idle_since).max(at);
    }
    match app.leaving {
        Leaving::AfterRun(exit) => vec![Effect::Quit(exit)],
        // What was promised is looked for at once.
        Leaving::No => vec![Effect::Refresh],
    }
}

/// Asks the run to stop after the object in flight.
pub fn stop(app: &mut App, why: &str) -> Vec<Effect> {
    if let Some(view) = &mut app.run {
        view.phase = Phase::Stopping;
    }
    vec![Effect::StopRun { why: why.to_owned() }]
}

pub fn is_stopping(app: &App) -> bool {
    app.run.as_ref().is_some_and(|view| match view.phase {
        Phase::Stopping => true,
        Phase::Starting | Phase::Going | Phase::Ended { .. } => false,
    })
}

/// Holds the newest picture, if it is newer than the run's end, against what the plan promised.
pub fn verify(app: &mut App) -> Vec<Effect> {
    let Some(seen) = app.picture.newest().cloned() else { return Vec::new() };
    let Some(view) = &mut app.run else { return Vec::new() };
    let Phase::Ended { at, summary } = &view.phase else { return Vec::new() };
    let taken_at = seen.snapshot.taken_at;
    if summary.done == 0 || taken_at < *at {
        return Vec::new();
    }
    let state = crate::diagnose::verify_for(&view.plan, &seen.snapshot, *at, SETTLED_AFTER_SECONDS);
    if let Verification::Seen { state: before, .. } = &view.verification
        && *before == state
    {
        // Since when it holds is shown, not when it was last seen to hold.
        return Vec::new();
    }
    let detail = match &state {
        VerifyState::Holds => Some(format!("seen to hold at {taken_at}")),
        VerifyState::Settling { .. } | VerifyState::Refused { .. } | VerifyState::NotYet { .. } => None,
    };
    view.verification = Verification::Seen { state, at: taken_at };
    let run = view.run.clone();
    detail.map(|detail| Effect::Verified { run, detail }).into_iter().collect()
}
