//! Changing images. Whatever the change, it ends here: the new content has an id and a temporary name, then [`put`]
//! gives it the name users know, in one step that is done or not.
//!
//! | room | what happens there |
//! | --- | --- |
//! | [`history`] | what each name meant before, and what holds it in the store |
//! | [`recover`] | the start of the server: changes cut by a crash are finished or undone, leftovers removed |
//! | [`names`] | further names for images, other names, no name any more |

pub mod history;
pub mod names;
pub mod recover;

pub mod build;
pub mod check;
pub mod clone;
pub mod copy;
pub mod defaults;
pub mod elsewhere;
pub mod operation;
pub mod publish;
pub mod search;
pub mod shell;
pub mod space;
pub mod squash;
pub mod transfer;
pub mod work;

use std::sync::Arc;

use walt_images::ImageId;
use walt_images::turn::{Task, Turn};
use walt_model::{ImageFullName, UserName};

use super::{Progress, WorkflowError, boot_image, within};
use crate::killpoint;
use crate::platform::Platform;
use crate::registry::Device;
use crate::state::{Change, Content};

/// Limit on making the root of new content, in seconds.
const PREPARE: u64 = 300;

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
    /// Why these nodes are not to be rebooted: their new root cannot be served.
    pub problem: Option<String>,
}

/// Nobody is told.
pub struct Silent;

impl Progress for Silent {
    fn label(&self, _: &str) {}
}

/// Takes the turn of an image.
///
/// # Errors
/// Somebody else changes it; what a crash or a failure cut is not settled yet.
pub fn take(
    platform: &Platform,
    image: &ImageFullName,
    task: Task,
    user: &UserName,
) -> Result<Turn, WorkflowError> {
    platform.recovery.allows(Some(image))?;
    Ok(platform.turns.take(image, task, user)?)
}

/// Gives a name to an image that is complete in the store. What the name meant before stays in its history; nodes that
/// boot this name have the new root served before this answers, and are not rebooted yet.
///
/// Killed at any step, the server finds at its next start either the old content or the new one under the name, and
/// the history that goes with it: the old content is held by a tag of ours and the change is written down before the
/// name moves, and the name moves in one step of podman. What fails after that step is no failure of the change.
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
    let facts = platform.images.catalogue().facts(id).await?;
    boots_all_users(platform, image, &facts.models)?;
    let previous = history::keep_current(platform, image).await?;
    check::keeps_booting(platform, image, id, previous.as_ref()).await?;
    killpoint::reached("put: the old content is held");
    if previous.as_ref() != Some(id) {
        let content = Content {
            id: id.clone(),
            since_ms: crate::platform::now_ms() as i64,
            task: origin.task.to_string(),
            by: origin.by.to_string(),
            detail: origin.detail.clone(),
            created_ms: facts.created.saturating_mul(1000),
            size: facts.size,
        };
        let change = Change::Put { content };
        platform.state.begin_image_change(image.clone(), change.clone()).await?;
        killpoint::reached("put: the change is written down");
        if let Err(error) = move_name(platform, image, id, &facts.models, progress).await {
            recover::settle_now(platform, image, change).await;
            return Err(error);
        }
        killpoint::reached("put: after the tag");
        recover::end(platform, image, change, history::KEPT).await;
        killpoint::reached("put: the version is written down");
        tracing::info!(%image, id = id.short(), task = %origin.task, by = %origin.by, detail = origin.detail, "image changed");
        history::prune_later(platform);
    }
    let nodes = users(platform, image);
    let mut problem = None;
    if !nodes.is_empty()
        && let Err(error) = boot_image::ready(platform, image).await
    {
        tracing::error!(%image, "its nodes are not rebooted: {error}");
        problem = Some(error.to_string());
    }
    Ok(Put { previous, nodes, problem })
}

/// The step that counts: everything that may fail was done before the name moves.
async fn move_name(
    platform: &Platform,
    image: &ImageFullName,
    id: &ImageId,
    models: &[String],
    progress: &dyn Progress,
) -> Result<(), WorkflowError> {
    if !users(platform, image).is_empty() {
        progress.label("Preparing the image");
        within("Preparing the image", PREPARE, platform.images.prepare(id))
            .await?
            .map_err(|source| WorkflowError::Serve { image: image.short(), source })?;
    }
    killpoint::reached("put: before the tag");
    // No node gets this image between the last look and the tag.
    let _changing = platform.changing.lock().await;
    boots_all_users(platform, image, models)?;
    Ok(platform.images.catalogue().tag(id, image).await?)
}

/// Checks that content for these models may come under this name.
fn boots_all_users(
    platform: &Platform,
    image: &ImageFullName,
    models: &[String],
) -> Result<(), WorkflowError> {
    if models.is_empty() {
        return Err(WorkflowError::NoModels(image.name().clone()));
    }
    let left_out = users(platform, image).into_iter().filter_map(|device| {
        let model = device.node?.model;
        (!models.iter().any(|known| model == known.as_str()))
            .then(|| (device.name.to_string(), model.to_string()))
    });
    let (mut nodes, mut wanted): (Vec<_>, Vec<_>) = left_out.unzip();
    if nodes.is_empty() {
        return Ok(());
    }
    nodes.sort();
    wanted.sort();
    wanted.dedup();
    let (image, has) = (image.name().clone(), models.to_vec());
    Err(WorkflowError::LeavesOut { image, nodes, models: wanted, has })
}

/// The nodes that boot this image.
pub fn users(platform: &Platform, image: &ImageFullName) -> Vec<Device> {
    let boots = |device: &Device| device.node.as_ref().is_some_and(|node| node.image == *image);
    platform.registry.devices().into_iter().filter(boots).collect()
}
