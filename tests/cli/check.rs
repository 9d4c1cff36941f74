//! `config check` and `config blame` without a cluster, and checkconfigs that are none.

use std::os::unix::fs::PermissionsExt as _;

use crate::place::Place;

const PLUGINS: &str = "config_updater:
  maps:
    config/config.yaml: {name: config}
    config/plugins.yaml: {name: plugins}
    config/jobs/**/*.yaml: {name: job-config, clusters: {default: [prow]}}
";
const PRESETS: &str = "presets:\n- labels: {preset-a: 'true'}\n";
const COLLIDING: &str = "presets:\n- labels: {preset-a: 'true'}\n- labels: {preset-a: 'true'}\n";

/// A good revision, a bad one, and one more.
fn place() -> Place {
    let place = Place::new();
    place.repository(&[
        ("config/config.yaml", "prowjob_namespace: prow\n"),
        ("config/plugins.yaml", PLUGINS),
        ("config/jobs/presets.yaml", PRESETS),
    ]);
    place.commit("Refactor the presets (#10868)", &[("config/jobs/presets.yaml", COLLIDING)]);
    place.commit("Document it", &[("config/jobs/other.yaml", "periodics: []\n"), ("README.md", "x\n")]);
    place
}

/// A script that refuses what no Prow loads, and then does this.
fn checkconfig(place: &Place, then: &str) {
    let canary = "if read -r line < \"${1#--config-path=}\" && [ \"$line\" = 'presets: [' ]; then\n\
                  echo '{\"error\":\"yaml\",\"level\":\"fatal\",\"msg\":\"Validation failed\"}' >&2; exit 1; fi";
    let path = place.write("v20240619-cfb8754e0/checkconfig", format!("#!/bin/sh\n{canary}\n{then}\n"));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).expect("make it a program");
}

#[test]
fn without_a_checkconfig_our_rules_judge_and_say_so() {
    let place = place();
    insta::assert_snapshot!(place.run_all(&[
        &["config", "check", "--no-cluster", "--repo", "repo"],
        &["config", "check", "--no-cluster", "--repo", "repo", "--revision", "HEAD~2"],
        &["config", "check", "--no-cluster", "--repo", "repo", "--revision", "HEAD~2", "-o", "json"],
        &["config", "blame", "--no-cluster", "--repo", "repo"],
        &["config", "blame", "--no-cluster", "--repo", "repo", "--revision", "HEAD~2"],
    ]));
}

#[test]
fn a_checkconfig_is_quoted_with_its_version() {
    let place = place();
    let refuse = "jobs=${2#--job-config-path=}; if grep -q -z 'true.*true' $jobs/presets.yaml; then\n\
                  echo \"{\\\"error\\\":\\\"error unmarshalling $jobs/presets.yaml: twice\\\",\\\"level\\\":\\\"fatal\\\",\\\"msg\\\":\\\"Validation failed\\\"}\" >&2; exit 1; fi";
    checkconfig(&place, &format!("PATH=/usr/bin:/bin\n{refuse}"));
    let given = ["--no-cluster", "--repo", "repo", "--checkconfig", "v20240619-cfb8754e0/checkconfig"];
    let run = |args: &[&str]| place.run(&[args, &given].concat());
    insta::assert_snapshot!(
        [
            run(&["config", "check"]),
            run(&["config", "check", "--revision", "HEAD~2"]),
            run(&["config", "blame", "--good", "HEAD~2"]),
            run(&["config", "blame", "--good", "HEAD~1"]),
            run(&["config", "blame", "--good", "HEAD"]),
            run(&["config", "blame", "--revision", "HEAD~2"]),
        ]
        .join("\n")
    );
}

#[test]
fn what_is_no_checkconfig_is_no_verdict() {
    let place = place();
    let check = |path: &str| place.run(&["config", "check", "--no-cluster", "--repo", "repo", "--checkconfig", path]);
    let mut said = vec![check("none"), check("repo")];
    place.write("text", "no program\n");
    said.push(check("text"));
    let path = place.write("true", "#!/bin/sh\nexit 0\n");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).expect("make it a program");
    said.push(check("true"));
    checkconfig(&place, "kill -9 $$");
    said.push(check("v20240619-cfb8754e0/checkconfig"));
    insta::assert_snapshot!(said.join("\n"));
}
