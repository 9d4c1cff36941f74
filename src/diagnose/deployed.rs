//! Which Prow is deployed, as far as a verdict on a configuration must hold for it, and what makes such a verdict an opinion.
//!
//! To add a doubt: a variant of [`Doubt`], and its condition in one of the `doubts` of [`Deployed`].

use std::collections::BTreeSet;

use crate::model::{Component, Doubt, Snapshot};
use crate::prow::layout::reads_further;
use crate::prow::{ConfigFiles, image};

use super::started::role_containers;
use super::versions::{role_image, role_tag};

/// What is deployed, for whoever speaks of a content.
pub(super) struct Deployed {
    no_cluster: bool,
    /// Tags that are asked for, hook's first, and those that still run: a rollout is not done before they are gone.
    pub(super) tags: Vec<String>,
    /// Everything that reads the configuration is seen now, with what runs of it, and has a tag.
    is_whole: bool,
    /// What a component reads beyond what is judged.
    pub(super) further: Option<String>,
}

impl Deployed {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let source = &snapshot.service.components;
        let components = source.seen().map_or(&[][..], Vec::as_slice);
        let mut tags = deployed_tags(components);
        for tag in readers(components).flat_map(running_tags) {
            if !tags.iter().any(|known| known == tag) {
                tags.push(tag.to_owned());
            }
        }
        Deployed {
            no_cluster: !snapshot.is_of_a_cluster(),
            is_whole: source.known().is_some()
                && !tags.is_empty()
                && readers(components)
                    .all(|component| role_tag(component).is_some() && sees_what_runs(snapshot, component)),
            further: further(components),
            tags,
        }
    }

    /// Why the word of a checkconfig of this version is no FACT about what is deployed.
    pub(super) fn doubts(&self, version: Option<&str>) -> Vec<Doubt> {
        if self.no_cluster {
            return vec![Doubt::NoCluster];
        }
        let mut doubts = Vec::new();
        match version {
            None => doubts.push(Doubt::VersionNotKnown),
            Some(version) if self.tags.iter().any(|tag| tag != version) => {
                doubts.push(Doubt::OtherVersion { deployed: self.tags.clone() });
            }
            Some(_) => {}
        }
        doubts.extend(self.doubts_of_memory(None));
        doubts
    }

    /// Why it is no FACT that what all of these tags started on before, they would start on now. `then` is what was read beside
    /// the content.
    pub(super) fn doubts_of_memory(&self, then: Option<&String>) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        if !self.is_whole {
            doubts.push(Doubt::DeployedNotKnown);
        }
        let further = self.further.as_ref().or(then);
        doubts.extend(further.map(|what| Doubt::ReadsFurther { what: what.clone() }));
        doubts
    }

    /// Why it is no FACT that one which is deployed, and refused a content before, would refuse it now.
    pub(super) fn doubts_of_refusal(&self) -> Vec<Doubt> {
        self.further.iter().map(|what| Doubt::ReadsFurther { what: what.clone() }).collect()
    }
}

/// Tags of the components that read Prow's configuration and are meant to run: a content must suit all of them. hook's is
/// first.
pub fn deployed_tags(components: &[Component]) -> Vec<String> {
    let mut readers: Vec<&Component> = readers(components).collect();
    readers.sort_by_key(|component| (component.role != "hook", &component.object));
    let mut tags: Vec<String> = Vec::new();
    for tag in readers.into_iter().filter_map(role_tag) {
        if !tags.iter().any(|known| known == tag) {
            tags.push(tag.to_owned());
        }
    }
    tags
}

/// The image of checkconfig for each tag that is deployed, beside the components' own. hook's is first.
pub fn checkconfig_images(components: &[Component]) -> Vec<String> {
    let mut readers: Vec<&Component> =
        components.iter().filter(|component| component.config.config_path.is_some()).collect();
    readers.sort_by_key(|component| (component.is_idle_by_intent(), component.role != "hook", &component.object));
    let mut images: Vec<String> = Vec::new();
    for image in readers.into_iter().filter_map(role_image).filter_map(|image| image::sibling(image, "checkconfig")) {
        if !images.contains(&image) {
            images.push(image);
        }
    }
    images
}

fn readers(components: &[Component]) -> impl Iterator<Item = &Component> {
    components.iter().filter(|component| component.config.config_path.is_some() && !component.is_idle_by_intent())
}

/// Tags of the containers that run, where they tell one: some report a digest alone.
fn running_tags(component: &Component) -> impl Iterator<Item = &str> {
    running_images(component).filter_map(|image| own_tag(component, image))
}

/// What runs of a component is seen, each with its tag: where pods are denied, what a rollout leaves behind may run unseen.
fn sees_what_runs(snapshot: &Snapshot, component: &Component) -> bool {
    let list = format!("pods in {}", component.object.namespace);
    let is_unseen = snapshot.service.parts.iter().any(|part| part.name == list && part.source.known().is_none());
    !is_unseen && running_images(component).all(|image| own_tag(component, image).is_some())
}

/// Images of the containers that carry the role, of pods that stay.
fn running_images(component: &Component) -> impl Iterator<Item = &str> {
    let is_over = |phase: &str| phase == "Failed" || phase == "Succeeded";
    role_containers(component)
        .filter(move |(pod, _)| !pod.deleting && !is_over(&pod.phase))
        .map(|(_, container)| container.image.as_str())
}

/// The tag of an image that is the component's own by name.
fn own_tag<'a>(component: &Component, image: &'a str) -> Option<&'a str> {
    let name = role_image(component).map(image::base_name);
    image::tag(image).filter(|_| Some(image::base_name(image)) == name)
}

/// The components that read what is not judged, with what it is; `None` where there are none.
fn further(components: &[Component]) -> Option<String> {
    let files = ConfigFiles::of_components(components.iter());
    let all: BTreeSet<String> = readers(components)
        .filter_map(|component| Some(format!("{} {}", component.object.name, reads_further(component, &files)?)))
        .collect();
    (!all.is_empty()).then(|| all.into_iter().collect::<Vec<_>>().join("; "))
}
