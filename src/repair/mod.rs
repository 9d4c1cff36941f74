//! Request, Snapshot and Diagnosis to Plan or Refusal. Pure: a plan is a value that can be shown, saved, diffed and refused.
//!
//! To add a repair: one file with a `pub(super) fn plan(&Request, &Snapshot, &Diagnosis) -> Result<Plan, Refusal>`, a variant
//! of [`RepairId`] with its line in [`RepairId::ALL`] and in [`plan`], and a scenario. Menus, help and the CLI derive from the
//! table. Repairs *compose* the writes of `model::Write`; they have no effects.

mod check_in_cluster;
mod delete_strays;
mod kick;
mod plan;
pub mod rollback;
mod sync_config;
pub mod undo;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use plan::*;

use crate::diagnose::Diagnosis;
use crate::model::{ClusterIdentity, ConfigMapState, FailureKind, Key, LoadedContent, Snapshot, Source, Values};

/// The repairs. Menus, help and the CLI derive from [`RepairId::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RepairId {
    SyncConfig,
    Kick,
    /// All components that moved together, to the tag that they had in common before.
    Rollback,
    /// Pods of this Prow's jobs that are where they should not be.
    DeleteStrays,
    /// The deployed tag's checkconfig as a Job in the cluster; not offered by findings, for it only asks.
    CheckInCluster,
    /// Made by `undo RUN`, not offered by findings.
    Undo,
}

impl RepairId {
    /// Those that a person can ask for by name.
    pub const ALL: [RepairId; 5] =
        [RepairId::SyncConfig, RepairId::Kick, RepairId::Rollback, RepairId::DeleteStrays, RepairId::CheckInCluster];

    pub fn name(self) -> &'static str {
        match self {
            RepairId::SyncConfig => "sync-config",
            RepairId::Kick => "kick",
            RepairId::Rollback => "rollback",
            RepairId::DeleteStrays => "delete-strays",
            RepairId::CheckInCluster => "check-in-cluster",
            RepairId::Undo => "undo",
        }
    }
}

impl std::fmt::Display for RepairId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a person asks for. The revision is not here: it is the snapshot's, so that what is planned is what was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub repair: RepairId,
    /// What `sync-config` writes.
    pub origin: Origin,
    /// ConfigMaps by name, `namespace/name` or `cluster/namespace/name`; empty for all.
    pub maps: Vec<String>,
    /// Keys of ConfigMaps, each alone or as `MAP/KEY`; empty for all.
    pub keys: Vec<String>,
    /// Remove keys that no file stands for.
    pub prune: bool,
    /// The tag that a rollback leads to; `None` for the one that was common before.
    pub to: Option<String>,
    /// Components by name or role; empty for all that moved together.
    pub components: Vec<String>,
    /// Clusters by alias or context; empty for all.
    pub clusters: Vec<String>,
    /// Delete strays that run, too.
    pub include_running: bool,
    /// Guards overridden by a person, each with a reason that is journalled.
    pub overrides: Vec<Override>,
}

/// Where the content that `sync-config` writes comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The revision that the diagnosis chose.
    Git,
    /// What was last seen loaded, as the journal keeps it of this cluster; nothing until the journal was read.
    LastLoaded(Arc<Vec<LoadedContent>>),
}

impl Request {
    pub fn new(repair: RepairId) -> Self {
        Request {
            repair,
            origin: Origin::Git,
            maps: Vec::new(),
            keys: Vec::new(),
            prune: false,
            to: None,
            components: Vec::new(),
            clusters: Vec::new(),
            include_running: false,
            overrides: Vec::new(),
        }
    }

    fn overridden(&self, id: OverrideId) -> Option<&Override> {
        self.overrides.iter().find(|over| over.id == id)
    }

    /// A guard that says no, unless a person set it aside: then the plan says what (`about`) and why.
    fn allowed(
        &self,
        id: OverrideId,
        about: &str,
        refusal: Refusal,
        warnings: &mut Vec<String>,
    ) -> Result<(), Refusal> {
        let over = self.overridden(id).ok_or(refusal)?;
        warnings.push(format!("override {} {about}, reason: {}", id.name(), over.reason));
        Ok(())
    }
}

/// A guard that a person set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    pub id: OverrideId,
    pub reason: String,
}

/// The guards that can be set aside, with a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverrideId {
    /// Write a revision, or roll back to a tag, although something speaks against it.
    WouldNotLoad,
    /// Write a ConfigMap whose live keys look like another one's.
    WrongTarget,
    /// Delete crash-looping pods although their configuration has not changed since they crashed.
    UnchangedConfig,
    /// Remove more than a fifth of a ConfigMap's keys.
    PruneMany,
    /// Write from a checkout that seems to be behind what Prow uploaded last.
    StaleCheckout,
    /// Write although the log of a crash-looping component could not be read: it may say what it refuses.
    UnreadLog,
    /// Roll back some components and leave others at another version.
    MixedTags,
    /// Delete strays although the cause is not proven to be gone.
    Gate,
    /// Lead components to the very version that the outage began with.
    KnownBad,
    /// Lead components to a tag that no ReplicaSet here ever had.
    UnknownTag,
    /// Write a configuration with other namespaces than the one that Prow runs on.
    PodNamespace,
}

impl OverrideId {
    pub const ALL: [OverrideId; 11] = [
        OverrideId::WouldNotLoad,
        OverrideId::WrongTarget,
        OverrideId::UnchangedConfig,
        OverrideId::PruneMany,
        OverrideId::StaleCheckout,
        OverrideId::UnreadLog,
        OverrideId::MixedTags,
        OverrideId::Gate,
        OverrideId::KnownBad,
        OverrideId::UnknownTag,
        OverrideId::PodNamespace,
    ];

    pub fn name(self) -> &'static str {
        match self {
            OverrideId::WouldNotLoad => "would-not-load",
            OverrideId::WrongTarget => "wrong-target",
            OverrideId::UnchangedConfig => "unchanged-config",
            OverrideId::PruneMany => "prune-many",
            OverrideId::StaleCheckout => "stale-checkout",
            OverrideId::UnreadLog => "unread-log",
            OverrideId::MixedTags => "mixed-tags",
            OverrideId::Gate => "gate",
            OverrideId::KnownBad => "known-bad",
            OverrideId::UnknownTag => "unknown-tag",
            OverrideId::PodNamespace => "pod-namespace",
        }
    }
}

/// Makes a plan, or says why not.
///
/// # Errors
/// A part that the plan needs is not known now, or a guard says no; the refusal tells why and what to do next.
pub fn plan(request: &Request, snapshot: &Snapshot, diagnosis: &Diagnosis) -> Result<Plan, Refusal> {
    with_reasons(&request.overrides)?;
    match request.repair {
        RepairId::SyncConfig => sync_config::plan(request, snapshot, diagnosis).map(|plan| unchecked(plan, snapshot)),
        RepairId::Kick => kick::plan(request, snapshot, diagnosis),
        RepairId::Rollback => rollback::plan(request, snapshot, diagnosis),
        RepairId::DeleteStrays => delete_strays::plan(request, snapshot, diagnosis),
        RepairId::CheckInCluster => check_in_cluster::plan(snapshot),
        RepairId::Undo => Err(Refusal::new(
            "undo needs a run",
            "`prow-breakglass run list` names the runs; `prow-breakglass undo RUN` makes the plan",
        )),
    }
}

/// A plan says so where the program that could tell what comes of it gives no answer.
fn unchecked(mut plan: Plan, snapshot: &Snapshot) -> Plan {
    let Some(Source::Lost { error, .. }) = &snapshot.checkconfig else { return plan };
    let why = std::iter::once(&error.summary).chain(&error.causes).cloned().collect::<Vec<_>>().join(": ");
    plan.warnings.push(format!("checkconfig gave no answer ({why}): it has not judged what would be written"));
    plan.sealed()
}

/// A guard is set aside with a reason or not at all.
fn with_reasons(overrides: &[Override]) -> Result<(), Refusal> {
    let Some(over) = overrides.iter().find(|over| over.reason.trim().is_empty()) else { return Ok(()) };
    Err(Refusal::new(
        format!("no reason is given for setting the guard {} aside", over.id.name()),
        "say why: --reason TEXT; it is journalled, and read when all is over",
    )
    .because(FailureKind::Usage))
}

/// Whether what allowed a plan still does, by the newest picture. A saved plan may be a day old; and between a plan and its
/// words, or a run and its resuming, somebody may roll forward again. Whatever writes asks this: [`approve`] for a run,
/// the front end for a resume.
///
/// # Errors
/// It does not, or nobody looked.
pub fn still_allowed(plan: &Plan, now: Option<&Diagnosis>) -> Result<(), Refusal> {
    match plan.repair {
        RepairId::DeleteStrays => delete_strays::still_allowed(plan, now),
        // Each step of these says what it holds against, and is judged by that right before it is sent.
        RepairId::SyncConfig | RepairId::Kick | RepairId::Rollback | RepairId::CheckInCluster | RepairId::Undo => {
            Ok(())
        }
    }
}

/// The ConfigMaps of the service cluster as they would be once a plan is done, for a checkconfig to judge; `None` where what is
/// live is not known now.
pub fn live_after(plan: &Plan, snapshot: &Snapshot) -> Option<BTreeMap<Key, ConfigMapState>> {
    sync_config::live_after(&plan.steps, snapshot)
}

/// The value of a source that a plan builds on.
fn required<'a, T>(source: &'a Source<T>, what: &str) -> Result<&'a T, Refusal> {
    match source {
        Source::Known { value, .. } => Ok(value),
        Source::Loading => Err(Refusal::new(
            format!("{what} is not read yet"),
            "wait for the first answer, or look at `prow-breakglass status`",
        )
        .because(FailureKind::Unreachable)),
        Source::Denied { verb } => Err(Refusal::new(
            format!("{what} cannot be read: the API server forbids {verb}"),
            "ask for the role in assets/rbac/oncall.yaml, or use --as with one that has it",
        )
        .because(FailureKind::Forbidden)),
        Source::Lost { error, .. } => Err(Refusal::new(
            format!("{what} is not known now: {}", error.summary),
            error.hint.clone().unwrap_or_else(|| "regain sight of it first: unknown is not empty".to_owned()),
        )
        .because(error.kind)),
    }
}

fn identity(snapshot: &Snapshot) -> Result<ClusterIdentity, Refusal> {
    required(&snapshot.service.identity, "the identity of the cluster").cloned()
}

/// What was lost while hook was down and what nobody retries: the screen must not go silent at green.
fn what_was_lost(snapshot: &Snapshot) -> Vec<String> {
    let components = snapshot.service.components.known().map_or(&[][..], Vec::as_slice);
    let hook = components.iter().find(|component| component.role == "hook" && component.desired > 0);
    match hook {
        Some(hook) if hook.ready == 0 => {
            let since = hook.pods.iter().filter(|pod| !pod.ready).filter_map(|pod| pod.ready_changed).max();
            let since = since.map_or("a time unknown".to_owned(), |since| since.to_string());
            vec![
                format!("GitHub's webhooks since {since} were not answered, and GitHub does not send them again by itself"),
                "comments such as /test and /lgtm of that time must be repeated; pushes of that time have no presubmits".to_owned(),
                "what was merged meanwhile updated no ConfigMap, and nothing retries that: fetch and look at `config diff` once the fix is merged".to_owned(),
            ]
        }
        Some(_) | None => Vec::new(),
    }
}

/// What becomes of values, in words.
fn values_effect(from: &Values, to: &Values) -> String {
    let added = to.keys().filter(|key| !from.contains_key(*key)).count();
    let removed = from.keys().filter(|key| !to.contains_key(*key)).count();
    let changed = to.iter().filter(|(key, value)| from.get(*key).is_some_and(|old| old != *value)).count();
    format!("{changed} key(s) changed, {added} added, {removed} removed")
}
