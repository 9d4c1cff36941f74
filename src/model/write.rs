//! The few writes that the program can make. A closed enum: the compiler lists the places when one is added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Alias, Key, Kind, ObjectRef, Values};

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
    /// One DELETE with the uid as precondition, and the pod's own grace period.
    DeletePod { object: ObjectRef, uid: String },
}

impl Write {
    pub fn object(&self) -> &ObjectRef {
        match self {
            Write::PutConfigMap { object, .. }
            | Write::CreateConfigMap { object, .. }
            | Write::DeletePod { object, .. } => object,
        }
    }

    pub fn cluster(&self) -> &Alias {
        &self.object().cluster
    }

    /// The RBAC verb and resource it needs: `update configmaps`.
    pub fn needs(&self) -> (&'static str, &'static str) {
        match self {
            Write::PutConfigMap { .. } => ("update", "configmaps"),
            Write::CreateConfigMap { .. } => ("create", "configmaps"),
            Write::DeletePod { .. } => ("delete", "pods"),
        }
    }

    /// One word for lists: `replace`, `create`, `delete`.
    pub fn word(&self) -> &'static str {
        match self {
            Write::PutConfigMap { .. } => "replace",
            Write::CreateConfigMap { .. } => "create",
            Write::DeletePod { .. } => "delete",
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
}

impl ConfigMapBody {
    pub fn content_digest(&self) -> String {
        content_digest(&self.values)
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
