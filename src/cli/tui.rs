//! The screens; words where there is no terminal for them.

use std::io::IsTerminal as _;
use std::sync::Arc;

use crate::tui::Session;
use crate::tui::theme::Theme;

use super::args::Global;
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
    let observer = Arc::new(session::observe(global, cluster).await?);
    let snapshots = observer.snapshots();
    let remembering = journal.clone();
    let looking = observer.clone();
    let clusters = Arc::new(move || looking.clusters());
    let refresh = Arc::new(move || {
        // A journal that cannot be read any more has been said at the start; the cluster is looked at all the same.
        let _ = session::remember(&observer, &remembering);
        observer.refresh();
    });
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = env("LC_ALL").or_else(|| env("LC_CTYPE")).or_else(|| env("LANG"));
    let theme = Theme::from_environment(env("NO_COLOR").as_deref(), env("TERM").as_deref(), locale.as_deref());
    let timeout = global.request_timeout;
    let ended = crate::tui::run(Session { snapshots, refresh, clusters, timeout, journal, theme }).await?;
    Ok(ended.exit_code())
}
