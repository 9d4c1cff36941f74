//! Stray pods: the tables of `strays`, and their JSON.

use serde_json::{Value, json};

use crate::diagnose::{
    Diagnosis, ForeignReason, GateState, JudgedPod, PodPlace, StrayGroup, StrayReason, Strays, UnknownPlace,
};
use crate::model::{Alias, ClusterStanding, Snapshot};

use super::{API_VERSION, age, clock_seconds};

/// Pods that a table quotes of each group.
const SHOWN: usize = 10;

/// `prow-build (default)`: the context, and what Prow calls it.
pub fn cluster_name(snapshot: &Snapshot, key: &Alias) -> String {
    let context = snapshot.context_of(key);
    match snapshot.prow_alias(key) {
        Some(alias) if alias.0 != context => format!("{context} ({alias})"),
        Some(_) | None => context.to_owned(),
    }
}

/// A count, or `?` where it cannot be told.
pub fn or_unknown(count: Option<usize>) -> String {
    count.map_or("?".to_owned(), |count| count.to_string())
}

/// Why a pod is not simply where it belongs.
pub fn place(snapshot: &Snapshot, place: &PodPlace) -> String {
    match place {
        PodPlace::Expected => "where it belongs".to_owned(),
        PodPlace::Stray { reason: StrayReason::WrongNamespace } => "stray: wrong namespace".to_owned(),
        PodPlace::Stray { reason: StrayReason::WrongCluster { expected } } => {
            format!("stray: belongs in {}", cluster_name(snapshot, expected))
        }
        PodPlace::Foreign { why } => match why {
            ForeignReason::NoSuchProwJob => "foreign: this Prow has no such ProwJob (or none any more)".to_owned(),
            ForeignReason::OtherName => "foreign: a copy, its name is not its ProwJob's".to_owned(),
            ForeignReason::NoId => "foreign: names no ProwJob".to_owned(),
        },
        PodPlace::Orphaned => "orphaned: its ProwJob is gone, sinker collects it".to_owned(),
        PodPlace::Unknown { why } => format!(
            "unknown: {}",
            match why {
                UnknownPlace::ProwJobsNotSeen => "ProwJobs cannot be seen",
                UnknownPlace::PodNamespaceNotKnown => "pod_namespace is not known",
                UnknownPlace::PodNamespaceDisagrees => "git and the live configuration disagree on pod_namespace",
                UnknownPlace::ClusterLost => "its cluster does not answer",
                UnknownPlace::ClusterUnproven => "nothing ties its cluster to this Prow",
                UnknownPlace::AliasUnknown => "nobody knows where its ProwJob's cluster is",
            }
        ),
    }
}

/// `Open: …` or why not, and what to do.
pub fn gate(gate: &GateState) -> String {
    match gate {
        GateState::Open(facts) => format!(
            "may be deleted: the newest is older than prow-controller-manager's readiness, and {} good pods came since",
            facts.good_pods
        ),
        GateState::Closed { why, next, .. } => format!("not to be deleted yet: {why}. NEXT {next}"),
    }
}

/// `kind: Strays`.
pub fn strays_document(snapshot: &Snapshot, diagnosis: &Diagnosis) -> Value {
    let strays = &diagnosis.strays;
    let pods: Vec<Value> = strays.pods.iter().map(|judged| pod(snapshot, judged)).collect();
    let bystanders: Vec<Value> = strays
        .bystanders
        .iter()
        .map(|pod| {
            json!({
                "cluster": snapshot.prow_alias(&pod.cluster).unwrap_or(&pod.cluster),
                "context": snapshot.view(&pod.cluster).map(|view| &view.context),
                "namespace": pod.namespace, "name": pod.name, "state": pod.state, "labelled": pod.labelled,
            })
        })
        .collect();
    let clusters: Vec<Value> = snapshot
        .views()
        .map(|view| {
            json!({
                "cluster": view.alias, "context": view.context, "server": view.server,
                "prowAlias": snapshot.prow_alias(&view.alias), "standing": standing(view.standing),
                "state": view.job_pods.state(),
            })
        })
        .collect();
    let mut document = summary(snapshot, strays);
    document["apiVersion"] = json!(API_VERSION);
    document["kind"] = json!("Strays");
    document["podNamespace"] = json!(strays.pod_namespace);
    document["notSeen"] = json!(strays.not_seen);
    document["clusters"] = json!(clusters);
    document["gate"] = gate_document(&diagnosis.gate);
    document["pods"] = json!(pods);
    document["bystanders"] = json!(bystanders);
    document
}

/// `strays` of `kind: Status`.
pub fn summary(snapshot: &Snapshot, strays: &Strays) -> Value {
    let group = |group: &StrayGroup| {
        json!({
            "cluster": snapshot.prow_alias(&group.cluster).unwrap_or(&group.cluster),
            "context": snapshot.view(&group.cluster).map(|view| &view.context),
            "namespace": group.namespace, "reason": group.reason.name(), "count": group.count,
            "unfinishedProwJobs": group.unfinished, "waiting": group.waiting, "cannotStart": group.cannot_start,
            "running": group.running,
            "oldest": group.oldest, "newest": group.newest, "heldBy": group.held_by,
        })
    };
    json!({
        "total": strays.is_judged().then(|| strays.total()), "complete": strays.is_complete(),
        "groups": strays.groups.iter().map(group).collect::<Vec<_>>(),
        "foreign": strays.foreign().count() + strays.bystanders.iter().filter(|pod| pod.labelled).count(), "unknown": strays.unknown().count(),
    })
}

fn gate_document(gate: &GateState) -> Value {
    let facts = gate.facts();
    let (why, next) = match gate {
        GateState::Open(_) => (None, None),
        GateState::Closed { why, next, .. } => (Some(why), Some(next)),
    };
    json!({
        "open": gate.is_open(), "why": why, "next": next, "readyAt": facts.ready_at, "tag": facts.tag,
        "newestStray": facts.newest_stray, "goodPods": facts.good_pods, "wanted": facts.wanted,
    })
}

fn standing(standing: ClusterStanding) -> &'static str {
    match standing {
        ClusterStanding::Service => "service",
        ClusterStanding::Build => "build",
        ClusterStanding::Unproven => "unproven",
    }
}

fn place_name(place: &PodPlace) -> &'static str {
    match place {
        PodPlace::Expected => "expected",
        PodPlace::Stray { .. } => "stray",
        PodPlace::Foreign { .. } => "foreign",
        PodPlace::Orphaned => "orphaned",
        PodPlace::Unknown { .. } => "unknown",
    }
}

fn pod(snapshot: &Snapshot, judged: &JudgedPod) -> Value {
    let pod = &judged.pod;
    json!({
        "cluster": snapshot.prow_alias(&pod.object.cluster).unwrap_or(&pod.object.cluster),
        "context": snapshot.view(&pod.object.cluster).map(|view| &view.context),
        "namespace": pod.object.namespace, "name": pod.object.name, "uid": pod.object.uid,
        "place": place_name(&judged.place), "reason": place(snapshot, &judged.place),
        "job": pod.job, "prowJob": judged.job.as_ref().map(|job| &job.name),
        "prowJobState": judged.job.as_ref().map(|job| &job.state), "prowJobGone": judged.job_gone,
        "state": pod.state, "node": pod.node, "created": pod.created, "deleting": pod.deleting,
        "finalizers": pod.finalizers, "trouble": judged.trouble,
    })
}

/// The text of `strays`.
pub fn strays_text(snapshot: &Snapshot, diagnosis: &Diagnosis) -> String {
    let strays = &diagnosis.strays;
    let now = snapshot.taken_at;
    let mut text = String::new();
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    let expected = strays.pod_namespace.as_deref().unwrap_or("not known");
    line(match (strays.is_judged(), strays.is_complete()) {
        (false, _) => "TOTAL  unknown: see NOT SEEN below".to_owned(),
        (true, false) => format!("TOTAL  at least {} strays; pods of jobs belong in {expected}", strays.total()),
        (true, true) => format!("TOTAL  {} strays; pods of jobs belong in {expected}", strays.total()),
    });
    line(
        "RULE   stray: its ProwJob of the same name is this Prow's, and its namespace or cluster is not the job's"
            .to_owned(),
    );
    if strays.total() > 0 {
        line(format!("GATE   {}", gate(&diagnosis.gate)));
        line(String::new());
        line(format!(
            "{:<36} {:<16} {:<16} {:>5} {:>10} {:>7} {:>11} {:>6} {:>6}",
            "CLUSTER", "NAMESPACE", "REASON", "PODS", "UNFINISHED", "RUNNING", "CANNOTSTART", "OLDEST", "NEWEST"
        ));
        for group in &strays.groups {
            let ago = |at: Option<crate::model::Timestamp>| at.map_or("-".to_owned(), |at| age(at, now));
            line(format!(
                "{:<36} {:<16} {:<16} {:>5} {:>10} {:>7} {:>11} {:>6} {:>6}",
                cluster_name(snapshot, &group.cluster),
                group.namespace,
                group.reason.name(),
                group.count,
                group.unfinished,
                group.running,
                or_unknown(group.cannot_start),
                ago(group.oldest),
                ago(group.newest),
            ));
            if !group.held_by.is_empty() {
                line(format!("  some are being deleted and held by {}", group.held_by.join(", ")));
            }
        }
    }
    for finding in diagnosis.findings.iter().filter(|finding| is_about_strays(finding.kind.name())) {
        line(format!(
            "{:<5} {:<5} {}",
            super::severity(finding.severity),
            super::basis(finding.basis),
            super::finding(finding)
        ));
    }
    for (title, chosen) in [
        ("STRAYS", strays.strays().collect::<Vec<_>>()),
        ("FOREIGN, in no plan", strays.foreign().collect()),
        ("NOT JUDGED, in no plan", strays.unknown().collect()),
    ] {
        if chosen.is_empty() {
            continue;
        }
        line(String::new());
        line(format!("{title} ({})", chosen.len()));
        for judged in chosen.iter().take(SHOWN) {
            let pod = &judged.pod;
            let job = judged.job.as_ref().map_or("-".to_owned(), |job| format!("{} {}", job.state, pod.job));
            let made = pod.created.map_or("-".to_owned(), clock_seconds);
            let why = match &judged.place {
                PodPlace::Stray { .. } => judged.trouble.clone().unwrap_or_default(),
                PodPlace::Expected | PodPlace::Foreign { .. } | PodPlace::Orphaned | PodPlace::Unknown { .. } => {
                    place(snapshot, &judged.place)
                }
            };
            line(format!(
                "  {} {}/{} {} {made} {job} {why}",
                cluster_name(snapshot, &pod.object.cluster),
                pod.object.namespace,
                pod.object.name,
                pod.state
            ));
        }
        if chosen.len() > SHOWN {
            line(format!("  … {} more; all with -o json", chosen.len() - SHOWN));
        }
    }
    if !strays.bystanders.is_empty() {
        line(String::new());
        line(format!("BESIDE the pods of this Prow, in no plan ({})", strays.bystanders.len()));
        for pod in strays.bystanders.iter().take(SHOWN) {
            let why = if pod.labelled { "Prow's label, and no ProwJob of that name" } else { "without Prow's label" };
            line(format!(
                "  {} {}/{} {} {why}",
                cluster_name(snapshot, &pod.cluster),
                pod.namespace,
                pod.name,
                pod.state
            ));
        }
        if strays.bystanders.len() > SHOWN {
            line(format!("  … {} more; all with -o json", strays.bystanders.len() - SHOWN));
        }
    }
    for what in &strays.not_seen {
        line(format!("NOT SEEN  {what}"));
    }
    for view in snapshot.views().filter(|view| view.standing == ClusterStanding::Unproven) {
        line(format!(
            "context {}: nothing there ties it to this Prow ({}); it is in no plan",
            view.context,
            view.job_pods.state()
        ));
    }
    text
}

/// The findings that the command for strays repeats.
fn is_about_strays(kind: &str) -> bool {
    [
        "strays-cannot-start",
        "strays-still-appearing",
        "wrong-cluster-pods",
        "pods-held-by-finalizer",
        "prowjobs-stuck",
        "deploy-job-stuck",
        "pod-namespace-disagrees",
    ]
    .contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::diagnose;
    use crate::diagnose::testing::{at, incident, snapshot as seen};
    use crate::model::Source;

    #[test]
    fn the_verdict_tells_where_how_many_and_what_began() {
        let words = crate::present::verdict(&diagnose(&incident()), at(90));
        for said in [
            "BROKEN since 16:49Z",
            "40 pods of jobs outside test-pods: prow-build/default 36, prow-services/default 4",
            "Began two minutes after the rollout to v20190205-8c1cd80",
        ] {
            assert!(words.contains(said), "{words}");
        }
    }

    #[test]
    fn the_next_step_says_what_to_stop_before_it() {
        let mut snapshot = incident();
        if let Source::Known { value, .. } = &mut snapshot.prowjobs {
            let deploy = crate::model::ProwJob { job: "post-test-infra-deploy-prow".to_owned(), ..(*value[0]).clone() };
            value[0] = std::sync::Arc::new(deploy);
        }
        let diagnosis = diagnose(&snapshot);
        let words = crate::present::next(&diagnosis);
        let short = "NEXT  plan rollback, but first abort post-test-infra-deploy-prow (pending) in Deck";
        assert!(words.starts_with(short), "{words}");
        let how = "to stop it: abort it in Deck, or: kubectl --context prow-services -n default patch prowjob id-0";
        let text = crate::present::automation_text(&snapshot, &diagnosis);
        assert!(text.contains(how), "{text}");
        assert!(crate::present::status_text(&snapshot, &diagnosis).contains("patch prowjob id-0"));
    }

    #[test]
    fn where_only_running_strays_are_left_it_says_how_to_take_them() {
        use crate::diagnose::testing::{build, count, roll_back, view_mut};
        let mut snapshot = incident();
        roll_back(&mut snapshot, 89, 89);
        count(&mut snapshot, &build(), &[("id-0", Some(90)), ("id-1", Some(90)), ("id-2", Some(90))]);
        for cluster in [build(), Alias::service()] {
            if let Source::Known { value, .. } = &mut view_mut(&mut snapshot, &cluster).job_pods {
                value.truncate(2);
                for pod in value {
                    std::sync::Arc::make_mut(pod).phase = "Running".to_owned();
                }
            }
        }
        let words = crate::present::next(&diagnose(&snapshot));
        let said = "NEXT  4 stray(s) still run: wait for them, or 3 then i (plan delete-strays --include-running)";
        assert!(words.starts_with(said), "{words}");
    }

    #[test]
    fn the_words_name_contexts_and_never_call_the_unknown_zero() {
        let snapshot = incident();
        let diagnosis = diagnose(&snapshot);
        let text = strays_text(&snapshot, &diagnosis);
        assert!(text.starts_with("TOTAL  40 strays; pods of jobs belong in test-pods\n"), "{text}");
        assert!(text.contains("prow-build (default)") && text.contains("prow-services (trusted)"), "{text}");
        let document = strays_document(&snapshot, &diagnosis);
        assert_eq!(document["total"], 40);
        assert_eq!(document["groups"][0]["cluster"], "default", "as ProwJobs name it");
        assert_eq!(document["groups"][0]["context"], "prow-build");
        assert_eq!(document["groups"][0]["unfinishedProwJobs"], 36);

        let mut blind = incident();
        blind.prowjobs = Source::Denied { verb: "list prowjobs in namespace default".to_owned() };
        let diagnosis = diagnose(&blind);
        assert!(strays_text(&blind, &diagnosis).starts_with("TOTAL  unknown"));
        assert!(strays_document(&blind, &diagnosis)["total"].is_null());
    }

    #[test]
    fn healthy_says_what_it_could_not_see_of_jobs() {
        let words = |snapshot: &Snapshot| crate::present::verdict(&diagnose(snapshot), at(90));
        assert!(words(&seen()).starts_with("HEALTHY"), "{}", words(&seen()));
        assert!(!words(&seen()).contains("pods of jobs"));
        let mut blind = seen();
        blind.prowjobs = Source::Denied { verb: "list prowjobs".to_owned() };
        assert!(words(&blind).contains("where all pods of jobs are could not be seen"), "{}", words(&blind));
    }
}
