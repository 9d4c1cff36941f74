//! Which images can be pulled, and what distinguishes a version of Prow.

use std::collections::{BTreeMap, BTreeSet};

use super::object::base_and_tag;
use crate::prow::Catalogue;

/// A version's mistakes, by which drills differ from each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Version {
    /// prow-controller-manager takes `prowjob_namespace` for `pod_namespace` (2019-02-05).
    pub misreads_pod_namespace: bool,
}

/// The registry of images.
#[derive(Debug, Clone, Default)]
pub struct Images {
    /// Tags of Prow's own images, and how they behave. A tag that is not here was never published.
    pub versions: BTreeMap<String, Version>,
    /// Tags, or `BASE:TAG`, that cannot be pulled (any more).
    pub withdrawn: BTreeSet<String>,
}

impl Images {
    /// Images that are not Prow's can be pulled unless withdrawn.
    pub fn can_be_pulled(&self, image: &str) -> bool {
        let (base, tag) = base_and_tag(image);
        if self.withdrawn.contains(tag) || self.withdrawn.contains(&format!("{base}:{tag}")) {
            return false;
        }
        Catalogue::embedded().role_of(image).is_none() || self.versions.contains_key(tag)
    }

    pub fn version(&self, tag: &str) -> Version {
        self.versions.get(tag).copied().unwrap_or_default()
    }
}
