//! What etcd and the API server's storage are to a cluster: objects with uids and resourceVersions, the history that watches
//! are served from, and every rule that a write must pass. Pure: who writes, and when, is told to it.
//!
//! - [`write`]: create, replace, patch, delete; `meta`: what the server itself writes into metadata
//! - [`patch`]: merge, JSON and strategic patches; `validate`: what is refused
//!
//! Requests of the program and the simulated controllers pass the same functions.

mod meta;
pub mod patch;
mod validate;
pub mod write;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::object::{self, ObjectKey, Resource};

/// Changes that watches can be resumed over; older ones are `410 Gone`.
const REMEMBERED: usize = 2048;

/// One change of one object.
#[derive(Debug, Clone)]
pub struct Change {
    pub version: u64,
    pub key: ObjectKey,
    pub before: Option<Arc<Value>>,
    pub after: Option<Arc<Value>>,
}

/// Whether changes are remembered for watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    Kept,
    /// Nobody can watch yet: the world's past is being made.
    None,
}

/// The objects of one cluster.
#[derive(Debug, Clone)]
pub struct Store {
    /// Makes uids differ between clusters.
    salt: String,
    objects: BTreeMap<ObjectKey, Arc<Value>>,
    version: u64,
    made: u64,
    history: VecDeque<Change>,
    memory: Memory,
    /// Changes up to this version are forgotten.
    forgotten: u64,
    /// What changed since the controllers looked last, as it is or was.
    fresh: BTreeMap<ObjectKey, Arc<Value>>,
}

impl Store {
    pub fn new(salt: &str) -> Store {
        Store {
            salt: salt.to_owned(),
            objects: BTreeMap::new(),
            version: 1000,
            made: 0,
            history: VecDeque::new(),
            memory: Memory::Kept,
            forgotten: 1000,
            fresh: BTreeMap::new(),
        }
    }

    /// The cluster's newest resourceVersion.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    pub fn find(&self, resource: Resource, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.objects.get(&ObjectKey::new(resource, namespace, name))
    }

    /// All of a kind, in a namespace or (empty) everywhere; by namespace and name.
    pub fn all<'a>(
        &'a self,
        resource: Resource,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a Arc<Value>)> {
        let first = ObjectKey::new(resource, namespace, "");
        self.objects.range(first..).take_while(move |(key, _)| {
            key.resource == resource && (namespace.is_empty() || key.namespace == namespace)
        })
    }

    /// Those that a controller owns.
    pub fn owned_by<'a>(
        &'a self,
        resource: Resource,
        namespace: &'a str,
        uid: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a Arc<Value>)> {
        self.all(resource, namespace)
            .filter(move |(_, object)| object::owner(object).is_some_and(|owner| owner["uid"] == uid))
    }

    pub fn has_namespace(&self, name: &str) -> bool {
        self.find(Resource::Namespace, "", name).is_some()
    }

    /// Changes after a version; `None` where some are forgotten.
    pub fn since(&self, version: u64) -> Option<impl Iterator<Item = &Change>> {
        let start = self.history.partition_point(|change| change.version <= version);
        (version >= self.forgotten).then(|| self.history.range(start..))
    }

    /// All of a kind in a namespace (empty: everywhere) as they were at a version that is remembered.
    pub fn at(&self, version: u64, resource: Resource, namespace: &str) -> BTreeMap<ObjectKey, Arc<Value>> {
        let now = self.all(resource, namespace).map(|(key, object)| (key.clone(), Arc::clone(object)));
        let mut then: BTreeMap<ObjectKey, Arc<Value>> = now.collect();
        let start = self.history.partition_point(|change| change.version <= version);
        for change in self.history.range(start..).rev() {
            let key = &change.key;
            if key.resource != resource || !(namespace.is_empty() || key.namespace == namespace) {
                continue;
            }
            match &change.before {
                Some(before) => drop(then.insert(key.clone(), Arc::clone(before))),
                None => drop(then.remove(key)),
            }
        }
        then
    }

    /// Forgets all history, as a compaction does: watches must list again.
    pub fn compact(&mut self) {
        self.history.clear();
        self.forgotten = self.version;
    }

    /// From now on changes are remembered, or not. What was before is forgotten.
    pub fn remember(&mut self, memory: Memory) {
        self.memory = memory;
        self.compact();
    }

    /// Takes what changed since the last time.
    pub fn take_fresh(&mut self) -> BTreeMap<ObjectKey, Arc<Value>> {
        std::mem::take(&mut self.fresh)
    }

    /// A new UUID, for who names its objects so.
    pub fn new_id(&mut self) -> String {
        self.next_uid()
    }

    fn next_uid(&mut self) -> String {
        self.made += 1;
        let digest = Sha256::digest(format!("{}/{}", self.salt, self.made).as_bytes());
        let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
    }

    /// A short name's end, as generateName gives it; never the same twice.
    pub fn next_suffix(&mut self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        self.made += 1;
        let digest = Sha256::digest(format!("{}/suffix/{}", self.salt, self.made).as_bytes());
        digest.iter().take(5).map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
    }

    /// Puts an object there (or takes it away) under the next version.
    fn commit(&mut self, key: ObjectKey, after: Option<Value>) -> Arc<Value> {
        self.version += 1;
        let version = json!(self.version.to_string());
        let before = self.objects.get(&key).cloned();
        let after = after.map(|mut object| {
            object["metadata"]["resourceVersion"] = version.clone();
            Arc::new(object)
        });
        match &after {
            Some(object) => drop(self.objects.insert(key.clone(), Arc::clone(object))),
            None => drop(self.objects.remove(&key)),
        }
        // What goes is told of with the version at which it went.
        let last = after.clone().unwrap_or_else(|| {
            let mut object = before.as_deref().cloned().unwrap_or_default();
            object["metadata"]["resourceVersion"] = version;
            Arc::new(object)
        });
        // Nobody reacts to events, of which there are many.
        if key.resource != Resource::Event {
            self.fresh.insert(key.clone(), Arc::clone(&last));
        }
        match self.memory {
            Memory::None => self.forgotten = self.version,
            Memory::Kept => self.history.push_back(Change { version: self.version, key, before, after }),
        }
        while self.history.len() > REMEMBERED {
            if let Some(old) = self.history.pop_front() {
                self.forgotten = old.version;
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::write::By;
    use super::*;

    /// A namespace, and an event that was counted up to 3.
    fn counted(memory: Memory) -> (Store, Arc<Value>, u64) {
        let by = By::new("kubelet", Timestamp::UNIX_EPOCH);
        let mut store = Store::new("prow");
        store.remember(memory);
        let namespace = json!({ "metadata": { "name": "ci" } });
        store.create(Resource::Namespace, "", namespace, &by).unwrap();
        let event = json!({ "metadata": { "name": "e" }, "count": 1 });
        let first = store.create(Resource::Event, "ci", event, &by).unwrap();
        let version = store.version();
        for count in [2, 3] {
            let key = ObjectKey::new(Resource::Event, "ci", "e");
            store.edit_in_place(&key, &by, |event| event["count"] = json!(count));
        }
        (store, first, version)
    }

    #[test]
    fn what_nobody_remembers_is_written_as_else() {
        let (kept, _, version) = counted(Memory::Kept);
        let (unkept, first, _) = counted(Memory::None);
        assert_eq!(kept.objects, unkept.objects);
        assert_eq!(kept.version(), unkept.version());
        assert_eq!(unkept.find(Resource::Event, "ci", "e").unwrap()["count"], 3);
        assert_eq!(first["count"], 1, "who holds an object keeps it as it was");
        assert_eq!(kept.since(version).map(Iterator::count), Some(2));
        assert!(unkept.since(version).is_none(), "a watch from there is told to list again");
        assert_eq!(unkept.since(unkept.version()).map(Iterator::count), Some(0));
    }
}
