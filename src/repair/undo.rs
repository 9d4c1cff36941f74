//! `undo RUN`: a plan that puts back what a run replaced, from its backups, byte for byte. It takes the same road as every
//! plan: preview, approval, guards, journal; and so an undo can be undone.
//!
//! What decides is the live content, not what the journal says came of a step: a ConfigMap is put back only while it still
//! holds what the run wrote. So a step whose outcome nobody knows can be undone like any other.

mod source;

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnose::{Diagnosis, role_tag};
use crate::model::{
    Alias, ClusterIdentity, Component, ConfigMapBody, ConfigMapState, ImageChange, Key, ObjectRef, ObjectVersion,
    Snapshot, Timestamp, Values, Write, content_digest, images_before, is_own,
};
use crate::prow::image;

pub use source::{LiveObjects, UndoSource, UndoStep};

use super::{Confirmation, Override, OverrideId, Plan, PlanBasis, Refusal, RepairId, Step, Undo, Verify, rollback};

/// Plans the undoing of a run.
///
/// # Errors
/// Nothing of the run can be put back: why, for the first object.
pub fn plan(
    source: &UndoSource,
    live: &LiveObjects,
    clusters: &[ClusterIdentity],
    now: Timestamp,
) -> Result<Plan, Refusal> {
    let mut steps: Vec<Step> = Vec::new();
    let mut refusals = Vec::new();
    for step in &source.steps {
        match undo_step(source, step, live) {
            Ok(Some((write, effect))) => steps.push(Step {
                n: steps.len() + 1,
                why: format!("run {} {} it", source.run, done_to(&step.write)),
                undo: undo_of(&write),
                write,
                effect,
            }),
            Ok(None) => {}
            Err(refusal) => refusals.push(refusal),
        }
    }
    let Some(first) = steps.first().map(|step| step.write.object().clone()) else {
        return Err(refusals.into_iter().next().unwrap_or_else(|| nothing_to_undo(source)));
    };
    // The service cluster's first, also where nothing is written to it: it is what --context names.
    let used = |identity: &&ClusterIdentity| {
        identity.alias == Alias::service() || steps.iter().any(|step| *step.write.cluster() == identity.alias)
    };
    let clusters: Vec<ClusterIdentity> = clusters.iter().filter(used).cloned().collect();
    let mut warnings = Vec::new();
    if !source.steps.iter().all(|step| is_of_a_check(&step.write)) {
        warnings.push(format!(
            "what was there before {} may be what broke Prow: components that start on it may not come up",
            source.run
        ));
        warnings.extend(steps.iter().filter(|step| matches!(step.write, Write::DeleteConfigMap { .. })).map(|step| {
            format!("DELETES {}: whoever mounts it cannot start again without it; look who does", step.write.object())
        }));
    }
    let (confirmation, verify) = proof(&steps, first.name);
    let names: Vec<&str> = steps.iter().map(|step| step.write.object().name.as_str()).collect();
    Ok(Plan {
        id: String::new(),
        repair: RepairId::Undo,
        title: format!("undo {}: {} {}", source.run, what_it_does(&steps), names.join(", ")),
        clusters,
        basis: PlanBasis {
            taken_at: now,
            reason: Some(format!("FACT: the backup of run {}", source.run)),
            undoes: Some(source.run.clone()),
            ..PlanBasis::default()
        },
        refusals,
        warnings,
        confirmation,
        verify,
        afterwards: Vec::new(),
        digest: String::new(),
        steps,
    }
    .sealed())
}

/// Made for a checkconfig, which nobody else mounts.
fn is_of_a_check(write: &Write) -> bool {
    match write {
        Write::CreateConfigMap { body, .. } => body.is_own(),
        Write::CreateJob { .. } => true,
        Write::PutConfigMap { .. }
        | Write::DeleteConfigMap { .. }
        | Write::DeletePod { .. }
        | Write::PatchImage { .. }
        | Write::DeleteJob { .. } => false,
    }
}

fn done_to(write: &Write) -> &'static str {
    match write {
        Write::CreateConfigMap { .. } | Write::CreateJob { .. } => "made",
        Write::DeleteConfigMap { .. } | Write::DeletePod { .. } | Write::DeleteJob { .. } => "deleted",
        Write::PutConfigMap { .. } | Write::PatchImage { .. } => "replaced",
    }
}

/// Judges an undo by what else runs: versions that it would mix need a word, and that it leads back into the outage is the
/// first thing to be known.
///
/// # Errors
/// Components that are of one version now would be of two, and nobody gave a reason.
pub fn judged(
    mut plan: Plan,
    snapshot: &Snapshot,
    diagnosis: &Diagnosis,
    overrides: &[Override],
) -> Result<Plan, Refusal> {
    super::with_reasons(overrides)?;
    let mut changes = Vec::new();
    for step in &plan.steps {
        if let Write::PatchImage { object, images, .. } = &step.write {
            changes.extend(images.iter().map(|change| (object.clone(), tag(&change.from), tag(&change.to))));
        }
    }
    let Some((_, _, first)) = changes.first() else { return Ok(plan) };
    let to = (*first).to_owned();
    let moves = |object: &ObjectRef| changes.iter().any(|(changed, _, _)| changed.uid == object.uid);
    let is_left = |component: &&Component| {
        let now = role_tag(component).unwrap_or_default();
        let together = changes.iter().any(|(_, from, _)| *from == now);
        let refused = plan.refusals.iter().filter_map(|refusal| refusal.object.as_ref());
        let left_out = refused.into_iter().any(|object| object.uid == component.object.uid);
        now != to && (together || left_out) && !moves(&component.object)
    };
    let components = snapshot.service.components.seen().map_or(&[][..], Vec::as_slice);
    let left: Vec<String> = rollback::running(components)
        .filter(is_left)
        .map(|component| format!("{} at {}", component.object.name, role_tag(component).unwrap_or_default()))
        .collect();
    drop(changes);
    if !left.is_empty() {
        let left = left.join(", ");
        let Some(over) = overrides.iter().find(|over| over.id == OverrideId::MixedTags) else {
            return Err(Refusal::new(
                format!("components would be of different versions: {left}, the others at {to}"),
                format!(
                    "undo what brought those there as well, or plan rollback --to TAG for all; else prow-breakglass undo {} \
                     --override mixed-tags --reason TEXT",
                    plan.basis.undoes.as_deref().unwrap_or("RUN")
                ),
            ));
        };
        plan.warnings.insert(0, format!("override mixed-tags ({left}), reason: {}", over.reason));
    }
    if snapshot.service.components.known().is_none() {
        plan.warnings.insert(0, "the components cannot be seen: others may be left at another version".to_owned());
    }
    if let Some(what) = rollback::known_bad(snapshot, diagnosis, &to) {
        plan.warnings.insert(0, format!("this rolls FORWARD again: {to} is {what}"));
    }
    plan.basis.overrides = overrides.to_vec();
    Ok(plan.sealed())
}

fn what_it_does(steps: &[Step]) -> &'static str {
    let takes_away = |step: &Step| matches!(step.write, Write::DeleteConfigMap { .. } | Write::DeleteJob { .. });
    if steps.iter().all(takes_away) { "take away" } else { "put back" }
}

/// What is typed, and what proves it: images that go back to one tag are a rollout like any other.
fn proof(steps: &[Step], name: String) -> (Confirmation, Verify) {
    let mut tags = BTreeSet::new();
    let mut components = Vec::new();
    for step in steps {
        match &step.write {
            Write::PatchImage { object, images, .. } => {
                tags.extend(images.iter().map(|change| image::tag(&change.to).unwrap_or(&change.to)));
                components.push(object.clone());
            }
            Write::PutConfigMap { .. }
            | Write::CreateConfigMap { .. }
            | Write::DeleteConfigMap { .. }
            | Write::DeletePod { .. }
            | Write::CreateJob { .. }
            | Write::DeleteJob { .. } => {
                return (Confirmation::MapName(name), Verify::Written);
            }
        }
    }
    match tags.first() {
        Some(tag) if tags.len() == 1 => (
            Confirmation::of_tag(tag),
            Verify::RolloutDone {
                components,
                tag: (*tag).to_owned(),
                within_seconds: super::rollback::DONE_WITHIN_SECONDS,
            },
        ),
        Some(_) | None => (Confirmation::MapName(name), Verify::Written),
    }
}

fn nothing_to_undo(source: &UndoSource) -> Refusal {
    if source.steps.is_empty() {
        return Refusal::new(format!("run {} wrote nothing", source.run), "there is nothing to put back");
    }
    if source.steps.iter().any(|step| matches!(step.write, Write::DeletePod { seen: Some(_), .. })) {
        return Refusal::new(
            format!("run {} has nothing to put back: strays that were deleted do not come back", source.run),
            "pods of jobs that go on are made anew where they belong; what ended in error needs /retest",
        );
    }
    Refusal::new(
        format!("run {} has nothing to put back: the owners of deleted pods make new ones", source.run),
        "look at prow-breakglass status",
    )
}

/// The write that undoes a step and its effect; `None` where there is nothing to undo by nature.
fn undo_step(source: &UndoSource, step: &UndoStep, live: &LiveObjects) -> Result<Option<(Write, String)>, Refusal> {
    let (object, written) = match &step.write {
        Write::DeletePod { .. } => return Ok(None),
        Write::DeleteJob { .. } => return Ok(None),
        Write::CreateJob { object, .. } => return remove_job(step, object, live),
        Write::CreateConfigMap { object, body } => return take_away(source, step, object, body, live),
        Write::DeleteConfigMap { object, .. } => return make_again(source, step, object, live),
        Write::PutConfigMap { object, body, .. } => (object, body),
        Write::PatchImage { object, at, images } => return put_images_back(source, object, at, images, live),
    };
    let refuse = |reason: String, hint: &str| Err(Refusal::new(reason, hint).of(object));
    let Some(prior) = &step.prior else {
        return refuse(
            format!("run {} has no backup of {object}", source.run),
            "put it back from git with prow-breakglass plan sync-config --revision REV",
        );
    };
    let Some(now) = now_of(object, live)? else {
        return refuse(
            format!("{object} was deleted since"),
            "make it anew from git with prow-breakglass plan sync-config; the backup lies in the run's folder",
        );
    };
    if now.uid != prior.uid {
        return refuse(
            format!("{object} is another object now: deleted and made anew{} since", by_whom(now)),
            "look at what it holds before you overwrite it; the backup lies in the run's folder",
        );
    }
    let body = ConfigMapBody {
        values: prior.values.clone(),
        labels: put_back(&prior.labels, &written.labels, &now.labels),
        annotations: put_back(&prior.annotations, &written.annotations, &now.annotations),
        owner: None,
    };
    let holds = |values: &Values, labels: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>| {
        (&now.values, &now.labels, &now.annotations) == (values, labels, annotations)
    };
    if holds(&body.values, &body.labels, &body.annotations) {
        return refuse(format!("{object} is as it was before {} already", source.run), "there is nothing to put back");
    }
    if now.values != written.values {
        return refuse(
            format!("{object} does not hold what {} wrote any more: it was written{} since", source.run, by_whom(now)),
            "look at what it holds now with prow-breakglass config diff; the backup lies in the run's folder",
        );
    }
    let at = ObjectVersion {
        uid: now.uid.clone(),
        resource_version: now.resource_version.clone(),
        content: content_digest(&now.values),
    };
    let effect = super::values_effect(&now.values, &body.values);
    Ok(Some((Write::PutConfigMap { object: object.clone(), at, body }, effect)))
}

/// Labels or annotations: those from before, unless the run left them alone; then those of today.
fn put_back(
    prior: &BTreeMap<String, String>,
    written: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    if prior == written { now.clone() } else { prior.clone() }
}

fn put_images_back(
    source: &UndoSource,
    object: &ObjectRef,
    sent: &ObjectVersion,
    images: &[ImageChange],
    live: &LiveObjects,
) -> Result<Option<(Write, String)>, Refusal> {
    let refuse = |reason: String, hint: &str| Err(Refusal::new(reason, hint).of(object));
    let look = "look at what runs now with prow-breakglass history before you set another image";
    let Some(now) = live.workloads.get(object) else {
        return refuse(
            format!("what images {object} has now could not be read"),
            "undo needs the right to get it, and an answer",
        );
    };
    let Some(now) = now else { return refuse(format!("{object} was deleted since"), look) };
    if now.uid != sent.uid {
        return refuse(format!("{object} is another object now: deleted and made anew since"), look);
    }
    let back: Vec<ImageChange> = images
        .iter()
        .map(|change| ImageChange {
            container: change.container.clone(),
            from: change.to.clone(),
            to: change.from.clone(),
        })
        .collect();
    if now.has(&back) {
        return refuse(
            format!("{object} has the images from before {} already", source.run),
            "there is nothing to put back",
        );
    }
    if !now.has(images) {
        let who = now.by_whom();
        return refuse(
            format!("{object} does not have the images that {} set any more: it was written{who} since", source.run),
            look,
        );
    }
    let at = ObjectVersion {
        uid: now.uid.clone(),
        resource_version: now.resource_version.clone(),
        content: images_before(&back),
    };
    let effect =
        back.iter().map(|change| format!("{}: {} -> {}", change.container, tag(&change.from), tag(&change.to)));
    let effect = effect.collect::<Vec<_>>().join(", ");
    Ok(Some((Write::PatchImage { object: object.clone(), at, images: back }, effect)))
}

fn tag(reference: &str) -> &str {
    image::tag(reference).unwrap_or(reference)
}

fn undo_of(write: &Write) -> Undo {
    match write {
        Write::DeleteJob { .. } => Undo::None,
        Write::CreateConfigMap { .. } | Write::CreateJob { .. } => Undo::Delete,
        Write::PutConfigMap { .. }
        | Write::DeleteConfigMap { .. }
        | Write::DeletePod { .. }
        | Write::PatchImage { .. } => Undo::FromBackup,
    }
}

/// The Job of a check is taken away; its label is looked at once more right before.
fn remove_job(step: &UndoStep, object: &ObjectRef, live: &LiveObjects) -> Result<Option<(Write, String)>, Refusal> {
    match live.jobs.get(object) {
        // Another one has the name now.
        Some(Some(uid)) if step.made.as_ref().is_some_and(|made| made != uid) => Ok(None),
        Some(Some(uid)) => {
            let write = Write::DeleteJob { object: object.clone().with_uid(uid), uid: uid.clone() };
            Ok(Some((write, "taken away again, and its pod with it".to_owned())))
        }
        Some(None) => Ok(None),
        None => Err(Refusal::new(
            format!("whether {object} is still there could not be read"),
            "undo needs the right to get it, and an answer",
        )
        .of(object)),
    }
}

/// What a run made is deleted, by its uid and as it is now: while it holds what the run wrote.
fn take_away(
    source: &UndoSource,
    step: &UndoStep,
    object: &ObjectRef,
    written: &ConfigMapBody,
    live: &LiveObjects,
) -> Result<Option<(Write, String)>, Refusal> {
    let Some(now) = now_of(object, live)? else { return Ok(None) };
    let refuse = |reason: String| {
        let by_hand = format!("kubectl -n {} delete configmap {}", object.namespace, object.name);
        Err(Refusal::new(reason, format!("look at what it holds now; if nothing mounts it: {by_hand}")).of(object))
    };
    match &step.made {
        Some(made) if *made == now.uid => {}
        Some(_) => {
            return refuse(format!(
                "{object} is not the one that {} made: deleted and made anew{} since",
                source.run,
                by_whom(now)
            ));
        }
        // Of a name that was made up for it, and marked.
        None if written.is_own() && is_own(&now.labels) => {}
        // Without its answer, what is there may be another's of the same content.
        None => {
            return refuse(format!(
                "{} had no answer when it made {object}: whether this one is it is not known",
                source.run
            ));
        }
    }
    if now.values != written.values {
        return refuse(format!(
            "{object} does not hold what {} wrote any more: it was written{} since",
            source.run,
            by_whom(now)
        ));
    }
    let at = ObjectVersion {
        uid: now.uid.clone(),
        resource_version: now.resource_version.clone(),
        content: content_digest(&now.values),
    };
    let object = object.clone().with_uid(&now.uid);
    let effect = format!("it was not there before; {} key(s) go, the backup has them", now.values.len());
    Ok(Some((Write::DeleteConfigMap { object, at }, effect)))
}

/// What a run deleted is made again, from the backup.
fn make_again(
    source: &UndoSource,
    step: &UndoStep,
    object: &ObjectRef,
    live: &LiveObjects,
) -> Result<Option<(Write, String)>, Refusal> {
    let object = ObjectRef { uid: None, ..object.clone() };
    let refuse = |reason: String, hint: &str| Err(Refusal::new(reason, hint).of(&object));
    let Some(prior) = &step.prior else {
        return refuse(
            format!("run {} has no backup of {object}", source.run),
            "put it back from git with prow-breakglass plan sync-config --revision REV",
        );
    };
    if let Some(now) = now_of(&object, live)? {
        return refuse(
            format!("{object} is there{}", by_whom(now)),
            "look at what it holds; the backup lies in the run's folder",
        );
    }
    let effect = format!("{} key(s), as before", prior.values.len());
    let body = ConfigMapBody {
        values: prior.values.clone(),
        labels: prior.labels.clone(),
        annotations: prior.annotations.clone(),
        owner: None,
    };
    Ok(Some((Write::CreateConfigMap { object, body }, effect)))
}

fn now_of<'a>(object: &ObjectRef, live: &'a LiveObjects) -> Result<Option<&'a ConfigMapState>, Refusal> {
    let key = (object.cluster.clone(), Key::new(object.namespace.clone(), object.name.clone()));
    live.config_maps.get(&key).map(Option::as_ref).ok_or_else(|| {
        Refusal::new(
            format!("what {object} holds now could not be read"),
            format!("undo needs the right to get configmaps in {}, and an answer", object.namespace),
        )
        .of(object)
    })
}

fn by_whom(now: &ConfigMapState) -> String {
    now.last_writer().map(|writer| format!(" by {writer}")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
