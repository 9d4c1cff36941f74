//! Pods: their state worded as kubectl words it, and how the lives of their containers ended.

use k8s_openapi::api::core::v1 as core;

use super::objects::{at, owner, reference};
use crate::model::text::sanitize_line;
use crate::model::{Alias, ComponentPod, Container, ContainerState, Exit, Kind};

pub fn component_pod(alias: &Alias, pod: &core::Pod) -> Option<ComponentPod> {
    let meta = &pod.metadata;
    let status = pod.status.as_ref();
    let ready = condition(pod, "Ready");
    Some(ComponentPod {
        object: reference(alias, Kind::Pod, meta)?,
        resource_version: meta.resource_version.clone()?,
        created: at(meta.creation_timestamp.as_ref()),
        deleting: meta.deletion_timestamp.is_some(),
        phase: text(status.and_then(|status| status.phase.as_deref())),
        ready: is_true(ready),
        ready_changed: at(ready.and_then(|ready| ready.last_transition_time.as_ref())),
        state: sanitize_line(&wording(pod)),
        owner: owner(meta).map(|owner| owner.name),
        finalizers: meta.finalizers.iter().flatten().map(|name| sanitize_line(name)).collect(),
        containers: containers(pod),
    })
}

fn text(text: Option<&str>) -> String {
    sanitize_line(text.unwrap_or_default())
}

fn condition<'a>(pod: &'a core::Pod, kind: &str) -> Option<&'a core::PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

fn is_true(condition: Option<&core::PodCondition>) -> bool {
    condition.is_some_and(|condition| condition.status == "True")
}

/// The STATUS column of `kubectl get pods`.
pub(super) fn wording(pod: &core::Pod) -> String {
    let Some(status) = &pod.status else {
        return "Unknown".to_owned();
    };
    let phase = status.phase.clone().unwrap_or_default();
    let mut word = status.reason.clone().filter(|reason| !reason.is_empty()).unwrap_or(phase);
    if let Some(scheduled) = condition(pod, "PodScheduled")
        && scheduled.reason.as_deref() == Some("SchedulingGated")
    {
        word = "SchedulingGated".to_owned();
    }
    let initializing = init_wording(pod, status);
    match initializing {
        Some(init) if !is_true(condition(pod, "Initialized")) => word = init,
        Some(_) | None => word = main_wording(pod, status, word),
    }
    if pod.metadata.deletion_timestamp.is_some() {
        let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if status.reason.as_deref() == Some("NodeLost") {
            word = "Unknown".to_owned();
        } else if !over {
            word = "Terminating".to_owned();
        }
    }
    word
}

/// `Init:…`, while the pod still is at its init containers.
fn init_wording(pod: &core::Pod, status: &core::PodStatus) -> Option<String> {
    let specs = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_ref()).map_or(&[][..], Vec::as_slice);
    let all = status.init_container_statuses.as_ref()?;
    for (n, container) in all.iter().enumerate() {
        let sidecar =
            specs.iter().any(|spec| spec.name == container.name && spec.restart_policy.as_deref() == Some("Always"));
        let state = container.state.as_ref();
        if let Some(ended) = state.and_then(|state| state.terminated.as_ref()) {
            if ended.exit_code == 0 {
                continue;
            }
            return Some(format!("Init:{}", ended_word(ended)));
        }
        if sidecar && container.started == Some(true) {
            continue;
        }
        let waiting = state.and_then(|state| state.waiting.as_ref()).and_then(|waiting| waiting.reason.as_deref());
        return Some(match waiting {
            Some(reason) if !reason.is_empty() && reason != "PodInitializing" => format!("Init:{reason}"),
            Some(_) | None => format!("Init:{n}/{}", specs.len().max(all.len())),
        });
    }
    None
}

/// What the containers say, the first one having the last word.
fn main_wording(pod: &core::Pod, status: &core::PodStatus, mut word: String) -> String {
    let mut some_run = false;
    for container in status.container_statuses.iter().flatten().rev() {
        let Some(state) = &container.state else { continue };
        if let Some(reason) = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref())
            && !reason.is_empty()
        {
            word = reason.to_owned();
        } else if let Some(ended) = &state.terminated {
            word = ended_word(ended);
        } else if container.ready && state.running.is_some() {
            some_run = true;
        }
    }
    if word == "Completed" && some_run {
        word = if is_true(condition(pod, "Ready")) { "Running" } else { "NotReady" }.to_owned();
    }
    word
}

fn ended_word(ended: &core::ContainerStateTerminated) -> String {
    match (ended.reason.as_deref().filter(|reason| !reason.is_empty()), ended.signal.filter(|signal| *signal != 0)) {
        (Some(reason), _) => reason.to_owned(),
        (None, Some(signal)) => format!("Signal:{signal}"),
        (None, None) => format!("ExitCode:{}", ended.exit_code),
    }
}

/// Containers, then init containers; from their status, and from the spec where there is none yet.
fn containers(pod: &core::Pod) -> Vec<Container> {
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let main = status.and_then(|status| status.container_statuses.as_ref());
    let init = status.and_then(|status| status.init_container_statuses.as_ref());
    let specs = spec.map_or(&[][..], |spec| spec.containers.as_slice());
    let init_specs = spec.and_then(|spec| spec.init_containers.as_ref()).map_or(&[][..], Vec::as_slice);
    let of = |spec: &core::Container, statuses: Option<&Vec<core::ContainerStatus>>| {
        let status = statuses.into_iter().flatten().find(|status| status.name == spec.name);
        container(spec, status)
    };
    specs.iter().map(|spec| of(spec, main)).chain(init_specs.iter().map(|spec| of(spec, init))).collect()
}

fn container(spec: &core::Container, status: Option<&core::ContainerStatus>) -> Container {
    // A runtime that lost the name reports the image's digest alone: then what was asked for says more.
    let image = status
        .map(|status| status.image.as_str())
        .filter(|image| !image.is_empty() && !image.starts_with("sha256:"))
        .or(spec.image.as_deref());
    let last = status.and_then(|status| status.last_state.as_ref());
    Container {
        name: sanitize_line(&spec.name),
        image: text(image),
        ready: status.is_some_and(|status| status.ready),
        restarts: status.and_then(|status| u32::try_from(status.restart_count).ok()).unwrap_or(0),
        state: status.and_then(|status| status.state.as_ref()).map_or(ContainerState::Unknown, state),
        last_exit: last.and_then(|last| last.terminated.as_ref()).map(exit),
        last_fatal: None,
        reload_error: None,
    }
}

fn state(state: &core::ContainerState) -> ContainerState {
    if let Some(running) = &state.running {
        ContainerState::Running { since: at(running.started_at.as_ref()) }
    } else if let Some(ended) = &state.terminated {
        ContainerState::Terminated(exit(ended))
    } else if let Some(waiting) = &state.waiting {
        ContainerState::Waiting { reason: text(waiting.reason.as_deref()), message: text(waiting.message.as_deref()) }
    } else {
        ContainerState::Unknown
    }
}

fn exit(ended: &core::ContainerStateTerminated) -> Exit {
    Exit {
        code: ended.exit_code,
        reason: text(ended.reason.as_deref()),
        started: at(ended.started_at.as_ref()),
        finished: at(ended.finished_at.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: serde_json::Value) -> core::Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "hook-1", "namespace": "prow", "uid": "u", "resourceVersion": "7"},
            "spec": {
                "initContainers": [{"name": "prepare", "image": "i"}],
                "containers": [{"name": "hook", "image": "gcr.io/k8s-prow/hook:v1"}, {"name": "proxy", "image": "p"}]},
            "status": status,
        }))
        .expect("a pod")
    }

    fn word(status: serde_json::Value) -> String {
        wording(&pod(status))
    }

    #[test]
    fn states_are_worded_as_kubectl_does() {
        let container = |state: serde_json::Value| {
            serde_json::json!({"phase": "Running", "containerStatuses": [
                {"name": "hook", "image": "h", "imageID": "", "ready": false, "restartCount": 3, "state": state},
                {"name": "proxy", "image": "p", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}}]})
        };
        assert_eq!(word(serde_json::json!({"phase": "Pending"})), "Pending");
        assert_eq!(word(serde_json::json!({"phase": "Failed", "reason": "Evicted"})), "Evicted");
        assert_eq!(word(container(serde_json::json!({"waiting": {"reason": "CrashLoopBackOff"}}))), "CrashLoopBackOff");
        assert_eq!(word(container(serde_json::json!({"terminated": {"exitCode": 1, "reason": "Error"}}))), "Error");
        assert_eq!(
            word(container(serde_json::json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}))),
            "OOMKilled"
        );
        assert_eq!(word(container(serde_json::json!({"terminated": {"exitCode": 2}}))), "ExitCode:2");
        assert_eq!(word(container(serde_json::json!({"terminated": {"exitCode": 9, "signal": 9}}))), "Signal:9");
        // One container is through, another still serves.
        assert_eq!(
            word(container(serde_json::json!({"terminated": {"exitCode": 0, "reason": "Completed"}}))),
            "NotReady"
        );
        assert_eq!(word(container(serde_json::json!({"running": {}}))), "Running");
    }

    #[test]
    fn init_containers_speak_until_they_are_through() {
        let init = |state: serde_json::Value| {
            word(serde_json::json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "prepare", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}]}))
        };
        assert_eq!(init(serde_json::json!({"running": {}})), "Init:0/1");
        assert_eq!(init(serde_json::json!({"waiting": {"reason": "PodInitializing"}})), "Init:0/1");
        assert_eq!(init(serde_json::json!({"waiting": {"reason": "ImagePullBackOff"}})), "Init:ImagePullBackOff");
        assert_eq!(init(serde_json::json!({"terminated": {"exitCode": 1, "reason": "Error"}})), "Init:Error");
        assert_eq!(init(serde_json::json!({"terminated": {"exitCode": 0, "reason": "Completed"}})), "Pending");
    }

    #[test]
    fn deletion_outweighs_everything_but_the_end() {
        let mut leaving = pod(serde_json::json!({"phase": "Running"}));
        leaving.metadata.deletion_timestamp =
            Some(serde_json::from_value("2019-01-23T16:00:00Z".into()).expect("time"));
        assert_eq!(wording(&leaving), "Terminating");
        leaving.status.as_mut().expect("status").phase = Some("Succeeded".to_owned());
        assert_eq!(wording(&leaving), "Succeeded");
    }

    #[test]
    fn a_crash_keeps_its_exit_and_hostile_text_is_tamed() {
        let row = component_pod(
            &Alias::service(),
            &pod(serde_json::json!({"phase": "Running",
            "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2019-01-23T16:08:30Z"}],
            "containerStatuses": [{"name": "hook", "image": "sha256:abc", "imageID": "", "ready": false, "restartCount": 37,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off\u{1b}[2J"}},
                "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": "2019-01-23T16:08:30Z"}}}]})),
        )
        .expect("a row");
        let hook = &row.containers[0];
        assert!(hook.is_crash_looping());
        assert_eq!((hook.restarts, hook.last_exit.as_ref().map(|exit| exit.code)), (37, Some(1)));
        assert_eq!(hook.image, "gcr.io/k8s-prow/hook:v1", "a bare digest says less than the spec");
        assert!(!format!("{row:?}").contains("\\u{1b}"));
        assert_eq!(row.containers.len(), 3, "init containers come last");
        assert_eq!(row.containers[1].state, ContainerState::Unknown);
        assert!(!row.ready && row.ready_changed.is_some());
    }
}
