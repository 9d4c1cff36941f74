//! The runtime in a pseudo-terminal: whatever ends it, the terminal is as before.
//!
//! The program under test is this very test binary, started again with [`CHILD`] set: then the test [`child`] runs the
//! front end on the incident instead of testing anything.

use std::io::{Read as _, Write};
use std::num::NonZero;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use portable_pty::{CommandBuilder, NativePtySystem, PtyPair, PtySize, PtySystem as _};
use prow_breakglass::clock::Clock;
use prow_breakglass::diagnose::Diagnosis;
use prow_breakglass::journal::Journal;
use prow_breakglass::model::{Failure, FailureKind, Snapshot};
use prow_breakglass::run::Clusters;
use prow_breakglass::tui::{Planner, Session, run};
use rustix::process::{Pid, Signal, kill_process};

use crate::hands::THEME;
use crate::support;

const CHILD: &str = "SCREENS_CHILD";
const PANIC: &str = "PROW_BREAKGLASS_TEST_PANIC";
/// Set where the child shall have no journal to keep anything in.
const NO_JOURNAL: &str = "SCREENS_NO_JOURNAL";
/// F12, as xterm sends it.
const F12: &[u8] = b"\x1b[24~";

#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let (_keep, snapshots) = tokio::sync::watch::channel(Arc::new(support::incident()));
    let journal = Journal::for_reading(std::env::temp_dir().join("prow-breakglass-no-journal"));
    let refresh = Arc::new(|| {});
    let keep = Arc::new(|_: &Snapshot, diagnosis: &Diagnosis| match std::env::var_os(NO_JOURNAL) {
        Some(_) if !diagnosis.refused.is_empty() => Err(Failure::new(FailureKind::Tool, "cannot write the journal")),
        Some(_) | None => Ok(()),
    });
    let notes = match std::env::var_os(NO_JOURNAL) {
        Some(_) => vec![Failure::new(FailureKind::Tool, "cannot read the journal")],
        None => Vec::new(),
    };
    let plan: Planner = Arc::new(|request, snapshot, diagnosis| {
        Box::pin(async move { prow_breakglass::repair::plan(&request, &snapshot, &diagnosis).map_err(Failure::from) })
    });
    let (clusters, timeout) = (Arc::new(Clusters::new), Duration::from_secs(5));
    let session = Session {
        snapshots,
        refresh,
        keep,
        plan,
        clusters,
        clock: Clock::Wall,
        timeout,
        journal,
        notes,
        theme: THEME,
        seat: None,
    };
    eprintln!("PID={}", std::process::id());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let code = match runtime.block_on(run(session)) {
        Ok(summary) => summary.exit_code(),
        Err(failure) => {
            eprintln!("{failure}");
            failure.kind.exit_code()
        }
    };
    std::process::exit(i32::from(code));
}

/// The child in its terminal, between two `stty -g`.
struct Terminal {
    pair: PtyPair,
    keys: Box<dyn Write + Send>,
    screen: vt100::Parser,
    bytes: mpsc::Receiver<Vec<u8>>,
    all: String,
    shell: Box<dyn portable_pty::Child + Send + Sync>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Only where a test failed: the shell is gone otherwise.
        let _ = self.shell.kill();
    }
}

impl Terminal {
    fn start(env: &[(&str, &str)]) -> Self {
        let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
        let pair = NativePtySystem::default().openpty(size).expect("a pseudo-terminal");
        let mut command = CommandBuilder::new("sh");
        let binary = std::env::current_exe().expect("this test binary");
        let script = format!(
            "echo BEFORE=$(stty -g); '{}' terminal::child --exact --nocapture; echo CODE=$?; echo AFTER=$(stty -g) END=",
            binary.display()
        );
        command.args(["-c", &script]);
        command.env(CHILD, "1");
        command.env("TERM", "xterm-256color");
        command.env("RUST_BACKTRACE", "0");
        for (name, value) in env {
            command.env(name, value);
        }
        let shell = pair.slave.spawn_command(command).expect("a shell");
        let mut reader = pair.master.try_clone_reader().expect("its output");
        let (sender, bytes) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        let keys = pair.master.take_writer().expect("its input");
        let (rows, columns) = (NonZero::new(24).expect("not 0"), NonZero::new(80).expect("not 0"));
        let screen = vt100::Parser::new(rows, columns, 0);
        let mut terminal = Terminal { pair, keys, screen, bytes, all: String::new(), shell };
        terminal.until("the first picture", |terminal| terminal.screen.screen().contents().contains("BROKEN since"));
        assert!(terminal.screen.screen().alternate_screen());
        assert!(terminal.screen.screen().bracketed_paste());
        terminal
    }

    /// Reads on until something holds.
    fn until(&mut self, what: &str, holds: impl Fn(&Terminal) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !holds(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.bytes.recv_timeout(left) {
                Ok(bytes) => {
                    self.screen.process(&bytes);
                    self.all.push_str(&String::from_utf8_lossy(&bytes));
                }
                Err(_) => panic!("{what} did not come:\n{}\n{:?}", self.screen.screen().contents(), self.all),
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.keys.write_all(bytes).expect("keys");
    }

    fn word_after(&self, word: &str) -> String {
        self.all.split(word).nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap_or_default().to_owned()
    }

    fn pid(&self) -> i32 {
        self.word_after("PID=").parse().expect("the child's pid")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).expect("a pid"), signal).expect("a signal");
    }

    /// Until the kernel says that the child is stopped: a SIGCONT before that would be lost.
    fn wait_until_stopped(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let stat = format!("/proc/{}/stat", self.pid());
        while !std::fs::read_to_string(&stat).expect("its state").contains(") T ") {
            assert!(Instant::now() < deadline, "the child did not stop");
            std::thread::yield_now();
        }
    }

    /// The child's exit code, once the terminal is found as it was.
    fn ended(&mut self) -> String {
        self.until("the end", |terminal| terminal.all.contains(" END=\r\n"));
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen(), "the normal screen");
        assert!(!screen.hide_cursor(), "its cursor");
        assert!(!screen.bracketed_paste(), "no bracketed paste");
        assert_eq!(self.word_after("BEFORE="), self.word_after("AFTER="), "stty -g");
        self.word_after("CODE=")
    }
}

#[test]
fn keys_end_it() {
    for (keys, code) in [("q", "0"), ("\x03", "130")] {
        let mut terminal = Terminal::start(&[]);
        terminal.send(keys.as_bytes());
        assert_eq!(terminal.ended(), code, "{keys:?}");
    }
}

#[test]
fn what_is_refused_is_kept_and_a_journal_that_cannot_be_written_is_a_line() {
    let mut terminal = Terminal::start(&[(NO_JOURNAL, "1")]);
    terminal.until("the line", |terminal| {
        let contents = terminal.screen.screen().contents();
        let lines = ["NOTE  cannot read the journal", "NOTE  cannot write the journal", "BROKEN since"];
        lines.into_iter().all(|line| contents.contains(line))
    });
    terminal.send(b"q");
    assert_eq!(terminal.ended(), "0");
}

#[test]
fn signals_end_it() {
    for (signal, code) in [(Signal::INT, "130"), (Signal::TERM, "143"), (Signal::HUP, "129"), (Signal::QUIT, "131")] {
        let mut terminal = Terminal::start(&[]);
        terminal.signal(signal);
        assert_eq!(terminal.ended(), code, "{signal:?}");
    }
}

#[test]
fn panics_of_any_thread_give_the_terminal_back_and_are_told() {
    for (place, words) in [("ui", "a panic of the screen"), ("task", "a panic of a task")] {
        let mut terminal = Terminal::start(&[(PANIC, place)]);
        terminal.send(F12);
        assert_eq!(terminal.ended(), "2", "{place}");
        let contents = terminal.screen.screen().contents();
        assert!(contents.contains(words), "{contents}");
        assert!(contents.contains("the program panicked; nothing more was sent"), "{contents}");
    }
}

#[test]
fn it_can_be_suspended_and_comes_back() {
    let mut terminal = Terminal::start(&[]);
    terminal.send(b"\x1a");
    terminal.until("the shell's screen", |terminal| !terminal.screen.screen().alternate_screen());
    assert!(!terminal.screen.screen().hide_cursor());
    terminal.wait_until_stopped();
    terminal.signal(Signal::CONT);
    terminal.until("the picture again", |terminal| {
        let screen = terminal.screen.screen();
        screen.alternate_screen() && screen.contents().contains("BROKEN since")
    });
    terminal.send(b"q");
    assert_eq!(terminal.ended(), "0");
}

#[test]
fn a_paste_arrives_as_a_paste() {
    let mut terminal = Terminal::start(&[]);
    terminal.send(b"A\x1b[200~prow-services\x1b[201~");
    terminal.until("the answer to the paste", |terminal| {
        terminal.screen.screen().contents().contains("paste is ignored here: read it")
    });
    terminal.send(b"\x03");
    assert_eq!(terminal.ended(), "130");
}

#[test]
fn it_follows_the_terminals_size() {
    let mut terminal = Terminal::start(&[]);
    let small = PtySize { rows: 20, cols: 70, pixel_width: 0, pixel_height: 0 };
    terminal.pair.master.resize(small).expect("a smaller terminal");
    terminal.until("the message", |terminal| terminal.screen.screen().contents().contains("too small: 70x20"));
    terminal.send(b"q");
    assert_eq!(terminal.ended(), "0");
}
