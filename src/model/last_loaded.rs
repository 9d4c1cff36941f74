//! What a component had loaded: kept, so that it can be brought back without git.

use super::{Key, Timestamp, Values};

/// The content of a ConfigMap of the service cluster that a Ready container started on, and that nobody refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedContent {
    pub config_map: Key,
    /// As stored: gzip values are still compressed.
    pub values: Values,
    /// Images that had loaded it.
    pub images: Vec<String>,
    /// When that was seen.
    pub at: Timestamp,
    /// Where it is kept, for people.
    pub file: String,
}
