//! Hints are written for both front ends and name flags; here each gets the key that it has on the screens. To add one: a line
//! in [`KEYS_OF_FLAGS`].

use super::super::app::App;
use super::request;
use crate::diagnose::{Diagnosis, NextStep};
use crate::present;
use crate::repair::RepairId;

/// Flags of the command line that a key stands for.
const KEYS_OF_FLAGS: &[(&str, &str)] = &[
    ("--include-running", "i on 3 Strays"),
    ("--to", "Up and Down on 4 Rollback"),
    ("--map", "2 Config, then p"),
    ("--prune", "x on 5 Plan"),
    ("--last-loaded", "s on 5 Plan"),
];

/// Words that may name flags, with the keys for them; of those that no key stands for, where they are.
pub fn with_keys(words: &str) -> String {
    let flags: Vec<&str> = words.split(|c: char| !(c.is_ascii_lowercase() || c == '-')).filter(is_flag).collect();
    let keys: Vec<&str> =
        KEYS_OF_FLAGS.iter().filter(|(flag, _)| flags.contains(flag)).map(|(_, keys)| *keys).collect();
    let is_keyed = |flag: &&str| KEYS_OF_FLAGS.iter().any(|(keyed, _)| keyed == flag);
    if !keys.is_empty() {
        format!("{words}; here: {}", keys.join(", "))
    } else if flags.iter().any(|flag| !is_keyed(flag)) && !words.contains("kubectl") {
        format!("{words} (flags: on the command line)")
    } else {
        words.to_owned()
    }
}

fn is_flag(word: &&str) -> bool {
    word.strip_prefix("--").is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
}

/// The one next step, with the keys that plan it from here, and in a drill with the one that is Deck there.
pub fn next(app: &App, diagnosis: &Diagnosis) -> String {
    let words = planned(app, diagnosis);
    if app.drill.is_none() {
        return words;
    }
    // Behind the verb: the end of the line may be cut.
    match &diagnosis.verdict.next {
        NextStep::Stop { .. } => words.replacen("stop ", "stop (D) ", 1),
        NextStep::Repair { .. }
        | NextStep::Nothing
        | NextStep::Fetch { .. }
        | NextStep::Resume { .. }
        | NextStep::Wait { .. }
        | NextStep::MendRevision { .. }
        | NextStep::FinishRollback { .. }
        | NextStep::Look { .. }
        | NextStep::RegainSight { .. } => words.replacen("first abort ", "first abort (D) ", 1),
    }
}

fn planned(app: &App, diagnosis: &Diagnosis) -> String {
    let words = present::next(diagnosis);
    let Some(repair) = diagnosis.verdict.next.repair().filter(|_| !app.run_is_going()) else { return words };
    let keys = match repair {
        // The words name the keys themselves.
        _ if !words.starts_with("NEXT  plan") => return words,
        _ if request(app).is_ok_and(|request| request.repair == repair) => "p",
        RepairId::Rollback => "4, p",
        RepairId::DeleteStrays => "3, p",
        RepairId::SyncConfig => "2, p",
        RepairId::Kick | RepairId::Undo => return words,
    };
    // Behind the step's name: the end of the line may be cut.
    let at = [words.find(": "), words.find(" \""), words.find(", but first")]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(words.len());
    format!("{} ({keys}){}", &words[..at], &words[at..])
}

#[cfg(test)]
mod tests {
    use super::with_keys;

    #[test]
    fn flags_get_their_keys() {
        assert_eq!(
            with_keys("--include-running deletes them as well"),
            "--include-running deletes them as well; here: i on 3 Strays"
        );
        assert_eq!(with_keys("name the tag: --to TAG"), "name the tag: --to TAG; here: Up and Down on 4 Rollback");
        assert_eq!(
            with_keys("say why: --override gate --reason TEXT"),
            "say why: --override gate --reason TEXT (flags: on the command line)"
        );
        assert_eq!(with_keys("look at its log -- twice"), "look at its log -- twice");
        assert_eq!(with_keys("kubectl --context x get pods"), "kubectl --context x get pods");
    }
}
