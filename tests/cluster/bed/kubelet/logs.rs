//! The kubelet's endpoint for logs: the API server sends people's `kubectl logs` here.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use http::{Response, StatusCode};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::Shared;
use super::container::{Container, State};
use crate::certs::Leaf;

/// Serves `/containerLogs/NAMESPACE/POD/CONTAINER` on the port that it gives back. `follow` is ignored: one gets
/// what there is.
pub async fn serve(shared: Arc<Shared>, serving: &Leaf) -> Result<u16> {
    let cert = CertificateDer::from_pem_slice(serving.cert.as_bytes()).context("the kubelet's certificate")?;
    let key = PrivateKeyDer::from_pem_slice(serving.key.as_bytes()).context("the kubelet's key")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = service_fn(|request| {
                    let answer = answer(&shared, request.uri());
                    std::future::ready(answer)
                });
                // A client that goes away is its own business.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(port)
}

type Body = http_body_util::Full<hyper::body::Bytes>;

fn answer(shared: &Shared, uri: &http::Uri) -> Result<Response<Body>, http::Error> {
    let (status, body) = match find(shared, uri) {
        Ok(log) => (StatusCode::OK, log),
        Err((status, message)) => (status, message.into_bytes()),
    };
    Response::builder().status(status).header(http::header::CONTENT_TYPE, "text/plain").body(Body::from(body))
}

fn find(shared: &Shared, uri: &http::Uri) -> Result<Vec<u8>, (StatusCode, String)> {
    let parts: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
    let ["containerLogs", namespace, pod, name] = parts[..] else {
        return Err((StatusCode::NOT_FOUND, "404 page not found".to_owned()));
    };
    let records = shared.records();
    let Some(record) = records.iter().find(|r| r.namespace == namespace && r.name == pod) else {
        let message = format!("pod \"{pod}\" not found");
        return Err((StatusCode::NOT_FOUND, message));
    };
    let Some(container) = record.containers.iter().find(|c| c.spec.name == name) else {
        let message = format!("container \"{name}\" not found in pod \"{pod}\"");
        return Err((StatusCode::BAD_REQUEST, message));
    };
    let options: HashMap<&str, &str> =
        uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')).collect();
    let previous = options.get("previous").is_some_and(|value| *value == "true");
    let run = run_of(container, previous).map_err(|message| {
        let message = message.replace("{pod}", pod).replace("{name}", name);
        (StatusCode::BAD_REQUEST, message)
    })?;
    let log = std::fs::read(container.log(run)).unwrap_or_default();
    Ok(cut(&log, &options))
}

/// Which run's log is asked for, by the kubelet's rules: of a waiting container the run before.
fn run_of(container: &Container, previous: bool) -> Result<u32, &'static str> {
    let record = container.record();
    let last = record.last.as_ref().map(|exit| exit.run);
    if previous {
        return last.ok_or("previous terminated container \"{name}\" in pod \"{pod}\" not found");
    }
    match &record.state {
        State::Running { .. } => Ok(record.run),
        State::Terminated(exit) => Ok(exit.run),
        State::Waiting { .. } => last.ok_or("container \"{name}\" in pod \"{pod}\" is waiting to start"),
    }
}

/// Applies tailLines, sinceSeconds, sinceTime, timestamps and limitBytes to a log of timed lines.
fn cut(log: &[u8], options: &HashMap<&str, &str>) -> Vec<u8> {
    let number = |name: &str| options.get(name).and_then(|value| value.parse::<i64>().ok());
    let ago = number("sinceSeconds").map(|seconds| Timestamp::now().as_second() - seconds);
    let since = options.get("sinceTime").and_then(|time| {
        let time = time.replace("%3A", ":").replace("%2B", "+");
        Some(time.parse::<Timestamp>().ok()?.as_second())
    });
    let since = ago.or(since);
    let timestamps = options.get("timestamps").is_some_and(|value| *value == "true");
    let mut lines: Vec<&[u8]> = Vec::new();
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        let space = line.iter().position(|byte| *byte == b' ').unwrap_or(0);
        if let Some(since) = since {
            let time = std::str::from_utf8(&line[..space]).ok();
            let time = time.and_then(|time| time.parse::<Timestamp>().ok());
            if time.is_some_and(|time| time.as_second() < since) {
                continue;
            }
        }
        lines.push(if timestamps { line } else { &line[space + 1..] });
    }
    if let Some(tail) = number("tailLines") {
        let tail = usize::try_from(tail).unwrap_or(0);
        lines.drain(..lines.len().saturating_sub(tail));
    }
    let mut out = lines.concat();
    if let Some(limit) = number("limitBytes") {
        out.truncate(usize::try_from(limit).unwrap_or(0));
    }
    out
}
