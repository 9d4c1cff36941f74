//! What `y` copies: of each screen and pop-up, what is selected there.

use super::super::app::{App, ConfigPane, Modal, OverviewPane, Planning, Screen};
use crate::present;

/// Whether there is something to copy, without making it: this is asked for every frame.
pub fn copyable(app: &App) -> Result<(), &'static str> {
    let there = match (app.modals.last(), app.screen) {
        (Some(Modal::Detail { .. } | Modal::Log { .. }), _) => true,
        (_, Screen::Overview) => match app.overview.pane {
            OverviewPane::Findings => app.overview.finding.is_some(),
            OverviewPane::Components => app.overview.component.is_some(),
        },
        (_, Screen::Config) => app.config.map.is_some(),
        (_, Screen::Plan) => match app.planning {
            Planning::Ready(_) | Planning::Refused { .. } => true,
            Planning::Empty | Planning::Making { .. } => false,
        },
        (_, Screen::Strays) => app.strays.pod.is_some(),
        (_, Screen::Rollback) => app.rollback.tag.is_some(),
        (_, Screen::Run) => app.run.is_some(),
    };
    if there { Ok(()) } else { Err("nothing to copy") }
}

/// What `y` would copy here.
pub fn copy_text(app: &App) -> Option<String> {
    match app.modals.last() {
        Some(Modal::Detail { finding, .. }) => return finding_text(app, finding),
        Some(Modal::Log { component, .. }) => {
            return app
                .component(component)
                .map(|component| super::super::view::modal::log_lines(app, component).join("\n"));
        }
        Some(
            Modal::Help { .. }
            | Modal::Arm { .. }
            | Modal::Filter
            | Modal::Search { .. }
            | Modal::AskQuit
            | Modal::AskStop,
        )
        | None => {}
    }
    match app.screen {
        Screen::Overview => match app.overview.pane {
            OverviewPane::Findings => finding_text(app, app.overview.finding.as_deref()?),
            OverviewPane::Components => app.selected_component().map(|component| component.object.to_string()),
        },
        Screen::Config => match app.config.pane {
            ConfigPane::Maps => app.config.map.as_ref().map(ToString::to_string),
            ConfigPane::Keys => app.config.key.clone(),
            ConfigPane::Diff => app.config.diffing.sheet().map(super::super::view::diff::text_of),
        },
        Screen::Plan => match &app.planning {
            Planning::Ready(sheet) => Some(present::by_hand(&sheet.plan).join("\n")),
            Planning::Refused { failure, .. } => Some(present::failure(failure).join("\n")),
            Planning::Empty | Planning::Making { .. } => None,
        },
        Screen::Strays => app.selected_stray().map(|judged| judged.pod.object.name.clone()),
        Screen::Rollback => app.rollback.tag.clone(),
        Screen::Run => app.run.as_ref().map(|run| format!("{} {}", run.run, run.journal)),
    }
}

fn finding_text(app: &App, id: &str) -> Option<String> {
    let seen = app.picture.shown()?;
    let finding = seen.diagnosis.finding(id)?;
    let mut lines = vec![present::finding(finding)];
    lines.extend(finding.evidence.iter().cloned());
    Some(lines.join("\n"))
}
