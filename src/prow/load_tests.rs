use super::*;
use crate::model::{ConfigFlags, ConfigMount, DesiredEntry, Kind, ObjectRef};
use crate::prow::gzip::deflate;

fn map(cluster: &str, name: &str, values: &[(&str, &[u8])]) -> DesiredConfigMap {
    let entry = |(key, bytes): &(&str, &[u8])| {
        let entry = DesiredEntry { path: (*key).to_owned(), bytes: bytes.to_vec(), gzip: false };
        ((*key).to_owned(), entry)
    };
    DesiredConfigMap {
        cluster: Alias(cluster.to_owned()),
        key: Key::new("prow", name),
        entries: values.iter().map(entry).collect(),
    }
}

/// `map/key: message` of each objection.
fn said(objections: &[Objection]) -> Vec<String> {
    let place = |o: &Objection| format!("{}/{}", o.config_map.as_ref().unwrap().name, o.config_key.as_deref().unwrap());
    objections.iter().map(|o| format!("{}: {}", place(o), o.message)).collect()
}

fn judged(config_maps: &[DesiredConfigMap], rule: PresetRule) -> Vec<String> {
    said(&objections(config_maps, &ConfigFiles::by_name(), rule))
}

const AWS_TRUE: &[u8] = b"presets:\n- labels: {preset-aws-credential: 'true'}\n";
const AWS_OSS: &[u8] = b"presets:\n- labels: {preset-aws-credential: aws-oss-testing}\n";

#[test]
fn the_outage_of_2019_01_23() {
    let maps = [
        map("default", "config", &[("config.yaml", b"pod_namespace: test-pods\n")]),
        map("default", "job-config", &[("a.yaml", AWS_TRUE), ("b.yaml", AWS_OSS), ("c.yaml", b"periodics: []\n")]),
    ];
    assert_eq!(
        judged(&maps, PresetRule::RepeatedKey),
        ["job-config/b.yaml: duplicated preset label : preset-aws-credential"]
    );
    assert_eq!(judged(&maps, PresetRule::RepeatedPair), Vec::<String>::new());
    assert_eq!(judged(&maps, PresetRule::Unknown), Vec::<String>::new(), "only what both rules refuse");
}

#[test]
fn repeated_pairs_in_reading_order() {
    let jobs = |first: &[u8], second: &[u8]| map("default", "job-config", &[("a.yaml", first), ("b.yml", second)]);
    let pair = "duplicated preset 'label:value' pair : preset-aws-credential:true";
    for rule in [PresetRule::RepeatedPair, PresetRule::Unknown] {
        let said = judged(&[jobs(&deflate(AWS_TRUE), AWS_TRUE)], rule);
        assert_eq!(said, [format!("job-config/b.yml: {pair}")]);
    }
    // config.yaml is read first, so it is the job file that repeats.
    let config = map("default", "config", &[("config.yaml", AWS_TRUE)]);
    let said = judged(&[config.clone(), jobs(b"", AWS_TRUE)], PresetRule::RepeatedPair);
    assert_eq!(said, [format!("job-config/b.yml: {pair}")]);
    let twice = map(
        "default",
        "config",
        &[("config.yaml", &[AWS_TRUE, b"- labels: {preset-aws-credential: true}\n"].concat())],
    );
    let said = judged(&[twice, jobs(b"", b"")], PresetRule::RepeatedPair);
    assert_eq!(said, [format!("config/config.yaml: {pair}")]);
    // A value without quotes is the same string to Prow.
    let bare = b"presets:\n- labels: {preset-aws-credential: true}\n";
    assert_eq!(judged(&[jobs(AWS_TRUE, bare)], PresetRule::RepeatedPair).len(), 1);
}

#[test]
fn presets_are_not_compared_without_job_config_path() {
    let files = ConfigFiles { job_config: Vec::new(), ..ConfigFiles::by_name() };
    let twice = [AWS_TRUE, b"- labels: {preset-aws-credential: 'true'}\n"].concat();
    let maps = [map("default", "config", &[("config.yaml", &twice)])];
    assert_eq!(objections(&maps, &files, PresetRule::RepeatedKey), []);
}

#[test]
fn broken_yaml_is_told_with_its_place() {
    let maps = [
        map("default", "config", &[("config.yaml", b"plank:\n  a: [\n")]),
        map("default", "job-config", &[("a.yaml", b"presets: {a: b}\n"), ("notes.txt", b"a: [")]),
        map("default", "plugins", &[("plugins.yaml", b"config_updater:\n  maps:\n  - x\n")]),
    ];
    let said = judged(&maps, PresetRule::RepeatedPair);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].starts_with("config/config.yaml: error unmarshalling config.yaml: line "), "{said:?}");
    assert!(said[1].starts_with("job-config/a.yaml: error unmarshalling a.yaml: line 1, column "), "{said:?}");
    assert!(said[2].starts_with("plugins/plugins.yaml: error unmarshalling plugins.yaml: line 3, column "), "{said:?}");
}

#[test]
fn plugins_are_not_gunzipped_and_their_maps_are_checked() {
    let plugins = |bytes: &[u8]| [map("default", "plugins", &[("plugins.yaml", bytes)])];
    let said = judged(&plugins(&deflate(b"plugins: {}\n")), PresetRule::Unknown);
    assert!(said[0].contains("plugins.yaml is not gunzipped by Prow"), "{said:?}");
    let twice = b"config_updater:\n  maps:\n    a/*.yaml: {name: m}\n    b/*.yaml: {name: m}\n";
    assert_eq!(
        judged(&plugins(twice), PresetRule::Unknown),
        ["plugins/plugins.yaml: key *.yaml in configmap m updated with more than one file"]
    );
}

#[test]
fn partitions_share_basenames_and_presets() {
    let files = ConfigFiles {
        job_config: ["jobs-1", "jobs-2"].map(|name| ConfigFile::all_of(Key::new("prow", name))).to_vec(),
        ..ConfigFiles::by_name()
    };
    let maps = [
        map("default", "jobs-1", &[("a.yaml", AWS_TRUE)]),
        map("default", "jobs-2", &[("a.yaml", b""), ("b.yaml", AWS_TRUE)]),
    ];
    let objections = objections(&maps, &files, PresetRule::RepeatedPair);
    assert_eq!(
        said(&objections),
        [
            "jobs-2/a.yaml: duplicated basename is not allowed: a.yaml",
            "jobs-2/b.yaml: duplicated preset 'label:value' pair : preset-aws-credential:true"
        ]
    );
}

#[test]
fn only_one_cluster_is_the_service_cluster() {
    let twice = map("test-infra-trusted", "job-config", &[("a.yaml", AWS_TRUE), ("b.yaml", AWS_TRUE)]);
    let harmless = map("default", "job-config", &[("a.yaml", AWS_TRUE)]);
    assert_eq!(judged(&[twice.clone(), harmless], PresetRule::RepeatedPair).len(), 0);
    let unrelated = map("default", "label-config", &[("labels.yaml", b"a: [")]);
    assert_eq!(judged(&[twice, unrelated], PresetRule::RepeatedPair).len(), 1, "an alias of its own");
}

#[test]
fn live_content_takes_the_same_road() {
    let state = ConfigMapState {
        cluster: Alias::service(),
        key: Key::new("prow", "job-config"),
        uid: String::new(),
        resource_version: String::new(),
        immutable: false,
        values: [("a.yaml", AWS_TRUE), ("b.yaml", AWS_OSS)].map(|(k, v)| (k.to_owned(), v.to_vec())).into(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        writers: Vec::new(),
    };
    let live = BTreeMap::from([(state.key.clone(), state)]);
    let objections = objections_live(&live, &ConfigFiles::by_name(), PresetRule::RepeatedKey);
    assert_eq!(said(&objections), ["job-config/b.yaml: duplicated preset label : preset-aws-credential"]);
}

#[test]
fn hostile_text_is_made_harmless() {
    let evil = "presets:\n- labels: {\"a\\e[2J\": x}\n- labels: {\"a\\e[2J\": x}\n";
    let maps = [map("default", "job-config", &[("a.yaml", evil.as_bytes())])];
    let said = judged(&maps, PresetRule::RepeatedPair);
    assert!(said.len() == 1 && !said[0].contains('\u{1b}'), "{said:?}");
}

fn component(role: &str, config: ConfigFlags, mounts: &[(&str, &str)]) -> Component {
    let mount = |(name, path): &(&str, &str)| ConfigMount {
        config_map: Key::new("prow", *name),
        path: (*path).to_owned(),
        sub_path: false,
        optional: false,
    };
    Component {
        object: ObjectRef::new(&Alias::service(), "prow", Kind::Deployment, role),
        role: role.to_owned(),
        when_down: String::new(),
        resource_version: String::new(),
        desired: 1,
        ready: 1,
        suspended: false,
        spec_images: Vec::new(),
        container: String::new(),
        config,
        mounts: mounts.iter().map(mount).collect(),
        pods: Vec::new(),
        rolled_out: None,
        writers: Vec::new(),
        tracking: Vec::new(),
        paused: false,
        trouble: None,
        placement: Default::default(),
    }
}

/// With these flags.
fn of(role: &str, words: &[&str], mounts: &[(&str, &str)]) -> Component {
    let bare = component(role, ConfigFlags::default(), mounts);
    let args: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    Component { config: crate::prow::config_flags(&args, &bare.mounts), ..bare }
}

#[test]
fn what_a_component_reads_beyond_the_files_is_told() {
    let (config, jobs) = ("--config-path=/etc/config/config.yaml", "--job-config-path=/etc/jobs");
    let plugins = "--plugin-config=/etc/plugins/plugins.yaml";
    let mounts =
        [("config", "/etc/config"), ("jobs-1", "/etc/jobs/1"), ("jobs-2", "/etc/jobs/2"), ("plugins", "/etc/plugins")];
    let hook = of("hook", &[config, jobs, plugins], &mounts);
    let files = ConfigFiles::of_components([hook.clone()].iter());
    let further = |words: &[&str], mounts: &[(&str, &str)]| {
        crate::prow::layout::reads_further(&of("deck", words, mounts), &files)
    };
    assert_eq!(crate::prow::layout::reads_further(&hook, &files), None);
    // Less is nothing further.
    assert_eq!(further(&[config], &mounts[..1]), None);
    assert_eq!(further(&[config, jobs], &mounts[..2]), None);
    let supplement = "--supplemental-prow-config-dir=/etc/config";
    for (words, mounts, says) in [
        (&[config, supplement][..], &mounts[..], supplement),
        (&["--config-path=/git/config.yaml"], &mounts, "reads /git/config.yaml, which is in no ConfigMap"),
        (&["--config-path=/etc/config/private.yaml"], &mounts, "reads key private.yaml of ConfigMap prow/config"),
        (&[config, "--job-config-path=/git/jobs"], &mounts, "reads /git/jobs, which is in no ConfigMap"),
        (&[config, jobs], &[("config", "/etc/config"), ("more", "/etc/jobs/3")], "reads /etc/jobs"),
        (
            &[config, "--plugin-config=/etc/config/plugins.yaml"],
            &mounts,
            "reads key plugins.yaml of ConfigMap prow/config",
        ),
    ] {
        let said = further(words, mounts);
        assert!(said.as_ref().is_some_and(|said| said.contains(says)), "{words:?}: {said:?}");
    }
}

#[test]
fn which_maps_are_meant_is_what_most_components_read() {
    let mounts = &[("cfg", "/etc/config"), ("jobs-2", "/etc/jobs/2"), ("jobs-1", "/etc/jobs/1")];
    let usual = ["--config-path=/etc/config/prow.yaml", "--job-config-path=/etc/jobs"];
    let components = [
        of("needs-rebase", &["--config-path=/etc/config/config.yaml"], &[("other", "/etc/config")]),
        of("deck", &usual, mounts),
        of("hook", &usual, mounts),
    ];
    let files = ConfigFiles::of_components(components.iter());
    assert_eq!(files.config, ConfigFile::one_of(Key::new("prow", "cfg"), "prow.yaml"));
    let jobs: Vec<_> = files.job_config.iter().map(|file| file.config_map.name.as_str()).collect();
    assert_eq!(jobs, ["jobs-1", "jobs-2"]);
    assert_eq!(files.plugins, ConfigFiles::by_name().plugins);
    let starter = [of("hook", &["--config-path=/etc/config/config.yaml"], &[("config", "/etc/config")])];
    assert_eq!(ConfigFiles::of_components(starter.iter()).job_config, []);
    assert_eq!(ConfigFiles::of_components([].iter()), ConfigFiles::by_name());
}
