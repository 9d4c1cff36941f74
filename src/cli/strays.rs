//! `strays`, `history` and `automation`: what is seen of the second incident's kind. They only read.

use crate::diagnose::Strays;
use crate::model::{Failure, FailureKind, Snapshot};
use crate::present;

use super::args::Global;
use super::checking::Scope;
use super::{Exit, output, session};

/// Exit code 1 where there are strays; where none are and pods or ProwJobs cannot be seen, the reason's own code.
pub async fn strays(global: &Global) -> Exit {
    let seen = session::look_within(global, Scope::Remembered).await?;
    output::document(
        global.output,
        || present::strays_document(&seen.snapshot, &seen.diagnosis),
        || present::strays_text(&seen.snapshot, &seen.diagnosis),
    )?;
    exit(&seen.snapshot, &seen.diagnosis.strays)
}

/// None were found: that says little where pods belong to a place that is not known, or where not all was seen.
fn exit(snapshot: &Snapshot, strays: &Strays) -> Exit {
    if snapshot.prowjobs.known().is_none() {
        return Err(session::not_seen(&snapshot.prowjobs, "ProwJobs"));
    }
    if strays.total() > 0 {
        return Ok(1);
    }
    if strays.pod_namespace.is_none() {
        // Known, and git says otherwise: a finding.
        return if snapshot.prow.known().is_some() {
            Ok(1)
        } else {
            Err(session::not_seen(&snapshot.prow, "pod_namespace"))
        };
    }
    for view in snapshot.views().filter(|view| view.is_plannable()) {
        let what = format!("the pods of jobs in {}", view.context);
        if view.job_pods.known().is_none() {
            return Err(session::not_seen(&view.job_pods, &what));
        }
        if view.census.known().is_none() {
            return Err(session::not_seen(&view.census, &what));
        }
        if let Some(part) = view.missing_job_pods().next() {
            return Err(session::not_seen(&part.source, &what));
        }
    }
    match strays.not_seen.first() {
        Some(what) => {
            Err(Failure::new(FailureKind::Unreachable, format!("strays may be where nothing was seen: {what}"))
                .hint("0 strays were found in what was seen, which says nothing of the rest"))
        }
        None => Ok(0),
    }
}

pub async fn history(global: &Global) -> Exit {
    let seen = session::look_within(global, Scope::Remembered).await?;
    if seen.snapshot.service.rollouts.seen().is_none() {
        return Err(session::not_seen(&seen.snapshot.service.rollouts, "what ran when"));
    }
    output::document(
        global.output,
        || present::history_document(&seen.snapshot),
        || present::history_text(&seen.snapshot),
    )?;
    Ok(0)
}

pub async fn automation(global: &Global) -> Exit {
    let seen = session::look_within(global, Scope::Remembered).await?;
    if seen.snapshot.service.components.seen().is_none() {
        return Err(session::not_seen(&seen.snapshot.service.components, "Prow's components"));
    }
    output::document(
        global.output,
        || present::automation_document(&seen.snapshot, &seen.diagnosis),
        || present::automation_text(&seen.snapshot, &seen.diagnosis),
    )?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::strays as judge;
    use crate::diagnose::testing::{build, incident, job, set, snapshot, view_mut};
    use crate::model::{Alias, Source, SourceStatus};

    fn exit_of(snapshot: &Snapshot) -> Result<u8, FailureKind> {
        exit(snapshot, &judge(snapshot)).map_err(|failure| failure.kind)
    }

    #[test]
    fn none_found_is_fine_only_where_all_was_seen() {
        assert_eq!(exit_of(&incident()), Ok(1));
        assert_eq!(exit_of(&snapshot()), Ok(0));

        let mut unknown = snapshot();
        unknown.prow = Source::Loading;
        assert_eq!(exit_of(&unknown), Err(FailureKind::Unreachable), "nobody knows where pods belong");

        let mut denied = snapshot();
        let source = Source::Denied { verb: "list pods".to_owned() };
        view_mut(&mut denied, &build()).census = Source::Denied { verb: "list pods".to_owned() };
        assert_eq!(exit_of(&denied), Err(FailureKind::Forbidden));

        let mut in_part = snapshot();
        let name = "pods of jobs outside test-pods".to_owned();
        view_mut(&mut in_part, &build()).parts = vec![SourceStatus { name, source }];
        assert_eq!(exit_of(&in_part), Err(FailureKind::Forbidden));

        let mut unplaced = snapshot();
        set(&mut unplaced.prowjobs, vec![job(1, "default", false)]);
        unplaced.aliases.remove(&Alias::service());
        assert_eq!(exit_of(&unplaced), Err(FailureKind::Unreachable));
    }
}
