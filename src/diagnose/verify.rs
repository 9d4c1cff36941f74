//! Whether what a plan promised can be seen.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Alias, ClusterView, ComponentPod, Container, ContainerState, ImageChange, Key, ObjectRef, Snapshot, Timestamp,
    Write, content_digest,
};
use crate::prow::{PresetRule, image};
use crate::repair::{Plan, Verify};

use super::load_failure::{CrashContent, LoadFailure, Refusing, load_failures, suspect};
use super::stray_pods::finalizer_owner;

/// What the newest snapshot says of a plan's promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyState {
    Holds,
    /// What can be known holds. These run on from before it was written: that they refuse to load it may yet show in their logs.
    Settling {
        running: Vec<String>,
    },
    /// A component refuses what was written: waiting does not help.
    Refused {
        what: String,
    },
    /// Not yet, and what is missing.
    NotYet {
        what: String,
    },
}

/// A GUESS: Prow does not announce that it loaded a changed configuration. Kubelets pass a change on within two minutes, and
/// components look for one every second; for plugins.yaml every minute, for subfolders of job files every ten.
pub const SETTLED_AFTER_SECONDS: u32 = 120;

/// The same as [`verify`], and beyond it: whoever was running when it was written must go so many seconds without a load error
/// in its log. `written` is when the last write was done, by this machine's clock. Whoever started since has loaded it.
pub fn verify_for(plan: &Plan, snapshot: &Snapshot, written: Timestamp, seconds: u32) -> VerifyState {
    let state = verify(plan, snapshot);
    let waited = snapshot.taken_at.as_second() - written.as_second();
    let Verify::ComponentsReady { components, .. } = &plan.verify else { return state };
    if state != VerifyState::Holds || written_maps(plan, snapshot).is_empty() {
        return state;
    }
    let at_server = written.as_second() - snapshot.service.clock_ahead.unwrap_or(0);
    if let Some(what) = doubtful(components, snapshot, at_server) {
        return VerifyState::NotYet { what };
    }
    if waited >= i64::from(seconds) {
        return state;
    }
    let ran = |container: &Container| match &container.state {
        ContainerState::Running { since } => since.is_none_or(|since| since.as_second() <= at_server),
        ContainerState::Waiting { .. } | ContainerState::Terminated(_) | ContainerState::Unknown => false,
    };
    let seen = snapshot.service.components.known().map_or(&[][..], Vec::as_slice);
    let running: Vec<String> = seen
        .iter()
        .filter(|component| components.iter().any(|wanted| wanted.uid == component.object.uid))
        .filter(|component| component.pods.iter().flat_map(|pod| &pod.containers).any(ran))
        .map(|component| component.object.name.clone())
        .collect();
    if running.is_empty() { state } else { VerifyState::Settling { running } }
}

/// Who logged, after the write, that it could not load its configuration, in words that no rule of ours knows: it may still have
/// meant the content from before, which the kubelet had not replaced, and silence afterwards proves nothing, for Prow tries a
/// refused content again only after ten minutes.
fn doubtful(wanted: &[ObjectRef], snapshot: &Snapshot, written: i64) -> Option<String> {
    let seen = snapshot.service.components.known()?;
    seen.iter().filter(|component| wanted.iter().any(|wanted| wanted.uid == component.object.uid)).find_map(
        |component| {
            let containers = component.pods.iter().filter(|pod| !pod.deleting).flat_map(|pod| &pod.containers);
            let mut errors = containers.filter_map(|container| container.reload_error.as_ref());
            // Of a fault that our rules know, they say whether it is still there.
            let line = errors.find(|line| {
                line.at.is_some_and(|at| at.as_second() >= written) && PresetRule::of_error(&line.error).is_none()
            })?;
            Some(format!(
                "{} logged after the write, of the new content or still of the old: {} {}",
                component.object.name, line.msg, line.error
            ))
        },
    )
}

/// The ConfigMaps of the service cluster that a plan writes.
fn written_maps(plan: &Plan, snapshot: &Snapshot) -> BTreeSet<Key> {
    let writes = plan.steps.iter().map(|step| &step.write);
    writes
        .filter(|write| match write {
            Write::PutConfigMap { .. } | Write::CreateConfigMap { .. } => true,
            Write::DeleteConfigMap { .. }
            | Write::DeletePod { .. }
            | Write::PatchImage { .. }
            | Write::CreateJob { .. }
            | Write::DeleteJob { .. } => false,
        })
        .map(Write::object)
        .filter(|object| object.cluster == snapshot.service.alias)
        .map(|object| Key::new(&object.namespace, &object.name))
        .collect()
}

/// Who refuses what a plan has written.
fn refused(plan: &Plan, snapshot: &Snapshot, failures: &[LoadFailure<'_>]) -> Option<String> {
    let written = written_maps(plan, snapshot);
    let failure = failures
        .iter()
        .filter(|failure| failure.content == CrashContent::Live)
        .find(|failure| suspect(snapshot, failure).is_some_and(|map| written.contains(&map.key)))?;
    let name = &failure.component.object.name;
    let how = match failure.how {
        Refusing::Crashed => "crashes on what was written",
        Refusing::KeptOld => "runs on what it loaded before, and refuses what was written",
    };
    Some(format!("{name} {how}: {}", failure.line.error))
}

/// Compares a plan's promise with a snapshot: what was written is still there, and who should be Ready is.
///
/// That a running component loaded the new content cannot be seen (Prow does not announce it); that it refused to can.
pub fn verify(plan: &Plan, snapshot: &Snapshot) -> VerifyState {
    let not_yet = |what: String| VerifyState::NotYet { what };
    if let Some(what) = not_written(plan, snapshot) {
        return not_yet(what);
    }
    let wanted = match &plan.verify {
        Verify::Written => return VerifyState::Holds,
        Verify::RolloutDone { components, tag, .. } => {
            return not_rolled_out(snapshot, components, tag).map_or(VerifyState::Holds, not_yet);
        }
        Verify::NoStrays { prowjobs, newest, .. } => {
            return still_astray(plan, snapshot, prowjobs, *newest).map_or(VerifyState::Holds, not_yet);
        }
        Verify::ComponentsReady { components, .. } => components,
    };
    let Some(seen) = snapshot.service.components.known() else {
        return not_yet("the components cannot be seen".to_owned());
    };
    let failures = load_failures(snapshot);
    if let Some(what) = refused(plan, snapshot, &failures) {
        return VerifyState::Refused { what };
    }
    for wanted in wanted {
        let Some(component) = seen.iter().find(|component| component.object.uid == wanted.uid) else {
            return not_yet(format!("{wanted} is not there"));
        };
        let containers = || component.pods.iter().flat_map(|pod| &pod.containers);
        if component.ready < component.desired {
            let back_off = match containers().find(|c| c.is_crash_looping()).map(|container| &container.state) {
                Some(ContainerState::Waiting { message, .. }) => format!(" ({message})"),
                Some(ContainerState::Running { .. } | ContainerState::Terminated(_) | ContainerState::Unknown)
                | None => String::new(),
            };
            return not_yet(format!(
                "{} {}/{} ready{back_off}",
                component.object.name, component.ready, component.desired
            ));
        }
        let refused = failures.iter().find(|failure| failure.component.object == component.object);
        if let Some(failure) = refused {
            return not_yet(format!(
                "{} refuses to load what was written: {}",
                component.object.name, failure.line.error
            ));
        }
    }
    VerifyState::Holds
}

/// Why a component does not ask for the images that were set.
fn no_image(snapshot: &Snapshot, object: &ObjectRef, images: &[ImageChange]) -> Option<String> {
    let Some(components) = snapshot.service.components.known() else {
        return Some("the components cannot be seen".to_owned());
    };
    let Some(component) = components.iter().find(|component| component.object.uid == object.uid) else {
        return Some(format!("{object} is not there"));
    };
    let lacks = images.iter().find(|change| !component.spec_images.contains(&change.to))?;
    let who = component.writers.first().map_or(String::new(), |writer| format!(", last written by {writer}"));
    Some(format!("{object} does not ask for {}{who}", lacks.to))
}

/// Why a rollout is not over; one that hangs says so itself.
fn not_rolled_out(snapshot: &Snapshot, components: &[ObjectRef], tag: &str) -> Option<String> {
    let Some(seen) = snapshot.service.components.known() else {
        return Some("the components cannot be seen".to_owned());
    };
    let mut waiting = Vec::new();
    for wanted in components {
        let Some(component) = seen.iter().find(|component| component.object.uid == wanted.uid) else {
            return Some(format!("{wanted} is not there"));
        };
        if component.is_idle_by_intent() {
            continue;
        }
        let name = &component.object.name;
        let runs_it = |pod: &&ComponentPod| {
            let container = pod.containers.iter().find(|container| container.name == component.container);
            container.is_some_and(|container| image::tag(&container.image) == Some(tag))
        };
        let live = || component.pods.iter().filter(|pod| !matches!(pod.phase.as_str(), "Succeeded" | "Failed"));
        let ready = live().filter(runs_it).filter(|pod| pod.ready && !pod.deleting).count();
        let desired = usize::try_from(component.desired).unwrap_or(usize::MAX);
        let old = live().filter(|pod| !runs_it(pod)).count();
        if ready >= desired && old == 0 {
            continue;
        }
        let hangs = live().filter(runs_it).find_map(why_waiting).or_else(|| component.trouble.clone());
        let hangs = hangs.or_else(|| component.paused.then(|| "it is paused".to_owned()));
        let hangs = hangs.or_else(|| live().filter(|pod| !runs_it(pod)).find_map(why_it_stays));
        let old = if old > 0 { format!(", {old} old pod(s) left") } else { String::new() };
        waiting.push((
            hangs.is_none(),
            match hangs {
                Some(why) => format!("{name} HANGS with {ready}/{desired} pods of {tag} ready{old}: {why}"),
                None => format!("{name} {ready}/{desired} pods of {tag} ready{old}"),
            },
        ));
    }
    // What hangs first: it does not come by waiting.
    waiting.sort();
    (!waiting.is_empty()).then(|| waiting.into_iter().map(|(_, what)| what).collect::<Vec<_>>().join("; "))
}

/// Why a pod does not come up, where its containers tell; what the log of one that crashes says is the best of it.
fn why_waiting(pod: &ComponentPod) -> Option<String> {
    let said = |container: &Container| {
        let line = container.last_fatal.as_ref().filter(|_| container.is_crash_looping())?;
        Some(
            [line.msg.trim_end_matches('.'), &line.error]
                .iter()
                .filter(|s| !s.is_empty())
                .copied()
                .collect::<Vec<_>>()
                .join(": "),
        )
    };
    pod.containers.iter().find_map(|container| match &container.state {
        ContainerState::Waiting { reason, .. } if said(container).is_some() => {
            said(container).map(|said| format!("{reason}: {said}"))
        }
        ContainerState::Waiting { reason, .. }
            if matches!(reason.as_str(), "ContainerCreating" | "PodInitializing" | "") =>
        {
            None
        }
        ContainerState::Waiting { reason, message } if message.is_empty() => Some(reason.clone()),
        ContainerState::Waiting { reason, message } => Some(format!("{reason}: {message}")),
        ContainerState::Running { .. } | ContainerState::Terminated(_) | ContainerState::Unknown => None,
    })
}

/// Why an old pod does not go, where its finalizers tell.
fn why_it_stays(pod: &ComponentPod) -> Option<String> {
    (pod.deleting && !pod.finalizers.is_empty())
        .then(|| format!("{} is held in Terminating by {}", pod.object.name, pod.finalizers.join(", ")))
}

/// What is left of the strays, what came in their place, and whose ProwJob is worse off.
fn still_astray(plan: &Plan, snapshot: &Snapshot, prowjobs: &[String], newest: Option<Timestamp>) -> Option<String> {
    let strays = super::strays::strays(snapshot);
    let Some(jobs) = snapshot.prowjobs.known() else { return Some("the ProwJobs cannot be seen".to_owned()) };
    let unseen = plan
        .clusters
        .iter()
        .find(|cluster| snapshot.view(&cluster.alias).is_none_or(|view| view.job_pods.known().is_none()));
    if let Some(cluster) = unseen {
        return Some(format!("the pods of {} cannot be seen", cluster.context));
    }
    if !strays.is_judged() {
        return Some(format!("which pods are strays is not known now: {}", strays.not_seen.join("; ")));
    }
    let mut what = Vec::new();
    let jobs: BTreeMap<&str, &str> = jobs.iter().map(|job| (job.name.as_str(), job.state.as_str())).collect();
    let count = |state: Option<&str>| prowjobs.iter().filter(|name| jobs.get(name.as_str()).copied() == state).count();
    for (state, words) in [(Some("error"), "ended in error"), (Some("aborted"), "were aborted"), (None, "are gone")] {
        let count = count(state);
        if count > 0 {
            what.push(format!("{count} ProwJob(s) of these pods {words} meanwhile"));
        }
    }
    // Who goes on has a pod, or gets one: until that is seen nobody knows where it comes.
    let pods = snapshot.views().filter_map(|view| view.job_pods.seen()).flatten().map(|pod| pod.object.name.as_str());
    let placed = snapshot.views().filter_map(|view| view.census.seen()).flat_map(|census| census.pods.iter());
    let with_pods: BTreeSet<&str> = pods.chain(placed.map(|row| row.name.as_str())).collect();
    let waits = |name: &&String| {
        !with_pods.contains(name.as_str()) && matches!(jobs.get(name.as_str()), Some(&("pending" | "triggered")))
    };
    let waiting = prowjobs.iter().filter(waits).count();
    let planned: BTreeSet<&str> = plan
        .steps
        .iter()
        .filter_map(|step| match &step.write {
            Write::DeletePod { uid, .. } => Some(uid.as_str()),
            Write::PutConfigMap { .. }
            | Write::CreateConfigMap { .. }
            | Write::DeleteConfigMap { .. }
            | Write::PatchImage { .. }
            | Write::CreateJob { .. }
            | Write::DeleteJob { .. } => None,
        })
        .collect();
    // The pods of the plan by their uids, whatever is thought of them now.
    let (mut held, mut left) = (BTreeMap::new(), 0);
    for pod in snapshot.views().filter_map(|view| view.job_pods.known()).flatten() {
        if !planned.contains(pod.uid()) {
            continue;
        }
        match (pod.deleting, pod.finalizers.first()) {
            (true, Some(finalizer)) => *held.entry(finalizer.as_str()).or_insert(0) += 1,
            (true, None) | (false, _) => left += 1,
        }
    }
    // By the server's clock: the laptop's may be fast, and would call what was made again old.
    let newest = newest.unwrap_or(plan.basis.taken_at);
    // The same name with another uid was made in its place, whatever the clocks say.
    let names: BTreeSet<_> = plan.steps.iter().map(|step| step.write.object()).map(place).collect();
    let is_new = |judged: &&super::JudgedPod| {
        !planned.contains(judged.pod.uid())
            && (names.contains(&place(&judged.pod.object)) || judged.pod.created.is_none_or(|at| at > newest))
    };
    let in_plan =
        |judged: &&super::JudgedPod| plan.clusters.iter().any(|cluster| cluster.alias == judged.pod.object.cluster);
    for (count, words) in [
        (strays.strays().filter(is_new).count(), "stray(s) were made again since: the cause is at work"),
        (strays.unknown().filter(in_plan).filter(is_new).count(), "pod(s) made since could not be judged"),
        (left, "stray(s) of the plan are still there"),
        (waiting, "ProwJob(s) of these pods have no pod now: where the next one comes is not seen yet"),
    ] {
        if count > 0 {
            what.push(format!("{count} {words}"));
        }
    }
    for (finalizer, count) in held {
        let owner = finalizer_owner(finalizer).map_or(String::new(), |owner| format!(", which {owner} removes"));
        what.push(format!("{count} stray(s) are held in Terminating by the finalizer {finalizer}{owner}"));
    }
    (!what.is_empty()).then(|| what.join("; "))
}

/// Where a pod is, whichever it is.
fn place(object: &ObjectRef) -> (&Alias, &str, &str) {
    (&object.cluster, &object.namespace, &object.name)
}

/// What of the plan's ConfigMaps is not (or no longer) as written.
fn not_written(plan: &Plan, snapshot: &Snapshot) -> Option<String> {
    plan.steps.iter().find_map(|step| {
        let (object, body) = match &step.write {
            Write::PutConfigMap { object, body, .. } | Write::CreateConfigMap { object, body } => (object, body),
            Write::PatchImage { object, images, .. } => return no_image(snapshot, object, images),
            Write::DeleteConfigMap { object, at } => {
                let there = snapshot.live_config_map(object).is_some_and(|state| state.uid == at.uid);
                return there.then(|| format!("{object} is still there"));
            }
            Write::DeletePod { .. } | Write::CreateJob { .. } | Write::DeleteJob { .. } => return None,
        };
        let is_seen = |view: &&ClusterView| {
            object.cluster == snapshot.service.alias || view.sees_config_map(&Key::new(&object.namespace, &object.name))
        };
        let view = snapshot.view(&object.cluster).filter(is_seen);
        let live = match view.and_then(|view| view.config_maps.known()) {
            Some(live) => live,
            None if object.cluster == snapshot.service.alias => {
                return Some("the live ConfigMaps cannot be seen".to_owned());
            }
            // Where nobody looks on, the server's answer is the proof.
            None => return None,
        };
        match live.get(&Key::new(&object.namespace, &object.name)) {
            Some(state) if content_digest(&state.values) == body.content_digest() => None,
            Some(state) => {
                let who = state.last_writer().map_or(String::new(), |writer| format!(" by {writer}"));
                Some(format!("{object} does not hold what was written: last written{who}"))
            }
            None => Some(format!("{object} is not there")),
        }
    })
}
