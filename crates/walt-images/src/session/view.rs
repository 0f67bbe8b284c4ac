//! The files of an image, to be read.

use std::ops::Deref;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::catalogue::{ImageId, Inspected};
use crate::inside::Inside;
use crate::mounts;
use crate::podman::{Podman, READ_DEADLINE};
use crate::roots::layers;

use super::working::blocking;
use super::{SessionError, io_error};

/// The files of an image as its owner made them, without what the server adds for nodes. They are mounted, read only, as
/// long as this lives.
#[derive(Debug)]
pub struct View {
    files: Inside,
    _mounted: Mounted,
}

impl Deref for View {
    type Target = Inside;

    fn deref(&self) -> &Inside {
        &self.files
    }
}

/// A directory of ours with an overlay on its `files`.
#[derive(Debug)]
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        clear(&self.0);
    }
}

/// Unmounts and removes. Only empty directories are removed: should the mount still be there, nothing of it goes.
fn clear(dir: &Path) {
    let point = dir.join("files");
    // Nothing may be mounted there yet. What is open stays readable.
    let _ = mounts::unmount(&point, Duration::ZERO);
    for path in [&point, &dir.join("empty"), dir] {
        let _ = std::fs::remove_dir(path);
    }
}

/// Removes what a server that was killed left in `base`.
pub fn sweep(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else { return };
    entries.flatten().for_each(|entry| clear(&entry.path()));
}

/// Opens the files of an image; `base` is a directory of the server's own for such mounts.
///
/// # Errors
/// podman did not work, there is no such image, or the kernel refuses the mount.
pub async fn open(podman: &Podman, image: &ImageId, base: &Path) -> Result<View, SessionError> {
    let inspected: Vec<Inspected> =
        podman.json(&["image", "inspect", image.as_str()], READ_DEADLINE).await?;
    let mut lowers: Vec<PathBuf> = Vec::new();
    if let Some(image) = inspected.first() {
        lowers = layers(image).map_err(|driver| SessionError::Driver(driver.to_string()))?;
    }
    let base = base.to_owned();
    blocking(move || mount(lowers, &base)).await
}

fn mount(mut lowers: Vec<PathBuf>, base: &Path) -> Result<View, SessionError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = base.join(format!("{}-{count}", std::process::id()));
    let (point, empty) = (dir.join("files"), dir.join("empty"));
    let mounted = Mounted(dir.clone());
    for path in [&dir, &point, &empty] {
        let made = std::fs::DirBuilder::new().mode(0o700).recursive(true).create(path);
        made.map_err(io_error("make", path))?;
    }
    // An overlay without a writable layer wants two others at least.
    lowers.push(empty);
    mounts::mount_lowers(&lowers, &point)
        .map_err(io_error("mount the layers of the image on", &point))?;
    let files = Inside::enter(&point).map_err(io_error("enter", &point))?;
    Ok(View { files, _mounted: mounted })
}
