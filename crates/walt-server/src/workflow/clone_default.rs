//! Automatic clones of default images into a user's working set: a tag, so immediate.

use walt_images::ImageEntry;
use walt_images::catalogue::LABEL_PREFERRED_NAME;
use walt_model::{ImageFullName, ImageName, NodeModel, UserName};

use super::WorkflowError;
use crate::platform::Platform;

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
    platform: &Platform,
    user: &UserName,
    model: &NodeModel,
) -> Result<OwnImage, WorkflowError> {
    let catalogue = platform.images.catalogue();
    let default = ImageFullName::default_of(model);
    let store = catalogue.current().await?;
    let Some(entry) = store.get(&default.to_string()) else {
        return Err(WorkflowError::NoDefaultImage { model: model.clone(), image: default });
    };
    let image = clone_name(entry, &default).owned_by(user.clone());
    let mut models = entry.models.clone();
    models.sort();
    if let Some(own) = store.get(&image.to_string()) {
        if own.models.iter().any(|known| *model == known.as_str()) {
            models = own.models.clone();
            models.sort();
            return Ok(OwnImage { image, models, cloned: false });
        }
        // The user has another image of that name, for other machines.
        let image = default.name().clone().owned_by(user.clone());
        if store.contains_key(&image.to_string()) {
            return Ok(OwnImage { image, models, cloned: false });
        }
        catalogue.tag(&entry.id, &image).await?;
        return Ok(OwnImage { image, models, cloned: true });
    }
    catalogue.tag(&entry.id, &image).await?;
    Ok(OwnImage { image, models, cloned: true })
}

/// For a user without any image: clones of the default images of the models present.
pub async fn for_newcomer(
    platform: &Platform,
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
            Err(WorkflowError::NoDefaultImage { .. }) => {}
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
