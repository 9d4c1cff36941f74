use super::*;

#[test]
fn no_maps_means_the_two_defaults() {
    for text in ["", "plugins: {}\n", "config_updater:\n", "config_updater:\n  maps: {}\n"] {
        let updater = parse_plugins(text.as_bytes()).unwrap();
        let names: Vec<_> = updater.maps.iter().map(|map| (map.glob.pattern(), map.name.as_str())).collect();
        assert_eq!(names, [("config/prow/config.yaml", "config"), ("config/prow/plugins.yaml", "plugins")], "{text:?}");
        assert_eq!(updater.maps[0].clusters[&Alias::service()], [""]);
    }
}

#[test]
fn removed_and_unknown_fields_are_ignored() {
    let updater = parse_plugins(
        b"config_updater:\n  maps:\n    a/*.yaml:\n      name: m\n      namespace: old\n      \
          additional_namespaces: [x]\n",
    )
    .unwrap();
    assert_eq!(updater.maps[0].clusters[&Alias::service()], [""]);
    assert!(!updater.wants("a/b/c.yaml") && updater.wants("a/c.yaml"));
}

#[test]
fn a_misspelt_config_updater_is_told_from_other_fields() {
    let look_alike = |text: &str| {
        let updater = parse_plugins(text.as_bytes()).unwrap();
        assert!(updater.has_no_maps_of_its_own() || text.contains("config_updater:"), "{text:?}");
        updater.look_alike.map(|field| (field.line, field.name))
    };
    for name in ["config_updated", "config-updater", "configUpdater", "conifg_updater", "Config_Updater"] {
        let text = format!("plugins:\n  a/b: [config-updater]\n{name}:\n  maps: {{jobs/*.yaml: {{name: jobs}}}}\n");
        assert_eq!(look_alike(&text), Some((3, name.to_owned())), "{text}");
    }
    for none in [
        "",
        "plugins: {}\nexternal_plugins: {}\nconfig: {}\n",
        "config_updater: {maps: {a: {name: b}}}\nconfig_updated: {}\n",
    ] {
        assert_eq!(look_alike(none), None, "{none:?}");
    }
}

#[test]
fn a_broken_file_names_the_place() {
    let error = parse_plugins(b"config_updater:\n  maps:\n    a: {name: [\n").unwrap_err();
    assert!(error.line >= 3, "{error:?}");
    let error = parse_plugins(b"config_updater:\n  maps:\n  - a\n").unwrap_err();
    assert!(error.line >= 2, "{error:?}");
}

#[test]
fn gzip_is_not_read() {
    let error = parse_plugins(&crate::prow::gzip::deflate(b"plugins: {}\n")).unwrap_err();
    assert!(error.message.contains("not gunzipped by Prow"), "{error:?}");
}

#[track_caller]
fn refusals(maps: &str) -> Vec<String> {
    parse_plugins(format!("config_updater:\n{maps}").as_bytes()).unwrap().refusals()
}

#[test]
fn hook_refuses_the_same_basename_of_a_glob_twice() {
    assert_eq!(
        refusals("  maps:\n    a/*.yaml: {name: m}\n    b/*.yaml: {name: m}\n"),
        ["key *.yaml in configmap m updated with more than one file"]
    );
    // Spelled once and left empty once it passes, although both lead to the same ConfigMap.
    let spelled = "  maps:\n    a/*.yaml: {name: m}\n    b/*.yaml: {name: m, clusters: {default: [prow]}}\n";
    assert_eq!(refusals(spelled), Vec::<String>::new());
}

#[test]
fn hook_refuses_what_excludes_each_other() {
    assert!(refusals("  maps:\n    a: {name: m, partitioned_names: [x]}\n")[0].contains("mutually exclusive"));
    assert!(
        refusals("  maps:\n    a: {name: m, clusters: {x: [y]}, cluster_groups: [g]}\n")[0]
            .contains("contains both clusters and cluster_groups")
    );
    assert_eq!(
        refusals("  maps:\n    a: {name: m, cluster_groups: [g]}\n"),
        ["item maps.a.cluster_groups.0 references inexistent cluster group named g"]
    );
}

#[test]
fn maps_and_faults_know_their_lines() {
    let text = "plugins: {}\nconfig_updater:\n  maps:\n    a/*.yaml: {name: m}\n    # between\n\n    \
                \"b/*.yaml\":\n      name: m\n    c: {name: x, partitioned_names: [y]}\n";
    let updater = parse_plugins(text.as_bytes()).unwrap();
    let lines: Vec<_> = updater.maps.iter().map(|map| map.line).collect();
    assert_eq!(lines, [Some(4), Some(7), Some(9)]);
    let faults = updater.faults();
    let at: Vec<Vec<Option<u64>>> =
        faults.iter().map(|fault| fault.maps.iter().map(|map| map.line).collect()).collect();
    assert_eq!(at, [vec![Some(4), Some(7)], vec![Some(9)]]);
    assert_eq!(parse_plugins(b"").unwrap().maps[0].line, None);
}

#[test]
fn one_map_may_not_name_a_namespace_twice() {
    assert_eq!(refusals("  maps:\n    a: {name: m, clusters: {default: [x, x]}}\n").len(), 1);
    let groups = "  cluster_groups: {g: {clusters: [c], namespaces: [x, x]}}\n  maps:\n    a: {name: m, \
                  cluster_groups: [g, g]}\n";
    assert_eq!(refusals(groups), Vec::<String>::new(), "of groups it is not asked");
    let updater = parse_plugins(format!("config_updater:\n{groups}").as_bytes()).unwrap();
    assert_eq!(updater.targets(&updater.maps[0]).len(), 1);
}

#[test]
fn repositories_are_admitted_by_name_and_by_org() {
    let lists = |lists: &str| {
        let text = format!("config_updater:\n  maps:\n    a: {{name: m, {lists}}}\n");
        parse_plugins(text.as_bytes()).unwrap().maps.remove(0)
    };
    assert!(!lists("key: k").is_bound() && !lists("allowed_repos: [o], cluster_groups: [g]").is_bound());
    let map = lists("allowed_repos: [o/r, other], denied_repos: [other/x]");
    assert!(map.is_bound());
    let admitted: Vec<bool> = ["o/r", "o/s", "other/y", "other/x", ""].iter().map(|repo| map.admits(repo)).collect();
    assert_eq!(admitted, [true, false, true, false, false]);
    assert!(lists("denied_repos: [o]").admits("p/q") && !lists("denied_repos: [o]").admits("o/r"));
}

#[test]
fn a_config_updater_tells_plugins_yaml_from_others() {
    assert!(has_config_updater(b"config_updater:\n  gzip: true\n"));
    assert!(!has_config_updater(b"plugins:\n  org/repo: []\n"));
    assert!(!has_config_updater(b"- a\n"));
    assert!(has_config_updater(b"config_updater:\n  maps: [\n"));
}
