//! The table itself: every key, where it means what, and its words in the help and the hint bar.

use crossterm::event::{KeyCode, KeyModifiers};

use super::super::app::Screen;
use super::super::msg::Command;
use super::places::Places;
use super::{CONTROL, NONE};

/// A line of the table.
pub struct Binding {
    /// As the help and the hint bar write it.
    pub shown: &'static str,
    pub(super) keys: &'static [(KeyCode, KeyModifiers)],
    pub(super) places: Places,
    pub command: Command,
    /// One or two words for the hint bar.
    pub label: &'static str,
    /// A clause for the help.
    pub help: &'static str,
    pub hint: Hint,
}

/// Whether the hint bar has room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    Shown,
    HelpOnly,
}

macro_rules! key {
    ($shown:literal, [$($code:expr),+], $places:expr, $command:expr, $label:literal, $help:literal, $hint:ident) => {
        Binding {
            shown: $shown,
            keys: &[$(($code, NONE)),+],
            places: $places,
            command: $command,
            label: $label,
            help: $help,
            hint: Hint::$hint,
        }
    };
}

macro_rules! control {
    ($shown:literal, $code:literal, $places:expr, $command:expr, $label:literal, $help:literal, $hint:ident) => {
        Binding {
            shown: $shown,
            keys: &[(KeyCode::Char($code), CONTROL)],
            places: $places,
            command: $command,
            label: $label,
            help: $help,
            hint: Hint::$hint,
        }
    };
}

use KeyCode::Char;

/// All keys, in the order of help and hint bar.
pub static KEYS: &[Binding] = &[
    key!("Enter", [KeyCode::Enter], Places::Only(Screen::Overview), Command::Open, "open", "evidence, or logs", Shown),
    key!(
        "Enter",
        [KeyCode::Enter],
        Places::Only(Screen::Config),
        Command::Open,
        "open",
        "keys, then their diff",
        Shown
    ),
    key!("Enter", [KeyCode::Enter], Places::Only(Screen::Strays), Command::Open, "open", "pods of the group", Shown),
    key!(
        "Enter",
        [KeyCode::Enter],
        Places::Only(Screen::Plan),
        Command::Open,
        "run",
        "run it, once its words are typed",
        Shown
    ),
    key!("y", [Char('y')], Places::Asking, Command::Agree, "yes", "yes to the question", Shown),
    key!("p", [Char('p')], Places::Screens, Command::Plan, "plan", "make a plan and preview it; writes nothing", Shown),
    key!(
        "u",
        [Char('u')],
        Places::Only(Screen::Run),
        Command::Undo,
        "undo plan",
        "plan that takes back the run shown here",
        Shown
    ),
    key!(
        "s",
        [Char('s')],
        Places::Only(Screen::Run),
        Command::LastLoaded,
        "last loaded",
        "plan that writes what was last seen loaded, without git",
        Shown
    ),
    key!(
        "s",
        [Char('s')],
        // Not on Plan: who types a plan's words before arming would get another plan.
        Places::Only(Screen::Config),
        Command::LastLoaded,
        "last loaded",
        "plan that writes what was last seen loaded, without git",
        HelpOnly
    ),
    Binding {
        shown: "x, Ctrl-X",
        keys: &[(Char('x'), NONE), (Char('x'), CONTROL)],
        places: Places::Planned,
        command: Command::TogglePrune,
        label: "prune",
        help: "plan the removal of keys that git does not know as well, or leave them",
        hint: Hint::HelpOnly,
    },
    key!(
        "i",
        [Char('i')],
        Places::Only(Screen::Strays),
        Command::ToggleRunning,
        "running too",
        "plan for those that run as well, or leave them",
        Shown
    ),
    key!(
        "t",
        [Char('t')],
        Places::Only(Screen::Strays),
        Command::GroupBy,
        "group by",
        "group by place, cause, job or node",
        Shown
    ),
    key!("d", [Char('d')], Places::Only(Screen::Config), Command::Diff, "diff", "the diff of the key", Shown),
    key!("d", [Char('d')], Places::Only(Screen::Plan), Command::Diff, "diff", "what the plan changes", Shown),
    key!(
        "]",
        [Char(']'), Char('.')],
        Places::Diff,
        Command::NextChange,
        "next change",
        "next change; . is the same",
        Shown
    ),
    key!(
        "[",
        [Char('['), Char(',')],
        Places::Diff,
        Command::PreviousChange,
        "previous",
        "change before; , is the same",
        Shown
    ),
    key!("d", [Char('d')], Places::Diff, Command::Turn, "side by side", "side by side, or one below the other", Shown),
    key!(
        "+",
        [Char('+'), Char('='), Char('c')],
        Places::Diff,
        Command::MoreContext,
        "context",
        "more lines around each change; c is the same",
        Shown
    ),
    key!("-", [Char('-')], Places::Diff, Command::LessContext, "less", "fewer lines around each change", Shown),
    key!("/", [Char('/')], Places::Diff, Command::Search, "search", "search in the diff; Esc ends it", Shown),
    key!("n", [Char('n')], Places::Diff, Command::NextMatch, "next match", "next match of the search", Shown),
    key!("N", [Char('N')], Places::Diff, Command::PreviousMatch, "match before", "match before", Shown),
    key!("Left", [KeyCode::Left], Places::Diff, Command::Left, "left", "to the beginning of long lines", HelpOnly),
    key!("Right", [KeyCode::Right], Places::Diff, Command::Right, "right", "to the end of long lines", HelpOnly),
    key!("/", [Char('/')], Places::Only(Screen::Overview), Command::Filter, "filter", "filter the findings", Shown),
    key!("/", [Char('/')], Places::Only(Screen::Config), Command::Filter, "filter", "filter the ConfigMaps", Shown),
    key!("/", [Char('/')], Places::Only(Screen::Strays), Command::Filter, "filter", "filter the strays", Shown),
    key!(
        "l",
        [Char('l')],
        Places::Only(Screen::Overview),
        Command::Log,
        "logs",
        "why the component's last life ended",
        Shown
    ),
    key!("y", [Char('y')], Places::ScreensAndReading, Command::Copy, "copy", "copy it (OSC 52)", Shown),
    control!("Ctrl-Y", 'y', Places::Everywhere, Command::Copy, "copy", "copy, also beside a field", HelpOnly),
    key!(
        "f",
        [Char('f')],
        Places::Screens,
        Command::Freeze,
        "freeze",
        "hold the picture still, or let it go on",
        Shown
    ),
    key!(
        "P",
        [Char('P')],
        Places::Screens,
        Command::Hold,
        "hold time",
        "hold the drill's time, or let it go on",
        Shown
    ),
    key!(
        "D",
        [Char('D')],
        Places::Screens,
        Command::Abort,
        "abort in Deck",
        "abort in the drill's Deck what NEXT names",
        Shown
    ),
    key!("r", [Char('r')], Places::Screens, Command::Refresh, "refresh", "read everything again", Shown),
    key!("A", [Char('A')], Places::Screens, Command::Arm, "arm", "arm by typing the context's name, or disarm", Shown),
    key!("1", [Char('1')], Places::Screens, Command::Show(Screen::Overview), "Overview", "Overview", HelpOnly),
    key!("2", [Char('2')], Places::Screens, Command::Show(Screen::Config), "Config", "Config", HelpOnly),
    key!("3", [Char('3')], Places::Screens, Command::Show(Screen::Strays), "Strays", "Strays", HelpOnly),
    key!("4", [Char('4')], Places::Screens, Command::Show(Screen::Rollback), "Rollback", "Rollback", HelpOnly),
    key!("5", [Char('5')], Places::Screens, Command::Show(Screen::Plan), "Plan", "Plan", HelpOnly),
    key!("6", [Char('6')], Places::Screens, Command::Show(Screen::Run), "Run", "Run", HelpOnly),
    key!("Tab", [KeyCode::Tab], Places::Panes, Command::NextPane, "pane", "next pane", Shown),
    key!("Shift-Tab", [KeyCode::BackTab], Places::Panes, Command::PreviousPane, "pane", "previous pane", HelpOnly),
    key!("j, Down", [Char('j'), KeyCode::Down], Places::Lists, Command::Down, "down", "down", HelpOnly),
    key!("k, Up", [Char('k'), KeyCode::Up], Places::Lists, Command::Up, "up", "up", HelpOnly),
    key!("PgDn", [KeyCode::PageDown], Places::Lists, Command::PageDown, "page down", "ten down", HelpOnly),
    key!("PgUp", [KeyCode::PageUp], Places::Lists, Command::PageUp, "page up", "ten up", HelpOnly),
    key!("g", [Char('g'), KeyCode::Home], Places::Lists, Command::Top, "top", "to the top", HelpOnly),
    key!("G", [Char('G'), KeyCode::End], Places::Lists, Command::Bottom, "bottom", "to the end", HelpOnly),
    key!("?", [Char('?')], Places::ScreensAndReading, Command::Help, "help", "this help", Shown),
    key!("Esc", [KeyCode::Esc], Places::Everywhere, Command::Back, "back", "back; never quits", HelpOnly),
    key!("q", [Char('q')], Places::Leaving, Command::Quit, "quit", "quit; asks while a run goes on", Shown),
    control!("Ctrl-C", 'c', Places::Always, Command::Interrupt, "stop", "stop the run (asks), else quit", HelpOnly),
    control!("Ctrl-Z", 'z', Places::Everywhere, Command::Suspend, "suspend", "to the shell, until fg", HelpOnly),
];
