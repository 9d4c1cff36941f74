//! Follows the configuration repository: reads it for what is deployed, and again when that changes, when the upstream
//! moved (somebody merged and fetched) or on request.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::assemble::Assembled;
use super::desired::{self, DesiredOptions, Prepared, Warmth};
use crate::clock::Clock;
use crate::git::Repository;
use crate::model::{Desired, Failure, Source, Timestamp};
use crate::prow::{Catalogue, ConfigFiles, PresetRule, RepoAcl, image, preset_rule, repo_acl};

/// How often to look whether the upstream moved: two short calls of git.
const LOOK: Duration = Duration::from_secs(5);

/// What of the cluster decides how a revision is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    pub rule: PresetRule,
    pub acl: RepoAcl,
    pub files: ConfigFiles,
}

impl Deployed {
    /// `None` while the components have not been answered for. Where they cannot be seen, what is usual is assumed.
    pub fn of(assembled: &Assembled) -> Option<Deployed> {
        let components = &assembled.view.components;
        if !components.is_settled() {
            return None;
        }
        let Some(components) = components.seen().filter(|components| !components.is_empty()) else {
            return Some(Deployed { rule: PresetRule::Unknown, acl: RepoAcl::Unknown, files: ConfigFiles::by_name() });
        };
        // What a Prow says that it refuses is better evidence than its tag.
        let refusals = components
            .iter()
            .flat_map(|component| &component.pods)
            .flat_map(|pod| &pod.containers)
            .flat_map(|container| [&container.last_fatal, &container.reload_error])
            .flatten()
            .filter_map(|line| PresetRule::of_error(&line.error))
            .collect::<Vec<_>>();
        let tags: BTreeSet<String> = components
            .iter()
            .filter(|component| component.config.config_path.is_some())
            .flat_map(|component| component.running_images().into_iter().chain(component.spec_images.iter().cloned()))
            .filter(|image| Catalogue::embedded().role_of(image).is_some())
            .filter_map(|image| image::tag(&image).map(str::to_owned))
            .collect();
        let rule = if refusals.contains(&PresetRule::RepeatedKey) {
            PresetRule::RepeatedKey
        } else if refusals.contains(&PresetRule::RepeatedPair) {
            PresetRule::RepeatedPair
        } else {
            preset_rule(tags.iter().map(String::as_str))
        };
        let acl = repo_acl(tags.iter().map(String::as_str));
        Some(Deployed { rule, acl, files: ConfigFiles::of_components(components.iter()) })
    }
}

/// Reads until dropped, or until `emit` says that nobody listens.
pub async fn follow(
    prepared: impl Future<Output = Result<Prepared, Failure>>,
    options: DesiredOptions,
    clock: Clock,
    mut deployed: watch::Receiver<Option<Deployed>>,
    refresh: Arc<Notify>,
    emit: impl Fn(Deployed, Source<Desired>) -> bool,
) {
    let (repository, mut warmth) = match prepared.await {
        Ok(Prepared { repository, warmth }) => (Ok(repository), warmth),
        Err(failure) => (Err(failure), Warmth::default()),
    };
    let mut last: Option<(Desired, Timestamp)> = None;
    loop {
        let Ok(current) = deployed.wait_for(Option::is_some).await.map(|deployed| deployed.clone()) else { return };
        let Some(current) = current else { continue };
        let source = match &repository {
            Err(failure) => Source::Lost { error: failure.clone(), last: None },
            Ok(repository) => {
                let options = DesiredOptions {
                    rule: current.rule,
                    acl: current.acl,
                    files: current.files.clone(),
                    ..options.clone()
                };
                // Later, the upstream may have moved.
                let mut warmth = std::mem::take(&mut warmth);
                match desired::read_with(&mut warmth, repository, &options).await {
                    Ok(value) => {
                        let at = clock.now();
                        last = Some((value.clone(), at));
                        Source::Known { value, at }
                    }
                    Err(error) => Source::Lost { error, last: last.clone() },
                }
            }
        };
        let known = matches!(source, Source::Known { .. });
        if !emit(current.clone(), source) {
            return;
        }
        let moved = async {
            match &repository {
                Ok(repository) => {
                    wait_for_move(repository, known, &clock, &mut last, |desired, at| {
                        emit(current.clone(), Source::Known { value: desired, at })
                    })
                    .await
                }
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = moved => {}
            changed = deployed.changed() => if changed.is_err() { return },
            () = refresh.notified() => {}
        }
    }
}

/// Waits until the upstream is another commit (or, where it could not be read, one interval), and meanwhile confirms
/// what is known: the repository was looked at, and it is the same.
async fn wait_for_move(
    repository: &Repository,
    known: bool,
    clock: &Clock,
    last: &mut Option<(Desired, Timestamp)>,
    confirm: impl Fn(Desired, Timestamp) -> bool,
) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some((desired, at)) = last.as_mut().filter(|_| known) else { return };
        match repository.upstream().await {
            Ok((name, head)) if name == desired.upstream && head == desired.head.revision => {
                desired.fetched = repository.fetched().await;
                *at = clock.now();
                if !confirm(desired.clone(), *at) {
                    return;
                }
            }
            Ok(_) | Err(_) => return,
        }
    }
}
