//! The preview: every step through the same guard and the same request as in a run, under the server's dry run.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::cluster::gate::{Gate, SendError, audit_id, prove};
use crate::model::{Failure, FailureKind, Timestamp, Write};
use crate::repair::{Answer, Plan, Preview, RepairId, Step, StepPreview};

use super::guard::{Judgement, judge};
use super::{Clusters, cluster_of, execute, expected};

/// Requests in flight at once: an API server in trouble must not get more from us.
const AT_ONCE: usize = 4;

/// Asks the servers whether they would take each step. Writes nothing: its gates cannot.
///
/// # Errors
/// A cluster is another one than the plan's, cannot be reached, or does not know us. That a single step is refused is no
/// error but its [`Answer`].
pub async fn preview(plan: &Plan, clusters: &Clusters, now: Timestamp) -> Result<Preview, Failure> {
    for identity in &plan.clusters {
        prove(cluster_of(clusters, &identity.alias)?, identity).await?;
    }
    for step in &plan.steps {
        expected(&plan.clusters, step.write.cluster())?;
    }
    // Futures in a list, not a closure over the stream: only so the whole future is Send, for a spawned preview.
    let asked: Vec<_> = plan.steps.iter().map(|step| ask_step(plan, clusters, step, now)).collect();
    let steps = stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
    Ok(Preview { digest: plan.digest.clone(), at: now, steps })
}

async fn ask_step(plan: &Plan, clusters: &Clusters, step: &Step, now: Timestamp) -> Result<StepPreview, Failure> {
    let gate = Gate::dry_run(cluster_of(clusters, step.write.cluster())?);
    let answer = ask(plan, &gate, step.n, &step.write, now).await?;
    Ok(StepPreview { n: step.n, answer })
}

async fn ask(plan: &Plan, gate: &Gate, n: usize, write: &Write, now: Timestamp) -> Result<Answer, Failure> {
    // A second look where somebody wrote between our look and our question.
    for last in [false, true] {
        let write = match look(plan.repair, gate, write).await {
            Ok(Judgement::Holds(write)) => write,
            Ok(Judgement::NotNeeded(detail)) => {
                return Ok(match write {
                    Write::DeleteConfigMap { .. } | Write::DeletePod { .. } => Answer::Gone,
                    Write::PutConfigMap { .. } | Write::CreateConfigMap { .. } | Write::PatchImage { .. } => {
                        Answer::Moved { detail }
                    }
                });
            }
            Ok(Judgement::Moved(detail)) => return Ok(Answer::Moved { detail }),
            Ok(Judgement::Refused(failure)) => return Ok(Answer::Refused { failure }),
            Err(failure) => return refused(failure),
        };
        let prepared = match gate.prepare(&write, &audit_id(&plan.id, n, now)) {
            Ok(prepared) => prepared,
            Err(failure) => return Ok(Answer::Refused { failure }),
        };
        match gate.send(prepared).await {
            Ok(_) => return Ok(Answer::Accepted),
            // Gone between our look and our question: as the run has it, that is what was wanted.
            Err(SendError::NotDone(failure)) if failure.kind == FailureKind::NotFound && is_delete(&write) => {
                return Ok(Answer::Gone);
            }
            Err(SendError::NotDone(failure)) if failure.kind == FailureKind::Conflict && !last => {}
            Err(SendError::NotDone(failure) | SendError::NoAnswer(failure)) => return refused(failure),
        }
    }
    // The second try returns in each case above; this is what a third would say.
    Ok(Answer::Moved { detail: format!("{} keeps changing", write.object()) })
}

fn is_delete(write: &Write) -> bool {
    match write {
        Write::DeleteConfigMap { .. } | Write::DeletePod { .. } => true,
        Write::PutConfigMap { .. } | Write::CreateConfigMap { .. } | Write::PatchImage { .. } => false,
    }
}

async fn look(repair: RepairId, gate: &Gate, write: &Write) -> Result<Judgement, Failure> {
    Ok(judge(repair, write, &execute::read(gate, write).await?))
}

/// A refusal of one step, unless it says that nothing can be asked at all.
fn refused(failure: Failure) -> Result<Answer, Failure> {
    if failure.kind.is_of_connection() { Err(failure) } else { Ok(Answer::Refused { failure }) }
}
