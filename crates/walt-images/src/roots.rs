//! An image as a directory to serve.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::catalogue::ImageId;
use crate::keys::PlatformKeys;
use crate::layer::{LayerReport, WaltLayer};
use crate::podman::Podman;

/// Which root: sha256 of (image id, walt layer digest), first 16 bytes. The same image with the same
/// walt layer has the same id on any server start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RootId(pub [u8; 16]);

/// Why a root could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// podman did not work.
    #[error(transparent)]
    Podman(#[from] crate::podman::PodmanError),
}

/// An image ready to be served.
#[derive(Debug)]
pub struct Root {
    /// Its id.
    pub id: RootId,
    /// The image it shows.
    pub image: ImageId,
    /// Where its files are (`<state>/roots/<id>/fs`). Read only by agreement: what is written there
    /// is seen by every node.
    pub dir: PathBuf,
    /// What was done to it, and what could not be done.
    pub report: LayerReport,
}

impl Root {
    /// Opens `/boot/<model>/<path>` of the image for reading (TFTP, HTTP boot). The path and every
    /// symlink on its way are resolved inside the image.
    ///
    /// # Errors
    /// No such file; not a regular file.
    pub fn open_boot_file(&self, model: &str, path: &str) -> std::io::Result<std::fs::File> {
        unimplemented!("{model} {path}")
    }
}

/// All roots of a server.
#[derive(Debug)]
pub struct Roots {}

impl Roots {
    /// Opens `<state_dir>/roots`: mounts left by a killed server are found, half-made ones removed.
    ///
    /// # Errors
    /// The state directory cannot be used.
    pub async fn open(
        podman: Podman,
        state_dir: PathBuf,
        keys: PlatformKeys,
    ) -> Result<Self, RootError> {
        unimplemented!("{podman:?} {state_dir:?} {keys:?}")
    }

    /// The root of an image, made if needed (0.1 to some seconds). Callers of the same image share
    /// one making.
    ///
    /// # Errors
    /// See [`RootError`].
    pub async fn ensure(
        &self,
        image: &ImageId,
        layer: &WaltLayer,
    ) -> Result<std::sync::Arc<Root>, RootError> {
        unimplemented!("{image:?} {layer:?}")
    }

    /// The id `ensure` would give.
    pub fn id_of(&self, image: &ImageId, layer: &WaltLayer) -> RootId {
        unimplemented!("{image:?} {layer:?}")
    }

    /// A root made or found by this process.
    pub fn get(&self, id: RootId) -> Option<std::sync::Arc<Root>> {
        unimplemented!("{id:?}")
    }

    /// All roots `ensure` gave and that were not released.
    pub fn active(&self) -> Vec<std::sync::Arc<Root>> {
        unimplemented!()
    }

    /// Unmounts and removes a root.
    ///
    /// # Errors
    /// The directory cannot be removed.
    pub async fn release(&self, id: RootId) -> Result<(), RootError> {
        unimplemented!("{id:?}")
    }

    /// Releases what a previous server left and no `ensure` of this one asked for: call it once every
    /// node's image is ensured.
    pub async fn release_unclaimed(&self) -> Vec<RootError> {
        unimplemented!()
    }

    /// Releases everything (server stop): no mount is left.
    pub async fn release_all(&self) -> Vec<RootError> {
        unimplemented!()
    }
}
