//! A bearer token of an exec plugin that renews itself while somebody holds it, and the layer that sends it.
//!
//! It is renewed shortly before it expires, by the wall clock: a laptop that sleeps stops the clock that timers run on, and
//! a token does not wait. And it is renewed once the server refuses it, whatever it says of its own end (revoked, a
//! clock that is wrong), but not again and again. The request that was refused is not repeated here: whoever made it knows
//! whether it may be.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, StatusCode};
use kube::client::Body;
use kube::config::ExecConfig;
use tokio::sync::{Notify, watch};
use tower::{Layer, Service};

use super::exec::{self, Credentials};
use crate::model::{Failure, Timestamp};

/// Seconds: a token is renewed this long before it expires, and no plugin is run for that more often.
const AHEAD: i64 = 30;
/// Seconds between two runs of the plugin because the server refuses what it gives.
const REFUSED_AGAIN: i64 = 60;
/// How often the wall clock is looked at.
const STEP: Duration = Duration::from_secs(5);

/// The newest token. No `Debug`: it is a secret.
pub struct Token {
    held: watch::Sender<Held>,
    refused: AtomicBool,
    wake: Arc<Notify>,
}

#[derive(Clone)]
struct Held {
    header: HeaderValue,
    expires: Option<Timestamp>,
}

impl Held {
    fn of(credentials: &Credentials) -> Result<Held, Failure> {
        let token = credentials.token.as_deref().unwrap_or_default();
        let mut header = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| exec::failed("the credential plugin's token cannot be sent in a header"))?;
        header.set_sensitive(true);
        Ok(Held { header, expires: credentials.expiration_timestamp })
    }
}

impl Token {
    /// The token's holder, and the task that renews it; the task ends with the last holder.
    pub fn renewed(plugin: ExecConfig, first: &Credentials) -> Result<Arc<Token>, Failure> {
        let wake = Arc::new(Notify::new());
        let token = Arc::new(Token {
            held: watch::Sender::new(Held::of(first)?),
            refused: AtomicBool::new(false),
            wake: Arc::clone(&wake),
        });
        tokio::spawn(renew(Arc::downgrade(&token), plugin, wake));
        Ok(token)
    }

    /// The `Authorization` header for the next request.
    fn authorization(&self) -> HeaderValue {
        self.held.borrow().header.clone()
    }

    /// The server does not take this header (any more).
    fn refused(&self, header: &HeaderValue) {
        // Of an older token, that is no news.
        if self.held.borrow().header == *header {
            self.refused.store(true, Ordering::Relaxed);
            self.wake.notify_one();
        }
    }
}

async fn renew(token: Weak<Token>, plugin: ExecConfig, wake: Arc<Notify>) {
    let mut runs = Runs { last: Timestamp::now(), for_refusal: None };
    loop {
        tokio::select! {
            () = tokio::time::sleep(STEP) => {}
            () = wake.notified() => {}
        }
        let Some(held) = token.upgrade() else { return };
        let (expires, refused) = (held.held.borrow().expires, held.refused.load(Ordering::Relaxed));
        // Nobody's token is renewed while a plugin takes its time.
        drop(held);
        if !runs.is_due(Timestamp::now(), expires, refused) {
            continue;
        }
        // A failure is not reported here: the server answers 401 when the old token ends, and that is shown.
        let renewed = exec::run(&plugin).await.and_then(|credentials| Held::of(&credentials));
        let Some(token) = token.upgrade() else { return };
        if let Ok(renewed) = renewed {
            token.held.send_replace(renewed);
        }
        token.refused.store(false, Ordering::Relaxed);
    }
}

/// When the plugin was run.
struct Runs {
    last: Timestamp,
    for_refusal: Option<Timestamp>,
}

impl Runs {
    /// Whether to run it now; if so, that counts as done.
    fn is_due(&mut self, now: Timestamp, expires: Option<Timestamp>, refused: bool) -> bool {
        // A clock that was set back must not keep us waiting for it to come round again.
        let since = |then: Timestamp| (now.as_second() - then.as_second()).abs();
        if refused && self.for_refusal.is_none_or(|then| since(then) >= REFUSED_AGAIN) {
            (self.last, self.for_refusal) = (now, Some(now));
            return true;
        }
        // Never faster than AHEAD, also where the plugin keeps handing out expired tokens.
        let expiring = expires.is_some_and(|expires| expires.as_second() - now.as_second() <= AHEAD);
        if expiring && since(self.last) >= AHEAD {
            self.last = now;
            return true;
        }
        false
    }
}

/// Signs each request, and hears of refusals.
#[derive(Clone)]
pub struct SignIn(pub Arc<Token>);

impl<S> Layer<S> for SignIn {
    type Service = Signing<S>;

    fn layer(&self, inner: S) -> Signing<S> {
        Signing { inner, token: Arc::clone(&self.0) }
    }
}

pub struct Signing<S> {
    inner: S,
    token: Arc<Token>,
}

impl<S, B> Service<Request<Body>> for Signing<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (token, header) = (Arc::clone(&self.token), self.token.authorization());
        request.headers_mut().insert(AUTHORIZATION, header.clone());
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await;
            if answer.as_ref().is_ok_and(|answer| answer.status() == StatusCode::UNAUTHORIZED) {
                token.refused(&header);
            }
            answer
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt as _;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_token_that_ended_while_the_laptop_slept_is_renewed_at_the_next_look() {
        let mut runs = Runs { last: at(0), for_refusal: None };
        assert!(!runs.is_due(at(3000), Some(at(3600)), false));
        assert!(runs.is_due(at(90_000), Some(at(3600)), false), "the timer stood still, the clock did not");
        assert!(!runs.is_due(at(90_010), Some(at(3600)), false), "the plugin hands out expired ones");
        assert!(runs.is_due(at(90_030), Some(at(3600)), false));
        assert!(!runs.is_due(at(90_060), None, false), "no end, no renewal");
        assert!(runs.is_due(at(80_000), Some(at(3600)), false), "the clock was set back");
        assert!(STEP <= Duration::from_secs(AHEAD.unsigned_abs()), "a look comes before the end");
    }

    #[test]
    fn a_refused_token_is_renewed_at_once_and_not_again_and_again() {
        let mut runs = Runs { last: at(0), for_refusal: None };
        assert!(runs.is_due(at(1), None, true));
        assert!(!runs.is_due(at(2), None, true));
        assert!(!runs.is_due(at(60), None, true));
        assert!(runs.is_due(at(61), None, true));
    }

    #[tokio::test]
    async fn after_a_401_the_plugin_is_run_and_the_next_request_has_the_new_token() {
        let script = r#"echo '{"kind":"ExecCredential","status":{"token":"new"}}'"#;
        let plugin = ExecConfig {
            command: Some("/bin/sh".to_owned()),
            args: Some(vec!["-c".to_owned(), script.to_owned()]),
            ..ExecConfig::default()
        };
        let first: Credentials = serde_json::from_str(r#"{"token":"old"}"#).unwrap();
        let token = Token::renewed(plugin, &first).unwrap();
        let mut renewed = token.held.subscribe();
        // The server's word of each request: whether it took its token.
        let server = tower::service_fn(|request: Request<Body>| {
            let taken = request.headers()[AUTHORIZATION] == "Bearer new";
            let status = if taken { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
            std::future::ready(Response::builder().status(status).body(()))
        });
        let ask = async || {
            let request = Request::new(Body::from(Vec::new()));
            SignIn(Arc::clone(&token)).layer(server).oneshot(request).await.expect("an answer").status()
        };
        assert_eq!(ask().await, StatusCode::UNAUTHORIZED);
        renewed.changed().await.unwrap();
        assert_eq!(ask().await, StatusCode::OK);

        assert!(token.authorization().is_sensitive());
        token.refused(&HeaderValue::from_static("Bearer old"));
        assert!(!token.refused.load(Ordering::Relaxed), "an old answer says nothing of the new token");
    }
}
