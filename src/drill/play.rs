//! A drill while it goes on: the world moves with the story's clock, colleagues do what they do, and the score is kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::catalogue::{self, Drill, SURPRISE};
use super::file::{Colleague, DrillFile};
use super::jobs::NewJob;
use super::judge::{Judge, Judgement};
use super::mistakes::Ledger;
use super::score::{Refused, Scorecard, State};
use super::variation::{Dice, Variation};
use super::world;
use crate::clock::{Pace, StoryClock};
use crate::cluster::{Cluster, Contexts, Made};
use crate::git::{History, NewCommit, Repository};
use crate::model::text::sanitize_line;
use crate::model::{Failure, FailureKind};
use crate::sim::object::{Resource, number};
use crate::sim::prow::deck::{self, NotAborted};
use crate::sim::{Happened, Simulation, World};

/// The world looks around at least so often, in the story's time.
const LOOK: SignedDuration = SignedDuration::from_secs(1);
/// Of each of the program's requests: the servers are in this very process.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A drill that goes on. Cheap to clone; it stops when the last [`Play`] is gone.
#[derive(Clone)]
pub struct Play(Arc<Inner>);

struct Inner {
    simulation: Simulation,
    file: DrillFile,
    history: History,
    clock: StoryClock,
    kept: Mutex<Kept>,
    /// The state of the drill, for whoever waits for its end.
    state: watch::Sender<State>,
    /// The pace was changed.
    paced: Arc<Notify>,
    pump: Mutex<Option<AbortHandle>>,
}

struct Kept {
    score: Scorecard,
    judge: Judge,
    ledger: Ledger,
    /// Commits of the repository that `history` has.
    committed: usize,
    /// One for each colleague of the file.
    colleagues: Vec<Waiting>,
    judged_at: Option<Timestamp>,
    /// Jobs that somebody will start.
    later: VecDeque<NewJob>,
}

/// How a colleague stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// Does it then, or sooner.
    Until(Timestamp),
    Done,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(pump) = self.pump.get_mut().unwrap_or_else(PoisonError::into_inner) {
            pump.abort();
        }
    }
}

impl Play {
    /// Makes the world of a drill, up to the moment when the oncall comes, and opens it. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// There is no such drill, or its file is wrong.
    pub fn open(name: &str, seed: u64, pace: Pace) -> Result<Play, Failure> {
        let (drill, variation, seed) = choose(name, seed)?;
        let (world, later) = world::make(&drill, &variation)?;
        let opened = world.now();
        let history = History::new(&drill.file.repository.name, &drill.file.repository.branch);
        let colleague = |colleague: &Colleague| Waiting::Until(opened + colleague.after);
        let mut kept = Kept {
            score: Scorecard::new(&drill.name, seed, &drill.file, opened),
            judge: Judge::default(),
            ledger: Ledger::from_now_on(&world),
            committed: 0,
            colleagues: drill.file.colleagues.iter().map(colleague).collect(),
            judged_at: None,
            later,
        };
        kept.tell_history(&world, &drill.file, &history);
        let judgement = kept.judge.judge(&world, &drill.file);
        kept.score.state = if judgement.is_clean() { State::NothingWrong } else { State::Broken };
        let inner = Inner {
            simulation: Simulation::start(world),
            history,
            clock: StoryClock::new(opened, pace),
            state: watch::channel(kept.score.state).0,
            kept: Mutex::new(kept),
            paced: Arc::new(Notify::new()),
            pump: Mutex::new(None),
            file: drill.file,
        };
        let play = Play(Arc::new(inner));
        let pump = tokio::spawn(pump(Arc::downgrade(&play.0))).abort_handle();
        *play.0.pump.lock().unwrap_or_else(PoisonError::into_inner) = Some(pump);
        Ok(play)
    }

    /// The oncall's kubeconfig.
    pub fn contexts(&self) -> Contexts {
        let made = self.0.simulation.contexts().into_iter().map(|context| {
            let made = Made {
                context: context.name,
                server: context.server,
                namespace: self.0.file.prow.namespace.clone(),
                request_timeout: REQUEST_TIMEOUT,
            };
            Cluster::over(context.client, made)
        });
        Contexts::Made(made.collect())
    }

    /// The oncall's checkout.
    pub fn repository(&self) -> Repository {
        self.0.history.clone().into()
    }

    /// The story's time.
    pub fn clock(&self) -> StoryClock {
        self.0.clock.clone()
    }

    pub fn set_pace(&self, pace: Pace) {
        self.0.clock.set_pace(pace);
        self.0.paced.notify_one();
    }

    /// How the drill stands, and each change of it.
    pub fn state(&self) -> watch::Receiver<State> {
        self.0.state.subscribe()
    }

    /// What the program shows: kinds of its findings.
    pub fn shown<'a>(&self, mut findings: impl Iterator<Item = &'a str>) {
        let now = self.0.clock.now();
        let is_right = findings.any(|kind| self.0.file.diagnosis.iter().any(|right| right == kind));
        let mut kept = self.0.kept();
        if is_right && kept.score.state != State::NothingWrong {
            kept.score.diagnosed.get_or_insert(now);
        }
    }

    /// The program itself refused something.
    pub fn refused(&self, what: &str) {
        let at = self.0.clock.now();
        self.0.kept().score.refusals.push(Refused { at, by: "guard", what: what.to_owned() });
    }

    /// Somebody aborts in Deck what goes on of a job, or one ProwJob. Gives how many it were.
    ///
    /// # Errors
    /// There is no Deck, or nothing to abort.
    pub fn abort(&self, name: &str) -> Result<usize, Failure> {
        self.0.turn(Judging::Sometimes);
        let aborted = self.0.simulation.change(|world| deck::abort(world, name));
        self.0.turn(Judging::Sometimes);
        let name = sanitize_line(name);
        match aborted {
            Ok(aborted) => Ok(aborted.len()),
            Err(NotAborted::NoDeck) => {
                Err(Failure::new(FailureKind::Unreachable, "Deck does not answer: no pod of it runs")
                    .hint("repair it first; `status` tells what is wrong with it"))
            }
            Err(NotAborted::NothingGoesOn) => {
                Err(Failure::new(FailureKind::NotFound, format!("nothing goes on of {name} that Deck could abort"))
                    .hint("`automation` and `strays` name jobs and ProwJobs"))
            }
        }
    }

    /// What was reached so far.
    pub fn score(&self) -> Scorecard {
        self.0.turn(Judging::Always);
        self.0.kept().score.clone()
    }

    /// What the oncall is told when they come, which a draw may have made later than the file says.
    pub fn story(&self) -> String {
        format!("{} You come at {}.", self.0.file.story, self.score().opened.strftime("%H:%M"))
    }
}

/// The drill that is meant: for `surprise` the seed decides.
fn choose(name: &str, seed: u64) -> Result<(Drill, Variation, Option<u64>), Failure> {
    if name != SURPRISE {
        return Ok((catalogue::find(name)?, Variation::default(), None));
    }
    let mut drawn: Vec<Drill> = catalogue::all()?.into_iter().filter(|drill| drill.file.surprise.is_some()).collect();
    let mut dice = Dice::new(seed);
    let count = u64::try_from(drawn.len()).unwrap_or(0);
    let at = usize::try_from(dice.below(count)).unwrap_or(0);
    if drawn.is_empty() {
        return Err(Failure::new(FailureKind::Tool, "there is no drill that could be drawn"));
    }
    let drill = drawn.swap_remove(at);
    let variation = Variation::draw(&drill.file, &mut dice);
    Ok((drill, variation, Some(seed)))
}

/// When to look at the whole world: it takes a while.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judging {
    /// Not twice in a second of the story.
    Sometimes,
    Always,
}

impl Inner {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the world up to the clock, lets colleagues act, keeps the score. Gives the time of what happens next.
    fn turn(&self, judging: Judging) -> Timestamp {
        let now = self.clock.now();
        if self.simulation.look(|world| world.next_event().is_some_and(|next| next <= now) || world.now() < now) {
            self.simulation.advance_to(now);
        }
        let mut kept = self.kept();
        let kept = &mut *kept;
        while let Some(job) = kept.next_job(now) {
            self.simulation.change(|world| world::trigger(world, &self.file, job));
        }
        let due = self.simulation.look(|world| kept.due(world, &self.file));
        for n in due {
            let commit = &self.file.colleagues[n].merges;
            self.simulation.change(|world| world.merge(commit));
            kept.colleagues[n] = Waiting::Done;
        }
        let next = self.simulation.look(|world| {
            kept.tell_history(world, &self.file, &self.history);
            kept.ledger.read_on(world, &self.file, &mut kept.judge, &mut kept.score);
            let second_ago = kept.judged_at.is_none_or(|at| now.duration_since(at) >= LOOK);
            if judging == Judging::Always || second_ago {
                kept.judged_at = Some(now);
                let judgement = kept.judge.judge(world, &self.file);
                kept.keep_score(&judgement, now);
            }
            world.next_event().unwrap_or(now + LOOK).min(now + LOOK)
        });
        let state = kept.score.state;
        self.state.send_if_modified(|held| std::mem::replace(held, state) != state);
        next
    }
}

impl Kept {
    /// What has been merged since the last time, for the oncall's checkout.
    fn tell_history(&mut self, world: &World, file: &DrillFile, history: &History) {
        let merged = world.repository.merged;
        let commits = world.repository.commits.iter().zip(&file.repository.commits);
        for (commit, part) in commits.take(merged).skip(self.committed) {
            let files = commit.files.iter().map(|(path, content)| (path.as_str(), content.as_deref())).collect();
            history.commit(&NewCommit {
                author: &commit.author,
                subject: &commit.message,
                committed: part.at.or(merged_at(world, &commit.name)).unwrap_or(world.now()),
                files,
            });
        }
        self.committed = merged;
    }

    /// A job whose time has come.
    fn next_job(&mut self, now: Timestamp) -> Option<NewJob> {
        let is_due = self.later.front().is_some_and(|job| job.at <= now);
        if is_due { self.later.pop_front() } else { None }
    }

    /// Colleagues whose time has come.
    fn due(&mut self, world: &World, file: &DrillFile) -> Vec<usize> {
        let mut due = Vec::new();
        for (n, (waiting, colleague)) in self.colleagues.iter_mut().zip(&file.colleagues).enumerate() {
            let Waiting::Until(until) = waiting else { continue };
            if colleague.once_ready.as_deref().is_some_and(|name| is_ready(world, file, name)) {
                *until = (*until).min(world.now() + colleague.delay);
            }
            if *until <= world.now() {
                due.push(n);
            }
        }
        due
    }

    fn keep_score(&mut self, judgement: &Judgement, now: Timestamp) {
        let score = &mut self.score;
        score.until = now;
        score.open = judgement.broken.iter().chain(&judgement.left).cloned().collect();
        match score.state {
            // It is over: what happens later is another story.
            State::NothingWrong | State::Healthy => {
                score.open.clear();
                return;
            }
            State::Broken | State::Mitigated => {}
        }
        score.mitigated = if judgement.works() { score.mitigated.or(Some(now)) } else { None };
        score.state = if judgement.is_clean() {
            score.cleaned = Some(now);
            State::Healthy
        } else if judgement.works() {
            State::Mitigated
        } else {
            State::Broken
        };
    }
}

fn merged_at(world: &World, commit: &str) -> Option<Timestamp> {
    let merged =
        world.log().iter().rev().find(|note| matches!(&note.what, Happened::Merged { commit: of, .. } if of == commit));
    merged.map(|note| note.at)
}

fn is_ready(world: &World, file: &DrillFile, component: &str) -> bool {
    let deployments = world.list(&world.prow.service, Resource::Deployment, &file.prow.namespace);
    deployments.iter().filter(|deployment| crate::sim::object::name(deployment) == component).any(|deployment| {
        number(deployment, "/status/readyReplicas").unwrap_or(0) >= number(deployment, "/spec/replicas").unwrap_or(1)
    })
}

/// Moves the world as long as somebody holds the play.
async fn pump(inner: Weak<Inner>) {
    let Some((mut changes, paced)) =
        inner.upgrade().map(|inner| (inner.simulation.changes(), Arc::clone(&inner.paced)))
    else {
        return;
    };
    loop {
        // Not held while waiting, so that it can go.
        let wait = {
            let Some(inner) = inner.upgrade() else { return };
            let next = inner.turn(Judging::Sometimes);
            inner.clock.until(next)
        };
        changes.mark_unchanged();
        tokio::select! {
            () = sleep(wait) => {}
            changed = changes.changed() => if changed.is_err() { return },
            () = paced.notified() => {}
        }
    }
}

/// For ever, where the clock stands still.
async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
