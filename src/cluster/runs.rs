//! CronJobs, their Jobs, and who deploys things: objects to rows.

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::objects::{Owner, at, owner, reference};
use crate::model::text::sanitize_line;
use crate::model::{Alias, CronJobState, JobRun, Kind, Tracking};

/// Labels and annotations that say whose hand an object is in.
const TRACKING: [&str; 5] = [
    "argocd.argoproj.io/tracking-id",
    "app.kubernetes.io/instance",
    "kustomize.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/name",
    "meta.helm.sh/release-name",
];
/// Of a command only its beginning is shown.
const COMMAND: usize = 160;

/// A Job, and who made it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    pub owner: Option<Owner>,
    pub run: JobRun,
}

pub fn tracking(meta: &ObjectMeta) -> Vec<Tracking> {
    meta.labels
        .iter()
        .chain(&meta.annotations)
        .flatten()
        .filter(|(key, _)| TRACKING.contains(&key.as_str()))
        .map(|(key, value)| Tracking { key: sanitize_line(key), value: sanitize_line(value) })
        .collect()
}

/// Name and image of each container.
pub fn images(spec: &PodSpec) -> Vec<(String, String)> {
    spec.containers
        .iter()
        .map(|container| {
            (sanitize_line(&container.name), sanitize_line(container.image.as_deref().unwrap_or_default()))
        })
        .collect()
}

/// A CronJob; its role and its runs are joined later.
pub fn cron_job(alias: &Alias, object: &CronJob) -> Option<CronJobState> {
    let spec = object.spec.as_ref()?;
    let template = spec.job_template.spec.as_ref().and_then(|job| job.template.spec.as_ref());
    let command: Vec<String> = template
        .iter()
        .flat_map(|spec| &spec.containers)
        .flat_map(|container| container.command.iter().chain(&container.args).flatten().cloned())
        .collect();
    Some(CronJobState {
        object: reference(alias, Kind::CronJob, &object.metadata)?,
        resource_version: object.metadata.resource_version.clone()?,
        schedule: sanitize_line(&spec.schedule),
        suspended: spec.suspend.unwrap_or(false),
        images: template.map(images).unwrap_or_default().into_iter().map(|(_, image)| image).collect(),
        role: None,
        command: sanitize_line(&command.join(" ")).chars().take(COMMAND).collect(),
        last_scheduled: at(object.status.as_ref().and_then(|status| status.last_schedule_time.as_ref())),
        runs: Vec::new(),
    })
}

pub fn job(object: &Job) -> Option<JobRow> {
    let status = object.status.as_ref();
    let template = object.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let conditions = status.and_then(|status| status.conditions.as_ref());
    Some(JobRow {
        owner: owner(&object.metadata),
        run: JobRun {
            name: sanitize_line(object.metadata.name.as_deref()?),
            images: template.map(images).unwrap_or_default().into_iter().map(|(_, image)| image).collect(),
            started: at(status
                .and_then(|status| status.start_time.as_ref())
                .or(object.metadata.creation_timestamp.as_ref())),
            completed: at(status.and_then(|status| status.completion_time.as_ref())),
            failed: conditions
                .into_iter()
                .flatten()
                .any(|condition| condition.type_ == "Failed" && condition.status == "True"),
        },
    })
}
