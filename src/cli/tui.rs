//! The screens; words where there is no terminal for them.

use std::io::IsTerminal as _;

use super::args::Global;
use super::{Exit, output, session, status};

pub async fn run(global: &Global) -> Exit {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if global.plain || dumb || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        output::words("no terminal for the screens: this is `status`");
        return status::run(global).await;
    }
    let _ = session::journal_for_writing(global)?;
    Ok(0)
}
