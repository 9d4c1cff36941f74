//! Which revision a repair would write: the default of `--revision`.
//!
//! The head, where nothing speaks against it; else the newest known to load; else the newest that nothing speaks
//! against. In the first minute of 2019-01-23 the head *was* the broken commit: live equalled git.

use crate::model::{
    Candidate, ConfigMapState, Desired, DesiredConfigMap, Key, KnownFrom, LoadAnswer, LoadVerdict, RefusedContent,
    Revision, Snapshot,
};

use crate::prow::{ConfigFiles, Layout, layout};

use super::compare::{is_refused_content, known_keys, same_value};
use super::load::of_candidate;
use super::load_failure::{CrashContent, LoadFailure, UPLOADERS};
use super::started::all_started_on;
use super::{Basis, ConfigMapDrift, DriftState};

/// Which revision a repair would write, and why that one.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    pub revision: Revision,
    pub basis: Basis,
    pub why: ChoiceReason,
    /// Would it load?
    pub verdict: LoadVerdict,
}

impl Choice {
    /// Why this one, in words.
    pub fn reason(&self) -> String {
        let who = match &self.verdict.from {
            KnownFrom::Running => "Ready containers started on".to_owned(),
            KnownFrom::Checkconfig { .. } | KnownFrom::Job { .. } if self.verdict.answer == LoadAnswer::Loads => {
                format!("{} accepts", self.verdict.from)
            }
            KnownFrom::Memory { images, .. } if self.verdict.answer == LoadAnswer::Loads => {
                format!("{} started on before", images.join(", "))
            }
            KnownFrom::Log { .. }
            | KnownFrom::Memory { .. }
            | KnownFrom::Resembles { .. }
            | KnownFrom::Checkconfig { .. }
            | KnownFrom::Job { .. }
            | KnownFrom::Rules => "nothing speaks against".to_owned(),
        };
        match self.why {
            ChoiceReason::Asked => "asked for with --revision".to_owned(),
            ChoiceReason::Head if self.verdict.from == KnownFrom::Running => {
                "git's head, and nothing speaks against it".to_owned()
            }
            ChoiceReason::Head if self.verdict.answer == LoadAnswer::Loads => format!("git's head, which {who}"),
            ChoiceReason::Head => "git's head, and nothing speaks against it".to_owned(),
            ChoiceReason::NewestWithoutObjection if self.verdict.refused().is_some() => {
                "the newest revision that an opinion alone speaks against".to_owned()
            }
            ChoiceReason::NewestKnownToLoad | ChoiceReason::NewestWithoutObjection => {
                format!("the newest revision that {who}")
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChoiceReason {
    /// `--revision`.
    Asked,
    /// The upstream's head, and nothing speaks against it.
    Head,
    /// The newest revision known to load: the verdict says from where.
    NewestKnownToLoad,
    /// The newest revision that nothing speaks against; where there is none, that no more than an opinion does.
    NewestWithoutObjection,
}

/// Chooses, or `None` where git cannot be seen or no revision is acceptable.
pub(super) fn choose(snapshot: &Snapshot, failures: &[LoadFailure<'_>], refused: &[RefusedContent]) -> Option<Choice> {
    let desired = snapshot.desired.seen()?;
    let verdict = |candidate: &Candidate| of_candidate(candidate, snapshot, failures, refused);
    let choice = |candidate: &Candidate, why| {
        let verdict = verdict(candidate);
        let basis = if verdict.loads_as_fact() { Basis::Fact } else { Basis::Guess };
        Choice { revision: candidate.revision.clone(), basis, why, verdict }
    };
    if let Some(asked) = &desired.asked {
        return Some(choice(asked, ChoiceReason::Asked));
    }
    if verdict(&desired.head).refused().is_none() {
        return Some(choice(&desired.head, ChoiceReason::Head));
    }
    let verdicts: Vec<(&Candidate, LoadVerdict)> =
        desired.candidates.iter().map(|candidate| (candidate, verdict(candidate))).collect();
    if let Some((loaded, _)) = verdicts.iter().find(|(_, verdict)| verdict.loads_as_fact()) {
        return Some(choice(loaded, ChoiceReason::NewestKnownToLoad));
    }
    let acceptable = acceptable(&verdicts);
    let at_least = || verdicts.iter().find(|(candidate, verdict)| is_opinion_alone(candidate, verdict));
    let (newest, _) = acceptable.or_else(at_least)?;
    Some(choice(newest, ChoiceReason::NewestWithoutObjection))
}

/// Where a key that was only guessed to be at fault stands in every revision, that guess speaks against none of them; nor does a
/// checkconfig that is not what is deployed and refuses them all.
fn is_opinion_alone(candidate: &Candidate, verdict: &LoadVerdict) -> bool {
    match &verdict.from {
        KnownFrom::Resembles { .. } => true,
        KnownFrom::Checkconfig { .. } | KnownFrom::Job { .. } => {
            !verdict.from.is_fact() && candidate.config_maps.is_ok() && candidate.objections.is_empty()
        }
        KnownFrom::Log { .. } | KnownFrom::Running | KnownFrom::Memory { .. } | KnownFrom::Rules => false,
    }
}

/// The newest that nothing speaks against. What lies between two that a checkconfig refuses is hardly any better, asked or not:
/// where it has found an older one that loads, whatever its word is worth, those in between are passed over.
fn acceptable<'a, 'c>(verdicts: &'a [(&'c Candidate, LoadVerdict)]) -> Option<&'a (&'c Candidate, LoadVerdict)> {
    let is_refused_by_prow = |verdict: &LoadVerdict| {
        verdict.refused().is_some()
            && matches!(verdict.from, KnownFrom::Checkconfig { .. } | KnownFrom::Job { .. } | KnownFrom::Log { .. })
    };
    let good = verdicts.iter().position(|(_, verdict)| verdict.answer == LoadAnswer::Loads);
    let bad = good.and_then(|good| verdicts[..good].iter().rposition(|(_, verdict)| is_refused_by_prow(verdict)));
    let from = bad.map_or(0, |bad| bad + 1);
    verdicts[from..].iter().find(|(_, verdict)| verdict.refused().is_none())
}

/// The candidate that a choice names.
pub fn choice_candidate<'a>(desired: &'a Desired, choice: &Choice) -> Option<&'a Candidate> {
    std::iter::once(&desired.head)
        .chain(&desired.asked)
        .chain(&desired.candidates)
        .find(|candidate| candidate.revision.id == choice.revision.id)
}

/// The refused content that a revision asks for again. GUESS where it asks for other things beside it than were there when it was
/// refused: two files of two ConfigMaps may have collided.
pub(super) fn refusal<'a>(
    candidate: &Candidate,
    snapshot: &Snapshot,
    refused: &'a [RefusedContent],
) -> Option<(&'a RefusedContent, Basis)> {
    let desired = snapshot.desired.seen()?;
    let maps = candidate.config_maps.as_ref().ok()?;
    let beside = |content: &RefusedContent| {
        let files = ConfigFiles::of_components(snapshot.service.components.seen().into_iter().flatten());
        Layout::of_desired(maps, &files).map(|layout| layout.digest_beside(&content.config_map))
    };
    let found = refused.iter().filter_map(|content| {
        let known = known_keys(desired, &content.config_map);
        let basis = maps.iter().filter_map(|map| is_refused_content(map, content, &known)).min()?;
        let basis = match (basis, &content.beside) {
            (Basis::Fact, Some(then)) if beside(content).is_none_or(|now| now != *then) => Basis::Guess,
            (basis, _) => basis,
        };
        Some((content, basis))
    });
    found.min_by_key(|(_, basis)| *basis)
}

/// FACT: the live ConfigMaps hold this revision, on each of them a Ready container of every version that reads it started after
/// it was written, and nobody refuses what is live.
pub(super) fn is_known_to_load(candidate: &Candidate, snapshot: &Snapshot, failures: &[LoadFailure<'_>]) -> bool {
    if failures.iter().any(|failure| failure.content == CrashContent::Live) {
        return false;
    }
    let (Ok(desired), Some(live), Some(components)) =
        (candidate.config_maps.as_ref(), snapshot.service.config_maps.known(), snapshot.service.components.known())
    else {
        return false;
    };
    let files = ConfigFiles::of_components(components.iter());
    if layout::absent(&files, live, components).is_some() {
        return false;
    }
    let service = &snapshot.service.alias;
    let is_here =
        |map: &&DesiredConfigMap| snapshot.config_map_cluster(&map.cluster).is_some_and(|view| view.alias == *service);
    let mine: Vec<_> = desired.iter().filter(is_here).collect();
    !mine.is_empty()
        && mine.iter().all(|map| {
            live.get(&map.key)
                // What is dearer to tell comes last.
                .is_some_and(|state| all_started_on(state, components, snapshot.taken_at) && holds(state, map))
        })
}

/// Why the checkout may be behind: Prow itself uploaded something that no revision here asks for, after the checkout was
/// last fetched. Then git's head is not what people merged last, and writing it would take production back.
pub fn stale_checkout(snapshot: &Snapshot, drift: &[ConfigMapDrift]) -> Option<String> {
    let desired = snapshot.desired.seen()?;
    let seen_until = desired.fetched.unwrap_or(desired.head.revision.committed).max(desired.head.revision.committed);
    drift.iter().filter(|drift| drift.state == DriftState::Drift).find_map(|drift| {
        let key = Key::new(&drift.object.namespace, &drift.object.name);
        let state = snapshot.live_config_map(&drift.object)?;
        let writer = state.last_writer().filter(|writer| UPLOADERS.contains(&writer.manager.as_str()))?;
        let written = writer.at.filter(|at| *at > seen_until)?;
        let is_here = |candidate: &Candidate| {
            let maps = candidate.config_maps.as_ref().map_or(&[][..], |maps| maps.as_slice());
            snapshot.asked_of(maps, &drift.object).is_some_and(|map| holds(state, map))
        };
        let known = is_here(&desired.head) || desired.candidates.iter().any(is_here);
        (!known).then(|| {
            format!(
                "ConfigMap {key} was uploaded {written} by {} with a content that no revision here asks for, and the checkout \
                 knows nothing newer than {seen_until}",
                writer.manager
            )
        })
    })
}

/// True when a live ConfigMap holds everything that a revision asks of it.
fn holds(state: &ConfigMapState, map: &DesiredConfigMap) -> bool {
    map.entries.iter().all(|(key, entry)| state.values.get(key).is_some_and(|value| same_value(value, &entry.bytes)))
}
