//! What an operation on an image uses for itself: a directory and a temporary name in the store.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use walt_images::podman::CHANGE_DEADLINE;
use walt_images::registry::Workplace;
use walt_images::{ImageId, Podman};

use crate::platform::Platform;
use crate::workflow::WorkflowError;

/// A directory and a temporary name for one operation. What a kill of the server leaves of them is removed at its next
/// start: their names say what they are.
#[derive(Debug)]
pub struct Space {
    podman: Podman,
    resume_dir: PathBuf,
    dir: PathBuf,
    tag: String,
}

impl Space {
    /// Makes one.
    ///
    /// # Errors
    /// The directory cannot be made; what a crash left is still being removed, and this would go with it.
    pub fn open(platform: &Platform) -> Result<Self, WorkflowError> {
        platform.recovery.allows(None)?;
        let word = hex(rand::random());
        let dir = platform.remotes.work_dir().join(format!("op-{word}"));
        std::fs::DirBuilder::new().mode(0o700).create(&dir).map_err(|source| {
            WorkflowError::Invalid(format!("Cannot make {}: {source}.", dir.display()))
        })?;
        Ok(Self {
            podman: platform.images.catalogue().podman().clone(),
            resume_dir: platform.remotes.resume_dir().to_owned(),
            dir,
            tag: format!("localhost/walt/op:{word}"),
        })
    }

    /// Makes one whose temporary name holds an image: it stays, even if all its other names go.
    ///
    /// # Errors
    /// The directory cannot be made; podman did not work; there is no such image.
    pub async fn holding(platform: &Platform, id: &ImageId) -> Result<Self, WorkflowError> {
        let space = Self::open(platform)?;
        match platform.images.catalogue().add_reference(id, &space.tag).await {
            Ok(()) => Ok(space),
            Err(error) => {
                space.close().await;
                Err(error.into())
            }
        }
    }

    /// As the registry library wants it.
    pub fn workplace(&self) -> Workplace<'_> {
        Workplace {
            podman: &self.podman,
            work_dir: &self.dir,
            resume_dir: &self.resume_dir,
            tag: &self.tag,
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes both. An image that got no other name goes with its temporary one.
    pub async fn close(self) {
        let podman = &self.podman;
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
