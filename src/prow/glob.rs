//! The glob dialect of `config_updater`'s maps. It is that of the library Prow pins, and neither git's nor a shell's:
//!
//! - a pattern without any `*` is compared as a string: braces are then literal;
//! - `**/` matches zero or more directories, even in the middle of a segment; every other `*` stays in its segment;
//! - `{a,b}` are alternatives of literals; `[`, `]`, `?` and `\` are literal;
//! - a name must be longer, in bytes, than the path before the first segment with a `*`;
//! - a first segment `~` and segments `$NAME` and `$(NAME)` are replaced from hook's environment, which is not known: they
//!   are taken to be unset, and [`Glob::environment`] names the first.

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    pattern: String,
    compiled: Option<Compiled>,
}

/// What a pattern says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    Yes,
    No,
    /// It would match, were it longer than the path before the first `*`.
    TooShort,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Compiled {
    /// Length in bytes of the path before the first segment with a `*` (1 for none).
    root_length: usize,
    environment: Option<String>,
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
        self.judge(name) == Match::Yes
    }

    /// As [`Glob::matches`], telling apart names that are only too short.
    pub fn judge(&self, name: &str) -> Match {
        let Some(compiled) = &self.compiled else {
            return if self.pattern == name { Match::Yes } else { Match::No };
        };
        let alike =
            name.starts_with(&compiled.prefix) && name.ends_with(&compiled.suffix) && run(&compiled.tokens, name);
        if !alike || name == "." {
            Match::No
        } else if name.len() <= compiled.root_length {
            Match::TooShort
        } else {
            Match::Yes
        }
    }

    /// A name must be longer than so many bytes; 0 where there is no such rule.
    pub fn shortest(&self) -> usize {
        self.compiled.as_ref().map_or(0, |compiled| compiled.root_length)
    }

    /// True where something in this folder may match.
    pub fn reaches_below(&self, folder: &str) -> bool {
        let folder = format!("{folder}/");
        match &self.compiled {
            None => self.pattern.starts_with(&folder),
            Some(compiled) => {
                let chars: Vec<char> = folder.chars().collect();
                // What is left to match after the folder may be longer than anything, so it need not be looked at.
                (0..=compiled.tokens.len()).any(|end| reached(&compiled.tokens[..end], &chars)[chars.len()])
                    || compiled.tokens.iter().enumerate().any(|(at, token)| match token {
                        Token::Either(alternatives) => {
                            let before = reached(&compiled.tokens[..at], &chars);
                            (0..chars.len()).filter(|from| before[*from]).any(|from| {
                                let rest = &chars[from..];
                                alternatives.iter().any(|alternative| alternative.starts_with(rest))
                            })
                        }
                        Token::Char(_) | Token::Star | Token::Directories => false,
                    })
            }
        }
    }

    /// True where it has braces as if for alternatives and no `*`, so that they are compared as they stand.
    pub fn has_literal_braces(&self) -> bool {
        self.compiled.is_none() && self.pattern.contains('{') && self.pattern.contains('}')
    }

    /// The first segment that Prow replaces from the environment of the process.
    pub fn environment(&self) -> Option<&str> {
        self.compiled.as_ref()?.environment.as_deref()
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
    let mut environment = None;
    for (n, segment) in pattern.split('/').enumerate() {
        if root.is_none() && segment.contains('*') {
            root = Some(if mask.is_empty() { ".".to_owned() } else { mask.clone() });
        }
        let replaced = n == 0 && segment == "~" || is_variable(segment);
        if replaced && environment.is_none() {
            environment = Some(segment.to_owned());
        }
        mask = join(&mask, if replaced { "" } else { segment });
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
    Some(Compiled { root_length: root.len(), environment, tokens, prefix, suffix: suffix.into_iter().collect() })
}

/// `$NAME` or `$(NAME)`, of at least two characters.
fn is_variable(segment: &str) -> bool {
    let Some(name) = segment.strip_prefix('$') else { return false };
    let name = name.strip_prefix('(').and_then(|name| name.strip_suffix(')')).unwrap_or(name);
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic())
        && name.len() > 1
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
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

fn run(tokens: &[Token], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    reached(tokens, &name)[name.len()]
}

/// Where in the name one can be after these tokens. Follows all ways at once, so that no pattern is slow.
fn reached(tokens: &[Token], name: &[char]) -> Vec<bool> {
    let end = name.len();
    let mut at = Places::nowhere(end);
    let mut next = Places::nowhere(end);
    at.add(0);
    for token in tokens {
        for from in at.first..=at.last {
            if !at.is[from] {
                continue;
            }
            match token {
                Token::Char(c) => {
                    if name.get(from) == Some(c) {
                        next.add(from + 1);
                    }
                }
                Token::Star => {
                    for to in from..=end {
                        // Already followed from here by an earlier start.
                        if next.is[to] {
                            break;
                        }
                        next.add(to);
                        if name.get(to) == Some(&'/') {
                            break;
                        }
                    }
                }
                Token::Directories => {
                    next.add(from);
                    for to in from + 1..=end {
                        match name[to - 1] {
                            '/' => next.add(to),
                            '\n' => break,
                            _ => {}
                        }
                    }
                }
                Token::Either(alternatives) => {
                    for alternative in alternatives {
                        if name[from..].starts_with(alternative) {
                            next.add(from + alternative.len());
                        }
                    }
                }
            }
        }
        at.clear();
        std::mem::swap(&mut at, &mut next);
        if at.is_nowhere() {
            break;
        }
    }
    at.is
}

/// Places in a name, of which most are few and close to each other.
struct Places {
    is: Vec<bool>,
    first: usize,
    last: usize,
}

impl Places {
    /// In a name of so many characters; behind the last one is a place, too.
    fn nowhere(end: usize) -> Self {
        Places { is: vec![false; end + 1], first: usize::MAX, last: 0 }
    }

    fn add(&mut self, place: usize) {
        self.is[place] = true;
        self.first = self.first.min(place);
        self.last = self.last.max(place);
    }

    fn is_nowhere(&self) -> bool {
        self.first > self.last
    }

    fn clear(&mut self) {
        if !self.is_nowhere() {
            self.is[self.first..=self.last].fill(false);
        }
        (self.first, self.last) = (usize::MAX, 0);
    }
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
    fn the_environment_is_taken_to_be_empty_and_named() {
        for (pattern, name) in [("~/*.yaml", "~"), ("a/$FOO/*.yaml", "$FOO"), ("$(FOO)/*.yaml", "$(FOO)")] {
            assert_eq!(Glob::new(pattern).environment(), Some(name));
        }
        check("a/$FOO/*.yaml", &["a/x.yaml"], &["a/$FOO/x.yaml"]);
        check("~/*.yaml", &[], &["~/x.yaml", "x.yaml"]);
        for literal in ["a/~/*x", "$A/*x", "$F-O/*x", "$(F/*x", "~", "$FOO/x"] {
            assert_eq!(Glob::new(literal).environment(), None, "{literal}");
        }
    }

    #[test]
    fn names_that_are_only_too_short_are_told_apart() {
        let glob = Glob::new("{config,prow}/*.yaml");
        assert_eq!(
            [glob.judge("prow/a.yaml"), glob.judge("prow/a.yml"), glob.judge("config/long.yaml")],
            [Match::TooShort, Match::No, Match::Yes]
        );
        assert_eq!(glob.shortest(), 13);
    }

    #[test]
    fn whether_a_folder_can_be_reached() {
        for (pattern, folder, reaches) in [
            ("a/**/*.yaml", "a", true),
            ("a/**/*.yaml", "a/b/c", true),
            ("a/**/*.yaml", "b", false),
            ("a/*.yaml", "a/b", false),
            ("a/*/x", "a/b", true),
            ("a/b/x", "a", true),
            ("a/b/x", "a/x", false),
            ("{a/b,c}/*", "a", true),
            ("{a/b,c}/*", "d", false),
            ("a*/x", "ab", true),
        ] {
            assert_eq!(Glob::new(pattern).reaches_below(folder), reaches, "{pattern} {folder}");
        }
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
