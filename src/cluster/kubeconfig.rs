//! Kubeconfig files: which ones, merged how, and which context of them. Nothing is inferred: no in-cluster fallback, no
//! debugging variables of the client library, no anonymous user by accident.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use kube::config::{Kubeconfig, KubeconfigError};

use crate::model::text::sanitize_line;
use crate::model::{Failure, FailureKind};

/// Variables with which the client library would silently talk to another server, or as somebody else.
const REDIRECTS: [&str; 3] =
    ["KUBE_RS_DEBUG_OVERRIDE_URL", "KUBE_RS_DEBUG_IMPERSONATE_USER", "KUBE_RS_DEBUG_IMPERSONATE_GROUP"];

/// Refuses to go on where the environment would redirect requests.
pub fn refuse_redirects(env: impl Fn(&str) -> Option<OsString>) -> Result<(), Failure> {
    match REDIRECTS.into_iter().find(|name| env(name).is_some()) {
        None => Ok(()),
        Some(name) => Err(Failure::new(FailureKind::Refused, format!("{name} is set, which redirects requests"))
            .hint(format!("unset {name}; name the server with --context, another user with --as"))),
    }
}

/// A merged kubeconfig, and where it came from for messages.
pub struct Loaded {
    pub config: Kubeconfig,
    pub from: String,
}

/// Reads the file asked for, else the files of `KUBECONFIG` (the first to define something wins, missing ones are
/// skipped, as kubectl does), else `~/.kube/config`.
pub fn load(asked: Option<&Path>, env: impl Fn(&str) -> Option<OsString>) -> Result<Loaded, Failure> {
    let (paths, from) = match (asked, env("KUBECONFIG").filter(|value| !value.is_empty())) {
        (Some(path), _) => (vec![path.to_owned()], path.display().to_string()),
        (None, Some(list)) => (
            std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect(),
            format!("KUBECONFIG={}", list.to_string_lossy()),
        ),
        (None, None) => {
            let home = env("HOME").map(PathBuf::from).ok_or_else(|| {
                Failure::new(FailureKind::Usage, "no kubeconfig: neither KUBECONFIG nor HOME is set")
                    .hint("give one with --kubeconfig")
            })?;
            let path = home.join(".kube").join("config");
            (vec![path.clone()], path.display().to_string())
        }
    };
    let from = sanitize_line(&from);
    let mut merged: Option<Kubeconfig> = None;
    for path in &paths {
        if paths.len() > 1 && !path.exists() {
            continue;
        }
        let next = Kubeconfig::read_from(path).map_err(|error| unreadable(&error, &path.display().to_string()))?;
        merged = Some(match merged {
            None => next,
            Some(before) => before.merge(next).map_err(|error| unreadable(&error, &from))?,
        });
    }
    match merged {
        Some(config) => Ok(Loaded { config, from }),
        None => Err(Failure::new(FailureKind::Usage, format!("no kubeconfig found ({from})"))
            .hint("give one with --kubeconfig")),
    }
}

/// The name of the context asked for, else of the current one (fine for reading; writes demand it by name elsewhere). It
/// can be used: it exists, and so do its cluster and its user.
pub fn choose(loaded: &Loaded, asked: Option<&str>) -> Result<String, Failure> {
    let config = &loaded.config;
    let current = config.current_context.as_deref().filter(|name| !name.is_empty());
    let Some(name) = asked.or(current) else {
        return Err(Failure::new(FailureKind::Usage, format!("no current-context in {}", loaded.from))
            .hint(known_contexts(config)));
    };
    let Some(context) =
        config.contexts.iter().find(|named| named.name == name).and_then(|named| named.context.as_ref())
    else {
        return Err(Failure::new(FailureKind::Usage, format!("no context named {name} in {}", loaded.from))
            .hint(known_contexts(config)));
    };
    if !config.clusters.iter().any(|named| named.name == context.cluster && named.cluster.is_some()) {
        return Err(Failure::new(FailureKind::Usage, format!("context {name} names a cluster that is not defined"))
            .cause(format!("no cluster named {} in {}", context.cluster, loaded.from))
            .hint("repair the kubeconfig, or choose another --context"));
    }
    // With an unknown user the client library goes on as an anonymous one.
    if let Some(user) = context.user.as_deref().filter(|user| !user.is_empty())
        && !config.auth_infos.iter().any(|named| named.name == user && named.auth_info.is_some())
    {
        return Err(Failure::new(FailureKind::Usage, format!("context {name} names a user that is not defined"))
            .cause(format!("no user named {user} in {}", loaded.from))
            .hint("repair the kubeconfig, or choose another --context"));
    }
    Ok(name.to_owned())
}

fn known_contexts(config: &Kubeconfig) -> String {
    if config.contexts.is_empty() {
        return "it has no contexts at all: give another file with --kubeconfig".to_owned();
    }
    let names: Vec<String> = config.contexts.iter().map(|named| sanitize_line(&named.name)).collect();
    format!("choose with --context one of: {}", names.join(", "))
}

/// Why a kubeconfig cannot be used. Parsers quote the lines that they stumble over, and those may hold tokens, so of a
/// parse error only the place is said.
pub fn unreadable(error: &KubeconfigError, from: &str) -> Failure {
    let failure = Failure::new(FailureKind::Usage, format!("cannot use the kubeconfig {}", sanitize_line(from)))
        .hint("give a kubeconfig with --kubeconfig; `kubectl config view` reads the same files");
    match error {
        KubeconfigError::ReadConfig(source, _) => failure.cause(source.to_string()),
        KubeconfigError::Parse(error) => failure.cause(match error.location() {
            Some(place) => format!("not a kubeconfig: line {}, column {}", place.line(), place.column()),
            None => "not a kubeconfig".to_owned(),
        }),
        KubeconfigError::LoadCertificateAuthority(_) | KubeconfigError::ParseCertificates(_) => {
            failure.cause("its certificate-authority cannot be read")
        }
        KubeconfigError::LoadClientCertificate(_) => failure.cause("its client-certificate cannot be read"),
        KubeconfigError::LoadClientKey(_) => failure.cause("its client-key cannot be read"),
        KubeconfigError::MissingClusterUrl | KubeconfigError::ParseClusterUrl(_) => {
            failure.cause("the cluster's server is missing or no URL")
        }
        KubeconfigError::ParseProxyUrl(_) | KubeconfigError::ParseNoProxy(_) => {
            failure.cause("proxy-url, HTTPS_PROXY or NO_PROXY is malformed")
        }
        KubeconfigError::KindMismatch | KubeconfigError::ApiVersionMismatch => {
            failure.cause("its files are of different kinds and cannot be merged")
        }
        KubeconfigError::CurrentContextNotSet
        | KubeconfigError::LoadContext(_)
        | KubeconfigError::LoadClusterOfContext(_)
        | KubeconfigError::FindPath => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "
apiVersion: v1
kind: Config
current-context: prod
clusters:
- {name: c, cluster: {server: 'https://127.0.0.1:1'}}
users:
- {name: u, user: {token: canary}}
contexts:
- {name: prod, context: {cluster: c, user: u}}
- {name: ghost, context: {cluster: c, user: nobody}}
- {name: gone, context: {cluster: nowhere, user: u}}
";

    fn loaded(yaml: &str) -> Loaded {
        Loaded { config: Kubeconfig::from_yaml(yaml).expect("yaml"), from: "the test".to_owned() }
    }

    fn refusal(asked: &str) -> Failure {
        choose(&loaded(TWO), Some(asked)).expect_err("refused")
    }

    #[test]
    fn the_current_context_is_the_default_and_names_win() {
        assert_eq!(choose(&loaded(TWO), None).expect("current"), "prod");
        assert_eq!(choose(&loaded(TWO), Some("prod")).expect("named"), "prod");
    }

    #[test]
    fn an_unknown_context_lists_those_there_are() {
        let failure = refusal("prdo");
        assert_eq!(failure.kind, FailureKind::Usage);
        assert!(failure.summary.contains("no context named prdo"), "{}", failure.summary);
        assert!(failure.hint.expect("hint").contains("prod, ghost, gone"));
    }

    #[test]
    fn nobody_becomes_anonymous_by_a_typo() {
        assert!(refusal("ghost").causes[0].contains("no user named nobody"));
        assert!(refusal("gone").causes[0].contains("no cluster named nowhere"));
    }

    #[test]
    fn redirecting_variables_stop_the_start() {
        for name in REDIRECTS {
            let failure = refuse_redirects(|asked| (asked == name).then(OsString::new)).expect_err("refused");
            assert_eq!(failure.kind, FailureKind::Refused);
            assert!(failure.summary.contains(name));
        }
        refuse_redirects(|_| None).expect("a clean environment");
    }

    #[test]
    fn the_first_file_of_the_list_wins_and_missing_ones_are_skipped() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = dir.path().join("a");
        let second = dir.path().join("b");
        std::fs::write(&first, "current-context: one\n").expect("write");
        std::fs::write(&second, TWO).expect("write");
        let list = std::env::join_paths([first, dir.path().join("missing"), second]).expect("list");
        let loaded = load(None, |name| (name == "KUBECONFIG").then(|| list.clone())).expect("merged");
        assert_eq!(loaded.config.current_context.as_deref(), Some("one"));
        assert_eq!(loaded.config.contexts.len(), 3);
    }

    #[test]
    fn a_broken_file_does_not_spill_its_tokens() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("config");
        std::fs::write(&path, "users:\n- name: u\n  user: {token: [canary}\n").expect("write");
        let failure = load(Some(&path), |_| None).err().expect("broken");
        assert_eq!(failure.kind, FailureKind::Usage);
        assert!(!format!("{failure:?}").contains("canary"), "{failure:?}");
        let missing = load(Some(&dir.path().join("no")), |_| None).err().expect("missing");
        assert!(missing.hint.expect("hint").contains("--kubeconfig"));
    }
}
