//! A whole bed: what is started in which order, and how it ends.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::binaries::Binaries;
use crate::children::tie_to_bed;
use crate::cluster::{Cluster, Common, Role};
use crate::kubelet::JobsTake;
use crate::kubelet::images::Images;
use crate::layout::{Builds, Layout, TEST_PODS};
use crate::repository::Repository;
use crate::users::Kubeconfigs;
use crate::{api, github_stub, prow_jobs, prow_objects, users};

/// What whoever starts a bed may choose.
#[derive(Clone, Copy)]
pub struct Wishes {
    /// All waiting of back-off is multiplied by it.
    pub back_off_factor: f64,
    /// Unfinished jobs, in incidents about jobs.
    pub jobs: usize,
    /// How long the pods of jobs run on the bed's kubelet.
    pub jobs_take: JobsTake,
}

/// A running bed.
pub struct Bed {
    pub layout: &'static Layout,
    /// Where Prow is.
    pub service: Cluster,
    /// Where its jobs are, if that is another one.
    pub build: Option<Cluster>,
    pub images: Arc<Images>,
    pub repository: Repository,
    /// What the incident adds to [`Bed::describe`].
    pub facts: serde_json::Map<String, Value>,
    binaries: Binaries,
    dir: PathBuf,
    kubeconfigs: Kubeconfigs,
    /// The kubeconfigs of Prow's service accounts, `NAME.kubeconfig`.
    pub accounts: PathBuf,
}

impl Bed {
    /// A healthy Prow.
    pub async fn start(dir: &Path, layout: &'static Layout, wishes: &Wishes) -> Result<Self> {
        let binaries = Binaries::provide().await?;
        let images = Arc::new(Images::new(layout.programs));
        let accounts = dir.join("accounts");
        let common = Common {
            binaries: binaries.clone(),
            images: Arc::clone(&images),
            github: github_stub::serve().await?,
            accounts: accounts.clone(),
            back_off_factor: wishes.back_off_factor,
            jobs_take: wishes.jobs_take,
        };
        let (build_dir, repository_dir) = (dir.join("build"), dir.join("repository"));
        let build = async {
            Ok(match layout.builds {
                Builds::InServiceCluster | Builds::Nowhere => None,
                Builds::InBuildCluster => Some(start_build_cluster(&build_dir, layout, common.clone()).await?),
            })
        };
        let service = async {
            let service = Cluster::start(Role::Service, dir, layout, common.clone()).await?;
            let client = &service.client;
            tokio::try_join!(
                create_prowjob_kind(client, &binaries),
                prow_objects::create_foundation(client, layout),
                async {
                    match layout.builds {
                        Builds::InServiceCluster => prow_objects::create_kwok_nodes(client).await,
                        Builds::InBuildCluster | Builds::Nowhere => Ok(()),
                    }
                }
            )?;
            users::grant(client, layout.prow).await?;
            Ok(service)
        };
        let repository = Repository::create(&repository_dir, layout.story);
        let (service, build, repository) = tokio::try_join!(service, build, repository)?;
        let clusters: Vec<&Cluster> = std::iter::once(&service).chain(&build).collect();
        let kubeconfigs = users::write_kubeconfigs(dir, layout.prow, &clusters)?;
        users::write_account_kubeconfigs(&accounts, layout, &clusters)?;
        let facts = serde_json::Map::new();
        let mut bed = Self {
            layout,
            service,
            build,
            images,
            repository,
            facts,
            binaries,
            dir: dir.to_owned(),
            kubeconfigs,
            accounts,
        };
        bed.upload_configuration().await?;
        match layout.builds {
            Builds::InServiceCluster => prow_jobs::create_past(&bed.service.client, layout.prow).await?,
            Builds::InBuildCluster => crate::bump::create_past(&bed).await?,
            Builds::Nowhere => {}
        }
        // Times are told in seconds: of what starts in the second of the write, nobody knows which came first.
        let uploaded = Timestamp::now().as_second();
        api::eventually("the next second", Duration::from_secs(10), async || {
            Ok(Timestamp::now().as_second() > uploaded)
        })
        .await?;
        prow_objects::create_workloads(&bed.service.client, layout).await?;
        bed.wait_until_healthy().await?;
        Ok(bed)
    }

    /// All clusters, Prow's first.
    pub fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        std::iter::once(&self.service).chain(&self.build)
    }

    /// The cluster of this name in commands; Prow's when none is named.
    pub fn cluster(&mut self, name: Option<&str>) -> Result<&mut Cluster> {
        let mut all = std::iter::once(&mut self.service).chain(&mut self.build);
        match name {
            None => all.next().context("there is always one"),
            Some(name) => {
                all.find(|cluster| cluster.role.name() == name).with_context(|| format!("no cluster {name:?}"))
            }
        }
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

    /// All workloads are available and hook can be reached.
    async fn wait_until_healthy(&mut self) -> Result<()> {
        let client = self.service.client.clone();
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), self.layout.prow);
        let slices: Api<EndpointSlice> = Api::namespaced(client, self.layout.prow);
        api::eventually("a healthy Prow", Duration::from_secs(300), async || {
            self.check()?;
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
        let oncall = &self.kubeconfigs.oncall;
        let clusters: serde_json::Map<String, Value> = self
            .clusters()
            .map(|cluster| (cluster.role.alias(self.layout.builds).to_owned(), cluster.describe(oncall)))
            .collect();
        let mut facts = json!({
            "ready": true,
            "incident": incident,
            "dir": self.dir,
            "kubeconfig": oncall,
            "adminKubeconfig": self.service.plane.admin_kubeconfig,
            "kubeconfigs": self.kubeconfigs.variants,
            "context": self.service.role.context(),
            "user": users::ONCALL,
            "repository": self.repository.checkout,
            "auditLog": self.service.plane.audit_log,
            "goodRevision": self.repository.revision(self.layout.story.start).await?,
            "brokenRevision": self.repository.revision(self.layout.story.broken).await?,
            "server": self.service.plane.server,
            "clusters": clusters,
            "prowNamespace": self.layout.prow,
            "podNamespace": TEST_PODS,
            "checkconfig": self.binaries.program("checkconfig"),
            "pid": std::process::id(),
        });
        if let Some(all) = facts.as_object_mut() {
            all.extend(self.facts.clone());
        }
        Ok(facts)
    }

    /// Stops everybody who writes unasked, in all clusters.
    pub async fn pause_controllers(&self) {
        for cluster in self.clusters() {
            cluster.pause_controllers().await;
        }
    }

    pub fn resume_controllers(&self) {
        self.clusters().for_each(Cluster::resume_controllers);
    }

    /// Somebody else edits a ConfigMap by hand: a comment at the end of one key.
    pub async fn write_config_map(&self, name: &str, key: &str) -> Result<()> {
        let client = &self.service.client;
        let path = format!("/api/v1/namespaces/{}/configmaps/{name}", self.layout.prow);
        let map: Value = client.request(http::Request::get(&path).body(Vec::new())?).await?;
        let old = map["data"][key].as_str().unwrap_or_default();
        let patch = json!({ "data": { key: format!("{old}# edited by hand\n") } });
        let request = http::Request::patch(format!("{path}?fieldManager=kubectl-edit"))
            .header(http::header::CONTENT_TYPE, "application/strategic-merge-patch+json")
            .body(serde_json::to_vec(&patch)?)?;
        client.request::<Value>(request).await?;
        Ok(())
    }

    /// An error if a part of the control plane has ended.
    pub fn check(&mut self) -> Result<()> {
        let mut clusters = std::iter::once(&mut self.service).chain(&mut self.build);
        clusters.try_for_each(|cluster| cluster.plane.check())
    }

    /// Ends everything but the kubelet's processes, which end with the runtime.
    pub async fn stop(&mut self) {
        for cluster in std::iter::once(&mut self.service).chain(&mut self.build) {
            cluster.plane.stop().await;
        }
    }
}

/// The second cluster: Prow's account, the Secrets of jobs, and nothing else of Prow.
async fn start_build_cluster(dir: &Path, layout: &'static Layout, common: Common) -> Result<Cluster> {
    let build = Cluster::start(Role::Build, dir, layout, common).await?;
    prow_objects::create_namespace(&build.client, TEST_PODS).await?;
    prow_objects::grant(&build.client, layout.prow).await?;
    users::grant_in_build_cluster(&build.client).await?;
    Ok(build)
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
