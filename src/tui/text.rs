//! Fitting text into columns.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text in at most `columns`, its end cut off with `…` where it does not fit.
pub fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > columns {
            break;
        }
        used += wide;
        out.push(c);
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// The text in exactly `columns`: cut or filled up with spaces.
pub fn fit(text: &str, columns: usize) -> String {
    let mut out = cut(text, columns);
    let missing = columns.saturating_sub(out.width());
    out.extend(std::iter::repeat_n(' ', missing));
    out
}

/// The same, with the text at the right.
pub fn right(text: &str, columns: usize) -> String {
    let out = cut(text, columns);
    format!("{}{out}", " ".repeat(columns.saturating_sub(out.width())))
}

/// Lines of at most `columns`, broken at spaces where there are any; following lines begin with `indent` spaces.
pub fn wrap(text: &str, columns: usize, indent: usize) -> Vec<String> {
    let columns = columns.max(indent + 8);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let first = paragraph.len() - paragraph.trim_start_matches(' ').len();
        let mut line = " ".repeat(first.min(columns / 2));
        let mut empty = true;
        for word in paragraph.split(' ').filter(|word| !word.is_empty()) {
            let mut word = word;
            if !empty && line.width() + 1 + word.width() > columns {
                lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            // A word longer than a line, such as a URL.
            while line.width() + word.width() > columns {
                let at = split_at_width(word, columns.saturating_sub(line.width()));
                line.push_str(&word[..at]);
                word = &word[at..];
                lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            }
            line.push_str(word);
            empty = false;
        }
        lines.push(line);
    }
    lines
}

/// Byte index after as many characters as fit into `columns`, and at least one.
fn split_at_width(word: &str, columns: usize) -> usize {
    let mut used = 0;
    for (at, c) in word.char_indices() {
        used += c.width().unwrap_or(0);
        if used > columns && at > 0 {
            return at;
        }
    }
    word.len()
}

/// The first row of a window of `height` rows that shows `selected` of `len`, in the middle where possible.
pub fn window(selected: Option<usize>, len: usize, height: usize) -> usize {
    let last = len.saturating_sub(height);
    selected.map_or(0, |selected| selected.saturating_sub(height / 2).min(last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cuts_say_that_they_cut() {
        assert_eq!(cut("job-config", 10), "job-config");
        assert_eq!(cut("job-config", 6), "job-c…");
        assert_eq!(fit("ab", 4), "ab  ");
        assert_eq!(right("ab", 4), "  ab");
    }

    #[test]
    fn long_lines_break_at_spaces() {
        assert_eq!(wrap("one two three four", 9, 2), ["one two", "  three", "  four"]);
        assert_eq!(wrap("", 10, 0), [""]);
    }

    proptest! {
        #[test]
        fn wrapping_keeps_every_word_and_every_line_short(text in "[a-z\u{4e00}-\u{4e10} ]{0,200}", columns in 12usize..60) {
            let lines = wrap(&text, columns, 2);
            for line in &lines {
                prop_assert!(width(line) <= columns, "{line:?}");
            }
            let letters = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }

        #[test]
        fn what_is_selected_is_in_the_window(len in 1usize..200, height in 1usize..40, at in 0usize..200) {
            let at = at % len;
            let first = window(Some(at), len, height);
            prop_assert!(first <= at && at < first + height);
        }
    }
}
