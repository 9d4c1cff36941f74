//! Which logs to read, and what they said. A log is read once a life of a container: of a crashed life, for what it died
//! of; of a running one, for refusals of a changed configuration, and again for a while after a mounted map changed
//! (a kubelet takes up to two minutes to pass a change on).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::SignedDuration;

use crate::cluster::errors;
use crate::cluster::logs::Life;
use crate::model::{
    Component, ComponentPod, ConfigMapState, Container, ContainerState, Failure, FailureKind, Key, LogLine, Source,
    SourceStatus, Timestamp,
};
use crate::prow::Catalogue;

/// After a change of a map: when the log of a running component is read again, counted from when the change was seen.
const AGAIN: [Duration; 4] =
    [Duration::from_secs(20), Duration::from_secs(60), Duration::from_secs(115), Duration::from_secs(180)];
/// A log that could not be read is tried again after this long, one that is denied after [`PATIENT`].
const SOON: Duration = Duration::from_secs(30);
const PATIENT: Duration = Duration::from_secs(120);

/// A life that lasted longer had loaded what it found: it died of something else than the one before it.
const BRIEF: SignedDuration = SignedDuration::from_secs(30);

/// A life of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    pub uid: String,
    pub container: String,
    pub restarts: u32,
    pub life: Life,
}

impl LogId {
    /// Which of the container's lives it is: the one before this one has the number of the restart before.
    fn number(&self) -> i64 {
        match self.life {
            Life::Current => i64::from(self.restarts),
            Life::Previous => i64::from(self.restarts) - 1,
        }
    }
}

/// A log to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    pub id: LogId,
    pub pod: Key,
}

/// What a log said, as far as we look for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    pub fatal: Option<LogLine>,
    pub reload: Option<LogLine>,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    /// Being read for the first time. `before`: what the life before it died of.
    Reading {
        before: Option<LogLine>,
    },
    Read(Said),
    Failed(Failure),
}

/// What became of the life when its log was last asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Over,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    pod: Key,
    phase: Phase,
    state: State,
    /// The versions of the mounted maps when it was last asked for; empty for a life that is over.
    maps: String,
    /// When to read it (again).
    due: Vec<Timestamp>,
}

/// The logs of a cluster's components.
#[derive(Debug, Default)]
pub struct Logs {
    entries: BTreeMap<LogId, Entry>,
}

impl Logs {
    /// Takes in what is to be read now for these components, forgets what is gone, and returns what is due.
    pub fn due(
        &mut self,
        components: &[Component],
        config_maps: &BTreeMap<Key, ConfigMapState>,
        now: Timestamp,
    ) -> Vec<Want> {
        let mut live = BTreeSet::new();
        for component in components {
            let maps = Maps::of(component, config_maps);
            for pod in &component.pods {
                for container in &pod.containers {
                    for life in lives(component, container) {
                        let Some(id) = id(pod, container, life) else { continue };
                        live.insert(id.clone());
                        let runs = life == Life::Current && matches!(container.state, ContainerState::Running { .. });
                        let (phase, maps) =
                            if runs { (Phase::Running, &maps) } else { (Phase::Over, &Maps::default()) };
                        self.expect(id, pod, container, phase, maps, now);
                    }
                }
            }
        }
        self.entries.retain(|id, _| live.contains(id));
        let mut due = Vec::new();
        for (id, entry) in &mut self.entries {
            if entry.due.iter().any(|at| *at <= now) {
                entry.due.retain(|at| *at > now);
                due.push(Want { id: id.clone(), pod: entry.pod.clone() });
            }
        }
        due
    }

    fn expect(
        &mut self,
        id: LogId,
        pod: &ComponentPod,
        container: &Container,
        phase: Phase,
        maps: &Maps,
        now: Timestamp,
    ) {
        // What was read while it ran does not tell what it died of.
        if self.entries.get(&id).is_some_and(|entry| entry.phase != phase) {
            self.entries.remove(&id);
        }
        let before = if self.entries.contains_key(&id) { None } else { self.before(&id, container) };
        let entry = self.entries.entry(id).or_insert_with(|| Entry {
            pod: Key::new(&pod.object.namespace, &pod.object.name),
            phase,
            state: State::Reading { before },
            maps: maps.versions.clone(),
            // A write just before may not have reached the container yet.
            due: std::iter::once(now)
                .chain(maps.written.iter().flat_map(|written| AGAIN.map(|after| *written + after)))
                .filter(|at| *at >= now)
                .collect(),
        });
        if entry.maps != maps.versions {
            entry.maps.clone_from(&maps.versions);
            entry.due = AGAIN.map(|after| now + after).into();
        }
    }

    /// What the life before this one died of, as far as it was read: until this one's log is, it is the likeliest cause of a
    /// crash that came as soon. Only a line with its own time: without, it would be taken for as old as the newest crash.
    fn before(&self, id: &LogId, container: &Container) -> Option<LogLine> {
        let exit = match &container.state {
            ContainerState::Terminated(exit) => exit,
            ContainerState::Waiting { .. } | ContainerState::Running { .. } | ContainerState::Unknown => {
                container.last_exit.as_ref()?
            }
        };
        if exit.finished?.duration_since(exit.started?) > BRIEF {
            return None;
        }
        let first = LogId { restarts: 0, life: Life::Current, ..id.clone() };
        let last = LogId { restarts: u32::MAX, life: Life::Previous, ..id.clone() };
        let is_earlier =
            |other: &LogId, entry: &Entry| other != id && entry.phase == Phase::Over && other.number() <= id.number();
        let mut earlier: Vec<(&LogId, &Entry)> =
            self.entries.range(first..=last).filter(|(other, entry)| is_earlier(other, entry)).collect();
        earlier.sort_by_key(|(other, _)| std::cmp::Reverse(other.number()));
        let mut lines = earlier.into_iter().filter_map(|(_, entry)| match &entry.state {
            State::Reading { before } => before.clone(),
            State::Read(said) => said.fatal.clone(),
            State::Failed(_) => None,
        });
        lines.next().filter(|line| line.at.is_some())
    }

    /// When the next log is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.entries.values().flat_map(|entry| &entry.due).min().copied()
    }

    /// Takes in what came of reading a log.
    pub fn read(&mut self, id: &LogId, outcome: Result<Said, Failure>, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        match outcome {
            Ok(said) => entry.state = State::Read(said),
            Err(failure) => {
                entry.due.push(now + if failure.kind == FailureKind::Forbidden { PATIENT } else { SOON });
                entry.state = State::Failed(failure);
            }
        }
    }

    pub fn is_settled(&self) -> bool {
        self.entries.values().all(|entry| !matches!(entry.state, State::Reading { .. }))
    }

    /// Those that are being read for the first time.
    pub fn reading(&self) -> Vec<String> {
        let reading = self.entries.iter().filter(|(_, entry)| matches!(entry.state, State::Reading { .. }));
        reading.map(|(id, entry)| name(entry, id)).collect()
    }

    /// What is known of a container's lives: what the one before died of, and what the running one refused.
    pub fn said_of(&self, pod: &ComponentPod, container: &Container) -> Said {
        let over = match &container.state {
            ContainerState::Terminated(_) => Life::Current,
            ContainerState::Waiting { .. } | ContainerState::Running { .. } | ContainerState::Unknown => Life::Previous,
        };
        let read =
            |id: &LogId| self.entries.get(id).filter(|entry| entry.phase == Phase::Over).map(|entry| &entry.state);
        let fatal = id(pod, container, over).and_then(|id| match read(&id) {
            Some(State::Read(said)) => said.fatal.clone(),
            // It has just crashed again: what was known a moment ago still is.
            Some(State::Reading { before }) => before.clone(),
            None => self.before(&id, container),
            Some(State::Failed(_)) => None,
        });
        let running = match &container.state {
            ContainerState::Running { .. } => {
                id(pod, container, Life::Current).and_then(|id| self.entries.get(&id)).map(|entry| &entry.state)
            }
            ContainerState::Waiting { .. } | ContainerState::Terminated(_) | ContainerState::Unknown => None,
        };
        let reload = running.and_then(|state| match state {
            State::Read(said) => said.reload.clone(),
            State::Reading { .. } | State::Failed(_) => None,
        });
        Said { fatal, reload }
    }

    /// Logs that could not be read: denials by namespace, as that is how rights are given, others by container.
    pub fn parts(&self) -> Vec<SourceStatus> {
        let mut parts = BTreeMap::new();
        for (id, entry) in &self.entries {
            let State::Failed(failure) = &entry.state else { continue };
            let namespace = &entry.pod.namespace;
            if let Some(verb) = errors::denied_verb(failure) {
                parts.insert(format!("logs in {namespace}"), Source::Denied { verb: verb.to_owned() });
            } else {
                parts.insert(name(entry, id), Source::Lost { error: failure.clone(), last: None });
            }
        }
        parts.into_iter().map(|(name, source)| SourceStatus { name, source }).collect()
    }
}

fn name(entry: &Entry, id: &LogId) -> String {
    format!("logs of {} ({})", entry.pod, id.container)
}

fn id(pod: &ComponentPod, container: &Container, life: Life) -> Option<LogId> {
    Some(LogId { uid: pod.object.uid.clone()?, container: container.name.clone(), restarts: container.restarts, life })
}

/// The lives of a container whose logs say something.
fn lives(component: &Component, container: &Container) -> Vec<Life> {
    let mut lives = Vec::new();
    let reads_config = (component.config.config_path.is_some() || component.config.plugin_config.is_some())
        && Catalogue::embedded().role_of(&container.image).is_some();
    match &container.state {
        ContainerState::Terminated(exit) if exit.code != 0 => lives.push(Life::Current),
        ContainerState::Running { .. } if reads_config => lives.push(Life::Current),
        ContainerState::Terminated(_)
        | ContainerState::Running { .. }
        | ContainerState::Waiting { .. }
        | ContainerState::Unknown => {}
    }
    if !matches!(container.state, ContainerState::Terminated(_))
        && container.last_exit.as_ref().is_some_and(|exit| exit.code != 0)
    {
        lives.push(Life::Previous);
    }
    lives
}

/// The maps that a component mounts; none for a life that is over, as it reads no more.
#[derive(Default)]
struct Maps {
    /// Their versions, as one word.
    versions: String,
    /// When the newest of them was written.
    written: Option<Timestamp>,
}

impl Maps {
    fn of(component: &Component, config_maps: &BTreeMap<Key, ConfigMapState>) -> Maps {
        let keys = component.config_maps();
        let maps = || keys.iter().filter_map(|key| config_maps.get(key));
        Maps {
            versions: maps().map(|map| format!("{}@{} ", map.uid, map.resource_version)).collect(),
            written: maps().filter_map(|map| map.last_writer()?.at).max(),
        }
    }
}
