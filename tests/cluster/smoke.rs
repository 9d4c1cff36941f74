//! The bed itself: what the other tests take for granted.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, LogParams, PostParams};
use kube::{Api, Client, ResourceExt as _};

use crate::bed::Bed;
use crate::support::{NAMESPACE, block_on, client, eventually};

async fn hooks(client: &Client) -> Vec<Pod> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let list = pods.list(&ListParams::default().labels("app=hook")).await;
    list.expect("the oncall may list pods").items
}

fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut conditions = conditions.filter(|condition| condition.type_ == "Ready");
    conditions.any(|condition| condition.status == "True") && pod.metadata.deletion_timestamp.is_none()
}

async fn ready_endpoints(client: &Client) -> usize {
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), NAMESPACE);
    let of_hook = ListParams::default().labels("kubernetes.io/service-name=hook");
    let slices = slices.list(&of_hook).await.expect("the oncall may list endpointslices");
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    endpoints.filter(|e| e.conditions.as_ref().and_then(|c| c.ready) == Some(true)).count()
}

#[test]
fn healthy_prow_comes_up() {
    let Some(bed) = Bed::start("healthy") else { return };
    block_on(async {
        let client = client(&bed.kubeconfig()).await;
        let hooks = hooks(&client).await;
        assert_eq!(hooks.len(), 2);
        assert!(hooks.iter().all(ready), "hook is ready");
        assert_eq!(ready_endpoints(&client).await, 2);
    });
    assert!(bed.audit_of_oncall().iter().all(|entry| !entry.writes()));
}

#[test]
fn preset_outage_breaks_the_real_hook_and_good_content_heals_it() {
    let Some(mut bed) = Bed::start("2019-01-23") else { return };
    block_on(async {
        let client = client(&bed.kubeconfig()).await;
        let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        // EndpointSlices follow the pods' status; on a loaded machine by a moment.
        eventually("hook having no endpoint", async || ready_endpoints(&client).await == 0).await;
        for pod in hooks(&client).await {
            let previous = LogParams { previous: true, tail_lines: Some(1), ..LogParams::default() };
            let log = pods.logs(&pod.name_any(), &previous).await.expect("the previous log");
            let line: serde_json::Value = serde_json::from_str(&log).expect("Prow logs JSON");
            assert_eq!(line["msg"], "Error starting config agent.");
            assert_eq!(line["error"], "duplicated preset 'label:value' pair : preset-aws-credential:true");
        }

        bed.merge("fix");
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
        let mut map = maps.get("job-config").await.expect("the oncall may read configmaps");
        let data = map.data.get_or_insert_with(BTreeMap::new);
        for (path, key) in [
            ("config/jobs/kubernetes-sigs/aws/aws-presets.yaml", "aws-presets.yaml"),
            ("config/jobs/kubernetes-sigs/aws/aws-ebs-csi-driver.yaml", "aws-ebs-csi-driver.yaml"),
        ] {
            let content = std::fs::read_to_string(bed.repository().join(path)).expect("the checkout");
            data.insert(key.to_owned(), content);
        }
        maps.replace("job-config", &PostParams::default(), &map).await.expect("the oncall may write it");
        for pod in hooks(&client).await {
            pods.delete(&pod.name_any(), &DeleteParams::default()).await.expect("the oncall may delete pods");
        }
        eventually("hook being ready", async || {
            let hooks = hooks(&client).await;
            hooks.len() == 2 && hooks.iter().all(ready) && ready_endpoints(&client).await == 2
        })
        .await;
    });
    let written: Vec<String> = bed
        .audit_of_oncall()
        .iter()
        .filter(|entry| entry.writes())
        .map(|entry| format!("{} {}", entry.verb, entry.resource))
        .collect();
    assert_eq!(written, ["update configmaps", "delete pods", "delete pods"]);
}

/// Whether the deployed version loads the oncall's checkout.
fn loads(bed: &Bed) -> bool {
    let repository = bed.repository();
    let flag = |name: &str, path: &str| format!("--{name}={}", repository.join(path).display());
    let output = std::process::Command::new(bed.checkconfig())
        .arg(flag("config-path", "config/prow/config.yaml"))
        .arg(flag("job-config-path", "config/jobs"))
        .arg(flag("plugin-config", "config/prow/plugins.yaml"))
        .output()
        .expect("checkconfig");
    output.status.success()
}

#[test]
fn bed_obeys() {
    let Some(mut bed) = Bed::start("2019-01-23") else { return };
    assert!(!loads(&bed), "the refactoring is refused");
    bed.merge("revert");
    assert!(!loads(&bed), "the revert was not enough");
    assert_eq!(bed.merge("fix").len(), 40);
    assert!(loads(&bed), "the fix loads");

    bed.write_config_map("job-config", "presets.yaml");
    let maps = |client: Client| Api::<ConfigMap>::namespaced(client, NAMESPACE);
    block_on(async {
        let map = maps(client(&bed.kubeconfig()).await).get("job-config").await.expect("the ConfigMap");
        let managers = map.metadata.managed_fields.iter().flatten().filter_map(|fields| fields.manager.as_deref());
        assert_eq!(managers.collect::<Vec<_>>(), ["config-bootstrapper", "hook", "kubectl-edit"]);
    });

    let variants = [("no-logs", None), ("expired-token", Some(401)), ("no-list-in-one-namespace", None)];
    for (variant, code) in variants {
        let answer = block_on(async { maps(client(&bed.kubeconfig_of(variant)).await).get("job-config").await });
        match (answer, code) {
            (Ok(_), None) => {}
            (Err(kube::Error::Api(error)), Some(code)) => assert_eq!(error.code, code, "{variant}"),
            (answer, _) => panic!("{variant}: {answer:?}"),
        }
    }

    let list = |bed: &Bed| {
        let kubeconfig = bed.kubeconfig();
        block_on(async {
            let maps = maps(client(&kubeconfig).await);
            tokio::time::timeout(Duration::from_secs(2), maps.get("config")).await
        })
    };
    bed.freeze_api_server();
    assert!(list(&bed).is_err(), "a frozen server does not answer");
    bed.thaw_api_server();
    assert!(matches!(list(&bed), Ok(Ok(_))), "a thawed server answers");
    bed.stop_api_server();
    assert!(matches!(list(&bed), Ok(Err(_))), "a stopped server refuses");
    bed.start_api_server();
    assert!(matches!(list(&bed), Ok(Ok(_))), "it is back at its address");
    bed.pause_controllers();
    bed.resume_controllers();
}

#[test]
fn nothing_outlives_a_killed_bed() {
    let Some(mut bed) = Bed::start("healthy") else { return };
    let children = children(bed.pid());
    assert!(children.len() >= 8, "control plane and Prow are its children: {children:?}");
    bed.kill();
    block_on(eventually("the end of all children", async || children.iter().all(|pid| !alive(*pid))));
    // What a killed bed cannot remove itself.
    std::fs::remove_dir_all(bed.fact("dir")).expect("remove the bed's folder");
}

fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// A zombie has ended; that nobody has asked for its exit code is init's affair.
fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

fn children(of: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("a /proc");
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, parent)| parent == of)).collect()
}
