//! What an oncall meets besides the outage: a table of message, hint and exit code. What can still be seen is shown.
//!
//! A row is a line like `table.call("status").by("no-logs").ends(1, &["on stderr"], &["on stdout"])`; all rows of a
//! test share a bed, and none writes to it. Every row is also held against what no message may have: see [`Call::ends`].

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bed::Bed;
use crate::support::{Ran, Tool, outage_in_long_back_off, program, written_since};

/// What only programmers understand.
const UGLY: [&str; 9] =
    ["panicked", "RUST_BACKTRACE", "Some(", "Ok(", "Err(", "Error {", "Error(", "Failure {", "Kind::"];

/// What `status` shows of a server that does not answer.
const DOWN: &[&str] = &["UNKNOWN", "NEXT  regain sight of service/components", "COMPONENTS  not seen"];

/// The rows of one bed, and what was wrong with them.
struct Table<'a> {
    tool: &'a Tool,
    kubeconfig: PathBuf,
    /// The folder of those whom something ails.
    kubeconfigs: PathBuf,
    context: String,
    repository: PathBuf,
    /// Nobody but the oncall may read these.
    secrets: Vec<String>,
    wrong: Vec<String>,
}

impl<'a> Table<'a> {
    fn on(bed: &Bed, tool: &'a Tool) -> Self {
        Table {
            tool,
            kubeconfig: bed.kubeconfig(),
            kubeconfigs: bed.fact("kubeconfigs").into(),
            context: bed.fact("context").to_owned(),
            repository: bed.repository(),
            secrets: secrets(bed),
            wrong: Vec::new(),
        }
    }

    /// A command as the bed's oncall, on its context, with its repository.
    fn call(&mut self, command: &str) -> Call<'_, 'a> {
        Call {
            command: command.split_whitespace().map(str::to_owned).collect(),
            kubeconfig: Some(self.kubeconfig.clone()),
            context: Some(self.context.clone()),
            repository: self.repository.clone(),
            journal: self.tool.file("journal"),
            table: self,
        }
    }

    fn all_right(self) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n----\n"));
    }
}

/// A row.
struct Call<'t, 'a> {
    table: &'t mut Table<'a>,
    command: Vec<String>,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    repository: PathBuf,
    journal: String,
}

impl Call<'_, '_> {
    /// As somebody whom something ails: `users.rs` of the bed.
    fn by(mut self, variant: &str) -> Self {
        self.kubeconfig = Some(self.table.kubeconfigs.join(format!("{variant}.yaml")));
        self
    }

    fn kubeconfig(mut self, path: Option<String>) -> Self {
        self.kubeconfig = path.map(PathBuf::from);
        self
    }

    fn context(mut self, name: Option<&str>) -> Self {
        self.context = name.map(str::to_owned);
        self
    }

    fn repository(mut self, path: &str) -> Self {
        self.repository = path.into();
        self
    }

    fn journal(mut self, path: String) -> Self {
        self.journal = path;
        self
    }

    /// Runs it: it ends with `code`, `says` this on stderr and `shows` that on stdout, it tells what to do next, and
    /// nowhere is something that only programmers understand or a secret. What is wrong is kept, so that one run of the
    /// test tells all.
    fn ends(self, code: i32, says: &[&str], shows: &[&str]) {
        let mut args = self.command;
        for (name, value) in [
            ("--kubeconfig", self.kubeconfig.map(|path| path.display().to_string())),
            ("--context", self.context),
            ("--repo", Some(self.repository.display().to_string())),
            ("--journal", Some(self.journal)),
        ] {
            args.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
        }
        let mut call = program();
        // A home of nobody: no kubeconfig of the person who runs the tests.
        call.env("HOME", self.table.tool.file("home")).args(&args);
        let ran = Ran::of(&args, call.output().expect("start the program"));
        let mut wrong = Vec::new();
        if ran.code != Some(code) {
            wrong.push(format!("exit code {:?}, not {code}", ran.code));
        }
        wrong.extend(says.iter().filter(|word| !ran.err.contains(*word)).map(|word| format!("stderr: no {word:?}")));
        wrong.extend(shows.iter().filter(|word| !ran.out.contains(*word)).map(|word| format!("stdout: no {word:?}")));
        let all = format!("{}{}", ran.out, ran.err);
        if !all.contains("hint: ") && !all.contains("NEXT  plan ") {
            wrong.push("nothing says what to do next".to_owned());
        }
        wrong.extend(UGLY.iter().filter(|ugly| all.contains(*ugly)).map(|ugly| format!("{ugly:?} in a message")));
        if self.table.secrets.iter().any(|secret| all.contains(secret.as_str())) {
            wrong.push("a secret of the kubeconfig".to_owned());
        }
        if !wrong.is_empty() {
            self.table.wrong.push(format!("{}: {}\n{all}", args.join(" "), wrong.join("; ")));
        }
    }
}

/// The tokens and certificates of all kubeconfigs of a bed.
fn secrets(bed: &Bed) -> Vec<String> {
    let variants = std::fs::read_dir(bed.fact("kubeconfigs")).expect("the kubeconfigs").flatten();
    let files = variants.map(|entry| entry.path()).chain([bed.kubeconfig()]);
    let texts: Vec<String> = files.map(|file| std::fs::read_to_string(file).expect("a kubeconfig")).collect();
    let secrets: Vec<String> = texts
        .iter()
        .flat_map(|text| text.split(|c: char| c.is_whitespace() || c == '"'))
        // Names and addresses are said; what is as long as a token or a certificate is not.
        .filter(|word| word.starts_with("token-of-") || word.len() > 100)
        .map(str::to_owned)
        .collect();
    assert!(secrets.iter().any(|secret| secret.starts_with("token-of-")), "the bed's tokens are found");
    assert!(secrets.iter().any(|secret| secret.len() > 100), "the bed's certificate is found");
    secrets
}

/// Runs git there.
fn git(dir: &str, args: &[&str]) {
    let mut command = Command::new("git");
    command.args(args).current_dir(dir).stdin(Stdio::null());
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Sen Lu").env(format!("GIT_{role}_EMAIL"), "author@example.com");
    }
    let output = command.output().expect("run git");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A folder in the tool's home.
fn folder(tool: &Tool, name: &str) -> String {
    let path = tool.file(name);
    std::fs::create_dir_all(&path).expect("make a folder");
    path
}

/// A clone of the bed's repository whose head has a plugins.yaml that does not parse.
fn broken_clone(bed: &Bed, tool: &Tool) -> String {
    let clone = folder(tool, "clone");
    git(&clone, &["clone", "--quiet", &bed.repository().display().to_string(), "."]);
    std::fs::write(format!("{clone}/config/prow/plugins.yaml"), "config_updater: [\n").expect("write");
    git(&clone, &["commit", "--quiet", "--all", "--message", "Break the plugins"]);
    git(&clone, &["branch", "--unset-upstream"]);
    clone
}

/// Writes a file into the tool's home.
fn file(tool: &Tool, name: &str, content: &str) -> String {
    let path = tool.file(name);
    std::fs::write(&path, content).expect("write a file");
    path
}

#[test]
fn each_failure_says_what_and_why_and_what_next() {
    let Some(mut bed) = outage_in_long_back_off() else { return };
    let tool = Tool::on(&bed);
    let plan = tool.plan("sync-config");
    let mut table = Table::on(&bed, &tool);
    where_to_and_as_whom(&mut table, &bed);
    servers(&mut table, &plan);
    rights(&mut table);
    repositories(&mut table, &bed);
    writing(&mut table, &plan);
    bed.freeze_api_server();
    frozen(&mut table, &plan);
    bed.thaw_api_server();
    table.all_right();
    assert_eq!(written_since(&bed, 0), [""; 0]);
}

fn where_to_and_as_whom(table: &mut Table<'_>, bed: &Bed) {
    let known = ["no context named prow-build", "hint: choose with --context one of: prow-services"];
    table.call("status").context(Some("prow-build")).ends(2, &known, &[]);

    let none = ["cannot use the kubeconfig", "home/.kube/config", "hint: give a kubeconfig with --kubeconfig"];
    table.call("status").kubeconfig(None).ends(2, &none, &[]);

    let torn = file(table.tool, "torn.yaml", "users:\n- name: oncall\n  user: {token: token-of-oncall\n");
    table.call("status").kubeconfig(Some(torn)).ends(2, &["cannot use the kubeconfig", "line 3", "hint: "], &[]);

    // Of who is not known a client makes an anonymous user, if it is let.
    let text = std::fs::read_to_string(bed.kubeconfig()).expect("the kubeconfig");
    let mut kubeconfig: serde_json::Value = serde_json::from_str(&text).expect("the bed writes JSON");
    kubeconfig["contexts"][0]["context"]["user"] = "nobody".into();
    let nobody = file(table.tool, "nobody.yaml", &kubeconfig.to_string());
    let unknown = ["names a user that is not defined", "no user named nobody", "hint: repair the kubeconfig"];
    table.call("status").kubeconfig(Some(nobody)).ends(2, &unknown, &[]);
}

/// A server that is not there, or does not know us.
fn servers(table: &mut Table<'_>, plan: &str) {
    let refused = ["no connection to the server", "Connection refused", "hint: is the VPN or the bastion up?"];
    table.call("status --request-timeout 2s").by("unreachable").ends(6, &refused, DOWN);
    for command in ["config diff", "plan sync-config", "plan kick", &format!("apply {plan}")] {
        table.call(command).by("unreachable").ends(6, &refused, &[]);
    }
    let expired = ["not signed in", "HTTP 401", "hint: the credentials are expired or wrong: sign in again"];
    table.call("status").by("expired-token").ends(5, &expired, DOWN);
    for command in ["config diff", "plan sync-config", "plan kick", &format!("apply {plan}")] {
        table.call(command).by("expired-token").ends(5, &expired, &[]);
    }
}

/// Rights that are missing: what is missing is named, and the rest is shown.
fn rights(table: &mut Table<'_>) {
    let ask = "hint: ask for the role in assets/rbac/oncall.yaml";
    let shows = [
        "BROKEN",
        "hook crash-loops",
        "CrashLoopBackOff",
        "ConfigMap prow/job-config differs",
        "DENIED get pods/log in namespace prow",
        ask,
    ];
    table.call("status").by("no-logs").ends(1, &[], &shows);
    let shows = [
        "hook cannot start: it refuses the configuration in ConfigMap prow/job-config",
        "CrashLoopBackOff",
        "DENIED list deployments in all namespaces",
        "DENIED list configmaps in namespace test-pods",
        ask,
    ];
    table.call("status").by("no-list-in-one-namespace").ends(1, &[], &shows);
}

/// A repository that is none, or is broken: the cluster's half is shown.
fn repositories(table: &mut Table<'_>, bed: &Bed) {
    let half = ["hook cannot start: it refuses the configuration in ConfigMap prow/job-config", "CrashLoopBackOff"];
    let blind = [half[0], half[1], "NEXT  regain sight of git", "LOST git"];

    let empty = folder(table.tool, "empty");
    git(&empty, &["init", "--quiet"]);
    let says = ["has no commits", "hint: is the clone complete?"];
    table.call("status").repository(&empty).ends(1, &[], &[&blind[..], &says].concat());
    for command in ["config diff", "config render", "plan sync-config"] {
        table.call(command).repository(&empty).ends(2, &says, &[]);
    }

    let plain = folder(table.tool, "plain");
    // A folder is read as it lies there; this one holds nothing.
    let says = ["no plugins.yaml in", "hint: is that the repository of Prow's configuration? Give it with --repo PATH"];
    table.call("status").repository(&plain).ends(1, &[], &[&blind[..], &says].concat());
    for command in ["config diff", "config render", "plan sync-config"] {
        table.call(command).repository(&plain).ends(2, &says, &[]);
    }

    // A head that no component could load is passed over, and what was good before it is proposed.
    let clone = broken_clone(bed, table.tool);
    let unparsable = "error unmarshalling config/prow/plugins.yaml: line 1";
    let shows = [half[0], half[1], "\"Break the plugins\" would not load", unparsable, "NEXT  plan sync-config to"];
    table.call("status").repository(&clone).ends(1, &[], &shows);
    let says = ["asks for no ConfigMaps", unparsable, "hint: take an older revision with --revision"];
    table.call("config render").repository(&clone).ends(2, &says, &[]);
}

/// Whatever is missing or wrong: nothing is written.
fn writing(table: &mut Table<'_>, plan: &str) {
    let execute = format!("apply {plan} --execute");
    let says = ["--execute without a terminal needs --expect N", "hint: the plan changes 1 object(s): --expect 1"];
    table.call(&execute).ends(2, &says, &[]);
    let says = ["the plan changes 1 object(s), and --expect 2 was given", "hint: read the plan"];
    table.call(&format!("{execute} --expect 2")).ends(3, &says, &[]);
    let says = ["--execute needs --context NAME", "hint: name the cluster that you mean"];
    table.call(&format!("{execute} --expect 1")).context(None).ends(2, &says, &[]);

    let garbage = file(table.tool, "garbage.json", "{\"digest\": ");
    let says = ["is no plan of this program", "hint: make it anew"];
    table.call(&format!("apply {garbage} --execute --expect 1")).ends(2, &says, &[]);
    // A file is no folder, for root neither.
    let says = ["cannot write the journal at", "Not a directory", "hint: "];
    table.call(&format!("{execute} --expect 1")).journal(format!("{garbage}/journal")).ends(2, &says, &[]);

    let says = ["hook would crash again", "hint: repair the configuration first"];
    table.call("plan kick").ends(3, &says, &[]);
}

/// A server that accepts connections and says nothing.
fn frozen(table: &mut Table<'_>, plan: &str) {
    let start = Instant::now();
    let says = ["could not talk to the API server", "hint: is the VPN or the bastion up?"];
    table.call("status --request-timeout 2s").ends(6, &says, DOWN);
    table.call("plan sync-config --request-timeout 2s").ends(6, &says, &[]);
    let says = ["could not get namespace kube-system", "hint: is the VPN or the bastion up?"];
    table.call(&format!("apply {plan} --request-timeout 2s")).ends(6, &says, &[]);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(30), "three calls that nobody answers took {took:?}");
}

#[test]
fn a_plan_for_another_cluster_is_refused() {
    let Some((outage, healthy)) = Bed::start_pair("2019-01-23", "healthy") else { return };
    let tool = Tool::on(&outage);
    let plan = tool.plan("sync-config");
    // The context is called the same, and leads elsewhere.
    let mut table = Table::on(&healthy, &tool);
    let says = ["context prow-services is another cluster than the plan was made for", "hint: "];
    table.call(&format!("apply {plan}")).ends(3, &says, &[]);
    table.call(&format!("apply {plan} --execute --expect 1")).ends(3, &says, &[]);
    table.all_right();
    for bed in [&outage, &healthy] {
        assert_eq!(written_since(bed, 0), [""; 0]);
    }
}
