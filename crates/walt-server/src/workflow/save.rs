//! What changed on a running node becomes a layer, over the image the node booted.
//!
//! The node sends its changes over ssh; they become a layer in a directory of this operation, then an image with a
//! temporary name. Until [`super::image::put`] gives it the name that was asked for, nothing of the platform changed.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use walt_images::added_layer::{Note, StackError, add_layer};
use walt_images::changes::{ChangesError, LayerWriter, Selection, Summary, layer_of};
use walt_images::podman::{CHANGE_DEADLINE, PodmanError};
use walt_images::{ImageId, Inside, Podman};
use walt_model::DeviceName;

use super::image::space::Space;
use super::{Progress, WorkflowError};
use crate::killpoint;
use crate::node_access::SshError;
use crate::node_access::changes::{self, About, Part};
use crate::platform::Platform;
use crate::registry::Device;
use crate::served::ServedImage;

/// How often it is told how much was read.
const TELL: Duration = Duration::from_millis(250);

/// Why a node could not be saved. The messages are what users read.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// It runs no system.
    #[error("Node {0} is not booted: only what runs can be saved.")]
    Down(DeviceName),
    /// What it booted is not known.
    #[error("It is not known which image node {0} booted.")]
    UnknownRoot(DeviceName),
    /// It says that it booted something else than what it was given.
    #[error("Node {0} is booting another image at this moment.")]
    OtherRoot(DeviceName),
    /// It did not answer, or was lost.
    #[error("Node {node} was not saved: {source}.")]
    Node {
        /// The node.
        node: DeviceName,
        /// Why.
        source: SshError,
    },
    /// Its changes make no layer.
    #[error("Node {node} was not saved: {source}.")]
    Changes {
        /// The node.
        node: DeviceName,
        /// Why.
        source: ChangesError,
    },
    /// No image could be made of them.
    #[error("The image could not be made: {0}.")]
    Stack(#[from] StackError),
    /// The image store does not work.
    #[error("The image store did not answer: {0}.")]
    Store(#[from] PodmanError),
    /// The directory of the operation.
    #[error("{path} could not be used: {source}.", path = .0.display(), source = .1)]
    Directory(PathBuf, std::io::Error),
    /// A task of this process failed.
    #[error("The server is stopping.")]
    Stopping,
}

/// An image made of a node, under a temporary name.
#[derive(Debug)]
pub struct Made {
    /// The image.
    pub id: ImageId,
    /// The image the node booted.
    pub below: ImageId,
    /// What is in its layer. Empty: there is no layer, `id` is the image below.
    pub summary: Summary,
    /// Some files changed while they were read.
    pub some_changed: bool,
}

/// What one save uses for itself: a directory, the name of the image that is made, and one that holds the image below.
pub struct Workspace<'a> {
    space: Space,
    podman: &'a Podman,
    below: String,
}

impl<'a> Workspace<'a> {
    /// Makes one.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(platform: &'a Platform) -> Result<Self, WorkflowError> {
        let space = Space::open(platform)?;
        let below = format!("{}b", space.workplace().tag);
        Ok(Self { space, podman: platform.images.catalogue().podman(), below })
    }

    /// Nothing of the operation is left, however it went.
    pub async fn close(self) {
        let held = self.podman.run(&["image", "exists", &self.below], CHANGE_DEADLINE).await;
        if held.is_ok()
            && let Err(error) = self.podman.run(&["rmi", &self.below], CHANGE_DEADLINE).await
        {
            let tag = self.below;
            tracing::warn!(tag, "a temporary name of an image stays until the next start: {error}");
        }
        self.space.close().await;
    }
}

/// Makes an image of a node. Dropped before its end, it stops; [`Workspace::close`] removes what there is.
///
/// # Errors
/// See [`SaveError`]; no name of a user has changed.
pub async fn make(
    platform: &Platform,
    device: &Device,
    note: &str,
    space: &Workspace<'_>,
    progress: &dyn Progress,
) -> Result<Made, SaveError> {
    let name = &device.name;
    let Some(ip) = device.ip.filter(|_| platform.presence.is_booted(device.mac)) else {
        return Err(SaveError::Down(name.clone()));
    };
    let served = platform
        .images
        .read_by_node(device.mac)
        .ok_or_else(|| SaveError::UnknownRoot(name.clone()))?;
    let below = served.root.image.clone();
    let lost = |source| SaveError::Node { node: name.clone(), source };
    progress.label("Looking at the node");
    let about = changes::about(&platform.ssh, ip).await.map_err(lost)?;
    // The node is believed in nothing that would give it the files of another image.
    if about.image != below.as_str() {
        return Err(SaveError::OtherRoot(name.clone()));
    }
    space.podman.run(&["tag", below.as_str(), &space.below], CHANGE_DEADLINE).await?;
    killpoint::reached("save: before the changes are read");

    let dir = space.space.dir();
    let path = dir.join("layer");
    let selection = selection(platform, ip, &about, &served).await.map_err(lost)?;
    let total = about.bytes + about.local.unwrap_or(0);
    let mut reading = Reading::create(&path, total, name)?;
    let mut some_changed = reading.part(platform, ip, Part::Changes, selection, progress).await?;
    if about.local.is_some() {
        let selection = Selection { below: "local", ..Selection::default() };
        some_changed |= reading.part(platform, ip, Part::Local, selection, progress).await?;
    }
    let (layer, summary) = reading.finish().await?;
    killpoint::reached("save: the layer is complete");
    if summary.is_empty() {
        return Ok(Made { id: below.clone(), below, summary, some_changed });
    }
    progress.label("Adding the layer");
    let note = Note { by: note.to_owned(), at: jiff::Timestamp::now() };
    let copied = dir.join("image");
    std::fs::create_dir(&copied).map_err(|error| SaveError::Directory(copied.clone(), error))?;
    let id = add_layer(space.podman, &below, &layer, &note, &copied, space.space.workplace().tag)
        .await?;
    killpoint::reached("save: the image is made");
    Ok(Made { id, below, summary, some_changed })
}

/// What to take of the changes of a node.
async fn selection(
    platform: &Platform,
    ip: Ipv4Addr,
    about: &About,
    served: &ServedImage,
) -> Result<Selection, SshError> {
    let mut selection = Selection {
        since: about.since,
        removed_by_boot: about.removed_by_boot.clone(),
        ..Selection::default()
    };
    if !about.good_tar {
        if about.since.is_some() {
            selection.changed = changes::times(&platform.ssh, ip).await?;
        }
        let names = changes::names(&platform.ssh, ip).await?;
        let root = served.root.dir.clone();
        let hidden = tokio::task::spawn_blocking(move || hidden(&root, &names)).await;
        selection.hidden = hidden.unwrap_or_default();
    }
    Ok(selection)
}

/// Names that directories of the image have and that the node does not show there any more.
fn hidden(
    root: &Path,
    shown: &HashMap<Vec<u8>, HashSet<Vec<u8>>>,
) -> HashMap<Vec<u8>, Vec<Vec<u8>>> {
    let Ok(inside) = Inside::enter(root) else { return HashMap::new() };
    let mut hidden = HashMap::new();
    for (directory, shown) in shown.iter().filter(|(directory, _)| !directory.is_empty()) {
        let names = inside.list(Path::new(OsStr::from_bytes(directory))).unwrap_or_default();
        let gone: Vec<Vec<u8>> = names
            .into_iter()
            .map(OsStringExt::into_vec)
            // A name of several lines cannot be found in a list of lines.
            .filter(|name| !shown.contains(name) && !name.contains(&b'\n'))
            .collect();
        if !gone.is_empty() {
            hidden.insert(directory.clone(), gone);
        }
    }
    hidden
}

/// A layer being made of what a node sends.
struct Reading {
    state: Option<(LayerWriter, Summary)>,
    read: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    total: u64,
    node: DeviceName,
}

/// Whoever asked went away: the thread that reads stops at the next bytes.
impl Drop for Reading {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Reading {
    fn create(path: &Path, total: u64, node: &DeviceName) -> Result<Self, SaveError> {
        let wrong = |source| SaveError::Changes { node: node.clone(), source };
        let state = Some((LayerWriter::create(path).map_err(wrong)?, Summary::default()));
        Ok(Self { state, read: Arc::default(), stop: Arc::default(), total, node: node.clone() })
    }

    /// Reads one tar of the node. True when some files changed while they were read.
    async fn part(
        &mut self,
        platform: &Platform,
        ip: Ipv4Addr,
        part: Part,
        selection: Selection,
        progress: &dyn Progress,
    ) -> Result<bool, SaveError> {
        let lost = |source| SaveError::Node { node: self.node.clone(), source };
        let mut child = changes::send(&platform.ssh, ip, part).await.map_err(lost)?;
        let pipe = child.output().map_err(lost)?;
        let (mut layer, mut summary) = self.state.take().ok_or(SaveError::Stopping)?;
        let mut from = Counted { pipe, read: self.read.clone(), stop: self.stop.clone() };
        let mut work = tokio::task::spawn_blocking(move || {
            let result = layer_of(&mut from, &selection, &mut layer, &mut summary);
            if result.is_ok() {
                // Padding of the archive; the sender must not find a closed pipe.
                let _ = std::io::copy(&mut from, &mut std::io::sink());
            }
            (result, layer, summary)
        });
        let ended = loop {
            tokio::select! {
                ended = &mut work => break ended,
                () = tokio::time::sleep(TELL) => {
                    let read = self.read.load(Ordering::Relaxed);
                    progress.amount("Reading the changes", read, Some(self.total.max(read)));
                }
            }
        };
        let (result, layer, summary) = ended.map_err(|_| SaveError::Stopping)?;
        match result {
            Ok(()) => {
                let some_changed = child.ended().await.map_err(lost)?;
                self.state = Some((layer, summary));
                Ok(some_changed)
            }
            // A tar that ends early: the node, or the way to it, says why.
            Err(ChangesError::Read(source)) => match child.ended().await {
                Err(source) => Err(lost(source)),
                Ok(_) => {
                    let source = ChangesError::Read(source);
                    Err(SaveError::Changes { node: self.node.clone(), source })
                }
            },
            Err(source) => Err(SaveError::Changes { node: self.node.clone(), source }),
        }
    }

    async fn finish(mut self) -> Result<(walt_images::changes::Layer, Summary), SaveError> {
        let (layer, summary) = self.state.take().ok_or(SaveError::Stopping)?;
        let layer = tokio::task::spawn_blocking(move || layer.finish()).await;
        let layer = layer.map_err(|_| SaveError::Stopping)?;
        let node = self.node.clone();
        Ok((layer.map_err(|source| SaveError::Changes { node, source })?, summary))
    }
}

/// Counts what is read, and ends when nobody wants it any more.
struct Counted {
    pipe: File,
    read: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        let count = self.pipe.read(bytes)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
