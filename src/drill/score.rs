//! What a drill is remembered by: times, writes, losses, and mistakes with their reasons.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::file::{DrillFile, Outage};

/// The result of a drill, so far.
#[derive(Debug, Clone)]
pub struct Scorecard {
    pub drill: String,
    pub title: String,
    /// What was asked for, where that was another name.
    pub seed: Option<u64>,
    /// When the oncall came.
    pub opened: Timestamp,
    /// Until when this tells.
    pub until: Timestamp,
    pub state: State,
    /// When the program first showed what is really wrong.
    pub diagnosed: Option<Timestamp>,
    /// Since when Prow works again.
    pub mitigated: Option<Timestamp>,
    /// When nothing was left behind any more.
    pub cleaned: Option<Timestamp>,
    /// What is wrong still.
    pub open: Vec<String>,
    /// Requests that changed something.
    pub writes: usize,
    /// Refusals: by the servers, and by the program itself.
    pub refusals: Vec<Refused>,
    pub lost: Vec<LostJob>,
    pub mistakes: Vec<Mistake>,
    /// What others did meanwhile.
    pub colleagues: Vec<Done>,
    pub outage: Option<Outage>,
}

/// How a drill stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing was wrong at the start.
    NothingWrong,
    Broken,
    /// Prow works; something is left behind.
    Mitigated,
    Healthy,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::NothingWrong => "nothing-wrong",
            State::Broken => "broken",
            State::Mitigated => "mitigated",
            State::Healthy => "healthy",
        }
    }
}

/// Something that was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub at: Timestamp,
    /// `server`, `guard`.
    pub by: &'static str,
    pub what: String,
}

/// A ProwJob that did not get its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostJob {
    pub name: String,
    pub job: String,
    pub why: String,
    /// Why it is lost whatever one does, where the drill says so.
    pub unavoidable: Option<String>,
}

/// What somebody can do wrong in a drill with this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MistakeKind {
    ConfigurationThatDoesNotLoad,
    RestartedOnBadConfiguration,
    StraysDeletedBeforeTheCause,
    UnknownImage,
    RolledToTheSameFault,
    GoodJobAborted,
}

impl MistakeKind {
    pub const ALL: [MistakeKind; 6] = [
        MistakeKind::ConfigurationThatDoesNotLoad,
        MistakeKind::RestartedOnBadConfiguration,
        MistakeKind::StraysDeletedBeforeTheCause,
        MistakeKind::UnknownImage,
        MistakeKind::RolledToTheSameFault,
        MistakeKind::GoodJobAborted,
    ];

    /// For scripts.
    pub fn name(self) -> &'static str {
        match self {
            MistakeKind::ConfigurationThatDoesNotLoad => "configuration-that-does-not-load",
            MistakeKind::RestartedOnBadConfiguration => "restarted-on-bad-configuration",
            MistakeKind::StraysDeletedBeforeTheCause => "strays-deleted-before-the-cause",
            MistakeKind::UnknownImage => "unknown-image",
            MistakeKind::RolledToTheSameFault => "rolled-to-the-same-fault",
            MistakeKind::GoodJobAborted => "good-job-aborted",
        }
    }
}

/// What should have been done otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub kind: MistakeKind,
    /// First time.
    pub at: Timestamp,
    pub count: usize,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub at: Timestamp,
    pub who: String,
    pub what: String,
}

impl Scorecard {
    pub(super) fn new(name: &str, seed: Option<u64>, file: &DrillFile, opened: Timestamp) -> Scorecard {
        Scorecard {
            drill: name.to_owned(),
            title: file.title.clone(),
            seed,
            opened,
            until: opened,
            state: State::NothingWrong,
            diagnosed: None,
            mitigated: None,
            cleaned: None,
            open: Vec::new(),
            writes: 0,
            refusals: Vec::new(),
            lost: Vec::new(),
            mistakes: Vec::new(),
            colleagues: Vec::new(),
            outage: file.outage.clone(),
        }
    }

    /// ProwJobs that need not have been lost.
    pub fn lost_needlessly(&self) -> usize {
        self.lost.iter().filter(|lost| lost.unavoidable.is_none()).count()
    }

    /// 0 where all is well; 1 where something is wrong still.
    pub fn exit_code(&self) -> u8 {
        match self.state {
            State::NothingWrong | State::Healthy => 0,
            State::Broken | State::Mitigated => 1,
        }
    }

    /// Seconds since the oncall came.
    fn after(&self, at: Option<Timestamp>) -> Option<i64> {
        at.map(|at| at.duration_since(self.opened).as_secs())
    }

    /// One JSON document.
    pub fn document(&self) -> Value {
        let time = |at: Option<Timestamp>| json!({ "at": at, "afterSeconds": self.after(at) });
        json!({
            "apiVersion": "prow-breakglass/v1", "kind": "Scorecard",
            "drill": self.drill, "title": self.title, "seed": self.seed, "state": self.state.name(),
            "opened": self.opened, "until": self.until,
            "diagnosed": time(self.diagnosed), "mitigated": time(self.mitigated), "cleaned": time(self.cleaned),
            "open": self.open,
            "writes": self.writes,
            "refusals": self.refusals.iter().map(|refused| json!({
                "at": refused.at, "by": refused.by, "what": refused.what,
            })).collect::<Value>(),
            "prowJobsLost": self.lost.iter().map(|lost| json!({
                "name": lost.name, "job": lost.job, "why": lost.why, "unavoidable": lost.unavoidable,
            })).collect::<Value>(),
            "mistakes": self.mistakes.iter().map(|mistake| json!({
                "kind": mistake.kind.name(), "at": mistake.at, "count": mistake.count, "reason": mistake.reason,
            })).collect::<Value>(),
            "colleagues": self.colleagues.iter().map(|done| json!({
                "at": done.at, "who": done.who, "what": done.what,
            })).collect::<Value>(),
            "outage": self.outage.as_ref().map(|outage| {
                let after = |at: Timestamp| at.duration_since(outage.noticed).as_secs();
                json!({
                    "source": outage.source, "began": outage.began, "noticed": outage.noticed,
                    "diagnosedAfterSeconds": after(outage.diagnosed), "mitigatedAfterSeconds": after(outage.mitigated),
                    "cleanedAfterSeconds": after(outage.cleaned), "writes": outage.writes,
                })
            }),
        })
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let seed = self.seed.map(|seed| format!(" (surprise {seed})")).unwrap_or_default();
        let mut lines = vec![
            format!("SCORECARD  drill {}{seed}: {}", self.drill, self.title),
            match self.state {
                State::NothingWrong => "Nothing was wrong.".to_owned(),
                State::Broken => "Prow is still broken.".to_owned(),
                State::Mitigated => "Prow works again; something is left behind.".to_owned(),
                State::Healthy => "Prow is healthy, and nothing is left behind.".to_owned(),
            },
        ];
        if self.state != State::NothingWrong {
            let real = |at: fn(&Outage) -> Timestamp| {
                self.outage.as_ref().map(|outage| at(outage).duration_since(outage.noticed).as_secs())
            };
            lines.push(row("", "you", "the real outage"));
            for (what, mine, theirs) in [
                ("right diagnosis shown", self.diagnosed, real(|outage| outage.diagnosed)),
                ("Prow works again", self.mitigated, real(|outage| outage.mitigated)),
                ("nothing left behind", self.cleaned, real(|outage| outage.cleaned)),
            ] {
                lines.push(row(what, &passed(self.after(mine)), &passed(theirs)));
            }
            if let Some(outage) = &self.outage {
                lines.push(format!("  times since somebody looked; {}", outage.source));
                lines.push(format!("  there: {}", outage.writes));
            }
        }
        let unavoidable = match self.lost.len() - self.lost_needlessly() {
            0 => String::new(),
            many => format!(" (and {many} that nobody could have kept)"),
        };
        lines.push(format!(
            "writes sent {}, ProwJobs lost {}{unavoidable}, refusals met {}, mistakes {}",
            self.writes,
            self.lost_needlessly(),
            self.refusals.len(),
            self.mistakes.len()
        ));
        lines.extend(self.open.iter().map(|what| format!("  open      {what}")));
        lines.extend(self.mistakes.iter().map(|mistake| format!("  MISTAKE   {}", mistake.reason)));
        for lost in self.lost.iter().take(5) {
            let unavoidable = lost.unavoidable.as_ref().map(|why| format!("; nobody could have kept it: {why}"));
            let unavoidable = unavoidable.unwrap_or_default();
            lines.push(format!("  lost      {} {}: {}{unavoidable}", lost.job, lost.name, lost.why));
        }
        if self.lost.len() > 5 {
            lines.push(format!("  lost      and {} more", self.lost.len() - 5));
        }
        lines
            .extend(self.refusals.iter().map(|refused| format!("  refused   by the {}: {}", refused.by, refused.what)));
        lines.extend(self.colleagues.iter().map(|done| format!("  meanwhile {} {}", done.who, done.what)));
        lines
    }
}

fn row(what: &str, mine: &str, theirs: &str) -> String {
    format!("  {what:<24}{mine:>10}{theirs:>18}").trim_end().to_owned()
}

fn passed(seconds: Option<i64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) => {
            let passed = SignedDuration::from_secs(seconds);
            format!("{}:{:02}", passed.as_mins(), seconds % 60)
        }
    }
}
