//! Which drills there are: those that the program was built with, and files that a person names.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::file::DrillFile;
use crate::model::text::sanitize_line;
use crate::model::{Failure, FailureKind};

/// Paths below `assets/drills/` with their content.
static EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/drills.rs"));

/// The drill whose name is hidden.
pub const SURPRISE: &str = "surprise";

/// A drill, read.
#[derive(Debug, Clone)]
pub struct Drill {
    pub name: String,
    pub file: DrillFile,
    pub(super) assets: Assets,
}

/// Where a drill's files are.
#[derive(Debug, Clone)]
pub(super) enum Assets {
    Embedded,
    Folder(std::path::PathBuf),
}

impl Assets {
    /// # Errors
    /// There is no such file.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, Failure> {
        match self {
            Assets::Embedded => embedded(path).map(<[u8]>::to_vec).ok_or_else(|| missing(path)),
            // What a drill of one's own does not bring along, it may share.
            Assets::Folder(folder) => std::fs::read(folder.join(path))
                .ok()
                .or_else(|| embedded(path).map(<[u8]>::to_vec))
                .ok_or_else(|| missing(path)),
        }
    }
}

fn embedded(path: &str) -> Option<&'static [u8]> {
    EMBEDDED.iter().find(|(name, _)| *name == path).map(|(_, bytes)| *bytes)
}

fn missing(path: &str) -> Failure {
    Failure::new(FailureKind::Usage, format!("the drill names a file that is not there: {}", sanitize_line(path)))
        .hint("paths are relative to the drill's own file")
}

/// Names of the embedded drills, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    let top = EMBEDDED.iter().filter_map(|(path, _)| path.strip_suffix(".toml"));
    top.filter(|name| !name.contains('/'))
}

/// All embedded drills.
///
/// # Errors
/// One of them is wrong, which a test would have told.
pub fn all() -> Result<Vec<Drill>, Failure> {
    names().map(find).collect()
}

/// A drill by its name, or by the path of a file (`./mine.toml`).
///
/// # Errors
/// There is none of that name, or its file is wrong.
pub fn find(name: &str) -> Result<Drill, Failure> {
    if let Some(bytes) = embedded(&format!("{name}.toml")).filter(|_| names().any(|known| known == name)) {
        let file = parse(name, bytes)?;
        return Ok(Drill { name: name.to_owned(), file, assets: Assets::Embedded });
    }
    let path = Path::new(name);
    if path.extension().is_some_and(|extension| extension == "toml") {
        let bytes = std::fs::read(path).map_err(|error| {
            Failure::new(FailureKind::Usage, format!("cannot read {}", sanitize_line(name)))
                .cause(error.to_string())
                .hint("a drill of your own is a file as in assets/drills/, named by its path")
        })?;
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        let stem = path.file_stem().map(|stem| sanitize_line(&stem.to_string_lossy())).unwrap_or_default();
        let file: DrillFile = parse(name, &bytes)?;
        file.check().map_err(|why| no_drill(name, &why))?;
        return Ok(Drill { name: stem, file, assets: Assets::Folder(folder) });
    }
    let known: Vec<&str> = names().chain([SURPRISE]).collect();
    Err(Failure::new(FailureKind::Usage, format!("there is no drill {}", sanitize_line(name)))
        .hint(format!("there are {}; or name a file: ./mine.toml", known.join(", "))))
}

fn no_drill(name: &str, why: &str) -> Failure {
    Failure::new(FailureKind::Usage, format!("{} is no drill", sanitize_line(name)))
        .cause(sanitize_line(why))
        .hint("assets/drills/README.md tells the format")
}

/// Reads a file of the format.
///
/// # Errors
/// It is none.
pub(super) fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, Failure> {
    let wrong = |why: String| no_drill(name, &why);
    let text = std::str::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(0, |span| 1 + text.get(..span.start).unwrap_or_default().matches('\n').count());
        wrong(format!("line {line}: {}", error.message()))
    })
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judge;
    use super::super::variation::Variation;
    use super::super::world;
    use super::*;
    use crate::sim::Happened;

    /// A drill is broken when the oncall comes, in the way that its file says; and nothing is lost before.
    #[test]
    fn each_drill_comes_about_by_itself() {
        for drill in all().unwrap() {
            let (world, later) = world::make(&drill, &Variation::default()).unwrap();
            let judgement = Judge::default().judge(&world, &drill.file);
            let told = judgement.broken.join("; ");
            match drill.name.as_str() {
                "healthy" => assert!(judgement.is_clean(), "{judgement:?}"),
                "2019-02-05" => {
                    assert!(told.contains("makes pods in default"), "{told}");
                    assert!(judgement.left.contains(&"415 stray pod(s)".to_owned()), "{judgement:?}");
                }
                "2019-01-23" | "bad-plugins" => assert_eq!(told, "hook: 0 of 2 ready"),
                other => panic!("{other}: say here how it is broken"),
            }
            let lost = world.log().iter().filter(|note| match &note.what {
                Happened::ProwJobEnded { state, .. } => state != "success",
                _ => false,
            });
            assert_eq!(lost.count(), 0, "{}", drill.name);
            assert!(!later.is_empty(), "{}: life goes on", drill.name);
            assert_eq!(world.now(), drill.file.opens, "{}", drill.name);
        }
    }

    #[test]
    fn the_embedded_ones_hang_together_and_times_are_in_order() {
        for drill in all().unwrap() {
            let file = &drill.file;
            assert_eq!(file.check(), Ok(()), "{}", drill.name);
            assert!(!file.story.is_empty() && !file.title.ends_with('.'), "{}", drill.name);
            let Some(outage) = &file.outage else { continue };
            let times = [outage.began, outage.noticed, outage.diagnosed, outage.mitigated, outage.cleaned];
            assert!(times.is_sorted(), "{}", drill.name);
        }
    }

    #[test]
    fn one_that_does_not_hang_together_is_told_so() {
        let good = find("bad-plugins").unwrap().file;
        let told = |spoil: fn(&mut DrillFile)| {
            let mut file = good.clone();
            spoil(&mut file);
            file.check().unwrap_err()
        };
        assert!(told(|file| file.begins = file.opens).contains("begins no sooner"));
        assert!(told(|file| file.jobs[0].jobs.clear()).contains("have no jobs"));
        assert!(told(|file| file.colleagues[0].merges = "x".to_owned()).contains("merges x"));
        assert!(told(|file| file.clusters.clear()).contains("no [[cluster]]"));
        assert!(told(|file| file.prow.tag = "v1".to_owned()).contains("no [[version]]"));
    }

    #[test]
    fn a_file_that_is_none_is_told_with_its_line() {
        let failure = parse::<DrillFile>("x.toml", b"title = \"a\"\nstory = 3\n").unwrap_err();
        assert!(failure.causes[0].starts_with("line 2: "), "{failure:?}");
    }
}
