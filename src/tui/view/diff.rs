//! The diff of one key: below each other or side by side, changed words marked, YAML in colours. Of however long a diff,
//! only the rows on the screen are made.

use std::ops::Range;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthChar as _;

use super::super::app::{App, Asked, CONTEXTS, ConfigPane, Diffing, Needle, Sheet};
use super::super::text;
use super::super::theme::{Role, Theme};
use super::{config, paint, rule, styled, take, yaml};
use crate::model::text::sanitize_line;
use crate::present::{DiffTag, Row, Shape, Side, changed_words};

/// From so many columns on, both sides stand beside each other unless somebody wants it otherwise.
pub const BOTH_SIDES: u16 = 120;
/// With fewer columns than this, they cannot.
const LEAST: u16 = 100;
/// The sign before each line, and a space.
const SIGN: usize = 2;

/// How both sides are laid out here.
pub fn shape(app: &App) -> Shape {
    let width = config::diff_area(app).width;
    match app.config.diffing.shape {
        None if width >= BOTH_SIDES => Shape::SideBySide,
        Some(Shape::SideBySide)
            if width >= BOTH_SIDES || (app.config.pane == ConfigPane::Diff && turnable(app).is_ok()) =>
        {
            Shape::SideBySide
        }
        None | Some(Shape::SideBySide | Shape::Unified) => Shape::Unified,
    }
}

/// Whether there is room for both sides beside each other.
///
/// # Errors
/// What is missing.
pub fn turnable(app: &App) -> Result<(), &'static str> {
    if app.size.0 < LEAST { Err("side by side needs 100 columns") } else { Ok(()) }
}

/// All rows, and how many there is room for.
pub fn extent(app: &App) -> (usize, u16) {
    let rows = app.config.diffing.sheet().map_or(0, |sheet| sheet.rows.len());
    (rows, config::diff_area(app).height.saturating_sub(1))
}

/// How far it can be scrolled.
pub fn most_top(app: &App) -> usize {
    let (rows, height) = extent(app);
    rows.saturating_sub(usize::from(height))
}

/// How far it can be moved to the side: until the longest line on the screen ends.
pub fn most_left(app: &App) -> usize {
    let Some(sheet) = app.config.diffing.sheet() else { return 0 };
    let area = config::diff_area(app);
    let room = side_width(sheet.shape, usize::from(area.width)).saturating_sub(SIGN);
    let rows = sheet.rows.iter().skip(app.config.diffing.top).take(usize::from(area.height));
    let width = |side, n: Option<usize>| n.map_or(0, |n| text::width(sheet.comparison.text(side, n)));
    let widest = rows.map(|row| match *row {
        Row::Same { git, .. } => width(Side::Git, Some(git)),
        Row::Changed { live, git } => width(Side::Live, live).max(width(Side::Git, git)),
        Row::Note(_) | Row::Hunk { .. } | Row::NoNewline { .. } => 0,
    });
    widest.max().unwrap_or(0).saturating_sub(room)
}

fn side_width(shape: Shape, columns: usize) -> usize {
    match shape {
        Shape::Unified => columns,
        Shape::SideBySide => columns.saturating_sub(1) / 2,
    }
}

pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let mut area = area;
    let columns = usize::from(area.width);
    paint(take(&mut area, 1), buffer, [title(app, columns)]);
    let diffing = &app.config.diffing;
    let Some(diff) = &diffing.diff else { return };
    let Some(sheet) = &diff.sheet else {
        paint(area, buffer, [Line::from("comparing")]);
        return;
    };
    if sheet.rows.is_empty() {
        paint(area, buffer, [styled(app.theme, Role::Ok, "the same, live and in git")]);
        return;
    }
    let is_yaml = [".yaml", ".yml"].iter().any(|end| diff.of.key.ends_with(end));
    let brush = Brush { theme: app.theme, sheet, left: diffing.left, is_yaml, needle: Needle::new(&sheet.search) };
    let here = here(diffing, sheet);
    let shown = sheet.rows.iter().enumerate().skip(diffing.top);
    let lines = shown.take(usize::from(area.height)).map(|(at, row)| brush.row(*row, here.contains(&at), columns));
    paint(area, buffer, lines);
}

/// The rows that were jumped to.
fn here(diffing: &Diffing, sheet: &Sheet) -> Range<usize> {
    match diffing.at {
        Some(at) if sheet.changes.binary_search(&at).is_ok() => sheet.change_at(at),
        Some(at) => at..at + 1,
        None => 0..0,
    }
}

fn title(app: &App, columns: usize) -> Line<'static> {
    let focused = app.config.pane == ConfigPane::Diff;
    let key = app.config.key.as_deref().unwrap_or("no key");
    let drift = app.selected_map().and_then(|map| map.keys.iter().find(|drift| drift.key == key));
    let path = match drift.map(|drift| drift.path.as_deref()) {
        Some(Some(path)) => format!(" {path}"),
        Some(None) => ", no file".to_owned(),
        None => String::new(),
    };
    let diffing = &app.config.diffing;
    let hurried = diffing.sheet().is_some_and(|sheet| sheet.comparison.is_hurried());
    let state = match diffing.diff.as_ref().map(|diff| (diff.asked, &diff.sheet)) {
        Some((Asked::NotYet | Asked::Asked, Some(_))) => "  (comparing anew)",
        Some((Asked::Answered, _)) if hurried => "  (in a hurry: not the smallest)",
        Some(_) | None => "",
    };
    rule(app.theme, &format!("{key}  - live  + git{path}{state}"), focused, columns)
}

/// Where one is, and how it is looked at.
pub fn foot(app: &App) -> String {
    let diffing = &app.config.diffing;
    let Some(sheet) = diffing.sheet() else { return String::new() };
    let count = sheet.changes.len();
    let place = diffing.at.and_then(|at| sheet.changes.binary_search(&at).ok());
    let mut words = vec![match (place, count) {
        (Some(place), _) => format!("change {} of {count}", place + 1),
        (None, 1) => "1 change".to_owned(),
        (None, _) => format!("{count} changes"),
    }];
    words.push(match CONTEXTS.get(diffing.context) {
        Some(&usize::MAX) | None => "all lines".to_owned(),
        Some(lines) => format!("{lines} around each"),
    });
    let (rows, height) = extent(app);
    if rows > usize::from(height) {
        words.push(format!("rows {} to {} of {rows}", diffing.top + 1, rows.min(diffing.top + usize::from(height))));
    }
    if diffing.left > 0 {
        words.push(format!("from column {}", diffing.left + 1));
    }
    if !sheet.search.is_empty() {
        words.push(format!("{} rows hold `{}`", sheet.hits.len(), sheet.search));
    }
    words.join(" | ")
}

/// The whole diff as text, for the clipboard.
pub fn text_of(sheet: &Sheet) -> String {
    let mut out = String::new();
    for line in sheet.comparison.lines(sheet.context) {
        out.push_str(line.tag.sign());
        out.push_str(&line.text);
        out.push('\n');
    }
    out
}

/// What rows are painted with.
struct Brush<'a> {
    theme: Theme,
    sheet: &'a Sheet,
    left: usize,
    is_yaml: bool,
    needle: Option<Needle>,
}

impl Brush<'_> {
    fn row(&self, row: Row, here: bool, columns: usize) -> Line<'static> {
        match (row, self.sheet.shape) {
            (Row::Note(_) | Row::Hunk { .. }, _) | (Row::NoNewline { .. }, Shape::Unified) => {
                styled(self.theme, Role::Hunk, self.sheet.comparison.line(row).text)
            }
            (Row::Same { git, .. }, Shape::Unified) => self.line(DiffTag::Same, Side::Git, git, here, columns),
            (Row::Changed { live: Some(live), git: None }, Shape::Unified) => {
                self.line(DiffTag::Removed, Side::Live, live, here, columns)
            }
            (Row::Changed { live, git }, Shape::Unified) => {
                let n = git.or(live).unwrap_or_default();
                self.line(DiffTag::Added, Side::Git, n, here, columns)
            }
            (Row::Same { live, git }, Shape::SideBySide) => {
                self.beside(Some((DiffTag::Same, live)), Some((DiffTag::Same, git)), here, columns)
            }
            (Row::Changed { live, git }, Shape::SideBySide) => {
                let (live, git) = (live.map(|n| (DiffTag::Removed, n)), git.map(|n| (DiffTag::Added, n)));
                self.beside(live, git, here, columns)
            }
            (Row::NoNewline { live, git }, Shape::SideBySide) => {
                let width = side_width(Shape::SideBySide, columns);
                let words = |is: bool| if is { "\\ no newline at the end" } else { "" };
                let line = format!("{}│{}", text::fit(words(live), width), words(git));
                styled(self.theme, Role::Hunk, line)
            }
        }
    }

    fn beside(
        &self,
        live: Option<(DiffTag, usize)>,
        git: Option<(DiffTag, usize)>,
        here: bool,
        columns: usize,
    ) -> Line<'static> {
        let width = side_width(Shape::SideBySide, columns);
        let side = |side, line: Option<(DiffTag, usize)>| match line {
            Some((tag, n)) => self.line(tag, side, n, here, width),
            None => Line::default(),
        };
        let mut line = side(Side::Live, live);
        let missing = width.saturating_sub(line.width());
        line.push_span(Span::raw(" ".repeat(missing)));
        line.push_span(Span::styled("│", self.theme.style(Role::Dim)));
        line.extend(side(Side::Git, git).spans);
        line
    }

    /// A line with its sign.
    fn line(&self, tag: DiffTag, side: Side, n: usize, here: bool, columns: usize) -> Line<'static> {
        let comparison = &self.sheet.comparison;
        let text = comparison.text(side, n);
        let (role, word) = match tag {
            DiffTag::Removed => (Role::Removed, Role::RemovedWord),
            DiffTag::Added => (Role::Added, Role::AddedWord),
            DiffTag::Same | DiffTag::Hunk => (Role::Text, Role::Text),
        };
        let mut layers: Vec<(Range<usize>, Role)> = Vec::new();
        if self.is_yaml {
            // A line that changed has the colour of its side.
            let keeps = |part: &(Range<usize>, Role)| tag == DiffTag::Same || part.1 == Role::Comment;
            layers.extend(yaml::parts(text).into_iter().filter(keeps));
        }
        if tag != DiffTag::Same
            && let Some(partner) = comparison.partner(side, n)
        {
            let words = match side {
                Side::Live => changed_words(text, comparison.text(Side::Git, partner)).0,
                Side::Git => changed_words(comparison.text(Side::Live, partner), text).1,
            };
            layers.extend(words.into_iter().map(|range| (range, word)));
        }
        if let Some(needle) = &self.needle {
            let mut from = 0;
            while let Some(found) = needle.find(text, from) {
                from = found.end;
                layers.push((found, Role::Match));
            }
        }
        let base = self.theme.style(role);
        let sign = if here { base.patch(self.theme.style(Role::Selected)) } else { base };
        let mut line = Line::from(vec![Span::styled(tag.sign(), sign), Span::raw(" ")]);
        let layers: Vec<(Range<usize>, Style)> =
            layers.into_iter().map(|(range, role)| (range, self.theme.style(role))).collect();
        line.extend(window(text, self.left, columns.saturating_sub(SIGN), base, &layers, self.theme.style(Role::Dim)));
        line
    }
}

/// The columns of a text from `left` on, at most so many. What is cut off at either end is marked.
fn window(
    text: &str,
    left: usize,
    columns: usize,
    base: Style,
    layers: &[(Range<usize>, Style)],
    cut: Style,
) -> Vec<Span<'static>> {
    let mut cells: Vec<(String, usize, Style)> = Vec::new();
    let (mut column, mut used) = (0, 0);
    let mut goes_on = false;
    for (at, c) in text.char_indices() {
        // One character each, whatever a terminal would make of the original.
        let shown = sanitize_line(c.encode_utf8(&mut [0; 4]));
        let wide = shown.chars().next().and_then(|c| c.width()).unwrap_or(0);
        let begins = column;
        column += wide;
        if begins < left {
            continue;
        }
        if used + wide > columns {
            goes_on = true;
            break;
        }
        used += wide;
        let style =
            layers.iter().filter(|(range, _)| range.contains(&at)).fold(base, |style, (_, layer)| style.patch(*layer));
        cells.push((shown, wide, style));
    }
    if goes_on {
        while used >= columns.max(1) {
            used -= cells.pop().map_or(used, |(_, wide, _)| wide);
        }
        cells.push(("…".to_owned(), 1, cut));
    }
    if left > 0 && column > 0 {
        match cells.first_mut() {
            Some(first) if first.1 == 1 => *first = ("…".to_owned(), 1, cut),
            Some(_) => {}
            None => cells.push(("…".to_owned(), 1, cut)),
        }
    }
    let mut spans: Vec<(String, Style)> = Vec::new();
    for (shown, _, style) in cells {
        match spans.last_mut() {
            Some((before, same)) if *same == style => before.push_str(&shown),
            Some(_) | None => spans.push((shown, style)),
        }
    }
    spans.into_iter().map(|(text, style)| Span::styled(text, style)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str, left: usize, columns: usize) -> String {
        let style = Style::new();
        window(text, left, columns, style, &[], style).iter().map(|span| span.content.as_ref()).collect()
    }

    #[test]
    fn what_is_cut_off_is_marked() {
        assert_eq!(shown("abcdef", 0, 6), "abcdef");
        assert_eq!(shown("abcdef", 0, 5), "abcd…");
        assert_eq!(shown("abcdef", 2, 9), "…def");
        assert_eq!(shown("abcdef", 2, 3), "…d…");
        assert_eq!(shown("ab", 8, 9), "…");
        assert_eq!(shown("", 8, 9), "");
        assert_eq!(shown("a\tb\u{1b}c", 0, 9), "a b\u{fffd}c");
    }

    proptest! {
        #[test]
        fn no_more_columns_than_there_are(text in "[a-c\u{4e00}-\u{4e10}\t]{0,40}", left in 0usize..50, columns in 1usize..30) {
            prop_assert!(text::width(&shown(&text, left, columns)) <= columns);
        }
    }
}
