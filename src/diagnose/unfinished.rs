//! `interrupted-run`: a run of this program has intents without outcomes, or never ended.

use crate::model::{Kind, ObjectRef};

use super::{Basis, Context, Finding, FindingKind, Severity, id};

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    context
        .snapshot
        .interrupted
        .iter()
        .filter(|run| run.running_pid.is_none())
        .map(|run| {
            let kind = FindingKind::InterruptedRun { run: run.run.clone(), unknown: run.unknown.clone() };
            let mut evidence = vec![format!("{}, begun {}", run.title, run.at)];
            evidence.extend(run.unknown.iter().map(|step| format!("nobody knows whether this landed: {step}")));
            evidence.push(format!("read back and finish: prow-breakglass run resume {}", run.run));
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
