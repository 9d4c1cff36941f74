//! The bed's own access to its API server.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;

/// The user agent of people's `kubectl apply`, whose field manager the bed's objects bear.
pub const APPLIED_BY: &str = "kubectl-client-side-apply";

/// A client of a kubeconfig's only context that introduces itself as `agent`.
pub async fn client(kubeconfig: &Path, agent: &str) -> Result<Client> {
    let text = std::fs::read_to_string(kubeconfig).with_context(|| format!("read {}", kubeconfig.display()))?;
    let kubeconfig = Kubeconfig::from_yaml(&text)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.headers.push((http::header::USER_AGENT, agent.parse()?));
    config.connect_timeout = Some(Duration::from_secs(5));
    // Proxies of the surrounding environment are not for loopback.
    config.proxy_url = None;
    Ok(Client::try_from(config)?)
}

/// The collection that an object belongs to.
fn collection(object: &Value) -> Result<String> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let version = text("/apiVersion").context("an object without apiVersion")?;
    let kind = text("/kind").context("an object without kind")?;
    let plural = match kind {
        "ProwJob" => "prowjobs".to_owned(),
        kind => format!("{}s", kind.to_lowercase()),
    };
    let base = if version.contains('/') { "apis" } else { "api" };
    Ok(match text("/metadata/namespace") {
        Some(namespace) => format!("/{base}/{version}/namespaces/{namespace}/{plural}"),
        None => format!("/{base}/{version}/{plural}"),
    })
}

/// Creates an object; `manager` stands in its managedFields.
pub async fn create(client: &Client, object: &Value, manager: &str) -> Result<Value> {
    let path = format!("{}?fieldManager={manager}", collection(object)?);
    let request = http::Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(object)?)?;
    client.request(request).await.with_context(|| format!("create {} {}", object["kind"], object["metadata"]["name"]))
}

/// Creates the objects of a manifest of several documents.
pub async fn create_manifest(client: &Client, manifest: &str) -> Result<()> {
    for document in manifest.split("\n---\n") {
        let object: Value = serde_saphyr::from_str(document).context("parse a manifest")?;
        create(client, &object, APPLIED_BY).await?;
    }
    Ok(())
}

/// Asks again until `ready` says so; an error of it is remembered, not fatal.
pub async fn eventually<F>(what: &str, within: Duration, mut ready: F) -> Result<()>
where
    F: AsyncFnMut() -> Result<bool>,
{
    let deadline = Instant::now() + within;
    loop {
        let last = match ready().await {
            Ok(true) => return Ok(()),
            Ok(false) => None,
            Err(error) => Some(error),
        };
        if Instant::now() > deadline {
            match last {
                Some(error) => bail!("{what} did not happen within {} s: {error:#}", within.as_secs()),
                None => bail!("{what} did not happen within {} s", within.as_secs()),
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
