//! A whole bed: what is started in which order, and how it ends.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::binaries::{Binaries, PROW_TAG};
use crate::certs::Authority;
use crate::children::tie_to_bed;
use crate::control_plane::ControlPlane;
use crate::kubelet::{Kubelet, Settings};
use crate::prow_objects::{self, PROW};
use crate::repository::Repository;
use crate::users::Kubeconfigs;
use crate::{api, github_stub, prow_jobs, users};

/// A running bed.
pub struct Bed {
    pub client: Client,
    pub kubelet: Kubelet,
    pub repository: Repository,
    plane: ControlPlane,
    binaries: Binaries,
    dir: PathBuf,
    kubeconfigs: Kubeconfigs,
    accounts: PathBuf,
}

impl Bed {
    /// A healthy Prow on the commit of this name.
    pub async fn start(dir: &Path, commit: &str, back_off_factor: f64) -> Result<Self> {
        let binaries = Binaries::provide().await?;
        let authority = Authority::new(&dir.join("pki"))?;
        let tokens = users::token_file();
        let repository_dir = dir.join("repository");
        let (plane, repository, github) = tokio::try_join!(
            ControlPlane::start(dir, &binaries, &authority, &tokens),
            Repository::create(&repository_dir, commit),
            github_stub::serve(),
        )?;
        let mut plane = plane;
        let kubeconfigs = users::write_kubeconfigs(dir, &plane.server, &authority)?;
        let accounts = dir.join("accounts");
        users::write_account_kubeconfigs(&accounts, &plane.server, &authority)?;
        let client = api::client(&plane.admin_kubeconfig, "bed").await?;

        plane.start_controllers(dir, &binaries, &authority)?;
        tokio::try_join!(create_prowjob_kind(&client, &binaries), prow_objects::create_foundation(&client),)?;
        users::grant(&client).await?;
        let kubelet = Kubelet::start(
            Settings {
                client: client.clone(),
                dir: dir.join("kubelet"),
                binaries: binaries.clone(),
                github,
                accounts: accounts.clone(),
                back_off_factor,
                namespace: PROW,
            },
            &authority.server("kubelet")?,
        )
        .await?;
        let mut bed = Self { client, kubelet, repository, plane, binaries, dir: dir.to_owned(), kubeconfigs, accounts };
        bed.upload_configuration().await?;
        prow_jobs::create_past(&bed.client).await?;
        prow_objects::create_workloads(&bed.client).await?;
        bed.wait_until_healthy().await?;
        Ok(bed)
    }

    /// Everything of the checkout into the ConfigMaps, by the real config-bootstrapper.
    async fn upload_configuration(&self) -> Result<()> {
        let checkout = self.repository.checkout.display();
        let mut command = Command::new(self.binaries.program("config-bootstrapper"));
        command
            .arg(format!("--source-path={checkout}"))
            .arg(format!("--config-path={checkout}/config/prow/config.yaml"))
            .arg(format!("--plugin-config={checkout}/config/prow/plugins.yaml"))
            .arg(format!("--kubeconfig={}", self.accounts.join("config-bootstrapper.kubeconfig").display()))
            .arg("--dry-run=false")
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = tie_to_bed(&mut command).spawn()?.wait_with_output().await?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("config-bootstrapper: {}", text.lines().last().unwrap_or_default());
        }
        Ok(())
    }

    /// What hook's config-updater does after the merge of a commit: only that commit's files, and the revision.
    pub async fn upload_as_hook(&self, commit: &str) -> Result<()> {
        let revision = self.repository.revision(commit).await?.context("not merged yet")?;
        let agent = format!("hook/{PROW_TAG}");
        let client = api::client(&self.accounts.join("hook.kubeconfig"), &agent).await?;
        let path = format!("/api/v1/namespaces/{PROW}/configmaps/job-config");
        let mut map: Value = client.request(http::Request::get(&path).body(Vec::new())?).await?;
        for (path, content) in Repository::files_of(commit, "config/jobs/") {
            let key = path.rsplit('/').next().unwrap_or(path);
            map["data"][key] = json!(content);
        }
        map["data"]["VERSION"] = json!(revision);
        let request = http::Request::put(&path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(serde_json::to_vec(&map)?)?;
        client.request::<Value>(request).await?;
        Ok(())
    }

    /// All workloads are available and hook can be reached.
    async fn wait_until_healthy(&mut self) -> Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), PROW);
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), PROW);
        let plane = &mut self.plane;
        api::eventually("a healthy Prow", Duration::from_secs(300), async || {
            plane.check()?;
            let list = deployments.list(&ListParams::default()).await?;
            let waiting: Vec<String> = list.iter().filter(|d| !available(d)).map(ResourceExt::name_any).collect();
            if !waiting.is_empty() {
                bail!("not available: {}", waiting.join(", "));
            }
            let hook = ListParams::default().labels("kubernetes.io/service-name=hook");
            let slices = slices.list(&hook).await?;
            let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
            let ready = endpoints.filter(|e| e.conditions.as_ref().and_then(|c| c.ready) == Some(true));
            Ok(ready.count() == 2)
        })
        .await
    }

    /// What a person or a test needs to use it.
    pub async fn describe(&self, incident: &str) -> Result<Value> {
        Ok(json!({
            "ready": true,
            "incident": incident,
            "dir": self.dir,
            "kubeconfig": self.kubeconfigs.oncall,
            "adminKubeconfig": self.plane.admin_kubeconfig,
            "kubeconfigs": self.kubeconfigs.variants,
            "context": users::CONTEXT,
            "user": users::ONCALL,
            "repository": self.repository.checkout,
            "auditLog": self.plane.audit_log,
            "goodRevision": self.repository.revision("behaviour").await?,
            "brokenRevision": self.repository.revision("refactor").await?,
            "server": self.plane.server,
            "prowNamespace": PROW,
            "podNamespace": prow_objects::TEST_PODS,
            "checkconfig": self.binaries.program("checkconfig"),
            "pid": std::process::id(),
        }))
    }

    /// Stops everybody who writes unasked: the controllers, KWOK and the kubelet.
    pub async fn pause_controllers(&self) {
        self.plane.signal_controllers(Signal::STOP);
        self.kubelet.pause().await;
    }

    pub fn resume_controllers(&self) {
        self.plane.signal_controllers(Signal::CONT);
        self.kubelet.resume();
    }

    /// The API server accepts connections and never answers.
    pub fn freeze_api_server(&self) {
        self.plane.signal_api_server(Signal::STOP);
    }

    pub fn thaw_api_server(&self) {
        self.plane.signal_api_server(Signal::CONT);
    }

    /// The API server refuses connections.
    pub async fn stop_api_server(&mut self) -> Result<()> {
        self.plane.stop_api_server().await
    }

    pub async fn start_api_server(&mut self) -> Result<()> {
        self.plane.start_api_server().await
    }

    /// Somebody else edits a ConfigMap by hand: a comment at the end of one key.
    pub async fn write_config_map(&self, name: &str, key: &str) -> Result<()> {
        let path = format!("/api/v1/namespaces/{PROW}/configmaps/{name}");
        let map: Value = self.client.request(http::Request::get(&path).body(Vec::new())?).await?;
        let old = map["data"][key].as_str().unwrap_or_default();
        let patch = json!({ "data": { key: format!("{old}# edited by hand\n") } });
        let request = http::Request::patch(format!("{path}?fieldManager=kubectl-edit"))
            .header(http::header::CONTENT_TYPE, "application/strategic-merge-patch+json")
            .body(serde_json::to_vec(&patch)?)?;
        self.client.request::<Value>(request).await?;
        Ok(())
    }

    /// An error if a part of the control plane has ended.
    pub fn check(&mut self) -> Result<()> {
        self.plane.check()
    }

    /// Ends everything but the kubelet's processes, which end with the runtime.
    pub async fn stop(&mut self) {
        self.plane.stop().await;
    }
}

async fn create_prowjob_kind(client: &Client, binaries: &Binaries) -> Result<()> {
    let definition = std::fs::read_to_string(binaries.prowjob_crd())?;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?fieldManager=kubectl";
    let request = http::Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(definition.into_bytes())?;
    client.request_text(request).await.context("define the kind ProwJob")?;
    api::eventually("the kind ProwJob", Duration::from_secs(180), async || {
        let request = http::Request::get("/apis/prow.k8s.io/v1/prowjobs").body(Vec::new())?;
        client.request_text(request).await?;
        Ok(true)
    })
    .await
}

fn available(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.as_ref();
    status.and_then(|status| status.available_replicas).unwrap_or(0) == wanted
}
