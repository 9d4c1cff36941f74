//! Reads the world's log: writes, losses, refusals, and what should have been done otherwise.
//!
//! To add a mistake: a place in [`Ledger::judge`] that calls [`Ledger::mistake`], with a kind and the reason.

use super::file::DrillFile;
use super::judge::{Judge, is_home};
use super::score::{Done, LostJob, Mistake, Refused, Scorecard};
use crate::sim::object::{ObjectKey, Resource, text};
use crate::sim::{Happened, Note, World, Written};

/// Reads on from where it was.
#[derive(Debug, Default)]
pub struct Ledger {
    read: usize,
}

impl Ledger {
    /// What happened before the oncall came is not theirs.
    pub fn from_now_on(world: &World) -> Ledger {
        Ledger { read: world.log().len() }
    }

    pub fn read_on(&mut self, world: &World, file: &DrillFile, judge: &mut Judge, score: &mut Scorecard) {
        for note in world.log().iter().skip(self.read) {
            take(world, file, judge, note, score);
        }
        self.read = world.log().len();
    }
}

/// One entry of the log, right after it was written.
fn take(world: &World, file: &DrillFile, judge: &mut Judge, note: &Note, score: &mut Scorecard) {
    match &note.what {
        Happened::Write(written) => {
            if written.counts() {
                score.writes += 1;
                if let Some((kind, reason)) = wrong(world, file, judge, written) {
                    mistake(score, note, kind, reason);
                }
            } else if written.code >= 400 {
                let what = format!("{} {}/{}: HTTP {}", written.verb, written.resource, written.name, written.code);
                score.refusals.push(Refused { at: note.at, by: "server", what });
            }
        }
        Happened::ProwJobEnded { name, job, state, description } => {
            if state == "error" || state == "aborted" {
                let unavoidable = file.unavoidable.iter().any(|loss| loss.job == *job);
                score.lost.push(LostJob {
                    name: name.clone(),
                    job: job.clone(),
                    why: description.clone(),
                    unavoidable,
                });
            }
        }
        Happened::Merged { commit, heard } => {
            let who = file.colleagues.iter().find(|colleague| colleague.merges == *commit);
            let subject = file.repository.commits.iter().find(|part| part.name == *commit);
            let subject = subject.map_or(commit.as_str(), |part| part.subject.as_str());
            let heard = if *heard { "" } else { " (hook was down and did not hear of it)" };
            score.colleagues.push(Done {
                at: note.at,
                who: who.map_or("somebody", |colleague| colleague.who.as_str()).to_owned(),
                what: format!("merged \"{subject}\"{heard}"),
            });
        }
        Happened::Deployed { changed } if !changed.is_empty() => {
            let what = format!("applied the manifests: {}", changed.join(", "));
            score.colleagues.push(Done { at: note.at, who: "the deploy job".to_owned(), what });
        }
        Happened::Deployed { .. }
        | Happened::PodCreated { .. }
        | Happened::Led { .. }
        | Happened::Refused { .. }
        | Happened::Uploaded { .. }
        | Happened::Swept { .. } => {}
    }
}

fn mistake(score: &mut Scorecard, note: &Note, kind: &'static str, reason: String) {
    match score.mistakes.iter_mut().find(|mistake| mistake.kind == kind) {
        Some(mistake) => mistake.count += 1,
        None => score.mistakes.push(Mistake { kind, at: note.at, count: 1, reason }),
    }
}

/// Why a write should not have been sent; judged right after it.
fn wrong(world: &World, file: &DrillFile, judge: &mut Judge, written: &Written) -> Option<(&'static str, String)> {
    match (written.verb, written.resource.as_str()) {
        ("delete", "pods") => wrong_pod(world, file, judge, written),
        ("update" | "patch" | "create", "configmaps") => judge.would_load(world, file).err().map(|why| {
            let reason = format!("ConfigMap {} was written as the deployed Prow cannot load it: {why}", written.name);
            ("configuration-that-does-not-load", reason)
        }),
        ("delete", "prowjobs.prow.k8s.io") => {
            Some(("prowjob-deleted", "a ProwJob was deleted: what it stood for is neither run nor reported".to_owned()))
        }
        ("delete", "configmaps") => Some((
            "configmap-deleted",
            format!("ConfigMap {} was deleted: until it is there again no pod that mounts it can start", written.name),
        )),
        ("patch" | "update", "deployments.apps") => wrong_image(world, file, written),
        _ => None,
    }
}

fn wrong_pod(world: &World, file: &DrillFile, judge: &mut Judge, written: &Written) -> Option<(&'static str, String)> {
    let job = ObjectKey::new(Resource::ProwJob, &file.prow.namespace, &written.name);
    if let Some(job) = world.get(&world.prow.service, &job) {
        return wrong_job_pod(world, file, written, job);
    }
    let is_component = written.cluster == world.prow.service && written.namespace == file.prow.namespace;
    if !is_component {
        return Some(("foreign-pod-deleted", format!("pod {} is none of this Prow's and was deleted", written.name)));
    }
    judge.would_load(world, file).err().map(|why| {
        let reason = format!("{} was restarted while it cannot load its configuration: {why}", written.name);
        ("restarted-on-bad-configuration", reason)
    })
}

fn wrong_job_pod(
    world: &World,
    file: &DrillFile,
    written: &Written,
    job: &serde_json::Value,
) -> Option<(&'static str, String)> {
    if is_home(world, file, job, &written.cluster, &written.namespace) {
        return Some((
            "good-pod-deleted",
            format!("pod {} was where it belongs and was deleted: its ProwJob ends in error", written.name),
        ));
    }
    let astray = world.prow.leader.as_ref().is_none_or(|leader| leader.pod_namespace == written.namespace);
    astray.then(|| {
        let reason = "stray pods were deleted while prow-controller-manager still makes them: it makes them again, or takes \
                      the deletion for the job's end and ends the ProwJob in error; roll back first, and delete when good \
                      pods come again";
        ("strays-deleted-before-the-cause", reason.to_owned())
    })
}

/// A version that nobody published, or that has the same fault.
fn wrong_image(world: &World, file: &DrillFile, written: &Written) -> Option<(&'static str, String)> {
    let key = ObjectKey::new(Resource::Deployment, &written.namespace, &written.name);
    let deployment = world.get(&written.cluster, &key)?;
    let image = text(deployment, "/spec/template/spec/containers/0/image");
    if !world.images.can_be_pulled(image) {
        return Some(("unknown-image", format!("{} was led to {image}, which nobody published", written.name)));
    }
    let tag = crate::sim::object::base_and_tag(image).1;
    (written.name == "prow-controller-manager" && world.images.version(tag).misreads_pod_namespace).then(|| {
        let wrong =
            format!("prow-controller-manager was led to {tag}, which makes pods in {} as well", file.prow.namespace);
        ("rolled-to-the-same-fault", wrong)
    })
}
