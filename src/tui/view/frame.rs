//! What every screen has: context, server, user, mode, git, clock, ages; below, the last key's answer and the hints.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::app::{ARMED_IDLE_SECONDS, App, Field, Mode, Picture, Place, Screen, Standing};
use super::super::keymap::{self, Hint};
use super::super::msg::Command;
use super::super::text;
use super::super::theme::Role;
use super::{is_wide, paint, rule, styled};
use crate::clock::Pace;
use crate::diagnose::NextStep;
use crate::model::{ClusterStanding, ClusterView, Source, Timestamp};
use crate::present;

/// Seconds after which data is marked as old: the heartbeat should have confirmed it by then.
const OLD_SECONDS: i64 = 30;
/// Of the row that git shares with the ages, as many columns are git's at least.
const GIT_ROOM: usize = 24;

fn header_rows(app: &App) -> u16 {
    if is_wide(app.size) { 2 } else { 3 }
}

/// Rows of the hints, below the one of what the last key came to.
pub fn hint_rows(app: &App) -> u16 {
    if is_wide(app.size) { 2 } else { 1 }
}

/// Where the screen itself goes.
pub fn body(app: &App, area: Rect) -> Rect {
    let top = header_rows(app) + 1;
    let bottom = hint_rows(app) + 2;
    Rect { y: area.y + top, height: area.height.saturating_sub(top + bottom), ..area }
}

/// Draws the frame and gives back where the screen goes.
pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) -> Rect {
    let columns = usize::from(area.width);
    let mut lines = if is_wide(app.size) { wide_header(app, columns) } else { compact_header(app, columns) };
    lines.push(rule(app.theme, "", false, columns));
    paint(area, buffer, lines);
    let body = body(app, area);
    let foot = Rect { y: body.bottom(), height: area.bottom() - body.bottom(), ..area };
    let mut lines = vec![rule(app.theme, "", false, columns)];
    let status = status(app);
    // Where there is nothing to say, the hints have the row too.
    let free = if status.is_some() || is_wide(app.size) { 0 } else { 1 };
    if free == 0 {
        lines.push(status.unwrap_or_default());
    }
    lines.extend(hints(app, columns, usize::from(hint_rows(app)) + free));
    paint(foot, buffer, lines);
    body
}

fn wide_header(app: &App, columns: usize) -> Vec<Line<'static>> {
    let bar = || Span::styled(" | ", app.theme.style(Role::Dim));
    let context = context(app);
    let (mode, role) = mode(app);
    let clock = present::clock_seconds(app.now);
    let (title, title_role) = name(app);
    let git = git(app);
    let fixed = 3 * 3 + text::width(&mode) + clock.len();
    // The program's own name is the first to go, then git, then the cluster's; that it is a drill is never left out.
    let wanted = text::width(&title) + 3 + fixed + text::width(&context) + text::width(&git);
    let mut first = Vec::new();
    let mut fixed = fixed;
    if wanted <= columns || app.drill.is_some() {
        fixed += if app.drill.is_some() { text::width(&title) + 3 } else { 0 };
        first.extend([Span::styled(title, app.theme.style(title_role)), bar()]);
    }
    let room = columns.saturating_sub(fixed);
    let context = text::cut(&context, room.saturating_sub(text::width(&git).min(GIT_ROOM)));
    let git = text::cut(&git, room.saturating_sub(text::width(&context)));
    first.extend([
        Span::raw(context),
        bar(),
        Span::styled(mode, app.theme.style(role)),
        bar(),
        Span::raw(git),
        bar(),
        Span::raw(clock),
    ]);
    let first = Line::from(first);
    let (mut second, used) = tabs(app);
    let (ages, old) = ages(app);
    let ages = text::right(&ages, columns.saturating_sub(used));
    second.push(Span::styled(ages, app.theme.style(if old { Role::Warn } else { Role::Text })));
    vec![first, Line::from(second)]
}

fn compact_header(app: &App, columns: usize) -> Vec<Line<'static>> {
    let (mode, role) = mode(app);
    let clock = present::clock_seconds(app.now);
    let drill = app.drill.as_ref().map(|_| format!("{} | ", name(app).0)).unwrap_or_default();
    let context = text::fit(&format!("{drill}{}", context(app)), columns.saturating_sub(clock.len() + 1));
    let (ages, old) = ages(app);
    // Two clusters and six screens are much for 80 columns, and the age of each is worth more than git's name.
    let room = columns.saturating_sub(text::width(&mode) + 3);
    let ages = text::cut(&ages, room.saturating_sub(GIT_ROOM));
    let git = text::fit(&git(app), room.saturating_sub(text::width(&ages) + 2));
    vec![
        Line::from(format!("{context} {clock}")),
        Line::from(vec![
            Span::styled(mode, app.theme.style(role)),
            Span::raw(" | "),
            Span::raw(git),
            Span::raw("  "),
            Span::styled(ages, app.theme.style(if old { Role::Warn } else { Role::Text })),
        ]),
        Line::from(tabs(app).0),
    ]
}

/// The program's name; in a drill, that it is one, and how its time goes.
fn name(app: &App) -> (String, Role) {
    let Some(drill) = &app.drill else { return ("prow-breakglass".to_owned(), Role::Title) };
    let pace = match drill.pace {
        Pace::Stopped => " HELD".to_owned(),
        Pace::Times(1) => String::new(),
        Pace::Times(times) => format!(" x{times}"),
    };
    (format!("DRILL {}{pace}", drill.name), Role::Warn)
}

fn context(app: &App) -> String {
    let Some(seen) = app.picture.shown() else { return "connecting".to_owned() };
    let service = &seen.snapshot.service;
    let server = service.server.trim_start_matches("https://");
    let user = seen.snapshot.user.as_deref().unwrap_or("?");
    format!("ctx {} ({server}) as {user}", service.context)
}

fn mode(app: &App) -> (String, Role) {
    match app.mode {
        Mode::ReadOnly => ("READ-ONLY".to_owned(), Role::ReadOnly),
        Mode::Armed { .. } if app.run_is_going() => ("ARMED, RUNNING".to_owned(), Role::Armed),
        Mode::Armed { idle_since } => {
            let left =
                (ARMED_IDLE_SECONDS - (app.now.as_second() - idle_since.as_second())).clamp(0, ARMED_IDLE_SECONDS);
            (format!("ARMED {}m", (left + 59) / 60), Role::Armed)
        }
    }
}

fn git(app: &App) -> String {
    let Some(seen) = app.picture.shown() else { return "git ?".to_owned() };
    match &seen.snapshot.desired {
        Source::Loading => "git loading".to_owned(),
        Source::Denied { .. } => "git DENIED".to_owned(),
        Source::Lost { last: None, .. } => "git LOST".to_owned(),
        Source::Known { value, .. } | Source::Lost { last: Some((value, _)), .. } => {
            let fetched =
                value.fetched.map_or("never fetched".to_owned(), |at| format!("fetched {}", present::age(at, app.now)));
            let lost = if seen.snapshot.desired.known().is_some() { "" } else { " LOST" };
            format!("git {}@{} {fetched}{lost}", value.upstream, value.head.revision.short())
        }
    }
}

fn tabs(app: &App) -> (Vec<Span<'static>>, usize) {
    let mut spans = Vec::new();
    let mut used = 0;
    for (number, screen) in (1..).zip(Screen::ALL) {
        let name = format!("{number} {}", screen.name());
        let (tab, role) =
            if screen == app.screen { (format!("[{name}]"), Role::Title) } else { (format!(" {name} "), Role::Text) };
        used += tab.len();
        spans.push(Span::styled(tab, app.theme.style(role)));
    }
    (spans, used)
}

/// How old each cluster's data is, and whether any is old.
fn ages(app: &App) -> (String, bool) {
    let Some(seen) = app.picture.shown() else { return ("data: none yet".to_owned(), false) };
    let views = std::iter::once(("svc", &seen.snapshot.service))
        .chain(seen.snapshot.clusters.iter().map(|(alias, view)| (alias.0.as_str(), view)))
        .filter(|(_, view)| view.is_plannable());
    let mut words: Vec<(bool, String)> = views
        .map(|(name, view)| {
            let (word, old) = age_of(view, app.now, old_seconds(app));
            (old, format!("{name} {word}"))
        })
        .collect();
    // Where there is no room for all, the old ones are those to see.
    words.sort_by_key(|(old, _)| !old);
    let any_old = words.iter().any(|(old, _)| *old);
    let words: Vec<String> = words.into_iter().map(|(_, word)| word).collect();
    let clock = present::clock_note(&seen.snapshot).map_or(String::new(), |(words, _)| format!("{words}  "));
    (format!("{clock}data: {}", words.join("  ")), any_old || !clock.is_empty())
}

/// The heartbeat goes by the machine's time, ages by the story's.
fn old_seconds(app: &App) -> i64 {
    let times = match app.drill.as_ref().map(|drill| drill.pace) {
        Some(Pace::Times(times)) => times.max(1),
        Some(Pace::Stopped) | None => 1,
    };
    OLD_SECONDS * i64::from(times)
}

fn age_of(view: &ClusterView, now: Timestamp, old_seconds: i64) -> (String, bool) {
    let parts = match view.standing {
        ClusterStanding::Service => vec![
            (view.components.at(), view.components.state()),
            (view.config_maps.at(), view.config_maps.state()),
            (view.endpoints.at(), view.endpoints.state()),
        ],
        ClusterStanding::Build | ClusterStanding::Unproven => {
            vec![(view.job_pods.at(), view.job_pods.state()), (view.census.at(), view.census.state())]
        }
    };
    let lost = parts.iter().any(|(_, state)| *state == "lost");
    let Some(oldest) = parts.iter().filter_map(|(at, _)| *at).min() else {
        return match parts.first() {
            Some((_, "denied")) => ("DENIED".to_owned(), true),
            Some((_, "lost")) => ("LOST".to_owned(), true),
            Some(_) | None => ("loading".to_owned(), false),
        };
    };
    let old = now.as_second() - oldest.as_second() > old_seconds;
    let age = present::age(oldest, now);
    match (lost, old) {
        (true, _) => (format!("{age} LOST!"), true),
        (false, true) => (format!("{age} OLD!"), true),
        (false, false) => (age, false),
    }
}

fn status(app: &App) -> Option<Line<'static>> {
    // What the last key came to may wait, the end of a drill may not.
    if app.drill.as_ref().is_some_and(|drill| drill.standing == Standing::Over) {
        let notice = app.notice.as_ref().map(|notice| format!(" | {notice}")).unwrap_or_default();
        // The world is judged by itself: what might have undone the repair did not.
        let is_warned =
            app.picture.newest().is_some_and(|seen| matches!(seen.diagnosis.verdict.next, NextStep::Stop { .. }));
        let words = match is_warned {
            true => "; what NEXT says is for a real Prow",
            false => ": Prow is healthy, nothing is left behind",
        };
        let over = format!("The drill is over{words}. q: the scorecard{notice}");
        return Some(styled(app.theme, Role::Title, text::cut(&over, usize::from(app.size.0))));
    }
    if let Some(notice) = &app.notice {
        return Some(styled(app.theme, Role::Title, notice.clone()));
    }
    match &app.picture {
        Picture::Frozen { since, .. } => Some(styled(
            app.theme,
            Role::Warn,
            format!("FROZEN for {}: newer data is kept behind it; f lets it go on", present::age(*since, app.now)),
        )),
        Picture::Waiting | Picture::Live(_) => None,
    }
}

/// What works now, then what does not, with its reason.
fn hints(app: &App, columns: usize, rows: usize) -> Vec<Line<'static>> {
    let place = app.place();
    let mut works: Vec<(String, Role)> = match place {
        Place::Typing(field) => {
            let mut works = vec!["Enter (typed) go on", "Esc leave", "Ctrl-U clear"];
            if field == Field::Confirm {
                works.extend(["Tab pane", "arrows PgDn read on"]);
            }
            works.into_iter().map(|hint| (hint.to_owned(), Role::Text)).collect()
        }
        Place::Screen(_) | Place::Diff | Place::Reading | Place::Asking | Place::TooSmall => Vec::new(),
    };
    let mut greyed = Vec::new();
    let mut kept: Vec<String> = Vec::new();
    for binding in keymap::at(app, place).filter(|binding| binding.hint == Hint::Shown) {
        let label = match (binding.command, &app.mode) {
            (Command::Arm, Mode::Armed { .. }) => "disarm",
            (Command::Hold, _) if is_held(app) => "let time go on",
            _ => binding.label,
        };
        let hint = format!("{} {label}", binding.shown);
        match keymap::available(app, binding.command) {
            Ok(()) if matches!(binding.command, Command::Help | Command::Quit) => kept.push(hint),
            Ok(()) => works.push((hint, Role::Text)),
            Err(reason) if keymap::NOT_OFFERED.contains(&reason) => {}
            Err(reason) => greyed.push((format!("{hint} ({reason})"), Role::Dim)),
        }
    }
    if matches!(place, Place::Reading | Place::Asking) {
        works.push(("Esc back".to_owned(), Role::Text));
    }
    works.extend(greyed);
    flow(app, works, &kept.join("  "), columns, rows)
}

fn is_held(app: &App) -> bool {
    app.drill.as_ref().is_some_and(|drill| drill.pace == Pace::Stopped)
}

/// The words in so many rows at most. What is kept has its place at the end, whatever else has none.
fn flow(app: &App, words: Vec<(String, Role)>, kept: &str, columns: usize, rows: usize) -> Vec<Line<'static>> {
    let kept_room = if kept.is_empty() { 0 } else { text::width(kept) + 2 };
    let mut lines = vec![Line::default()];
    let mut used = 0;
    let last = words.len();
    let kept = (!kept.is_empty()).then(|| (kept.to_owned(), Role::Text));
    for (at, (word, role)) in words.into_iter().chain(kept).enumerate() {
        let wide = text::width(&word);
        let room = if lines.len() < rows || at >= last { columns } else { columns.saturating_sub(kept_room) };
        let gap = if used == 0 { 0 } else { 2 };
        if used + gap + wide > room {
            if lines.len() == rows {
                continue;
            }
            lines.push(Line::default());
            used = 0;
        }
        let gap = if used == 0 { 0 } else { 2 };
        if let Some(line) = lines.last_mut() {
            line.push_span(Span::raw(" ".repeat(gap)));
            line.push_span(Span::styled(word, app.theme.style(role)));
        }
        used += gap + wide;
    }
    lines
}
