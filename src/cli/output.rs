//! Where things are printed: data on stdout, words on stderr. A closed pipe ends the printing, not the program.

use std::cell::Cell;
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::style::{StyledContent, Stylize as _};
use serde_json::Value;

use crate::model::{Failure, FailureKind};
use crate::tui::theme::{Palette, Theme};

use super::args::Format;

thread_local! {
    /// A script's commands run on one thread, and stdout is for what the script as a whole gives.
    static DATA_IS_WORDS: Cell<bool> = const { Cell::new(false) };
}

/// From now on this thread's data goes to stderr.
pub fn take_data_for_words() {
    DATA_IS_WORDS.set(true);
}

/// A document of a whole script, on stdout whatever its commands may print.
pub fn result(document: &Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document).map_err(|error| cannot_encode(&error))?;
    print(&text);
    Ok(())
}

/// Something went to stdout: a failure after that adds no document of its own.
static WRITTEN: AtomicBool = AtomicBool::new(false);

pub fn has_written() -> bool {
    WRITTEN.load(Ordering::Relaxed)
}

/// A line of data.
pub fn data(text: &str) {
    if DATA_IS_WORDS.get() { words(text) } else { print(text) }
}

fn print(text: &str) {
    WRITTEN.store(true, Ordering::Relaxed);
    let mut out = std::io::stdout().lock();
    // Nobody reads on: not an error of ours.
    let _ = writeln!(out, "{}", text.trim_end_matches('\n'));
    let _ = out.flush();
}

/// Colours of what goes to stdout: none where nobody would see them, or wants none.
pub fn ink() -> Ink {
    let env = |name: &str| std::env::var(name).ok();
    let wanted = Theme::from_environment(env("NO_COLOR").as_deref(), env("TERM").as_deref(), None).palette;
    let seen = std::io::stdout().is_terminal() && !DATA_IS_WORDS.get();
    if seen && wanted == Palette::Ansi { Ink::Colours } else { Ink::None }
}

/// Colours for words that say the same without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    None,
    Colours,
}

impl Ink {
    pub fn title(self, text: &str) -> String {
        self.styled(text, |text| text.bold())
    }

    pub fn hunk(self, text: &str) -> String {
        self.styled(text, |text| text.dark_cyan())
    }

    pub fn removed(self, text: &str) -> String {
        self.styled(text, |text| text.dark_red())
    }

    pub fn added(self, text: &str) -> String {
        self.styled(text, |text| text.dark_green())
    }

    fn styled<'a>(self, text: &'a str, style: impl Fn(&'a str) -> StyledContent<&'a str>) -> String {
        match self {
            Ink::None => text.to_owned(),
            Ink::Colours => style(text).to_string(),
        }
    }
}

/// A line of words.
pub fn words(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end_matches('\n'));
}

/// A document, or the text that says the same.
pub fn document(
    format: Format,
    document: impl FnOnce() -> Value,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    match format {
        Format::Text => data(&text()),
        Format::Json => data(&serde_json::to_string_pretty(&document()).map_err(|error| cannot_encode(&error))?),
        Format::Yaml => data(&serde_saphyr::to_string(&document()).map_err(|error| cannot_encode(&error))?),
    }
    Ok(())
}

fn cannot_encode(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Tool, "cannot encode the output").cause(error.to_string())
}
