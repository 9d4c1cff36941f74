//! What subcommands share: connecting, looking once, the journal.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use etcetera::AppStrategy as _;
use tokio::task::{JoinError, JoinHandle};

use crate::clock::Clock;
use crate::cluster::{Cluster, ConnectOptions, Contexts};
use crate::diagnose::{ChoiceReason, Configuration, Diagnosis, configuration, diagnose};
use crate::git::Repository;
use crate::journal::Journal;
use crate::model::{Alias, Failure, FailureKind, RefusedContent, Snapshot, Source};
use crate::observe::desired::{DesiredOptions, Prepared};
use crate::observe::{BuildContexts, Interest, ObserveOptions, Observer};
use crate::present;
use crate::prow::load::ConfigFiles;
use crate::prow::{PresetRule, RepoAcl};
use crate::run::Clusters;

use super::args::Global;
use super::checking::{Checking, Outcome, Scope};
use super::memory::Memory;
use super::output;
use super::stage::Stage;

/// How many revisions are looked at for a good one.
const HISTORY: usize = 50;

/// One look: what was seen and what to think of it.
pub struct Seen {
    pub snapshot: Arc<Snapshot>,
    pub diagnosis: Arc<Diagnosis>,
    /// The clusters that may be planned on.
    pub clusters: Clusters,
    pub checking: Checking,
    /// Why a checkconfig could not be asked.
    pub unchecked: Option<Failure>,
}

/// Connects, waits until every source has answered in some way, judges.
pub async fn look(global: &Global) -> Result<Seen, Failure> {
    look_within(global, Scope::NearestGood).await
}

/// The same, with a checkconfig asked no further than this.
pub async fn look_within(global: &Global, scope: Scope) -> Result<Seen, Failure> {
    let seen = look_and_ask(global, scope).await?;
    if let Some(failure) = &seen.unchecked {
        note(failure);
    }
    Ok(seen)
}

/// The same; how far a checkconfig is asked is the caller's, and so is what became of that.
pub async fn look_and_ask(global: &Global, scope: Scope) -> Result<Seen, Failure> {
    let ahead = read_ahead(global);
    let looking = Looking::start(global).await?;
    let (observer, mut snapshot) = looking.at(global, ahead, Interest::Everything, HISTORY).await;
    say_interrupted(&snapshot);
    let checking = checking(global);
    let asked = ask(global, &checking, &mut snapshot, scope).await;
    let diagnosis = Arc::new(diagnose(&snapshot));
    looking.keep(&observer, &snapshot, &diagnosis.refused, asked.forgotten);
    global.stage.shown(&diagnosis);
    Ok(Seen { snapshot, diagnosis, clusters: observer.clusters(), checking, unchecked: asked.unchecked })
}

/// Puts into a picture what is remembered and what a checkconfig says.
async fn ask(global: &Global, checking: &Checking, snapshot: &mut Arc<Snapshot>, scope: Scope) -> Outcome {
    // That it cannot be opened was said where it was observed.
    let repository = if checking.may_ask() { repository(global).await.ok().flatten() } else { None };
    checking.complete(repository.as_ref(), Arc::make_mut(snapshot), scope).await
}

/// Who asks a checkconfig.
pub fn checking(global: &Global) -> Checking {
    let options = desired_options(global, PresetRule::Unknown, ConfigFiles::by_name());
    match &global.stage {
        Stage::Drill(_) => Checking::of_drill(journal(global), clock(global), options),
        Stage::Machine => {
            let cache = strategy().ok().map(|strategy| strategy.cache_dir());
            Checking::new(global.checkconfig.clone(), cache, journal(global), clock(global), options)
        }
    }
}

/// What was seen of the configuration alone.
pub struct SeenConfiguration {
    pub snapshot: Arc<Snapshot>,
    pub configuration: Configuration,
}

/// Looks at no more than decides which revision would be written and how the live ConfigMaps differ from it. The revision is
/// the one that [`look`] would choose: the history is read only where the head is not the one.
pub async fn look_at_configuration(global: &Global) -> Result<SeenConfiguration, Failure> {
    let ahead = read_ahead(global);
    let looking = Looking::start(global).await?;
    let checking = checking(global);
    let (mut observer, mut snapshot) = looking.at(global, ahead, Interest::Configuration, 1).await;
    let mut asked = ask(global, &checking, &mut snapshot, Scope::Named).await;
    let mut configuration = configuration(&snapshot);
    if !is_settled_by_head(&snapshot, &configuration) {
        (observer, snapshot) = looking.at(global, read_ahead(global), Interest::Configuration, HISTORY).await;
        asked = ask(global, &checking, &mut snapshot, Scope::NearestGood).await;
        configuration = crate::diagnose::configuration(&snapshot);
    }
    asked.unchecked.iter().for_each(note);
    say_interrupted(&snapshot);
    looking.keep(&observer, &snapshot, &configuration.refused, asked.forgotten);
    Ok(SeenConfiguration { snapshot, configuration })
}

/// Whether no older revision could be chosen, or change what is known of the one that was.
fn is_settled_by_head(snapshot: &Snapshot, configuration: &Configuration) -> bool {
    let Some(desired) = snapshot.desired.seen() else { return true };
    // What was refused is held against the keys of all revisions.
    let by_head = configuration.choice.as_ref().is_some_and(|choice| choice.why == ChoiceReason::Head);
    desired.asked.is_some() || by_head && configuration.refused.is_empty()
}

/// A cluster, and what is remembered of it.
struct Looking {
    cluster: Cluster,
    memory: Memory,
}

impl Looking {
    async fn start(global: &Global) -> Result<Looking, Failure> {
        let cluster = connect_to(global, global.context.as_deref()).await?;
        let clusters = Clusters::from([(Alias::service(), cluster.clone())]);
        Ok(Looking { cluster, memory: Memory::new(journal(global), clusters) })
    }

    /// Waits until every source of interest has answered in some way.
    async fn at(&self, global: &Global, ahead: Ahead, interest: Interest, history: usize) -> (Observer, Arc<Snapshot>) {
        let mut observer = observe(global, self.cluster.clone(), ahead, interest, history);
        self.memory.recall(&observer).iter().for_each(note);
        let patience = patience(global);
        // Both have the same time: a server that does not answer costs the words, not the look.
        let reading = tokio::time::timeout(patience, self.memory.read_back());
        let (mut snapshot, read_back) = tokio::join!(observer.settled(patience), reading);
        if let Ok(Some(runs)) = read_back {
            Arc::make_mut(&mut snapshot).interrupted = runs;
        }
        (observer, snapshot)
    }

    /// Says what the journal cannot keep, once; `forgotten` is what it could not keep before.
    fn keep(&self, observer: &Observer, snapshot: &Snapshot, refused: &[RefusedContent], forgotten: Option<Failure>) {
        let kept = self.memory.keep(observer, snapshot, refused);
        forgotten.or(kept.err()).iter().for_each(note);
    }
}

/// Discovery takes a few requests one after another; each has its own time limit.
fn patience(global: &Global) -> Duration {
    global.request_timeout.saturating_mul(3)
}

/// Connects to a context; nothing is sent yet.
pub async fn connect_to(global: &Global, context: Option<&str>) -> Result<Cluster, Failure> {
    let contexts = contexts(global);
    match context {
        Some(context) => contexts.connect_to(context).await,
        None => contexts.connect_current().await,
    }
}

fn contexts(global: &Global) -> Contexts {
    match &global.stage {
        Stage::Machine => Contexts::Kubeconfig(connect_options(global)),
        Stage::Drill(props) => props.contexts.clone(),
    }
}

/// What everything is dated with.
pub fn clock(global: &Global) -> Clock {
    match &global.stage {
        Stage::Machine => Clock::Wall,
        Stage::Drill(props) => props.clock.clone(),
    }
}

fn connect_options(global: &Global) -> ConnectOptions {
    ConnectOptions {
        kubeconfig: global.kubeconfig.clone(),
        context: global.context.clone(),
        impersonate_user: global.as_user.clone(),
        impersonate_groups: global.as_group.clone(),
        request_timeout: global.request_timeout,
    }
}

/// Says what went wrong beside the matter: it stops nobody.
pub fn note(failure: &Failure) {
    output::words(&format!("note: {}", present::note(failure)));
}

/// The configuration repository; `None` where none is given.
///
/// # Errors
/// It cannot be opened.
pub async fn repository(global: &Global) -> Result<Option<Repository>, Failure> {
    open(global.stage.clone(), global.repo.clone()).await
}

/// Says where the upstream's head, which is read where nobody asks for something else, is not what the checkout stands at: who
/// has committed something and not pushed it should not take the answer for one about that.
pub async fn say_other_head(global: &Global, repository: &Repository) {
    if global.revision.is_some() || global.worktree {
        return;
    }
    // That git fails is told by who needs its answer; a plain folder has no HEAD.
    let (Ok((upstream, read)), Ok(head)) = tokio::join!(repository.upstream(), repository.resolve("HEAD")) else {
        return;
    };
    if read.id != head.id {
        output::words(&format!(
            "note: read is {upstream}, {}; HEAD of the checkout is {} \"{}\", which --revision HEAD reads",
            read.short(),
            head.short(),
            head.subject
        ));
    }
}

async fn open(stage: Stage, path: Option<PathBuf>) -> Result<Option<Repository>, Failure> {
    match (stage, path) {
        (Stage::Drill(props), _) => Ok(Some(props.repository.clone())),
        (Stage::Machine, Some(path)) => Repository::open(&path).await.map(Some),
        (Stage::Machine, None) => Ok(None),
    }
}

/// Starts looking at everything, as often as something changes.
pub fn observe_all(global: &Global, cluster: Cluster) -> Observer {
    observe(global, cluster, read_ahead(global), Interest::Everything, HISTORY)
}

/// The repository, being read while the clusters are asked.
type Ahead = JoinHandle<Result<Prepared, Failure>>;

fn read_ahead(global: &Global) -> Ahead {
    let options = desired_options(global, PresetRule::Unknown, ConfigFiles::by_name());
    let opened = open(global.stage.clone(), global.repo.clone());
    tokio::spawn(async move {
        match opened.await {
            // `NotFound` and no other kind: not having been given one is a choice, not a fault.
            Ok(None) => Err(Failure::new(FailureKind::NotFound, "no configuration repository given")
                .hint("--repo PATH: without it the live ConfigMaps cannot be compared or repaired")),
            Ok(Some(repository)) => Ok(Prepared::ahead(repository, &options).await),
            Err(failure) => Err(failure),
        }
    })
}

fn observe(global: &Global, cluster: Cluster, ahead: Ahead, interest: Interest, history: usize) -> Observer {
    let repository = async {
        let lost =
            |error: JoinError| Failure::new(FailureKind::Tool, "reading the repository ended").cause(error.to_string());
        ahead.await.unwrap_or_else(|error| Err(lost(error)))
    };
    let options = ObserveOptions {
        interest,
        namespaces: global.namespace.clone(),
        // What is deployed, and which files it reads, is found out from the cluster.
        desired: DesiredOptions { history, ..desired_options(global, PresetRule::Unknown, ConfigFiles::by_name()) },
        service_alias: Alias::service(),
        clock: clock(global),
        builds: BuildContexts { contexts: contexts(global), given: global.build_context.clone() },
    };
    Observer::start(cluster, repository, options)
}

/// Says which runs did not end. At the start of every command that looks.
pub fn say_interrupted(snapshot: &Snapshot) {
    for run in snapshot.own_runs() {
        let state = match (&run.damaged, run.running_pid) {
            (Some(why), _) => format!("cannot be resumed, its journal is damaged: {why}"),
            (None, Some(pid)) => format!("is going on in process {pid}"),
            (None, None) => {
                let far = run.progress.map_or(String::new(), |progress| format!(", {progress}"));
                let unknown: String = run.unknown.iter().map(|step| format!("; {step}")).collect();
                format!(
                    "was interrupted{far}{unknown}; to finish it: prow-breakglass run resume {run}; to take it back: \
                     prow-breakglass undo {run} -f FILE",
                    run = run.run
                )
            }
        };
        output::words(&format!("note: run {} ({}) {state}", run.run, run.title));
    }
}

pub fn desired_options(global: &Global, rule: PresetRule, files: ConfigFiles) -> DesiredOptions {
    DesiredOptions {
        revision: global.revision.clone(),
        plugin_config: global.plugin_config.clone(),
        config_path: global.config_path.clone(),
        job_config_path: global.job_config_path.clone(),
        worktree: global.worktree,
        history: HISTORY,
        rule,
        acl: RepoAcl::Unknown,
        files,
        cache: match &global.stage {
            Stage::Machine => strategy().ok().map(|strategy| strategy.cache_dir()),
            Stage::Drill(_) => None,
        },
    }
}

/// Why a source that is needed has no value.
pub fn not_seen<T>(source: &Source<T>, what: &str) -> Failure {
    match source {
        Source::Lost { error, .. } => error.clone(),
        Source::Denied { verb } => {
            Failure::new(FailureKind::Forbidden, format!("{what} cannot be read: the API server forbids {verb}"))
                .hint("ask for the role in assets/rbac/oncall.yaml")
        }
        Source::Loading | Source::Known { .. } => {
            Failure::new(FailureKind::Unreachable, format!("{what}: no answer yet"))
                .hint("try a longer --request-timeout")
        }
    }
}

/// The journal. That it has no place or cannot be read is told by it when it is asked, so that it blinds nobody.
pub fn journal(global: &Global) -> Journal {
    match journal_dir(global) {
        Ok(dir) => Journal::for_reading(dir).with_clock(clock(global)),
        Err(why) => Journal::nowhere(why),
    }
}

/// The journal, to write runs: made if it is not there, refused if it cannot be written.
pub fn journal_for_writing(global: &Global) -> Result<Journal, Failure> {
    let journal = journal(global);
    journal.make_sure_of_writing()?;
    Ok(journal)
}

fn journal_dir(global: &Global) -> Result<PathBuf, Failure> {
    match (&global.stage, &global.journal) {
        (Stage::Drill(props), _) => return Ok(props.journal.clone()),
        (Stage::Machine, Some(dir)) => return Ok(dir.clone()),
        (Stage::Machine, None) => {}
    }
    let strategy = strategy().map_err(|error| {
        Failure::new(FailureKind::Tool, "no home directory to keep the journal in")
            .cause(error.to_string())
            .hint("--journal DIR")
    })?;
    Ok(strategy.state_dir().unwrap_or_else(|| strategy.data_dir()))
}

/// Where a person's files of this program lie.
fn strategy() -> Result<impl etcetera::AppStrategy, etcetera::HomeDirError> {
    etcetera::choose_app_strategy(etcetera::AppStrategyArgs {
        top_level_domain: String::new(),
        author: String::new(),
        app_name: "prow-breakglass".to_owned(),
    })
}
