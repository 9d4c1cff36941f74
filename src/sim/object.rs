//! Which kinds of objects there are, and how their JSON is read.
//!
//! To add a kind: a variant of [`Resource`], its place in [`Resource::ALL`] and its [`Facts`].

use jiff::Timestamp;
use serde_json::Value;

/// A kind of object that the simulated API servers keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    Namespace,
    Node,
    Pod,
    ConfigMap,
    Secret,
    Service,
    ServiceAccount,
    Event,
    ResourceQuota,
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    CronJob,
    Job,
    EndpointSlice,
    Lease,
    ProwJob,
}

/// What the API says of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    pub kind: &'static str,
    pub namespaced: bool,
    /// Its status is written by a subresource of its own. A ProwJob's is not.
    pub has_status: bool,
}

impl Resource {
    pub const ALL: [Resource; 18] = [
        Resource::Namespace,
        Resource::Node,
        Resource::Pod,
        Resource::ConfigMap,
        Resource::Secret,
        Resource::Service,
        Resource::ServiceAccount,
        Resource::Event,
        Resource::ResourceQuota,
        Resource::Deployment,
        Resource::ReplicaSet,
        Resource::StatefulSet,
        Resource::DaemonSet,
        Resource::CronJob,
        Resource::Job,
        Resource::EndpointSlice,
        Resource::Lease,
        Resource::ProwJob,
    ];

    pub fn facts(self) -> Facts {
        let of = |group, plural, kind| Facts {
            group,
            version: "v1",
            plural,
            kind,
            namespaced: !matches!(self, Resource::Namespace | Resource::Node),
            has_status: !matches!(
                self,
                Resource::ConfigMap
                    | Resource::Secret
                    | Resource::ServiceAccount
                    | Resource::Event
                    | Resource::EndpointSlice
                    | Resource::Lease
                    | Resource::ProwJob
            ),
        };
        match self {
            Resource::Namespace => of("", "namespaces", "Namespace"),
            Resource::Node => of("", "nodes", "Node"),
            Resource::Pod => of("", "pods", "Pod"),
            Resource::ConfigMap => of("", "configmaps", "ConfigMap"),
            Resource::Secret => of("", "secrets", "Secret"),
            Resource::Service => of("", "services", "Service"),
            Resource::ServiceAccount => of("", "serviceaccounts", "ServiceAccount"),
            Resource::Event => of("", "events", "Event"),
            Resource::ResourceQuota => of("", "resourcequotas", "ResourceQuota"),
            Resource::Deployment => of("apps", "deployments", "Deployment"),
            Resource::ReplicaSet => of("apps", "replicasets", "ReplicaSet"),
            Resource::StatefulSet => of("apps", "statefulsets", "StatefulSet"),
            Resource::DaemonSet => of("apps", "daemonsets", "DaemonSet"),
            Resource::CronJob => of("batch", "cronjobs", "CronJob"),
            Resource::Job => of("batch", "jobs", "Job"),
            Resource::EndpointSlice => of("discovery.k8s.io", "endpointslices", "EndpointSlice"),
            Resource::Lease => of("coordination.k8s.io", "leases", "Lease"),
            Resource::ProwJob => of("prow.k8s.io", "prowjobs", "ProwJob"),
        }
    }

    pub fn find(group: &str, version: &str, plural: &str) -> Option<Resource> {
        Resource::ALL.into_iter().find(|resource| {
            let facts = resource.facts();
            facts.group == group && facts.version == version && facts.plural == plural
        })
    }

    pub fn of_kind(kind: &str) -> Option<Resource> {
        Resource::ALL.into_iter().find(|resource| resource.facts().kind == kind)
    }

    /// As in the server's messages: `pods`, `deployments.apps`.
    pub fn qualified(self) -> String {
        let facts = self.facts();
        if facts.group.is_empty() { facts.plural.to_owned() } else { format!("{}.{}", facts.plural, facts.group) }
    }

    pub fn api_version(self) -> String {
        let facts = self.facts();
        if facts.group.is_empty() { facts.version.to_owned() } else { format!("{}/{}", facts.group, facts.version) }
    }
}

/// Where an object is kept; in the order of lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub resource: Resource,
    /// Empty for objects of the whole cluster.
    pub namespace: String,
    pub name: String,
}

impl ObjectKey {
    pub fn new(resource: Resource, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        ObjectKey { resource, namespace: namespace.into(), name: name.into() }
    }
}

/// The value at a JSON pointer. (`Value::pointer` undoes escapes, which takes two allocations a step; there are hardly any.)
fn at<'a>(object: &'a Value, pointer: &str) -> Option<&'a Value> {
    if pointer.contains('~') {
        return object.pointer(pointer);
    }
    pointer.split('/').skip(1).try_fold(object, |value, step| match value {
        Value::Object(fields) => fields.get(step),
        Value::Array(values) => values.get(step.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

/// Text at a JSON pointer; empty where there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer).and_then(Value::as_str).unwrap_or_default()
}

pub fn number(object: &Value, pointer: &str) -> Option<i64> {
    at(object, pointer).and_then(Value::as_i64)
}

pub fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    at(object, pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

pub fn version(object: &Value) -> &str {
    text(object, "/metadata/resourceVersion")
}

pub fn label<'a>(object: &'a Value, label: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(label)?.as_str()
}

pub fn annotation<'a>(object: &'a Value, annotation: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(annotation)?.as_str()
}

pub fn is_deleting(object: &Value) -> bool {
    at(object, "/metadata/deletionTimestamp").is_some_and(Value::is_string)
}

/// uid of the controller that owns it.
pub fn owner(object: &Value) -> Option<&Value> {
    items(object, "/metadata/ownerReferences").iter().find(|owner| owner["controller"] == true)
}

pub fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    text(object, pointer).parse().ok()
}

pub fn created(object: &Value) -> Option<Timestamp> {
    time(object, "/metadata/creationTimestamp")
}

/// As the API server writes times: whole seconds.
pub fn stamp(at: Timestamp) -> String {
    whole(at).to_string()
}

pub fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// A condition of a status.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(object, "/status/conditions").iter().find(|condition| condition["type"] == kind)
}

pub fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
}

/// Base name and tag of an image; the tag is `latest` where none is named.
pub fn base_and_tag(image: &str) -> (&str, &str) {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').unwrap_or((last, "latest"))
}
