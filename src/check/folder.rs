//! A configuration in a private temporary folder, as components find it below `/etc`. The folder goes when this is dropped.

use std::path::Path;

use crate::model::{Failure, FailureKind};
use crate::prow::layout::Layout;

use super::place::Place;

pub(super) struct Folder {
    dir: Place,
    /// As the system spells it: so it stands in messages.
    root: String,
    flags: Vec<String>,
}

impl Folder {
    /// Lays a configuration out.
    pub(super) async fn of(layout: &Layout<'_>) -> Result<Folder, Failure> {
        let mut folder = Folder::new().await?;
        for (path, file) in layout.files() {
            folder.write(path, file.bytes).await?;
        }
        folder.flag("config-path", &layout.config_path);
        if let Some(path) = &layout.job_config_path {
            folder.flag("job-config-path", path);
        }
        if let Some(path) = &layout.plugin_config {
            folder.flag("plugin-config", path);
        }
        Ok(folder)
    }

    /// What every Prow refuses.
    pub(super) async fn of_broken() -> Result<Folder, Failure> {
        let mut folder = Folder::new().await?;
        folder.write("config/config.yaml", b"presets: [\n").await?;
        folder.flag("config-path", "config/config.yaml");
        Ok(folder)
    }

    async fn new() -> Result<Folder, Failure> {
        let dir = tokio::task::spawn_blocking(|| Place::below(&std::env::temp_dir()))
            .await
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(|error| unwritable(&std::env::temp_dir(), &error))?;
        let root = tokio::fs::canonicalize(dir.path()).await.map_err(|error| unwritable(dir.path(), &error))?;
        Ok(Folder { dir, root: root.display().to_string(), flags: Vec::new() })
    }

    fn flag(&mut self, name: &str, path: &str) {
        self.flags.push(format!("--{name}={}/{path}", self.root));
    }

    async fn write(&self, path: &str, bytes: &[u8]) -> Result<(), Failure> {
        // Keys come from the repository: none of them may lead out of the folder.
        let is_name = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        if !path.split('/').all(is_name) {
            return Err(Failure::new(
                FailureKind::Tool,
                format!("{path:?} cannot be laid out as a file, so no checkconfig was asked"),
            )
            .hint("the API server takes no such key either: letters, digits, `-`, `_` and `.`"));
        }
        let file = self.dir.path().join(path);
        let parent = file.parent().unwrap_or(self.dir.path());
        tokio::fs::create_dir_all(parent).await.map_err(|error| unwritable(parent, &error))?;
        tokio::fs::write(&file, bytes).await.map_err(|error| unwritable(&file, &error))
    }

    pub(super) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn flags(&self) -> &[String] {
        &self.flags
    }

    /// A text in which paths of this folder are where components find the files.
    pub(super) fn as_mounted(&self, text: &str) -> String {
        text.replace(&self.root, "/etc")
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(FailureKind::Tool, format!("cannot lay the configuration out at {}", path.display()))
        .cause(error.to_string())
        .hint("make room there, or name another place with TMPDIR")
}
