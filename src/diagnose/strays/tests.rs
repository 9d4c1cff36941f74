use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::diagnose::testing::{
    NEW, OLD, at, build, count, incident, job, maker, pod, push, roll_back, rollout, set, snapshot, view_mut,
};
use crate::diagnose::{Basis, ChangeKind, FindingKind, GateState, Health, NextStep, Severity, UnderWay, diagnose};
use crate::model::{
    ClusterStanding, ConfigMapState, Failure, FailureKind, Kind, ObjectRef, Rollout, SourceStatus, Writer,
};
use crate::repair::RepairId;

mod verdict;

#[test]
fn strays_are_counted_exactly_a_cluster_and_namespace() {
    let strays = strays(&incident());
    let groups: Vec<_> =
        strays.groups.iter().map(|group| (group.cluster.0.as_str(), group.namespace.as_str(), group.count)).collect();
    assert_eq!(groups, [("prow-build", "default", 36), ("default", "default", 4)]);
    assert_eq!((strays.total(), strays.groups[0].unfinished), (40, 36));
    assert_eq!((strays.oldest(), strays.newest()), (Some(at(49)), Some(at(88))));
    assert!(strays.is_complete(), "{:?}", strays.not_seen);
}

#[test]
fn what_is_not_ours_is_foreign_and_what_is_gone_proves_itself() {
    let mut snapshot = incident();
    push(&mut snapshot, pod(&build(), "default", "id-0-debug", Some("id-0"), 50));
    push(&mut snapshot, pod(&build(), "default", "9d5b", Some("9d5b"), 50));
    push(&mut snapshot, pod(&build(), "default", "helper", None, 50));
    push(&mut snapshot, pod(&build(), "default", "id-99", Some("id-99"), 50));
    snapshot.gone_prowjobs = vec![job(99, "default", false)];
    let strays = strays(&snapshot);
    let why: Vec<_> = strays
        .foreign()
        .map(|judged| match judged.place {
            PodPlace::Foreign { why } => (judged.pod.object.name.as_str(), why),
            _ => unreachable!("filtered"),
        })
        .collect();
    assert_eq!(
        why,
        [
            ("9d5b", ForeignReason::NoSuchProwJob),
            ("helper", ForeignReason::NoId),
            ("id-0-debug", ForeignReason::OtherName)
        ]
    );
    assert_eq!(strays.total(), 41, "the ProwJob of id-99 was seen earlier");
    let gone = strays.strays().find(|judged| judged.pod.object.name == "id-99").unwrap();
    assert!(gone.job_gone && !gone.has_unfinished_job());
}

#[test]
fn without_prowjobs_nothing_is_called_foreign_or_stray() {
    let mut snapshot = incident();
    snapshot.prowjobs = Source::Lost { error: Failure::new(FailureKind::Unreachable, "no answer"), last: None };
    let strays = strays(&snapshot);
    assert_eq!((strays.total(), strays.foreign().count(), strays.unknown().count()), (0, 0, 40));
    assert!(!strays.is_complete());
    assert!(!diagnose(&snapshot).gate.is_open());
}

#[test]
fn a_lost_cluster_leaves_the_other_in_view() {
    let mut snapshot = incident();
    let view = snapshot.clusters.get_mut(&build()).unwrap();
    let Source::Known { value, at } = view.job_pods.clone() else { unreachable!("built known") };
    view.job_pods =
        Source::Lost { error: Failure::new(FailureKind::Unreachable, "no answer"), last: Some((value, at)) };
    let strays = strays(&snapshot);
    assert_eq!((strays.total(), strays.unknown().count()), (4, 36));
    assert!(strays.not_seen.iter().any(|what| what.contains("prow-build")), "{:?}", strays.not_seen);
}

#[test]
fn namespaces_that_may_be_listed_are_not_the_whole_cluster() {
    let mut snapshot = incident();
    let source = Source::Denied { verb: "list pods in all namespaces but test-pods".to_owned() };
    let name = "pods of jobs outside test-pods".to_owned();
    view_mut(&mut snapshot, &build()).parts = vec![SourceStatus { name, source }];
    let strays = strays(&snapshot);
    assert_eq!((strays.total(), strays.is_complete()), (40, false));
    assert!(strays.not_seen[0].contains("outside test-pods in prow-build: DENIED"), "{:?}", strays.not_seen);
}

#[test]
fn a_pod_that_two_contexts_show_is_one_pod() {
    let mut snapshot = incident();
    let again = ClusterView { alias: Alias("tunnel".to_owned()), ..snapshot.clusters[&build()].clone() };
    snapshot.clusters.insert(again.alias.clone(), again);
    assert_eq!(strays(&snapshot).total(), 40);
}

#[test]
fn what_finished_jobs_left_may_be_where_nobody_answers() {
    let mut snapshot = snapshot();
    set(&mut snapshot.prowjobs, vec![job(1, "default", true)]);
    snapshot.aliases.remove(&Alias::service());
    assert!(strays(&snapshot).is_complete(), "no context is left that could hold it");
    let view = view_mut(&mut snapshot, &build());
    view.standing = ClusterStanding::Unproven;
    view.job_pods = Source::Lost { error: Failure::new(FailureKind::Unreachable, "no answer"), last: None };
    assert!(!strays(&snapshot).is_complete());
}

#[test]
fn the_right_namespace_of_the_wrong_cluster_is_a_stray_only_where_the_right_one_is_known() {
    let mut snapshot = snapshot();
    set(&mut snapshot.prowjobs, vec![job(1, "default", false), job(2, "trusted", false)]);
    for n in ["id-1", "id-2"] {
        push(&mut snapshot, pod(&Alias::service(), "test-pods", n, Some(n), 50));
    }
    let judged = strays(&snapshot);
    let names: Vec<_> = judged.strays().map(|judged| judged.pod.object.name.as_str()).collect();
    assert_eq!(names, ["id-1"], "id-2 is where it belongs");
    assert_eq!(judged.groups[0].reason, StrayReason::WrongCluster { expected: build() });
    assert!(diagnose(&snapshot).findings.iter().any(|finding| matches!(&finding.kind,
        FindingKind::WrongClusterPods { alias, expected: Some(expected), found }
            if alias == "default" && expected == "prow-build" && *found == [("prow-services".to_owned(), 1)])));

    let found = vec![(Alias::service(), 1), (build(), 5)];
    snapshot.aliases.insert(Alias("default".to_owned()), AliasPlace::Ambiguous { found });
    let judged = strays(&snapshot);
    assert_eq!((judged.total(), judged.unknown().count()), (0, 1), "nobody said which is right");
    let diagnosis = diagnose(&snapshot);
    let two_numbers = diagnosis.findings.iter().find(|finding| finding.kind.name() == "wrong-cluster-pods").unwrap();
    assert!(matches!(&two_numbers.kind, FindingKind::WrongClusterPods { found, .. }
        if *found == [("prow-build".to_owned(), 5), ("prow-services".to_owned(), 1)]));
}

/// A pod of some kind, and whether the rule may call it a stray.
#[derive(Debug, Clone)]
enum Sort {
    Legit,
    Stray,
    WrongCluster,
    OtherProw,
    Copy,
    NoId,
}

fn sort() -> impl Strategy<Value = Sort> {
    prop_oneof![
        Just(Sort::Legit),
        Just(Sort::Stray),
        Just(Sort::WrongCluster),
        Just(Sort::OtherProw),
        Just(Sort::Copy),
        Just(Sort::NoId)
    ]
}

proptest! {
    /// Whatever is mixed, and whatever is lost: no legitimate pod is ever called a stray, and with everything in view every
    /// stray is.
    #[test]
    fn no_legitimate_pod_is_ever_called_a_stray(
        sorts in proptest::collection::vec((sort(), any::<bool>(), any::<bool>(), 0..3_usize), 1..60),
        lose_jobs in proptest::bool::weighted(0.2),
        lose_aliases in proptest::bool::weighted(0.2),
        lose_settings in proptest::bool::weighted(0.1),
    ) {
        let mut snapshot = snapshot();
        let mut jobs = Vec::new();
        let mut wanted: BTreeSet<String> = BTreeSet::new();
        let mut legit: BTreeSet<String> = BTreeSet::new();
        for (n, (sort, trusted, finished, namespace)) in sorts.into_iter().enumerate() {
            let (alias, cluster, other) = if trusted {
                ("trusted", Alias::service(), build())
            } else {
                ("default", build(), Alias::service())
            };
            let wrong = ["default", "prow", "kube-system"][namespace];
            let id = format!("id-{n}");
            let made = match sort {
                Sort::Legit => pod(&cluster, "test-pods", &id, Some(&id), 50),
                Sort::Stray => pod(&cluster, wrong, &id, Some(&id), 50),
                Sort::WrongCluster => pod(&other, "test-pods", &id, Some(&id), 50),
                Sort::OtherProw => pod(&cluster, wrong, &format!("x-{n}"), Some(&format!("x-{n}")), 50),
                Sort::Copy => pod(&cluster, wrong, &format!("{id}-debug"), Some(&id), 50),
                Sort::NoId => pod(&cluster, wrong, &id, None, 50),
            };
            if !matches!(sort, Sort::OtherProw) {
                jobs.push(job(n, alias, finished));
            }
            let uid = made.uid().to_owned();
            match sort {
                Sort::Stray | Sort::WrongCluster => wanted.insert(uid),
                Sort::Legit | Sort::OtherProw | Sort::Copy | Sort::NoId => legit.insert(uid),
            };
            push(&mut snapshot, made);
        }
        set(&mut snapshot.prowjobs, jobs);
        let lost = || Failure::new(FailureKind::Unreachable, "no answer");
        if lose_jobs {
            snapshot.prowjobs = Source::Lost { error: lost(), last: None };
        }
        if lose_settings {
            snapshot.prow = Source::Lost { error: lost(), last: None };
        }
        if lose_aliases {
            snapshot.aliases.clear();
        }
        let judged = strays(&snapshot);
        let found: BTreeSet<String> = judged.strays().map(|judged| judged.pod.uid().to_owned()).collect();
        prop_assert!(found.is_disjoint(&legit));
        prop_assert!(found.is_subset(&wanted));
        prop_assert_eq!(judged.total(), found.len());
        if !lose_jobs && !lose_aliases && !lose_settings {
            prop_assert_eq!(found, wanted);
        }
    }
}

#[test]
fn a_cluster_is_found_by_what_people_call_it() {
    let snapshot = snapshot();
    assert_eq!(snapshot.cluster_named("default"), Some(&build()), "ProwJobs of alias default run there");
    assert_eq!(snapshot.cluster_named("trusted"), Some(&Alias::service()));
    assert_eq!(snapshot.cluster_named("prow-services"), Some(&Alias::service()));
    assert_eq!(snapshot.cluster_named("nowhere"), None);
}
