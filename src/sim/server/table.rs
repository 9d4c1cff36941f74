//! Pods as rows, as `kubectl get pods` shows them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::object::{created, is_deleting, items, name, number, text};

pub fn of_pods<'a>(pods: impl Iterator<Item = &'a Value>, metadata: Value, with_object: bool, now: Timestamp) -> Value {
    let column = |name: &str, kind: &str, format: &str, priority: i64| json!({ "name": name, "type": kind, "format": format, "description": "", "priority": priority });
    let rows: Vec<Value> = pods
        .map(|pod| {
            let statuses = items(pod, "/status/containerStatuses");
            let ready = statuses.iter().filter(|status| status["ready"] == true).count();
            let restarts: i64 = statuses.iter().filter_map(|status| number(status, "/restartCount")).sum();
            let of = items(pod, "/spec/containers").len();
            let age = created(pod).map_or_else(|| "<unknown>".to_owned(), |at| age(now.as_second() - at.as_second()));
            let cells = json!([name(pod), format!("{ready}/{of}"), status(pod), restarts.to_string(), age]);
            let object = if with_object {
                json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": pod["metadata"] })
            } else {
                Value::Null
            };
            json!({ "cells": cells, "object": object })
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": [
            column("Name", "string", "name", 0),
            column("Ready", "string", "", 0),
            column("Status", "string", "", 0),
            column("Restarts", "string", "", 0),
            column("Age", "string", "", 0),
        ],
        "rows": rows,
    })
}

fn status(pod: &Value) -> String {
    let phase = text(pod, "/status/phase");
    let said = items(pod, "/status/containerStatuses").iter().find_map(|status| {
        let waiting = text(status, "/state/waiting/reason");
        let ended = text(status, "/state/terminated/reason");
        [waiting, ended].into_iter().find(|reason| !reason.is_empty())
    });
    match said {
        _ if is_deleting(pod) && !matches!(phase, "Succeeded" | "Failed") => "Terminating".to_owned(),
        Some(reason) => reason.to_owned(),
        None => phase.to_owned(),
    }
}

/// kubectl's way to say how long ago: two units where it is short, one where it is long.
fn age(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |big: i64, unit: char, small: i64, small_unit: char| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{small_unit}"),
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..=0 => "0s".to_owned(),
        1..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        691_200.. => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_as_kubectl_does() {
        for (seconds, told) in
            [(0, "0s"), (119, "119s"), (120, "2m"), (150, "2m30s"), (2280, "38m"), (11_100, "3h5m"), (432_000, "5d")]
        {
            assert_eq!(age(seconds), told);
        }
    }
}
