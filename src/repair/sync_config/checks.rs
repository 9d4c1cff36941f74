//! What speaks against a `sync-config`: each check refuses with the reason and the next step; those that a person may know
//! better can be set aside by an override with a reason.

use std::collections::BTreeMap;

use crate::diagnose::{Basis, Choice, ChoiceReason, Diagnosis, by_checked, live_content, stale_checkout};
use crate::model::text::sanitize_line;
use crate::model::{
    Candidate, ConfigMapState, DesiredConfigMap, Key, KnownFrom, LoadVerdict, ObjectRef, Objection, Snapshot, Values,
};
use crate::prow;

use super::writes::total;
use crate::repair::{Origin, OverrideId, Refusal, Request, Step};

/// The API server's limit on a ConfigMap's values, in bytes; keys are not counted.
pub(super) const MAX_BYTES: usize = 1_048_576;
/// Live keys that git must know, in percent, before we believe that both speak of the same ConfigMap.
const MIN_OVERLAP_PERCENT: usize = 50;

/// A revision that was asked for although something speaks against it needs a typed override.
pub(super) fn check_loads(
    request: &Request,
    choice: &Choice,
    candidate: &Candidate,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    if !choice.verdict.from.doubts().is_empty() {
        warnings.push(format!("judged by {}: that is a GUESS", choice.verdict.from));
    }
    let Some(objection) = choice.verdict.refused() else { return Ok(()) };
    let against = format!("{}{}", objection.message, place(objection, candidate));
    // Chosen because that opinion speaks against every revision alike.
    if choice.why != ChoiceReason::Asked && !choice.verdict.from.is_fact() {
        warnings.push(format!(
            "it may not load: {against}: {}: an opinion, which no other revision that was looked at escapes either",
            choice.verdict.from
        ));
        return Ok(());
    }
    let refusal = Refusal::new(
        format!("revision {} would not load: {against}: {}", choice.revision.short(), choice.verdict.from),
        "choose another revision, or --override would-not-load --reason TEXT",
    );
    request.allowed(OverrideId::WouldNotLoad, &format!("({against})"), refusal, warnings)
}

/// Where the objection is to be found, with the file of the repository.
fn place(objection: &Objection, candidate: &Candidate) -> String {
    let maps = candidate.config_maps.as_ref().map_or(&[][..], |maps| maps.as_slice());
    let entry = objection.config_map.as_ref().zip(objection.config_key.as_ref()).and_then(|(map, key)| {
        maps.iter().filter(|desired| desired.key == *map).find_map(|desired| desired.entries.get(key))
    });
    match (&objection.config_map, &objection.config_key, entry) {
        (Some(map), Some(key), Some(entry)) => {
            format!(" (ConfigMap {map}, key {key}, file {})", sanitize_line(&entry.path))
        }
        (_, _, _) => objection.place(),
    }
}

pub(super) fn check_mutable(live: &ConfigMapState) -> Result<(), Refusal> {
    if live.immutable {
        return Err(Refusal::new(
            "the live ConfigMap is immutable",
            "a new one under another name is needed, and the workloads must mount it: by hand",
        ));
    }
    Ok(())
}

/// A checkout that is behind would take production back to what it last fetched.
pub(super) fn check_fetched(
    request: &Request,
    snapshot: &Snapshot,
    diagnosis: &Diagnosis,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let Some(why) = stale_checkout(snapshot, &diagnosis.drift) else { return Ok(()) };
    let refusal = Refusal::new(
        format!("the checkout may be behind: {why}"),
        "git fetch in it and plan again; if git really is as wanted: --override stale-checkout --reason TEXT",
    );
    request.allowed(OverrideId::StaleCheckout, &format!("({why})"), refusal, warnings)
}

/// Whoever crash-loops without a log that we could read may refuse the very revision that we would choose.
pub(super) fn check_logs(
    request: &Request,
    choice: &Choice,
    snapshot: &Snapshot,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    if choice.why == ChoiceReason::Asked || choice.basis == Basis::Fact {
        return Ok(());
    }
    let components = snapshot.service.components.known().map_or(&[][..], Vec::as_slice);
    let mute = components.iter().find(|component| {
        let containers = component.pods.iter().flat_map(|pod| &pod.containers);
        let mut looping = containers.filter(|container| container.is_crash_looping()).peekable();
        looping.peek().is_some() && looping.all(|container| container.last_fatal.is_none())
    });
    let Some(component) = mute else { return Ok(()) };
    let name = &component.object.name;
    let refusal = Refusal::new(
        format!("{name} crash-loops and its log is not known: it may refuse the very revision that would be written"),
        "try again in a moment, get the right to read pods/log, or name a good --revision",
    );
    request.allowed(OverrideId::UnreadLog, &format!("({name} crash-loops)"), refusal, warnings)
}

/// What is written is live content and git's together: it is judged as such, not as git alone. `known` is what was set
/// aside already.
pub(super) fn check_what_is_written(
    request: &Request,
    snapshot: &Snapshot,
    known: &[Objection],
    steps: &[Step],
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let (Some(after), Some(components)) = (live_after(steps, snapshot), snapshot.service.components.known()) else {
        return Ok(());
    };
    let files = prow::ConfigFiles::of_components(components.iter());
    let content = prow::Layout::of_live(&after, &files).map(|layout| layout.digest());
    let checked = content.and_then(|content| by_checked(snapshot, &content));
    if checked.as_ref().is_some_and(LoadVerdict::loads_as_fact) {
        return Ok(());
    }
    let by_checkconfig = checked.as_ref().and_then(|verdict| verdict.refused().cloned().zip(Some(&verdict.from)));
    let tags =
        components.iter().flat_map(|component| &component.spec_images).filter_map(|image| prow::image::tag(image));
    let rule = prow::preset_rule(tags);
    let known = |message: &str| known.iter().any(|objection| objection.message == message);
    let by_rules =
        || prow::objections_live(&after, &files, rule).into_iter().map(|objection| (objection, &KnownFrom::Rules));
    let fault = by_checkconfig.into_iter().chain(by_rules()).find(|(objection, _)| !known(&objection.message));
    let Some((fault, from)) = fault else { return Ok(()) };
    let other_way = match &request.origin {
        Origin::Git => {
            "keys that git does not know stay beside git's own: --prune removes them; without --map all maps are written; \
             else"
        }
        Origin::LastLoaded(_) => "without --map all that was last loaded is written; or write a revision of git; else",
    };
    let refusal = Refusal::new(
        format!("what would be live afterwards would not load: {}{}: {from}", fault.message, fault.place()),
        format!("{other_way} --override would-not-load --reason TEXT"),
    );
    request.allowed(OverrideId::WouldNotLoad, &format!("({})", fault.message), refusal, warnings)
}

/// What is known of the content that would be live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    /// It is what the revision was judged as, or what runs already.
    Judged,
    /// Somebody else's word on this very content, a FACT.
    Known(KnownFrom),
    /// Nobody has judged it: it is more than git's revision, or less, or a GUESS.
    NotJudged,
}

/// Whether all that would be live is known to load: keys that git does not know stay, and with `--map` so do whole ConfigMaps.
pub(super) fn what_is_known(
    snapshot: &Snapshot,
    diagnosis: &Diagnosis,
    choice: &Choice,
    candidate: &Candidate,
    steps: &[Step],
) -> Written {
    let Some(content) = content_after(steps, snapshot) else { return Written::NotJudged };
    let is_the_revision = candidate.content.as_ref() == Some(&content);
    // The steps are all in other clusters.
    let runs = || {
        diagnosis.live.as_ref().is_some_and(LoadVerdict::loads_as_fact)
            && live_content(snapshot).as_ref() == Some(&content)
    };
    if choice.basis == Basis::Fact && (is_the_revision || runs()) {
        return Written::Judged;
    }
    match by_checked(snapshot, &content).filter(LoadVerdict::loads_as_fact) {
        Some(verdict) => Written::Known(verdict.from),
        None => Written::NotJudged,
    }
}

/// Digest of what Prow would read once these steps are done; `None` where a part of it would not be there.
fn content_after(steps: &[Step], snapshot: &Snapshot) -> Option<String> {
    let components = snapshot.service.components.known()?;
    let files = prow::ConfigFiles::of_components(components.iter());
    let after = live_after(steps, snapshot)?;
    if prow::layout::absent(&files, &after, components).is_some() {
        return None;
    }
    prow::Layout::of_live(&after, &files).map(|layout| layout.digest())
}

/// What would be live once these steps are done; `None` where what is live is not known now.
pub(in crate::repair) fn live_after(steps: &[Step], snapshot: &Snapshot) -> Option<BTreeMap<Key, ConfigMapState>> {
    let mut after = snapshot.service.config_maps.known()?.clone();
    for step in steps.iter().filter(|step| *step.write.cluster() == snapshot.service.alias) {
        let object = step.write.object();
        let key = Key::new(&object.namespace, &object.name);
        if let Some(values) = step.write.config_map_values() {
            let state = after.entry(key.clone()).or_insert_with(|| ConfigMapState::named(&object.cluster, &key));
            state.values.clone_from(values);
        }
    }
    Some(after)
}

/// Running components fix their caches on the namespaces that they started with: another one in the configuration stalls every
/// job until all of them are restarted.
pub(super) fn check_pod_namespace(
    request: &Request,
    snapshot: &Snapshot,
    steps: &[Step],
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let Some(running) = snapshot.prow.seen() else { return Ok(()) };
    let components = snapshot.service.components.known().map_or(&[][..], Vec::as_slice);
    let paths = components.iter().filter_map(|component| component.config.config_path.as_ref());
    let key = paths.filter(|path| path.config_map.as_ref() == Some(&running.from)).find_map(|path| path.key.as_ref());
    let Some(key) = key else { return Ok(()) };
    let is_it = |object: &ObjectRef| {
        object.cluster == snapshot.service.alias
            && (&object.namespace, &object.name) == (&running.from.namespace, &running.from.name)
    };
    let written = steps
        .iter()
        .filter(|step| is_it(step.write.object()))
        .find_map(|step| step.write.config_map_values()?.get(key));
    // One that does not parse is refused by other rules.
    let Some(asked) = written.and_then(|bytes| prow::config::parse_config(bytes).ok()) else { return Ok(()) };
    let pairs = [
        ("prowjob_namespace", &running.prowjob_namespace, &asked.prowjob_namespace),
        ("pod_namespace", &running.pod_namespace, &asked.pod_namespace),
    ];
    let differing: Vec<String> = pairs
        .iter()
        .filter(|(_, live, asked)| live != asked)
        .map(|(name, live, asked)| format!("{name} from {live} to {}", crate::model::text::sanitize_line(asked)))
        .collect();
    if differing.is_empty() {
        return Ok(());
    }
    let what = differing.join(" and ");
    let refusal = Refusal::new(
        format!("{} of {} would change {what}", key, running.from),
        "components that run keep what they started with, and all jobs stall until all are restarted together: is this the \
         right checkout? if so: --override pod-namespace --reason TEXT",
    );
    request.allowed(
        OverrideId::PodNamespace,
        &format!("({what}: restart all components afterwards)"),
        refusal,
        warnings,
    )
}

/// A ConfigMap that does not exist is only made where git and the running Prow agree that it belongs.
pub(super) fn check_namespace(map: &DesiredConfigMap, snapshot: &Snapshot) -> Result<(), Refusal> {
    let components = snapshot.service.components.known().map_or(&[][..], Vec::as_slice);
    let mounted = components.iter().any(|component| component.config_maps().contains(&map.key));
    let namespaces = snapshot.prow.known().map(|prow| [prow.prowjob_namespace.as_str(), prow.pod_namespace.as_str()]);
    if mounted || namespaces.is_some_and(|known| known.contains(&map.key.namespace.as_str())) {
        return Ok(());
    }
    Err(Refusal::new(
        format!("nobody mounts {}, and the running Prow knows no namespace {}", map.key, map.key.namespace),
        "is this the right checkout, and its config.yaml the right one (--config-path)? else create it by hand",
    ))
}

/// Low key overlap means that the checkout and the cluster speak of different things.
pub(super) fn check_target(
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
    let refusal = Refusal::new(
        format!("of its {} live keys git knows only {known}: this looks like another Prow's ConfigMap", keys.len()),
        "check --context and --repo; if both are right: --override wrong-target --reason TEXT",
    );
    request.allowed(OverrideId::WrongTarget, &format!("for {}", map.key), refusal, warnings)
}

pub(super) fn check_values(values: &Values) -> Result<(), Refusal> {
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
