//! etcd, API server, controller manager, scheduler and KWOK of one bed, on free loopback ports.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::binaries::Binaries;
use crate::certs::{self, Authority, Credential, write_private};
use crate::children::{Daemon, free_port};

/// Who signs service accounts' tokens.
pub const ISSUER: &str = "https://kubernetes.default.svc";

/// Nodes with this annotation are KWOK's; the others belong to the bed's own kubelet.
pub const KWOK_NODE: &str = "kwok.x-k8s.io/node";

/// What happened in the API server: all of every write, the fact of every read.
const AUDIT_POLICY: &str = r#"apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Request
  verbs: [create, update, patch, delete, deletecollection]
- level: Metadata
"#;

/// Ends the pods of Prow's jobs, so that work flows; `bed/keep-running` on a job keeps its pods.
const JOB_COMPLETES: &str = r#"apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata:
  name: prow-job-complete
spec:
  resourceRef:
    apiGroup: v1
    kind: Pod
  selector:
    matchLabels:
      created-by-prow: "true"
    matchExpressions:
    - key: '.metadata.deletionTimestamp'
      operator: DoesNotExist
    - key: '.status.phase'
      operator: In
      values: [Running]
    - key: '.metadata.labels["bed/keep-running"]'
      operator: DoesNotExist
  delay:
    durationMilliseconds: 20000
    jitterDurationMilliseconds: 40000
  next:
    statusTemplate: |
      {{ $now := Now }}
      {{ $root := . }}
      containerStatuses:
      {{ range $index, $item := .spec.containers }}
      {{ $origin := index $root.status.containerStatuses $index }}
      - image: {{ $item.image | Quote }}
        name: {{ $item.name | Quote }}
        ready: false
        restartCount: 0
        started: false
        state:
          terminated:
            exitCode: 0
            reason: Completed
            startedAt: {{ $origin.state.running.startedAt | Quote }}
            finishedAt: {{ $now | Quote }}
      {{ end }}
      phase: Succeeded
"#;

/// The running control plane.
pub struct ControlPlane {
    pub server: String,
    pub admin_kubeconfig: PathBuf,
    pub audit_log: PathBuf,
    api_server_program: PathBuf,
    api_server_args: Vec<String>,
    logs: PathBuf,
    etcd: Daemon,
    api_server: Option<Daemon>,
    controllers: Vec<Daemon>,
}

impl ControlPlane {
    /// Starts etcd and the API server and waits until it answers; the controllers come with
    /// [`ControlPlane::start_controllers`].
    pub async fn start(dir: &Path, binaries: &Binaries, authority: &Authority, tokens: &str) -> Result<Self> {
        let logs = dir.join("logs");
        std::fs::create_dir_all(&logs)?;
        let (client, peer) = (free_port()?, free_port()?);
        let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let etcd = Daemon::start(
            "etcd",
            &binaries.program("etcd"),
            &[
                format!("--data-dir={}", dir.join("etcd").display()),
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster=default={peer}"),
                // The definition of ProwJob is larger than etcd's default.
                "--max-request-bytes=8388608".to_owned(),
                // Nobody wants this data after a crash.
                "--unsafe-no-fsync".to_owned(),
            ],
            &logs,
        )?;

        let port = free_port()?;
        let server = format!("https://127.0.0.1:{port}");
        authority.server("apiserver")?;
        let kubelet_client = authority.client("kube-apiserver-kubelet-client", None)?;
        write_private(Path::new(&authority.file("kubelet-client.crt")), &kubelet_client.cert)?;
        write_private(Path::new(&authority.file("kubelet-client.key")), &kubelet_client.key)?;
        let policy = dir.join("audit-policy.yaml");
        std::fs::write(&policy, AUDIT_POLICY)?;
        let token_file = dir.join("tokens.csv");
        write_private(&token_file, tokens)?;
        let audit_log = dir.join("audit.log");
        let api_server_args = vec![
            format!("--etcd-servers={client}"),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--cert-dir={}", dir.join("apiserver").display()),
            format!("--tls-cert-file={}", authority.file("apiserver.crt")),
            format!("--tls-private-key-file={}", authority.file("apiserver.key")),
            format!("--client-ca-file={}", authority.file("ca.crt")),
            format!("--token-auth-file={}", token_file.display()),
            format!("--service-account-issuer={ISSUER}"),
            format!("--service-account-key-file={}", authority.file("service-account.pub")),
            format!("--service-account-signing-key-file={}", authority.file("service-account.key")),
            "--authorization-mode=RBAC".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
            // Prow's own accounts come with certificates: nothing waits for a token to be mounted.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            format!("--kubelet-certificate-authority={}", authority.file("ca.crt")),
            format!("--kubelet-client-certificate={}", authority.file("kubelet-client.crt")),
            format!("--kubelet-client-key={}", authority.file("kubelet-client.key")),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", audit_log.display()),
        ];
        let admin = authority.client("bed", Some("system:masters"))?;
        let admin_kubeconfig = dir.join("admin.kubeconfig");
        let context = authority.context(&server, "bed", "bed", &Credential::Certificate(&admin));
        write_private(&admin_kubeconfig, &certs::kubeconfig(&[context]))?;
        let mut plane = Self {
            server,
            admin_kubeconfig,
            audit_log,
            api_server_program: binaries.program("kube-apiserver"),
            api_server_args,
            logs,
            etcd,
            api_server: None,
            controllers: Vec::new(),
        };
        plane.start_api_server().await?;
        Ok(plane)
    }

    /// Starts the API server (again, on the same port) and waits until it is ready.
    pub async fn start_api_server(&mut self) -> Result<()> {
        if self.api_server.is_some() {
            bail!("the API server runs already");
        }
        self.api_server =
            Some(Daemon::start("kube-apiserver", &self.api_server_program, &self.api_server_args, &self.logs)?);
        let client = crate::api::client(&self.admin_kubeconfig, "bed").await?;
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            self.check()?;
            let request = http::Request::get("/readyz").body(Vec::new())?;
            let last = match tokio::time::timeout(Duration::from_secs(5), client.request_text(request)).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            if Instant::now() > deadline {
                bail!("the API server did not become ready: {last}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A kubeconfig for a part of the control plane; gives back its path.
    fn kubeconfig(&self, dir: &Path, authority: &Authority, user: &str) -> Result<String> {
        let leaf = authority.client(user, Some("system:masters"))?;
        let path = dir.join(format!("{}.kubeconfig", user.replace(':', "-")));
        let context = authority.context(&self.server, "bed", user, &Credential::Certificate(&leaf));
        write_private(&path, &certs::kubeconfig(&[context]))?;
        Ok(path.display().to_string())
    }

    /// Starts controller manager and scheduler.
    pub fn start_controllers(&mut self, dir: &Path, binaries: &Binaries, authority: &Authority) -> Result<()> {
        let manager = self.kubeconfig(dir, authority, "system:kube-controller-manager")?;
        self.controllers.push(Daemon::start(
            "kube-controller-manager",
            &binaries.program("kube-controller-manager"),
            &[
                format!("--kubeconfig={manager}"),
                // Alone, and it has to survive a frozen API server.
                "--leader-elect=false".to_owned(),
                "--secure-port=0".to_owned(),
                format!("--service-account-private-key-file={}", authority.file("service-account.key")),
                format!("--root-ca-file={}", authority.file("ca.crt")),
                // Paused nodes must not be declared dead afterwards.
                "--node-monitor-grace-period=24h".to_owned(),
            ],
            &self.logs,
        )?);
        let scheduler = self.kubeconfig(dir, authority, "system:kube-scheduler")?;
        self.controllers.push(Daemon::start(
            "kube-scheduler",
            &binaries.program("kube-scheduler"),
            &[format!("--kubeconfig={scheduler}"), "--leader-elect=false".to_owned(), "--secure-port=0".to_owned()],
            &self.logs,
        )?);
        Ok(())
    }

    /// Starts KWOK, for nodes that bear [`KWOK_NODE`].
    pub fn start_kwok(&mut self, dir: &Path, binaries: &Binaries, authority: &Authority) -> Result<()> {
        let stages = dir.join("stages.yaml");
        let mut text = String::from(JOB_COMPLETES);
        for stage in binaries.kwok_stages() {
            text.push_str("\n---\n");
            text.push_str(&std::fs::read_to_string(&stage).with_context(|| format!("read {}", stage.display()))?);
        }
        std::fs::write(&stages, text)?;
        let kwok = self.kubeconfig(dir, authority, "kwok")?;
        self.controllers.push(Daemon::start(
            "kwok",
            &binaries.program("kwok"),
            &[
                format!("--kubeconfig={kwok}"),
                "--manage-all-nodes=false".to_owned(),
                format!("--manage-nodes-with-annotation-selector={KWOK_NODE}=fake"),
                "--node-lease-duration-seconds=40".to_owned(),
                format!("--config={}", stages.display()),
            ],
            &self.logs,
        )?);
        Ok(())
    }

    /// An error if one of the programs has ended.
    pub fn check(&mut self) -> Result<()> {
        self.etcd.check()?;
        if let Some(server) = &mut self.api_server {
            server.check()?;
        }
        self.controllers.iter_mut().try_for_each(Daemon::check)
    }

    /// SIGSTOP or SIGCONT to controller manager, scheduler and KWOK.
    pub fn signal_controllers(&self, signal: Signal) {
        self.controllers.iter().for_each(|daemon| daemon.signal(signal));
    }

    /// SIGSTOP or SIGCONT to the API server.
    pub fn signal_api_server(&self, signal: Signal) {
        if let Some(server) = &self.api_server {
            server.signal(signal);
        }
    }

    /// Kills the API server: connections are refused afterwards.
    pub async fn stop_api_server(&mut self) -> Result<()> {
        let mut server = self.api_server.take().context("the API server does not run")?;
        server.kill().await;
        Ok(())
    }

    /// Ends everything.
    pub async fn stop(&mut self) {
        for daemon in &mut self.controllers {
            daemon.kill().await;
        }
        if let Some(mut server) = self.api_server.take() {
            server.kill().await;
        }
        self.etcd.kill().await;
    }
}
