//! What ran when, and what runs by itself: `history` and `automation`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::diagnose::{Diagnosis, UnderWay};
use crate::model::{Rollout, Snapshot, SourceStatus, Timestamp};

use super::{API_VERSION, age, basis, clock, short_image};

/// Rollouts to one tag, begun within this time of each other, are one bump.
const TOGETHER_SECONDS: i64 = 3600;

/// Components that got one tag together.
struct Bump<'a> {
    tag: &'a str,
    first: Option<Timestamp>,
    rollouts: Vec<&'a Rollout>,
}

fn bumps(rollouts: &[Rollout]) -> Vec<Bump<'_>> {
    let mut bumps: Vec<Bump<'_>> = Vec::new();
    for rollout in rollouts {
        let near = |first: Option<Timestamp>| match (first, rollout.began) {
            (Some(a), Some(b)) => (a.as_second() - b.as_second()).abs() <= TOGETHER_SECONDS,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        match bumps.iter_mut().find(|bump| bump.tag == rollout.tag && near(bump.first)) {
            Some(bump) => {
                bump.first = [bump.first, rollout.began].into_iter().flatten().min();
                bump.rollouts.push(rollout);
            }
            None => bumps.push(Bump { tag: &rollout.tag, first: rollout.began, rollouts: vec![rollout] }),
        }
    }
    bumps
}

/// `kind: History`.
pub fn history_document(snapshot: &Snapshot) -> Value {
    let rollouts: Vec<Value> = snapshot
        .service
        .rollouts
        .seen()
        .into_iter()
        .flatten()
        .map(|rollout| {
            json!({
                "namespace": rollout.component.namespace, "component": rollout.component.name, "role": rollout.role,
                "image": rollout.image, "tag": rollout.tag, "replicaSet": rollout.replica_set,
                "revision": rollout.revision, "created": rollout.created, "began": rollout.began,
                "readyAt": rollout.ready_at, "current": rollout.current,
            })
        })
        .collect();
    let cron_jobs: Vec<Value> = snapshot
        .service
        .cron_jobs
        .seen()
        .into_iter()
        .flatten()
        .map(|cron| {
            let runs: Vec<Value> = cron
                .runs
                .iter()
                .map(|run| {
                    json!({
                        "name": run.name, "images": run.images, "started": run.started, "completed": run.completed,
                        "failed": run.failed,
                    })
                })
                .collect();
            json!({
                "namespace": cron.object.namespace, "name": cron.object.name, "role": cron.role, "images": cron.images,
                "schedule": cron.schedule, "suspended": cron.suspended, "runs": runs,
            })
        })
        .collect();
    json!({
        "apiVersion": API_VERSION, "kind": "History", "takenAt": snapshot.taken_at,
        "state": snapshot.service.rollouts.state(), "rollouts": rollouts, "cronJobs": cron_jobs,
    })
}

pub fn history_text(snapshot: &Snapshot) -> String {
    let now = snapshot.taken_at;
    let when =
        |at: Option<Timestamp>| at.map_or("-".to_owned(), |at| format!("{} ({} ago)", clock(at, now), age(at, now)));
    let mut text = String::new();
    let rollouts = snapshot.service.rollouts.seen().map_or(&[][..], Vec::as_slice);
    text.push_str("TAG, newest first; what ReplicaSets still tell\n");
    for bump in bumps(rollouts) {
        let running = bump.rollouts.iter().filter(|rollout| rollout.current).count();
        let state = match running {
            0 => "not asked for now".to_owned(),
            n if n == bump.rollouts.len() => "asked for now".to_owned(),
            n => format!("asked for now by {n}"),
        };
        text.push_str(&format!(
            "  {:<28} {:<24} {} component(s), {state}\n",
            bump.tag,
            when(bump.first),
            bump.rollouts.len()
        ));
    }
    let mut by_component: BTreeMap<String, Vec<&Rollout>> = BTreeMap::new();
    for rollout in rollouts {
        by_component.entry(rollout.component.to_string()).or_default().push(rollout);
    }
    text.push_str("COMPONENT\n");
    for (component, rollouts) in by_component {
        text.push_str(&format!("  {component}\n"));
        for rollout in rollouts {
            let now = if rollout.current { "now  " } else { "     " };
            let ready =
                rollout.ready_at.map_or(String::new(), |at| format!(", ready since {}", clock(at, snapshot.taken_at)));
            text.push_str(&format!(
                "    {now}{:<28} began {}{ready}  {} (revision {})\n",
                rollout.tag,
                when(rollout.began),
                rollout.replica_set,
                rollout.revision
            ));
        }
    }
    let cron_jobs = snapshot.service.cron_jobs.seen().map_or(&[][..], Vec::as_slice);
    if !cron_jobs.is_empty() {
        text.push_str("CRONJOB\n");
    }
    for cron in cron_jobs {
        let images: Vec<&str> = cron.images.iter().map(|image| short_image(image)).collect();
        let suspended = if cron.suspended { ", suspended" } else { "" };
        text.push_str(&format!("  {} asks for {}  ({}{suspended})\n", cron.object, images.join(", "), cron.schedule));
        for run in &cron.runs {
            let images: Vec<&str> = run.images.iter().map(|image| short_image(image)).collect();
            let failed = if run.failed { ", failed" } else { "" };
            text.push_str(&format!("    ran {} with {}{failed}  {}\n", when(run.started), images.join(", "), run.name));
        }
    }
    let service = &snapshot.service;
    let sources = [SourceStatus::of("rollouts", &service.rollouts), SourceStatus::of("CronJobs", &service.cron_jobs)];
    text.push_str(&not_seen(&sources, now));
    text
}

fn not_seen(sources: &[SourceStatus], now: Timestamp) -> String {
    sources
        .iter()
        .filter_map(|source| super::source_line(source, now))
        .map(|words| format!("NOT SEEN  {words}\n"))
        .collect()
}

/// What automation is found in.
fn sources_of_automation(snapshot: &Snapshot) -> [SourceStatus; 4] {
    let service = &snapshot.service;
    [
        SourceStatus::of("components", &service.components),
        SourceStatus::of("ConfigMaps", &service.config_maps),
        SourceStatus::of("CronJobs", &service.cron_jobs),
        SourceStatus::of("ProwJobs", &snapshot.prowjobs),
    ]
}

/// `kind: Automation`.
pub fn automation_document(snapshot: &Snapshot, diagnosis: &Diagnosis) -> Value {
    let actors: Vec<Value> = diagnosis
        .automation
        .iter()
        .map(|actor| {
            json!({
                "kind": actor.kind.name(), "name": actor.name, "basis": actor.basis, "effect": actor.effect,
                "when": actor.when, "lastRan": actor.last_ran, "idle": actor.idle, "evidence": actor.evidence,
                "object": actor.object, "underWay": actor.under_way.map(UnderWay::words), "stop": actor.stop,
            })
        })
        .collect();
    json!({
        "apiVersion": API_VERSION, "kind": "Automation", "takenAt": snapshot.taken_at, "actors": actors,
        "notSeen": sources_of_automation(snapshot)
            .iter()
            .filter_map(|source| super::source_line(source, snapshot.taken_at))
            .collect::<Vec<_>>(),
    })
}

pub fn automation_text(snapshot: &Snapshot, diagnosis: &Diagnosis) -> String {
    let now = snapshot.taken_at;
    let mut text = String::from("What acts by itself, as far as CronJobs, ProwJobs and managedFields tell\n");
    if diagnosis.automation.is_empty() {
        text.push_str("  nothing was found; jobs show up only while one of their ProwJobs is there\n");
    }
    for actor in &diagnosis.automation {
        let idle = actor.idle.as_ref().map_or(String::new(), |why| format!("  [{why}]"));
        let last = actor.last_ran.map_or(String::new(), |at| format!(", last {} ago", age(at, now)));
        text.push_str(&format!(
            "{:<5} {:<18} {}  ({}{last}){idle}\n      {}\n",
            basis(actor.basis),
            actor.kind.name(),
            actor.name,
            actor.when,
            actor.effect
        ));
        for how in &actor.stop {
            text.push_str(&format!("      to stop it: {how}\n"));
        }
        for evidence in &actor.evidence {
            text.push_str(&format!("      - {evidence}\n"));
        }
    }
    text.push_str(&not_seen(&sources_of_automation(snapshot), now));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::diagnose;
    use crate::diagnose::testing::incident;
    use crate::model::Source;

    #[test]
    fn what_acts_by_itself_may_hide_in_what_is_not_seen() {
        let said = |snapshot: &Snapshot| automation_text(snapshot, &diagnose(snapshot));
        assert!(!said(&incident()).contains("NOT SEEN"));
        let mut blind = incident();
        blind.prowjobs = Source::Denied { verb: "list prowjobs".to_owned() };
        assert!(said(&blind).contains("NOT SEEN  ProwJobs: DENIED list prowjobs"), "{}", said(&blind));
        assert_eq!(automation_document(&blind, &diagnose(&blind))["notSeen"][0], "ProwJobs: DENIED list prowjobs");
        blind.service.cron_jobs = Source::Loading;
        assert!(history_text(&blind).contains("NOT SEEN  CronJobs: no answer yet"), "{}", history_text(&blind));
    }
}
