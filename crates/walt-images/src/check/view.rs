//! The files of an image, read only, without leaving a trace.
//!
//! The layers are mounted in a mount namespace of one thread: whatever happens to this process, nothing stays mounted.

use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountPropagationFlags, mount_change};

use crate::catalogue::Inspected;
use crate::inside::Inside;
use crate::mounts;
use crate::podman::Podman;
use crate::roots::{RootError, io_error, layers};

/// Gives the files of an image to `look`, in a thread of its own.
pub(super) async fn with_files<T: Send + 'static>(
    podman: &Podman,
    image: &Inspected,
    look: impl FnOnce(&Inside) -> T + Send + 'static,
) -> Result<T, RootError> {
    let lowers = layers(image)?;
    let point = podman.graph_root().to_owned();
    let (answer, answered) = tokio::sync::oneshot::channel();
    let work = move || {
        let _ = answer.send(enter(&lowers, &point).map(|inside| look(&inside)));
    };
    std::thread::Builder::new()
        .name("image-check".into())
        .spawn(work)
        .map_err(io_error("start a thread for", podman.graph_root()))?;
    answered.await.map_err(|_| RootError::Interrupted("the image could not be read".into()))?
}

/// The files of these layers, seen by this thread alone.
fn enter(lowers: &[PathBuf], point: &Path) -> Result<Inside, RootError> {
    match lowers {
        // An overlay wants two.
        [only] => Inside::enter(only).map_err(io_error("enter", only)),
        _ => {
            apart().map_err(io_error("make a mount namespace for", point))?;
            mounts::mount_lowers(lowers, point)
                .map_err(io_error("mount the layers of the image on", point))?;
            Inside::enter(point).map_err(io_error("enter", point))
        }
    }
}

/// Mounts of this thread are its own from now on.
fn apart() -> io::Result<()> {
    // SAFETY: only the mount namespace and the file system attributes of this thread change (unshare(2)); the table of
    // open files stays shared, and the thread ends after its work.
    unsafe {
        rustix::thread::unshare_unsafe(
            rustix::thread::UnshareFlags::NEWNS | rustix::thread::UnshareFlags::FS,
        )?;
    }
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(mount_change("/", flags)?)
}
