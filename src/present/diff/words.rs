//! Lines that are the same but for some words, and these words.

use std::ops::Range;

use similar::{Algorithm, DiffOp, capture_diff_slices};

/// Lines of one change that are held against each other, at most: live ones times those in git.
const MOST_PAIRS: usize = 10_000;
/// Of a line, as many bytes tell what it is like.
const GLANCE: usize = 256;
/// Lines that have less than this in common, in percent, are not the same line.
const ALIKE: usize = 40;
/// Words of longer lines, in bytes, are not looked at.
const LONGEST: usize = 4096;

/// A live line, and the one in git that came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    pub live: usize,
    pub git: usize,
}

/// The lines of a change that belong together, in their order: as much in common as can be, in all of them.
pub fn pairs<'a>(op: &DiffOp, live: impl Fn(usize) -> &'a str, git: impl Fn(usize) -> &'a str) -> Vec<Pair> {
    let DiffOp::Replace { .. } = op else { return Vec::new() };
    let (old, new) = (op.old_range(), op.new_range());
    let (rows, columns) = (old.len(), new.len());
    if rows * columns > MOST_PAIRS {
        // So many that only what stands at the same place is looked at.
        let same_place = old.zip(new).map(|(live, git)| Pair { live, git });
        return same_place.filter(|pair| alike(live(pair.live), git(pair.git)) >= ALIKE).collect();
    }
    // `best[r][c]`: the most that the lines from r and c on have in common.
    let width = columns + 1;
    let mut best = vec![0; (rows + 1) * width];
    let mut common = vec![0; rows * columns];
    for r in (0..rows).rev() {
        for c in (0..columns).rev() {
            let score = alike(live(old.start + r), git(new.start + c));
            let score = if score >= ALIKE { score } else { 0 };
            common[r * columns + c] = score;
            let apart = best[(r + 1) * width + c].max(best[r * width + c + 1]);
            best[r * width + c] = apart.max(score + best[(r + 1) * width + c + 1]);
        }
    }
    let mut found = Vec::new();
    let (mut r, mut c) = (0, 0);
    while r < rows && c < columns {
        let score = common[r * columns + c];
        if score > 0 && best[r * width + c] == score + best[(r + 1) * width + c + 1] {
            found.push(Pair { live: old.start + r, git: new.start + c });
            (r, c) = (r + 1, c + 1);
        } else if best[r * width + c] == best[(r + 1) * width + c] {
            r += 1;
        } else {
            c += 1;
        }
    }
    found
}

/// What two lines have in common at their beginning and end, in percent of the longer one. Spaces around them do not count.
fn alike(a: &str, b: &str) -> usize {
    let glance = |line: &'_ str| -> Vec<u8> { line.trim().bytes().take(GLANCE).collect() };
    let (a, b) = (glance(a), glance(b));
    let most = a.len().max(b.len());
    if most == 0 {
        return 100;
    }
    let head = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let tail = a[head..].iter().rev().zip(b[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    (head + tail) * 100 / most
}

/// The bytes of two lines that changed, word by word. Empty for lines that have nothing in common, or are too long to look at.
pub fn changed_words(old: &str, new: &str) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    if old.len().max(new.len()) > LONGEST {
        return (Vec::new(), Vec::new());
    }
    let (a, b) = (words(old), words(new));
    let ops = capture_diff_slices(Algorithm::Myers, &texts(old, &a), &texts(new, &b));
    let is_common = |op: &DiffOp| {
        matches!(op, DiffOp::Equal { .. })
            && a[op.old_range()].iter().any(|word| old[word.clone()].contains(char::is_alphanumeric))
    };
    if !ops.iter().any(is_common) {
        return (Vec::new(), Vec::new());
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for op in ops.iter().filter(|op| !matches!(op, DiffOp::Equal { .. })) {
        add(&mut left, &a[op.old_range()]);
        add(&mut right, &b[op.new_range()]);
    }
    (left, right)
}

fn add(found: &mut Vec<Range<usize>>, words: &[Range<usize>]) {
    let (Some(first), Some(last)) = (words.first(), words.last()) else { return };
    match found.last_mut() {
        Some(before) if before.end == first.start => before.end = last.end,
        Some(_) | None => found.push(first.start..last.end),
    }
}

fn texts<'a>(line: &'a str, words: &[Range<usize>]) -> Vec<&'a str> {
    words.iter().map(|word| &line[word.clone()]).collect()
}

#[derive(PartialEq)]
enum Class {
    Word,
    Space,
    Sign,
}

/// Letters and digits in a row, spaces in a row, and each sign by itself.
fn words(line: &str) -> Vec<Range<usize>> {
    let class = |c: char| {
        if c.is_alphanumeric() || c == '_' {
            Class::Word
        } else if c.is_whitespace() {
            Class::Space
        } else {
            Class::Sign
        }
    };
    let mut words: Vec<Range<usize>> = Vec::new();
    let mut before = Class::Sign;
    for (at, c) in line.char_indices() {
        let now = class(c);
        match words.last_mut() {
            Some(last) if now == before && now != Class::Sign => last.end = at + c.len_utf8(),
            Some(_) | None => words.push(at..at + c.len_utf8()),
        }
        before = now;
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn marked(old: &str, new: &str) -> (Vec<String>, Vec<String>) {
        let (left, right) = changed_words(old, new);
        let of = |line: &str, ranges: Vec<Range<usize>>| ranges.into_iter().map(|r| line[r].to_owned()).collect();
        (of(old, left), of(new, right))
    }

    #[test]
    fn the_words_that_changed_are_told() {
        let (old, new) = marked("    preset-aws-credential: kops", "    preset-aws-credential: \"true\"");
        assert_eq!((old, new), (vec!["kops".to_owned()], vec!["\"true\"".to_owned()]));
        let (old, new) = marked("image: a:v2018 # x", "image: a:v2019 # x");
        assert_eq!((old, new), (vec!["v2018".to_owned()], vec!["v2019".to_owned()]));
        assert_eq!(marked("- one", "- two"), (Vec::new(), Vec::new()), "all of it changed");
        assert_eq!(marked("name: ärger", "name: ärgernis").1, ["ärgernis"]);
    }

    proptest! {
        #[test]
        fn what_is_not_marked_is_the_same(old in "[a-c ż:-]{0,20}", new in "[a-c ż:-]{0,20}") {
            let (left, right) = changed_words(&old, &new);
            let rest = |line: &str, marked: &[Range<usize>]| {
                line.char_indices().filter(|(at, _)| !marked.iter().any(|r| r.contains(at))).map(|(_, c)| c).collect::<String>()
            };
            // Nothing marked also means nothing in common.
            if !left.is_empty() || !right.is_empty() {
                prop_assert_eq!(rest(&old, &left), rest(&new, &right));
            }
        }
    }
}
