//! `plan REPAIR`: makes a plan, previews it on the server, saves it. Writes nothing to a cluster.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::model::{Failure, FailureKind, Timestamp};
use crate::present;
use crate::repair::{self, Override, Plan, RepairId, Request};
use crate::run;

use super::args::{Format, Global, PlanArgs};
use super::{Exit, output, session};

pub async fn run(global: &Global, args: &PlanArgs) -> Exit {
    let seen = session::look(global).await?;
    let snapshot = &seen.snapshot;
    // A plan over what is not known would be refused; why it is not known is the better answer, with its own exit code.
    if snapshot.service.components.seen().is_none() {
        return Err(session::not_seen(&snapshot.service.components, "Prow's components"));
    }
    if args.repair == RepairId::SyncConfig && snapshot.desired.seen().is_none() {
        return Err(session::not_seen(&snapshot.desired, "the configuration repository"));
    }
    let reason = args.reason.clone().unwrap_or_default();
    let request = Request {
        maps: args.maps.clone(),
        prune: args.prune,
        overrides: args.overrides.iter().map(|id| Override { id: *id, reason: reason.clone() }).collect(),
        ..Request::new(args.repair)
    };
    let plan = repair::plan(&request, &seen.snapshot, &seen.diagnosis)?;
    preview_and_save(global, &seen.clusters(), plan, args.file.as_deref()).await
}

/// The way of every new plan: the server's dry run, the words, the file.
pub async fn preview_and_save(global: &Global, clusters: &run::Clusters, plan: Plan, file: Option<&Path>) -> Exit {
    let preview = run::preview(&plan, clusters, Timestamp::now()).await?;
    if let Some(file) = file {
        save(&plan, &preview, file)?;
    }
    output::document(
        global.output,
        || present::plan_document(&plan, Some(&preview)),
        || present::plan_text(&plan, Some(&preview)),
    )?;
    if let Some(file) = file {
        let context = plan.clusters.first().map_or("NAME", |cluster| cluster.context.as_str());
        output::words(&format!(
            "saved in {file}. To run it: prow-breakglass apply {file} --execute --context {context} --expect {}",
            plan.objects(),
            file = file.display()
        ));
    } else if global.output == Format::Text {
        output::words("to save it for `apply`: -f FILE");
    }
    match present::first_refusal(&preview) {
        Some(failure) => Err(failure),
        None => Ok(0),
    }
}

/// A plan embeds configuration: the file is for its owner only.
fn save(plan: &Plan, preview: &repair::Preview, file: &Path) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| {
        Failure::new(FailureKind::Usage, format!("cannot write {}", file.display()))
            .cause(error.to_string())
            .hint("give -f a path that you may write; the plan itself is fine")
    };
    let text = serde_json::to_vec_pretty(&present::plan_document(plan, Some(preview)))
        .map_err(|error| Failure::new(FailureKind::Tool, "cannot encode the plan").cause(error.to_string()))?;
    let mut out =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file).map_err(cannot)?;
    out.write_all(&text).and_then(|()| out.sync_all()).map_err(cannot)
}

/// Reads a saved plan.
pub fn load(file: &Path) -> Result<Plan, Failure> {
    let text = std::fs::read(file).map_err(|error| {
        Failure::new(FailureKind::Usage, format!("cannot read {}", file.display()))
            .cause(error.to_string())
            .hint("make a plan first: prow-breakglass plan sync-config -f FILE")
    })?;
    serde_json::from_slice(&text).map_err(|error| {
        Failure::new(FailureKind::Usage, format!("{} is no plan of this program", file.display()))
            .cause(error.to_string())
            .hint("make it anew: prow-breakglass plan REPAIR -f FILE")
    })
}
