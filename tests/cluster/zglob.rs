//! Our globs against the Go library that Prow matches with: generated pairs of a pattern and a name, the same verdicts.

use std::io::Write as _;
use std::process::{Command, Stdio};

use prow_breakglass::prow::glob::Glob;

use crate::bed::handle;
use crate::bootstrapper::{Random, SEED, seed};

const PAIRS: usize = 100_000;

#[test]
fn globs_match_what_prows_library_matches() {
    let Some(program) = handle::program("zglob") else { return };
    let seed = seed();
    println!("{SEED}={seed}");
    let mut random = Random::new(seed);
    let mut pairs: Vec<(String, String)> = pathological();
    while pairs.len() < PAIRS {
        let pattern = pattern(&mut random);
        for _ in 0..4 {
            let name = name(&mut random, &pattern);
            pairs.push((pattern.clone(), name));
        }
    }
    let input: Vec<u8> = pairs.iter().flat_map(|(pattern, name)| format!("{pattern}\0{name}\0").into_bytes()).collect();
    let mut child = Command::new(program)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the program of Go");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("its answers");
    writer.join().expect("the writer").expect("it reads all");
    assert!(output.status.success() && output.stdout.len() == pairs.len(), "{:?}", output.status);
    let mut matched = 0;
    let mut wrong = Vec::new();
    for ((pattern, name), verdict) in pairs.iter().zip(output.stdout) {
        let ours = Glob::new(pattern).matches(name);
        matched += usize::from(verdict == b'1');
        if verdict != if ours { b'1' } else { b'0' } {
            wrong.push(format!("{pattern:?} {name:?}: ours {ours}, Go's {}", char::from(verdict)));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), pairs.len(), wrong[..wrong.len().min(20)].join("\n"));
    println!("{} pairs, {matched} match", pairs.len());
    assert!(matched > PAIRS / 10 && matched < PAIRS * 9 / 10, "worth comparing: {matched} match");
}

/// What makes matchers slow or deep.
fn pathological() -> Vec<(String, String)> {
    let many = |part: &str, count| part.repeat(count);
    vec![
        (many("*a", 30), many("a", 60)),
        (many("*a", 30), many("a", 59) + "b"),
        (many("**/", 20) + "x", many("a/", 40) + "x"),
        (many("**/a", 12), many("a/", 40)),
        (format!("*/{{{}}}", many("a,", 500)), "x/a".to_owned()),
        (format!("*{}", many("{a,aa}", 20)), many("a", 50)),
        (many("[", 300) + "*", many("[", 301)),
        (many("{", 50) + "*" + &many("}", 50), "{{".to_owned()),
        (many("*", 300), many("x", 300)),
        ("*\u{10ffff}*".to_owned(), "a\u{10ffff}b".to_owned()),
        ("\u{ff}*\u{100}".to_owned(), "\u{ff}\u{100}".to_owned()),
        (many("a/", 200) + "*", many("a/", 200) + "bbbb"),
    ]
}

const PARTS: [&str; 44] = [
    "*", "*", "*", "*", "**", "**", "***", "a", "b", "ab", "config", "x.yaml", ".yaml", ".", "..", "-", "{a,b}",
    "{a,}", "{,}", "{}", "{", "}", "{ab", "{a*,b}", "{a/b,c}", "{a,{b}}", "[ab]", "?", "\\", "+", "(", ")", "|", "^",
    "$", "ü", "中", "\n", " ", "~", "$HOME", "$(A1)", "$X1", "$_",
];

fn pattern(random: &mut Random) -> String {
    let segments = 1 + random.below(4);
    let segment = |random: &mut Random| -> String {
        // Whole segments that mean something.
        if random.one_in(4) {
            return random.of(&["**", "**", "*", "..", ".", "", "~", "$X1", "$(A1)"]).to_owned();
        }
        (0..1 + random.below(3)).map(|_| random.of(&PARTS)).collect()
    };
    let all: Vec<String> = (0..segments).map(|_| segment(random)).collect();
    all.join("/")
}

/// A name that the pattern is likely to match, or nearly.
fn name(random: &mut Random, pattern: &str) -> String {
    let mut name = String::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let directories = rest.starts_with("**/");
        match c {
            '*' if directories && random.one_in(2) => {
                name += random.of(&["", "a/", "a/b/", "/", "\n/", "config/x/"]);
                rest = &rest[3..];
                continue;
            }
            '*' => name += random.of(&["", "a", "ab", ".", "x.yaml", "ü", "\n", "/", "中b"]),
            '{' if random.one_in(3) => {
                let inside = rest[1..].split('}').next().unwrap_or_default();
                let choices: Vec<&str> = inside.split(',').collect();
                name += random.of(&choices);
                rest = rest[1 + inside.len()..].strip_prefix('}').unwrap_or_default();
                continue;
            }
            '~' | '$' if random.one_in(2) => {}
            c => name.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    // The pattern is cleaned, so clean some names too.
    if random.one_in(2) {
        name = name.replace("/./", "/").replace("//", "/").trim_end_matches('/').to_owned();
        name = name.strip_prefix("./").map_or(name.clone(), str::to_owned);
    }
    match random.below(12) {
        0 => name + "x",
        1 => format!("a{name}"),
        2 => name.chars().skip(1).collect(),
        3 => (0..random.below(6)).map(|_| random.of(&PARTS)).collect(),
        4 => name.replacen('a', "b", 1),
        _ => name,
    }
}
