//! A working copy of an image: its layers, and a writable layer above them that becomes the last layer of a new
//! image.
//!
//! It is a buildah container: its configuration is that of the image, whatever is run in it by other means, so that
//! labels, command and environment of the new image are those of the old one.

use std::path::PathBuf;
use std::time::Duration;

use crate::catalogue::ImageId;
use crate::command::{Command, CommandError};
use crate::podman::{CHANGE_DEADLINE, Podman, PodmanError};

use super::SessionError;

/// Longest time the writing of a layer may take.
const COMMIT_DEADLINE: Duration = Duration::from_secs(3600);

/// A working copy. It stays in the store until [`Working::remove`].
#[derive(Debug, Clone)]
pub struct Working {
    podman: Podman,
    name: String,
}

impl Working {
    /// The one of that name, made before.
    pub fn named(podman: &Podman, name: impl Into<String>) -> Self {
        Self { podman: podman.clone(), name: name.into() }
    }

    /// Makes one (about 0.1 s, whatever the size of the image).
    ///
    /// # Errors
    /// buildah did not work, or the name is taken.
    pub async fn create(
        podman: &Podman,
        name: impl Into<String>,
        image: &ImageId,
    ) -> Result<Self, SessionError> {
        let working = Self::named(podman, name);
        let args = ["from", "--quiet", "--pull-never", "--name", &working.name, image.as_str()];
        working.buildah().args(args).run().await.map_err(PodmanError::from)?;
        Ok(working)
    }

    /// Its name in the store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The store it is in.
    pub fn podman(&self) -> &Podman {
        &self.podman
    }

    /// Whether it is there.
    ///
    /// # Errors
    /// podman did not work: nothing is known of it then.
    pub async fn exists(&self) -> Result<bool, SessionError> {
        let args = ["container", "exists", "--external", &self.name];
        let asked = self.podman.command_of("podman").args(args).deadline(CHANGE_DEADLINE);
        let words = asked.words();
        let answer = asked.run_any().await.map_err(PodmanError::from)?;
        match answer.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(PodmanError::from(CommandError::Failed {
                command: words,
                status: answer.status,
                stderr: answer.stderr.trim().to_owned(),
            })
            .into()),
        }
    }

    /// The directory with its files; mounted if it was not.
    ///
    /// # Errors
    /// buildah did not work, or there is no such working copy.
    pub async fn mount(&self) -> Result<PathBuf, SessionError> {
        let answer = self.buildah().args(["mount", &self.name]).run().await;
        let answer = answer.map_err(PodmanError::from)?;
        Ok(PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim()))
    }

    /// Makes an image of it, with a temporary name; it stays as it is.
    ///
    /// # Errors
    /// buildah did not work, or the disk is full: there is no new image then.
    pub async fn commit(&self, tag: &str) -> Result<ImageId, SessionError> {
        let args = ["commit", "--quiet", "--format", "docker", "--identity-label=false"];
        let commit = self.buildah().args(args).args([&self.name, tag]).deadline(COMMIT_DEADLINE);
        let answer = commit.run().await.map_err(PodmanError::from)?;
        Ok(String::from_utf8_lossy(&answer.stdout).trim().parse()?)
    }

    /// Removes it and its layer. Nothing there is no error.
    ///
    /// # Errors
    /// buildah did not work.
    pub async fn remove(&self) -> Result<(), SessionError> {
        match self.buildah().args(["rm", &self.name]).run().await {
            Err(error) if self.exists().await? => Err(PodmanError::from(error).into()),
            _ => Ok(()),
        }
    }

    fn buildah(&self) -> Command {
        self.podman.command_of("buildah").deadline(CHANGE_DEADLINE)
    }
}

/// Work on files, away from the threads that answer requests.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SessionError> + Send + 'static,
) -> Result<T, SessionError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| SessionError::Io {
        what: "work on",
        path: PathBuf::new(),
        source: std::io::Error::other(error),
    })?
}
