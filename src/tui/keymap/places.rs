//! Where keys work.

use super::super::app::{Field, Place, Screen};

/// Where a key works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Places {
    /// Whatever is shown, be it only that the terminal is too small.
    Always,
    /// Wherever the keys' effect can be seen.
    Everywhere,
    /// Screens and pop-ups, and where the terminal is too small for them.
    Leaving,
    /// All screens, pop-ups closed.
    Screens,
    ScreensAndReading,
    /// Where there is something to scroll or choose, also beside a confirmation.
    Lists,
    /// Screens with more than one pane.
    Panes,
    Only(Screen),
    /// The diff.
    Diff,
    /// On the Plan screen, and beside the field of its words: there without what would be typed.
    Planned,
    Asking,
}

impl Places {
    pub fn contain(self, place: Place) -> bool {
        match (self, place) {
            (Places::Always, _)
            | (
                Places::Everywhere,
                Place::Screen(_) | Place::Diff | Place::Reading | Place::Asking | Place::Typing(_),
            )
            | (Places::Screens | Places::ScreensAndReading | Places::Lists, Place::Screen(_) | Place::Diff)
            | (Places::Panes | Places::Diff, Place::Diff)
            | (Places::ScreensAndReading | Places::Lists, Place::Reading)
            | (Places::Asking, Place::Asking)
            | (Places::Leaving, Place::Screen(_) | Place::Diff | Place::Reading | Place::TooSmall) => true,
            (Places::Only(screen), Place::Screen(now)) => screen == now,
            (Places::Planned, Place::Typing(field)) => field == Field::Confirm,
            (Places::Planned, Place::Screen(now)) => now == Screen::Plan,
            (Places::Panes, Place::Screen(now)) => match now {
                Screen::Overview | Screen::Config | Screen::Strays | Screen::Plan => true,
                Screen::Rollback | Screen::Run => false,
            },
            (
                Places::Everywhere
                | Places::Screens
                | Places::ScreensAndReading
                | Places::Lists
                | Places::Panes
                | Places::Only(_)
                | Places::Diff
                | Places::Planned
                | Places::Asking,
                Place::TooSmall,
            )
            | (Places::Only(_) | Places::Planned, Place::Diff)
            | (Places::Planned, Place::Reading | Place::Asking)
            | (Places::Diff, Place::Screen(_))
            | (Places::Leaving, Place::Asking | Place::Typing(_))
            | (Places::Screens, Place::Reading)
            | (Places::Screens | Places::ScreensAndReading | Places::Lists, Place::Asking | Place::Typing(_))
            | (Places::Only(_) | Places::Panes | Places::Diff, Place::Reading | Place::Asking | Place::Typing(_))
            | (Places::Asking, Place::Screen(_) | Place::Diff | Place::Reading | Place::Typing(_)) => false,
        }
    }
}
