//! Image references of Prow's components, and what their tags say.

use jiff::civil::Date;

/// The name of an image without registry, tag and digest: `hook` of `gcr.io/k8s-prow/hook:v20190118-b3f0d0d11`.
pub fn base_name(image: &str) -> &str {
    let last = last_segment(image);
    last.split_once(':').map_or(last, |(name, _)| name)
}

/// The tag of an image reference, where it has one.
pub fn tag(image: &str) -> Option<&str> {
    last_segment(image).split_once(':').map(|(_, tag)| tag).filter(|tag| !tag.is_empty())
}

/// The same image with another tag; a digest would pin the old one, so it goes. `None` where it has no tag.
pub fn with_tag(image: &str, other: &str) -> Option<String> {
    let undigested = image.split_once('@').map_or(image, |(reference, _)| reference);
    let base = undigested.strip_suffix(tag(undigested)?)?;
    Some(format!("{base}{other}"))
}

/// Another image of the same registry, folder and tag: `…/checkconfig:TAG` of `…/hook:TAG`. `None` without a tag; a digest is
/// that of one image.
pub fn sibling(image: &str, name: &str) -> Option<String> {
    let tag = tag(image)?;
    let undigested = image.split_once('@').map_or(image, |(reference, _)| reference);
    let folder = undigested.rfind('/').map_or("", |slash| &undigested[..=slash]);
    Some(format!("{folder}{name}:{tag}"))
}

/// After the last slash, so that a registry's port is not taken for a tag, and before the digest.
fn last_segment(image: &str) -> &str {
    let undigested = image.split_once('@').map_or(image, |(reference, _)| reference);
    undigested.rsplit('/').next().unwrap_or(undigested)
}

/// A tag as Prow's releases have it: `v20240619-cfb8754e0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The day (UTC) on which it was built.
    pub date: Date,
    /// Short hash of the commit of Prow (test-infra, until 2024).
    pub commit: String,
}

impl Tag {
    /// `None` where the tag is of another form (`latest`, a release of somebody else).
    pub fn parse(tag: &str) -> Option<Self> {
        let (date, commit) = tag.strip_prefix('v')?.split_once('-')?;
        if date.len() != 8 || !date.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let (year, rest) = date.split_at(4);
        let (month, day) = rest.split_at(2);
        let date = Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()?;
        Some(Tag { date, commit: commit.to_owned() })
    }
}

/// Which presets Prow takes for duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PresetRule {
    /// Until 2019-01-22: any label key that two presets share.
    RepeatedKey,
    /// Since then: any pair of key and value that two presets share.
    RepeatedPair,
    /// The deployed tags do not tell. Both rules are asked, and only what both refuse is an objection: the older rule
    /// alone refuses almost every configuration of today, and would leave nothing to propose.
    #[default]
    Unknown,
}

impl PresetRule {
    /// The rule that a Prow obeys which logged this error. Better evidence than any tag.
    pub fn of_error(error: &str) -> Option<Self> {
        if error.contains("duplicated preset 'label:value' pair") {
            Some(PresetRule::RepeatedPair)
        } else if error.contains("duplicated preset label") {
            Some(PresetRule::RepeatedKey)
        } else {
            None
        }
    }

    fn of_tag(tag: &str) -> Self {
        match Tag::parse(tag) {
            None => PresetRule::Unknown,
            Some(tag) if tag.date > CHANGED_ON || tag.commit.starts_with(CHANGED_BY) => PresetRule::RepeatedPair,
            // The change was merged in the last hour of that day (UTC): its images are almost surely the older ones.
            Some(_) => PresetRule::RepeatedKey,
        }
    }
}

const CHANGED_ON: Date = jiff::civil::date(2019, 1, 22);
const CHANGED_BY: &str = "fdc2a40b6";

/// The strictest rule of the tags that run: the worst verdict counts. No tags tell nothing.
pub fn preset_rule<'a>(tags: impl Iterator<Item = &'a str>) -> PresetRule {
    let rules: Vec<PresetRule> = tags.map(PresetRule::of_tag).collect();
    if rules.contains(&PresetRule::RepeatedKey) {
        PresetRule::RepeatedKey
    } else if rules.is_empty() || rules.contains(&PresetRule::Unknown) {
        PresetRule::Unknown
    } else {
        PresetRule::RepeatedPair
    }
}

/// What a Prow makes of `allowed_repos` and `denied_repos` in `config_updater`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RepoAcl {
    /// Before December 2025: fields that it does not know.
    Ignored,
    /// Since then: hook writes only from repositories that they admit.
    Heeded,
    /// The deployed tags do not tell, or were built in that month.
    #[default]
    Unknown,
}

const ACL_SINCE: Date = jiff::civil::date(2025, 12, 1);
const ACL_FOR_SURE: Date = jiff::civil::date(2026, 1, 1);

/// What all tags that run agree in.
pub fn repo_acl<'a>(tags: impl Iterator<Item = &'a str>) -> RepoAcl {
    let mut all = tags.map(|tag| match Tag::parse(tag) {
        Some(tag) if tag.date < ACL_SINCE => RepoAcl::Ignored,
        Some(tag) if tag.date >= ACL_FOR_SURE => RepoAcl::Heeded,
        Some(_) | None => RepoAcl::Unknown,
    });
    let Some(first) = all.next() else { return RepoAcl::Unknown };
    if all.all(|other| other == first) { first } else { RepoAcl::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_heeded_where_all_tags_are_of_2026() {
        let of = |tags: &[&str]| repo_acl(tags.iter().copied());
        assert_eq!(of(&["v20240619-cfb8754e0", "v20251130-1234567"]), RepoAcl::Ignored);
        assert_eq!(of(&["v20260101-1234567"]), RepoAcl::Heeded);
        for unknown in [&[][..], &["latest"], &["v20251210-1234567"], &["v20240619-cfb8754e0", "v20260101-1234567"]] {
            assert_eq!(of(unknown), RepoAcl::Unknown, "{unknown:?}");
        }
    }

    #[test]
    fn names_and_tags() {
        for (image, name, t) in [
            ("gcr.io/k8s-prow/hook:v20190118-b3f0d0d11", "hook", Some("v20190118-b3f0d0d11")),
            ("localhost:5000/hook", "hook", None),
            ("localhost:5000/prow/deck:latest@sha256:00", "deck", Some("latest")),
            ("ghproxy@sha256:00", "ghproxy", None),
            ("tide", "tide", None),
        ] {
            assert_eq!((base_name(image), tag(image)), (name, t), "{image}");
        }
    }

    #[test]
    fn images_beside_one_another() {
        for (image, beside) in [
            ("gcr.io/k8s-prow/hook:v1", Some("gcr.io/k8s-prow/checkconfig:v1")),
            ("localhost:5000/hook:v1@sha256:00", Some("localhost:5000/checkconfig:v1")),
            ("hook:v1", Some("checkconfig:v1")),
            ("localhost:5000/hook", None),
        ] {
            assert_eq!(sibling(image, "checkconfig").as_deref(), beside, "{image}");
        }
    }

    #[test]
    fn tags_of_releases() {
        let tag = Tag::parse("v20240619-cfb8754e0").unwrap();
        assert_eq!((tag.date, tag.commit.as_str()), (jiff::civil::date(2024, 6, 19), "cfb8754e0"));
        for other in ["latest", "v1.2.3", "v20241399-abc", "20240619-abc", "vé240619-abc", "v20240619"] {
            assert_eq!(Tag::parse(other), None, "{other}");
        }
    }

    #[test]
    fn the_worst_rule_counts() {
        let rule = |tags: &[&str]| preset_rule(tags.iter().copied());
        assert_eq!(rule(&["v20190118-b3f0d0d11", "v20240619-cfb8754e0"]), PresetRule::RepeatedKey);
        assert_eq!(rule(&["v20190122-0123456"]), PresetRule::RepeatedKey);
        assert_eq!(rule(&["v20190122-fdc2a40b6"]), PresetRule::RepeatedPair);
        assert_eq!(rule(&["v20240619-cfb8754e0"]), PresetRule::RepeatedPair);
        assert_eq!(rule(&["v20240619-cfb8754e0", "latest"]), PresetRule::Unknown);
        assert_eq!(rule(&[]), PresetRule::Unknown);
    }

    #[test]
    fn the_words_of_a_refusal_tell_its_rule() {
        assert_eq!(
            PresetRule::of_error("duplicated preset label : preset-aws-credential"),
            Some(PresetRule::RepeatedKey)
        );
        assert_eq!(PresetRule::of_error("duplicated preset 'label:value' pair : a:b"), Some(PresetRule::RepeatedPair));
        assert_eq!(PresetRule::of_error("invalid presubmit job a"), None);
    }
}
