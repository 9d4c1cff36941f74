//! The API server: connect, watch, read, classify errors, and the one write gate. The only user of kube.
//!
//! - [`connect`]: a kubeconfig context to a [`Cluster`], and the reads that need no watch
//! - [`exec`]: credentials from exec plugins, run by ourselves
//! - [`proxy`]: which proxy leads to the server
//! - [`errors`]: the one classifier of API errors
//!
//! Nothing of kube's or k8s-openapi's types leaves this room. To read another kind of object: a row in `objects`, an
//! `impl Listed` in `watch`.

pub mod connect;
pub mod errors;
mod exec;
mod kubeconfig;
mod objects;
mod proxy;

pub use connect::{Cluster, ConnectOptions, connect};
