//! Plans in words: steps, server's answers, notes, the same by hand.

use crate::model::Write;
use crate::repair::{Answer, Confirmation, Plan, Preview, RepairId, Step, Undo, Verify};

use super::{clock_seconds, failure};

/// Pods that one command of `SAME BY HAND` names: as many as a person can check.
const NAMES_A_LINE: usize = 20;

/// A step's cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepWords {
    pub verb: &'static str,
    pub object: String,
    pub guard: String,
    pub effect: String,
    pub undo: &'static str,
}

pub fn step(step: &Step) -> StepWords {
    let guard = match &step.write {
        Write::PutConfigMap { at, .. } | Write::DeleteConfigMap { at, .. } | Write::PatchImage { at, .. } => {
            format!("uid {} rv {}", short(&at.uid), at.resource_version)
        }
        Write::CreateConfigMap { .. } => "does not exist".to_owned(),
        Write::DeletePod { uid, .. } => format!("uid {}", short(uid)),
    };
    StepWords {
        verb: step.write.word(),
        object: step.write.object().to_string(),
        guard,
        effect: step.effect.clone(),
        undo: undo_word(step.undo),
    }
}

fn short(uid: &str) -> &str {
    uid.get(..8).unwrap_or(uid)
}

pub fn undo_word(undo: Undo) -> &'static str {
    match undo {
        Undo::FromBackup => "from backup",
        Undo::RecreatedByOwner => "owner recreates",
        Undo::Delete => "delete it",
        Undo::None => "none",
    }
}

/// The server's answer to a dry run.
pub fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Accepted => "accepted".to_owned(),
        Answer::Moved { detail } => format!("MOVED {detail}"),
        Answer::Gone => "gone already".to_owned(),
        Answer::Refused { failure } => format!("REFUSED {}", failure.summary),
    }
}

pub fn confirmation(confirmation: &Confirmation) -> String {
    match confirmation {
        Confirmation::Yes => "To run it, type yes and press Enter".to_owned(),
        Confirmation::MapName(_) => {
            "It is not known to load. To run it, type the ConfigMap's name and press Enter".to_owned()
        }
        Confirmation::Count(_) => "To run it, type the count and press Enter".to_owned(),
        Confirmation::CountIn { .. } => {
            "That is very many. To run it, type the count and the cluster, and press Enter".to_owned()
        }
        Confirmation::PruneMany { .. } => {
            "It removes very many keys. To run it, type both words and the count, and press Enter".to_owned()
        }
        Confirmation::TagTail(_) => "To run it, type the last four characters of the tag and press Enter".to_owned(),
    }
}

/// What a plan promises, once it is seen to hold.
pub fn promise(verify: &Verify) -> String {
    match verify {
        Verify::ComponentsReady { components, .. } => {
            let names: Vec<&str> = components.iter().map(|object| object.name.as_str()).collect();
            format!("{} Ready", names.join(", "))
        }
        Verify::RolloutDone { components, tag, .. } => format!("{} component(s) Ready on {tag}", components.len()),
        Verify::NoStrays { .. } => "the strays are gone, none came again, no ProwJob is worse off".to_owned(),
        Verify::Written => "what was written is there".to_owned(),
    }
}

/// What the silence of components that run on is worth.
pub fn quiet(running: &[String], seconds: u64) -> String {
    format!(
        "{} run(s) on without a load error for {seconds} s (GUESS that it is loaded: Prow does not announce a reload)",
        running.join(", ")
    )
}

/// While they are watched for it.
pub fn settling(running: &[String], seconds: u32) -> String {
    format!("watching the logs of {} for a refusal of what was written, {seconds} s (--settle)", running.join(", "))
}

/// Basis, proof, warnings, refusals: a line each.
pub fn plan_notes(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(revision) = &plan.basis.revision {
        let reason = plan.basis.reason.as_deref().unwrap_or("");
        lines.push(format!(
            "SOURCE  git {} \"{}\" by {} ({reason})",
            revision.short(),
            revision.subject,
            revision.author
        ));
    }
    if let (None, None, RepairId::SyncConfig, Some(reason)) =
        (&plan.basis.revision, &plan.basis.undoes, plan.repair, &plan.basis.reason)
    {
        lines.push(format!("SOURCE  the journal ({reason})"));
    }
    if let Some(run) = &plan.basis.undoes {
        lines.push(format!("UNDOES  run {run}"));
    }
    lines.push(match &plan.verify {
        Verify::ComponentsReady { components, within_seconds } => {
            let names: Vec<&str> = components.iter().map(|object| object.name.as_str()).collect();
            format!("PROOF   {} Ready within {within_seconds} s", names.join(", "))
        }
        Verify::RolloutDone { components, tag, within_seconds } => {
            format!("PROOF   {} component(s) run {tag}, all pods Ready, within {within_seconds} s", components.len())
        }
        Verify::NoStrays { prowjobs, newest: _, within_seconds } => format!(
            "PROOF   these pods gone, none made in their place, none of their {} unfinished ProwJob(s) lost, aborted or \
             in error, within {within_seconds} s",
            prowjobs.len()
        ),
        Verify::Written => "PROOF   the server's answer".to_owned(),
    });
    lines.extend(plan.warnings.iter().map(|warning| format!("WARN    {warning}")));
    for refusal in &plan.refusals {
        let object = refusal.object.as_ref().map_or(String::new(), |object| format!("{object}: "));
        lines.push(format!("LEFT OUT  {object}{} ({})", refusal.reason, refusal.hint));
    }
    lines
}

/// The same with kubectl, for who may not use this tool. Whatever kubectl cannot guard is said.
pub fn by_hand(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    let mut deletes: Vec<(String, Vec<&str>)> = Vec::new();
    for step in &plan.steps {
        let object = step.write.object();
        let cluster = plan.clusters.iter().find(|cluster| cluster.alias == object.cluster);
        let context = cluster.map_or("NAME", |cluster| cluster.context.as_str());
        let target = format!("kubectl --context {context} -n {}", object.namespace);
        match &step.write {
            Write::PutConfigMap { at, .. } => lines.push(format!(
                "{target} replace -f {}.yaml   # with metadata.resourceVersion {}; how to make the file: RUNBOOK.md, By hand",
                object.name, at.resource_version
            )),
            Write::CreateConfigMap { .. } => lines.push(format!("{target} create -f {}.yaml", object.name)),
            Write::DeleteConfigMap { .. } => {
                lines.push(format!("{target} delete configmap {}   # kubectl cannot pin the uid", object.name));
            }
            Write::PatchImage { images, .. } => {
                let images: Vec<String> =
                    images.iter().map(|change| format!("{}={}", change.container, change.to)).collect();
                let kind = object.kind.to_string().to_lowercase();
                lines.push(format!(
                    "{target} set image {kind}/{} {}   # kubectl cannot pin the resourceVersion",
                    object.name,
                    images.join(" ")
                ));
            }
            Write::DeletePod { .. } => match deletes.last_mut() {
                Some((place, names)) if *place == target && names.len() < NAMES_A_LINE => names.push(&object.name),
                Some(_) | None => deletes.push((target, vec![&object.name])),
            },
        }
    }
    lines.extend(deletes.iter().map(|(target, names)| {
        format!("{target} delete pod {} --wait=false   # kubectl cannot pin the uid", names.join(" "))
    }));
    lines
}

/// A plan and what the server said to it, in words.
pub fn plan_text(plan: &Plan, preview: Option<&Preview>) -> String {
    let mut out = format!("PLAN {}  {}\n", plan.id, plan.title);
    for cluster in &plan.clusters {
        out.push_str(&format!("TARGET  context {}, {}\n", cluster.context, cluster.server));
    }
    for note in plan_notes(plan) {
        out.push_str(&note);
        out.push('\n');
    }
    out.push_str("STEPS\n");
    for item in &plan.steps {
        let words = step(item);
        // Where there is one cluster, TARGET says which.
        let cluster = plan.clusters.iter().find(|cluster| cluster.alias == *item.write.cluster());
        let place = match cluster.filter(|_| plan.clusters.len() > 1) {
            Some(cluster) => format!("{}: ", cluster.context),
            None => String::new(),
        };
        let said = preview
            .and_then(|preview| preview.steps.iter().find(|preview| preview.n == item.n))
            .map_or("not asked".to_owned(), |preview| answer(&preview.answer));
        out.push_str(&format!(
            "  {}  {} {place}{}  [{}]  dry run: {said}  undo: {}\n     {}; {}\n",
            item.n, words.verb, words.object, words.guard, words.undo, words.effect, item.why
        ));
        if let Some(Answer::Refused { failure: refused }) = preview
            .and_then(|preview| preview.steps.iter().find(|preview| preview.n == item.n))
            .map(|preview| &preview.answer)
        {
            for line in failure(refused) {
                out.push_str(&format!("     {line}\n"));
            }
        }
    }
    if let Some(preview) = preview {
        out.push_str(&format!(
            "The dry run asked the server with dryRun=All at {}. Nothing has been written.\n",
            clock_seconds(preview.at)
        ));
    }
    out.push_str("SAME BY HAND\n");
    for line in by_hand(plan) {
        out.push_str(&format!("  {line}\n"));
    }
    out
}
