//! The task that owns what came in. All others only send: a task a list, a heartbeat, one a log, one for the repository.
//! After each change the owner works out what is wanted now and starts it, and makes a snapshot, at most one each
//! [`PACE`]. Until everything was answered once it looks without that pause, as each answer tells what to ask for next; what
//! it shows keeps its pace but for the first complete picture.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::assemble::{Assembled, Names, assemble};
use super::builds::{BuildContexts, Builds};
use super::desired::{DesiredOptions, Prepared};
use super::heartbeat::{self, Introduction};
use super::jobs::JobIndex;
use super::logs::{Said, Want};
use super::observer::Interest;
use super::raw::{Contact, Raw};
use super::repository::{self, Deployed};
use super::wanted::{JobsWanted, ListId, asked_of_clusters, asks_elsewhere, wanted, wanted_of_jobs};
use super::watched::{Apply, Watched};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::model::{
    Alias, AliasPlace, Candidate, Checked, ClusterView, Desired, Failure, InterruptedRun, Key, ProwJob, ProwSettings,
    RefusedContent, Snapshot, Source, Timestamp,
};
use crate::prow::log;

/// Snapshots that are shown follow each other no faster.
const PACE: Duration = Duration::from_millis(100);
/// Logs read at the same time.
const LOGS_AT_ONCE: usize = 4;

/// Where something comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The service cluster.
    Service,
    /// Another context of the kubeconfig.
    Context(String),
}

/// What comes in.
pub enum Message {
    /// A change of a list, to be put where it belongs.
    List(Place, Apply),
    Contact(Place, Result<(), Failure>),
    Introduced(Place, Box<Introduction>),
    /// A connection to another context was made, or not.
    Connected(String, Box<Result<Cluster, Failure>>),
    Log(Want, Result<Said, Failure>),
    /// The repository, as read for what was deployed.
    Desired(Deployed, Box<Source<Desired>>),
    Interrupted(Vec<InterruptedRun>),
    Refused(Vec<RefusedContent>),
    Checked(Vec<Checked>, Vec<Candidate>),
    Checkconfig(Option<Source<()>>),
    Refresh,
}

/// The parts of a snapshot that do not come from lists.
struct Beside {
    user: Option<String>,
    desired: Source<Desired>,
    /// What was deployed when `desired` was made.
    desired_for: Option<Deployed>,
    interrupted: Vec<InterruptedRun>,
    refused: Vec<RefusedContent>,
    checked: Vec<Checked>,
    /// Revisions older than those that were read, found to be good by whoever looked further.
    further: Vec<Candidate>,
    checkconfig: Option<Source<()>>,
}

pub struct Owner {
    interest: Interest,
    service: Watched,
    builds: Builds,
    beside: Beside,
    tasks: JoinSet<()>,
    clock: Clock,
    reading: Arc<Semaphore>,
    refresh: Arc<Notify>,
    send: mpsc::UnboundedSender<Message>,
    /// What the repository's reader needs to know of the cluster; `None` until it is known.
    deployed: watch::Sender<Option<Deployed>>,
    out: Outlets,
}

/// What others see.
struct Outlets {
    snapshots: watch::Sender<Arc<Snapshot>>,
    quiet: watch::Sender<bool>,
    clusters: watch::Sender<BTreeMap<Alias, Cluster>>,
}

/// Their ends.
pub struct Inlets {
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub quiet: watch::Receiver<bool>,
    /// The clusters that may be planned on.
    pub clusters: watch::Receiver<BTreeMap<Alias, Cluster>>,
}

impl Owner {
    pub fn new(
        interest: Interest,
        cluster: Cluster,
        names: Names,
        clock: Clock,
        builds: BuildContexts,
        send: mpsc::UnboundedSender<Message>,
        refresh: Arc<Notify>,
    ) -> (Owner, Inlets) {
        let raw = Raw::default();
        let beside = Beside {
            user: None,
            desired: Source::Loading,
            desired_for: None,
            interrupted: Vec::new(),
            refused: Vec::new(),
            checked: Vec::new(),
            further: Vec::new(),
            checkconfig: None,
        };
        let assembled = assemble(&names, &raw, &BTreeMap::new());
        let first = beside.snapshot(assembled, Others::default(), Vec::new(), clock.now());
        let (snapshots, snapshots_in) = watch::channel(Arc::new(first));
        let (quiet, quiet_in) = watch::channel(false);
        let (clusters, clusters_in) = watch::channel(BTreeMap::from([(names.alias.clone(), cluster.clone())]));
        let mut tasks = JoinSet::new();
        tasks.spawn(heartbeat::beat(cluster.clone(), Place::Service, clock.clone(), send.clone(), refresh.clone()));
        let owner = Owner {
            interest,
            builds: Builds::new(builds, names.clone(), clock.clone(), send.clone(), refresh.clone()),
            service: Watched::new(Place::Service, interest, cluster, names, clock.clone(), send.clone()),
            beside,
            tasks,
            clock,
            reading: Arc::new(Semaphore::new(LOGS_AT_ONCE)),
            refresh,
            send,
            deployed: watch::channel(None).0,
            out: Outlets { snapshots, quiet, clusters },
        };
        (owner, Inlets { snapshots: snapshots_in, quiet: quiet_in, clusters: clusters_in })
    }

    pub fn follow_repository(
        &mut self,
        repository: impl Future<Output = Result<Prepared, Failure>> + Send + 'static,
        options: DesiredOptions,
    ) {
        let send = self.send.clone();
        let emit = move |deployed, desired| send.send(Message::Desired(deployed, Box::new(desired))).is_ok();
        let (deployed, refresh) = (self.deployed.subscribe(), self.refresh.clone());
        self.tasks.spawn(repository::follow(repository, options, self.clock.clone(), deployed, refresh, emit));
    }

    pub async fn run(mut self, mut receive: mpsc::UnboundedReceiver<Message>) {
        let mut pacing = Pacing::new(Instant::now());
        loop {
            let log_at = self.service.raw.logs.next_due().map(|at| {
                let wait = Duration::try_from(at.duration_since(self.clock.now())).unwrap_or_default();
                pacing.no_sooner(Instant::now() + wait)
            });
            // Only reaped: a task's outcome is what it sent.
            while self.tasks.try_join_next().is_some() {}
            tokio::select! {
                message = receive.recv() => {
                    let Some(message) = message else { return };
                    self.take(message);
                    while let Ok(message) = receive.try_recv() {
                        self.take(message);
                    }
                    pacing.look_at(Instant::now());
                }
                () = sleep_until(pacing.next) => {
                    let begun = Instant::now();
                    let (snapshot, quiet) = self.look();
                    if pacing.looked(begun, Instant::now(), quiet) {
                        self.out.snapshots.send_replace(Arc::new(snapshot));
                        self.out.quiet.send_if_modified(|held| std::mem::replace(held, quiet) != quiet);
                    }
                }
                () = sleep_until(log_at) => pacing.look_at(Instant::now()),
            }
        }
    }

    fn take(&mut self, message: Message) {
        let now = self.clock.now();
        let was_silent = matches!(self.service.raw.contact, Contact::Silent { .. });
        match message {
            Message::List(place, change) => {
                if let Some(raw) = self.raw(&place) {
                    change(raw);
                }
            }
            Message::Contact(place, answer) => {
                if let Some(raw) = self.raw(&place) {
                    match answer {
                        Ok(()) => raw.contact.answered(now),
                        Err(failure) => raw.contact.failed(failure),
                    }
                }
            }
            Message::Introduced(place, introduction) => {
                let Introduction { identity, version, user, clock_ahead } = *introduction;
                if place == Place::Service {
                    self.beside.user = user.or(self.beside.user.take());
                }
                if let Some(raw) = self.raw(&place) {
                    raw.identity = identity;
                    raw.version = version.or(raw.version.take());
                    raw.clock_ahead = clock_ahead.or(raw.clock_ahead);
                }
            }
            Message::Connected(context, outcome) => self.builds.connected(&context, *outcome, &mut self.tasks),
            Message::Log(want, outcome) => self.service.raw.logs.read(&want.id, outcome, now),
            Message::Desired(deployed, desired) => {
                self.beside.desired = *desired;
                self.beside.desired_for = Some(deployed);
            }
            Message::Interrupted(runs) => self.beside.interrupted = runs,
            Message::Refused(refused) => self.beside.refused = refused,
            Message::Checked(checked, further) => {
                self.beside.checked = checked;
                self.beside.further = further;
            }
            Message::Checkconfig(checkconfig) => self.beside.checkconfig = checkconfig,
            Message::Refresh => {
                self.service.wake.notify_waiters();
                self.builds.wake();
            }
        }
        if was_silent && matches!(self.service.raw.contact, Contact::Answering { .. }) {
            self.service.wake.notify_waiters();
        }
    }

    fn raw(&mut self, place: &Place) -> Option<&mut Raw> {
        match place {
            Place::Service => Some(&mut self.service.raw),
            Place::Context(name) => self.builds.raw(name),
        }
    }

    /// Joins what came in, starts what it asks for; what is seen now, and whether everything was answered for.
    fn look(&mut self) -> (Snapshot, bool) {
        let now = self.clock.now();
        let aliases = self.builds.aliases().clone();
        let mut assembled = assemble(&self.service.names, &self.service.raw, &aliases);
        if let Some(settings) = assembled.settings.take() {
            self.service.raw.settings = Some(settings);
        }
        let settings = self.service.raw.settings.as_ref().map(|last| last.settings.clone());
        let jobs = &assembled.jobs;
        let needed: BTreeSet<Alias> = jobs.values().filter(|job| has_pod(job)).map(|job| job.alias()).collect();
        let asked = asked_of_clusters(&self.beside.desired, &self.service.names.alias, self.builds.aliases());
        let looks_elsewhere = match self.interest {
            Interest::Everything => true,
            Interest::Configuration => asks_elsewhere(&self.beside.desired, &self.service.names.alias),
        };
        if looks_elsewhere {
            self.builds.follow(&self.service.raw, settings.as_ref(), jobs, &needed, &asked, &mut self.tasks);
        }
        if *self.builds.aliases() != aliases {
            // Which pods are strays hangs on them.
            assembled = assemble(&self.service.names, &self.service.raw, self.builds.aliases());
        }
        let jobs = &assembled.jobs;
        let asked = asked_of_clusters(&self.beside.desired, &self.service.names.alias, self.builds.aliases());
        self.want_lists(settings.as_ref(), jobs, &asked);
        self.want_logs(&assembled, now);
        let deployed = Deployed::of(&assembled);
        self.deployed.send_if_modified(|held| {
            let new = deployed.is_some() && *held != deployed;
            if new {
                held.clone_from(&deployed);
            }
            new
        });
        let git_is_read = self.beside.desired.is_settled() && self.beside.desired_for == *self.deployed.borrow();
        let quiet = self.service.raw.is_settled() && self.builds.is_settled() && git_is_read;
        // A silent server has answered for nothing.
        if quiet && matches!(self.service.raw.contact, Contact::Answering { .. }) {
            self.service.raw.opening = false;
        }
        let others = Others {
            views: self.builds.views(jobs),
            aliases: self.builds.aliases().clone(),
            gone: self.service.raw.gone_prowjobs.iter().cloned().collect(),
        };
        let clusters: BTreeMap<Alias, Cluster> =
            std::iter::once((self.service.names.alias.clone(), self.service.cluster.clone()))
                .chain(self.builds.clusters())
                .collect();
        self.out.clusters.send_if_modified(|held| {
            let new = !held.keys().eq(clusters.keys());
            *held = clusters;
            new
        });
        let mut reading = self.service.raw.logs.reading();
        reading.extend((!git_is_read).then(|| "git".to_owned()));
        (self.beside.snapshot(assembled, others, reading, now), quiet)
    }

    fn want_lists(&mut self, settings: Option<&ProwSettings>, jobs: &JobIndex, asked: &BTreeMap<Alias, BTreeSet<Key>>) {
        let service = &self.service;
        let mut wanted = wanted(&service.raw, asked.get(&service.names.alias), &service.known);
        if self.interest == Interest::Configuration {
            wanted.retain(ListId::tells_configuration);
        } else if let Some(settings) = settings {
            wanted.extend(wanted_of_jobs(
                &service.raw,
                &JobsWanted {
                    pod_namespace: &settings.pod_namespace,
                    key: &service.names.alias,
                    jobs,
                    aliases: self.builds.aliases(),
                    known: &service.known,
                },
            ));
        }
        self.service.keep(wanted, &mut self.tasks);
    }

    fn want_logs(&mut self, assembled: &Assembled, now: Timestamp) {
        let (Some(components), Some(maps)) = (assembled.view.components.seen(), assembled.view.config_maps.seen())
        else {
            return;
        };
        for want in self.service.raw.logs.due(components, maps, now) {
            let (cluster, send, reading) = (self.service.cluster.clone(), self.send.clone(), self.reading.clone());
            self.tasks.spawn(async move {
                // The semaphore is never closed.
                let _permit = reading.acquire().await;
                let text = cluster.log(&want.pod, &want.id.container, want.id.life).await;
                let said = text.map(|text| {
                    let text = text.unwrap_or_default();
                    Said { fatal: log::fatal_line(&text), reload: log::reload_error(&text) }
                });
                drop(send.send(Message::Log(want, said)));
            });
        }
    }
}

/// What other clusters show.
#[derive(Default)]
struct Others {
    views: BTreeMap<Alias, ClusterView>,
    aliases: BTreeMap<Alias, AliasPlace>,
    gone: Vec<Arc<ProwJob>>,
}

/// A job that goes on and has a pod somewhere.
fn has_pod(job: &ProwJob) -> bool {
    !job.is_finished() && !job.pod_name.is_empty()
}

impl Beside {
    /// `reading`: what is not answered for yet and is no source of its own.
    fn snapshot(&self, assembled: Assembled, others: Others, reading: Vec<String>, taken_at: Timestamp) -> Snapshot {
        let mut snapshot = Snapshot {
            taken_at,
            user: self.user.clone(),
            service: assembled.view,
            clusters: others.views,
            aliases: others.aliases,
            gone_prowjobs: others.gone,
            prowjobs: assembled.prowjobs,
            prow: assembled.prow,
            desired: self.desired.map(|desired| desired.with_further(&self.further)),
            interrupted: self.interrupted.clone(),
            refused: self.refused.clone(),
            checked: self.checked.clone(),
            checkconfig: self.checkconfig.clone(),
            reading,
        };
        let loading = snapshot.sources().into_iter().filter(|status| !status.source.is_settled());
        let loading: Vec<String> = loading.map(|status| status.name).collect();
        snapshot.reading.extend(loading.into_iter().filter(|name| name != "git"));
        snapshot
    }
}

/// When to look at what came in, and which looks are shown.
struct Pacing {
    /// `None`: nothing new came in.
    next: Option<Instant>,
    /// When the last look was over.
    last: Instant,
    /// No sooner after it is there another one.
    pause: Duration,
    shown: Option<Instant>,
    /// Not everything was answered once.
    opening: bool,
}

impl Pacing {
    fn new(now: Instant) -> Self {
        Pacing { next: Some(now), last: now, pause: Duration::ZERO, shown: None, opening: true }
    }

    /// Not before the pause is over.
    fn no_sooner(&self, at: Instant) -> Instant {
        at.max(self.last + self.pause)
    }

    fn look_at(&mut self, at: Instant) {
        let at = self.no_sooner(at);
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// Takes note of a look; whether it is to be shown.
    fn looked(&mut self, begun: Instant, ended: Instant, quiet: bool) -> bool {
        self.opening &= !quiet;
        self.last = ended;
        // As each answer tells what to ask for next, half of the time may go into looking.
        self.pause = if self.opening { (ended - begun).min(PACE) } else { PACE };
        let show_at = self.shown.filter(|_| self.opening).map(|shown| shown + PACE).filter(|at| *at > ended);
        self.next = show_at;
        if show_at.is_none() {
            self.shown = Some(ended);
        }
        show_at.is_none()
    }
}

/// Never, where there is no time.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_all_is_answered_looks_follow_answers_and_what_is_shown_keeps_its_pace() {
        let ms = Duration::from_millis;
        let begun = Instant::now();
        let at = |passed| begun + ms(passed);
        let mut pacing = Pacing::new(begun);
        assert!(pacing.looked(at(0), at(4), false), "the first look is shown");
        pacing.look_at(at(5));
        assert_eq!(pacing.next, Some(at(8)), "a pause as long as the look took");
        assert!(!pacing.looked(at(8), at(10), false), "too soon to be shown");
        assert_eq!(pacing.next, Some(at(104)), "shown later, if nothing comes");
        pacing.look_at(at(30));
        assert_eq!(pacing.next, Some(at(30)));
        assert!(pacing.looked(at(30), at(31), true), "the first complete picture waits for nothing");
        pacing.look_at(at(32));
        assert_eq!(pacing.next, Some(at(131)), "from now on at its pace");
        assert!(pacing.looked(at(131), at(133), false), "and each look is shown");
        assert_eq!(pacing.next, None);
    }
}
