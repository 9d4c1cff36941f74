//! `status`: one-shot triage.

use crate::model::Source;
use crate::present;

use super::args::Global;
use super::{Exit, output, session};

pub async fn run(global: &Global) -> Exit {
    let seen = session::look(global).await?;
    output::document(
        global.output,
        || present::status_document(&seen.snapshot, &seen.diagnosis),
        || present::status_text(&seen.snapshot, &seen.diagnosis),
    )?;
    let components = &seen.snapshot.service.components;
    match components {
        Source::Known { .. } => Ok(seen.diagnosis.exit_code()),
        // What there was to see is printed; why it is not enough is what the command ends with.
        Source::Loading | Source::Denied { .. } | Source::Lost { .. } => {
            Err(session::not_seen(components, "Prow's components"))
        }
    }
}
