//! What a test may ask of a running bed: a line on its stdin, answered by one line of JSON on stdout.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::bed::Bed;

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
        ["upload", name] => bed.upload_as_hook(name).await?,
        ["pause-controllers"] => bed.pause_controllers().await,
        ["resume-controllers"] => bed.resume_controllers(),
        ["freeze-apiserver"] => bed.freeze_api_server(),
        ["thaw-apiserver"] => bed.thaw_api_server(),
        ["stop-apiserver"] => bed.stop_api_server().await?,
        ["start-apiserver"] => bed.start_api_server().await?,
        ["write-configmap", name, key] => bed.write_config_map(name, key).await?,
        ["back-off-factor", factor] => bed.kubelet.set_back_off_factor(factor.parse().context("not a number")?),
        ["kill-containers", prefix] => {
            let killed = bed.kubelet.kill_containers(crate::prow_objects::PROW, prefix);
            return Ok(json!({ "killed": killed }));
        }
        ["status"] => {
            bed.check()?;
            return Ok(json!({ "containers": bed.kubelet.describe() }));
        }
        _ => bail!("no such command: {}", words.join(" ")),
    }
    Ok(json!({}))
}
