//! Where ConfigMaps end, on the real API server: what is planned is taken, what the server refuses is refused before, and
//! hostile content that is live costs little memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::memory;
use crate::support::{Admin, NAMESPACE, Tool, block_on, client};

const LIMIT: usize = 1_048_576;
/// MiB that no command may hold at once.
const MOST: u64 = 256;

/// A repository with maps that nothing mounts.
struct Files(PathBuf);

impl Files {
    fn new(folder: &Path) -> Self {
        let files = Files(folder.to_owned());
        std::fs::create_dir_all(folder).expect("a folder");
        files.git(&["init", "--quiet", "--initial-branch=main"]);
        let map = |name: &str, gzip: bool| {
            format!("    {name}/*: {{name: {name}, gzip: {gzip}, clusters: {{default: [{NAMESPACE}]}}}}\n")
        };
        let maps = [map("plain", false), map("packed", true), map("many", false)].concat();
        files.write("prow/plugins.yaml", format!("config_updater:\n  maps:\n{maps}").as_bytes());
        files.write(
            "prow/config.yaml",
            format!("prowjob_namespace: {NAMESPACE}\npod_namespace: test-pods\n").as_bytes(),
        );
        files
    }

    fn write(&self, path: &str, content: &[u8]) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, content).expect("a file");
    }

    fn remove(&self, path: &str) {
        std::fs::remove_dir_all(self.0.join(path)).expect("remove a folder");
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message=files"]);
    }

    fn git(&self, args: &[&str]) {
        let mut git = Command::new("git");
        git.args(args).current_dir(&self.0).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            git.env_remove(name);
        }
        assert!(git.status().expect("git").success(), "git {args:?}");
    }
}

/// Runs a command on the bed in little memory; its exit code, its words and what it printed.
fn lean(tool: &Tool, args: &[&str]) -> (Option<i32>, String, String) {
    let (output, most) = memory::run(&mut tool.command(args));
    println!("{}: {most} MiB", args.join(" "));
    assert!(most < MOST, "{}: {most} MiB", args.join(" "));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stderr), text(output.stdout))
}

/// Plans and writes all ConfigMaps of a repository.
fn write_all(tool: &Tool, count: &str) {
    let file = tool.plan("sync-config");
    tool.apply(&file, count).ended(0);
}

#[test]
fn the_limits_of_the_server_are_those_of_the_plans() {
    let Some(bed) = Bed::start("healthy") else { return };
    let admin = Admin::of(&bed);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = Files::new(&folder.path().join("files"));
    let tool = Tool::on(&bed).with_repository(&files.0);
    for bytes in [LIMIT - 1, LIMIT] {
        files.write("plain/a.yaml", &vec![b'#'; bytes - 4]);
        files.write("plain/bad.yaml", b"\xed\xa0\x80\xff");
        files.commit();
        write_all(&tool, "1");
        let written = admin.config_map("plain");
        assert_eq!(written.values.values().map(Vec::len).sum::<usize>(), bytes);
        assert_eq!(written.binary, ["bad.yaml"]);
    }
    // The server, asked by itself.
    assert!(create(&admin, "too-large", LIMIT + 1).contains("may not be more than 1048576 bytes"));
    files.write("plain/a.yaml", &vec![b'#'; LIMIT - 3]);
    files.commit();
    let (code, words, _) = lean(&tool, &["plan", "sync-config", "--revision", "HEAD"]);
    assert_eq!(code, Some(3), "{words}");
    let (code, words, _) = lean(&tool, &["config", "render"]);
    assert!(code == Some(2) && words.contains("1048577 bytes, more than the 1048576"), "{code:?} {words}");

    let job =
        "- name: pull-test\n  interval: 1h\n  spec: {containers: [{image: alpine, args: [\"--some\", \"--thing\"]}]}\n";
    let jobs = format!("periodics:\n{}", job.repeat(1_700_000 / 216 / job.len()));
    files.remove("plain");
    for n in 0..216 {
        files.write(&format!("packed/job-{n}.yaml"), format!("# {n}\n{jobs}").as_bytes());
    }
    for n in 0..10_000 {
        files.write(&format!("many/job-{n:05}.yaml"), format!("# {n}\n").as_bytes());
    }
    files.commit();
    write_all(&tool, "2");
    assert_eq!(admin.config_map("packed").values.len(), 216);
    assert_eq!(admin.config_map("many").values.len(), 10_000);
    let (code, words, _) = lean(&tool, &["config", "diff", "packed"]);
    assert_eq!(code, Some(0), "{words}");

    // Somebody puts a bomb into a live ConfigMap that git asks for.
    let bomb = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, memory::bomb());
    let patch = json!({ "data": null, "binaryData": { "job-00000.yaml": bomb } });
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/many");
    let kept: Vec<String> = admin.config_map("many").values.into_keys().skip(100).collect();
    let mut removed: Value = patch;
    removed["data"] = kept.into_iter().map(|key| (key, Value::Null)).collect::<serde_json::Map<_, _>>().into();
    removed["data"]["job-00000.yaml"] = Value::Null;
    block_on(admin.patch(&path, &removed));
    let (code, words, _) = lean(&tool, &["config", "diff", "many"]);
    assert_eq!(code, Some(1), "{words}");
    let (_, _, status) = lean(&tool, &["status", "-o", "json"]);
    let status: Value = serde_json::from_str(&status).expect("JSON");
    let drift = status["configMaps"].as_array().expect("a list").iter().find(|map| map["name"] == "many");
    assert_eq!(drift.expect("many")["changed"], 1);
}

/// What the server says of a ConfigMap of so many bytes.
fn create(admin: &Admin, name: &str, bytes: usize) -> String {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name },
        "data": { "a": "#".repeat(bytes) },
    });
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    let request = http::Request::post(path).header(http::header::CONTENT_TYPE, "application/json");
    let request = request.body(map.to_string().into_bytes()).expect("a request");
    block_on(async {
        let answer = client(admin.kubeconfig()).await.request::<Value>(request).await;
        answer.map_or_else(|error| error.to_string(), |_| "created".to_owned())
    })
}
