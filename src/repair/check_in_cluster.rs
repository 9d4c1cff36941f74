//! `check-in-cluster`: the deployed tag's checkconfig as a short-lived Job, where there is none on this machine. It writes (a
//! Job and its ConfigMaps), so it is a plan of its own and no part of any preview; what it makes is taken away afterwards.
//!
//! The Job comes first and owns its ConfigMaps, so that whatever ends this program, they go with it; its pod waits for them. The
//! candidate's files are spread over as many as they need, each byte for byte: another packing would be another question, for
//! an old Prow does not unpack. None is too large for that: each is a value that a ConfigMap takes. A projected volume puts
//! them together again, so that the image needs no shell.

use std::collections::BTreeMap;

use crate::diagnose::{checkconfig_images, doubts_of_job};
use crate::model::{
    CANARY, CONFIG_MAP_LIMIT, CanaryFile, CheckFile, CheckFolder, CheckJob, Component, ConfigMapBody, DesiredConfigMap,
    Key, Kind, MapFact, MapNote, OWN_LABEL, ObjectRef, Revision, Snapshot, Values, Write, sha256_hex,
};
use crate::prow::ConfigFiles;
use crate::prow::layout::{Layout, ReadAs, absent};

use super::{Confirmation, Plan, PlanBasis, Refusal, RepairId, Step, Undo, Verify, identity, required};

pub(super) fn plan(snapshot: &Snapshot) -> Result<Plan, Refusal> {
    let cluster = identity(snapshot)?;
    let components = required(&snapshot.service.components, "the components")?;
    let files = ConfigFiles::of_components(components.iter());
    let image = checkconfig_images(components).into_iter().next().ok_or_else(|| {
        Refusal::new(
            "no component tells which tag of checkconfig is deployed",
            "components of Prow with a tagged image and --config-path are needed; else --checkconfig PATH",
        )
    })?;
    let reader = reader(components)
        .ok_or_else(|| Refusal::new("no component reads a configuration", "is this the right cluster?"))?;
    let namespace = reader.object.namespace.clone();
    let (revision, layout) = candidate(snapshot, &files, components)?;
    let content = layout.digest();
    let about =
        revision.as_ref().map_or("what is live".to_owned(), |revision| format!("revision {}", revision.short()));
    let doubts: Vec<String> = doubts_of_job(snapshot, &image).iter().map(ToString::to_string).collect();
    // Two checks at once are two Jobs.
    let seed = format!("{content}/{image}/{}", snapshot.taken_at.as_nanosecond());
    let name = format!("prow-breakglass-check-{}", &sha256_hex(seed.as_bytes())[..10]);
    let object = |kind: Kind, name: &str| ObjectRef::new(&snapshot.service.alias, &namespace, kind, name);
    let labels = BTreeMap::from([(OWN_LABEL.0.to_owned(), OWN_LABEL.1.to_owned())]);
    let Laid { maps, folders, canary } = spread(&layout, &name)?;

    let job = object(Kind::Job, &name);
    let placement = reader.placement.clone();
    let body = CheckJob { image: image.clone(), args: args(&layout), folders, canary, placement };
    let mut writes: Vec<(Write, String)> =
        vec![(Write::CreateJob { object: job.clone(), body: Box::new(body) }, format!("runs {image}"))];
    for (name, values) in maps {
        let bytes: usize = values.values().map(Vec::len).sum();
        let effect = format!("{} file(s), {bytes} bytes; goes with the Job", values.len());
        let (labels, owner) = (labels.clone(), Some(Box::new(job.clone())));
        let body = ConfigMapBody { values, labels, annotations: BTreeMap::new(), owner };
        writes.push((Write::CreateConfigMap { object: object(Kind::ConfigMap, &name), body }, effect));
    }
    let mut warnings = vec![
        format!(
            "your approval covers both: these {} object(s) are made in namespace {namespace}, and the same ones are taken \
             away as soon as the answer is there",
            writes.len()
        ),
        "no image of that name may be published: then there is no answer, and nothing is left either".to_owned(),
    ];
    if !doubts.is_empty() {
        warnings.push(format!("the answer will be a GUESS: {}", doubts.join("; ")));
    }
    let steps = writes.into_iter().enumerate().map(|(n, (write, effect))| Step {
        n: n + 1,
        write,
        why: format!("asks whether {about} loads"),
        undo: Undo::Delete,
        effect,
    });
    Ok(Plan {
        id: String::new(),
        repair: RepairId::CheckInCluster,
        title: format!("ask {image} in the cluster whether {about} loads"),
        clusters: vec![cluster],
        basis: PlanBasis {
            taken_at: snapshot.taken_at,
            revision,
            reason: Some(format!("the image of checkconfig beside {}", reader.object.name)),
            content: Some(content),
            doubts,
            ..PlanBasis::default()
        },
        steps: steps.collect(),
        refusals: Vec::new(),
        warnings,
        confirmation: Confirmation::Yes,
        verify: Verify::Written,
        afterwards: Vec::new(),
        digest: String::new(),
    }
    .sealed())
}

/// The component beside which the Job runs: hook, else the first that reads a configuration.
fn reader(components: &[Component]) -> Option<&Component> {
    let readers = components.iter().filter(|component| component.config.config_path.is_some());
    readers.min_by_key(|component| (component.is_idle_by_intent(), component.role != "hook", &component.object))
}

/// The revision asked for, else git's head; without a repository what is live.
fn candidate<'a>(
    snapshot: &'a Snapshot,
    files: &ConfigFiles,
    components: &[Component],
) -> Result<(Option<Revision>, Layout<'a>), Refusal> {
    let nothing = |what: String| {
        Refusal::new(format!("{what} has no config.yaml to check"), "say which file it is with --config-path PATH")
    };
    if let Some(desired) = snapshot.desired.known() {
        let candidate = desired.asked.as_ref().unwrap_or(&desired.head);
        let short = candidate.revision.short();
        let maps = candidate.config_maps.as_ref().map_err(|why| {
            Refusal::new(format!("revision {short} cannot be rendered: {why}"), "choose another --revision")
        })?;
        whole(maps, &desired.mapping.notes, files, short)?;
        let layout = Layout::of_desired(maps, files).ok_or_else(|| nothing(format!("revision {short}")))?;
        return Ok((Some(candidate.revision.clone()), layout));
    }
    let live = required(&snapshot.service.config_maps, "the live ConfigMaps")?;
    if let Some(source) = absent(files, live, components) {
        let key = source.key.as_ref().map_or(String::new(), |key| format!(" with key {key}"));
        return Err(Refusal::new(
            format!(
                "no live ConfigMap {}{key} is seen, which Prow reads: the rest alone would be asked about",
                source.config_map
            ),
            "prow-breakglass status tells whether it is missing; bring it back first",
        ));
    }
    Ok((None, Layout::of_live(live, files).ok_or_else(|| nothing("what is live".to_owned()))?))
}

/// What Prow reads and what is not rendered is no part of the candidate: without it, it may load, and that says nothing.
fn whole(maps: &[DesiredConfigMap], notes: &[MapNote], files: &ConfigFiles, short: &str) -> Result<(), Refusal> {
    let read: Vec<&Key> =
        [&files.config, &files.plugins].into_iter().chain(&files.job_config).map(|file| &file.config_map).collect();
    let is_read = |key: &Key| {
        read.iter().any(|read| read.name == key.name && (read.namespace.is_empty() || read.namespace == key.namespace))
    };
    let is_left_out = |fact: &MapFact| match fact {
        MapFact::NotRendered(_) | MapFact::Overlap { .. } => true,
        MapFact::MatchesNothing { .. }
        | MapFact::Refused { .. }
        | MapFact::KeysCollide { .. }
        | MapFact::NearLimit { .. }
        | MapFact::Quirk(_) => false,
    };
    let mut left_out = notes.iter().filter(|note| is_left_out(&note.fact)).flat_map(|note| {
        note.config_maps.iter().map(|(_, key)| (key, note.fact.kind())).filter(|(key, _)| is_read(key))
    });
    match left_out.find(|(key, _)| !maps.iter().any(|map| map.key == **key)) {
        None => Ok(()),
        Some((key, kind)) => Err(Refusal::new(
            format!(
                "revision {short} gives no ConfigMap {key} ({kind}), which Prow reads: the rest alone would be asked about"
            ),
            "prow-breakglass status tells why; mend that first",
        )),
    }
}

struct Laid {
    /// Name to values.
    maps: Vec<(String, Values)>,
    folders: Vec<CheckFolder>,
    canary: CanaryFile,
}

/// Spreads the files over ConfigMaps, each as full as may be.
fn spread(layout: &Layout<'_>, name: &str) -> Result<Laid, Refusal> {
    let map_name = |n: usize| format!("{name}-{n}");
    let canary = CanaryFile { config_map: map_name(1), key: "canary".to_owned() };
    let mut maps = vec![(canary.config_map.clone(), Values::from([(canary.key.clone(), CANARY.to_vec())]))];
    let mut folders: BTreeMap<String, Vec<CheckFile>> = BTreeMap::new();
    let mut used = CANARY.len();
    for (n, (path, file)) in layout.files().iter().filter(|(_, file)| file.read_as != ReadAs::Nothing).enumerate() {
        let bytes = file.bytes.to_vec();
        if bytes.len() > CONFIG_MAP_LIMIT {
            return Err(Refusal::new(
                format!("{path} has {} bytes: no ConfigMap takes it", bytes.len()),
                "nor would Prow's own; split the file",
            ));
        }
        if used + bytes.len() > CONFIG_MAP_LIMIT {
            maps.push((map_name(maps.len() + 1), Values::new()));
            used = 0;
        }
        used += bytes.len();
        let Some((map, values)) = maps.last_mut() else { continue };
        // Keys of their own: paths may hold slashes, and two folders the same name.
        let key = format!("file-{n}");
        values.insert(key.clone(), bytes);
        let (folder, below) = path.split_once('/').unwrap_or(("config", path));
        folders.entry(folder.to_owned()).or_default().push(CheckFile {
            path: below.to_owned(),
            config_map: map.clone(),
            key,
            stands_for: (file.config_map.clone(), file.key.to_owned()),
        });
    }
    let folders = folders.into_iter().map(|(folder, files)| CheckFolder { path: format!("/etc/{folder}"), files });
    Ok(Laid { maps, folders: folders.collect(), canary })
}

fn args(layout: &Layout<'_>) -> Vec<String> {
    let flag = |name: &str, path: &String| format!("--{name}=/etc/{path}");
    let mut args = vec![flag("config-path", &layout.config_path)];
    args.extend(layout.job_config_path.iter().map(|path| flag("job-config-path", path)));
    args.extend(layout.plugin_config.iter().map(|path| flag("plugin-config", path)));
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing;
    use crate::model::{Alias, ClusterIdentity, ConfigMapState, ConfigPath, DesiredEntry, LeftOut, Source};

    fn layout_of(jobs: &[(String, Vec<u8>)]) -> (Vec<DesiredConfigMap>, ConfigFiles) {
        let entry = |bytes: &[u8]| DesiredEntry { path: "x".to_owned(), bytes: bytes.to_vec(), gzip: false };
        let map = |name: &str, entries: Vec<(String, Vec<u8>)>| DesiredConfigMap {
            cluster: Alias::service(),
            key: Key::new("prow", name),
            entries: entries.into_iter().map(|(key, bytes)| (key, entry(&bytes))).collect(),
        };
        let config = vec![("config.yaml".to_owned(), b"a: b\n".repeat(100))];
        (vec![map("config", config), map("job-config", jobs.to_vec())], ConfigFiles::by_name())
    }

    #[test]
    fn large_contents_are_spread_and_every_file_is_there_once_as_it_is() {
        // What packs well is not packed either: an old Prow would read something else.
        let text = |n: u8| vec![b'a' + n; 500_000];
        let jobs: Vec<(String, Vec<u8>)> = (0..5).map(|n| (format!("{n}.yaml"), text(n))).collect();
        let (maps, files) = layout_of(&jobs);
        let layout = Layout::of_desired(&maps, &files).unwrap();
        let laid = spread(&layout, "check").unwrap();
        assert_eq!(laid.maps.len(), 3, "two of the files in each");
        let size = |values: &Values| values.values().map(Vec::len).sum::<usize>();
        assert!(laid.maps.iter().all(|(_, values)| size(values) <= CONFIG_MAP_LIMIT));
        assert_eq!(laid.maps[0].1[&laid.canary.key], CANARY);
        let mut found: Vec<(String, String)> = Vec::new();
        for folder in &laid.folders {
            for file in &folder.files {
                let (_, values) = laid.maps.iter().find(|(name, _)| *name == file.config_map).unwrap();
                let original = layout.files().values().find(|laid| laid.key == file.stands_for.1).unwrap();
                assert_eq!(values[&file.key], original.bytes);
                found.push((folder.path.clone(), file.path.clone()));
            }
        }
        assert_eq!(found.len(), 6);
        assert!(found.contains(&("/etc/job-config".to_owned(), "4.yaml".to_owned())));
        assert_eq!(args(&layout), ["--config-path=/etc/config/config.yaml", "--job-config-path=/etc/job-config"]);
    }

    #[test]
    fn what_a_config_map_just_takes_gets_one_of_its_own() {
        let maps_for = |bytes: usize| {
            let (maps, files) = layout_of(&[("a.yaml".to_owned(), vec![b'a'; bytes])]);
            spread(&Layout::of_desired(&maps, &files).unwrap(), "check").map(|laid| laid.maps.len())
        };
        assert_eq!(maps_for(CONFIG_MAP_LIMIT), Ok(2), "the canary and config.yaml are in the first");
        assert!(maps_for(CONFIG_MAP_LIMIT + 1).is_err());
    }

    #[test]
    fn half_a_candidate_is_not_asked_about() {
        let (maps, files) = layout_of(&[]);
        let without: Vec<DesiredConfigMap> = maps.iter().filter(|map| map.key.name == "config").cloned().collect();
        let note = |name: &str| MapNote {
            maps: Vec::new(),
            config_maps: vec![(Alias::service(), Key::new("prow", name))],
            fact: LeftOut::TooLarge { stored: CONFIG_MAP_LIMIT + 1, raw: 0 }.into(),
        };
        let refused = whole(&without, &[note("job-config")], &files, "6a70de1").unwrap_err();
        assert!(refused.reason.contains("no ConfigMap prow/job-config"), "{refused:?}");
        assert_eq!(whole(&without, &[note("label-config")], &files, "6a70de1"), Ok(()), "which Prow does not read");
        assert_eq!(whole(&maps, &[note("job-config")], &files, "6a70de1"), Ok(()), "other maps give it");
    }

    /// hook runs on a live configuration.
    fn world() -> Snapshot {
        let mut snapshot = testing::snapshot();
        snapshot.service.components = testing::known(vec![testing::reader("hook", "v20240619-cfb8754e0")]);
        snapshot.service.identity = testing::known(ClusterIdentity {
            alias: Alias::service(),
            context: "prow".to_owned(),
            server: "https://s".to_owned(),
            uid: "u".to_owned(),
            ca: String::new(),
        });
        let map = ConfigMapState {
            cluster: Alias::service(),
            key: Key::new("default", "config"),
            uid: "u-1".to_owned(),
            resource_version: "1".to_owned(),
            immutable: false,
            values: Values::from([("config.yaml".to_owned(), b"a: b\n".to_vec())]),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            writers: Vec::new(),
        };
        snapshot.service.config_maps = testing::known([(map.key.clone(), map)].into());
        snapshot.desired = Source::Loading;
        snapshot
    }

    #[test]
    fn the_job_is_made_first_and_owns_the_rest() {
        let plan = plan(&world()).unwrap();
        let Write::CreateJob { object: job, body } = &plan.steps[0].write else { panic!("{:?}", plan.steps) };
        let Write::CreateConfigMap { object, body: map } = &plan.steps[1].write else { panic!("{:?}", plan.steps) };
        assert_eq!((plan.steps.len(), map.owner.as_deref(), map.is_own()), (2, Some(job), true));
        assert_eq!((body.canary.config_map.as_str(), object.name.starts_with(&job.name)), (object.name.as_str(), true));
        assert!(plan.warnings[0].contains("approval covers both: these 2 object(s)"), "{:?}", plan.warnings);
        assert!(plan.basis.content.is_some());
    }

    #[test]
    fn half_of_what_is_live_is_not_asked_about() {
        let mut snapshot = world();
        let Source::Known { value, .. } = &mut snapshot.service.components else { unreachable!() };
        let map = Key::new("default", "plugins");
        let path = "/etc/plugins/plugins.yaml".to_owned();
        value[0].config.plugin_config =
            Some(ConfigPath { path, config_map: Some(map), key: Some("plugins.yaml".to_owned()) });
        let refused = plan(&snapshot).expect_err("the rest alone");
        assert!(refused.reason.contains("no live ConfigMap default/plugins with key plugins.yaml"), "{refused:?}");
    }

    #[test]
    fn an_answer_that_leaves_something_out_will_be_a_guess() {
        let mut snapshot = world();
        assert_eq!(plan(&snapshot).unwrap().basis.doubts, Vec::<String>::new());
        let Source::Known { value, .. } = &mut snapshot.service.components else { unreachable!() };
        value[0].config.further = vec!["--supplemental-prow-config-dir=/etc/a".to_owned()];
        let plan = plan(&snapshot).unwrap();
        assert!(plan.basis.doubts[0].contains("--supplemental-prow-config-dir"), "{:?}", plan.basis.doubts);
        assert!(plan.warnings.iter().any(|line| line.contains("will be a GUESS")), "{:?}", plan.warnings);
    }
}
