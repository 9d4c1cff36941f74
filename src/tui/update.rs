//! What each message does. Pure: no clock, no I/O; what the outside shall do comes back as effects.

mod diffing;
mod moves;
mod planning;
mod running;

use crate::model::text::sanitize_line;

use super::app::{
    ARMED_IDLE_SECONDS, App, Attention, ConfigPane, Field, Hearing, Leaving, Modal, Mode, Observation, OverviewPane,
    Picture, Place, PlanPane, Planning, Screen,
};
use super::astray::{self, RunningOnes, StraysPane};
use super::keymap;
use super::msg::{Command, Effect, Exit, Msg};
use diffing::To;

/// Changes the app and says what the outside shall do.
pub fn update(app: &mut App, msg: Msg) -> Vec<Effect> {
    let mut effects = step(app, msg);
    // Nobody shall plan or run on a picture that stands still.
    if matches!(app.screen, Screen::Plan | Screen::Run) && matches!(app.picture, Picture::Frozen { .. }) {
        freeze(app);
    }
    effects.extend(diffing::settle(app));
    effects
}

fn step(app: &mut App, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::Tick(now) => {
            app.now = now;
            disarm_when_idle(app);
            planning::second_passed(app)
        }
        Msg::Observed(snapshot, diagnosis) => {
            moves::observed(app, Observation { snapshot, diagnosis });
            let mut effects = running::verify(app);
            effects.extend(planning::observed(app));
            effects
        }
        Msg::Command(command) => {
            touched(app);
            perform(app, command)
        }
        Msg::Type(c) => {
            touched(app);
            edit(app, |field| field.push(c));
            Vec::new()
        }
        Msg::Erase => {
            touched(app);
            edit(app, |field| {
                field.pop();
            });
            Vec::new()
        }
        Msg::EraseAll => {
            touched(app);
            edit(app, String::clear);
            Vec::new()
        }
        Msg::Submit => {
            touched(app);
            submit(app)
        }
        Msg::Paste(text) => {
            touched(app);
            paste(app, &text);
            Vec::new()
        }
        Msg::Planned { ticket, plan } => planning::planned(app, ticket, plan),
        Msg::Previewed { digest, preview } => {
            planning::previewed(app, &digest, preview);
            Vec::new()
        }
        Msg::Resized(width, height) => {
            resized(app, (width, height));
            Vec::new()
        }
        Msg::Drawn => {
            app.hearing = Hearing::Keys;
            Vec::new()
        }
        Msg::Compared { of, comparison } => {
            diffing::answered(app, &of, comparison);
            Vec::new()
        }
        Msg::Run(event) => running::event(app, event),
        Msg::Note(failure) => {
            if !app.notes.contains(&failure) {
                app.notes.push(failure);
            }
            Vec::new()
        }
        Msg::Drill(drill) => {
            app.drill = Some(drill);
            Vec::new()
        }
        Msg::Deck(answer) => {
            app.notice = Some(answer);
            Vec::new()
        }
        Msg::Signal(signal) => leave(app, signal.into(), "a signal asked the program to end"),
    }
}

/// Words that nobody could see being typed are not taken for read.
fn resized(app: &mut App, size: (u16, u16)) {
    app.size = size;
    if !app.is_too_small() {
        return;
    }
    planning::forget_typed(app);
    if let Some(Modal::Arm { typed, reply }) = app.modals.last_mut() {
        typed.clear();
        *reply = None;
    }
}

/// A person is there: the old notice was read, and an armed session is not idle.
fn touched(app: &mut App) {
    app.notice = None;
    app.attention = Attention::Paid;
    if let Mode::Armed { idle_since } = &mut app.mode {
        *idle_since = app.now;
    }
}

fn disarm_when_idle(app: &mut App) {
    if app.run_is_going() {
        return;
    }
    if let Mode::Armed { idle_since } = app.mode
        && app.now.as_second() - idle_since.as_second() >= ARMED_IDLE_SECONDS
    {
        app.mode = Mode::ReadOnly;
        planning::forget_typed(app);
        app.notice = Some("read-only again after 60 idle minutes; A arms".to_owned());
    }
}

fn perform(app: &mut App, command: Command) -> Vec<Effect> {
    if let Err(reason) = keymap::available(app, command) {
        app.notice = Some(reason.to_owned());
        return Vec::new();
    }
    match command {
        Command::Show(screen) => {
            planning::forget_typed(app);
            app.screen = screen;
            if screen == Screen::Rollback {
                astray::look_ahead(app);
            }
        }
        Command::ToggleRunning => {
            app.strays.running = app.strays.running.other();
            app.notice = Some(match app.strays.running {
                RunningOnes::Left => "those that run are left".to_owned(),
                RunningOnes::Deleted => "those that run are planned for as well".to_owned(),
            });
        }
        Command::GroupBy => {
            app.strays.by = app.strays.by.next();
            app.strays.pane = StraysPane::Groups;
            app.strays.group = None;
            astray::settle(app);
        }
        Command::NextPane => moves::pane(app, moves::Turn::Next),
        Command::PreviousPane => moves::pane(app, moves::Turn::Previous),
        Command::Up => moves::select(app, moves::Move::By(-1)),
        Command::Down => moves::select(app, moves::Move::By(1)),
        Command::PageUp => moves::select(app, moves::Move::By(-10)),
        Command::PageDown => moves::select(app, moves::Move::By(10)),
        Command::Top => moves::select(app, moves::Move::Top),
        Command::Bottom => moves::select(app, moves::Move::Bottom),
        Command::Open => open(app),
        Command::Back => back(app),
        Command::Filter => app.modals.push(Modal::Filter),
        // The key that opens it closes it.
        Command::Help => match app.modals.last() {
            Some(Modal::Help { .. }) => drop(app.modals.pop()),
            Some(_) | None => app.modals.push(Modal::Help { scroll: 0 }),
        },
        Command::Log => {
            if let Some(component) = app.component_of_selection().map(|component| component.object.clone()) {
                app.modals.push(Modal::Log { component, scroll: 0 });
            }
        }
        Command::Diff => match &mut app.planning {
            Planning::Ready(sheet) if app.screen == Screen::Plan => {
                sheet.pane = PlanPane::Diff;
                sheet.scroll = 0;
            }
            Planning::Ready(_) | Planning::Empty | Planning::Making { .. } | Planning::Refused { .. } => {
                app.config.pane = ConfigPane::Diff;
            }
        },
        Command::Turn => diffing::turn(app),
        Command::MoreContext => diffing::change_context(app, To::Next),
        Command::LessContext => diffing::change_context(app, To::Previous),
        Command::NextChange => diffing::to_change(app, To::Next),
        Command::PreviousChange => diffing::to_change(app, To::Previous),
        Command::Search => diffing::begin_search(app),
        Command::NextMatch => diffing::to_match(app, To::Next),
        Command::PreviousMatch => diffing::to_match(app, To::Previous),
        Command::Left => diffing::sideways(app, To::Previous),
        Command::Right => diffing::sideways(app, To::Next),
        Command::Plan => return planning::plan(app),
        Command::Undo => return planning::plan_undo(app),
        Command::LastLoaded => return planning::plan_last_loaded(app),
        Command::TogglePrune => return planning::toggle_prune(app),
        Command::Arm => match app.mode {
            Mode::ReadOnly => app.modals.push(Modal::Arm { typed: String::new(), reply: None }),
            Mode::Armed { .. } => {
                app.mode = Mode::ReadOnly;
                planning::forget_typed(app);
                app.notice = Some("read-only again".to_owned());
            }
        },
        Command::Freeze => freeze(app),
        Command::Hold => return vec![Effect::Hold],
        Command::Abort => return vec![Effect::Abort(app.to_abort())],
        Command::Refresh => {
            app.notice = Some("reading everything again".to_owned());
            return vec![Effect::Refresh];
        }
        Command::Copy => {
            if let Some(text) = keymap::copy_text(app) {
                app.notice = Some("copied, if the terminal takes OSC 52".to_owned());
                return vec![Effect::Copy(text)];
            }
        }
        Command::Suspend => return vec![Effect::Suspend],
        Command::Interrupt => return interrupt(app),
        Command::Quit => {
            if !app.run_is_going() {
                return vec![Effect::Quit(Exit::Quit)];
            }
            app.modals.push(Modal::AskQuit);
        }
        Command::Agree => return agree(app),
    }
    Vec::new()
}

fn open(app: &mut App) {
    match app.screen {
        Screen::Overview => match app.overview.pane {
            OverviewPane::Findings => {
                if let Some(finding) = app.overview.finding.clone() {
                    app.modals.push(Modal::Detail { finding, scroll: 0 });
                }
            }
            OverviewPane::Components => {
                if let Some(component) = app.overview.component.clone() {
                    app.modals.push(Modal::Log { component, scroll: 0 });
                }
            }
        },
        Screen::Config => match app.config.pane {
            ConfigPane::Maps => app.config.pane = ConfigPane::Keys,
            ConfigPane::Keys | ConfigPane::Diff => app.config.pane = ConfigPane::Diff,
        },
        Screen::Strays => app.strays.pane = StraysPane::Pods,
        Screen::Rollback | Screen::Plan | Screen::Run => {}
    }
}

/// Esc: one step back, and at the end of the way nothing.
fn back(app: &mut App) {
    if let Some(modal) = app.modals.pop() {
        if modal == Modal::Filter {
            filter_field(app).clear();
            astray::settle(app);
        }
        return;
    }
    match app.screen {
        Screen::Overview => match app.overview.pane {
            OverviewPane::Components => app.overview.pane = OverviewPane::Findings,
            OverviewPane::Findings => app.overview.filter.clear(),
        },
        Screen::Config => match app.config.pane {
            ConfigPane::Diff if !app.config.diffing.search.is_empty() => app.config.diffing.search.clear(),
            ConfigPane::Diff => app.config.pane = ConfigPane::Keys,
            ConfigPane::Keys => app.config.pane = ConfigPane::Maps,
            ConfigPane::Maps if !app.config.filter.is_empty() => app.config.filter.clear(),
            ConfigPane::Maps => app.screen = Screen::Overview,
        },
        Screen::Plan => {
            planning::leave(app);
            app.screen = Screen::Overview;
        }
        Screen::Strays => match app.strays.pane {
            StraysPane::Pods => app.strays.pane = StraysPane::Groups,
            StraysPane::Groups if !app.strays.filter.is_empty() => {
                app.strays.filter.clear();
                astray::settle(app);
            }
            StraysPane::Groups => app.screen = Screen::Overview,
        },
        Screen::Rollback | Screen::Run => app.screen = Screen::Overview,
    }
}

fn freeze(app: &mut App) {
    app.picture = match std::mem::replace(&mut app.picture, Picture::Waiting) {
        Picture::Waiting => Picture::Waiting,
        Picture::Live(shown) => Picture::Frozen { newest: shown.clone(), shown, since: app.now },
        Picture::Frozen { newest, .. } => Picture::Live(newest),
    };
    moves::settle(app);
}

fn filter_field(app: &mut App) -> &mut String {
    match app.screen {
        Screen::Config => &mut app.config.filter,
        Screen::Strays => &mut app.strays.filter,
        Screen::Overview | Screen::Rollback | Screen::Plan | Screen::Run => &mut app.overview.filter,
    }
}

fn edit(app: &mut App, change: impl FnOnce(&mut String)) {
    let Place::Typing(field) = app.place() else { return };
    match field {
        Field::Filter => {
            change(filter_field(app));
            astray::settle(app);
        }
        Field::Search => {
            if let Some(Modal::Search { typed }) = app.modals.last_mut() {
                change(typed);
            }
        }
        Field::Arm => {
            if let Some(Modal::Arm { typed, reply }) = app.modals.last_mut() {
                *reply = None;
                change(typed);
            }
        }
        Field::Confirm => {
            if let Planning::Ready(sheet) = &mut app.planning {
                sheet.reply = None;
                change(&mut sheet.typed);
            }
        }
    }
}

fn paste(app: &mut App, text: &str) {
    match app.place() {
        Place::Typing(Field::Filter) => {
            filter_field(app).push_str(sanitize_line(text).trim());
            astray::settle(app);
        }
        Place::Typing(Field::Search) => {
            let text = sanitize_line(text);
            edit(app, |field| field.push_str(text.trim()));
        }
        Place::Typing(Field::Arm | Field::Confirm) => {
            app.notice = Some("paste is ignored here: read it, then type it".to_owned());
        }
        Place::Screen(_) | Place::Diff | Place::Reading | Place::Asking | Place::TooSmall => {}
    }
}

fn submit(app: &mut App) -> Vec<Effect> {
    let Place::Typing(field) = app.place() else { return Vec::new() };
    match field {
        Field::Filter => {
            app.modals.pop();
            Vec::new()
        }
        Field::Search => {
            diffing::search(app);
            Vec::new()
        }
        Field::Arm => {
            arm(app);
            Vec::new()
        }
        Field::Confirm => planning::confirm(app),
    }
}

fn arm(app: &mut App) {
    let word = app.arm_word();
    let Some(Modal::Arm { typed, reply }) = app.modals.last_mut() else { return };
    if typed.trim().is_empty() {
        return;
    }
    if Some(typed.trim()) == word.as_deref() {
        app.modals.pop();
        app.mode = Mode::Armed { idle_since: app.now };
        app.notice = Some("armed: a plan runs once its words are typed; A ends it".to_owned());
    } else {
        *reply = Some(format!("that is not it: `{}`", typed.trim()));
        typed.clear();
    }
}

fn interrupt(app: &mut App) -> Vec<Effect> {
    if !app.run_is_going() {
        return vec![Effect::Quit(Exit::Interrupted)];
    }
    if running::is_stopping(app) {
        app.notice = Some("it stops after the object in flight".to_owned());
    } else if !matches!(app.modals.last(), Some(Modal::AskStop)) {
        app.modals.push(Modal::AskStop);
    }
    Vec::new()
}

fn agree(app: &mut App) -> Vec<Effect> {
    match app.modals.pop() {
        Some(Modal::AskQuit) => leave(app, Exit::Quit, "the person at the screen quit"),
        Some(Modal::AskStop) if app.run_is_going() => running::stop(app, "the person at the screen stopped it"),
        Some(Modal::AskStop) | None => Vec::new(),
        Some(
            other @ (Modal::Help { .. }
            | Modal::Arm { .. }
            | Modal::Detail { .. }
            | Modal::Log { .. }
            | Modal::Filter
            | Modal::Search { .. }),
        ) => {
            app.modals.push(other);
            Vec::new()
        }
    }
}

/// Ends the program, after the object in flight where a run goes on.
fn leave(app: &mut App, exit: Exit, why: &str) -> Vec<Effect> {
    if !app.run_is_going() {
        return vec![Effect::Quit(exit)];
    }
    app.leaving = Leaving::AfterRun(exit);
    running::stop(app, why)
}
