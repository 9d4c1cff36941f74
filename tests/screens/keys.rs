//! What keys do, and above all what they do not.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use proptest::prelude::*;
use prow_breakglass::tui::app::{ConfigPane, Modal, Mode, Picture, Planning, Screen};
use prow_breakglass::tui::msg::{Exit, Signal};
use prow_breakglass::tui::{Effect, Msg};

use crate::hands::{Hands, SMALL, WIDE};
use crate::support;

#[test]
fn number_keys_and_escape_walk_between_screens() {
    let mut hands = Hands::on_incident(WIDE);
    for (number, screen) in (1_usize..7).zip(Screen::ALL).rev() {
        assert_eq!(hands.keys(&number.to_string()).app.screen, screen);
    }
    for key in ["2", "3", "4", "5", "6"] {
        hands.keys(key).escape();
        assert_eq!(hands.app.screen, Screen::Overview, "{key} Esc");
    }
    hands.escape().escape().escape();
    assert!(hands.effects.is_empty(), "Esc never quits: {:?}", hands.effects);
}

#[test]
fn unbuilt_screens_have_no_tabs() {
    let text = Hands::on_incident(WIDE).text();
    for name in ["Runbook", "Timeline"] {
        assert!(!text.contains(name), "{name}");
    }
}

#[test]
fn a_plan_is_made_and_previewed_while_read_only_and_cannot_start() {
    let mut hands = Hands::on_incident(WIDE);
    hands.keys("p");
    assert_eq!(hands.app.screen, Screen::Plan);
    assert!(matches!(hands.app.planning, Planning::Ready(_)));
    assert!(hands.effects.iter().any(|effect| matches!(effect, Effect::Preview(_))));
    assert!(hands.text().contains("A to arm first"));
    hands.keys("yes").enter().keys("job-config").enter();
    assert_eq!(hands.writes(), 0);
}

#[test]
fn arming_takes_the_name_typed_by_hand() {
    let mut hands = Hands::on_incident(WIDE);
    hands.keys("A").enter();
    assert!(matches!(hands.app.modals.last(), Some(Modal::Arm { .. })), "an empty Enter does nothing");
    hands.keys("prow-build").enter();
    assert_eq!(hands.app.mode, Mode::ReadOnly);
    assert!(hands.text().contains("that is not it"));
    hands.tell(Msg::Paste("prow-services".to_owned()));
    hands.enter();
    assert_eq!(hands.app.mode, Mode::ReadOnly, "paste is ignored");
    hands.keys("prow-services").enter();
    assert!(matches!(hands.app.mode, Mode::Armed { .. }));
    hands.keys("A");
    assert_eq!(hands.app.mode, Mode::ReadOnly, "A ends it");
}

#[test]
fn only_the_words_and_enter_start_a_run() {
    let mut hands = Hands::on_incident(WIDE);
    hands.arm().keys("p");
    let word = hands.app.confirmable().expect("armed and previewed").plan.confirmation.word();
    hands.enter().enter();
    assert_eq!(hands.writes(), 0, "an empty Enter does nothing");
    hands.tell(Msg::Paste(word.clone()));
    hands.enter();
    assert_eq!(hands.writes(), 0, "paste is ignored");
    hands.keys("no").enter();
    assert_eq!(hands.writes(), 0);
    assert!(hands.text().contains("those are not the words"), "{}", hands.text());
    hands.keys(&word);
    assert_eq!(hands.writes(), 0, "not before Enter");
    hands.enter();
    assert_eq!(hands.writes(), 1);
    assert_eq!(hands.app.screen, Screen::Run);
    hands.keys("5").keys(&word).enter();
    assert_eq!(hands.writes(), 1, "a plan starts once");
}

#[test]
fn leaving_the_plan_forgets_what_was_typed() {
    let mut hands = Hands::on_incident(WIDE);
    hands.arm().keys("p");
    let word = hands.app.confirmable().expect("armed and previewed").plan.confirmation.word();
    hands.keys(&word).escape().keys("5").enter();
    assert_eq!(hands.writes(), 0);
}

#[test]
fn nothing_is_typed_or_run_while_the_screen_is_too_small_to_see_it() {
    let mut hands = Hands::on_incident(WIDE);
    hands.arm().keys("p");
    let word = hands.app.confirmable().expect("armed and previewed").plan.confirmation.word();
    let (half, rest) = word.split_at(word.len() / 2);
    hands.keys(half);
    hands.tell(Msg::Resized(40, 10));
    hands.keys(rest).enter().keys(&word).enter().escape().keys("p1A");
    assert_eq!((hands.writes(), hands.app.screen), (0, Screen::Plan));
    hands.tell(Msg::Resized(120, 36));
    hands.keys(rest).enter();
    assert_eq!(hands.writes(), 0, "the half typed before is forgotten");
    hands.keys(&word).enter();
    assert_eq!(hands.writes(), 1);
}

#[test]
fn arming_begins_anew_after_the_screen_was_too_small() {
    let mut hands = Hands::on_incident(WIDE);
    hands.keys("Aprow-serv");
    hands.tell(Msg::Resized(40, 10));
    hands.keys("ices").enter();
    hands.tell(Msg::Resized(80, 24));
    hands.keys("ices").enter();
    assert_eq!(hands.app.mode, Mode::ReadOnly);
}

#[test]
fn a_screen_too_small_is_left_or_its_run_stopped() {
    let mut hands = Hands::on_incident((40, 10));
    for line in hands.text().lines() {
        assert!(!line.ends_with('…'), "{line}");
    }
    assert!(hands.text().contains("leave (q)"), "{}", hands.text());
    hands.keys("q");
    assert!(matches!(hands.last_effect(), Some(Effect::Quit(Exit::Quit))));
    hands.control('c');
    assert!(matches!(hands.last_effect(), Some(Effect::Quit(Exit::Interrupted))));

    let mut hands = Hands::on_incident(WIDE);
    hands.arm().keys("p").confirm();
    hands.run_begins();
    hands.tell(Msg::Resized(40, 10));
    assert!(hands.text().contains("A run goes on"), "{}", hands.text());
    hands.control('c');
    assert!(hands.text().contains("Stop the run?"), "{}", hands.text());
    hands.keys("y");
    assert!(matches!(hands.last_effect(), Some(Effect::StopRun { .. })));
}

#[test]
fn what_was_typed_beyond_the_words_is_no_command() {
    let mut hands = Hands::on_incident(WIDE);
    hands.arm().keys("p");
    let word = hands.app.confirmable().expect("armed and previewed").plan.confirmation.word();
    hands.keys(&word);
    for code in [KeyCode::Enter, KeyCode::Char('3'), KeyCode::Char('f'), KeyCode::Char('q'), KeyCode::Esc] {
        hands.unseen(KeyEvent::new(code, KeyModifiers::NONE));
    }
    assert_eq!(hands.writes(), 1);
    assert_eq!((hands.app.screen, hands.app.modals.len()), (Screen::Run, 0));
    // A run can be stopped at once all the same.
    hands.unseen(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert_eq!(hands.app.modals, [Modal::AskStop]);
    hands.tell(Msg::Drawn);
    hands.escape().keys("3");
    assert_eq!(hands.app.screen, Screen::Strays, "once it was seen, keys mean what they mean");
}

#[test]
fn help_and_quit_are_always_told() {
    for size in [SMALL, WIDE] {
        for keys in ["1", "2", "3", "4", "5", "6", "p", "1?"] {
            let mut hands = Hands::on_incident(size);
            hands.keys(keys);
            hands.app.notice = Some("something to say".to_owned());
            let text = hands.text();
            assert!(text.contains("something to say"), "{text}");
            assert!(text.contains("? help  q quit"), "{keys} at {size:?}\n{text}");
        }
    }
}

#[test]
fn the_key_that_opens_the_help_closes_it() {
    let mut hands = Hands::on_incident(SMALL);
    hands.keys("?");
    assert!(matches!(hands.app.modals.as_slice(), [Modal::Help { .. }]));
    hands.keys("?");
    assert!(hands.app.modals.is_empty());
    hands.enter().keys("??");
    assert!(matches!(hands.app.modals.as_slice(), [Modal::Detail { .. }]), "what was below it stays");
}

#[test]
fn a_key_held_down_is_no_second_answer() {
    let mut hands = Hands::on_incident(WIDE);
    hands.arm().keys("p");
    let word = hands.app.confirmable().expect("armed and previewed").plan.confirmation.word();
    hands.keys(&word);
    hands.key(KeyEvent::new_with_kind(KeyCode::Enter, KeyModifiers::NONE, KeyEventKind::Repeat));
    assert_eq!(hands.writes(), 0);
}

#[test]
fn an_armed_session_expires_when_idle() {
    let mut hands = Hands::on_incident(WIDE);
    hands.arm();
    hands.tick("2019-01-23T17:00:00Z");
    assert!(matches!(hands.app.mode, Mode::Armed { .. }));
    hands.keys("j");
    hands.tick("2019-01-23T17:59:59Z");
    assert!(matches!(hands.app.mode, Mode::Armed { .. }), "a key counts as life");
    hands.tick("2019-01-23T18:00:00Z");
    assert_eq!(hands.app.mode, Mode::ReadOnly);
    assert!(hands.text().contains("60 idle minutes"));
}

#[test]
fn an_armed_session_does_not_expire_in_a_run() {
    let mut hands = Hands::on_incident(WIDE);
    hands.arm().keys("p").confirm();
    hands.run_begins();
    hands.tick("2019-01-23T20:00:00Z");
    assert!(matches!(hands.app.mode, Mode::Armed { .. }));
    assert!(hands.text().contains("ARMED, RUNNING"));
}

#[test]
fn quitting_and_stopping() {
    let mut hands = Hands::on_incident(WIDE);
    hands.keys("q");
    assert!(matches!(hands.last_effect(), Some(Effect::Quit(Exit::Quit))));
    hands.control('c');
    assert!(matches!(hands.last_effect(), Some(Effect::Quit(Exit::Interrupted))));
    assert_eq!(Exit::Interrupted.code(), 130);
    assert_eq!(Exit::Terminated.code(), 143);
    assert_eq!(Exit::HungUp.code(), 129);
    assert_eq!(Exit::Aborted.code(), 131);
}

#[test]
fn a_run_is_left_only_after_a_question() {
    let mut hands = Hands::on_incident(WIDE);
    hands.arm().keys("p").confirm();
    hands.run_begins();
    let before = hands.effects.len();
    hands.keys("q");
    assert_eq!(hands.app.modals, [Modal::AskQuit]);
    hands.keys("q").enter();
    assert_eq!(hands.app.modals, [Modal::AskQuit], "neither the key that asked nor Enter answers");
    hands.escape();
    assert!(hands.app.modals.is_empty());
    hands.control('c').control('c');
    assert_eq!(hands.app.modals, [Modal::AskStop]);
    assert_eq!(hands.effects.len(), before);
    hands.keys("y");
    assert!(matches!(hands.last_effect(), Some(Effect::StopRun { .. })));
    assert!(hands.text().contains("STOPPING"));
    hands.keys("qy");
    hands.run_ends();
    assert!(matches!(hands.last_effect(), Some(Effect::Quit(Exit::Quit))), "it leaves once the run has ended");
}

#[test]
fn signals_wait_for_the_object_in_flight() {
    for (signal, exit) in
        [(Signal::Terminate, Exit::Terminated), (Signal::HangUp, Exit::HungUp), (Signal::Interrupt, Exit::Interrupted)]
    {
        let mut hands = Hands::on_incident(WIDE);
        hands.arm().keys("p").confirm();
        hands.run_begins();
        hands.tell(Msg::Signal(signal));
        assert!(matches!(hands.last_effect(), Some(Effect::StopRun { .. })));
        hands.run_ends();
        assert!(matches!(hands.last_effect(), Some(Effect::Quit(left)) if *left == exit));
        let mut idle = Hands::on_incident(WIDE);
        idle.tell(Msg::Signal(signal));
        assert!(matches!(idle.last_effect(), Some(Effect::Quit(left)) if *left == exit));
    }
}

#[test]
fn a_run_cannot_be_suspended() {
    let mut hands = Hands::on_incident(WIDE);
    hands.control('z');
    assert!(matches!(hands.last_effect(), Some(Effect::Suspend)));
    hands.arm().keys("p").confirm();
    hands.run_begins();
    let before = hands.effects.len();
    hands.control('z');
    assert_eq!(hands.effects.len(), before);
    assert_eq!(hands.app.notice.as_deref(), Some("a run goes on"));
}

#[test]
fn selections_are_identities() {
    let mut hands = Hands::on_incident(WIDE);
    let ids: Vec<String> = hands.app.findings().iter().map(|finding| finding.id.clone()).collect();
    assert_eq!(hands.app.overview.finding.as_ref(), ids.first(), "the cause is selected first");
    hands.keys("j");
    assert_eq!(hands.app.overview.finding.as_ref(), ids.get(1));
    let selected = ids[1].clone();
    hands.keys("/").keys("no such finding").enter();
    assert!(hands.app.selected_finding().is_none());
    hands.enter();
    assert!(hands.app.modals.is_empty(), "Enter must not take row one of another list");
    hands.escape();
    assert_eq!(hands.app.selected_finding().map(|finding| &finding.id), Some(&selected));
    hands.see(support::healthy());
    assert!(hands.app.selected_finding().is_none(), "a vanished row is not replaced by its neighbour");
    assert!(hands.app.notice.as_deref().is_some_and(|notice| notice.starts_with("gone: ")));
}

#[test]
fn frozen_pictures_keep_collecting_and_plans_take_the_newest() {
    let mut hands = Hands::on_incident(WIDE);
    hands.keys("f");
    hands.see(support::healthy());
    assert!(hands.text().contains("BROKEN"));
    assert!(hands.text().contains("FROZEN"));
    hands.keys("f");
    assert!(hands.text().contains("HEALTHY"));
    let mut hands = Hands::on_incident(WIDE);
    hands.keys("f").keys("p");
    assert!(matches!(hands.app.picture, Picture::Live(_)));
}

#[test]
fn config_goes_deeper_with_enter_and_back_with_escape() {
    let mut hands = Hands::on_incident(SMALL);
    hands.keys("2").enter();
    assert_eq!(hands.app.config.pane, ConfigPane::Keys);
    hands.enter();
    assert_eq!(hands.app.config.pane, ConfigPane::Diff);
    hands.escape().escape();
    assert_eq!((hands.app.config.pane, hands.app.screen), (ConfigPane::Maps, Screen::Config));
    hands.keys("d");
    assert_eq!(hands.app.config.pane, ConfigPane::Diff);
}

#[test]
fn copying_takes_what_is_selected() {
    let mut hands = Hands::on_incident(WIDE);
    hands.keys("y");
    assert!(matches!(hands.last_effect(), Some(Effect::Copy(text)) if text.contains(support::FATAL)));
}

#[test]
fn the_help_names_every_key_of_the_table() {
    let mut hands = Hands::on_incident((120, 110));
    hands.keys("?");
    let text = hands.text();
    for binding in keymap_shown() {
        assert!(text.contains(binding), "{binding}\n{text}");
    }
    hands.escape();
    assert!(hands.app.modals.is_empty());
}

fn keymap_shown() -> Vec<&'static str> {
    prow_breakglass::tui::keymap::KEYS.iter().map(|binding| binding.shown).collect()
}

#[test]
fn old_plans_do_not_replace_newer_ones() {
    let mut hands = Hands::on_incident(WIDE);
    hands.keys("p");
    let Planning::Ready(sheet) = &hands.app.planning else { panic!("no plan") };
    let (id, stale) = (sheet.plan.id.clone(), hands.app.ticket - 1);
    let failure = prow_breakglass::model::Failure::new(prow_breakglass::model::FailureKind::Refused, "too late");
    hands.tell(Msg::Planned { ticket: stale, plan: Err(failure) });
    assert!(matches!(&hands.app.planning, Planning::Ready(sheet) if sheet.plan.id == id));
}

/// Any key of a keyboard but `s`, which the words of confirmation and the context's name need.
fn any_key() -> impl Strategy<Value = KeyEvent> {
    let code = prop_oneof![
        6 => proptest::char::range(' ', '~').prop_filter("not s", |c| *c != 's').prop_map(KeyCode::Char),
        4 => prop_oneof![
            Just(KeyCode::Enter), Just(KeyCode::Esc), Just(KeyCode::Tab), Just(KeyCode::BackTab), Just(KeyCode::Up),
            Just(KeyCode::Down), Just(KeyCode::PageUp), Just(KeyCode::PageDown), Just(KeyCode::Home),
            Just(KeyCode::End), Just(KeyCode::Backspace), Just(KeyCode::Delete), Just(KeyCode::F(1)),
        ],
        3 => prop_oneof![Just('p'), Just('A'), Just('y'), Just('3'), Just('2'), Just('u')].prop_map(KeyCode::Char),
    ];
    let modifiers =
        prop_oneof![8 => Just(KeyModifiers::NONE), 1 => Just(KeyModifiers::CONTROL), 1 => Just(KeyModifiers::ALT)];
    (code, modifiers).prop_map(|(code, modifiers)| KeyEvent::new(code, modifiers))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    /// 10,000 keys, half of the cases in an armed session: without the typed words nothing is ever written, and every
    /// frame can be drawn.
    #[test]
    fn a_monkey_writes_nothing(keys in prop::collection::vec(any_key(), 500), armed in any::<bool>()) {
        let mut hands = Hands::on_incident(SMALL);
        if armed {
            hands.arm();
        }
        for (n, key) in keys.iter().enumerate() {
            hands.key(*key);
            if n % 97 == 0 {
                hands.draw();
            }
        }
        prop_assert_eq!(hands.writes(), 0);
    }
}
