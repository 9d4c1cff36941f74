use std::sync::Arc;

use super::*;
use crate::model::Trouble;

fn note(glob: &str, line: u64, fact: MapFact) -> MapNote {
    let maps = vec![MapAt { line: Some(line), glob: glob.to_owned() }];
    MapNote { maps, config_maps: vec![(Alias::service(), Key::new("prow", "m"))], fact }
}

fn findings(notes: Vec<MapNote>) -> Vec<Finding> {
    mapping_findings(&Mapping { plugins: "prow/plugins.yaml".to_owned(), content: Arc::default(), notes })
}

#[test]
fn a_note_is_a_finding_with_its_line() {
    let fact = MapFact::Overlap { files: 2, example: "a/x.yaml".to_owned() };
    let mut overlap = note("a/*.yaml", 12, fact);
    overlap.maps.push(MapAt { line: None, glob: "config/prow/config.yaml".to_owned() });
    let all = findings(vec![overlap]);
    let [finding] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(finding.id, "maps-overlap:overlap/a/*.yaml,config/prow/config.yaml");
    assert_eq!((finding.kind.name(), finding.severity), ("maps-overlap", Severity::Warn));
    assert_eq!(
        finding.evidence,
        ["prow/plugins.yaml:12: a/*.yaml", "Prow's default map: config/prow/config.yaml", "file a/x.yaml"]
    );
    assert_eq!(finding.subjects[0].to_string(), "prow/configmap/m");
}

#[test]
fn what_is_alike_is_one_finding_and_the_worst_come_first() {
    let bad = |n: usize| LeftOut::Unreadable { path: format!("a/{n}"), trouble: Trouble::Folder }.into();
    let mut notes = vec![note("b/*", 3, Quirk::GroupsForgetFullPath.into())];
    notes.extend((0..30).map(|n| note("a/*", 7, bad(n))));
    notes.push(note("c/*", 9, bad(0)));
    let all = findings(notes);
    let ids: Vec<&str> = all.iter().map(|finding| finding.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "configmap-not-rendered:unreadable/a/*",
            "configmap-not-rendered:unreadable/c/*",
            "map-quirk:groups-forget-full-path/b/*"
        ]
    );
    assert_eq!((all[0].evidence.len(), all[0].evidence[11].as_str()), (12, "and 20 more"));
    assert!(matches!(all[0].kind, FindingKind::Mapping { more: 29, .. }), "{:?}", all[0].kind);
    assert_eq!(all[2].severity, Severity::Info);
}
