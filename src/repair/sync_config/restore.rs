//! The plan from what was last seen loaded: for when there is no git, or none that can be trusted.
//!
//! Of each ConfigMap the newest content that nobody refused since. It is put back byte for byte, as an undo would: keys that
//! came since go. Whether these contents, each loaded in its time, load together is judged like any other configuration.

use std::collections::BTreeSet;

use crate::diagnose::{Diagnosis, digests, role_image};
use crate::model::{Component, Key, LoadedContent, Snapshot, Timestamp, config_map_ref};
use crate::repair::{Confirmation, Plan, PlanBasis, Refusal, Request};

use super::writes::{anew, effect, joined, many, over};
use super::{Draft, checks, refused_now, writes};

pub(super) fn plan(
    request: &Request,
    contents: &[LoadedContent],
    snapshot: &Snapshot,
    diagnosis: &Diagnosis,
) -> Result<Plan, Refusal> {
    let mut draft = Draft::begin(snapshot)?;
    if request.prune || !request.keys.is_empty() {
        return Err(Refusal::new(
            "what was last loaded is brought back whole",
            "leave --key and --prune away; --map chooses ConfigMaps",
        ));
    }
    let kept = newest(request, contents, diagnosis)?;
    let live = snapshot.service.config_maps.known();
    for content in &kept {
        let object = config_map_ref(&snapshot.service.alias, &content.config_map);
        let made = match live.and_then(|live| live.get(&content.config_map)) {
            Some(state) if state.values == content.values => continue,
            Some(state) => checks::check_mutable(state).map(|()| {
                let new: Vec<&String> = state.values.keys().filter(|key| !content.values.contains_key(*key)).collect();
                if !new.is_empty() {
                    draft.warnings.push(format!(
                        "{}: removes {}, which was not there then; the backup has it",
                        content.config_map,
                        joined(&new)
                    ));
                }
                let pruned = many(request, &content.config_map, new.len(), state, &mut draft.warnings);
                let write = over(&object, state, content.values.clone());
                writes::Made { write, effect: effect(&state.values, &content.values), pruned }
            }),
            None if snapshot.service.sees_config_map(&content.config_map) => Ok(anew(&object, content.values.clone())),
            None => Err(Refusal::new(
                "its live content could not be read",
                "look at the denied or lost sources in `prow-breakglass status`",
            )),
        };
        match made {
            Ok(made) => {
                let why = refused_now(diagnosis, &object);
                draft.push(made, why.unwrap_or_else(|| format!("seen loaded {:.0}", content.at)));
            }
            Err(refusal) => draft.refusals.push(refusal.of(&object)),
        }
    }
    if draft.steps.is_empty() {
        return Err(draft.refusals.into_iter().next().unwrap_or_else(|| {
            Refusal::new(
                "nothing to write: what is live is what was last seen loaded",
                "look at `prow-breakglass status`; a revision of git is written without --last-loaded",
            )
        }));
    }
    checks::check_what_is_written(request, snapshot, &[], &draft.steps, &mut draft.warnings)?;
    let written = |content: &&&LoadedContent| {
        draft.steps.iter().any(|step| {
            let object = step.write.object();
            object.name == content.config_map.name && object.namespace == content.config_map.namespace
        })
    };
    let used: Vec<&LoadedContent> = kept.iter().filter(written).copied().collect();
    // Another program, or another version, may refuse what that one loaded.
    let others: Vec<String> = used
        .iter()
        .filter_map(|content| {
            let reads = |component: &&Component| component.config_maps().contains(&content.config_map);
            let images = draft.components.iter().filter(reads).filter_map(role_image);
            let was_seen = |image: &&str| content.images.iter().any(|seen| seen == image);
            let other = images.filter(|image| !was_seen(image)).collect::<BTreeSet<_>>().into_iter().next()?;
            Some(format!("{} ({other} was not seen to)", content.config_map))
        })
        .collect();
    if !others.is_empty() {
        let others = others.join("; ");
        draft
            .warnings
            .push(format!("not all that runs now was seen to load it, so it is a GUESS that these load: {others}"));
    }
    let times: BTreeSet<Timestamp> = used.iter().map(|content| content.at).collect();
    if times.len() > 1 {
        draft.warnings.push("each was seen loaded in its time: it is a GUESS that they load together".to_owned());
    }
    let seen: Vec<String> = used.iter().map(|content| format!("{} at {:.0}", content.config_map, content.at)).collect();
    let is_fact = others.is_empty() && times.len() <= 1;
    let basis = if is_fact { "FACT" } else { "GUESS" };
    let words = match (is_fact, draft.steps.first()) {
        (false, Some(step)) => Confirmation::MapName(step.write.object().name.clone()),
        (_, _) => Confirmation::Yes,
    };
    let reason = format!("{basis} it loads: Ready containers started on it, seen: {}", seen.join(", "));
    let basis = PlanBasis { reason: Some(reason), ..PlanBasis::default() };
    let oldest = times.first().map_or(String::new(), |oldest| format!(" {oldest:.0}"));
    draft.finish(request, snapshot, &format!("as last seen loaded{oldest}"), basis, words)
}

/// Of each ConfigMap that was asked for the newest content that nobody who runs is known to refuse.
fn newest<'a>(
    request: &Request,
    contents: &'a [LoadedContent],
    diagnosis: &Diagnosis,
) -> Result<Vec<&'a LoadedContent>, Refusal> {
    let names = |asked: &str, key: &Key| asked == key.name || asked == key.to_string();
    let mut newest: Vec<&LoadedContent> = Vec::new();
    for content in contents {
        let refused = diagnosis
            .refused
            .iter()
            .any(|refused| refused.config_map == content.config_map && refused.keys == digests(&content.values));
        if refused || !request.maps.is_empty() && !request.maps.iter().any(|name| names(name, &content.config_map)) {
            continue;
        }
        match newest.iter_mut().find(|known| known.config_map == content.config_map) {
            Some(known) if known.at < content.at => *known = content,
            Some(_) => {}
            None => newest.push(content),
        }
    }
    newest.sort_by(|one, other| one.config_map.cmp(&other.config_map));
    let unknown = request.maps.iter().find(|name| !newest.iter().any(|content| names(name, &content.config_map)));
    match (unknown, newest.is_empty()) {
        (None, false) => Ok(newest),
        (unknown, _) => Err(Refusal::new(
            match unknown {
                Some(name) => format!("no content of ConfigMap {name} was seen loaded in this cluster"),
                None => "no content was seen loaded in this cluster".to_owned(),
            },
            "the journal keeps what it sees while Prow is well: without it, write a revision of git, or undo a run",
        )),
    }
}
