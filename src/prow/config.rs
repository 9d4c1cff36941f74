//! `config.yaml` and job files: the few fields that our rules need, tolerant of all others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::gzip::inflate;
use super::yaml::{self, Text, TextMap, YamlError, nullable};

/// What namespaces default to, in Prow.
const DEFAULT_NAMESPACE: &str = "default";

/// `config.yaml`. It may hold job configuration too, which old deployments use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProwConfig {
    /// Where ProwJobs live, and ConfigMaps of maps that name no namespace.
    pub prowjob_namespace: String,
    /// Where pods of jobs run.
    pub pod_namespace: String,
    pub presets: Vec<Preset>,
    /// Names of the jobs that the file defines.
    pub jobs: Vec<String>,
}

/// A file of job configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobConfig {
    pub presets: Vec<Preset>,
    /// Names of the jobs that the file defines.
    pub jobs: Vec<String>,
}

/// A preset, as far as the rule of repeated presets goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preset {
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawConfig {
    #[serde(deserialize_with = "nullable")]
    prowjob_namespace: Text,
    #[serde(deserialize_with = "nullable")]
    pod_namespace: Text,
    presets: Option<Vec<Option<RawPreset>>>,
    presubmits: Option<JobsByRepo>,
    postsubmits: Option<JobsByRepo>,
    periodics: Option<Jobs>,
}

type Jobs = Vec<Option<RawJob>>;
type JobsByRepo = BTreeMap<String, Option<Jobs>>;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawPreset {
    labels: TextMap,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawJob {
    #[serde(deserialize_with = "nullable")]
    name: Text,
}

/// Reads `config.yaml`, gunzipping it by its magic as Prow does.
///
/// # Errors
/// Broken gzip, broken YAML, or a field of the wrong shape.
pub fn parse_config(bytes: &[u8]) -> Result<ProwConfig, YamlError> {
    let raw = read(bytes)?;
    Ok(ProwConfig {
        prowjob_namespace: or_default(&raw.prowjob_namespace),
        pod_namespace: or_default(&raw.pod_namespace),
        presets: presets(&raw),
        jobs: jobs(&raw),
    })
}

/// Reads a job file, gunzipping it by its magic as Prow does.
///
/// # Errors
/// As [`parse_config`].
pub fn parse_job_config(bytes: &[u8]) -> Result<JobConfig, YamlError> {
    let raw = read(bytes)?;
    Ok(JobConfig { presets: presets(&raw), jobs: jobs(&raw) })
}

/// `prowjob_namespace` of a `config.yaml` that does not parse: what its line says, where it is on the top level.
pub fn prowjob_namespace_of_broken(bytes: &[u8]) -> Option<String> {
    let bytes = inflate(bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let value = text.lines().find_map(|line| line.strip_prefix("prowjob_namespace:"))?;
    let value = value.split('#').next()?.trim().trim_matches(['"', '\'']);
    (!value.is_empty() && !value.contains(char::is_whitespace)).then(|| value.to_owned())
}

fn read(bytes: &[u8]) -> Result<RawConfig, YamlError> {
    let bytes = inflate(bytes).map_err(|error| YamlError::without_place(error.to_string()))?;
    yaml::parse(&bytes)
}

fn or_default(text: &Text) -> String {
    if text.0.is_empty() { DEFAULT_NAMESPACE.to_owned() } else { text.0.clone() }
}

fn presets(raw: &RawConfig) -> Vec<Preset> {
    let labels = |preset: &RawPreset| {
        preset.labels.iter().flatten().map(|(label, value)| (label.clone(), value.0.clone())).collect()
    };
    raw.presets
        .iter()
        .flatten()
        .map(|preset| Preset { labels: preset.as_ref().map(labels).unwrap_or_default() })
        .collect()
}

fn jobs(raw: &RawConfig) -> Vec<String> {
    let by_repo = [&raw.presubmits, &raw.postsubmits].into_iter().flatten().flat_map(BTreeMap::values).flatten();
    by_repo
        .chain(&raw.periodics)
        .flatten()
        .flatten()
        .map(|job| job.name.0.clone())
        .filter(|name| !name.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prow::gzip::deflate;

    const CONFIG: &str = "prowjob_namespace: prow-jobs\nplank:\n  max_revivals: 3\npresets:\n- labels:\n    \
                          preset-aws-credential: true\n  env:\n  - name: A\n    value: b\n- env: []\n";

    #[test]
    fn namespaces_default_and_unknown_fields_are_ignored() {
        let config = parse_config(CONFIG.as_bytes()).unwrap();
        assert_eq!(config.prowjob_namespace, "prow-jobs");
        assert_eq!(config.pod_namespace, "default");
        assert_eq!(config.presets.len(), 2);
        assert_eq!(config.presets[0].labels["preset-aws-credential"], "true");
        assert!(config.presets[1].labels.is_empty());
        assert_eq!(parse_config(b"").unwrap().prowjob_namespace, "default");
    }

    #[test]
    fn gzip_is_read_by_its_magic() {
        assert_eq!(parse_config(&deflate(CONFIG.as_bytes())).unwrap(), parse_config(CONFIG.as_bytes()).unwrap());
        assert!(parse_config(&[0x1f, 0x8b, 1]).unwrap_err().message.contains("gzip"));
    }

    #[test]
    fn a_broken_file_still_tells_its_namespace() {
        let text = b"plank: [\nprowjob_namespace: \"prow-jobs\" # where ProwJobs are\n";
        assert!(parse_config(text).is_err());
        assert_eq!(prowjob_namespace_of_broken(text).as_deref(), Some("prow-jobs"));
        assert_eq!(prowjob_namespace_of_broken(b"plank: [\n  prowjob_namespace: x\n"), None);
    }

    #[test]
    fn job_names_of_all_types() {
        let jobs = parse_job_config(
            b"presubmits:\n  org/repo:\n  - name: pull-a\n    agent: kubernetes\n  org/empty:\npostsubmits:\n  \
              org/repo:\n  - name: post-b\nperiodics:\n- name: ci-c\n- interval: 1h\n",
        )
        .unwrap();
        assert_eq!(jobs.jobs, ["pull-a", "post-b", "ci-c"]);
    }
}
