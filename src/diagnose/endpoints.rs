//! `no-ready-endpoints`: a Service of a component has nobody behind it; its callers get errors.

use crate::model::{Component, Kind, ObjectRef};
use crate::prow;

use super::{Basis, Context, Finding, FindingKind, Severity, id, subject};

pub(super) fn find(context: &Context<'_>) -> Vec<Finding> {
    let service = &context.snapshot.service;
    let Some(endpoints) = service.endpoints.seen() else { return Vec::new() };
    let mut findings = Vec::new();
    for component in context.components().iter().filter(|component| !component.is_idle_by_intent()) {
        let pods: Vec<&str> = component.pods.iter().map(|pod| pod.object.name.as_str()).collect();
        for (key, count) in &endpoints.services {
            // By the pods behind it; without any address, by the component's own name.
            let ours = key.namespace == component.object.namespace
                && (count.pods.iter().any(|pod| pods.contains(&pod.as_str()))
                    || (count.total == 0 && key.name == component.object.name));
            if !ours || count.ready > 0 {
                continue;
            }
            let object = ObjectRef::new(&service.alias, &key.namespace, Kind::Service, &key.name);
            let kind = FindingKind::NoReadyEndpoints {
                component: component.object.name.clone(),
                service: key.clone(),
                total: count.total,
            };
            findings.push(Finding {
                id: id(&kind, &subject(&object)),
                severity: Severity::Bad,
                basis: Basis::Fact,
                kind,
                subjects: vec![object, component.object.clone()],
                since: component.pods.iter().filter(|pod| !pod.ready).filter_map(|pod| pod.ready_changed).max(),
                evidence: vec![format!("EndpointSlices of Service {key}: 0 of {} addresses ready", count.total)],
                repairs: Vec::new(),
            });
        }
    }
    findings.extend(unserved(context, &findings));
    findings
}

/// Services that are named as one of Prow's components and have nobody behind them, where no running component explains it:
/// the workload is scaled to 0, or gone.
fn unserved(context: &Context<'_>, found: &[Finding]) -> Vec<Finding> {
    let service = &context.snapshot.service;
    let (Some(endpoints), Some(components)) = (service.endpoints.known(), service.components.known()) else {
        return Vec::new();
    };
    let catalogue = prow::Catalogue::embedded();
    let empty =
        endpoints.services.iter().filter(|(key, count)| count.ready == 0 && catalogue.entry(&key.name).is_some());
    empty
        .filter_map(|(key, count)| {
            let object = ObjectRef::new(&service.alias, &key.namespace, Kind::Service, &key.name);
            let kind =
                FindingKind::NoReadyEndpoints { component: key.name.clone(), service: key.clone(), total: count.total };
            let id = id(&kind, &subject(&object));
            if found.iter().any(|finding| finding.id == id) {
                return None;
            }
            let here = |component: &&Component| {
                component.object.name == key.name && component.object.namespace == key.namespace
            };
            let why = match components.iter().find(here) {
                Some(component) if component.is_idle_by_intent() => "its workload asks for no pods: replicas 0",
                Some(_) => return None,
                None => "no workload of that name runs an image of Prow",
            };
            Some(Finding {
                id,
                severity: Severity::Warn,
                basis: Basis::Fact,
                kind,
                subjects: vec![object],
                since: None,
                evidence: vec![format!("EndpointSlices of Service {key}: 0 of {} addresses ready; {why}", count.total)],
                repairs: Vec::new(),
            })
        })
        .collect()
}
