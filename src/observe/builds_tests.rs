use super::*;
use crate::cluster::fake::FakeServer;
use crate::model::{ClusterIdentity, Source};

fn names() -> Names {
    Names {
        alias: Alias::service(),
        context: "prow-services".to_owned(),
        server: "https://10.0.0.1".to_owned(),
        asked: Vec::new(),
    }
}

fn identity(uid: &str) -> Source<ClusterIdentity> {
    let value = ClusterIdentity {
        alias: Alias::service(),
        context: String::new(),
        server: String::new(),
        uid: uid.to_owned(),
        ca: String::new(),
    };
    Source::Known { value, at: crate::model::Timestamp::UNIX_EPOCH }
}

/// Contexts that answered with these uids of kube-system.
fn builds(contexts: &[(&str, &str, &str)], tasks: &mut JoinSet<()>) -> Builds {
    let (send, _) = mpsc::unbounded_channel();
    let mut builds = Builds::new(BuildContexts::default(), names(), Clock::default(), send, Arc::new(Notify::new()));
    for (name, given, uid) in contexts {
        let given = if given.is_empty() { Vec::new() } else { vec![Alias((*given).to_owned())] };
        let context = Context {
            key: Alias((*name).to_owned()),
            server: String::new(),
            given,
            is_tied: false,
            state: State::Connecting,
        };
        builds.contexts.insert((*name).to_owned(), context);
        builds.connected(name, Ok(FakeServer::new().cluster()), tasks);
        builds.raw(name).expect("it is watched").identity = identity(uid);
    }
    builds
}

#[tokio::test]
async fn a_cluster_behind_two_contexts_is_looked_at_once() {
    let mut tasks = JoinSet::new();
    let mut builds = builds(
        &[("inner", "", "u-build"), ("outer", "default", "u-build"), ("tunnel", "trusted", "u-service")],
        &mut tasks,
    );
    let service = Raw { identity: identity("u-service"), ..Raw::default() };
    builds.part_twins(&service);
    assert_eq!(builds.contexts.keys().collect::<Vec<_>>(), ["inner"]);
    assert_eq!(builds.contexts["inner"].given, [Alias("default".to_owned())], "what a person said of it is kept");
    assert_eq!(builds.given_service, [Alias("trusted".to_owned())]);
}

#[tokio::test]
async fn nothing_is_counted_in_a_cluster_that_is_not_known_yet() {
    let mut tasks = JoinSet::new();
    let mut builds = builds(&[("outer", "default", "u")], &mut tasks);
    let settings = ProwSettings {
        prowjob_namespace: "default".to_owned(),
        pod_namespace: "test-pods".to_owned(),
        from: crate::model::Key::new("default", "config"),
    };
    builds.has_begun = true;
    let follow = |builds: &mut Builds, tasks: &mut JoinSet<()>| {
        builds.follow(&Raw::default(), Some(&settings), &JobIndex::new(), &BTreeSet::new(), &BTreeMap::new(), tasks);
        builds.raw("outer").expect("it is watched").jobs.pods.len()
    };
    builds.raw("outer").expect("it is watched").identity = Source::Loading;
    assert_eq!(follow(&mut builds, &mut tasks), 0);
    builds.raw("outer").expect("it is watched").identity = identity("u");
    assert_eq!(follow(&mut builds, &mut tasks), 1);
}
