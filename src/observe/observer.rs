//! The handle on everything that looks: start, subscribe, look once, stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;

use super::assemble::Names;
use super::builds::BuildContexts;
use super::owner::{Inlets, Message, Owner};
use crate::clock::Clock;
use crate::cluster::{Cluster, errors};
use crate::model::{Alias, Candidate, Checked, Failure, InterruptedRun, RefusedContent, Snapshot, Source};

use super::desired::{DesiredOptions, Prepared};

/// What a look is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interest {
    /// All that a diagnosis wants, kept up to date.
    #[default]
    Everything,
    /// What decides which revision would be written, and how the live ConfigMaps differ from it: components, their logs,
    /// ConfigMaps, the repository. Each list is asked for once; all others are empty or loading in the snapshots, so that
    /// only [`crate::diagnose::configuration`] may judge them.
    Configuration,
}

/// What to look at beyond the cluster itself.
#[derive(Debug, Clone)]
pub struct ObserveOptions {
    pub interest: Interest,
    /// Namespaces to look into where lists over the whole cluster are denied; the context's own, `default` and `prow`
    /// are tried anyway.
    pub namespaces: Vec<String>,
    /// What to read of the configuration repository.
    pub desired: DesiredOptions,
    /// Prow's name of the cluster that its components run in.
    pub service_alias: Alias,
    /// What snapshots are dated with.
    pub clock: Clock,
    /// How to reach build clusters.
    pub builds: BuildContexts,
}

/// Keeps looking until it is dropped.
pub struct Observer {
    inlets: Inlets,
    send: mpsc::UnboundedSender<Message>,
    refresh: Arc<Notify>,
    owner: AbortHandle,
}

impl Drop for Observer {
    fn drop(&mut self) {
        // The owner holds the set of all other tasks, which ends with it.
        self.owner.abort();
    }
}

impl Observer {
    /// Starts to look; must be called within a tokio runtime. Nothing fails here: what cannot be seen is said in the
    /// snapshots. Without a repository, give the failure that says how to name one.
    pub fn start(
        cluster: Cluster,
        repository: impl Future<Output = Result<Prepared, Failure>> + Send + 'static,
        options: ObserveOptions,
    ) -> Observer {
        let names = Names {
            alias: options.service_alias,
            context: cluster.context().to_owned(),
            server: cluster.server().to_owned(),
            asked: options.namespaces,
        };
        let refresh = Arc::new(Notify::new());
        let (send, receive) = mpsc::unbounded_channel();
        let (mut owner, inlets) =
            Owner::new(options.interest, cluster, names, options.clock, options.builds, send.clone(), refresh.clone());
        owner.follow_repository(repository, options.desired);
        let owner = tokio::spawn(owner.run(receive)).abort_handle();
        Observer { inlets, send, refresh, owner }
    }

    /// The newest snapshot, always; those in between may be skipped.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.inlets.snapshots.clone()
    }

    /// The clusters that may be planned on, by their keys in snapshots: the service cluster, and build clusters that are given
    /// or proven.
    pub fn clusters(&self) -> BTreeMap<Alias, Cluster> {
        self.inlets.clusters.borrow().clone()
    }

    /// Looks once: waits until every source has answered in some way. What has not answered `within` the time is lost.
    pub async fn settled(&mut self, within: Duration) -> Arc<Snapshot> {
        let in_time = tokio::time::timeout(within, self.inlets.quiet.wait_for(|quiet| *quiet)).await;
        let seen = self.inlets.snapshots.borrow_and_update().clone();
        match in_time {
            Ok(Ok(_)) => seen,
            Ok(Err(_)) | Err(_) => Arc::new(given_up(&seen, within)),
        }
    }

    /// Asks again what can be asked again: the server, lists in their back-off, the repository.
    pub fn refresh(&self) {
        self.refresh.notify_waiters();
        self.tell(Message::Refresh);
    }

    /// Runs of this program that did not end, from the journal.
    pub fn set_interrupted(&self, runs: Vec<InterruptedRun>) {
        self.tell(Message::Interrupted(runs));
    }

    /// Contents that a component is known to have refused, from the journal.
    pub fn set_refused(&self, refused: Vec<RefusedContent>) {
        self.tell(Message::Refused(refused));
    }

    /// What is known of contents beyond that: what ran on them before, what a checkconfig said; and revisions older than
    /// those that were read, that whoever asked it found to be good.
    pub fn set_checked(&self, checked: Vec<Checked>, further: Vec<Candidate>) {
        self.tell(Message::Checked(checked, further));
    }

    /// How the checkconfig answers that those come from; `None` where there is none to ask.
    pub fn set_checkconfig(&self, checkconfig: Option<Source<()>>) {
        self.tell(Message::Checkconfig(checkconfig));
    }

    fn tell(&self, message: Message) {
        // The owner ends only with its runtime, and then nobody looks at snapshots either.
        drop(self.send.send(message));
    }
}

/// What still loads will not be waited for.
fn given_up(seen: &Snapshot, within: Duration) -> Snapshot {
    fn end<T>(source: &mut Source<T>, doing: &str, within: Duration) {
        if !source.is_settled() {
            *source = Source::Lost { error: errors::timed_out(doing, within), last: None };
        }
    }
    let mut snapshot = seen.clone();
    let view = &mut snapshot.service;
    end(&mut view.components, "list Prow's components", within);
    end(&mut view.endpoints, "list endpointslices", within);
    for view in std::iter::once(&mut snapshot.service).chain(snapshot.clusters.values_mut()) {
        end(&mut view.identity, "get namespace kube-system", within);
        end(&mut view.config_maps, "list configmaps", within);
        end(&mut view.job_pods, "list pods of jobs", within);
        end(&mut view.census, "count the pods of the pod namespace", within);
        end(&mut view.pod_events, "list events", within);
        end(&mut view.rollouts, "list replicasets", within);
        end(&mut view.cron_jobs, "list cronjobs", within);
        for part in &mut view.parts {
            end(&mut part.source, &format!("list {}", part.name), within);
        }
    }
    end(&mut snapshot.prowjobs, "list prowjobs", within);
    end(&mut snapshot.prow, "read prowjob_namespace from the live configuration", within);
    end(&mut snapshot.desired, "read the configuration repository", within);
    snapshot
}
