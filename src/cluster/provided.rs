//! Contexts that are in no kubeconfig: whoever starts the program on servers of its own (a drill) provides them.

use std::sync::Arc;

use kube::Client;

use super::connect::OtherContext;
use crate::model::{Failure, FailureKind};

/// A context with its client.
#[derive(Clone)]
pub struct ProvidedContext {
    pub context: String,
    /// URL of the server.
    pub server: String,
    /// Of the context; `default` where it names none.
    pub namespace: String,
    pub client: Client,
}

/// Contexts in place of a kubeconfig; the first is the current one.
#[derive(Clone)]
pub struct Provided(Arc<Vec<ProvidedContext>>);

impl std::fmt::Debug for Provided {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|provided| &provided.context)).finish()
    }
}

impl Provided {
    pub fn new(contexts: Vec<ProvidedContext>) -> Provided {
        Provided(Arc::new(contexts))
    }

    /// # Errors
    /// `Usage`: there is no such context.
    pub fn choose(&self, context: Option<&str>) -> Result<&ProvidedContext, Failure> {
        let found = match context {
            Some(name) => self.0.iter().find(|provided| provided.context == name),
            None => self.0.first(),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = self.0.iter().map(|provided| provided.context.as_str()).collect();
            Failure::new(FailureKind::Usage, format!("there is no context {}", context.unwrap_or_default()))
                .hint(format!("one of: {}", names.join(", ")))
        })
    }

    /// The contexts that lead elsewhere.
    pub fn others(&self, server: &str) -> Vec<OtherContext> {
        let others = self.0.iter().filter(|provided| provided.server != server);
        others
            .map(|provided| OtherContext { context: provided.context.clone(), server: provided.server.clone() })
            .collect()
    }
}
