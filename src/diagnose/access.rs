//! `access-denied`, `source-lost`, `not-understood`: what could not be seen or judged. Unknown is not empty.

use crate::model::{Failure, FailureKind, Kind, ObjectRef, Source};

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
    // A silent server takes all its lists with it: one cause, one finding.
    let mut lost: Vec<(Failure, Vec<String>)> = Vec::new();
    for status in snapshot.sources() {
        match status.source {
            Source::Loading | Source::Known { .. } => {}
            Source::Denied { verb } => push(
                Severity::Warn,
                FindingKind::AccessDenied { source: status.name.clone(), verb: verb.clone() },
                &status.name,
                vec![
                    format!("the API server forbids: {verb}"),
                    "hint: ask for the role in assets/rbac/oncall.yaml, or use --as with a user that has it".to_owned(),
                ],
            ),
            Source::Lost { error, .. } => match lost.iter_mut().find(|(known, _)| *known == error) {
                Some((_, sources)) => sources.push(status.name),
                None => lost.push((error, vec![status.name])),
            },
        }
    }
    for (error, sources) in lost {
        // Not having been given a repository is a choice, not a fault.
        let severity =
            if sources == ["git"] && error.kind == FailureKind::NotFound { Severity::Info } else { Severity::Warn };
        let mut evidence: Vec<String> = error.causes.clone();
        evidence.extend(error.hint.iter().map(|hint| format!("hint: {hint}")));
        if sources.len() > 1 {
            evidence.push(format!("not seen: {}", sources.join(", ")));
        }
        let about = sources[0].clone();
        push(severity, FindingKind::SourceLost { sources, error: error.summary.clone() }, &about, evidence);
    }
    if let Some(desired) = snapshot.desired.seen() {
        for what in &desired.not_understood {
            push(Severity::Info, FindingKind::NotUnderstood { what: what.clone() }, what, vec![what.clone()]);
        }
    }
    findings
}
