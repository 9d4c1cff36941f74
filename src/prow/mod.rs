//! Prow's own rules, pure: no async, no files, no environment, no clock.
//!
//! | Module | Rule |
//! |---|---|
//! | [`config`] | `config.yaml` and job files, as far as the other rules need them |
//! | [`plugins`] | `plugins.yaml`: the `config_updater` |
//! | [`glob`] | the dialect of `config_updater`'s globs |
//! | [`updater`] | files of a revision to the ConfigMaps that Prow would make of them |
//! | [`load`] | would a Prow load these ConfigMaps? |
//! | [`layout`] | a configuration as files, and its digest |
//! | [`culprit`] | which ConfigMap and key an error of a real Prow is about |
//! | [`log`] | log lines of Prow's components |
//! | [`image`] | image references and tags, and what a tag says of the preset rule |
//! | [`jobs`] | jobs that Prow runs on itself, by name |
//! | [`flags`] | configuration flags of a component and where they lead |
//! | [`catalogue`] | Prow's components, from `assets/components.toml` |
//! | [`gzip`], [`yaml`] | the two encodings, with Prow's tolerance |
//! | [`at_once`](at_once()) | no rule: many files on all processors |
//!
//! To extend: a rule belongs here when a Prow binary decides it. What is not known of a rule is said
//! ([`updater::Rendered::notes`]), never guessed.

mod at_once;
pub mod catalogue;
pub mod config;
pub mod culprit;
pub mod flags;
pub mod glob;
pub mod gzip;
pub mod image;
pub mod jobs;
pub mod layout;
pub mod load;
pub mod log;
pub mod plugins;
pub mod updater;
pub mod yaml;

pub use at_once::at_once;
pub use catalogue::Catalogue;
pub use culprit::name_culprit;
pub use flags::config_flags;
pub use image::{PresetRule, RepoAcl, preset_rule, repo_acl};
pub use layout::Layout;
pub use load::{ConfigFile, ConfigFiles, Judge, ReadFiles, objections, objections_live};
pub use yaml::YamlError;
