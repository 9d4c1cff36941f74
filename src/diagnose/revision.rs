//! `revision-would-not-load`: git's head (or the revision asked for) would be refused by the deployed Prow.

use crate::model::{Candidate, Kind, ObjectRef, Objection};

use super::choose::refusal;
use super::compare::is_refused_content;
use super::load_failure::CrashContent;
use super::{Basis, Context, Finding, FindingKind, Severity, id, subject};

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let Some(desired) = context.snapshot.desired.seen() else { return Vec::new() };
    let mut findings: Vec<Finding> = judge(context, &desired.head, true).into_iter().collect();
    if let Some(asked) = &desired.asked
        && asked.revision.id != desired.head.revision.id
    {
        findings.extend(judge(context, asked, false));
    }
    findings
}

fn judge(context: &Context<'_>, candidate: &Candidate, is_head: bool) -> Option<Finding> {
    let mut objections = candidate.objections.clone();
    let mut evidence: Vec<String> = Vec::new();
    let mut basis = Basis::Guess;
    if let Some(content) = refusal(candidate, &context.refused) {
        basis = Basis::Fact;
        evidence.push(format!(
            "its ConfigMap {} is the content that {} refused at {}: {}",
            content.config_map,
            content.images.join(", "),
            content.at,
            content.error
        ));
        if objections.is_empty() {
            objections.push(Objection {
                message: content.error.clone(),
                config_map: Some(content.config_map.clone()),
                config_key: None,
                repeats: None,
            });
        }
    }
    if let Err(why) = &candidate.config_maps {
        objections.push(Objection { message: why.clone(), config_map: None, config_key: None, repeats: None });
    }
    evidence.extend(candidate.objections.iter().map(|objection| {
        let place = match (&objection.config_map, &objection.config_key) {
            (Some(map), Some(key)) => format!(" (ConfigMap {map}, key {key})"),
            (Some(map), None) => format!(" (ConfigMap {map})"),
            (None, _) => String::new(),
        };
        format!("Prow's rules, as this tool knows them: {}{place}", objection.message)
    }));
    if objections.is_empty() {
        return None;
    }
    // Bad while it is what crashes a component; otherwise a trap for later.
    let crashes_now = context.failures.iter().any(|failure| failure.content == CrashContent::Live)
        && candidate.config_maps.as_ref().is_ok_and(|maps| {
            context.refused.iter().any(|content| {
                !context.snapshot.refused.contains(content) && maps.iter().any(|map| is_refused_content(map, content))
            })
        });
    let object = ObjectRef::new(&context.snapshot.service.alias, "", Kind::Revision, &candidate.revision.id);
    let kind = FindingKind::RevisionWouldNotLoad { revision: candidate.revision.clone(), is_head, objections };
    Some(Finding {
        id: id(&kind, &subject(&object)),
        severity: if crashes_now { Severity::Bad } else { Severity::Warn },
        basis,
        kind,
        subjects: vec![object],
        since: Some(candidate.revision.committed),
        evidence,
        repairs: Vec::new(),
    })
}
