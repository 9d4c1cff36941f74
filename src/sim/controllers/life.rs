//! What a node knows of a pod beside its status: where it stands, what it has mounted, what its container said.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::super::object::ObjectKey;
use super::super::prow::component::Program;

/// The values of a ConfigMap as files.
pub type Files = Arc<BTreeMap<String, Vec<u8>>>;

/// Why a container does not start, and since how many tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hindrance {
    /// A ConfigMap or Secret is not there.
    Mount,
    /// The image cannot be pulled.
    Image,
}

/// Where a pod stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Given to a node.
    Scheduled,
    Hindered {
        by: Hindrance,
        tries: u32,
        next: Timestamp,
    },
    /// Everything is there.
    Starting {
        at: Timestamp,
    },
    /// `ends`: when, and with which exit code.
    Running {
        ready_at: Timestamp,
        ends: Option<(Timestamp, i64)>,
    },
    /// Crashed; started again at that time.
    BackOff {
        until: Timestamp,
        seconds: i64,
    },
    /// Ended for good.
    Ended,
    /// Deleted; its container is given until then.
    Stopping {
        until: Timestamp,
    },
}

/// One life of a pod's containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub started: Timestamp,
    /// When, and with which exit code.
    pub ended: Option<(Timestamp, i64)>,
    pub log: Vec<String>,
}

/// What a node knows of a pod.
#[derive(Debug, Clone)]
pub struct Life {
    pub key: ObjectKey,
    pub stage: Stage,
    pub restarts: i64,
    /// The last two.
    pub runs: Vec<Run>,
    /// ConfigMaps by name, as the pod sees them.
    pub maps: BTreeMap<String, Files>,
    /// What it runs of Prow.
    pub program: Option<Program>,
    /// When its container last was told to stop.
    pub stopped: Option<Timestamp>,
}

impl Life {
    pub fn new(key: &ObjectKey) -> Self {
        Life {
            key: key.clone(),
            stage: Stage::Scheduled,
            restarts: 0,
            runs: Vec::new(),
            maps: BTreeMap::new(),
            program: None,
            stopped: None,
        }
    }

    pub fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running { .. })
    }

    /// When the container that runs was started.
    pub fn running_since(&self) -> Option<Timestamp> {
        self.runs.last().filter(|_| self.is_running()).map(|run| run.started)
    }

    pub fn begin(&mut self, now: Timestamp) {
        self.runs.push(Run { started: now, ended: None, log: Vec::new() });
        if self.runs.len() > 2 {
            self.runs.remove(0);
        }
    }

    pub fn end(&mut self, now: Timestamp, code: i64) {
        if let Some(run) = self.runs.last_mut() {
            run.ended = Some((now, code));
        }
    }

    pub fn say(&mut self, line: String) {
        if let Some(run) = self.runs.last_mut() {
            run.log.push(line);
        }
    }

    /// The log of the life that runs or ran last, or of the one before it; `None` where there was none.
    pub fn log(&self, previous: bool) -> Option<&[String]> {
        let last = self.runs.last()?;
        // A container that waits to be started again has ended already: that end is its previous life, and its log.
        let run = match (previous, last.ended.is_some()) {
            (false, _) | (true, true) => last,
            (true, false) => self.runs.len().checked_sub(2).map(|at| &self.runs[at])?,
        };
        Some(&run.log)
    }
}
