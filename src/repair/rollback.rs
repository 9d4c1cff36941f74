//! `rollback`: all components that moved together, back to the tag that they had in common before. Images are patched, not
//! ReplicaSets rolled back to: the old ones may be gone, and after a restart `rollout undo` leads to the same image.
//!
//! History is what the ReplicaSets tell. Where they do not tell, nothing is guessed: the person names the tag. Checks are in
//! [`checks`]; what a screen shows of the choices is [`targets`].

mod checks;

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnose::{Diagnosis, MAKER, came_after, role_image, role_tag, rolled_back_from};
use crate::model::{
    Component, FailureKind, ImageChange, Kind, ObjectVersion, Rollout, Snapshot, Timestamp, Write, images_before,
};
use crate::prow::image;

use super::{Confirmation, Plan, PlanBasis, Refusal, RepairId, Request, Step, Undo, Verify, identity, required};

/// A rollout of every component takes a leader's lease, a pull and a few probes.
pub(super) const DONE_WITHIN_SECONDS: u32 = 300;

/// A tag that a rollback could lead to.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub tag: String,
    /// Components that ask for it now.
    pub current: usize,
    /// Components whose history holds it, as it is now or as it was.
    pub known: usize,
    /// When the first of them got it, as far as is known.
    pub since: Option<Timestamp>,
}

/// The tags that the history of the components knows, newest first; tags that nothing is known of but that they are asked for
/// come first of all.
pub fn targets(snapshot: &Snapshot) -> Vec<Target> {
    let components = snapshot.service.components.seen().map_or(&[][..], Vec::as_slice);
    let rollouts = snapshot.service.rollouts.seen().map_or(&[][..], Vec::as_slice);
    #[derive(Default)]
    struct Seen<'a> {
        current: BTreeSet<&'a str>,
        known: BTreeSet<&'a str>,
        since: Option<Timestamp>,
    }
    let mut tags: BTreeMap<&str, Seen<'_>> = BTreeMap::new();
    for component in running(components) {
        let Some(tag) = role_tag(component) else { continue };
        let uid = component.object.uid.as_deref().unwrap_or_default();
        let seen = tags.entry(tag).or_default();
        seen.current.insert(uid);
        seen.known.insert(uid);
    }
    for rollout in rollouts {
        let seen = tags.entry(&rollout.tag).or_default();
        seen.known.insert(rollout.component.uid.as_deref().unwrap_or_default());
        seen.since = [seen.since, rollout.created].into_iter().flatten().min();
    }
    let target = |(tag, seen): (&str, Seen<'_>)| Target {
        tag: tag.to_owned(),
        current: seen.current.len(),
        known: seen.known.len(),
        since: seen.since,
    };
    let mut targets: Vec<Target> = tags.into_iter().map(target).collect();
    targets.sort_by_key(|target| std::cmp::Reverse(target.since.unwrap_or(Timestamp::MAX)));
    targets
}

/// The tag that a rollback leads to when nobody names one.
///
/// # Errors
/// The history does not tell; why, and which to name.
pub fn previous_tag(snapshot: &Snapshot) -> Result<String, Refusal> {
    let components = required(&snapshot.service.components, "the components")?;
    let rollouts = required(&snapshot.service.rollouts, "the history of rollouts")?;
    common_tag(components, rollouts)
}

pub(super) fn plan(request: &Request, snapshot: &Snapshot, diagnosis: &Diagnosis) -> Result<Plan, Refusal> {
    let cluster = identity(snapshot)?;
    let components = required(&snapshot.service.components, "the components")?;
    let (tag, reason) = match &request.to {
        Some(tag) => (checks::a_tag(tag)?, "FACT: asked for".to_owned()),
        None => {
            let tag = previous_tag(snapshot)?;
            let why = format!("FACT: the ReplicaSets say that all which moved together ran {tag} before");
            (tag, why)
        }
    };
    let rollouts = snapshot.service.rollouts.known().map_or(&[][..], Vec::as_slice);
    let mut members = members(request, components, rollouts, &tag)?;
    members
        .sort_by_key(|component| (current(component, rollouts).and_then(|rollout| rollout.began), &component.object));

    let mut warnings = Vec::new();
    checks::paused(&members)?;
    checks::known_bad(request, snapshot, diagnosis, &tag, &mut warnings)?;
    checks::mixed(request, components, &members, &tag, &mut warnings)?;
    checks::loads(request, snapshot, components, &tag, &mut warnings)?;
    checks::known_here(request, &snapshot.service.rollouts, &members, &tag, &mut warnings)?;
    checks::beside(snapshot, &members, &mut warnings);
    checks::left_alone(components, &members, &tag, &mut warnings);
    checks::automation(diagnosis, &mut warnings);

    let steps: Vec<Step> = members
        .iter()
        .enumerate()
        .map(|(at, component)| step(at + 1, component, rollouts, &tag))
        .collect::<Result<_, _>>()?;
    let count = steps.len();
    Ok(Plan {
        id: String::new(),
        repair: RepairId::Rollback,
        title: match known_bad(snapshot, diagnosis, &tag) {
            Some(what) => format!("roll {count} component(s) FORWARD to {tag}, {what}"),
            None => format!("roll {count} component(s) back to {tag}"),
        },
        clusters: vec![cluster],
        basis: PlanBasis {
            taken_at: snapshot.taken_at,
            reason: Some(reason),
            overrides: request.overrides.clone(),
            ..PlanBasis::default()
        },
        verify: Verify::RolloutDone {
            components: members.iter().map(|component| component.object.clone()).collect(),
            tag: tag.clone(),
            within_seconds: DONE_WITHIN_SECONDS,
        },
        steps,
        refusals: Vec::new(),
        warnings,
        confirmation: Confirmation::of_tag(&tag),
        afterwards: afterwards(diagnosis),
        digest: String::new(),
    }
    .sealed())
}

/// What speaks against a tag by itself: it is where the outage came from. `the version that the strays began with`.
pub(super) fn known_bad(snapshot: &Snapshot, diagnosis: &Diagnosis, tag: &str) -> Option<&'static str> {
    match &diagnosis.gate.facts().began_with {
        Some(bad) if bad == tag => Some("the version that the strays began with"),
        Some(_) => None,
        None => (rolled_back_from(snapshot) == Some(tag)).then_some("the version that was rolled back"),
    }
}

fn afterwards(diagnosis: &Diagnosis) -> Vec<String> {
    let mut lines = vec![
        "ProwJobs that ended in error or were aborted meanwhile are not run again: presubmits need /retest, postsubmits \
         are lost, periodics wait for their next time"
            .to_owned(),
    ];
    if diagnosis.strays.total() > 0 {
        lines.push(
            "the stray pods stay where they are: plan delete-strays, once good pods come again (status says when)"
                .to_owned(),
        );
    }
    lines
}

/// Components that run now: neither idle by intent nor of an image without a tag.
pub(super) fn running(components: &[Component]) -> impl Iterator<Item = &Component> {
    components.iter().filter(|component| !component.is_idle_by_intent() && role_tag(component).is_some())
}

fn rollouts_of<'a>(component: &Component, rollouts: &'a [Rollout]) -> impl Iterator<Item = &'a Rollout> {
    let uid = component.object.uid.clone();
    rollouts.iter().filter(move |rollout| rollout.component.uid == uid)
}

fn current<'a>(component: &Component, rollouts: &'a [Rollout]) -> Option<&'a Rollout> {
    rollouts_of(component, rollouts).find(|rollout| rollout.current)
}

/// The tag that a component had before `now`: of its newest older rollout that had another.
fn before<'a>(component: &Component, rollouts: &'a [Rollout], now: &str) -> Option<&'a str> {
    let current = current(component, rollouts);
    rollouts_of(component, rollouts)
        .filter(|rollout| !rollout.current && rollout.tag != now && !came_after(rollout, now, current))
        .max_by_key(|rollout| rollout.revision)
        .map(|rollout| rollout.tag.as_str())
}

/// The tag that all components which moved with prow-controller-manager had in common before.
fn common_tag(components: &[Component], rollouts: &[Rollout]) -> Result<String, Refusal> {
    let all: Vec<&Component> = running(components).collect();
    let maker = all.iter().find(|component| component.role == MAKER);
    let Some(now) = maker.and_then(|maker| role_tag(maker)) else {
        return Err(Refusal::new(
            format!("no {MAKER} runs that would tell which components moved together"),
            "name the tag: --to TAG; `prow-breakglass history` lists those that are known",
        ));
    };
    let together: Vec<&Component> = all.iter().copied().filter(|component| role_tag(component) == Some(now)).collect();
    let mut tags: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut mute: Vec<&str> = Vec::new();
    for component in &together {
        match before(component, rollouts, now) {
            Some(tag) => tags.entry(tag).or_default().push(&component.object.name),
            None => mute.push(&component.object.name),
        }
    }
    let after: BTreeSet<&str> = together
        .iter()
        .flat_map(|component| {
            let current = current(component, rollouts);
            rollouts_of(component, rollouts)
                .filter(move |rollout| !rollout.current && came_after(rollout, now, current))
        })
        .map(|rollout| rollout.tag.as_str())
        .collect();
    let stays = after.iter().copied().find(|tag| all.iter().any(|component| role_tag(component) == Some(tag)));
    let said: Vec<String> = tags.iter().map(|(tag, names)| format!("{tag} ({})", names.join(", "))).collect();
    let first = tags.keys().next().copied();
    match (first, tags.len()) {
        (None, _) => Err(match stays {
            Some(tag) => two_versions(&all, tag, now),
            None => nothing_older(now, &after),
        }),
        (Some(tag), 1) if !mute.is_empty() => Err(Refusal::new(
            format!("history does not tell what {} ran before {now}", mute.join(", ")),
            format!("the others ran {tag}; if that is right for all: --to {tag}"),
        )),
        // Two groups, and each had the other's tag before: somebody stopped halfway.
        (Some(tag), 1) if all.iter().any(|component| role_tag(component) == Some(tag)) => {
            Err(two_versions(&all, tag, now))
        }
        (Some(tag), 1) => Ok(tag.to_owned()),
        (Some(_), _) => Err(Refusal::new(
            format!("what moved together had no common tag before: {}", said.join("; ")),
            "name the tag: --to TAG",
        )),
    }
}

fn nothing_older(now: &str, after: &BTreeSet<&str>) -> Refusal {
    if after.is_empty() {
        return Refusal::new(
            format!("history does not tell what ran before {now}: no older ReplicaSet is left"),
            "name the tag: --to TAG; the last bump in the repository of the manifests says which it was",
        );
    }
    let after: Vec<&str> = after.iter().copied().collect();
    Refusal::new(
        format!("{now} is what a rollback led to: {} came after it, and nothing older is known", after.join(", ")),
        "name the tag: --to TAG; `prow-breakglass history` lists those that are known",
    )
}

fn two_versions(all: &[&Component], tag: &str, now: &str) -> Refusal {
    let there: Vec<&str> = all
        .iter()
        .filter(|component| role_tag(component) == Some(tag))
        .map(|component| component.object.name.as_str())
        .collect();
    Refusal::new(
        format!(
            "components are of two versions: {} run(s) {tag}, the others {now}; a rollout may have stopped halfway",
            there.join(", ")
        ),
        format!("say which it shall be: --to {tag} or --to {now}"),
    )
}

/// The components that are rolled back.
fn members<'a>(
    request: &Request,
    components: &'a [Component],
    rollouts: &[Rollout],
    tag: &str,
) -> Result<Vec<&'a Component>, Refusal> {
    let differs = |component: &&Component| role_tag(component).is_some_and(|now| now != tag);
    let members: Vec<&Component> = if !request.components.is_empty() {
        let mut named = Vec::new();
        for name in &request.components {
            named.extend(by_name(components, name)?);
        }
        named.into_iter().filter(differs).collect()
    } else if request.to.is_some() {
        running(components).filter(differs).collect()
    } else {
        let maker = running(components).find(|component| component.role == MAKER).and_then(role_tag);
        running(components).filter(|component| role_tag(component) == maker).filter(differs).collect()
    };
    let mut seen = BTreeSet::new();
    let members: Vec<&Component> = members.into_iter().filter(|component| seen.insert(&component.object)).collect();
    if members.is_empty() {
        let at = running(components).filter_map(|component| current(component, rollouts)?.began).max();
        let at = at.map_or(String::new(), |at| format!(", since {at}"));
        return Err(Refusal::new(
            format!("all of these components ask for {tag} already{at}"),
            "look at `prow-breakglass status`: a rollout may still be on its way, or hang",
        ));
    }
    Ok(members)
}

fn by_name<'a>(components: &'a [Component], name: &str) -> Result<Vec<&'a Component>, Refusal> {
    let found: Vec<&Component> =
        components.iter().filter(|component| component.object.name == name || component.role == name).collect();
    if found.is_empty() {
        let known: Vec<&str> = components.iter().map(|component| component.object.name.as_str()).collect();
        return Err(Refusal::new(format!("there is no component {name}"), format!("there are {}", known.join(", ")))
            .because(FailureKind::Usage));
    }
    Ok(found)
}

fn step(n: usize, component: &Component, rollouts: &[Rollout], tag: &str) -> Result<Step, Refusal> {
    let from = role_image(component).unwrap_or_default();
    let now = role_tag(component).unwrap_or_default();
    // The very reference that ran then: its repository may have been another one.
    let to = rollouts_of(component, rollouts)
        .filter(|rollout| rollout.tag == tag && rollout.container == component.container)
        .max_by_key(|rollout| rollout.revision)
        .map(|rollout| rollout.image.clone())
        .or_else(|| image::with_tag(from, tag));
    let (Some(to), Some(uid)) = (to, &component.object.uid) else {
        return Err(Refusal::new(
            format!("{} has an image that cannot be named with another tag: {from}", component.object.name),
            "set it by hand: kubectl set image",
        )
        .of(&component.object));
    };
    let images = vec![ImageChange { container: component.container.clone(), from: from.to_owned(), to }];
    let since = current(component, rollouts).and_then(|rollout| rollout.began.or(rollout.created));
    let since = since.map_or(String::new(), |at| format!(" since {at}"));
    let pods = match (component.object.kind, component.desired) {
        (Kind::CronJob, _) => "its next run".to_owned(),
        (_, 0) => "no pods: replicas is 0".to_owned(),
        (_, desired) => format!("{desired} pod(s)"),
    };
    Ok(Step {
        n,
        write: Write::PatchImage {
            object: component.object.clone(),
            at: ObjectVersion {
                uid: uid.clone(),
                resource_version: component.resource_version.clone(),
                content: images_before(&images),
            },
            images,
        },
        why: format!("runs {now}{since}"),
        undo: Undo::FromBackup,
        effect: format!("{now} -> {tag}, {pods}"),
    })
}
