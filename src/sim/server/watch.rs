//! WATCH: what changed since a version, line by line, until the time that the client asked for is over.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::object::Resource;
use super::super::refusal::Refusal;
use super::super::select::Selector;
use super::super::store::{Change, Store};
use super::super::world::Reach;
use super::route::Route;
use super::{Place, ResponseBody, Shared};

/// A client that names no time is given this.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// How often a quiet watch says how far it is.
const BOOKMARK: Duration = Duration::from_secs(60);

/// What is watched, from where.
pub struct Start {
    resource: Resource,
    selector: Selector,
    /// Changes up to this version are known to the client.
    version: u64,
    /// Told before anything else: what is there already.
    first: Vec<Bytes>,
    bookmarks: bool,
    lasts: Duration,
}

impl Start {
    pub fn new(store: &Store, place: &Place, selector: Selector, route: &Route) -> Start {
        let asked = route.query("resourceVersion");
        let initial = route.query("sendInitialEvents") == "true";
        let from_now = initial || matches!(asked, "" | "0");
        let mut first: Vec<Bytes> = Vec::new();
        if from_now && route.query("sendInitialEvents") != "false" {
            let present = store.all(place.resource, &place.namespace).filter(|(_, object)| selector.matches(object));
            first.extend(present.map(|(_, object)| line("ADDED", object)));
        }
        if initial {
            let mut mark = bookmark(place.resource, store.version());
            mark["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
            first.push(line("BOOKMARK", &mark));
        }
        Start {
            resource: place.resource,
            selector,
            version: if from_now { store.version() } else { asked.parse().unwrap_or(0) },
            first,
            bookmarks: route.query("allowWatchBookmarks") == "true",
            lasts: route.query("timeoutSeconds").parse().map_or(LONGEST, Duration::from_secs),
        }
    }
}

fn line(kind: &str, object: &Value) -> Bytes {
    let mut bytes = format!("{{\"type\":\"{kind}\",\"object\":").into_bytes();
    // A Value is always JSON.
    drop(serde_json::to_writer(&mut bytes, object));
    bytes.extend_from_slice(b"}\n");
    bytes.into()
}

fn bookmark(resource: Resource, version: u64) -> Value {
    json!({
        "kind": resource.facts().kind, "apiVersion": resource.api_version(),
        "metadata": { "resourceVersion": version.to_string(), "creationTimestamp": null },
    })
}

/// What a change is to somebody who selects: leaving a selection is a deletion.
fn event(change: &Change, selector: &Selector) -> Option<Bytes> {
    let selected =
        |object: &Option<std::sync::Arc<Value>>| object.as_deref().is_some_and(|object| selector.matches(object));
    match (&change.before, &change.after, selected(&change.before), selected(&change.after)) {
        (_, Some(after), false, true) => Some(line("ADDED", after)),
        (_, Some(after), true, true) => Some(line("MODIFIED", after)),
        (Some(before), _, true, false) => {
            let mut gone = before.as_ref().clone();
            gone["metadata"]["resourceVersion"] = json!(change.version.to_string());
            Some(line("DELETED", &gone))
        }
        (None | Some(_), None | Some(_), _, _) => None,
    }
}

/// A watch that goes on.
struct Going {
    shared: Shared,
    context: String,
    start: Start,
    queue: VecDeque<Bytes>,
    changed: tokio::sync::watch::Receiver<u64>,
    ends: Instant,
    marked: Instant,
    over: bool,
}

pub fn stream(shared: Shared, context: String, mut start: Start) -> ResponseBody {
    let changed = shared.changed.subscribe();
    let queue = std::mem::take(&mut start.first).into();
    let now = Instant::now();
    let ends = now + start.lasts;
    let going = Going { shared, context, start, queue, changed, ends, marked: now, over: false };
    let frames = stream::unfold(going, |mut going| async move {
        let next = going.next().await?;
        Some((next.map(Frame::data), going))
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Going {
    async fn next(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        loop {
            if let Some(line) = self.queue.pop_front() {
                return Some(Ok(line));
            }
            if self.over {
                return None;
            }
            // Marked as seen before it is looked at: what changes meanwhile is not missed.
            self.changed.borrow_and_update();
            match self.look() {
                Reach::Answers => {}
                Reach::Refuses => {
                    self.over = true;
                    return Some(Err(std::io::ErrorKind::ConnectionReset.into()));
                }
                Reach::Frozen => {
                    // It thaws by a change, or the client gives up.
                    if self.changed.changed().await.is_err() {
                        return None;
                    }
                    continue;
                }
            }
            if !self.queue.is_empty() || self.over {
                continue;
            }
            let mark_at = self.marked + BOOKMARK;
            tokio::select! {
                changed = self.changed.changed() => if changed.is_err() { return None },
                () = tokio::time::sleep_until(self.ends) => {
                    self.over = true;
                    self.mark();
                }
                () = tokio::time::sleep_until(mark_at) => self.mark(),
            }
        }
    }

    fn mark(&mut self) {
        self.marked = Instant::now();
        if self.start.bookmarks {
            self.queue.push_back(line("BOOKMARK", &bookmark(self.start.resource, self.start.version)));
        }
    }

    /// Takes what came since.
    fn look(&mut self) -> Reach {
        let world = self.shared.lock();
        let Some(cluster) = world.clusters.get(&self.context) else { return Reach::Refuses };
        if cluster.reach != Reach::Answers {
            return cluster.reach;
        }
        let (version, newest) = (self.start.version, cluster.store.version());
        match cluster.store.since(version) {
            Some(changes) => {
                let ours = changes.filter(|change| change.key.resource == self.start.resource);
                self.queue.extend(ours.filter_map(|change| event(change, &self.start.selector)));
                self.start.version = newest;
            }
            None => {
                let gone = Refusal::expired(format!("too old resource version: {version} ({newest})"));
                self.queue.push_back(line("ERROR", &gone.status()));
                self.over = true;
            }
        }
        Reach::Answers
    }
}
