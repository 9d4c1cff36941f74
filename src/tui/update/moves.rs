//! Selections, panes and scrolling. A selection is an id; what vanished is not replaced by its neighbour.

use jiff::SignedDuration;

use crate::diagnose::{DriftState, Health};

use super::super::app::{
    App, Attention, ConfigPane, Modal, Observation, Outage, OverviewPane, Picture, Planning, Screen,
};
use super::super::astray::{self, GroupId, StraysPane};
use super::super::view;

/// A Prow that is broken again so soon was not well in between.
const STILL: SignedDuration = SignedDuration::from_mins(5);

#[derive(Debug, Clone, Copy)]
pub enum Turn {
    Next,
    Previous,
}

#[derive(Debug, Clone, Copy)]
pub enum Move {
    By(isize),
    Top,
    Bottom,
}

/// Takes in a newer picture; a frozen screen keeps the old one.
pub fn observed(app: &mut App, newest: Observation) {
    remember_outage(app, &newest);
    app.picture = match std::mem::replace(&mut app.picture, Picture::Waiting) {
        Picture::Waiting | Picture::Live(_) => Picture::Live(newest),
        Picture::Frozen { shown, since, newest: _ } => Picture::Frozen { shown, newest, since },
    };
    astray::remember_origin(app);
    settle(app);
}

/// Snapshots do not remember; what was lost is still lost when all is green again.
fn remember_outage(app: &mut App, newest: &Observation) {
    let (verdict, now) = (&newest.diagnosis.verdict, newest.snapshot.taken_at);
    match verdict.state {
        Health::Broken => {
            let components = newest.snapshot.service.components.seen().map(Vec::as_slice).unwrap_or_default();
            let down = components.iter().filter(|one| !one.is_idle_by_intent() && one.ready == 0);
            let down = down.map(|one| one.role.clone());
            // One outage until it is over: pods deleted meanwhile no longer tell when it began and what it cost.
            let goes_on = |before: &Outage| before.until.is_none_or(|until| now.duration_since(until) < STILL);
            let outage = match app.outage.take().filter(goes_on) {
                None => Outage { since: verdict.since, until: None, loss: verdict.loss.clone(), down: down.collect() },
                Some(before) => {
                    let since = before.since.into_iter().chain(verdict.since).min();
                    let fresh = verdict.loss.iter().filter(|loss| !before.loss.contains(loss)).cloned();
                    let loss = before.loss.iter().cloned().chain(fresh).collect();
                    let down = before.down.into_iter().chain(down).collect();
                    Outage { since, until: None, loss, down }
                }
            };
            app.outage = Some(outage);
        }
        Health::Healthy | Health::Degraded => {
            if let Some(outage) = &mut app.outage {
                outage.until.get_or_insert(now);
            }
        }
        Health::Unknown => {}
    }
}

/// Brings selections in line with what is shown. Something is selected at first; later a selection
/// whose row vanished becomes none, so that no key hits another row than the one that was looked at.
pub fn settle(app: &mut App) {
    let Some(seen) = app.picture.shown().cloned() else { return };
    if app.attention == Attention::None {
        app.overview.finding = None;
        app.config.map = None;
        (app.strays.group, app.strays.pod, app.rollback.tag) = (None, None, None);
    }
    match &app.overview.finding {
        Some(id) if seen.diagnosis.finding(id).is_none() => {
            app.notice = Some("gone: the finding that was selected".to_owned());
            app.overview.finding = None;
        }
        Some(_) => {}
        None if app.notice.is_none() => {
            app.overview.finding = seen.diagnosis.findings.first().map(|finding| finding.id.clone());
        }
        None => {}
    }
    let components: Vec<_> = app.components().into_iter().map(|component| component.object.clone()).collect();
    if !app.overview.component.as_ref().is_some_and(|selected| components.contains(selected)) {
        app.overview.component = components.first().cloned();
    }
    match &app.config.map {
        Some(object) if !seen.diagnosis.drift.iter().any(|map| map.object == *object) => app.config.map = None,
        Some(_) => {}
        None => {
            let maps = &seen.diagnosis.drift;
            let differs = maps.iter().find(|map| matches!(map.state, DriftState::Drift | DriftState::Missing));
            app.config.map = differs.or(maps.first()).map(|map| map.object.clone());
        }
    }
    settle_key(app);
    astray::settle(app);
    if app.screen == Screen::Rollback {
        astray::look_ahead(app);
    }
}

fn settle_key(app: &mut App) {
    let keys: Vec<String> = app.keys().into_iter().map(|key| key.key.clone()).collect();
    if !app.config.key.as_ref().is_some_and(|selected| keys.contains(selected)) {
        app.config.key = keys.first().cloned();
    }
}

pub fn pane(app: &mut App, turn: Turn) {
    match app.screen {
        Screen::Overview => {
            app.overview.pane = match app.overview.pane {
                OverviewPane::Findings => OverviewPane::Components,
                OverviewPane::Components => OverviewPane::Findings,
            }
        }
        Screen::Config => {
            app.config.pane = match (app.config.pane, turn) {
                (ConfigPane::Maps, Turn::Next) | (ConfigPane::Diff, Turn::Previous) => ConfigPane::Keys,
                (ConfigPane::Keys, Turn::Next) | (ConfigPane::Maps, Turn::Previous) => ConfigPane::Diff,
                (ConfigPane::Diff, Turn::Next) | (ConfigPane::Keys, Turn::Previous) => ConfigPane::Maps,
            }
        }
        Screen::Plan => {
            if let Planning::Ready(sheet) = &mut app.planning {
                sheet.scroll = 0;
                let panes = sheet.panes();
                let now = panes.iter().position(|pane| *pane == sheet.pane).unwrap_or_default();
                let step = match turn {
                    Turn::Next => 1,
                    Turn::Previous => panes.len() - 1,
                };
                sheet.pane = panes[(now + step) % panes.len()];
            }
        }
        Screen::Strays => {
            app.strays.pane = match app.strays.pane {
                StraysPane::Groups => StraysPane::Pods,
                StraysPane::Pods => StraysPane::Groups,
            }
        }
        Screen::Rollback | Screen::Run => {}
    }
}

/// Moves the selection of the focused list, or scrolls what has none.
pub fn select(app: &mut App, by: Move) {
    let limit = view::scroll_limit(app);
    match app.modals.last_mut() {
        Some(Modal::Help { scroll } | Modal::Detail { scroll, .. } | Modal::Log { scroll, .. }) => {
            *scroll = scrolled(*scroll, by, limit);
            return;
        }
        Some(Modal::Arm { .. } | Modal::Filter | Modal::Search { .. } | Modal::AskQuit | Modal::AskStop) => return,
        None => {}
    }
    match app.screen {
        Screen::Overview => match app.overview.pane {
            OverviewPane::Findings => {
                let ids: Vec<String> = app.findings().into_iter().map(|finding| finding.id.clone()).collect();
                app.overview.finding = moved(&ids, app.overview.finding.as_ref(), by);
            }
            OverviewPane::Components => {
                let ids: Vec<_> = app.components().into_iter().map(|component| component.object.clone()).collect();
                app.overview.component = moved(&ids, app.overview.component.as_ref(), by);
            }
        },
        Screen::Config => match app.config.pane {
            ConfigPane::Maps => {
                let ids: Vec<_> = app.maps().into_iter().map(|map| map.object.clone()).collect();
                app.config.map = moved(&ids, app.config.map.as_ref(), by);
                app.config.key = None;
                settle_key(app);
            }
            ConfigPane::Keys => {
                let ids: Vec<String> = app.keys().into_iter().map(|key| key.key.clone()).collect();
                app.config.key = moved(&ids, app.config.key.as_ref(), by);
            }
            ConfigPane::Diff => {
                let diffing = &mut app.config.diffing;
                (diffing.top, diffing.at) = (scrolled(diffing.top, by, limit), None);
            }
        },
        Screen::Strays => match app.strays.pane {
            StraysPane::Groups => {
                let ids: Vec<GroupId> = app.stray_groups().into_iter().map(|row| row.id).collect();
                app.strays.group = moved(&ids, app.strays.group.as_ref(), by);
                app.strays.pod = None;
                astray::settle_pod(app);
            }
            StraysPane::Pods => {
                let ids: Vec<String> = app.stray_pods().iter().map(|judged| judged.pod.uid().to_owned()).collect();
                app.strays.pod = moved(&ids, app.strays.pod.as_ref(), by);
            }
        },
        Screen::Rollback => {
            let ids: Vec<String> = app.rollback_targets().into_iter().map(|target| target.tag).collect();
            app.rollback.tag = moved(&ids, app.rollback.tag.as_ref(), by);
            astray::look_ahead(app);
        }
        Screen::Plan => {
            if let Planning::Ready(sheet) = &mut app.planning {
                sheet.scroll = scrolled(sheet.scroll, by, limit);
            }
        }
        Screen::Run => {
            if let Some(run) = &mut app.run {
                run.scroll = scrolled(run.scroll, by, limit);
            }
        }
    }
}

/// The id that a move leads to. From no selection, every move leads to the first row.
fn moved<T: Clone + PartialEq>(ids: &[T], selected: Option<&T>, by: Move) -> Option<T> {
    let last = ids.len().checked_sub(1)?;
    let now = selected.and_then(|selected| ids.iter().position(|id| id == selected));
    let to = match (by, now) {
        (Move::Top, _) => 0,
        (Move::Bottom, _) => last,
        (Move::By(_), None) => 0,
        (Move::By(by), Some(now)) => now.saturating_add_signed(by).min(last),
    };
    ids.get(to).cloned()
}

fn scrolled(scroll: usize, by: Move, limit: usize) -> usize {
    match by {
        Move::By(by) => scroll.min(limit).saturating_add_signed(by).min(limit),
        Move::Top => 0,
        Move::Bottom => limit,
    }
}
