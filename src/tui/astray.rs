//! State of the screens Strays and Rollback. Selections are ids: a group's place, a pod's uid, a tag.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnose::{ChangeKind, JudgedPod, PodPlace, role_tag};
use crate::model::{Alias, Component, Snapshot, Timestamp};
use crate::repair::rollback::{Target, previous_tag, targets};
use crate::repair::{Plan, Refusal, RepairId, Request, plan};

use super::app::{App, Observation, Screen};

#[derive(Debug, Clone)]
pub struct StraysState {
    pub pane: StraysPane,
    pub group: Option<GroupId>,
    /// uid.
    pub pod: Option<String>,
    pub running: RunningOnes,
    pub by: GroupBy,
    pub filter: String,
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

/// What strays are grouped by, beside cluster and namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupBy {
    /// What is wrong with their place.
    Place,
    /// What keeps them from starting; of those that nothing keeps, their state.
    Cause,
    Job,
    Node,
}

impl GroupBy {
    pub fn next(self) -> Self {
        match self {
            GroupBy::Place => GroupBy::Cause,
            GroupBy::Cause => GroupBy::Job,
            GroupBy::Job => GroupBy::Node,
            GroupBy::Node => GroupBy::Place,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            GroupBy::Place => "place",
            GroupBy::Cause => "cause",
            GroupBy::Job => "job",
            GroupBy::Node => "node",
        }
    }

    fn of(self, judged: &JudgedPod) -> String {
        let pod = &judged.pod;
        match self {
            GroupBy::Place => match &judged.place {
                PodPlace::Stray { reason } => reason.name().to_owned(),
                PodPlace::Expected | PodPlace::Foreign { .. } | PodPlace::Orphaned | PodPlace::Unknown { .. } => {
                    String::new()
                }
            },
            // Names of volumes differ from pod to pod; the secret is the cause.
            GroupBy::Cause => match judged.trouble.as_deref() {
                Some(trouble) => trouble.find("secret \"").map_or(trouble, |at| &trouble[at..]).to_owned(),
                None => pod.state.clone(),
            },
            GroupBy::Job => pod.job.clone(),
            GroupBy::Node => pod.node.clone().unwrap_or_else(|| "no node yet".to_owned()),
        }
    }
}

/// Strays of one cluster, of one namespace, that have something in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupId {
    pub cluster: Alias,
    pub namespace: String,
    /// As [`GroupBy`] tells it.
    pub of: String,
}

impl GroupId {
    fn new(judged: &JudgedPod, by: GroupBy) -> Self {
        let object = &judged.pod.object;
        GroupId { cluster: object.cluster.clone(), namespace: object.namespace.clone(), of: by.of(judged) }
    }
}

/// A row of the groups.
#[derive(Debug, Clone)]
pub struct GroupRow {
    pub id: GroupId,
    pub count: usize,
    /// `None` where their events are not seen.
    pub cannot_start: Option<usize>,
    pub running: usize,
    pub oldest: Option<Timestamp>,
}

#[derive(Debug, Clone, Default)]
pub struct RollbackState {
    /// The tag that would be rolled back to. `None` where history names none and nobody chose one: the newest would be
    /// the one that was just rolled back from.
    pub tag: Option<String>,
    /// What ran when the tag was chosen, as component and tag: with other versions it is another choice.
    versions: Vec<(String, String)>,
    /// The tag that the strays of this session began with.
    pub origin: Option<String>,
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
        StraysState {
            pane: StraysPane::Groups,
            group: None,
            pod: None,
            running: RunningOnes::Left,
            by: GroupBy::Place,
            filter: String::new(),
        }
    }
}

impl App {
    /// The strays that the filter lets through.
    fn shown_strays(&self) -> impl Iterator<Item = &JudgedPod> {
        let filter = self.strays.filter.to_lowercase();
        let holds = move |text: &str| text.to_lowercase().contains(&filter);
        let is_empty = self.strays.filter.is_empty();
        let snapshot = self.picture.shown().map(|seen| &seen.snapshot);
        self.picture.shown().into_iter().flat_map(|seen| seen.diagnosis.strays.strays()).filter(move |judged| {
            let pod = &judged.pod;
            let context = snapshot.and_then(|snapshot| snapshot.view(&pod.object.cluster)).map(|view| &view.context);
            is_empty
                || [&pod.object.name, &pod.object.namespace, &pod.job, &pod.state].into_iter().any(|text| holds(text))
                || [context, judged.trouble.as_ref(), pod.node.as_ref()].into_iter().flatten().any(|text| holds(text))
        })
    }

    /// Most first.
    pub fn stray_groups(&self) -> Vec<GroupRow> {
        let Some(seen) = self.picture.shown() else { return Vec::new() };
        let mut rows: BTreeMap<GroupId, GroupRow> = BTreeMap::new();
        for judged in self.shown_strays() {
            let (id, pod) = (GroupId::new(judged, self.strays.by), &judged.pod);
            let row = rows.entry(id.clone()).or_insert_with(|| GroupRow {
                cannot_start: seen.snapshot.view(&id.cluster).and_then(|view| view.pod_events.known()).map(|_| 0),
                id,
                count: 0,
                running: 0,
                oldest: None,
            });
            row.count += 1;
            row.running += usize::from(pod.phase == "Running");
            row.oldest = [row.oldest, pod.created].into_iter().flatten().min();
            if let Some(cannot_start) = &mut row.cannot_start {
                *cannot_start += usize::from(pod.is_waiting() && judged.trouble.is_some());
            }
        }
        let mut rows: Vec<GroupRow> = rows.into_values().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.count));
        rows
    }

    /// The strays of the selected group.
    pub fn stray_pods(&self) -> Vec<&JudgedPod> {
        let Some(group) = &self.strays.group else { return Vec::new() };
        self.shown_strays().filter(|judged| GroupId::new(judged, self.strays.by) == *group).collect()
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
            RepairId::SyncConfig | RepairId::Kick | RepairId::Rollback | RepairId::CheckInCluster | RepairId::Undo => {}
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
    let ids: Vec<GroupId> = app.stray_groups().into_iter().map(|row| row.id).collect();
    if !app.strays.group.as_ref().is_some_and(|group| ids.contains(group)) {
        // Its pods are not replaced by those of another group under the eyes of who reads them.
        if app.strays.group.is_some() && app.strays.pane == StraysPane::Pods {
            app.strays.pane = StraysPane::Groups;
            app.notice = Some("the selected group is gone".to_owned());
        }
        app.strays.group = ids.first().cloned();
        app.strays.pod = None;
    }
    settle_pod(app);
    settle_target(app);
}

/// A choice of a tag holds as long as the versions do that it was made over.
fn settle_target(app: &mut App) {
    let Some(seen) = app.picture.shown() else { return };
    let versions = versions(&seen.snapshot);
    let before = previous_tag(&seen.snapshot).ok();
    let is_known = |tag: &String| app.rollback_targets().iter().any(|target| target.tag == *tag);
    let is_same = versions == app.rollback.versions;
    if is_same && app.rollback.tag.as_ref().is_some_and(is_known) {
        return;
    }
    if !is_same && app.screen == Screen::Rollback && app.rollback.tag.is_some() && app.rollback.tag != before {
        app.notice = Some("other versions are asked for now: choose the target again".to_owned());
    }
    app.rollback.tag = before;
    app.rollback.versions = versions;
}

fn versions(snapshot: &Snapshot) -> Vec<(String, String)> {
    let components = snapshot.service.components.seen().map_or(&[][..], Vec::as_slice);
    let running = components.iter().filter(|component| !component.is_idle_by_intent());
    let tag = |component: &Component| role_tag(component).unwrap_or_default().to_owned();
    let mut versions: Vec<_> = running.map(|component| (component.object.to_string(), tag(component))).collect();
    versions.sort();
    versions
}

/// Keeps in mind what the strays began with: once they are deleted, no picture tells.
pub fn remember_origin(app: &mut App) {
    let Some(seen) = app.picture.newest() else { return };
    let made = |judged: &JudgedPod| Some(judged.pod.plank_version.clone()).filter(|version| !version.is_empty());
    let strays = seen.diagnosis.strays.strays();
    let Some(first) = strays.min_by_key(|judged| judged.pod.created.unwrap_or(Timestamp::MAX)) else { return };
    let bump = match seen.diagnosis.verdict.began.as_ref().map(|change| &change.what) {
        Some(ChangeKind::Bumped { tag, .. }) => Some(tag.clone()),
        Some(ChangeKind::ConfigMapWritten { .. } | ChangeKind::RolledOut { .. } | ChangeKind::Committed { .. })
        | None => None,
    };
    app.rollback.origin = bump.or_else(|| app.rollback.origin.take()).or_else(|| made(first));
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
