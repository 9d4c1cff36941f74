//! The program's own rooms on a simulation: look, plan, preview, approve, run, verify.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use prow_breakglass::clock::Clock;
use prow_breakglass::cluster::{Cluster, Contexts, Made};
use prow_breakglass::diagnose::{Diagnosis, VerifyState, diagnose, verify};
use prow_breakglass::git::Repository;
use prow_breakglass::journal::{Journal, Mode};
use prow_breakglass::model::{Alias, Failure, FailureKind, RunSummary, Snapshot};
use prow_breakglass::observe::desired::{DesiredOptions, Prepared};
use prow_breakglass::observe::{BuildContexts, Interest, ObserveOptions, Observer};
use prow_breakglass::repair::{Approval, Plan, Refusal, Request, approve, plan};
use prow_breakglass::run::{self, Clusters, Operator, StopToken};
use prow_breakglass::sim::Simulation;
use tempfile::TempDir;
use tokio::sync::mpsc;

/// The program, for a person at a terminal.
pub struct Program {
    pub simulation: Simulation,
    journal: Journal,
    home: TempDir,
}

/// One look.
pub struct Seen {
    pub snapshot: std::sync::Arc<Snapshot>,
    pub diagnosis: Diagnosis,
    pub clusters: Clusters,
}

impl Seen {
    pub fn plan(&self, request: &Request) -> Result<Plan, Refusal> {
        plan(request, &self.snapshot, &self.diagnosis)
    }

    /// Kinds of findings, worst first.
    pub fn kinds(&self) -> Vec<String> {
        let kind = |text: String| text.split([' ', '{']).next().unwrap_or_default().to_owned();
        self.diagnosis.findings.iter().map(|finding| kind(format!("{:?}", finding.kind))).collect()
    }
}

impl Program {
    pub fn on(simulation: Simulation) -> Program {
        let home = TempDir::new().expect("a folder");
        let journal = Journal::open(home.path().join("journal")).expect("a journal");
        Program { simulation, journal, home }
    }

    fn contexts(&self) -> Contexts {
        let cluster = |context: prow_breakglass::sim::Context| {
            let made = Made {
                context: context.name,
                server: context.server,
                namespace: "default".to_owned(),
                request_timeout: Duration::from_secs(10),
            };
            Cluster::over(context.client, made)
        };
        Contexts::Made(self.simulation.contexts().into_iter().map(cluster).collect())
    }

    /// The world's time, which stands still while the program looks.
    fn clock(&self) -> Clock {
        Clock::stopped(self.simulation.now())
    }

    /// Looks once, without a repository.
    pub async fn look(&self) -> Seen {
        self.look_at(&[]).await
    }

    /// Looks once, with `--build-context ALIAS=CONTEXT`.
    pub async fn look_at(&self, builds: &[(&str, &str)]) -> Seen {
        self.see(Err(Failure::new(FailureKind::NotFound, "no repository")), builds).await
    }

    /// Looks once, with a repository.
    pub async fn look_with(&self, repository: Repository) -> Seen {
        self.see(Ok(repository), &[]).await
    }

    /// Looks once, with a repository and `--build-context ALIAS=CONTEXT`.
    pub async fn look_with_at(&self, repository: Repository, builds: &[(&str, &str)]) -> Seen {
        self.see(Ok(repository), builds).await
    }

    async fn see(&self, repository: Result<Repository, Failure>, builds: &[(&str, &str)]) -> Seen {
        let mut observer = self.observe(repository, builds).await;
        let snapshot = observer.settled(Duration::from_secs(30)).await;
        let diagnosis = diagnose(&snapshot);
        Seen { snapshot, diagnosis, clusters: observer.clusters() }
    }

    /// Begins to look.
    pub async fn observe(&self, repository: Result<Repository, Failure>, builds: &[(&str, &str)]) -> Observer {
        let given = builds.iter().map(|(alias, context)| (Alias((*alias).to_owned()), (*context).to_owned()));
        let current = self.contexts().connect_current().await.expect("a simulation has a first context");
        let options = ObserveOptions {
            interest: Interest::Everything,
            namespaces: Vec::new(),
            desired: DesiredOptions::default(),
            service_alias: Alias::service(),
            clock: self.clock(),
            builds: BuildContexts { contexts: self.contexts(), given: given.collect() },
        };
        Observer::start(current, std::future::ready(repository.map(Prepared::from)), options)
    }

    /// Previews, approves with the plan's words, runs.
    pub async fn run(&self, plan: &Plan, seen: &Seen) -> RunSummary {
        let preview = run::preview(plan, &seen.clusters, self.simulation.now()).await.expect("a preview");
        assert!(preview.all_accepted(), "{preview:?}");
        let words = Approval::Typed(plan.confirmation.word());
        let approved = approve(plan, &preview, Some(&seen.diagnosis), &words).expect("an approval");
        let operator = Operator { who: "oncall".to_owned(), mode: Mode::Typed };
        let (events, _told) = mpsc::unbounded_channel();
        let summary = run::start(
            approved,
            seen.clusters.clone(),
            self.journal.clone().with_clock(self.clock()),
            operator,
            StopToken::new(),
            events,
        )
        .await;
        assert_eq!(summary.first_failure, None, "{summary:?}");
        summary
    }

    /// What the newest look says of a plan's promise.
    pub async fn proof(&self, plan: &Plan) -> VerifyState {
        verify(plan, &self.look().await.snapshot)
    }

    /// A checkout of the world's repository as it is merged now.
    pub async fn checkout(&self) -> Repository {
        let dir = self.home.path().join("test-infra");
        let repository = self.simulation.look(|world| world.repository.clone());
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a folder");
        git(&dir, &["init", "--quiet", "--initial-branch=master"]);
        for commit in repository.commits.iter().take(repository.merged) {
            for (path, content) in &commit.files {
                let path = dir.join(path);
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
                std::fs::write(path, content.as_deref().unwrap_or_default()).expect("a file");
            }
            git(&dir, &["add", "--all"]);
            git(&dir, &["commit", "--quiet", "--allow-empty", "--message", &commit.message]);
        }
        Repository::open(&dir).await.expect("a repository")
    }
}

fn git(dir: &Path, args: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=bot", "-c", "user.email=bot@example.com"]).args(args).current_dir(dir);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    assert!(command.status().expect("git").success(), "git {args:?}");
}
