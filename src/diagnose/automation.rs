//! What would undo a manual repair, as far as CronJobs, ProwJobs and managedFields tell.

use std::collections::BTreeMap;

use crate::model::{ObjectRef, ProwJob, Rollout, Snapshot, Timestamp};
use crate::prow::jobs::{JobTask, task_of};
use crate::prow::plugins::has_config_updater;

use super::outage::{came_after, rolled_back_from};
use super::{Basis, Context, Finding, FindingKind, Severity, id};

/// So long after a rollback it is news that something would undo it.
const NEWS_SECONDS: i64 = 86_400;

/// Something that acts by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Actor {
    pub kind: ActorKind,
    /// Its name: of the job, the CronJob, the controller.
    pub name: String,
    /// The object, where it is one of a cluster.
    pub object: Option<ObjectRef>,
    pub basis: Basis,
    /// What it does to a manual repair.
    pub effect: String,
    /// When: `on every merge`, a schedule.
    pub when: String,
    pub last_ran: Option<Timestamp>,
    /// It does nothing now: suspended, or stuck itself.
    pub idle: Option<String>,
    /// It is at it, or about to be: `running now`.
    pub under_way: Option<UnderWay>,
    /// How to stop it, a way each: what it is decides that, and a CronJob is suspended where a ProwJob is aborted.
    pub stop: Vec<String>,
    pub evidence: Vec<String>,
}

/// What a job that was begun does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnderWay {
    /// No pod of it runs; it gets one when jobs start again.
    Pending,
    /// Its pod runs.
    Running,
}

impl UnderWay {
    pub fn words(self) -> &'static str {
        match self {
            UnderWay::Pending => "pending, starts as soon as jobs start again",
            UnderWay::Running => "running now",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActorKind {
    /// hook's config-updater plugin.
    ConfigUpdater,
    /// A ProwJob that deploys Prow.
    DeployJob,
    /// A ProwJob that bumps Prow's images.
    Autobump,
    /// A ProwJob that runs config-bootstrapper.
    Bootstrapper,
    /// A CronJob.
    CronJob,
    /// Argo CD, Flux, Helm.
    GitOps,
}

impl ActorKind {
    /// True for what puts other images into components that were rolled back.
    pub fn reverts_images(self) -> bool {
        match self {
            ActorKind::DeployJob | ActorKind::Autobump | ActorKind::GitOps => true,
            ActorKind::ConfigUpdater | ActorKind::Bootstrapper | ActorKind::CronJob => false,
        }
    }

    /// As in the JSON contract.
    pub fn name(self) -> &'static str {
        match self {
            ActorKind::ConfigUpdater => "config-updater",
            ActorKind::DeployJob => "deploy-job",
            ActorKind::Autobump => "autobump",
            ActorKind::Bootstrapper => "config-bootstrapper",
            ActorKind::CronJob => "cron-job",
            ActorKind::GitOps => "gitops",
        }
    }
}

/// What acts by itself, most dangerous first.
pub fn automation(snapshot: &Snapshot) -> Vec<Actor> {
    let mut actors = git_ops(snapshot);
    actors.extend(jobs(snapshot));
    actors.extend(config_updater(snapshot));
    actors.extend(cron_jobs(snapshot));
    actors
}

/// `automation-will-revert`: said while a repair is at hand or was made; at other times it is no news.
pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    if context.strays.total() == 0 && !was_rolled_back(context.snapshot) {
        return Vec::new();
    }
    let reverting: Vec<&Actor> =
        context.automation.iter().filter(|actor| actor.kind.reverts_images() && actor.idle.is_none()).collect();
    if reverting.is_empty() {
        return Vec::new();
    }
    let kind = FindingKind::AutomationWillRevert {
        actors: reverting.iter().map(|actor| format!("{} ({})", actor.name, actor.when)).collect(),
        under_way: about_to_revert(context).map(|(actor, _)| actor.name.clone()).collect(),
    };
    let mut evidence: Vec<String> = reverting.iter().map(|actor| format!("{}: {}", actor.name, actor.effect)).collect();
    evidence.extend(rolled_back_from(context.snapshot).map(|tag| {
        format!("prow-controller-manager was rolled back from {tag}: unless git's head asks for another one, that comes back")
    }));
    for actor in &reverting {
        evidence.extend(actor.stop.iter().map(|how| format!("to stop {}: {how}", actor.name)));
    }
    let all_known = reverting.iter().all(|actor| actor.basis == Basis::Fact);
    vec![Finding {
        id: id(&kind, "all"),
        severity: Severity::Warn,
        basis: if all_known { Basis::Fact } else { Basis::Guess },
        subjects: reverting.iter().filter_map(|actor| actor.object.clone()).collect(),
        since: None,
        evidence,
        repairs: Vec::new(),
        kind,
    }]
}

/// What puts other images into components, and is at it or about to be, while a repair is at hand or was made today.
pub(super) fn about_to_revert<'a>(context: &'a Context<'_>) -> impl Iterator<Item = (&'a Actor, UnderWay)> {
    let at_hand = context.strays.total() > 0 || was_rolled_back_today(context.snapshot);
    context
        .automation
        .iter()
        .filter(move |actor| at_hand && actor.kind.reverts_images() && actor.idle.is_none())
        .filter_map(|actor| Some((actor, actor.under_way?)))
}

/// True where a component asks for a version that is older than one that it had.
fn was_rolled_back(snapshot: &Snapshot) -> bool {
    went_back(snapshot).next().is_some()
}

/// The same, since yesterday: long after, a job that bumps and deploys is Prow's daily life again.
fn was_rolled_back_today(snapshot: &Snapshot) -> bool {
    let now = snapshot.taken_at_server();
    let is_news = |at: Timestamp| now.as_second() - at.as_second() < NEWS_SECONDS;
    went_back(snapshot).any(|rollout| rollout.began.is_none_or(is_news))
}

/// What runs, of components that had a later version before.
fn went_back(snapshot: &Snapshot) -> impl Iterator<Item = &Rollout> {
    let rollouts = snapshot.service.rollouts.seen().map_or(&[][..], Vec::as_slice);
    rollouts.iter().filter(|rollout| rollout.current).filter(|now| {
        rollouts.iter().any(|other| {
            other.component == now.component
                && !other.current
                && other.tag != now.tag
                && came_after(other, &now.tag, Some(now))
        })
    })
}

/// Labels and annotations say who manages; managedFields say who really writes.
fn git_ops(snapshot: &Snapshot) -> Vec<Actor> {
    const MARKS: [(&str, &str, Basis); 5] = [
        ("argocd.argoproj.io/tracking-id", "Argo CD", Basis::Fact),
        ("kustomize.toolkit.fluxcd.io/name", "Flux", Basis::Fact),
        ("helm.toolkit.fluxcd.io/name", "Flux", Basis::Fact),
        ("meta.helm.sh/release-name", "Helm", Basis::Fact),
        // kustomize sets it as well.
        ("app.kubernetes.io/instance", "Argo CD", Basis::Guess),
    ];
    const WRITERS: [(&str, &str); 4] =
        [("argocd", "Argo CD"), ("kustomize-controller", "Flux"), ("helm-controller", "Flux"), ("helm", "Helm")];
    let mut found: BTreeMap<&str, Actor> = BTreeMap::new();
    for component in snapshot.service.components.seen().into_iter().flatten() {
        let marks = component.tracking.iter().filter_map(|mark| {
            let (_, name, basis) = MARKS.iter().find(|(key, _, _)| *key == mark.key)?;
            Some((*name, *basis, format!("{}: {} = {}", component.object, mark.key, mark.value), None))
        });
        let writers = component.writers.iter().filter_map(|writer| {
            let (_, name) = WRITERS.iter().find(|(prefix, _)| writer.manager.starts_with(prefix))?;
            Some((*name, Basis::Fact, format!("{} was written by {writer}", component.object), writer.at))
        });
        for (name, basis, evidence, at) in marks.chain(writers) {
            let actor = found.entry(name).or_insert_with(|| Actor {
                kind: ActorKind::GitOps,
                name: name.to_owned(),
                object: Some(component.object.clone()),
                basis,
                effect: match name {
                    "Helm" => "the next release writes the chart's images again",
                    _ => "with automatic sync it writes what git says, within minutes",
                }
                .to_owned(),
                when: match name {
                    "Helm" => "on the next release",
                    _ => "always, if automatic sync is on",
                }
                .to_owned(),
                last_ran: None,
                idle: None,
                under_way: None,
                stop: vec![
                    match name {
                        "Helm" => "let nobody release the chart until the bump is reverted in it",
                        "Flux" => "flux suspend kustomization NAME (or helmrelease NAME)",
                        _ => "switch automatic sync off: argocd app set NAME --sync-policy none",
                    }
                    .to_owned(),
                ],
                evidence: Vec::new(),
            });
            if basis == Basis::Fact {
                actor.basis = Basis::Fact;
            }
            actor.last_ran = actor.last_ran.max(at);
            if actor.evidence.len() < 3 {
                actor.evidence.push(evidence);
            }
        }
    }
    found.into_values().collect()
}

/// Jobs that Prow runs on itself, as far as their ProwJobs are still there.
fn jobs(snapshot: &Snapshot) -> Vec<Actor> {
    let mut newest: BTreeMap<(ActorKind, &str), (&ProwJob, bool)> = BTreeMap::new();
    let mut going: BTreeMap<(ActorKind, &str), Vec<&ProwJob>> = BTreeMap::new();
    for job in snapshot.prowjobs.seen().into_iter().flatten() {
        let Some(task) = task_of(&job.job) else { continue };
        let kind = match task.task {
            JobTask::Deploy => ActorKind::DeployJob,
            JobTask::Autobump => ActorKind::Autobump,
            JobTask::Bootstrap => ActorKind::Bootstrapper,
        };
        let held = newest.entry((kind, &job.job)).or_insert((job, task.known));
        if job.created > held.0.created {
            held.0 = job;
        }
        if !job.is_finished() {
            going.entry((kind, &job.job)).or_default().push(job);
        }
    }
    newest
        .into_iter()
        .map(|((kind, name), (job, known))| {
            let effect = match kind {
                ActorKind::DeployJob => "applies the manifests of git's head: a rollback by hand is gone with it",
                ActorKind::Autobump => "bumps the images in git, which the deploy job then rolls out",
                ActorKind::Bootstrapper => "writes all ConfigMaps anew from git",
                ActorKind::ConfigUpdater | ActorKind::CronJob | ActorKind::GitOps => "",
            };
            // The pod of a pending job is made anew when pods start again: what was rolled back would be rolled out by it.
            let going = going.get(&(kind, name)).map_or(&[][..], Vec::as_slice);
            let under_way =
                going.iter().map(|job| if runs(snapshot, job) { UnderWay::Running } else { UnderWay::Pending }).max();
            let when = match (under_way, job.job_type.as_str()) {
                (Some(UnderWay::Running), _) => "running now",
                (Some(UnderWay::Pending), _) => "at once when jobs start again: one is pending",
                (None, "periodic") => "on its schedule",
                (None, "postsubmit") => "on a merge that matches",
                (None, _) => "when asked for",
            };
            Actor {
                kind,
                name: name.to_owned(),
                object: None,
                under_way,
                stop: how_to_stop(snapshot, kind, going),
                basis: if known { Basis::Fact } else { Basis::Guess },
                effect: effect.to_owned(),
                when: when.to_owned(),
                last_ran: job.created,
                idle: None,
                evidence: std::iter::once(&job)
                    .chain(going.iter().filter(|going| going.name != job.name))
                    .map(|job| {
                        let made = job.created.map_or("at an unknown time".to_owned(), |at| at.to_string());
                        format!("ProwJob {}: {}, made {made}", job.name, job.state)
                    })
                    .collect(),
            }
        })
        .collect()
}

/// Whether the pod of a job runs, as far as it is seen where it belongs or went astray.
fn runs(snapshot: &Snapshot, job: &ProwJob) -> bool {
    snapshot.views().any(|view| {
        let placed = view
            .census
            .seen()
            .is_some_and(|census| census.pods.iter().any(|row| row.name == job.name && row.state == "Running"));
        let astray = || view.job_pods.seen().into_iter().flatten();
        placed || astray().any(|pod| pod.object.name == job.name && pod.phase == "Running")
    })
}

/// A job of Prow is a ProwJob and no CronJob: nothing of it can be suspended. What goes on is aborted, and its pod ended by
/// plank; what would come is kept from coming in git.
fn how_to_stop(snapshot: &Snapshot, kind: ActorKind, going: &[&ProwJob]) -> Vec<String> {
    let service = &snapshot.service.context;
    let namespace = snapshot.prow.seen().map_or("NAMESPACE", |settings| settings.prowjob_namespace.as_str());
    let mut ways: Vec<String> = going
        .iter()
        .map(|job| {
            format!(
                "abort it in Deck, or: kubectl --context {service} -n {namespace} patch prowjob {} --type merge -p \
                 '{{\"status\":{{\"state\":\"aborted\"}}}}'",
                job.name
            )
        })
        .collect();
    match kind {
        ActorKind::Autobump => ways.push("/hold its pull request, so that nobody merges the bump again".to_owned()),
        ActorKind::DeployJob if going.is_empty() => {
            ways.push("keep merges away until the bump is reverted in git; abort it in Deck if it starts".to_owned());
        }
        ActorKind::Bootstrapper if going.is_empty() => ways.push("abort it in Deck if it starts".to_owned()),
        ActorKind::DeployJob
        | ActorKind::Bootstrapper
        | ActorKind::ConfigUpdater
        | ActorKind::CronJob
        | ActorKind::GitOps => {}
    }
    ways
}

fn config_updater(snapshot: &Snapshot) -> Option<Actor> {
    let components = snapshot.service.components.seen()?;
    let hook =
        components.iter().find(|component| component.role == "hook" && component.config.plugin_config.is_some())?;
    let path = hook.config.plugin_config.as_ref()?;
    let map = path.config_map.as_ref()?;
    let value = snapshot.service.config_maps.seen()?.get(map)?.values.get(path.key.as_deref()?)?;
    if !has_config_updater(value) {
        return None;
    }
    Some(Actor {
        kind: ActorKind::ConfigUpdater,
        name: "config-updater".to_owned(),
        object: Some(hook.object.clone()),
        basis: Basis::Fact,
        effect: "writes the files of each merged pull request; hand edits of other files stay".to_owned(),
        when: "on every merge".to_owned(),
        last_ran: None,
        idle: (hook.ready == 0).then(|| "hook is down".to_owned()),
        under_way: None,
        stop: vec!["keep merges away: /hold the pull requests that change those files".to_owned()],
        evidence: vec![format!("config_updater in ConfigMap {map}")],
    })
}

fn cron_jobs(snapshot: &Snapshot) -> Vec<Actor> {
    snapshot
        .service
        .cron_jobs
        .seen()
        .into_iter()
        .flatten()
        .filter_map(|cron| {
            let restarts = cron.object.name.ends_with("-kicker") || cron.command.contains("rollout restart");
            let (effect, basis) = match cron.role.as_deref() {
                Some("branchprotector") => {
                    ("applies branch protection as its own version and the configuration say", Basis::Fact)
                }
                Some(_) => ("runs a Prow tool by itself", Basis::Fact),
                None if restarts => (
                    "restarts components: bad configuration crashes them then, and `rollout undo` returns to the same image",
                    Basis::Guess,
                ),
                None if cron.object.name == "terminating-pod-cleanup" => {
                    ("force-deletes pods that hang in Terminating", Basis::Guess)
                }
                None => return None,
            };
            let mut evidence = vec![format!("{} with {}", cron.object, cron.images.join(", "))];
            evidence.extend(cron.runs.iter().take(3).map(|run| {
                let at = run.started.map_or("not started".to_owned(), |at| at.to_string());
                format!("run {} at {at} with {}", run.name, run.images.join(", "))
            }));
            Some(Actor {
                kind: ActorKind::CronJob,
                name: cron.object.name.clone(),
                object: Some(cron.object.clone()),
                basis,
                effect: effect.to_owned(),
                when: cron.schedule.clone(),
                last_ran: cron.last_scheduled,
                idle: cron.suspended.then(|| "suspended".to_owned()),
                under_way: None,
                stop: vec![format!(
                    "suspend it: kubectl --context {} -n {} patch cronjob {} --type merge -p '{{\"spec\":{{\"suspend\":true}}}}'",
                    snapshot.service.context, cron.object.namespace, cron.object.name
                )],
                evidence,
            })
        })
        .collect()
}
