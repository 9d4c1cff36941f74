//! Effects carried out: each in a task of its own, its answer a message.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinHandle;

use super::super::app::{DiffOf, Observation};
use super::super::msg::Msg;
use super::Session;
use super::input::Input;
use crate::diagnose::Diagnosis;
use crate::journal::{Journal, Mode};
use crate::model::{Failure, RunSummary, Snapshot};
use crate::present::PATIENCE;
use crate::repair::{ApprovedPlan, Origin, Plan, Request};
use crate::run::{Clusters, Operator, StopToken};

/// The run that goes on, if one does: what a signal stops without asking the screen.
#[derive(Debug, Clone, Default)]
pub struct RunSlot(Arc<Mutex<Option<StopToken>>>);

impl RunSlot {
    pub fn set(&self, stop: StopToken) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
    }

    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub fn stop(&self, why: &str) {
        if let Some(stop) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            stop.stop(why);
        }
    }
}

fn answer(sender: &UnboundedSender<Input>, msg: Msg) {
    // Nobody listens any more only when the program ends.
    let _ = sender.send(Input::Msg(msg));
}

/// Away from the screen's thread: a large map makes it slow, and somebody may be asked about what it would leave.
pub fn plan(
    session: &Session,
    sender: &UnboundedSender<Input>,
    ticket: u64,
    request: Request,
    snapshot: Arc<Snapshot>,
    diagnosis: Arc<Diagnosis>,
) {
    let (sender, journal, plan) = (sender.clone(), session.journal.clone(), Arc::clone(&session.plan));
    tokio::spawn(async move {
        let seen = Arc::clone(&snapshot);
        let read = tokio::task::spawn_blocking(move || with_contents(request, &journal, &seen));
        // Where it panicked, the hook has told.
        let Ok(request) = read.await else { return };
        let plan = match request {
            Ok(request) => plan(request, snapshot, diagnosis).await.map(Box::new),
            Err(failure) => Err(failure),
        };
        answer(&sender, Msg::Planned { ticket, plan });
    });
}

/// A request for what was last seen loaded, with that.
fn with_contents(request: Request, journal: &Journal, snapshot: &Snapshot) -> Result<Request, Failure> {
    match (&request.origin, snapshot.service.identity.known()) {
        (Origin::LastLoaded(_), Some(cluster)) => {
            let contents = Arc::new(journal.last_loaded(cluster)?);
            Ok(Request { origin: Origin::LastLoaded(contents), ..request })
        }
        (Origin::LastLoaded(_), None) | (Origin::Git, _) => Ok(request),
    }
}

/// Large values may take as long as is patient.
pub fn compare(sender: &UnboundedSender<Input>, of: DiffOf, seen: Observation) {
    let sender = sender.clone();
    tokio::task::spawn_blocking(move || {
        let comparison = Arc::new(of.compare(&seen, PATIENCE));
        answer(&sender, Msg::Compared { of, comparison });
    });
}

pub fn plan_undo(session: &Session, sender: &UnboundedSender<Input>, ticket: u64, run: String) {
    let (sender, journal, clusters) = (sender.clone(), session.journal.clone(), (session.clusters)());
    let newest = session.snapshots.borrow().clone();
    tokio::spawn(async move {
        let plan = undo(&journal, &clusters, &run, &newest).await.map(Box::new);
        answer(&sender, Msg::Planned { ticket, plan });
    });
}

async fn undo(journal: &Journal, clusters: &Clusters, run: &str, newest: &Snapshot) -> Result<Plan, Failure> {
    let record = journal.run(run)?;
    let source = journal.undo_source(&record)?;
    let identities = journal.plan(&record)?.clusters;
    let live = crate::run::read_for_undo(&source, &identities, clusters).await?;
    let plan = crate::repair::undo::plan(&source, &live, &identities, journal.now())?;
    Ok(crate::repair::undo::judged(plan, newest, &crate::diagnose::diagnose(newest), &[])?)
}

pub fn preview(session: &Session, sender: &UnboundedSender<Input>, plan: Arc<Plan>) {
    let (sender, clusters, now) = (sender.clone(), (session.clusters)(), session.clock.now());
    tokio::spawn(async move {
        let preview = crate::run::preview(&plan, &clusters, now).await;
        answer(&sender, Msg::Previewed { digest: plan.digest.clone(), preview });
    });
}

/// Starts the run and passes its events on.
pub fn start(
    session: &Session,
    sender: &UnboundedSender<Input>,
    approved: ApprovedPlan,
    who: String,
    stop: StopToken,
) -> JoinHandle<RunSummary> {
    let (events, mut told) = mpsc::unbounded_channel();
    let sender = sender.clone();
    tokio::spawn(async move {
        while let Some(event) = told.recv().await {
            answer(&sender, Msg::Run(event));
        }
    });
    let operator = Operator { who, mode: Mode::Typed };
    tokio::spawn(crate::run::start(approved, (session.clusters)(), session.journal.clone(), operator, stop, events))
}

/// Notes in the journal that a run's promise was seen to hold.
pub fn verified(session: &Session, run: String, detail: String) {
    let journal = session.journal.clone();
    tokio::task::spawn_blocking(move || {
        // The run itself is recorded; a note that cannot be added must not take the screen away.
        let _ = journal.verified(&run, true, &detail);
    });
}
