//! `access-denied`, `source-lost`, `not-understood`: what could not be seen or judged. Unknown is not empty.

use crate::model::{FailureKind, Kind, ObjectRef, Source};

use super::{Basis, Context, Finding, FindingKind, Severity, id};

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let snapshot = context.snapshot;
    let cluster = ObjectRef::new(&snapshot.service.alias, "", Kind::Cluster, &snapshot.service.context);
    let mut findings = Vec::new();
    let mut push = |severity, kind: FindingKind, about: &str, evidence| {
        findings.push(Finding {
            id: id(&kind, about),
            severity,
            basis: Basis::Fact,
            kind,
            subjects: vec![cluster.clone()],
            since: None,
            evidence,
            repairs: Vec::new(),
        });
    };
    for status in snapshot.sources() {
        match &status.source {
            Source::Loading | Source::Known { .. } => {}
            Source::Denied { verb } => push(
                Severity::Warn,
                FindingKind::AccessDenied { source: status.name.clone(), verb: verb.clone() },
                &status.name,
                vec![format!("the API server forbids: {verb}")],
            ),
            Source::Lost { error, .. } => {
                // Not having been given a repository is a choice, not a fault.
                let severity = if status.name == "git" && error.kind == FailureKind::Usage {
                    Severity::Info
                } else {
                    Severity::Warn
                };
                let mut evidence = vec![error.summary.clone()];
                evidence.extend(error.causes.iter().cloned());
                evidence.extend(error.hint.iter().map(|hint| format!("hint: {hint}")));
                push(
                    severity,
                    FindingKind::SourceLost { source: status.name.clone(), error: error.summary.clone() },
                    &status.name,
                    evidence,
                );
            }
        }
    }
    if let Some(desired) = snapshot.desired.seen() {
        for what in &desired.not_understood {
            push(Severity::Info, FindingKind::NotUnderstood { what: what.clone() }, what, vec![what.clone()]);
        }
    }
    findings
}
