//! The files of an image, to be read.

use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::mount::UnmountFlags;

use crate::catalogue::{ImageId, Inspected};
use crate::inside::Inside;
use crate::mounts;
use crate::podman::{Podman, READ_DEADLINE};
use crate::roots::layers;

use super::working::blocking;
use super::{SessionError, io_error};

/// The files of an image as its owner made them, without what the server adds for nodes. They are mounted nowhere: the
/// mount is taken out of the tree as soon as it is made, and goes with the answer.
///
/// # Errors
/// podman did not work, there is no such image, or the kernel refuses the mount.
pub async fn open(podman: &Podman, image: &ImageId) -> Result<Inside, SessionError> {
    let inspected: Vec<Inspected> =
        podman.json(&["image", "inspect", image.as_str()], READ_DEADLINE).await?;
    let mut lowers: Vec<PathBuf> = Vec::new();
    if let Some(image) = inspected.first() {
        lowers = layers(image).map_err(|driver| SessionError::Driver(driver.to_string()))?;
    }
    blocking(move || mount(lowers)).await
}

fn mount(mut lowers: Vec<PathBuf>) -> Result<Inside, SessionError> {
    let dir = tempdir()?;
    let (point, empty) = (dir.join("files"), dir.join("empty"));
    let opened = (|| {
        for path in [&point, &empty] {
            std::fs::create_dir(path).map_err(io_error("make", path))?;
        }
        // An overlay without a writable layer wants two others at least.
        lowers.push(empty.clone());
        mounts::mount_lowers(&lowers, &point)
            .map_err(io_error("mount the layers of the image on", &point))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&point, flags, Mode::empty());
        let detach = UnmountFlags::NOFOLLOW | UnmountFlags::DETACH;
        rustix::mount::unmount(&point, detach)
            .map_err(|error| io_error("detach", &point)(error.into()))?;
        let root = root.map_err(|error| io_error("open", &point)(error.into()))?;
        Inside::at(root).map_err(io_error("enter", &point))
    })();
    // Only empty directories are removed: should the mount still be there, nothing of it goes.
    for path in [&point, &empty, &dir] {
        let _ = std::fs::remove_dir(path);
    }
    opened
}

fn tempdir() -> Result<PathBuf, SessionError> {
    use std::os::unix::fs::DirBuilderExt;
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    let time =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let word = format!("walt-view-{}-{count}-{}", std::process::id(), time.as_nanos());
    let path = std::env::temp_dir().join(word);
    let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
    made.map_err(io_error("make", &path))?;
    Ok(path)
}
