//! 2 Config: every ConfigMap against the revision that a repair would write, key by key, line by line.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::app::{App, ConfigPane, Observation, live_map};
use super::super::text;
use super::super::theme::Role;
use super::{diff, frame, is_wide, paint, paint_rows, rule, selectable, styled, take};
use crate::diagnose::{ConfigMapDrift, DriftState, FindingKind, KeyChange};
use crate::model::Alias;
use crate::present::{self, Shape};

/// What the API server takes in one ConfigMap.
const LIMIT: usize = 1 << 20;
/// Columns of the list of keys beside the diff, and the line between.
const KEY_COLUMNS: u16 = 40;
/// Rows above the panes.
const HEAD_ROWS: usize = 3;
/// The line below the panes.
const FOOT_ROWS: usize = 1;

pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(seen) = app.picture.shown() else {
        paint(area, buffer, [Line::from("Reading the clusters and the configuration repository.")]);
        return;
    };
    let mut area = area;
    let columns = usize::from(area.width);
    paint(take(&mut area, HEAD_ROWS), buffer, head(app, seen, columns));
    let rows = usize::from(area.height).saturating_sub(FOOT_ROWS);
    let mut middle = take(&mut area, rows);
    paint(area, buffer, [foot(app, seen)]);
    if is_wide(app.size) {
        let places = panes(app, middle);
        if let Some(mut maps) = places.maps {
            paint(take(&mut maps, 1), buffer, [maps_title(app, columns)]);
            paint_maps(app, seen, maps, buffer);
        }
        if let Some(keys) = places.keys {
            paint_keys(app, keys, buffer);
            for y in keys.top()..keys.bottom() {
                buffer.set_string(keys.right() - 1, y, "│", app.theme.style(Role::Dim));
            }
        }
        diff::draw(app, places.diff, buffer);
        return;
    }
    match app.config.pane {
        ConfigPane::Maps => {
            paint(take(&mut middle, 1), buffer, [maps_title(app, columns)]);
            paint_maps(app, seen, middle, buffer);
        }
        ConfigPane::Keys => paint_keys(app, middle, buffer),
        ConfigPane::Diff => diff::draw(app, middle, buffer),
    }
}

/// Where the panes go where they stand together.
struct Panes {
    maps: Option<Rect>,
    keys: Option<Rect>,
    diff: Rect,
}

/// Who reads a diff has the room of the maps, too, and side by side that of the keys, unless there is enough without.
fn panes(app: &App, middle: Rect) -> Panes {
    let reads = app.config.pane == ConfigPane::Diff;
    let mut lower = middle;
    let maps = (!reads).then(|| {
        // Enough for all, at most half; and the title.
        let rows = (app.maps().len().max(1) + 1).min(usize::from(middle.height / 2));
        take(&mut lower, rows + 1)
    });
    let beside = Rect { x: lower.x + KEY_COLUMNS + 1, width: lower.width - KEY_COLUMNS - 1, ..lower };
    if reads && beside.width < diff::BOTH_SIDES && app.config.diffing.shape == Some(Shape::SideBySide) {
        return Panes { maps, keys: None, diff: lower };
    }
    Panes { maps, keys: Some(Rect { width: KEY_COLUMNS, ..lower }), diff: beside }
}

/// Where the diff goes, its title included.
pub fn diff_area(app: &App) -> Rect {
    let mut body = frame::body(app, Rect::new(0, 0, app.size.0, app.size.1));
    take(&mut body, HEAD_ROWS);
    let rows = usize::from(body.height).saturating_sub(FOOT_ROWS);
    let middle = take(&mut body, rows);
    if is_wide(app.size) { panes(app, middle).diff } else { middle }
}

/// Where git stands, what a repair would write, and what speaks against git's head.
fn head(app: &App, seen: &Observation, columns: usize) -> Vec<Line<'static>> {
    let source = match seen.snapshot.desired.seen() {
        Some(desired) => format!(
            "GIT     {} {}@{} \"{}\"",
            desired.repository,
            desired.upstream,
            desired.head.revision.short(),
            desired.head.revision.subject
        ),
        None => format!("GIT     {}: no revision to compare with", seen.snapshot.desired.state()),
    };
    let writes = match &seen.diagnosis.choice {
        Some(choice) => format!("WRITES  {}", present::choice(choice)),
        None => "WRITES  nothing: no revision was found that could be written".to_owned(),
    };
    let loads = loads(seen);
    vec![
        Line::from(text::cut(&source, columns)),
        styled(app.theme, Role::Title, text::cut(&writes, columns)),
        styled(app.theme, loads.1, text::cut(&loads.0, columns)),
    ]
}

/// Whether git's head would load: the finding that says no, with its basis; else that nothing speaks against it.
fn loads(seen: &Observation) -> (String, Role) {
    let Some(head) = seen.snapshot.desired.seen().map(|desired| &desired.head) else {
        return (String::new(), Role::Text);
    };
    let against = seen.diagnosis.findings.iter().find_map(|finding| match &finding.kind {
        FindingKind::RevisionWouldNotLoad { is_head: true, objections, .. } => {
            Some((finding.basis, objections.first().map_or("it is refused", |objection| objection.message.as_str())))
        }
        _ => None,
    });
    match (&head.config_maps, against) {
        (Err(why), _) => (format!("LOADS?  git's head cannot be rendered: {why}"), Role::Bad),
        (Ok(_), Some((basis, why))) => (format!("LOADS?  git's head: {} no: {why}", present::basis(basis)), Role::Warn),
        (Ok(_), None) => ("LOADS?  git's head: nothing speaks against it (GUESS)".to_owned(), Role::Text),
    }
}

fn maps_title(app: &App, columns: usize) -> Line<'static> {
    let title = match app.config.filter.as_str() {
        "" => "CONFIGMAPS  live against what would be written".to_owned(),
        filter => format!("CONFIGMAPS  that contain `{filter}`"),
    };
    rule(app.theme, &title, app.config.pane == ConfigPane::Maps, columns)
}

fn map_line(cells: [&str; 6], columns: usize) -> String {
    let [name, state, changes, bytes, writer, written] = cells;
    let writer_room = if columns < 100 { 14 } else { 24 };
    let name_room = columns.saturating_sub(2 + 10 + 12 + 8 + writer_room + 1 + 8);
    format!(
        "{} {} {} {} {} {}",
        text::fit(name, name_room),
        text::fit(state, 9),
        text::right(changes, 11),
        text::right(bytes, 6),
        text::fit(writer, writer_room),
        text::right(written, 7),
    )
}

fn paint_maps(app: &App, seen: &Observation, area: Rect, buffer: &mut Buffer) {
    let mut area = area;
    let columns = usize::from(area.width);
    let maps = app.maps();
    if maps.is_empty() {
        paint(area, buffer, [Line::from("  none: git asks for none that this filter matches, or could not be read")]);
        return;
    }
    let head = map_line(["CONFIGMAP", "STATE", "+   -   ~", "OF 1Mi", "LAST WRITER", "WRITTEN"], columns);
    paint(take(&mut area, 1), buffer, [styled(app.theme, Role::Dim, format!("  {head}"))]);
    let selected = maps.iter().position(|map| app.config.map.as_ref() == Some(&map.object));
    let focused = app.config.pane == ConfigPane::Maps;
    let row = |at: usize| {
        let map = maps[at];
        let line = styled(app.theme, state_role(map.state), map_row(app, seen, map, columns));
        selectable(app.theme, line, Some(at) == selected, focused)
    };
    paint_rows(app.theme, area, buffer, maps.len(), selected, row);
}

fn map_row(app: &App, seen: &Observation, map: &ConfigMapDrift, columns: usize) -> String {
    let writer = live_map(&seen.snapshot, &map.object).and_then(|live| live.last_writer());
    let written = writer.and_then(|writer| writer.at).map(|at| present::age(at, app.now)).unwrap_or_default();
    let count = |change| map.count(change);
    let changes =
        format!("{:>3} {:>3} {:>3}", count(KeyChange::Added), count(KeyChange::Removed), count(KeyChange::Changed));
    let size = match map.bytes * 100 / LIMIT {
        0 if map.bytes > 0 => "<1%".to_owned(),
        percent => format!("{percent}%"),
    };
    let name = format!("{}/{}", map.object.namespace, map.object.name);
    // The service cluster goes without saying.
    let name = if map.object.cluster == Alias::service() { name } else { format!("{} {name}", map.object.cluster) };
    let writer = writer.map_or("-", |writer| writer.manager.as_str());
    map_line([&name, present::drift_state(map.state), &changes, &size, writer, &written], columns)
}

fn state_role(state: DriftState) -> Role {
    match state {
        DriftState::Same | DriftState::Unmanaged => Role::Text,
        DriftState::Drift | DriftState::Unknown => Role::Warn,
        DriftState::Missing => Role::Bad,
    }
}

fn paint_keys(app: &App, area: Rect, buffer: &mut Buffer) {
    let mut area = area;
    let columns = usize::from(area.width).saturating_sub(if is_wide(app.size) { 1 } else { 0 });
    let keys = app.keys();
    let differ = keys.iter().filter(|key| key.change != KeyChange::Same).count();
    let name = app.selected_map().map_or("no map", |map| map.object.name.as_str());
    let title = format!("KEYS of {name} ({differ} differ)");
    let focused = app.config.pane == ConfigPane::Keys;
    paint(take(&mut area, 1), buffer, [rule(app.theme, &title, focused, columns)]);
    let selected = keys.iter().position(|key| app.config.key.as_ref() == Some(&key.key));
    let row = |at: usize| {
        let key = keys[at];
        let (note, role) = match key.change {
            KeyChange::Same => ("", Role::Dim),
            KeyChange::Added => ("new", Role::Added),
            KeyChange::Removed => ("stale, no file", Role::Removed),
            KeyChange::Changed => ("", Role::Warn),
        };
        let path = match &key.path {
            Some(path) if !is_wide(app.size) && *path != key.key => path.as_str(),
            Some(_) | None => note,
        };
        let room = columns.saturating_sub(5 + text::width(path) + 1);
        let line = Line::from(vec![
            Span::styled(format!("{} ", present::key_change(key.change)), app.theme.style(role)),
            Span::raw(text::fit(&key.key, room)),
            Span::styled(format!(" {path}"), app.theme.style(Role::Dim)),
        ]);
        selectable(app.theme, line, Some(at) == selected, focused)
    };
    let narrow = Rect { width: u16::try_from(columns).unwrap_or(area.width), ..area };
    paint_rows(app.theme, narrow, buffer, keys.len(), selected, row);
}

fn foot(app: &App, seen: &Observation) -> Line<'static> {
    if app.config.pane == ConfigPane::Diff {
        return styled(app.theme, Role::Dim, diff::foot(app));
    }
    let Some(live) = app.config.map.as_ref().and_then(|object| live_map(&seen.snapshot, object)) else {
        return styled(app.theme, Role::Dim, "no live ConfigMap was read here");
    };
    let words = format!(
        "{} at resourceVersion {}; a plan is one backed-up PUT, refused if it moves",
        live.key.name, live.resource_version
    );
    styled(app.theme, Role::Dim, words)
}
