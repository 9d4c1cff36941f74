//! The little of GitHub that Prow's programs ask for when they start and work.
//!
//! hook waits for `/user` before it serves; crier sets statuses and comments. Everything else is answered with 404, which Prow takes for "no such
//! thing". To play more of GitHub: an arm in [`answer`].

use anyhow::Result;
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

type Body = http_body_util::Full<Bytes>;

/// Serves on a free port; gives back the base address.
pub async fn serve() -> Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let service = service_fn(|request| std::future::ready(answer(&request)));
                // A client that goes away is its own business.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(address)
}

fn answer(request: &Request<Incoming>) -> Result<Response<Body>, http::Error> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/user") => (StatusCode::OK, json!({ "login": "k8s-ci-robot", "id": 20407524 })),
        (&Method::GET, "/user/repos") => (StatusCode::OK, json!([])),
        // crier: what is said of a pull request already, and what it says.
        (&Method::GET, path) if path.ends_with("/comments") => (StatusCode::OK, json!([])),
        (&Method::POST, path) if path.contains("/statuses/") || path.ends_with("/comments") => {
            (StatusCode::CREATED, json!({}))
        }
        (&Method::POST, "/graphql") => (StatusCode::OK, json!({ "data": {} })),
        _ => (StatusCode::NOT_FOUND, json!({ "message": "Not Found" })),
    };
    Response::builder()
        .status(status)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
}
