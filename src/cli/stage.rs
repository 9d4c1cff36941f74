//! Where a command plays: on what the machine is configured for, or in a drill. Everything that a command reaches out to
//! comes from here, so that every command works in both.

use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::Clock;
use crate::cluster::Contexts;
use crate::diagnose::Diagnosis;
use crate::drill::Play;
use crate::git::Repository;
use crate::model::{Failure, FailureKind};

/// What a command reaches out to.
#[derive(Debug, Clone, Default)]
pub enum Stage {
    /// The person's kubeconfig, repository and journal, as the options name them.
    #[default]
    Machine,
    Drill(Arc<Props>),
}

/// What a drill has instead.
pub struct Props {
    pub contexts: Contexts,
    pub repository: Repository,
    /// Folder of the drill's journal.
    pub journal: PathBuf,
    pub clock: Clock,
    pub play: Play,
    /// As the person named it: of `surprise`, that is all they are told.
    pub name: String,
}

impl std::fmt::Debug for Props {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Props").field("contexts", &self.contexts).finish_non_exhaustive()
    }
}

impl Props {
    pub fn new(name: &str, play: Play, journal: PathBuf) -> Props {
        let (contexts, repository) = (play.contexts(), play.repository());
        Props { contexts, repository, journal, clock: Clock::Story(play.clock()), play, name: name.to_owned() }
    }
}

impl Stage {
    /// A person has seen this: a drill's scorecard tells when the right diagnosis came.
    pub fn shown(&self, diagnosis: &Diagnosis) {
        if let Stage::Drill(props) = self {
            props.play.shown(diagnosis.findings.iter().map(|finding| finding.kind.name()));
        }
    }

    /// The program said no.
    pub fn refused(&self, failure: &Failure) {
        if let (Stage::Drill(props), FailureKind::Refused) = (self, failure.kind) {
            props.play.refused(&failure.summary);
        }
    }
}
