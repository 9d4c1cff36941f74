//! What pods say of themselves: `image-pull-failure`, `oom-killed`, `crash-looping`, `not-ready`.

use crate::model::{Component, ComponentPod, Container, ContainerState};

use super::{Basis, Context, Finding, FindingKind, Severity, id, subject};

/// An OOM kill is news for this long, in seconds.
const OOM_NEWS_SECONDS: i64 = 3600;

fn finding(component: &Component, severity: Severity, kind: FindingKind, evidence: Vec<String>) -> Finding {
    let unready = || component.pods.iter().filter(|pod| !pod.ready);
    let mut subjects = vec![component.object.clone()];
    subjects.extend(unready().map(|pod| pod.object.clone()));
    Finding {
        id: id(&kind, &subject(&component.object)),
        severity,
        basis: Basis::Fact,
        kind,
        subjects,
        since: unready().filter_map(|pod| pod.ready_changed).min(),
        evidence,
        repairs: Vec::new(),
    }
}

fn containers(component: &Component) -> impl Iterator<Item = (&ComponentPod, &Container)> {
    component
        .pods
        .iter()
        .filter(|pod| !pod.deleting)
        .flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)))
}

/// Bad when nobody is left to do the work.
fn severity(component: &Component) -> Severity {
    if component.ready == 0 { Severity::Bad } else { Severity::Warn }
}

fn waits_for_image(container: &Container) -> bool {
    matches!(&container.state, ContainerState::Waiting { reason, .. }
        if matches!(reason.as_str(), "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull"))
}

pub(super) fn find_image_pull(context: &Context<'_>) -> Vec<Finding> {
    context
        .components()
        .iter()
        .filter_map(|component| {
            let waiting: Vec<_> = containers(component).filter(|(_, container)| waits_for_image(container)).collect();
            let (_, first) = waiting.first()?;
            let kind =
                FindingKind::ImagePullFailure { component: component.object.name.clone(), image: first.image.clone() };
            let evidence = waiting
                .iter()
                .map(|(pod, container)| match &container.state {
                    ContainerState::Waiting { reason, message } => {
                        format!("pod {}: {reason} {message}", pod.object.name)
                    }
                    ContainerState::Running { .. } | ContainerState::Terminated(_) | ContainerState::Unknown => {
                        format!("pod {}", pod.object.name)
                    }
                })
                .collect();
            Some(finding(component, severity(component), kind, evidence))
        })
        .collect()
}

pub(super) fn find_oom(context: &Context<'_>) -> Vec<Finding> {
    let now = context.snapshot.taken_at.as_second();
    context
        .components()
        .iter()
        .filter_map(|component| {
            let killed: Vec<_> = containers(component)
                .filter_map(|(pod, container)| {
                    let exit = container.last_exit.as_ref().filter(|exit| exit.reason == "OOMKilled")?;
                    let at = exit.finished?;
                    (now - at.as_second() < OOM_NEWS_SECONDS).then_some((pod, container, at))
                })
                .collect();
            let restarts = killed.iter().map(|(_, container, _)| container.restarts).sum();
            let evidence: Vec<String> = killed
                .iter()
                .map(|(pod, _, at)| format!("pod {} was killed at {at}: OOMKilled", pod.object.name))
                .collect();
            if evidence.is_empty() {
                return None;
            }
            let kind = FindingKind::OomKilled { component: component.object.name.clone(), restarts };
            Some(finding(component, severity(component), kind, evidence))
        })
        .collect()
}

/// Crash loops that are not about configuration; those are `config-load-failure`.
pub(super) fn find_crash_looping(context: &Context<'_>) -> Vec<Finding> {
    context
        .components()
        .iter()
        .filter(|component| !is_explained(context, component))
        .filter_map(|component| {
            let looping: Vec<_> = containers(component).filter(|(_, container)| container.is_crash_looping()).collect();
            let (_, first) = looping.first()?;
            let kind = FindingKind::CrashLooping {
                component: component.object.name.clone(),
                restarts: looping.iter().map(|(_, container)| container.restarts).sum(),
                line: first.last_fatal.clone(),
            };
            let evidence = looping
                .iter()
                .map(|(pod, container)| {
                    let fatal = container.last_fatal.as_ref().map_or_else(
                        || "its log names no fatal line, or could not be read".to_owned(),
                        |line| format!("{} {}", line.msg, line.error),
                    );
                    let code = container.last_exit.as_ref().map_or("?".to_owned(), |exit| exit.code.to_string());
                    format!(
                        "pod {}, container {}: {} restart(s), last exit code {code}: {fatal}",
                        pod.object.name, container.name, container.restarts
                    )
                })
                .collect();
            Some(finding(component, severity(component), kind, evidence))
        })
        .collect()
}

/// Fewer pods than asked for, and nothing above says why.
pub(super) fn find_not_ready(context: &Context<'_>) -> Vec<Finding> {
    context
        .components()
        .iter()
        .filter(|component| !component.is_idle_by_intent() && component.ready < component.desired)
        .filter(|component| {
            !is_explained(context, component)
                && !containers(component)
                    .any(|(_, container)| container.is_crash_looping() || waits_for_image(container))
        })
        .map(|component| {
            let kind = FindingKind::NotReady {
                component: component.object.name.clone(),
                ready: component.ready,
                desired: component.desired,
            };
            let mut evidence: Vec<String> = component
                .pods
                .iter()
                .filter(|pod| !pod.ready)
                .map(|pod| format!("pod {}: {}", pod.object.name, pod.state))
                .collect();
            if component.pods.is_empty() {
                evidence.push("it has no pods that could be seen".to_owned());
            }
            finding(component, severity(component), kind, evidence)
        })
        .collect()
}

fn is_explained(context: &Context<'_>, component: &Component) -> bool {
    context.failures.iter().any(|failure| failure.component.object == component.object)
}
