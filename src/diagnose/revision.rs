//! `revision-would-not-load`: git's head (or the revision asked for) would be refused by the deployed Prow. `revision-makes-none`:
//! there is nothing of it that could be.

use crate::model::{Candidate, Kind, KnownFrom, ObjectRef, Objection, Unrendered};

use super::choose::refusal;
use super::compare::digests;
use super::load::of_candidate;
use super::load_failure::{CrashContent, Refusing, suspect};
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
    let verdict = of_candidate(candidate, context.snapshot, &context.failures, &context.refused);
    // Ready containers started on it, or its own checkconfig accepts it: whatever our rules and an older memory say.
    if verdict.loads_as_fact() {
        return None;
    }
    if let Err(Unrendered::MakesNone(why)) = &candidate.config_maps {
        let (revision, why) = (candidate.revision.clone(), why.clone());
        return Some(finding(context, FindingKind::RevisionMakesNone { revision, is_head, why }, candidate));
    }
    let mut objections = candidate.objections.clone();
    let mut evidence: Vec<String> = Vec::new();
    if let (KnownFrom::Checkconfig { .. } | KnownFrom::Job { .. }, Some(objection)) = (&verdict.from, verdict.refused())
    {
        evidence.push(format!("{}: {}{}", verdict.from, objection.message, objection.place()));
        // Prow's own words come first.
        objections.insert(0, objection.clone());
    }
    let refused = refusal(candidate, context.snapshot, &context.refused);
    if let Some((content, basis)) = refused {
        let what = match basis {
            Basis::Fact => "its ConfigMap",
            Basis::Guess => "it still holds the keys that were refused in ConfigMap",
        };
        evidence.push(format!(
            "{what} {}: the content that {} refused at {}: {}",
            content.config_map,
            content.images.join(", "),
            content.at,
            content.error
        ));
        if objections.is_empty() {
            objections.push(Objection {
                message: content.error.clone(),
                config_map: Some(content.config_map.clone()),
                config_key: content.culprits.first().cloned(),
                repeats: None,
            });
        }
    }
    if let Err(why) = &candidate.config_maps
        && objections.is_empty()
    {
        objections.push(Objection::of(why.to_string()));
    }
    evidence.extend(
        candidate
            .objections
            .iter()
            .map(|objection| format!("{}: {}{}", KnownFrom::Rules, objection.message, objection.place())),
    );
    if objections.is_empty() {
        return None;
    }
    // Bad while it is what crashes a component; otherwise a trap for later.
    let crashes_now = refused.is_some_and(|(content, _)| {
        context.failures.iter().any(|failure| {
            failure.how == Refusing::Crashed
                && failure.content == CrashContent::Live
                && suspect(context.snapshot, failure)
                    .is_some_and(|map| map.key == content.config_map && digests(&map.values) == content.keys)
        })
    });
    let kind = FindingKind::RevisionWouldNotLoad { revision: candidate.revision.clone(), is_head, objections };
    Some(Finding {
        severity: if crashes_now { Severity::Bad } else { Severity::Warn },
        basis: if verdict.from.is_fact() { Basis::Fact } else { Basis::Guess },
        evidence,
        ..finding(context, kind, candidate)
    })
}

fn finding(context: &Context<'_>, kind: FindingKind, candidate: &Candidate) -> Finding {
    let object = ObjectRef::new(&context.snapshot.service.alias, "", Kind::Revision, &candidate.revision.id);
    Finding {
        id: id(&kind, &subject(&object)),
        severity: Severity::Warn,
        basis: Basis::Fact,
        kind,
        subjects: vec![object],
        since: Some(candidate.revision.committed),
        evidence: Vec::new(),
        repairs: Vec::new(),
    }
}
