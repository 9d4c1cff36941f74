//! What a journal file holds: one record a line, each line chained to the one before.
//!
//! A line is a JSON object whose last member, `chain`, is the sha256 of the chain of the line before (for the first: the run's
//! id) followed by the line without that member. So a flipped bit, a line cut out or a journal moved to another run is
//! found. A last line without its newline is *torn*: the process died while writing it, before anything was sent on its
//! strength, so it counts as never written.
//!
//! To add a record: a variant here, and what it means for a run in `read`.

use serde::{Deserialize, Serialize};

use crate::model::{ClusterIdentity, ObjectRef, ObjectVersion, Outcome, Timestamp, sha256_hex};
use crate::repair::{Override, RepairId};

/// A record and when it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub at: Timestamp,
    pub record: Record,
}

/// One record. Bodies and prior objects are not in here, only their hashes: they may hold what must not be in a log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Record {
    Begin {
        run: String,
        /// Digest of the plan beside it.
        plan: String,
        title: String,
        repair: RepairId,
        steps: usize,
        who: String,
        mode: Mode,
        pid: u32,
        clusters: Vec<ClusterIdentity>,
        /// The run that this one undoes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undoes: Option<String>,
        /// Guards that a person asked to set aside, and why.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        overrides: Vec<Override>,
    },
    /// On disk before the request goes out.
    Intent {
        n: usize,
        object: ObjectRef,
        /// `replace`, `create`, `delete`, `patch`.
        write: String,
        guard: Guard,
        /// sha256 of the request's body as sent.
        body: String,
        /// The `Audit-ID` of the request: joins with the API server's audit log.
        audit_id: String,
        /// The object as it was, where there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        backup: Option<BackupFile>,
    },
    /// How a step ended. `unknown` where the answer was lost and reading back did not tell.
    Outcome {
        n: usize,
        object: ObjectRef,
        outcome: Outcome,
        status: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resource_version: Option<String>,
    },
    /// What reading back found of an intent whose outcome was not known.
    Found {
        n: usize,
        object: ObjectRef,
        landed: Found,
        detail: String,
    },
    Stopped {
        why: String,
    },
    Verified {
        ok: bool,
        detail: String,
    },
    /// Another process took the run over; `torn` bytes of an unfinished last line were cut off.
    Resumed {
        who: String,
        pid: u32,
        torn: usize,
    },
    Ended {
        done: usize,
        failed: usize,
        skipped: usize,
        unknown: usize,
        left: usize,
    },
}

/// Who answers for a run: which front end took the approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Words typed on the Plan screen.
    Typed,
    /// `--execute` with its flags.
    Flags,
}

/// What the request was guarded by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Guard {
    Version(ObjectVersion),
    Absence,
    Uid { uid: String },
}

/// What a read-back says of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    AsWritten,
    AsBefore,
    /// Neither: somebody else wrote it since, or it is gone.
    Otherwise,
}

/// A prior object in the backup folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Name inside `backup/`.
    pub file: String,
    pub sha256: String,
}

const CHAIN: &str = ",\"chain\":\"";
const HASH: usize = 64;

/// Makes a line (with its newline) and the chain for the next one.
pub fn seal(previous: &str, entry: &Entry) -> Result<(String, String), serde_json::Error> {
    let payload = serde_json::to_string(entry)?;
    let chain = link(previous, &payload);
    let open = payload.strip_suffix('}').unwrap_or(&payload);
    Ok((format!("{open}{CHAIN}{chain}\"}}\n"), chain))
}

fn link(previous: &str, payload: &str) -> String {
    sha256_hex(format!("{previous}{payload}").as_bytes())
}

/// A journal file as read.
#[derive(Debug, Clone, PartialEq)]
pub struct Lines {
    /// The records up to the first fault.
    pub entries: Vec<Entry>,
    /// Chain of the last good line: the next one continues it.
    pub chain: String,
    /// Bytes up to and with the last good line.
    pub good: usize,
    pub tail: Tail,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    Whole,
    /// Bytes of an unfinished last line.
    Torn(usize),
    /// Not as written: the line and why.
    Damaged(String),
}

/// Reads the lines of the journal of `run`, checking each link.
pub fn read_lines(run: &str, bytes: &[u8]) -> Lines {
    let mut lines = Lines { entries: Vec::new(), chain: run.to_owned(), good: 0, tail: Tail::Whole };
    for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let Some(line) = line.strip_suffix(b"\n") else {
            lines.tail = Tail::Torn(line.len());
            return lines;
        };
        match open_line(&lines.chain, line) {
            Ok((entry, chain)) => {
                lines.entries.push(entry);
                lines.chain = chain;
                lines.good += line.len() + 1;
            }
            Err(why) => {
                lines.tail = Tail::Damaged(format!("line {}: {why}", number + 1));
                return lines;
            }
        }
    }
    lines
}

fn open_line(previous: &str, line: &[u8]) -> Result<(Entry, String), String> {
    let changed = || "it does not follow from the line before: changed or cut after it was written".to_owned();
    let text = std::str::from_utf8(line).map_err(|_| changed())?;
    let body = text.strip_suffix("\"}").ok_or_else(changed)?;
    let (head, chain) = body.split_at_checked(body.len().saturating_sub(HASH)).ok_or_else(changed)?;
    let payload = format!("{}}}", head.strip_suffix(CHAIN).ok_or_else(changed)?);
    if link(previous, &payload) != chain {
        return Err(changed());
    }
    let entry = serde_json::from_str(&payload).map_err(|error| {
        format!("not a record this version knows ({error}); another version of the program wrote it")
    })?;
    Ok((entry, chain.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(records: &[Record]) -> Vec<u8> {
        let mut chain = "r-0001".to_owned();
        let mut bytes = Vec::new();
        for record in records {
            let entry = Entry { at: Timestamp::UNIX_EPOCH, record: record.clone() };
            let (line, next) = seal(&chain, &entry).unwrap();
            bytes.extend_from_slice(line.as_bytes());
            chain = next;
        }
        bytes
    }

    fn records() -> Vec<Record> {
        vec![
            Record::Resumed { who: "oncall".into(), pid: 7, torn: 0 },
            Record::Stopped { why: "somebody pressed q, and said \"}".into() },
            Record::Verified { ok: true, detail: "hook is Ready — ü".into() },
        ]
    }

    #[test]
    fn what_was_written_is_read() {
        let lines = read_lines("r-0001", &journal(&records()));
        assert_eq!(lines.tail, Tail::Whole);
        assert_eq!(lines.entries.into_iter().map(|entry| entry.record).collect::<Vec<_>>(), records());
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let good = journal(&records());
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                let lines = read_lines("r-0001", &bad);
                assert_ne!(lines.tail, Tail::Whole, "byte {at} bit {bit}");
                // What comes before the fault is still there, and nothing after it.
                assert!(records().starts_with(&lines.entries.into_iter().map(|e| e.record).collect::<Vec<_>>()));
            }
        }
    }

    #[test]
    fn every_cut_is_a_torn_line_or_fewer_records() {
        let good = journal(&records());
        let ends: Vec<usize> = good.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1).collect();
        for cut in 1..good.len() {
            let lines = read_lines("r-0001", &good[..cut]);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(lines.entries.len(), whole);
            assert_eq!(matches!(lines.tail, Tail::Torn(_)), !ends.contains(&cut), "cut at {cut}");
        }
    }

    #[test]
    fn a_line_taken_out_or_another_runs_journal_is_found() {
        let good = journal(&records());
        let first = good.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        assert!(matches!(read_lines("r-0001", &good[first..]).tail, Tail::Damaged(_)));
        assert!(matches!(read_lines("r-0002", &good).tail, Tail::Damaged(_)));
    }
}
