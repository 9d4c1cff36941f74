//! Large, many and hostile files: rendered or refused clearly, in little memory.

use serde_json::Value;

use crate::memory;
use crate::place::Place;

/// What the API server takes.
const LIMIT: usize = 1_048_576;
/// MiB that no command may hold at once.
const MOST: u64 = 256;

fn place(spec: &str) -> Place {
    let place = Place::new();
    let plugins =
        format!("config_updater:\n  maps:\n    files/*: {{name: job-config{spec}}}\n    prow/*.yaml: {{name: prow}}\n");
    place.repository(&[("prow/config.yaml", "prowjob_namespace: prow\n"), ("prow/plugins.yaml", &plugins)]);
    place
}

/// The document of what is in the work tree, and MiB.
fn render(place: &Place) -> (Value, u64) {
    place.git(&["add", "--all"]);
    place.git(&["commit", "--quiet", "--message", "files"]);
    let (output, most) = memory::run(&mut place.command(&["config", "render", "-o", "json", "--repo", "repo"]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(most < MOST, "{most} MiB");
    (serde_json::from_slice(&output.stdout).expect("JSON"), most)
}

/// The keys of job-config, where it is rendered.
fn keys(document: &Value) -> Option<&Vec<Value>> {
    let maps = document["configMaps"].as_array().expect("a list");
    maps.iter().find(|map| map["name"] == "job-config").map(|map| map["keys"].as_array().expect("a list"))
}

#[track_caller]
fn says(document: &Value, kind: &str, words: &str) {
    let findings = document["findings"].as_array().expect("a list");
    let found = findings.iter().any(|finding| {
        finding["kind"] == kind && finding["summary"].as_str().is_some_and(|summary| summary.contains(words))
    });
    assert!(found, "no {kind} with {words:?} in {findings:#?}");
}

#[test]
fn values_up_to_the_limit_are_rendered_and_a_byte_more_is_refused() {
    for (bytes, kept) in [(LIMIT - 1, true), (LIMIT, true), (LIMIT + 1, false)] {
        let place = place("");
        place.write("repo/files/a.yaml", "#".repeat(bytes - 3));
        place.write("repo/files/b.yaml", "#\n\n");
        let (document, _) = render(&place);
        assert_eq!(keys(&document).is_some(), kept, "{bytes}");
        says(&document, "configmap-near-limit", &format!("{bytes} bytes"));
    }
}

#[test]
fn what_fits_only_compressed_is_rendered_only_compressed() {
    let job =
        "- name: pull-test\n  interval: 1h\n  spec: {containers: [{image: alpine, args: [\"--some\", \"--thing\"]}]}\n";
    let all = format!("periodics:\n{}", job.repeat(1_700_000 / 216 / job.len()));
    for (spec, kept) in [(", gzip: true", true), ("", false)] {
        let place = place(spec);
        (0..216).for_each(|n| drop(place.write(&format!("repo/files/job-{n}.yaml"), format!("# {n}\n{all}"))));
        let (document, most) = render(&place);
        println!("1.7 MB{spec}: {most} MiB");
        assert_eq!(keys(&document).map(Vec::len), kept.then_some(216), "{spec}");
        if !kept {
            says(&document, "configmap-near-limit", "more than the 1048576 that the API server takes");
        }
    }
}

#[test]
fn a_gzip_bomb_in_git_is_no_danger() {
    for spec in ["", ", gzip: true"] {
        let place = place(spec);
        place.write("repo/files/bomb.yaml", memory::bomb());
        place.write("repo/files/good.yaml", "periodics: []\n");
        let (document, most) = render(&place);
        println!("a bomb{spec}: {most} MiB");
        assert_eq!(keys(&document).map(Vec::len), Some(2));
        let objections = document["objections"].to_string();
        assert!(objections.contains("inflates to more than 32 MiB") == spec.is_empty(), "{objections}");
    }
}

#[test]
fn a_large_file_is_not_held() {
    for (spec, kept) in [("", false), (", gzip: true", true)] {
        let place = place(spec);
        let lines = "periodics: []\n".repeat(2_000_000);
        place.write("repo/files/large.yaml", &lines);
        let (document, most) = render(&place);
        println!("{} MB{spec}: {most} MiB", lines.len() / 1_000_000);
        assert_eq!(keys(&document).is_some(), kept, "{spec}");
        if !kept {
            says(&document, "configmap-not-rendered", "has 28000000 bytes");
        }
    }
    let place = place("");
    place.write("repo/files/too-large.yaml", "#".repeat(33 * 1024 * 1024));
    says(&render(&place).0, "configmap-not-rendered", "which is no configuration");
}

#[test]
fn bytes_that_are_no_text_are_binary() {
    let place = place("");
    place.write("repo/files/bad.yaml", b"\xed\xa0\x80 \xff\xfe");
    place.write("repo/files/nul.yaml", b"a\0b");
    let (document, _) = render(&place);
    let sections: Vec<_> = keys(&document).expect("rendered").iter().map(|key| key["section"].as_str()).collect();
    assert_eq!(sections, [Some("binaryData"), Some("data")]);
}

#[test]
fn ten_thousand_keys() {
    let place = place(", gzip: true");
    (0..10_000).for_each(|n| {
        drop(place.write(&format!("repo/files/job-{n:05}.yaml"), format!("periodics: [{{name: job-{n}}}]\n")))
    });
    let (document, most) = render(&place);
    println!("10,000 keys: {most} MiB");
    assert_eq!(keys(&document).map(Vec::len), Some(10_000));
}
