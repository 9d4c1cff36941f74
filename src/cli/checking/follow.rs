//! Asks for as long as somebody looks: about each new picture that matters, and again where there was no answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Checking, Scope, tags_of, versions_read};
use crate::git::Repository;
use crate::model::{Snapshot, Source};
use crate::observe::Observer;

/// One that gave no answer is asked again after this long, as long as somebody looks.
const AGAIN: Duration = Duration::from_secs(30);

/// Asks about each new picture, for as long as it is looked at, and puts the answers into the pictures to come. What cannot be
/// asked stays open: the pictures say why, and after a while it is tried again.
pub async fn follow(checking: Arc<Checking>, repository: Option<Repository>, observer: Arc<Observer>) {
    if checking.may_ask() {
        observer.set_checkconfig(Some(Source::Loading));
    }
    let mut snapshots = observer.snapshots();
    let mut asking = Asking::default();
    let mut further = Vec::new();
    while snapshots.changed().await.is_ok() {
        let mut snapshot = snapshots.borrow_and_update().as_ref().clone();
        // There is nothing to ask about, so nobody shall wait for its word.
        if snapshot.checkconfig == Some(Source::Loading) && is_in_vain(&snapshot) {
            observer.set_checkconfig(None);
        }
        if !asking.is_due(subject_of(&snapshot), Instant::now()) {
            continue;
        }
        checking.forget_failure().await;
        let outcome = checking.complete(repository.as_ref(), &mut snapshot, Scope::NearestGood).await;
        asking.asked(outcome.unchecked.is_some(), Instant::now());
        if !outcome.further.is_empty() {
            further = outcome.further;
        }
        observer.set_checked(snapshot.checked, further.clone());
        observer.set_checkconfig(snapshot.checkconfig);
    }
}

/// When to ask (again).
#[derive(Default)]
struct Asking {
    /// What it was asked about last.
    subject: Option<Vec<String>>,
    /// When it gave no answer.
    failed: Option<Instant>,
}

impl Asking {
    fn is_due(&mut self, subject: Option<Vec<String>>, now: Instant) -> bool {
        if subject.is_none() {
            return false;
        }
        let is_due = subject != self.subject || self.failed.is_some_and(|failed| now >= failed + AGAIN);
        self.subject = subject;
        is_due
    }

    fn asked(&mut self, failed: bool, now: Instant) {
        self.failed = failed.then_some(now);
    }
}

/// All has answered, and what is live cannot be seen.
fn is_in_vain(snapshot: &Snapshot) -> bool {
    let maps = &snapshot.service.config_maps;
    maps.is_settled() && maps.known().is_none()
}

/// What answers depend on: `None` while it is not known.
pub(super) fn subject_of(snapshot: &Snapshot) -> Option<Vec<String>> {
    let (maps, desired) = (snapshot.service.config_maps.known()?, &snapshot.desired);
    if !desired.is_settled() || !snapshot.service.identity.is_settled() {
        return None;
    }
    let mut all = tags_of(snapshot);
    all.extend(versions_read(maps, snapshot.service.components.seen().map_or(&[], Vec::as_slice)));
    let candidates = desired.seen().into_iter().flat_map(|desired| desired.asked.iter().chain([&desired.head]));
    all.extend(candidates.map(|candidate| format!("{} {:?}", candidate.revision.id, candidate.content)));
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_failed_is_asked_again_about_what_is_new_and_after_a_while() {
        let subject = |word: &str| Some(vec![word.to_owned()]);
        let begun = Instant::now();
        let mut asking = Asking::default();
        assert!(!asking.is_due(None, begun), "nothing is known to ask about");
        assert!(asking.is_due(subject("a"), begun));
        asking.asked(false, begun);
        assert!(!asking.is_due(subject("a"), begun + 10 * AGAIN), "answered");
        assert!(asking.is_due(subject("b"), begun));
        asking.asked(true, begun);
        assert!(!asking.is_due(subject("b"), begun + AGAIN / 2));
        assert!(asking.is_due(subject("b"), begun + AGAIN));
        asking.asked(true, begun + AGAIN);
        assert!(asking.is_due(subject("c"), begun + AGAIN), "something new matters at once");
    }
}
