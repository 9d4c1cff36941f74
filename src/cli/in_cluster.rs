//! `check-in-cluster` beyond its plan: asks whether everything it needs is allowed, makes the Job, waits for its verdict,
//! remembers it, and takes away what was made, whatever happened before. `run resume` of such a run does that last part
//! alone: it makes nothing.
//!
//! Nothing stays for good even where this program is killed: the Job owns its ConfigMaps, has a deadline, and goes some time
//! after its end.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::check::{Ended, Exit as Exited, read_verdict};
use crate::cluster::Cluster;
use crate::cluster::check_job::{DEADLINE_SECONDS, JobState, KEPT_SECONDS};
use crate::cluster::logs::Life;
use crate::journal::{Journal, Mode, RunRecord, RunState};
use crate::model::{
    CANARY_CONTAINER, CHECK_CONTAINER, CheckJob, Checked, Failure, FailureKind, Key, ObjectRef, Objection, RunSummary,
    Timestamp, Witness, Write,
};
use crate::prow::name_culprit;
use crate::repair::undo::{self, LiveObjects};
use crate::repair::{Approval, ApprovedPlan, Expect, Plan, Removal, approve};
use crate::run::{self, Clusters, StopToken, preview, read_for_undo};

use super::args::{Format, Global, WriteArgs, quoted};
use super::{Exit, apply, output, session, signals};

/// A place must be found, an image pulled, and volumes mounted.
const START_WITHIN: Duration = Duration::from_secs(300);
/// On the largest configuration that we know a checkconfig takes about a second.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// How long nothing may be seen of the Job before that ends the waiting.
const BLIND: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(1);
/// An API server gives up on a request after a minute: one whose answer was lost lands by then, or never.
const LANDS_WITHIN_SECONDS: i64 = 60;

/// What making, watching and taking away need: verb, resource, group.
const RIGHTS: [(&str, &str, &str); 8] = [
    ("create", "jobs", "batch"),
    ("get", "jobs", "batch"),
    ("delete", "jobs", "batch"),
    ("create", "configmaps", ""),
    ("get", "configmaps", ""),
    ("delete", "configmaps", ""),
    ("list", "pods", ""),
    ("get", "pods/log", ""),
];

/// Whoever may make something and not take it away again, or not read its answer, should not begin.
///
/// # Errors
/// `Forbidden`, with what is missing; or the server cannot be asked.
pub async fn may(plan: &Plan, clusters: &Clusters) -> Result<(), Failure> {
    let Some(object) = plan.steps.first().map(|step| step.write.object()) else { return Ok(()) };
    let cluster = clusters.get(&object.cluster).ok_or_else(odd)?;
    let mut missing = Vec::new();
    for (verb, resource, group) in RIGHTS {
        match cluster.can(verb, resource, group, &object.namespace).await {
            Ok(true) => {}
            Ok(false) => missing.push(format!("{verb} {resource}")),
            // A server that does not tell says so when it is asked for the thing itself.
            Err(failure) if matches!(failure.kind, FailureKind::NotFound | FailureKind::Forbidden) => return Ok(()),
            Err(failure) => return Err(failure),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let what = format!("you may not {} in namespace {}", missing.join(", "), object.namespace);
    Err(Failure::new(FailureKind::Forbidden, what).hint(
        "asking in the cluster needs the role in assets/rbac/check-in-cluster.yaml beside the oncall's; without it: \
         --checkconfig PATH asks a checkconfig on this machine",
    ))
}

/// Runs an approved check to its end. Exit code 1 where the content is refused. What was made goes in any case: a first signal
/// ends the making or the waiting, only a second one the taking away.
pub async fn run(
    global: &Global,
    plan: &Plan,
    approved: ApprovedPlan,
    clusters: &Clusters,
    journal: &Journal,
    mode: Mode,
) -> Exit {
    let removal = approved.removal().ok_or_else(odd)?;
    let stops = signals::first_and_second()?;
    let summary = apply::execute(global, approved, clusters, journal, mode, stops.first.clone()).await;
    if summary.run.is_empty() {
        return Err(summary.first_failure.unwrap_or_else(odd));
    }
    apply::say(&summary);
    let answered = match answer(plan, &summary, clusters, journal, &stops.first).await {
        Ok(checked) => {
            if let Err(failure) = journal.remember_checked(std::slice::from_ref(&checked)) {
                session::note(&failure);
            }
            say(global, plan, &checked);
            Ok(u8::from(checked.refused.is_some()))
        }
        Err(failure) => Err(failure),
    };
    let run = &summary.run;
    // Signals count anew from here: whoever has asked for the end of the check wants nothing left of it.
    let mandate = Mandate::Check(&removal, mode);
    let cleared = clear(global, run, clusters, journal, &mandate, &stops.second).await;
    let Err(failure) = cleared else { return answered };
    session::note(&failure);
    output::words(&how_to_take_away(global, plan, run));
    let left =
        Failure::new(FailureKind::Partial, format!("what run {run} made may not be taken away, or not all of it"));
    Err(match answered {
        Err(answered) => answered,
        Ok(_) if failure.kind == FailureKind::Interrupted => failure,
        Ok(_) => left,
    })
}

fn odd() -> Failure {
    Failure::new(FailureKind::Tool, "the plan asks no checkconfig").hint("make it anew: plan check-in-cluster")
}

/// The exact command, and what happens without it.
fn how_to_take_away(global: &Global, plan: &Plan, run: &str) -> String {
    let context = plan.clusters.first().map_or("NAME".to_owned(), |cluster| quoted(&cluster.context));
    let again = global.again();
    format!(
        "something of run {run} may be left. To take it away: prow-breakglass run resume {run} --context \
         {context}{again} --execute --expect-at-most {}\nor: prow-breakglass undo {run} --context {context}{again} -f \
         undo.json, and apply that; without either the cluster ends the Job within {DEADLINE_SECONDS} s, and deletes it \
         and its ConfigMaps {KEPT_SECONDS} s after that",
        plan.objects()
    )
}

/// Waits for the answer, where all was made that it needs.
async fn answer(
    plan: &Plan,
    summary: &RunSummary,
    clusters: &Clusters,
    journal: &Journal,
    stop: &StopToken,
) -> Result<Checked, Failure> {
    if summary.done < plan.steps.len() {
        let failure = summary.first_failure.clone().unwrap_or_else(odd);
        output::words("not all of it could be made, so nothing is waited for");
        return Err(failure);
    }
    // Others see that somebody is at work on it; what it waits for is in nobody's way.
    let held = journal.reopen(&summary.run);
    if let Err(failure) = &held {
        session::note(failure);
    }
    tokio::select! {
        biased;
        () = stop.stopped() => {
            let by = stop.requested().unwrap_or_default();
            Err(Failure::new(FailureKind::Interrupted, format!("stopped by {by}: the answer was not awaited")))
        }
        checked = verdict(plan, clusters, journal.now()) => checked,
    }
}

fn say(global: &Global, plan: &Plan, checked: &Checked) {
    let Witness::Job { image, .. } = &checked.by else { return };
    let doubts = &plan.basis.doubts;
    let (basis, because) =
        if doubts.is_empty() { ("fact", String::new()) } else { ("guess", format!(" ({})", doubts.join("; "))) };
    let word = basis.to_uppercase();
    match &checked.refused {
        Some(objection) => {
            let (message, place) = (&objection.message, objection.place());
            output::words(&format!("{word}  it does not load: {image}: {message}{place}{because}"));
        }
        None => output::words(&format!("{word}  it loads: {image}{because}")),
    }
    if global.output != Format::Text {
        let answer = if checked.refused.is_some() { "refused" } else { "loads" };
        let document = serde_json::json!({ "checked": {
            "answer": answer, "basis": basis, "doubts": doubts, "image": image, "objection": checked.refused,
        }});
        output::data(&document.to_string());
    }
}

async fn verdict(plan: &Plan, clusters: &Clusters, at: Timestamp) -> Result<Checked, Failure> {
    let (object, body) =
        plan.steps.iter().find_map(|step| Some((step.write.object(), step.write.check_job()?))).ok_or_else(odd)?;
    let identity = plan.clusters.iter().find(|identity| identity.alias == object.cluster).ok_or_else(odd)?;
    let cluster = clusters.get(&object.cluster).ok_or_else(odd)?;
    let content = plan.basis.content.clone().ok_or_else(odd)?;
    output::words(&format!("waiting for the answer of {object}; Ctrl-C ends that, and takes it away"));
    let (pod, code, canary) = ended(cluster, object).await?;
    let log = async |container| cluster.log(&pod, container, Life::Current).await.map(Option::unwrap_or_default);
    let (log, canary_log) = (log(CHECK_CONTAINER).await?, log(CANARY_CONTAINER).await?);
    let refused =
        words_of(&body.image, (code, &log), (canary, &canary_log))?.map(|words| objection(plan, body, &words));
    let by = Witness::Job { server: identity.server.clone(), uid: identity.uid.clone(), image: body.image.clone() };
    Ok(Checked { content, refused, by, at })
}

/// What the two containers say, by exit code and log: in whose words the candidate is refused, or that it is not.
fn words_of(image: &str, check: (i32, &str), canary: (i32, &str)) -> Result<Option<String>, Failure> {
    let no_verdict = |words: String| {
        Failure::new(FailureKind::Tool, format!("{image} ended without a verdict"))
            .cause(words)
            .hint("that says nothing of the configuration: --checkconfig PATH asks one on this machine")
    };
    let read = |(code, log): (i32, &str)| match read_verdict(&Exited::Code(code), log).map_err(no_verdict)? {
        Ended::Accepted => Ok(None),
        Ended::Refused(words) => Ok(Some(words)),
        Ended::UnknownFlag(words) => Err(no_verdict(words)),
    };
    // First whether it is a checkconfig at all.
    if read(canary)?.is_none() {
        return Err(Failure::new(FailureKind::Tool, format!("{image} is no checkconfig"))
            .cause("it accepts what no Prow loads")
            .hint("so what it says proves nothing: --checkconfig PATH asks one on this machine"));
    }
    read(check)
}

/// Waits until both containers have ended; their exit codes. What is not an answer says which of the times ran out.
async fn ended(cluster: &Cluster, job: &ObjectRef) -> Result<(Key, i32, i32), Failure> {
    let begun = Instant::now();
    let mut running_since: Option<Instant> = None;
    let mut blind_since: Option<Instant> = None;
    let mut why: Option<String> = None;
    loop {
        match cluster.job_state(job).await {
            Ok(state) => {
                blind_since = None;
                match state {
                    JobState::Ended { pod, code, canary } => return Ok((pod, code, canary)),
                    JobState::Over(words) => return Err(over(&words)),
                    JobState::Running => drop(running_since.get_or_insert_with(Instant::now)),
                    JobState::Waiting(words) => why = words,
                }
            }
            // The API server may be in trouble for a moment; the Job is none the worse for it.
            Err(failure) if is_passing(failure.kind) => {
                if blind_since.get_or_insert_with(Instant::now).elapsed() > BLIND {
                    return Err(failure);
                }
            }
            Err(failure) => return Err(failure),
        }
        let nothing = |summary: String| {
            let failure = Failure::new(FailureKind::Tool, summary);
            why.iter().fold(failure, |failure, why| failure.cause(why.clone()))
        };
        let is_unpullable = |why: &&String| {
            ["ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"].iter().any(|at| why.starts_with(at))
        };
        if running_since.is_none() && why.as_ref().is_some_and(|why| is_unpullable(&why)) {
            return Err(nothing("the image of checkconfig cannot be pulled".to_owned())
                .hint("is it published? --checkconfig PATH asks one on this machine"));
        }
        match running_since {
            Some(since) if since.elapsed() > ANSWER_WITHIN => {
                return Err(nothing(format!(
                    "checkconfig gave no answer within {} s of its start",
                    ANSWER_WITHIN.as_secs()
                ))
                .hint("a checkconfig takes about a second: is it one, and has its node anything to spare?"));
            }
            None if begun.elapsed() > START_WITHIN => {
                return Err(nothing(format!("no container of the Job started within {} s", START_WITHIN.as_secs()))
                    .hint(format!(
                        "is there a node for it (it is placed like the component that it stands beside), and may such a pod be \
                         made? kubectl describe job {} -n {} tells, while it is there",
                        job.name, job.namespace
                    )));
            }
            Some(_) | None => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn over(words: &str) -> Failure {
    let failure = Failure::new(FailureKind::Tool, "the Job ended without an answer").cause(words);
    if words.starts_with("DeadlineExceeded") {
        let all = format!(
            "its {DEADLINE_SECONDS} s are counted from its creation: finding a place and pulling the image, too"
        );
        return failure.hint(all);
    }
    failure.hint("that says nothing of the configuration: ask again, or --checkconfig PATH")
}

fn is_passing(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::Unreachable | FailureKind::Server | FailureKind::Throttled)
}

/// Its words, with the place among the files that it was given.
fn objection(plan: &Plan, body: &CheckJob, words: &str) -> Objection {
    let values = |name: &str| {
        let mut named = plan.steps.iter().map(|step| &step.write).filter(|write| write.object().name == name);
        named.find_map(Write::config_map_values)
    };
    let files = body.folders.iter().flat_map(|folder| &folder.files);
    let read = files.filter_map(|file| {
        let (map, key) = &file.stands_for;
        Some((map, key.as_str(), values(&file.config_map)?.get(&file.key)?.as_slice()))
    });
    let (config_map, config_key) = name_culprit(read, words).unzip();
    Objection { message: words.to_owned(), config_map, config_key, repeats: None }
}

/// Whose word it is that what a check made goes.
enum Mandate<'a> {
    /// The approval of the check itself, and how it was given.
    Check(&'a Removal, Mode),
    /// That of a person who resumes it.
    Resume(Approval),
}

/// Takes away, and looks again where the API server was in trouble for a moment: a look is no repetition of a write.
async fn clear(
    global: &Global,
    run: &str,
    clusters: &Clusters,
    journal: &Journal,
    mandate: &Mandate<'_>,
    stop: &StopToken,
) -> Result<(), Failure> {
    let mut tries = 3;
    loop {
        match take_away(global, run, clusters, journal, mandate, stop).await {
            Err(failure) if is_passing(failure.kind) && tries > 1 => {
                output::words(&format!("{}; looking again", failure.summary));
                let pause = async {
                    tokio::time::sleep(2 * LOOK).await;
                    Ok(())
                };
                unless_stopped(stop, pause).await?;
                tries -= 1;
            }
            ended => return ended,
        }
    }
}

/// Takes away what a run may have made and what is there: by the uid that it has now, as the undo that it is.
async fn take_away(
    global: &Global,
    run: &str,
    clusters: &Clusters,
    journal: &Journal,
    mandate: &Mandate<'_>,
    stop: &StopToken,
) -> Result<(), Failure> {
    let record = journal.run(run)?;
    let plan = journal.plan(&record)?;
    let source = journal.undo_source(&record)?;
    // A look may be dropped half-way; a write ends first, and its outcome is in the journal.
    let live = unless_stopped(stop, read_for_undo(&source, &plan.clusters, clusters)).await?;
    if source.steps.iter().any(|step| live.has(step.write.object())) {
        let cleaning = undo::plan(&source, &live, &plan.clusters, journal.now())?;
        let preview = unless_stopped(stop, preview(&cleaning, clusters, journal.now())).await?;
        let (approved, mode) = match mandate {
            Mandate::Check(removal, mode) => (removal.approve(&cleaning, &preview)?, *mode),
            Mandate::Resume(approval) => (approve(&cleaning, &preview, None, approval)?, Mode::Flags),
        };
        let summary = apply::execute(global, approved, clusters, journal, mode, stop.clone()).await;
        if let Some(failure) = summary.first_failure {
            return Err(failure);
        }
        if let Some(refusal) = cleaning.refusals.into_iter().next() {
            return Err(refusal.into());
        }
    }
    if let Some(object) = may_still_land(&record, &live, journal.now()) {
        let what = format!("the answer about making {object} was lost: it is not there, and may still come");
        return Err(Failure::new(FailureKind::Partial, what).hint("look again in a minute"));
    }
    if is_in_doubt(&record) {
        let operator = apply::operator(clusters, Mode::Flags).await;
        let (tell, _) = mpsc::unbounded_channel();
        run::settle(journal, run, clusters, &operator, tell).await?;
    }
    if source.steps.is_empty() { Ok(()) } else { journal.verified(run, true, "what it made is taken away") }
}

/// What it comes to, unless somebody wants it to end.
async fn unless_stopped<T>(stop: &StopToken, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        biased;
        () = stop.stopped() => {
            let by = stop.requested().unwrap_or_default();
            Err(Failure::new(FailureKind::Interrupted, format!("stopped by {by}, while it was taken away")))
        }
        done = work => done,
    }
}

fn is_in_doubt(record: &RunRecord) -> bool {
    record.ended.is_none() || record.steps.iter().any(|step| step.is_open())
}

/// What was sent so lately, and not answered, that its not being there says little.
fn may_still_land(record: &RunRecord, live: &LiveObjects, now: Timestamp) -> Option<ObjectRef> {
    let is_young = |at: Timestamp| now.as_second() - at.as_second() < LANDS_WITHIN_SECONDS;
    let step = record.steps.iter().find(|step| {
        step.is_open() && !live.has(&step.object) && step.intent.as_ref().is_some_and(|intent| is_young(intent.at))
    })?;
    Some(step.object.clone())
}

/// `run resume` of a check: takes away what is left of it.
pub async fn resume(global: &Global, record: &RunRecord, plan: &Plan, args: &WriteArgs) -> Exit {
    let reading = session::journal(global);
    let clusters = apply::clusters_of(global, plan).await?;
    let source = reading.undo_source(record)?;
    let live = read_for_undo(&source, &plan.clusters, &clusters).await?;
    let left: Vec<&ObjectRef> =
        source.steps.iter().map(|step| step.write.object()).filter(|object| live.has(object)).collect();
    output::words(&format!("run {}: {}", record.run, plan.title));
    for object in &left {
        output::words(&format!("  {object}  is left"));
    }
    if left.is_empty() {
        output::words("nothing of what it made is there");
        if record.state == RunState::Ended {
            return Ok(0);
        }
    }
    if !args.execute {
        output::words("nothing was written: --execute takes away what is left; nothing is made anew");
        return Ok(1);
    }
    let count = left.len();
    let expect = args.expects().ok_or_else(|| {
        Failure::new(FailureKind::Usage, "--execute needs --expect N")
            .hint(format!("{count} object(s) are left: --expect {count}"))
    })?;
    let fits = match expect {
        Expect::Exactly(n) => n == count,
        Expect::AtMost(n) => count <= n,
    };
    if !fits {
        return Err(Failure::new(
            FailureKind::Refused,
            format!("{count} object(s) are left, another number was given"),
        )
        .hint("read what is left above; if that is what you want to be gone, give that number"));
    }
    let journal = session::journal_for_writing(global)?;
    let stop = signals::stop_on_signals()?;
    let context = global.context.clone().unwrap_or_default();
    let mandate = Mandate::Resume(Approval::Flags { context, expect });
    match clear(global, &record.run, &clusters, &journal, &mandate, &stop).await {
        Ok(()) => {
            output::words(&format!("nothing of run {} is left", record.run));
            Ok(0)
        }
        Err(failure) => {
            output::words(&how_to_take_away(global, plan, &record.run));
            Err(failure)
        }
    }
}

#[cfg(test)]
mod tests;
