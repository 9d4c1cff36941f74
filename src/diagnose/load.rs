//! Would the deployed Prow load it: one verdict about a revision or the live content, from the best that is known.
//!
//! In this order: a component's own log, or its start on the content; what the journal remembers; a checkconfig on this
//! machine; one run in the cluster; rules of our own. A checkconfig of another version than all that is deployed is an
//! opinion, as 2019-01-23 has shown, and does not silence a rule. What makes an opinion of a word is in `deployed`.
//!
//! Pure. What remains to be asked of a checkconfig is said by [`to_check`]; whoever has one asks it.

use std::cell::OnceCell;

use crate::model::{
    Candidate, Checkconfig, Checked, ConfigMapState, Desired, Doubt, KnownFrom, LoadAnswer, LoadVerdict, Objection,
    RefusedContent, Snapshot, Timestamp, Witness,
};
use crate::prow::{self, ConfigFile, ConfigFiles, Layout, image, layout};

use super::Basis;
use super::bisect::{self, Next, OldEnd};
use super::choose::{is_known_to_load, refusal};
use super::compare::digests;
use super::deployed::Deployed;
use super::load_failure::{CrashContent, LoadFailure, load_failures, refused_contents};
use super::started::all_started_on;

/// A revision's or the live content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToCheck {
    Live,
    /// A candidate, by its revision's id.
    Revision(String),
    /// No candidate loads: older revisions must be looked at.
    Further,
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
    of_live(snapshot, &failures, &refused, &ByRules::of(snapshot))
}

/// What our rules say against the live content, read when somebody asks for the first time: it is what a diagnosis takes longest for.
pub(crate) struct ByRules<'a> {
    snapshot: &'a Snapshot,
    objections: OnceCell<Vec<Objection>>,
}

impl<'a> ByRules<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        ByRules { snapshot, objections: OnceCell::new() }
    }

    /// By the rule of the tags that run. Empty where the live content was never seen.
    pub(super) fn objections(&self) -> &[Objection] {
        self.objections.get_or_init(|| {
            let service = &self.snapshot.service;
            let Some(live) = service.config_maps.seen() else { return Vec::new() };
            let components = service.components.seen().map_or(&[][..], Vec::as_slice);
            let tags = components.iter().flat_map(|component| &component.spec_images);
            let rule = prow::preset_rule(tags.filter_map(|image| image::tag(image)));
            prow::objections_live(live, &ConfigFiles::of_components(components.iter()), rule)
        })
    }
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
    let before = refusal(candidate, snapshot, refused);
    if let Some((content, Basis::Fact)) = before {
        let from = who_refused(content, failures, snapshot);
        return LoadVerdict { answer: LoadAnswer::Refused(in_words_of(content)), from };
    }
    let checked = candidate.content.as_deref().and_then(|content| by_checked(snapshot, content));
    let by_rules = match &candidate.config_maps {
        Err(why) => Some(candidate.objections.first().cloned().unwrap_or_else(|| Objection::of(why.to_string()))),
        Ok(_) => candidate.objections.first().cloned(),
    };
    let of_ours = by_rules.map(|objection| (objection, KnownFrom::Rules)).or_else(|| {
        let (content, _) = before?;
        let from = KnownFrom::Resembles { images: content.images.clone(), at: content.at };
        Some((in_words_of(content), from))
    });
    beside_ours(checked, of_ours).unwrap_or_else(LoadVerdict::unknown)
}

pub(super) fn of_live(
    snapshot: &Snapshot,
    failures: &[LoadFailure<'_>],
    refused: &[RefusedContent],
    rules: &ByRules<'_>,
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
        let from = KnownFrom::Log { images: vec![failure.image()] };
        return Some(LoadVerdict { answer: LoadAnswer::Refused(objection), from });
    }
    let files = ConfigFiles::of_components(components.iter());
    let layout = Layout::of_live(live, &files)?;
    if let Some(source) = layout::absent(&files, live, components) {
        return Some(without(snapshot, source));
    }
    let mut maps: Vec<&ConfigMapState> = layout.values().filter_map(|value| live.get(value.0)).collect();
    maps.dedup_by_key(|map| &map.key);
    // That they run is no FACT of a picture that is lost.
    let is_seen_now = snapshot.service.config_maps.known().is_some() && snapshot.service.components.known().is_some();
    if is_seen_now && maps.iter().all(|map| all_started_on(map, components, snapshot.taken_at)) {
        return Some(LoadVerdict { answer: LoadAnswer::Loads, from: KnownFrom::Running });
    }
    let is_it = |content: &&RefusedContent| {
        maps.iter().any(|map| map.key == content.config_map && digests(&map.values) == content.keys)
            && content.beside.as_ref().is_none_or(|then| *then == layout.digest_beside(&content.config_map))
    };
    if let Some(content) = refused.iter().find(is_it) {
        let from = who_refused(content, failures, snapshot);
        return Some(LoadVerdict { answer: LoadAnswer::Refused(in_words_of(content)), from });
    }
    // Nobody was asked, so what it is called makes no difference.
    let checked = (!snapshot.checked.is_empty()).then(|| layout.digest());
    let checked = checked.and_then(|content| by_checked(snapshot, &content));
    let of_ours = rules.objections().first().map(|objection| (objection.clone(), KnownFrom::Rules));
    Some(beside_ours(checked, of_ours).unwrap_or_else(LoadVerdict::unknown))
}

/// What is left of a configuration when a part of it is not there: containers may run on it, and no new one would start. What is not
/// seen may be there; and a key may have another name in its pod.
fn without(snapshot: &Snapshot, source: &ConfigFile) -> LoadVerdict {
    let service = &snapshot.service;
    let map = &source.config_map;
    let is_gone =
        service.sees_config_map(map) && service.config_maps.known().is_some_and(|maps| !maps.contains_key(map));
    if !is_gone {
        return LoadVerdict::unknown();
    }
    let message = "a ConfigMap that Prow reads is not there: no new pod starts without it";
    let objection = Objection { config_map: Some(map.clone()), ..Objection::of(message) };
    LoadVerdict { answer: LoadAnswer::Refused(objection), from: KnownFrom::Rules }
}

/// A FACT beats our own opinions; of two opinions the one that objects counts.
fn beside_ours(checked: Option<LoadVerdict>, of_ours: Option<(Objection, KnownFrom)>) -> Option<LoadVerdict> {
    let objects = of_ours.map(|(objection, from)| LoadVerdict { answer: LoadAnswer::Refused(objection), from });
    match (checked, objects) {
        (Some(checked), Some(objects)) if !checked.from.is_fact() && checked.refused().is_none() => Some(objects),
        (checked, objects) => checked.or(objects),
    }
}

/// Whether a content that was refused is live. FACT where all that Prow reads is what it was then, as far as that is known.
pub(crate) fn refused_is_live(snapshot: &Snapshot, content: &RefusedContent) -> Option<Basis> {
    let live = snapshot.service.config_maps.seen()?;
    live.get(&content.config_map).filter(|map| digests(&map.values) == content.keys)?;
    let files = ConfigFiles::of_components(snapshot.service.components.seen().into_iter().flatten());
    let beside = || Layout::of_live(live, &files).map(|layout| layout.digest_beside(&content.config_map));
    let is_beside_the_same = content.beside.is_none() || content.beside == beside();
    let is_fact = is_beside_the_same && Deployed::of(snapshot).doubts_of_refusal().is_empty();
    Some(if is_fact { Basis::Fact } else { Basis::Guess })
}

/// What was seen of this very content, by its digest.
pub(crate) fn by_checked(snapshot: &Snapshot, content: &str) -> Option<LoadVerdict> {
    let deployed = Deployed::of(snapshot);
    let about: Vec<&Checked> = snapshot.checked.iter().filter(|checked| checked.content == content).collect();
    let words = about.iter().filter_map(|checked| said_by(snapshot, &deployed, checked));
    // Of equals the first, which is the newest.
    started_before(snapshot, &deployed, &about).into_iter().chain(words).min_by_key(trust)
}

/// Why the word of this image, run as a Job in the cluster, would be no FACT about what is deployed; empty where it would be one.
pub fn doubts_of_job(snapshot: &Snapshot, image: &str) -> Vec<Doubt> {
    Deployed::of(snapshot).doubts(image::tag(image))
}

/// FACTs count before opinions. Among FACTs that components of every deployed version started on it, then a refusal. Among
/// opinions a refusal, whoever it is of.
fn trust(verdict: &LoadVerdict) -> (bool, u8, u8) {
    let is_fact = verdict.from.is_fact();
    let refuses = verdict.refused().is_some();
    let (class, who) = match &verdict.from {
        KnownFrom::Log { .. } | KnownFrom::Running => (0, 0),
        KnownFrom::Memory { .. } if is_fact => (0, 1),
        KnownFrom::Memory { .. } => (2 - u8::from(refuses), 0),
        KnownFrom::Checkconfig { .. } => (2 - u8::from(refuses), 1),
        KnownFrom::Job { .. } => (2 - u8::from(refuses), 2),
        KnownFrom::Resembles { .. } | KnownFrom::Rules => (3, 0),
    };
    (!is_fact, class, who)
}

/// Each of the tags that are deployed was seen to start on it.
fn started_before(snapshot: &Snapshot, deployed: &Deployed, about: &[&Checked]) -> Option<LoadVerdict> {
    let mut newest: Option<Timestamp> = None;
    let mut then = None;
    for tag in &deployed.tags {
        let (checked, further) = about.iter().find_map(|checked| match &checked.by {
            Witness::Running { server, uid, tag: other, further } if other == tag && is_here(snapshot, server, uid) => {
                Some((checked, further))
            }
            Witness::Running { .. } | Witness::Job { .. } | Witness::Checkconfig(_) => None,
        })?;
        newest = newest.max(Some(checked.at));
        then = then.or(further.as_ref());
    }
    let from =
        KnownFrom::Memory { images: deployed.tags.clone(), at: newest?, doubts: deployed.doubts_of_memory(then) };
    Some(LoadVerdict { answer: LoadAnswer::Loads, from })
}

fn said_by(snapshot: &Snapshot, deployed: &Deployed, checked: &Checked) -> Option<LoadVerdict> {
    let from = match &checked.by {
        // Of one tag: what of the others? Together they are a memory.
        Witness::Running { .. } => return None,
        Witness::Job { server, uid, image } => {
            let tag = image::tag(image).filter(|tag| deployed.tags.iter().any(|deployed| deployed == tag))?;
            let doubts = deployed.doubts(Some(tag));
            is_here(snapshot, server, uid).then(|| KnownFrom::Job { image: image.clone(), at: checked.at, doubts })?
        }
        Witness::Checkconfig(program) => {
            KnownFrom::Checkconfig { program: program.clone(), doubts: deployed.doubts(program.version.as_deref()) }
        }
    };
    let answer = match &checked.refused {
        Some(objection) => LoadAnswer::Refused(objection.clone()),
        None => LoadAnswer::Loads,
    };
    Some(LoadVerdict { answer, from })
}

fn is_here(snapshot: &Snapshot, server: &str, uid: &str) -> bool {
    snapshot.service.identity.seen().is_some_and(|own| own.server == server && own.uid == uid)
}

fn in_words_of(content: &RefusedContent) -> Objection {
    Objection {
        message: content.error.clone(),
        config_map: Some(content.config_map.clone()),
        config_key: content.culprits.first().cloned(),
        // Where it could not tell which of two it is, the other one is in question, too.
        repeats: content.culprits.get(1).map(|key| (content.config_map.clone(), key.clone())),
    }
}

/// The component that refuses it now, else the one that did.
fn who_refused(content: &RefusedContent, failures: &[LoadFailure<'_>], snapshot: &Snapshot) -> KnownFrom {
    let now = failures.iter().any(|failure| {
        failure.content == CrashContent::Live
            && content.images.contains(&failure.image())
            && failure.line.error == content.error
    });
    match now {
        true => KnownFrom::Log { images: content.images.clone() },
        false => KnownFrom::Memory {
            images: content.images.clone(),
            at: content.at,
            doubts: Deployed::of(snapshot).doubts_of_refusal(),
        },
    }
}

/// The next content that this checkconfig should be asked about, so that the live content, the revision asked for, git's head
/// and the newest revision that loads are known. `None` where they are.
pub fn to_check(snapshot: &Snapshot, program: &Checkconfig) -> Option<ToCheck> {
    let failures = load_failures(snapshot);
    let refused = refused_contents(snapshot, &failures);
    let asked = |content: &str| is_asked(snapshot, content, program);
    let is_open = |verdict: &LoadVerdict| !verdict.from.is_fact();
    if let Some(verdict) = of_live(snapshot, &failures, &refused, &ByRules::of(snapshot))
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

/// True where this checkconfig has answered about this content, whatever its word is worth here: asking it again would say the
/// same.
pub fn is_asked(snapshot: &Snapshot, content: &str, program: &Checkconfig) -> bool {
    snapshot.checked.iter().any(|checked| {
        checked.content == content && matches!(&checked.by, Witness::Checkconfig(other) if other == program)
    })
}

/// The head and what came before it, newest first, each once.
fn line(desired: &Desired) -> Vec<&Candidate> {
    let mut line = vec![&desired.head];
    line.extend(desired.candidates.iter().filter(|candidate| candidate.revision.id != desired.head.revision.id));
    line
}

/// Digest of the live content; `None` where a part of it is not there.
pub fn live_content(snapshot: &Snapshot) -> Option<String> {
    let components = snapshot.service.components.seen()?;
    let live = snapshot.service.config_maps.seen()?;
    let files = ConfigFiles::of_components(components.iter());
    if layout::absent(&files, live, components).is_some() {
        return None;
    }
    Layout::of_live(live, &files).map(|layout| layout.digest())
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
