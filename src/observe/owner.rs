//! The task that owns what came in. All others only send: a task a list, a heartbeat, one a log, one for the repository.
//! After each change the owner works out what is wanted now and starts it, and makes a snapshot, at most one each
//! [`PACE`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::assemble::{Assembled, Names, assemble, is_component};
use super::desired::DesiredOptions;
use super::heartbeat::{self, Introduction};
use super::logs::{Said, Want};
use super::raw::{ByNamespace, Contact, List, Raw, WorkloadKind};
use super::repository::{self, Deployed};
use super::wanted::{ListId, wanted};
use crate::cluster::Cluster;
use crate::cluster::watch::{
    Change, ConfigMaps, CronJobs, DaemonSets, Deployments, Endpoints, Listed, Pods, ProwJobs, ReplicaSets, Scope,
    StatefulSets, keep_listed,
};
use crate::git::Repository;
use crate::model::{Desired, Failure, InterruptedRun, RefusedContent, Snapshot, Source, Timestamp};
use crate::prow::log;

/// Snapshots follow each other no faster.
const PACE: Duration = Duration::from_millis(100);
/// Logs read at the same time.
const LOGS_AT_ONCE: usize = 4;

/// What comes in.
pub enum Message {
    /// A change of a list, to be put where it belongs.
    List(Box<dyn FnOnce(&mut Raw) + Send>),
    Contact(Result<(), Failure>),
    Introduced(Box<Introduction>),
    Log(Want, Result<Said, Failure>),
    /// The repository, as read for what was deployed.
    Desired(Deployed, Box<Source<Desired>>),
    Interrupted(Vec<InterruptedRun>),
    Refused(Vec<RefusedContent>),
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
}

pub struct Owner {
    cluster: Cluster,
    names: Names,
    /// Namespaces to look into where the whole cluster may not be listed.
    known: Vec<String>,
    raw: Raw,
    beside: Beside,
    lists: BTreeMap<ListId, AbortHandle>,
    tasks: JoinSet<()>,
    reading: Arc<Semaphore>,
    /// Ends the back-off of lists.
    wake: Arc<Notify>,
    refresh: Arc<Notify>,
    send: mpsc::UnboundedSender<Message>,
    /// What the repository's reader needs to know of the cluster; `None` until it is known.
    deployed: watch::Sender<Option<Deployed>>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    quiet: watch::Sender<bool>,
}

impl Owner {
    pub fn new(
        cluster: Cluster,
        names: Names,
        send: mpsc::UnboundedSender<Message>,
        refresh: Arc<Notify>,
    ) -> (Owner, watch::Receiver<Arc<Snapshot>>, watch::Receiver<bool>) {
        let raw = Raw::default();
        let beside = Beside {
            user: None,
            desired: Source::Loading,
            desired_for: None,
            interrupted: Vec::new(),
            refused: Vec::new(),
        };
        let first = beside.snapshot(assemble(&names, &raw), Timestamp::now());
        let (snapshots, snapshots_in) = watch::channel(Arc::new(first));
        let (quiet, quiet_in) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(heartbeat::beat(cluster.clone(), send.clone(), refresh.clone()));
        let known = std::iter::once(cluster.namespace().to_owned()).chain(names.asked.iter().cloned()).collect();
        let owner = Owner {
            cluster,
            names,
            known,
            raw,
            beside,
            lists: BTreeMap::new(),
            tasks,
            reading: Arc::new(Semaphore::new(LOGS_AT_ONCE)),
            wake: Arc::new(Notify::new()),
            refresh,
            send,
            deployed: watch::channel(None).0,
            snapshots,
            quiet,
        };
        (owner, snapshots_in, quiet_in)
    }

    pub fn follow_repository(&mut self, repository: Result<Repository, Failure>, options: DesiredOptions) {
        let send = self.send.clone();
        let emit = move |deployed, desired| send.send(Message::Desired(deployed, Box::new(desired))).is_ok();
        let (deployed, refresh) = (self.deployed.subscribe(), self.refresh.clone());
        self.tasks.spawn(repository::follow(repository, options, deployed, refresh, emit));
    }

    pub async fn run(mut self, mut receive: mpsc::UnboundedReceiver<Message>) {
        let mut publish_at = Some(Instant::now());
        let mut last = Instant::now();
        loop {
            let log_at = self.raw.logs.next_due().map(|at| {
                let wait = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
                (Instant::now() + wait).max(last + PACE)
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
                    publish_at = publish_at.or(Some(last + PACE));
                }
                () = sleep_until(publish_at) => {
                    self.publish();
                    last = Instant::now();
                    publish_at = None;
                }
                () = sleep_until(log_at) => publish_at = publish_at.or(Some(last + PACE)),
            }
        }
    }

    fn take(&mut self, message: Message) {
        let was_silent = matches!(self.raw.contact, Contact::Silent { .. });
        match message {
            Message::List(change) => change(&mut self.raw),
            Message::Contact(Ok(())) => self.raw.contact.answered(Timestamp::now()),
            Message::Contact(Err(failure)) => self.raw.contact.failed(failure),
            Message::Introduced(introduction) => {
                let Introduction { identity, version, user } = *introduction;
                self.raw.identity = identity;
                self.raw.version = version.or(self.raw.version.take());
                self.beside.user = user.or(self.beside.user.take());
            }
            Message::Log(want, outcome) => self.raw.logs.read(&want.id, outcome, Timestamp::now()),
            Message::Desired(deployed, desired) => {
                self.beside.desired = *desired;
                self.beside.desired_for = Some(deployed);
            }
            Message::Interrupted(runs) => self.beside.interrupted = runs,
            Message::Refused(refused) => self.beside.refused = refused,
            Message::Refresh => self.wake.notify_waiters(),
        }
        if was_silent && matches!(self.raw.contact, Contact::Answering { .. }) {
            self.wake.notify_waiters();
        }
    }

    fn publish(&mut self) {
        let now = Timestamp::now();
        let assembled = assemble(&self.names, &self.raw);
        if let Source::Known { value, at } = &assembled.prow {
            self.raw.settings = Some((value.clone(), *at));
        }
        self.want_lists();
        self.want_logs(&assembled, now);
        let deployed = Deployed::of(&assembled);
        self.deployed.send_if_modified(|held| {
            let new = deployed.is_some() && *held != deployed;
            if new {
                held.clone_from(&deployed);
            }
            new
        });
        let quiet = self.raw.is_settled()
            && self.beside.desired.is_settled()
            && self.beside.desired_for == *self.deployed.borrow();
        // A silent server has answered for nothing.
        if quiet && matches!(self.raw.contact, Contact::Answering { .. }) {
            self.raw.opening = false;
        }
        self.snapshots.send_replace(Arc::new(self.beside.snapshot(assembled, now)));
        self.quiet.send_if_modified(|held| std::mem::replace(held, quiet) != quiet);
    }

    fn want_logs(&mut self, assembled: &Assembled, now: Timestamp) {
        let (Some(components), Some(maps)) = (assembled.view.components.seen(), assembled.view.config_maps.seen())
        else {
            return;
        };
        for want in self.raw.logs.due(components, maps, now) {
            let (cluster, send, reading) = (self.cluster.clone(), self.send.clone(), self.reading.clone());
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

    /// Starts the lists that what was found asks for, and ends those that nobody asks for any more.
    fn want_lists(&mut self) {
        let wanted = wanted(&self.raw, &self.beside.desired, &self.names.alias, &self.known);
        let gone: Vec<ListId> = self.lists.keys().filter(|id| !wanted.contains(*id)).cloned().collect();
        for id in gone {
            if let Some(task) = self.lists.remove(&id) {
                task.abort();
            }
            match &id {
                ListId::Workloads(kind, scope) => drop(self.raw.workloads.remove(&(*kind, scope.clone()))),
                ListId::Pods(namespace) => drop(self.raw.pods.remove(namespace)),
                ListId::ReplicaSets(namespace) => drop(self.raw.replica_sets.remove(namespace)),
                ListId::ConfigMaps(namespace) => drop(self.raw.config_maps.remove(namespace)),
                ListId::Endpoints(namespace) => drop(self.raw.endpoints.remove(namespace)),
                ListId::ProwJobs(namespace) => drop(self.raw.prowjobs.remove(namespace)),
            }
        }
        for id in wanted {
            if !self.lists.contains_key(&id) {
                let task = self.start(&id);
                self.lists.insert(id, task);
            }
        }
    }

    fn start(&mut self, id: &ListId) -> AbortHandle {
        match id {
            ListId::Workloads(kind, scope) => {
                let at = (*kind, scope.clone());
                self.raw.workloads.entry(at.clone()).or_default();
                let scope = scope.clone();
                match kind {
                    WorkloadKind::Deployment => {
                        self.keep::<Deployments>(scope, is_component, move |raw| raw.workloads.get_mut(&at))
                    }
                    WorkloadKind::StatefulSet => {
                        self.keep::<StatefulSets>(scope, is_component, move |raw| raw.workloads.get_mut(&at))
                    }
                    WorkloadKind::DaemonSet => {
                        self.keep::<DaemonSets>(scope, is_component, move |raw| raw.workloads.get_mut(&at))
                    }
                    WorkloadKind::CronJob => {
                        self.keep::<CronJobs>(scope, is_component, move |raw| raw.workloads.get_mut(&at))
                    }
                }
            }
            ListId::Pods(namespace) => self.within::<Pods>(namespace, |raw| &mut raw.pods),
            ListId::ReplicaSets(namespace) => self.within::<ReplicaSets>(namespace, |raw| &mut raw.replica_sets),
            ListId::ConfigMaps(namespace) => self.within::<ConfigMaps>(namespace, |raw| &mut raw.config_maps),
            ListId::Endpoints(namespace) => self.within::<Endpoints>(namespace, |raw| &mut raw.endpoints),
            ListId::ProwJobs(namespace) => self.within::<ProwJobs>(namespace, |raw| &mut raw.prowjobs),
        }
    }

    fn within<L: Listed>(&mut self, namespace: &str, lists: fn(&mut Raw) -> &mut ByNamespace<L::Row>) -> AbortHandle {
        lists(&mut self.raw).entry(namespace.to_owned()).or_default();
        let at = namespace.to_owned();
        self.keep::<L>(Scope::Namespace(namespace.to_owned()), |_| true, move |raw| lists(raw).get_mut(&at))
    }

    /// Keeps a list; `list` finds its place, which is gone when it is wanted no more.
    fn keep<L: Listed>(
        &mut self,
        scope: Scope,
        keep: fn(&L::Row) -> bool,
        list: impl for<'a> Fn(&'a mut Raw) -> Option<&'a mut List<L::Row>> + Clone + Send + 'static,
    ) -> AbortHandle {
        let send = self.send.clone();
        let emit = move |change: Change<L::Row>| {
            let list = list.clone();
            let apply = move |raw: &mut Raw| {
                let before = raw.contact.at();
                match &change {
                    Change::Swapped(_) | Change::Applied(..) | Change::Gone(_) => {
                        raw.contact.answered(Timestamp::now())
                    }
                    Change::Denied { .. } | Change::Lost(_) => {}
                }
                if let Some(list) = list(raw) {
                    list.apply(change, before);
                }
            };
            send.send(Message::List(Box::new(apply))).is_ok()
        };
        self.tasks.spawn(keep_listed::<L>(self.cluster.clone(), scope, keep, self.wake.clone(), emit))
    }
}

impl Beside {
    fn snapshot(&self, assembled: Assembled, taken_at: Timestamp) -> Snapshot {
        Snapshot {
            taken_at,
            user: self.user.clone(),
            service: assembled.view,
            clusters: BTreeMap::new(),
            aliases: BTreeMap::new(),
            gone_prowjobs: Vec::new(),
            prowjobs: assembled.prowjobs,
            prow: assembled.prow,
            desired: self.desired.clone(),
            interrupted: self.interrupted.clone(),
            refused: self.refused.clone(),
        }
    }
}

/// Never, where there is no time.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
