//! One cluster that is looked at: what came in from it, and the tasks that keep its lists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use super::assemble::{Names, is_component};
use super::jobs::Census;
use super::observer::Interest;
use super::owner::{Message, Place};
use super::raw::{ByNamespace, List, Raw, Standing, WorkloadKind};
use super::wanted::ListId;
use crate::clock::Clock;
use crate::cluster::watch::{
    AllCronJobs, Change, ConfigMaps, CronJobs, DaemonSets, Deployments, Endpoints, JobPods, Jobs, Listed, PodWarnings,
    Pods, ProwJobs, ReplicaSets, Scope, StatefulSets, keep_listed,
};
use crate::cluster::{Cluster, errors};
use crate::model::Alias;

/// How often the pod namespace is counted: a short answer, but each pod is looked at for it.
const CENSUS: Duration = Duration::from_secs(5);
/// The same where the pods are many.
const LONG_CENSUS: Duration = Duration::from_secs(20);
const MANY: usize = 5000;
/// How often looked-up pods and secrets are looked at again.
const LOOK: Duration = Duration::from_secs(10);
const SECRETS: Duration = Duration::from_secs(60);

/// A cluster, what came in from it, and its lists.
pub struct Watched {
    pub place: Place,
    interest: Interest,
    pub cluster: Cluster,
    pub names: Names,
    clock: Clock,
    /// Namespaces to look into where the whole cluster may not be listed.
    pub known: Vec<String>,
    pub raw: Raw,
    lists: BTreeMap<ListId, AbortHandle>,
    /// Ends the back-off of lists.
    pub wake: Arc<Notify>,
    send: mpsc::UnboundedSender<Message>,
}

impl Watched {
    pub fn new(
        place: Place,
        interest: Interest,
        cluster: Cluster,
        names: Names,
        clock: Clock,
        send: mpsc::UnboundedSender<Message>,
    ) -> Self {
        let known = std::iter::once(cluster.namespace().to_owned()).chain(names.asked.iter().cloned()).collect();
        Watched {
            place,
            interest,
            cluster,
            names,
            clock,
            known,
            raw: Raw::default(),
            lists: BTreeMap::new(),
            wake: Arc::new(Notify::new()),
            send,
        }
    }

    /// Another key for it: what came in is told anew, under that.
    pub fn rekey(&mut self, key: &Alias) {
        self.names.alias = key.clone();
        self.cluster = self.cluster.known_as(key);
    }

    /// Starts the lists that are wanted, and ends those that nobody asks for any more.
    pub fn keep(&mut self, wanted: BTreeSet<ListId>, tasks: &mut JoinSet<()>) {
        let gone: Vec<ListId> = self.lists.keys().filter(|id| !wanted.contains(*id)).cloned().collect();
        for id in gone {
            if let Some(task) = self.lists.remove(&id) {
                task.abort();
            }
            self.forget(&id);
        }
        for id in wanted {
            if !self.lists.contains_key(&id) {
                let task = self.start(&id, tasks);
                self.lists.insert(id, task);
            }
        }
    }

    /// Ends all of its tasks.
    pub fn stop(&mut self) {
        for task in std::mem::take(&mut self.lists).into_values() {
            task.abort();
        }
    }

    fn forget(&mut self, id: &ListId) {
        let raw = &mut self.raw;
        match id {
            ListId::Workloads(kind, scope) => drop(raw.workloads.remove(&(*kind, scope.clone()))),
            ListId::Pods(namespace) => drop(raw.pods.remove(namespace)),
            ListId::ReplicaSets(namespace) => drop(raw.replica_sets.remove(namespace)),
            ListId::ConfigMaps(namespace) => drop(raw.config_maps.remove(namespace)),
            ListId::ConfigMap(key) => drop(raw.single_maps.remove(key)),
            ListId::Endpoints(namespace) => drop(raw.endpoints.remove(namespace)),
            ListId::ProwJobs(namespace) => drop(raw.prowjobs.remove(namespace)),
            ListId::CronJobs(namespace) => drop(raw.cron_jobs.remove(namespace)),
            ListId::Jobs(namespace) => drop(raw.jobs_of_cron.remove(namespace)),
            ListId::JobPods(scope) => drop(raw.jobs.pods.remove(scope)),
            ListId::Warnings(namespace) => drop(raw.jobs.events.remove(namespace)),
            ListId::Census(_) => raw.jobs.census = None,
            ListId::Secrets(_) => raw.jobs.secrets = None,
            // What was looked up stays until the next answer.
            ListId::LookUp(..) => raw.jobs.looked.asked.clear(),
        }
    }

    fn start(&mut self, id: &ListId, tasks: &mut JoinSet<()>) -> AbortHandle {
        match id {
            ListId::Workloads(kind, scope) => {
                let at = (*kind, scope.clone());
                self.raw.workloads.entry(at.clone()).or_default();
                let scope = scope.clone();
                match kind {
                    WorkloadKind::Deployment => {
                        self.list::<Deployments>(tasks, scope, is_component, move |raw| raw.workloads.get_mut(&at))
                    }
                    WorkloadKind::StatefulSet => {
                        self.list::<StatefulSets>(tasks, scope, is_component, move |raw| raw.workloads.get_mut(&at))
                    }
                    WorkloadKind::DaemonSet => {
                        self.list::<DaemonSets>(tasks, scope, is_component, move |raw| raw.workloads.get_mut(&at))
                    }
                    WorkloadKind::CronJob => {
                        self.list::<CronJobs>(tasks, scope, is_component, move |raw| raw.workloads.get_mut(&at))
                    }
                }
            }
            ListId::Pods(namespace) => self.within::<Pods>(tasks, namespace, |raw| &mut raw.pods),
            ListId::ReplicaSets(namespace) => self.within::<ReplicaSets>(tasks, namespace, |raw| &mut raw.replica_sets),
            ListId::ConfigMaps(namespace) => self.within::<ConfigMaps>(tasks, namespace, |raw| &mut raw.config_maps),
            ListId::ConfigMap(key) => {
                self.raw.single_maps.entry(key.clone()).or_default();
                let at = key.clone();
                self.list::<ConfigMaps>(
                    tasks,
                    Scope::One(key.clone()),
                    |_| true,
                    move |raw| raw.single_maps.get_mut(&at),
                )
            }
            ListId::Endpoints(namespace) => self.within::<Endpoints>(tasks, namespace, |raw| &mut raw.endpoints),
            ListId::ProwJobs(namespace) => {
                self.raw.prowjobs.entry(namespace.clone()).or_default();
                let (at, scope) = (namespace.clone(), Scope::Namespace(namespace.clone()));
                let before = Raw::remember_gone;
                self.list_after::<ProwJobs>(tasks, scope, |_| true, before, move |raw| raw.prowjobs.get_mut(&at))
            }
            ListId::CronJobs(namespace) => self.within::<AllCronJobs>(tasks, namespace, |raw| &mut raw.cron_jobs),
            ListId::Jobs(namespace) => self.within::<Jobs>(tasks, namespace, |raw| &mut raw.jobs_of_cron),
            ListId::Warnings(namespace) => self.within::<PodWarnings>(tasks, namespace, |raw| &mut raw.jobs.events),
            ListId::JobPods(scope) => {
                self.raw.jobs.pods.entry(scope.clone()).or_default();
                let at = scope.clone();
                self.list::<JobPods>(tasks, scope.clone(), |_| true, move |raw| raw.jobs.pods.get_mut(&at))
            }
            ListId::Census(namespace) => self.census(tasks, namespace.clone()),
            ListId::Secrets(namespace) => self.secrets(tasks, namespace.clone()),
            ListId::LookUp(namespace, ids) => {
                self.raw.jobs.looked.asked.clone_from(ids);
                self.look_up(tasks, namespace.clone(), ids.clone())
            }
        }
    }

    fn within<L: Listed>(
        &mut self,
        tasks: &mut JoinSet<()>,
        namespace: &str,
        lists: fn(&mut Raw) -> &mut ByNamespace<L::Row>,
    ) -> AbortHandle {
        lists(&mut self.raw).entry(namespace.to_owned()).or_default();
        let at = namespace.to_owned();
        self.list::<L>(tasks, Scope::Namespace(namespace.to_owned()), |_| true, move |raw| lists(raw).get_mut(&at))
    }

    /// Keeps a list; `list` finds its place, which is gone when it is wanted no more.
    fn list<L: Listed>(
        &mut self,
        tasks: &mut JoinSet<()>,
        scope: Scope,
        keep: fn(&L::Row) -> bool,
        list: impl for<'a> Fn(&'a mut Raw) -> Option<&'a mut List<L::Row>> + Clone + Send + 'static,
    ) -> AbortHandle {
        self.list_after::<L>(tasks, scope, keep, |_, _| {}, list)
    }

    /// The same, with something to be done before a change is taken in.
    fn list_after<L: Listed>(
        &mut self,
        tasks: &mut JoinSet<()>,
        scope: Scope,
        keep: fn(&L::Row) -> bool,
        first: fn(&mut Raw, &Change<L::Row>),
        list: impl for<'a> Fn(&'a mut Raw) -> Option<&'a mut List<L::Row>> + Clone + Send + 'static,
    ) -> AbortHandle {
        let (send, place, clock) = (self.send.clone(), self.place.clone(), self.clock.clone());
        // Who listens no more after the first answer needs no watch.
        let goes_on = self.interest == Interest::Everything;
        let emit = move |change: Change<L::Row>| {
            let (list, now) = (list.clone(), clock.now());
            let apply = move |raw: &mut Raw| {
                let before = raw.contact.at();
                match &change {
                    Change::Swapped(_) | Change::Applied(..) | Change::Gone(_) => raw.contact.answered(now),
                    Change::Denied { .. } | Change::Lost(_) => {}
                }
                first(raw, &change);
                if let Some(list) = list(raw) {
                    list.apply(change, before);
                }
            };
            send.send(Message::List(place.clone(), Box::new(apply))).is_ok() && goes_on
        };
        tasks.spawn(keep_listed::<L>(self.cluster.clone(), scope, keep, self.wake.clone(), emit))
    }

    fn census(&mut self, tasks: &mut JoinSet<()>, namespace: String) -> AbortHandle {
        self.raw.jobs.census = Some(Census {
            namespace: namespace.clone(),
            rows: Arc::default(),
            unlabelled: Arc::default(),
            standing: Standing::Loading,
        });
        let (cluster, clock) = (self.cluster.clone(), self.clock.clone());
        self.poll(tasks, move || {
            let (cluster, namespace, clock) = (cluster.clone(), namespace.clone(), clock.clone());
            async move {
                let answer = cluster.census(&namespace).await;
                let now = clock.now();
                let wait = match &answer {
                    Ok((rows, _)) if rows.len() > MANY => LONG_CENSUS,
                    Ok(_) | Err(_) => CENSUS,
                };
                let apply: Apply = Box::new(move |raw: &mut Raw| {
                    let before = raw.contact.at();
                    if answer.is_ok() {
                        raw.contact.answered(now);
                    }
                    let denied = answer.as_ref().err().and_then(errors::denied_verb).map(str::to_owned);
                    raw.jobs.count(&namespace, answer, denied, before);
                });
                (apply, wait)
            }
            .boxed()
        })
    }

    fn look_up(&mut self, tasks: &mut JoinSet<()>, namespace: String, ids: BTreeSet<String>) -> AbortHandle {
        let cluster = self.cluster.clone();
        self.poll(tasks, move || {
            let (cluster, namespace, ids) = (cluster.clone(), namespace.clone(), ids.clone());
            async move {
                let answer = cluster.job_pods(&namespace, &ids).await;
                let apply: Apply = Box::new(move |raw: &mut Raw| {
                    // A failure leaves what was known.
                    let looked = &mut raw.jobs.looked;
                    looked.ids = ids;
                    match answer {
                        Ok(pods) => (looked.pods, looked.error) = (pods, None),
                        Err(error) => looked.error = Some(error),
                    }
                });
                (apply, LOOK)
            }
            .boxed()
        })
    }

    fn secrets(&mut self, tasks: &mut JoinSet<()>, namespace: String) -> AbortHandle {
        self.raw.jobs.secrets = Some((Standing::Loading, BTreeSet::new()));
        let cluster = self.cluster.clone();
        self.poll(tasks, move || {
            let (cluster, namespace) = (cluster.clone(), namespace.clone());
            async move {
                let answer = cluster.secrets_in_use(&namespace).await;
                let apply: Apply = Box::new(move |raw: &mut Raw| {
                    raw.jobs.secrets = Some(match answer {
                        Ok(secrets) => (Standing::Known, secrets),
                        Err(error) => match errors::denied_verb(&error).map(str::to_owned) {
                            Some(verb) => (Standing::Denied { verb }, BTreeSet::new()),
                            None => (Standing::Lost { error, last: None }, BTreeSet::new()),
                        },
                    });
                });
                (apply, SECRETS)
            }
            .boxed()
        })
    }

    /// Asks again and again, until nobody listens.
    fn poll(
        &self,
        tasks: &mut JoinSet<()>,
        ask: impl Fn() -> BoxFuture<'static, (Apply, Duration)> + Send + 'static,
    ) -> AbortHandle {
        let (send, place, wake) = (self.send.clone(), self.place.clone(), self.wake.clone());
        tasks.spawn(async move {
            loop {
                let (apply, wait) = ask().await;
                if send.send(Message::List(place.clone(), apply)).is_err() {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = wake.notified() => {}
                }
            }
        })
    }
}

/// A change of what came in.
pub type Apply = Box<dyn FnOnce(&mut Raw) + Send>;
