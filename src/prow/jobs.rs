//! Jobs that Prow runs on itself, by name: what they do to a manual repair.
//!
//! To add one: a line in [`KNOWN`]. Names that only look like one are a GUESS.

/// What a job does to Prow itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobTask {
    /// Applies the manifests of the repository.
    Deploy,
    /// Changes image tags in the repository.
    Autobump,
    /// Writes all ConfigMaps anew.
    Bootstrap,
}

/// A job's task, and whether the name is known (else it only looks like it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    pub task: JobTask,
    pub known: bool,
}

const KNOWN: [(&str, JobTask); 10] = [
    ("post-test-infra-deploy-prow", JobTask::Deploy),
    ("deploy-prow_test-infra_postsubmit", JobTask::Deploy),
    ("post-oss-test-infra-deploy-prow", JobTask::Deploy),
    ("post-project-infra-kubevirt-prow-control-plane-deployment", JobTask::Deploy),
    ("ci-test-infra-autobump-prow", JobTask::Autobump),
    ("ci-test-infra-autobump-prow-for-auto-deploy", JobTask::Autobump),
    ("ci-oss-test-infra-autobump-prow", JobTask::Autobump),
    ("ci-prow-autobump", JobTask::Autobump),
    ("periodic-project-infra-prow-bump", JobTask::Autobump),
    ("openshift-release-master-config-bootstrapper", JobTask::Bootstrap),
];

/// What a job of this name does to Prow, if anything.
pub fn task_of(job: &str) -> Option<Task> {
    if let Some((_, task)) = KNOWN.iter().find(|(name, _)| *name == job) {
        return Some(Task { task: *task, known: true });
    }
    let has = |word: &str| job.contains(word);
    let task = if has("config-bootstrapper") {
        JobTask::Bootstrap
    } else if has("prow") && (has("autobump") || has("auto-bump") || has("bump")) {
        JobTask::Autobump
    } else if has("prow") && has("deploy") && !job.starts_with("pull-") {
        JobTask::Deploy
    } else {
        return None;
    };
    Some(Task { task, known: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_facts_and_likenesses_guesses() {
        assert_eq!(task_of("post-test-infra-deploy-prow"), Some(Task { task: JobTask::Deploy, known: true }));
        assert_eq!(task_of("post-infra-prow-deployment"), Some(Task { task: JobTask::Deploy, known: false }));
        assert_eq!(task_of("ci-infra-prow-autobump"), Some(Task { task: JobTask::Autobump, known: false }));
        assert_eq!(task_of("pull-infra-prow-deploy-test"), None, "it tests a deployment, and deploys nothing");
        assert_eq!(task_of("pull-kubernetes-e2e-gce"), None);
    }
}
