//! `stray-pods`, `strays-cannot-start`, `strays-still-appearing`, `wrong-cluster-pods`, `foreign-pods`,
//! `pods-held-by-finalizer` and `pod-namespace-disagrees`: what the pods of jobs tell.

use std::collections::BTreeMap;

use crate::model::{Alias, AliasPlace, Kind, ObjectRef, Snapshot};
use crate::repair::RepairId;

use super::gate::MAKER;
use super::strays::{git_pod_namespace, troubles};
use super::{
    Basis, Context, Finding, FindingKind, GateState, JudgedPod, PodPlace, Severity, StrayPlace, StrayReason, id,
};

/// A stray this young says that they still appear.
const YOUNG_SECONDS: i64 = 300;
/// crier's finalizer: it goes when the result is reported.
const CRIER_FINALIZER: &str = "prow.x-k8s.io/gcsk8sreporter";

/// Who removes a finalizer of a job's pod, where that is known.
pub fn finalizer_owner(finalizer: &str) -> Option<&'static str> {
    (finalizer == CRIER_FINALIZER).then_some("crier")
}

/// Names of pods that evidence quotes.
const EXAMPLES: usize = 3;

fn namespaces<'a>(pods: impl Iterator<Item = &'a JudgedPod>) -> Vec<ObjectRef> {
    let mut places: Vec<ObjectRef> = pods
        .map(|judged| &judged.pod.object)
        .map(|object| ObjectRef::new(&object.cluster, "", Kind::Namespace, &object.namespace))
        .collect();
    places.sort();
    places.dedup();
    places
}

fn places<'a>(snapshot: &Snapshot, pods: impl Iterator<Item = &'a JudgedPod>) -> Vec<StrayPlace> {
    let mut counts: BTreeMap<(&Alias, &str), usize> = BTreeMap::new();
    for judged in pods {
        *counts.entry((&judged.pod.object.cluster, &judged.pod.object.namespace)).or_default() += 1;
    }
    let mut places: Vec<StrayPlace> = counts
        .into_iter()
        .map(|((cluster, namespace), count)| StrayPlace {
            context: snapshot.context_of(cluster).to_owned(),
            namespace: namespace.to_owned(),
            count,
        })
        .collect();
    places.sort_by_key(|place| std::cmp::Reverse(place.count));
    places
}

/// While the cause is at work, rolling back comes first; deleting comes when the gate opens.
fn repairs(gate: &GateState) -> Vec<RepairId> {
    if gate.is_open() {
        vec![RepairId::DeleteStrays]
    } else if gate.facts().is_cause_gone() {
        Vec::new()
    } else {
        vec![RepairId::Rollback]
    }
}

/// Bad until good pods come again; what is left then is to be cleaned up.
fn severity(gate: &GateState) -> Severity {
    if gate.is_open() { Severity::Warn } else { Severity::Bad }
}

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let (snapshot, strays) = (context.snapshot, &context.strays);
    let Some(pod_namespace) = strays.pod_namespace.as_ref().filter(|_| strays.total() > 0) else {
        return Vec::new();
    };
    let kind = FindingKind::StrayPods {
        total: strays.total(),
        places: places(snapshot, strays.strays()),
        pod_namespace: pod_namespace.clone(),
        is_all: strays.is_complete(),
    };
    let mut evidence: Vec<String> = strays
        .groups
        .iter()
        .map(|group| {
            let newest = group.newest.map_or(String::new(), |at| format!(", newest made {at}"));
            format!(
                "{}/{} ({}): {} pods, {} of unfinished ProwJobs, {} running, {}{newest}",
                snapshot.context_of(&group.cluster),
                group.namespace,
                group.reason.name(),
                group.count,
                group.unfinished,
                group.running,
                match group.cannot_start {
                    Some(count) => format!("{count} cannot start"),
                    None => format!("{} wait and their events are not seen", group.waiting),
                },
            )
        })
        .collect();
    let examples: Vec<&str> = strays.strays().take(EXAMPLES).map(|judged| judged.pod.object.name.as_str()).collect();
    evidence.push(format!("their ProwJobs exist by the same names, such as {}", examples.join(", ")));
    if let GateState::Closed { why, next, .. } = &context.gate {
        evidence.push(format!("not to be deleted yet: {why}; {next}"));
    }
    evidence.extend(written_since(context));
    evidence.extend(strays.not_seen.iter().map(|what| format!("not seen, so the count may be short: {what}")));
    let mut subjects: Vec<ObjectRef> = context
        .components()
        .iter()
        .filter(|component| component.role == MAKER)
        .map(|maker| maker.object.clone())
        .collect();
    subjects.extend(namespaces(strays.strays()));
    vec![Finding {
        id: id(&kind, "all"),
        severity: severity(&context.gate),
        basis: Basis::Fact,
        kind,
        subjects,
        since: strays.since(),
        evidence,
        repairs: repairs(&context.gate),
    }]
}

/// Who changes `pod_namespace` makes strays of all that was there before: then they were right when they were made.
fn written_since(context: &Context<'_>) -> Option<String> {
    let snapshot = context.snapshot;
    let from = &snapshot.prow.known()?.from;
    let writer = snapshot.service.config_maps.seen()?.get(from)?.last_writer()?;
    let (at, newest) = (writer.at?, context.strays.newest()?);
    (at > newest).then(|| {
        format!(
            "GUESS: ConfigMap {from} was written {at} by {}, after the newest of them was made: if that changed pod_namespace, \
             they were where they belonged",
            writer.manager
        )
    })
}

/// One finding a cause, commonest first.
pub(super) fn find_cannot_start(context: &Context<'_>) -> Vec<Finding> {
    let (snapshot, strays) = (context.snapshot, &context.strays);
    let said: BTreeMap<&Alias, _> = snapshot
        .views()
        .map(|view| (&view.alias, troubles(view.pod_events.seen().map_or(&[], Vec::as_slice))))
        .collect();
    let mut causes: BTreeMap<(String, String), Vec<&JudgedPod>> = BTreeMap::new();
    for judged in strays.strays().filter(|judged| judged.pod.is_waiting()) {
        if let Some(group) = said.get(&judged.pod.object.cluster).and_then(|said| said.get(judged.pod.uid())) {
            // Names of volumes differ from pod to pod; the secret is the cause.
            let message = match group.missing_secret() {
                Some(secret) => format!("secret \"{secret}\" not found"),
                None => group.message.clone(),
            };
            causes.entry((group.reason.clone(), message)).or_default().push(judged);
        }
    }
    let mut findings: Vec<(usize, Finding)> = causes
        .into_iter()
        .map(|((reason, message), pods)| {
            let quoted = pods.first().and_then(|judged| judged.trouble.clone()).unwrap_or_default();
            let secret =
                message.strip_prefix("secret \"").and_then(|rest| rest.strip_suffix("\" not found")).map(str::to_owned);
            // Only of the same cluster: a secret of that name elsewhere would say nothing.
            let known_in = secret.as_ref().and_then(|secret| {
                let namespace = strays.pod_namespace.as_ref()?;
                pods.iter()
                    .filter_map(|judged| snapshot.view(&judged.pod.object.cluster)?.secrets_in_use.seen())
                    .any(|used| used.contains(secret))
                    .then(|| namespace.clone())
            });
            let mut evidence = vec![format!("event: {quoted}")];
            evidence.extend(
                places(snapshot, pods.iter().copied())
                    .into_iter()
                    .map(|place| format!("{}/{}: {} pods", place.context, place.namespace, place.count)),
            );
            if let (Some(secret), Some(namespace)) = (&secret, &known_in) {
                evidence.push(format!("GUESS: pods that run in {namespace} mount a secret {secret}, so it is there"));
            }
            let count = pods.len();
            let kind = FindingKind::StraysCannotStart {
                count,
                reason: reason.clone(),
                message: message.clone(),
                secret,
                known_in,
            };
            let finding = Finding {
                id: id(&kind, &format!("{reason}/{message}")),
                severity: severity(&context.gate),
                basis: Basis::Fact,
                kind,
                subjects: namespaces(pods.iter().copied()),
                since: pods.iter().filter_map(|judged| judged.pod.created).min(),
                evidence,
                repairs: repairs(&context.gate),
            };
            (count, finding)
        })
        .collect();
    findings.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    findings.into_iter().map(|(_, finding)| finding).collect()
}

pub(super) fn find_still_appearing(context: &Context<'_>) -> Vec<Finding> {
    let facts = context.gate.facts();
    let Some(newest) = facts.newest_stray.filter(|_| !facts.is_cause_gone()) else { return Vec::new() };
    let age = context.snapshot.taken_at_server().as_second() - newest.as_second();
    let again = facts.tag.clone().filter(|_| facts.runs_again() && facts.ready_at >= Some(newest));
    if age > YOUNG_SECONDS && again.is_none() {
        return Vec::new();
    }
    let kind = FindingKind::StraysStillAppearing { newest, again };
    let ready = facts.ready_at.map_or("not ready".to_owned(), |at| format!("ready since {at}"));
    let tag = facts.tag.clone().unwrap_or_else(|| "of an unknown version".to_owned());
    vec![Finding {
        id: id(&kind, "all"),
        severity: Severity::Bad,
        basis: Basis::Fact,
        subjects: namespaces(context.strays.strays().filter(|judged| judged.pod.created == Some(newest))),
        since: context.strays.since(),
        evidence: vec![format!("the newest stray was made {newest}"), format!("{MAKER} {tag} is {ready}")],
        repairs: vec![RepairId::Rollback],
        kind,
    }]
}

/// Two numbers side by side settled 2019-02-08.
pub(super) fn find_wrong_cluster(context: &Context<'_>) -> Vec<Finding> {
    let snapshot = context.snapshot;
    let mut findings = Vec::new();
    let mut strays: BTreeMap<(&str, &Alias), Vec<&JudgedPod>> = BTreeMap::new();
    for judged in context.strays.strays() {
        if let (PodPlace::Stray { reason: StrayReason::WrongCluster { expected } }, Some(job)) =
            (&judged.place, &judged.job)
        {
            strays.entry((&job.cluster, expected)).or_default().push(judged);
        }
    }
    for ((alias, expected), pods) in strays {
        let expected = snapshot.context_of(expected).to_owned();
        let found =
            places(snapshot, pods.iter().copied()).into_iter().map(|place| (place.context, place.count)).collect();
        let kind = FindingKind::WrongClusterPods { alias: alias.to_owned(), expected: Some(expected.clone()), found };
        findings.push(Finding {
            id: id(&kind, alias),
            severity: severity(&context.gate),
            basis: Basis::Fact,
            subjects: namespaces(pods.iter().copied()),
            since: pods.iter().filter_map(|judged| judged.pod.created).min(),
            evidence: vec![format!(
                "spec.cluster of their ProwJobs is {alias}, which is context {expected}; they are in the pod namespace of another cluster"
            )],
            repairs: repairs(&context.gate),
            kind,
        });
    }
    for (alias, place) in &snapshot.aliases {
        let AliasPlace::Ambiguous { found } = place else { continue };
        let mut found: Vec<(String, usize)> =
            found.iter().map(|(cluster, count)| (snapshot.context_of(cluster).to_owned(), *count)).collect();
        found.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let kind = FindingKind::WrongClusterPods { alias: alias.0.clone(), expected: None, found };
        findings.push(Finding {
            id: id(&kind, &alias.0),
            severity: Severity::Bad,
            basis: Basis::Guess,
            subjects: vec![ObjectRef::new(&snapshot.service.alias, "", Kind::Cluster, &snapshot.service.context)],
            since: None,
            evidence: vec![
                format!("pods of live ProwJobs with cluster {alias} were found in each of them"),
                "GUESS: one of them is the wrong one; no pod is called a stray for it until somebody says which"
                    .to_owned(),
            ],
            repairs: Vec::new(),
            kind,
        });
    }
    findings
}

pub(super) fn find_foreign(context: &Context<'_>) -> Vec<Finding> {
    let foreign = || context.strays.foreign();
    let beside = || context.strays.bystanders.iter().filter(|pod| pod.labelled);
    let count = foreign().count() + beside().count();
    if count == 0 {
        return Vec::new();
    }
    let mut places = places(context.snapshot, foreign());
    for pod in beside() {
        let (at, namespace) = (context.snapshot.context_of(&pod.cluster), &pod.namespace);
        match places.iter_mut().find(|place| place.context == at && place.namespace == *namespace) {
            Some(place) => place.count += 1,
            None => places.push(StrayPlace { context: at.to_owned(), namespace: namespace.clone(), count: 1 }),
        }
    }
    let kind = FindingKind::ForeignPods { count, places };
    let mut evidence: Vec<String> = foreign()
        .take(EXAMPLES)
        .map(|judged| {
            format!("such as {} (id {})", judged.pod.object, judged.pod.prowjob_id.as_deref().unwrap_or("none"))
        })
        .collect();
    evidence.push(
        "no ProwJob of this Prow has their name: another Prow's, copies, or their ProwJobs were deleted; they are in no plan"
            .to_owned(),
    );
    vec![Finding {
        id: id(&kind, "all"),
        severity: Severity::Info,
        basis: Basis::Fact,
        subjects: namespaces(foreign()),
        since: None,
        evidence,
        repairs: Vec::new(),
        kind,
    }]
}

pub(super) fn find_held(context: &Context<'_>) -> Vec<Finding> {
    let mut held: BTreeMap<&str, Vec<&JudgedPod>> = BTreeMap::new();
    for judged in context.strays.strays().filter(|judged| judged.pod.deleting) {
        for finalizer in &judged.pod.finalizers {
            held.entry(finalizer).or_default().push(judged);
        }
    }
    held.into_iter()
        .map(|(finalizer, pods)| {
            let owner = finalizer_owner(finalizer).map(str::to_owned);
            let kind =
                FindingKind::PodsHeldByFinalizer { finalizer: finalizer.to_owned(), count: pods.len(), owner: owner.clone() };
            let mut evidence: Vec<String> =
                pods.iter().take(EXAMPLES).map(|judged| format!("{} is being deleted", judged.pod.object)).collect();
            if owner.is_some() {
                evidence.push(
                    "crier removes it when it has reported the result; it looks only where pods belong, so it may never come"
                        .to_owned(),
                );
            }
            evidence.push("force-deleting does not help: only removing the finalizer does".to_owned());
            Finding {
                id: id(&kind, finalizer),
                severity: Severity::Warn,
                basis: Basis::Fact,
                subjects: namespaces(pods.iter().copied()),
                since: None,
                evidence,
                repairs: Vec::new(),
                kind,
            }
        })
        .collect()
}

pub(super) fn find_disagreement(context: &Context<'_>) -> Vec<Finding> {
    let snapshot = context.snapshot;
    let (Some(settings), Some(git)) = (snapshot.prow.known(), git_pod_namespace(snapshot)) else { return Vec::new() };
    if settings.pod_namespace == git {
        return Vec::new();
    }
    let kind = FindingKind::PodNamespaceDisagrees { live: settings.pod_namespace.clone(), git };
    let map = &settings.from;
    vec![Finding {
        id: id(&kind, &map.to_string()),
        severity: Severity::Warn,
        basis: Basis::Fact,
        subjects: vec![ObjectRef::new(&snapshot.service.alias, &map.namespace, Kind::ConfigMap, &map.name)],
        since: None,
        evidence: vec![
            format!("live: ConfigMap {map}"),
            "git: head of the configuration repository".to_owned(),
            "while they disagree no pod is called a stray and none is planned for deletion".to_owned(),
        ],
        repairs: vec![RepairId::SyncConfig],
        kind,
    }]
}
