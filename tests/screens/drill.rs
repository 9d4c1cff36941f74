//! The screens in the default drill, while its time stands still; and the README's pictures of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use prow_breakglass::clock::{Clock, Pace};
use prow_breakglass::diagnose::diagnose;
use prow_breakglass::drill::Play;
use prow_breakglass::model::{Alias, Failure};
use prow_breakglass::observe::desired::{DesiredOptions, Prepared};
use prow_breakglass::observe::{BuildContexts, Interest, ObserveOptions, Observer};
use prow_breakglass::repair;
use prow_breakglass::run::{self, Clusters};
use prow_breakglass::tui::app::{Drill, Standing};
use prow_breakglass::tui::msg::Command;
use prow_breakglass::tui::picture::render_to_svg;
use prow_breakglass::tui::{App, Effect, Msg, keymap, update};

use crate::hands::{THEME, WIDE};

const NAME: &str = "2019-02-05";

/// A person before the drill, while its time is held.
struct Person {
    app: App,
    play: Play,
    clusters: Clusters,
}

impl Person {
    async fn comes() -> Person {
        let play = Play::open(NAME, 0, Pace::Stopped).expect("a drill");
        let mut app = App::new(play.clock().now(), THEME, WIDE);
        // As the header tells it when time goes on.
        app.drill = Some(Drill { name: NAME.to_owned(), pace: Pace::Times(1), standing: Standing::GoesOn });
        let mut person = Person { app, play, clusters: Clusters::new() };
        person.looks().await;
        person
    }

    async fn looks(&mut self) {
        let contexts = self.play.contexts();
        let cluster = contexts.connect_current().await.expect("a first context");
        let options = ObserveOptions {
            interest: Interest::Everything,
            namespaces: Vec::new(),
            desired: DesiredOptions::default(),
            service_alias: Alias::service(),
            clock: Clock::Story(self.play.clock()),
            builds: BuildContexts { contexts, given: Vec::new() },
        };
        let mut observer =
            Observer::start(cluster, std::future::ready(Ok(Prepared::from(self.play.repository()))), options);
        let snapshot = observer.settled(Duration::from_secs(60)).await;
        let diagnosis = Arc::new(diagnose(&snapshot));
        drop(update(&mut self.app, Msg::Observed(snapshot, diagnosis)));
        self.clusters = observer.clusters();
    }

    async fn press(&mut self, code: KeyCode) {
        let key = KeyEvent::new(code, KeyModifiers::NONE);
        let mut told: Vec<Msg> = keymap::message(&self.app, key).into_iter().collect();
        while let Some(msg) = told.pop() {
            for effect in update(&mut self.app, msg) {
                match effect {
                    Effect::Plan { ticket, request, snapshot, diagnosis } => {
                        let plan = repair::plan(&request, &snapshot, &diagnosis);
                        told.push(Msg::Planned { ticket, plan: plan.map(Box::new).map_err(Failure::from) });
                    }
                    Effect::Preview(plan) => {
                        let preview = run::preview(&plan, &self.clusters, self.app.now).await;
                        told.push(Msg::Previewed { digest: plan.digest.clone(), preview });
                    }
                    Effect::Abort(jobs) => {
                        for job in jobs {
                            self.play.abort(&job).expect("Deck takes it");
                        }
                        self.looks().await;
                    }
                    other => panic!("{other:?}"),
                }
            }
            drop(update(&mut self.app, Msg::Drawn));
        }
    }

    async fn types(&mut self, text: &str) {
        for c in text.chars() {
            self.press(KeyCode::Char(c)).await;
        }
    }

    fn picture(&self) -> String {
        render_to_svg(&self.app, WIDE.0, WIDE.1)
    }

    /// The line of the next step, with its keys.
    fn next(&self) -> String {
        let seen = self.app.picture.newest().expect("a picture");
        keymap::next(&self.app, &seen.diagnosis)
    }
}

/// Without the numbers that any change of the simulation or of a plan's format changes, and no reader minds.
fn steady(picture: &str) -> String {
    let without = |text: &str, mark: &str, is_of_number: fn(char) -> bool| {
        let mut pieces = text.split(mark);
        let first = pieces.next().unwrap_or_default().to_owned();
        pieces.fold(first, |text, piece| format!("{text}{mark}{}", piece.trim_start_matches(is_of_number)))
    };
    let picture = without(picture, " rv ", |c| c.is_ascii_digit());
    without(&picture, "PLAN p-", |c| c.is_ascii_hexdigit())
}

/// Compares with the file that the README shows.
fn assert_is_kept(name: &str, drawn: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("docs").join(name);
    if std::env::var_os("UPDATE_PICTURES").is_some() {
        std::fs::write(&path, drawn).expect("a picture");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(steady(&kept) == steady(drawn), "docs/{name} is old: run with UPDATE_PICTURES=1 and look at it");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("the README");
    assert!(readme.contains(&format!("](docs/{name})")), "the README shows docs/{name}");
}

#[tokio::test(start_paused = true)]
async fn its_pictures_are_what_the_program_draws_of_the_drill() {
    let mut person = Person::comes().await;
    assert_is_kept("drill-overview.svg", &person.picture());
    // As its second line says.
    person.types("DAprow").await;
    person.press(KeyCode::Enter).await;
    person.types("pc3").await;
    assert_is_kept("drill-plan.svg", &person.picture());
}

#[tokio::test(start_paused = true)]
async fn what_next_says_to_abort_is_a_key_in_a_drill_and_in_no_other_place() {
    let mut person = Person::comes().await;
    let in_drill = "NEXT  plan rollback (p), but first abort (D) post-test-infra-deploy-prow (pending)";
    assert!(person.next().starts_with(in_drill), "{}", person.next());
    assert!(keymap::at(&person.app, person.app.place()).any(|binding| binding.shown == "D"));

    let mut real = person.app.clone();
    real.drill = None;
    let next = keymap::next(&real, &person.app.picture.newest().expect("a picture").diagnosis);
    assert!(next.contains("first abort post-test-infra-deploy-prow (pending)") && next.contains("in Deck"), "{next}");
    assert!(!keymap::at(&real, real.place()).any(|binding| binding.shown == "D"));
    assert!(update(&mut real, Msg::Command(Command::Abort)).is_empty(), "no drill, no Deck");

    person.types("D").await;
    assert!(person.next().starts_with("NEXT  plan rollback (p): "), "{}", person.next());
    person.types("D").await;
    assert_eq!(person.app.notice.as_deref(), Some("nothing to abort"));
}
