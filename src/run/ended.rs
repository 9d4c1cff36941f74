//! How a step ended, and what is said of it.

use crate::cluster::gate::{Gate, Landed, Sent};
use crate::journal::Found;
use crate::model::{Failure, Outcome, Write};

/// How a step ended.
pub(super) struct StepEnd {
    pub(super) outcome: Outcome,
    pub(super) status: String,
    pub(super) sent: Sent,
    pub(super) failure: Option<Failure>,
}

impl StepEnd {
    pub(super) fn done(status: &str, sent: Sent) -> Self {
        StepEnd { outcome: Outcome::Done, status: status.to_owned(), sent, failure: None }
    }

    pub(super) fn skipped(status: String) -> Self {
        StepEnd { outcome: Outcome::Skipped, status, sent: Sent::default(), failure: None }
    }

    pub(super) fn failed(failure: Failure) -> Self {
        StepEnd::bad(Outcome::Failed, failure)
    }

    /// The answer was lost, and reading back did not tell.
    pub(super) fn unknown(mut failure: Failure, found: &str) -> Self {
        failure.causes.insert(0, found.to_owned());
        StepEnd::bad(Outcome::Unknown, failure.hint("prow-breakglass run resume RUN reads back again and settles it"))
    }

    pub(super) fn bad(outcome: Outcome, failure: Failure) -> Self {
        let status = std::iter::once(&failure.summary).chain(failure.causes.first()).cloned().collect::<Vec<_>>();
        StepEnd { outcome, status: status.join(": "), sent: Sent::default(), failure: Some(failure) }
    }
}

/// The answer was lost: only the write being there proves anything. That it is not there yet does not: a slow admission
/// webhook or etcd may let it land seconds later.
pub(super) async fn look_after(gate: &Gate, write: &Write, failure: Failure) -> StepEnd {
    match gate.read_back(write).await {
        Ok(landed) => match &landed {
            Landed::AsWritten => StepEnd::done("the answer was lost; read back: as written", Sent::default()),
            Landed::AsBefore => StepEnd::unknown(failure, "no answer; as before so far, and it may still land"),
            Landed::Otherwise { .. } | Landed::Gone => StepEnd::unknown(failure, &in_words(&landed).1),
        },
        Err(unread) => StepEnd::unknown(failure, &format!("no answer, and not read back: {}", unread.summary)),
    }
}

/// What reading back found, for the journal and for people.
pub(super) fn in_words(landed: &Landed) -> (Found, String) {
    match landed {
        Landed::AsWritten => (Found::AsWritten, "read back: as written".to_owned()),
        Landed::AsBefore => (Found::AsBefore, "read back: as before".to_owned()),
        Landed::Otherwise { detail, who } => {
            let who = who.as_ref().map(|who| format!("; last writer {who}")).unwrap_or_default();
            (Found::Otherwise, format!("read back: {detail}{who}"))
        }
        Landed::Gone => (Found::Otherwise, "read back: it is not there any more".to_owned()),
    }
}

pub(super) fn done_word(write: &Write) -> &'static str {
    match write {
        Write::PutConfigMap { .. } => "written",
        Write::CreateConfigMap { .. } | Write::CreateJob { .. } => "created",
        Write::DeleteConfigMap { .. } | Write::DeletePod { .. } | Write::DeleteJob { .. } => "deleted",
        Write::PatchImage { .. } => "image set",
    }
}
