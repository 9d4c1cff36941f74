//! What there is to know of how the files of a revision become ConfigMaps: what `plugins.yaml` leaves to chance, what it
//! hides, and what is not rendered for it. Typed; the words are in `present`.

use std::sync::Arc;

use super::{Alias, Key};

/// The mapping of one revision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mapping {
    /// Path of plugins.yaml in the repository.
    pub plugins: String,
    /// Its bytes at that revision; empty where it is not there.
    pub content: Arc<Vec<u8>>,
    pub notes: Vec<MapNote>,
}

/// One thing to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapNote {
    /// The maps that it is about, in the order of plugins.yaml; none where it is about no map of its own.
    pub maps: Vec<MapAt>,
    /// The ConfigMaps concerned.
    pub config_maps: Vec<(Alias, Key)>,
    pub fact: MapFact,
}

/// An entry of `config_updater.maps`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MapAt {
    /// Line of the glob in plugins.yaml, from 1; `None` for Prow's own defaults.
    pub line: Option<u64>,
    /// The glob, sanitised.
    pub glob: String,
}

/// A field at the top of plugins.yaml.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldAt {
    /// From 1.
    pub line: u64,
    /// Sanitised.
    pub name: String,
}

/// What it is. Paths, keys and names are sanitised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapFact {
    /// Files that two maps want and treat differently; Prow takes either map at random. Not rendered.
    Overlap {
        files: usize,
        example: String,
    },
    /// No file matches. `fed` says that other maps write the same ConfigMap.
    MatchesNothing {
        fed: bool,
    },
    /// hook and config-bootstrapper refuse to start, in their words.
    Refused {
        message: String,
    },
    /// Two files are one key. The bootstrapper takes the last of its walk; hook the one that was merged last.
    KeysCollide {
        key: String,
        dropped: String,
        taken: String,
    },
    /// ConfigMaps that are left out, because Prow would fail to write them or what it would write is not known.
    NotRendered(LeftOut),
    /// The values come near the API server's limit. Bytes as stored, and before gzip.
    NearLimit {
        stored: usize,
        raw: usize,
    },
    Quirk(Quirk),
}

impl MapFact {
    /// The name of the finding that it makes.
    pub fn kind(&self) -> &'static str {
        match self {
            MapFact::Overlap { .. } => "maps-overlap",
            MapFact::MatchesNothing { .. } => "map-matches-nothing",
            MapFact::Refused { .. } => "map-refused",
            MapFact::KeysCollide { .. } => "keys-collide",
            MapFact::NotRendered(LeftOut::TooLarge { .. }) | MapFact::NearLimit { .. } => "configmap-near-limit",
            MapFact::NotRendered(_) => "configmap-not-rendered",
            MapFact::Quirk(_) => "map-quirk",
        }
    }

    /// What of that kind it is, in a word.
    pub fn code(&self) -> &'static str {
        match self {
            MapFact::Overlap { .. } => "overlap",
            MapFact::MatchesNothing { .. } => "matches-nothing",
            MapFact::Refused { .. } => "refused",
            MapFact::KeysCollide { .. } => "keys-collide",
            MapFact::NearLimit { .. } => "near-limit",
            MapFact::NotRendered(why) => why.code(),
            MapFact::Quirk(quirk) => quirk.code(),
        }
    }
}

impl LeftOut {
    fn code(&self) -> &'static str {
        match self {
            LeftOut::NoName => "no-name",
            LeftOut::BadName => "bad-name",
            LeftOut::BadKey { .. } => "bad-key",
            LeftOut::Unreadable { .. } => "unreadable",
            LeftOut::TooLarge { .. } => "too-large",
            LeftOut::OtherRepository { .. } => "other-repository",
            LeftOut::BoundToRepositories { .. } => "bound-to-repositories",
        }
    }
}

impl Quirk {
    fn code(&self) -> &'static str {
        match self {
            Quirk::NoMaps { .. } => "no-maps",
            Quirk::LiteralBraces => "literal-braces",
            Quirk::TooShort { .. } => "too-short",
            Quirk::GroupsForgetFullPath => "groups-forget-full-path",
            Quirk::GroupsForgetRepositories => "groups-forget-repositories",
            Quirk::GzipOnPlugins => "gzip-on-plugins",
            Quirk::Environment { .. } => "environment",
            Quirk::WritesNowhere => "writes-nowhere",
            Quirk::VersionKey { .. } => "version-key",
            Quirk::RepositoriesIgnored => "repositories-ignored",
            Quirk::BootstrapperSkips => "bootstrapper-skips",
            Quirk::Submodule { .. } => "submodule",
            Quirk::LinkedFolder { .. } => "linked-folder",
        }
    }
}

impl From<LeftOut> for MapFact {
    fn from(why: LeftOut) -> Self {
        MapFact::NotRendered(why)
    }
}

impl From<Quirk> for MapFact {
    fn from(quirk: Quirk) -> Self {
        MapFact::Quirk(quirk)
    }
}

/// Why a ConfigMap is not rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftOut {
    /// The map gives no name.
    NoName,
    /// The API server takes no ConfigMap of that name.
    BadName,
    /// The API server takes no such key, and so refuses the whole ConfigMap.
    BadKey { key: String, path: String },
    /// A file has no content that could be written.
    Unreadable { path: String, trouble: Trouble },
    /// More than the API server takes. Bytes as stored, and before gzip.
    TooLarge { stored: usize, raw: usize },
    /// The map is not for this repository (`allowed_repos`, `denied_repos`).
    OtherRepository { repository: String },
    /// The map is bound to repositories, and whether this is one of them, or whether the Prow heeds it, is not known.
    BoundToRepositories { repository: Option<String> },
}

/// Why a path has no content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// A symlink to what is not there: hook fails, config-bootstrapper writes an empty value.
    Dangling { target: String },
    /// A symlink to a folder.
    Folder,
    /// A symlink that leads out of the repository.
    Outside { target: String },
    /// Symlinks that lead in a circle, or through a file as if it were a folder.
    NoWay,
    /// Its content is in another repository.
    Submodule,
    /// Git LFS keeps the content elsewhere: in git it is a pointer, and hook would write that.
    LfsPointer,
    /// A symlink to a name that is not UTF-8.
    Name,
    /// So many bytes are no configuration.
    TooLarge { bytes: u64 },
    /// It could not be read.
    Unread,
}

/// What surprises: Prow does it, and nobody who reads plugins.yaml expects it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quirk {
    /// There is no `config_updater`, but a field that looks like it. Prow ignores that, and goes by two maps of its own.
    NoMaps { look_alike: FieldAt },
    /// Braces without any `*` are no alternatives.
    LiteralBraces,
    /// Files that would match, were their paths longer than that of the glob before its first `*`.
    TooShort { files: usize, example: String, shortest: usize },
    /// A cluster group makes Prow forget `use_full_path_as_key`.
    GroupsForgetFullPath,
    /// A cluster group makes Prow forget `allowed_repos` and `denied_repos`.
    GroupsForgetRepositories,
    /// plugins.yaml is stored compressed, and hook cannot read it.
    GzipOnPlugins,
    /// A segment is replaced from hook's environment; it is taken to be unset here.
    Environment { segment: String },
    /// It names neither a cluster nor a namespace, so that its files are taken and written nowhere.
    WritesNowhere,
    /// A file becomes the key in which Prow keeps the commit.
    VersionKey { path: String },
    /// `allowed_repos` and `denied_repos`: not known to the deployed Prow, which writes from any repository.
    RepositoriesIgnored,
    /// `allowed_repos`: config-bootstrapper, which knows no repository, skips the map.
    BootstrapperSkips,
    /// A submodule lies where the glob looks: neither hook nor this program sees its files.
    Submodule { path: String },
    /// A symlink to a folder lies where the glob looks: Prow does not go into it.
    LinkedFolder { path: String },
}
