//! All state of the screen. Selections are ids and keys, so that a row that moves or goes takes nothing with it.

mod diffing;
mod planning;
mod running;

pub use diffing::{Asked, CONTEXTS, DiffOf, Diffing, KeyDiff, Needle, Sheet};
pub use planning::{DryRun, PlanPane, PlanSheet, Planning, Stage, awaited};
pub use running::{Outage, Phase, RunView, StepState, StepView, Verification};

use std::sync::Arc;

use crate::clock::Pace;
use crate::diagnose::{ConfigMapDrift, Diagnosis, Finding, KeyDrift};
use crate::model::{Component, Failure, ObjectRef, Snapshot, Timestamp};

use super::astray::{RollbackState, StraysState};
use super::msg::Exit;
use super::theme::Theme;

/// Seconds without a key after which an armed session is read-only again; never while a run goes on.
pub const ARMED_IDLE_SECONDS: i64 = 60 * 60;

#[derive(Debug, Clone)]
pub struct App {
    pub now: Timestamp,
    pub theme: Theme,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    pub mode: Mode,
    pub screen: Screen,
    /// The last one has the focus.
    pub modals: Vec<Modal>,
    pub picture: Picture,
    pub overview: Overview,
    pub config: Config,
    pub strays: StraysState,
    pub rollback: RollbackState,
    pub planning: Planning,
    pub run: Option<RunView>,
    /// The newest outage that this session saw.
    pub outage: Option<Outage>,
    /// What the last key came to, until the next one.
    pub notice: Option<String>,
    pub attention: Attention,
    pub hearing: Hearing,
    /// What failed beside the matter (the journal), each once.
    pub notes: Vec<Failure>,
    pub leaving: Leaving,
    /// Number of the newest request for a plan; answers to older ones are dropped.
    pub ticket: u64,
    /// What is on the screen is a drill.
    pub drill: Option<Drill>,
    /// What its oncall was told.
    pub story: Option<String>,
}

/// A drill, as far as the screen tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drill {
    pub name: String,
    pub pace: Pace,
    pub standing: Standing,
}

/// Whether there is anything left to do in a drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    GoesOn,
    /// Prow is healthy and nothing is left behind.
    Over,
}

/// Whether a typed confirmation can start a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    ReadOnly,
    /// `idle_since`: the last key, or the end of the last run.
    Armed {
        idle_since: Timestamp,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Screen {
    Overview,
    Config,
    Strays,
    Rollback,
    Plan,
    Run,
}

impl Screen {
    pub const ALL: [Screen; 6] =
        [Screen::Overview, Screen::Config, Screen::Strays, Screen::Rollback, Screen::Plan, Screen::Run];

    pub fn name(self) -> &'static str {
        match self {
            Screen::Overview => "Overview",
            Screen::Config => "Config",
            Screen::Strays => "Strays",
            Screen::Rollback => "Rollback",
            Screen::Plan => "Plan",
            Screen::Run => "Run",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Modal {
    Help {
        scroll: usize,
    },
    /// The name to type, what was typed, what was wrong with the last try.
    Arm {
        typed: String,
        reply: Option<String>,
    },
    /// Evidence of a finding, by id.
    Detail {
        finding: String,
        scroll: usize,
    },
    /// What the logs of a component said.
    Log {
        component: ObjectRef,
        scroll: usize,
    },
    /// Typing the filter of the screen below.
    Filter,
    /// Typing what to search for in the diff.
    Search {
        typed: String,
    },
    AskQuit,
    AskStop,
}

/// What is shown: the newest, or one held still while newer ones are kept behind it.
#[derive(Debug, Clone)]
pub enum Picture {
    Waiting,
    Live(Observation),
    Frozen { shown: Observation, newest: Observation, since: Timestamp },
}

/// A snapshot and what was made of it.
#[derive(Debug, Clone)]
pub struct Observation {
    pub snapshot: Arc<Snapshot>,
    pub diagnosis: Arc<Diagnosis>,
}

impl Picture {
    pub fn shown(&self) -> Option<&Observation> {
        match self {
            Picture::Waiting => None,
            Picture::Live(observation) | Picture::Frozen { shown: observation, .. } => Some(observation),
        }
    }

    pub fn newest(&self) -> Option<&Observation> {
        match self {
            Picture::Waiting => None,
            Picture::Live(observation) | Picture::Frozen { newest: observation, .. } => Some(observation),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Overview {
    pub pane: OverviewPane,
    /// Id of the finding.
    pub finding: Option<String>,
    pub component: Option<ObjectRef>,
    pub filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverviewPane {
    Findings,
    Components,
}

#[derive(Debug, Clone)]
pub struct Config {
    pub pane: ConfigPane,
    pub map: Option<ObjectRef>,
    pub key: Option<String>,
    pub filter: String,
    pub diffing: Diffing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigPane {
    Maps,
    Keys,
    Diff,
}

/// Whether somebody has pressed a key. Until then nobody looks at a row, and selections stay with the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    None,
    Paid,
}

/// Whether keys are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    Keys,
    /// A run was just confirmed. What was typed beyond its words was meant for the field, and is no command on a screen that
    /// nobody has seen yet.
    NotUntilDrawn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    No,
    /// The run stops after the object in flight; then the program ends.
    AfterRun(Exit),
}

/// The smallest screen, columns and rows, that everything fits on, confirmations included.
pub const SMALLEST: (u16, u16) = (80, 24);

/// Where the focus is, which decides what keys mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nothing is shown but that the terminal is too small: no key may do what nobody sees.
    TooSmall,
    Screen(Screen),
    /// The diff on the Config screen.
    Diff,
    /// A pop-up to read.
    Reading,
    /// A question.
    Asking,
    /// A field that takes characters.
    Typing(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Arm,
    Filter,
    Search,
    Confirm,
}

impl App {
    pub fn new(now: Timestamp, theme: Theme, size: (u16, u16)) -> Self {
        App {
            now,
            theme,
            size,
            mode: Mode::ReadOnly,
            screen: Screen::Overview,
            modals: Vec::new(),
            picture: Picture::Waiting,
            overview: Overview { pane: OverviewPane::Findings, finding: None, component: None, filter: String::new() },
            config: Config {
                pane: ConfigPane::Maps,
                map: None,
                key: None,
                filter: String::new(),
                diffing: Diffing::default(),
            },
            strays: StraysState::default(),
            rollback: RollbackState::default(),
            planning: Planning::Empty,
            run: None,
            outage: None,
            notice: None,
            attention: Attention::None,
            hearing: Hearing::Keys,
            notes: Vec::new(),
            leaving: Leaving::No,
            ticket: 0,
            drill: None,
            story: None,
        }
    }

    pub fn place(&self) -> Place {
        match self.modals.last() {
            // Questions are short enough for any screen, and a run can be stopped on one.
            Some(Modal::AskQuit | Modal::AskStop) => Place::Asking,
            _ if self.is_too_small() => Place::TooSmall,
            Some(Modal::Help { .. } | Modal::Detail { .. } | Modal::Log { .. }) => Place::Reading,
            Some(Modal::Arm { .. }) => Place::Typing(Field::Arm),
            Some(Modal::Filter) => Place::Typing(Field::Filter),
            Some(Modal::Search { .. }) => Place::Typing(Field::Search),
            None if self.screen == Screen::Plan && self.confirmable().is_some() => Place::Typing(Field::Confirm),
            None => self.below(),
        }
    }

    /// The place under all pop-ups.
    pub fn below(&self) -> Place {
        match (self.screen, self.config.pane) {
            (Screen::Config, ConfigPane::Diff) => Place::Diff,
            (screen, ConfigPane::Maps | ConfigPane::Keys | ConfigPane::Diff) => Place::Screen(screen),
        }
    }

    pub fn is_too_small(&self) -> bool {
        self.size.0 < SMALLEST.0 || self.size.1 < SMALLEST.1
    }

    /// The plan that typed words would start now: previewed, armed, and no other run going on.
    pub fn confirmable(&self) -> Option<&PlanSheet> {
        match (&self.planning, self.mode) {
            (Planning::Ready(sheet), Mode::Armed { .. }) if !self.run_is_going() => match sheet.dry_run {
                DryRun::Answered(_) => Some(sheet),
                DryRun::Asking | DryRun::Failed(_) => None,
            },
            (
                Planning::Empty | Planning::Making { .. } | Planning::Refused { .. } | Planning::Ready(_),
                Mode::ReadOnly | Mode::Armed { .. },
            ) => None,
        }
    }

    pub fn run_is_going(&self) -> bool {
        self.run.as_ref().is_some_and(RunView::is_going)
    }

    /// What must be typed to arm: the context's name, without what cloud providers put before it.
    pub fn arm_word(&self) -> Option<String> {
        self.picture.newest().map(|seen| short_context(&seen.snapshot.service.context).to_owned())
    }

    /// Jobs that would undo the repair: somebody should abort them in Deck.
    pub fn to_abort(&self) -> Vec<String> {
        let Some(seen) = self.picture.newest() else { return Vec::new() };
        seen.diagnosis.about_to_revert().map(|actor| actor.name.clone()).collect()
    }

    pub fn findings(&self) -> Vec<&Finding> {
        let Some(seen) = self.picture.shown() else { return Vec::new() };
        let filter = self.overview.filter.to_lowercase();
        seen.diagnosis
            .findings
            .iter()
            .filter(|finding| {
                filter.is_empty()
                    || finding.id.to_lowercase().contains(&filter)
                    || crate::present::finding(finding).to_lowercase().contains(&filter)
            })
            .collect()
    }

    pub fn components(&self) -> Vec<&Component> {
        let Some(seen) = self.picture.shown() else { return Vec::new() };
        let views = std::iter::once(&seen.snapshot.service).chain(seen.snapshot.clusters.values());
        let mut all: Vec<&Component> = views.filter_map(|view| view.components.seen()).flatten().collect();
        // On a small screen the one that is down must not be below its edge.
        all.sort_by_key(|component| component.is_idle_by_intent() || component.ready >= component.desired);
        all
    }

    pub fn maps(&self) -> Vec<&ConfigMapDrift> {
        let Some(seen) = self.picture.shown() else { return Vec::new() };
        let filter = self.config.filter.to_lowercase();
        seen.diagnosis
            .drift
            .iter()
            .filter(|map| filter.is_empty() || map.object.to_string().to_lowercase().contains(&filter))
            .collect()
    }

    pub fn selected_finding(&self) -> Option<&Finding> {
        let id = self.overview.finding.as_deref()?;
        self.findings().into_iter().find(|finding| finding.id == id)
    }

    pub fn selected_component(&self) -> Option<&Component> {
        let object = self.overview.component.as_ref()?;
        self.component(object)
    }

    /// The component that the focused pane's selection is about: a finding's, or the one selected.
    pub fn component_of_selection(&self) -> Option<&Component> {
        match self.overview.pane {
            OverviewPane::Components => self.selected_component(),
            OverviewPane::Findings => {
                let subjects = &self.selected_finding()?.subjects;
                self.components().into_iter().find(|component| subjects.contains(&component.object))
            }
        }
    }

    pub fn component(&self, object: &ObjectRef) -> Option<&Component> {
        self.components().into_iter().find(|component| component.object == *object)
    }

    pub fn selected_map(&self) -> Option<&ConfigMapDrift> {
        let object = self.config.map.as_ref()?;
        self.maps().into_iter().find(|map| map.object == *object)
    }

    /// Keys of the selected map: those that differ first.
    pub fn keys(&self) -> Vec<&KeyDrift> {
        let Some(map) = self.selected_map() else { return Vec::new() };
        let (same, mut keys): (Vec<&KeyDrift>, Vec<&KeyDrift>) =
            map.keys.iter().partition(|key| key.change == crate::diagnose::KeyChange::Same);
        keys.extend(same);
        keys
    }
}

/// The part of a context's name that people say: `gke_project_zone_prow` is `prow`, `admin@prow` is `prow`.
pub fn short_context(context: &str) -> &str {
    match context.rsplit(['_', '/', '@', ':']).next() {
        Some(last) if !last.is_empty() => last,
        Some(_) | None => context,
    }
}

/// The live values of a ConfigMap in a snapshot.
pub fn live_map<'a>(snapshot: &'a Snapshot, object: &ObjectRef) -> Option<&'a crate::model::ConfigMapState> {
    snapshot.live_config_map(object)
}

/// The bytes that the chosen revision asks for at a key.
pub fn wanted<'a>(seen: &'a Observation, object: &ObjectRef, key: &str) -> Option<&'a [u8]> {
    let chosen = &seen.diagnosis.choice.as_ref()?.revision.id;
    let desired = seen.snapshot.desired.seen()?;
    let candidate = desired
        .asked
        .iter()
        .chain(std::iter::once(&desired.head))
        .chain(&desired.candidates)
        .find(|candidate| candidate.revision.id == *chosen)?;
    let map = seen.snapshot.asked_of(candidate.config_maps.as_ref().ok()?, object)?;
    map.entries.get(key).map(|entry| entry.bytes.as_slice())
}

#[cfg(test)]
mod tests {
    use super::short_context;

    #[test]
    fn arming_asks_for_the_name_people_say() {
        assert_eq!(short_context("prow-services"), "prow-services");
        assert_eq!(short_context("gke_k8s-prow_us-central1-f_prow"), "prow");
        assert_eq!(short_context("arn:aws:eks:us-east-1:1234:cluster/prow-build"), "prow-build");
        assert_eq!(short_context("kubernetes-admin@kind"), "kind");
        assert_eq!(short_context("odd_"), "odd_");
    }
}
