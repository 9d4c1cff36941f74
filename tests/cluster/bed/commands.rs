//! What a test may ask of a running bed: a line on its stdin, answered by one line of JSON on stdout.
//!
//! Commands about an API server take a cluster's name, `service` (which is meant when none is named) or `build`.

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::bump;
use crate::cluster::Cluster;
use crate::upload;

/// Carries a command out. `None` asks the bed to end.
pub async fn obey(bed: &mut Bed, line: &str) -> Option<Value> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if words == ["stop"] {
        return None;
    }
    Some(match carry_out(bed, &words).await {
        Ok(mut answer) => {
            answer["ok"] = json!(true);
            answer
        }
        Err(error) => json!({ "ok": false, "error": format!("{error:#}") }),
    })
}

async fn carry_out(bed: &mut Bed, words: &[&str]) -> Result<Value> {
    match words {
        ["merge", name] => {
            let revision = bed.repository.merge(name).await?;
            return Ok(json!({ format!("{name}Revision"): revision }));
        }
        ["upload", name] => upload::as_hook(bed, name).await?,
        ["pause-controllers"] => bed.pause_controllers().await,
        ["resume-controllers"] => bed.resume_controllers(),
        // The API server accepts connections and never answers.
        ["freeze-apiserver", rest @ ..] => cluster(bed, rest)?.plane.signal_api_server(Signal::STOP),
        ["thaw-apiserver", rest @ ..] => cluster(bed, rest)?.plane.signal_api_server(Signal::CONT),
        // The API server refuses connections.
        ["stop-apiserver", rest @ ..] => cluster(bed, rest)?.plane.stop_api_server().await?,
        ["start-apiserver", rest @ ..] => cluster(bed, rest)?.plane.start_api_server().await?,
        // All components at this tag again; comes back when they are.
        ["deploy", tag] => bump::deploy(bed, tag).await?,
        // A tag, or BASE:TAG; what runs already goes on.
        ["make-unpullable", what] => bed.images.withdraw(what),
        ["make-pullable", what] => bed.images.publish(what),
        ["write-configmap", name, key] => bed.write_config_map(name, key).await?,
        ["back-off-factor", factor] => {
            bed.service.kubelet.set_back_off_factor(factor.parse().context("not a number")?);
        }
        ["kill-containers", prefix] => {
            let killed = bed.service.kubelet.kill_containers(bed.layout.prow, prefix);
            return Ok(json!({ "killed": killed }));
        }
        ["status"] => {
            bed.check()?;
            return Ok(json!({ "containers": bed.service.kubelet.describe() }));
        }
        _ => bail!("no such command: {}", words.join(" ")),
    }
    Ok(json!({}))
}

/// The cluster that a command names.
fn cluster<'a>(bed: &'a mut Bed, words: &[&str]) -> Result<&'a mut Cluster> {
    match words {
        [] => bed.cluster(None),
        [name] => bed.cluster(Some(name)),
        _ => bail!("one cluster at a time"),
    }
}
