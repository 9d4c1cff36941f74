//! `config render`: what a revision asks for.

use crate::diagnose::mapping_findings;
use crate::model::{Failure, FailureKind};
use crate::observe::desired;
use crate::present;
use crate::prow::PresetRule;
use crate::prow::load::ConfigFiles;

use super::args::Global;
use super::session;
use super::{Exit, output};

/// The ConfigMaps that a revision asks for. Needs no cluster.
pub async fn render(global: &Global) -> Exit {
    let Some(repository) = session::repository(global).await? else {
        return Err(Failure::new(FailureKind::Usage, "no configuration repository given")
            .hint("--repo PATH, the checkout (or bare repository) that Prow's configuration lies in"));
    };
    session::say_other_head(global, &repository).await;
    let options = session::desired_options(global, PresetRule::Unknown, ConfigFiles::by_name());
    let desired::Reading { candidate, mapping, not_understood } =
        desired::candidate(&repository, global.revision.as_deref(), &options).await?;
    let findings = mapping_findings(&mapping);
    if let Err(why) = &candidate.config_maps {
        let asks = format!("revision {} asks for no ConfigMaps", candidate.revision.short());
        let told = findings.iter().map(present::finding);
        return Err(told
            .fold(Failure::new(FailureKind::Usage, asks).cause(why.to_string()), Failure::cause)
            .hint("take an older revision with --revision, or another file with --plugin-config"));
    }
    output::document(
        global.output,
        || present::render_document(&candidate, &findings, &not_understood),
        || {
            let mut text = format!("git {} \"{}\"\n", candidate.revision.short(), candidate.revision.subject);
            for map in candidate.config_maps.as_ref().map_or(&[][..], |maps| maps.as_slice()) {
                text.push_str(&format!("{}/{} in cluster {}\n", map.key.namespace, map.key.name, map.cluster));
                for (key, entry) in &map.entries {
                    let gzip = if entry.gzip { ", gzip" } else { "" };
                    text.push_str(&format!("  {key}  {} bytes{gzip}  from {}\n", entry.bytes.len(), entry.path));
                }
            }
            for objection in &candidate.objections {
                text.push_str(&format!("GUESS  Prow would refuse it: {}\n", objection.message));
            }
            for finding in &findings {
                let weight = present::severity(finding.severity);
                text.push_str(&format!("{weight:<4}  {}\n", present::finding(finding)));
                // The line has its place in plugins.yaml already, and what it is about, unless that is more than one.
                let place = format!("{}:", mapping.plugins);
                let more = finding.evidence.iter().filter(|evidence| !evidence.starts_with(&place)).skip(1);
                more.for_each(|evidence| text.push_str(&format!("      {evidence}\n")));
            }
            for what in &not_understood {
                text.push_str(&format!("note: {what}\n"));
            }
            text
        },
    )?;
    Ok(0)
}
