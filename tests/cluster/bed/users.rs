//! Who uses the bed: the oncall, and oncalls that something ails (`kubeconfigs/NAME.yaml`).
//!
//! A new variant is a file written in [`write_kubeconfigs`]; if it needs rights of its own, also a [`User`].

use std::path::{Path, PathBuf};

use anyhow::Result;
use kube::Client;
use serde_json::json;

use crate::api::{APPLIED_BY, create, create_manifest};
use crate::certs::{Authority, Credential, write_private};
use crate::prow_objects::{PROW, TEST_PODS, accounts};

/// The context's name on the oncall's laptop; deliberately no alias of a Prow cluster.
pub const CONTEXT: &str = "prow-services";
/// The tool's user, as the audit log names it.
pub const ONCALL: &str = "oncall";

const MANIFEST: &str = include_str!("../../../assets/rbac/oncall.yaml");

/// Somebody with a token.
struct User {
    name: &'static str,
    /// Groups in the token file's form; the group is what the manifest's bindings name.
    group: &'static str,
}

const USERS: &[User] = &[
    User { name: ONCALL, group: "prow-oncall" },
    User { name: "no-logs", group: "" },
    User { name: "no-list-in-one-namespace", group: "" },
];

fn token(user: &str) -> String {
    format!("token-of-{user}")
}

/// The API server's file of tokens.
pub fn token_file() -> String {
    let line = |user: &User| format!("{},{},{},\"{}\"\n", token(user.name), user.name, user.name, user.group);
    USERS.iter().map(line).collect()
}

/// Applies the committed manifest and what the ailing users have instead.
pub async fn grant(client: &Client) -> Result<()> {
    create_manifest(client, MANIFEST).await?;
    let bind = async |user: &str, role: &str, namespace: Option<&str>| -> Result<()> {
        let kind = if namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" };
        let mut binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
            "metadata": { "name": format!("{user}-{role}") },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
        });
        if let Some(namespace) = namespace {
            binding["metadata"]["namespace"] = json!(namespace);
        }
        create(client, &binding, APPLIED_BY).await?;
        Ok(())
    };
    bind("no-logs", "prow-breakglass-read", None).await?;
    bind("no-logs", "prow-breakglass-repair", Some(PROW)).await?;
    bind("no-logs", "prow-breakglass-repair", Some(TEST_PODS)).await?;
    for role in ["prow-breakglass-read", "prow-breakglass-logs", "prow-breakglass-repair"] {
        bind("no-list-in-one-namespace", role, Some(PROW)).await?;
    }
    Ok(())
}

/// The users' kubeconfigs.
pub struct Kubeconfigs {
    pub oncall: PathBuf,
    /// The folder of all of them, the oncall's too.
    pub variants: PathBuf,
    /// Bound, but nobody listens: so connections are refused, and no other program takes the port.
    _unreachable: tokio::net::TcpSocket,
}

/// Writes all kubeconfigs.
pub fn write_kubeconfigs(dir: &Path, server: &str, authority: &Authority) -> Result<Kubeconfigs> {
    let variants = dir.join("kubeconfigs");
    let write = |path: &Path, server: &str, user: &str, token: &str| {
        let text = authority.kubeconfig(server, CONTEXT, user, &Credential::Token(token));
        write_private(path, &text)
    };
    let oncall = dir.join("kubeconfig");
    write(&oncall, server, ONCALL, &token(ONCALL))?;
    for user in USERS {
        let path = variants.join(format!("{}.yaml", user.name));
        write(&path, server, user.name, &token(user.name))?;
    }
    let expired = authority.expired_token(PROW, "default")?;
    write(&variants.join("expired-token.yaml"), server, "expired", &expired)?;
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let nobody = format!("https://{}", socket.local_addr()?);
    write(&variants.join("unreachable.yaml"), &nobody, ONCALL, &token(ONCALL))?;
    Ok(Kubeconfigs { oncall, variants, _unreachable: socket })
}

/// Writes a kubeconfig for each of Prow's service accounts, in place of in-cluster configuration.
pub fn write_account_kubeconfigs(dir: &Path, server: &str, authority: &Authority) -> Result<()> {
    for account in accounts() {
        let user = format!("system:serviceaccount:{PROW}:{account}");
        let leaf = authority.client(&user, Some("system:serviceaccounts"))?;
        // `default` is what Prow calls the cluster that it runs in.
        let text = authority.kubeconfig(server, "default", account, &Credential::Certificate(&leaf));
        write_private(&dir.join(format!("{account}.kubeconfig")), &text)?;
    }
    Ok(())
}
