//! Credentials from exec plugins (`gke-gcloud-auth-plugin`, `aws eks get-token`).
//!
//! The client library runs them synchronously, without a time limit, and lets them print over the screen. So we run the
//! plugin ourselves: no terminal, its stderr captured, at most [`PATIENCE`], never interactively. When it is run again is
//! the affair of `token`; a client certificate from a plugin is used as it is and not renewed.

use std::process::Stdio;
use std::time::Duration;

use kube::config::{ExecConfig, ExecInteractiveMode};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::model::text::sanitize_line;
use crate::model::{Failure, FailureKind, Timestamp};

/// How long a plugin may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a plugin answers, as in `client.authentication.k8s.io`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spec: Option<Spec>,
    #[serde(default, skip_serializing)]
    status: Option<Credentials>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    interactive: bool,
    #[serde(default, skip_serializing_if = "Option::is_none", skip_deserializing)]
    cluster: Option<kube::config::ExecAuthCluster>,
}

/// Credentials of a plugin. No `Debug`: they are secrets.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    pub token: Option<String>,
    pub client_certificate_data: Option<String>,
    pub client_key_data: Option<String>,
    pub expiration_timestamp: Option<Timestamp>,
}

/// Runs the plugin once.
pub async fn run(exec: &ExecConfig) -> Result<Credentials, Failure> {
    let Some(program) = exec.command.as_deref().filter(|command| !command.is_empty()) else {
        return Err(failed("the credential plugin has no command").hint("repair the user's exec section"));
    };
    let name = sanitize_line(program);
    if exec.interactive_mode == Some(ExecInteractiveMode::Always) {
        return Err(failed(format!("the credential plugin {name} wants to ask questions on the terminal"))
            .hint("sign in with it first, by any kubectl command, then use a user that needs no questions"));
    }
    let request = ExecCredential {
        api_version: exec.api_version.clone().unwrap_or_else(|| "client.authentication.k8s.io/v1".to_owned()),
        kind: "ExecCredential".to_owned(),
        spec: Some(Spec { interactive: false, cluster: exec.cluster.clone() }),
        status: None,
    };
    let request = serde_json::to_string(&request)
        .map_err(|_| failed(format!("the request to the credential plugin {name} could not be made")))?;
    let mut command = Command::new(program);
    command
        .args(exec.args.iter().flatten())
        .env("KUBERNETES_EXEC_INFO", request)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    for variable in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            command.env(name, value);
        }
    }
    let output = match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => {
            let hint = exec.install_hint.as_deref().map(sanitize_line);
            return Err(failed(format!("the credential plugin {name} could not be started"))
                .cause(error.to_string())
                .hint(hint.unwrap_or_else(|| format!("install {name}, or use a user without exec"))));
        }
        Err(_) => {
            return Err(failed(format!("the credential plugin {name} gave no answer within {} s", PATIENCE.as_secs()))
                .hint("sign in with it by hand, then retry"));
        }
    };
    if !output.status.success() {
        // Its last words only: plugins print advice there, never the token (that goes to stdout).
        let words = String::from_utf8_lossy(&output.stderr);
        let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        let last: String = sanitize_line(last).chars().take(300).collect();
        return Err(failed(format!("the credential plugin {name} failed ({})", output.status))
            .cause(last)
            .hint("sign in again, as for kubectl, then retry"));
    }
    serde_json::from_slice::<ExecCredential>(&output.stdout)
        .ok()
        .and_then(|answer| answer.status)
        .filter(|status| status.token.is_some() || status.client_certificate_data.is_some())
        .ok_or_else(|| {
            failed(format!("the credential plugin {name} gave no credentials"))
                .hint("run it by hand: it should print an ExecCredential with a status")
        })
}

pub fn failed(summary: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Unauthenticated, summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> ExecConfig {
        ExecConfig {
            command: Some("/bin/sh".to_owned()),
            args: Some(vec!["-c".to_owned(), script.to_owned()]),
            ..ExecConfig::default()
        }
    }

    #[tokio::test]
    async fn a_token_comes_out_and_no_terminal_goes_in() {
        let script = r#"read line && exit 7
            case "$KUBERNETES_EXEC_INFO" in *'"interactive":false'*) ;; *) exit 8;; esac
            echo '{"kind":"ExecCredential","status":{"token":"t","expirationTimestamp":"2030-01-01T00:00:00Z"}}'"#;
        let credentials = run(&shell(script)).await.expect("credentials");
        assert_eq!(credentials.token.as_deref(), Some("t"));
        assert!(credentials.expiration_timestamp.is_some());
    }

    #[tokio::test]
    async fn a_failing_plugin_is_quoted_tamely() {
        let failure =
            run(&shell(r"printf 'first\n\033[2Jgo away\n' >&2; echo canary; exit 3")).await.err().expect("failed");
        assert_eq!(failure.kind, FailureKind::Unauthenticated);
        assert!(failure.causes[0].contains("go away") && !failure.causes[0].contains('\u{1b}'), "{failure:?}");
        assert!(!format!("{failure:?}").contains("canary"));
    }

    #[tokio::test]
    async fn what_wants_a_terminal_is_refused_unstarted() {
        let mut exec = shell("touch /nonexistent/never");
        exec.interactive_mode = Some(ExecInteractiveMode::Always);
        assert!(run(&exec).await.err().expect("refused").summary.contains("questions"));
    }

    #[tokio::test]
    async fn garbage_is_no_credential() {
        for script in ["echo hello", "echo '{\"status\":{}}'", "true"] {
            assert!(run(&shell(script)).await.is_err(), "{script}");
        }
    }
}
