//! API errors to [`Failure`]s: one classifier, by status code and error type, never by text (wordings change with the
//! server's version). Nothing of a response's body gets in but the server's own, shortened message.
//!
//! To extend: a new code goes into [`kind_of_code`], its advice into [`hint`].

use std::time::Duration;

use kube::core::Status;
use kube::runtime::watcher;

use crate::model::text::sanitize_line;
use crate::model::{Failure, FailureKind};

/// Longest message of a server that is quoted, in characters.
const QUOTED: usize = 400;
const NOT_ALLOWED: &str = "not allowed to ";

/// What went wrong while `doing` something, such as `list pods in namespace prow`.
pub fn classify(error: &kube::Error, doing: &str) -> Failure {
    match error {
        kube::Error::Api(status) => of_status(status, doing),
        kube::Error::HyperError(source) => unreachable(source, doing),
        kube::Error::Service(source) => unreachable(source.as_ref(), doing),
        kube::Error::ReadEvents(source) => unreachable(source, doing),
        // The text of an authentication error may hold what a credential plugin printed.
        kube::Error::Auth(_) => {
            failure(FailureKind::Unauthenticated, doing).cause("the kubeconfig's credentials could not be used")
        }
        kube::Error::ProxyProtocolUnsupported { .. } | kube::Error::ProxyProtocolDisabled { .. } => {
            Failure::new(FailureKind::Usage, "the proxy's protocol is not supported".to_owned())
                .hint("use proxy-url http://, https:// or socks5:// in the kubeconfig")
        }
        kube::Error::RustlsTls(source) => Failure::new(FailureKind::Usage, "TLS could not be set up")
            .cause(quote(&source.to_string()))
            .hint("check certificate-authority, client-certificate and client-key of the context"),
        // Parsers quote what they parsed, and that may be a Secret's bytes: only the kind of trouble is said.
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) | kube::Error::LinesCodecMaxLineLengthExceeded => {
            failure(FailureKind::Server, doing).cause("the answer was not what the Kubernetes API promises")
        }
        kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => {
            failure(FailureKind::Tool, doing).cause("the request could not be built")
        }
        kube::Error::InferConfig(_) | kube::Error::InferKubeconfig(_) => {
            Failure::new(FailureKind::Usage, "the kubeconfig could not be used")
        }
        kube::Error::TlsRequired | kube::Error::Discovery(_) => failure(FailureKind::Tool, doing),
    }
}

/// The same for a watch.
pub fn classify_watch(error: &watcher::Error, doing: &str) -> Failure {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => classify(error, doing),
        watcher::Error::WatchError(status) => of_status(status, doing),
        watcher::Error::NoResourceVersion => {
            failure(FailureKind::Server, doing).cause("the answer carries no resourceVersion")
        }
    }
}

/// No answer within `after`.
pub fn timed_out(doing: &str, after: Duration) -> Failure {
    Failure::new(FailureKind::Unreachable, format!("could not {doing}: no answer within {}", in_words(after)))
        .hint("is the VPN or the bastion up? A slow server needs a longer --request-timeout")
}

fn in_words(time: Duration) -> String {
    if time.subsec_millis() == 0 { format!("{} s", time.as_secs()) } else { format!("{} ms", time.as_millis()) }
}

/// What a `Forbidden` failure says is not allowed: `list pods in namespace prow`.
pub fn denied_verb(failure: &Failure) -> Option<&str> {
    failure.summary.strip_prefix(NOT_ALLOWED).filter(|_| failure.kind == FailureKind::Forbidden)
}

/// With `--as`, the server refuses the disguise before it looks at the request: then that is what is not allowed.
fn impersonation(status: &Status) -> Option<String> {
    let details = status.details.as_ref().filter(|_| status.code == 403)?;
    let kind = match details.kind.as_str() {
        "users" => "user",
        "groups" => "group",
        "serviceaccounts" => "service account",
        _ => return None,
    };
    Some(format!("impersonate {kind} {}", sanitize_line(&details.name)))
}

fn of_status(status: &Status, doing: &str) -> Failure {
    let disguise = impersonation(status);
    let doing = disguise.as_deref().unwrap_or(doing);
    let mut failure = failure(kind_of_code(status), doing);
    // Answers that are no Status (a proxy's error page) come without structure: not quoted.
    let is_kubernetes = status.details.is_some() || !status.reason.contains(' ');
    if is_kubernetes && !status.message.is_empty() {
        failure = failure.cause(quote(&status.message));
    }
    if status.code != 0 {
        failure = failure.cause(format!("HTTP {}", status.code));
    }
    failure
}

fn kind_of_code(status: &Status) -> FailureKind {
    match status.code {
        401 => FailureKind::Unauthenticated,
        403 => FailureKind::Forbidden,
        404 => FailureKind::NotFound,
        409 => FailureKind::Conflict,
        429 => FailureKind::Throttled,
        400..=499 if status.code != 408 && status.code != 410 => FailureKind::Rejected,
        // 408 and 410 are the server's own trouble: too slow, or its history is gone. Codes below 400 in an error, too.
        0..=u16::MAX => FailureKind::Server,
    }
}

/// A failure of this kind with its standard words and advice.
fn failure(kind: FailureKind, doing: &str) -> Failure {
    let summary = match kind {
        FailureKind::Forbidden => format!("{NOT_ALLOWED}{doing}"),
        FailureKind::Unauthenticated => format!("could not {doing}: not signed in"),
        FailureKind::NotFound => format!("could not {doing}: not found"),
        FailureKind::Conflict => format!("could not {doing}: somebody else changed it meanwhile"),
        FailureKind::Throttled => format!("could not {doing}: the server asks to slow down"),
        FailureKind::Rejected => format!("could not {doing}: the server will not take it"),
        FailureKind::Server => format!("could not {doing}: the server is in trouble"),
        FailureKind::Unreachable => format!("could not {doing}: no connection to the server"),
        FailureKind::Usage
        | FailureKind::Tool
        | FailureKind::Refused
        | FailureKind::Interrupted
        | FailureKind::Partial => format!("could not {doing}"),
    };
    let failure = Failure::new(kind, summary);
    match hint(kind, doing) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn hint(kind: FailureKind, doing: &str) -> Option<String> {
    match kind {
        FailureKind::Forbidden => Some(format!(
            "you need the right to {doing}: ask for the Role in assets/rbac/oncall.yaml, or use --as with a user that has it"
        )),
        FailureKind::Unauthenticated => {
            Some("the credentials are expired or wrong: sign in again, as for kubectl, then retry".to_owned())
        }
        FailureKind::Conflict => Some("look at what it is now, and make a new plan".to_owned()),
        FailureKind::Throttled => Some("wait a little and retry; other clients may be flooding the server".to_owned()),
        FailureKind::Server => Some("retry; if it stays, the API server or its etcd needs help first".to_owned()),
        FailureKind::Unreachable => {
            Some("is the VPN or the bastion up? A slow server needs a longer --request-timeout".to_owned())
        }
        FailureKind::NotFound
        | FailureKind::Rejected
        | FailureKind::Usage
        | FailureKind::Tool
        | FailureKind::Refused
        | FailureKind::Interrupted
        | FailureKind::Partial => None,
    }
}

/// Transport errors: refused, DNS, TLS, resets. Their texts come from our own libraries, from outside in.
fn unreachable(error: &(dyn std::error::Error + 'static), doing: &str) -> Failure {
    let mut failure = failure(FailureKind::Unreachable, doing);
    let mut last = String::new();
    let mut tls = false;
    let mut link = Some(error);
    while let Some(error) = link {
        tls |= error.downcast_ref().is_some_and(is_tls);
        let text = quote(&error.to_string());
        if !text.is_empty() && !last.contains(&text) {
            failure = failure.cause(text.clone());
            last = text;
        }
        link = error.source();
    }
    if tls {
        failure = failure.hint("the server's certificate is not trusted: check certificate-authority of the context");
    }
    failure
}

/// rustls reports what it dislikes of a certificate as invalid data, and that may be wrapped once more.
fn is_tls(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::InvalidData
        || error.get_ref().and_then(|inner| inner.downcast_ref()).is_some_and(is_tls)
}

fn quote(text: &str) -> String {
    let line = sanitize_line(text.trim());
    match line.char_indices().nth(QUOTED) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16, reason: &str, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())
    }

    #[test]
    fn codes_decide_and_texts_do_not() {
        let table = [
            (400, FailureKind::Rejected, 3),
            (401, FailureKind::Unauthenticated, 5),
            (403, FailureKind::Forbidden, 5),
            (404, FailureKind::NotFound, 2),
            (408, FailureKind::Server, 6),
            (409, FailureKind::Conflict, 3),
            (410, FailureKind::Server, 6),
            (413, FailureKind::Rejected, 3),
            (422, FailureKind::Rejected, 3),
            (429, FailureKind::Throttled, 6),
            (500, FailureKind::Server, 6),
            (503, FailureKind::Server, 6),
        ];
        for (code, kind, exit) in table {
            // The reason lies on purpose: PM-era servers worded these in many ways.
            let failure =
                classify(&api(code, "Whatever", "not found, forbidden, conflict"), "list pods in namespace x");
            assert_eq!(failure.kind, kind, "{code}");
            assert_eq!(failure.kind.exit_code(), exit, "{code}");
            assert!(failure.summary.contains("list pods in namespace x"), "{}", failure.summary);
        }
    }

    #[test]
    fn forbidden_names_the_right_and_where_to_get_it() {
        let failure = classify(&api(403, "Forbidden", "pods is forbidden"), "get pods/log in namespace prow");
        assert_eq!(failure.summary, "not allowed to get pods/log in namespace prow");
        let hint = failure.hint.expect("a hint");
        assert!(hint.contains("get pods/log in namespace prow") && hint.contains("assets/rbac/oncall.yaml"), "{hint}");
    }

    #[test]
    fn a_refused_disguise_is_told_from_a_missing_right() {
        let details = serde_json::from_value(serde_json::json!({"kind": "users", "name": "nobody"})).expect("details");
        let status = Status::failure("users is forbidden", "Forbidden").with_code(403).with_details(details);
        let failure = classify(&kube::Error::Api(status.boxed()), "list pods in namespace prow");
        assert_eq!(denied_verb(&failure), Some("impersonate user nobody"));
        let plain = classify(&api(403, "Forbidden", "no"), "list pods in namespace prow");
        assert_eq!(denied_verb(&plain), Some("list pods in namespace prow"));
        assert_eq!(denied_verb(&classify(&api(404, "NotFound", "no"), "list pods")), None);
    }

    #[test]
    fn refused_connections_are_unreachable_with_their_cause() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let failure = classify(&kube::Error::Service(Box::new(refused)), "reach the server");
        assert_eq!(failure.kind, FailureKind::Unreachable);
        assert!(failure.causes.iter().any(|cause| cause.contains("refused")), "{:?}", failure.causes);
        assert!(failure.hint.expect("a hint").contains("--request-timeout"));
    }

    #[test]
    fn an_untrusted_certificate_is_told_from_a_dead_link() {
        let tls = std::io::Error::new(std::io::ErrorKind::InvalidData, "invalid peer certificate: UnknownIssuer");
        let failure = classify(&kube::Error::Service(Box::new(std::io::Error::other(tls))), "reach the server");
        assert_eq!(failure.kind, FailureKind::Unreachable);
        assert!(failure.hint.expect("a hint").contains("certificate-authority"));
    }

    #[test]
    fn no_body_leaks() {
        let secret = "s3cr3t-canary";
        let page = api(502, "Failed to parse error data", &format!("<html>{secret}</html>"));
        let parse = kube::Error::SerdeError(
            serde_json::from_str::<u8>(&format!("\"{secret}\"")).expect_err("a string is no number"),
        );
        for error in [page, parse] {
            let failure = classify(&error, "get configmap config in namespace prow");
            assert_eq!(failure.kind, FailureKind::Server);
            assert!(!format!("{failure:?}").contains(secret), "{failure:?}");
        }
    }

    #[test]
    fn hostile_messages_are_tamed_and_shortened() {
        let failure = classify(&api(422, "Invalid", &format!("\u{1b}[2J{}", "x".repeat(9_000))), "write it");
        let cause = &failure.causes[0];
        assert!(!cause.contains('\u{1b}'));
        assert!(cause.chars().count() <= QUOTED + 1);
    }

    #[test]
    fn a_timeout_says_how_long_was_waited() {
        let failure = timed_out("list pods in namespace x", Duration::from_secs(10));
        assert_eq!(failure.kind, FailureKind::Unreachable);
        assert!(failure.summary.ends_with("no answer within 10 s"), "{}", failure.summary);
        assert!(timed_out("x", Duration::from_millis(250)).summary.ends_with("250 ms"));
    }
}
