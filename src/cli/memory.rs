//! What the journal knows and no cluster tells, for every command that looks: runs that did not end, contents that were
//! refused. Brought into each picture; and what a picture shows that is not remembered yet is written down at once, also
//! where the repair is done by hand.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::diagnose::{loaded_now, started_now};
use crate::journal::{Journal, seen_on};
use crate::model::{ClusterIdentity, Failure, InterruptedRun, RefusedContent, Snapshot};
use crate::observe::Observer;
use crate::repair::Plan;
use crate::run::{Clusters, ResumeStep, Standing};

use super::checking::versions_read;
use super::runs;

pub struct Memory {
    journal: Journal,
    clusters: Clusters,
    /// What the journal could not take: remembered for as long as the program runs.
    unsaved: Mutex<Vec<RefusedContent>>,
    /// Versions of the ConfigMaps that are read and starts for which it was last looked who started on them.
    looked_at: Mutex<Vec<String>>,
    /// ConfigMaps (uid and resourceVersion) whose loaded content was looked after already.
    kept: Mutex<BTreeSet<(String, String)>>,
}

impl Memory {
    /// Of what is in this journal, for looks at these clusters.
    pub fn new(journal: Journal, clusters: Clusters) -> Memory {
        Memory { journal, clusters, unsaved: Mutex::default(), looked_at: Mutex::default(), kept: Mutex::default() }
    }

    /// Puts all that is remembered into the pictures to come. Gives back what could not be read: to be said, and no
    /// reason not to look.
    pub fn recall(&self, observer: &Observer) -> Vec<Failure> {
        let mut notes: Vec<Failure> = Vec::new();
        match self.journal.interrupted() {
            Ok(runs) => observer.set_interrupted(runs),
            Err(failure) => notes.push(failure),
        }
        match self.journal.refused() {
            Ok(saved) => observer.set_refused(self.with_unsaved(saved)),
            // One place, one reason.
            Err(failure) if notes.is_empty() => notes.push(failure),
            Err(_) => {}
        }
        notes
    }

    /// Reads back what runs on these clusters left in doubt: the runs that did not end, with what was found. `None` where
    /// nothing was. Reads only; what cannot be read stays as unknown as it was.
    pub async fn read_back(&self) -> Option<Vec<InterruptedRun>> {
        // That the journal cannot be read was said by `recall`.
        let mut runs = self.journal.interrupted().ok()?;
        let mut found = false;
        for run in runs.iter_mut().filter(|run| is_in_doubt(run) && is_on(run, &self.clusters)) {
            // It proves that these are the very clusters of the run.
            let Ok(view) = crate::run::inspect(&self.journal, &run.run, &self.clusters).await else { continue };
            run.unknown = view.steps.iter().filter_map(|step| in_words(&view.plan, step)).collect();
            found = true;
        }
        found.then_some(runs)
    }

    /// Remembers what a picture shows as refused, if that is new, and puts it into the pictures to come; and what it shows as
    /// loaded.
    ///
    /// # Errors
    /// The journal cannot be written. Then what was refused is remembered until the program ends.
    pub fn keep(&self, observer: &Observer, snapshot: &Snapshot, refused: &[RefusedContent]) -> Result<(), Failure> {
        let loaded = self.keep_loaded(snapshot).and(self.keep_started(snapshot));
        let is_new = |content: &&RefusedContent| !snapshot.refused.contains(content);
        let new: Vec<RefusedContent> = refused.iter().filter(is_new).cloned().collect();
        let Some(cluster) = snapshot.service.identity.known().filter(|_| !new.is_empty()) else { return loaded };
        let written = self.journal.remember_refused(cluster, &new);
        if written.is_err() {
            let mut unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
            for content in new.iter().filter_map(|content| seen_on(cluster, content)) {
                if !unsaved.contains(&content) {
                    unsaved.push(content);
                }
            }
        }
        // Where it cannot be read either, what the pictures had from it stays.
        let saved = self.journal.refused().unwrap_or_else(|_| snapshot.refused.clone());
        observer.set_refused(self.with_unsaved(saved));
        written.and(loaded)
    }

    /// Keeps what a picture shows as loaded. What cannot be kept is tried, and told, once.
    fn keep_loaded(&self, snapshot: &Snapshot) -> Result<(), Failure> {
        let Some(cluster) = snapshot.service.identity.known() else { return Ok(()) };
        let mut outcome = Ok(());
        for (state, images) in loaded_now(snapshot) {
            let version = (state.uid.clone(), state.resource_version.clone());
            let is_new = self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(version);
            if is_new {
                outcome = outcome.and(self.journal.keep_loaded(cluster, state, images));
            }
        }
        outcome
    }

    /// Who started on which content: it proves that only until the next write.
    fn keep_started(&self, snapshot: &Snapshot) -> Result<(), Failure> {
        let (Some(maps), Some(components)) =
            (snapshot.service.config_maps.known(), snapshot.service.components.known())
        else {
            return Ok(());
        };
        // Starts change as well: a Ready container is what tells.
        let versions = versions_read(maps, components);
        let starts = components.iter().flat_map(|component| &component.pods).map(|pod| {
            let uid = pod.object.uid.as_deref().unwrap_or_default();
            format!("{uid} {} {:?}", pod.ready, pod.ready_changed)
        });
        let now: Vec<String> = versions.into_iter().chain(starts).collect();
        {
            let mut looked_at = self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
            if *looked_at == now {
                return Ok(());
            }
            *looked_at = now;
        }
        self.journal.remember_checked(&started_now(snapshot))
    }

    fn with_unsaved(&self, mut saved: Vec<RefusedContent>) -> Vec<RefusedContent> {
        for content in self.unsaved.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if !saved.contains(content) {
                saved.push(content.clone());
            }
        }
        saved
    }
}

fn is_in_doubt(run: &InterruptedRun) -> bool {
    run.damaged.is_none() && run.running_pid.is_none() && !run.unknown.is_empty()
}

fn is_on(run: &InterruptedRun, clusters: &Clusters) -> bool {
    let here = |cluster: &ClusterIdentity| {
        clusters.get(&cluster.alias).is_some_and(|connected| connected.server() == cluster.server)
    };
    !run.clusters.is_empty() && run.clusters.iter().all(here)
}

/// `step 1: replace prow/configmap/job-config: read back: it landed`; `None` for what was not in doubt.
fn in_words(plan: &Plan, step: &ResumeStep) -> Option<String> {
    let Standing::ReadBack(landed) = &step.standing else { return None };
    let write = plan.steps.iter().find(|planned| planned.n == step.n).map_or("write", |planned| planned.write.word());
    Some(format!("step {}: {write} {}: {}", step.n, step.object, runs::read_back(landed)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::cli::testing::{self, MAP};
    use crate::clock::Clock;
    use crate::cluster::fake::{FakeServer, Fault};
    use crate::journal::{Guard, Mode, Record};
    use crate::model::{Alias, FailureKind, Key, Timestamp, Write};
    use crate::observe::{DesiredOptions, Interest, ObserveOptions};
    use crate::repair::Verify;

    fn observer(server: &FakeServer) -> Observer {
        let options = ObserveOptions {
            interest: Interest::Everything,
            namespaces: Vec::new(),
            desired: DesiredOptions::default(),
            service_alias: Alias::service(),
            clock: Clock::Wall,
            builds: crate::observe::BuildContexts::default(),
        };
        Observer::start(
            server.cluster(),
            std::future::ready(Err(Failure::new(FailureKind::Usage, "no repository"))),
            options,
        )
    }

    fn memory(server: &FakeServer, journal: &Journal) -> Memory {
        Memory::new(journal.clone(), Clusters::from([(Alias::service(), server.cluster())]))
    }

    fn content() -> RefusedContent {
        RefusedContent {
            cluster_server: String::new(),
            cluster_uid: String::new(),
            config_map: Key::new("prow", "job-config"),
            keys: [("jobs.yaml".to_owned(), "sha".to_owned())].into(),
            beside: None,
            culprits: Vec::new(),
            images: vec!["hook:v1".to_owned()],
            error: "duplicated preset".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    /// Looks once, as every command does, and finds something refused. Gives what the next picture knows of it.
    async fn look(memory: &Memory, server: &FakeServer) -> (Result<(), Failure>, Vec<RefusedContent>) {
        let mut observer = observer(server);
        let snapshot = observer.settled(Duration::from_secs(30)).await;
        assert!(snapshot.service.identity.known().is_some(), "{:?}", snapshot.service.identity);
        let kept = memory.keep(&observer, &snapshot, &[content()]);
        let mut snapshots = observer.snapshots();
        let next = snapshots.wait_for(|snapshot| !snapshot.refused.is_empty()).await.expect("it goes on");
        (kept, next.refused.clone())
    }

    #[tokio::test]
    async fn what_is_seen_is_remembered_by_the_next_command_without_a_run() {
        let dir = tempfile::tempdir().unwrap();
        let (server, journal) = (FakeServer::new(), Journal::for_reading(dir.path().join("state")));
        let (kept, known) = look(&memory(&server, &journal), &server).await;
        kept.unwrap();
        assert_eq!(known[0].cluster_uid, server.identity().uid);

        let mut later = observer(&server);
        assert_eq!(memory(&server, &journal).recall(&later), []);
        assert_eq!(later.settled(Duration::from_secs(30)).await.refused, known);
        assert!(journal.runs().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_remembered_while_the_program_runs() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let server = FakeServer::new();
        let memory = memory(&server, &Journal::for_reading(file.path().to_owned()));
        let (kept, known) = look(&memory, &server).await;
        assert_eq!(kept.unwrap_err().kind, FailureKind::Tool);
        assert_eq!(known.len(), 1);
        assert_eq!(memory.recall(&observer(&server)).len(), 1, "said once");
    }

    /// A process died after its intent to write `new` over `old`.
    fn interrupted(server: &FakeServer, journal: &Journal) {
        let plan = testing::plan(server, Verify::Written);
        let Write::PutConfigMap { object, at, .. } = plan.steps[0].write.clone() else { panic!("a PUT") };
        let mut writer = journal.begin(&plan, "oncall", Mode::Typed).unwrap();
        let intent = Record::Intent {
            n: 1,
            object,
            write: "replace".to_owned(),
            guard: Guard::Version(at),
            body: String::new(),
            audit_id: String::new(),
            backup: None,
        };
        writer.append(intent).unwrap();
    }

    #[tokio::test]
    async fn what_a_dead_process_left_is_read_back_on_its_own_cluster_only() {
        let dir = tempfile::tempdir().unwrap();
        let (server, journal) = (FakeServer::new(), Journal::for_reading(dir.path().join("state")));
        interrupted(&server, &journal);
        let memory = memory(&server, &journal);
        let said = async || memory.read_back().await.map(|runs| runs[0].unknown.clone());
        let about = "step 1: replace prow/configmap/job-config: read back:";
        assert_eq!(said().await, Some(vec![format!("{about} as before, so far")]));
        server.put_config_map(MAP, "u-map", json!({"a.yaml": "new"}), json!({}), "prow-breakglass");
        assert_eq!(said().await, Some(vec![format!("{about} it landed")]));
        assert_eq!((server.writes(), journal.runs().unwrap()[0].entries.len()), (Vec::new(), 2), "reads only");

        // A server that cannot be read, or is another one: nobody knows more than before.
        let next = server.world().seen.len();
        server.world().faults.insert(next + 1, Fault::DropBefore);
        assert_eq!(said().await, None);
        server.world().uid = "cluster-2".to_owned();
        assert_eq!(said().await, None);
    }
}
