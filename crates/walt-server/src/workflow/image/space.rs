//! What an operation on an image uses for itself: a directory and a temporary name in the store.

use std::path::{Path, PathBuf};

use walt_images::podman::CHANGE_DEADLINE;
use walt_images::registry::Workplace;

use crate::platform::Platform;
use crate::workflow::WorkflowError;

/// A directory and a temporary name for one operation. What a kill of the server leaves of them is removed at its next
/// start: their names say what they are.
pub struct Space<'a> {
    platform: &'a Platform,
    dir: PathBuf,
    tag: String,
}

impl<'a> Space<'a> {
    /// Makes one.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(platform: &'a Platform) -> Result<Self, WorkflowError> {
        let word = hex(rand::random());
        let dir = platform.remotes.work_dir().join(format!("op-{word}"));
        std::fs::create_dir(&dir).map_err(|source| {
            WorkflowError::Invalid(format!("Cannot make {}: {source}.", dir.display()))
        })?;
        Ok(Self { platform, dir, tag: format!("localhost/walt/op:{word}") })
    }

    /// As the registry library wants it.
    pub fn workplace(&self) -> Workplace<'_> {
        Workplace {
            podman: self.platform.images.catalogue().podman(),
            work_dir: &self.dir,
            resume_dir: self.platform.remotes.resume_dir(),
            tag: &self.tag,
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes both. An image that got no other name goes with its temporary one.
    pub async fn close(self) {
        let podman = self.platform.images.catalogue().podman();
        let listed = podman.run(&["image", "exists", &self.tag], CHANGE_DEADLINE).await;
        if listed.is_ok()
            && let Err(error) = podman.run(&["rmi", &self.tag], CHANGE_DEADLINE).await
        {
            tracing::warn!(
                tag = self.tag,
                "a temporary name of an image stays until the next start: {error}"
            );
        }
        if let Err(error) = tokio::fs::remove_dir_all(&self.dir).await {
            tracing::warn!(dir = %self.dir.display(), "a work directory stays until the next start: {error}");
        }
    }
}

fn hex(bytes: [u8; 8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
