//! `config render`: what git asks for, without any cluster.

use crate::place::Place;

const PLUGINS: &str = "config_updater:
  maps:
    config/config.yaml: {name: config}
    config/plugins.yaml: {name: plugins}
    config/jobs/**/*.yaml: {name: job-config, gzip: true, clusters: {default: [prow]}}
";
const CONFIG: &str = "prowjob_namespace: prow\n";
const PRESETS: &str = "presets:\n- labels: {preset-a: 'true'}\n";
const COLLIDING: &str = "presets:\n- labels: {preset-a: 'true'}\n- labels: {preset-a: 'true'}\n";

fn place() -> Place {
    let place = Place::new();
    place.repository(&[
        ("config/config.yaml", CONFIG),
        ("config/plugins.yaml", PLUGINS),
        ("config/jobs/presets.yaml", PRESETS),
    ]);
    place
}

#[test]
fn rendering_shows_maps_keys_and_where_they_come_from() {
    let place = place();
    insta::assert_snapshot!(place.run_all(&[
        &["config", "render", "--repo", "repo"],
        &["config", "render", "--repo", "repo/config", "-o", "json"],
    ]));
}

#[test]
fn what_prow_would_refuse_is_said_and_rendered_all_the_same() {
    let place = place();
    place.commit("Refactor the presets", &[("config/jobs/presets.yaml", COLLIDING)]);
    insta::assert_snapshot!(place.run_all(&[
        &["config", "render", "--repo", "repo"],
        &["config", "render", "--repo", "repo", "--revision", "HEAD~1"],
    ]));
}

#[test]
fn the_work_tree_is_read_only_when_asked_for() {
    let place = place();
    place.write("repo/config/jobs/new.yaml", "presets: []\n");
    insta::assert_snapshot!(
        place
            .run_all(
                &[&["config", "render", "--repo", "repo"], &["config", "render", "--repo", "repo", "--worktree"],]
            )
    );
}

#[test]
fn repositories_that_cannot_be_rendered_say_why() {
    let broken = place();
    broken.commit("Break it", &[("config/plugins.yaml", "config_updater: [\n")]);
    let empty = Place::new();
    std::fs::create_dir(empty.home().join("repo")).expect("make a folder");
    empty.git(&["init", "--quiet", "--initial-branch=master"]);
    let bare = Place::new();
    bare.repository(&[("README.md", "nothing of Prow's\n")]);
    bare.write("folder/file", "");
    insta::assert_snapshot!(
        [
            broken.run(&["config", "render"]),
            broken.run(&["config", "render", "--repo", "repo"]),
            broken.run(&["config", "render", "--repo", "repo", "--revision", "v0.0.1"]),
            broken.run(&["config", "render", "--repo", "repo", "--revision", "--help"]),
            empty.run(&["config", "render", "--repo", "repo"]),
            bare.run(&["config", "render", "--repo", "repo"]),
            bare.run(&["config", "render", "--repo", "folder"]),
            bare.run(&["config", "render", "--repo", "folder/file"]),
            bare.run(&["config", "render", "--repo", "missing"]),
        ]
        .join("\n")
    );
}
