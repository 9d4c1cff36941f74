//! Arguments. The names are kubectl's and Prow's own where they have them.

use std::path::PathBuf;
use std::time::Duration;

use super::stage::Stage;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand, ValueEnum};

use crate::diagnose::SETTLED_AFTER_SECONDS;
use crate::model::Alias;
use crate::repair::{Expect, OverrideId, RepairId};

/// See and repair a broken Prow. Without a command: the terminal screens. Nothing writes without --execute.
#[derive(Debug, Parser)]
#[command(name = "prow-breakglass", version, disable_help_subcommand = true)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, clap::Args)]
pub struct Global {
    /// Kubeconfig file [default: $KUBECONFIG, else ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the service cluster [default: the current one; writes demand it]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub context: Option<String>,
    /// Context of a build cluster by Prow's name for it (repeatable) [default: other contexts whose pods are this Prow's]
    #[arg(
        long,
        global = true,
        value_name = "ALIAS=CONTEXT",
        value_parser = build_context,
        help_heading = "Cluster"
    )]
    pub build_context: Vec<(Alias, String)>,
    /// User to impersonate
    #[arg(long = "as", global = true, value_name = "USER", help_heading = "Cluster")]
    pub as_user: Option<String>,
    /// Group to impersonate (repeatable)
    #[arg(long = "as-group", global = true, value_name = "GROUP", help_heading = "Cluster")]
    pub as_group: Vec<String>,
    /// Give up a request after this time, such as 10s or 1m
    #[arg(long, global = true, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = "Cluster")]
    pub request_timeout: Duration,
    /// Namespaces to look into where listing the whole cluster is denied (repeatable)
    #[arg(long, short = 'n', global = true, value_name = "NAME", help_heading = "Cluster")]
    pub namespace: Vec<String>,

    /// Checkout of the configuration repository (bare works too)
    #[arg(
        long,
        global = true,
        env = "PROW_BREAKGLASS_REPO",
        value_name = "PATH",
        help_heading = "Configuration repository"
    )]
    pub repo: Option<PathBuf>,
    /// Revision to compare with and to write [default: the upstream's head; if something speaks against it, the newest good one]
    #[arg(long, global = true, value_name = "REV", help_heading = "Configuration repository")]
    pub revision: Option<String>,
    /// Path of plugins.yaml inside the repository
    #[arg(long, global = true, value_name = "PATH", help_heading = "Configuration repository")]
    pub plugin_config: Option<String>,
    /// Path of config.yaml inside the repository
    #[arg(long, global = true, value_name = "PATH", help_heading = "Configuration repository")]
    pub config_path: Option<String>,
    /// Path of the job configuration inside the repository
    #[arg(long, global = true, value_name = "PATH", help_heading = "Configuration repository")]
    pub job_config_path: Option<String>,
    /// Read the work tree instead of a commit
    #[arg(long, global = true, help_heading = "Configuration repository")]
    pub worktree: bool,

    /// Format of what goes to stdout
    #[arg(long, short = 'o', global = true, value_name = "FORMAT", default_value = "text", help_heading = "Output")]
    pub output: Format,
    /// Words instead of screens: for logs, screen readers and dumb terminals
    #[arg(long, global = true, help_heading = "Output")]
    pub plain: bool,
    /// Where runs are journalled [default: the state directory of the user]
    #[arg(long, global = true, env = "PROW_BREAKGLASS_JOURNAL", value_name = "DIR", help_heading = "Output")]
    pub journal: Option<PathBuf>,

    #[arg(skip)]
    pub stage: Stage,
}

impl Global {
    /// The flags that another command needs to mean the same, as typed: each with a space before it. The context is
    /// said apart, for writes always name it.
    pub fn again(&self) -> String {
        let mut words = String::new();
        let mut add = |flag: &str, value: &str| words.push_str(&format!(" {flag} {}", quoted(value)));
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let given = [
            ("--kubeconfig", path(&self.kubeconfig)),
            ("--as", self.as_user.clone()),
            ("--repo", path(&self.repo)),
            ("--journal", path(&self.journal)),
        ];
        for (flag, value) in given {
            if let Some(value) = value {
                add(flag, &value);
            }
        }
        for group in &self.as_group {
            add("--as-group", group);
        }
        for (alias, context) in &self.build_context {
            add("--build-context", &format!("{alias}={context}"));
        }
        for namespace in &self.namespace {
            add("--namespace", namespace);
        }
        words
    }
}

/// A word for a shell.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:,@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
    Yaml,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// What is wrong, why, and the one next step (exit code 1: findings above info)
    Status,
    /// The configuration, live and in git
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Pods of jobs that are where they should not be, over all clusters
    Strays,
    /// What ran when: images and tags over all components
    History,
    /// What would undo a manual repair
    Automation,
    /// Make a plan, preview it on the server (writing nothing), save it
    Plan(PlanArgs),
    /// Preview a saved plan again, and with --execute run it
    Apply(ApplyArgs),
    /// Make the plan that undoes a run
    Undo(UndoArgs),
    /// Runs: what was written, and what is in doubt
    #[command(subcommand)]
    Run(RunCommand),
    /// A simulated Prow in an outage: nothing but this program is needed, and nothing else is touched
    #[command(override_usage = "prow-breakglass drill [list | NAME] [OPTIONS]")]
    Drill(DrillArgs),
    /// Print the version
    Version,
}

#[derive(Debug, clap::Args)]
pub struct DrillArgs {
    /// The drill; `list` tells which there are, `surprise` hides its name, and a path such as ./mine.toml is your own
    #[arg(value_name = "NAME", default_value = "2019-02-05")]
    pub name: String,
    /// Let the story's time pass so many times as fast
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub speed: u32,
    /// Which one `surprise` draws [default: by the clock]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Play these lines instead of the screens, in virtual time; the scorecard comes as JSON
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,
}

/// A line of a drill's script: a command of the program, or one of these.
#[derive(Debug, Parser)]
#[command(name = "prow-breakglass", disable_help_subcommand = true, disable_version_flag = true)]
pub struct Line {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: LineCommand,
}

#[derive(Debug, Subcommand)]
pub enum LineCommand {
    #[command(flatten)]
    Command(Command),
    /// Let time pass: so long, or until Prow works (`mitigated`), or until nothing is left behind either (`healthy`)
    Wait {
        #[arg(value_parser = until)]
        until: Until,
        /// Give up after this time
        #[arg(long, value_name = "TIME", default_value = "2h", value_parser = duration)]
        at_most: Duration,
    },
    /// Hold the story's time until the next `wait`
    Pause,
    /// Abort in Deck what goes on of a job, or one ProwJob
    Abort {
        /// The job's name, or the ProwJob's
        name: String,
    },
    /// Do what the program proposes next, until it has nothing more to propose
    Repair {
        /// Only so many steps
        #[arg(long, value_name = "N")]
        steps: Option<usize>,
    },
}

/// What a script waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    Passed(Duration),
    Mitigated,
    Healthy,
}

fn until(text: &str) -> Result<Until, String> {
    match text {
        "healthy" => Ok(Until::Healthy),
        "mitigated" => Ok(Until::Mitigated),
        time => duration(time).map(Until::Passed).map_err(|_| "healthy, mitigated, or a time such as 90s".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Live ConfigMaps against the revision that a repair would write
    Diff(DiffArgs),
    /// The ConfigMaps that a revision asks for, written nowhere; needs no cluster
    Render,
}

#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// Only this ConfigMap
    pub name: Option<String>,
    /// Only this key
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Show so many equal lines around each change
    #[arg(long, short = 'U', value_name = "LINES", default_value_t = 3)]
    pub unified: usize,
}

#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// The repair
    #[arg(value_parser = one_of(&RepairId::ALL, RepairId::name))]
    pub repair: RepairId,
    /// Save the plan in this file
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// sync-config: only this ConfigMap, by name, NAMESPACE/NAME or CLUSTER/NAMESPACE/NAME (repeatable)
    #[arg(long = "map", value_name = "NAME")]
    pub maps: Vec<String>,
    /// sync-config: only this key (repeatable)
    #[arg(long = "key", value_name = "NAME | MAP/NAME")]
    pub keys: Vec<String>,
    /// sync-config: write what was last seen loaded, from the journal, instead of a revision of git
    #[arg(long, conflicts_with_all = ["revision", "worktree"])]
    pub last_loaded: bool,
    /// Also remove keys that no file in git stands for
    #[arg(long)]
    pub prune: bool,
    /// rollback: lead to this tag [default: the one that all had in common before]
    #[arg(long, value_name = "TAG")]
    pub to: Option<String>,
    /// rollback: only this component, by name (repeatable) [default: all that moved together]
    #[arg(long = "component", value_name = "NAME")]
    pub components: Vec<String>,
    /// delete-strays: only in this cluster, by alias or context (repeatable)
    #[arg(long = "cluster", value_name = "ALIAS")]
    pub clusters: Vec<String>,
    /// delete-strays: also those that run
    #[arg(long)]
    pub include_running: bool,
    /// Set a guard aside; needs --reason
    #[arg(long = "override", value_name = "GUARD", value_parser = one_of(&OverrideId::ALL, OverrideId::name), requires = "reason")]
    pub overrides: Vec<OverrideId>,
    /// Why; it is journalled
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct ApplyArgs {
    /// A plan made with `plan` or `undo`
    pub file: PathBuf,
    #[command(flatten)]
    pub write: WriteArgs,
}

#[derive(Debug, clap::Args)]
pub struct WriteArgs {
    /// Really write
    #[arg(long)]
    pub execute: bool,
    /// Refuse unless exactly this many objects change
    #[arg(long, value_name = "N", conflicts_with = "expect_at_most")]
    pub expect: Option<usize>,
    /// Refuse if more objects change
    #[arg(long, value_name = "N")]
    pub expect_at_most: Option<usize>,
    /// After the last write, watch this long for the proof that it worked [default: what the plan says]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
    /// sync-config: watch the logs of components that run on this long for a refusal of what was written
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2m")]
    pub settle: Duration,
}

/// How long to watch after the last write.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    /// For the proof; what the plan says, where it is not given.
    pub wait: Option<Duration>,
    /// The logs of components that run on.
    pub settle: Duration,
}

impl Default for Watch {
    fn default() -> Self {
        Watch { wait: None, settle: Duration::from_secs(SETTLED_AFTER_SECONDS.into()) }
    }
}

impl WriteArgs {
    pub fn watch(&self) -> Watch {
        Watch { wait: self.wait, settle: self.settle }
    }

    /// How many objects may change, where that was given.
    pub fn expects(&self) -> Option<Expect> {
        self.expect.map(Expect::Exactly).or(self.expect_at_most.map(Expect::AtMost))
    }
}

#[derive(Debug, clap::Args)]
pub struct UndoArgs {
    /// The run, such as r-0007
    pub run: String,
    /// Save the plan in this file
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Set a guard aside; needs --reason
    #[arg(long = "override", value_name = "GUARD", value_parser = one_of(&OverrideId::ALL, OverrideId::name), requires = "reason")]
    pub overrides: Vec<OverrideId>,
    /// Why; it is journalled
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum RunCommand {
    /// All runs, newest first
    List,
    /// One run, step by step
    Show {
        /// The run, such as r-0007
        run: String,
    },
    /// Read back what an interrupted run left in doubt, and with --execute finish it
    Resume {
        /// The run, such as r-0007
        run: String,
        #[command(flatten)]
        write: WriteArgs,
    },
}

/// A value of a table, by its name: help and errors list the names.
fn one_of<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.iter().map(|one| name(*one)))
        .try_map(move |text| all.iter().copied().find(|one| name(*one) == text).ok_or("not in the table"))
}

/// `default=prow-build`.
fn build_context(text: &str) -> Result<(Alias, String), String> {
    match text.split_once('=') {
        Some((alias, context)) if !alias.is_empty() && !context.is_empty() => {
            Ok((Alias(alias.to_owned()), context.to_owned()))
        }
        Some(_) | None => Err("ALIAS=CONTEXT, such as default=prow-build".to_owned()),
    }
}

/// One alias cannot lead to two clusters.
pub fn contradiction(given: &[(Alias, String)]) -> Option<String> {
    given.iter().enumerate().find_map(|(n, (alias, context))| {
        let (_, other) = given[..n].iter().find(|(earlier, other)| earlier == alias && other != context)?;
        Some(format!("--build-context says twice where {alias} is: {other} and {context}"))
    })
}

/// `10s`, `1m`, `1h`, `500ms`, or seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "times are such as 10s, 1m or 500ms".to_owned();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let time = match unit {
        "" | "s" => Duration::from_secs(number),
        "ms" => Duration::from_millis(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        "h" => Duration::from_secs(number.saturating_mul(3600)),
        _ => return Err(wrong()),
    };
    if time.is_zero() { Err("it must be more than nothing".to_owned()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_leads_to_one_cluster() {
        let given = |pairs: &[(&str, &str)]| {
            let pairs: Vec<(Alias, String)> =
                pairs.iter().map(|(alias, context)| (Alias((*alias).to_owned()), (*context).to_owned())).collect();
            contradiction(&pairs)
        };
        assert_eq!(given(&[("default", "a"), ("trusted", "a"), ("default", "a")]), None);
        assert!(given(&[("default", "a"), ("default", "b")]).is_some_and(|words| words.contains("a and b")));
    }

    #[test]
    fn what_was_given_is_given_again() {
        let args = ["x", "--kubeconfig", "/tmp/k c", "--journal", "j", "--repo", "r", "--build-context", "default=b"];
        let args = Args::try_parse_from(args.into_iter().chain(["status", "--context", "a"])).unwrap();
        let again = " --kubeconfig '/tmp/k c' --repo r --journal j --build-context default=b";
        assert_eq!(args.global.again(), again);
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn times_need_a_unit_that_we_know() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(duration("0").is_err());
        assert!(duration("ten").is_err());
    }
}
