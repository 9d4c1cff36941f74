//! The second incident through the screens, with keys alone.

use crate::bed::Bed;
use crate::preview::previewed_writes;
use crate::strays_support::{
    ALIASES, DEFAULT, NAMESPACE, TEST_PODS, TRUSTED, Truth, at_tag, deletes, everybody, marks, no_job_is_worse_off,
    number, only_these_went, prowjobs, strays, written,
};
use crate::support::Tool;
use crate::terminal::{ENTER, LARGE, Start, Terminal};

/// Counts what is pressed.
struct Keys {
    terminal: Terminal,
    pressed: usize,
}

impl Keys {
    fn press(&mut self, keys: &str) -> &mut Self {
        self.pressed += keys.chars().count();
        self.terminal.press(keys);
        self
    }

    /// Types what is asked for; Enter once it is there.
    fn answer(&mut self, words: &str) {
        self.press(words);
        self.terminal.see(&format!("> {words}_"));
        self.press(ENTER);
    }
}

#[test]
fn roll_back_prove_and_delete_in_few_keys() {
    let Some(bed) = Bed::start_with_strays(40, 3600) else { return };
    let tool = Tool::on(&bed);
    let truth = Truth::of(&bed);
    let count = truth.strays.len();
    let terminal = Start::on(&bed, LARGE, &tool.file("journal")).env("LANG", "C.UTF-8").open();
    let mut keys = Keys { terminal, pressed: 0 };
    keys.terminal.see_all(&[
        "[1 Overview]",
        "BROKEN since",
        &format!("{count} pods of jobs outside {TEST_PODS}"),
        "secret \"service-account\" not found",
        "do not wait for the merge",
        "NEXT plan rollback",
    ]);
    // Told, and refused while it is too early.
    keys.press("3");
    keys.terminal.see_all(&["[3 Strays]", "GATE not to be deleted yet", "the cause is not gone"]);
    keys.press("1");

    // Arming is once an incident, by the name that people say.
    let context = bed.fact("context").rsplit(['_', '/', '@', ':']).next().expect("a name").to_owned();
    keys.terminal.see("[1 Overview]");
    keys.press("A");
    keys.terminal.see(&format!("Type `{context}`"));
    keys.answer(&context);
    keys.terminal.see("ARMED 60m");
    keys.press("p");
    keys.terminal.see_all(&["[5 Plan]", "roll 9 component(s) back to", "last four characters"]);
    let word = keys.terminal.confirmation();
    assert!(ALIASES.iter().all(|alias| written(&bed, alias, 0).is_empty()), "nothing is written yet");
    assert!(bed.fact("oldTag").ends_with(&word) && word.len() == 4, "{word}");
    keys.answer(&word);
    keys.terminal.see_all(&["[6 Run]", "verified", "9 component(s) Ready on", "NEXT plan delete-strays"]);
    assert_eq!((written(&bed, TRUSTED, 0).len(), at_tag(&bed, TRUSTED, bed.fact("oldTag"))), (9, 9));

    let (before, jobs, crowd) = (marks(&bed), prowjobs(&bed), everybody(&bed));
    keys.press("3");
    keys.terminal.see_all(&["[3 Strays]", "GATE may be deleted"]);
    keys.press("i").press("p");
    keys.terminal.see_all(&["[5 Plan]", &format!("delete {count} stray pod(s)"), "To run it, type"]);
    let word = keys.terminal.confirmation();
    // Above half of all pods that are counted by now, the cluster is asked for as well.
    assert!([count.to_string(), format!("{count} {DEFAULT}")].contains(&word), "{word}");
    keys.answer(&word);
    keys.terminal.see_all(&["[6 Run]", "verified", "the strays are gone"]);
    keys.press("1");
    // The jobs that deploy and bump Prow go on again, and would undo the rollback.
    keys.terminal.see_all(&["[1 Overview]", "DEGRADED", "NEXT stop"]);
    keys.press("q");
    let pressed = keys.pressed;
    let ended = keys.terminal.end();
    ended.is_clean();
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert!(pressed < 40, "{pressed} keys");

    assert_eq!(number(&strays(&tool), "/total"), 0);
    let answers = deletes(&bed, &before);
    assert_eq!(answers.keys().cloned().collect::<std::collections::BTreeSet<_>>(), truth.uids());
    only_these_went(&crowd, &everybody(&bed), &truth.uids());
    no_job_is_worse_off(&jobs, &prowjobs(&bed));
    let sent: usize = ALIASES.iter().map(|alias| previewed_writes(&bed.audit_of_oncall_in(alias), 1)).sum();
    assert_eq!(sent, count + 9, "as previewed, in {NAMESPACE} alone");
    println!("{pressed} keys");
}
