//! Where clusters come from: a kubeconfig's contexts, or clusters that were made without one, as those of a drill.

use super::connect::{Cluster, ConnectOptions, OtherContext, connect, other_contexts};
use crate::model::text::sanitize_line;
use crate::model::{Failure, FailureKind};

/// The contexts that can be connected to.
#[derive(Debug, Clone)]
pub enum Contexts {
    /// The context that the options name, and the others beside it.
    Kubeconfig(ConnectOptions),
    /// The first is the current one.
    Made(Vec<Cluster>),
}

impl Default for Contexts {
    /// None at all.
    fn default() -> Self {
        Contexts::Made(Vec::new())
    }
}

impl Contexts {
    /// Connects to the current context.
    ///
    /// # Errors
    /// As of [`connect`].
    pub async fn connect_current(&self) -> Result<Cluster, Failure> {
        match self {
            Contexts::Kubeconfig(options) => connect(options).await,
            Contexts::Made(clusters) => {
                let none = || Failure::new(FailureKind::Usage, "there is no cluster to connect to");
                clusters.first().cloned().ok_or_else(none)
            }
        }
    }

    /// Connects to a context by its name.
    ///
    /// # Errors
    /// As of [`connect`]; there is no such context.
    pub async fn connect_to(&self, context: &str) -> Result<Cluster, Failure> {
        match self {
            Contexts::Kubeconfig(options) => {
                connect(&ConnectOptions { context: Some(context.to_owned()), ..options.clone() }).await
            }
            Contexts::Made(clusters) => {
                let found = clusters.iter().find(|cluster| cluster.context() == context);
                found.cloned().ok_or_else(|| {
                    let names: Vec<&str> = clusters.iter().map(Cluster::context).collect();
                    Failure::new(FailureKind::Usage, format!("there is no context {}", sanitize_line(context)))
                        .hint(format!("there are: {}", names.join(", ")))
                })
            }
        }
    }

    /// The contexts that lead to other servers than this one, one a server.
    ///
    /// # Errors
    /// The kubeconfig cannot be used.
    pub fn others(&self, server: &str) -> Result<Vec<OtherContext>, Failure> {
        match self {
            Contexts::Kubeconfig(options) => other_contexts(options, server),
            Contexts::Made(clusters) => {
                let others = clusters.iter().filter(|cluster| cluster.server() != server);
                let other = |cluster: &Cluster| OtherContext {
                    context: cluster.context().to_owned(),
                    server: cluster.server().to_owned(),
                };
                Ok(others.map(other).collect())
            }
        }
    }
}
