//! Plan files: written whole or not at all, and trusted no further than what they say can be shown.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::model::text::{sanitize, sanitize_line};
use crate::model::{Failure, FailureKind};
use crate::present;
use crate::repair::{Plan, Preview};

/// Saves a plan. It embeds configuration, so the file is for its owner only. Whoever reads it meanwhile, or after a crash,
/// finds the old file or the new one.
///
/// # Errors
/// There is another file of that name that is no plan: it is left alone. Or the folder cannot be written.
pub fn save(plan: &Plan, preview: &Preview, file: &Path) -> Result<(), Failure> {
    leave_others_alone(file)?;
    let text = serde_json::to_vec_pretty(&present::plan_document(plan, Some(preview)))
        .map_err(|error| Failure::new(FailureKind::Tool, "cannot encode the plan").cause(error.to_string()))?;
    // Where the name is a link, what it leads to is replaced.
    let target = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let (folder, beside) = beside(&target);
    let written = write_new(&beside, &text)
        .and_then(|()| fs::rename(&beside, &target))
        .and_then(|()| File::open(&folder)?.sync_all());
    written.map_err(|error| {
        // What is left of it, if anything is.
        drop(fs::remove_file(&beside));
        Failure::new(FailureKind::Usage, format!("cannot write {}", file.display()))
            .cause(error.to_string())
            .hint("give -f a path that you may write; the plan itself is fine")
    })
}

/// A file of that name is replaced only if it is a plan, or empty.
fn leave_others_alone(file: &Path) -> Result<(), Failure> {
    let Ok(there) = fs::metadata(file) else { return Ok(()) };
    let says_so = |text: Vec<u8>| {
        // Of another version, too.
        let document: Value = serde_json::from_slice(&text).unwrap_or_default();
        document["kind"] == "Plan" && document["apiVersion"] == present::API_VERSION
    };
    if there.is_file() && (there.len() == 0 || fs::read(file).is_ok_and(says_so)) {
        return Ok(());
    }
    Err(Failure::new(FailureKind::Usage, format!("{} is there and is no plan of this program", file.display()))
        .hint("it was left alone; give -f another path"))
}

/// The folder of a file, and a name beside it that nobody else uses.
fn beside(file: &Path) -> (PathBuf, PathBuf) {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}.new", std::process::id()));
    (folder, beside)
}

fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads a saved plan.
///
/// # Errors
/// There is none, it is none, or it holds what no plan of this program does.
pub fn load(file: &Path) -> Result<Plan, Failure> {
    let text = fs::read(file).map_err(|error| {
        Failure::new(FailureKind::Usage, format!("cannot read {}", file.display()))
            .cause(error.to_string())
            .hint(format!("make a plan first: prow-breakglass plan REPAIR -f {}", file.display()))
    })?;
    // The parser's words may quote the file.
    let none = |error: serde_json::Error| {
        Failure::new(FailureKind::Usage, format!("{} is no plan of this program", file.display()))
            .cause(sanitize_line(&error.to_string()))
            .hint("make it anew: prow-breakglass plan REPAIR -f FILE")
    };
    let plan: Plan = serde_json::from_slice(&text).map_err(none)?;
    let mut document: Value = serde_json::from_slice(&text).map_err(none)?;
    for step in document.get_mut("steps").and_then(Value::as_array_mut).into_iter().flatten() {
        // What would be written is the repository's own; screens sanitise it when they show it.
        if let Some(body) = step.get_mut("write").and_then(|write| write.get_mut("body")) {
            *body = Value::Null;
        }
    }
    // Not even to be shown: warnings that were taken out would not be missed.
    if plan.digest != plan.compute_digest() {
        return Err(Failure::new(FailureKind::Refused, format!("{} was changed after it was made", file.display()))
            .cause("the plan's digest does not fit its content")
            .hint("make the plan anew with `prow-breakglass plan`"));
    }
    if is_tame(&document) {
        return Ok(plan);
    }
    Err(Failure::new(FailureKind::Refused, format!("{} was changed after it was made", file.display()))
        .cause("it holds control characters, which this program writes into no plan: they can make a terminal lie")
        .hint("find out where it comes from; make it anew: prow-breakglass plan REPAIR -f FILE"))
}

fn is_tame(value: &Value) -> bool {
    let tame = |text: &str| sanitize(text) == text;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => tame(text),
        Value::Array(values) => values.iter().all(is_tame),
        Value::Object(members) => members.iter().all(|(name, value)| tame(name) && is_tame(value)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::cli::testing;
    use crate::cluster::fake::FakeServer;
    use crate::model::{Timestamp, Write};
    use crate::repair::Verify;

    fn made() -> (Plan, Preview) {
        let plan = testing::plan(&FakeServer::new(), Verify::Written);
        let preview = Preview { digest: plan.digest.clone(), at: Timestamp::UNIX_EPOCH, steps: Vec::new() };
        (plan, preview)
    }

    #[test]
    fn a_plan_is_saved_for_its_owner_and_replaces_only_plans() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sync.json");
        let (plan, preview) = made();
        fs::write(&file, b"").unwrap();
        for _ in 0..2 {
            save(&plan, &preview, &file).unwrap();
            assert_eq!(load(&file).unwrap(), plan);
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        for (name, content) in [("config.yaml", "plank: {}\n"), ("other.json", "{\"kind\": \"Plan\"}")] {
            let other = dir.path().join(name);
            fs::write(&other, content).unwrap();
            let failure = save(&plan, &preview, &other).unwrap_err();
            assert!(failure.summary.contains("no plan of this program") && failure.hint.is_some(), "{failure:?}");
            assert_eq!(fs::read_to_string(&other).unwrap(), content);
        }
        assert!(save(&plan, &preview, dir.path()).is_err(), "a folder");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing is left beside");
    }

    #[test]
    fn a_plan_that_cannot_be_written_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sync.json");
        let (plan, preview) = made();
        save(&plan, &preview, &file).unwrap();
        let before = fs::read(&file).unwrap();
        // Something is in the way of the new one, so that writing fails half-way.
        fs::create_dir(beside(&file.canonicalize().unwrap()).1).unwrap();
        let failure = save(&plan, &preview, &file).unwrap_err();
        assert!(failure.summary.starts_with("cannot write"), "{failure:?}");
        assert_eq!(fs::read(&file).unwrap(), before);
        assert!(save(&plan, &preview, &dir.path().join("missing/sync.json")).is_err());
    }

    #[test]
    fn a_plan_that_was_edited_is_not_even_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sync.json");
        let (plan, preview) = made();
        for change in
            [|plan: &mut Plan| plan.warnings.push("all is well".to_owned()), |plan: &mut Plan| plan.steps.clear()]
        {
            let mut edited = plan.clone();
            change(&mut edited);
            save(&edited, &preview, &file).unwrap();
            let failure = load(&file).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Refused);
            assert!(failure.causes[0].contains("digest"), "{failure:?}");
        }
    }

    #[test]
    fn control_characters_are_taken_in_what_is_written_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sync.json");
        let (mut plan, preview) = made();
        let Write::PutConfigMap { body, .. } = &mut plan.steps[0].write else { panic!("a PUT") };
        body.values.insert("b.sh".to_owned(), b"printf '\x1b[1m'\r\n".to_vec());
        body.annotations.insert("note".to_owned(), "a\u{7}bell".to_owned());
        let plan = plan.sealed();
        save(&plan, &preview, &file).unwrap();
        assert_eq!(load(&file).unwrap(), plan);

        let lie = "sync\u{1b}[2K\rkick".to_owned();
        for change in [
            |plan: &mut Plan, lie: String| plan.title = lie,
            |plan: &mut Plan, lie: String| plan.warnings.push(lie),
            |plan: &mut Plan, lie: String| plan.steps[0].why = lie,
            |plan: &mut Plan, lie: String| plan.clusters[0].context = lie,
        ] {
            let mut changed = plan.clone();
            change(&mut changed, lie.clone());
            save(&changed.sealed(), &preview, &file).unwrap();
            let failure = load(&file).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Refused);
            assert!(failure.summary.contains("changed after it was made"), "{failure:?}");
        }
        // A struct may come as a list, too.
        let list = serde_json::to_string(&[[[0; 2]; 2]; 12]).unwrap();
        fs::write(&file, list).unwrap();
        assert!(load(&file).is_err());
        fs::write(&file, "{\"id\": 1, \"repair\": \"\\u001b[2K\"}").unwrap();
        let failure = load(&file).unwrap_err();
        assert!(!format!("{failure:?}").contains('\u{1b}'), "{failure:?}");
    }
}
