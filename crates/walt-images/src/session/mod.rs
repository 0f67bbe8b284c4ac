//! Working inside an image: a copy of it that can be changed, a shell there, files in and out.
//!
//! * [`working`]: a working copy of an image (a buildah container), and a new image made of it.
//! * [`shell`]: a container whose files are those of a working copy.
//! * [`view`]: the files of an image, to be read.
//! * [`pack`], [`unpack`]: files as tar streams, out of an image and into a working copy.

pub mod pack;
pub mod shell;
pub mod unpack;
pub mod view;
pub mod working;

use std::io;
use std::path::PathBuf;

use crate::catalogue::CatalogueError;
use crate::podman::PodmanError;

pub use shell::{Mode, Shell, State};
pub use working::Working;

/// Why something inside an image could not be done.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// podman or buildah did not work.
    #[error(transparent)]
    Podman(#[from] PodmanError),
    /// The new image has no proper id.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A system call failed.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store keeps layers in a way we cannot mount.
    #[error("the image store uses the driver '{0}'; the driver 'overlay' is needed (storage.conf)")]
    Driver(String),
    /// The image has neither `/bin/bash` nor `/bin/sh`.
    #[error("the image has no shell: /bin/bash and /bin/sh are missing")]
    NoShell,
}

fn io_error(
    what: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> SessionError {
    let path = path.into();
    move |source| SessionError::Io { what, path, source }
}
