//! `config blame`: the first commit whose configuration does not load, found by bisection over the commits that change it,
//! through the fastest check at hand.

use crate::diagnose::bisect::{self, Next, OldEnd};
use crate::diagnose::revision_verdict;
use crate::git::Repository;
use crate::model::{Candidate, Failure, FailureKind, LoadAnswer, LoadVerdict, Revision, Snapshot};
use crate::observe::desired::DesiredOptions;
use crate::observe::desired::line::Line;
use crate::present::{self, Blame, Blamed};

use super::args::Global;
use super::checking::{Checking, FURTHER, Scope, tags_of};
use super::{Exit, check, output, session};

/// A revision that was looked at.
struct Judged {
    candidate: Candidate,
    verdict: LoadVerdict,
}

/// Exit code 1 where there is such a commit, 0 where the newest one loads.
pub async fn blame(global: &Global, good: Option<&str>, no_cluster: bool) -> Exit {
    let repository = session::repository(global).await?.ok_or_else(|| {
        Failure::new(FailureKind::Usage, "no configuration repository given")
            .hint("--repo PATH, the checkout (or bare repository) that Prow's configuration lies in")
    })?;
    let (mut snapshot, checking) = if no_cluster {
        let (mut snapshot, checking) = (check::of_repository(global).await?, session::checking(global));
        // What is remembered; whether the checkconfig is fit to be asked is told below.
        checking.complete(None, &mut snapshot, Scope::Nothing).await;
        (snapshot, checking)
    } else {
        let seen = session::look_and_ask(global, Scope::Nothing).await?;
        (seen.snapshot.as_ref().clone(), seen.checking)
    };
    let options = DesiredOptions { worktree: false, ..checking.options_for(&snapshot) };
    let newest = match &global.revision {
        Some(revision) => repository.resolve(revision).await?,
        None => repository.upstream().await?.1,
    };
    let mut line = Line::read(&repository, &options, &newest, FURTHER).await?;
    let old_end = match good {
        None => OldEnd::Open,
        Some(good) => {
            let good = repository.resolve(good).await?;
            end_at(&mut line, &repository, &options, &good, &newest).await?;
            OldEnd::SaidToLoad
        }
    };
    let found = search(&mut line, &mut snapshot, &checking, old_end).await?;
    let Search { judged, answers, checks, end } = &found;
    let program = checking.checker(&tags_of(&snapshot)).await?.map(|checker| checker.program().clone());
    let at = |n: usize| -> Result<Blamed<'_>, Failure> {
        let known = judged[n].as_ref().ok_or_else(|| Failure::new(FailureKind::Tool, "a revision was not judged"))?;
        let changed = line.changed(n).into_iter().map(str::to_owned).collect();
        Ok(Blamed { candidate: &known.candidate, verdict: known.verdict.clone(), changed })
    };
    let (bad, good) = match *end {
        Next::Found { bad, good } => (at(bad)?, Some(at(good)?)),
        Next::NothingBad => return loads(global, &at(0)?),
        Next::NothingGood | Next::Ask(_) => {
            let last = answers.len().saturating_sub(1);
            if old_end == OldEnd::SaidToLoad && last > 0 {
                return Err(does_not_load(&at(last)?));
            }
            (at(last)?, None)
        }
    };
    let mut notes = Vec::new();
    if !bisect::is_monotone(answers) {
        notes.push(
            "history is not monotone: a revision older than the good one does not load either; this is the newest such change"
                .to_owned(),
        );
    }
    let unasked = answers.iter().filter(|answer| answer.is_none()).count();
    if unasked > 0 && good.is_some() {
        notes.push(format!(
            "{unasked} commit(s) were not looked at: where one of them loads and a later one does not, that is not seen"
        ));
    }
    if good.is_none() && answers.len() >= FURTHER {
        notes.push(format!("only the newest {FURTHER} commits that change the configuration were looked at"));
    }
    if program.is_none() {
        notes.push(
            "no checkconfig was asked: these are this tool's rules; --checkconfig PATH knows for sure".to_owned(),
        );
    }
    let commits = match *end {
        // From the newest one down to the good one, which is not in question.
        Next::Found { .. } if old_end == OldEnd::SaidToLoad => answers.len().saturating_sub(1),
        Next::Found { .. } | Next::Ask(_) | Next::NothingBad | Next::NothingGood => answers.len(),
    };
    let blame = Blame { bad, good, commits, checks: *checks, program, notes };
    output::document(global.output, || present::blame_document(&blame), || present::blame_text(&blame))?;
    Ok(1)
}

struct Search {
    judged: Vec<Option<Judged>>,
    answers: Vec<Option<bool>>,
    /// How often a checkconfig was asked.
    checks: usize,
    end: Next,
}

async fn search(
    line: &mut Line<'_>,
    snapshot: &mut Snapshot,
    checking: &Checking,
    old_end: OldEnd,
) -> Result<Search, Failure> {
    let checker = checking.checker(&tags_of(snapshot)).await?;
    let count = line.revisions().len();
    let mut judged: Vec<Option<Judged>> = (0..count).map(|_| None).collect();
    let mut answers: Vec<Option<bool>> = vec![None; count];
    know_what_is_known(line, snapshot, &mut judged, &mut answers);
    let mut checks = 0;
    loop {
        let n = match bisect::next(&answers, old_end) {
            Next::Ask(n) => n,
            end @ (Next::Found { .. } | Next::NothingBad | Next::NothingGood) => {
                return Ok(Search { judged, answers, checks, end });
            }
        };
        let Some(candidate) = line.candidate(n).await? else {
            return Err(Failure::new(FailureKind::Tool, "the history changed while it was read").hint("try again"));
        };
        let mut verdict = revision_verdict(snapshot, &candidate);
        let can_be_asked = candidate.content.is_some() && !verdict.from.is_fact();
        if let (Some(checker), true) = (&checker, can_be_asked) {
            let answer = checking.check(checker, snapshot, &candidate).await?;
            checks += 1;
            checking.keep(&answer);
            snapshot.checked.insert(0, answer);
            verdict = revision_verdict(snapshot, &candidate);
        }
        answers[n] = Some(match &verdict.answer {
            LoadAnswer::Refused(_) => false,
            LoadAnswer::Loads | LoadAnswer::Unknown => true,
        });
        judged[n] = Some(Judged { candidate, verdict });
    }
}

/// What the picture knows as a FACT of revisions on the line.
fn know_what_is_known(
    line: &Line<'_>,
    snapshot: &Snapshot,
    judged: &mut [Option<Judged>],
    answers: &mut [Option<bool>],
) {
    let Some(desired) = snapshot.desired.seen() else { return };
    for (n, revision) in line.revisions().enumerate() {
        let Some(candidate) = desired.candidates.iter().find(|candidate| candidate.revision.id == revision.id) else {
            continue;
        };
        let verdict = revision_verdict(snapshot, candidate);
        if verdict.from.is_fact() {
            answers[n] = Some(verdict.refused().is_none());
            judged[n] = Some(Judged { candidate: candidate.clone(), verdict });
        }
    }
}

/// Ends the line at the commit that made what a revision holds.
async fn end_at(
    line: &mut Line<'_>,
    repository: &Repository,
    options: &DesiredOptions,
    good: &Revision,
    newest: &Revision,
) -> Result<(), Failure> {
    // A revision that changed nothing of the configuration holds what the newest one before it made.
    let before = Line::read(repository, options, good, 2).await?;
    let place = before.revisions().find_map(|made| line.revisions().position(|revision| revision.id == made.id));
    match place {
        Some(0) => Err(Failure::new(
            FailureKind::Usage,
            format!("nothing of the configuration changed between {} and {}", good.short(), newest.short()),
        )
        .hint("name an older revision with --good, or a newer one with --revision")),
        Some(place) => {
            line.truncate_after(place);
            Ok(())
        }
        None => Err(Failure::new(
            FailureKind::Usage,
            format!(
                "{} is not among the {} newest commits that led to {}",
                good.short(),
                line.revisions().len(),
                newest.short()
            ),
        )
        .hint("--good takes an older revision of the same branch (first parents only)")),
    }
}

/// The newest one is not bad: there is nobody to blame.
fn loads(global: &Global, newest: &Blamed<'_>) -> Exit {
    let revision = &newest.candidate.revision;
    if newest.verdict.answer == LoadAnswer::Unknown {
        return Err(Failure::new(
            FailureKind::Tool,
            format!("nothing is known to speak against revision {} \"{}\"", revision.short(), revision.subject),
        )
        .hint("--checkconfig PATH, the program of the deployed tag, knows whether it loads; --revision REV names a bad one"));
    }
    let text = || {
        format!(
            "revision {} \"{}\" loads ({}): there is nothing to blame; --revision REV names a bad one",
            revision.short(),
            revision.subject,
            newest.verdict.from
        )
    };
    output::document(global.output, || present::no_blame_document(newest), text)?;
    Ok(0)
}

fn does_not_load(good: &Blamed<'_>) -> Failure {
    let revision = &good.candidate.revision;
    let why = good.verdict.refused().map_or(String::new(), |objection| objection.message.clone());
    Failure::new(FailureKind::Usage, format!("{} is said to load, and does not: {why}", revision.short()))
        .cause(good.verdict.from.to_string())
        .hint("name an older revision with --good, or leave it out: then it is searched")
}
