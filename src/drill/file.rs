//! The format of a drill; `assets/drills/README.md` tells it to people.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

/// A drill as it lies in its file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillFile {
    pub title: String,
    /// What the oncall is told.
    pub story: String,
    /// A healthy Prow is there.
    pub begins: Timestamp,
    /// The oncall comes.
    pub opens: Timestamp,
    /// Kinds of findings, of which one names the cause.
    #[serde(default)]
    pub diagnosis: Vec<String>,
    pub outage: Option<Outage>,
    /// Present where `surprise` may draw it.
    pub surprise: Option<Surprise>,
    pub prow: ProwPart,
    #[serde(rename = "version")]
    pub versions: Vec<VersionPart>,
    /// The first one is Prow's own.
    #[serde(rename = "cluster")]
    pub clusters: Vec<ClusterPart>,
    pub repository: RepositoryPart,
    #[serde(default)]
    pub past: Vec<PastJob>,
    #[serde(default)]
    pub jobs: Vec<Batch>,
    #[serde(default, rename = "pod")]
    pub pods: Vec<PodPart>,
    #[serde(default)]
    pub before: Vec<Before>,
    #[serde(default, rename = "colleague")]
    pub colleagues: Vec<Colleague>,
    /// ProwJobs that are lost whatever one does.
    #[serde(default)]
    pub unavoidable: Vec<Unavoidable>,
}

impl DrillFile {
    /// Whether it hangs together.
    ///
    /// # Errors
    /// It does not; a fragment.
    pub fn check(&self) -> Result<(), String> {
        if self.begins >= self.opens {
            return Err(format!("it opens at {}, and begins no sooner ({})", self.opens, self.begins));
        }
        for batch in &self.jobs {
            if batch.jobs.is_empty() || batch.until < batch.from {
                return Err(format!("the [[jobs]] from {} have no jobs, or end before they begin", batch.from));
            }
        }
        let commits = || self.repository.commits.iter().map(|commit| commit.name.as_str());
        let merged = self.colleagues.iter().map(|colleague| &colleague.merges);
        let merged = merged.chain(self.before.iter().filter_map(|before| before.merges.as_ref()));
        if let Some(unknown) = merged.into_iter().find(|name| !commits().any(|commit| commit == *name)) {
            return Err(format!("somebody merges {unknown}, and there is no commit of that name"));
        }
        let own = self.clusters.first().ok_or("it has no [[cluster]]")?;
        match self.versions.iter().find(|version| version.tag == self.prow.tag) {
            None => Err(format!("{} runs {}, and there is no [[version]] of that tag", own.context, self.prow.tag)),
            Some(_) => Ok(()),
        }
    }
}

/// The real outage's times.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    pub source: String,
    pub began: Timestamp,
    /// Somebody began to look.
    pub noticed: Timestamp,
    pub diagnosed: Timestamp,
    pub mitigated: Timestamp,
    pub cleaned: Timestamp,
    /// How it was repaired.
    pub writes: String,
}

/// By how much a draw may differ from the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Surprise {
    #[serde(default)]
    pub opens_later_by_up_to: SignedDuration,
    /// All batches together are shrunk to no fewer.
    pub fewest_jobs: Option<usize>,
}

/// The Prow as it is when all is well.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProwPart {
    /// Of its components and ProwJobs.
    pub namespace: String,
    pub pod_namespace: String,
    /// File with the components.
    pub parts: String,
    pub tag: String,
    /// How long jobs run; `usually` for those without a line.
    #[serde(default)]
    pub takes: BTreeMap<String, SignedDuration>,
}

/// A version of Prow that was published.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionPart {
    pub tag: String,
    #[serde(default)]
    pub misreads_pod_namespace: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterPart {
    /// Of the oncall's kubeconfig.
    pub context: String,
    /// URL.
    pub server: String,
    /// Prow's name of it.
    pub alias: String,
    /// Secrets in the pod namespace.
    #[serde(default)]
    pub secrets: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositoryPart {
    pub name: String,
    pub branch: String,
    /// Oldest first.
    #[serde(rename = "commit")]
    pub commits: Vec<CommitPart>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitPart {
    /// What the drill calls it.
    pub name: String,
    pub subject: String,
    pub author: String,
    /// When it was merged; without, it waits for somebody.
    pub at: Option<Timestamp>,
    /// The manifests of all components are at this version from now on.
    pub manifests: Option<String>,
    /// Path to content.
    #[serde(default)]
    pub files: BTreeMap<String, Content>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Content {
    /// A file beside the drill's.
    File(String),
    Text {
        text: String,
    },
    Removed {
        removed: bool,
    },
}

/// A ProwJob from before the drill begins.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PastJob {
    pub id: String,
    pub job: String,
    pub kind: JobKind,
    pub repo: Option<String>,
    #[serde(default)]
    pub secrets: Vec<String>,
    #[serde(default)]
    pub pull: u32,
    #[serde(default = "default_cluster")]
    pub cluster: String,
    pub started: Timestamp,
    /// Without, it goes on.
    pub ended: Option<Timestamp>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobPart {
    pub job: String,
    pub kind: JobKind,
    /// `kubernetes/kubernetes`.
    pub repo: Option<String>,
    /// That its pod mounts.
    #[serde(default)]
    pub secrets: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    Presubmit,
    Postsubmit,
    Periodic,
}

impl JobKind {
    pub fn name(self) -> &'static str {
        match self {
            JobKind::Presubmit => "presubmit",
            JobKind::Postsubmit => "postsubmit",
            JobKind::Periodic => "periodic",
        }
    }
}

/// Jobs that start evenly over a time.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    pub count: usize,
    #[serde(default = "default_cluster")]
    pub cluster: String,
    pub from: Timestamp,
    pub until: Timestamp,
    /// In turn.
    pub jobs: Vec<JobPart>,
}

/// A pod that is nobody's business here.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodPart {
    /// Alias.
    pub cluster: String,
    pub namespace: String,
    pub name: String,
    pub image: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Something that happened before the oncall came.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    pub at: Timestamp,
    /// A commit by its name.
    pub merges: Option<String>,
    /// A component whose pods were evicted.
    pub restarts: Option<String>,
}

/// Somebody who merges a commit while the drill goes on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Colleague {
    pub who: String,
    pub merges: String,
    /// At the latest so long after the oncall came.
    pub after: SignedDuration,
    /// Sooner, where this component is Ready.
    pub once_ready: Option<String>,
    /// After that.
    #[serde(default)]
    pub delay: SignedDuration,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unavoidable {
    pub job: String,
    pub why: String,
}

/// What a Prow consists of.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    pub registry: String,
    #[serde(rename = "component")]
    pub components: Vec<ComponentPart>,
    #[serde(default, rename = "cron_job")]
    pub cron_jobs: Vec<CronJobPart>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComponentPart {
    pub name: String,
    /// Base name.
    pub image: String,
    #[serde(default = "one")]
    pub replicas: u32,
    #[serde(default)]
    pub maps: Vec<String>,
    pub args: Vec<String>,
    #[serde(default)]
    pub secrets: Vec<String>,
    #[serde(default)]
    pub probes: bool,
    pub port: Option<u16>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CronJobPart {
    pub name: String,
    pub image: String,
    pub schedule: String,
    #[serde(default)]
    pub maps: Vec<String>,
    pub args: Vec<String>,
    #[serde(default)]
    pub secrets: Vec<String>,
}

fn default_cluster() -> String {
    "default".to_owned()
}

fn one() -> u32 {
    1
}
