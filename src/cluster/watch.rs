//! Lists that keep themselves up to date.
//!
//! A list is swapped only when a new one has come in completely; what fails is told (`Denied`, `Lost`) and tried again
//! with client-go's back-off of 0.8 to 30 s. Watches end after [`WATCH_SECONDS`] and the client gives up on a silent one
//! 5 s later, so that a frozen server or a dropped connection is noticed; the age of data is the heartbeat's affair.
//!
//! To watch another kind: a unit struct with an `impl Listed`.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::runtime::watcher::{self, watcher};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::job_pods::{self, CREATED_BY_PROW, EventRow, JobPod};
use super::objects::{self, EndpointsRow, PodRow, ReplicaSetRow, Workload};
use super::prow_job::{ProwJob, prow_job};
use super::runs::{self, JobRow};
use super::{Cluster, errors};
use crate::model::{self, Alias, ConfigMapState, CronJobState, Failure, FailureKind, Key, ProwPod};

/// How long the server keeps one watch open.
pub const WATCH_SECONDS: u32 = 25;
const SHORTEST: Duration = Duration::from_millis(800);
const LONGEST: Duration = Duration::from_secs(30);
/// A list that held this long is healthy again, and its next failure starts over at [`SHORTEST`].
const HEALTHY: Duration = Duration::from_secs(120);

/// A complete list whose watch failed may stay on show, unconfirmed, for so long until it is asked for again.
const UNSAID: Duration = Duration::from_secs(2);

/// Where a list looks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    Cluster,
    Namespace(String),
    /// The whole cluster but this namespace: the server leaves it out.
    Without(String),
    /// One object, by name.
    One(Key),
}

/// What came of a list since the last time.
#[derive(Debug)]
pub enum Change<T> {
    /// A complete new list.
    Swapped(BTreeMap<Key, T>),
    Applied(Key, T),
    Gone(Key),
    /// Not allowed; `verb` as in `list pods in namespace prow`.
    Denied {
        verb: String,
    },
    Lost(Failure),
}

/// A kind of object to be listed and watched, and the row that is kept of it.
pub trait Listed: 'static {
    type Object: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + serde::de::DeserializeOwned
        + Clone
        + std::fmt::Debug
        + Send
        + 'static;
    type Row: Send + 'static;
    /// Plural, as in RBAC.
    const RESOURCE: &'static str;
    const LABELS: Option<&'static str> = None;
    const FIELDS: Option<&'static str> = None;
    /// Objects a page: fewer where they are big.
    const PAGE: u32 = 500;

    fn row(alias: &Alias, object: Self::Object) -> Option<Self::Row>;
}

macro_rules! listed {
    ($name:ident, $object:ty, $row:ty, $resource:literal, $convert:expr $(, $constant:ident = $value:expr)*) => {
        pub struct $name;
        impl Listed for $name {
            type Object = $object;
            type Row = $row;
            const RESOURCE: &'static str = $resource;
            $(listed!(@ $constant = $value);)*
            fn row(alias: &Alias, object: $object) -> Option<$row> {
                let convert: fn(&Alias, $object) -> Option<$row> = $convert;
                convert(alias, object)
            }
        }
    };
    (@ labels = $value:expr) => { const LABELS: Option<&'static str> = Some($value); };
    (@ fields = $value:expr) => { const FIELDS: Option<&'static str> = Some($value); };
    (@ page = $value:expr) => { const PAGE: u32 = $value; };
}

listed!(Deployments, Deployment, Workload, "deployments", |alias, o| objects::deployment(alias, &o));
listed!(StatefulSets, StatefulSet, Workload, "statefulsets", |alias, o| objects::stateful_set(alias, &o));
listed!(DaemonSets, DaemonSet, Workload, "daemonsets", |alias, o| objects::daemon_set(alias, &o));
listed!(CronJobs, CronJob, Workload, "cronjobs", |alias, o| objects::cron_job(alias, &o));
// The pods of ten thousand jobs cost nothing where the server leaves them out.
listed!(Pods, Pod, PodRow, "pods", |alias, o| objects::pod(alias, &o), labels = "created-by-prow!=true");
listed!(ReplicaSets, ReplicaSet, ReplicaSetRow, "replicasets", |_, o| objects::replica_set(&o));
listed!(ConfigMaps, ConfigMap, ConfigMapState, "configmaps", objects::config_map, page = 20);
listed!(
    Endpoints,
    EndpointSlice,
    EndpointsRow,
    "endpointslices",
    |_, o| objects::endpoints(&o),
    labels = "kubernetes.io/service-name"
);
listed!(JobPods, JobPod, Arc<ProwPod>, "pods", job_pods::job_pod, labels = CREATED_BY_PROW);
// What is no pod's and what is no warning, the server leaves out.
listed!(
    PodWarnings,
    Event,
    EventRow,
    "events",
    |_, o| job_pods::event(o),
    fields = "involvedObject.kind=Pod,type=Warning"
);
listed!(AllCronJobs, CronJob, CronJobState, "cronjobs", |alias, o| runs::cron_job(alias, &o));
listed!(Jobs, Job, JobRow, "jobs", |_, o| runs::job(&o));
listed!(ProwJobs, ProwJob, Arc<model::ProwJob>, "prowjobs", |_, o| prow_job(&o).map(Arc::new), page = 100);

/// What the list is about, in words: `list pods in namespace prow`.
pub fn doing<L: Listed>(scope: &Scope) -> String {
    match scope {
        Scope::Cluster => format!("list {} in all namespaces", L::RESOURCE),
        Scope::Namespace(namespace) => format!("list {} in namespace {namespace}", L::RESOURCE),
        Scope::Without(namespace) => format!("list {} in all namespaces but {namespace}", L::RESOURCE),
        Scope::One(key) => format!("list {} {} in namespace {}", L::RESOURCE, key.name, key.namespace),
    }
}

/// Keeps a list up to date until dropped, or until `emit` says that nobody listens. Rows that `keep` refuses are left
/// out (and taken out, when they change into such). `wake` ends a back-off early.
pub async fn keep_listed<L: Listed>(
    cluster: Cluster,
    scope: Scope,
    keep: impl Fn(&L::Row) -> bool + Send,
    wake: Arc<Notify>,
    emit: impl Fn(Change<L::Row>) -> bool + Send,
) {
    let doing = doing::<L>(&scope);
    let api: Api<L::Object> = match &scope {
        Scope::Cluster | Scope::Without(_) => Api::all(cluster.client()),
        Scope::Namespace(namespace) | Scope::One(Key { namespace, .. }) => Api::namespaced(cluster.client(), namespace),
    };
    let config = watcher::Config {
        label_selector: L::LABELS.map(str::to_owned),
        field_selector: fields::<L>(&scope),
        ..watcher::Config::default().timeout(WATCH_SECONDS).page_size(L::PAGE)
    };
    let row = |object: L::Object| {
        let key = objects::key(kube::Resource::meta(&object))?;
        Some((key, L::row(cluster.alias(), object).filter(|row| keep(row))))
    };
    let mut pause = SHORTEST;
    loop {
        let mut stream = std::pin::pin!(watcher(api.clone(), config.clone()));
        let mut coming: BTreeMap<Key, L::Row> = BTreeMap::new();
        let mut complete: Option<Instant> = None;
        let failure = loop {
            let change = match stream.next().await {
                Some(Ok(watcher::Event::Init)) => {
                    coming.clear();
                    continue;
                }
                Some(Ok(watcher::Event::InitApply(object))) => {
                    if let Some((key, Some(row))) = row(object) {
                        coming.insert(key, row);
                    }
                    continue;
                }
                Some(Ok(watcher::Event::InitDone)) => {
                    complete = Some(Instant::now());
                    Change::Swapped(std::mem::take(&mut coming))
                }
                Some(Ok(watcher::Event::Apply(object))) => match row(object) {
                    Some((key, Some(row))) => Change::Applied(key, row),
                    Some((key, None)) => Change::Gone(key),
                    None => continue,
                },
                Some(Ok(watcher::Event::Delete(object))) => match objects::key(kube::Resource::meta(&object)) {
                    Some(key) => Change::Gone(key),
                    None => continue,
                },
                Some(Err(error)) => break explain::<L>(cluster.at_server(errors::classify_watch(&error, &doing))),
                None => break Failure::new(FailureKind::Server, format!("could not {doing}: the watch ended")),
            };
            if !emit(change) {
                return;
            }
        };
        // The stream is not polled again: the new one starts with a list, which proves that we see again. A list that
        // was complete gets a silent try, as servers drop watches when they restart; but a soon one only. The server may
        // answer the heartbeat all the while, and a list that nobody keeps up to date would look confirmed.
        let held = complete.map(|since| since.elapsed());
        if held.is_some_and(|held| held >= HEALTHY) {
            pause = SHORTEST;
        }
        let denied = errors::denied_verb(&failure).map(str::to_owned);
        let wait = if denied.is_some() { LONGEST } else { jittered(pause) };
        if denied.is_some() || held.is_none() || wait > UNSAID {
            let change = denied.map_or(Change::Lost(failure), |verb| Change::Denied { verb });
            if !emit(change) {
                return;
            }
        }
        pause = (pause * 2).min(LONGEST);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = wake.notified() => {}
        }
    }
}

/// What the server leaves out beside labels.
fn fields<L: Listed>(scope: &Scope) -> Option<String> {
    let selected = match scope {
        Scope::Without(namespace) => Some(format!("metadata.namespace!={namespace}")),
        Scope::One(key) => Some(format!("metadata.name={}", key.name)),
        Scope::Cluster | Scope::Namespace(_) => None,
    };
    let all: Vec<String> = L::FIELDS.map(str::to_owned).into_iter().chain(selected).collect();
    (!all.is_empty()).then(|| all.join(","))
}

/// A list that is not found is of a kind that the server does not know.
fn explain<L: Listed>(failure: Failure) -> Failure {
    if failure.kind != FailureKind::NotFound {
        return failure;
    }
    failure
        .cause(format!("the server knows no {}", L::RESOURCE))
        .hint("is the CustomResourceDefinition installed, and is this the cluster that Prow's services run in?")
}

/// Between one and two times as long, so that lists that failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let share = RandomState::new().hash_one(()) % 1000;
    pause + pause.mul_f64(share as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::Client;
    use kube::client::Body;
    use tokio::sync::mpsc;

    use super::*;

    /// Lists well; watches never, and then nobody waits.
    fn server_without_watches(wake: Arc<Notify>) -> Cluster {
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = if request.uri().query().unwrap_or_default().contains("watch=") {
                wake.notify_one();
                Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
            } else {
                let list =
                    r#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[]}"#;
                Ok(Response::new(Body::from(list.as_bytes().to_vec())))
            };
            std::future::ready(answer)
        });
        super::super::fake::cluster_over(Client::new(service, "default"))
    }

    #[tokio::test]
    async fn a_list_that_nobody_keeps_up_to_date_is_lost_while_it_waits_for_long() {
        let (send, mut changes) = mpsc::unbounded_channel();
        let wake = Arc::new(Notify::new());
        let keeper = keep_listed::<ConfigMaps>(
            server_without_watches(Arc::clone(&wake)),
            Scope::Namespace("prow".to_owned()),
            |_| true,
            wake,
            move |change| send.send(change).is_ok(),
        );
        let keeper = tokio::spawn(keeper);
        let mut told = Vec::new();
        while told.iter().filter(|swapped| **swapped).count() < 5 {
            told.push(match changes.recv().await.expect("it goes on") {
                Change::Swapped(_) => true,
                Change::Lost(_) => false,
                other => panic!("{other:?}"),
            });
        }
        keeper.abort();
        // 0.8 to 1.6 s go unsaid; 1.6 to 3.2 s do by chance; what is longer never does.
        assert_eq!(told[..2], [true, true], "a watch that drops is no loss: {told:?}");
        assert!(told.ends_with(&[true, false, true, false, true]), "{told:?}");
    }
}
