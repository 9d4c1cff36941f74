//! 5 Plan: what would be written, what the server's dry run says, and the words that run it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::app::{App, DryRun, Mode, PlanPane, PlanSheet, Planning, Stage, awaited};
use super::super::keymap;
use super::super::text;
use super::super::theme::Role;
use super::{cluster_line, cluster_name, diff_line, is_wide, paint, rule, styled, take};
use crate::model::Write;
use crate::present;
use crate::repair::{Answer, Request};

/// Columns of a uid's beginning and a resourceVersion.
const GUARD: usize = 27;
const UNDO: usize = 15;
/// Names of what a plan waits for.
const AWAITED: usize = 4;
/// Of the server's answer to the dry run; what is longer has its own line.
const ANSWER: usize = 15;

pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let columns = usize::from(area.width);
    match &app.planning {
        Planning::Empty => paint(area, buffer, empty(app, columns)),
        Planning::Making { title, stage: Stage::Asked, .. } => {
            paint(area, buffer, [Line::from(format!("Making the plan `{title}` from the newest picture."))]);
        }
        Planning::Making { title, again, stage: Stage::Waiting { seconds } } => {
            paint(area, buffer, waiting(app, title, again.as_ref(), *seconds, columns));
        }
        Planning::Refused { title, failure, again } => {
            let mut lines = vec![styled(app.theme, Role::Bad, format!("NO PLAN  {title}"))];
            for line in present::failure(failure) {
                lines.extend(text::wrap(&keymap::with_keys(&line), columns, 2).into_iter().map(Line::from));
            }
            lines.push(Line::default());
            let key = if again.is_some() { "p" } else { "u on 6 Run" };
            lines.push(Line::from(format!("Nothing was written. {key} tries again; Esc leaves.")));
            paint(area, buffer, lines);
        }
        Planning::Ready(sheet) => {
            let mut area = area;
            let rows = upper_rows(app, sheet, area);
            let mut above = take(&mut area, rows);
            paint(take(&mut above, 1), buffer, [panes(app, sheet, columns)]);
            let lines = lines(app, sheet, columns);
            let most = lines.len().saturating_sub(usize::from(above.height));
            let more = most.saturating_sub(sheet.scroll);
            paint(above, buffer, lines.into_iter().skip(sheet.scroll.min(most)));
            paint(area, buffer, confirmation(app, sheet, columns, more));
        }
    }
}

/// Rows of the open pane and its title: all that the confirmation leaves.
fn upper_rows(app: &App, sheet: &PlanSheet, area: Rect) -> usize {
    usize::from(area.height).saturating_sub(confirmation(app, sheet, usize::from(area.width), 0).len())
}

/// Lines of the open pane and the rows it has.
pub fn extent(app: &App, body: Rect) -> (usize, u16) {
    match &app.planning {
        Planning::Ready(sheet) => {
            let rows = upper_rows(app, sheet, body).saturating_sub(1);
            (lines(app, sheet, usize::from(body.width)).len(), u16::try_from(rows).unwrap_or(u16::MAX))
        }
        Planning::Empty | Planning::Making { .. } | Planning::Refused { .. } => (0, body.height),
    }
}

fn waiting(app: &App, title: &str, again: Option<&Request>, seconds: u8, columns: usize) -> Vec<Line<'static>> {
    let seen = app.picture.newest().zip(again);
    let reading = seen.map_or(Vec::new(), |(seen, request)| awaited(request, &seen.snapshot));
    let more = reading.len().saturating_sub(AWAITED);
    let mut names = reading.iter().take(AWAITED).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 {
        names.push_str(&format!(" and {more} more"));
    }
    let what = format!("The plan `{title}` waits, {seconds} s at most, for what is being read: {names}.");
    let words = [what.as_str(), "It is made as soon as all of it is there. Esc leaves without a plan."];
    words.iter().flat_map(|words| text::wrap(words, columns, 2)).map(Line::from).collect()
}

fn empty(app: &App, columns: usize) -> Vec<Line<'static>> {
    let words = if app.run_is_going() {
        "The plan is being run: 6 shows it."
    } else {
        "No plan. p makes one: for the selected finding on 1 Overview, for the selected map on 2 Config, on 3 Strays, on 4 Rollback."
    };
    let then = "A plan is only shown and previewed; it runs once its words are typed here.";
    [words, then].iter().flat_map(|words| text::wrap(words, columns, 2)).map(Line::from).collect()
}

fn panes(app: &App, sheet: &PlanSheet, columns: usize) -> Line<'static> {
    let name = |pane: PlanPane| match pane {
        PlanPane::Summary => "Summary",
        PlanPane::Diff => "Diff",
        PlanPane::ByHand => "By hand",
    };
    let tab = |pane: &PlanPane| {
        if sheet.pane == *pane { format!("[{}]", name(*pane)) } else { format!(" {} ", name(*pane)) }
    };
    let tabs: String = sheet.panes().iter().map(tab).collect();
    let title = format!("PLAN {}  {tabs} Tab", sheet.plan.id);
    rule(app.theme, &title, true, columns)
}

fn lines(app: &App, sheet: &PlanSheet, columns: usize) -> Vec<Line<'static>> {
    match sheet.pane {
        PlanPane::Summary => summary(app, sheet, columns),
        PlanPane::Diff => sheet.diff.iter().map(|line| diff_line(app.theme, line)).collect(),
        PlanPane::ByHand => {
            let mut lines =
                vec![styled(app.theme, Role::Dim, "The same with kubectl (y copies, Ctrl-Y beside the field):")];
            for command in present::by_hand(&sheet.plan) {
                lines.extend(text::wrap(&command, columns, 4).into_iter().map(Line::from));
            }
            lines
        }
    }
}

fn summary(app: &App, sheet: &PlanSheet, columns: usize) -> Vec<Line<'static>> {
    let plan = &sheet.plan;
    let state = match &sheet.dry_run {
        DryRun::Asking => "asking the server".to_owned(),
        DryRun::Answered(preview) => format!("PREVIEWED {}", present::clock(preview.at, app.now)),
        DryRun::Failed(_) => "NOT PREVIEWED".to_owned(),
    };
    let made = present::clock(plan.basis.taken_at, app.now);
    let mut lines = Vec::new();
    let head = format!("{} | made {made} | {state}", plan.title);
    lines.extend(text::wrap(&head, columns, 2).into_iter().map(|line| styled(app.theme, Role::Title, line)));
    for cluster in &plan.clusters {
        let target = format!("TARGET  {}, {}", cluster_name(app, &cluster.alias, plan), cluster.server);
        lines.extend(text::wrap(&target, columns, 8).into_iter().map(Line::from));
    }
    if let DryRun::Failed(failure) = &sheet.dry_run {
        for line in present::failure(failure) {
            lines.extend(text::wrap(&line, columns, 2).into_iter().map(|line| styled(app.theme, Role::Bad, line)));
        }
    }
    // Nobody looks for a warning below the steps.
    let (warnings, others): (Vec<String>, Vec<String>) =
        present::plan_notes(plan).into_iter().partition(|note| note.starts_with("WARN"));
    for (notes, role) in [(warnings, Role::Warn), (others, Role::Text)] {
        let lines_of = notes.iter().flat_map(|note| text::wrap(&keymap::with_keys(note), columns, 6));
        lines.extend(lines_of.map(|line| styled(app.theme, role, line)));
    }
    lines.extend(steps(app, sheet, columns));
    // Images are told by their steps already.
    if plan.steps.iter().any(|step| !matches!(step.write, Write::PatchImage { .. } | Write::DeletePod { .. })) {
        lines.push(rule(app.theme, "CHANGES  - what is live  + what would be written", false, columns));
        lines.extend(sheet.diff.iter().map(|line| diff_line(app.theme, line)));
    }
    lines
}

/// The steps: a row each, and below it what is too long for a column.
fn steps(app: &App, sheet: &PlanSheet, columns: usize) -> Vec<Line<'static>> {
    let wide = is_wide(app.size);
    let object_room = columns.saturating_sub(if wide { 5 + 9 + GUARD + ANSWER + UNDO } else { 5 + 9 + ANSWER + 1 });
    let head = if wide {
        format!(
            "STEP {} {} {} {} UNDO",
            text::fit("VERB", 8),
            text::fit("OBJECT", object_room),
            text::fit("GUARD", GUARD - 1),
            text::fit("SERVER DRY RUN", ANSWER - 1)
        )
    } else {
        format!("STEP {} {} SERVER DRY RUN", text::fit("VERB", 8), text::fit("OBJECT", object_room))
    };
    let mut lines = vec![styled(app.theme, Role::Dim, head)];
    let mut cluster = None;
    for step in &sheet.plan.steps {
        lines.extend(cluster_line(app, &sheet.plan, cluster, step.write.cluster()));
        cluster = Some(step.write.cluster());
        let words = present::step(step);
        let (answer, role) = answer(sheet, step.n);
        let start = format!(
            "{} {} {} ",
            text::right(&step.n.to_string(), 4),
            text::fit(words.verb, 8),
            text::fit(&words.object, object_room)
        );
        let cell = Span::styled(text::fit(&answer, ANSWER - 1) + " ", app.theme.style(role));
        let mut below = Vec::new();
        if wide {
            lines.push(Line::from(vec![
                Span::raw(start),
                Span::raw(text::fit(&words.guard, GUARD)),
                cell,
                Span::raw(text::cut(words.undo, UNDO)),
            ]));
        } else {
            lines.push(Line::from(vec![Span::raw(start), cell]));
            below.push(format!("guard {}; undo {}", words.guard, words.undo));
        }
        if text::width(&answer) > ANSWER - 1 {
            below.push(answer.clone());
        }
        below.insert(0, words.effect);
        for word in below.iter().filter(|word| !word.is_empty()) {
            lines.extend(text::wrap(&format!("     {word}"), columns, 5).into_iter().map(Line::from));
        }
    }
    lines
}

fn answer(sheet: &PlanSheet, n: usize) -> (String, Role) {
    match &sheet.dry_run {
        DryRun::Asking => ("asking".to_owned(), Role::Dim),
        DryRun::Failed(_) => ("not asked".to_owned(), Role::Warn),
        DryRun::Answered(preview) => match preview.steps.iter().find(|step| step.n == n) {
            Some(step) => {
                let role = match step.answer {
                    Answer::Accepted => Role::Ok,
                    Answer::Gone => Role::Warn,
                    Answer::Moved { .. } | Answer::Refused { .. } => Role::Bad,
                };
                (present::answer(&step.answer), role)
            }
            None => ("not asked".to_owned(), Role::Warn),
        },
    }
}

fn confirmation(app: &App, sheet: &PlanSheet, columns: usize, more: usize) -> Vec<Line<'static>> {
    let below = if more > 0 { format!("{more} more lines: Down, PgDn") } else { String::new() };
    let mut lines = vec![rule(app.theme, &below, false, columns)];
    match (&sheet.dry_run, app.mode) {
        (DryRun::Asking, _) => lines.push(Line::from("Waiting for the server's dry run. Nothing has been written.")),
        (DryRun::Failed(_), _) => {
            lines.push(styled(
                app.theme,
                Role::Bad,
                "The dry run failed, so this plan cannot run. Nothing has been written.",
            ));
            lines.push(Line::from("p makes and previews it anew; Esc leaves."));
        }
        (DryRun::Answered(preview), _)
            if !preview.all_accepted()
                && preview.steps.iter().any(|s| !matches!(s.answer, Answer::Accepted | Answer::Gone)) =>
        {
            lines.push(styled(
                app.theme,
                Role::Bad,
                "Not every step would be taken, so this plan cannot run. Nothing has been written.",
            ));
            lines.push(Line::from("p makes it anew from the newest picture; Esc leaves."));
        }
        (DryRun::Answered(_), Mode::ReadOnly) => {
            lines.push(styled(
                app.theme,
                Role::Warn,
                "READ-ONLY: A to arm first, then type its words here. Nothing is written yet.",
            ));
        }
        (DryRun::Answered(_), Mode::Armed { .. }) if app.run_is_going() => {
            lines.push(Line::from("A run goes on (6); this plan can run when it ended."));
        }
        (DryRun::Answered(_), Mode::Armed { .. }) => {
            let how = present::confirmation(&sheet.plan.confirmation);
            lines.push(styled(app.theme, Role::Title, text::cut(&how, columns)));
            lines.push(Line::from(format!("    {}", sheet.plan.confirmation.word())));
            lines.push(field(app, &sheet.typed));
            lines.push(match &sheet.reply {
                Some(reply) => styled(app.theme, Role::Bad, text::cut(reply, columns)),
                None => Line::from("An empty Enter does nothing. Esc leaves. Paste is ignored here."),
            });
        }
    }
    lines
}

/// An input line with its cursor.
pub fn field(app: &App, typed: &str) -> Line<'static> {
    Line::from(vec![
        Span::raw("  > "),
        Span::styled(typed.to_owned(), app.theme.style(Role::Title)),
        Span::styled("_", app.theme.style(Role::Title)),
    ])
}
