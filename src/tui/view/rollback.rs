//! 4 Rollback: the tags that the history knows, what each component would get, and what speaks against it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::super::app::{App, Observation};
use super::super::keymap;
use super::super::text;
use super::super::theme::Role;
use super::{Item, is_wide, paint, paint_list, rule, selectable, styled, take};
use crate::diagnose::role_tag;
use crate::model::{Component, SourceStatus};
use crate::present;
use crate::repair::Step;
use crate::repair::rollback::{Target, previous_tag};

pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(seen) = app.picture.shown() else {
        paint(area, buffer, [Line::from("Reading the clusters; nothing is known yet.")]);
        return;
    };
    let mut area = area;
    let columns = usize::from(area.width);
    let targets = app.rollback_targets();
    let checks = checks(app, seen, columns);
    let height = usize::from(area.height);
    let items = target_items(app, seen, &targets, columns);
    let for_targets = (items.iter().map(Vec::len).sum::<usize>() + 2).min(if is_wide(app.size) { 9 } else { 7 });
    let for_components = components(app, seen).len() + 2;
    // What speaks against it must be read; components can be read in the plan as well.
    let for_checks = checks.len().min(height.saturating_sub(for_targets + 4)).min(checks.len());
    let for_components = for_components.min(height.saturating_sub(for_targets + for_checks));
    paint_targets(app, &targets, items, take(&mut area, for_targets), buffer);
    paint_components(app, seen, take(&mut area, for_components), buffer);
    paint(area, buffer, checks);
}

/// Columns of a tag, of how many have it, of since when: what is left is the note's.
fn target_cells(targets: &[Target]) -> [usize; 3] {
    let tag = targets.iter().map(|target| text::width(&target.tag)).max().unwrap_or_default();
    [tag.clamp(8, 30) + 2, 11, 13]
}

fn target_line(cells: [&str; 3], columns: [usize; 3], note: &str) -> String {
    let cells: String = cells.iter().zip(columns).map(|(cell, columns)| text::fit(cell, columns)).collect();
    cells + note
}

/// Each target as its lines: what is to be known of it is never cut.
fn target_items(app: &App, seen: &Observation, targets: &[Target], columns: usize) -> Vec<Item> {
    let before = previous_tag(&seen.snapshot).ok();
    let widths = target_cells(targets);
    let room = columns.saturating_sub(2 + widths.iter().sum::<usize>());
    let item = |target: &Target| {
        let mut notes = vec![match (target.current, before.as_ref() == Some(&target.tag)) {
            (0, true) => "common before: the default target".to_owned(),
            (0, false) => "ran earlier".to_owned(),
            (n, _) => format!("asked for now by {n}"),
        }];
        let origin = app.rollback.origin.as_ref() == Some(&target.tag);
        notes.extend(origin.then(|| "the version that the strays began with".to_owned()));
        let since = target.since.map_or("-".to_owned(), |at| present::clock(at, app.now));
        let selected = app.rollback.tag.as_ref() == Some(&target.tag);
        let mut cells = [target.tag.clone(), target.known.to_string(), since];
        let mut lines = Vec::new();
        for note in text::wrap(&notes.join("; "), room, 0) {
            let line = target_line(cells.each_ref().map(String::as_str), widths, &note);
            let role = if origin { Role::Warn } else { Role::Text };
            lines.push(selectable(app.theme, styled(app.theme, role, line), selected && lines.is_empty(), true));
            cells = [const { String::new() }; 3];
        }
        lines
    };
    targets.iter().map(item).collect()
}

fn paint_targets(app: &App, targets: &[Target], items: Vec<Item>, area: Rect, buffer: &mut Buffer) {
    let mut area = area;
    let columns = usize::from(area.width);
    let title = "TARGETS  as far as ReplicaSets tell; Up and Down choose";
    paint(take(&mut area, 1), buffer, [rule(app.theme, title, true, columns)]);
    let head = target_line(["TAG", "COMPONENTS", "SINCE"], target_cells(targets), "NOTE");
    paint(take(&mut area, 1), buffer, [styled(app.theme, Role::Dim, format!("  {head}"))]);
    let selected = targets.iter().position(|target| app.rollback.tag.as_ref() == Some(&target.tag));
    paint_list(app.theme, area, buffer, items, selected);
}

/// Each component, and its step where it would get one.
fn components<'a>(app: &'a App, seen: &'a Observation) -> Vec<(&'a Component, Option<&'a Step>)> {
    let plan = app.rollback.outlook.as_ref().and_then(|outlook| outlook.plan.as_ref().ok());
    let all = seen.snapshot.service.components.seen().map_or(&[][..], Vec::as_slice);
    all.iter()
        .map(|component| {
            let step = plan.and_then(|plan| plan.steps.iter().find(|step| *step.write.object() == component.object));
            (component, step)
        })
        .collect()
}

fn component_line(cells: [&str; 4], columns: usize) -> String {
    let [name, now, target, pods] = cells;
    let name_room = if columns >= 100 { 30 } else { 25 };
    format!(
        "  {}{}{}{}",
        text::fit(name, name_room),
        text::fit(now, 22),
        text::fit(target, 22),
        text::cut(pods, columns.saturating_sub(2 + name_room + 44))
    )
}

fn paint_components(app: &App, seen: &Observation, area: Rect, buffer: &mut Buffer) {
    let mut area = area;
    let columns = usize::from(area.width);
    paint(take(&mut area, 1), buffer, [rule(app.theme, "COMPONENTS", false, columns)]);
    let head = component_line(["NAME", "ASKS FOR", "TARGET", "PODS"], columns);
    paint(take(&mut area, 1), buffer, [styled(app.theme, Role::Dim, head)]);
    let all = components(app, seen);
    let hidden = all.len().saturating_sub(usize::from(area.height));
    let shown = if hidden > 0 { all.len() - hidden - 1 } else { all.len() };
    let mut lines: Vec<Line<'static>> =
        all.iter().take(shown).map(|(component, step)| row(app, component, *step, columns)).collect();
    if hidden > 0 {
        lines.push(styled(app.theme, Role::Dim, format!("  and {} more: p shows them all", hidden + 1)));
    }
    paint(area, buffer, lines);
}

fn row(app: &App, component: &Component, step: Option<&Step>, columns: usize) -> Line<'static> {
    let now = role_tag(component).unwrap_or("no tag");
    let target = match step {
        Some(_) => app.rollback.tag.as_deref().unwrap_or("-"),
        None if app.rollback.tag.as_deref() == Some(now) => "as it is",
        None => "not touched",
    };
    let pods = if component.is_idle_by_intent() {
        if component.suspended { "suspended".to_owned() } else { component.object.kind.to_string() }
    } else {
        format!("{}/{}", component.ready, component.desired)
    };
    let line = component_line([&component.object.name, now, target, &pods], columns);
    if step.is_some() { Line::from(line) } else { styled(app.theme, Role::Dim, line) }
}

/// Why there is no plan, or what should be known before.
fn checks(app: &App, seen: &Observation, columns: usize) -> Vec<Line<'static>> {
    let mut lines = vec![rule(app.theme, "CHECKS", false, columns)];
    let mut add = |words: &str, role: Role| {
        lines.extend(text::wrap(words, columns, 8).into_iter().map(|line| styled(app.theme, role, line)));
    };
    let history = SourceStatus::of("what ran when (ReplicaSets)", &seen.snapshot.service.rollouts);
    if let Some(words) = present::source_line(&history, app.now) {
        add(&format!("NOT SEEN {words}"), Role::Warn);
    }
    match app.rollback.outlook.as_ref().map(|outlook| &outlook.plan) {
        None => {
            if let Err(refusal) = previous_tag(&seen.snapshot) {
                add(&format!("NO TARGET {}", refusal.reason), Role::Warn);
            }
            add("Nothing is chosen for you: Up and Down choose one, if you know that it was good.", Role::Text);
        }
        Some(Err(refusal)) => {
            add(&format!("REFUSED {}", refusal.reason), Role::Bad);
            add(&format!("        {}", keymap::with_keys(&refusal.hint)), Role::Text);
        }
        Some(Ok(plan)) => {
            let reason = plan.basis.reason.as_deref().unwrap_or_default();
            add(&format!("ok      {reason}"), Role::Ok);
            for warning in &plan.warnings {
                add(&format!("WARN    {}", keymap::with_keys(warning)), Role::Warn);
            }
            add("p makes the plan and previews it on the server; nothing is written by that.", Role::Text);
        }
    }
    lines
}
