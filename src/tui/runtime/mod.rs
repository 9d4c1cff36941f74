//! The only room of the front end that does I/O: it feeds messages to `update`, carries out its effects, and draws once
//! for each batch of messages.
//!
//! Everything arrives on one channel: keys, ticks, snapshots, answers, run events, signals, panics. There is one way
//! out: the run, if one goes on, finishes its request in flight and its journal; the terminal is given back; then the
//! summary is printed on the normal screen. A watchdog thread ends the process where even that does not happen.

mod input;
mod outside;
mod terminal;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::app::{App, Drill, Standing};
use super::keymap;
use super::msg::{Effect, Exit, Msg, Signal};
use super::theme::Theme;
use super::update::update;
use super::view::view;
use crate::clock::{Clock, Pace, StoryClock};
use crate::diagnose::Diagnosis;
use crate::journal::Journal;
use crate::model::{Failure, FailureKind, RunEvent, RunSummary, Snapshot};
use crate::repair::{Plan, Request};
use crate::run::{Clusters, StopToken};

use input::Input;
use terminal::Screen;

/// Messages taken in before the next frame is drawn.
const BATCH: usize = 1000;

/// How long the way out may take beyond the requests' own time.
const GRACE: Duration = Duration::from_secs(10);

/// How long the step in flight may take, where each of its requests takes all its time: read, write and read-back, and all
/// of it once more where somebody else wrote in between. Cut off before that, an outcome that could be known would be lost.
fn way_out(timeout: Duration) -> Duration {
    timeout * 6 + GRACE
}

/// Writes down what is new in a picture.
pub type Keep = Arc<dyn Fn(&Snapshot, &Diagnosis) -> Result<(), Failure> + Send + Sync>;

/// Makes a plan from a picture; asks about what it would leave where somebody can be asked, which may take a while.
pub type Planner =
    Arc<dyn Fn(Request, Arc<Snapshot>, Arc<Diagnosis>) -> BoxFuture<'static, Result<Plan, Failure>> + Send + Sync>;

/// Aborts in a drill's Deck what goes on of a job.
pub type Abort = Arc<dyn Fn(&str) -> Result<(), Failure> + Send + Sync>;

/// What the front end works with.
pub struct Session {
    /// The newest snapshot; older ones are dropped unseen.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Reads everything again now.
    pub refresh: Arc<dyn Fn() + Send + Sync>,
    /// Writes down what a picture shows and a later one will not. Blocks.
    pub keep: Keep,
    pub plan: Planner,
    /// The clusters that may be planned on now: a build cluster may be proven later.
    pub clusters: Arc<dyn Fn() -> Clusters + Send + Sync>,
    /// What pictures are dated with.
    pub clock: Clock,
    /// Of each request.
    pub timeout: Duration,
    pub journal: Journal,
    /// What failed so far and stopped nobody: a line each on the Overview.
    pub notes: Vec<Failure>,
    pub theme: Theme,
    /// Where all this is a drill.
    pub seat: Option<Seat>,
}

/// A person's seat in a drill.
pub struct Seat {
    pub name: String,
    /// What the person should know first.
    pub welcome: String,
    /// What the oncall is told: the help repeats it.
    pub story: String,
    /// Its time.
    pub clock: StoryClock,
    /// Changes the pace of the whole drill, not of its clock alone.
    pub set_pace: Arc<dyn Fn(Pace) + Send + Sync>,
    pub standing: watch::Receiver<Standing>,
    pub abort: Abort,
    /// Told what the program refuses.
    pub refused: Arc<dyn Fn(&Failure) + Send + Sync>,
}

/// How the session ended.
#[derive(Debug, Clone, PartialEq)]
pub struct ExitSummary {
    pub exit: Exit,
    /// The last run of the session.
    pub run: Option<RunSummary>,
}

impl ExitSummary {
    /// A signal's code, as a shell reports it; else the last run's; else 0.
    pub fn exit_code(&self) -> u8 {
        match (self.exit, &self.run) {
            (Exit::Quit, Some(run)) => run.exit_code(),
            (Exit::Quit, None) => 0,
            (Exit::Interrupted | Exit::Terminated | Exit::HungUp | Exit::Aborted, _) => self.exit.code(),
        }
    }

    /// What is left to read on the normal screen.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.outcome();
        let Some(run) = &self.run else { return lines };
        if !run.journal.is_empty() {
            lines.push(format!("journal: {}", run.journal));
        }
        if run.unknown + run.left > 0 && !run.run.is_empty() {
            lines.push(format!("to go on: prow-breakglass run resume {}", run.run));
        }
        lines
    }

    /// What became of the last run. It is all there is to say of a drill, whose Prow is gone.
    fn outcome(&self) -> Vec<String> {
        let Some(run) = &self.run else { return Vec::new() };
        let mut lines = vec![format!(
            "{}: {} done, {} failed, {} skipped, {} unknown, {} not begun",
            if run.run.is_empty() { "run" } else { &run.run },
            run.done,
            run.failed,
            run.skipped,
            run.unknown,
            run.left
        )];
        if let Some(failure) = &run.first_failure {
            lines.extend(crate::present::failure(failure));
        }
        lines
    }
}

/// Runs the front end until the person, a signal or a panic ends it. The terminal is as before afterwards.
///
/// # Errors
/// There is no terminal, or the program panicked; a run that went on has stopped after its object in flight either way.
pub async fn run(session: Session) -> Result<ExitSummary, Failure> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let screen = Screen::enter(&sender)?;
    for note in &session.notes {
        // Its receiver is ours.
        let _ = sender.send(Input::Msg(Msg::Note(note.clone())));
    }
    let timeout = session.timeout;
    let stop = outside::RunSlot::default();
    let readers = input::start(&sender, &session, &stop, way_out(timeout));
    let mut runtime = Runtime { session, screen, sender, stop, running: None, last_run: None, before_hold: None };
    let looped = AssertUnwindSafe(runtime.turn(receiver)).catch_unwind().await;
    readers.abort();
    let ended = match looped {
        Ok(Some(exit)) => Ok(exit),
        // The hook has given the terminal back and printed the panic.
        Ok(None) | Err(_) => {
            runtime.stop.stop("the program panicked");
            let hint = "what was done is in the journal: prow-breakglass run list; please report the panic above";
            Err(Failure::new(FailureKind::Tool, "the program panicked; nothing more was sent").hint(hint))
        }
    };
    runtime.await_run(way_out(timeout)).await;
    terminal::give_back();
    let exit = ended.as_ref().map_or(Exit::Quit, |exit| *exit);
    let summary = ExitSummary { exit, run: runtime.last_run };
    terminal::say(&if runtime.session.seat.is_some() { summary.outcome() } else { summary.lines() });
    ended.map(|_| summary)
}

struct Runtime {
    session: Session,
    screen: Screen,
    sender: mpsc::UnboundedSender<Input>,
    stop: outside::RunSlot,
    running: Option<JoinHandle<RunSummary>>,
    last_run: Option<RunSummary>,
    /// The pace before the drill's time was held.
    before_hold: Option<Pace>,
}

/// Whether the loop goes on.
enum Turn {
    GoOn,
    Leave(Exit),
    Panicked,
}

impl Runtime {
    /// The loop. `None`: a panic ended it.
    async fn turn(&mut self, mut receiver: mpsc::UnboundedReceiver<Input>) -> Option<Exit> {
        let mut app = App::new(self.session.clock.now(), self.session.theme, self.screen.size());
        app.drill = self.drill();
        app.notice = self.session.seat.as_ref().map(|seat| seat.welcome.clone());
        app.story = self.session.seat.as_ref().map(|seat| seat.story.clone());
        self.draw(&mut app);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            batch.clear();
            // `self.sender` keeps the channel open.
            receiver.recv_many(&mut batch, BATCH).await;
            for input in batch.drain(..) {
                match self.take(&mut app, input) {
                    Turn::GoOn => {}
                    Turn::Leave(exit) => return Some(exit),
                    Turn::Panicked => return None,
                }
            }
            self.draw(&mut app);
        }
    }

    fn draw(&mut self, app: &mut App) {
        // The size that the frame will have decides what keys do from now on, whether or not its event came already.
        let (width, height) = self.screen.size();
        if (width, height) != app.size && width > 0 {
            update(app, Msg::Resized(width, height));
        }
        if self.screen.draw(|frame| view(app, frame)).is_err() {
            // No terminal any more: as if it had hung up.
            let _ = self.sender.send(Input::Msg(Msg::Signal(Signal::HangUp)));
        }
        update(app, Msg::Drawn);
    }

    fn take(&mut self, app: &mut App, input: Input) -> Turn {
        let msg = match input {
            Input::Key(key) => {
                input::panic_if_asked(key);
                keymap::message(app, key)
            }
            Input::Msg(msg) => Some(msg),
            Input::Continued => {
                self.screen.enter_again();
                None
            }
            Input::Panicked => return Turn::Panicked,
        };
        let Some(msg) = msg else { return Turn::GoOn };
        if let (Msg::Planned { plan: Err(failure), .. }, Some(seat)) = (&msg, &self.session.seat) {
            (seat.refused)(failure);
        }
        if let Msg::Run(RunEvent::Ended { summary, .. }) = &msg {
            self.last_run = Some(summary.clone());
            self.stop.clear();
        }
        for effect in update(app, msg) {
            if let Some(exit) = self.carry_out(effect) {
                return Turn::Leave(exit);
            }
        }
        Turn::GoOn
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Exit> {
        match effect {
            Effect::Plan { ticket, request, snapshot, diagnosis } => {
                outside::plan(&self.session, &self.sender, ticket, request, snapshot, diagnosis);
            }
            Effect::PlanUndo { ticket, run } => outside::plan_undo(&self.session, &self.sender, ticket, run),
            Effect::Preview(plan) => outside::preview(&self.session, &self.sender, plan),
            Effect::Compare { of, seen } => outside::compare(&self.sender, of, seen),
            Effect::Start { plan, who } => {
                let stop = StopToken::new();
                self.stop.set(stop.clone());
                self.running = Some(outside::start(&self.session, &self.sender, *plan, who, stop));
            }
            Effect::StopRun { why } => self.stop.stop(&why),
            Effect::Verified { run, detail } => outside::verified(&self.session, run, detail),
            Effect::Refresh => (self.session.refresh)(),
            Effect::Hold => self.hold(),
            Effect::Abort(jobs) => self.abort(&jobs),
            Effect::Copy(text) => self.screen.copy(&text),
            Effect::Suspend => self.screen.suspend(),
            Effect::Quit(exit) => return Some(exit),
        }
        None
    }

    /// How the drill stands, if this is one.
    fn drill(&self) -> Option<Drill> {
        let seat = self.session.seat.as_ref()?;
        Some(Drill { name: seat.name.clone(), pace: seat.clock.pace(), standing: *seat.standing.borrow() })
    }

    fn hold(&mut self) {
        let Some(seat) = &self.session.seat else { return };
        let pace = match (seat.clock.pace(), self.before_hold) {
            (Pace::Stopped, Some(before)) => before,
            (Pace::Stopped, None) => Pace::Times(1),
            (Pace::Times(_), _) => Pace::Stopped,
        };
        self.before_hold = Some(seat.clock.pace());
        (seat.set_pace)(pace);
        if let Some(drill) = self.drill() {
            let _ = self.sender.send(Input::Msg(Msg::Drill(drill)));
        }
    }

    /// In the drill's Deck.
    fn abort(&self, jobs: &[String]) {
        let Some(seat) = &self.session.seat else { return };
        let failed = jobs.iter().find_map(|job| (seat.abort)(job).err());
        let answer = failed.map_or_else(|| format!("Deck aborted {}", jobs.join(", ")), |failure| failure.summary);
        let _ = self.sender.send(Input::Msg(Msg::Deck(answer)));
    }

    /// Waits for a run that has ended or was asked to stop: its request in flight, and its journal.
    async fn await_run(&mut self, at_most: Duration) {
        if let Some(running) = self.running.take()
            && let Ok(Ok(summary)) = tokio::time::timeout(at_most, running).await
        {
            self.last_run = Some(summary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_out_outlasts_a_step_whose_every_request_takes_all_its_time() {
        let timeout = Duration::from_secs(10);
        let (read, write, read_back) = (timeout, timeout, timeout);
        assert!(way_out(timeout) > (read + write + read_back) * 2);
    }
}
