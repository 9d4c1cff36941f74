//! What components may see while ConfigMaps are written one after the other, and the order that makes the best of it.
//!
//! A kubelet passes changes on map by map, within its sync period and in any order: a component that starts (or reloads)
//! meanwhile reads any mixture of old and new ConfigMaps. One that would not load, although old and new each would, is named
//! with who would see it. It is judged by what a checkconfig has said of that very content, where one was asked, and by Prow's
//! rules as this tool knows them: a GUESS. Nobody is asked about mixtures alone.
//!
//! To add a judge: in [`Group::faults`].

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnose::by_checked;
use crate::model::{Alias, Component, ConfigMapState, Key, LoadAnswer, Snapshot, Values};
use crate::prow::{ConfigFiles, Judge, Layout, PresetRule, image, preset_rule};

use super::super::Step;

/// Of up to so many ConfigMaps every mixture is judged, and every order considered; of more, those that the given order
/// brings about, and each ConfigMap alone.
const ALL_OF: usize = 4;

/// A set of written ConfigMaps, a bit each: those that are new already.
type Mask = u32;

/// Components that read the same ConfigMaps as the same files.
struct Group<'a> {
    names: Vec<&'a str>,
    files: ConfigFiles,
    reads: BTreeSet<Key>,
    /// Which of the written ConfigMaps these are.
    of: Mask,
}

/// A mixture that would not load.
struct Bad {
    /// New already, and still old.
    new: Mask,
    old: Mask,
    who: BTreeSet<String>,
    fault: Fault,
}

/// What is wrong with a mixture.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    message: String,
    /// `GUESS`, or who knows it.
    basis: String,
}

/// The steps in the order in which they should be written, and what is to be said of mixtures.
pub(super) fn arrange(snapshot: &Snapshot, steps: Vec<Step>) -> (Vec<Step>, Vec<String>) {
    let (Some(live), Some(components)) = (snapshot.service.config_maps.known(), snapshot.service.components.known())
    else {
        return (steps, Vec::new());
    };
    let is_read = |key: &Key| components.iter().any(|component| component.config_maps().contains(key));
    let written: Vec<(usize, Key)> = steps
        .iter()
        .enumerate()
        .filter(|(_, step)| *step.write.cluster() == snapshot.service.alias)
        .map(|(at, step)| (at, Key::new(&step.write.object().namespace, &step.write.object().name)))
        .filter(|(_, key)| is_read(key))
        .collect();
    if written.len() < 2 || Mask::try_from(written.len()).is_ok_and(|count| count >= Mask::BITS) {
        return (steps, Vec::new());
    }
    let new: BTreeMap<&Key, &Values> =
        written.iter().filter_map(|(at, key)| Some((key, steps[*at].write.config_map_values()?))).collect();
    let keys: Vec<&Key> = written.iter().map(|(_, key)| key).collect();
    let tags = components.iter().flat_map(|component| &component.spec_images).filter_map(|image| image::tag(image));
    let rule = preset_rule(tags);
    let bad: Vec<Bad> = groups(components, &keys)
        .iter()
        .flat_map(|group| group.bad_mixtures(snapshot, live, &keys, &new, rule))
        .fold(Vec::new(), together);
    if bad.is_empty() {
        return (steps, Vec::new());
    }
    let order = best_order(keys.len(), &bad);
    let warnings = bad.iter().map(|bad| in_words(bad, &keys, &order)).collect();
    (in_order(steps, &written, &order), warnings)
}

fn groups<'a>(components: &'a [Component], written: &[&Key]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for component in components.iter().filter(|component| component.config.config_path.is_some()) {
        let files = ConfigFiles::of_components(std::iter::once(component));
        let reads: BTreeSet<Key> = component.config_maps().into_iter().collect();
        match groups.iter_mut().find(|group| group.files == files && group.reads == reads) {
            Some(group) => group.names.push(&component.object.name),
            None => {
                let of = written.iter().enumerate().filter(|(_, key)| reads.contains(**key));
                let of = of.fold(0, |mask, (bit, _)| mask | 1 << bit);
                groups.push(Group { names: vec![&component.object.name], files, reads, of });
            }
        }
    }
    groups
}

impl Group<'_> {
    /// The mixtures of what it reads that would not load, though neither all that is old nor all that is new has that fault.
    fn bad_mixtures(
        &self,
        snapshot: &Snapshot,
        live: &BTreeMap<Key, ConfigMapState>,
        keys: &[&Key],
        new: &BTreeMap<&Key, &Values>,
        rule: PresetRule,
    ) -> Vec<Bad> {
        if self.of.count_ones() < 2 {
            return Vec::new();
        }
        let mut judge = Judge::new(self.files.clone(), rule);
        let mut faults = |mask: Mask| self.faults(snapshot, &mut judge, &self.seen(live, keys, new, mask));
        let known: BTreeSet<String> = faults(0).into_iter().chain(faults(self.of)).map(|fault| fault.message).collect();
        self.mixtures(keys.len())
            .into_iter()
            .filter_map(|mask| {
                let fault = faults(mask).into_iter().find(|fault| !known.contains(&fault.message))?;
                let who = self.names.iter().map(|name| (*name).to_owned()).collect();
                Some(Bad { new: mask, old: self.of & !mask, who, fault })
            })
            .collect()
    }

    /// Neither nothing nor all of what it reads.
    fn mixtures(&self, count: usize) -> BTreeSet<Mask> {
        let all: Box<dyn Iterator<Item = Mask>> = if count <= ALL_OF {
            Box::new(1..1 << count)
        } else {
            Box::new((0..count).flat_map(|bit| [1 << bit, (2 << bit) - 1]))
        };
        all.map(|mask| mask & self.of).filter(|mask| *mask != 0 && *mask != self.of).collect()
    }

    /// What it would read where these are new and the others are as they are live.
    fn seen(
        &self,
        live: &BTreeMap<Key, ConfigMapState>,
        keys: &[&Key],
        new: &BTreeMap<&Key, &Values>,
        mask: Mask,
    ) -> BTreeMap<Key, ConfigMapState> {
        let is_new =
            |key: &Key| keys.iter().position(|written| *written == key).is_some_and(|bit| mask & 1 << bit != 0);
        let mut seen: BTreeMap<Key, ConfigMapState> = BTreeMap::new();
        for key in &self.reads {
            let values = if is_new(key) { new.get(key).copied() } else { live.get(key).map(|state| &state.values) };
            if let Some(values) = values {
                let state = ConfigMapState { values: values.clone(), ..ConfigMapState::named(&Alias::service(), key) };
                seen.insert(key.clone(), state);
            }
        }
        seen
    }

    /// What is wrong with it: in the words of a checkconfig, where it has judged that content, then by our rules. A FACT that it
    /// loads leaves nothing for them to say.
    fn faults(&self, snapshot: &Snapshot, judge: &mut Judge, seen: &BTreeMap<Key, ConfigMapState>) -> Vec<Fault> {
        // Where nobody was asked, its name makes no difference.
        let content = (!snapshot.checked.is_empty()).then(|| Layout::of_live(seen, &self.files)).flatten();
        let checked = content.and_then(|layout| by_checked(snapshot, &layout.digest()));
        let by_prow = match &checked {
            Some(verdict) if verdict.loads_as_fact() => return Vec::new(),
            Some(verdict) => match &verdict.answer {
                LoadAnswer::Refused(objection) => {
                    let basis = if verdict.from.is_fact() { "FACT" } else { "GUESS" };
                    let basis = format!("{basis}, {}", verdict.from);
                    Some(Fault { message: objection.message.clone(), basis })
                }
                LoadAnswer::Loads | LoadAnswer::Unknown => None,
            },
            None => None,
        };
        let by_rules = judge.live(seen).into_iter();
        let guess = |message| Fault { message, basis: "GUESS".to_owned() };
        by_prow.into_iter().chain(by_rules.map(|objection| guess(objection.message))).collect()
    }
}

/// The same mixture with the same fault is one, whoever sees it.
fn together(mut all: Vec<Bad>, one: Bad) -> Vec<Bad> {
    match all.iter_mut().find(|bad| (bad.new, bad.old, &bad.fault) == (one.new, one.old, &one.fault)) {
        Some(bad) => bad.who.extend(one.who),
        None => all.push(one),
    }
    all
}

/// True where writing in this order brings the mixture about, however fast kubelets are.
fn is_on_the_way(bad: &Bad, order: &[usize]) -> bool {
    let mut written: Mask = 0;
    order.iter().any(|bit| {
        written |= 1 << bit;
        written & (bad.new | bad.old) == bad.new
    })
}

/// The order that brings the fewest of them about; the given one where others are no better.
fn best_order(count: usize, bad: &[Bad]) -> Vec<usize> {
    let given: Vec<usize> = (0..count).collect();
    if count > ALL_OF {
        return given;
    }
    let cost = |order: &[usize]| bad.iter().filter(|bad| is_on_the_way(bad, order)).count();
    let mut orders = vec![Vec::new()];
    for _ in 0..count {
        orders = orders
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                let left: Vec<usize> = (0..count).filter(|bit| !order.contains(bit)).collect();
                left.into_iter().map(move |bit| order.iter().copied().chain([bit]).collect::<Vec<usize>>())
            })
            .collect();
    }
    // The given one is the first, and `min_by_key` takes the first of equals.
    orders.into_iter().min_by_key(|order| cost(order)).unwrap_or(given)
}

fn in_words(bad: &Bad, keys: &[&Key], order: &[usize]) -> String {
    let names = |mask: Mask| {
        let named = keys.iter().enumerate().filter(|(bit, _)| mask & 1 << bit != 0);
        named.map(|(_, key)| key.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let who: Vec<&str> = bad.who.iter().map(String::as_str).collect();
    let when = if is_on_the_way(bad, order) {
        "comes about between these writes, in whatever order"
    } else {
        "comes about where a kubelet passes them on in another order than they are written in"
    };
    format!(
        "MEANWHILE  new {} beside old {} would not load ({}: {}) and {when}: {} keep(s) what it runs on, but whoever \
         starts just then crashes once more",
        names(bad.new),
        names(bad.old),
        bad.fault.basis,
        bad.fault.message,
        who.join(", "),
    )
}

/// The written steps take one another's places; the others stay.
fn in_order(steps: Vec<Step>, written: &[(usize, Key)], order: &[usize]) -> Vec<Step> {
    let mut moved: Vec<Step> = steps.clone();
    for (place, bit) in written.iter().zip(order) {
        moved[place.0] = steps[written[*bit].0].clone();
    }
    for (at, step) in moved.iter_mut().enumerate() {
        step.n = at + 1;
    }
    moved
}
