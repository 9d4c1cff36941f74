//! A plan that was asked for before all was read, and a checkconfig that gives no answer.

use prow_breakglass::model::{Failure, FailureKind, Snapshot, Source};
use prow_breakglass::tui::Effect;
use prow_breakglass::tui::app::{Planning, Screen, Stage};

use crate::hands::{Hands, SMALL, WIDE};
use crate::support;

const LOG: &str = "logs of prow/hook-5d9c7d6b4-x2x4z (hook)";

/// One of the first pictures of the program: not all is read yet.
fn starting() -> Snapshot {
    let mut snapshot = support::incident();
    snapshot.reading = vec![LOG.to_owned(), "checkconfig".to_owned()];
    snapshot
}

fn plans(hands: &Hands) -> usize {
    hands.effects.iter().filter(|effect| matches!(effect, Effect::Plan { .. })).count()
}

#[test]
fn a_plan_waits_for_what_is_being_read_and_is_made_from_the_newest_picture() {
    for size in [SMALL, WIDE] {
        let mut hands = Hands::new(starting(), size);
        hands.keys("p");
        assert_eq!((hands.app.screen, plans(&hands)), (Screen::Plan, 0));
        let text = hands.text().split_whitespace().collect::<Vec<_>>().join(" ");
        for words in [LOG, "checkconfig", "10 s at most", "Esc leaves"] {
            assert!(text.contains(words), "no {words:?} in\n{text}");
        }
        // Another picture in between changes nothing, nor do keys.
        hands.tick("2019-01-23T16:11:01Z");
        hands.see(starting());
        hands.keys("p").keys("1").keys("5");
        assert_eq!(plans(&hands), 0);
        hands.see(support::incident());
        assert_eq!(plans(&hands), 1);
        let of_newest = hands
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Plan { snapshot, .. } if snapshot.reading.is_empty()));
        assert!(of_newest, "{:?}", hands.effects);
        assert!(matches!(hands.app.planning, Planning::Ready(_)), "{}", hands.text());
        // No second one with the next picture.
        hands.see(support::incident());
        assert_eq!(plans(&hands), 1);
    }
}

#[test]
fn it_waits_no_longer_than_ten_seconds() {
    let mut hands = Hands::new(starting(), SMALL);
    hands.keys("p");
    for _ in 0..9 {
        hands.tick("2019-01-23T16:11:01Z");
        assert!(matches!(hands.app.planning, Planning::Making { stage: Stage::Waiting { .. }, .. }));
    }
    hands.tick("2019-01-23T16:11:02Z");
    assert_eq!(plans(&hands), 1);
    // What it needs and does not know, it refuses itself; here that is nothing.
    assert!(matches!(hands.app.planning, Planning::Ready(_)), "{}", hands.text());
}

#[test]
fn who_leaves_gets_no_plan() {
    let mut hands = Hands::new(starting(), SMALL);
    hands.keys("p").escape();
    assert_eq!(hands.app.screen, Screen::Overview);
    hands.see(support::incident());
    for _ in 0..20 {
        hands.tick("2019-01-23T16:11:02Z");
    }
    assert!(plans(&hands) == 0 && matches!(hands.app.planning, Planning::Empty));
    hands.keys("p");
    assert!(matches!(hands.app.planning, Planning::Ready(_)), "asked for anew, it is made at once");
}

#[test]
fn a_checkconfig_that_gives_no_answer_is_seen_and_stops_nobody() {
    let mut snapshot = support::incident();
    let error =
        Failure::new(FailureKind::Usage, "/opt/checkconfig is no checkconfig").cause("it accepts what no Prow loads");
    snapshot.checkconfig = Some(Source::Lost { error, last: None });
    for size in [SMALL, WIDE] {
        let mut hands = Hands::new(snapshot.clone(), size);
        assert!(hands.text().contains("checkconfig: LOST /opt/checkconfig is no checkconfig"), "{}", hands.text());
        hands.keys("p");
        let text = hands.text().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("WARN"), "{text}");
        assert!(text.contains("checkconfig gave no answer (/opt/checkconfig is no checkconfig: it accepts"), "{text}");
        // Mended meanwhile.
        hands.escape();
        hands.see(support::incident());
        assert!(!hands.text().contains("checkconfig"), "{}", hands.text());
        hands.keys("p");
        assert!(!hands.text().contains("gave no answer"), "{}", hands.text());
    }
}

#[test]
fn only_what_writes_a_configuration_waits_for_the_word_of_a_checkconfig() {
    let mut snapshot = support::incident();
    snapshot.reading = vec!["checkconfig".to_owned()];
    let mut hands = Hands::new(snapshot.clone(), SMALL);
    hands.keys("p");
    assert_eq!(plans(&hands), 0, "sync-config waits");
    // A rollback does not.
    let mut hands = Hands::new(Snapshot { reading: snapshot.reading, ..support::strays::strays(3, 2) }, SMALL);
    hands.keys("4p");
    assert_eq!(plans(&hands), 1, "{}", hands.text());
}
