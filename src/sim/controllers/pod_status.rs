//! What a node reports of a pod.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::object::{base_and_tag, condition, items, name, namespace, stamp, text, uid};
use super::super::store::write::By;
use super::super::world::Cluster;
use super::life::{Hindrance, Life, Run, Stage};

const MANAGER: &str = "kubelet";

/// Writes the status as of now.
pub fn report(cluster: &mut Cluster, life: &Life, now: Timestamp) {
    let by = By::new(MANAGER, now).status();
    cluster.store.edit(&life.key, &by, |pod| {
        let status = status(pod, life, now);
        pod["status"] = status;
    });
}

fn is_ready(life: &Life, now: Timestamp) -> bool {
    matches!(life.stage, Stage::Running { ready_at, .. } if ready_at <= now)
}

fn status(pod: &Value, life: &Life, now: Timestamp) -> Value {
    let ready = is_ready(life, now);
    let restarts = text(pod, "/spec/restartPolicy") != "Never";
    let last_code = life.runs.last().and_then(|run| run.ended).map(|(_, code)| code);
    let phase = match (&life.stage, last_code) {
        (Stage::Ended, Some(0)) => "Succeeded",
        (Stage::Ended, Some(_) | None) => "Failed",
        (Stage::Running { .. } | Stage::BackOff { .. }, _) => "Running",
        (Stage::Stopping { .. }, _) if !life.runs.is_empty() => "Running",
        (Stage::Hindered { .. }, Some(_)) if restarts => "Running",
        (Stage::Scheduled | Stage::Hindered { .. } | Stage::Starting { .. } | Stage::Stopping { .. }, _) => "Pending",
    };
    let said = |kind: &str, holds: bool, reason: &str| {
        let status = if holds { "True" } else { "False" };
        let since = condition(pod, kind)
            .filter(|old| old["status"] == status)
            .map_or_else(|| json!(stamp(now)), |old| old["lastTransitionTime"].clone());
        let mut said = json!({ "type": kind, "status": status, "lastTransitionTime": since, "lastProbeTime": null });
        if !holds {
            said["reason"] = json!(reason);
        }
        said
    };
    let reason = if phase == "Succeeded" { "PodCompleted" } else { "ContainersNotReady" };
    let containers: Vec<Value> =
        items(pod, "/spec/containers").iter().map(|spec| container(pod, spec, life, ready)).collect();
    let mut status = json!({
        "phase": phase,
        "qosClass": "BestEffort",
        "conditions": [
            said("Initialized", true, ""),
            said("Ready", ready, reason),
            said("ContainersReady", ready, reason),
            said("PodScheduled", true, ""),
        ],
        "hostIP": "10.128.0.2",
        "startTime": match text(pod, "/status/startTime") {
            "" => json!(stamp(now)),
            held => json!(held),
        },
        "containerStatuses": containers,
    });
    if !life.runs.is_empty() {
        status["podIP"] = json!(address(uid(pod)));
    }
    status
}

/// An address that is the pod's own.
fn address(uid: &str) -> String {
    let byte = |at: usize| uid.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(1);
    format!("10.8.{}.{}", byte(0), byte(2).max(1))
}

fn terminated(run: &Run) -> Value {
    let (ended, code) = run.ended.unwrap_or((run.started, 0));
    json!({ "terminated": {
        "exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" },
        "startedAt": stamp(run.started), "finishedAt": stamp(ended),
        "containerID": format!("containerd://{}", stamp(run.started)),
    } })
}

fn container(pod: &Value, spec: &Value, life: &Life, ready: bool) -> Value {
    let (container, image) = (text(spec, "/name"), text(spec, "/image"));
    let waits = |reason: &str, message: String| {
        if message.is_empty() {
            json!({ "waiting": { "reason": reason } })
        } else {
            json!({ "waiting": { "reason": reason, "message": message } })
        }
    };
    let last = life.runs.last();
    let state = match &life.stage {
        Stage::Scheduled | Stage::Starting { .. } => waits("ContainerCreating", String::new()),
        Stage::Hindered { by: Hindrance::Mount, .. } => waits("ContainerCreating", String::new()),
        Stage::Hindered { by: Hindrance::Image, tries, .. } if *tries <= 1 => waits("ErrImagePull", not_found(image)),
        Stage::Hindered { by: Hindrance::Image, .. } => {
            waits("ImagePullBackOff", format!("Back-off pulling image \"{image}\""))
        }
        Stage::Running { .. } => json!({ "running": { "startedAt": last.map(|run| stamp(run.started)) } }),
        Stage::BackOff { seconds, .. } => {
            let pod = format!("{}_{}({})", name(pod), namespace(pod), uid(pod));
            let wait =
                if *seconds >= 60 { format!("{}m{}s", seconds / 60, seconds % 60) } else { format!("{seconds}s") };
            let message = format!("back-off {wait} restarting failed container={container} pod={pod}");
            waits("CrashLoopBackOff", message)
        }
        Stage::Ended | Stage::Stopping { .. } => match last {
            Some(run) if run.ended.is_some() => terminated(run),
            Some(run) => json!({ "running": { "startedAt": stamp(run.started) } }),
            None => waits("ContainerCreating", String::new()),
        },
    };
    // The life before the one that the state is about.
    let earlier = match (&life.stage, life.runs.as_slice()) {
        (Stage::BackOff { .. } | Stage::Hindered { .. } | Stage::Starting { .. }, [.., last]) => Some(last),
        (_, [.., earlier, _]) => Some(earlier),
        (_, [] | [_]) => None,
    };
    json!({
        "name": container, "image": image, "imageID": format!("{image}@sha256:{}", base_and_tag(image).1),
        "ready": ready, "started": life.is_running(), "restartCount": life.restarts,
        "state": state,
        "lastState": earlier.filter(|run| run.ended.is_some()).map_or(json!({}), terminated),
    })
}

/// The runtime's words for an image that is not there.
pub fn not_found(image: &str) -> String {
    format!(
        "rpc error: code = NotFound desc = failed to pull and unpack image \"{image}\": failed to resolve reference \
         \"{image}\": {image}: not found"
    )
}
