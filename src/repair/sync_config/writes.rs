//! A ConfigMap that git asks for to the write that makes it so.

use std::collections::BTreeMap;

use crate::diagnose::{Basis, BlamedKey, ConfigMapDrift, KeyChange};
use crate::model::text::sanitize_line;
use crate::model::{
    ConfigMapBody, ConfigMapState, DesiredConfigMap, Key, ObjectRef, ObjectVersion, Values, Write, content_digest,
};
use crate::repair::{OverrideId, Refusal, Request, values_effect};

use super::checks::{self, MAX_BYTES};
use super::selection::Selection;

/// Keys that may go without a further word, in percent.
const MAX_PRUNE_PERCENT: usize = 20;

/// A write, and what is to be said of it.
pub(super) struct Made {
    pub(super) write: Write,
    pub(super) effect: String,
    /// Keys that git does not know and that would go, where they are so many that a second word is needed.
    pub(super) pruned: usize,
}

/// The write over a live ConfigMap, `None` where it would change nothing.
pub(super) fn put(
    request: &Request,
    selection: &Selection<'_>,
    map: &DesiredConfigMap,
    live: &ConfigMapState,
    object: &ObjectRef,
    drift: &ConfigMapDrift,
    warnings: &mut Vec<String>,
) -> Result<Option<Made>, Refusal> {
    checks::check_mutable(live)?;
    checks::check_target(request, map, live, warnings)?;
    let mut values = live.values.clone();
    let asked = || drift.keys.iter().filter(|key| selection.has_key(map, &key.key));
    for key in asked().filter(|key| matches!(key.change, KeyChange::Added | KeyChange::Changed)) {
        if let Some(entry) = map.entries.get(&key.key) {
            values.insert(key.key.clone(), entry.bytes.clone());
        }
    }
    let stale: Vec<&String> = asked().filter(|key| key.change == KeyChange::Removed).map(|key| &key.key).collect();
    // What is refused must go, whoever asked for pruning or not: keeping it would keep the outage.
    let (blamed, stale): (Vec<&String>, Vec<&String>) = stale.into_iter().partition(|key| drift.blame(key).is_some());
    let (pruned, kept) = if request.prune { (stale, Vec::new()) } else { (Vec::new(), stale) };
    for key in blamed.iter().chain(&pruned) {
        values.remove(*key);
    }
    let many = many(request, &map.key, blamed.len() + pruned.len(), live, warnings);
    warnings.extend(why_they_go(&map.key, &blamed, drift));
    if !pruned.is_empty() {
        warnings.push(format!(
            "{}: removes {}, which git does not know (--prune); the backup has it",
            map.key,
            joined(&pruned)
        ));
    }
    if !kept.is_empty() {
        let keys = joined(&kept);
        warnings.push(format!("{}: keeps {keys}, which git does not know (--prune removes such keys)", map.key));
    }
    let left = drift.keys.iter().filter(|key| key.change != KeyChange::Same).count() - asked_changes(asked());
    if left > 0 && values != live.values {
        warnings.push(format!("{}: {left} other key(s) that differ from git stay as they are, unasked", map.key));
    }
    if values == live.values {
        return Ok(None);
    }
    if let Some(version) = live.values.get("VERSION") {
        warnings.push(format!(
            "{}: its key VERSION, Prow's note of its own last upload, stays at {}",
            map.key,
            sanitize_line(&String::from_utf8_lossy(version)).chars().take(12).collect::<String>()
        ));
    }
    checks::check_values(&values)?;
    Ok(Some(Made { effect: effect(&live.values, &values), write: over(object, live, values), pruned: many }))
}

/// Keys that go although nobody asked for pruning, one line for each complaint.
fn why_they_go(map: &Key, blamed: &[&String], drift: &ConfigMapDrift) -> Vec<String> {
    let mut by_why: Vec<(&BlamedKey, Vec<&String>)> = Vec::new();
    for key in blamed {
        let Some(why) = drift.blame(key) else { continue };
        let is_same = |(other, _): &&mut (&BlamedKey, _)| {
            (other.basis, &other.component, &other.error) == (why.basis, &why.component, &why.error)
        };
        match by_why.iter_mut().find(is_same) {
            Some((_, keys)) => keys.push(*key),
            None => by_why.push((why, vec![*key])),
        }
    }
    let line = |(why, keys): &(&BlamedKey, Vec<&String>)| {
        let keys = joined(keys);
        let because = match why.basis {
            Basis::Fact => format!("for {} refuses what it finds there: {}", why.component, why.error),
            Basis::Guess => format!(
                "for {} refuses the ConfigMap, and nothing else of it differs from git (GUESS that it is this): {}",
                why.component, why.error
            ),
        };
        format!("{map}: REMOVES {keys}, which git does not know, unasked: {because}; the backup has it")
    };
    by_why.iter().map(line).collect()
}

/// How many keys go, where they are so many that a second word is needed; 0 where they are few, or were allowed with a reason.
pub(super) fn many(
    request: &Request,
    map: &Key,
    removed: usize,
    live: &ConfigMapState,
    warnings: &mut Vec<String>,
) -> usize {
    if removed * 100 <= live.values.len() * MAX_PRUNE_PERCENT {
        return 0;
    }
    let about = format!("({removed} of {} keys of {map})", live.values.len());
    if let Some(over) = request.overridden(OverrideId::PruneMany) {
        warnings.push(format!("override prune-many {about}, reason: {}", over.reason));
        return 0;
    }
    warnings.push(format!(
        "REMOVES MANY KEYS {about}: is this the right checkout? it needs a second word, or --override prune-many --reason \
         TEXT"
    ));
    removed
}

fn asked_changes<'a>(keys: impl Iterator<Item = &'a crate::diagnose::KeyDrift>) -> usize {
    keys.filter(|key| key.change != KeyChange::Same).count()
}

/// The PUT that puts values in the place of a live ConfigMap's; whatever else it has stays.
pub(super) fn over(object: &ObjectRef, live: &ConfigMapState, values: Values) -> Write {
    Write::PutConfigMap {
        object: object.clone().with_uid(&live.uid),
        at: ObjectVersion {
            uid: live.uid.clone(),
            resource_version: live.resource_version.clone(),
            content: content_digest(&live.values),
        },
        body: ConfigMapBody { values, labels: live.labels.clone(), annotations: live.annotations.clone(), owner: None },
    }
}

/// `None` where none of its keys was asked for.
pub(super) fn create(
    selection: &Selection<'_>,
    map: &DesiredConfigMap,
    object: &ObjectRef,
) -> Result<Option<Made>, Refusal> {
    let asked = map.entries.iter().filter(|(key, _)| selection.has_key(map, key));
    let values: Values = asked.map(|(key, entry)| (key.clone(), entry.bytes.clone())).collect();
    if values.is_empty() && !map.entries.is_empty() {
        return Ok(None);
    }
    // Who waits for it in ContainerCreating would start on a fraction of the configuration.
    if values.len() < map.entries.len() {
        return Err(Refusal::new(
            format!("it is missing, and --key would make it with {} of its {} keys", values.len(), map.entries.len()),
            format!("make it whole first: --map {}", map.key.name),
        ));
    }
    checks::check_values(&values)?;
    Ok(Some(anew(object, values)))
}

/// A ConfigMap that is not there, as Prow's updater would label it.
pub(super) fn anew(object: &ObjectRef, values: Values) -> Made {
    let effect = format!("{} key(s), {} bytes of {MAX_BYTES}", values.len(), total(&values));
    let labels = BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), "prow".to_owned()),
        ("app.kubernetes.io/component".to_owned(), "updateconfig-plugin".to_owned()),
    ]);
    let body = ConfigMapBody { values, labels, annotations: BTreeMap::new(), owner: None };
    Made { write: Write::CreateConfigMap { object: object.clone(), body }, effect, pruned: 0 }
}

pub(super) fn effect(from: &Values, to: &Values) -> String {
    format!("{}; {} bytes of {MAX_BYTES}", values_effect(from, to), total(to))
}

pub(super) fn total(values: &Values) -> usize {
    values.values().map(Vec::len).sum()
}

pub(super) fn joined(keys: &[&String]) -> String {
    keys.iter().map(|key| key.as_str()).collect::<Vec<_>>().join(", ")
}
