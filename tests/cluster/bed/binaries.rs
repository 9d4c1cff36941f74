//! The programs of the bed: Kubernetes, etcd, KWOK and Prow, built from Go modules when they are missing.
//!
//! A module of ours per origin (`go/*/go.mod`: their Kubernetes libraries differ) pins the versions. What is built
//! lies outside the source tree, in a folder named by a hash of everything that decides the result, so that an old
//! checkout and a new one do not disturb each other. To add a program: a row in [`MODULES`] and its package in that
//! module's `tool` lines (then `go mod tidy`), which builds that module's programs anew; one of our own has a folder
//! with its `main.go`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use crate::children::tie_to_bed;

/// The version of Prow, as its image tags spell it.
pub const PROW_TAG: &str = "v20240619-cfb8754e0";

struct Module {
    name: &'static str,
    go_mod: &'static str,
    go_sum: &'static str,
    ldflags: &'static str,
    /// A program of our own that uses the module: its `main.go`.
    source: Option<&'static str>,
    /// Program and its package; `.` for our own.
    programs: &'static [(&'static str, &'static str)],
    /// Files of a module's own tree that the bed needs: module, path in it, name here.
    files: &'static [(&'static str, &'static str, &'static str)],
    /// How long building takes on two cores when nothing is cached.
    takes: &'static str,
}

const MODULES: &[Module] = &[
    Module {
        name: "etcd",
        go_mod: include_str!("go/etcd/go.mod"),
        go_sum: include_str!("go/etcd/go.sum"),
        ldflags: "-s -w",
        source: None,
        programs: &[("etcd", "go.etcd.io/etcd/server/v3")],
        files: &[],
        takes: "half a minute",
    },
    Module {
        name: "kubernetes",
        go_mod: include_str!("go/kubernetes/go.mod"),
        go_sum: include_str!("go/kubernetes/go.sum"),
        // Without them the server reports a version that clients cannot parse.
        ldflags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.4 \
                  -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34",
        source: None,
        programs: &[
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
            ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        ],
        files: &[],
        takes: "five minutes",
    },
    Module {
        name: "kwok",
        go_mod: include_str!("go/kwok/go.mod"),
        go_sum: include_str!("go/kwok/go.sum"),
        ldflags: "-s -w",
        source: None,
        programs: &[("kwok", "sigs.k8s.io/kwok/cmd/kwok")],
        files: &[
            ("sigs.k8s.io/kwok", "kustomize/stage/pod/fast/pod-ready.yaml", "pod-ready.yaml"),
            ("sigs.k8s.io/kwok", "kustomize/stage/pod/fast/pod-delete.yaml", "pod-delete.yaml"),
            ("sigs.k8s.io/kwok", "kustomize/stage/pod/fast/pod-complete.yaml", "pod-complete.yaml"),
            ("sigs.k8s.io/kwok", "kustomize/stage/node/fast/node-initialize.yaml", "node-initialize.yaml"),
            (
                "sigs.k8s.io/kwok",
                "kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
                "node-heartbeat-with-lease.yaml",
            ),
        ],
        takes: "a minute and a half",
    },
    Module {
        name: "prow",
        go_mod: include_str!("go/prow/go.mod"),
        go_sum: include_str!("go/prow/go.sum"),
        // NAME becomes the program's: the log lines' component, the user agent and so the field manager.
        ldflags: "-s -w -X sigs.k8s.io/prow/pkg/version.Name=NAME \
                  -X sigs.k8s.io/prow/pkg/version.Version=v20240619-cfb8754e0",
        source: None,
        programs: &[
            ("hook", "sigs.k8s.io/prow/cmd/hook"),
            ("prow-controller-manager", "sigs.k8s.io/prow/cmd/prow-controller-manager"),
            ("sinker", "sigs.k8s.io/prow/cmd/sinker"),
            ("crier", "sigs.k8s.io/prow/cmd/crier"),
            ("horologium", "sigs.k8s.io/prow/cmd/horologium"),
            ("checkconfig", "sigs.k8s.io/prow/cmd/checkconfig"),
            ("config-bootstrapper", "sigs.k8s.io/prow/cmd/config-bootstrapper"),
        ],
        files: &[("sigs.k8s.io/prow", "config/prow/cluster/prowjob-crd/prowjob_customresourcedefinition.yaml", CRD)],
        takes: "four minutes",
    },
    Module {
        name: "zglob",
        go_mod: include_str!("go/zglob/go.mod"),
        go_sum: include_str!("go/zglob/go.sum"),
        ldflags: "-s -w",
        source: Some(include_str!("go/zglob/main.go")),
        programs: &[("zglob", ".")],
        files: &[],
        takes: "a second",
    },
];

const CRD: &str = "prowjob-crd.json";

/// Where everything lies; every file exists.
#[derive(Clone)]
pub struct Binaries {
    cache: PathBuf,
    assets: Option<PathBuf>,
}

impl Binaries {
    /// Builds what is missing. Says on stderr what it does when that takes long.
    pub async fn provide() -> Result<Self> {
        Self::provide_for(|_| true).await
    }

    /// Builds one program, and what comes with it, if it is missing; gives back its path.
    pub async fn provide_one(name: &str) -> Result<PathBuf> {
        let binaries = Self::provide_for(|module| module.programs.iter().any(|(program, _)| *program == name)).await?;
        let path = binaries.program(name);
        anyhow::ensure!(path.is_file(), "no program {name:?}");
        Ok(path)
    }

    async fn provide_for(wanted: impl Fn(&Module) -> bool) -> Result<Self> {
        let binaries = Self { cache: cache_dir()?, assets: std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from) };
        for module in MODULES.iter().filter(|module| wanted(module)) {
            if binaries.missing(module).is_empty() {
                continue;
            }
            fs::create_dir_all(&binaries.cache)?;
            let _lock = lock(&binaries.cache.join("build.lock")).await?;
            // Another builder may have done it while we waited.
            let missing = binaries.missing(module);
            if !missing.is_empty() {
                eprintln!("bed: building {} (about {} when nothing is cached)", module.name, module.takes);
                binaries.build(module, &missing).await.with_context(|| format!("build {}", module.name))?;
            }
        }
        Ok(binaries)
    }

    /// The path of a program.
    pub fn program(&self, name: &str) -> PathBuf {
        // The convention of Kubernetes' own test environments: these two, and they win over building.
        if let (Some(assets), "kube-apiserver" | "etcd") = (&self.assets, name) {
            let path = assets.join(name);
            if path.is_file() {
                return path;
            }
        }
        let module = MODULES.iter().find(|m| m.programs.iter().any(|(p, _)| *p == name));
        match module {
            Some(module) => self.dir(module).join(name),
            None => self.cache.join(name),
        }
    }

    /// ProwJob's CustomResourceDefinition, as JSON.
    pub fn prowjob_crd(&self) -> PathBuf {
        self.dir(module("prow")).join(CRD)
    }

    /// KWOK's stages.
    pub fn kwok_stages(&self) -> Vec<PathBuf> {
        let module = module("kwok");
        module.files.iter().map(|(_, _, name)| self.dir(module).join(name)).collect()
    }

    fn dir(&self, module: &Module) -> PathBuf {
        self.cache.join(format!("{}-{}", module.name, fingerprint(module)))
    }

    fn missing(&self, module: &Module) -> Vec<&'static str> {
        let programs = module.programs.iter().map(|(name, _)| (*name, self.program(name)));
        let files = module.files.iter().map(|(_, _, name)| (*name, self.dir(module).join(name)));
        programs.chain(files).filter(|(_, path)| !path.is_file()).map(|(name, _)| name).collect()
    }

    async fn build(&self, module: &Module, missing: &[&'static str]) -> Result<()> {
        let dir = self.dir(module);
        fs::create_dir_all(&dir)?;
        let work = tempfile::tempdir_in(&self.cache)?;
        fs::write(work.path().join("go.mod"), module.go_mod)?;
        fs::write(work.path().join("go.sum"), module.go_sum)?;
        if let Some(source) = module.source {
            fs::write(work.path().join("main.go"), source)?;
        }
        for (name, package) in module.programs {
            if !missing.contains(name) {
                continue;
            }
            let built = work.path().join(name);
            let ldflags = module.ldflags.replace("NAME", name);
            go(
                work.path(),
                &[
                    "build".into(),
                    "-trimpath".into(),
                    "-buildvcs=false".into(),
                    "-mod=readonly".into(),
                    "-ldflags".into(),
                    ldflags.into(),
                    "-o".into(),
                    built.clone().into(),
                    (*package).into(),
                ],
            )
            .await?;
            fs::rename(&built, dir.join(name)).with_context(|| format!("install {name}"))?;
        }
        for (module, path, name) in module.files {
            if !missing.contains(name) {
                continue;
            }
            let list: Vec<OsString> = ["list", "-m", "-f", "{{.Dir}}", module].iter().map(OsString::from).collect();
            let tree = PathBuf::from(go(work.path(), &list).await?.trim());
            let text = fs::read_to_string(tree.join(path)).with_context(|| format!("read {path}"))?;
            let text = if name.ends_with(".json") {
                // Once, here: it is 4 MB, and the API server takes no more than 3 MB of YAML.
                serde_saphyr::from_str::<serde_json::Value>(&text).with_context(|| format!("parse {path}"))?.to_string()
            } else {
                text
            };
            let temporary = work.path().join(name);
            fs::write(&temporary, text)?;
            fs::rename(&temporary, dir.join(name)).with_context(|| format!("install {name}"))?;
        }
        Ok(())
    }
}

fn module(name: &str) -> &'static Module {
    MODULES.iter().find(|module| module.name == name).unwrap_or_else(|| unreachable!("{name} is a row of the table"))
}

/// Everything that decides what comes out of a build.
fn fingerprint(module: &Module) -> String {
    let mut hash = Sha256::new();
    for part in [module.go_mod, module.go_sum, module.ldflags] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    if let Some(source) = module.source {
        hash.update(source.as_bytes());
    }
    for (program, package) in module.programs {
        hash.update(format!("{program}={package}\0"));
    }
    let mut text = String::new();
    for byte in hash.finalize().iter().take(6) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn cache_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("PROW_BREAKGLASS_BED_CACHE") {
        return Ok(dir.into());
    }
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache"),
    };
    Ok(base.join("prow-breakglass-bed"))
}

/// Waits until no other builder is at work.
async fn lock(path: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    let mut said = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => {
                if !said {
                    eprintln!("bed: waiting for another bed that is building");
                    said = true;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(fs::TryLockError::Error(error)) => return Err(error).context("lock the cache of the bed's programs"),
        }
    }
}

/// Runs Go, gives back what it printed.
async fn go(dir: &Path, args: &[OsString]) -> Result<String> {
    let mut command = Command::new("go");
    command
        .args(args)
        .current_dir(dir)
        .env("CGO_ENABLED", "0")
        // A workspace around the cache must not change what is built.
        .env("GOWORK", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = tie_to_bed(&mut command).spawn().context("start go (is Go installed?)")?.wait_with_output().await?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with("go: downloading")).collect();
        bail!(
            "go {} ended with {}:\n{}",
            args[0].to_string_lossy(),
            output.status,
            lines[lines.len().saturating_sub(20)..].join("\n")
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
