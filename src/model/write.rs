//! The few writes that the program can make. A closed enum: the compiler lists the places when one is added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Alias, Key, Kind, ObjectRef, Placement, Values};

/// The field manager that our writes carry in managedFields.
pub const FIELD_MANAGER: &str = "prow-breakglass";

/// A write to the API server, complete: what is previewed is what is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Write {
    /// One PUT over an existing ConfigMap, with uid and resourceVersion in the body.
    PutConfigMap { object: ObjectRef, at: ObjectVersion, body: ConfigMapBody },
    /// One POST of a ConfigMap that does not exist.
    CreateConfigMap { object: ObjectRef, body: ConfigMapBody },
    /// One DELETE of a ConfigMap that was made by mistake, with uid and resourceVersion as preconditions.
    DeleteConfigMap { object: ObjectRef, at: ObjectVersion },
    /// One DELETE with the uid as precondition, and the pod's own grace period.
    DeletePod {
        object: ObjectRef,
        uid: String,
        /// What the plan saw of the pod: then the resourceVersion is a precondition as well, and one that moved is judged
        /// again. `None` where the uid alone guards.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<SeenPod>,
    },
    /// One strategic merge PATCH of a workload's pod template: images of containers, nothing else. uid and resourceVersion
    /// lie in the body, where the server takes them for preconditions.
    PatchImage { object: ObjectRef, at: ObjectVersion, images: Vec<ImageChange> },
    /// One POST of a Job that asks a checkconfig, and does nothing else. It ends and goes by itself, should nobody take it
    /// away, and what it owns goes with it.
    CreateJob { object: ObjectRef, body: Box<CheckJob> },
    /// One DELETE of such a Job, with the uid as precondition: it carries [`OWN_LABEL`], or is left alone.
    DeleteJob { object: ObjectRef, uid: String },
}

/// Label and value of what this program makes for itself and takes away again.
pub const OWN_LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", FIELD_MANAGER);

/// True where labels hold [`OWN_LABEL`].
pub fn is_own(labels: &BTreeMap<String, String>) -> bool {
    labels.get(OWN_LABEL.0).is_some_and(|value| value == OWN_LABEL.1)
}

/// A Job that runs a checkconfig on files from ConfigMaps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckJob {
    pub image: String,
    pub args: Vec<String>,
    pub folders: Vec<CheckFolder>,
    pub canary: CanaryFile,
    pub placement: Placement,
}

/// A config.yaml that no Prow loads. A container of the same image must refuse it: else that image is no checkconfig, and what
/// it accepts proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CanaryFile {
    /// Name of the Job's ConfigMap, in its namespace.
    pub config_map: String,
    pub key: String,
}

/// A folder of the container, of keys of several ConfigMaps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckFolder {
    pub path: String,
    pub files: Vec<CheckFile>,
}

/// A file of such a folder: where its bytes lie for the Job, and of which ConfigMap they are a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckFile {
    /// Below the folder.
    pub path: String,
    /// Name of the Job's ConfigMap, in its namespace.
    pub config_map: String,
    pub key: String,
    pub stands_for: (Key, String),
}

/// Name of the Job's container that reads the candidate.
pub const CHECK_CONTAINER: &str = "checkconfig";
/// Name of the one that reads the [`CanaryFile`].
pub const CANARY_CONTAINER: &str = "canary";
/// What every Prow refuses.
pub const CANARY: &[u8] = b"presets: [\n";

/// A pod of a job as a plan saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenPod {
    pub resource_version: String,
    /// It ran then, and was asked for all the same. One that only began to run since is left alone.
    pub running: bool,
}

/// The image of a container, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageChange {
    pub container: String,
    pub from: String,
    pub to: String,
}

/// A workload's pod template as far as its images go: what an undo or a guard holds a change against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadState {
    pub uid: String,
    pub resource_version: String,
    /// Container to image.
    pub images: BTreeMap<String, String>,
    /// A Deployment's `paused`.
    pub paused: bool,
    /// Who wrote it last, but for its status, from managedFields.
    pub last_writer: Option<String>,
}

impl WorkloadState {
    /// Digest over the images of these containers, as they are now; `None` where one of them is not there.
    pub fn digest_of(&self, images: &[ImageChange]) -> Option<String> {
        let now: Option<Vec<(&str, &str)>> = images
            .iter()
            .map(|change| Some((change.container.as_str(), self.images.get(&change.container)?.as_str())))
            .collect();
        now.map(|now| images_digest(now.into_iter()))
    }

    /// True where each of these containers has the image that the change leads to.
    pub fn has(&self, images: &[ImageChange]) -> bool {
        images.iter().all(|change| self.images.get(&change.container) == Some(&change.to))
    }

    /// ` by kubectl`; empty where nobody is known.
    pub fn by_whom(&self) -> String {
        self.last_writer.as_ref().map_or(String::new(), |writer| format!(" by {writer}"))
    }
}

/// Digest over images of containers: the content that an [`ObjectVersion`] of a workload names.
pub fn images_digest<'a>(images: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    content_digest(&images.map(|(container, image)| (container.to_owned(), image.as_bytes().to_vec())).collect())
}

/// Digest of the images that are there before a change.
pub fn images_before(images: &[ImageChange]) -> String {
    images_digest(images.iter().map(|change| (change.container.as_str(), change.from.as_str())))
}

impl Write {
    pub fn object(&self) -> &ObjectRef {
        match self {
            Write::PutConfigMap { object, .. }
            | Write::CreateConfigMap { object, .. }
            | Write::DeleteConfigMap { object, .. }
            | Write::DeletePod { object, .. }
            | Write::PatchImage { object, .. }
            | Write::CreateJob { object, .. }
            | Write::DeleteJob { object, .. } => object,
        }
    }

    pub fn cluster(&self) -> &Alias {
        &self.object().cluster
    }

    /// What a ConfigMap holds once this is done.
    pub fn config_map_values(&self) -> Option<&Values> {
        match self {
            Write::PutConfigMap { body, .. } | Write::CreateConfigMap { body, .. } => Some(&body.values),
            Write::DeleteConfigMap { .. }
            | Write::DeletePod { .. }
            | Write::PatchImage { .. }
            | Write::CreateJob { .. }
            | Write::DeleteJob { .. } => None,
        }
    }

    /// The Job that this makes.
    pub fn check_job(&self) -> Option<&CheckJob> {
        match self {
            Write::CreateJob { body, .. } => Some(body),
            Write::PutConfigMap { .. }
            | Write::CreateConfigMap { .. }
            | Write::DeleteConfigMap { .. }
            | Write::DeletePod { .. }
            | Write::PatchImage { .. }
            | Write::DeleteJob { .. } => None,
        }
    }

    /// True where there was nothing before.
    pub fn is_create(&self) -> bool {
        match self {
            Write::CreateConfigMap { .. } | Write::CreateJob { .. } => true,
            Write::PutConfigMap { .. }
            | Write::DeleteConfigMap { .. }
            | Write::DeletePod { .. }
            | Write::PatchImage { .. }
            | Write::DeleteJob { .. } => false,
        }
    }

    /// For lists: `replace`, `create`, `delete`, `patch`.
    pub fn word(&self) -> &'static str {
        match self {
            Write::PutConfigMap { .. } => "replace",
            Write::CreateConfigMap { .. } | Write::CreateJob { .. } => "create",
            Write::DeleteConfigMap { .. } | Write::DeletePod { .. } | Write::DeleteJob { .. } => "delete",
            Write::PatchImage { .. } => "patch",
        }
    }
}

/// A version of an object: never empty, or the server would write without a precondition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectVersion {
    pub uid: String,
    pub resource_version: String,
    /// sha256 over the content as seen, hex. A moved resourceVersion with the same content may be re-judged.
    pub content: String,
}

/// What a ConfigMap shall hold afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigMapBody {
    #[serde(with = "base64_values")]
    pub values: Values,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// The Job of the same plan with which it goes. The server makes that one's uid, so the run looks it up right before it
    /// sends this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Box<ObjectRef>>,
}

impl ConfigMapBody {
    pub fn content_digest(&self) -> String {
        content_digest(&self.values)
    }

    /// This program made it for itself.
    pub fn is_own(&self) -> bool {
        is_own(&self.labels)
    }
}

/// sha256, hex, over keys and values with their lengths: equal exactly when the content is, byte for byte.
pub fn content_digest(values: &Values) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for (key, value) in values {
        for part in [key.as_bytes(), value.as_slice()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hex(&hash.finalize())
}

/// sha256 of bytes, hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reference to a ConfigMap.
pub fn config_map_ref(cluster: &Alias, key: &Key) -> ObjectRef {
    ObjectRef::new(cluster, &key.namespace, Kind::ConfigMap, &key.name)
}

/// Values travel in plan files as text where they are UTF-8 and as `{"base64": …}` where not.
mod base64_values {
    use std::collections::BTreeMap;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Values;

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Value {
        Text(String),
        Binary { base64: String },
    }

    pub fn serialize<S: Serializer>(values: &Values, serializer: S) -> Result<S::Ok, S::Error> {
        values
            .iter()
            .map(|(key, bytes)| {
                let value = match std::str::from_utf8(bytes) {
                    Ok(text) => Value::Text(text.to_owned()),
                    Err(_) => Value::Binary { base64: STANDARD.encode(bytes) },
                };
                (key.clone(), value)
            })
            .collect::<BTreeMap<_, _>>()
            .serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Values, D::Error> {
        BTreeMap::<String, Value>::deserialize(deserializer)?
            .into_iter()
            .map(|(key, value)| {
                let bytes = match value {
                    Value::Text(text) => text.into_bytes(),
                    Value::Binary { base64 } => STANDARD.decode(base64).map_err(serde::de::Error::custom)?,
                };
                Ok((key, bytes))
            })
            .collect()
    }
}
