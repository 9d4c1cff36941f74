//! `kick`: deletes the crash-looping pods whose configuration was repaired, so that nobody waits out five minutes of
//! back-off. Their owner makes new ones, which mount the new content at once.

use crate::diagnose::{CrashContent, Diagnosis, load_failures};
use crate::model::{Component, ComponentPod, ConfigMapState, Snapshot, Timestamp, Write};

use super::{
    Confirmation, OverrideId, Plan, PlanBasis, Refusal, RepairId, Request, Step, Undo, Verify, identity, required,
    what_was_lost,
};

/// A new pod needs scheduling, mounting, starting and a first probe.
const READY_WITHIN_SECONDS: u32 = 120;

pub(super) fn plan(request: &Request, snapshot: &Snapshot, _diagnosis: &Diagnosis) -> Result<Plan, Refusal> {
    let cluster = identity(snapshot)?;
    let components = required(&snapshot.service.components, "the components")?;
    let live = required(&snapshot.service.config_maps, "the live ConfigMaps")?;

    let mut steps: Vec<Step> = Vec::new();
    let mut refusals = Vec::new();
    let mut warnings = Vec::new();
    let mut watched = Vec::new();
    for component in components {
        for pod in component.pods.iter().filter(|pod| !pod.deleting) {
            let Some(crashed) = pod.containers.iter().find(|container| container.is_crash_looping()) else { continue };
            let maps: Vec<&ConfigMapState> = component
                .config_maps()
                .iter()
                .filter_map(|key| live.get(key))
                .filter(|map| is_asked_for(request, map))
                .collect();
            if maps.is_empty() {
                continue;
            }
            let crashed_at = crashed.last_exit.as_ref().and_then(|exit| exit.finished);
            match judge(request, snapshot, component, pod, &maps, crashed_at) {
                Ok(why) => {
                    if let Some(over) = request.overridden(OverrideId::UnchangedConfig) {
                        warnings.push(format!("override unchanged-config, reason: {}", over.reason));
                    }
                    steps.push(step(steps.len() + 1, pod, why));
                    if !watched.contains(&component.object) {
                        watched.push(component.object.clone());
                    }
                }
                Err(refusal) => refusals.push(refusal.of(&pod.object)),
            }
        }
    }
    warnings.dedup();
    if steps.is_empty() {
        return Err(match refusals.into_iter().next() {
            Some(refusal) => refusal,
            None => Refusal::new(
                "no crash-looping pod mounts a ConfigMap that this would help",
                "look at `prow-breakglass status`; pods that start by themselves need no kick",
            ),
        });
    }
    let count = steps.len();
    Ok(Plan {
        id: String::new(),
        repair: RepairId::Kick,
        title: format!("delete {count} crash-looping pod(s), so that new ones start on the repaired configuration"),
        clusters: vec![cluster],
        basis: PlanBasis { taken_at: snapshot.taken_at, revision: None, reason: None, undoes: None },
        steps,
        refusals,
        warnings,
        confirmation: Confirmation::Count(count),
        verify: Verify::ComponentsReady { components: watched, within_seconds: READY_WITHIN_SECONDS },
        afterwards: what_was_lost(snapshot),
        digest: String::new(),
    }
    .sealed())
}

fn is_asked_for(request: &Request, map: &ConfigMapState) -> bool {
    request.maps.is_empty() || request.maps.iter().any(|name| *name == map.key.name || *name == map.key.to_string())
}

/// Why this pod may be deleted, or why not.
fn judge(
    request: &Request,
    snapshot: &Snapshot,
    component: &Component,
    pod: &ComponentPod,
    maps: &[&ConfigMapState],
    crashed: Option<Timestamp>,
) -> Result<String, Refusal> {
    if pod.owner.is_none() {
        return Err(Refusal::new("nobody owns this pod: nobody would make a new one", "look at it by hand"));
    }
    if !pod.finalizers.is_empty() {
        return Err(Refusal::new(
            format!("it carries finalizers ({}): it would hang Terminating", pod.finalizers.join(", ")),
            "find out who holds them first",
        ));
    }
    let failures = load_failures(snapshot);
    let failure = failures.iter().find(|failure| failure.pod.object == pod.object);
    let replaced = match failure {
        Some(failure) => failure.content == CrashContent::Replaced,
        // Crashed for another reason: only a later write can help it.
        None => maps.iter().any(|map| {
            let written = map.last_writer().and_then(|writer| writer.at);
            matches!((written, crashed), (Some(written), Some(crashed)) if written >= crashed)
        }),
    };
    if replaced {
        return Ok(format!(
            "{} crashed on content that was replaced since; its back-off goes on",
            component.object.name
        ));
    }
    if request.overridden(OverrideId::UnchangedConfig).is_some() {
        return Ok(format!(
            "{} crash-loops; asked for although its configuration has not changed",
            component.object.name
        ));
    }
    Err(Refusal::new(
        format!("{} would crash again: its configuration has not changed since it crashed", component.object.name),
        "repair the configuration first: `prow-breakglass plan sync-config`",
    ))
}

fn step(n: usize, pod: &ComponentPod, why: String) -> Step {
    Step {
        n,
        write: Write::DeletePod { object: pod.object.clone(), uid: pod.object.uid.clone().unwrap_or_default() },
        why,
        undo: Undo::RecreatedByOwner,
        effect: format!("{} makes a new one", pod.owner.as_deref().unwrap_or("its owner")),
    }
}
