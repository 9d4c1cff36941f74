//! The one place where a [`Write`] becomes an HTTP request. A dry run and the real thing are the same request but for
//! `dryRun`, because they are made here, by the same lines.
//!
//! To add a write: an arm in [`build`]. It must carry its precondition and honour [`Effect::DryRun`].

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request};
use serde_json::{Map, Value, json};

use super::check_job;
use crate::model::text::sanitize_line;
use crate::model::{ConfigMapBody, Failure, FailureKind, ImageChange, Kind, ObjectRef, Write};

/// Our name in managedFields: the other oncall reads there who wrote.
pub const FIELD_MANAGER: &str = "prow-breakglass";

/// Lists of containers are merged by name: what the patch does not name stays.
const STRATEGIC_MERGE: &str = "application/strategic-merge-patch+json";

/// Whether the server is to do it, or only to say whether it would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    DryRun,
    Real,
}

/// Makes the request for a write.
///
/// # Errors
/// `Refused`: an empty uid or resourceVersion (the server would write without a precondition), a name that does not
/// belong into a URL, an object of another kind than the write is for.
pub fn build(write: &Write, effect: Effect, audit_id: &str) -> Result<Request<Vec<u8>>, Failure> {
    let object = write.object();
    let (method, path, body) = match write {
        Write::PutConfigMap { at, body, .. } => {
            let path = path_of(object, Kind::ConfigMap)?;
            not_empty(object, "uid", &at.uid)?;
            not_empty(object, "resourceVersion", &at.resource_version)?;
            let mut map = config_map(object, body);
            map["metadata"]["uid"] = Value::from(at.uid.as_str());
            map["metadata"]["resourceVersion"] = Value::from(at.resource_version.as_str());
            (Method::PUT, with_query(&path, effect), map)
        }
        Write::CreateConfigMap { body, .. } => {
            // The name is checked, too, although it goes into the body only.
            path_of(object, Kind::ConfigMap)?;
            let mut map = config_map(object, body);
            if let Some(owner) = &body.owner {
                map["metadata"]["ownerReferences"] = owner_references(owner, effect)?;
            }
            (Method::POST, with_query(&collection(object, Kind::ConfigMap)?, effect), map)
        }
        Write::DeleteConfigMap { at, .. } => {
            let path = path_of(object, Kind::ConfigMap)?;
            (Method::DELETE, path, delete_options(object, &at.uid, Some(&at.resource_version), effect)?)
        }
        Write::DeletePod { uid, seen, .. } => {
            let path = path_of(object, Kind::Pod)?;
            let version = seen.as_ref().map(|seen| seen.resource_version.as_str());
            (Method::DELETE, path, delete_options(object, uid, version, effect)?)
        }
        Write::PatchImage { at, images, .. } => {
            let path = path_of(object, object.kind)?;
            not_empty(object, "uid", &at.uid)?;
            not_empty(object, "resourceVersion", &at.resource_version)?;
            let mut patch = image_patch(object, images)?;
            patch["metadata"] = json!({ "uid": at.uid, "resourceVersion": at.resource_version });
            (Method::PATCH, with_query(&path, effect), patch)
        }
        Write::CreateJob { body, .. } => {
            path_of(object, Kind::Job)?;
            (Method::POST, with_query(&collection(object, Kind::Job)?, effect), check_job::object(object, body))
        }
        Write::DeleteJob { uid, .. } => {
            let path = path_of(object, Kind::Job)?;
            not_empty(object, "uid", uid)?;
            let mut options = json!({
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "preconditions": { "uid": uid },
                // Its pod goes with it.
                "propagationPolicy": "Background",
            });
            match effect {
                Effect::DryRun => options["dryRun"] = json!(["All"]),
                Effect::Real => {}
            }
            (Method::DELETE, path, options)
        }
    };
    let content_type = if method == Method::PATCH { STRATEGIC_MERGE } else { "application/json" };
    Request::builder()
        .method(method)
        .uri(path)
        .header(CONTENT_TYPE, content_type)
        .header(ACCEPT, "application/json")
        .header("Audit-ID", audit_id)
        .body(body.to_string().into_bytes())
        .map_err(|error| Failure::new(FailureKind::Tool, "the request could not be built").cause(error.to_string()))
}

/// No grace period of ours: a pod's own holds, and nothing is forced.
fn delete_options(object: &ObjectRef, uid: &str, version: Option<&str>, effect: Effect) -> Result<Value, Failure> {
    not_empty(object, "uid", uid)?;
    let mut options = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": { "uid": uid },
    });
    if let Some(version) = version {
        not_empty(object, "resourceVersion", version)?;
        options["preconditions"]["resourceVersion"] = Value::from(version);
    }
    match effect {
        // In the body, not in the URL: the server ignores the options of a URL where there is a body.
        Effect::DryRun => options["dryRun"] = json!(["All"]),
        Effect::Real => {}
    }
    Ok(options)
}

fn with_query(path: &str, effect: Effect) -> String {
    match effect {
        Effect::DryRun => format!("{path}?fieldManager={FIELD_MANAGER}&dryRun=All"),
        Effect::Real => format!("{path}?fieldManager={FIELD_MANAGER}"),
    }
}

/// What the garbage collector goes by. The owner is made a step before, so nobody can ask about it in advance: a dry run leaves
/// it out, and the real request is not made without its uid.
fn owner_references(owner: &ObjectRef, effect: Effect) -> Result<Value, Failure> {
    path_of(owner, Kind::Job)?;
    match (owner.uid.as_deref().filter(|uid| !uid.is_empty()), effect) {
        (Some(uid), Effect::DryRun | Effect::Real) => {
            Ok(json!([{ "apiVersion": "batch/v1", "kind": "Job", "name": owner.name, "uid": uid }]))
        }
        (None, Effect::DryRun) => Ok(json!([])),
        (None, Effect::Real) => Err(refused(format!("nobody knows the uid of {owner}, with which this is to go"))),
    }
}

fn config_map(object: &ObjectRef, body: &ConfigMapBody) -> Value {
    use base64::Engine as _;
    let (mut data, mut binary) = (Map::new(), Map::new());
    for (key, value) in &body.values {
        match std::str::from_utf8(value) {
            Ok(text) => data.insert(key.clone(), Value::from(text)),
            Err(_) => binary.insert(key.clone(), Value::from(base64::engine::general_purpose::STANDARD.encode(value))),
        };
    }
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": object.name,
            "namespace": object.namespace,
            "labels": body.labels,
            "annotations": body.annotations,
        },
        "data": data,
        "binaryData": binary,
    })
}

/// A patch that sets images of containers, and nothing else.
fn image_patch(object: &ObjectRef, images: &[ImageChange]) -> Result<Value, Failure> {
    if images.is_empty() {
        return Err(refused(format!("the plan names no image for {object}")));
    }
    let containers: Vec<Value> =
        images.iter().map(|change| json!({ "name": change.container, "image": change.to })).collect();
    let template = json!({ "template": { "spec": { "containers": containers } } });
    match object.kind {
        Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet => Ok(json!({ "spec": template })),
        Kind::CronJob => Ok(json!({ "spec": { "jobTemplate": { "spec": template } } })),
        Kind::Job
        | Kind::ReplicaSet
        | Kind::Pod
        | Kind::ConfigMap
        | Kind::Service
        | Kind::ProwJob
        | Kind::Namespace
        | Kind::Cluster
        | Kind::Revision => Err(refused(format!("images of a {} are not patched", object.kind))),
    }
}

/// URL path of an object.
pub fn path_of(object: &ObjectRef, kind: Kind) -> Result<String, Failure> {
    let collection = collection(object, kind)?;
    if !is_subdomain(&object.name) {
        return Err(odd_name(&object.name));
    }
    Ok(format!("{collection}/{}", object.name))
}

fn collection(object: &ObjectRef, kind: Kind) -> Result<String, Failure> {
    let (group, resource) = match kind {
        Kind::ConfigMap => ("api/v1", "configmaps"),
        Kind::Pod => ("api/v1", "pods"),
        Kind::Deployment => ("apis/apps/v1", "deployments"),
        Kind::StatefulSet => ("apis/apps/v1", "statefulsets"),
        Kind::DaemonSet => ("apis/apps/v1", "daemonsets"),
        Kind::CronJob => ("apis/batch/v1", "cronjobs"),
        Kind::Job => ("apis/batch/v1", "jobs"),
        Kind::ReplicaSet | Kind::Service | Kind::ProwJob | Kind::Namespace | Kind::Cluster | Kind::Revision => {
            return Err(refused(format!("no write for a {kind} is known")));
        }
    };
    if object.kind != kind {
        return Err(refused(format!("the write is for a {kind}, and {object} is none")));
    }
    if !is_label(&object.namespace) {
        return Err(odd_name(&object.namespace));
    }
    Ok(format!("/{group}/namespaces/{}/{resource}", object.namespace))
}

/// A DNS-1123 label of at most 63 characters: what names a namespace.
pub(super) fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_part(name)
}

/// A DNS-1123 subdomain: what names ConfigMaps and pods. kube would put any text into the URL. As for the API server,
/// the limit of 63 characters does not hold for its parts.
fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_part)
}

fn is_part(part: &str) -> bool {
    let at_the_ends = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    part.bytes().all(|byte| at_the_ends(byte) || byte == b'-')
        && part.bytes().next().is_some_and(at_the_ends)
        && part.bytes().next_back().is_some_and(at_the_ends)
}

fn not_empty(object: &ObjectRef, what: &str, value: &str) -> Result<(), Failure> {
    if value.is_empty() {
        return Err(refused(format!(
            "the plan has no {what} for {object}: it would be written without a precondition"
        )));
    }
    Ok(())
}

fn odd_name(name: &str) -> Failure {
    refused(format!("`{}` is no name that Kubernetes gives", sanitize_line(name)))
}

fn refused(why: String) -> Failure {
    Failure::new(FailureKind::Refused, why).hint("make the plan anew with prow-breakglass plan")
}
