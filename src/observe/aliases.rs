//! Which cluster is which: where Prow's aliases lead, which contexts are the same cluster, and when others are worth a look.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::jobs::JobIndex;
use super::owner::Place;
use super::raw::Raw;
use crate::model::{Alias, AliasPlace, AliasProof};

/// Where aliases lead: what a person said, else what pods prove now, else what they proved earlier.
pub fn lead(
    proven: &BTreeMap<Alias, Place>,
    found: BTreeMap<Alias, Vec<(Place, usize)>>,
    given: BTreeMap<Alias, AliasPlace>,
    key: impl Fn(&Place) -> Option<Alias>,
) -> BTreeMap<Alias, AliasPlace> {
    let at = |cluster: Alias, count| AliasPlace::At { cluster, proof: AliasProof::Pods { count } };
    let mut aliases: BTreeMap<Alias, AliasPlace> =
        proven.iter().filter_map(|(alias, place)| Some((alias.clone(), at(key(place)?, 0)))).collect();
    for (alias, places) in found {
        let places: Vec<(Alias, usize)> =
            places.into_iter().filter_map(|(place, count)| Some((key(&place)?, count))).collect();
        let before = match aliases.get(&alias) {
            Some(AliasPlace::At { cluster, .. }) => Some(cluster.clone()),
            Some(AliasPlace::Ambiguous { .. }) | None => None,
        };
        let place = match (places.as_slice(), before) {
            ([(cluster, count)], Some(before)) if before != *cluster => {
                AliasPlace::Ambiguous { found: vec![(before, 0), (cluster.clone(), *count)] }
            }
            ([(cluster, count)], _) => at(cluster.clone(), *count),
            (_, _) => AliasPlace::Ambiguous { found: places },
        };
        aliases.insert(alias, place);
    }
    aliases.extend(given);
    aliases
}

/// Aliases of all ProwJobs that had a pod, finished ones as well: what was left of them may lie there.
pub fn homes(jobs: &JobIndex) -> BTreeSet<Alias> {
    jobs.values().filter(|job| !job.pod_name.is_empty()).map(|job| job.alias()).collect()
}

/// Something is missing: an alias of which no pod is here, and which was not looked for; or several aliases whose pods are all
/// here, which is odd.
pub fn is_worth_a_look(
    here: &BTreeMap<Alias, usize>,
    homes: &BTreeSet<Alias>,
    has_looked: bool,
    is_new: impl Fn(&Alias) -> bool,
) -> bool {
    (here.len() >= 2 && !has_looked) || homes.iter().any(|alias| !here.contains_key(alias) && is_new(alias))
}

/// The same uid of kube-system; where that may not be read, the same pods.
pub fn is_same_cluster(one: &Raw, other: &Raw) -> bool {
    match (one.identity.seen(), other.identity.seen()) {
        (Some(one), Some(other)) => one.uid == other.uid,
        (None, _) | (_, None) => one.jobs.shares_pods(&other.jobs),
    }
}

/// The labelled pods of a cluster were counted, or could not be.
pub fn is_counted(raw: &Raw) -> bool {
    raw.jobs.census.is_some() && !raw.jobs.pods.is_empty() && raw.jobs.is_counted()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{ClusterIdentity, ProwJob, Source, Timestamp};

    fn alias(name: &str) -> Alias {
        Alias(name.to_owned())
    }

    fn key(place: &Place) -> Option<Alias> {
        match place {
            Place::Service => Some(Alias::service()),
            Place::Context(name) if name == "gone" => None,
            Place::Context(name) => Some(alias(name)),
        }
    }

    #[test]
    fn pods_in_one_cluster_prove_an_alias_and_in_two_they_do_not() {
        let build = || Place::Context("prow-build".to_owned());
        let found = BTreeMap::from([
            (alias("default"), vec![(build(), 36)]),
            (alias("trusted"), vec![(Place::Service, 4)]),
            (alias("both"), vec![(Place::Service, 600), (build(), 532)]),
        ]);
        let proven = BTreeMap::from([(alias("quiet"), build()), (alias("lost"), Place::Context("gone".to_owned()))]);
        let at = |cluster: &str, count| AliasPlace::At { cluster: alias(cluster), proof: AliasProof::Pods { count } };
        let aliases = lead(&proven, found.clone(), BTreeMap::new(), key);
        assert_eq!(aliases[&alias("default")], at("prow-build", 36), "the alias `default` may be the build cluster");
        assert_eq!(aliases[&alias("trusted")], at("default", 4));
        assert_eq!(aliases[&alias("quiet")], at("prow-build", 0), "remembered for the session");
        assert!(!aliases.contains_key(&alias("lost")));
        let both = vec![(Alias::service(), 600), (alias("prow-build"), 532)];
        assert_eq!(aliases[&alias("both")], AliasPlace::Ambiguous { found: both });

        let said = AliasPlace::At { cluster: alias("prow-build"), proof: AliasProof::Given };
        let aliases = lead(&proven, found, BTreeMap::from([(alias("both"), said.clone())]), key);
        assert_eq!(aliases[&alias("both")], said, "a person knows better");
    }

    #[test]
    fn pods_that_are_suddenly_all_in_another_cluster_do_not_prove_it_right() {
        // 2019-02-08, seen from before: the jobs of the build cluster all start in the service cluster.
        let proven = BTreeMap::from([(alias("default"), Place::Context("prow-build".to_owned()))]);
        let found = BTreeMap::from([(alias("default"), vec![(Place::Service, 600)])]);
        let both = vec![(alias("prow-build"), 0), (Alias::service(), 600)];
        let aliases = lead(&proven, found, BTreeMap::new(), key);
        assert_eq!(aliases[&alias("default")], AliasPlace::Ambiguous { found: both });
    }

    #[test]
    fn what_finished_jobs_left_is_worth_a_look_once() {
        let finished = ProwJob {
            name: "a".to_owned(),
            cluster: "default".to_owned(),
            pod_name: "a".to_owned(),
            completed: Some(Timestamp::UNIX_EPOCH),
            ..ProwJob::default()
        };
        let homes = homes(&JobIndex::from([("a".to_owned(), Arc::new(finished))]));
        assert!(is_worth_a_look(&BTreeMap::new(), &homes, false, |_| true), "its pod is not here");
        assert!(!is_worth_a_look(&BTreeMap::new(), &homes, true, |_| false), "it was looked for");
        assert!(is_worth_a_look(&BTreeMap::new(), &homes, true, |_| true), "another alias came up since");
        let here = BTreeMap::from([(alias("default"), 1)]);
        assert!(!is_worth_a_look(&here, &homes, false, |_| true));
    }

    #[test]
    fn a_cluster_is_known_by_its_uid_else_by_its_pods() {
        let raw = |uid: Option<&str>| {
            let mut raw = Raw::default();
            if let Some(uid) = uid {
                let identity = ClusterIdentity {
                    alias: alias("x"),
                    context: String::new(),
                    server: String::new(),
                    uid: uid.to_owned(),
                    ca: String::new(),
                };
                raw.identity = Source::Known { value: identity, at: Timestamp::UNIX_EPOCH };
            }
            raw
        };
        assert!(is_same_cluster(&raw(Some("u")), &raw(Some("u"))));
        assert!(!is_same_cluster(&raw(Some("u")), &raw(Some("v"))));
        assert!(!is_same_cluster(&raw(None), &raw(None)), "nothing is known of either");
    }
}
