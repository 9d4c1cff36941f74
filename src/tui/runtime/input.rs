//! What feeds the channel: keys, ticks, snapshots, signals.

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{Event, EventStream, KeyCode, KeyEvent};
use futures::StreamExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::app::{Drill, Standing};
use super::super::msg::{Command, Exit, Msg, Signal};
use super::outside::RunSlot;
use super::terminal;
use super::{Keep, Session};
use crate::clock::{Clock, StoryClock};
use crate::model::Snapshot;

/// What arrives on the channel.
#[derive(Debug)]
pub enum Input {
    Key(KeyEvent),
    Msg(Msg),
    /// The shell put us into the foreground again.
    Continued,
    /// Some thread panicked; the hook has given the terminal back.
    Panicked,
}

/// The tasks that read.
pub struct Readers(Vec<JoinHandle<()>>);

impl Readers {
    pub fn abort(&self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// Starts them all. `patience`: how long after a signal the watchdog ends the process.
pub fn start(sender: &UnboundedSender<Input>, session: &Session, stop: &RunSlot, patience: Duration) -> Readers {
    let keys = tokio::spawn(keys(sender.clone()));
    let reading = keys.abort_handle();
    let pictures = pictures(sender.clone(), session.snapshots.clone(), session.keep.clone());
    let ticks = ticks(sender.clone(), session.clock.clone());
    let mut tasks = vec![keys, tokio::spawn(ticks), tokio::spawn(pictures)];
    if let Some(seat) = &session.seat {
        tasks.push(tokio::spawn(drill(sender.clone(), seat.name.clone(), seat.clock.clone(), seat.standing.clone())));
    }
    for (kind, what) in [
        (SignalKind::interrupt(), Signal::Interrupt),
        (SignalKind::terminate(), Signal::Terminate),
        (SignalKind::hangup(), Signal::HangUp),
        (SignalKind::quit(), Signal::Abort),
    ] {
        let (sender, stop, reading) = (sender.clone(), stop.clone(), reading.clone());
        tasks.push(on_signal(kind, move || {
            // At once, also while the screen is busy drawing to a terminal that no longer takes anything.
            stop.stop("a signal asked the program to end");
            // A dead terminal makes its reader spin.
            reading.abort();
            watchdog(patience, Exit::from(what));
            let _ = sender.send(Input::Msg(Msg::Signal(what)));
        }));
    }
    let to_shell = sender.clone();
    tasks.push(on_signal(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()), move || {
        let _ = to_shell.send(Input::Msg(Msg::Command(Command::Suspend)));
    }));
    let back = sender.clone();
    tasks.push(on_signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()), move || {
        let _ = back.send(Input::Continued);
    }));
    Readers(tasks)
}

async fn keys(sender: UnboundedSender<Input>) {
    let mut events = EventStream::new();
    loop {
        let input = match events.next().await {
            Some(Ok(Event::Key(key))) => Input::Key(key),
            Some(Ok(Event::Paste(text))) => Input::Msg(Msg::Paste(text)),
            Some(Ok(Event::Resize(width, height))) => Input::Msg(Msg::Resized(width, height)),
            Some(Ok(Event::FocusGained | Event::FocusLost | Event::Mouse(_))) => continue,
            // The terminal is gone.
            Some(Err(_)) | None => {
                let _ = sender.send(Input::Msg(Msg::Signal(Signal::HangUp)));
                return;
            }
        };
        if sender.send(input).is_err() {
            return;
        }
    }
}

async fn ticks(sender: UnboundedSender<Input>, clock: Clock) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        second.tick().await;
        if sender.send(Input::Msg(Msg::Tick(clock.now()))).is_err() {
            return;
        }
    }
}

/// Tells how a drill stands when that changes.
async fn drill(
    sender: UnboundedSender<Input>,
    name: String,
    clock: StoryClock,
    mut standing: watch::Receiver<Standing>,
) {
    while standing.changed().await.is_ok() {
        let drill = Drill { name: name.clone(), pace: clock.pace(), standing: *standing.borrow_and_update() };
        if sender.send(Input::Msg(Msg::Drill(drill))).is_err() {
            return;
        }
    }
}

/// Judges each newest snapshot away from the screen's thread.
async fn pictures(sender: UnboundedSender<Input>, mut snapshots: watch::Receiver<Arc<Snapshot>>, keep: Keep) {
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        let judged = Arc::clone(&snapshot);
        let Ok(diagnosis) = tokio::task::spawn_blocking(move || crate::diagnose::diagnose(&judged)).await else {
            // It panicked, and the hook has told.
            return;
        };
        let diagnosis = Arc::new(diagnosis);
        if sender.send(Input::Msg(Msg::Observed(Arc::clone(&snapshot), Arc::clone(&diagnosis)))).is_err() {
            return;
        }
        let keep = keep.clone();
        let Ok(kept) = tokio::task::spawn_blocking(move || keep(&snapshot, &diagnosis)).await else { return };
        if let Err(failure) = kept
            && sender.send(Input::Msg(Msg::Note(failure))).is_err()
        {
            return;
        }
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

fn on_signal(kind: SignalKind, act: impl Fn() + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        // A signal that cannot be listened to keeps its default effect.
        let Ok(mut signals) = signal(kind) else { return };
        while signals.recv().await.is_some() {
            act();
        }
    })
}

/// Ends the process where the orderly way out does not: a terminal that blocks, a request that never returns.
fn watchdog(patience: Duration, exit: Exit) {
    std::thread::spawn(move || {
        std::thread::sleep(patience);
        terminal::give_back_or_not(Duration::from_secs(1));
        std::process::exit(i32::from(exit.code()));
    });
}

/// Debug builds only: F12 panics where `PROW_BREAKGLASS_TEST_PANIC` says, `ui` or `task`, so that tests can look at the
/// terminal afterwards.
pub fn panic_if_asked(key: KeyEvent) {
    if !cfg!(debug_assertions) || key.code != KeyCode::F(12) {
        return;
    }
    #[expect(clippy::panic, reason = "a panic is what the test asks for")]
    match std::env::var("PROW_BREAKGLASS_TEST_PANIC").as_deref() {
        Ok("ui") => panic!("the test asked for a panic of the screen"),
        Ok("task") => {
            tokio::spawn(async { panic!("the test asked for a panic of a task") });
        }
        Ok(_) | Err(_) => {}
    }
}
