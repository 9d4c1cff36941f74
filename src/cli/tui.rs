//! The screens; words where there is no terminal for them.

use std::io::IsTerminal as _;
use std::sync::Arc;

use crate::diagnose::Diagnosis;
use crate::model::{Alias, Snapshot};
use crate::run::Clusters;
use crate::tui::Session;
use crate::tui::theme::Theme;

use super::args::Global;
use super::memory::Memory;
use super::{Exit, output, session, status};

pub async fn run(global: &Global) -> Exit {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if global.plain || dumb || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        output::words("no terminal for the screens: this is `status`");
        return status::run(global).await;
    }
    // An unwritable journal is refused now, not in the middle of an incident's repair.
    let journal = session::journal_for_writing(global)?;
    let cluster = session::connect_to(global, global.context.as_deref()).await?;
    let memory = Arc::new(Memory::new(journal.clone()));
    let observer = Arc::new(session::observe(global, cluster.clone(), &memory).await?);
    let snapshots = observer.snapshots();
    let refresh = {
        let (observer, memory) = (Arc::clone(&observer), Arc::clone(&memory));
        Arc::new(move || {
            // A journal that cannot be read any more has been said at the start; the cluster is looked at all the same.
            let _ = memory.recall(&observer);
            observer.refresh();
        })
    };
    let keep = Arc::new(move |snapshot: &Snapshot, diagnosis: &Diagnosis| memory.keep(&observer, snapshot, diagnosis));
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = env("LC_ALL").or_else(|| env("LC_CTYPE")).or_else(|| env("LANG"));
    let theme = Theme::from_environment(env("NO_COLOR").as_deref(), env("TERM").as_deref(), locale.as_deref());
    let clusters = Clusters::from([(Alias::service(), cluster)]);
    let ended = crate::tui::run(Session { snapshots, refresh, keep, clusters, journal, theme }).await?;
    Ok(ended.exit_code())
}
