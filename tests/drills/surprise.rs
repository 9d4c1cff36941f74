//! Draws of `surprise`, repaired by the program's own proposals in its own order.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::program::Stage;

/// As many at once as the machine has cores for, at most this many.
const AT_ONCE: usize = 8;

/// Plays these seeds; what went wrong, a line each.
fn wrong(seeds: &[u64]) -> Vec<String> {
    let next = AtomicU64::new(0);
    let at_once = std::thread::available_parallelism().map_or(1, usize::from).min(AT_ONCE);
    let play = || {
        let stage = Stage::new();
        let mut wrong = Vec::new();
        while let Some(seed) = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok().and_then(|n| seeds.get(n)) {
            let played = stage.play(&["surprise", "--seed", &seed.to_string()], "repair\nwait healthy\n");
            let (state, lost, mistakes) = (played.text("state"), played.lost_needlessly(), played.mistakes());
            if state != "healthy" || lost > 0 || !mistakes.is_empty() {
                wrong.push(format!("seed {seed}, {}: {state}, {lost} lost, {mistakes:?}", played.text("drill")));
            }
        }
        wrong
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(play)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect()
    })
}

#[test]
fn draws_end_healthy_and_lose_nothing() {
    // Each drill is among them; the whole lot is below.
    assert_eq!(wrong(&[1, 2, 3, 4, 5, 6]), Vec::<String>::new());
}

#[test]
#[ignore = "some minutes: cargo test --test drills -- --ignored"]
fn all_two_hundred_draws_end_healthy_and_lose_nothing() {
    let seeds: Vec<u64> = (1..=200).collect();
    assert_eq!(wrong(&seeds), Vec::<String>::new());
}

#[test]
fn a_seed_draws_the_same_each_time_and_all_drills_are_drawn() {
    let stage = Stage::new();
    let drawn = |seed: u64| stage.play(&["surprise", "--seed", &seed.to_string()], "pause\n").score;
    assert_eq!(drawn(7), drawn(7));
    let mut names: Vec<String> = (1..=12).map(|seed| drawn(seed)["drill"].to_string()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3, "{names:?}");
}
