//! `config render` of repositories whose mapping is to be told of, from all that can be read: bare at a revision, shallow, a
//! plain folder.

use serde_json::Value;

use crate::place::Place;

const PLUGINS: &str = "config_updater:
  cluster_groups:
    all: {clusters: [default], namespaces: [one, two]}
  maps:
    prow/config.yaml: {name: config}
    prow/plugins.yaml: {name: plugins, gzip: true}
    jobs/**/*.yaml: {name: job-config, gzip: true}
    jobs/a.yaml: {name: job-config}
    prow/{a,b}.yaml: {name: config}
    other/*.txt: {name: other, cluster_groups: [all], use_full_path_as_key: true}
    bound/*: {name: bound, allowed_repos: [org/repo]}
";

fn place() -> Place {
    let place = Place::new();
    place.repository(&[
        ("prow/config.yaml", "prowjob_namespace: prow\n"),
        ("prow/plugins.yaml", PLUGINS),
        ("jobs/a.yaml", "periodics: []\n"),
        ("jobs/b.yaml", "presets: []\n"),
        ("other/f.txt", "f"),
        ("bound/file", "x"),
    ]);
    place
}

/// stdout as a document.
fn document(place: &Place, args: &[&str]) -> Value {
    let output = place.command(args).output().expect("run the program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn what_the_mapping_leaves_to_chance_is_told_with_its_line() {
    insta::assert_snapshot!(place().run(&["config", "render", "--repo", "repo"]));
}

#[test]
fn a_bare_repository_is_rendered_at_a_revision_without_a_cluster() {
    let place = place();
    place.git(&["config", "remote.origin.url", "https://github.com/org/repo"]);
    place.commit("More", &[("other/g.txt", "g"), ("prow/plugins.yaml", "config_updater:\n")]);
    place.git(&["clone", "--quiet", "--bare", ".", "../bare.git"]);
    let bare = ["config", "render", "-o", "json", "--repo", "bare.git", "--revision", "HEAD~1"];
    let document_ = document(&place, &bare);
    assert_eq!(
        (document_["apiVersion"].as_str(), document_["kind"].as_str()),
        (Some("prow-breakglass/v1"), Some("ConfigRender"))
    );
    assert_eq!(document_["revision"]["subject"], "Configure Prow");
    let keys: Vec<String> = document_["configMaps"]
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(|map| {
            let name = format!("{}/{}/{}", map["cluster"], map["namespace"], map["name"]).replace('"', "");
            let key = move |key: &Value| {
                let [key_, path, section] = ["key", "path", "section"].map(|field| key[field].as_str().expect("text"));
                assert_eq!(key["sha256"].as_str().map(str::len), Some(64));
                format!(
                    "{name} {key_} {path} {section} gzip={} {} bytes",
                    key["gzip"],
                    if key["gzip"] == true { "some".to_owned() } else { key["bytes"].to_string() }
                )
            };
            map["keys"].as_array().expect("a list").iter().map(key).collect::<Vec<_>>()
        })
        .collect();
    insta::assert_debug_snapshot!(keys);
    // The origin of a bare clone is a path: which repository it is is not known.
    let codes: Vec<String> = document_["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|finding| {
            format!("{} {}", finding["severity"].as_str().expect("text"), finding["id"].as_str().expect("text"))
        })
        .collect();
    insta::assert_debug_snapshot!(codes);
}

#[test]
fn shallow_clones_and_plain_folders_ask_for_the_same() {
    let place = place();
    let url = format!("file://{}", place.home().join("repo").display());
    place.git(&["clone", "--quiet", "--depth=1", &url, "../shallow"]);
    place.git(&["clone", "--quiet", "--no-local", &url, "../folder"]);
    std::fs::remove_dir_all(place.home().join("folder/.git")).expect("remove .git");
    let maps = |repo: &str| {
        let document = document(&place, &["config", "render", "-o", "json", "--repo", repo]);
        (document["configMaps"].clone(), document["revision"]["id"].as_str().map(str::len))
    };
    let (whole, id) = maps("repo");
    assert_eq!(id, Some(40));
    assert_eq!(maps("shallow"), (whole.clone(), Some(40)));
    assert_eq!(maps("folder"), (whole, Some("folder".len())));
    insta::assert_snapshot!(place.run(&["config", "render", "--repo", "folder", "--revision", "HEAD~1"]));
}

#[test]
fn a_repository_that_its_origin_names_is_told_from_others() {
    let place = place();
    let bound = |place: &Place| {
        let document = document(place, &["config", "render", "-o", "json", "--repo", "repo"]);
        let maps = document["configMaps"].as_array().expect("a list").clone();
        maps.iter().any(|map| map["name"] == "bound")
    };
    assert!(!bound(&place));
    place.git(&["config", "remote.origin.url", "git@github.com:org/repo.git"]);
    assert!(bound(&place));
    place.git(&["config", "remote.origin.url", "git@github.com:fork/repo.git"]);
    assert!(!bound(&place));
}

/// Prow ignores what it does not know, and so has no maps but its own.
#[test]
fn a_misspelt_config_updater_is_told_as_no_maps() {
    let place = Place::new();
    let misspelt = PLUGINS.replace("config_updater:", "plugins: {}\nconfig_updated:");
    place.repository(&[("prow/config.yaml", "prowjob_namespace: prow\n"), ("prow/plugins.yaml", &misspelt)]);
    let all = || {
        place.run_all(&[
            &["config", "check", "--no-cluster", "--repo", "repo"],
            &["config", "blame", "--no-cluster", "--repo", "repo"],
            &["config", "render", "--repo", "repo"],
        ])
    };
    let nothing = all();
    // Where Prow looks for its own two maps.
    std::fs::create_dir(place.home().join("repo/config")).expect("make a folder");
    place.git(&["mv", "prow", "config/prow"]);
    place.commit("Move it", &[]);
    insta::assert_snapshot!([nothing, all()].join("\n"));
}
