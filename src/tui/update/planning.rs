//! Plans: asked for, shown, previewed, and the typed words that run one.

use std::sync::Arc;

use crate::model::{Failure, Snapshot, Write};
use crate::present::{DiffLine, DiffTag};
use crate::repair::{Approval, Origin, Plan, Preview, RepairId, Request};

use super::super::app::{
    App, DryRun, Hearing, Observation, PlanPane, PlanSheet, Planning, Screen, Stage, awaited, live_map,
};
use super::super::keymap;
use super::super::msg::{Command, Effect};
use super::{freeze, running};

/// Lines of context around a change in a plan.
const PLAN_CONTEXT: usize = 3;
/// How many seconds a plan waits for what is being read for the first time.
const PATIENCE: u8 = 10;

pub fn forget_typed(app: &mut App) {
    if let Planning::Ready(sheet) = &mut app.planning {
        sheet.typed.clear();
        sheet.reply = None;
    }
}

/// Enter beside the confirmation: the one way to a write.
pub fn confirm(app: &mut App) -> Vec<Effect> {
    if app.confirmable().is_none() {
        return Vec::new();
    }
    let newest = app.picture.newest().cloned();
    let now = newest.as_ref().map(|seen| &*seen.diagnosis);
    let Planning::Ready(sheet) = &mut app.planning else { return Vec::new() };
    let DryRun::Answered(preview) = &sheet.dry_run else { return Vec::new() };
    if sheet.typed.trim().is_empty() {
        app.notice = Some("an empty Enter does nothing".to_owned());
        return Vec::new();
    }
    match crate::repair::approve(&sheet.plan, preview, now, &Approval::Typed(sheet.typed.clone())) {
        Ok(approved) => {
            running::begin(app, approved.plan().clone());
            app.hearing = Hearing::NotUntilDrawn;
            // Where the server does not tell who we are, the journal says just that.
            let who = app.picture.newest().and_then(|seen| seen.snapshot.user.clone()).unwrap_or("unknown".to_owned());
            vec![Effect::Start { plan: Box::new(approved), who }]
        }
        Err(refusal) => {
            sheet.reply = Some(format!("{}; {}", refusal.reason, refusal.hint));
            sheet.typed.clear();
            Vec::new()
        }
    }
}

pub fn plan(app: &mut App) -> Vec<Effect> {
    let Ok(request) = keymap::request(app) else { return Vec::new() };
    make(app, request)
}

/// From the newest picture; where that is not all read yet, from the first one that is.
fn make(app: &mut App, request: Request) -> Vec<Effect> {
    if thawed(app).is_none() {
        return Vec::new();
    }
    app.ticket += 1;
    let stage = Stage::Waiting { seconds: PATIENCE };
    app.planning = Planning::Making { title: title(&request), again: Some(request), stage };
    app.screen = Screen::Plan;
    observed(app)
}

/// A picture is there: a plan that waited for all to be read may be made.
pub fn observed(app: &mut App) -> Vec<Effect> {
    let Planning::Making { again: Some(request), stage: Stage::Waiting { .. }, .. } = &app.planning else {
        return Vec::new();
    };
    let is_read = app.picture.newest().is_some_and(|seen| awaited(request, &seen.snapshot).is_empty());
    if is_read { ask(app) } else { Vec::new() }
}

/// A second passed. In the end the plan is made from what there is: it refuses itself what it needs and does not know.
pub fn second_passed(app: &mut App) -> Vec<Effect> {
    let Planning::Making { stage: Stage::Waiting { seconds }, .. } = &mut app.planning else { return Vec::new() };
    *seconds = seconds.saturating_sub(1);
    if *seconds == 0 { ask(app) } else { Vec::new() }
}

/// Asks for the plan that waits, if one does.
fn ask(app: &mut App) -> Vec<Effect> {
    let Some(seen) = app.picture.newest().cloned() else { return Vec::new() };
    let Planning::Making { again: Some(request), stage: stage @ Stage::Waiting { .. }, .. } = &mut app.planning else {
        return Vec::new();
    };
    *stage = Stage::Asked;
    let request = request.clone();
    vec![Effect::Plan { ticket: app.ticket, request, snapshot: seen.snapshot, diagnosis: seen.diagnosis }]
}

/// Leaving the screen: who does not wait for a plan does not want it.
pub fn leave(app: &mut App) {
    forget_typed(app);
    if let Planning::Making { stage: Stage::Waiting { .. }, .. } = app.planning {
        app.planning = Planning::Empty;
    }
}

/// The plan that needs no git.
pub fn plan_last_loaded(app: &mut App) -> Vec<Effect> {
    if keymap::available(app, Command::LastLoaded).is_err() {
        return Vec::new();
    }
    // Whoever carries the effect out reads the journal for it.
    let request = Request { origin: Origin::LastLoaded(Arc::default()), ..Request::new(RepairId::SyncConfig) };
    make(app, request)
}

/// The same plan anew, with keys that git does not know removed, or left.
pub fn toggle_prune(app: &mut App) -> Vec<Effect> {
    let Ok(request) = keymap::pruning(app) else { return Vec::new() };
    app.notice = Some(if request.prune { "keys that git does not know go too" } else { "they stay" }.to_owned());
    make(app, request)
}

pub fn plan_undo(app: &mut App) -> Vec<Effect> {
    let Ok(run) = keymap::undoable(app).map(|run| run.run.clone()) else { return Vec::new() };
    thawed(app);
    app.ticket += 1;
    app.planning = Planning::Making { title: format!("undo {run}"), again: None, stage: Stage::Asked };
    app.screen = Screen::Plan;
    vec![Effect::PlanUndo { ticket: app.ticket, run }]
}

/// Plans are made from the newest picture, so a held one is let go first.
fn thawed(app: &mut App) -> Option<Observation> {
    if keymap::is_frozen(app) {
        freeze(app);
        app.notice = Some("no longer frozen: plans are made from the newest picture".to_owned());
    }
    app.picture.newest().cloned()
}

fn title(request: &Request) -> String {
    if let Origin::LastLoaded(_) = request.origin {
        return format!("{}, as last seen loaded", request.repair);
    }
    match (&request.to, request.maps.as_slice()) {
        (Some(tag), _) => format!("{} to {tag}", request.repair),
        (None, []) => request.repair.to_string(),
        (None, maps) => format!("{} {}", request.repair, maps.join(", ")),
    }
}

pub fn planned(app: &mut App, ticket: u64, plan: Result<Box<Plan>, Failure>) -> Vec<Effect> {
    if ticket != app.ticket {
        return Vec::new();
    }
    let Planning::Making { title, again, stage: _ } = std::mem::replace(&mut app.planning, Planning::Empty) else {
        return Vec::new();
    };
    match plan {
        Ok(plan) => {
            let plan = Arc::new(*plan);
            let diff = app.picture.newest().map(|seen| plan_diff(&plan, &seen.snapshot)).unwrap_or_default();
            app.planning = Planning::Ready(Box::new(PlanSheet {
                plan: Arc::clone(&plan),
                again,
                dry_run: DryRun::Asking,
                pane: PlanPane::Summary,
                scroll: 0,
                diff,
                typed: String::new(),
                reply: None,
            }));
            vec![Effect::Preview(plan)]
        }
        Err(failure) => {
            app.planning = Planning::Refused { title, failure, again };
            Vec::new()
        }
    }
}

pub fn previewed(app: &mut App, digest: &str, preview: Result<Preview, Failure>) {
    if let Planning::Ready(sheet) = &mut app.planning
        && sheet.plan.digest == digest
    {
        sheet.dry_run = match preview {
            Ok(preview) => DryRun::Answered(Arc::new(preview)),
            Err(failure) => DryRun::Failed(failure),
        };
    }
}

/// Key by key and image by image, what the plan would change against what is live. Empty where it only deletes.
fn plan_diff(plan: &Plan, snapshot: &Snapshot) -> Vec<DiffLine> {
    let mut lines = Vec::new();
    for step in &plan.steps {
        let (object, body) = match &step.write {
            Write::PutConfigMap { object, body, .. } | Write::CreateConfigMap { object, body } => (object, body),
            Write::PatchImage { object, images, .. } => {
                lines.push(DiffLine { tag: DiffTag::Hunk, text: object.to_string() });
                for change in images {
                    let line = |tag, image| DiffLine { tag, text: format!("{}: {image}", change.container) };
                    lines.extend([line(DiffTag::Removed, &change.from), line(DiffTag::Added, &change.to)]);
                }
                continue;
            }
            Write::DeleteConfigMap { object, .. } => {
                lines.push(DiffLine { tag: DiffTag::Hunk, text: format!("{object} goes") });
                continue;
            }
            Write::DeletePod { .. } | Write::CreateJob { .. } | Write::DeleteJob { .. } => continue,
        };
        let live = live_map(snapshot, object).map(|map| map.values.clone()).unwrap_or_default();
        let keys: std::collections::BTreeSet<&String> = live.keys().chain(body.values.keys()).collect();
        for key in keys {
            let (old, new) = (live.get(key), body.values.get(key));
            if old == new {
                continue;
            }
            lines.push(DiffLine { tag: DiffTag::Hunk, text: format!("{object} {key}") });
            lines.extend(crate::present::diff(old.map(Vec::as_slice), new.map(Vec::as_slice), PLAN_CONTEXT));
        }
    }
    lines
}
