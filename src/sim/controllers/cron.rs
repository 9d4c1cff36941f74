//! CronJobs and their Jobs, as far as the program shows them: runs at their minute, one pod each.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use super::super::agenda::Item;
use super::super::object::{ObjectKey, Resource, stamp, text, uid};
use super::super::store::write::By;
use super::super::world::World;
use super::{MANAGER, collect};

pub fn sync_cron_job(world: &mut World, cluster: &str, key: &ObjectKey, last: &Value) {
    let now = world.now();
    let Some(cron_job) = world.get(cluster, key).cloned() else {
        collect(world, cluster, Resource::Job, key, last);
        return;
    };
    let schedule = text(&cron_job, "/spec/schedule");
    let since = text(&cron_job, "/status/lastScheduleTime")
        .parse()
        .unwrap_or_else(|_| text(&cron_job, "/metadata/creationTimestamp").parse().unwrap_or(now));
    let suspended = cron_job["spec"]["suspend"] == true;
    if let Some(at) = next_run(schedule, since) {
        if at <= now && !suspended {
            run(world, cluster, key, &cron_job, at);
        }
        if let Some(next) = next_run(schedule, now) {
            world.agenda.at(next, Item::Object(cluster.to_owned(), key.clone()));
        }
    }
}

fn run(world: &mut World, cluster: &str, key: &ObjectKey, cron_job: &Value, at: Timestamp) {
    let by = By::new(MANAGER, world.now());
    let template = &cron_job["spec"]["jobTemplate"];
    let job = json!({
        "metadata": {
            "name": format!("{}-{}", key.name, at.as_second() / 60),
            "labels": template["metadata"]["labels"],
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "CronJob", "name": key.name, "uid": uid(cron_job), "controller": true,
            }],
        },
        "spec": template["spec"],
    });
    let Some(found) = world.clusters.get_mut(cluster) else { return };
    drop(found.store.create(Resource::Job, &key.namespace, job, &by));
    found.store.edit(key, &by.status(), |object| object["status"]["lastScheduleTime"] = json!(stamp(at)));
}

/// `M H * * *`, of which each may be a number, `*` or `*/N`. Other fields are not looked at.
fn next_run(schedule: &str, after: Timestamp) -> Option<Timestamp> {
    let mut fields = schedule.split_whitespace();
    let (minute, hour) = (fields.next()?, fields.next()?);
    let fits = |field: &str, value: i64| match field.strip_prefix("*/").and_then(|step| step.parse::<i64>().ok()) {
        Some(step) if step > 0 => value % step == 0,
        Some(_) => false,
        None => field == "*" || field.parse() == Ok(value),
    };
    let mut at = Timestamp::from_second(after.as_second() / 60 * 60).ok()?;
    for _ in 0..=24 * 60 {
        at += SignedDuration::from_mins(1);
        let civil = at.to_zoned(TimeZone::UTC);
        if fits(minute, i64::from(civil.minute())) && fits(hour, i64::from(civil.hour())) {
            return Some(at);
        }
    }
    None
}

pub fn sync_job(world: &mut World, cluster: &str, key: &ObjectKey, last: &Value) {
    let now = world.now();
    let by = By::new(MANAGER, now);
    let Some(job) = world.get(cluster, key).cloned() else {
        collect(world, cluster, Resource::Pod, key, last);
        return;
    };
    if !text(&job, "/status/completionTime").is_empty() || job["status"]["failed"].is_i64() {
        return;
    }
    let Some(found) = world.clusters.get_mut(cluster) else { return };
    let pod = found.store.owned_by(Resource::Pod, &key.namespace, uid(&job)).next().map(|(_, pod)| pod.clone());
    match pod {
        None => {
            let template = &job["spec"]["template"];
            let pod = json!({
                "metadata": {
                    "generateName": format!("{}-", key.name),
                    "labels": template["metadata"]["labels"],
                    "ownerReferences": [{
                        "apiVersion": "batch/v1", "kind": "Job", "name": key.name, "uid": uid(&job), "controller": true,
                    }],
                },
                "spec": template["spec"],
            });
            drop(found.store.create(Resource::Pod, &key.namespace, pod, &by));
            found.store.edit(key, &by.status(), |object| {
                object["status"] = json!({ "active": 1, "startTime": stamp(now) });
            });
        }
        Some(pod) => {
            let (condition, field) = match text(&pod, "/status/phase") {
                "Succeeded" => ("Complete", "succeeded"),
                "Failed" => ("Failed", "failed"),
                _ => return,
            };
            found.store.edit(key, &by.status(), |object| {
                let status = &mut object["status"];
                status["active"] = json!(0);
                status[field] = json!(1);
                if condition == "Complete" {
                    status["completionTime"] = json!(stamp(now));
                }
                status["conditions"] =
                    json!([{ "type": condition, "status": "True", "lastTransitionTime": stamp(now) }]);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_come_round() {
        let after: Timestamp = "2019-02-05T16:47:30Z".parse().unwrap();
        for (schedule, next) in [
            ("54 * * * *", "2019-02-05T16:54:00Z"),
            ("30 7 * * *", "2019-02-06T07:30:00Z"),
            ("*/10 * * * *", "2019-02-05T16:50:00Z"),
            ("47 * * * *", "2019-02-05T17:47:00Z"),
        ] {
            assert_eq!(next_run(schedule, after), next.parse().ok(), "{schedule}");
        }
        assert_eq!(next_run("never", after), None);
    }
}
