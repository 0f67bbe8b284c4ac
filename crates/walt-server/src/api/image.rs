//! Images.

use axum::Json;
use axum::extract::State;
use walt_images::ImageEntry;
use walt_model::UserName;
use walt_proto::api::Empty;
use walt_proto::api::image::{Cloned, Image, ImageSet, ImagesQuery};

use super::Shared;
use super::caller::Caller;
use super::extract::{Body, Query};
use super::failure::Failure;
use crate::platform::Platform;
use crate::workflow::WorkflowError;
use crate::workflow::clone_default::for_newcomer;

pub(super) async fn list(
    State(platform): State<Shared>,
    caller: Caller,
    Query(query): Query<ImagesQuery>,
) -> Result<Json<Vec<Image>>, Failure> {
    let catalogue = platform.images.catalogue();
    let store = match query.refresh {
        true => catalogue.refresh().await,
        false => catalogue.current().await,
    }
    .map_err(WorkflowError::Store)?;
    let mut images: Vec<Image> =
        store.values().map(|entry| view(&platform, &caller.user, entry)).collect();
    images.sort_by(|a, b| (&a.owner, &a.name).cmp(&(&b.owner, &b.name)));
    Ok(Json(images))
}

pub(super) async fn clone_defaults(
    State(platform): State<Shared>,
    caller: Caller,
    Body(Empty {}): Body<Empty>,
) -> Result<Json<Vec<Cloned>>, Failure> {
    let clones = for_newcomer(&platform, &caller.user).await?;
    let told = clones
        .into_iter()
        .map(|own| Cloned { image: own.image.name().to_string(), models: own.models });
    Ok(Json(told.collect()))
}

fn view(platform: &Platform, user: &UserName, entry: &ImageEntry) -> Image {
    let mut used_by: Vec<String> = platform
        .registry
        .devices()
        .into_iter()
        .filter(|device| {
            device.node.as_ref().is_some_and(|node| node.image.to_string() == entry.fullname)
        })
        .map(|device| device.name.to_string())
        .collect();
    used_by.sort();
    let name = entry.user_name().to_owned();
    let set = if *user == entry.owner.as_str() {
        ImageSet::Own
    } else if entry.owner == UserName::PLATFORM && name.ends_with("-default") {
        ImageSet::Default
    } else {
        ImageSet::Other
    };
    let mut models = entry.models.clone();
    models.sort();
    Image {
        owner: entry.owner.clone(),
        clone_link: format!("walt:{}/{name}", entry.owner),
        name,
        full_name: entry.fullname.clone(),
        set,
        id: entry.id.to_string(),
        created_ms: entry.created.saturating_mul(1000),
        models,
        in_use: !used_by.is_empty(),
        used_by,
        size_bytes: Some(entry.size),
    }
}
