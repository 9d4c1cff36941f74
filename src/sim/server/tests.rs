//! What the program relies on in an API server, through the client that it uses.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use jiff::SignedDuration;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{
    DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams, Preconditions, WatchEvent, WatchParams,
};
use kube::core::Status;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::super::world::namespace;
use super::super::{Happened, Prow, Reach, Simulation, World};
use super::*;

const CONTEXT: &str = "k8s-prow";

fn simulation() -> Simulation {
    let now: Timestamp = "2019-02-05T16:00:00Z".parse().unwrap();
    let mut world = World::new(now, Prow::new(CONTEXT, "prow"));
    for name in ["prow", "test-pods"] {
        world.create(CONTEXT, Resource::Namespace, "", namespace(name), "test").unwrap();
    }
    Simulation::start(world)
}

fn maps(simulation: &Simulation) -> Api<ConfigMap> {
    Api::namespaced(simulation.client(CONTEXT), "prow")
}

fn map(name: &str, value: &str) -> ConfigMap {
    let mut map =
        ConfigMap { data: Some(BTreeMap::from([("k".to_owned(), value.to_owned())])), ..ConfigMap::default() };
    map.metadata.name = Some(name.to_owned());
    map
}

fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"created-by-prow": "true"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "test", "image": "golang:1.11.4"}]},
    }))
    .unwrap()
}

fn refusal<T: std::fmt::Debug>(result: kube::Result<T>) -> Box<Status> {
    match result.expect_err("the server refuses") {
        kube::Error::Api(status) => status,
        other => panic!("{other:?}"),
    }
}

fn dry() -> PostParams {
    PostParams { dry_run: true, ..PostParams::default() }
}

#[tokio::test]
async fn writes_move_the_version_and_name_their_writer() {
    let simulation = simulation();
    let maps = maps(&simulation);
    let params = PostParams { field_manager: Some("hook".to_owned()), ..PostParams::default() };
    let made = maps.create(&params, &map("config", "1")).await.unwrap();
    assert_eq!(made.metadata.managed_fields.as_ref().unwrap()[0].manager.as_deref(), Some("hook"));
    assert_eq!(made.creation_timestamp().unwrap().0, simulation.now());
    let again = maps.replace("config", &params, &made).await.unwrap();
    assert_eq!(again.resource_version(), made.resource_version(), "what changes nothing moves nothing");
    let mut changed = made.clone();
    changed.data.as_mut().unwrap().insert("k".to_owned(), "2".to_owned());
    let written = maps.replace("config", &PostParams::default(), &changed).await.unwrap();
    assert_eq!(written.uid(), made.uid());
    assert_ne!(written.resource_version(), made.resource_version());
}

#[tokio::test]
async fn preconditions_of_a_put_are_kept() {
    let simulation = simulation();
    let maps = maps(&simulation);
    let made = maps.create(&PostParams::default(), &map("config", "1")).await.unwrap();
    let mut next = map("config", "2");
    next.metadata.resource_version = made.resource_version();
    next.metadata.uid = made.uid();
    maps.replace("config", &PostParams::default(), &next).await.unwrap();
    let stale = refusal(maps.replace("config", &PostParams::default(), &next).await);
    assert_eq!((stale.code, stale.reason.as_str()), (409, "Conflict"));
    assert_eq!(
        stale.message,
        "Operation cannot be fulfilled on configmaps \"config\": the object has been modified; please apply your changes \
         to the latest version and try again"
    );
    assert_eq!(stale.details.unwrap().kind, "configmaps");
    next.metadata.resource_version = None;
    next.metadata.uid = Some("another".to_owned());
    assert_eq!(refusal(maps.replace("config", &PostParams::default(), &next).await).code, 409);
    assert_eq!(refusal(maps.replace("gone", &PostParams::default(), &map("gone", "1")).await).code, 404);
    assert_eq!(refusal(maps.create(&PostParams::default(), &map("config", "1")).await).reason, "AlreadyExists");
    let mut with_version = map("copy", "1");
    with_version.metadata.resource_version = made.resource_version();
    let refused = refusal(maps.create(&PostParams::default(), &with_version).await);
    assert_eq!((refused.code, refused.reason.as_str()), (500, ""), "{refused:?}");
}

#[tokio::test]
async fn a_dry_run_is_judged_and_not_kept() {
    let simulation = simulation();
    let maps = maps(&simulation);
    maps.create(&dry(), &map("config", "1")).await.unwrap();
    assert!(maps.get_opt("config").await.unwrap().is_none());
    let made = maps.create(&PostParams::default(), &map("config", "1")).await.unwrap();
    let answer = maps.replace("config", &dry(), &map("config", "2")).await.unwrap();
    assert_eq!(answer.data.unwrap()["k"], "2", "as it would be");
    assert_eq!(maps.get("config").await.unwrap(), made);
    let big = map("config", &"x".repeat(1024 * 1024 + 1));
    let refused = refusal(maps.replace("config", &dry(), &big).await);
    assert_eq!(refused.code, 422);
    assert!(refused.message.ends_with("may not be more than 1048576 bytes"), "{}", refused.message);
    assert_eq!(refusal(maps.replace("config", &dry(), &map("config", &"x".repeat(4 << 20))).await).code, 413);
    let log = simulation.log();
    let counted = log.iter().filter(|note| matches!(&note.what, Happened::Write(written) if written.counts())).count();
    assert_eq!(counted, 1, "{log:?}");
}

#[tokio::test]
async fn deletes_keep_their_preconditions_also_under_dry_run() {
    let simulation = simulation();
    let pods: Api<Pod> = Api::namespaced(simulation.client(CONTEXT), "test-pods");
    let made = pods.create(&PostParams::default(), &pod("p")).await.unwrap();
    let with = |uid: Option<String>, version: Option<String>, dry_run: bool| DeleteParams {
        dry_run,
        preconditions: Some(Preconditions { uid, resource_version: version }),
        ..DeleteParams::default()
    };
    for dry_run in [true, false] {
        let other = refusal(pods.delete("p", &with(Some("another".to_owned()), None, dry_run)).await);
        assert_eq!(other.code, 409);
        assert!(
            other.message.starts_with("Operation cannot be fulfilled on Pod \"p\": the UID in"),
            "{}",
            other.message
        );
        assert_eq!(refusal(pods.delete("p", &with(made.uid(), Some("1".to_owned()), dry_run)).await).code, 409);
    }
    assert!(pods.delete("p", &with(made.uid(), None, true)).await.unwrap().is_left());
    assert!(pods.get("p").await.unwrap().metadata.deletion_timestamp.is_none());
    pods.delete("p", &with(made.uid(), None, false)).await.unwrap();
    let marked = pods.get("p").await.unwrap().metadata;
    assert!(marked.deletion_timestamp.is_some(), "a scheduled pod has its grace period");
    assert_eq!(marked.deletion_grace_period_seconds, Some(30));
    assert!(marked.generation > made.metadata.generation);
    simulation.advance_by(jiff::SignedDuration::from_secs(5));
    assert!(pods.get_opt("p").await.unwrap().is_none());
}

#[tokio::test]
async fn dry_run_in_the_url_of_a_delete_with_a_body_really_deletes() {
    let simulation = simulation();
    let maps = maps(&simulation);
    for name in ["a", "b"] {
        maps.create(&PostParams::default(), &map(name, "1")).await.unwrap();
    }
    let client = simulation.client(CONTEXT);
    let delete = async |name: &str, body: &str| {
        let path = format!("/api/v1/namespaces/prow/configmaps/{name}?dryRun=All");
        let request = Request::delete(path).body(body.as_bytes().to_vec()).unwrap();
        client.request_text(request).await.unwrap()
    };
    delete("a", "").await;
    assert!(maps.get_opt("a").await.unwrap().is_some(), "without a body, the URL counts");
    delete("b", r#"{"kind":"DeleteOptions","apiVersion":"v1"}"#).await;
    assert!(maps.get_opt("b").await.unwrap().is_none());
}

#[tokio::test]
async fn finalizers_hold_what_is_deleted() {
    let simulation = simulation();
    let pods: Api<Pod> = Api::namespaced(simulation.client(CONTEXT), "test-pods");
    let mut bound = pod("p");
    bound.metadata.finalizers = Some(vec!["prow.x-k8s.io/gcsk8sreporter".to_owned()]);
    pods.create(&PostParams::default(), &bound).await.unwrap();
    let force = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    pods.delete("p", &force).await.unwrap();
    simulation.advance_by(jiff::SignedDuration::from_mins(10));
    assert!(pods.get("p").await.unwrap().metadata.deletion_timestamp.is_some(), "force does not help");
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    pods.patch("p", &PatchParams::default(), &free).await.unwrap();
    assert!(pods.get_opt("p").await.unwrap().is_none());
}

#[tokio::test]
async fn lists_come_in_pages_and_are_selected_by_the_server() {
    let simulation = simulation();
    let maps = maps(&simulation);
    for name in ["a", "b", "c", "d", "e"] {
        let mut made = map(name, "1");
        made.metadata.labels = Some(BTreeMap::from([("odd".to_owned(), (name != "b").to_string())]));
        maps.create(&PostParams::default(), &made).await.unwrap();
    }
    let mut names = Vec::new();
    let mut token = None;
    let mut versions = Vec::new();
    loop {
        let params = ListParams { limit: Some(2), continue_token: token, ..ListParams::default().labels("odd!=false") };
        let page = maps.list(&params).await.unwrap();
        names.extend(page.iter().map(ConfigMap::name_any));
        versions.push(page.metadata.resource_version.clone());
        token = page.metadata.continue_.filter(|token| !token.is_empty());
        if token.is_none() {
            break;
        }
    }
    assert_eq!(names, ["a", "c", "d", "e"]);
    versions.dedup();
    assert_eq!(versions.len(), 1, "all pages are of the first one's version");
    let all: Api<Pod> = Api::all(simulation.client(CONTEXT));
    let refused = refusal(all.list(&ListParams::default().fields("spec.hostname=x")).await);
    assert_eq!((refused.code, refused.reason.as_str()), (400, "BadRequest"));
    simulation.change(|world| {
        let cluster = world.clusters.get_mut(CONTEXT).unwrap();
        cluster.store.compact();
    });
    let params = ListParams { limit: Some(1), ..ListParams::default() };
    let page = maps.list(&params).await.unwrap();
    maps.create(&PostParams::default(), &map("f", "1")).await.unwrap();
    simulation.change(|world| world.clusters.get_mut(CONTEXT).unwrap().store.compact());
    let old = ListParams { continue_token: page.metadata.continue_, ..params };
    assert_eq!(refusal(maps.list(&old).await).code, 410);
}

#[tokio::test]
async fn a_watch_tells_changes_and_is_resumed() {
    let simulation = simulation();
    let maps = maps(&simulation);
    let start = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let watched = WatchParams::default().labels("keep");
    let mut stream = maps.watch(&watched, &start).await.unwrap().boxed();
    let mut labelled = map("a", "1");
    labelled.metadata.labels = Some(BTreeMap::from([("keep".to_owned(), String::new())]));
    let made = maps.create(&PostParams::default(), &labelled).await.unwrap();
    maps.create(&PostParams::default(), &map("other", "1")).await.unwrap();
    let strip = Patch::Merge(json!({"metadata": {"labels": {"keep": null}}}));
    let stripped = maps.patch("a", &PatchParams::default(), &strip).await.unwrap();
    let WatchEvent::Added(added) = stream.next().await.unwrap().unwrap() else { panic!("no ADDED") };
    assert_eq!(added.resource_version(), made.resource_version());
    let WatchEvent::Deleted(left) = stream.next().await.unwrap().unwrap() else { panic!("no DELETED") };
    assert_eq!(left.resource_version(), stripped.resource_version(), "leaving the selection is a deletion");
    // From where it was.
    let mut again = maps.watch(&watched, &added.resource_version().unwrap()).await.unwrap().boxed();
    assert!(matches!(again.next().await, Some(Ok(WatchEvent::Deleted(_)))));
    simulation.change(|world| world.clusters.get_mut(CONTEXT).unwrap().store.compact());
    let mut old = maps.watch(&watched, &start).await.unwrap().boxed();
    let Some(Ok(WatchEvent::Error(gone))) = old.next().await else { panic!("no ERROR") };
    assert_eq!((gone.code, gone.reason.as_str()), (410, "Expired"));
}

#[tokio::test]
async fn a_watch_ends_in_its_time_with_a_bookmark() {
    let simulation = simulation();
    let maps = maps(&simulation);
    let params = WatchParams { timeout: Some(1), ..WatchParams::default() };
    let events: Vec<_> = maps.watch(&params, "0").await.unwrap().collect().await;
    assert!(matches!(events.as_slice(), [Ok(WatchEvent::Bookmark(_))]), "{events:?}");
}

#[tokio::test]
async fn what_is_denied_is_said_in_the_server_s_words() {
    let simulation = simulation();
    simulation.change(|world| {
        let access = &mut world.clusters.get_mut(CONTEXT).unwrap().access;
        access.deny("list", "pods", None);
        access.deny("get", "pods/log", Some("prow"));
        access.deny("patch", "deployments", Some("prow"));
    });
    let client = simulation.client(CONTEXT);
    let pods: Api<Pod> = Api::namespaced(client.clone(), "prow");
    let refused = refusal(pods.list(&ListParams::default()).await);
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (
            403,
            "pods is forbidden: User \"oncall\" cannot list resource \"pods\" in API group \"\" in the namespace \"prow\""
        )
    );
    let all: Api<Pod> = Api::all(client.clone());
    assert!(refusal(all.list(&ListParams::default()).await).message.ends_with("at the cluster scope"));
    assert_eq!(refusal(pods.logs("p", &LogParams::default()).await).code, 403);
    let deployments: Api<Deployment> = Api::namespaced(client, "prow");
    let patch = Patch::Strategic(json!({"spec": {"replicas": 0}}));
    let refused = refusal(deployments.patch("hook", &PatchParams::default(), &patch).await);
    assert!(refused.message.starts_with("deployments.apps \"hook\" is forbidden"), "{}", refused.message);
    simulation.change(|world| world.clusters.get_mut(CONTEXT).unwrap().access.signed_in = false);
    assert_eq!(refusal(pods.get("p").await).code, 401);
}

#[tokio::test]
async fn servers_that_are_gone_refuse_and_frozen_ones_are_silent() {
    let simulation = simulation();
    let maps = maps(&simulation);
    let reach = |reach| simulation.change(|world| world.clusters.get_mut(CONTEXT).unwrap().reach = reach);
    reach(Reach::Refuses);
    assert!(matches!(maps.get("x").await, Err(kube::Error::Service(_))));
    reach(Reach::Frozen);
    let frozen = tokio::time::timeout(std::time::Duration::from_millis(50), maps.get("x")).await;
    assert!(frozen.is_err());
    reach(Reach::Answers);
    assert!(maps.get_opt("x").await.unwrap().is_none());
}

#[tokio::test]
async fn versions_groups_and_unknown_paths() {
    let simulation = simulation();
    let client = simulation.client(CONTEXT);
    assert_eq!(client.apiserver_version().await.unwrap().git_version, "v1.34.4");
    let groups = client.list_api_groups().await.unwrap();
    assert!(groups.groups.iter().any(|group| group.name == "prow.k8s.io"));
    let served = client.list_api_group_resources("apps/v1").await.unwrap();
    assert!(served.resources.iter().any(|resource| resource.name == "deployments"));
    let ask = async |path: &str| {
        let request = Request::get(path).body(Vec::new()).unwrap();
        refusal(client.request_text(request).await)
    };
    let refused = ask("/api/v1/things").await;
    assert_eq!((refused.code, refused.message.as_str()), (404, "the server could not find the requested resource"));
    let page = ask("/apis/nobody.io/v1/things").await;
    assert_eq!((page.code, page.details.is_some()), (404, false), "a page, no Status: {page:?}");
}

#[tokio::test]
async fn who_watches_is_told_as_the_world_moves() {
    let simulation = simulation();
    let pods: Api<Pod> = Api::namespaced(simulation.client(CONTEXT), "test-pods");
    let list = pods.list(&ListParams::default()).await.unwrap();
    let version = list.metadata.resource_version.unwrap();
    let mut stream = pods.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    pods.create(&PostParams::default(), &pod("p")).await.unwrap();
    simulation.advance_by(SignedDuration::from_secs(60));
    loop {
        let event = stream.next().await.unwrap().unwrap();
        let WatchEvent::Modified(pod) = event else { continue };
        if pod.status.and_then(|status| status.phase).as_deref() == Some("Running") {
            break;
        }
    }
}
