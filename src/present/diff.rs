//! A value of a ConfigMap, live against git, line by line. Gzip is read through; binary is said, not shown.
//!
//! - `comparison`: both sides, what differs, and the rows that a front end shows of it
//! - `words`: which lines belong together, and which words of them changed
//!
//! To add another way to look at it: a [`Shape`], and its rows in [`Comparison::rows`].

mod comparison;
mod words;

use std::time::Duration;

use crate::model::text::sanitize_line;

pub use comparison::{Comparison, Row, Shape, Side};
pub use words::changed_words;

/// Lines that were compared in a longer time than this are compared in a hurry from then on.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// One line of a diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffLine {
    pub tag: DiffTag,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiffTag {
    /// `@@ -14,9 +14,9 @@`, or a remark such as `binary: 512 bytes live, 514 in git`.
    Hunk,
    Same,
    /// What runs now (live).
    Removed,
    /// What would be written (git).
    Added,
}

impl DiffTag {
    pub fn sign(self) -> &'static str {
        match self {
            DiffTag::Hunk => "",
            DiffTag::Same => " ",
            DiffTag::Removed => "-",
            DiffTag::Added => "+",
        }
    }
}

/// Live against git, with `context` equal lines around each change. Empty when both are the same after gunzip.
pub fn diff(live: Option<&[u8]>, git: Option<&[u8]>, context: usize) -> Vec<DiffLine> {
    Comparison::within(live, git, PATIENCE).lines(context)
}

impl Comparison {
    /// As a unified diff, safe to print.
    pub fn lines(&self, context: usize) -> Vec<DiffLine> {
        self.rows(context, Shape::Unified).into_iter().map(|row| self.line(row)).collect()
    }

    /// A row as a line of a unified diff.
    pub fn line(&self, row: Row) -> DiffLine {
        let line = |tag, text: &str| DiffLine { tag, text: sanitize_line(text) };
        match row {
            Row::Note(n) => line(DiffTag::Hunk, &self.notes()[n]),
            Row::Hunk { .. } => line(DiffTag::Hunk, &row.hunk().unwrap_or_default()),
            Row::Same { git, .. } => line(DiffTag::Same, self.text(Side::Git, git)),
            Row::Changed { live: Some(n), git: None } => line(DiffTag::Removed, self.text(Side::Live, n)),
            Row::Changed { git: Some(n), .. } => line(DiffTag::Added, self.text(Side::Git, n)),
            Row::NoNewline { .. } | Row::Changed { live: None, git: None } => {
                line(DiffTag::Hunk, "\\ no newline at the end")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: &[DiffLine]) -> String {
        lines.iter().map(|line| format!("{}{}\n", line.tag.sign(), line.text)).collect()
    }

    #[test]
    fn shows_both_sides_with_context() {
        let lines = diff(Some(b"a\nb\nc\nd\n"), Some(b"a\nB\nc\nd\n"), 1);
        assert_eq!(text(&lines), "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n");
    }

    #[test]
    fn equal_values_have_no_diff_and_missing_ones_do() {
        assert!(diff(Some(b"a\n"), Some(b"a\n"), 3).is_empty());
        assert_eq!(text(&diff(None, Some(b"a\n"), 3)), "@@ -0,0 +1 @@\n+a\n");
        assert_eq!(diff(None, Some(b""), 3).len(), 1);
    }

    #[test]
    fn binary_is_said_not_shown_and_escapes_are_stopped() {
        let lines = diff(Some(b"\xff\xfe"), Some(b"a"), 3);
        assert_eq!(text(&lines), "binary: 2 bytes live, 1 bytes in git\n");
        let lines = diff(Some(b"\x1b[2J\n"), Some(b"a\n"), 3);
        assert!(!text(&lines).contains('\x1b'));
    }

    #[test]
    fn a_newline_that_one_side_lacks_is_a_difference_that_can_be_seen() {
        let lines = diff(Some(b"a\nb"), Some(b"a\nb\n"), 3);
        assert_eq!(text(&lines), "@@ -1,2 +1,2 @@\n a\n-b\n\\ no newline at the end\n+b\n");
        let lines = diff(Some(b"a\r\nb\n"), Some(b"a\nb\n"), 0);
        assert_eq!(text(&lines), "@@ -1 +1 @@\n-a\u{fffd}\n+a\n");
    }
}
