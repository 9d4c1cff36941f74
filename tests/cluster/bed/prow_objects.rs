//! Prow's own objects: workloads, their Service, secrets, and what its service accounts may do.
//!
//! Everything looks as in a deployed Prow (images, arguments, mounts, probes); which of it really runs is decided
//! by the kubelet's image table. A new component is a row in [`COMPONENTS`].

use anyhow::Result;
use kube::Client;
use serde_json::{Value, json};

use crate::api::{APPLIED_BY, create};
use crate::binaries::PROW_TAG;
use crate::control_plane::KWOK_NODE;
use crate::kubelet::POOL;

/// Where Prow's components and ProwJobs live.
pub const PROW: &str = "prow";
/// Where the pods of jobs live.
pub const TEST_PODS: &str = "test-pods";

/// A Deployment of Prow.
pub struct Component {
    pub name: &'static str,
    image: &'static str,
    replicas: u32,
    maps: &'static [Map],
    args: &'static [&'static str],
    secrets: &'static [(&'static str, &'static str, &'static str)],
    probes: bool,
    port: Option<u16>,
}

#[derive(Clone, Copy)]
enum Map {
    Config,
    JobConfig,
    Plugins,
}

const CONFIG: &str = "--config-path=/etc/config/config.yaml";
const JOBS: &str = "--job-config-path=/etc/job-config";
const PLUGINS: &str = "--plugin-config=/etc/plugins/plugins.yaml";
const WET: &str = "--dry-run=false";
const TOKEN: &str = "--github-token-path=/etc/github/oauth";
const GHPROXY: &str = "--github-endpoint=http://ghproxy";
const GITHUB: &str = "--github-endpoint=https://api.github.com";

/// Volume, mount path, Secret.
const OAUTH: (&str, &str, &str) = ("oauth", "/etc/github", "oauth-token");
const HMAC: (&str, &str, &str) = ("hmac", "/etc/webhook", "hmac-token");

/// All Deployments of this Prow.
pub const COMPONENTS: &[Component] = &[
    Component {
        name: "hook",
        image: "hook",
        replicas: 2,
        maps: &[Map::Config, Map::JobConfig, Map::Plugins],
        args: &[CONFIG, JOBS, PLUGINS, WET, "--hmac-secret-file=/etc/webhook/hmac", TOKEN, GHPROXY, GITHUB],
        secrets: &[HMAC, OAUTH],
        probes: true,
        port: Some(8888),
    },
    Component {
        name: "prow-controller-manager",
        image: "prow-controller-manager",
        replicas: 1,
        maps: &[Map::Config, Map::JobConfig],
        args: &[CONFIG, JOBS, WET, "--enable-controller=plank", TOKEN, GHPROXY, GITHUB],
        secrets: &[OAUTH],
        probes: true,
        port: None,
    },
    Component {
        name: "sinker",
        image: "sinker",
        replicas: 1,
        maps: &[Map::Config, Map::JobConfig],
        args: &[CONFIG, JOBS, WET],
        secrets: &[],
        probes: false,
        port: None,
    },
    Component {
        name: "horologium",
        image: "horologium",
        replicas: 1,
        maps: &[Map::Config, Map::JobConfig],
        args: &[CONFIG, JOBS, WET],
        secrets: &[],
        probes: false,
        port: None,
    },
    Component {
        name: "deck",
        image: "deck",
        replicas: 2,
        maps: &[Map::Config, Map::JobConfig, Map::Plugins],
        args: &[CONFIG, JOBS, PLUGINS, "--hook-url=http://hook:8888/plugin-help", "--tide-url=http://tide/"],
        secrets: &[],
        probes: true,
        port: Some(8080),
    },
    Component {
        name: "tide",
        image: "tide",
        replicas: 1,
        maps: &[Map::Config, Map::JobConfig],
        args: &[CONFIG, JOBS, WET, TOKEN, GHPROXY, GITHUB],
        secrets: &[OAUTH],
        probes: false,
        port: Some(8888),
    },
    Component {
        name: "crier",
        image: "crier",
        replicas: 1,
        maps: &[Map::Config, Map::JobConfig],
        args: &[CONFIG, JOBS, WET, "--github-workers=10", TOKEN, GHPROXY, GITHUB],
        secrets: &[OAUTH],
        probes: false,
        port: None,
    },
    Component {
        name: "statusreconciler",
        image: "status-reconciler",
        replicas: 1,
        maps: &[Map::Config, Map::JobConfig, Map::Plugins],
        args: &[CONFIG, JOBS, PLUGINS, WET, TOKEN, GHPROXY, GITHUB],
        secrets: &[OAUTH],
        probes: false,
        port: None,
    },
    Component {
        name: "ghproxy",
        image: "ghproxy",
        replicas: 1,
        maps: &[],
        args: &["--cache-dir=/cache", "--cache-sizeGB=99"],
        secrets: &[],
        probes: false,
        port: Some(8888),
    },
];

/// Where an image of Prow comes from.
pub fn image(base: &str) -> String {
    format!("gcr.io/k8s-prow/{base}:{PROW_TAG}")
}

/// Namespaces, nodes for jobs, accounts and secrets: everything that the workloads need before them.
pub async fn create_foundation(client: &Client) -> Result<()> {
    for name in [PROW, TEST_PODS] {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        create(client, &namespace, APPLIED_BY).await?;
    }
    for name in ["build-pool-1", "build-pool-2"] {
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": name, "annotations": { KWOK_NODE: "fake" }, "labels": { POOL.0: "build" } },
            "status": { "allocatable": { "cpu": "64", "memory": "256Gi", "pods": "500" } },
        });
        create(client, &node, "kubelet").await?;
    }
    // What Prow's manifests grant piece by piece; the bed is about the configuration, not about these rights.
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "prow" },
        "rules": [
            { "apiGroups": ["prow.k8s.io"], "resources": ["prowjobs", "prowjobs/status"], "verbs": ["*"] },
            { "apiGroups": [""], "resources": ["configmaps", "pods", "pods/log", "events"], "verbs": ["*"] },
            { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"] },
        ],
    });
    create(client, &role, APPLIED_BY).await?;
    for name in accounts() {
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": PROW },
        });
        create(client, &account, APPLIED_BY).await?;
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": format!("prow-{name}") },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "prow" },
            "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": PROW }],
        });
        create(client, &binding, APPLIED_BY).await?;
    }
    for (name, key) in [("hmac-token", "hmac"), ("oauth-token", "oauth")] {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": PROW },
            "stringData": { key: format!("not-a-secret-{key}") },
        });
        create(client, &secret, APPLIED_BY).await?;
    }
    Ok(())
}

/// The service accounts of Prow: one a component, and the one that uploads configuration by hand.
pub fn accounts() -> impl Iterator<Item = &'static str> {
    let components = COMPONENTS.iter().map(|component| component.name);
    components.chain(["branchprotector", "config-bootstrapper"])
}

/// The workloads and the Services before them.
pub async fn create_workloads(client: &Client) -> Result<()> {
    for component in COMPONENTS {
        create(client, &deployment(component), APPLIED_BY).await?;
        if let Some(port) = component.port {
            let service = json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": { "name": component.name, "namespace": PROW, "labels": { "app": component.name } },
                "spec": {
                    "selector": { "app": component.name },
                    "ports": [{ "name": "main", "port": service_port(component, port), "targetPort": port }],
                },
            });
            create(client, &service, APPLIED_BY).await?;
        }
    }
    create(client, &branchprotector(), APPLIED_BY).await?;
    Ok(())
}

/// hook is reached on its own port, the others as web servers.
fn service_port(component: &Component, port: u16) -> u16 {
    if component.name == "hook" { port } else { 80 }
}

fn map_volume(map: Map) -> (&'static str, &'static str, &'static str) {
    match map {
        Map::Config => ("config", "/etc/config", "config"),
        Map::JobConfig => ("job-config", "/etc/job-config", "job-config"),
        Map::Plugins => ("plugins", "/etc/plugins", "plugins"),
    }
}

fn pod_spec(account: &str, container: &Value, volumes: &[Value]) -> Value {
    json!({
        "serviceAccountName": account,
        "terminationGracePeriodSeconds": if account == "hook" { 180 } else { 30 },
        "nodeSelector": { POOL.0: POOL.1 },
        "tolerations": [{ "key": POOL.0, "operator": "Equal", "value": POOL.1, "effect": "NoSchedule" }],
        "containers": [container],
        "volumes": volumes,
    })
}

fn volumes(maps: &[Map], secrets: &[(&'static str, &'static str, &'static str)]) -> (Vec<Value>, Vec<Value>) {
    let mut mounts = Vec::new();
    let mut volumes = Vec::new();
    for (name, path, map) in maps.iter().map(|map| map_volume(*map)) {
        mounts.push(json!({ "name": name, "mountPath": path, "readOnly": true }));
        volumes.push(json!({ "name": name, "configMap": { "name": map } }));
    }
    for (name, path, secret) in secrets {
        mounts.push(json!({ "name": name, "mountPath": path, "readOnly": true }));
        volumes.push(json!({ "name": name, "secret": { "secretName": secret } }));
    }
    (mounts, volumes)
}

fn deployment(component: &Component) -> Value {
    let name = component.name;
    let (mounts, volumes) = volumes(component.maps, component.secrets);
    let mut ports = vec![json!({ "name": "metrics", "containerPort": 9090 })];
    if let Some(port) = component.port {
        ports.insert(0, json!({ "name": "http", "containerPort": port }));
    }
    let mut container = json!({
        "name": name,
        "image": image(component.image),
        "args": component.args,
        "ports": ports,
        "volumeMounts": mounts,
    });
    if component.probes {
        container["livenessProbe"] =
            json!({ "httpGet": { "path": "/healthz", "port": 8081 }, "initialDelaySeconds": 3, "periodSeconds": 3 });
        container["readinessProbe"] = json!({
            "httpGet": { "path": "/healthz/ready", "port": 8081 },
            "initialDelaySeconds": 10, "periodSeconds": 3, "timeoutSeconds": 600,
        });
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name, "namespace": PROW, "labels": { "app": name } },
        "spec": {
            "replicas": component.replicas,
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 1 } },
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": pod_spec(name, &container, &volumes),
            },
        },
    })
}

fn branchprotector() -> Value {
    let (mounts, volumes) = volumes(&[Map::Config, Map::JobConfig], &[OAUTH]);
    let container = json!({
        "name": "branchprotector",
        "image": image("branchprotector"),
        "args": [CONFIG, JOBS, "--confirm", TOKEN, GHPROXY, GITHUB],
        "volumeMounts": mounts,
    });
    let mut spec = pod_spec("branchprotector", &container, &volumes);
    spec["restartPolicy"] = json!("Never");
    json!({
        "apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": { "name": "branchprotector", "namespace": PROW, "labels": { "app": "branchprotector" } },
        "spec": {
            "schedule": "54 * * * *",
            "concurrencyPolicy": "Forbid",
            "jobTemplate": { "metadata": { "labels": { "app": "branchprotector" } }, "spec": {
                "template": { "metadata": { "labels": { "app": "branchprotector" } }, "spec": spec },
            }},
        },
    })
}
