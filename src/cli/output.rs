//! Where things are printed: data on stdout, words on stderr. A closed pipe ends the printing, not the program.

use std::cell::Cell;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::model::{Failure, FailureKind};

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
