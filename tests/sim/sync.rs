//! ConfigMaps of a build cluster: seen one by one, written where git asks for them.

use prow_breakglass::diagnose::DriftState;
use prow_breakglass::model::{Alias, Write};
use prow_breakglass::repair::{RepairId, Request};
use prow_breakglass::sim::object::{ObjectKey, Resource, text};
use prow_breakglass::sim::store::write::By;
use prow_breakglass::sim::{Commit, Simulation, World};

use crate::program::{Program, Seen};
use crate::worlds::{BUILD, TEST_PODS, before_february};

const ALIAS: &str = "k8s-prow-builds";
const PLUGINS: &str = "config/prow/plugins.yaml";
const LOOKED_AT: &str = "2019-02-05T17:25:00Z";

/// The repository also writes a ConfigMap to the build cluster.
fn world() -> World {
    let mut world = before_february(LOOKED_AT.parse().unwrap());
    let tree = world.repository.head();
    let plugins = String::from_utf8(tree[PLUGINS].clone()).unwrap();
    let map = format!(
        "config_updater:\n  maps:\n    config/build/*.yaml:\n      name: build-config\n      clusters:\n        {ALIAS}:\n        \
         - {TEST_PODS}\n"
    );
    let plugins = plugins.replace("config_updater:\n  maps:\n", &map);
    let files = [(PLUGINS, plugins.as_str()), ("config/build/settings.yaml", "a: b\n")];
    let commit = Commit {
        name: "build-config".to_owned(),
        message: "Configure the build cluster".to_owned(),
        author: "Cole Wagner".to_owned(),
        files: files.map(|(path, text)| (path.to_owned(), Some(text.as_bytes().to_vec()))).into(),
    };
    let merged = world.repository.merged;
    world.repository.commits.insert(merged, commit);
    world.repository.merged += 1;
    world
}

async fn look(program: &Program) -> Seen {
    program.look_with_at(program.checkout().await, &[(ALIAS, BUILD)]).await
}

fn state(seen: &Seen) -> DriftState {
    let drift = &seen.diagnosis.drift;
    let map = drift.iter().find(|drift| drift.object.name == "build-config").expect("git asks for it");
    assert_eq!(map.object.cluster, Alias(ALIAS.to_owned()));
    map.state
}

fn value(world: &World) -> Option<String> {
    let key = ObjectKey::new(Resource::ConfigMap, TEST_PODS, "build-config");
    world.get(BUILD, &key).map(|map| text(map, "/data/settings.yaml").to_owned())
}

async fn write(program: &Program, seen: &Seen) -> Write {
    let request = Request { maps: vec!["build-config".to_owned()], ..Request::new(RepairId::SyncConfig) };
    let plan = seen.plan(&request).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert_eq!(plan.clusters.iter().map(|cluster| cluster.context.as_str()).next_back(), Some(BUILD));
    let summary = program.run(&plan, seen).await;
    assert_eq!(summary.done, 1, "{summary:?}");
    plan.steps[0].write.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_of_the_build_cluster_is_made_and_kept() {
    let program = Program::on(Simulation::start(world()));
    let simulation = program.simulation.clone();
    let seen = look(&program).await;
    assert_eq!(state(&seen), DriftState::Missing, "it was asked for, and is not there");
    assert!(write(&program, &seen).await.is_create());
    assert_eq!(simulation.look(value).as_deref(), Some("a: b\n"));
    assert_eq!(state(&look(&program).await), DriftState::Same);

    // Somebody edits it there; who does not say which cluster that is sees nothing of it.
    simulation.change(|world| {
        let key = ObjectKey::new(Resource::ConfigMap, TEST_PODS, "build-config");
        let by = By::new("kubectl-edit", world.now());
        let store = &mut world.clusters.get_mut(BUILD).unwrap().store;
        store.edit(&key, &by, |map| map["data"]["settings.yaml"] = "a: c\n".into());
    });
    let blind = program.look_with(program.checkout().await).await;
    let unknown = blind.diagnosis.drift.iter().find(|drift| drift.object.name == "build-config").unwrap();
    assert_eq!(unknown.state, DriftState::Unknown);
    let seen = look(&program).await;
    assert_eq!(state(&seen), DriftState::Drift);
    assert!(matches!(write(&program, &seen).await, Write::PutConfigMap { .. }));
    assert_eq!(simulation.look(value).as_deref(), Some("a: b\n"));
}
