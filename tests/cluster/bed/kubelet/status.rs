//! A pod's status as a kubelet writes it.

use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::container::{Exit, Record, State};

/// Remembers what a status needs of the past.
pub struct Reporter {
    uid: String,
    ip: String,
    started: Timestamp,
    restarts_for_ever: bool,
    ready: Option<(bool, Timestamp)>,
}

impl Reporter {
    pub fn new(meta: &ObjectMeta, spec: &PodSpec) -> Self {
        // Nobody connects to it: the API server refuses loopback addresses in EndpointSlices.
        static NEXT: AtomicU32 = AtomicU32::new(10);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            ip: format!("10.64.{}.{}", next / 250, next % 250 + 1),
            started: Timestamp::now(),
            restarts_for_ever: spec.restart_policy.as_deref().unwrap_or("Always") == "Always",
            ready: None,
        }
    }

    /// The status for these containers.
    pub fn status(&mut self, containers: &[(&Container, Record)]) -> Value {
        let unready: Vec<&str> =
            containers.iter().filter(|(_, record)| !record.ready).map(|(spec, _)| spec.name.as_str()).collect();
        let all = |wanted: fn(&State) -> bool| containers.iter().all(|(_, record)| wanted(&record.state));
        let ended = all(|state| matches!(state, State::Terminated(_))) && !self.restarts_for_ever;
        let created = containers.iter().any(
            |(_, record)| !matches!(&record.state, State::Waiting { reason, .. } if *reason != "CrashLoopBackOff"),
        );
        let phase = if ended {
            let good = all(|state| matches!(state, State::Terminated(exit) if exit.code == 0));
            if good { "Succeeded" } else { "Failed" }
        } else if created {
            "Running"
        } else {
            "Pending"
        };
        let ready = unready.is_empty();
        let since = match self.ready {
            Some((before, since)) if before == ready => since,
            _ => {
                let now = Timestamp::now();
                self.ready = Some((ready, now));
                now
            }
        };
        let message = format!("containers with unready status: [{}]", unready.join(" "));
        let readiness = |kind: &str| {
            let (status, reason, message) = if ready {
                ("True", Value::Null, Value::Null)
            } else if ended {
                ("False", json!("PodCompleted"), Value::Null)
            } else {
                ("False", json!("ContainersNotReady"), json!(message))
            };
            json!({
                "type": kind, "status": status, "lastTransitionTime": time(since),
                "reason": reason, "message": message,
            })
        };
        let past = |kind: &str, so: bool| {
            let status = if so { "True" } else { "False" };
            json!({ "type": kind, "status": status, "lastTransitionTime": time(self.started) })
        };
        // The network comes after the volumes.
        let mounted = !all(|state| matches!(state, State::Waiting { reason, .. } if *reason == "ContainerCreating"));
        let ip = mounted.then_some(&self.ip);
        json!({
            "phase": phase,
            "startTime": time(self.started),
            "hostIP": "127.0.0.1",
            "podIP": ip,
            "podIPs": ip.map(|ip| json!([{ "ip": ip }])),
            "conditions": [
                past("PodReadyToStartContainers", mounted), past("Initialized", true),
                readiness("Ready"), readiness("ContainersReady"),
            ],
            "containerStatuses": containers.iter().map(|(spec, record)| self.container(spec, record)).collect::<Vec<_>>(),
        })
    }

    fn container(&self, spec: &Container, record: &Record) -> Value {
        let image = spec.image.as_deref().unwrap_or_default();
        let id = |run: u32| format!("containerd://{}", digest(&format!("{}/{}/{run}", self.uid, spec.name)));
        let ended = |exit: &Exit| {
            json!({ "terminated": {
                "exitCode": exit.code,
                "reason": if exit.code == 0 { "Completed" } else { "Error" },
                "startedAt": time(exit.started),
                "finishedAt": time(exit.finished),
                "containerID": id(exit.run),
            }})
        };
        let (state, current) = match &record.state {
            State::Waiting { reason, message } => {
                let waiting = json!({ "waiting": { "reason": reason, "message": message } });
                (waiting, record.last.as_ref().map(|exit| exit.run))
            }
            State::Running { since } => {
                let running = json!({ "running": { "startedAt": time(*since) } });
                (running, Some(record.run))
            }
            State::Terminated(exit) => (ended(exit), Some(exit.run)),
        };
        json!({
            "name": spec.name,
            "image": image,
            "imageID": current.map_or(String::new(), |_| {
                let name = image.rsplit_once(':').map_or(image, |(name, _)| name);
                format!("{name}@sha256:{}", digest(image))
            }),
            "containerID": current.map_or(String::new(), id),
            "state": state,
            "lastState": record.last.as_ref().map_or(json!({}), ended),
            "ready": record.ready,
            "started": matches!(record.state, State::Running { .. }),
            "restartCount": record.run,
        })
    }
}

fn time(time: Timestamp) -> String {
    // Cut, not rounded: rounding up would tell of the future.
    let whole = Timestamp::from_second(time.as_second()).unwrap_or(time);
    format!("{whole}")
}

/// A stable id made of a text, in hexadecimal.
pub fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
