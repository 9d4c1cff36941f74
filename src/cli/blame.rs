//! `config blame`: the first commit whose configuration does not load, found by bisection over the commits that change it,
//! through the fastest check at hand.
//!
//! A commit that nobody can judge is neither good nor bad: it is left out, as by `git bisect skip`. Where the boundary lies
//! among such ones, all that may be the first are named. Only the rule that objects to a newer one can say of it that it does
//! not object to this one, and what a component refused can be missing from it: that is a GUESS.

use crate::diagnose::bisect::{self, Next, OldEnd};
use crate::diagnose::revision_verdict;
use crate::git::Repository;
use crate::model::{
    Candidate, Checkconfig, Failure, FailureKind, KnownFrom, LoadAnswer, LoadVerdict, Objection, Revision, Snapshot,
};
use crate::observe::desired::DesiredOptions;
use crate::observe::desired::line::Line;
use crate::present::{self, Blame, Blamed};

use super::args::Global;
use super::checking::{Checking, FURTHER, Scope, can_tell_more, tags_of};
use super::{Exit, check, output, session};

/// After so many commits that nobody can judge the search ends: without a checkconfig there is nothing to learn from more.
const MOST_SKIPPED: usize = 60;
/// How often a checkconfig may give no answer, each of which may take half a minute.
const MOST_FAILURES: usize = 3;

/// A revision that was looked at.
struct Judged {
    candidate: Candidate,
    verdict: LoadVerdict,
}

/// The commits that bisection goes by, and what is known of them: all but those that nobody could judge.
struct Compact {
    places: Vec<usize>,
    answers: Vec<Option<bool>>,
    skipped: Vec<usize>,
}

impl Compact {
    fn of(judged: &[Option<Judged>], old_end: OldEnd) -> Compact {
        let mut compact = Compact { places: Vec::new(), answers: Vec::new(), skipped: Vec::new() };
        // Whether what speaks against the next newer one that does not load would be seen here, too.
        let mut is_known = false;
        for (n, known) in judged.iter().enumerate() {
            let is_said_to_load = old_end == OldEnd::SaidToLoad && n > 0 && n + 1 == judged.len();
            let answer = match known.as_ref().map(|known| &known.verdict) {
                None => None,
                Some(LoadVerdict { answer: LoadAnswer::Loads, .. }) => Some(true),
                Some(LoadVerdict { answer: LoadAnswer::Refused(_), from }) => {
                    is_known = match from {
                        KnownFrom::Rules
                        | KnownFrom::Resembles { .. }
                        | KnownFrom::Log { .. }
                        | KnownFrom::Memory { .. } => true,
                        KnownFrom::Checkconfig { .. } | KnownFrom::Job { .. } | KnownFrom::Running => false,
                    };
                    Some(false)
                }
                Some(LoadVerdict { answer: LoadAnswer::Unknown, .. }) if is_known || is_said_to_load => Some(true),
                Some(LoadVerdict { answer: LoadAnswer::Unknown, .. }) => {
                    compact.skipped.push(n);
                    continue;
                }
            };
            compact.places.push(n);
            compact.answers.push(answer);
        }
        compact
    }
}

/// Exit code 1 where there is such a commit, 0 where nothing speaks against the newest one.
pub async fn blame(global: &Global, good: Option<&str>, no_cluster: bool) -> Exit {
    let repository = session::repository(global).await?.ok_or_else(|| {
        Failure::new(FailureKind::Usage, "no configuration repository given")
            .hint("--repo PATH, the checkout (or bare repository) that Prow's configuration lies in")
    })?;
    let (mut snapshot, checking, unchecked) = if no_cluster {
        let (mut snapshot, checking) = (check::of_repository(global).await?, session::checking(global));
        let remembered = checking.complete(None, &mut snapshot, Scope::Nothing).await;
        remembered.forgotten.iter().for_each(session::note);
        (snapshot, checking, remembered.unchecked)
    } else {
        let seen = check::look(global, Scope::Nothing).await?;
        if seen.snapshot.service.components.seen().is_none() {
            session::note(&session::not_seen(&seen.snapshot.service.components, "Prow's components"));
        }
        (seen.snapshot.as_ref().clone(), seen.checking, seen.unchecked)
    };
    check::said(&checking, unchecked.as_ref())?;
    session::say_other_head(global, &repository).await;
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
    let Search { judged, compact, checks, end, program, mut notes } = found;
    let at = |n: usize| -> Result<Blamed<'_>, Failure> {
        let known = judged[n].as_ref().ok_or_else(|| Failure::new(FailureKind::Tool, "a revision was not judged"))?;
        let changed = line.changed(n).into_iter().map(str::to_owned).collect();
        Ok(Blamed { candidate: &known.candidate, verdict: known.verdict.clone(), changed })
    };
    let count = judged.len();
    if end == End::NothingGood
        && count == 1
        && let Some(failure) = only_one(&repository, &at(0)?).await
    {
        return Err(failure);
    }
    let (bad, good) = match end {
        End::Found { bad, good } => (bad, Some(good)),
        End::NothingBad => return nothing_to_blame(global, &at(0)?, &notes),
        End::NothingGood if old_end == OldEnd::SaidToLoad && count > 1 => return Err(does_not_load(&at(count - 1)?)),
        End::NothingGood | End::GivenUp => {
            let oldest = compact.answers.iter().rposition(|answer| *answer == Some(false)).unwrap_or_default();
            (compact.places[oldest], None)
        }
    };
    let in_doubt = compact.skipped.iter().filter(|n| **n > bad && good.is_none_or(|good| **n < good));
    let in_doubt: Vec<Revision> =
        in_doubt.filter_map(|n| line.revisions().nth(*n).cloned()).take_while(|_| good.is_some()).collect();
    if !compact.skipped.is_empty() {
        notes.push(format!(
            "{} commit(s) were skipped: nobody could judge them, and nothing is known to speak against them",
            compact.skipped.len()
        ));
    }
    if end == End::GivenUp {
        notes.push("the search was given up there: nobody can judge what is older".to_owned());
    }
    if !bisect::is_monotone(&compact.answers) {
        notes.push(
            "history is not monotone: a revision older than the good one does not load either; this is the newest such change"
                .to_owned(),
        );
    }
    let unasked = judged.iter().filter(|known| known.is_none()).count();
    if unasked > 0 && good.is_some() {
        notes.push(format!(
            "{unasked} commit(s) were not looked at: where one of them loads and a later one does not, that is not seen"
        ));
    }
    if good.is_none() && end == End::NothingGood {
        if count >= FURTHER {
            notes.push(format!("only the newest {FURTHER} commits that change the configuration were looked at"));
        } else if repository.is_shallow().await {
            notes.push(
                "history ends here, for this is a shallow clone: the first bad commit may be older; git fetch --unshallow"
                    .to_owned(),
            );
        }
    }
    let good = good.map(at).transpose()?;
    if let Some(good) = good.as_ref().filter(|good| good.verdict.answer == LoadAnswer::Unknown) {
        let short = good.candidate.revision.short();
        notes.push(match old_end {
            OldEnd::SaidToLoad if good.candidate.revision.id == at(count - 1)?.candidate.revision.id => {
                format!("nobody has tried {short}: that it loads is the word of whoever named it")
            }
            OldEnd::SaidToLoad | OldEnd::Open => {
                format!("nobody has tried {short}: what speaks against the bad one does not speak against it, no more")
            }
        });
    }
    let (bad, newest) = (at(bad)?, at(0)?);
    notes.extend(another_fault(bad.candidate, newest.candidate));
    let is_rule = |blamed: &Blamed<'_>| blamed.verdict.from == KnownFrom::Rules;
    if program.is_none() && (is_rule(&bad) || good.as_ref().is_some_and(is_rule)) {
        notes.push(
            "no checkconfig was asked: these are this tool's rules; --checkconfig PATH knows for sure".to_owned(),
        );
    } else if program.is_none() && !in_doubt.is_empty() {
        notes.push("no checkconfig was asked: --checkconfig PATH knows of those in doubt, too".to_owned());
    }
    // From the newest one down to the good one, which is not in question where it was named.
    let commits = if good.is_some() && old_end == OldEnd::SaidToLoad { count.saturating_sub(1) } else { count };
    let blame = Blame { bad, good, in_doubt, commits, checks, program, notes };
    output::document(global.output, || present::blame_document(&blame), || present::blame_text(&blame))?;
    Ok(1)
}

/// How a search ended, by places on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Between them are only those that were skipped.
    Found {
        bad: usize,
        good: usize,
    },
    NothingBad,
    NothingGood,
    /// Too many that nobody can judge.
    GivenUp,
}

struct Search {
    judged: Vec<Option<Judged>>,
    compact: Compact,
    /// How often a checkconfig was asked.
    checks: usize,
    end: End,
    /// Who was asked.
    program: Option<Checkconfig>,
    notes: Vec<String>,
}

async fn search(
    line: &mut Line<'_>,
    snapshot: &mut Snapshot,
    checking: &Checking,
    old_end: OldEnd,
) -> Result<Search, Failure> {
    // What is wrong with it was said.
    let mut checker = checking.checker(&tags_of(snapshot)).await.ok().flatten();
    let program = checker.as_ref().map(|checker| checker.program().clone());
    let mut judged: Vec<Option<Judged>> = (0..line.revisions().len()).map(|_| None).collect();
    know_what_is_known(line, snapshot, &mut judged);
    let (mut checks, mut failures, mut notes) = (0, 0, Vec::new());
    let (compact, end) = loop {
        let compact = Compact::of(&judged, old_end);
        let n = match bisect::next(&compact.answers, old_end) {
            // Nothing speaks against the newest one, so there is nothing to look for.
            _ if compact.skipped.first() == Some(&0) => break (compact, End::NothingBad),
            Next::Ask(_) if compact.skipped.len() >= MOST_SKIPPED => break (compact, End::GivenUp),
            Next::Ask(n) => compact.places[n],
            Next::Found { bad, good } => {
                let (bad, good) = (compact.places[bad], compact.places[good]);
                break (compact, End::Found { bad, good });
            }
            Next::NothingBad => break (compact, End::NothingBad),
            Next::NothingGood => break (compact, End::NothingGood),
        };
        let Some(candidate) = line.candidate(n).await? else {
            return Err(Failure::new(FailureKind::Tool, "the history changed while it was read").hint("try again"));
        };
        let mut verdict = revision_verdict(snapshot, &candidate);
        if let Some(asked) = &checker
            && can_tell_more(asked, snapshot, &candidate, &verdict)
        {
            checks += 1;
            match checking.check(asked, snapshot, &candidate).await {
                Ok(answer) => {
                    checking.keep(&answer);
                    snapshot.checked.insert(0, answer);
                    verdict = revision_verdict(snapshot, &candidate);
                }
                Err(failure) => {
                    failures += 1;
                    let is_last = n == 0 || failures >= MOST_FAILURES;
                    if is_last && checking.is_named() {
                        return Err(failure);
                    }
                    let why: Vec<String> = std::iter::once(failure.summary).chain(failure.causes).collect();
                    notes.push(format!("{}: {}", candidate.revision.short(), why.join(": ")));
                    if is_last {
                        notes.push("it was not asked any more".to_owned());
                        checker = None;
                    }
                }
            }
        }
        judged[n] = Some(Judged { candidate, verdict });
    };
    Ok(Search { judged, compact, checks, end, program, notes })
}

/// What the picture knows as a FACT of revisions on the line.
fn know_what_is_known(line: &Line<'_>, snapshot: &Snapshot, judged: &mut [Option<Judged>]) {
    let Some(desired) = snapshot.desired.seen() else { return };
    for (n, revision) in line.revisions().enumerate() {
        let Some(candidate) = desired.candidates.iter().find(|candidate| candidate.revision.id == revision.id) else {
            continue;
        };
        let verdict = revision_verdict(snapshot, candidate);
        if verdict.from.is_fact() {
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

/// That it may not be enough to repair what the blamed one broke: the rules that are asked about both object to something else
/// in the newest one. By its place, for the words tell of lines, which move.
fn another_fault(bad: &Candidate, newest: &Candidate) -> Option<String> {
    let place = |objection: &Objection| (objection.config_map.clone(), objection.config_key.clone());
    let known: Vec<_> = bad.objections.iter().map(place).collect();
    let other = newest.objections.iter().find(|objection| !known.contains(&place(objection)))?;
    let short = newest.revision.short();
    (!known.is_empty()).then(|| format!("GUESS: the newest one, {short}, has another fault: {}", other.message))
}

/// The newest one is not bad: it loads, or nobody knows of anything against it.
fn nothing_to_blame(global: &Global, newest: &Blamed<'_>, notes: &[String]) -> Exit {
    output::document(
        global.output,
        || present::no_blame_document(newest, notes),
        || present::no_blame_text(newest, notes),
    )?;
    Ok(0)
}

/// Why a revision cannot be blamed that is the only one to be seen; `None` where nothing is cut off before it. That the first
/// commit of all is to blame is an answer.
async fn only_one(repository: &Repository, only: &Blamed<'_>) -> Option<Failure> {
    let (why, hint) = if repository.is_folder() {
        ("a plain folder has no history", "give a clone of the configuration repository with --repo PATH")
    } else if repository.is_shallow().await {
        ("this is a shallow clone, and its history ends there", "git fetch --unshallow in the checkout, and ask again")
    } else {
        return None;
    };
    let revision = &only.candidate.revision;
    let what = format!(
        "there is only one revision to look at, {} \"{}\": who broke it cannot be said",
        revision.short(),
        revision.subject
    );
    let failure = Failure::new(FailureKind::Tool, what).cause(why).hint(hint);
    Some(match only.verdict.refused() {
        Some(objection) => {
            failure.cause(format!("what speaks against it: {}: {}", only.verdict.from, objection.message))
        }
        None => failure,
    })
}

fn does_not_load(good: &Blamed<'_>) -> Failure {
    let revision = &good.candidate.revision;
    let why = good.verdict.refused().map_or(String::new(), |objection| objection.message.clone());
    Failure::new(FailureKind::Usage, format!("{} is said to load, and does not: {why}", revision.short()))
        .cause(good.verdict.from.to_string())
        .hint("name an older revision with --good, or leave it out: then it is searched")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Objection, Timestamp};

    fn judged(answer: LoadAnswer, from: KnownFrom) -> Option<Judged> {
        let revision = Revision {
            id: "1".repeat(40),
            subject: String::new(),
            author: String::new(),
            committed: Timestamp::UNIX_EPOCH,
        };
        let candidate =
            Candidate { revision, config_maps: Ok(Default::default()), objections: Vec::new(), content: None };
        Some(Judged { candidate, verdict: LoadVerdict { answer, from } })
    }

    fn refused(from: KnownFrom) -> Option<Judged> {
        judged(LoadAnswer::Refused(Objection::of("no")), from)
    }

    fn unknown() -> Option<Judged> {
        judged(LoadAnswer::Unknown, KnownFrom::Rules)
    }

    #[test]
    fn what_nobody_knows_is_neither_good_nor_bad() {
        let compact = |line: &[Option<Judged>], old_end| {
            let compact = Compact::of(line, old_end);
            (compact.places, compact.answers, compact.skipped)
        };
        // Prow's own word against the newest says nothing of older ones.
        let line =
            [refused(KnownFrom::Running), unknown(), None, unknown(), judged(LoadAnswer::Loads, KnownFrom::Running)];
        assert_eq!(compact(&line, OldEnd::Open), (vec![0, 2, 4], vec![Some(false), None, Some(true)], vec![1, 3]));
        // The rule that speaks against it says of an older one that it does not.
        let line = [refused(KnownFrom::Running), unknown(), refused(KnownFrom::Rules), unknown()];
        assert_eq!(compact(&line, OldEnd::Open), (vec![0, 2, 3], vec![Some(false), Some(false), Some(true)], vec![1]));
        // Somebody vouches for the last one, for no other.
        let line = [refused(KnownFrom::Running), unknown(), unknown()];
        assert_eq!(compact(&line, OldEnd::SaidToLoad), (vec![0, 2], vec![Some(false), Some(true)], vec![1]));
        assert_eq!(compact(&line[1..2], OldEnd::SaidToLoad), (vec![], vec![], vec![0]));
    }
}
