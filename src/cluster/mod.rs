//! The API server: connect, watch, read, classify errors, and the one write gate. The only user of kube.
//!
//! - [`connect`]: a kubeconfig context to a [`Cluster`], and the reads that need no watch
//! - `kubeconfig`, `exec`, `proxy`: which file and context, with which credentials, by which way; `token`: kept fresh;
//!   `transport`: the connection
//! - [`watch`]: lists that keep themselves up to date
//! - [`logs`]: the end of a container's log
//! - [`job_pods`]: pods of jobs, in a small struct of our own
//! - [`objects`], `pods`, `runs`, `prow_job`: Kubernetes objects to rows of the model, sanitised
//! - [`errors`]: the one classifier of API errors
//! - [`check_job`]: the Job that asks a checkconfig, and how its pod fares
//! - [`live`]: objects as they are right now, for guards and backups
//! - [`gate`]: the one write gate; [`request`] makes what it sends
//!
//! Nothing of kube's or k8s-openapi's types is needed outside this room. To read another kind of object: a row in
//! `objects`, an `impl Listed` in `watch`.

pub mod check_job;
pub mod connect;
mod contexts;
pub mod errors;
mod exec;
pub mod gate;
pub mod job_pods;
mod kubeconfig;
pub mod live;
pub mod logs;
pub mod objects;
mod pods;
mod prow_job;
mod proxy;
mod request;
mod runs;
mod token;
mod transport;
pub mod watch;

pub use connect::{Cluster, ConnectOptions, Made};
pub use contexts::Contexts;
pub use runs::JobRow;

#[cfg(test)]
pub(crate) mod fake;
