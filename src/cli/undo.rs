//! `undo RUN`: makes the plan that puts back what a run replaced. Running it is `apply`, as for every plan.

use crate::repair::undo;
use crate::run::read_for_undo;

use super::apply::clusters_of;
use super::args::{Global, UndoArgs};
use super::checking::Scope;
use super::{Exit, plan, session};

pub async fn run(global: &Global, args: &UndoArgs) -> Exit {
    let journal = session::journal(global);
    let record = journal.run(&args.run)?;
    let undone = journal.plan(&record)?;
    let source = journal.undo_source(&record)?;
    let clusters = clusters_of(global, &undone).await?;
    let live = read_for_undo(&source, &undone.clusters, &clusters).await?;
    let made = undo::plan(&source, &live, &undone.clusters, journal.now())?;
    let made = if source.workloads().is_empty() {
        made
    } else {
        // What else runs decides whether versions would be mixed.
        let seen = session::look_and_ask(global, Scope::Remembered).await?;
        undo::judged(made, &seen.snapshot, &seen.diagnosis, &plan::overrides(&args.overrides, args.reason.as_deref()))?
    };
    plan::preview_and_save(global, &clusters, made, args.file.as_deref()).await
}
