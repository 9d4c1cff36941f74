//! Hands on a keyboard, before an app whose outside answers at once: plans are made, dry runs accepted.

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use prow_breakglass::diagnose::diagnose;
use prow_breakglass::model::{Failure, RunEvent, RunSummary, Snapshot};
use prow_breakglass::present::PATIENCE;
use prow_breakglass::repair::{Answer, Preview, StepPreview};
use prow_breakglass::tui::theme::{Charset, Palette, Theme};
use prow_breakglass::tui::view::view;
use prow_breakglass::tui::{App, Effect, Msg, keymap, update};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

use crate::support::{self, at};

pub const THEME: Theme = Theme { palette: Palette::Ansi, charset: Charset::Utf8 };
pub const SMALL: (u16, u16) = (80, 24);
pub const WIDE: (u16, u16) = (120, 36);

pub struct Hands {
    pub app: App,
    /// What was asked of the outside, in order.
    pub effects: Vec<Effect>,
}

impl Hands {
    pub fn new(snapshot: Snapshot, size: (u16, u16)) -> Self {
        let app = App::new(at(support::NOW), THEME, size);
        let mut hands = Hands { app, effects: Vec::new() };
        hands.see(snapshot);
        hands
    }

    pub fn on_incident(size: (u16, u16)) -> Self {
        Hands::new(support::incident(), size)
    }

    pub fn see(&mut self, snapshot: Snapshot) {
        let diagnosis = diagnose(&snapshot);
        self.tell(Msg::Observed(Arc::new(snapshot), Arc::new(diagnosis)));
    }

    pub fn tell(&mut self, msg: Msg) {
        for effect in update(&mut self.app, msg) {
            self.effects.push(effect.clone());
            match effect {
                Effect::Plan { ticket, request, snapshot, diagnosis } => {
                    let plan = prow_breakglass::repair::plan(&request, &snapshot, &diagnosis);
                    let plan = plan.map(Box::new).map_err(Failure::from);
                    self.tell(Msg::Planned { ticket, plan });
                }
                Effect::Preview(plan) => {
                    let steps = plan.steps.iter().map(|step| StepPreview { n: step.n, answer: Answer::Accepted });
                    let preview = Preview { digest: plan.digest.clone(), at: self.app.now, steps: steps.collect() };
                    self.tell(Msg::Previewed { digest: plan.digest.clone(), preview: Ok(preview) });
                }
                Effect::Compare { of, seen } => {
                    let comparison = Arc::new(of.compare(&seen, PATIENCE));
                    self.tell(Msg::Compared { of, comparison });
                }
                Effect::PlanUndo { .. }
                | Effect::Start { .. }
                | Effect::StopRun { .. }
                | Effect::Verified { .. }
                | Effect::Refresh
                | Effect::Hold
                | Effect::Abort(_)
                | Effect::Copy(_)
                | Effect::Suspend
                | Effect::Quit(_) => {}
            }
        }
    }

    pub fn press(&mut self, code: KeyCode) -> &mut Self {
        self.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    pub fn control(&mut self, c: char) -> &mut Self {
        self.key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL))
    }

    /// A key, pressed by somebody who sees what the one before it did.
    pub fn key(&mut self, key: KeyEvent) -> &mut Self {
        self.unseen(key);
        self.tell(Msg::Drawn);
        self
    }

    /// A key that arrives before the next frame is drawn.
    pub fn unseen(&mut self, key: KeyEvent) {
        if let Some(msg) = keymap::message(&self.app, key) {
            self.tell(msg);
        }
    }

    /// Types the characters, a key each.
    pub fn keys(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            self.press(KeyCode::Char(c));
        }
        self
    }

    pub fn enter(&mut self) -> &mut Self {
        self.press(KeyCode::Enter)
    }

    pub fn escape(&mut self) -> &mut Self {
        self.press(KeyCode::Esc)
    }

    pub fn arm(&mut self) -> &mut Self {
        self.keys("A").keys("prow-services").enter()
    }

    /// Types what the plan on the screen asks for.
    pub fn confirm(&mut self) -> &mut Self {
        let word = self.app.confirmable().map(|sheet| sheet.plan.confirmation.word()).expect("a plan to confirm");
        self.keys(&word).enter()
    }

    pub fn writes(&self) -> usize {
        self.effects.iter().filter(|effect| effect.writes()).count()
    }

    pub fn last_effect(&self) -> Option<&Effect> {
        self.effects.last()
    }

    pub fn tick(&mut self, time: &str) {
        self.tell(Msg::Tick(at(time)));
    }

    /// The run's events up to the answer to its first step.
    pub fn run_begins(&mut self) {
        let step = self.app.run.as_ref().expect("a run").plan.steps[0].clone();
        let journal = "/home/oncall/.local/state/prow-breakglass/runs/r-0001/journal.ndjson".to_owned();
        let (run, title) = ("r-0001".to_owned(), self.app.run.as_ref().expect("a run").plan.title.clone());
        self.tell(Msg::Run(RunEvent::Started { run, title, steps: 1, at: at("2019-01-23T16:12:00Z"), journal }));
        let object = step.write.object().clone();
        self.tell(Msg::Run(RunEvent::StepStarted { n: 1, object, at: at("2019-01-23T16:12:00Z") }));
    }

    /// The run of one step ends well.
    pub fn run_ends(&mut self) {
        let object = self.app.run.as_ref().expect("a run").plan.steps[0].write.object().clone();
        let (n, time) = (1, at("2019-01-23T16:12:00.400Z"));
        let status = "resourceVersion 88412999".to_owned();
        let outcome = prow_breakglass::model::Outcome::Done;
        self.tell(Msg::Run(RunEvent::StepEnded { n, object, outcome, status, at: time }));
        let journal = self.app.run.as_ref().expect("a run").journal.clone();
        let summary = RunSummary { run: "r-0001".to_owned(), journal, done: 1, ..RunSummary::default() };
        self.tell(Msg::Run(RunEvent::Ended { at: time, summary }));
    }

    pub fn draw(&self) -> Buffer {
        let (width, height) = self.app.size;
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal in memory");
        terminal.draw(|frame| view(&self.app, frame)).expect("a frame in memory");
        terminal.backend().buffer().clone()
    }

    /// The screen as lines, without the spaces at their ends.
    pub fn text(&self) -> String {
        let buffer = self.draw();
        let lines = buffer.content.chunks(usize::from(self.app.size.0)).map(|row| {
            let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
            line.trim_end().to_owned()
        });
        without_plan_id(&lines.collect::<Vec<_>>().join("\n"))
    }
}

/// A plan's id follows from everything that a plan holds: another one each time that any field is added.
fn without_plan_id(screen: &str) -> String {
    let Some(at) = screen.find(" p-") else { return screen.to_owned() };
    let id = &screen[at + 3..];
    let length = id.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(id.len());
    if length == 8 { screen.replace(&id[..length], "--------") } else { screen.to_owned() }
}
