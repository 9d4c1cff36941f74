//! Screens as they are drawn, at 80x24 and 120x36.

use crossterm::event::KeyCode;
use prow_breakglass::model::Source;
use prow_breakglass::tui::Msg;
use prow_breakglass::tui::theme::{Charset, Palette, Theme};
use ratatui::style::{Color, Modifier};

use crate::hands::{Hands, SMALL, WIDE};
use crate::support::{self, at};

pub fn both(name: &str, prepare: impl Fn(&mut Hands), snapshot: fn() -> prow_breakglass::model::Snapshot) {
    for size in [SMALL, WIDE] {
        let mut hands = Hands::new(snapshot(), size);
        prepare(&mut hands);
        insta::assert_snapshot!(format!("{name}-{}x{}", size.0, size.1), hands.text());
    }
}

#[test]
fn overview() {
    both("overview-incident", |_| {}, support::incident);
    both("overview-healthy", |_| {}, support::healthy);
    both(
        "overview-components",
        |hands| {
            hands.press(crossterm::event::KeyCode::Tab);
        },
        support::incident,
    );
}

#[test]
fn config() {
    both(
        "config-maps",
        |hands| {
            hands.keys("2");
        },
        support::incident,
    );
    both(
        "config-diff",
        |hands| {
            hands.keys("2").enter().enter();
        },
        support::incident,
    );
    both(
        "config-diff-search",
        |hands| {
            hands.keys("2").enter().enter().keys("]/aws").enter();
        },
        support::incident,
    );
}

#[test]
fn both_sides_of_a_diff() {
    let mut hands = Hands::on_incident(WIDE);
    hands.keys("2").enter().enter().keys("d-");
    insta::assert_snapshot!("config-side-by-side-120x36", hands.text());
    // With the keys beside it, and without being asked for.
    let mut hands = Hands::on_incident((170, 36));
    hands.keys("2").enter().enter();
    insta::assert_snapshot!("config-side-by-side-170x36", hands.text());
}

#[test]
fn plan() {
    both(
        "plan-read-only",
        |hands| {
            hands.keys("p");
        },
        support::incident,
    );
    both(
        "plan-typing",
        |hands| {
            hands.arm().keys("pye");
        },
        support::incident,
    );
}

#[test]
fn run() {
    both(
        "run-verifying",
        |hands| {
            hands.arm().keys("p").confirm();
            hands.run_begins();
            hands.run_ends();
            hands.tick("2019-01-23T16:12:40Z");
            hands.see(support::written());
        },
        support::incident,
    );
}

#[test]
fn after_the_repair() {
    let healed = |hands: &mut Hands| {
        hands.arm().keys("p").confirm();
        hands.run_begins();
        hands.run_ends();
        hands.tick("2019-01-23T16:14:40Z");
        let mut well = support::healthy();
        well.taken_at = at("2019-01-23T16:14:39Z");
        hands.see(well);
    };
    both("run-verified", healed, support::incident);
    both(
        "overview-after",
        |hands| {
            healed(hands);
            hands.keys("1");
        },
        support::incident,
    );
}

#[test]
fn pop_ups() {
    both(
        "detail",
        |hands| {
            hands.enter();
        },
        support::incident,
    );
    both(
        "help",
        |hands| {
            hands.keys("?");
        },
        support::incident,
    );
    both(
        "arm",
        |hands| {
            hands.keys("Aprow");
        },
        support::incident,
    );
}

#[test]
fn lists_say_what_they_leave_out() {
    // Ten components, for eight of which there is room.
    let mut many = support::healthy();
    let Source::Known { value, .. } = &mut many.service.components else { panic!("known components") };
    while value.len() < 16 {
        let mut another = value[0].clone();
        another.object.name = format!("crier-{}", value.len());
        value.push(another);
    }
    let mut hands = Hands::new(many, SMALL);
    let text = hands.press(KeyCode::Tab).text();
    assert!(text.contains("COMPONENTS 16, not ready 0"), "{text}");
    assert!(text.contains("\n  and 6 more\n"), "{text}");
    let text = hands.keys("G").text();
    assert!(text.contains("\n  and 6 more (6 above)\n"), "{text}");

    let text = Hands::on_incident((80, 24)).keys("5").text();
    assert!(text.contains("on 4 Rollback."), "the advice is not cut: {text}");
}

#[test]
fn a_finding_is_told_in_full_where_there_is_room() {
    let mut hands = Hands::new(support::healthy(), SMALL);
    let snapshot = support::incident();
    let mut diagnosis = prow_breakglass::diagnose::diagnose(&snapshot);
    diagnosis.findings.truncate(1);
    hands.tell(Msg::Observed(snapshot.into(), diagnosis.into()));
    let text = hands.text();
    let findings = text.split("FINDINGS").nth(1).and_then(|rest| rest.split("COMPONENTS").next()).expect("findings");
    assert!(findings.contains("hook cannot start on its configuration") && !findings.contains('…'), "{text}");
}

#[test]
fn what_is_too_small_says_so() {
    let text = Hands::on_incident((79, 24)).text();
    assert!(text.contains("too small: 79x24, need 80x24"), "{text}");
    assert!(text.contains("--plain"), "{text}");
    for size in [(1, 1), (0, 0), (10, 3)] {
        Hands::on_incident(size).draw();
    }
}

#[test]
fn every_screen_tells_where_it_is() {
    for size in [SMALL, WIDE] {
        for screen in ["1", "2", "3", "4", "5", "6"] {
            let text = Hands::on_incident(size).keys(screen).text();
            for words in ["prow-services", "35.1.2.3", "oncall@example.org", "READ-ONLY", "6a70de1", "data: svc 1s"] {
                assert!(text.contains(words), "{words} on {screen} at {size:?}\n{text}");
            }
        }
    }
}

#[test]
fn without_utf8_everything_is_ascii() {
    let mut hands = Hands::on_incident(WIDE);
    hands.app.theme = Theme { palette: Palette::Ansi, charset: Charset::Ascii };
    for keys in ["1", "2", "3", "4", "5", "6", "?"] {
        let text = hands.keys(keys).text();
        assert!(text.is_ascii(), "{text}");
    }
}

/// Style of the first cell of some words on the screen.
pub fn style_of(hands: &Hands, words: &str) -> ratatui::style::Style {
    let text = hands.text();
    let (row, line) = text.lines().enumerate().find(|(_, line)| line.contains(words)).expect("the words are there");
    let column = line.split(words).next().map_or(0, |before| before.chars().count());
    let at = (u16::try_from(column).expect("a column"), u16::try_from(row).expect("a row"));
    hands.draw().cell(at).expect("a cell").style()
}

#[test]
fn colours_back_the_words() {
    let mut hands = Hands::on_incident(WIDE);
    assert_eq!(style_of(&hands, "BROKEN").fg, Some(Color::Red));
    assert_eq!(style_of(&hands, "WARN").fg, Some(Color::Yellow));
    assert_eq!(style_of(&hands, "READ-ONLY").fg, Some(Color::Green));
    hands.arm();
    assert!(style_of(&hands, "ARMED").add_modifier.contains(Modifier::REVERSED));
    assert_eq!(style_of(&Hands::new(support::healthy(), WIDE), "HEALTHY").fg, Some(Color::Green));
}

#[test]
fn no_color_leaves_the_terminals_own() {
    let mut hands = Hands::on_incident(WIDE);
    hands.app.theme = Theme { palette: Palette::Plain, charset: Charset::Utf8 };
    let buffer = hands.draw();
    assert!(buffer.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
}
