//! What speaks against a rollback, and what should be known before.

use std::collections::BTreeSet;

use crate::diagnose::{Basis, Diagnosis, refused_is_live, role_image, role_tag};
use crate::model::{Component, FailureKind, Key, Kind, RefusedContent, Rollout, Snapshot, Source};
use crate::prow;
use crate::repair::{OverrideId, Refusal, Request};

use super::running;

/// Longest tag of an image reference.
const MAX_TAG: usize = 128;

/// What was given with `--to`, if it can be a tag.
pub(super) fn a_tag(tag: &str) -> Result<String, Refusal> {
    let first = tag.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let rest = tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if first && rest && tag.len() <= MAX_TAG {
        return Ok(tag.to_owned());
    }
    Err(Refusal::new(
        format!("`{}` is no tag of an image", crate::model::text::sanitize_line(tag)),
        "a tag is such as v20190129-1b2c3d4, without the image's name",
    )
    .because(FailureKind::Usage))
}

/// A paused Deployment takes the image and rolls nothing out: half a rollback that looks like a whole one.
pub(super) fn paused(members: &[&Component]) -> Result<(), Refusal> {
    let Some(component) = members.iter().find(|component| component.paused) else { return Ok(()) };
    let object = &component.object;
    Err(Refusal::new(
        format!("{} is paused: it would take the image and roll nothing out", object.name),
        format!(
            "kubectl -n {} rollout resume deployment {}, then plan again; or leave it out by naming the others with --component",
            object.namespace, object.name
        ),
    )
    .of(object))
}

/// The version that the outage began with, by intent or by a slip of the finger in the list of tags.
pub(super) fn known_bad(
    request: &Request,
    snapshot: &Snapshot,
    diagnosis: &Diagnosis,
    tag: &str,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let Some(what) = super::known_bad(snapshot, diagnosis, tag) else { return Ok(()) };
    let refusal = Refusal::new(
        format!("{tag} is {what}: that is no way back"),
        "choose another tag (--to), or --override known-bad --reason TEXT",
    );
    request.allowed(OverrideId::KnownBad, &format!("({tag} is {what})"), refusal, warnings)
}

/// One set of components, one tag: whoever wants it otherwise says why.
pub(super) fn mixed(
    request: &Request,
    components: &[Component],
    members: &[&Component],
    tag: &str,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let left: Vec<String> = running(components)
        .filter(|component| !members.iter().any(|member| member.object == component.object))
        .filter_map(|component| Some((component, role_tag(component).filter(|now| *now != tag)?)))
        .map(|(component, now)| format!("{} at {now}", component.object.name))
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    let left = left.join(", ");
    // Unasked, only those are left out that did not move with the others: they were of another version before, too.
    if request.components.is_empty() {
        warnings.push(format!("of another version, and left there: {left}; --to names one tag for all"));
        return Ok(());
    }
    let refusal = Refusal::new(
        format!("components would be of different versions: {left}, the others at {tag}"),
        "roll all back together (without --component), or --override mixed-tags --reason TEXT",
    );
    request.allowed(OverrideId::MixedTags, &format!("({left})"), refusal, warnings)
}

/// An older Prow may refuse today's configuration: then the rollback is the next outage.
pub(super) fn loads(
    request: &Request,
    snapshot: &Snapshot,
    components: &[Component],
    tag: &str,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let Some(live) = snapshot.service.config_maps.known() else {
        warnings.push(format!("the live configuration cannot be read: nobody knows whether {tag} loads it"));
        return Ok(());
    };
    // What a component of that very tag refused once is no guess, where all else is as it was then.
    let against = snapshot.remembered_refusals().find_map(|refused| {
        refused.images.iter().find(|image| prow::image::tag(image) == Some(tag))?;
        let basis = match refused_is_live(snapshot, refused)? {
            Basis::Fact => "FACT",
            Basis::Guess => "GUESS",
        };
        let RefusedContent { config_map, at, error, .. } = refused;
        Some(format!("{basis}: it refused the content of ConfigMap {config_map} at {at}: {error}"))
    });
    let against = against.or_else(|| {
        let files = prow::ConfigFiles::of_components(components.iter());
        let rule = prow::preset_rule(std::iter::once(tag));
        let objection = prow::objections_live(live, &files, rule).into_iter().next()?;
        Some(format!("GUESS: by our rules: {}", objection.message))
    });
    let Some(against) = against else { return Ok(()) };
    let refusal = Refusal::new(
        format!("{tag} would not load the live configuration ({against})"),
        "choose another tag (--to), repair the configuration first, or --override would-not-load --reason TEXT",
    );
    request.allowed(OverrideId::WouldNotLoad, &format!("({against})"), refusal, warnings)
}

/// Of which components history does not know that they ever had the tag: their images may not exist.
///
/// A tag that none of them had may be a slip; but old ReplicaSets may be gone, so it stays possible.
pub(super) fn known_here(
    request: &Request,
    rollouts: &Source<Vec<Rollout>>,
    members: &[&Component],
    tag: &str,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    match rollouts.known() {
        // Where it tells nothing at all, it does not tell this either.
        Some(rollouts) if !rollouts.is_empty() && !rollouts.iter().any(|rollout| rollout.tag == tag) => {
            let refusal = Refusal::new(
                format!("no ReplicaSet here ever had {tag}: such images may not exist, and the server cannot tell"),
                "`prow-breakglass history` lists the tags that are known; old ReplicaSets may be gone, so if you know \
                 the tag: --override unknown-tag --reason TEXT",
            );
            let about = format!("(no ReplicaSet here ever had {tag})");
            request.allowed(OverrideId::UnknownTag, &about, refusal, warnings)?;
        }
        Some(rollouts) => {
            let had_it = |component: &Component| {
                rollouts.iter().any(|rollout| rollout.tag == tag && rollout.component.uid == component.object.uid)
            };
            let never: Vec<&str> = members
                .iter()
                .filter(|component| !had_it(component))
                .map(|component| component.object.name.as_str())
                .collect();
            if !never.is_empty() {
                warnings.push(format!(
                    "no ReplicaSet here says that {} ever had {tag}: such images may not exist; the server cannot tell",
                    never.join(", ")
                ));
            }
        }
        None => warnings.push(format!(
            "what ran before cannot be read: nobody knows whether images of {tag} exist, or lay in another repository"
        )),
    }
    Ok(())
}

/// What has the bad version beside the containers that carry the roles, and stays: other containers of their pods, utility
/// images of jobs in the configuration; and components of more than one namespace, which may be of two Prows.
pub(super) fn beside(snapshot: &Snapshot, members: &[&Component], warnings: &mut Vec<String>) {
    let bad: BTreeSet<&str> = members.iter().filter_map(|component| role_tag(component)).collect();
    for component in members {
        let others = component.spec_images.iter().filter(|image| Some(image.as_str()) != role_image(component));
        for image in others.filter(|image| prow::image::tag(image).is_some_and(|tag| bad.contains(tag))) {
            let name = &component.object.name;
            warnings.push(format!("{name} has another container at that version, which stays: {image}"));
        }
    }
    let files: BTreeSet<&Key> =
        members.iter().filter_map(|component| component.config.config_path.as_ref()?.config_map.as_ref()).collect();
    let maps = snapshot.service.config_maps.known();
    for (map, state) in files.into_iter().filter_map(|key| Some((key, maps?.get(key)?))) {
        for tag in &bad {
            let wanted = format!(":{tag}");
            let names = |value: &Vec<u8>| {
                prow::gzip::inflate(value).is_ok_and(|text| String::from_utf8_lossy(&text).contains(&wanted))
            };
            if state.values.values().any(names) {
                warnings.push(format!(
                    "ConfigMap {map} asks for images at {tag}, such as the utility images of jobs: they stay, and jobs \
                     run with them"
                ));
            }
        }
    }
    let namespaces: BTreeSet<&str> = members.iter().map(|component| component.object.namespace.as_str()).collect();
    if namespaces.len() > 1 {
        let namespaces: Vec<&str> = namespaces.into_iter().collect();
        warnings.push(format!(
            "the components lie in several namespaces: {}; if one of them is another Prow's, look only at yours: --namespace",
            namespaces.join(", ")
        ));
    }
}

/// What has the bad version and is not touched unasked.
pub(super) fn left_alone(components: &[Component], members: &[&Component], tag: &str, warnings: &mut Vec<String>) {
    let alone = components
        .iter()
        .filter(|component| component.is_idle_by_intent())
        .filter(|component| !members.iter().any(|member| member.object == component.object));
    for component in alone {
        let Some(now) = role_tag(component).filter(|now| *now != tag) else { continue };
        let name = &component.object.name;
        warnings.push(match component.object.kind {
            Kind::CronJob if component.suspended => {
                format!("CronJob {name} stays at {now} (suspended); to roll it back as well: --component {name}")
            }
            Kind::CronJob => {
                format!("CronJob {name} stays at {now}: its next run acts as that; to roll it back as well: --component {name}")
            }
            Kind::Deployment
            | Kind::StatefulSet
            | Kind::DaemonSet
            | Kind::Job
            | Kind::ReplicaSet
            | Kind::Pod
            | Kind::ConfigMap
            | Kind::Service
            | Kind::ProwJob
            | Kind::Namespace
            | Kind::Cluster
            | Kind::Revision => {
                format!("{name} has replicas: 0, which is intent, and stays at {now}; to change it as well: --component {name}")
            }
        });
    }
}

pub(super) fn automation(diagnosis: &Diagnosis, warnings: &mut Vec<String>) {
    for actor in diagnosis.automation.iter().filter(|actor| actor.kind.reverts_images() && actor.idle.is_none()) {
        warnings.push(format!(
            "{} will undo this ({}): {}; stop it first (`automation` says how)",
            actor.name, actor.when, actor.effect
        ));
    }
}
