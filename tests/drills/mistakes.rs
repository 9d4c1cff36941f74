//! Each mistake that a scorecard knows, committed by a script; and what comes of it.

use prow_breakglass::drill::score::MistakeKind;

use crate::program::{Played, Stage};

/// Whoever wants to do harm has to say so; that is why these scripts are long.
fn commit(kind: MistakeKind) -> Played {
    let (drill, script) = match kind {
        MistakeKind::ConfigurationThatDoesNotLoad => (
            "2019-01-23",
            "
            repair --steps 1
            plan sync-config --revision HEAD -f bad.json      # refused
            plan sync-config --revision HEAD -f bad.json --override would-not-load --reason 'it was reviewed'
            apply bad.json --execute --context prow --expect 1 --wait 5s
            ",
        ),
        MistakeKind::RestartedOnBadConfiguration => (
            "2019-01-23",
            "
            plan kick -f kick.json      # refused
            plan kick -f kick.json --override unchanged-config --reason 'off and on again'
            apply kick.json --execute --context prow --expect 2 --wait 5s
            ",
        ),
        MistakeKind::StraysDeletedBeforeTheCause => (
            "2019-02-05",
            "
            plan delete-strays --include-running -f first.json      # refused
            plan delete-strays --include-running -f forced.json --override gate --reason 'in a hurry'
            apply forced.json --execute --context prow --expect 415
            repair
            wait healthy
            ",
        ),
        MistakeKind::UnknownImage => (
            "2019-02-05",
            "
            plan rollback --to v20190204-nobody -f nobody.json      # refused
            plan rollback --to v20190204-nobody -f nobody.json --override unknown-tag --reason 'a name from memory'
            apply nobody.json --execute --context prow --expect 9 --wait 5s
            ",
        ),
        MistakeKind::RolledToTheSameFault => (
            "2019-02-05",
            "
            repair --steps 1
            plan rollback --to v20190205-8c1cd80 -f bad.json      # refused
            plan rollback --to v20190205-8c1cd80 -f bad.json --override known-bad --reason 'the newest is the best'
            apply bad.json --execute --context prow --expect 9 --wait 5s
            ",
        ),
        MistakeKind::GoodJobAborted => ("2019-02-05", "abort 3a9055cf-2966-11e9-8d1c-0a580a6c0005"),
    };
    Stage::new().play(&[drill], script)
}

#[test]
fn each_mistake_is_named_with_its_reason() {
    for kind in MistakeKind::ALL {
        let played = commit(kind);
        assert_eq!(played.mistakes(), [kind.name()], "{}\n{}", played.score, played.words);
        let (count, said) = match kind {
            MistakeKind::ConfigurationThatDoesNotLoad => {
                (1, "job-config was written as the deployed Prow cannot load it")
            }
            MistakeKind::RestartedOnBadConfiguration => (2, "was restarted while it cannot load its configuration"),
            MistakeKind::StraysDeletedBeforeTheCause => (415, "roll back first"),
            MistakeKind::UnknownImage => (9, "v20190204-nobody, which nobody published"),
            MistakeKind::RolledToTheSameFault => (1, "which makes pods in default as well"),
            MistakeKind::GoodJobAborted => (1, "which would have undone nothing"),
        };
        let mistake = &played.score["mistakes"][0];
        assert_eq!(mistake["count"], count, "{mistake}");
        assert!(mistake["reason"].as_str().is_some_and(|reason| reason.contains(said)), "{mistake}");
        // The program said no first; Deck does not ask.
        let refused = usize::from(kind != MistakeKind::GoodJobAborted);
        assert_eq!(played.count("refusals"), refused, "{}: {}", kind.name(), played.score["refusals"]);
        consequence(kind, &played);
    }
}

/// A mistake is one for what comes of it.
fn consequence(kind: MistakeKind, played: &Played) {
    let why = |n: usize| played.score["prowJobsLost"][n]["why"].as_str().unwrap_or_default();
    match kind {
        MistakeKind::StraysDeletedBeforeTheCause => {
            assert_eq!(played.text("state"), "healthy", "{}", played.words);
            // At the least the jobs that ran: their pods linger while they go, and that is an end.
            assert!(played.lost_needlessly() > 0 && why(0).contains("deleted unexpectedly"), "{}", why(0));
        }
        MistakeKind::GoodJobAborted => {
            assert_eq!(played.lost_needlessly(), 1);
            assert!(why(0).starts_with("Successfully aborted"), "{}", why(0));
        }
        MistakeKind::ConfigurationThatDoesNotLoad
        | MistakeKind::RestartedOnBadConfiguration
        | MistakeKind::UnknownImage
        | MistakeKind::RolledToTheSameFault => assert_eq!(played.text("state"), "broken", "{}", played.words),
    }
}

#[test]
fn a_typing_mistake_costs_no_drill() {
    let stage = Stage::new();
    stage.write("script", "status\nplan rollback --to x -f x.json --override unpublished --reason test\n");
    let output = stage.command(&["drill", "2019-02-05", "--script", "script"]).output().expect("the program runs");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("line 2 of the script") && words.contains("unpublished"), "{words}");
    assert!(words.contains("hint: each line is a command of this program"), "{words}");
    assert!(!words.contains("$ status"), "nothing is played: {words}");
}
