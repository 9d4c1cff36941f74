//! `interrupted-run`: a run of this program has intents without outcomes, never ended, or was stopped before its last step.

use crate::model::{Kind, Leaves, ObjectRef};

use super::{Basis, Context, Finding, FindingKind, Severity, id};

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    context
        .snapshot
        .own_interrupted()
        .map(|run| {
            let (unknown, progress) = (run.unknown.clone(), run.progress);
            let kind = FindingKind::InterruptedRun { run: run.run.clone(), unknown, progress };
            let mut evidence = vec![format!("{}, begun {}", run.title, run.at)];
            evidence.extend(run.unknown.iter().map(|step| format!("nobody recorded what came of it: {step}")));
            evidence.push(match (&run.damaged, run.leaves) {
                (None, Leaves::Images | Leaves::Objects) => {
                    format!(
                        "finish it: prow-breakglass run resume {run}; or take it back: prow-breakglass undo {run} -f FILE",
                        run = run.run
                    )
                }
                (None, Leaves::OwnMaking) => {
                    format!("to take away what may be left of it: prow-breakglass run resume {}", run.run)
                }
                (Some(why), _) => format!("its journal is damaged ({why}): compare with its backups by hand"),
            });
            Finding {
                id: id(&kind, &run.run),
                severity: Severity::Warn,
                basis: Basis::Fact,
                kind,
                subjects: vec![ObjectRef::new(
                    &context.snapshot.service.alias,
                    "",
                    Kind::Cluster,
                    &context.snapshot.service.context,
                )],
                since: Some(run.at),
                evidence,
                repairs: Vec::new(),
            }
        })
        .collect()
}
