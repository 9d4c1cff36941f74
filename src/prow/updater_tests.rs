use super::*;
use crate::prow::gzip::inflate;
use crate::prow::plugins::parse_plugins;

fn files(list: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
    list.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect()
}

/// Renders with `prowjob_namespace: jobs`; `maps` is the body of `config_updater`.
fn rendered(updater: &str, list: &[(&str, &[u8])]) -> Rendered {
    let updater = parse_plugins(format!("config_updater:\n{updater}").as_bytes()).unwrap();
    render(&updater, &files(list), "jobs")
}

/// `cluster/namespace/name: key=content …` for each ConfigMap, contents inflated.
fn shape(rendered: &Rendered) -> Vec<String> {
    let entry = |(key, entry): (&String, &DesiredEntry)| {
        format!("{key}={}", String::from_utf8_lossy(&inflate(&entry.bytes).unwrap()))
    };
    rendered
        .config_maps
        .iter()
        .map(|map| {
            let entries: Vec<String> = map.entries.iter().map(entry).collect();
            format!("{}/{}: {}", map.cluster, map.key, entries.join(" "))
        })
        .collect()
}

#[test]
fn plain_files_binary_and_empty() {
    let list: &[(&str, &[u8])] =
        &[("config/a.yaml", b"one\n"), ("config/bin.yaml", &[0x6b, 0xff, 0xfe]), ("config/empty.yaml", b"")];
    let rendered = rendered("  maps:\n    config/*.yaml: {name: plain}\n", list);
    let [map] = rendered.config_maps.as_slice() else { panic!("{rendered:?}") };
    assert_eq!((map.cluster.clone(), map.key.clone()), (Alias::service(), Key::new("jobs", "plain")));
    let values: Vec<_> = map.entries.iter().map(|(key, entry)| (key.as_str(), entry.bytes.as_slice())).collect();
    assert_eq!(values, [("a.yaml", &b"one\n"[..]), ("bin.yaml", &[0x6b, 0xff, 0xfe]), ("empty.yaml", b"")]);
    assert_eq!(map.entries["bin.yaml"].path, "config/bin.yaml");
    assert_eq!(rendered.not_understood, Vec::<String>::new());
}

#[test]
fn gzip_of_the_map_overrides_the_global_one() {
    let list: &[(&str, &[u8])] = &[("a/a.yaml", b"one"), ("a/x/b.yaml", b"two"), ("c/c.yaml", b"three")];
    let one = rendered("  maps:\n    a/**/*.yaml: {name: m, gzip: true}\n", &list[..2]);
    assert_eq!(shape(&one), ["default/jobs/m: a.yaml=one b.yaml=two"]);
    assert!(one.config_maps[0].entries.values().all(|entry| entry.gzip && entry.bytes.starts_with(&[0x1f, 0x8b])));
    let both =
        rendered("  gzip: true\n  maps:\n    a/**/*.yaml: {name: m}\n    c/*.yaml: {name: other, gzip: false}\n", list);
    let gzip: Vec<bool> = both.config_maps.iter().map(|map| map.entries.values().all(|entry| entry.gzip)).collect();
    assert_eq!(gzip, [true, false]);
}

#[test]
fn full_paths_as_keys_and_groups_that_forget_them() {
    let list: &[(&str, &[u8])] = &[("other/f.txt", b"f")];
    let plain = rendered("  maps:\n    other/*.txt: {name: m, use_full_path_as_key: true}\n", list);
    assert_eq!(shape(&plain), ["default/jobs/m: other-f.txt=f"]);
    let grouped = rendered(
        "  cluster_groups:\n    g: {clusters: [build, default], namespaces: [one, two]}\n  maps:\n    other/*.txt: \
         {name: m, use_full_path_as_key: true, cluster_groups: [g]}\n",
        list,
    );
    assert_eq!(
        shape(&grouped),
        ["build/one/m: f.txt=f", "build/two/m: f.txt=f", "default/one/m: f.txt=f", "default/two/m: f.txt=f"]
    );
}

#[test]
fn partitions_by_the_first_byte_of_the_keys_hash() {
    let list: &[(&str, &[u8])] = &[("part/foo.yaml", b"1"), ("part/bar.yaml", b"2"), ("part/baz.yaml", b"3")];
    let rendered = rendered("  maps:\n    part/*.yaml: {partitioned_names: [p1, p2]}\n", list);
    assert_eq!(shape(&rendered), ["default/jobs/p1: bar.yaml=2 foo.yaml=1", "default/jobs/p2: baz.yaml=3"]);
}

#[test]
fn a_partition_that_no_file_falls_into_is_empty_rather_than_missing() {
    let list: &[(&str, &[u8])] = &[("part/foo.yaml", b"1"), ("part/bar.yaml", b"2")];
    let maps = "  maps:\n    part/*.yaml: {partitioned_names: [p1, p2]}\n    none/*: {partitioned_names: [q1]}\n";
    assert_eq!(shape(&rendered(maps, list)), ["default/jobs/p1: bar.yaml=2 foo.yaml=1", "default/jobs/p2: "]);
}

#[test]
fn duplicates_in_the_walks_order_which_is_not_that_of_bytes() {
    let list: &[(&str, &[u8])] = &[("x/a-b/dup.yaml", b"dash"), ("x/a/dup.yaml", b"slash")];
    let two = rendered("  maps:\n    x/**/*.yaml: {name: m}\n", list);
    assert_eq!(shape(&two), ["default/jobs/m: dup.yaml=dash"]);
    assert!(two.not_understood[0].contains("x/a/dup.yaml and x/a-b/dup.yaml are both key dup.yaml"), "{two:?}");
    let single =
        rendered("  maps:\n    k1/*.yaml: {name: m, key: single}\n", &[("k1/a.yaml", b"a"), ("k1/c.yaml", b"c")]);
    assert_eq!(shape(&single), ["default/jobs/m: single=c"]);
}

#[test]
fn an_empty_namespace_is_prowjob_namespace_and_both_spellings_merge() {
    let maps = "  maps:\n    a/*.yaml: {name: m}\n    b/*.yaml: {name: m, clusters: {default: [jobs], build: ['']}}\n";
    let merged = rendered(maps, &[("a/x.yaml", b"empty"), ("b/x.yaml", b"spelled"), ("b/y.yaml", b"y")]);
    assert_eq!(shape(&merged), ["build/jobs/m: x.yaml=spelled y.yaml=y", "default/jobs/m: x.yaml=empty y.yaml=y"]);
    assert!(merged.not_understood.iter().any(|note| note.contains("are both key x.yaml")), "{merged:?}");
}

#[test]
fn the_version_key_is_never_asked_for() {
    let rendered = rendered("  maps:\n    c/*: {name: config}\n", &[("c/VERSION", b"abc"), ("c/config.yaml", b"x")]);
    assert_eq!(shape(&rendered), ["default/jobs/config: config.yaml=x"]);
}

#[track_caller]
fn left_out(updater: &str, list: &[(&str, &[u8])], kept: &[&str], said: &str) {
    let rendered = rendered(updater, list);
    assert_eq!(shape(&rendered), kept);
    assert!(rendered.not_understood.iter().any(|note| note.contains(said)), "{:?}", rendered.not_understood);
}

#[test]
fn overlaps_are_reported_and_not_chosen() {
    left_out(
        "  maps:\n    a/*.yaml: {name: m}\n    a/**/*.yaml: {name: other}\n    c/*.yaml: {name: third}\n",
        &[("a/x.yaml", b"x"), ("a/b/y.yaml", b"y"), ("c/z.yaml", b"z")],
        &["default/jobs/third: z.yaml=z"],
        "a/x.yaml is wanted by two maps, `a/**/*.yaml` and `a/*.yaml`",
    );
    // Where both maps mean the same there is nothing to choose.
    let same = "  maps:\n    a/*.yaml: {name: m}\n    a/x.yaml: {name: m}\n";
    let rendered = rendered(same, &[("a/x.yaml", b"x")]);
    assert_eq!(shape(&rendered), ["default/jobs/m: x.yaml=x"]);
}

#[test]
fn maps_bound_to_repositories_are_not_guessed() {
    left_out(
        "  maps:\n    a/*: {name: m, allowed_repos: [org/repo]}\n    b/*: {name: other}\n",
        &[("a/xx", b"x"), ("b/yy", b"y")],
        &["default/jobs/other: yy=y"],
        "allowed_repos",
    );
}

#[test]
fn a_key_that_the_server_refuses_takes_its_whole_config_map_along() {
    for name in ["a/with space.yaml", "a/ü.yaml", "a/..yaml"] {
        left_out(
            "  maps:\n    a/*: {name: m}\n    b/*: {name: other}\n",
            &[(name, b"x"), ("a/good.yaml", b"g"), ("b/yy", b"y")],
            &["default/jobs/other: yy=y"],
            "which the API server refuses",
        );
    }
}

#[test]
fn maps_without_files_or_names_are_said() {
    left_out("  maps:\n    none/*: {name: m}\n", &[], &[], "no file matches the map `none/*`: its ConfigMap m");
    left_out("  maps:\n    a/*: {}\n", &[("a/xx", b"x")], &[], "names no ConfigMap");
}

#[test]
fn unreadable_content_leaves_the_config_map_out() {
    let updater = parse_plugins(b"config_updater:\n  maps:\n    a/*: {name: m}\n    b/*: {name: other}\n").unwrap();
    let paths = ["a/link", "a/plain", "b/plain"];
    let rendered = render_with(&updater, paths.into_iter(), "jobs", &mut |path, _| {
        if path == "a/link" { Err("a/link is a symlink to nowhere".to_owned()) } else { Ok(b"x".to_vec()) }
    });
    assert_eq!(shape(&rendered), ["default/jobs/other: plain=x"]);
    assert_eq!(rendered.not_understood, ["a/link is a symlink to nowhere: ConfigMap m not judged"]);
}
