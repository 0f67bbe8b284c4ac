//! What a change of an image makes on its way, under names that are known as temporary: a folder, a tag, a container.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use walt_images::podman::CHANGE_DEADLINE;
use walt_images::{ImageId, Podman};

use crate::platform::Platform;
use crate::workflow::WorkflowError;

/// One change under way. What it made goes when [`Operation::end`] is called, or else at the next start of the server.
#[derive(Debug)]
pub struct Operation {
    name: String,
    folder: PathBuf,
    podman: Podman,
}

impl Operation {
    /// Begins: makes the folder, which only root can enter.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub async fn begin(platform: &Arc<Platform>) -> Result<Self, WorkflowError> {
        let bytes: [u8; 8] = rand::random();
        let name: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = platform.place.state_dir.join("work").join(format!("op-{name}"));
        let podman = platform.images.catalogue().podman().clone();
        let path = folder.clone();
        blocking(move || {
            use std::os::unix::fs::DirBuilderExt;
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
        })
        .await
        .map_err(|error| {
            WorkflowError::Invalid(format!("{} cannot be made: {error}.", folder.display()))
        })?;
        Ok(Self { name, folder, podman })
    }

    /// Its name: 16 hexadecimal digits.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its tag.
    pub fn tag(&self) -> String {
        format!("localhost/walt/op:{}", self.name)
    }

    /// Name of its container.
    pub fn container(&self) -> String {
        format!("walt-op-{}", self.name)
    }

    /// The image its tag means now.
    ///
    /// # Errors
    /// There is none; podman did not work.
    pub async fn result(&self) -> Result<ImageId, WorkflowError> {
        let args = ["image", "inspect", "--format", "{{.Id}}", &self.tag()];
        let told = self.podman.run(&args, Duration::from_secs(60)).await;
        let told = told.map_err(walt_images::CatalogueError::from)?;
        Ok(String::from_utf8_lossy(&told.stdout).trim().parse()?)
    }

    /// Removes what it made. What cannot be removed is told in the journal.
    pub async fn end(self) {
        let name = self.name.clone();
        walt_images::build::containers::remove(&self.podman, |op| op == name).await;
        let container = self.container();
        let _ = self
            .podman
            .command_of("buildah")
            .args(["rm", &container])
            .deadline(CHANGE_DEADLINE)
            .run_any()
            .await;
        // The image stays when it has another name; with the name only once, all its names would go.
        let _ = self
            .podman
            .command_of("podman")
            .args(["untag", &self.tag(), &self.tag()])
            .deadline(CHANGE_DEADLINE)
            .run_any()
            .await;
        let folder = self.folder;
        let path = folder.clone();
        if let Err(error) = blocking(move || std::fs::remove_dir_all(path)).await {
            tracing::warn!("{} stays: {error}", folder.display());
        }
    }
}

/// Work that reads and writes files.
///
/// # Errors
/// Its own; it panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
