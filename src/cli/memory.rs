//! What the journal knows and no cluster tells, for every command that looks: runs that did not end, contents that were
//! refused. Brought into each picture; and what a picture shows that is not remembered yet is written down at once, also
//! where the repair is done by hand.

use std::sync::{Mutex, PoisonError};

use crate::diagnose::Diagnosis;
use crate::journal::{Journal, seen_on};
use crate::model::{Failure, RefusedContent, Snapshot};
use crate::observe::Observer;

pub struct Memory {
    journal: Journal,
    /// What the journal could not take: remembered for as long as the program runs.
    unsaved: Mutex<Vec<RefusedContent>>,
}

impl Memory {
    pub fn new(journal: Journal) -> Memory {
        Memory { journal, unsaved: Mutex::default() }
    }

    /// Puts all that is remembered into the pictures to come.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn recall(&self, observer: &Observer) -> Result<(), Failure> {
        observer.set_interrupted(self.journal.interrupted()?);
        observer.set_refused(self.with_unsaved(self.journal.refused()?));
        Ok(())
    }

    /// Remembers what a picture shows as refused, if that is new, and puts it into the pictures to come.
    ///
    /// # Errors
    /// The journal cannot be written. Then it is remembered until the program ends.
    pub fn keep(&self, observer: &Observer, snapshot: &Snapshot, diagnosis: &Diagnosis) -> Result<(), Failure> {
        let is_new = |content: &&RefusedContent| !snapshot.refused.contains(content);
        let new: Vec<RefusedContent> = diagnosis.refused.iter().filter(is_new).cloned().collect();
        let Some(cluster) = snapshot.service.identity.known().filter(|_| !new.is_empty()) else { return Ok(()) };
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
        written
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cluster::fake::FakeServer;
    use crate::diagnose::diagnose;
    use crate::model::{Alias, FailureKind, Key, Timestamp};
    use crate::observe::{DesiredOptions, ObserveOptions};

    fn observer(server: &FakeServer) -> Observer {
        let options = ObserveOptions {
            namespaces: Vec::new(),
            desired: DesiredOptions::default(),
            service_alias: Alias::service(),
        };
        Observer::start(server.cluster(), Err(Failure::new(FailureKind::Usage, "no repository")), options)
    }

    fn content() -> RefusedContent {
        RefusedContent {
            cluster_server: String::new(),
            cluster_uid: String::new(),
            config_map: Key::new("prow", "job-config"),
            keys: [("jobs.yaml".to_owned(), "sha".to_owned())].into(),
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
        let diagnosis = Diagnosis { refused: vec![content()], ..diagnose(&snapshot) };
        let kept = memory.keep(&observer, &snapshot, &diagnosis);
        let mut snapshots = observer.snapshots();
        let next = snapshots.wait_for(|snapshot| !snapshot.refused.is_empty()).await.expect("it goes on");
        (kept, next.refused.clone())
    }

    #[tokio::test]
    async fn what_is_seen_is_remembered_by_the_next_command_without_a_run() {
        let dir = tempfile::tempdir().unwrap();
        let (server, journal) = (FakeServer::new(), Journal::for_reading(dir.path().join("state")));
        let (kept, known) = look(&Memory::new(journal.clone()), &server).await;
        kept.unwrap();
        assert_eq!(known[0].cluster_uid, server.identity().uid);

        let mut later = observer(&server);
        Memory::new(journal.clone()).recall(&later).unwrap();
        assert_eq!(later.settled(Duration::from_secs(30)).await.refused, known);
        assert!(journal.runs().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_remembered_while_the_program_runs() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (server, memory) = (FakeServer::new(), Memory::new(Journal::for_reading(file.path().to_owned())));
        let (kept, known) = look(&memory, &server).await;
        assert_eq!(kept.unwrap_err().kind, FailureKind::Tool);
        assert_eq!(known.len(), 1);
    }
}
