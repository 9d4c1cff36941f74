//! What an image stands for on this node: the table that an incident with another version extends.
//!
//! A row says which program a container of `…/BASE:TAG` really runs, or that it is only played. An image whose
//! base has a row but whose tag has none cannot be pulled, as a tag that was never published. An image without
//! any row is played as a server that comes up and stays.

use crate::binaries::PROW_TAG;

/// What the kubelet does for a container.
#[derive(Clone, Copy)]
pub enum Play {
    /// Runs this program.
    Run(&'static Program),
    /// Running and ready at once, with an empty log.
    Stays,
    /// Ends with success after a moment.
    Completes,
    /// The image cannot be pulled.
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
}

struct Row {
    base: &'static str,
    tag: &'static str,
    play: Play,
}

const INSTRUMENTED: &[(&str, u16)] = &[("--metrics-port", 9090), ("--pprof-port", 6060), ("--health-port", 8081)];

const GITHUB: &[&str] =
    &["--github-endpoint={github}", "--github-graphql-endpoint={github}/graphql", "--kubeconfig={kubeconfig}"];

static HOOK: Program = Program {
    binary: "hook",
    ports: &[("--port", 8888), ("--metrics-port", 9090), ("--pprof-port", 6060), ("--health-port", 8081)],
    flags: GITHUB,
};

static PROW_CONTROLLER_MANAGER: Program =
    Program { binary: "prow-controller-manager", ports: INSTRUMENTED, flags: GITHUB };

static SINKER: Program = Program { binary: "sinker", ports: INSTRUMENTED, flags: &["--kubeconfig={kubeconfig}"] };

static HOROLOGIUM: Program =
    Program { binary: "horologium", ports: INSTRUMENTED, flags: &["--kubeconfig={kubeconfig}"] };

static CRIER: Program = Program { binary: "crier", ports: INSTRUMENTED, flags: GITHUB };

const TABLE: &[Row] = &[
    Row { base: "hook", tag: PROW_TAG, play: Play::Run(&HOOK) },
    Row { base: "prow-controller-manager", tag: PROW_TAG, play: Play::Run(&PROW_CONTROLLER_MANAGER) },
    Row { base: "sinker", tag: PROW_TAG, play: Play::Run(&SINKER) },
    Row { base: "horologium", tag: PROW_TAG, play: Play::Run(&HOROLOGIUM) },
    Row { base: "crier", tag: PROW_TAG, play: Play::Run(&CRIER) },
    Row { base: "branchprotector", tag: PROW_TAG, play: Play::Completes },
];

/// Looks an image up.
pub fn play(image: &str) -> Play {
    let name = image.rsplit('/').next().unwrap_or(image);
    let (base, tag) = name.split_once(':').unwrap_or((name, "latest"));
    let mut rows = TABLE.iter().filter(|row| row.base == base).peekable();
    if rows.peek().is_none() {
        return Play::Stays;
    }
    rows.find(|row| row.tag == tag).map_or(Play::Missing, |row| row.play)
}
