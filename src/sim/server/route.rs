//! What a URL asks for.

use std::collections::BTreeMap;

use http::Uri;

use super::super::object::Resource;
use super::super::refusal::Refusal;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Version,
    /// `/apis`
    Groups,
    /// `/api`
    CoreVersions,
    /// `/api/v1`, `/apis/GROUP/v1`
    Resources {
        group: String,
    },
    AccessReview,
    SelfReview,
    Objects {
        resource: Resource,
        namespace: String,
        name: String,
        subresource: String,
    },
}

#[derive(Debug, Clone)]
pub struct Route {
    pub target: Target,
    query: BTreeMap<String, String>,
}

impl Route {
    /// # Errors
    /// 404, as the server's.
    pub fn parse(uri: &Uri) -> Result<Route, Refusal> {
        let query = uri.query().unwrap_or_default();
        let query = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decode(name), decode(value)))
            .collect();
        let path: Vec<String> = uri.path().split('/').filter(|part| !part.is_empty()).map(decode).collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let target = match path.as_slice() {
            ["version"] => Target::Version,
            ["api"] => Target::CoreVersions,
            ["apis"] => Target::Groups,
            ["api", "v1"] => Target::Resources { group: String::new() },
            ["apis", group, "v1"] => Target::Resources { group: (*group).to_owned() },
            ["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"] => Target::AccessReview,
            ["apis", "authentication.k8s.io", "v1", "selfsubjectreviews"] => Target::SelfReview,
            ["api", version, rest @ ..] => objects("", version, rest)?,
            ["apis", group, version, rest @ ..] => objects(group, version, rest)?,
            _ => return Err(Refusal::no_such_path()),
        };
        Ok(Route { target, query })
    }

    /// A parameter; empty where it is not given.
    pub fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    pub fn number(&self, name: &str) -> Option<usize> {
        self.query(name).parse().ok()
    }
}

fn objects(group: &str, version: &str, rest: &[&str]) -> Result<Target, Refusal> {
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, subresource] => (*plural, *name, *subresource),
        _ => return Err(Refusal::no_such_path()),
    };
    let is_served = |resource: Resource| resource.facts().group == group;
    let resource = Resource::find(group, version, plural).ok_or_else(|| {
        if Resource::ALL.into_iter().any(is_served) { Refusal::no_such_path() } else { Refusal::no_such_page() }
    })?;
    Ok(Target::Objects {
        resource,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
    })
}

/// `%2C` to `,`; `+` is a space in queries, and in no path of this API.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next(), rest.next()].into_iter().flatten().collect::<Vec<u8>>();
                let hex = std::str::from_utf8(&digits).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
                bytes.push(hex.unwrap_or(b'?'));
            }
            b'+' => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
