//! `version-skew`, `running-differs-from-spec` and `cronjob-outdated`: what runs, what is asked for, what moved together.

use std::collections::BTreeMap;

use crate::model::{Component, Kind, Timestamp};
use crate::prow::{Catalogue, image};

use super::{Basis, Context, Finding, FindingKind, Severity, id, subject};

/// A rollout younger than this may still be under way.
const ROLLOUT_SECONDS: i64 = 600;
/// A skew is news for a day after a rollout; some deployments always have one.
const NEWS_SECONDS: i64 = 86_400;

/// The image that carries the role.
pub fn role_image(component: &Component) -> Option<&str> {
    let catalogue = Catalogue::embedded();
    component.spec_images.iter().map(String::as_str).find(|image| catalogue.role_of(image).is_some())
}

/// Its tag.
pub fn role_tag(component: &Component) -> Option<&str> {
    image::tag(role_image(component)?)
}

/// Tags of the workloads that run now, to their components; the commonest first.
fn tags(components: &[Component]) -> Vec<(&str, Vec<&Component>)> {
    let mut tags: BTreeMap<&str, Vec<&Component>> = BTreeMap::new();
    for component in components.iter().filter(|component| !component.is_idle_by_intent()) {
        if let Some(tag) = role_tag(component) {
            tags.entry(tag).or_default().push(component);
        }
    }
    let mut tags: Vec<_> = tags.into_iter().collect();
    tags.sort_by_key(|(_, of)| std::cmp::Reverse(of.len()));
    tags
}

pub(super) fn find_skew(context: &Context<'_>) -> Vec<Finding> {
    let tags = tags(context.components());
    if tags.len() < 2 {
        return Vec::new();
    }
    let now = context.snapshot.taken_at.as_second();
    let newest: Option<Timestamp> =
        tags.iter().flat_map(|(_, of)| of).filter_map(|component| component.rolled_out).max();
    let fresh = newest.is_some_and(|at| now - at.as_second() < NEWS_SECONDS);
    let kind = FindingKind::VersionSkew {
        tags: tags
            .iter()
            .map(|(tag, of)| {
                ((*tag).to_owned(), of.iter().map(|component| component.object.name.clone()).collect::<Vec<_>>())
            })
            .collect(),
    };
    let evidence = tags
        .iter()
        .flat_map(|(tag, of)| of.iter().map(move |component| (tag, component)))
        .map(|(tag, component)| {
            let since = component.rolled_out.map_or(String::new(), |at| format!(", rolled out {at}"));
            format!("{}: {tag}{since}", component.object)
        })
        .collect();
    vec![Finding {
        id: id(&kind, "all"),
        severity: if fresh { Severity::Warn } else { Severity::Info },
        basis: Basis::Fact,
        subjects: tags.iter().skip(1).flat_map(|(_, of)| of).map(|component| component.object.clone()).collect(),
        since: newest,
        evidence,
        repairs: Vec::new(),
        kind,
    }]
}

pub(super) fn find_running(context: &Context<'_>) -> Vec<Finding> {
    let now = context.snapshot.taken_at.as_second();
    context
        .components()
        .iter()
        .filter(|component| !component.is_idle_by_intent())
        .filter(|component| component.rolled_out.is_none_or(|at| now - at.as_second() > ROLLOUT_SECONDS))
        .filter_map(|component| {
            let spec = role_image(component)?;
            let tag = image::tag(spec)?;
            let name = image::base_name(spec);
            let mut running: Vec<String> = component
                .pods
                .iter()
                .filter(|pod| !pod.deleting)
                .flat_map(|pod| &pod.containers)
                .filter(|container| image::base_name(&container.image) == name)
                .filter_map(|container| image::tag(&container.image))
                .filter(|running| *running != tag)
                .map(str::to_owned)
                .collect();
            running.sort();
            running.dedup();
            if running.is_empty() {
                return None;
            }
            let paused = if component.paused { "; it is paused" } else { "" };
            let kind = FindingKind::RunningDiffersFromSpec {
                component: component.object.name.clone(),
                spec: tag.to_owned(),
                running: running.clone(),
            };
            Some(Finding {
                id: id(&kind, &subject(&component.object)),
                severity: Severity::Warn,
                basis: Basis::Fact,
                subjects: vec![component.object.clone()],
                since: component.rolled_out,
                evidence: vec![format!(
                    "{} asks for {spec}; its pods run {}{paused}",
                    component.object,
                    running.join(", ")
                )],
                repairs: Vec::new(),
                kind,
            })
        })
        .collect()
}

pub(super) fn find_cron_jobs(context: &Context<'_>) -> Vec<Finding> {
    let components = context.components();
    let tags = tags(components);
    // One component more would make another tag the common one: then nobody can say what is outdated.
    let Some((common, _)) = tags.first().filter(|(_, of)| of.len() > 1) else { return Vec::new() };
    let states = context.snapshot.service.cron_jobs.seen().map_or(&[][..], Vec::as_slice);
    components
        .iter()
        .filter(|component| component.object.kind == Kind::CronJob && !component.suspended)
        .filter_map(|component| {
            let tag = role_tag(component).filter(|tag| tag != common)?;
            let kind = FindingKind::CronjobOutdated {
                cron_job: component.object.name.clone(),
                tag: tag.to_owned(),
                components: (*common).to_owned(),
            };
            let mut evidence = vec![format!("{} asks for {tag}", component.object)];
            if let Some(state) = states.iter().find(|state| state.object.uid == component.object.uid) {
                evidence.push(format!("schedule {}", state.schedule));
                evidence.extend(state.runs.iter().take(3).map(|run| {
                    let tags: Vec<&str> = run.images.iter().map(|image| image::tag(image).unwrap_or(image)).collect();
                    let at = run.started.map_or("not started".to_owned(), |at| at.to_string());
                    format!("run {} at {at} with {}", run.name, tags.join(", "))
                }));
            }
            Some(Finding {
                id: id(&kind, &subject(&component.object)),
                severity: Severity::Warn,
                basis: Basis::Fact,
                subjects: vec![component.object.clone()],
                since: None,
                evidence,
                repairs: Vec::new(),
                kind,
            })
        })
        .collect()
}
