//! Request and Snapshot to Plan or Refusal. Pure.

mod plan;

use serde::{Deserialize, Serialize};

pub use plan::*;

/// The repairs. Menus, help and the CLI derive from [`RepairId::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RepairId {
    SyncConfig,
    Kick,
    /// Made by `undo RUN`, not offered by findings.
    Undo,
}

impl RepairId {
    pub const ALL: [RepairId; 2] = [RepairId::SyncConfig, RepairId::Kick];

    pub fn name(self) -> &'static str {
        match self {
            RepairId::SyncConfig => "sync-config",
            RepairId::Kick => "kick",
            RepairId::Undo => "undo",
        }
    }
}

impl std::fmt::Display for RepairId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
