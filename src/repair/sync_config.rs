//! `sync-config`: writes the ConfigMaps as a revision of the configuration repository asks for them, in all clusters that it
//! asks for them in; or, without git, as they were when they were last seen loaded.
//!
//! One PUT a ConfigMap, over the live object, guarded by its uid and resourceVersion: never delete-then-create, so no
//! moment without the ConfigMap. Keys that git does not know are kept unless pruning was asked for. Labels and annotations stay.
//!
//! - [`checks`]: what speaks against it; [`selection`]: which maps and keys were asked for
//! - [`writes`]: a ConfigMap to its write; [`mixtures`]: the order of the writes, and what components may see meanwhile
//! - [`restore`]: the plan from what was last seen loaded

mod checks;
mod mixtures;
mod restore;
mod selection;
mod writes;

pub(super) use checks::live_after;

use std::collections::BTreeSet;

use crate::diagnose::{Basis, Choice, Diagnosis, DriftState, FindingKind, KeyChange, choice_candidate};
use crate::model::{
    Alias, ClusterIdentity, ClusterView, DesiredConfigMap, Key, ObjectRef, Objection, Snapshot, config_map_ref,
};

use checks::Written;
use selection::Selection;
use writes::Made;

use super::{
    Confirmation, Origin, Plan, PlanBasis, Refusal, RepairId, Request, Step, Undo, Verify, identity, required,
    what_was_lost,
};

/// A crash-looping container waits at most five minutes before its next start; then it needs a moment to be Ready.
const READY_WITHIN_SECONDS: u32 = 330;

pub(super) fn plan(request: &Request, snapshot: &Snapshot, diagnosis: &Diagnosis) -> Result<Plan, Refusal> {
    match &request.origin {
        Origin::Git => from_git(request, snapshot, diagnosis),
        Origin::LastLoaded(contents) => restore::plan(request, contents, snapshot, diagnosis),
    }
}

fn from_git(request: &Request, snapshot: &Snapshot, diagnosis: &Diagnosis) -> Result<Plan, Refusal> {
    let desired = required(&snapshot.desired, "the configuration repository")?;
    let mut draft = Draft::begin(snapshot)?;
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
    let selection = Selection::of(request);
    selection.check(maps, snapshot)?;
    checks::check_loads(request, choice, candidate, &mut draft.warnings)?;
    checks::check_fetched(request, snapshot, diagnosis, &mut draft.warnings)?;
    checks::check_logs(request, choice, snapshot, &mut draft.warnings)?;

    for map in maps.iter().filter(|map| selection.has_map(map)) {
        let place = draft.place(snapshot, map);
        let object = config_map_ref(place.map_or(&map.cluster, |view| &view.alias), &map.key);
        let made = match place {
            Some(view) => write_of(request, snapshot, diagnosis, &selection, map, view, &object, &mut draft),
            None => Err(no_such_cluster(&map.cluster)),
        };
        match made {
            Ok(Some(made)) => draft.push(made, why(diagnosis, &object, choice)),
            Ok(None) => {}
            Err(refusal) => draft.refusals.push(refusal.of(&object)),
        }
    }
    if draft.steps.is_empty() {
        return Err(match draft.refusals.into_iter().next() {
            Some(refusal) => refusal,
            None => nothing_to_write(choice, diagnosis),
        });
    }
    // What the revision itself is refused for was dealt with before.
    let known: Vec<Objection> = candidate.objections.iter().chain(choice.verdict.refused()).cloned().collect();
    checks::check_what_is_written(request, snapshot, &known, &draft.steps, &mut draft.warnings)?;
    let written = checks::what_is_known(snapshot, diagnosis, choice, candidate, &draft.steps);
    let first = draft.steps[0].write.object().name.clone();
    draft.finish(
        request,
        snapshot,
        &format!("as of {}", choice.revision.short()),
        PlanBasis {
            revision: Some(choice.revision.clone()),
            reason: Some(reason(choice, &written)),
            ..PlanBasis::default()
        },
        match written {
            Written::Judged | Written::Known(_) => Confirmation::Yes,
            Written::NotJudged => Confirmation::MapName(first),
        },
    )
}

/// A plan on its way.
struct Draft<'a> {
    service: ClusterIdentity,
    components: &'a [crate::model::Component],
    steps: Vec<Step>,
    refusals: Vec<Refusal>,
    warnings: Vec<String>,
    /// Keys that would be pruned where they are many, of all maps.
    many_pruned: usize,
}

impl<'a> Draft<'a> {
    /// What every such plan builds on.
    fn begin(snapshot: &'a Snapshot) -> Result<Self, Refusal> {
        let service = identity(snapshot)?;
        required(&snapshot.service.config_maps, "the live ConfigMaps")?;
        let components = required(&snapshot.service.components, "the components")?;
        Ok(Draft { service, components, steps: Vec::new(), refusals: Vec::new(), warnings: Vec::new(), many_pruned: 0 })
    }

    fn place<'s>(&self, snapshot: &'s Snapshot, map: &DesiredConfigMap) -> Option<&'s ClusterView> {
        snapshot.config_map_cluster(&map.cluster).filter(|view| view.is_plannable())
    }

    fn push(&mut self, made: Made, why: String) {
        let Made { write, effect, pruned } = made;
        self.many_pruned += pruned;
        let undo = if write.is_create() { Undo::Delete } else { Undo::FromBackup };
        self.steps.push(Step { n: self.steps.len() + 1, write, why, undo, effect });
    }

    /// The order of the writes, what they mean meanwhile and afterwards, and what must be typed.
    fn finish(
        mut self,
        request: &Request,
        snapshot: &Snapshot,
        what: &str,
        basis: PlanBasis,
        words: Confirmation,
    ) -> Result<Plan, Refusal> {
        checks::check_pod_namespace(request, snapshot, &self.steps, &mut self.warnings)?;
        let (steps, meanwhile) = mixtures::arrange(snapshot, self.steps);
        self.warnings.extend(meanwhile);
        self.warnings.extend(consumers_that_will_not_notice(self.components, &snapshot.service.alias, &steps));
        let mut clusters = vec![self.service];
        let used: BTreeSet<&Alias> = steps.iter().map(|step| step.write.cluster()).collect();
        for view in snapshot.clusters.values().filter(|view| used.contains(&view.alias)) {
            let what = format!("the identity of {}", view.context);
            clusters.push(required(&view.identity, &what)?.clone());
        }
        let name = |object: &ObjectRef| match object.cluster == snapshot.service.alias {
            true => object.name.clone(),
            false => format!("{} in {}", object.name, snapshot.context_of(&object.cluster)),
        };
        let names: Vec<String> = steps.iter().map(|step| name(step.write.object())).collect();
        let components = components_to_watch(self.components, &snapshot.service.alias, &steps);
        let confirmation = match self.many_pruned {
            0 => words,
            keys => Confirmation::PruneMany { first: words.word(), keys },
        };
        Ok(Plan {
            id: String::new(),
            repair: RepairId::SyncConfig,
            title: format!("write {} {what}", names.join(", ")),
            clusters,
            basis: PlanBasis { taken_at: snapshot.taken_at, overrides: request.overrides.clone(), ..basis },
            verify: if components.is_empty() {
                Verify::Written
            } else {
                Verify::ComponentsReady { components, within_seconds: READY_WITHIN_SECONDS }
            },
            afterwards: what_was_lost(snapshot),
            steps,
            refusals: self.refusals,
            warnings: self.warnings,
            confirmation,
            digest: String::new(),
        }
        .sealed())
    }
}

/// The write of a ConfigMap, `None` where it would change nothing.
#[expect(clippy::too_many_arguments, reason = "what is asked for, what is seen, and where to say what was found")]
fn write_of(
    request: &Request,
    snapshot: &Snapshot,
    diagnosis: &Diagnosis,
    selection: &Selection<'_>,
    map: &DesiredConfigMap,
    view: &ClusterView,
    object: &ObjectRef,
    draft: &mut Draft<'_>,
) -> Result<Option<Made>, Refusal> {
    if draft.steps.iter().any(|step| is_same(step.write.object(), object)) {
        return Err(Refusal::new(
            format!("git asks for it twice: {} is that cluster by another name", map.cluster),
            "Prow would write both in turn; let one map write it, in plugins.yaml",
        ));
    }
    required(&view.identity, &format!("the identity of {}", view.context))?;
    let live = required(&view.config_maps, &format!("the live ConfigMaps of {}", view.context))?;
    let drift = diagnosis.drift.iter().find(|drift| is_same(&drift.object, object));
    match drift.map(|drift| (drift, drift.state)) {
        Some((_, DriftState::Same)) => Ok(None),
        Some((drift, DriftState::Drift | DriftState::Unmanaged)) => match live.get(&map.key) {
            Some(state) => writes::put(request, selection, map, state, object, drift, &mut draft.warnings),
            None => Ok(None),
        },
        Some((_, DriftState::Missing)) => {
            if view.alias == snapshot.service.alias {
                checks::check_namespace(map, snapshot)?;
            }
            writes::create(selection, map, object)
        }
        Some((_, DriftState::Unknown)) | None => Err(Refusal::new(
            "its live content could not be read",
            "look at the denied or lost sources in `prow-breakglass status`",
        )),
    }
}

/// The same object, whichever uid it has.
fn is_same(one: &ObjectRef, other: &ObjectRef) -> bool {
    (&one.cluster, &one.namespace, &one.name) == (&other.cluster, &other.namespace, &other.name)
}

fn no_such_cluster(alias: &Alias) -> Refusal {
    Refusal::new(
        format!("nobody knows which cluster Prow calls {alias}"),
        format!("say which: --build-context {alias}=CONTEXT"),
    )
}

fn no_choice() -> Refusal {
    Refusal::new(
        "no revision can be proposed: something speaks against each one that was looked at",
        "name one that you know to be good: --revision REV; or --last-loaded, without git",
    )
}

/// Why this revision, with what it rests on. What is known of git's revision is not known of what would be live.
fn reason(choice: &Choice, written: &Written) -> String {
    let why = choice.reason();
    match (written, choice.basis) {
        (Written::Judged, _) | (Written::Known(_), Basis::Fact) => format!("FACT it loads: {why}"),
        (Written::Known(from), Basis::Guess) => {
            format!("FACT it loads: {why}; what would be live with it is known to load: {from}")
        }
        (Written::NotJudged, Basis::Fact) => {
            format!("GUESS it loads: {why}; but what stays live beside it was not judged with it")
        }
        (Written::NotJudged, Basis::Guess) => format!("GUESS it loads: {why}"),
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

/// The finding that the step answers.
fn why(diagnosis: &Diagnosis, object: &ObjectRef, choice: &Choice) -> String {
    refused_now(diagnosis, object).unwrap_or_else(|| format!("it differs from revision {}", choice.revision.short()))
}

/// Who refuses what is live there, and why.
fn refused_now(diagnosis: &Diagnosis, object: &ObjectRef) -> Option<String> {
    diagnosis.findings.iter().find_map(|finding| match &finding.kind {
        FindingKind::ConfigLoadFailure { component, line, config_map: Some(_), .. }
            if finding.subjects.iter().any(|subject| is_same(subject, object)) =>
        {
            Some(format!("{component} refuses the live content: {}", line.error))
        }
        _ => None,
    })
}

/// Components that read what is written and are not Ready: their return is the proof. Where all are Ready, all of them:
/// they must stay so.
fn components_to_watch(components: &[crate::model::Component], service: &Alias, steps: &[Step]) -> Vec<ObjectRef> {
    let written = |map: &Key| {
        let object = config_map_ref(service, map);
        steps.iter().any(|step| is_same(step.write.object(), &object))
    };
    components
        .iter()
        .filter(|component| !component.is_idle_by_intent())
        .filter(|component| component.config_maps().iter().any(written))
        .map(|component| component.object.clone())
        .collect()
}

/// subPath mounts are never updated while a container runs.
fn consumers_that_will_not_notice(
    components: &[crate::model::Component],
    service: &Alias,
    steps: &[Step],
) -> Vec<String> {
    let mut warnings = Vec::new();
    for object in steps.iter().map(|step| step.write.object()).filter(|object| object.cluster == *service) {
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

#[cfg(test)]
mod tests;
