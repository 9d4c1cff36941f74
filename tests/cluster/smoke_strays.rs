//! The bed of 2019-02-05: two clusters, pods in the wrong namespace, and a version that puts them right.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::bed::Bed;
use crate::support::{block_on, eventually};

const TRUSTED: &str = "test-infra-trusted";
const DEFAULT: &str = "default";
/// Of Prow and of its strays.
const NAMESPACE: &str = "default";
const TEST_PODS: &str = "test-pods";

/// What a person sees who has this kubeconfig, in the cluster that Prow's jobs know by this alias.
async fn client_in(bed: &Bed, kubeconfig: &Path, alias: &str) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("the bed's kubeconfig");
    let context = Some(bed.fact_of(alias, "context").to_owned());
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("it has both contexts");
    config.proxy_url = None;
    Client::try_from(config).expect("a client")
}

async fn labelled(client: &Client, namespace: &str) -> Vec<Pod> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let list = pods.list(&ListParams::default().labels("created-by-prow=true")).await;
    list.expect("the oncall may list pods").items
}

/// All ProwJobs that are not finished: cluster and state.
async fn unfinished(client: &Client) -> BTreeMap<String, (String, String)> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("prow.k8s.io", "v1", "ProwJob"));
    let jobs: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &kind);
    let list = jobs.list(&ListParams::default()).await.expect("the oncall may list ProwJobs");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let unfinished = list.iter().filter(|job| job.data["status"]["completionTime"].is_null());
    let facts = |job: &DynamicObject| {
        let (spec, status) = (&job.data["spec"], &job.data["status"]);
        (job.name_any(), (text(&spec["cluster"]), text(&status["state"])))
    };
    unfinished.map(facts).collect()
}

fn waits_for(pod: &Pod) -> Option<&str> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find_map(|status| status.state.as_ref()?.waiting.as_ref()?.reason.as_deref())
}

fn tag(image: &str) -> &str {
    image.rsplit_once(':').map_or("", |(_, tag)| tag)
}

fn images(deployment: &Deployment) -> Vec<String> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    pod.iter().flat_map(|pod| &pod.containers).filter_map(|container| container.image.clone()).collect()
}

/// Sets an image as a person does with `kubectl set image`.
async fn set_tag(deployments: &Api<Deployment>, deployment: &Deployment, to: &str) {
    let name = deployment.name_any();
    let old = images(deployment).pop().expect("one container");
    let image = old.replace(tag(&old), to);
    let containers = json!([{ "name": name, "image": image }]);
    let patch = Patch::Strategic(json!({ "spec": { "template": { "spec": { "containers": containers } } } }));
    deployments.patch(&name, &PatchParams::default(), &patch).await.expect("the oncall may patch Deployments");
}

async fn everything_is_as_told(bed: &Bed) {
    let service = client_in(bed, &bed.kubeconfig(), TRUSTED).await;
    let jobs = unfinished(&service).await;
    assert_eq!(jobs.len(), bed.number("/jobs"));
    assert!(jobs.values().all(|(_, state)| state == "pending"), "{jobs:?}");
    assert_eq!(jobs[bed.fact("deployJob")].0, TRUSTED, "the deploy job is among them");
    for alias in [TRUSTED, DEFAULT] {
        let client = client_in(bed, &bed.kubeconfig(), alias).await;
        let number = |what: &str| bed.number(&format!("/{what}/{alias}"));
        let is_ours = |pod: &&Pod| jobs.contains_key(&pod.name_any());
        let fallen = labelled(&client, NAMESPACE).await;
        let strays: Vec<&Pod> = fallen.iter().filter(is_ours).collect();
        assert_eq!(strays.len(), number("strays"), "{alias}");
        let stuck = strays.iter().filter(|pod| waits_for(pod) == Some("ContainerCreating"));
        let stuck: BTreeSet<_> = stuck.filter_map(|pod| pod.uid()).collect();
        assert_eq!(stuck.len(), number("stuck"), "{alias}");
        let placed = labelled(&client, TEST_PODS).await;
        assert_eq!(placed.iter().filter(is_ours).count(), number("startedBefore"), "{alias}");

        let events: Api<Event> = Api::namespaced(client.clone(), NAMESPACE);
        let failed = events.list(&ListParams::default().fields("reason=FailedMount")).await.expect("events");
        let said: BTreeSet<_> = failed.iter().filter_map(|event| event.involved_object.uid.clone()).collect();
        assert_eq!(said, stuck, "{alias}");
        let messages: BTreeSet<_> = failed.iter().filter_map(|event| event.message.as_deref()).collect();
        let account = "MountVolume.SetUp failed for volume \"service\" : secret \"service-account\" not found";
        assert!(messages.contains(account), "{messages:?}");

        // What only looks like strays.
        let others = |pods: &[Pod]| pods.iter().filter(|pod| !is_ours(pod)).count();
        if alias == DEFAULT {
            assert_eq!(
                others(&fallen) + others(&placed),
                bed.number("/foreign/default") + bed.number("/foreign/test-pods") + bed.number("/debugCopies")
            );
        } else {
            assert_eq!(others(&fallen) + others(&placed), 0);
        }
    }

    let deployments: Api<Deployment> = Api::namespaced(service.clone(), NAMESPACE);
    let deployments = deployments.list(&ListParams::default()).await.expect("Deployments").items;
    assert_eq!(deployments.len(), 9);
    assert!(deployments.iter().flat_map(images).all(|image| tag(&image) == bed.fact("newTag")));
    let sets: Api<ReplicaSet> = Api::namespaced(service.clone(), NAMESPACE);
    assert_eq!(sets.list(&ListParams::default()).await.expect("ReplicaSets").items.len(), 18);
    let cron_jobs: Api<CronJob> = Api::namespaced(service, NAMESPACE);
    let branchprotector =
        serde_json::to_string(&cron_jobs.get("branchprotector").await.expect("the CronJob")).expect("JSON");
    assert!(branchprotector.contains(&format!("branchprotector:{}", bed.fact("oldTag"))));
}

/// What the second cluster can be, apart from well.
async fn one_cluster_fails_alone(bed: &mut Bed) {
    let answer = async |bed: &Bed, variant: Option<&str>, alias: &str| {
        let kubeconfig = variant.map_or_else(|| bed.kubeconfig(), |variant| bed.kubeconfig_of(variant));
        let pods: Api<Pod> = Api::all(client_in(bed, &kubeconfig, alias).await);
        match tokio::time::timeout(Duration::from_secs(3), pods.list(&ListParams::default().limit(1))).await {
            Ok(Ok(_)) => "fine",
            Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => "denied",
            Ok(Err(_)) => "refused",
            Err(_) => "silence",
        }
    };
    assert_eq!(answer(bed, Some("build-denied"), DEFAULT).await, "denied");
    assert_eq!(answer(bed, Some("build-denied"), TRUSTED).await, "fine");
    assert_eq!(answer(bed, Some("build-unreachable"), DEFAULT).await, "refused");
    assert_eq!(answer(bed, Some("build-unreachable"), TRUSTED).await, "fine");
    bed.freeze_api_server_of("build");
    assert_eq!(answer(bed, None, DEFAULT).await, "silence");
    assert_eq!(answer(bed, None, TRUSTED).await, "fine");
    bed.thaw_api_server_of("build");
    assert_eq!(answer(bed, None, DEFAULT).await, "fine");
    bed.stop_api_server_of("build");
    assert_eq!(answer(bed, None, DEFAULT).await, "refused");
    assert_eq!(answer(bed, None, TRUSTED).await, "fine");
    bed.start_api_server_of("build");
    assert_eq!(answer(bed, None, DEFAULT).await, "fine");
}

async fn old_version_puts_it_right(bed: &Bed) {
    let service = client_in(bed, &bed.kubeconfig(), TRUSTED).await;
    let build = client_in(bed, &bed.kubeconfig(), DEFAULT).await;
    let deployments: Api<Deployment> = Api::namespaced(service.clone(), NAMESPACE);
    let uids = |pods: &[Pod]| pods.iter().filter_map(kube::ResourceExt::uid).collect::<BTreeSet<_>>();
    let before = [labelled(&service, NAMESPACE).await, labelled(&build, NAMESPACE).await];
    for deployment in deployments.list(&ListParams::default()).await.expect("Deployments") {
        set_tag(&deployments, &deployment, bed.fact("oldTag")).await;
    }
    let jobs = unfinished(&service).await;
    eventually("the pods of all jobs in test-pods", async || {
        let mut there = labelled(&service, TEST_PODS).await;
        there.extend(labelled(&build, TEST_PODS).await);
        let running = there.iter().filter(|pod| jobs.contains_key(&pod.name_any()) && waits_for(pod).is_none());
        running.count() == bed.number("/jobs")
    })
    .await;
    let after = [labelled(&service, NAMESPACE).await, labelled(&build, NAMESPACE).await];
    assert_eq!(before.each_ref().map(|pods| uids(pods)), after.each_ref().map(|pods| uids(pods)), "the strays stay");

    // Nobody misses a stray. (The pod of a job is there before the job notes its build.)
    let noted = async || {
        let jobs = unfinished(&service).await;
        assert!(jobs.values().all(|(_, state)| state == "pending"), "{jobs:?}");
        let pods = [labelled(&service, TEST_PODS).await, labelled(&build, TEST_PODS).await];
        (jobs.into_keys().collect::<BTreeSet<_>>(), pods.each_ref().map(|pods| uids(pods)))
    };
    let good = noted().await;
    for (client, pods) in [(&service, &after[0]), (&build, &after[1])] {
        let stray = pods.iter().find(|pod| good.0.contains(&pod.name_any())).expect("a stray");
        let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        let preconditions = Some(Preconditions { uid: stray.uid(), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        api.delete(&stray.name_any(), &params).await.expect("the oncall may delete pods");
        eventually("the end of the stray", async || {
            api.get_opt(&stray.name_any()).await.is_ok_and(|found| found.is_none())
        })
        .await;
    }
    assert_eq!(noted().await, good, "no job ended, none got another pod");
}

#[test]
fn bumped_prow_loses_its_pods_and_the_old_one_finds_them() {
    let Some(mut bed) = Bed::start_with_strays(40, 3600) else { return };
    block_on(async {
        everything_is_as_told(&bed).await;
        one_cluster_fails_alone(&mut bed).await;
        old_version_puts_it_right(&bed).await;
    });
    let build = bed.audit_of_oncall_in(DEFAULT);
    assert_eq!(build.iter().filter(|entry| entry.writes()).count(), 1, "the one stray");
    let revision = bed.merge("revert");
    assert_eq!(revision.len(), 40);
}

#[test]
fn an_image_that_nobody_can_pull_holds_its_rollout_up() {
    let Some(mut bed) = Bed::start("rollback-fast") else { return };
    let (old, new) = (bed.fact("oldTag").to_owned(), bed.fact("newTag").to_owned());
    bed.make_unpullable(&format!("deck:{old}"));
    block_on(async {
        let kubeconfig = bed.kubeconfig();
        let client = client_in(&bed, &kubeconfig, DEFAULT).await;
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
        let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        let deck = deployments.get("deck").await.expect("deck");
        assert_eq!(images(&deck), [format!("gcr.io/k8s-prow/deck:{new}")]);
        set_tag(&deployments, &deck, &old).await;
        eventually("a pod that waits for its image", async || {
            let pods = pods.list(&ListParams::default().labels("app=deck")).await.expect("pods");
            pods.iter().any(|pod| waits_for(pod) == Some("ImagePullBackOff"))
        })
        .await;
        bed.make_pullable(&format!("deck:{old}"));
        eventually("deck's rollout", async || {
            let deck = deployments.get("deck").await.expect("deck");
            deck.status.is_some_and(|status| status.updated_replicas == Some(2) && status.available_replicas == Some(2))
        })
        .await;
        bed.deploy(&new);
        let all = deployments.list(&ListParams::default()).await.expect("Deployments");
        assert!(all.iter().flat_map(images).all(|image| tag(&image) == new));

        let denied =
            Api::<Deployment>::namespaced(client_in(&bed, &bed.kubeconfig_of("no-rollback"), DEFAULT).await, NAMESPACE);
        let patch = Patch::Merge(json!({ "metadata": { "labels": { "a": "b" } } }));
        let answer = denied.patch("deck", &PatchParams::default().dry_run(), &patch).await;
        assert!(matches!(answer, Err(kube::Error::Api(status)) if status.is_forbidden()));
    });
}
