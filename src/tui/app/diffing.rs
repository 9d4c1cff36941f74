//! State of the diff on the Config screen: what was compared, and how a person looks at it.

use std::sync::Arc;
use std::time::Duration;

use super::{Observation, live_map, wanted};
use crate::model::ObjectRef;
use crate::present::{Comparison, Row, Shape, Side};

/// Equal lines around a change, from least to most; the last is all of them.
pub const CONTEXTS: [usize; 8] = [0, 1, 3, 5, 10, 25, 100, usize::MAX];
const USUAL_CONTEXT: usize = 2;

/// The diff of the selected key, and how it is looked at.
#[derive(Debug, Clone)]
pub struct Diffing {
    pub diff: Option<KeyDiff>,
    /// As chosen with a key; else as there is room.
    pub shape: Option<Shape>,
    /// Place in [`CONTEXTS`].
    pub context: usize,
    /// Rows above the screen.
    pub top: usize,
    /// Columns of the lines left of the screen.
    pub left: usize,
    /// The row that was jumped to last.
    pub at: Option<usize>,
    /// What is searched for; empty for nothing.
    pub search: String,
}

impl Default for Diffing {
    fn default() -> Self {
        Diffing { diff: None, shape: None, context: USUAL_CONTEXT, top: 0, left: 0, at: None, search: String::new() }
    }
}

impl Diffing {
    pub fn sheet(&self) -> Option<&Sheet> {
        self.diff.as_ref()?.sheet.as_ref()
    }
}

/// The diff of one key. Kept, because making it anew for every frame would be slow for a map of a megabyte.
#[derive(Debug, Clone)]
pub struct KeyDiff {
    pub of: DiffOf,
    pub asked: Asked,
    /// Of this key; while it is compared anew, the one before.
    pub sheet: Option<Sheet>,
}

/// What a diff was made of; another one is another diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffOf {
    pub map: ObjectRef,
    pub key: String,
    pub resource_version: Option<String>,
    pub revision: Option<String>,
}

/// Whether both sides were compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It takes longer than a frame may.
    NotYet,
    Asked,
    Answered,
}

impl DiffOf {
    /// Both sides as they are stored.
    pub fn values<'a>(&self, seen: &'a Observation) -> (Option<&'a [u8]>, Option<&'a [u8]>) {
        let live = live_map(&seen.snapshot, &self.map).and_then(|live| live.values.get(&self.key));
        (live.map(Vec::as_slice), wanted(seen, &self.map, &self.key))
    }

    /// Compares both sides: blocks for so long, or a little longer.
    pub fn compare(&self, seen: &Observation, time: Duration) -> Comparison {
        let (live, git) = self.values(seen);
        Comparison::within(live, git, time)
    }
}

/// A comparison laid out. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sheet {
    pub comparison: Arc<Comparison>,
    pub shape: Shape,
    pub context: usize,
    pub search: String,
    pub rows: Arc<Vec<Row>>,
    /// Where changes begin, as places in `rows`.
    pub changes: Arc<Vec<usize>>,
    /// Rows that hold what is searched for.
    pub hits: Arc<Vec<usize>>,
}

impl Sheet {
    pub fn lay(comparison: Arc<Comparison>, shape: Shape, context: usize, search: &str) -> Self {
        let rows = comparison.rows(context, shape);
        let begins =
            |at: &usize| rows[*at].is_change() && !at.checked_sub(1).is_some_and(|before| rows[before].is_change());
        let changes = (0..rows.len()).filter(begins).collect();
        let needle = Needle::new(search);
        let hits = match &needle {
            Some(needle) => (0..rows.len()).filter(|at| needle.is_in(&comparison, rows[*at])).collect(),
            None => Vec::new(),
        };
        Sheet {
            comparison,
            shape,
            context,
            search: search.to_owned(),
            rows: Arc::new(rows),
            changes: Arc::new(changes),
            hits: Arc::new(hits),
        }
    }

    /// Rows of the change that begins at this row.
    pub fn change_at(&self, begins: usize) -> std::ops::Range<usize> {
        let rows = self.rows.get(begins..).unwrap_or_default();
        begins..begins + rows.iter().take_while(|row| row.is_change()).count()
    }
}

/// What is searched for. Capitals count only where it has some.
pub struct Needle {
    text: String,
    exact: bool,
}

impl Needle {
    pub fn new(search: &str) -> Option<Self> {
        let exact = search.contains(char::is_uppercase);
        (!search.is_empty()).then(|| Needle { text: search.to_owned(), exact })
    }

    fn is_in(&self, comparison: &Comparison, row: Row) -> bool {
        let side = |side, n: Option<usize>| n.is_some_and(|n| self.find(comparison.text(side, n), 0).is_some());
        match row {
            Row::Same { git, .. } => side(Side::Git, Some(git)),
            Row::Changed { live, git } => side(Side::Live, live) || side(Side::Git, git),
            Row::Note(_) | Row::Hunk { .. } | Row::NoNewline { .. } => false,
        }
    }

    /// Where it is in a line, from this byte on.
    pub fn find(&self, line: &str, from: usize) -> Option<std::ops::Range<usize>> {
        let (hay, needle) = (line.as_bytes().get(from..)?, self.text.as_bytes());
        let same = |window: &[u8]| if self.exact { window == needle } else { window.eq_ignore_ascii_case(needle) };
        let at = from + hay.windows(needle.len()).position(same)?;
        // The text is whole characters, so its bytes begin and end where characters do.
        Some(at..at + needle.len())
    }
}
