//! Both sides of a value and what differs between them. Made once, away from the screen; its rows are numbers of lines, so
//! that another context or shape costs little and a screen reads only the lines that it shows.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher as _};
use std::ops::Range;
use std::time::{Duration, Instant};

use similar::{DiffOp, TextDiff, group_diff_ops};

use super::words::{Pair, pairs};
use crate::prow::gzip;

/// Live and git, compared.
#[derive(Debug, Clone)]
pub struct Comparison {
    live: Text,
    git: Text,
    notes: Vec<String>,
    ops: Vec<DiffOp>,
    /// Lines that are the same but for some words, in their order.
    pairs: Vec<Pair>,
    hurried: bool,
    /// Of both values as they are stored.
    of: [Print; 2],
}

/// Length and hash of a stored value; `None` where there is none.
type Print = Option<(usize, u64)>;

/// A text and where its lines end.
#[derive(Debug, Clone, Default)]
struct Text {
    text: String,
    ends: Vec<usize>,
}

impl Text {
    fn of(text: String) -> Self {
        let mut ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        if !text.is_empty() && !text.ends_with('\n') {
            ends.push(text.len());
        }
        Text { text, ends }
    }

    /// With its newline.
    fn line(&self, n: usize) -> &str {
        let start = n.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(n).map_or("", |end| &self.text[start..*end])
    }

    fn lines(&self) -> Vec<&str> {
        (0..self.ends.len()).map(|n| self.line(n)).collect()
    }
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What runs now.
    Live,
    /// What would be written.
    Git,
}

/// How both sides are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One below the other.
    Unified,
    /// Live at the left, git at the right.
    SideBySide,
}

/// A row of a diff: numbers of lines, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// What is to be said of the values, by number.
    Note(usize),
    /// Lines (from, how many) of both sides that follow.
    Hunk {
        live: (usize, usize),
        git: (usize, usize),
    },
    Same {
        live: usize,
        git: usize,
    },
    /// At least one of them; both only side by side.
    Changed {
        live: Option<usize>,
        git: Option<usize>,
    },
    /// The line above is the last and has no newline, in these.
    NoNewline {
        live: bool,
        git: bool,
    },
}

impl Row {
    /// `@@ -14,9 +14,9 @@`.
    pub fn hunk(self) -> Option<String> {
        let Row::Hunk { live, git } = self else { return None };
        let range = |(from, count): (usize, usize)| match count {
            0 => format!("{from},0"),
            1 => format!("{}", from + 1),
            count => format!("{},{count}", from + 1),
        };
        Some(format!("@@ -{} +{} @@", range(live), range(git)))
    }

    pub fn is_change(self) -> bool {
        match self {
            Row::Changed { .. } => true,
            Row::Note(_) | Row::Hunk { .. } | Row::Same { .. } | Row::NoNewline { .. } => false,
        }
    }
}

impl Comparison {
    /// Compares; after this time in a hurry, which [`Comparison::is_hurried`] and a note tell.
    pub fn within(live: Option<&[u8]>, git: Option<&[u8]>, time: Duration) -> Self {
        let of = [print(live), print(git)];
        let mut made = Comparison {
            live: Text::default(),
            git: Text::default(),
            notes: Vec::new(),
            ops: Vec::new(),
            pairs: Vec::new(),
            hurried: false,
            of,
        };
        let (old, new) = (read(live, "live", &mut made.notes), read(git, "git", &mut made.notes));
        if live.is_some() && git.is_some() && old == new {
            made.notes.clear();
            return made;
        }
        let (old, new) = match (String::from_utf8(old.into_owned()), String::from_utf8(new.into_owned())) {
            (Ok(old), Ok(new)) => (Text::of(old), Text::of(new)),
            (old, new) => {
                let bytes = |side: Result<String, std::string::FromUtf8Error>| match side {
                    Ok(text) => text.len(),
                    Err(error) => error.as_bytes().len(),
                };
                made.notes.push(format!("binary: {} bytes live, {} bytes in git", bytes(old), bytes(new)));
                return made;
            }
        };
        let begun = Instant::now();
        made.ops = TextDiff::configure().timeout(time).diff_slices(&old.lines(), &new.lines()).ops().to_vec();
        made.hurried = begun.elapsed() >= time;
        if made.hurried {
            made.notes.push("compared in a hurry: some lines may be shown as changed that are the same".to_owned());
        }
        made.pairs = made.ops.iter().flat_map(|op| pairs(op, |n| old.line(n), |n| new.line(n))).collect();
        (made.live, made.git) = (old, new);
        if made.ops.is_empty() && live.is_none() != git.is_none() {
            let note = if live.is_none() { "an empty value, not live" } else { "an empty value, not in git" };
            made.notes.push(note.to_owned());
        }
        made
    }

    /// True where both mean the same to Prow.
    pub fn is_same(&self) -> bool {
        self.notes.is_empty() && self.ops.iter().all(|op| matches!(op, DiffOp::Equal { .. }))
    }

    pub fn is_hurried(&self) -> bool {
        self.hurried
    }

    /// True where these are the stored values that were compared.
    pub fn is_of(&self, live: Option<&[u8]>, git: Option<&[u8]>) -> bool {
        self.of == [print(live), print(git)]
    }

    /// Gzip decoded, binary, and the like.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// A line without its newline, as it is: not safe to print.
    pub fn text(&self, side: Side, n: usize) -> &str {
        let line = match side {
            Side::Live => self.live.line(n),
            Side::Git => self.git.line(n),
        };
        line.strip_suffix('\n').unwrap_or(line)
    }

    /// The line of the other side that is the same but for some words.
    pub fn partner(&self, side: Side, n: usize) -> Option<usize> {
        match side {
            Side::Live => self.pairs.binary_search_by_key(&n, |pair| pair.live).ok().map(|at| self.pairs[at].git),
            Side::Git => self.pairs.binary_search_by_key(&n, |pair| pair.git).ok().map(|at| self.pairs[at].live),
        }
    }

    /// The rows, with so many equal lines around each change.
    pub fn rows(&self, context: usize, shape: Shape) -> Vec<Row> {
        let mut rows: Vec<Row> = (0..self.notes.len()).map(Row::Note).collect();
        if self.ops.iter().all(|op| matches!(op, DiffOp::Equal { .. })) {
            return rows;
        }
        let context = context.min(self.live.ends.len().max(self.git.ends.len()));
        for group in group_diff_ops(self.ops.clone(), context) {
            let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
            let span = |first: Range<usize>, last: Range<usize>| (first.start, last.end - first.start);
            rows.push(Row::Hunk {
                live: span(first.old_range(), last.old_range()),
                git: span(first.new_range(), last.new_range()),
            });
            for op in &group {
                match shape {
                    Shape::Unified => self.unified(op, &mut rows),
                    Shape::SideBySide => self.side_by_side(op, &mut rows),
                }
            }
        }
        rows
    }

    fn unified(&self, op: &DiffOp, rows: &mut Vec<Row>) {
        let (old, new) = (op.old_range(), op.new_range());
        if let DiffOp::Equal { .. } = op {
            self.same(old, new, rows);
            return;
        }
        for n in old {
            rows.push(Row::Changed { live: Some(n), git: None });
            if self.is_cut(Side::Live, n) {
                rows.push(Row::NoNewline { live: true, git: false });
            }
        }
        for n in new {
            rows.push(Row::Changed { live: None, git: Some(n) });
            if self.is_cut(Side::Git, n) {
                rows.push(Row::NoNewline { live: false, git: true });
            }
        }
    }

    /// Lines that belong together stand beside each other, the others alone.
    fn side_by_side(&self, op: &DiffOp, rows: &mut Vec<Row>) {
        let (mut old, mut new) = (op.old_range(), op.new_range());
        if let DiffOp::Equal { .. } = op {
            self.same(old, new, rows);
            return;
        }
        let from = self.pairs.partition_point(|pair| pair.live < old.start);
        let to = self.pairs.partition_point(|pair| pair.live < old.end);
        let end = Pair { live: old.end, git: new.end };
        for pair in self.pairs[from..to].iter().chain([&end]) {
            // What stands alone before them: from the top, side by side too, but not for being alike.
            while old.start < pair.live || new.start < pair.git {
                let live = (old.start < pair.live).then_some(old.start);
                let git = (new.start < pair.git).then_some(new.start);
                self.beside(live, git, rows);
                old.start += usize::from(live.is_some());
                new.start += usize::from(git.is_some());
            }
            if old.start < old.end && new.start < new.end {
                self.beside(Some(old.start), Some(new.start), rows);
                old.start += 1;
                new.start += 1;
            }
        }
    }

    fn beside(&self, live: Option<usize>, git: Option<usize>, rows: &mut Vec<Row>) {
        rows.push(Row::Changed { live, git });
        let cut = |side, n: Option<usize>| n.is_some_and(|n| self.is_cut(side, n));
        let (live, git) = (cut(Side::Live, live), cut(Side::Git, git));
        if live || git {
            rows.push(Row::NoNewline { live, git });
        }
    }

    fn same(&self, old: Range<usize>, new: Range<usize>, rows: &mut Vec<Row>) {
        for (live, git) in old.zip(new) {
            rows.push(Row::Same { live, git });
            if self.is_cut(Side::Live, live) {
                rows.push(Row::NoNewline { live: true, git: true });
            }
        }
    }

    fn is_cut(&self, side: Side, n: usize) -> bool {
        let text = match side {
            Side::Live => &self.live,
            Side::Git => &self.git,
        };
        n + 1 == text.ends.len() && !text.text.ends_with('\n')
    }
}

fn print(value: Option<&[u8]>) -> Print {
    value.map(|bytes| {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        (bytes.len(), hasher.finish())
    })
}

fn read<'a>(value: Option<&'a [u8]>, whose: &str, notes: &mut Vec<String>) -> Cow<'a, [u8]> {
    let bytes = value.unwrap_or_default();
    match gzip::inflate(bytes) {
        Ok(inflated) => {
            if let Cow::Owned(_) = inflated {
                notes.push(format!("{whose}: gzip decoded, {} bytes stored", bytes.len()));
            }
            inflated
        }
        Err(why) => {
            notes.push(format!("{whose}: {why}; compared as stored"));
            Cow::Borrowed(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compare(live: &str, git: &str) -> Comparison {
        Comparison::within(Some(live.as_bytes()), Some(git.as_bytes()), Duration::from_secs(10))
    }

    #[test]
    fn side_by_side_puts_lines_together_that_belong_together() {
        let comparison = compare(
            "presets:\n- labels:\n    preset-aws: kops\n  env: []\n",
            "presets:\n- labels:\n    # one for all\n    preset-aws: \"true\"\n  env: []\n",
        );
        let rows = comparison.rows(0, Shape::SideBySide);
        assert_eq!(
            rows[1..],
            [Row::Changed { live: None, git: Some(2) }, Row::Changed { live: Some(2), git: Some(3) },]
        );
        assert_eq!(comparison.partner(Side::Git, 3), Some(2));
        assert_eq!(comparison.partner(Side::Git, 2), None);
    }

    #[test]
    fn gzip_is_read_through_and_said() {
        let packed = gzip::deflate(b"a\nb\n");
        let comparison = Comparison::within(Some(&packed), Some(b"a\nc\n"), Duration::from_secs(10));
        assert_eq!(comparison.notes(), [format!("live: gzip decoded, {} bytes stored", packed.len())]);
        assert!(Comparison::within(Some(&packed), Some(b"a\nb\n"), Duration::from_secs(10)).is_same());
        assert!(comparison.is_of(Some(&packed), Some(b"a\nc\n")) && !comparison.is_of(Some(&packed), None));
    }

    #[test]
    fn two_megabytes_without_a_common_line_end_in_time_and_say_so() {
        let side = |word: &str| (0..200_000).map(|n| format!("{word} {n}\n")).collect::<String>();
        let begun = Instant::now();
        let comparison = Comparison::within(
            Some((0..200_000).rev().map(|n| format!("live {n}\n")).collect::<String>().as_bytes()),
            Some(side("live").as_bytes()),
            Duration::from_millis(50),
        );
        assert!(comparison.is_hurried() || begun.elapsed() < Duration::from_secs(5));
        assert_eq!(comparison.is_hurried(), comparison.notes().iter().any(|note| note.contains("in a hurry")));
        assert!(!comparison.is_same());
    }

    /// What each side's lines are, put together from rows.
    fn sides(comparison: &Comparison, rows: &[Row]) -> (Vec<usize>, Vec<usize>) {
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for row in rows {
            match *row {
                Row::Same { live, git } => {
                    assert_eq!(comparison.text(Side::Live, live), comparison.text(Side::Git, git));
                    old.push(live);
                    new.push(git);
                }
                Row::Changed { live, git } => {
                    old.extend(live);
                    new.extend(git);
                }
                Row::Note(_) | Row::Hunk { .. } | Row::NoNewline { .. } => {}
            }
        }
        (old, new)
    }

    proptest! {
        #[test]
        fn no_line_is_lost_or_shown_twice(live in "([a-c ]{0,4}\n){0,12}[a-c]?", git in "([a-c ]{0,4}\n){0,12}[a-c]?") {
            let comparison = compare(&live, &git);
            prop_assert_eq!(comparison.is_same(), live == git);
            for shape in [Shape::Unified, Shape::SideBySide] {
                let (old, new) = sides(&comparison, &comparison.rows(usize::MAX, shape));
                if live != git {
                    prop_assert_eq!(old, (0..live.lines().count()).collect::<Vec<_>>());
                    prop_assert_eq!(new, (0..git.lines().count()).collect::<Vec<_>>());
                }
            }
        }
    }
}
