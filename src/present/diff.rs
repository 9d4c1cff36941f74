//! A value of a ConfigMap, live against git, line by line. Gzip is read through; binary is said, not shown.

use similar::{ChangeTag, TextDiff};

use crate::model::text::sanitize_line;
use crate::prow;

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

fn remark(text: impl Into<String>) -> DiffLine {
    DiffLine { tag: DiffTag::Hunk, text: text.into() }
}

/// Live against git, with `context` equal lines around each change. Empty when both are the same after gunzip.
pub fn diff(live: Option<&[u8]>, git: Option<&[u8]>, context: usize) -> Vec<DiffLine> {
    let mut lines = Vec::new();
    let (old, new) = (read(live, "live", &mut lines), read(git, "git", &mut lines));
    if live.is_some() && git.is_some() && old == new {
        return Vec::new();
    }
    let (Ok(old_text), Ok(new_text)) = (std::str::from_utf8(&old), std::str::from_utf8(&new)) else {
        lines.push(remark(format!("binary: {} bytes live, {} bytes in git", old.len(), new.len())));
        return lines;
    };
    let diff = TextDiff::from_lines(old_text, new_text);
    for hunk in diff.unified_diff().context_radius(context).iter_hunks() {
        lines.push(remark(hunk.header().to_string().trim_end()));
        for change in hunk.iter_changes() {
            let tag = match change.tag() {
                ChangeTag::Equal => DiffTag::Same,
                ChangeTag::Delete => DiffTag::Removed,
                ChangeTag::Insert => DiffTag::Added,
            };
            lines.push(DiffLine { tag, text: sanitize_line(change.value().trim_end_matches('\n')) });
        }
    }
    if lines.is_empty() && live.is_none() != git.is_none() {
        lines.push(remark(if live.is_none() { "an empty value, not live" } else { "an empty value, not in git" }));
    }
    lines
}

fn read<'a>(value: Option<&'a [u8]>, whose: &str, lines: &mut Vec<DiffLine>) -> std::borrow::Cow<'a, [u8]> {
    let bytes = value.unwrap_or_default();
    match prow::gzip::inflate(bytes) {
        Ok(inflated) => {
            if let std::borrow::Cow::Owned(_) = inflated {
                lines.push(remark(format!("{whose}: gzip decoded, {} bytes stored", bytes.len())));
            }
            inflated
        }
        Err(why) => {
            lines.push(remark(format!("{whose}: {why}; compared as stored")));
            std::borrow::Cow::Borrowed(bytes)
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
}
