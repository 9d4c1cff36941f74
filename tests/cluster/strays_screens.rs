//! The second incident through the screens, with keys alone.

use crate::bed::Bed;
use crate::strays::{ALIASES, NAMESPACE, TRUSTED, number, pods, strays, total, written};
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
}

#[test]
fn roll_back_prove_and_delete_in_few_keys() {
    let Some(bed) = Bed::start_with_strays(40, 3600) else { return };
    let tool = Tool::on(&bed);
    let count = total(&bed, "strays");
    let terminal = Start::on(&bed, LARGE, &tool.file("journal")).env("LANG", "C.UTF-8").open();
    let mut keys = Keys { terminal, pressed: 0 };
    keys.terminal.see_all(&[
        "[1 Overview]",
        "BROKEN since",
        &format!("{count} pods of jobs outside test-pods"),
        "NEXT plan rollback",
    ]);

    // Arming is once an incident, by the name that people say.
    let context = bed.fact("context").rsplit(['_', '/', '@', ':']).next().expect("a name").to_owned();
    keys.press("A");
    keys.terminal.see(&format!("Type `{context}`"));
    keys.press(&context).press(ENTER);
    keys.terminal.see("ARMED 60m");
    keys.press("p");
    keys.terminal.see_all(&["[5 Plan]", "roll 9 component(s) back to", "last four characters"]);
    assert!(written(&bed, TRUSTED, 0).is_empty());
    let word = keys.terminal.confirmation();
    assert!(bed.fact("oldTag").ends_with(&word) && word.len() == 4, "{word}");
    keys.press(&word).press(ENTER);
    keys.terminal.see_all(&["[6 Run]", "verified", "9 component(s) Ready on", "NEXT plan delete-strays"]);
    assert_eq!(written(&bed, TRUSTED, 0).len(), 9);

    keys.press("3");
    keys.terminal.see_all(&["[3 Strays]", "GATE may be deleted"]);
    keys.press("i").press("p");
    keys.terminal.see_all(&["[5 Plan]", &format!("delete {count} stray pod(s)"), "To run it, type"]);
    let word = keys.terminal.confirmation();
    keys.press(&word).press(ENTER);
    keys.terminal.see_all(&["[6 Run]", "verified", "the strays are gone"]);
    assert!(keys.pressed < 40, "{} keys", keys.pressed);
    keys.terminal.press("1").see_all(&["[1 Overview]"]);
    keys.terminal.press("q");
    let ended = keys.terminal.end();
    ended.is_clean();
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert_eq!(number(&strays(&tool), "/total"), 0);
    let deletes: usize = ALIASES.iter().map(|alias| written(&bed, alias, 0).len()).sum();
    assert_eq!(deletes, count + 9);
    assert!(ALIASES.iter().all(|alias| !pods(&bed, alias, NAMESPACE).is_empty()), "components and neighbours stay");
}
