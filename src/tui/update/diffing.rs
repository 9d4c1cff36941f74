//! The diff on the Config screen: kept in line with what is selected, laid out as there is room, moved through.
//!
//! What takes longer than a frame may is compared outside: the answer comes as a message.

use std::sync::Arc;
use std::time::Duration;

use super::super::app::{App, Asked, CONTEXTS, DiffOf, KeyDiff, Modal, Screen, Sheet, live_map};
use super::super::msg::Effect;
use super::super::view;
use crate::present::{Comparison, Shape};
use crate::prow::gzip;

/// Values of so many bytes, both together, are compared at once; packed ones may hold a thousand times as much.
const QUICK: usize = 64 * 1024;
const QUICK_PACKED: usize = 4 * 1024;
/// As long as a frame may take.
const FRAME: Duration = Duration::from_millis(16);
/// Columns of a step to the side.
const STEP: usize = 8;
/// Rows above one that is jumped to.
const ABOVE: usize = 3;

/// Where to jump.
#[derive(Debug, Clone, Copy)]
pub enum To {
    Next,
    Previous,
}

/// Brings the diff in line with what is selected and with the room that there is. Run after every message.
pub fn settle(app: &mut App) -> Option<Effect> {
    if app.screen != Screen::Config {
        return None;
    }
    let effect = follow(app);
    lay(app);
    effect
}

fn follow(app: &mut App) -> Option<Effect> {
    let (Some(seen), Some(map), Some(key)) =
        (app.picture.shown().cloned(), app.config.map.clone(), app.config.key.clone())
    else {
        app.config.diffing.diff = None;
        return None;
    };
    let of = DiffOf {
        resource_version: live_map(&seen.snapshot, &map).map(|live| live.resource_version.clone()),
        revision: seen.diagnosis.choice.as_ref().map(|choice| choice.revision.id.clone()),
        map,
        key,
    };
    let diffing = &mut app.config.diffing;
    match &mut diffing.diff {
        Some(diff) if diff.of == of => {}
        Some(diff) if diff.of.map == of.map && diff.of.key == of.key => {
            let (live, git) = of.values(&seen);
            let known = diff.sheet.as_ref().is_some_and(|sheet| sheet.comparison.is_of(live, git));
            diff.asked = if known { Asked::Answered } else { Asked::NotYet };
            diff.of = of;
        }
        Some(_) | None => {
            (diffing.top, diffing.left, diffing.at) = (0, 0, None);
            diffing.diff = Some(KeyDiff { of, asked: Asked::NotYet, sheet: None });
        }
    }
    let diff = diffing.diff.as_mut().filter(|diff| diff.asked == Asked::NotYet)?;
    if is_quick(diff.of.values(&seen)) {
        let comparison = diff.of.compare(&seen, FRAME);
        if !comparison.is_hurried() {
            let of = diff.of.clone();
            answered(app, &of, Arc::new(comparison));
            return None;
        }
    }
    diff.asked = Asked::Asked;
    Some(Effect::Compare { of: diff.of.clone(), seen })
}

fn is_quick((live, git): (Option<&[u8]>, Option<&[u8]>)) -> bool {
    let (live, git) = (live.unwrap_or_default(), git.unwrap_or_default());
    let most = if gzip::is_gzip(live) || gzip::is_gzip(git) { QUICK_PACKED } else { QUICK };
    live.len() + git.len() <= most
}

/// Takes in a comparison, if it is still the one that is wanted.
pub fn answered(app: &mut App, of: &DiffOf, comparison: Arc<Comparison>) {
    let (shape, context) = wanted_layout(app);
    let diffing = &mut app.config.diffing;
    let Some(diff) = diffing.diff.as_mut().filter(|diff| diff.of == *of) else { return };
    diff.asked = Asked::Answered;
    diff.sheet = Some(Sheet::lay(comparison, shape, context, &diffing.search));
    diffing.at = None;
}

fn wanted_layout(app: &App) -> (Shape, usize) {
    let context = CONTEXTS.get(app.config.diffing.context).copied().unwrap_or(usize::MAX);
    (view::diff::shape(app), context)
}

/// Lays the rows out anew where they are to look otherwise, and keeps the scroll inside of them.
fn lay(app: &mut App) {
    let (shape, context) = wanted_layout(app);
    let diffing = &mut app.config.diffing;
    if let Some(sheet) = diffing.diff.as_mut().and_then(|diff| diff.sheet.as_mut())
        && (sheet.shape != shape || sheet.context != context || sheet.search != diffing.search)
    {
        // The change at hand stays at hand.
        let place = |sheet: &Sheet, top: usize| sheet.changes.partition_point(|change| *change < top);
        let change = place(sheet, diffing.at.unwrap_or(diffing.top));
        let moved = (sheet.shape, sheet.context) != (shape, context);
        *sheet = Sheet::lay(Arc::clone(&sheet.comparison), shape, context, &diffing.search);
        if moved && diffing.top > 0 {
            diffing.at = diffing.at.and_then(|_| sheet.changes.get(change).copied());
            diffing.top = sheet.changes.get(change).map_or(diffing.top, |row| row.saturating_sub(ABOVE));
        }
    }
    app.config.diffing.top = app.config.diffing.top.min(view::diff::most_top(app));
}

pub fn turn(app: &mut App) {
    app.config.diffing.shape = Some(match view::diff::shape(app) {
        Shape::Unified => Shape::SideBySide,
        Shape::SideBySide => Shape::Unified,
    });
    app.config.diffing.left = 0;
}

pub fn change_context(app: &mut App, to: To) {
    let context = &mut app.config.diffing.context;
    *context = match to {
        To::Next => (*context + 1).min(CONTEXTS.len() - 1),
        To::Previous => context.saturating_sub(1),
    };
    app.notice = Some(match CONTEXTS[*context] {
        usize::MAX => "all lines".to_owned(),
        1 => "1 line around each change".to_owned(),
        lines => format!("{lines} lines around each change"),
    });
}

pub fn sideways(app: &mut App, to: To) {
    let most = view::diff::most_left(app);
    let left = &mut app.config.diffing.left;
    *left = match to {
        To::Next => (*left + STEP).min(most),
        To::Previous => left.saturating_sub(STEP),
    };
}

pub fn to_change(app: &mut App, to: To) {
    let Some(changes) = app.config.diffing.sheet().map(|sheet| Arc::clone(&sheet.changes)) else { return };
    match beyond(app, &changes, to) {
        Some(row) => jump(app, row),
        None => {
            let which = match to {
                To::Next => "last",
                To::Previous => "first",
            };
            app.notice = Some(format!("that is the {which} change"));
        }
    }
}

/// Goes round: after the last one comes the first.
pub fn to_match(app: &mut App, to: To) {
    let Some(hits) = app.config.diffing.sheet().map(|sheet| Arc::clone(&sheet.hits)) else { return };
    let round = match to {
        To::Next => hits.first(),
        To::Previous => hits.last(),
    };
    let found = beyond(app, &hits, to);
    let Some(row) = found.or(round.copied()) else {
        app.notice = Some(format!("`{}` is not in this diff", app.config.diffing.search));
        return;
    };
    let round = if found.is_none() { ", round the end" } else { "" };
    let place = hits.partition_point(|hit| *hit < row) + 1;
    app.notice = Some(format!("match {place} of {}{round}", hits.len()));
    jump(app, row);
}

/// The next of some rows after (or before) the one that was jumped to; where none was, after the top of the screen.
fn beyond(app: &App, rows: &[usize], to: To) -> Option<usize> {
    let (at, top) = (app.config.diffing.at, app.config.diffing.top);
    match (to, at) {
        (To::Next, Some(at)) => rows.get(rows.partition_point(|row| *row <= at)),
        (To::Next, None) => rows.get(rows.partition_point(|row| *row < top)),
        (To::Previous, at) => {
            let at = at.unwrap_or(top);
            rows.partition_point(|row| *row < at).checked_sub(1).and_then(|before| rows.get(before))
        }
    }
    .copied()
}

fn jump(app: &mut App, row: usize) {
    let height = usize::from(view::diff::extent(app).1);
    let diffing = &mut app.config.diffing;
    diffing.at = Some(row);
    // What can be seen already is not moved.
    if row < diffing.top || row >= diffing.top + height {
        diffing.top = row.saturating_sub(ABOVE);
    }
}

pub fn begin_search(app: &mut App) {
    app.modals.push(Modal::Search { typed: app.config.diffing.search.clone() });
}

/// Enter in the field: the first match from here on; nothing typed ends the search.
pub fn search(app: &mut App) {
    let Some(Modal::Search { typed }) = app.modals.pop() else { return };
    app.config.diffing.search = typed;
    lay(app);
    if !app.config.diffing.search.is_empty() {
        // From where the eyes are, not behind it.
        app.config.diffing.at = app.config.diffing.at.and_then(|at| at.checked_sub(1));
        to_match(app, To::Next);
    }
}
