//! `plan REPAIR`: makes a plan, previews it on the server, saves it. Writes nothing to a cluster.

use std::path::Path;
use std::sync::Arc;

use crate::model::text::sanitize_line;
use crate::model::{Failure, FailureKind};
use crate::present;
use crate::repair::{Origin, Override, OverrideId, Plan, RepairId, Request};
use crate::run;

use super::args::{Format, Global, PlanArgs};
use super::checking::Scope;
use super::stage::Stage;
use super::{Exit, in_cluster, output, plan_file, session};

pub async fn run(global: &Global, args: &PlanArgs) -> Exit {
    if let (RepairId::CheckInCluster, Stage::Drill(_)) = (args.repair, &global.stage) {
        return Err(Failure::new(FailureKind::Refused, "there is no checkconfig in a drill that a Job could run")
            .hint(
                "config check says what this tool's rules think; on a real cluster this plan asks the deployed tag",
            ));
    }
    let seen = session::look_within(global, scope_of(args.repair)).await?;
    let snapshot = &seen.snapshot;
    // A plan over what is not known would be refused; why it is not known is the better answer, with its own exit code.
    if snapshot.service.components.seen().is_none() {
        return Err(session::not_seen(&snapshot.service.components, "Prow's components"));
    }
    let is_of_git = match args.repair {
        RepairId::SyncConfig => !args.last_loaded,
        // Where none is given, it is about what is live; a revision that is not there is no reason to ask about that.
        RepairId::CheckInCluster => global.repo.is_some() || global.revision.is_some(),
        RepairId::Kick | RepairId::Rollback | RepairId::DeleteStrays | RepairId::Undo => false,
    };
    if is_of_git && snapshot.desired.seen().is_none() {
        return Err(session::not_seen(&snapshot.desired, "the configuration repository"));
    }
    let origin = match (args.last_loaded, snapshot.service.identity.known()) {
        (true, Some(cluster)) => Origin::LastLoaded(Arc::new(session::journal(global).last_loaded(cluster)?)),
        // Without an identity nothing is planned anyway.
        (true, None) => Origin::LastLoaded(Arc::default()),
        (false, _) => Origin::Git,
    };
    let request = Request {
        origin,
        maps: args.maps.clone(),
        keys: args.keys.clone(),
        prune: args.prune,
        to: args.to.clone(),
        components: args.components.clone(),
        clusters: args.clusters.clone(),
        include_running: args.include_running,
        overrides: overrides(&args.overrides, args.reason.as_deref()),
        ..Request::new(args.repair)
    };
    let plan = seen.checking.plan(request, Arc::clone(&seen.snapshot), Arc::clone(&seen.diagnosis)).await?;
    if plan.repair == RepairId::CheckInCluster {
        in_cluster::may(&plan, &seen.clusters).await?;
    }
    preview_and_save(global, &seen.clusters, plan, args.file.as_deref()).await
}

/// How far a checkconfig is asked before a plan is made: only what writes a configuration depends on its word.
fn scope_of(repair: RepairId) -> Scope {
    match repair {
        RepairId::SyncConfig => Scope::NearestGood,
        RepairId::Kick | RepairId::Rollback | RepairId::DeleteStrays | RepairId::CheckInCluster | RepairId::Undo => {
            Scope::Remembered
        }
    }
}

/// Guards that a person sets aside, all with the one reason.
pub fn overrides(ids: &[OverrideId], reason: Option<&str>) -> Vec<Override> {
    let reason = sanitize_line(reason.unwrap_or_default());
    ids.iter().map(|id| Override { id: *id, reason: reason.clone() }).collect()
}

/// The way of every new plan: the server's dry run, the words, the file.
pub async fn preview_and_save(global: &Global, clusters: &run::Clusters, plan: Plan, file: Option<&Path>) -> Exit {
    let preview = run::preview(&plan, clusters, session::clock(global).now()).await?;
    if let Some(file) = file {
        plan_file::save(&plan, &preview, file)?;
    }
    output::document(
        global.output,
        || present::plan_document(&plan, Some(&preview)),
        || present::plan_text(&plan, Some(&preview)),
    )?;
    if let Some(file) = file {
        let context = plan.clusters.first().map_or("NAME", |cluster| cluster.context.as_str());
        output::words(&format!(
            "saved in {file}. To run it: prow-breakglass apply {file} --execute --context {context}{again} --expect {}",
            plan.objects(),
            file = file.display(),
            again = global.again()
        ));
    } else if global.output == Format::Text {
        output::words("to save it for `apply`: -f FILE");
    }
    match present::first_refusal(&preview) {
        Some(failure) => Err(failure),
        None => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_writes_a_configuration_waits_for_a_checkconfig() {
        let waits = |repair: &RepairId| scope_of(*repair) != Scope::Remembered;
        let all = [
            RepairId::SyncConfig,
            RepairId::Kick,
            RepairId::Rollback,
            RepairId::DeleteStrays,
            RepairId::CheckInCluster,
            RepairId::Undo,
        ];
        assert_eq!(all.into_iter().filter(waits).collect::<Vec<_>>(), [RepairId::SyncConfig]);
    }
}
