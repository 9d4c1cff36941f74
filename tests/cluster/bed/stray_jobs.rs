//! The jobs of February 5th, 2019: in which proportion, of which kinds, and what their pods wait for.
//!
//! A job is made from a [`Template`]; templates bear the names of jobs in `config/bump/`. A periodic and the deploy job
//! appear once (Prow does not start either while it is unfinished), the others with ever new pull requests.

use crate::layout::{DEFAULT, TRUSTED};
use crate::prow_jobs::Job;

/// What a job is made from.
struct Template {
    job: &'static str,
    kind: &'static str,
    repository: Option<&'static str>,
    secrets: &'static [(&'static str, &'static str)],
}

const ACCOUNT: (&str, &str) = ("service", "service-account");
const SSH: (&str, &str) = ("gce-ssh", "gce-ssh");

/// The job that would have deployed the revert.
pub const DEPLOY: &str = "post-test-infra-deploy-prow";
/// The job that proposes bumps.
pub const AUTOBUMP: &str = "ci-test-infra-autobump-prow";
const E2E: &str = "ci-kubernetes-e2e-gci-gce";

const fn presubmit(job: &'static str, secrets: &'static [(&'static str, &'static str)]) -> Template {
    Template { job, kind: "presubmit", repository: Some("kubernetes"), secrets }
}

const fn postsubmit(job: &'static str, repository: &'static str) -> Template {
    Template { job, kind: "postsubmit", repository: Some(repository), secrets: &[ACCOUNT] }
}

const fn periodic(job: &'static str, secrets: &'static [(&'static str, &'static str)]) -> Template {
    Template { job, kind: "periodic", repository: None, secrets }
}

/// Once each, in the service cluster.
const TRUSTED_ONCE: &[Template] = &[postsubmit(DEPLOY, "test-infra"), periodic(AUTOBUMP, &[ACCOUNT])];
const TRUSTED_OFTEN: &[Template] = &[postsubmit("post-test-infra-push-bootstrap", "test-infra")];
/// Once each, in the build cluster.
const BUILD_ONCE: &[Template] = &[periodic(E2E, &[ACCOUNT, SSH])];
const BUILD_OFTEN: &[Template] = &[
    presubmit("pull-kubernetes-e2e-gce", &[ACCOUNT, SSH]),
    presubmit("pull-kubernetes-node-e2e", &[SSH]),
    presubmit("pull-kubernetes-bazel-test", &[ACCOUNT]),
    // The trivial job, which needs no secret and runs anywhere.
    presubmit("pull-kubernetes-typecheck", &[]),
    presubmit("pull-kubernetes-e2e-gce", &[ACCOUNT, SSH]),
    presubmit("pull-kubernetes-node-e2e", &[SSH]),
    presubmit("pull-kubernetes-bazel-test", &[ACCOUNT]),
    Template { repository: Some("test-infra"), ..presubmit("pull-test-infra-bazel", &[ACCOUNT]) },
    postsubmit("post-kubernetes-bazel-build", "kubernetes"),
];

/// How many were started before the bump and run where they belong, in each cluster.
pub const STARTED_BEFORE: usize = 2;

/// A job with an id of its own.
pub struct StrayJob {
    pub id: String,
    pub cluster: &'static str,
    template: &'static Template,
    pull: u32,
    before: bool,
}

impl StrayJob {
    fn new(number: usize, cluster: &'static str, template: &'static Template) -> Self {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        // As the version 1 UUIDs of that time: the first part counts.
        let id = format!("{:08x}-2966-11e9-8d1c-0a580a6c0{:03x}", 0x3a90_4c10_u32 + number * 0x1f3, number % 0xfff);
        let pull = if template.kind == "presubmit" { 73_500 + number } else { 0 };
        Self { id, cluster, template, pull, before: false }
    }

    /// The name of the job.
    pub fn name(&self) -> &'static str {
        self.template.job
    }

    /// Whether its pod starts only where the Secrets are.
    pub fn needs_secrets(&self) -> bool {
        !self.template.secrets.is_empty()
    }

    /// Whether its pod runs where it belongs since before the bump.
    pub fn started_before(&self) -> bool {
        self.before
    }

    /// As hook or horologium create it.
    pub fn job(&self) -> Job<'_> {
        Job {
            id: &self.id,
            kind: self.template.kind,
            job: self.template.job,
            refs: self.template.repository.map(|repository| ("kubernetes", repository, self.pull)),
            cluster: self.cluster,
            secrets: self.template.secrets,
            ..Job::PLAIN
        }
    }
}

/// So many unfinished jobs. The first ones of each cluster, [`STARTED_BEFORE`] of them, are for before the bump.
pub fn unfinished(count: usize) -> (Vec<StrayJob>, Vec<StrayJob>) {
    // In 2019: 371 and 44 of 415.
    let trusted = (count * 44 / 415).max(STARTED_BEFORE + TRUSTED_ONCE.len());
    let mut number = 0;
    let mut all = |cluster: &'static str, count: usize, once: &'static [Template], often: &'static [Template]| {
        let later = once.iter().chain(often.iter().cycle()).take(count - STARTED_BEFORE);
        let templates: Vec<_> = often.iter().cycle().take(STARTED_BEFORE).chain(later).collect();
        let mut jobs: Vec<StrayJob> = templates
            .into_iter()
            .map(|template| {
                number += 1;
                StrayJob::new(number, cluster, template)
            })
            .collect();
        let later = jobs.split_off(STARTED_BEFORE);
        jobs.iter_mut().for_each(|job| job.before = true);
        (jobs, later)
    };
    let (mut before, mut later) = all(TRUSTED, trusted, TRUSTED_ONCE, TRUSTED_OFTEN);
    let (more_before, more_later) = all(DEFAULT, count - trusted, BUILD_ONCE, BUILD_OFTEN);
    before.extend(more_before);
    later.extend(more_later);
    (before, later)
}

const fn past(id: &'static str, kind: &'static str, job: &'static str, started: i64, ended: i64) -> Job<'static> {
    Job { id, kind, job, started, ended: Some(ended), state: "success", ..Job::PLAIN }
}

/// What Prow did before. horologium does not start a periodic that ran less than its interval ago.
pub const PAST: &[Job<'static>] = &[
    past("07e3b1d2-2961-11e9-8d1c-0a580a6c0a01", "periodic", E2E, 170, 95),
    Job { cluster: TRUSTED, ..past("1b9c04aa-2961-11e9-8d1c-0a580a6c0a02", "periodic", AUTOBUMP, 44, 39) },
    Job {
        refs: Some(("kubernetes", "kubernetes", 73_481)),
        ..past("2c66e0f8-2961-11e9-8d1c-0a580a6c0a03", "presubmit", "pull-kubernetes-e2e-gce", 62, 21)
    },
    Job {
        refs: Some(("kubernetes", "test-infra", 11_128)),
        ..past("3d05a7b4-2961-11e9-8d1c-0a580a6c0a04", "presubmit", "pull-test-infra-bazel", 30, 18)
    },
    Job {
        refs: Some(("kubernetes", "test-infra", 0)),
        cluster: TRUSTED,
        ..past("4e8f1c62-2961-11e9-8d1c-0a580a6c0a05", "postsubmit", DEPLOY, 16, 12)
    },
];
