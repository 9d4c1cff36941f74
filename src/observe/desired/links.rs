//! Where a path of a state leads, as the kernel would follow it in a checkout: folder by folder, through symlinks.

use std::sync::Arc;

use super::state::{State, is_below};
use crate::git::EntryKind;
use crate::model::Trouble;
use crate::model::text::sanitize_line;

/// Linux follows no more in one path.
const LINKS: usize = 40;

/// What lies at the end of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Blob(Arc<str>),
    /// A symlink whose content is not read yet.
    Unread(Arc<str>),
    Nothing(Trouble),
}

/// What was found, and the paths on the way: the symlinks, folders that were left by `..`, and what the last link leads to.
pub(super) struct Followed {
    pub(super) way: Vec<String>,
    pub(super) content: Content,
}

/// Follows a path; `text` gives where a symlink leads, by its id, once that is read.
pub(super) fn follow<'a>(state: &State, path: &str, text: impl Fn(&Arc<str>) -> Option<&'a [u8]>) -> Followed {
    // Almost all are plain files.
    if let Some(file) = state.files.get(path).filter(|file| file.kind == EntryKind::File) {
        return Followed { way: vec![path.to_owned()], content: Content::Blob(file.id.clone()) };
    }
    let mut way = Vec::new();
    let content = walk(state, path, &text, &mut way);
    Followed { way, content }
}

fn walk<'a>(
    state: &State,
    path: &str,
    text: &impl Fn(&Arc<str>) -> Option<&'a [u8]>,
    way: &mut Vec<String>,
) -> Content {
    let nothing = |trouble| Content::Nothing(trouble);
    let mut todo: Vec<String> = path.rsplit('/').map(str::to_owned).collect();
    let mut at: Vec<String> = Vec::new();
    // Where the last symlink leads, as it says.
    let mut target = String::new();
    let mut links = 0;
    while let Some(part) = todo.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                let left = at.join("/");
                if at.pop().is_none() {
                    return nothing(Trouble::Outside { target });
                }
                // That the folder is there matters, and something in it says so.
                if !way.iter().any(|link| is_below(link, &left)) {
                    way.push(left);
                }
                continue;
            }
            _ => at.push(part),
        }
        let here = at.join("/");
        let Some(file) = state.files.get(here.as_str()) else {
            if state.has_folder(&here) {
                continue;
            }
            way.push(here);
            return nothing(Trouble::Dangling { target });
        };
        let last = todo.is_empty();
        match file.kind {
            EntryKind::Submodule => return nothing(Trouble::Submodule),
            EntryKind::File if last => {
                way.push(here);
                return Content::Blob(file.id.clone());
            }
            EntryKind::File => return nothing(Trouble::NoWay),
            EntryKind::Symlink => {}
        }
        links += 1;
        if links > LINKS {
            return nothing(Trouble::NoWay);
        }
        way.push(here);
        let Some(link) = text(&file.id) else {
            return Content::Unread(file.id.clone());
        };
        let Ok(link) = std::str::from_utf8(link) else {
            // Where the bytes lead cannot be told by our names.
            return nothing(Trouble::Name);
        };
        target = sanitize_line(link);
        if link.starts_with('/') {
            return nothing(Trouble::Outside { target });
        }
        at.pop();
        todo.extend(link.rsplit('/').map(str::to_owned));
    }
    nothing(Trouble::Folder)
}
