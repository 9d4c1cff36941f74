//! The end of `check-in-cluster`: waits for the Job, reads its verdict, remembers it, and takes away what was made.

use std::time::Duration;

use crate::check::{Ended, Exit as Exited, read_verdict};
use crate::cluster::Cluster;
use crate::cluster::check_job::JobPod;
use crate::cluster::logs::Life;
use crate::journal::{Journal, Mode};
use crate::model::{
    CHECK_CONTAINER, CheckJob, Checked, Failure, FailureKind, Key, ObjectRef, Objection, Witness, Write,
};
use crate::prow::name_culprit;
use crate::repair::{Approval, Expect, Plan, approve, undo};
use crate::run::{Clusters, StopToken, preview, read_for_undo};

use super::args::Global;
use super::{Exit, apply, output, session};

/// The Job itself may take two minutes; an image must be pulled and a place found before.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_secs(1);

/// Exit code 1 where the content is refused. What was made goes in any case.
pub async fn finish(
    global: &Global,
    plan: &Plan,
    run: &str,
    clusters: &Clusters,
    journal: &Journal,
    stop: StopToken,
) -> Exit {
    let answer = verdict(plan, clusters, journal, &stop).await;
    let removed = remove(global, plan, run, clusters, journal, stop).await;
    let answered = match answer {
        Ok(checked) => {
            if let Err(failure) = journal.remember_checked(std::slice::from_ref(&checked)) {
                session::note(&failure);
            }
            say(global, &checked);
            Ok(u8::from(checked.refused.is_some()))
        }
        Err(failure) => Err(failure),
    };
    match (answered, removed) {
        (answered, Ok(())) => answered,
        (answered, Err(failure)) => {
            session::note(&failure);
            let left = Failure::new(FailureKind::Partial, format!("what run {run} made is not (all) taken away")).hint(
                format!(
                    "prow-breakglass undo {run} -f FILE makes the plan that does; the Job goes by itself in an hour"
                ),
            );
            Err(answered.err().unwrap_or(left))
        }
    }
}

fn say(global: &Global, checked: &Checked) {
    let Witness::Job { image, .. } = &checked.by else { return };
    match &checked.refused {
        Some(objection) => {
            output::words(&format!("FACT  it does not load: {image}: {}{}", objection.message, objection.place()));
        }
        None => output::words(&format!("FACT  it loads: {image}")),
    }
    if global.output != super::args::Format::Text {
        let answer = if checked.refused.is_some() { "refused" } else { "loads" };
        let document =
            serde_json::json!({ "checked": { "answer": answer, "image": image, "objection": checked.refused } });
        output::data(&document.to_string());
    }
}

async fn verdict(plan: &Plan, clusters: &Clusters, journal: &Journal, stop: &StopToken) -> Result<Checked, Failure> {
    let odd = || Failure::new(FailureKind::Tool, "the plan asks no checkconfig");
    let (object, body) = plan
        .steps
        .iter()
        .find_map(|step| match &step.write {
            Write::CreateJob { object, body } => Some((object, body)),
            Write::PutConfigMap { .. }
            | Write::CreateConfigMap { .. }
            | Write::DeleteConfigMap { .. }
            | Write::DeletePod { .. }
            | Write::PatchImage { .. }
            | Write::DeleteJob { .. } => None,
        })
        .ok_or_else(odd)?;
    let identity = plan.clusters.iter().find(|identity| identity.alias == object.cluster).ok_or_else(odd)?;
    let cluster = clusters.get(&object.cluster).ok_or_else(odd)?;
    let content = plan.basis.content.clone().ok_or_else(odd)?;
    let (pod, code) = ended(cluster, object, stop).await?;
    let log = cluster.log(&pod, CHECK_CONTAINER, Life::Current).await?.unwrap_or_default();
    let no_verdict = |words: String| {
        Failure::new(FailureKind::Tool, format!("{} ended without a verdict", body.image))
            .cause(words)
            .hint("that says nothing of the configuration: --checkconfig PATH asks one on this machine")
    };
    let refused = match read_verdict(&Exited::Code(code), &log).map_err(no_verdict)? {
        Ended::Accepted => None,
        Ended::Refused(words) => Some(objection(plan, body, &words)),
        Ended::UnknownFlag(words) => return Err(no_verdict(words)),
    };
    let by = Witness::Job { server: identity.server.clone(), uid: identity.uid.clone(), image: body.image.clone() };
    Ok(Checked { content, refused, by, at: journal.now() })
}

/// Waits until the container has ended.
async fn ended(cluster: &Cluster, job: &ObjectRef, stop: &StopToken) -> Result<(Key, i32), Failure> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let why = match cluster.job_pod(job).await? {
            JobPod::Ended { pod, code } => return Ok((pod, code)),
            JobPod::Waiting(why) => why,
            JobPod::Running => None,
        };
        let nothing = |summary: String| Failure::new(FailureKind::Tool, summary).cause(why.clone().unwrap_or_default());
        if let Some(why) = why.as_ref().filter(|why| why.contains("ImagePull") || why.contains("InvalidImageName")) {
            return Err(nothing("the image of checkconfig cannot be pulled".to_owned())
                .hint(format!("is it published? {why}; else --checkconfig PATH")));
        }
        if let Some(by) = stop.requested() {
            return Err(Failure::new(FailureKind::Interrupted, format!("stopped by {by}: the answer was not awaited")));
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(nothing(format!("the Job gave no answer within {} s", PATIENCE.as_secs()))
                .hint("is there a node for it? it is placed like the component that it stands beside"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Its words, with the place among the files that it was given.
fn objection(plan: &Plan, body: &CheckJob, words: &str) -> Objection {
    let values = |name: &str| {
        plan.steps.iter().find_map(|step| match &step.write {
            Write::CreateConfigMap { object, body } if object.name == name => Some(&body.values),
            Write::PutConfigMap { .. }
            | Write::CreateConfigMap { .. }
            | Write::DeleteConfigMap { .. }
            | Write::DeletePod { .. }
            | Write::PatchImage { .. }
            | Write::CreateJob { .. }
            | Write::DeleteJob { .. } => None,
        })
    };
    let files = body.folders.iter().flat_map(|folder| &folder.files);
    let read = files.filter_map(|file| {
        let (map, key) = &file.stands_for;
        Some((map, key.as_str(), values(&file.config_map)?.get(&file.key)?.as_slice()))
    });
    let (config_map, config_key) = name_culprit(read, words).unzip();
    Objection { message: words.to_owned(), config_map, config_key, repeats: None }
}

/// Takes away what a run made: as the undo that it is, approved with the check.
async fn remove(
    global: &Global,
    plan: &Plan,
    run: &str,
    clusters: &Clusters,
    journal: &Journal,
    stop: StopToken,
) -> Result<(), Failure> {
    let record = journal.run(run)?;
    let source = journal.undo_source(&record)?;
    let live = read_for_undo(&source, &plan.clusters, clusters).await?;
    let cleaning = undo::plan(&source, &live, &plan.clusters, journal.now())?;
    let preview = preview(&cleaning, clusters, journal.now()).await?;
    let context = cleaning.clusters.first().map_or(String::new(), |cluster| cluster.context.clone());
    let approval = Approval::Flags { context, expect: Expect::Exactly(cleaning.objects()) };
    let approved = approve(&cleaning, &preview, None, &approval)?;
    let summary = apply::execute(global, approved, clusters, journal, Mode::Flags, stop).await;
    match summary.first_failure {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}
