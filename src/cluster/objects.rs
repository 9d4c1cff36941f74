//! Kubernetes objects to rows of the model: only what is judged or shown is kept, and all text is made safe for a
//! terminal here. The exception is what a repair writes back as it was: a ConfigMap's values, labels and annotations.
//!
//! Not read in this version: ConfigMaps consumed by `env` and `envFrom` (they never change while a container runs),
//! and the Jobs between a CronJob and its pods.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::{pods, runs};
use crate::model::text::sanitize_line;
use crate::model::{
    Alias, ComponentPod, ConfigMapState, ConfigMount, Key, Kind, ObjectRef, Placement, Timestamp, Tracking, Values,
    Writer,
};

/// Label of an EndpointSlice with the name of its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Annotation of a ReplicaSet: which rollout it is.
const REVISION: &str = "deployment.kubernetes.io/revision";

/// A Deployment, StatefulSet, DaemonSet or CronJob.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// With uid.
    pub object: ObjectRef,
    pub resource_version: String,
    /// Pods asked for; 0 for a CronJob.
    pub desired: u32,
    pub ready: u32,
    /// A CronJob's `suspend`.
    pub suspended: bool,
    /// What hinders a Deployment, in the words of its conditions.
    pub trouble: Option<String>,
    /// A Deployment's `paused`.
    pub paused: bool,
    pub writers: Vec<Writer>,
    /// Labels and annotations of what deploys it.
    pub tracking: Vec<Tracking>,
    pub containers: Vec<TemplateContainer>,
    pub placement: Placement,
}

/// A container of a pod template.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TemplateContainer {
    pub name: String,
    pub image: String,
    /// `command`, then `args`.
    pub args: Vec<String>,
    /// Mounted ConfigMaps; a projected volume gives one for each of its ConfigMaps.
    pub mounts: Vec<ConfigMount>,
}

/// A pod, and who controls it.
#[derive(Debug, Clone, PartialEq)]
pub struct PodRow {
    pub pod: ComponentPod,
    pub owner: Option<Owner>,
}

/// The controller of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub kind: String,
    pub name: String,
    pub uid: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaSetRow {
    pub name: String,
    pub uid: String,
    pub owner: Option<Owner>,
    pub created: Option<Timestamp>,
    /// Annotation `deployment.kubernetes.io/revision`; 0 without.
    pub revision: u64,
    /// Name and image of each container of its template.
    pub containers: Vec<(String, String)>,
    /// Pods asked for.
    pub desired: u32,
}

/// One EndpointSlice of a Service.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointsRow {
    pub service: Key,
    /// Name of the pod (else the address), and whether it is ready.
    pub endpoints: Vec<(String, bool)>,
}

pub(super) fn key(meta: &ObjectMeta) -> Option<Key> {
    let name = meta.name.as_deref().filter(|name| !name.is_empty())?;
    Some(Key::new(sanitize_line(meta.namespace.as_deref().unwrap_or_default()), sanitize_line(name)))
}

pub(super) fn at(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| time.0)
}

pub(super) fn reference(alias: &Alias, kind: Kind, meta: &ObjectMeta) -> Option<ObjectRef> {
    let key = key(meta)?;
    Some(ObjectRef::new(alias, &key.namespace, kind, &key.name).with_uid(&sanitize_line(meta.uid.as_deref()?)))
}

pub(super) fn owner(meta: &ObjectMeta) -> Option<Owner> {
    let owner = meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))?;
    Some(Owner { kind: sanitize_line(&owner.kind), name: sanitize_line(&owner.name), uid: sanitize_line(&owner.uid) })
}

fn count(number: Option<i32>) -> u32 {
    number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}

fn workload(alias: &Alias, kind: Kind, meta: &ObjectMeta, template: Option<&core::PodSpec>) -> Option<Workload> {
    let object = reference(alias, kind, meta)?;
    let containers = template.map(|spec| containers(&object.namespace, spec)).unwrap_or_default();
    Some(Workload {
        object,
        resource_version: meta.resource_version.clone()?,
        desired: 0,
        ready: 0,
        suspended: false,
        trouble: None,
        paused: false,
        writers: writers(meta),
        tracking: runs::tracking(meta),
        containers,
        placement: template.map(placement).unwrap_or_default(),
    })
}

fn placement(spec: &core::PodSpec) -> Placement {
    let tolerations = spec.tolerations.iter().flatten().filter_map(|toleration| serde_json::to_value(toleration).ok());
    Placement {
        node_selector: spec.node_selector.clone().unwrap_or_default(),
        tolerations: tolerations.collect(),
        image_pull_secrets: spec.image_pull_secrets.iter().flatten().map(|secret| secret.name.clone()).collect(),
    }
}

pub fn deployment(alias: &Alias, object: &Deployment) -> Option<Workload> {
    let spec = object.spec.as_ref()?;
    let mut row = workload(alias, Kind::Deployment, &object.metadata, spec.template.spec.as_ref())?;
    row.desired = count(spec.replicas.or(Some(1)));
    row.ready = count(object.status.as_ref().and_then(|status| status.ready_replicas));
    let conditions = object.status.as_ref().and_then(|status| status.conditions.as_ref());
    row.trouble = conditions.into_iter().flatten().find_map(|condition| {
        let hinders = matches!(
            (condition.type_.as_str(), condition.status.as_str()),
            ("ReplicaFailure", "True") | ("Progressing", "False")
        );
        hinders.then(|| sanitize_line(condition.message.as_deref().unwrap_or(&condition.type_)))
    });
    row.paused = spec.paused.unwrap_or(false);
    Some(row)
}

pub fn stateful_set(alias: &Alias, object: &StatefulSet) -> Option<Workload> {
    let spec = object.spec.as_ref()?;
    let mut row = workload(alias, Kind::StatefulSet, &object.metadata, spec.template.spec.as_ref())?;
    row.desired = count(spec.replicas.or(Some(1)));
    row.ready = count(object.status.as_ref().and_then(|status| status.ready_replicas));
    Some(row)
}

pub fn daemon_set(alias: &Alias, object: &DaemonSet) -> Option<Workload> {
    let spec = object.spec.as_ref()?;
    let mut row = workload(alias, Kind::DaemonSet, &object.metadata, spec.template.spec.as_ref())?;
    row.desired = count(object.status.as_ref().map(|status| status.desired_number_scheduled));
    row.ready = count(object.status.as_ref().map(|status| status.number_ready));
    Some(row)
}

pub fn cron_job(alias: &Alias, object: &CronJob) -> Option<Workload> {
    let spec = object.spec.as_ref()?;
    let template = spec.job_template.spec.as_ref().and_then(|job| job.template.spec.as_ref());
    let mut row = workload(alias, Kind::CronJob, &object.metadata, template)?;
    row.suspended = spec.suspend.unwrap_or(false);
    Some(row)
}

fn containers(namespace: &str, spec: &core::PodSpec) -> Vec<TemplateContainer> {
    let volumes: BTreeMap<&str, Vec<ConfigMount>> =
        spec.volumes.iter().flatten().map(|volume| (volume.name.as_str(), maps_of(namespace, volume))).collect();
    spec.containers
        .iter()
        .map(|container| TemplateContainer {
            name: sanitize_line(&container.name),
            image: sanitize_line(container.image.as_deref().unwrap_or_default()),
            args: container.command.iter().chain(&container.args).flatten().map(|arg| sanitize_line(arg)).collect(),
            mounts: container
                .volume_mounts
                .iter()
                .flatten()
                .flat_map(|mount| {
                    let sub_path = [&mount.sub_path, &mount.sub_path_expr];
                    volumes.get(mount.name.as_str()).into_iter().flatten().map(move |map| ConfigMount {
                        path: sanitize_line(&mount.mount_path),
                        sub_path: sub_path.into_iter().flatten().any(|path| !path.is_empty()),
                        ..map.clone()
                    })
                })
                .collect(),
        })
        .collect()
}

/// The ConfigMaps of a volume, not mounted anywhere yet.
fn maps_of(namespace: &str, volume: &core::Volume) -> Vec<ConfigMount> {
    let mount = |name: &str, optional: Option<bool>| ConfigMount {
        config_map: Key::new(namespace, sanitize_line(name)),
        path: String::new(),
        sub_path: false,
        optional: optional.unwrap_or(false),
    };
    let own = volume.config_map.iter().map(|source| mount(&source.name, source.optional));
    let projected = volume
        .projected
        .iter()
        .flat_map(|projected| projected.sources.iter().flatten())
        .filter_map(|source| source.config_map.as_ref())
        .map(|source| mount(&source.name, source.optional));
    own.chain(projected).collect()
}

pub fn pod(alias: &Alias, object: &core::Pod) -> Option<PodRow> {
    Some(PodRow { pod: pods::component_pod(alias, object)?, owner: owner(&object.metadata) })
}

pub fn replica_set(object: &ReplicaSet) -> Option<ReplicaSetRow> {
    let revision = object.metadata.annotations.as_ref().and_then(|all| all.get(REVISION)?.parse().ok());
    let spec = object.spec.as_ref();
    let template = spec.and_then(|spec| spec.template.as_ref()?.spec.as_ref());
    Some(ReplicaSetRow {
        name: key(&object.metadata)?.name,
        revision: revision.unwrap_or(0),
        containers: template.map(runs::images).unwrap_or_default(),
        desired: count(spec.and_then(|spec| spec.replicas)),
        uid: sanitize_line(object.metadata.uid.as_deref()?),
        owner: owner(&object.metadata),
        created: at(object.metadata.creation_timestamp.as_ref()),
    })
}

/// A ConfigMap, with its values joined and its writers newest first.
pub fn config_map(alias: &Alias, map: core::ConfigMap) -> Option<ConfigMapState> {
    let key = key(&map.metadata)?;
    let meta = map.metadata;
    let mut values: Values = map.data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.into_bytes())).collect();
    values.extend(map.binary_data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0)));
    let writers = writers(&meta);
    Some(ConfigMapState {
        cluster: alias.clone(),
        key,
        uid: meta.uid?,
        resource_version: meta.resource_version?,
        immutable: map.immutable.unwrap_or(false),
        values,
        labels: meta.labels.unwrap_or_default(),
        annotations: meta.annotations.unwrap_or_default(),
        writers,
    })
}

/// Field managers, newest first.
fn writers(meta: &ObjectMeta) -> Vec<Writer> {
    let mut writers: Vec<Writer> = meta
        .managed_fields
        .iter()
        .flatten()
        .map(|entry| Writer {
            manager: sanitize_line(entry.manager.as_deref().unwrap_or_default()),
            at: at(entry.time.as_ref()),
        })
        .collect();
    writers.sort_by_key(|writer: &Writer| std::cmp::Reverse(writer.at.unwrap_or(Timestamp::MIN)));
    writers
}

pub fn endpoints(slice: &EndpointSlice) -> Option<EndpointsRow> {
    let namespace = key(&slice.metadata)?.namespace;
    let service = sanitize_line(slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?);
    let endpoints = slice
        .endpoints
        .iter()
        .map(|endpoint| {
            let pod = endpoint.target_ref.as_ref().and_then(|target| target.name.as_deref());
            let name = pod.or(endpoint.addresses.first().map(String::as_str)).unwrap_or_default();
            // By the API's contract an unset condition means ready.
            let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
            (sanitize_line(name), ready)
        })
        .collect();
    Some(EndpointsRow { service: Key::new(namespace, service), endpoints })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn mounted_config_maps_come_from_volumes_and_projections() {
        let row = deployment(
            &Alias::service(),
            &parse(json!({
                "metadata": {"name": "hook", "namespace": "prow", "uid": "u", "resourceVersion": "1"},
                "spec": {"selector": {}, "template": {"spec": {
                    "containers": [{"name": "hook", "image": "hook", "command": ["/hook"], "args": ["--config-path=/c"],
                        "volumeMounts": [
                            {"name": "config", "mountPath": "/etc/config"},
                            {"name": "config", "mountPath": "/one/config.yaml", "subPath": "config.yaml"},
                            {"name": "jobs", "mountPath": "/etc/job-config"},
                            {"name": "token", "mountPath": "/etc/token"}]}],
                    "volumes": [
                        {"name": "config", "configMap": {"name": "config"}},
                        {"name": "jobs", "projected": {"sources": [
                            {"configMap": {"name": "job-config-1", "optional": true}},
                            {"secret": {"name": "s"}},
                            {"configMap": {"name": "job-config-2"}}]}},
                        {"name": "token", "secret": {"secretName": "s"}}]}}}
            })),
        )
        .expect("a row");
        assert_eq!((row.desired, row.ready), (1, 0), "one replica is what unset means");
        let hook = &row.containers[0];
        assert_eq!(hook.args, ["/hook", "--config-path=/c"]);
        let mounts: Vec<_> = hook
            .mounts
            .iter()
            .map(|mount| (mount.config_map.to_string(), mount.path.as_str(), mount.sub_path, mount.optional))
            .collect();
        assert_eq!(
            mounts,
            [
                ("prow/config".to_owned(), "/etc/config", false, false),
                ("prow/config".to_owned(), "/one/config.yaml", true, false),
                ("prow/job-config-1".to_owned(), "/etc/job-config", false, true),
                ("prow/job-config-2".to_owned(), "/etc/job-config", false, false),
            ]
        );
    }

    #[test]
    fn values_are_joined_and_the_newest_writer_is_first() {
        let row = config_map(
            &Alias::service(),
            parse(json!({
                "metadata": {"name": "job-config", "namespace": "prow", "uid": "u", "resourceVersion": "9",
                    "annotations": {"a": "kept as it is \u{1b}"},
                    "managedFields": [
                        {"manager": "hook", "operation": "Update", "time": "2019-01-23T15:00:00Z"},
                        {"manager": "kubectl-\u{1b}edit", "operation": "Update", "time": "2019-01-23T16:00:00Z"}]},
                "data": {"a.yaml": "x"},
                "binaryData": {"b.yaml": "H4s="}
            })),
        )
        .expect("a row");
        assert_eq!(row.values["a.yaml"], b"x");
        assert_eq!(row.values["b.yaml"], [0x1f, 0x8b]);
        assert_eq!(row.bytes(), 3);
        let writers: Vec<_> = row.writers.iter().map(|writer| writer.manager.as_str()).collect();
        assert_eq!(writers, ["kubectl-\u{fffd}edit", "hook"]);
        assert_eq!(row.annotations["a"], "kept as it is \u{1b}", "a repair writes it back");
    }

    #[test]
    fn an_address_without_a_condition_is_ready() {
        let row = endpoints(&parse(json!({
            "metadata": {"name": "hook-x", "namespace": "prow", "labels": {"kubernetes.io/service-name": "hook"}},
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "hook-1"}, "conditions": {"ready": false}},
                {"addresses": ["10.0.0.2"]}]
        })))
        .expect("a row");
        assert_eq!(row.service, Key::new("prow", "hook"));
        assert_eq!(row.endpoints, [("hook-1".to_owned(), false), ("10.0.0.2".to_owned(), true)]);
        let empty = endpoints(&parse(json!({
            "metadata": {"name": "hook-x", "namespace": "prow", "labels": {"kubernetes.io/service-name": "hook"}},
            "addressType": "IPv4", "endpoints": null
        })));
        assert_eq!(empty.expect("a row").endpoints, []);
    }
}
