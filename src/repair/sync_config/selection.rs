//! Which ConfigMaps and keys were asked for: `--map` and `--key`.

use std::collections::BTreeSet;

use crate::model::{DesiredConfigMap, Snapshot};
use crate::repair::{Refusal, Request};

/// What was asked for; nothing of it means all.
pub(super) struct Selection<'a> {
    maps: &'a [String],
    /// Each with its map, where it names one.
    keys: Vec<(Option<&'a str>, &'a str)>,
}

impl<'a> Selection<'a> {
    pub(super) fn of(request: &'a Request) -> Self {
        // No key has a slash, so what is before the last one is a map.
        let split = |wish: &'a String| match wish.rsplit_once('/') {
            Some((map, key)) => (Some(map), key),
            None => (None, wish.as_str()),
        };
        Selection { maps: &request.maps, keys: request.keys.iter().map(split).collect() }
    }

    /// Every name must be one that git asks for, or, of keys, one that is live in such a map.
    pub(super) fn check(&self, maps: &[DesiredConfigMap], snapshot: &Snapshot) -> Result<(), Refusal> {
        let known = || {
            let names: Vec<String> = maps.iter().map(|map| map.key.to_string()).collect();
            names.join(", ")
        };
        let wished = self.maps.iter().map(String::as_str).chain(self.keys.iter().filter_map(|(map, _)| *map));
        for name in wished {
            if !maps.iter().any(|map| is_named(name, map)) {
                return Err(Refusal::new(
                    format!("git asks for no ConfigMap {name}"),
                    format!("it asks for {}", known()),
                ));
            }
        }
        for (of, key) in &self.keys {
            let has = |map: &&DesiredConfigMap| {
                let is_live = || {
                    let view = snapshot.config_map_cluster(&map.cluster)?;
                    Some(view.config_maps.known()?.get(&map.key)?.values.contains_key(*key))
                };
                map.entries.contains_key(*key) || is_live() == Some(true)
            };
            let in_question =
                || maps.iter().filter(|map| self.is_wished(map) && of.is_none_or(|name| is_named(name, map)));
            if !in_question().any(|map| has(&map)) {
                let keys: BTreeSet<&str> =
                    in_question().flat_map(|map| map.entries.keys().map(String::as_str)).take(20).collect();
                return Err(Refusal::new(
                    format!("no ConfigMap that is asked for has a key {key}"),
                    format!("git knows, among others: {}", keys.into_iter().collect::<Vec<_>>().join(", ")),
                ));
            }
        }
        Ok(())
    }

    fn is_wished(&self, map: &DesiredConfigMap) -> bool {
        self.maps.is_empty() || self.maps.iter().any(|name| is_named(name, map))
    }

    pub(super) fn has_map(&self, map: &DesiredConfigMap) -> bool {
        let names_it = |(of, _): &(Option<&str>, &str)| of.is_none_or(|name| is_named(name, map));
        self.is_wished(map) && (self.keys.is_empty() || self.keys.iter().any(names_it))
    }

    pub(super) fn has_key(&self, map: &DesiredConfigMap, key: &str) -> bool {
        let is_it = |(of, wished): &(Option<&str>, &str)| *wished == key && of.is_none_or(|name| is_named(name, map));
        self.keys.is_empty() || self.keys.iter().any(is_it)
    }
}

/// By name, `namespace/name` or `cluster/namespace/name`.
fn is_named(asked: &str, map: &DesiredConfigMap) -> bool {
    asked == map.key.name || asked == map.key.to_string() || asked == format!("{}/{}", map.cluster, map.key)
}
