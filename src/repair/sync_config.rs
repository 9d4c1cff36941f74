//! `sync-config`: writes the ConfigMaps as a revision of the configuration repository asks for them.
//!
//! One PUT a ConfigMap, over the live object, guarded by its uid and resourceVersion: never delete-then-create, so no
//! moment without the ConfigMap. Keys that git does not know are kept unless pruning was asked for. Labels and annotations stay.

use std::collections::BTreeMap;

use crate::diagnose::{
    Basis, Choice, ChoiceReason, ConfigMapDrift, Diagnosis, DriftState, FindingKind, KeyChange, choice_candidate,
};
use crate::model::{
    Candidate, ConfigMapBody, ConfigMapState, DesiredConfigMap, ObjectRef, ObjectVersion, Snapshot, Values, Write,
    content_digest,
};

use super::{
    Confirmation, OverrideId, Plan, PlanBasis, Refusal, RepairId, Request, Step, Undo, Verify, identity, required,
    what_was_lost,
};

/// The API server's limit on a ConfigMap's values, in bytes; keys are not counted.
const MAX_BYTES: usize = 1_048_576;
/// Live keys that git must know, in percent, before we believe that both speak of the same ConfigMap.
const MIN_OVERLAP_PERCENT: usize = 50;
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
    check_loads(request, choice, candidate, diagnosis, &mut warnings)?;
    check_names(request, maps)?;

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
            Some((_, DriftState::Missing)) => create(map),
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
                    Write::CreateConfigMap { .. } | Write::DeletePod { .. } => Undo::None,
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
            None => Refusal::new(
                format!("nothing to write: the live ConfigMaps hold revision {} already", choice.revision.short()),
                "if a component still crash-loops, `prow-breakglass plan kick` ends its back-off",
            ),
        });
    }
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
            undoes: None,
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
    match choice.why {
        ChoiceReason::Asked => "FACT asked for with --revision".to_owned(),
        ChoiceReason::Head => "GUESS git's head, and nothing speaks against it".to_owned(),
        ChoiceReason::NewestKnownToLoad => "FACT the newest revision that Ready containers started on".to_owned(),
        ChoiceReason::NewestWithoutObjection => "GUESS the newest revision that nothing speaks against".to_owned(),
    }
}

/// A revision that was asked for although something speaks against it needs a typed override.
fn check_loads(
    request: &Request,
    choice: &Choice,
    candidate: &Candidate,
    diagnosis: &Diagnosis,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let against = diagnosis.findings.iter().find_map(|finding| match &finding.kind {
        FindingKind::RevisionWouldNotLoad { revision, objections, .. } if revision.id == choice.revision.id => {
            objections.first().map(|objection| objection.message.clone())
        }
        _ => None,
    });
    let against = against.or_else(|| candidate.objections.first().map(|objection| objection.message.clone()));
    let Some(against) = against else { return Ok(()) };
    match request.overridden(OverrideId::WouldNotLoad) {
        Some(over) => {
            warnings.push(format!("override would-not-load ({against}), reason: {}", over.reason));
            Ok(())
        }
        None => Err(Refusal::new(
            format!("revision {} would not load: {against}", choice.revision.short()),
            "choose another revision, or --override would-not-load --reason TEXT",
        )),
    }
}

fn check_names(request: &Request, maps: &[DesiredConfigMap]) -> Result<(), Refusal> {
    for name in &request.maps {
        if !maps.iter().any(|map| names(name, map)) {
            let known: Vec<String> = maps.iter().map(|map| map.key.to_string()).collect();
            return Err(Refusal::new(
                format!("git asks for no ConfigMap {name}"),
                format!("it asks for {}", known.join(", ")),
            ));
        }
    }
    Ok(())
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
    check_target(request, map, live, warnings)?;
    let mut values = live.values.clone();
    for key in drift.keys.iter().filter(|key| matches!(key.change, KeyChange::Added | KeyChange::Changed)) {
        if let Some(entry) = map.entries.get(&key.key) {
            values.insert(key.key.clone(), entry.bytes.clone());
        }
    }
    let stale: Vec<&String> =
        drift.keys.iter().filter(|key| key.change == KeyChange::Removed).map(|key| &key.key).collect();
    let mut removed = 0;
    if request.prune {
        if stale.len() * 100 > live.values.len() * MAX_PRUNE_PERCENT {
            match request.overridden(OverrideId::PruneMany) {
                Some(over) => warnings.push(format!("override prune-many, reason: {}", over.reason)),
                None => {
                    return Err(Refusal::new(
                        format!("pruning would remove {} of {} keys", stale.len(), live.values.len()),
                        "is this the right checkout? if so: --override prune-many --reason TEXT",
                    ));
                }
            }
        }
        for key in &stale {
            values.remove(*key);
        }
        removed = stale.len();
    } else if !stale.is_empty() {
        warnings.push(format!(
            "{}: {} key(s) that git does not know are kept: {} (--prune removes them)",
            map.key,
            stale.len(),
            stale.iter().map(|key| key.as_str()).collect::<Vec<_>>().join(", ")
        ));
    }
    if values == live.values {
        return Ok(None);
    }
    check_values(&values)?;
    let effect = format!(
        "{} key(s) changed, {} added, {removed} removed; {} bytes of {MAX_BYTES}",
        drift.count(KeyChange::Changed),
        drift.count(KeyChange::Added),
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

/// Low key overlap means that the checkout and the cluster speak of different things.
fn check_target(
    request: &Request,
    map: &DesiredConfigMap,
    live: &ConfigMapState,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let keys: Vec<&String> = live.values.keys().filter(|key| *key != "VERSION").collect();
    let known = keys.iter().filter(|key| map.entries.contains_key(**key)).count();
    if keys.is_empty() || known * 100 >= keys.len() * MIN_OVERLAP_PERCENT {
        return Ok(());
    }
    match request.overridden(OverrideId::WrongTarget) {
        Some(over) => {
            warnings.push(format!("override wrong-target for {}, reason: {}", map.key, over.reason));
            Ok(())
        }
        None => Err(Refusal::new(
            format!("of its {} live keys git knows only {known}: this looks like another Prow's ConfigMap", keys.len()),
            "check --context and --repo; if both are right: --override wrong-target --reason TEXT",
        )),
    }
}

fn create(map: &DesiredConfigMap) -> Result<Option<(Write, String)>, Refusal> {
    let values: Values = map.entries.iter().map(|(key, entry)| (key.clone(), entry.bytes.clone())).collect();
    check_values(&values)?;
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

fn check_values(values: &Values) -> Result<(), Refusal> {
    if total(values) > MAX_BYTES {
        return Err(Refusal::new(
            format!("it would hold {} bytes, and the API server takes at most {MAX_BYTES}", total(values)),
            "`gzip: true` on this map in plugins.yaml, or split it with another map",
        ));
    }
    let bad = values.keys().find(|key| {
        key.is_empty()
            || key.len() > 253
            || !key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
    });
    match bad {
        Some(key) => Err(Refusal::new(
            format!("the API server takes no key {key:?}: only letters, digits, `-`, `_` and `.`"),
            "rename that file in the repository",
        )),
        None => Ok(()),
    }
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
