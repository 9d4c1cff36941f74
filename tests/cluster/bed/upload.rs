//! What hook's config-updater does after a merge: that commit's files into the ConfigMaps, as the live plugins.yaml says.
//!
//! It goes by the rules that the bed's own configurations need: maps with a name, `**` before a suffix, `gzip`.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::api;
use crate::bed::Bed;

/// Uploads the files of a commit, and its revision.
pub async fn as_hook(bed: &Bed, commit: &str) -> Result<()> {
    let revision = bed.repository.revision(commit).await?.context("not merged yet")?;
    let agent = format!("hook/{}", bed.layout.tag);
    let client = api::client(&bed.accounts.join("hook.kubeconfig"), &agent).await?;
    let text = live(bed, "plugins", "plugins.yaml").await?;
    // What hook has loaded; whoever compresses it has no hook that uploads the next one.
    let plugins: Value = serde_saphyr::from_str(std::str::from_utf8(&text).context("plugins.yaml is no text")?)?;
    let mut maps: BTreeMap<&str, Vec<(&str, &str, bool)>> = BTreeMap::new();
    for (path, content) in bed.repository.files_of(commit, "config/") {
        let (map, compressed) = target(&plugins["config_updater"], path)?;
        let key = path.rsplit('/').next().unwrap_or(path);
        maps.entry(map).or_default().push((key, content, compressed));
    }
    // Each map once.
    for (map, files) in maps {
        let mut object: Value = client.request(get(bed.layout.prow, map)?).await?;
        for (key, content, compressed) in files {
            put(&mut object, key, content, compressed)?;
        }
        object["data"]["VERSION"] = json!(revision);
        let request = http::Request::put(path(bed.layout.prow, map))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(serde_json::to_vec(&object)?)?;
        client.request::<Value>(request).await?;
    }
    Ok(())
}

/// A value of a ConfigMap of Prow's, as it is live.
pub async fn live(bed: &Bed, map: &str, key: &str) -> Result<Vec<u8>> {
    let object: Value = bed.service.client.request(get(bed.layout.prow, map)?).await?;
    match (object["data"][key].as_str(), object["binaryData"][key].as_str()) {
        (Some(text), _) => Ok(text.as_bytes().to_vec()),
        (None, Some(base64)) => Ok(STANDARD.decode(base64)?),
        (None, None) => bail!("ConfigMap {map} has no {key}"),
    }
}

/// The ConfigMap of a file, and whether its value is compressed.
fn target<'a>(updater: &'a Value, path: &str) -> Result<(&'a str, bool)> {
    let maps = updater["maps"].as_object().context("no maps")?;
    let matches = |glob: &str| match glob.split_once("**/*") {
        Some((folder, suffix)) => path.starts_with(folder) && path.ends_with(suffix),
        None => glob == path,
    };
    let (_, map) = maps.iter().find(|(glob, _)| matches(glob)).with_context(|| format!("no map for {path}"))?;
    let compressed = map["gzip"].as_bool().or(updater["gzip"].as_bool()).unwrap_or(false);
    Ok((map["name"].as_str().context("a map without a name")?, compressed))
}

/// Compressed values are no text and lie apart; a key is in one place only.
fn put(object: &mut Value, key: &str, content: &str, compressed: bool) -> Result<()> {
    let (to, from, value) = if compressed {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(content.as_bytes())?;
        ("binaryData", "data", STANDARD.encode(gzip.finish()?))
    } else {
        ("data", "binaryData", content.to_owned())
    };
    object[to][key] = json!(value);
    if let Some(other) = object[from].as_object_mut() {
        other.remove(key);
    }
    Ok(())
}

fn get(namespace: &str, name: &str) -> Result<http::Request<Vec<u8>>> {
    Ok(http::Request::get(path(namespace, name)).body(Vec::new())?)
}

fn path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps/{name}")
}
