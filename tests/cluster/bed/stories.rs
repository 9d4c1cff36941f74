//! The histories of configuration repositories: what was committed before an outage, and what was merged because of it.
//!
//! A story is a list of commits in order, each with a name by which the bed merges it. A new one is a list and a
//! [`Story`]; its files lie in `config/`.

use crate::kubelet::images::{NEW_TAG, OLD_TAG};

/// A commit of the story.
pub struct Commit {
    /// What the bed calls it.
    pub name: &'static str,
    pub message: &'static str,
    pub author: &'static str,
    /// How long before the bed's start it was made, in minutes.
    pub minutes_ago: i64,
    /// The version that Prow's manifests name from this commit on, where it changes them.
    pub manifests: Option<&'static str>,
    pub files: &'static [(&'static str, &'static str)],
}

/// A history.
pub struct Story {
    pub commits: &'static [Commit],
    /// The commit with which a healthy bed starts; all of Prow has loaded it.
    pub start: &'static str,
    /// The commit of the outage.
    pub broken: &'static str,
}

const CONFIG: &str = include_str!("config/config.yaml");
const PLUGINS: &str = include_str!("config/plugins.yaml");
const SIG_TESTING: &str = include_str!("config/sig-testing-jobs.yaml");
const PRESETS_FILE: &str = include_str!("config/presets.yaml");
const AWS_PRESETS: &str = include_str!("config/aws-presets.yaml");
const AWS_JOBS: &str = include_str!("config/aws-jobs.yaml");
const KUBERNETES: &str = include_str!("config/kubernetes-presubmits.yaml");
const E2E_NODE: &str = include_str!("config/e2e-node.yaml");

/// The path of the plugins' configuration.
pub const PLUGINS_PATH: &str = "config/prow/plugins.yaml";
/// The path of the job file with the presets of the outage.
pub const AWS_PRESETS_PATH: &str = "config/jobs/kubernetes-sigs/aws/aws-presets.yaml";
/// The path of the jobs that use them.
pub const AWS_JOBS_PATH: &str = "config/jobs/kubernetes-sigs/aws/aws-ebs-csi-driver.yaml";

// The refactoring gives both credentials one label, which Prow counts twice: label and value are the same.
const AWS_PRESETS_REFACTORED: &str = include_str!("config/aws-presets-refactored.yaml");
const AWS_JOBS_REFACTORED: &str = include_str!("config/aws-jobs-refactored.yaml");
const AWS_PRESETS_FIXED: &str = include_str!("config/aws-presets-fixed.yaml");
const AWS_JOBS_FIXED: &str = include_str!("config/aws-jobs-fixed.yaml");

/// What happened in January 2019.
const PRESETS_COMMITS: &[Commit] = &[
    Commit {
        name: "first",
        message: "Configure Prow for kubernetes",
        author: "Cole Wagner",
        minutes_ago: 30 * 24 * 60,
        manifests: None,
        files: &[
            ("README.md", "# test-infra\n\nProw's configuration and the jobs that it runs.\n"),
            ("config/prow/config.yaml", CONFIG),
            (PLUGINS_PATH, PLUGINS),
            ("config/jobs/kubernetes/sig-testing/sig-testing.yaml", SIG_TESTING),
            ("config/jobs/kubernetes/presets.yaml", PRESETS_FILE),
            (AWS_PRESETS_PATH, AWS_PRESETS),
            (AWS_JOBS_PATH, AWS_JOBS),
            ("config/jobs/kubernetes/kubernetes-presubmits.yaml", KUBERNETES),
            ("prow/config/config.go", "package config\n\n// Presets with one label key are refused.\n"),
        ],
    },
    Commit {
        name: "node",
        message: "Add the periodic node e2e job",
        author: "Sen Lu",
        minutes_ago: 26 * 60,
        manifests: None,
        files: &[("config/jobs/kubernetes/sig-node/e2e-node.yaml", E2E_NODE)],
    },
    Commit {
        name: "behaviour",
        message: "Allow presets to share a label key\n\nOnly the pair of key and value has to be unique.",
        author: "Cole Wagner",
        minutes_ago: 17 * 60 + 34,
        manifests: None,
        files: &[("prow/config/config.go", "package config\n\n// Presets with one label key and value are refused.\n")],
    },
    Commit {
        name: "refactor",
        message: "Refactor the AWS credential presets to a common label",
        author: "Justin Santa Barbara",
        minutes_ago: 0,
        manifests: None,
        files: &[(AWS_PRESETS_PATH, AWS_PRESETS_REFACTORED), (AWS_JOBS_PATH, AWS_JOBS_REFACTORED)],
    },
    Commit {
        name: "revert",
        // Undone are the jobs alone; the presets still collide.
        message: "Revert the AWS jobs to their old preset label",
        author: "Benjamin Elder",
        minutes_ago: 0,
        manifests: None,
        files: &[(AWS_JOBS_PATH, AWS_JOBS)],
    },
    Commit {
        name: "fix",
        message: "Use distinct labels for the AWS credential presets",
        author: "Benjamin Elder",
        minutes_ago: 0,
        manifests: None,
        files: &[(AWS_PRESETS_PATH, AWS_PRESETS_FIXED), (AWS_JOBS_PATH, AWS_JOBS_FIXED)],
    },
];

pub static PRESETS: Story = Story { commits: PRESETS_COMMITS, start: "behaviour", broken: "refactor" };

/// What could have happened in March 2019, as the drill `bad-plugins` tells it and with its very files: ConfigMaps are
/// compressed from one commit on, and the next upload of plugins.yaml is one that Prow does not gunzip.
const COMPRESSION_COMMITS: &[Commit] = &[
    Commit { minutes_ago: 80 * 24 * 60, ..PRESETS_COMMITS[0] },
    Commit { minutes_ago: 51 * 24 * 60, ..PRESETS_COMMITS[1] },
    Commit { minutes_ago: 50 * 24 * 60, ..PRESETS_COMMITS[2] },
    Commit {
        name: "compress",
        message: "Compress ConfigMaps: job-config is near 1 MiB",
        author: "Erick Fejta",
        minutes_ago: 36 * 60 + 55,
        manifests: None,
        files: &[(PLUGINS_PATH, include_str!("../../../assets/drills/files/plugins/compressed.yaml"))],
    },
    Commit {
        name: "enable",
        message: "Enable the hold plugin for kubernetes/test-infra",
        author: "Sen Lu",
        minutes_ago: 0,
        manifests: None,
        files: &[(PLUGINS_PATH, include_str!("../../../assets/drills/files/plugins/enabled.yaml"))],
    },
    Commit {
        name: "fix",
        message: "Leave plugins.yaml uncompressed: Prow does not gunzip it",
        author: "Cole Wagner",
        minutes_ago: 0,
        manifests: None,
        files: &[(PLUGINS_PATH, include_str!("../../../assets/drills/files/plugins/fixed.yaml"))],
    },
];

pub static COMPRESSION: Story = Story { commits: COMPRESSION_COMMITS, start: "behaviour", broken: "enable" };

const BUMP_CONFIG: &str = include_str!("config/bump/config.yaml");
const BUMP_TRUSTED: &str = include_str!("config/bump/trusted-jobs.yaml");
const BUMP_JOBS: &str = include_str!("config/bump/kubernetes-jobs.yaml");

/// What happened in February 2019: a version that had been tried where both namespaces were one.
const BUMP_COMMITS: &[Commit] = &[
    Commit {
        name: "first",
        message: "Configure Prow for kubernetes",
        author: "Cole Wagner",
        minutes_ago: 40 * 24 * 60,
        manifests: Some("v20190125-2aca69d"),
        files: &[
            ("README.md", "# test-infra\n\nProw's configuration and the jobs that it runs.\n"),
            ("config/prow/config.yaml", BUMP_CONFIG),
            (PLUGINS_PATH, PLUGINS),
            ("config/jobs/kubernetes/test-infra/test-infra-trusted.yaml", BUMP_TRUSTED),
            ("config/jobs/kubernetes/kubernetes-jobs.yaml", BUMP_JOBS),
            ("prow/deploy.sh", "#!/usr/bin/env bash\nkubectl apply -f prow/cluster\n"),
        ],
    },
    Commit {
        name: "last-bump",
        message: "Bump prow from v20190125-2aca69d to v20190129-1b2c3f7",
        author: "Kubernetes Prow Robot",
        minutes_ago: 7 * 24 * 60 + 12,
        manifests: Some(OLD_TAG),
        files: &[],
    },
    Commit {
        name: "clients",
        message: "Load Kubernetes clients from one set of flags in all components",
        author: "Steve Kuznetsov",
        minutes_ago: 21 * 60,
        manifests: None,
        files: &[("prow/flagutil/kubernetes.go", "package flagutil\n\n// Pods go where ProwJobs go.\n")],
    },
    Commit {
        name: "bump",
        message: "Bump prow from v20190129-1b2c3f7 to v20190205-8c1cd80",
        author: "Kubernetes Prow Robot",
        minutes_ago: 0,
        manifests: Some(NEW_TAG),
        files: &[],
    },
    Commit {
        name: "revert",
        message: "Revert \"Bump prow from v20190129-1b2c3f7 to v20190205-8c1cd80\"",
        author: "Katharine Berry",
        minutes_ago: 0,
        manifests: Some(OLD_TAG),
        files: &[],
    },
    Commit {
        name: "fix",
        message: "Put pods into the namespace for pods",
        author: "Steve Kuznetsov",
        minutes_ago: 0,
        manifests: None,
        files: &[("prow/flagutil/kubernetes.go", "package flagutil\n\n// Pods have a namespace of their own.\n")],
    },
];

pub static BUMP: Story = Story { commits: BUMP_COMMITS, start: "clients", broken: "bump" };
