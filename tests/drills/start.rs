//! From the command to the first complete Overview of the default drill: time, processor time and peak memory. A measurement and
//! no test: it prints, and judges nothing but that the Overview comes.
//!
//! ```text
//! cargo build --release && cargo test --test drills start:: -- --ignored --nocapture
//! ```
//!
//! Complete is the first frame that says what the screen goes on to say: nothing is changed, added or withdrawn after it but ages.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::program::{PROGRAM, Stage};
use crate::terminal::Terminal;

const RUNS: usize = 15;
/// What does not change for so long is final; the first tick of the clock lies within it.
const STILL: Duration = Duration::from_millis(1500);

/// What one start took.
#[derive(Debug, Clone, Copy)]
struct Start {
    wall: Duration,
    processor: Duration,
    peak_kib: u64,
}

/// What it is called, and how it is read.
type Figure = (&'static str, fn(&Start) -> f64);

#[test]
#[ignore = "a measurement of the release build: see CONTRIBUTING.md"]
fn to_the_first_complete_overview() {
    let program = release();
    let runs: Vec<Start> = (0..RUNS).map(|_| start(&program)).collect();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{} runs of {}; load {}", RUNS, program.display(), load.trim());
    let figures: [Figure; 3] = [
        ("wall ms", |start| start.wall.as_secs_f64() * 1e3),
        ("user+sys ms", |start| start.processor.as_secs_f64() * 1e3),
        ("peak MiB", |start| start.peak_kib as f64 / 1024.0),
    ];
    for (name, figure) in figures {
        let mut values: Vec<f64> = runs.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        println!("{name:<12} best {:6.1}  median {:6.1}  worst {:6.1}", values[0], values[RUNS / 2], values[RUNS - 1]);
    }
}

/// Beside the build that cargo made for this test.
fn release() -> PathBuf {
    let target = Path::new(PROGRAM).ancestors().nth(2).expect("target/debug/program");
    let program = target.join("release").join(Path::new(PROGRAM).file_name().expect("its name"));
    assert!(program.exists(), "{} is not there: cargo build --release", program.display());
    program
}

fn start(program: &Path) -> Start {
    let stage = Stage::new();
    let begun = Instant::now();
    let mut terminal = Terminal::run(program, &stage, &["drill"]);
    let process = PathBuf::from(format!("/proc/{}", terminal.process_id()));
    let mut frames: Vec<(String, Start)> = Vec::new();
    loop {
        let last = frames.last().map_or(begun, |(_, start)| begun + start.wall);
        let complete = frames.last().is_some_and(|(text, _)| text.contains("NEXT "));
        let left = STILL.saturating_sub(last.elapsed());
        let within = if complete { left } else { Duration::from_secs(60) };
        let Some(at) = terminal.read(within) else { break };
        let text = without_ages(&terminal.text());
        // A frame that says the same is no new one.
        if frames.last().is_none_or(|(before, _)| *before != text) {
            let (processor, peak_kib) = used(&process);
            frames.push((text, Start { wall: at - begun, processor, peak_kib }));
        }
    }
    let (text, start) = frames.last().expect("a frame");
    assert!(text.contains("NEXT plan rollback") && !text.contains("no answer yet"), "{text}");
    let start = *start;
    terminal.press("q");
    terminal.ended();
    start
}

/// The screen but for its first line, where the clock is, and for words like `41s` and `8m`.
fn without_ages(screen: &str) -> String {
    let is_age = |word: &str| {
        let digits = word.trim_end_matches(|c: char| c.is_ascii_lowercase());
        !digits.is_empty() && digits.len() < word.len() && digits.chars().all(|c| c.is_ascii_digit())
    };
    let words = |line: &str| line.split_whitespace().filter(|word| !is_age(word)).collect::<Vec<_>>().join(" ");
    screen.lines().skip(1).map(words).collect::<Vec<_>>().join("\n")
}

/// Processor time of all threads that are there, and the most memory that was resident, in KiB.
fn used(process: &Path) -> (Duration, u64) {
    let number = |text: &str| text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    let threads = std::fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    let times = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok());
    let processor = Duration::from_nanos(times.map(|text| number(&text)).sum());
    let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map_or(0, number);
    (processor, peak)
}
