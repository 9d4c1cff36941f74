//! The bed's certificate authority, the key of its service accounts, and kubeconfig files.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};

/// Signs everything in one bed; lives in memory only, what is needed as files is written by [`Authority::new`].
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    service_account_key: String,
    dir: PathBuf,
}

/// A certificate and its key, PEM.
pub struct Leaf {
    pub cert: String,
    pub key: String,
}

/// What a kubeconfig's user proves itself with.
pub enum Credential<'a> {
    Certificate(&'a Leaf),
    Token(&'a str),
}

impl Authority {
    /// Makes the authority and writes `ca.crt` and `service-account.{key,pub}` into `dir`.
    pub fn new(dir: &Path) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test bed");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let ca_pem = params.self_signed(&key)?.pem();
        let accounts = KeyPair::generate()?;
        let service_account_key = accounts.serialize_pem();
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join("ca.crt"), &ca_pem)?;
        std::fs::write(dir.join("service-account.key"), &service_account_key)?;
        std::fs::write(dir.join("service-account.pub"), accounts.public_key_pem())?;
        Ok(Self { issuer: Issuer::new(params, key), ca_pem, service_account_key, dir: dir.to_owned() })
    }

    /// The path of a file that [`Authority::new`] or [`Authority::server`] has written.
    pub fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// A serving certificate for loopback, also written as `NAME.crt` and `NAME.key`.
    pub fn server(&self, name: &str) -> Result<Leaf> {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned(), "kubernetes.default.svc".to_owned()];
        let leaf = self.leaf(names, name, None, ExtendedKeyUsagePurpose::ServerAuth)?;
        std::fs::write(self.dir.join(format!("{name}.crt")), &leaf.cert)?;
        std::fs::write(self.dir.join(format!("{name}.key")), &leaf.key)?;
        Ok(leaf)
    }

    /// A client certificate for this user and this group (rcgen writes no second one).
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Leaf> {
        self.leaf(Vec::new(), user, group, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn leaf(
        &self,
        names: Vec<String>,
        common_name: &str,
        group: Option<&str>,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Leaf> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Leaf { cert, key: key.serialize_pem() })
    }

    /// A service account's token, signed as the API server signs them, that ran out an hour ago.
    pub fn expired_token(&self, namespace: &str, account: &str) -> Result<String> {
        let now = jiff::Timestamp::now().as_second();
        let claims = json!({
            "iss": super::control_plane::ISSUER,
            "aud": [super::control_plane::ISSUER],
            "sub": format!("system:serviceaccount:{namespace}:{account}"),
            "iat": now - 7200,
            "nbf": now - 7200,
            "exp": now - 3600,
            "kubernetes.io": { "namespace": namespace, "serviceaccount": { "name": account, "uid": "0" } },
        });
        let key = jsonwebtoken::EncodingKey::from_ec_pem(self.service_account_key.as_bytes())
            .context("the service accounts' key")?;
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        Ok(jsonwebtoken::encode(&header, &claims, &key)?)
    }

    /// A way to this authority's cluster, for [`kubeconfig`].
    pub fn context(&self, server: &str, name: &str, user: &str, credential: &Credential<'_>) -> Context {
        let credential = match credential {
            Credential::Certificate(leaf) => json!({
                "client-certificate-data": STANDARD.encode(&leaf.cert),
                "client-key-data": STANDARD.encode(&leaf.key),
            }),
            Credential::Token(token) => json!({ "token": token }),
        };
        // Users are named for their contexts: one person has another token in every cluster.
        let user = format!("{user}@{name}");
        Context {
            name: name.to_owned(),
            cluster: json!({ "name": name, "cluster": {
                "server": server,
                "certificate-authority-data": STANDARD.encode(&self.ca_pem),
            }}),
            context: json!({ "name": name, "context": { "cluster": name, "user": user } }),
            user: json!({ "name": user, "user": credential }),
        }
    }
}

/// One context of a kubeconfig, with its cluster and its user.
pub struct Context {
    name: String,
    cluster: Value,
    context: Value,
    user: Value,
}

/// A kubeconfig whose current context is the first; everything embedded, so that the file may be moved.
pub fn kubeconfig(contexts: &[Context]) -> String {
    let all = |part: fn(&Context) -> &Value| contexts.iter().map(part).collect::<Vec<_>>();
    // JSON is YAML.
    format!(
        "{:#}\n",
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": all(|context| &context.cluster),
            "users": all(|context| &context.user),
            "contexts": all(|context| &context.context),
            "current-context": contexts.first().map(|context| &context.name),
        })
    )
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, content: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut file = std::fs::File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("write {}", path.display()))?;
    file.write_all(content.as_bytes())?;
    Ok(())
}
