//! The configuration repository, as Prow's automation sees it: a line of commits, of which the first ones are merged.

use std::collections::{BTreeMap, BTreeSet};

/// A commit of the default branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// What a drill calls it.
    pub name: String,
    pub message: String,
    pub author: String,
    /// Paths with their new content; `None` removes one.
    pub files: BTreeMap<String, Option<Vec<u8>>>,
}

/// A line of commits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repository {
    pub commits: Vec<Commit>,
    /// How many of them are merged.
    pub merged: usize,
}

pub type Tree = BTreeMap<String, Vec<u8>>;

impl Repository {
    /// Merges everything up to this commit; how many were merged before. `None` where it is unknown or merged already.
    pub fn merge(&mut self, name: &str) -> Option<usize> {
        let index = self.commits.iter().position(|commit| commit.name == name)?;
        if index < self.merged {
            return None;
        }
        Some(std::mem::replace(&mut self.merged, index + 1))
    }

    /// All files after so many commits.
    pub fn tree(&self, commits: usize) -> Tree {
        let mut tree = Tree::new();
        for (path, content) in self.commits.iter().take(commits).flat_map(|commit| &commit.files) {
            match content {
                Some(content) => drop(tree.insert(path.clone(), content.clone())),
                None => drop(tree.remove(path)),
            }
        }
        tree
    }

    pub fn head(&self) -> Tree {
        self.tree(self.merged)
    }

    /// Paths that commits since then touch.
    pub fn changed_since(&self, commits: usize) -> BTreeSet<String> {
        let new = self.commits.iter().take(self.merged).skip(commits);
        new.flat_map(|commit| commit.files.keys().cloned()).collect()
    }
}
