//! A kubeconfig context to a [`Cluster`], and the reads that need no watch.
//!
//! What is sent is what was asked for: no retries behind our back, a time limit on every call, and reviews ("who am I",
//! "may I") are created with `dryRun=All`, so the audit log holds nothing that changes something.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use http_body_util::BodyExt as _;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::version::Info;
use kube::api::{Api, ListParams, PostParams};
use kube::config::KubeConfigOptions;
use kube::core::PartialObjectMeta;
use kube::{Client, Config};

use super::token::{SignIn, Token};
use super::{errors, exec, kubeconfig, objects, proxy, transport};
use crate::model::text::sanitize_line;
use crate::model::{Alias, ClusterIdentity, ConfigMapState, Failure, FailureKind, Key, Timestamp, sha256_hex};

/// A connection that takes longer than this to open is given up.
const CONNECT: Duration = Duration::from_secs(5);
/// A connection without a byte for this long is dead. Watches end well before.
const SILENCE: Duration = Duration::from_secs(45);

/// Which cluster to talk to, and as whom.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// A file; else `KUBECONFIG`, else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// A context of it; else the current one.
    pub context: Option<String>,
    pub impersonate_user: Option<String>,
    pub impersonate_groups: Vec<String>,
    /// For each call that is no watch.
    pub request_timeout: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        ConnectOptions {
            kubeconfig: None,
            context: None,
            impersonate_user: None,
            impersonate_groups: Vec::new(),
            request_timeout: Duration::from_secs(10),
        }
    }
}

/// What a server tells to everybody; each `None` where it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerVersion {
    /// Such as `v1.34.4`.
    pub version: Option<String>,
    /// Its own clock's, to the second.
    pub time: Option<Timestamp>,
}

/// An API server, as one user. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    alias: Alias,
    inner: Arc<Inner>,
}

struct Inner {
    context: String,
    server: String,
    ca: String,
    namespace: String,
    client: Client,
    timeout: Duration,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("context", &self.inner.context).field("server", &self.inner.server).finish()
    }
}

/// Makes a client for the context; nothing is sent yet (but an exec plugin runs here).
///
/// Errors are of kind `Usage` (kubeconfig), `Refused` (a redirecting environment) or `Unauthenticated` (exec plugin).
pub(super) async fn connect(options: &ConnectOptions) -> Result<Cluster, Failure> {
    kubeconfig::refuse_redirects(|name| std::env::var_os(name))?;
    let loaded = kubeconfig::load(options.kubeconfig.as_deref(), |name| std::env::var_os(name))?;
    let context = kubeconfig::choose(&loaded, options.context.as_deref())?;
    let own_proxy = own_proxy(&loaded, &context);
    let chosen = KubeConfigOptions { context: Some(context.clone()), cluster: None, user: None };
    let mut config = Config::from_custom_kubeconfig(loaded.config, &chosen)
        .await
        .map_err(|error| kubeconfig::unreadable(&error, &loaded.from))?;
    config.proxy_url = proxy::proxy_for(config.cluster_url.host().unwrap_or_default(), own_proxy.as_deref(), |name| {
        std::env::var(name).ok()
    })
    .map(|url| url.parse())
    .transpose()
    .map_err(|_| {
        Failure::new(FailureKind::Usage, "the proxy's address is no URL").hint("check proxy-url and HTTPS_PROXY")
    })?;
    config.connect_timeout = Some(CONNECT.min(options.request_timeout));
    config.read_timeout = Some(SILENCE);
    config.headers.push((USER_AGENT, HeaderValue::from_static(concat!("prow-breakglass/", env!("CARGO_PKG_VERSION")))));
    impersonate(&mut config, options)?;
    let token = sign_in(&mut config).await?;

    let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let ca = config.root_cert.as_ref().map(|ders| sha256_hex(&ders.concat())).unwrap_or_default();
    let namespace = config.default_namespace.clone();
    let doing = format!("set up the connection to {server}");
    let builder = transport::builder(config).map_err(|error| errors::classify(&error, &doing))?;
    let client = match token {
        None => builder.build(),
        Some(token) => builder.with_layer(&SignIn(token)).build(),
    };
    let timeout = options.request_timeout;
    let inner = Arc::new(Inner { context, server, ca, namespace, client, timeout });
    Ok(Cluster { alias: Alias::service(), inner })
}

/// A context of the kubeconfig, without connecting to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherContext {
    pub context: String,
    pub server: String,
}

/// The contexts of the kubeconfig that lead to other servers than this one, one a server, in the order of the file.
///
/// # Errors
/// As of [`connect`]: the kubeconfig cannot be used.
pub(super) fn other_contexts(options: &ConnectOptions, server: &str) -> Result<Vec<OtherContext>, Failure> {
    let loaded = kubeconfig::load(options.kubeconfig.as_deref(), |name| std::env::var_os(name))?;
    let mut found: Vec<OtherContext> = Vec::new();
    for named in &loaded.config.contexts {
        let Some(context) = &named.context else { continue };
        let clusters = &loaded.config.clusters;
        let url = clusters
            .iter()
            .find(|cluster| cluster.name == context.cluster)
            .and_then(|cluster| cluster.cluster.as_ref()?.server.as_deref());
        let Some(url) = url.map(|url| url.trim_end_matches('/').to_owned()) else { continue };
        if url != server && !found.iter().any(|other| other.server == url) {
            found.push(OtherContext { context: named.name.clone(), server: url });
        }
    }
    Ok(found)
}

fn own_proxy(loaded: &kubeconfig::Loaded, context: &str) -> Option<String> {
    let context = loaded.config.contexts.iter().find(|named| named.name == context)?.context.as_ref()?;
    let cluster = loaded.config.clusters.iter().find(|named| named.name == context.cluster)?.cluster.as_ref()?;
    cluster.proxy_url.clone()
}

fn impersonate(config: &mut Config, options: &ConnectOptions) -> Result<(), Failure> {
    if options.impersonate_user.is_none() && !options.impersonate_groups.is_empty() {
        return Err(Failure::new(FailureKind::Usage, "--as-group without --as").hint("name the user, too: --as USER"));
    }
    if let Some(user) = &options.impersonate_user {
        config.auth_info.impersonate = Some(user.clone());
        config.auth_info.impersonate_groups = Some(options.impersonate_groups.clone());
    }
    Ok(())
}

/// Runs an exec plugin in place of the client library. Returns the token that renews itself, if that is what it gave.
async fn sign_in(config: &mut Config) -> Result<Option<Arc<Token>>, Failure> {
    let auth = &mut config.auth_info;
    // The library would run a command of `gcp` synchronously; Kubernetes 1.26 dropped it. `oidc` is its id-token.
    if let Some(provider) = auth.auth_provider.as_ref().filter(|provider| provider.name != "oidc") {
        return Err(Failure::new(
            FailureKind::Usage,
            format!("the auth-provider {} of the kubeconfig is no longer supported", sanitize_line(&provider.name)),
        )
        .hint("make the kubeconfig anew: kubectl needs an exec plugin, too"));
    }
    let has_other = auth.token.is_some() || auth.token_file.is_some() || auth.username.is_some();
    let Some(plugin) = auth.exec.take().filter(|_| !has_other) else {
        return Ok(None);
    };
    let credentials = exec::run(&plugin).await?;
    if let (Some(certificate), Some(key)) = (&credentials.client_certificate_data, &credentials.client_key_data) {
        use base64::Engine as _;
        let encode = |pem: &str| base64::engine::general_purpose::STANDARD.encode(pem);
        auth.client_certificate_data = Some(encode(certificate));
        auth.client_key_data = Some(encode(key).into());
    }
    match credentials.token {
        Some(_) => Token::renewed(plugin, &credentials).map(Some),
        None => Ok(None),
    }
}

/// How a cluster that no kubeconfig names is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub context: String,
    /// URL, which nothing connects to.
    pub server: String,
    pub namespace: String,
    /// For each call that is no watch.
    pub request_timeout: Duration,
}

impl Cluster {
    /// A cluster behind a client that was made elsewhere, such as one of a simulated server.
    pub fn over(client: Client, made: Made) -> Cluster {
        let Made { context, server, namespace, request_timeout: timeout } = made;
        let inner = Arc::new(Inner { context, server, ca: String::new(), namespace, client, timeout });
        Cluster { alias: Alias::service(), inner }
    }

    /// Its key in snapshots: Prow's name of this cluster, or the context's.
    pub fn alias(&self) -> &Alias {
        &self.alias
    }

    /// The same cluster under another key.
    #[must_use]
    pub fn known_as(&self, alias: &Alias) -> Cluster {
        Cluster { alias: alias.clone(), inner: self.inner.clone() }
    }

    /// Name of the kubeconfig context.
    pub fn context(&self) -> &str {
        &self.inner.context
    }

    /// URL of the API server.
    pub fn server(&self) -> &str {
        &self.inner.server
    }

    /// The context's namespace, `default` where it names none.
    pub fn namespace(&self) -> &str {
        &self.inner.namespace
    }

    /// How long a call may take.
    pub fn timeout(&self) -> Duration {
        self.inner.timeout
    }

    pub(crate) fn client(&self) -> Client {
        self.inner.client.clone()
    }

    /// A call with its time limit and its errors classified. Everything but watches goes through here.
    pub(crate) async fn call<T>(
        &self,
        doing: &str,
        future: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Failure> {
        self.call_within(self.inner.timeout, doing, future).await
    }

    async fn call_within<T>(
        &self,
        within: Duration,
        doing: &str,
        future: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(within, future).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.at_server(errors::classify(&error, doing))),
            Err(_) => Err(self.at_server(errors::timed_out(doing, within))),
        }
    }

    /// Says which server cannot be reached.
    pub(crate) fn at_server(&self, failure: Failure) -> Failure {
        if failure.kind != FailureKind::Unreachable {
            return failure;
        }
        failure.cause(format!("server {} (context {})", self.server(), self.context()))
    }

    /// What makes this cluster itself: read from the server each time. Of kind `Forbidden` where this user may not
    /// read the namespace kube-system, whose uid it is; nothing can be planned then.
    pub async fn identity(&self) -> Result<ClusterIdentity, Failure> {
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(self.client());
        let doing = "get namespace kube-system";
        let namespace = self.call(doing, namespaces.get("kube-system")).await?;
        let uid = namespace.metadata.uid.filter(|uid| !uid.is_empty()).ok_or_else(|| {
            Failure::new(FailureKind::Server, "the namespace kube-system has no uid")
                .cause(format!("server {}", self.server()))
        })?;
        Ok(ClusterIdentity {
            alias: self.alias().clone(),
            context: self.inner.context.clone(),
            server: self.inner.server.clone(),
            uid: sanitize_line(&uid),
            ca: self.inner.ca.clone(),
        })
    }

    /// Who the server says we are; `None` where it does not tell (servers before 1.28).
    pub async fn user(&self) -> Result<Option<String>, Failure> {
        let reviews: Api<SelfSubjectReview> = Api::all(self.client());
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        match self.call("ask who we are", reviews.create(&dry, &SelfSubjectReview::default())).await {
            Ok(review) => Ok(review
                .status
                .and_then(|status| status.user_info)
                .and_then(|user| user.username)
                .map(|name| sanitize_line(&name))),
            Err(failure) if matches!(failure.kind, FailureKind::NotFound | FailureKind::Forbidden) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// May we? `resource` may carry a subresource (`pods/log`); `group` is empty for the core group.
    pub async fn can(&self, verb: &str, resource: &str, group: &str, namespace: &str) -> Result<bool, Failure> {
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.client());
        let doing = format!("ask whether we may {verb} {resource}");
        let (resource, subresource) = match resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (resource, None),
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.to_owned()),
                    resource: Some(resource.to_owned()),
                    subresource,
                    group: Some(group.to_owned()),
                    namespace: Some(namespace.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let answer = self.call(&doing, reviews.create(&dry, &review)).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// The ConfigMap as it is now: a consistent read, never from a cache. `None` where there is none.
    pub async fn config_map(&self, key: &Key) -> Result<Option<ConfigMapState>, Failure> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client(), &key.namespace);
        let doing = format!("get configmap {} in namespace {}", key.name, key.namespace);
        let found = self.call(&doing, maps.get_opt(&key.name)).await?;
        Ok(found.and_then(|map| objects::config_map(self.alias(), map)))
    }

    /// The uid of the pod of that name now: a consistent read. `None` where there is none.
    pub async fn pod_uid(&self, key: &Key) -> Result<Option<String>, Failure> {
        let pods: Api<PartialObjectMeta<k8s_openapi::api::core::v1::Pod>> =
            Api::namespaced(self.client(), &key.namespace);
        let doing = format!("get pod {} in namespace {}", key.name, key.namespace);
        let found = self.call(&doing, pods.get_opt(&key.name)).await?;
        Ok(found.and_then(|pod| pod.metadata.uid))
    }

    /// What the server says of itself and of the time.
    pub async fn version(&self) -> Result<ServerVersion, Failure> {
        let request = http::Request::get("/version").body(kube::client::Body::empty());
        let request = request.map_err(|error| {
            Failure::new(FailureKind::Tool, "the request could not be built").cause(error.to_string())
        })?;
        let answer = async {
            let (parts, body) = self.client().send(request).await?.into_parts();
            // The time counts also where the body is not understood.
            Ok((parts, body.collect().await.ok()))
        };
        let (parts, body) = self.call("read the server's version", answer).await?;
        let date = parts.headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
        let time = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()).map(|date| date.timestamp());
        let info = body.and_then(|body| serde_json::from_slice::<Info>(&body.to_bytes()).ok());
        Ok(ServerVersion { version: info.map(|info| sanitize_line(&info.git_version)), time })
    }

    /// Does the server answer? One cheap, consistent LIST. That this user may not list is an answer, too.
    pub async fn heartbeat(&self, within: Duration) -> Result<(), Failure> {
        let maps: Api<PartialObjectMeta<ConfigMap>> = Api::namespaced(self.client(), &self.inner.namespace);
        match self.call_within(within, "talk to the API server", maps.list(&ListParams::default().limit(1))).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.kind == FailureKind::Forbidden => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Response;
    use kube::client::Body;

    use super::*;
    use crate::cluster::fake::cluster_over;

    #[tokio::test]
    async fn the_server_tells_its_time_or_does_not() {
        let told = async |date: Option<&'static str>| {
            let service = tower::service_fn(move |_: http::Request<Body>| {
                let answer = Response::builder();
                let answer = match date {
                    Some(date) => answer.header(http::header::DATE, date),
                    None => answer,
                };
                std::future::ready(answer.body(Body::empty()))
            });
            cluster_over(Client::new(service, "default")).version().await.map(|told| told.time)
        };
        let expected = "2019-02-05T17:27:42Z".parse().ok();
        assert_eq!(told(Some("Tue, 05 Feb 2019 17:27:42 GMT")).await.expect("an answer"), expected);
        assert_eq!(told(Some("yesterday")).await.expect("an answer"), None);
        assert_eq!(told(None).await.expect("an answer"), None);
    }
}
