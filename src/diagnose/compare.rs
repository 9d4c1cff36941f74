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
/// FACT where what would be live is that very content; keys that no revision knows do not count, because they are kept whatever
/// is written. Unless they are to blame: then they go, and it is another content. GUESS where it still holds the values that
/// the refusal was about and other keys differ, and where nobody knows which keys it was about.
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
    let beside: Vec<&String> = refused.keys.keys().filter(|key| !desired.entries.contains_key(*key)).collect();
    let is_kept = |key: &&&String| !known.contains(key.as_str());
    if desired.entries.keys().all(|key| same(key)) && beside.iter().all(|key| is_kept(&key)) {
        return match (beside.is_empty(), refused.culprits.is_empty()) {
            (true, _) => Some(Basis::Fact),
            (false, true) => Some(Basis::Guess),
            (false, false) => (!beside.iter().any(|key| refused.culprits.contains(key))).then_some(Basis::Fact),
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Alias, DesiredEntry, Timestamp};

    #[test]
    fn what_goes_with_the_repair_is_not_part_of_what_would_be_live() {
        let key = Key::new("prow", "job-config");
        let entry = DesiredEntry { path: "a.yaml".to_owned(), bytes: b"a".to_vec(), gzip: false };
        let desired = DesiredConfigMap {
            cluster: Alias::service(),
            key: key.clone(),
            entries: [("a.yaml".to_owned(), entry)].into(),
        };
        let judge = |keys: &[&str], culprits: &[&str], known: &[&str]| {
            let refused = RefusedContent {
                cluster_server: String::new(),
                cluster_uid: String::new(),
                config_map: key.clone(),
                keys: keys.iter().map(|key| ((*key).to_owned(), prow::gzip::inflated_sha256(b"a"))).collect(),
                beside: None,
                culprits: culprits.iter().map(|key| (*key).to_owned()).collect(),
                images: Vec::new(),
                error: String::new(),
                at: Timestamp::UNIX_EPOCH,
            };
            is_refused_content(&desired, &refused, &known.iter().copied().collect())
        };
        let (both, git) = (&["a.yaml", "more.yaml"], &["a.yaml"]);
        assert_eq!(judge(git, &[], git), Some(Basis::Fact));
        assert_eq!(judge(both, &["a.yaml"], git), Some(Basis::Fact), "the other one stays, and what is wrong, too");
        assert_eq!(judge(both, &["more.yaml"], git), None, "it goes");
        assert_eq!(judge(both, &["a.yaml", "more.yaml"], git), None, "they collide, and one goes");
        assert_eq!(judge(both, &[], git), Some(Basis::Guess), "nobody knows whether it goes");
        assert_eq!(judge(both, &[], both), None, "this revision takes it away, as git means to");
        assert_eq!(judge(both, &["a.yaml"], both), Some(Basis::Guess));
    }
}
