//! Where a command plays: on what the machine is configured for, or in a drill. Everything that a command reaches out to
//! comes from here, so that every command works in both.

use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::Clock;
use crate::cluster::Contexts;
use crate::git::Repository;

/// What a command reaches out to.
#[derive(Debug, Clone, Default)]
pub enum Stage {
    /// The person's kubeconfig, repository and journal, as the options name them.
    #[default]
    Machine,
    Drill(Arc<Props>),
}

/// What a drill has instead.
#[derive(Debug)]
pub struct Props {
    pub contexts: Contexts,
    pub repository: Repository,
    /// Folder of the drill's journal.
    pub journal: PathBuf,
    pub clock: Clock,
}
