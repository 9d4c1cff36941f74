//! API servers in memory, beneath `kube::Client`: a request comes in as it would over a connection, and what goes out is what
//! Kubernetes 1.34 says. The only async part of the simulation, and the only one that knows HTTP.
//!
//! - [`route`]: what a path asks for; `read`: get, list, logs; `write`: create, update, patch, delete
//! - `watch`: the stream of changes; `table`: pods as rows; `about`: discovery, version, reviews of one's own rights
//!
//! To serve another kind of object: a `Resource`. To serve another verb: its arm in [`answer`].

mod about;
mod read;
pub mod route;
mod table;
mod watch;
mod write;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use kube::Client;
use kube::client::Body;
use serde_json::Value;

use super::access::{Asked, with_subresource};
use super::object::Resource;
use super::refusal::Refusal;
use super::world::{Reach, World};
use route::{Route, Target};

/// Requests may be no larger.
const LARGEST: usize = 3 * 1024 * 1024;

type ResponseBody = UnsyncBoxBody<Bytes, std::io::Error>;

/// The world, and who waits for it to change.
#[derive(Clone)]
pub struct Shared {
    world: Arc<Mutex<World>>,
    changed: Arc<tokio::sync::watch::Sender<u64>>,
}

impl Shared {
    pub fn new(world: World) -> Shared {
        Shared { world: Arc::new(Mutex::new(world)), changed: Arc::new(tokio::sync::watch::channel(0).0) }
    }

    /// A panic in one test must not hide what another says.
    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the world and tells the watches.
    pub fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let value = change(&mut self.lock());
        self.tell();
        value
    }

    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// The client of a person who has this context.
    pub fn client(&self, context: &str) -> Client {
        let (shared, context) = (self.clone(), context.to_owned());
        let service = tower::service_fn(move |request: Request<Body>| serve(shared.clone(), context.clone(), request));
        Client::new(service, "default")
    }
}

/// What is answered to a request.
enum Answer {
    Json(u16, Value),
    /// Written already, as lists are.
    Bytes(Vec<u8>),
    Text(String),
    Watch(Box<watch::Start>),
}

async fn serve(
    shared: Shared,
    context: String,
    request: Request<Body>,
) -> Result<Response<ResponseBody>, std::io::Error> {
    let reach = shared.lock().clusters.get(&context).map_or(Reach::Refuses, |cluster| cluster.reach);
    match reach {
        Reach::Answers => {}
        Reach::Refuses => return Err(std::io::ErrorKind::ConnectionRefused.into()),
        Reach::Frozen => std::future::pending().await,
    }
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    // Others may send meanwhile, as over a network.
    tokio::task::yield_now().await;
    let reads = parts.method == Method::GET;
    let answer = {
        let mut world = shared.lock();
        let answer = if bytes.len() > LARGEST {
            Err(Refusal::too_large(LARGEST))
        } else {
            answer(&mut world, &context, &parts, &bytes)
        };
        if !reads {
            world.settle();
        }
        answer
    };
    if !reads {
        shared.tell();
    }
    let (code, kind, body) = match answer {
        Ok(Answer::Json(code, value)) => (code, "application/json", whole(value.to_string().into())),
        Ok(Answer::Bytes(bytes)) => (200, "application/json", whole(bytes.into())),
        Ok(Answer::Text(text)) => (200, "text/plain", whole(text.into())),
        Ok(Answer::Watch(start)) => (200, "application/json", watch::stream(shared, context, *start)),
        Err(refusal) => match refusal.page() {
            Some(page) => (refusal.code, "text/plain", whole(page.into())),
            None => (refusal.code, "application/json", whole(refusal.status().to_string().into())),
        },
    };
    Response::builder().status(code).header(CONTENT_TYPE, kind).body(body).map_err(std::io::Error::other)
}

fn whole(bytes: Bytes) -> ResponseBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A request, taken apart.
struct Incoming<'a> {
    route: Route,
    parts: &'a Parts,
    body: &'a [u8],
}

impl Incoming<'_> {
    fn header(&self, name: http::header::HeaderName) -> &str {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn is_dry_run(&self) -> bool {
        self.route.query("dryRun") == "All"
    }

    /// Who writes: as named, else the program by its user agent.
    fn manager(&self) -> String {
        match self.route.query("fieldManager") {
            "" => {
                let agent = self.header(USER_AGENT).split(['/', ' ']).next().unwrap_or_default();
                if agent.is_empty() { "unknown".to_owned() } else { agent.to_owned() }
            }
            named => named.to_owned(),
        }
    }

    fn audit_id(&self) -> String {
        self.parts.headers.get("Audit-ID").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned()
    }

    fn json(&self) -> Result<Value, Refusal> {
        serde_json::from_slice(self.body)
            .map_err(|error| Refusal::bad_request(format!("couldn't get version/kind; json parse error: {error}")))
    }

    fn wants_table(&self) -> bool {
        self.header(ACCEPT).contains("as=Table")
    }
}

fn answer(world: &mut World, context: &str, parts: &Parts, body: &[u8]) -> Result<Answer, Refusal> {
    let signed_in = world.clusters.get(context).is_some_and(|cluster| cluster.access.signed_in);
    if !signed_in {
        return Err(Refusal::unauthorized());
    }
    let incoming = Incoming { route: Route::parse(&parts.uri)?, parts, body };
    match incoming.route.target.clone() {
        Target::Version => Ok(Answer::Json(200, about::version())),
        Target::Groups => Ok(Answer::Json(200, about::groups())),
        Target::CoreVersions => Ok(Answer::Json(200, about::core_versions())),
        Target::Resources { group } => about::resources(&group).map(|list| Answer::Json(200, list)),
        Target::AccessReview => about::access_review(world, context, &incoming),
        Target::SelfReview => about::self_review(world, context, &incoming),
        Target::Objects { resource, namespace, name, subresource } => {
            let verb = verb(&parts.method, &name, &incoming)?;
            let asked_resource = with_subresource(resource, &subresource);
            let facts = resource.facts();
            // A namespace is in itself.
            let within = if resource == Resource::Namespace { &name } else { &namespace };
            let asked = Asked { verb, group: facts.group, resource: &asked_resource, namespace: within, name: &name };
            let allowed = world.clusters.get(context).map_or(Ok(()), |cluster| cluster.access.check(&asked));
            let place = Place { resource, namespace, name, subresource };
            match verb {
                "get" | "list" | "watch" => {
                    allowed?;
                    read::read(world, context, verb, &place, &incoming)
                }
                _ => write::write(world, context, verb, &place, &incoming, allowed),
            }
        }
    }
}

/// Which objects a request is about.
struct Place {
    resource: Resource,
    /// Empty: all, or none.
    namespace: String,
    /// Empty: all.
    name: String,
    subresource: String,
}

/// As in RBAC.
fn verb(method: &Method, name: &str, incoming: &Incoming<'_>) -> Result<&'static str, Refusal> {
    let watches = matches!(incoming.route.query("watch"), "1" | "true");
    match (method.as_str(), name.is_empty()) {
        ("GET", true) if watches => Ok("watch"),
        ("GET", true) => Ok("list"),
        ("GET", false) => Ok("get"),
        ("POST", true) => Ok("create"),
        ("PUT", false) => Ok("update"),
        ("PATCH", false) => Ok("patch"),
        ("DELETE", false) => Ok("delete"),
        _ => Err(Refusal::method_not_allowed()),
    }
}

#[cfg(test)]
mod tests;
