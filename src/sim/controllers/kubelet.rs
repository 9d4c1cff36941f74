//! Pods on nodes: scheduled at once, started when their files and images are there, started again with back-off when they crash,
//! stopped when deleted.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::agenda::Item;
use super::super::object::{ObjectKey, is_deleting, items, number, text, uid};
use super::super::prow;
use super::super::prow::component::{self, Play};
use super::super::store::write::{By, DeleteOptions};
use super::super::world::World;
use super::life::{Hindrance, Life, Stage};
use super::{events, mounts, pod_status};

const MANAGER: &str = "kubelet";
const SCHEDULER: &str = "kube-scheduler";
/// From the node's first look to the container's start.
const START: SignedDuration = SignedDuration::from_secs(2);
/// How long a container takes to stop that was told to.
const STOP: i64 = 2;
const FIRST_BACK_OFF: i64 = 10;
const LONGEST_BACK_OFF: i64 = 300;
/// Pauses between tries to mount or to pull, in seconds; the last one stays.
const PAUSES: [i64; 5] = [8, 20, 40, 80, 120];

pub fn sync(world: &mut World, cluster: &str, key: &ObjectKey, last: &Value) {
    let Some(found) = world.clusters.get_mut(cluster) else { return };
    let Some(pod) = found.store.get(key).cloned() else {
        found.lives.remove(uid(last));
        return;
    };
    let uid = uid(&pod).to_owned();
    let Some(mut life) = found.lives.remove(&uid) else {
        schedule(world, cluster, key, &pod, &uid);
        return;
    };
    let before = life.stage.clone();
    if is_deleting(&pod) {
        stop(world, cluster, &pod, &mut life);
    } else {
        go_on(world, cluster, &pod, &mut life);
    }
    let now = world.now();
    let next = match &life.stage {
        Stage::Hindered { next, .. } => Some(*next),
        Stage::Starting { at } => Some(*at),
        Stage::Running { ready_at, .. } if *ready_at > now => Some(*ready_at),
        Stage::Running { ends, .. } => ends.map(|(at, _)| at),
        Stage::BackOff { until, .. } | Stage::Stopping { until } => Some(*until),
        Stage::Scheduled | Stage::Ended => None,
    };
    if let Some(next) = next.filter(|next| *next > now) {
        world.agenda.at(next, Item::Pod(cluster.to_owned(), key.clone()));
    }
    let Some(found) = world.clusters.get_mut(cluster) else { return };
    if found.store.get(key).is_some() {
        let became_ready = matches!(life.stage, Stage::Running { ready_at, .. } if ready_at <= now);
        // One more try to mount is told by an event, not by the pod.
        let still_mounting = |stage: &Stage| matches!(stage, Stage::Hindered { by: Hindrance::Mount, .. });
        let tells = before != life.stage && !(still_mounting(&before) && still_mounting(&life.stage));
        if tells || became_ready {
            pod_status::report(found, &life, now);
        }
        found.lives.insert(uid, life);
    }
}

fn schedule(world: &mut World, cluster: &str, key: &ObjectKey, pod: &Value, uid: &str) {
    let now = world.now();
    let Some(found) = world.clusters.get_mut(cluster) else { return };
    // Another scheduler's pod waits for that one.
    if is_deleting(pod) || text(pod, "/spec/schedulerName") != "default-scheduler" {
        return;
    }
    // A pod of the same name may have gone and come between two looks.
    found.lives.retain(|_, life| life.key != *key);
    found.lives.insert(uid.to_owned(), Life::new(key));
    let node = format!("{}-pool-{}", cluster.replace('_', "-"), uid.bytes().map(u32::from).sum::<u32>() % 4);
    found.store.edit(key, &By::new(SCHEDULER, now), |pod| pod["spec"]["nodeName"] = json!(node));
    world.agenda.at(now, Item::Pod(cluster.to_owned(), key.clone()));
}

/// What comes next for a pod that nobody deleted.
fn go_on(world: &mut World, cluster: &str, pod: &Value, life: &mut Life) {
    let now = world.now();
    match life.stage.clone() {
        Stage::Scheduled => prepare(world, cluster, pod, life, 0),
        Stage::Hindered { tries, next, .. } if next <= now => prepare(world, cluster, pod, life, tries),
        Stage::Starting { at } if at <= now => start(world, cluster, pod, life),
        Stage::BackOff { until, seconds } if until <= now => {
            life.restarts += 1;
            start(world, cluster, pod, life);
            // The next pause is longer.
            if let Stage::BackOff { until, seconds: next } = &mut life.stage {
                *next = (seconds * 2).clamp(FIRST_BACK_OFF, LONGEST_BACK_OFF);
                *until = now + SignedDuration::from_secs(*next);
            }
        }
        Stage::Running { ends: Some((at, code)), .. } if at <= now => {
            life.end(now, code);
            life.stage = Stage::Ended;
        }
        Stage::Hindered { .. }
        | Stage::Starting { .. }
        | Stage::BackOff { .. }
        | Stage::Running { .. }
        | Stage::Ended
        | Stage::Stopping { .. } => {}
    }
}

/// Mounts and pulls, or says why not.
fn prepare(world: &mut World, cluster: &str, pod: &Value, life: &mut Life, tries: u32) {
    let now = world.now();
    let images: Vec<&str> = items(pod, "/spec/containers").iter().map(|spec| text(spec, "/image")).collect();
    let unpullable = images.into_iter().find(|image| !world.images.can_be_pulled(image)).map(str::to_owned);
    let Some(found) = world.clusters.get_mut(cluster) else { return };
    let missing = mounts::missing(&found.store, &life.key.namespace, &pod["spec"]);
    let by = if !missing.is_empty() {
        for message in &missing {
            events::warn(&mut found.store, pod, "FailedMount", message, now);
        }
        Hindrance::Mount
    } else if let Some(image) = unpullable {
        let why = format!("Failed to pull image \"{image}\": {}", pod_status::not_found(&image));
        events::warn(&mut found.store, pod, "Failed", &why, now);
        if tries > 0 {
            events::warn(&mut found.store, pod, "BackOff", &format!("Back-off pulling image \"{image}\""), now);
        }
        Hindrance::Image
    } else {
        life.maps = mounts::maps(&found.store, &life.key.namespace, &pod["spec"]);
        life.stage = Stage::Starting { at: now + START };
        return;
    };
    let pause = PAUSES[usize::try_from(tries).unwrap_or(usize::MAX).min(PAUSES.len() - 1)];
    life.stage = Stage::Hindered { by, tries: tries + 1, next: next_try(now, pause) };
}

/// Later tries of many pods fall together: a node looks at all of its pods in turn anyway.
fn next_try(now: Timestamp, pause: i64) -> Timestamp {
    let at = now.as_second() + pause;
    let step = if pause > 60 { 20 } else { 4 };
    Timestamp::from_second((at + step - 1) / step * step).unwrap_or(now + SignedDuration::from_secs(pause))
}

fn start(world: &mut World, cluster: &str, pod: &Value, life: &mut Life) {
    let now = world.now();
    life.begin(now);
    match component::play(world, cluster, pod) {
        Play::Component { role, tag } => match component::start(world, life, &role, &tag) {
            Ok(program) => {
                life.program = Some(program);
                life.stage = Stage::Running { ready_at: now + probe_delay(pod), ends: None };
            }
            Err(line) => {
                life.program = None;
                life.say(line);
                life.end(now, 1);
                // The first time it is started again at once.
                let (pause, seconds) = if life.restarts == 0 { (1, 0) } else { (FIRST_BACK_OFF, FIRST_BACK_OFF) };
                life.stage = Stage::BackOff { until: now + SignedDuration::from_secs(pause), seconds };
                if life.restarts > 0 {
                    say_back_off(world, cluster, pod);
                }
            }
        },
        Play::Stays => life.stage = Stage::Running { ready_at: now + probe_delay(pod), ends: None },
        Play::Ends { after, code } => life.stage = Stage::Running { ready_at: now, ends: Some((now + after, code)) },
    }
}

fn say_back_off(world: &mut World, cluster: &str, pod: &Value) {
    let now = world.now();
    let container = items(pod, "/spec/containers").first().map_or("", |spec| text(spec, "/name"));
    let whose = format!("{}_{}({})", text(pod, "/metadata/name"), text(pod, "/metadata/namespace"), uid(pod));
    let message = format!("Back-off restarting failed container {container} in pod {whose}");
    if let Some(found) = world.clusters.get_mut(cluster) {
        events::warn(&mut found.store, pod, "BackOff", &message, now);
    }
}

/// A container without a readiness probe is ready when it runs.
fn probe_delay(pod: &Value) -> SignedDuration {
    let delay = items(pod, "/spec/containers")
        .iter()
        .filter_map(|spec| spec.get("readinessProbe"))
        .map(|probe| number(probe, "/initialDelaySeconds").unwrap_or(0) + number(probe, "/periodSeconds").unwrap_or(10))
        .max();
    SignedDuration::from_secs(delay.unwrap_or(0))
}

/// A deleted pod: its container is told to stop, and when it has, the pod goes.
fn stop(world: &mut World, cluster: &str, pod: &Value, life: &mut Life) {
    let now = world.now();
    let grace = number(pod, "/metadata/deletionGracePeriodSeconds").unwrap_or(30);
    match life.stage.clone() {
        Stage::Stopping { until } if until > now => {}
        Stage::Stopping { .. } | Stage::Ended => {
            if let Some(run) = life.runs.last_mut().filter(|run| run.ended.is_none()) {
                run.ended = Some((now, 143));
            }
            life.stage = Stage::Ended;
            let options =
                DeleteOptions { uid: Some(uid(pod).to_owned()), grace_seconds: Some(0), ..DeleteOptions::default() };
            if let Some(found) = world.clusters.get_mut(cluster) {
                pod_status::report(found, life, now);
                drop(found.store.delete(&life.key, &options, &By::new(MANAGER, now)));
            }
        }
        Stage::Scheduled
        | Stage::Hindered { .. }
        | Stage::Starting { .. }
        | Stage::BackOff { .. }
        | Stage::Running { .. } => {
            let takes = if life.is_running() { STOP.min(grace) } else { 1 };
            life.stopped = Some(now);
            life.program = None;
            life.stage = Stage::Stopping { until: now + SignedDuration::from_secs(takes) };
        }
    }
}

/// The containers of a component's running pods end and are started again at once. How many.
pub fn restart(world: &mut World, role: &str) -> usize {
    let now = world.now();
    let service = world.prow.service.clone();
    let pods: Vec<String> = prow::running(world, role).map(|(uid, _)| uid.clone()).collect();
    for uid in &pods {
        let Some(life) = world.clusters.get_mut(&service).and_then(|found| found.lives.get_mut(uid)) else { continue };
        life.end(now, 137);
        life.program = None;
        life.stage = Stage::BackOff { until: now, seconds: 0 };
        let key = life.key.clone();
        world.agenda.at(now, Item::Pod(service.clone(), key));
    }
    world.settle();
    pods.len()
}
