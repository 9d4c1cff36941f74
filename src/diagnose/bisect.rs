//! Where a history went bad, with few questions: pure, one step at a time. Whoever has a way to ask asks what [`next`] says,
//! puts the answer in, and comes again.
//!
//! The line is newest first; an answer is whether that revision loads. Bisection takes for granted that a bad stretch has
//! no good revision in it; where answers show otherwise, [`is_monotone`] says so.

/// What lies at the old end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldEnd {
    /// Nobody knows: it is searched backwards in growing steps.
    Open,
    /// A revision that is said to load: asked for before anything is concluded from it.
    SaidToLoad,
}

/// The next question, or the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Ask(usize),
    /// `bad` does not load, and the revision before it, `good`, does.
    Found {
        bad: usize,
        good: usize,
    },
    /// The newest one loads.
    NothingBad,
    /// None loads, as far as the line goes; or the one that is said to does not.
    NothingGood,
}

/// What to ask, given what is known.
pub fn next(answers: &[Option<bool>], old_end: OldEnd) -> Next {
    let Some(last) = answers.len().checked_sub(1) else { return Next::NothingGood };
    match answers[0] {
        None => return Next::Ask(0),
        Some(true) => return Next::NothingBad,
        Some(false) => {}
    }
    if let Some(good) = answers.iter().position(|answer| *answer == Some(true)) {
        // The newest one is bad, so there is one before the good one.
        let bad = answers[..good].iter().rposition(|answer| *answer == Some(false)).unwrap_or(0);
        return if bad + 1 == good { Next::Found { bad, good } } else { Next::Ask(usize::midpoint(bad, good)) };
    }
    if old_end == OldEnd::SaidToLoad && answers[last].is_none() {
        return Next::Ask(last);
    }
    let bad = answers.iter().rposition(|answer| *answer == Some(false)).unwrap_or(0);
    // 1, 3, 7, 15, …; from there on in between.
    if bad == last { Next::NothingGood } else { Next::Ask((2 * bad + 1).min(last)) }
}

/// False where a revision older than a good one is known to be bad.
pub fn is_monotone(answers: &[Option<bool>]) -> bool {
    let good = answers.iter().position(|answer| *answer == Some(true)).unwrap_or(answers.len());
    !answers[good..].contains(&Some(false))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Asks until the end; gives that and the number of questions.
    fn search(history: &[bool], old_end: OldEnd, known: &[usize]) -> (Next, usize) {
        let mut answers: Vec<Option<bool>> =
            (0..history.len()).map(|n| known.contains(&n).then_some(history[n])).collect();
        let mut asked = 0;
        loop {
            match next(&answers, old_end) {
                Next::Ask(n) => {
                    assert_eq!(answers[n], None, "asked twice");
                    answers[n] = Some(history[n]);
                    asked += 1;
                }
                end @ (Next::Found { .. } | Next::NothingBad | Next::NothingGood) => return (end, asked),
            }
        }
    }

    fn broken(bad: usize, of: usize) -> Vec<bool> {
        (0..of).map(|n| n >= bad).collect()
    }

    proptest! {
        #[test]
        fn the_first_bad_one_is_found_in_log_n_and_two_questions(n in 1_usize..1200, at in 0_usize..1200) {
            let bad = 1 + at % n;
            let history = broken(bad, n + 1);
            let (end, asked) = search(&history, OldEnd::SaidToLoad, &[]);
            prop_assert_eq!(end, Next::Found { bad: bad - 1, good: bad });
            let bound = (n as f64).log2().ceil() as usize + 2;
            prop_assert!(asked <= bound, "{} questions for {}", asked, n);
            let (again, fewer) = search(&history, OldEnd::SaidToLoad, &[0, n]);
            prop_assert!(again == end && fewer + 2 == asked);
        }

        #[test]
        fn without_a_good_end_it_is_found_near_the_newest(n in 2_usize..1200, at in 0_usize..1200) {
            let bad = 1 + at % (n - 1);
            let (end, asked) = search(&broken(bad, n), OldEnd::Open, &[]);
            prop_assert_eq!(end, Next::Found { bad: bad - 1, good: bad });
            prop_assert!(asked <= 2 * (bad as f64).log2().ceil() as usize + 3, "{} questions for {}", asked, bad);
        }

        #[test]
        fn whatever_the_history_it_ends_with_neighbours(history in prop::collection::vec(any::<bool>(), 1..60)) {
            match search(&history, OldEnd::Open, &[]).0 {
                Next::Found { bad, good } => prop_assert!(good == bad + 1 && history[good] && !history[bad]),
                Next::NothingBad => prop_assert!(history[0]),
                Next::NothingGood => prop_assert!(!history[0]),
                Next::Ask(_) => prop_assert!(false),
            }
        }
    }

    #[test]
    fn the_ends() {
        assert_eq!(next(&[], OldEnd::Open), Next::NothingGood);
        assert_eq!(search(&[true, false], OldEnd::Open, &[]), (Next::NothingBad, 1));
        assert_eq!(search(&[false; 5], OldEnd::Open, &[]).0, Next::NothingGood);
        assert_eq!(search(&[false; 5], OldEnd::SaidToLoad, &[]), (Next::NothingGood, 2), "its word is not taken");
    }

    #[test]
    fn a_good_one_that_is_known_in_between_is_where_it_begins() {
        let history = [false, false, true, true, false, true];
        assert_eq!(search(&history, OldEnd::SaidToLoad, &[0, 3, 4, 5]).0, Next::Found { bad: 1, good: 2 });
        let answers = |known: &[usize]| -> Vec<Option<bool>> {
            (0..history.len()).map(|n| known.contains(&n).then_some(history[n])).collect()
        };
        assert!(!is_monotone(&answers(&[0, 3, 4])));
        assert!(is_monotone(&answers(&[0, 3, 5])));
    }
}
