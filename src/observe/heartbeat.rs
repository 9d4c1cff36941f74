//! Does the server still answer? A watch does not tell: it is silent when nothing happens and when nobody lives.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::owner::{Message, Place};
use crate::clock::Clock;
use crate::cluster::{Cluster, errors};
use crate::model::{ClusterIdentity, Failure, Source};

/// How often the server is asked.
const EVERY: Duration = Duration::from_secs(5);
/// An identity that could not be read is asked for again after this long.
const IDENTITY_AGAIN: Duration = Duration::from_secs(60);

/// What a server says of itself and of us.
pub struct Introduction {
    pub identity: Source<ClusterIdentity>,
    pub version: Option<String>,
    pub user: Option<String>,
    /// Seconds that this machine's clock is ahead of the server's.
    pub clock_ahead: Option<i64>,
}

/// Asks until dropped; `refresh` asks at once.
pub async fn beat(
    cluster: Cluster,
    place: Place,
    clock: Clock,
    send: mpsc::UnboundedSender<Message>,
    refresh: Arc<Notify>,
) {
    // The first answer may take as long as any call, for a tunnel may have to open; then slowness is a sign.
    let mut within = cluster.timeout();
    let mut introduce_at = Some(Instant::now());
    loop {
        let answer = cluster.heartbeat(within).await;
        let answers = answer.is_ok();
        if send.send(Message::Contact(place.clone(), answer)).is_err() {
            return;
        }
        if answers {
            within = cluster.timeout() / 2;
            if introduce_at.is_some_and(|at| at <= Instant::now()) {
                let introduction = introduce(&cluster, &clock).await;
                let known = matches!(introduction.identity, Source::Known { .. });
                introduce_at = (!known).then(|| Instant::now() + IDENTITY_AGAIN);
                if send.send(Message::Introduced(place.clone(), Box::new(introduction))).is_err() {
                    return;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = refresh.notified() => {}
        }
    }
}

async fn introduce(cluster: &Cluster, clock: &Clock) -> Introduction {
    let (identity, version, user) = tokio::join!(cluster.identity(), cluster.version(), cluster.user());
    let (version, time) = version.map_or((None, None), |told| (told.version, told.time));
    Introduction {
        identity: identity.map_or_else(unseen, |value| Source::Known { value, at: clock.now() }),
        // Both are for show only: not knowing them is shown as such.
        version,
        user: user.ok().flatten(),
        clock_ahead: time.map(|time| clock.now().as_second() - time.as_second()),
    }
}

/// What a failure leaves of a source.
pub fn unseen<T>(failure: Failure) -> Source<T> {
    match errors::denied_verb(&failure) {
        Some(verb) => Source::Denied { verb: verb.to_owned() },
        None => Source::Lost { error: failure, last: None },
    }
}
