//! Prow's components, from `assets/components.toml`: which workloads are Prow's, and what their absence means.
//!
//! To add one, add an entry there; the role is the image's base name.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::image::base_name;

/// Whose loss it is when a component is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeltBy {
    /// People who open pull requests: at once.
    Users,
    /// Only those who run Prow, or users after a while.
    Operators,
}

/// A component.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Base name of today's image.
    pub role: String,
    /// Other base names, of older Prows among them.
    #[serde(default)]
    pub images: Vec<String>,
    pub felt_by: FeltBy,
    /// What does not work while it is down, in a Prow user's words.
    pub when_down: String,
}

/// All components that the program knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    entries: Vec<Entry>,
    by_image: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    component: Vec<Entry>,
}

impl Catalogue {
    /// The catalogue that the program was built with.
    pub fn embedded() -> &'static Catalogue {
        static EMBEDDED: LazyLock<Catalogue> = LazyLock::new(|| {
            // A test reads the same text, so this cannot fail in a build that passed it.
            Catalogue::parse(include_str!("../../assets/components.toml")).unwrap_or(Catalogue::of(Vec::new()))
        });
        &EMBEDDED
    }

    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        Ok(Catalogue::of(toml::from_str::<File>(text)?.component))
    }

    fn of(entries: Vec<Entry>) -> Self {
        let by_image = entries
            .iter()
            .enumerate()
            .flat_map(|(n, entry)| std::iter::once(&entry.role).chain(&entry.images).map(move |name| (name.clone(), n)))
            .collect();
        Catalogue { entries, by_image }
    }

    /// The entry of an image reference; `None` for images that are not Prow's.
    pub fn role_of(&self, image: &str) -> Option<&Entry> {
        self.by_image.get(base_name(image)).map(|n| &self.entries[*n])
    }

    /// The entry of a role.
    pub fn entry(&self, role: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.role == role)
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_file_is_whole_and_no_image_has_two_roles() {
        let catalogue = Catalogue::parse(include_str!("../../assets/components.toml")).unwrap();
        assert_eq!(&catalogue, Catalogue::embedded());
        let mut seen = BTreeSet::new();
        for entry in catalogue.entries() {
            assert!(!entry.when_down.is_empty() && !entry.when_down.ends_with('.'), "{}", entry.role);
            assert!(entry.when_down.chars().count() <= 100, "{}: too long for the first screen", entry.role);
            for name in std::iter::once(&entry.role).chain(&entry.images) {
                assert!(seen.insert(name.clone()), "{name} twice");
                assert_eq!(base_name(name), name);
            }
        }
    }

    #[test]
    fn roles_by_image() {
        let catalogue = Catalogue::embedded();
        let role = |image: &str| catalogue.role_of(image).map(|entry| entry.role.as_str());
        assert_eq!(role("gcr.io/k8s-prow/hook:v20190118-b3f0d0d11"), Some("hook"));
        assert_eq!(role("gcr.io/k8s-prow/plank:v20190118-b3f0d0d11"), Some("prow-controller-manager"));
        assert_eq!(role("us-docker.pkg.dev/k8s-infra-prow/images/deck@sha256:00"), Some("deck"));
        assert_eq!(role("quay.io/oauth2-proxy/oauth2-proxy:v7"), None);
        let hook = catalogue.entry("hook").unwrap();
        assert_eq!(hook.felt_by, FeltBy::Users);
        assert!(hook.when_down.contains("webhooks"));
    }
}
