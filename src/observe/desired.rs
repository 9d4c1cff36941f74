//! The configuration repository as [`Desired`]: what a repair could write, revision by revision.
//!
//! The history is walked backwards on the first-parent line from one listing of files, undoing each commit's changes,
//! so that fifty revisions cost a handful of git calls; files are read once by their hash, and revisions that ask for
//! the same share one rendering.
//!
//! - [`line`]: the same history further back, a revision at a time, for whoever searches it
//! - `state`: the files of one revision, as far as maps want them
//! - `render`: a state to ConfigMaps and objections, with everything remembered between revisions

pub mod line;
mod render;
mod state;

use crate::git::Repository;
use crate::model::{Candidate, Desired, DesiredConfigMap, Failure, FailureKind, Revision};
use crate::prow::{ConfigFiles, PresetRule};
use render::Renderer;
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
    /// Which ConfigMaps the components read.
    pub files: ConfigFiles,
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
            files: ConfigFiles::by_name(),
        }
    }
}

/// A revision rendered, with what is to be said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub candidate: Candidate,
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
    let (upstream, head) = repository.upstream().await?;
    let mut renderer = Renderer::new(repository, options);
    let mut state = State::find(repository, &head, options.plugin_config.as_deref()).await?;
    let plugins = state.plugins.clone();
    let mut not_understood = state.notes();
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut from = head.clone();
    let history = options.history.max(1);
    while candidates.len() < history {
        let stretch = stretch(&mut renderer, repository, &state, &from, candidates.is_empty(), history).await?;
        let kept: Vec<_> = stretch.states.iter().take(history - candidates.len()).collect();
        renderer.load_files(&kept.iter().map(|(_, state)| state).collect::<Vec<_>>()).await?;
        for (revision, state) in kept {
            let reading = renderer.render(revision, state);
            if candidates.is_empty() {
                not_understood.extend(reading.not_understood);
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
    let asked = asked(&mut renderer, repository, options, &plugins, &candidates).await?;
    let asked = asked.map(|reading| {
        let fresh: Vec<String> =
            reading.not_understood.into_iter().filter(|note| !not_understood.contains(note)).collect();
        not_understood.extend(fresh);
        reading.candidate
    });
    let head = candidates.first().cloned().ok_or_else(|| no_history(repository))?;
    Ok(Desired {
        repository: repository.shown(),
        head,
        asked,
        candidates,
        upstream,
        fetched: repository.fetched().await,
        not_understood,
    })
}

/// Reads one revision: `revision`, else the work tree where options say so, else the one that options ask for, else
/// the upstream's head.
///
/// # Errors
/// As [`read`]; and plugins.yaml does not parse.
pub async fn candidate(
    repository: &Repository,
    revision: Option<&str>,
    options: &DesiredOptions,
) -> Result<Reading, Failure> {
    let mut renderer = Renderer::new(repository, options);
    let revision = match revision.or(options.revision.as_deref()) {
        Some(revision) => Some(repository.resolve(revision).await?),
        None if options.worktree => None,
        None => Some(repository.upstream().await?.1),
    };
    let reading = match revision {
        None => read_worktree(&mut renderer, repository).await?,
        Some(revision) => {
            let state = State::find(repository, &revision, options.plugin_config.as_deref()).await?;
            read_state(&mut renderer, &revision, &state).await?
        }
    };
    match &reading.candidate.config_maps {
        Ok(_) => Ok(reading),
        Err(why) => Err(Failure::new(
            FailureKind::Usage,
            format!("revision {} asks for no ConfigMaps", reading.candidate.revision.short()),
        )
        .cause(why.clone())
        .hint("take an older revision with --revision, or another file with --plugin-config")),
    }
}

async fn asked(
    renderer: &mut Renderer<'_>,
    repository: &Repository,
    options: &DesiredOptions,
    plugins: &str,
    candidates: &[Candidate],
) -> Result<Option<Reading>, Failure> {
    let Some(revision) = &options.revision else {
        return if options.worktree { Ok(Some(read_worktree(renderer, repository).await?)) } else { Ok(None) };
    };
    let revision = repository.resolve(revision).await?;
    if let Some(known) = candidates.iter().find(|candidate| candidate.revision == revision) {
        return Ok(Some(Reading { candidate: known.clone(), not_understood: Vec::new() }));
    }
    let state = State::at(repository, &revision, plugins).await?;
    Ok(Some(read_state(renderer, &revision, &state).await?))
}

async fn read_state(renderer: &mut Renderer<'_>, revision: &Revision, state: &State) -> Result<Reading, Failure> {
    renderer.load_plugins(state, &[]).await?;
    renderer.load_files(&[state]).await?;
    let mut reading = renderer.render(revision, state);
    reading.not_understood.extend(state.notes());
    Ok(reading)
}

async fn read_worktree(renderer: &mut Renderer<'_>, repository: &Repository) -> Result<Reading, Failure> {
    let head = repository.resolve("HEAD").await?;
    let state = renderer.worktree().await?;
    let revision = Revision {
        subject: format!("the work tree, on top of {} {}", head.short(), head.subject),
        id: "worktree".to_owned(),
        author: String::new(),
        committed: head.committed,
    };
    Ok(renderer.render(&revision, &state))
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
    Failure::new(FailureKind::Tool, format!("{} has no history", repository.shown()))
}

#[cfg(test)]
#[path = "desired/tests.rs"]
mod tests;
