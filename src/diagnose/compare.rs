//! When two values are the same: after gunzip, whatever packed them.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Desired, DesiredConfigMap, Key, RefusedContent, Values};
use crate::prow;

use super::Basis;

/// Prow's updater keeps the merge commit here; it differs between ConfigMaps and is never drift.
pub(crate) const VERSION_KEY: &str = "VERSION";

/// True when two stored values are the same to Prow, which reads through gzip.
///
/// A value that cannot be inflated is compared as stored.
pub fn same_value(a: &[u8], b: &[u8]) -> bool {
    let packed = prow::gzip::is_gzip(a) || prow::gzip::is_gzip(b);
    a == b || (packed && prow::gzip::inflated_sha256(a) == prow::gzip::inflated_sha256(b))
}

/// Digests of values after gunzip, without VERSION: what a refused content is remembered by.
pub(crate) fn digests(values: &Values) -> BTreeMap<String, String> {
    values
        .iter()
        .filter(|(key, _)| *key != VERSION_KEY)
        .map(|(key, value)| (key.clone(), prow::gzip::inflated_sha256(value)))
        .collect()
}

/// Whether a revision asks for a content that was refused.
///
/// FACT where it is that very content; keys that no revision knows do not count, because they are kept whatever is written.
/// GUESS where it still holds the values that the refusal was about, and other keys differ.
pub(crate) fn is_refused_content(
    desired: &DesiredConfigMap,
    refused: &RefusedContent,
    known: &BTreeSet<&str>,
) -> Option<Basis> {
    if desired.key != refused.config_map {
        return None;
    }
    let same = |key: &str| {
        let wanted = desired.entries.get(key).map(|entry| prow::gzip::inflated_sha256(&entry.bytes));
        wanted.is_some() && wanted.as_ref() == refused.keys.get(key)
    };
    let no_more = refused.keys.keys().all(|key| desired.entries.contains_key(key) || !known.contains(key.as_str()));
    if no_more && desired.entries.keys().all(|key| same(key)) {
        return Some(Basis::Fact);
    }
    let still_there = !refused.culprits.is_empty() && refused.culprits.iter().all(|key| same(key));
    still_there.then_some(Basis::Guess)
}

/// The keys of a ConfigMap that any revision asks for.
pub(crate) fn known_keys<'a>(desired: &'a Desired, map: &Key) -> BTreeSet<&'a str> {
    std::iter::once(&desired.head)
        .chain(&desired.asked)
        .chain(&desired.candidates)
        .filter_map(|candidate| candidate.config_maps.as_ref().ok())
        .flat_map(|maps| maps.iter())
        .filter(|wanted| wanted.key == *map)
        .flat_map(|wanted| wanted.entries.keys().map(String::as_str))
        .collect()
}
