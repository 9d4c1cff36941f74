//! Pop-ups: help, arming, evidence, logs, questions.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Widget};

use super::super::app::{App, Field, Modal, Place, Screen};
use super::super::keymap::{self, Binding};
use super::super::text;
use super::super::theme::Role;
use super::plan::field;
use super::{frame, paint, styled};
use crate::model::{Component, Container, ContainerState, LogLine};
use crate::present;

const HEADER_ROWS: u16 = 3;

pub fn draw(app: &App, modal: &Modal, area: Rect, buffer: &mut Buffer) {
    let outer = outer(app, modal, area);
    Clear.render(outer, buffer);
    Block::bordered().title(format!(" {} ", title(app, modal))).render(outer, buffer);
    let inner = inner(app, modal, area);
    let lines = lines(app, modal, usize::from(inner.width));
    let most = lines.len().saturating_sub(usize::from(inner.height));
    let scroll = match modal {
        Modal::Help { scroll } | Modal::Detail { scroll, .. } | Modal::Log { scroll, .. } => (*scroll).min(most),
        Modal::Arm { .. } | Modal::Filter | Modal::Search { .. } | Modal::AskQuit | Modal::AskStop => 0,
    };
    if most > scroll {
        let more = format!(" {} more: Down ", most - scroll);
        buffer.set_string(outer.x + 2, outer.bottom() - 1, more, app.theme.style(Role::Text));
    }
    paint(inner, buffer, lines.into_iter().skip(scroll));
}

fn title(app: &App, modal: &Modal) -> String {
    match modal {
        Modal::Help { .. } => "Help".to_owned(),
        Modal::Arm { .. } => "Arm".to_owned(),
        Modal::Detail { .. } => "Evidence".to_owned(),
        Modal::Log { component, .. } => format!("Logs of {}", component.name),
        Modal::Filter => match app.screen {
            Screen::Config => "Filter ConfigMaps".to_owned(),
            Screen::Strays => "Filter strays".to_owned(),
            Screen::Overview | Screen::Rollback | Screen::Plan | Screen::Run => "Filter findings".to_owned(),
        },
        Modal::Search { .. } => "Search the diff".to_owned(),
        Modal::AskQuit => "Quit?".to_owned(),
        Modal::AskStop => "Stop?".to_owned(),
    }
}

/// The frame: as high as its text, at most the screen but the header, what the last key came to, and the hints.
fn outer(app: &App, modal: &Modal, area: Rect) -> Rect {
    let width = area.width.saturating_sub(4).min(100);
    let text = lines(app, modal, usize::from(width.saturating_sub(4))).len() + 2;
    let most = area.height.saturating_sub(HEADER_ROWS + 1 + frame::hint_rows(app));
    let height = u16::try_from(text).unwrap_or(u16::MAX).min(most);
    Rect { x: area.x + (area.width - width) / 2, y: area.y + HEADER_ROWS + (most - height) / 2, width, height }
}

/// Where the text goes.
pub fn inner(app: &App, modal: &Modal, area: Rect) -> Rect {
    let outer = outer(app, modal, area);
    Rect {
        x: outer.x + 2,
        y: outer.y + 1,
        width: outer.width.saturating_sub(4),
        height: outer.height.saturating_sub(2),
    }
}

/// Its whole text.
pub fn lines(app: &App, modal: &Modal, columns: usize) -> Vec<Line<'static>> {
    match modal {
        Modal::Help { .. } => help(app, columns),
        Modal::Arm { typed, reply } => arm(app, typed, reply.as_deref(), columns),
        Modal::Detail { finding, .. } => detail(app, finding, columns),
        Modal::Log { component, .. } => match app.component(component) {
            Some(component) => wrapped(&log_lines(app, component), columns),
            None => vec![Line::from("The component is gone.")],
        },
        Modal::Filter => {
            let typed = match app.screen {
                Screen::Config => &app.config.filter,
                Screen::Strays => &app.strays.filter,
                Screen::Overview | Screen::Rollback | Screen::Plan | Screen::Run => &app.overview.filter,
            };
            vec![field(app, typed), Line::from("Enter keeps it, Esc clears it.")]
        }
        Modal::Search { typed } => {
            vec![field(app, typed), Line::from("Enter goes to the first match; small letters match capitals, too.")]
        }
        Modal::AskQuit => wrapped(
            &[
                "A run goes on. Quitting stops it after the object in flight; what was done stays done.".to_owned(),
                "y  stop it and quit        Esc  stay".to_owned(),
            ],
            columns,
        ),
        Modal::AskStop => wrapped(
            &[
                "Stop the run after the object in flight? What was done stays done.".to_owned(),
                "y  stop it        Esc  go on".to_owned(),
            ],
            columns,
        ),
    }
}

fn wrapped(lines: &[String], columns: usize) -> Vec<Line<'static>> {
    lines.iter().flat_map(|line| text::wrap(line, columns, 4)).map(Line::from).collect()
}

fn arm(app: &App, typed: &str, reply: Option<&str>, columns: usize) -> Vec<Line<'static>> {
    let Some(seen) = app.picture.newest() else { return vec![Line::from("Nothing seen yet.")] };
    let service = &seen.snapshot.service;
    let word = app.arm_word().unwrap_or_default();
    let mut lines = wrapped(
        &[
            format!("context {}, {}", service.context, service.server),
            format!("as {}", seen.snapshot.user.as_deref().unwrap_or("? (the server does not tell)")),
            "Armed, a plan runs once its own words are typed on 5 Plan. It ends after 60 idle minutes, or with A."
                .to_owned(),
        ],
        columns,
    );
    lines.push(styled(
        app.theme,
        Role::Title,
        format!("Type `{word}` and press Enter. Esc leaves. Paste is ignored here."),
    ));
    lines.push(field(app, typed));
    if let Some(reply) = reply {
        lines.push(styled(app.theme, Role::Bad, text::cut(reply, columns)));
    }
    lines
}

fn detail(app: &App, id: &str, columns: usize) -> Vec<Line<'static>> {
    let finding = app.picture.shown().and_then(|seen| seen.diagnosis.finding(id));
    let Some(finding) = finding else {
        return wrapped(&[format!("{id} is gone: the newest picture does not show it any more.")], columns);
    };
    let words = format!(
        "{} {}  {}",
        present::severity(finding.severity),
        present::basis(finding.basis),
        present::finding(finding)
    );
    let mut lines: Vec<Line<'static>> =
        text::wrap(&words, columns, 2).into_iter().map(|line| styled(app.theme, Role::Title, line)).collect();
    let mut rest = Vec::new();
    if let Some(since) = finding.since {
        rest.push(format!("since {} ({} ago)", present::clock(since, app.now), present::age(since, app.now)));
    }
    rest.push(format!("id {}", finding.id));
    for subject in &finding.subjects {
        let cluster = app.picture.shown().map(|seen| present::cluster_name(&seen.snapshot, &subject.cluster));
        rest.push(format!("about {subject} in {}", cluster.unwrap_or_else(|| subject.cluster.to_string())));
    }
    rest.push(String::new());
    rest.push("EVIDENCE".to_owned());
    rest.extend(finding.evidence.iter().map(|line| format!("  {line}")));
    rest.push(String::new());
    rest.push(if finding.repairs.is_empty() {
        "No repair of this program clears it.".to_owned()
    } else {
        let names: Vec<&str> = finding.repairs.iter().map(|repair| repair.name()).collect();
        format!("Repairs: {}. Esc, then p makes a plan.", names.join(", "))
    });
    lines.extend(wrapped(&rest, columns));
    lines
}

/// What is known of why a component's containers ended: the previous life first.
pub fn log_lines(app: &App, component: &Component) -> Vec<String> {
    let mut lines = vec![
        format!("{} {}", component.object, present::component_state(component)),
        format!("down means: {}", component.when_down),
    ];
    for pod in &component.pods {
        lines.push(String::new());
        let age = pod.created.map(|at| format!(", {} old", present::age(at, app.now))).unwrap_or_default();
        lines.push(format!("{} {}{age}", pod.object.name, pod.state));
        for container in &pod.containers {
            lines.extend(container_lines(app, container));
        }
    }
    if component.pods.is_empty() {
        lines.push("no pods".to_owned());
    }
    lines
}

fn container_lines(app: &App, container: &Container) -> Vec<String> {
    let state = match &container.state {
        ContainerState::Waiting { reason, message } if message.is_empty() => format!("waiting: {reason}"),
        ContainerState::Waiting { reason, message } => format!("waiting: {reason}: {message}"),
        ContainerState::Running { since: Some(since) } => format!("running for {}", present::age(*since, app.now)),
        ContainerState::Running { since: None } => "running".to_owned(),
        ContainerState::Terminated(exit) => format!("ended: exit code {} {}", exit.code, exit.reason),
        ContainerState::Unknown => "state unknown".to_owned(),
    };
    let mut lines = vec![format!("  {} {} restarts {}, {state}", container.name, container.image, container.restarts)];
    if let Some(exit) = &container.last_exit {
        let at = exit.finished.map(|at| format!(" at {}", present::clock(at, app.now))).unwrap_or_default();
        lines.push(format!("    last life: exit code {} {}{at}", exit.code, exit.reason));
    }
    if let Some(line) = &container.last_fatal {
        lines.push(format!("    {}", log_line(app, line)));
    }
    if let Some(line) = &container.reload_error {
        lines.push(format!("    refuses the changed configuration: {}", log_line(app, line)));
    }
    lines
}

fn log_line(app: &App, line: &LogLine) -> String {
    let at = line.at.map(|at| format!("{} ", present::clock(at, app.now))).unwrap_or_default();
    let error = if line.error.is_empty() { String::new() } else { format!(" {}", line.error) };
    format!("{at}{}: {}{error}", line.level, line.msg)
}

/// Made from the keymap, a screen at a time, this screen first.
fn help(app: &App, columns: usize) -> Vec<Line<'static>> {
    let here = app.below();
    let mut lines = Vec::new();
    if let Some(story) = &app.story {
        lines.push(styled(app.theme, Role::Title, "What you are told"));
        lines.extend(text::wrap(&format!("  {story}"), columns, 2).into_iter().map(Line::from));
        lines.push(Line::default());
    }
    let name = if here == Place::Diff { "the diff" } else { app.screen.name() };
    lines.push(styled(app.theme, Role::Title, format!("On {name}")));
    lines.extend(keymap::at(app, here).flat_map(|binding| help_lines(app, binding, columns)));
    let mut group = |name: &str, place: Place| {
        let others: Vec<&Binding> = keymap::at(app, place)
            .filter(|binding| !keymap::at(app, here).any(|known| std::ptr::eq(known, *binding)))
            .collect();
        if others.is_empty() {
            return;
        }
        lines.push(Line::default());
        lines.push(styled(app.theme, Role::Title, format!("On {name}")));
        for binding in others {
            lines
                .push(Line::from(text::cut(&format!("  {}  {}", text::fit(binding.shown, 10), binding.help), columns)));
        }
    };
    for screen in Screen::ALL {
        if here != Place::Screen(screen) {
            group(screen.name(), Place::Screen(screen));
        }
        if screen == Screen::Config && here != Place::Diff {
            group("the diff", Place::Diff);
        }
    }
    group("a question", Place::Asking);
    lines.push(Line::default());
    lines.push(styled(app.theme, Role::Title, "In a field"));
    let typing = [
        ("Enter", "go on with what was typed; empty does nothing"),
        ("Ctrl-U", "clear it"),
        ("Tab, arrows", "beside a confirmation: read the plan on"),
    ];
    for (shown, words) in typing {
        lines.push(Line::from(text::cut(&format!("  {}  {words}", text::fit(shown, 11)), columns)));
    }
    let shown = keymap::at(app, Place::Typing(Field::Arm)).map(|binding| binding.shown).collect::<Vec<_>>().join(", ");
    lines.push(Line::from(text::cut(&format!("  {shown}: as everywhere"), columns)));
    lines.push(Line::default());
    lines.push(Line::from(
        "Small letters never write. Capitals change modes. Writing starts by typing words on 5 Plan.",
    ));
    lines
}

fn help_lines(app: &App, binding: &Binding, columns: usize) -> Vec<Line<'static>> {
    let start = format!("  {}  {}", text::fit(binding.shown, 10), binding.help);
    // Whether it works on the screen below, not on the help itself.
    match keymap::available(app, binding.command) {
        Ok(()) => vec![Line::from(text::cut(&start, columns))],
        Err(reason) => vec![styled(app.theme, Role::Dim, text::cut(&format!("{start} (not now: {reason})"), columns))],
    }
}
