//! Automatic clones of default images into a user's working set: a tag, so immediate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use walt_images::ImageEntry;
use walt_images::catalogue::LABEL_PREFERRED_NAME;
use walt_images::turn::Task;
use walt_model::{ImageFullName, ImageName, NodeModel, UserName};

use super::WorkflowError;
use super::image::{Origin, Silent, put, take};
use crate::platform::Platform;

/// How long a clone of the same image may keep another one waiting.
const PATIENCE: Duration = Duration::from_secs(30);

/// The user's own image of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnImage {
    /// Its full name.
    pub image: ImageFullName,
    /// The models it boots, sorted.
    pub models: Vec<String>,
    /// Whether it was cloned just now.
    pub cloned: bool,
}

/// The clone of the default image of `model` that belongs to `user`, made if needed.
pub async fn own_image(
    platform: &Arc<Platform>,
    user: &UserName,
    model: &NodeModel,
) -> Result<OwnImage, WorkflowError> {
    let default = ImageFullName::default_of(model);
    let store = platform.images.catalogue().current().await?;
    let Some(entry) = store.get(&default.to_string()) else {
        return Err(WorkflowError::NoDefaultImage { model: model.clone(), image: default });
    };
    if !boots(entry, model) {
        let models = vec![model.to_string()];
        return Err(WorkflowError::Incompatible { image: default, models });
    }
    let preferred = clone_name(entry, &default).owned_by(user.clone());
    let image = match store.get(&preferred.to_string()) {
        // The user has another image of that name, for other machines.
        Some(own) if !boots(own, model) => default.name().clone().owned_by(user.clone()),
        _ => preferred,
    };
    if let Some(own) = store.get(&image.to_string()) {
        if !boots(own, model) {
            let models = vec![model.to_string()];
            return Err(WorkflowError::Incompatible { image, models });
        }
        return Ok(OwnImage { models: sorted_models(own), image, cloned: false });
    }
    let cloned = clone(platform, user, entry, &image, model).await?;
    Ok(OwnImage { models: sorted_models(entry), image, cloned })
}

/// Gives the name to the content of the default image; true: it was not there. Two commands of a user may come to this
/// at the same time: the second one waits for the first.
async fn clone(
    platform: &Arc<Platform>,
    user: &UserName,
    entry: &ImageEntry,
    image: &ImageFullName,
    model: &NodeModel,
) -> Result<bool, WorkflowError> {
    let began = Instant::now();
    let turn = loop {
        match take(platform, image, Task::Clone, user) {
            Err(WorkflowError::Busy(busy))
                if busy.task == Task::Clone && began.elapsed() < PATIENCE =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            taken => break taken?,
        }
    };
    if platform.images.catalogue().exists(image).await? {
        return Ok(false);
    }
    let detail = format!("default image of {model}");
    let origin = Origin { task: Task::Clone, by: user.clone(), detail };
    put(platform, &turn, image, &entry.id, &origin, &Silent).await?;
    Ok(true)
}

fn boots(entry: &ImageEntry, model: &NodeModel) -> bool {
    entry.models.iter().any(|known| *model == known.as_str())
}

fn sorted_models(entry: &ImageEntry) -> Vec<String> {
    let mut models = entry.models.clone();
    models.sort();
    models
}

/// For a user without any image: clones of the default images of the models present.
pub async fn for_newcomer(
    platform: &Arc<Platform>,
    user: &UserName,
) -> Result<Vec<OwnImage>, WorkflowError> {
    let store = platform.images.catalogue().current().await?;
    if user.is_platform() || store.values().any(|entry| *user == entry.owner.as_str()) {
        return Ok(Vec::new());
    }
    let nodes = platform.registry.devices().into_iter().filter_map(|device| device.node);
    let mut models: Vec<NodeModel> = nodes.map(|node| node.model).collect();
    models.sort();
    models.dedup();
    let mut clones: Vec<OwnImage> = Vec::new();
    for model in models {
        if clones.iter().any(|clone| clone.models.iter().any(|known| model == known.as_str())) {
            continue;
        }
        match own_image(platform, user, &model).await {
            Ok(own) => clones.push(own),
            // Said when a node of that model is to boot.
            Err(WorkflowError::NoDefaultImage { .. } | WorkflowError::Incompatible { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    clones.retain(|clone| clone.cloned);
    Ok(clones)
}

fn clone_name(entry: &ImageEntry, default: &ImageFullName) -> ImageName {
    entry
        .labels
        .get(LABEL_PREFERRED_NAME)
        .and_then(|name| ImageName::existing(name).ok())
        .unwrap_or_else(|| default.name().clone())
}
