//! `strays`, `history` and `automation`: what is seen of the second incident's kind. They only read.

use crate::present;

use super::args::Global;
use super::{Exit, output, session};

/// Exit code 1 where there are strays; where none are and pods or ProwJobs cannot be seen, the reason's own code.
pub async fn strays(global: &Global) -> Exit {
    let seen = session::look(global).await?;
    output::document(
        global.output,
        || present::strays_document(&seen.snapshot, &seen.diagnosis),
        || present::strays_text(&seen.snapshot, &seen.diagnosis),
    )?;
    let snapshot = &seen.snapshot;
    if snapshot.prowjobs.known().is_none() {
        return Err(session::not_seen(&snapshot.prowjobs, "ProwJobs"));
    }
    if seen.diagnosis.strays.total() > 0 {
        return Ok(1);
    }
    // None were found, which says little of a cluster that was not seen.
    match snapshot.views().find(|view| view.is_plannable() && view.job_pods.known().is_none()) {
        Some(view) => Err(session::not_seen(&view.job_pods, &format!("the pods of jobs in {}", view.context))),
        None => Ok(0),
    }
}

pub async fn history(global: &Global) -> Exit {
    let seen = session::look(global).await?;
    if seen.snapshot.service.rollouts.seen().is_none() {
        return Err(session::not_seen(&seen.snapshot.service.rollouts, "what ran when"));
    }
    output::document(
        global.output,
        || present::history_document(&seen.snapshot),
        || present::history_text(&seen.snapshot),
    )?;
    Ok(0)
}

pub async fn automation(global: &Global) -> Exit {
    let seen = session::look(global).await?;
    if seen.snapshot.service.components.seen().is_none() {
        return Err(session::not_seen(&seen.snapshot.service.components, "Prow's components"));
    }
    output::document(
        global.output,
        || present::automation_document(&seen.snapshot, &seen.diagnosis),
        || present::automation_text(&seen.snapshot, &seen.diagnosis),
    )?;
    Ok(0)
}
