//! `delete-strays`: deletes the pods of this Prow's jobs that are in the wrong place, an exact list over all clusters, each by
//! its uid. Not before the cause is gone: the prow-controller-manager that made them would make them again, or end their jobs.
//!
//! Nothing is deleted on absence: a pod whose ProwJob was not seen is not ours, and a cluster that was not seen is left out.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnose::{
    Diagnosis, GateFacts, GateState, JudgedPod, MAKER, PodPlace, StrayReason, Strays, UnknownPlace, finalizer_owner,
    git_pod_namespace,
};
use crate::model::{
    Alias, AliasPlace, AliasProof, ClusterIdentity, FailureKind, Kind, ObjectRef, SeenPod, Snapshot, Source, Write,
};

use super::{
    Confirmation, GateWas, OverrideId, Plan, PlanBasis, Refusal, RepairId, Request, Step, StrayProof, Undo, Verify,
    identity, required,
};

/// Grace periods and kubelets need a while.
const GONE_WITHIN_SECONDS: u32 = 120;
/// Above so many deletes, or above half of all labelled pods, the cluster is typed too.
const MANY: usize = 1000;

pub(super) fn plan(request: &Request, snapshot: &Snapshot, diagnosis: &Diagnosis) -> Result<Plan, Refusal> {
    let service = identity(snapshot)?;
    // Without these nobody knows whose a pod is, or where it belongs.
    required(&snapshot.prowjobs, "the list of ProwJobs")?;
    let strays = &diagnosis.strays;
    let Some(pod_namespace) = strays.pod_namespace.as_deref() else {
        return Err(Refusal::new(
            format!("where pods belong is not known: {}", strays.not_seen.join("; ")),
            "regain sight of the live configuration, or bring it and git into agreement: prow-breakglass config diff",
        ));
    };
    let mut warnings = Vec::new();
    check_gate(request, diagnosis, &mut warnings)?;

    let mut refusals = Vec::new();
    let clusters = clusters(snapshot, service, &mut refusals);
    let asked = asked_for(request, snapshot)?;
    let mut chosen: Vec<&JudgedPod> = Vec::new();
    let mut running: BTreeMap<(&Alias, &str), usize> = BTreeMap::new();
    let mut unsaid: BTreeMap<(Alias, &Alias), usize> = BTreeMap::new();
    for judged in strays.strays() {
        let pod = &judged.pod;
        let (alias, namespace) = (&pod.object.cluster, pod.object.namespace.as_str());
        let wanted = asked.is_empty() || asked.contains(alias);
        if !wanted || !clusters.iter().any(|cluster| cluster.alias == *alias) || pod.deleting {
            continue;
        }
        if let Some(jobs_alias) = unsaid_alias(snapshot, judged) {
            *unsaid.entry((jobs_alias, alias)).or_default() += 1;
            continue;
        }
        if pod.may_run() && !request.include_running {
            *running.entry((alias, namespace)).or_default() += 1;
            continue;
        }
        chosen.push(judged);
    }
    for ((alias, namespace), count) in running {
        refusals.push(Refusal::new(
            format!("{count} stray(s) in {}/{namespace} run, and may do useful work", snapshot.context_of(alias)),
            "wait for them; --include-running deletes them as well",
        ));
    }
    for ((jobs_alias, cluster), count) in unsaid {
        refusals.push(Refusal::new(
            format!(
                "{count} pod(s) in {} belong elsewhere only if {jobs_alias} leads elsewhere, which pods say and no person",
                snapshot.context_of(cluster)
            ),
            format!("say where it leads: --build-context {jobs_alias}=CONTEXT"),
        ));
    }
    refusals.extend(not_touched(snapshot, strays));
    if chosen.is_empty() {
        return Err(refusals.into_iter().next().unwrap_or_else(|| {
            Refusal::new(
                format!("no stray is left: every pod of this Prow's jobs that can be seen is in {pod_namespace}"),
                "look at `prow-breakglass status`",
            )
        }));
    }
    warnings.extend(held(&chosen));
    warnings.extend(of_automation(&chosen, diagnosis));
    if git_pod_namespace(snapshot).is_none() {
        warnings.push(format!(
            "only the live configuration says that pods belong into {pod_namespace}: no repository speaks for it or against it"
        ));
    }
    if !diagnosis.gate.is_open() {
        warnings.extend(prediction(&chosen, diagnosis.gate.facts()));
    }
    let count = chosen.len();
    let prowjobs: BTreeSet<String> = chosen
        .iter()
        .filter(|judged| judged.has_unfinished_job())
        .filter_map(|judged| Some(judged.job.as_ref()?.name.clone()))
        .collect();
    let used: BTreeSet<&Alias> = chosen.iter().map(|judged| &judged.pod.object.cluster).collect();
    let subtotals: Vec<String> = places(snapshot, &chosen);
    Ok(Plan {
        id: String::new(),
        repair: RepairId::DeleteStrays,
        title: format!("delete {count} stray pod(s): {}", subtotals.join(", ")),
        confirmation: confirmation(snapshot, &chosen),
        steps: chosen.iter().enumerate().map(|(at, judged)| step(at + 1, judged, pod_namespace)).collect(),
        // The service cluster always: that it is the right Prow is proven there.
        clusters: clusters
            .into_iter()
            .filter(|cluster| cluster.alias == snapshot.service.alias || used.contains(&cluster.alias))
            .collect(),
        basis: PlanBasis {
            taken_at: snapshot.taken_at,
            reason: Some(why_now(&diagnosis.gate)),
            overrides: request.overrides.clone(),
            proof: Some(StrayProof {
                gate: if diagnosis.gate.is_open() { GateWas::Open } else { GateWas::Overridden },
                pod_namespace: pod_namespace.to_owned(),
                maker_ready_at: diagnosis.gate.facts().ready_at,
                newest_stray: strays.newest(),
            }),
            ..PlanBasis::default()
        },
        refusals,
        warnings,
        verify: Verify::NoStrays {
            prowjobs: prowjobs.into_iter().collect(),
            newest: strays.newest(),
            within_seconds: GONE_WITHIN_SECONDS,
        },
        afterwards: vec![
            "ProwJobs that ended in error meanwhile are not run again: presubmits need /retest, postsubmits are lost"
                .to_owned(),
        ],
        digest: String::new(),
    }
    .sealed())
}

/// The alias of the job of a pod that is in the wrong cluster by what other pods prove, and by no person's word: in an
/// outage of that kind it is the good pods that are few, and the strays would prove the wrong cluster to be the right one.
fn unsaid_alias(snapshot: &Snapshot, judged: &JudgedPod) -> Option<Alias> {
    match &judged.place {
        PodPlace::Stray { reason: StrayReason::WrongCluster { .. } } => {}
        PodPlace::Stray { reason: StrayReason::WrongNamespace }
        | PodPlace::Expected
        | PodPlace::Foreign { .. }
        | PodPlace::Orphaned
        | PodPlace::Unknown { .. } => return None,
    }
    let alias = judged.job.as_ref()?.alias();
    match snapshot.aliases.get(&alias) {
        Some(AliasPlace::At { proof: AliasProof::Given, .. }) => None,
        Some(AliasPlace::At { proof: AliasProof::Pods { .. }, .. } | AliasPlace::Ambiguous { .. }) | None => {
            Some(alias)
        }
    }
}

fn why_now(gate: &GateState) -> String {
    match gate {
        GateState::Open(facts) => format!(
            "FACT: {} good pod(s) since {MAKER} {} is ready, no stray made since",
            facts.good_pods,
            facts.tag.as_deref().unwrap_or("")
        ),
        GateState::Closed { why, .. } => format!("GUESS: overridden although {why}"),
    }
}

/// The gate: rolling back comes first.
fn check_gate(request: &Request, diagnosis: &Diagnosis, warnings: &mut Vec<String>) -> Result<(), Refusal> {
    let GateState::Closed { why, next, .. } = &diagnosis.gate else { return Ok(()) };
    if diagnosis.strays.total() == 0 {
        return Ok(());
    }
    let hint = if next.contains("--override gate") {
        next.clone()
    } else {
        format!("{next}; if you know better: --override gate --reason TEXT (the plan then says what will happen)")
    };
    request.allowed(OverrideId::Gate, &format!("({why})"), Refusal::new(why.clone(), hint), warnings)
}

/// The gate once more, right before the first delete. Open now, or shut only because part of the work is done: the same
/// prow-controller-manager since, and no stray since.
pub(super) fn still_allowed(plan: &Plan, now: Option<&Diagnosis>) -> Result<(), Refusal> {
    let again = "make the plan anew: prow-breakglass plan delete-strays";
    let Some(proof) = &plan.basis.proof else {
        return Err(Refusal::new("the plan does not say what allowed it", again));
    };
    let Some(now) = now else {
        return Err(Refusal::new("whether strays may still be deleted was not looked at", again));
    };
    match &now.strays.pod_namespace {
        None => {
            return Err(Refusal::new(
                format!("where pods belong is not known now: {}", now.strays.not_seen.join("; ")),
                "regain sight of the live configuration and of ProwJobs first",
            ));
        }
        Some(namespace) if *namespace != proof.pod_namespace => {
            return Err(Refusal::new(
                format!("pods belong into {namespace} now; by the plan it was {}", proof.pod_namespace),
                again,
            ));
        }
        Some(_) => {}
    }
    let GateState::Closed { facts, why, next } = &now.gate else { return Ok(()) };
    let as_it_was =
        facts.ready_at.is_some() && facts.ready_at == proof.maker_ready_at && facts.newest_stray <= proof.newest_stray;
    match proof.gate {
        GateWas::Overridden => Ok(()),
        GateWas::Open if as_it_was => Ok(()),
        GateWas::Open => Err(Refusal::new(
            format!("the gate was open when the plan was made and is closed now: {why}"),
            format!("{next}; then make the plan anew"),
        )),
    }
}

/// What deleting does while the cause is there, as Prow's controller behaves.
fn prediction(chosen: &[&JudgedPod], facts: &GateFacts) -> Vec<String> {
    let unfinished: Vec<&&JudgedPod> = chosen.iter().filter(|judged| judged.has_unfinished_job()).collect();
    // Who is on a node goes when the kubelet has let go of it; a controller that sees it go takes it for lost.
    let lingers = |judged: &JudgedPod| judged.pod.node.is_some() || !judged.pod.finalizers.is_empty();
    let lingering = unfinished.iter().filter(|judged| lingers(judged)).count();
    let at_once = unfinished.len() - lingering;
    let tag = facts.tag.as_deref().unwrap_or("as it is now");
    let mut lines = Vec::new();
    let is_quiet = facts.newest_stray <= facts.ready_at;
    let place = match (facts.is_cause_gone() || facts.runs_again() && is_quiet, facts.same_tag) {
        (false, _) => "in the same wrong place",
        // It was only restarted.
        (true, true) => "in the same wrong place, unless the restart mended it",
        (true, false) => "where they belong, if it is repaired",
    };
    if at_once > 0 {
        lines.push(format!(
            "PREDICTION: {at_once} wait for a node and are gone at once; their ProwJobs go on: {MAKER} {tag} makes new ones, \
             {place}, or ends them as error where it sees the old ones go"
        ));
    }
    if lingering > 0 {
        lines.push(format!(
            "PREDICTION: {lingering} are on a node or carry a finalizer and linger while they go: {MAKER} {tag} ends their \
             ProwJobs as error (\"Pod got deleted unexpectedly\"), and nobody runs these again; where it comes too late to \
             see them go, it makes new ones, {place}"
        ));
    }
    lines
}

/// The clusters that can be planned on; what is not seen of one is said.
fn clusters(snapshot: &Snapshot, service: ClusterIdentity, refusals: &mut Vec<Refusal>) -> Vec<ClusterIdentity> {
    let mut known = vec![service];
    for view in snapshot.views().filter(|view| view.is_plannable()) {
        let object = ObjectRef::new(&view.alias, "", Kind::Cluster, &view.context);
        let why = match (&view.job_pods, &view.identity) {
            (Source::Known { .. }, Source::Known { value, .. }) => {
                if view.alias != snapshot.service.alias {
                    known.push(value.clone());
                }
                continue;
            }
            (Source::Known { .. }, _) => "its identity is not known now".to_owned(),
            (Source::Loading, _) => "its pods are not read yet".to_owned(),
            (Source::Denied { verb }, _) => format!("the API server forbids {verb}"),
            (Source::Lost { error, .. }, _) => format!("no answer now: {}", error.summary),
        };
        refusals.push(
            Refusal::new(
                format!("strays of {} are left out: {why}", view.context),
                "regain sight of it, then plan again: what is done is done, and only the rest is left",
            )
            .of(&object),
        );
    }
    known
}

/// The clusters that were asked for, by their keys; empty for all.
fn asked_for<'a>(request: &Request, snapshot: &'a Snapshot) -> Result<BTreeSet<&'a Alias>, Refusal> {
    let mut asked = BTreeSet::new();
    for name in &request.clusters {
        let Some(key) = snapshot.cluster_named(name) else {
            let all: Vec<&str> = snapshot.views().map(|view| view.context.as_str()).collect();
            return Err(Refusal::new(format!("no cluster {name} is known"), format!("there are {}", all.join(", ")))
                .because(FailureKind::Usage));
        };
        asked.insert(key);
    }
    Ok(asked)
}

/// Labelled pods that are in no plan, and why.
fn not_touched(snapshot: &Snapshot, strays: &Strays) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut going: BTreeMap<String, usize> = BTreeMap::new();
    for judged in strays.strays().filter(|judged| judged.pod.deleting) {
        let holders: Vec<String> = judged
            .pod
            .finalizers
            .iter()
            .map(|name| match finalizer_owner(name) {
                Some(owner) => format!("{name}, which {owner} removes"),
                None => name.clone(),
            })
            .collect();
        *going.entry(holders.join("; ")).or_default() += 1;
    }
    for (holders, count) in going {
        let held = if holders.is_empty() { String::new() } else { format!(", held by the finalizer {holders}") };
        refusals.push(Refusal::new(
            format!("{count} stray(s) are being deleted already{held}"),
            "deleting them again changes nothing",
        ));
    }
    let foreign = strays.foreign().count() + strays.bystanders.iter().filter(|pod| pod.labelled).count();
    if foreign > 0 {
        refusals.push(Refusal::new(
            format!("{foreign} pod(s) carry Prow's label and are not this Prow's"),
            "they are never planned: another Prow, a copy for debugging or a helper may own them",
        ));
    }
    let mut unknown: BTreeMap<(&Alias, UnknownPlace), usize> = BTreeMap::new();
    for judged in strays.unknown() {
        if let PodPlace::Unknown { why } = &judged.place {
            *unknown.entry((&judged.pod.object.cluster, *why)).or_default() += 1;
        }
    }
    for ((alias, why), count) in unknown {
        let context = snapshot.context_of(alias);
        let (why, hint) = match why {
            UnknownPlace::ProwJobsNotSeen => ("ProwJobs are not seen", "regain sight of them"),
            UnknownPlace::PodNamespaceNotKnown => {
                ("where pods belong is not known", "regain sight of the configuration")
            }
            UnknownPlace::PodNamespaceDisagrees => {
                ("git and the live configuration disagree on where pods belong", "prow-breakglass config diff")
            }
            UnknownPlace::ClusterLost => ("the cluster does not answer now", "regain sight of it"),
            UnknownPlace::ClusterUnproven => {
                ("nothing ties the cluster to this Prow", "if it is a build cluster: --build-context ALIAS=CONTEXT")
            }
            UnknownPlace::AliasUnknown => {
                ("nobody knows where their ProwJobs' cluster is", "say it: --build-context ALIAS=CONTEXT")
            }
        };
        refusals.push(Refusal::new(format!("{count} pod(s) of {context} could not be judged: {why}"), hint));
    }
    refusals
}

/// A stray whose job would undo the repair: deleting its pod does not stop the job.
fn of_automation(chosen: &[&JudgedPod], diagnosis: &Diagnosis) -> Vec<String> {
    let actor = |judged: &&&JudgedPod| {
        let job = judged.job.as_ref().filter(|_| judged.has_unfinished_job())?;
        diagnosis
            .automation
            .iter()
            .find(|actor| actor.kind.reverts_images() && actor.under_way.is_some() && actor.name == job.job)
    };
    chosen
        .iter()
        .filter_map(|judged| Some((judged, actor(&judged)?)))
        .map(|(judged, actor)| {
            format!(
                "{} is of {}, which goes on and would undo the repair: deleting its pod does not stop it, and another may \
                 be made for it; abort it in Deck, or as `automation` says",
                judged.pod.object.name, actor.name
            )
        })
        .collect()
}

fn held(chosen: &[&JudgedPod]) -> Vec<String> {
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for finalizer in chosen.iter().flat_map(|judged| &judged.pod.finalizers) {
        *finalizers.entry(finalizer).or_default() += 1;
    }
    finalizers
        .into_iter()
        .map(|(finalizer, count)| {
            let owner = finalizer_owner(finalizer)
                .map_or(", nobody knows who removes it".to_owned(), |owner| format!(", which {owner} removes"));
            format!("{count} of them carry the finalizer {finalizer}{owner}: they may hang in Terminating")
        })
        .collect()
}

/// `prow-build/default 371`, most first.
fn places(snapshot: &Snapshot, chosen: &[&JudgedPod]) -> Vec<String> {
    let mut counts: BTreeMap<(&Alias, &str), usize> = BTreeMap::new();
    for judged in chosen {
        *counts.entry((&judged.pod.object.cluster, &judged.pod.object.namespace)).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
        .into_iter()
        .map(|((alias, namespace), count)| format!("{}/{namespace} {count}", snapshot.context_of(alias)))
        .collect()
}

fn confirmation(snapshot: &Snapshot, chosen: &[&JudgedPod]) -> Confirmation {
    let outside = snapshot.views().filter_map(|view| view.job_pods.known()).map(Vec::len).sum::<usize>();
    let inside = snapshot.views().filter_map(|view| view.census.known()).map(|census| census.pods.len()).sum::<usize>();
    let count = chosen.len();
    if count <= MANY && 2 * count <= outside + inside {
        return Confirmation::Count(count);
    }
    let mut by_cluster: BTreeMap<&Alias, usize> = BTreeMap::new();
    for judged in chosen {
        *by_cluster.entry(&judged.pod.object.cluster).or_default() += 1;
    }
    match by_cluster.into_iter().max_by_key(|(_, count)| *count) {
        Some((key, _)) => Confirmation::CountIn { count, alias: snapshot.prow_alias(key).unwrap_or(key).to_string() },
        None => Confirmation::Count(count),
    }
}

fn step(n: usize, judged: &JudgedPod, pod_namespace: &str) -> Step {
    let pod = &judged.pod;
    let state = match (&judged.job, judged.job_gone) {
        (Some(_), true) => "gone".to_owned(),
        (Some(job), false) => job.state.clone(),
        (None, _) => "unknown".to_owned(),
    };
    let trouble = judged.trouble.as_ref().map_or(String::new(), |trouble| format!("; {trouble}"));
    Step {
        n,
        write: Write::DeletePod {
            object: pod.object.clone(),
            uid: pod.uid().to_owned(),
            seen: Some(SeenPod { resource_version: pod.resource_version.clone(), running: pod.may_run() }),
        },
        why: format!("belongs into {pod_namespace}{trouble}"),
        undo: Undo::None,
        effect: format!("{} of {}, its ProwJob is {state}", pod.state, pod.job),
    }
}
