//! `Source<T>`: a part of a snapshot, and whether we could see it at all.

use super::{Failure, Timestamp};

/// A part of a [`Snapshot`](super::Snapshot). *Unknown is not empty*: an empty list that was read and a list that could
/// not be read are different things, and nothing may be planned over the second.
#[derive(Debug, Clone, PartialEq)]
pub enum Source<T> {
    /// Asked for, no answer yet.
    Loading,
    /// Read; `at` is when the server last confirmed it.
    Known { value: T, at: Timestamp },
    /// The server says that this user may not; `verb` as in `list pods in namespace test-pods`.
    Denied { verb: String },
    /// No answer now. `last` is what was known before, with its time.
    Lost { error: Failure, last: Option<(T, Timestamp)> },
}

impl<T> Default for Source<T> {
    /// Nothing was answered yet.
    fn default() -> Self {
        Source::Loading
    }
}

impl<T> Source<T> {
    /// The value, when it is known now. What plans may build on.
    pub fn known(&self) -> Option<&T> {
        match self {
            Source::Known { value, .. } => Some(value),
            Source::Loading | Source::Denied { .. } | Source::Lost { .. } => None,
        }
    }

    /// The value, also when it is only remembered. What screens may show, with its age.
    pub fn seen(&self) -> Option<&T> {
        match self {
            Source::Known { value, .. } => Some(value),
            Source::Lost { last, .. } => last.as_ref().map(|(value, _)| value),
            Source::Loading | Source::Denied { .. } => None,
        }
    }

    /// When the value was last confirmed.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Source::Known { at, .. } => Some(*at),
            Source::Lost { last, .. } => last.as_ref().map(|(_, at)| *at),
            Source::Loading | Source::Denied { .. } => None,
        }
    }

    /// True once an answer of any kind came in.
    pub fn is_settled(&self) -> bool {
        !matches!(self, Source::Loading)
    }

    /// One word, as in the JSON contract.
    pub fn state(&self) -> &'static str {
        match self {
            Source::Loading => "loading",
            Source::Known { .. } => "known",
            Source::Denied { .. } => "denied",
            Source::Lost { .. } => "lost",
        }
    }

    /// The same standing with another value.
    pub fn map<U>(&self, f: impl Fn(&T) -> U) -> Source<U> {
        match self {
            Source::Loading => Source::Loading,
            Source::Known { value, at } => Source::Known { value: f(value), at: *at },
            Source::Denied { verb } => Source::Denied { verb: verb.clone() },
            Source::Lost { error, last } => {
                Source::Lost { error: error.clone(), last: last.as_ref().map(|(value, at)| (f(value), *at)) }
            }
        }
    }
}
