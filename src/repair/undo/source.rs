//! What an undo is made of: what a run wrote, and what is there now.

use std::collections::BTreeMap;

use crate::model::{Alias, ConfigMapState, Key, Kind, ObjectRef, WorkloadState, Write};

/// A run as its journal tells it, as far as undoing needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct UndoSource {
    pub run: String,
    /// Steps that were sent and were, or may have been, done.
    pub steps: Vec<UndoStep>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct UndoStep {
    pub n: usize,
    /// What the run sent.
    pub write: Write,
    /// The ConfigMap before that, from the backup; `None` where there was none.
    pub prior: Option<ConfigMapState>,
    /// uid of what the server made, where its answer is known.
    pub made: Option<String>,
}

impl UndoSource {
    /// The ConfigMaps that must be read before [`plan`].
    pub fn config_maps(&self) -> Vec<&ObjectRef> {
        self.steps
            .iter()
            .filter_map(|step| match &step.write {
                Write::PutConfigMap { object, .. }
                | Write::CreateConfigMap { object, .. }
                | Write::DeleteConfigMap { object, .. } => Some(object),
                Write::DeletePod { .. }
                | Write::PatchImage { .. }
                | Write::CreateJob { .. }
                | Write::DeleteJob { .. } => None,
            })
            .collect()
    }

    /// The workloads that must be read before [`plan`].
    pub fn workloads(&self) -> Vec<&ObjectRef> {
        self.steps
            .iter()
            .filter_map(|step| match &step.write {
                Write::PatchImage { object, .. } => Some(object),
                Write::PutConfigMap { .. }
                | Write::CreateConfigMap { .. }
                | Write::DeleteConfigMap { .. }
                | Write::DeletePod { .. }
                | Write::CreateJob { .. }
                | Write::DeleteJob { .. } => None,
            })
            .collect()
    }

    /// The Jobs that must be read before [`plan`].
    pub fn jobs(&self) -> Vec<&ObjectRef> {
        self.steps.iter().filter(|step| step.write.check_job().is_some()).map(|step| step.write.object()).collect()
    }
}

/// What a run wrote, as it is now: `None` is "read, and not there"; what is missing was not read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LiveObjects {
    pub config_maps: BTreeMap<(Alias, Key), Option<ConfigMapState>>,
    pub workloads: BTreeMap<ObjectRef, Option<WorkloadState>>,
    /// The uids of Jobs.
    pub jobs: BTreeMap<ObjectRef, Option<String>>,
}

impl LiveObjects {
    /// True where this object was read and is there.
    pub fn has(&self, object: &ObjectRef) -> bool {
        let key = (object.cluster.clone(), Key::new(object.namespace.clone(), object.name.clone()));
        object.kind == Kind::ConfigMap && self.config_maps.get(&key).is_some_and(Option::is_some)
            || self.jobs.get(object).is_some_and(Option::is_some)
            || self.workloads.get(object).is_some_and(Option::is_some)
    }
}
