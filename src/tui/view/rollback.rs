//! 4 Rollback: the tags that the history knows, what each component would get, and what speaks against it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::super::app::{App, Observation};
use super::super::text;
use super::super::theme::Role;
use super::{is_wide, paint, rule, selectable, styled, take};
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
    let for_targets = (targets.len() + 2).min(if is_wide(app.size) { 8 } else { 5 });
    let for_components = components(app, seen).len() + 2;
    // What speaks against it must be read; components can be read in the plan as well.
    let for_checks = checks.len().min(height.saturating_sub(for_targets + 4)).min(checks.len());
    let for_components = for_components.min(height.saturating_sub(for_targets + for_checks));
    paint_targets(app, seen, &targets, take(&mut area, for_targets), buffer);
    paint_components(app, seen, take(&mut area, for_components), buffer);
    paint(area, buffer, checks);
}

fn target_line(cells: [&str; 4], columns: usize) -> String {
    let [tag, components, since, note] = cells;
    let room = columns.saturating_sub(2 + 26 + 12 + 14);
    format!("{}{}{}{}", text::fit(tag, 26), text::fit(components, 12), text::fit(since, 14), text::cut(note, room))
}

fn paint_targets(app: &App, seen: &Observation, targets: &[Target], area: Rect, buffer: &mut Buffer) {
    let mut area = area;
    let columns = usize::from(area.width);
    let title = "TARGETS  as far as ReplicaSets tell; Up and Down choose";
    paint(take(&mut area, 1), buffer, [rule(app.theme, title, true, columns)]);
    let head = target_line(["TAG", "COMPONENTS", "SINCE", "NOTE"], columns);
    paint(take(&mut area, 1), buffer, [styled(app.theme, Role::Dim, format!("  {head}"))]);
    let before = previous_tag(&seen.snapshot).ok();
    let selected = targets.iter().position(|target| app.rollback.tag.as_ref() == Some(&target.tag));
    let first = text::window(selected, targets.len(), usize::from(area.height));
    let rows = targets.iter().enumerate().skip(first).map(|(at, target)| {
        let note = match (target.current, before.as_ref() == Some(&target.tag)) {
            (0, true) => "common before: where a rollback leads unasked".to_owned(),
            (0, false) => "ran earlier".to_owned(),
            (n, _) => format!("asked for now by {n}"),
        };
        let since = target.since.map_or("-".to_owned(), |at| present::clock(at, app.now));
        let line = Line::from(target_line([&target.tag, &target.known.to_string(), &since, &note], columns));
        selectable(app.theme, line, Some(at) == selected, true)
    });
    paint(area, buffer, rows);
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
        None => add("No tag is known to roll back to: prow-breakglass plan rollback --to TAG", Role::Warn),
        Some(Err(refusal)) => {
            add(&format!("REFUSED {}", refusal.reason), Role::Bad);
            add(&format!("        {}", refusal.hint), Role::Text);
        }
        Some(Ok(plan)) => {
            let reason = plan.basis.reason.as_deref().unwrap_or_default();
            add(&format!("ok      {reason}"), Role::Ok);
            for warning in &plan.warnings {
                add(&format!("WARN    {warning}"), Role::Warn);
            }
            add("p makes the plan and previews it on the server; nothing is written by that.", Role::Text);
        }
    }
    lines
}
