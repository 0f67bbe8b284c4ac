//! The start of the server: changes of images that a crash cut are finished or undone, names and their history agree
//! again, and what was only temporary is removed. Only what has one of our names is touched.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use walt_images::tags::{Content as Store, VERSION_PREFIX};
use walt_images::{catalogue, leftovers};
use walt_model::ImageFullName;

use super::history;
use crate::platform::Platform;
use crate::state::{Change, Version};
use crate::workflow::WorkflowError;

/// Wait before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// How far it is.
#[derive(Debug, Default)]
pub struct Recovery {
    done: AtomicBool,
    /// Names with a change that is neither finished nor undone.
    unsettled: Mutex<HashSet<ImageFullName>>,
}

impl Recovery {
    /// Whether changes may begin; of this image, if one is given.
    ///
    /// # Errors
    /// Not yet.
    pub fn allows(&self, image: Option<&ImageFullName>) -> Result<(), WorkflowError> {
        let settled = image.is_none_or(|image| !self.unsettled.lock().contains(image));
        match self.done.load(Ordering::Acquire) && settled {
            true => Ok(()),
            false => Err(WorkflowError::Unsettled),
        }
    }
}

/// Does it all. What fails is told in the journal, and tried again until it is done: nodes boot meanwhile, images are not
/// changed.
pub async fn all(platform: &Arc<Platform>) {
    if attempt(platform).await {
        return;
    }
    let again = platform.clone();
    platform.tasks.spawn("recovery of images", async move {
        let stopped = again.tasks.token();
        loop {
            tokio::select! {
                () = stopped.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
            if attempt(&again).await {
                tracing::info!("images can be changed again");
                return;
            }
        }
    });
}

/// False: something is to be tried again.
async fn attempt(platform: &Platform) -> bool {
    if let Err(error) = cut_changes(platform).await {
        tracing::error!(
            "a change of an image cut by a crash is neither finished nor undone yet: {error}"
        );
        // The temporary content of that change may be all there is.
        return false;
    }
    let work = platform.place.state_dir.join("work");
    match leftovers::remove(platform.images.catalogue(), &work).await {
        Ok(removed) => {
            for what in removed {
                tracing::info!("removed what an interrupted change of an image left: {what}");
            }
        }
        Err(error) => {
            tracing::error!("interrupted changes of images left things behind: {error}");
            return false;
        }
    }
    if let Err(error) = agree(platform).await {
        tracing::error!("the history of images could not be compared with the store: {error}");
        return false;
    }
    if let Err(error) = history::prune(platform).await {
        tracing::error!("images that are no version of any name stay: {error}");
    }
    platform.recovery.done.store(true, Ordering::Release);
    true
}

async fn cut_changes(platform: &Platform) -> Result<(), WorkflowError> {
    let changes = platform.state.image_changes().await?;
    if changes.is_empty() {
        return Ok(());
    }
    let store = platform.images.catalogue().content().await?;
    for (image, change) in changes {
        settle(platform, &image, change, &store).await?;
    }
    platform.images.catalogue().refresh().await?;
    Ok(())
}

/// The decisive step of a change is made: its end is written down, now or later.
pub(super) async fn end(
    platform: &Arc<Platform>,
    image: &ImageFullName,
    change: Change,
    kept: usize,
) {
    if let Err(error) = platform.state.end_image_change(image.clone(), change.clone(), kept).await {
        tracing::warn!(%image, "a change of an image is made, and not written down yet: {error}");
        settle_now(platform, image, change).await;
    }
}

/// After a change that failed half-way while the server goes on. What cannot be done now is tried again, and nobody else
/// changes the image before.
pub(super) async fn settle_now(platform: &Arc<Platform>, image: &ImageFullName, change: Change) {
    let Err(error) = settle_one(platform, image, &change).await else { return };
    tracing::error!(%image, "a change is neither finished nor undone yet: {error}");
    platform.recovery.unsettled.lock().insert(image.clone());
    let (again, image) = (platform.clone(), image.clone());
    platform.tasks.spawn("recovery of an image", async move {
        let stopped = again.tasks.token();
        loop {
            tokio::select! {
                () = stopped.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
            if settle_one(&again, &image, &change).await.is_ok() {
                again.recovery.unsettled.lock().remove(&image);
                return;
            }
        }
    });
}

async fn settle_one(
    platform: &Platform,
    image: &ImageFullName,
    change: &Change,
) -> Result<(), WorkflowError> {
    let store = platform.images.catalogue().content().await?;
    settle(platform, image, change.clone(), &store).await?;
    platform.images.catalogue().refresh().await?;
    Ok(())
}

/// Finishes a change if its decisive step was made, else undoes it.
async fn settle(
    platform: &Platform,
    image: &ImageFullName,
    change: Change,
    store: &Store,
) -> Result<(), WorkflowError> {
    let now = store.meaning(&image.to_string());
    let made = match &change {
        Change::Put { content } => now == Some(&content.id),
        Change::Remove => now.is_none(),
        Change::Rename { to } => match (now, store.meaning(&to.to_string())) {
            (None, Some(_)) => true,
            // Both names mean it: the first one is to go.
            (Some(old), Some(new)) if old == new => {
                platform.images.catalogue().untag(image).await?;
                true
            }
            _ => false,
        },
    };
    let verb = match &change {
        Change::Put { .. } => "change",
        Change::Remove => "removal",
        Change::Rename { .. } => "renaming",
    };
    if made {
        tracing::info!(%image, "an interrupted {verb} is finished");
        platform.state.end_image_change(image.clone(), change, history::KEPT).await?;
    } else {
        tracing::info!(%image, "an interrupted {verb} is undone: the name means what it meant");
        platform.state.undo_image_change(image.clone()).await?;
    }
    Ok(())
}

/// Makes names, their history and the tags that hold it agree.
async fn agree(platform: &Platform) -> Result<(), WorkflowError> {
    let catalogue = platform.images.catalogue();
    let store = catalogue.content().await?;
    let mut names: BTreeMap<ImageFullName, Vec<Version>> = BTreeMap::new();
    for version in platform.state.all_image_versions().await? {
        names.entry(version.image.clone()).or_default().push(version);
    }
    if store.images.is_empty() && !names.is_empty() {
        tracing::warn!("the image store is empty: the history of images is left as it is");
        return Ok(());
    }
    let present: HashSet<_> = store.images.iter().collect();
    let in_use = platform.registry.images_in_use();
    for (image, versions) in &names {
        let (kept, lost): (Vec<&Version>, Vec<&Version>) =
            versions.iter().partition(|version| present.contains(&version.content.id));
        for version in lost {
            tracing::warn!(%image, version = version.number, "its content is no longer in the store: forgotten");
            platform.state.forget_image_version(image.clone(), version.number).await?;
        }
        let Some((last, earlier)) = kept.split_last() else { continue };
        let mut held: Vec<&Version> = earlier.to_vec();
        match store.meaning(&image.to_string()) {
            Some(now) if *now == last.content.id => {}
            // It was changed by other means: both are kept.
            Some(_) => held.push(last),
            None if in_use.contains(image) => {
                tracing::warn!(%image, "nodes boot it, but its name was gone: it has its last version again");
                let reference = catalogue::store_reference(&image.to_string())?;
                catalogue.add_reference(&last.content.id, &reference).await?;
            }
            None => {
                tracing::info!(%image, "the name was removed by other means: its history goes too");
                platform.state.end_image_change(image.clone(), Change::Remove, 0).await?;
                continue;
            }
        }
        for version in held {
            let id = &version.content.id;
            if !store.references.contains_key(&format!("{VERSION_PREFIX}{id}")) {
                catalogue.hold_version(id).await?;
            }
        }
    }
    for entry in catalogue.refresh().await?.values() {
        if let Ok(image) = entry.fullname.parse() {
            history::note_current(platform, &image, entry).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn changes_wait_for_what_was_cut() {
        let (a, b) = ("me/a:latest".parse().unwrap(), "me/b:latest".parse().unwrap());
        let recovery = Recovery::default();
        recovery.allows(Some(&a)).unwrap_err();
        recovery.allows(None).unwrap_err();
        recovery.done.store(true, Ordering::Release);
        recovery.unsettled.lock().insert(a);
        recovery.allows(Some(&b)).unwrap();
        recovery.allows(None).unwrap();
        let a: ImageFullName = "me/a:latest".parse().unwrap();
        let error = recovery.allows(Some(&a)).unwrap_err();
        assert!(error.to_string().contains("try again"), "{error}");
    }
}
