//! `config check` and `config blame`: words and documents.

use serde_json::{Value, json};

use super::API_VERSION;
use crate::model::text::sanitize_line;
use crate::model::{
    About, Candidate, Checkconfig, DesiredEntry, KnownFrom, LoadAnswer, LoadVerdict, Objection, Revision, Unrendered,
};

/// Commits in doubt that are named in words; documents name all.
const NAMED: usize = 10;

/// What was judged.
pub enum CheckSubject<'a> {
    Live,
    Revision(&'a Candidate),
}

pub struct CheckedSubject<'a> {
    pub subject: CheckSubject<'a>,
    pub verdict: LoadVerdict,
}

/// What `config blame` found.
pub struct Blame<'a> {
    /// The oldest that does not load.
    pub bad: Blamed<'a>,
    /// The one before it; `None` where none was found that loads.
    pub good: Option<Blamed<'a>>,
    /// Commits between the two that nobody could judge: each of them may be the first bad one. Newest first.
    pub in_doubt: Vec<Revision>,
    /// How many commits were in question, the newest included.
    pub commits: usize,
    /// How often a checkconfig was asked.
    pub checks: usize,
    /// Who was asked.
    pub program: Option<Checkconfig>,
    pub notes: Vec<String>,
}

/// A revision with what is known of it.
pub struct Blamed<'a> {
    pub candidate: &'a Candidate,
    pub verdict: LoadVerdict,
    /// Paths that the commit changed.
    pub changed: Vec<String>,
}

fn basis(verdict: &LoadVerdict) -> &'static str {
    if verdict.from.is_fact() { "FACT" } else { "GUESS" }
}

fn answer(verdict: &LoadVerdict) -> &'static str {
    match verdict.answer {
        LoadAnswer::Loads => "loads",
        LoadAnswer::Refused(_) => "refused",
        LoadAnswer::Unknown => "unknown",
    }
}

/// Of the Prow that is deployed: `it loads`. Without a cluster nothing is said of that one, but of the program that was asked.
fn loads(verdict: &LoadVerdict) -> &'static str {
    match verdict.from.about() {
        About::Deployed => "it loads",
        About::Checkconfig => "this program accepts it",
    }
}

fn does_not_load(verdict: &LoadVerdict, candidate: Option<&Candidate>) -> &'static str {
    if candidate.is_some_and(makes_none) {
        return "it makes no ConfigMap";
    }
    match verdict.from.about() {
        About::Deployed => "it does not load",
        About::Checkconfig => "this program refuses it",
    }
}

/// True where Prow would not mind: there is nothing to load.
fn makes_none(candidate: &Candidate) -> bool {
    match &candidate.config_maps {
        Err(Unrendered::MakesNone(_)) => true,
        Ok(_) | Err(Unrendered::NoPlugins(_) | Unrendered::NotJudged(_)) => false,
    }
}

/// `FACT   it loads` with who says so; of a refusal what it says, and where.
fn verdict_lines(verdict: &LoadVerdict, candidate: Option<&Candidate>) -> Vec<String> {
    let basis = basis(verdict);
    match &verdict.answer {
        LoadAnswer::Loads => vec![format!("{basis}  {}: {}", loads(verdict), verdict.from)],
        LoadAnswer::Unknown => {
            vec![format!("UNKNOWN  nobody has tried it; nothing speaks against it ({}, {basis})", verdict.from)]
        }
        LoadAnswer::Refused(objection) => {
            let mut lines = vec![
                format!("{basis}  {}: {}", does_not_load(verdict, candidate), verdict.from),
                format!("  {}", objection.message),
            ];
            lines.extend(places(objection, candidate, &[]).into_iter().map(|place| format!("  {place}")));
            lines
        }
    }
}

/// The places of an objection, one a line; those that a commit changed are first.
fn places(objection: &Objection, candidate: Option<&Candidate>, changed: &[String]) -> Vec<String> {
    let place = objection.config_map.clone().zip(objection.config_key.clone());
    let mut all: Vec<_> = place.into_iter().chain(objection.repeats.clone()).collect();
    all.dedup();
    let file = |map: &crate::model::Key, key: &str| entry(candidate, map, key).map(|entry| entry.path.clone());
    all.sort_by_key(|(map, key)| !file(map, key).is_some_and(|path| changed.contains(&path)));
    let words = |(map, key): &(crate::model::Key, String)| match file(map, key) {
        Some(path) => format!("file {}: ConfigMap {map}, key {key}", sanitize_line(&path)),
        None => format!("ConfigMap {map}, key {key}"),
    };
    all.iter().map(words).collect()
}

fn entry<'a>(candidate: Option<&'a Candidate>, map: &crate::model::Key, key: &str) -> Option<&'a DesiredEntry> {
    let maps = candidate?.config_maps.as_ref().ok()?;
    maps.iter().filter(|desired| desired.key == *map).find_map(|desired| desired.entries.get(key))
}

fn objection(objection: &Objection, candidate: Option<&Candidate>, changed: &[String]) -> Value {
    let place = objection.config_map.clone().zip(objection.config_key.clone());
    let mut all: Vec<_> = place.into_iter().chain(objection.repeats.clone()).collect();
    all.dedup();
    let of_place = |(map, key): &(crate::model::Key, String)| {
        let path = entry(candidate, map, key).map(|entry| entry.path.clone());
        let is_changed = path.as_ref().is_some_and(|path| changed.contains(path));
        (!is_changed, json!({ "configMap": map, "key": key, "path": path, "changed": is_changed }))
    };
    let mut places: Vec<(bool, Value)> = all.iter().map(of_place).collect();
    places.sort_by_key(|(is_older, _)| *is_older);
    let places: Vec<Value> = places.into_iter().map(|(_, place)| place).collect();
    json!({ "message": objection.message, "places": places })
}

fn verdict_value(verdict: &LoadVerdict, candidate: Option<&Candidate>, changed: &[String]) -> Value {
    json!({
        "answer": answer(verdict), "basis": if verdict.from.is_fact() { "fact" } else { "guess" },
        "about": verdict.from.about().name(), "source": verdict.from.name(), "says": verdict.from.to_string(),
        "doubts": verdict.from.doubts().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "objection": verdict.refused().map(|found| objection(found, candidate, changed)),
    })
}

/// `kind: ConfigCheck`.
pub fn check_document(
    subjects: &[CheckedSubject<'_>],
    deployed: &[String],
    program: Option<&Checkconfig>,
    notes: &[String],
) -> Value {
    let checks: Vec<Value> = subjects
        .iter()
        .map(|checked| {
            let (name, candidate) = match &checked.subject {
                CheckSubject::Live => ("live", None),
                CheckSubject::Revision(candidate) => ("revision", Some(*candidate)),
            };
            let mut value = verdict_value(&checked.verdict, candidate, &[]);
            value["subject"] = json!(name);
            value["revision"] = json!(candidate.map(|candidate| &candidate.revision));
            value
        })
        .collect();
    json!({
        "apiVersion": API_VERSION, "kind": "ConfigCheck", "deployed": deployed, "checkconfig": program, "checks": checks,
        "notes": notes,
    })
}

pub fn check_text(
    subjects: &[CheckedSubject<'_>],
    deployed: &[String],
    program: Option<&Checkconfig>,
    notes: &[String],
) -> String {
    let mut lines = Vec::new();
    for checked in subjects {
        let candidate = match &checked.subject {
            CheckSubject::Live => {
                lines.push("live".to_owned());
                None
            }
            CheckSubject::Revision(candidate) => {
                lines.push(format!("git {} \"{}\"", candidate.revision.short(), candidate.revision.subject));
                Some(*candidate)
            }
        };
        lines.extend(verdict_lines(&checked.verdict, candidate).into_iter().map(|line| format!("  {line}")));
    }
    let is_about_it = |checked: &CheckedSubject<'_>| checked.verdict.from.about() == About::Checkconfig;
    lines.push(match deployed {
        [] if subjects.iter().any(is_about_it) => {
            "deployed: not looked at; this is the word of that program, whatever Prow is deployed".to_owned()
        }
        [] => "deployed: not known".to_owned(),
        tags => format!("deployed: {}", tags.join(", ")),
    });
    let remembered = subjects.iter().find_map(|checked| match &checked.verdict.from {
        KnownFrom::Checkconfig { program: spoke, .. } => Some(spoke).filter(|spoke| program != Some(*spoke)),
        KnownFrom::Log { .. }
        | KnownFrom::Running
        | KnownFrom::Memory { .. }
        | KnownFrom::Job { .. }
        | KnownFrom::Resembles { .. }
        | KnownFrom::Rules => None,
    });
    if let Some(spoke) = remembered {
        lines.push(format!("remembered: {spoke} was asked about this very content before"));
    }
    lines.extend(program_lines(program, deployed));
    lines.extend(notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}

/// Which checkconfig it is, and what is wrong with it.
fn program_lines(program: Option<&Checkconfig>, deployed: &[String]) -> Vec<String> {
    let Some(program) = program else {
        return vec![
            "no checkconfig was asked: --checkconfig PATH, the program of the deployed tag, knows for sure".to_owned(),
        ];
    };
    let mut lines = vec![format!("checkconfig: {}", program.path)];
    match &program.version {
        None => lines.push("warning: its version is not known: no folder above it is named after a tag".to_owned()),
        Some(version) if deployed.iter().any(|tag| tag != version) => lines.push(format!(
            "warning: it is {version}, and {} is deployed: what one version accepts the other may refuse",
            deployed.join(", ")
        )),
        Some(_) => {}
    }
    lines
}

/// The pull request that a commit merged: `Merge pull request #10904 from …`, `… (#10904)`.
pub fn pull_request(subject: &str) -> Option<u64> {
    let merged = subject.strip_prefix("Merge pull request #").map(|rest| rest.split(' ').next().unwrap_or(rest));
    let squashed = || subject.trim_end().strip_suffix(')')?.rsplit_once("(#").map(|(_, number)| number);
    merged.or_else(squashed)?.parse().ok()
}

fn revision_value(blamed: &Blamed<'_>) -> Value {
    let revision = &blamed.candidate.revision;
    let mut value = verdict_value(&blamed.verdict, Some(blamed.candidate), &blamed.changed);
    value["revision"] = json!(revision);
    value["pullRequest"] = json!(pull_request(&revision.subject));
    value
}

/// `kind: ConfigBlame`.
pub fn blame_document(blame: &Blame<'_>) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": "ConfigBlame", "bad": revision_value(&blame.bad),
        "good": blame.good.as_ref().map(revision_value), "inDoubt": blame.in_doubt, "commits": blame.commits, "checks": blame.checks,
        "checkconfig": blame.program, "notes": blame.notes,
    })
}

/// `kind: ConfigBlame` where nothing speaks against the newest one: there is nobody to blame. Whether it loads its `answer` says.
pub fn no_blame_document(newest: &Blamed<'_>, notes: &[String]) -> Value {
    let loads = newest.verdict.answer == LoadAnswer::Loads;
    json!({
        "apiVersion": API_VERSION, "kind": "ConfigBlame", "bad": null, "good": loads.then(|| revision_value(newest)),
        "newest": revision_value(newest), "commits": 0, "checks": null, "checkconfig": null, "notes": notes,
    })
}

pub fn no_blame_text(newest: &Blamed<'_>, notes: &[String]) -> String {
    let revision = &newest.candidate.revision;
    let which = format!("revision {} \"{}\"", revision.short(), revision.subject);
    let nothing = "there is nothing to blame; --revision REV names a bad one";
    let first = match newest.verdict.answer {
        LoadAnswer::Loads => format!("{which} loads ({}): {nothing}", newest.verdict.from),
        LoadAnswer::Refused(_) | LoadAnswer::Unknown => format!(
            "nothing is known to speak against {which}: {nothing}\n\
             note: nobody has tried it; --checkconfig PATH, the program of the deployed tag, knows whether it loads"
        ),
    };
    let notes = notes.iter().map(|note| format!("note: {note}"));
    std::iter::once(first).chain(notes).collect::<Vec<_>>().join("\n")
}

fn commit_lines(revision: &Revision) -> String {
    let request = pull_request(&revision.subject).map_or(String::new(), |number| format!("  pull request #{number}"));
    format!("{} \"{}\"\n  by {}, {}{request}", revision.short(), revision.subject, revision.author, revision.committed)
}

pub fn blame_text(blame: &Blame<'_>) -> String {
    let Blamed { candidate, verdict, changed } = &blame.bad;
    let (what, does) =
        if makes_none(candidate) { ("makes no ConfigMap", "makes one") } else { ("does not load", "does") };
    let first = match (&blame.good, blame.in_doubt.len()) {
        (Some(_), 0) => format!("the first that {what}"),
        (Some(_), n) => {
            format!("the first that is known not to load: it, or one of {n} before it that nobody could judge")
        }
        (None, _) => format!("{what}, and no older one was found that {does}"),
    };
    let mut lines = vec![format!("BAD   {}", commit_lines(&candidate.revision)), format!("  {first}")];
    if let Some(objection) = verdict.refused() {
        lines.push(format!("  {}  {}: {}", basis(verdict), verdict.from, objection.message));
        lines.extend(places(objection, Some(candidate), changed).into_iter().map(|place| format!("  {place}")));
    }
    lines.extend(blame.in_doubt.iter().take(NAMED).map(|revision| format!("DOUBT {}", commit_lines(revision))));
    if blame.in_doubt.len() > NAMED {
        lines.push(format!("      and {} more", blame.in_doubt.len() - NAMED));
    }
    if let Some(good) = &blame.good {
        lines.push(format!("GOOD  {}", commit_lines(&good.candidate.revision)));
        let word = match good.verdict.answer {
            LoadAnswer::Loads => format!("{}: {}", loads(&good.verdict), good.verdict.from),
            LoadAnswer::Refused(_) | LoadAnswer::Unknown => format!("nothing speaks against it: {}", good.verdict.from),
        };
        lines.push(format!("  {}  {word}", basis(&good.verdict)));
        lines.push(format!(
            "  to write it: prow-breakglass plan sync-config --revision {}",
            good.candidate.revision.short()
        ));
    }
    lines.push(format!("{} commit(s) in question, {} check(s)", blame.commits, blame.checks));
    lines.extend(blame.notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_requests_of_merges_and_of_squashes() {
        for (subject, number) in [
            ("Merge pull request #10904 from krzyzacy/aws", Some(10904)),
            ("Merge pull request #7", Some(7)),
            ("Refactor AWS presets (#10868)", Some(10868)),
            ("Revert \"Refactor (#1)\" (#2)", Some(2)),
            ("Fixes #12", None),
            ("Refactor (#x)", None),
            ("(#3) at the beginning", None),
        ] {
            assert_eq!(pull_request(subject), number, "{subject}");
        }
    }
}
