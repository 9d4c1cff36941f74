//! The commits that change what Prow is configured with, on the first-parent line, as far back as somebody wants to search:
//! their names are read at once, what one asks for only when it is asked about.

use super::DesiredOptions;
use super::render::Renderer;
use super::state::State;
use crate::git::{Commit, Repository};
use crate::model::{Candidate, Failure, Revision};

/// A line of commits, newest first. Its first is the one that it was read from, whatever that one changed.
pub struct Line<'a> {
    renderer: Renderer<'a>,
    stretches: Vec<Stretch>,
    places: Vec<Place>,
}

/// Commits in which the maps look nowhere else than in what was listed at their newest.
struct Stretch {
    start: State,
    /// All that changed something there.
    commits: Vec<Commit>,
}

/// A commit of the line: in its stretch, with so many newer commits undone.
struct Place {
    revision: Revision,
    stretch: usize,
    undone: usize,
}

impl<'a> Line<'a> {
    /// Reads the line back from a revision, at most `limit` commits of it.
    ///
    /// # Errors
    /// git fails, or plugins.yaml cannot be found.
    pub async fn read(
        repository: &'a Repository,
        options: &'a DesiredOptions,
        from: &Revision,
        limit: usize,
    ) -> Result<Line<'a>, Failure> {
        let mut renderer = Renderer::open(repository, options).await;
        let mut start = renderer.find(from).await?;
        let plugins = start.plugins.clone();
        let mut from = from.clone();
        let (mut stretches, mut places): (Vec<Stretch>, Vec<Place>) = (Vec::new(), Vec::new());
        while places.len() < limit {
            renderer.load_plugins(&start, &[]).await?;
            renderer.load_files(&[&start]).await?;
            let roots = renderer.roots(&start);
            // Those folders hold other files, too.
            let commits = repository.log(&from, &roots, limit.saturating_mul(4)).await?;
            renderer.load_plugins(&start, &commits).await?;
            start.keep_below(&roots);
            let (mut state, mut beyond) = (start.clone(), None);
            if places.is_empty() && commits.first().is_none_or(|commit| commit.revision != from) {
                places.push(Place { revision: from.clone(), stretch: 0, undone: 0 });
            }
            for (undone, commit) in commits.iter().enumerate() {
                if places.is_empty() || renderer.concerns(commit, &state) {
                    places.push(Place { revision: commit.revision.clone(), stretch: stretches.len(), undone });
                }
                state.undo(commit);
                if !renderer.covered(state.plugins_id(), &roots) {
                    beyond = repository.parent(&commit.revision).await?;
                    break;
                }
            }
            stretches.push(Stretch { start, commits });
            // Maps of older revisions look elsewhere: begin again there, with all files.
            let Some(revision) = beyond else { break };
            start = State::at(repository, &revision, &plugins).await?;
            from = revision;
        }
        places.truncate(limit.max(1));
        Ok(Line { renderer, stretches, places })
    }

    /// The commits, newest first.
    pub fn revisions(&self) -> impl ExactSizeIterator<Item = &Revision> {
        self.places.iter().map(|place| &place.revision)
    }

    /// Leaves out what is older than the commit of this place.
    pub fn truncate_after(&mut self, n: usize) {
        self.places.truncate(n + 1);
    }

    /// Paths that the commit of this place changed, as far as they lie where the maps look.
    pub fn changed(&self, n: usize) -> Vec<&str> {
        let Some(place) = self.places.get(n) else { return Vec::new() };
        let commit = self.stretches.get(place.stretch).and_then(|stretch| stretch.commits.get(place.undone));
        let commit = commit.filter(|commit| commit.revision.id == place.revision.id);
        commit.into_iter().flat_map(|commit| &commit.changes).map(|change| change.path.as_str()).collect()
    }

    /// What the commit of this place asks for; `None` where there is no such place.
    ///
    /// # Errors
    /// git fails.
    pub async fn candidate(&mut self, n: usize) -> Result<Option<Candidate>, Failure> {
        let Some(place) = self.places.get(n) else { return Ok(None) };
        let Some(stretch) = self.stretches.get(place.stretch) else { return Ok(None) };
        let mut state = stretch.start.clone();
        for commit in stretch.commits.iter().take(place.undone) {
            state.undo(commit);
        }
        self.renderer.load_plugins(&state, &[]).await?;
        self.renderer.load_files(&[&state]).await?;
        Ok(Some(self.renderer.render(&place.revision, &state).candidate))
    }
}
