//! The terminal, taken and given back. It is given back from any thread and at most once, by the way out, by a panic or by
//! the watchdog; after that nothing draws.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::Duration;

use crossterm::clipboard::CopyToClipboard;
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use crossterm::{Command, cursor};
use ratatui::Frame;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use tokio::sync::mpsc::UnboundedSender;

use super::input::Input;
use crate::model::{Failure, FailureKind};

/// True while the terminal is ours.
static OURS: AtomicBool = AtomicBool::new(false);
/// Held while a frame is written, so that nothing is drawn after the terminal was given back.
static DRAWING: Mutex<()> = Mutex::new(());
/// A file of its own for the terminal: the lock of `stdout` may be held by a thread that hangs.
static TERMINAL: OnceLock<File> = OnceLock::new();

thread_local! {
    /// This thread holds [`DRAWING`]: if it panics, it must not wait for itself.
    static HERE: Cell<bool> = const { Cell::new(false) };
}

/// The terminal while it is ours.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<File>>>,
}

impl Screen {
    /// Takes the terminal. A panic of any thread gives it back and is told on the channel.
    ///
    /// # Errors
    /// There is none.
    pub fn enter(sender: &UnboundedSender<Input>) -> Result<Self, Failure> {
        let open = || -> io::Result<Terminal<CrosstermBackend<BufWriter<File>>>> {
            let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
            let _ = TERMINAL.set(file.try_clone()?);
            take()?;
            Terminal::new(CrosstermBackend::new(BufWriter::new(file)))
        };
        let terminal = open().map_err(|error| {
            give_back();
            Failure::new(FailureKind::Usage, "no terminal to draw on")
                .cause(error.to_string())
                .hint("use `prow-breakglass status`, which needs none")
        })?;
        let previous = std::panic::take_hook();
        let sender = sender.clone();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            previous(panic);
            let _ = sender.send(Input::Panicked);
        }));
        Ok(Screen { terminal })
    }

    pub fn size(&self) -> (u16, u16) {
        self.terminal.size().map_or((0, 0), |size| (size.width, size.height))
    }

    /// Draws a frame, if the terminal is still ours.
    ///
    /// # Errors
    /// It takes nothing any more.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        let lock = lock();
        HERE.set(true);
        let drawn = if OURS.load(Ordering::Acquire) { self.terminal.draw(draw).map(|_| ()) } else { Ok(()) };
        HERE.set(false);
        drop(lock);
        drawn
    }

    /// Puts text on the clipboard of the terminal's own machine. tmux passes it on by itself, or wrapped, depending on
    /// its settings; the other is ignored.
    pub fn copy(&mut self, text: &str) {
        let mut sequence = String::new();
        if CopyToClipboard::to_clipboard_from(text).write_ansi(&mut sequence).is_err() {
            return;
        }
        let wrapped = std::env::var_os("TMUX")
            .map(|_| format!("\x1bPtmux;{}\x1b\\", sequence.replace('\x1b', "\x1b\x1b")))
            .unwrap_or_default();
        let lock = lock();
        if OURS.load(Ordering::Acquire) {
            write(format!("{sequence}{wrapped}").as_bytes());
        }
        drop(lock);
    }

    /// Gives the terminal to the shell and stops, until `fg`: SIGCONT then leads to [`Screen::enter_again`]. Not from
    /// here: another thread may be the one that takes the signal, and this one runs on for a moment.
    pub fn suspend(&mut self) {
        give_back();
        if rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP).is_err() {
            self.enter_again();
        }
    }

    /// Takes the terminal again, after the shell had it.
    pub fn enter_again(&mut self) {
        if take().is_ok()
            && let Ok(size) = self.terminal.size()
        {
            // What the shell left on it is not what we drew. Not `clear`, which asks the terminal where its cursor is and
            // waits for the answer.
            let _ = self.terminal.resize(Rect::new(0, 0, size.width, size.height));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
        // The default hook again: ours would tell a channel that nobody reads.
        if !std::thread::panicking() {
            drop(std::panic::take_hook());
        }
    }
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    OURS.store(true, Ordering::Release);
    write(&ansi(&[&EnterAlternateScreen, &EnableBracketedPaste, &cursor::Hide]));
    Ok(())
}

/// Raw mode off, normal screen, cursor, no bracketed paste. Does nothing the second time.
pub fn give_back() {
    if !OURS.swap(false, Ordering::AcqRel) {
        return;
    }
    // First what cannot block.
    let _ = disable_raw_mode();
    let _lock = if HERE.get() { None } else { lock_soon() };
    write(&ansi(&[&DisableBracketedPaste, &LeaveAlternateScreen, &cursor::Show]));
}

/// The same, not waiting longer than this for a terminal that takes nothing.
pub fn give_back_or_not(within: Duration) {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        give_back();
        let _ = done.send(());
    });
    let _ = wait.recv_timeout(within);
}

/// Lines on the normal screen. A terminal that is gone is no error here.
pub fn say(lines: &[String]) {
    let mut out = io::stderr().lock();
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
}

fn ansi(commands: &[&dyn WriteAnsi]) -> Vec<u8> {
    let mut out = String::new();
    for command in commands {
        command.append(&mut out);
    }
    out.into_bytes()
}

/// `crossterm::Command`, made into an object.
trait WriteAnsi {
    fn append(&self, out: &mut String);
}

impl<C: Command> WriteAnsi for C {
    fn append(&self, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = self.write_ansi(out);
    }
}

fn write(bytes: &[u8]) {
    if let Some(mut file) = TERMINAL.get() {
        let _ = file.write_all(bytes);
    }
}

fn lock() -> MutexGuard<'static, ()> {
    DRAWING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lock, unless whoever holds it hangs.
fn lock_soon() -> Option<MutexGuard<'static, ()>> {
    for _ in 0..100 {
        match DRAWING.try_lock() {
            Ok(lock) => return Some(lock),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    None
}
