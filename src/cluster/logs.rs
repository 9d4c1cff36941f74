//! The end of a container's log: bounded, and text whatever bytes it holds.

use futures::AsyncReadExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;

use super::Cluster;
use crate::model::text::sanitize;
use crate::model::{Failure, FailureKind, Key};

/// Lines asked for, and bytes at most.
const LINES: i64 = 200;
const BYTES: i64 = 64 * 1024;
/// Where [`LINES`] are more than [`BYTES`]: the server cuts off the newest, which are the ones wanted.
const FEWER_LINES: i64 = 20;

/// Which life of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Life {
    Current,
    Previous,
}

impl Cluster {
    /// The log's last lines, sanitised; `None` where the server has no such log (any more).
    pub async fn log(&self, pod: &Key, container: &str, life: Life) -> Result<Option<String>, Failure> {
        let doing = format!("get pods/log in namespace {}", pod.namespace);
        let read = async |lines| match self.call(&doing, self.read_log(pod, container, life, lines)).await {
            Ok(bytes) => Ok(Some(bytes)),
            // 400: the container waits and has no earlier life.
            Err(failure) if matches!(failure.kind, FailureKind::NotFound | FailureKind::Rejected) => Ok(None),
            Err(failure) => Err(failure),
        };
        let Some(mut bytes) = read(LINES).await? else {
            return Ok(None);
        };
        if bytes.len() as i64 >= BYTES
            && let Some(end) = read(FEWER_LINES).await?
        {
            bytes = end;
        }
        Ok(Some(sanitize(&String::from_utf8_lossy(&bytes))))
    }

    async fn read_log(&self, pod: &Key, container: &str, life: Life, lines: i64) -> Result<Vec<u8>, kube::Error> {
        let pods: Api<Pod> = Api::namespaced(self.client(), &pod.namespace);
        let params = LogParams {
            container: Some(container.to_owned()),
            previous: life == Life::Previous,
            tail_lines: Some(lines),
            limit_bytes: Some(BYTES),
            ..LogParams::default()
        };
        let stream = pods.log_stream(&pod.name, &params).await?;
        let mut bytes = Vec::new();
        // The limit is the server's to keep; not trusted.
        let limit = u64::try_from(BYTES).unwrap_or(0);
        stream.take(limit).read_to_end(&mut bytes).await.map_err(kube::Error::ReadEvents)?;
        Ok(bytes)
    }
}
