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
    assert_eq!(rendered.notes, []);
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
    let [dup, dropped, taken] = ["dup.yaml", "x/a/dup.yaml", "x/a-b/dup.yaml"].map(str::to_owned);
    assert_eq!(two.notes[0].fact, MapFact::KeysCollide { key: dup, dropped, taken });
    let single =
        rendered("  maps:\n    k1/*.yaml: {name: m, key: single}\n", &[("k1/a.yaml", b"a"), ("k1/c.yaml", b"c")]);
    assert_eq!(shape(&single), ["default/jobs/m: single=c"]);
}

#[test]
fn an_empty_namespace_is_prowjob_namespace_and_both_spellings_merge() {
    let maps = "  maps:\n    a/*.yaml: {name: m}\n    b/*.yaml: {name: m, clusters: {default: [jobs], build: ['']}}\n";
    let merged = rendered(maps, &[("a/x.yaml", b"empty"), ("b/x.yaml", b"spelled"), ("b/y.yaml", b"y")]);
    assert_eq!(shape(&merged), ["build/jobs/m: x.yaml=spelled y.yaml=y", "default/jobs/m: x.yaml=empty y.yaml=y"]);
    assert_eq!(codes(&merged), ["keys-collide a/*.yaml"], "only where both write");
}

/// Code and globs of each note.
fn codes(rendered: &Rendered) -> Vec<String> {
    let code = |note: &MapNote| {
        let globs: Vec<&str> = note.maps.iter().map(|map| map.glob.as_str()).collect();
        format!("{} {}", note.fact.code(), globs.join(" "))
    };
    rendered.notes.iter().map(code).collect()
}

#[test]
fn the_version_key_is_never_asked_for() {
    let maps = "  maps:\n    c/*: {name: config}\n    v/*: {name: only}\n";
    let rendered = rendered(maps, &[("c/VERSION", b"abc"), ("c/config.yaml", b"x"), ("v/VERSION", b"1")]);
    assert_eq!(shape(&rendered), ["default/jobs/config: config.yaml=x", "default/jobs/only: "]);
    assert_eq!(codes(&rendered), ["version-key c/*", "version-key v/*"]);
}

/// These are left out, `kept` are not, and these are the notes.
#[track_caller]
fn left_out(updater: &str, list: &[(&str, &[u8])], kept: &[&str], notes: &[&str]) {
    let rendered = rendered(updater, list);
    assert_eq!(shape(&rendered), kept);
    assert_eq!(codes(&rendered), notes);
}

#[test]
fn overlaps_are_reported_and_not_chosen() {
    let maps = "  maps:\n    a/*.yaml: {name: m}\n    a/**/*.yaml: {name: other}\n    c/*.yaml: {name: third}\n";
    let files: &[(&str, &[u8])] = &[("a/x.yaml", b"x"), ("a/z.yaml", b"x"), ("a/b/y.yaml", b"y"), ("c/z.yaml", b"z")];
    left_out(maps, files, &["default/jobs/third: z.yaml=z"], &["overlap a/*.yaml a/**/*.yaml"]);
    let overlap = rendered(maps, files).notes.remove(0);
    assert_eq!(overlap.fact, MapFact::Overlap { files: 2, example: "a/x.yaml".to_owned() });
    assert_eq!(overlap.config_maps.len(), 2);
    assert_eq!(overlap.maps.iter().map(|map| map.line).collect::<Vec<_>>(), [Some(3), Some(4)]);
    // Where both maps mean the same there is nothing to choose.
    let same = "  maps:\n    a/*.yaml: {name: m}\n    a/x.yaml: {name: m}\n";
    left_out(same, &[("a/x.yaml", b"x")], &["default/jobs/m: x.yaml=x"], &[]);
}

#[test]
fn maps_bound_to_repositories_are_followed_where_that_is_sure() {
    let maps = "  maps:\n    a/*: {name: m, allowed_repos: [org/repo]}\n    b/*: {name: other}\n";
    let files = files(&[("a/xx", b"x"), ("b/yy", b"y")]);
    let (m, other) = ("default/jobs/m: xx=x", "default/jobs/other: yy=y");
    let updater = parse_plugins(format!("config_updater:\n{maps}").as_bytes()).unwrap();
    for (acl, repository, kept, notes) in [
        (RepoAcl::Ignored, None, &[m, other][..], &["repositories-ignored a/*"][..]),
        (RepoAcl::Heeded, Some("org/repo"), &[m, other], &["bootstrapper-skips a/*"]),
        (RepoAcl::Unknown, Some("org/repo"), &[m, other], &["bootstrapper-skips a/*"]),
        (RepoAcl::Heeded, Some("org/x"), &[other], &["other-repository a/*", "bootstrapper-skips a/*"]),
        (RepoAcl::Unknown, Some("org/x"), &[other], &["bound-to-repositories a/*", "bootstrapper-skips a/*"]),
        (RepoAcl::Unknown, None, &[other], &["bound-to-repositories a/*", "bootstrapper-skips a/*"]),
    ] {
        let circumstances = Circumstances { prowjob_namespace: "jobs", acl, repository, ..Circumstances::default() };
        let rendered = render_with(&updater, files.keys().map(String::as_str), circumstances, &mut |path, _| {
            Ok(Bytes { stored: files[path].clone(), raw: files[path].len() })
        });
        assert_eq!(shape(&rendered), kept, "{acl:?} {repository:?}");
        assert_eq!(codes(&rendered), notes, "{acl:?} {repository:?}");
    }
}

#[test]
fn what_the_server_refuses_takes_its_whole_config_map_along() {
    for name in ["a/with space.yaml", "a/ü.yaml", "a/..yaml"] {
        left_out(
            "  maps:\n    a/*: {name: m}\n    b/*: {name: other}\n",
            &[(name, b"x"), ("a/good.yaml", b"g"), ("b/yy", b"y")],
            &["default/jobs/other: yy=y"],
            &["bad-key a/*"],
        );
    }
    for name in ["Upper", "a_b", "-a", "a.", "a..b"] {
        left_out(&format!("  maps:\n    a/*: {{name: '{name}'}}\n"), &[("a/xx", b"x")], &[], &["bad-name a/*"]);
    }
    left_out("  maps:\n    a/*: {name: a-1.b}\n", &[("a/xx", b"x")], &["default/jobs/a-1.b: xx=x"], &[]);
}

#[test]
fn maps_without_files_or_names_are_said() {
    left_out("  maps:\n    none/*: {name: m}\n", &[], &[], &["matches-nothing none/*"]);
    left_out("  maps:\n    a/*: {}\n", &[("a/xx", b"x")], &[], &["no-name a/*"]);
    let fed = rendered("  maps:\n    a/*: {name: m}\n    b/*x: {name: m}\n", &[("a/xx", b"x")]);
    assert_eq!(fed.notes[0].fact, MapFact::MatchesNothing { fed: true });
}

#[test]
fn what_surprises_is_said() {
    let file: &[(&str, &[u8])] = &[("prow/a.yaml", b"x"), ("prow/plugins.yaml", b"p")];
    let name = "default/jobs/m: a.yaml=x plugins.yaml=p";
    left_out(
        "  maps:\n    prow/{a,b}.yaml: {name: m}\n",
        file,
        &[],
        &["matches-nothing prow/{a,b}.yaml", "literal-braces prow/{a,b}.yaml"],
    );
    left_out(
        "  maps:\n    '{config,prow}/*.yaml': {name: m}\n",
        &file[..1],
        &[],
        &["matches-nothing {config,prow}/*.yaml", "too-short {config,prow}/*.yaml"],
    );
    left_out("  maps:\n    prow/$X1/*: {name: m}\n", file, &[name], &["environment prow/$X1/*"]);
    left_out("  maps:\n    prow/*: {name: m, clusters: {default: []}}\n", file, &[], &["writes-nowhere prow/*"]);
    left_out(
        "  cluster_groups: {g: {clusters: [default], namespaces: [jobs]}}\n  maps:\n    prow/*: {name: m, \
         cluster_groups: [g], use_full_path_as_key: true, denied_repos: [x]}\n",
        file,
        &[name],
        &["groups-forget-full-path prow/*", "groups-forget-repositories prow/*"],
    );
    let updater = parse_plugins(b"config_updater:\n  gzip: true\n  maps: {prow/*: {name: m}}\n").unwrap();
    let circumstances = Circumstances { plugins: "prow/plugins.yaml", ..Circumstances::default() };
    let mut content = |_: &str, _| Ok(Bytes { stored: Vec::new(), raw: 0 });
    let rendered = render_with(&updater, ["prow/plugins.yaml"].into_iter(), circumstances, &mut content);
    assert_eq!(codes(&rendered), ["gzip-on-plugins prow/*"]);
    let twice = "  maps:\n    a/*: {name: m}\n    b/*: {name: m}\n";
    left_out(twice, &[("a/xx", b"x"), ("b/yy", b"y")], &["default/jobs/m: xx=x yy=y"], &["refused a/* b/*"]);
}

#[test]
fn the_limit_is_of_stored_bytes() {
    let maps = "  maps:\n    a/*: {name: m}\n    b/*: {name: other, gzip: true}\n";
    let at = |bytes: usize| rendered(maps, &[("a/xx", &vec![b'x'; bytes]), ("b/yy", b"y")]);
    for (bytes, kept, notes) in [
        (943_000, 2, &[][..]),
        (CONFIG_MAP_LIMIT - 1, 2, &["near-limit a/*"]),
        (CONFIG_MAP_LIMIT, 2, &["near-limit a/*"]),
        (CONFIG_MAP_LIMIT + 1, 1, &["too-large a/*"]),
    ] {
        let rendered = at(bytes);
        assert_eq!(
            (rendered.config_maps.len(), codes(&rendered).as_slice()),
            (kept, &notes.iter().map(|note| (*note).to_owned()).collect::<Vec<_>>()[..]),
            "{bytes}"
        );
    }
    let packed = rendered(maps, &[("b/yy", &vec![b'x'; 3 * CONFIG_MAP_LIMIT]), ("a/xx", b"x")]);
    assert_eq!((packed.config_maps.len(), packed.notes), (2, Vec::new()));
}

#[test]
fn unreadable_content_leaves_the_config_map_out() {
    let updater = parse_plugins(b"config_updater:\n  maps:\n    a/*: {name: m}\n    b/*: {name: other}\n").unwrap();
    let paths = ["a/link", "a/plain", "b/plain"];
    let circumstances = Circumstances { prowjob_namespace: "jobs", ..Circumstances::default() };
    let rendered = render_with(&updater, paths.into_iter(), circumstances, &mut |path, _| {
        if path == "a/link" { Err(Trouble::Folder) } else { Ok(Bytes { stored: b"x".to_vec(), raw: 1 }) }
    });
    assert_eq!(shape(&rendered), ["default/jobs/other: plain=x"]);
    let (path, trouble) = ("a/link".to_owned(), Trouble::Folder);
    assert_eq!(rendered.notes[0].fact, LeftOut::Unreadable { path, trouble }.into());
}

#[test]
fn a_file_is_read_even_if_another_takes_its_key() {
    let updater = parse_plugins(b"config_updater:\n  maps:\n    a/*: {name: m, key: k}\n").unwrap();
    let circumstances = Circumstances { prowjob_namespace: "jobs", ..Circumstances::default() };
    for (trouble, kept) in [(Trouble::Folder, 0), (Trouble::NoWay, 0), (Trouble::LfsPointer, 1)] {
        let rendered = render_with(&updater, ["a/first", "a/last"].into_iter(), circumstances, &mut |path, _| {
            if path == "a/first" { Err(trouble.clone()) } else { Ok(Bytes { stored: b"x".to_vec(), raw: 1 }) }
        });
        assert_eq!(rendered.config_maps.len(), kept, "{trouble:?}");
    }
}

#[test]
fn a_partition_is_picked_by_the_bytes_of_a_name() {
    let maps = b"config_updater:\n  maps:\n    a/*: {partitioned_names: [p0, p1, p2, p3]}\n";
    let updater = parse_plugins(maps).unwrap();
    let (text, raw) = ("a/\u{fffd}.yaml", b"a/\xff.yaml");
    let names = BTreeMap::from([(text.to_owned(), raw.to_vec())]);
    let circumstances = Circumstances { names: Some(&names), ..Circumstances::default() };
    let rendered = render_with(&updater, [text].into_iter(), circumstances, &mut |_, _| Err(Trouble::Name));
    let picked = format!("p{}", Sha256::digest(b"\xff.yaml")[0] % 4);
    assert_eq!(rendered.notes[0].config_maps[0].1.name, picked);
    assert_eq!(rendered.config_maps.len(), 3);
}

#[test]
fn whether_a_partition_is_written_may_be_left_to_chance() {
    let maps = "  maps:\n    a/*.yaml: {partitioned_names: [p1, p2]}\n    a/*: {name: other}\n";
    let both: &[(&str, &[u8])] = &[("a/foo.yaml", b"1")];
    let random = rendered(maps, both);
    assert_eq!((shape(&random), random.notes[0].config_maps.len()), (Vec::new(), 3));
    // A file that only the partitioned map wants makes sure of it.
    let sure = "  maps:\n    a/*.yaml: {partitioned_names: [p1, p2]}\n    a/foo*: {name: other}\n";
    let files: &[(&str, &[u8])] = &[("a/foo.yaml", b"1"), ("a/baz.yaml", b"3")];
    assert_eq!(shape(&rendered(sure, files)), ["default//p2: baz.yaml=3"].map(|map| map.replace("//", "/jobs/")));
}
