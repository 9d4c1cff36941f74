//! Findings and the whole of a diagnosis: what `diagnose` says. Typed; the words are in `present`.

use serde::{Deserialize, Serialize};

use crate::model::{
    Key, LoadVerdict, LogLine, MapNote, ObjectRef, Objection, Progress, RefusedContent, Revision, Timestamp,
};

use super::{Choice, ConfigMapDrift, Flow, Verdict};

/// How bad it is. Ordered: worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Bad,
    Warn,
    Info,
}

/// Read from the API or git, or the opinion of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    Fact,
    Guess,
}

/// One cause (or one symptom) with its evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Stable over refreshes: kind and subject, such as `config-load-failure:default/prow/hook`.
    pub id: String,
    pub severity: Severity,
    pub basis: Basis,
    pub kind: FindingKind,
    pub subjects: Vec<ObjectRef>,
    /// Since when, where the evidence tells.
    pub since: Option<Timestamp>,
    /// What was read, each a line: quoted log lines, states, times.
    pub evidence: Vec<String>,
    /// Repairs that would clear it.
    pub repairs: Vec<crate::repair::RepairId>,
}

/// The typed kinds, with what their wording needs. `name()` gives the contract's kebab-case name.
#[derive(Debug, Clone, PartialEq)]
pub enum FindingKind {
    /// A component cannot start on the configuration it finds.
    ConfigLoadFailure {
        component: String,
        line: LogLine,
        config_map: Option<Key>,
        config_key: Option<String>,
    },
    /// A component crash-loops for another reason.
    CrashLooping {
        component: String,
        restarts: u32,
        line: Option<LogLine>,
    },
    /// Fewer pods ready than asked for.
    NotReady {
        component: String,
        ready: u32,
        desired: u32,
    },
    ImagePullFailure {
        component: String,
        image: String,
    },
    OomKilled {
        component: String,
        restarts: u32,
    },
    /// A Service of a component has no ready address: its users get errors.
    NoReadyEndpoints {
        component: String,
        service: Key,
        total: u32,
    },
    /// Runs on what it loaded before; would not come back after a restart.
    ConfigAtRiskOnRestart {
        components: Vec<String>,
        config_map: Key,
    },
    /// Prow's own checkconfig refuses what is live, and nothing has crashed yet.
    ConfigInvalid {
        objection: Objection,
        /// Who says so.
        by: String,
        /// Components that run on what they loaded before.
        at_risk: Vec<String>,
    },
    /// A revision of the configuration repository that the deployed Prow would refuse.
    RevisionWouldNotLoad {
        revision: Revision,
        is_head: bool,
        objections: Vec<Objection>,
    },
    /// A revision of the configuration repository whose maps make no ConfigMap: Prow would keep what it has.
    RevisionMakesNone {
        revision: Revision,
        is_head: bool,
        why: String,
    },
    /// A live ConfigMap differs from the revision that a repair would write.
    ConfigMapDrift {
        config_map: Key,
        /// Context of the cluster; `None` for the service cluster.
        place: Option<String>,
        revision: Revision,
        added: usize,
        removed: usize,
        changed: usize,
    },
    ConfigMapMissing {
        config_map: Key,
        place: Option<String>,
        mounted_by: Vec<String>,
    },
    /// Keys that no file of the repository stands for.
    ConfigMapStaleKeys {
        config_map: Key,
        place: Option<String>,
        keys: Vec<String>,
    },
    /// A part could not be read for lack of rights.
    AccessDenied {
        source: String,
        verb: String,
    },
    /// Parts could not be read, all for the same reason: no answer, or no such thing. Never empty.
    SourceLost {
        sources: Vec<String>,
        error: String,
    },
    /// Something of the configuration repository is not understood, and so not judged.
    NotUnderstood {
        what: String,
    },
    /// A run of this program did not end.
    InterruptedRun {
        run: String,
        unknown: Vec<String>,
        /// How far it came, where that is known.
        progress: Option<Progress>,
    },
    /// Pods of this Prow's jobs are where they should not be.
    StrayPods {
        total: usize,
        /// Most first.
        places: Vec<StrayPlace>,
        pod_namespace: String,
        /// All clusters that may hold some were seen; else there may be more.
        is_all: bool,
    },
    /// Strays wait, and their events say why.
    StraysCannotStart {
        count: usize,
        /// The commonest cause.
        reason: String,
        message: String,
        /// The secret that it names.
        secret: Option<String>,
        /// GUESS: where pods run with a secret of that name.
        known_in: Option<String>,
    },
    /// The newest stray is younger than prow-controller-manager's readiness: the cause is still at work.
    StraysStillAppearing {
        newest: Timestamp,
        /// The tag that the strays began with, where it runs again and none was made since: the next ones will be strays.
        again: Option<String>,
    },
    /// Pods of one alias are in a cluster that is not theirs, or in several clusters.
    WrongClusterPods {
        alias: String,
        /// Context of the cluster that they belong to; `None` where nobody said which is right.
        expected: Option<String>,
        /// Context and count, most first.
        found: Vec<(String, usize)>,
    },
    /// Pods with Prow's label that are not this Prow's.
    ForeignPods {
        count: usize,
        /// Context, namespace and count.
        places: Vec<StrayPlace>,
    },
    /// Strays that are being deleted and cannot go.
    PodsHeldByFinalizer {
        finalizer: String,
        count: usize,
        /// Who removes it.
        owner: Option<String>,
    },
    /// ProwJobs that do not get on.
    ProwJobsStuck {
        triggered: usize,
        pending: usize,
    },
    /// The job that deploys Prow is stuck itself.
    DeployJobStuck {
        job: String,
        state: String,
        prowjob: String,
    },
    /// Components run different tags.
    VersionSkew {
        /// Tag to components, the commonest tag first.
        tags: Vec<(String, Vec<String>)>,
    },
    /// Pods run another image than their workload asks for.
    RunningDiffersFromSpec {
        component: String,
        spec: String,
        running: Vec<String>,
    },
    /// A CronJob of Prow with another tag than the components.
    CronjobOutdated {
        cron_job: String,
        tag: String,
        components: String,
    },
    /// What would undo a manual repair.
    AutomationWillRevert {
        actors: Vec<String>,
        /// Names of those that are about to, or are at it now.
        under_way: Vec<String>,
    },
    /// How files of the repository become ConfigMaps: what is left to chance, left out, or surprises.
    Mapping {
        /// Path of plugins.yaml.
        plugins: String,
        note: MapNote,
        /// Further notes of the same kind on the same maps.
        more: usize,
    },
    /// The values of a live ConfigMap come near what the API server takes. Bytes as stored, and after gunzip.
    ConfigMapNearLimit {
        config_map: Key,
        stored: usize,
        raw: usize,
    },
    /// The live plugins.yaml, by which hook goes, maps otherwise than git's. Globs.
    LiveMapsDiffer {
        config_map: Key,
        only_git: Vec<String>,
        only_live: Vec<String>,
        differing: Vec<String>,
    },
    /// Git and the live configuration name different pod namespaces.
    PodNamespaceDisagrees {
        live: String,
        git: String,
    },
}

/// Pods of one cluster and namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrayPlace {
    /// Name of the kubeconfig context.
    pub context: String,
    pub namespace: String,
    pub count: usize,
}

impl FindingKind {
    /// The name that scripts know it by.
    pub fn name(&self) -> &'static str {
        match self {
            FindingKind::ConfigLoadFailure { .. } => "config-load-failure",
            FindingKind::CrashLooping { .. } => "crash-looping",
            FindingKind::NotReady { .. } => "not-ready",
            FindingKind::ImagePullFailure { .. } => "image-pull-failure",
            FindingKind::OomKilled { .. } => "oom-killed",
            FindingKind::NoReadyEndpoints { .. } => "no-ready-endpoints",
            FindingKind::ConfigAtRiskOnRestart { .. } => "config-at-risk-on-restart",
            FindingKind::ConfigInvalid { .. } => "config-invalid",
            FindingKind::RevisionWouldNotLoad { .. } => "revision-would-not-load",
            FindingKind::RevisionMakesNone { .. } => "revision-makes-none",
            FindingKind::ConfigMapDrift { .. } => "configmap-drift",
            FindingKind::ConfigMapMissing { .. } => "configmap-missing",
            FindingKind::ConfigMapStaleKeys { .. } => "configmap-stale-keys",
            FindingKind::AccessDenied { .. } => "access-denied",
            FindingKind::SourceLost { .. } => "source-lost",
            FindingKind::NotUnderstood { .. } => "not-understood",
            FindingKind::InterruptedRun { .. } => "interrupted-run",
            FindingKind::StrayPods { .. } => "stray-pods",
            FindingKind::StraysCannotStart { .. } => "strays-cannot-start",
            FindingKind::StraysStillAppearing { .. } => "strays-still-appearing",
            FindingKind::WrongClusterPods { .. } => "wrong-cluster-pods",
            FindingKind::ForeignPods { .. } => "foreign-pods",
            FindingKind::PodsHeldByFinalizer { .. } => "pods-held-by-finalizer",
            FindingKind::ProwJobsStuck { .. } => "prowjobs-stuck",
            FindingKind::DeployJobStuck { .. } => "deploy-job-stuck",
            FindingKind::VersionSkew { .. } => "version-skew",
            FindingKind::RunningDiffersFromSpec { .. } => "running-differs-from-spec",
            FindingKind::CronjobOutdated { .. } => "cronjob-outdated",
            FindingKind::AutomationWillRevert { .. } => "automation-will-revert",
            FindingKind::Mapping { note, .. } => note.fact.kind(),
            FindingKind::ConfigMapNearLimit { .. } => "configmap-near-limit",
            FindingKind::LiveMapsDiffer { .. } => "live-maps-differ",
            FindingKind::PodNamespaceDisagrees { .. } => "pod-namespace-disagrees",
        }
    }
}

/// All that `diagnose` says of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnosis {
    pub verdict: Verdict,
    pub flow: Flow,
    /// Worst first, causes before symptoms.
    pub findings: Vec<Finding>,
    /// The revision that drift is measured against and `sync-config` writes.
    pub choice: Option<Choice>,
    /// Every desired ConfigMap against the live one, at `choice`.
    pub drift: Vec<ConfigMapDrift>,
    /// Contents known to have been refused: by what runs now, and remembered.
    pub refused: Vec<RefusedContent>,
    /// Would what is live be loaded? `None` where it cannot be seen.
    pub live: Option<LoadVerdict>,
    /// Labelled pods that are not simply where they belong.
    pub strays: super::Strays,
    /// Whether strays may be deleted.
    pub gate: super::GateState,
    /// What would undo a manual repair.
    pub automation: Vec<super::Actor>,
}

impl Diagnosis {
    pub fn finding(&self, id: &str) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.id == id)
    }

    /// What is at it, or about to be, to put other images into components while a repair is at hand or was made.
    pub fn about_to_revert(&self) -> impl Iterator<Item = &super::Actor> {
        let named = self.findings.iter().find_map(|finding| match &finding.kind {
            FindingKind::AutomationWillRevert { under_way, .. } => Some(under_way.as_slice()),
            _ => None,
        });
        let named = named.unwrap_or_default();
        self.automation.iter().filter(move |actor| actor.kind.reverts_images() && named.contains(&actor.name))
    }

    /// Exit code of `status`: 1 with findings above info, else 0.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.findings.iter().any(|finding| finding.severity < Severity::Info))
    }
}
