//! From a drill's file to a world at the moment when the oncall comes: a healthy Prow is installed, and then happens what
//! happened.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::catalogue::{Drill, parse};
use super::file::{Content, DrillFile, Parts};
use super::jobs::{self, Made, NewJob};
use super::manifests;
use super::variation::Variation;
use crate::model::text::sanitize_line;
use crate::model::{Failure, FailureKind};
use crate::prow::plugins::parse_plugins;
use crate::prow::updater::render;
use crate::sim::object::Resource;
use crate::sim::prow::{hook, running};
use crate::sim::store::Memory;
use crate::sim::{Commit, JobTimes, Prow, Version, World};

/// Who installed it.
const INSTALLER: &str = "kubectl-client-side-apply";
const PLUGINS: &str = "config/prow/plugins.yaml";

/// Something of the story, in the order of time.
enum Event<'a> {
    Job(NewJob),
    Merge(&'a str),
    Restart(&'a str),
}

/// Makes the world of a drill at the moment when the oncall comes, and gives the jobs that will be started later.
///
/// # Errors
/// The file contradicts itself, or names what is not there.
pub fn make(drill: &Drill, variation: &Variation) -> Result<(World, VecDeque<NewJob>), Failure> {
    let file = &drill.file;
    let parts: Parts = parse(&file.prow.parts, &drill.assets.read(&file.prow.parts)?)?;
    let mut world = empty(file)?;
    remember(&mut world, Memory::None);
    world.repository.commits = commits(drill, &parts)?;
    world.repository.merged =
        file.repository.commits.iter().take_while(|commit| commit.at.is_some_and(|at| at <= file.begins)).count();
    install(&mut world, file, &parts)?;
    for past in &file.past {
        create_job(&mut world, file, jobs::past(file, past))?;
    }
    for pod in &file.pods {
        let context = world.prow.context_of(&pod.cluster).unwrap_or_default().to_owned();
        let object = json!({
            "metadata": { "name": pod.name, "labels": pod.labels },
            "spec": { "restartPolicy": "Never", "containers": [{ "name": "main", "image": pod.image }] },
        });
        create(&mut world, &context, Resource::Pod, &pod.namespace, object)?;
    }
    world.settle();
    let opens = variation.opens(file);
    let mut later = VecDeque::new();
    for (at, event) in story(file, variation) {
        match event {
            Event::Job(job) if at > opens => later.push_back(job),
            event => {
                world.advance_to(at);
                happen(&mut world, file, event)?;
            }
        }
    }
    world.advance_to(opens);
    remember(&mut world, Memory::Kept);
    Ok((world, later))
}

/// Nobody watches what happens before the oncall comes; what watches could be resumed over takes time and memory.
fn remember(world: &mut World, memory: Memory) {
    for cluster in world.clusters.values_mut() {
        cluster.store.remember(memory);
    }
}

/// Starts a job, if who starts such jobs is there: a webhook that nobody takes is lost.
pub fn trigger(world: &mut World, file: &DrillFile, job: NewJob) {
    let job = job.make(file);
    if running(world, job.creator).next().is_some() {
        // Ids are unique, or the drill would not have begun.
        drop(create_job(world, file, job));
    }
}

fn story<'a>(file: &'a DrillFile, variation: &Variation) -> Vec<(Timestamp, Event<'a>)> {
    let jobs = jobs::batches(file, variation.share_of_jobs).into_iter().map(|job| (job.at, Event::Job(job)));
    let mut events: Vec<(Timestamp, Event<'a>)> = jobs.collect();
    for before in &file.before {
        events.extend(before.merges.iter().map(|commit| (before.at, Event::Merge(commit))));
        events.extend(before.restarts.iter().map(|component| (before.at, Event::Restart(component))));
    }
    // Stable: what happens at one time happens in the order of the file.
    events.sort_by_key(|(at, _)| *at);
    events
}

fn happen(world: &mut World, file: &DrillFile, event: Event<'_>) -> Result<(), Failure> {
    match event {
        Event::Job(job) => {
            create_job(world, file, job.make(file))?;
            world.settle();
            Ok(())
        }
        Event::Merge(commit) if world.merge(commit) => Ok(()),
        Event::Merge(commit) => Err(wrong(format!("commit {commit} cannot be merged"))),
        Event::Restart(component) if world.restart_containers(component) > 0 => {
            world.settle();
            Ok(())
        }
        Event::Restart(component) => Err(wrong(format!("component {component} does not run"))),
    }
}

fn wrong(what: String) -> Failure {
    Failure::new(FailureKind::Usage, format!("the drill contradicts itself: {}", sanitize_line(&what)))
        .hint("assets/drills/README.md tells the format")
}

/// Clusters without anything in them.
fn empty(file: &DrillFile) -> Result<World, Failure> {
    let own = file.clusters.first().ok_or_else(|| wrong("no cluster".to_owned()))?;
    let mut prow = Prow::new(&own.context, &file.prow.namespace);
    prow.aliases = file.clusters.iter().map(|cluster| (cluster.alias.clone(), cluster.context.clone())).collect();
    let mut takes = JobTimes { by_name: file.prow.takes.clone(), ..JobTimes::default() };
    if let Some(usually) = takes.by_name.remove("usually") {
        takes.usually = usually;
    }
    prow.takes = takes;
    let mut world = World::new(file.begins, prow);
    for cluster in &file.clusters[1..] {
        world.add_cluster(&cluster.context);
    }
    for cluster in &file.clusters {
        if let Some(made) = world.clusters.get_mut(&cluster.context) {
            made.server.clone_from(&cluster.server);
        }
    }
    for version in &file.versions {
        let behaviour = Version { misreads_pod_namespace: version.misreads_pod_namespace };
        world.images.versions.insert(version.tag.clone(), behaviour);
    }
    Ok(world)
}

fn commits(drill: &Drill, parts: &Parts) -> Result<Vec<Commit>, Failure> {
    let mut commits = Vec::new();
    for part in &drill.file.repository.commits {
        let mut files: BTreeMap<String, Option<Vec<u8>>> = BTreeMap::new();
        if let Some(tag) = &part.manifests {
            let manifests = manifests::files(parts, &drill.file.prow, tag);
            files.extend(manifests.into_iter().map(|(path, text)| (path, Some(text))));
        }
        for (path, content) in &part.files {
            let content = match content {
                Content::File(file) => Some(drill.assets.read(file)?),
                Content::Text { text } => Some(text.clone().into_bytes()),
                Content::Removed { removed: true } => None,
                Content::Removed { removed: false } => continue,
            };
            files.insert(path.clone(), content);
        }
        commits.push(Commit {
            name: part.name.clone(),
            message: part.subject.clone(),
            author: part.author.clone(),
            files,
        });
    }
    Ok(commits)
}

fn install(world: &mut World, file: &DrillFile, parts: &Parts) -> Result<(), Failure> {
    let (service, own) = (world.prow.service.clone(), file.prow.namespace.clone());
    for cluster in &file.clusters {
        let mut namespaces = vec![&file.prow.pod_namespace];
        namespaces.extend((cluster.context == service).then_some(&own));
        for name in namespaces.into_iter().filter(|name| *name != "default") {
            let object = json!({ "metadata": { "name": name }, "status": { "phase": "Active" } });
            create(world, &cluster.context, Resource::Namespace, "", object)?;
        }
        for name in &cluster.secrets {
            world.add_secret(&cluster.context, &file.prow.pod_namespace, name);
        }
    }
    let secrets = parts.components.iter().flat_map(|part| &part.secrets);
    let secrets: BTreeSet<&String> = secrets.chain(parts.cron_jobs.iter().flat_map(|part| &part.secrets)).collect();
    for name in secrets {
        world.add_secret(&service, &own, name);
    }
    upload_all(world, file)?;
    for part in &parts.components {
        let deployment = manifests::deployment(parts, &file.prow, part, &file.prow.tag);
        create(world, &service, Resource::Deployment, &own, deployment)?;
        if let Some(object) = manifests::service(part) {
            create(world, &service, Resource::Service, &own, object)?;
        }
    }
    for part in &parts.cron_jobs {
        let cron_job = manifests::cron_job(parts, part, &file.prow.tag);
        create(world, &service, Resource::CronJob, &own, cron_job)?;
    }
    Ok(())
}

/// The ConfigMaps, as hook wrote them file by file; none of them was compressed yet.
fn upload_all(world: &mut World, file: &DrillFile) -> Result<(), Failure> {
    let head = world.repository.head();
    let plugins = head.get(PLUGINS).ok_or_else(|| wrong(format!("no {PLUGINS} when it begins")))?;
    let mut updater = parse_plugins(plugins).map_err(|error| wrong(format!("{PLUGINS}: {error}")))?;
    updater.gzip = false;
    let service = world.prow.service.clone();
    for map in render(&updater, &head, &file.prow.namespace).config_maps {
        let values = map.entries.into_iter().map(|(key, entry)| (key, entry.bytes)).collect();
        let labels = json!({ "app.kubernetes.io/name": "prow", "app.kubernetes.io/component": "updateconfig-plugin" });
        let mut object = json!({ "metadata": { "name": map.key.name, "labels": labels } });
        hook::put(&mut object, values);
        if world.create(&service, Resource::ConfigMap, &map.key.namespace, object, "hook").is_none() {
            return Err(wrong(format!("ConfigMap {} cannot be made", map.key)));
        }
    }
    Ok(())
}

fn create_job(world: &mut World, file: &DrillFile, job: Made) -> Result<(), Failure> {
    let service = world.prow.service.clone();
    let Made { object, creator } = job;
    let made = world.create(&service, Resource::ProwJob, &file.prow.namespace, object, creator);
    made.map(drop).ok_or_else(|| wrong("a ProwJob cannot be made: are two of one id?".to_owned()))
}

fn create(world: &mut World, context: &str, resource: Resource, namespace: &str, object: Value) -> Result<(), Failure> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let made = world.create(context, resource, namespace, object, INSTALLER);
    made.map(drop).ok_or_else(|| wrong(format!("{name} cannot be made in {namespace} of {context}")))
}
