//! How a run is asked to stop: the request in flight ends, its outcome is journalled, and no further step begins.

use std::sync::Arc;

use tokio::sync::watch;

/// Asks a run to stop. Clones ask the same run.
#[derive(Debug, Clone)]
pub struct StopToken {
    why: Arc<watch::Sender<Option<String>>>,
}

impl Default for StopToken {
    fn default() -> Self {
        StopToken::new()
    }
}

impl StopToken {
    pub fn new() -> Self {
        StopToken { why: Arc::new(watch::Sender::new(None)) }
    }

    /// Asks. The first reason stays: `SIGTERM`, `q`.
    pub fn stop(&self, why: &str) {
        self.why.send_if_modified(|now| {
            let first = now.is_none();
            if first {
                *now = Some(why.to_owned());
            }
            first
        });
    }

    /// Why it was asked to, if it was.
    pub fn requested(&self) -> Option<String> {
        self.why.borrow().clone()
    }

    /// Waits until it is asked to.
    pub async fn stopped(&self) {
        let mut seen = self.why.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = seen.wait_for(Option::is_some).await;
    }
}
