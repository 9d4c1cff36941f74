//! State of the screens Strays and Rollback. Selections are ids: a group's place, a pod's uid, a tag.

use std::sync::Arc;

use crate::diagnose::{JudgedPod, PodPlace, StrayGroup, StrayReason};
use crate::model::{Alias, Snapshot};
use crate::repair::rollback::{Target, previous_tag, targets};
use crate::repair::{Plan, Refusal, RepairId, Request, plan};

use super::app::{App, Observation};

#[derive(Debug, Clone)]
pub struct StraysState {
    pub pane: StraysPane,
    pub group: Option<GroupId>,
    /// uid.
    pub pod: Option<String>,
    pub running: RunningOnes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StraysPane {
    Groups,
    Pods,
}

/// What a plan does with strays that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunningOnes {
    Left,
    Deleted,
}

impl RunningOnes {
    pub fn other(self) -> Self {
        match self {
            RunningOnes::Left => RunningOnes::Deleted,
            RunningOnes::Deleted => RunningOnes::Left,
        }
    }
}

/// Strays of one cluster, namespace and reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupId {
    cluster: Alias,
    namespace: String,
    reason: StrayReason,
}

impl GroupId {
    pub fn of(group: &StrayGroup) -> Self {
        GroupId { cluster: group.cluster.clone(), namespace: group.namespace.clone(), reason: group.reason.clone() }
    }

    fn holds(&self, judged: &JudgedPod) -> bool {
        let object = &judged.pod.object;
        (&object.cluster, &object.namespace) == (&self.cluster, &self.namespace)
            && matches!(&judged.place, PodPlace::Stray { reason } if *reason == self.reason)
    }
}

#[derive(Debug, Clone)]
pub struct RollbackState {
    /// The tag that would be rolled back to.
    pub tag: Option<String>,
    pub outlook: Option<Outlook>,
}

/// What rolling back to the selected tag would be. Kept, because judging whether it loads the configuration is slow.
#[derive(Debug, Clone)]
pub struct Outlook {
    of: OutlookOf,
    pub plan: Result<Arc<Plan>, Refusal>,
}

/// What an outlook was made of; another one is another outlook.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OutlookOf {
    request: Request,
    /// uid and resourceVersion of components and ConfigMaps.
    versions: Vec<(String, String)>,
}

impl OutlookOf {
    fn new(request: Request, snapshot: &Snapshot) -> Self {
        let components = snapshot.service.components.seen().into_iter().flatten();
        let maps = snapshot.service.config_maps.seen().into_iter().flatten();
        let versions = components
            .map(|one| (one.object.uid.clone().unwrap_or_default(), one.resource_version.clone()))
            .chain(maps.map(|(_, map)| (map.uid.clone(), map.resource_version.clone())))
            .collect();
        OutlookOf { request, versions }
    }
}

impl Default for StraysState {
    fn default() -> Self {
        StraysState { pane: StraysPane::Groups, group: None, pod: None, running: RunningOnes::Left }
    }
}

impl App {
    pub fn stray_groups(&self) -> &[StrayGroup] {
        self.picture.shown().map_or(&[], |seen| &seen.diagnosis.strays.groups)
    }

    /// The strays of the selected group.
    pub fn stray_pods(&self) -> Vec<&JudgedPod> {
        let (Some(seen), Some(group)) = (self.picture.shown(), &self.strays.group) else { return Vec::new() };
        seen.diagnosis.strays.strays().filter(|judged| group.holds(judged)).collect()
    }

    pub fn selected_stray(&self) -> Option<&JudgedPod> {
        let uid = self.strays.pod.as_deref()?;
        self.stray_pods().into_iter().find(|judged| judged.pod.uid() == uid)
    }

    pub fn rollback_targets(&self) -> Vec<Target> {
        self.picture.shown().map_or_else(Vec::new, |seen| targets(&seen.snapshot))
    }

    /// A request for a repair, with what the screens chose for it.
    pub fn request_for(&self, repair: RepairId) -> Request {
        let mut request = Request::new(repair);
        match repair {
            RepairId::DeleteStrays => request.include_running = self.strays.running == RunningOnes::Deleted,
            RepairId::SyncConfig | RepairId::Kick | RepairId::Rollback | RepairId::Undo => {}
        }
        request
    }

    /// Rolling back to the selected tag; the tag is named only where it is not the one of before.
    pub fn rollback_request(&self, seen: &Observation) -> Option<Request> {
        let tag = self.rollback.tag.clone()?;
        let mut request = self.request_for(RepairId::Rollback);
        request.to = Some(tag).filter(|tag| previous_tag(&seen.snapshot).as_ref() != Ok(tag));
        Some(request)
    }
}

/// Keeps what is selected, as long as it is there; at first the largest group, and the tag that was common before.
pub fn settle(app: &mut App) {
    let ids: Vec<GroupId> = app.stray_groups().iter().map(GroupId::of).collect();
    if !app.strays.group.as_ref().is_some_and(|group| ids.contains(group)) {
        app.strays.group = ids.first().cloned();
        app.strays.pod = None;
    }
    settle_pod(app);
    let tags: Vec<String> = app.rollback_targets().into_iter().map(|target| target.tag).collect();
    if !app.rollback.tag.as_ref().is_some_and(|tag| tags.contains(tag)) {
        let before = app.picture.shown().and_then(|seen| previous_tag(&seen.snapshot).ok());
        app.rollback.tag = before.or_else(|| tags.into_iter().next());
    }
}

/// While groups are chosen, the first pod of one stands for it. Of the pods themselves, one that went takes its selection with
/// it, and nothing is selected in its place.
pub fn settle_pod(app: &mut App) {
    let is_there = app.selected_stray().is_some();
    match app.strays.pane {
        StraysPane::Groups if !is_there => {
            app.strays.pod = app.stray_pods().first().map(|judged| judged.pod.uid().to_owned());
        }
        StraysPane::Pods if !is_there && app.strays.pod.is_some() => {
            app.notice = Some("the selected pod is gone".to_owned());
            app.strays.pod = None;
        }
        StraysPane::Groups | StraysPane::Pods => {}
    }
}

/// Makes the outlook of the selected tag anew, where something that it hangs on changed.
pub fn look_ahead(app: &mut App) {
    let Some(seen) = app.picture.shown().cloned() else { return };
    let Some(request) = app.rollback_request(&seen) else {
        app.rollback.outlook = None;
        return;
    };
    let of = OutlookOf::new(request, &seen.snapshot);
    if app.rollback.outlook.as_ref().is_some_and(|outlook| outlook.of == of) {
        return;
    }
    let plan = plan(&of.request, &seen.snapshot, &seen.diagnosis).map(Arc::new);
    app.rollback.outlook = Some(Outlook { of, plan });
}
