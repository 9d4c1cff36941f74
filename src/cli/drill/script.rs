//! A drill played from a file: each line a command of the program, in virtual time.

use std::path::Path;
use std::time::Duration;

use clap::Parser as _;

use crate::clock::Pace;
use crate::drill::{Play, State};
use crate::journal::Mode;
use crate::model::text::sanitize_line;
use crate::model::{Failure, FailureKind};
use crate::present;
use crate::repair::{self, Approval, RepairId, Request, approve};
use crate::run::{self, StopToken};

use super::super::args::{Command, Global, Line, LineCommand, Until, Watch};
use super::super::{apply, dispatch, output, session};
use crate::cli::Exit;

/// What a script consists of.
const LINES: &str =
    "each line is a command of this program, such as status, or wait, pause, abort or repair; # begins a comment";
/// How long a proposed wait may take before the script looks again.
const WAIT: Duration = Duration::from_secs(10);
/// A repair that proposes more steps than this goes in circles.
const MOST_STEPS: usize = 20;
/// All of a `repair`'s waiting.
const MOST_WAITING: Duration = Duration::from_secs(3 * 60 * 60);

/// Plays the file; gives the scorecard's exit code. A line that fails is told and does not end the script: what it met is what
/// a drill is about.
pub async fn run(global: &Global, play: &Play, file: &Path) -> Exit {
    output::take_data_for_words();
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::new(FailureKind::Usage, format!("cannot read {}", file.display())).cause(error.to_string()).hint(LINES)
    })?;
    // All of it first: a typing mistake in the last line should not cost the drill.
    let lines = parse(global, &text)?;
    let pace = play.clock().pace();
    for (text, line) in lines {
        output::words(&format!("$ {text}"));
        match one(play, line, pace).await {
            Ok(0) => {}
            Ok(code) => output::words(&format!("exit code {code}")),
            Err(failure) => {
                output::words(&present::failure(&failure).join("\n"));
                output::words(&format!("exit code {}", failure.kind.exit_code()));
            }
        }
    }
    Ok(play.score().exit_code())
}

fn parse(global: &Global, text: &str) -> Result<Vec<(String, Line)>, Failure> {
    let mut lines = Vec::new();
    for (n, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let wrong = |why: String| {
            Failure::new(FailureKind::Usage, format!("line {n} of the script: {text}")).cause(why).hint(LINES)
        };
        let words = words(text).ok_or_else(|| wrong("a quotation mark is open".to_owned()))?;
        let mut line =
            Line::try_parse_from(std::iter::once("prow-breakglass".to_owned()).chain(words)).map_err(|error| {
                let error = error.to_string();
                // What is missing has a line of its own.
                let first =
                    error.lines().take_while(|line| !line.is_empty()).map(str::trim).collect::<Vec<_>>().join(" ");
                wrong(first.trim_start_matches("error: ").to_owned())
            })?;
        line.global.stage = global.stage.clone();
        lines.push((text.to_owned(), line));
    }
    Ok(lines)
}

/// As a shell splits a line, as far as quotation marks go.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (Some(_) | None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

async fn one(play: &Play, line: Line, pace: Pace) -> Exit {
    let Line { mut global, command } = line;
    match command {
        // Nobody is there to be asked.
        LineCommand::Command(Command::Apply(apply)) if apply.write.execute && apply.write.expects().is_none() => {
            Err(Failure::new(FailureKind::Usage, "--execute in a script needs --expect N or --expect-at-most N"))
        }
        LineCommand::Command(command) => {
            let ended = Box::pin(dispatch(&mut global, Some(&command))).await;
            if let Err(failure) = &ended {
                global.stage.refused(failure);
            }
            ended
        }
        LineCommand::Wait { until, at_most } => {
            play.set_pace(pace);
            wait(play, until, at_most).await
        }
        LineCommand::Pause => {
            play.set_pace(Pace::Stopped);
            Ok(0)
        }
        LineCommand::Abort { name } => {
            let aborted = play.abort(&name)?;
            output::words(&format!("Deck aborted {aborted} ProwJob(s) of {}", sanitize_line(&name)));
            Ok(0)
        }
        LineCommand::Repair { steps } => {
            play.set_pace(pace);
            repair_all(&global, play, steps.unwrap_or(MOST_STEPS)).await
        }
    }
}

/// Lets the story's time pass.
async fn wait(play: &Play, until: Until, at_most: Duration) -> Exit {
    let mut states = play.state();
    let holds = match until {
        Until::Passed(time) => {
            pass(play, time).await;
            return Ok(0);
        }
        Until::Mitigated => |state: &State| *state != State::Broken,
        Until::Healthy => |state: &State| matches!(state, State::Healthy | State::NothingWrong),
    };
    let came = tokio::select! {
        came = states.wait_for(holds) => came.is_ok(),
        () = pass(play, at_most) => false,
    };
    if came {
        return Ok(0);
    }
    output::words(&format!("still open: {}", play.score().open.join("; ")));
    Ok(1)
}

async fn pass(play: &Play, time: Duration) {
    let clock = play.clock();
    let time = jiff::SignedDuration::try_from(time).unwrap_or(jiff::SignedDuration::ZERO);
    if let Some(machine) = clock.until(clock.now() + time) {
        tokio::time::sleep(machine).await;
    }
}

/// Takes the program's own proposals, in its own order, until the drill is over or there is nothing to propose. Repairs only:
/// what somebody should abort in Deck is a line of its own.
async fn repair_all(global: &Global, play: &Play, mut steps: usize) -> Exit {
    let state = play.state();
    let mut refused: Option<RepairId> = None;
    let mut waited = Duration::ZERO;
    loop {
        if matches!(*state.borrow(), State::Healthy | State::NothingWrong) {
            return Ok(0);
        }
        let seen = session::look(global).await?;
        if let Some(repair) = seen.diagnosis.verdict.next.repair() {
            if steps == 0 {
                return Ok(0);
            }
            match take_step(global, &seen, repair).await {
                Ok(code) => {
                    steps -= 1;
                    refused = None;
                    output::words(&format!("took the proposed step, {repair}: exit code {code}"));
                }
                // It may be taken later; what is refused again is no news.
                Err(failure) if refused == Some(repair) && failure.kind == FailureKind::Refused => {}
                Err(failure) => {
                    global.stage.refused(&failure);
                    output::words(&format!("the proposed step, {repair}, is refused"));
                    output::words(&present::failure(&failure).join("\n"));
                    refused = Some(repair);
                }
            }
        }
        if waited >= MOST_WAITING {
            output::words(&format!("still open: {}", play.score().open.join("; ")));
            return Ok(1);
        }
        waited += WAIT;
        pass(play, WAIT).await;
    }
}

/// Makes the plan, previews it, approves it by its own words, and runs it to its proof.
async fn take_step(global: &Global, seen: &session::Seen, repair: RepairId) -> Exit {
    let plan = repair::plan(&Request::new(repair), &seen.snapshot, &seen.diagnosis)?;
    let preview = run::preview(&plan, &seen.clusters, session::clock(global).now()).await?;
    output::words(&present::plan_text(&plan, Some(&preview)));
    let approved = approve(&plan, &preview, Some(&seen.diagnosis), &Approval::Typed(plan.confirmation.word()))?;
    let journal = session::journal_for_writing(global)?;
    let stop = StopToken::new();
    let summary = apply::execute(global, approved, &seen.clusters, &journal, Mode::Flags, stop.clone()).await;
    Ok(apply::conclude(global, &plan, &summary, &seen.clusters, &journal, stop, Watch::default()).await)
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn lines_are_split_as_by_a_shell() {
        let split = |line: &str| words(line).map(|words| words.join("|"));
        assert_eq!(split("plan rollback -f 'a b.json'  # why").as_deref(), Some("plan|rollback|-f|a b.json"));
        assert_eq!(
            split(r#"plan delete-strays --reason "it's urgent" --x ''"#).as_deref(),
            Some("plan|delete-strays|--reason|it's urgent|--x|")
        );
        assert_eq!(split("--reason 'open"), None);
    }
}
