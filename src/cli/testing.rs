//! What unit tests of this room share.

use std::collections::BTreeMap;

use serde_json::json;

use crate::cluster::fake::FakeServer;
use crate::model::{
    Alias, ConfigMapBody, Key, ObjectVersion, Timestamp, Values, Write, config_map_ref, content_digest,
};
use crate::repair::{Confirmation, Plan, PlanBasis, RepairId, Step, Undo, Verify};

pub const MAP: &str = "/api/v1/namespaces/prow/configmaps/job-config";

/// A server where `job-config` holds `old`, and a plan that writes `new` over it.
pub fn plan(server: &FakeServer, verify: Verify) -> Plan {
    let resource_version = server.put_config_map(MAP, "u-map", json!({"a.yaml": "old"}), json!({}), "hook");
    let object = config_map_ref(&Alias::service(), &Key::new("prow", "job-config"));
    let values = |text: &str| Values::from([("a.yaml".to_owned(), text.as_bytes().to_vec())]);
    let at = ObjectVersion { uid: "u-map".to_owned(), resource_version, content: content_digest(&values("old")) };
    let body =
        ConfigMapBody { values: values("new"), labels: BTreeMap::new(), annotations: BTreeMap::new(), owner: None };
    let write = Write::PutConfigMap { object, at, body };
    let (why, effect) = ("it is broken".to_owned(), "changed".to_owned());
    Plan {
        id: String::new(),
        repair: RepairId::SyncConfig,
        title: "mend it".to_owned(),
        clusters: vec![server.identity()],
        basis: PlanBasis { taken_at: Timestamp::UNIX_EPOCH, ..PlanBasis::default() },
        steps: vec![Step { n: 1, write, why, undo: Undo::FromBackup, effect }],
        refusals: Vec::new(),
        warnings: Vec::new(),
        confirmation: Confirmation::Yes,
        verify,
        afterwards: Vec::new(),
        digest: String::new(),
    }
    .sealed()
}
