//! Which room may import which. Inside one crate the compiler does not mind; this does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Room to the rooms it may import, as ARCHITECTURE.md tells.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    BTreeMap::from([
        ("model", vec![]),
        ("prow", vec!["model"]),
        // Findings name the repairs that clear them; repairs are planned from findings: one layer in two folders.
        ("diagnose", vec!["model", "prow", "repair"]),
        ("repair", vec!["model", "prow", "diagnose"]),
        ("clock", vec!["model"]),
        ("cluster", vec!["model"]),
        ("git", vec!["model"]),
        // Beside git: another program that is asked.
        ("check", vec!["model", "prow"]),
        ("observe", vec!["model", "prow", "clock", "cluster", "git"]),
        // It is the other side of the connection: it must not share what the program believes of servers.
        ("sim", vec!["model", "prow", "clock"]),
        // From data to a world and its score; what it gives to the program are the rooms' own types.
        ("drill", vec!["model", "prow", "clock", "cluster", "git", "sim"]),
        // A backup is the server's own JSON: the cluster room knows how to read it.
        ("journal", vec!["model", "prow", "diagnose", "repair", "clock", "cluster"]),
        ("run", vec!["model", "prow", "diagnose", "repair", "journal", "clock", "cluster"]),
        ("present", vec!["model", "prow", "diagnose", "repair", "journal"]),
        (
            "cli",
            vec![
                "model", "prow", "diagnose", "repair", "journal", "run", "clock", "cluster", "git", "observe", "check",
                "present", "tui", "drill",
            ],
        ),
        (
            "tui",
            vec!["model", "prow", "diagnose", "repair", "journal", "run", "clock", "cluster", "observe", "present"],
        ),
    ])
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Code without comments: documentation may name any room.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).expect("a readable source");
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_room_imports_one_that_it_must_not() {
    let allowed = allowed();
    let mut wrong = Vec::new();
    for (room, may) in &allowed {
        let files = sources(&src().join(room));
        assert!(!files.is_empty(), "no such room: {room}");
        for path in files {
            let text = code(&path);
            for other in allowed.keys().filter(|other| *other != room && !may.contains(other)) {
                if text.contains(&format!("crate::{other}::")) || text.contains(&format!("crate::{{{other}")) {
                    wrong.push(format!("{} imports {other}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_folder_is_a_room() {
    let allowed = allowed();
    for entry in std::fs::read_dir(src()).expect("src") {
        let entry = entry.expect("an entry");
        if entry.path().is_dir() {
            let name = entry.file_name().into_string().expect("a name");
            assert!(allowed.contains_key(name.as_str()), "src/{name} is in no rule");
        }
    }
}

#[test]
fn pure_rooms_touch_neither_the_world_nor_the_clock() {
    let forbidden = ["std::fs", "std::env", "std::net", "tokio", "kube::", "Timestamp::now", "SystemTime", "async fn"];
    for room in ["model", "prow", "diagnose", "repair"] {
        for path in sources(&src().join(room)) {
            let text = code(&path);
            for word in forbidden {
                assert!(!text.contains(word), "{} uses {word}", path.display());
            }
        }
    }
}

/// The same world twice is the same: nothing of a simulation asks for the time or waits, but its servers and its clock.
#[test]
fn a_simulated_world_is_pure() {
    let sim = src().join("sim");
    let forbidden =
        ["std::fs", "std::env", "std::net", "tokio", "kube::", "Timestamp::now", "SystemTime", "async fn", "rand::"];
    for path in sources(&sim) {
        if path.starts_with(sim.join("server")) || path == sim.join("mod.rs") {
            continue;
        }
        let text = code(&path);
        for word in forbidden {
            assert!(!text.contains(word), "{} uses {word}", path.display());
        }
    }
}

#[test]
fn only_the_cluster_room_uses_kube_and_only_run_opens_the_gate() {
    for path in sources(&src()) {
        let text = code(&path);
        let inside = |room: &str| path.starts_with(src().join(room));
        // A simulation is a server beneath kube's client.
        if !inside("cluster") && !inside("sim") {
            assert!(!text.contains("kube::"), "{} uses kube", path.display());
        }
        if !inside("cluster") && !inside("run") {
            assert!(!text.contains("Gate::"), "{} uses the write gate", path.display());
        }
    }
}

/// Every mutating request of the program passes one function: no other file of the cluster room may build one.
#[test]
fn only_the_gate_writes() {
    let verbs =
        [".replace(", ".patch(", ".delete(", ".delete_collection(", "Method::PUT", "Method::DELETE", "Method::PATCH"];
    for path in sources(&src().join("cluster")) {
        // `request.rs` builds what the gate sends; `fake.rs` is a server for tests.
        if ["gate.rs", "request.rs", "fake.rs"].iter().any(|file| path.ends_with(file)) {
            continue;
        }
        let text = code(&path);
        for verb in verbs {
            // `str::replace` takes a pattern: only calls on an Api count.
            if verb == ".replace(" && !text.contains("Api") {
                continue;
            }
            assert!(!text.contains(verb), "{} has {verb}", path.display());
        }
    }
}
