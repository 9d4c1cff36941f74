//! Cluster text is hostile: it is sanitised once, where it enters.

/// Makes text safe for a terminal: control characters (but newline and tab), escape sequences' introducers and
/// bidirectional overrides become visible stand-ins.
pub fn sanitize(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            c if c.is_control() => '\u{fffd}',
            // Bidi controls and zero-width characters can make a name read as another one.
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// The same for text that must stay on one line.
pub fn sanitize_line(text: &str) -> String {
    sanitize(text).replace(['\n', '\t'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_escape_reaches_a_terminal() {
        let hostile = "a\u{1b}[2Jb\u{9b}31mc\u{202e}d\re\u{0}";
        let clean = sanitize(hostile);
        assert!(!clean.chars().any(|c| c.is_control()), "{clean:?}");
        assert!(!clean.contains('\u{202e}'));
        assert_eq!(sanitize("ä\tb\nc"), "ä\tb\nc");
        assert_eq!(sanitize_line("a\nb"), "a b");
    }
}
