//! `config diff`: live ConfigMaps against the revision that a repair would write.

use serde_json::{Value, json};

use crate::diagnose::{ConfigMapDrift, DriftState, KeyChange, KeyDrift, choice_candidate};
use crate::model::{Failure, FailureKind, ObjectRef};
use crate::present::{self, DiffLine, DiffTag};

use super::args::{DiffArgs, Global};
use super::output::Ink;
use super::session::{self, SeenConfiguration};
use super::{Exit, output};

/// Exit code 1 where they differ.
pub async fn run(global: &Global, args: &DiffArgs) -> Exit {
    let seen = session::look_at_configuration(global).await?;
    let (snapshot, configuration) = (&seen.snapshot, &seen.configuration);
    if snapshot.service.config_maps.seen().is_none() {
        return Err(session::not_seen(&snapshot.service.config_maps, "the live ConfigMaps"));
    }
    if snapshot.desired.seen().is_none() {
        return Err(session::not_seen(&snapshot.desired, "the configuration repository"));
    }
    let Some(choice) = &configuration.choice else {
        return Err(Failure::new(FailureKind::Refused, "something speaks against each revision that was looked at")
            .hint("name one that you know to be good: --revision REV"));
    };
    let chosen = choose(&configuration.drift, args)?;
    output::document(
        global.output,
        || {
            let maps: Vec<Value> = chosen.iter().map(|(drift, keys)| map_document(&seen, drift, keys, args)).collect();
            json!({
                "apiVersion": present::API_VERSION, "kind": "ConfigDiff", "revision": choice.revision,
                "reason": present::choice(choice), "configMaps": maps,
            })
        },
        || {
            let ink = output::ink();
            let mut text = format!("live (-) against git (+) {}\n", present::choice(choice));
            for (drift, keys) in &chosen {
                let line = format!("{}  {}", full_name(&drift.object), present::drift_state(drift.state));
                text.push_str(&format!("{}\n", ink.title(&line)));
                for key in keys {
                    let path = key.path.as_ref().filter(|path| **path != key.key);
                    let path = path.map(|path| format!("  from {path}")).unwrap_or_default();
                    text.push_str(&format!("  {} {}{path}\n", present::key_change(key.change), key.key));
                    for line in key_diff(&seen, &drift.object, &key.key, args.unified) {
                        text.push_str(&format!("    {}\n", shown(ink, &line)));
                    }
                }
            }
            text
        },
    )?;
    let differs = chosen.iter().any(|(drift, keys)| match &args.key {
        None => drift.state != DriftState::Same,
        Some(_) => !keys.is_empty(),
    });
    Ok(u8::from(differs))
}

/// A ConfigMap and the keys that differ.
type Chosen<'a> = (&'a ConfigMapDrift, Vec<&'a KeyDrift>);

/// What was asked for: all, a ConfigMap, a key.
fn choose<'a>(drift: &'a [ConfigMapDrift], args: &DiffArgs) -> Result<Vec<Chosen<'a>>, Failure> {
    let managed = drift.iter().filter(|drift| drift.state != DriftState::Unmanaged);
    let named = |drift: &&ConfigMapDrift| {
        args.name.as_deref().is_none_or(|name| drift.object.name == name || full_name(&drift.object) == name)
    };
    let maps: Vec<&ConfigMapDrift> = managed.filter(named).collect();
    if let (Some(name), true) = (&args.name, maps.is_empty()) {
        let known: Vec<String> = drift.iter().map(|drift| full_name(&drift.object)).collect();
        return Err(Failure::new(FailureKind::Usage, format!("git asks for no ConfigMap {name}"))
            .hint(format!("it asks for {}", known.join(", "))));
    }
    let wanted = |key: &&KeyDrift| args.key.as_ref().is_none_or(|name| key.key == *name);
    if let Some(name) = &args.key
        && !maps.iter().any(|drift| drift.keys.iter().any(|key| key.key == *name))
    {
        let places: Vec<String> = maps.iter().map(|drift| full_name(&drift.object)).collect();
        return Err(Failure::new(FailureKind::Usage, format!("no key {name}, neither live nor in git"))
            .cause(format!("looked for in {}", places.join(", ")))
            .hint("`config diff` without --key lists those that differ"));
    }
    let has_key = |drift: &&ConfigMapDrift| args.key.is_none() || drift.keys.iter().any(|key| wanted(&key));
    let differing = |drift: &'a ConfigMapDrift| {
        drift.keys.iter().filter(|key| key.change != KeyChange::Same).filter(wanted).collect()
    };
    Ok(maps.into_iter().filter(has_key).map(|drift| (drift, differing(drift))).collect())
}

fn map_document(seen: &SeenConfiguration, drift: &ConfigMapDrift, keys: &[&KeyDrift], args: &DiffArgs) -> Value {
    let keys = keys.iter().map(|key| {
        let lines = key_diff(seen, &drift.object, &key.key, args.unified);
        let lines: Vec<String> = lines.into_iter().map(|line| format!("{}{}", line.tag.sign(), line.text)).collect();
        json!({ "key": key.key, "change": key.change, "path": key.path, "diff": lines })
    });
    json!({
        "cluster": drift.object.cluster, "namespace": drift.object.namespace, "name": drift.object.name,
        "state": drift.state, "keys": keys.collect::<Vec<_>>(),
    })
}

fn shown(ink: Ink, line: &DiffLine) -> String {
    let text = format!("{}{}", line.tag.sign(), line.text);
    match line.tag {
        DiffTag::Same => text,
        DiffTag::Hunk => ink.hunk(&text),
        DiffTag::Removed => ink.removed(&text),
        DiffTag::Added => ink.added(&text),
    }
}

fn full_name(object: &ObjectRef) -> String {
    format!("{}/{}", object.namespace, object.name)
}

fn key_diff(seen: &SeenConfiguration, object: &ObjectRef, key: &str, context: usize) -> Vec<DiffLine> {
    let live = seen.snapshot.live_config_map(object);
    let git = seen
        .snapshot
        .desired
        .seen()
        .zip(seen.configuration.choice.as_ref())
        .and_then(|(desired, choice)| choice_candidate(desired, choice))
        .and_then(|candidate| candidate.config_maps.as_ref().ok())
        .and_then(|maps| seen.snapshot.asked_of(maps, object))
        .and_then(|desired| desired.entries.get(key));
    let live = live.and_then(|state| state.values.get(key)).map(Vec::as_slice);
    present::diff(live, git.map(|entry| entry.bytes.as_slice()), context)
}
