//! How files become ConfigMaps: what hook goes by, and what comes near the limit.

use std::sync::Arc;

use prow_breakglass::diagnose::{Basis, FindingKind, Health, Severity, diagnose};
use prow_breakglass::model::{
    Alias, CONFIG_MAP_LIMIT, Desired, Key, MapAt, MapFact, MapNote, Snapshot, Source, Unrendered, Values,
};
use prow_breakglass::present;

use crate::kinds;
use crate::support::{self, healthy};

const GIT: &str = "config_updater:
  gzip: true
  maps:
    config/*.yaml: {name: config, gzip: false}
    jobs/**/*.yaml: {name: job-config}
    new/*: {name: new}
";

fn desired(snapshot: &mut Snapshot) -> &mut Desired {
    let Source::Known { value, .. } = &mut snapshot.desired else { panic!("git is known") };
    value
}

fn live<'a>(snapshot: &'a mut Snapshot, name: &str) -> &'a mut Values {
    let Source::Known { value, .. } = &mut snapshot.service.config_maps else { panic!("known ConfigMaps") };
    &mut value.get_mut(&Key::new(support::NAMESPACE, name)).expect("a ConfigMap").values
}

#[test]
fn hook_goes_by_the_live_maps() {
    let mut snapshot = healthy();
    let mapping = &mut desired(&mut snapshot).mapping;
    mapping.plugins = "config/plugins.yaml".to_owned();
    mapping.content = Arc::new(GIT.as_bytes().to_vec());
    let mut with = |text: &str| {
        live(&mut snapshot, "plugins").insert("plugins.yaml".to_owned(), text.as_bytes().to_vec());
        let diagnosis = diagnose(&snapshot);
        let found = diagnosis.findings.into_iter().find(|finding| finding.kind.name() == "live-maps-differ");
        found.map(|finding| (present::finding(&finding), finding.evidence, finding.severity))
    };
    // Written otherwise, meant alike.
    let alike = "config_updater:\n  maps:\n    jobs/**/*.yaml: {name: job-config, gzip: true, clusters: {default: ['']}}\n    \
                 new/*: {name: new, gzip: true}\n    config/*.yaml: {name: config}\n";
    assert_eq!(with(alike), None);
    assert_eq!(with("config_updater: [\n"), None, "another finding's matter");
    let (summary, evidence, severity) = with(
        "config_updater:\n  maps:\n    config/*.yaml: {name: config}\n    \
                                              jobs/**/*.yaml: {name: job-config}\n    old/*: {name: new, gzip: true}\n",
    )
    .expect("a finding");
    assert_eq!(severity, Severity::Warn);
    assert_eq!(
        summary,
        "hook goes by the maps of ConfigMap prow/plugins, which are not git's: 1 only in git (new/*); 1 only live (old/*); \
         1 otherwise (jobs/**/*.yaml)"
    );
    assert_eq!(
        evidence,
        [
            "maps otherwise live: config/plugins.yaml:5: jobs/**/*.yaml",
            "only in git: config/plugins.yaml:6: new/*",
            "only live, ConfigMap prow/plugins: old/*"
        ]
    );
}

#[test]
fn what_comes_near_the_limit_is_said_once() {
    let mut snapshot = healthy();
    live(&mut snapshot, "job-config").insert("large".to_owned(), vec![b'#'; CONFIG_MAP_LIMIT - 5000]);
    let near = |snapshot: &Snapshot| {
        let findings = diagnose(snapshot).findings;
        let near = findings.into_iter().filter(|finding| finding.kind.name() == "configmap-near-limit");
        near.map(|finding| (finding.kind.clone(), present::finding(&finding))).collect::<Vec<_>>()
    };
    let found = near(&snapshot);
    let [(FindingKind::ConfigMapNearLimit { stored, raw, .. }, words)] = found.as_slice() else { panic!("{found:?}") };
    assert!(stored <= raw && words.starts_with("ConfigMap prow/job-config: 10"), "{words}");
    let note = MapNote {
        maps: vec![MapAt { line: Some(5), glob: "jobs/**/*.yaml".to_owned() }],
        config_maps: vec![(Alias::service(), Key::new(support::NAMESPACE, "job-config"))],
        fact: MapFact::NearLimit { stored: 1_000_000, raw: 5_000_000 },
    };
    desired(&mut snapshot).mapping.notes = vec![note];
    let found = near(&snapshot);
    let words: Vec<&str> = found.iter().map(|(_, words)| words.as_str()).collect();
    assert_eq!(
        words,
        ["ConfigMap prow/job-config: 1000000 bytes, 5000000 before gzip, 95% of the 1048576 that the API server takes"]
    );
}

#[test]
fn a_mapping_of_surprises_makes_no_sick_prow() {
    let mut snapshot = healthy();
    let before = kinds(&diagnose(&snapshot));
    let fact = MapFact::MatchesNothing { fed: false };
    let maps = vec![MapAt { line: Some(5), glob: "none/*".to_owned() }];
    desired(&mut snapshot).mapping.notes = vec![MapNote { maps, config_maps: Vec::new(), fact }];
    let diagnosis = diagnose(&snapshot);
    assert_eq!(diagnosis.verdict.state, Health::Healthy);
    assert_eq!(kinds(&diagnosis).len(), before.len() + 1);
}

/// It is no refusal: Prow runs on, and nothing more reaches it.
#[test]
fn a_head_that_makes_no_config_map_is_not_said_to_crash_prow() {
    let mut snapshot = healthy();
    let head = &mut desired(&mut snapshot).head;
    (head.config_maps, head.content) = (Err(Unrendered::MakesNone("no maps are configured".to_owned())), None);
    let diagnosis = diagnose(&snapshot);
    assert_eq!(diagnosis.verdict.state, Health::Healthy);
    let found = kinds(&diagnosis);
    assert!(found.contains(&("revision-makes-none", Severity::Warn, Basis::Fact)), "{found:?}");
    assert!(!found.iter().any(|(kind, ..)| *kind == "revision-would-not-load"), "{found:?}");
    let words = present::status_text(&snapshot, &diagnosis);
    assert!(words.contains("\" makes no ConfigMap: no maps are configured"), "{words}");
    assert!(words.contains("merged: Prow works now, but nothing of git's head reaches it\n"), "{words}");
    assert!(!words.contains("would not load") && !words.contains("break it again"), "{words}");

    desired(&mut snapshot).head.config_maps = Err(Unrendered::NoPlugins("error unmarshalling".to_owned()));
    let found = kinds(&diagnose(&snapshot));
    assert!(found.iter().any(|(kind, ..)| *kind == "revision-would-not-load"), "{found:?}");
}
