//! Draws an [`App`]; changes nothing. A file a screen; the frame around all of them in [`frame`].
//!
//! Rows are made as lines of spans from ids and words of `present`, then painted into a rectangle. From
//! [`WIDE`] on, screens show their panes together; below, one at a time.

pub mod config;
pub mod diff;
pub mod frame;
pub mod modal;
pub mod overview;
pub mod plan;
pub mod rollback;
pub mod run;
pub mod strays;
mod yaml;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::app::{App, ConfigPane, Modal, SMALLEST, Screen};
use super::text;
use super::theme::{Role, Theme};
use crate::model::Alias;
use crate::present::{self, DiffLine, DiffTag};
use crate::repair::Plan;

/// From here on panes stand together.
pub const WIDE: (u16, u16) = (100, 30);

/// Draws the app.
pub fn view(app: &App, frame: &mut Frame<'_>) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        too_small(app, area, buffer);
    } else {
        let body = frame::draw(app, area, buffer);
        match app.screen {
            Screen::Overview => overview::draw(app, body, buffer),
            Screen::Config => config::draw(app, body, buffer),
            Screen::Strays => strays::draw(app, body, buffer),
            Screen::Rollback => rollback::draw(app, body, buffer),
            Screen::Plan => plan::draw(app, body, buffer),
            Screen::Run => run::draw(app, body, buffer),
        }
        if let Some(modal) = app.modals.last() {
            modal::draw(app, modal, area, buffer);
        }
    }
    app.theme.finish(buffer);
}

/// Fits 40 columns. No key does anything here but leave, and stop a run.
fn too_small(app: &App, area: Rect, buffer: &mut Buffer) {
    let size = format!("too small: {}x{}, need {}x{}", area.width, area.height, SMALLEST.0, SMALLEST.1);
    let rest: &[&str] = match app.modals.last() {
        Some(Modal::AskQuit) => &["Stop the run, then quit?", "  y  yes      Esc  no, go on"],
        Some(Modal::AskStop) => &["Stop the run?", "  y  yes      Esc  no, go on"],
        _ if app.run_is_going() => &["A run goes on. Make it larger to see it.", "  Ctrl-C  stop it (asks)"],
        _ if app.drill.is_some() => &["Make it larger, or leave (q)."],
        _ => &["Make it larger, or leave (q) and use:", "  prow-breakglass --plain", "  prow-breakglass status"],
    };
    let lines = std::iter::once(size.as_str()).chain(rest.iter().copied());
    let lines = lines.flat_map(|line| text::wrap(line, usize::from(area.width), 2));
    paint(area, buffer, lines.map(Line::from));
}

/// Whether panes stand together.
pub fn is_wide(size: (u16, u16)) -> bool {
    size.0 >= WIDE.0 && size.1 >= WIDE.1
}

/// How far the focused text can be scrolled.
pub fn scroll_limit(app: &App) -> usize {
    let area = Rect::new(0, 0, app.size.0, app.size.1);
    let (lines, height) = match app.modals.last() {
        Some(modal @ (Modal::Help { .. } | Modal::Detail { .. } | Modal::Log { .. })) => {
            let inner = modal::inner(app, modal, area);
            (modal::lines(app, modal, usize::from(inner.width)).len(), inner.height)
        }
        Some(Modal::Arm { .. } | Modal::Filter | Modal::Search { .. } | Modal::AskQuit | Modal::AskStop) => return 0,
        None => {
            let body = frame::body(app, area);
            match app.screen {
                Screen::Overview | Screen::Strays | Screen::Rollback => return 0,
                Screen::Config if app.config.pane == ConfigPane::Diff => diff::extent(app),
                Screen::Config => return 0,
                Screen::Plan => plan::extent(app, body),
                Screen::Run => run::extent(app, body),
            }
        }
    };
    lines.saturating_sub(usize::from(height))
}

/// Paints lines from the top of a rectangle; what does not fit is left out, and a line that is too long says so.
fn paint<'a>(area: Rect, buffer: &mut Buffer, lines: impl IntoIterator<Item = Line<'a>>) {
    for (row, line) in (area.top()..area.bottom()).zip(lines) {
        buffer.set_line(area.x, row, &line, area.width);
        if line.width() > usize::from(area.width)
            && let Some(last) = area.right().checked_sub(1).and_then(|column| buffer.cell_mut((column, row)))
        {
            last.set_symbol("…");
        }
        if line.style != ratatui::style::Style::default() {
            buffer.set_style(Rect::new(area.x, row, area.width, 1), line.style);
        }
    }
}

/// A plan's cluster as people know it: its context, then Prow's name of it where that is another one.
fn cluster_name(app: &App, alias: &Alias, plan: &Plan) -> String {
    let context = plan.clusters.iter().find(|cluster| cluster.alias == *alias).map(|cluster| cluster.context.as_str());
    match (app.picture.newest(), context) {
        (Some(seen), Some(context)) if seen.snapshot.view(alias).is_some_and(|view| view.context == context) => {
            present::cluster_name(&seen.snapshot, alias)
        }
        (_, context) => context.unwrap_or(alias.0.as_str()).to_owned(),
    }
}

/// The line above a step in another cluster than the one before it; none where the plan has but one cluster.
fn cluster_line(app: &App, plan: &Plan, before: Option<&Alias>, alias: &Alias) -> Option<Line<'static>> {
    (plan.clusters.len() > 1 && before != Some(alias))
        .then(|| styled(app.theme, Role::Title, format!("     in {}", cluster_name(app, alias, plan))))
}

/// A row of a list: its lines.
type Item = Vec<Line<'static>>;

/// Paints the rows around the selected one. Where not all fit, the last line counts the others.
fn paint_list(theme: Theme, area: Rect, buffer: &mut Buffer, items: Vec<Item>, selected: Option<usize>) {
    let height = usize::from(area.height);
    if items.iter().map(Vec::len).sum::<usize>() <= height {
        paint(area, buffer, items.into_iter().flatten());
        return;
    }
    let all = items.len();
    // Of a single row, the title has to tell.
    let room = if height > 1 { height - 1 } else { height };
    let first = first_shown(&items, selected, room);
    let mut lines = Vec::new();
    let mut shown = 0;
    for item in items.into_iter().skip(first) {
        // One that is too long for all of the room is shown as far as it goes.
        if !lines.is_empty() && lines.len() + item.len() > room {
            break;
        }
        lines.extend(item);
        shown += 1;
    }
    lines.truncate(room);
    lines.extend((room < height && shown < all).then(|| more(theme, all - shown, first)));
    paint(area, buffer, lines);
}

/// The same of rows of one line each, of which only those are made that are shown.
fn paint_rows(
    theme: Theme,
    area: Rect,
    buffer: &mut Buffer,
    count: usize,
    selected: Option<usize>,
    row: impl Fn(usize) -> Line<'static>,
) {
    let height = usize::from(area.height);
    // Of a single row, the title has to tell.
    let room = if count > height && height > 1 { height - 1 } else { height };
    let first = text::window(selected, count, room);
    let shown = first..count.min(first + room);
    let more = (room < height).then(|| more(theme, count - shown.len(), first));
    paint(area, buffer, shown.map(row).chain(more));
}

fn more(theme: Theme, hidden: usize, above: usize) -> Line<'static> {
    let above = if above > 0 { format!(" ({above} above)") } else { String::new() };
    styled(theme, Role::Dim, format!("  and {hidden} more{above}"))
}

/// At most so many lines; the last one says when more was cut.
fn wrapped(words: &str, columns: usize, indent: usize, most: usize) -> Vec<String> {
    if words.is_empty() || most == 0 {
        return Vec::new();
    }
    let mut lines = text::wrap(words, columns, indent);
    if lines.len() > most {
        let rest: Vec<String> = lines.split_off(most - 1);
        let rest = rest.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        let indent = if lines.is_empty() { 0 } else { indent };
        lines.push(text::cut(&format!("{}{rest}", " ".repeat(indent)), columns));
    }
    lines
}

/// How many lines each of some texts gets: one each, in their order, as far as there is room; then one more to each that needs
/// it, and so on.
fn shares(needs: &[usize], room: usize) -> Vec<usize> {
    let mut shares = vec![0; needs.len()];
    let mut left = room;
    let most = needs.iter().copied().max().unwrap_or_default();
    for round in 0..most {
        for (share, need) in shares.iter_mut().zip(needs) {
            if *need > round && left > 0 {
                *share += 1;
                left -= 1;
            }
        }
    }
    shares
}

/// The first row such that the selected one fits into the room: in its middle, but for the ends of the list.
fn first_shown(items: &[Item], selected: Option<usize>, room: usize) -> usize {
    let Some(selected) = selected.filter(|at| *at < items.len()) else { return 0 };
    let lines = |from: usize, to: usize| items[from..to].iter().map(Vec::len).sum::<usize>();
    let mut first = selected;
    while first > 0 && lines(first - 1, selected) <= room / 2 && lines(first - 1, selected + 1) <= room {
        first -= 1;
    }
    // No empty lines below the last row.
    while first > 0 && lines(first - 1, items.len()) <= room {
        first -= 1;
    }
    first
}

/// Splits rows off the top of a rectangle.
fn take(area: &mut Rect, rows: usize) -> Rect {
    let rows = u16::try_from(rows).unwrap_or(u16::MAX).min(area.height);
    let top = Rect { height: rows, ..*area };
    area.y += rows;
    area.height -= rows;
    top
}

/// A rule with a title in it; that of the focused pane is double.
fn rule(theme: Theme, title: &str, focused: bool, columns: usize) -> Line<'static> {
    let title = text::cut(title, columns.saturating_sub(4));
    let rest = columns.saturating_sub(text::width(&title) + 4);
    let style = theme.style(if focused { Role::Title } else { Role::Text });
    let line = theme.style(Role::Dim);
    let stroke = if focused { "═" } else { "─" };
    if title.is_empty() {
        return Line::from(Span::styled(stroke.repeat(columns), line));
    }
    Line::from(vec![
        Span::styled(format!("{stroke} "), line),
        Span::styled(title, style),
        Span::styled(format!(" {}", stroke.repeat(rest + 1)), line),
    ])
}

/// `> ` before the selected row. The focused pane's is reversed as well.
fn selectable(theme: Theme, line: Line<'static>, selected: bool, focused: bool) -> Line<'static> {
    let mut line = line;
    line.spans.insert(0, Span::raw(if selected { "> " } else { "  " }));
    if selected && focused { line.style(theme.style(Role::Selected)) } else { line }
}

fn styled(theme: Theme, role: Role, text: impl Into<String>) -> Line<'static> {
    Line::from(Span::styled(text.into(), theme.style(role)))
}

fn diff_line(theme: Theme, line: &DiffLine) -> Line<'static> {
    let (mark, role) = match line.tag {
        DiffTag::Hunk => ("", Role::Hunk),
        DiffTag::Same => ("  ", Role::Text),
        DiffTag::Removed => ("- ", Role::Removed),
        DiffTag::Added => ("+ ", Role::Added),
    };
    // A tab would move the terminal's cursor, not ours.
    styled(theme, role, format!("{mark}{}", line.text.replace('\t', "  ")))
}

/// So many losses are told each with its words.
const FEW_LOSSES: usize = 2;

/// An outage that this session saw and that is over: green alone would hide what was lost meanwhile.
fn outage(app: &App) -> Option<String> {
    let outage = app.outage.as_ref()?;
    let until = outage.until?;
    let since = outage.since.map_or("?".to_owned(), |since| present::clock(since, app.now));
    let lost = if outage.down.contains("hook") {
        ". Webhooks of that time were lost, config updates of merges included: GitHub does not send them again"
    } else {
        ""
    };
    let loss = match outage.loss.as_slice() {
        [] => String::new(),
        few if few.len() <= FEW_LOSSES => format!(": {}", few.join("; ")),
        // Such as in a rollout of all of them.
        _ => format!(". Down for a time: {}", outage.down.iter().cloned().collect::<Vec<_>>().join(", ")),
    };
    Some(format!("WAS BROKEN {since} to {}{loss}{lost}", present::clock(until, app.now)))
}
