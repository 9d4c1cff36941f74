//! The diff on the Config screen: what its keys do, and that a large one is shown at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossterm::event::KeyCode;
use prow_breakglass::model::{Key, Snapshot, Source};
use prow_breakglass::present::{Row, Shape};
use prow_breakglass::tui::app::{Asked, ConfigPane};
use prow_breakglass::tui::{Effect, Msg, update};
use ratatui::style::{Color, Modifier};

use crate::hands::{Hands, SMALL, WIDE};
use crate::pictures::style_of;
use crate::support;

const KEY: &str = "presets.yaml";

/// The incident with another value of presets.yaml, live and in all revisions.
fn with(live: &[u8], git: &[u8]) -> Snapshot {
    let mut snapshot = support::incident();
    let Source::Known { value: maps, .. } = &mut snapshot.service.config_maps else { panic!("known ConfigMaps") };
    let map = maps.get_mut(&Key::new(support::NAMESPACE, "job-config")).expect("job-config");
    map.values.insert(KEY.to_owned(), live.to_vec());
    let Source::Known { value: desired, .. } = &mut snapshot.desired else { panic!("a known repository") };
    let candidates = std::iter::once(&mut desired.head).chain(&mut desired.candidates);
    for maps in candidates.filter_map(|candidate| candidate.config_maps.as_mut().ok()) {
        for map in Arc::make_mut(maps) {
            if let Some(entry) = map.entries.get_mut(KEY) {
                entry.bytes = git.to_vec();
            }
        }
    }
    snapshot
}

/// On the diff of presets.yaml.
fn at_diff(live: &[u8], git: &[u8], size: (u16, u16)) -> Hands {
    let mut hands = Hands::new(with(live, git), size);
    hands.keys("2").enter().enter();
    assert_eq!((hands.app.config.key.as_deref(), hands.app.config.pane), (Some(KEY), ConfigPane::Diff));
    hands
}

fn jobs(count: usize, changed: &[usize]) -> String {
    let job = |n| {
        let image = if changed.contains(&n) { "v2" } else { "v1" };
        format!(
            "- name: job-{n}\n  image: gcr.io/jobs:{image}\n  args:\n  - --one\n  - --two\n  - --three\n  - --four\n"
        )
    };
    (0..count).map(job).collect()
}

#[test]
fn changes_are_walked_through() {
    let (live, git) = (jobs(100, &[]), jobs(100, &[3, 50, 97]));
    let mut hands = at_diff(live.as_bytes(), git.as_bytes(), SMALL);
    assert!(hands.text().contains("3 changes | 3 around each"), "{}", hands.text());
    let seen = |hands: &Hands, place: &str, job: usize| {
        let text = hands.text();
        assert!(text.contains(place) && text.contains(&format!("job-{job}")), "{place}, job {job}\n{text}");
    };
    hands.keys("]");
    seen(&hands, "change 1 of 3", 3);
    hands.keys("]]");
    seen(&hands, "change 3 of 3", 97);
    hands.keys("]");
    assert_eq!(hands.app.notice.as_deref(), Some("that is the last change"));
    hands.keys("[");
    seen(&hands, "change 2 of 3", 50);
    // More lines around it: it stays in sight.
    hands.keys("+++");
    seen(&hands, "change 2 of 3 | 25 around each", 50);
    hands.keys("++");
    seen(&hands, "change 2 of 3 | all lines", 50);
    hands.keys("+");
    assert_eq!(hands.app.notice.as_deref(), Some("all lines are shown"));
}

#[test]
fn context_goes_down_to_nothing() {
    let (live, git) = (jobs(10, &[]), jobs(10, &[5]));
    let mut hands = at_diff(live.as_bytes(), git.as_bytes(), SMALL);
    hands.keys("--");
    let rows = hands.app.config.diffing.sheet().expect("a diff").rows.to_vec();
    assert!(matches!(rows[..], [Row::Hunk { .. }, Row::Changed { .. }, Row::Changed { .. }]), "{rows:?}");
    hands.keys("-");
    assert_eq!(hands.app.notice.as_deref(), Some("none are shown"));
}

#[test]
fn search_goes_round_and_escape_ends_it_first() {
    let (live, git) = (jobs(40, &[]), jobs(40, &[10, 30]));
    let mut hands = at_diff(live.as_bytes(), git.as_bytes(), SMALL);
    hands.keys("n");
    assert_eq!(hands.app.notice.as_deref(), Some("no search: /"));
    hands.keys("/GCR").enter();
    assert_eq!(hands.app.notice.as_deref(), Some("`GCR` is not in this diff"), "capitals count where there are some");
    hands.keys("/");
    hands.control('u').keys("gcr").enter();
    assert_eq!(hands.app.notice.as_deref(), Some("match 1 of 4"));
    hands.keys("nn");
    assert_eq!(hands.app.notice.as_deref(), Some("match 3 of 4"));
    hands.keys("nn");
    assert_eq!(hands.app.notice.as_deref(), Some("match 1 of 4, round the end"));
    hands.keys("N");
    assert_eq!(hands.app.notice.as_deref(), Some("match 4 of 4, round the end"));
    assert!(hands.text().contains("4 rows hold `gcr`"), "{}", hands.text());
    hands.escape();
    assert_eq!((hands.app.config.pane, hands.app.config.diffing.search.as_str()), (ConfigPane::Diff, ""));
    hands.escape();
    assert_eq!(hands.app.config.pane, ConfigPane::Keys);
}

#[test]
fn both_sides_need_room() {
    let (live, git) = (jobs(10, &[]), jobs(10, &[5]));
    let mut hands = at_diff(live.as_bytes(), git.as_bytes(), SMALL);
    hands.keys("d");
    assert_eq!(hands.app.notice.as_deref(), Some("side by side needs 100 columns"));
    let shape = |hands: &Hands| hands.app.config.diffing.sheet().expect("a diff").shape;
    assert_eq!(shape(&hands), Shape::Unified);
    let mut hands = at_diff(live.as_bytes(), git.as_bytes(), WIDE);
    assert_eq!(shape(&hands), Shape::Unified, "79 columns beside the keys");
    hands.keys("d");
    assert_eq!(shape(&hands), Shape::SideBySide);
    hands.tell(Msg::Resized(80, 24));
    assert_eq!(shape(&hands), Shape::Unified);
    hands.tell(Msg::Resized(120, 36));
    assert_eq!(shape(&hands), Shape::SideBySide, "as it was wanted");
    hands.keys("d");
    assert_eq!(shape(&hands), Shape::Unified);
    let hands = at_diff(live.as_bytes(), git.as_bytes(), (161, 36));
    assert_eq!(shape(&hands), Shape::SideBySide, "120 columns beside the keys");
}

#[test]
fn long_lines_say_that_they_go_on_and_can_be_followed() {
    let line = |end: &str| format!("args: {}{end}\n", "x".repeat(100));
    let mut hands = at_diff(line("old").as_bytes(), line("new").as_bytes(), SMALL);
    let text = hands.text();
    assert!(text.contains("x…") && !text.contains("xnew"), "{text}");
    hands.press(KeyCode::Right).press(KeyCode::Right).press(KeyCode::Right).press(KeyCode::Right);
    let text = hands.text();
    assert!(text.contains("- …xxx") && text.contains("xxold") && text.contains("xxnew"), "{text}");
    assert!(text.contains("| from column 32"), "no further than it goes: {text}");
    hands.press(KeyCode::Left).press(KeyCode::Left).press(KeyCode::Left).press(KeyCode::Left);
    assert!(hands.text().contains("+ args: x"), "{}", hands.text());
}

#[test]
fn words_and_yaml_have_looks_of_their_own() {
    let live = b"# all of it\nimage: \"a\"\nname: job w1 here\n";
    let git = b"# all of it\nimage: \"a\"\nname: job w2 here\n";
    let hands = at_diff(live, git, WIDE);
    let word = style_of(&hands, "w2");
    assert_eq!(word.fg, Some(Color::Green));
    assert!(word.add_modifier.contains(Modifier::UNDERLINED));
    assert!(!style_of(&hands, "name: job w2").add_modifier.contains(Modifier::UNDERLINED), "its key did not change");
    assert_eq!(style_of(&hands, "image").fg, Some(Color::Cyan));
    assert_eq!(style_of(&hands, "\"a\"").fg, Some(Color::Yellow));
    assert!(style_of(&hands, "# all").add_modifier.contains(Modifier::DIM));
}

#[test]
fn binary_and_packed_values_say_what_they_are() {
    let hands = at_diff(&[0xff, 0xfe], b"text\n", SMALL);
    assert!(hands.text().contains("binary: 2 bytes live, 5 bytes in git"), "{}", hands.text());
    let packed = prow_breakglass::prow::gzip::deflate(b"a: 1\n");
    let hands = at_diff(&packed, b"a: 2\n", SMALL);
    assert!(hands.text().contains("live: gzip decoded, 25 bytes stored"), "{}", hands.text());
    assert!(hands.text().contains("- a: 1"), "{}", hands.text());
}

#[test]
fn escapes_in_a_value_reach_no_terminal() {
    let text = at_diff(b"a: \x1b[2J\xe2\x80\xae\n", b"a: 1\n", SMALL).text();
    assert!(!text.contains('\x1b') && !text.contains('\u{202e}'), "{text}");
}

#[test]
fn a_large_value_is_compared_outside_and_drawn_row_by_row() {
    let (live, git) = (jobs(24_000, &[]), jobs(24_000, &[5, 12_000, 23_990]));
    assert!(live.len() > 2_000_000, "{}", live.len());
    let mut hands = Hands::new(with(live.as_bytes(), git.as_bytes()), WIDE);
    let effects = update(
        &mut hands.app,
        Msg::Command(prow_breakglass::tui::msg::Command::Show(prow_breakglass::tui::app::Screen::Config)),
    );
    let [Effect::Compare { of, seen }] = &effects[..] else { panic!("{effects:?}") };
    assert!(hands.text().contains("comparing"), "{}", hands.text());
    // Other keys may be looked at meanwhile; what is answered late is not shown for them.
    hands.keys("l");
    let comparison = Arc::new(of.compare(seen, Duration::from_secs(30)));
    hands.tell(Msg::Compared { of: of.clone(), comparison });
    assert_eq!(hands.app.config.diffing.diff.as_ref().map(|diff| diff.asked), Some(Asked::Answered));
    hands.enter().enter().keys("+++++");
    assert_eq!(hands.app.config.diffing.sheet().map(|sheet| sheet.rows.len()), Some(24_000 * 7 + 4));
    // All rows drawn in a hundred frames would take minutes.
    let begun = Instant::now();
    for _ in 0..50 {
        hands.keys("]").draw();
        hands.keys("G").draw();
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "100 frames took {:?}", begun.elapsed());

    // A newer picture of the same content is the same diff.
    let before = hands.effects.len();
    let mut newer = with(live.as_bytes(), git.as_bytes());
    let Source::Known { value: maps, .. } = &mut newer.service.config_maps else { panic!("known ConfigMaps") };
    maps.get_mut(&Key::new(support::NAMESPACE, "job-config")).expect("job-config").resource_version = "99".to_owned();
    hands.see(newer);
    assert_eq!(hands.effects.len(), before, "nothing is compared again");
    assert!(hands.app.config.diffing.top > 0, "and nothing moves");
}
