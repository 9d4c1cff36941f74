//! The JSON shapes that scripts hold on to. Add freely; change only with a decision page and a changelog line.

use serde_json::{Value, json};

use crate::diagnose::{Diagnosis, Finding, KeyChange};
use crate::model::{Candidate, Failure, ObjectRef, RunEvent, Snapshot, Source, Write};
use crate::prow;
use crate::repair::{Plan, Preview, Undo};

use super::status::{component_state, verdict_summary};
use super::{answer, finding};

pub const API_VERSION: &str = "prow-breakglass/v1";

fn object(object: &ObjectRef) -> Value {
    json!({
        "cluster": object.cluster, "namespace": object.namespace, "kind": object.kind, "name": object.name,
        "uid": object.uid,
    })
}

fn finding_value(item: &Finding) -> Value {
    json!({
        "id": item.id, "kind": item.kind.name(), "severity": item.severity, "basis": item.basis,
        "summary": finding(item), "since": item.since, "evidence": item.evidence,
        "subjects": item.subjects.iter().map(object).collect::<Vec<_>>(),
        "repairs": item.repairs,
    })
}

/// `kind: Status`.
pub fn status_document(snapshot: &Snapshot, diagnosis: &Diagnosis) -> Value {
    let now = snapshot.taken_at;
    let sources: Vec<Value> = snapshot
        .sources()
        .iter()
        .map(|status| {
            let age = status.source.at().map(|at| now.as_second() - at.as_second());
            let (verb, error) = match &status.source {
                Source::Loading | Source::Known { .. } => (None, None),
                Source::Denied { verb } => (Some(verb.clone()), None),
                Source::Lost { error, .. } => (None, Some(error.clone())),
            };
            json!({
                "name": status.name, "state": status.source.state(), "ageSeconds": age, "verb": verb, "error": error,
            })
        })
        .collect();
    let findings: Vec<Value> = diagnosis.findings.iter().map(finding_value).collect();
    let components: Vec<Value> = snapshot
        .service
        .components
        .seen()
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .map(|component| {
            let fatal = component.pods.iter().flat_map(|pod| &pod.containers).find_map(|c| c.last_fatal.as_ref());
            json!({
                "cluster": component.object.cluster, "name": component.object.name, "kind": component.object.kind,
                "namespace": component.object.namespace, "role": component.role,
                "ready": component.ready, "desired": component.desired, "restarts": component.restarts(),
                "specImages": component.spec_images, "runningImages": component.running_images(),
                "state": component_state(component), "lastFatal": fatal,
            })
        })
        .collect();
    let config_maps: Vec<Value> = diagnosis
        .drift
        .iter()
        .map(|drift| {
            let key = crate::model::Key::new(&drift.object.namespace, &drift.object.name);
            let live = snapshot.live_config_map(&drift.object);
            json!({
                "cluster": drift.object.cluster, "namespace": key.namespace, "name": key.name, "state": drift.state,
                "added": drift.count(KeyChange::Added), "removed": drift.count(KeyChange::Removed),
                "changed": drift.count(KeyChange::Changed), "bytes": drift.bytes,
                "lastWriter": live.and_then(|state| state.last_writer()),
                "keys": drift.keys.iter().filter(|key| key.change != KeyChange::Same)
                    .map(|key| json!({"key": key.key, "change": key.change, "path": key.path})).collect::<Vec<_>>(),
            })
        })
        .collect();
    let verdict = &diagnosis.verdict;
    let choice = diagnosis
        .choice
        .as_ref()
        .map(|choice| json!({ "revision": choice.revision, "basis": choice.basis, "reason": super::choice(choice) }));
    json!({
        "apiVersion": API_VERSION, "kind": "Status",
        "verdict": {
            "state": verdict.state, "since": verdict.since, "summary": verdict_summary(diagnosis),
            "cause": verdict.cause, "next": super::next(diagnosis).trim_start_matches("NEXT  "),
            "repair": verdict.next.repair(), "loss": verdict.loss,
            "stopFirst": diagnosis.about_to_revert().map(|actor| actor.name.as_str()).collect::<Vec<_>>(),
        },
        "flow": diagnosis.flow,
        "context": snapshot.service.context, "server": snapshot.service.server, "user": snapshot.user,
        "takenAt": now, "sources": sources, "findings": findings, "components": components,
        "strays": super::strays::summary(snapshot, &diagnosis.strays),
        "configMaps": config_maps, "revision": choice,
    })
}

/// `kind: Refusal`: why a command did not do what it was asked for, and what to do next.
pub fn refusal_document(failure: &Failure) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": "Refusal", "reason": failure.summary, "causes": failure.causes,
        "hint": failure.hint, "exitCode": failure.kind.exit_code(),
    })
}

/// `kind: Plan`: the plan itself (what `apply` reads) and, in each step, the same told as the contract names it.
pub fn plan_document(plan: &Plan, preview: Option<&Preview>) -> Value {
    let mut document = json!(plan);
    document["apiVersion"] = json!(API_VERSION);
    document["kind"] = json!("Plan");
    for (value, step) in document["steps"].as_array_mut().into_iter().flatten().zip(&plan.steps) {
        value["cluster"] = json!(step.write.cluster());
        value["op"] = json!(step.write.word());
        value["object"] = object(step.write.object());
        value["guard"] = match &step.write {
            Write::PutConfigMap { at, .. } => json!({ "uid": at.uid, "resourceVersion": at.resource_version }),
            Write::CreateConfigMap { .. } => json!({ "absent": true }),
            Write::DeleteConfigMap { at, .. } => json!({ "uid": at.uid, "resourceVersion": at.resource_version }),
            Write::DeletePod { uid, seen, .. } => {
                json!({ "uid": uid, "resourceVersion": seen.as_ref().map(|seen| &seen.resource_version) })
            }
            Write::PatchImage { at, images, .. } => {
                let from: Vec<&str> = images.iter().map(|change| change.from.as_str()).collect();
                json!({ "uid": at.uid, "resourceVersion": at.resource_version, "images": from })
            }
        };
        value["preview"] = preview
            .and_then(|preview| preview.steps.iter().find(|item| item.n == step.n))
            .map_or(Value::Null, |item| json!(answer(&item.answer)));
        value["undo"] = match step.undo {
            Undo::FromBackup | Undo::RecreatedByOwner | Undo::Delete | Undo::None => json!(step.undo),
        };
    }
    document
}

/// `kind: ConfigRender`: the ConfigMaps that a revision asks for. `sha256` is of the value after gunzip, `section` where Prow
/// would store it.
pub fn render_document(candidate: &Candidate, findings: &[Finding], not_understood: &[String]) -> Value {
    let maps: Vec<Value> = candidate
        .config_maps
        .as_ref()
        .map_or(&[][..], |maps| maps.as_slice())
        .iter()
        .map(|map| {
            let keys: Vec<Value> = map
                .entries
                .iter()
                .map(|(key, entry)| {
                    let section = if std::str::from_utf8(&entry.bytes).is_ok() { "data" } else { "binaryData" };
                    json!({
                        "key": key, "path": entry.path, "bytes": entry.bytes.len(),
                        "sha256": prow::gzip::inflated_sha256(&entry.bytes), "gzip": entry.gzip, "section": section,
                    })
                })
                .collect();
            json!({ "cluster": map.cluster, "namespace": map.key.namespace, "name": map.key.name, "keys": keys })
        })
        .collect();
    json!({
        "apiVersion": API_VERSION, "kind": "ConfigRender", "revision": candidate.revision,
        "objections": candidate.objections, "findings": findings.iter().map(finding_value).collect::<Vec<_>>(),
        "notUnderstood": not_understood, "configMaps": maps,
    })
}

/// One event of a run, for NDJSON. `None` for what only screens show.
pub fn run_event(run: &str, event: &RunEvent) -> Option<Value> {
    match event {
        RunEvent::StepEnded { n, object: target, outcome, status, at } => Some(json!({
            "run": run, "n": n, "object": object(target), "outcome": outcome, "status": status, "at": at,
        })),
        RunEvent::Stopped { why, at } => Some(json!({ "run": run, "stopped": why, "at": at })),
        RunEvent::Started { .. } | RunEvent::StepStarted { .. } | RunEvent::Ended { .. } => None,
    }
}
