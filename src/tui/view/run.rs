//! 6 Run: each step as it goes, the first failure kept in sight, then what proves that it worked, and what comes next.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::app::{App, Phase, RunView, StepState, StepView, Verification};
use super::super::keymap;
use super::super::text;
use super::super::theme::Role;
use super::{cluster_line, is_wide, paint, rule, shares, styled, take, wrapped};
use crate::diagnose::VerifyState;
use crate::model::{Outcome, RunSummary, Timestamp};
use crate::present;

pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(run) = &app.run else {
        let lines =
            ["No run in this session.", "A run begins on 5 Plan, when the words of a previewed plan are typed there."];
        paint(area, buffer, lines.map(Line::from));
        return;
    };
    let mut area = area;
    let columns = usize::from(area.width);
    let lines = step_lines(app, run, columns);
    let Parts { head, rows, foot } = parts(app, run, area, lines.len());
    paint(take(&mut area, head.len()), buffer, head);
    let steps = take(&mut area, rows + 1);
    let most = lines.len().saturating_sub(rows);
    let hidden = most.saturating_sub(run.scroll);
    let title = if hidden > 0 { format!("STEPS  {hidden} more lines: Down, PgDn") } else { "STEPS".to_owned() };
    let title = rule(app.theme, &title, true, columns);
    paint(steps, buffer, std::iter::once(title).chain(lines.into_iter().skip(run.scroll.min(most))));
    paint(area, buffer, foot);
}

/// Rows that steps have at least, below their column titles: what comes afterwards must not push them away.
const STEP_ROWS: usize = 6;

/// What is above the steps, how many rows they have, and what is below them.
struct Parts {
    head: Vec<Line<'static>>,
    rows: usize,
    foot: Vec<Line<'static>>,
}

fn parts(app: &App, run: &RunView, area: Rect, step_lines: usize) -> Parts {
    let columns = usize::from(area.width);
    let mut head = head(app, run, columns);
    let height = usize::from(area.height).saturating_sub(1);
    let steps = step_lines.min(STEP_ROWS + 1);
    // Of a failure with many causes the first are told here, all of them in the journal.
    head.truncate(height.saturating_sub(steps + FOOT_ROWS).max(2));
    let foot = foot(app, run, columns, height.saturating_sub(head.len() + steps));
    Parts { rows: height.saturating_sub(head.len() + foot.len()), head, foot }
}

/// Lines of the list of steps and the rows it has.
pub fn extent(app: &App, body: Rect) -> (usize, u16) {
    let Some(run) = &app.run else { return (0, body.height) };
    let lines = step_lines(app, run, usize::from(body.width)).len();
    (lines, u16::try_from(parts(app, run, body, lines).rows).unwrap_or(u16::MAX))
}

/// What a run came to so far.
fn counts(run: &RunView) -> RunSummary {
    let mut counts = RunSummary::default();
    for step in &run.steps {
        match &step.state {
            StepState::Waiting | StepState::Going { .. } => counts.left += 1,
            StepState::Ended { outcome, .. } => match outcome {
                Outcome::Done => counts.done += 1,
                Outcome::Failed => counts.failed += 1,
                Outcome::Skipped => counts.skipped += 1,
                Outcome::Unknown => counts.unknown += 1,
            },
        }
    }
    counts
}

fn phase(run: &RunView) -> (String, Role) {
    let (word, role) = match &run.phase {
        Phase::Starting => ("STARTING", Role::Title),
        Phase::Going => ("RUNNING", Role::Title),
        Phase::Stopping => ("STOPPING after the object in flight", Role::Warn),
        Phase::Ended { summary, .. } => {
            if summary.run.is_empty() {
                ("DID NOT START", Role::Bad)
            } else if summary.unknown > 0 {
                ("OUTCOME UNKNOWN", Role::Bad)
            } else if summary.failed > 0 {
                ("FAILED", Role::Bad)
            } else if summary.left > 0 {
                ("STOPPED", Role::Warn)
            } else if summary.skipped > 0 {
                return (format!("DONE, {} skipped", summary.skipped), Role::Warn);
            } else {
                ("DONE", Role::Ok)
            }
        }
    };
    (word.to_owned(), role)
}

fn head(app: &App, run: &RunView, columns: usize) -> Vec<Line<'static>> {
    let (word, role) = phase(run);
    let contexts: Vec<&str> = run.plan.clusters.iter().map(|cluster| cluster.context.as_str()).collect();
    let contexts = contexts.join(", ");
    let took = run.started.map(|started| {
        let until = match &run.phase {
            Phase::Ended { at, .. } => *at,
            Phase::Starting | Phase::Going | Phase::Stopping => app.now,
        };
        format!("  {}  +{}", present::clock(started, app.now), present::age(started, until))
    });
    let id = if run.run.is_empty() { "RUN" } else { run.run.as_str() };
    // What is cut where it is too long is the end of what the plan says of itself.
    let title = format!("{id}{}  context {contexts}  {}", took.unwrap_or_default(), run.plan.title);
    let mut lines = vec![
        styled(app.theme, Role::Title, text::cut(&title, columns)),
        Line::from(vec![
            Span::styled(format!("{word}  "), app.theme.style(role)),
            Span::raw(bar(run, columns.saturating_sub(word.len() + 2))),
        ]),
    ];
    if let Some(why) = &run.stopped {
        lines.push(styled(app.theme, Role::Warn, text::cut(&format!("stopped: {why}"), columns)));
    }
    if let Phase::Ended { summary, .. } = &run.phase
        && let Some(failure) = &summary.first_failure
    {
        lines.push(rule(app.theme, "FIRST FAILURE", false, columns));
        lines.extend(said(app, &present::failure(failure), columns));
    }
    lines
}

fn said(app: &App, words: &[String], columns: usize) -> Vec<Line<'static>> {
    words.iter().flat_map(|line| text::wrap(line, columns, 2)).map(|line| styled(app.theme, Role::Bad, line)).collect()
}

fn bar(run: &RunView, columns: usize) -> String {
    let counts = counts(run);
    let all = run.steps.len();
    let ended = all - counts.left;
    let words = format!(
        "] {ended} of {all}  done {}  failed {}  skipped {}  unknown {}",
        counts.done, counts.failed, counts.skipped, counts.unknown
    );
    let room = columns.saturating_sub(words.len() + 1).min(50);
    let full = (ended * room).checked_div(all).unwrap_or(0);
    format!("[{}{}{words}", "#".repeat(full), ".".repeat(room - full))
}

fn step_lines(app: &App, run: &RunView, columns: usize) -> Vec<Line<'static>> {
    let object_room = if is_wide(app.size) { 49 } else { 28 };
    let result_room = columns.saturating_sub(5 + object_room + 1 + 6 + 7 + 1);
    let head = format!(
        "STEP {} {} {} {}",
        text::fit("OBJECT", object_room),
        text::fit("RESULT", result_room),
        text::right("TOOK", 5),
        text::right("AT", 6)
    );
    let mut lines = vec![styled(app.theme, Role::Dim, head)];
    let mut cluster = None;
    for step in &run.steps {
        lines.extend(cluster_line(app, &run.plan, cluster, &step.object.cluster));
        cluster = Some(&step.object.cluster);
        lines.extend(step_line(app, step, object_room, result_room));
    }
    lines
}

fn step_line(app: &App, step: &StepView, object_room: usize, result_room: usize) -> Vec<Line<'static>> {
    let (words, role, took, at) = match &step.state {
        StepState::Waiting => ("waiting".to_owned(), Role::Dim, String::new(), String::new()),
        StepState::Going { since } => {
            ("sent, waiting for the answer".to_owned(), Role::Title, present::age(*since, app.now), String::new())
        }
        StepState::Ended { outcome, status, since, at } => {
            let role = match outcome {
                Outcome::Done => Role::Ok,
                Outcome::Skipped => Role::Warn,
                Outcome::Failed | Outcome::Unknown => Role::Bad,
            };
            let took = since.map(|since| took(since, *at)).unwrap_or_default();
            let words = if status.is_empty() {
                present::outcome(*outcome).to_owned()
            } else {
                format!("{}: {status}", present::outcome(*outcome))
            };
            (words, role, took, present::clock(*at, app.now))
        }
    };
    let mut rest = text::wrap(&words, result_room, 0).into_iter();
    let first = rest.next().unwrap_or_default();
    let mut lines = vec![Line::from(vec![
        Span::raw(format!(
            "{} {} ",
            text::right(&step.n.to_string(), 4),
            text::fit(&step.object.to_string(), object_room)
        )),
        Span::styled(text::fit(&first, result_room), app.theme.style(role)),
        Span::raw(format!(" {} {}", text::right(&took, 5), text::right(&at, 6))),
    ])];
    let indent = " ".repeat(5 + object_room + 1);
    lines.extend(rest.map(|line| styled(app.theme, role, format!("{indent}{line}"))));
    lines
}

/// With tenths of a second: a slow answer tells something.
fn took(since: Timestamp, at: Timestamp) -> String {
    let tenths = (at.as_millisecond() - since.as_millisecond()).max(0) / 100;
    if tenths < 600 { format!("{}.{}s", tenths / 10, tenths % 10) } else { present::age(since, at) }
}

/// Rows that what comes afterwards has at least: verification, what comes next, how to undo.
const FOOT_ROWS: usize = 4;

/// Verification, what comes next, how to undo, the journal; in so many rows at most. Each text is cut before a later one is
/// left out.
fn foot(app: &App, run: &RunView, columns: usize, rows: usize) -> Vec<Line<'static>> {
    let journal = if run.journal.is_empty() { "not begun" } else { run.journal.as_str() };
    let journal = (format!("JOURNAL  {journal}"), Role::Text, 9);
    let Phase::Ended { at, summary } = &run.phase else {
        let words = "Intents and outcomes are on disk. Esc leaves the screen, the run goes on; Ctrl-C stops it (asks).";
        return told(app, "", [journal, (words.to_owned(), Role::Dim, 0)].to_vec(), columns, rows);
    };
    let (verified, role) = verification(app, run, *at, summary);
    let mut texts = vec![(verified, role, 2)];
    if let Some(seen) = app.picture.newest() {
        texts.push((keymap::next(app, &seen.diagnosis), Role::Title, 6));
    }
    let undo = match run.undoable() {
        Ok(()) => format!("UNDO  u plans to take back {} (that was: {})", run.run, run.plan.title),
        Err(why) => format!("UNDO  {why}"),
    };
    texts.push((undo, Role::Text, 6));
    texts.extend(super::outage(app).map(|outage| (outage, Role::Text, 6)));
    texts.extend(app.picture.newest().map(|seen| (present::verdict(&seen.diagnosis, app.now), Role::Text, 6)));
    texts.push(journal);
    told(app, "AFTERWARDS", texts, columns, rows)
}

/// Texts with their indents below a rule, the first ones first where there is no room for all.
fn told(app: &App, title: &str, texts: Vec<(String, Role, usize)>, columns: usize, rows: usize) -> Vec<Line<'static>> {
    let needs: Vec<usize> = texts.iter().map(|(words, _, indent)| text::wrap(words, columns, *indent).len()).collect();
    let mut lines = vec![rule(app.theme, title, false, columns)];
    for ((words, role, indent), most) in texts.into_iter().zip(shares(&needs, rows.saturating_sub(1))) {
        lines.extend(wrapped(&words, columns, indent, most).into_iter().map(|line| styled(app.theme, role, line)));
    }
    lines
}

fn verification(app: &App, run: &RunView, ended: Timestamp, summary: &RunSummary) -> (String, Role) {
    let promised = present::promise(&run.plan.verify);
    match &run.verification {
        Verification::NotBegun if summary.done == 0 => {
            (format!("not verified: nothing was done (promised: {promised})"), Role::Warn)
        }
        Verification::NotBegun => {
            (format!("waiting for a picture newer than the run's end (promised: {promised})"), Role::Title)
        }
        Verification::Seen { state: VerifyState::Holds, at } => {
            (format!("verified {}: {promised}", present::clock(*at, app.now)), Role::Ok)
        }
        Verification::Seen { state: VerifyState::Settling { running }, .. } => {
            let age = present::age(ended, app.now);
            let running = running.join(", ");
            (format!("{promised}; watching the logs of {running} for a refusal, {age} of 2m so far"), Role::Title)
        }
        Verification::Seen { state: VerifyState::Refused { what }, .. } => {
            let keys = "u plans to take it back, s plans what was last seen loaded";
            (format!("REFUSED: {what}. {keys}"), Role::Bad)
        }
        Verification::Seen { state: VerifyState::NotYet { what }, .. } => {
            let so_far = app.now.as_second() - ended.as_second();
            let late = run.plan.verify.within_seconds().is_some_and(|within| so_far > i64::from(within));
            let age = present::age(ended, app.now);
            if late {
                (format!("NOT VERIFIED after {age}: still waiting for {what}"), Role::Bad)
            } else {
                (format!("waiting for {what}, {age} so far"), Role::Title)
            }
        }
    }
}
