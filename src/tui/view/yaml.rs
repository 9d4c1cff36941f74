//! Which parts of a line of YAML are its key, quoted text and a comment. A line at a time, so that a screen can begin in the
//! middle of a file: inside a block of text it may be wrong, and then no more than a colour is.

use std::ops::Range;

use super::super::theme::Role;

/// Longer lines, in bytes, have no colours.
const LONGEST: usize = 4096;

/// The parts that have a colour, in their order.
pub fn parts(line: &str) -> Vec<(Range<usize>, Role)> {
    if line.len() > LONGEST {
        return Vec::new();
    }
    let mut parts = Vec::new();
    let mut at = line.len() - line.trim_start().len();
    // The dashes of lists.
    while line[at..].starts_with("- ") {
        at += 2 + line[at + 2..].len() - line[at + 2..].trim_start().len();
    }
    if let Some(end) = key_end(&line[at..]) {
        parts.push((at..at + end, Role::Key));
        at += end + 1;
    }
    let mut before = ' ';
    while let Some(c) = line[at..].chars().next() {
        match c {
            '#' if before.is_whitespace() => {
                parts.push((at..line.len(), Role::Comment));
                break;
            }
            '"' | '\'' if !before.is_alphanumeric() => {
                let end = quote_end(&line[at..], c);
                parts.push((at..at + end, Role::Quoted));
                at += end;
                before = c;
            }
            c => {
                at += c.len_utf8();
                before = c;
            }
        }
    }
    parts
}

/// Where a key before a colon ends, quotes included.
fn key_end(text: &str) -> Option<usize> {
    let first = text.chars().next().filter(|c| !matches!(c, '#' | '{' | '[' | '|' | '>' | '&' | '*' | '!' | '%'))?;
    let from = if matches!(first, '"' | '\'') { quote_end(text, first) } else { 0 };
    let colon = from + text[from..].find(':')?;
    let follows = text[colon + 1..].chars().next();
    let ends = follows.is_none_or(char::is_whitespace) && !text[from..colon].contains(" #");
    // `http://…` is no key, and may have one behind it that is none either.
    ends.then_some(colon)
}

/// Where quoted text ends, or the line where it does not.
fn quote_end(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = quote == '"' && c == '\\' && !escaped;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(line: &str) -> Vec<(&str, Role)> {
        parts(line).into_iter().map(|(range, role)| (&line[range], role)).collect()
    }

    #[test]
    fn keys_quotes_and_comments_are_told_apart() {
        assert_eq!(
            of("    preset-aws: \"true\"  # why"),
            [("preset-aws", Role::Key), ("\"true\"", Role::Quoted), ("# why", Role::Comment)]
        );
        assert_eq!(of("- - name: it's"), [("name", Role::Key)]);
        assert_eq!(of("  - \"a: b\": 'c # d'"), [("\"a: b\"", Role::Key), ("'c # d'", Role::Quoted)]);
        assert_eq!(of("# all: of it"), [("# all: of it", Role::Comment)]);
        assert_eq!(of("- https://a.b/c#d"), []);
        assert_eq!(of("labels:"), [("labels", Role::Key)]);
    }

    proptest! {
        #[test]
        fn parts_are_in_order_and_at_characters(line in "[a-b ż:#'\"\\\\-]{0,30}") {
            let mut end = 0;
            for (range, _) in parts(&line) {
                prop_assert!(range.start >= end && line.get(range.clone()).is_some(), "{:?} in {:?}", range, line);
                end = range.end;
            }
        }
    }
}
