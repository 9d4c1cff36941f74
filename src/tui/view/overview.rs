//! 1 Overview: what is wrong, since when, the next step; findings, components, and what could not be seen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::app::{App, Observation, OverviewPane, Phase, Verification};
use super::super::keymap;
use super::super::text;
use super::super::theme::Role;
use super::{Item, is_wide, paint, paint_list, paint_rows, rule, selectable, shares, styled, take, wrapped};
use crate::diagnose::{Finding, Health, Severity, VerifyState};
use crate::model::{Component, Failure};
use crate::present;

/// Rows that are kept for findings, with the rules around them.
const FINDING_ROWS: usize = 6;
/// Rows of sources that could not be read, before they are only counted.
const SOURCE_ROWS: usize = 4;

pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let mut area = area;
    let columns = usize::from(area.width);
    let Some(seen) = app.picture.shown() else {
        paint(area, buffer, [Line::from("Reading the clusters; nothing is known yet. Unknown is not healthy.")]);
        return;
    };
    let top = head(app, seen, columns, usize::from(area.height));
    paint(take(&mut area, top.len()), buffer, top);
    let sources = sources(app, seen, columns);
    let wide = is_wide(app.size);
    let below = if sources.is_empty() { 0 } else { sources.len() + usize::from(wide) };
    let upper = usize::from(area.height).saturating_sub(below);
    let mut middle = take(&mut area, upper);
    if wide {
        both(app, &mut middle, buffer);
    } else {
        one(app, middle, buffer);
    }
    if wide && below > 0 {
        paint(take(&mut area, 1), buffer, [rule(app.theme, "NOT SEEN", false, columns)]);
    }
    paint(area, buffer, sources);
}

/// What failed beside the matter, interrupted runs, verdict, next step, pulse.
fn head(app: &App, seen: &Observation, columns: usize, height: usize) -> Vec<Line<'static>> {
    let mut lines = notes(app, columns);
    for run in seen.snapshot.own_runs() {
        let unknown =
            if run.unknown.is_empty() { String::new() } else { format!("; unknown: {}", run.unknown.join(", ")) };
        let (word, what) = match (&run.damaged, run.running_pid) {
            (Some(why), _) => ("DAMAGED JOURNAL", why.clone()),
            (None, Some(pid)) => ("RUNNING ELSEWHERE", format!("process {pid}; wait for it")),
            (None, None) => ("INTERRUPTED", format!("prow-breakglass run resume {}", run.run)),
        };
        let line = format!("{word}  {} {} {}{unknown}: {what}", present::clock(run.at, app.now), run.run, run.title);
        lines.push(styled(app.theme, Role::Warn, text::cut(&line, columns)));
    }
    let role = match seen.diagnosis.verdict.state {
        Health::Healthy => Role::Ok,
        Health::Degraded | Health::Unknown => Role::Warn,
        Health::Broken => Role::Bad,
    };
    lines.extend(going(app, columns));
    let next = wrapped(&keymap::next(app, &seen.diagnosis), columns, 6, 3);
    let mut after: Vec<Line<'static>> = next.into_iter().map(|line| styled(app.theme, Role::Title, line)).collect();
    after.extend(wrapped(&super::outage(app).unwrap_or_default(), columns, 6, 3).into_iter().map(Line::from));
    after.extend(wrapped(&present::flow(&seen.diagnosis.flow, app.now), columns, 6, 2).into_iter().map(Line::from));
    // The verdict is told in full where there is room: the findings below it scroll, it does not.
    let most = height.saturating_sub(lines.len() + after.len() + FINDING_ROWS).clamp(2, 6);
    let said = present::verdict(&seen.diagnosis, app.now);
    lines.extend(wrapped(&said, columns, 6, most).into_iter().map(|line| styled(app.theme, role, line)));
    lines.extend(after);
    lines
}

/// While a run of ours restarts what it repairs, what is not ready is no news.
fn going(app: &App, columns: usize) -> Vec<Line<'static>> {
    let Some(run) = &app.run else { return Vec::new() };
    let words = match (&run.phase, &run.verification) {
        (Phase::Starting | Phase::Going | Phase::Stopping, _) => {
            format!("RUN   {} is under way (6): what it restarts is not ready for a while", run.plan.title)
        }
        (Phase::Ended { .. }, Verification::Seen { state: VerifyState::NotYet { what }, .. }) => {
            format!("RUN   {} has ended and is not verified yet (6): {what}", run.plan.title)
        }
        (Phase::Ended { .. }, Verification::Seen { state: VerifyState::Refused { what }, .. }) => {
            format!("RUN   what {} wrote is REFUSED (6): {what}", run.run)
        }
        (Phase::Ended { .. }, Verification::NotBegun | Verification::Seen { .. }) => return Vec::new(),
    };
    wrapped(&words, columns, 6, 2).into_iter().map(|line| styled(app.theme, Role::Warn, line)).collect()
}

/// A line each.
fn notes(app: &App, columns: usize) -> Vec<Line<'static>> {
    let line = |failure: &Failure| {
        styled(app.theme, Role::Warn, text::cut(&format!("NOTE  {}", present::note(failure)), columns))
    };
    app.notes.iter().map(line).collect()
}

fn both(app: &App, area: &mut Rect, buffer: &mut Buffer) {
    let columns = usize::from(area.width);
    let height = usize::from(area.height).saturating_sub(2);
    let components = component_rows(app, columns);
    let findings = finding_rows(app, columns, usize::MAX);
    let needed: usize = findings.0.iter().map(Vec::len).sum();
    // Findings come first; components keep a third where both are too long.
    let for_components = components.rows.len() + 1;
    let for_findings = needed.max(1).min(height.saturating_sub(for_components.min(height / 3)));
    paint(take(area, 1), buffer, [findings_title(app, columns)]);
    paint_findings(app, take(area, for_findings), buffer);
    paint(take(area, 1), buffer, [components_title(app, columns)]);
    paint_components(app, *area, buffer, components);
}

fn one(app: &App, area: Rect, buffer: &mut Buffer) {
    let mut area = area;
    let columns = usize::from(area.width);
    let rest = usize::from(area.height).saturating_sub(1);
    let mut pane = take(&mut area, rest);
    let other = match app.overview.pane {
        OverviewPane::Findings => {
            paint(take(&mut pane, 1), buffer, [findings_title(app, columns)]);
            paint_findings(app, pane, buffer);
            format!("{} (Tab)", components_words(app))
        }
        OverviewPane::Components => {
            paint(take(&mut pane, 1), buffer, [components_title(app, columns)]);
            paint_components(app, pane, buffer, component_rows(app, columns));
            format!("FINDINGS {} (Tab)", app.findings().len())
        }
    };
    paint(area, buffer, [rule(app.theme, &other, false, columns)]);
}

fn findings_title(app: &App, columns: usize) -> Line<'static> {
    let filter = &app.overview.filter;
    let title = if filter.is_empty() && columns < 90 {
        "FINDINGS  worst first; FACT = read, GUESS = a rule's opinion".to_owned()
    } else if filter.is_empty() {
        "FINDINGS  worst first; FACT = read from the API or git, GUESS = a rule's opinion".to_owned()
    } else {
        format!("FINDINGS  that contain `{filter}`")
    };
    rule(app.theme, &title, app.overview.pane == OverviewPane::Findings, columns)
}

fn components_words(app: &App) -> String {
    let components = app.components();
    let down = components.iter().filter(|c| !c.is_idle_by_intent() && c.ready < c.desired).count();
    format!("COMPONENTS {}, not ready {down}", components.len())
}

fn components_title(app: &App, columns: usize) -> Line<'static> {
    rule(app.theme, &components_words(app), app.overview.pane == OverviewPane::Components, columns)
}

/// Each finding as its lines, and which is the selected one. Of the rows beyond one for each, the first findings get their
/// share first: causes are told in full before symptoms.
fn finding_rows(app: &App, columns: usize, height: usize) -> (Vec<Item>, Option<usize>) {
    let findings = app.findings();
    let selected = findings.iter().position(|finding| app.overview.finding.as_ref() == Some(&finding.id));
    let needs: Vec<usize> = findings.iter().map(|finding| finding_words(finding, columns, usize::MAX).len()).collect();
    let item = |(at, (finding, most)): (usize, (&&Finding, usize))| {
        finding_lines(app, finding, Some(at) == selected, columns, most.max(1))
    };
    (findings.iter().zip(shares(&needs, height)).enumerate().map(item).collect(), selected)
}

/// Columns beside a finding's words: marker 2, severity 5, basis 6, age 5 at the right.
const BESIDE_WORDS: usize = 2 + 5 + 6 + 5;

fn finding_words(finding: &Finding, columns: usize, most: usize) -> Vec<String> {
    wrapped(&present::finding(finding), columns.saturating_sub(BESIDE_WORDS), 0, most)
}

fn finding_lines(app: &App, finding: &Finding, selected: bool, columns: usize, most: usize) -> Vec<Line<'static>> {
    let focused = app.overview.pane == OverviewPane::Findings;
    let role = match finding.severity {
        Severity::Bad => Role::Bad,
        Severity::Warn => Role::Warn,
        Severity::Info => Role::Text,
    };
    let since = finding.since.map(|at| present::age(at, app.now)).unwrap_or_default();
    let room = columns.saturating_sub(BESIDE_WORDS);
    let words = finding_words(finding, columns, most);
    let mut lines = Vec::new();
    for (row, word) in words.iter().enumerate() {
        let (severity, basis, age) = match row {
            0 => (present::severity(finding.severity), present::basis(finding.basis), since.as_str()),
            _ => ("", "", ""),
        };
        let line = Line::from(vec![
            Span::styled(text::fit(severity, 5), app.theme.style(role)),
            Span::raw(text::fit(basis, 6)),
            Span::raw(text::fit(word, room)),
            Span::raw(text::right(age, 5)),
        ]);
        lines.push(if row == 0 {
            selectable(app.theme, line, selected, focused)
        } else {
            selectable(app.theme, line, false, focused)
        });
    }
    lines
}

fn paint_findings(app: &App, area: Rect, buffer: &mut Buffer) {
    let (columns, height) = (usize::from(area.width), usize::from(area.height));
    let (rows, selected) = finding_rows(app, columns, height);
    if rows.is_empty() {
        let words = if app.overview.filter.is_empty() { "none" } else { "none that match; Esc clears the filter" };
        paint(area, buffer, [styled(app.theme, Role::Ok, format!("  {words}"))]);
        return;
    }
    paint_list(app.theme, area, buffer, rows, selected);
}

struct ComponentRows {
    head: Line<'static>,
    rows: Vec<Line<'static>>,
    selected: Option<usize>,
}

fn component_rows(app: &App, columns: usize) -> ComponentRows {
    let components = app.components();
    let selected = components.iter().position(|component| app.overview.component.as_ref() == Some(&component.object));
    let names = components.iter().map(|component| text::width(&component.object.name)).max().unwrap_or(4);
    let widths = Widths { name: names.clamp(4, columns / 4), columns };
    let head = widths.line(["NAME", "READY", "RESTARTS", "STATE", "RUNNING", "SPEC", "SINCE", "WHY"]);
    let head = Line::from(vec![Span::raw("  "), Span::styled(head, app.theme.style(Role::Dim))]);
    let rows = components
        .iter()
        .enumerate()
        .map(|(at, component)| component_line(app, component, Some(at) == selected, &widths))
        .collect();
    ComponentRows { head, rows, selected }
}

struct Widths {
    name: usize,
    columns: usize,
}

impl Widths {
    fn line(&self, cells: [&str; 8]) -> String {
        let [name, ready, restarts, state, running, spec, since, why] = cells;
        let restarts = if self.columns >= 100 {
            text::right(restarts, 8) + " "
        } else {
            text::right(if restarts == "RESTARTS" { "RST" } else { restarts }, 4)
        };
        let line = format!(
            "{} {} {restarts} {} {} {} {}",
            text::fit(name, self.name),
            text::right(ready, 5),
            text::fit(state, 17),
            // As long as Prow's own tags, where there is room.
            text::fit(running, if self.columns >= 100 { 19 } else { 17 }),
            text::fit(spec, 4),
            text::right(since, 5),
        );
        let room = self.columns.saturating_sub(text::width(&line) + 4);
        if room < 8 { line } else { format!("{line}  {}", text::cut(why, room)) }
    }
}

fn component_line(app: &App, component: &Component, selected: bool, widths: &Widths) -> Line<'static> {
    let idle = component.is_idle_by_intent();
    let ready = if idle { "-".to_owned() } else { format!("{}/{}", component.ready, component.desired) };
    let restarts = if idle && component.pods.is_empty() { "-".to_owned() } else { component.restarts().to_string() };
    let state = present::component_state(component);
    let (running, spec) = images(component);
    let since = component.rolled_out.map_or("-".to_owned(), |at| present::age(at, app.now));
    let why = present::component_note(component, app.now);
    let line = widths.line([&component.object.name, &ready, &restarts, &state, &running, spec, &since, &why]);
    let role = if !idle && component.ready < component.desired { Role::Bad } else { Role::Text };
    let line = Line::from(Span::styled(line, app.theme.style(role)));
    selectable(app.theme, line, selected, app.overview.pane == OverviewPane::Components)
}

/// Tags that run, and whether they are those of the spec: `=`, `!=`, or `-` where nothing runs.
fn images(component: &Component) -> (String, &'static str) {
    let sorted = |images: &[String]| {
        let mut tags: Vec<String> = images.iter().map(|image| present::short_image(image).to_owned()).collect();
        tags.sort();
        tags.dedup();
        tags
    };
    let spec = sorted(&component.spec_images);
    let running = sorted(&component.running_images());
    if running.is_empty() {
        return (spec.join(","), "-");
    }
    let same = if running == spec { "=" } else { "!=" };
    (running.join(","), same)
}

fn paint_components(app: &App, area: Rect, buffer: &mut Buffer, components: ComponentRows) {
    let mut area = area;
    if components.rows.is_empty() {
        let words = "none seen: no workload runs an image of Prow's, or none could be read";
        paint(area, buffer, [styled(app.theme, Role::Warn, format!("  {words}"))]);
        return;
    }
    paint(take(&mut area, 1), buffer, [components.head]);
    let row = |at: usize| components.rows[at].clone();
    paint_rows(app.theme, area, buffer, components.rows.len(), components.selected, row);
}

/// What could not be read: denied, lost, not yet there.
fn sources(app: &App, seen: &Observation, columns: usize) -> Vec<Line<'static>> {
    let all: Vec<String> =
        seen.snapshot.sources().iter().filter_map(|source| present::source_line(source, app.now)).collect();
    let rows = if is_wide(app.size) { SOURCE_ROWS } else { 2 };
    let mut lines: Vec<Line<'static>> =
        all.iter().take(rows).map(|line| styled(app.theme, Role::Warn, text::cut(line, columns))).collect();
    if all.len() > rows {
        lines.pop();
        lines.push(styled(app.theme, Role::Warn, format!("and {} more that could not be read", all.len() - rows + 1)));
    }
    lines
}
