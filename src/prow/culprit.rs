//! Which ConfigMap and key an error of a real Prow is about.

use super::config::{JobConfig, parse_config, parse_job_config};
use super::load::{Value, is_job_file};
use super::plugins::{has_config_updater, parse_plugins};
use crate::model::Key;

/// Tells the ConfigMap and key that the `error` of a fatal line is about; `None` if it cannot be told.
///
/// The values are given in the order in which Prow reads them, config.yaml first; where several hold what the error
/// names, the last one is meant, because that is where Prow stumbled.
pub fn name_culprit<'a>(values: impl Iterator<Item = Value<'a>>, error: &str) -> Option<(Key, String)> {
    let values: Vec<Value<'a>> = values.filter(|value| is_job_file(value.1)).collect();
    let found = by_preset(&values, error)
        .or_else(|| by_path(&values, error))
        .or_else(|| by_updater(&values, error))
        .or_else(|| by_yaml(&values, error))
        .or_else(|| by_job(&values, error))?;
    Some((found.0.clone(), found.1.to_owned()))
}

/// `duplicated preset label : KEY` and `duplicated preset 'label:value' pair : KEY:VALUE`.
fn by_preset<'a>(values: &[Value<'a>], error: &str) -> Option<Value<'a>> {
    let pair = named_after(error, "duplicated preset 'label:value' pair : ");
    let label = named_after(error, "duplicated preset label : ");
    if pair.is_none() && label.is_none() {
        return None;
    }
    last(values, |value| {
        read(value).presets.iter().flat_map(|preset| &preset.labels).any(|(key, value)| {
            label == Some(key.as_str()) || pair.is_some_and(|pair| pair == format!("{key}:{value}"))
        })
    })
}

/// The word after a phrase. Aggregated errors close with a bracket and go on after a comma.
fn named_after<'e>(error: &'e str, phrase: &str) -> Option<&'e str> {
    let rest = &error[error.find(phrase)? + phrase.len()..];
    rest.split([',', ']', ' ', '\n']).next().filter(|word| !word.is_empty())
}

/// A path such as `/etc/job-config/a.yaml`: the key is its last part, and the ConfigMap the one named like its folder,
/// or the only one that has the key.
fn by_path<'a>(values: &[Value<'a>], error: &str) -> Option<Value<'a>> {
    let phrases = ["error unmarshalling ", "error reading ", "failed to unmarshal ", "failed to read "];
    let path = phrases
        .iter()
        .find_map(|phrase| named_after(error, phrase))
        .or_else(|| named_after(error, "duplicated basename is not allowed: "))?;
    let path = path.trim_end_matches(':');
    let (folder, key) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = folder.rsplit('/').next().unwrap_or(folder);
    let holders: Vec<&Value<'a>> = values.iter().filter(|value| value.1 == key).collect();
    let named = holders.iter().find(|value| value.0.name == folder);
    match (named, holders.as_slice()) {
        (Some(value), _) => Some(**value),
        (None, [value]) => Some(**value),
        (None, _) => None,
    }
}

/// Errors about `config_updater` name no file; the only one that has it is meant.
fn by_updater<'a>(values: &[Value<'a>], error: &str) -> Option<Value<'a>> {
    let about = ["updated with more than one file", "partitioned_names", "PartitionedNames", "cluster group"];
    about.iter().any(|phrase| error.contains(phrase)).then(|| only(values, |value| has_config_updater(value.2)))?
}

/// A YAML error without a path: the only value that our reader refuses too.
fn by_yaml<'a>(values: &[Value<'a>], error: &str) -> Option<Value<'a>> {
    let about = ["yaml:", "error converting YAML", "error unmarshaling JSON", "control characters are not allowed"];
    if !about.iter().any(|phrase| error.contains(phrase)) {
        return None;
    }
    only(values, |value| parse_job_config(value.2).is_err() || parse_plugins_of(value).is_err())
}

/// Gzip is an error only in plugins.yaml.
fn parse_plugins_of(value: &Value<'_>) -> Result<(), super::YamlError> {
    if super::gzip::is_gzip(value.2) && value.1 != "plugins.yaml" {
        return Ok(());
    }
    parse_plugins(value.2).map(|_| ())
}

/// An error that names a job: the file that defines it. The longest name counts, since names contain one another.
fn by_job<'a>(values: &[Value<'a>], error: &str) -> Option<Value<'a>> {
    let mut best: Option<(usize, Value<'a>)> = None;
    for value in values {
        for job in read(value).jobs {
            if best.is_none_or(|(length, _)| job.len() >= length) && names_whole(error, &job) {
                best = Some((job.len(), *value));
            }
        }
    }
    best.map(|(_, value)| value)
}

fn names_whole(error: &str, job: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    error.match_indices(job).any(|(at, _)| {
        let before = error[..at].chars().next_back();
        let mut after = error[at + job.len()..].chars();
        let ends = match after.next() {
            // A full stop ends a sentence, unless the name goes on after it.
            Some('.') => !after.next().is_some_and(part_of_name),
            Some(c) => !part_of_name(c),
            None => true,
        };
        ends && !before.is_some_and(part_of_name)
    })
}

fn read(value: &Value<'_>) -> JobConfig {
    // config.yaml may define presets and jobs too, and reads the same way.
    parse_job_config(value.2)
        .or_else(|_| parse_config(value.2).map(|config| JobConfig { presets: config.presets, jobs: config.jobs }))
        .unwrap_or_default()
}

fn last<'a>(values: &[Value<'a>], is: impl Fn(&Value<'a>) -> bool) -> Option<Value<'a>> {
    values.iter().rev().find(|value| is(value)).copied()
}

fn only<'a>(values: &[Value<'a>], is: impl Fn(&Value<'a>) -> bool) -> Option<Value<'a>> {
    let mut found = values.iter().filter(|value| is(value));
    let first = found.next()?;
    found.next().is_none().then_some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prow::gzip::deflate;

    const PRESET: &str = "presets:\n- labels:\n    preset-aws-credential: true\n";

    fn values() -> Vec<(Key, String, Vec<u8>)> {
        let value = |map: &str, key: &str, bytes: &[u8]| (Key::new("prow", map), key.to_owned(), bytes.to_vec());
        vec![
            value("config", "config.yaml", b"pod_namespace: test-pods\n"),
            value("job-config", "a.yaml", format!("{PRESET}periodics:\n- name: ci-a\n").as_bytes()),
            value("job-config", "b.yaml", &deflate(PRESET.as_bytes())),
            value("job-config", "c.yaml", b"presubmits:\n  o/r:\n  - name: ci-a-long\n"),
            value("other", "a.yaml", b"x: y\n"),
            value("plugins", "plugins.yaml", b"config_updater:\n  maps:\n    a/*.yaml: {name: m}\n"),
        ]
    }

    fn culprit_among(values: &[(Key, String, Vec<u8>)], error: &str) -> Option<String> {
        let values = values.iter().map(|(map, key, bytes)| (map, key.as_str(), bytes.as_slice()));
        name_culprit(values, error).map(|(map, key)| format!("{}/{key}", map.name))
    }

    fn culprit(error: &str) -> Option<String> {
        culprit_among(&values(), error)
    }

    #[test]
    fn presets_by_pair_and_by_key() {
        for error in [
            "duplicated preset 'label:value' pair : preset-aws-credential:true",
            "[duplicated preset 'label:value' pair : preset-aws-credential:true, something else]",
            "duplicated preset label : preset-aws-credential",
        ] {
            assert_eq!(culprit(error).as_deref(), Some("job-config/b.yaml"), "{error}");
        }
        assert_eq!(culprit("duplicated preset 'label:value' pair : preset-aws-credential:false"), None);
    }

    #[test]
    fn paths_lead_to_the_map_of_their_folder() {
        let error = "error unmarshalling /etc/job-config/a.yaml: error converting YAML to JSON: yaml: line 2";
        assert_eq!(culprit(error).as_deref(), Some("job-config/a.yaml"));
        assert_eq!(culprit("error unmarshalling /etc/jobs/a.yaml: yaml: line 2"), None, "two maps hold that key");
        assert_eq!(culprit("error reading /etc/c.yaml: gzip: invalid header").as_deref(), Some("job-config/c.yaml"));
    }

    #[test]
    fn jobs_by_whole_name() {
        let error = "invalid presubmit job ci-a-long: job ci-a-long has no name";
        assert_eq!(culprit(error).as_deref(), Some("job-config/c.yaml"));
        assert_eq!(culprit("duplicated periodic job: ci-a").as_deref(), Some("job-config/a.yaml"));
        assert_eq!(culprit("job ci-a.").as_deref(), Some("job-config/a.yaml"));
        assert_eq!(culprit("job xci-a failed"), None);
    }

    #[test]
    fn plugins_by_what_they_are_about() {
        let error = "key *.yaml in configmap m updated with more than one file";
        assert_eq!(culprit(error).as_deref(), Some("plugins/plugins.yaml"));
        let mut broken = values();
        broken[5].2 = b"config_updater: [\n".to_vec();
        let error = "error converting YAML to JSON: yaml: line 2: did not find expected node content";
        assert_eq!(culprit_among(&broken, error).as_deref(), Some("plugins/plugins.yaml"));
        broken[5].2 = deflate(b"plugins: {}\n");
        let error = "error converting YAML to JSON: yaml: control characters are not allowed";
        assert_eq!(culprit_among(&broken, error).as_deref(), Some("plugins/plugins.yaml"));
        broken[0].2 = b"a: [\n".to_vec();
        assert_eq!(culprit_among(&broken, error), None, "two files are broken");
    }
}
