//! The glob dialect of `config_updater`'s maps. It is that of the library Prow pins, and neither git's nor a shell's:
//!
//! - a pattern without any `*` is compared as a string: braces are then literal;
//! - `**/` matches zero or more directories, even in the middle of a segment; every other `*` stays in its segment;
//! - `{a,b}` are alternatives of literals; `[`, `]`, `?` and `\` are literal;
//! - a name must be longer, in bytes, than the path before the first segment with a `*`.

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    pattern: String,
    compiled: Option<Compiled>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Compiled {
    /// Length in bytes of the path before the first segment with a `*` (1 for none).
    root_length: usize,
    tokens: Vec<Token>,
    /// Literals at both ends, to refuse most names at once.
    prefix: String,
    suffix: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Char(char),
    /// Anything within one segment.
    Star,
    /// Nothing, or anything that ends with a slash.
    Directories,
    /// One of these.
    Either(Vec<Vec<char>>),
}

impl Glob {
    pub fn new(pattern: &str) -> Self {
        Glob { pattern: pattern.to_owned(), compiled: compile(pattern) }
    }

    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// True where a file of this path, relative to the repository's root, is one that the map is about.
    pub fn matches(&self, name: &str) -> bool {
        let Some(compiled) = &self.compiled else {
            return self.pattern == name;
        };
        if name == "." || name.len() <= compiled.root_length {
            return false;
        }
        name.starts_with(&compiled.prefix) && name.ends_with(&compiled.suffix) && run(&compiled.tokens, name)
    }

    /// The folder (or file) below which all that it matches lies; empty for the whole repository.
    pub fn literal_root(&self) -> &str {
        let Some(compiled) = &self.compiled else {
            return &self.pattern;
        };
        compiled.prefix.rfind('/').map_or("", |slash| &compiled.prefix[..slash])
    }
}

fn compile(pattern: &str) -> Option<Compiled> {
    let mut root: Option<String> = None;
    let mut mask = String::new();
    for (n, segment) in pattern.split('/').enumerate() {
        if root.is_none() && segment.contains('*') {
            root = Some(if mask.is_empty() { ".".to_owned() } else { mask.clone() });
        }
        mask = join(&mask, segment);
        if n == 0 && mask.is_empty() {
            mask = "/".to_owned();
        }
    }
    let root = root?;
    let chars: Vec<char> = mask.chars().collect();
    let mut tokens = tokens(&chars);
    if mask.ends_with('/') {
        // Only the root itself is left with a slash.
        tokens.push(Token::Star);
    }
    let literal = |token: &Token| match token {
        Token::Char(c) => Some(*c),
        Token::Star | Token::Directories | Token::Either(_) => None,
    };
    let prefix = tokens.iter().map_while(literal).collect();
    let mut suffix: Vec<char> = tokens.iter().rev().map_while(literal).collect();
    suffix.reverse();
    Some(Compiled { root_length: root.len(), tokens, prefix, suffix: suffix.into_iter().collect() })
}

/// Joins two paths and cleans the result lexically: no `.`, no doubled slashes, `..` taken back.
fn join(base: &str, segment: &str) -> String {
    if base.is_empty() && segment.is_empty() {
        return String::new();
    }
    let joined = match (base.is_empty(), segment.is_empty()) {
        (true, _) => segment.to_owned(),
        (_, true) => base.to_owned(),
        (false, false) => format!("{base}/{segment}"),
    };
    let rooted = joined.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

fn tokens(chars: &[char]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        match chars[i] {
            '*' if chars.get(i + 1) == Some(&'*') && chars.get(i + 2) == Some(&'/') => {
                tokens.push(Token::Directories);
                i += 3;
            }
            '*' => {
                tokens.push(Token::Star);
                i += 1;
            }
            '{' => {
                let close = chars[i + 1..].iter().position(|c| *c == '}').map(|offset| i + 1 + offset);
                let inside = &chars[i + 1..close.unwrap_or(chars.len())];
                if inside.is_empty() {
                    // `{}` stands for its closing brace; a brace at the very end for itself.
                    tokens.push(Token::Char(if close.is_some() { '}' } else { '{' }));
                    i = close.unwrap_or(i) + 1;
                } else {
                    tokens.push(Token::Either(inside.split(|c| *c == ',').map(<[char]>::to_vec).collect()));
                    // Never closed: what follows the brace is demanded once more, as pattern.
                    i = close.unwrap_or(i) + 1;
                }
            }
            c => {
                tokens.push(Token::Char(c));
                i += 1;
            }
        }
    }
    tokens
}

/// Follows all ways through the tokens at once, so that no pattern is slow.
fn run(tokens: &[Token], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let end = name.len();
    let mut at = vec![false; end + 1];
    at[0] = true;
    for token in tokens {
        let mut next = vec![false; end + 1];
        for from in (0..=end).filter(|i| at[*i]) {
            match token {
                Token::Char(c) => {
                    if name.get(from) == Some(c) {
                        next[from + 1] = true;
                    }
                }
                Token::Star => {
                    for (to, reached) in next.iter_mut().enumerate().skip(from) {
                        // Already followed from here by an earlier start.
                        if *reached {
                            break;
                        }
                        *reached = true;
                        if name.get(to) == Some(&'/') {
                            break;
                        }
                    }
                }
                Token::Directories => {
                    next[from] = true;
                    for to in from + 1..=end {
                        match name[to - 1] {
                            '/' => next[to] = true,
                            '\n' => break,
                            _ => {}
                        }
                    }
                }
                Token::Either(alternatives) => {
                    for alternative in alternatives {
                        if name[from..].starts_with(alternative) {
                            next[from + alternative.len()] = true;
                        }
                    }
                }
            }
        }
        at = next;
    }
    at[end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let glob = Glob::new(pattern);
        for name in yes {
            assert!(glob.matches(name), "{pattern} should match {name}");
        }
        for name in no {
            assert!(!glob.matches(name), "{pattern} should not match {name}");
        }
    }

    #[test]
    fn without_a_star_it_is_equality() {
        check("config/{a,b}.yaml", &["config/{a,b}.yaml"], &["config/a.yaml"]);
        check("./config.yaml", &["./config.yaml"], &["config.yaml"]);
        check("a?.[yaml]", &["a?.[yaml]"], &["ab.y"]);
    }

    #[test]
    fn stars_stay_in_their_segment() {
        check("jobs/*.yaml", &["jobs/a.yaml", "jobs/.yaml", "jobs/.x.yaml"], &["jobs/a/b.yaml", "jobs/a.yml"]);
        check("jobs/**", &["jobs/a", "jobs/a.yaml"], &["jobs/a/b"]);
        check("*", &["ab"], &["a", ".", "a/b"]);
    }

    #[test]
    fn double_star_slash_spans_directories() {
        check("jobs/**/*.yaml", &["jobs/a.yaml", "jobs/x/a.yaml", "jobs/x/y/a.yaml"], &["jobs.yaml", "x/jobs/a.yaml"]);
        check("jobs**/x", &["jobsx", "jobs/x", "jobs/a/b/x", "jobs-a/x"], &["jobs/ax"]);
        check("**/*.yaml", &["a.yaml", "x/y/a.yaml"], &[]);
        check("***/b", &["/b", "a/b", "a/c/b"], &[]);
    }

    #[test]
    fn braces_are_alternatives_of_literals() {
        check(
            "config/{jobs,testgrids}/*",
            &["config/testgrids/abcdefghijklmnopq"],
            &["config/other/abcdefghijklmnopq"],
        );
        check("*/{a*,b}.yaml", &["x/a*.yaml", "x/b.yaml"], &["x/ab.yaml"]);
        check("*/{a,}.yaml", &["x/a.yaml", "x/.yaml"], &["x/b.yaml"]);
        check("*/{}", &["x/}"], &["x/", "x/{}"]);
        check("*/{ab", &["x/abab"], &["x/ab", "x/{ab"]);
        check("*{", &["x{"], &["xx"]);
    }

    #[test]
    fn brackets_question_marks_and_backslashes_are_literal() {
        check("*/[ab]?.\\*", &["x/[ab]?.\\y"], &["x/a1.\\y", "x/[ab]?.*"]);
    }

    #[test]
    fn a_name_must_be_longer_than_the_prefix() {
        check("{config,prow}/*.yaml", &["config/prow-a.yaml"], &["prow/a.yaml"]);
        check("{config,prow}/*", &["prow/abcdefgh.yaml"], &["prow/abcdefg"]);
    }

    #[test]
    fn the_path_is_cleaned() {
        check(".//jobs//*.yaml", &["jobs/a.yaml"], &["./jobs/a.yaml"]);
        check("jobs/*/", &["jobs/ab"], &["jobs/ab/"]);
        check("x/../jobs/*", &["jobs/ab"], &[]);
        check("/jobs/*.yaml", &[], &["jobs/a.yaml"]);
        check("Jobs/*", &["Jobs/ab"], &["jobs/ab"]);
    }

    #[test]
    fn newlines_end_a_run_of_directories() {
        check("**/a", &["x/a"], &["x\ny/a"]);
        check("*a", &["x\na"], &[]);
    }

    #[test]
    fn the_literal_root_bounds_the_search() {
        assert_eq!(Glob::new("config/jobs/**/*.yaml").literal_root(), "config/jobs");
        assert_eq!(Glob::new("config/jo*/x").literal_root(), "config");
        assert_eq!(Glob::new("**/x").literal_root(), "");
        assert_eq!(Glob::new("config/prow/config.yaml").literal_root(), "config/prow/config.yaml");
    }

    proptest! {
        #[test]
        fn never_panics(pattern in "[a-c/*{},.\\[\n]{0,14}", name in "[a-c/{},.\n]{0,14}") {
            Glob::new(&pattern).matches(&name);
        }

        #[test]
        fn no_star_is_equality(pattern in "[^*]{0,12}", name in "[^*]{0,12}") {
            prop_assert!(Glob::new(&pattern).matches(&pattern));
            prop_assert_eq!(Glob::new(&pattern).matches(&name), pattern == name);
        }

        #[test]
        fn all_that_matches_lies_below_the_literal_root(pattern in "[ab/*{,}]{1,10}", name in "[ab]{1,3}(/[ab]{1,3}){0,3}") {
            let glob = Glob::new(&pattern);
            if glob.matches(&name) {
                let root = glob.literal_root();
                let below = name.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
                prop_assert!(root.is_empty() || name == root || below, "{} {} {}", pattern, name, root);
            }
        }
    }
}
