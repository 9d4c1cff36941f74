//! What was seen of contents beyond refusals: what started on them, what a checkconfig said. One line a [`Checked`] in
//! `checked.ndjson`. Digests and words only, no configuration.

use crate::model::{Checked, Failure};

use super::{Journal, lines};

const CHECKED: &str = "checked.ndjson";
/// Older answers are not looked at: what is deployed has changed since.
const NEWEST: usize = 5000;

impl Journal {
    /// Remembers answers, those that are not remembered yet.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn remember_checked(&self, seen: &[Checked]) -> Result<(), Failure> {
        let known = self.checked()?;
        let new: Vec<Checked> = seen.iter().filter(|checked| !is_among(checked, &known)).cloned().collect();
        lines::append(self.dir()?, CHECKED, &new, |checked, text| is_among(checked, &parse(text)))
    }

    /// Answers, newest first.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn checked(&self) -> Result<Vec<Checked>, Failure> {
        Ok(parse(&lines::read(self.dir()?, CHECKED)?))
    }
}

/// The same answer of the same witness about the same content; when makes no difference.
fn is_among(checked: &Checked, known: &[Checked]) -> bool {
    known.iter().any(|other| Checked { at: checked.at, ..other.clone() } == *checked)
}

fn parse(text: &[u8]) -> Vec<Checked> {
    let mut all = lines::parse(text);
    all.truncate(NEWEST);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Checkconfig, Objection, Timestamp, Witness};

    fn checked(content: &str, refused: Option<&str>) -> Checked {
        let program = Checkconfig { path: "/c".to_owned(), file: "1".to_owned(), version: None };
        Checked {
            content: content.to_owned(),
            refused: refused.map(Objection::of),
            by: Witness::Checkconfig(program),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn answers_are_remembered_once_and_another_answer_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::for_reading(dir.path().join("state"));
        journal.remember_checked(&[checked("a", None), checked("b", Some("no"))]).unwrap();
        let later = Checked { at: Timestamp::MAX, ..checked("a", None) };
        journal.remember_checked(&[later, checked("a", Some("no"))]).unwrap();
        assert_eq!(
            journal.checked().unwrap(),
            [checked("a", Some("no")), checked("b", Some("no")), checked("a", None)]
        );
    }

    #[test]
    fn all_witnesses_are_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::for_reading(dir.path().join("state"));
        let (server, uid) = ("https://s".to_owned(), "u".to_owned());
        let witnesses = [
            Witness::Running { server: server.clone(), uid: uid.clone(), tag: "v1".to_owned(), further: None },
            Witness::Running {
                server: server.clone(),
                uid: uid.clone(),
                tag: "v1".to_owned(),
                further: Some("hook reads further configuration (--supplemental-prow-config-dir=/etc/a)".to_owned()),
            },
            Witness::Job { server, uid, image: "r/checkconfig:v1".to_owned() },
        ];
        let all = witnesses.map(|by| Checked { by, ..checked("a", None) });
        journal.remember_checked(&all).unwrap();
        let mut read = journal.checked().unwrap();
        read.reverse();
        assert_eq!(read, all);
    }

    /// What a program of before the last change wrote down.
    #[test]
    fn a_start_without_a_word_on_further_configuration_had_none() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let line = r#"{"content":"a","by":{"witness":"running","server":"https://s","uid":"u","tag":"v1"},"at":"2026-11-22T07:00:00Z"}"#;
        std::fs::write(state.join(CHECKED), format!("{line}\n")).unwrap();
        let read = Journal::for_reading(state).checked().unwrap();
        assert!(matches!(&read[0].by, Witness::Running { further: None, .. }), "{read:?}");
    }
}
