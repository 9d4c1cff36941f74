//! `kick`: deletes the crash-looping pods whose configuration was repaired, so that nobody waits out five minutes of
//! back-off. Their owner makes new ones, which mount the new content at once.

use crate::diagnose::{CrashContent, Diagnosis, LoadFailure, Refusing, load_failures};
use crate::model::{Component, ComponentPod, ConfigMapState, Container, ContainerState, Snapshot, Write};

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
    let failures = load_failures(snapshot);
    for component in components {
        for pod in component.pods.iter().filter(|pod| !pod.deleting) {
            let Some(crashed) = pod.containers.iter().find(|container| container.is_crash_looping()) else { continue };
            let asked = request.maps.is_empty()
                || component.config_maps().iter().filter_map(|key| live.get(key)).any(|map| is_asked_for(request, map));
            if !asked {
                continue;
            }
            let of_component = || {
                let mut crashes = failures.iter().filter(|failure| failure.how == Refusing::Crashed);
                crashes.find(|failure| failure.component.object == component.object)
            };
            let failure = match crashed.last_fatal {
                Some(_) => {
                    failures.iter().find(|failure| failure.how == Refusing::Crashed && failure.pod.object == pod.object)
                }
                // Its own log was not read (yet): pods of one workload that crash-loop together crash for one reason.
                None => of_component(),
            };
            match judge(request, component, pod, failure) {
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
        basis: PlanBasis { taken_at: snapshot.taken_at, overrides: request.overrides.clone(), ..PlanBasis::default() },
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
    component: &Component,
    pod: &ComponentPod,
    failure: Option<&LoadFailure<'_>>,
) -> Result<String, Refusal> {
    let name = &component.object.name;
    if pod.owner.is_none() {
        return Err(Refusal::new("nobody owns this pod: nobody would make a new one", "look at it by hand"));
    }
    if !pod.finalizers.is_empty() {
        return Err(Refusal::new(
            format!("it carries finalizers ({}): it would hang Terminating", pod.finalizers.join(", ")),
            "find out who holds them first",
        ));
    }
    let runs = |container: &Container| container.ready && matches!(container.state, ContainerState::Running { .. });
    if let Some(container) = pod.containers.iter().find(|container| runs(container)) {
        return Err(Refusal::new(
            format!(
                "its container {} still works, on what it loaded before: a new pod may not come up",
                container.name
            ),
            "look at the container that crash-loops by hand",
        ));
    }
    if let Some(failure) = failure.filter(|failure| failure.content == CrashContent::Replaced) {
        return Ok(format!(
            "{name} crashed on content that was replaced since, and its back-off goes on; its last words: {} {}",
            failure.line.msg, failure.line.error
        ));
    }
    if request.overridden(OverrideId::UnchangedConfig).is_some() {
        return Ok(format!("{name} crash-loops; asked for although nothing says that it would start now"));
    }
    Err(match failure {
        Some(_) => Refusal::new(
            format!("{name} would crash again: its configuration has not changed since it crashed"),
            "repair the configuration first: `prow-breakglass plan sync-config`",
        ),
        None => Refusal::new(
            format!("{name} does not crash-loop over its configuration, as far as its log tells"),
            "look at its log; if a new pod would help all the same: --override unchanged-config --reason TEXT",
        ),
    })
}

fn step(n: usize, pod: &ComponentPod, why: String) -> Step {
    Step {
        n,
        write: Write::DeletePod {
            object: pod.object.clone(),
            uid: pod.object.uid.clone().unwrap_or_default(),
            seen: None,
        },
        why,
        undo: Undo::RecreatedByOwner,
        effect: format!("{} makes a new one", pod.owner.as_deref().unwrap_or("its owner")),
    }
}
