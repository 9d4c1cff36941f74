//! What is to happen when: the only way in which time makes anything happen.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::object::ObjectKey;

/// Something to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// An object of a cluster (by its context).
    Object(String, ObjectKey),
    /// A pod of a cluster, by its node alone: nobody else's time has come.
    Pod(String, ObjectKey),
    /// A pod's files are brought up to date with a ConfigMap: cluster, uid of the pod, name of the map.
    Refresh(String, String, String),
    /// Somebody may take the lead of prow-controller-manager.
    Leader,
    Sinker,
    Horologium,
    /// Somebody merges everything up to this commit.
    Merge(String),
}

/// Items by their time, then in their own order: the same world does the same.
#[derive(Debug, Clone, Default)]
pub struct Agenda {
    due: BTreeMap<Timestamp, BTreeSet<Item>>,
}

impl Agenda {
    pub fn at(&mut self, time: Timestamp, item: Item) {
        self.due.entry(time).or_default().insert(item);
    }

    /// The next time at which anything happens.
    pub fn next(&self) -> Option<Timestamp> {
        self.due.keys().next().copied()
    }

    pub fn take_due(&mut self, now: Timestamp) -> BTreeSet<Item> {
        let mut items = BTreeSet::new();
        while let Some(entry) = self.due.first_entry().filter(|entry| *entry.key() <= now) {
            items.extend(entry.remove());
        }
        items
    }
}
