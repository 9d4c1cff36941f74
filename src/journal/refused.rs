//! What components refused, remembered: one line a content in `refused.ndjson`, appended when it is first seen.
//!
//! The log that tells of a refusal goes with its pod, so it is written down by whoever looks, not by runs alone: a repair
//! may be done by hand. A line is one [`RefusedContent`] with the cluster that it was seen on. A line that cannot be read
//! (torn by a crash, written by another version) tells nothing and stops nobody.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use crate::model::{ClusterIdentity, Failure, FailureKind, RefusedContent};

use super::{Journal, files};

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
        if new.is_empty() {
            return Ok(());
        }
        let path = self.dir().join(REFUSED);
        files::make_folders(self.dir())?;
        let unwritable = |error: std::io::Error| files::unwritable(&path, &error);
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path).map_err(unwritable)?;
        // Two commands may look at the same time: the second one finds what the first one wrote.
        file.lock().map_err(unwritable)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(unwritable)?;
        let known = parse(&text);
        let mut lines = Vec::new();
        // A torn line must not swallow the next one.
        if text.last().is_some_and(|byte| *byte != b'\n') {
            lines.push(b'\n');
        }
        for content in new.iter().filter(|content| !is_among(content, &known)) {
            let line = serde_json::to_vec(content).map_err(|error| {
                Failure::new(FailureKind::Tool, "cannot encode what was refused").cause(error.to_string())
            })?;
            lines.extend(line);
            lines.push(b'\n');
        }
        file.write_all(&lines).and_then(|()| file.sync_all()).map_err(unwritable)?;
        files::sync_folder(self.dir())
    }

    /// Contents that components refused, newest first, each with its cluster.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn refused(&self) -> Result<Vec<RefusedContent>, Failure> {
        let path = self.dir().join(REFUSED);
        let mut text = Vec::new();
        match File::open(&path).and_then(|mut file| file.read_to_end(&mut text)) {
            Ok(_) => Ok(parse(&text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(files::unreadable(&path, &error)),
        }
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

/// The same content of the same cluster, refused by the same images: when and with which words makes no difference.
fn is_among(content: &RefusedContent, known: &[RefusedContent]) -> bool {
    fn what(content: &RefusedContent) -> impl PartialEq {
        let cluster = (content.cluster_server.clone(), content.cluster_uid.clone());
        (cluster, content.config_map.clone(), content.keys.clone(), content.images.clone())
    }
    known.iter().any(|other| what(other) == what(content))
}

fn parse(text: &[u8]) -> Vec<RefusedContent> {
    let lines = text.split(|byte| *byte == b'\n');
    let all = lines.filter_map(|line| serde_json::from_slice::<RefusedContent>(line).ok());
    // Of no cluster in particular would be of every cluster.
    let mut known: Vec<RefusedContent> =
        all.filter(|content| !content.cluster_server.is_empty() && !content.cluster_uid.is_empty()).collect();
    known.reverse();
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

        let path = journal.dir().join(REFUSED);
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn lines_that_cannot_be_read_hide_no_others() {
        let (_dir, journal) = journal();
        journal.remember_refused(&cluster("u-1"), &[content("a", "hook:v1")]).unwrap();
        let path = journal.dir().join(REFUSED);
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
        assert!(!journal.dir().exists(), "looking makes no folders");
        let file = tempfile::NamedTempFile::new().unwrap();
        let nowhere = Journal::for_reading(file.path().to_owned());
        assert!(nowhere.remember_refused(&cluster("u-1"), &[content("a", "hook:v1")]).is_err());
    }
}
