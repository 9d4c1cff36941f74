//! One line a finding.

use crate::diagnose::{Finding, FindingKind, StrayPlace};
use crate::model::Key;

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
        FindingKind::ConfigInvalid { objection, by, at_risk } => {
            let risk = match at_risk.as_slice() {
                [] => String::new(),
                some => format!("; do not restart {}", some.join(", ")),
            };
            format!("the live configuration would not load: {}{} ({by}){risk}", objection.message, objection.place())
        }
        FindingKind::RevisionWouldNotLoad { revision, is_head, objections } => {
            let which = if *is_head { "git's head" } else { "revision" };
            let why = objections.first().map_or("it is refused", |objection| objection.message.as_str());
            format!("{which} {} \"{}\" would not load: {why}", revision.short(), revision.subject)
        }
        FindingKind::RevisionMakesNone { revision, is_head, why } => {
            let which = if *is_head { "git's head" } else { "revision" };
            format!("{which} {} \"{}\" makes no ConfigMap: {why}", revision.short(), revision.subject)
        }
        FindingKind::ConfigMapDrift { config_map, place, revision, added, removed, changed } => format!(
            "ConfigMap {} differs from {}: {changed} key(s) changed, {added} missing, {removed} not in git",
            placed(config_map, place.as_deref()),
            revision.short()
        ),
        FindingKind::ConfigMapMissing { config_map, place, mounted_by } => {
            let map = placed(config_map, place.as_deref());
            match mounted_by.as_slice() {
                [] => format!("ConfigMap {map} does not exist"),
                some => format!("ConfigMap {map} does not exist, and {} need(s) it", some.join(", ")),
            }
        }
        FindingKind::ConfigMapStaleKeys { config_map, place, keys } => {
            format!(
                "ConfigMap {} holds {} key(s) that no file in git stands for: {}",
                placed(config_map, place.as_deref()),
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
        FindingKind::InterruptedRun { run, unknown, progress } => {
            let far = progress.map_or(String::new(), |progress| format!(", {progress}"));
            match unknown.len() {
                0 => format!("run {run} was interrupted{far}; no write of it is in doubt"),
                n => format!("run {run} was interrupted{far}; the outcome of {n} write(s) is unknown"),
            }
        }
        FindingKind::StrayPods { total, places: at, pod_namespace, is_all } => {
            let least = if *is_all { "" } else { "at least " };
            // In the pod namespace of another cluster they are not outside of it.
            let outside = match at.iter().any(|place| place.namespace == *pod_namespace) {
                true => "in the wrong place".to_owned(),
                false => format!("outside {pod_namespace}"),
            };
            format!("{least}{total} {} of jobs {outside}: {}", pods(*total), places(at))
        }
        FindingKind::StraysCannotStart { count, reason, message, secret, known_in } => {
            let known = match (secret, known_in) {
                (Some(secret), Some(namespace)) => format!(" (GUESS: {secret} is known in {namespace})"),
                (Some(_) | None, None) | (None, Some(_)) => String::new(),
            };
            format!("{count} of them cannot start: {reason}: {message}{known}")
        }
        FindingKind::StraysStillAppearing { newest: _, again: Some(tag) } => {
            format!("{tag} runs again, with which pods began to go astray: the next jobs' pods will, too")
        }
        FindingKind::StraysStillAppearing { newest, again: None } => {
            format!("pods still go astray, the newest at {}: the cause is at work", super::clock_seconds(*newest))
        }
        FindingKind::WrongClusterPods { alias, expected, found } => {
            let found: Vec<String> = found.iter().map(|(context, count)| format!("{context} {count}")).collect();
            match expected {
                Some(expected) => {
                    format!("pods of jobs for cluster {alias} ({expected}) are in another one: {}", found.join(", "))
                }
                None => format!(
                    "pods of jobs for cluster {alias} are in several clusters ({}): say which is right with \
                     --build-context {alias}=CONTEXT",
                    found.join(", ")
                ),
            }
        }
        FindingKind::ForeignPods { count, places: at } => {
            format!(
                "{count} {} with Prow's label and no ProwJob of that name here, left alone: {}",
                pods(*count),
                places(at)
            )
        }
        FindingKind::PodsHeldByFinalizer { finalizer, count, owner } => {
            let owner = owner.as_ref().map_or(String::new(), |owner| format!(", which {owner} removes"));
            format!("{count} stray {} being deleted, held by the finalizer {finalizer}{owner}", pods(*count))
        }
        FindingKind::ProwJobsStuck { triggered, pending } => match (triggered, pending) {
            (0, pending) => format!("{pending} ProwJob(s) pending, their pods cannot start"),
            (triggered, 0) => format!("{triggered} ProwJob(s) triggered, and no pod was made for them"),
            (triggered, pending) => format!(
                "{pending} ProwJob(s) pending, their pods cannot start; {triggered} triggered, and no pod was made"
            ),
        },
        FindingKind::DeployJobStuck { job, state, .. } => {
            format!("do not wait for the merge, roll back by hand: the deploy job {job} is stuck itself ({state})")
        }
        FindingKind::VersionSkew { tags } => {
            let tags: Vec<String> = tags
                .iter()
                .enumerate()
                .map(|(n, (tag, of))| match (n, of.len()) {
                    (0, count) if count > 3 => format!("{tag} ({count} components)"),
                    _ => format!("{tag} ({})", of.join(", ")),
                })
                .collect();
            format!("components of different versions: {}", tags.join(", "))
        }
        FindingKind::RunningDiffersFromSpec { component, spec, running } => {
            format!("{component} runs {}, and {spec} is asked for", running.join(", "))
        }
        FindingKind::CronjobOutdated { cron_job, tag, components } => {
            format!("CronJob {cron_job} is at {tag}, the components are at {components}: its next run acts as {tag}")
        }
        FindingKind::AutomationWillRevert { actors, under_way } => match under_way.as_slice() {
            [] => format!("will undo a manual repair unless stopped: {}", actors.join(", ")),
            _ => format!("about to undo a manual repair, stop it first: {}", actors.join(", ")),
        },
        FindingKind::Mapping { plugins, note, more } => {
            let more = if *more == 0 { String::new() } else { format!(" (and {more} more like it)") };
            format!("{}{more}", super::map_note(note, plugins))
        }
        FindingKind::ConfigMapNearLimit { config_map, stored, raw } => {
            super::mapping::near_limit(&format!("ConfigMap {config_map}"), *stored, *raw)
        }
        FindingKind::LiveMapsDiffer { config_map, only_git, only_live, differing } => {
            let counts: Vec<String> = [(only_git, "only in git"), (only_live, "only live"), (differing, "otherwise")]
                .into_iter()
                .filter(|(globs, _)| !globs.is_empty())
                .map(|(globs, how)| format!("{} {how} ({})", globs.len(), globs.join(", ")))
                .collect();
            format!("hook goes by the maps of ConfigMap {config_map}, which are not git's: {}", counts.join("; "))
        }
        FindingKind::PodNamespaceDisagrees { live, git } => format!(
            "pod_namespace is {live} in the live configuration and {git} in git: where pods belong, a person must say"
        ),
    }
}

/// `prow/job-config`, with the context where it is not in the service cluster.
fn placed(config_map: &Key, place: Option<&str>) -> String {
    place.map_or(config_map.to_string(), |context| format!("{config_map} in {context}"))
}

fn pods(count: usize) -> &'static str {
    if count == 1 { "pod" } else { "pods" }
}

/// `prow-build/default 371, prow-services/default 44`.
fn places(places: &[StrayPlace]) -> String {
    let words: Vec<String> =
        places.iter().map(|place| format!("{}/{} {}", place.context, place.namespace, place.count)).collect();
    words.join(", ")
}

fn said(line: &crate::model::LogLine) -> String {
    if line.error.is_empty() { line.msg.clone() } else { line.error.clone() }
}
