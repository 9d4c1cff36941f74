//! One line a finding.

use crate::diagnose::{Finding, FindingKind};

/// What it is, in one line; the evidence says how we know.
pub fn finding(finding: &Finding) -> String {
    match &finding.kind {
        FindingKind::ConfigLoadFailure { component, line, config_map, config_key } => {
            let place = match (config_map, config_key) {
                (Some(map), Some(key)) => format!("ConfigMap {map}, key {key}"),
                (Some(map), None) => format!("ConfigMap {map}"),
                (None, _) => "which file is not told".to_owned(),
            };
            format!("{component} cannot start on its configuration: {} ({place})", said(line))
        }
        FindingKind::CrashLooping { component, restarts, line } => match line {
            Some(line) => format!("{component} crash-loops, {restarts} restart(s): {}", said(line)),
            None => {
                format!("{component} crash-loops, {restarts} restart(s); its log was not read yet, or tells no reason")
            }
        },
        FindingKind::NotReady { component, ready, desired } => format!("{component}: {ready} of {desired} pods ready"),
        FindingKind::ImagePullFailure { component, image } => format!("{component}: image {image} cannot be pulled"),
        FindingKind::OomKilled { component, restarts } => {
            format!("{component} was killed for want of memory, {restarts} restart(s)")
        }
        FindingKind::NoReadyEndpoints { component, service, total } => {
            format!("Service {service} has no ready address (of {total}): whoever calls {component} gets errors")
        }
        FindingKind::ConfigAtRiskOnRestart { components, config_map } => format!(
            "do not restart {}: they run on what they loaded before ConfigMap {config_map} went bad",
            components.join(", ")
        ),
        FindingKind::RevisionWouldNotLoad { revision, is_head, objections } => {
            let which = if *is_head { "git's head" } else { "revision" };
            let why = objections.first().map_or("it is refused", |objection| objection.message.as_str());
            format!("{which} {} \"{}\" would not load: {why}", revision.short(), revision.subject)
        }
        FindingKind::ConfigMapDrift { config_map, revision, added, removed, changed } => format!(
            "ConfigMap {config_map} differs from {}: {changed} key(s) changed, {added} missing, {removed} not in git",
            revision.short()
        ),
        FindingKind::ConfigMapMissing { config_map, mounted_by } => match mounted_by.as_slice() {
            [] => format!("ConfigMap {config_map} does not exist"),
            some => format!("ConfigMap {config_map} does not exist, and {} need(s) it", some.join(", ")),
        },
        FindingKind::ConfigMapStaleKeys { config_map, keys } => {
            format!(
                "ConfigMap {config_map} holds {} key(s) that no file in git stands for: {}",
                keys.len(),
                keys.join(", ")
            )
        }
        FindingKind::AccessDenied { source, verb } => format!("DENIED {verb}: {source} cannot be judged"),
        FindingKind::SourceLost { sources, error } => match sources.as_slice() {
            [source] => format!("LOST {source}: {error}"),
            many => format!("LOST {} and {} more: {error}", many[0], many.len() - 1),
        },
        FindingKind::NotUnderstood { what } => format!("not judged: {what}"),
        FindingKind::InterruptedRun { run, unknown } => match unknown.len() {
            0 => format!("run {run} was interrupted; no write of it is in doubt"),
            n => format!("run {run} was interrupted; the outcome of {n} write(s) is unknown"),
        },
    }
}

fn said(line: &crate::model::LogLine) -> String {
    if line.error.is_empty() { line.msg.clone() } else { line.error.clone() }
}
