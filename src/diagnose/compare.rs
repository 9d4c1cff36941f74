//! When two values are the same: after gunzip, whatever packed them.

use std::collections::BTreeMap;

use crate::model::{DesiredConfigMap, RefusedContent, Values, sha256_hex};
use crate::prow;

/// Prow's updater keeps the merge commit here; it differs between ConfigMaps and is never drift.
pub(crate) const VERSION_KEY: &str = "VERSION";

/// True when two stored values are the same to Prow, which reads through gzip.
///
/// A value that cannot be inflated is compared as stored.
pub fn same_value(a: &[u8], b: &[u8]) -> bool {
    a == b || inflated(a) == inflated(b)
}

pub(crate) fn inflated(bytes: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    prow::gzip::inflate(bytes).unwrap_or(std::borrow::Cow::Borrowed(bytes))
}

/// Digests of values after gunzip, without VERSION: what a refused content is remembered by.
pub(crate) fn digests(values: &Values) -> BTreeMap<String, String> {
    values
        .iter()
        .filter(|(key, _)| *key != VERSION_KEY)
        .map(|(key, value)| (key.clone(), sha256_hex(&inflated(value))))
        .collect()
}

/// True when a revision asks for exactly the content that was refused.
pub(crate) fn is_refused_content(desired: &DesiredConfigMap, refused: &RefusedContent) -> bool {
    desired.key == refused.config_map
        && desired.entries.len() == refused.keys.len()
        && desired
            .entries
            .iter()
            .all(|(key, entry)| refused.keys.get(key).is_some_and(|sha| *sha == sha256_hex(&inflated(&entry.bytes))))
}
