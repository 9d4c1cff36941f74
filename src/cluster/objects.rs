//! Kubernetes objects to the model: only what is judged or shown is kept, and all text is made safe for a terminal here.

use k8s_openapi::api::core::v1::ConfigMap;

use crate::model::text::sanitize_line;
use crate::model::{Alias, ConfigMapState, Key, Timestamp, Values, Writer};

/// A ConfigMap, with its values joined and its writers newest first.
pub fn config_map(alias: &Alias, map: ConfigMap) -> Option<ConfigMapState> {
    let meta = map.metadata;
    let mut values: Values = map.data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.into_bytes())).collect();
    values.extend(map.binary_data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0)));
    let mut writers: Vec<Writer> = meta
        .managed_fields
        .unwrap_or_default()
        .into_iter()
        .map(|entry| Writer {
            manager: sanitize_line(&entry.manager.unwrap_or_default()),
            at: entry.time.map(|time| time.0),
        })
        .collect();
    writers.sort_by_key(|writer: &Writer| std::cmp::Reverse(writer.at.unwrap_or(Timestamp::MIN)));
    Some(ConfigMapState {
        cluster: alias.clone(),
        key: Key::new(sanitize_line(&meta.namespace?), sanitize_line(&meta.name?)),
        uid: meta.uid?,
        resource_version: meta.resource_version?,
        immutable: map.immutable.unwrap_or(false),
        values,
        labels: meta.labels.unwrap_or_default(),
        annotations: meta.annotations.unwrap_or_default(),
        writers,
    })
}
