//! The worlds of the outages, as the bed of `tests/cluster` has them: the same configuration, the same commits, the same jobs.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use prow_breakglass::sim::object::{Resource, text};
use prow_breakglass::sim::{Commit, Happened, JobTimes, Prow, Version, World, build};
use serde_json::{Value, json};

pub const OLD_TAG: &str = "v20190129-1b2c3f7";
pub const NEW_TAG: &str = "v20190205-8c1cd80";
/// Of January: it refuses presets that share a label key.
pub const JANUARY_TAG: &str = "v20190118-b3f0d0d11";
/// Contexts as on a laptop, named otherwise than Prow's aliases.
pub const SERVICE: &str = "gke_k8s-prow_us-central1-f_prow";
pub const BUILD: &str = "gke_k8s-prow-builds_us-central1-f_prow";
pub const TRUSTED: &str = "test-infra-trusted";
pub const TEST_PODS: &str = "test-pods";
pub const DEPLOY: &str = "post-test-infra-deploy-prow";

macro_rules! config {
    ($file:literal) => {
        include_str!(concat!("../cluster/bed/config/", $file))
    };
}

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

fn commit(name: &str, message: &str, files: &[(&str, &str)]) -> Commit {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), Some(text.as_bytes().to_vec()))).collect();
    Commit { name: name.to_owned(), message: message.to_owned(), author: "Cole Wagner".to_owned(), files }
}

fn bump(name: &str, message: &str, tag: &str) -> Commit {
    Commit { files: build::manifests("default", tag), ..commit(name, message, &[]) }
}

/// A healthy Prow of February over two clusters, an hour before `now`.
pub fn before_february(now: Timestamp) -> World {
    let mut prow = Prow::new(SERVICE, "default");
    prow.aliases = BTreeMap::from([
        (TRUSTED.to_owned(), SERVICE.to_owned()),
        // Which Prow takes for all jobs that name none: here the build cluster is called so.
        ("default".to_owned(), BUILD.to_owned()),
    ]);
    prow.takes = JobTimes {
        usually: minutes(120),
        by_name: BTreeMap::from([(DEPLOY.to_owned(), SignedDuration::from_secs(90))]),
    };
    let mut world = World::new(now - minutes(60), prow);
    world.add_cluster(BUILD);
    world.images.versions = BTreeMap::from([
        (OLD_TAG.to_owned(), Version::default()),
        (NEW_TAG.to_owned(), Version { misreads_pod_namespace: true }),
    ]);
    world.repository.commits = vec![
        commit(
            "first",
            "Configure Prow for kubernetes",
            &[
                ("config/prow/config.yaml", config!("bump/config.yaml")),
                ("config/prow/plugins.yaml", config!("plugins.yaml")),
                ("config/jobs/kubernetes/test-infra/test-infra-trusted.yaml", config!("bump/trusted-jobs.yaml")),
                ("config/jobs/kubernetes/kubernetes-jobs.yaml", config!("bump/kubernetes-jobs.yaml")),
            ],
        ),
        bump("last-bump", "Bump prow from v20190125-2aca69d to v20190129-1b2c3f7", OLD_TAG),
        bump("bump", "Bump prow from v20190129-1b2c3f7 to v20190205-8c1cd80", NEW_TAG),
        bump("revert", "Revert \"Bump prow from v20190129-1b2c3f7 to v20190205-8c1cd80\"", OLD_TAG),
    ];
    world.repository.merged = 2;
    world.install(OLD_TAG);
    for cluster in [SERVICE, BUILD] {
        for secret in ["service-account", "gce-ssh"] {
            world.add_secret(cluster, TEST_PODS, secret);
        }
    }
    for (id, job, cluster, started, ended) in [
        ("07e3b1d2-2961-11e9-8d1c-0a580a6c0a01", "ci-kubernetes-e2e-gci-gce", "default", 170, 95),
        ("1b9c04aa-2961-11e9-8d1c-0a580a6c0a02", "ci-test-infra-autobump-prow", TRUSTED, 4, 2),
    ] {
        let ran = Some((minutes(started), minutes(ended)));
        let job = build::Job { id, job, kind: "periodic", cluster, refs: None, secrets: &[], ran };
        world.add_job(&job, "default", TEST_PODS);
    }
    world.advance_by(minutes(3));
    world
}

const ACCOUNT: (&str, &str) = ("service", "service-account");
const SSH: (&str, &str) = ("gce-ssh", "gce-ssh");

/// The n-th job: of nine in a row one is a trusted one, and one needs no Secret and runs anywhere.
fn trigger(world: &mut World, n: u32) {
    let id = format!("{:08x}-2966-11e9-8d1c-0a580a6c0{:03x}", 0x3a90_4c10_u32 + n * 0x1f3, n % 0xfff);
    let (job, cluster, secrets): (_, _, &[_]) = match n % 9 {
        0 => ("post-test-infra-push-bootstrap", TRUSTED, &[ACCOUNT]),
        1 => ("pull-kubernetes-typecheck", "default", &[]),
        2 | 5 => ("pull-kubernetes-node-e2e", "default", &[SSH]),
        3 | 6 => ("pull-kubernetes-bazel-test", "default", &[ACCOUNT]),
        _ => ("pull-kubernetes-e2e-gce", "default", &[ACCOUNT, SSH]),
    };
    let (kind, refs) = match cluster {
        TRUSTED => ("postsubmit", ("kubernetes", "test-infra", 0)),
        _ => ("presubmit", ("kubernetes", "kubernetes", 73_500 + n)),
    };
    let job = build::Job { id: &id, job, kind, cluster, refs: Some(refs), secrets, ran: None };
    world.add_job(&job, "default", TEST_PODS);
}

/// What only looks like strays: pods of another Prow, of cert-manager, and a debug copy of a pod of ours.
fn add_neighbours(world: &mut World) {
    let labels = |id: &str| json!({ "created-by-prow": "true", "prow.k8s.io/id": id, "prow.k8s.io/job": "istio-unit" });
    let mut add = |namespace: &str, name: &str, labels: Value| {
        let pod = json!({
            "metadata": { "name": name, "labels": labels },
            "spec": { "restartPolicy": "Always", "containers": [{ "name": "main", "image": "gcr.io/istio-testing/x:0.4.11" }] },
        });
        world.create(BUILD, Resource::Pod, namespace, pod, "plank").expect("a new pod");
    };
    for (namespace, id) in [
        (TEST_PODS, "9a4d2e10-2960-11e9-b9a5-0a580a820b11"),
        ("default", "9d5be8a2-2960-11e9-b9a5-0a580a820b14"),
        ("default", "9e80c1d4-2960-11e9-b9a5-0a580a820b15"),
    ] {
        add(namespace, id, labels(id));
    }
    add(TEST_PODS, "cm-acme-http-solver-7x2kd", json!({ "acme.cert-manager.io/http01-solver": "true" }));
}

/// Jobs that Prow starts by itself: for each merge an image is pushed, for the revert the deploy job runs, and the autobumper's
/// hour is over.
const BY_ITSELF: u32 = 4;

/// 2019-02-05 at 9:25: the bump is deployed, so many jobs are stuck (with the deploy job of the revert among them).
pub fn february(now: Timestamp, jobs: u32) -> World {
    let mut world = before_february(now);
    add_neighbours(&mut world);
    for n in 0..4 {
        trigger(&mut world, n);
    }
    world.advance_to(now - minutes(38));
    assert!(world.merge("bump"), "hook hears of the bump");
    assert!(
        world.advance_until(minutes(6), |world| {
            world.log().iter().any(|note| matches!(&note.what, Happened::Led { tag, .. } if tag == NEW_TAG))
        }),
        "the deploy job rolls it out: {:?}",
        world.log()
    );
    let each = SignedDuration::from_secs(25 * 60 / i64::from(jobs.max(12)));
    for n in 4..jobs - BY_ITSELF {
        trigger(&mut world, n);
        world.advance_by(each);
    }
    world.advance_to(now - minutes(5));
    assert!(world.merge("revert"), "somebody merges the revert by hand");
    world.advance_to(now);
    world
}

/// The unfinished ProwJobs.
pub fn unfinished(world: &World) -> Vec<String> {
    let jobs = world.list(SERVICE, Resource::ProwJob, "");
    let goes_on = |job: &&std::sync::Arc<Value>| text(job, "/status/completionTime").is_empty();
    jobs.iter().filter(goes_on).map(|job| text(job, "/metadata/name").to_owned()).collect()
}

/// uid to name of the labelled pods of a namespace whose ProwJob is ours.
pub fn our_pods(world: &World, cluster: &str, namespace: &str) -> BTreeMap<String, String> {
    let jobs: Vec<String> =
        world.list(SERVICE, Resource::ProwJob, "").iter().map(|job| text(job, "/metadata/name").to_owned()).collect();
    world
        .list(cluster, Resource::Pod, namespace)
        .iter()
        .filter(|pod| jobs.iter().any(|job| job == text(pod, "/metadata/name")))
        .map(|pod| (text(pod, "/metadata/uid").to_owned(), text(pod, "/metadata/name").to_owned()))
        .collect()
}

const AWS_PRESETS: &str = "config/jobs/kubernetes-sigs/aws/aws-presets.yaml";
const AWS_JOBS: &str = "config/jobs/kubernetes-sigs/aws/aws-ebs-csi-driver.yaml";

/// A healthy Prow of January, in one cluster.
pub fn before_january(now: Timestamp) -> World {
    let mut prow = Prow::new(SERVICE, "prow");
    prow.aliases = BTreeMap::from([("default".to_owned(), SERVICE.to_owned())]);
    prow.takes.usually = minutes(5);
    let mut world = World::new(now - minutes(60), prow);
    world.images.versions = BTreeMap::from([(JANUARY_TAG.to_owned(), Version::default())]);
    world.repository.commits = vec![
        commit(
            "first",
            "Configure Prow for kubernetes",
            &[
                ("config/prow/config.yaml", config!("config.yaml")),
                ("config/prow/plugins.yaml", config!("plugins.yaml")),
                ("config/jobs/kubernetes/sig-testing/sig-testing.yaml", config!("sig-testing-jobs.yaml")),
                ("config/jobs/kubernetes/presets.yaml", config!("presets.yaml")),
                (AWS_PRESETS, config!("aws-presets.yaml")),
                (AWS_JOBS, config!("aws-jobs.yaml")),
                ("config/jobs/kubernetes/kubernetes-presubmits.yaml", config!("kubernetes-presubmits.yaml")),
            ],
        ),
        commit(
            "refactor",
            "Refactor the AWS credential presets to a common label",
            &[(AWS_PRESETS, config!("aws-presets-refactored.yaml")), (AWS_JOBS, config!("aws-jobs-refactored.yaml"))],
        ),
        commit("revert", "Revert the AWS jobs to their old preset label", &[(AWS_JOBS, config!("aws-jobs.yaml"))]),
        commit(
            "fix",
            "Use distinct labels for the AWS credential presets",
            &[(AWS_PRESETS, config!("aws-presets-fixed.yaml")), (AWS_JOBS, config!("aws-jobs-fixed.yaml"))],
        ),
    ];
    world.repository.merged = 1;
    world.install(JANUARY_TAG);
    world.add_secret(SERVICE, TEST_PODS, "service-account");
    world.advance_by(minutes(20));
    world
}

/// 2019-01-23: a refactoring that the deployed version does not load was merged, and hook has restarted.
pub fn january(now: Timestamp) -> World {
    let mut world = before_january(now);
    assert!(world.merge("refactor"), "hook hears of it");
    world.advance_by(minutes(3));
    assert_eq!(world.restart_containers("hook"), 2);
    world.advance_to(now);
    world
}

/// The component's pods: name, whether ready, restarts, reason of waiting.
pub fn pods_of(world: &World, namespace: &str, app: &str) -> Vec<(String, bool, i64, String)> {
    let pods = world.list(SERVICE, Resource::Pod, namespace);
    let its = pods.iter().filter(|pod| text(pod, "/metadata/labels/app") == app);
    its.map(|pod| {
        let status = &pod["status"]["containerStatuses"][0];
        (
            text(pod, "/metadata/name").to_owned(),
            status["ready"] == true,
            status["restartCount"].as_i64().unwrap_or(-1),
            text(status, "/state/waiting/reason").to_owned(),
        )
    })
    .collect()
}
