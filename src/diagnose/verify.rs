//! Whether what a plan promised can be seen.

use crate::model::{ContainerState, Snapshot};
use crate::repair::{Plan, Verify};

/// What the newest snapshot says of a plan's promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyState {
    Holds,
    /// Not yet, and what is missing.
    NotYet {
        what: String,
    },
}

/// Compares a plan's promise with a snapshot.
pub fn verify(plan: &Plan, snapshot: &Snapshot) -> VerifyState {
    let not_yet = |what: String| VerifyState::NotYet { what };
    match &plan.verify {
        Verify::Written => VerifyState::Holds,
        Verify::ComponentsReady { components, .. } => {
            let Some(seen) = snapshot.service.components.known() else {
                return not_yet("the components cannot be seen".to_owned());
            };
            for wanted in components {
                let Some(component) = seen.iter().find(|component| component.object.uid == wanted.uid) else {
                    return not_yet(format!("{wanted} is not there"));
                };
                if component.ready < component.desired {
                    let crashing = component.pods.iter().flat_map(|pod| &pod.containers).find(|c| c.is_crash_looping());
                    let back_off = match crashing.map(|container| &container.state) {
                        Some(ContainerState::Waiting { message, .. }) => format!(" ({message})"),
                        Some(
                            ContainerState::Running { .. } | ContainerState::Terminated(_) | ContainerState::Unknown,
                        )
                        | None => String::new(),
                    };
                    return not_yet(format!(
                        "{} {}/{} ready{back_off}",
                        component.object.name, component.ready, component.desired
                    ));
                }
            }
            VerifyState::Holds
        }
    }
}
