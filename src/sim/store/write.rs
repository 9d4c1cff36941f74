//! The writes: each with its preconditions, under dry run judged to the end and not kept.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::object::{self, ObjectKey, Resource, is_deleting, items, stamp, text};
use super::super::refusal::{Refusal, success};
use super::patch::{self, PatchKind};
use super::{Memory, Store, meta, validate};

/// Whether a write is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Real,
    DryRun,
}

/// Which part of an object a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Main,
    Status,
}

/// Who writes, and when.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    /// As in managedFields.
    pub manager: &'a str,
    pub now: Timestamp,
    pub effect: Effect,
    pub part: Part,
}

impl<'a> By<'a> {
    pub fn new(manager: &'a str, now: Timestamp) -> Self {
        By { manager, now, effect: Effect::Real, part: Part::Main }
    }

    #[must_use]
    pub fn status(self) -> Self {
        By { part: Part::Status, ..self }
    }
}

/// How to delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    /// `None`: the object's own.
    pub grace_seconds: Option<i64>,
}

/// What came of a deletion.
#[derive(Debug, Clone, PartialEq)]
pub enum Deleted {
    /// Marked, and there until its grace period or its finalizers are over.
    Lingers(Arc<Value>),
    /// Gone; as it was last.
    Gone(Arc<Value>),
}

impl Deleted {
    /// What the server answers.
    pub fn answer(&self, key: &ObjectKey) -> Value {
        match self {
            Deleted::Lingers(object) => object.as_ref().clone(),
            // Of a pod the object itself.
            Deleted::Gone(object) if key.resource == Resource::Pod => object.as_ref().clone(),
            Deleted::Gone(object) => success(key.resource, &key.name, object::uid(object)),
        }
    }
}

impl Store {
    /// # Errors
    /// 404 (no such namespace), 409 (it exists), 422.
    pub fn create(
        &mut self,
        resource: Resource,
        namespace: &str,
        mut object: Value,
        by: &By<'_>,
    ) -> Result<Arc<Value>, Refusal> {
        let facts = resource.facts();
        if facts.namespaced && !self.has_namespace(namespace) {
            return Err(Refusal::not_found(&ObjectKey::new(Resource::Namespace, "", namespace)));
        }
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        let generated = text(&object, "/metadata/generateName").to_owned();
        if text(&object, "/metadata/name").is_empty() && !generated.is_empty() {
            let suffix = self.next_suffix();
            object["metadata"]["name"] = json!(format!("{generated}{suffix}"));
        }
        let key = ObjectKey::new(resource, if facts.namespaced { namespace } else { "" }, object::name(&object));
        if key.name.is_empty() {
            let wrong = "Required value: name or generateName is required";
            return Err(Refusal::invalid(&key, "metadata.name", "FieldValueRequired", wrong));
        }
        if !object::version(&object).is_empty() {
            return Err(Refusal::version_on_create());
        }
        match self.get(&key) {
            Some(there) if is_deleting(there) => return Err(Refusal::still_going(&key)),
            Some(_) => return Err(Refusal::already_exists(&key)),
            None => {}
        }
        validate::object(&key, &object)?;
        if resource == Resource::Pod {
            self.admit(&key)?;
        }
        meta::drop_empty(&mut object);
        let uid = match by.effect {
            Effect::Real => self.next_uid(),
            Effect::DryRun => "00000000-0000-4000-a000-000000000000".to_owned(),
        };
        object["kind"] = json!(facts.kind);
        object["apiVersion"] = json!(resource.api_version());
        let metadata = &mut object["metadata"];
        metadata["uid"] = json!(uid);
        metadata["creationTimestamp"] = json!(stamp(by.now));
        if facts.namespaced {
            metadata["namespace"] = json!(namespace);
        }
        if let Some(metadata) = metadata.as_object_mut() {
            for field in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"] {
                metadata.remove(field);
            }
        }
        if meta::generation(resource, &Value::Null, &object).is_some() {
            object["metadata"]["generation"] = json!(1);
        }
        if resource == Resource::Pod {
            default_pod(&mut object);
        }
        meta::note_manager(resource, &mut object, by);
        Ok(match by.effect {
            Effect::DryRun => Arc::new(object),
            Effect::Real => self.commit(key, Some(object)),
        })
    }

    /// PUT.
    ///
    /// # Errors
    /// 400 (another name), 404, 409 (another uid or version), 422.
    pub fn replace(&mut self, key: &ObjectKey, mut after: Value, by: &By<'_>) -> Result<Arc<Value>, Refusal> {
        let before = self.get(key).cloned().ok_or_else(|| Refusal::not_found(key))?;
        let asked = |field: &str| text(&after, &format!("/metadata/{field}")).to_owned();
        if asked("name") != key.name {
            return Err(Refusal::other_name(&asked("name"), &key.name));
        }
        let uid = asked("uid");
        if !uid.is_empty() && uid != object::uid(&before) {
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: /registry/{}/{}/{}, ResourceVersion: 0, AdditionalErrorMsg: \
                 Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                key.resource.facts().plural,
                key.namespace,
                key.name,
                object::uid(&before),
            );
            return Err(Refusal::conflict(key, &why));
        }
        let version = asked("resourceVersion");
        if !version.is_empty() && version.parse::<u64>().is_err() {
            return Err(Refusal::internal(format!("strconv.ParseUint: parsing \"{version}\": invalid syntax")));
        }
        if !version.is_empty() && version != object::version(&before) {
            return Err(Refusal::modified(key));
        }
        if !after["metadata"].is_object() {
            after["metadata"] = json!({});
        }
        self.update(key, &before, after, by)
    }

    /// PATCH.
    ///
    /// # Errors
    /// 400, 404, 409, 422.
    pub fn patch(
        &mut self,
        key: &ObjectKey,
        kind: PatchKind,
        patch: &Value,
        by: &By<'_>,
    ) -> Result<Arc<Value>, Refusal> {
        let before = self.get(key).cloned().ok_or_else(|| Refusal::not_found(key))?;
        let after = patch::apply(key, &before, kind, patch)?;
        self.update(key, &before, after, by)
    }

    /// A controller's own read and write, which nobody comes between. Nothing happens where the object is gone or the
    /// change is none.
    pub fn edit(&mut self, key: &ObjectKey, by: &By<'_>, change: impl FnOnce(&mut Value)) {
        if let Some(before) = self.get(key).cloned() {
            let mut after = before.as_ref().clone();
            change(&mut after);
            // What controllers write is valid, or there is nobody to tell.
            drop(self.update(key, &before, after, by));
        }
    }

    /// As [`Store::edit`], for changes of the main part that always change something and are never refused, to kinds that
    /// nobody reacts to. Where nobody remembers how it was either, it is not copied.
    pub fn edit_in_place(&mut self, key: &ObjectKey, by: &By<'_>, change: impl FnOnce(&mut Value)) {
        if self.memory == Memory::Kept {
            return self.edit(key, by, change);
        }
        let Some(object) = self.objects.get_mut(key) else { return };
        let object = Arc::make_mut(object);
        change(object);
        meta::note_manager(key.resource, object, by);
        self.version += 1;
        self.forgotten = self.version;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
    }

    fn update(
        &mut self,
        key: &ObjectKey,
        before: &Arc<Value>,
        mut after: Value,
        by: &By<'_>,
    ) -> Result<Arc<Value>, Refusal> {
        meta::keep_own(before, &mut after);
        meta::drop_empty(&mut after);
        if key.resource.facts().has_status {
            match by.part {
                Part::Main => meta::take_over(before, &mut after, "status"),
                Part::Status => meta::take_over(before, &mut after, "spec"),
            }
        }
        validate::object(key, &after)?;
        validate::change(key, before, &after)?;
        meta::take_over(&before["metadata"], &mut after["metadata"], "resourceVersion");
        if meta::is_same(before, &after) {
            return Ok(Arc::clone(before));
        }
        if let Some(generation) = meta::generation(key.resource, before, &after) {
            after["metadata"]["generation"] = json!(generation);
        }
        meta::note_manager(key.resource, &mut after, by);
        let is_over = is_deleting(&after)
            && items(&after, "/metadata/finalizers").is_empty()
            && object::number(&after, "/metadata/deletionGracePeriodSeconds").unwrap_or(0) == 0;
        Ok(match by.effect {
            Effect::DryRun => Arc::new(after),
            Effect::Real if is_over => {
                self.commit(key.clone(), None);
                // Who freed it is told what they wrote, others what it was before.
                Arc::new(after)
            }
            Effect::Real => self.commit(key.clone(), Some(after)),
        })
    }

    /// DELETE: at once, or marked first where there is a grace period or a finalizer.
    ///
    /// # Errors
    /// 404, 409 (another uid or version).
    pub fn delete(&mut self, key: &ObjectKey, options: &DeleteOptions, by: &By<'_>) -> Result<Deleted, Refusal> {
        let before = self.get(key).cloned().ok_or_else(|| Refusal::not_found(key))?;
        if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != object::uid(&before)) {
            let why = format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been \
                 deleted and then recreated",
                object::uid(&before)
            );
            return Err(Refusal::precondition(key, &why));
        }
        if let Some(version) = options.resource_version.as_deref().filter(|asked| *asked != object::version(&before)) {
            let why = format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). \
                 The object might have been modified",
                object::version(&before)
            );
            return Err(Refusal::precondition(key, &why));
        }
        let grace = grace(key, &before, options);
        let bound = !items(&before, "/metadata/finalizers").is_empty();
        // Of a pod with nothing to wait for, the server tells the deletion and the end, one right after the other.
        let at_once = grace == 0 && !bound;
        if at_once && (key.resource != Resource::Pod || is_deleting(&before) && held_grace(&before) == Some(0)) {
            return Ok(Deleted::Gone(match by.effect {
                Effect::DryRun => before,
                Effect::Real => self.commit(key.clone(), None),
            }));
        }
        if is_deleting(&before) && held_grace(&before).is_some_and(|held| held <= grace) {
            return Ok(Deleted::Lingers(before));
        }
        let mut after = before.as_ref().clone();
        after["metadata"]["deletionTimestamp"] = json!(stamp(by.now + SignedDuration::from_secs(grace)));
        after["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        if let Some(generation) = object::number(&after, "/metadata/generation").filter(|_| !is_deleting(&before)) {
            after["metadata"]["generation"] = json!(generation + 1);
        }
        let after = match by.effect {
            Effect::DryRun => Arc::new(after),
            Effect::Real => self.commit(key.clone(), Some(after)),
        };
        if !at_once {
            return Ok(Deleted::Lingers(after));
        }
        if by.effect == Effect::Real {
            self.commit(key.clone(), None);
        }
        Ok(Deleted::Gone(after))
    }

    /// A namespace's quotas leave room for another pod.
    fn admit(&self, pod: &ObjectKey) -> Result<(), Refusal> {
        for (quota, object) in self.all(Resource::ResourceQuota, &pod.namespace) {
            let Some(limit) = text(object, "/spec/hard/pods").parse::<usize>().ok() else { continue };
            let used = self.pods_that_count(&pod.namespace);
            if used + 1 > limit {
                let why = format!(
                    "exceeded quota: {}, requested: pods=1, used: pods={used}, limited: pods={limit}",
                    quota.name
                );
                return Err(Refusal::forbidden("pods", "", &pod.name, &why));
            }
        }
        Ok(())
    }

    /// Those that have not ended.
    pub fn pods_that_count(&self, namespace: &str) -> usize {
        let pods = self.all(Resource::Pod, namespace);
        pods.filter(|(_, pod)| !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")).count()
    }
}

fn held_grace(object: &Value) -> Option<i64> {
    object::number(object, "/metadata/deletionGracePeriodSeconds")
}

/// Only pods have time to end, and only those that were given to a node.
fn grace(key: &ObjectKey, object: &Value, options: &DeleteOptions) -> i64 {
    let is_over = matches!(text(object, "/status/phase"), "Succeeded" | "Failed");
    if key.resource != Resource::Pod || text(object, "/spec/nodeName").is_empty() || is_over {
        return 0;
    }
    let own = object::number(object, "/spec/terminationGracePeriodSeconds").unwrap_or(30);
    options.grace_seconds.unwrap_or(own).max(0)
}

fn default_pod(pod: &mut Value) {
    let spec = &mut pod["spec"];
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("schedulerName", json!("default-scheduler")),
        ("dnsPolicy", json!("ClusterFirst")),
    ] {
        if spec[field].is_null() {
            spec[field] = value;
        }
    }
    pod["status"] = json!({ "phase": "Pending", "qosClass": "BestEffort" });
}
