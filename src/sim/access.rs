//! Who may do what: everything, but what is denied here. Not RBAC itself, only its answers.

use super::object::Resource;
use super::refusal::Refusal;

/// Something that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// `*` for all.
    pub verb: String,
    /// Plural, with a subresource after a slash (`pods/log`); `*` for all.
    pub resource: String,
    /// `None`: everywhere, and over the whole cluster.
    pub namespace: Option<String>,
}

/// The rights of the one user of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub user: String,
    /// Not even known to the server.
    pub signed_in: bool,
    pub denials: Vec<Denial>,
}

impl Default for Access {
    fn default() -> Self {
        Access { user: "oncall".to_owned(), signed_in: true, denials: Vec::new() }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    /// With subresource.
    pub resource: &'a str,
    /// Empty over the whole cluster.
    pub namespace: &'a str,
    pub name: &'a str,
}

impl Access {
    /// From now on this is not allowed.
    pub fn deny(&mut self, verb: &str, resource: &str, namespace: Option<&str>) {
        let namespace = namespace.map(str::to_owned);
        self.denials.push(Denial { verb: verb.to_owned(), resource: resource.to_owned(), namespace });
    }

    pub fn allows(&self, asked: &Asked<'_>) -> bool {
        let fits = |rule: &str, value: &str| rule == "*" || rule == value;
        !self.denials.iter().any(|denial| {
            fits(&denial.verb, asked.verb)
                && fits(&denial.resource, asked.resource)
                && denial.namespace.as_deref().is_none_or(|namespace| namespace == asked.namespace)
        })
    }

    /// # Errors
    /// 403 in the server's words.
    pub fn check(&self, asked: &Asked<'_>) -> Result<(), Refusal> {
        if self.allows(asked) {
            return Ok(());
        }
        let scope = match asked.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace \"{namespace}\""),
        };
        let why = format!(
            "User \"{}\" cannot {} resource \"{}\" in API group \"{}\" {scope}",
            self.user, asked.verb, asked.resource, asked.group
        );
        let plural = asked.resource.split('/').next().unwrap_or(asked.resource);
        Err(Refusal::forbidden(plural, asked.group, asked.name, &why))
    }
}

/// The plural with its subresource.
pub fn with_subresource(resource: Resource, subresource: &str) -> String {
    let plural = resource.facts().plural;
    if subresource.is_empty() { plural.to_owned() } else { format!("{plural}/{subresource}") }
}
