//! 3 Strays: pods of jobs that are where they should not be, by group, why they cannot start, and what comes first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::super::app::{App, Observation};
use super::super::astray::{GroupBy, RunningOnes, StraysPane};
use super::super::keymap;
use super::super::text;
use super::super::theme::Role;
use super::{is_wide, paint, paint_rows, rule, selectable, styled, take, wrapped};
use crate::diagnose::{GateState, JudgedPod, StrayGroup, Strays};
use crate::present;

pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(seen) = app.picture.shown() else {
        paint(area, buffer, [Line::from("Reading the clusters; nothing is known yet.")]);
        return;
    };
    let mut area = area;
    let columns = usize::from(area.width);
    let head = head(app, seen, columns);
    paint(take(&mut area, head.len()), buffer, head);
    let why = why(app, seen, columns);
    let rest = usize::from(area.height).saturating_sub(why.len());
    let mut middle = take(&mut area, rest);
    paint(area, buffer, why);
    let groups = app.stray_groups().len();
    if groups == 0 && app.strays.filter.is_empty() {
        return;
    }
    if is_wide(app.size) {
        let rows = (groups + 2).min(rest / 2);
        paint_groups(app, seen, take(&mut middle, rows), buffer);
        paint_pods(app, middle, buffer);
        return;
    }
    match app.strays.pane {
        StraysPane::Groups => paint_groups(app, seen, middle, buffer),
        StraysPane::Pods => paint_pods(app, middle, buffer),
    }
}

/// How many, whether they may be deleted, what comes first.
fn head(app: &App, seen: &Observation, columns: usize) -> Vec<Line<'static>> {
    let strays = &seen.diagnosis.strays;
    let total = total(strays);
    let wrapped = |words: &str, role: Role, most: usize| -> Vec<Line<'static>> {
        wrapped(words, columns, 7, most).into_iter().map(|line| styled(app.theme, role, line)).collect()
    };
    if !is_wide(app.size) && app.strays.pane == StraysPane::Pods && strays.total() > 0 {
        // The pods are what one came for.
        let order = text::cut(&order(app, seen), columns);
        let mut lines =
            vec![styled(app.theme, total.1, text::cut(&total.0, columns)), styled(app.theme, Role::Title, order)];
        lines.extend(not_seen(app, strays, columns));
        return lines;
    }
    let mut lines = wrapped(&total.0, total.1, 2);
    if strays.total() > 0 {
        let role = match seen.diagnosis.gate {
            GateState::Open(_) => Role::Ok,
            GateState::Closed { .. } => Role::Warn,
        };
        lines.extend(wrapped(&gate(&seen.diagnosis.gate), role, 4));
        lines.extend(wrapped(&order(app, seen), Role::Title, 3));
    }
    let others = strays.foreign().count() + strays.bystanders.iter().filter(|pod| pod.labelled).count();
    let unknown = strays.unknown().count();
    if others + unknown > 0 {
        let words = format!("BESIDE {others} labelled pod(s) without a ProwJob here, {unknown} not judged: in no plan");
        lines.push(Line::from(text::cut(&words, columns)));
    }
    lines.extend(not_seen(app, strays, columns));
    lines
}

/// How many: never 0 where nobody knows, and no sum of what was not seen.
fn total(strays: &Strays) -> (String, Role) {
    let expected = strays.pod_namespace.as_deref().unwrap_or("a place not known");
    if !strays.is_judged() {
        return ("TOTAL  unknown: nobody can say now which pods are astray".to_owned(), Role::Warn);
    }
    match (strays.total(), strays.is_complete()) {
        (0, true) => (format!("TOTAL  no strays: every pod of this Prow's jobs is in {expected}"), Role::Ok),
        (0, false) => (format!("TOTAL  no strays among what was seen; pods belong in {expected}"), Role::Warn),
        (total, is_complete) => {
            let least = if is_complete { "" } else { "at least " };
            let count = |of: fn(&StrayGroup) -> usize| strays.groups.iter().map(of).sum::<usize>();
            let cannot_start = strays.groups.iter().map(|group| group.cannot_start).sum::<Option<usize>>();
            let cannot_start = match cannot_start {
                Some(count) => format!("{count} cannot start"),
                None => format!("{} wait (their events are not seen)", count(|group| group.waiting)),
            };
            let held = strays.strays().filter(|judged| judged.pod.deleting && !judged.pod.finalizers.is_empty());
            let held = match held.count() {
                0 => String::new(),
                held => format!(", {held} held by finalizers"),
            };
            let words = format!(
                "TOTAL  {least}{total} strays; {cannot_start}, {} run, {} of unfinished ProwJobs{held}. They belong in {expected}",
                count(|group| group.running),
                count(|group| group.unfinished),
            );
            (words, Role::Bad)
        }
    }
}

fn not_seen(app: &App, strays: &Strays, columns: usize) -> Option<Line<'static>> {
    let first = strays.not_seen.first()?;
    let more = match strays.not_seen.len() {
        1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    let room = columns.saturating_sub(more.len());
    Some(styled(app.theme, Role::Warn, format!("{}{more}", text::cut(&format!("NOT SEEN {first}"), room))))
}

/// Why, or why not; what to do about it is said below it, in keys.
fn gate(gate: &GateState) -> String {
    match gate {
        GateState::Open(_) => format!("GATE   {}", present::gate(gate)),
        GateState::Closed { why, .. } => format!("GATE   not to be deleted yet: {why}"),
    }
}

fn order(app: &App, seen: &Observation) -> String {
    let gate = &seen.diagnosis.gate;
    let words = match (gate, app.strays.running) {
        (GateState::Closed { .. }, _) if app.run_is_going() => {
            "A run of yours is under way (6): wait for its end and for good pods."
        }
        (GateState::Closed { .. }, _) if gate.asks_for_rollback(seen.snapshot.taken_at_server()) => {
            "Rolling back comes first: 4, then p. Deleting now makes new pods in the same wrong place, or ends their jobs."
        }
        (GateState::Closed { next, .. }, _) => {
            let next = keymap::with_keys(next);
            return format!("ORDER  The gate opens by itself, then p plans the deletion. Until then: {next}");
        }
        (GateState::Open(_), RunningOnes::Left) => {
            "p plans the deletion of these; those that run are left (i takes them as well)."
        }
        (GateState::Open(_), RunningOnes::Deleted) => {
            "p plans the deletion of these, those that run as well (i leaves them)."
        }
    };
    format!("ORDER  {words}")
}

/// What groups have in common has a narrow column where it is one of a few words.
fn of_width(by: GroupBy, columns: usize) -> usize {
    match (by, columns >= 100) {
        (GroupBy::Place, true) => 17,
        (GroupBy::Place, false) => 10,
        (GroupBy::Cause | GroupBy::Job | GroupBy::Node, true) => 44,
        (GroupBy::Cause | GroupBy::Job | GroupBy::Node, false) => 28,
    }
}

fn group_line(place: (&str, &str), cells: [&str; 5], of_width: usize, columns: usize) -> String {
    let [of, pods, cannot, running, oldest] = cells;
    let widths = if columns >= 100 { [of_width, 6, 14, 8, 7] } else { [of_width, 6, 7, 6, 7] };
    let room = columns.saturating_sub(2 + widths.iter().sum::<usize>());
    // The namespace is what a stray is about: where it is too long, the cluster's name is cut.
    let (cluster, namespace) = (place.0, format!("/{}", place.1));
    let cluster = text::cut(cluster, room.saturating_sub(text::width(&namespace) + 1));
    format!(
        "{}{}{}{}{}{}",
        text::fit(&format!("{cluster}{namespace}"), room),
        text::fit(&text::cut(of, widths[0] - 1), widths[0]),
        text::right(pods, widths[1]),
        text::right(cannot, widths[2]),
        text::right(running, widths[3]),
        text::right(oldest, widths[4]),
    )
}

fn paint_groups(app: &App, seen: &Observation, area: Rect, buffer: &mut Buffer) {
    let mut area = area;
    let columns = usize::from(area.width);
    let focused = app.strays.pane == StraysPane::Groups;
    let (by, filter) = (app.strays.by, &app.strays.filter);
    let title = match filter.is_empty() {
        true => format!("{} GROUPS by {} (t)", app.stray_groups().len(), by.name()),
        // What is hidden is still planned for.
        false => format!("GROUPS by {} (t) of those that contain `{filter}`; p plans all strays", by.name()),
    };
    paint(take(&mut area, 1), buffer, [rule(app.theme, &title, focused, columns)]);
    let of = match (by, columns >= 100) {
        (GroupBy::Place, true) => "REASON",
        (GroupBy::Place, false) => "WRONG",
        (GroupBy::Cause, _) => "CAUSE",
        (GroupBy::Job, _) => "JOB",
        (GroupBy::Node, _) => "NODE",
    };
    let titles = if columns >= 100 {
        [of, "PODS", "CANNOT START", "RUNNING", "OLDEST"]
    } else {
        [of, "PODS", "STUCK", "RUN", "OLDEST"]
    };
    let of_width = of_width(by, columns);
    let head = group_line(("CLUSTER", "NAMESPACE"), titles, of_width, columns);
    paint(take(&mut area, 1), buffer, [styled(app.theme, Role::Dim, format!("  {head}"))]);
    let groups = app.stray_groups();
    let selected = groups.iter().position(|row| app.strays.group.as_ref() == Some(&row.id));
    let row = |at: usize| {
        let group = &groups[at];
        let of = match by {
            GroupBy::Place if columns < 100 => group.id.of.trim_start_matches("wrong-"),
            GroupBy::Place | GroupBy::Cause | GroupBy::Job | GroupBy::Node => &group.id.of,
        };
        let cells = [
            of.to_owned(),
            group.count.to_string(),
            present::or_unknown(group.cannot_start),
            group.running.to_string(),
            group.oldest.map_or("-".to_owned(), |at| present::age(at, app.now)),
        ];
        let cluster = match by {
            GroupBy::Cause | GroupBy::Job | GroupBy::Node if columns < 100 => {
                seen.snapshot.context_of(&group.id.cluster).to_owned()
            }
            GroupBy::Place | GroupBy::Cause | GroupBy::Job | GroupBy::Node => {
                present::cluster_name(&seen.snapshot, &group.id.cluster)
            }
        };
        let line = group_line((&cluster, &group.id.namespace), cells.each_ref().map(String::as_str), of_width, columns);
        selectable(app.theme, Line::from(line), Some(at) == selected, focused)
    };
    paint_rows(app.theme, area, buffer, groups.len(), selected, row);
}

fn pod_line(cells: [&str; 6], columns: usize) -> String {
    let [name, job, prowjob, state, age, finalizer] = cells;
    let wide = columns >= 100;
    let (name_room, state_room) = if wide { (38, 18) } else { (16, 18) };
    let finalizer_room = if wide { 12 } else { 0 };
    let room = columns.saturating_sub(2 + name_room + 1 + 10 + state_room + 6 + finalizer_room);
    let mut line = format!(
        "{} {}{}{}{}",
        text::fit(name, name_room),
        text::fit(job, room),
        text::fit(prowjob, 10),
        text::fit(state, state_room),
        text::right(age, 6),
    );
    if wide {
        line.push_str(&format!("  {}", text::cut(finalizer, finalizer_room - 2)));
    }
    line
}

fn paint_pods(app: &App, area: Rect, buffer: &mut Buffer) {
    let mut area = area;
    let columns = usize::from(area.width);
    let focused = app.strays.pane == StraysPane::Pods;
    let pods = app.stray_pods();
    let title = format!("PODS of the group ({})", pods.len());
    paint(take(&mut area, 1), buffer, [rule(app.theme, &title, focused, columns)]);
    let head = pod_line(["POD", "JOB", "PROWJOB", "STATE", "AGE", "FINALIZER"], columns);
    paint(take(&mut area, 1), buffer, [styled(app.theme, Role::Dim, format!("  {head}"))]);
    let selected = pods.iter().position(|judged| app.strays.pod.as_deref() == Some(judged.pod.uid()));
    let row = |at: usize| {
        let line = Line::from(pod_row(app, pods[at], columns));
        selectable(app.theme, line, Some(at) == selected, focused)
    };
    paint_rows(app.theme, area, buffer, pods.len(), selected, row);
}

fn pod_row(app: &App, judged: &JudgedPod, columns: usize) -> String {
    let pod = &judged.pod;
    let age = pod.created.map_or("-".to_owned(), |at| present::age(at, app.now));
    let finalizer = pod.finalizers.first().map_or("-", |name| name.rsplit('/').next().unwrap_or(name));
    pod_line([&pod.object.name, &pod.job, prowjob(judged), &pod.state, &age, finalizer], columns)
}

fn prowjob(judged: &JudgedPod) -> &str {
    match (&judged.job, judged.job_gone) {
        (Some(_), true) => "gone",
        (Some(job), false) => &job.state,
        (None, _) => "-",
    }
}

/// Why the selected pod cannot start, and who made it.
fn why(app: &App, seen: &Observation, columns: usize) -> Vec<Line<'static>> {
    let mut lines = vec![rule(app.theme, "WHY", false, columns)];
    let Some(judged) = app.selected_stray() else {
        let strays = &seen.diagnosis.strays;
        let words = match (strays.is_judged() && strays.is_complete(), strays.groups.is_empty()) {
            (_, false) if app.stray_groups().is_empty() => "No stray contains that; Esc clears the filter.",
            (_, false) => "No pod is selected.",
            (true, true) => "Nothing is astray.",
            (false, true) => "What is astray cannot be told: see NOT SEEN. r reads everything again.",
        };
        return vec![Line::from(words)];
    };
    let pod = &judged.pod;
    let events = seen.snapshot.view(&pod.object.cluster).and_then(|view| view.pod_events.known());
    let trouble = match (&judged.trouble, events) {
        (Some(trouble), _) => trouble.as_str(),
        (None, Some(_)) => "no warning was seen about it",
        (None, None) => "its events are not seen",
    };
    let made = if pod.plank_version.is_empty() { "of an unknown version" } else { &pod.plank_version };
    let words = [
        format!("{}  {trouble}", pod.object.name),
        format!(
            "made by prow-controller-manager {made}; {}; its ProwJob is {}",
            present::place(&seen.snapshot, &judged.place),
            prowjob(judged)
        ),
    ];
    for (words, most) in words.iter().zip([2, 2]) {
        lines.extend(wrapped(words, columns, 2, most).into_iter().map(Line::from));
    }
    lines
}
