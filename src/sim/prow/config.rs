//! The configuration that a component has loaded: the rules of `crate::prow` say whether it loads, and what the simulation acts
//! by is read here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::controllers::life::Files;
use super::super::object::items;
use crate::model::{Alias, ConfigMapState, Key};
use crate::prow::gzip::{inflate, is_gzip};
use crate::prow::{ConfigFiles, objections_live, preset_rule};

const CONFIG: &str = "config";
const PLUGINS: &str = "plugins";
const JOB_CONFIG: &str = "job-config";
/// Components mount different maps; this is enough for two versions of all of them.
const READINGS: usize = 8;

/// Which part of the configuration an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Config,
    Plugins,
}

/// Why a configuration does not load, in Prow's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    pub which: Which,
    pub error: String,
}

/// Namespaces: of ProwJobs, and of their pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    pub prowjobs: String,
    pub pods: String,
}

/// Who runs a job, and when.
#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    Periodic {
        every: SignedDuration,
    },
    /// A merge into this repository that touches the path; empty: any.
    Postsubmit {
        repo: String,
        run_if_changed: String,
    },
}

/// A job that this simulation starts by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct JobSpec {
    pub name: String,
    pub trigger: Trigger,
    pub cluster: String,
    pub labels: BTreeMap<String, String>,
    /// With its presets.
    pub pod_spec: Value,
}

/// What a component has read.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// As read at the start.
    pub watched: Watched,
    pub pending_timeout: SignedDuration,
    pub running_timeout: SignedDuration,
    pub resync: SignedDuration,
    pub max_prowjob_age: SignedDuration,
    pub max_pod_age: SignedDuration,
    pub excluded_clusters: Vec<String>,
    pub jobs: Vec<JobSpec>,
}

impl Loaded {
    /// Reads the files of a pod in this namespace as a Prow of this tag does. `None` where it mounts no config.yaml.
    ///
    /// # Errors
    /// In Prow's words.
    pub fn load(maps: &BTreeMap<String, Files>, namespace: &str, tag: &str) -> Result<Option<Loaded>, LoadError> {
        let states: BTreeMap<Key, ConfigMapState> =
            maps.iter().map(|(name, files)| state(namespace, name, files)).collect();
        // It is not inflated by Prow, and its YAML parser says so.
        let plugins = maps.get(PLUGINS).and_then(|files| files.get("plugins.yaml"));
        let objections = objections_live(&states, &ConfigFiles::by_name(), preset_rule(std::iter::once(tag)));
        let of_plugins =
            |objection: &&crate::model::Objection| objection.config_map.as_ref().is_some_and(|map| map.name == PLUGINS);
        if let Some(objection) = objections.iter().find(|objection| !of_plugins(objection)) {
            return Err(LoadError { which: Which::Config, error: objection.message.clone() });
        }
        if plugins.is_some_and(|bytes| is_gzip(bytes)) {
            let error = "error converting YAML to JSON: yaml: control characters are not allowed".to_owned();
            return Err(LoadError { which: Which::Plugins, error });
        }
        if let Some(objection) = objections.iter().find(of_plugins) {
            return Err(LoadError { which: Which::Plugins, error: objection.message.clone() });
        }
        let Some(config) = maps.get(CONFIG).and_then(|files| files.get("config.yaml")) else { return Ok(None) };
        let config = parse(config)?;
        let job_files = maps.get(JOB_CONFIG).into_iter().flat_map(|files| files.iter());
        let job_files = job_files.filter(|(key, _)| key.ends_with(".yaml") || key.ends_with(".yml"));
        let files = job_files.map(|(_, bytes)| parse(bytes)).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(read(config, files)))
    }
}

/// What a configuration came to.
type Outcome = Result<Option<Arc<Loaded>>, LoadError>;

/// What pods read lately. Many of them read the same, and reading is most of what a start takes.
#[derive(Debug, Clone, Default)]
pub struct Readings(VecDeque<Reading>);

#[derive(Debug, Clone)]
struct Reading {
    maps: BTreeMap<String, Files>,
    namespace: String,
    tag: String,
    outcome: Outcome,
}

impl Readings {
    /// As [`Loaded::load`].
    ///
    /// # Errors
    /// In Prow's words.
    pub fn load(&mut self, maps: &BTreeMap<String, Files>, namespace: &str, tag: &str) -> Outcome {
        let is_it = |held: &&Reading| held.tag == tag && held.namespace == namespace && held.maps == *maps;
        if let Some(held) = self.0.iter().find(is_it) {
            return held.outcome.clone();
        }
        let outcome = Loaded::load(maps, namespace, tag).map(|loaded| loaded.map(Arc::new));
        if self.0.len() == READINGS {
            self.0.pop_front();
        }
        let (maps, namespace, tag) = (maps.clone(), namespace.to_owned(), tag.to_owned());
        self.0.push_back(Reading { maps, namespace, tag, outcome: outcome.clone() });
        outcome
    }
}

fn state(namespace: &str, name: &str, files: &Files) -> (Key, ConfigMapState) {
    let key = Key::new(namespace, name);
    let state = ConfigMapState {
        cluster: Alias::service(),
        key: key.clone(),
        uid: String::new(),
        resource_version: String::new(),
        immutable: false,
        values: files.as_ref().clone(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        writers: Vec::new(),
    };
    (key, state)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    prowjob_namespace: String,
    pod_namespace: String,
    plank: RawPlank,
    sinker: RawSinker,
    presets: Vec<RawPreset>,
    periodics: Vec<RawJob>,
    postsubmits: BTreeMap<String, Vec<RawJob>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawPlank {
    pod_pending_timeout: String,
    pod_running_timeout: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawSinker {
    resync_period: String,
    max_prowjob_age: String,
    max_pod_age: String,
    exclude_clusters: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawPreset {
    labels: BTreeMap<String, Value>,
    env: Vec<Value>,
    volumes: Vec<Value>,
    volume_mounts: Vec<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct RawJob {
    name: String,
    cluster: String,
    interval: String,
    run_if_changed: String,
    labels: BTreeMap<String, Value>,
    spec: Value,
}

fn parse(bytes: &[u8]) -> Result<Raw, LoadError> {
    let odd = |error: String| LoadError { which: Which::Config, error };
    let bytes = inflate(bytes).map_err(|error| odd(error.to_string()))?;
    let parsed: Option<Raw> = serde_saphyr::from_slice(&bytes).map_err(|error| odd(error.to_string()))?;
    Ok(parsed.unwrap_or_default())
}

fn read(config: Raw, files: Vec<Raw>) -> Loaded {
    let or = |text: &str, minutes: i64| duration(text).unwrap_or(SignedDuration::from_mins(minutes));
    let namespace = |name: &str| if name.is_empty() { "default".to_owned() } else { name.to_owned() };
    let presets: Vec<RawPreset> =
        config.presets.iter().chain(files.iter().flat_map(|file| &file.presets)).cloned().collect();
    let mut jobs = Vec::new();
    for file in std::iter::once(&config).chain(&files) {
        for job in &file.periodics {
            if let Some(every) = duration(&job.interval) {
                jobs.push(job_spec(job, Trigger::Periodic { every }, &presets));
            }
        }
        for (repo, of_repo) in &file.postsubmits {
            for job in of_repo {
                let trigger = Trigger::Postsubmit { repo: repo.clone(), run_if_changed: job.run_if_changed.clone() };
                jobs.push(job_spec(job, trigger, &presets));
            }
        }
    }
    Loaded {
        watched: Watched { prowjobs: namespace(&config.prowjob_namespace), pods: namespace(&config.pod_namespace) },
        pending_timeout: or(&config.plank.pod_pending_timeout, 10),
        running_timeout: or(&config.plank.pod_running_timeout, 48 * 60),
        resync: or(&config.sinker.resync_period, 60),
        max_prowjob_age: or(&config.sinker.max_prowjob_age, 7 * 24 * 60),
        max_pod_age: or(&config.sinker.max_pod_age, 24 * 60),
        excluded_clusters: config.sinker.exclude_clusters,
        jobs,
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn job_spec(job: &RawJob, trigger: Trigger, presets: &[RawPreset]) -> JobSpec {
    let labels: BTreeMap<String, String> =
        job.labels.iter().map(|(label, value)| (label.clone(), plain(value))).collect();
    let mut pod_spec = if job.spec.is_object() { job.spec.clone() } else { json!({}) };
    let applies =
        |preset: &&RawPreset| preset.labels.iter().all(|(label, value)| labels.get(label) == Some(&plain(value)));
    for preset in presets.iter().filter(applies) {
        extend(&mut pod_spec, "volumes", &preset.volumes);
        for container in pod_spec["containers"].as_array_mut().into_iter().flatten() {
            extend(container, "env", &preset.env);
            extend(container, "volumeMounts", &preset.volume_mounts);
        }
    }
    for (n, container) in pod_spec["containers"].as_array_mut().into_iter().flatten().enumerate() {
        if container["name"].is_null() {
            container["name"] = json!(if n == 0 { "test".to_owned() } else { format!("test-{n}") });
        }
    }
    JobSpec { name: job.name.clone(), trigger, cluster: job.cluster.clone(), labels, pod_spec }
}

fn extend(object: &mut Value, list: &str, more: &[Value]) {
    if more.is_empty() {
        return;
    }
    let mut all = items(object, &format!("/{list}")).to_vec();
    all.extend(more.iter().cloned());
    object[list] = Value::Array(all);
}

/// Go's: `1h`, `60m`, `1h30m`, `10s`.
fn duration(text: &str) -> Option<SignedDuration> {
    let mut seconds = 0;
    let mut number = 0;
    for c in text.chars() {
        match (c.to_digit(10), c) {
            (Some(digit), _) => number = number * 10 + i64::from(digit),
            (None, 'h') => seconds += std::mem::take(&mut number) * 3600,
            (None, 'm') => seconds += std::mem::take(&mut number) * 60,
            (None, 's') => seconds += std::mem::take(&mut number),
            (None, _) => return None,
        }
    }
    (seconds > 0).then(|| SignedDuration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const CONFIG_YAML: &str = "prowjob_namespace: prow\npod_namespace: test-pods\nplank:\n  pod_pending_timeout: 60m\n\
        presets:\n- labels:\n    a: \"true\"\n  volumes:\n  - name: s\n    secret:\n      secretName: s\n";

    fn maps(jobs: &str) -> BTreeMap<String, Files> {
        let files = |key: &str, text: &str| Arc::new(BTreeMap::from([(key.to_owned(), text.as_bytes().to_vec())]));
        BTreeMap::from([
            (CONFIG.to_owned(), files("config.yaml", CONFIG_YAML)),
            (JOB_CONFIG.to_owned(), files("jobs.yaml", jobs)),
        ])
    }

    const NEW: &str = "v20240619-cfb8754e0";
    const OLD: &str = "v20190118-b3f0d0d11";

    #[test]
    fn jobs_get_their_presets_and_times() {
        let jobs = "periodics:\n- name: p\n  interval: 1h30m\n  labels:\n    a: true\n  spec:\n    containers:\n    - image: i\n";
        let loaded = Loaded::load(&maps(jobs), "prow", NEW).unwrap().unwrap();
        assert_eq!(loaded.watched, Watched { prowjobs: "prow".to_owned(), pods: "test-pods".to_owned() });
        assert_eq!(loaded.pending_timeout, SignedDuration::from_mins(60));
        assert_eq!(loaded.jobs[0].trigger, Trigger::Periodic { every: SignedDuration::from_mins(90) });
        assert_eq!(loaded.jobs[0].pod_spec["volumes"][0]["secret"]["secretName"], "s");
        assert_eq!(loaded.jobs[0].pod_spec["containers"][0]["name"], "test");
    }

    #[test]
    fn what_is_a_duplicate_hangs_on_the_version() {
        let other_value = maps("presets:\n- labels:\n    a: other\n");
        assert!(Loaded::load(&other_value, "prow", NEW).is_ok());
        let refused = Loaded::load(&other_value, "prow", OLD).unwrap_err();
        assert_eq!(refused, LoadError { which: Which::Config, error: "duplicated preset label : a".to_owned() });
        let same = maps("presets:\n- labels:\n    a: true\n");
        let refused = Loaded::load(&same, "prow", NEW).unwrap_err();
        assert_eq!(refused.error, "duplicated preset 'label:value' pair : a:true");
    }

    #[test]
    fn plugins_are_not_inflated_and_config_is() {
        let mut maps = maps("");
        let deflated = crate::prow::gzip::deflate(CONFIG_YAML.as_bytes());
        maps.insert(CONFIG.to_owned(), Arc::new(BTreeMap::from([("config.yaml".to_owned(), deflated)])));
        assert!(Loaded::load(&maps, "prow", NEW).is_ok());
        let plugins = crate::prow::gzip::deflate(b"plugins: {}\n");
        maps.insert(PLUGINS.to_owned(), Arc::new(BTreeMap::from([("plugins.yaml".to_owned(), plugins)])));
        let refused = Loaded::load(&maps, "prow", NEW).unwrap_err();
        assert_eq!(refused.which, Which::Plugins);
        assert!(refused.error.ends_with("control characters are not allowed"), "{}", refused.error);
    }
}
