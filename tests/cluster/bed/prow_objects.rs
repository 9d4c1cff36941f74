//! Prow's own objects: workloads, their Service, secrets, and what its service accounts may do.
//!
//! Everything looks as in a deployed Prow (images, arguments, mounts, probes); which of it really runs is decided
//! by the kubelet's image table. A new component is a row in [`COMPONENTS`].

use anyhow::Result;
use kube::Client;
use serde_json::{Value, json};

use crate::api::{APPLIED_BY, create};
use crate::control_plane::KWOK_NODE;
use crate::kubelet::POOL;
use crate::layout::{FEBRUARY, Layout, TEST_PODS};

/// A Deployment of Prow.
pub struct Component {
    pub name: &'static str,
    /// The base name of its image.
    pub image: &'static str,
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
pub fn image(base: &str, tag: &str) -> String {
    format!("gcr.io/k8s-prow/{base}:{tag}")
}

/// The manifests of all components at a version, as they lie in the repository: path and text.
pub fn manifests(tag: &str) -> Vec<(String, String)> {
    let path = |component: &Component| format!("prow/cluster/{}_deployment.yaml", component.name.replace('-', "_"));
    let text = |component: &Component| {
        let deployment = deployment(component, FEBRUARY.prow, tag);
        // JSON is YAML, too; but nobody writes it like that.
        serde_saphyr::to_string(&deployment).unwrap_or_else(|_| deployment.to_string())
    };
    COMPONENTS.iter().map(|component| (path(component), text(component))).collect()
}

/// A namespace, if the server has not made it itself.
pub async fn create_namespace(client: &Client, name: &str) -> Result<()> {
    if name != "default" {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        create(client, &namespace, APPLIED_BY).await?;
    }
    Ok(())
}

/// Nodes that KWOK plays.
pub async fn create_kwok_nodes(client: &Client) -> Result<()> {
    for name in ["build-pool-1", "build-pool-2"] {
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": name, "annotations": { KWOK_NODE: "fake" }, "labels": { POOL.0: "build" } },
            "status": { "allocatable": { "cpu": "64", "memory": "256Gi", "pods": "500" } },
        });
        create(client, &node, "kubelet").await?;
    }
    Ok(())
}

/// What Prow's accounts may do in a cluster where they read their configuration or run jobs.
pub async fn grant(client: &Client, prow: &str) -> Result<()> {
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
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": format!("prow-{name}") },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "prow" },
            "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": prow }],
        });
        create(client, &binding, APPLIED_BY).await?;
    }
    Ok(())
}

/// Namespaces, accounts and secrets: everything that the workloads need before them.
pub async fn create_foundation(client: &Client, layout: &Layout) -> Result<()> {
    for name in [layout.prow, TEST_PODS] {
        create_namespace(client, name).await?;
    }
    grant(client, layout.prow).await?;
    for name in accounts() {
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": layout.prow },
        });
        create(client, &account, APPLIED_BY).await?;
    }
    for (name, key) in [("hmac-token", "hmac"), ("oauth-token", "oauth")] {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": layout.prow },
            "stringData": { key: format!("not-a-secret-{key}") },
        });
        create(client, &secret, APPLIED_BY).await?;
    }
    Ok(())
}

/// The Secrets that jobs mount: where they belong, and nowhere else.
pub async fn create_job_secrets(client: &Client) -> Result<()> {
    for (name, key) in [("gce-ssh", "ssh-private"), ("service-account", "service-account.json")] {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": TEST_PODS },
            "stringData": { key: "not-a-secret" },
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
pub async fn create_workloads(client: &Client, layout: &Layout) -> Result<()> {
    for component in COMPONENTS {
        create(client, &deployment(component, layout.prow, layout.tag), APPLIED_BY).await?;
        if let Some(port) = component.port {
            let service = json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": { "name": component.name, "namespace": layout.prow, "labels": { "app": component.name } },
                "spec": {
                    "selector": { "app": component.name },
                    "ports": [{ "name": "main", "port": service_port(component, port), "targetPort": port }],
                },
            });
            create(client, &service, APPLIED_BY).await?;
        }
    }
    create(client, &branchprotector(layout), APPLIED_BY).await?;
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

fn deployment(component: &Component, namespace: &str, tag: &str) -> Value {
    let name = component.name;
    let (mounts, volumes) = volumes(component.maps, component.secrets);
    let mut ports = vec![json!({ "name": "metrics", "containerPort": 9090 })];
    if let Some(port) = component.port {
        ports.insert(0, json!({ "name": "http", "containerPort": port }));
    }
    let mut container = json!({
        "name": name,
        "image": image(component.image, tag),
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
        "metadata": { "name": name, "namespace": namespace, "labels": { "app": name } },
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

fn branchprotector(layout: &Layout) -> Value {
    let (mounts, volumes) = volumes(&[Map::Config, Map::JobConfig], &[OAUTH]);
    let container = json!({
        "name": "branchprotector",
        "image": image("branchprotector", layout.tag),
        "args": [CONFIG, JOBS, "--confirm", TOKEN, GHPROXY, GITHUB],
        "volumeMounts": mounts,
    });
    let mut spec = pod_spec("branchprotector", &container, &volumes);
    spec["restartPolicy"] = json!("Never");
    json!({
        "apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": { "name": "branchprotector", "namespace": layout.prow, "labels": { "app": "branchprotector" } },
        "spec": {
            "schedule": "54 * * * *",
            "concurrencyPolicy": "Forbid",
            "jobTemplate": { "metadata": { "labels": { "app": "branchprotector" } }, "spec": {
                "template": { "metadata": { "labels": { "app": "branchprotector" } }, "spec": spec },
            }},
        },
    })
}
