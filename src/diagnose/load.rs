//! Would the deployed Prow load it: one verdict about a revision or the live content, from the best that is known.
//!
//! In this order: a component's own log, or its start on the content; what the journal remembers; a checkconfig on this
//! machine; one run in the cluster; rules of our own. A checkconfig of another version than the deployed one is an opinion,
//! as 2019-01-23 has shown, and does not silence a rule.
//!
//! Pure. What remains to be asked of a checkconfig is said by [`to_check`]; whoever has one asks it.

use crate::model::{
    Candidate, Checkconfig, Checked, Component, ConfigMapState, Desired, KnownFrom, LoadAnswer, LoadVerdict, Objection,
    RefusedContent, Snapshot, Witness,
};
use crate::prow::{self, ConfigFiles, Layout, image};

use super::Basis;
use super::bisect::{self, Next, OldEnd};
use super::choose::{is_known_to_load, refusal, started_on};
use super::compare::digests;
use super::load_failure::{CrashContent, LoadFailure, load_failures, refused_contents};
use super::versions::{role_image, role_tag};

/// A revision's or the live content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToCheck {
    Live,
    /// A candidate, by its revision's id.
    Revision(String),
    /// No candidate loads: older revisions must be looked at.
    Further,
}

/// Tags of the components that read Prow's configuration and run: a content must suit all of them. hook's is first.
pub fn deployed_tags(components: &[Component]) -> Vec<String> {
    let mut readers: Vec<&Component> = components
        .iter()
        .filter(|component| component.config.config_path.is_some() && !component.is_idle_by_intent())
        .collect();
    readers.sort_by_key(|component| (component.role != "hook", &component.object));
    let mut tags: Vec<String> = Vec::new();
    for tag in readers.into_iter().filter_map(role_tag) {
        if !tags.iter().any(|known| known == tag) {
            tags.push(tag.to_owned());
        }
    }
    tags
}

/// The verdict about a revision.
pub fn revision_verdict(snapshot: &Snapshot, candidate: &Candidate) -> LoadVerdict {
    let failures = load_failures(snapshot);
    let refused = refused_contents(snapshot, &failures);
    of_candidate(candidate, snapshot, &failures, &refused)
}

/// The verdict about what is live; `None` where that cannot be seen, or is no configuration of Prow's.
pub fn live_verdict(snapshot: &Snapshot) -> Option<LoadVerdict> {
    let failures = load_failures(snapshot);
    let refused = refused_contents(snapshot, &failures);
    of_live(snapshot, &failures, &refused)
}

pub(super) fn of_candidate(
    candidate: &Candidate,
    snapshot: &Snapshot,
    failures: &[LoadFailure<'_>],
    refused: &[RefusedContent],
) -> LoadVerdict {
    // That it runs beats any memory of a refusal and any rule of ours.
    if is_known_to_load(candidate, snapshot, failures) {
        return LoadVerdict { answer: LoadAnswer::Loads, from: KnownFrom::Running };
    }
    let before = snapshot.desired.seen().and_then(|desired| refusal(candidate, desired, refused));
    if let Some((content, Basis::Fact)) = before {
        return LoadVerdict { answer: LoadAnswer::Refused(in_words_of(content)), from: who_refused(content, failures) };
    }
    let checked = candidate.content.as_deref().and_then(|content| by_checked(snapshot, content));
    let by_rules = match &candidate.config_maps {
        Err(why) => Some(candidate.objections.first().cloned().unwrap_or_else(|| Objection::of(why.clone()))),
        Ok(_) => candidate.objections.first().cloned(),
    };
    beside_rules(checked, by_rules).unwrap_or_else(|| match before {
        Some((content, Basis::Fact | Basis::Guess)) => LoadVerdict {
            answer: LoadAnswer::Refused(in_words_of(content)),
            from: KnownFrom::Resembles { images: content.images.clone(), at: content.at },
        },
        None => LoadVerdict::unknown(),
    })
}

pub(super) fn of_live(
    snapshot: &Snapshot,
    failures: &[LoadFailure<'_>],
    refused: &[RefusedContent],
) -> Option<LoadVerdict> {
    let live = snapshot.service.config_maps.seen()?;
    let components = snapshot.service.components.seen()?;
    if let Some(failure) = failures.iter().find(|failure| failure.content == CrashContent::Live) {
        let place = failure.culprits.first();
        let objection = Objection {
            message: failure.line.error.clone(),
            config_map: place.map(|(map, _)| map.clone()),
            config_key: place.map(|(_, key)| key.clone()),
            repeats: None,
        };
        let from = KnownFrom::Log { images: failure.component.spec_images.clone() };
        return Some(LoadVerdict { answer: LoadAnswer::Refused(objection), from });
    }
    let files = ConfigFiles::of_components(components.iter());
    let layout = Layout::of_live(live, &files)?;
    let mut maps: Vec<&ConfigMapState> = layout.values().filter_map(|value| live.get(value.0)).collect();
    maps.dedup_by_key(|map| &map.key);
    if maps.iter().all(|map| started_on(map, components)) {
        return Some(LoadVerdict { answer: LoadAnswer::Loads, from: KnownFrom::Running });
    }
    let met = refused
        .iter()
        .find(|content| maps.iter().any(|map| map.key == content.config_map && digests(&map.values) == content.keys));
    if let Some(content) = met {
        let from = who_refused(content, failures);
        return Some(LoadVerdict { answer: LoadAnswer::Refused(in_words_of(content)), from });
    }
    // Nobody was asked, so what it is called makes no difference.
    let checked = (!snapshot.checked.is_empty()).then(|| layout.digest());
    let checked = checked.and_then(|content| by_checked(snapshot, &content));
    let tags = components.iter().flat_map(|component| &component.spec_images).filter_map(|image| image::tag(image));
    let by_rules = prow::objections_live(live, &files, prow::preset_rule(tags)).into_iter().next();
    Some(beside_rules(checked, by_rules).unwrap_or_else(LoadVerdict::unknown))
}

/// A FACT beats our rules; of two opinions the one that objects counts.
fn beside_rules(checked: Option<LoadVerdict>, by_rules: Option<Objection>) -> Option<LoadVerdict> {
    let objects =
        by_rules.map(|objection| LoadVerdict { answer: LoadAnswer::Refused(objection), from: KnownFrom::Rules });
    match (checked, objects) {
        (Some(checked), Some(objects)) if !checked.from.is_fact() && checked.refused().is_none() => Some(objects),
        (checked, objects) => checked.or(objects),
    }
}

/// What was seen of this very content, by its digest.
pub(crate) fn by_checked(snapshot: &Snapshot, content: &str) -> Option<LoadVerdict> {
    let tags = deployed_tags(snapshot.service.components.seen().map_or(&[], Vec::as_slice));
    let identity = snapshot.service.identity.seen();
    let here = |server: &str, uid: &str| identity.is_some_and(|own| own.server == server && own.uid == uid);
    let about: Vec<&Checked> = snapshot.checked.iter().filter(|checked| checked.content == content).collect();
    let ran_on = |tag: &String| {
        about.iter().find(|checked| {
            matches!(&checked.by, Witness::Running { server, uid, tag: other } if other == tag && here(server, uid))
        })
    };
    // Each of the tags that run has started on it.
    let ran: Vec<&&Checked> = tags.iter().filter_map(ran_on).collect();
    if let Some(newest) = ran.iter().map(|checked| checked.at).max().filter(|_| ran.len() == tags.len()) {
        let from = KnownFrom::Memory { images: tags, at: newest };
        return Some(LoadVerdict { answer: LoadAnswer::Loads, from });
    }
    let verdict = |checked: &&Checked| {
        let from = match &checked.by {
            Witness::Running { .. } => return None,
            Witness::Job { server, uid, image } => {
                let is_deployed = image::tag(image).is_some_and(|tag| tags.iter().any(|deployed| deployed == tag));
                let from = KnownFrom::Job { image: image.clone(), at: checked.at };
                (is_deployed && here(server, uid)).then_some(from)?
            }
            Witness::Checkconfig(program) => KnownFrom::Checkconfig {
                program: program.clone(),
                deployed: match &program.version {
                    Some(version) if tags.iter().any(|tag| tag != version) => tags.clone(),
                    Some(_) | None => Vec::new(),
                },
            },
        };
        let answer = match &checked.refused {
            Some(objection) => LoadAnswer::Refused(objection.clone()),
            None => LoadAnswer::Loads,
        };
        Some(LoadVerdict { answer, from })
    };
    let verdicts: Vec<LoadVerdict> = about.iter().filter_map(verdict).collect();
    let is_local = |verdict: &&LoadVerdict| matches!(verdict.from, KnownFrom::Checkconfig { .. });
    let facts = || verdicts.iter().filter(|verdict| verdict.from.is_fact());
    facts().find(is_local).or_else(|| facts().next()).or(verdicts.first()).cloned()
}

fn in_words_of(content: &RefusedContent) -> Objection {
    Objection {
        message: content.error.clone(),
        config_map: Some(content.config_map.clone()),
        config_key: content.culprits.first().cloned(),
        repeats: None,
    }
}

/// The component that refuses it now, else the one that did.
fn who_refused(content: &RefusedContent, failures: &[LoadFailure<'_>]) -> KnownFrom {
    let now = failures.iter().any(|failure| {
        failure.content == CrashContent::Live
            && failure.component.spec_images == content.images
            && failure.line.error == content.error
    });
    match now {
        true => KnownFrom::Log { images: content.images.clone() },
        false => KnownFrom::Memory { images: content.images.clone(), at: content.at },
    }
}

/// What Ready containers started on, tag by tag: to be remembered, for a later write makes it a thing of the past.
pub fn started_now(snapshot: &Snapshot) -> Vec<Checked> {
    let (Some(live), Some(components), Some(identity)) =
        (snapshot.service.config_maps.known(), snapshot.service.components.known(), snapshot.service.identity.known())
    else {
        return Vec::new();
    };
    if load_failures(snapshot).iter().any(|failure| failure.content == CrashContent::Live) {
        return Vec::new();
    }
    let files = ConfigFiles::of_components(components.iter());
    let Some(layout) = Layout::of_live(live, &files) else { return Vec::new() };
    let maps: Vec<&ConfigMapState> = layout.values().filter_map(|value| live.get(value.0)).collect();
    let started = |tag: &str| {
        let of_it: Vec<Component> =
            components.iter().filter(|component| role_tag(component) == Some(tag)).cloned().collect();
        maps.iter().all(|map| started_on(map, &of_it))
    };
    let tags: Vec<String> = deployed_tags(components).into_iter().filter(|tag| started(tag)).collect();
    if tags.is_empty() {
        return Vec::new();
    }
    let content = layout.digest();
    let seen = |tag: String| Checked {
        content: content.clone(),
        refused: None,
        by: Witness::Running { server: identity.server.clone(), uid: identity.uid.clone(), tag },
        at: snapshot.taken_at,
    };
    tags.into_iter().map(seen).collect()
}

/// The next content that this checkconfig should be asked about, so that the live content, the revision asked for, git's head
/// and the newest revision that loads are known. `None` where they are.
pub fn to_check(snapshot: &Snapshot, program: &Checkconfig) -> Option<ToCheck> {
    let failures = load_failures(snapshot);
    let refused = refused_contents(snapshot, &failures);
    let asked = |content: &str| {
        snapshot.checked.iter().any(|checked| {
            checked.content == content && matches!(&checked.by, Witness::Checkconfig(other) if other == program)
        })
    };
    let is_open = |verdict: &LoadVerdict| !verdict.from.is_fact();
    if let Some(verdict) = of_live(snapshot, &failures, &refused)
        && is_open(&verdict)
        && live_content(snapshot).is_some_and(|content| !asked(&content))
    {
        return Some(ToCheck::Live);
    }
    let desired = snapshot.desired.seen()?;
    let verdict = |candidate: &Candidate| of_candidate(candidate, snapshot, &failures, &refused);
    let unasked = |candidate: &&Candidate| {
        is_open(&verdict(candidate)) && candidate.content.as_deref().is_some_and(|content| !asked(content))
    };
    let first = desired.asked.iter().chain([&desired.head]).find(unasked);
    if let Some(candidate) = first {
        return Some(ToCheck::Revision(candidate.revision.id.clone()));
    }
    // Only where the head is no choice is an older one wanted.
    verdict(&desired.head).refused()?;
    let line = line(desired);
    let answers: Vec<Option<bool>> = line
        .iter()
        .map(|candidate| {
            let verdict = verdict(candidate);
            match (&verdict.answer, is_open(&verdict) && unasked(candidate)) {
                // What our rules object to is hardly the newest one that loads: it is not asked about.
                (LoadAnswer::Refused(_), _) => Some(false),
                (LoadAnswer::Loads, _) => Some(true),
                (LoadAnswer::Unknown, true) => None,
                // It cannot be asked about.
                (LoadAnswer::Unknown, false) => Some(false),
            }
        })
        .collect();
    match bisect::next(&answers, OldEnd::Open) {
        Next::Ask(n) => Some(ToCheck::Revision(line[n].revision.id.clone())),
        Next::NothingGood => Some(ToCheck::Further),
        Next::Found { .. } | Next::NothingBad => None,
    }
}

/// The head and what came before it, newest first, each once.
fn line(desired: &Desired) -> Vec<&Candidate> {
    let mut line = vec![&desired.head];
    line.extend(desired.candidates.iter().filter(|candidate| candidate.revision.id != desired.head.revision.id));
    line
}

/// Digest of the live content.
pub fn live_content(snapshot: &Snapshot) -> Option<String> {
    let files = ConfigFiles::of_components(snapshot.service.components.seen()?.iter());
    Layout::of_live(snapshot.service.config_maps.seen()?, &files).map(|layout| layout.digest())
}

/// The image of checkconfig for each tag that is deployed, beside the components' own. hook's is first.
pub fn checkconfig_images(components: &[Component]) -> Vec<String> {
    let mut readers: Vec<&Component> =
        components.iter().filter(|component| component.config.config_path.is_some()).collect();
    readers.sort_by_key(|component| (component.is_idle_by_intent(), component.role != "hook", &component.object));
    let mut images: Vec<String> = Vec::new();
    for image in readers.into_iter().filter_map(role_image).filter_map(|image| image::sibling(image, "checkconfig")) {
        if !images.contains(&image) {
            images.push(image);
        }
    }
    images
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
