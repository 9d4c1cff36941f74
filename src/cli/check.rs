//! `config check`: would the deployed Prow load it? Without a cluster, for a presubmit: would this checkconfig?

use crate::diagnose::{Finding, FindingKind, Severity, live_verdict, mapping_findings, revision_verdict};
use crate::model::{Failure, FailureKind, MapFact, MapNote, Snapshot, Source};
use crate::observe::desired::{self, DesiredOptions};
use crate::present::{self, CheckSubject, CheckedSubject};

use super::args::Global;
use super::checking::{Checking, Scope, tags_of};
use super::session::Seen;
use super::{Exit, output, session};

/// Exit code 1 where one of them is refused. What nobody knows is said as such, and is no refusal. A checkconfig that was named
/// and gives no answer is an error; for one that only lay in the cache, rules of our own answer, and that is said.
pub async fn check(global: &Global, no_cluster: bool) -> Exit {
    let (snapshot, checking, unchecked) = if no_cluster {
        let (mut snapshot, checking) = (of_repository(global).await?, session::checking(global));
        let asked = checking.complete(None, &mut snapshot, Scope::Named).await;
        asked.forgotten.iter().for_each(session::note);
        (snapshot, checking, asked.unchecked)
    } else {
        let seen = look(global, Scope::Named).await?;
        (seen.snapshot.as_ref().clone(), seen.checking, seen.unchecked)
    };
    said(&checking, unchecked.as_ref())?;
    // That it cannot be opened is said by the picture.
    if let Ok(Some(repository)) = session::repository(global).await {
        session::say_other_head(global, &repository).await;
    }
    let mut subjects = Vec::new();
    // A revision that was asked for is what the answer is about: that it mends a broken live content is no fault of it.
    let asked = snapshot.desired.seen().and_then(|desired| desired.asked.as_ref());
    if asked.is_none() && !no_cluster {
        let verdict = live_verdict(&snapshot).ok_or_else(|| or_without(global, not_live(&snapshot)))?;
        subjects.push(CheckedSubject { subject: CheckSubject::Live, verdict });
    }
    match (&snapshot.desired, snapshot.desired.seen()) {
        (_, Some(desired)) => {
            let candidate = asked.unwrap_or(&desired.head);
            let verdict = revision_verdict(&snapshot, candidate);
            subjects.push(CheckedSubject { subject: CheckSubject::Revision(candidate), verdict });
        }
        // Without a repository it is the live content alone.
        (Source::Lost { error, .. }, None) if error.kind == FailureKind::NotFound && global.revision.is_none() => {}
        (source, None) => return Err(session::not_seen(source, "the configuration repository")),
    }
    // Who gave no answer did not judge.
    let checker = checking.checker(&tags_of(&snapshot)).await.ok().flatten().filter(|_| unchecked.is_none());
    if checker.is_some()
        && let Some(why) = subjects.iter().find_map(not_asked)
    {
        said(&checking, Some(&why))?;
    }
    let program = checker.as_ref().map(|checker| checker.program());
    let deployed = tags_of(&snapshot);
    let notes = warnings(&snapshot);
    output::document(
        global.output,
        || present::check_document(&subjects, &deployed, program, &notes),
        || present::check_text(&subjects, &deployed, program, &notes),
    )?;
    Ok(u8::from(subjects.iter().any(|subject| subject.verdict.refused().is_some())))
}

/// What is to be known of a revision besides: that it is less than somebody meant to configure, or other than Prow would
/// write it.
fn warnings(snapshot: &Snapshot) -> Vec<String> {
    let Some(desired) = snapshot.desired.seen() else { return Vec::new() };
    // What Prow refuses is in the verdict.
    let is_news = |finding: &Finding| match &finding.kind {
        FindingKind::Mapping { note: MapNote { fact: MapFact::Refused { .. }, .. }, .. } => false,
        _ => finding.severity != Severity::Info,
    };
    let findings = mapping_findings(&desired.mapping);
    let news = findings.iter().filter(|finding| is_news(finding)).map(present::finding);
    news.chain(desired.not_understood.iter().cloned()).collect()
}

/// Why a checkconfig that is at hand could not be asked about this.
fn not_asked(subject: &CheckedSubject<'_>) -> Option<Failure> {
    let CheckSubject::Revision(candidate) = subject.subject else { return None };
    let short = candidate.revision.short();
    match (&candidate.config_maps, &candidate.content) {
        // What our rules say of it is an answer.
        (Err(_), _) | (Ok(_), Some(_)) => None,
        (Ok(_), None) => Some(
            Failure::new(FailureKind::Tool, format!("checkconfig was not asked about revision {short}"))
                .cause("no file becomes the ConfigMap key that Prow reads its config.yaml from")
                .hint("say which file it is with --config-path PATH, or look at it: config render"),
        ),
    }
}

/// As [`session::look_and_ask`], for who can also ask about the repository alone.
pub async fn look(global: &Global, scope: Scope) -> Result<Seen, Failure> {
    session::look_and_ask(global, scope).await.map_err(|failure| or_without(global, failure))
}

/// Tells of the way that needs no cluster.
fn or_without(global: &Global, failure: Failure) -> Failure {
    if global.repo.is_none() {
        return failure;
    }
    let without = "without a cluster: --no-cluster asks about the repository alone";
    let hint = failure.hint.as_deref().map_or_else(|| without.to_owned(), |hint| format!("{hint}; {without}"));
    failure.hint(hint)
}

/// What cannot be asked is said, or an error where it was named.
///
/// # Errors
/// It was named.
pub fn said(checking: &Checking, unchecked: Option<&Failure>) -> Result<(), Failure> {
    match unchecked {
        Some(failure) if checking.is_named() => Err(failure.clone()),
        Some(failure) => {
            session::note(failure);
            Ok(())
        }
        None => Ok(()),
    }
}

/// A picture of the repository alone: the revision asked for, else the upstream's head.
pub async fn of_repository(global: &Global) -> Result<Snapshot, Failure> {
    let repository = session::repository(global).await?.ok_or_else(|| {
        Failure::new(FailureKind::Usage, "no configuration repository given")
            .hint("--repo PATH, the checkout (or bare repository) that Prow's configuration lies in")
    })?;
    let options = DesiredOptions { history: 1, ..session::checking(global).options().clone() };
    let mut read = desired::read(&repository, &options).await?;
    // Nothing else is asked about.
    if let Some(asked) = &read.asked {
        read.head = asked.clone();
    }
    read.candidates.clear();
    let now = session::clock(global).now();
    Ok(Snapshot { desired: Source::Known { value: read, at: now }, ..Snapshot::of_no_cluster(now) })
}

fn not_live(snapshot: &Snapshot) -> Failure {
    let view = &snapshot.service;
    if view.components.seen().is_none() {
        return session::not_seen(&view.components, "Prow's components");
    }
    if view.config_maps.seen().is_none() {
        return session::not_seen(&view.config_maps, "the live ConfigMaps");
    }
    Failure::new(FailureKind::NotFound, "no live ConfigMap holds Prow's config.yaml")
        .hint("with git-sync or a volume there is nothing in the cluster to check; --revision REV checks git")
}
