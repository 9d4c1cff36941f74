//! Who uses the bed: the oncall, and oncalls that something ails (`kubeconfigs/NAME.yaml`).
//!
//! A new variant is a file written in [`write_kubeconfigs`]; if it needs rights of its own, also a [`User`].

use std::path::{Path, PathBuf};

use anyhow::Result;
use kube::Client;
use serde_json::json;

use crate::api::{APPLIED_BY, create, create_manifest};
use crate::certs::{self, Authority, Context, Credential, write_private};
use crate::cluster::{Cluster, Role};
use crate::layout::{Layout, TEST_PODS};
use crate::prow_objects::accounts;

/// The tool's user, as the audit log names it.
pub const ONCALL: &str = "oncall";

const MANIFEST: &str = include_str!("../../../assets/rbac/oncall.yaml");
/// The role that not every oncall has.
const CHECK_MANIFEST: &str = include_str!("../../../assets/rbac/check-in-cluster.yaml");
const BUILD_MANIFEST: &str = include_str!("../../../assets/rbac/oncall-build-cluster.yaml");

/// What the manifests' bindings name.
const GROUP: &str = "prow-oncall";

/// Somebody with a token, the same in all clusters.
struct User {
    name: &'static str,
    /// The user's group in Prow's cluster; without one, [`grant`] gives single rights.
    group: Option<&'static str>,
    build_group: Option<&'static str>,
}

const USERS: &[User] = &[
    User { name: ONCALL, group: Some(GROUP), build_group: Some(GROUP) },
    User { name: "no-logs", group: None, build_group: None },
    User { name: "no-list-in-one-namespace", group: None, build_group: Some(GROUP) },
    User { name: "no-rollback", group: None, build_group: Some(GROUP) },
    User { name: "build-denied", group: Some(GROUP), build_group: None },
];

fn token(user: &str) -> String {
    format!("token-of-{user}")
}

/// The API server's file of tokens.
pub fn token_file(role: Role) -> String {
    let line = |user: &User| {
        let group = match role {
            Role::Service => user.group,
            Role::Build => user.build_group,
        };
        format!("{},{},{},\"{}\"\n", token(user.name), user.name, user.name, group.unwrap_or_default())
    };
    USERS.iter().map(line).collect()
}

/// Binds a user to a role, everywhere or in a namespace.
async fn bind(client: &Client, user: &str, role: &str, namespace: Option<&str>) -> Result<()> {
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
}

/// Applies the committed manifests and what the ailing users have instead.
pub async fn grant(client: &Client, prow: &str) -> Result<()> {
    // As the manifest tells whoever's namespaces have other names.
    for manifest in [MANIFEST, CHECK_MANIFEST] {
        let manifest = manifest.replace("namespace: prow\n", &format!("namespace: {prow}\n"));
        create_manifest(client, &manifest).await?;
    }
    for user in ["no-logs", "no-rollback"] {
        bind(client, user, "prow-breakglass-read", None).await?;
        for namespace in [prow, TEST_PODS] {
            bind(client, user, "prow-breakglass-repair", Some(namespace)).await?;
        }
    }
    bind(client, "no-logs", "prow-breakglass-rollback", Some(prow)).await?;
    bind(client, "no-rollback", "prow-breakglass-logs", None).await?;
    for role in ["prow-breakglass-read", "prow-breakglass-logs", "prow-breakglass-repair", "prow-breakglass-rollback"] {
        bind(client, "no-list-in-one-namespace", role, Some(prow)).await?;
    }
    Ok(())
}

/// The same for a cluster in which only jobs run.
pub async fn grant_in_build_cluster(client: &Client) -> Result<()> {
    create_manifest(client, BUILD_MANIFEST).await?;
    bind(client, "no-logs", "prow-breakglass-build-read", None).await?;
    for namespace in ["default", TEST_PODS] {
        bind(client, "no-logs", "prow-breakglass-strays", Some(namespace)).await?;
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

/// Writes all kubeconfigs: a context for each cluster, Prow's first.
pub fn write_kubeconfigs(dir: &Path, prow: &str, clusters: &[&Cluster]) -> Result<Kubeconfigs> {
    let variants = dir.join("kubeconfigs");
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let nobody = format!("https://{}", socket.local_addr()?);
    let write = |path: &Path,
                 user: &str,
                 address: &dyn Fn(&Cluster) -> String,
                 token: &dyn Fn(&Authority) -> Result<String>| {
        let context = |cluster: &&Cluster| -> Result<Context> {
            let credential = token(&cluster.authority)?;
            let (server, name) = (address(cluster), cluster.role.context());
            Ok(cluster.authority.context(&server, name, user, &Credential::Token(&credential)))
        };
        let contexts: Vec<Context> = clusters.iter().map(context).collect::<Result<_>>()?;
        write_private(path, &certs::kubeconfig(&contexts))
    };
    let real = |cluster: &Cluster| cluster.plane.server.clone();
    let oncall = dir.join("kubeconfig");
    write(&oncall, ONCALL, &real, &|_| Ok(token(ONCALL)))?;
    for user in USERS {
        let path = variants.join(format!("{}.yaml", user.name));
        write(&path, user.name, &real, &|_| Ok(token(user.name)))?;
    }
    let expired = |authority: &Authority| authority.expired_token(prow, "default");
    write(&variants.join("expired-token.yaml"), "expired", &real, &expired)?;
    for (variant, gone) in [("unreachable", Role::Service), ("build-unreachable", Role::Build)] {
        let address = |cluster: &Cluster| if cluster.role == gone { nobody.clone() } else { real(cluster) };
        write(&variants.join(format!("{variant}.yaml")), ONCALL, &address, &|_| Ok(token(ONCALL)))?;
    }
    Ok(Kubeconfigs { oncall, variants, _unreachable: socket })
}

/// Writes a kubeconfig for each of Prow's service accounts, in place of in-cluster configuration: the contexts are
/// Prow's aliases, the current one is the cluster in which it runs.
pub fn write_account_kubeconfigs(dir: &Path, layout: &Layout, clusters: &[&Cluster]) -> Result<()> {
    for account in accounts() {
        let user = format!("system:serviceaccount:{}:{account}", layout.prow);
        let context = |cluster: &&Cluster| -> Result<Context> {
            let leaf = cluster.authority.client(&user, Some("system:serviceaccounts"))?;
            let alias = cluster.role.alias(layout.builds);
            Ok(cluster.authority.context(&cluster.plane.server, alias, account, &Credential::Certificate(&leaf)))
        };
        let contexts: Vec<Context> = clusters.iter().map(context).collect::<Result<_>>()?;
        write_private(&dir.join(format!("{account}.kubeconfig")), &certs::kubeconfig(&contexts))?;
    }
    Ok(())
}
