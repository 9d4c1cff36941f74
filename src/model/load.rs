//! Would a Prow load a configuration? Answers, and where each is known from.
//!
//! A content is named by a digest over what Prow reads of it (`prow::layout`), so that an answer about one revision is an
//! answer about every other with the same content, and about the live ConfigMaps that hold it.

use serde::{Deserialize, Serialize};

use super::{Objection, Timestamp};

/// An answer that was seen, about a content. The journal keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// Digest of the content: sha256, hex.
    pub content: String,
    /// Why it does not load; `None` where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Objection>,
    pub by: Witness,
    pub at: Timestamp,
}

/// Who gave an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "witness", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Witness {
    /// Ready containers of this tag started on it, in this cluster.
    Running {
        server: String,
        uid: String,
        tag: String,
        /// What components read then beyond what the content's name stands for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        further: Option<String>,
    },
    /// checkconfig of this image, run in this cluster.
    Job { server: String, uid: String, image: String },
    /// A checkconfig on this machine.
    Checkconfig(Checkconfig),
}

/// A checkconfig program. It prints no version of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkconfig {
    pub path: String,
    /// Tells the file from others that lay at that path: size and time of change.
    pub file: String,
    /// The tag that its place is named after. The word of whoever put it there.
    pub version: Option<String>,
}

/// Whether a configuration would load, and how we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadVerdict {
    pub answer: LoadAnswer,
    pub from: KnownFrom,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadAnswer {
    Loads,
    /// In Prow's words where it has some.
    Refused(Objection),
    /// Nothing speaks against it, and nobody has tried.
    Unknown,
}

/// Where a verdict is known from; the earlier ones count more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnownFrom {
    /// A component refuses it now: its own log.
    Log { images: Vec<String> },
    /// Ready containers started on what is live, and it is that.
    Running,
    /// What runs here loaded or refused this very content before.
    Memory { images: Vec<String>, at: Timestamp, doubts: Vec<Doubt> },
    /// A checkconfig on this machine.
    Checkconfig { program: Checkconfig, doubts: Vec<Doubt> },
    /// checkconfig of a deployed tag, run in the cluster.
    Job { image: String, at: Timestamp, doubts: Vec<Doubt> },
    /// It still holds what something that runs here refused, beside other changes.
    Resembles { images: Vec<String>, at: Timestamp },
    /// Rules of our own.
    Rules,
}

/// Why what somebody said of a content is no FACT about the Prow that is deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// No cluster was looked at. What a checkconfig says is a FACT about that program, and about nothing else.
    NoCluster,
    /// Nobody knows which version spoke.
    VersionNotKnown,
    /// Components cannot be seen now, none reads a configuration, or one that does has an image without a tag.
    DeployedNotKnown,
    /// These tags are deployed, and not all of them are the version that spoke.
    OtherVersion { deployed: Vec<String> },
    /// A component reads other or further configuration than what was judged.
    ReadsFurther { what: String },
}

/// What a verdict is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The Prow that is deployed.
    Deployed,
    /// The checkconfig that was asked, where no cluster was looked at.
    Checkconfig,
}

impl About {
    /// For scripts.
    pub fn name(self) -> &'static str {
        match self {
            About::Deployed => "deployed",
            About::Checkconfig => "checkconfig",
        }
    }
}

impl LoadVerdict {
    /// Nobody has tried, and nothing speaks against it.
    pub fn unknown() -> Self {
        LoadVerdict { answer: LoadAnswer::Unknown, from: KnownFrom::Rules }
    }

    /// True where it is known that the deployed Prow would load it.
    pub fn loads_as_fact(&self) -> bool {
        self.answer == LoadAnswer::Loads && self.from.is_fact() && self.from.about() == About::Deployed
    }

    pub fn refused(&self) -> Option<&Objection> {
        match &self.answer {
            LoadAnswer::Refused(objection) => Some(objection),
            LoadAnswer::Loads | LoadAnswer::Unknown => None,
        }
    }
}

impl KnownFrom {
    /// Prow's own word about what [`about`](Self::about) tells; else an opinion.
    pub fn is_fact(&self) -> bool {
        match self {
            KnownFrom::Log { .. } | KnownFrom::Running => true,
            KnownFrom::Memory { .. } | KnownFrom::Checkconfig { .. } | KnownFrom::Job { .. } => {
                self.doubts().iter().all(|doubt| *doubt == Doubt::NoCluster)
            }
            KnownFrom::Resembles { .. } | KnownFrom::Rules => false,
        }
    }

    /// Whom it is about. What is asked without a cluster is asked about a program.
    pub fn about(&self) -> About {
        if self.doubts().contains(&Doubt::NoCluster) { About::Checkconfig } else { About::Deployed }
    }

    /// Why it is no FACT about the deployed Prow, of what a Prow said.
    pub fn doubts(&self) -> &[Doubt] {
        match self {
            KnownFrom::Memory { doubts, .. }
            | KnownFrom::Checkconfig { doubts, .. }
            | KnownFrom::Job { doubts, .. } => doubts,
            KnownFrom::Log { .. } | KnownFrom::Running | KnownFrom::Resembles { .. } | KnownFrom::Rules => &[],
        }
    }

    /// For scripts.
    pub fn name(&self) -> &'static str {
        match self {
            KnownFrom::Log { .. } => "log",
            KnownFrom::Running => "running",
            KnownFrom::Memory { .. } => "memory",
            KnownFrom::Checkconfig { .. } => "checkconfig",
            KnownFrom::Job { .. } => "job",
            KnownFrom::Resembles { .. } => "resembles",
            KnownFrom::Rules => "rules",
        }
    }
}

impl std::fmt::Display for Checkconfig {
    /// `checkconfig v20240619-cfb8754e0`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.version {
            Some(version) => write!(f, "checkconfig {version}"),
            None => write!(f, "checkconfig (version not known)"),
        }
    }
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Doubt::NoCluster => write!(f, "no cluster was looked at"),
            Doubt::VersionNotKnown => write!(f, "nobody knows whether that is what is deployed"),
            Doubt::DeployedNotKnown => write!(f, "what is deployed is not known"),
            Doubt::OtherVersion { deployed } => write!(f, "deployed: {}", deployed.join(", ")),
            Doubt::ReadsFurther { what } => f.write_str(what),
        }
    }
}

fn in_brackets(doubts: &[Doubt]) -> String {
    if doubts.is_empty() {
        return String::new();
    }
    format!(" ({})", doubts.iter().map(Doubt::to_string).collect::<Vec<_>>().join("; "))
}

impl std::fmt::Display for KnownFrom {
    /// Who says so.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KnownFrom::Log { images } => write!(f, "the log of {}", images.join(", ")),
            KnownFrom::Running => write!(f, "Ready containers started on it"),
            KnownFrom::Memory { images, at, doubts } => {
                write!(f, "{} met this very content before, {at}{}", images.join(", "), in_brackets(doubts))
            }
            KnownFrom::Checkconfig { program, doubts } => write!(f, "{program}{}", in_brackets(doubts)),
            KnownFrom::Job { image, at, doubts } => write!(f, "{image} in the cluster, {at}{}", in_brackets(doubts)),
            KnownFrom::Resembles { images, at } => {
                write!(f, "it still holds what {} refused at {at}", images.join(", "))
            }
            KnownFrom::Rules => write!(f, "Prow's rules, as this tool knows them"),
        }
    }
}
