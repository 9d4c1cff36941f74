//! The configuration repository as [`Desired`]: what a repair could write, revision by revision.
//!
//! The history is walked backwards on the first-parent line from one listing of files, undoing each commit's changes,
//! so that fifty revisions cost a handful of git calls; files are read once by their hash, and revisions that ask for
//! the same share one rendering.
//!
//! - [`line`]: the same history further back, a revision at a time, for whoever searches it
//! - `state`: the files of one revision, as far as maps want them
//! - `links`: where a path of a state leads
//! - `store`: contents, by hash
//! - `shelf`: what was read, kept for the next start
//! - `render`: a state to ConfigMaps and objections, with everything remembered between revisions

pub mod line;
mod links;
mod render;
mod shelf;
mod state;
mod store;

use std::path::PathBuf;

use crate::git::Repository;
use crate::model::{Candidate, Desired, DesiredConfigMap, Failure, Mapping, Revision, Timestamp};
use crate::prow::{ConfigFiles, PresetRule, RepoAcl};
use render::{Kept, Renderer};
use state::State;

/// What to read of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredOptions {
    /// `--revision`.
    pub revision: Option<String>,
    /// `--plugin-config`: path of plugins.yaml inside the repository.
    pub plugin_config: Option<String>,
    /// `--config-path`: path of config.yaml inside the repository.
    pub config_path: Option<String>,
    /// `--job-config-path`: folder of job files inside the repository.
    pub job_config_path: Option<String>,
    /// `--worktree`: what was asked for is the work tree.
    pub worktree: bool,
    /// How many revisions to offer at most.
    pub history: usize,
    /// The rule of the Prow that is deployed.
    pub rule: PresetRule,
    /// What it makes of maps that are bound to repositories.
    pub acl: RepoAcl,
    /// Which ConfigMaps the components read.
    pub files: ConfigFiles,
    /// The folder in which what was read is kept for the next start.
    pub cache: Option<PathBuf>,
}

impl Default for DesiredOptions {
    fn default() -> Self {
        DesiredOptions {
            revision: None,
            plugin_config: None,
            config_path: None,
            job_config_path: None,
            worktree: false,
            history: 50,
            rule: PresetRule::Unknown,
            acl: RepoAcl::Unknown,
            files: ConfigFiles::by_name(),
            cache: None,
        }
    }
}

/// A revision rendered, with what is to be said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub candidate: Candidate,
    pub mapping: Mapping,
    /// What was not understood, and so not judged.
    pub not_understood: Vec<String>,
}

impl DesiredOptions {
    /// The ConfigMaps that are Prow's configuration, among those that a revision asks for.
    pub fn files_among(&self, config_maps: &[DesiredConfigMap]) -> ConfigFiles {
        render::files_of(self, config_maps)
    }
}

/// Reads the upstream's head, what was asked for, and the history before the head.
///
/// # Errors
/// git fails, the revision asked for does not exist, or plugins.yaml cannot be found. A plugins.yaml that does not
/// parse at some revision is said by that revision's candidate.
pub async fn read(repository: &Repository, options: &DesiredOptions) -> Result<Desired, Failure> {
    read_with(&mut Warmth::default(), repository, options).await
}

/// What a reading can take over from one just before it.
#[derive(Default)]
pub struct Warmth {
    head: Option<Head>,
    /// `None` before the first reading.
    kept: Option<Kept>,
}

/// The upstream's name, its head, and the files of that.
struct Head {
    upstream: String,
    revision: Revision,
    state: State,
    fetched: Option<Timestamp>,
}

/// A repository, and what was read of it ahead.
pub struct Prepared {
    pub repository: Repository,
    pub warmth: Warmth,
}

impl From<Repository> for Prepared {
    fn from(repository: Repository) -> Self {
        Prepared { repository, warmth: Warmth::default() }
    }
}

impl Prepared {
    /// Reads the head ahead, while nobody knows yet what is deployed: [`read_with`] then needs little more. That it fails
    /// is found again there.
    pub async fn ahead(repository: Repository, options: &DesiredOptions) -> Self {
        let mut prepared = Prepared::from(repository);
        let head = DesiredOptions { history: 1, ..options.clone() };
        drop(read_with(&mut prepared.warmth, &prepared.repository, &head).await);
        prepared
    }
}

/// As [`read`]; takes what there is from a reading just before it, and leaves there what the next one can take.
///
/// # Errors
/// As [`read`].
pub async fn read_with(
    warmth: &mut Warmth,
    repository: &Repository,
    options: &DesiredOptions,
) -> Result<Desired, Failure> {
    let renderer = async {
        match warmth.kept.take() {
            Some(kept) => Renderer::with(kept, repository, options),
            None => Renderer::open(repository, options).await,
        }
    };
    let (head, mut renderer, before) = match warmth.head.take() {
        Some(head) => {
            let renderer = renderer.await;
            let before = renderer.amount();
            (head, renderer, before)
        }
        None => {
            let (upstream, fetched, mut renderer) = tokio::join!(repository.upstream(), repository.fetched(), renderer);
            let before = renderer.amount();
            let (upstream, revision) = upstream?;
            let state = renderer.find(&revision).await?;
            (Head { upstream, revision, state, fetched }, renderer, before)
        }
    };
    let read = read_from(&head, &mut renderer, repository, options).await;
    let is_more = renderer.amount() != before;
    let kept = renderer.keep();
    if let Some(folder) = options.cache.as_ref().filter(|_| is_more) {
        kept.put_on_shelf(folder).await;
    }
    (warmth.head, warmth.kept) = (Some(head), Some(kept));
    read
}

async fn read_from(
    head: &Head,
    renderer: &mut Renderer<'_>,
    repository: &Repository,
    options: &DesiredOptions,
) -> Result<Desired, Failure> {
    let mut state = head.state.clone();
    let plugins = state.plugins.clone();
    let mut not_understood = Vec::new();
    let mut mapping = Mapping::default();
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut from = head.revision.clone();
    let history = options.history.max(1);
    while candidates.len() < history {
        let stretch = stretch(renderer, repository, &state, &from, candidates.is_empty(), history).await?;
        let kept: Vec<_> = stretch.states.iter().take(history - candidates.len()).collect();
        renderer.load_files(&kept.iter().map(|(_, state)| state).collect::<Vec<_>>()).await?;
        for (revision, state) in kept {
            let reading = renderer.render(revision, state);
            if candidates.is_empty() {
                not_understood.extend(reading.not_understood);
                mapping = reading.mapping;
            }
            candidates.push(reading.candidate);
        }
        // Maps of older revisions look elsewhere: begin again there, with all files.
        let Some(revision) = stretch.beyond else {
            break;
        };
        state = State::at(repository, &revision, &plugins).await?;
        from = revision;
    }
    let asked = asked(renderer, repository, options, &plugins).await?;
    let asked = asked.map(|reading| {
        let fresh: Vec<String> =
            reading.not_understood.into_iter().filter(|note| !not_understood.contains(note)).collect();
        not_understood.extend(fresh);
        mapping = reading.mapping;
        reading.candidate
    });
    let first = candidates.first().cloned().ok_or_else(|| no_history(repository))?;
    Ok(Desired {
        repository: repository.shown(),
        head: first,
        asked,
        candidates,
        upstream: head.upstream.clone(),
        fetched: head.fetched,
        mapping,
        not_understood,
    })
}

/// Reads one revision: `revision`, else the work tree where options say so, else the one that options ask for, else
/// the upstream's head. That it cannot be rendered is said by the candidate.
///
/// # Errors
/// As [`read`].
pub async fn candidate(
    repository: &Repository,
    revision: Option<&str>,
    options: &DesiredOptions,
) -> Result<Reading, Failure> {
    match revision.or(options.revision.as_deref()) {
        Some(revision) => read_one(repository, &repository.resolve(revision).await?, options).await,
        None if options.worktree => read_worktree(repository, options).await,
        None => read_one(repository, &repository.upstream().await?.1, options).await,
    }
}

async fn read_one(repository: &Repository, revision: &Revision, options: &DesiredOptions) -> Result<Reading, Failure> {
    let mut renderer = Renderer::open(repository, options).await;
    let state = renderer.find(revision).await?;
    read_state(&mut renderer, revision, &state).await
}

async fn read_worktree(repository: &Repository, options: &DesiredOptions) -> Result<Reading, Failure> {
    let files = repository.worktree().await?;
    read_one(&files, &files.upstream().await?.1, options).await
}

async fn asked(
    renderer: &mut Renderer<'_>,
    repository: &Repository,
    options: &DesiredOptions,
    plugins: &str,
) -> Result<Option<Reading>, Failure> {
    let Some(revision) = &options.revision else {
        return if options.worktree { Ok(Some(read_worktree(repository, options).await?)) } else { Ok(None) };
    };
    let revision = repository.resolve(revision).await?;
    let state = State::at(repository, &revision, plugins).await?;
    Ok(Some(read_state(renderer, &revision, &state).await?))
}

async fn read_state(renderer: &mut Renderer<'_>, revision: &Revision, state: &State) -> Result<Reading, Failure> {
    renderer.load_plugins(state, &[]).await?;
    renderer.load_files(&[state]).await?;
    Ok(renderer.render(revision, state))
}

/// States along a stretch of history, newest first: the head, and what changed mapped files.
struct Stretch {
    states: Vec<(Revision, State)>,
    /// Where maps begin to look outside of what was listed.
    beyond: Option<Revision>,
}

/// Goes back from `from`, whose files `start` holds, as far as the folders of its maps tell.
async fn stretch(
    renderer: &mut Renderer<'_>,
    repository: &Repository,
    start: &State,
    from: &Revision,
    is_head: bool,
    history: usize,
) -> Result<Stretch, Failure> {
    renderer.load_plugins(start, &[]).await?;
    renderer.load_files(&[start]).await?;
    // Nobody asks for what came before.
    if is_head && history == 1 {
        return Ok(Stretch { states: vec![(from.clone(), start.clone())], beyond: None });
    }
    let roots = renderer.roots(start);
    // Those folders hold other files too, so more commits are read than are kept.
    let commits = repository.log(from, &roots, history.saturating_mul(4)).await?;
    renderer.load_plugins(start, &commits).await?;
    let mut state = start.clone();
    state.keep_below(&roots);
    let mut states = Vec::new();
    if is_head && commits.first().is_none_or(|commit| commit.revision != *from) {
        states.push((from.clone(), state.clone()));
    }
    for commit in &commits {
        if (is_head && commit.revision == *from) || renderer.concerns(commit, &state) {
            states.push((commit.revision.clone(), state.clone()));
        }
        state.undo(commit);
        if !renderer.covered(state.plugins_id(), &roots) {
            return Ok(Stretch { states, beyond: repository.parent(&commit.revision).await? });
        }
    }
    Ok(Stretch { states, beyond: None })
}

fn no_history(repository: &Repository) -> Failure {
    Failure::new(crate::model::FailureKind::Tool, format!("{} has no history", repository.shown()))
}

#[cfg(test)]
#[path = "desired/tests.rs"]
mod tests;

#[cfg(test)]
#[path = "desired/shelf_tests.rs"]
mod shelf_tests;
