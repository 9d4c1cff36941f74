//! Is this Prow healthy, and is anything left behind? Judged from the world itself: the program's opinion does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use jiff::SignedDuration;
use serde_json::Value;

use super::file::DrillFile;
use crate::prow::gzip::inflate;
use crate::prow::plugins::parse_plugins;
use crate::prow::updater::render;
use crate::sim::World;
use crate::sim::object::{ObjectKey, Resource, base_and_tag, is_deleting, items, label, name, number, text, time};
use crate::sim::prow::CREATED_BY_PROW;
use crate::sim::prow::config::Loaded;

const PLUGINS: &str = "config/prow/plugins.yaml";
const MAPS: [&str; 3] = ["config", "job-config", "plugins"];
const MAKER: &str = "prow-controller-manager";
const WOULD_NOT_LOAD: &str = "would not load the live configuration";
/// A job that is younger may wait for its pod.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// What is wrong, each a lower-case fragment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Prow does not work for its users.
    pub broken: Vec<String>,
    /// It works, and somebody has to come again.
    pub left: Vec<String>,
}

impl Judgement {
    pub fn works(&self) -> bool {
        self.broken.is_empty()
    }

    pub fn is_clean(&self) -> bool {
        self.broken.is_empty() && self.left.is_empty()
    }
}

/// Judges, and remembers what takes long: whether the ConfigMaps load, and whether they are git's.
#[derive(Debug, Default)]
pub struct Judge {
    remembered: Option<(Asked, Vec<String>)>,
}

/// What the answer about the ConfigMaps depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    versions: Vec<String>,
    tags: BTreeSet<String>,
    merged: usize,
}

impl Judge {
    pub fn judge(&mut self, world: &World, file: &DrillFile) -> Judgement {
        let mut judgement = Judgement::default();
        let deployments = world.list(&world.prow.service, Resource::Deployment, &file.prow.namespace);
        for deployment in &deployments {
            let wanted = number(deployment, "/spec/replicas").unwrap_or(1);
            let ready = number(deployment, "/status/readyReplicas").unwrap_or(0);
            let observed = number(deployment, "/status/observedGeneration");
            if ready < wanted || observed < number(deployment, "/metadata/generation") {
                judgement.broken.push(format!("{}: {ready} of {wanted} ready", name(deployment)));
            }
        }
        match &world.prow.leader {
            None => judgement.broken.push(format!("no {MAKER} leads")),
            Some(leader) if leader.pod_namespace != file.prow.pod_namespace => {
                judgement.broken.push(format!("{MAKER} makes pods in {}", leader.pod_namespace));
            }
            Some(_) => {}
        }
        pods(world, file, &mut judgement);
        judgement.left.extend(self.config(world, file, &deployments));
        judgement
    }

    /// Whether the components' versions would load the ConfigMaps as they are now.
    pub fn would_load(&mut self, world: &World, file: &DrillFile) -> Result<(), String> {
        let deployments = world.list(&world.prow.service, Resource::Deployment, &file.prow.namespace);
        let refused = self.config(world, file, &deployments).into_iter().find(|what| what.contains(WOULD_NOT_LOAD));
        refused.map_or(Ok(()), Err)
    }

    fn config(&mut self, world: &World, file: &DrillFile, deployments: &[Arc<Value>]) -> Vec<String> {
        let map = |name: &&str| {
            world.get(&world.prow.service, &ObjectKey::new(Resource::ConfigMap, &file.prow.namespace, *name))
        };
        let maps: BTreeMap<&str, &Arc<Value>> = MAPS.iter().filter_map(|name| Some((*name, map(name)?))).collect();
        let tags = deployments.iter().filter(|deployment| mounts_config(deployment)).map(|deployment| tag(deployment));
        let asked = Asked {
            versions: maps.values().map(|map| text(map, "/metadata/resourceVersion").to_owned()).collect(),
            tags: tags.map(str::to_owned).collect(),
            merged: world.repository.merged,
        };
        if let Some((before, answer)) = &self.remembered
            && *before == asked
        {
            return answer.clone();
        }
        let live: BTreeMap<String, Arc<BTreeMap<String, Vec<u8>>>> =
            maps.iter().map(|(name, map)| ((*name).to_owned(), Arc::new(values(map)))).collect();
        let mut left = Vec::new();
        for tag in &asked.tags {
            if let Err(error) = Loaded::load(&live, &file.prow.namespace, tag) {
                left.push(format!("{tag} {WOULD_NOT_LOAD}: {}", error.error));
            }
        }
        left.extend(differences(world, file, &live));
        self.remembered = Some((asked, left.clone()));
        left
    }
}

fn mounts_config(deployment: &Value) -> bool {
    items(deployment, "/spec/template/spec/volumes").iter().any(|volume| volume["configMap"].is_object())
}

fn tag(deployment: &Value) -> &str {
    base_and_tag(text(deployment, "/spec/template/spec/containers/0/image")).1
}

/// Pods of jobs: those that are missing, and those that are where they should not be.
fn pods(world: &World, file: &DrillFile, judgement: &mut Judgement) {
    let jobs = world.list(&world.prow.service, Resource::ProwJob, &file.prow.namespace);
    let jobs: BTreeMap<&str, &Arc<Value>> = jobs.iter().map(|job| (name(job), job)).collect();
    let mut homes: BTreeSet<&str> = BTreeSet::new();
    let mut strays = 0_usize;
    for (context, cluster) in &world.clusters {
        for (key, pod) in cluster.store.all(Resource::Pod, "") {
            if label(pod, CREATED_BY_PROW) != Some("true") {
                continue;
            }
            let Some((job, object)) = jobs.get_key_value(key.name.as_str()) else { continue };
            if is_home(world, file, object, context, &key.namespace) {
                homes.extend((!is_deleting(pod)).then_some(*job));
            } else {
                strays += 1;
            }
        }
    }
    let waiting = jobs.values().filter(|job| {
        let old = time(job, "/status/startTime").is_some_and(|at| world.now().duration_since(at) > PATIENCE);
        old && text(job, "/status/completionTime").is_empty() && !homes.contains(name(job))
    });
    let waiting = waiting.count();
    if waiting > 0 {
        judgement.broken.push(format!("{waiting} unfinished ProwJob(s) have no pod where it belongs"));
    }
    if strays > 0 {
        judgement.left.push(format!("{strays} stray pod(s)"));
    }
}

/// Whether a pod of this ProwJob belongs there.
pub fn is_home(world: &World, file: &DrillFile, job: &Value, context: &str, namespace: &str) -> bool {
    namespace == file.prow.pod_namespace && world.prow.context_of(text(job, "/spec/cluster")) == Some(context)
}

/// What git's head asks for and is not so.
fn differences(
    world: &World,
    file: &DrillFile,
    live: &BTreeMap<String, Arc<BTreeMap<String, Vec<u8>>>>,
) -> Option<String> {
    let head = world.repository.head();
    let updater = parse_plugins(head.get(PLUGINS)?).ok()?;
    let differing: Vec<String> = render(&updater, &head, &file.prow.namespace)
        .config_maps
        .iter()
        .filter(|map| {
            let held = live.get(&map.key.name);
            map.entries.iter().any(|(key, entry)| {
                let held = held.and_then(|values| values.get(key));
                held.is_none_or(|bytes| inflated(bytes) != inflated(&entry.bytes))
            })
        })
        .map(|map| map.key.name.clone())
        .collect();
    (!differing.is_empty()).then(|| format!("{} not as in git", differing.join(", ")))
}

fn inflated(bytes: &[u8]) -> Vec<u8> {
    inflate(bytes).map_or_else(|_| bytes.to_vec(), |inflated| inflated.into_owned())
}

/// Of a ConfigMap.
fn values(map: &Value) -> BTreeMap<String, Vec<u8>> {
    let entries = |part: &str| map[part].as_object().into_iter().flatten();
    let plain =
        entries("data").map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().as_bytes().to_vec()));
    let binary = entries("binaryData").filter_map(|(key, value)| {
        Some((key.clone(), base64::engine::general_purpose::STANDARD.decode(value.as_str()?).ok()?))
    });
    plain.chain(binary).collect()
}
