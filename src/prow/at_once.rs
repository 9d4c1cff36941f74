//! Pieces of work that do not hang on each other, on all processors: reading files is what judging takes its time for.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Stored bytes that are worth a second thread.
const WORTH_THREADS: usize = 32 * 1024;
const MOST_THREADS: usize = 8;

/// The answers in the order of the pieces. `bytes` is how much is read for all of them.
pub fn at_once<T: Sync, R: Send>(pieces: &[T], bytes: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
    if bytes < WORTH_THREADS || processors == 1 {
        return pieces.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let some = || {
        let one = || {
            let n = next.fetch_add(1, Ordering::Relaxed);
            pieces.get(n).map(|piece| (n, work(piece)))
        };
        std::iter::from_fn(one).collect::<Vec<_>>()
    };
    let mut answers: Vec<(usize, R)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..processors).map(|_| scope.spawn(some)).collect();
        let own = some();
        let others = others.into_iter().flat_map(|other| match other.join() {
            Ok(answers) => answers,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        own.into_iter().chain(others).collect()
    });
    answers.sort_unstable_by_key(|(n, _)| *n);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_order_however_many_work_on_them() {
        let pieces: Vec<usize> = (0..1000).collect();
        let doubled: Vec<usize> = (0..1000).map(|n| n * 2).collect();
        for bytes in [0, WORTH_THREADS] {
            assert_eq!(at_once(&pieces, bytes, |n| n * 2), doubled);
            assert_eq!(at_once(&[], bytes, |n: &usize| *n), Vec::<usize>::new());
        }
    }

    #[test]
    #[should_panic(expected = "piece 700")]
    fn a_panic_is_not_swallowed() {
        let pieces: Vec<usize> = (0..1000).collect();
        at_once(&pieces, WORTH_THREADS, |n| assert!(*n != 700, "piece 700"));
    }
}
