//! Words for what there is to know of the mapping.

use crate::model::{Alias, Key, LeftOut, MapFact, MapNote, Quirk, Trouble};

/// In one line.
pub fn map_note(note: &MapNote, plugins: &str) -> String {
    let globs: Vec<String> = note.maps.iter().map(|map| format!("`{}`", map.glob)).collect();
    let line = note.maps.iter().filter_map(|map| map.line).map(|line| line.to_string()).collect::<Vec<_>>();
    let at = if line.is_empty() { String::new() } else { format!(" ({plugins}:{})", line.join(", ")) };
    let map = format!("map {}{at}", globs.join(", "));
    let maps = config_maps(&note.config_maps);
    match &note.fact {
        MapFact::Overlap { files, example } => {
            let what = if *files == 1 { example.clone() } else { format!("{example} and {} more", files - 1) };
            format!(
                "{what}: wanted by two maps, {}{at}; Prow takes either at random: {maps} not judged",
                globs.join(" and ")
            )
        }
        MapFact::MatchesNothing { fed: false } => format!("no file matches the {map}: {maps} keeps what it has"),
        MapFact::MatchesNothing { fed: true } => format!("no file matches the {map}; other maps feed {maps}"),
        MapFact::Refused { message } => format!("hook would not start on the {map}: {message}"),
        MapFact::KeysCollide { key, dropped, taken } => format!(
            "{dropped} and {taken} are both key {key} of {maps}: config-bootstrapper takes {taken}, hook whichever was merged last"
        ),
        MapFact::NearLimit { stored, raw } => near_limit(&maps, *stored, *raw),
        MapFact::NotRendered(why) => not_rendered(why, &map, &maps),
        MapFact::Quirk(quirk) => surprise(quirk, &map, plugins),
    }
}

/// A ConfigMap whose values come near the limit of the API server, or go beyond it.
pub(super) fn near_limit(what: &str, stored: usize, raw: usize) -> String {
    let limit = crate::model::CONFIG_MAP_LIMIT;
    let raw = if raw == stored { String::new() } else { format!(", {raw} before gzip") };
    let percent = stored * 100 / limit;
    if stored > limit {
        format!("{what}: {stored} bytes{raw}, more than the {limit} that the API server takes: it refuses the whole")
    } else {
        format!("{what}: {stored} bytes{raw}, {percent}% of the {limit} that the API server takes")
    }
}

fn not_rendered(why: &LeftOut, map: &str, maps: &str) -> String {
    match why {
        LeftOut::NoName => format!("the {map} names no ConfigMap: its files go nowhere"),
        LeftOut::BadName => format!("{maps} not judged: the API server takes no such name; {map}"),
        LeftOut::BadKey { key, path } => {
            format!(
                "{path} would be key {key:?}, which the API server refuses together with the whole: {maps} not judged"
            )
        }
        LeftOut::Unreadable { path, trouble } => format!("{path} {}: {maps} not judged", trouble_with(trouble)),
        LeftOut::TooLarge { stored, raw } => format!("{}; not judged", near_limit(maps, *stored, *raw)),
        LeftOut::OtherRepository { repository } => {
            format!("the {map} is not for {repository} (allowed_repos, denied_repos): {maps} not judged")
        }
        LeftOut::BoundToRepositories { repository } => {
            let which = match repository {
                Some(repository) => {
                    format!("not for {repository}, and whether the deployed Prow heeds that is not known")
                }
                None => "and which repository this is cannot be told (no remote `origin`)".to_owned(),
            };
            format!("the {map} is bound to repositories (allowed_repos, denied_repos), {which}: {maps} not judged")
        }
    }
}

fn trouble_with(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Dangling { target } if target.is_empty() => "is not there".to_owned(),
        Trouble::Dangling { target } => format!(
            "is a symlink to {target}, which is not there (hook would fail, config-bootstrapper would write an empty value)"
        ),
        Trouble::Folder => "is a symlink to a folder, on which Prow fails".to_owned(),
        Trouble::Outside { target } => format!("is a symlink out of the repository, to {target}"),
        Trouble::NoWay => "is a symlink that leads in a circle or through a file".to_owned(),
        Trouble::Submodule => "leads into a submodule".to_owned(),
        Trouble::LfsPointer => "is kept by Git LFS; what is in git is a pointer, and hook would write that".to_owned(),
        Trouble::Name => "is a symlink to a name that is not UTF-8".to_owned(),
        Trouble::TooLarge { bytes } => format!("has {bytes} bytes, which is no configuration"),
        Trouble::Unread => "was not read".to_owned(),
    }
}

fn surprise(quirk: &Quirk, map: &str, plugins: &str) -> String {
    match quirk {
        Quirk::NoMaps { look_alike } => format!(
            "no maps are configured in {plugins}, only Prow's own hold: it has no `config_updater`, and Prow ignores `{}` \
             (line {}), which looks like it",
            look_alike.name, look_alike.line
        ),
        Quirk::LiteralBraces => {
            format!("the {map} has braces and no `*`: Prow compares it as it stands, braces and all")
        }
        Quirk::TooShort { files, example, shortest } => {
            let what = if *files == 1 { example.clone() } else { format!("{example} and {} more", files - 1) };
            format!("{what}: missed by the {map}, for which a path must have more than {shortest} bytes")
        }
        Quirk::GroupsForgetFullPath => {
            format!(
                "the {map} goes by cluster_groups, which makes Prow forget use_full_path_as_key: keys are basenames"
            )
        }
        Quirk::GroupsForgetRepositories => format!(
            "the {map} goes by cluster_groups, which makes Prow forget allowed_repos and denied_repos: any repository writes it"
        ),
        Quirk::GzipOnPlugins => {
            format!("the {map} stores plugins.yaml compressed, and hook cannot read that: set gzip: false on it")
        }
        Quirk::Environment { segment } => {
            format!("the {map}: hook replaces {segment} from its environment; here it is taken to be unset")
        }
        Quirk::WritesNowhere => format!("the {map} names no cluster and namespace: its files are written nowhere"),
        Quirk::VersionKey { path } => {
            format!("{path} becomes the key VERSION, in which Prow keeps the commit: not judged")
        }
        Quirk::RepositoriesIgnored => {
            format!(
                "the {map} has allowed_repos or denied_repos, which the deployed Prow does not know: any repository writes it"
            )
        }
        Quirk::BootstrapperSkips => {
            format!("the {map} has allowed_repos: config-bootstrapper (since December 2025) skips it and says nothing")
        }
        Quirk::Submodule { path } => {
            format!("the {map} looks into the submodule {path}, whose files Prow does not see")
        }
        Quirk::LinkedFolder { path } => {
            format!("the {map} looks into {path}, a symlink to a folder, into which Prow does not go")
        }
    }
}

/// `ConfigMap prow/config` or `ConfigMaps …`; a cluster is named unless it is Prow's own.
fn config_maps(maps: &[(Alias, Key)]) -> String {
    let name = |(cluster, key): &(Alias, Key)| {
        if *cluster == Alias::service() { key.to_string() } else { format!("{key} in {cluster}") }
    };
    match maps {
        [] => "its ConfigMap".to_owned(),
        [only] => format!("ConfigMap {}", name(only)),
        many if many.len() > 4 => format!("ConfigMap {} and {} more", name(&many[0]), many.len() - 1),
        many => format!("ConfigMaps {}", many.iter().map(name).collect::<Vec<_>>().join(", ")),
    }
}
