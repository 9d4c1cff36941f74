//! The other clusters: which contexts to look into, and what ties one to this Prow.
//!
//! Context names on a laptop are not Prow's aliases. A person may name them (`--build-context ALIAS=CONTEXT`); else the
//! kubeconfig's other contexts are read, and a context is a build cluster where pods there have the names of live ProwJobs. What
//! alias it goes by, their `spec.cluster` tells. That is remembered for the session only.

mod context;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::aliases::{homes, is_counted, is_same_cluster, is_worth_a_look, lead};
use super::assemble::Names;
use super::heartbeat;
use super::jobs::JobIndex;
use super::observer::Interest;
use super::owner::{Message, Place};
use super::raw::{Contact, Raw};
use super::wanted::{JobsWanted, ListId, wanted_of_jobs};
use super::watched::Watched;
use crate::clock::Clock;
use crate::cluster::{Cluster, Contexts};
use crate::model::{Alias, AliasPlace, AliasProof, ClusterStanding, ClusterView, Failure, Key, ProwSettings};
use context::{Context, State};

/// Contexts that are looked into unasked.
const MOST_CONTEXTS: usize = 12;
/// Contexts that are connected to at the same time.
const AT_ONCE: usize = 4;

/// How to reach other clusters.
#[derive(Debug, Clone, Default)]
pub struct BuildContexts {
    /// Where the service cluster is, too.
    pub contexts: Contexts,
    /// `--build-context`. Where there are any, no other context is looked into.
    pub given: Vec<(Alias, String)>,
}

/// All other clusters.
pub struct Builds {
    with: BuildContexts,
    service: Names,
    clock: Clock,
    contexts: BTreeMap<String, Context>,
    /// Aliases that a person said are the service cluster's.
    given_service: Vec<Alias>,
    has_begun: bool,
    has_looked_around: bool,
    /// Aliases that contexts were read for: another one is worth another look.
    looked_for: BTreeSet<Alias>,
    /// Contexts that lead to a cluster which is looked at already, under another address.
    twins: BTreeMap<String, Place>,
    /// Where aliases were last proven to lead, for when no pod is left to prove it.
    proven: BTreeMap<Alias, Place>,
    aliases: BTreeMap<Alias, AliasPlace>,
    connecting: Arc<Semaphore>,
    send: mpsc::UnboundedSender<Message>,
    refresh: Arc<Notify>,
}

impl Builds {
    pub fn new(
        with: BuildContexts,
        service: Names,
        clock: Clock,
        send: mpsc::UnboundedSender<Message>,
        refresh: Arc<Notify>,
    ) -> Builds {
        Builds {
            with,
            service,
            clock,
            contexts: BTreeMap::new(),
            given_service: Vec::new(),
            has_begun: false,
            has_looked_around: false,
            looked_for: BTreeSet::new(),
            twins: BTreeMap::new(),
            proven: BTreeMap::new(),
            aliases: BTreeMap::new(),
            connecting: Arc::new(Semaphore::new(AT_ONCE)),
            send,
            refresh,
        }
    }

    pub fn raw(&mut self, context: &str) -> Option<&mut Raw> {
        match &mut self.contexts.get_mut(context)?.state {
            State::Watching(watched, _) => Some(&mut watched.raw),
            State::Connecting | State::Failed(_) => None,
        }
    }

    /// Looks around again, and at once at what is in its back-off.
    pub fn wake(&mut self) {
        self.has_looked_around = false;
        self.looked_for.clear();
        self.contexts.retain(|_, context| !matches!(context.state, State::Failed(_)));
        self.has_begun = false;
        for context in self.contexts.values() {
            if let State::Watching(watched, _) = &context.state {
                watched.wake.notify_waiters();
            }
        }
    }

    /// A connection was made, or not.
    pub fn connected(&mut self, name: &str, outcome: Result<Cluster, Failure>, tasks: &mut JoinSet<()>) {
        let Some(context) = self.contexts.get_mut(name) else { return };
        context.state = match outcome {
            Err(failure) => State::Failed(failure),
            Ok(cluster) => {
                let cluster = cluster.known_as(&context.key);
                context.server = cluster.server().to_owned();
                let place = Place::Context(name.to_owned());
                let names = Names {
                    alias: context.key.clone(),
                    context: name.to_owned(),
                    server: context.server.clone(),
                    asked: self.service.asked.clone(),
                };
                let beat = heartbeat::beat(
                    cluster.clone(),
                    place.clone(),
                    self.clock.clone(),
                    self.send.clone(),
                    self.refresh.clone(),
                );
                let beat = tasks.spawn(beat);
                State::Watching(
                    Box::new(Watched::new(
                        place,
                        Interest::Everything,
                        cluster,
                        names,
                        self.clock.clone(),
                        self.send.clone(),
                    )),
                    beat,
                )
            }
        };
    }

    /// Does what the newest look asks for: connects, proves, keeps lists. `needed` are the aliases of ProwJobs that go on,
    /// `asked` the ConfigMaps that git asks for, by cluster.
    pub fn follow(
        &mut self,
        service: &Raw,
        settings: Option<&ProwSettings>,
        jobs: &JobIndex,
        needed: &BTreeSet<Alias>,
        asked: &BTreeMap<Alias, BTreeSet<Key>>,
        tasks: &mut JoinSet<()>,
    ) {
        if !self.has_begun {
            self.has_begun = true;
            self.begin(tasks);
        }
        self.part_twins(service);
        self.prove(service, jobs);
        self.look_around(service, jobs, tasks);
        self.leave(jobs, needed);
        for context in self.contexts.values_mut() {
            if let State::Watching(watched, _) = &mut context.state {
                // Before it is known which cluster this is, its pods might be counted twice.
                if !watched.raw.identity.is_settled() {
                    continue;
                }
                watched.raw.jobs.rekey(&context.key);
                // Of a shared cluster no more is read than what is ours to write.
                let asked = asked.get(&context.key).into_iter().flatten();
                let mut wanted: BTreeSet<ListId> = asked.cloned().map(ListId::ConfigMap).collect();
                if let Some(settings) = settings {
                    let of_jobs = JobsWanted {
                        pod_namespace: &settings.pod_namespace,
                        key: &context.key,
                        jobs,
                        aliases: &self.aliases,
                        known: &watched.known,
                    };
                    wanted.extend(wanted_of_jobs(&watched.raw, &of_jobs));
                }
                watched.keep(wanted, tasks);
                if watched.raw.is_settled() && matches!(watched.raw.contact, Contact::Answering { .. }) {
                    watched.raw.opening = false;
                }
            }
        }
    }

    /// What a person named.
    fn begin(&mut self, tasks: &mut JoinSet<()>) {
        self.given_service.clear();
        let others =
            if self.with.given.is_empty() { Vec::new() } else { self.with.contexts.others("").unwrap_or_default() };
        for (alias, name) in self.with.given.clone() {
            let server = others.iter().find(|other| other.context == name).map(|other| other.server.clone());
            if name == self.service.context || server.as_ref() == Some(&self.service.server) {
                self.given_service.push(alias);
                continue;
            }
            if let Some(twin) = self.twins.get(&name).cloned() {
                self.give(&twin, vec![alias]);
                continue;
            }
            let key = if alias == self.service.alias { Alias(name.clone()) } else { alias.clone() };
            match self.contexts.get_mut(&name) {
                Some(context) if context.given.contains(&alias) => {}
                Some(context) => context.given.push(alias),
                None => self.connect(&name, key, server.unwrap_or_default(), vec![alias], tasks),
            }
        }
    }

    fn connect(&mut self, name: &str, key: Alias, server: String, given: Vec<Alias>, tasks: &mut JoinSet<()>) {
        let context = Context { key, server, given, is_tied: false, state: State::Connecting };
        self.contexts.insert(name.to_owned(), context);
        let (send, connecting, name) = (self.send.clone(), self.connecting.clone(), name.to_owned());
        let contexts = self.with.contexts.clone();
        tasks.spawn(async move {
            // The semaphore is never closed.
            let _permit = connecting.acquire().await;
            let outcome = contexts.connect_to(&name).await;
            drop(send.send(Message::Connected(name, Box::new(outcome))));
        });
    }

    /// Adds what a person said of one address of a cluster to its other one.
    fn give(&mut self, to: &Place, aliases: Vec<Alias>) {
        let held = match to {
            Place::Service => &mut self.given_service,
            Place::Context(name) => match self.contexts.get_mut(name) {
                Some(context) => &mut context.given,
                None => return,
            },
        };
        for alias in aliases {
            if !held.contains(&alias) {
                held.push(alias);
            }
        }
    }

    /// One cluster may be reached by several addresses: a tunnel, an inner and an outer one. Its pods are counted once.
    fn part_twins(&mut self, service: &Raw) {
        let raws: Vec<(&String, &Raw)> = self
            .contexts
            .iter()
            .filter_map(|(name, context)| match &context.state {
                State::Watching(watched, _) => Some((name, &watched.raw)),
                State::Connecting | State::Failed(_) => None,
            })
            .collect();
        let mut found: Vec<(String, Place)> = Vec::new();
        for (at, (name, raw)) in raws.iter().enumerate() {
            let earlier = raws[..at].iter().filter(|(other, _)| !found.iter().any(|(twin, _)| twin == *other));
            if is_same_cluster(service, raw) {
                found.push(((*name).clone(), Place::Service));
            } else if let Some((other, _)) = earlier.into_iter().find(|(_, other)| is_same_cluster(other, raw)) {
                found.push(((*name).clone(), Place::Context((*other).clone())));
            }
        }
        for (name, place) in found {
            let Some(mut context) = self.contexts.remove(&name) else { continue };
            context.stop();
            self.proven.retain(|_, proven| *proven != Place::Context(name.clone()));
            self.give(&place, context.given);
            self.twins.insert(name, place);
        }
    }

    /// Other contexts are read only where something is missing.
    fn look_around(&mut self, service: &Raw, jobs: &JobIndex, tasks: &mut JoinSet<()>) {
        if !self.with.given.is_empty() || jobs.is_empty() || !is_counted(service) {
            return;
        }
        let here = service.jobs.evidence(jobs);
        let homes = homes(jobs);
        let is_new = |alias: &Alias| !self.aliases.contains_key(alias) && !self.looked_for.contains(alias);
        if !is_worth_a_look(&here, &homes, self.has_looked_around, is_new) {
            return;
        }
        self.has_looked_around = true;
        self.looked_for.extend(homes);
        // What is wrong with the kubeconfig was said when the service cluster was connected to.
        let others = self.with.contexts.others(&self.service.server).unwrap_or_default();
        for other in others.into_iter().take(MOST_CONTEXTS) {
            if !self.contexts.contains_key(&other.context) && !self.twins.contains_key(&other.context) {
                let key = match other.context == self.service.alias.0 {
                    true => Alias(format!("context {}", other.context)),
                    false => Alias(other.context.clone()),
                };
                self.connect(&other.context, key, other.server, Vec::new(), tasks);
            }
        }
    }

    /// Contexts that turned out to be nothing to this Prow are not looked at any longer. One that does not answer may still
    /// be the one that pods of finished jobs were left in.
    fn leave(&mut self, jobs: &JobIndex, needed: &BTreeSet<Alias>) {
        let is_known = |alias: &Alias| self.aliases.contains_key(alias);
        if jobs.is_empty() || !needed.iter().all(is_known) || !self.is_settled() {
            return;
        }
        let all_known = homes(jobs).iter().all(is_known);
        self.contexts.retain(|_, context| {
            let stays = context.standing() == ClusterStanding::Build || !all_known && !context.has_answered();
            if !stays {
                context.stop();
            }
            stays
        });
    }

    /// True once everything that was begun was answered in some way.
    pub fn is_settled(&self) -> bool {
        self.contexts.values().all(|context| match &context.state {
            State::Connecting => false,
            State::Failed(_) => true,
            State::Watching(watched, _) => {
                matches!(watched.raw.contact, Contact::Silent { .. })
                    || watched.raw.identity.is_settled()
                        && is_counted(&watched.raw)
                        && watched.raw.jobs.is_settled()
                        && watched.raw.single_maps.values().all(|list| !list.standing.is_loading())
            }
        })
    }

    /// Works out where aliases lead. Only when all contexts have answered: half of the evidence may prove the wrong thing.
    fn prove(&mut self, service: &Raw, jobs: &JobIndex) {
        let mut given: BTreeMap<Alias, AliasPlace> = BTreeMap::new();
        let at = |cluster: &Alias, proof| AliasPlace::At { cluster: cluster.clone(), proof };
        for alias in &self.given_service {
            given.insert(alias.clone(), at(&self.service.alias, AliasProof::Given));
        }
        for context in self.contexts.values() {
            for alias in &context.given {
                given.insert(alias.clone(), at(&context.key, AliasProof::Given));
            }
        }
        let all_counted = service.identity.is_settled()
            && is_counted(service)
            && self.contexts.values().all(|context| match &context.state {
                State::Connecting => false,
                State::Failed(_) => true,
                State::Watching(watched, _) => {
                    is_counted(&watched.raw) || matches!(watched.raw.contact, Contact::Silent { .. })
                }
            });
        if !all_counted || jobs.is_empty() {
            // What was known stays while a list is read anew.
            self.aliases.extend(given);
            return;
        }
        let mut found: BTreeMap<Alias, Vec<(Place, usize)>> = BTreeMap::new();
        for (alias, count) in service.jobs.evidence(jobs) {
            found.entry(alias).or_default().push((Place::Service, count));
        }
        for (name, context) in &mut self.contexts {
            let State::Watching(watched, _) = &context.state else { continue };
            for (alias, count) in watched.raw.jobs.evidence(jobs) {
                context.is_tied = true;
                found.entry(alias).or_default().push((Place::Context(name.clone()), count));
            }
        }
        for (alias, places) in &found {
            if let [(place, _)] = places.as_slice() {
                // The first proof stays: pods that are suddenly all somewhere else are what 2019-02-08 looked like.
                self.proven.entry(alias.clone()).or_insert_with(|| place.clone());
            }
        }
        self.name_contexts();
        self.aliases = lead(&self.proven, found, given, |place| self.key(place));
    }

    fn key(&self, place: &Place) -> Option<Alias> {
        match place {
            Place::Service => Some(self.service.alias.clone()),
            Place::Context(name) => self.contexts.get(name).map(|context| context.key.clone()),
        }
    }

    /// A context that is proven goes by Prow's alias; the first one stays.
    fn name_contexts(&mut self) {
        let taken: BTreeSet<Alias> =
            self.contexts.values().map(|context| context.key.clone()).chain([self.service.alias.clone()]).collect();
        for (alias, place) in &self.proven {
            let Place::Context(name) = place else { continue };
            let Some(context) = self.contexts.get_mut(name) else { continue };
            let unnamed = context.given.is_empty() && context.key.0 == *name;
            if unnamed && !taken.contains(alias) {
                context.key = alias.clone();
                if let State::Watching(watched, _) = &mut context.state {
                    watched.rekey(alias);
                }
            }
        }
    }

    pub fn aliases(&self) -> &BTreeMap<Alias, AliasPlace> {
        &self.aliases
    }

    /// Clusters that may be planned on, ready to be written to by a gate.
    pub fn clusters(&self) -> impl Iterator<Item = (Alias, Cluster)> {
        self.contexts.values().filter(|context| context.standing() == ClusterStanding::Build).filter_map(|context| {
            match &context.state {
                State::Watching(watched, _) => Some((context.key.clone(), watched.cluster.known_as(&context.key))),
                State::Connecting | State::Failed(_) => None,
            }
        })
    }

    pub fn views(&self, jobs: &JobIndex) -> BTreeMap<Alias, ClusterView> {
        self.contexts
            .iter()
            .map(|(name, context)| (context.key.clone(), context.view(name, jobs, &self.aliases)))
            .collect()
    }
}

#[cfg(test)]
#[path = "builds_tests.rs"]
mod tests;
