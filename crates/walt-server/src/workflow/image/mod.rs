//! Changing images. Whatever the change, it ends here: the new content has an id and a temporary name, then [`put`]
//! gives it the name users know, in one step that is done or not.

pub mod clone;
pub mod copy;
pub mod defaults;
pub mod elsewhere;
pub mod publish;
pub mod search;
pub mod shell;
pub mod space;
pub mod transfer;
pub mod work;

use std::sync::Arc;

use walt_images::ImageId;
use walt_images::turn::{Task, Turn};
use walt_model::{ImageFullName, UserName};

use super::{Progress, WorkflowError, boot_image};
use crate::killpoint;
use crate::platform::Platform;
use crate::registry::Device;

/// Where the new content of an image comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// What made it.
    pub task: Task,
    /// Who asked for it.
    pub by: UserName,
    /// More, for people: a clone link, a directory, a node.
    pub detail: String,
}

/// What [`put`] did.
#[derive(Debug)]
pub struct Put {
    /// What the name meant before.
    pub previous: Option<ImageId>,
    /// Nodes that boot this image: their new root is served, they are to be rebooted.
    pub nodes: Vec<Device>,
}

/// Takes the turn of an image.
///
/// # Errors
/// Somebody else changes it.
pub fn take(
    platform: &Platform,
    image: &ImageFullName,
    task: Task,
    user: &UserName,
) -> Result<Turn, WorkflowError> {
    Ok(platform.turns.take(image, task, user)?)
}

/// Gives a name to an image that is complete in the store. What the name meant before stays in its history; nodes that
/// boot this name have the new root served before this answers, and are not rebooted yet.
///
/// # Errors
/// The image cannot boot the nodes that have this name; the store does not work. The name then means what it meant.
pub async fn put(
    platform: &Arc<Platform>,
    turn: &Turn,
    image: &ImageFullName,
    id: &ImageId,
    origin: &Origin,
    progress: &dyn Progress,
) -> Result<Put, WorkflowError> {
    debug_assert_eq!(turn.image(), image.to_string());
    let catalogue = platform.images.catalogue();
    let previous = catalogue.current().await?.get(&image.to_string()).map(|entry| entry.id.clone());
    killpoint::reached("put: before the tag");
    catalogue.tag(id, image).await?;
    killpoint::reached("put: after the tag");
    tracing::info!(%image, id = id.short(), task = %origin.task, by = %origin.by, detail = origin.detail, "image changed");
    let nodes = users(platform, image);
    if !nodes.is_empty() {
        progress.label("Preparing the image");
        boot_image::ready(platform, image).await?;
    }
    Ok(Put { previous, nodes })
}

/// The nodes that boot this image.
pub fn users(platform: &Platform, image: &ImageFullName) -> Vec<Device> {
    let boots = |device: &Device| device.node.as_ref().is_some_and(|node| node.image == *image);
    platform.registry.devices().into_iter().filter(boots).collect()
}
