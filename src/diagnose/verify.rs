//! Whether what a plan promised can be seen.

use crate::model::{ContainerState, Key, Snapshot, Write, content_digest};
use crate::repair::{Plan, Verify};

use super::load_failure::load_failures;

/// What the newest snapshot says of a plan's promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyState {
    Holds,
    /// Not yet, and what is missing.
    NotYet {
        what: String,
    },
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
        Verify::ComponentsReady { components, .. } => components,
    };
    let Some(seen) = snapshot.service.components.known() else {
        return not_yet("the components cannot be seen".to_owned());
    };
    let failures = load_failures(snapshot);
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

/// What of the plan's ConfigMaps is not (or no longer) as written.
fn not_written(plan: &Plan, snapshot: &Snapshot) -> Option<String> {
    plan.steps.iter().find_map(|step| {
        let (object, body) = match &step.write {
            Write::PutConfigMap { object, body, .. } | Write::CreateConfigMap { object, body } => (object, body),
            Write::DeletePod { .. } => return None,
        };
        let Some(live) = snapshot.service.config_maps.known() else {
            return Some("the live ConfigMaps cannot be seen".to_owned());
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
