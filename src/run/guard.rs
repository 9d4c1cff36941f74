//! Does a step still hold? What the plan saw against what is there now. Pure: preview and run ask the same function.

use crate::cluster::live::{LiveConfigMap, LivePod, LiveWorkload};
use crate::model::{
    ConfigMapBody, Failure, FailureKind, ImageChange, ObjectRef, ObjectVersion, SeenPod, WorkloadState, Write,
    content_digest, images_before, may_run,
};
use crate::repair::RepairId;

/// What is there now.
#[derive(Debug, Clone, PartialEq)]
pub enum Live {
    ConfigMap(Box<LiveConfigMap>),
    Pod(LivePod),
    Workload(Box<LiveWorkload>),
    Absent,
}

/// What becomes of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    /// It holds. The write is the plan's, but for a resourceVersion that moved while the content stayed.
    Holds(Write),
    /// Nothing is left to do, and why.
    NotNeeded(String),
    /// Somebody else was at work on it: refused.
    Moved(String),
    /// Not safe to write: refused.
    Refused(Failure),
}

/// Judges one write.
pub fn judge(repair: RepairId, write: &Write, live: &Live) -> Judgement {
    match (write, live) {
        (Write::PutConfigMap { object, at, body }, Live::ConfigMap(live)) => judge_put(object, at, body, live),
        (Write::PutConfigMap { object, .. }, Live::Absent) => {
            Judgement::Moved(format!("{object} was deleted after the plan was made"))
        }
        (Write::CreateConfigMap { .. }, Live::Absent) => Judgement::Holds(write.clone()),
        (Write::CreateConfigMap { object, body }, Live::ConfigMap(live)) => {
            if live.state.values == body.values {
                Judgement::NotNeeded(format!("{object} is there by now and holds what the plan would write"))
            } else {
                Judgement::Moved(format!("{object} was made{} after the plan was made", by_whom(live)))
            }
        }
        (Write::DeleteConfigMap { .. } | Write::DeletePod { .. }, Live::Absent) => {
            Judgement::NotNeeded("already gone".to_owned())
        }
        (Write::DeleteConfigMap { object, at }, Live::ConfigMap(live)) => judge_delete(object, at, live),
        (Write::DeletePod { uid, seen, .. }, Live::Pod(pod)) => judge_pod(repair, write, uid, seen.as_ref(), pod),
        (Write::PatchImage { object, .. }, Live::Absent) => {
            Judgement::Moved(format!("{object} was deleted after the plan was made"))
        }
        (Write::PatchImage { object, at, images }, Live::Workload(live)) => {
            judge_patch(object, at, images, &live.state)
        }
        (
            Write::PutConfigMap { object, .. }
            | Write::CreateConfigMap { object, .. }
            | Write::DeleteConfigMap { object, .. },
            Live::Pod(_) | Live::Workload(_),
        )
        | (Write::DeletePod { object, .. }, Live::ConfigMap(_) | Live::Workload(_))
        | (Write::PatchImage { object, .. }, Live::ConfigMap(_) | Live::Pod(_)) => {
            Judgement::Refused(Failure::new(FailureKind::Refused, format!("what was read is not {object}")))
        }
    }
}

fn judge_put(object: &ObjectRef, at: &ObjectVersion, body: &ConfigMapBody, live: &LiveConfigMap) -> Judgement {
    let (state, who) = (&live.state, by_whom(live));
    if state.uid != at.uid {
        return Judgement::Moved(format!("{object} was deleted and made anew{who} after the plan was made"));
    }
    if !live.bound_to.is_empty() {
        let what = live.bound_to.join(", ");
        return Judgement::Refused(
            Failure::new(FailureKind::Refused, format!("{object} has {what}, which a write would drop"))
                .hint("change it through what owns it"),
        );
    }
    let hold = |resource_version: &str| {
        Judgement::Holds(Write::PutConfigMap {
            object: object.clone(),
            at: ObjectVersion { resource_version: resource_version.to_owned(), ..at.clone() },
            body: body.clone(),
        })
    };
    if state.resource_version == at.resource_version {
        return hold(&at.resource_version);
    }
    let same_metadata = (&state.labels, &state.annotations) == (&body.labels, &body.annotations);
    let content = content_digest(&state.values);
    if content == body.content_digest() && content != at.content {
        return Judgement::NotNeeded(format!("{object} holds what the plan would write: it was written{who}"));
    }
    if content != at.content {
        return Judgement::Moved(format!("{object} was written{who}, after the plan was made"));
    }
    if same_metadata {
        // Only the version moved; the write keeps its precondition, on the version that was just looked at.
        return hold(&state.resource_version);
    }
    Judgement::Moved(format!("labels or annotations of {object} were changed{who}, after the plan was made"))
}

fn judge_delete(object: &ObjectRef, at: &ObjectVersion, live: &LiveConfigMap) -> Judgement {
    if live.state.uid != at.uid {
        return Judgement::NotNeeded(format!("{object} is another one now; it is left alone"));
    }
    if content_digest(&live.state.values) != at.content {
        return Judgement::Moved(format!("{object} was written{}, after the plan was made", by_whom(live)));
    }
    let at = ObjectVersion { resource_version: live.state.resource_version.clone(), ..at.clone() };
    Judgement::Holds(Write::DeleteConfigMap { object: object.clone(), at })
}

fn judge_patch(object: &ObjectRef, at: &ObjectVersion, images: &[ImageChange], live: &WorkloadState) -> Judgement {
    let who = live.by_whom();
    if live.uid != at.uid {
        return Judgement::Moved(format!("{object} was deleted and made anew{who} after the plan was made"));
    }
    if live.has(images) {
        return Judgement::NotNeeded(format!("{object} has these images already: it was written{who}"));
    }
    if live.digest_of(images) != Some(images_before(images)) {
        return Judgement::Moved(format!("images of {object} were changed{who}, after the plan was made"));
    }
    if live.paused {
        return Judgement::Refused(
            Failure::new(FailureKind::Refused, format!("{object} is paused: it would not roll the image out"))
                .hint(format!("kubectl -n {} rollout resume deployment {}", object.namespace, object.name)),
        );
    }
    // Its status moves the version all the time; the images are what matters, and the patch carries the version that
    // was just looked at.
    Judgement::Holds(Write::PatchImage {
        object: object.clone(),
        at: ObjectVersion { resource_version: live.resource_version.clone(), ..at.clone() },
        images: images.to_vec(),
    })
}

fn judge_pod(repair: RepairId, write: &Write, uid: &str, seen: Option<&SeenPod>, pod: &LivePod) -> Judgement {
    if pod.uid != uid {
        return Judgement::NotNeeded("another pod has the name now; it is left alone".to_owned());
    }
    if pod.deleting {
        return Judgement::NotNeeded("it is being deleted already".to_owned());
    }
    match (repair, seen) {
        (RepairId::DeleteStrays, Some(seen)) => judge_stray(write.object(), uid, seen, pod),
        (RepairId::DeleteStrays, None) => Judgement::Refused(
            Failure::new(FailureKind::Refused, format!("the plan does not say what it saw of {}", write.object()))
                .hint("make the plan anew with prow-breakglass plan"),
        ),
        // Kicked is what does not come up: a pod that came up by itself is what everybody waits for.
        (RepairId::Kick, _) if pod.ready => Judgement::NotNeeded("it is Ready by now; it is left alone".to_owned()),
        (RepairId::Kick | RepairId::SyncConfig | RepairId::Rollback | RepairId::Undo, _) => {
            Judgement::Holds(write.clone())
        }
    }
}

/// Whatever the plan says: only a pod that Prow made for the job of its name. And one that moved since the plan was made is
/// judged again: it may have begun to run.
fn judge_stray(object: &ObjectRef, uid: &str, seen: &SeenPod, pod: &LivePod) -> Judgement {
    let moved = pod.resource_version != seen.resource_version;
    let is_jobs_pod = pod.made_by_prow && pod.prowjob_id.as_deref() == Some(object.name.as_str());
    match (is_jobs_pod, moved) {
        (true, _) => {}
        (false, true) => {
            return Judgement::NotNeeded("it is not labelled as its ProwJob's any more; it is left alone".to_owned());
        }
        (false, false) => {
            return Judgement::Refused(
                Failure::new(
                    FailureKind::Refused,
                    format!("{object} is not labelled as a pod of the ProwJob of its name"),
                )
                .hint("strays are such pods and no others: make the plan anew with prow-breakglass plan"),
            );
        }
    }
    if moved && may_run(&pod.phase) && !seen.running {
        return Judgement::NotNeeded("it runs by now; it is left alone".to_owned());
    }
    let seen = SeenPod { resource_version: pod.resource_version.clone(), running: seen.running };
    Judgement::Holds(Write::DeletePod { object: object.clone(), uid: uid.to_owned(), seen: Some(seen) })
}

fn by_whom(live: &LiveConfigMap) -> String {
    live.state.last_writer().map(|writer| format!(" by {writer}")).unwrap_or_default()
}
