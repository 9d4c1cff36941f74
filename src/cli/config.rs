//! `config diff` and `config render`: the configuration, live and in git.

use serde_json::json;

use crate::diagnose::{DriftState, KeyChange, choice_candidate, mapping_findings};
use crate::model::{Failure, FailureKind};
use crate::observe::desired;
use crate::present::{self, DiffLine};
use crate::prow::PresetRule;
use crate::prow::load::ConfigFiles;

use super::args::Global;
use super::session::{self, Seen};
use super::{Exit, output};

/// Lines of context around a change.
const CONTEXT: usize = 3;

/// Live ConfigMaps against the revision that a repair would write: exit code 1 where they differ.
pub async fn diff(global: &Global, name: Option<&str>) -> Exit {
    let seen = session::look(global).await?;
    let (snapshot, diagnosis) = (&seen.snapshot, &seen.diagnosis);
    if snapshot.service.config_maps.seen().is_none() {
        return Err(session::not_seen(&snapshot.service.config_maps, "the live ConfigMaps"));
    }
    if snapshot.desired.seen().is_none() {
        return Err(session::not_seen(&snapshot.desired, "the configuration repository"));
    }
    let Some(choice) = &diagnosis.choice else {
        return Err(Failure::new(FailureKind::Refused, "something speaks against each revision that was looked at")
            .hint("name one that you know to be good: --revision REV"));
    };
    let chosen: Vec<_> = diagnosis
        .drift
        .iter()
        .filter(|drift| drift.state != DriftState::Unmanaged)
        .filter(|drift| name.is_none_or(|name| drift.object.name == name || full_name(&drift.object) == name))
        .collect();
    if let (Some(name), true) = (name, chosen.is_empty()) {
        let known: Vec<String> = diagnosis.drift.iter().map(|drift| full_name(&drift.object)).collect();
        return Err(Failure::new(FailureKind::Usage, format!("git asks for no ConfigMap {name}"))
            .hint(format!("it asks for {}", known.join(", "))));
    }
    output::document(
        global.output,
        || {
            let maps: Vec<_> = chosen
                .iter()
                .map(|drift| {
                    let keys: Vec<_> = drift
                        .keys
                        .iter()
                        .filter(|key| key.change != KeyChange::Same)
                        .map(|key| {
                            let lines: Vec<String> = key_diff(&seen, &drift.object, &key.key)
                                .into_iter()
                                .map(|line| format!("{}{}", line.tag.sign(), line.text))
                                .collect();
                            json!({ "key": key.key, "change": key.change, "path": key.path, "diff": lines })
                        })
                        .collect();
                    json!({
                        "cluster": drift.object.cluster, "namespace": drift.object.namespace, "name": drift.object.name,
                        "state": drift.state, "keys": keys,
                    })
                })
                .collect();
            json!({
                "apiVersion": present::API_VERSION, "kind": "ConfigDiff", "revision": choice.revision,
                "reason": present::choice(choice), "configMaps": maps,
            })
        },
        || {
            let mut text = format!("live (-) against git (+) {}\n", present::choice(choice));
            for drift in &chosen {
                text.push_str(&format!("{}  {}\n", full_name(&drift.object), present::drift_state(drift.state)));
                for key in drift.keys.iter().filter(|key| key.change != KeyChange::Same) {
                    text.push_str(&format!("  {} {}\n", present::key_change(key.change), key.key));
                    for line in key_diff(&seen, &drift.object, &key.key) {
                        text.push_str(&format!("    {}{}\n", line.tag.sign(), line.text));
                    }
                }
            }
            text
        },
    )?;
    let differs = chosen.iter().any(|drift| drift.state != DriftState::Same);
    Ok(u8::from(differs))
}

fn full_name(object: &crate::model::ObjectRef) -> String {
    format!("{}/{}", object.namespace, object.name)
}

fn key_diff(seen: &Seen, object: &crate::model::ObjectRef, key: &str) -> Vec<DiffLine> {
    let live = seen.snapshot.live_config_map(object).and_then(|state| state.values.get(key));
    let git = seen
        .snapshot
        .desired
        .seen()
        .zip(seen.diagnosis.choice.as_ref())
        .and_then(|(desired, choice)| choice_candidate(desired, choice))
        .and_then(|candidate| candidate.config_maps.as_ref().ok())
        .and_then(|maps| seen.snapshot.asked_of(maps, object))
        .and_then(|desired| desired.entries.get(key));
    present::diff(live.map(Vec::as_slice), git.map(|entry| entry.bytes.as_slice()), CONTEXT)
}

/// The ConfigMaps that a revision asks for. Needs no cluster.
pub async fn render(global: &Global) -> Exit {
    let Some(repository) = session::repository(global).await? else {
        return Err(Failure::new(FailureKind::Usage, "no configuration repository given")
            .hint("--repo PATH, the checkout (or bare repository) that Prow's configuration lies in"));
    };
    let options = session::desired_options(global, PresetRule::Unknown, ConfigFiles::by_name());
    let desired::Reading { candidate, mapping, not_understood } =
        desired::candidate(&repository, global.revision.as_deref(), &options).await?;
    let findings = mapping_findings(&mapping);
    if let Err(why) = &candidate.config_maps {
        let asks = format!("revision {} asks for no ConfigMaps", candidate.revision.short());
        let told = findings.iter().map(present::finding);
        return Err(told
            .fold(Failure::new(FailureKind::Usage, asks).cause(why.clone()), Failure::cause)
            .hint("take an older revision with --revision, or another file with --plugin-config"));
    }
    output::document(
        global.output,
        || present::render_document(&candidate, &findings, &not_understood),
        || {
            let mut text = format!("git {} \"{}\"\n", candidate.revision.short(), candidate.revision.subject);
            for map in candidate.config_maps.as_ref().map_or(&[][..], |maps| maps.as_slice()) {
                text.push_str(&format!("{}/{} in cluster {}\n", map.key.namespace, map.key.name, map.cluster));
                for (key, entry) in &map.entries {
                    let gzip = if entry.gzip { ", gzip" } else { "" };
                    text.push_str(&format!("  {key}  {} bytes{gzip}  from {}\n", entry.bytes.len(), entry.path));
                }
            }
            for objection in &candidate.objections {
                text.push_str(&format!("GUESS  Prow would refuse it: {}\n", objection.message));
            }
            for finding in &findings {
                let weight = present::severity(finding.severity);
                text.push_str(&format!("{weight:<4}  {}\n", present::finding(finding)));
                // The line has its place in plugins.yaml already, and what it is about, unless that is more than one.
                let place = format!("{}:", mapping.plugins);
                let more = finding.evidence.iter().filter(|evidence| !evidence.starts_with(&place)).skip(1);
                more.for_each(|evidence| text.push_str(&format!("      {evidence}\n")));
            }
            for what in &not_understood {
                text.push_str(&format!("not understood, and so not rendered: {what}\n"));
            }
            text
        },
    )?;
    Ok(0)
}
