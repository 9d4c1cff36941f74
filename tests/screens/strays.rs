//! 2019-02-05 with keys: roll back, see the proof, delete; the gates check themselves.

use crossterm::event::KeyCode;
use prow_breakglass::model::{Alias, Failure, FailureKind, Outcome, RunEvent, RunSummary, Snapshot, Source};
use prow_breakglass::repair::{RepairId, Request};
use prow_breakglass::tui::Effect;
use prow_breakglass::tui::app::{Planning, Screen, Verification};
use prow_breakglass::tui::{Msg, astray::StraysPane};

use crate::hands::{Hands, SMALL, WIDE};
use crate::pictures::both;
use crate::support::at;
use crate::support::strays::{BAD_TAG, BUILD, GOOD_TAG, rolled_back, seen, strays};

fn incident() -> Snapshot {
    strays(371, 44)
}

fn repaired() -> Snapshot {
    rolled_back(strays(371, 44))
}

fn hands(snapshot: Snapshot) -> Hands {
    let mut hands = Hands::new(snapshot, WIDE);
    hands.tick("2019-02-05T17:27:42Z");
    hands
}

fn later(hands: &mut Hands, keys: &str) {
    hands.tick("2019-02-05T17:31:51Z");
    hands.keys(keys);
}

#[test]
fn screens() {
    let now = |hands: &mut Hands, keys: &str| {
        hands.tick("2019-02-05T17:27:42Z");
        hands.keys(keys);
    };
    both("strays-overview", |hands| now(hands, ""), incident);
    both("strays-incident", |hands| now(hands, "3"), incident);
    both(
        "strays-pods",
        |hands| {
            now(hands, "3");
            hands.enter().keys("jj");
        },
        incident,
    );
    both("strays-causes", |hands| now(hands, "3t"), incident);
    both("strays-refused", |hands| now(hands, "3p"), incident);
    both("strays-repaired", |hands| later(hands, "3"), repaired);
    both("strays-plan", |hands| later(hands, "3ip"), repaired);
    both("strays-run", |hands| ran(hands, "4"), incident);
    both("rollback", |hands| now(hands, "4"), incident);
    both("rollback-plan", |hands| now(hands, "4p"), incident);
    both(
        "rollback-other",
        |hands| {
            now(hands, "4");
            hands.press(KeyCode::Up);
        },
        incident,
    );
}

/// Rolled back, and seen to be.
fn ran(hands: &mut Hands, screen: &str) {
    hands.tick("2019-02-05T17:27:42Z");
    hands.arm().keys(screen).keys("p").confirm();
    runs(hands, "r-0001", "2019-02-05T17:30:00Z", 1);
    hands.tick("2019-02-05T17:31:51Z");
    hands.see(repaired());
}

/// The run of the plan on the screen ends well.
fn runs_well(hands: &mut Hands, run: &str, time: &str) {
    runs(hands, run, time, 0);
}

/// The run of the plan on the screen ends, with so many steps skipped.
fn runs(hands: &mut Hands, run: &str, time: &str, skipped: usize) {
    let plan = hands.app.run.as_ref().expect("a run").plan.clone();
    let (run, journal, at) = (run.to_owned(), "/journal".to_owned(), at(time));
    let title = plan.title.clone();
    hands.tell(Msg::Run(RunEvent::Started {
        run: run.clone(),
        title,
        steps: plan.steps.len(),
        at,
        journal: journal.clone(),
    }));
    for step in &plan.steps {
        let (n, object) = (step.n, step.write.object().clone());
        hands.tell(Msg::Run(RunEvent::StepStarted { n, object: object.clone(), at }));
        let status = "done".to_owned();
        let outcome = if n > skipped { Outcome::Done } else { Outcome::Skipped };
        hands.tell(Msg::Run(RunEvent::StepEnded { n, object, outcome, status, at }));
    }
    let summary = RunSummary { run, journal, done: plan.steps.len() - skipped, skipped, ..RunSummary::default() };
    hands.tell(Msg::Run(RunEvent::Ended { at, summary }));
}

#[test]
fn the_whole_chain_takes_few_keys_and_only_typed_words_write() {
    let mut hands = hands(incident());
    assert!(hands.text().contains("NEXT plan rollback"), "{}", hands.text());
    let mut keys = 0;
    let mut press = |hands: &mut Hands, text: &str| {
        keys += text.chars().count();
        for c in text.chars() {
            let code = if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) };
            hands.press(code);
        }
    };
    press(&mut hands, "Aprow-services\np");
    assert!(hands.text().contains("roll 8 component(s) back to v20190129-1b2c"), "{}", hands.text());
    assert_eq!(hands.writes(), 0);
    press(&mut hands, "1b2c\n");
    assert_eq!(hands.writes(), 1);
    runs_well(&mut hands, "r-0001", "2019-02-05T17:30:00Z");
    hands.tick("2019-02-05T17:31:51Z");
    hands.see(repaired());
    let seen = &hands.app.run.as_ref().expect("a run").verification;
    assert!(
        matches!(seen, Verification::Seen { state: prow_breakglass::diagnose::VerifyState::Holds, .. }),
        "{seen:?}"
    );
    press(&mut hands, "3ip");
    assert!(hands.text().contains("delete 415 stray pod(s): prow-build/default 371, prow-services/default 44"));
    assert_eq!(hands.writes(), 1);
    press(&mut hands, "415\n");
    assert_eq!(hands.writes(), 2);
    assert!(keys < 40, "{keys} keys");
    let Some(Effect::Start { plan, .. }) = hands.last_effect() else { panic!("a run") };
    assert_eq!(plan.plan().steps.len(), 415);
    runs_well(&mut hands, "r-0002", "2019-02-05T17:33:00Z");
    assert!(hands.text().contains("UNDO a deletion cannot be undone"), "{}", hands.text());
    hands.keys("u");
    assert!(!hands.effects.iter().any(|effect| matches!(effect, Effect::PlanUndo { .. })), "not of the run before it");
    assert_eq!(hands.app.notice.as_deref(), Some("a deletion cannot be undone"));
}

#[test]
fn steps_keep_their_rows_beside_what_comes_afterwards() {
    let mut hands = Hands::new(incident(), SMALL);
    hands.tick("2019-02-05T17:27:42Z");
    hands.arm().keys("4p").confirm();
    runs(&mut hands, "r-0001", "2019-02-05T17:30:00Z", 2);
    let text = hands.text();
    assert!(text.contains("DONE, 2 skipped"), "{text}");
    let steps = text.lines().filter(|line| line.contains("prow/deployment/")).count();
    assert!(steps >= 6, "{steps}\n{text}");
    for words in ["waiting for a picture newer", "NEXT", "UNDO", "more lines: Down"] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let text = hands.keys("G").text();
    assert!(text.contains("8 prow/deployment/tide"), "{text}");
}

#[test]
fn wrong_words_start_nothing() {
    let mut hands = hands(incident());
    hands.arm().keys("p").keys(GOOD_TAG).enter();
    hands.keys("yes").enter().keys("8").enter();
    assert_eq!(hands.writes(), 0);
}

#[test]
fn before_the_rollback_p_on_strays_says_why_not() {
    let mut hands = hands(incident());
    hands.arm().keys("3p");
    assert_eq!(hands.app.screen, Screen::Plan);
    let Planning::Refused { failure, .. } = &hands.app.planning else { panic!("{:?}", hands.app.planning) };
    assert!(failure.summary.contains("the cause is not gone"), "{failure}");
    assert!(hands.text().contains("plan rollback"), "{}", hands.text());
    assert_eq!(hands.writes(), 0);
}

fn last_request(hands: &Hands) -> Request {
    let requests = hands.effects.iter().rev().filter_map(|effect| match effect {
        Effect::Plan { request, .. } => Some(request.clone()),
        _ => None,
    });
    requests.into_iter().next().expect("a request")
}

#[test]
fn those_that_run_are_left_unless_asked_for() {
    let mut hands = hands(repaired());
    hands.keys("3p");
    assert_eq!((last_request(&hands).repair, last_request(&hands).include_running), (RepairId::DeleteStrays, false));
    assert!(hands.text().contains("delete 378 stray pod(s)"), "{}", hands.text());
    hands.escape().keys("3ip");
    assert!(last_request(&hands).include_running);
    hands.escape().keys("3ip");
    assert!(!last_request(&hands).include_running);
    hands.keys("6").keys("i");
    assert_eq!(hands.app.screen, Screen::Run, "elsewhere the key means nothing");
}

#[test]
fn what_names_a_flag_names_the_key_too() {
    let mut hands = hands(incident());
    assert!(hands.text().contains("NEXT plan rollback (p), but first"), "{}", hands.text());
    hands.see(repaired());
    assert!(hands.text().contains("NEXT plan delete-strays (p), but first"), "{}", hands.text());
    // `p` is told only where it plans the next step, not what the selected finding asks for.
    for n in 0..7 {
        let mut hands = Hands::new(incident(), WIDE);
        hands.keys(&"j".repeat(n));
        let told = hands.text().contains("NEXT plan rollback (p), but first");
        hands.keys("p");
        assert_eq!(told, last_request(&hands).repair == RepairId::Rollback, "finding {n}");
    }
    hands.keys("3p");
    let text = unwrapped(&hands);
    assert!(text.contains("--include-running deletes them as well); here: i on 3 Strays"), "{text}");
}

#[test]
fn another_tag_can_be_chosen_and_is_named() {
    let mut hands = hands(incident());
    hands.keys("4");
    assert_eq!(hands.app.rollback.tag.as_deref(), Some(GOOD_TAG), "the one of before is chosen at first");
    hands.keys("p");
    assert_eq!(last_request(&hands).to, None);
    hands.keys("4").press(KeyCode::Up);
    assert_eq!(hands.app.rollback.tag.as_deref(), Some(BAD_TAG));
    assert!(hands.text().contains("REFUSED all of these components ask for"), "{}", hands.text());
    hands.keys("p");
    assert_eq!(last_request(&hands).to.as_deref(), Some(BAD_TAG));
}

#[test]
fn the_warnings_of_a_plan_are_read_before_its_steps() {
    for size in [SMALL, WIDE] {
        let mut hands = Hands::new(incident(), size);
        hands.tick("2019-02-05T17:27:42Z");
        let text = hands.keys("4p").text();
        let warning = text.find("WARN post-test-infra-deploy-prow will undo this").expect("in sight, unscrolled");
        assert!(warning < text.find("STEP VERB").expect("the steps"), "{text}");
    }
    // All rows that the confirmation does not need are the plan's.
    let mut hands = Hands::new(incident(), WIDE);
    let text = hands.keys("4p").text();
    assert!(!text.contains("more lines"), "{text}");
    assert!(text.contains("8 patch    prow/deployment/tide"), "{text}");
}

#[test]
fn the_diff_of_a_rollback_is_its_images_and_a_deletion_has_none() {
    let mut hands = hands(incident());
    let text = hands.keys("4pd").text();
    for line in [
        "prow/deployment/hook",
        "- hook: gcr.io/k8s-prow/hook:v20190205-6dda9",
        "+ hook: gcr.io/k8s-prow/hook:v20190129-1b2c",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let mut hands = Hands::new(repaired(), WIDE);
    later(&mut hands, "3ip");
    let text = hands.text();
    assert!(!text.contains("d diff") && !text.contains("Diff"), "{text}");
    assert!(!text.contains('…'), "names of pods are not cut: {text}");
    let by_hand = hands.press(KeyCode::Tab).text();
    assert!(by_hand.contains("[By hand]"), "{by_hand}");
    assert!(hands.keys("d").text().contains("it changes nothing, it deletes"));
    assert!(hands.press(KeyCode::BackTab).text().contains("[Summary]"));
}

#[test]
fn steps_in_two_clusters_say_which() {
    let mut hands = Hands::new(rolled_back(strays(3, 2)), (120, 60));
    later(&mut hands, "3i");
    let text = hands.arm().keys("p").text();
    for line in [
        "TARGET prow-services (test-infra-trusted), https://35.1.2.3",
        "TARGET prow-build (default), https://35.4.5.6",
        "     in prow-services (test-infra-trusted)\n   1 delete   default/pod/",
        "     in prow-build (default)\n   3 delete   default/pod/",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("default: context"), "{text}");
    let run = hands.confirm().text();
    assert!(run.contains("context prow-services, prow-build"), "{run}");
    assert!(run.contains("     in prow-build (default)\n   3 default/pod/"), "{run}");
}

#[test]
fn groups_say_how_many_are_not_shown() {
    let mut many = incident();
    let view = many.clusters.get_mut(&Alias(BUILD.to_owned())).expect("the build cluster");
    let Source::Known { value: pods, .. } = &mut view.job_pods else { panic!("known pods") };
    for (n, pod) in pods.iter_mut().enumerate().take(8) {
        std::sync::Arc::make_mut(pod).job = format!("job-{n}");
    }
    let mut hands = Hands::new(many, SMALL);
    hands.tick("2019-02-05T17:27:42Z");
    let text = hands.keys("3tt").text();
    let (all, shown) = (hands.app.stray_groups().len(), text.matches("/default ").count());
    assert!(all > shown && shown > 0, "{text}");
    assert!(text.contains(&format!("{all} GROUPS by job (t)")), "{text}");
    assert!(text.contains(&format!("  and {} more", all - shown)), "{text}");
}

#[test]
fn a_target_looked_at_before_the_rollback_is_not_planned_after_it() {
    let mut hands = hands(incident());
    hands.keys("4").press(KeyCode::Up);
    assert_eq!(hands.app.rollback.tag.as_deref(), Some(BAD_TAG));
    assert!(unwrapped(&hands).contains("asked for now by 8; the version that the strays began with"));
    hands.see(incident());
    assert_eq!(hands.app.rollback.tag.as_deref(), Some(BAD_TAG), "the same versions, the same choice");

    // The rollback is done, and the strays are deleted.
    let mut after = repaired();
    for view in after.clusters.values_mut() {
        view.job_pods = seen(Vec::new());
    }
    after.service.job_pods = seen(Vec::new());
    hands.tick("2019-02-05T17:31:51Z");
    hands.see(after);
    assert_eq!(hands.app.rollback.tag, None, "what was rolled back from is no default");
    let text = unwrapped(&hands);
    assert!(text.contains("ran earlier; the version that the strays began with"), "{text}");
    assert!(text.contains("Nothing is chosen for you"), "{text}");
    let before = hands.effects.len();
    hands.keys("p");
    assert_eq!(hands.effects.len(), before);
}

/// The screen in one line.
fn unwrapped(hands: &Hands) -> String {
    hands.text().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_selected_pod_that_goes_is_not_replaced() {
    let mut hands = Hands::new(incident(), SMALL);
    hands.keys("3").enter();
    assert_eq!(hands.app.strays.pane, StraysPane::Pods);
    hands.keys("j");
    let second = hands.app.selected_stray().expect("a pod").pod.clone();
    let mut fewer = incident();
    let view = fewer.clusters.get_mut(&Alias(BUILD.to_owned())).expect("the build cluster");
    let Source::Known { value: pods, .. } = &mut view.job_pods else { panic!("known pods") };
    pods.retain(|pod| pod.uid() != second.uid());
    hands.see(fewer);
    assert!(hands.app.selected_stray().is_none());
    assert!(hands.text().contains("the selected pod is gone"), "{}", hands.text());
    hands.escape().escape();
    assert_eq!(hands.app.screen, Screen::Overview);
}

#[test]
fn the_strays_screen_never_shows_the_unknown_as_none_or_as_all() {
    let shown = |snapshot: Snapshot| {
        let mut hands = Hands::new(snapshot, SMALL);
        hands.tick("2019-02-05T17:27:42Z");
        let screen = hands.keys("3").text();
        // Where the pods have the screen, too.
        let pods = hands.enter().text();
        (screen, pods)
    };
    let mut lost = incident();
    if let Some(view) = lost.clusters.get_mut(&Alias(BUILD.to_owned())) {
        view.job_pods = Source::Denied { verb: "list pods in all namespaces".to_owned() };
    }
    let (screen, pods) = shown(lost);
    assert!(screen.contains("TOTAL at least 44 strays"), "{screen}");
    assert!(pods.contains("NOT SEEN pods of jobs in prow-build: DENIED"), "{pods}");

    let mut mute = incident();
    if let Some(view) = mute.clusters.get_mut(&Alias(BUILD.to_owned())) {
        view.pod_events = Source::Denied { verb: "list events".to_owned() };
    }
    let (screen, pods) = shown(mute);
    assert!(screen.contains("378 wait (their events are not seen)"), "{screen}");
    assert!(pods.contains("its events are not seen"), "{pods}");

    let mut blind = incident();
    blind.prowjobs = Source::Denied { verb: "list prowjobs".to_owned() };
    let (screen, _) = shown(blind);
    assert!(screen.contains("TOTAL unknown") && !screen.contains("astray."), "{screen}");
    assert!(screen.contains("p plan (unknown now)"), "{screen}");
}

#[test]
fn the_age_of_a_silent_cluster_is_never_cut_off() {
    let mut silent = incident();
    let view = silent.clusters.get_mut(&Alias(BUILD.to_owned())).expect("the build cluster");
    let Source::Known { value, at: seen } = view.job_pods.clone() else { panic!("known") };
    let error = Failure::new(FailureKind::Unreachable, "no answer");
    view.job_pods = Source::Lost { error, last: Some((value, seen)) };
    for size in [SMALL, WIDE] {
        let mut hands = Hands::new(silent.clone(), size);
        hands.tick("2019-02-05T17:28:22Z");
        let text = hands.text();
        assert!(text.contains("prow-build 41s LOST!"), "{text}");
        assert!(text.contains("git origin/master@51e02aa"), "{text}");
    }
}

#[test]
fn a_run_of_ours_explains_what_is_not_ready() {
    let mut hands = hands(incident());
    hands.keys("Aprow-services").enter().keys("4p1b2c").enter();
    let text = hands.keys("1").text();
    assert!(text.contains("is under way (6): what it restarts is not ready for a while"), "{text}");
    let strays = hands.keys("3").text();
    assert!(strays.contains("A run of yours is under way (6)"), "{strays}");
}

#[test]
fn strays_are_grouped_and_filtered_without_changing_what_is_planned() {
    let mut hands = hands(incident());
    let causes = hands.keys("3t").text();
    assert!(causes.contains("GROUPS by cause (t)"), "{causes}");
    assert!(causes.contains("secret \"gce-ssh\" not found"), "{causes}");
    let jobs = hands.keys("t").text();
    assert!(jobs.contains("GROUPS by job") && jobs.contains("post-test-infra-deploy-prow"), "{jobs}");
    let text = hands.keys("/DEPLOY-prow").enter().text();
    assert!(text.contains("contain `DEPLOY-prow`; p plans all strays"), "{text}");
    assert!(text.contains("PODS of the group (1)"), "{text}");
    assert!(text.contains("TOTAL 415 strays"), "the filter hides, it does not count: {text}");
    assert!(hands.keys("/zzz").text().contains("No stray contains that"));
    let text = hands.escape().text();
    assert!(text.contains("GROUPS by job (t)") && !text.contains("contain `"), "{text}");
    assert_eq!(hands.app.screen, Screen::Strays);

    // What a filter shows is not what is planned.
    let mut hands = Hands::new(repaired(), WIDE);
    later(&mut hands, "3/deploy-prow");
    hands.enter().keys("ip");
    assert!(hands.text().contains("delete 415 stray pod(s)"), "{}", hands.text());
}

#[test]
fn pods_of_a_group_that_went_are_not_replaced_by_those_of_another() {
    let mut hands = hands(incident());
    hands.keys("3").enter();
    let mut left = incident();
    if let Some(view) = left.clusters.get_mut(&Alias(BUILD.to_owned()))
        && let Source::Known { value, .. } = &mut view.job_pods
    {
        value.clear();
    }
    hands.see(left);
    assert_eq!(hands.app.strays.pane, StraysPane::Groups);
    assert!(hands.text().contains("the selected group is gone"), "{}", hands.text());
}

#[test]
fn a_clock_that_is_off_is_said_beside_the_ages() {
    for size in [SMALL, WIDE] {
        let mut snapshot = incident();
        snapshot.service.clock_ahead = Some(-26 * 3600);
        let mut hands = Hands::new(snapshot, size);
        hands.tick("2019-02-05T17:27:42Z");
        assert!(hands.text().contains("CLOCK 26h SLOW!"), "{}", hands.text());
    }
}

#[test]
fn findings_keep_their_place_below_a_long_head() {
    let mut hands = Hands::on_incident(SMALL);
    for n in 0..9 {
        hands.tell(Msg::Note(Failure::new(FailureKind::Tool, format!("the journal, try {n}"))));
    }
    let text = hands.text();
    assert!(text.contains("BROKEN") && text.contains("> BAD  FACT  hook cannot start"), "{text}");
}
