//! Prow's rules in the simulation, each as the real prow-controller-manager, hook and sinker were seen to follow it.

use jiff::{SignedDuration, Timestamp};
use prow_breakglass::sim::object::{ObjectKey, Resource, text};
use prow_breakglass::sim::prow::deck::{self, NotAborted};
use prow_breakglass::sim::store::write::{By, DeleteOptions};
use prow_breakglass::sim::{Happened, World, build};
use serde_json::Value;

use crate::worlds::{SERVICE, TEST_PODS, TRUSTED, before_february, before_january, february, pods_of, unfinished};

const ID: &str = "aaaaaaaa-2966-11e9-8d1c-0a580a6c0a01";

fn now() -> Timestamp {
    "2019-02-05T17:25:00Z".parse().unwrap()
}

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

fn with_job(reports: bool) -> World {
    let mut world = before_february(now());
    world.prow.reports_to_storage = reports;
    let secrets = &[("service", "service-account")];
    let job = build::Job { id: ID, job: "pull-x", kind: "presubmit", cluster: TRUSTED, refs: None, secrets, ran: None };
    world.add_job(&job, "default", TEST_PODS);
    world.settle();
    world
}

fn job(world: &World) -> Value {
    world.get(SERVICE, &ObjectKey::new(Resource::ProwJob, "default", ID)).expect("a ProwJob").as_ref().clone()
}

fn pod(world: &World) -> Option<Value> {
    world.get(SERVICE, &ObjectKey::new(Resource::Pod, TEST_PODS, ID)).map(|pod| pod.as_ref().clone())
}

fn delete(world: &mut World, grace: Option<i64>) {
    let by = By::new("kubectl", world.now());
    let options = DeleteOptions { grace_seconds: grace, ..DeleteOptions::default() };
    let key = ObjectKey::new(Resource::Pod, TEST_PODS, ID);
    world.clusters.get_mut(SERVICE).unwrap().store.delete(&key, &options, &by).unwrap();
    world.settle();
}

#[test]
fn a_job_runs_to_its_end() {
    let mut world = with_job(false);
    assert_eq!(text(&job(&world), "/status/state"), "pending");
    world.advance_by(minutes(1));
    assert_eq!(text(&pod(&world).unwrap(), "/status/phase"), "Running");
    world.advance_by(minutes(125));
    assert_eq!(text(&job(&world), "/status/state"), "success");
    assert!(!text(&job(&world), "/status/completionTime").is_empty());
}

/// Deck marks the job; who leads ends its pod, and the job with it.
#[test]
fn a_job_that_is_aborted_in_deck_loses_its_pod_and_gets_no_other() {
    let mut world = with_job(false);
    world.advance_by(minutes(1));
    assert_eq!(deck::abort(&mut world, "pull-y"), Err(NotAborted::NothingGoesOn));
    assert_eq!(deck::abort(&mut world, "pull-x"), Ok(vec![ID.to_owned()]));
    world.advance_by(minutes(2));
    assert_eq!(text(&job(&world), "/status/state"), "aborted");
    assert_eq!(text(&job(&world), "/status/description"), format!("Successfully aborted {ID}."));
    assert!(!text(&job(&world), "/status/completionTime").is_empty());
    assert!(pod(&world).is_none(), "ended, and not made again");
    assert_eq!(deck::abort(&mut world, ID), Err(NotAborted::NothingGoesOn), "it is over");
}

/// As somebody may do it with kubectl, or in Deck when nobody leads.
#[test]
fn a_job_that_is_aborted_while_nobody_leads_waits_for_the_next_leader() {
    let mut world = with_job(false);
    world.advance_by(minutes(1));
    while_nobody_leads(&mut world, |world| {
        deck::abort(world, ID).unwrap();
        world.settle();
        assert!(text(&job(world), "/status/completionTime").is_empty() && pod(world).is_some());
    });
    world.advance_by(minutes(1));
    assert!(!text(&job(&world), "/status/completionTime").is_empty());
    assert!(pod(&world).is_none());
}

#[test]
fn without_a_deck_nobody_aborts() {
    let mut world = with_job(false);
    let key = ObjectKey::new(Resource::Deployment, "default", "deck");
    let by = By::new("kubectl", world.now());
    let store = &mut world.clusters.get_mut(SERVICE).unwrap().store;
    store.edit(&key, &by, |deployment| deployment["spec"]["replicas"] = serde_json::json!(0));
    world.advance_by(minutes(2));
    assert_eq!(deck::abort(&mut world, ID), Err(NotAborted::NoDeck));
}

fn while_nobody_leads(world: &mut World, change: impl FnOnce(&mut World)) {
    let manager = ObjectKey::new(Resource::Deployment, "default", "prow-controller-manager");
    let scale = |world: &mut World, replicas: u32| {
        let by = By::new("kubectl", world.now());
        let store = &mut world.clusters.get_mut(SERVICE).unwrap().store;
        store.edit(&manager, &by, |deployment| deployment["spec"]["replicas"] = serde_json::json!(replicas));
        world.advance_by(minutes(1));
    };
    scale(world, 0);
    change(world);
    scale(world, 1);
}

#[test]
fn a_pod_that_goes_while_nobody_leads_is_made_again_and_one_that_goes_while_somebody_looks_ends_the_job() {
    let mut world = with_job(false);
    world.advance_by(minutes(1));
    let (before, build) = (pod(&world).unwrap(), job(&world)["status"]["build_id"].clone());
    while_nobody_leads(&mut world, |world| delete(world, Some(0)));
    let after = pod(&world).expect("made again");
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_ne!(job(&world)["status"]["build_id"], build);
    assert_eq!(text(&job(&world), "/status/state"), "pending");
    world.advance_by(minutes(1));
    delete(&mut world, None);
    assert_eq!(text(&job(&world), "/status/state"), "error");
    assert_eq!(text(&job(&world), "/status/description"), "Pod got deleted unexpectedly");
    world.advance_by(minutes(2));
    assert!(pod(&world).is_none(), "nobody runs it again");
}

#[test]
fn criers_finalizer_is_taken_off_when_the_job_has_ended() {
    let mut world = with_job(true);
    world.advance_by(minutes(1));
    assert!(pod(&world).unwrap()["metadata"]["finalizers"][0] == "prow.x-k8s.io/gcsk8sreporter");
    delete(&mut world, Some(0));
    assert_eq!(text(&job(&world), "/status/description"), "Pod got deleted unexpectedly");
    world.advance_by(minutes(1));
    assert!(pod(&world).is_none(), "reported, and let go");
}

#[test]
fn pods_that_wait_too_long_end_their_jobs() {
    let mut world = with_job(false);
    let by = By::new("kubectl", world.now());
    let secret = ObjectKey::new(Resource::Secret, TEST_PODS, "service-account");
    world.clusters.get_mut(SERVICE).unwrap().store.delete(&secret, &DeleteOptions::default(), &by).unwrap();
    while_nobody_leads(&mut world, |world| delete(world, Some(0)));
    world.advance_by(minutes(10));
    let waiting = pod(&world).unwrap();
    assert_eq!(text(&waiting, "/status/containerStatuses/0/state/waiting/reason"), "ContainerCreating");
    let events = world.list(SERVICE, Resource::Event, TEST_PODS);
    let said =
        events.iter().find(|event| event["involvedObject"]["uid"] == waiting["metadata"]["uid"]).expect("an event");
    assert_eq!(
        text(said, "/message"),
        "MountVolume.SetUp failed for volume \"service\" : secret \"service-account\" not found"
    );
    assert!(said["count"].as_i64() > Some(3), "{said}");
    world.advance_by(minutes(51));
    assert_eq!(text(&job(&world), "/status/description"), "Pod pending timeout.");
}

#[test]
fn a_refused_creation_and_an_unknown_cluster_are_errors() {
    let mut world = before_february(now());
    let add = |world: &mut World, id: &str, cluster: &str| {
        let job = build::Job { id, job: "pull-x", kind: "presubmit", cluster, refs: None, secrets: &[], ran: None };
        world.add_job(&job, "default", TEST_PODS);
        world.settle();
        let key = ObjectKey::new(Resource::ProwJob, "default", id);
        text(world.get(SERVICE, &key).unwrap(), "/status/description").to_owned()
    };
    assert!(add(&mut world, "b", "nowhere").starts_with("Terminal error"));
    let by = By::new("kubectl", world.now());
    let namespace = ObjectKey::new(Resource::Namespace, "", TEST_PODS);
    world.clusters.get_mut(SERVICE).unwrap().store.delete(&namespace, &DeleteOptions::default(), &by).unwrap();
    assert_eq!(
        add(&mut world, "c", TRUSTED),
        "Pod can not be created: create pod test-pods/c in cluster test-infra-trusted: namespaces \"test-pods\" not found"
    );
}

#[test]
fn who_starts_again_leads_when_the_old_lease_has_run_out() {
    let mut world = before_february(now());
    let by = By::new("kubectl", world.now());
    let name = pods_of(&world, "default", "prow-controller-manager")[0].0.clone();
    let key = ObjectKey::new(Resource::Pod, "default", name);
    world.clusters.get_mut(SERVICE).unwrap().store.delete(&key, &DeleteOptions::default(), &by).unwrap();
    let killed = world.now();
    let led = |world: &World| {
        let leads = world.log().iter().filter(|note| matches!(note.what, Happened::Led { .. }));
        leads.map(|note| note.at).next_back()
    };
    assert!(world.advance_until(minutes(2), |world| led(world) > Some(killed)));
    let took = led(&world).unwrap().duration_since(killed).as_secs();
    assert!((15..=25).contains(&took), "{took} s");
}

#[test]
fn the_bump_puts_a_second_pod_of_each_unfinished_job_into_the_wrong_namespace() {
    let world = february(now(), 12);
    let jobs = unfinished(&world);
    assert_eq!(jobs.len(), 12, "{jobs:?}");
    for id in &jobs {
        let stray = [SERVICE, crate::worlds::BUILD]
            .iter()
            .any(|cluster| world.get(cluster, &ObjectKey::new(Resource::Pod, "default", id)).is_some());
        assert!(stray, "{id}");
    }
    let good: usize =
        [SERVICE, crate::worlds::BUILD].iter().map(|c| crate::worlds::our_pods(&world, c, TEST_PODS).len()).sum();
    // Those of before the bump, its own push of an image, and its deploy job, which ended.
    assert_eq!(good, 4 + 1 + 1);
}

#[test]
fn the_revert_does_not_deploy_itself() {
    let mut world = february(now(), 12);
    world.advance_by(minutes(20));
    let deployed = world.log().iter().filter(|note| matches!(note.what, Happened::Deployed { .. })).count();
    assert_eq!(deployed, 1, "the bump's only: the revert's job is stuck");
}

#[test]
fn what_is_changed_by_hand_is_reverted_by_the_next_deploy() {
    let mut world = before_february(now());
    let by = By::new("kubectl", world.now());
    let key = ObjectKey::new(Resource::Deployment, "default", "deck");
    let patch = serde_json::json!({"spec": {"replicas": 5}});
    let store = &mut world.clusters.get_mut(SERVICE).unwrap().store;
    store.patch(&key, prow_breakglass::sim::store::patch::PatchKind::Strategic, &patch, &by).unwrap();
    world.advance_by(minutes(1));
    assert_eq!(pods_of(&world, "default", "deck").len(), 5);
    assert!(world.merge("bump"));
    world.advance_by(minutes(5));
    assert_eq!(pods_of(&world, "default", "deck").len(), 2);
}

#[test]
fn a_merge_reaches_the_running_components_later_and_a_bad_one_is_refused_twice_differently() {
    let mut world = before_january(now());
    assert!(world.merge("refactor"));
    let refused = |world: &World, fatal: bool| -> Vec<String> {
        let mut names: Vec<String> = world
            .log()
            .iter()
            .filter_map(|note| match &note.what {
                Happened::Refused { component, fatal: was, .. } if *was == fatal => Some(component.clone()),
                _ => None,
            })
            .collect();
        names.sort();
        names.dedup();
        names
    };
    assert!(refused(&world, false).is_empty(), "the kubelet takes its time");
    world.advance_by(minutes(3));
    let all = ["crier", "deck", "hook", "horologium", "prow-controller-manager", "sinker", "status-reconciler", "tide"];
    assert_eq!(refused(&world, false), all);
    assert!(pods_of(&world, "prow", "hook").iter().all(|(_, ready, _, _)| *ready), "they go on with what they had");
    world.restart_containers("hook");
    world.advance_by(minutes(8));
    assert_eq!(refused(&world, true), ["hook"]);
    for (name, ready, restarts, reason) in pods_of(&world, "prow", "hook") {
        assert!(!ready && restarts >= 5 && reason == "CrashLoopBackOff", "{name} {ready} {restarts} {reason}");
    }
    // Nobody hears of the fix, which a colleague merges.
    world.merge_at(world.now() + minutes(1), "fix");
    world.advance_by(minutes(1));
    assert!(!world.merge("fix"), "it is merged");
    let unheard = |note: &prow_breakglass::sim::Note| matches!(note.what, Happened::Merged { heard: false, .. });
    assert_eq!(world.log().iter().filter(|note| unheard(note)).count(), 1);
}

#[test]
fn sinker_sweeps_orphans_where_it_looks_and_strays_never() {
    let mut world = february(now(), 12);
    let by = By::new("kubectl", world.now());
    let strays = crate::worlds::our_pods(&world, SERVICE, "default");
    let with_good = crate::worlds::our_pods(&world, SERVICE, TEST_PODS);
    let id = with_good.values().find(|id| unfinished(&world).contains(id)).expect("a job of before").clone();
    let key = ObjectKey::new(Resource::ProwJob, "default", &id);
    world.clusters.get_mut(SERVICE).unwrap().store.delete(&key, &DeleteOptions::default(), &by).unwrap();
    world.advance_by(minutes(61));
    assert!(world.get(SERVICE, &ObjectKey::new(Resource::Pod, TEST_PODS, &id)).is_none(), "its ProwJob is gone");
    for name in strays.values().filter(|name| **name != id) {
        assert!(
            world.get(SERVICE, &ObjectKey::new(Resource::Pod, "default", name)).is_some()
                || !unfinished(&world).contains(name)
        );
    }
    assert!(world.get(SERVICE, &ObjectKey::new(Resource::Pod, "default", &id)).is_some(), "nobody collects a stray");
}
