//! What a picture leaves open of "would it load?", asked of a checkconfig on this machine, where there is one: the one given
//! with `--checkconfig`, else the one of the deployed tag in the cache. What is asked next is `diagnose::to_check`'s to say.
//!
//! That it gives no answer, or that the journal keeps none, keeps nobody from looking or planning: a picture says how its
//! checkconfig stands (`Snapshot::checkconfig`), a plan made from it warns. Only who asked for its word alone, by naming it to
//! `config check` or `config blame`, gets an error.

mod follow;
mod read;

pub use follow::follow;
pub use read::versions_read;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::check::{Checker, cached};
use crate::clock::Clock;
use crate::diagnose::bisect::{self, Next, OldEnd};
use crate::diagnose::{Diagnosis, ToCheck, by_checked, deployed_tags, is_asked, revision_verdict, to_check};
use crate::git::Repository;
use crate::journal::Journal;
use crate::model::{
    Candidate, Checked, ConfigMapState, Failure, FailureKind, Key, LoadAnswer, LoadVerdict, Snapshot, Source, Witness,
};
use crate::observe::desired::DesiredOptions;
use crate::observe::desired::line::Line;
use crate::prow::{ConfigFiles, Layout, preset_rule, repo_acl};
use crate::repair::{self, Plan, RepairId, Request};

/// More answers than any search needs.
const MOST: usize = 60;
/// For how long a checkconfig is asked about one picture, all questions together: a picture ages meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);
/// A picture carries no more answers than this, the newest ones: as many as the journal gives.
const MOST_KNOWN: usize = 5000;
/// How many commits are looked at for one that loads.
pub const FURTHER: usize = 1000;

/// How far to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Nothing, and none is looked for: what is remembered will do.
    Remembered,
    /// Nothing: the caller asks itself.
    Nothing,
    /// The live content, the revision asked for, git's head.
    Named,
    /// And the newest revision that loads.
    NearestGood,
}

/// Where a checkconfig may lie.
#[derive(Debug, Clone)]
enum Place {
    Given(PathBuf),
    Cache(PathBuf),
    Nowhere,
}

pub struct Checking {
    place: Place,
    journal: Journal,
    clock: Clock,
    /// With what the repository is read; the files are filled in from the cluster.
    options: DesiredOptions,
    opened: Mutex<Option<Opened>>,
    /// For how long it is asked about one picture.
    patience: Duration,
}

/// What came of looking for one.
struct Opened {
    /// The tags that it was looked for with.
    tags: Vec<String>,
    checker: Result<Arc<Checker>, Failure>,
}

/// What came of asking.
pub struct Outcome {
    /// A good revision older than the candidates, if that far had to be searched.
    pub further: Vec<Candidate>,
    /// Why not all could be asked. The picture says it, too.
    pub unchecked: Option<Failure>,
    /// What the journal could not tell or keep.
    pub forgotten: Option<Failure>,
}

impl Checking {
    /// In a drill there is no Prow whose checkconfig this could be.
    pub fn of_drill(journal: Journal, clock: Clock, options: DesiredOptions) -> Checking {
        Checking { place: Place::Nowhere, journal, clock, options, opened: Mutex::default(), patience: PATIENCE }
    }

    pub fn new(
        given: Option<PathBuf>,
        cache: Option<PathBuf>,
        journal: Journal,
        clock: Clock,
        options: DesiredOptions,
    ) -> Checking {
        let place = match (given, cache) {
            (Some(path), _) => Place::Given(path),
            (None, Some(cache)) => Place::Cache(cache),
            (None, None) => Place::Nowhere,
        };
        Checking { place, journal, clock, options, opened: Mutex::default(), patience: PATIENCE }
    }

    /// False where there is none to be had, whatever is deployed.
    pub fn may_ask(&self) -> bool {
        match &self.place {
            Place::Given(_) => true,
            Place::Cache(cache) => cache.join("checkconfig").is_dir(),
            Place::Nowhere => false,
        }
    }

    /// True where a person named one: its word is wanted.
    pub fn is_named(&self) -> bool {
        match &self.place {
            Place::Given(_) => true,
            Place::Cache(_) | Place::Nowhere => false,
        }
    }

    /// The checkconfig for what is deployed; `None` where there is none to be had.
    ///
    /// # Errors
    /// It is there, or was named, and is not to be used. Found out once, until [`Checking::forget_failure`].
    pub async fn checker(&self, tags: &[String]) -> Result<Option<Arc<Checker>>, Failure> {
        let mut opened = self.opened.lock().await;
        if let Some(known) = opened.as_ref().filter(|known| known.tags == tags) {
            return known.checker.clone().map(Some);
        }
        let checker = match &self.place {
            Place::Nowhere => return Ok(None),
            Place::Given(path) => Checker::open(path, None).await,
            Place::Cache(cache) => {
                let found = tags.iter().find_map(|tag| Some((tag, cached(cache, tag)?)));
                let Some((tag, path)) = found else { return Ok(None) };
                Checker::open(&path, Some(tag)).await
            }
        };
        let checker = checker.map(Arc::new);
        *opened = Some(Opened { tags: tags.to_vec(), checker: checker.clone() });
        checker.map(Some)
    }

    /// It may have been mended since.
    async fn forget_failure(&self) {
        let mut opened = self.opened.lock().await;
        if opened.as_ref().is_some_and(|known| known.checker.is_err()) {
            *opened = None;
        }
    }

    /// Puts into a picture what is remembered, and what a checkconfig says of what that leaves open. New answers are
    /// remembered.
    pub async fn complete(&self, repository: Option<&Repository>, snapshot: &mut Snapshot, scope: Scope) -> Outcome {
        let mut outcome = Outcome { further: Vec::new(), unchecked: None, forgotten: None };
        let tags = tags_of(snapshot);
        let opened = match scope {
            Scope::Remembered => Ok(None),
            Scope::Nothing | Scope::Named | Scope::NearestGood => self.checker(&tags).await,
        };
        let checker = opened.unwrap_or_else(|failure| {
            outcome.unchecked = Some(failure);
            None
        });
        let mut known = self.journal.checked().unwrap_or_else(|failure| {
            outcome.forgotten = Some(failure);
            Vec::new()
        });
        // The next picture brings this one's answers back, so each is taken once.
        known = together(known, std::mem::take(&mut snapshot.checked));
        known.retain(|checked| match (&checked.by, &checker) {
            // One of another place whose version is known keeps its word; what lay at this place before has none.
            (Witness::Checkconfig(program), Some(checker)) => {
                let own = checker.program();
                program == own || program.version.is_some() && program.path != own.path
            }
            // One of another day: of it is known what its place said, or nothing.
            (Witness::Checkconfig(program), None) => program.version.is_some(),
            (Witness::Running { .. } | Witness::Job { .. }, _) => true,
        });
        let before = known.len();
        snapshot.checked = known;
        if let (Some(checker), Scope::Named | Scope::NearestGood) = (&checker, scope) {
            // What it has answered by then is in the picture, and remembered.
            let asking = self.ask(checker, repository, snapshot, scope, &mut outcome.further);
            let asked = tokio::time::timeout(self.patience, asking).await;
            outcome.unchecked = asked.unwrap_or_else(|_| Err(self.too_slow(checker))).err();
        }
        let new = snapshot.checked.len() - before;
        if let Err(failure) = self.journal.remember_checked(&snapshot.checked[..new]) {
            outcome.forgotten.get_or_insert(failure);
        }
        snapshot.checkconfig = match (&outcome.unchecked, checker) {
            (Some(failure), _) => Some(Source::Lost { error: failure.clone(), last: None }),
            (None, Some(_)) => Some(Source::Known { value: (), at: self.clock.now() }),
            (None, None) => None,
        };
        outcome
    }

    fn too_slow(&self, checker: &Checker) -> Failure {
        let path = &checker.program().path;
        Failure::new(
            FailureKind::Tool,
            format!("{path} did not answer all that was asked within {} s", self.patience.as_secs()),
        )
        .hint("try again: what it did answer is remembered")
    }

    async fn ask(
        &self,
        checker: &Checker,
        repository: Option<&Repository>,
        snapshot: &mut Snapshot,
        scope: Scope,
        further: &mut Vec<Candidate>,
    ) -> Result<(), Failure> {
        let mut last = None;
        for _ in 0..MOST {
            let Some(wanted) = to_check(snapshot, checker.program()) else { return Ok(()) };
            if last.as_ref() == Some(&wanted) {
                // What it is called and what was laid out differ: the picture is between two readings.
                return Ok(());
            }
            let answer = match &wanted {
                ToCheck::Live => match live_layout(snapshot) {
                    Some(layout) => checker.check(&layout, self.clock.now()).await?,
                    None => return Ok(()),
                },
                ToCheck::Revision(id) => {
                    let Some(candidate) = candidate_of(snapshot, id).filter(|_| is_in(scope, snapshot, id)) else {
                        return Ok(());
                    };
                    self.check(checker, snapshot, &candidate).await?
                }
                ToCheck::Further => {
                    if let (Scope::NearestGood, Some(repository)) = (scope, repository) {
                        self.look_further(checker, repository, snapshot, further).await?;
                    }
                    return Ok(());
                }
            };
            snapshot.checked.insert(0, answer);
            last = Some(wanted);
        }
        Ok(())
    }

    /// Asks about a revision.
    ///
    /// # Errors
    /// There is no verdict.
    pub async fn check(
        &self,
        checker: &Checker,
        snapshot: &Snapshot,
        candidate: &Candidate,
    ) -> Result<Checked, Failure> {
        let nothing = || {
            Failure::new(
                FailureKind::Tool,
                format!("revision {} has no config.yaml to check", candidate.revision.short()),
            )
            .hint("say which file it is with --config-path PATH")
        };
        let maps = candidate.config_maps.as_ref().map_err(|_| nothing())?;
        let files = self.options_for(snapshot).files_among(maps);
        let layout = Layout::of_desired(maps, &files).ok_or_else(nothing)?;
        checker.check(&layout, self.clock.now()).await
    }

    /// Remembers an answer. Not remembering it costs a second, no more.
    pub fn keep(&self, answer: &Checked) {
        drop(self.journal.remember_checked(std::slice::from_ref(answer)));
    }

    /// Makes a plan. What a `sync-config` leaves live, its own and what stays beside it, is asked about before the plan is
    /// given away; where there is no answer, it says so.
    ///
    /// # Errors
    /// It is refused.
    pub async fn plan(
        &self,
        request: Request,
        snapshot: Arc<Snapshot>,
        diagnosis: Arc<Diagnosis>,
    ) -> Result<Plan, Failure> {
        let is_sync = request.repair == RepairId::SyncConfig;
        let make = async |snapshot: &Arc<Snapshot>| {
            let (request, snapshot, diagnosis) = (request.clone(), Arc::clone(snapshot), Arc::clone(&diagnosis));
            // A large map makes it slow.
            let made = tokio::task::spawn_blocking(move || repair::plan(&request, &snapshot, &diagnosis)).await;
            let lost = |error: tokio::task::JoinError| {
                Failure::new(FailureKind::Tool, "the planning ended without a plan").cause(error.to_string())
            };
            made.map_err(lost)?.map_err(Failure::from)
        };
        let plan = make(&snapshot).await?;
        let Some(after) = repair::live_after(&plan, &snapshot).filter(|_| is_sync) else { return Ok(plan) };
        let mut asked = snapshot.as_ref().clone();
        match self.complete_after(&mut asked, &after).await {
            Ok(AskedAfter::Nothing) => Ok(plan),
            Ok(AskedAfter::Answered) => make(&Arc::new(asked)).await,
            Err(failure) => {
                asked.checkconfig = Some(Source::Lost { error: failure, last: None });
                make(&Arc::new(asked)).await
            }
        }
    }

    /// Asks about what would be live, if that is not known.
    async fn complete_after(
        &self,
        snapshot: &mut Snapshot,
        after: &BTreeMap<Key, ConfigMapState>,
    ) -> Result<AskedAfter, Failure> {
        // Nobody waits again for one that has just failed.
        if matches!(snapshot.checkconfig, Some(Source::Lost { .. })) {
            return Ok(AskedAfter::Nothing);
        }
        let Some(checker) = self.checker(&tags_of(snapshot)).await? else { return Ok(AskedAfter::Nothing) };
        let files = ConfigFiles::of_components(snapshot.service.components.seen().into_iter().flatten());
        let Some(layout) = Layout::of_live(after, &files) else { return Ok(AskedAfter::Nothing) };
        let content = layout.digest();
        // The word of somebody else that is no FACT leaves it open.
        let is_known = || by_checked(snapshot, &content).is_some_and(|verdict| verdict.from.is_fact());
        if is_asked(snapshot, &content, checker.program()) || is_known() {
            return Ok(AskedAfter::Nothing);
        }
        let answer = checker.check(&layout, self.clock.now()).await?;
        self.keep(&answer);
        snapshot.checked.insert(0, answer);
        Ok(AskedAfter::Answered)
    }

    /// With what the repository is read where nothing is known to be deployed.
    pub fn options(&self) -> &DesiredOptions {
        &self.options
    }

    /// With what the repository is read for what is deployed.
    pub fn options_for(&self, snapshot: &Snapshot) -> DesiredOptions {
        let components = snapshot.service.components.seen().map_or(&[][..], Vec::as_slice);
        if components.is_empty() {
            return self.options.clone();
        }
        let tags = deployed_tags(components);
        let tags = || tags.iter().map(String::as_str);
        DesiredOptions {
            rule: preset_rule(tags()),
            acl: repo_acl(tags()),
            files: ConfigFiles::of_components(components.iter()),
            ..self.options.clone()
        }
    }

    /// Searches revisions older than the candidates for the newest that loads.
    async fn look_further(
        &self,
        checker: &Checker,
        repository: &Repository,
        snapshot: &mut Snapshot,
        further: &mut Vec<Candidate>,
    ) -> Result<(), Failure> {
        let Some(oldest) = snapshot.desired.seen().and_then(|desired| desired.candidates.last()).cloned() else {
            return Ok(());
        };
        let options = self.options_for(snapshot);
        let mut line = Line::read(repository, &options, &oldest.revision, FURTHER).await?;
        let mut answers = vec![None; line.revisions().len()];
        // Those without a config.yaml where it is looked for: most likely older than its move there.
        let mut without: Vec<usize> = Vec::new();
        if let Some(first) = answers.first_mut() {
            *first = Some(false);
        }
        loop {
            let (n, is_found) = match bisect::next(&answers, OldEnd::Open) {
                Next::Ask(n) => (n, false),
                Next::Found { good, .. } => (good, true),
                Next::NothingBad => return Ok(()),
                Next::NothingGood => match without.iter().min() {
                    // Steps grow: one that loads may lie between the last that was asked about and the move.
                    Some(moved) => {
                        answers.truncate(*moved);
                        without.clear();
                        continue;
                    }
                    None => return Ok(()),
                },
            };
            let Some(candidate) = line.candidate(n).await? else { return Ok(()) };
            if is_found {
                further.push(candidate);
                snapshot.desired = snapshot.desired.map(|desired| desired.with_further(further));
                return Ok(());
            }
            let verdict = revision_verdict(snapshot, &candidate);
            if candidate.content.is_none() {
                without.push(n);
            }
            answers[n] = Some(match (&verdict.answer, can_tell_more(checker, snapshot, &candidate, &verdict)) {
                (LoadAnswer::Refused(_), _) | (LoadAnswer::Unknown, false) => false,
                (LoadAnswer::Loads, false) => true,
                (LoadAnswer::Loads | LoadAnswer::Unknown, true) => {
                    let answer = self.check(checker, snapshot, &candidate).await?;
                    let loads = answer.refused.is_none();
                    snapshot.checked.insert(0, answer);
                    loads
                }
            });
        }
    }
}

/// What came of asking about what a plan would leave.
enum AskedAfter {
    /// It is known, or there is nobody to ask.
    Nothing,
    Answered,
}

/// What the journal remembers and what the picture brings beside it, newest first. The same answer of the same witness about
/// the same content is one, whenever it was given.
fn together(remembered: Vec<Checked>, brought: Vec<Checked>) -> Vec<Checked> {
    let mut places: HashMap<String, Vec<usize>> = HashMap::new();
    let mut all: Vec<Checked> = Vec::with_capacity(remembered.len());
    for checked in remembered.into_iter().chain(brought) {
        let known = places.entry(checked.content.clone()).or_default();
        if known.iter().any(|n| all[*n].by == checked.by && all[*n].refused == checked.refused) {
            continue;
        }
        known.push(all.len());
        all.push(checked);
    }
    all.sort_by_key(|checked| std::cmp::Reverse(checked.at));
    all.truncate(MOST_KNOWN);
    all
}

/// Whether a checkconfig adds something to what is known of a revision: there is a content to ask about, no FACT tells, and it
/// has not answered about it yet.
pub fn can_tell_more(checker: &Checker, snapshot: &Snapshot, candidate: &Candidate, verdict: &LoadVerdict) -> bool {
    let is_new = |content: &str| !is_asked(snapshot, content, checker.program());
    !verdict.from.is_fact() && candidate.content.as_deref().is_some_and(is_new)
}

/// What is deployed, as far as it can be seen.
pub fn tags_of(snapshot: &Snapshot) -> Vec<String> {
    deployed_tags(snapshot.service.components.seen().map_or(&[], Vec::as_slice))
}

fn live_layout(snapshot: &Snapshot) -> Option<Layout<'_>> {
    let files = ConfigFiles::of_components(snapshot.service.components.seen()?.iter());
    Layout::of_live(snapshot.service.config_maps.seen()?, &files)
}

fn candidate_of(snapshot: &Snapshot, id: &str) -> Option<Candidate> {
    let desired = snapshot.desired.seen()?;
    let all = desired.asked.iter().chain([&desired.head]).chain(&desired.candidates);
    all.into_iter().find(|candidate| candidate.revision.id == id).cloned()
}

fn is_in(scope: Scope, snapshot: &Snapshot, id: &str) -> bool {
    let named: BTreeSet<&str> = snapshot
        .desired
        .seen()
        .into_iter()
        .flat_map(|desired| desired.asked.iter().chain([&desired.head]))
        .map(|candidate| candidate.revision.id.as_str())
        .collect();
    match scope {
        Scope::Remembered | Scope::Nothing => false,
        Scope::Named => named.contains(id),
        Scope::NearestGood => true,
    }
}

#[cfg(test)]
mod tests;
