//! Keys to messages. One table, [`KEYS`], from which the help and the hint bar are made too.
//!
//! Small letters never write. Capitals change modes. To add a key: a line in the table, its [`Command`]'s arm in
//! `update`, and in [`available`] the reason why it may not work now.

mod copying;
mod flags;
mod places;
mod table;

use KeyCode::Char;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::app::{
    App, CONTEXTS, ConfigPane, DryRun, Field, Hearing, Mode, OverviewPane, Picture, Place, Planning, RunView, Screen,
};
use super::astray::StraysPane;
use super::msg::{Command, Msg};
use super::view;
use crate::diagnose::DriftState;
use crate::repair::{Origin, RepairId, Request};

pub use copying::copy_text;
pub use flags::{next, with_keys};
use places::Places;
pub use table::{Binding, Hint, KEYS};

const NONE: KeyModifiers = KeyModifiers::NONE;
const CONTROL: KeyModifiers = KeyModifiers::CONTROL;

/// What a key press means now; `None` where it means nothing.
pub fn message(app: &App, key: KeyEvent) -> Option<Msg> {
    // A key held down must not answer what its first press asked.
    if key.kind == KeyEventKind::Release || (key.kind == KeyEventKind::Repeat && key.code == KeyCode::Enter) {
        return None;
    }
    let place = app.place();
    // Shift is part of the character already.
    let modifiers = key.modifiers - KeyModifiers::SHIFT;
    if let Place::Typing(field) = place
        && let Some(msg) = typing(field, key.code, modifiers)
    {
        return Some(msg);
    }
    KEYS.iter()
        .filter(|binding| app.hearing == Hearing::Keys || binding.places == Places::Always)
        .find(|binding| binding.places.contain(place) && binding.keys.contains(&(key.code, modifiers)))
        .map(|binding| Msg::Command(binding.command))
}

fn typing(field: Field, code: KeyCode, modifiers: KeyModifiers) -> Option<Msg> {
    match (code, modifiers) {
        (KeyCode::Enter, NONE) => Some(Msg::Submit),
        (KeyCode::Backspace, NONE) => Some(Msg::Erase),
        (Char('h'), CONTROL) => Some(Msg::Erase),
        (Char('u'), CONTROL) => Some(Msg::EraseAll),
        (Char(c), NONE) => Some(Msg::Type(c)),
        // Beside the confirmation the plan can be read on: with keys that are no characters.
        (code, NONE) if field == Field::Confirm => match code {
            KeyCode::Tab => Some(Msg::Command(Command::NextPane)),
            KeyCode::BackTab => Some(Msg::Command(Command::PreviousPane)),
            KeyCode::Down => Some(Msg::Command(Command::Down)),
            KeyCode::Up => Some(Msg::Command(Command::Up)),
            KeyCode::PageDown => Some(Msg::Command(Command::PageDown)),
            KeyCode::PageUp => Some(Msg::Command(Command::PageUp)),
            KeyCode::Home => Some(Msg::Command(Command::Top)),
            KeyCode::End => Some(Msg::Command(Command::Bottom)),
            // Every other key of the terminal keeps its meaning from the table.
            _ => None,
        },
        _ => None,
    }
}

/// Of a plan that only deletes.
const NO_DIFF: &str = "it changes nothing, it deletes";
/// Of a diff in which nothing is searched for.
const NO_SEARCH: &str = "no search: /";
/// Most of a drill's time.
const NOTHING_TO_ABORT: &str = "nothing to abort";
/// Why a key is not even offered.
pub const NOT_OFFERED: [&str; 3] = [NO_DIFF, NO_SEARCH, NOTHING_TO_ABORT];

/// The lines of the table that mean something at this place.
pub fn at(app: &App, place: Place) -> impl Iterator<Item = &'static Binding> {
    let in_drill = app.drill.is_some();
    let of_drill = |command: Command| matches!(command, Command::Hold | Command::Abort);
    KEYS.iter().filter(move |binding| binding.places.contain(place) && (in_drill || !of_drill(binding.command)))
}

/// Whether a command does something now.
///
/// # Errors
/// Why it does not, as a few words: what greys it in the hint bar, and what the screen says when it is pressed.
pub fn available(app: &App, command: Command) -> Result<(), &'static str> {
    let seen = app.picture.shown().map(|_| ()).ok_or("nothing seen yet");
    match command {
        Command::Plan => request(app).map(|_| ()),
        Command::Undo => undoable(app).map(|_| ()),
        Command::LastLoaded if app.run_is_going() => Err("a run goes on"),
        Command::LastLoaded => seen,
        Command::TogglePrune => pruning(app).map(|_| ()),
        Command::Open => openable(app),
        Command::Log => match (app.screen, app.component_of_selection()) {
            (Screen::Overview, Some(_)) => Ok(()),
            (Screen::Overview, None) => Err("no component here: Tab"),
            (Screen::Config | Screen::Strays | Screen::Rollback | Screen::Plan | Screen::Run, _) => {
                Err("on Overview only")
            }
        },
        Command::Diff => match app.screen {
            Screen::Config => app.config.key.as_ref().map(|_| ()).ok_or("no key selected"),
            Screen::Plan => match &app.planning {
                Planning::Ready(sheet) if sheet.diff.is_empty() => Err(NO_DIFF),
                Planning::Ready(_) => Ok(()),
                Planning::Empty | Planning::Making { .. } | Planning::Refused { .. } => Err("no plan"),
            },
            Screen::Overview | Screen::Strays | Screen::Rollback | Screen::Run => Err("on Config and Plan only"),
        },
        Command::Filter => match app.screen {
            Screen::Overview | Screen::Config | Screen::Strays => seen,
            Screen::Rollback | Screen::Plan | Screen::Run => Err("no filter here"),
        },
        Command::Turn => view::diff::turnable(app),
        Command::NextChange | Command::PreviousChange => match app.config.diffing.sheet() {
            Some(sheet) if sheet.changes.is_empty() => Err("no change here"),
            Some(_) => Ok(()),
            None => Err("nothing compared yet"),
        },
        Command::MoreContext if app.config.diffing.context + 1 >= CONTEXTS.len() => Err("all lines are shown"),
        Command::LessContext if app.config.diffing.context == 0 => Err("none are shown"),
        Command::MoreContext | Command::LessContext | Command::Left | Command::Right => Ok(()),
        Command::Search => app.config.diffing.sheet().map(|_| ()).ok_or("nothing compared yet"),
        Command::NextMatch | Command::PreviousMatch => {
            if app.config.diffing.search.is_empty() {
                Err(NO_SEARCH)
            } else {
                Ok(())
            }
        }
        Command::Arm => seen,
        Command::Hold => app.drill.as_ref().map(|_| ()).ok_or("no drill"),
        Command::Abort => match (&app.drill, app.to_abort().as_slice()) {
            (None, _) => Err("no drill"),
            (Some(_), []) => Err(NOTHING_TO_ABORT),
            (Some(_), [_, ..]) => Ok(()),
        },
        // Where words are typed, a frozen picture would hide what they come to.
        Command::Freeze => match app.screen {
            Screen::Overview | Screen::Config | Screen::Strays | Screen::Rollback => seen,
            Screen::Plan | Screen::Run => Err("not on Plan and Run"),
        },
        Command::Copy => copying::copyable(app),
        Command::Suspend if app.run_is_going() => Err("a run goes on"),
        Command::ToggleRunning | Command::GroupBy => match app.screen {
            Screen::Strays => seen,
            Screen::Overview | Screen::Config | Screen::Rollback | Screen::Plan | Screen::Run => Err("on Strays only"),
        },
        Command::NextPane | Command::PreviousPane => match app.screen {
            Screen::Overview | Screen::Config | Screen::Strays => Ok(()),
            Screen::Plan => match app.planning {
                Planning::Ready(_) => Ok(()),
                Planning::Empty | Planning::Making { .. } | Planning::Refused { .. } => Err("no plan"),
            },
            Screen::Rollback | Screen::Run => Err("one pane"),
        },
        Command::Suspend
        | Command::Show(_)
        | Command::Up
        | Command::Down
        | Command::PageUp
        | Command::PageDown
        | Command::Top
        | Command::Bottom
        | Command::Back
        | Command::Help
        | Command::Refresh
        | Command::Interrupt
        | Command::Quit
        | Command::Agree => Ok(()),
    }
}

fn openable(app: &App) -> Result<(), &'static str> {
    match app.screen {
        Screen::Overview => match app.overview.pane {
            OverviewPane::Findings => app.selected_finding().map(|_| ()).ok_or("no finding selected"),
            OverviewPane::Components => app.selected_component().map(|_| ()).ok_or("no component selected"),
        },
        Screen::Config => match app.config.pane {
            ConfigPane::Maps => app.selected_map().map(|_| ()).ok_or("no map selected"),
            ConfigPane::Keys => app.config.key.as_ref().map(|_| ()).ok_or("no key selected"),
            ConfigPane::Diff => Err("nothing deeper"),
        },
        Screen::Plan => match (&app.planning, app.mode) {
            (Planning::Ready(_), Mode::ReadOnly) => Err("A to arm first"),
            (Planning::Ready(sheet), Mode::Armed { .. }) => match sheet.dry_run {
                DryRun::Asking => Err("dry run not answered yet"),
                DryRun::Failed(_) => Err("dry run failed"),
                DryRun::Answered(_) => Err("a run goes on"),
            },
            (Planning::Empty | Planning::Making { .. } | Planning::Refused { .. }, _) => Err("no plan"),
        },
        Screen::Strays => match app.strays.pane {
            StraysPane::Groups => app.strays.group.as_ref().map(|_| ()).ok_or("no group selected"),
            StraysPane::Pods => Err("nothing deeper"),
        },
        Screen::Rollback | Screen::Run => Err("nothing to open"),
    }
}

/// The run that `u` would undo: the one that is shown, and no other.
///
/// # Errors
/// Why it cannot be undone.
pub fn undoable(app: &App) -> Result<&RunView, &'static str> {
    let run = app.run.as_ref().ok_or("no run yet")?;
    run.undoable().map(|()| run)
}

/// The request of the plan that is shown, with pruning the other way round.
///
/// # Errors
/// Why there is none.
pub fn pruning(app: &App) -> Result<Request, &'static str> {
    let again = match &app.planning {
        Planning::Ready(sheet) => sheet.again.as_ref(),
        Planning::Refused { again, .. } => again.as_ref(),
        Planning::Empty | Planning::Making { .. } => None,
    };
    let of_git = |request: &&Request| request.repair == RepairId::SyncConfig && request.origin == Origin::Git;
    let request = again.filter(of_git).ok_or("for sync-config only")?;
    Ok(Request { prune: !request.prune, ..request.clone() })
}

/// What `p` would plan here.
///
/// # Errors
/// Why it would plan nothing.
pub fn request(app: &App) -> Result<Request, &'static str> {
    if app.run_is_going() {
        return Err("a run goes on");
    }
    let seen = app.picture.newest().ok_or("nothing seen yet")?;
    let next = seen.diagnosis.verdict.next.repair();
    match app.screen {
        Screen::Overview => {
            // The next step, where it repairs the selected finding too; else the finding's own first repair.
            let of_finding = app.selected_finding().map(|finding| finding.repairs.as_slice()).unwrap_or_default();
            let repair = next.filter(|next| of_finding.contains(next)).or(of_finding.first().copied()).or(next);
            repair.map(|repair| app.request_for(repair)).ok_or("no repair for it")
        }
        Screen::Config => {
            let map = app.selected_map().ok_or("no map selected")?;
            match map.state {
                DriftState::Drift | DriftState::Missing => {
                    let mut request = Request::new(RepairId::SyncConfig);
                    request.maps = vec![map.object.name.clone()];
                    Ok(request)
                }
                DriftState::Same => Err("as a repair would write it"),
                DriftState::Unmanaged => Err("no map of git writes it"),
                DriftState::Unknown => Err("not read, so not judged"),
            }
        }
        Screen::Plan => match &app.planning {
            Planning::Refused { again: Some(request), .. } => Ok(request.clone()),
            Planning::Ready(sheet) => sheet.again.clone().ok_or("an undo plan: u on 6 Run"),
            Planning::Refused { again: None, .. } | Planning::Empty => {
                next.map(|repair| app.request_for(repair)).ok_or("no repair is next")
            }
            Planning::Making { .. } => Err("being made"),
        },
        Screen::Strays if !seen.diagnosis.strays.is_judged() => Err("unknown now"),
        Screen::Strays if seen.diagnosis.strays.total() == 0 => Err("no strays"),
        Screen::Strays => Ok(app.request_for(RepairId::DeleteStrays)),
        Screen::Rollback => app.rollback_request(seen).ok_or("no tag to roll back to"),
        Screen::Run => next.map(|repair| app.request_for(repair)).ok_or("no repair is next"),
    }
}

/// True while newer pictures are held back.
pub fn is_frozen(app: &App) -> bool {
    match app.picture {
        Picture::Frozen { .. } => true,
        Picture::Waiting | Picture::Live(_) => false,
    }
}
