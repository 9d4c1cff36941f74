//! The screens; words where there is no terminal for them.

use std::io::IsTerminal as _;
use std::sync::Arc;

use crate::diagnose::Diagnosis;
use crate::drill::State;
use crate::model::{Alias, Failure, Snapshot};
use crate::observe::Observer;
use crate::run::Clusters;
use crate::tui::app::Standing;
use crate::tui::theme::Theme;
use crate::tui::{Planner, Seat, Session};

use super::args::Global;
use super::memory::Memory;
use super::stage::Stage;
use super::{Exit, checking, output, session, status};

pub async fn run(global: &Global) -> Exit {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if global.plain || dumb || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        output::words("no terminal for the screens: this is `status`");
        return status::run(global).await;
    }
    // Said now, not in the middle of an incident's repair; looking goes on without.
    let journal = session::journal(global);
    let mut notes: Vec<Failure> = journal.make_sure_of_writing().err().into_iter().collect();
    let cluster = session::connect_to(global, global.context.as_deref()).await?;
    let memory = Arc::new(Memory::new(journal.clone(), Clusters::from([(Alias::service(), cluster.clone())])));
    let observer = Arc::new(session::observe_all(global, cluster));
    notes.extend(memory.recall(&observer));
    read_back(&memory, &observer);
    let checking = Arc::new(session::checking(global));
    let repository = session::repository(global).await.ok().flatten();
    tokio::spawn(checking::follow(Arc::clone(&checking), repository, Arc::clone(&observer)));
    let plan: Planner = Arc::new(move |request, snapshot, diagnosis| {
        let checking = Arc::clone(&checking);
        Box::pin(async move { checking.plan(request, snapshot, diagnosis).await })
    });
    let snapshots = observer.snapshots();
    let looking = Arc::clone(&observer);
    let clusters = Arc::new(move || looking.clusters());
    let refresh = {
        let (observer, memory) = (Arc::clone(&observer), Arc::clone(&memory));
        Arc::new(move || {
            // A journal that cannot be read has been said at the start.
            drop(memory.recall(&observer));
            read_back(&memory, &observer);
            observer.refresh();
        })
    };
    let stage = global.stage.clone();
    let keep = Arc::new(move |snapshot: &Snapshot, diagnosis: &Diagnosis| {
        stage.shown(diagnosis);
        memory.keep(&observer, snapshot, &diagnosis.refused)
    });
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = env("LC_ALL").or_else(|| env("LC_CTYPE")).or_else(|| env("LANG"));
    let theme = Theme::from_environment(env("NO_COLOR").as_deref(), env("TERM").as_deref(), locale.as_deref());
    let timeout = global.request_timeout;
    let seat = seat(&global.stage);
    let session = Session {
        snapshots,
        refresh,
        keep,
        plan,
        clusters,
        clock: session::clock(global),
        timeout,
        journal,
        notes,
        theme,
        seat,
    };
    let ended = crate::tui::run(session).await?;
    Ok(ended.exit_code())
}

/// The person's seat, where this is a drill.
fn seat(stage: &Stage) -> Option<Seat> {
    let Stage::Drill(props) = stage else { return None };
    let play = props.play.clone();
    let standing = |state: State| match state {
        State::Healthy => Standing::Over,
        State::NothingWrong | State::Broken | State::Mitigated => Standing::GoesOn,
    };
    let mut states = play.state();
    let (told, over) = tokio::sync::watch::channel(standing(*states.borrow_and_update()));
    tokio::spawn(async move {
        while states.changed().await.is_ok() {
            told.send_replace(standing(*states.borrow_and_update()));
        }
    });
    let (pacing, aborting, told, clock) = (play.clone(), play.clone(), stage.clone(), play.clock());
    Some(Seat {
        name: props.name.clone(),
        welcome: "A drill: nothing here is real. ? tells more, P holds its time, q ends it".to_owned(),
        story: play.story(),
        clock,
        set_pace: Arc::new(move |pace| pacing.set_pace(pace)),
        standing: over,
        abort: Arc::new(move |job| aborting.abort(job).map(drop)),
        refused: Arc::new(move |failure| told.refused(failure)),
    })
}

/// Beside everything else: what interrupted runs left in doubt.
fn read_back(memory: &Arc<Memory>, observer: &Arc<Observer>) {
    let (memory, observer) = (Arc::clone(memory), Arc::clone(observer));
    tokio::spawn(async move {
        if let Some(runs) = memory.read_back().await {
            observer.set_interrupted(runs);
        }
    });
}
