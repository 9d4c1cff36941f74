//! Prow's own objects, as they are deployed: from the parts that a drill names, at a version.

use serde_json::{Value, json};

use super::file::{ComponentPart, CronJobPart, Parts, ProwPart};

/// Folder of the manifests in the repository.
const FOLDER: &str = "prow/cluster";

/// The manifests of a version as files of the repository: path and text.
pub fn files(parts: &Parts, prow: &ProwPart, tag: &str) -> Vec<(String, Vec<u8>)> {
    let components = parts.components.iter().map(|part| (&part.name, "deployment", deployment(parts, prow, part, tag)));
    let file = |(name, kind, object): (&String, &str, Value)| {
        let path = format!("{FOLDER}/{}_{kind}.yaml", name.replace('-', "_"));
        // JSON is YAML, too; but nobody writes it like that.
        let text = serde_saphyr::to_string(&object).unwrap_or_else(|_| object.to_string());
        (path, text.into_bytes())
    };
    components.map(file).collect()
}

pub fn deployment(parts: &Parts, prow: &ProwPart, part: &ComponentPart, tag: &str) -> Value {
    let name = &part.name;
    let (mounts, volumes) = volumes(&part.maps, &part.secrets);
    let mut ports = vec![json!({ "name": "metrics", "containerPort": 9090 })];
    if let Some(port) = part.port {
        ports.insert(0, json!({ "name": "http", "containerPort": port }));
    }
    let mut container = json!({
        "name": name, "image": image(parts, &part.image, tag), "args": part.args, "ports": ports, "volumeMounts": mounts,
    });
    if part.probes {
        let probe = |path: &str| json!({ "httpGet": { "path": path, "port": 8081 }, "periodSeconds": 3 });
        container["livenessProbe"] = probe("/healthz");
        container["readinessProbe"] = probe("/healthz/ready");
        container["readinessProbe"]["initialDelaySeconds"] = json!(10);
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name, "namespace": prow.namespace, "labels": { "app": name } },
        "spec": {
            "replicas": part.replicas,
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 1 } },
            "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name } }, "spec": pod_spec(name, &container, &volumes) },
        },
    })
}

/// `None` for a component that nobody calls.
pub fn service(part: &ComponentPart) -> Option<Value> {
    let port = part.port?;
    Some(json!({
        "metadata": { "name": part.name, "labels": { "app": part.name } },
        "spec": {
            "selector": { "app": part.name },
            "ports": [{ "name": "main", "port": port, "targetPort": "http" }],
        },
    }))
}

pub fn cron_job(parts: &Parts, part: &CronJobPart, tag: &str) -> Value {
    let (mounts, volumes) = volumes(&part.maps, &part.secrets);
    let container = json!({
        "name": part.name, "image": image(parts, &part.image, tag), "args": part.args, "volumeMounts": mounts,
    });
    let mut spec = pod_spec(&part.name, &container, &volumes);
    spec["restartPolicy"] = json!("Never");
    let labels = json!({ "app": part.name });
    json!({
        "metadata": { "name": part.name, "labels": labels },
        "spec": {
            "schedule": part.schedule, "concurrencyPolicy": "Forbid",
            "jobTemplate": { "metadata": { "labels": labels }, "spec": {
                "template": { "metadata": { "labels": labels }, "spec": spec },
            }},
        },
    })
}

fn image(parts: &Parts, base: &str, tag: &str) -> String {
    format!("{}/{base}:{tag}", parts.registry)
}

fn pod_spec(account: &str, container: &Value, volumes: &[Value]) -> Value {
    json!({
        "serviceAccountName": account,
        "terminationGracePeriodSeconds": if account == "hook" { 180 } else { 30 },
        "containers": [container],
        "volumes": volumes,
    })
}

/// Mounts and volumes.
pub fn volumes(maps: &[String], secrets: &[String]) -> (Vec<Value>, Vec<Value>) {
    let maps_and = maps.iter().map(|name| (name, json!({ "name": name, "configMap": { "name": name } })));
    let secrets = secrets.iter().map(|name| (name, json!({ "name": name, "secret": { "secretName": name } })));
    let mount = |name: &String| json!({ "name": name, "mountPath": format!("/etc/{name}"), "readOnly": true });
    maps_and.chain(secrets).map(|(name, volume)| (mount(name), volume)).unzip()
}
