//! Reads the world's log: writes, losses, refusals, and what should have been done otherwise.
//!
//! To add a mistake: a kind in [`MistakeKind`], the place in `wrong` that finds it, with the reason; and a script that commits it in
//! `tests/drills/mistakes.rs`.

use super::file::DrillFile;
use super::judge::{Judge, is_home};
use super::score::{Done, LostJob, Mistake, MistakeKind, Refused, Scorecard};
use crate::prow::jobs::task_of;
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
        Happened::Aborted { job, .. } => {
            if is_prows_own(job) {
                let what = format!("aborted {job}, as you asked");
                score.colleagues.push(Done { at: note.at, who: "Deck".to_owned(), what });
            } else {
                let reason = format!(
                    "{job} was aborted, which would have undone nothing: whoever waits for it has to start it again"
                );
                mistake(score, note, MistakeKind::GoodJobAborted, reason);
            }
        }
        Happened::ProwJobEnded { name, job, state, description } => {
            let stopped = || world.log().iter().any(|note| is_abort_of(note, name)) && is_prows_own(job);
            if (state == "error" || state == "aborted") && !stopped() {
                let unavoidable = file.unavoidable.iter().find(|loss| loss.job == *job).map(|loss| loss.why.clone());
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

/// A job that deploys or bumps Prow itself: while it is repaired by hand, that is in the way.
fn is_prows_own(job: &str) -> bool {
    task_of(job).is_some()
}

fn is_abort_of(note: &Note, prowjob: &str) -> bool {
    matches!(&note.what, Happened::Aborted { name, .. } if name == prowjob)
}

fn mistake(score: &mut Scorecard, note: &Note, kind: MistakeKind, reason: String) {
    match score.mistakes.iter_mut().find(|mistake| mistake.kind == kind) {
        Some(mistake) => mistake.count += 1,
        None => score.mistakes.push(Mistake { kind, at: note.at, count: 1, reason }),
    }
}

/// Why a write should not have been sent; judged right after it. What this program never sends is not looked for.
fn wrong(world: &World, file: &DrillFile, judge: &mut Judge, written: &Written) -> Option<(MistakeKind, String)> {
    match (written.verb, written.resource.as_str()) {
        ("delete", "pods") => wrong_pod(world, file, judge, written),
        ("update" | "patch" | "create", "configmaps") => judge.would_load(world, file).err().map(|why| {
            let reason = format!("ConfigMap {} was written as the deployed Prow cannot load it: {why}", written.name);
            (MistakeKind::ConfigurationThatDoesNotLoad, reason)
        }),
        ("patch" | "update", "deployments.apps") => wrong_image(world, file, written),
        _ => None,
    }
}

fn wrong_pod(world: &World, file: &DrillFile, judge: &mut Judge, written: &Written) -> Option<(MistakeKind, String)> {
    let job = ObjectKey::new(Resource::ProwJob, &file.prow.namespace, &written.name);
    if let Some(job) = world.get(&world.prow.service, &job) {
        let is_stray = !is_home(world, file, job, &written.cluster, &written.namespace);
        let still_made = world.prow.leader.as_ref().is_none_or(|leader| leader.pod_namespace == written.namespace);
        return (is_stray && still_made).then(|| {
            let reason = "stray pods were deleted while prow-controller-manager still makes them: it makes them again, or takes \
                          the deletion for the job's end and ends the ProwJob in error; roll back first, and delete when good \
                          pods come again";
            (MistakeKind::StraysDeletedBeforeTheCause, reason.to_owned())
        });
    }
    judge.would_load(world, file).err().map(|why| {
        let reason = format!("{} was restarted while it cannot load its configuration: {why}", written.name);
        (MistakeKind::RestartedOnBadConfiguration, reason)
    })
}

/// A version that nobody published, or that has the same fault.
fn wrong_image(world: &World, file: &DrillFile, written: &Written) -> Option<(MistakeKind, String)> {
    let key = ObjectKey::new(Resource::Deployment, &written.namespace, &written.name);
    let deployment = world.get(&written.cluster, &key)?;
    let image = text(deployment, "/spec/template/spec/containers/0/image");
    if !world.images.can_be_pulled(image) {
        return Some((
            MistakeKind::UnknownImage,
            format!("{} was led to {image}, which nobody published", written.name),
        ));
    }
    let tag = crate::sim::object::base_and_tag(image).1;
    (written.name == "prow-controller-manager" && world.images.version(tag).misreads_pod_namespace).then(|| {
        let wrong =
            format!("prow-controller-manager was led to {tag}, which makes pods in {} as well", file.prow.namespace);
        (MistakeKind::RolledToTheSameFault, wrong)
    })
}
