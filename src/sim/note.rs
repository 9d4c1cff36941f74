//! What happened, for a scorecard: the requests that wanted to change something, and what became of Prow's jobs.

use jiff::Timestamp;

/// An entry of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    pub at: Timestamp,
    pub what: Happened,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// A client's request that was not only a look; reviews of one's own rights are none.
    Write(Written),
    /// A ProwJob came to its end.
    ProwJobEnded { name: String, job: String, state: String, description: String },
    /// Somebody aborted it in Deck.
    Aborted { name: String, job: String },
    /// prow-controller-manager made a pod. `again`: the job had one before.
    PodCreated { cluster: String, namespace: String, name: String, uid: String, again: bool },
    /// prow-controller-manager changed hands, to this pod.
    Led { pod: String, tag: String },
    /// A component did not load its configuration. `fatal`: it ended for it.
    Refused { component: String, error: String, fatal: bool },
    /// A commit was merged; `heard`: hook was there to be told.
    Merged { commit: String, heard: bool },
    /// config-updater wrote a ConfigMap.
    Uploaded { config_map: String },
    /// The deploy job applied the manifests; what it changed, `deployment hook`.
    Deployed { changed: Vec<String> },
    /// sinker deleted something, `pod test-pods/NAME`.
    Swept { object: String },
}

/// A request as the server answered it.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    pub cluster: String,
    /// As in RBAC: `create`, `update`, `patch`, `delete`.
    pub verb: &'static str,
    /// `pods`, `deployments.apps`.
    pub resource: String,
    pub namespace: String,
    pub name: String,
    /// Of the object, where there was one.
    pub uid: String,
    pub dry_run: bool,
    /// The field manager.
    pub manager: String,
    /// The client's Audit-ID.
    pub audit_id: String,
    /// HTTP's.
    pub code: u16,
}

impl Written {
    /// True where something was changed for it.
    pub fn counts(&self) -> bool {
        !self.dry_run && (200..300).contains(&self.code)
    }
}
