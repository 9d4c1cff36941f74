//! `check-in-cluster`: the deployed tag's checkconfig as a short-lived Job, where there is none on this machine. It writes (a
//! Job and its ConfigMaps), so it is a plan of its own and no part of any preview; what it makes is taken away afterwards.
//!
//! The Job comes first and owns its ConfigMaps, so that whatever ends this program, they go with it; its pod waits for them. The
//! candidate's files are spread over as many as they need, each byte for byte: another packing would be another question, for
//! an old Prow does not unpack. Only a file that no ConfigMap takes is packed, and then the answer is about that packing. A
//! projected volume puts them together again, so that the image needs no shell.

use std::collections::BTreeMap;

use crate::diagnose::checkconfig_images;
use crate::model::{
    CANARY, CONFIG_MAP_LIMIT, CanaryFile, CheckFile, CheckFolder, CheckJob, Component, ConfigMapBody, Kind, OWN_LABEL,
    ObjectRef, Revision, Snapshot, Values, Write, sha256_hex,
};
use crate::prow::gzip::deflate;
use crate::prow::layout::{LaidFile, Layout, ReadAs};
use crate::prow::{ConfigFiles, gzip};

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
    let (revision, layout) = candidate(snapshot, &files)?;
    let content = layout.digest();
    let about =
        revision.as_ref().map_or("what is live".to_owned(), |revision| format!("revision {}", revision.short()));
    // Two checks at once are two Jobs.
    let seed = format!("{content}/{image}/{}", snapshot.taken_at.as_nanosecond());
    let name = format!("prow-breakglass-check-{}", &sha256_hex(seed.as_bytes())[..10]);
    let object = |kind: Kind, name: &str| ObjectRef::new(&snapshot.service.alias, &namespace, kind, name);
    let labels = BTreeMap::from([(OWN_LABEL.0.to_owned(), OWN_LABEL.1.to_owned())]);
    let Packed { maps, folders, canary, packed } = pack(&layout, &name)?;

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
    warnings.extend(packed.iter().map(|path| {
        format!(
            "{path} fits into no ConfigMap as it is, so it is packed with gzip: the answer is about that, and is not \
             remembered"
        )
    }));
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
            // What is asked is the content byte for byte, or it is another one.
            content: packed.is_empty().then_some(content),
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
fn candidate<'a>(snapshot: &'a Snapshot, files: &ConfigFiles) -> Result<(Option<Revision>, Layout<'a>), Refusal> {
    let nothing = |what: String| {
        Refusal::new(format!("{what} has no config.yaml to check"), "say which file it is with --config-path PATH")
    };
    if let Some(desired) = snapshot.desired.known() {
        let candidate = desired.asked.as_ref().unwrap_or(&desired.head);
        let short = candidate.revision.short();
        let maps = candidate.config_maps.as_ref().map_err(|why| {
            Refusal::new(format!("revision {short} cannot be rendered: {why}"), "choose another --revision")
        })?;
        let layout = Layout::of_desired(maps, files).ok_or_else(|| nothing(format!("revision {short}")))?;
        return Ok((Some(candidate.revision.clone()), layout));
    }
    let live = required(&snapshot.service.config_maps, "the live ConfigMaps")?;
    Ok((None, Layout::of_live(live, files).ok_or_else(|| nothing("what is live".to_owned()))?))
}

struct Packed {
    /// Name to values.
    maps: Vec<(String, Values)>,
    folders: Vec<CheckFolder>,
    canary: CanaryFile,
    /// Paths of the files that are there in another form than Prow would get them.
    packed: Vec<String>,
}

/// Spreads the files over ConfigMaps, each as full as may be.
fn pack(layout: &Layout<'_>, name: &str) -> Result<Packed, Refusal> {
    let map_name = |n: usize| format!("{name}-{n}");
    let canary = CanaryFile { config_map: map_name(1), key: "canary".to_owned() };
    let mut maps = vec![(canary.config_map.clone(), Values::from([(canary.key.clone(), CANARY.to_vec())]))];
    let mut folders: BTreeMap<String, Vec<CheckFile>> = BTreeMap::new();
    let mut packed = Vec::new();
    let mut used = CANARY.len();
    for (n, (path, file)) in layout.files().iter().filter(|(_, file)| file.read_as != ReadAs::Nothing).enumerate() {
        let bytes = match fitting(file) {
            Fitting::Plain => file.bytes.to_vec(),
            Fitting::Packed(bytes) => {
                packed.push(path.clone());
                bytes
            }
            Fitting::Not => {
                return Err(Refusal::new(
                    format!("{path} has {} bytes: no ConfigMap takes it", file.bytes.len()),
                    "nor would Prow's own; split the file",
                ));
            }
        };
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
    Ok(Packed { maps, folders: folders.collect(), canary, packed })
}

/// How a file fits into a ConfigMap.
enum Fitting {
    Plain,
    Packed(Vec<u8>),
    Not,
}

fn fitting(file: &LaidFile<'_>) -> Fitting {
    if file.bytes.len() <= CONFIG_MAP_LIMIT {
        return Fitting::Plain;
    }
    match file.read_as {
        ReadAs::Inflated if !gzip::is_gzip(file.bytes) => Some(deflate(file.bytes))
            .filter(|bytes| bytes.len() <= CONFIG_MAP_LIMIT)
            .map_or(Fitting::Not, Fitting::Packed),
        ReadAs::Inflated | ReadAs::Stored | ReadAs::Nothing => Fitting::Not,
    }
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
    use crate::model::{Alias, DesiredConfigMap, DesiredEntry, Key};

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

    /// Bytes that do not pack.
    fn noise(seed: u64, bytes: usize) -> Vec<u8> {
        let mut x = seed;
        let mut next = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            x.to_be_bytes()[0]
        };
        (0..bytes).map(|_| next()).collect()
    }

    fn packed(jobs: &[(String, Vec<u8>)]) -> Result<Packed, Refusal> {
        let (maps, files) = layout_of(jobs);
        pack(&Layout::of_desired(&maps, &files).unwrap(), "check")
    }

    #[test]
    fn large_contents_are_spread_and_every_file_is_there_once_as_it_is() {
        // What packs well is not packed either: an old Prow would read something else.
        let text = |n: u8| vec![b'a' + n; 500_000];
        let jobs: Vec<(String, Vec<u8>)> = (0..5).map(|n| (format!("{n}.yaml"), text(n))).collect();
        let (maps, files) = layout_of(&jobs);
        let layout = Layout::of_desired(&maps, &files).unwrap();
        let packed = pack(&layout, "check").unwrap();
        assert_eq!((packed.maps.len(), packed.packed.len()), (3, 0), "two of the files in each");
        let size = |values: &Values| values.values().map(Vec::len).sum::<usize>();
        assert!(packed.maps.iter().all(|(_, values)| size(values) <= CONFIG_MAP_LIMIT));
        assert_eq!(packed.maps[0].1[&packed.canary.key], CANARY);
        let mut found: Vec<(String, String)> = Vec::new();
        for folder in &packed.folders {
            for file in &folder.files {
                let (_, values) = packed.maps.iter().find(|(name, _)| *name == file.config_map).unwrap();
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
    fn only_what_no_config_map_takes_is_packed_and_that_is_told() {
        let fits = vec![b'a'; CONFIG_MAP_LIMIT];
        let whole = packed(&[("a.yaml".to_owned(), fits.clone())]).unwrap();
        assert_eq!((whole.packed.len(), whole.maps.len()), (0, 2), "the canary and config.yaml are in the first");
        let larger = [fits.as_slice(), b"a"].concat();
        let deflated = packed(&[("a.yaml".to_owned(), larger.clone())]).unwrap();
        assert_eq!(deflated.packed, ["job-config/a.yaml"]);
        let stored = deflated.maps.iter().flat_map(|(_, values)| values.values()).find(|value| gzip::is_gzip(value));
        assert_eq!(*gzip::inflate(stored.unwrap()).unwrap(), *larger);
    }

    #[test]
    fn what_does_not_even_fit_packed_is_refused() {
        assert!(packed(&[("a.yaml".to_owned(), noise(1, CONFIG_MAP_LIMIT + 1))]).is_err());
    }
}
