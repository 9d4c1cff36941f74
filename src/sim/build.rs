//! The objects that worlds are built of: Prow's workloads as it is deployed, ConfigMaps from the repository, Secrets, ProwJobs,
//! and neighbours that are none of Prow's business.
//!
//! ```text
//! let mut world = World::new(now, Prow::new("k8s-prow", "prow"));
//! world.images.versions.insert(TAG.into(), Version::default());
//! world.repository = ...;              // its head holds config/prow/plugins.yaml
//! world.install(TAG);                  // healthy once world.advance_by(...) let it come up
//! ```
//!
//! A new component is a row of [`COMPONENTS`].

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::object::{Resource, stamp};
use super::prow::deploy::MANIFESTS;
use super::prow::hook;
use super::world::{World, namespace};
use crate::prow::config::parse_config;
use crate::prow::plugins::parse_plugins;
use crate::prow::updater::render;

/// Who installs a Prow.
const INSTALLER: &str = "kubectl-client-side-apply";
const PLUGINS_PATH: &str = "config/prow/plugins.yaml";
const CONFIG_PATH: &str = "config/prow/config.yaml";

/// A Deployment of Prow.
struct Component {
    name: &'static str,
    /// Base name of its image.
    image: &'static str,
    replicas: u32,
    /// Which of [`MAPS`] it mounts.
    maps: usize,
    probed: bool,
    port: Option<u16>,
}

/// Volume, mount path, flag; a component mounts the first ones.
const MAPS: [(&str, &str, &str); 3] = [
    ("config", "/etc/config", "--config-path=/etc/config/config.yaml"),
    ("job-config", "/etc/job-config", "--job-config-path=/etc/job-config"),
    ("plugins", "/etc/plugins", "--plugin-config=/etc/plugins/plugins.yaml"),
];

const fn component(name: &'static str, replicas: u32, maps: usize, probed: bool, port: Option<u16>) -> Component {
    Component { name, image: name, replicas, maps, probed, port }
}

const COMPONENTS: &[Component] = &[
    component("hook", 2, 3, true, Some(8888)),
    component("prow-controller-manager", 1, 2, true, None),
    component("sinker", 1, 2, false, None),
    component("horologium", 1, 2, false, None),
    component("deck", 2, 3, true, Some(8080)),
    component("tide", 1, 2, false, Some(8888)),
    component("crier", 1, 2, false, None),
    Component { image: "status-reconciler", ..component("statusreconciler", 1, 3, false, None) },
    component("ghproxy", 1, 0, false, Some(8888)),
];

fn image(base: &str, tag: &str) -> String {
    format!("gcr.io/k8s-prow/{base}:{tag}")
}

/// Pod spec of a component.
fn pod_spec(container: &str, image: &str, maps: usize, probed: bool) -> Value {
    let maps = &MAPS[..maps];
    let mut args: Vec<&str> = maps.iter().map(|(_, _, flag)| *flag).collect();
    args.push("--dry-run=false");
    let mut spec = json!({
        "name": container, "image": image, "args": args,
        "volumeMounts": maps.iter().map(|(name, path, _)| json!({ "name": name, "mountPath": path })).collect::<Value>(),
    });
    if probed {
        spec["readinessProbe"] = json!({
            "httpGet": { "path": "/healthz/ready", "port": 8081 }, "initialDelaySeconds": 10, "periodSeconds": 3,
        });
    }
    json!({
        "terminationGracePeriodSeconds": 30,
        "containers": [spec],
        "volumes": maps.iter().map(|(name, _, _)| json!({ "name": name, "configMap": { "name": name } })).collect::<Value>(),
    })
}

/// The workloads of a Prow: its Deployments and branchprotector's CronJob.
pub fn workloads(namespace: &str, tag: &str) -> Vec<Value> {
    let deployment = |component: &Component| {
        let name = component.name;
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": name, "namespace": namespace, "labels": { "app": name } },
            "spec": {
                "replicas": component.replicas,
                "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 1 } },
                "selector": { "matchLabels": { "app": name } },
                "template": {
                    "metadata": { "labels": { "app": name } },
                    "spec": pod_spec(name, &image(component.image, tag), component.maps, component.probed),
                },
            },
        })
    };
    let name = "branchprotector";
    let mut run = pod_spec(name, &image(name, tag), 2, false);
    run["restartPolicy"] = json!("Never");
    let cron_job = json!({
        "apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": { "name": name, "namespace": namespace, "labels": { "app": name } },
        "spec": {
            "schedule": "54 * * * *", "concurrencyPolicy": "Forbid",
            "jobTemplate": { "metadata": { "labels": { "app": name } }, "spec": {
                "template": { "metadata": { "labels": { "app": name } }, "spec": run },
            }},
        },
    });
    COMPONENTS.iter().map(deployment).chain([cron_job]).collect()
}

/// The manifests of a Prow as files of the repository: what the deploy job applies.
pub fn manifests(namespace: &str, tag: &str) -> BTreeMap<String, Option<Vec<u8>>> {
    workloads(namespace, tag)
        .iter()
        .map(|object| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().replace('-', "_");
            let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
            // JSON is YAML, too; but nobody writes it like that.
            let text = serde_saphyr::to_string(object).unwrap_or_else(|_| object.to_string());
            (format!("{MANIFESTS}{name}_{kind}.yaml"), Some(text.into_bytes()))
        })
        .collect()
}

/// A ProwJob of somebody's making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job<'a> {
    pub id: &'a str,
    pub job: &'a str,
    /// `presubmit`, `postsubmit`, `periodic`.
    pub kind: &'a str,
    /// As in `spec.cluster`.
    pub cluster: &'a str,
    /// Organisation, repository, and a pull request (0: none).
    pub refs: Option<(&'a str, &'a str, u32)>,
    /// Volumes and their Secrets.
    pub secrets: &'a [(&'a str, &'a str)],
    /// How long ago it was started, and ended with success; of one that is just triggered, `None`.
    pub ran: Option<(SignedDuration, SignedDuration)>,
}

/// The ProwJob as hook or horologium make it, or as it was left when it ended.
pub fn prow_job(job: &Job<'_>, pod_namespace: &str, now: Timestamp) -> Value {
    let mut labels = json!({
        "created-by-prow": "true", "prow.k8s.io/id": job.id, "prow.k8s.io/job": job.job, "prow.k8s.io/type": job.kind,
    });
    let mounts = job.secrets.iter().map(|(volume, _)| json!({ "name": volume, "mountPath": format!("/etc/{volume}") }));
    let volumes =
        job.secrets.iter().map(|(volume, secret)| json!({ "name": volume, "secret": { "secretName": secret } }));
    let mut spec = json!({
        "type": job.kind, "agent": "kubernetes", "cluster": job.cluster, "namespace": pod_namespace, "job": job.job,
        "pod_spec": {
            "containers": [{
                "name": "test", "image": "gcr.io/k8s-testimages/kubekins-e2e:v20190116-7e6e9bf5c-master",
                "command": ["hack/verify-all"], "volumeMounts": mounts.collect::<Value>(),
            }],
            "volumes": volumes.collect::<Value>(),
        },
    });
    if let Some((org, repo, pull)) = job.refs {
        labels["prow.k8s.io/refs.org"] = json!(org);
        labels["prow.k8s.io/refs.repo"] = json!(repo);
        let mut refs = json!({ "org": org, "repo": repo, "base_ref": "master" });
        if pull != 0 {
            labels["prow.k8s.io/refs.pull"] = json!(pull.to_string());
            refs["pulls"] = json!([{ "number": pull, "author": "contributor" }]);
            spec["context"] = json!(job.job);
        }
        spec["refs"] = refs;
    }
    let status = match job.ran {
        None => json!({ "state": "triggered", "startTime": stamp(now) }),
        Some((started, ended)) => json!({
            "state": "success", "description": "Job succeeded.", "startTime": stamp(now - started),
            "pendingTime": stamp(now - started), "completionTime": stamp(now - ended),
            "pod_name": job.id, "build_id": "1087391520000000000",
        }),
    };
    json!({
        "metadata": { "name": job.id, "labels": labels, "annotations": { "prow.k8s.io/job": job.job } },
        "spec": spec,
        "status": status,
    })
}

impl World {
    /// Installs a Prow of this version as the repository's head describes it: namespaces, ConfigMaps, workloads, Services.
    /// It is up when time has passed.
    pub fn install(&mut self, tag: &str) {
        let (service, own) = (self.prow.service.clone(), self.prow.namespace.clone());
        let head = self.repository.head();
        let config = head.get(CONFIG_PATH).and_then(|bytes| parse_config(bytes).ok());
        let prowjobs = config.as_ref().map_or("default", |config| config.prowjob_namespace.as_str()).to_owned();
        let pods = config.map_or_else(|| "default".to_owned(), |config| config.pod_namespace);
        let contexts: Vec<String> = self.clusters.keys().cloned().collect();
        for name in [&own, &prowjobs, &pods] {
            for context in contexts.iter().filter(|context| **context == service || name == &pods) {
                self.create(context, Resource::Namespace, "", namespace(name), INSTALLER);
            }
        }
        if let Some(Ok(updater)) = head.get(PLUGINS_PATH).map(|bytes| parse_plugins(bytes)) {
            for map in render(&updater, &head, &prowjobs).config_maps {
                let values = map.entries.into_iter().map(|(key, entry)| (key, entry.bytes)).collect();
                let labels = json!({
                    "app.kubernetes.io/name": "prow", "app.kubernetes.io/component": "updateconfig-plugin",
                });
                let mut object = json!({ "metadata": { "name": map.key.name, "labels": labels } });
                hook::put(&mut object, values);
                self.create(&service, Resource::ConfigMap, &map.key.namespace, object, "hook");
            }
        }
        for workload in workloads(&own, tag) {
            if let Some(resource) = workload["kind"].as_str().and_then(Resource::of_kind) {
                self.create(&service, resource, &own, workload, INSTALLER);
            }
        }
        for component in COMPONENTS {
            let Some(port) = component.port else { continue };
            let object = json!({
                "metadata": { "name": component.name, "labels": { "app": component.name } },
                "spec": {
                    "selector": { "app": component.name },
                    "ports": [{ "name": "main", "port": port, "targetPort": port, "protocol": "TCP" }],
                },
            });
            self.create(&service, Resource::Service, &own, object, INSTALLER);
        }
        self.settle();
    }

    /// A Secret; what is in it nobody here reads.
    pub fn add_secret(&mut self, cluster: &str, namespace: &str, name: &str) {
        let object = json!({ "metadata": { "name": name }, "type": "Opaque", "data": {} });
        self.create(cluster, Resource::Secret, namespace, object, INSTALLER);
    }

    /// Triggers a job, or puts one there that has ended.
    pub fn add_job(&mut self, job: &Job<'_>, prowjob_namespace: &str, pod_namespace: &str) {
        let object = prow_job(job, pod_namespace, self.now());
        let creator = if job.kind == "periodic" { "horologium" } else { "hook" };
        let service = self.prow.service.clone();
        self.create(&service, Resource::ProwJob, prowjob_namespace, object, creator);
    }

    /// Merges everything up to a commit, as a person does who presses the button: hook hears of it if it runs. False where it
    /// is unknown or merged already.
    pub fn merge(&mut self, commit: &str) -> bool {
        let merged = hook::merge(self, commit);
        self.settle();
        merged
    }

    /// Somebody will merge everything up to a commit at that time, unless it is merged by then.
    pub fn merge_at(&mut self, time: Timestamp, commit: &str) {
        self.agenda.at(time, super::agenda::Item::Merge(commit.to_owned()));
    }

    /// The containers of a component's pods end (out of memory, a node's hiccup) and are started again, with what they mount
    /// by then. How many.
    pub fn restart_containers(&mut self, component: &str) -> usize {
        super::controllers::restart(self, component)
    }
}
