//! `drill`: the whole program on a simulated Prow. The screens, or a script in virtual time; then the scorecard.

mod script;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::Pace;
use crate::drill::{Play, Scorecard, catalogue};
use crate::model::{Failure, FailureKind};

use super::args::{DrillArgs, Format, Global};
use super::stage::{Props, Stage};
use super::{Exit, output, signals, tui};

/// Tells the drills, or plays one.
pub async fn run(global: &mut Global, args: &DrillArgs) -> Exit {
    if matches!(global.stage, Stage::Drill(_)) {
        return Err(Failure::new(FailureKind::Usage, "there is no drill within a drill"));
    }
    if args.name == "list" {
        return list(global.output);
    }
    let folder = Folder::for_journal(global.journal.as_deref())?;
    let play = open(args.name.clone(), args.seed.unwrap_or_else(seed), Pace::Times(args.speed)).await?;
    global.stage = Stage::Drill(Arc::new(Props::new(&args.name, play.clone(), folder.path.clone())));
    match &args.script {
        Some(file) => {
            let stop = signals::stop_on_signals()?;
            let code = tokio::select! {
                code = script::run(global, &play, file) => code?,
                () = stop.stopped() => FailureKind::Interrupted.exit_code(),
            };
            output::result(&play.score().document())?;
            Ok(code)
        }
        None => {
            output::words(&play.story());
            let ended = tui::run(global).await;
            let score = play.score();
            conclude(&score);
            if folder.keep == Keep::Yes {
                output::words(&format!("journal: {}", folder.path.display()));
            }
            // Why it ended before its time, if it did; a drill has no other failures.
            ended?;
            Ok(score.exit_code())
        }
    }
}

/// On the thread that will serve it (see `cli::runtime`).
async fn open(name: String, seed: u64, pace: Pace) -> Result<Play, Failure> {
    let opening = tokio::spawn(async move { Play::open(&name, seed, pace) });
    opening.await.unwrap_or_else(|_| Err(Failure::new(FailureKind::Tool, "the drill's world could not be made")))
}

fn conclude(score: &Scorecard) {
    output::words(&score.lines().join("\n"));
}

fn list(format: Format) -> Exit {
    let drills = catalogue::all()?;
    let told = drills.iter().map(|drill| (drill.name.as_str(), drill.file.title.as_str(), Some(&drill.file.story)));
    let surprise = (catalogue::SURPRISE, "One of them, and you are not told which: --seed N", None);
    let told: Vec<_> = told.chain([surprise]).collect();
    output::document(
        format,
        || {
            let object =
                |(name, title, story): &(_, _, _)| serde_json::json!({ "name": name, "title": title, "story": story });
            let drills: Vec<_> = told.iter().map(object).collect();
            serde_json::json!({ "apiVersion": crate::present::API_VERSION, "kind": "DrillList", "drills": drills })
        },
        || told.iter().map(|(name, title, _)| format!("{name:<14}{title}\n")).collect(),
    )?;
    Ok(0)
}

/// Another one each time; a person may give one instead.
fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::from(now.subsec_nanos()) ^ now.as_secs()) % 10_000
}

/// Where a drill journals: a folder that goes with the drill, unless a person named one.
struct Folder {
    path: PathBuf,
    keep: Keep,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

impl Folder {
    fn for_journal(given: Option<&Path>) -> Result<Folder, Failure> {
        if let Some(path) = given {
            return Ok(Folder { path: path.to_owned(), keep: Keep::Yes });
        }
        let parent = std::env::temp_dir();
        for n in 0..100_u32 {
            let path = parent.join(format!("prow-breakglass-drill-{}-{n}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Folder { path, keep: Keep::No }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(Failure::new(FailureKind::Tool, "no folder for the drill's journal")
                        .cause(format!("{}: {error}", path.display()))
                        .hint("--journal DIR"));
                }
            }
        }
        Err(Failure::new(FailureKind::Tool, "no folder for the drill's journal").hint("--journal DIR"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.keep == Keep::No {
            // What is left of it is in the folder for temporary files.
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}
