//! `sync-config`: writes the ConfigMaps as a revision of the configuration repository asks for them.
//!
//! One PUT a ConfigMap, over the live object, guarded by its uid and resourceVersion: never delete-then-create, so no
//! moment without the ConfigMap. Keys that git does not know are kept unless pruning was asked for. Labels and annotations stay.

mod checks;

pub(super) use checks::live_after;

use std::collections::BTreeMap;

use crate::diagnose::{Basis, Choice, ConfigMapDrift, Diagnosis, DriftState, FindingKind, KeyChange, choice_candidate};
use crate::model::text::sanitize_line;
use crate::model::{
    ConfigMapBody, ConfigMapState, DesiredConfigMap, ObjectRef, ObjectVersion, Snapshot, Values, Write, content_digest,
};

use checks::MAX_BYTES;

use super::{
    Confirmation, OverrideId, Plan, PlanBasis, Refusal, RepairId, Request, Step, Undo, Verify, identity, required,
    what_was_lost,
};

/// Keys that a prune may remove without a further word, in percent.
const MAX_PRUNE_PERCENT: usize = 20;
/// A crash-looping container waits at most five minutes before its next start; then it needs a moment to be Ready.
const READY_WITHIN_SECONDS: u32 = 330;

pub(super) fn plan(request: &Request, snapshot: &Snapshot, diagnosis: &Diagnosis) -> Result<Plan, Refusal> {
    let cluster = identity(snapshot)?;
    let desired = required(&snapshot.desired, "the configuration repository")?;
    let live = required(&snapshot.service.config_maps, "the live ConfigMaps")?;
    required(&snapshot.service.components, "the components")?;
    let choice = diagnosis.choice.as_ref().ok_or_else(no_choice)?;
    let candidate = choice_candidate(desired, choice).ok_or_else(no_choice)?;
    let maps = candidate.config_maps.as_ref().map_err(|why| {
        Refusal::new(
            format!("revision {} cannot be rendered: {why}", choice.revision.short()),
            "choose another --revision",
        )
    })?;
    if maps.iter().all(|map| map.entries.is_empty()) {
        return Err(Refusal::new(
            format!("revision {} asks for no file at all", choice.revision.short()),
            "this is an empty or a foreign checkout: point --repo at the configuration repository",
        ));
    }
    let mut warnings = Vec::new();
    checks::check_names(request, maps)?;
    checks::check_loads(request, choice, candidate, &mut warnings)?;
    checks::check_fetched(request, snapshot, diagnosis, &mut warnings)?;
    checks::check_logs(request, choice, snapshot, &mut warnings)?;

    let mut steps: Vec<Step> = Vec::new();
    let mut refusals = Vec::new();
    for map in maps.iter().filter(|map| is_asked_for(request, map)) {
        let object = crate::model::config_map_ref(&map.cluster, &map.key);
        if map.cluster != snapshot.service.alias {
            refusals.push(
                Refusal::new(
                    format!("cluster {} is not connected", map.cluster),
                    "this version writes to the service cluster only; write that ConfigMap by hand (RUNBOOK.md)",
                )
                .of(&object),
            );
            continue;
        }
        let drift = diagnosis
            .drift
            .iter()
            .find(|drift| drift.object.name == map.key.name && drift.object.namespace == map.key.namespace);
        let step = match drift.map(|drift| (drift, drift.state)) {
            Some((_, DriftState::Same)) => continue,
            Some((drift, DriftState::Drift | DriftState::Unmanaged)) => match live.get(&map.key) {
                Some(state) => put(request, map, state, drift, &mut warnings),
                None => continue,
            },
            Some((_, DriftState::Missing)) => create(map, snapshot),
            Some((_, DriftState::Unknown)) | None => Err(Refusal::new(
                "its live content could not be read",
                "look at the denied or lost sources in `prow-breakglass status`",
            )),
        };
        match step {
            Ok(Some((write, effect))) => steps.push(Step {
                n: steps.len() + 1,
                undo: match write {
                    Write::PutConfigMap { .. } => Undo::FromBackup,
                    Write::CreateConfigMap { .. }
                    | Write::DeletePod { .. }
                    | Write::PatchImage { .. }
                    | Write::CreateJob { .. }
                    | Write::DeleteOwn { .. } => Undo::None,
                },
                why: why(diagnosis, &object, choice),
                write,
                effect,
            }),
            Ok(None) => {}
            Err(refusal) => refusals.push(refusal.of(&object)),
        }
    }
    if steps.is_empty() {
        return Err(match refusals.into_iter().next() {
            Some(refusal) => refusal,
            None => nothing_to_write(choice, diagnosis),
        });
    }
    checks::check_what_is_written(request, choice, snapshot, candidate, &steps, &mut warnings)?;
    warnings.extend(consumers_that_will_not_notice(snapshot, &steps));

    let names: Vec<&str> = steps.iter().map(|step| step.write.object().name.as_str()).collect();
    let title = format!("write {} as of {}", names.join(", "), choice.revision.short());
    let confirmation = match choice.basis {
        Basis::Fact => Confirmation::Yes,
        Basis::Guess => Confirmation::MapName(names[0].to_owned()),
    };
    Ok(Plan {
        id: String::new(),
        repair: RepairId::SyncConfig,
        title,
        clusters: vec![cluster],
        basis: PlanBasis {
            taken_at: snapshot.taken_at,
            revision: Some(choice.revision.clone()),
            reason: Some(reason(choice)),
            overrides: request.overrides.clone(),
            ..PlanBasis::default()
        },
        verify: Verify::ComponentsReady {
            components: components_to_watch(snapshot, &steps),
            within_seconds: READY_WITHIN_SECONDS,
        },
        afterwards: what_was_lost(snapshot),
        steps,
        refusals,
        warnings,
        confirmation,
        digest: String::new(),
    }
    .sealed())
}

fn no_choice() -> Refusal {
    Refusal::new(
        "no revision can be proposed: something speaks against each one that was looked at",
        "name one that you know to be good: --revision REV",
    )
}

/// Why this revision, with what it rests on.
fn reason(choice: &Choice) -> String {
    match choice.basis {
        Basis::Fact => format!("FACT it loads: {}", choice.reason()),
        Basis::Guess => format!("GUESS it loads: {}", choice.reason()),
    }
}

fn nothing_to_write(choice: &Choice, diagnosis: &Diagnosis) -> Refusal {
    let kept: usize = diagnosis.drift.iter().map(|drift| drift.count(KeyChange::Removed)).sum();
    if kept > 0 {
        return Refusal::new(
            format!(
                "nothing to write: all that {} asks for is live; {kept} key(s) that git does not know are kept",
                choice.revision.short()
            ),
            "--prune removes them",
        );
    }
    Refusal::new(
        format!("nothing to write: the live ConfigMaps hold revision {} already", choice.revision.short()),
        "if a component still crash-loops, `prow-breakglass plan kick` ends its back-off",
    )
}

fn is_asked_for(request: &Request, map: &DesiredConfigMap) -> bool {
    request.maps.is_empty() || request.maps.iter().any(|name| names(name, map))
}

fn names(asked: &str, map: &DesiredConfigMap) -> bool {
    asked == map.key.name || asked == map.key.to_string()
}

/// The write over a live ConfigMap, `None` where it would change nothing.
fn put(
    request: &Request,
    map: &DesiredConfigMap,
    live: &ConfigMapState,
    drift: &ConfigMapDrift,
    warnings: &mut Vec<String>,
) -> Result<Option<(Write, String)>, Refusal> {
    if live.immutable {
        return Err(Refusal::new(
            "the live ConfigMap is immutable",
            "a new one under another name is needed, and the workloads must mount it: by hand",
        ));
    }
    checks::check_target(request, map, live, warnings)?;
    let mut values = live.values.clone();
    for key in drift.keys.iter().filter(|key| matches!(key.change, KeyChange::Added | KeyChange::Changed)) {
        if let Some(entry) = map.entries.get(&key.key) {
            values.insert(key.key.clone(), entry.bytes.clone());
        }
    }
    let stale: Vec<&String> =
        drift.keys.iter().filter(|key| key.change == KeyChange::Removed).map(|key| &key.key).collect();
    if request.prune && stale.len() * 100 > live.values.len() * MAX_PRUNE_PERCENT {
        let about = format!("({} of {} keys)", stale.len(), live.values.len());
        let refusal = Refusal::new(
            format!("pruning would remove {} of {} keys", stale.len(), live.values.len()),
            "is this the right checkout? if so: --override prune-many --reason TEXT",
        );
        request.allowed(OverrideId::PruneMany, &about, refusal, warnings)?;
    }
    // What is refused must go, whoever asked for pruning or not: keeping it would keep the outage.
    let (removed, kept): (Vec<&String>, Vec<&String>) =
        stale.into_iter().partition(|key| request.prune || drift.blamed.contains(key));
    for key in &removed {
        values.remove(*key);
    }
    if !removed.is_empty() {
        warnings.push(format!("{}: removes {}, which git does not know; the backup has it", map.key, joined(&removed)));
    }
    if !kept.is_empty() {
        let keys = joined(&kept);
        warnings.push(format!("{}: keeps {keys}, which git does not know (--prune removes such keys)", map.key));
    }
    if values != live.values
        && let Some(version) = live.values.get("VERSION")
    {
        warnings.push(format!(
            "{}: its key VERSION, Prow's note of its own last upload, stays at {}",
            map.key,
            sanitize_line(&String::from_utf8_lossy(version)).chars().take(12).collect::<String>()
        ));
    }
    if values == live.values {
        return Ok(None);
    }
    checks::check_values(&values)?;
    let effect = format!(
        "{} key(s) changed, {} added, {} removed; {} bytes of {MAX_BYTES}",
        drift.count(KeyChange::Changed),
        drift.count(KeyChange::Added),
        removed.len(),
        total(&values),
    );
    let write = Write::PutConfigMap {
        object: crate::model::config_map_ref(&map.cluster, &map.key).with_uid(&live.uid),
        at: ObjectVersion {
            uid: live.uid.clone(),
            resource_version: live.resource_version.clone(),
            content: content_digest(&live.values),
        },
        body: ConfigMapBody { values, labels: live.labels.clone(), annotations: live.annotations.clone() },
    };
    Ok(Some((write, effect)))
}

fn joined(keys: &[&String]) -> String {
    keys.iter().map(|key| key.as_str()).collect::<Vec<_>>().join(", ")
}

fn create(map: &DesiredConfigMap, snapshot: &Snapshot) -> Result<Option<(Write, String)>, Refusal> {
    checks::check_namespace(map, snapshot)?;
    let values: Values = map.entries.iter().map(|(key, entry)| (key.clone(), entry.bytes.clone())).collect();
    checks::check_values(&values)?;
    let effect = format!("{} key(s), {} bytes of {MAX_BYTES}", values.len(), total(&values));
    // As Prow's updater labels what it creates.
    let labels = BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), "prow".to_owned()),
        ("app.kubernetes.io/component".to_owned(), "updateconfig-plugin".to_owned()),
    ]);
    let body = ConfigMapBody { values, labels, annotations: BTreeMap::new() };
    let object = crate::model::config_map_ref(&map.cluster, &map.key);
    Ok(Some((Write::CreateConfigMap { object, body }, effect)))
}

fn total(values: &Values) -> usize {
    values.values().map(Vec::len).sum()
}

/// The finding that the step answers.
fn why(diagnosis: &Diagnosis, object: &ObjectRef, choice: &Choice) -> String {
    let load_failure = diagnosis.findings.iter().find_map(|finding| match &finding.kind {
        FindingKind::ConfigLoadFailure { component, line, config_map: Some(map), .. }
            if map.name == object.name && map.namespace == object.namespace =>
        {
            Some(format!("{component} refuses the live content: {}", line.error))
        }
        _ => None,
    });
    load_failure.unwrap_or_else(|| format!("it differs from revision {}", choice.revision.short()))
}

/// Components that read what is written and are not Ready: their return is the proof. Where all are Ready, all of them:
/// they must stay so.
fn components_to_watch(snapshot: &Snapshot, steps: &[Step]) -> Vec<ObjectRef> {
    let Some(components) = snapshot.service.components.known() else { return Vec::new() };
    let written = |name: &str, namespace: &str| {
        steps.iter().any(|step| step.write.object().name == name && step.write.object().namespace == namespace)
    };
    components
        .iter()
        .filter(|component| !component.is_idle_by_intent())
        .filter(|component| component.config_maps().iter().any(|map| written(&map.name, &map.namespace)))
        .map(|component| component.object.clone())
        .collect()
}

/// subPath mounts are never updated while a container runs.
fn consumers_that_will_not_notice(snapshot: &Snapshot, steps: &[Step]) -> Vec<String> {
    let Some(components) = snapshot.service.components.known() else { return Vec::new() };
    let mut warnings = Vec::new();
    for step in steps {
        let object = step.write.object();
        for component in components {
            let by_sub_path = component.mounts.iter().any(|mount| {
                mount.sub_path && mount.config_map.name == object.name && mount.config_map.namespace == object.namespace
            });
            if by_sub_path {
                warnings.push(format!(
                    "{} mounts {} by subPath: its running containers never see the change",
                    component.object.name, object.name
                ));
            }
        }
    }
    warnings
}
