//! Each drill in a terminal, by a person who knows nothing and does what the screen says.

use prow_breakglass::drill::catalogue;

use crate::program::Stage;
use crate::terminal::Terminal;

/// So many keys must do.
const MOST_KEYS: usize = 40;

/// What the screen says to do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    /// `NEXT … (D) …`: this should be aborted in Deck, which is a key here.
    Deck(String),
    /// `NEXT plan …`: a repair by its name, after a run whose promise holds or not yet.
    Plan { repair: String, verified: bool },
    /// The plan's words.
    Words(String),
    /// The drill is over.
    Over,
}

fn told(screen: &str) -> Option<Told> {
    if screen.contains("The drill is over") {
        return Some(Told::Over);
    }
    let lines: Vec<&str> = screen.lines().map(str::trim).collect();
    if screen.contains("[5 Plan]") {
        let at = lines.iter().position(|line| line.contains("To run it, type"))?;
        // Not before the field takes them, nor while a word is in it.
        let field = lines.get(at + 2)?;
        return (*field == "> _").then(|| Told::Words(lines[at + 1].to_owned()));
    }
    let next = lines.iter().find_map(|line| line.strip_prefix("NEXT "))?;
    if next.contains("(D)") {
        return Some(Told::Deck(next.to_owned()));
    }
    let next = next.strip_prefix("plan ")?;
    let repair = next.split([' ', ':']).next()?.to_owned();
    Some(Told::Plan { repair, verified: lines.iter().any(|line| line.starts_with("verified ")) })
}

fn proposed(screen: &str) -> Option<()> {
    matches!(told(screen)?, Told::Plan { .. } | Told::Deck(_)).then_some(())
}

/// Plays a drill to its end as the screen says; gives what is printed then, and the number of keys. What is `hidden` must not be
/// on any screen before.
fn follow(args: &[&str], hidden: &[String]) -> (String, usize) {
    let stage = Stage::new();
    let mut terminal = Terminal::start(&stage, args);
    terminal.hidden = hidden.to_vec();
    terminal.until("the first proposal", proposed);
    terminal.press("A");
    let word = terminal.until("what arms", |screen| {
        let rest = screen.split("Type `").nth(1)?;
        rest.split('`').next().map(str::to_owned)
    });
    terminal.press(&format!("{word}\r"));
    terminal.until("being armed", |screen| screen.contains("| ARMED").then_some(()));
    let (mut last, mut aborted) = (String::new(), None);
    loop {
        // The same again only where it worked the first time: else the picture is older than the run.
        let new = |told: &Told| match told {
            Told::Deck(next) => aborted.as_ref() != Some(next),
            Told::Plan { repair, verified } => *repair != last || *verified,
            Told::Words(_) | Told::Over => true,
        };
        match terminal.until("something to do", |screen| told(screen).filter(new)) {
            Told::Plan { repair, .. } => {
                last = repair;
                terminal.press("p");
                // The plan's words, or an end meanwhile; where it is refused, time may help.
                terminal.until("the plan", |screen| screen.contains("[5 Plan]").then_some(()));
            }
            Told::Deck(next) => {
                terminal.press("D");
                terminal.until("Deck's answer", |screen| screen.contains("Deck aborted ").then_some(()));
                aborted = Some(next);
            }
            Told::Words(words) => {
                terminal.press(&format!("{words}\r"));
                terminal.until("the run", |screen| screen.contains("[6 Run]").then_some(()));
            }
            Told::Over => break,
        }
    }
    terminal.hidden.clear();
    terminal.press("q");
    let code = terminal.ended();
    assert_eq!(code, 0, "{}", terminal.all);
    assert!(!terminal.screen.screen().alternate_screen(), "the normal screen");
    assert_eq!(stage.left(), Vec::<String>::new(), "the journal goes with the drill");
    (terminal.text(), terminal.pressed)
}

/// Gives the scorecard.
fn plays_in_few_keys(args: &[&str], hidden: &[String]) -> String {
    let (text, keys) = follow(args, hidden);
    assert!(keys < MOST_KEYS, "{keys} keys");
    assert!(text.contains("SCORECARD"), "{text}");
    assert!(text.contains("Prow is healthy, and nothing is left behind."), "{text}");
    assert!(text.contains("ProwJobs lost 0") && text.contains("mistakes 0"), "{text}");
    text
}

#[test]
fn the_january_outage() {
    plays_in_few_keys(&["drill", "2019-01-23", "--speed", "10"], &[]);
}

/// The default.
#[test]
fn the_february_outage() {
    plays_in_few_keys(&["drill", "--speed", "10"], &[]);
}

#[test]
fn the_compressed_plugins() {
    plays_in_few_keys(&["drill", "bad-plugins", "--speed", "10"], &[]);
}

/// What would tell which drill a surprise is: names and titles.
fn names_of_drills() -> Vec<String> {
    let drills = catalogue::all().expect("drills").into_iter().filter(|drill| drill.file.surprise.is_some());
    drills
        .flat_map(|drill| [format!("drill {}", drill.name), format!("DRILL {}", drill.name), drill.file.title])
        .collect()
}

/// To its end, and no screen tells which drill it is; the scorecard does.
fn surprises(seed: &str, name: &str) {
    let scorecard = plays_in_few_keys(&["drill", "surprise", "--seed", seed, "--speed", "10"], &names_of_drills());
    assert!(scorecard.contains(&format!("SCORECARD  drill {name} (surprise {seed}): ")), "{scorecard}");
}

#[test]
fn a_surprise_that_is_the_compressed_plugins() {
    surprises("1", "bad-plugins");
}

#[test]
fn a_surprise_that_is_the_february_outage() {
    surprises("2", "2019-02-05");
}

#[test]
fn a_surprise_that_is_the_january_outage() {
    surprises("3", "2019-01-23");
}

#[test]
fn a_surprise_that_is_left_early_tells_its_name_then() {
    let stage = Stage::new();
    let mut terminal = Terminal::start(&stage, &["drill", "surprise", "--seed", "3"]);
    terminal.hidden = names_of_drills();
    terminal.until("the first proposal", proposed);
    assert!(terminal.text().contains("DRILL surprise"), "{}", terminal.text());
    assert!(!terminal.hidden.iter().any(|name| terminal.all.contains(name)), "{}", terminal.all);
    terminal.hidden.clear();
    terminal.press("q");
    assert_eq!(terminal.ended(), 1, "it was left early");
    assert!(terminal.all.contains("drill 2019-01-23 (surprise 3)"), "{}", terminal.text());
    assert!(terminal.text().contains("Prow is still broken."), "{}", terminal.text());
}

#[test]
fn time_can_be_held() {
    let stage = Stage::new();
    let mut terminal = Terminal::start(&stage, &["drill", "healthy", "--speed", "100"]);
    terminal.until("the first picture", |screen| screen.contains("HEALTHY").then_some(()));
    assert!(terminal.text().contains("DRILL healthy x100"), "{}", terminal.text());
    terminal.press("P");
    terminal.until("the hold", |screen| screen.contains("DRILL healthy HELD").then_some(()));
    let clock = |screen: &str| screen.lines().next().and_then(|line| line.rsplit(' ').next()).map(str::to_owned);
    let held = clock(&terminal.text());
    terminal.press("?");
    // All of it: a frame may arrive in pieces.
    let is_whole = |screen: &str| screen.contains("hold the drill's time") && screen.contains("more: Down");
    terminal.until("the help", |screen| is_whole(screen).then_some(()));
    assert_eq!(clock(&terminal.text()), held);
    assert!(terminal.text().contains("Prow works. Look around"), "the story: {}", terminal.text());
    terminal.press("\x1b");
    terminal.until("the help gone", |screen| (!screen.contains("more: Down")).then_some(()));
    terminal.press("P");
    terminal.until("time going on", |screen| (screen.contains("x100") && clock(screen) != held).then_some(()));
    terminal.press("q");
    assert_eq!(terminal.ended(), 0);
}
