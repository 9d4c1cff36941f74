//! INT, TERM and HUP end a run between two requests, never within one.

use tokio::signal::unix::{SignalKind, signal};

use crate::model::{Failure, FailureKind};
use crate::run::StopToken;

/// A token that the first INT, TERM or HUP stops. A second INT is as deaf as the first: the request in flight ends soon, and
/// its outcome must reach the journal.
pub fn stop_on_signals() -> Result<StopToken, Failure> {
    let token = StopToken::new();
    for (kind, name) in
        [(SignalKind::interrupt(), "SIGINT"), (SignalKind::terminate(), "SIGTERM"), (SignalKind::hangup(), "SIGHUP")]
    {
        let mut stream = signal(kind).map_err(|error| {
            Failure::new(FailureKind::Tool, format!("cannot wait for {name}")).cause(error.to_string())
        })?;
        let token = token.clone();
        tokio::spawn(async move {
            if stream.recv().await.is_some() {
                token.stop(name);
            }
        });
    }
    Ok(token)
}
