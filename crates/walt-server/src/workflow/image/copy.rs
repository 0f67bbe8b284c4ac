//! Files into an image: a tar stream unpacked in a working copy, and a new image made of that.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use walt_images::session::Working;
use walt_images::session::unpack::unpack;
use walt_images::session::view::{self, View};
use walt_images::{ImageId, Inside};

use super::space::Space;
use super::work::{self, New, hex};
use crate::killpoint;
use crate::pipe;
use crate::platform::Platform;
use crate::tasks::Tasks;
use crate::workflow::WorkflowError;

/// Told the bytes written so far.
pub type Written = Arc<dyn Fn(u64) + Send + Sync>;

/// Unpacks `stream` in `directory` of a copy of an image and makes a new image of that, which has only a temporary name
/// yet. Whatever happens, the copy is gone afterwards.
///
/// # Errors
/// The stream is cut, or leads outside; the container tools do not work; the disk is full. The image is as it was.
pub async fn copy_in(
    platform: &Platform,
    id: &ImageId,
    directory: PathBuf,
    mut stream: pipe::Reader,
    written: Written,
) -> Result<New, WorkflowError> {
    let podman = platform.images.catalogue().podman();
    killpoint::reached("cp: before the working copy");
    let word = hex();
    let working = Working::create(podman, format!("walt-op-{word}"), id).await?;
    let outcome = async {
        let dir = working.mount().await?;
        let unpacked = tokio::task::spawn_blocking(move || {
            let files = Inside::enter(&dir)?;
            unpack(&mut stream, &files, &directory, |bytes| written(bytes))?;
            // An archive that looks whole may still be one whose sender failed at its end.
            std::io::copy(&mut stream, &mut std::io::sink())
        });
        unpacked
            .await
            .map_err(|_| WorkflowError::Invalid("The transfer failed.".into()))?
            .map_err(|error| WorkflowError::Invalid(format!("The transfer failed: {error}.")))?;
        killpoint::reached("cp: before the commit");
        work::commit(platform, &working, &word).await
    }
    .await;
    killpoint::reached("cp: after the commit");
    if let Err(error) = working.remove().await {
        tracing::warn!(name = working.name(), "a working copy stays until the next start: {error}");
    }
    outcome
}

/// The files of an image, to be read. The image stays as long as this lives, even if all its names go.
#[derive(Debug)]
pub struct Reading {
    // Unmounted before the image is let go.
    view: View,
    _held: Held,
}

impl Deref for Reading {
    type Target = Inside;

    fn deref(&self) -> &Inside {
        &self.view
    }
}

/// A temporary name that goes with this.
#[derive(Debug)]
struct Held {
    space: Option<Space>,
    tasks: Tasks,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(space) = self.space.take() {
            self.tasks.spawn("image files", space.close());
        }
    }
}

/// Opens the files of an image.
///
/// # Errors
/// The container tools do not work; the image is gone.
pub async fn files(platform: &Platform, id: &ImageId) -> Result<Reading, WorkflowError> {
    let space = Some(Space::holding(platform, id).await?);
    let held = Held { space, tasks: platform.tasks.clone() };
    let view = view::open(platform.images.catalogue().podman(), id, &views(platform)).await?;
    Ok(Reading { view, _held: held })
}

/// Where files of images are mounted while they are read.
pub fn views(platform: &Platform) -> PathBuf {
    platform.place.run_dir.join("views")
}
