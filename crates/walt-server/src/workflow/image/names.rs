//! Further names for images, other names, no name any more; images that change hands.

use std::sync::Arc;

use walt_images::ImageEntry;
use walt_images::turn::{Task, Turn};
use walt_model::{ImageFullName, ImageName, UserName, sentence};

use super::{Origin, Silent, history, put, recover, take, users};
use crate::killpoint;
use crate::platform::Platform;
use crate::state::Change;
use crate::workflow::clone_default::for_newcomer;
use crate::workflow::{WorkflowError, names_of};

/// An image of a user, by the name they typed. Who has no image at all gets the default ones first.
pub async fn existing(
    platform: &Arc<Platform>,
    user: &UserName,
    text: &str,
) -> Result<(ImageFullName, Arc<ImageEntry>), WorkflowError> {
    let name =
        ImageName::existing(text).map_err(|error| WorkflowError::Invalid(error.to_string()))?;
    let image = name.owned_by(user.clone());
    let catalogue = platform.images.catalogue();
    if let Some(entry) = catalogue.current().await?.get(&image.to_string()) {
        return Ok((image, entry.clone()));
    }
    for_newcomer(platform, user).await?;
    match catalogue.current().await?.get(&image.to_string()) {
        Some(entry) => Ok((image, entry.clone())),
        None => Err(WorkflowError::NoSuchImage(image.name().clone())),
    }
}

/// A name a user typed for an image that is not there yet.
pub async fn unused(
    platform: &Platform,
    user: &UserName,
    text: &str,
) -> Result<ImageFullName, WorkflowError> {
    let name: ImageName =
        text.parse().map_err(|error: walt_model::image_name::ImageNameError| {
            WorkflowError::Invalid(error.to_string())
        })?;
    let image = name.owned_by(user.clone());
    match platform.images.catalogue().exists(&image).await? {
        true => Err(WorkflowError::ImageExists(image.name().clone())),
        false => Ok(image),
    }
}

/// Gives an image a further name. Nothing is copied.
pub async fn duplicate(
    platform: &Arc<Platform>,
    user: &UserName,
    from: &str,
    to: &str,
) -> Result<(), WorkflowError> {
    let (from, entry) = existing(platform, user, from).await?;
    let to = unused(platform, user, to).await?;
    let turn = take(platform, &to, Task::Duplicate, user)?;
    // It may have come while the turn was somebody else's.
    unused(platform, user, &to.name().to_string()).await?;
    let detail = format!("of {}", from.name());
    let origin = Origin { task: Task::Duplicate, by: user.clone(), detail };
    put(platform, &turn, &to, &entry.id, &origin, &Silent).await?;
    Ok(())
}

/// Gives an image another name; its history follows.
pub async fn rename(
    platform: &Arc<Platform>,
    user: &UserName,
    from: &str,
    to: &str,
) -> Result<(), WorkflowError> {
    let (from, _) = existing(platform, user, from).await?;
    let to = unused(platform, user, to).await?;
    let old = take(platform, &from, Task::Rename, user)?;
    let new = take(platform, &to, Task::Rename, user)?;
    unused(platform, user, &to.name().to_string()).await?;
    rename_held(platform, (&old, &from), (&new, &to)).await
}

/// The steps of a renaming, both turns held.
async fn rename_held(
    platform: &Arc<Platform>,
    (_, from): (&Turn, &ImageFullName),
    (_, to): (&Turn, &ImageFullName),
) -> Result<(), WorkflowError> {
    let catalogue = platform.images.catalogue();
    // No node gets this image meanwhile.
    let _changing = platform.changing.lock().await;
    refuse_if_used(platform, from, "renamed")?;
    let id = catalogue.resolve(from).await?;
    let change = Change::Rename { to: to.clone() };
    platform.state.begin_image_change(from.clone(), change.clone()).await?;
    killpoint::reached("rename: the change is written down");
    let moved = async {
        catalogue.tag(&id, to).await?;
        killpoint::reached("rename: both names");
        catalogue.untag(from).await
    };
    if let Err(error) = moved.await {
        recover::settle_now(platform, from, change).await;
        return Err(error.into());
    }
    killpoint::reached("rename: the other name only");
    recover::end(platform, from, change, history::KEPT).await;
    killpoint::reached("rename: done");
    tracing::info!(%from, %to, "image renamed");
    Ok(())
}

/// Removes a name, its history with it. Content that a node still reads goes with its last reader.
pub async fn remove(
    platform: &Arc<Platform>,
    user: &UserName,
    name: &str,
) -> Result<(), WorkflowError> {
    let (image, _) = existing(platform, user, name).await?;
    let _turn = take(platform, &image, Task::Remove, user)?;
    {
        // No node gets this image meanwhile.
        let _changing = platform.changing.lock().await;
        refuse_if_used(platform, &image, "removed")?;
        platform.state.begin_image_change(image.clone(), Change::Remove).await?;
        killpoint::reached("remove: the change is written down");
        if let Err(error) = platform.images.catalogue().untag(&image).await {
            recover::settle_now(platform, &image, Change::Remove).await;
            return Err(error.into());
        }
        killpoint::reached("remove: the name is gone");
    }
    recover::end(platform, &image, Change::Remove, 0).await;
    killpoint::reached("remove: the history is gone");
    tracing::info!(%image, by = %user, "image removed");
    history::prune_later(platform);
    Ok(())
}

fn refuse_if_used(
    platform: &Platform,
    image: &ImageFullName,
    action: &'static str,
) -> Result<(), WorkflowError> {
    let nodes = names_of(&users(platform, image));
    match nodes.is_empty() {
        true => Ok(()),
        false => Err(WorkflowError::ImageInUse { image: image.name().clone(), nodes, action }),
    }
}

/// Makes all images of another user those of `user`, histories included: all or none are taken over. Gives their names.
///
/// # Errors
/// The other user has no image, or has images in use, or of names that `user` has too; one of them is being changed.
pub async fn take_over(
    platform: &Arc<Platform>,
    user: &UserName,
    other: &UserName,
) -> Result<Vec<ImageName>, WorkflowError> {
    let store = platform.images.catalogue().current().await?;
    let theirs: Vec<ImageFullName> = store
        .values()
        .filter(|entry| *other == entry.owner.as_str())
        .filter_map(|entry| entry.fullname.parse().ok())
        .collect();
    if theirs.is_empty() {
        return Err(WorkflowError::Invalid(format!("User '{other}' has no image on this server.")));
    }
    let moves: Vec<(ImageFullName, ImageFullName)> = theirs
        .into_iter()
        .map(|image| (image.clone(), image.name().clone().owned_by(user.clone())))
        .collect();
    let shown = |images: Vec<&ImageFullName>| -> Vec<String> {
        images.into_iter().map(|image| image.name().to_string()).collect()
    };
    let clash = moves.iter().map(|(_, to)| to).filter(|to| store.contains_key(&to.to_string()));
    let clash = shown(clash.collect());
    if !clash.is_empty() {
        return Err(WorkflowError::Invalid(format!(
            "You already have {}: rename or remove first what has the same name.",
            sentence::list("image", &clash)
        )));
    }
    let in_use =
        moves.iter().map(|(from, _)| from).filter(|from| !users(platform, from).is_empty());
    let in_use = shown(in_use.collect());
    if !in_use.is_empty() {
        return Err(WorkflowError::Invalid(format!(
            "Nodes boot {} of user '{other}': release these nodes first.",
            sentence::list("image", &in_use)
        )));
    }
    let mut turns = Vec::new();
    for (from, to) in &moves {
        let task = Task::Rename;
        turns.push((take(platform, from, task, user)?, take(platform, to, task, user)?));
    }
    for ((from, to), (old, new)) in moves.iter().zip(&turns) {
        rename_held(platform, (old, from), (new, to)).await?;
        killpoint::reached("take over: one image done");
    }
    Ok(moves.into_iter().map(|(_, to)| to.name().clone()).collect())
}
