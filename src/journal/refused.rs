//! What components refused, remembered: one line a content in `refused.ndjson`, appended when it is first seen.
//!
//! The log that tells of a refusal goes with its pod, so it is written down by whoever looks, not by runs alone: a repair
//! may be done by hand. A line is one [`RefusedContent`] with the cluster that it was seen on. A line that cannot be read
//! (torn by a crash, written by another version) tells nothing and stops nobody.

use crate::model::{ClusterIdentity, Failure, RefusedContent};

use super::{Journal, lines};

const REFUSED: &str = "refused.ndjson";

impl Journal {
    /// Remembers contents that were refused on this cluster, those that are not remembered yet. On the disk when it
    /// returns. Contents that are known to be of another cluster are left out.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn remember_refused(&self, cluster: &ClusterIdentity, contents: &[RefusedContent]) -> Result<(), Failure> {
        let seen = contents.iter().filter_map(|content| seen_on(cluster, content));
        // Looking at it first: with nothing new, nothing must be writable.
        let known = self.refused()?;
        let new: Vec<RefusedContent> = seen.filter(|content| !is_among(content, &known)).collect();
        lines::append(self.dir()?, REFUSED, &new, |content, text| is_among(content, &parse(text)))
    }

    /// Contents that components refused, newest first, each with its cluster.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn refused(&self) -> Result<Vec<RefusedContent>, Failure> {
        Ok(parse(&lines::read(self.dir()?, REFUSED)?))
    }
}

/// The content as it was seen on this cluster; `None` where it is another one's.
pub fn seen_on(cluster: &ClusterIdentity, content: &RefusedContent) -> Option<RefusedContent> {
    let stamp = |was: &str, is: &str| (was.is_empty() || was == is).then(|| is.to_owned());
    Some(RefusedContent {
        cluster_server: stamp(&content.cluster_server, &cluster.server)?,
        cluster_uid: stamp(&content.cluster_uid, &cluster.uid)?,
        ..content.clone()
    })
}

/// The same content of the same cluster beside the same, refused by the same images: when and with which words makes no difference.
fn is_among(content: &RefusedContent, known: &[RefusedContent]) -> bool {
    fn what(content: &RefusedContent) -> impl PartialEq {
        let cluster = (content.cluster_server.clone(), content.cluster_uid.clone());
        (cluster, content.config_map.clone(), content.keys.clone(), content.beside.clone(), content.images.clone())
    }
    known.iter().any(|other| what(other) == what(content))
}

fn parse(text: &[u8]) -> Vec<RefusedContent> {
    let mut known: Vec<RefusedContent> = lines::parse(text);
    // Of no cluster in particular would be of every cluster.
    known.retain(|content| !content.cluster_server.is_empty() && !content.cluster_uid.is_empty());
    known
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::model::{Alias, Key, Timestamp};

    fn cluster(uid: &str) -> ClusterIdentity {
        let (alias, server) = (Alias::service(), "https://prow.example.com".to_owned());
        ClusterIdentity { alias, context: "prow".to_owned(), server, uid: uid.to_owned(), ca: String::new() }
    }

    fn content(sha: &str, image: &str) -> RefusedContent {
        RefusedContent {
            cluster_server: String::new(),
            cluster_uid: String::new(),
            config_map: Key::new("prow", "job-config"),
            keys: [("jobs.yaml".to_owned(), sha.to_owned())].into(),
            beside: None,
            culprits: Vec::new(),
            images: vec![image.to_owned()],
            error: "duplicated preset".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    fn journal() -> (tempfile::TempDir, Journal) {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::for_reading(dir.path().join("state"));
        (dir, journal)
    }

    #[test]
    fn what_was_refused_is_remembered_once_with_its_cluster() {
        let (_dir, journal) = journal();
        assert_eq!(journal.refused().unwrap(), []);
        for _ in 0..2 {
            journal.remember_refused(&cluster("u-1"), &[content("a", "hook:v1")]).unwrap();
        }
        let later = RefusedContent { at: Timestamp::MAX, error: "other words".to_owned(), ..content("a", "hook:v1") };
        journal.remember_refused(&cluster("u-1"), &[later]).unwrap();
        let known = journal.refused().unwrap();
        assert_eq!(known, [seen_on(&cluster("u-1"), &content("a", "hook:v1")).unwrap()]);
        assert_eq!(
            (known[0].cluster_server.as_str(), known[0].cluster_uid.as_str()),
            ("https://prow.example.com", "u-1")
        );

        // Another cluster, another image, another content: each of its own, the newest first.
        journal.remember_refused(&cluster("u-2"), &[content("a", "hook:v1")]).unwrap();
        journal.remember_refused(&cluster("u-1"), &[content("a", "hook:v2"), content("b", "hook:v2")]).unwrap();
        let shas: Vec<_> = journal.refused().unwrap().iter().map(|content| content.keys["jobs.yaml"].clone()).collect();
        assert_eq!(shas, ["b", "a", "a", "a"]);
        // What is remembered of one cluster does not become another's because a diagnosis carries it along.
        journal.remember_refused(&cluster("u-2"), &journal.refused().unwrap()).unwrap();
        assert_eq!(journal.refused().unwrap().len(), 4);

        let path = journal.dir().unwrap().join(REFUSED);
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn lines_that_cannot_be_read_hide_no_others() {
        let (_dir, journal) = journal();
        journal.remember_refused(&cluster("u-1"), &[content("a", "hook:v1")]).unwrap();
        let path = journal.dir().unwrap().join(REFUSED);
        let mut text = std::fs::read(&path).unwrap();
        let nobodys = serde_json::to_vec(&content("c", "hook:v1")).unwrap();
        text.extend([b"garbage\xff\n\n{}\n".as_slice(), &nobodys, b"\n{\"configMap\":{\"names"].concat());
        std::fs::write(&path, &text).unwrap();
        assert_eq!(journal.refused().unwrap().len(), 1);
        journal.remember_refused(&cluster("u-1"), &[content("b", "hook:v1")]).unwrap();
        let shas: Vec<_> = journal.refused().unwrap().iter().map(|content| content.keys["jobs.yaml"].clone()).collect();
        assert_eq!(shas, ["b", "a"], "a torn line swallows nothing");
    }

    #[test]
    fn nothing_new_needs_no_right_to_write() {
        let (_dir, journal) = journal();
        journal.remember_refused(&cluster("u-1"), &[]).unwrap();
        assert!(!journal.dir().unwrap().exists(), "looking makes no folders");
        let file = tempfile::NamedTempFile::new().unwrap();
        let nowhere = Journal::for_reading(file.path().to_owned());
        assert!(nowhere.remember_refused(&cluster("u-1"), &[content("a", "hook:v1")]).is_err());
    }
}
