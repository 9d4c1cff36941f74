//! Names of things in clusters.

use serde::{Deserialize, Serialize};

/// Prow's name of a cluster. `default` is the cluster that Prow's services run in, as in `config_updater`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Alias(pub String);

impl Alias {
    /// The service cluster: the one that Prow's own components run in.
    pub fn service() -> Self {
        Alias("default".to_owned())
    }
}

impl std::fmt::Display for Alias {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The kinds of object that the program speaks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    Deployment,
    StatefulSet,
    DaemonSet,
    CronJob,
    Job,
    ReplicaSet,
    Pod,
    ConfigMap,
    Service,
    ProwJob,
    Namespace,
    /// A cluster as a whole: what a lost or denied source is about.
    Cluster,
    /// A commit of the configuration repository; `name` is its full hash.
    Revision,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The derived names are Kubernetes' own.
        write!(f, "{self:?}")
    }
}

/// One object of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectRef {
    pub cluster: Alias,
    /// Empty for what has no namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    pub kind: Kind,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

impl ObjectRef {
    pub fn new(cluster: &Alias, namespace: &str, kind: Kind, name: &str) -> Self {
        ObjectRef { cluster: cluster.clone(), namespace: namespace.to_owned(), kind, name: name.to_owned(), uid: None }
    }

    #[must_use]
    pub fn with_uid(mut self, uid: &str) -> Self {
        self.uid = Some(uid.to_owned());
        self
    }
}

impl std::fmt::Display for ObjectRef {
    /// `prow/configmap/job-config`; the cluster is said apart, once.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = self.kind.to_string().to_lowercase();
        if self.namespace.is_empty() {
            write!(f, "{kind}/{}", self.name)
        } else {
            write!(f, "{}/{kind}/{}", self.namespace, self.name)
        }
    }
}

/// Namespace and name, the key of most maps here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Key { namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What makes a cluster itself and no other: plans are bound to it, and a run refuses any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterIdentity {
    pub alias: Alias,
    /// Name of the kubeconfig context.
    pub context: String,
    /// URL of the API server.
    pub server: String,
    /// uid of the namespace `kube-system`.
    pub uid: String,
    /// sha256 of the CA bundle, hex; empty where the system's roots are used.
    pub ca: String,
}
