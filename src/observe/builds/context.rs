//! One context beside the service cluster's: what it answered, and what it shows.

use std::collections::BTreeMap;

use tokio::task::AbortHandle;

use crate::model::{Alias, AliasPlace, ClusterStanding, ClusterView, Failure};
use crate::observe::aliases::is_counted;
use crate::observe::heartbeat::unseen;
use crate::observe::jobs::{self, JobIndex};
use crate::observe::raw::Contact;
use crate::observe::watched::Watched;

pub enum State {
    Connecting,
    Failed(Failure),
    Watching(Box<Watched>, AbortHandle),
}

pub struct Context {
    pub key: Alias,
    pub server: String,
    /// Aliases that a person gave it.
    pub given: Vec<Alias>,
    /// Pods there have the names of live ProwJobs, or did.
    pub is_tied: bool,
    pub state: State,
}

impl Context {
    pub fn standing(&self) -> ClusterStanding {
        if !self.given.is_empty() || self.is_tied { ClusterStanding::Build } else { ClusterStanding::Unproven }
    }

    /// Its pods were counted, so that nothing of this Prow would have been overlooked.
    pub fn has_answered(&self) -> bool {
        match &self.state {
            State::Connecting | State::Failed(_) => false,
            State::Watching(watched, _) => {
                is_counted(&watched.raw)
                    && matches!(watched.raw.contact, Contact::Answering { .. })
                    && watched.raw.jobs.is_seen()
            }
        }
    }

    pub fn stop(&mut self) {
        if let State::Watching(watched, beat) = &mut self.state {
            watched.stop();
            beat.abort();
        }
    }

    pub fn view(&self, name: &str, jobs: &JobIndex, aliases: &BTreeMap<Alias, AliasPlace>) -> ClusterView {
        let loading = ClusterView::loading(self.key.clone(), self.standing(), name, &self.server);
        match &self.state {
            State::Connecting => loading,
            State::Failed(failure) => ClusterView {
                identity: unseen(failure.clone()),
                config_maps: unseen(failure.clone()),
                job_pods: unseen(failure.clone()),
                census: unseen(failure.clone()),
                pod_events: unseen(failure.clone()),
                ..loading
            },
            State::Watching(watched, _) => {
                let raw = &watched.raw;
                let (config_maps, mut parts) = raw.single_maps();
                parts.splice(0..0, jobs::parts(raw));
                ClusterView {
                    identity: raw
                        .identity()
                        .map(|identity| crate::model::ClusterIdentity { alias: self.key.clone(), ..identity.clone() }),
                    version: raw.version.clone(),
                    clock_ahead: raw.clock_ahead,
                    job_pods: jobs::job_pods(raw, &self.key, jobs, aliases),
                    census: jobs::census(raw),
                    pod_events: jobs::pod_events(raw),
                    secrets_in_use: jobs::secrets_in_use(raw),
                    config_maps,
                    parts,
                    ..loading
                }
            }
        }
    }
}
