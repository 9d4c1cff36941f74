//! Plans as values: they can be shown, saved, diffed, refused, approved. Nothing here does anything.

use serde::{Deserialize, Serialize};

use crate::diagnose::Diagnosis;
use crate::model::{ClusterIdentity, Failure, FailureKind, ObjectRef, Revision, Timestamp, Write, sha256_hex};

use super::{Override, RepairId, still_allowed};

/// What a repair would do, complete: bodies are embedded, so running it needs no further choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// `p-` and the first characters of the digest.
    pub id: String,
    pub repair: RepairId,
    /// One line: `write job-config as of 6a70de1`.
    pub title: String,
    pub clusters: Vec<ClusterIdentity>,
    pub basis: PlanBasis,
    pub steps: Vec<Step>,
    /// What was left out and why; a plan may be partly safe.
    pub refusals: Vec<Refusal>,
    /// What the person should know before: not reversible, keys kept, consumers that will not notice.
    pub warnings: Vec<String>,
    /// What must be typed to run it.
    pub confirmation: Confirmation,
    /// What proves that it worked, watched after the last step.
    pub verify: Verify,
    /// What the repair does not bring back, to be said when all is green again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub afterwards: Vec<String>,
    /// sha256 over everything above but `id`.
    pub digest: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanBasis {
    pub taken_at: Timestamp,
    /// The revision that ConfigMaps are written from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// Why that one, in words; starts with FACT or GUESS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The run that this plan undoes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<String>,
    /// Guards that a person asked to set aside, and why. The journal of a run begins with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
    /// What strays were judged by: held against the newest picture again before they are deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<StrayProof>,
    /// Digest of the content that a checkconfig is asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Why that one's answer would be no FACT about what is deployed, in words; none where it would.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<String>,
}

/// What was known when a deletion of strays was planned. All times are the server's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StrayProof {
    pub gate: GateWas,
    /// Where pods belong.
    pub pod_namespace: String,
    /// Since when prow-controller-manager, as it was, was ready.
    pub maker_ready_at: Option<Timestamp>,
    pub newest_stray: Option<Timestamp>,
}

/// How the gate stood when the plan was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateWas {
    Open,
    /// Closed, and a person set it aside.
    Overridden,
}

/// One write, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// From 1.
    pub n: usize,
    pub write: Write,
    pub why: String,
    /// How it can be taken back.
    pub undo: Undo,
    /// Content that may be overwritten although the resourceVersion moved: the one seen. `None` for deletes.
    /// The change in words: `1 key changed, 0 added, 0 removed`.
    pub effect: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undo {
    /// The prior object is backed up; `undo RUN` puts it back.
    FromBackup,
    /// Nothing to take back: its owner makes a new one.
    RecreatedByOwner,
    /// It was not there before: `undo RUN` deletes it, while it holds what the run wrote.
    Delete,
    /// Gone for good, or to be removed by hand.
    None,
}

/// Something that a repair will not do, why, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// A guard's no, or why the plan's basis could not be read: it decides the exit code.
    pub kind: FailureKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectRef>,
    pub reason: String,
    pub hint: String,
}

impl Refusal {
    pub fn new(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Refusal { kind: FailureKind::Refused, object: None, reason: reason.into(), hint: hint.into() }
    }

    #[must_use]
    pub fn because(mut self, kind: FailureKind) -> Self {
        self.kind = kind;
        self
    }

    #[must_use]
    pub fn of(mut self, object: &ObjectRef) -> Self {
        self.object = Some(object.clone());
        self
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::new(refusal.kind, refusal.reason).hint(refusal.hint)
    }
}

/// What a person types, by damage, so that nobody learns to type without reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type", content = "word")]
pub enum Confirmation {
    /// The candidate is known to load and undo is one key: `yes`.
    Yes,
    /// Not known to load: the map's name.
    MapName(String),
    /// Deletes: the count.
    Count(usize),
    /// Very many deletes: the count, and the cluster that loses most of them.
    CountIn { count: usize, alias: String },
    /// A rollback: the last four characters of the tag that it leads to.
    TagTail(String),
    /// More than a fifth of a ConfigMap's keys go: the plan's word, and a second one with their number.
    PruneMany { first: String, keys: usize },
}

impl Confirmation {
    /// Of a tag: its last four characters, or all of a shorter one.
    pub fn of_tag(tag: &str) -> Confirmation {
        let start = tag.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
        Confirmation::TagTail(tag.get(start..).unwrap_or(tag).to_owned())
    }

    /// The words that run it.
    pub fn word(&self) -> String {
        match self {
            Confirmation::Yes => "yes".to_owned(),
            Confirmation::MapName(name) => name.clone(),
            Confirmation::Count(count) => count.to_string(),
            Confirmation::CountIn { count, alias } => format!("{count} {alias}"),
            Confirmation::TagTail(tail) => tail.clone(),
            Confirmation::PruneMany { first, keys } => format!("{first} prune {keys}"),
        }
    }
}

/// What is watched after the last step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Verify {
    /// These components Ready, within the time; their crash loops may take a back-off to end.
    ComponentsReady { components: Vec<ObjectRef>, within_seconds: u32 },
    /// These components run this tag and no other, all of their pods Ready, within the time.
    RolloutDone { components: Vec<ObjectRef>, tag: String, within_seconds: u32 },
    /// The pods of the plan are gone, none came in their place, and none of these ProwJobs (by name; they were not
    /// finished when the plan was made) is lost, aborted or in error.
    NoStrays {
        prowjobs: Vec<String>,
        /// When the newest stray was made that the plan knew of, by the server's clock: whatever is younger came since.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newest: Option<Timestamp>,
        within_seconds: u32,
    },
    /// What was written is there.
    Written,
}

impl Verify {
    /// How long to watch for it; `None` where the server's answer is the proof.
    pub fn within_seconds(&self) -> Option<u32> {
        match self {
            Verify::ComponentsReady { within_seconds, .. }
            | Verify::RolloutDone { within_seconds, .. }
            | Verify::NoStrays { within_seconds, .. } => Some(*within_seconds),
            Verify::Written => None,
        }
    }
}

impl Plan {
    /// Recomputes the digest and the id. The last call of a repair.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        self.digest = self.compute_digest();
        self.id = format!("p-{}", &self.digest[..8]);
        self
    }

    pub fn compute_digest(&self) -> String {
        let naked = Plan { id: String::new(), digest: String::new(), ..self.clone() };
        // Serialising plain structs and maps with string keys cannot fail.
        sha256_hex(&serde_json::to_vec(&naked).unwrap_or_default())
    }

    /// How many objects it changes: what `--expect` compares with.
    pub fn objects(&self) -> usize {
        self.steps.len()
    }
}

/// What the server answered to the dry run of each step.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    pub digest: String,
    pub at: Timestamp,
    pub steps: Vec<StepPreview>,
}

impl Preview {
    pub fn all_accepted(&self) -> bool {
        self.steps.iter().all(|step| matches!(step.answer, Answer::Accepted))
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct StepPreview {
    pub n: usize,
    pub answer: Answer,
}

/// The server's answer to one write under `dryRun=All`.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Accepted,
    /// It is not what the plan saw any more. `who` wrote last, where that can be told.
    Moved {
        detail: String,
    },
    /// Gone already.
    Gone,
    Refused {
        failure: Failure,
    },
}

/// A plan that a person approved, bound to its digest and to the clusters that were previewed.
/// Only [`approve`] makes one, and [`Removal::approve`] for what an approved check made.
#[derive(Debug, Clone)]
pub struct ApprovedPlan {
    plan: Plan,
}

impl ApprovedPlan {
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Who approves a check approves that what it makes is taken away again: the plan says so, and counts it once. `None` for
    /// every other plan.
    pub fn removal(&self) -> Option<Removal> {
        match self.plan.repair {
            RepairId::CheckInCluster => {
                Some(Removal { made: self.plan.steps.iter().map(|step| step.write.object().clone()).collect() })
            }
            RepairId::SyncConfig | RepairId::Kick | RepairId::Rollback | RepairId::DeleteStrays | RepairId::Undo => {
                None
            }
        }
    }
}

/// The approval of deleting what an approved check made: those objects, and no other. Only [`ApprovedPlan::removal`] makes one.
#[derive(Debug, Clone)]
pub struct Removal {
    made: Vec<ObjectRef>,
}

impl Removal {
    /// Approves the undo of the check.
    ///
    /// # Errors
    /// As [`approve`]; or the undo does something else than deleting what the check made.
    pub fn approve(&self, cleaning: &Plan, preview: &Preview) -> Result<ApprovedPlan, Refusal> {
        accepted(cleaning, preview)?;
        for step in &cleaning.steps {
            let object = step.write.object();
            let is_delete = match &step.write {
                Write::DeleteConfigMap { .. } | Write::DeleteJob { .. } => true,
                Write::PutConfigMap { .. }
                | Write::CreateConfigMap { .. }
                | Write::DeletePod { .. }
                | Write::PatchImage { .. }
                | Write::CreateJob { .. } => false,
            };
            // It has a uid by now.
            let named = |made: &ObjectRef| ObjectRef { uid: None, ..object.clone() } == *made;
            if !is_delete || !self.made.iter().any(named) {
                return Err(Refusal::new(
                    format!("taking away what the check made would touch {object}"),
                    "the approval of a check covers what it made, and no more: prow-breakglass undo RUN makes the plan",
                )
                .of(object));
            }
        }
        Ok(ApprovedPlan { plan: cleaning.clone() })
    }
}

/// How the approval was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approval {
    /// The words typed on the Plan screen.
    Typed(String),
    /// `--execute --context NAME --expect N` (or `--expect-at-most N`).
    Flags { context: String, expect: Expect },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    Exactly(usize),
    AtMost(usize),
}

/// Makes an [`ApprovedPlan`], or says why not. `now` is the newest picture: a plan may be old, and what allowed it gone.
///
/// # Errors
/// A changed plan, a preview of another plan or with a refused step, wrong words, another context, another count; or the
/// gate that was open when the plan was made is closed now ([`still_allowed`]).
pub fn approve(
    plan: &Plan,
    preview: &Preview,
    now: Option<&Diagnosis>,
    approval: &Approval,
) -> Result<ApprovedPlan, Refusal> {
    accepted(plan, preview)?;
    match approval {
        Approval::Typed(words) if words.trim() == plan.confirmation.word() => {}
        Approval::Typed(_) => {
            return Err(Refusal::new(
                "those are not the words",
                format!("the words of this plan are `{}`, exactly; nothing was written", plan.confirmation.word()),
            ));
        }
        Approval::Flags { context, expect } => check_flags(plan, context, *expect)?,
    }
    still_allowed(plan, now)?;
    Ok(ApprovedPlan { plan: plan.clone() })
}

/// The plan is as it was made, and the server takes each of its steps.
fn accepted(plan: &Plan, preview: &Preview) -> Result<(), Refusal> {
    if plan.digest != plan.compute_digest() {
        return Err(Refusal::new(
            "the plan's digest does not fit its content: the file was changed after it was made",
            "make the plan anew with `prow-breakglass plan`",
        ));
    }
    if preview.digest != plan.digest {
        return Err(Refusal::new("the preview is of another plan", "preview this plan again"));
    }
    if plan.steps.is_empty() {
        return Err(Refusal::new("the plan has no steps", "nothing is left to do; look at `prow-breakglass status`"));
    }
    if let Some(step) = plan.steps.iter().find(|step| !preview.steps.iter().any(|answered| answered.n == step.n)) {
        return Err(Refusal::new(format!("the server was not asked about step {}", step.n), "preview this plan again"));
    }
    if let Some(step) = preview.steps.iter().find(|step| !matches!(step.answer, Answer::Accepted | Answer::Gone)) {
        return Err(match &step.answer {
            Answer::Refused { failure } => Refusal::new(
                format!("the server refuses step {}: {}", step.n, failure.summary),
                failure.hint.clone().unwrap_or_else(|| "mend that, then preview again".to_owned()),
            )
            .because(failure.kind),
            Answer::Moved { detail } => moved(step.n, detail),
            Answer::Accepted | Answer::Gone => moved(step.n, "it is gone"),
        });
    }
    Ok(())
}

fn moved(n: usize, detail: &str) -> Refusal {
    Refusal::new(
        format!("step {n} does not hold any more: {detail}"),
        "make the plan anew and read it again: somebody else is at work on the same object",
    )
}

fn check_flags(plan: &Plan, context: &str, expect: Expect) -> Result<(), Refusal> {
    if let Confirmation::PruneMany { keys, .. } = &plan.confirmation {
        return Err(Refusal::new(
            format!("it removes {keys} keys, more than a fifth of a ConfigMap, which needs a second word"),
            "type it at a terminal, or plan it with --override prune-many --reason TEXT",
        ));
    }
    // The first cluster of a plan is the service cluster; the plan names the others.
    if let Some(cluster) = plan.clusters.first()
        && cluster.context != context
    {
        return Err(Refusal::new(
            format!("the plan is for context {}, not {context}", cluster.context),
            format!("if that is what you mean: --context {}", cluster.context),
        ));
    }
    let objects = plan.objects();
    let fits = match expect {
        Expect::Exactly(n) => objects == n,
        Expect::AtMost(n) => objects <= n,
    };
    if fits {
        return Ok(());
    }
    let said = match expect {
        Expect::Exactly(n) => format!("--expect {n}"),
        Expect::AtMost(n) => format!("--expect-at-most {n}"),
    };
    Err(Refusal::new(
        format!("the plan changes {objects} object(s), and {said} was given"),
        "read the plan; if its count is what you want, give that number",
    ))
}
