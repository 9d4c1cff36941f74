//! The write-ahead journal: what runs are about to do, did, and what was there before.
//!
//! ```text
//! DIR/runs/r-0001/journal.ndjson     the records, chained
//!                 plan.json          the approved plan, complete
//!                 backup/001-*.json  each object as the server gave it before the write
//! DIR/loaded/CLUSTER/MAP/*.json      contents of ConfigMaps that were seen loaded: what can be brought back without git
//! DIR/refused.ndjson                 contents that a component refused, of each cluster
//! DIR/checked.ndjson                 what started on contents, and what checkconfig said of them
//! ```
//!
//! An intent and the prior object are on the disk before a request goes out, the outcome after. Whoever comes next finds
//! an intent without an outcome and reads back; nothing is guessed. A run's journal is locked while a process works on it,
//! and only the kernel's lock says that somebody does: it cannot outlive the process, as a pid can.
//!
//! To extend: records in [`record`], what they amount to in [`read`], which runs are open in [`open`]; what is remembered
//! beside the runs in [`refused`], [`checked`] and [`loaded`].

mod checked;
mod files;
mod lines;
mod loaded;
mod lock;
mod open;
mod read;
mod record;
mod refused;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::cluster::live::parse_config_map;
use crate::model::{Failure, FailureKind, ObjectRef, Outcome, Timestamp, Write, sha256_hex};
use crate::repair::Plan;
use crate::repair::undo::{UndoSource, UndoStep};

pub use read::{Begin, Intent, RunRecord, RunState, StepOutcome, StepRecord};
pub use record::{BackupFile, Entry, Found, Guard, Mode, Record};
pub use refused::seen_on;
pub use writer::RunWriter;

use files::Made;
use lock::{held, is_held};
use record::{Lines, Tail, read_lines};

const RUNS: &str = "runs";
const JOURNAL: &str = "journal.ndjson";
const PLAN: &str = "plan.json";
const BACKUP: &str = "backup";

/// The journals of all runs, in one folder.
#[derive(Debug, Clone)]
pub struct Journal {
    /// Or why there is none: that is no reason not to look.
    dir: Result<PathBuf, Failure>,
    clock: Clock,
}

impl Journal {
    /// Opens the journal for writing: makes its folders and makes sure that it can be written.
    ///
    /// # Errors
    /// The folder cannot be made or written.
    pub fn open(dir: PathBuf) -> Result<Journal, Failure> {
        let journal = Journal::for_reading(dir);
        journal.make_sure_of_writing()?;
        Ok(journal)
    }

    /// Makes the folders and makes sure that they can be written.
    ///
    /// # Errors
    /// They cannot; nothing may be written to a cluster then.
    pub fn make_sure_of_writing(&self) -> Result<(), Failure> {
        let runs = self.runs_folder()?;
        files::make_folders(&runs)?;
        rustix::fs::access(&runs, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
            .map_err(|error| files::unwritable(&runs, &error.into()))
    }

    /// Opens the journal for looking at runs. Writes nothing and needs no right to; a folder that is not there yet
    /// holds no runs.
    pub fn for_reading(dir: PathBuf) -> Journal {
        Journal { dir: Ok(dir), clock: Clock::Wall }
    }

    /// A journal that has no place: whoever reads or writes it is told why.
    pub fn nowhere(why: Failure) -> Journal {
        Journal { dir: Err(why), clock: Clock::Wall }
    }

    /// With another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Journal {
        self.clock = clock;
        self
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The folder given.
    ///
    /// # Errors
    /// There is none, and why.
    pub fn dir(&self) -> Result<&Path, Failure> {
        self.dir.as_deref().map_err(Clone::clone)
    }

    fn runs_folder(&self) -> Result<PathBuf, Failure> {
        Ok(self.dir()?.join(RUNS))
    }

    /// Folder of a run, whether it is there or not.
    fn folder(&self, run: &str) -> Result<PathBuf, Failure> {
        // The id comes from a command line and becomes a path.
        match run_number(run) {
            Some(_) => Ok(self.runs_folder()?.join(run)),
            None => Err(no_such_run(run)),
        }
    }

    /// Begins a run: takes the next free id, stores the plan and the first record, and holds the run's lock.
    ///
    /// # Errors
    /// The journal cannot be written, or another run is going on on one of the plan's clusters; nothing may be sent then.
    pub fn begin(&self, plan: &Plan, who: &str, mode: Mode) -> Result<RunWriter, Failure> {
        let runs = self.runs_folder()?;
        files::make_folders(&runs)?;
        // One begins at a time, so that two which begin together see each other.
        let door = File::open(&runs).map_err(|error| files::unreadable(&runs, &error))?;
        door.lock().map_err(|error| files::unwritable(&runs, &error))?;
        self.nobody_in_the_way(plan, None)?;
        let (run, folder) = self.new_folder(&runs)?;
        files::make_folders(&folder.join(BACKUP))?;
        let path = folder.join(JOURNAL);
        let file = files::new_file(&path)?;
        file.lock().map_err(|error| files::unwritable(&path, &error))?;
        let text = serde_json::to_vec_pretty(plan)
            .map_err(|error| Failure::new(FailureKind::Tool, "cannot encode the plan").cause(error.to_string()))?;
        files::write_new_file(&folder.join(PLAN), &text)?;
        let mut writer = RunWriter::new(run.clone(), folder.clone(), file, run.clone(), self.clock.clone());
        writer.append(Record::Begin {
            run,
            plan: plan.digest.clone(),
            title: plan.title.clone(),
            repair: plan.repair,
            steps: plan.steps.len(),
            who: who.to_owned(),
            mode,
            pid: std::process::id(),
            clusters: plan.clusters.clone(),
            undoes: plan.basis.undoes.clone(),
            overrides: plan.basis.overrides.clone(),
        })?;
        files::sync_folder(&folder)?;
        files::sync_folder(&runs)?;
        Ok(writer)
    }

    fn new_folder(&self, runs: &Path) -> Result<(String, PathBuf), Failure> {
        let mut number = self.ids()?.last().copied().unwrap_or(0) + 1;
        loop {
            let run = format!("r-{number:04}");
            let folder = runs.join(&run);
            match files::make_new_folder(&folder)? {
                Made::New => return Ok((run, folder)),
                // Another process took it just now.
                Made::WasThere => number += 1,
            }
        }
    }

    /// Numbers of the runs, in order.
    fn ids(&self) -> Result<BTreeSet<u64>, Failure> {
        let runs = self.runs_folder()?;
        let entries = match std::fs::read_dir(&runs) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(files::unreadable(&runs, &error)),
        };
        let mut ids = BTreeSet::new();
        for entry in entries {
            let entry = entry.map_err(|error| files::unreadable(&runs, &error))?;
            ids.extend(entry.file_name().to_str().and_then(run_number));
        }
        Ok(ids)
    }

    /// All runs, newest first. One that cannot be read is a damaged one: it hides no other.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    pub fn runs(&self) -> Result<Vec<RunRecord>, Failure> {
        let read = |number| {
            let run = format!("r-{number:04}");
            match self.run(&run) {
                Ok(record) => Ok(record),
                Err(failure) => {
                    let why = std::iter::once(failure.summary).chain(failure.causes).collect::<Vec<_>>().join(": ");
                    Ok(RunRecord::unreadable(&run, self.folder(&run)?, why))
                }
            }
        };
        self.ids()?.into_iter().rev().map(read).collect()
    }

    /// One run.
    ///
    /// # Errors
    /// There is no such run, or it cannot be read. A damaged journal is no error but a [`RunState`].
    pub fn run(&self, run: &str) -> Result<RunRecord, Failure> {
        let folder = self.folder(run)?;
        let path = folder.join(JOURNAL);
        let (lines, held) = match File::open(&path) {
            Ok(mut file) => {
                // The lock first: records that a living process appends meanwhile are then merely not seen yet.
                let held = is_held(&file).map_err(|error| files::unreadable(&path, &error))?;
                let lines = read_file(run, &path, &mut file)?;
                (lines, held)
            }
            // Died between making the folder and the file.
            Err(error) if error.kind() == ErrorKind::NotFound && folder.is_dir() => (read_lines(run, &[]), false),
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(no_such_run(run)),
            Err(error) => return Err(files::unreadable(&path, &error)),
        };
        Ok(RunRecord::fold(run, folder, lines, held))
    }

    /// What other runs than `own` have done since a time: object to run, of the newest.
    ///
    /// # Errors
    /// As [`Journal::runs`].
    pub fn done_by_others(&self, own: &str, since: Timestamp) -> Result<BTreeMap<ObjectRef, String>, Failure> {
        let mut done = BTreeMap::new();
        // Newest first, and the newest stays.
        for run in self.runs()?.into_iter().filter(|run| run.run != own) {
            for step in run.steps {
                let is_done = |ended: &StepOutcome| ended.outcome == Outcome::Done && ended.at >= since;
                if step.outcome.as_ref().is_some_and(is_done) {
                    done.entry(step.object).or_insert_with(|| run.run.clone());
                }
            }
        }
        Ok(done)
    }

    /// The plan that a run was approved with.
    ///
    /// # Errors
    /// It cannot be read, or is not the one that the run's first record names.
    pub fn plan(&self, run: &RunRecord) -> Result<Plan, Failure> {
        let path = run.folder.join(PLAN);
        let text = std::fs::read(&path).map_err(|error| files::unreadable(&path, &error))?;
        let plan: Plan = serde_json::from_slice(&text).map_err(|error| damaged(&run.run, PLAN, &error.to_string()))?;
        let begun = run.begin.as_ref().map(|begin| begin.plan.as_str());
        if begun != Some(plan.digest.as_str()) || plan.compute_digest() != plan.digest {
            return Err(damaged(&run.run, PLAN, "it is not the plan that the run began with"));
        }
        Ok(plan)
    }

    /// The object of step `n` as it was before the run touched it: the server's JSON. `None` where there was none.
    ///
    /// # Errors
    /// The file cannot be read, or is not what was stored.
    pub fn backup(&self, run: &RunRecord, n: usize) -> Result<Option<Vec<u8>>, Failure> {
        let Some(backup) = run.steps.iter().find(|step| step.n == n).and_then(|step| step.backup.as_ref()) else {
            return Ok(None);
        };
        let path = run.folder.join(BACKUP).join(&backup.file);
        let bytes = std::fs::read(&path).map_err(|error| files::unreadable(&path, &error))?;
        if sha256_hex(&bytes) != backup.sha256 {
            return Err(damaged(&run.run, &backup.file, "its content is not what was stored"));
        }
        Ok(Some(bytes))
    }

    /// Opens a run again, to resume it or to record what was seen of it later. An unfinished last line is cut off; its
    /// length comes with the writer.
    ///
    /// # Errors
    /// A living process holds it, its journal is damaged, or it cannot be written.
    pub fn reopen(&self, run: &str) -> Result<(RunRecord, RunWriter, usize), Failure> {
        let folder = self.folder(run)?;
        let path = folder.join(JOURNAL);
        let mut file = match OpenOptions::new().read(true).append(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(no_such_run(run)),
            Err(error) => return Err(files::unwritable(&path, &error)),
        };
        self.take_lock(run, &path, &file)?;
        let lines = read_file(run, &path, &mut file)?;
        let torn = match &lines.tail {
            Tail::Whole => 0,
            Tail::Torn(bytes) => *bytes,
            Tail::Damaged(why) => return Err(damaged(run, JOURNAL, why)),
        };
        if torn > 0 {
            file.set_len(lines.good as u64)
                .and_then(|()| file.sync_all())
                .map_err(|error| files::unwritable(&path, &error))?;
        }
        let writer = RunWriter::new(run.to_owned(), folder.clone(), file, lines.chain.clone(), self.clock.clone());
        Ok((RunRecord::fold(run, folder, lines, false), writer, torn))
    }

    /// Records whether the repair of a run was seen to work.
    ///
    /// # Errors
    /// As [`Journal::reopen`].
    pub fn verified(&self, run: &str, ok: bool, detail: &str) -> Result<(), Failure> {
        let (_, mut writer, _) = self.reopen(run)?;
        writer.append(Record::Verified { ok, detail: detail.to_owned() })
    }

    /// What undoing a run needs: what it wrote, and what was there before.
    ///
    /// # Errors
    /// A living process is at work on it, or its journal, plan or backups are damaged.
    pub fn undo_source(&self, run: &RunRecord) -> Result<UndoSource, Failure> {
        match &run.state {
            RunState::Ended | RunState::Interrupted { .. } => {}
            RunState::Running { pid } => return Err(held(&run.run, &format!("process {pid}"))),
            RunState::Damaged { why } => return Err(damaged(&run.run, JOURNAL, why)),
        }
        let plan = self.plan(run)?;
        let mut steps = Vec::new();
        for step in plan.steps {
            let Some(record) = run.steps.iter().find(|record| record.n == step.n) else { continue };
            if !record.may_have_landed() {
                continue;
            }
            let prior = match (&step.write, self.backup(run, step.n)?) {
                (Write::PutConfigMap { object, .. } | Write::DeleteConfigMap { object, .. }, Some(json)) => {
                    Some(parse_config_map(&object.cluster, json)?.state)
                }
                (
                    // What an image was before stands in the write itself.
                    Write::PutConfigMap { .. }
                    | Write::CreateConfigMap { .. }
                    | Write::DeleteConfigMap { .. }
                    | Write::DeletePod { .. }
                    | Write::PatchImage { .. }
                    | Write::CreateJob { .. }
                    | Write::DeleteJob { .. },
                    _,
                ) => None,
            };
            let made = record.outcome.as_ref().and_then(|ended| ended.uid.clone());
            steps.push(UndoStep { n: step.n, write: step.write, prior, made });
        }
        Ok(UndoSource { run: run.run.clone(), steps })
    }
}

fn read_file(run: &str, path: &Path, file: &mut File) -> Result<Lines, Failure> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| files::unreadable(path, &error))?;
    Ok(read_lines(run, &bytes))
}

fn run_number(run: &str) -> Option<u64> {
    let digits = run.strip_prefix("r-")?;
    let number = digits.parse().ok()?;
    (format!("{number:04}") == digits).then_some(number)
}

fn no_such_run(run: &str) -> Failure {
    Failure::new(FailureKind::Usage, format!("no run {} in this journal", crate::model::text::sanitize_line(run)))
        .hint("prow-breakglass run list shows them; another journal is named with --journal DIR")
}

fn damaged(run: &str, file: &str, why: &str) -> Failure {
    Failure::new(FailureKind::Tool, format!("{file} of run {run} is damaged"))
        .cause(why)
        .hint("compare the cluster with the backups by hand; the API server's audit log knows the run by its Audit-IDs")
}

#[cfg(test)]
mod tests;
