//! Faults on demand, for tests that kill the program at an exact point. Not in release builds.
//!
//! `PROW_BREAKGLASS_FAULT=POINT:N` with the step's number: `after-intent` and `after-send` end the process at once, as
//! kill -9 does; `panic-at-step` panics; `hold-before-send` waits, intent on disk, until somebody kills the process or asks
//! the run to stop (then the step goes on, as a request in flight would), and so does every step with the number 0.
//! `slow:MILLISECONDS` holds every step that long, so that something can happen in the middle.

use super::StopToken;

/// Names the environment variable.
pub const VARIABLE: &str = "PROW_BREAKGLASS_FAULT";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    BeforeStep,
    AfterIntent,
    AfterSend,
}

/// Fails here, if asked to.
#[expect(clippy::panic, reason = "a panic is what the test asks for")]
pub async fn point(point: Point, n: usize, stop: &StopToken) {
    let Ok(wish) = std::env::var(VARIABLE) else { return };
    let Some((name, step)) = wish.split_once(':') else { return };
    if let ("slow", Point::AfterIntent, Ok(millis)) = (name, point, step.parse()) {
        tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
        return;
    }
    if (name, point, step) == ("hold-before-send", Point::AfterIntent, "0") {
        return stop.stopped().await;
    }
    if step.parse() != Ok(n) {
        return;
    }
    match (name, point) {
        ("panic-at-step", Point::BeforeStep) => panic!("{VARIABLE} asked for a panic at step {n}"),
        ("after-intent", Point::AfterIntent) | ("after-send", Point::AfterSend) => std::process::abort(),
        ("hold-before-send", Point::AfterIntent) => stop.stopped().await,
        (_, Point::BeforeStep | Point::AfterIntent | Point::AfterSend) => {}
    }
}
