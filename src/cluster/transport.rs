//! The way to an API server: the client library's own parts, put together with `TCP_NODELAY`.
//!
//! The library leaves Nagle's algorithm on. A request that follows the end of the TLS handshake then waits for the server's
//! acknowledgement of that, which Linux delays by 40 ms: now and then one of the first requests, and whatever hangs on it, was
//! late by that (docs/decisions/0016). What goes through a proxy is left to the library.

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::Config;
use kube::client::{Body, ClientBuilder, ConfigExt as _, DynBody};
use tower::util::BoxService;
use tower::{BoxError, ServiceBuilder, ServiceExt as _};
use tower_http::ServiceExt as _;
use tower_http::decompression::DecompressionLayer;

/// What the library builds, too.
pub type Transport = BoxService<Request<Body>, Response<Box<DynBody>>, BoxError>;

/// Connects nothing yet. A request that was sent is never repeated; one that a closed connection did not take up is sent on
/// another.
///
/// # Errors
/// The configuration's certificates, credentials, headers or proxy cannot be used.
pub fn builder(mut config: Config) -> Result<ClientBuilder<Transport>, kube::Error> {
    config.default_retry = false;
    if config.proxy_url.is_some() {
        return ClientBuilder::try_from(config);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(DecompressionLayer::new().no_br().no_deflate().no_zstd().gzip(!config.disable_compression))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(Client::builder(TokioExecutor::new()).build::<_, Body>(connector))
        .map_response_body(|body| Box::new(BodyExt::map_err(body, BoxError::from)) as Box<DynBody>);
    Ok(ClientBuilder::new(service.boxed(), config.default_namespace))
}
