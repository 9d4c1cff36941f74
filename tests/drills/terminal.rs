//! The built program in a terminal.

use std::io::{Read as _, Write};
use std::num::NonZero;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use portable_pty::{CommandBuilder, NativePtySystem, PtySize, PtySystem as _};

use crate::program::{PROGRAM, Stage};

const ROWS: u16 = 36;
const COLUMNS: u16 = 120;
/// Of whatever is waited for, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program in a terminal, and how many keys it got.
pub struct Terminal {
    keys: Box<dyn Write + Send>,
    pub pressed: usize,
    pub screen: vt100::Parser,
    /// Each with the time at which it came.
    bytes: mpsc::Receiver<(Instant, Vec<u8>)>,
    pub all: String,
    /// What must not be on the screen.
    pub hidden: Vec<String>,
    child: Box<dyn portable_pty::Child + Send + Sync>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Only where a test failed: it is gone otherwise.
        let _ = self.child.kill();
    }
}

impl Terminal {
    pub fn start(stage: &Stage, args: &[&str]) -> Terminal {
        Terminal::run(Path::new(PROGRAM), stage, args)
    }

    /// Another build of the program.
    pub fn run(program: &Path, stage: &Stage, args: &[&str]) -> Terminal {
        let size = PtySize { rows: ROWS, cols: COLUMNS, pixel_width: 0, pixel_height: 0 };
        let pair = NativePtySystem::default().openpty(size).expect("a pseudo-terminal");
        let mut command = CommandBuilder::new(program);
        command.args(args);
        command.env_clear();
        for (name, value) in [("TERM", "xterm-256color"), ("LANG", "C.UTF-8")] {
            command.env(name, value);
        }
        command.env("TMPDIR", stage.path());
        command.cwd(stage.path());
        let child = pair.slave.spawn_command(command).expect("the program");
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().expect("its output");
        let (sender, bytes) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if sender.send((Instant::now(), buffer[..n].to_vec())).is_err() {
                    return;
                }
            }
        });
        let keys = pair.master.take_writer().expect("its input");
        let (rows, columns) = (NonZero::new(ROWS).expect("not 0"), NonZero::new(COLUMNS).expect("not 0"));
        Terminal {
            keys,
            pressed: 0,
            screen: vt100::Parser::new(rows, columns, 0),
            bytes,
            all: String::new(),
            hidden: Vec::new(),
            child,
        }
    }

    pub fn text(&self) -> String {
        self.screen.screen().contents()
    }

    /// Waits for the next piece of output and takes it in; when it came. `None`: there was none in time, or there is no more.
    pub fn read(&mut self, within: Duration) -> Option<Instant> {
        let (at, bytes) = self.bytes.recv_timeout(within).ok()?;
        self.screen.process(&bytes);
        self.all.push_str(&String::from_utf8_lossy(&bytes));
        Some(at)
    }

    pub fn process_id(&self) -> u32 {
        self.child.process_id().expect("it was started")
    }

    /// Reads on until something holds.
    pub fn until<T>(&mut self, what: &str, holds: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            assert!(!self.hidden.iter().any(|name| text.contains(name)), "{:?}:\n{text}", self.hidden);
            if let Some(found) = holds(&text) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if self.read(left).is_none() {
                panic!("{what} did not come after {} keys:\n{}", self.pressed, self.text());
            }
        }
    }

    pub fn press(&mut self, keys: &str) {
        self.pressed += keys.chars().count();
        self.keys.write_all(keys.as_bytes()).expect("keys");
    }

    /// The program's exit code, once it has ended by itself.
    pub fn ended(&mut self) -> u32 {
        let deadline = Instant::now() + PATIENCE;
        while self.read(deadline.saturating_duration_since(Instant::now())).is_some() {}
        self.child.wait().expect("its exit code").exit_code()
    }
}
