//! The only wording of findings, verdicts, plans, runs and failures, and the JSON shapes. Plain strings: the front ends
//! add colour and place.
//!
//! Honest words: FACT is read from the API or git, GUESS is a rule's opinion; unknown is said, never shown as zero.
//! To extend: a new `FindingKind` or `Write` variant makes the matches here fail to compile; give it its words.

mod check;
mod diff;
mod finding;
mod history;
mod json;
mod mapping;
mod plan;
mod runs;
mod status;
mod strays;

pub use check::{
    Blame, Blamed, CheckSubject, CheckedSubject, blame_document, blame_text, check_document, check_text,
    no_blame_document, no_blame_text, pull_request,
};
pub use diff::{Comparison, DiffLine, DiffTag, PATIENCE, Row, Shape, Side, changed_words, diff};
pub use finding::finding;
pub use history::{automation_document, automation_text, history_document, history_text};
pub use json::{API_VERSION, plan_document, refusal_document, render_document, run_event, status_document};
pub use mapping::map_note;
pub use plan::{
    StepWords, answer, by_hand, confirmation, plan_notes, plan_text, promise, quiet, settling, step, undo_word,
};
pub use runs::{first_refusal, run_document, run_line, run_list, run_text};
pub use status::{
    choice, clock_note, component_note, component_state, drift_state, flow, health, key_change, next, short_image,
    source_line, status_text, verdict,
};

pub use strays::{cluster_name, gate, or_unknown, place, strays_document, strays_text};

use crate::diagnose::{Basis, Severity};
use crate::model::{Failure, Outcome, Timestamp};

/// `40s`, `12m`, `3h`, `5d`: how long ago. The future (a clock that is off) is `0s`.
pub fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = (now.as_second() - since.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `16:49Z`, or with the date where it is not today's.
pub fn clock(at: Timestamp, now: Timestamp) -> String {
    let same_day = at.strftime("%F").to_string() == now.strftime("%F").to_string();
    at.strftime(if same_day { "%H:%MZ" } else { "%m-%d %H:%MZ" }).to_string()
}

/// `17:27:41Z`.
pub fn clock_seconds(at: Timestamp) -> String {
    at.strftime("%H:%M:%SZ").to_string()
}

pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Bad => "BAD",
        Severity::Warn => "WARN",
        Severity::Info => "info",
    }
}

pub fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Fact => "FACT",
        Basis::Guess => "GUESS",
    }
}

pub fn outcome(outcome: Outcome) -> &'static str {
    outcome.word()
}

/// `error:`, `caused by:` and `hint:` lines.
pub fn failure(failure: &Failure) -> Vec<String> {
    let mut lines = vec![format!("error: {}", failure.summary)];
    lines.extend(failure.causes.iter().map(|cause| format!("caused by: {cause}")));
    lines.extend(failure.hint.iter().map(|hint| format!("hint: {hint}")));
    lines
}

/// A failure beside the matter, in one line: it stops nobody.
pub fn note(failure: &Failure) -> String {
    let why: Vec<&str> = std::iter::once(&failure.summary).chain(&failure.causes).map(String::as_str).collect();
    let hint = failure.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
    format!("{}{hint}", why.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    #[test]
    fn ages_are_short_and_never_negative() {
        let now = at("2019-01-23T16:00:00Z");
        assert_eq!(age(at("2019-01-23T15:59:20Z"), now), "40s");
        assert_eq!(age(at("2019-01-23T15:20:00Z"), now), "40m");
        assert_eq!(age(at("2019-01-23T13:00:00Z"), now), "3h");
        assert_eq!(age(at("2019-01-18T16:00:00Z"), now), "5d");
        assert_eq!(age(at("2019-01-24T16:00:00Z"), now), "0s");
    }

    #[test]
    fn clocks_say_the_date_when_it_is_not_today() {
        let now = at("2019-01-23T16:00:00Z");
        assert_eq!(clock(at("2019-01-23T04:49:59Z"), now), "04:49Z");
        assert_eq!(clock(at("2019-01-22T23:28:00Z"), now), "01-22 23:28Z");
    }
}
