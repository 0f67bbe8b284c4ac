//! What each image name meant before, and what holds it in the store.
//!
//! Each name has numbered versions in the state; the last one is what it means now. The content of the others is held
//! in the store by a tag of ours for each image id ([`VERSION_PREFIX`]), so that podman never takes it for unused.

use std::collections::HashSet;
use std::sync::Arc;

use walt_images::tags::VERSION_PREFIX;
use walt_images::{ImageEntry, ImageId};
use walt_model::{ImageFullName, ImageName, UserName};

use super::names;
use crate::platform::{Platform, now_ms};
use crate::state::{Change, Content, Version};
use crate::workflow::WorkflowError;

/// How many versions of each name are kept, the one it means now included.
pub const KEPT: usize = 5;

/// An image, or an earlier version of it, as users write it: `<image>` or `<image>@<number>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The name.
    pub image: ImageName,
    /// The number of the version; none: what the name means now.
    pub number: Option<u32>,
}

impl std::str::FromStr for Reference {
    type Err = WorkflowError;

    fn from_str(text: &str) -> Result<Self, WorkflowError> {
        let (name, number) = match text.split_once('@') {
            None => (text, None),
            Some((name, number)) => (name, Some(parse_number(number)?)),
        };
        let image =
            ImageName::existing(name).map_err(|error| WorkflowError::Invalid(error.to_string()))?;
        Ok(Self { image, number })
    }
}

fn parse_number(text: &str) -> Result<u32, WorkflowError> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        WorkflowError::Invalid(format!(
            "Bad version '{shown}': expected <image>@<number>, with a number that `walt image history` shows."
        ))
    })
}

/// The versions of an image of a user, oldest first. What the name means now is the last one.
pub async fn versions(
    platform: &Arc<Platform>,
    user: &UserName,
    name: &str,
) -> Result<(ImageFullName, Vec<Version>), WorkflowError> {
    let (image, entry) = names::existing(platform, user, name).await?;
    let _holding = platform.holding.lock().await;
    note_current(platform, &image, &entry).await?;
    let versions = platform.state.image_versions(&image).await?;
    Ok((image, versions))
}

/// The content of an image of a user, or of an earlier version of it.
pub async fn content_of(
    platform: &Arc<Platform>,
    user: &UserName,
    text: &str,
) -> Result<Content, WorkflowError> {
    let Reference { image, number } = text.parse()?;
    let (_, versions) = versions(platform, user, &image.to_string()).await?;
    let wanted = match number {
        Some(number) => versions.into_iter().find(|version| version.number == number),
        None => versions.into_iter().next_back(),
    };
    match wanted {
        Some(version) => Ok(version.content),
        None => Err(WorkflowError::NoSuchVersion { image, number: number.unwrap_or(0) }),
    }
}

/// Before a name gets other content: what it means now is in its history, and held. Gives what that is.
pub async fn keep_current(
    platform: &Platform,
    image: &ImageFullName,
) -> Result<Option<ImageId>, WorkflowError> {
    let catalogue = platform.images.catalogue();
    let _holding = platform.holding.lock().await;
    let Some(entry) = catalogue.current().await?.get(&image.to_string()).cloned() else {
        return Ok(None);
    };
    note_current(platform, image, &entry).await?;
    catalogue.hold_version(&entry.id).await?;
    Ok(Some(entry.id.clone()))
}

/// Writes down what a name means now, when that was not done by us: an image that came by other means.
pub(super) async fn note_current(
    platform: &Platform,
    image: &ImageFullName,
    entry: &ImageEntry,
) -> Result<(), WorkflowError> {
    let known = platform.state.image_versions(image).await?;
    match known.last() {
        Some(version) if version.content.id == entry.id => return Ok(()),
        // It may be on its way out of the store, without a name.
        Some(version) => {
            if let Err(error) = platform.images.catalogue().hold_version(&version.content.id).await
            {
                tracing::warn!(%image, version = version.number, "its content could not be kept: {error}");
            }
        }
        None => {}
    }
    let content = Content {
        id: entry.id.clone(),
        since_ms: now_ms() as i64,
        task: "found".to_owned(),
        by: entry.owner.clone(),
        detail: String::new(),
        created_ms: entry.created.saturating_mul(1000),
        size: entry.size,
    };
    platform.state.add_image_version(image.clone(), content).await?;
    Ok(())
}

/// Lets go of content that is no version of any name any more. What nodes still read has a tag of its own, so that it
/// goes with its last reader.
pub async fn prune(platform: &Platform) -> Result<(), WorkflowError> {
    let catalogue = platform.images.catalogue();
    let _holding = platform.holding.lock().await;
    let content = catalogue.content().await?;
    let mut wanted: HashSet<ImageId> = HashSet::new();
    wanted.extend(platform.state.all_image_versions().await?.into_iter().map(|v| v.content.id));
    for (_, change) in platform.state.image_changes().await? {
        if let Change::Put { content } = change {
            wanted.insert(content.id);
        }
    }
    let held = content.references.iter().filter(|(tag, _)| tag.starts_with(VERSION_PREFIX));
    for (tag, id) in held.filter(|(_, id)| !wanted.contains(id)) {
        tracing::info!(id = id.short(), "an image that is no version of any name is let go");
        catalogue.drop_reference(tag, id).await?;
    }
    Ok(catalogue.drop_leaving(&content).await?)
}

/// [`prune`], in the background. What fails is tried again after the next change.
pub fn prune_later(platform: &Arc<Platform>) {
    let shared = platform.clone();
    platform.tasks.spawn("old images", async move {
        if let Err(error) = prune(&shared).await {
            tracing::warn!("images that are no version of any name stay for now: {error}");
        }
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_users_write_them() {
        let parsed: Reference = "my-image:v1@3".parse().unwrap();
        assert_eq!((parsed.image.to_string().as_str(), parsed.number), ("my-image:v1", Some(3)));
        assert_eq!("a".parse::<Reference>().unwrap().number, None);
        for bad in
            ["", "@1", "a@", "a@0", "a@-1", "a@x", "a@1@2", "../a@1", "u/a@1", "a@99999999999"]
        {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
