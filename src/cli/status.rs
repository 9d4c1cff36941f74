//! `status`: one-shot triage.

use crate::diagnose::Diagnosis;
use crate::model::{FailureKind, Snapshot, Source};
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
    Ok(exit_code(&seen.snapshot, &seen.diagnosis))
}

/// 1 with findings above info; where the components themselves could not be seen, the reason's own code.
fn exit_code(snapshot: &Snapshot, diagnosis: &Diagnosis) -> u8 {
    match &snapshot.service.components {
        Source::Known { .. } => diagnosis.exit_code(),
        Source::Denied { .. } => FailureKind::Forbidden.exit_code(),
        Source::Lost { error, .. } => error.kind.exit_code(),
        Source::Loading => FailureKind::Unreachable.exit_code(),
    }
}
