//! `Failure`: what went wrong, why, and what to do next. One shape for the CLI, the TUI and the journal.

use serde::{Deserialize, Serialize};

/// Kinds of failure; each has an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// Bad arguments, files or input.
    Usage,
    /// The tool or its surroundings (disk, git) failed.
    Tool,
    /// A guard of ours said no.
    Refused,
    /// 403: signed in, but not allowed.
    Forbidden,
    /// 401, or no valid credentials.
    Unauthenticated,
    /// No answer: refused, timed out, no route, TLS.
    Unreachable,
    /// 404.
    NotFound,
    /// 409: somebody else was faster.
    Conflict,
    /// 429.
    Throttled,
    /// 400, 413, 422, or an admission webhook: the server will not take it.
    Rejected,
    /// 5xx: the server answered, with trouble of its own.
    Server,
    /// Stopped by a signal or a key.
    Interrupted,
    /// Some of it was done, not all.
    Partial,
}

impl FailureKind {
    /// True where nothing can be asked of the server at all: there is no way to it, or it does not know us.
    pub fn is_of_connection(self) -> bool {
        matches!(self, FailureKind::Unreachable | FailureKind::Unauthenticated)
    }

    /// Exit codes of shared contract: 2 usage or tool, 3 refused, 4 partly done, 5 denied, 6 unreachable, 130 interrupted.
    pub fn exit_code(self) -> u8 {
        match self {
            FailureKind::Usage | FailureKind::Tool | FailureKind::NotFound => 2,
            FailureKind::Refused | FailureKind::Conflict | FailureKind::Rejected => 3,
            FailureKind::Partial => 4,
            FailureKind::Forbidden | FailureKind::Unauthenticated => 5,
            FailureKind::Unreachable | FailureKind::Throttled | FailureKind::Server => 6,
            FailureKind::Interrupted => 130,
        }
    }
}

/// What went wrong: a summary, its causes from outside in, and a hint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{summary}")]
pub struct Failure {
    pub kind: FailureKind,
    /// A lower-case fragment, as in `no context named x in ~/.kube/config`.
    pub summary: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(kind: FailureKind, summary: impl Into<String>) -> Self {
        Failure { kind, summary: summary.into(), causes: Vec::new(), hint: None }
    }

    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
