//! Configuration flags of a component's command line, and the ConfigMaps that they lead to.

use crate::model::text::sanitize_line;
use crate::model::{ConfigFlags, ConfigMount, ConfigPath};

/// Where hook and others look for plugins.yaml when nothing is said.
const DEFAULT_PLUGIN_CONFIG: &str = "/etc/plugins/plugins.yaml";
/// Where components look for config.yaml when nothing is said.
const DEFAULT_CONFIG: &str = "/etc/config/config.yaml";
/// Folders of files that are merged into config.yaml and plugins.yaml. Each may be given several times.
const FURTHER: [&str; 2] = ["supplemental-prow-config-dir", "supplemental-plugin-config-dir"];

/// Reads the flags from a container's command and arguments, and finds each path among its mounts.
///
/// A flag that is not given counts at its default where a ConfigMap is mounted there.
pub fn config_flags(args: &[String], mounts: &[ConfigMount]) -> ConfigFlags {
    let path = |flag: &str, default: Option<&str>| {
        if let Some(given) = value_of(args, flag) {
            return (!given.is_empty()).then(|| resolve(given, mounts));
        }
        default.map(|path| resolve(path, mounts)).filter(|path| path.config_map.is_some())
    };
    ConfigFlags {
        config_path: path("config-path", Some(DEFAULT_CONFIG)),
        job_config_path: path("job-config-path", None),
        plugin_config: path("plugin-config", Some(DEFAULT_PLUGIN_CONFIG)),
        further: further(args),
    }
}

/// The last value counts, as in Go.
fn value_of<'a>(args: &'a [String], flag: &str) -> Option<&'a str> {
    values_of(args, flag).last().copied()
}

/// All values in their order: `--flag=value`, `--flag value`, with one dash or two.
fn values_of<'a>(args: &'a [String], flag: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let Some(name) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
            continue;
        };
        if let Some((name, value)) = name.split_once('=') {
            if name == flag {
                found.push(value);
            }
        } else if name == flag {
            found.extend(args.next().map(String::as_str));
        }
    }
    found
}

fn further(args: &[String]) -> Vec<String> {
    let of_flag = |flag: &&'static str| {
        let flag = *flag;
        let values = values_of(args, flag).into_iter().filter(|value| !value.is_empty());
        values.map(move |value| sanitize_line(&format!("--{flag}={value}")))
    };
    FURTHER.iter().flat_map(of_flag).collect()
}

fn resolve(path: &str, mounts: &[ConfigMount]) -> ConfigPath {
    let clean = path.trim_end_matches('/');
    let mount = mounts
        .iter()
        .filter_map(|mount| below(clean, mount.path.trim_end_matches('/')).map(|rest| (mount, rest)))
        .max_by_key(|(mount, _)| mount.path.trim_end_matches('/').len());
    let Some((mount, rest)) = mount else {
        return ConfigPath { path: path.to_owned(), config_map: None, key: None };
    };
    let key = match rest {
        // A single key mounted as a file has the name of its path, as far as can be told.
        "" if mount.sub_path => clean.rsplit('/').next().map(str::to_owned),
        "" => None,
        // Keys hold no slashes: such a path is below the ConfigMap only through renamed items.
        rest if rest.contains('/') => None,
        rest => Some(rest.to_owned()),
    };
    ConfigPath { path: path.to_owned(), config_map: Some(mount.config_map.clone()), key }
}

/// What of `path` lies below `folder`.
fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(folder)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Key;

    fn mount(name: &str, path: &str) -> ConfigMount {
        ConfigMount { config_map: Key::new("prow", name), path: path.to_owned(), sub_path: false, optional: false }
    }

    fn args(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn all_spellings_and_the_last_one_counts() {
        let mounts = [mount("config", "/etc/config"), mount("job-config", "/etc/job-config/")];
        for words in [
            &["--config-path=/etc/config/config.yaml", "--job-config-path", "/etc/job-config"][..],
            &["-config-path", "/etc/config/config.yaml", "-job-config-path=/etc/job-config/"],
            &[
                "/hook",
                "--config-path=/old",
                "--config-path=/etc/config/config.yaml",
                "--job-config-path=/etc/job-config",
            ],
        ] {
            let flags = config_flags(&args(words), &mounts);
            let config = flags.config_path.unwrap();
            assert_eq!(
                (config.config_map.unwrap().name.as_str(), config.key.as_deref()),
                ("config", Some("config.yaml"))
            );
            let jobs = flags.job_config_path.unwrap();
            assert_eq!((jobs.config_map.unwrap().name.as_str(), jobs.key), ("job-config", None));
            assert_eq!(flags.plugin_config, None);
        }
    }

    #[test]
    fn the_longest_mount_wins_and_names_are_whole() {
        let mounts = [mount("all", "/etc"), mount("config", "/etc/config"), mount("other", "/etc/conf")];
        let flags = config_flags(&args(&["--config-path=/etc/config/config.yaml"]), &mounts);
        assert_eq!(flags.config_path.unwrap().config_map.unwrap().name, "config");
        let flags = config_flags(&args(&["--config-path=/configuration/config.yaml"]), &mounts);
        let path = flags.config_path.unwrap();
        assert_eq!((path.path.as_str(), path.config_map, path.key), ("/configuration/config.yaml", None, None));
    }

    #[test]
    fn defaults_count_where_something_is_mounted() {
        let flags = config_flags(&[], &[mount("plugins", "/etc/plugins")]);
        assert_eq!(flags.plugin_config.unwrap().key.as_deref(), Some("plugins.yaml"));
        assert_eq!(flags.config_path, None);
    }

    #[test]
    fn folders_of_further_configuration_are_told() {
        let words = [
            "--supplemental-plugin-config-dir=/etc/plugins",
            "-supplemental-prow-config-dir",
            "/etc/a",
            "--supplemental-prow-config-dir=/etc/b",
            "--supplemental-prow-configs-filename-suffix=_x.yaml",
            "--supplemental-prow-config-dir=",
        ];
        assert_eq!(
            config_flags(&args(&words), &[]).further,
            [
                "--supplemental-prow-config-dir=/etc/a",
                "--supplemental-prow-config-dir=/etc/b",
                "--supplemental-plugin-config-dir=/etc/plugins",
            ]
        );
        assert!(config_flags(&args(&["--config-path=/etc/config/config.yaml"]), &[]).further.is_empty());
    }

    #[test]
    fn a_single_key_mounted_as_a_file() {
        let single = ConfigMount { sub_path: true, ..mount("config", "/etc/config/config.yaml") };
        let flags = config_flags(&args(&["--config-path=/etc/config/config.yaml"]), &[single]);
        assert_eq!(flags.config_path.unwrap().key.as_deref(), Some("config.yaml"));
    }
}
