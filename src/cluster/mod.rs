//! The API server: connect, watch, read, classify errors, and the one write gate. The only user of kube.
//!
//! - [`connect`]: a kubeconfig context to a [`Cluster`], and the reads that need no watch
//! - [`exec`]: credentials from exec plugins, run by ourselves
//! - [`proxy`]: which proxy leads to the server
//! - [`errors`]: the one classifier of API errors
//! - [`live`]: objects as they are right now, for guards and backups
//! - [`gate`]: the one write gate; [`request`] makes what it sends
//!
//! Nothing of kube's or k8s-openapi's types leaves this room. To read another kind of object: a row in `objects`, an
//! `impl Listed` in `watch`.

pub mod connect;
pub mod errors;
mod exec;
pub mod gate;
mod kubeconfig;
pub mod live;
mod objects;
mod proxy;
mod request;

pub use connect::{Cluster, ConnectOptions, connect};
