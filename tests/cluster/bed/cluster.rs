//! One Kubernetes cluster of a bed: its authority, its control plane and the node that the bed's kubelet plays.
//!
//! Most beds have one, Prow's own; the second is where jobs run that are not trusted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use kube::Client;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::binaries::Binaries;
use crate::certs::Authority;
use crate::control_plane::ControlPlane;
use crate::kubelet::images::Images;
use crate::kubelet::{Admits, JobsTake, Kubelet, Settings};
use crate::layout::{Builds, DEFAULT, Layout, TEST_PODS, TRUSTED};
use crate::{api, users};

/// What a cluster is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Service,
    Build,
}

impl Role {
    /// What commands call it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Service => "service",
            Role::Build => "build",
        }
    }

    /// The context's name on the oncall's laptop; deliberately no alias of Prow.
    pub fn context(self) -> &'static str {
        match self {
            Role::Service => "prow-services",
            Role::Build => "prow-build",
        }
    }

    /// What Prow's jobs call it.
    pub fn alias(self, builds: Builds) -> &'static str {
        match (self, builds) {
            (Role::Service, Builds::InBuildCluster) => TRUSTED,
            (Role::Service, Builds::InServiceCluster | Builds::Nowhere) | (Role::Build, _) => DEFAULT,
        }
    }

    fn node(self) -> &'static str {
        match self {
            Role::Service => "prow-pool-1",
            Role::Build => "build-pool-1",
        }
    }
}

/// What all clusters of a bed have in common.
#[derive(Clone)]
pub struct Common {
    pub binaries: Binaries,
    pub images: Arc<Images>,
    pub github: String,
    /// The folder of the service accounts' kubeconfigs.
    pub accounts: PathBuf,
    pub back_off_factor: f64,
    pub jobs_take: JobsTake,
}

/// A running cluster.
pub struct Cluster {
    pub role: Role,
    pub client: Client,
    pub kubelet: Kubelet,
    pub authority: Authority,
    pub plane: ControlPlane,
}

impl Cluster {
    /// Starts it in a folder of its own; it is empty but for its nodes.
    pub async fn start(role: Role, dir: &Path, layout: &'static Layout, common: Common) -> Result<Self> {
        let binaries = &common.binaries;
        let authority = Authority::new(&dir.join("pki"))?;
        let mut plane = ControlPlane::start(dir, binaries, &authority, &users::token_file(role)).await?;
        let client = api::client(&plane.admin_kubeconfig, "bed").await?;
        plane.start_controllers(dir, binaries, &authority)?;
        let admits = match layout.builds {
            Builds::InServiceCluster => {
                plane.start_kwok(dir, binaries, &authority)?;
                Admits::Prow
            }
            Builds::InBuildCluster | Builds::Nowhere => Admits::All,
        };
        let settings = Settings {
            client: client.clone(),
            node: role.node(),
            admits,
            dir: dir.join("kubelet"),
            binaries: common.binaries,
            images: common.images,
            jobs_take: common.jobs_take,
            github: common.github,
            accounts: common.accounts,
            back_off_factor: common.back_off_factor,
            // A component's namespace may be the one into which strays fall, in either cluster.
            namespaces: vec![layout.prow, TEST_PODS],
        };
        let kubelet = Kubelet::start(settings, &authority.server("kubelet")?).await?;
        Ok(Self { role, client, kubelet, authority, plane })
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

    /// What a test needs to reach it.
    pub fn describe(&self, kubeconfig: &Path) -> Value {
        json!({
            "name": self.role.name(),
            "context": self.role.context(),
            "kubeconfig": kubeconfig,
            "adminKubeconfig": self.plane.admin_kubeconfig,
            "auditLog": self.plane.audit_log,
            "server": self.plane.server,
        })
    }
}
