//! An API server in memory, beneath the real client and the real gate: ConfigMaps, pods, preconditions, dry runs, and
//! faults at a chosen request. For the speed of unit tests; it is no evidence of what an API server does. That is in
//! `tests/cluster`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{Cluster, Made};
use crate::model::{Alias, ClusterIdentity};

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks before the server does anything.
    DropBefore,
    /// The server does it, and the answer is lost.
    DropAfter,
    /// Nothing is done, and the request waits for ever: whoever sent it is dead.
    HangBefore,
    /// It is done, and the request waits for ever.
    HangAfter,
    /// It is done, and the answer comes when the test releases it.
    Hold,
    /// A `Status` of this code.
    Status(u16),
    /// A page of something between, with this code.
    Page(u16),
}

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub method: Method,
    pub uri: String,
    pub body: Value,
    pub audit_id: Option<String>,
    /// True where the server changed something for it.
    pub applied: bool,
}

/// A cluster behind a test's own client.
pub fn cluster_over(client: Client) -> Cluster {
    let made = Made {
        context: "test".to_owned(),
        server: "https://fake".to_owned(),
        namespace: "default".to_owned(),
        request_timeout: Duration::from_secs(5),
    };
    Cluster::over(client, made)
}

#[derive(Debug, Default)]
pub struct World {
    pub uid: String,
    pub objects: BTreeMap<String, Value>,
    pub seen: Vec<Seen>,
    version: u64,
    /// What happens to the requests that a test picks, by their number from 0.
    pub faults: BTreeMap<usize, Fault>,
    /// Requests that are being answered now, and the most that were at any time.
    in_flight: usize,
    pub most_in_flight: usize,
}

#[derive(Clone)]
pub struct FakeServer {
    world: Arc<Mutex<World>>,
    /// Told when a request hangs.
    pub hung: Arc<Notify>,
    /// Lets the answer of a held request go.
    pub release: Arc<Notify>,
}

impl FakeServer {
    pub fn new() -> Self {
        let world = World { uid: "cluster-1".to_owned(), version: 100, ..World::default() };
        FakeServer {
            world: Arc::new(Mutex::new(world)),
            hung: Arc::new(Notify::new()),
            release: Arc::new(Notify::new()),
        }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub fn cluster(&self) -> Cluster {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { server.handle(request).await }
        });
        cluster_over(Client::new(service, "default"))
    }

    pub fn identity(&self) -> ClusterIdentity {
        ClusterIdentity {
            alias: Alias::service(),
            context: "test".to_owned(),
            server: "https://fake".to_owned(),
            uid: self.world().uid.clone(),
            ca: String::new(),
        }
    }

    /// Requests so far that were not reads.
    pub fn writes(&self) -> Vec<Seen> {
        self.world().seen.iter().filter(|seen| seen.method != Method::GET).cloned().collect()
    }

    pub fn applied(&self) -> usize {
        self.world().seen.iter().filter(|seen| seen.applied).count()
    }

    /// Puts a ConfigMap there as `manager`, and gives its resourceVersion.
    pub fn put_config_map(&self, path: &str, uid: &str, data: Value, annotations: Value, manager: &str) -> String {
        let mut world = self.world();
        let map = json!({"data": data, "metadata": {"uid": uid, "annotations": annotations}});
        world.store(path, "ConfigMap", map, manager)
    }

    pub fn put_pod(&self, path: &str, uid: &str, ready: bool) {
        let ready = if ready { "True" } else { "False" };
        let pod = json!({"metadata": {"uid": uid}, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
        self.world().store(path, "Pod", pod, "kubelet");
    }

    /// A pod of a job: its resourceVersion is given.
    pub fn put_job_pod(&self, path: &str, uid: &str, phase: &str) -> String {
        let labels = json!({"created-by-prow": "true", "prow.k8s.io/id": path.rsplit('/').next()});
        let pod = json!({"metadata": {"uid": uid, "labels": labels}, "status": {"phase": phase}});
        self.world().store(path, "Pod", pod, "plank")
    }

    /// A Deployment of one container: its resourceVersion is given.
    pub fn put_deployment(&self, path: &str, uid: &str, image: &str) -> String {
        let name = path.rsplit('/').next().unwrap();
        let containers = json!([{"name": name, "image": image}]);
        let spec = json!({"selector": {}, "template": {"spec": {"containers": containers}}});
        self.world().store(path, "Deployment", json!({"metadata": {"uid": uid}, "spec": spec}), "kubectl")
    }

    async fn handle(&self, request: Request<Body>) -> Result<Response<Body>, std::io::Error> {
        {
            let mut world = self.world();
            world.in_flight += 1;
            world.most_in_flight = world.most_in_flight.max(world.in_flight);
        }
        // Others may send meanwhile, as over a network.
        tokio::task::yield_now().await;
        let answer = self.answer(request).await;
        self.world().in_flight -= 1;
        answer
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        let (number, fault) = {
            let world = self.world();
            (world.seen.len(), world.faults.get(&world.seen.len()).copied())
        };
        let mut seen = Seen {
            method: parts.method,
            uri: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
            audit_id: parts.headers.get("Audit-ID").and_then(|id| id.to_str().ok()).map(str::to_owned),
            applied: false,
        };
        let broken = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        self.world().seen.push(seen.clone());
        let answer = match fault {
            None => self.world().answer(&mut seen),
            Some(Fault::DropBefore) => return Err(broken()),
            Some(Fault::HangBefore) => return self.hang().await,
            Some(Fault::Status(code)) => status(code, "Injected"),
            Some(Fault::Page(code)) => {
                let page = Response::builder().status(code).body(Body::from(b"<html>sign in</html>".to_vec()));
                return page.map_err(std::io::Error::other);
            }
            Some(Fault::DropAfter | Fault::HangAfter | Fault::Hold) => self.world().answer(&mut seen),
        };
        self.world().seen[number] = seen;
        if fault == Some(Fault::Hold) {
            self.hung.notify_one();
            self.release.notified().await;
        }
        match fault {
            Some(Fault::DropAfter) => Err(broken()),
            Some(Fault::HangAfter) => self.hang().await,
            Some(Fault::DropBefore | Fault::HangBefore | Fault::Hold | Fault::Status(_) | Fault::Page(_)) | None => {
                let (code, body) = answer;
                let response = Response::builder().status(code).header("content-type", "application/json");
                response.body(Body::from(body.to_string().into_bytes())).map_err(std::io::Error::other)
            }
        }
    }

    async fn hang(&self) -> Result<Response<Body>, std::io::Error> {
        self.hung.notify_one();
        std::future::pending().await
    }
}

type Reply = (u16, Value);

fn status(code: u16, reason: &str) -> Reply {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": format!("{reason}, says the server"), "metadata": {}, "details": {},
    });
    (code, body)
}

impl World {
    fn answer(&mut self, seen: &mut Seen) -> Reply {
        let (path, query) = seen.uri.split_once('?').unwrap_or((&seen.uri, ""));
        let (path, dry) = (path.to_owned(), query.contains("dryRun=All"));
        if path == "/api/v1/namespaces/kube-system" {
            return (
                200,
                json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "kube-system", "uid": self.uid}}),
            );
        }
        // What the heartbeat asks for.
        if seen.method == Method::GET && path == "/api/v1/namespaces/default/configmaps" {
            return (200, json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {}, "items": []}));
        }
        if seen.method == Method::POST {
            let path = format!("{path}/{}", seen.body["metadata"]["name"].as_str().unwrap_or_default());
            if self.objects.contains_key(&path) {
                return status(409, "AlreadyExists");
            }
            if !dry {
                seen.applied = true;
                let mut map = seen.body.clone();
                map["metadata"]["uid"] = json!(format!("uid-{}", self.version));
                let kind = seen.body["kind"].as_str().unwrap_or_default().to_owned();
                self.store(&path, &kind, map, "prow-breakglass");
            }
            return (201, self.objects.get(&path).cloned().unwrap_or_else(|| seen.body.clone()));
        }
        let Some(now) = self.objects.get(&path).cloned() else { return status(404, "NotFound") };
        if seen.method == Method::GET {
            return (200, now);
        }
        let (is, asked) = (&now["metadata"], &seen.body["metadata"]);
        if seen.method == Method::PUT {
            if is["uid"] != asked["uid"] || is["resourceVersion"] != asked["resourceVersion"] {
                return status(409, "Conflict");
            }
            if !dry {
                seen.applied = true;
                self.store(&path, "ConfigMap", seen.body.clone(), "prow-breakglass");
            }
            return (200, self.objects[&path].clone());
        }
        if seen.method == Method::PATCH {
            if is["uid"] != asked["uid"] || is["resourceVersion"] != asked["resourceVersion"] {
                return status(409, "Conflict");
            }
            let mut patched = now.clone();
            for change in seen.body["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten() {
                let containers = patched["spec"]["template"]["spec"]["containers"].as_array_mut();
                for container in
                    containers.into_iter().flatten().filter(|container| container["name"] == change["name"])
                {
                    container["image"] = change["image"].clone();
                }
            }
            if !dry {
                seen.applied = true;
                self.store(&path, "Deployment", patched.clone(), "prow-breakglass");
            }
            return (200, patched);
        }
        let wanted = &seen.body["preconditions"];
        let other_version = !wanted["resourceVersion"].is_null() && wanted["resourceVersion"] != is["resourceVersion"];
        if wanted["uid"] != is["uid"] || other_version {
            return status(409, "Conflict");
        }
        if seen.body["dryRun"] != json!(["All"]) {
            seen.applied = true;
            self.objects.remove(&path);
        }
        (200, now)
    }

    pub fn store(&mut self, path: &str, kind: &str, mut object: Value, manager: &str) -> String {
        self.version += 1;
        let mut parts = path.rsplit('/');
        let (name, namespace) = (parts.next().unwrap(), parts.nth(1).unwrap());
        let meta = &mut object["metadata"];
        meta["name"] = json!(name);
        meta["namespace"] = json!(namespace);
        meta["resourceVersion"] = json!(self.version.to_string());
        meta["managedFields"] = json!([{"manager": manager, "operation": "Update", "time": "2019-01-23T16:12:00Z"}]);
        object["kind"] = json!(kind);
        object["apiVersion"] = json!("v1");
        self.objects.insert(path.to_owned(), object);
        self.version.to_string()
    }
}
