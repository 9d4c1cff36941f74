//! What an image stands for on this node: the table that an incident with another version extends.
//!
//! A row says which program a container of `…/BASE:TAG` really runs, or that it is only played. An image whose
//! base has a row but whose tag has none cannot be pulled, as a tag that was never published. An image without
//! any row is played: as a server that comes up and stays or, in a pod that is not to be restarted, as a job that
//! succeeds after [`super::Settings::jobs_take`].
//!
//! There is one build of Prow here; what distinguished a version of 2019 is imitated by [`Program::misreads`].

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::binaries::PROW_TAG;

/// Prow before the bump of February 5th, 2019.
pub const OLD_TAG: &str = "v20190129-1b2c3f7";
/// Prow after it: prow-controller-manager puts pods where ProwJobs are.
pub const NEW_TAG: &str = "v20190205-8c1cd80";

/// What the kubelet does for a container.
#[derive(Clone, Copy)]
pub enum Play {
    /// Runs this program.
    Run(&'static Program),
    /// Running and ready at once, with an empty log; a job ends after a while.
    Stays,
    /// Ends with success after a moment.
    Completes,
    /// The image was never published.
    Missing,
}

/// A program of `binaries.rs` and how it fits onto this machine.
pub struct Program {
    pub binary: &'static str,
    /// Flags of listening ports and the port they have in the container; each gets a free one.
    pub ports: &'static [(&'static str, u16)],
    /// Flags that the bed gives, in place of the container's own of the same name. `{github}` is the stub's
    /// address, `{kubeconfig}` the service account's kubeconfig (there is no in-cluster configuration here).
    pub flags: &'static [&'static str],
    pub misreads: Misreads,
}

/// How a version's mistake in reading its configuration is imitated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Misreads {
    Nothing,
    /// It takes `prowjob_namespace` for `pod_namespace`. The program gets a copy of config.yaml that says so, made
    /// when its container starts: a later change of the ConfigMap reaches it with its next start only.
    PodNamespace,
}

struct Row {
    base: &'static str,
    tags: &'static [&'static str],
    play: Play,
}

const INSTRUMENTED: &[(&str, u16)] = &[("--metrics-port", 9090), ("--pprof-port", 6060), ("--health-port", 8081)];

const GITHUB: &[&str] =
    &["--github-endpoint={github}", "--github-graphql-endpoint={github}/graphql", "--kubeconfig={kubeconfig}"];

static HOOK: Program = Program {
    binary: "hook",
    ports: &[("--port", 8888), ("--metrics-port", 9090), ("--pprof-port", 6060), ("--health-port", 8081)],
    flags: GITHUB,
    misreads: Misreads::Nothing,
};

static PROW_CONTROLLER_MANAGER: Program = instrumented("prow-controller-manager", GITHUB);

static BUMPED_PROW_CONTROLLER_MANAGER: Program =
    Program { misreads: Misreads::PodNamespace, ..instrumented("prow-controller-manager", GITHUB) };

static SINKER: Program = instrumented("sinker", &["--kubeconfig={kubeconfig}"]);

static HOROLOGIUM: Program = instrumented("horologium", &["--kubeconfig={kubeconfig}"]);

static CRIER: Program = instrumented("crier", GITHUB);

static CHECKCONFIG: Program = Program { binary: "checkconfig", ports: &[], flags: &[], misreads: Misreads::Nothing };

const fn instrumented(binary: &'static str, flags: &'static [&'static str]) -> Program {
    Program { binary, ports: INSTRUMENTED, flags, misreads: Misreads::Nothing }
}

/// All versions of Prow that were ever published.
const PUBLISHED: &[&str] = &[PROW_TAG, OLD_TAG, NEW_TAG];

const TABLE: &[Row] = &[
    Row { base: "hook", tags: PUBLISHED, play: Play::Run(&HOOK) },
    Row { base: "prow-controller-manager", tags: &[PROW_TAG, OLD_TAG], play: Play::Run(&PROW_CONTROLLER_MANAGER) },
    Row { base: "prow-controller-manager", tags: &[NEW_TAG], play: Play::Run(&BUMPED_PROW_CONTROLLER_MANAGER) },
    Row { base: "sinker", tags: PUBLISHED, play: Play::Run(&SINKER) },
    Row { base: "horologium", tags: PUBLISHED, play: Play::Run(&HOROLOGIUM) },
    Row { base: "crier", tags: PUBLISHED, play: Play::Run(&CRIER) },
    Row { base: "checkconfig", tags: PUBLISHED, play: Play::Run(&CHECKCONFIG) },
    Row { base: "deck", tags: PUBLISHED, play: Play::Stays },
    Row { base: "tide", tags: PUBLISHED, play: Play::Stays },
    Row { base: "status-reconciler", tags: PUBLISHED, play: Play::Stays },
    Row { base: "ghproxy", tags: PUBLISHED, play: Play::Stays },
    Row { base: "branchprotector", tags: PUBLISHED, play: Play::Completes },
];

/// Whether the programs of the table run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Programs {
    Real,
    /// They are played too: for beds that are about Deployments only.
    Played,
}

/// The images as the nodes of a bed see them.
pub struct Images {
    programs: Programs,
    /// Tags, or `BASE:TAG`.
    withdrawn: Mutex<BTreeSet<String>>,
    changed: watch::Sender<()>,
}

impl Images {
    pub fn new(programs: Programs) -> Self {
        Self { programs, withdrawn: Mutex::default(), changed: watch::Sender::new(()) }
    }

    /// Looks an image up.
    pub fn play(&self, image: &str) -> Play {
        let (base, tag) = base_and_tag(image);
        let mut rows = TABLE.iter().filter(|row| row.base == base).peekable();
        if rows.peek().is_none() {
            return Play::Stays;
        }
        match (rows.find(|row| row.tags.contains(&tag)).map(|row| row.play), self.programs) {
            (None, _) => Play::Missing,
            (Some(Play::Run(_)), Programs::Played) => Play::Stays,
            (Some(play), _) => play,
        }
    }

    /// From now on an image, or all of a tag, cannot be pulled; what runs goes on.
    pub fn withdraw(&self, what: &str) {
        self.withdrawn.lock().unwrap_or_else(PoisonError::into_inner).insert(what.to_owned());
    }

    /// It can be pulled again, also by containers that wait for it.
    pub fn publish(&self, what: &str) {
        self.withdrawn.lock().unwrap_or_else(PoisonError::into_inner).remove(what);
        self.changed.send_replace(());
    }

    fn is_withdrawn(&self, image: &str) -> bool {
        let (base, tag) = base_and_tag(image);
        let withdrawn = self.withdrawn.lock().unwrap_or_else(PoisonError::into_inner);
        withdrawn.contains(tag) || withdrawn.contains(&format!("{base}:{tag}"))
    }

    /// Whether a node gets the image now.
    pub fn can_be_pulled(&self, image: &str) -> bool {
        !matches!(self.play(image), Play::Missing) && !self.is_withdrawn(image)
    }

    /// Waits until the image can be pulled; of one that was never published, for ever.
    pub async fn pullable(&self, image: &str) {
        let mut changed = self.changed.subscribe();
        while !self.can_be_pulled(image) {
            // The sender is ours: it cannot be gone.
            let _ = changed.changed().await;
        }
    }
}

fn base_and_tag(image: &str) -> (&str, &str) {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split_once(':').unwrap_or((name, "latest"))
}
