//! INT, TERM and HUP end a run between two requests, never within one.

use tokio::signal::unix::{SignalKind, signal};

use crate::model::{Failure, FailureKind};
use crate::run::StopToken;

/// What a first signal stops, and what a second one does.
pub struct Signals {
    pub first: StopToken,
    pub second: StopToken,
}

/// A token that the first INT, TERM or HUP stops. A second INT is as deaf as the first: the request in flight ends soon, and
/// its outcome must reach the journal.
pub fn stop_on_signals() -> Result<StopToken, Failure> {
    Ok(first_and_second()?.first)
}

/// The same, for what has something to put in order after the first signal: the second ends that, too. Another HUP is no second
/// one: a terminal that goes sends it more than once.
pub fn first_and_second() -> Result<Signals, Failure> {
    let signals = Signals { first: StopToken::new(), second: StopToken::new() };
    for (kind, name) in
        [(SignalKind::interrupt(), "SIGINT"), (SignalKind::terminate(), "SIGTERM"), (SignalKind::hangup(), "SIGHUP")]
    {
        let mut stream = signal(kind).map_err(|error| {
            Failure::new(FailureKind::Tool, format!("cannot wait for {name}")).cause(error.to_string())
        })?;
        let (first, second) = (signals.first.clone(), signals.second.clone());
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                match first.requested() {
                    None => first.stop(name),
                    Some(_) if kind == SignalKind::hangup() => {}
                    Some(_) => second.stop(name),
                }
            }
        });
    }
    Ok(signals)
}
