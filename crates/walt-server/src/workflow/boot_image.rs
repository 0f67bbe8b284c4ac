//! Giving nodes an image.

use std::sync::Arc;

use walt_model::{ImageFullName, ImageName, NodeModel, UserName};

use super::{Progress, WorkflowError, within};
use crate::platform::Platform;
use crate::registry::{Device, Node};

/// Limit on making an image ready, in seconds.
const ENSURE: u64 = 300;

/// What nodes are to boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The default image of each one's model: they become free.
    Default,
    /// This image.
    Image(ImageFullName),
}

impl Choice {
    /// The image of a name typed by `user`: one of the working set, or the word `default`.
    pub fn parse(text: &str, user: &UserName) -> Result<Self, WorkflowError> {
        if text == walt_model::image_name::DEFAULT_KEYWORD {
            return Ok(Self::Default);
        }
        let name =
            ImageName::existing(text).map_err(|error| WorkflowError::Invalid(error.to_string()))?;
        Ok(Self::Image(name.owned_by(user.clone())))
    }

    fn of(&self, model: &NodeModel) -> ImageFullName {
        match self {
            Self::Default => ImageFullName::default_of(model),
            Self::Image(image) => image.clone(),
        }
    }
}

/// What happened to a set of nodes.
#[derive(Debug, Default)]
pub struct Given {
    /// Nodes that have another image now, by image.
    pub changed: Vec<(ImageFullName, Vec<Device>)>,
    /// Nodes that already had it.
    pub ignored: Vec<Device>,
}

/// Checks that a choice is possible for all of these nodes: nothing is changed otherwise.
pub async fn check(
    platform: &Platform,
    nodes: &[Device],
    choice: &Choice,
) -> Result<(), WorkflowError> {
    let store = platform.images.catalogue().current().await?;
    let mut wrong = Vec::new();
    for node in nodes.iter().filter_map(|device| device.node.as_ref()) {
        let image = choice.of(&node.model);
        let Some(entry) = store.get(&image.to_string()) else {
            return Err(match choice {
                Choice::Default => {
                    WorkflowError::NoDefaultImage { model: node.model.clone(), image }
                }
                Choice::Image(image) => WorkflowError::NoSuchImage(image.name().clone()),
            });
        };
        if !entry.models.iter().any(|model| node.model == model.as_str()) {
            wrong.push(node.model.to_string());
        }
    }
    wrong.sort();
    wrong.dedup();
    match choice {
        Choice::Image(image) if !wrong.is_empty() => {
            Err(WorkflowError::Incompatible { image: image.clone(), models: wrong })
        }
        _ => Ok(()),
    }
}

/// Gives nodes their new image. The image is ready (root made and indexed) before any node is changed;
/// rebooting them is the next step, of the caller.
pub async fn give(
    platform: &Arc<Platform>,
    nodes: &[Device],
    choice: &Choice,
    progress: &dyn Progress,
) -> Result<Given, WorkflowError> {
    let mut given = Given::default();
    for device in nodes {
        let Some(node) = &device.node else { continue };
        let image = choice.of(&node.model);
        if node.image == image {
            given.ignored.push(device.clone());
            continue;
        }
        match given.changed.iter_mut().find(|(known, _)| *known == image) {
            Some((_, devices)) => devices.push(device.clone()),
            None => given.changed.push((image, vec![device.clone()])),
        }
    }
    for (image, _) in &given.changed {
        progress.label(&format!("Preparing image {}", image.name()));
        ready(platform, image).await?;
    }
    for (image, devices) in &given.changed {
        let _changing = platform.changing.lock().await;
        // The image may have been removed, or got other content, since the first look.
        check(platform, devices, &Choice::Image(image.clone())).await?;
        let macs = devices.iter().map(|device| device.mac).collect();
        platform.state.set_image(macs, image.clone()).await?;
        for device in devices {
            let changed = platform.registry.change(device.mac, |device| {
                if let Some(Node { image: current, .. }) = &mut device.node {
                    *current = image.clone();
                }
            });
            // Removed meanwhile: the others have the image the state says.
            if let Err(error) = changed {
                tracing::debug!(node = %device.name, "{error}");
            }
        }
    }
    for (image, _) in &given.changed {
        // No node had it until now: while others were prepared, it may have been let go as unused.
        if platform.images.of(image).is_none() {
            ready(platform, image).await?;
        }
    }
    Ok(given)
}

/// Makes an image ready.
pub async fn ready(platform: &Platform, image: &ImageFullName) -> Result<(), WorkflowError> {
    within("Preparing the image", ENSURE, platform.images.ensure(image))
        .await?
        .map_err(|source| WorkflowError::Serve { image: image.short(), source })?;
    Ok(())
}

/// Makes an image ready in the background; a failure is told in the journal and by the boot report of
/// the nodes that wait for it.
pub fn ensure_later(platform: &Arc<Platform>, image: ImageFullName) {
    let platform = platform.clone();
    let tasks = platform.tasks.clone();
    tasks.spawn("image root", async move {
        if let Err(error) = ready(&platform, &image).await {
            tracing::error!("{error}");
        }
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_of_a_user() {
        let me: UserName = "me".parse().unwrap();
        assert_eq!(Choice::parse("default", &me).unwrap(), Choice::Default);
        let image = Choice::parse("my-image", &me).unwrap();
        assert_eq!(image, Choice::Image("me/my-image:latest".parse().unwrap()));
        assert!(Choice::parse("../x", &me).is_err());
        assert!(Choice::parse("other/x", &me).is_err());
        let model = "pc-x86-64".parse().unwrap();
        assert!(Choice::Default.of(&model).is_platform());
    }
}
