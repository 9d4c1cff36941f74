//! The one write gate: every request of this program that could change an object passes [`Gate::send`].
//!
//! A gate is made either for dry runs or for one proven cluster, and cannot become the other. So a preview cannot write,
//! whatever a front end gets wrong, and what it shows is the very request that a run sends.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};

use http::Request;
use kube::core::Status;
use serde::Deserialize;

use super::live::{LiveConfigMap, LivePod};
use super::request::{self, Effect};
use super::{Cluster, errors};
use crate::model::{
    ClusterIdentity, ConfigMapBody, Failure, FailureKind, Timestamp, Write, content_digest, images_before, sha256_hex,
};

/// Sends writes to one cluster, all of them as dry runs or all for real.
#[derive(Debug, Clone)]
pub struct Gate {
    cluster: Cluster,
    effect: Effect,
}

/// A write's request, ready to be sent. Checked before anything is journalled about it.
#[derive(Debug)]
pub struct Prepared {
    doing: String,
    write: Write,
    audit_id: String,
    request: Request<Vec<u8>>,
}

impl Prepared {
    /// sha256 of the request's body, hex.
    pub fn body_sha256(&self) -> String {
        sha256_hex(self.request.body())
    }

    pub fn audit_id(&self) -> &str {
        &self.audit_id
    }
}

/// The server did it (or would, under dry run).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// Of the object afterwards; none where the answer holds no object.
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// The server did not, or we do not know.
#[derive(Debug, Clone, PartialEq)]
pub enum SendError {
    /// Certainly not done: the API server said no, or nothing was sent.
    NotDone(Failure),
    /// Sent, perhaps done: no answer, or one that does not tell. Read back; never assume.
    NoAnswer(Failure),
}

/// What reading back says of a write whose answer was lost.
#[derive(Debug, Clone, PartialEq)]
pub enum Landed {
    AsWritten,
    AsBefore,
    /// Neither: somebody else wrote since. `who` as in managedFields.
    Otherwise {
        detail: String,
        who: Option<String>,
    },
    /// The object is not there (any more).
    Gone,
}

impl Gate {
    /// A gate that can only ask whether the server would.
    pub fn dry_run(cluster: &Cluster) -> Gate {
        Gate { cluster: cluster.clone(), effect: Effect::DryRun }
    }

    /// A gate that writes, to the expected cluster and no other.
    ///
    /// # Errors
    /// `Refused` where the server is another one; else why its identity could not be read.
    pub async fn live(cluster: &Cluster, expected: &ClusterIdentity) -> Result<Gate, Failure> {
        prove(cluster, expected).await?;
        Ok(Gate { cluster: cluster.clone(), effect: Effect::Real })
    }

    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Makes the request of a write.
    ///
    /// # Errors
    /// `Refused`: the write has no precondition, names what is no name, or is for another cluster.
    pub fn prepare(&self, write: &Write, audit_id: &str) -> Result<Prepared, Failure> {
        if write.cluster() != self.cluster.alias() {
            return Err(Failure::new(
                FailureKind::Refused,
                format!("the write is for cluster {}, not {}", write.cluster(), self.cluster.alias()),
            ));
        }
        let request = request::build(write, self.effect, audit_id)?;
        let doing = format!("{} {}", write.word(), write.object());
        Ok(Prepared { doing, write: write.clone(), audit_id: audit_id.to_owned(), request })
    }

    /// Sends a prepared write, once: nothing is retried.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(&self, prepared: Prepared) -> Result<Sent, SendError> {
        let Prepared { doing, write, audit_id: _, request } = prepared;
        let timeout = self.cluster.timeout();
        match tokio::time::timeout(timeout, self.cluster.client().request_text(request)).await {
            Ok(Ok(text)) => understand(&write, &text).ok_or_else(|| {
                let failure =
                    Failure::new(FailureKind::Server, format!("could not {doing}: the answer makes no sense"))
                        .hint("is there a proxy or another program between here and the API server?");
                SendError::NoAnswer(failure)
            }),
            Ok(Err(error)) => {
                let failure = self.cluster.at_server(errors::classify(&error, &doing));
                Err(if is_certain(&error) { SendError::NotDone(failure) } else { SendError::NoAnswer(failure) })
            }
            Err(_) => Err(SendError::NoAnswer(self.cluster.at_server(errors::timed_out(&doing, timeout)))),
        }
    }

    /// Looks whether a write landed whose answer was lost.
    ///
    /// # Errors
    /// The object cannot be read: the outcome stays unknown.
    pub async fn read_back(&self, write: &Write) -> Result<Landed, Failure> {
        match write {
            Write::PutConfigMap { object, at, body } => {
                let Some(live) = self.cluster.live_config_map(object).await? else { return Ok(Landed::Gone) };
                if live.state.uid != at.uid {
                    return Ok(otherwise("it is another object now", &live));
                }
                if live.state.resource_version == at.resource_version {
                    return Ok(Landed::AsBefore);
                }
                // Where the write was to change the content, the content tells; else labels and annotations do.
                let (content, wanted) = (content_digest(&live.state.values), body.content_digest());
                Ok(if content == wanted && (wanted != at.content || has_metadata(&live, body)) {
                    Landed::AsWritten
                } else if content == at.content && wanted != at.content {
                    Landed::AsBefore
                } else {
                    otherwise("it holds neither what was written nor what was there before", &live)
                })
            }
            Write::CreateConfigMap { object, body } => Ok(match self.cluster.live_config_map(object).await? {
                None => Landed::AsBefore,
                Some(live) if live.state.values == body.values => Landed::AsWritten,
                Some(live) => otherwise("it is there, with other content", &live),
            }),
            Write::DeleteConfigMap { object, at } => Ok(match self.cluster.live_config_map(object).await? {
                Some(live) if live.state.uid == at.uid => Landed::AsBefore,
                // Another one under its name is not the one that was to go.
                Some(_) | None => Landed::AsWritten,
            }),
            Write::DeletePod { object, uid, .. } => Ok(match self.cluster.live_pod(object).await? {
                Some(LivePod { uid: now, deleting: false, .. }) if now == *uid => Landed::AsBefore,
                Some(_) | None => Landed::AsWritten,
            }),
            Write::PatchImage { object, at, images } => {
                let Some(live) = self.cluster.live_workload(object).await? else { return Ok(Landed::Gone) };
                let otherwise = |detail: &str| {
                    let who = live.state.last_writer.clone();
                    Ok(Landed::Otherwise { detail: detail.to_owned(), who })
                };
                if live.state.uid != at.uid {
                    return otherwise("it is another object now");
                }
                if live.state.has(images) {
                    return Ok(Landed::AsWritten);
                }
                if live.state.digest_of(images) == Some(images_before(images)) {
                    return Ok(Landed::AsBefore);
                }
                otherwise("its images are neither what was written nor what was there before")
            }
        }
    }
}

fn has_metadata(live: &LiveConfigMap, body: &ConfigMapBody) -> bool {
    live.state.labels == body.labels && live.state.annotations == body.annotations
}

fn otherwise(detail: &str, live: &LiveConfigMap) -> Landed {
    Landed::Otherwise { detail: detail.to_owned(), who: live.state.last_writer().map(|writer| writer.manager.clone()) }
}

/// Makes sure that this is the expected cluster.
///
/// # Errors
/// `Refused`, naming both; else why the identity could not be read.
pub async fn prove(cluster: &Cluster, expected: &ClusterIdentity) -> Result<(), Failure> {
    let found = cluster.identity().await?;
    let same = (&found.alias, &found.server, &found.uid, &found.ca)
        == (&expected.alias, &expected.server, &expected.uid, &expected.ca);
    if same {
        return Ok(());
    }
    Err(Failure::new(
        FailureKind::Refused,
        format!("context {} is another cluster than the plan was made for", found.context),
    )
    .cause(format!("the plan: {}", in_words(expected)))
    .cause(format!("here: {}", in_words(&found)))
    .hint(format!("if you meant the plan's: --context {}; if not, make a plan for this one", expected.context)))
}

fn in_words(identity: &ClusterIdentity) -> String {
    let ca = if identity.ca.is_empty() { "the system's" } else { identity.ca.get(..12).unwrap_or(&identity.ca) };
    format!("{} (context {}, kube-system {}, CA {ca})", identity.server, identity.context, identity.uid)
}

/// An `Audit-ID` for one request: the API server keeps it, so the journal and its audit log can be joined. A uuid that
/// never comes twice: run, step, time, process, a count, and the randomness that std seeds its maps with.
pub fn audit_id(run: &str, n: usize, now: Timestamp) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let random = RandomState::new().build_hasher().finish();
    let seed = format!("{run}/{n}/{}/{}/{count}/{random}", now.as_nanosecond(), std::process::id());
    let hex = sha256_hex(seed.as_bytes());
    // Version 8 is what RFC 9562 leaves to such recipes.
    format!("{}-{}-8{}-a{}-{}", &hex[..8], &hex[8..12], &hex[12..15], &hex[15..18], &hex[18..30])
}

#[derive(Deserialize)]
struct AnswerObject {
    kind: String,
    #[serde(default)]
    metadata: AnswerMeta,
    /// Of a `Status`; an object's is a map.
    #[serde(default)]
    status: serde_json::Value,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct AnswerMeta {
    #[serde(default)]
    name: String,
    uid: Option<String>,
    resource_version: Option<String>,
}

/// An answer of the 200s, if it is the API server's to this write. A login page of a proxy is none.
fn understand(write: &Write, text: &str) -> Option<Sent> {
    let answer: AnswerObject = serde_json::from_str(text).ok()?;
    let is_it = |kind: &str, uid: Option<&str>| {
        answer.kind == kind
            && answer.metadata.name == write.object().name
            && uid.is_none_or(|uid| answer.metadata.uid.as_deref() == Some(uid))
    };
    let fits = match write {
        Write::PutConfigMap { at, .. } => is_it("ConfigMap", Some(&at.uid)),
        Write::CreateConfigMap { .. } => is_it("ConfigMap", None),
        Write::PatchImage { object, at, .. } => is_it(&object.kind.to_string(), Some(&at.uid)),
        Write::DeleteConfigMap { at, .. } => {
            is_it("ConfigMap", Some(&at.uid)) || (answer.kind == "Status" && answer.status == "Success")
        }
        Write::DeletePod { uid, .. } => {
            is_it("Pod", Some(uid)) || (answer.kind == "Status" && answer.status == "Success")
        }
    };
    fits.then_some(Sent { uid: answer.metadata.uid, resource_version: answer.metadata.resource_version })
}

/// True where the write certainly was not done.
fn is_certain(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => is_own_answer(status) && (400..500).contains(&status.code) && status.code != 408,
        // Nothing was sent at all.
        kube::Error::BuildRequest(_) | kube::Error::Auth(_) | kube::Error::HttpError(_) => true,
        kube::Error::Service(source) => is_refused_connection(source.as_ref()),
        kube::Error::HyperError(source) => is_refused_connection(source),
        // A 5xx is no promise either: a timeout between the API server and etcd is one, and the write may stand.
        _ => false,
    }
}

/// True where the API server itself spoke, not something before it: its refusals are `Status` objects.
pub(super) fn is_own_answer(status: &Status) -> bool {
    status.details.is_some() || (!status.reason.is_empty() && !status.reason.contains(' '))
}

fn is_refused_connection(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut link = Some(error);
    while let Some(error) = link {
        if error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        {
            return true;
        }
        link = error.source();
    }
    false
}

#[cfg(test)]
mod tests;
