//! The program in a pseudo-terminal, as a person at a terminal has it: keys go in, a screen comes out.
//!
//! Nothing here sleeps: a test says what it waits to see ([`Terminal::see`]), and a screen that never shows it fails with
//! the screen in the message. `stty -g` of the terminal is taken before the program starts; [`Ended::is_clean`] holds the
//! end against it.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portable_pty::{Child, ChildKiller, CommandBuilder, ExitStatus, MasterPty, PtySize, SlavePty, native_pty_system};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal};

use crate::bed::Bed;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

pub const ESC: &str = "\x1b";
pub const ENTER: &str = "\r";
pub const TAB: &str = "\t";
pub const DOWN: &str = "\x1b[B";
pub const CTRL_C: &str = "\x03";
pub const F12: &str = "\x1b[24~";

pub const LARGE: Size = Size { columns: 120, rows: 36 };
pub const SMALL: Size = Size { columns: 80, rows: 24 };
pub const TINY: Size = Size { columns: 60, rows: 15 };

/// Of a terminal.
#[derive(Clone, Copy)]
pub struct Size {
    columns: u16,
    rows: u16,
}

impl Size {
    fn of_pty(self) -> PtySize {
        PtySize { rows: self.rows, cols: self.columns, pixel_width: 0, pixel_height: 0 }
    }

    fn of_screen(self) -> (NonZeroU16, NonZeroU16) {
        let some = |n| NonZeroU16::new(n).expect("a terminal has rows and columns");
        (some(self.rows), some(self.columns))
    }
}

/// How the program is started.
pub struct Start {
    size: Size,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Start {
    /// On a bed, as its oncall, in a terminal of this size; the journal is the test's own.
    pub fn on(bed: &Bed, size: Size, journal: &str) -> Self {
        Start { size, args: Vec::new(), env: Vec::new() }
            .option("--kubeconfig", bed.kubeconfig())
            .option("--context", bed.fact("context"))
            .option("--repo", bed.repository())
            .option("--journal", journal)
    }

    pub fn option(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.args.push(name.to_owned());
        self.args.push(value.as_ref().to_string_lossy().into_owned());
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it.
    pub fn open(self) -> Terminal {
        Terminal::open(&self)
    }
}

/// A pseudo-terminal with the program in it.
pub struct Terminal {
    master: Box<dyn MasterPty + Send>,
    /// Kept open, so that what the program wrote last is not lost with its end.
    _slave: Box<dyn SlavePty + Send>,
    tty: PathBuf,
    keys: Box<dyn std::io::Write + Send>,
    screen: Arc<Screen>,
    pid: Pid,
    killer: Box<dyn ChildKiller + Send + Sync>,
    ended: Receiver<ExitStatus>,
    settings: String,
}

/// What the terminal shows, and the news that it changed.
struct Screen {
    parser: Mutex<vt100::Parser>,
    changed: Condvar,
}

impl Screen {
    fn lock(&self) -> MutexGuard<'_, vt100::Parser> {
        self.parser.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the screen is so, and gives it back as text.
    fn wait(&self, what: &str, so: impl Fn(&vt100::Screen, &str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut parser = self.lock();
        loop {
            let text = parser.screen().contents();
            if so(parser.screen(), &text) {
                return text;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the screen never showed {what}; it shows\n{text}\n");
            parser = self.changed.wait_timeout(parser, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Terminal {
    fn open(start: &Start) -> Self {
        let pty = native_pty_system().openpty(start.size.of_pty()).expect("a pseudo-terminal");
        let tty = pty.master.tty_name().expect("its name");
        let settings = stty(&tty);
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_prow-breakglass"));
        command.args(&start.args);
        command.env_clear();
        // git is looked for there.
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("TERM", "xterm-256color");
        for (name, value) in &start.env {
            command.env(name, value);
        }
        let child = pty.slave.spawn_command(command).expect("start the program");
        let pid = child.process_id().and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("its pid");
        let killer = child.clone_killer();
        let (rows, columns) = start.size.of_screen();
        let screen =
            Arc::new(Screen { parser: Mutex::new(vt100::Parser::new(rows, columns, 1000)), changed: Condvar::new() });
        let reader = pty.master.try_clone_reader().expect("its output");
        follow(reader, Arc::clone(&screen));
        let keys = pty.master.take_writer().expect("its input");
        let ended = wait_for_end(child);
        Terminal { master: pty.master, _slave: pty.slave, tty, keys, screen, pid, killer, ended, settings }
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) -> &mut Self {
        self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush()).expect("the terminal takes keys");
        self
    }

    /// Waits until the screen shows this, and gives back the screen.
    pub fn see(&self, text: &str) -> String {
        self.see_all(&[text])
    }

    /// Waits until the screen shows all of this at once, be it wrapped.
    pub fn see_all(&self, texts: &[&str]) -> String {
        self.see_that(&format!("{texts:?}"), |screen| {
            let unwrapped = unwrapped(screen);
            texts.iter().all(|text| screen.contains(text) || unwrapped.contains(text))
        })
    }

    /// Waits until the screen is so.
    pub fn see_that(&self, what: &str, so: impl Fn(&str) -> bool) -> String {
        self.screen.wait(what, |_, text| so(text))
    }

    /// What it shows now.
    pub fn now(&self) -> String {
        self.screen.lock().screen().contents()
    }

    /// The words that a plan demands, off the screen: there once it is armed and previewed.
    pub fn confirmation(&self) -> String {
        let screen = self.see("To run it, type");
        let mut lines = screen.lines().skip_while(|line| !line.contains("To run it, type"));
        lines.nth(1).expect("the words stand in the next line").trim().to_owned()
    }

    /// Types what the plan demands, and Enter.
    pub fn confirm(&mut self) {
        self.send_confirmation();
        self.see("[6 Run]");
    }

    /// The same, of a run that may be over before it is drawn.
    pub fn send_confirmation(&mut self) {
        let words = self.confirmation();
        self.press(&words);
        self.see(&format!("> {words}_"));
        self.press(ENTER);
    }

    /// `p`, and waits until the server's dry run was answered.
    pub fn plan(&mut self) -> String {
        self.press("p");
        self.see_that("an answered dry run", |text| {
            text.contains("[5 Plan]") && (text.contains("READ-ONLY: A to arm") || text.contains("To run it, type"))
        })
    }

    /// `A` and the context's short name.
    pub fn arm(&mut self, alias: &str) {
        self.press("A");
        self.see(&format!("Type `{alias}`"));
        self.press(alias);
        self.see(&format!("> {alias}_"));
        self.press(ENTER);
        self.see("ARMED 60m");
    }

    /// Makes the window another size.
    pub fn resize(&mut self, size: Size) {
        let (rows, columns) = size.of_screen();
        self.screen.lock().screen_mut().set_size(rows, columns);
        self.master.resize(size.of_pty()).expect("resize");
    }

    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid, signal).expect("the program still runs");
    }

    /// Waits for the end.
    pub fn end(mut self) -> Ended {
        let status = self.ended.recv_timeout(PATIENCE);
        let Ok(status) = status else {
            let _ = self.killer.kill();
            panic!("the program did not end; the screen shows\n{}\n", self.now());
        };
        // All that it wrote before its end is on the screen once this mark is.
        let mark = format!("end-of-{}", self.pid.as_raw_nonzero());
        let mut tty = std::fs::File::from(open(&self.tty));
        writeln!(tty, "{mark}").expect("the terminal is still there");
        let text = self.screen.wait("the mark", |_, text| text.contains(&mark));
        let parser = self.screen.lock();
        let screen = parser.screen();
        Ended {
            code: status.exit_code(),
            text: text.replace(&mark, ""),
            full_screen: screen.alternate_screen(),
            hidden_cursor: screen.hide_cursor(),
            bracketed_paste: screen.bracketed_paste(),
            before: self.settings.clone(),
            after: stty(&self.tty),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test that failed leaves no program behind.
        let _ = self.killer.kill();
    }
}

/// How it ended, and what it left.
#[derive(Debug)]
pub struct Ended {
    pub code: u32,
    /// The normal screen.
    pub text: String,
    full_screen: bool,
    hidden_cursor: bool,
    bracketed_paste: bool,
    before: String,
    after: String,
}

impl Ended {
    /// The terminal is as it was.
    pub fn is_clean(&self) {
        assert_eq!(self.before, self.after, "stty -g");
        assert!(!self.full_screen, "the alternate screen is left");
        assert!(!self.hidden_cursor, "the cursor is shown");
        assert!(!self.bracketed_paste, "bracketed paste is off");
    }
}

/// Text without its line breaks and indents.
pub fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn follow(mut reader: Box<dyn std::io::Read + Send>, screen: Arc<Screen>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(read @ 1..) = reader.read(&mut buffer) {
            screen.lock().process(&buffer[..read]);
            screen.changed.notify_all();
        }
    });
}

fn wait_for_end(mut child: Box<dyn Child + Send + Sync>) -> Receiver<ExitStatus> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        if let Ok(status) = child.wait() {
            let _ = sender.send(status);
        }
    });
    receiver
}

/// The terminal, without its becoming the test's own.
fn open(tty: &Path) -> OwnedFd {
    rustix::fs::open(tty, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("open the terminal")
}

/// All settings of a terminal, as `stty -g` prints them.
fn stty(tty: &Path) -> String {
    let mut command = std::process::Command::new("stty");
    let output = command.arg("-g").stdin(Stdio::from(open(tty))).output().expect("run stty");
    assert!(output.status.success(), "stty -g: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
